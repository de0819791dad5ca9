/* ref_attention.c - paged attention, one query row and head at a time.
 *
 * A page: keys [G, HONE_KV_PAGE, E], then values of the same shape, bf16, f32 or int8; with int8 then the scales of
 * keys and of values, f32 [G, HONE_KV_PAGE] each.  But for f32 pages the query and the exponentials (times the value's
 * scale) are rounded to bf16 too, as matrix units do; sums stay f32. */
#include <math.h>
#include <string.h>

#include "kernel/quant.h"
#include "kernel/ref/ref.h"

size_t ref_kv_page_bytes(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim) {
    const size_t n = (size_t)2 * HONE_KV_PAGE * n_kv_head;
    if (t == HONE_KV_INT8) return n * (head_dim + sizeof(float));
    return n * head_dim * (t == HONE_KV_BF16 ? 2u : 4u);
}

static size_t place(uint32_t head_dim, uint32_t g, uint32_t slot) {
    return ((size_t)g * HONE_KV_PAGE + slot) * head_dim;
}

static float *scales_of(const void *page, uint32_t n_kv_head, uint32_t head_dim) {
    return (float *)((uintptr_t)page + (size_t)2 * HONE_KV_PAGE * n_kv_head * head_dim);
}

/* Integers of one head at to; returns their scale. */
static float quantise_head(const float *x, uint32_t head_dim, int8_t *to) {
    float largest = 0.0f, inverse;
    for (uint32_t e = 0; e < head_dim; e++)
        if (!(fabsf(x[e]) <= largest)) largest = fabsf(x[e]);
    for (uint32_t e = 0; e < head_dim; e++)
        if (isnan(x[e])) largest = NAN;
    const float scale = kernel_quantise_scale(largest, &inverse);
    for (uint32_t e = 0; e < head_dim; e++) to[e] = (int8_t)(inverse > 0.0f ? lrintf(x[e] * inverse) : 0);
    return scale;
}

static void store_int8(uint32_t n_kv_head, uint32_t head_dim, void *page, uint32_t slot, const float *k,
                       const float *v) {
    const size_t half = (size_t)HONE_KV_PAGE * n_kv_head * head_dim;
    float *scales = scales_of(page, n_kv_head, head_dim);
    for (uint32_t g = 0; g < n_kv_head; g++, k += head_dim, v += head_dim) {
        int8_t *to = (int8_t *)page + place(head_dim, g, slot);
        scales[g * HONE_KV_PAGE + slot] = quantise_head(k, head_dim, to);
        scales[(n_kv_head + g) * HONE_KV_PAGE + slot] = quantise_head(v, head_dim, to + half);
    }
}

void ref_kv_store(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim, void *page, uint32_t slot, const float *k,
                  const float *v) {
    const size_t half = (size_t)HONE_KV_PAGE * n_kv_head * head_dim;
    if (t == HONE_KV_INT8) {
        store_int8(n_kv_head, head_dim, page, slot, k, v);
        return;
    }
    for (uint32_t g = 0; g < n_kv_head; g++)
        for (uint32_t e = 0; e < head_dim; e++) {
            const size_t to = place(head_dim, g, slot) + e, from = (size_t)g * head_dim + e;
            if (t == HONE_KV_BF16) {
                ((uint16_t *)page)[to] = hone_bf16_round(k[from]);
                ((uint16_t *)page)[half + to] = hone_bf16_round(v[from]);
            } else {
                ((float *)page)[to] = k[from];
                ((float *)page)[half + to] = v[from];
            }
        }
}

static float stored(hone_kv_type t, const void *page, size_t at) {
    if (t == HONE_KV_INT8) return (float)((const int8_t *)page)[at];
    return t == HONE_KV_BF16 ? hone_bf16_widen(((const uint16_t *)page)[at]) : ((const float *)page)[at];
}

static float rounded(hone_kv_type t, float x) {
    return t == HONE_KV_F32 ? x : hone_bf16_widen(hone_bf16_round(x));
}

size_t ref_attention_scratch_bytes(const hone_attention *a) {
    return (size_t)a->head_dim * sizeof(float) + 64;
}

static void attend(const hone_attention *a, uint32_t row, uint32_t head, float *acc) {
    const uint32_t g = head / (a->n_head / a->n_kv_head), d = a->head_dim, last = a->pos[row];
    const uint32_t first = a->window && last + 1 > a->window ? last + 1 - a->window : 0;
    const size_t half = (size_t)HONE_KV_PAGE * a->n_kv_head * d;
    const float *q = a->q + a->ldq * row + (size_t)head * d;
    float largest = -INFINITY, sum = 0.0f;
    memset(acc, 0, d * sizeof(*acc));
    for (uint32_t p = first / HONE_KV_PAGE; p <= last / HONE_KV_PAGE; p++) {
        const void *page = a->pages[row][p];
        const uint32_t from = first > p * HONE_KV_PAGE ? first - p * HONE_KV_PAGE : 0;
        const uint32_t to = last - p * HONE_KV_PAGE < HONE_KV_PAGE ? last - p * HONE_KV_PAGE + 1 : HONE_KV_PAGE;
        const float *key_scale =
            a->kv_type == HONE_KV_INT8 ? scales_of(page, a->n_kv_head, d) + (size_t)g * HONE_KV_PAGE : NULL;
        float score[HONE_KV_PAGE], page_largest = largest;
        for (uint32_t s = from; s < to; s++) {
            float dot = 0.0f;
            for (uint32_t e = 0; e < d; e++)
                dot = fmaf(rounded(a->kv_type, q[e]), stored(a->kv_type, page, place(d, g, s) + e), dot);
            score[s] = dot * (key_scale ? a->scale * key_scale[s] : a->scale);
            if (a->softcap > 0.0f) score[s] = a->softcap * tanhf(score[s] / a->softcap);
            if (score[s] > page_largest) page_largest = score[s];
        }
        const float correction = expf(largest - page_largest);
        largest = page_largest;
        sum *= correction;
        for (uint32_t e = 0; e < d; e++) acc[e] *= correction;
        for (uint32_t s = from; s < to; s++) {
            const float weight = expf(score[s] - largest);
            const float value_scale = key_scale ? key_scale[(size_t)a->n_kv_head * HONE_KV_PAGE + s] : 1.0f;
            const float w = rounded(a->kv_type, weight * value_scale);
            sum += weight;
            for (uint32_t e = 0; e < d; e++)
                acc[e] = fmaf(w, stored(a->kv_type, page, half + place(d, g, s) + e), acc[e]);
        }
    }
    float *out = a->out + a->ldo * row + (size_t)head * d;
    for (uint32_t e = 0; e < d; e++) out[e] = acc[e] / sum;
    if (a->lse) a->lse[(size_t)row * a->n_head + head] = largest + logf(sum);
}

void ref_attention(const hone_attention *a, uint32_t row0, uint32_t row1, uint32_t g0, uint32_t g1, void *scratch) {
    const uint32_t group = a->n_head / a->n_kv_head;
    for (uint32_t row = row0; row < row1; row++)
        for (uint32_t head = g0 * group; head < g1 * group; head++) attend(a, row, head, scratch);
}
