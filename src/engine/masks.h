/* masks.h - requests whose output follows a grammar: the matcher beside the stream.
 *
 * The text of a request is a function of (grammar, tokens so far) and moves only with tokens that are said.  Before a
 * token is sampled the grammar is asked twice: which token comes next whatever the model says - then it comes, and no
 * logits are looked at - and else which tokens may.  Both are functions of the text so far, so a journal that is run
 * again, a draft and a step of one row give the same tokens.
 *
 * Threads: the text of one request belongs to the task that samples for it; otherwise to the engine's owner. */
#ifndef HONE_MASKS_H
#define HONE_MASKS_H

#include "engine/engine.h"

typedef struct {
    hone_matcher *matcher; /* holds its grammar */
    bool closed;           /* an end token was said */
    bool failed;           /* err tells why: the request ends */
    bool drained;          /* nothing is forced at this place */
    uint64_t n_forced;
    int32_t forced; /* what engine_text_next answered last */
    hone_error err;
} engine_text;

/* Walks emitted[n]; HONE_ERR_ARG where the grammar has no text that begins so. */
hone_status engine_text_open(engine_text **out, hone_grammar *grammar, hone_vocabulary *vocabulary,
                             const int32_t *emitted, uint32_t n, hone_error *err);
void engine_text_close(engine_text *t); /* NULL is fine */

/* The token that comes next whatever the model says, or -1. */
int32_t engine_text_next(engine_text *t);

/* Which tokens may come, into bits[(V + 31) / 32]; false: failed. */
bool engine_text_mask(engine_text *t, uint32_t *bits, uint32_t vocab);

/* The token was said; false: failed. */
bool engine_text_say(engine_text *t, int32_t token);

/* Says what is forced now, at most cap tokens, into out; stops behind a token of stop[n_stop].  Returns how many. */
uint32_t engine_text_run(engine_text *t, int32_t *out, uint32_t cap, const int32_t *stop, uint32_t n_stop);

/* A draft: guess[n] as far as the grammar allows it, with what it forces in between, into draft[cap], which may be
 * guess.  keep[i]: `chance` for what was guessed, 1 for what is forced.  Nothing is said.  Returns how many. */
uint32_t engine_text_draft(engine_text *t, const int32_t *guess, uint32_t n, float chance, int32_t *draft, float *keep,
                           uint32_t cap);

#endif
