/* tiny.h - decoders of a few thousand weights with every option of the architecture record, and the same mathematics
 * written plainly in double: the authority for gradients, by finite differences. */
#ifndef HONE_TEST_TINY_H
#define HONE_TEST_TINY_H

#include "engine/forward.h"
#include "train/data.h"

typedef struct {
    hone_model model;
    hone_layer layer[4];
    float *w[4][HONE_MOD_COUNT]; /* [n, k] */
    float *embed, *head;         /* [V, D] */
    float *pool_of_floats;       /* everything small */
    size_t used;
    hone_adapter adapter;
    hone_lora lora[4][HONE_MOD_COUNT];
    void *owned[256];
    size_t n_owned;
} tiny;

typedef struct {
    const char *name;
    void (*change)(hone_arch *a);
    bool biases, dropout;
} tiny_spec;

extern const tiny_spec tiny_specs[];
extern const size_t n_tiny_specs;

/* A model of that spec, random weights and an adapter with B not zero. */
void tiny_open(tiny *t, const tiny_spec *spec, const hone_kernels *kernels, hone_precision precision);
void tiny_close(tiny *t);

/* Rows of random tokens with random masks.  Freed by hone_data_free. */
void tiny_rows(hone_train_data *data, uint32_t vocab, uint32_t n, uint32_t longest, uint64_t seed);

/* Sum of -log p over trained tokens, in double.  change (may be NULL) is added to one element of the adapter. */
typedef struct {
    uint32_t layer, module;
    bool of_b;
    size_t element;
    double by;
} tiny_change;
double tiny_loss(const tiny *t, const hone_train_data *data, const tiny_change *change, const hone_dropout *dropout);

#endif
