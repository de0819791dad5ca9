/* linear_plain.c - products with F32, F16 and BF16 weights for AVX2: half a panel (8 outputs) twice, 4 rows at once.
 *
 * Everything is fma in f32 in the order of k, chunk by chunk as ref does it; bf16 values are widened in registers.
 *
 * Order: one chunk, the rows of a tile, ranges. */
#include <immintrin.h>
#include <string.h>

#include "kernel/avx2/avx2.h"
#include "kernel/avx2/math.h"
#include "kernel/tile.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m256 spread(const uint8_t *p) {
    float v;
    memcpy(&v, p, 4);
    return _mm256_set1_ps(v);
}

/* n rows, both halves of the panel. */
INLINE void step(const tile_kind kind, const int n, const uint8_t *w, const uint8_t *x, __m256 acc[][2]) {
    if (kind == TILE_BF16) {
        const __m256i high = _mm256_set1_epi32((int)0xffff0000u);
        for (int j = 0; j < 16; j++) {
            const __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(w + 64 * j));
            const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(w + 64 * j + 32));
            const __m256 a0 = widen_bf16(a), a1 = _mm256_castsi256_ps(_mm256_and_si256(a, high));
            const __m256 b0 = widen_bf16(b), b1 = _mm256_castsi256_ps(_mm256_and_si256(b, high));
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) {
                const __m256i v = _mm256_castps_si256(spread(x + 64 * i + 4 * j));
                const __m256 v0 = widen_bf16(v), v1 = _mm256_castsi256_ps(_mm256_and_si256(v, high));
                acc[i][0] = _mm256_fmadd_ps(a1, v1, _mm256_fmadd_ps(a0, v0, acc[i][0]));
                acc[i][1] = _mm256_fmadd_ps(b1, v1, _mm256_fmadd_ps(b0, v0, acc[i][1]));
            }
        }
        return;
    }
    for (int half = 0; half < 2; half++, x += 1024) {
#pragma GCC unroll 4
        for (int j = 0; j < 16; j++) {
            __m256 a, b;
            if (kind == TILE_F32) {
                a = _mm256_loadu_ps((const float *)(const void *)(w + 64 * j));
                b = _mm256_loadu_ps((const float *)(const void *)(w + 64 * j + 32));
            } else {
                a = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(w + 32 * j)));
                b = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(w + 32 * j + 16)));
            }
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) {
                const __m256 v = spread(x + 64 * i + 4 * j);
                acc[i][0] = _mm256_fmadd_ps(a, v, acc[i][0]);
                acc[i][1] = _mm256_fmadd_ps(b, v, acc[i][1]);
            }
        }
        w += kind == TILE_F32 ? 1024 : 512;
    }
}

INLINE void chunk(const tile_kind kind, const int n, const uint8_t *w, uint32_t n_step, const uint8_t *x, bool add,
                  float *y, size_t ldy, uint32_t outputs) {
    __m256 acc[4][2];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (uint32_t s = 0; s < n_step; s++) {
        step(kind, n, w, x, acc);
        w += kind == TILE_F32 ? 2048 : 1024;
        x += kind == TILE_BF16 ? 1024 : 2048;
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
#pragma GCC unroll 2
        for (uint32_t h = 0; h < 2; h++) {
            if (outputs <= 8 * h) continue;
            float *out = y + ldy * (size_t)i + 8 * h;
            const uint32_t len = outputs - 8 * h;
            store8(out, len, add ? _mm256_add_ps(load8(out, len), acc[i][h]) : acc[i][h]);
        }
}

INLINE void chunk_tile(const tile_kind kind, const uint8_t *w, uint32_t n_step, const uint8_t *x, uint32_t m, bool add,
                       float *y, size_t ldy, uint32_t outputs) {
    uint32_t r = 0;
    for (; r + 4 <= m; r += 4) chunk(kind, 4, w, n_step, x + 64u * r, add, y + ldy * r, ldy, outputs);
    if (m & 2u) {
        chunk(kind, 2, w, n_step, x + 64u * r, add, y + ldy * r, ldy, outputs);
        r += 2;
    }
    if (m & 1u) chunk(kind, 1, w, n_step, x + 64u * r, add, y + ldy * r, ldy, outputs);
}

typedef void tile_function(const uint8_t *w, uint32_t n_step, const uint8_t *x, uint32_t m, bool add, float *y,
                           size_t ldy, uint32_t outputs);

#define KIND(name, kind)                                                                                               \
    static void name(const uint8_t *w, uint32_t n_step, const uint8_t *x, uint32_t m, bool add, float *y, size_t ldy,  \
                     uint32_t outputs) {                                                                               \
        chunk_tile(kind, w, n_step, x, m, add, y, ldy, outputs);                                                       \
    }
KIND(f32, TILE_F32)
KIND(f16, TILE_F16)
KIND(bf16, TILE_BF16)

void avx2_linear_plain(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0,
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
            for (uint32_t s = 0; s < shape.n_step; s += steps) /* a chunk of the panel stays in the first cache */
                for (uint32_t i = i0; i < i1; i += TILE_ROWS)
                    function(panel + s * shape.step_bytes, shape.n_step - s < steps ? shape.n_step - s : steps,
                             (const uint8_t *)act + i / TILE_ROWS * tile_bytes + s * x_bytes,
                             i1 - i < TILE_ROWS ? i1 - i : TILE_ROWS, s != 0, y + ldy * i + n, ldy,
                             n1 - n < HONE_PANEL ? n1 - n : HONE_PANEL);
        }
    }
}
