/* naive.h - a decoder in double precision, written from the formulas and not from the forward pass: what it must be
 * compared with where no outside authority is at hand. */
#ifndef HONE_TEST_NAIVE_H
#define HONE_TEST_NAIVE_H

#include "engine/forward.h"

/* logits[n, V] of tokens[n]; adapter may be NULL.  Serial blocks, RMS norm. */
void naive_logits(const hone_model *m, const hone_adapter *adapter, const int32_t *tokens, uint32_t n, double *logits);

#endif
