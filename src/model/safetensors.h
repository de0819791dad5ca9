/* safetensors.h - reading and writing safetensors files (the format section of the README of huggingface/safetensors),
 * one file or several under a model.safetensors.index.json.
 *
 * Opening checks everything once: the header's length and JSON, types, shapes, that the tensors fill the data without
 * holes and overlaps, that no name occurs twice, and with an index that every tensor stands in the file that the index
 * names.  Tensors point into the bytes that were opened.
 *
 * Threads: an open one is immutable; any thread may read it. */
#ifndef HONE_SAFETENSORS_H
#define HONE_SAFETENSORS_H

#include "base/buf.h"
#include "base/json.h"
#include "base/status.h"
#include "model/tensor.h"

#define HONE_SAFETENSORS_MAX_HEADER (100u << 20) /* bytes, the reference implementation's limit */

typedef struct hone_safetensors hone_safetensors;

/* Open bytes[n], which stay the caller's and must outlive *out.  name stands in messages.  HONE_ERR_FORMAT for a broken
 * file (a truncated one says how many bytes are missing), HONE_ERR_UNSUPPORTED for another number format, by name. */
hone_status hone_safetensors_open(hone_safetensors **out, const void *bytes, size_t n, const char *name,
                                  hone_error *err);

/* The same over mappings of its own: one file; or a folder with model.safetensors, or with an index and its shards. */
hone_status hone_safetensors_open_path(hone_safetensors **out, const char *path, hone_error *err);
hone_status hone_safetensors_open_folder(hone_safetensors **out, const char *dir, hone_error *err);

void hone_safetensors_close(hone_safetensors *s); /* NULL is fine */

/* In the order of their data, shard after shard. */
size_t hone_safetensors_count(const hone_safetensors *s);
const hone_tensor *hone_safetensors_at(const hone_safetensors *s, size_t i);
const hone_tensor *hone_safetensors_find(const hone_safetensors *s, const char *name); /* NULL: none */

/* The files behind it, in order of the shards' names; paths for those opened by path, else the name given. */
size_t hone_safetensors_file_count(const hone_safetensors *s);
const char *hone_safetensors_file_at(const hone_safetensors *s, size_t i);

/* Append a whole file to out.  The bytes are a function of the tensors alone, in whatever order they come: wider types
 * first, then by name, as the reference implementation does it.  Types F32, F16, BF16. */
hone_status hone_safetensors_write(hone_buf *out, const hone_tensor *tensors, size_t n, hone_error *err);

#endif
