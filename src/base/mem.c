/* mem.c - heap access; the contract is in mem.h. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#ifdef HONE_TEST_BUILD
_Atomic int64_t hone_mem_fail_at = -1;
_Atomic int64_t hone_mem_live = 0;
_Atomic int64_t hone_mem_count = 0;

static bool must_fail(void) {
    hone_mem_count++;
    if (hone_mem_fail_at < 0) return false;
    return hone_mem_fail_at-- == 0;
}
#define COUNT_IN(p) ((p) ? (void)hone_mem_live++ : (void)0)
#define COUNT_OUT() ((void)hone_mem_live--)
#else
static inline bool must_fail(void) {
    return false;
}
#define COUNT_IN(p) ((void)0)
#define COUNT_OUT() ((void)0)
#endif

void *hone_zalloc(size_t count, size_t size) {
    size_t bytes;
    if (!hone_mul_size(&bytes, count, size) || must_fail()) return NULL;
    void *p = calloc(1, bytes ? bytes : 1);
    COUNT_IN(p);
    return p;
}

void *hone_realloc(void *p, size_t count, size_t size) {
    size_t bytes;
    if (!hone_mul_size(&bytes, count, size) || must_fail()) return NULL;
    void *grown = realloc(p, bytes ? bytes : 1);
    if (!p) COUNT_IN(grown);
    return grown;
}

void *hone_alloc_aligned(size_t count, size_t size) {
    size_t bytes;
    if (!hone_mul_size(&bytes, count, size) || must_fail()) return NULL;
    void *p = NULL;
    if (posix_memalign(&p, 64, bytes ? bytes : 1) != 0) return NULL;
    COUNT_IN(p);
    return p;
}

void hone_free(void *p) {
    if (!p) return;
    COUNT_OUT();
    free(p);
}

char *hone_strndup(const char *text, size_t n_bytes) {
    if (n_bytes == SIZE_MAX) return NULL;
    char *copy = hone_zalloc(n_bytes + 1, 1);
    if (copy && n_bytes) memcpy(copy, text, n_bytes);
    return copy;
}

char *hone_strdup(const char *text) {
    return hone_strndup(text, strlen(text));
}

bool hone_grow(void *array_pointer, size_t *cap, size_t n, size_t element_bytes) {
    if (n < *cap) return true;
    size_t grown = *cap ? *cap : 8;
    if (*cap && !hone_mul_size(&grown, *cap, 2)) return false;
    void *old;
    memcpy(&old, array_pointer, sizeof(old)); /* the caller's pointer has its own type: copy, do not alias */
    void *p = hone_realloc(old, grown, element_bytes);
    if (!p) return false;
    memcpy(array_pointer, &p, sizeof(p));
    *cap = grown;
    return true;
}
