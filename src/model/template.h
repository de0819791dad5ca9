/* template.h - chat templates: the Jinja subset that published models use, compiled once and rendered many times.
 *
 * The language is Jinja 3.1 as the transformers library sets it up for tokenizer_config.json: trim_blocks,
 * lstrip_blocks, loop controls, the immutable sandbox, its tojson, raise_exception and strftime_now, and {% generation
 * %} blocks. Values have Python's semantics: str() and repr() of everything, code points, slices, // and %, true
 * division.
 *
 * Refused by name: include, import, extends (there is nothing to load), integers beyond 64 bits, attributes that begin
 * with an underscore, whatever would change a list or dictionary.  Templates are hostile until checked: work, nesting,
 * memory and output are bounded, at compile time and at render time, and passing a bound is an ordinary error.
 *
 * Errors: err->position is the line in the template, from 1; the message says it too.
 *   HONE_ERR_FORMAT       the template's syntax
 *   HONE_ERR_UNSUPPORTED  Jinja that this engine does not implement, a filter or test that does not exist
 *   HONE_ERR_ARG          rendering failed on these values: raise_exception (its text is the message), a type error,
 *                         an undefined variable that was used
 *   HONE_ERR_LIMIT        a bound of hone_template_limits, or of the compiler (source bytes, nesting)
 *   HONE_ERR_NOMEM
 *
 * Threads: a compiled template is immutable; any number of threads may render it at once. */
#ifndef HONE_TEMPLATE_H
#define HONE_TEMPLATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

#define HONE_TEMPLATE_MAX_SOURCE (1u << 20) /* bytes; the largest published one is about 20 kB */

typedef struct hone_template hone_template;

/* Bounds of one rendering. */
typedef struct {
    uint64_t max_steps;      /* nodes evaluated, plus one for about every 16 bytes or elements that a node handles */
    uint32_t max_depth;      /* expressions, blocks and calls inside each other */
    size_t max_memory_bytes; /* all values that the rendering makes, its copy of the variables included */
    size_t max_output_bytes;
} hone_template_limits;

hone_template_limits hone_template_limits_default(void);

/* Compile text[n] (UTF-8).  Success: the caller owns *out.  Otherwise *out is NULL. */
hone_status hone_template_compile(hone_template **out, const char *text, size_t n, hone_error *err);

void hone_template_free(hone_template *t); /* NULL is fine */

/* True where an expression of the template holds exactly this string constant; how "does it know this role?" is asked.
 */
bool hone_template_has_string(const hone_template *t, const char *text);

/* Bytes [begin, end) of a rendering that stood in a {% generation %} block. */
typedef struct {
    size_t begin;
    size_t end;
} hone_template_span;

typedef struct {
    hone_template_span *span; /* [n], in order; owned, hone_template_spans_free() */
    size_t n;
    size_t cap;
} hone_template_spans;

void hone_template_spans_free(hone_template_spans *spans);

/* Render with the members of vars (an object, or NULL) as variables, and append to out.  limits NULL: the defaults.
 * spans (may be NULL; start from {0}) gets the generation blocks, as offsets into what this call appended.
 * vars is only read.  After an error out and spans are as they were before. */
hone_status hone_template_render(const hone_template *t, const json_t *vars, const hone_template_limits *limits,
                                 hone_buf *out, hone_template_spans *spans, hone_error *err);

#endif
