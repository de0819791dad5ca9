/* attention.c - paged attention: query rows against pages.
 *
 * A page holds, per key/value head, keys and then values (E2 = E rounded up to 2, E16 to 16):
 *   bf16   keys [E2 / 2][32 positions][2]     values [16 pairs of positions][E16][2]
 *   f32    keys [E][32 positions]             values [32 positions][E16]
 *   int8   as bf16 with a byte each, then scales of keys [32] and of values [32]; widened to bf16 for one tile at a
 * time so that keys have lanes over positions and values lanes over the head, without a shuffle.
 *
 * Query vectors (a row and one of the heads that share a key/value head) of one sequence pass through a page in one of
 * two ways: few (decoding) with lanes over positions, then over the head; many (a prompt) with lanes over 16 vectors
 * and keys and values as single numbers for all of them, which leaves no sum across lanes.  Each vector's scores, sums
 * (16 of them, by position modulo 16) and outputs are the same steps in the same order either way: the same bits. Each
 * takes the whole page of 32 positions whoever goes beside it; unseen positions have weight 0.  That needs finite
 * values in the unseen slots: storing slot 0 clears the page, and a sequence fills a page from slot 0.
 *
 * Scores are held in units of log 2, so that a weight is a power of two.
 *
 * Order: state, few vectors and a page, many vectors and a page, tiles. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"
#include "kernel/avx512/page.h"
#include "kernel/avx512/transpose.h"

#define INLINE static inline __attribute__((always_inline))

/* From MANY vectors on, 16 lanes cost less than one at a time. */
enum { PAGE = HONE_KV_PAGE, LANES = 16, TILE_VECTORS = 32, AT_ONCE = 4, MANY = 11 };

#define LOG2_E 1.44269504088896341f
#define LN_2 0.69314718055994531f

/* ---- State ------------------------------------------------------------------------------------------------------ */

typedef struct {
    uint32_t row, head, first, last; /* positions first..last are seen */
    float largest;
    void *query; /* bf16 pairs or floats; among many: [pairs or E][16] of its 16 */
    float *acc;  /* [E16]; among many [E16][16] */
    float *sum;  /* [16]; among many [16][16] */
} vector;

/* What one page holds for the vectors of a tile. */
typedef struct {
    const hone_attention *a;
    page_shape shape;                     /* of the page as it is multiplied: bf16 or f32 */
    const uint8_t *keys;                  /* and behind them the values */
    const float *key_scale, *value_scale; /* [32] each; NULL: none */
    const uint8_t *next;                  /* to be fetched meanwhile, of bytes next_bytes */
    size_t next_bytes;
    uint32_t number;
    float factor, cap; /* of scores, to units of log 2; softcap: 1 / cap of the score, then cap log2 e */
} page;

static size_t vector_floats(uint32_t head_dim) {
    return 2 * page_up_to(head_dim, 16) + 16;
}

size_t avx512_attention_scratch_bytes(const hone_attention *a) {
    return 64 + page_up_to(TILE_VECTORS * sizeof(vector), 64) +
           TILE_VECTORS * vector_floats(a->head_dim) * sizeof(float) +
           (a->kv_type == HONE_KV_INT8 ? page_shape_of(HONE_KV_BF16, a->head_dim).head_bytes : 0);
}

INLINE __m512bh two(const void *p, size_t index) {
    int32_t v;
    memcpy(&v, (const uint8_t *)p + 4 * index, 4);
    return (__m512bh)_mm512_set1_epi32(v);
}

INLINE __m512bh halves(__m512 v) {
    return (__m512bh)_mm512_castps_si512(v);
}

/* Bits of the positions of this page that positions first..last contain. */
static uint32_t seen_of(uint32_t first, uint32_t last, uint32_t number) {
    const uint32_t base = number * PAGE, from = first > base ? first - base : 0;
    const uint32_t to = last - base < PAGE ? last - base + 1 : PAGE;
    return (to == PAGE ? 0xffffffffu : (1u << to) - 1u) & ~((1u << from) - 1u);
}

/* ---- Few vectors and a page ---------------------------------------------------------------------------------------
 */

/* Scores of n vectors: s[i][0] positions 0..15, s[i][1] positions 16..31. */
INLINE void scores(const bool bf16, const int n, const page *g, vector *const *v, __m512 s[][2]) {
    const uint32_t len = bf16 ? g->shape.pairs : g->a->head_dim;
    const uint8_t *keys = g->keys;
    const size_t step = g->next_bytes / 2 / len;
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) s[i][0] = s[i][1] = _mm512_setzero_ps();
    for (uint32_t e = 0; e < len; e++, keys += 128) {
        const __m512 k0 = _mm512_loadu_ps((const void *)keys), k1 = _mm512_loadu_ps((const void *)(keys + 64));
        _mm_prefetch((const char *)g->next + step * e, _MM_HINT_T0);
        _mm_prefetch((const char *)g->next + step * e + 64, _MM_HINT_T0);
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            if (bf16) {
                const __m512bh q = two(v[i]->query, e);
                s[i][0] = _mm512_dpbf16_ps(s[i][0], halves(k0), q);
                s[i][1] = _mm512_dpbf16_ps(s[i][1], halves(k1), q);
            } else {
                const __m512 q = _mm512_set1_ps(((const float *)v[i]->query)[e]);
                s[i][0] = _mm512_fmadd_ps(k0, q, s[i][0]);
                s[i][1] = _mm512_fmadd_ps(k1, q, s[i][1]);
            }
        }
    }
}

/* Lanes of E in w registers: acc = acc * correction + weights times values. */
INLINE void values(const bool bf16, const int n, const int w, const uint8_t *from, size_t row_bytes,
                   float weights[][PAGE], const float *correction, vector *const *v, size_t e) {
    __m512 acc[AT_ONCE][4];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        const __m512 by = _mm512_set1_ps(correction[i]);
#pragma GCC unroll 4
        for (int j = 0; j < w; j++) acc[i][j] = _mm512_mul_ps(_mm512_load_ps(v[i]->acc + e + 16 * j), by);
    }
    for (uint32_t p = 0; p < (bf16 ? PAGE / 2 : PAGE); p++, from += row_bytes) {
        __m512 x[4];
#pragma GCC unroll 4
        for (int j = 0; j < w; j++) x[j] = _mm512_loadu_ps((const void *)(from + 64 * j));
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            if (bf16) {
                const __m512bh q = two(weights[i], p);
#pragma GCC unroll 4
                for (int j = 0; j < w; j++) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], halves(x[j]), q);
            } else {
                const __m512 q = _mm512_set1_ps(weights[i][p]);
#pragma GCC unroll 4
                for (int j = 0; j < w; j++) acc[i][j] = _mm512_fmadd_ps(x[j], q, acc[i][j]);
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int j = 0; j < w; j++) _mm512_store_ps(v[i]->acc + e + 16 * j, acc[i][j]);
}

INLINE void few(const bool bf16, const int n, const page *g, vector *const *v) {
    __m512 s[AT_ONCE][2];
    float weights[AT_ONCE][PAGE] __attribute__((aligned(64)));
    float difference[16] __attribute__((aligned(64))) = {0};
    const __m512 low = _mm512_set1_ps(-INFINITY);
    __m512 factor[2] = {_mm512_set1_ps(g->factor), _mm512_set1_ps(g->factor)};
    for (int h = 0; g->key_scale && h < 2; h++)
        factor[h] = _mm512_mul_ps(factor[h], _mm512_loadu_ps(g->key_scale + 16 * h));
    scores(bf16, n, g, v, s);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        const uint32_t seen = seen_of(v[i]->first, v[i]->last, g->number);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            s[i][h] = _mm512_mul_ps(s[i][h], factor[h]);
            if (g->cap > 0.0f) s[i][h] = _mm512_mul_ps(_mm512_set1_ps(g->cap), tanh16(s[i][h]));
            s[i][h] = _mm512_mask_mov_ps(low, (__mmask16)(seen >> 16 * h), s[i][h]);
        }
        const float page_largest = max16(_mm512_max_ps(s[i][0], s[i][1]));
        const float largest = page_largest > v[i]->largest ? page_largest : v[i]->largest;
        difference[i] = v[i]->largest - largest;
        v[i]->largest = largest;
        const __m512 shift = _mm512_set1_ps(largest);
        __m512 w[2];
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            w[h] = s[i][h] = exp2_below_16(_mm512_sub_ps(s[i][h], shift));
            if (g->value_scale) w[h] = _mm512_mul_ps(w[h], _mm512_loadu_ps(g->value_scale + 16 * h));
        }
        if (bf16) {
            _mm512_store_si512((void *)weights[i], (__m512i)_mm512_cvtne2ps_pbh(w[1], w[0]));
        } else {
            _mm512_store_ps(weights[i], w[0]);
            _mm512_store_ps(weights[i] + 16, w[1]);
        }
    }
    float correction[16] __attribute__((aligned(64)));
    _mm512_store_ps(correction, exp2_below_16(_mm512_load_ps(difference)));
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        const __m512 by = _mm512_set1_ps(correction[i]);
        _mm512_store_ps(v[i]->sum, _mm512_fmadd_ps(_mm512_load_ps(v[i]->sum), by, _mm512_add_ps(s[i][0], s[i][1])));
    }
    const uint8_t *from = g->keys + g->shape.keys_bytes;
    const size_t row_bytes = (size_t)g->shape.e16 * 4; /* a pair of bf16 or one float per lane */
    for (size_t ahead = g->next_bytes / 2; ahead < g->next_bytes; ahead += 64)
        _mm_prefetch((const char *)g->next + ahead, _MM_HINT_T0);
    size_t e = 0;
    for (; e + 64 <= g->shape.e16; e += 64) values(bf16, n, 4, from + 4 * e, row_bytes, weights, correction, v, e);
    if (g->shape.e16 - e >= 32) {
        values(bf16, n, 2, from + 4 * e, row_bytes, weights, correction, v, e);
        e += 32;
    }
    if (g->shape.e16 > e) values(bf16, n, 1, from + 4 * e, row_bytes, weights, correction, v, e);
}

#define FEW(name, bf16, n)                                                                                             \
    static void name(const page *g, vector *const *v) {                                                                \
        few(bf16, n, g, v);                                                                                            \
    }
FEW(half_1, true, 1)
FEW(half_2, true, 2)
FEW(half_3, true, 3)
FEW(half_4, true, 4)
FEW(full_1, false, 1)
FEW(full_2, false, 2)
FEW(full_3, false, 3)
FEW(full_4, false, 4)

typedef void few_function(const page *g, vector *const *v);
static few_function *const few_functions[2][AT_ONCE] = {{half_1, half_2, half_3, half_4},
                                                        {full_1, full_2, full_3, full_4}};

/* ---- Many vectors and a page ----------------------------------------------------------------------------------------
 */

/* Scores of 16 vectors at 32 positions, [32][16]. */
INLINE void scores_16(const bool bf16, const page *g, const vector *v, float (*s)[LANES]) {
    const uint32_t len = bf16 ? g->shape.pairs : g->a->head_dim;
    for (int half = 0; half < 2; half++) {
        const uint8_t *keys = g->keys + 64 * half;
        const float *query = v->query;
        __m512 acc[16];
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) acc[j] = _mm512_setzero_ps();
        for (uint32_t e = 0; e < len; e++, keys += 128, query += LANES) {
            const __m512 q = _mm512_load_ps(query);
#pragma GCC unroll 16
            for (size_t j = 0; j < 16; j++) {
                if (bf16)
                    acc[j] = _mm512_dpbf16_ps(acc[j], two(keys, j), halves(q));
                else
                    acc[j] = _mm512_fmadd_ps(_mm512_set1_ps(((const float *)(const void *)keys)[j]), q, acc[j]);
            }
        }
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            const float by = g->key_scale ? g->factor * g->key_scale[16 * half + j] : g->factor;
            acc[j] = _mm512_mul_ps(acc[j], _mm512_set1_ps(by));
            if (g->cap > 0.0f) acc[j] = _mm512_mul_ps(_mm512_set1_ps(g->cap), tanh16(acc[j]));
            _mm512_store_ps(s[16 * half + j], acc[j]);
        }
    }
}

/* Two positions of 16 vectors as pairs of bf16. */
INLINE __m512i pairs_of(__m512 even, __m512 odd) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

/* A plain store: what a masked one wrote is not forwarded to the load of the next page. */
INLINE void keep(float *to, __mmask16 live, __m512 v) {
    _mm512_store_ps(to, live == 0xffff ? v : _mm512_mask_mov_ps(_mm512_load_ps(to), live, v));
}

INLINE void values_16(const bool bf16, const page *g, const float *weights, __m512 correction, __mmask16 live,
                      vector *v) {
    const size_t row_bytes = (size_t)g->shape.e16 * 4;
    float *to = v->acc;
    for (uint32_t e = 0; e < g->shape.e16; e += 16, to += (size_t)16 * LANES) {
        const uint8_t *from = g->keys + g->shape.keys_bytes + (size_t)4 * e;
        const float *w = weights;
        __m512 acc[16];
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) acc[j] = _mm512_mul_ps(_mm512_load_ps(to + LANES * j), correction);
        for (uint32_t p = 0; p < (bf16 ? PAGE / 2 : PAGE); p++, from += row_bytes, w += LANES) {
            const __m512 x = _mm512_load_ps(w);
#pragma GCC unroll 16
            for (size_t j = 0; j < 16; j++) {
                if (bf16)
                    acc[j] = _mm512_dpbf16_ps(acc[j], two(from, j), halves(x));
                else
                    acc[j] = _mm512_fmadd_ps(_mm512_set1_ps(((const float *)(const void *)from)[j]), x, acc[j]);
            }
        }
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) keep(to + LANES * j, live, acc[j]);
    }
}

/* Vectors v[0] .. v[n - 1], n <= 16; those that see nothing of the page keep what they have. */
INLINE void many(const bool bf16, const page *g, vector *v, uint32_t n) {
    float s[PAGE][LANES] __attribute__((aligned(64))), weights[PAGE / 2][LANES] __attribute__((aligned(64)));
    float before[LANES] __attribute__((aligned(64))) = {0};
    uint32_t seen[LANES] __attribute__((aligned(64))) = {0};
    uint32_t seen_by_all = 0xffffffffu;
    for (uint32_t i = 0; i < n; i++) {
        const bool sees = v[i].first / PAGE <= g->number && v[i].last / PAGE >= g->number;
        before[i] = v[i].largest;
        if (sees) seen[i] = seen_of(v[i].first, v[i].last, g->number);
        seen_by_all &= seen[i];
    }
    const __m512i bits = _mm512_load_si512((const void *)seen);
    const __mmask16 live = _mm512_test_epi32_mask(bits, bits);
    if (live == 0) return;
    scores_16(bf16, g, v, s);
    const __m512 low = _mm512_set1_ps(-INFINITY);
    if (seen_by_all != 0xffffffffu)
        for (int j = 0; j < PAGE; j++)
            _mm512_store_ps(s[j],
                            _mm512_mask_mov_ps(low, _mm512_test_epi32_mask(bits, _mm512_set1_epi32((int)(1u << j))),
                                               _mm512_load_ps(s[j])));
    __m512 top[4] = {low, low, low, low};
#pragma GCC unroll 4
    for (int j = 0; j < PAGE; j++) top[j % 4] = _mm512_max_ps(_mm512_load_ps(s[j]), top[j % 4]);
    top[0] = _mm512_max_ps(_mm512_max_ps(top[0], top[1]), _mm512_max_ps(top[2], top[3]));
    const __m512 old = _mm512_load_ps(before);
    const __m512 largest = _mm512_mask_mov_ps(old, _mm512_mask_cmp_ps_mask(live, top[0], old, _CMP_GT_OQ), top[0]);
    const __m512 correction = exp2_below_16(_mm512_sub_ps(old, largest));
#pragma GCC unroll 2
    for (int j = 0; j < PAGE; j += 2) {
        __m512 w[2];
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            w[k] = exp2_below_16(_mm512_sub_ps(_mm512_load_ps(s[j + k]), largest));
            _mm512_store_ps(s[j + k], w[k]);
            if (g->value_scale) w[k] = _mm512_mul_ps(w[k], _mm512_set1_ps(g->value_scale[j + k]));
        }
        if (bf16) _mm512_store_si512((void *)weights[j / 2], pairs_of(w[0], w[1]));
    }
#pragma GCC unroll 4
    for (int j = 0; j < LANES; j++) {
        float *sum = v->sum + LANES * j;
        const __m512 both = _mm512_add_ps(_mm512_load_ps(s[j]), _mm512_load_ps(s[j + 16]));
        keep(sum, live, _mm512_fmadd_ps(_mm512_load_ps(sum), correction, both));
    }
    values_16(bf16, g, bf16 ? weights[0] : s[0], correction, live, v);
    _mm512_store_ps(before, largest);
    for (uint32_t i = 0; i < n; i++) v[i].largest = before[i];
}

static void many_half(const page *g, vector *v, uint32_t n) {
    many(true, g, v, n);
}
static void many_full(const page *g, vector *v, uint32_t n) {
    many(false, g, v, n);
}

/* ---- Tiles: rows of one sequence times the heads of one key/value head
 * ------------------------------------------------ */

static void begin_vector(const hone_attention *a, vector *v, uint32_t row, uint32_t head) {
    v->row = row;
    v->head = head;
    v->last = a->pos[row];
    v->first = a->window && v->last >= a->window ? v->last - a->window + 1 : 0;
    v->largest = -INFINITY;
}

/* The vector's query at to: bf16 or floats, zeros up to 16. */
static void load_query(const hone_attention *a, const vector *v, void *to) {
    const float *q = a->q + a->ldq * v->row + (size_t)v->head * a->head_dim;
    for (uint32_t e = 0; e < a->head_dim; e += 16) {
        const __m512 x = _mm512_maskz_loadu_ps(first(a->head_dim - e), q + e);
        if (a->kv_type == HONE_KV_F32)
            _mm512_store_ps((float *)to + e, x);
        else
            _mm256_store_si256((__m256i *)(void *)((uint16_t *)to + e), (__m256i)_mm512_cvtneps_pbh(x));
    }
}

static void begin_few(const hone_attention *a, vector *v, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        load_query(a, &v[i], v[i].query);
        memset(v[i].acc, 0, page_up_to(a->head_dim, 16) * sizeof(float));
        memset(v[i].sum, 0, LANES * sizeof(float));
    }
}

/* Up to 16 vectors whose room begins at v[0].query. */
static void begin_many(const hone_attention *a, vector *v, uint32_t n) {
    const size_t e16 = page_up_to(a->head_dim, 16), words = a->kv_type == HONE_KV_F32 ? e16 : e16 / 2;
    float *query = v->query, *rows = query + e16 * LANES; /* acc holds the queries as rows first */
    memset(rows, 0, e16 * LANES * sizeof(float));
    for (uint32_t i = 0; i < n; i++) load_query(a, &v[i], rows + e16 * i);
    for (size_t e = 0; e < words; e += 16) {
        __m512 t[16];
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) t[i] = _mm512_maskz_loadu_ps(first(words - e), rows + e16 * i + e);
        transpose16(t);
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++)
            if (e + i < words) _mm512_store_ps(query + (e + i) * LANES, t[i]);
    }
    v->acc = rows;
    v->sum = rows + e16 * LANES;
    memset(v->acc, 0, (e16 + LANES) * LANES * sizeof(float));
}

static void end_lse(const hone_attention *a, const vector *v, float sum) {
    if (a->lse) a->lse[(size_t)v->row * a->n_head + v->head] = fmaf(v->largest, LN_2, logf(sum));
}

static void end_few(const hone_attention *a, const vector *v, uint32_t n) {
    for (uint32_t i = 0; i < n; i++, v++) {
        const float sum = sum16(_mm512_load_ps(v->sum));
        const __m512 by = _mm512_set1_ps(1.0f / sum);
        float *out = a->out + a->ldo * v->row + (size_t)v->head * a->head_dim;
        for (uint32_t e = 0; e < a->head_dim; e += 16)
            _mm512_mask_storeu_ps(out + e, first(a->head_dim - e), _mm512_mul_ps(_mm512_load_ps(v->acc + e), by));
        end_lse(a, v, sum);
    }
}

static void end_many(const hone_attention *a, const vector *v, uint32_t n) {
    __m512 t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) t[i] = _mm512_load_ps(v->sum + LANES * i);
#pragma GCC unroll 4
    for (int half = 8; half; half /= 2) /* the tree of sum16 */
        for (int i = 0; i < half; i++) t[i] = _mm512_add_ps(t[i], t[i + half]);
    float sum[LANES] __attribute__((aligned(64)));
    _mm512_store_ps(sum, t[0]);
    const __m512 by = _mm512_div_ps(_mm512_set1_ps(1.0f), t[0]);
    for (uint32_t e = 0; e < a->head_dim; e += 16) {
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) t[i] = _mm512_mul_ps(_mm512_load_ps(v->acc + (e + i) * LANES), by);
        transpose16(t);
        float rows[LANES][16] __attribute__((aligned(64)));
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) _mm512_store_ps(rows[i], t[i]);
        for (uint32_t i = 0; i < n; i++) {
            float *out = a->out + a->ldo * v[i].row + (size_t)v[i].head * a->head_dim + e;
            _mm512_mask_storeu_ps(out, first(a->head_dim - e), _mm512_load_ps(rows[i]));
        }
    }
    for (uint32_t i = 0; i < n; i++) end_lse(a, &v[i], sum[i]);
}

/* Vectors v[0..n) that see something of this page. */
static void run_few(const page *g, vector *v, uint32_t n) {
    few_function *const *functions = few_functions[g->a->kv_type == HONE_KV_F32];
    vector *some[AT_ONCE];
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (v[i].first / PAGE > g->number || v[i].last / PAGE < g->number) continue;
        some[count++] = &v[i];
        if (count == AT_ONCE) {
            functions[AT_ONCE - 1](g, some);
            count = 0;
        }
    }
    if (count) functions[count - 1](g, some);
}

static void run_tile(const hone_attention *a, vector *v, uint32_t n, uint32_t head, uint8_t *wide) {
    const page_shape stored = page_shape_of(a->kv_type, a->head_dim);
    const bool int8 = a->kv_type == HONE_KV_INT8;
    page g = {.a = a, .shape = int8 ? page_shape_of(HONE_KV_BF16, a->head_dim) : stored};
    g.factor = a->softcap > 0.0f ? a->scale / a->softcap : a->scale * LOG2_E;
    g.cap = a->softcap * LOG2_E;
    const uint8_t *const *pages = a->pages[v[0].row];
    uint32_t from = UINT32_MAX, to = 0, n_many = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (v[i].first / PAGE < from) from = v[i].first / PAGE;
        if (v[i].last / PAGE > to) to = v[i].last / PAGE;
    }
    for (; n - n_many >= MANY; n_many += n - n_many < LANES ? n - n_many : LANES)
        begin_many(a, v + n_many, n - n_many < LANES ? n - n_many : LANES);
    begin_few(a, v + n_many, n - n_many);
    for (uint32_t p = from; p <= to; p++) {
        g.number = p;
        g.keys = pages[p] + head * stored.head_bytes;
        g.next = p < to ? pages[p + 1] + head * stored.head_bytes : g.keys;
        g.next_bytes = p < to ? stored.head_bytes : 0;
        if (int8) {
            g.key_scale = (const float *)(const void *)(g.keys + stored.keys_bytes + stored.values_bytes);
            g.value_scale = g.key_scale + PAGE;
            page_widen(g.keys, stored.keys_bytes + stored.values_bytes, wide);
            g.keys = wide;
        }
        for (uint32_t i = 0; i < n_many; i += LANES) {
            const uint32_t some = n_many - i < LANES ? n_many - i : LANES;
            (a->kv_type == HONE_KV_F32 ? many_full : many_half)(&g, v + i, some);
        }
        run_few(&g, v + n_many, n - n_many);
    }
    for (uint32_t i = 0; i < n_many; i += LANES) end_many(a, v + i, n_many - i < LANES ? n_many - i : LANES);
    end_few(a, v + n_many, n - n_many);
}

void avx512_attention(const hone_attention *a, uint32_t row0, uint32_t row1, uint32_t g0, uint32_t g1, void *scratch) {
    uint8_t *base = (uint8_t *)scratch + (64 - (uintptr_t)scratch % 64) % 64;
    vector *vectors = (void *)base;
    float *room = (float *)(void *)(base + page_up_to(TILE_VECTORS * sizeof(vector), 64));
    const size_t e16 = page_up_to(a->head_dim, 16);
    uint8_t *wide = (uint8_t *)(room + TILE_VECTORS * vector_floats(a->head_dim));
    const uint32_t group = a->n_head / a->n_kv_head;
    for (uint32_t g = g0; g < g1; g++) {
        uint32_t n = 0;
        for (uint32_t row = row0; row < row1; row++)
            for (uint32_t h = 0; h < group; h++) {
                if (n && (n == TILE_VECTORS || a->pages[row] != a->pages[vectors[0].row])) {
                    run_tile(a, vectors, n, g, wide);
                    n = 0;
                }
                vector *v = &vectors[n];
                v->query = room + n * vector_floats(a->head_dim);
                v->acc = (float *)v->query + e16;
                v->sum = v->acc + e16;
                begin_vector(a, v, row, g * group + h);
                n++;
            }
        if (n) run_tile(a, vectors, n, g, wide);
    }
}
