/* export.h - a model as one GGUF file in another format: hone quantize.
 *
 * The source is a GGUF file or a Hugging Face folder.  From a GGUF file metadata and names are copied.  A folder's are
 * made, then read back, and the model that they describe must be the folder's in every number of its architecture and
 * in the ids of its tokenizer; a folder that GGUF's keys cannot express is refused with what differs.
 *
 * Threads: the caller's; encoding is spread over the pool. */
#ifndef HONE_EXPORT_H
#define HONE_EXPORT_H

#include "base/pool.h"
#include "kernel/dtype.h"

typedef struct {
    hone_dtype type; /* of the matrices: a format that hone_dtype_can_encode */
    bool pure;       /* the head (or the embedding that it is tied to) too; without it, it gets at least Q6_K */
    void (*progress)(void *arg, uint64_t done, uint64_t total); /* bytes of the file; may be NULL */
    void *arg;
} hone_quantize_options;

typedef struct {
    uint64_t bytes, source_bytes, parameters;
    uint32_t tensors[HONE_DTYPE_COUNT]; /* how many got which format */
} hone_quantize_report;

/* Matrices whose width is no whole number of the format's blocks get the next larger format of 32 (Q4_K: Q5_0, Q5_K:
 * Q5_1, Q6_K: Q8_0), vectors stay f32.  HONE_ERR_ARG: the source is quantised already, or type cannot be written.  The
 * file at `to` appears whole or not at all. */
hone_status hone_quantize(const char *from, const char *to, const hone_quantize_options *options, hone_pool *pool,
                          hone_quantize_report *report, hone_error *err);

#endif
