/* attention.c - paged attention: pages, and query rows against them.
 *
 * A page holds, per key/value head, keys and then values (E2 = E rounded up to 2, E16 to 16):
 *   bf16   keys [E2 / 2][32 positions][2]     values [16 pairs of positions][E16][2]
 *   f32    keys [E][32 positions]             values [32 positions][E16]
 * so that scores have lanes over positions and outputs have lanes over the head, without a shuffle.
 *
 * Query vectors (a row and one of the heads that share a key/value head) go up to 4 at a time through a page, which is
 * read once for all rows and heads of a tile.  Each keeps its own maximum, sums (16 lanes) and accumulator, and takes
 * the whole page of 32 positions in the same steps whoever goes beside it; unseen positions have weight 0.  That needs
 * finite values in the unseen slots: storing slot 0 clears the page, and a sequence fills a page from slot 0.
 *
 * Order: pages, storing, scores, softmax, values, tiles. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"

#define INLINE static inline __attribute__((always_inline))

enum { PAGE = HONE_KV_PAGE, TILE_VECTORS = 32, AT_ONCE = 4 };

/* ---- Pages ------------------------------------------------------------------------------------------------------ */

static size_t up_to(size_t n, size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

typedef struct {
    size_t keys_bytes, head_bytes; /* keys; keys and values */
    uint32_t e16, pairs;           /* pairs of E, the inner length of scores with bf16 */
} page_shape;

static page_shape shape_of(hone_kv_type t, uint32_t head_dim) {
    page_shape s = {.e16 = (uint32_t)up_to(head_dim, 16), .pairs = (head_dim + 1) / 2};
    s.keys_bytes = t == HONE_KV_BF16 ? (size_t)s.pairs * PAGE * 4 : (size_t)head_dim * PAGE * 4;
    s.head_bytes = s.keys_bytes + (size_t)PAGE * s.e16 * (t == HONE_KV_BF16 ? 2u : 4u);
    return s;
}

size_t avx512_kv_page_bytes(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim) {
    return shape_of(t, head_dim).head_bytes * n_kv_head;
}

/* Keys: pairs of E go to columns, 128 bytes apart.  Values: 16 bits of each 32, beside those of the slot's neighbour.
 */
static void store_half(uint32_t head_dim, uint32_t e16, uint8_t *keys, uint8_t *values, uint32_t slot, const float *k,
                       const float *v) {
    uint32_t *column = (uint32_t *)(void *)keys + slot;
    uint8_t *row = values + (size_t)(slot / 2) * e16 * 4;
    for (uint32_t e = 0; e < head_dim; e += 16, row += 64) {
        const __mmask16 mask = first(head_dim - e);
        uint32_t pairs[8] __attribute__((aligned(32)));
        _mm256_store_si256((__m256i *)(void *)pairs, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, k + e)));
        const uint32_t n = head_dim - e < 16 ? (head_dim - e + 1) / 2 : 8;
        for (uint32_t p = 0; p < n; p++, column += PAGE) *column = pairs[p];
        const __m512i x = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, v + e)));
        const __m512i old = _mm512_loadu_si512((const void *)row);
        const __m512i both = slot % 2 ? _mm512_mask_mov_epi16(old, 0xaaaaaaaau, _mm512_slli_epi32(x, 16))
                                      : _mm512_mask_mov_epi16(old, 0x55555555u, x);
        _mm512_storeu_si512((void *)row, both);
    }
}

void avx512_kv_store(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim, void *page, uint32_t slot, const float *k,
                     const float *v) {
    const page_shape s = shape_of(t, head_dim);
    uint8_t *keys = page;
    if (slot == 0) memset(page, 0, s.head_bytes * n_kv_head);
    for (uint32_t g = 0; g < n_kv_head; g++, keys += s.head_bytes, k += head_dim, v += head_dim) {
        uint8_t *values = keys + s.keys_bytes;
        if (t == HONE_KV_BF16) {
            store_half(head_dim, s.e16, keys, values, slot, k, v);
        } else {
            for (uint32_t e = 0; e < head_dim; e++) ((float *)(void *)keys)[(size_t)e * PAGE + slot] = k[e];
            memcpy((float *)(void *)values + (size_t)slot * s.e16, v, head_dim * sizeof(float));
        }
    }
}

/* ---- State of the query vectors of a tile ---------------------------------------------------------------------------
 */

typedef struct {
    void *query; /* bf16 pairs or floats */
    float *acc;  /* [E16] */
    float *sum;  /* [16] lanes */
    float largest;
    uint32_t first, last; /* positions seen */
    uint32_t row, head;
} vector;

static size_t vector_floats(const hone_attention *a) {
    return 2 * up_to(a->head_dim, 16) + 16;
}

size_t avx512_attention_scratch_bytes(const hone_attention *a) {
    return 64 + up_to(TILE_VECTORS * sizeof(vector), 64) + TILE_VECTORS * vector_floats(a) * sizeof(float);
}

/* ---- One page -----------------------------------------------------------------------------------------------------
 */

INLINE __m512bh two(const void *p, size_t index) {
    int32_t v;
    memcpy(&v, (const uint8_t *)p + 4 * index, 4);
    return (__m512bh)_mm512_set1_epi32(v);
}

/* Scores of n vectors: s[i][0] positions 0..15, s[i][1] positions 16..31. */
INLINE void scores(const bool bf16, const int n, const uint8_t *keys, uint32_t len, vector *const *v, __m512 s[][2]) {
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) s[i][0] = s[i][1] = _mm512_setzero_ps();
    for (uint32_t e = 0; e < len; e++, keys += 128) {
        const __m512 k0 = _mm512_loadu_ps((const void *)keys), k1 = _mm512_loadu_ps((const void *)(keys + 64));
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            if (bf16) {
                const __m512bh q = two(v[i]->query, e);
                s[i][0] = _mm512_dpbf16_ps(s[i][0], (__m512bh)_mm512_castps_si512(k0), q);
                s[i][1] = _mm512_dpbf16_ps(s[i][1], (__m512bh)_mm512_castps_si512(k1), q);
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
                for (int j = 0; j < w; j++)
                    acc[i][j] = _mm512_dpbf16_ps(acc[i][j], (__m512bh)_mm512_castps_si512(x[j]), q);
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

/* n vectors take page number p. */
INLINE void page_vectors(const bool bf16, const int n, const hone_attention *a, const page_shape *shape,
                         const uint8_t *keys, uint32_t p, vector *const *v) {
    __m512 s[AT_ONCE][2];
    float weights[AT_ONCE][PAGE] __attribute__((aligned(64)));
    float difference[16] __attribute__((aligned(64))) = {0};
    const __m512 low = _mm512_set1_ps(-INFINITY), scale = _mm512_set1_ps(a->scale);
    scores(bf16, n, keys, bf16 ? shape->pairs : a->head_dim, v, s);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        const uint32_t base = p * PAGE, from = v[i]->first > base ? v[i]->first - base : 0;
        const uint32_t to = v[i]->last - base < PAGE ? v[i]->last - base + 1 : PAGE;
        const uint32_t seen = (to == PAGE ? 0xffffffffu : (1u << to) - 1u) & ~((1u << from) - 1u);
        s[i][0] = _mm512_mul_ps(s[i][0], scale);
        s[i][1] = _mm512_mul_ps(s[i][1], scale);
        if (a->softcap > 0.0f) {
            const __m512 cap = _mm512_set1_ps(a->softcap);
            s[i][0] = _mm512_mul_ps(cap, tanh16(_mm512_div_ps(s[i][0], cap)));
            s[i][1] = _mm512_mul_ps(cap, tanh16(_mm512_div_ps(s[i][1], cap)));
        }
        s[i][0] = _mm512_mask_mov_ps(low, (__mmask16)seen, s[i][0]);
        s[i][1] = _mm512_mask_mov_ps(low, (__mmask16)(seen >> 16), s[i][1]);
        const float page_largest = max16(_mm512_max_ps(s[i][0], s[i][1]));
        const float largest = page_largest > v[i]->largest ? page_largest : v[i]->largest;
        difference[i] = v[i]->largest - largest;
        v[i]->largest = largest;
        const __m512 shift = _mm512_set1_ps(largest);
        s[i][0] = exp16(_mm512_sub_ps(s[i][0], shift));
        s[i][1] = exp16(_mm512_sub_ps(s[i][1], shift));
        if (bf16) {
            _mm512_store_si512((void *)weights[i], (__m512i)_mm512_cvtne2ps_pbh(s[i][1], s[i][0]));
        } else {
            _mm512_store_ps(weights[i], s[i][0]);
            _mm512_store_ps(weights[i] + 16, s[i][1]);
        }
    }
    float correction[16] __attribute__((aligned(64)));
    _mm512_store_ps(correction, exp16(_mm512_load_ps(difference)));
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        const __m512 by = _mm512_set1_ps(correction[i]);
        const __m512 sum = _mm512_fmadd_ps(_mm512_load_ps(v[i]->sum), by, _mm512_add_ps(s[i][0], s[i][1]));
        _mm512_store_ps(v[i]->sum, sum);
    }
    const uint8_t *from = keys + shape->keys_bytes;
    const size_t row_bytes = (size_t)shape->e16 * 4; /* a pair of bf16 or one float per lane */
    size_t e = 0;
    for (; e + 64 <= shape->e16; e += 64) values(bf16, n, 4, from + 4 * e, row_bytes, weights, correction, v, e);
    if (shape->e16 - e >= 32) {
        values(bf16, n, 2, from + 4 * e, row_bytes, weights, correction, v, e);
        e += 32;
    }
    if (shape->e16 > e) values(bf16, n, 1, from + 4 * e, row_bytes, weights, correction, v, e);
}

#define GROUP(name, bf16, n)                                                                                           \
    static void name(const hone_attention *a, const page_shape *shape, const uint8_t *keys, uint32_t p,                \
                     vector *const *v) {                                                                               \
        page_vectors(bf16, n, a, shape, keys, p, v);                                                                   \
    }
GROUP(half_1, true, 1)
GROUP(half_2, true, 2)
GROUP(half_3, true, 3)
GROUP(half_4, true, 4)
GROUP(full_1, false, 1)
GROUP(full_2, false, 2)
GROUP(full_3, false, 3)
GROUP(full_4, false, 4)

typedef void group_function(const hone_attention *a, const page_shape *shape, const uint8_t *keys, uint32_t p,
                            vector *const *v);
static group_function *const groups[2][AT_ONCE] = {{half_1, half_2, half_3, half_4}, {full_1, full_2, full_3, full_4}};

/* ---- Tiles: rows of one sequence times the heads of one key/value head
 * ------------------------------------------------ */

static void begin_vector(const hone_attention *a, vector *v, uint32_t row, uint32_t head) {
    const float *q = a->q + a->ldq * row + (size_t)head * a->head_dim;
    v->row = row;
    v->head = head;
    v->last = a->pos[row];
    v->first = a->window && v->last >= a->window ? v->last - a->window + 1 : 0;
    v->largest = -INFINITY;
    memset(v->acc, 0, up_to(a->head_dim, 16) * sizeof(float));
    memset(v->sum, 0, 16 * sizeof(float));
    if (a->kv_type == HONE_KV_F32) {
        memcpy(v->query, q, a->head_dim * sizeof(float));
        return;
    }
    uint16_t *to = v->query;
    for (uint32_t e = 0; e < a->head_dim; e += 16) {
        const __m512 x = _mm512_maskz_loadu_ps(first(a->head_dim - e), q + e);
        _mm256_store_si256((__m256i *)(void *)(to + e), (__m256i)_mm512_cvtneps_pbh(x));
    }
}

static void end_vector(const hone_attention *a, const vector *v) {
    const float sum = sum16(_mm512_load_ps(v->sum));
    const __m512 by = _mm512_set1_ps(1.0f / sum);
    float *out = a->out + a->ldo * v->row + (size_t)v->head * a->head_dim;
    for (uint32_t e = 0; e < a->head_dim; e += 16)
        _mm512_mask_storeu_ps(out + e, first(a->head_dim - e), _mm512_mul_ps(_mm512_load_ps(v->acc + e), by));
    if (a->lse) a->lse[(size_t)v->row * a->n_head + v->head] = v->largest + logf(sum);
}

static void run_tile(const hone_attention *a, vector *vectors, uint32_t n, uint32_t g) {
    const page_shape shape = shape_of(a->kv_type, a->head_dim);
    const uint8_t *const *pages = a->pages[vectors[0].row];
    uint32_t from = UINT32_MAX, to = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (vectors[i].first / PAGE < from) from = vectors[i].first / PAGE;
        if (vectors[i].last / PAGE > to) to = vectors[i].last / PAGE;
    }
    for (uint32_t p = from; p <= to; p++) {
        const uint8_t *keys = pages[p] + g * shape.head_bytes;
        vector *some[AT_ONCE];
        uint32_t count = 0;
        for (uint32_t i = 0; i < n; i++) {
            if (vectors[i].first / PAGE > p || vectors[i].last / PAGE < p) continue;
            some[count++] = &vectors[i];
            if (count == AT_ONCE) {
                groups[a->kv_type == HONE_KV_F32][AT_ONCE - 1](a, &shape, keys, p, some);
                count = 0;
            }
        }
        if (count) groups[a->kv_type == HONE_KV_F32][count - 1](a, &shape, keys, p, some);
    }
}

void avx512_attention(const hone_attention *a, uint32_t row0, uint32_t row1, uint32_t g0, uint32_t g1, void *scratch) {
    uint8_t *base = (uint8_t *)scratch + (64 - (uintptr_t)scratch % 64) % 64;
    vector *vectors = (void *)base;
    float *room = (float *)(void *)(base + up_to(TILE_VECTORS * sizeof(vector), 64));
    const size_t e16 = up_to(a->head_dim, 16);
    for (uint32_t i = 0; i < TILE_VECTORS; i++, room += vector_floats(a)) {
        vectors[i].query = room;
        vectors[i].acc = room + e16;
        vectors[i].sum = room + 2 * e16;
    }
    const uint32_t group = a->n_head / a->n_kv_head;
    for (uint32_t g = g0; g < g1; g++) {
        uint32_t n = 0;
        for (uint32_t row = row0; row < row1; row++)
            for (uint32_t h = 0; h < group; h++) {
                if (n && (n == TILE_VECTORS || a->pages[row] != a->pages[vectors[0].row])) {
                    run_tile(a, vectors, n, g);
                    for (uint32_t i = 0; i < n; i++) end_vector(a, &vectors[i]);
                    n = 0;
                }
                begin_vector(a, &vectors[n++], row, g * group + h);
            }
        if (n) {
            run_tile(a, vectors, n, g);
            for (uint32_t i = 0; i < n; i++) end_vector(a, &vectors[i]);
        }
    }
}
