/* export_internal.h - what export.c (tensors), keys.c (architecture) and vocabulary.c share. */
#ifndef HONE_EXPORT_INTERNAL_H
#define HONE_EXPORT_INTERNAL_H

#include "model/export/gguf_write.h"
#include "model/model_internal.h"

/* keys.c: the metadata of an architecture; name: GGUF's general.architecture. */
void export_keys(hone_gguf_writer *w, const hone_arch *arch, const char *name);
/* keys.c: Llama 3.1's bands and longrope's factors, which are tensors; n of them, each of rot / 2 numbers. */
typedef struct {
    const char *name;
    const float *value; /* borrowed from arch, or from buffer */
    uint32_t n;
} export_factors;
uint32_t export_rope_tensors(const hone_arch *arch, float buffer[HONE_MAX_ROT / 2], export_factors out[2]);
/* keys.c: the first thing in which two records differ that changes what a model computes; NULL: nothing.
 * norm_plus_one aside: GGUF files hold 1 + w. */
const char *export_differs(const hone_arch *a, const hone_arch *b);

/* vocabulary.c: the tokenizer of a folder as tokenizer.ggml.* keys, proven by encoding. */
hone_status export_vocabulary(hone_gguf_writer *w, const char *folder, const hone_arch *arch, hone_error *err);

#endif
