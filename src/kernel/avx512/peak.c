/* peak.c - limits of AVX-512: reading memory, and chains of fma, vdpbf16ps and vpdpbusd in registers. */
#include <immintrin.h>

#include "kernel/peak.h"

enum { CHAINS = 12 };

double avx512_peak(peak_kind kind, const void *p, size_t bytes, uint32_t rounds) {
    if (kind == PEAK_READ) {
        const uint8_t *from = p;
        __m512i s[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
        for (size_t i = 0; i + 256 <= bytes; i += 256)
            for (size_t j = 0; j < 4; j++)
                s[j] = _mm512_xor_si512(s[j], _mm512_loadu_si512((const void *)(from + i + 64 * j)));
        for (size_t j = 0; j < 4; j++) __asm__ volatile("" ::"v"(s[j]));
        return (double)bytes;
    }
    __m512i s[CHAINS];
    const __m512i x = kind == PEAK_BF16 ? _mm512_set1_epi16(0x3c00) : _mm512_set1_epi8(0x31);
    for (int i = 0; i < CHAINS; i++) s[i] = _mm512_setzero_si512();
#define RUN(instruction)                                                                                               \
    for (uint32_t r = 0; r < rounds; r++) {                                                                            \
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS;                                                           \
                                      i++) __asm__ volatile(instruction " %1, %1, %0" : "+v"(s[i]) : "v"(x));          \
    }
    if (kind == PEAK_F32) {
        RUN("vfmadd231ps")
    } else if (kind == PEAK_BF16) {
        RUN("vdpbf16ps")
    } else {
        RUN("vpdpbusd")
    }
#undef RUN
    return (double)rounds * CHAINS * (kind == PEAK_F32 ? 32.0 : kind == PEAK_BF16 ? 64.0 : 128.0);
}
