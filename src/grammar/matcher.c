/* matcher.c - a text under a grammar: the states it went through, one per token, so that taking tokens back is free.
 *
 * The contract is in matcher.h.  Every call that may derive holds the grammar's lock: its tables grow while it walks.
 *
 * Order: opening, asking, going on, forced tokens. */
#include "grammar/matcher.h"

#include <string.h>

#include "base/mem.h"
#include "grammar/mask.h"

#define CLOSED HONE_RX_FAIL /* as a state: an end token was accepted */
#define FORCED_BYTES 4096u

struct hone_matcher {
    hone_grammar *g;
    hone_vocabulary *v;
    uint32_t *state; /* [cap], n + 1 in use: before the first token, after each */
    size_t n, cap;
    mask_frame *frame; /* [2][v->depth + 1] */
};

/* ---- Opening ---- */

hone_status hone_matcher_open(hone_matcher **out, hone_grammar *g, hone_vocabulary *v, hone_error *err) {
    *out = NULL;
    hone_matcher *m = hone_zalloc(1, sizeof(*m));
    if (!m) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a matcher");
    m->g = hone_grammar_ref(g);
    m->v = v;
    m->frame = hone_zalloc(((size_t)v->depth + 1) * 2, sizeof(*m->frame));
    if (!m->frame || !hone_grow(&m->state, &m->cap, 0, sizeof(*m->state))) {
        hone_matcher_close(m);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a matcher");
    }
    m->state[0] = g->root;
    *out = m;
    return HONE_OK;
}

void hone_matcher_close(hone_matcher *m) {
    if (!m) return;
    hone_grammar_unref(m->g);
    hone_free(m->state);
    hone_free(m->frame);
    hone_free(m);
}

static mask_walk walk_of(hone_matcher *m, uint32_t *bits) {
    return (mask_walk){.g = m->g, .v = m->v, .head = m->frame, .tail = m->frame + m->v->depth + 1, .bits = bits};
}

static void begin(hone_matcher *m) {
    pthread_mutex_lock(&m->g->lock);
    rx_begin(m->g->r, RX_WORK_TOKEN);
    if (m->g->r->n_row > RX_ROWS_MAX) rx_rows_forget(m->g->r); /* no walk is under way: nobody holds one */
}
static void end(hone_matcher *m) {
    pthread_mutex_unlock(&m->g->lock);
}

static bool is_end(const hone_vocabulary *v, int32_t token) {
    for (uint32_t i = 0; i < v->n_end; i++)
        if (v->end[i] == token) return true;
    return false;
}

/* Where the byte leads from a state: HONE_RX_NONE nowhere, HONE_RX_FAIL on failure. */
static uint32_t step_arcs(hone_regular *r, uint32_t state, uint8_t byte) {
    if (r->node[state].row) return hone_rx_row(r, state)[byte];
    if (!hone_rx_arcs(r, state)) return HONE_RX_FAIL;
    const rx_node *n = &r->node[state];
    const rx_arc *arc = r->arc + n->arc - 1;
    for (uint32_t i = 0; i < n->n_arc && arc[i].lo <= byte; i++)
        if (byte <= arc[i].hi) return arc[i].target;
    return HONE_RX_NONE;
}

/* The same.  A terminal's state with something behind it steps by the terminal's own arcs: one node for the byte that
 * came, where all arcs of the whole state would be a dozen, for each character of a counted string. */
static uint32_t step(hone_regular *r, uint32_t state, uint8_t byte) {
    uint32_t out = HONE_RX_NONE;
    for (;;) {
        const rx_node n = r->node[state];
        const rx_node head = r->node[n.kind == RX_CAT ? n.a : state];
        if (n.kind != RX_CAT || (n.flags & RX_PRUNED) || head.kind == RX_CAT || head.kind == RX_LIT ||
            (head.flags & RX_RULES))
            break;
        const uint32_t within = step_arcs(r, n.a, byte);
        if (within != HONE_RX_NONE) out = hone_rx_alt(r, out, rx_cat(r, within, n.b));
        if (out == HONE_RX_FAIL || !rx_nullable(r, n.a)) return out;
        state = n.b;
    }
    const uint32_t other = step_arcs(r, state, byte);
    return out == HONE_RX_NONE ? other : hone_rx_alt(r, out, other);
}

/* The state after the token; HONE_RX_NONE when it is not allowed, CLOSED (and *closed) for an end, HONE_RX_FAIL. */
static uint32_t after(hone_matcher *m, int32_t token, bool *closed) {
    const hone_vocabulary *v = m->v;
    uint32_t state = m->state[m->n];
    *closed = false;
    if (state == CLOSED || token < 0 || (uint32_t)token >= v->n) return HONE_RX_NONE;
    if (is_end(v, token) && rx_nullable(m->g->r, state)) {
        *closed = true;
        return CLOSED;
    }
    const uint32_t from = v->offset[token], to = v->offset[token + 1];
    if (from == to || to - from > v->depth) return HONE_RX_NONE;
    for (uint32_t i = from; i < to && state != HONE_RX_NONE && state != HONE_RX_FAIL; i++)
        state = step(m->g->r, state, v->text[i]);
    return state;
}

/* ---- Asking ---- */

hone_status hone_matcher_mask(hone_matcher *m, uint32_t *bits, hone_error *err) {
    const hone_vocabulary *v = m->v;
    const uint32_t state = m->state[m->n];
    if (state == CLOSED) return hone_fail(err, HONE_ERR_ARG, "grammar: the text is closed, nothing may follow");
    begin(m);
    mask_walk w = walk_of(m, bits);
    const bool ok = mask_of_state(&w, state);
    const bool complete = ok && rx_nullable(m->g->r, state);
    const hone_status st = ok ? HONE_OK : rx_status(m->g->r, err, "grammar");
    end(m);
    if (st != HONE_OK) return st;
    if (complete)
        for (uint32_t i = 0; i < v->n_end; i++) bits[v->end[i] / 32] |= 1u << (v->end[i] % 32);
    for (uint32_t i = 0; i < v->words; i++)
        if (bits[i]) return HONE_OK;
    return hone_fail(err, HONE_ERR_UNSUPPORTED, "grammar: no token of the vocabulary goes on with the text");
}

bool hone_matcher_allows(hone_matcher *m, int32_t token) {
    bool closed;
    begin(m);
    const uint32_t state = after(m, token, &closed);
    end(m);
    return closed || (state != HONE_RX_NONE && state != HONE_RX_FAIL);
}

bool hone_matcher_closed(const hone_matcher *m) {
    return m->state[m->n] == CLOSED;
}

bool hone_matcher_complete(hone_matcher *m) {
    const uint32_t state = m->state[m->n];
    if (state == CLOSED) return true;
    begin(m);
    const bool yes = rx_nullable(m->g->r, state);
    end(m);
    return yes;
}

/* ---- Going on ---- */

hone_status hone_matcher_accept(hone_matcher *m, int32_t token, hone_error *err) {
    bool closed;
    if (!hone_grow(&m->state, &m->cap, m->n + 1, sizeof(*m->state)))
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a matcher");
    begin(m);
    const uint32_t state = after(m, token, &closed);
    const hone_status st = state == HONE_RX_FAIL && !closed ? rx_status(m->g->r, err, "grammar") : HONE_OK;
    end(m);
    if (st != HONE_OK) return st;
    if (state == HONE_RX_NONE)
        return hone_fail(err, HONE_ERR_ARG, "grammar: token %d does not go on with the text", token);
    m->state[++m->n] = state;
    return HONE_OK;
}

void hone_matcher_rollback(hone_matcher *m, uint32_t n) {
    m->n -= n < m->n ? n : m->n;
}

/* ---- Forced tokens ---- */

uint32_t hone_matcher_forced(hone_matcher *m, int32_t *out, uint32_t cap) {
    const voc_trie *t = &m->v->all;
    uint32_t state = m->state[m->n], n = 0, n_out = 0, at = 0;
    uint8_t byte[FORCED_BYTES];
    if (state == CLOSED) return 0;
    begin(m);
    hone_regular *r = m->g->r;
    bool ok = true;
    while (n < FORCED_BYTES && !rx_nullable(r, state) && (ok = hone_rx_arcs(r, state))) {
        const rx_arc *arc = r->arc + r->node[state].arc - 1;
        if (r->node[state].n_arc != 1 || arc->lo != arc->hi) break;
        byte[n++] = arc->lo;
        state = arc->target;
    }
    while (ok && at < n && n_out < cap) {
        uint32_t i = t->root[byte[at]], token = VOC_NONE, length = 0, deep = 0;
        while (i != VOC_NONE) { /* i: the node of byte[at .. at + deep] */
            deep++;
            if (t->node[i].token != VOC_NONE) {
                token = t->node[i].token;
                length = deep;
            }
            if (at + deep == n) break;
            const uint32_t end_of = t->node[i].skip;
            uint32_t child = i + 1;
            while (child < end_of && t->node[child].byte != byte[at + deep]) child = t->node[child].skip;
            i = child < end_of ? child : VOC_NONE;
        }
        if (i != VOC_NONE) { /* all that is forced begins a longer token, which the model may want */
            bool any;
            mask_walk w = walk_of(m, NULL);
            if (n == FORCED_BYTES || !mask_any_below(&w, i, state, &any) || any) break;
        }
        if (token == VOC_NONE) break;
        out[n_out++] = (int32_t)token;
        at += length;
    }
    end(m);
    return n_out;
}
