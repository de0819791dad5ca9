/* schema_array.c - what is demanded of an array, and the texts that meet it.
 * Refuses uniqueItems where more than one item may stand, and contains beside what it cannot be combined with.
 * Order: records, keywords, the opposite, values, meetings, emptiness, texts. */
#include <string.h>

#include "grammar/schema_impl.h"

#define PLACES_MAX 24u /* of the item that contains asks for, one after the other */

/* ---- Records ---- */

static sc_array *any_array(sc_context *c, uint32_t node) {
    sc_array *a = sc_alloc(c, 1, sizeof(*a));
    if (!a) return NULL;
    a->max = SC_UNBOUNDED;
    a->node = node;
    return a;
}

static sc_goal item_at(const sc_array *a, uint32_t i) {
    return i < a->n_prefix ? a->prefix[i] : a->rest;
}

/* ---- Keywords ---- */

typedef struct {
    const json_t *prefix; /* a list of schemas, NULL where absent */
    const char *prefix_key;
    const json_t *rest;
    const char *rest_key;
} layout;

/* Until 2019-09 items could be a list, and additionalItems what follows it. */
static bool read_layout(sc_context *c, uint32_t node, layout *out) {
    const json_t *json = c->node[node].json, *items = json_object_get(json, "items");
    *out = (layout){.prefix = json_object_get(json, "prefixItems"),
                    .prefix_key = "prefixItems",
                    .rest = items,
                    .rest_key = "items"};
    if (json_is_array(items)) {
        if (out->prefix) return sc_refuse(c, HONE_ERR_FORMAT, node, "items", "a list beside prefixItems");
        out->prefix = items;
        out->prefix_key = "items";
        out->rest = json_object_get(json, out->rest_key = "additionalItems");
    }
    if (out->prefix && !json_is_array(out->prefix))
        return sc_refuse(c, HONE_ERR_FORMAT, node, out->prefix_key, "must be a list of schemas");
    const json_t *last = json_object_get(json, "unevaluatedItems");
    if (last && !json_is_true(last) && !out->rest) {
        static const char *const keys[] = {"$ref", "allOf", "anyOf",    "oneOf",
                                           "not",  "if",    "contains", "dependentSchemas"};
        for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
            if (json_object_get(json, keys[i]))
                return sc_refuse(c, HONE_ERR_UNSUPPORTED, node, "unevaluatedItems",
                                 "is supported beside plain items only");
        out->rest = last;
        out->rest_key = "unevaluatedItems";
    }
    return true;
}

/* False: contains demands nothing, or something was refused. */
static bool read_contains(sc_context *c, uint32_t node, bool *none, sc_goal *some) {
    const json_t *json = c->node[node].json, *v = json_object_get(json, "contains");
    *none = false;
    if (!v) return false;
    uint32_t min, max;
    if (!sc_count(c, node, "minContains", 1, &min) || !sc_count(c, node, "maxContains", SC_UNBOUNDED, &max))
        return false;
    if (min > 1) return sc_refuse(c, HONE_ERR_UNSUPPORTED, node, "minContains", "more than 1 is not supported");
    if (max == 0) {
        *none = true;
        if (min == 1)
            *some = SC_NOTHING;
        else
            *some = sc_goal_schema(c, node, "contains", 0, v, true);
        return true;
    }
    if (max != SC_UNBOUNDED)
        return sc_refuse(c, HONE_ERR_UNSUPPORTED, node, "maxContains", "the keyword is not supported");
    if (min == 0) return false;
    *some = sc_goal_schema(c, node, "contains", 0, v, false);
    return true;
}

const sc_array *sc_array_read(sc_context *c, uint32_t node) {
    static const char *const keys[] = {"items",    "prefixItems", "minItems",        "maxItems",
                                       "contains", "uniqueItems", "unevaluatedItems"};
    const json_t *json = c->node[node].json;
    bool some = false;
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys) && !some; i++) some = json_object_get(json, keys[i]);
    layout where;
    if (!some || !read_layout(c, node, &where)) return NULL;
    sc_array *a = any_array(c, node);
    if (!a || !sc_count(c, node, "minItems", 0, &a->min) || !sc_count(c, node, "maxItems", SC_UNBOUNDED, &a->max))
        return NULL;
    if (where.prefix) {
        const uint32_t n = (uint32_t)json_array_size(where.prefix),
                       list = sc_node_of(c, where.prefix, node, where.prefix_key, 0);
        if (!(a->prefix = sc_alloc(c, n, sizeof(*a->prefix)))) return NULL;
        for (uint32_t i = 0; i < n; i++)
            a->prefix[i] = sc_goal_schema(c, list, NULL, i, json_array_get(where.prefix, i), false);
        a->n_prefix = n;
    }
    if (where.rest) a->rest = sc_goal_schema(c, node, where.rest_key, 0, where.rest, false);
    bool none;
    sc_goal goal;
    if (read_contains(c, node, &none, &goal)) {
        if (none) { /* no item meets it */
            for (uint32_t i = 0; i < a->n_prefix; i++) a->prefix[i] = sc_goal_and(c, a->prefix[i], goal);
            a->rest = sc_goal_and(c, a->rest, goal);
        } else {
            a->contains = true;
            a->some_value = goal;
        }
    }
    a->unique = json_is_true(json_object_get(json, "uniqueItems"));
    return sc_ok(c) ? a : NULL;
}

/* ---- The opposite ---- */

static void add(sc_context *c, sc_cases *out, const sc_array *a) {
    if (!a) return;
    sc_case one = sc_case_any(c);
    one.types = SC_ARRAY;
    one.array = a;
    sc_cases_add(c, out, &one);
}

/* Item i is there and is that. */
static sc_array *item_is(sc_context *c, uint32_t node, uint32_t i, sc_goal value) {
    sc_array *a = any_array(c, node);
    if (!a || !(a->prefix = sc_alloc(c, i + 1u, sizeof(*a->prefix)))) return NULL;
    a->prefix[i] = value;
    a->n_prefix = a->min = i + 1;
    return a;
}

void sc_array_not(sc_context *c, uint32_t node, sc_cases *out) {
    layout where;
    if (!read_layout(c, node, &where)) return;
    const json_t *json = c->node[node].json;
    uint32_t n = 0, min, max;
    if (where.prefix) {
        const uint32_t list = sc_node_of(c, where.prefix, node, where.prefix_key, 0);
        n = (uint32_t)json_array_size(where.prefix);
        for (uint32_t i = 0; i < n; i++) {
            const sc_goal g = sc_goal_schema(c, list, NULL, i, json_array_get(where.prefix, i), true);
            if (g != SC_NOTHING) add(c, out, item_is(c, node, i, g));
        }
    }
    if (where.rest) { /* some item behind the prefix breaks it */
        const sc_goal g = sc_goal_schema(c, node, where.rest_key, 0, where.rest, true);
        sc_array *a = any_array(c, node);
        if (a && g != SC_NOTHING) {
            if (!(a->prefix = sc_alloc(c, n, sizeof(*a->prefix)))) return;
            a->n_prefix = n;
            a->contains = g != SC_ANYTHING;
            a->some_value = g;
            a->min = n + 1;
            if (n && g != SC_ANYTHING) /* an item of the prefix would do as well */
                sc_refuse(c, HONE_ERR_UNSUPPORTED, node, where.rest_key,
                          "the opposite of it, behind a prefix, is not supported");
            else
                add(c, out, a);
        }
    }
    if (!sc_count(c, node, "minItems", 0, &min) || !sc_count(c, node, "maxItems", SC_UNBOUNDED, &max)) return;
    sc_array *a;
    if (min > 0 && (a = any_array(c, node))) {
        a->max = min - 1;
        add(c, out, a);
    }
    if (max != SC_UNBOUNDED && (a = any_array(c, node))) {
        a->min = max + 1;
        add(c, out, a);
    }
    if (json_is_true(json_object_get(json, "uniqueItems")))
        sc_refuse(c, HONE_ERR_UNSUPPORTED, node, "uniqueItems", "the opposite of it is not supported");
    bool none;
    sc_goal goal;
    if (read_contains(c, node, &none, &goal) && (a = any_array(c, node))) {
        if (none) {
            sc_refuse(c, HONE_ERR_UNSUPPORTED, node, "maxContains", "the opposite of it is not supported");
            return;
        }
        a->rest = sc_goal_schema(c, node, "contains", 0, json_object_get(json, "contains"), true);
        add(c, out, a);
    }
}

/* ---- Values ---- */

const sc_array *sc_array_value(sc_context *c, uint32_t node) {
    const json_t *v = c->node[node].json;
    const uint32_t n = (uint32_t)json_array_size(v);
    sc_array *a = any_array(c, node);
    if (!a || !(a->prefix = sc_alloc(c, n, sizeof(*a->prefix)))) return NULL;
    for (uint32_t i = 0; i < n; i++) a->prefix[i] = sc_goal_value(c, node, NULL, i, json_array_get(v, i), false);
    a->n_prefix = a->min = a->max = n;
    a->rest = SC_NOTHING;
    return a;
}

void sc_array_value_not(sc_context *c, uint32_t node, sc_cases *out) {
    const json_t *v = c->node[node].json;
    const uint32_t n = (uint32_t)json_array_size(v);
    sc_array *a;
    if (n > 0 && (a = any_array(c, node))) {
        a->max = n - 1;
        add(c, out, a);
    }
    if ((a = any_array(c, node))) {
        a->min = n + 1;
        add(c, out, a);
    }
    for (uint32_t i = 0; i < n; i++)
        add(c, out, item_is(c, node, i, sc_goal_value(c, node, NULL, i, json_array_get(v, i), true)));
}

/* ---- Meetings ---- */

const sc_array *sc_array_meet(sc_context *c, const sc_array *a, const sc_array *b) {
    if (a == b) return a;
    sc_array *o = any_array(c, a->node);
    if (!o) return NULL;
    if (a->contains && b->contains && a->some_value != b->some_value) {
        sc_refuse(c, HONE_ERR_UNSUPPORTED, b->node, "contains", "two demands for some item are not supported together");
        return NULL;
    }
    o->contains = a->contains || b->contains;
    o->some_value = a->contains ? a->some_value : b->some_value;
    o->unique = a->unique || b->unique;
    o->min = a->min > b->min ? a->min : b->min;
    o->max = a->max < b->max ? a->max : b->max;
    const uint32_t n = a->n_prefix > b->n_prefix ? a->n_prefix : b->n_prefix;
    if (!(o->prefix = sc_alloc(c, n, sizeof(*o->prefix)))) return NULL;
    c->work += n;
    o->n_prefix = n;
    for (uint32_t i = 0; i < n; i++) o->prefix[i] = sc_goal_and(c, item_at(a, i), item_at(b, i));
    o->rest = sc_goal_and(c, a->rest, b->rest);
    return sc_ok(c) ? o : NULL;
}

/* ---- Emptiness ---- */

bool sc_array_empty(sc_context *c, const sc_array *a, uint32_t depth) {
    const uint32_t min = a->contains && a->min == 0 ? 1 : a->min;
    if (min > a->max || (a->contains && sc_goal_empty(c, a->some_value, depth))) return true;
    for (uint32_t i = 0; i < a->n_prefix && i < min; i++)
        if (sc_goal_empty(c, a->prefix[i], depth)) return true;
    return min > a->n_prefix && sc_goal_empty(c, a->rest, depth);
}

/* ---- Texts ---- */

static hone_gx seq(sc_context *c, hone_gx a, hone_gx b) {
    return hone_rx_cat(c->r, a, b);
}

/* The items of a, all of them. */
static hone_gx items_from(sc_context *c, const sc_array *a) {
    const uint32_t n = a->n_prefix < a->max ? a->n_prefix : a->max;
    hone_gx tail = HONE_RX_EMPTY;
    if (a->max > n) {
        const uint32_t lo = a->min > n ? a->min - n : 0, hi = a->max == SC_UNBOUNDED ? a->max : a->max - n;
        const hone_gx item = sc_goal_gx(c, a->rest), more = seq(c, c->comma, item);
        if (n > 0)
            tail = hone_gx_repeat(c->b, more, lo, hi);
        else {
            tail = seq(c, item, hone_gx_repeat(c->b, more, lo ? lo - 1 : 0, hi == SC_UNBOUNDED ? hi : hi - 1));
            if (lo == 0) tail = hone_rx_alt(c->r, HONE_RX_EMPTY, tail);
        }
    } else if (a->min > n)
        return HONE_RX_NONE;
    for (uint32_t i = n; i-- > 0;) {
        tail = seq(c, sc_goal_gx(c, a->prefix[i]), tail);
        if (i > 0) tail = seq(c, c->comma, tail);
        if (i >= a->min) tail = hone_rx_alt(c->r, HONE_RX_EMPTY, tail);
    }
    return tail;
}

/* Item i is the one that contains asks for. */
static hone_gx with_place(sc_context *c, const sc_array *a, uint32_t i) {
    sc_array *one = any_array(c, a->node);
    const uint32_t n = i + 1 > a->n_prefix ? i + 1 : a->n_prefix;
    if (!one || !(one->prefix = sc_alloc(c, n, sizeof(*one->prefix)))) return HONE_GX_FAIL;
    for (uint32_t k = 0; k < n; k++) one->prefix[k] = item_at(a, k);
    one->prefix[i] = sc_goal_and(c, one->prefix[i], a->some_value);
    one->n_prefix = n;
    one->rest = a->rest;
    one->max = a->max;
    one->min = a->min > i + 1 ? a->min : i + 1;
    return sc_array_empty(c, one, 1) ? HONE_RX_NONE : items_from(c, one);
}

static hone_gx containing(sc_context *c, const sc_array *a) {
    hone_gx out = HONE_RX_NONE;
    uint32_t places = a->n_prefix + 1 > a->min ? a->n_prefix + 1 : a->min;
    const bool finite = a->max != SC_UNBOUNDED;
    if (finite) places = a->max;
    if (places > PLACES_MAX) {
        sc_refuse(c, HONE_ERR_UNSUPPORTED, a->node, "contains", "the item may stand in too many places");
        return HONE_GX_FAIL;
    }
    for (uint32_t i = 0; i < places && sc_ok(c); i++) out = hone_rx_alt(c->r, out, with_place(c, a, i));
    if (finite) return out;
    /* Or behind all those: at least `places` items come first. */
    sc_array *head = any_array(c, a->node);
    if (!head) return HONE_GX_FAIL;
    *head = *a;
    head->contains = false;
    head->min = places;
    const hone_gx last = sc_goal_gx(c, sc_goal_and(c, a->rest, a->some_value));
    const hone_gx more = hone_gx_repeat(c->b, seq(c, c->comma, sc_goal_gx(c, a->rest)), 0, SC_UNBOUNDED);
    return hone_rx_alt(c->r, out, seq(c, items_from(c, head), seq(c, c->comma, seq(c, last, more))));
}

hone_gx sc_array_gx(sc_context *c, const sc_array *a) {
    if (!a && !(a = any_array(c, 0))) return HONE_GX_FAIL;
    if (a->unique && a->max > 1 && !(a->n_prefix <= 1 && sc_goal_empty(c, a->rest, 2))) {
        sc_refuse(c, HONE_ERR_UNSUPPORTED, a->node, "uniqueItems",
                  "is supported only where at most one item may stand");
        return HONE_GX_FAIL;
    }
    const hone_gx body = a->contains ? containing(c, a) : items_from(c, a);
    return seq(c, c->open_array, seq(c, body, c->close_array));
}
