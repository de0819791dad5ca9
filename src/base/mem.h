/* mem.h - the only way to the heap: overflow-checked, zeroed, and able to fail on demand in the test build.
 *
 * Threads: any. */
#ifndef HONE_MEM_H
#define HONE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* count * size zeroed bytes, or NULL when that overflows or memory is short.  Zero bytes give a unique pointer. */
void *hone_zalloc(size_t count, size_t size);

/* Grow or shrink to count * size bytes; the grown part is not zeroed.  NULL leaves p as it was. */
void *hone_realloc(void *p, size_t count, size_t size);

/* 64-byte aligned, not zeroed; freed by hone_free as well. */
void *hone_alloc_aligned(size_t count, size_t size);

void hone_free(void *p); /* NULL is fine */

char *hone_strdup(const char *text);
char *hone_strndup(const char *text, size_t n_bytes);

/* a * b into *product; false on overflow.  For sizes that come from outside. */
static inline bool hone_mul_size(size_t *product, size_t a, size_t b) {
    return !__builtin_mul_overflow(a, b, product);
}
static inline bool hone_add_size(size_t *sum, size_t a, size_t b) {
    return !__builtin_add_overflow(a, b, sum);
}

/* Room for one more element in a growing array: doubles *cap when n == *cap.  False leaves the array as it was. */
bool hone_grow(void *array_pointer, size_t *cap, size_t n, size_t element_bytes);

#ifdef HONE_TEST_BUILD
/* Allocation number hone_mem_fail_at from now fails (0 is the next one); negative: none.  For one thread. */
extern _Atomic int64_t hone_mem_fail_at;
extern _Atomic int64_t hone_mem_live;  /* allocations not yet freed */
extern _Atomic int64_t hone_mem_count; /* allocations so far, to prove that a loop makes none */
#endif

#endif
