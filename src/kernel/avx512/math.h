/* math.h - functions of 16 floats: exponential, hyperbolic tangent, sums in a fixed tree. */
#ifndef HONE_KERNEL_AVX512_MATH_H
#define HONE_KERNEL_AVX512_MATH_H

#include <immintrin.h>

/* e^x within 2 ulp for every x: infinity above 88.73, 0 (by way of subnormals) below -103.97, NaN for NaN.  Reduction
 * by n ln 2 in two parts and a polynomial of degree 7 on [-ln 2 / 2, ln 2 / 2]; coefficients as in Cephes' expf. */
static inline __m512 exp16(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-105.0f), x); /* operands in this order keep a NaN in x */
    x = _mm512_min_ps(_mm512_set1_ps(90.0f), x);
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r);
    return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

/* 2^x for x <= 0 within 2 ulp, 0 below -150, NaN for NaN; 1 for 0.  Fewer steps than exp16: attention's weights. */
static inline __m512 exp2_below_16(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-152.0f), x);
    const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), r = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(1.326472731e-3f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.671512991e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.550733581e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.402224243e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.931470037e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* tanh x within 2 ulp: an odd polynomial (Cephes' tanhf) below 0.625, else 1 - 2 / (e^2|x| + 1). */
static inline __m512 tanh16(__m512 x) {
    const __m512 a = _mm512_abs_ps(x), z = _mm512_mul_ps(x, x), one = _mm512_set1_ps(1.0f);
    __m512 p = _mm512_set1_ps(-5.70498872745e-3f);
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(2.06390887954e-2f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-5.37397155531e-2f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(1.33314422036e-1f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-3.33332819422e-1f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, z), x, x);
    const __m512 e = exp16(_mm512_add_ps(a, a));
    __m512 big = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0f), _mm512_add_ps(e, one)));
    big = _mm512_or_ps(big, _mm512_and_ps(x, _mm512_set1_ps(-0.0f)));
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, _mm512_set1_ps(0.625f), _CMP_LT_OQ), big, p);
}

/* Lane i with i + 8, then + 4, + 2, + 1: the one tree for all sums over lanes. */
static inline float sum16(__m512 v) {
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}

static inline float max16(__m512 v) {
    const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}

/* The first n of 16 lanes, n <= 16. */
static inline __mmask16 first(size_t n) {
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

/* Sums over k: up to here one chain of fma, above by lanes (gemm.c, lowrank.c). */
enum { NT_SHORT = 64 };

/* The sums over lanes of four registers, each by the tree of sum16. */
static inline __attribute__((always_inline)) __m128 sums_of_4(const __m512 *v) {
    __m128 q[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v[i]), _mm512_extractf32x8_ps(v[i], 1));
        q[i] = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    }
    _MM_TRANSPOSE4_PS(q[0], q[1], q[2], q[3]);
    return _mm_add_ps(_mm_add_ps(q[0], q[2]), _mm_add_ps(q[1], q[3]));
}

#endif
