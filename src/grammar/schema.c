/* schema.c - JSON Schema as a grammar: goals become rules; the way is told in schema_impl.h.
 * Order: goals, emptiness, rules, the schema. */
#include "grammar/schema.h"

#include <string.h>

#include "base/mem.h"
#include "grammar/regular_impl.h"
#include "grammar/schema_impl.h"

/* ---- Goals: sets of literals, each set once ---- */

static bool goal_table_grow(sc_context *c);

static size_t hash_goal(const sc_literal *literal, uint32_t n) {
    uint64_t h = n;
    for (uint32_t i = 0; i < n; i++) h = (h ^ literal[i]) * 0x9E3779B97F4A7C15u;
    return (size_t)(h >> 24);
}

static bool goal_table_grow(sc_context *c) {
    const size_t n = c->goal_table ? (c->goal_mask + 1) * 2 : 128;
    uint32_t *table = hone_zalloc(n, sizeof(*table));
    if (!table) return sc_refuse(c, HONE_ERR_NOMEM, 0, NULL, "no memory");
    for (uint32_t i = 0; i < c->n_goal; i++) {
        if (i == SC_NOTHING) continue;
        size_t at = hash_goal(c->goal[i].literal, c->goal[i].n) & (n - 1);
        while (table[at]) at = (at + 1) & (n - 1);
        table[at] = i + 1;
    }
    hone_free(c->goal_table);
    c->goal_table = table;
    c->goal_mask = n - 1;
    return true;
}

static sc_goal new_goal(sc_context *c, sc_literal *literal, uint32_t n) {
    if (c->n_goal >= SC_GOALS_MAX) {
        sc_refuse(c, HONE_ERR_LIMIT, c->at, NULL, "needs more than %u rules", SC_GOALS_MAX);
        return SC_NOTHING;
    }
    if (!hone_grow(&c->goal, &c->goal_cap, c->n_goal, sizeof(*c->goal))) {
        sc_refuse(c, HONE_ERR_NOMEM, 0, NULL, "no memory");
        return SC_NOTHING;
    }
    c->goal[c->n_goal] = (sc_goal_record){.literal = literal, .n = n, .gx = HONE_GX_FAIL};
    return (sc_goal)c->n_goal++;
}

sc_goal sc_goal_of(sc_context *c, const sc_literal *given, uint32_t n) {
    sc_literal few[16], *literal = few;
    if (n > 16 && !(literal = sc_alloc(c, n, sizeof(*literal)))) return SC_NOTHING;
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) { /* by insertion: they mostly come sorted */
        uint32_t at = k;
        while (at > 0 && literal[at - 1] > given[i]) at--;
        if (at > 0 && literal[at - 1] == given[i]) continue;
        memmove(literal + at + 1, literal + at, (k - at) * sizeof(*literal));
        literal[at] = given[i];
        k++;
    }
    for (uint32_t i = 0; i + 1 < k; i++)
        if ((literal[i] ^ literal[i + 1]) == 1) return SC_NOTHING; /* a schema and its opposite */
    if (k == 0) return SC_ANYTHING;
    if ((!c->goal_table || c->n_goal * 2 > c->goal_mask) && !goal_table_grow(c)) return SC_NOTHING;
    size_t at = hash_goal(literal, k) & c->goal_mask;
    for (; c->goal_table[at]; at = (at + 1) & c->goal_mask) {
        const sc_goal_record *g = &c->goal[c->goal_table[at] - 1];
        if (g->n == k && memcmp(g->literal, literal, k * sizeof(*literal)) == 0) return c->goal_table[at] - 1;
    }
    sc_literal *keep = sc_alloc(c, k, sizeof(*keep));
    if (!keep) return SC_NOTHING;
    memcpy(keep, literal, k * sizeof(*keep));
    const sc_goal out = new_goal(c, keep, k);
    if (out != SC_NOTHING) c->goal_table[at] = out + 1;
    return out;
}

sc_goal sc_goal_schema(sc_context *c, uint32_t parent, const char *key, uint32_t index, const json_t *schema,
                       bool opposite) {
    if (json_is_boolean(schema)) return json_is_true(schema) != opposite ? SC_ANYTHING : SC_NOTHING;
    if (json_is_object(schema) && json_object_size(schema) == 0) return opposite ? SC_NOTHING : SC_ANYTHING;
    const sc_literal l = sc_node_of(c, schema, parent, key, index) << 2 | opposite;
    return sc_ok(c) ? sc_goal_of(c, &l, 1) : SC_NOTHING;
}

sc_goal sc_goal_value(sc_context *c, uint32_t parent, const char *key, uint32_t index, const json_t *value,
                      bool opposite) {
    const sc_literal l = sc_node_of(c, value, parent, key, index) << 2 | 2 | opposite;
    return sc_ok(c) ? sc_goal_of(c, &l, 1) : SC_NOTHING;
}

sc_goal sc_goal_and(sc_context *c, sc_goal a, sc_goal b) {
    if (a == b || b == SC_ANYTHING || a == SC_NOTHING) return a;
    if (a == SC_ANYTHING || b == SC_NOTHING) return b;
    const uint32_t na = c->goal[a].n, nb = c->goal[b].n;
    sc_literal few[32], *both = few;
    if (na + nb > 32 && !(both = sc_alloc(c, na + nb, sizeof(*both)))) return SC_NOTHING;
    memcpy(both, c->goal[a].literal, na * sizeof(*both));
    memcpy(both + na, c->goal[b].literal, nb * sizeof(*both));
    return sc_goal_of(c, both, na + nb);
}

/* ---- Emptiness ---- */

bool sc_goal_empty(sc_context *c, sc_goal g, uint32_t depth) {
    if (g == SC_NOTHING) return true;
    if (g == SC_ANYTHING || !sc_ok(c)) return false;
    if (c->goal[g].known > depth || (c->goal[g].known && c->goal[g].empty)) return c->goal[g].empty;
    if (depth == 0) return false;
    c->probing++;
    const sc_cases *cases = sc_goal_cases(c, g);
    bool empty = cases != NULL;
    for (uint32_t i = 0; empty && i < cases->n; i++) empty = sc_case_empty(c, &cases->item[i], depth - 1);
    const bool failed = c->probe_failed;
    c->probing--;
    c->probe_failed = false;
    if (failed || c->status != HONE_OK) return false; /* not known */
    c->goal[g].known = (uint8_t)(depth + 1);
    c->goal[g].empty = empty;
    return empty;
}

/* ---- Rules ---- */

hone_rx sc_goal_strings(sc_context *c, sc_goal g) {
    const sc_cases *cases = sc_goal_cases(c, g);
    hone_rx out = HONE_RX_NONE;
    for (uint32_t i = 0; cases && i < cases->n; i++)
        if (cases->item[i].types & SC_STRING) out = hone_rx_alt(c->r, out, cases->item[i].string);
    return out;
}

static hone_gx word(sc_context *c, const char *text) {
    return hone_rx_bytes(c->r, text, strlen(text));
}

static hone_gx scalars(sc_context *c, const sc_cases *cases) {
    hone_rx strings = HONE_RX_NONE;
    hone_gx out = HONE_RX_NONE;
    uint8_t types = 0;
    for (uint32_t i = 0; i < cases->n; i++) {
        const sc_case *one = &cases->item[i];
        types |= one->types;
        if (one->types & SC_STRING) strings = hone_rx_alt(c->r, strings, one->string);
        if (one->types & SC_NUMBER) out = hone_rx_alt(c->r, out, sc_number_gx(c, one));
    }
    if (types & SC_NULL) out = hone_rx_alt(c->r, out, word(c, "null"));
    if (types & SC_TRUE) out = hone_rx_alt(c->r, out, word(c, "true"));
    if (types & SC_FALSE) out = hone_rx_alt(c->r, out, word(c, "false"));
    if (strings == c->all)
        out = hone_rx_alt(c->r, out, c->string);
    else if (strings != HONE_RX_NONE) {
        const hone_rx text = hone_rx_json_string(c->r, hone_rx_and(c->r, c->utf8, strings));
        out = hone_rx_alt(c->r, out, hone_rx_cat(c->r, c->quote, hone_rx_cat(c->r, text, c->quote)));
    }
    return hone_gx_terminal(c->b, out);
}

/* The texts of a goal: a rule where there is structure, defined later, so that it may hold itself. */
hone_gx sc_goal_gx(sc_context *c, sc_goal g) {
    if (!sc_ok(c)) return HONE_GX_FAIL;
    if (g == SC_NOTHING) return HONE_RX_NONE;
    if (c->goal[g].gx != HONE_GX_FAIL) return c->goal[g].gx;
    const sc_cases *cases = sc_goal_cases(c, g);
    if (!cases) return HONE_GX_FAIL;
    uint8_t types = 0;
    for (uint32_t i = 0; i < cases->n; i++) types |= cases->item[i].types;
    hone_gx out;
    if (types & (SC_ARRAY | SC_OBJECT)) {
        out = hone_gx_rule(c->b);
        if (!hone_grow(&c->todo, &c->todo_cap, c->n_todo, sizeof(*c->todo))) {
            sc_refuse(c, HONE_ERR_NOMEM, 0, NULL, "no memory");
            return HONE_GX_FAIL;
        }
        c->todo[c->n_todo++] = g;
    } else
        out = scalars(c, cases);
    c->goal[g].gx = out;
    return out;
}

static hone_gx body(sc_context *c, sc_goal g) {
    const sc_cases *cases = sc_goal_cases(c, g);
    if (!cases) return HONE_GX_FAIL;
    hone_gx out = scalars(c, cases);
    for (uint32_t i = 0; i < cases->n && sc_ok(c); i++) {
        const sc_case *one = &cases->item[i];
        if ((one->types & SC_ARRAY) && (!one->array || !sc_array_empty(c, one->array, 1)))
            out = hone_rx_alt(c->r, out, sc_array_gx(c, one->array));
        if ((one->types & SC_OBJECT) && (!one->object || !sc_object_empty(c, one->object, 1)))
            out = hone_rx_alt(c->r, out, sc_object_gx(c, one->object));
    }
    return out;
}

/* ---- The schema ---- */

static bool begin(sc_context *c, const hone_schema_options *options) {
    hone_regular *r = c->r;
    c->options = *options;
    c->all = hone_rx_not(r, HONE_RX_NONE);
    c->utf8 = hone_rx_utf8(r);
    c->quote = hone_rx_bytes(r, "\"", 1);
    c->decimal = c->integers = c->spelling = HONE_RX_FAIL;
    for (size_t i = 0; i < sizeof(c->format) / sizeof(*c->format); i++) c->format[i] = HONE_RX_FAIL;
    c->string = hone_rx_cat(r, c->quote, hone_rx_cat(r, hone_rx_json_string(r, c->utf8), c->quote));
    const hone_rx one = hone_rx_alt(r, hone_rx_bytes(r, " ", 1), HONE_RX_EMPTY);
    hone_rx space = one, around = HONE_RX_EMPTY;
    if (options->whitespace) {
        uint8_t bits[32] = {0};
        bits[' ' / 8] |= 1u << (' ' % 8);
        bits['\t' / 8] |= 1u << ('\t' % 8);
        bits['\n' / 8] |= 1u << ('\n' % 8);
        bits['\r' / 8] |= 1u << ('\r' % 8);
        space = around = hone_rx_repeat(r, hone_rx_class(r, bits), 0, 64);
    }
    c->comma = hone_rx_cat(r, around, hone_rx_cat(r, hone_rx_bytes(r, ",", 1), space));
    c->colon = hone_rx_cat(r, around, hone_rx_cat(r, hone_rx_bytes(r, ":", 1), space));
    c->open_object = hone_rx_cat(r, hone_rx_bytes(r, "{", 1), around);
    c->close_object = hone_rx_cat(r, around, hone_rx_bytes(r, "}", 1));
    c->open_array = hone_rx_cat(r, hone_rx_bytes(r, "[", 1), around);
    c->close_array = hone_rx_cat(r, around, hone_rx_bytes(r, "]", 1));
    new_goal(c, NULL, 0); /* SC_ANYTHING */
    if (c->n_goal == 1) { /* SC_NOTHING, which is no set */
        new_goal(c, NULL, 0);
        c->goal[SC_NOTHING].known = UINT8_MAX;
        c->goal[SC_NOTHING].empty = true;
    }
    return sc_ok(c);
}

hone_status hone_schema_node(hone_grammar_builder *b, const json_t *schema, const hone_schema_options *options,
                             hone_gx *out, hone_error *err) {
    *out = HONE_GX_FAIL;
    sc_context c = {.b = b, .r = hone_grammar_regular(b), .err = err};
    if (sc_read(&c, schema) && begin(&c, options) && (!options->strict || sc_strict(&c))) {
        *out = sc_goal_gx(&c, sc_goal_schema(&c, 0, NULL, 0, schema, false));
        while (c.n_todo && sc_ok(&c) && rx_ok(c.r)) {
            const sc_goal g = c.todo[--c.n_todo];
            hone_gx_define(b, c.goal[g].gx, body(&c, g));
        }
    }
    if (c.status == HONE_OK && !rx_ok(c.r)) c.status = rx_status(c.r, err, "schema");
    if (c.status != HONE_OK) *out = HONE_GX_FAIL;
    const hone_status status = c.status;
    sc_close(&c);
    return status;
}
