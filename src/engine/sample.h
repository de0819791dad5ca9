/* sample.h - from logits to a token: a pure function of its arguments. */
#ifndef HONE_SAMPLE_H
#define HONE_SAMPLE_H

#include "engine/engine.h"

typedef struct hone_sampler hone_sampler; /* scratch for one vocabulary; planned at open */

hone_status hone_sampler_open(hone_sampler **out, uint32_t vocab, hone_error *err);
void hone_sampler_close(hone_sampler *s);

/* The token for output position `position` (counter of the randomness).  history: prompt and output tokens so far;
 * banned[n_banned] are not sampled (stop tokens before min_tokens).  logits[V] are changed. */
int32_t hone_sample(hone_sampler *s, float *logits, const hone_sampling *p, const int32_t *history, uint32_t n_prompt,
                    uint32_t n_output, uint32_t position, const int32_t *banned, uint32_t n_banned);

#endif
