/* grammar.h - context-free grammars over bytes whose terminals are regular languages, and the text they are written in.
 *
 * A grammar is built once, then frozen: any number of matchers in any threads read it.  Its language is exactly the set
 * of byte strings that the rules derive: there is no separate lexer and no longest-match rule, so nothing can be
 * refused or accepted by accident of tokenising.
 *
 * The source text that travels between controller and copy is GBNF (llama.cpp's grammars/README.md) with three
 * additions: %json{...}      the texts of a JSON value valid under this JSON Schema (schema.h) %regex"..."     the
 * texts that this ECMA-262 pattern matches as a whole (a GBNF string literal) %token"..."     the special token that is
 * written so (a GBNF string literal), and never the same text spelled with ordinary tokens: the bytes HONE_TOKEN_MARK
 * text HONE_TOKEN_MARK, as in the vocabulary (matcher.h) so one language says everything: root ::= "<tool_call>"
 * %json{"type": "object"} "</tool_call>".
 *
 * Limits: bytes of source, rules, nodes, repetitions; over one HONE_ERR_LIMIT.  Hostile input costs time that is
 * bounded. */
#ifndef HONE_GRAMMAR_H
#define HONE_GRAMMAR_H

#include "base/json.h"
#include "grammar/regular.h"

typedef struct hone_grammar hone_grammar;
typedef struct hone_grammar_builder hone_grammar_builder;
typedef uint32_t hone_gx; /* an expression: terminal, sequence, choice or rule */

#define HONE_GX_FAIL UINT32_MAX

#define HONE_TOKEN_MARK                                                                                                \
    0xffu /* the byte around a special token's text: no UTF-8 holds it, so text never matches it                       \
           */

/* ---- From source ---- */

/* err: the message names what and where; a JSON Schema's unsupported or wrong keyword is HONE_ERR_UNSUPPORTED or
 * HONE_ERR_FORMAT with its JSON pointer at the beginning of the message ("#/properties/a/uniqueItems: ..."). */
hone_status hone_grammar_compile(hone_grammar **out, const char *source, size_t n, hone_error *err);

/* Source texts; appended to out.  The schema is checked when it is compiled. */
void hone_grammar_source_schema(hone_buf *out, const json_t *schema); /* root ::= %json{...} */
void hone_grammar_source_regex(hone_buf *out, const char *pattern, size_t n);
void hone_grammar_source_literal(hone_buf *out, const char *text, size_t n); /* a quoted GBNF literal, to build with */

/* ---- By hand (gbnf.c, schema*.c) ---- */

hone_status hone_grammar_begin(hone_grammar_builder **out, hone_error *err);
hone_regular *hone_grammar_regular(hone_grammar_builder *b); /* where terminals are made */
hone_gx hone_gx_terminal(hone_grammar_builder *b, hone_rx rx);
hone_gx hone_gx_seq(hone_grammar_builder *b, const hone_gx *part, uint32_t n);
hone_gx hone_gx_alt(hone_grammar_builder *b, const hone_gx *part, uint32_t n); /* n 0: nothing matches */
hone_gx hone_gx_repeat(hone_grammar_builder *b, hone_gx a, uint32_t min, uint32_t max);
hone_gx hone_gx_rule(hone_grammar_builder *b); /* declared now, defined later: recursion */
void hone_gx_define(hone_grammar_builder *b, hone_gx rule, hone_gx body);
/* Consumes b, also on failure.  Unproductive rules are removed; a root that derives nothing is HONE_ERR_ARG. */
hone_status hone_grammar_finish(hone_grammar **out, hone_grammar_builder *b, hone_gx root, hone_error *err);
void hone_grammar_abandon(hone_grammar_builder *b);

/* Counted: copies of the reference are made with ref, each given back with unref.  Thread-safe. */
hone_grammar *hone_grammar_ref(hone_grammar *g);
void hone_grammar_unref(hone_grammar *g);         /* NULL is fine */
size_t hone_grammar_bytes(const hone_grammar *g); /* memory, for caches' budgets; it grows with use */
/* Its automaton has grown to the limit: what leads to new states fails from now on, with HONE_ERR_LIMIT.  Compiled anew
 * the same source begins small. */
bool hone_grammar_spent(const hone_grammar *g);

#endif
