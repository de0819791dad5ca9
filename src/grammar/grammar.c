/* grammar.c - building and freezing a grammar: rules as expressions that name each other.
 *
 * An expression of the builder IS a node of the arena (regular_impl.h), so there is nothing to translate when the
 * grammar is frozen.  Freezing removes what derives nothing, puts regular rules in the place of their names, settles
 * which rules derive the empty text, and rewrites or refuses left recursion, because a rule's arcs must not ask for
 * themselves.
 *
 * Order: source texts, building, productivity and the empty text, simplifying, left recursion, freezing, counting. */
#include "grammar/grammar.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "grammar/grammar_impl.h"

struct hone_grammar_builder {
    hone_regular *r;
    hone_status status;
    const char *why;
};

/* ---- Source texts ---- */

void hone_grammar_source_schema(hone_buf *out, const json_t *schema) {
    hone_buf_text(out, "root ::= %json");
    hone_json_write(schema, out);
    hone_buf_char(out, '\n');
}

void hone_grammar_source_literal(hone_buf *out, const char *text, size_t n) {
    hone_buf_char(out, '"');
    for (size_t i = 0; i < n; i++) {
        const uint8_t c = (uint8_t)text[i];
        if (c == '"' || c == '\\')
            hone_buf_format(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7F)
            hone_buf_format(out, "\\x%02X", c);
        else
            hone_buf_char(out, (char)c);
    }
    hone_buf_char(out, '"');
}

void hone_grammar_source_regex(hone_buf *out, const char *pattern, size_t n) {
    hone_buf_text(out, "root ::= %regex");
    hone_grammar_source_literal(out, pattern, n);
    hone_buf_char(out, '\n');
}

/* ---- Building ---- */

hone_status hone_grammar_begin(hone_grammar_builder **out, hone_error *err) {
    *out = NULL;
    hone_grammar_builder *b = hone_zalloc(1, sizeof(*b));
    if (!b) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a grammar");
    const hone_status st = hone_regular_open(&b->r, err);
    if (st != HONE_OK) {
        hone_free(b);
        return st;
    }
    rx_begin(b->r, RX_WORK_BUILD);
    *out = b;
    return HONE_OK;
}

void hone_grammar_abandon(hone_grammar_builder *b) {
    if (!b) return;
    hone_regular_close(b->r);
    hone_free(b);
}

hone_regular *hone_grammar_regular(hone_grammar_builder *b) {
    return b->r;
}

hone_gx hone_gx_terminal(hone_grammar_builder *b, hone_rx rx) {
    return rx_clean(b->r, rx);
}

hone_gx hone_gx_seq(hone_grammar_builder *b, const hone_gx *part, uint32_t n) {
    uint32_t out = HONE_RX_EMPTY;
    for (uint32_t i = n; i-- > 0;) out = hone_rx_cat(b->r, part[i], out);
    return out;
}

hone_gx hone_gx_alt(hone_grammar_builder *b, const hone_gx *part, uint32_t n) {
    return rx_ok(b->r) ? rx_alt(b->r, part, n) : HONE_GX_FAIL;
}

hone_gx hone_gx_repeat(hone_grammar_builder *b, hone_gx a, uint32_t min, uint32_t max) {
    return hone_rx_repeat(b->r, a, min, max);
}

hone_gx hone_gx_rule(hone_grammar_builder *b) {
    return rx_rule_new(b->r);
}

void hone_gx_define(hone_grammar_builder *b, hone_gx rule, hone_gx body) {
    hone_regular *r = b->r;
    if (rule == HONE_GX_FAIL || body == HONE_GX_FAIL) return; /* r has failed already */
    if (r->node[rule].kind != RX_RULE || r->rule[r->node[rule].a].body != HONE_RX_FAIL)
        rx_fail(r, HONE_ERR_INTERNAL, "a rule is defined twice, or is none");
    else
        r->rule[r->node[rule].a].body = body;
}

/* ---- Productivity and the empty text: least fixed points over the rules ---- */

typedef enum { ASK_PRODUCTIVE, ASK_NULLABLE } question;

/* What is true stays with the node (RX_LIVE, RX_NULLABLE); what is false is false for this pass (mark). */
static bool holds(hone_regular *r, uint32_t id, question q, uint32_t depth) {
    const uint16_t yes = q == ASK_PRODUCTIVE ? RX_LIVE : RX_NULLABLE | RX_KNOWN;
    const rx_node n = r->node[id];
    if (!(n.flags & RX_RULES)) return q == ASK_PRODUCTIVE ? id != HONE_RX_NONE : n.flags & RX_NULLABLE;
    if (q == ASK_NULLABLE && (n.flags & RX_KNOWN)) return n.flags & RX_NULLABLE;
    if ((n.flags & yes) == yes) return true;
    if (n.mark == r->epoch) return false;
    r->node[id].mark = r->epoch;
    if (depth > RX_DEPTH_MAX) return rx_fail(r, HONE_ERR_LIMIT, "a rule is nested too deeply"), false;
    if (++r->work > r->work_limit) return rx_fail(r, HONE_ERR_LIMIT, "the grammar needs too many steps"), false;
    bool out = false;
    switch (n.kind) {
    case RX_RULE: out = q == ASK_PRODUCTIVE ? r->rule[n.a].productive : r->rule[n.a].nullable; break;
    case RX_REPEAT: out = n.b == 0 || holds(r, n.a, q, depth + 1); break;
    case RX_CAT: out = holds(r, n.a, q, depth + 1) && holds(r, n.b, q, depth + 1); break;
    case RX_ALT:
        for (uint32_t i = 0; !out && i < n.b; i++) out = holds(r, r->list.id[n.a + i], q, depth + 1);
        break;
    default: break;
    }
    if (out) r->node[id].flags |= yes;
    return out;
}

static void settle(hone_regular *r, question q) {
    bool again = true, backwards = true;
    while (again && rx_ok(r)) {
        again = false;
        backwards = !backwards; /* rules are often defined before or after what they use */
        r->epoch++;
        for (size_t i = 0; i < r->n_rule; i++) {
            rx_rule *rule = &r->rule[backwards ? r->n_rule - 1 - i : i];
            bool *is = q == ASK_PRODUCTIVE ? &rule->productive : &rule->nullable;
            if (*is || !holds(r, rule->body, q, 0)) continue;
            *is = true;
            r->epoch++; /* what was false may have become true */
            again = true;
        }
    }
}

/* ---- Simplifying ---- */

typedef struct {
    uint32_t *memo; /* [n_memo] by node: 1 + what became of it */
    uint32_t n_memo;
    uint8_t *state; /* [n_rule] 1: being rewritten, 2: done */
} rewriting;

/* id without rules that derive nothing, and with the bodies of those that are regular in their place: terminals whose
 * states all texts share (mask.c). */
static uint32_t rewritten(hone_regular *r, uint32_t id, rewriting *w, uint32_t depth) {
    if (id == HONE_RX_FAIL || !(r->node[id].flags & RX_RULES)) return id;
    if (depth > RX_DEPTH_MAX) return rx_fail(r, HONE_ERR_LIMIT, "a rule is nested too deeply");
    if (id < w->n_memo && w->memo[id]) return w->memo[id] - 1;
    const rx_node n = r->node[id];
    uint32_t out = id;
    switch (n.kind) {
    case RX_RULE:
        if (!r->rule[n.a].productive) return HONE_RX_NONE;
        if (w->state[n.a] == 0) {
            w->state[n.a] = 1;
            const uint32_t body = rewritten(r, r->rule[n.a].body, w, depth + 1);
            if (body == HONE_RX_FAIL) return body;
            r->rule[n.a].body = body;
            w->state[n.a] = 2;
        }
        /* One that is being rewritten stays a rule here, which is not remembered: elsewhere it may be known better. */
        if (w->state[n.a] == 1) return id;
        if (!(r->node[r->rule[n.a].body].flags & RX_RULES)) out = r->rule[n.a].body;
        break;
    case RX_REPEAT: out = hone_rx_repeat(r, rewritten(r, n.a, w, depth + 1), n.b, n.c); break;
    case RX_CAT: {
        const uint32_t a = rewritten(r, n.a, w, depth + 1), b = rewritten(r, n.b, w, depth + 1);
        out = a == n.a && b == n.b ? id : hone_rx_cat(r, a, b);
        break;
    }
    case RX_ALT: {
        uint32_t *part = hone_zalloc(n.b, sizeof(*part));
        if (!part) return rx_fail(r, HONE_ERR_NOMEM, "no memory");
        bool same = true;
        for (uint32_t i = 0; i < n.b; i++) {
            part[i] = rewritten(r, r->list.id[n.a + i], w, depth + 1);
            same = same && part[i] == r->list.id[n.a + i];
        }
        if (!same) out = rx_alt(r, part, n.b);
        hone_free(part);
        break;
    }
    default: break;
    }
    if (out != HONE_RX_FAIL && id < w->n_memo) w->memo[id] = out + 1;
    return out;
}

static void simplify(hone_regular *r, uint32_t *root) {
    if (r->n_rule == 0 || !rx_ok(r)) return;
    rewriting w = {.n_memo = r->n_node};
    w.memo = hone_zalloc(w.n_memo, sizeof(*w.memo));
    w.state = hone_zalloc(r->n_rule, 1);
    if (!w.memo || !w.state)
        rx_fail(r, HONE_ERR_NOMEM, "no memory");
    else {
        *root = rewritten(r, *root, &w, 0);
        for (uint32_t i = 0; i < r->n_rule; i++) /* those that the root does not reach are of no use */
            if (w.state[i] != 2) r->rule[i].body = HONE_RX_NONE;
    }
    hone_free(w.memo);
    hone_free(w.state);
}

/* ---- Left recursion ---- */

/* The rules that a text of id may begin with, onto out. */
static void leftmost(hone_regular *r, uint32_t id, rx_ids *out, uint32_t depth) {
    const rx_node n = r->node[id];
    if (!(n.flags & RX_RULES) || n.mark == r->epoch || !rx_ok(r)) return;
    r->node[id].mark = r->epoch;
    if (depth > RX_DEPTH_MAX) {
        rx_fail(r, HONE_ERR_LIMIT, "a rule is nested too deeply");
        return;
    }
    switch (n.kind) {
    case RX_RULE: rx_ids_push(r, out, n.a); break;
    case RX_REPEAT: leftmost(r, n.a, out, depth + 1); break;
    case RX_CAT:
        leftmost(r, n.a, out, depth + 1);
        if (rx_nullable(r, n.a)) leftmost(r, n.b, out, depth + 1);
        break;
    case RX_ALT:
        for (uint32_t i = 0; i < n.b; i++) leftmost(r, r->list.id[n.a + i], out, depth + 1);
        break;
    default: break;
    }
}

#define STRAIGHTEN_MAX 1000u /* rules of a grammar with left recursion: the work is quadratic */

/* What straightening knows of a rule, with the rule at hand in mind. */
enum { REACHES = 1, INLINED = 2 };

static bool begins_so(hone_regular *r, uint32_t id, const uint8_t *known, uint32_t rule) {
    rx_ids left = {0};
    bool out = false;
    r->epoch++;
    leftmost(r, id, &left, 0);
    for (size_t i = 0; i < left.n; i++) out = out || left.id[i] == rule || (known[left.id[i]] & REACHES);
    r->work += 1 + left.n;
    r->bytes -= left.cap * sizeof(*left.id);
    hone_free(left.id);
    return out;
}

/* id = RULE rule . tail | rest, the rules that lead there replaced by their bodies; false where the rule hides behind
 * something that may be empty, below a repetition, or beyond another rule that begins with itself. */
static bool factor(hone_regular *r, uint32_t id, uint8_t *known, uint32_t rule, uint32_t *tail, uint32_t *rest,
                   uint32_t depth) {
    *tail = HONE_RX_NONE;
    *rest = id;
    if (id == HONE_RX_FAIL) return false;
    if (depth > RX_DEPTH_MAX) return rx_fail(r, HONE_ERR_LIMIT, "a rule is nested too deeply"), false;
    if (!begins_so(r, id, known, rule) || !rx_ok(r)) return rx_ok(r);
    const rx_node n = r->node[id];
    uint32_t t, o;
    bool ok;
    switch (n.kind) {
    case RX_RULE:
        if (n.a == rule) {
            *tail = HONE_RX_EMPTY;
            *rest = HONE_RX_NONE;
            return true;
        }
        if (known[n.a] & INLINED) return false;
        known[n.a] |= INLINED;
        ok = factor(r, r->rule[n.a].body, known, rule, tail, rest, depth + 1);
        known[n.a] &= (uint8_t)~INLINED;
        return ok;
    case RX_ALT:
        *rest = HONE_RX_NONE;
        for (uint32_t i = 0; i < n.b; i++) {
            if (!factor(r, r->list.id[n.a + i], known, rule, &t, &o, depth + 1)) return false;
            *tail = hone_rx_alt(r, *tail, t);
            *rest = hone_rx_alt(r, *rest, o);
        }
        return rx_ok(r);
    case RX_CAT:
        if (rx_nullable(r, n.a) && begins_so(r, n.b, known, rule)) return false;
        if (!factor(r, n.a, known, rule, &t, &o, depth + 1)) return false;
        *tail = rx_cat(r, t, n.b);
        *rest = rx_cat(r, o, n.b);
        return rx_ok(r);
    default: return false;
    }
}

/* A = A x | y is A = y x* (Arden), for one rule after the other. */
static bool straighten(hone_regular *r) {
    if (r->n_rule > STRAIGHTEN_MAX) return false;
    uint8_t *known = hone_zalloc(r->n_rule, 1);
    bool ok = known != NULL;
    if (!ok) rx_fail(r, HONE_ERR_NOMEM, "no memory");
    for (uint32_t i = 0; ok && i < r->n_rule; i++) {
        memset(known, 0, r->n_rule);
        for (bool again = true; again && rx_ok(r) && r->work < r->work_limit;) { /* which rules may begin with rule i */
            again = false;
            for (size_t k = 0; k < r->n_rule; k++) {
                if (known[k] || !begins_so(r, r->rule[k].body, known, i)) continue;
                known[k] = REACHES;
                again = true;
            }
        }
        ok = rx_ok(r) && r->work < r->work_limit;
        if (!ok || !(known[i] & REACHES)) continue;
        uint32_t tail, rest;
        ok = factor(r, r->rule[i].body, known, i, &tail, &rest, 0);
        if (ok) r->rule[i].body = rx_cat(r, rest, hone_rx_repeat(r, tail, 0, HONE_RX_UNBOUNDED));
        ok = ok && rx_ok(r);
    }
    hone_free(known);
    return ok;
}

/* True when some rule begins with itself.  Depth first, iterative: rules x edges. */
static bool left_recursive(hone_regular *r) {
    uint8_t *state = hone_zalloc(r->n_rule + 1, 1); /* 1: on the path, 2: done */
    rx_ids path = {0}, edges = {0};                 /* path: (rule, begin of its edges, next edge) */
    bool found = false;
    if (!state) rx_fail(r, HONE_ERR_NOMEM, "no memory");
    for (size_t i = 0; state && i < r->n_rule && !found && rx_ok(r); i++) {
        if (state[i]) continue;
        uint32_t enter = (uint32_t)i;
        for (;;) {
            if (enter != HONE_RX_FAIL) {
                state[enter] = 1;
                const uint32_t begin = (uint32_t)edges.n;
                r->epoch++;
                leftmost(r, r->rule[enter].body, &edges, 0);
                rx_ids_push(r, &path, enter);
                rx_ids_push(r, &path, begin);
                rx_ids_push(r, &path, begin);
                enter = HONE_RX_FAIL;
            }
            if (!rx_ok(r) || path.n < 3) break;
            uint32_t *top = path.id + path.n - 3;
            if (top[2] < edges.n) {
                const uint32_t to = edges.id[top[2]++];
                if (state[to] == 1) {
                    found = true;
                    break;
                }
                if (state[to] == 0) enter = to;
                continue;
            }
            state[top[0]] = 2;
            edges.n = top[1];
            path.n -= 3;
            if (path.n == 0) break;
        }
    }
    r->bytes -= (path.cap + edges.cap) * sizeof(uint32_t);
    hone_free(path.id);
    hone_free(edges.id);
    hone_free(state);
    return found;
}

/* ---- Freezing ---- */

hone_status hone_grammar_finish(hone_grammar **out, hone_grammar_builder *b, hone_gx root, hone_error *err) {
    *out = NULL;
    hone_regular *r = b->r;
    hone_grammar *g = NULL;
    hone_status st;
    if (rx_ok(r) && root == HONE_GX_FAIL) rx_fail(r, HONE_ERR_INTERNAL, "no root");
    for (size_t i = 0; i < r->n_rule && rx_ok(r); i++)
        if (r->rule[i].body == HONE_RX_FAIL) rx_fail(r, HONE_ERR_INTERNAL, "a rule has no body");
    if (!rx_ok(r)) goto fail;
    r->work = 0;
    settle(r, ASK_PRODUCTIVE);
    simplify(r, &root);
    settle(r, ASK_NULLABLE);
    if (!rx_ok(r)) goto fail;
    r->frozen = true;
    if (left_recursive(r) && rx_ok(r)) {
        const bool straight = straighten(r);
        if (rx_ok(r) && (!straight || left_recursive(r)))
            rx_fail(r, HONE_ERR_UNSUPPORTED, "a rule begins with itself in a way that cannot be rewritten");
    }
    if (!rx_ok(r)) goto fail;
    if (root == HONE_RX_NONE) {
        hone_grammar_abandon(b);
        return hone_fail(err, HONE_ERR_ARG, "grammar: no text at all matches it");
    }
    if (!(g = hone_zalloc(1, sizeof(*g)))) {
        rx_fail(r, HONE_ERR_NOMEM, "no memory");
        goto fail;
    }
    if (pthread_mutex_init(&g->lock, NULL) != 0) {
        hone_free(g);
        rx_fail(r, HONE_ERR_NOMEM, "no lock");
        goto fail;
    }
    hone_free(r->json_memo);
    r->json_memo = NULL;
    r->json_memo_n = 0;
    atomic_init(&g->refs, 1);
    g->r = r;
    g->root = root;
    hone_free(b);
    *out = g;
    return HONE_OK;
fail:
    st = rx_status(r, err, "grammar");
    hone_grammar_abandon(b);
    return st;
}

/* ---- Counting ---- */

hone_grammar *hone_grammar_ref(hone_grammar *g) {
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed); /* the caller holds one already */
    return g;
}

void hone_grammar_unref(hone_grammar *g) {
    if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1) return;
    mask_cache_free(g->cache);
    hone_regular_close(g->r);
    pthread_mutex_destroy(&g->lock);
    hone_free(g);
}

bool hone_grammar_spent(const hone_grammar *g) {
    hone_grammar *w = (hone_grammar *)(uintptr_t)g;
    pthread_mutex_lock(&w->lock);
    const bool spent = g->r->full;
    pthread_mutex_unlock(&w->lock);
    return spent;
}

size_t hone_grammar_bytes(const hone_grammar *g) {
    hone_grammar *w = (hone_grammar *)(uintptr_t)g; /* the lock is no part of what it says */
    pthread_mutex_lock(&w->lock);
    const size_t bytes = sizeof(*g) + (size_t)g->r->bytes + mask_cache_bytes(g->cache);
    pthread_mutex_unlock(&w->lock);
    return bytes;
}
