/* schema_object.c - what is demanded of an object, and the texts that meet it.
 *
 * Names that the schema knows come in its order, each once; after them the others, which regions of the space of names
 * sort by what their values have to be.  A grammar cannot count different names, so other names may repeat: readers
 * keep the last, which is as valid as the first.  Where it matters how many there are, several of them count for one.
 *
 * Order: records, keywords, the opposite, values, meetings, emptiness, texts. */
#include <string.h>

#include "grammar/schema_impl.h"

/* ---- Records ---- */

sc_object *sc_object_any(sc_context *c, uint32_t node) {
    sc_object *o = sc_alloc(c, 1, sizeof(*o));
    if (!o || !(o->region = sc_alloc(c, 1, sizeof(*o->region)))) return NULL;
    o->region[0] = (sc_region){.key = c->utf8, .value = SC_ANYTHING};
    o->n_region = 1;
    o->max = SC_UNBOUNDED;
    o->node = node;
    return o;
}

sc_object *sc_object_with(sc_context *c, uint32_t node, const char *name, size_t n, sc_goal value, bool required) {
    sc_object *o = sc_object_any(c, node);
    if (!o || !(o->property = sc_alloc(c, 1, sizeof(*o->property)))) return NULL;
    o->property[o->n_property++] = (sc_property){.name = name, .n = n, .value = value, .required = required};
    return o;
}

static bool key_in(sc_context *c, hone_rx key, const char *name, size_t n) {
    return key == c->utf8 || (key != HONE_RX_NONE && hone_rx_matches(c->r, key, name, n));
}

/* Where names come in about the same order twice, each search begins where the last one ended. */
static sc_property *find(const sc_object *o, const char *name, size_t n, uint32_t *hint) {
    for (uint32_t i = 0; i < o->n_property; i++) {
        uint32_t at = *hint + i;
        if (at >= o->n_property) at -= o->n_property;
        if (o->property[at].n != n || memcmp(o->property[at].name, name, n) != 0) continue;
        *hint = at + 1 < o->n_property ? at + 1 : 0;
        return &o->property[at];
    }
    return NULL;
}

static sc_goal goal_of_name(sc_context *c, const sc_object *o, const char *name, size_t n) {
    for (uint32_t i = 0; i < o->n_region; i++)
        if (key_in(c, o->region[i].key, name, n)) return o->region[i].value;
    return SC_NOTHING;
}

/* Values of names inside `key` have to meet more. */
static bool restrict_region(sc_context *c, sc_object *o, hone_rx key, sc_goal more, uint8_t *matched) {
    const uint32_t n = o->n_region;
    sc_region *out = sc_alloc(c, 2u * n, sizeof(*out));
    if (!out) return false;
    uint8_t was[128];
    if (n > sizeof(was) / 2)
        return sc_refuse(c, HONE_ERR_UNSUPPORTED, o->node, "patternProperties", "overlap in too many ways");
    if (matched) memcpy(was, matched, n);
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        const sc_region x = o->region[i];
        const hone_rx in = hone_rx_and(c->r, x.key, key), off = hone_rx_and(c->r, x.key, hone_rx_not(c->r, key));
        if (!hone_rx_is_void(c->r, in, 3000)) {
            if (matched) matched[k] = 1;
            out[k++] = (sc_region){.key = in, .value = sc_goal_and(c, x.value, more)};
        }
        if (!hone_rx_is_void(c->r, off, 3000)) {
            if (matched) matched[k] = was[i];
            out[k++] = (sc_region){.key = off, .value = x.value};
        }
    }
    o->region = out;
    o->n_region = k;
    return sc_ok(c);
}

/* ---- Keywords ---- */

static bool combines(const json_t *json) {
    static const char *const keys[] = {"$ref",         "allOf",      "anyOf", "oneOf", "not", "if", "dependentSchemas",
                                       "dependencies", "$dynamicRef"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        if (json_object_get(json, keys[i])) return true;
    return false;
}

/* What names that nothing else speaks of have to be; NULL: nothing is demanded. */
static const json_t *additional(sc_context *c, uint32_t node, const char **key) {
    const json_t *json = c->node[node].json, *v = json_object_get(json, *key = "additionalProperties");
    if (v) return v; /* with it, nothing is left unevaluated */
    v = json_object_get(json, *key = "unevaluatedProperties");
    if (v && !json_is_true(v) && combines(json)) {
        sc_refuse(c, HONE_ERR_UNSUPPORTED, node, *key, "is supported beside plain properties only");
        return NULL;
    }
    return v;
}

static const json_t *member(sc_context *c, uint32_t node, const char *key, bool object) {
    const json_t *v = json_object_get(c->node[node].json, key);
    if (v && (object ? !json_is_object(v) : !json_is_array(v)))
        sc_refuse(c, HONE_ERR_FORMAT, node, key, object ? "must be an object" : "must be a list of names");
    return sc_ok(c) ? v : NULL;
}

static hone_rx pattern_key(sc_context *c, uint32_t node, const char *pattern) {
    hone_rx key = HONE_RX_FAIL;
    hone_error inner = {0};
    if (hone_rx_pattern(c->r, pattern, strlen(pattern), true, &key, &inner) != HONE_OK)
        sc_refuse(c, inner.code, node, pattern, "%s", inner.message);
    return key;
}

static bool read_patterns(sc_context *c, uint32_t node, sc_object *o, uint8_t *matched) {
    const json_t *patterns = member(c, node, "patternProperties", true);
    if (!patterns || json_object_size(patterns) == 0) return sc_ok(c);
    const uint32_t where = sc_node_of(c, patterns, node, "patternProperties", 0);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)patterns, name, value) {
        const hone_rx key = pattern_key(c, where, name);
        if (!sc_ok(c) || !restrict_region(c, o, key, sc_goal_schema(c, where, name, 0, value, false), matched))
            return false;
    }
    return sc_ok(c);
}

const sc_object *sc_object_read(sc_context *c, uint32_t node) {
    static const char *const keys[] = {
        "properties",    "required",      "additionalProperties", "patternProperties",
        "propertyNames", "minProperties", "maxProperties",        "unevaluatedProperties"};
    const json_t *json = c->node[node].json;
    bool some = false;
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys) && !some; i++) some = json_object_get(json, keys[i]);
    if (!some) return NULL;
    sc_object *o = sc_object_any(c, node);
    uint8_t matched[128] = {0};
    if (!o || !sc_count(c, node, "minProperties", 0, &o->min) ||
        !sc_count(c, node, "maxProperties", SC_UNBOUNDED, &o->max))
        return NULL;
    if (!read_patterns(c, node, o, matched)) return NULL;
    const json_t *properties = member(c, node, "properties", true), *required = member(c, node, "required", false);
    const size_t n = json_object_size(properties) + json_array_size(required);
    if (!(o->property = sc_alloc(c, n, sizeof(*o->property)))) return NULL;
    if (properties) {
        const uint32_t where = sc_node_of(c, properties, node, "properties", 0);
        const char *name;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)properties, name, value) {
            sc_property *p = &o->property[o->n_property++];
            p->name = name;
            p->n = strlen(name);
            p->value = sc_goal_and(c, sc_goal_schema(c, where, name, 0, value, false), goal_of_name(c, o, name, p->n));
            if (!sc_ok(c)) return NULL;
        }
    }
    const char *key;
    const json_t *other = additional(c, node, &key);
    if (other) {
        const sc_goal g = sc_goal_schema(c, node, key, 0, other, false);
        for (uint32_t i = 0; i < o->n_region; i++)
            if (!matched[i]) o->region[i].value = sc_goal_and(c, o->region[i].value, g);
    }
    uint32_t hint = 0;
    for (size_t i = 0; i < json_array_size(required); i++) {
        const json_t *name = json_array_get(required, i);
        if (!json_is_string(name)) {
            sc_refuse(c, HONE_ERR_FORMAT, node, "required", "must be a list of names");
            return NULL;
        }
        sc_property *p = find(o, json_string_value(name), json_string_length(name), &hint);
        if (!p) {
            p = &o->property[o->n_property];
            p->name = json_string_value(name);
            p->n = json_string_length(name);
            p->value = goal_of_name(c, o, p->name, p->n);
            o->n_property++;
        }
        p->required = true;
    }
    const json_t *names = json_object_get(json, "propertyNames");
    if (names && !json_is_true(names)) {
        const hone_rx allowed = sc_goal_strings(c, sc_goal_schema(c, node, "propertyNames", 0, names, false));
        if (!sc_ok(c) || !restrict_region(c, o, hone_rx_not(c->r, allowed), SC_NOTHING, NULL)) return NULL;
        for (uint32_t i = 0; i < o->n_property; i++)
            if (!hone_rx_matches(c->r, allowed, o->property[i].name, o->property[i].n))
                o->property[i].value = SC_NOTHING;
    }
    return sc_ok(c) ? o : NULL;
}

/* ---- The opposite ---- */

static void add(sc_context *c, sc_cases *out, const sc_object *o) {
    if (!o) return;
    sc_case one = sc_case_any(c);
    one.types = SC_OBJECT;
    one.object = o;
    sc_cases_add(c, out, &one);
}

static void add_has(sc_context *c, uint32_t node, hone_rx key, sc_goal value, sc_cases *out) {
    sc_object *o = sc_object_any(c, node);
    if (!o || value == SC_NOTHING || key == HONE_RX_NONE) return;
    o->has = true;
    o->has_key = key;
    o->has_value = value;
    add(c, out, o);
}

void sc_object_not(sc_context *c, uint32_t node, sc_cases *out) {
    const json_t *json = c->node[node].json;
    const json_t *properties = member(c, node, "properties", true), *required = member(c, node, "required", false);
    const json_t *patterns = member(c, node, "patternProperties", true);
    const char *key, *name;
    const json_t *other = additional(c, node, &key);
    json_t *value;
    hone_rx known = HONE_RX_NONE;
    if (!sc_ok(c)) return;
    const uint32_t where = properties ? sc_node_of(c, properties, node, "properties", 0) : node;
    json_object_foreach((json_t *)(uintptr_t)properties, name, value) {
        const size_t n = strlen(name);
        const sc_goal g = sc_goal_schema(c, where, name, 0, value, true);
        if (other) known = hone_rx_alt(c->r, known, hone_rx_bytes(c->r, name, n));
        if (g != SC_NOTHING) add(c, out, sc_object_with(c, node, name, n, g, true));
    }
    const uint32_t at = patterns ? sc_node_of(c, patterns, node, "patternProperties", 0) : node;
    json_object_foreach((json_t *)(uintptr_t)patterns, name, value) {
        const hone_rx rx = pattern_key(c, at, name);
        if (!sc_ok(c)) return;
        known = hone_rx_alt(c->r, known, rx);
        add_has(c, node, rx, sc_goal_schema(c, at, name, 0, value, true), out);
    }
    if (other) add_has(c, node, hone_rx_not(c->r, known), sc_goal_schema(c, node, key, 0, other, true), out);
    for (size_t i = 0; i < json_array_size(required); i++) {
        const json_t *s = json_array_get(required, i);
        if (json_is_string(s))
            add(c, out, sc_object_with(c, node, json_string_value(s), json_string_length(s), SC_NOTHING, false));
    }
    const json_t *names = json_object_get(json, "propertyNames");
    if (names && !json_is_true(names)) {
        const hone_rx allowed = sc_goal_strings(c, sc_goal_schema(c, node, "propertyNames", 0, names, false));
        if (sc_ok(c)) add_has(c, node, hone_rx_not(c->r, allowed), SC_ANYTHING, out);
    }
    uint32_t min, max;
    if (!sc_count(c, node, "minProperties", 0, &min) || !sc_count(c, node, "maxProperties", SC_UNBOUNDED, &max)) return;
    sc_object *o;
    if (min > 0 && (o = sc_object_any(c, node))) {
        o->max = min - 1;
        add(c, out, o);
    }
    if (max != SC_UNBOUNDED && (o = sc_object_any(c, node))) {
        o->min = max + 1;
        add(c, out, o);
    }
}

/* ---- Values ---- */

const sc_object *sc_object_value(sc_context *c, uint32_t node) {
    const json_t *v = c->node[node].json;
    sc_object *o = sc_object_any(c, node);
    if (!o || !(o->property = sc_alloc(c, json_object_size(v), sizeof(*o->property)))) return NULL;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)v, name, value) {
        const sc_goal g = sc_goal_value(c, node, name, 0, value, false);
        o->property[o->n_property++] = (sc_property){.name = name, .n = strlen(name), .value = g, .required = true};
    }
    o->region[0].value = SC_NOTHING;
    return o;
}

void sc_object_value_not(sc_context *c, uint32_t node, sc_cases *out) {
    const char *name;
    json_t *value;
    hone_rx known = HONE_RX_NONE;
    json_object_foreach((json_t *)(uintptr_t)c->node[node].json, name, value) {
        const size_t n = strlen(name);
        known = hone_rx_alt(c->r, known, hone_rx_bytes(c->r, name, n));
        add(c, out, sc_object_with(c, node, name, n, SC_NOTHING, false));
        add(c, out, sc_object_with(c, node, name, n, sc_goal_value(c, node, name, 0, value, true), true));
    }
    add_has(c, node, hone_rx_not(c->r, known), SC_ANYTHING, out);
}

/* ---- Meetings ---- */

const sc_object *sc_object_meet(sc_context *c, const sc_object *a, const sc_object *b) {
    if (a == b) return a;
    sc_object *o = sc_alloc(c, 1, sizeof(*o));
    if (!o) return NULL;
    *o = *a;
    if (a->has && b->has && (a->has_key != b->has_key || a->has_value != b->has_value)) {
        sc_refuse(c, HONE_ERR_UNSUPPORTED, b->node, NULL,
                  "two demands for some property, whatever its name, are not supported together");
        return NULL;
    }
    if (!a->has) {
        o->has = b->has;
        o->has_key = b->has_key;
        o->has_value = b->has_value;
    }
    if (b->min > o->min) o->min = b->min;
    if (b->max < o->max) o->max = b->max;
    const uint32_t n = a->n_property + b->n_property;
    if (!(o->property = sc_alloc(c, n, sizeof(*o->property)))) return NULL;
    c->work += n;
    uint32_t hint = 0, back = 0;
    for (uint32_t i = 0; i < a->n_property; i++) {
        sc_property p = a->property[i];
        const sc_property *other = find(b, p.name, p.n, &hint);
        p.value = sc_goal_and(c, p.value, other ? other->value : goal_of_name(c, b, p.name, p.n));
        p.required = p.required || (other && other->required);
        o->property[i] = p;
    }
    for (uint32_t i = 0; i < b->n_property; i++) {
        sc_property p = b->property[i];
        if (find(a, p.name, p.n, &back)) continue;
        p.value = sc_goal_and(c, p.value, goal_of_name(c, a, p.name, p.n));
        o->property[o->n_property++] = p;
    }
    if (b->n_region > 128 || a->n_region > 128) {
        sc_refuse(c, HONE_ERR_UNSUPPORTED, b->node, "patternProperties", "overlap in too many ways");
        return NULL;
    }
    if (!(o->region = sc_alloc(c, (size_t)a->n_region * b->n_region, sizeof(*o->region)))) return NULL;
    o->n_region = 0;
    for (uint32_t i = 0; i < a->n_region; i++)
        for (uint32_t k = 0; k < b->n_region; k++) {
            const sc_region x = a->region[i], y = b->region[k];
            const hone_rx key = hone_rx_and(c->r, x.key, y.key);
            if (x.key != c->utf8 && y.key != c->utf8 && hone_rx_is_void(c->r, key, 3000)) continue;
            o->region[o->n_region++] = (sc_region){.key = key, .value = sc_goal_and(c, x.value, y.value)};
        }
    return sc_ok(c) ? o : NULL;
}

/* ---- Emptiness ---- */

static bool is_open(sc_context *c, const sc_object *o) {
    for (uint32_t i = 0; i < o->n_region; i++)
        if (!sc_goal_empty(c, o->region[i].value, 0)) return true;
    return false;
}

bool sc_object_empty(sc_context *c, const sc_object *o, uint32_t depth) {
    uint32_t required = 0, possible = 0;
    for (uint32_t i = 0; i < o->n_property; i++) {
        const sc_property *p = &o->property[i];
        required += p->required;
        possible += p->value != SC_NOTHING;
        if (p->required && sc_goal_empty(c, p->value, depth)) return true;
    }
    if (required > o->max || o->min > o->max) return true;
    if (o->min > possible && !is_open(c, o)) return true;
    return o->has && o->has_value == SC_NOTHING;
}

/* ---- Texts ---- */

typedef struct {
    const sc_object *o;
    const hone_gx *pair; /* [n]: "name": value; HONE_RX_NONE where it cannot be there */
    hone_gx other;       /* one of the other names */
    hone_gx last;        /* what has to stand last; HONE_RX_NONE where nothing does */
    bool special;
} writing;

static hone_gx seq(sc_context *c, hone_gx a, hone_gx b) {
    return hone_rx_cat(c->r, a, b);
}
static hone_gx either(sc_context *c, hone_gx a, hone_gx b) {
    return hone_rx_alt(c->r, a, b);
}

static hone_gx key_text(sc_context *c, hone_rx key) {
    if (key == c->utf8) return c->string;
    const hone_rx text = hone_rx_json_string(c->r, hone_rx_and(c->r, c->utf8, key));
    return hone_gx_terminal(c->b, hone_rx_cat(c->r, c->quote, hone_rx_cat(c->r, text, c->quote)));
}

static hone_gx others(sc_context *c, const sc_object *o, hone_rx within, sc_goal more, hone_rx named) {
    hone_gx out = HONE_RX_NONE;
    for (uint32_t i = 0; i < o->n_region; i++) {
        const sc_goal value = sc_goal_and(c, o->region[i].value, more);
        if (sc_goal_empty(c, value, 0)) continue;
        hone_rx key = o->region[i].key;
        if (within != c->all) key = hone_rx_and(c->r, key, within);
        if (named != HONE_RX_NONE) key = hone_rx_and(c->r, key, hone_rx_not(c->r, named));
        out = either(c, out, seq(c, key_text(c, key), seq(c, c->colon, sc_goal_gx(c, value))));
    }
    return out;
}

/* What comes after the named ones: from lo to hi more pairs, `before` whether one stands before. */
static hone_gx ending(sc_context *c, const writing *w, uint32_t lo, uint32_t hi, bool before) {
    const hone_gx more = seq(c, c->comma, w->other);
    if (w->special) { /* last, because a later one of the same name would count */
        if (hi == 0) return HONE_RX_NONE;
        const uint32_t most = hi == SC_UNBOUNDED ? hi : hi - 1;
        if (before) return seq(c, hone_gx_repeat(c->b, more, 0, most), seq(c, c->comma, w->last));
        hone_gx some = HONE_RX_NONE;
        if (most > 0)
            some = seq(c, w->other,
                       seq(c, hone_gx_repeat(c->b, more, 0, most == SC_UNBOUNDED ? most : most - 1),
                           seq(c, c->comma, w->last)));
        return either(c, w->last, some);
    }
    if (hi == 0) return lo == 0 ? HONE_RX_EMPTY : HONE_RX_NONE;
    if (before) return hone_gx_repeat(c->b, more, lo, hi);
    const hone_gx some =
        seq(c, w->other, hone_gx_repeat(c->b, more, lo ? lo - 1 : 0, hi == SC_UNBOUNDED ? hi : hi - 1));
    return lo == 0 ? either(c, HONE_RX_EMPTY, some) : some;
}

/* A long object's endings go into rules: a union of all that may come next would be quadratic. */
static hone_gx settle(sc_context *c, hone_gx a, uint32_t i, uint32_t n) {
    if (n < 48 || i % 16 != 0) return a;
    const hone_gx rule = hone_gx_rule(c->b);
    hone_gx_define(c->b, rule, a);
    return rule;
}

static hone_gx without_count(sc_context *c, const writing *w, uint32_t min) {
    const sc_object *o = w->o;
    hone_gx after = ending(c, w, 0, SC_UNBOUNDED, true), first = ending(c, w, min ? 1 : 0, SC_UNBOUNDED, false);
    for (uint32_t i = o->n_property; i-- > 0;) {
        const hone_gx here = seq(c, w->pair[i], after), next = seq(c, c->comma, here);
        const bool skip = !o->property[i].required;
        first = skip ? either(c, here, first) : here;
        after = settle(c, skip ? either(c, next, after) : next, i, o->n_property);
    }
    return first;
}

/* after[k]: k pairs stand before, at most `top` of them told apart. */
static hone_gx with_count(sc_context *c, const writing *w) {
    const sc_object *o = w->o;
    const uint32_t top = o->max != SC_UNBOUNDED ? o->max : o->min;
    if ((uint64_t)(top + 1ull) * (o->n_property + 1ull) > SC_COUNT_MAX) {
        sc_refuse(c, HONE_ERR_UNSUPPORTED, o->node, o->max != SC_UNBOUNDED ? "maxProperties" : "minProperties",
                  "too many to count");
        return HONE_GX_FAIL;
    }
    hone_gx *after = sc_alloc(c, top + 1u, sizeof(*after));
    if (!after) return HONE_GX_FAIL;
    for (uint32_t k = 0; k <= top; k++) {
        const uint32_t lo = o->min > k ? o->min - k : 0, hi = o->max == SC_UNBOUNDED ? o->max : o->max - k;
        /* Other names may repeat, and a name counts once. */
        after[k] = lo > 1 ? HONE_RX_NONE : ending(c, w, lo, hi, k > 0);
    }
    for (uint32_t i = o->n_property; i-- > 0;)
        for (uint32_t k = 0; k <= top; k++) {
            const uint32_t to = k < top ? k + 1 : k;
            hone_gx here = k == top && o->max != SC_UNBOUNDED ? HONE_RX_NONE : seq(c, w->pair[i], after[to]);
            if (k > 0) here = seq(c, c->comma, here);
            after[k] = o->property[i].required ? here : either(c, here, after[k]);
        }
    return after[0];
}

static hone_gx write_object(sc_context *c, const sc_object *o, bool special) {
    writing w = {.o = o, .other = HONE_RX_NONE, .last = HONE_RX_NONE, .special = special};
    hone_gx *pair = sc_alloc(c, o->n_property, sizeof(*pair));
    if (!pair) return HONE_GX_FAIL;
    w.pair = pair;
    hone_rx named = HONE_RX_NONE;
    const bool open = is_open(c, o);
    uint32_t required = 0, possible = 0;
    hone_rx *name = sc_alloc(c, o->n_property, sizeof(*name));
    if (!name) return HONE_GX_FAIL;
    for (uint32_t i = 0; i < o->n_property; i++) {
        const sc_property *p = &o->property[i];
        required += p->required;
        name[i] = hone_rx_bytes(c->r, p->name, p->n);
        if (p->value == SC_NOTHING) {
            pair[i] = HONE_RX_NONE;
            continue;
        }
        possible++;
        hone_rx key = hone_rx_cat(c->r, c->quote, hone_rx_cat(c->r, hone_rx_json_string(c->r, name[i]), c->quote));
        pair[i] = seq(c, key, seq(c, c->colon, sc_goal_gx(c, p->value)));
    }
    if (open) {
        for (uint32_t i = 0; i < o->n_property; i++) named = hone_rx_alt(c->r, named, name[i]);
        w.other = others(c, o, c->all, SC_ANYTHING, named);
        if (special) w.last = others(c, o, o->has_key, o->has_value, named);
    }
    if (o->min > possible + 1) {
        sc_refuse(c, HONE_ERR_UNSUPPORTED, o->node, "minProperties",
                  "more properties are demanded than are named, and names that differ cannot be counted");
        return HONE_GX_FAIL;
    }
    const bool low = o->min > required && o->min > 1, high = o->max != SC_UNBOUNDED && (open || o->max < possible);
    return low || high ? with_count(c, &w) : without_count(c, &w, o->min > required ? 1 : 0);
}

hone_gx sc_object_gx(sc_context *c, const sc_object *o) {
    if (!o && !(o = sc_object_any(c, 0))) return HONE_GX_FAIL;
    hone_gx body = HONE_RX_NONE;
    if (o->has) { /* a named property may be the one, or another */
        for (uint32_t i = 0; i < o->n_property && sc_ok(c); i++) {
            const sc_property *p = &o->property[i];
            if (!key_in(c, o->has_key, p->name, p->n)) continue;
            sc_object *one = sc_alloc(c, 1, sizeof(*one));
            if (!one) return HONE_GX_FAIL;
            *one = *o;
            if (!(one->property = sc_alloc(c, o->n_property, sizeof(*one->property)))) return HONE_GX_FAIL;
            memcpy(one->property, o->property, o->n_property * sizeof(*one->property));
            one->property[i].required = true;
            one->property[i].value = sc_goal_and(c, p->value, o->has_value);
            one->has = false;
            if (!sc_object_empty(c, one, 1)) body = either(c, body, write_object(c, one, false));
        }
        body = either(c, body, write_object(c, o, true));
    } else
        body = write_object(c, o, false);
    return seq(c, c->open_object, seq(c, body, c->close_object));
}
