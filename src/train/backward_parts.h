/* backward_parts.h - what the stages of backward share; for backward*.c alone. */
#ifndef HONE_TRAIN_BACKWARD_PARTS_H
#define HONE_TRAIN_BACKWARD_PARTS_H

#include "train/backward.h"

#define BACKWARD_ROWS 16u    /* rows of a task that works row by row */
#define BACKWARD_QUERIES 64u /* query rows whose scores stand in scratch at a time */

typedef struct {
    uint32_t start, n; /* rows of the block */
} backward_seq;

struct hone_backward {
    const hone_model *model;
    const hone_kernels *kernels;
    hone_pool *pool;
    uint32_t max_rows, n_threads;
    hone_kv_type kv_type;
    uint32_t rank_cap; /* the largest rank of the adapter */

    /* [max_rows, ...] */
    float *dx;              /* D: gradient of the residual stream, walking down */
    float *dout;            /* D: gradient of a block's output, for parallel blocks only */
    float *branch;          /* D: gradient of a branch's output, then of its norm's output */
    float *norm_out;        /* D: a norm's output, computed again */
    float *wide[2];         /* F: the activation and its gradient; share memory with what attention needs: */
    float *q, *dq, *dattn;  /* H*E */
    float *k, *v, *dk, *dv; /* G*E */
    float *low[3];          /* rank_cap: scale * dY B of the modules of a group */
    float *dropped;         /* the widest input, masked; only for adapters with dropout */
    float *cos[HONE_MAX_ROPES], *sin[HONE_MAX_ROPES]; /* rot / 2 of each rope table */
    backward_seq *seq;                                /* [max_rows] */
    uint8_t *scratch;                                 /* [n_threads, scratch_bytes] */
    size_t scratch_bytes;

    /* the block at hand */
    const hone_row *rows;
    uint32_t m, n_seq;
    const hone_seq_view *views;
    const hone_tape *tape;
    const hone_adapter *adapter;
    const hone_dropout *dropout;
    hone_lora_grad *grad;
};

static inline void *backward_scratch(hone_backward *b, uint32_t thread) {
    return b->scratch + (size_t)thread * b->scratch_bytes;
}

/* fn over row ranges of at most BACKWARD_ROWS */
typedef void (*backward_rows_fn)(void *arg, uint32_t row0, uint32_t row1, uint32_t thread);
void backward_each_rows(hone_backward *b, backward_rows_fn fn, void *arg);

/* ---- backward_norm.c ---- */

/* y[m, D] = norm(x); no norm (NULL) gives x itself, without a copy.  A norm without a weight still norms. */
const float *backward_norm_again(hone_backward *b, const hone_norm *norm, const float *x, float *y);

/* dx (+)= gradient through y = norm(x) of dy, rows of width D; dx may be dy.  NULL passes dy on. */
void backward_norm(hone_backward *b, const hone_norm *norm, const float *x, const float *dy, float *dx, bool add);

/* The same for n rows of width d in this thread, one after the other; tmp: [2 * d]. */
void backward_norm_rows(const hone_kernels *k, hone_norm_kind kind, bool plus_one, float eps, const hone_norm *norm,
                        const float *x, uint32_t n, uint32_t d, const float *dy, float *dx, bool add, float *tmp);

/* h = act(gate) * up (up NULL: act(gate)) for all rows, h [m, F]. */
void backward_activation_again(hone_backward *b, const float *gate, const float *up, float *h);

/* dgate and, in place, dup = dh; up NULL: dgate alone. */
void backward_activation(hone_backward *b, const float *gate, const float *up, float *dh, float *dgate);
void backward_activation_chunk(const hone_kernels *k, hone_act act, const float *gate, const float *up, float *dh,
                               float *dgate, size_t n);

/* ---- backward_linear.c ---- */

/* Up to three modules of one layer that read the same input x[m, k]: adds to the gradients of their adapters, and
 * dx[m, k] = the sum of dY W + scale * (dY B) A over them.  dx NULL: not wanted. */
typedef struct {
    uint32_t layer, n;
    hone_module module[3];
    const float *dy[3]; /* [m, outputs of the module] */
    const float *x;     /* [m, k] */
    float *dx;          /* [m, k] */
} backward_group;
void backward_linear(hone_backward *b, const backward_group *g);
size_t backward_linear_scratch(const hone_model *model, uint32_t max_rows);

/* ---- backward_attention.c ---- */

/* From b->dattn to b->dq, b->dk, b->dv: gradients of what the tape holds as q, k, v. */
void backward_attention(hone_backward *b, uint32_t layer);
size_t backward_attention_scratch(const hone_arch *arch, uint32_t max_rows);

#endif
