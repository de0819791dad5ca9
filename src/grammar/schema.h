/* schema.h - JSON Schema (draft 2020-12, and what earlier drafts spell differently) as a grammar of JSON texts.
 *
 * Every text of the grammar is valid JSON and valid under the schema; where a keyword cannot be kept exactly the schema
 * is refused with its JSON pointer.  The other direction may be narrower: properties come in the order in which the
 * schema lists them, then additional ones; whitespace is what options say.  (OpenAI's structured outputs, LLGuidance
 * and llama.cpp order properties so too.)  A keyword that only annotates, or that no draft of JSON Schema defines, is
 * read and has no effect, as the specification has it; docs/structured-output.md lists what is kept and what refused.
 *
 * $ref within the document, $defs and definitions, recursion; a reference to elsewhere is refused, nothing is fetched.
 */
#ifndef HONE_SCHEMA_H
#define HONE_SCHEMA_H

#include "grammar/grammar.h"

typedef struct {
    bool strict; /* OpenAI's strict mode: additionalProperties false and all properties required are demanded of the
                    schema, as their documentation lists; a breach is HONE_ERR_FORMAT with its pointer */
    bool
        whitespace; /* JSON's optional whitespace is allowed between tokens (bounded runs); else one space after ',' and
                       ':' may stand or not */
} hone_schema_options;

/* The texts of one JSON value valid under schema. */
hone_status hone_schema_node(hone_grammar_builder *b, const json_t *schema, const hone_schema_options *options,
                             hone_gx *out, hone_error *err);

#endif
