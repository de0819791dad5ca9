/* constraint.h - what a reply may be, written as the source of a grammar (grammar/grammar.h).
 *
 * Three parts in the order in which a reply has them: reasoning where the model thinks, content (free, or in a form
 * that the request asks for), calls in the family's native form.  Where no part is constrained there is no source. */
#ifndef HONE_API_CONSTRAINT_H
#define HONE_API_CONSTRAINT_H

#include "api/dialect.h"

typedef struct {
    const char *name;
    const json_t *parameters; /* a JSON Schema of an object; NULL: no parameters */
    bool strict;
    bool allowed; /* by tool_choice */
    bool loose;   /* any arguments: a schema that cannot be kept and need not be */
} api_function;

typedef enum {
    API_TOOLS_OFF,    /* there are none */
    API_TOOLS_NEVER,  /* tool_choice none */
    API_TOOLS_AUTO,   /* the model's choice */
    API_TOOLS_FORCED, /* a call, at least one */
} api_tools_mode;

typedef enum {
    API_CONTENT_FREE,
    API_CONTENT_SCHEMA, /* value: a JSON Schema */
    API_CONTENT_REGEX,  /* value: a string */
    API_CONTENT_CHOICE, /* value: strings */
    API_CONTENT_GRAMMAR /* value: a string, GBNF */
} api_content_kind;

typedef struct {
    const api_dialect *dialect; /* NULL: a raw completion, content alone */
    api_think think;
    api_content_kind content;
    const json_t *value;
    api_tools_mode tools;
    const api_function *function; /* [n_function] */
    uint32_t n_function;
    bool parallel;
} api_constraint;

/* Appends the source to out; nothing where the reply is free.  HONE_ERR_UNSUPPORTED: a schema that this family's form
 * of calls cannot express, with its JSON pointer. */
hone_status api_constraint_source(const api_constraint *c, hone_buf *out, hone_error *err);

#endif
