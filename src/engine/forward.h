/* forward.h - the one forward pass: a block of rows through the layers.
 *
 * The engine and the trainer call the same function with the same kernels.  The engine hands it pages and takes logits
 * for the rows that need them; the trainer hands it pages too and a tape, which keeps what backward needs.  A row's
 * result does not depend on its company (kernel.h, the arithmetic contract).  Rows with one adapter are brought
 * together inside, whatever order they come in.
 *
 * Threads: one caller; the work is spread over the pool. */
#ifndef HONE_FORWARD_H
#define HONE_FORWARD_H

#include "model/adapter.h"
#include "model/model.h"

/* Adapters of a greater rank run only with a tape (whose ax they size): engine and evaluation refuse them when they
 * are added. */
#define HONE_FORWARD_MAX_RANK HONE_LORA_MAX_RANK

/* Pages of one sequence: page[l * cap + i] holds positions i * HONE_KV_PAGE ... of layer l. */
typedef struct {
    uint8_t *const *page;        /* [L][cap]; borrowed, forward stores keys and values in them */
    uint32_t cap;                /* pages a layer */
    uint32_t length;             /* the longest this sequence may become: chooses length-dependent rope tables */
    const hone_adapter *adapter; /* NULL: the base alone */
    uint32_t applies_from;       /* the adapter's first position: 0, or where its invocation tokens begin (aLoRA) */
} hone_seq_view;

typedef struct {
    int32_t token;
    uint32_t seq;      /* index into seqs */
    uint32_t position; /* rows of one sequence in one block stand in order and without gaps */
    int32_t logit_row; /* row of logits to fill, -1: none */
} hone_row;

/* What backward needs of one layer, all [rows, ...] f32 row-major; filled by forward, read by src/train.  Outputs of
 * the norms and of the activation are recomputed from these. */
typedef struct {
    float *x;                  /* [m, D] the block's input */
    float *attn_inv;           /* [m] inverse rms of attn_norm (LayerNorm: mean and inverse, [m, 2]) */
    float *q, *k;              /* [m, H*E], [m, G*E] before q_norm and rope, biases and adapters included */
    float *v;                  /* [m, G*E] */
    float *q_inv, *k_inv;      /* [m, H], [m, G] inverse rms of the head norms, NULL without */
    float *attn;               /* [m, H*E] attention's output, the input of o */
    float *lse;                /* [m, H] */
    float *attn_out;           /* [m, D] output of o before attn_post_norm; NULL without post norms */
    float *attn_post_inv;      /* [m] */
    float *x_mid;              /* [m, D] after the attention's residual sum */
    float *mlp_inv;            /* [m] */
    float *gate, *up;          /* [m, F] */
    float *mlp_out;            /* [m, D] before mlp_post_norm; NULL without */
    float *mlp_post_inv;       /* [m] */
    float *ax[HONE_MOD_COUNT]; /* [m, rank] A x of each adapted module; NULL without an adapter */
} hone_tape_layer;

typedef struct {
    uint32_t max_rows;
    hone_tape_layer *layer; /* [L] */
    float *x_last;          /* [m, D] input of the final norm */
    float *final_inv;       /* [m] */
    float *final_out;       /* [m, D] output of the final norm: the head's input */
} hone_tape;

/* Dropout on the adapters' inputs in training, one mask for each adapted module as in PEFT: a kept element is scaled by
 * 1 / (1 - p).  Element e is kept when the 24 upper bits of word e % 4 of
 *     hone_random_block(seed, step, (layer * HONE_MOD_COUNT + module) << 20 | e / 4, row_id)
 * as a number in [0, 1) are at least p.  NULL in serving. */
typedef struct {
    float p;
    uint64_t seed;
    uint32_t step;
    const uint64_t *row_id; /* [m]: (row of the data << 32 | position) */
} hone_dropout;

/* out[n] = the masked and scaled input of one adapted module: of the input itself going forward, of the gradient going
 * backward.  out may be x.  row is an index into row_id. */
void hone_dropout_row(const hone_dropout *dropout, uint32_t layer, hone_module module, uint32_t row, const float *x,
                      uint32_t n, float *out);

typedef struct hone_forward hone_forward;

/* Scratch for blocks of at most max_rows rows of which at most max_logit_rows need logits; planned here, never later.
 */
hone_status hone_forward_open(hone_forward **out, const hone_model *model, hone_pool *pool, uint32_t max_rows,
                              uint32_t max_logit_rows, hone_kv_type kv_type, hone_error *err);
void hone_forward_close(hone_forward *f);
size_t hone_forward_bytes(const hone_forward *f); /* of the scratch */
/* The same before anything is opened; SIZE_MAX where it cannot be addressed. */
size_t hone_forward_plan(const hone_model *model, const hone_pool *pool, uint32_t max_rows, uint32_t max_logit_rows,
                         hone_kv_type kv_type);

/* Runs rows[m] and stores their keys and values.  logits: [n_logit_rows, V] by logit_row, which counts from 0 without
 * gaps.  Tokens are below V and pages exist up to each row's position: the caller checked.  With a tape all rows use
 * one adapter.  hidden (may be NULL): [m, D], the output of the final norm for every row, for embeddings.  tape and
 * dropout may be NULL.  Never allocates. */
void hone_forward_run(hone_forward *f, const hone_row *rows, uint32_t m, const hone_seq_view *seqs, uint32_t n_seqs,
                      float *logits, float *hidden, hone_tape *tape, const hone_dropout *dropout);

/* Logits [m, V] of rows that stand in tape->final_out or hidden, any m: the trainer asks for them in chunks.  adapter
 * (may be NULL) applies to all of them. */
void hone_forward_head(hone_forward *f, const float *final_out, uint32_t m, const hone_adapter *adapter, float *logits);

/* log softmax(logits)[token]: the one way log-probabilities are made, in serving, evaluation and training. */
float hone_logprob(const hone_kernels *k, const float *logits, uint32_t vocab, int32_t token);

hone_status hone_tape_open(hone_tape **out, const hone_model *model, const hone_adapter *adapter, uint32_t max_rows,
                           hone_error *err);
void hone_tape_close(hone_tape *t);
size_t hone_tape_bytes(const hone_model *model, const hone_adapter *adapter, uint32_t max_rows);

#endif
