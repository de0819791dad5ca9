/* attention.c - paged attention for AVX2.
 *
 * A page holds, per key/value head, keys [E][32 positions] and then values [32 positions][E8] (E8 = E rounded up to 8),
 * bf16, f32 or int8, with int8 then scales of keys [32] and of values [32]: lanes over positions for scores, over the
 * head for outputs.  bf16 and int8 are widened in registers; as in all sets the query and the exponentials (times the
 * value's scale) are rounded to bf16 with such pages.  A vector (row and head) takes every page of
 * 32 positions in the same steps, unseen positions with weight 0; storing slot 0 clears the page, so that unseen slots
 * are finite.
 *
 * Order: pages, one vector and one page, rows. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernel/avx2/avx2.h"
#include "kernel/avx2/math.h"
#include "kernel/quant.h"

#define INLINE static inline __attribute__((always_inline))

enum { PAGE = HONE_KV_PAGE };

/* ---- Pages ------------------------------------------------------------------------------------------------------ */

static size_t up_to(size_t n, size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

static size_t head_elements(uint32_t head_dim) {
    return (size_t)PAGE * (head_dim + up_to(head_dim, 8));
}

/* Of one key/value head. */
static size_t head_bytes(hone_kv_type t, uint32_t head_dim) {
    if (t == HONE_KV_INT8) return head_elements(head_dim) + 2 * PAGE * sizeof(float);
    return head_elements(head_dim) * (t == HONE_KV_BF16 ? 2u : 4u);
}

size_t avx2_kv_page_bytes(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim) {
    return up_to(head_bytes(t, head_dim) * n_kv_head, 64);
}

static float *scales_of(const uint8_t *head, uint32_t head_dim) {
    return (float *)((uintptr_t)head + head_elements(head_dim));
}

/* Integers of one head, `step` bytes apart; returns their scale.  All sets round alike. */
static float quantise_head(const float *x, uint32_t head_dim, uint8_t *to, size_t step) {
    float largest = 0.0f, inverse;
    bool numbers = true;
    for (uint32_t e = 0; e < head_dim; e++) {
        numbers = numbers && !isnan(x[e]);
        largest = fabsf(x[e]) > largest ? fabsf(x[e]) : largest;
    }
    const float scale = kernel_quantise_scale(numbers ? largest : NAN, &inverse);
    for (uint32_t e = 0; e < head_dim; e++)
        to[step * e] = (uint8_t)(inverse > 0.0f ? _mm_cvtss_si32(_mm_set_ss(x[e] * inverse)) : 0);
    return scale;
}

void avx2_kv_store(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim, void *page, uint32_t slot, const float *k,
                   const float *v) {
    const size_t e8 = up_to(head_dim, 8);
    if (slot == 0) memset(page, 0, avx2_kv_page_bytes(t, n_kv_head, head_dim));
    for (uint32_t g = 0; g < n_kv_head; g++, k += head_dim, v += head_dim) {
        uint8_t *head = (uint8_t *)page + head_bytes(t, head_dim) * g;
        const size_t values = (size_t)PAGE * head_dim + e8 * slot;
        if (t == HONE_KV_INT8) {
            float *scales = scales_of(head, head_dim);
            scales[slot] = quantise_head(k, head_dim, head + slot, PAGE);
            scales[PAGE + slot] = quantise_head(v, head_dim, head + values, 1);
            continue;
        }
        for (uint32_t e = 0; e < head_dim; e++)
            if (t == HONE_KV_BF16) {
                ((uint16_t *)(void *)head)[(size_t)e * PAGE + slot] = hone_bf16_round(k[e]);
                ((uint16_t *)(void *)head)[values + e] = hone_bf16_round(v[e]);
            } else {
                ((float *)(void *)head)[(size_t)e * PAGE + slot] = k[e];
                ((float *)(void *)head)[values + e] = v[e];
            }
    }
}

INLINE __m256 load_stored(const hone_kv_type t, const uint8_t *base, size_t element) {
    if (t == HONE_KV_INT8)
        return _mm256_cvtepi32_ps(
            _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(base + element))));
    if (t == HONE_KV_BF16)
        return widen_bf16(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(base + 2 * element))));
    return _mm256_loadu_ps((const float *)(const void *)(base + 4 * element));
}

/* ---- One vector and one page ----------------------------------------------------------------------------------------
 */

typedef struct {
    const float *query; /* [E], rounded with bf16 pages */
    float *acc;         /* [E8] */
    __m256 sum;
    float largest;
    uint32_t first, last;
} vector;

INLINE void page_vector(const hone_kv_type t, const hone_attention *a, const uint8_t *head, uint32_t p, vector *v) {
    const uint32_t d = a->head_dim, base = p * PAGE;
    const size_t e8 = up_to(d, 8), values = (size_t)PAGE * d;
    const float *key_scale = t == HONE_KV_INT8 ? scales_of(head, d) : NULL;
    const uint32_t from = v->first > base ? v->first - base : 0, to = v->last - base < PAGE ? v->last - base + 1 : PAGE;
    float weights[PAGE];
    __m256 s[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t e = 0; e < d; e++) {
        const __m256 q = _mm256_set1_ps(v->query[e]);
        for (uint32_t j = 0; j < 4; j++)
            s[j] = _mm256_fmadd_ps(load_stored(t, head, (size_t)e * PAGE + 8 * j), q, s[j]);
    }
    for (uint32_t j = 0; j < 4; j++) {
        __m256 scale = _mm256_set1_ps(a->scale);
        if (key_scale) scale = _mm256_mul_ps(scale, _mm256_loadu_ps(key_scale + 8 * j));
        s[j] = _mm256_mul_ps(s[j], scale);
        if (a->softcap > 0.0f) {
            const __m256 cap = _mm256_set1_ps(a->softcap);
            s[j] = _mm256_mul_ps(cap, tanh8(_mm256_div_ps(s[j], cap)));
        }
        _mm256_storeu_ps(weights + 8 * j, s[j]);
    }
    float largest = v->largest;
    for (uint32_t i = 0; i < PAGE; i++) {
        if (i < from || i >= to) weights[i] = -INFINITY;
        if (weights[i] > largest) largest = weights[i];
    }
    const float correction = _mm256_cvtss_f32(exp8(_mm256_set1_ps(v->largest - largest)));
    v->largest = largest;
    for (uint32_t j = 0; j < 4; j++)
        s[j] = exp8(_mm256_sub_ps(_mm256_loadu_ps(weights + 8 * j), _mm256_set1_ps(largest)));
    v->sum = _mm256_fmadd_ps(v->sum, _mm256_set1_ps(correction),
                             _mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3])));
    for (uint32_t j = 0; j < 4; j++) {
        const __m256 w = key_scale ? _mm256_mul_ps(s[j], _mm256_loadu_ps(key_scale + PAGE + 8 * j)) : s[j];
        _mm256_storeu_ps(weights + 8 * j, t == HONE_KV_F32 ? w : through_bf16(w));
    }
    const __m256 by = _mm256_set1_ps(correction);
    uint32_t e = 0;
    for (; e + 32 <= e8; e += 32) {
        __m256 acc[4];
        for (uint32_t j = 0; j < 4; j++) acc[j] = _mm256_mul_ps(_mm256_loadu_ps(v->acc + e + 8 * j), by);
        for (uint32_t i = 0; i < PAGE; i++) {
            const __m256 w = _mm256_set1_ps(weights[i]);
            for (uint32_t j = 0; j < 4; j++)
                acc[j] = _mm256_fmadd_ps(w, load_stored(t, head, values + e8 * i + e + 8 * j), acc[j]);
        }
        for (uint32_t j = 0; j < 4; j++) _mm256_storeu_ps(v->acc + e + 8 * j, acc[j]);
    }
    for (; e < e8; e += 8) {
        __m256 acc = _mm256_mul_ps(_mm256_loadu_ps(v->acc + e), by);
        for (uint32_t i = 0; i < PAGE; i++)
            acc = _mm256_fmadd_ps(_mm256_set1_ps(weights[i]), load_stored(t, head, values + e8 * i + e), acc);
        _mm256_storeu_ps(v->acc + e, acc);
    }
}

/* ---- Rows ---------------------------------------------------------------------------------------------------------
 */

size_t avx2_attention_scratch_bytes(const hone_attention *a) {
    return 2 * up_to(a->head_dim, 8) * sizeof(float) + 64;
}

void avx2_attention(const hone_attention *a, uint32_t row0, uint32_t row1, uint32_t g0, uint32_t g1, void *scratch) {
    const uint32_t group = a->n_head / a->n_kv_head, d = a->head_dim;
    float *query = scratch, *acc = query + up_to(d, 8);
    for (uint32_t head = g0 * group; head < g1 * group; head++)
        for (uint32_t row = row0; row < row1; row++) {
            const float *q = a->q + a->ldq * row + (size_t)head * d;
            vector v = {query, acc, _mm256_setzero_ps(), -INFINITY, 0, a->pos[row]};
            if (a->window && v.last >= a->window) v.first = v.last - a->window + 1;
            memset(acc, 0, up_to(d, 8) * sizeof(float));
            for (uint32_t e = 0; e < d; e += 8) {
                const __m256 x = load8(q + e, d - e);
                store8(query + e, d - e, a->kv_type == HONE_KV_F32 ? x : through_bf16(x));
            }
            for (uint32_t p = v.first / PAGE; p <= v.last / PAGE; p++) {
                const uint8_t *at = a->pages[row][p] + head_bytes(a->kv_type, d) * (head / group);
                if (a->kv_type == HONE_KV_BF16)
                    page_vector(HONE_KV_BF16, a, at, p, &v);
                else if (a->kv_type == HONE_KV_F32)
                    page_vector(HONE_KV_F32, a, at, p, &v);
                else
                    page_vector(HONE_KV_INT8, a, at, p, &v);
            }
            const float sum = sum8(v.sum);
            const __m256 by = _mm256_set1_ps(1.0f / sum);
            float *out = a->out + a->ldo * row + (size_t)head * d;
            for (uint32_t e = 0; e < d; e += 8) store8(out + e, d - e, _mm256_mul_ps(_mm256_loadu_ps(acc + e), by));
            if (a->lse) a->lse[(size_t)row * a->n_head + head] = v.largest + logf(sum);
        }
}
