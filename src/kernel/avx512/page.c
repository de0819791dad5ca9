/* page.c - storing keys and values in pages, and pages of int8 as bf16; attention.c says what stands in a page.
 *
 * Order: sizes, storing one head in each type, storing, widening. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"
#include "kernel/avx512/page.h"
#include "kernel/quant.h"

enum { PAGE = HONE_KV_PAGE };

size_t avx512_kv_page_bytes(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim) {
    return page_shape_of(t, head_dim).head_bytes * n_kv_head;
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

static void store_full(uint32_t head_dim, uint32_t e16, uint8_t *keys, uint8_t *values, uint32_t slot, const float *k,
                       const float *v) {
    for (uint32_t e = 0; e < head_dim; e++) ((float *)(void *)keys)[(size_t)e * PAGE + slot] = k[e];
    memcpy((float *)(void *)values + (size_t)slot * e16, v, head_dim * sizeof(float));
}

/* Scale and integers of one head's key or value; all sets round alike. */
static float quantise_head(const float *x, uint32_t head_dim, int8_t *q) {
    const __m512 sign = _mm512_set1_ps(-0.0f);
    __m512i bits = _mm512_setzero_si512();
    for (uint32_t e = 0; e < head_dim; e += 16)
        bits = _mm512_max_epu32(
            bits, _mm512_castps_si512(_mm512_andnot_ps(sign, _mm512_maskz_loadu_ps(first(head_dim - e), x + e))));
    const uint32_t largest_bits = _mm512_reduce_max_epu32(bits);
    float largest, inverse;
    memcpy(&largest, &largest_bits, 4);
    const float scale = kernel_quantise_scale(largest, &inverse);
    const __mmask16 usable = inverse > 0.0f ? 0xffff : 0;
    for (uint32_t e = 0; e < head_dim; e += 16) {
        const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(first(head_dim - e), x + e), _mm512_set1_ps(inverse));
        _mm_storeu_si128((__m128i *)(void *)(q + e), _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(usable, v)));
    }
    return scale;
}

static void store_int8(uint32_t head_dim, const page_shape *s, uint8_t *keys, uint32_t slot, const float *k,
                       const float *v) {
    int8_t q[1024 + 16];
    uint8_t *values = keys + s->keys_bytes;
    float *scales = (float *)(void *)(values + s->values_bytes);
    scales[slot] = quantise_head(k, head_dim, q);
    for (uint32_t e = 0; e < head_dim; e++) keys[(size_t)(e / 2) * 2 * PAGE + 2 * slot + e % 2] = (uint8_t)q[e];
    scales[PAGE + slot] = quantise_head(v, head_dim, q);
    uint8_t *row = values + (size_t)(slot / 2) * s->e16 * 2 + slot % 2;
    for (uint32_t e = 0; e < head_dim; e++) row[2 * (size_t)e] = (uint8_t)q[e];
}

void avx512_kv_store(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim, void *page, uint32_t slot, const float *k,
                     const float *v) {
    const page_shape s = page_shape_of(t, head_dim);
    uint8_t *keys = page;
    if (slot == 0) memset(page, 0, s.head_bytes * n_kv_head);
    for (uint32_t g = 0; g < n_kv_head; g++, keys += s.head_bytes, k += head_dim, v += head_dim) {
        if (t == HONE_KV_BF16)
            store_half(head_dim, s.e16, keys, keys + s.keys_bytes, slot, k, v);
        else if (t == HONE_KV_F32)
            store_full(head_dim, s.e16, keys, keys + s.keys_bytes, slot, k, v);
        else
            store_int8(head_dim, &s, keys, slot, k, v);
    }
}

void page_widen(const uint8_t *from, size_t n, uint8_t *to) {
    for (size_t i = 0; i < n; i += 32) {
        const __m128i *q = (const __m128i *)(const void *)(from + i);
        const __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(q)));
        const __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(q + 1)));
        _mm512_storeu_si512((void *)(to + 2 * i), (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}
