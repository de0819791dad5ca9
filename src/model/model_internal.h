/* model_internal.h - what model.c, bind.c, lay.c and tile.c share: the list of everything a model holds, and its block.
 *
 * A model's matrices and vectors stand in one block of memory, at offsets that are multiples of 64: anonymous memory
 * that lay.c fills from stored tensors, or the data part of a mapped tile file. */
#ifndef HONE_MODEL_INTERNAL_H
#define HONE_MODEL_INTERNAL_H

#include "model/family/family.h"
#include "model/model.h"
#include "model/weights.h"

/* One matrix or vector.  Those that the architecture has not are not in the list. */
typedef struct {
    char name[40];        /* "layer.3.q.weight", unique: tile files name them so */
    hone_weight *weight;  /* the matrix, or NULL */
    const float **vector; /* the vector [n], or NULL */
    uint32_t n, k;        /* shape that the record asks for; vectors: k is 1 */
    bool optional;        /* may be absent in the file: then it is left out */
    bool present;

    /* Where it is stored; set by bind.c, unused for mapped tiles. */
    const hone_tensor *tensor;
    uint64_t first_row;       /* of a fused tensor */
    uint32_t permuted_head;   /* head width whose rows stand pair by pair; 0: rows are in order */
    const hone_tensor *scale; /* of formats that laying converts: what stored values are multiplied by; NULL: by 1 */
    uint32_t scale_rows, scale_columns; /* one element of scale covers so many; 0: all */

    size_t offset, bytes; /* in the block */
} model_slot;

typedef struct {
    model_slot *slot; /* [n_slot] */
    size_t n_slot;
    size_t block_bytes;
    uint8_t *block;      /* memory of its own, or */
    hone_map map;        /* the whole tile file */
    const uint8_t *base; /* the block's first byte, wherever it stands */
} model_owner;

/* model.c: an empty model for arch, with its layers and its list of slots. */
hone_status model_new(hone_model **out, const hone_arch *arch, hone_error *err);

/* Offsets and sizes of all present slots, the total in owner->block_bytes.  Needs kernels and each weight's dtype. */
hone_status model_place(hone_model *m, hone_error *err);

/* Points every weight, vector and the tied head into owner->base. */
void model_point(hone_model *m);

/* The sums that a model states about itself. */
void model_count(hone_model *m);

/* bind.c: where a layout keeps a slot. */
typedef struct {
    char name[256];        /* of the tensor; "": the family has none */
    hone_part part;        /* of a fused tensor */
    bool needed, optional; /* optional: no key tells, it is there when its tensor is */
    bool permuted;         /* rows of heads stand pair by pair */
} model_stored;
hone_status model_stored_name(const model_slot *s, const hone_layout *l, model_stored *out, hone_error *err);

/* model.c: record, list and bound tensors of opened weights, nothing laid; messages name the path.  layout: how the
 * tensors were read; may be NULL. */
hone_status model_describe(hone_model **out, const hone_weights *w, hone_precision precision, hone_layout *layout,
                           hone_error *err);

/* lay.c: row r of a slot, in Hugging Face's order, widened to f32 with its scales: out[k]. */
void model_slot_row(const model_slot *s, uint32_t r, float *out);

/* bind.c: finds the stored tensor of every slot, with its shape checked against the record, and refuses tensors that
 * have no place. */
hone_status model_bind(hone_model *m, const hone_weights *w, const hone_layout *layout, hone_error *err);

/* lay.c: fills the block from the bound tensors, spread over the pool. */
hone_status model_lay(hone_model *m, const char *path, hone_pool *pool, hone_error *err);

#endif
