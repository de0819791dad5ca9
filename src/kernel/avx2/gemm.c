/* gemm.c - plain f32 products for adapters, for AVX2; the ways are those of the avx512 set with 8 lanes.
 *
 * Order: nn and tn, nt. */
#include <immintrin.h>

#include "kernel/avx2/avx2.h"
#include "kernel/avx2/math.h"

#define INLINE static inline __attribute__((always_inline))

enum { NT_SHORT = 64 };

INLINE void put(float *c, __m256 alpha, __m256 sum, bool add, size_t len) {
    store8(c, len, add ? _mm256_fmadd_ps(alpha, sum, load8(c, len)) : _mm256_mul_ps(alpha, sum));
}

/* r rows of c by 16 columns or fewer; element l of row i of a is a[i * row + l * step].  tn: the chain begins with what
 * c holds and alpha scales a, as kernel.h asks of gemm_tn; otherwise alpha scales the sum. */
INLINE void block(const bool tn, const int r, uint32_t len, uint32_t k, float alpha, const float *a, size_t row,
                  size_t step, const float *b, size_t ldb, float *c, size_t ldc, bool add) {
    __m256 s[4][2];
    const uint32_t low = len < 8 ? len : 8, high = len - low;
#pragma GCC unroll 4
    for (int i = 0; i < r; i++) {
        s[i][0] = tn && add ? load8(c + ldc * (size_t)i, low) : _mm256_setzero_ps();
        s[i][1] = tn && add && high ? load8(c + ldc * (size_t)i + 8, high) : _mm256_setzero_ps();
    }
    for (uint32_t l = 0; l < k; l++, a += step, b += ldb) {
        const __m256 v0 = load8(b, low), v1 = high ? load8(b + 8, high) : _mm256_setzero_ps();
#pragma GCC unroll 4
        for (int i = 0; i < r; i++) {
            const __m256 x = _mm256_set1_ps(tn ? alpha * a[row * (size_t)i] : a[row * (size_t)i]);
            s[i][0] = _mm256_fmadd_ps(x, v0, s[i][0]);
            s[i][1] = _mm256_fmadd_ps(x, v1, s[i][1]);
        }
    }
    const __m256 by = _mm256_set1_ps(alpha);
#pragma GCC unroll 4
    for (int i = 0; i < r; i++) {
        float *to = c + ldc * (size_t)i;
        if (tn) {
            store8(to, low, s[i][0]);
            if (high) store8(to + 8, high, s[i][1]);
        } else {
            put(to, by, s[i][0], add, low);
            if (high) put(to + 8, by, s[i][1], add, high);
        }
    }
}

INLINE void columns(const bool tn, uint32_t m, uint32_t len, uint32_t k, float alpha, const float *a, size_t row,
                    size_t step, const float *b, size_t ldb, float *c, size_t ldc, bool add) {
    uint32_t i = 0;
    if (len == 16)
        for (; i + 4 <= m; i += 4) block(tn, 4, 16, k, alpha, a + row * i, row, step, b, ldb, c + ldc * i, ldc, add);
    for (; i + 4 <= m; i += 4) block(tn, 4, len, k, alpha, a + row * i, row, step, b, ldb, c + ldc * i, ldc, add);
    for (; i < m; i++) block(tn, 1, len, k, alpha, a + row * i, row, step, b, ldb, c + ldc * i, ldc, add);
}

INLINE void product(const bool tn, uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t row,
                    size_t step, const float *b, size_t ldb, float *c, size_t ldc, bool add) {
    for (uint32_t j = 0; j < n; j += 16)
        columns(tn, m, n - j < 16 ? n - j : 16, k, alpha, a, row, step, b + j, ldb, c + j, ldc, add);
}

void avx2_gemm_nn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                  size_t ldb, float *c, size_t ldc, bool add) {
    product(false, m, n, k, alpha, a, lda, 1, b, ldb, c, ldc, add);
}

void avx2_gemm_tn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                  size_t ldb, float *c, size_t ldc, bool add) {
    product(true, m, n, k, alpha, a, 1, lda, b, ldb, c, ldc, add);
}

/* ---- c = a b^T -----------------------------------------------------------------------------------------------------
 */

static void short_nt(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                     size_t ldb, float *c, size_t ldc, bool add) {
    float turned[NT_SHORT * 16];
    for (uint32_t j = 0; j < n; j += 16) {
        const uint32_t len = n - j < 16 ? n - j : 16;
        for (uint32_t which = 0; which < 2; which++)
            for (uint32_t l = 0; l < k; l += 8) {
                __m256 v[8];
                for (uint32_t i = 0; i < 8; i++)
                    v[i] = 8 * which + i < len ? load8(b + ldb * (j + 8 * which + i) + l, k - l) : _mm256_setzero_ps();
                transpose8(v);
                for (uint32_t i = 0; i < 8; i++) _mm256_storeu_ps(turned + 16 * (l + i) + 8 * which, v[i]);
            }
        columns(false, m, len, k, alpha, a, lda, 1, turned, 16, c + j, ldc, add);
    }
}

INLINE void long_block(const int r, const int w, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                       size_t ldb, float *c, size_t ldc, bool add) {
    __m256 s[3][4];
#pragma GCC unroll 3
    for (int i = 0; i < r; i++)
#pragma GCC unroll 4
        for (int j = 0; j < w; j++) s[i][j] = _mm256_setzero_ps();
    for (uint32_t l = 0; l < k; l += 8) {
        const uint32_t len = k - l;
        __m256 x[3];
#pragma GCC unroll 3
        for (int i = 0; i < r; i++) x[i] = load8(a + lda * (size_t)i + l, len);
#pragma GCC unroll 4
        for (int j = 0; j < w; j++) {
            const __m256 v = load8(b + ldb * (size_t)j + l, len);
#pragma GCC unroll 3
            for (int i = 0; i < r; i++) s[i][j] = _mm256_fmadd_ps(x[i], v, s[i][j]);
        }
    }
#pragma GCC unroll 3
    for (int i = 0; i < r; i++)
#pragma GCC unroll 4
        for (int j = 0; j < w; j++) {
            float *out = c + ldc * (size_t)i + j;
            const float sum = sum8(s[i][j]);
            *out = add ? __builtin_fmaf(alpha, sum, *out) : alpha * sum;
        }
}

void avx2_gemm_nt(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                  size_t ldb, float *c, size_t ldc, bool add) {
    if (k <= NT_SHORT) {
        short_nt(m, n, k, alpha, a, lda, b, ldb, c, ldc, add);
        return;
    }
    uint32_t j = 0;
    for (; j + 4 <= n; j += 4) {
        uint32_t i = 0;
        for (; i + 3 <= m; i += 3)
            long_block(3, 4, k, alpha, a + lda * i, lda, b + ldb * j, ldb, c + ldc * i + j, ldc, add);
        for (; i < m; i++) long_block(1, 4, k, alpha, a + lda * i, lda, b + ldb * j, ldb, c + ldc * i + j, ldc, add);
    }
    for (; j < n; j++) {
        uint32_t i = 0;
        for (; i + 3 <= m; i += 3)
            long_block(3, 1, k, alpha, a + lda * i, lda, b + ldb * j, ldb, c + ldc * i + j, ldc, add);
        for (; i < m; i++) long_block(1, 1, k, alpha, a + lda * i, lda, b + ldb * j, ldb, c + ldc * i + j, ldc, add);
    }
}
