/* parse.c - statements, and hone_template_compile() around it all.
 *
 * Refused by name: include, import, from, extends (there is nothing to load), do, trans, and tags nobody knows.
 * Order: bodies, loops and conditions, assignments, macros and calls, other blocks, the template. */
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "model/template/ast.h"

#define ARENA_LIMIT ((size_t)256 << 20) /* a source of HONE_TEMPLATE_MAX_SOURCE cannot honestly need more */

/* ---- Bodies ---- */

static jinja_node *parse_statement(jinja_compiler *c);

/* Statements into body until a tag whose name is one of ends (up to three, NULL-terminated) stands at the cursor. */
static bool parse_until(jinja_compiler *c, jinja_nodes *body, const char *const *ends) {
    jinja_node *output = NULL;
    if (++c->depth > JINJA_MAX_PARSE_DEPTH)
        return jinja_syntax_error(c, jinja_peek(c)->line, HONE_ERR_LIMIT, "nested deeper than %u levels",
                                  JINJA_MAX_PARSE_DEPTH);
    for (;;) {
        const jinja_token *token = jinja_peek(c);
        jinja_node *node;
        if (token->type == JINJA_T_END) {
            if (ends)
                return jinja_syntax_error(c, token->line, HONE_ERR_FORMAT, "the template ends before '%s'", ends[0]);
            c->depth--;
            return true;
        }
        if (token->type == JINJA_T_BLOCK_BEGIN) {
            jinja_advance(c);
            for (size_t i = 0; ends && ends[i]; i++)
                if (jinja_at_name(c, ends[i])) {
                    c->depth--;
                    return true;
                }
            node = parse_statement(c);
            if (!node || !jinja_nodes_add(c, body, node) || !jinja_expect_type(c, JINJA_T_BLOCK_END, "'%}'"))
                return false;
            output = NULL;
            continue;
        }
        if (!output) {
            output = jinja_node_new(c, JINJA_N_OUTPUT, token->line);
            if (!output || !jinja_nodes_add(c, body, output)) return false;
        }
        jinja_advance(c);
        if (token->type == JINJA_T_DATA) {
            node = jinja_node_new(c, JINJA_N_CONST, token->line);
            if (node) node->value = (jinja_value){.type = JINJA_STRING, .as.string = token->text};
        } else {
            node = jinja_parse_tuple(c, true, NULL, false);
            if (!node || !jinja_expect_type(c, JINJA_T_VARIABLE_END, "'}}'")) return false;
        }
        if (!jinja_nodes_add(c, &output->items, node)) return false;
    }
}

/* The end of the opening tag, then the body; the cursor stays at the closing tag's name. */
static bool parse_body(jinja_compiler *c, jinja_nodes *body, const char *const *ends) {
    jinja_skip_operator(c, ":");
    return jinja_expect_type(c, JINJA_T_BLOCK_END, "'%}'") && parse_until(c, body, ends);
}

/* The same with one closing tag, which is skipped. */
static bool parse_block_body(jinja_compiler *c, jinja_nodes *body, const char *end) {
    const char *ends[] = {end, NULL};
    if (!parse_body(c, body, ends)) return false;
    jinja_advance(c);
    return true;
}

/* Blocks with a scope of their own are not `soft`, whatever stands around them. */
static bool parse_scoped_body(jinja_compiler *c, jinja_nodes *body, const char *end) {
    const uint32_t soft = c->soft;
    c->soft = 0;
    if (!parse_block_body(c, body, end)) return false;
    c->soft = soft;
    return true;
}

/* ---- Loops and conditions ---- */

static bool parse_for(jinja_compiler *c, jinja_node *node) {
    static const char *const ends[] = {"endfor", "else", NULL};
    const uint32_t soft = c->soft;
    if (!(node->target = jinja_parse_target(c, false, "in"))) return false;
    if (!jinja_skip_name(c, "in")) return jinja_unexpected(c, "'in'");
    if (!(node->a = jinja_parse_tuple(c, false, "recursive", false))) return false;
    c->soft = 0; /* the iterable still belongs to what is around */
    if (jinja_skip_name(c, "if") && !(node->b = jinja_parse_expression(c, true))) return false;
    node->flag = jinja_skip_name(c, "recursive");
    c->loops++;
    if (!parse_body(c, &node->body, ends)) return false;
    c->loops--;
    if (jinja_skip_name(c, "else") && !parse_body(c, &node->other, ends)) return false;
    if (!jinja_skip_name(c, "endfor")) return jinja_unexpected(c, "'endfor'");
    c->soft = soft;
    return true;
}

/* elif chains are a loop here, not a recursion, so that their length is free. */
static bool parse_if(jinja_compiler *c, jinja_node *node) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    c->soft++;
    for (;;) {
        if (!(node->a = jinja_parse_tuple(c, false, NULL, false)) || !parse_body(c, &node->body, ends)) return false;
        if (!jinja_at_name(c, "elif")) break;
        jinja_node *next = jinja_node_new(c, JINJA_N_IF, jinja_peek(c)->line);
        jinja_advance(c);
        if (!next || !jinja_nodes_add(c, &node->other, next)) return false;
        node = next;
    }
    if (jinja_skip_name(c, "else") && !parse_body(c, &node->other, ends + 2)) return false;
    if (!jinja_skip_name(c, "endif")) return jinja_unexpected(c, "'endif'");
    c->soft--;
    return true;
}

static bool parse_jump(jinja_compiler *c, const jinja_node *node) {
    if (c->loops) return true;
    return jinja_syntax_error(c, node->line, HONE_ERR_FORMAT, "'%s' outside of a loop",
                              node->kind == JINJA_N_BREAK ? "break" : "continue");
}

/* ---- Assignments ---- */

static bool parse_set(jinja_compiler *c, jinja_node *node) {
    if (!(node->target = jinja_parse_target(c, true, NULL))) return false;
    if (jinja_skip_operator(c, "=")) return (node->a = jinja_parse_tuple(c, true, NULL, false)) != NULL;
    node->kind = JINJA_N_SET_BLOCK;
    jinja_node *captured = jinja_node_new(c, JINJA_N_CAPTURED, node->line);
    if (!captured || !(node->a = jinja_parse_filters(c, captured, false))) return false;
    return parse_scoped_body(c, &node->body, "endset");
}

static bool parse_with(jinja_compiler *c, jinja_node *node) {
    while (jinja_peek(c)->type != JINJA_T_BLOCK_END && !jinja_at_operator(c, ":")) {
        if (node->items.n && !jinja_expect_operator(c, ",")) return false;
        /* one target each: a comma separates assignments here */
        jinja_node *target = jinja_parse_target(c, false, NULL);
        if (!target || !jinja_nodes_add(c, &node->items, target) || !jinja_expect_operator(c, "=") ||
            !jinja_nodes_add(c, &node->more, jinja_parse_expression(c, true)))
            return false;
    }
    return parse_scoped_body(c, &node->body, "endwith");
}

/* ---- Macros and calls ---- */

static bool parse_signature(jinja_compiler *c, jinja_node *macro) {
    uint32_t cap = 0;
    if (!jinja_expect_operator(c, "(")) return false;
    while (!jinja_at_operator(c, ")")) {
        const jinja_token *token;
        if (macro->n_parameters && !jinja_expect_operator(c, ",")) return false;
        token = jinja_peek(c);
        if (!jinja_expect_type(c, JINJA_T_NAME, "a parameter name")) return false;
        if (macro->n_parameters == cap) {
            uint32_t *grown = jinja_compiler_get(c, cap ? cap * 2 : 4, sizeof(*grown));
            if (!grown) return false;
            if (cap) memcpy(grown, macro->parameter, cap * sizeof(*grown));
            macro->parameter = grown;
            cap = cap ? cap * 2 : 4;
        }
        if (!jinja_name_intern(c, token->text, &macro->parameter[macro->n_parameters++])) return false;
        if (jinja_skip_operator(c, "=")) {
            if (!jinja_nodes_add(c, &macro->defaults, jinja_parse_expression(c, true))) return false;
        } else if (macro->defaults.n) {
            return jinja_syntax_error(c, token->line, HONE_ERR_FORMAT, "a parameter without default follows one with");
        }
    }
    jinja_advance(c);
    return true;
}

static bool parse_macro_body(jinja_compiler *c, jinja_node *macro, const char *end) {
    const uint32_t loops = c->loops;
    c->loops = 0;
    macro->enclosing = c->macros;
    c->macros = macro;
    if (!parse_scoped_body(c, &macro->body, end)) return false;
    c->macros = macro->enclosing;
    c->loops = loops;
    return true;
}

static bool parse_macro(jinja_compiler *c, jinja_node *node) {
    const jinja_token *token = jinja_peek(c);
    if (!jinja_expect_type(c, JINJA_T_NAME, "a macro name")) return false;
    node->text = token->text;
    return jinja_name_intern(c, token->text, &node->name) && parse_signature(c, node) &&
           parse_macro_body(c, node, "endmacro");
}

static bool parse_call_block(jinja_compiler *c, jinja_node *node) {
    jinja_node *caller = jinja_node_new(c, JINJA_N_MACRO, node->line);
    if (!caller || (jinja_at_operator(c, "(") && !parse_signature(c, caller))) return false;
    if (!(node->a = jinja_parse_expression(c, true))) return false;
    if (node->a->kind != JINJA_N_CALL)
        return jinja_syntax_error(c, node->line, HONE_ERR_FORMAT, "a call block needs a call");
    node->b = caller;
    return parse_macro_body(c, caller, "endcall");
}

/* ---- Other blocks ---- */

static bool parse_filter_block(jinja_compiler *c, jinja_node *node) {
    jinja_node *captured = jinja_node_new(c, JINJA_N_CAPTURED, node->line);
    if (!captured || !(node->a = jinja_parse_filters(c, captured, true))) return false;
    return parse_scoped_body(c, &node->body, "endfilter");
}

/* A named block stands for its body: no other template can extend this one. */
static bool parse_named_block(jinja_compiler *c, jinja_node *node) {
    const jinja_string *name = jinja_peek(c)->text;
    if (!jinja_expect_type(c, JINJA_T_NAME, "a block name")) return false;
    jinja_skip_name(c, "scoped");
    jinja_skip_name(c, "required");
    const uint32_t loops = c->loops;
    c->loops = 0;
    if (!parse_scoped_body(c, &node->body, "endblock")) return false;
    c->loops = loops;
    if (jinja_peek(c)->type == JINJA_T_NAME && jinja_peek(c)->text->n == name->n &&
        memcmp(jinja_peek(c)->text->at, name->at, name->n) == 0)
        jinja_advance(c);
    return true;
}

static bool parse_autoescape(jinja_compiler *c, jinja_node *node) {
    const uint32_t line = jinja_peek(c)->line;
    if (!jinja_skip_name(c, "false") && !jinja_skip_name(c, "False"))
        return jinja_syntax_error(c, line, HONE_ERR_UNSUPPORTED, "autoescape other than false is not supported");
    return parse_scoped_body(c, &node->body, "endautoescape");
}

static bool parse_print(jinja_compiler *c, jinja_node *node) {
    while (jinja_peek(c)->type != JINJA_T_BLOCK_END) {
        if (node->items.n && !jinja_expect_operator(c, ",")) return false;
        if (!jinja_nodes_add(c, &node->items, jinja_parse_expression(c, true))) return false;
    }
    return true;
}

static bool parse_generation(jinja_compiler *c, jinja_node *node) {
    const uint32_t loops = c->loops;
    c->loops = 0; /* the block is a call in Jinja: break cannot leave it */
    if (!parse_scoped_body(c, &node->body, "endgeneration")) return false;
    c->loops = loops;
    return true;
}

static bool parse_plain_jump(jinja_compiler *c, jinja_node *node) {
    return parse_jump(c, node);
}

static const struct {
    const char *name;
    jinja_node_kind kind;
    bool (*parse)(jinja_compiler *c, jinja_node *node);
} statements[] = {{"if", JINJA_N_IF, parse_if},
                  {"for", JINJA_N_FOR, parse_for},
                  {"set", JINJA_N_SET, parse_set},
                  {"macro", JINJA_N_MACRO, parse_macro},
                  {"call", JINJA_N_CALL_BLOCK, parse_call_block},
                  {"filter", JINJA_N_FILTER, parse_filter_block},
                  {"with", JINJA_N_WITH, parse_with},
                  {"block", JINJA_N_SCOPE, parse_named_block},
                  {"autoescape", JINJA_N_SCOPE, parse_autoescape},
                  {"generation", JINJA_N_GENERATION, parse_generation},
                  {"print", JINJA_N_OUTPUT, parse_print},
                  {"break", JINJA_N_BREAK, parse_plain_jump},
                  {"continue", JINJA_N_CONTINUE, parse_plain_jump}};

static jinja_node *parse_statement(jinja_compiler *c) {
    static const char *const refused[] = {"include", "import", "from", "extends", "do", "trans", "debug"};
    const jinja_token *token = jinja_peek(c);
    if (token->type != JINJA_T_NAME) {
        jinja_unexpected(c, "a tag name");
        return NULL;
    }
    for (size_t i = 0; i < sizeof(statements) / sizeof(*statements); i++) {
        if (!jinja_skip_name(c, statements[i].name)) continue;
        jinja_node *node = jinja_node_new(c, statements[i].kind, token->line);
        return node && statements[i].parse(c, node) ? node : NULL;
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
        if (jinja_at_name(c, refused[i])) {
            jinja_syntax_error(c, token->line, HONE_ERR_UNSUPPORTED, "the tag '%s' is not supported", refused[i]);
            return NULL;
        }
    jinja_syntax_error(c, token->line, HONE_ERR_FORMAT, "unknown or misplaced tag '%.*s'",
                       (int)(token->text->n < 60 ? token->text->n : 60), token->text->at);
    return NULL;
}

/* ---- The template ---- */

static jinja_node *parse_template(jinja_compiler *c) {
    jinja_node *body = jinja_node_new(c, JINJA_N_SCOPE, 1);
    if (!body || !parse_until(c, &body->body, NULL)) return NULL;
    if (c->unknown) {
        const jinja_node *u = c->unknown;
        jinja_syntax_error(c, u->line, HONE_ERR_UNSUPPORTED, "no %s named '%.*s'",
                           u->kind == JINJA_N_TEST ? "test" : "filter", (int)(u->text->n < 60 ? u->text->n : 60),
                           u->text->at);
        return NULL;
    }
    return body;
}

/* Newlines become \n, and one at the very end goes, as Jinja has it. */
static bool normalise(jinja_compiler *c, const char *text, size_t n) {
    char *source = jinja_compiler_get(c, n, 1);
    size_t to = 0;
    if (!source) return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r') {
            source[to++] = '\n';
            i += i + 1 < n && text[i + 1] == '\n';
        } else {
            source[to++] = text[i];
        }
    }
    if (to && source[to - 1] == '\n') to--;
    c->source = source;
    c->n_source = to;
    return true;
}

/* The names that may be used without anyone setting them, in the order of JINJA_NAME_... */
static bool intern_specials(jinja_compiler *c) {
    static const jinja_string special[] = {{"varargs", 7, 7}, {"kwargs", 6, 6}, {"caller", 6, 6}, {"loop", 4, 4}};
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t index;
        if (!jinja_name_intern(c, &special[i], &index)) return false;
    }
    return true;
}

hone_status hone_template_compile(hone_template **out, const char *text, size_t n, hone_error *err) {
    hone_error local;
    *out = NULL;
    if (n > HONE_TEMPLATE_MAX_SOURCE)
        return hone_fail_at(err, HONE_ERR_LIMIT, 1, "template of %zu bytes; at most %u are compiled", n,
                            HONE_TEMPLATE_MAX_SOURCE);
    const size_t valid = hone_utf8_valid(text, n);
    if (valid != n) {
        int64_t line = 1;
        for (size_t i = 0; i < valid; i++) line += text[i] == '\n';
        return hone_fail_at(err, HONE_ERR_FORMAT, line, "template line %lld: byte %zu is no UTF-8", (long long)line,
                            valid);
    }
    hone_template *t = hone_zalloc(1, sizeof(*t));
    if (!t) return hone_fail(err, HONE_ERR_NOMEM, "out of memory");
    t->arena.limit = ARENA_LIMIT;
    jinja_compiler c = {.template = t, .err = err ? err : &local};
    c.err->code = HONE_ERR_INTERNAL;
    if (normalise(&c, text, n) && intern_specials(&c) && jinja_lex(&c)) t->body = parse_template(&c);
    hone_free(c.token);
    if (!t->body) {
        hone_template_free(t);
        return c.err->code;
    }
    *out = t;
    return HONE_OK;
}

void hone_template_free(hone_template *t) {
    if (!t) return;
    jinja_arena_free(&t->arena);
    hone_free(t);
}

bool hone_template_has_string(const hone_template *t, const char *text) {
    const size_t n = strlen(text);
    for (size_t i = 0; i < t->n_literals; i++)
        if (t->literal[i]->n == n && memcmp(t->literal[i]->at, text, n) == 0) return true;
    return false;
}
