/* parse_expr.c - expressions: from the conditional down to names and literals, by recursive descent.
 *
 * Precedence is Jinja's own: if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary, then filters and tests.
 * Every level that can recurse counts against JINJA_MAX_PARSE_DEPTH.
 * Order: the tokens' view, operators, primary, postfix, filters and tests, tuples and targets. */
#include <string.h>

#include "model/template/ast.h"

#define MAX_KEYWORDS 255u /* in one call: each is compared with those before it */

/* ---- The tokens' view ---- */

const jinja_token *jinja_peek(const jinja_compiler *c) {
    return &c->token[c->at];
}

const jinja_token *jinja_peek_second(const jinja_compiler *c) {
    return &c->token[c->at + 1 < c->n_tokens ? c->at + 1 : c->at];
}

void jinja_advance(jinja_compiler *c) {
    if (c->at + 1 < c->n_tokens) c->at++; /* the end stays */
}

static bool token_is(const jinja_token *token, jinja_token_type type, const char *text) {
    return token->type == type && token->text->n == strlen(text) && memcmp(token->text->at, text, token->text->n) == 0;
}

bool jinja_at_operator(const jinja_compiler *c, const char *op) {
    return token_is(jinja_peek(c), JINJA_T_OPERATOR, op);
}
bool jinja_at_name(const jinja_compiler *c, const char *name) {
    return token_is(jinja_peek(c), JINJA_T_NAME, name);
}

bool jinja_skip_operator(jinja_compiler *c, const char *op) {
    if (!jinja_at_operator(c, op)) return false;
    jinja_advance(c);
    return true;
}

bool jinja_skip_name(jinja_compiler *c, const char *name) {
    if (!jinja_at_name(c, name)) return false;
    jinja_advance(c);
    return true;
}

bool jinja_unexpected(jinja_compiler *c, const char *wanted) {
    const jinja_token *t = jinja_peek(c);
    static const char *const what[] = {"the end of the template", "text", "'{{'", "'}}'", "'{%'", "'%}'"};
    if (t->type < JINJA_T_NAME)
        return jinja_syntax_error(c, t->line, HONE_ERR_FORMAT, "expected %s, got %s", wanted, what[t->type]);
    if (t->type == JINJA_T_INTEGER || t->type == JINJA_T_FLOAT)
        return jinja_syntax_error(c, t->line, HONE_ERR_FORMAT, "expected %s, got a number", wanted);
    const int n = (int)(t->text->n < 60 ? t->text->n : 60);
    return jinja_syntax_error(c, t->line, HONE_ERR_FORMAT, "expected %s, got %s'%.*s'", wanted,
                              t->type == JINJA_T_STRING ? "the string " : "", n, t->text->at);
}

bool jinja_expect_operator(jinja_compiler *c, const char *op) {
    if (jinja_skip_operator(c, op)) return true;
    char wanted[8] = {'\'', op[0], '\''};
    return jinja_unexpected(c, wanted);
}

bool jinja_expect_type(jinja_compiler *c, jinja_token_type type, const char *what) {
    if (jinja_peek(c)->type != type) return jinja_unexpected(c, what);
    jinja_advance(c);
    return true;
}

jinja_node *jinja_node_new(jinja_compiler *c, jinja_node_kind kind, uint32_t line) {
    jinja_node *node = jinja_compiler_get(c, 1, sizeof(*node));
    if (node) {
        node->kind = (uint8_t)kind;
        node->line = line;
    }
    return node;
}

bool jinja_nodes_add(jinja_compiler *c, jinja_nodes *nodes, jinja_node *node) {
    if (!node) return false;
    if (nodes->n == nodes->cap) {
        const uint32_t cap = nodes->cap ? nodes->cap * 2 : 4;
        jinja_node **at = jinja_compiler_get(c, cap, sizeof(jinja_node *));
        if (!at) return false;
        if (nodes->n) memcpy(at, nodes->at, nodes->n * sizeof(jinja_node *));
        nodes->at = at;
        nodes->cap = cap;
    }
    nodes->at[nodes->n++] = node;
    return true;
}

static bool enter(jinja_compiler *c) {
    if (++c->depth <= JINJA_MAX_PARSE_DEPTH) return true;
    return jinja_syntax_error(c, jinja_peek(c)->line, HONE_ERR_LIMIT, "nested deeper than %u levels",
                              JINJA_MAX_PARSE_DEPTH);
}

/* ---- Operators, loosest first ---- */

static jinja_node *parse_unary(jinja_compiler *c, bool with_filters);

static jinja_node *binary(jinja_compiler *c, jinja_node_kind kind, uint8_t op, jinja_node *a, jinja_node *b,
                          uint32_t line) {
    jinja_node *node = a && b ? jinja_node_new(c, kind, line) : NULL;
    if (!node) return NULL;
    node->op = op;
    node->a = a;
    node->b = b;
    return node;
}

static jinja_node *parse_power(jinja_compiler *c) {
    jinja_node *left = parse_unary(c, true);
    while (left && jinja_at_operator(c, "**")) {
        const uint32_t line = jinja_peek(c)->line;
        jinja_advance(c);
        left = binary(c, JINJA_N_BINARY, JINJA_POW, left, parse_unary(c, true), line);
    }
    return left;
}

static jinja_node *parse_product(jinja_compiler *c) {
    static const struct {
        const char *text;
        uint8_t op;
    } ops[] = {{"*", JINJA_MUL}, {"/", JINJA_DIV}, {"//", JINJA_FLOORDIV}, {"%", JINJA_MOD}};
    jinja_node *left = parse_power(c);
    for (size_t i = 0; left && i < 4; i++) {
        if (!jinja_at_operator(c, ops[i].text)) continue;
        const uint32_t line = jinja_peek(c)->line;
        jinja_advance(c);
        left = binary(c, JINJA_N_BINARY, ops[i].op, left, parse_power(c), line);
        i = SIZE_MAX; /* look at all four again */
    }
    return left;
}

static jinja_node *parse_concat(jinja_compiler *c) {
    jinja_node *first = parse_product(c);
    if (!first || !jinja_at_operator(c, "~")) return first;
    jinja_node *node = jinja_node_new(c, JINJA_N_CONCAT, first->line);
    if (!node || !jinja_nodes_add(c, &node->items, first)) return NULL;
    while (jinja_skip_operator(c, "~"))
        if (!jinja_nodes_add(c, &node->items, parse_product(c))) return NULL;
    return node;
}

static jinja_node *parse_sum(jinja_compiler *c) {
    jinja_node *left = parse_concat(c);
    while (left && (jinja_at_operator(c, "+") || jinja_at_operator(c, "-"))) {
        const uint8_t op = jinja_at_operator(c, "+") ? JINJA_ADD : JINJA_SUB;
        const uint32_t line = jinja_peek(c)->line;
        jinja_advance(c);
        left = binary(c, JINJA_N_BINARY, op, left, parse_concat(c), line);
    }
    return left;
}

/* The comparison at the cursor, skipped; -1 where there is none. */
static int skip_comparison(jinja_compiler *c) {
    static const struct {
        const char *text;
        int op;
    } ops[] = {{"==", JINJA_C_EQ}, {"!=", JINJA_C_NE}, {"<", JINJA_C_LT},
               {"<=", JINJA_C_LE}, {">", JINJA_C_GT},  {">=", JINJA_C_GE}};
    for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++)
        if (jinja_skip_operator(c, ops[i].text)) return ops[i].op;
    if (jinja_skip_name(c, "in")) return JINJA_C_IN;
    if (jinja_at_name(c, "not") && token_is(jinja_peek_second(c), JINJA_T_NAME, "in")) {
        jinja_advance(c);
        jinja_advance(c);
        return JINJA_C_NOT_IN;
    }
    return -1;
}

static jinja_node *parse_compare(jinja_compiler *c) {
    const uint32_t line = jinja_peek(c)->line;
    jinja_node *first = parse_sum(c);
    if (!first) return NULL;
    jinja_node *node = NULL;
    uint32_t cap = 0;
    for (int op; (op = skip_comparison(c)) >= 0;) {
        if (!node) {
            if (!(node = jinja_node_new(c, JINJA_N_COMPARE, line))) return NULL;
            node->a = first;
        }
        if (!jinja_nodes_add(c, &node->items, parse_sum(c))) return NULL;
        if (node->items.cap > cap) {
            uint8_t *grown = jinja_compiler_get(c, node->items.cap, 1);
            if (!grown) return NULL;
            if (cap) memcpy(grown, node->compare, cap);
            node->compare = grown;
            cap = node->items.cap;
        }
        node->compare[node->items.n - 1] = (uint8_t)op;
    }
    return node ? node : first;
}

static jinja_node *parse_not(jinja_compiler *c) {
    if (!jinja_at_name(c, "not")) return parse_compare(c);
    jinja_node *node = jinja_node_new(c, JINJA_N_NOT, jinja_peek(c)->line);
    jinja_advance(c);
    if (!node || !enter(c)) return NULL;
    node->a = parse_not(c);
    c->depth--;
    return node->a ? node : NULL;
}

static jinja_node *parse_and(jinja_compiler *c) {
    jinja_node *left = parse_not(c);
    while (left && jinja_at_name(c, "and")) {
        const uint32_t line = jinja_peek(c)->line;
        jinja_advance(c);
        left = binary(c, JINJA_N_AND, 0, left, parse_not(c), line);
    }
    return left;
}

static jinja_node *parse_or(jinja_compiler *c) {
    jinja_node *left = parse_and(c);
    while (left && jinja_at_name(c, "or")) {
        const uint32_t line = jinja_peek(c)->line;
        jinja_advance(c);
        left = binary(c, JINJA_N_OR, 0, left, parse_and(c), line);
    }
    return left;
}

/* In all parts of a conditional expression an unknown filter waits until it is reached; that it is one shows only
 * behind the value, so the complaint is taken back. */
static jinja_node *parse_conditional(jinja_compiler *c) {
    const jinja_node *unknown = c->unknown;
    jinja_node *value = parse_or(c);
    while (value && jinja_at_name(c, "if")) {
        jinja_node *node = jinja_node_new(c, JINJA_N_IF_ELSE, jinja_peek(c)->line);
        jinja_advance(c);
        if (!node) return NULL;
        node->b = value;
        node->a = parse_or(c);
        if (node->a && jinja_skip_name(c, "else")) {
            if (!enter(c) || !(node->c = parse_conditional(c))) return NULL;
            c->depth--;
        }
        c->unknown = unknown;
        value = node->a ? node : NULL;
    }
    return value;
}

jinja_node *jinja_parse_expression(jinja_compiler *c, bool with_if) {
    if (!enter(c)) return NULL;
    jinja_node *node = with_if ? parse_conditional(c) : parse_or(c);
    c->depth--;
    return node;
}

/* ---- Primary: names, literals, brackets ---- */

static jinja_node *constant(jinja_compiler *c, jinja_value v, uint32_t line) {
    jinja_node *node = jinja_node_new(c, JINJA_N_CONST, line);
    if (node) node->value = v;
    return node;
}

static bool remember_literal(jinja_compiler *c, const jinja_string *s) {
    hone_template *t = c->template;
    if (t->n_literals == t->cap_literals) {
        const size_t cap = t->cap_literals ? t->cap_literals * 2 : 32;
        const jinja_string **grown = jinja_compiler_get(c, cap, sizeof(*grown));
        if (!grown) return false;
        if (t->n_literals) memcpy(grown, t->literal, t->n_literals * sizeof(*grown));
        t->literal = grown;
        t->cap_literals = cap;
    }
    t->literal[t->n_literals++] = s;
    return true;
}

/* One or more strings side by side are one. */
static jinja_node *parse_string(jinja_compiler *c) {
    const jinja_token *first = jinja_peek(c);
    size_t n = 0, i = c->at;
    for (; c->token[i].type == JINJA_T_STRING; i++) n += c->token[i].text->n;
    const jinja_string *text = first->text;
    if (i > c->at + 1) {
        jinja_string *joined = jinja_compiler_get(c, 1, sizeof(*joined));
        char *bytes = jinja_compiler_get(c, n, 1);
        if (!joined || !bytes) return NULL;
        *joined = (jinja_string){bytes, n, 0};
        for (size_t k = c->at; k < i; k++) {
            if (c->token[k].text->n) memcpy(bytes, c->token[k].text->at, c->token[k].text->n);
            bytes += c->token[k].text->n;
        }
        joined->n_chars = jinja_count_chars(joined->at, n);
        text = joined;
    }
    c->at = i;
    if (!remember_literal(c, text)) return NULL;
    return constant(c, (jinja_value){.type = JINJA_STRING, .as.string = text}, first->line);
}

/* A macro takes varargs, kwargs or a caller only where its body names them. */
static void note_special(jinja_compiler *c, const jinja_string *name) {
    for (jinja_node *m = c->macros; m; m = m->enclosing) {
        if (name->n == 7 && memcmp(name->at, "varargs", 7) == 0) m->uses_varargs = true;
        if (name->n == 6 && memcmp(name->at, "kwargs", 6) == 0) m->uses_kwargs = true;
        if (name->n == 6 && memcmp(name->at, "caller", 6) == 0) m->uses_caller = true;
    }
}

static jinja_node *parse_name(jinja_compiler *c, bool with_namespace) {
    static const struct {
        const char *text;
        int value; /* 0 false, 1 true, 2 none */
    } words[] = {{"true", 1}, {"True", 1}, {"false", 0}, {"False", 0}, {"none", 2}, {"None", 2}};
    const jinja_token *token = jinja_peek(c);
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (jinja_skip_name(c, words[i].text))
            return constant(c, words[i].value == 2 ? jinja_none() : jinja_bool(words[i].value == 1), token->line);
    jinja_advance(c);
    const bool is_namespace = with_namespace && jinja_skip_operator(c, ".");
    jinja_node *node = jinja_node_new(c, is_namespace ? JINJA_N_NS_TARGET : JINJA_N_NAME, token->line);
    if (!node || !jinja_name_intern(c, token->text, &node->name)) return NULL;
    node->text = token->text;
    if (is_namespace) {
        node->text = jinja_peek(c)->text;
        if (!jinja_expect_type(c, JINJA_T_NAME, "an attribute name")) return NULL;
    } else {
        note_special(c, token->text);
    }
    return node;
}

static jinja_node *parse_list(jinja_compiler *c) {
    jinja_node *node = jinja_node_new(c, JINJA_N_LIST, jinja_peek(c)->line);
    jinja_advance(c);
    if (!node) return NULL;
    while (!jinja_at_operator(c, "]")) {
        if (node->items.n && !jinja_expect_operator(c, ",")) return NULL;
        if (jinja_at_operator(c, "]")) break;
        if (!jinja_nodes_add(c, &node->items, jinja_parse_expression(c, true))) return NULL;
    }
    jinja_advance(c);
    return node;
}

static jinja_node *parse_dict(jinja_compiler *c) {
    jinja_node *node = jinja_node_new(c, JINJA_N_DICT, jinja_peek(c)->line);
    jinja_advance(c);
    if (!node) return NULL;
    while (!jinja_at_operator(c, "}")) {
        if (node->items.n && !jinja_expect_operator(c, ",")) return NULL;
        if (jinja_at_operator(c, "}")) break;
        if (!jinja_nodes_add(c, &node->items, jinja_parse_expression(c, true)) || !jinja_expect_operator(c, ":") ||
            !jinja_nodes_add(c, &node->more, jinja_parse_expression(c, true)))
            return NULL;
    }
    jinja_advance(c);
    return node;
}

static jinja_node *parse_primary(jinja_compiler *c, bool with_namespace) {
    const jinja_token *token = jinja_peek(c);
    switch (token->type) {
    case JINJA_T_NAME: return parse_name(c, with_namespace);
    case JINJA_T_STRING: return parse_string(c);
    case JINJA_T_INTEGER: jinja_advance(c); return constant(c, jinja_int(token->integer), token->line);
    case JINJA_T_FLOAT: jinja_advance(c); return constant(c, jinja_float(token->real), token->line);
    default: break;
    }
    if (jinja_at_operator(c, "[")) return parse_list(c);
    if (jinja_at_operator(c, "{")) return parse_dict(c);
    if (jinja_skip_operator(c, "(")) {
        jinja_node *node = jinja_parse_tuple(c, true, NULL, true);
        return node && jinja_expect_operator(c, ")") ? node : NULL;
    }
    jinja_unexpected(c, "an expression");
    return NULL;
}

/* ---- Postfix: attributes, items, slices, calls ---- */

static bool add_keyword(jinja_compiler *c, jinja_arguments *args, const jinja_string *key, jinja_node *value) {
    const uint32_t cap = args->keyword.cap;
    if (args->keyword.n == MAX_KEYWORDS)
        return jinja_syntax_error(c, jinja_peek(c)->line, HONE_ERR_LIMIT, "more than %u keyword arguments",
                                  MAX_KEYWORDS);
    for (uint32_t i = 0; i < args->keyword.n; i++)
        if (args->key[i]->n == key->n && memcmp(args->key[i]->at, key->at, key->n) == 0)
            return jinja_syntax_error(c, jinja_peek(c)->line, HONE_ERR_FORMAT, "keyword argument '%.*s' given twice",
                                      (int)(key->n < 60 ? key->n : 60), key->at);
    if (!jinja_nodes_add(c, &args->keyword, value)) return false;
    if (args->keyword.cap != cap) {
        const jinja_string **grown = jinja_compiler_get(c, args->keyword.cap, sizeof(*grown));
        if (!grown) return false;
        if (cap) memcpy(grown, args->key, cap * sizeof(*grown));
        args->key = grown;
    }
    args->key[args->keyword.n - 1] = key;
    return true;
}

static bool parse_argument(jinja_compiler *c, jinja_arguments *args) {
    const char *wrong = "arguments in the wrong order";
    if (jinja_at_operator(c, "*")) {
        if (args->star || args->star_star)
            return jinja_syntax_error(c, jinja_peek(c)->line, HONE_ERR_FORMAT, "%s", wrong);
        jinja_advance(c);
        return (args->star = jinja_parse_expression(c, true)) != NULL;
    }
    if (jinja_at_operator(c, "**")) {
        if (args->star_star) return jinja_syntax_error(c, jinja_peek(c)->line, HONE_ERR_FORMAT, "%s", wrong);
        jinja_advance(c);
        return (args->star_star = jinja_parse_expression(c, true)) != NULL;
    }
    const jinja_token *token = jinja_peek(c);
    if (token->type == JINJA_T_NAME && token_is(jinja_peek_second(c), JINJA_T_OPERATOR, "=")) {
        if (args->star_star) return jinja_syntax_error(c, token->line, HONE_ERR_FORMAT, "%s", wrong);
        jinja_advance(c);
        jinja_advance(c);
        jinja_node *value = jinja_parse_expression(c, true);
        return value && add_keyword(c, args, token->text, value);
    }
    if (args->star || args->star_star || args->keyword.n)
        return jinja_syntax_error(c, token->line, HONE_ERR_FORMAT, "%s", wrong);
    return jinja_nodes_add(c, &args->positional, jinja_parse_expression(c, true));
}

static jinja_arguments *parse_arguments(jinja_compiler *c) {
    jinja_arguments *args = jinja_compiler_get(c, 1, sizeof(*args));
    if (!args || !jinja_expect_operator(c, "(")) return NULL;
    for (bool first = true; !jinja_at_operator(c, ")"); first = false) {
        if (!first && !jinja_expect_operator(c, ",")) return NULL;
        if (!first && jinja_at_operator(c, ")")) break;
        if (!parse_argument(c, args)) return NULL;
    }
    jinja_advance(c);
    return args;
}

static jinja_node *parse_call(jinja_compiler *c, jinja_node *callee) {
    jinja_node *node = jinja_node_new(c, JINJA_N_CALL, jinja_peek(c)->line);
    if (!node) return NULL;
    node->a = callee;
    node->arguments = parse_arguments(c);
    return node->arguments ? node : NULL;
}

/* start:stop:step behind the bracket; *part stays NULL where it is left out. */
static bool parse_slice_part(jinja_compiler *c, jinja_node **part) {
    if (jinja_at_operator(c, ":") || jinja_at_operator(c, "]") || jinja_at_operator(c, ",")) return true;
    return (*part = jinja_parse_expression(c, true)) != NULL;
}

static jinja_node *parse_bracket(jinja_compiler *c, jinja_node *object) {
    const uint32_t line = jinja_peek(c)->line;
    jinja_node *start = NULL;
    jinja_advance(c);
    if (jinja_at_operator(c, "]")) { /* an empty tuple is the key */
        jinja_node *empty = jinja_node_new(c, JINJA_N_TUPLE, line);
        jinja_advance(c);
        return binary(c, JINJA_N_ITEM, 0, object, empty, line);
    }
    if (!jinja_at_operator(c, ":") && !(start = jinja_parse_expression(c, true))) return NULL;
    if (jinja_skip_operator(c, ":")) {
        jinja_node *node = jinja_node_new(c, JINJA_N_SLICE, line);
        if (!node) return NULL;
        node->a = object;
        node->b = start;
        if (!parse_slice_part(c, &node->c)) return NULL;
        if (jinja_skip_operator(c, ":") && !parse_slice_part(c, &node->d)) return NULL;
        return jinja_expect_operator(c, "]") ? node : NULL;
    }
    if (jinja_at_operator(c, ",")) {
        jinja_node *tuple = jinja_node_new(c, JINJA_N_TUPLE, line);
        if (!tuple || !jinja_nodes_add(c, &tuple->items, start)) return NULL;
        while (jinja_skip_operator(c, ","))
            if (!jinja_nodes_add(c, &tuple->items, jinja_parse_expression(c, true))) return NULL;
        start = tuple;
    }
    return jinja_expect_operator(c, "]") ? binary(c, JINJA_N_ITEM, 0, object, start, line) : NULL;
}

static jinja_node *parse_dot(jinja_compiler *c, jinja_node *object) {
    jinja_advance(c);
    const jinja_token *token = jinja_peek(c);
    if (token->type == JINJA_T_INTEGER) {
        jinja_advance(c);
        return binary(c, JINJA_N_ITEM, 0, object, constant(c, jinja_int(token->integer), token->line), token->line);
    }
    jinja_node *node = jinja_node_new(c, JINJA_N_ATTRIBUTE, token->line);
    if (!node || !jinja_expect_type(c, JINJA_T_NAME, "a name or a number")) return NULL;
    node->a = object;
    node->text = token->text;
    return node;
}

static jinja_node *parse_postfix(jinja_compiler *c, jinja_node *node) {
    while (node) {
        if (jinja_at_operator(c, "."))
            node = parse_dot(c, node);
        else if (jinja_at_operator(c, "["))
            node = parse_bracket(c, node);
        else if (jinja_at_operator(c, "("))
            node = parse_call(c, node);
        else
            break;
    }
    return node;
}

/* ---- Filters and tests ---- */

/* A dotted name at the cursor; no built-in has one, so only the whole is kept for the message. */
static const jinja_string *parse_dotted_name(jinja_compiler *c) {
    const jinja_string *first = jinja_peek(c)->text;
    if (!jinja_expect_type(c, JINJA_T_NAME, "a name")) return NULL;
    while (jinja_skip_operator(c, ".")) {
        const jinja_string *next = jinja_peek(c)->text;
        if (!jinja_expect_type(c, JINJA_T_NAME, "a name")) return NULL;
        jinja_string *whole = jinja_compiler_get(c, 1, sizeof(*whole));
        if (!whole) return NULL;
        *whole = (jinja_string){first->at, (size_t)(next->at + next->n - first->at), 0}; /* both lie in the source */
        first = whole;
    }
    return first;
}

static void note_unknown(jinja_compiler *c, const jinja_node *node) {
    if (!node->call && !c->soft && !c->unknown) c->unknown = node;
}

jinja_node *jinja_parse_filters(jinja_compiler *c, jinja_node *input, bool first_without_pipe) {
    while (input && (first_without_pipe || jinja_skip_operator(c, "|"))) {
        jinja_node *node = jinja_node_new(c, JINJA_N_FILTERED, jinja_peek(c)->line);
        first_without_pipe = false;
        if (!node || !(node->text = parse_dotted_name(c))) return NULL;
        node->a = input;
        node->call = jinja_filter_find(node->text);
        note_unknown(c, node);
        if (jinja_at_operator(c, "(") && !(node->arguments = parse_arguments(c))) return NULL;
        input = node;
    }
    return input;
}

/* `is defined`, `is divisibleby 3`, `is not in [..]`: an argument may stand without brackets. */
static jinja_node *parse_test(jinja_compiler *c, jinja_node *input) {
    jinja_node *node = jinja_node_new(c, JINJA_N_TEST, jinja_peek(c)->line);
    jinja_advance(c);
    const bool negated = jinja_skip_name(c, "not");
    if (!node || !(node->text = parse_dotted_name(c))) return NULL;
    node->a = input;
    node->call = jinja_test_find(node->text);
    note_unknown(c, node);
    const jinja_token_type type = jinja_peek(c)->type;
    if (jinja_at_operator(c, "(")) {
        if (!(node->arguments = parse_arguments(c))) return NULL;
    } else if ((type == JINJA_T_NAME && !jinja_at_name(c, "else") && !jinja_at_name(c, "or") &&
                !jinja_at_name(c, "and")) ||
               type == JINJA_T_STRING || type == JINJA_T_INTEGER || type == JINJA_T_FLOAT ||
               jinja_at_operator(c, "[") || jinja_at_operator(c, "{")) {
        if (jinja_at_name(c, "is")) {
            jinja_syntax_error(c, node->line, HONE_ERR_FORMAT, "tests cannot be chained with is");
            return NULL;
        }
        jinja_arguments *args = jinja_compiler_get(c, 1, sizeof(*args));
        if (!args || !jinja_nodes_add(c, &args->positional, parse_postfix(c, parse_primary(c, false)))) return NULL;
        node->arguments = args;
    }
    if (!negated) return node;
    jinja_node *not_node = jinja_node_new(c, JINJA_N_NOT, node->line);
    if (not_node) not_node->a = node;
    return not_node;
}

static jinja_node *parse_filters_and_tests(jinja_compiler *c, jinja_node *node) {
    while (node) {
        if (jinja_at_operator(c, "|"))
            node = jinja_parse_filters(c, node, false);
        else if (jinja_at_name(c, "is"))
            node = parse_test(c, node);
        else if (jinja_at_operator(c, "("))
            node = parse_call(c, node);
        else
            break;
    }
    return node;
}

static jinja_node *parse_unary(jinja_compiler *c, bool with_filters) {
    jinja_node *node;
    if (!enter(c)) return NULL;
    if (jinja_at_operator(c, "-") || jinja_at_operator(c, "+")) {
        node = jinja_node_new(c, JINJA_N_NEGATE, jinja_peek(c)->line);
        if (!node) return NULL;
        node->op = jinja_at_operator(c, "-") ? '-' : '+';
        jinja_advance(c);
        if (!(node->a = parse_unary(c, false))) return NULL;
    } else {
        node = parse_primary(c, false);
    }
    node = parse_postfix(c, node);
    if (with_filters) node = parse_filters_and_tests(c, node);
    c->depth--;
    return node;
}

/* ---- Tuples and targets ---- */

static bool at_tuple_end(const jinja_compiler *c, const char *end_name) {
    const jinja_token_type type = jinja_peek(c)->type;
    return type == JINJA_T_VARIABLE_END || type == JINJA_T_BLOCK_END || jinja_at_operator(c, ")") ||
           (end_name && jinja_at_name(c, end_name));
}

typedef enum { EXPRESSIONS, EXPRESSIONS_WITHOUT_IF, TARGETS, TARGETS_WITH_NAMESPACE } element_kind;

static jinja_node *parse_element(jinja_compiler *c, element_kind kind) {
    if (kind == EXPRESSIONS || kind == EXPRESSIONS_WITHOUT_IF) return jinja_parse_expression(c, kind == EXPRESSIONS);
    if (!enter(c)) return NULL;
    jinja_node *node = parse_primary(c, kind == TARGETS_WITH_NAMESPACE);
    c->depth--;
    return node;
}

static jinja_node *parse_elements(jinja_compiler *c, element_kind kind, const char *end_name, bool parenthesised) {
    jinja_node *tuple = NULL, *only = NULL;
    const uint32_t line = jinja_peek(c)->line;
    while (!at_tuple_end(c, end_name)) {
        jinja_node *element = parse_element(c, kind);
        if (!element) return NULL;
        if (!tuple && !jinja_at_operator(c, ",")) {
            only = element;
            break;
        }
        if (!tuple && !(tuple = jinja_node_new(c, JINJA_N_TUPLE, line))) return NULL;
        if (!jinja_nodes_add(c, &tuple->items, element)) return NULL;
        if (!jinja_skip_operator(c, ",")) break;
    }
    if (only) return only;
    if (!tuple && parenthesised)
        tuple = jinja_node_new(c, JINJA_N_TUPLE, line);
    else if (!tuple)
        jinja_unexpected(c, "an expression");
    return tuple;
}

jinja_node *jinja_parse_tuple(jinja_compiler *c, bool with_if, const char *end_name, bool parenthesised) {
    return parse_elements(c, with_if ? EXPRESSIONS : EXPRESSIONS_WITHOUT_IF, end_name, parenthesised);
}

static bool check_target(jinja_compiler *c, const jinja_node *node) {
    if (node->kind == JINJA_N_NAME || node->kind == JINJA_N_NS_TARGET) return true;
    if (node->kind != JINJA_N_TUPLE)
        return jinja_syntax_error(c, node->line, HONE_ERR_FORMAT, "cannot assign to this expression");
    for (uint32_t i = 0; i < node->items.n; i++)
        if (!check_target(c, node->items.at[i])) return false; /* as deep as it was parsed, so bounded */
    return true;
}

jinja_node *jinja_parse_target(jinja_compiler *c, bool with_namespace, const char *end_name) {
    jinja_node *node = parse_elements(c, with_namespace ? TARGETS_WITH_NAMESPACE : TARGETS, end_name, false);
    return node && check_target(c, node) ? node : NULL;
}
