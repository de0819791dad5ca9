/* exec.c - statements, and hone_template_render() around it all.
 * Order: capturing, assignments, loops, other blocks, the switch, the rendering. */
#include <string.h>

#include "base/mem.h"
#include "model/template/ast.h"

/* ---- Capturing ---- */

bool jinja_capture(jinja_run *run, jinja_scope *scope, const jinja_nodes *body, jinja_value *out) {
    jinja_text text = {0};
    jinja_text *outer = run->out;
    run->out = &text;
    const jinja_flow flow = jinja_execute(run, scope, body);
    run->out = outer;
    return flow != JINJA_FAILED && jinja_string_done(run, &text, out);
}

/* In a scope of its own. */
static bool capture_inside(jinja_run *run, jinja_scope *scope, const jinja_nodes *body, jinja_value *out) {
    jinja_scope *inner = jinja_scope_new(run, scope);
    return inner && jinja_capture(run, inner, body, out);
}

/* ---- Assignments ---- */

static bool find_namespace(jinja_run *run, jinja_scope *scope, const jinja_node *target, jinja_value *out) {
    const jinja_node name = {.kind = JINJA_N_NAME, .line = target->line, .name = target->name};
    if (!jinja_evaluate(run, scope, &name, out)) return false;
    return out->type == JINJA_NAMESPACE || jinja_type_error(run, "cannot assign attribute on non-namespace object");
}

/* Before the value is computed, as Jinja does. */
static bool check_namespaces(jinja_run *run, jinja_scope *scope, const jinja_node *target) {
    jinja_value v;
    if (target->kind == JINJA_N_NS_TARGET) return find_namespace(run, scope, target, &v);
    for (uint32_t i = 0; target->kind == JINJA_N_TUPLE && i < target->items.n; i++)
        if (!check_namespaces(run, scope, target->items.at[i]))
            return false; /* bounded as the parser's recursion was */
    return true;
}

static bool assign(jinja_run *run, jinja_scope *scope, const jinja_node *target, jinja_value value) {
    run->line = target->line;
    if (target->kind == JINJA_N_NAME) return jinja_scope_set(run, scope, target->name, value);
    if (target->kind == JINJA_N_NS_TARGET) {
        jinja_value ns;
        const jinja_string *name = target->text;
        if (name->n && name->at[0] == '_')
            return jinja_fail(run, HONE_ERR_ARG, "a namespace takes no attributes that begin with an underscore");
        return find_namespace(run, scope, target, &ns) &&
               jinja_dict_set(run, ns.as.dict, (jinja_value){.type = JINJA_STRING, .as.string = name}, value);
    }
    jinja_list items;
    if (!jinja_is_iterable(value))
        return jinja_type_error(run, "cannot unpack non-iterable %s object", jinja_type_name(value));
    if (!jinja_iterate(run, value, &items)) return false;
    if (items.n < target->items.n)
        return jinja_fail(run, HONE_ERR_ARG, "not enough values to unpack (expected %u, got %zu)", target->items.n,
                          items.n);
    if (items.n > target->items.n)
        return jinja_fail(run, HONE_ERR_ARG, "too many values to unpack (expected %u)", target->items.n);
    for (uint32_t i = 0; i < target->items.n; i++)
        if (!assign(run, scope, target->items.at[i], items.at[i])) return false;
    return true;
}

static bool set_block(jinja_run *run, jinja_scope *scope, const jinja_node *node) {
    jinja_value value;
    if (!check_namespaces(run, scope, node->target) || !capture_inside(run, scope, &node->body, &run->captured) ||
        !jinja_evaluate(run, scope, node->a, &value))
        return false;
    return assign(run, scope, node->target, value);
}

/* ---- Loops ---- */

/* Elements that pass `for ... if`. */
static bool filter_items(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_list *items) {
    jinja_items kept = {0};
    jinja_scope *inner = jinja_scope_new(run, scope);
    if (!inner) return false;
    for (size_t i = 0; i < items->n; i++) {
        jinja_value passes;
        if (!assign(run, inner, node->target, items->at[i]) || !jinja_evaluate(run, inner, node->b, &passes))
            return false;
        if (jinja_truth(passes) && !jinja_items_add(run, &kept, items->at[i])) return false;
    }
    *items = (jinja_list){kept.at, kept.n};
    return true;
}

static jinja_flow run_loop(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value over,
                           size_t depth0) {
    jinja_list items;
    jinja_scope *inner = NULL;
    jinja_loop *loop = jinja_get(run, 1, sizeof(*loop));
    if (!loop || !jinja_iterate(run, over, &items)) return JINJA_FAILED;
    if (node->b && !filter_items(run, scope, node, &items)) return JINJA_FAILED;
    *loop = (jinja_loop){.node = node->flag ? node : NULL, .scope = scope, .items = items, .depth0 = depth0};
    const jinja_value loop_value = {.type = JINJA_LOOP, .as.loop = loop};
    for (size_t i = 0; i < items.n; i++) {
        if (!inner || inner->captured) {
            if (!(inner = jinja_scope_new(run, scope))) return JINJA_FAILED;
        }
        inner->n = 0;
        loop->index0 = i;
        if (!jinja_work(run, 1) || !jinja_scope_set(run, inner, JINJA_NAME_LOOP, loop_value) ||
            !assign(run, inner, node->target, items.at[i]))
            return JINJA_FAILED;
        const jinja_flow flow = jinja_execute(run, inner, &node->body);
        if (flow == JINJA_FAILED) return flow;
        if (flow == JINJA_BREAK) {
            if (over.type == JINJA_ITERATOR && !node->b) over.as.iterator->next -= items.n - i - 1; /* not read */
            break;
        }
    }
    if (items.n || !node->other.n) return JINJA_NEXT;
    if (!(inner = jinja_scope_new(run, scope))) return JINJA_FAILED;
    return jinja_execute(run, inner, &node->other);
}

bool jinja_call_loop(jinja_run *run, const jinja_loop *loop, jinja_value items, jinja_value *out) {
    if (!loop->node) return jinja_type_error(run, "the loop must have the 'recursive' marker to be called recursively");
    jinja_text text = {0};
    jinja_text *outer = run->out;
    if (!jinja_enter(run)) return false;
    run->out = &text;
    const jinja_flow flow = run_loop(run, loop->scope, loop->node, items, loop->depth0 + 1);
    run->out = outer;
    jinja_leave(run);
    return flow != JINJA_FAILED && jinja_string_done(run, &text, out);
}

/* ---- Other blocks ---- */

static bool output(jinja_run *run, jinja_scope *scope, const jinja_node *node) {
    for (uint32_t i = 0; i < node->items.n; i++) {
        jinja_value v;
        if (!jinja_evaluate(run, scope, node->items.at[i], &v)) return false;
        run->line = node->items.at[i]->line;
        if (!jinja_str(run, v, run->out)) return false;
    }
    return true;
}

static bool make_macro(jinja_run *run, jinja_scope *scope, const jinja_node *node, jinja_value *out) {
    jinja_macro *macro = jinja_get(run, 1, sizeof(*macro));
    if (!macro) return false;
    *macro = (jinja_macro){node, scope};
    *out = (jinja_value){.type = JINJA_MACRO, .as.macro = macro};
    for (jinja_scope *s = scope; s && !s->captured; s = s->parent) s->captured = true;
    return true;
}

static bool call_block(jinja_run *run, jinja_scope *scope, const jinja_node *node) {
    jinja_value caller, v;
    if (!make_macro(run, scope, node->b, &caller) || !jinja_evaluate_call(run, scope, node->a, caller, &v))
        return false;
    return jinja_str(run, v, run->out);
}

static bool filter_block(jinja_run *run, jinja_scope *scope, const jinja_node *node) {
    jinja_value v;
    return capture_inside(run, scope, &node->body, &run->captured) && jinja_evaluate(run, scope, node->a, &v) &&
           jinja_str(run, v, run->out);
}

/* The values are computed outside of the new scope. */
static jinja_flow with_block(jinja_run *run, jinja_scope *scope, const jinja_node *node) {
    jinja_scope *inner = jinja_scope_new(run, scope);
    if (!inner) return JINJA_FAILED;
    for (uint32_t i = 0; i < node->items.n; i++) {
        jinja_value v;
        if (!jinja_evaluate(run, scope, node->more.at[i], &v) || !assign(run, inner, node->items.at[i], v))
            return JINJA_FAILED;
    }
    return jinja_execute(run, inner, &node->body);
}

static jinja_flow scope_block(jinja_run *run, jinja_scope *scope, const jinja_node *node) {
    jinja_scope *inner = jinja_scope_new(run, scope);
    return inner ? jinja_execute(run, inner, &node->body) : JINJA_FAILED;
}

/* Spans are offsets in the rendering, so a block that something captures has none. */
static jinja_flow generation(jinja_run *run, jinja_scope *scope, const jinja_node *node) {
    const size_t begin = run->root.n;
    const bool counts = run->spans && run->out == &run->root;
    const jinja_flow flow = scope_block(run, scope, node);
    if (flow == JINJA_FAILED || !counts) return flow;
    hone_template_spans *s = run->spans;
    if (!hone_grow(&s->span, &s->cap, s->n, sizeof(*s->span))) {
        jinja_fail(run, HONE_ERR_NOMEM, "out of memory");
        return JINJA_FAILED;
    }
    s->span[s->n++] = (hone_template_span){begin, run->root.n};
    return flow;
}

/* ---- The switch ---- */

static jinja_flow done(bool ok) {
    return ok ? JINJA_NEXT : JINJA_FAILED;
}

static jinja_flow if_block(jinja_run *run, jinja_scope *scope, const jinja_node *node) {
    for (;;) {
        jinja_value condition;
        if (!jinja_evaluate(run, scope, node->a, &condition)) return JINJA_FAILED;
        if (jinja_truth(condition)) return jinja_execute(run, scope, &node->body);
        if (node->other.n != 1 || node->other.at[0]->kind != JINJA_N_IF) return jinja_execute(run, scope, &node->other);
        node = node->other.at[0]; /* elif: a loop, so that long chains need no depth */
    }
}

static jinja_flow statement(jinja_run *run, jinja_scope *scope, const jinja_node *node) {
    jinja_value v;
    switch ((jinja_node_kind)node->kind) {
    case JINJA_N_OUTPUT: return done(output(run, scope, node));
    case JINJA_N_IF: return if_block(run, scope, node);
    case JINJA_N_FOR: return jinja_evaluate(run, scope, node->a, &v) ? run_loop(run, scope, node, v, 0) : JINJA_FAILED;
    case JINJA_N_SET:
        return done(check_namespaces(run, scope, node->target) && jinja_evaluate(run, scope, node->a, &v) &&
                    assign(run, scope, node->target, v));
    case JINJA_N_SET_BLOCK: return done(set_block(run, scope, node));
    case JINJA_N_MACRO: return done(make_macro(run, scope, node, &v) && jinja_scope_set(run, scope, node->name, v));
    case JINJA_N_CALL_BLOCK: return done(call_block(run, scope, node));
    case JINJA_N_FILTER: return done(filter_block(run, scope, node));
    case JINJA_N_WITH: return with_block(run, scope, node);
    case JINJA_N_SCOPE: return scope_block(run, scope, node);
    case JINJA_N_GENERATION: return generation(run, scope, node);
    case JINJA_N_BREAK: return JINJA_BREAK;
    case JINJA_N_CONTINUE: return JINJA_CONTINUE;
    default: return done(jinja_fail(run, HONE_ERR_INTERNAL, "a node that is no statement"));
    }
}

jinja_flow jinja_execute(jinja_run *run, jinja_scope *scope, const jinja_nodes *body) {
    if (!jinja_enter(run)) return JINJA_FAILED;
    for (uint32_t i = 0; i < body->n; i++) {
        run->line = body->at[i]->line;
        if (!jinja_work(run, 1)) return JINJA_FAILED;
        const jinja_flow flow = statement(run, scope, body->at[i]);
        if (flow == JINJA_NEXT) continue;
        jinja_leave(run);
        return flow;
    }
    jinja_leave(run);
    return JINJA_NEXT;
}

/* ---- The rendering ---- */

hone_template_limits hone_template_limits_default(void) {
    return (hone_template_limits){.max_steps = 10000000,
                                  .max_depth = 800,
                                  .max_memory_bytes = (size_t)256 << 20,
                                  .max_output_bytes = (size_t)64 << 20};
}

void hone_template_spans_free(hone_template_spans *spans) {
    hone_free(spans->span);
    *spans = (hone_template_spans){0};
}

/* The outermost scope: every variable that the template mentions. */
static jinja_scope *import_variables(jinja_run *run, const json_t *vars) {
    const hone_template *t = run->template;
    jinja_scope *scope = jinja_scope_new(run, NULL);
    jinja_value *direct = jinja_get(run, t->n_names, sizeof(*direct));
    if (!scope || !direct) return NULL;
    for (uint32_t i = 0; i < t->n_names; i++) {
        const json_t *given = vars ? json_object_getn(vars, t->name[i].text->at, t->name[i].text->n) : NULL;
        direct[i] = jinja_missing();
        if (given && !jinja_from_json(run, given, &direct[i])) return NULL;
    }
    scope->direct = direct;
    return scope;
}

static bool add_spans(jinja_run *run, hone_template_spans *out, const hone_template_spans *found) {
    for (size_t i = 0; i < found->n; i++) {
        if (!hone_grow(&out->span, &out->cap, out->n + i, sizeof(*out->span)))
            return jinja_fail(run, HONE_ERR_NOMEM, "out of memory");
        out->span[out->n + i] = found->span[i];
    }
    out->n += found->n;
    return true;
}

hone_status hone_template_render(const hone_template *t, const json_t *vars, const hone_template_limits *limits,
                                 hone_buf *out, hone_template_spans *spans, hone_error *err) {
    hone_error local;
    hone_template_spans found = {0};
    jinja_run run = {.template = t, .line = 1, .err = err ? err : &local};
    run.limits = limits ? *limits : hone_template_limits_default();
    if (vars && !json_is_object(vars))
        return hone_fail(err, HONE_ERR_ARG, "the variables of a template must be an object");
    run.steps = run.limits.max_steps;
    run.arena.limit = run.limits.max_memory_bytes < SIZE_MAX / 4 ? run.limits.max_memory_bytes : SIZE_MAX / 4;
    run.out = &run.root;
    run.spans = spans ? &found : NULL;
    run.err->code = HONE_ERR_INTERNAL;
    jinja_scope *scope = import_variables(&run, vars);
    bool ok = scope && jinja_execute(&run, scope, &t->body->body) != JINJA_FAILED;
    if (ok && !hone_buf_reserve(out, run.root.n))
        ok = jinja_fail(&run, HONE_ERR_NOMEM, "out of memory for the rendering");
    if (ok && spans) ok = add_spans(&run, spans, &found);
    if (ok) hone_buf_add(out, run.root.data, run.root.n);
    hone_template_spans_free(&found);
    jinja_arena_free(&run.arena);
    return ok ? HONE_OK : run.err->code;
}
