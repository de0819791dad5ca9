/* grammar_impl.h - a frozen grammar, as grammar.c makes it and matchers use it. */
#ifndef HONE_GRAMMAR_IMPL_H
#define HONE_GRAMMAR_IMPL_H

#include <pthread.h>

#include "grammar/grammar.h"
#include "grammar/regular_impl.h"

struct mask_cache;

struct hone_grammar {
    _Atomic uint32_t refs;
    uint32_t root;
    pthread_mutex_t lock; /* protects r and cache: both grow while matchers walk */
    hone_regular *r;
    struct mask_cache *cache; /* of the vocabulary that came last; see mask.c */
};

void mask_cache_free(struct mask_cache *c); /* NULL is fine */
size_t mask_cache_bytes(const struct mask_cache *c);

#endif
