/* tiny.h - models of random weights for the engine's tests: any shape of the architecture record, any format, no files.
 */
#ifndef HONE_TEST_TINY_H
#define HONE_TEST_TINY_H

#include "engine/forward.h"

typedef struct {
    uint32_t n_layer, width, n_head, n_kv_head, head_dim, mlp_width, vocab;
    hone_dtype dtype;
    hone_precision precision;
    bool bias, tied, qk_norm, gemma, layer_norm, plain_mlp, parallel, post_only;
    uint32_t window; /* of odd layers */
    uint64_t seed;
} tiny_options;

/* Two layers, grouped heads, Q4_1 in the serving arithmetic. */
tiny_options tiny_defaults(void);
hone_model *tiny_model(const hone_kernels *k, const tiny_options *o);
void tiny_model_free(hone_model *m);

/* All seven modules, A and B random. */
hone_adapter *tiny_adapter(const hone_model *m, uint32_t rank, uint64_t seed);

/* A prompt of n tokens below vocab, a function of seed. */
void tiny_tokens(int32_t *out, uint32_t n, uint32_t vocab, uint64_t seed);

#endif
