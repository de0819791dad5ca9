/* tokenizer_regex.c - the patterns of tokenizer.json on PCRE2.
 *
 * Published patterns are written for Oniguruma in its Ruby syntax, which the `tokenizers` library runs.  This file
 * rewrites them for PCRE2 where the two differ, so that the matches are the same: \s        White_Space; PCRE2 would
 * add U+180E \w \b     Alphabetic, marks, decimal digits, connectors; PCRE2's \w differs \h        a hexadecimal digit;
 * PCRE2: horizontal space ^ $       always lines; (?m) is dot-all [a[b]&&c] nested classes and intersections; PCRE2 has
 * none \uHHHH, \p{^X}, \p{Alpha}, [:class:], {,n}, and {n,m}+ which is no possessive quantifier Refused by name: absent
 * expressions, conditionals, calls, call-outs.
 *
 * Order: characters, the rewriter, compiling, matching. */
#include "model/tokenizer_impl.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"

/* Steps of one match.  A published pattern needs a few per character of a word; a run of spaces a few thousand long can
 * need a million.  PCRE2 does not tell what a match took, so a match gets a small allowance first and a larger one when
 * that did not do, and what is given beyond the small one is taken from the budget of the call (MODEL_STEPS_BUDGET). */
#define MATCH_STEPS_FIRST 2000u
#define MATCH_STEPS_MAX 50000000u
#define MATCH_HEAP_KIB 65536u
#define GROUPS_MAX 200u

/* ---- Characters ---- */

/* What the authority's tables hold and utf8proc's (Unicode 15) do not, or the other way round. */
typedef struct {
    uint32_t from, to;
} range;
static const range numeric_since_16[] = {{0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9},
                                         {0x11de0, 0x11de9}, {0x16130, 0x16139}, {0x16d70, 0x16d79},
                                         {0x16ff4, 0x16ff6}, {0x1ccf0, 0x1ccf9}, {0x1e5f1, 0x1e5fa}};
static const range word_since_16[] = {{0x897, 0x897},     {0x1c89, 0x1c8a},   {0xa7cb, 0xa7cd},   {0xa7da, 0xa7dc},
                                      {0x105c0, 0x105f3}, {0x10d40, 0x10d65}, {0x10d69, 0x10d6d}, {0x10d6f, 0x10d85},
                                      {0x10ec2, 0x10ec4}, {0x10efc, 0x10efc}, {0x11380, 0x11389}, {0x1138b, 0x1138b},
                                      {0x1138e, 0x1138e}, {0x11390, 0x113b5}, {0x113b7, 0x113c0}, {0x113c2, 0x113c2},
                                      {0x113c5, 0x113c5}, {0x113c7, 0x113ca}, {0x113cc, 0x113d3}, {0x113e1, 0x113e2},
                                      {0x116d0, 0x116e3}, {0x11bc0, 0x11be0}, {0x11bf0, 0x11bf9}, {0x11f5a, 0x11f5a},
                                      {0x13460, 0x143fa}, {0x16100, 0x16139}, {0x16d40, 0x16d6c}, {0x16d70, 0x16d79},
                                      {0x18cff, 0x18cff}, {0x1ccf0, 0x1ccf9}, {0x1e5d0, 0x1e5fa}, {0x2ebf0, 0x2ee5d}};
/* It knows punctuation as of Unicode 8. */
static const range punctuation_since_8[] = {
    {0x61d, 0x61d},     {0x9fd, 0x9fd},     {0xa76, 0xa76},     {0xc77, 0xc77},     {0xc84, 0xc84},
    {0x1b7d, 0x1b7e},   {0x2e43, 0x2e4f},   {0x2e52, 0x2e5d},   {0x10ead, 0x10ead}, {0x10f55, 0x10f59},
    {0x10f86, 0x10f89}, {0x1144b, 0x1144f}, {0x1145a, 0x1145b}, {0x1145d, 0x1145d}, {0x11660, 0x1166c},
    {0x116b9, 0x116b9}, {0x1183b, 0x1183b}, {0x11944, 0x11946}, {0x119e2, 0x119e2}, {0x11a3f, 0x11a46},
    {0x11a9a, 0x11a9c}, {0x11a9e, 0x11aa2}, {0x11b00, 0x11b09}, {0x11c41, 0x11c45}, {0x11c70, 0x11c71},
    {0x11ef7, 0x11ef8}, {0x11f43, 0x11f4f}, {0x11fff, 0x11fff}, {0x12ff1, 0x12ff2}, {0x16e97, 0x16e9a},
    {0x16fe2, 0x16fe2}, {0x1e95e, 0x1e95f}};

static bool among(uint32_t c, const range *r, size_t n) {
    if (c < r[0].from || c > r[n - 1].to) return false;
    for (size_t i = 0; i < n; i++)
        if (c >= r[i].from && c <= r[i].to) return true;
    return false;
}
#define AMONG(c, table) among(c, table, sizeof(table) / sizeof(table[0]))

bool model_is_space(uint32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

bool model_is_numeric(uint32_t c) {
    if (c < 0x80) return c >= '0' && c <= '9';
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    if (k == UTF8PROC_CATEGORY_CN) return AMONG(c, numeric_since_16);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool model_is_punctuation(uint32_t c) {
    if (c < 0x80)
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    if (c == 0x166d || c == 0x111c9) return true; /* symbols today */
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO && !AMONG(c, punctuation_since_8);
}

bool model_is_word(uint32_t c) {
    if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    if (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL)
        return true; /* letters, marks, Nd, Nl in utf8proc's order */
    if (k == UTF8PROC_CATEGORY_CN) return AMONG(c, word_since_16);
    /* what Alphabetic holds beyond those (circled and squared letters), and Join_Control */
    return k == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) ||
           (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

/* ---- The rewriter ---- */

#define SPACE "\\t-\\r\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE                                                                                                      \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x84\\x86-\\x9f\\xa1-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{"  \
    "202e}"                                                                                                            \
    "\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{N}\\p{Pc}"
#define HEX "0-9a-fA-F"

typedef struct {
    const char *in;
    size_t n, at;
    hone_buf out;
    unsigned depth;
    hone_error *err;
} rewriter;

static hone_status refuse(rewriter *r, const char *what) {
    return hone_fail_at(r->err, HONE_ERR_UNSUPPORTED, (int64_t)r->at, "%s at byte %zu of the pattern", what, r->at);
}

static hone_status broken(rewriter *r, const char *what) {
    return hone_fail_at(r->err, HONE_ERR_FORMAT, (int64_t)r->at, "%s at byte %zu of the pattern", what, r->at);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static void put_code(hone_buf *out, uint32_t c) {
    hone_buf_format(out, "\\x{%x}", c);
}

static bool named(const char *name, size_t n, const char *what) {
    if (strlen(what) != n) return false;
    for (size_t i = 0; i < n; i++)
        if ((name[i] | 32) != (what[i] | 32)) return false;
    return true;
}

/* A property by a name that Oniguruma knows and PCRE2 spells otherwise.  NULL: the same in both. */
static const char *property(const char *name, size_t n, bool negated) {
    static const struct {
        const char *name, *is, *is_not;
    } known[] = {
        {"Letter", "\\p{L}", "\\P{L}"},
        {"Mark", "\\p{M}", "\\P{M}"},
        {"Number", "\\p{N}", "\\P{N}"},
        {"Punctuation", "\\p{P}", "\\P{P}"},
        {"Symbol", "\\p{S}", "\\P{S}"},
        {"Separator", "\\p{Z}", "\\P{Z}"},
        {"Other", "\\p{C}", "\\P{C}"},
        {"Uppercase_Letter", "\\p{Lu}", "\\P{Lu}"},
        {"Lowercase_Letter", "\\p{Ll}", "\\P{Ll}"},
        {"Titlecase_Letter", "\\p{Lt}", "\\P{Lt}"},
        {"Modifier_Letter", "\\p{Lm}", "\\P{Lm}"},
        {"Other_Letter", "\\p{Lo}", "\\P{Lo}"},
        {"Decimal_Number", "\\p{Nd}", "\\P{Nd}"},
        {"Nonspacing_Mark", "\\p{Mn}", "\\P{Mn}"},
        {"Alpha", "\\p{Alphabetic}", "\\P{Alphabetic}"},
        {"Digit", "\\p{Nd}", "\\P{Nd}"},
        {"Lower", "\\p{Lowercase}", "\\P{Lowercase}"},
        {"Upper", "\\p{Uppercase}", "\\P{Uppercase}"},
        {"Cntrl", "\\p{Cc}", "\\P{Cc}"},
        {"Space", SPACE, NOT_SPACE},
        {"XDigit", HEX, NULL},
        {"ASCII", "\\x00-\\x7f", "\\x80-\\x{10ffff}"},
        {"Alnum", "\\p{Alphabetic}\\p{Nd}", NULL},
        {"Word", WORD, NULL},
        {"Punct", "\\p{P}\\p{S}", NULL},
        {"Blank", "\\t\\p{Zs}", NULL},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (named(name, n, known[i].name)) return negated ? known[i].is_not ? known[i].is_not : "" : known[i].is;
    return NULL;
}

/* Whether the name is a script's. */
static bool is_script(const char *name, size_t n) {
    char pattern[80];
    int code;
    PCRE2_SIZE at;
    if (n < 3 || n > 40) return false; /* shorter ones are categories */
    snprintf(pattern, sizeof(pattern), "\\p{sc:%.*s}", (int)n, name);
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
    pcre2_code_free(c);
    return c != NULL;
}

/* What one escape means.  As a member of a class: text to stand between brackets in *in_class, or NULL when only
 * *alone, a whole expression for one character, can say it.  A literal character goes to *code with both NULL. */
typedef struct {
    bool literal;
    uint32_t code;
    hone_buf in_class; /* empty: not expressible */
    hone_buf alone;    /* empty: "[" in_class "]" */
} member;

static void member_free(member *m) {
    hone_buf_free(&m->in_class);
    hone_buf_free(&m->alone);
}

/* r->at stands on the character behind the backslash.  HONE_ERR_NOT_FOUND: no escape for one character; r unchanged. */
static hone_status escape(rewriter *r, member *m) {
    const char c = r->in[r->at];
    switch (c) {
    case 's': hone_buf_text(&m->in_class, SPACE); break;
    case 'S': hone_buf_text(&m->in_class, NOT_SPACE); break;
    case 'w': hone_buf_text(&m->in_class, WORD); break;
    case 'W': hone_buf_text(&m->alone, "[^" WORD "]"); break;
    case 'd': hone_buf_text(&m->in_class, "\\p{Nd}"); break;
    case 'D': hone_buf_text(&m->in_class, "\\P{Nd}"); break;
    case 'h': hone_buf_text(&m->in_class, HEX); break;
    case 'H': hone_buf_text(&m->alone, "[^" HEX "]"); break;
    case 'n': m->literal = true, m->code = '\n'; break;
    case 't': m->literal = true, m->code = '\t'; break;
    case 'r': m->literal = true, m->code = '\r'; break;
    case 'f': m->literal = true, m->code = '\f'; break;
    case 'v': m->literal = true, m->code = '\v'; break;
    case 'a': m->literal = true, m->code = 7; break;
    case 'e': m->literal = true, m->code = 27; break;
    case 'p':
    case 'P': {
        size_t i = r->at + 1;
        bool negated = c == 'P';
        if (i < r->n && r->in[i] != '{') { /* \pL is PCRE2's alone: Oniguruma reads the letter p */
            m->literal = true;
            m->code = (unsigned char)c;
            break;
        }
        i++;
        if (i < r->n && r->in[i] == '^') negated = !negated, i++;
        const size_t from = i;
        while (i < r->n && r->in[i] != '}') i++;
        if (i >= r->n || i == from) return broken(r, "a property without a name");
        const char *known = property(r->in + from, i - from, negated);
        if (known && *known) {
            hone_buf_text(&m->in_class, known);
        } else if (known) {
            hone_buf_format(&m->alone, "[^%s]", property(r->in + from, i - from, false));
        } else {
            hone_buf_format(&m->in_class, "\\%c{%s%.*s}", negated ? 'P' : 'p',
                            is_script(r->in + from, i - from) ? "sc:" : "", (int)(i - from), r->in + from);
        }
        r->at = i;
        break;
    }
    case 'x':
    case 'u': {
        size_t i = r->at + 1, digits = 0;
        uint32_t code = 0;
        const bool braces = c == 'x' && i < r->n && r->in[i] == '{';
        if (braces) i++;
        const size_t most = braces ? 8 : c == 'u' ? 4 : 2;
        for (; i < r->n && digits < most && hex_digit(r->in[i]) >= 0; i++, digits++)
            code = code << 4 | (uint32_t)hex_digit(r->in[i]);
        if (digits == 0 || (braces && (i >= r->n || r->in[i] != '}')) || (c == 'u' && digits != 4) || code > 0x10ffff ||
            (code >= 0xd800 && code < 0xe000))
            return broken(r, "a bad code point");
        if (c == 'x' && !braces && code >= 0x80) return refuse(r, "a raw byte");
        m->literal = true;
        m->code = code;
        r->at = braces ? i : i - 1;
        break;
    }
    default: {
        if (c >= '0' && c <= '9') {
            if (c != '0') return HONE_ERR_NOT_FOUND;
            m->literal = true;
            m->code = 0;
            break;
        }
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return HONE_ERR_NOT_FOUND;
        const size_t width = hone_utf8_decode(r->in + r->at, r->n - r->at, &m->code);
        m->literal = true;
        r->at += width - 1;
    }
    }
    r->at++;
    return m->in_class.failed || m->alone.failed ? hone_fail(r->err, HONE_ERR_NOMEM, "no memory for a pattern")
                                                 : HONE_OK;
}

/* A class from its '[' on, as an expression that matches one character. */
static hone_status class_of(rewriter *r, hone_buf *out, unsigned depth) {
    hone_status st = HONE_OK;
    hone_buf plain = {0}, others = {0},
             whole = {0}; /* members between brackets; "|"-alternatives; what stood left of && */
    bool negated = false, intersected = false, first = true, closed = false;
    if (depth > 16) return refuse(r, "classes nested too deeply");
    r->at++;
    if (r->at < r->n && r->in[r->at] == '^') negated = true, r->at++;
    while (st == HONE_OK && r->at < r->n) {
        const char c = r->in[r->at];
        member low = {0}, high = {0};
        if (c == ']' && !first) {
            closed = true;
            r->at++;
            break;
        }
        first = false;
        if (c == '[' && r->at + 1 < r->n && r->in[r->at + 1] == ':') {
            const char *end = memchr(r->in + r->at + 2, ':', r->n - r->at - 2);
            if (end && (size_t)(end - r->in) + 1 < r->n && end[1] == ']') {
                const char *name = r->in + r->at + 2;
                const bool no = *name == '^';
                if (no) name++;
                const char *known = property(name, (size_t)(end - name), no);
                if (known && *known) {
                    hone_buf_text(&plain, known);
                } else if (known) {
                    hone_buf_format(&others, "|[^%s]", property(name, (size_t)(end - name), false));
                } else {
                    hone_buf_format(&plain, "[:%s%.*s:]", no ? "^" : "", (int)(end - name), name);
                }
                r->at = (size_t)(end - r->in) + 2;
                continue;
            }
        }
        if (c == '[') {
            hone_buf_char(&others, '|');
            st = class_of(r, &others, depth + 1);
            continue;
        }
        if (c == '&' && r->at + 1 < r->n && r->in[r->at + 1] == '&') {
            r->at += 2;
            hone_buf_text(&whole, "(?=");
            if (plain.n) hone_buf_format(&whole, "[%s]", hone_buf_str(&plain));
            hone_buf_text(&whole, plain.n ? hone_buf_str(&others) : others.n ? hone_buf_str(&others) + 1 : "(?!)");
            hone_buf_char(&whole, ')');
            hone_buf_clear(&plain);
            hone_buf_clear(&others);
            intersected = true;
            continue;
        }
        if (c == '\\') {
            r->at++;
            if (r->at >= r->n) {
                st = broken(r, "a backslash at the end");
                break;
            }
            if (r->in[r->at] == 'b') {
                low.literal = true;
                low.code = 8;
                r->at++;
            } else {
                st = escape(r, &low);
                if (st == HONE_ERR_NOT_FOUND) st = refuse(r, "an escape in a class");
            }
        } else {
            low.literal = true;
            r->at += hone_utf8_decode(r->in + r->at, r->n - r->at, &low.code);
        }
        if (st == HONE_OK && !low.literal) {
            if (low.in_class.n) {
                hone_buf_add(&plain, low.in_class.data, low.in_class.n);
            } else {
                hone_buf_char(&others, '|');
                hone_buf_add(&others, low.alone.data, low.alone.n);
            }
        } else if (st == HONE_OK) {
            put_code(&plain, low.code);
            if (r->at + 1 < r->n && r->in[r->at] == '-' && r->in[r->at + 1] != ']' &&
                !(r->in[r->at + 1] == '&' && r->at + 2 < r->n && r->in[r->at + 2] == '&')) {
                const size_t dash = r->at++;
                if (r->in[r->at] == '\\' && r->at + 1 < r->n) {
                    r->at++;
                    st = escape(r, &high);
                    if (st == HONE_ERR_NOT_FOUND) st = refuse(r, "an escape in a class");
                } else if (r->in[r->at] == '[') {
                    r->at = dash; /* a dash before a nested class is itself */
                    hone_buf_text(&plain, "\\-");
                    r->at++;
                } else {
                    high.literal = true;
                    r->at += hone_utf8_decode(r->in + r->at, r->n - r->at, &high.code);
                }
                if (st == HONE_OK && high.literal) {
                    if (high.code < low.code) {
                        st = broken(r, "an empty range");
                    } else {
                        hone_buf_char(&plain, '-');
                        put_code(&plain, high.code);
                    }
                } else if (st == HONE_OK && r->at > dash + 1) { /* a-\d: the three members */
                    hone_buf_text(&plain, "\\-");
                    if (high.in_class.n)
                        hone_buf_add(&plain, high.in_class.data, high.in_class.n);
                    else if (high.alone.n)
                        hone_buf_format(&others, "|%s", hone_buf_str(&high.alone));
                }
            }
        }
        member_free(&low);
        member_free(&high);
    }
    if (st == HONE_OK && !closed) st = broken(r, "a class without its end");
    if (st == HONE_OK) {
        if (!intersected && others.n == 0) {
            hone_buf_format(out, "[%s%s]", negated ? "^" : "", hone_buf_str(&plain));
        } else {
            hone_buf_text(out, negated ? "(?:(?!" : "(?:");
            if (whole.n) hone_buf_add(out, whole.data, whole.n);
            hone_buf_text(out, "(?:");
            if (plain.n) hone_buf_format(out, "[%s]", hone_buf_str(&plain));
            hone_buf_text(out, plain.n ? hone_buf_str(&others) : others.n ? hone_buf_str(&others) + 1 : "(?!)");
            hone_buf_text(out, negated ? "))(?s:.))" : "))");
        }
        if (plain.failed || others.failed || whole.failed || out->failed)
            st = hone_fail(r->err, HONE_ERR_NOMEM, "no memory for a pattern");
    }
    hone_buf_free(&plain);
    hone_buf_free(&others);
    hone_buf_free(&whole);
    return st;
}

/* Put "(?:" before what was written since from, and ")" behind it. */
static bool wrap(hone_buf *out, size_t from) {
    if (!hone_buf_reserve(out, 4)) return false;
    memmove(out->data + from + 3, out->data + from, out->n - from);
    memcpy(out->data + from, "(?:", 3);
    out->n += 3;
    return hone_buf_char(out, ')');
}

/* "(?" and what follows up to the group's body. */
static hone_status group_head(rewriter *r) {
    size_t i = r->at + 2;
    if (i >= r->n) return broken(r, "a group without its end");
    const char c = r->in[i];
    if (c == '~' || c == '(' || c == '{') return refuse(r, "this kind of group");
    if (c == ':' || c == '=' || c == '!' || c == '>') {
        hone_buf_add(&r->out, r->in + r->at, 3);
        r->at = i + 1;
        return HONE_OK;
    }
    if (c == '<' || c == '\'') { /* lookbehind, or a name */
        if (i + 1 < r->n && (r->in[i + 1] == '=' || r->in[i + 1] == '!')) {
            hone_buf_add(&r->out, r->in + r->at, 4);
            r->at = i + 2;
            return HONE_OK;
        }
        const char *end = memchr(r->in + i + 1, c == '<' ? '>' : '\'', r->n - i - 1);
        if (!end) return broken(r, "a group name without its end");
        hone_buf_char(&r->out, '('); /* names are not used: patterns that refer to them are refused */
        r->at = (size_t)(end - r->in) + 1;
        return HONE_OK;
    }
    hone_buf_text(&r->out, "(?");
    for (; i < r->n && r->in[i] != ')' && r->in[i] != ':'; i++) { /* options */
        if (!strchr("imx-", r->in[i])) return refuse(r, "this kind of group");
        hone_buf_char(&r->out, r->in[i] == 'm' ? 's' : r->in[i]);
    }
    if (i >= r->n) return broken(r, "a group without its end");
    r->at = i;
    if (r->in[i] == ':') {
        hone_buf_char(&r->out, ':');
        r->at++;
    }
    return HONE_OK;
}

static hone_status rewrite(rewriter *r) {
    size_t open[GROUPS_MAX];            /* where each open group begins in out */
    size_t n_open = 0, atom = SIZE_MAX; /* where the last atom begins, for quantifiers */
    hone_status st = HONE_OK;
    while (st == HONE_OK && r->at < r->n && !r->out.failed) {
        const char c = r->in[r->at];
        const size_t here = r->out.n;
        switch (c) {
        case '[':
            st = class_of(r, &r->out, 0);
            atom = here;
            break;
        case '\\': {
            r->at++;
            if (r->at >= r->n) {
                st = broken(r, "a backslash at the end");
                break;
            }
            const char e = r->in[r->at];
            atom = here;
            if (e == 'b' || e == 'B') {
                hone_buf_text(&r->out, e == 'b' ? "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))"
                                                : "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))");
                r->at++;
                break;
            }
            if (strchr("AzZGRXK", e)) {
                hone_buf_format(&r->out, "\\%c", e);
                r->at++;
                break;
            }
            member m = {0};
            st = escape(r, &m);
            if (st == HONE_ERR_NOT_FOUND) {
                st = refuse(r, "this escape");
            } else if (st == HONE_OK) {
                if (m.literal)
                    put_code(&r->out, m.code);
                else if (m.alone.n)
                    hone_buf_add(&r->out, m.alone.data, m.alone.n);
                else
                    hone_buf_format(&r->out, "[%s]", hone_buf_str(&m.in_class));
            }
            member_free(&m);
            break;
        }
        case '(':
            if (n_open == GROUPS_MAX) {
                st = refuse(r, "groups nested too deeply");
                break;
            }
            if (r->at + 1 < r->n && r->in[r->at + 1] == '?') {
                if (r->at + 2 < r->n && r->in[r->at + 2] == '#') { /* a comment */
                    const char *end = memchr(r->in + r->at, ')', r->n - r->at);
                    if (!end)
                        st = broken(r, "a comment without its end");
                    else
                        r->at = (size_t)(end - r->in) + 1;
                    break;
                }
                st = group_head(r);
            } else {
                hone_buf_char(&r->out, '(');
                r->at++;
                if (r->at < r->n && r->in[r->at] == '*') st = refuse(r, "a verb");
            }
            open[n_open++] = here;
            atom = SIZE_MAX;
            break;
        case ')':
            if (n_open == 0) {
                st = broken(r, "a ')' without its '('");
                break;
            }
            atom = open[--n_open];
            hone_buf_char(&r->out, ')');
            r->at++;
            break;
        case '{': {
            size_t i = r->at + 1, a = 0, b = 0;
            uint32_t low = 0, high = 0;
            bool comma = false;
            for (; i < r->n && r->in[i] >= '0' && r->in[i] <= '9' && a < 6; i++, a++)
                low = low * 10 + (uint32_t)(r->in[i] - '0');
            if (i < r->n && r->in[i] == ',') comma = true, i++;
            for (; comma && i < r->n && r->in[i] >= '0' && r->in[i] <= '9' && b < 6; i++, b++)
                high = high * 10 + (uint32_t)(r->in[i] - '0');
            if (i >= r->n || r->in[i] != '}' || (a == 0 && b == 0) || atom == SIZE_MAX) { /* an ordinary brace */
                hone_buf_text(&r->out, "\\{");
                atom = here;
                r->at++;
                break;
            }
            i++;
            if (!comma)
                hone_buf_format(&r->out, "{%u}", low);
            else if (b == 0)
                hone_buf_format(&r->out, "{%u,}", low);
            else
                hone_buf_format(&r->out, "{%u,%u}", low, high);
            if (i < r->n && r->in[i] == '+' && !wrap(&r->out, atom))
                st = hone_fail(r->err, HONE_ERR_NOMEM, "no memory for a pattern");
            r->at = i;
            break;
        }
        case '*':
        case '+':
        case '?':
            hone_buf_char(&r->out, c);
            r->at++;
            break;
        case '|':
        case '^':
        case '$':
            hone_buf_char(&r->out, c);
            r->at++;
            atom = SIZE_MAX;
            break;
        default: {
            uint32_t code = 0;
            const size_t width = hone_utf8_decode(r->in + r->at, r->n - r->at, &code);
            if (width == 0) {
                st = broken(r, "no UTF-8");
                break;
            }
            hone_buf_add(&r->out, r->in + r->at, width);
            r->at += width;
            atom = here;
        }
        }
    }
    if (st == HONE_OK && n_open) st = broken(r, "a group without its end");
    if (st == HONE_OK && r->out.failed) st = hone_fail(r->err, HONE_ERR_NOMEM, "no memory for a pattern");
    return st;
}

/* ---- Compiling ---- */

static void *pcre_alloc(size_t n, void *arg) {
    (void)arg;
    return hone_zalloc(1, n);
}

static void pcre_free(void *p, void *arg) {
    (void)arg;
    hone_free(p);
}

hone_status model_pattern_regex(model_pattern *out, const char *regex, size_t n, hone_error *err) {
    *out = (model_pattern){0};
    rewriter r = {.in = regex, .n = n, .err = err, .out = {.limit = 1u << 20}};
    if (n > 1u << 16) return hone_fail(err, HONE_ERR_LIMIT, "a pattern of %zu bytes (at most 65536)", n);
    hone_status st = rewrite(&r);
    pcre2_general_context *general = NULL;
    pcre2_compile_context *context = NULL;
    if (st == HONE_OK) {
        general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
        context = general ? pcre2_compile_context_create(general) : NULL;
        if (!context) st = hone_fail(err, HONE_ERR_NOMEM, "no memory for a pattern");
    }
    if (st == HONE_OK) {
        int code;
        PCRE2_SIZE at;
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        pcre2_set_bsr(context, PCRE2_BSR_UNICODE);
        pcre2_set_parens_nest_limit(context, GROUPS_MAX + 50);
        out->code =
            pcre2_compile((PCRE2_SPTR)hone_buf_str(&r.out), r.out.n,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, context);
        if (!out->code) {
            char text[120] = "";
            pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof(text));
            st = hone_fail(err, HONE_ERR_FORMAT, "the pattern does not compile: %s", text);
        } else {
            out->jit = pcre2_jit_compile(out->code, PCRE2_JIT_COMPLETE) == 0; /* denied or not built in: interpreted */
        }
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    hone_buf_free(&r.out);
    return st;
}

hone_status model_pattern_literal(model_pattern *out, const char *text, size_t n, hone_error *err) {
    *out = (model_pattern){.literal = hone_strndup(text, n), .literal_n = n};
    return out->literal ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory for a pattern");
}

void model_pattern_free(model_pattern *p) {
    pcre2_code_free(p->code);
    hone_free(p->literal);
    *p = (model_pattern){0};
}

/* ---- Matching ---- */

static hone_status prepare(model_scratch *s, hone_error *err) {
    if (s->match_context) return HONE_OK;
    pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (general) {
        s->match_context = pcre2_match_context_create(general);
        s->jit_stack =
            pcre2_jit_stack_create(32 * 1024, 4 * 1024 * 1024, general); /* NULL: the machine stack's 32 KiB */
    }
    pcre2_general_context_free(general);
    if (!s->match_context) return hone_fail(err, HONE_ERR_NOMEM, "no memory to match a pattern");
    pcre2_set_heap_limit(s->match_context, MATCH_HEAP_KIB);
    if (s->jit_stack) pcre2_jit_stack_assign(s->match_context, NULL, s->jit_stack);
    return HONE_OK;
}

static int match_within(model_find *f, uint32_t steps) {
    const PCRE2_SPTR text = (PCRE2_SPTR)f->text;
    pcre2_code *code = f->pattern->code;
    pcre2_match_context *context = f->scratch->match_context;
    pcre2_set_match_limit(context, steps);
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (f->pattern->jit) rc = pcre2_jit_match(code, text, f->n, f->at, PCRE2_NO_UTF_CHECK, f->data, context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* or no JIT here */
        rc = pcre2_match(code, text, f->n, f->at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, f->data, context);
    return rc;
}

static int match(model_find *f) {
    int rc = match_within(f, MATCH_STEPS_FIRST);
    for (uint32_t steps = MATCH_STEPS_FIRST; rc == PCRE2_ERROR_MATCHLIMIT && steps < MATCH_STEPS_MAX;) {
        steps = steps > MATCH_STEPS_MAX / 16 ? MATCH_STEPS_MAX : steps * 16;
        if (steps > f->scratch->steps_left) break;
        f->scratch->steps_left -= steps;
        rc = match_within(f, steps);
    }
    return rc;
}

hone_status model_find_next(model_find *f, bool *found, size_t *start, size_t *end, hone_error *err) {
    *found = false;
    if (f->at > f->n) return HONE_OK;
    if (!f->pattern->code) {
        if (f->pattern->literal_n == 0) return HONE_OK; /* an empty literal matches nowhere, as in the authority */
        const char *hit = memmem(f->text + f->at, f->n - f->at, f->pattern->literal, f->pattern->literal_n);
        if (!hit) return HONE_OK;
        *found = true;
        *start = (size_t)(hit - f->text);
        *end = f->at = *start + f->pattern->literal_n;
        return HONE_OK;
    }
    hone_status st = prepare(f->scratch, err);
    while (st == HONE_OK && f->at <= f->n) {
        const int rc = match(f);
        if (rc == PCRE2_ERROR_NOMATCH) {
            f->at = f->n + 1;
            return HONE_OK;
        }
        if (rc == PCRE2_ERROR_NOMEMORY) return hone_fail(err, HONE_ERR_NOMEM, "no memory to match a pattern");
        if (rc < 0)
            return hone_fail_at(err, HONE_ERR_LIMIT, (int64_t)f->at,
                                "the tokenizer's pattern needs too many steps at byte %zu of the text", f->at);
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(f->data);
        size_t from = v[0];
        const size_t to = v[1];
        if (from > to) from = to;              /* \K in a lookahead */
        if (from == to && f->last_end == to) { /* no empty match directly behind a match: one character on */
            uint32_t code;
            const size_t width = f->at < f->n ? hone_utf8_decode(f->text + f->at, f->n - f->at, &code) : 1;
            f->at += width ? width : 1;
            continue;
        }
        f->at = f->last_end = to;
        *found = true;
        *start = from;
        *end = to;
        return HONE_OK;
    }
    return st;
}
