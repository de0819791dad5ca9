/* peak.c - limits of AVX-512: reading memory, and chains of fma, vdpbf16ps and vpdpbusd in registers. */
#include <immintrin.h>

#include "kernel/peak.h"

enum { CHAINS = 12 };

/* The chains have registers of their own by name: left to the compiler, they went through memory. */
#define ONE(instruction, n) instruction " %0, %0, %%zmm" n "\n\t"
#define EACH(i)                                                                                                        \
    ONE(i, "20")                                                                                                       \
    ONE(i, "21")                                                                                                       \
    ONE(i, "22")                                                                                                       \
    ONE(i, "23") ONE(i, "24") ONE(i, "25") ONE(i, "26") ONE(i, "27") ONE(i, "28") ONE(i, "29") ONE(i, "30") ONE(i, "3" \
                                                                                                                   "1")
#define REGISTERS                                                                                                      \
    "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31"

double avx512_peak(peak_kind kind, const void *p, size_t bytes, uint32_t rounds) {
    if (kind == PEAK_READ) {
        const uint8_t *from = p;
        __m512i s[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
        for (size_t i = 0; i + 256 <= bytes; i += 256)
            for (size_t j = 0; j < 4; j++) {
                _mm_prefetch((const char *)from + i + 64 * j + 2560, _MM_HINT_T0); /* as the products do */
                s[j] = _mm512_xor_si512(s[j], _mm512_loadu_si512((const void *)(from + i + 64 * j)));
            }
        for (size_t j = 0; j < 4; j++) __asm__ volatile("" ::"v"(s[j]));
        return (double)bytes;
    }
    const __m512i x = kind == PEAK_BF16 ? _mm512_set1_epi16(0x3c00) : _mm512_set1_epi8(0x31);
    __asm__ volatile(EACH("vpxord") : : "v"(x) : REGISTERS);
    for (uint32_t r = 0; r < rounds; r++) {
        if (kind == PEAK_F32)
            __asm__ volatile(EACH("vfmadd231ps") : : "v"(x) : REGISTERS);
        else if (kind == PEAK_BF16)
            __asm__ volatile(EACH("vdpbf16ps") : : "v"(x) : REGISTERS);
        else
            __asm__ volatile(EACH("vpdpbusd") : : "v"(x) : REGISTERS);
    }
    return (double)rounds * CHAINS * (kind == PEAK_F32 ? 32.0 : kind == PEAK_BF16 ? 64.0 : 128.0);
}
