/* gemm.c - plain f32 products for adapters: one length is a rank (4 .. 64), the others are hundreds or thousands.
 *
 * nn and tn: lanes are columns, each output is one chain of fma over k.  nt has both operands along k: up to NT_SHORT
 * (B times a low-rank row) b is turned in panels of 16 columns and the same chain runs; beyond it (A times x) lanes run
 * along k and end in the tree of math.h.  Which way is taken depends on k alone.
 *
 * Order: storing, nn and tn, nt. */
#include <immintrin.h>
#include <string.h>

#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"
#include "kernel/avx512/transpose.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void put(float *c, __m512 alpha, __m512 sum, bool add, __mmask16 k) {
    const __m512 v = add ? _mm512_fmadd_ps(alpha, sum, _mm512_maskz_loadu_ps(k, c)) : _mm512_mul_ps(alpha, sum);
    _mm512_mask_storeu_ps(c, k, v);
}

/* ---- c = a b, and c = a^T b ----------------------------------------------------------------------------------------
 */

/* Plain products scale the sum by alpha.  gemm_tn scales a, and its chain begins with what c holds (kernel.h); with an
 * alpha of 1 there is nothing to scale, and it is half as many operations. */
typedef enum { PLAIN, TN, TN_UNSCALED } way;

/* r rows of c by w registers of columns, r * w <= 24; element l of row i of a is a[i * row + l * step]. */
INLINE void block(const way kind, const int r, const int w, uint32_t k, float alpha, const float *a, size_t row,
                  size_t step, const float *b, size_t ldb, float *c, size_t ldc, bool add, __mmask16 last) {
    const bool tn = kind != PLAIN;
    __m512 s[16][3];
    const __m512 by = _mm512_set1_ps(alpha);
#pragma GCC unroll 16
    for (int i = 0; i < r; i++)
#pragma GCC unroll 3
        for (int j = 0; j < w; j++)
            s[i][j] = tn && add ? _mm512_maskz_loadu_ps(j == w - 1 ? last : 0xffff, c + ldc * (size_t)i + 16 * j)
                                : _mm512_setzero_ps();
    for (uint32_t l = 0; l < k; l++, a += step, b += ldb) {
        __m512 v[3];
#pragma GCC unroll 3
        for (int j = 0; j < w; j++) v[j] = _mm512_maskz_loadu_ps(j == w - 1 ? last : 0xffff, b + 16 * j);
#pragma GCC unroll 16
        for (int i = 0; i < r; i++) {
            __m512 x = _mm512_set1_ps(a[row * (size_t)i]);
            if (kind == TN) x = _mm512_mul_ps(by, x);
#pragma GCC unroll 3
            for (int j = 0; j < w; j++) s[i][j] = _mm512_fmadd_ps(x, v[j], s[i][j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < r; i++)
#pragma GCC unroll 3
        for (int j = 0; j < w; j++) {
            float *to = c + ldc * (size_t)i + 16 * j;
            const __mmask16 keep = j == w - 1 ? last : 0xffff;
            if (tn)
                _mm512_mask_storeu_ps(to, keep, s[i][j]);
            else
                put(to, by, s[i][j], add, keep);
        }
}

INLINE void columns(const way kind, const int w, uint32_t m, uint32_t k, float alpha, const float *a, size_t row,
                    size_t step, const float *b, size_t ldb, float *c, size_t ldc, bool add, __mmask16 last) {
    uint32_t i = 0;
    if (w == 1 && kind != PLAIN) /* 16 rows are a whole cache line of a turned a */
        for (; i + 16 <= m; i += 16)
            block(kind, 16, w, k, alpha, a + row * i, row, step, b, ldb, c + ldc * i, ldc, add, last);
    for (; i + 8 <= m; i += 8) block(kind, 8, w, k, alpha, a + row * i, row, step, b, ldb, c + ldc * i, ldc, add, last);
    if (m & 4u) {
        block(kind, 4, w, k, alpha, a + row * i, row, step, b, ldb, c + ldc * i, ldc, add, last);
        i += 4;
    }
    if (m & 2u) {
        block(kind, 2, w, k, alpha, a + row * i, row, step, b, ldb, c + ldc * i, ldc, add, last);
        i += 2;
    }
    if (m & 1u) block(kind, 1, w, k, alpha, a + row * i, row, step, b, ldb, c + ldc * i, ldc, add, last);
}

INLINE void product(const way kind, uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t row,
                    size_t step, const float *b, size_t ldb, float *c, size_t ldc, bool add) {
    for (uint32_t j = 0; j < n; j += 48) {
        const uint32_t len = n - j;
        if (len > 32)
            columns(kind, 3, m, k, alpha, a, row, step, b + j, ldb, c + j, ldc, add, first(len - 32));
        else if (len > 16)
            columns(kind, 2, m, k, alpha, a, row, step, b + j, ldb, c + j, ldc, add, first(len - 16));
        else
            columns(kind, 1, m, k, alpha, a, row, step, b + j, ldb, c + j, ldc, add, first(len));
    }
}

void avx512_gemm_nn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc, bool add) {
    product(PLAIN, m, n, k, alpha, a, lda, 1, b, ldb, c, ldc, add);
}

void avx512_gemm_tn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc, bool add) {
    if (alpha == 1.0f)
        product(TN_UNSCALED, m, n, k, alpha, a, 1, lda, b, ldb, c, ldc, add);
    else
        product(TN, m, n, k, alpha, a, 1, lda, b, ldb, c, ldc, add);
}

/* ---- c = a b^T -----------------------------------------------------------------------------------------------------
 */

/* k <= NT_SHORT: panels of 16 rows of b, turned. */
static void short_nt(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                     size_t ldb, float *c, size_t ldc, bool add) {
    float turned[NT_SHORT * 16] __attribute__((aligned(64)));
    for (uint32_t j = 0; j < n; j += 16) {
        const uint32_t len = n - j < 16 ? n - j : 16;
        for (uint32_t l = 0; l < k; l += 16) {
            __m512 v[16];
            for (uint32_t i = 0; i < 16; i++)
                v[i] = i < len ? _mm512_maskz_loadu_ps(first(k - l), b + ldb * (j + i) + l) : _mm512_setzero_ps();
            transpose16(v);
            for (uint32_t i = 0; i < 16; i++) _mm512_store_ps(turned + 16 * (l + i), v[i]);
        }
        columns(PLAIN, 1, m, k, alpha, a, lda, 1, turned, 16, c + j, ldc, add, first(len));
    }
}

INLINE void long_block(const int r, uint32_t columns_left, uint32_t k, float alpha, const float *a, size_t lda,
                       const float *b, size_t ldb, float *c, size_t ldc, bool add) {
    /* Missing columns read the last one again and are not stored. */
    const float *col[4];
    for (uint32_t j = 0; j < 4; j++) col[j] = b + ldb * (j < columns_left ? j : columns_left - 1);
    __m512 s[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < r; i++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) s[i][j] = _mm512_setzero_ps();
    for (uint32_t l = 0; l < k; l += 16) {
        const __mmask16 mask = first(k - l);
        __m512 v[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) v[j] = _mm512_maskz_loadu_ps(mask, col[j] + l);
#pragma GCC unroll 4
        for (int i = 0; i < r; i++) {
            const __m512 x = _mm512_maskz_loadu_ps(mask, a + lda * (size_t)i + l);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) s[i][j] = _mm512_fmadd_ps(x, v[j], s[i][j]);
        }
    }
    const __mmask8 keep = (__mmask8)(columns_left >= 4 ? 15u : (1u << columns_left) - 1u);
    const __m128 by = _mm_set1_ps(alpha);
#pragma GCC unroll 4
    for (int i = 0; i < r; i++) {
        float *out = c + ldc * (size_t)i;
        const __m128 sum = sums_of_4(s[i]);
        _mm_mask_storeu_ps(out, keep, add ? _mm_fmadd_ps(by, sum, _mm_maskz_loadu_ps(keep, out)) : _mm_mul_ps(by, sum));
    }
}

void avx512_gemm_nt(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc, bool add) {
    if (k <= NT_SHORT) {
        short_nt(m, n, k, alpha, a, lda, b, ldb, c, ldc, add);
        return;
    }
    for (uint32_t j = 0; j < n; j += 4) {
        uint32_t i = 0;
        for (; i + 4 <= m; i += 4)
            long_block(4, n - j, k, alpha, a + lda * i, lda, b + ldb * j, ldb, c + ldc * i + j, ldc, add);
        for (; i < m; i++)
            long_block(1, n - j, k, alpha, a + lda * i, lda, b + ldb * j, ldb, c + ldc * i + j, ldc, add);
    }
}
