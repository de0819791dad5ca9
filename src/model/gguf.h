/* gguf.h - reading GGUF files, versions 2 and 3, little-endian (the specification is docs/gguf.md of ggml-org/ggml).
 *
 * Opening checks everything once: counts, lengths, types, shapes, alignment, that every tensor lies in the file and
 * none over another, that no name occurs twice.  What is handed out afterwards needs no further checking against the
 * file. Nothing is copied but the directory: strings, arrays and tensors point into the bytes that were opened.
 *
 * Threads: an open file is immutable; any thread may read it (an array cursor belongs to one thread). */
#ifndef HONE_GGUF_H
#define HONE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernel/dtype.h"

typedef struct hone_gguf hone_gguf;

/* Text in the file: no NUL behind it, and its bytes need not be UTF-8. */
typedef struct {
    const char *text;
    size_t n;
} hone_gguf_text;

/* Open bytes[n], which stay the caller's and must outlive *out.  name stands in messages.  HONE_ERR_FORMAT for a broken
 * file (a truncated one says how many bytes are missing at least), HONE_ERR_UNSUPPORTED for another version, byte order
 * or tensor type, by name. */
hone_status hone_gguf_open(hone_gguf **out, const void *bytes, size_t n, const char *name, hone_error *err);

/* The same over a mapping of its own. */
hone_status hone_gguf_open_path(hone_gguf **out, const char *path, hone_error *err);

void hone_gguf_close(hone_gguf *g); /* NULL is fine */

/* The bytes begin as a GGUF file does. */
bool hone_gguf_is(const void *bytes, size_t n);

uint32_t hone_gguf_version(const hone_gguf *g);

/* Metadata.  An absent key is HONE_ERR_NOT_FOUND, another type or a value out of [min, max] HONE_ERR_FORMAT; the
 * message names file and key, *out is unchanged.  Integers of any width are one kind, so are reals (an integer is a
 * real too). */
bool hone_gguf_has(const hone_gguf *g, const char *key);
hone_status hone_gguf_get_text(const hone_gguf *g, const char *key, hone_gguf_text *out, hone_error *err);
hone_status hone_gguf_get_int(const hone_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
                              hone_error *err);
hone_status hone_gguf_get_real(const hone_gguf *g, const char *key, double *out, hone_error *err);
hone_status hone_gguf_get_bool(const hone_gguf *g, const char *key, bool *out, hone_error *err);

/* Like the above, for keys that may be absent: then *out is unchanged and the result HONE_OK. */
hone_status hone_gguf_opt_int(const hone_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
                              hone_error *err);
hone_status hone_gguf_opt_real(const hone_gguf *g, const char *key, double *out, hone_error *err);
hone_status hone_gguf_opt_bool(const hone_gguf *g, const char *key, bool *out, hone_error *err);

typedef enum { HONE_GGUF_TEXTS, HONE_GGUF_INTS, HONE_GGUF_REALS, HONE_GGUF_BOOLS } hone_gguf_kind;

/* A cursor over the elements of one array, from the first to the last. */
typedef struct {
    hone_gguf_kind kind;
    uint64_t n; /* elements in the array */

    uint64_t left; /* elements not yet taken */
    const uint8_t *at;
    uint32_t type;
} hone_gguf_array;

hone_status hone_gguf_get_array(const hone_gguf *g, const char *key, hone_gguf_kind kind, hone_gguf_array *out,
                                hone_error *err);

/* The next element; false at the end.  Each only for a cursor of its kind. */
bool hone_gguf_next_text(hone_gguf_array *a, hone_gguf_text *out);
bool hone_gguf_next_int(hone_gguf_array *a, int64_t *out);
bool hone_gguf_next_real(hone_gguf_array *a, double *out);
bool hone_gguf_next_bool(hone_gguf_array *a, bool *out);

/* Keys as they stand in the file, by number in order of their names: what a writer copies.  value[n] is the type and
 * the value. */
typedef struct {
    hone_gguf_text name;
    const uint8_t *value;
    size_t n;
} hone_gguf_key;
uint64_t hone_gguf_key_count(const hone_gguf *g);
hone_gguf_key hone_gguf_key_at(const hone_gguf *g, uint64_t i);

/* ggml's number of a type; UINT32_MAX: it has none. */
uint32_t hone_gguf_type_of(hone_dtype dtype);

/* Tensors, in the file's order. */
#define HONE_GGUF_NAME 128u /* bytes of a tensor's name with its NUL */
typedef struct {
    char name[HONE_GGUF_NAME];
    hone_dtype dtype;
    uint32_t n_dim;    /* 1 .. 4 */
    uint64_t shape[4]; /* [0] is the innermost, as the file has it: a matrix W[n, k] is {k, n, 1, 1} */
    const void *data;  /* aligned to 8 bytes when the opened bytes are */
    size_t bytes;
} hone_gguf_tensor;

uint64_t hone_gguf_tensor_count(const hone_gguf *g);
const hone_gguf_tensor *hone_gguf_tensor_at(const hone_gguf *g, uint64_t i);
const hone_gguf_tensor *hone_gguf_tensor_find(const hone_gguf *g, const char *name); /* NULL: none */

#endif
