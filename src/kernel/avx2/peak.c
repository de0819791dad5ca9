/* peak.c - limits of AVX2: reading memory, and chains of fma and maddubs in registers. */
#include <immintrin.h>

#include "kernel/peak.h"

enum { CHAINS = 10 }; /* latency 4 or 5, two a cycle */

/* The chains have registers of their own by name: left to the compiler, they went through memory.  MADD is a 4-bit
 * product: maddubs, then an addition of 16 bits. */
#define FMA(n) "vfmadd231ps %0, %0, %%ymm" n "\n\t"
#define MADD(n) "vpmaddubsw %0, %0, %%ymm15\n\tvpaddw %%ymm15, %%ymm" n ", %%ymm" n "\n\t"
#define EACH(op) op("5") op("6") op("7") op("8") op("9") op("10") op("11") op("12") op("13") op("14")
#define REGISTERS "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

double avx2_peak(peak_kind kind, const void *p, size_t bytes, uint32_t rounds) {
    if (kind == PEAK_READ) {
        const uint8_t *from = p;
        __m256i s[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
        for (size_t i = 0; i + 128 <= bytes; i += 128)
            for (size_t j = 0; j < 4; j++)
                s[j] = _mm256_xor_si256(s[j], _mm256_loadu_si256((const __m256i *)(const void *)(from + i + 32 * j)));
        for (size_t j = 0; j < 4; j++) __asm__ volatile("" ::"x"(s[j]));
        return (double)bytes;
    }
    if (kind == PEAK_BF16) return 0.0;
    const __m256i x = _mm256_set1_epi8(0x31);
    for (uint32_t r = 0; r < rounds; r++) {
        if (kind == PEAK_F32)
            __asm__ volatile(EACH(FMA) : : "x"(x) : REGISTERS);
        else
            __asm__ volatile(EACH(MADD) : : "x"(x) : REGISTERS);
    }
    _mm256_zeroupper();
    return (double)rounds * CHAINS * (kind == PEAK_F32 ? 16.0 : 64.0);
}
