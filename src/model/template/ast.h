/* ast.h - from text to a tree: tokens, nodes, and the compiled template.
 *
 * Everything lives in the arena of the compiled template and is never changed after hone_template_compile(). */
#ifndef HONE_TEMPLATE_AST_H
#define HONE_TEMPLATE_AST_H

#include "model/template/value.h"

/* ---- Tokens ---- */

typedef enum {
    JINJA_T_END,
    JINJA_T_DATA, /* text outside of tags, white space already controlled */
    JINJA_T_VARIABLE_BEGIN,
    JINJA_T_VARIABLE_END,
    JINJA_T_BLOCK_BEGIN,
    JINJA_T_BLOCK_END,
    JINJA_T_NAME,
    JINJA_T_STRING, /* unescaped */
    JINJA_T_INTEGER,
    JINJA_T_FLOAT,
    JINJA_T_OPERATOR /* text is the operator itself */
} jinja_token_type;

typedef struct {
    jinja_token_type type;
    uint32_t line;
    const jinja_string *text; /* DATA, STRING; NAME and OPERATOR as written */
    int64_t integer;
    double real;
} jinja_token;

/* ---- The compiled template ---- */

typedef struct {
    const jinja_string *text;
    const jinja_function *function; /* the global of this name, or NULL */
} jinja_name;

struct hone_template {
    jinja_arena arena;
    jinja_node *body;
    jinja_name *name; /* [n_names]: every variable the template mentions */
    uint32_t n_names;
    uint32_t cap_names;
    uint32_t *name_slot; /* [n_name_slots], index in name + 1; a hash table while compiling */
    uint32_t n_name_slots;
    const jinja_string **literal; /* [n_literals]: string constants in expressions */
    size_t n_literals;
    size_t cap_literals;
};

/* ---- Compiling: lexer (lex.c), parser (parse.c, parse_expr.c) ---- */

typedef struct {
    hone_template *template;
    hone_error *err;
    const char *source; /* newlines normalised, no trailing one */
    size_t n_source;
    jinja_token *token; /* [n_tokens], the last is JINJA_T_END */
    size_t n_tokens;
    size_t cap_tokens;
    size_t at;      /* the parser's next token */
    uint32_t depth; /* of the parser's recursion */
    uint32_t soft;  /* inside an if: an unknown filter or test there is an error only when it is reached */
    const struct jinja_node *unknown; /* the first unknown filter or test that is not so excused, or NULL */
    uint32_t loops;                   /* for loops around, within the macro: break and continue need one */
    struct jinja_node *macros;        /* macros around, innermost first, linked by `enclosing` */
} jinja_compiler;

#define JINJA_MAX_PARSE_DEPTH 200u

/* Always false / NULL; the line is the current token's unless given. */
bool jinja_syntax_error(jinja_compiler *c, uint32_t line, hone_status code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void *jinja_compiler_get(jinja_compiler *c, size_t count, size_t size);

bool jinja_lex(jinja_compiler *c);                                                  /* fills token[] */
bool jinja_name_intern(jinja_compiler *c, const jinja_string *text, uint32_t *out); /* index in template->name */

/* ---- Nodes ---- */

typedef enum {
    /* statements */
    JINJA_N_OUTPUT,     /* items: expressions and text to print */
    JINJA_N_FOR,        /* target, a: iterable, b: condition or NULL, body, other: else; flag: recursive */
    JINJA_N_IF,         /* a: condition, body, other: else (an elif is an IF in it) */
    JINJA_N_SET,        /* target, a: value */
    JINJA_N_SET_BLOCK,  /* target, a: filters over JINJA_N_CAPTURED or NULL, body */
    JINJA_N_MACRO,      /* text, parameters, defaults, body */
    JINJA_N_CALL_BLOCK, /* a: the call, macro: the caller */
    JINJA_N_FILTER,     /* a filter block: a: filters over JINJA_N_CAPTURED, body */
    JINJA_N_WITH,       /* items: targets, more: values, body */
    JINJA_N_SCOPE,      /* body: block, autoescape */
    JINJA_N_GENERATION, /* body */
    JINJA_N_BREAK,
    JINJA_N_CONTINUE,
    /* expressions */
    JINJA_N_CONST,     /* value */
    JINJA_N_NAME,      /* name */
    JINJA_N_NS_TARGET, /* name, text: attribute; assignment target only */
    JINJA_N_TUPLE,     /* items */
    JINJA_N_LIST,      /* items */
    JINJA_N_DICT,      /* items: keys, more: values */
    JINJA_N_IF_ELSE,   /* a: condition, b: value, c: otherwise or NULL */
    JINJA_N_OR,        /* a, b */
    JINJA_N_AND,       /* a, b */
    JINJA_N_NOT,       /* a */
    JINJA_N_COMPARE,   /* a, then items with compare[] */
    JINJA_N_BINARY,    /* a, b; op: jinja_operator */
    JINJA_N_CONCAT,    /* items */
    JINJA_N_NEGATE,    /* a; op: '-' or '+' */
    JINJA_N_ATTRIBUTE, /* a, text */
    JINJA_N_ITEM,      /* a, b */
    JINJA_N_SLICE,     /* a, then b: start, c: stop, d: step, each NULL when left out */
    JINJA_N_CALL,      /* a: callee; arguments */
    JINJA_N_FILTERED,  /* a: input; call, text; arguments */
    JINJA_N_TEST,      /* a: input; call, text; arguments */
    JINJA_N_CAPTURED   /* what the enclosing block captured */
} jinja_node_kind;

typedef enum {
    JINJA_C_EQ,
    JINJA_C_NE,
    JINJA_C_LT,
    JINJA_C_LE,
    JINJA_C_GT,
    JINJA_C_GE,
    JINJA_C_IN,
    JINJA_C_NOT_IN
} jinja_comparison;

typedef struct {
    jinja_node **at;
    uint32_t n;
    uint32_t cap;
} jinja_nodes;

/* Arguments of a call, filter or test. */
typedef struct {
    jinja_nodes positional;
    jinja_nodes keyword;          /* values */
    const jinja_string **key;     /* [keyword.n] */
    jinja_node *star, *star_star; /* *args, **kwargs, or NULL */
} jinja_arguments;

struct jinja_node {
    uint8_t kind;
    uint8_t op;
    bool flag;
    bool uses_varargs, uses_kwargs, uses_caller; /* of a macro: whether its body names them */
    uint32_t line;
    uint32_t name;            /* index in template->name */
    const jinja_string *text; /* attribute, macro, filter or test name */
    jinja_value value;
    jinja_node *a, *b, *c, *d;
    jinja_node *target;
    jinja_node *enclosing; /* macro around this macro, while compiling */
    jinja_nodes items, more, body, other;
    uint8_t *compare; /* [items.n] jinja_comparison */
    jinja_call *call;
    jinja_arguments *arguments; /* NULL: none */
    uint32_t *parameter;        /* [n_parameters] names of a macro or caller */
    uint32_t n_parameters;
    jinja_nodes defaults; /* of the last defaults.n parameters */
};

jinja_node *jinja_node_new(jinja_compiler *c, jinja_node_kind kind, uint32_t line);
bool jinja_nodes_add(jinja_compiler *c, jinja_nodes *nodes, jinja_node *node);

/* ---- The parser's view of the tokens ---- */

const jinja_token *jinja_peek(const jinja_compiler *c);
const jinja_token *jinja_peek_second(const jinja_compiler *c);
void jinja_advance(jinja_compiler *c);
bool jinja_at_operator(const jinja_compiler *c, const char *op);
bool jinja_at_name(const jinja_compiler *c, const char *name);
bool jinja_skip_operator(jinja_compiler *c, const char *op); /* true when it was there */
bool jinja_skip_name(jinja_compiler *c, const char *name);
bool jinja_expect_operator(jinja_compiler *c, const char *op);
bool jinja_expect_type(jinja_compiler *c, jinja_token_type type, const char *what);
bool jinja_unexpected(jinja_compiler *c, const char *wanted); /* always false */

/* Expressions; NULL after an error. */
jinja_node *jinja_parse_expression(jinja_compiler *c, bool with_if);
/* `a, b` makes a tuple; end_name ("in", "recursive") may end it; parenthesised allows (). */
jinja_node *jinja_parse_tuple(jinja_compiler *c, bool with_if, const char *end_name, bool parenthesised);
jinja_node *jinja_parse_target(jinja_compiler *c, bool with_namespace, const char *end_name);
jinja_node *jinja_parse_filters(jinja_compiler *c, jinja_node *input, bool first_without_pipe);

/* ---- Running ---- */

/* Variables of one block; the outermost has a place for every name, inner ones a short list. */
struct jinja_scope {
    jinja_scope *parent;
    struct jinja_slot {
        uint32_t name;
        jinja_value value;
    } * slot; /* [n] */
    uint32_t n;
    uint32_t cap;
    jinja_value *direct; /* [template->n_names]; the outermost scope only */
    bool captured;       /* a macro holds on to it: not to be used again for the next turn of a loop */
};

typedef enum { JINJA_FAILED, JINJA_NEXT, JINJA_BREAK, JINJA_CONTINUE } jinja_flow;

jinja_scope *jinja_scope_new(jinja_run *run, jinja_scope *parent);
bool jinja_scope_set(jinja_run *run, jinja_scope *scope, uint32_t name, jinja_value value);
bool jinja_evaluate(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out);
/* A call with the macro of a call block as its caller, or JINJA_MISSING. */
bool jinja_evaluate_call(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value caller,
                         jinja_value *out);
jinja_flow jinja_execute(jinja_run *run, jinja_scope *scope, const jinja_nodes *body);
/* What body writes, as a string. */
bool jinja_capture(jinja_run *run, jinja_scope *scope, const jinja_nodes *body, jinja_value *out);

/* The names that every template has, in this order. */
enum { JINJA_NAME_VARARGS, JINJA_NAME_KWARGS, JINJA_NAME_CALLER, JINJA_NAME_LOOP };

#endif
