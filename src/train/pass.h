/* pass.h - rows through model and loss, forward alone or with gradients; what training, validation and
 * `hone inspect loss` have in common.
 *
 * The log-probability of a trained token is hone_logprob() of the logits that serving would compute. */
#ifndef HONE_TRAIN_PASS_H
#define HONE_TRAIN_PASS_H

#include "train/backward.h"
#include "train/data.h"

typedef struct hone_pass hone_pass;

typedef struct {
    uint32_t max_tokens; /* positions of a micro-batch; rows longer than that do not run */
    uint32_t max_rows;   /* rows of a micro-batch */
    bool gradients;
} hone_pass_config;

/* Bytes that hone_pass_open will take, by part. */
typedef struct {
    uint64_t tape, forward, backward, pages, logits, total;
} hone_pass_bytes;
void hone_pass_plan(hone_pass_bytes *out, const hone_model *model, const hone_adapter *adapter, hone_pool *pool,
                    const hone_pass_config *cfg);

/* adapter (may be NULL without gradients) gives the shapes. */
hone_status hone_pass_open(hone_pass **out, const hone_model *model, const hone_adapter *adapter, hone_pool *pool,
                           const hone_pass_config *cfg, hone_error *err);
void hone_pass_close(hone_pass *p); /* NULL is fine */

/* Sums over trained tokens.  Start from {0}; each call adds. */
typedef struct {
    double loss; /* of -log p */
    uint64_t trained;
    uint64_t correct; /* the token was the likeliest */
} hone_loss;

typedef struct {
    float p; /* of dropout, 0: none */
    uint64_t seed;
    uint32_t step;
} hone_pass_dropout;

/* Runs rows[n] as one micro-batch.  With grad: adds the gradient of scale * (sum of -log p).  logprob (may be NULL):
 * the log-probabilities of all trained tokens, row by row.  Never allocates.  HONE_ERR_ARG: the rows do not fit. */
hone_status hone_pass_run(hone_pass *p, const hone_train_row *const *rows, uint32_t n, const hone_adapter *adapter,
                          double scale, hone_lora_grad *grad, const hone_pass_dropout *dropout, hone_loss *sum,
                          float *logprob, hone_error *err);

/* All rows in order, in micro-batches of their own size: `hone inspect loss`.  grad (may be NULL) gets the gradient of
 * the mean loss.  logprob (may be NULL): [data->n_trained]. */
hone_status hone_loss_of_data(const hone_model *model, const hone_adapter *adapter, hone_pool *pool,
                              const hone_train_data *data, uint32_t micro_tokens, hone_loss *sum, float *logprob,
                              hone_lora_grad *grad, hone_error *err);

#endif
