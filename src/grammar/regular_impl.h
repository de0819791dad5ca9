/* regular_impl.h - expressions as nodes of one arena, shared by regular*.c, grammar.c and the matcher.
 *
 * A node never changes its language.  Nodes are hash-consed: what is built twice is one node, so a derivative that
 * comes back to an earlier state IS that state, and whatever is learnt of a state (its arcs, its dense row, its mask)
 * is learnt once.  Rules of a grammar are nodes as well (RX_RULE), which makes a parser's configuration an expression:
 * the head is what is being read, the tail of the concatenation is the stack.
 *
 * Invariants
 *   ids 0, 1 and 2 are nothing, the empty text and every text
 *   the first part of a concatenation that arcs lead to is no concatenation itself
 *   children of a union or intersection are ascending, without repetitions, at least two
 *   rules never stand below an intersection or complement
 *   arcs of a node are ascending, disjoint, and lead to nodes that can be completed (hone_rx_arcs) */
#ifndef HONE_REGULAR_IMPL_H
#define HONE_REGULAR_IMPL_H

#include "grammar/regular.h"

#define RX_ALL 2u

typedef enum {
    RX_KIND_NONE,
    RX_KIND_EMPTY,
    RX_CLASS,   /* a: index of a set of bytes, two at least */
    RX_LIT,     /* a: offset in blob, b: bytes, one at least */
    RX_CAT,     /* a, b */
    RX_ALT,     /* a: offset in list, b: children */
    RX_AND,     /* the same */
    RX_NOT,     /* a */
    RX_REPEAT,  /* a, b: min, c: max or HONE_RX_UNBOUNDED */
    RX_RULE,    /* a: index of the rule */
    RX_MULTIPLE /* a: of what, b: remainder so far, c: places << 1 | behind the point; see hone_rx_multiple */
} rx_kind;

enum {
    RX_NULLABLE = 1, /* matches the empty text; of worth once RX_KNOWN is set */
    RX_KNOWN = 2,
    RX_RULES = 4,    /* a rule stands somewhere below */
    RX_LOGIC = 8,    /* an intersection or complement stands somewhere below */
    RX_LIVE = 16,    /* found to match something */
    RX_DEAD = 32,    /* found to match nothing */
    RX_UTF8 = 64,    /* all texts are well-formed UTF-8 */
    RX_JSON = 128,   /* all texts are contents of a JSON string */
    RX_PRUNED = 256, /* its arcs lead to nothing dead */
    RX_EXACT = 512,  /* plain is all there is, and no lower bound */
    RX_QUIET = 1024, /* no control character may follow, nor after such runs of plain ones */
    RX_WALL = 2048   /* after just so many plain characters no further one may follow */
};

typedef struct {
    uint8_t kind;
    uint8_t plain; /* 0 unknown, else 1 + characters of plain text that surely fit; 255: any number (mask.c) */
    uint16_t flags;
    uint32_t a, b, c;
    uint32_t hash;
    uint32_t arc; /* 0 before it was derived, else 1 + offset of its first arc */
    uint16_t n_arc;
    uint32_t row;  /* 0 or 1 + index of its dense row */
    uint32_t mark; /* of the last search that came by */
    uint32_t memo; /* 0 or 1 + index of the mask kept for this state (mask.c) */
} rx_node;

typedef struct {
    uint32_t target;
    uint8_t lo, hi;
} rx_arc;

typedef struct {
    uint32_t body; /* HONE_RX_FAIL before it is defined */
    bool nullable;
    bool productive;
} rx_rule;

typedef struct {
    uint32_t *id;
    size_t n, cap;
} rx_ids;

#define RX_ROW_CHUNK 64u

struct hone_regular {
    rx_node *node;
    size_t node_cap;
    uint32_t n_node;
    uint32_t *table; /* [mask + 1] ids by hash, 0 where free */
    uint32_t mask;
    rx_ids list; /* children of unions and intersections */
    uint8_t (*set)[32];
    size_t n_set, set_cap;
    uint8_t *blob; /* the bytes of literals; the first 256 are every byte once */
    size_t n_blob, blob_cap;
    rx_ids literal; /* nodes of literals that were asked for by their text: open addressing, [literal.cap] */
    rx_arc *arc;
    size_t n_arc, arc_cap;
    uint32_t **row; /* chunks of RX_ROW_CHUNK rows of 256 targets: rows never move */
    size_t n_row_chunk, row_cap;
    uint32_t n_row;
    rx_rule *rule;
    size_t n_rule, rule_cap;
    bool frozen;          /* rules are defined, their nullability is known */
    uint32_t universe[2]; /* every UTF-8 text, every JSON string; 0 before they are asked for */
    uint32_t json_memo_n;
    uint32_t *json_memo; /* [json_memo_n] what hone_rx_json_string made of a node; 0 where unknown */
    uint32_t epoch;

    hone_status failed; /* sticks until hone_rx_begin: every builder passes it on */
    const char *why;
    uint64_t work, work_limit; /* steps of the running operation */
    uint64_t bytes;            /* memory in use, about */
    bool full;                 /* something was refused for RX_BYTES_MAX; nothing is given back before close */
    uint32_t depth;

    rx_arc *raw; /* a stack of arcs while deriving */
    size_t n_raw, raw_cap;
    rx_ids tmp; /* a stack of ids while building */
    rx_ids seg; /* of merging arcs */
};

/* Limits: what one operation may cost, what a grammar may grow to. */
#define RX_BYTES_MAX (192u << 20)
#define RX_DEPTH_MAX 4000u
#define RX_WORK_BUILD (32u << 20) /* steps of building a grammar, each some 10 ns */
#define RX_WORK_TOKEN (12u << 20) /* of a call about one token */
#define RX_ROWS_MAX 8192u  /* dense rows, 8 MB: a text of many counted characters needs each of its states once only */
#define RX_VOID_MAX 60000u /* states of one search for a text */

uint32_t rx_full(hone_regular *r, const char *why); /* rx_fail: over RX_BYTES_MAX */

static inline bool rx_ok(const hone_regular *r) {
    return r->failed == HONE_OK;
}
uint32_t rx_fail(hone_regular *r, hone_status code, const char *why); /* always HONE_RX_FAIL */
hone_status rx_status(const hone_regular *r, hone_error *err, const char *what);
void rx_begin(
    hone_regular *r,
    uint64_t work_limit); /* a new operation: its steps are counted from here, an earlier failure is forgotten */

bool rx_ids_push(hone_regular *r, rx_ids *v, uint32_t id);

uint32_t rx_rule_new(hone_regular *r);
uint32_t rx_multiple(hone_regular *r, uint32_t m, uint32_t remainder, uint32_t places, bool behind);
uint32_t rx_cat(hone_regular *r, uint32_t a, uint32_t b);
uint32_t rx_alt(hone_regular *r, const uint32_t *id, size_t n);
uint32_t rx_and(hone_regular *r, const uint32_t *id, size_t n);
uint32_t rx_lit_tail(hone_regular *r, uint32_t offset, uint32_t n);
void rx_flag(hone_regular *r, uint32_t id, uint16_t flags); /* for what the caller knows and the builders do not see */

bool rx_nullable(hone_regular *r, uint32_t id);

/* Arcs of a state.  False: r->failed says why.  Pruned: nothing dead is led to. */
bool rx_derive(hone_regular *r, uint32_t id);
bool hone_rx_arcs(hone_regular *r, uint32_t id);
const uint32_t *hone_rx_row(hone_regular *r, uint32_t id); /* [256] targets, 0 where none; NULL on failure */
void rx_rows_forget(hone_regular *r);                      /* they are made again when they are asked for */

/* 1 when id matches something, 0 when not, -1 on failure.  For what was cleaned, and what derives from it. */
int rx_live(hone_regular *r, uint32_t id, uint32_t limit);
/* The same language without parts that match nothing. */
uint32_t rx_clean(hone_regular *r, uint32_t id);

/* Sets of code points (regular_unicode.c): ascending, disjoint ranges. */
typedef struct {
    uint32_t (*range)[2];
    size_t n, cap;
    bool failed;
} rx_chars;
void rx_chars_add(rx_chars *c, uint32_t first, uint32_t last);
void rx_chars_sort(rx_chars *c);
void rx_chars_invert(rx_chars *c);
void rx_chars_free(rx_chars *c);
bool rx_chars_property(rx_chars *c, const char *name, size_t n); /* \p{name}; false: no such property here */
uint32_t rx_chars_node(hone_regular *r, const rx_chars *c);      /* one character of the set, as UTF-8 */

#endif
