/* lowrank.c - the products of adapters laid for serving: few rows, many of them with matrices of their own, so that
 * memory is what binds.  The contract is in kernel.h: the bits are those of gemm.c.
 *
 * Order: loads, down, up. */
#include <immintrin.h>

#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    RANKS = 16, /* rows of a that stay in the first cache while rows of x pass */
    PANELS = 4  /* of up's block */
};

/* ---- loads: 16 elements as floats ---- */

INLINE __m512 load(const hone_dtype t, const uint8_t *from, __mmask16 mask) {
    if (t == HONE_BF16)
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from)), 16));
    if (t == HONE_F16) return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from));
    return _mm512_maskz_loadu_ps(mask, from);
}

/* ---- down ---- */

/* rows of x by up to 4 rows of a. */
INLINE void down_block(const hone_dtype t, const int rows, uint32_t left, uint32_t k, const float *x, size_t ldx,
                       const uint8_t *a, float *ax, size_t ldax) {
    const size_t one = t == HONE_F32 ? 4 : 2, row = one * k;
    const uint8_t *from[4];
    for (uint32_t j = 0; j < 4; j++) from[j] = a + row * (j < left ? j : left - 1);
    __m512 s[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) s[i][j] = _mm512_setzero_ps();
    for (uint32_t l = 0; l < k; l += 16) {
        const __mmask16 mask = first(k - l);
        __m512 v[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) v[j] = load(t, from[j] + one * l, mask);
        if (rows == 1 &&
            (t == HONE_F32 || l % 32 == 0)) /* the next four: each is too short for the processor to guess */
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) _mm_prefetch((const char *)from[j] + 4 * row + one * l, _MM_HINT_T0);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const __m512 y = _mm512_maskz_loadu_ps(mask, x + ldx * (size_t)i + l);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) s[i][j] = _mm512_fmadd_ps(y, v[j], s[i][j]);
        }
    }
    const __mmask8 keep = (__mmask8)(left >= 4 ? 15u : (1u << left) - 1u);
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) _mm_mask_storeu_ps(ax + ldax * (size_t)i, keep, sums_of_4(s[i]));
}

INLINE void down(const hone_dtype t, uint32_t m, uint32_t r, uint32_t k, const float *x, size_t ldx, const uint8_t *a,
                 float *ax, size_t ldax) {
    const size_t row = (t == HONE_F32 ? 4ul : 2ul) * k;
    for (uint32_t at = 0; at < r; at += RANKS) {
        const uint32_t end = at + RANKS < r ? at + RANKS : r;
        uint32_t i = 0;
        for (; i + 4 <= m; i += 4)
            for (uint32_t j = at; j < end; j += 4)
                down_block(t, 4, r - j, k, x + ldx * i, ldx, a + row * j, ax + ldax * i + j, ldax);
        for (; i < m; i++)
            for (uint32_t j = at; j < end; j += 4)
                down_block(t, 1, r - j, k, x + ldx * i, ldx, a + row * j, ax + ldax * i + j, ldax);
    }
}

/* Models so narrow are for tests alone. */
static void down_short(hone_dtype t, uint32_t m, uint32_t r, uint32_t k, const float *x, size_t ldx, const uint8_t *a,
                       float *ax, size_t ldax) {
    float row[NT_SHORT];
    const size_t one = t == HONE_F32 ? 4 : 2;
    for (uint32_t j = 0; j < r; j++) {
        for (uint32_t l = 0; l < k; l += 16)
            _mm512_mask_storeu_ps(row + l, first(k - l), load(t, a + one * ((size_t)j * k + l), first(k - l)));
        for (uint32_t i = 0; i < m; i++) {
            float sum = 0.0f;
            for (uint32_t l = 0; l < k; l++) sum = __builtin_fmaf(x[ldx * i + l], row[l], sum);
            ax[ldax * i + j] = sum;
        }
    }
}

void avx512_lora_down(uint32_t m, uint32_t r, uint32_t k, const float *x, size_t ldx, hone_dtype t, const void *a,
                      float *ax, size_t ldax) {
    if (k <= NT_SHORT)
        down_short(t, m, r, k, x, ldx, a, ax, ldax);
    else if (t == HONE_BF16)
        down(HONE_BF16, m, r, k, x, ldx, a, ax, ldax);
    else if (t == HONE_F16)
        down(HONE_F16, m, r, k, x, ldx, a, ax, ldax);
    else
        down(HONE_F32, m, r, k, x, ldx, a, ax, ldax);
}

/* ---- up ---- */

/* rows of ax by w panels, of which the last has the lanes `last`. */
INLINE void up_block(const hone_dtype t, const int rows, const int w, __mmask16 last, uint32_t r, __m512 scale,
                     const float *ax, size_t ldax, const uint8_t *b, float *y, size_t ldy) {
    const size_t line = t == HONE_F32 ? 64 : 32, panel = line * r;
    __m512 s[4][PANELS];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < w; j++) s[i][j] = _mm512_setzero_ps();
    for (uint32_t l = 0; l < r; l++) {
        __m512 v[PANELS];
#pragma GCC unroll 4
        for (int j = 0; j < w; j++) v[j] = load(t, b + panel * (size_t)j + line * l, 0xffff);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const __m512 x = _mm512_set1_ps(ax[ldax * (size_t)i + l]);
#pragma GCC unroll 4
            for (int j = 0; j < w; j++) s[i][j] = _mm512_fmadd_ps(x, v[j], s[i][j]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < w; j++) {
            float *to = y + ldy * (size_t)i + 16 * j;
            const __mmask16 keep = j == w - 1 ? last : 0xffff;
            _mm512_mask_storeu_ps(to, keep, _mm512_fmadd_ps(scale, s[i][j], _mm512_maskz_loadu_ps(keep, to)));
        }
}

INLINE void up_panels(const hone_dtype t, const int w, __mmask16 last, uint32_t m, uint32_t r, __m512 scale,
                      const float *ax, size_t ldax, const uint8_t *b, float *y, size_t ldy) {
    uint32_t i = 0;
    for (; i + 4 <= m; i += 4) up_block(t, 4, w, last, r, scale, ax + ldax * i, ldax, b, y + ldy * i, ldy);
    for (; i < m; i++) up_block(t, 1, w, last, r, scale, ax + ldax * i, ldax, b, y + ldy * i, ldy);
}

INLINE void up(const hone_dtype t, uint32_t m, uint32_t n, uint32_t r, float by, const float *ax, size_t ldax,
               const uint8_t *b, float *y, size_t ldy) {
    const size_t panel = (t == HONE_F32 ? 64ul : 32ul) * r;
    const __m512 scale = _mm512_set1_ps(by);
    uint32_t p = 0;
    for (; 16 * (p + PANELS) <= n; p += PANELS)
        up_panels(t, PANELS, 0xffff, m, r, scale, ax, ldax, b + panel * p, y + 16 * p, ldy);
    for (; 16 * p < n; p++) up_panels(t, 1, first(n - 16 * p), m, r, scale, ax, ldax, b + panel * p, y + 16 * p, ldy);
}

void avx512_lora_up(uint32_t m, uint32_t n, uint32_t r, float scale, const float *ax, size_t ldax, hone_dtype t,
                    const void *b, float *y, size_t ldy) {
    if (t == HONE_BF16)
        up(HONE_BF16, m, n, r, scale, ax, ldax, b, y, ldy);
    else if (t == HONE_F16)
        up(HONE_F16, m, n, r, scale, ax, ldax, b, y, ldy);
    else
        up(HONE_F32, m, n, r, scale, ax, ldax, b, y, ldy);
}
