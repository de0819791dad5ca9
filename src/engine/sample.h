/* sample.h - from logits to a token: a pure function of its arguments.
 *
 * Order, as vLLM has it: logit_bias; repetition penalty (over prompt and output), then frequency and presence penalties
 * (over output); bans and what a grammar does not allow; temperature; min_p; top_k; top_p; one draw.  Among equal
 * logits the lowest id goes first. */
#ifndef HONE_SAMPLE_H
#define HONE_SAMPLE_H

#include "engine/engine.h"

typedef struct hone_sampler hone_sampler; /* scratch for one vocabulary and one thread; planned at open */

hone_status hone_sampler_open(hone_sampler **out, const hone_kernels *kernels, uint32_t vocab, hone_error *err);
void hone_sampler_close(hone_sampler *s);
size_t hone_sampler_bytes(uint32_t vocab);

/* What a caller's parameters must satisfy; the message names the field.  vocab bounds the tokens of bias_token. */
hone_status hone_sampling_check(const hone_sampling *p, uint32_t vocab, hone_error *err);

/* Greedy, everything off. */
hone_sampling hone_sampling_defaults(void);

/* The token for output position `position` (counter of the randomness).  history: prompt and output tokens so far, each
 * below V; banned[n_banned] are not sampled (stop tokens before min_tokens).  allowed: bits [(V + 31) / 32], at least
 * one set, of the tokens that may be sampled; NULL: all of them.  Where nothing but banned ones is allowed, bans do not
 * count: the text is complete.  logits[V] are changed.  Logits that are not numbers count as -infinity.  Never
 * allocates. */
int32_t hone_sample(hone_sampler *s, float *logits, const hone_sampling *p, const int32_t *history, uint32_t n_prompt,
                    uint32_t n_output, uint32_t position, const int32_t *banned, uint32_t n_banned,
                    const uint32_t *allowed);

/* The n largest of x[vocab], best first, the lowest id first among equals; n at most HONE_TOP_LOGPROBS. */
void hone_top(const float *x, uint32_t vocab, uint32_t n, int32_t *out);

#endif
