/* linear_plain.c - products with F32, F16 and BF16 weights: one panel of 16 outputs against up to 16 rows.
 *
 * Sums go over K in chunks of TILE_SUM_CHUNK inputs, each from zero, and chunks are added in order: f32 weights and
 * activations with fma, as ref does; bf16 pairs with vdpbf16ps, whose own rounding (subnormals flushed) is this set's
 * arithmetic for BF16.
 *
 * Order: one chunk, the rows of a tile, ranges. */
#include <immintrin.h>
#include <string.h>

#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"
#include "kernel/tile.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m512bh pair(const uint8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return (__m512bh)_mm512_set1_epi32(v);
}

INLINE float one(const uint8_t *p) {
    float v;
    memcpy(&v, p, 4);
    return v;
}

/* One step of 32 inputs for n rows; x is the step's block of the tile at the first of the rows. */
INLINE void step(const tile_kind kind, const int n, const uint8_t *w, const uint8_t *x, __m512 *acc) {
    if (kind == TILE_BF16) {
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            const __m512bh v = (__m512bh)_mm512_loadu_si512((const void *)(w + 64 * j));
#pragma GCC unroll 16
            for (int i = 0; i < n; i++) acc[i] = _mm512_dpbf16_ps(acc[i], v, pair(x + 64 * i + 4 * j));
        }
        return;
    }
    for (int half = 0; half < 2; half++, x += 1024) {
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            const __m512 v = kind == TILE_F32
                                 ? _mm512_loadu_ps((const void *)(w + 64 * j))
                                 : _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(w + 32 * j)));
#pragma GCC unroll 16
            for (int i = 0; i < n; i++) acc[i] = _mm512_fmadd_ps(v, _mm512_set1_ps(one(x + 64 * i + 4 * j)), acc[i]);
        }
        w += kind == TILE_F32 ? 1024 : 512;
    }
}

INLINE void chunk(const tile_kind kind, const int n, const uint8_t *w, uint32_t n_step, const uint8_t *x, bool add,
                  float *y, size_t ldy, __mmask16 mask) {
    const size_t w_bytes = kind == TILE_F32 ? 2048 : 1024, x_bytes = kind == TILE_BF16 ? 1024 : 2048;
    __m512 acc[16];
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) acc[i] = _mm512_setzero_ps();
    for (uint32_t s = 0; s < n_step; s++, w += w_bytes, x += x_bytes) {
        if (n <= 4)
#pragma GCC unroll 32
            for (size_t b = 0; b < w_bytes; b += 64) _mm_prefetch((const char *)w + 4096 + b, _MM_HINT_T0);
        step(kind, n, w, x, acc);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) {
        float *out = y + ldy * (size_t)i;
        if (add) acc[i] = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), acc[i]);
        _mm512_mask_storeu_ps(out, mask, acc[i]);
    }
}

INLINE void chunk_tile(const tile_kind kind, const uint8_t *w, uint32_t n_step, const uint8_t *x, uint32_t m, bool add,
                       float *y, size_t ldy, __mmask16 mask) {
    if (m == TILE_ROWS) {
        chunk(kind, 16, w, n_step, x, add, y, ldy, mask);
        return;
    }
    uint32_t r = 0;
    if (m & 8u) {
        chunk(kind, 8, w, n_step, x, add, y, ldy, mask);
        r += 8;
    }
    if (m & 4u) {
        chunk(kind, 4, w, n_step, x + 64u * r, add, y + ldy * r, ldy, mask);
        r += 4;
    }
    if (m & 2u) {
        chunk(kind, 2, w, n_step, x + 64u * r, add, y + ldy * r, ldy, mask);
        r += 2;
    }
    if (m & 1u) chunk(kind, 1, w, n_step, x + 64u * r, add, y + ldy * r, ldy, mask);
}

typedef void tile_function(const uint8_t *w, uint32_t n_step, const uint8_t *x, uint32_t m, bool add, float *y,
                           size_t ldy, __mmask16 mask);

#define KIND(name, kind)                                                                                               \
    static void name(const uint8_t *w, uint32_t n_step, const uint8_t *x, uint32_t m, bool add, float *y, size_t ldy,  \
                     __mmask16 mask) {                                                                                 \
        chunk_tile(kind, w, n_step, x, m, add, y, ldy, mask);                                                          \
    }
KIND(f32, TILE_F32)
KIND(f16, TILE_F16)
KIND(bf16, TILE_BF16)

void avx512_linear_plain(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0,
                         uint32_t n1) {
    tile_shape shape;
    if (!tile_shape_of(w->dtype, w->precision, w->k, &shape)) return;
    tile_function *const function = shape.kind == TILE_F32 ? f32 : shape.kind == TILE_F16 ? f16 : bf16;
    const size_t x_bytes = tile_act_step_bytes(tile_act_kind(w)), tile_bytes = shape.n_step * x_bytes;
    const uint32_t rows = tile_rows_at_once(tile_bytes), steps = TILE_SUM_CHUNK / TILE_K;
    for (uint32_t i0 = 0; i0 < m; i0 += rows) {
        const uint32_t i1 = m - i0 < rows ? m : i0 + rows;
        for (uint32_t n = n0; n < n1; n += HONE_PANEL) {
            const uint8_t *panel = (const uint8_t *)w->data + n / HONE_PANEL * shape.panel_bytes;
            const __mmask16 mask = first(n1 - n);
            for (uint32_t s = 0; s < shape.n_step; s += steps) /* a chunk of the panel stays in the first cache */
                for (uint32_t i = i0; i < i1; i += TILE_ROWS)
                    function(panel + s * shape.step_bytes, shape.n_step - s < steps ? shape.n_step - s : steps,
                             (const uint8_t *)act + i / TILE_ROWS * tile_bytes + s * x_bytes,
                             i1 - i < TILE_ROWS ? i1 - i : TILE_ROWS, s != 0, y + ldy * i + n, ldy, mask);
        }
    }
}
