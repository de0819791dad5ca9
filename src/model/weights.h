/* weights.h - published weights, whatever their container: a GGUF file, or a folder with config.json and safetensors.
 *
 * Threads: immutable once open; any thread may read. */
#ifndef HONE_WEIGHTS_H
#define HONE_WEIGHTS_H

#include "base/file.h"
#include "base/json.h"
#include "model/gguf.h"
#include "model/tensor.h"

typedef struct hone_weights hone_weights;

/* A GGUF file; a folder with config.json and model.safetensors or its shards; a folder with one GGUF file and no
 * config.json.  Files stay mapped, nothing is copied. */
hone_status hone_weights_open(hone_weights **out, const char *path, hone_error *err);
void hone_weights_close(hone_weights *w); /* NULL is fine */

size_t hone_weights_count(const hone_weights *w);
const hone_tensor *hone_weights_at(const hone_weights *w, size_t i);
const hone_tensor *hone_weights_find(const hone_weights *w, const char *name); /* NULL: none */

const hone_gguf *hone_weights_gguf(const hone_weights *w);           /* NULL: a folder */
const json_t *hone_weights_config(const hone_weights *w);            /* config.json; NULL: a GGUF file */
const json_t *hone_weights_generation_config(const hone_weights *w); /* generation_config.json; NULL: none */
const char *hone_weights_path(const hone_weights *w);                /* as it was given */

/* The name of the model's mathematics.  GGUF: the SHA-256 of the file.  Folder: the SHA-256 over the digests, as text,
 * of config.json and of the weight files in order of their names. */
hone_status hone_weights_digest(const hone_weights *w, char out[HONE_DIGEST_TEXT], hone_error *err);

uint64_t hone_weights_bytes(const hone_weights *w); /* of all tensors */

#endif
