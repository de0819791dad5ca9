/* dialect.h - how a model family writes what is not plain text: calls of tools, and its reasoning.
 *
 * A dialect is recognised from the model's chat template (tool_formats.c), once per base.  Its marks are strings; a
 * part of them that the tokenizer has as a special token stands there as HONE_TOKEN_MARK text HONE_TOKEN_MARK, which is
 * also how generate.c shows that token in the output's text: ordinary text that reads the same is no mark.
 *
 * The splitter (split.c) takes a choice's text as it comes and says what it is: reasoning, content, a call's name, its
 * arguments.  The other direction - the grammar of what a model may write - is constraint.h.
 *
 * Threads: a dialect is immutable once made; a splitter belongs to one thread. */
#ifndef HONE_API_DIALECT_H
#define HONE_API_DIALECT_H

#include "base/json.h"
#include "model/text.h"

#define API_CALL_NAME 64u /* characters of a function's name at most, OpenAI's rule */
#define API_SHOWN_TOKENS 16u

typedef enum {
    API_CALL_OBJECT,     /* {"name": NAME, "arguments": {...}} */
    API_CALL_NAMED,      /* NAME, M_MIDDLE, {...} */
    API_CALL_PARAMETERS, /* NAME, M_MIDDLE, then each M_KEY name M_KEY_END value M_VALUE_END */
    API_CALL_GEMMA       /* NAME{key:value,...}, strings between M_QUOTE */
} api_call_style;

/* The order of a call: M_BEGIN once, then M_OPEN call M_CLOSE with M_BETWEEN between two, M_END once. */
typedef enum {
    M_TRIGGER, /* the text that says that calls follow: the beginning of M_BEGIN M_OPEN */
    M_BEGIN,
    M_OPEN,
    M_MIDDLE,
    M_CLOSE,
    M_BETWEEN,
    M_END,
    M_ID,            /* NAMED: an id may stand between the name and M_MIDDLE, behind this */
    M_ALSO,          /* another text that may stand before the first call */
    M_NAME_KEY,      /* OBJECT: "name" */
    M_ARGUMENTS_KEY, /* OBJECT: "arguments" */
    M_ID_KEY,        /* OBJECT: a key that comes first and numbers the calls */
    M_KEY,
    M_KEY_END,
    M_VALUE_END,
    M_QUOTE,
    M_THINK, /* the model's reasoning begins, and ends */
    M_THINK_END,
    N_MARKS
} api_mark;

typedef struct {
    const char *name;     /* "hermes"; in documents and tests */
    const char *holds[3]; /* the template's source has all of these ... */
    const char *lacks[2]; /* ... and none of these */
    api_call_style style;
    const char *mark[N_MARKS]; /* as templates write them; NULL: nothing */
    bool bare;                 /* OBJECT: a reply that begins with the object is a call too */
    bool single;               /* never more than one call in a reply */
    bool id_last;              /* OBJECT: "id" is the last member */
    bool numbered;             /* NAMED: ":0" counts calls behind the name */
    bool short_ids;            /* ids of calls are 9 letters and digits */
} api_call_format;

/* How a template wants the history of calls. */
typedef enum {
    API_HISTORY_OBJECT, /* message.tool_calls, arguments as an object */
    API_HISTORY_STRING, /* the same, arguments as JSON text */
    API_HISTORY_TEXT    /* it does not render them: they stand in the content, in the native form */
} api_history;

typedef struct api_dialect {
    const api_call_format *format;
    char *mark[N_MARKS];             /* bound to the tokenizer; "" where there is none; owned */
    int32_t shown[API_SHOWN_TOKENS]; /* special tokens that marks hold */
    uint32_t n_shown;
    bool thinks;           /* M_THINK and M_THINK_END are set */
    bool template_tools;   /* the template shows tools; else an instruction of ours in the system message does */
    bool template_system;  /* it takes a system message */
    bool template_results; /* it takes messages of the role `tool` */
    bool null_content;     /* a message with calls and no content has null, not "" */
    api_history history;
} api_dialect;

/* For a model's text side; never refuses: what is not recognised gets the generic form.  NULL: no memory. */
api_dialect *api_dialect_open(const hone_text *text);
void api_dialect_close(api_dialect *d);

/* The table, for tests and documents: NULL behind the last. */
const api_call_format *api_call_format_at(size_t i);
const api_call_format *api_call_format_of(const char *template_source); /* never NULL */

/* Binds the marks of one format; tokenizer NULL: no text is a special token.  template_source may be NULL. */
api_dialect *api_dialect_bind(const api_call_format *format, const char *template_source, const hone_tokenizer *t);

/* Finds out what the template does with tools and their history, by rendering. */
void api_dialect_probe(api_dialect *d, const hone_text *text);

/* Whether the prompt's end has opened the model's reasoning, closed it, or said nothing. */
typedef enum { API_THINK_NONE, API_THINK_MAY, API_THINK_OPEN } api_think;
api_think api_dialect_think(const api_dialect *d, const char *prompt, size_t n);

/* A call in the native form, as it would stand in a reply: for histories that templates do not render. */
void api_dialect_write_calls(const api_dialect *d, const json_t *tool_calls, hone_buf *out);

/* JSON as Python and most templates write it: a space behind ':' and ','. */
void api_write_spaced(const json_t *v, hone_buf *out);

/* ---- Splitting (split.c) ---- */

typedef enum { API_PART_REASONING, API_PART_CONTENT, API_PART_CALL, API_PART_ARGUMENTS } api_part;

/* CALL: text is the function's name, id the model's own id of the call ("" where it gives none); ARGUMENTS belong to
 * the last call.  text may be empty only for CALL's id. */
typedef void (*api_part_fn)(void *arg, api_part part, const char *text, size_t n, const char *id);

typedef struct api_splitter api_splitter;

/* tools: calls are looked for.  `types`: what the parameters of functions are (a "tools" array), for families that
 * write strings without quotes; borrowed; may be NULL. */
api_splitter *api_splitter_open(const api_dialect *d, api_think think, bool tools, const json_t *types, api_part_fn fn,
                                void *arg);
bool api_splitter_feed(api_splitter *s, const char *text, size_t n); /* false: no memory */
bool api_splitter_finish(api_splitter *s);                           /* the text is over */
bool api_splitter_thinking(const api_splitter *s);                   /* what comes next is reasoning */
void api_splitter_close(api_splitter *s);

#endif
