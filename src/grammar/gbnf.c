/* gbnf.c - the source text of grammars: GBNF as llama.cpp reads it (grammars/README.md), with %json, %regex and %token.
 *
 *     root  ::= item ("," item)*     # a comment
 *     item  ::= "text" | [a-z\x30-\u0039]+ | [^\n] | . | other{2,4} | (grouped
 *               over lines) | <think> | %regex"a.c" | %json{"type": "string"} | %token"<|tool|>"
 *
 * Characters are code points; a byte of the source that is no UTF-8 stands for itself.  <think> is the token of that
 * text, special or not.  Refused by name: <[id]> and !<...>, which speak of token numbers and not of text.  Where
 * llama.cpp refuses left recursion, hone_grammar_finish rewrites what can be rewritten.  Everything from outside is
 * bounded: source bytes, rules, nesting.
 *
 * Order: reading, characters, elements, sequences and rules, whole sources. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "grammar/grammar_impl.h"
#include "grammar/schema.h"

#define SOURCE_MAX (8u << 20)
#define DEPTH_MAX 200u
#define RULES_MAX 100000u

typedef struct {
    const char *name; /* in the source */
    size_t n;
    hone_gx gx;
    bool defined;
    size_t offset; /* where it was named first */
} named_rule;

typedef struct {
    hone_grammar_builder *b;
    const char *text;
    size_t n, at;
    uint32_t depth;
    named_rule *rule;
    size_t n_rule, rule_cap;
    uint32_t *index; /* [index_cap] open addressing by name: 1 + rule, 0 where free */
    size_t index_cap;
    hone_status status;
    hone_error *err;
} reader;

static hone_gx refuse(reader *s, hone_status code, size_t offset, const char *what) {
    /* Where memory or a limit ended the building, that is the reason and not what came of it. */
    if (s->status == HONE_OK && rx_ok(hone_grammar_regular(s->b))) {
        size_t line = 1;
        for (size_t i = 0; i < offset && i < s->n; i++) line += s->text[i] == '\n';
        s->status =
            hone_fail_at(s->err, code, (int64_t)offset, "grammar, line %zu (offset %zu): %s", line, offset, what);
    }
    return HONE_GX_FAIL;
}

/* ---- Reading ---- */

static bool more(const reader *s) {
    return s->status == HONE_OK && s->at < s->n;
}
static bool at_text(const reader *s, const char *text) {
    const size_t k = strlen(text);
    return s->n - s->at >= k && memcmp(s->text + s->at, text, k) == 0;
}

static void skip_space(reader *s, bool newlines) {
    while (s->at < s->n) {
        const char c = s->text[s->at];
        if (c == '#') {
            while (s->at < s->n && s->text[s->at] != '\n' && s->text[s->at] != '\r') s->at++;
        } else if (c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r')))
            s->at++;
        else
            break;
    }
}

static bool word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* ---- Characters ---- */

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The character at s->at, escapes read.  *byte: it is one byte that is no UTF-8. */
static uint32_t read_char(reader *s, bool *byte) {
    uint32_t code = 0;
    *byte = false;
    if (s->text[s->at] != '\\') {
        const size_t k = hone_utf8_decode(s->text + s->at, s->n - s->at, &code);
        if (k == 0) {
            *byte = true;
            return (uint8_t)s->text[s->at++];
        }
        s->at += k;
        return code;
    }
    const size_t begin = s->at++;
    if (s->at >= s->n) return refuse(s, HONE_ERR_FORMAT, begin, "a backslash at the end"), 0;
    const char c = s->text[s->at++];
    size_t digits = 0;
    switch (c) {
    case 'x': digits = 2; break;
    case 'u': digits = 4; break;
    case 'U': digits = 8; break;
    case 't': return '\t';
    case 'r': return '\r';
    case 'n': return '\n';
    case '\\':
    case '"':
    case '[':
    case ']': return (uint32_t)c;
    default: return refuse(s, HONE_ERR_FORMAT, begin, "an unknown escape"), 0;
    }
    for (size_t i = 0; i < digits; i++) {
        const int d = s->at < s->n ? hex(s->text[s->at]) : -1;
        if (d < 0) return refuse(s, HONE_ERR_FORMAT, begin, "an escape needs more hexadecimal digits"), 0;
        code = code << 4 | (uint32_t)d;
        s->at++;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return refuse(s, HONE_ERR_FORMAT, begin, "an escape that is no character"), 0;
    return code;
}

/* A literal, from its opening quote, as bytes. */
static bool read_literal(reader *s, hone_buf *out) {
    const size_t begin = s->at++;
    while (more(s) && s->text[s->at] != '"') {
        bool byte;
        const uint32_t code = read_char(s, &byte);
        char utf8[4];
        const size_t k = byte ? 1 : hone_utf8_encode(code, utf8);
        if (byte) utf8[0] = (char)code;
        hone_buf_add(out, utf8, k);
    }
    if (s->status == HONE_OK && s->at >= s->n) refuse(s, HONE_ERR_FORMAT, begin, "a literal is not closed");
    s->at++;
    if (out->failed) refuse(s, HONE_ERR_NOMEM, begin, "no memory");
    return s->status == HONE_OK;
}

static hone_gx read_class(reader *s) {
    const size_t begin = s->at++;
    rx_chars set = {0};
    const bool negated = more(s) && s->text[s->at] == '^';
    if (negated) s->at++;
    bool byte = false;
    while (more(s) && s->text[s->at] != ']') {
        const uint32_t first = read_char(s, &byte);
        uint32_t last = first;
        if (byte) refuse(s, HONE_ERR_FORMAT, s->at - 1, "no UTF-8 in a class");
        if (s->n - s->at >= 2 && s->text[s->at] == '-' && s->text[s->at + 1] != ']') {
            s->at++;
            last = read_char(s, &byte);
            if (byte) refuse(s, HONE_ERR_FORMAT, s->at - 1, "no UTF-8 in a class");
            if (last < first) refuse(s, HONE_ERR_FORMAT, begin, "a range runs backwards");
        }
        rx_chars_add(&set, first, last);
    }
    if (s->status == HONE_OK && s->at >= s->n) refuse(s, HONE_ERR_FORMAT, begin, "a class is not closed");
    s->at++;
    hone_gx out = HONE_GX_FAIL;
    if (s->status == HONE_OK) {
        rx_chars_sort(&set);
        if (negated) rx_chars_invert(&set);
        out = rx_chars_node(hone_grammar_regular(s->b), &set);
    }
    rx_chars_free(&set);
    return out;
}

/* ---- Elements ---- */

static uint32_t name_hash(const char *name, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)name[i]) * 16777619u;
    return h;
}

/* The rule of that name, declared when it is new; NULL: s->status says why. */
static named_rule *rule_named(reader *s, const char *name, size_t n, size_t offset) {
    if (s->n_rule * 2 >= s->index_cap) {
        const size_t cap = s->index_cap ? s->index_cap * 2 : 64;
        uint32_t *index = hone_zalloc(cap, sizeof(*index));
        if (!index) return refuse(s, HONE_ERR_NOMEM, offset, "no memory"), NULL;
        for (size_t i = 0; i < s->n_rule; i++) {
            size_t at = name_hash(s->rule[i].name, s->rule[i].n) & (cap - 1);
            while (index[at]) at = (at + 1) & (cap - 1);
            index[at] = 1 + (uint32_t)i;
        }
        hone_free(s->index);
        s->index = index;
        s->index_cap = cap;
    }
    size_t at = name_hash(name, n) & (s->index_cap - 1);
    for (; s->index[at]; at = (at + 1) & (s->index_cap - 1)) {
        named_rule *rule = &s->rule[s->index[at] - 1];
        if (rule->n == n && memcmp(rule->name, name, n) == 0) return rule;
    }
    if (s->n_rule >= RULES_MAX) return refuse(s, HONE_ERR_LIMIT, offset, "too many rules"), NULL;
    if (!hone_grow(&s->rule, &s->rule_cap, s->n_rule, sizeof(*s->rule)))
        return refuse(s, HONE_ERR_NOMEM, offset, "no memory"), NULL;
    named_rule *rule = &s->rule[s->n_rule++];
    *rule = (named_rule){.name = name, .n = n, .gx = hone_gx_rule(s->b), .offset = offset};
    s->index[at] = (uint32_t)s->n_rule;
    return rule;
}

static hone_gx token_text(reader *s, const char *text, size_t n) {
    hone_buf marked = {0};
    hone_buf_char(&marked, (char)HONE_TOKEN_MARK);
    hone_buf_add(&marked, text, n);
    hone_buf_char(&marked, (char)HONE_TOKEN_MARK);
    const hone_gx out = marked.failed ? refuse(s, HONE_ERR_NOMEM, s->at, "no memory")
                                      : hone_rx_bytes(hone_grammar_regular(s->b), marked.data, marked.n);
    hone_buf_free(&marked);
    return out;
}

/* Bytes of the JSON value at s->at: an object up to its closing brace, or a word. */
static size_t json_extent(const reader *s) {
    size_t at = s->at;
    if (at >= s->n || s->text[at] != '{') {
        while (at < s->n && word_char(s->text[at])) at++;
        return at - s->at;
    }
    size_t open = 0;
    bool in_string = false;
    for (; at < s->n; at++) {
        const char c = s->text[at];
        if (in_string) {
            if (c == '\\')
                at++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"')
            in_string = true;
        else if (c == '{')
            open++;
        else if (c == '}' && --open == 0)
            return at + 1 - s->at;
    }
    return 0;
}

static hone_gx read_directive(reader *s) {
    const size_t begin = s->at;
    hone_regular *r = hone_grammar_regular(s->b);
    hone_gx out = HONE_GX_FAIL;
    if (at_text(s, "%json")) {
        s->at += 5;
        skip_space(s, false);
        const size_t n = json_extent(s);
        if (n == 0) return refuse(s, HONE_ERR_FORMAT, begin, "%json needs a JSON Schema behind it");
        hone_error inner = {0};
        json_t *schema = hone_json_parse(s->text + s->at, n, &inner);
        if (!schema) {
            s->status = hone_fail_at(s->err, inner.code, (int64_t)s->at, "%%json: %s", inner.message);
            return HONE_GX_FAIL;
        }
        const hone_schema_options options = {0};
        const hone_status st = hone_schema_node(s->b, schema, &options, &out, s->err);
        json_decref(schema);
        s->at += n;
        if (st != HONE_OK) s->status = st;
        return out;
    }
    const bool regex = at_text(s, "%regex\""), token = at_text(s, "%token\"");
    if (!regex && !token) return refuse(s, HONE_ERR_FORMAT, begin, "after % there may be json, regex\" or token\"");
    s->at += 6;
    hone_buf text = {0};
    if (read_literal(s, &text)) {
        if (token)
            out = token_text(s, hone_buf_str(&text), text.n);
        else {
            hone_error inner = {0};
            hone_rx rx;
            const hone_status st = hone_rx_pattern(r, hone_buf_str(&text), text.n, false, &rx, &inner);
            if (st != HONE_OK)
                s->status = hone_fail_at(s->err, st, (int64_t)begin, "%%regex at offset %zu: %s", begin, inner.message);
            else
                out = hone_gx_terminal(s->b, rx);
        }
    }
    hone_buf_free(&text);
    return out;
}

static hone_gx read_alternates(reader *s, bool nested);

/* One element without its repetition; *none: no element begins here. */
static hone_gx read_element(reader *s, bool *none) {
    const size_t begin = s->at;
    const char c = s->text[s->at];
    hone_regular *r = hone_grammar_regular(s->b);
    *none = false;
    if (c == '"') {
        hone_buf text = {0};
        hone_gx out = HONE_GX_FAIL;
        if (read_literal(s, &text)) out = hone_rx_bytes(r, hone_buf_str(&text), text.n);
        hone_buf_free(&text);
        return out;
    }
    if (c == '[') return read_class(s);
    if (c == '.') {
        s->at++;
        return hone_rx_char_range(r, 0, 0x10FFFF);
    }
    if (c == '(') {
        s->at++;
        skip_space(s, true);
        const hone_gx out = read_alternates(s, true);
        if (s->status != HONE_OK) return out;
        if (!more(s) || s->text[s->at] != ')') return refuse(s, HONE_ERR_FORMAT, begin, "a group is not closed");
        s->at++;
        return out;
    }
    if (c == '%') return read_directive(s);
    if (c == '!' || (c == '<' && at_text(s, "<[")))
        return refuse(s, HONE_ERR_UNSUPPORTED, begin, "tokens by number or by exclusion");
    if (c == '<') {
        const char *close = memchr(s->text + s->at, '>', s->n - s->at);
        if (!close || memchr(s->text + s->at, '\n', (size_t)(close - s->text) - s->at))
            return refuse(s, HONE_ERR_FORMAT, begin, "a token's name is not closed");
        const size_t n = (size_t)(close - s->text) + 1 - s->at;
        const hone_gx either[2] = {token_text(s, s->text + s->at, n), hone_rx_bytes(r, s->text + s->at, n)};
        s->at += n;
        return hone_gx_alt(s->b, either, 2);
    }
    if (word_char(c)) {
        while (s->at < s->n && word_char(s->text[s->at])) s->at++;
        const named_rule *rule = rule_named(s, s->text + begin, s->at - begin, begin);
        return rule ? rule->gx : HONE_GX_FAIL;
    }
    *none = true;
    return HONE_GX_FAIL;
}

static bool read_number(reader *s, uint32_t *out) {
    uint64_t v = 0;
    const size_t begin = s->at;
    while (s->at < s->n && s->text[s->at] >= '0' && s->text[s->at] <= '9') {
        v = v * 10 + (uint64_t)(s->text[s->at++] - '0');
        if (v > 1000000) {
            refuse(s, HONE_ERR_LIMIT, begin, "more than a million repetitions");
            return false;
        }
    }
    *out = (uint32_t)v;
    return s->at > begin;
}

static hone_gx read_repetition(reader *s, hone_gx gx, bool nested) {
    while (more(s) && gx != HONE_GX_FAIL) {
        uint32_t min = 0, max = HONE_RX_UNBOUNDED;
        const size_t begin = s->at;
        const char c = s->text[s->at];
        if (c == '*')
            s->at++;
        else if (c == '+')
            min = 1, s->at++;
        else if (c == '?')
            max = 1, s->at++;
        else if (c == '{') {
            s->at++;
            skip_space(s, nested);
            const bool low = read_number(s, &min);
            skip_space(s, nested);
            if (more(s) && s->text[s->at] == ',') {
                s->at++;
                skip_space(s, nested);
                if (!read_number(s, &max)) max = HONE_RX_UNBOUNDED;
                skip_space(s, nested);
            } else if (low)
                max = min;
            else
                refuse(s, HONE_ERR_FORMAT, begin, "{ needs a number of repetitions");
            if (s->status == HONE_OK && (!more(s) || s->text[s->at] != '}'))
                refuse(s, HONE_ERR_FORMAT, begin, "a repetition is not closed");
            s->at++;
            if (max < min) refuse(s, HONE_ERR_FORMAT, begin, "a repetition's numbers are out of order");
        } else
            break;
        if (s->status != HONE_OK) return HONE_GX_FAIL;
        gx = hone_gx_repeat(s->b, gx, min, max);
        skip_space(s, nested);
    }
    return gx;
}

/* ---- Sequences and rules ---- */

static hone_gx read_sequence(reader *s, bool nested) {
    rx_ids part = {0};
    hone_regular *r = hone_grammar_regular(s->b);
    hone_gx out = HONE_GX_FAIL;
    while (more(s)) {
        bool none;
        hone_gx gx = read_element(s, &none);
        if (none || gx == HONE_GX_FAIL) break;
        skip_space(s, nested);
        gx = read_repetition(s, gx, nested);
        if (gx == HONE_GX_FAIL || !rx_ids_push(r, &part, gx)) break;
    }
    if (s->status == HONE_OK && rx_ok(r)) out = hone_gx_seq(s->b, part.id, (uint32_t)part.n);
    r->bytes -= part.cap * sizeof(*part.id);
    hone_free(part.id);
    return out;
}

static hone_gx read_alternates(reader *s, bool nested) {
    if (++s->depth > DEPTH_MAX) return refuse(s, HONE_ERR_LIMIT, s->at, "groups are nested too deeply");
    rx_ids part = {0};
    hone_regular *r = hone_grammar_regular(s->b);
    hone_gx out = HONE_GX_FAIL;
    for (;;) {
        const hone_gx gx = read_sequence(s, nested);
        if (gx == HONE_GX_FAIL || !rx_ids_push(r, &part, gx)) break;
        if (!more(s) || s->text[s->at] != '|') {
            out = hone_gx_alt(s->b, part.id, (uint32_t)part.n);
            break;
        }
        s->at++;
        skip_space(s, true);
    }
    s->depth--;
    r->bytes -= part.cap * sizeof(*part.id);
    hone_free(part.id);
    return out;
}

static void read_rule(reader *s) {
    const size_t begin = s->at;
    while (s->at < s->n && word_char(s->text[s->at])) s->at++;
    if (s->at == begin) {
        refuse(s, HONE_ERR_FORMAT, begin, "a rule's name is missing");
        return;
    }
    const size_t n = s->at - begin;
    skip_space(s, false);
    if (!at_text(s, "::=")) {
        refuse(s, HONE_ERR_FORMAT, s->at, "::= is missing behind a rule's name");
        return;
    }
    s->at += 3;
    skip_space(s, true);
    named_rule *rule = rule_named(s, s->text + begin, n, begin);
    if (!rule) return;
    if (rule->defined) {
        refuse(s, HONE_ERR_FORMAT, begin, "a rule is defined twice");
        return;
    }
    rule->defined = true;
    const hone_gx gx = rule->gx; /* the table may move */
    const hone_gx body = read_alternates(s, false);
    if (s->status == HONE_OK && s->at < s->n && s->text[s->at] != '\n' && s->text[s->at] != '\r')
        refuse(s, HONE_ERR_FORMAT, s->at, "something that no rule may contain");
    if (s->status == HONE_OK) hone_gx_define(s->b, gx, body);
    skip_space(s, true);
}

/* ---- Whole sources ---- */

hone_status hone_grammar_compile(hone_grammar **out, const char *source, size_t n, hone_error *err) {
    *out = NULL;
    if (n > SOURCE_MAX) return hone_fail(err, HONE_ERR_LIMIT, "grammar: the source is over %u bytes", SOURCE_MAX);
    reader s = {.text = source, .n = n, .err = err};
    hone_status st = hone_grammar_begin(&s.b, err);
    if (st != HONE_OK) return st;
    skip_space(&s, true);
    while (more(&s) && rx_ok(hone_grammar_regular(s.b))) read_rule(&s);
    hone_gx root = HONE_GX_FAIL;
    for (size_t i = 0; s.status == HONE_OK && rx_ok(hone_grammar_regular(s.b)) && i < s.n_rule; i++) {
        if (!s.rule[i].defined) refuse(&s, HONE_ERR_FORMAT, s.rule[i].offset, "a rule is used but not defined");
        if (s.rule[i].n == 4 && memcmp(s.rule[i].name, "root", 4) == 0) root = s.rule[i].gx;
    }
    if (s.status == HONE_OK && rx_ok(hone_grammar_regular(s.b)) && root == HONE_GX_FAIL)
        s.status = hone_fail(err, HONE_ERR_FORMAT, "grammar: there is no rule named root");
    hone_free(s.rule);
    hone_free(s.index);
    if (s.status != HONE_OK) {
        hone_grammar_abandon(s.b);
        return s.status;
    }
    return hone_grammar_finish(out, s.b, root, err);
}
