/* backward.c - dx = dy W for AVX2: weights widened and turned once per chunk and strip, then fma in f32.
 *
 * The same walk as the avx512 set's.  Serving precision rounds dy and the widened weights to bf16 first, so that all
 * sets agree on what is multiplied.
 *
 * Order: scratch, widening, rows against a strip, the whole. */
#include <immintrin.h>
#include <string.h>

#include "kernel/avx2/avx2.h"
#include "kernel/avx2/math.h"
#include "kernel/tile.h"

#define INLINE static inline __attribute__((always_inline))

enum { CHUNK = TILE_SUM_CHUNK, ROWS_AT_ONCE = 256, STRIP_BYTES = CHUNK * TILE_K * 4 };

/* The strip [CHUNK n][32 k] f32; in serving precision then dy [rows][CHUNK] f32, rounded. */
size_t avx2_dx_scratch_bytes(const hone_weight *w, uint32_t m) {
    const size_t rows = w->precision == HONE_PRECISION_F32 ? 0 : m < ROWS_AT_ONCE ? m : ROWS_AT_ONCE;
    return STRIP_BYTES + rows * CHUNK * 4 + 64;
}

INLINE __m256 scales(const tile_shape *s, const uint8_t *step, uint32_t index, uint32_t which) {
    const uint8_t *p = step + s->q_bytes + index * s->scale_bytes;
    return s->half_scales ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * which)))
                          : _mm256_loadu_ps((const float *)(const void *)(p + 32 * which));
}

INLINE __m256i looked_up(__m256i first, __m256i second, __m256i code) {
    const __m256i a = _mm256_permutevar8x32_epi32(first, code), b = _mm256_permutevar8x32_epi32(second, code);
    return _mm256_blendv_epi8(a, b, _mm256_cmpgt_epi32(code, _mm256_set1_epi32(7)));
}

/* Inputs 8 part .. 8 part + 7 of a step: v[i] holds input i of outputs 8 which .. 8 which + 7. */
static void widen8(const tile_shape *s, int32_t offset, const uint8_t *table, const uint8_t *step, uint32_t part,
                   uint32_t which, __m256 v[8]) {
    switch (s->kind) {
    case TILE_F32:
        for (uint32_t i = 0; i < 8; i++)
            v[i] = _mm256_loadu_ps((const float *)(const void *)(step + 64 * (8 * part + i) + 32 * which));
        return;
    case TILE_F16:
        for (uint32_t i = 0; i < 8; i++)
            v[i] = _mm256_cvtph_ps(
                _mm_loadu_si128((const __m128i *)(const void *)(step + 32 * (8 * part + i) + 16 * which)));
        return;
    case TILE_BF16:
        for (uint32_t i = 0; i < 4; i++) {
            const __m256i p =
                _mm256_loadu_si256((const __m256i *)(const void *)(step + 64 * (4 * part + i) + 32 * which));
            v[2 * i] = widen_bf16(p);
            v[2 * i + 1] = _mm256_castsi256_ps(_mm256_and_si256(p, _mm256_set1_epi32((int)0xffff0000u)));
        }
        return;
    case TILE_U4:
    case TILE_U8: break;
    }
    const bool four = s->kind == TILE_U4;
    const __m256 scale = scales(s, step, s->groups == 2 ? part / 2 : 0, which);
    const __m256 minimum =
        s->has_minimum ? scales(s, step, s->groups == 2 ? 2 + part / 2 : 1, which) : _mm256_setzero_ps();
    __m256i first = _mm256_setzero_si256(), second = first; /* the table as 16 lanes */
    if (table) {
        first = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)table));
        second = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(table + 8)));
    }
    const __m256i mask = _mm256_set1_epi32(four ? 15 : 255), shift_by = _mm256_set1_epi32(offset);
    for (uint32_t j = 0; j < 2; j++) {
        const uint32_t line = 2 * part + j; /* of 8 */
        __m256i q =
            _mm256_loadu_si256((const __m256i *)(const void *)(step + 64 * (four ? line % 4 : line) + 32 * which));
        if (four && line >= 4) q = _mm256_srli_epi32(q, 4);
        for (uint32_t t = 0; t < 4; t++) {
            const __m256i code = _mm256_and_si256(q, mask);
            const __m256i u = _mm256_sub_epi32(table ? looked_up(first, second, code) : code, shift_by);
            const __m256 p = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(u));
            v[4 * j + t] = s->has_minimum ? _mm256_add_ps(p, minimum) : p;
            q = _mm256_srli_epi32(q, 8);
        }
    }
}

static void widen_strip(const hone_weight *w, const tile_shape *s, uint32_t p0, uint32_t p1, uint32_t step, bool bf16,
                        float *strip) {
    const int32_t offset = kernel_quant_offset(w->dtype);
    for (uint32_t p = p0; p < p1; p++, strip += HONE_PANEL * TILE_K) {
        const uint8_t *from = (const uint8_t *)w->data + p * s->panel_bytes + step * s->step_bytes;
        for (uint32_t which = 0; which < 2; which++)
            for (uint32_t part = 0; part < 4; part++) {
                __m256 v[8];
                widen8(s, offset, kernel_quant_table(w->dtype), from, part, which, v);
                transpose8(v);
                for (uint32_t o = 0; o < 8; o++)
                    _mm256_storeu_ps(strip + (8 * which + o) * TILE_K + 8 * part, bf16 ? through_bf16(v[o]) : v[o]);
            }
    }
}

/* Columns 16 half .. 16 half + 15 of the strip for n rows. */
INLINE void rows_strip(const int n, const float *strip, uint32_t len, const float *dy, size_t lddy, bool add, float *dx,
                       size_t lddx, uint32_t wide) {
    __m256 a[4], b[4];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) a[i] = b[i] = _mm256_setzero_ps();
    for (uint32_t j = 0; j < len; j++, strip += TILE_K) {
        const __m256 w0 = _mm256_loadu_ps(strip), w1 = _mm256_loadu_ps(strip + 8);
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            const __m256 g = _mm256_set1_ps(dy[lddy * (size_t)i + j]);
            a[i] = _mm256_fmadd_ps(w0, g, a[i]);
            b[i] = _mm256_fmadd_ps(w1, g, b[i]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        float *out = dx + lddx * (size_t)i;
        store8(out, wide, add ? _mm256_add_ps(load8(out, wide), a[i]) : a[i]);
        if (wide > 8) store8(out + 8, wide - 8, add ? _mm256_add_ps(load8(out + 8, wide - 8), b[i]) : b[i]);
    }
}

static void all_rows(const float *strip, uint32_t len, const float *dy, size_t lddy, uint32_t m, bool add, float *dx,
                     size_t lddx, uint32_t wide) {
    uint32_t i = 0;
    for (; i + 4 <= m; i += 4) rows_strip(4, strip, len, dy + lddy * i, lddy, add, dx + lddx * i, lddx, wide);
    for (; i < m; i++) rows_strip(1, strip, len, dy + lddy * i, lddy, add, dx + lddx * i, lddx, wide);
}

void avx2_linear_dx(const hone_weight *w, const float *dy, size_t lddy, uint32_t m, float *dx, size_t lddx, uint32_t k0,
                    uint32_t k1, bool add, void *scratch) {
    tile_shape s;
    if (!tile_shape_of(w->dtype, w->precision, w->k, &s)) return;
    const bool bf16 = w->precision == HONE_PRECISION_SERVING;
    float *strip = (float *)(void *)((uint8_t *)scratch + (64 - (uintptr_t)scratch % 64) % 64);
    float *rounded = strip + CHUNK * TILE_K;
    for (uint32_t i0 = 0; i0 < m; i0 += ROWS_AT_ONCE) {
        const uint32_t rows = m - i0 < ROWS_AT_ONCE ? m - i0 : ROWS_AT_ONCE;
        for (uint32_t n = 0; n < w->n; n += CHUNK) {
            const uint32_t len = w->n - n < CHUNK ? w->n - n : CHUNK;
            const float *from = dy + lddy * i0 + n;
            size_t ld = lddy;
            if (bf16) {
                for (uint32_t i = 0; i < rows; i++)
                    for (uint32_t j = 0; j < len; j += 8)
                        store8(rounded + (size_t)CHUNK * i + j, len - j,
                               through_bf16(load8(from + lddy * i + j, len - j)));
                from = rounded;
                ld = CHUNK;
            }
            for (uint32_t k = k0; k < k1; k += TILE_K) {
                widen_strip(w, &s, n / HONE_PANEL, (n + len + HONE_PANEL - 1) / HONE_PANEL, k / TILE_K, bf16, strip);
                for (uint32_t h = 0; h < TILE_K && k + h < k1; h += 16)
                    all_rows(strip + h, len, from, ld, rows, add || n > 0, dx + lddx * i0 + k + h, lddx,
                             k1 - k - h < 16 ? k1 - k - h : 16);
            }
        }
    }
}
