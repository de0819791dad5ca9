/* backward.h - from the gradient of the final norm's output to the gradients of all adapter matrices.
 *
 * The base is frozen, in whatever format it is stored: going back through it needs only dX = dY W (kernel.h,
 * linear_dx).  What forward computed and the tape does not hold (norm outputs, rotated queries and keys, the
 * activation) is computed again by the same operations; scores by the stored log-sum-exp (Dao et al., 2022).
 *
 * Bits: a row's own gradients do not depend on its company, and sums over rows go through them one by one in order
 * (gemm_tn), from what the gradient held before.  So gradients depend on the rows and their order and not on the
 * thread count, nor on how the rows are cut into blocks.
 *
 * Threads: one caller; the work is spread over the pool. */
#ifndef HONE_TRAIN_BACKWARD_H
#define HONE_TRAIN_BACKWARD_H

#include "engine/forward.h"

/* One float for each element of an adapter, in one piece: for each layer, each adapted module in order, A then B. */
typedef struct {
    uint32_t n_module; /* n_layer * HONE_MOD_COUNT */
    size_t n;          /* floats in all */
    float *data;       /* [n]; owned */
    float **a, **b; /* [n_module]: where A and B of (layer * HONE_MOD_COUNT + module) begin; NULL: no adapter there */
} hone_lora_grad;

size_t hone_adapter_floats(const hone_model *model, const hone_adapter *adapter);
hone_status hone_lora_grad_open(hone_lora_grad *out, const hone_model *model, const hone_adapter *adapter,
                                hone_error *err); /* all zero */
void hone_lora_grad_close(hone_lora_grad *g);     /* back to {0} */

typedef struct hone_backward hone_backward;

/* Scratch for blocks of at most max_rows rows, for the shapes of this adapter.  kv_type as the forward pass has it.
 * HONE_ERR_UNSUPPORTED names what of the architecture has no backward. */
hone_status hone_backward_open(hone_backward **out, const hone_model *model, const hone_adapter *adapter,
                               hone_pool *pool, uint32_t max_rows, hone_kv_type kv_type, hone_error *err);
void hone_backward_close(hone_backward *b); /* NULL is fine */
size_t hone_backward_bytes(const hone_model *model, const hone_adapter *adapter, uint32_t max_rows, uint32_t n_threads);

/* d_final: [m, D] gradient of tape->final_out; overwritten.  rows, seqs, tape and dropout as forward had them; every
 * sequence begins at position 0 in this block.  Adds to grad.  Never allocates. */
void hone_backward_run(hone_backward *b, const hone_row *rows, uint32_t m, const hone_seq_view *seqs, uint32_t n_seqs,
                       const hone_tape *tape, const hone_adapter *adapter, const hone_dropout *dropout, float *d_final,
                       hone_lora_grad *grad);

#endif
