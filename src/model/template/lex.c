/* lex.c - from text to tokens, with Jinja's white space rules (trim_blocks and lstrip_blocks on).
 *
 * Text: ordinary bytes, {{ }}, {% %}, {# #} and raw blocks; a '-' inside a delimiter eats all white space on its side,
 * a '+' keeps what lstrip_blocks or trim_blocks would eat.  Refused: text that is no UTF-8, tags left open.
 * Order: names, tokens, strings and numbers, operators, tags, text. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "model/template/ast.h"

typedef struct {
    jinja_compiler *c;
    const char *s;
    size_t n;
    size_t at;
    uint32_t line;
} lexer;

bool jinja_syntax_error(jinja_compiler *c, uint32_t line, hone_status code, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    hone_fail_at(c->err, code, line, "template line %u: %s", line, text);
    return false;
}

void *jinja_compiler_get(jinja_compiler *c, size_t count, size_t size) {
    void *p = jinja_arena_get(&c->template->arena, count, size);
    if (p) {
        memset(p, 0, count * size);
        return p;
    }
    const uint32_t line = c->n_tokens && c->at < c->n_tokens ? c->token[c->at].line : 1;
    if (c->template->arena.over)
        jinja_syntax_error(c, line, HONE_ERR_LIMIT, "too large");
    else
        jinja_syntax_error(c, line, HONE_ERR_NOMEM, "out of memory");
    return NULL;
}

/* ---- Names: one number for each, so that scopes compare numbers ---- */

static uint32_t hash_name(const jinja_string *s) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s->n; i++) h = (h ^ (unsigned char)s->at[i]) * 16777619u;
    return h;
}

static bool grow_names(jinja_compiler *c) {
    hone_template *t = c->template;
    const uint32_t cap = t->cap_names ? t->cap_names * 2 : 32;
    jinja_name *name = jinja_compiler_get(c, cap, sizeof(*name));
    uint32_t *slot = jinja_compiler_get(c, cap * 2, sizeof(*slot));
    if (!name || !slot) return false;
    if (t->n_names) memcpy(name, t->name, t->n_names * sizeof(*name));
    for (uint32_t i = 0; i < t->n_names; i++) {
        uint32_t at = hash_name(name[i].text) & (cap * 2 - 1);
        while (slot[at]) at = (at + 1) & (cap * 2 - 1);
        slot[at] = i + 1;
    }
    t->name = name;
    t->cap_names = cap;
    t->name_slot = slot;
    t->n_name_slots = cap * 2;
    return true;
}

bool jinja_name_intern(jinja_compiler *c, const jinja_string *text, uint32_t *out) {
    hone_template *t = c->template;
    if (t->n_names == t->cap_names && !grow_names(c)) return false;
    uint32_t at = hash_name(text) & (t->n_name_slots - 1);
    for (; t->name_slot[at]; at = (at + 1) & (t->n_name_slots - 1)) {
        const jinja_string *have = t->name[t->name_slot[at] - 1].text;
        if (have->n == text->n && memcmp(have->at, text->at, text->n) == 0) {
            *out = t->name_slot[at] - 1;
            return true;
        }
    }
    t->name[t->n_names] = (jinja_name){text, jinja_global_find(text)};
    t->name_slot[at] = ++t->n_names;
    *out = t->n_names - 1;
    return true;
}

/* ---- Tokens ---- */

static bool add_token(lexer *x, jinja_token token) {
    jinja_compiler *c = x->c;
    if (!hone_grow(&c->token, &c->cap_tokens, c->n_tokens, sizeof(*c->token)))
        return jinja_syntax_error(c, token.line, HONE_ERR_NOMEM, "out of memory");
    c->token[c->n_tokens++] = token;
    return true;
}

static const jinja_string *text_of(lexer *x, const char *at, size_t n) {
    jinja_string *s = jinja_compiler_get(x->c, 1, sizeof(*s));
    if (s) *s = (jinja_string){at, n, jinja_count_chars(at, n)};
    return s;
}

static bool add_text(lexer *x, jinja_token_type type, const char *at, size_t n, uint32_t line) {
    const jinja_string *text = text_of(x, at, n);
    return text && add_token(x, (jinja_token){.type = type, .line = line, .text = text});
}

static bool fail(lexer *x, const char *what) {
    return jinja_syntax_error(x->c, x->line, HONE_ERR_FORMAT, "%s", what);
}

static void skip(lexer *x, size_t n) {
    for (size_t i = 0; i < n; i++) x->line += x->s[x->at + i] == '\n';
    x->at += n;
}

/* Length of the white space at offset i. */
static size_t space_at(const lexer *x, size_t i) {
    size_t n = 0;
    uint32_t code;
    for (size_t width; (width = hone_utf8_decode(x->s + i + n, x->n - i - n, &code)) && jinja_is_space(code);)
        n += width;
    return n;
}

/* Length of text[n] without the white space at its end. */
static size_t without_trailing_space(const char *text, size_t n) {
    while (n) {
        size_t start = n - 1;
        uint32_t code = 0;
        while (start && ((unsigned char)text[start] & 0xc0) == 0x80) start--;
        if (!hone_utf8_decode(text + start, n - start, &code) || !jinja_is_space(code)) break;
        n = start;
    }
    return n;
}

static bool starts(const lexer *x, size_t at, const char *with) {
    const size_t n = strlen(with);
    return n <= x->n - at && memcmp(x->s + at, with, n) == 0;
}

/* ---- Strings and numbers ---- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The escape behind a backslash at s[i]; *used bytes of it, *code what it means, -1 nothing, -2 itself. */
static bool unescape(lexer *x, const char *s, size_t n, size_t *used, int64_t *code) {
    static const char plain[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    const char c = s[0];
    *used = 1;
    for (size_t i = 0; i + 1 < sizeof(plain); i += 2)
        if (plain[i] == c) {
            *code = plain[i + 1];
            return true;
        }
    if (c == '\n') {
        *code = -1;
        return true;
    }
    if (c >= '0' && c <= '7') {
        *code = 0;
        for (*used = 0; *used < 3 && *used < n && s[*used] >= '0' && s[*used] <= '7'; ++*used)
            *code = *code * 8 + (s[*used] - '0');
        return true;
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c == 'N') return jinja_syntax_error(x->c, x->line, HONE_ERR_UNSUPPORTED, "\\N{...} escapes are not supported");
    if (!digits) {
        *code = -2;
        return true;
    }
    *code = 0;
    for (size_t i = 0; i < digits; i++) {
        const int d = i + 1 < n ? hex_digit(s[i + 1]) : -1;
        if (d < 0) return fail(x, "truncated \\x, \\u or \\U escape in a string");
        *code = *code * 16 + d;
    }
    *used = digits + 1;
    return true;
}

static bool lex_string(lexer *x) {
    const char quote = x->s[x->at];
    const uint32_t line = x->line;
    size_t end = x->at + 1, n = 0;
    while (end < x->n && x->s[end] != quote) end += x->s[end] == '\\' ? 2 : 1;
    if (end >= x->n) return fail(x, "a string without its end");
    const char *s = x->s + x->at + 1;
    const size_t n_source = end - x->at - 1;
    char *text = jinja_compiler_get(x->c, n_source, 1); /* no escape is shorter than what it stands for */
    if (!text) return false;
    for (size_t i = 0; i < n_source;) {
        if (s[i] != '\\') {
            text[n++] = s[i++];
            continue;
        }
        size_t used = 1;
        int64_t code = -2;
        if (!unescape(x, s + i + 1, n_source - i - 1, &used, &code)) return false;
        if (code == -2) {
            text[n++] = '\\';
            i++;
            continue;
        }
        i += used + 1;
        if (code == -1) continue;
        char bytes[4];
        const size_t width = hone_utf8_encode(code > 0x10ffff ? UINT32_MAX : (uint32_t)code, bytes);
        if (!width) return fail(x, "an escape that is no character (surrogate or over U+10FFFF)");
        memcpy(text + n, bytes, width);
        n += width;
    }
    skip(x, end + 1 - x->at);
    return add_text(x, JINJA_T_STRING, text, n, line);
}

static bool digit_in_base(char c, int base) {
    const int d = hex_digit(c);
    return d >= 0 && d < base;
}

/* Bytes of digits with single underscores between them, from offset i. */
static size_t digit_run(const lexer *x, size_t i, int base) {
    size_t n = 0;
    while (i + n < x->n) {
        if (digit_in_base(x->s[i + n], base))
            n++;
        else if (n && x->s[i + n] == '_' && i + n + 1 < x->n && digit_in_base(x->s[i + n + 1], base))
            n += 2;
        else
            break;
    }
    return n;
}

/* Bytes of a float at the cursor, 0 where there is none: digits with a fraction, an exponent, or both. */
static size_t float_length(const lexer *x) {
    if (x->at && x->s[x->at - 1] == '.') return 0; /* a.0.5 means items, not numbers */
    size_t n = digit_run(x, x->at, 10);
    bool is_float = false;
    if (n && x->at + n < x->n && x->s[x->at + n] == '.') {
        const size_t fraction = digit_run(x, x->at + n + 1, 10);
        if (fraction) {
            n += 1 + fraction;
            is_float = true;
        }
    }
    if (n && x->at + n < x->n && (x->s[x->at + n] | 0x20) == 'e') {
        size_t sign = x->at + n + 1 < x->n && (x->s[x->at + n + 1] == '+' || x->s[x->at + n + 1] == '-');
        const size_t digits = digit_run(x, x->at + n + 1 + sign, 10);
        if (digits) {
            n += 1 + sign + digits;
            is_float = true;
        }
    }
    return is_float ? n : 0;
}

static bool lex_number(lexer *x) {
    jinja_token token = {.type = JINJA_T_FLOAT, .line = x->line};
    size_t n = float_length(x);
    if (n) {
        const jinja_string s = {x->s + x->at, n, n};
        if (n > 400 || !jinja_parse_float(&s, &token.real)) return fail(x, "a number too long");
    } else {
        const char second = x->at + 1 < x->n ? (char)(x->s[x->at + 1] | 0x20) : 0;
        const int base = x->s[x->at] != '0' ? 10 : second == 'x' ? 16 : second == 'o' ? 8 : second == 'b' ? 2 : 10;
        bool overflow = false;
        n = base == 10 ? digit_run(x, x->at, 10) : 2 + digit_run(x, x->at + 2, base);
        if (base == 10 && x->s[x->at] == '0') /* 007 is two numbers, which no grammar rule joins */
            for (n = 1; x->at + n < x->n && x->s[x->at + n] == '0';) n++;
        if (base != 10 && n == 2) n = 1;
        const jinja_string s = {x->s + x->at, n, n};
        token.type = JINJA_T_INTEGER;
        if (!jinja_parse_int(&s, n == 1 ? 10 : base, &token.integer, &overflow))
            return jinja_syntax_error(x->c, x->line, overflow ? HONE_ERR_LIMIT : HONE_ERR_FORMAT,
                                      overflow ? "an integer beyond 64 bits" : "not a number");
    }
    x->at += n;
    return add_token(x, token);
}

/* ---- Inside a tag ---- */

static bool lex_name(lexer *x) {
    size_t n = 0;
    uint32_t code;
    for (size_t width; (width = hone_utf8_decode(x->s + x->at + n, x->n - x->at - n, &code)) && jinja_is_word(code);)
        n += width;
    const char *at = x->s + x->at;
    x->at += n;
    return add_text(x, JINJA_T_NAME, at, n, x->line);
}

static bool lex_operator(lexer *x, char *brackets, size_t *n_brackets, size_t max_brackets) {
    static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                            "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (size_t i = 0; i < sizeof(operators) / sizeof(*operators); i++) {
        const char *op = operators[i];
        if (!starts(x, x->at, op)) continue;
        if (*op == '(' || *op == '[' || *op == '{') {
            if (*n_brackets == max_brackets)
                return jinja_syntax_error(x->c, x->line, HONE_ERR_LIMIT, "brackets nested deeper than %zu",
                                          max_brackets);
            brackets[(*n_brackets)++] = *op == '(' ? ')' : *op == '[' ? ']' : '}';
        } else if (*op == ')' || *op == ']' || *op == '}') {
            if (!*n_brackets) return jinja_syntax_error(x->c, x->line, HONE_ERR_FORMAT, "unexpected '%s'", op);
            if (brackets[--*n_brackets] != *op)
                return jinja_syntax_error(x->c, x->line, HONE_ERR_FORMAT, "unexpected '%s', expected '%c'", op,
                                          brackets[*n_brackets]);
        }
        const char *at = x->s + x->at;
        x->at += strlen(op);
        return add_text(x, JINJA_T_OPERATOR, at, strlen(op), x->line);
    }
    uint32_t code = 0;
    hone_utf8_decode(x->s + x->at, x->n - x->at, &code);
    return jinja_syntax_error(x->c, x->line, HONE_ERR_FORMAT, "unexpected character U+%04X", code);
}

/* The end of a tag at the cursor and what it eats, 0 where there is none. */
static size_t tag_end(const lexer *x, const char *end, bool trims_newline, bool allows_plus) {
    if (starts(x, x->at, "-") && starts(x, x->at + 1, end)) return 3 + space_at(x, x->at + 3);
    if (allows_plus && starts(x, x->at, "+") && starts(x, x->at + 1, end)) return 3;
    if (!starts(x, x->at, end)) return 0;
    return trims_newline && x->at + 2 < x->n && x->s[x->at + 2] == '\n' ? 3 : 2;
}

/* Tokens up to and with the end of the tag. */
static bool lex_tag(lexer *x, bool block) {
    char brackets[JINJA_MAX_PARSE_DEPTH];
    size_t n_brackets = 0;
    while (x->at < x->n) {
        skip(x, space_at(x, x->at));
        if (x->at >= x->n) break;
        const size_t end = n_brackets ? 0 : tag_end(x, block ? "%}" : "}}", block, block);
        if (end) {
            const uint32_t line = x->line;
            skip(x, end);
            return add_token(x, (jinja_token){.type = block ? JINJA_T_BLOCK_END : JINJA_T_VARIABLE_END, .line = line});
        }
        const char c = x->s[x->at];
        uint32_t code = 0;
        hone_utf8_decode(x->s + x->at, x->n - x->at, &code);
        bool ok;
        if (c == '\'' || c == '"')
            ok = lex_string(x);
        else if (c >= '0' && c <= '9')
            ok = lex_number(x);
        else if (jinja_is_word(code))
            ok = lex_name(x);
        else
            ok = lex_operator(x, brackets, &n_brackets, sizeof(brackets));
        if (!ok) return false;
    }
    return fail(x, "the template ends inside a tag");
}

/* ---- Text ---- */

/* Text before a tag whose sign is '-', '+' or 0; lstrip: the tag is no {{ }}. */
static size_t strip_before(const lexer *x, size_t from, size_t to, char sign, bool lstrip) {
    const char *text = x->s + from;
    const size_t n = to - from;
    if (sign == '-') return from + without_trailing_space(text, n);
    if (sign == '+' || !lstrip) return to;
    size_t line_start = n;
    while (line_start && text[line_start - 1] != '\n') line_start--;
    if (line_start == 0 && from != 0 && x->s[from - 1] != '\n') return to; /* something else stands on this line */
    const size_t kept = without_trailing_space(text, n);
    return kept <= line_start ? from + line_start : to;
}

/* Length of a {% raw %} or {% endraw %} at offset i, 0 where there is none. */
static size_t raw_tag(const lexer *x, size_t i, const char *word, bool trims_newline) {
    lexer probe = *x;
    if (!starts(x, i, "{%")) return 0;
    probe.at = i + 2;
    if (probe.at < x->n && (x->s[probe.at] == '-' || x->s[probe.at] == '+')) probe.at++;
    probe.at += space_at(&probe, probe.at);
    if (!starts(x, probe.at, word)) return 0;
    probe.at += strlen(word);
    probe.at += space_at(&probe, probe.at);
    const size_t end = tag_end(&probe, "%}", trims_newline, trims_newline);
    return end ? probe.at + end - i : 0;
}

static char sign_at(const lexer *x, size_t i) {
    return i < x->n && (x->s[i] == '-' || x->s[i] == '+') ? x->s[i] : 0;
}

static bool add_data(lexer *x, size_t from, size_t to) {
    return from == to || add_text(x, JINJA_T_DATA, x->s + from, to - from, x->line);
}

static bool lex_raw(lexer *x) {
    const size_t from = x->at;
    for (size_t i = from; i < x->n; i++) {
        const size_t n = x->s[i] == '{' ? raw_tag(x, i, "endraw", true) : 0;
        if (!n) continue;
        if (!add_data(x, from, strip_before(x, from, i, sign_at(x, i + 2), true))) return false;
        skip(x, i + n - x->at);
        return true;
    }
    return from == x->n || fail(x, "a raw block without its end"); /* Jinja does not mind when nothing is in it */
}

static bool lex_comment(lexer *x) {
    if (x->at == x->n) return true;
    while (x->at < x->n) {
        const size_t end = tag_end(x, "#}", true, true);
        if (end) {
            skip(x, end);
            return true;
        }
        skip(x, 1);
    }
    return fail(x, "a comment without its end");
}

static bool lex_text(lexer *x) {
    while (x->at < x->n) {
        const size_t from = x->at;
        size_t i = from;
        while (i < x->n && !(x->s[i] == '{' && i + 1 < x->n && x->s[i + 1] && strchr("{%#", x->s[i + 1]))) i++;
        if (i >= x->n) return add_data(x, from, x->n);
        const char kind = x->s[i + 1];
        const char sign = sign_at(x, i + 2);
        if (!add_data(x, from, strip_before(x, from, i, sign, kind != '{'))) return false;
        skip(x, i - from);
        const size_t raw = raw_tag(x, i, "raw", false);
        const uint32_t line = x->line;
        skip(x, raw ? raw : sign ? 3 : 2);
        bool ok;
        if (raw)
            ok = lex_raw(x);
        else if (kind == '#')
            ok = lex_comment(x);
        else
            ok = add_token(x, (jinja_token){.type = kind == '{' ? JINJA_T_VARIABLE_BEGIN : JINJA_T_BLOCK_BEGIN,
                                            .line = line}) &&
                 lex_tag(x, kind == '%');
        if (!ok) return false;
    }
    return true;
}

bool jinja_lex(jinja_compiler *c) {
    lexer x = {c, c->source, c->n_source, 0, 1};
    return lex_text(&x) && add_token(&x, (jinja_token){.type = JINJA_T_END, .line = x.line});
}
