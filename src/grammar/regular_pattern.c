/* regular_pattern.c - ECMA-262 patterns (u flag) as expressions over UTF-8.
 *
 * A pattern is parsed to a small tree.  What has no assertion inside is an expression at once.  Assertions are compiled
 * with what follows them in hand: `$` lets only the empty text follow, a look-ahead intersects what follows, `\b`
 * restricts its first character; `^` and `\b` also ask what stood before, so what comes before them is split by its
 * last character.  Look-behind and back-references are refused, as is an assertion below an unbounded repetition,
 * except ((?!x).)*$ and (a(b|$))*.
 *
 * More lenient than the standard where no other reading exists: any ASCII punctuation may be escaped, and a lone `]`,
 * `}` or a `{` that begins no quantifier stands for itself.  Bounds: nesting, steps (regular_impl.h).
 *
 * Order: tree, characters and classes, terms, compiling. */
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "grammar/regular_impl.h"

#define DEPTH_MAX 200u
#define NO_NODE UINT32_MAX
#define EXPAND_MAX 16u /* copies of a repeated part with assertions */

typedef enum { T_PLAIN, T_CAT, T_ALT, T_REPEAT, T_BEGIN, T_END, T_WORD, T_NOT_WORD, T_LOOK, T_LOOK_NOT } term_kind;

typedef struct {
    term_kind kind;
    bool left;          /* what stands before matters */
    uint32_t rx;        /* T_PLAIN */
    uint32_t kid, next; /* first child; sibling; NO_NODE where none */
    uint32_t min, max;  /* T_REPEAT */
    uint32_t offset;    /* in the pattern */
    bool one;           /* T_PLAIN: one character of a set */
} term;

typedef struct {
    hone_regular *r;
    const char *text;
    size_t n, at;
    uint32_t depth;
    term *term;
    size_t n_term, cap;
    hone_status status;
    hone_error *err;
    bool no_end;                  /* `$` does not match: what is compiled goes on */
    uint32_t any, word, not_word; /* every text; one character that is (no) part of a word */
} parser;

static uint32_t refuse(parser *p, hone_status code, size_t offset, const char *what) {
    if (p->status == HONE_OK)
        p->status = hone_fail_at(p->err, code, (int64_t)offset, "pattern, offset %zu: %s", offset, what);
    return NO_NODE;
}

static uint32_t new_term(parser *p, term t) {
    if (p->status != HONE_OK) return NO_NODE;
    if (!hone_grow(&p->term, &p->cap, p->n_term, sizeof(*p->term)))
        return refuse(p, HONE_ERR_NOMEM, p->at, "no memory");
    p->term[p->n_term] = t;
    return (uint32_t)p->n_term++;
}

static uint32_t plain(parser *p, uint32_t rx, bool one) {
    return new_term(p, (term){.kind = T_PLAIN, .rx = rx, .kid = NO_NODE, .next = NO_NODE, .one = one});
}

static bool more(const parser *p) {
    return p->status == HONE_OK && p->at < p->n;
}
static bool look(const parser *p, const char *text) {
    const size_t k = strlen(text);
    return p->n - p->at >= k && memcmp(p->text + p->at, text, k) == 0;
}

/* ---- Characters and classes ---- */

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* n hex digits at p->at; -1 when they are not there. */
static int64_t hex_digits(parser *p, size_t n) {
    int64_t v = 0;
    if (p->n - p->at < n) return -1;
    for (size_t i = 0; i < n; i++) {
        const int d = hex(p->text[p->at + i]);
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    p->at += n;
    return v;
}

static uint32_t next_char(parser *p) {
    uint32_t code = 0;
    const size_t k = hone_utf8_decode(p->text + p->at, p->n - p->at, &code);
    if (k == 0) {
        refuse(p, HONE_ERR_FORMAT, p->at, "no UTF-8");
        return 0;
    }
    p->at += k;
    return code;
}

static void add_digits(rx_chars *c) {
    rx_chars_add(c, '0', '9');
}
static void add_word(rx_chars *c) {
    add_digits(c);
    rx_chars_add(c, 'A', 'Z');
    rx_chars_add(c, '_', '_');
    rx_chars_add(c, 'a', 'z');
}
static void add_space(rx_chars *c) { /* WhiteSpace and LineTerminator */
    static const uint32_t range[][2] = {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680},
                                        {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                        {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    for (size_t i = 0; i < sizeof(range) / sizeof(*range); i++) rx_chars_add(c, range[i][0], range[i][1]);
}

/* Behind a backslash: a set of characters into c.  single: the one character, or UINT32_MAX for a set. */
static void escape(parser *p, bool in_class, rx_chars *c, uint32_t *single) {
    const size_t begin = p->at - 1;
    *single = UINT32_MAX;
    if (!more(p)) {
        refuse(p, HONE_ERR_FORMAT, begin, "a backslash at the end");
        return;
    }
    const char e = p->text[p->at];
    rx_chars some = {0};
    switch (e) {
    case 'd':
    case 'D': add_digits(&some); break;
    case 'w':
    case 'W': add_word(&some); break;
    case 's':
    case 'S': add_space(&some); break;
    case 'p':
    case 'P': {
        const char *open = p->text + p->at + 1, *close = NULL;
        if (p->n - p->at > 2 && *open == '{') close = memchr(open, '}', p->n - p->at - 1);
        if (!close) {
            refuse(p, HONE_ERR_FORMAT, begin, "\\p needs {a property}");
            return;
        }
        if (!rx_chars_property(&some, open + 1, (size_t)(close - open - 1)))
            refuse(p, HONE_ERR_UNSUPPORTED, begin, "a character property that is not known here");
        p->at = (size_t)(close - p->text);
        break;
    }
    default: goto one;
    }
    p->at++;
    if (e >= 'A' && e <= 'Z') rx_chars_invert(&some);
    for (size_t i = 0; i < some.n; i++) rx_chars_add(c, some.range[i][0], some.range[i][1]);
    c->failed = c->failed || some.failed;
    rx_chars_free(&some);
    return;
one:
    p->at++;
    switch (e) {
    case 't': *single = '\t'; break;
    case 'n': *single = '\n'; break;
    case 'v': *single = '\v'; break;
    case 'f': *single = '\f'; break;
    case 'r': *single = '\r'; break;
    case 'b':
        if (!in_class) goto bad;
        *single = '\b';
        break;
    case '0':
        if (more(p) && p->text[p->at] >= '0' && p->text[p->at] <= '9') goto bad;
        *single = 0;
        break;
    case 'c':
        if (!more(p) || !((p->text[p->at] | 32) >= 'a' && (p->text[p->at] | 32) <= 'z')) goto bad;
        *single = (uint32_t)p->text[p->at++] % 32;
        break;
    case 'x': {
        const int64_t v = hex_digits(p, 2);
        if (v < 0) goto bad;
        *single = (uint32_t)v;
        break;
    }
    case 'u': {
        int64_t v = -1;
        if (more(p) && p->text[p->at] == '{') {
            p->at++;
            v = 0;
            size_t digits = 0;
            while (more(p) && hex(p->text[p->at]) >= 0 && v <= 0x10FFFF) {
                v = v * 16 + hex(p->text[p->at++]);
                digits++;
            }
            if (!digits || !more(p) || p->text[p->at] != '}' || v > 0x10FFFF) goto bad;
            p->at++;
        } else {
            v = hex_digits(p, 4);
            if (v >= 0xD800 && v < 0xDC00 && look(p, "\\u")) { /* a pair of surrogates is one character */
                const size_t back = p->at;
                p->at += 2;
                const int64_t low = hex_digits(p, 4);
                if (low >= 0xDC00 && low < 0xE000)
                    v = 0x10000 + ((v - 0xD800) << 10) + (low - 0xDC00);
                else
                    p->at = back;
            }
            if (v < 0) goto bad;
        }
        *single = (uint32_t)v;
        break;
    }
    default:
        if ((e >= '1' && e <= '9') || e == 'k') {
            refuse(p, HONE_ERR_UNSUPPORTED, begin, "a back-reference is no regular language");
            return;
        }
        if ((e >= 'a' && e <= 'z') || (e >= 'A' && e <= 'Z')) goto bad;
        p->at--;
        *single = next_char(p);
    }
    rx_chars_add(c, *single, *single);
    return;
bad:
    refuse(p, HONE_ERR_FORMAT, begin, "an escape that ECMA-262 does not have");
}

static uint32_t chars_term(parser *p, rx_chars *c) {
    rx_chars_sort(c);
    const uint32_t rx = rx_chars_node(p->r, c);
    rx_chars_free(c);
    return plain(p, rx, true);
}

static uint32_t class_term(parser *p) {
    const size_t begin = p->at - 1;
    const bool negated = more(p) && p->text[p->at] == '^';
    if (negated) p->at++;
    rx_chars c = {0};
    for (;;) {
        if (!more(p)) {
            rx_chars_free(&c);
            return refuse(p, HONE_ERR_FORMAT, begin, "a class is not closed");
        }
        if (p->text[p->at] == ']') {
            p->at++;
            break;
        }
        uint32_t first, last;
        rx_chars one = {0};
        if (p->text[p->at] == '\\') {
            p->at++;
            escape(p, true, &one, &first);
        } else {
            first = next_char(p);
            rx_chars_add(&one, first, first);
        }
        const bool range = p->n - p->at >= 2 && p->text[p->at] == '-' && p->text[p->at + 1] != ']';
        if (range && first != UINT32_MAX) {
            const size_t dash = p->at++;
            rx_chars other = {0};
            if (p->text[p->at] == '\\') {
                p->at++;
                escape(p, true, &other, &last);
            } else {
                last = next_char(p);
                rx_chars_add(&other, last, last);
            }
            if (last == UINT32_MAX) { /* [a-\d]: the dash stands for itself, as browsers have it */
                rx_chars_add(&c, '-', '-');
                for (size_t i = 0; i < other.n; i++) rx_chars_add(&c, other.range[i][0], other.range[i][1]);
            } else if (last < first) {
                refuse(p, HONE_ERR_FORMAT, dash, "a range runs backwards");
            } else
                rx_chars_add(&one, first, last);
            c.failed = c.failed || other.failed;
            rx_chars_free(&other);
        }
        for (size_t i = 0; i < one.n; i++) rx_chars_add(&c, one.range[i][0], one.range[i][1]);
        c.failed = c.failed || one.failed;
        rx_chars_free(&one);
        if (p->status != HONE_OK) {
            rx_chars_free(&c);
            return NO_NODE;
        }
    }
    if (negated) rx_chars_invert(&c);
    return chars_term(p, &c);
}

/* ---- Terms ---- */

static uint32_t parse_choice(parser *p);

static uint32_t assertion(parser *p, term_kind kind, uint32_t kid, size_t offset) {
    return new_term(p, (term){.kind = kind,
                              .left = kind == T_BEGIN || kind == T_WORD || kind == T_NOT_WORD ||
                                      (kid != NO_NODE && p->term[kid].left),
                              .kid = kid,
                              .next = NO_NODE,
                              .offset = (uint32_t)offset});
}

static uint32_t group(parser *p) {
    const size_t begin = p->at - 1;
    term_kind kind = T_PLAIN;
    if (look(p, "?:"))
        p->at += 2;
    else if (look(p, "?="))
        kind = T_LOOK, p->at += 2;
    else if (look(p, "?!"))
        kind = T_LOOK_NOT, p->at += 2;
    else if (look(p, "?<=") || look(p, "?<!"))
        return refuse(p, HONE_ERR_UNSUPPORTED, begin, "look-behind");
    else if (look(p, "?<")) { /* a name, of use for back-references alone */
        const char *close = memchr(p->text + p->at, '>', p->n - p->at);
        if (!close || close == p->text + p->at + 2)
            return refuse(p, HONE_ERR_FORMAT, begin, "a group's name is not closed");
        p->at = (size_t)(close - p->text) + 1;
    } else if (look(p, "?"))
        return refuse(p, HONE_ERR_UNSUPPORTED, begin, "a kind of group that is not known here");
    const uint32_t inner = parse_choice(p);
    if (inner == NO_NODE) return inner;
    if (!more(p) || p->text[p->at] != ')') return refuse(p, HONE_ERR_FORMAT, begin, "a group is not closed");
    p->at++;
    return kind == T_PLAIN ? inner : assertion(p, kind, inner, begin);
}

/* {n}, {n,}, {n,m} at p->at; false and nothing read when there is none. */
static bool braces(parser *p, uint32_t *min, uint32_t *max) {
    size_t at = p->at + 1;
    uint64_t v[2] = {0, 0};
    bool seen[2] = {false, false}, comma = false;
    for (; at < p->n && p->text[at] != '}'; at++) {
        const char c = p->text[at];
        if (c == ',' && !comma)
            comma = true;
        else if (c >= '0' && c <= '9') {
            uint64_t *w = &v[comma];
            *w = *w > 0xFFFFFF ? *w : *w * 10 + (uint64_t)(c - '0');
            seen[comma] = true;
        } else
            return false;
    }
    if (at >= p->n || !seen[0]) return false;
    *min = (uint32_t)v[0];
    *max = !comma ? *min : seen[1] ? (uint32_t)v[1] : HONE_RX_UNBOUNDED;
    p->at = at + 1;
    return true;
}

static uint32_t repeated(parser *p, uint32_t atom, size_t offset) {
    if (atom == NO_NODE || !more(p)) return atom;
    uint32_t min = 1, max = 1;
    const char c = p->text[p->at];
    if (c == '*')
        min = 0, max = HONE_RX_UNBOUNDED, p->at++;
    else if (c == '+')
        max = HONE_RX_UNBOUNDED, p->at++;
    else if (c == '?')
        min = 0, p->at++;
    else if (c != '{' || !braces(p, &min, &max))
        return atom;
    if (max < min) return refuse(p, HONE_ERR_FORMAT, offset, "a quantifier's numbers are out of order");
    if (more(p) && p->text[p->at] == '?') p->at++; /* lazy: the same language */
    if (more(p) && (p->text[p->at] == '*' || p->text[p->at] == '+' || p->text[p->at] == '?'))
        return refuse(p, HONE_ERR_FORMAT, p->at, "nothing to repeat");
    const term t = p->term[atom];
    if (t.kind == T_PLAIN) return plain(p, hone_rx_repeat(p->r, t.rx, min, max), false);
    return new_term(p, (term){.kind = T_REPEAT,
                              .left = t.left,
                              .kid = atom,
                              .next = NO_NODE,
                              .min = min,
                              .max = max,
                              .offset = (uint32_t)offset});
}

/* One term without its quantifier.  code: its character where it is one, else UINT32_MAX. */
static uint32_t atom(parser *p, uint32_t *code) {
    const size_t begin = p->at;
    *code = UINT32_MAX;
    const char c = p->text[p->at];
    rx_chars set = {0};
    switch (c) {
    case '(': p->at++; return group(p);
    case '[': p->at++; return class_term(p);
    case '^': p->at++; return assertion(p, T_BEGIN, NO_NODE, begin);
    case '$': p->at++; return assertion(p, T_END, NO_NODE, begin);
    case '.':
        p->at++;
        rx_chars_add(&set, '\n', '\n');
        rx_chars_add(&set, '\r', '\r');
        rx_chars_add(&set, 0x2028, 0x2029);
        rx_chars_invert(&set);
        return chars_term(p, &set);
    case '*':
    case '+':
    case '?': return refuse(p, HONE_ERR_FORMAT, begin, "nothing to repeat");
    case '{': {
        uint32_t min, max;
        if (braces(p, &min, &max)) return refuse(p, HONE_ERR_FORMAT, begin, "nothing to repeat");
        break;
    }
    case '\\':
        p->at++;
        if (more(p) && (p->text[p->at] == 'b' || p->text[p->at] == 'B'))
            return assertion(p, p->text[p->at++] == 'b' ? T_WORD : T_NOT_WORD, NO_NODE, begin);
        escape(p, false, &set, code);
        return chars_term(p, &set);
    default: break;
    }
    *code = next_char(p);
    rx_chars_add(&set, *code, *code);
    return chars_term(p, &set);
}

static uint32_t parse_sequence(parser *p) {
    uint32_t first = NO_NODE, last = NO_NODE, count = 0;
    bool left = false, all_plain = true;
    while (more(p) && p->text[p->at] != '|' && p->text[p->at] != ')') {
        const size_t begin = p->at;
        uint32_t code;
        const uint32_t t = repeated(p, atom(p, &code), begin);
        if (t == NO_NODE) return t;
        left = left || p->term[t].left;
        all_plain = all_plain && p->term[t].kind == T_PLAIN;
        if (first == NO_NODE)
            first = t;
        else
            p->term[last].next = t;
        last = t;
        count++;
    }
    if (p->status != HONE_OK) return NO_NODE;
    if (count == 0) return plain(p, HONE_RX_EMPTY, false);
    if (count == 1) return first;
    if (all_plain) { /* from behind, so that each part is built once */
        uint32_t *rx = hone_zalloc(count, sizeof(*rx));
        if (!rx) return refuse(p, HONE_ERR_NOMEM, p->at, "no memory");
        uint32_t i = 0;
        for (uint32_t t = first; t != NO_NODE; t = p->term[t].next) rx[i++] = p->term[t].rx;
        uint32_t all = HONE_RX_EMPTY;
        while (i-- > 0) all = hone_rx_cat(p->r, rx[i], all);
        hone_free(rx);
        return plain(p, all, false);
    }
    return new_term(p, (term){.kind = T_CAT, .left = left, .kid = first, .next = NO_NODE});
}

static uint32_t parse_choice(parser *p) {
    if (++p->depth > DEPTH_MAX) return refuse(p, HONE_ERR_LIMIT, p->at, "groups are nested too deeply");
    uint32_t first = NO_NODE, last = NO_NODE, count = 0;
    bool left = false;
    for (;;) {
        const uint32_t t = parse_sequence(p);
        if (t == NO_NODE) return t;
        left = left || p->term[t].left;
        if (first == NO_NODE)
            first = t;
        else
            p->term[last].next = t;
        last = t;
        count++;
        if (!more(p) || p->text[p->at] != '|') break;
        p->at++;
    }
    p->depth--;
    if (p->status != HONE_OK) return NO_NODE;
    if (count == 1) return first;
    bool all_plain = true;
    uint32_t rx = HONE_RX_NONE;
    for (uint32_t t = first; t != NO_NODE; t = p->term[t].next) {
        all_plain = all_plain && p->term[t].kind == T_PLAIN;
        if (p->term[t].kind == T_PLAIN) rx = hone_rx_alt(p->r, rx, p->term[t].rx);
    }
    if (all_plain) return plain(p, rx, false);
    return new_term(p, (term){.kind = T_ALT, .left = left, .kid = first, .next = NO_NODE});
}

/* ---- Compiling ---- */

typedef enum { AT_BEGIN, AFTER_WORD, AFTER_OTHER } left_context;

typedef struct todo { /* what follows, nearest first; on the C stack */
    uint32_t term;
    uint32_t copies; /* of a repeated part: what is still to come of it */
    const struct todo *next;
} todo;

static bool left_matters(const parser *p, const todo *t) {
    for (; t; t = t->next)
        if (p->term[t->term].left) return true;
    return false;
}

static uint32_t compile(parser *p, const todo *list, uint32_t final, left_context left);

/* A list of siblings before `rest`. */
static uint32_t compile_siblings(parser *p, uint32_t t, const todo *rest, uint32_t final, left_context left) {
    /* Siblings go onto the list from behind: recursion makes the list in the right order. */
    size_t n = 0;
    for (uint32_t i = t; i != NO_NODE; i = p->term[i].next) n++;
    todo *list = hone_zalloc(n, sizeof(*list));
    if (!list) {
        refuse(p, HONE_ERR_NOMEM, 0, "no memory");
        return HONE_RX_FAIL;
    }
    size_t k = 0;
    for (uint32_t i = t; i != NO_NODE; i = p->term[i].next, k++)
        list[k] = (todo){.term = i, .next = k + 1 < n ? &list[k + 1] : rest};
    const uint32_t out = compile(p, list, final, left);
    hone_free(list);
    return out;
}

/* `before` (a plain expression), then the list, when the list asks what stood before it. */
static uint32_t split(parser *p, uint32_t before, const todo *list, uint32_t final, left_context left) {
    hone_regular *r = p->r;
    const uint32_t word = hone_rx_and(r, before, rx_cat(r, p->any, p->word));
    const uint32_t other = hone_rx_and(r, before, rx_cat(r, p->any, p->not_word));
    uint32_t out = hone_rx_alt(r, rx_cat(r, word, compile(p, list, final, AFTER_WORD)),
                               rx_cat(r, other, compile(p, list, final, AFTER_OTHER)));
    if (rx_ok(r) && before != HONE_RX_FAIL && rx_nullable(r, before))
        out = hone_rx_alt(r, out, compile(p, list, final, left));
    return out;
}

/* ((?!x).)* and nothing behind it: no character of the text begins an x. */
static bool tempered(parser *p, const term *t, uint32_t rest, uint32_t *out) {
    if (rest != HONE_RX_EMPTY || t->max != HONE_RX_UNBOUNDED || t->min > 1) return false;
    const term *body = &p->term[t->kid];
    if (body->kind != T_CAT) return false;
    const term *not_here = &p->term[body->kid];
    if (not_here->kind != T_LOOK_NOT || p->term[not_here->kid].kind != T_PLAIN || not_here->next == NO_NODE)
        return false;
    const term *one = &p->term[not_here->next];
    if (one->kind != T_PLAIN || !one->one || one->next != NO_NODE) return false;
    hone_regular *r = p->r;
    const uint32_t some = hone_rx_repeat(r, one->rx, 0, HONE_RX_UNBOUNDED);
    const uint32_t begins = hone_rx_and(r, rx_cat(r, p->term[not_here->kid].rx, p->any), hone_rx_not(r, HONE_RX_EMPTY));
    *out =
        hone_rx_and(r, hone_rx_repeat(r, one->rx, t->min, HONE_RX_UNBOUNDED), hone_rx_not(r, rx_cat(r, some, begins)));
    return true;
}

static bool only_ends(const parser *p, uint32_t t) {
    for (; t != NO_NODE; t = p->term[t].next) {
        const term_kind kind = p->term[t].kind;
        if (kind != T_PLAIN && kind != T_CAT && kind != T_ALT && kind != T_REPEAT && kind != T_END) return false;
        if (kind != T_PLAIN && kind != T_END && !only_ends(p, p->term[t].kid)) return false;
    }
    return true;
}

/* (a(b|$))* before k, which is the language of all that follows: an iteration that uses `$` is the last one, and
 * nothing follows it. */
static bool ends_within(parser *p, const term *t, uint32_t k, uint32_t *out) {
    hone_regular *r = p->r;
    const todo body = {.term = t->kid};
    if (t->min > 1 || !only_ends(p, t->kid) || k == HONE_RX_FAIL) return false;
    const bool outer = p->no_end;
    p->no_end = true;
    const uint32_t inner = compile(p, &body, HONE_RX_EMPTY, AFTER_OTHER);
    p->no_end = outer;
    *out = rx_cat(r, hone_rx_repeat(r, inner, t->min, t->max), k);
    if (!outer && rx_nullable(r, k)) {
        const uint32_t last = compile(p, &body, HONE_RX_EMPTY, AFTER_OTHER);
        const uint32_t max = t->max == HONE_RX_UNBOUNDED ? t->max : t->max - 1;
        *out = hone_rx_alt(r, *out, rx_cat(r, hone_rx_repeat(r, inner, 0, max), last));
    }
    return true;
}

static uint32_t compile(parser *p, const todo *list, uint32_t final, left_context left) {
    hone_regular *r = p->r;
    if (p->status != HONE_OK || !rx_ok(r)) return HONE_RX_FAIL;
    if (!list) return final;
    r->work += 16;
    if (++r->depth > 2000) {
        r->depth--;
        return rx_fail(r, HONE_ERR_LIMIT, "assertions are nested too deeply");
    }
    if (r->work > r->work_limit) {
        r->depth--;
        return rx_fail(r, HONE_ERR_LIMIT, "a pattern's assertions need too many steps");
    }
    const term t = p->term[list->term];
    const todo *rest = list->next;
    uint32_t out = HONE_RX_FAIL;
    switch (t.kind) {
    case T_PLAIN:
        out = left_matters(p, rest) ? split(p, t.rx, rest, final, left)
                                    : hone_rx_cat(r, t.rx, compile(p, rest, final, AFTER_OTHER));
        break;
    case T_CAT: out = compile_siblings(p, t.kid, rest, final, left); break;
    case T_ALT:
        out = HONE_RX_NONE;
        for (uint32_t kid = t.kid; kid != NO_NODE; kid = p->term[kid].next) {
            const todo one = {.term = kid, .next = rest};
            out = hone_rx_alt(r, out, compile(p, &one, final, left));
        }
        break;
    case T_BEGIN: out = left == AT_BEGIN ? compile(p, rest, final, left) : HONE_RX_NONE; break;
    case T_END: out = p->no_end ? HONE_RX_NONE : hone_rx_and(r, HONE_RX_EMPTY, compile(p, rest, final, left)); break;
    case T_WORD:
    case T_NOT_WORD: {
        const bool word_next = (t.kind == T_WORD) != (left == AFTER_WORD);
        uint32_t next = rx_cat(r, word_next ? p->word : p->not_word, p->any);
        if (!word_next) next = hone_rx_alt(r, next, HONE_RX_EMPTY);
        out = hone_rx_and(r, next, compile(p, rest, final, left));
        break;
    }
    case T_LOOK:
    case T_LOOK_NOT: {
        const todo one = {.term = t.kid};
        const uint32_t seen = compile(p, &one, p->any, left);
        out = hone_rx_and(r, t.kind == T_LOOK ? seen : hone_rx_not(r, seen), compile(p, rest, final, left));
        break;
    }
    case T_REPEAT: {
        if (!left_matters(p, rest) && !t.left && list->copies == 0) {
            const uint32_t k = compile(p, rest, final, AFTER_OTHER);
            if (tempered(p, &t, k, &out)) break;
            if ((t.max == HONE_RX_UNBOUNDED || t.max > EXPAND_MAX) && ends_within(p, &t, k, &out)) break;
        }
        const uint32_t done = list->copies;
        if (t.max == HONE_RX_UNBOUNDED || t.max > EXPAND_MAX) {
            refuse(p, HONE_ERR_UNSUPPORTED, t.offset, "an assertion below a repetition");
            break;
        }
        out = done >= t.min ? compile(p, rest, final, left) : HONE_RX_NONE;
        if (done < t.max) {
            const todo again = {.term = list->term, .copies = done + 1, .next = rest};
            const todo one = {.term = t.kid, .next = &again};
            out = hone_rx_alt(r, out, compile(p, &one, final, left));
        }
        break;
    }
    }
    r->depth--;
    return out;
}

hone_status hone_rx_pattern(hone_regular *r, const char *pattern, size_t n, bool search, hone_rx *out,
                            hone_error *err) {
    *out = HONE_RX_FAIL;
    if (!rx_ok(r)) return rx_status(r, err, "pattern");
    if (n > (1u << 20)) return hone_fail(err, HONE_ERR_LIMIT, "pattern: longer than a megabyte");
    parser p = {.r = r, .text = pattern, .n = n, .err = err};
    rx_chars c = {0};
    p.any = hone_rx_utf8(r);
    const uint32_t root = parse_choice(&p);
    if (root != NO_NODE && p.at < n) refuse(&p, HONE_ERR_FORMAT, p.at, "a group is closed that was not opened");
    if (p.status == HONE_OK && p.term[root].kind != T_PLAIN) { /* assertions: they may ask for words */
        add_word(&c);
        rx_chars_sort(&c);
        p.word = rx_chars_node(r, &c);
        rx_chars_invert(&c);
        p.not_word = rx_chars_node(r, &c);
        rx_chars_free(&c);
    }
    if (p.status == HONE_OK) {
        const todo all = {.term = root};
        const uint32_t final = search ? p.any : HONE_RX_EMPTY;
        if (!search)
            *out = compile(&p, &all, final, AT_BEGIN);
        else if (!p.term[root].left)
            *out = hone_rx_cat(r, p.any, compile(&p, &all, final, AFTER_OTHER));
        else
            *out = split(&p, p.any, &all, final, AT_BEGIN);
    }
    hone_free(p.term);
    if (p.status != HONE_OK) {
        *out = HONE_RX_FAIL;
        return p.status;
    }
    if (*out == HONE_RX_FAIL) return rx_status(r, err, "pattern");
    return HONE_OK;
}
