/* regular_unicode.c - sets of code points, and how one character of a set is spelt in UTF-8.
 *
 * General categories come from utf8proc, scripts and other properties from PCRE2 (one pass of a pattern over all code
 * points).  Surrogates are no characters and are left out of every set.
 *
 * Order: range lists, properties, UTF-8. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "grammar/regular_impl.h"

#define LAST 0x10FFFFu

/* ---- Range lists ---- */

void rx_chars_add(rx_chars *c, uint32_t first, uint32_t last) {
    if (last > LAST) last = LAST;
    if (first > last) return;
    if (!hone_grow(&c->range, &c->cap, c->n, sizeof(*c->range))) {
        c->failed = true;
        return;
    }
    c->range[c->n][0] = first;
    c->range[c->n++][1] = last;
}

void rx_chars_free(rx_chars *c) {
    hone_free(c->range);
    *c = (rx_chars){0};
}

static int by_first(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void rx_chars_sort(rx_chars *c) {
    if (c->n < 2) return;
    qsort(c->range, c->n, sizeof(*c->range), by_first);
    size_t kept = 1;
    for (size_t i = 1; i < c->n; i++) {
        if (c->range[i][0] <= c->range[kept - 1][1] + 1) {
            if (c->range[i][1] > c->range[kept - 1][1]) c->range[kept - 1][1] = c->range[i][1];
        } else {
            c->range[kept][0] = c->range[i][0];
            c->range[kept++][1] = c->range[i][1];
        }
    }
    c->n = kept;
}

void rx_chars_invert(rx_chars *c) {
    rx_chars_sort(c);
    rx_chars out = {.failed = c->failed};
    uint32_t from = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (c->range[i][0] > from) rx_chars_add(&out, from, c->range[i][0] - 1);
        from = c->range[i][1] + 1;
    }
    if (from <= LAST) rx_chars_add(&out, from, LAST);
    rx_chars_free(c);
    *c = out;
}

/* ---- Properties ---- */

/* Nothing is assigned between these but what utf8proc calls unassigned; looking 1.1 million times costs 10 ms. */
static bool in_empty_planes(uint32_t code) {
    return (code >= 0x32400 && code < 0xE0000) || (code >= 0xE0200 && code < 0xF0000);
}

static const struct {
    const char *shortly, *name;
    uint32_t categories; /* bit per utf8proc_category_t */
} category_table[] = {
#define C(x) (1u << UTF8PROC_CATEGORY_##x)
    {"L", "Letter", C(LU) | C(LL) | C(LT) | C(LM) | C(LO)},
    {"LC", "Cased_Letter", C(LU) | C(LL) | C(LT)},
    {"Lu", "Uppercase_Letter", C(LU)},
    {"Ll", "Lowercase_Letter", C(LL)},
    {"Lt", "Titlecase_Letter", C(LT)},
    {"Lm", "Modifier_Letter", C(LM)},
    {"Lo", "Other_Letter", C(LO)},
    {"M", "Mark", C(MN) | C(MC) | C(ME)},
    {"Mn", "Nonspacing_Mark", C(MN)},
    {"Mc", "Spacing_Mark", C(MC)},
    {"Me", "Enclosing_Mark", C(ME)},
    {"N", "Number", C(ND) | C(NL) | C(NO)},
    {"Nd", "Decimal_Number", C(ND)},
    {"Nl", "Letter_Number", C(NL)},
    {"No", "Other_Number", C(NO)},
    {"P", "Punctuation", C(PC) | C(PD) | C(PS) | C(PE) | C(PI) | C(PF) | C(PO)},
    {"Pc", "Connector_Punctuation", C(PC)},
    {"Pd", "Dash_Punctuation", C(PD)},
    {"Ps", "Open_Punctuation", C(PS)},
    {"Pe", "Close_Punctuation", C(PE)},
    {"Pi", "Initial_Punctuation", C(PI)},
    {"Pf", "Final_Punctuation", C(PF)},
    {"Po", "Other_Punctuation", C(PO)},
    {"S", "Symbol", C(SM) | C(SC) | C(SK) | C(SO)},
    {"Sm", "Math_Symbol", C(SM)},
    {"Sc", "Currency_Symbol", C(SC)},
    {"Sk", "Modifier_Symbol", C(SK)},
    {"So", "Other_Symbol", C(SO)},
    {"Z", "Separator", C(ZS) | C(ZL) | C(ZP)},
    {"Zs", "Space_Separator", C(ZS)},
    {"Zl", "Line_Separator", C(ZL)},
    {"Zp", "Paragraph_Separator", C(ZP)},
    {"C", "Other", C(CN) | C(CC) | C(CF) | C(CO) | C(CS)},
    {"Cc", "Control", C(CC)},
    {"Cf", "Format", C(CF)},
    {"Co", "Private_Use", C(CO)},
    {"Cn", "Unassigned", C(CN)},
    {"Cs", "Surrogate", C(CS)},
    {"digit", "digit", C(ND)},
    {"punct", "punct", C(PC) | C(PD) | C(PS) | C(PE) | C(PI) | C(PF) | C(PO)},
#undef C
};

static void by_category(rx_chars *c, uint32_t categories) {
    uint32_t from = 0;
    bool in = false;
    for (uint32_t code = 0; code <= LAST; code++) {
        if (in_empty_planes(code)) {
            const uint32_t end = code < 0xE0000 ? 0xE0000 : 0xF0000;
            const bool yes = categories >> UTF8PROC_CATEGORY_CN & 1;
            if (in && !yes) rx_chars_add(c, from, code - 1);
            if (!in && yes) from = code;
            in = yes;
            code = end - 1;
            continue;
        }
        const bool yes = categories >> (unsigned)utf8proc_category((utf8proc_int32_t)code) & 1;
        if (yes && !in) from = code;
        if (!yes && in) rx_chars_add(c, from, code - 1);
        in = yes;
    }
    if (in) rx_chars_add(c, from, LAST);
}

/* Every character once, in order, through PCRE2's \p{name}+: runs of matches are the ranges. */
static bool by_pcre(rx_chars *c, const char *name, size_t n) {
    char pattern[80];
    const int len = snprintf(pattern, sizeof(pattern), "\\p{%.*s}+", (int)n, name);
    if (len < 0 || (size_t)len >= sizeof(pattern)) return false;
    int code = 0;
    PCRE2_SIZE where = 0;
    pcre2_code *p = pcre2_compile((PCRE2_SPTR)pattern, (PCRE2_SIZE)len, PCRE2_UTF | PCRE2_UCP, &code, &where, NULL);
    if (!p) return false;
    char *text = hone_zalloc(LAST + 1u, 4);
    pcre2_match_data *m = pcre2_match_data_create(1, NULL);
    if (!text || !m)
        c->failed = true;
    else {
        size_t bytes = 0;
        for (uint32_t cp = 0; cp <= LAST; cp++) bytes += hone_utf8_encode(cp, text + bytes);
        PCRE2_SIZE from = 0;
        while (from < bytes &&
               pcre2_match(p, (PCRE2_SPTR)text, bytes, from, from ? PCRE2_NO_UTF_CHECK : 0, m, NULL) > 0) {
            const PCRE2_SIZE *o = pcre2_get_ovector_pointer(m);
            uint32_t first = 0, last = 0;
            size_t k = hone_utf8_decode(text + o[0], bytes - o[0], &first);
            PCRE2_SIZE back = o[1] - 1;
            while (((uint8_t)text[back] & 0xC0) == 0x80) back--;
            k += hone_utf8_decode(text + back, bytes - back, &last);
            if (!k) break;
            rx_chars_add(c, first, last);
            from = o[1];
        }
    }
    pcre2_match_data_free(m);
    pcre2_code_free(p);
    hone_free(text);
    return true;
}

bool rx_chars_property(rx_chars *c, const char *name, size_t n) {
    static const struct {
        const char *key;
        bool category;
    } keys[] = {{"General_Category=", true},   {"gc=", true},   {"Script=", false},
                {"Script_Extensions=", false}, {"scx=", false}, {"sc=", false}};
    bool categories = true, scripts = true;
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        const size_t k = strlen(keys[i].key);
        if (n <= k || memcmp(name, keys[i].key, k) != 0) continue;
        categories = keys[i].category;
        scripts = !categories;
        name += k;
        n -= k;
        break;
    }
    if (categories)
        for (size_t i = 0; i < sizeof(category_table) / sizeof(*category_table); i++) {
            const char *a = category_table[i].shortly, *b = category_table[i].name;
            if ((strlen(a) == n && memcmp(a, name, n) == 0) || (strlen(b) == n && memcmp(b, name, n) == 0)) {
                by_category(c, category_table[i].categories);
                return true;
            }
        }
    if (!scripts || n == 0) return false;
    if (n == 3 && memcmp(name, "Any", 3) == 0) {
        rx_chars_add(c, 0, LAST);
        return true;
    }
    if (n == 5 && memcmp(name, "ASCII", 5) == 0) {
        rx_chars_add(c, 0, 0x7F);
        return true;
    }
    for (size_t i = 0; i < n; i++)
        if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') || name[i] == '_')) return false;
    return n < 60 && by_pcre(c, name, n);
}

/* ---- UTF-8 ---- */

/* What the set holds of [base, base + 64^level), as `level` continuation bytes.  at: the first range that may reach
 * there. */
static uint32_t tails(hone_regular *r, const rx_chars *c, size_t at, uint32_t base, uint32_t level) {
    const uint32_t span = 1u << (6 * level), end = base + span - 1;
    while (at < c->n && c->range[at][1] < base) at++;
    if (at == c->n || c->range[at][0] > end) return HONE_RX_NONE;
    if (level == 0) return HONE_RX_EMPTY;
    const bool full = c->range[at][0] <= base && c->range[at][1] >= end;
    uint8_t bits[32] = {0};
    if (full || level == 1) {
        for (uint32_t i = 0; i < 64; i++) {
            while (at < c->n && c->range[at][1] < base + i) at++;
            if (full || (at < c->n && c->range[at][0] <= base + i)) bits[(0x80 + i) / 8] |= (uint8_t)(1u << (i % 8));
        }
        uint32_t one = hone_rx_class(r, bits);
        if (full)
            for (uint32_t i = 1, all = one; i < level; i++) one = rx_cat(r, all, one);
        return one;
    }
    uint32_t kid[64], out = HONE_RX_NONE;
    for (uint32_t i = 0; i < 64; i++) kid[i] = tails(r, c, at, base + i * (span / 64), level - 1);
    for (uint32_t i = 0; i < 64; i++) { /* equal kids share a set of bytes */
        if (kid[i] == HONE_RX_NONE) continue;
        memset(bits, 0, sizeof(bits));
        const uint32_t same = kid[i];
        for (uint32_t j = i; j < 64; j++)
            if (kid[j] == same) {
                bits[(0x80 + j) / 8] |= (uint8_t)(1u << (j % 8));
                kid[j] = HONE_RX_NONE;
            }
        out = hone_rx_alt(r, out, rx_cat(r, hone_rx_class(r, bits), same));
    }
    return out;
}

uint32_t rx_chars_node(hone_regular *r, const rx_chars *given) {
    if (given->failed) return rx_fail(r, HONE_ERR_NOMEM, "no memory");
    rx_chars c = {0}; /* without surrogates */
    for (size_t i = 0; i < given->n; i++) {
        const uint32_t first = given->range[i][0], last = given->range[i][1];
        if (first < 0xD800) rx_chars_add(&c, first, last < 0xD800 ? last : 0xD7FF);
        if (last > 0xDFFF) rx_chars_add(&c, first > 0xDFFF ? first : 0xE000, last);
    }
    uint32_t out = HONE_RX_NONE;
    uint8_t bits[32] = {0};
    size_t at = 0;
    for (uint32_t code = 0; code < 0x80; code++) {
        while (at < c.n && c.range[at][1] < code) at++;
        if (at < c.n && c.range[at][0] <= code) bits[code / 8] |= (uint8_t)(1u << (code % 8));
    }
    if (c.failed)
        out = rx_fail(r, HONE_ERR_NOMEM, "no memory");
    else
        out = hone_rx_class(r, bits);
    static const struct { uint32_t lead, n, level; } part[3] = {{0xC0, 32, 1}, {0xE0, 16, 2}, {0xF0, 5, 3}};
    for (int p = 0; p < 3 && c.n && c.range[c.n - 1][1] >= 0x80; p++) {
        uint32_t kid[32];
        const uint32_t span = 1u << (6 * part[p].level), least = p == 0 ? 0x80 : p == 1 ? 0x800 : 0x10000;
        rx_chars some = {0}; /* of that length: overlong forms are no UTF-8 */
        const uint32_t most = p == 0 ? 0x7FF : p == 1 ? 0xFFFF : LAST;
        for (size_t i = 0; i < c.n; i++) {
            const uint32_t first = c.range[i][0] < least ? least : c.range[i][0];
            const uint32_t last = c.range[i][1] > most ? most : c.range[i][1];
            if (first <= last) rx_chars_add(&some, first, last);
        }
        if (some.failed) out = rx_fail(r, HONE_ERR_NOMEM, "no memory");
        for (uint32_t i = 0; i < part[p].n && some.n; i++) kid[i] = tails(r, &some, 0, i * span, part[p].level);
        for (uint32_t i = 0; i < part[p].n && some.n; i++) {
            if (kid[i] == HONE_RX_NONE) continue;
            memset(bits, 0, sizeof(bits));
            const uint32_t same = kid[i];
            for (uint32_t j = i; j < part[p].n; j++)
                if (kid[j] == same) {
                    bits[(part[p].lead + j) / 8] |= (uint8_t)(1u << ((part[p].lead + j) % 8));
                    kid[j] = HONE_RX_NONE;
                }
            out = hone_rx_alt(r, out, rx_cat(r, hone_rx_class(r, bits), same));
        }
        rx_chars_free(&some);
    }
    rx_chars_free(&c);
    rx_flag(r, out, RX_UTF8);
    return out;
}
