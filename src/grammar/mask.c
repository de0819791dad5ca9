/* mask.c - which tokens may follow in a state: a walk of the vocabulary's trie through the automaton.
 *
 * Three things make it fast.
 *   Slices: where a state lets runs of plain characters pass (the inside of a JSON string), the mask of all tokens that
 *     are such runs is copied, and only the trie of the others is walked.  Whether it does is found once per state by
 *     looking at every character class at once, level by level; a string of at most n characters keeps the slices whose
 *     tokens still fit.
 *   Heads: a state that is a terminal's state with a continuation is walked with the terminal's own states, which all
 *     texts and all continuations share; the continuation is entered where the terminal may end.
 *   Memory: masks that took a walk of some length stay with the state.
 *
 * Order: memory, stepping, plain runs, walks, masks. */
#include "grammar/mask.h"

#include <string.h>

#include "base/mem.h"

#define CACHE_BYTES (16u << 20) /* masks kept per grammar */
#define WORTH_KEEPING 300u      /* trie nodes visited */
#define PLAIN_STATES 600u       /* looked at for one state's plain runs */
#define PLAIN_CHARS 48u         /* the same in characters: a longer run than tokens are, all but rulers of dashes */

/* ---- Memory ---- */

struct mask_cache {
    uint32_t serial, words;
    uint32_t **mask;
    size_t n, cap;
};

void mask_cache_free(struct mask_cache *c) {
    if (!c) return;
    for (size_t i = 0; i < c->n; i++) hone_free(c->mask[i]);
    hone_free(c->mask);
    hone_free(c);
}

size_t mask_cache_bytes(const struct mask_cache *c) {
    return c ? sizeof(*c) + c->cap * sizeof(*c->mask) + c->n * c->words * sizeof(uint32_t) : 0;
}

/* The cache of this vocabulary; another's is emptied.  NULL: none, which costs time only. */
static struct mask_cache *cache_for(hone_grammar *g, const hone_vocabulary *v) {
    if (g->cache && g->cache->serial == v->serial) return g->cache;
    mask_cache_free(g->cache);
    for (uint32_t id = 0; id < g->r->n_node; id++) g->r->node[id].memo = 0;
    g->cache = hone_zalloc(1, sizeof(*g->cache));
    if (g->cache) {
        g->cache->serial = v->serial;
        g->cache->words = v->words;
    }
    return g->cache;
}

static void keep(mask_walk *w, uint32_t state) {
    struct mask_cache *c = cache_for(w->g, w->v);
    const size_t bytes = w->v->words * sizeof(uint32_t);
    if (!c || (c->n + 1) * bytes > CACHE_BYTES) return;
    if (!hone_grow(&c->mask, &c->cap, c->n, sizeof(*c->mask))) return;
    if (!(c->mask[c->n] = hone_zalloc(w->v->words, sizeof(uint32_t)))) return;
    memcpy(c->mask[c->n], w->bits, bytes);
    w->g->r->node[state].memo = (uint32_t)++c->n;
}

/* ---- Stepping ---- */

static bool enter(hone_regular *r, uint32_t id, mask_frame *f) {
    if (!(r->node[id].flags & RX_PRUNED) && !hone_rx_arcs(r, id)) return false;
    const rx_node *n = &r->node[id];
    f->id = id;
    f->row = NULL;
    f->target = HONE_RX_NONE;
    f->lo = f->span = 0;
    if (n->n_arc == 1) {
        const rx_arc *arc = &r->arc[n->arc - 1];
        f->target = arc->target;
        f->lo = arc->lo;
        f->span = (uint8_t)(arc->hi - arc->lo);
    } else if (n->n_arc > 1 && !(f->row = hone_rx_row(r, id)))
        return false;
    return true;
}

static inline uint32_t step(const mask_frame *f, uint8_t byte) {
    if (f->row) return f->row[byte];
    return (uint8_t)(byte - f->lo) <= f->span ? f->target : HONE_RX_NONE;
}

static inline void allow(const mask_walk *w, uint32_t token) {
    for (; token != VOC_NONE; token = w->v->same[token]) w->bits[token / 32] |= 1u << (token % 32);
}

/* ---- Plain runs ---- */

/* The targets of id's arcs for the bytes lo..hi, onto out without neighbours repeated; 0 when some byte has none, -1 on
 * failure. */
static int cover(hone_regular *r, uint32_t id, uint32_t lo, uint32_t hi, rx_ids *out) {
    if (!hone_rx_arcs(r, id)) return -1;
    const rx_node *n = &r->node[id];
    for (uint32_t i = 0; i < n->n_arc; i++) {
        const rx_arc arc = r->arc[n->arc - 1 + i];
        if (arc.hi < lo) continue;
        if (arc.lo > lo) return 0;
        bool seen = false;
        for (size_t k = out->n; k-- > 0 && !seen && out->n - k < 8;) seen = out->id[k] == arc.target;
        if (!seen && !rx_ids_push(r, out, arc.target)) return -1;
        if (arc.hi >= hi) return 1;
        lo = arc.hi + 1u;
    }
    return 0;
}

/* Whether every plain character may come next in id; where they lead, onto out. */
static int plain_step(hone_regular *r, uint32_t id, rx_ids *out, rx_ids *tmp) {
    static const uint8_t ascii[3][2] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x7F}};
    /* First, second and third byte; then continuation bytes.  U+2028 and U+2029 (E2 80 A8, A9) are left out: the dot of
     * patterns leaves them out. */
    static const uint8_t lead[12][6] = {{0xC2, 0xDF, 0x80, 0xBF},
                                        {0xE0, 0xE0, 0xA0, 0xBF, 0x80, 0xBF},
                                        {0xE1, 0xE1, 0x80, 0xBF, 0x80, 0xBF},
                                        {0xE2, 0xE2, 0x80, 0x80, 0x80, 0xA7},
                                        {0xE2, 0xE2, 0x80, 0x80, 0xAA, 0xBF},
                                        {0xE2, 0xE2, 0x81, 0xBF, 0x80, 0xBF},
                                        {0xE3, 0xEC, 0x80, 0xBF, 0x80, 0xBF},
                                        {0xED, 0xED, 0x80, 0x9F, 0x80, 0xBF},
                                        {0xEE, 0xEF, 0x80, 0xBF, 0x80, 0xBF},
                                        {0xF0, 0xF0, 0x90, 0xBF, 0x80, 0xBF},
                                        {0xF1, 0xF3, 0x80, 0xBF, 0x80, 0xBF},
                                        {0xF4, 0xF4, 0x80, 0x8F, 0x80, 0xBF}};
    for (int i = 0; i < 3; i++) {
        const int ok = cover(r, id, ascii[i][0], ascii[i][1], out);
        if (ok <= 0) return ok;
    }
    for (int i = 0; i < 12; i++) {
        const uint32_t rest = lead[i][0] < 0xE0 ? 1 : lead[i][0] < 0xF0 ? 2 : 3;
        size_t begin = tmp->n = 0;
        int ok = cover(r, id, lead[i][0], lead[i][1], tmp);
        if (ok <= 0) return ok;
        for (uint32_t c = 0; c < rest; c++) {
            const size_t end = tmp->n;
            for (size_t k = begin; k < end; k++) {
                const uint32_t lo = c > 1 ? 0x80 : lead[i][2 + 2 * c], hi = c > 1 ? 0xBF : lead[i][3 + 2 * c];
                ok = cover(r, tmp->id[k], lo, hi, c + 1 == rest ? out : tmp);
                if (ok <= 0) return ok;
            }
            begin = end;
        }
    }
    return 1;
}

/* Whether no arc of a state that was derived takes a control character. */
static bool starts_above_control(const hone_regular *r, uint32_t id) {
    const rx_node *n = &r->node[id];
    return n->n_arc == 0 || r->arc[n->arc - 1].lo >= 0x20;
}

/* Whether no arc of a state takes a byte that plain characters are made of; -1 on failure. */
static int starts_unplain(hone_regular *r, uint32_t id) {
    if (!hone_rx_arcs(r, id)) return -1;
    const rx_node *n = &r->node[id];
    for (uint32_t i = 0; i < n->n_arc; i++) {
        const rx_arc *arc = &r->arc[n->arc - 1 + i];
        if (arc->hi >= 0x20 && !(arc->lo == arc->hi && (arc->lo == '"' || arc->lo == '\\'))) return 0;
    }
    return 1;
}

/* Characters of plain text that may come next in id whatever they are; 254: any number.  -1 on failure. */
static int plain_run(hone_regular *r, uint32_t id, uint32_t most) {
    if (r->node[id].plain == 255 || (r->node[id].plain && (r->node[id].flags & RX_EXACT))) return r->node[id].plain - 1;
    if (r->node[id].plain > PLAIN_CHARS / 2) return r->node[id].plain - 1; /* a lower bound that fits most tokens */
    rx_ids level = {0}, next = {0}, tmp = {0};
    int answer = -1;
    bool quiet = true;
    if (r->node[id].kind == RX_REPEAT) { /* of one character that may be any plain one: as many as may come */
        int ok = plain_step(r, r->node[id].a, &next, &tmp);
        for (size_t i = 0; i < next.n && ok > 0; i++) ok = next.id[i] == HONE_RX_EMPTY;
        if (ok < 0) goto done;
        if (ok > 0) {
            rx_node *n = &r->node[id];
            answer = n->c == HONE_RX_UNBOUNDED ? 254 : n->c > 253 ? 253 : (int)n->c;
            n->plain = (uint8_t)(1 + answer);
            n->flags |= RX_EXACT;
            /* The states on the way are this one with other counts: they begin as the character does. */
            if (starts_above_control(r, n->a)) n->flags |= RX_QUIET;
            if (answer < 253) n->flags |= RX_WALL;
            goto done;
        }
    }
    if (most > PLAIN_CHARS) most = PLAIN_CHARS;
    /* level: all states so far, `from` where the current level begins; begin[]: of every level.  A search that runs
     * meanwhile may take a mark away: then a state is looked at twice. */
    size_t from = 0, begin[PLAIN_CHARS + 1];
    uint32_t chars = 0, epoch[PLAIN_CHARS + 2];
    bool again = false, ends_here = false; /* a level leads back to an earlier one; a state of this one takes not all */
    epoch[0] = ++r->epoch;
    if (!rx_ids_push(r, &level, id)) goto done;
    r->node[id].mark = epoch[0];
    for (;;) {
        begin[chars] = from;
        if (from == level.n) { /* nothing new: any number */
            answer = 254;
            break;
        }
        if (chars == most || level.n > PLAIN_STATES) {
            answer = (int)chars;
            break;
        }
        const size_t end = level.n;
        epoch[chars + 1] = ++r->epoch;
        for (size_t i = from; i < end && !ends_here; i++) {
            next.n = 0;
            const int ok = plain_step(r, level.id[i], &next, &tmp);
            if (ok < 0) goto done;
            quiet = quiet && starts_above_control(r, level.id[i]); /* also of the last level, which counts no more */
            ends_here = ok == 0;
            for (size_t k = 0; k < next.n && !ends_here; k++) {
                rx_node *n = &r->node[next.id[k]];
                if (n->mark == epoch[chars + 1]) continue;
                bool before = false;
                for (uint32_t c = 0; c <= chars && !before; c++) before = n->mark == epoch[c];
                again = again || before;
                if (before) continue;
                n->mark = epoch[chars + 1];
                if (!rx_ids_push(r, &level, next.id[k])) goto done;
            }
        }
        if (ends_here) {
            answer = (int)chars;
            level.n = end;
            break;
        }
        from = end;
        chars++;
    }
    for (uint32_t c = 0; c <= chars; c++) {
        const size_t end = c < chars ? begin[c + 1] : level.n;
        for (size_t i = begin[c]; i < end; i++) {
            const int bound = answer == 254 ? 254 : answer - (int)c;
            rx_node *n = &r->node[level.id[i]];
            if (bound >= 0 && n->plain < 1 + bound) {
                n->plain = (uint8_t)(1 + bound);
                n->flags = (uint16_t)((n->flags & ~RX_QUIET) | (quiet ? RX_QUIET : 0));
            }
        }
    }
    int wall = ends_here && !again;
    for (size_t i = wall ? begin[chars] : level.n; i < level.n && wall > 0; i++) wall = starts_unplain(r, level.id[i]);
    if (wall < 0) {
        answer = -1;
        goto done;
    }
    if (wall) r->node[id].flags |= RX_WALL;
    r->node[id].flags |= RX_EXACT; /* or as good as it gets within the limits */
done:
    r->bytes -= (level.cap + next.cap + tmp.cap) * sizeof(uint32_t);
    hone_free(level.id);
    hone_free(next.id);
    hone_free(tmp.id);
    return answer;
}

/* The trie to walk for a state that begins so and goes on with k (HONE_RX_EMPTY: nothing), its slice's bits into
 * w->bits. */
static const voc_trie *begin(mask_walk *w, uint32_t id, uint32_t k) {
    const hone_vocabulary *v = w->v;
    hone_regular *r = w->g->r;
    const int run = plain_run(r, id, v->slice[VOC_SLICES - 1].chars);
    if (run < 0) return NULL;
    if (run > 0 && run < VOC_COUNTS && (r->node[id].flags & RX_WALL)) {
        const int apart = k == HONE_RX_EMPTY ? 1 : starts_unplain(r, k);
        if (apart < 0) return NULL;
        if (apart) { /* plain tokens are decided by their length, others are walked */
            memcpy(w->bits, v->upto[run], v->words * sizeof(*w->bits));
            const voc_slice *last = &v->slice[VOC_SLICES - 1];
            if (!(r->node[id].flags & RX_QUIET)) return &last->rest;
            return k == HONE_RX_EMPTY || starts_above_control(r, k) ? &last->quiet : &last->rest;
        }
    }
    for (int s = VOC_SLICES; s-- > 0 && run > 0;)
        if (run == 254 || v->slice[s].chars < (uint32_t)run) { /* one more: what follows the run is known, too */
            memcpy(w->bits, v->slice[s].bits, v->words * sizeof(*w->bits));
            if (!(r->node[id].flags & RX_QUIET)) return &v->slice[s].rest;
            if (k != HONE_RX_EMPTY && !hone_rx_arcs(r, k)) return NULL;
            return k == HONE_RX_EMPTY || starts_above_control(r, k) ? &v->slice[s].quiet : &v->slice[s].rest;
        }
    memset(w->bits, 0, v->words * sizeof(*w->bits));
    return &v->all;
}

/* ---- Walks ---- */

/* Nodes [i, end) of the trie; w->tail[d] is entered, d being the depth above node i. */
static bool walk(mask_walk *w, const voc_trie *t, uint32_t i, uint32_t end) {
    hone_regular *r = w->g->r;
    mask_frame *frame = w->tail;
    const voc_node *node = t->node;
    uint64_t visited = 0;
    while (i < end) {
        const voc_node *n = &node[i];
        visited++;
        const uint32_t state = step(&frame[n->depth - 1], n->byte);
        if (state == HONE_RX_NONE) {
            i = n->skip;
            continue;
        }
        if (n->token != VOC_NONE) allow(w, n->token);
        if (n->skip > i + 1) { /* most steps of free text stay where they are */
            if (state == frame[n->depth - 1].id)
                frame[n->depth] = frame[n->depth - 1];
            else if (!enter(r, state, &frame[n->depth]))
                return false;
        }
        i++;
    }
    w->visited += visited;
    return true;
}

/* The whole trie from a state. */
static bool walk_all(mask_walk *w, const voc_trie *t, uint32_t state) {
    if (!enter(w->g->r, state, &w->tail[0])) return false;
    for (uint32_t b = 0; b < 256; b++) {
        const uint32_t i = t->root[b];
        if (i != VOC_NONE && step(&w->tail[0], (uint8_t)b) != HONE_RX_NONE && !walk(w, t, i, t->node[i].skip))
            return false;
    }
    return true;
}

/* The whole trie from head, with k behind it. */
static bool walk_head(mask_walk *w, const voc_trie *t, uint32_t head, uint32_t k) {
    hone_regular *r = w->g->r;
    mask_frame *frame = w->head, after = {0};
    bool entered = false;
    if (!enter(r, head, &frame[0])) return false;
    frame[0].nullable = rx_nullable(r, head);
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t i = t->root[b];
        if (i == VOC_NONE) continue;
        const uint32_t end = t->node[i].skip;
        while (i < end) {
            const voc_node *n = &t->node[i];
            const mask_frame *above = &frame[n->depth - 1];
            w->visited++;
            if (above->nullable) {
                if (!entered && !enter(r, k, &after)) return false;
                entered = true;
                const uint32_t state = step(&after, n->byte);
                if (state != HONE_RX_NONE) {
                    if (n->token != VOC_NONE) allow(w, n->token);
                    if (n->skip > i + 1 && (!enter(r, state, &w->tail[n->depth]) || !walk(w, t, i + 1, n->skip)))
                        return false;
                }
            }
            const uint32_t state = step(above, n->byte);
            if (state == HONE_RX_NONE) {
                i = n->skip;
                continue;
            }
            if (n->token != VOC_NONE) allow(w, n->token);
            if (n->skip > i + 1) {
                if (state == above->id)
                    frame[n->depth] = *above;
                else {
                    if (!enter(r, state, &frame[n->depth])) return false;
                    frame[n->depth].nullable = rx_nullable(r, state);
                }
            }
            i++;
        }
    }
    return true;
}

/* ---- Masks ---- */

bool mask_of_state(mask_walk *w, uint32_t state) {
    hone_regular *r = w->g->r;
    const struct mask_cache *cache = cache_for(w->g, w->v);
    if (cache && r->node[state].memo) {
        memcpy(w->bits, cache->mask[r->node[state].memo - 1], w->v->words * sizeof(*w->bits));
        return true;
    }
    w->visited = 0;
    uint32_t head = state, k = HONE_RX_EMPTY;
    while (r->node[head].kind == RX_CAT) {
        k = rx_cat(r, r->node[head].b, k);
        head = r->node[head].a;
        if (k == HONE_RX_FAIL) return false;
    }
    const bool apart = k != HONE_RX_EMPTY && !(r->node[head].flags & RX_RULES) && r->node[head].kind != RX_LIT;
    const voc_trie *t = begin(w, apart ? head : state, apart ? k : HONE_RX_EMPTY);
    if (!t || !(apart ? walk_head(w, t, head, k) : walk_all(w, t, state))) return false;
    if (w->visited > WORTH_KEEPING) keep(w, state);
    return true;
}

bool mask_any_below(mask_walk *w, uint32_t i, uint32_t state, bool *any) {
    hone_regular *r = w->g->r;
    const voc_node *node = w->v->all.node;
    const uint32_t end = node[i].skip;
    *any = false;
    if (!enter(r, state, &w->tail[node[i].depth])) return false;
    for (i++; i < end;) {
        const voc_node *n = &node[i];
        const uint32_t to = step(&w->tail[n->depth - 1], n->byte);
        if (to == HONE_RX_NONE) {
            i = n->skip;
            continue;
        }
        if (n->token != VOC_NONE) {
            *any = true;
            return true;
        }
        if (!enter(r, to, &w->tail[n->depth])) return false;
        i++;
    }
    return true;
}
