/* draft.h - guesses at what a request says next, and how many of them a step should try.
 *
 * A guess is a continuation of text that was seen before: the caller's prediction where the output follows it, else
 * what came after the longest earlier occurrence of the last tokens (prompt-lookup decoding).  Guesses are checked by
 * the model (Leviathan et al., "Fast inference from transformers via speculative decoding", 2023, for a draft of
 * probability one): a step runs rows for them, each row's token is sampled as it would be without, and a guess is kept
 * while it is that token.  So they change when tokens come, never which.
 *
 * Every guess is compared with what was said, tried or not, so a request knows at no cost how good its guesses are.
 *
 * Threads: one owner.  Only open allocates. */
#ifndef HONE_DRAFT_H
#define HONE_DRAFT_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define HONE_DRAFT_MOST 16u /* tokens of one guess */

typedef struct hone_draft hone_draft;

/* For a text of at most length tokens.  prediction[n_prediction] is copied. */
hone_status hone_draft_open(hone_draft **out, uint32_t length, const int32_t *prediction, uint32_t n_prediction,
                            hone_error *err);
void hone_draft_close(hone_draft *d); /* NULL is fine */

/* token[n]: prompt and output so far; n never shrinks.  Learns from what came since the last call. */
void hone_draft_follow(hone_draft *d, const int32_t *token, uint32_t n_prompt, uint32_t n);

/* The next tokens after those that were followed: out[0 .. result), at most cap and HONE_DRAFT_MOST.  *keep: the
 * probability that one is kept when all before it were. */
uint32_t hone_draft_guess(hone_draft *d, const int32_t *token, int32_t *out, uint32_t cap, float *keep);

/* ---- What rows cost: seconds of steps that ran streams only, by the number of rows ---- */

#define HONE_DRAFT_ROWS 128u

/* Zeros are a new one. */
typedef struct {
    float seconds[HONE_DRAFT_ROWS + 1]; /* 0: not seen, or too long ago */
    uint32_t seen_at[HONE_DRAFT_ROWS + 1];
    uint32_t n; /* steps seen */
} hone_draft_cost;

void hone_draft_observe(hone_draft_cost *c, uint32_t rows, double seconds);
/* Between and past the numbers that were seen it is a guess, a low one, so that it will be tried; 0: nothing is known.
 */
double hone_draft_seconds(const hone_draft_cost *c, uint32_t rows);

/* One stream's guess as a bid for rows: keep[i], the probability that token i is kept when all before it were. */
typedef struct {
    float keep[HONE_DRAFT_MOST];
    uint32_t n;
    uint32_t chosen; /* the result */
    float chance;    /* scratch: that the next one is kept */
} hone_draft_bid;

/* How many tokens of each guess to try so that tokens a second are most: a step has `rows` rows that give `tokens`
 * tokens without drafts, and place for `room` more. */
void hone_draft_choose(const hone_draft_cost *c, uint32_t rows, uint32_t tokens, uint32_t room,
                       hone_draft_bid *const *bid, uint32_t n_bid);

#endif
