/* page.h - the shape of a page of keys and values in the avx512 set; attention.c says what stands in it. */
#ifndef HONE_KERNEL_AVX512_PAGE_H
#define HONE_KERNEL_AVX512_PAGE_H

#include "kernel/kernel.h"

typedef struct {
    size_t keys_bytes, values_bytes, head_bytes; /* of one key/value head: keys, values, all with scales */
    uint32_t e16, pairs;                         /* pairs of E, the inner length of scores with bf16 */
} page_shape;

static inline size_t page_up_to(size_t n, size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

static inline page_shape page_shape_of(hone_kv_type t, uint32_t head_dim) {
    page_shape s = {.e16 = (uint32_t)page_up_to(head_dim, 16), .pairs = (head_dim + 1) / 2};
    const size_t bytes = t == HONE_KV_F32 ? 4 : t == HONE_KV_BF16 ? 2 : 1;
    s.keys_bytes = (t == HONE_KV_F32 ? head_dim : 2 * (size_t)s.pairs) * HONE_KV_PAGE * bytes;
    s.values_bytes = (size_t)HONE_KV_PAGE * s.e16 * bytes;
    s.head_bytes = s.keys_bytes + s.values_bytes + (t == HONE_KV_INT8 ? 2 * HONE_KV_PAGE * sizeof(float) : 0);
    return s;
}

/* n bytes (a multiple of 64) as bf16. */
void page_widen(const uint8_t *from, size_t n, uint8_t *to);

#endif
