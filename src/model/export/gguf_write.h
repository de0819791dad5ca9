/* gguf_write.h - writing GGUF files, version 3, little-endian (docs/gguf.md of ggml-org/ggml).
 *
 * First keys and tensors are named, then begin writes the head, then the tensors' bytes follow in the order in which
 * they were named.  The file appears under its name only when it is whole.
 *
 * Errors stick: after a failure every call does nothing, and finish tells.  Threads: one. */
#ifndef HONE_GGUF_WRITE_H
#define HONE_GGUF_WRITE_H

#include "base/buf.h"
#include "kernel/dtype.h"
#include "model/gguf.h"

typedef struct hone_gguf_writer hone_gguf_writer;

/* path NULL: the file is made in memory, up to the end of its head, for hone_gguf_writer_head. */
hone_status hone_gguf_writer_open(hone_gguf_writer **out, const char *path, hone_error *err);

void hone_gguf_put_text(hone_gguf_writer *w, const char *key, const char *text, size_t n);
void hone_gguf_put_u32(hone_gguf_writer *w, const char *key, uint32_t v);
void hone_gguf_put_f32(hone_gguf_writer *w, const char *key, float v);
void hone_gguf_put_bool(hone_gguf_writer *w, const char *key, bool v);
void hone_gguf_put_texts(hone_gguf_writer *w, const char *key, const hone_gguf_text *text, size_t n);
void hone_gguf_put_i32s(hone_gguf_writer *w, const char *key, const int32_t *v, size_t n);
void hone_gguf_put_f32s(hone_gguf_writer *w, const char *key, const float *v, size_t n);
/* A key as another file has it. */
void hone_gguf_put_raw(hone_gguf_writer *w, const hone_gguf_key *key);

/* A tensor of n_dim (1 or 2) dimensions, outermost first: a matrix W[n, k] is {n, k}. */
void hone_gguf_put_tensor(hone_gguf_writer *w, const char *name, hone_dtype dtype, uint32_t n_dim,
                          const uint64_t *shape);

/* Keys and directory are complete: writes the head. */
void hone_gguf_writer_begin(hone_gguf_writer *w);
/* The next bytes of tensor data; the padding between tensors is added. */
void hone_gguf_writer_data(hone_gguf_writer *w, const void *bytes, size_t n);

/* In memory: head and n zero bytes of data behind it, valid until close; NULL after a failure. */
const hone_buf *hone_gguf_writer_head(hone_gguf_writer *w);

/* Every tensor's bytes are there, on disk, under the file's name; or the first failure, and no file. */
hone_status hone_gguf_writer_finish(hone_gguf_writer *w, hone_error *err);
void hone_gguf_writer_close(hone_gguf_writer *w); /* NULL is fine; what was not finished is removed */

#endif
