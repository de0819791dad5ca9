/* string.c - Python's str: code points, searching, and the methods a template may call.
 *
 * Left out: encode, translate, maketrans.  Case mapping is Unicode's, with the special cases of U+00DF, U+0130, the
 * Latin ligatures and the final sigma.  Order: code points, case, cutting, searching, joining, padding, classes, the
 * table. */
#include <string.h>

#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "model/template/value.h"

/* ---- Code points ---- */

bool jinja_is_space(uint32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_alpha(uint32_t c) {
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool is_decimal(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND;
}

static bool is_numeric(uint32_t c) {
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

/* Decimal digits and the superscript and circled ones. */
static bool is_digit(uint32_t c) {
    return is_decimal(c) || c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
           (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468) || (c >= 0x2474 && c <= 0x247c) ||
           (c >= 0x2488 && c <= 0x2490);
}

bool jinja_is_word(uint32_t c) {
    if (c < 0x80) return c == '_' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    return is_alpha(c) || is_numeric(c);
}

static bool is_lower(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LL;
}
static bool is_upper(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LU;
}
static bool is_cased(uint32_t c) {
    return is_lower(c) || is_upper(c) || utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LT;
}

/* The code point at byte *at, which moves on.  Strings are valid UTF-8 by construction. */
static uint32_t next_char(const jinja_string *s, size_t *at) {
    uint32_t code = 0xfffd;
    const size_t width = hone_utf8_decode(s->at + *at, s->n - *at, &code);
    *at += width ? width : 1;
    return code;
}

static uint32_t last_char(const jinja_string *s, size_t *end) {
    size_t at = *end - 1;
    uint32_t code = 0xfffd;
    while (at && ((unsigned char)s->at[at] & 0xc0) == 0x80) at--;
    hone_utf8_decode(s->at + at, *end - at, &code);
    *end = at;
    return code;
}

size_t jinja_char_offset(const jinja_string *s, size_t index) {
    if (s->n == s->n_chars) return index;
    size_t at = 0;
    for (; index && at < s->n; index--) do
            at++;
        while (at < s->n && ((unsigned char)s->at[at] & 0xc0) == 0x80);
    return at;
}

/* Bytes [from, to) of s, sharing them. */
static bool cut(jinja_run *run, jinja_value s, size_t from, size_t to, jinja_value *out) {
    const bool safe = s.safe;
    if (from == 0 && to == s.as.string->n) {
        *out = s;
        return true;
    }
    if (!jinja_string_borrow(run, s.as.string->at + from, to - from, out)) return false;
    out->safe = safe;
    return true;
}

bool jinja_substring(jinja_run *run, jinja_value v, size_t from, size_t to, jinja_value *out) {
    const jinja_string *s = v.as.string;
    if (to > s->n_chars) to = s->n_chars;
    if (from > to) from = to;
    if (!jinja_work(run, s->n == s->n_chars ? 0 : s->n / 16)) return false;
    return cut(run, v, jinja_char_offset(s, from), jinja_char_offset(s, to), out);
}

/* ---- Case ---- */

/* Code points that become several; the utf8proc mappings are one to one. */
static size_t special_case(uint32_t c, char which, uint32_t out[3]) {
    static const char *const ligature[] = {"ff", "fi", "fl", "ffi", "ffl", "st", "st"}; /* from U+FB00 */
    if (which == 'l') {
        if (c != 0x130) return 0;
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    const char *text = c == 0xdf ? "ss" : c >= 0xfb00 && c <= 0xfb06 ? ligature[c - 0xfb00] : NULL;
    if (!text) return 0;
    size_t n = 0;
    for (; text[n]; n++) out[n] = (uint32_t)(n == 0 || which == 'u' ? text[n] - 32 : text[n]);
    return n;
}

size_t jinja_case(uint32_t c, char which, uint32_t out[3]) {
    const size_t n = c < 0x80 ? 0 : special_case(c, which, out);
    if (n) return n;
    if (c < 0x80)
        out[0] = which == 'l' ? (c >= 'A' && c <= 'Z' ? c + 32 : c) : (c >= 'a' && c <= 'z' ? c - 32 : c);
    else if (which == 'l')
        out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    else if (which == 'u')
        out[0] = (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
    else
        out[0] = (uint32_t)utf8proc_totitle((utf8proc_int32_t)c);
    return 1;
}

static bool put_case(jinja_run *run, uint32_t c, char which, jinja_text *out) {
    uint32_t codes[3];
    const size_t n = jinja_case(c, which, codes);
    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        const size_t width = hone_utf8_encode(codes[i], bytes);
        if (!jinja_put(run, out, bytes, width)) return false;
    }
    return true;
}

/* A sigma that ends a word is written another way. */
static bool final_sigma(const jinja_string *s, size_t from, size_t behind) {
    size_t end = from;
    return from && is_cased(last_char(s, &end)) && (behind >= s->n || !is_cased(next_char(s, &behind)));
}

typedef enum { UPPER, LOWER, SWAP, CAPITALIZE, TITLE } case_rule;

static bool change_case(jinja_run *run, jinja_value self, case_rule rule, jinja_value *out) {
    const jinja_string *s = self.as.string;
    const bool safe = self.safe;
    jinja_text text = {0};
    bool inside = false; /* of a word, for TITLE */
    if (!jinja_work(run, s->n)) return false;
    for (size_t at = 0; at < s->n;) {
        const size_t from = at;
        const uint32_t c = next_char(s, &at);
        char which = rule == UPPER ? 'u' : 'l';
        if (rule == SWAP && is_lower(c)) which = 'u';
        if ((rule == CAPITALIZE && from == 0) || (rule == TITLE && !inside)) which = 't';
        inside = is_cased(c);
        if (which == 'l' && c == 0x3a3 && final_sigma(s, from, at)) {
            if (!jinja_put(run, &text, "\xcf\x82", 2)) return false;
        } else if (!put_case(run, c, which, &text)) {
            return false;
        }
    }
    if (!jinja_string_done(run, &text, out)) return false;
    out->safe = safe;
    return true;
}

static bool no_arguments(jinja_run *run, const char *what, const jinja_args *args) {
    return jinja_bind(run, what, args, 0, 0, NULL, NULL);
}

bool jinja_string_upper(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return no_arguments(run, "upper", args) && change_case(run, self, UPPER, out);
}

bool jinja_string_lower(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return no_arguments(run, "lower", args) && change_case(run, self, LOWER, out);
}

bool jinja_string_capitalize(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return no_arguments(run, "capitalize", args) && change_case(run, self, CAPITALIZE, out);
}

static bool string_title(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return no_arguments(run, "title", args) && change_case(run, self, TITLE, out);
}

static bool string_swapcase(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return no_arguments(run, "swapcase", args) && change_case(run, self, SWAP, out);
}

/* ---- Cutting: strip, split, partition ---- */

static bool want_string(jinja_run *run, jinja_value v, const char *what) {
    if (v.type == JINJA_STRING) return true;
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, v);
    return jinja_type_error(run, "%s: a str is needed, not %s", what, jinja_type_name(v));
}

static bool strips(const jinja_string *chars, uint32_t c) {
    if (!chars) return jinja_is_space(c);
    for (size_t at = 0; at < chars->n;)
        if (next_char(chars, &at) == c) return true;
    return false;
}

static bool strip(jinja_run *run, jinja_value self, const jinja_args *args, const char *what, bool left, bool right,
                  jinja_value *out) {
    jinja_value slot;
    const jinja_string *s = self.as.string, *chars = NULL;
    if (!jinja_bind(run, what, args, 0, 1, NULL, &slot)) return false;
    if (slot.type != JINJA_MISSING && slot.type != JINJA_NONE) {
        if (!want_string(run, slot, what)) return false;
        chars = slot.as.string;
    }
    const size_t cost = 1 + (chars ? chars->n / 8 : 0); /* of one character */
    size_t from = 0, to = s->n;
    while (left && from < to) {
        size_t at = from;
        if (!jinja_work(run, cost)) return false;
        if (!strips(chars, next_char(s, &at))) break;
        from = at;
    }
    while (right && to > from) {
        size_t at = to;
        if (!jinja_work(run, cost)) return false;
        if (!strips(chars, last_char(s, &at))) break;
        to = at;
    }
    return cut(run, self, from, to, out);
}

bool jinja_string_strip(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return strip(run, self, args, "strip", true, true, out);
}

static bool string_lstrip(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return strip(run, self, args, "lstrip", true, false, out);
}

static bool string_rstrip(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return strip(run, self, args, "rstrip", false, true, out);
}

size_t jinja_find_bytes(const jinja_string *s, const jinja_string *needle, size_t from) {
    if (from > s->n) return SIZE_MAX;
    if (needle->n == 0) return from;
    const char *at = needle->n == 1 ? memchr(s->at + from, needle->at[0], s->n - from)
                                    : memmem(s->at + from, s->n - from, needle->at, needle->n);
    return at ? (size_t)(at - s->at) : SIZE_MAX;
}

/* The last needle that ends at or before `end`.  Stepping back costs up to n * needle->n bytes: the caller pays. */
static size_t find_last(const jinja_string *s, const jinja_string *needle, size_t end) {
    if (needle->n > end) return SIZE_MAX;
    for (size_t at = end - needle->n;; at--) {
        if (memcmp(s->at + at, needle->at, needle->n) == 0 && (at == s->n || ((unsigned char)s->at[at] & 0xc0) != 0x80))
            return at;
        if (at == 0) return SIZE_MAX;
    }
}

static bool pay_for_search(jinja_run *run, const jinja_string *s, const jinja_string *needle, bool backwards) {
    size_t cost;
    if (!backwards) return jinja_work(run, s->n / 16);
    /* memcmp stops at the first difference, so only texts that repeat themselves come near this */
    if (!hone_mul_size(&cost, s->n / 16 + 1, needle->n / 64 + 1)) cost = SIZE_MAX;
    return jinja_work(run, cost);
}

static bool add_piece(jinja_run *run, jinja_value s, size_t from, size_t to, jinja_items *pieces) {
    jinja_value piece;
    return cut(run, s, from, to, &piece) && jinja_items_add(run, pieces, piece) && jinja_work(run, 1);
}

static bool split_spaces(jinja_run *run, jinja_value self, int64_t limit, jinja_items *pieces) {
    const jinja_string *s = self.as.string;
    size_t at = 0;
    for (;;) {
        size_t from = at;
        while (at < s->n && jinja_is_space(next_char(s, &at))) from = at;
        if (from >= s->n) return true;
        at = from;
        size_t end = at;
        if (limit-- == 0) return add_piece(run, self, from, s->n, pieces);
        while (at < s->n && !jinja_is_space(next_char(s, &at))) end = at;
        if (!add_piece(run, self, from, end, pieces)) return false;
        at = end;
    }
}

/* From the right; the pieces come out in reverse. */
static bool split_spaces_back(jinja_run *run, jinja_value self, int64_t limit, jinja_items *pieces) {
    const jinja_string *s = self.as.string;
    size_t at = s->n;
    for (;;) {
        size_t to = at;
        while (at && jinja_is_space(last_char(s, &at))) to = at;
        if (to == 0) return true;
        at = to;
        size_t from = at;
        if (limit-- == 0) return add_piece(run, self, 0, to, pieces);
        while (at && !jinja_is_space(last_char(s, &at))) from = at;
        if (!add_piece(run, self, from, to, pieces)) return false;
        at = from;
    }
}

static bool split_text(jinja_run *run, jinja_value self, const jinja_string *by, int64_t limit, bool back,
                       jinja_items *pieces) {
    const jinja_string *s = self.as.string;
    if (by->n == 0) return jinja_fail(run, HONE_ERR_ARG, "empty separator");
    if (!pay_for_search(run, s, by, back)) return false;
    size_t from = 0, to = s->n;
    while (limit-- != 0) {
        const size_t at = back ? find_last(s, by, to) : jinja_find_bytes(s, by, from);
        if (at == SIZE_MAX) break;
        if (!add_piece(run, self, back ? at + by->n : from, back ? to : at, pieces)) return false;
        if (back)
            to = at;
        else
            from = at + by->n;
    }
    return add_piece(run, self, from, to, pieces);
}

static bool split(jinja_run *run, jinja_value self, const jinja_args *args, const char *what, bool back,
                  jinja_value *out) {
    static const char *const names[] = {"sep", "maxsplit"};
    jinja_value slot[2];
    jinja_items pieces = {0};
    int64_t limit = -1;
    if (!jinja_bind(run, what, args, 0, 2, names, slot)) return false;
    if (slot[1].type != JINJA_MISSING && !jinja_index(run, slot[1], "maxsplit", &limit)) return false;
    if (limit < 0) limit = -1;
    bool ok;
    if (slot[0].type == JINJA_MISSING || slot[0].type == JINJA_NONE)
        ok = jinja_work(run, self.as.string->n / 8) &&
             (back ? split_spaces_back : split_spaces)(run, self, limit, &pieces);
    else
        ok = want_string(run, slot[0], what) && split_text(run, self, slot[0].as.string, limit, back, &pieces);
    if (!ok) return false;
    for (size_t i = 0, j = pieces.n; back && i + 1 < j; i++) {
        const jinja_value swap = pieces.at[i];
        pieces.at[i] = pieces.at[--j];
        pieces.at[j] = swap;
    }
    return jinja_list_new(run, JINJA_LIST, pieces.at, pieces.n, out);
}

static bool string_split(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return split(run, self, args, "split", false, out);
}

static bool string_rsplit(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return split(run, self, args, "rsplit", true, out);
}

static bool is_line_end(uint32_t c) {
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool jinja_split_lines(jinja_run *run, jinja_value self, bool keep_ends, jinja_items *lines) {
    const jinja_string *s = self.as.string;
    size_t from = 0;
    if (!jinja_work(run, s->n / 8)) return false;
    for (size_t at = 0; at < s->n;) {
        const size_t end = at;
        const uint32_t c = next_char(s, &at);
        if (!is_line_end(c)) continue;
        if (c == '\r' && at < s->n && s->at[at] == '\n') at++;
        if (!add_piece(run, self, from, keep_ends ? at : end, lines)) return false;
        from = at;
    }
    return from >= s->n || add_piece(run, self, from, s->n, lines);
}

static bool string_splitlines(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"keepends"};
    jinja_value slot;
    jinja_items lines = {0};
    return jinja_bind(run, "splitlines", args, 0, 1, names, &slot) &&
           jinja_split_lines(run, self, jinja_truth(slot), &lines) &&
           jinja_list_new(run, JINJA_LIST, lines.at, lines.n, out);
}

static bool partition(jinja_run *run, jinja_value self, const jinja_args *args, bool back, jinja_value *out) {
    jinja_value by;
    jinja_value *three = jinja_get(run, 3, sizeof(*three));
    if (!three || !jinja_bind(run, "partition", args, 1, 1, NULL, &by) || !want_string(run, by, "partition"))
        return false;
    const jinja_string *s = self.as.string, *needle = by.as.string;
    if (needle->n == 0) return jinja_fail(run, HONE_ERR_ARG, "empty separator");
    if (!pay_for_search(run, s, needle, back)) return false;
    size_t at = back ? find_last(s, needle, s->n) : jinja_find_bytes(s, needle, 0), behind = 0;
    if (at == SIZE_MAX)
        at = behind = back ? 0 : s->n;
    else
        behind = at + needle->n;
    if (!cut(run, self, 0, at, &three[0]) || !cut(run, self, at, behind, &three[1]) ||
        !cut(run, self, behind, s->n, &three[2]))
        return false;
    return jinja_list_new(run, JINJA_TUPLE, three, 3, out);
}

static bool string_partition(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return partition(run, self, args, false, out);
}

static bool string_rpartition(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return partition(run, self, args, true, out);
}

static bool remove_end(jinja_run *run, jinja_value self, const jinja_args *args, bool suffix, jinja_value *out) {
    jinja_value end;
    if (!jinja_bind(run, suffix ? "removesuffix" : "removeprefix", args, 1, 1, NULL, &end) ||
        !want_string(run, end, "removeprefix"))
        return false;
    const jinja_string *s = self.as.string, *e = end.as.string;
    const bool there = e->n <= s->n && memcmp(suffix ? s->at + s->n - e->n : s->at, e->at, e->n) == 0;
    return cut(run, self, there && !suffix ? e->n : 0, there && suffix ? s->n - e->n : s->n, out);
}

static bool string_removeprefix(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return remove_end(run, self, args, false, out);
}

static bool string_removesuffix(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return remove_end(run, self, args, true, out);
}

/* ---- Searching ---- */

/* needle, then the optional start and end in code points: *from and *to in bytes.  *empty: start lies behind end. */
static bool search_range(jinja_run *run, jinja_value self, const jinja_args *args, const char *what,
                         jinja_value *needle, size_t *from, size_t *to, bool *empty) {
    jinja_value slot[3];
    const jinja_string *s = self.as.string;
    const int64_t n = (int64_t)s->n_chars;
    int64_t part[2] = {0, n};
    if (!jinja_bind(run, what, args, 1, 3, NULL, slot)) return false;
    *needle = slot[0];
    for (int i = 0; i < 2; i++) {
        if (slot[i + 1].type == JINJA_MISSING || slot[i + 1].type == JINJA_NONE) continue;
        if (!jinja_index(run, slot[i + 1], "slice indices", &part[i])) return false;
        if (part[i] < 0) part[i] = part[i] < -n ? 0 : part[i] + n;
    }
    *empty = part[0] > n || part[0] > part[1];
    if (part[1] > n) part[1] = n;
    if (part[0] > n) part[0] = n;
    *from = jinja_char_offset(s, (size_t)part[0]);
    *to = jinja_char_offset(s, (size_t)part[1]);
    return jinja_work(run, s->n / 16);
}

static bool starts_or_ends(jinja_run *run, jinja_value self, const jinja_args *args, bool ends, jinja_value *out) {
    const char *what = ends ? "endswith" : "startswith";
    jinja_value needle;
    size_t from, to;
    bool empty, found = false;
    if (!search_range(run, self, args, what, &needle, &from, &to, &empty)) return false;
    const jinja_value *one = &needle;
    size_t n = 1;
    if (needle.type == JINJA_TUPLE) {
        one = needle.as.list->at;
        n = needle.as.list->n;
    }
    for (size_t i = 0; i < n; i++) {
        if (!want_string(run, one[i], what) || !jinja_work(run, 1)) return false;
        const jinja_string *s = self.as.string, *e = one[i].as.string;
        if (!empty && from <= to && e->n <= to - from)
            found = found || memcmp(ends ? s->at + to - e->n : s->at + from, e->at, e->n) == 0;
    }
    *out = jinja_bool(found);
    return true;
}

static bool string_startswith(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return starts_or_ends(run, self, args, false, out);
}

static bool string_endswith(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return starts_or_ends(run, self, args, true, out);
}

static bool find(jinja_run *run, jinja_value self, const jinja_args *args, const char *what, bool back, bool must,
                 jinja_value *out) {
    jinja_value needle;
    size_t from, to, at = SIZE_MAX;
    bool empty;
    if (!search_range(run, self, args, what, &needle, &from, &to, &empty) || !want_string(run, needle, what))
        return false;
    const jinja_string *s = self.as.string;
    const jinja_string part = {s->at, to, 0}; /* what lies behind the end is not there */
    if (!pay_for_search(run, s, needle.as.string, back)) return false;
    if (!empty && from <= to) {
        at = back ? find_last(&part, needle.as.string, to) : jinja_find_bytes(&part, needle.as.string, from);
        if (at != SIZE_MAX && at < from) at = SIZE_MAX;
    }
    if (at == SIZE_MAX && must) return jinja_fail(run, HONE_ERR_ARG, "%s: substring not found", what);
    *out = jinja_int(at == SIZE_MAX ? -1 : (int64_t)jinja_count_chars(s->at, at));
    return true;
}

static bool string_find(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return find(run, self, args, "find", false, false, out);
}

static bool string_rfind(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return find(run, self, args, "rfind", true, false, out);
}

static bool string_index(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return find(run, self, args, "index", false, true, out);
}

static bool string_rindex(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return find(run, self, args, "rindex", true, true, out);
}

static bool string_count(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_value needle;
    size_t from, to;
    bool empty;
    int64_t n = 0;
    if (!search_range(run, self, args, "count", &needle, &from, &to, &empty) || !want_string(run, needle, "count"))
        return false;
    const jinja_string part = {self.as.string->at, to, 0};
    const jinja_string *e = needle.as.string;
    if (!empty && from <= to && e->n == 0)
        n = (int64_t)jinja_count_chars(part.at + from, to - from) + 1;
    else if (!empty && from <= to)
        for (size_t at = from; (at = jinja_find_bytes(&part, e, at)) != SIZE_MAX; at += e->n) {
            if (!jinja_work(run, 1)) return false;
            n++;
        }
    *out = jinja_int(n);
    return true;
}

/* ---- Joining and replacing ---- */

bool jinja_join(jinja_run *run, jinja_value separator, const jinja_list *items, bool convert, jinja_value *out) {
    jinja_text text = {0};
    const bool safe = separator.safe && !convert;
    for (size_t i = 0; i < items->n; i++) {
        jinja_value v = items->at[i];
        if (!jinja_work(run, 1)) return false;
        if (!convert && v.type != JINJA_STRING)
            return jinja_type_error(run, "sequence item %zu: expected str instance, %s found", i, jinja_type_name(v));
        if (safe && !jinja_escaped(run, v, &v)) return false;
        if (i && !jinja_put(run, &text, separator.as.string->at, separator.as.string->n)) return false;
        if (!jinja_str(run, v, &text)) return false;
    }
    if (!jinja_string_done(run, &text, out)) return false;
    out->safe = safe;
    return true;
}

static bool string_join(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_value items;
    jinja_list list;
    return jinja_bind(run, "join", args, 1, 1, NULL, &items) && jinja_iterate(run, items, &list) &&
           jinja_join(run, self, &list, false, out);
}

bool jinja_replace(jinja_run *run, jinja_value self, jinja_value old, jinja_value fresh, int64_t count,
                   jinja_value *out) {
    const jinja_string *s = self.as.string, *o = old.as.string, *f = fresh.as.string;
    const bool safe = self.safe;
    jinja_text text = {0};
    size_t from = 0;
    if (!jinja_work(run, s->n / 16)) return false;
    if (count == 0 || (o->n && jinja_find_bytes(s, o, 0) == SIZE_MAX)) {
        *out = self;
        return true;
    }
    for (size_t at = 0; count != 0; count--) {
        if (!jinja_work(run, 1)) return false;
        if (o->n) {
            at = jinja_find_bytes(s, o, at);
            if (at == SIZE_MAX) break;
            if (!jinja_put(run, &text, s->at + from, at - from) || !jinja_put(run, &text, f->at, f->n)) return false;
            from = at += o->n;
        } else { /* between all code points */
            if (!jinja_put(run, &text, f->at, f->n)) return false;
            if (at >= s->n) break;
            next_char(s, &at);
            if (!jinja_put(run, &text, s->at + from, at - from)) return false;
            from = at;
        }
    }
    if (!jinja_put(run, &text, s->at + from, s->n - from) || !jinja_string_done(run, &text, out)) return false;
    out->safe = safe;
    return true;
}

static bool string_replace(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_value slot[3];
    int64_t count = -1;
    if (!jinja_bind(run, "replace", args, 2, 3, NULL, slot) || !want_string(run, slot[0], "replace") ||
        !want_string(run, slot[1], "replace"))
        return false;
    if (slot[2].type != JINJA_MISSING && !jinja_index(run, slot[2], "count", &count)) return false;
    if (self.safe && (!jinja_escaped(run, slot[0], &slot[0]) || !jinja_escaped(run, slot[1], &slot[1]))) return false;
    return jinja_replace(run, self, slot[0], slot[1], count, out);
}

/* ---- Padding ---- */

static bool pad(jinja_run *run, jinja_value self, size_t left, size_t right, const jinja_string *fill,
                jinja_value *out) {
    jinja_value filler = {.type = JINJA_STRING, .as.string = fill}, before, behind;
    jinja_text text = {0};
    const jinja_string *s = self.as.string;
    const bool safe = self.safe;
    if (!jinja_repeat(run, filler, (int64_t)left, &before) || !jinja_repeat(run, filler, (int64_t)right, &behind) ||
        !jinja_put(run, &text, before.as.string->at, before.as.string->n) || !jinja_put(run, &text, s->at, s->n) ||
        !jinja_put(run, &text, behind.as.string->at, behind.as.string->n) || !jinja_string_done(run, &text, out))
        return false;
    out->safe = safe;
    return true;
}

static bool justify(jinja_run *run, jinja_value self, const jinja_args *args, char where, jinja_value *out) {
    static const jinja_string space = {" ", 1, 1};
    jinja_value slot[2];
    const jinja_string *fill = &space;
    int64_t width;
    if (!jinja_bind(run, "center", args, 1, 2, NULL, slot) || !jinja_index(run, slot[0], "width", &width)) return false;
    if (slot[1].type != JINJA_MISSING) {
        if (!want_string(run, slot[1], "fill")) return false;
        fill = slot[1].as.string;
        if (fill->n_chars != 1) return jinja_type_error(run, "the fill character must be exactly one character long");
    }
    const int64_t n = (int64_t)self.as.string->n_chars;
    const int64_t room = width > n ? width - n : 0;
    /* CPython's centring: the odd one goes left when the width is odd */
    const int64_t left = where == 'l' ? 0 : where == 'r' ? room : room / 2 + (room & width & 1);
    return pad(run, self, (size_t)left, (size_t)(room - left), fill, out);
}

bool jinja_string_center(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return justify(run, self, args, 'c', out);
}

static bool string_ljust(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return justify(run, self, args, 'l', out);
}

static bool string_rjust(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return justify(run, self, args, 'r', out);
}

static bool string_zfill(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const jinja_string zero = {"0", 1, 1};
    jinja_value slot, sign, rest;
    int64_t width;
    if (!jinja_bind(run, "zfill", args, 1, 1, NULL, &slot) || !jinja_index(run, slot, "width", &width)) return false;
    const jinja_string *s = self.as.string;
    const int64_t room = width > (int64_t)s->n_chars ? width - (int64_t)s->n_chars : 0;
    const size_t signs = s->n && (s->at[0] == '-' || s->at[0] == '+');
    return cut(run, self, 0, signs, &sign) && cut(run, self, signs, s->n, &rest) &&
           pad(run, rest, (size_t)room, 0, &zero, &rest) && jinja_arithmetic(run, JINJA_ADD, sign, rest, out);
}

static bool string_expandtabs(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"tabsize"};
    jinja_value slot;
    jinja_text text = {0};
    int64_t size = 8, column = 0;
    if (!jinja_bind(run, "expandtabs", args, 0, 1, names, &slot)) return false;
    if (slot.type != JINJA_MISSING && !jinja_index(run, slot, "tabsize", &size)) return false;
    const jinja_string *s = self.as.string;
    if (!jinja_work(run, s->n / 8)) return false;
    for (size_t at = 0; at < s->n;) {
        const size_t from = at;
        const uint32_t c = next_char(s, &at);
        if (c == '\t') {
            for (int64_t n = size > 0 ? size - column % size : 0; n > 0; n--, column++)
                if (!jinja_put(run, &text, " ", 1) || !jinja_work(run, 1)) return false;
            continue;
        }
        column = c == '\n' || c == '\r' ? 0 : column + 1;
        if (!jinja_put(run, &text, s->at + from, at - from)) return false;
    }
    return jinja_string_done(run, &text, out);
}

/* ---- Classes ---- */

static bool all_chars(jinja_run *run, jinja_value self, const jinja_args *args, const char *what, bool (*is)(uint32_t),
                      bool when_empty, jinja_value *out) {
    const jinja_string *s = self.as.string;
    bool all = s->n != 0 || when_empty;
    if (!no_arguments(run, what, args) || !jinja_work(run, s->n / 8)) return false;
    for (size_t at = 0; all && at < s->n;) all = is(next_char(s, &at));
    *out = jinja_bool(all);
    return true;
}

static bool is_alnum(uint32_t c) {
    return is_alpha(c) || is_numeric(c);
}
static bool is_ascii(uint32_t c) {
    return c < 0x80;
}

#define CLASS(method, is, when_empty)                                                                                  \
    static bool string_##method(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {          \
        return all_chars(run, self, args, #method, is, when_empty, out);                                               \
    }
CLASS(isalpha, is_alpha, false)
CLASS(isalnum, is_alnum, false)
CLASS(isdigit, is_digit, false)
CLASS(isdecimal, is_decimal, false)
CLASS(isnumeric, is_numeric, false)
CLASS(isspace, jinja_is_space, false)
CLASS(isascii, is_ascii, true)

static bool one_case(jinja_run *run, jinja_value self, const jinja_args *args, bool lower, jinja_value *out) {
    const jinja_string *s = self.as.string;
    bool seen = false, good = true;
    if (!no_arguments(run, "islower", args) || !jinja_work(run, s->n / 8)) return false;
    for (size_t at = 0; good && at < s->n;) {
        const uint32_t c = next_char(s, &at);
        if (!is_cased(c)) continue;
        seen = true;
        good = lower ? is_lower(c) : is_upper(c);
    }
    *out = jinja_bool(seen && good);
    return true;
}

bool jinja_string_islower(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return one_case(run, self, args, true, out);
}

bool jinja_string_isupper(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return one_case(run, self, args, false, out);
}

static bool string_istitle(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    const jinja_string *s = self.as.string;
    bool seen = false, good = true, inside = false;
    if (!no_arguments(run, "istitle", args) || !jinja_work(run, s->n / 8)) return false;
    for (size_t at = 0; good && at < s->n;) {
        const uint32_t c = next_char(s, &at);
        if (is_cased(c)) {
            good = is_lower(c) == inside;
            seen = true;
        }
        inside = is_cased(c);
    }
    *out = jinja_bool(seen && good);
    return true;
}

static bool string_isidentifier(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    const jinja_string *s = self.as.string;
    bool good = s->n != 0 && !(s->at[0] >= '0' && s->at[0] <= '9');
    if (!no_arguments(run, "isidentifier", args) || !jinja_work(run, s->n / 8)) return false;
    for (size_t at = 0; good && at < s->n;) good = jinja_is_word(next_char(s, &at));
    *out = jinja_bool(good);
    return true;
}

/* ---- The table ---- */

static const jinja_method methods[] = {{"capitalize", jinja_string_capitalize},
                                       {"casefold", jinja_string_lower},
                                       {"center", jinja_string_center},
                                       {"count", string_count},
                                       {"endswith", string_endswith},
                                       {"expandtabs", string_expandtabs},
                                       {"find", string_find},
                                       {"format", jinja_string_format},
                                       {"format_map", jinja_string_format_map},
                                       {"index", string_index},
                                       {"isalnum", string_isalnum},
                                       {"isalpha", string_isalpha},
                                       {"isascii", string_isascii},
                                       {"isdecimal", string_isdecimal},
                                       {"isdigit", string_isdigit},
                                       {"isidentifier", string_isidentifier},
                                       {"islower", jinja_string_islower},
                                       {"isnumeric", string_isnumeric},
                                       {"isspace", string_isspace},
                                       {"istitle", string_istitle},
                                       {"isupper", jinja_string_isupper},
                                       {"join", string_join},
                                       {"ljust", string_ljust},
                                       {"lower", jinja_string_lower},
                                       {"lstrip", string_lstrip},
                                       {"partition", string_partition},
                                       {"removeprefix", string_removeprefix},
                                       {"removesuffix", string_removesuffix},
                                       {"replace", string_replace},
                                       {"rfind", string_rfind},
                                       {"rindex", string_rindex},
                                       {"rjust", string_rjust},
                                       {"rpartition", string_rpartition},
                                       {"rsplit", string_rsplit},
                                       {"rstrip", string_rstrip},
                                       {"split", string_split},
                                       {"splitlines", string_splitlines},
                                       {"startswith", string_startswith},
                                       {"strip", jinja_string_strip},
                                       {"swapcase", string_swapcase},
                                       {"title", string_title},
                                       {"upper", jinja_string_upper},
                                       {"zfill", string_zfill}};

const jinja_method *jinja_string_method(const jinja_string *name) {
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++)
        if (strlen(methods[i].name) == name->n && memcmp(methods[i].name, name->at, name->n) == 0) return &methods[i];
    return NULL;
}
