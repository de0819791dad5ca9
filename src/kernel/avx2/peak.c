/* peak.c - limits of AVX2: reading memory, and chains of fma and maddubs in registers. */
#include <immintrin.h>

#include "kernel/peak.h"

enum { CHAINS = 10 }; /* latency 4 or 5, two a cycle */

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
    __m256 f[CHAINS];
    __m256i q[CHAINS];
    const __m256 x = _mm256_set1_ps(1e-3f);
    const __m256i u = _mm256_set1_epi8(3);
    for (int i = 0; i < CHAINS; i++) {
        f[i] = _mm256_setzero_ps();
        q[i] = _mm256_setzero_si256();
    }
    if (kind == PEAK_F32) {
        for (uint32_t r = 0; r < rounds; r++)
#pragma GCC unroll 10
            for (int i = 0; i < CHAINS; i++) __asm__ volatile("vfmadd231ps %1, %1, %0" : "+x"(f[i]) : "x"(x));
    } else { /* as the 4-bit products: maddubs, then an addition of 16 bits */
        for (uint32_t r = 0; r < rounds; r++)
#pragma GCC unroll 10
            for (int i = 0; i < CHAINS; i++)
                __asm__ volatile("vpmaddubsw %1, %1, %%ymm15\n\tvpaddw %%ymm15, %0, %0"
                                 : "+x"(q[i])
                                 : "x"(u)
                                 : "xmm15");
    }
    return (double)rounds * CHAINS * (kind == PEAK_F32 ? 16.0 : 64.0);
}
