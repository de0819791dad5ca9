/* tokenizer.h - text to token ids and back.
 *
 * One object covers what Hugging Face's tokenizer.json describes (normalizer, pre-tokenizer, model, post-processor,
 * decoder, added tokens) and what a GGUF file holds of the same kinds.  The authority for ids and texts is the
 * `tokenizers` library for tokenizer.json and llama.cpp for GGUF.  A part that is not implemented is
 * HONE_ERR_UNSUPPORTED with its JSON path.
 *
 * A tokenizer never changes after it was opened: any number of threads may use it at the same time.  A hone_detok
 * belongs to one thread at a time.  Texts are UTF-8 and may hold NUL; bytes that are no UTF-8 are refused, with their
 * offset. */
#ifndef HONE_MODEL_TOKENIZER_H
#define HONE_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

#define HONE_NO_TOKEN (-1)

typedef struct hone_tokenizer hone_tokenizer;

/* A growing list of ids.  Start from {0}. */
typedef struct {
    int32_t *id; /* [cap], n in use; owned */
    size_t n;
    size_t cap;
} hone_ids;

bool hone_ids_add(hone_ids *ids, int32_t id); /* false without memory: ids is unchanged */
void hone_ids_free(hone_ids *ids);            /* back to {0} */

/* ---- Opening ---- */

/* A vocabulary as GGUF holds it.  Everything is borrowed for the call alone. */
typedef enum {
    HONE_VOCAB_BPE,       /* tokenizer.ggml.model "gpt2": byte-level BPE with merges */
    HONE_VOCAB_SPM,       /* "llama": SentencePiece BPE, merges by score, byte fallback */
    HONE_VOCAB_UNIGRAM,   /* "t5" */
    HONE_VOCAB_WORDPIECE, /* "bert" */
} hone_vocab_kind;

typedef enum { /* tokenizer.ggml.token_type, GGUF's numbers */
               HONE_TOKEN_NORMAL = 1,
               HONE_TOKEN_UNKNOWN = 2,
               HONE_TOKEN_CONTROL = 3,
               HONE_TOKEN_USER_DEFINED = 4,
               HONE_TOKEN_UNUSED = 5,
               HONE_TOKEN_BYTE = 6
} hone_token_type;

typedef struct {
    const char *text; /* [n] bytes, no NUL behind them needed */
    size_t n;
} hone_piece;

typedef struct {
    hone_vocab_kind kind;
    const char *pre;         /* tokenizer.ggml.pre; NULL: "default" */
    const hone_piece *token; /* [n_token] */
    const float *score;      /* [n_token]; NULL where the kind needs none */
    const int32_t *type;     /* [n_token] of hone_token_type; NULL: all normal */
    size_t n_token;
    const hone_piece *merge; /* [n_merge], "left right", best first; for HONE_VOCAB_BPE */
    size_t n_merge;
    bool add_bos, add_eos;         /* what encode adds with HONE_ENCODE_ADD_SPECIAL */
    bool add_space_prefix;         /* SPM: a space before the text and behind every special token */
    bool remove_extra_whitespaces; /* UNIGRAM */
    int32_t bos, eos, eot, eom, unk, pad, sep, cls, mask; /* HONE_NO_TOKEN where there is none */
    const uint8_t *charsmap;                              /* UNIGRAM: tokenizer.ggml.precompiled_charsmap, or NULL */
    size_t charsmap_bytes;
    const char *chat_template; /* NULL when there is none */
} hone_vocab;

/* {kind BPE, no ids, add_space_prefix true}: the defaults where GGUF says nothing. */
hone_vocab hone_vocab_default(void);

/* Whether a BPE vocabulary with this pre-tokenizer adds begin-of-text where the file does not say. */
bool hone_vocab_pre_adds_bos(const char *pre);

/* The names of pre-tokenizers that tokenizer.ggml.pre may have, by number; NULL: no more. */
const char *hone_vocab_pre_name(size_t i);

/* Success: the caller owns *out.  Otherwise *out is NULL and err tells where and why. */
hone_status hone_tokenizer_open_vocab(hone_tokenizer **out, const hone_vocab *vocab, hone_error *err);

/* tokenizer.json, and tokenizer_config.json or NULL.  Both are borrowed for the call alone. */
hone_status hone_tokenizer_open_json(hone_tokenizer **out, const char *json, size_t json_bytes, const char *config,
                                     size_t config_bytes, hone_error *err);

/* The tokenizer.ggml.* keys of an open GGUF file (gguf.h); g may be closed afterwards. */
struct hone_gguf;
hone_status hone_tokenizer_open_gguf(hone_tokenizer **out, const struct hone_gguf *g, hone_error *err);

/* A Hugging Face folder: tokenizer.json, and where they stand there tokenizer_config.json, chat_template.jinja and the
 * end ids of generation_config.json.  Needs no model beside it. */
hone_status hone_tokenizer_open_folder(hone_tokenizer **out, const char *folder, hone_error *err);

void hone_tokenizer_close(hone_tokenizer *t); /* NULL is fine */

/* ---- Encoding ---- */

typedef enum {
    HONE_ENCODE_ADD_SPECIAL = 1, /* what the post-processor adds: begin-of-text and the like */
    HONE_ENCODE_PLAIN_SPECIAL =
        2 /* special tokens that stand in the text are ordinary text; without it they are found */
} hone_encode_flags;

/* Append the ids of text[n] to out.  On error out holds what it held before.  HONE_ERR_FORMAT: no UTF-8 (position in
 * err); HONE_ERR_LIMIT: a pattern of the tokenizer needs too many steps for this text. */
hone_status hone_tokenizer_encode(const hone_tokenizer *t, const char *text, size_t n, unsigned flags, hone_ids *out,
                                  hone_error *err);

/* ---- Decoding ---- */

/* Append the text of id[n] to out: always valid UTF-8.  Ids outside the vocabulary are left out. */
hone_status hone_tokenizer_decode(const hone_tokenizer *t, const int32_t *id, size_t n, bool skip_special,
                                  hone_buf *out, hone_error *err);

/* The same, token by token.  The outputs of all calls together are exactly what hone_tokenizer_decode gives for all
 * ids; what later tokens could still change is held back.  Costs the length of the token, not of the text. */
typedef struct hone_detok hone_detok;

hone_status hone_detok_open(hone_detok **out, const hone_tokenizer *t, bool skip_special, hone_error *err);
hone_status hone_detok_feed(hone_detok *d, int32_t id, hone_buf *out);
/* Gives out now what waits for later tokens, because something that is no text follows; unlike finish the text goes on.
 */
hone_status hone_detok_flush(hone_detok *d, hone_buf *out);
hone_status hone_detok_finish(hone_detok *d, hone_buf *out); /* flushes, and is ready for the next text */
void hone_detok_close(hone_detok *d);                        /* NULL is fine; t must still be open */

/* ---- Asking ---- */

/* Ids are 0 .. size - 1; some of them may have no token. */
int32_t hone_tokenizer_size(const hone_tokenizer *t);

/* The token as the vocabulary writes it ("Ġthe", "<|im_end|>"), NULL where the id has none.  Borrowed until close; a
 * NUL follows it. */
const char *hone_tokenizer_text(const hone_tokenizer *t, int32_t id, size_t *n);

/* Append the bytes that the token stands for (" the"); they may be part of a character.  HONE_ERR_NOT_FOUND: no such
 * id. */
hone_status hone_tokenizer_bytes(const hone_tokenizer *t, int32_t id, hone_buf *out);

/* The id of the token written so, or HONE_NO_TOKEN. */
int32_t hone_tokenizer_find(const hone_tokenizer *t, const char *text, size_t n);

bool hone_tokenizer_is_special(const hone_tokenizer *t, int32_t id);

/* bos, eos, pad, unk as the configuration names them, or HONE_NO_TOKEN. */
typedef enum { HONE_ROLE_BOS, HONE_ROLE_EOS, HONE_ROLE_PAD, HONE_ROLE_UNK, HONE_ROLE_COUNT } hone_token_role;
int32_t hone_tokenizer_role(const hone_tokenizer *t, hone_token_role role);

/* Whether encode adds the begin-of-text (end-of-text) token with HONE_ENCODE_ADD_SPECIAL. */
bool hone_tokenizer_adds_bos(const hone_tokenizer *t);
bool hone_tokenizer_adds_eos(const hone_tokenizer *t);

/* Ids that end a generation as far as the tokenizer knows: eos, the configuration's, and the well-known end-of-turn
 * tokens. Ascending, borrowed until close. */
const int32_t *hone_tokenizer_ends(const hone_tokenizer *t, size_t *n);

/* The chat template: of that name, or the default one for NULL; NULL when there is none.  Borrowed until close. */
const char *hone_tokenizer_template(const hone_tokenizer *t, const char *name);

#endif
