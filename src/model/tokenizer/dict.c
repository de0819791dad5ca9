/* dict.c - byte strings to numbers: an arena, a list of entries and an open table of 32-bit indices.
 * Order: hash, find, insert, free. */
#include "model/tokenizer/impl.h"

#include <string.h>
#include <xxhash.h>

#include "base/mem.h"

static uint32_t hash_of(const char *text, size_t n) {
    const uint64_t h = XXH3_64bits(text, n);
    return (uint32_t)(h ^ h >> 32);
}

int64_t model_dict_index(const model_dict *d, const char *text, size_t n) {
    if (!d->slot) return -1;
    const uint32_t hash = hash_of(text, n);
    for (uint32_t i = hash & d->mask; d->slot[i]; i = (i + 1) & d->mask) {
        const model_dict_entry *e = &d->entry[d->slot[i] - 1];
        if (e->hash == hash && e->n == n && (n == 0 || memcmp(d->arena + e->at, text, n) == 0)) return d->slot[i] - 1;
    }
    return -1;
}

int32_t model_dict_get(const model_dict *d, const char *text, size_t n) {
    const int64_t i = model_dict_index(d, text, n);
    return i < 0 ? HONE_NO_TOKEN : d->entry[i].value;
}

/* At most half full, so that a miss is short. */
static bool rehash(model_dict *d) {
    const uint32_t want = d->slot ? (d->mask + 1) * 2 : 64;
    if (want > 1u << 30) return false;
    uint32_t *slot = hone_zalloc(want, sizeof(*slot));
    if (!slot) return false;
    for (size_t e = 0; e < d->n; e++) {
        uint32_t i = d->entry[e].hash & (want - 1);
        while (slot[i]) i = (i + 1) & (want - 1);
        slot[i] = (uint32_t)e + 1;
    }
    hone_free(d->slot);
    d->slot = slot;
    d->mask = want - 1;
    return true;
}

int64_t model_dict_put(model_dict *d, const char *text, size_t n, int32_t value) {
    const int64_t old = model_dict_index(d, text, n);
    if (old >= 0) {
        d->entry[old].value = value;
        return old;
    }
    if (n > UINT32_MAX - 1 || d->n >= 1u << 29) return -1;
    if ((!d->slot || d->n * 2 > d->mask) && !rehash(d)) return -1;
    if (!hone_grow(&d->entry, &d->cap, d->n, sizeof(*d->entry))) return -1;
    if (d->arena_n + n + 1 > d->arena_cap) {
        size_t cap = d->arena_cap ? d->arena_cap : 4096;
        while (cap < d->arena_n + n + 1) cap *= 2;
        char *arena = hone_realloc(d->arena, cap, 1);
        if (!arena) return -1;
        d->arena = arena;
        d->arena_cap = cap;
    }
    model_dict_entry *e = &d->entry[d->n];
    *e = (model_dict_entry){.at = d->arena_n, .n = (uint32_t)n, .hash = hash_of(text, n), .value = value};
    if (n) memcpy(d->arena + e->at, text, n);
    d->arena[e->at + n] = 0;
    d->arena_n += n + 1;
    uint32_t i = e->hash & d->mask;
    while (d->slot[i]) i = (i + 1) & d->mask;
    d->slot[i] = (uint32_t)++d->n;
    return (int64_t)d->n - 1;
}

void model_dict_free(model_dict *d) {
    hone_free(d->arena);
    hone_free(d->entry);
    hone_free(d->slot);
    *d = (model_dict){0};
}
