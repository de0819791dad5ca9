/* reply.h - what a request says about the form of its reply: response_format and its relatives (structured.c), tools
 * and tool_choice (tools.c), the history with calls in the template's form (messages.c). */
#ifndef HONE_API_REPLY_H
#define HONE_API_REPLY_H

#include "api/constraint.h"
#include "api/private.h"

/* ---- Structured output (structured.c) ---- */

typedef struct {
    api_content_kind kind;
    json_t *value; /* owned; NULL for FREE */
    bool strict;
    char param[64];               /* the field that asked, for errors */
    char name[API_CALL_NAME + 1]; /* of a json_schema */
} api_structured;

/* response_format, structured_outputs, guided_json, guided_regex, guided_choice, guided_grammar, json_schema, grammar:
 * at most one of them may constrain.  False after a 400. */
bool api_structured_read(hone_request *req, const json_t *body, api_structured *out);
void api_structured_free(api_structured *s);

/* ---- Tools (tools.c) ---- */

typedef struct {
    json_t *list;           /* [{type, function}], for the template and the splitter; NULL: none; owned */
    api_function *function; /* [n_function]; strings and schemas borrowed from list */
    uint32_t n_function;
    api_tools_mode mode;
    bool parallel;
    bool legacy; /* `functions`: replies have function_call */
} api_tools;

bool api_tools_read(hone_request *req, const json_t *body, api_tools *out); /* false after a 400 */
void api_tools_free(api_tools *t);

/* The source of the reply's grammar, checked by compiling it; empty where the reply is free.  A function's schema that
 * cannot be kept is a 400 where it is strict or forced, and otherwise that function's arguments are any object.
 * dialect NULL: a raw completion.  False after a reply. */
bool api_reply_source(hone_api *api, hone_request *req, const api_dialect *dialect, api_think think,
                      const api_structured *structured, api_tools *tools, hone_buf *out);

/* ---- Messages (messages.c) ---- */

/* A checked copy in the form that transformers' templates take; NULL after a 400. */
json_t *api_messages_read(hone_request *req, const json_t *body);

/* The same messages as the model's template wants calls, their results and the tools.  False: jansson had no memory
 * since hone_json_memory_reset(). */
bool api_messages_adapt(const api_dialect *d, const api_tools *tools, json_t *messages);

#endif
