/* matcher.h - a text being written token by token under a grammar: which tokens may come next.
 *
 * The vocabulary is a trie of the tokens' bytes, made once per model; masks come from walking it under the grammar's
 * automaton.  Masks of states that were seen before are kept with the grammar, those of runs of plain
 * characters with the vocabulary.  A matcher never lets a text get stuck: a token is allowed only if some valid text
 * goes on with it.
 *
 * Threads: a matcher belongs to one thread at a time; different matchers of one grammar may run at once. */
#ifndef HONE_MATCHER_H
#define HONE_MATCHER_H

#include "grammar/grammar.h"

typedef struct hone_vocabulary hone_vocabulary;

/* bytes of token i: text[offset[i] .. offset[i + 1]); an empty one is never allowed.  A special token (one that a
 * decoder leaves out) is HONE_TOKEN_MARK, its text, HONE_TOKEN_MARK: only a grammar that names it with %token or
 * <name> allows it.  Copied.  end[n_end]: the tokens that may follow a complete text: end of turn. */
hone_status hone_vocabulary_open(hone_vocabulary **out, uint32_t n, const uint32_t *offset, const uint8_t *text,
                                 const int32_t *end, uint32_t n_end, hone_error *err);
void hone_vocabulary_close(hone_vocabulary *v);
size_t hone_vocabulary_bytes(const hone_vocabulary *v);
uint32_t hone_vocabulary_size(const hone_vocabulary *v);

typedef struct hone_matcher hone_matcher;

/* Retains g; v outlives the matcher. */
hone_status hone_matcher_open(hone_matcher **out, hone_grammar *g, hone_vocabulary *v, hone_error *err);
void hone_matcher_close(hone_matcher *m);

/* bits[(n + 31) / 32]: bit i is set where token i may come next.  All end tokens and nothing else where the text is
 * complete and cannot go on.  Never all zero.  HONE_ERR_LIMIT, HONE_ERR_NOMEM: the request has to end with an error. */
hone_status hone_matcher_mask(hone_matcher *m, uint32_t *bits, hone_error *err);

/* Whether the token may come next, without the whole mask. */
bool hone_matcher_allows(hone_matcher *m, int32_t token);

/* Go on with a token that is allowed; HONE_ERR_ARG and no change otherwise.  An end token closes the text. */
hone_status hone_matcher_accept(hone_matcher *m, int32_t token, hone_error *err);
/* Take the last n accepted tokens back (drafts); at most those since open. */
void hone_matcher_rollback(hone_matcher *m, uint32_t n);
bool hone_matcher_closed(const hone_matcher *m); /* an end token was accepted */
bool hone_matcher_complete(hone_matcher *m);     /* the text so far is one of the grammar's */

/* The tokens that come next whatever the model says: the bytes that every continuation begins with, cut greedily into
 * the longest tokens.  A last token that a longer one could replace once more text is known is left to the model.
 * Written to out, NOT accepted; never an end token.  A function of the grammar and the text so far alone, however it
 * was reached, so that a journal that is run again gives the same tokens. */
uint32_t hone_matcher_forced(hone_matcher *m, int32_t *out, uint32_t cap);

#endif
