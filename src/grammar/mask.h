/* mask.h - the mask of a state, for matcher.c.  The caller holds the grammar's lock and has called rx_begin(). */
#ifndef HONE_GRAMMAR_MASK_H
#define HONE_GRAMMAR_MASK_H

#include "grammar/grammar_impl.h"
#include "grammar/vocabulary_impl.h"

/* Where a walk stands at one depth: the arcs of a state, ready to be stepped through. */
typedef struct {
    const uint32_t *row; /* [256] targets; NULL: one arc at most */
    uint32_t id;         /* the state */
    uint32_t target;
    uint8_t lo, span;
    bool nullable;
} mask_frame;

typedef struct {
    hone_grammar *g;
    const hone_vocabulary *v;
    mask_frame *head, *tail; /* [v->depth + 1] each; the matcher's */
    uint32_t *bits;          /* [v->words] */
    uint64_t visited;        /* trie nodes */
} mask_walk;

/* bits of the tokens that may follow in `state`, end tokens left out.  False: g->r says why. */
bool mask_of_state(mask_walk *w, uint32_t state);

/* Whether some token below the node [i] of the trie of all tokens may follow in `state`, which is where the node's last
 * byte led. */
bool mask_any_below(mask_walk *w, uint32_t i, uint32_t state, bool *any);

#endif
