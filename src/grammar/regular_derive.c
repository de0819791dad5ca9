/* regular_derive.c - expressions as lazily built automata: arcs, dense rows, and which states can be completed.
 *
 * A node's arcs are its derivatives for all bytes at once: ascending disjoint ranges, each with the expression that is
 * left (symbolic derivatives; Owens, Reppy and Turon 2009 compute them a class at a time).  They are made when they are
 * asked for first and stay with the node.
 *
 * "Never stuck" rests on two facts.  Without intersections and complements every node but "nothing" matches something,
 * because the builders let nothing swallow what it stands in.  With them, a search for a text decides, and its answer
 * stays with every node it passed.  Terminals are cleaned of dead parts before they enter a grammar: tails and repeated
 * parts are live, so a state can be completed exactly when its head can.
 *
 * Order: collecting, merging, deriving, liveness, arcs and rows, cleaning, questions of regular.h. */
#include <string.h>

#include "base/mem.h"
#include "grammar/regular_impl.h"

/* ---- Collecting ---- */

static bool push(hone_regular *r, uint32_t lo, uint32_t hi, uint32_t target) {
    if (target == HONE_RX_FAIL) return false;
    if (r->n_raw == r->raw_cap) {
        if (r->raw_cap * sizeof(*r->raw) > RX_BYTES_MAX / 4) {
            rx_fail(r, HONE_ERR_LIMIT, "a state of the automaton has too many arcs");
            return false;
        }
        if (!hone_grow(&r->raw, &r->raw_cap, r->n_raw, sizeof(*r->raw))) {
            rx_fail(r, HONE_ERR_NOMEM, "no memory");
            return false;
        }
    }
    r->work++;
    r->raw[r->n_raw++] = (rx_arc){.target = target, .lo = (uint8_t)lo, .hi = (uint8_t)hi};
    return true;
}

/* The arcs of `id` followed by k, onto the stack r->raw: any order, overlapping. */
static bool collect(hone_regular *r, uint32_t id, uint32_t k) {
    if (++r->depth > RX_DEPTH_MAX) {
        rx_fail(r, HONE_ERR_LIMIT, "expressions are nested too deeply");
        return false;
    }
    bool ok = true;
    for (;;) {
        if (!rx_ok(r) || id == HONE_RX_FAIL || k == HONE_RX_FAIL) {
            ok = false;
            break;
        }
        const rx_node n = r->node[id];
        if (n.kind == RX_KIND_NONE || n.kind == RX_KIND_EMPTY) break;
        if (n.kind == RX_LIT) {
            const uint8_t byte = r->blob[n.a];
            ok = push(r, byte, byte, rx_cat(r, rx_lit_tail(r, n.a + 1, n.b - 1), k));
            break;
        }
        if (n.kind == RX_MULTIPLE) {
            const bool behind = n.c & 1;
            const uint32_t places = n.c >> 1;
            for (uint32_t d = 0; ok && d < (behind && places == 0 ? 1u : 10u); d++) {
                const uint32_t left = behind && places ? places - 1 : places;
                const uint32_t rest = behind && !places ? n.b : (n.b * 10 + d) % n.a;
                ok = push(r, '0' + d, '0' + d, rx_cat(r, rx_multiple(r, n.a, rest, left, behind), k));
            }
            if (ok && !behind) ok = push(r, '.', '.', rx_cat(r, rx_multiple(r, n.a, n.b, places, true), k));
            break;
        }
        if (n.kind == RX_CLASS) {
            for (uint32_t b = 0; ok && b < 256; b++) {
                if (!(r->set[n.a][b / 8] >> (b % 8) & 1)) continue;
                const uint32_t lo = b;
                while (b < 255 && (r->set[n.a][(b + 1) / 8] >> ((b + 1) % 8) & 1)) b++;
                ok = push(r, lo, b, k);
            }
            break;
        }
        if (n.kind == RX_RULE) {
            id = r->rule[n.a].body;
            if (++r->work > r->work_limit) rx_fail(r, HONE_ERR_LIMIT, "the automaton needs too many steps");
            continue;
        }
        if (n.kind == RX_ALT) {
            for (uint32_t i = 0; ok && i < n.b; i++) ok = collect(r, r->list.id[n.a + i], k);
            break;
        }
        if (n.kind == RX_REPEAT && (n.flags & RX_RULES)) {
            const uint32_t min = n.b == 0 || rx_nullable(r, n.a) ? 0 : n.b - 1;
            const uint32_t max = n.c == HONE_RX_UNBOUNDED ? n.c : n.c - 1;
            ok = collect(r, n.a, rx_cat(r, hone_rx_repeat(r, n.a, min, max), k));
            break;
        }
        if (n.kind != RX_CAT) { /* without rules: its own arcs are kept, and shared by all that follow it */
            if (k == HONE_RX_EMPTY && n.kind == RX_REPEAT) {
                const uint32_t min = n.b == 0 ? 0 : n.b - 1, max = n.c == HONE_RX_UNBOUNDED ? n.c : n.c - 1;
                ok = collect(r, n.a, hone_rx_repeat(r, n.a, min, max));
                break;
            }
            ok = rx_derive(r, id);
            for (uint32_t i = 0; ok && i < r->node[id].n_arc; i++) {
                const rx_arc arc = r->arc[r->node[id].arc - 1 + i];
                ok = push(r, arc.lo, arc.hi, rx_cat(r, arc.target, k));
            }
            break;
        }
        uint32_t head = n.a, tail = n.b;
        while (r->node[head].kind == RX_CAT) { /* turn it: (a b) c is a (b c) */
            const uint32_t inner = r->node[head].b;
            head = r->node[head].a;
            tail = rx_cat(r, inner, tail);
            if (tail == HONE_RX_FAIL) break;
        }
        if (tail == HONE_RX_FAIL) {
            ok = false;
            break;
        }
        if (!collect(r, head, rx_cat(r, tail, k))) {
            ok = false;
            break;
        }
        if (!rx_nullable(r, head)) break;
        id = tail;
    }
    r->depth--;
    return ok;
}

/* ---- Merging ---- */

static bool emit(hone_regular *r, uint32_t first, uint32_t lo, uint32_t hi, uint32_t target) {
    if (target == HONE_RX_FAIL) return false;
    if (target == HONE_RX_NONE) return true;
    if (r->n_arc > first && r->arc[r->n_arc - 1].target == target && r->arc[r->n_arc - 1].hi + 1u == lo) {
        r->arc[r->n_arc - 1].hi = (uint8_t)hi;
        return true;
    }
    if (r->n_arc == r->arc_cap) {
        const size_t before = r->arc_cap;
        if (r->bytes + (before ? before : 8) * sizeof(*r->arc) > RX_BYTES_MAX) {
            rx_full(r, "the automaton needs too much memory");
            return false;
        }
        if (!hone_grow(&r->arc, &r->arc_cap, r->n_arc, sizeof(*r->arc))) {
            rx_fail(r, HONE_ERR_NOMEM, "no memory");
            return false;
        }
        r->bytes += (r->arc_cap - before) * sizeof(*r->arc);
    }
    r->arc[r->n_arc++] = (rx_arc){.target = target, .lo = (uint8_t)lo, .hi = (uint8_t)hi};
    return true;
}

/* The arcs above `base` of the stack as disjoint ones behind r->arc[first].  need 0: union; else only where `need` arcs
 * overlap, as an intersection (each operand has one arc at most for a byte). */
__attribute__((noinline)) static bool merge(hone_regular *r, size_t base, uint32_t first, uint32_t need) {
    const size_t n = r->n_raw - base;
    rx_arc *raw = r->raw + base;
    bool sorted = need <= 1;
    for (size_t i = 1; i < n && sorted; i++) sorted = raw[i].lo > raw[i - 1].hi;
    if (sorted) {
        for (size_t i = 0; i < n; i++)
            if (!emit(r, first, raw[i].lo, raw[i].hi, raw[i].target)) return false;
        return true;
    }
    uint8_t cut[257] = {0}, of[256];
    for (size_t i = 0; i < n; i++) cut[raw[i].lo] = cut[raw[i].hi + 1u] = 1;
    uint32_t n_seg = 0, begin[257], count[257] = {0};
    for (uint32_t b = 0; b < 256; b++) {
        if (b == 0 || cut[b]) begin[n_seg++] = b;
        of[b] = (uint8_t)(n_seg - 1);
    }
    begin[n_seg] = 256;
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        for (uint32_t s = of[raw[i].lo]; s <= of[raw[i].hi]; s++) {
            count[s]++;
            total++;
        }
    r->work += total;
    r->seg.n = 0;
    while (r->seg.cap < total) {
        r->seg.n = r->seg.cap;
        if (!rx_ids_push(r, &r->seg, 0)) return false;
    }
    uint32_t at[257], sum = 0;
    for (uint32_t s = 0; s < n_seg; s++) {
        at[s] = sum;
        sum += count[s];
    }
    for (size_t i = 0; i < n; i++)
        for (uint32_t s = of[raw[i].lo]; s <= of[raw[i].hi]; s++) r->seg.id[at[s]++] = raw[i].target;
    for (uint32_t s = 0; s < n_seg; s++) {
        if (count[s] == 0 || (need && count[s] < need)) continue;
        const uint32_t *part = r->seg.id + at[s] - count[s];
        const uint32_t target = count[s] == 1 ? part[0] : need ? rx_and(r, part, count[s]) : rx_alt(r, part, count[s]);
        if (!emit(r, first, begin[s], begin[s + 1] - 1, target)) return false;
    }
    return true;
}

/* ---- Deriving ---- */

static bool push_arcs_of(hone_regular *r, uint32_t id) {
    if (!rx_derive(r, id)) return false;
    for (uint32_t i = 0; i < r->node[id].n_arc; i++) {
        const rx_arc arc = r->arc[r->node[id].arc - 1 + i];
        if (!push(r, arc.lo, arc.hi, arc.target)) return false;
    }
    return true;
}

bool rx_derive(hone_regular *r, uint32_t id) {
    if (id == HONE_RX_FAIL || !rx_ok(r)) return false;
    if (r->node[id].arc) return true;
    if (++r->depth > RX_DEPTH_MAX) {
        rx_fail(r, HONE_ERR_LIMIT, "expressions are nested too deeply");
        return false;
    }
    const rx_node n = r->node[id];
    const size_t base = r->n_raw;
    bool ok = true;
    uint32_t first, need = 0;
    if (n.kind == RX_AND) {
        for (uint32_t i = 0; ok && i < n.b; i++) ok = push_arcs_of(r, r->list.id[n.a + i]);
        need = n.b;
    } else if (n.kind == RX_NOT) {
        ok = rx_derive(r, n.a);
        uint32_t from = 0;
        for (uint32_t i = 0; ok && i < r->node[n.a].n_arc; i++) {
            const rx_arc arc = r->arc[r->node[n.a].arc - 1 + i];
            if (arc.lo > from) ok = push(r, from, arc.lo - 1u, RX_ALL);
            ok = ok && push(r, arc.lo, arc.hi, hone_rx_not(r, arc.target));
            from = arc.hi + 1u;
        }
        if (ok && from < 256) ok = push(r, from, 255, RX_ALL);
    } else
        ok = collect(r, id, HONE_RX_EMPTY);
    first = (uint32_t)r->n_arc;
    if (ok && !merge(r, base, first, need)) ok = false;
    if (ok) {
        r->node[id].arc = 1 + first;
        r->node[id].n_arc = (uint16_t)(r->n_arc - first);
    } else
        r->n_arc = first;
    r->n_raw = base;
    r->depth--;
    return ok;
}

/* ---- Liveness ---- */

/* A depth-first search of an intersection or complement through the raw arcs, for a text or for something known. */
static int search(hone_regular *r, uint32_t id, uint32_t limit) {
    rx_ids path = {0}, visited = {0}; /* path: (node, next arc) pairs */
    int answer = -1;
    const uint32_t epoch = ++r->epoch;
    if (!rx_ids_push(r, &path, id) || !rx_ids_push(r, &path, 0) || !rx_ids_push(r, &visited, id)) goto done;
    r->node[id].mark = epoch;
    while (path.n) {
        const uint32_t at = path.id[path.n - 2], i = path.id[path.n - 1];
        if (rx_nullable(r, at)) {
            answer = 1;
            break;
        }
        if (!rx_derive(r, at)) goto done;
        if (i == r->node[at].n_arc) {
            path.n -= 2;
            continue;
        }
        path.id[path.n - 1]++;
        const uint32_t target = r->arc[r->node[at].arc - 1 + i].target;
        const rx_node *n = &r->node[target];
        /* A search inside of this one may take marks away, but then it has ended this one or left its nodes dead. */
        if (n->mark == epoch || (n->flags & RX_DEAD)) continue;
        if ((n->kind != RX_AND && n->kind != RX_NOT) || (n->flags & RX_LIVE)) {
            const int live = rx_live(r, target, limit);
            if (live < 0) goto done;
            if (live == 0) continue;
            answer = 1;
            break;
        }
        r->node[target].mark = epoch;
        if (visited.n >= limit) {
            rx_fail(r, HONE_ERR_LIMIT, "whether patterns have a text in common needs too many steps");
            goto done;
        }
        if (!rx_ids_push(r, &visited, target) || !rx_ids_push(r, &path, target) || !rx_ids_push(r, &path, 0)) goto done;
    }
    if (answer == 1)
        for (size_t i = 0; i < path.n; i += 2) r->node[path.id[i]].flags |= RX_LIVE;
    else {
        answer = 0;
        for (size_t i = 0; i < visited.n; i++) r->node[visited.id[i]].flags |= RX_DEAD;
    }
done:
    r->bytes -= (path.cap + visited.cap) * sizeof(uint32_t);
    hone_free(path.id);
    hone_free(visited.id);
    return answer;
}

int rx_live(hone_regular *r, uint32_t id, uint32_t limit) {
    if (id == HONE_RX_FAIL) return -1;
    while (r->node[id].kind == RX_CAT && !(r->node[id].flags & RX_DEAD)) id = r->node[id].a; /* tails are clean */
    const rx_node n = r->node[id];
    if (n.kind == RX_KIND_NONE || (n.flags & RX_DEAD)) return 0;
    if (!(n.flags & RX_LOGIC) || (n.flags & RX_LIVE) || n.kind == RX_REPEAT) return 1;
    if (++r->depth > RX_DEPTH_MAX) {
        r->depth--;
        rx_fail(r, HONE_ERR_LIMIT, "expressions are nested too deeply");
        return -1;
    }
    int answer = 0;
    if (n.kind != RX_ALT)
        answer = search(r, id, limit);
    else {
        for (uint32_t i = 0; answer == 0 && i < n.b; i++) answer = rx_live(r, r->list.id[n.a + i], limit);
        if (answer >= 0) r->node[id].flags |= answer ? RX_LIVE : RX_DEAD;
    }
    r->depth--;
    return answer;
}

/* ---- Arcs and rows ---- */

bool hone_rx_arcs(hone_regular *r, uint32_t id) {
    if (id == HONE_RX_FAIL) return false;
    if (r->node[id].flags & RX_PRUNED) return true;
    if (!rx_derive(r, id)) return false;
    if (r->node[id].flags & RX_LOGIC) {
        const uint32_t first = r->node[id].arc - 1, n = r->node[id].n_arc;
        uint32_t kept = 0;
        for (uint32_t i = 0; i < n; i++) {
            const int live = rx_live(r, r->arc[first + i].target, RX_VOID_MAX);
            if (live < 0) return false; /* all arcs are still there; those before are known to be live */
            if (live) kept++;
        }
        if (kept < n) {
            kept = 0;
            for (uint32_t i = 0; i < n; i++)
                if (rx_live(r, r->arc[first + i].target, RX_VOID_MAX) > 0) r->arc[first + kept++] = r->arc[first + i];
            r->node[id].n_arc = (uint16_t)kept;
        }
    }
    r->node[id].flags |= RX_PRUNED;
    return true;
}

const uint32_t *hone_rx_row(hone_regular *r, uint32_t id) {
    if (r->node[id].row) {
        const uint32_t at = r->node[id].row - 1;
        return r->row[at / RX_ROW_CHUNK] + (size_t)(at % RX_ROW_CHUNK) * 256;
    }
    if (!hone_rx_arcs(r, id)) return NULL;
    if (r->n_row / RX_ROW_CHUNK == r->n_row_chunk) { /* else: chunks that rows were forgotten in */
        const size_t bytes = (size_t)RX_ROW_CHUNK * 256 * sizeof(uint32_t);
        if (r->bytes + bytes > RX_BYTES_MAX) {
            rx_full(r, "the automaton needs too much memory");
            return NULL;
        }
        if (!hone_grow(&r->row, &r->row_cap, r->n_row_chunk, sizeof(*r->row)) ||
            !(r->row[r->n_row_chunk] = hone_alloc_aligned((size_t)RX_ROW_CHUNK * 256, sizeof(uint32_t)))) {
            rx_fail(r, HONE_ERR_NOMEM, "no memory");
            return NULL;
        }
        r->n_row_chunk++;
        r->bytes += bytes;
    }
    const uint32_t at = r->n_row++;
    uint32_t *row = r->row[at / RX_ROW_CHUNK] + (size_t)(at % RX_ROW_CHUNK) * 256;
    memset(row, 0, 256 * sizeof(*row));
    for (uint32_t i = 0; i < r->node[id].n_arc; i++) {
        const rx_arc arc = r->arc[r->node[id].arc - 1 + i];
        for (uint32_t b = arc.lo; b <= arc.hi; b++) row[b] = arc.target;
    }
    r->node[id].row = 1 + at;
    return row;
}

void rx_rows_forget(hone_regular *r) {
    for (uint32_t id = 0; id < r->n_node; id++) r->node[id].row = 0;
    r->n_row = 0;
}

/* ---- Cleaning ---- */

static uint32_t clean(hone_regular *r, uint32_t id, uint32_t depth) {
    if (id == HONE_RX_FAIL || !(r->node[id].flags & RX_LOGIC) || id == RX_ALL) return id;
    if (depth > RX_DEPTH_MAX) return rx_fail(r, HONE_ERR_LIMIT, "expressions are nested too deeply");
    if (++r->work > r->work_limit) return rx_fail(r, HONE_ERR_LIMIT, "the automaton needs too many steps");
    const rx_node n = r->node[id];
    uint32_t out = HONE_RX_FAIL;
    switch (n.kind) {
    case RX_CAT: {
        const uint32_t a = clean(r, n.a, depth + 1), b = clean(r, n.b, depth + 1);
        return a == n.a && b == n.b ? id : rx_cat(r, a, b);
    }
    case RX_REPEAT: return hone_rx_repeat(r, clean(r, n.a, depth + 1), n.b, n.c);
    case RX_NOT: out = hone_rx_not(r, clean(r, n.a, depth + 1)); break;
    case RX_ALT:
    case RX_AND: {
        uint32_t *part = hone_zalloc(n.b, sizeof(*part));
        if (!part) return rx_fail(r, HONE_ERR_NOMEM, "no memory");
        for (uint32_t i = 0; i < n.b; i++) part[i] = clean(r, r->list.id[n.a + i], depth + 1);
        out = n.kind == RX_ALT ? rx_alt(r, part, n.b) : rx_and(r, part, n.b);
        hone_free(part);
        if (n.kind == RX_ALT) return out;
        break;
    }
    default: return id;
    }
    if (out == HONE_RX_FAIL) return out;
    const int live = rx_live(r, out, RX_VOID_MAX);
    return live < 0 ? HONE_RX_FAIL : live ? out : HONE_RX_NONE;
}

uint32_t rx_clean(hone_regular *r, uint32_t id) {
    return clean(r, id, 0);
}

/* ---- Questions ---- */

bool hone_rx_is_void(hone_regular *r, hone_rx a, uint32_t limit) {
    if (a == HONE_RX_FAIL) return false;
    const hone_status failed = r->failed;
    const char *why = r->why;
    const uint32_t whole = rx_clean(r, a);
    const int live = whole == HONE_RX_FAIL ? -1 : rx_live(r, whole, limit);
    if (live < 0 && r->failed == HONE_ERR_LIMIT) { /* not known is an answer here */
        r->failed = failed;
        r->why = why;
    }
    return live == 0;
}

hone_rx hone_rx_derive(hone_regular *r, hone_rx a, uint8_t byte) {
    if (!rx_derive(r, a)) return HONE_RX_FAIL;
    for (uint32_t i = 0; i < r->node[a].n_arc; i++) {
        const rx_arc arc = r->arc[r->node[a].arc - 1 + i];
        if (byte >= arc.lo && byte <= arc.hi) return arc.target;
    }
    return HONE_RX_NONE;
}

bool hone_rx_matches(hone_regular *r, hone_rx a, const void *text, size_t n) {
    const uint8_t *byte = text;
    for (size_t i = 0; i < n && a != HONE_RX_NONE; i++) {
        a = hone_rx_derive(r, a, byte[i]);
        if (a == HONE_RX_FAIL) return false;
    }
    return a != HONE_RX_FAIL && rx_nullable(r, a);
}
