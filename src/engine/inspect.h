/* inspect.h - one sequence, run plainly: logits at positions and a greedy continuation.  What `hone inspect logits`
 * and the checkers print; no scheduler, no sampling. */
#ifndef HONE_INSPECT_H
#define HONE_INSPECT_H

#include "engine/forward.h"

typedef struct {
    const int32_t *tokens; /* [n_token], each below V; checked */
    uint32_t n_token;
    const uint32_t *position; /* [n_position], each below n_token; checked */
    uint32_t n_position;
    uint32_t n_greedy; /* tokens to continue with; end-of-turn tokens do not stop it */
    const hone_adapter *adapter;
    hone_kv_type kv_type;
} hone_inspection;

/* logits: [n_position, V], greedy: [n_greedy]; the caller's. */
hone_status hone_inspect_logits(const hone_model *model, hone_pool *pool, const hone_inspection *what, float *logits,
                                int32_t *greedy, hone_error *err);

/* The lowest index of the largest value; NaN never wins. */
uint32_t hone_argmax(const float *x, uint32_t n);

/* Keys and values that fit a precision: f32 beside f32 arithmetic. */
hone_kv_type hone_kv_type_for(hone_precision precision);

#endif
