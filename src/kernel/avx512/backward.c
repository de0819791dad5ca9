/* backward.c - dx = dy W through frozen weights of any format.
 *
 * N goes in chunks of TILE_SUM_CHUNK outputs, K in strips of 32 inputs.  The weights of one chunk and strip are widened
 * and turned into scratch once, and all rows pass over them: at a few hundred rows widening is a small part.  Serving
 * precision multiplies bf16 pairs (vdpbf16ps) of rounded dy and rounded weights; f32 precision uses fma.  A chunk is
 * summed from zero in order of n and added to dx, whatever the rows and the range of K.
 *
 * Order: scratch, widening, rows against a strip, the whole. */
#include <immintrin.h>
#include <string.h>

#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"
#include "kernel/avx512/transpose.h"
#include "kernel/tile.h"

#define INLINE static inline __attribute__((always_inline))

enum { CHUNK = TILE_SUM_CHUNK, PAIRS = CHUNK / 2, ROWS_AT_ONCE = AVX512_DX_ROWS };

/* ---- Scratch: the widened strip [CHUNK n][32 k] f32, or bf16 pairs of n [PAIRS][32 k][2]; then dy as bf16 pairs.
 * ----- */

enum { STRIP_BYTES = CHUNK * TILE_K * 4 };

size_t avx512_dx_scratch_bytes(const hone_weight *w, uint32_t m) {
    const size_t tiles = m < ROWS_AT_ONCE ? (m + TILE_ROWS - 1) / TILE_ROWS : ROWS_AT_ONCE / TILE_ROWS;
    return STRIP_BYTES + (w->precision == HONE_PRECISION_F32 ? 0 : tiles * TILE_ROWS * CHUNK * 2) + 64;
}

uint8_t *avx512_dx_strip(void *scratch) {
    return (uint8_t *)scratch + (64 - (uintptr_t)scratch % 64) % 64;
}
uint8_t *avx512_dx_rows(void *scratch) {
    return avx512_dx_strip(scratch) + STRIP_BYTES;
}

/* ---- Widening --------------------------------------------------------------------------------------------------- */

INLINE __m512 scales(const tile_shape *s, const uint8_t *step, uint32_t index) {
    const uint8_t *p = step + s->q_bytes + index * s->scale_bytes;
    return s->half_scales ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p))
                          : _mm512_loadu_ps((const void *)p);
}

/* Half a step: v[i] holds input i (of 16) of 16 outputs. */
static void widen16(const tile_shape *s, int32_t offset, const uint8_t *table, const uint8_t *step, uint32_t half,
                    __m512 v[16]) {
    switch (s->kind) {
    case TILE_F32:
        for (uint32_t i = 0; i < 16; i++) v[i] = _mm512_loadu_ps((const void *)(step + 1024 * half + 64 * i));
        return;
    case TILE_F16:
        for (uint32_t i = 0; i < 16; i++)
            v[i] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(step + 512 * half + 32 * i)));
        return;
    case TILE_BF16:
        for (uint32_t i = 0; i < 8; i++) {
            const __m512i p = _mm512_loadu_si512((const void *)(step + 512 * half + 64 * i));
            v[2 * i] = _mm512_castsi512_ps(_mm512_slli_epi32(p, 16));
            v[2 * i + 1] = _mm512_castsi512_ps(_mm512_and_si512(p, _mm512_set1_epi32((int)0xffff0000u)));
        }
        return;
    case TILE_U4:
    case TILE_U8: break;
    }
    const bool four = s->kind == TILE_U4;
    const __m512 scale = scales(s, step, s->groups == 2 ? half : 0);
    const __m512 minimum = s->has_minimum ? scales(s, step, s->groups == 2 ? 2 + half : 1) : _mm512_setzero_ps();
    const __m512i values = _mm512_cvtepu8_epi32(table ? _mm_loadu_si128((const void *)table) : _mm_setzero_si128());
    const __m512i mask = _mm512_set1_epi32(four ? 15 : 255), shift_by = _mm512_set1_epi32(offset);
    for (uint32_t j = 0; j < 4; j++) {
        __m512i q = _mm512_loadu_si512((const void *)(step + 64 * (four ? j : 4 * half + j)));
        if (four && half) q = _mm512_srli_epi32(q, 4);
        for (uint32_t t = 0; t < 4; t++) {
            const __m512i code = _mm512_and_si512(q, mask);
            const __m512i u = _mm512_sub_epi32(table ? _mm512_permutexvar_epi32(code, values) : code, shift_by);
            const __m512 p = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(u));
            v[4 * j + t] = s->has_minimum ? _mm512_add_ps(p, minimum) : p;
            q = _mm512_srli_epi32(q, 8);
        }
    }
}

/* Step `step` of K of panels p0 .. p1 - 1 into the strip. */
static void widen_strip(const hone_weight *w, const tile_shape *s, uint32_t p0, uint32_t p1, uint32_t step, bool bf16,
                        uint8_t *strip) {
    const int32_t offset = kernel_quant_offset(w->dtype);
    const __m512i zip = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (uint32_t p = p0; p < p1; p++) {
        const uint8_t *from = (const uint8_t *)w->data + p * s->panel_bytes + step * s->step_bytes;
        for (uint32_t half = 0; half < 2; half++) {
            __m512 v[16];
            widen16(s, offset, kernel_quant_table(w->dtype), from, half, v);
            transpose16(v); /* now v[o] holds output o of 16 inputs */
            if (bf16) {
                uint8_t *to = strip + (size_t)(p - p0) * 8 * 128 + 64 * half;
                for (uint32_t o = 0; o < 8; o++) {
                    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(v[2 * o + 1], v[2 * o]);
                    _mm512_store_si512((void *)(to + 128 * o), _mm512_permutexvar_epi16(zip, both));
                }
            } else {
                uint8_t *to = strip + (size_t)(p - p0) * 16 * 128 + 64 * half;
                for (uint32_t o = 0; o < 16; o++) _mm512_store_ps((void *)(to + 128 * o), v[o]);
            }
        }
    }
}

/* ---- Rows against a strip -------------------------------------------------------------------------------------------
 */

/* dx[i][0..31 of mask] (+)= one chunk.  bf16: dy holds pairs, row distance ldy pairs; else floats. */
INLINE void rows_strip(const bool bf16, const int n, const uint8_t *strip, uint32_t len, const void *dy, size_t ldy,
                       bool add, float *dx, size_t lddx, __mmask16 low, __mmask16 high) {
    __m512 a[8], b[8];
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) a[i] = b[i] = _mm512_setzero_ps();
    for (uint32_t j = 0; j < len; j++, strip += 128) {
        const __m512 w0 = _mm512_load_ps((const void *)strip), w1 = _mm512_load_ps((const void *)(strip + 64));
#pragma GCC unroll 8
        for (int i = 0; i < n; i++) {
            if (bf16) {
                const __m512bh g = (__m512bh)_mm512_set1_epi32(((const int32_t *)dy)[ldy * (size_t)i + j]);
                a[i] = _mm512_dpbf16_ps(a[i], (__m512bh)_mm512_castps_si512(w0), g);
                b[i] = _mm512_dpbf16_ps(b[i], (__m512bh)_mm512_castps_si512(w1), g);
            } else {
                const __m512 g = _mm512_set1_ps(((const float *)dy)[ldy * (size_t)i + j]);
                a[i] = _mm512_fmadd_ps(w0, g, a[i]);
                b[i] = _mm512_fmadd_ps(w1, g, b[i]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) {
        float *out = dx + lddx * (size_t)i;
        if (add) {
            a[i] = _mm512_add_ps(_mm512_maskz_loadu_ps(low, out), a[i]);
            b[i] = _mm512_add_ps(_mm512_maskz_loadu_ps(high, out + 16), b[i]);
        }
        _mm512_mask_storeu_ps(out, low, a[i]);
        _mm512_mask_storeu_ps(out + 16, high, b[i]);
    }
}

INLINE void all_rows(const bool bf16, const uint8_t *strip, uint32_t len, const void *dy, size_t ldy, uint32_t m,
                     bool add, float *dx, size_t lddx, __mmask16 low, __mmask16 high) {
    const uint8_t *g = dy; /* floats and bf16 pairs are both 4 bytes */
    uint32_t i = 0;
    for (; i + 8 <= m; i += 8)
        rows_strip(bf16, 8, strip, len, g + 4 * ldy * i, ldy, add, dx + lddx * i, lddx, low, high);
    if (m & 4u) {
        rows_strip(bf16, 4, strip, len, g + 4 * ldy * i, ldy, add, dx + lddx * i, lddx, low, high);
        i += 4;
    }
    if (m & 2u) {
        rows_strip(bf16, 2, strip, len, g + 4 * ldy * i, ldy, add, dx + lddx * i, lddx, low, high);
        i += 2;
    }
    if (m & 1u) rows_strip(bf16, 1, strip, len, g + 4 * ldy * i, ldy, add, dx + lddx * i, lddx, low, high);
}

/* ---- The whole ----------------------------------------------------------------------------------------------------
 */

void avx512_dx_widen(const hone_weight *w, uint32_t n, uint32_t len, uint32_t step, uint8_t *strip) {
    tile_shape s;
    if (!tile_shape_of(w->dtype, w->precision, w->k, &s)) return;
    const uint32_t p0 = n / HONE_PANEL, p1 = (n + len + HONE_PANEL - 1) / HONE_PANEL;
    widen_strip(w, &s, p0, p1, step, true, strip);
    if ((p1 - p0) % 2) memset(strip + (size_t)(p1 - p0) * 8 * 128, 0, 8 * 128);
}

void avx512_dx_round(const float *dy, size_t lddy, uint32_t m, uint32_t len, uint8_t *to) {
    for (uint32_t i = 0; i < m; i++, dy += lddy, to += CHUNK * 2)
        for (uint32_t j = 0; j < len; j += 32) {
            const __m512 a = _mm512_maskz_loadu_ps(first(len - j), dy + j);
            const __m512 b = _mm512_maskz_loadu_ps(len - j > 16 ? first(len - j - 16) : 0, dy + j + 16);
            _mm512_store_si512((void *)(to + 2 * j), (__m512i)_mm512_cvtne2ps_pbh(b, a));
        }
}

void avx512_linear_dx(const hone_weight *w, const float *dy, size_t lddy, uint32_t m, float *dx, size_t lddx,
                      uint32_t k0, uint32_t k1, bool add, void *scratch) {
    tile_shape s;
    if (!tile_shape_of(w->dtype, w->precision, w->k, &s)) return;
    const bool bf16 = w->precision == HONE_PRECISION_SERVING;
    uint8_t *strip = avx512_dx_strip(scratch), *pairs = avx512_dx_rows(scratch);
    for (uint32_t i0 = 0; i0 < m; i0 += ROWS_AT_ONCE) {
        const uint32_t rows = m - i0 < ROWS_AT_ONCE ? m - i0 : ROWS_AT_ONCE;
        for (uint32_t n = 0; n < w->n; n += CHUNK) {
            const uint32_t len = w->n - n < CHUNK ? w->n - n : CHUNK;
            const float *from = dy + lddy * i0 + n;
            if (bf16) avx512_dx_round(from, lddy, rows, len, pairs);
            for (uint32_t k = k0; k < k1; k += TILE_K) {
                const uint32_t wide = k1 - k < TILE_K ? k1 - k : TILE_K;
                const __mmask16 low = first(wide), high = wide > 16 ? first(wide - 16) : 0;
                float *to = dx + lddx * i0 + k;
                widen_strip(w, &s, n / HONE_PANEL, (n + len + HONE_PANEL - 1) / HONE_PANEL, k / TILE_K, bf16, strip);
                if (bf16)
                    all_rows(true, strip, (len + 1) / 2, pairs, PAIRS, rows, add || n > 0, to, lddx, low, high);
                else
                    all_rows(false, strip, len, from, lddy, rows, add || n > 0, to, lddx, low, high);
            }
        }
    }
}
