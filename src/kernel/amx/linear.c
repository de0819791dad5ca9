/* linear.c - products with quantised and bf16 weights on AMX tiles of 16 rows x 16 outputs.
 *
 * int8: a step of 32 inputs (16 where a scale covers 16) is one tile product, whose integers are exact; the f32 sums
 * are avx512's, in its order, so that the two sets agree as bits and few rows may take avx512's way.  bf16: the tile
 * unit's own rounding is this set's arithmetic, so every number of rows goes through it; chunks of TILE_SUM_CHUNK
 * inputs from zero, as everywhere.
 *
 * Order: int8, bf16, ranges. */
#include <immintrin.h>

#include "kernel/amx/amx.h"
#include "kernel/amx/register.h"
#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"
#include "kernel/tile.h"

#define INLINE static inline __attribute__((always_inline))

enum { FEW_ROWS = 4 }; /* up to here avx512 is at memory speed */

/* ---- int8 ---------------------------------------------------------------------------------------------------------
 */

INLINE __m512 load_scale(bool half, const uint8_t *p) {
    return half ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p))
                : _mm512_loadu_ps((const void *)p);
}

INLINE void unpack(const tile_format f, const uint8_t *step, uint8_t *to) {
    const __m512i low = _mm512_set1_epi8(15);
    const __m512i table =
        f.table == HONE_F32 ? low : _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)kernel_quant_table(f.table)));
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const __m512i q = _mm512_loadu_si512((const void *)(step + 64 * j));
        const __m512i a = _mm512_and_si512(q, low), b = _mm512_and_si512(_mm512_srli_epi16(q, 4), low);
        _mm512_store_si512((void *)(to + 64 * j), f.table == HONE_F32 ? a : _mm512_shuffle_epi8(table, a));
        _mm512_store_si512((void *)(to + 64 * (j + 4)), f.table == HONE_F32 ? b : _mm512_shuffle_epi8(table, b));
    }
}

/* Integer products of one step (or its half) into sum [16 rows][16 outputs]. */
INLINE void tile_product(const int8_t *q, const uint8_t *w, int32_t *sum) {
    AMX_BARRIER();
    _tile_zero(0);
    _tile_loadd(1, q, TILE_K);
    _tile_loadd(2, w, 64);
    _tile_dpbsud(0, 1, 2);
    _tile_stored(0, sum, 64);
    AMX_BARRIER();
}

INLINE void panel_tile(const tile_format f, const uint8_t *panel, uint32_t n_step, const act_block *x, uint32_t m,
                       float *y, size_t ldy, __mmask16 mask) {
    const size_t q_bytes = f.four_bits ? 256u : 512u, scale_bytes = f.half_scales ? 32u : 64u;
    const size_t step_bytes = q_bytes + (f.pairs ? 2u : 1u) * (f.has_minimum ? 2u : 1u) * scale_bytes;
    uint8_t bytes[512] __attribute__((aligned(64)));
    int32_t sum[16 * 16] __attribute__((aligned(64))), high[16 * 16] __attribute__((aligned(64)));
    const uint16_t *fine_rows = tile_fine_rows(x, n_step);
    __m512 acc[16];
    for (uint32_t i = 0; i < 16; i++) acc[i] = _mm512_setzero_ps();
    for (uint32_t s = 0; s < n_step; s++, panel += step_bytes, x++) {
        const uint8_t *w = panel, *scales = panel + q_bytes;
        if (f.four_bits) {
            unpack(f, panel, bytes);
            w = bytes;
        }
        const __m512 scale = load_scale(f.half_scales, scales);
        const __m512 scale_high = f.pairs ? load_scale(f.half_scales, scales + scale_bytes) : scale;
        const uint8_t *minima = scales + (f.pairs ? 2 : 1) * scale_bytes;
        const __m512 minimum = f.has_minimum ? load_scale(f.half_scales, minima) : scale;
        const __m512 minimum_high = f.has_minimum && f.pairs ? load_scale(f.half_scales, minima + scale_bytes) : scale;
        /* The block, then its fine part where a row has one: zeros for the rows that have none. */
        for (const act_block *part = x;; part += n_step) {
            tile_product(part->q[0], w, sum);
            if (f.pairs) tile_product(part->q[0] + 16, w + 256, high);
#pragma GCC unroll 16
            for (uint32_t i = 0; i < 16; i++) {
                const __m512 xs = _mm512_set1_ps(part->scale[i]);
                const int32_t all = part->minus_sum[i], low = part->minus_low_sum[i];
                __m512i v = _mm512_load_si512((const void *)(sum + 16 * i));
                if (f.offset_shift)
                    v = _mm512_add_epi32(v, _mm512_slli_epi32(_mm512_set1_epi32(f.pairs ? low : all), f.offset_shift));
                acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(scale, xs), _mm512_cvtepi32_ps(v), acc[i]);
                if (f.pairs) {
                    __m512i u = _mm512_load_si512((const void *)(high + 16 * i));
                    if (f.offset_shift)
                        u = _mm512_add_epi32(u, _mm512_slli_epi32(_mm512_set1_epi32(all - low), f.offset_shift));
                    acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(scale_high, xs), _mm512_cvtepi32_ps(u), acc[i]);
                }
                if (f.has_minimum && f.pairs) {
                    const float low_sum = part->scale[i] * (float)-low, high_sum = part->scale[i] * (float)(low - all);
                    acc[i] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(low_sum), acc[i]);
                    acc[i] = _mm512_fmadd_ps(minimum_high, _mm512_set1_ps(high_sum), acc[i]);
                } else if (f.has_minimum) {
                    acc[i] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(part->scaled_sum[i]), acc[i]);
                }
            }
            if (part != x || fine_rows[s] == 0) break;
        }
    }
    for (uint32_t i = 0; i < m; i++) _mm512_mask_storeu_ps(y + ldy * i, mask, acc[i]);
}

typedef void tile_function(const uint8_t *panel, uint32_t n_step, const act_block *x, uint32_t m, float *y, size_t ldy,
                           __mmask16 mask);

#define FORMAT(dtype, name, ...)                                                                                       \
    static void name(const uint8_t *panel, uint32_t n_step, const act_block *x, uint32_t m, float *y, size_t ldy,      \
                     __mmask16 mask) {                                                                                 \
        panel_tile((tile_format){__VA_ARGS__}, panel, n_step, x, m, y, ldy, mask);                                     \
    }
TILE_FORMATS(FORMAT)
static tile_function *const functions[HONE_DTYPE_COUNT] = {TILE_FORMATS(TILE_FORMAT_ENTRY)};

/* All 16 rows of a tile are multiplied; those beyond m are whatever the memory holds, and dropped. */
static void linear_int8(const hone_weight *w, const tile_shape *shape, const uint8_t *act, uint32_t m, float *y,
                        size_t ldy, uint32_t n0, uint32_t n1) {
    const size_t tile_bytes = tile_act_tile_bytes(ACT_INT8, shape->n_step);
    const uint32_t rows = tile_rows_at_once(shape->n_step * sizeof(act_block));
    amx_configure(TILE_ROWS, shape->groups == 2 ? 16 : 32);
    for (uint32_t i0 = 0; i0 < m; i0 += rows) {
        const uint32_t i1 = m - i0 < rows ? m : i0 + rows;
        for (uint32_t n = n0; n < n1; n += HONE_PANEL)
            for (uint32_t i = i0; i < i1; i += TILE_ROWS)
                functions[w->dtype]((const uint8_t *)w->data + n / HONE_PANEL * shape->panel_bytes, shape->n_step,
                                    (const void *)(act + i / TILE_ROWS * tile_bytes),
                                    i1 - i < TILE_ROWS ? i1 - i : TILE_ROWS, y + ldy * i + n, ldy, first(n1 - n));
    }
    _tile_release();
}

/* ---- bf16 ---------------------------------------------------------------------------------------------------------
 */

static void linear_bf16(const hone_weight *w, const tile_shape *shape, const uint8_t *act, uint32_t m, float *y,
                        size_t ldy, uint32_t n0, uint32_t n1) {
    enum { STEP = 1024, STEPS = TILE_SUM_CHUNK / TILE_K };
    const size_t tile_bytes = (size_t)shape->n_step * STEP;
    float part[16 * 16] __attribute__((aligned(64)));
    amx_configure(m < TILE_ROWS ? m : TILE_ROWS, 64);
    for (uint32_t n = n0; n < n1; n += HONE_PANEL) {
        const uint8_t *panel = (const uint8_t *)w->data + n / HONE_PANEL * shape->panel_bytes;
        const __mmask16 mask = first(n1 - n);
        for (uint32_t s0 = 0; s0 < shape->n_step; s0 += STEPS) {
            const uint32_t s1 = shape->n_step - s0 < STEPS ? shape->n_step : s0 + STEPS;
            for (uint32_t i = 0; i < m; i += TILE_ROWS) {
                const uint8_t *x = act + i / TILE_ROWS * tile_bytes;
                _tile_zero(0);
                for (uint32_t s = s0; s < s1; s++) {
                    AMX_BARRIER();
                    _tile_loadd(1, x + (size_t)s * STEP, 64);
                    _tile_loadd(2, panel + (size_t)s * STEP, 64);
                    _tile_dpbf16ps(0, 1, 2);
                }
                _tile_stored(0, part, 64);
                AMX_BARRIER();
                for (uint32_t r = 0; r < TILE_ROWS && i + r < m; r++) {
                    float *out = y + ldy * (i + r) + n;
                    __m512 v = _mm512_load_ps(part + 16 * r);
                    if (s0) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), v);
                    _mm512_mask_storeu_ps(out, mask, v);
                }
            }
        }
    }
    _tile_release();
}

/* ---- Ranges -------------------------------------------------------------------------------------------------------
 */

void amx_linear(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0, uint32_t n1) {
    tile_shape shape;
    if (m == 0 || !tile_shape_of(w->dtype, w->precision, w->k, &shape)) return;
    const act_kind kind = tile_act_kind(w);
    if (kind == ACT_INT8 && m > FEW_ROWS)
        linear_int8(w, &shape, act, m, y, ldy, n0, n1);
    else if (kind == ACT_BF16)
        linear_bf16(w, &shape, act, m, y, ldy, n0, n1);
    else
        avx512_linear(w, act, m, y, ldy, n0, n1);
}
