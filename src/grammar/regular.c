/* regular.c - building expressions: the arena, hash-consing, and the laws that keep equal languages equal nodes.
 *
 * The contract is in regular.h and regular_impl.h.  Laws that are applied: associativity, commutativity and idempotence
 * of union and intersection (they bound the number of derivatives), units and zeros, double complement, unions of byte
 * sets, nested repetition where it is the same, and absorption by the two universes (every UTF-8 text, every JSON
 * string), which keeps "anything goes from here" one state.
 *
 * Order: memory and failure, nodes, leaves, concatenation, union, intersection, complement, repetition, questions. */
#include "grammar/regular_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* ---- Memory and failure ---- */

uint32_t rx_fail(hone_regular *r, hone_status code, const char *why) {
    if (r->failed == HONE_OK) {
        r->failed = code;
        r->why = why;
    }
    return HONE_RX_FAIL;
}

uint32_t rx_full(hone_regular *r, const char *why) {
    r->full = true;
    return rx_fail(r, HONE_ERR_LIMIT, why);
}

hone_status rx_status(const hone_regular *r, hone_error *err, const char *what) {
    if (r->failed == HONE_OK) return HONE_OK;
    return hone_fail(err, r->failed, "%s: %s", what, r->why);
}

void rx_begin(hone_regular *r, uint64_t work_limit) {
    r->work_limit = work_limit;
    r->failed = HONE_OK;
    r->work = 0;
    r->depth = 0;
    r->n_raw = 0;
    r->tmp.n = 0;
}

/* Room for one more in an array of the arena, counted against the limit. */
static bool grow(hone_regular *r, void *array_pointer, size_t *cap, size_t n, size_t element_bytes) {
    if (n < *cap) return true;
    const size_t before = *cap;
    if (r->bytes + (before ? before : 8) * element_bytes > RX_BYTES_MAX) {
        rx_full(r, "the automaton needs too much memory");
        return false;
    }
    if (!hone_grow(array_pointer, cap, n, element_bytes)) {
        rx_fail(r, HONE_ERR_NOMEM, "no memory");
        return false;
    }
    r->bytes += (*cap - before) * element_bytes;
    return true;
}

bool rx_ids_push(hone_regular *r, rx_ids *v, uint32_t id) {
    if (!grow(r, &v->id, &v->cap, v->n, sizeof(*v->id))) return false;
    v->id[v->n++] = id;
    return true;
}

hone_status hone_regular_open(hone_regular **out, hone_error *err) {
    *out = NULL;
    hone_regular *r = hone_zalloc(1, sizeof(*r));
    if (!r) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a grammar's automaton");
    r->mask = 511;
    r->table = hone_zalloc(r->mask + 1, sizeof(*r->table));
    r->node_cap = 256;
    r->node = hone_zalloc(r->node_cap, sizeof(*r->node));
    r->blob_cap = 1024;
    r->blob = hone_zalloc(r->blob_cap, 1);
    if (!r->table || !r->node || !r->blob) {
        hone_regular_close(r);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a grammar's automaton");
    }
    for (r->n_blob = 0; r->n_blob < 256; r->n_blob++) r->blob[r->n_blob] = (uint8_t)r->n_blob;
    r->bytes = sizeof(*r) + (r->mask + 1) * sizeof(*r->table) + r->node_cap * sizeof(*r->node) + r->blob_cap;
    r->node[HONE_RX_NONE] = (rx_node){.kind = RX_KIND_NONE, .flags = RX_KNOWN | RX_DEAD | RX_UTF8 | RX_JSON};
    r->node[HONE_RX_EMPTY] =
        (rx_node){.kind = RX_KIND_EMPTY, .flags = RX_KNOWN | RX_NULLABLE | RX_LIVE | RX_UTF8 | RX_JSON};
    r->node[RX_ALL] =
        (rx_node){.kind = RX_NOT, .a = HONE_RX_NONE, .flags = RX_KNOWN | RX_NULLABLE | RX_LIVE | RX_LOGIC};
    r->n_node = 3;
    r->work_limit = RX_WORK_BUILD;
    *out = r;
    return HONE_OK;
}

void hone_regular_close(hone_regular *r) {
    if (!r) return;
    for (size_t i = 0; i < r->n_row_chunk; i++) hone_free(r->row[i]);
    hone_free(r->node);
    hone_free(r->table);
    hone_free(r->list.id);
    hone_free(r->set);
    hone_free(r->blob);
    hone_free(r->literal.id);
    hone_free(r->arc);
    hone_free(r->row);
    hone_free(r->rule);
    hone_free(r->json_memo);
    hone_free(r->raw);
    hone_free(r->tmp.id);
    hone_free(r->seg.id);
    hone_free(r);
}

/* ---- Nodes ---- */

static uint32_t mix(uint32_t h, uint32_t v) {
    h = (h ^ v) * 0x9E3779B1u;
    return h ^ (h >> 15);
}

static bool table_grow(hone_regular *r) {
    const uint32_t mask = r->mask * 2 + 1;
    uint32_t *table = hone_zalloc((size_t)mask + 1, sizeof(*table));
    if (!table) {
        rx_fail(r, HONE_ERR_NOMEM, "no memory");
        return false;
    }
    for (uint32_t id = 3; id < r->n_node; id++) {
        uint32_t at = r->node[id].hash & mask;
        while (table[at]) at = (at + 1) & mask;
        table[at] = id;
    }
    r->bytes += (uint64_t)(mask - r->mask) * sizeof(*table);
    hone_free(r->table);
    r->table = table;
    r->mask = mask;
    return true;
}

/* The node of that hash that equals `like`; children[n] where like is a union or intersection.  New where there is
 * none: its flags are like.flags. */
static uint32_t intern(hone_regular *r, const rx_node *like, const uint32_t *children) {
    if (r->work++ > r->work_limit) return rx_fail(r, HONE_ERR_LIMIT, "the automaton needs too many steps");
    uint32_t h = mix(like->kind, like->b);
    if (children)
        for (uint32_t i = 0; i < like->b; i++) h = mix(h, children[i]);
    else
        h = mix(mix(h, like->a), like->c);
    uint32_t at = h & r->mask;
    for (uint32_t id; (id = r->table[at]); at = (at + 1) & r->mask) {
        const rx_node *n = &r->node[id];
        if (n->hash != h || n->kind != like->kind || n->b != like->b) continue;
        if (children ? memcmp(r->list.id + n->a, children, like->b * sizeof(*children)) == 0
                     : n->a == like->a && n->c == like->c)
            return id;
    }
    if (r->n_node * 2u >= r->mask) {
        if (!table_grow(r)) return HONE_RX_FAIL;
        at = h & r->mask;
        while (r->table[at]) at = (at + 1) & r->mask;
    }
    if (!grow(r, &r->node, &r->node_cap, r->n_node, sizeof(*r->node))) return HONE_RX_FAIL;
    rx_node n = *like;
    n.hash = h;
    if (children) {
        n.a = (uint32_t)r->list.n;
        for (uint32_t i = 0; i < like->b; i++)
            if (!rx_ids_push(r, &r->list, children[i])) return HONE_RX_FAIL;
    }
    r->node[r->n_node] = n;
    r->table[at] = r->n_node;
    return r->n_node++;
}

void rx_flag(hone_regular *r, uint32_t id, uint16_t flags) {
    if (id != HONE_RX_FAIL) r->node[id].flags |= flags;
}

/* ---- Leaves ---- */

uint32_t rx_lit_tail(hone_regular *r, uint32_t offset, uint32_t n) {
    if (n == 0) return HONE_RX_EMPTY;
    if (n == 1) offset = r->blob[offset];
    rx_node like = {.kind = RX_LIT, .a = offset, .b = n, .flags = RX_KNOWN | RX_LIVE};
    const char *text = (const char *)r->blob + offset;
    if (n == 1 ? r->blob[offset] < 0x80 : hone_utf8_valid(text, n) == n) {
        like.flags |= RX_UTF8;
        bool plain = true;
        for (uint32_t i = 0; i < n && plain; i++)
            plain = r->blob[offset + i] >= 0x20 && r->blob[offset + i] != '"' && r->blob[offset + i] != '\\';
        if (plain) like.flags |= RX_JSON;
    }
    return intern(r, &like, NULL);
}

static uint32_t text_hash(const uint8_t *text, size_t n) {
    uint32_t h = (uint32_t)n;
    for (size_t i = 0; i < n; i++) h = mix(h, text[i]);
    return h;
}

hone_rx hone_rx_bytes(hone_regular *r, const void *bytes, size_t n) {
    const uint8_t *text = bytes;
    if (!rx_ok(r)) return HONE_RX_FAIL;
    if (n == 0) return HONE_RX_EMPTY;
    if (n == 1) return rx_lit_tail(r, text[0], 1);
    if (n > RX_BYTES_MAX) return rx_fail(r, HONE_ERR_LIMIT, "a literal is too long");
    if (r->literal.n * 2 >= r->literal.cap) {
        rx_ids bigger = {.cap = r->literal.cap ? r->literal.cap * 2 : 64};
        if (!(bigger.id = hone_zalloc(bigger.cap, sizeof(*bigger.id)))) return rx_fail(r, HONE_ERR_NOMEM, "no memory");
        bigger.n = r->literal.n;
        for (size_t i = 0; i < r->literal.cap; i++) {
            const uint32_t id = r->literal.id[i];
            if (!id) continue;
            size_t at = text_hash(r->blob + r->node[id].a, r->node[id].b) & (bigger.cap - 1);
            while (bigger.id[at]) at = (at + 1) & (bigger.cap - 1);
            bigger.id[at] = id;
        }
        r->bytes += (bigger.cap - r->literal.cap) * sizeof(*bigger.id);
        hone_free(r->literal.id);
        r->literal = bigger;
    }
    size_t at = text_hash(text, n) & (r->literal.cap - 1);
    for (uint32_t id; (id = r->literal.id[at]); at = (at + 1) & (r->literal.cap - 1))
        if (r->node[id].b == n && memcmp(r->blob + r->node[id].a, text, n) == 0) return id;
    const size_t offset = r->n_blob;
    if (offset + n > r->blob_cap) {
        size_t cap = r->blob_cap;
        while (cap < offset + n) cap *= 2;
        if (r->bytes + cap > RX_BYTES_MAX) return rx_full(r, "literals need too much memory");
        uint8_t *blob = hone_realloc(r->blob, cap, 1);
        if (!blob) return rx_fail(r, HONE_ERR_NOMEM, "no memory");
        r->bytes += cap - r->blob_cap;
        r->blob = blob;
        r->blob_cap = cap;
    }
    memcpy(r->blob + offset, text, n);
    r->n_blob += n;
    const uint32_t id = rx_lit_tail(r, (uint32_t)offset, (uint32_t)n);
    if (id == HONE_RX_FAIL) return id;
    r->literal.id[at] = id;
    r->literal.n++;
    return id;
}

hone_rx hone_rx_class(hone_regular *r, const uint8_t bits[32]) {
    if (!rx_ok(r)) return HONE_RX_FAIL;
    uint32_t count = 0, last = 0;
    bool plain = true;
    for (uint32_t b = 0; b < 256; b++)
        if (bits[b / 8] >> (b % 8) & 1) {
            count++;
            last = b;
            plain = plain && b >= 0x20 && b != '"' && b != '\\';
        }
    if (count == 0) return HONE_RX_NONE;
    if (count == 1) return rx_lit_tail(r, last, 1);
    size_t index = 0;
    while (index < r->n_set && memcmp(r->set[index], bits, 32) != 0) index++; /* a grammar has few different sets */
    if (index == r->n_set) {
        if (!grow(r, &r->set, &r->set_cap, r->n_set, sizeof(*r->set))) return HONE_RX_FAIL;
        memcpy(r->set[r->n_set++], bits, 32);
    }
    rx_node like = {.kind = RX_CLASS, .a = (uint32_t)index, .flags = RX_KNOWN | RX_LIVE};
    if (last < 0x80) like.flags |= (uint16_t)(RX_UTF8 | (plain ? RX_JSON : 0));
    return intern(r, &like, NULL);
}

hone_rx hone_rx_char_range(hone_regular *r, uint32_t first, uint32_t last) {
    if (!rx_ok(r)) return HONE_RX_FAIL;
    rx_chars c = {0};
    rx_chars_add(&c, first, last);
    rx_chars_sort(&c);
    const uint32_t id = rx_chars_node(r, &c);
    rx_chars_free(&c);
    return id;
}

uint32_t rx_rule_new(hone_regular *r) {
    if (!rx_ok(r)) return HONE_RX_FAIL;
    if (!grow(r, &r->rule, &r->rule_cap, r->n_rule, sizeof(*r->rule))) return HONE_RX_FAIL;
    const rx_node like = {.kind = RX_RULE, .a = (uint32_t)r->n_rule, .flags = RX_RULES};
    const uint32_t id = intern(r, &like, NULL);
    if (id != HONE_RX_FAIL) r->rule[r->n_rule++] = (rx_rule){.body = HONE_RX_FAIL};
    return id;
}

/* ---- Concatenation ---- */

/* a and b as they are: the invariant about first parts is the caller's. */
static uint32_t cat_raw(hone_regular *r, uint32_t a, uint32_t b) {
    if (a == HONE_RX_EMPTY) return b;
    if (b == HONE_RX_EMPTY) return a;
    const uint16_t fa = r->node[a].flags, fb = r->node[b].flags;
    rx_node like = {.kind = RX_CAT, .a = a, .b = b};
    like.flags = (uint16_t)(((fa | fb) & (RX_RULES | RX_LOGIC)) | (fa & fb & (RX_UTF8 | RX_JSON)));
    if ((fa & RX_KNOWN) && !(fa & RX_NULLABLE))
        like.flags |= RX_KNOWN;
    else if ((fa & RX_KNOWN) && (fb & RX_KNOWN))
        like.flags |= (uint16_t)(RX_KNOWN | (fb & RX_NULLABLE));
    else if ((fb & RX_KNOWN) && !(fb & RX_NULLABLE))
        like.flags |= RX_KNOWN;
    const uint32_t id = intern(r, &like, NULL);
    /* The same node may be reached by parts that tell more: "é" as two bytes, or as a character of a set. */
    if (id != HONE_RX_FAIL) r->node[id].flags |= like.flags & (RX_UTF8 | RX_JSON);
    return id;
}

uint32_t rx_cat(hone_regular *r, uint32_t a, uint32_t b) {
    if (a == HONE_RX_FAIL || b == HONE_RX_FAIL) return HONE_RX_FAIL;
    if (a == HONE_RX_NONE || b == HONE_RX_NONE) return HONE_RX_NONE;
    if (a == HONE_RX_EMPTY) return b;
    if (b == HONE_RX_EMPTY) return a;
    /* One level is enough: a longer first part is turned when it comes to the front. */
    if (r->node[a].kind == RX_CAT) {
        const uint16_t closed = r->node[a].flags & r->node[b].flags & (RX_UTF8 | RX_JSON);
        const uint32_t head = r->node[a].a, tail = cat_raw(r, r->node[a].b, b);
        const uint32_t id = tail == HONE_RX_FAIL ? tail : rx_cat(r, head, tail);
        rx_flag(r, id, closed);
        return id;
    }
    if (r->node[a].kind == RX_REPEAT && r->node[a].b == 0 && r->node[a].c == HONE_RX_UNBOUNDED &&
        (b == a || (r->node[b].kind == RX_CAT && r->node[b].a == a)))
        return b; /* x* x* */
    return cat_raw(r, a, b);
}

hone_rx hone_rx_cat(hone_regular *r, hone_rx a, hone_rx b) {
    if (!rx_ok(r) || a == HONE_RX_FAIL || b == HONE_RX_FAIL) return HONE_RX_FAIL;
    /* Adjacent literals become one: fewer nodes, longer forced runs per node. */
    if (r->node[a].kind == RX_LIT && b != HONE_RX_EMPTY) {
        const uint32_t head = r->node[b].kind == RX_CAT ? r->node[b].a : b;
        const uint32_t rest = r->node[b].kind == RX_CAT ? r->node[b].b : HONE_RX_EMPTY;
        const size_t na = r->node[a].b, nb = r->node[head].b;
        if (r->node[head].kind == RX_LIT && na + nb <= 256) {
            uint8_t text[256];
            memcpy(text, r->blob + r->node[a].a, na);
            memcpy(text + na, r->blob + r->node[head].a, nb);
            return rx_cat(r, hone_rx_bytes(r, text, na + nb), rest);
        }
    }
    return rx_cat(r, a, b);
}

/* ---- Multiples: the automaton of long division ---- */

uint32_t rx_multiple(hone_regular *r, uint32_t m, uint32_t remainder, uint32_t places, bool behind) {
    uint64_t end = remainder;
    for (uint32_t i = 0; i < places; i++) end = end * 10 % m;
    rx_node like = {.kind = RX_MULTIPLE, .a = m, .b = remainder, .c = places << 1 | behind};
    like.flags = (uint16_t)(RX_KNOWN | RX_LOGIC | (end == 0 ? RX_NULLABLE | RX_LIVE : 0));
    return intern(r, &like, NULL);
}

hone_rx hone_rx_multiple(hone_regular *r, uint32_t m, uint32_t places) {
    if (!rx_ok(r)) return HONE_RX_FAIL;
    if (m == 0 || m >= 400000000u || places >= 20) return rx_fail(r, HONE_ERR_LIMIT, "a multiple of too many digits");
    return rx_multiple(r, m, 0, places, false);
}

/* ---- Union and intersection ---- */

static int by_id(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* id[n] with the children of nodes of that kind in their place, ascending, once each, on the stack r->tmp from
 * *base. */
static bool flatten(hone_regular *r, rx_kind kind, const uint32_t *id, size_t n, size_t *base) {
    *base = r->tmp.n;
    bool ascending = true;
    for (size_t i = 0; i < n; i++) {
        if (id[i] == HONE_RX_FAIL) return false;
        const rx_node *node = &r->node[id[i]];
        if (node->kind != kind) {
            if (r->tmp.n > *base && r->tmp.id[r->tmp.n - 1] >= id[i]) ascending = false;
            if (!rx_ids_push(r, &r->tmp, id[i])) return false;
            continue;
        }
        for (uint32_t c = 0; c < node->b; c++) {
            const uint32_t child = r->list.id[node->a + c];
            if (r->tmp.n > *base && r->tmp.id[r->tmp.n - 1] >= child) ascending = false;
            if (!rx_ids_push(r, &r->tmp, child)) return false;
        }
    }
    r->work += r->tmp.n - *base;
    if (ascending) return true;
    uint32_t *part = r->tmp.id + *base;
    const size_t m = r->tmp.n - *base;
    if (m <= 16) {
        for (size_t i = 1; i < m; i++) {
            const uint32_t v = part[i];
            size_t j = i;
            for (; j > 0 && part[j - 1] > v; j--) part[j] = part[j - 1];
            part[j] = v;
        }
    } else
        qsort(part, m, sizeof(*part), by_id);
    size_t kept = 0;
    for (size_t i = 0; i < m; i++)
        if (kept == 0 || part[kept - 1] != part[i]) part[kept++] = part[i];
    r->tmp.n = *base + kept;
    return true;
}

static void set_of(const hone_regular *r, uint32_t id, uint8_t bits[32]) {
    if (r->node[id].kind == RX_CLASS)
        memcpy(bits, r->set[r->node[id].a], 32);
    else {
        memset(bits, 0, 32);
        const uint8_t byte = r->blob[r->node[id].a];
        bits[byte / 8] = (uint8_t)(1u << (byte % 8));
    }
}

static bool is_byte(const rx_node *n) {
    return n->kind == RX_CLASS || (n->kind == RX_LIT && n->b == 1);
}

uint32_t rx_alt(hone_regular *r, const uint32_t *id, size_t n) {
    size_t base;
    const size_t before = r->tmp.n;
    uint32_t out = HONE_RX_FAIL;
    if (!flatten(r, RX_ALT, id, n, &base)) goto done;

    /* What the universes hold already, what can be one set of bytes, and the empty text beside what holds it. */
    uint16_t absorb = 0;
    uint32_t bytes = 0, holds_empty = 0;
    bool all = false;
    for (size_t i = base; i < r->tmp.n; i++) {
        const uint32_t part = r->tmp.id[i];
        const rx_node *node = &r->node[part];
        if (part == r->universe[0] && part) absorb |= RX_UTF8;
        if (part == r->universe[1] && part) absorb |= RX_JSON;
        if (part == RX_ALL) all = true;
        bytes += is_byte(node);
        holds_empty += part != HONE_RX_EMPTY && (node->flags & RX_KNOWN) && (node->flags & RX_NULLABLE);
    }
    if (all) {
        out = RX_ALL;
        goto done;
    }
    size_t kept = base;
    uint8_t bits[32] = {0}, more[32];
    for (size_t i = base; i < r->tmp.n; i++) {
        const uint32_t part = r->tmp.id[i];
        const rx_node *node = &r->node[part];
        if (part == HONE_RX_NONE || (part == HONE_RX_EMPTY && holds_empty)) continue;
        if ((node->flags & absorb & RX_UTF8) && part != r->universe[0]) continue;
        if ((node->flags & absorb & RX_JSON) && part != r->universe[1]) continue;
        if (bytes > 1 && is_byte(node)) {
            set_of(r, part, more);
            for (int k = 0; k < 32; k++) bits[k] |= more[k];
            continue;
        }
        r->tmp.id[kept++] = part;
    }
    r->tmp.n = kept;
    if (bytes > 1 && !absorb) {
        const uint32_t set = hone_rx_class(r, bits);
        if (set == HONE_RX_FAIL) goto done;
        size_t at = kept; /* into its place */
        if (!rx_ids_push(r, &r->tmp, set)) goto done;
        while (at > base && r->tmp.id[at - 1] > set) {
            r->tmp.id[at] = r->tmp.id[at - 1];
            at--;
        }
        r->tmp.id[at] = set;
    } else if (bytes > 1) { /* a set of bytes beside a universe: keep it unless the universe holds it */
        const uint32_t set = hone_rx_class(r, bits);
        if (set == HONE_RX_FAIL) goto done;
        if (!(r->node[set].flags & absorb)) {
            if (!rx_ids_push(r, &r->tmp, set)) goto done;
            qsort(r->tmp.id + base, r->tmp.n - base, sizeof(uint32_t), by_id);
        }
    }
    const size_t count = r->tmp.n - base;
    if (count == 0) {
        out = HONE_RX_NONE;
        goto done;
    }
    if (count == 1) {
        out = r->tmp.id[base];
        goto done;
    }
    rx_node like = {.kind = RX_ALT, .b = (uint32_t)count};
    uint16_t any = 0, every = 0xFFFF;
    bool some_null = false;
    for (size_t i = base; i < r->tmp.n; i++) {
        const uint16_t f = r->node[r->tmp.id[i]].flags;
        any |= f;
        every &= f;
        some_null = some_null || ((f & RX_KNOWN) && (f & RX_NULLABLE));
    }
    like.flags = (uint16_t)((any & (RX_RULES | RX_LOGIC | RX_LIVE)) | (every & (RX_UTF8 | RX_JSON | RX_KNOWN)));
    if (some_null) like.flags |= RX_NULLABLE | RX_KNOWN;
    out = intern(r, &like, r->tmp.id + base);
done:
    r->tmp.n = before;
    return out;
}

hone_rx hone_rx_alt(hone_regular *r, hone_rx a, hone_rx b) {
    const uint32_t both[2] = {a, b};
    return rx_ok(r) ? rx_alt(r, both, 2) : HONE_RX_FAIL;
}

uint32_t rx_and(hone_regular *r, const uint32_t *id, size_t n) {
    size_t base;
    const size_t before = r->tmp.n;
    uint32_t out = HONE_RX_FAIL;
    if (!flatten(r, RX_AND, id, n, &base)) goto done;
    uint16_t any = 0, every = 0xFFFF;
    uint32_t bytes = 0;
    bool empty = false;
    for (size_t i = base; i < r->tmp.n; i++) {
        const uint32_t part = r->tmp.id[i];
        if (part == HONE_RX_NONE) {
            out = HONE_RX_NONE;
            goto done;
        }
        if (part == HONE_RX_EMPTY) empty = true;
        if (part != RX_ALL && part != r->universe[0]) any |= r->node[part].flags & RX_UTF8;
        if (part != RX_ALL && part != r->universe[1]) any |= r->node[part].flags & RX_JSON;
        every &= r->node[part].flags;
        bytes += is_byte(&r->node[part]);
    }
    if (empty) { /* every: all of them are known, since no rule stands in an intersection */
        out = (every & RX_NULLABLE) ? HONE_RX_EMPTY : HONE_RX_NONE;
        goto done;
    }
    size_t kept = base;
    uint8_t bits[32], more[32];
    memset(bits, 0xFF, sizeof(bits));
    for (size_t i = base; i < r->tmp.n; i++) {
        const uint32_t part = r->tmp.id[i];
        if (part == RX_ALL) continue;
        if (part == r->universe[0] && (any & RX_UTF8)) continue;
        if (part == r->universe[1] && (any & RX_JSON)) continue;
        if (r->node[part].kind == RX_NOT) { /* x and not x */
            const uint32_t inner = r->node[part].a;
            if (bsearch(&inner, r->tmp.id + base, kept - base, sizeof(inner), by_id)) {
                out = HONE_RX_NONE;
                goto done;
            }
        }
        if (bytes > 1 && is_byte(&r->node[part])) {
            set_of(r, part, more);
            for (int k = 0; k < 32; k++) bits[k] &= more[k];
            continue;
        }
        r->tmp.id[kept++] = part;
    }
    r->tmp.n = kept;
    if (bytes > 1) {
        const uint32_t set = hone_rx_class(r, bits);
        if (set == HONE_RX_NONE || set == HONE_RX_FAIL) {
            out = set;
            goto done;
        }
        if (!rx_ids_push(r, &r->tmp, set)) goto done;
        qsort(r->tmp.id + base, r->tmp.n - base, sizeof(uint32_t), by_id);
    }
    const size_t count = r->tmp.n - base;
    if (count == 0) {
        out = RX_ALL;
        goto done;
    }
    if (count == 1) {
        out = r->tmp.id[base];
        goto done;
    }
    rx_node like = {.kind = RX_AND, .b = (uint32_t)count, .flags = RX_KNOWN | RX_LOGIC | RX_NULLABLE};
    for (size_t i = base; i < r->tmp.n; i++) {
        const uint16_t f = r->node[r->tmp.id[i]].flags;
        if (f & RX_RULES) {
            rx_fail(r, HONE_ERR_INTERNAL, "a rule stands in an intersection");
            goto done;
        }
        like.flags |= f & (RX_UTF8 | RX_JSON);
        if (!(f & RX_NULLABLE)) like.flags &= (uint16_t)~RX_NULLABLE;
    }
    if (like.flags & RX_NULLABLE) like.flags |= RX_LIVE;
    out = intern(r, &like, r->tmp.id + base);
done:
    r->tmp.n = before;
    return out;
}

hone_rx hone_rx_and(hone_regular *r, hone_rx a, hone_rx b) {
    const uint32_t both[2] = {a, b};
    return rx_ok(r) ? rx_and(r, both, 2) : HONE_RX_FAIL;
}

hone_rx hone_rx_not(hone_regular *r, hone_rx a) {
    if (!rx_ok(r) || a == HONE_RX_FAIL) return HONE_RX_FAIL;
    if (a == HONE_RX_NONE) return RX_ALL;
    if (r->node[a].kind == RX_NOT) return r->node[a].a;
    if (r->node[a].flags & RX_RULES) return rx_fail(r, HONE_ERR_INTERNAL, "a rule stands in a complement");
    rx_node like = {.kind = RX_NOT, .a = a, .flags = RX_KNOWN | RX_LOGIC};
    if (!(r->node[a].flags & RX_NULLABLE)) like.flags |= RX_NULLABLE | RX_LIVE;
    return intern(r, &like, NULL);
}

/* ---- Repetition ---- */

hone_rx hone_rx_repeat(hone_regular *r, hone_rx a, uint32_t min, uint32_t max) {
    if (!rx_ok(r) || a == HONE_RX_FAIL) return HONE_RX_FAIL;
    if (max < min) return HONE_RX_NONE;
    if (max == 0 || a == HONE_RX_EMPTY) return HONE_RX_EMPTY;
    if (a == HONE_RX_NONE) return min == 0 ? HONE_RX_EMPTY : HONE_RX_NONE;
    if ((min == 1 && max == 1) || a == RX_ALL) return a == RX_ALL && min == 0 ? RX_ALL : a;
    if ((r->node[a].flags & RX_KNOWN) && (r->node[a].flags & RX_NULLABLE)) min = 0;
    if (max == HONE_RX_UNBOUNDED && min == 0 && r->node[a].kind == RX_ALT &&
        r->list.id[r->node[a].a] == HONE_RX_EMPTY) { /* (x|)* */
        const size_t base = r->tmp.n;
        const uint32_t at = r->node[a].a, n = r->node[a].b;
        for (uint32_t i = 1; i < n; i++)
            if (!rx_ids_push(r, &r->tmp, r->list.id[at + i])) return HONE_RX_FAIL;
        rx_ids part = r->tmp; /* rx_alt reads below the stack it uses */
        part.id += base;
        uint32_t *copy = hone_zalloc(n, sizeof(*copy));
        if (!copy) return rx_fail(r, HONE_ERR_NOMEM, "no memory");
        memcpy(copy, part.id, (n - 1) * sizeof(*copy));
        r->tmp.n = base;
        a = rx_alt(r, copy, n - 1);
        hone_free(copy);
        if (a == HONE_RX_FAIL) return a;
    }
    const rx_node *inner = &r->node[a];
    if (inner->kind == RX_REPEAT && inner->c == HONE_RX_UNBOUNDED && inner->b <= 1) {
        if (inner->b == 0) return a;                                                            /* (x*){m,n} */
        if (max == HONE_RX_UNBOUNDED && min <= 1) return hone_rx_repeat(r, inner->a, min, max); /* (x+)* */
    }
    if (inner->kind == RX_REPEAT && inner->b == 0 && min == 0 && max == HONE_RX_UNBOUNDED)
        return hone_rx_repeat(r, inner->a, 0, max); /* (x{0,n})* */
    rx_node like = {.kind = RX_REPEAT, .a = a, .b = min, .c = max};
    like.flags = (uint16_t)(inner->flags & (RX_RULES | RX_LOGIC | RX_UTF8 | RX_JSON));
    if (min == 0)
        like.flags |= RX_KNOWN | RX_NULLABLE | RX_LIVE;
    else if (inner->flags & RX_KNOWN)
        like.flags |= RX_KNOWN;
    return intern(r, &like, NULL);
}

hone_rx hone_rx_utf8(hone_regular *r) {
    if (!rx_ok(r)) return HONE_RX_FAIL;
    if (r->universe[0]) return r->universe[0];
    const uint32_t one = hone_rx_char_range(r, 0, 0x10FFFF);
    rx_flag(r, one, RX_UTF8);
    const uint32_t all = hone_rx_repeat(r, one, 0, HONE_RX_UNBOUNDED);
    if (all == HONE_RX_FAIL) return all;
    rx_flag(r, all, RX_UTF8);
    return r->universe[0] = all;
}

/* ---- Questions ---- */

static bool nullable_now(hone_regular *r, uint32_t id) {
    for (;;) {
        const rx_node *n = &r->node[id];
        if (n->flags & RX_KNOWN) return n->flags & RX_NULLABLE;
        switch (n->kind) {
        case RX_RULE: return r->rule[n->a].nullable;
        case RX_REPEAT:
            if (n->b == 0) return true;
            id = n->a;
            continue;
        case RX_CAT:
            if (!nullable_now(r, n->a)) return false;
            id = r->node[id].b;
            continue;
        case RX_ALT:
            for (uint32_t i = 0; i < r->node[id].b; i++)
                if (nullable_now(r, r->list.id[r->node[id].a + i])) return true;
            return false;
        default: return false;
        }
    }
}

bool rx_nullable(hone_regular *r, uint32_t id) {
    const uint16_t flags = r->node[id].flags;
    if (flags & RX_KNOWN) return flags & RX_NULLABLE;
    const bool yes = nullable_now(r, id);
    if (r->frozen) r->node[id].flags |= (uint16_t)(RX_KNOWN | (yes ? RX_NULLABLE : 0));
    return yes;
}

bool hone_rx_nullable(const hone_regular *r, hone_rx a) {
    return a != HONE_RX_FAIL && (r->node[a].flags & RX_KNOWN) && (r->node[a].flags & RX_NULLABLE);
}
