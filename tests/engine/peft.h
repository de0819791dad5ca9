/* peft.h - PEFT's two files for a model of the tests, random, of any kind that is served. */
#ifndef HONE_TEST_PEFT_H
#define HONE_TEST_PEFT_H

#include "base/buf.h"
#include "model/adapter.h"

#define PEFT_ALL_MODULES ((1u << HONE_MOD_COUNT) - 1u)

typedef struct {
    uint32_t rank;
    uint32_t modules; /* bit m: module m */
    bool dora, head, embed;
    hone_dtype type;
    bool widened; /* floats that bf16 holds */
    int32_t invocation[4];
    uint32_t n_invocation;
    uint64_t seed;
} peft_options;

void peft_files(const hone_arch *arch, const peft_options *o, hone_buf *config, hone_buf *tensors);

/* Laid for serving, and in float form; NULL with err. */
hone_adapter *peft_load(const hone_model *m, const peft_options *o, hone_error *err);
hone_adapter *peft_read(const hone_model *m, const peft_options *o, hone_error *err);

#endif
