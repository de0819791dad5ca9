/* transpose.h - 16 x 16 floats (or any 32-bit lanes) in registers. */
#ifndef HONE_KERNEL_AVX512_TRANSPOSE_H
#define HONE_KERNEL_AVX512_TRANSPOSE_H

#include <immintrin.h>

static inline __attribute__((always_inline)) void transpose16(__m512 v[16]) {
    __m512d t[16];
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        const __m512 a = _mm512_unpacklo_ps(v[i], v[i + 1]), b = _mm512_unpackhi_ps(v[i], v[i + 1]);
        const __m512 c = _mm512_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
        t[i] = _mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c));
        t[i + 1] = _mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c));
        t[i + 2] = _mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d));
        t[i + 3] = _mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* 4 x 4 transposes of 128-bit lanes */
        const __m512 a = _mm512_castpd_ps(t[i]), b = _mm512_castpd_ps(t[i + 4]);
        const __m512 c = _mm512_castpd_ps(t[i + 8]), d = _mm512_castpd_ps(t[i + 12]);
        const __m512 ab_low = _mm512_shuffle_f32x4(a, b, 0x88), ab_high = _mm512_shuffle_f32x4(a, b, 0xdd);
        const __m512 cd_low = _mm512_shuffle_f32x4(c, d, 0x88), cd_high = _mm512_shuffle_f32x4(c, d, 0xdd);
        v[i] = _mm512_shuffle_f32x4(ab_low, cd_low, 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(ab_low, cd_low, 0xdd);
        v[i + 4] = _mm512_shuffle_f32x4(ab_high, cd_high, 0x88);
        v[i + 12] = _mm512_shuffle_f32x4(ab_high, cd_high, 0xdd);
    }
}

#endif
