/* schema_cases.c - the cases of a subschema, of its opposite, and of several together (see schema_impl.h).
 * Refuses what would need too many cases, and references that lead back to themselves without a value in between.
 * Order: cases, unions and meetings, listed values, types, combinators, a schema, its opposite, literals, goals. */
#include <string.h>

#include "base/mem.h"
#include "grammar/regular_impl.h"
#include "grammar/schema_impl.h"

struct sc_memo {
    sc_cases cases;
    uint8_t state; /* 0 unknown, 1 being found, 2 known */
};

/* ---- Cases ---- */

sc_case sc_case_any(const sc_context *c) {
    return (sc_case){.types = SC_TYPES, .string = c->all, .number = c->all};
}

void sc_cases_add(sc_context *c, sc_cases *list, const sc_case *given) {
    if (!sc_ok(c)) return;
    sc_case one = sc_case_any(c);
    one.types = given->types;
    if (one.types & SC_STRING) one.string = given->string;
    if (one.types & SC_NUMBER) {
        one.number = given->number;
        one.listed = given->listed;
        one.integer = given->integer;
    }
    if (one.types & SC_ARRAY) one.array = given->array;
    if (one.types & SC_OBJECT) one.object = given->object;
    if (one.string == HONE_RX_NONE) {
        one.string = c->all;
        one.types &= (uint8_t)~SC_STRING;
    }
    if (one.number == HONE_RX_NONE) {
        one.number = c->all;
        one.types &= (uint8_t)~SC_NUMBER;
    }
    if (one.types == 0) return;
    for (uint32_t i = 0; i < list->n; i++) {
        const sc_case *o = &list->item[i];
        if (o->types == one.types && o->string == one.string && o->number == one.number && o->array == one.array &&
            o->object == one.object && o->listed == one.listed && o->integer == one.integer)
            return;
    }
    if (list->n >= SC_CASES_MAX) {
        sc_refuse(c, HONE_ERR_UNSUPPORTED, c->at, NULL, "has more than %u combinations to tell apart", SC_CASES_MAX);
        return;
    }
    if ((list->n & (list->n - 1)) == 0) { /* 0 or a power of two: full */
        sc_case *more = sc_alloc(c, list->n ? 2u * list->n : 1u, sizeof(*more));
        if (!more) return;
        if (list->n) memcpy(more, list->item, list->n * sizeof(*more));
        list->item = more;
    }
    list->item[list->n++] = one;
}

bool sc_case_empty(sc_context *c, const sc_case *one, uint32_t depth) {
    if (one->types & SC_SCALARS) return false;
    if ((one->types & SC_ARRAY) && (!one->array || !sc_array_empty(c, one->array, depth))) return false;
    if ((one->types & SC_OBJECT) && (!one->object || !sc_object_empty(c, one->object, depth))) return false;
    return true;
}

static hone_rx both(sc_context *c, hone_rx a, hone_rx b) {
    if (a == c->all || a == b) return b;
    if (b == c->all) return a;
    const hone_rx out = hone_rx_and(c->r, a, b);
    return hone_rx_is_void(c->r, out, 3000) ? HONE_RX_NONE : out;
}

/* False: nothing is left. */
static bool meet_case(sc_context *c, const sc_case *a, const sc_case *b, sc_case *out, uint32_t depth) {
    *out = sc_case_any(c);
    if (++c->work > SC_WORK_MAX) return sc_refuse(c, HONE_ERR_LIMIT, c->at, NULL, "needs too many steps");
    out->types = a->types & b->types;
    if (out->types & SC_STRING) {
        out->string = both(c, a->string, b->string);
        if (out->string == HONE_RX_NONE) out->types &= (uint8_t)~SC_STRING;
    }
    if (out->types & SC_NUMBER) {
        out->number = both(c, a->number, b->number);
        out->listed = a->listed || b->listed;
        out->integer = a->integer || b->integer;
        if (out->number == HONE_RX_NONE) out->types &= (uint8_t)~SC_NUMBER;
    }
    if (out->types & SC_ARRAY) {
        out->array = !a->array ? b->array : !b->array ? a->array : sc_array_meet(c, a->array, b->array);
        if (out->array && sc_array_empty(c, out->array, depth)) out->types &= (uint8_t)~SC_ARRAY;
    }
    if (out->types & SC_OBJECT) {
        out->object = !a->object ? b->object : !b->object ? a->object : sc_object_meet(c, a->object, b->object);
        if (out->object && sc_object_empty(c, out->object, depth)) out->types &= (uint8_t)~SC_OBJECT;
    }
    return sc_ok(c) && out->types;
}

/* ---- Unions and meetings ---- */

static void join(sc_context *c, sc_cases *into, const sc_cases *more) {
    for (uint32_t i = 0; more && i < more->n; i++) sc_cases_add(c, into, &more->item[i]);
}

static void meet(sc_context *c, sc_cases *into, const sc_cases *with, uint32_t depth) {
    sc_cases out = {0};
    sc_case one;
    for (uint32_t i = 0; i < into->n && with; i++)
        for (uint32_t k = 0; k < with->n; k++)
            if (meet_case(c, &into->item[i], &with->item[k], &one, depth)) sc_cases_add(c, &out, &one);
    *into = out;
}

static bool apart(sc_context *c, const sc_cases *a, const sc_cases *b) {
    sc_case one;
    for (uint32_t i = 0; i < a->n; i++)
        for (uint32_t k = 0; k < b->n; k++)
            if (meet_case(c, &a->item[i], &b->item[k], &one, SC_PROBE_DEPTH)) return false;
    return true;
}

/* The cases of a subschema in place, or of its opposite. */
static const sc_cases *cases_at(sc_context *c, uint32_t node, const char *key, uint32_t index, const json_t *schema,
                                bool opposite) {
    return sc_goal_cases(c, sc_goal_schema(c, node, key, index, schema, opposite));
}

/* ---- Listed values ---- */

static bool one_value(sc_context *c, const json_t *v, sc_case *out) {
    switch (json_typeof(v)) {
    case JSON_NULL: out->types = SC_NULL; return true;
    case JSON_TRUE: out->types = SC_TRUE; return true;
    case JSON_FALSE: out->types = SC_FALSE; return true;
    case JSON_STRING:
        out->types = SC_STRING;
        out->string = hone_rx_bytes(c->r, json_string_value(v), json_string_length(v));
        return true;
    case JSON_INTEGER:
    case JSON_REAL:
        out->types = SC_NUMBER;
        out->listed = true;
        out->number = sc_number_value(c, v);
        return true;
    default: return false;
    }
}

/* const is an enum of one. */
static void listed(sc_context *c, uint32_t node, const char *key, bool opposite, sc_cases *out) {
    const json_t *v = json_object_get(c->node[node].json, key);
    const bool list = strcmp(key, "enum") == 0;
    if (list && !json_is_array(v)) {
        sc_refuse(c, HONE_ERR_FORMAT, node, key, "must be a list");
        return;
    }
    const size_t n = list ? json_array_size(v) : 1;
    uint32_t *string = sc_alloc(c, n, sizeof(*string)), *number = sc_alloc(c, n, sizeof(*number));
    if (!string || !number) return;
    size_t n_string = 0, n_number = 0;
    sc_case scalars = sc_case_any(c);
    scalars.types = 0;
    scalars.listed = true;
    const uint32_t parent = list ? sc_node_of(c, v, node, key, 0) : node;
    for (size_t i = 0; i < n; i++) {
        const json_t *x = list ? json_array_get(v, i) : v;
        sc_case one = sc_case_any(c);
        if (!one_value(c, x, &one)) continue;
        scalars.types |= one.types;
        if (one.types == SC_STRING) string[n_string++] = one.string;
        if (one.types == SC_NUMBER) number[n_number++] = one.number;
    }
    scalars.string = rx_alt(c->r, string, n_string);
    scalars.number = rx_alt(c->r, number, n_number);
    if (opposite) {
        sc_case rest = sc_case_any(c);
        rest.types = (uint8_t)(SC_TYPES & ~(scalars.types & (SC_NULL | SC_TRUE | SC_FALSE)));
        if (n_string) rest.string = hone_rx_not(c->r, scalars.string);
        if (n_number) rest.number = sc_number_except(c, scalars.number);
        sc_cases_add(c, out, &rest);
    } else
        sc_cases_add(c, out, &scalars);
    for (size_t i = 0; i < n && sc_ok(c); i++) {
        const json_t *x = list ? json_array_get(v, i) : v;
        if (!json_is_array(x) && !json_is_object(x)) continue;
        const sc_goal g = sc_goal_value(c, parent, list ? NULL : key, (uint32_t)i, x, opposite);
        if (opposite)
            meet(c, out, sc_goal_cases(c, g), 1);
        else
            join(c, out, sc_goal_cases(c, g));
    }
}

/* ---- Types ---- */

static bool add_type(sc_context *c, uint32_t node, const json_t *v, uint8_t *types, bool *integer, bool *number) {
    static const struct {
        const char *name;
        uint8_t types;
    } names[] = {{"string", SC_STRING},  {"object", SC_OBJECT},           {"array", SC_ARRAY}, {"number", SC_NUMBER},
                 {"integer", SC_NUMBER}, {"boolean", SC_TRUE | SC_FALSE}, {"null", SC_NULL}};
    const char *name = json_string_value(v);
    for (size_t i = 0; name && i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(name, names[i].name) != 0) continue;
        *types |= names[i].types;
        if (names[i].types == SC_NUMBER) *(name[0] == 'i' ? integer : number) = true;
        return true;
    }
    return sc_refuse(c, HONE_ERR_FORMAT, node, "type", "no such type: %.60s", name ? name : "(no string)");
}

static bool types_of(sc_context *c, uint32_t node, uint8_t *types, bool *integer) {
    const json_t *v = json_object_get(c->node[node].json, "type");
    bool number = false;
    *integer = false;
    *types = v ? 0 : SC_TYPES;
    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++)
            if (!add_type(c, node, json_array_get(v, i), types, integer, &number)) return false;
    } else if (v && !add_type(c, node, v, types, integer, &number))
        return false;
    if (number) *integer = false;
    return true;
}

/* ---- Combinators ---- */

/* A subschema's list; n 0 where the keyword is absent. */
static const json_t *list_of(sc_context *c, uint32_t node, const char *key, uint32_t *where, size_t *n) {
    const json_t *v = json_object_get(c->node[node].json, key);
    *n = 0;
    if (!v) return NULL;
    if (!json_is_array(v) || json_array_size(v) == 0) {
        sc_refuse(c, HONE_ERR_FORMAT, node, key, "must be a list of schemas");
        return NULL;
    }
    *where = sc_node_of(c, v, node, key, 0);
    *n = json_array_size(v);
    return v;
}

static void any_of(sc_context *c, uint32_t node, const char *key, bool opposite, sc_cases *out) {
    uint32_t where = node;
    size_t n;
    const json_t *v = list_of(c, node, key, &where, &n);
    for (size_t i = 0; i < n && sc_ok(c); i++)
        join(c, out, cases_at(c, where, NULL, (uint32_t)i, json_array_get(v, i), opposite));
}

static void all_of(sc_context *c, uint32_t node, const char *key, bool opposite, sc_cases *into) {
    uint32_t where = node;
    size_t n;
    const json_t *v = list_of(c, node, key, &where, &n);
    for (size_t i = 0; i < n && sc_ok(c); i++)
        meet(c, into, cases_at(c, where, NULL, (uint32_t)i, json_array_get(v, i), opposite), 1);
}

/* Exactly one of them: each with the opposite of those that it may overlap with. */
static void one_of(sc_context *c, uint32_t node, sc_cases *out) {
    uint32_t where = node;
    size_t n;
    const json_t *v = list_of(c, node, "oneOf", &where, &n);
    if (n == 0 || !sc_ok(c)) return;
    const sc_cases **branch = sc_alloc(c, n, sizeof(*branch));
    uint8_t *overlap = sc_alloc(c, n * n, 1);
    if (!branch || !overlap) return;
    for (size_t i = 0; i < n; i++) branch[i] = cases_at(c, where, NULL, (uint32_t)i, json_array_get(v, i), false);
    for (size_t i = 0; i < n && sc_ok(c); i++)
        for (size_t k = i + 1; k < n && sc_ok(c); k++)
            overlap[i * n + k] = overlap[k * n + i] = !apart(c, branch[i], branch[k]);
    for (size_t i = 0; i < n && sc_ok(c); i++) {
        sc_cases one = {0};
        join(c, &one, branch[i]);
        for (size_t k = 0; k < n && sc_ok(c); k++)
            if (overlap[i * n + k])
                meet(c, &one, cases_at(c, where, NULL, (uint32_t)k, json_array_get(v, k), true), SC_PROBE_DEPTH);
        join(c, out, &one);
    }
}

/* None of them, or two. */
static void one_of_not(sc_context *c, uint32_t node, sc_cases *out) {
    uint32_t where = node;
    size_t n;
    const json_t *v = list_of(c, node, "oneOf", &where, &n);
    if (n == 0 || !sc_ok(c)) return;
    sc_cases none = {0};
    const sc_case any = sc_case_any(c);
    sc_cases_add(c, &none, &any);
    all_of(c, node, "oneOf", true, &none);
    join(c, out, &none);
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n && sc_ok(c); k++) {
            sc_cases two = {0};
            join(c, &two, cases_at(c, where, NULL, (uint32_t)i, json_array_get(v, i), false));
            meet(c, &two, cases_at(c, where, NULL, (uint32_t)k, json_array_get(v, k), false), SC_PROBE_DEPTH);
            join(c, out, &two);
        }
}

static void conditional(sc_context *c, uint32_t node, bool opposite, sc_cases *out) {
    const json_t *json = c->node[node].json, *test = json_object_get(json, "if");
    static const char *const branch[2] = {"then", "else"};
    for (int i = 0; i < 2 && sc_ok(c); i++) {
        const json_t *then = json_object_get(json, branch[i]);
        if (!then && opposite) continue;
        sc_cases one = {0};
        join(c, &one, cases_at(c, node, "if", 0, test, i == 1));
        if (then) meet(c, &one, cases_at(c, node, branch[i], 0, then, opposite), 1);
        join(c, out, &one);
    }
}

/* Properties that ask for others, or for a schema, where they are present. */
static void dependencies(sc_context *c, uint32_t node, const char *key, bool opposite, sc_cases *list) {
    const json_t *v = json_object_get(c->node[node].json, key);
    if (!v) return;
    if (!json_is_object(v)) {
        sc_refuse(c, HONE_ERR_FORMAT, node, key, "must be an object");
        return;
    }
    const uint32_t where = sc_node_of(c, v, node, key, 0);
    const char *name;
    json_t *ask;
    json_object_foreach((json_t *)(uintptr_t)v, name, ask) {
        const size_t n = strlen(name);
        sc_cases either = {0}, there = {0};
        sc_case one = sc_case_any(c);
        if (!opposite) {
            one.object = sc_object_with(c, where, name, n, SC_NOTHING, false);
            sc_cases_add(c, &either, &one);
        }
        one.types = SC_OBJECT;
        one.object = sc_object_with(c, where, name, n, SC_ANYTHING, true);
        sc_cases_add(c, &there, &one);
        if (json_is_array(ask)) {
            for (size_t i = 0; i < json_array_size(ask) && sc_ok(c); i++) {
                const json_t *other = json_array_get(ask, i);
                if (!json_is_string(other)) {
                    sc_refuse(c, HONE_ERR_FORMAT, where, name, "must list names");
                    return;
                }
                one.object = sc_object_with(c, where, json_string_value(other), json_string_length(other),
                                            opposite ? SC_NOTHING : SC_ANYTHING, !opposite);
                sc_cases need = {0}, lacks = {0};
                sc_cases_add(c, &need, &one);
                if (!opposite) {
                    meet(c, &there, &need, 1);
                    continue;
                }
                join(c, &lacks, &there);
                meet(c, &lacks, &need, 1);
                join(c, list, &lacks);
            }
            if (opposite) continue;
        } else
            meet(c, &there, cases_at(c, where, name, 0, ask, opposite), 1);
        if (opposite) {
            join(c, list, &there);
            continue;
        }
        join(c, &either, &there);
        meet(c, list, &either, 1);
    }
}

/* ---- A schema ---- */

static bool check_keywords(sc_context *c, uint32_t node) {
    static const char *const unsupported[] = {"$dynamicRef", "$recursiveRef", "extends", "disallow", "divisibleBy"};
    const json_t *json = c->node[node].json;
    if (!json_is_object(json)) return sc_refuse(c, HONE_ERR_FORMAT, node, NULL, "a schema is an object, true or false");
    for (size_t i = 0; i < sizeof(unsupported) / sizeof(*unsupported); i++)
        if (json_object_get(json, unsupported[i]))
            return sc_refuse(c, HONE_ERR_UNSUPPORTED, node, unsupported[i], "the keyword is not supported");
    return true;
}

static const sc_cases *reference(sc_context *c, uint32_t node, bool opposite) {
    const json_t *v = json_object_get(c->node[node].json, "$ref");
    uint32_t to;
    if (!json_is_string(v)) {
        sc_refuse(c, HONE_ERR_FORMAT, node, "$ref", "must be a string");
        return NULL;
    }
    if (!sc_resolve(c, node, json_string_value(v), &to)) return NULL;
    const json_t *target = c->node[to].json;
    if (json_is_boolean(target)) return sc_goal_cases(c, json_is_true(target) != opposite ? SC_ANYTHING : SC_NOTHING);
    return sc_literal_cases(c, to << 2 | opposite);
}

static void schema_cases(sc_context *c, uint32_t node, sc_cases *out) {
    if (!check_keywords(c, node)) return;
    const json_t *json = c->node[node].json;
    const bool refers = json_object_get(json, "$ref");
    if (refers && c->old_ref) {
        join(c, out, reference(c, node, false));
        return;
    }
    sc_case own = sc_case_any(c);
    bool integer;
    if (!types_of(c, node, &own.types, &integer)) return;
    if (integer) {
        own.number = sc_number_integers(c);
        own.integer = true;
    }
    if (own.types & SC_STRING) own.string = both(c, sc_string(c, node), c->all);
    if ((own.types & SC_NUMBER) && !sc_number(c, node, &own)) return;
    if (own.types & SC_OBJECT) own.object = sc_object_read(c, node);
    if (own.types & SC_ARRAY) own.array = sc_array_read(c, node);
    sc_cases_add(c, out, &own);
    sc_cases more = {0};
    if (json_object_get(json, "enum")) {
        listed(c, node, "enum", false, &more);
        meet(c, out, &more, 1);
    }
    if (json_object_get(json, "const")) {
        more = (sc_cases){0};
        listed(c, node, "const", false, &more);
        meet(c, out, &more, 1);
    }
    if (refers) meet(c, out, reference(c, node, false), 1);
    all_of(c, node, "allOf", false, out);
    if (json_object_get(json, "anyOf")) {
        more = (sc_cases){0};
        any_of(c, node, "anyOf", false, &more);
        meet(c, out, &more, 1);
    }
    if (json_object_get(json, "oneOf")) {
        more = (sc_cases){0};
        one_of(c, node, &more);
        meet(c, out, &more, 1);
    }
    const json_t *no = json_object_get(json, "not");
    if (no) meet(c, out, cases_at(c, node, "not", 0, no, true), 1);
    if (json_object_get(json, "if")) {
        more = (sc_cases){0};
        conditional(c, node, false, &more);
        meet(c, out, &more, 1);
    }
    dependencies(c, node, "dependencies", false, out);
    dependencies(c, node, "dependentRequired", false, out);
    dependencies(c, node, "dependentSchemas", false, out);
}

/* ---- Its opposite: one keyword fails ---- */

static void schema_not_cases(sc_context *c, uint32_t node, sc_cases *out) {
    if (!check_keywords(c, node)) return;
    const json_t *json = c->node[node].json;
    const bool refers = json_object_get(json, "$ref");
    if (refers) join(c, out, reference(c, node, true));
    if (refers && c->old_ref) return;
    sc_case own = sc_case_any(c);
    bool integer;
    if (!types_of(c, node, &own.types, &integer)) return;
    own.types = (uint8_t)(SC_TYPES & ~own.types);
    sc_cases_add(c, out, &own);
    if (integer) {
        own.types = SC_NUMBER;
        own.number = sc_number_except(c, sc_number_integers(c));
        sc_cases_add(c, out, &own);
    }
    sc_string_not(c, node, out);
    sc_number_not(c, node, out);
    sc_object_not(c, node, out);
    sc_array_not(c, node, out);
    sc_cases more = {0};
    if (json_object_get(json, "enum")) {
        listed(c, node, "enum", true, &more);
        join(c, out, &more);
    }
    if (json_object_get(json, "const")) {
        more = (sc_cases){0};
        listed(c, node, "const", true, &more);
        join(c, out, &more);
    }
    any_of(c, node, "allOf", true, out);
    const sc_case any = sc_case_any(c);
    if (json_object_get(json, "anyOf")) {
        more = (sc_cases){0};
        sc_cases_add(c, &more, &any);
        all_of(c, node, "anyOf", true, &more);
        join(c, out, &more);
    }
    one_of_not(c, node, out);
    const json_t *no = json_object_get(json, "not");
    if (no) join(c, out, cases_at(c, node, "not", 0, no, false));
    if (json_object_get(json, "if")) conditional(c, node, true, out);
    dependencies(c, node, "dependencies", true, out);
    dependencies(c, node, "dependentRequired", true, out);
    dependencies(c, node, "dependentSchemas", true, out);
}

/* ---- Literals ---- */

static void value_cases(sc_context *c, uint32_t node, bool opposite, sc_cases *out) {
    const json_t *v = c->node[node].json;
    sc_case one = sc_case_any(c);
    if (one_value(c, v, &one)) {
        if (opposite) {
            sc_case rest = sc_case_any(c);
            if (one.types == SC_STRING)
                rest.string = hone_rx_not(c->r, one.string);
            else if (one.types == SC_NUMBER)
                rest.number = sc_number_except(c, one.number);
            else
                rest.types = (uint8_t)(SC_TYPES & ~one.types);
            one = rest;
        }
        sc_cases_add(c, out, &one);
        return;
    }
    const bool array = json_is_array(v);
    one.types = array ? SC_ARRAY : SC_OBJECT;
    if (opposite) {
        one.types = (uint8_t)(SC_TYPES & ~one.types);
        sc_cases_add(c, out, &one);
        if (array)
            sc_array_value_not(c, node, out);
        else
            sc_object_value_not(c, node, out);
        return;
    }
    if (array)
        one.array = sc_array_value(c, node);
    else
        one.object = sc_object_value(c, node);
    sc_cases_add(c, out, &one);
}

const sc_cases *sc_literal_cases(sc_context *c, sc_literal l) {
    if (l >= c->memo_cap) {
        size_t cap = c->memo_cap ? c->memo_cap * 2 : 512;
        while (cap <= l) cap *= 2;
        struct sc_memo *memo = hone_realloc(c->memo, cap, sizeof(*memo));
        if (!memo) {
            sc_refuse(c, HONE_ERR_NOMEM, 0, NULL, "no memory");
            return NULL;
        }
        memset(memo + c->memo_cap, 0, (cap - c->memo_cap) * sizeof(*memo));
        c->memo = memo;
        c->memo_cap = cap;
    }
    const uint32_t node = l >> 2, before = c->at;
    if (c->memo[l].state != 2) {
        if (c->memo[l].state == 1 || c->depth > SC_DEPTH_MAX) {
            sc_refuse(c, HONE_ERR_UNSUPPORTED, node, NULL, "leads back to itself, or combines too deeply");
            return NULL;
        }
        c->memo[l].state = 1;
        c->depth++;
        c->at = node;
        sc_cases out = {0};
        if (l & 2)
            value_cases(c, node, l & 1, &out);
        else if (l & 1)
            schema_not_cases(c, node, &out);
        else
            schema_cases(c, node, &out);
        c->at = before;
        c->depth--;
        c->memo[l].cases = out;
        c->memo[l].state = sc_ok(c) ? 2 : 0;
    }
    /* The memo moves as it grows; what is handed out must not. */
    sc_cases *copy = sc_alloc(c, 1, sizeof(*copy));
    if (copy) *copy = c->memo[l].cases;
    return sc_ok(c) ? copy : NULL;
}

/* ---- Goals ---- */

const sc_cases *sc_goal_cases(sc_context *c, sc_goal g) {
    if (!sc_ok(c)) return NULL;
    sc_cases out = {0};
    if (!c->goal[g].expanded) {
        const sc_literal *literal = c->goal[g].literal;
        const uint32_t n = c->goal[g].n;
        if (g == SC_ANYTHING) {
            const sc_case any = sc_case_any(c);
            sc_cases_add(c, &out, &any);
        } else if (g != SC_NOTHING) {
            const sc_cases *first = sc_literal_cases(c, literal[0]);
            if (!first) return NULL;
            out = *first;
            for (uint32_t i = 1; i < n && sc_ok(c); i++) meet(c, &out, sc_literal_cases(c, literal[i]), 1);
        }
        if (!sc_ok(c)) return NULL;
        c->goal[g].cases = out;
        c->goal[g].expanded = true;
    }
    sc_cases *copy = sc_alloc(c, 1, sizeof(*copy));
    if (copy) *copy = c->goal[g].cases;
    return copy;
}
