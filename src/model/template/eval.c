/* eval.c - expressions: nodes to values, macros called with their arguments.
 * Order: scopes, literals, operators, arguments, calls and filters, macros, the switch over them all. */
#include <stdio.h>
#include <string.h>

#include "model/template/ast.h"

/* ---- Scopes ---- */

jinja_scope *jinja_scope_new(jinja_run *run, jinja_scope *parent) {
    jinja_scope *scope = jinja_get(run, 1, sizeof(*scope));
    if (scope) *scope = (jinja_scope){.parent = parent};
    return scope;
}

bool jinja_scope_set(jinja_run *run, jinja_scope *scope, uint32_t name, jinja_value value) {
    if (scope->direct) {
        scope->direct[name] = value;
        return true;
    }
    for (uint32_t i = 0; i < scope->n; i++)
        if (scope->slot[i].name == name) {
            scope->slot[i].value = value;
            return true;
        }
    if (scope->n == scope->cap) {
        const uint32_t cap = scope->cap ? scope->cap * 2 : 4;
        struct jinja_slot *grown = jinja_get(run, cap, sizeof(*grown));
        if (!grown) return false;
        if (scope->n) memcpy(grown, scope->slot, scope->n * sizeof(*grown));
        scope->slot = grown;
        scope->cap = cap;
    }
    scope->slot[scope->n++] = (struct jinja_slot){name, value};
    return true;
}

static bool look_up(jinja_run *run, const jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    const jinja_name *name = &run->template->name[node->name];
    for (; !scope->direct; scope = scope->parent)
        for (uint32_t i = 0; i < scope->n; i++)
            if (scope->slot[i].name == node->name) {
                *out = scope->slot[i].value;
                return true;
            }
    *out = scope->direct[node->name];
    if (out->type != JINJA_MISSING) return true;
    if (name->function) {
        *out = (jinja_value){.type = JINJA_FUNCTION, .as.function = name->function};
        return true;
    }
    return jinja_undefined_new(run, JINJA_NO_NAME, name->text, NULL, out);
}

/* ---- Literals ---- */

static bool make_list(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    jinja_value *items = jinja_get(run, node->items.n, sizeof(*items));
    if (!items) return false;
    for (uint32_t i = 0; i < node->items.n; i++)
        if (!jinja_evaluate(run, scope, node->items.at[i], &items[i])) return false;
    return jinja_list_new(run, node->kind == JINJA_N_LIST ? JINJA_LIST : JINJA_TUPLE, items, node->items.n, out);
}

static bool make_dict(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    jinja_dict *dict = jinja_dict_new(run, node->items.n);
    if (!dict) return false;
    for (uint32_t i = 0; i < node->items.n; i++) {
        jinja_value key, value;
        if (!jinja_evaluate(run, scope, node->items.at[i], &key) ||
            !jinja_evaluate(run, scope, node->more.at[i], &value))
            return false;
        run->line = node->line;
        if (!jinja_dict_set(run, dict, key, value)) return false;
    }
    *out = (jinja_value){.type = JINJA_DICT, .as.dict = dict};
    return true;
}

/* ---- Operators ---- */

static bool if_else(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    char hint[128];
    jinja_value condition, text;
    if (!jinja_evaluate(run, scope, node->a, &condition)) return false;
    if (jinja_truth(condition)) return jinja_evaluate(run, scope, node->b, out);
    if (node->c) return jinja_evaluate(run, scope, node->c, out);
    snprintf(hint, sizeof(hint), "the inline if-expression on line %u evaluated to false and has no else", node->line);
    return jinja_string_copy(run, hint, strlen(hint), &text) &&
           jinja_undefined_new(run, JINJA_HINT, text.as.string, NULL, out);
}

static bool compare_one(jinja_run *run, jinja_comparison op, jinja_value a, jinja_value b, bool *out) {
    static const char *const sign[] = {"==", "!=", "<", "<=", ">", ">="};
    int c;
    switch (op) {
    case JINJA_C_EQ:
    case JINJA_C_NE:
        if (!jinja_equal(run, a, b, out)) return false;
        if (op == JINJA_C_NE) *out = !*out;
        return true;
    case JINJA_C_IN:
    case JINJA_C_NOT_IN:
        if (!jinja_contains(run, b, a, out)) return false;
        if (op == JINJA_C_NOT_IN) *out = !*out;
        return true;
    default: break;
    }
    if (!jinja_compare(run, a, b, sign[op], &c)) return false;
    *out = op == JINJA_C_LT   ? c == -1
           : op == JINJA_C_LE ? c == -1 || c == 0
           : op == JINJA_C_GT ? c == 1
                              : c == 1 || c == 0;
    return true;
}

static bool compare_chain(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    jinja_value left, right;
    bool holds = true;
    if (!jinja_evaluate(run, scope, node->a, &left)) return false;
    for (uint32_t i = 0; holds && i < node->items.n; i++) {
        if (!jinja_evaluate(run, scope, node->items.at[i], &right)) return false;
        run->line = node->line;
        if (!compare_one(run, (jinja_comparison)node->compare[i], left, right, &holds)) return false;
        left = right;
    }
    *out = jinja_bool(holds);
    return true;
}

static bool concat(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    jinja_value *part = jinja_get(run, node->items.n, sizeof(*part));
    jinja_text text = {0};
    if (!part) return false;
    for (uint32_t i = 0; i < node->items.n; i++)
        if (!jinja_evaluate(run, scope, node->items.at[i], &part[i])) return false;
    run->line = node->line;
    for (uint32_t i = 0; i < node->items.n; i++)
        if (!jinja_str(run, part[i], &text)) return false;
    return jinja_string_done(run, &text, out);
}

static bool binary(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    jinja_value a, b;
    if (!jinja_evaluate(run, scope, node->a, &a) || !jinja_evaluate(run, scope, node->b, &b)) return false;
    run->line = node->line;
    return jinja_arithmetic(run, (jinja_operator)node->op, a, b, out);
}

static bool slice(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    jinja_value object, part[3] = {jinja_none(), jinja_none(), jinja_none()};
    const jinja_node *const nodes[3] = {node->b, node->c, node->d};
    if (!jinja_evaluate(run, scope, node->a, &object)) return false;
    for (int i = 0; i < 3; i++)
        if (nodes[i] && !jinja_evaluate(run, scope, nodes[i], &part[i])) return false;
    run->line = node->line;
    return jinja_slice(run, object, part[0], part[1], part[2], out);
}

/* ---- Arguments ---- */

typedef struct {
    const jinja_string **name;
    jinja_value *value;
    size_t n;
    size_t cap;
} keywords;

static bool add_keyword(jinja_run *run, keywords *kw, const jinja_string *name, jinja_value value) {
    for (size_t i = 0; i < kw->n; i++)
        if (kw->name[i]->n == name->n && memcmp(kw->name[i]->at, name->at, name->n) == 0)
            return jinja_type_error(run, "got multiple values for keyword argument '%.*s'",
                                    (int)(name->n < 60 ? name->n : 60), name->at);
    if (kw->n == kw->cap) {
        const size_t cap = kw->cap ? kw->cap * 2 : 4;
        const jinja_string **names = jinja_get(run, cap, sizeof(*names));
        jinja_value *values = jinja_get(run, cap, sizeof(*values));
        if (!names || !values) return false;
        if (kw->n) {
            memcpy(names, kw->name, kw->n * sizeof(*names));
            memcpy(values, kw->value, kw->n * sizeof(*values));
        }
        kw->name = names;
        kw->value = values;
        kw->cap = cap;
    }
    kw->name[kw->n] = name;
    kw->value[kw->n++] = value;
    return jinja_work(run, kw->n); /* the scan for twins makes many keywords quadratic: they pay for it */
}

static bool spread(jinja_run *run, jinja_scope *scope, const jinja_arguments *a, jinja_items *positional,
                   keywords *kw) {
    jinja_value v;
    if (a->star) {
        jinja_list items;
        if (!jinja_evaluate(run, scope, a->star, &v) || !jinja_iterate(run, v, &items)) return false;
        for (size_t i = 0; i < items.n; i++)
            if (!jinja_items_add(run, positional, items.at[i]) || !jinja_work(run, 1)) return false;
    }
    if (!a->star_star) return true;
    if (!jinja_evaluate(run, scope, a->star_star, &v)) return false;
    if (v.type != JINJA_DICT)
        return jinja_type_error(run, "argument after ** must be a mapping, not %s", jinja_type_name(v));
    for (size_t i = 0; i < v.as.dict->n; i++) {
        const jinja_entry *e = &v.as.dict->entry[i];
        if (e->key.type != JINJA_STRING) return jinja_type_error(run, "keywords must be strings");
        if (!add_keyword(run, kw, e->key.as.string, e->value)) return false;
    }
    return true;
}

/* Values in the arena: a cycler or varargs may keep them. */
static bool evaluate_arguments(jinja_run *run, jinja_scope *scope, const jinja_arguments *a, jinja_value caller,
                               jinja_args *out) {
    static const jinja_string caller_name = {"caller", 6, 6};
    jinja_items positional = {0};
    keywords kw = {0};
    jinja_value v;
    for (uint32_t i = 0; a && i < a->positional.n; i++)
        if (!jinja_evaluate(run, scope, a->positional.at[i], &v) || !jinja_items_add(run, &positional, v)) return false;
    for (uint32_t i = 0; a && i < a->keyword.n; i++)
        if (!jinja_evaluate(run, scope, a->keyword.at[i], &v) || !add_keyword(run, &kw, a->key[i], v)) return false;
    if (a && !spread(run, scope, a, &positional, &kw)) return false;
    if (caller.type != JINJA_MISSING && !add_keyword(run, &kw, &caller_name, caller)) return false;
    *out = (jinja_args){positional.at, positional.n, kw.name, kw.value, kw.n};
    return true;
}

/* ---- Calls, filters and tests ---- */

bool jinja_evaluate_call(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value caller,
                         jinja_value *out) {
    jinja_value callee;
    jinja_args args;
    if (!jinja_evaluate(run, scope, node->a, &callee) ||
        !evaluate_arguments(run, scope, node->arguments, caller, &args))
        return false;
    run->line = node->line;
    return jinja_invoke(run, callee, &args, out);
}

static bool filter_or_test(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    jinja_value input;
    jinja_args args;
    if (!jinja_evaluate(run, scope, node->a, &input)) return false;
    run->line = node->line;
    if (!node->call)
        return jinja_fail(run, HONE_ERR_UNSUPPORTED, "no %s named '%.*s'",
                          node->kind == JINJA_N_TEST ? "test" : "filter",
                          (int)(node->text->n < 60 ? node->text->n : 60), node->text->at);
    if (!evaluate_arguments(run, scope, node->arguments, jinja_missing(), &args)) return false;
    run->line = node->line;
    return node->call(run, input, &args, out);
}

/* ---- Macros ---- */

static bool name_is(const jinja_string *a, const jinja_string *b) {
    return a->n == b->n && memcmp(a->at, b->at, a->n) == 0;
}

/* Keyword k of args, or SIZE_MAX. */
static size_t find_keyword(const jinja_args *args, const jinja_string *name) {
    for (size_t k = 0; k < args->n_kw; k++)
        if (name_is(args->kw_name[k], name)) return k;
    return SIZE_MAX;
}

static bool missing_parameter(jinja_run *run, const jinja_string *name, jinja_value *out) {
    jinja_text text = {0};
    jinja_value hint;
    return jinja_put_text(run, &text, "parameter '") && jinja_put(run, &text, name->at, name->n) &&
           jinja_put_text(run, &text, "' was not provided") && jinja_string_done(run, &text, &hint) &&
           jinja_undefined_new(run, JINJA_HINT, hint.as.string, NULL, out);
}

/* The parameters, by position, by name, by default; used[k] marks the keywords that found one. */
static bool bind_parameters(jinja_run *run, jinja_scope *scope, const jinja_node *m, const jinja_args *args,
                            bool *used) {
    for (uint32_t i = 0; i < m->n_parameters; i++) {
        const jinja_string *name = run->template->name[m->parameter[i]].text;
        const uint32_t first_default = m->n_parameters - m->defaults.n;
        jinja_value v;
        if (i < args->n) {
            v = args->at[i];
        } else {
            const size_t k = find_keyword(args, name);
            if (k != SIZE_MAX) {
                v = args->kw[k];
                used[k] = true;
            } else if (i >= first_default) {
                if (!jinja_evaluate(run, scope, m->defaults.at[i - first_default], &v)) return false;
            } else if (!missing_parameter(run, name, &v)) {
                return false;
            }
        }
        if (!jinja_scope_set(run, scope, m->parameter[i], v)) return false;
    }
    return true;
}

/* caller, kwargs and varargs, where the body names them; else what is left over is an error. */
static bool bind_rest(jinja_run *run, jinja_scope *scope, const jinja_node *m, const jinja_args *args, bool *used) {
    static const jinja_string caller_name = {"caller", 6, 6};
    const jinja_string *called = m->text ? m->text : &caller_name;
    const int n = (int)(called->n < 60 ? called->n : 60);
    jinja_value v;
    if (m->uses_caller) {
        const size_t k = find_keyword(args, &caller_name);
        if (k != SIZE_MAX && !used[k]) {
            used[k] = true;
            if (!jinja_scope_set(run, scope, JINJA_NAME_CALLER, args->kw[k])) return false;
        } else if (k == SIZE_MAX) {
            if (!jinja_undefined_hint(run, "No caller defined", &v) ||
                !jinja_scope_set(run, scope, JINJA_NAME_CALLER, v))
                return false;
        }
    }
    jinja_dict *rest = m->uses_kwargs ? jinja_dict_new(run, 0) : NULL;
    if (m->uses_kwargs && !rest) return false;
    for (size_t k = 0; k < args->n_kw; k++) {
        if (used[k]) continue;
        if (!rest)
            return jinja_type_error(run, "macro '%.*s' takes no keyword argument '%.*s'", n, called->at,
                                    (int)(args->kw_name[k]->n < 60 ? args->kw_name[k]->n : 60), args->kw_name[k]->at);
        if (!jinja_dict_set(run, rest, (jinja_value){.type = JINJA_STRING, .as.string = args->kw_name[k]}, args->kw[k]))
            return false;
    }
    if (rest && !jinja_scope_set(run, scope, JINJA_NAME_KWARGS, (jinja_value){.type = JINJA_DICT, .as.dict = rest}))
        return false;
    const size_t n_extra = args->n > m->n_parameters ? args->n - m->n_parameters : 0;
    if (!m->uses_varargs)
        return !n_extra ||
               jinja_type_error(run, "macro '%.*s' takes not more than %u argument(s)", n, called->at, m->n_parameters);
    return jinja_list_new(run, JINJA_TUPLE, n_extra ? args->at + m->n_parameters : NULL, n_extra, &v) &&
           jinja_scope_set(run, scope, JINJA_NAME_VARARGS, v);
}

bool jinja_call_macro(jinja_run *run, const jinja_macro *macro, const jinja_args *args, jinja_value *out) {
    const jinja_node *m = macro->node;
    jinja_scope *scope = jinja_scope_new(run, macro->scope);
    bool *used = jinja_get(run, args->n_kw, sizeof(*used));
    if (!scope || !used) return false;
    if (args->n_kw) memset(used, 0, args->n_kw * sizeof(*used));
    if (!bind_parameters(run, scope, m, args, used) || !bind_rest(run, scope, m, args, used) || !jinja_enter(run))
        return false;
    const bool ok = jinja_capture(run, scope, &m->body, out);
    jinja_leave(run);
    return ok;
}

/* ---- The switch ---- */

static bool evaluate(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    jinja_value v, key;
    switch ((jinja_node_kind)node->kind) {
    case JINJA_N_TUPLE:
    case JINJA_N_LIST: return make_list(run, scope, node, out);
    case JINJA_N_DICT: return make_dict(run, scope, node, out);
    case JINJA_N_IF_ELSE: return if_else(run, scope, node, out);
    case JINJA_N_OR:
    case JINJA_N_AND:
        if (!jinja_evaluate(run, scope, node->a, out)) return false;
        return jinja_truth(*out) == (node->kind == JINJA_N_OR) || jinja_evaluate(run, scope, node->b, out);
    case JINJA_N_NOT:
        if (!jinja_evaluate(run, scope, node->a, &v)) return false;
        *out = jinja_bool(!jinja_truth(v));
        return true;
    case JINJA_N_COMPARE: return compare_chain(run, scope, node, out);
    case JINJA_N_BINARY: return binary(run, scope, node, out);
    case JINJA_N_CONCAT: return concat(run, scope, node, out);
    case JINJA_N_NEGATE:
        if (!jinja_evaluate(run, scope, node->a, &v)) return false;
        run->line = node->line;
        return jinja_negate(run, v, node->op == '-', out);
    case JINJA_N_ATTRIBUTE:
        if (!jinja_evaluate(run, scope, node->a, &v)) return false;
        run->line = node->line;
        return jinja_attribute(run, v, node->text, out);
    case JINJA_N_ITEM:
        if (!jinja_evaluate(run, scope, node->a, &v) || !jinja_evaluate(run, scope, node->b, &key)) return false;
        run->line = node->line;
        return jinja_item(run, v, key, out);
    case JINJA_N_SLICE: return slice(run, scope, node, out);
    case JINJA_N_CALL: return jinja_evaluate_call(run, scope, node, jinja_missing(), out);
    case JINJA_N_FILTERED:
    case JINJA_N_TEST: return filter_or_test(run, scope, node, out);
    case JINJA_N_CAPTURED: *out = run->captured; return true;
    default: return jinja_fail(run, HONE_ERR_INTERNAL, "a node that is no expression");
    }
}

bool jinja_evaluate(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    run->line = node->line;
    if (!jinja_work(run, 1)) return false;
    if (node->kind == JINJA_N_CONST) { /* the two that end a recursion, first: most nodes are these */
        *out = node->value;
        return true;
    }
    if (node->kind == JINJA_N_NAME) return look_up(run, scope, node, out);
    if (!jinja_enter(run)) return false;
    const bool ok = evaluate(run, scope, node, out);
    jinja_leave(run);
    return ok;
}
