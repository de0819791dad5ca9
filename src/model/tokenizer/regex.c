/* regex.c - the patterns of tokenizer.json on PCRE2.
 *
 * Published patterns are written for Oniguruma in its Ruby syntax, which the `tokenizers` library runs.  This file
 * rewrites them for PCRE2 where the two differ, so that the matches are the same: \s        White_Space; PCRE2 would
 * add U+180E \w \b     Alphabetic, marks, decimal digits, connectors; PCRE2's \w differs \h        a hexadecimal digit;
 * PCRE2: horizontal space ^ $       always lines; (?m) is dot-all [a[b]&&c] nested classes and intersections; PCRE2 has
 * none \uHHHH, \p{^X}, \p{Alpha}, [:class:], {,n}, and {n,m}+ which is no possessive quantifier Refused by name: absent
 * expressions, conditionals, calls, call-outs.
 *
 * A pattern is compiled twice where it names properties: PCRE2 knows Unicode 14, the authority Unicode 16.  The second
 * code has the ranges that came since added by hand, is slower, and runs only for texts with such characters.
 *
 * Order: the rewriter, compiling, matching. */
#include "model/tokenizer/impl.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* Steps of one match.  A published pattern needs a few per character of a word; a run of spaces a few thousand long can
 * need a million.  PCRE2 does not tell what a match took, so a match gets a small allowance first and a larger one when
 * that did not do, and what is given beyond the small one is taken from the budget of the call (MODEL_STEPS_BUDGET). */
#define MATCH_STEPS_FIRST 2000u
#define MATCH_STEPS_MAX 50000000u
#define MATCH_HEAP_KIB 65536u
#define GROUPS_MAX 200u

/* ---- The rewriter ---- */

#define SPACE "\\t-\\r\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE                                                                                                      \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x84\\x86-\\x9f\\xa1-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{"  \
    "202e}"                                                                                                            \
    "\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe"
#define HEX "0-9a-fA-F"

typedef struct {
    const char *in;
    size_t n, at;
    hone_buf out;
    bool newer;          /* with the ranges of model_newer */
    bool named_property; /* so that newer makes a difference */
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

/* Properties by names that Oniguruma knows and PCRE2 spells otherwise, as text within brackets. */
typedef struct {
    const char *name, *is, *is_not; /* is_not NULL: only by negating is */
    const char *categories;         /* whose newer characters belong to it */
} spelling;

static const spelling spellings[] = {
    {"Letter", "\\p{L}", "\\P{L}", "L"},
    {"Mark", "\\p{M}", "\\P{M}", "M"},
    {"Number", "\\p{N}", "\\P{N}", "N"},
    {"Punctuation", "\\p{P}", "\\P{P}", "P"},
    {"Symbol", "\\p{S}", "\\P{S}", "S"},
    {"Separator", "\\p{Z}", "\\P{Z}", "Z"},
    {"Other", "\\p{C}", "\\P{C}", ""},
    {"Uppercase_Letter", "\\p{Lu}", "\\P{Lu}", "Lu"},
    {"Lowercase_Letter", "\\p{Ll}", "\\P{Ll}", "Ll"},
    {"Titlecase_Letter", "\\p{Lt}", "\\P{Lt}", "Lt"},
    {"Modifier_Letter", "\\p{Lm}", "\\P{Lm}", "Lm"},
    {"Other_Letter", "\\p{Lo}", "\\P{Lo}", "Lo"},
    {"Decimal_Number", "\\p{Nd}", "\\P{Nd}", "Nd"},
    {"Nonspacing_Mark", "\\p{Mn}", "\\P{Mn}", "Mn"},
    {"Alpha", "\\p{Alphabetic}", "\\P{Alphabetic}", "L M"},
    {"Alphabetic", "\\p{Alphabetic}", "\\P{Alphabetic}", "L M"},
    {"Digit", "\\p{Nd}", "\\P{Nd}", "Nd"},
    {"Lower", "\\p{Lowercase}", "\\P{Lowercase}", "Ll"},
    {"Upper", "\\p{Uppercase}", "\\P{Uppercase}", "Lu"},
    {"Cntrl", "\\p{Cc}", "\\P{Cc}", ""},
    {"Space", SPACE, NOT_SPACE, ""},
    {"XDigit", HEX, NULL, ""},
    {"ASCII", "\\x00-\\x7f", "\\x80-\\x{10ffff}", ""},
    {"Alnum", "\\p{Alphabetic}\\p{Nd}", NULL, "L M Nd"},
    {"Word", WORD, NULL, "L M Nd Pc"},
    {"Punct", "\\p{P}\\p{S}", NULL, "P S"},
    {"Blank", "\\t\\p{Zs}", NULL, ""},
};

static const spelling *spelling_of(const char *name, size_t n) {
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++)
        if (named(name, n, spellings[i].name)) return &spellings[i];
    return NULL;
}

/* The newer characters of categories such as "L Nd". */
static void put_newer(hone_buf *out, const char *categories) {
    for (size_t i = 0; i < model_newer_n; i++) {
        const model_newer_range *x = &model_newer[i];
        for (const char *c = categories; *c; c += *c != ' ' && c[1] && c[1] != ' ' ? 2 : 1) {
            if (*c == ' ' || *c != x->category[0] || (c[1] && c[1] != ' ' && c[1] != x->category[1])) continue;
            hone_buf_format(out, "\\x{%x}-\\x{%x}", x->from, x->to);
            break;
        }
    }
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

/* The characters that have a property, or those that have not. */
static void put_property(rewriter *r, const char *name, size_t n, bool negated, member *m) {
    const spelling *known = spelling_of(name, n);
    hone_buf is = {0};
    r->named_property = true;
    if (negated && !r->newer && (!known || known->is_not)) {
        if (known)
            hone_buf_text(&m->in_class, known->is_not);
        else
            hone_buf_format(&m->in_class, "\\P{%s%.*s}", is_script(name, n) ? "sc:" : "", (int)n, name);
        return;
    }
    if (known)
        hone_buf_text(&is, known->is);
    else
        hone_buf_format(&is, "\\p{%s%.*s}", is_script(name, n) ? "sc:" : "", (int)n, name);
    if (r->newer) {
        char category[3] = {name[0], n == 2 ? name[1] : 0, 0};
        if (named(name, n, "Han")) hone_buf_text(&is, "\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}");
        put_newer(&is, known ? known->categories : n <= 2 ? category : "");
    }
    if (negated)
        hone_buf_format(&m->alone, "[^%s]", hone_buf_str(&is));
    else
        hone_buf_add(&m->in_class, is.data, is.n);
    if (is.failed) m->alone.failed = true;
    hone_buf_free(&is);
}

/* r->at stands on the character behind the backslash.  HONE_ERR_NOT_FOUND: no escape for one character; r unchanged. */
static hone_status escape(rewriter *r, member *m) {
    const char c = r->in[r->at];
    switch (c) {
    case 's': hone_buf_text(&m->in_class, SPACE); break;
    case 'S': hone_buf_text(&m->in_class, NOT_SPACE); break;
    case 'w':
    case 'W': put_property(r, "Word", 4, c == 'W', m); break;
    case 'd':
    case 'D': put_property(r, "Digit", 5, c == 'D', m); break;
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
        put_property(r, r->in + from, i - from, negated, m);
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

static void put_member(const member *m, hone_buf *plain, hone_buf *others) {
    if (m->in_class.n)
        hone_buf_add(plain, m->in_class.data, m->in_class.n);
    else
        hone_buf_format(others, "|%s", hone_buf_str(&m->alone));
    if (m->in_class.failed || m->alone.failed) plain->failed = true;
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
                if (spelling_of(name, (size_t)(end - name))) {
                    put_property(r, name, (size_t)(end - name), no, &low);
                    put_member(&low, &plain, &others);
                } else {
                    hone_buf_format(&plain, "[:%s%.*s:]", no ? "^" : "", (int)(end - name), name);
                }
                member_free(&low);
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
            put_member(&low, &plain, &others);
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
                    put_member(&high, &plain, &others);
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
                member word = {0};
                put_property(r, "Word", 4, false, &word);
                const char *w = hone_buf_str(&word.in_class);
                hone_buf_format(&r->out,
                                e == 'b' ? "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))"
                                         : "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))",
                                w, w, w, w);
                if (word.in_class.failed) r->out.failed = true;
                member_free(&word);
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

static hone_status compile(pcre2_code **out, const hone_buf *pattern, hone_error *err) {
    hone_status st = HONE_OK;
    pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    if (context) {
        int code;
        PCRE2_SIZE at;
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        pcre2_set_bsr(context, PCRE2_BSR_UNICODE);
        pcre2_set_parens_nest_limit(context, GROUPS_MAX + 50);
        *out = pcre2_compile((PCRE2_SPTR)hone_buf_str(pattern), pattern->n,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, context);
        if (!*out) {
            char text[120] = "";
            pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof(text));
            st = hone_fail(err, HONE_ERR_FORMAT, "the pattern does not compile: %s", text);
        }
    } else {
        st = hone_fail(err, HONE_ERR_NOMEM, "no memory for a pattern");
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    return st;
}

hone_status model_pattern_regex(model_pattern *out, const char *regex, size_t n, hone_error *err) {
    *out = (model_pattern){0};
    if (n > 1u << 16) return hone_fail(err, HONE_ERR_LIMIT, "a pattern of %zu bytes (at most 65536)", n);
    hone_status st = HONE_OK;
    for (int newer = 0; newer < 2 && st == HONE_OK; newer++) {
        rewriter r = {.in = regex, .n = n, .err = err, .out = {.limit = 1u << 20}, .newer = newer};
        st = rewrite(&r);
        if (st == HONE_OK) st = compile(newer ? &out->newer : &out->code, &r.out, err);
        hone_buf_free(&r.out);
        if (!r.named_property) break; /* one code does for all texts */
    }
    /* Denied or not built in: interpreted. */
    if (st == HONE_OK)
        out->jit = pcre2_jit_compile(out->code, PCRE2_JIT_COMPLETE) == 0;
    else
        model_pattern_free(out);
    return st;
}

hone_status model_pattern_literal(model_pattern *out, const char *text, size_t n, hone_error *err) {
    *out = (model_pattern){.literal = hone_strndup(text, n), .literal_n = n};
    return out->literal ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory for a pattern");
}

void model_pattern_free(model_pattern *p) {
    pcre2_code_free(p->code);
    pcre2_code_free(p->newer);
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
    const bool newer = f->scratch->newer && f->pattern->newer;
    pcre2_code *code = newer ? f->pattern->newer : f->pattern->code;
    pcre2_match_context *context = f->scratch->match_context;
    pcre2_set_match_limit(context, steps);
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (f->pattern->jit && !newer) rc = pcre2_jit_match(code, text, f->n, f->at, PCRE2_NO_UTF_CHECK, f->data, context);
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
