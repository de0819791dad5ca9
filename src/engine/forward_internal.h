/* forward_internal.h - what the files of the forward pass share.
 *
 * forward.c runs the layers; linear.c owns the row stages and products, attention.c positions and attention, tape.c the
 * trainer's memory.  Two kinds of work are spread over the pool: row stages (norms, residual sums, laying activations:
 * cut into ranges of rows) and products (cut into ranges of outputs, and into blocks of rows that stay in a core's
 * cache).  Few rows are not worth a dispatch: their row stages run in place. */
#ifndef HONE_FORWARD_INTERNAL_H
#define HONE_FORWARD_INTERNAL_H

#include "engine/forward.h"

#define FORWARD_MAX_ITEMS 3 /* linears of one stage: q, k, v */

/* A run of neighbouring rows with one adapter, at most FORWARD_SEGMENT_ROWS of them. */
#define FORWARD_SEGMENT_ROWS 64u
typedef struct {
    const hone_adapter *adapter;
    uint32_t row0, row1;
} forward_segment;

struct hone_forward {
    const hone_model *model;
    const hone_kernels *kernels;
    hone_pool *pool; /* borrowed; NULL: all work in the caller */
    uint32_t n_threads;
    uint32_t max_rows, max_logit_rows;
    hone_kv_type kv_type;

    size_t bytes;   /* of block */
    uint8_t *block; /* one allocation; all below point into it */

    float *x;                        /* [m, D] the residual stream */
    float *h;                        /* [m, D] output of a norm */
    float *q, *k, *v;                /* [m, H*E], [m, G*E], [m, G*E] */
    float *attn;                     /* [m, H*E] */
    float *gate, *up, *mlp;          /* [m, F]; mlp: down's input */
    float *branch;                   /* [m, D] output of o or down */
    float *head_in;                  /* [max(rows, logit rows), D] */
    float *cos, *sin;                /* [n_rope][m, rot / 2] */
    size_t rope_at[2];               /* offsets of the tables in cos and sin */
    uint8_t *act[FORWARD_MAX_ITEMS]; /* activations as the products want them */
    float *ax[FORWARD_MAX_ITEMS];    /* [m, HONE_FORWARD_MAX_RANK] A x without a tape */
    float *thread_rows;              /* [n_threads][16, thread_width] dropped-out inputs */
    size_t thread_width;
    uint8_t *thread_attn; /* [n_threads][thread_attn_bytes] attention's scratch */
    size_t thread_attn_bytes;
    const uint8_t *const **pages; /* [m] page table of each row for one layer */
    uint32_t *pos;                /* [m] */
    /* Rows by adapter. */
    hone_row *own_rows;                /* [m] rows in that order, when the caller's is another */
    hone_row *last_rows;               /* [m] rows that go through the whole of the last layer */
    uint32_t *origin;                  /* [m] their places in the caller's */
    uint32_t *group;                   /* [m] */
    uint32_t *group_at;                /* [m + 1] */
    const hone_adapter **row_adapter;  /* [m] what applies to a row, NULL: the base alone */
    const hone_adapter **head_adapter; /* [max(rows, logit rows)] the same for rows of the head */
    forward_segment *segment;          /* [m] */
    forward_segment *head_segment;     /* [max(rows, logit rows)] */
    uint32_t n_segment, n_head_segment;
    bool permuted;
    uint32_t *cut; /* [m + 1] rows at which ranges begin that share no page, and m */
    uint32_t n_cut;

    /* Of the block that runs now. */
    const hone_row *rows;
    const hone_seq_view *seqs;
    uint32_t m;
    bool every_row; /* what the last layer leaves is wanted for all rows */
    hone_tape *tape;
    const hone_dropout *dropout;
};

/* Where the values of one layer stand: in the tape when there is one, in scratch otherwise. */
typedef struct {
    uint32_t l;
    const hone_layer *layer;
    const hone_layer_arch *arch;
    const hone_tape_layer *tape; /* NULL without */
    float *x, *x_mid, *x_next;
    float *q, *k, *v; /* as the products leave them */
    float *attn, *attn_out, *mlp_out;
    float *gate, *up;
} forward_layer;

/* Inputs of one product or of up to three that share their input. */
typedef struct {
    hone_module module;
    const hone_linear *linear;
    uint8_t *act;      /* laid input; equal for linears of one kind */
    bool lays;         /* the first of its kind: fills act */
    float *y;          /* [m, n] dense */
    float *ax;         /* A x of its adapters */
    uint32_t ax_fixed; /* row stride of ax; 0: the adapter's rank */
} forward_item;

typedef enum { FORWARD_PLAIN, FORWARD_QKV, FORWARD_MLP, FORWARD_HEAD } forward_tail;

typedef struct {
    hone_forward *f;
    const forward_layer *layer; /* NULL: the head */
    const float *x;             /* [m, width] the input */
    const forward_segment *segment;
    const hone_adapter *const *row_adapter;
    uint32_t n_segment;
    uint32_t n_item, m, width; /* width: inputs of every item */
    uint32_t block_rows;       /* rows of one laid block */
    size_t block_bytes[FORWARD_MAX_ITEMS];
    forward_tail tail;
    float *mlp; /* FORWARD_MLP: [m, F] */
    forward_item item[FORWARD_MAX_ITEMS];
} forward_stage;

/* linear.c */

/* Rows of a block whose laid activations of this width stay in a core's cache; a multiple of 64. */
uint32_t forward_block_rows(uint32_t width, uint32_t max_rows);
size_t forward_act_bytes(const hone_kernels *k, const hone_weight *w, uint32_t max_rows);

/* The stage of modules first..last of one layer (or of the head) for m rows of x, which may still be empty. */
void forward_stage_init(forward_stage *s, hone_forward *f, const forward_layer *layer, const float *x, uint32_t m);
void forward_stage_add(forward_stage *s, const hone_linear *linear, hone_module module, float *y);

/* Lays rows row0..row1 (row0 a multiple of 16) of x. */
void forward_stage_lay(const forward_stage *s, uint32_t row0, uint32_t row1);

/* y[n0 .. n1] of m rows += scale * B ax; n0 a multiple of HONE_PANEL. */
void forward_lora_up(const hone_kernels *k, const hone_lora *lora, uint32_t m, const float *ax, size_t ldax,
                     uint32_t n0, uint32_t n1, float *y, size_t ldy);

/* A x of the adapters, then the products, each spread over the pool. */
void forward_stage_run(const forward_stage *s);

/* Tells waiting threads which weights the next stage will read. */
void forward_ahead(hone_forward *f, const hone_linear *const *linear, uint32_t n_item);

/* fn for ranges of rows that begin at multiples of 16, spread over the pool when there are many. */
void forward_rows(hone_forward *f, uint32_t m, void (*fn)(void *arg, uint32_t row0, uint32_t row1, uint32_t thread),
                  void *arg);

/* attention.c: norms of queries and keys, rotation, storing keys and values; then attention. */
void forward_cut(hone_forward *f); /* once for a block */
void forward_positions(hone_forward *f, const forward_layer *layer);
void forward_attention(hone_forward *f, const forward_layer *layer);
size_t forward_attention_bytes(const hone_model *model, hone_kv_type kv_type, uint32_t max_rows);

/* One norm of the architecture's kind over rows of width d. */
void forward_norm(const hone_forward *f, const hone_norm *norm, const float *x, uint32_t m, uint32_t d, float *y,
                  float *inv);

#endif
