/* linear.c - activations as int8 blocks, and their products with quantised weights, for AVX2.
 *
 * Half a panel (8 outputs) against up to 4 rows.  4-bit weights: 8 products of an unsigned nibble and a signed byte fit
 * 16 bits twice over (2 * 8 * 15 * 127 = 30480), so a whole step of 32 inputs is summed in 16 bits by maddubs; 8-bit
 * weights are widened to 16 bits first.  The integer sums are exact and the f32 sums are in ref's order: same bits.
 *
 * Order: activations, one step, panels by rows, formats, ranges. */
#include <immintrin.h>
#include <string.h>

#include "kernel/avx2/avx2.h"
#include "kernel/avx2/math.h"
#include "kernel/tile.h"

#define INLINE static inline __attribute__((always_inline))

/* ---- Activations ------------------------------------------------------------------------------------------------ */

static int32_t sum_of_ints(__m256i v) {
    __m128i q = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1));
    return _mm_cvtsi128_si32(q);
}

static float largest_of(const float *x) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i bits = _mm256_setzero_si256();
    for (uint32_t j = 0; j < 4; j++)
        bits = _mm256_max_epi32(bits, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + 8 * j)), magnitude));
    __m128i top = _mm_max_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0x4e));
    top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0xb1));
    const int32_t largest_bits = _mm_cvtsi128_si32(top); /* by bits: NaN is the largest of all */
    float largest;
    memcpy(&largest, &largest_bits, 4);
    return largest;
}

static void put_block(act_block *to, uint32_t r, const __m256i q[4], float scale) {
    const int32_t low = sum_of_ints(_mm256_add_epi32(q[0], q[1]));
    const int32_t sum = low + sum_of_ints(_mm256_add_epi32(q[2], q[3]));
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    _mm256_storeu_si256((__m256i *)(void *)to->q[r],
                        _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    to->scale[r] = scale;
    to->scaled_sum[r] = scale * (float)sum;
    to->minus_sum[r] = -sum;
    to->minus_low_sum[r] = -low;
}

/* Row r of a tile. */
static void lay_int8(const float *x, uint32_t k, act_block *tile, uint32_t r) {
    const uint32_t n_step = tile_steps(k);
    float sum_of_largest = 0.0f;
    for (uint32_t i = 0; i < k; i += TILE_K) sum_of_largest += largest_of(x + i);
    const float limit = kernel_coarse_limit(sum_of_largest, n_step);
    if (r == 0) memset(tile_fine_rows(tile, n_step), 0, n_step * sizeof(uint16_t));
    for (uint32_t step = 0; step < n_step; step++, x += TILE_K) {
        __m256i q[4], rest[4];
        float inverse;
        const float largest = largest_of(x), scale = kernel_quantise_scale(largest, &inverse);
        const __m256i usable = _mm256_set1_epi32(inverse > 0.0f ? -1 : 0); /* else zeros: NaN makes no integer */
        const __m256 by = _mm256_set1_ps(inverse), fine = _mm256_set1_ps(KERNEL_FINE_STEPS);
        for (uint32_t j = 0; j < 4; j++) {
            const __m256 v = _mm256_loadu_ps(x + 8 * j);
            q[j] = _mm256_and_si256(usable, _mm256_cvtps_epi32(_mm256_mul_ps(v, by)));
            rest[j] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_fmsub_ps(v, by, _mm256_cvtepi32_ps(q[j])), fine));
        }
        put_block(tile + step, r, q, scale);
        if (largest > limit) put_block(tile_fine_row(tile, n_step, step, r), r, rest, scale / KERNEL_FINE_STEPS);
    }
}

static void lay_plain(const float *x, uint32_t k, bool bf16, uint8_t *to, uint32_t r) {
    for (uint32_t i = 0; i < k; i += TILE_K) {
        const uint32_t len = k - i < TILE_K ? k - i : TILE_K;
        float v[TILE_K] = {0};
        memcpy(v, x + i, len * sizeof(float));
        if (bf16) {
            uint16_t *out = (uint16_t *)(void *)(to + 64u * r);
            for (uint32_t j = 0; j < TILE_K; j++) out[j] = hone_bf16_round(v[j]);
            to += 1024;
        } else {
            memcpy(to + 64u * r, v, 64);
            memcpy(to + 1024u + 64u * r, v + 16, 64);
            to += 2048;
        }
    }
}

void avx2_act_lay(const hone_weight *w, const float *x, size_t ldx, uint32_t m, uint32_t m0, uint32_t m1, void *act) {
    (void)m;
    const act_kind kind = tile_act_kind(w);
    const size_t tile_bytes = tile_act_tile_bytes(kind, tile_steps(w->k));
    for (uint32_t i = m0; i < m1; i++) {
        uint8_t *to = (uint8_t *)act + i / TILE_ROWS * tile_bytes;
        if (kind == ACT_INT8)
            lay_int8(x + ldx * i, w->k, (act_block *)(void *)to, i % TILE_ROWS);
        else
            lay_plain(x + ldx * i, w->k, kind == ACT_BF16, to, i % TILE_ROWS);
    }
}

/* ---- One step ---------------------------------------------------------------------------------------------------- */

INLINE __m256i load(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE __m256 load_scale(bool half, const uint8_t *p, int which) {
    return half ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * which)))
                : _mm256_loadu_ps((const float *)(const void *)(p + 32 * which));
}

INLINE __m256i four_inputs(const int8_t *q) {
    int32_t v;
    memcpy(&v, q, 4);
    return _mm256_set1_epi32(v);
}

/* Sums over a step of n rows for outputs 8 which .. 8 which + 7. */
INLINE void nibbles(const int n, const uint8_t *step, int which, const int8_t *q, __m256i *sum) {
    const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i s[4];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) s[i] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const __m256i both = load(step + 64 * j + 32 * which), low = _mm256_and_si256(both, mask);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            const __m256i a = _mm256_maddubs_epi16(low, four_inputs(q + TILE_K * i + 4 * j));
            const __m256i b = _mm256_maddubs_epi16(high, four_inputs(q + TILE_K * i + 16 + 4 * j));
            s[i] = _mm256_add_epi16(s[i], _mm256_add_epi16(a, b));
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) sum[i] = _mm256_madd_epi16(s[i], ones);
}

/* The same for bytes, inputs 16 half .. 16 half + 15; x holds the inputs as 16 bits. */
INLINE void bytes(const int n, const uint8_t *step, int which, int half, int16_t x[4][TILE_K], __m256i *sum) {
    __m256i low[4], high[4]; /* outputs 0..3 and 4..7, two sums each */
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) low[i] = high[i] = _mm256_setzero_si256();
    for (int j = 4 * half; j < 4 * half + 4; j++) {
        const __m256i w = load(step + 64 * j + 32 * which);
        const __m256i a = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(w));
        const __m256i b = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(w, 1));
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            int64_t four;
            memcpy(&four, &x[i][4 * j], 8);
            const __m256i v = _mm256_set1_epi64x(four);
            low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(a, v));
            high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(b, v));
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) sum[i] = _mm256_permute4x64_epi64(_mm256_hadd_epi32(low[i], high[i]), 0xd8);
}

/* ---- Panels --------------------------------------------------------------------------------------------------------
 */

/* A step of nibbles as one of bytes, for formats whose values or scales ask for it. */
INLINE void spread(const tile_format f, const uint8_t *step, int which, uint8_t *to) {
    const __m256i mask = _mm256_set1_epi8(15);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const __m256i both = load(step + 64 * j + 32 * which);
        __m256i low = _mm256_and_si256(both, mask), high = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
        if (f.table != HONE_F32) {
            const __m256i table =
                _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)kernel_quant_table(f.table)));
            low = _mm256_shuffle_epi8(table, low);
            high = _mm256_shuffle_epi8(table, high);
        }
        _mm256_storeu_si256((__m256i *)(void *)(to + 64 * j + 32 * which), low);
        _mm256_storeu_si256((__m256i *)(void *)(to + 64 * (j + 4) + 32 * which), high);
    }
}

/* One step of n rows from row r0 of a block (or of its fine part). */
INLINE void rows_of_step(const tile_format f, const int n, const uint8_t *step, int which, const act_block *x,
                         uint32_t r0, __m256 *acc) {
    const size_t q_bytes = f.four_bits ? 256u : 512u, scale_bytes = f.half_scales ? 32u : 64u;
    const uint8_t *scales = step + q_bytes;
    __m256i sum[4], second[4];
    if (f.four_bits && !f.pairs && f.table == HONE_F32) {
        nibbles(n, step, which, x->q[r0], sum);
    } else {
        int16_t wide[4][TILE_K];
        uint8_t apart[512];
        if (f.four_bits) {
            spread(f, step, which, apart);
            step = apart;
        }
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            const __m256i q = load(x->q[r0 + (uint32_t)i]);
            const __m256i a = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(q));
            const __m256i b = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(q, 1));
            _mm256_storeu_si256((__m256i *)(void *)wide[i], a);
            _mm256_storeu_si256((__m256i *)(void *)(wide[i] + 16), b);
        }
        bytes(n, step, which, 0, wide, sum);
        bytes(n, step, which, 1, wide, second);
        if (!f.pairs)
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) sum[i] = _mm256_add_epi32(sum[i], second[i]);
    }
    const __m256 scale = load_scale(f.half_scales, scales, which);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        const uint32_t r = r0 + (uint32_t)i;
        const __m256 xs = _mm256_set1_ps(x->scale[r]);
        const int32_t all = x->minus_sum[r], low = x->minus_low_sum[r];
        if (f.offset_shift)
            sum[i] =
                _mm256_add_epi32(sum[i], _mm256_slli_epi32(_mm256_set1_epi32(f.pairs ? low : all), f.offset_shift));
        acc[i] = _mm256_fmadd_ps(_mm256_mul_ps(scale, xs), _mm256_cvtepi32_ps(sum[i]), acc[i]);
        if (f.pairs) {
            if (f.offset_shift)
                second[i] =
                    _mm256_add_epi32(second[i], _mm256_slli_epi32(_mm256_set1_epi32(all - low), f.offset_shift));
            const __m256 high = load_scale(f.half_scales, scales + scale_bytes, which);
            acc[i] = _mm256_fmadd_ps(_mm256_mul_ps(high, xs), _mm256_cvtepi32_ps(second[i]), acc[i]);
        }
        if (f.has_minimum && f.pairs) {
            const float low_sum = x->scale[r] * (float)-low, high_sum = x->scale[r] * (float)(low - all);
            const uint8_t *minima = scales + 2 * scale_bytes;
            acc[i] = _mm256_fmadd_ps(load_scale(f.half_scales, minima, which), _mm256_set1_ps(low_sum), acc[i]);
            acc[i] = _mm256_fmadd_ps(load_scale(f.half_scales, minima + scale_bytes, which), _mm256_set1_ps(high_sum),
                                     acc[i]);
        } else if (f.has_minimum)
            acc[i] = _mm256_fmadd_ps(load_scale(f.half_scales, scales + scale_bytes, which),
                                     _mm256_set1_ps(x->scaled_sum[r]), acc[i]);
    }
}

/* y[i][8 which ..] for n rows of a tile from its row r0; `outputs` of the panel's 16 are wanted. */
INLINE void panel_rows(const tile_format f, const int n, const uint8_t *panel, uint32_t n_step, const act_block *tile,
                       uint32_t r0, float *y, size_t ldy, uint32_t outputs) {
    const size_t q_bytes = f.four_bits ? 256u : 512u, scale_bytes = f.half_scales ? 32u : 64u;
    const size_t step_bytes = q_bytes + (f.pairs ? 2u : 1u) * (f.has_minimum ? 2u : 1u) * scale_bytes;
    const uint16_t *fine_rows = tile_fine_rows(tile, n_step);
    for (int which = 0; which < 2 && outputs > 8u * (uint32_t)which; which++) {
        const uint8_t *step = panel;
        const act_block *x = tile;
        __m256 acc[4];
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) acc[i] = _mm256_setzero_ps();
        for (uint32_t s = 0; s < n_step; s++, step += step_bytes, x++) {
            rows_of_step(f, n, step, which, x, r0, acc);
            /* a row without a fine part among others that have one adds zeros */
            if (fine_rows[s] >> r0 & ((1u << n) - 1u)) rows_of_step(f, n, step, which, x + n_step, r0, acc);
        }
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) store8(y + ldy * (size_t)i + 8 * which, outputs - 8u * (uint32_t)which, acc[i]);
    }
}

INLINE void panel_tile(const tile_format f, const uint8_t *panel, uint32_t n_step, const act_block *x, uint32_t m,
                       float *y, size_t ldy, uint32_t outputs) {
    uint32_t r = 0;
    for (; r + 4 <= m; r += 4) panel_rows(f, 4, panel, n_step, x, r, y + ldy * r, ldy, outputs);
    if (m & 2u) {
        panel_rows(f, 2, panel, n_step, x, r, y + ldy * r, ldy, outputs);
        r += 2;
    }
    if (m & 1u) panel_rows(f, 1, panel, n_step, x, r, y + ldy * r, ldy, outputs);
}

typedef void tile_function(const uint8_t *panel, uint32_t n_step, const act_block *x, uint32_t m, float *y, size_t ldy,
                           uint32_t outputs);

#define FORMAT(dtype, name, ...)                                                                                       \
    static void name(const uint8_t *panel, uint32_t n_step, const act_block *x, uint32_t m, float *y, size_t ldy,      \
                     uint32_t outputs) {                                                                               \
        panel_tile((tile_format){__VA_ARGS__}, panel, n_step, x, m, y, ldy, outputs);                                  \
    }
TILE_FORMATS(FORMAT)
static tile_function *const functions[HONE_DTYPE_COUNT] = {TILE_FORMATS(TILE_FORMAT_ENTRY)};

/* ---- Ranges -------------------------------------------------------------------------------------------------------
 */

void avx2_linear_int8(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0,
                      uint32_t n1) {
    tile_shape shape;
    if (!tile_shape_of(w->dtype, w->precision, w->k, &shape)) return;
    const size_t tile_bytes = tile_act_tile_bytes(ACT_INT8, shape.n_step);
    const uint32_t rows = tile_rows_at_once(shape.n_step * sizeof(act_block));
    for (uint32_t i0 = 0; i0 < m; i0 += rows) {
        const uint32_t i1 = m - i0 < rows ? m : i0 + rows;
        for (uint32_t n = n0; n < n1; n += HONE_PANEL) {
            const uint8_t *panel = (const uint8_t *)w->data + n / HONE_PANEL * shape.panel_bytes;
            for (uint32_t i = i0; i < i1; i += TILE_ROWS)
                functions[w->dtype](panel, shape.n_step,
                                    (const void *)((const uint8_t *)act + i / TILE_ROWS * tile_bytes),
                                    i1 - i < TILE_ROWS ? i1 - i : TILE_ROWS, y + ldy * i + n, ldy,
                                    n1 - n < HONE_PANEL ? n1 - n : HONE_PANEL);
        }
    }
}

void avx2_linear(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0, uint32_t n1) {
    if (tile_act_kind(w) == ACT_INT8)
        avx2_linear_int8(w, act, m, y, ldy, n0, n1);
    else
        avx2_linear_plain(w, act, m, y, ldy, n0, n1);
}
