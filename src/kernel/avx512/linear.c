/* linear.c - activations as int8 blocks, and their products with quantised weights (VNNI).
 *
 * One panel of 16 outputs against up to 16 rows: a step of 32 inputs is unpacked once into 8 registers (16 outputs x 4
 * inputs, unsigned), each row gives 8 dot products, and f32 sums stay in registers over the whole of K.  The order of
 * an output's sum is that of ref: step by step, scale before minimum.  It does not depend on how many rows share the
 * panel, so one row (decoding) and thousands (prefill) give the same bits.
 *
 * Order: activations, one step, panels by rows, formats, ranges. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"
#include "kernel/tile.h"

#define INLINE static inline __attribute__((always_inline))

/* Panels that all rows of a call pass by in turn: a part of the second cache. */
#define PANEL_GROUP_BYTES (160u << 10)

/* ---- Activations ------------------------------------------------------------------------------------------------ */

/* The largest magnitude of a block by its bits, so that NaN is the largest of all. */
static float largest_of(__m512 a, __m512 b) {
    const __m512 sign = _mm512_set1_ps(-0.0f);
    const __m512i bits = _mm512_max_epu32(_mm512_castps_si512(_mm512_andnot_ps(sign, a)),
                                          _mm512_castps_si512(_mm512_andnot_ps(sign, b)));
    const uint32_t largest_bits = _mm512_reduce_max_epu32(bits);
    float largest;
    memcpy(&largest, &largest_bits, 4);
    return largest;
}

static void put_block(act_block *to, uint32_t r, __m512i qa, __m512i qb, float scale) {
    _mm_storeu_si128((__m128i *)(void *)to->q[r], _mm512_cvtsepi32_epi8(qa));
    _mm_storeu_si128((__m128i *)(void *)(to->q[r] + 16), _mm512_cvtsepi32_epi8(qb));
    const int32_t low = _mm512_reduce_add_epi32(qa), sum = low + _mm512_reduce_add_epi32(qb);
    to->scale[r] = scale;
    to->scaled_sum[r] = scale * (float)sum;
    to->minus_sum[r] = -sum;
    to->minus_low_sum[r] = -low;
}

/* What the integers of a coarse block at x left over. */
static void put_fine(const float *x, float inverse, float scale, act_block *to, uint32_t r) {
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    const __m512 by = _mm512_set1_ps(inverse), fine = _mm512_set1_ps(KERNEL_FINE_STEPS);
    const __m512 whole_a = _mm512_cvtepi32_ps(_mm512_cvtps_epi32(_mm512_mul_ps(a, by)));
    const __m512 whole_b = _mm512_cvtepi32_ps(_mm512_cvtps_epi32(_mm512_mul_ps(b, by)));
    put_block(to, r, _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_fmsub_ps(a, by, whole_a), fine)),
              _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_fmsub_ps(b, by, whole_b), fine)), scale / KERNEL_FINE_STEPS);
}

/* Row r of a tile. */
static void lay_int8(const float *x, uint32_t k, act_block *tile, uint32_t r) {
    const uint32_t n_step = tile_steps(k);
    float sum_of_largest = 0.0f;
    for (uint32_t i = 0; i < k; i += TILE_K)
        sum_of_largest += largest_of(_mm512_loadu_ps(x + i), _mm512_loadu_ps(x + i + 16));
    const float limit = kernel_coarse_limit(sum_of_largest, n_step);
    if (r == 0) memset(tile_fine_rows(tile, n_step), 0, n_step * sizeof(uint16_t));
    for (uint32_t step = 0; step < n_step; step++, x += TILE_K) {
        const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
        const float largest = largest_of(a, b);
        float inverse;
        const float scale = kernel_quantise_scale(largest, &inverse);
        const __m512 by = _mm512_set1_ps(inverse);
        const __mmask16 usable = inverse > 0.0f ? 0xffff : 0; /* else zeros: NaN makes no integer */
        const __m512i qa = _mm512_maskz_cvtps_epi32(usable, _mm512_mul_ps(a, by));
        const __m512i qb = _mm512_maskz_cvtps_epi32(usable, _mm512_mul_ps(b, by));
        put_block(tile + step, r, qa, qb, scale);
        if (largest > limit && usable) put_fine(x, inverse, scale, tile_fine_row(tile, n_step, step, r), r);
    }
}

/* Lane i of the result is op over the 16 lanes of v[i]. */
INLINE __m512i largest_lanes(const __m512i v[16]) {
    __m512i a[8], b[4], c[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        a[i] = _mm512_max_epu32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                                _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        b[i] = _mm512_max_epu32(_mm512_unpacklo_epi64(a[2 * i], a[2 * i + 1]),
                                _mm512_unpackhi_epi64(a[2 * i], a[2 * i + 1]));
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        c[i] = _mm512_max_epu32(_mm512_shuffle_i32x4(b[2 * i], b[2 * i + 1], 0x88),
                                _mm512_shuffle_i32x4(b[2 * i], b[2 * i + 1], 0xdd));
    return _mm512_max_epu32(_mm512_shuffle_i32x4(c[0], c[1], 0x88), _mm512_shuffle_i32x4(c[0], c[1], 0xdd));
}

/* Of 16 rows, v[i] holding 8 sums of row 2i and 8 of row 2i + 1: lane r of low gets the first four of row r's, of high
 * the others. */
INLINE void sums_of_rows(const __m512i v[8], __m512i *low, __m512i *high) {
    const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    __m512i a[4], b[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        a[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                                _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        b[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(a[2 * i], a[2 * i + 1]),
                                _mm512_unpackhi_epi64(a[2 * i], a[2 * i + 1]));
    *low = _mm512_permutexvar_epi32(order, _mm512_shuffle_i32x4(b[0], b[1], 0x88));
    *high = _mm512_permutexvar_epi32(order, _mm512_shuffle_i32x4(b[0], b[1], 0xdd));
}

/* A whole tile of 16 rows at once, with what a block has once (largest, scale, sums) in a lane a row: the same numbers.
 */
static void lay_int8_tile(const float *x, size_t ldx, uint32_t k, act_block *tile) {
    const uint32_t n_step = tile_steps(k);
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512 sum_of_largest = _mm512_setzero_ps();
    for (uint32_t step = 0; step < n_step; step++) {
        const float *from = x + (size_t)step * TILE_K;
        __m512i v[16];
#pragma GCC unroll 16
        for (uint32_t i = 0; i < 16; i++)
            v[i] = _mm512_max_epu32(_mm512_and_si512(_mm512_loadu_si512(from + ldx * i), magnitude),
                                    _mm512_and_si512(_mm512_loadu_si512(from + ldx * i + 16), magnitude));
        const __m512 largest = _mm512_castsi512_ps(largest_lanes(v));
        _mm512_storeu_ps(tile[step].scale, largest); /* until its scale takes the place */
        sum_of_largest = _mm512_add_ps(sum_of_largest, largest);
    }
    const __m512 mean = _mm512_div_ps(sum_of_largest, _mm512_set1_ps((float)n_step));
    const __m512 limit = _mm512_mul_ps(_mm512_set1_ps(kernel_coarse_limit(1.0f, 1)), mean);
    const __m512 steps = _mm512_set1_ps(127.0f), most = _mm512_set1_ps(3.4028235e38f);
    uint16_t *fine_rows = tile_fine_rows(tile, n_step);
    for (uint32_t step = 0; step < n_step; step++, x += TILE_K) {
        act_block *to = tile + step;
        const __m512 largest = _mm512_loadu_ps(to->scale);
        const __mmask16 finite = _mm512_cmp_ps_mask(largest, most, _CMP_LE_OQ);
        const __mmask16 usable = _mm512_mask_cmp_ps_mask(finite, largest, _mm512_set1_ps(0x1p-110f), _CMP_GE_OQ);
        const __m512 scale =
            _mm512_mask_mov_ps(_mm512_set1_ps(NAN), finite, _mm512_maskz_div_ps(usable, largest, steps));
        float inverse[16] __attribute__((aligned(64)));
        _mm512_store_ps(inverse, _mm512_maskz_div_ps(usable, steps, largest));
        __m512i sums[8];
#pragma GCC unroll 8
        for (uint32_t i = 0; i < 16; i += 2) {
            __m256i q[2];
#pragma GCC unroll 2
            for (uint32_t j = 0; j < 2; j++) {
                const float *from = x + ldx * (i + j);
                const __m512 by = _mm512_set1_ps(inverse[i + j]);
                const __mmask16 some = usable >> (i + j) & 1 ? 0xffff : 0; /* else zeros: NaN makes no integer */
                const __m512i a = _mm512_maskz_cvtps_epi32(some, _mm512_mul_ps(_mm512_loadu_ps(from), by));
                const __m512i b = _mm512_maskz_cvtps_epi32(some, _mm512_mul_ps(_mm512_loadu_ps(from + 16), by));
                q[j] = _mm256_set_m128i(_mm512_cvtsepi32_epi8(b), _mm512_cvtsepi32_epi8(a));
                _mm256_storeu_si256((__m256i *)(void *)to->q[i + j], q[j]);
            }
            sums[i / 2] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1),
                                              _mm512_inserti64x4(_mm512_castsi256_si512(q[0]), q[1], 1));
        }
        __m512i low, high;
        sums_of_rows(sums, &low, &high);
        const __m512i sum = _mm512_add_epi32(low, high), zero = _mm512_setzero_si512();
        _mm512_storeu_ps(to->scale, scale);
        _mm512_storeu_ps(to->scaled_sum, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sum)));
        _mm512_storeu_si512(to->minus_sum, _mm512_sub_epi32(zero, sum));
        _mm512_storeu_si512(to->minus_low_sum, _mm512_sub_epi32(zero, low));
        fine_rows[step] = 0;
        for (uint32_t left = _mm512_mask_cmp_ps_mask(usable, largest, limit, _CMP_GT_OQ); left; left &= left - 1) {
            const uint32_t r = (uint32_t)__builtin_ctz(left);
            put_fine(x + ldx * r, inverse[r], to->scale[r], tile_fine_row(tile, n_step, step, r), r);
        }
    }
}

static void lay_plain(const float *x, uint32_t k, bool bf16, uint8_t *to, uint32_t r) {
    for (uint32_t i = 0; i < k; i += TILE_K) {
        const uint32_t len = k - i;
        const __m512 a = _mm512_maskz_loadu_ps(first(len), x + i);
        const __m512 b = _mm512_maskz_loadu_ps(len > 16 ? first(len - 16) : 0, x + i + 16);
        if (bf16) {
            _mm512_storeu_si512((void *)(to + 64u * r), (__m512i)_mm512_cvtne2ps_pbh(b, a));
            to += 1024;
        } else {
            _mm512_storeu_ps((void *)(to + 64u * r), a);
            _mm512_storeu_ps((void *)(to + 1024u + 64u * r), b);
            to += 2048;
        }
    }
}

void avx512_act_lay(const hone_weight *w, const float *x, size_t ldx, uint32_t m, uint32_t m0, uint32_t m1, void *act) {
    (void)m;
    const act_kind kind = tile_act_kind(w);
    const size_t tile_bytes = tile_act_tile_bytes(kind, tile_steps(w->k));
    for (uint32_t i = m0; i < m1; i++) {
        uint8_t *to = (uint8_t *)act + i / TILE_ROWS * tile_bytes;
        if (kind == ACT_INT8 && i % TILE_ROWS == 0 && m1 - i >= TILE_ROWS) {
            lay_int8_tile(x + ldx * i, ldx, w->k, (act_block *)(void *)to);
            i += TILE_ROWS - 1;
        } else if (kind == ACT_INT8)
            lay_int8(x + ldx * i, w->k, (act_block *)(void *)to, i % TILE_ROWS);
        else
            lay_plain(x + ldx * i, w->k, kind == ACT_BF16, to, i % TILE_ROWS);
    }
}

/* ---- One panel --------------------------------------------------------------------------------------------------- */

INLINE __m512 load_scale(bool half, const uint8_t *p) {
    return half ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p))
                : _mm512_loadu_ps((const void *)p);
}

INLINE __m512i four_inputs(const int8_t *q) {
    int32_t v;
    memcpy(&v, q, 4);
    return _mm512_set1_epi32(v);
}

typedef struct {
    __m512i q[8]; /* 16 outputs x inputs 4j .. 4j + 3 */
    __m512 scale, scale_high, minimum, minimum_high;
} weights;

INLINE void load_weights(const tile_format f, const uint8_t *step, weights *w) {
    const size_t q_bytes = f.four_bits ? 256 : 512, scale_bytes = f.half_scales ? 32 : 64;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const __m512i q = _mm512_loadu_si512((const void *)(step + 64 * j));
        if (f.four_bits) {
            const __m512i low = _mm512_set1_epi8(15);
            w->q[j] = _mm512_and_si512(q, low);
            w->q[j + 4] = _mm512_and_si512(_mm512_srli_epi16(q, 4), low);
            if (f.table != HONE_F32) {
                const __m512i table =
                    _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)kernel_quant_table(f.table)));
                w->q[j] = _mm512_shuffle_epi8(table, w->q[j]);
                w->q[j + 4] = _mm512_shuffle_epi8(table, w->q[j + 4]);
            }
        } else {
            w->q[j] = q;
            w->q[j + 4] = _mm512_loadu_si512((const void *)(step + 256 + 64 * j));
        }
    }
    w->scale = load_scale(f.half_scales, step + q_bytes);
    w->scale_high = f.pairs ? load_scale(f.half_scales, step + q_bytes + scale_bytes) : w->scale;
    const uint8_t *minima = step + q_bytes + (f.pairs ? 2 : 1) * scale_bytes;
    w->minimum = f.has_minimum ? load_scale(f.half_scales, minima) : w->scale;
    w->minimum_high = f.has_minimum && f.pairs ? load_scale(f.half_scales, minima + scale_bytes) : w->scale;
}

/* n <= 4 rows of a step, whose integers are at q and whose scales at s (act_block, moved to the first of the rows):
 * the integer products, then the f32 sums. */
INLINE void rows_of_step(const tile_format f, const int n, const weights *w, const int8_t *q, const float *s,
                         __m512 *acc) {
    const int32_t *minus_sum = (const int32_t *)(const void *)(s + 2 * TILE_ROWS), *minus_low = minus_sum + TILE_ROWS;
    __m512i low[4], high[4];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        low[i] = high[i] = _mm512_setzero_si512();
        if (f.offset_shift && f.pairs) {
            low[i] = _mm512_slli_epi32(_mm512_set1_epi32(minus_low[i]), f.offset_shift);
            high[i] = _mm512_slli_epi32(_mm512_set1_epi32(minus_sum[i] - minus_low[i]), f.offset_shift);
        } else if (f.offset_shift) {
            low[i] = _mm512_slli_epi32(_mm512_set1_epi32(minus_sum[i]), f.offset_shift);
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            const __m512i x = four_inputs(q + TILE_K * i + 4 * j);
            if (f.pairs && j >= 4)
                high[i] = _mm512_dpbusd_epi32(high[i], w->q[j], x);
            else
                low[i] = _mm512_dpbusd_epi32(low[i], w->q[j], x);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        const __m512 xs = _mm512_set1_ps(s[i]);
        acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(w->scale, xs), _mm512_cvtepi32_ps(low[i]), acc[i]);
        if (f.pairs) acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(w->scale_high, xs), _mm512_cvtepi32_ps(high[i]), acc[i]);
        if (f.has_minimum && f.pairs) {
            const float low_sum = s[i] * (float)-minus_low[i], high_sum = s[i] * (float)(minus_low[i] - minus_sum[i]);
            acc[i] = _mm512_fmadd_ps(w->minimum, _mm512_set1_ps(low_sum), acc[i]);
            acc[i] = _mm512_fmadd_ps(w->minimum_high, _mm512_set1_ps(high_sum), acc[i]);
        } else if (f.has_minimum) {
            acc[i] = _mm512_fmadd_ps(w->minimum, _mm512_set1_ps(s[TILE_ROWS + i]), acc[i]);
        }
    }
}

/* y[i][lanes of mask] for n rows of a tile from its row r0. */
INLINE void panel_rows(const tile_format f, const int n, const uint8_t *panel, uint32_t n_step, const act_block *x,
                       uint32_t r0, float *y, size_t ldy, __mmask16 mask) {
    const size_t step_bytes =
        (f.four_bits ? 256u : 512u) + (f.pairs ? 2u : 1u) * (f.has_minimum ? 2u : 1u) * (f.half_scales ? 32u : 64u);
    const int8_t *q = x->q[r0];
    const float *s = &x->scale[r0];
    const uint16_t *fine_rows = tile_fine_rows(x, n_step);
    const size_t fine = n_step * sizeof(act_block); /* from a block to its fine part */
    __m512 acc[16];
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) acc[i] = _mm512_setzero_ps();
    for (uint32_t step = 0; step < n_step; step++) {
        weights w;
        load_weights(f, panel, &w);
#pragma GCC unroll 10
        for (size_t b = 0; b < step_bytes; b += 64) /* from memory or the second cache: ask for it early */
            _mm_prefetch((const char *)panel + 2560 + b, _MM_HINT_T0);
        /* A row without a fine part among others that have one adds zeros: its bits are those it has alone. */
        const uint32_t with_fine = (uint32_t)fine_rows[step] >> r0;
        if (n < 4) {
            for (size_t part = 0;; part = fine) { /* one copy of the body: the fine part is rare */
                rows_of_step(f, n, &w, q + part, s + part / sizeof(float), acc);
                if (part || !(with_fine & ((1u << n) - 1u))) break;
            }
        } else {
#pragma GCC unroll 4
            for (int i = 0; i < n; i += 4)
                for (size_t part = 0;; part = fine) {
                    rows_of_step(f, 4, &w, q + part + TILE_K * i, s + part / sizeof(float) + i, acc + i);
                    if (part || !(with_fine >> i & 15u)) break;
                }
        }
        panel += step_bytes;
        q += sizeof(act_block);
        s += sizeof(act_block) / sizeof(float);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) _mm512_mask_storeu_ps(y + ldy * (size_t)i, mask, acc[i]);
}

/* m rows of one tile, from its first: 16 at once, else by powers of two. */
INLINE void panel_tile(const tile_format f, const uint8_t *panel, uint32_t n_step, const act_block *x, uint32_t m,
                       float *y, size_t ldy, __mmask16 mask) {
    if (m == TILE_ROWS) {
        panel_rows(f, 16, panel, n_step, x, 0, y, ldy, mask);
        return;
    }
    uint32_t r = 0;
    if (m & 8u) {
        panel_rows(f, 8, panel, n_step, x, r, y, ldy, mask);
        r += 8;
    }
    if (m & 4u) {
        panel_rows(f, 4, panel, n_step, x, r, y + ldy * r, ldy, mask);
        r += 4;
    }
    if (m & 2u) {
        panel_rows(f, 2, panel, n_step, x, r, y + ldy * r, ldy, mask);
        r += 2;
    }
    if (m & 1u) panel_rows(f, 1, panel, n_step, x, r, y + ldy * r, ldy, mask);
}

/* ---- Formats ------------------------------------------------------------------------------------------------------
 */

typedef void tile_function(const uint8_t *panel, uint32_t n_step, const act_block *x, uint32_t m, float *y, size_t ldy,
                           __mmask16 mask);

#define FORMAT(dtype, name, ...)                                                                                       \
    static void name(const uint8_t *panel, uint32_t n_step, const act_block *x, uint32_t m, float *y, size_t ldy,      \
                     __mmask16 mask) {                                                                                 \
        panel_tile((tile_format){__VA_ARGS__}, panel, n_step, x, m, y, ldy, mask);                                     \
    }
TILE_FORMATS(FORMAT)
static tile_function *const functions[HONE_DTYPE_COUNT] = {TILE_FORMATS(TILE_FORMAT_ENTRY)};

/* ---- Ranges -------------------------------------------------------------------------------------------------------
 */

/* A tile meets all panels of a group, which stay in the second cache, before the next tile does: the outputs of a row
 * are written side by side, and where a tile stays in the first cache only panels pass by. */
void avx512_linear_int8(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0,
                        uint32_t n1) {
    tile_shape shape;
    if (!tile_shape_of(w->dtype, w->precision, w->k, &shape)) return;
    tile_function *const function = functions[w->dtype];
    const size_t tile_bytes = tile_act_tile_bytes(ACT_INT8, shape.n_step);
    const uint32_t group = HONE_PANEL * (1u + (uint32_t)(PANEL_GROUP_BYTES / shape.panel_bytes));
    for (uint32_t from = n0, to; from < n1; from = to) {
        to = n1 - from < group ? n1 : from + group;
        for (uint32_t i = 0; i < m; i += TILE_ROWS) {
            const act_block *tile = (const void *)((const uint8_t *)act + i / TILE_ROWS * tile_bytes);
            const uint32_t rows = m - i < TILE_ROWS ? m - i : TILE_ROWS;
            for (uint32_t n = from; n < to; n += HONE_PANEL)
                function((const uint8_t *)w->data + n / HONE_PANEL * shape.panel_bytes, shape.n_step, tile, rows,
                         y + ldy * i + n, ldy, first(n1 - n));
        }
    }
}

void avx512_linear(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0, uint32_t n1) {
    if (tile_act_kind(w) == ACT_INT8)
        avx512_linear_int8(w, act, m, y, ldy, n0, n1);
    else
        avx512_linear_plain(w, act, m, y, ldy, n0, n1);
}
