/* chat.h - conversations through a chat template: what transformers' apply_chat_template gives the template, and which
 * bytes of the result are the assistant's.
 *
 * What a template sees: messages, tools and documents (none when absent), add_generation_prompt, the special tokens by
 * their names, then kwargs, which win over the special tokens.  A message's reasoning (reasoning_content, else
 * thinking, else reasoning; null counts as absent) appears as reasoning_content and, unless the message has its own, as
 * thinking. The role `developer` becomes `system` where no expression of the template holds the string constant
 * 'developer'.
 *
 * Threads: any; nothing given is changed. */
#ifndef HONE_CHAT_H
#define HONE_CHAT_H

#include "model/template.h"

/* Borrowed for the call; start from {0}. */
typedef struct {
    const json_t *messages;       /* array of objects; required */
    const json_t *tools;          /* array of objects; NULL or null: none */
    const json_t *documents;      /* array of objects; NULL or null: none */
    const json_t *special_tokens; /* object, name -> string (bos_token, eos_token, pad_token ...); NULL: none */
    const json_t *kwargs;         /* object of further variables (enable_thinking ...); NULL: none.  May not hold
                                     messages, tools, documents, add_generation_prompt: HONE_ERR_ARG */
    bool add_generation_prompt;
} hone_chat_input;

/* Append the prompt to out.  limits NULL: the defaults.  Errors as in template.h, and HONE_ERR_ARG where messages,
 * tools or documents have the wrong shape (messages that are no objects are named by their index, from 0). */
hone_status hone_chat_render(const hone_template *t, const hone_chat_input *in, const hone_template_limits *limits,
                             hone_buf *out, hone_error *err);

/* The same from one object {"messages": ..., "tools": ..., "add_generation_prompt": ..., any other variable}, as
 * `hone inspect template --input` takes it.  special_tokens may be NULL; the object's own members win. */
hone_status hone_chat_render_object(const hone_template *t, const json_t *conversation, const json_t *special_tokens,
                                    const hone_template_limits *limits, hone_buf *out, hone_error *err);

/* What the model must produce for one assistant message: text[begin, end), from behind the generation prompt up to and
 * with the end-of-turn token; white space that the template puts after that token is outside. */
typedef struct {
    size_t message; /* index in messages */
    size_t begin;
    size_t end;
} hone_chat_span;

typedef struct {
    hone_chat_span *span; /* [n], in order; owned, hone_chat_spans_free() */
    size_t n;
    size_t cap;
} hone_chat_spans;

void hone_chat_spans_free(hone_chat_spans *spans);

typedef enum {
    HONE_CHAT_EVERY, /* every assistant message */
    HONE_CHAT_LAST /* the last one only: for templates that show earlier turns in another form (without their reasoning)
                    */
} hone_chat_which;

/* Append the whole conversation to text (add_generation_prompt counts as false) and fill spans (start from {0}; offsets
 * into what this call appended).
 *
 * With G(i) the rendering of the messages before i with the generation prompt and R(i) the one up to and with i, each
 * assistant message i needs G(i) to begin R(i), and R(i) to begin the whole: then serving asks for exactly what is
 * trained.  Where that does not hold the result is HONE_ERR_UNSUPPORTED, and the message names the assistant message
 * and what differs.  Messages that the conversation leaves after the last assistant are rendered and belong to nobody.
 */
hone_status hone_chat_spans_find(const hone_template *t, const hone_chat_input *in, hone_chat_which which,
                                 const hone_template_limits *limits, hone_buf *text, hone_chat_spans *spans,
                                 hone_error *err);

#endif
