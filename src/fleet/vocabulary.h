/* vocabulary.h - the bytes of a model's tokens, on their way from the controller, which has the tokenizer, to copies,
 * which match grammars with them.  One sealed memory file for all copies of a base:
 *
 *   u32 magic, n, n_end, bytes | i32 end[n_end] | u32 offset[n + 1] | u8 text[bytes]
 *
 * little-endian; token i is text[offset[i] .. offset[i + 1]), a special one between HONE_TOKEN_MARKs, an id without a
 * token is empty; end: the tokens that may follow a complete text (hone_vocabulary_open). */
#ifndef HONE_FLEET_VOCABULARY_H
#define HONE_FLEET_VOCABULARY_H

#include "grammar/matcher.h"
#include "model/tokenizer.h"

#define HONE_VOCABULARY_MAX_TOKENS (1u << 22)

/* The file's descriptor, the caller's.  HONE_ERR_NOMEM, HONE_ERR_IO. */
hone_status hone_vocabulary_file(int *out, const hone_tokenizer *t, hone_error *err);

/* The same without a file. */
hone_status hone_vocabulary_of(hone_vocabulary **out, const hone_tokenizer *t, hone_error *err);

/* Everything in the file is checked; fd stays the caller's. */
hone_status hone_vocabulary_read(hone_vocabulary **out, int fd, hone_error *err);

#endif
