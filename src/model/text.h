/* text.h - the text side of a model: tokenizer, chat template, special tokens, end-of-turn ids.
 *
 * What the controller, the trainer and the command line need to turn messages into tokens and tokens into text; no
 * weights.  Immutable after opening; any thread may use it. */
#ifndef HONE_TEXT_H
#define HONE_TEXT_H

#include "model/chat.h"
#include "model/tokenizer.h"

typedef struct {
    hone_tokenizer *tokenizer;
    hone_template *chat;    /* NULL: the model brings no chat template */
    json_t *special_tokens; /* bos_token, eos_token, ... for templates */
    int32_t *end;           /* [n_end] ids that end a turn; owned */
    uint32_t n_end;
} hone_text;

/* From a GGUF file or a Hugging Face folder. */
hone_status hone_text_open(hone_text **out, const char *path, hone_error *err);
void hone_text_close(hone_text *t); /* NULL is fine */

/* A conversation as the prompt's tokens: rendered by the model's template, special tokens of the rendering recognised,
 * none added (the template writes them).  HONE_ERR_UNSUPPORTED when there is no template. */
hone_status hone_text_chat(const hone_text *t, const hone_chat_input *in, hone_ids *out, hone_error *err);

#endif
