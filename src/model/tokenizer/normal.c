/* normal.c - normalizers: text to text, one step after the other.
 *
 * Each step reads the current text and either leaves it or writes the other of two buffers.  Unicode normalization
 * follows UAX #15 with utf8proc's tables, but decomposes, reorders and composes here: utf8proc's own reordering is
 * quadratic in a run of combining marks, which a hostile text can make a megabyte long.
 *
 * Order: output, Unicode forms, characters, strings, SentencePiece's charsmap, the driver. */
#include "model/tokenizer/impl.h"

#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"

static hone_status no_memory(hone_error *err) {
    return hone_fail(err, HONE_ERR_NOMEM, "no memory to normalize a text");
}

/* A growing text fails on its limit or without memory; say which. */
static hone_status done(const hone_buf *out, hone_error *err) {
    if (!out->failed) return HONE_OK;
    if (out->limit && out->n * 2 >= out->limit)
        return hone_fail(err, HONE_ERR_LIMIT, "the normalizer makes the text too long");
    return no_memory(err);
}

static void put(hone_buf *out, uint32_t c) {
    char utf8[4];
    hone_buf_add(out, utf8, hone_utf8_encode(c, utf8));
}

/* ---- Unicode forms ---- */

static bool code_room(model_scratch *s, size_t n) {
    if (n > s->code_cap) {
        size_t cap = s->code_cap ? s->code_cap : 256;
        while (cap < n) cap *= 2;
        int32_t *code = hone_realloc(s->code, cap, sizeof(*code));
        if (!code) return false;
        s->code = code;
        s->code_cap = cap;
    }
    return true;
}

/* Stable sort of one run of combining marks by class: insertion for the usual two or three, counting for a hostile run.
 */
static bool order_marks(model_scratch *s, int32_t *code, const size_t n) {
    if (n < 2) return true;
    if (n <= 16) {
        for (size_t i = 1; i < n; i++) {
            const int32_t c = code[i];
            const utf8proc_propval_t ccc = utf8proc_get_property(c)->combining_class;
            size_t at = i;
            for (; at > 0 && utf8proc_get_property(code[at - 1])->combining_class > ccc; at--) code[at] = code[at - 1];
            code[at] = c;
        }
        return true;
    }
    const size_t bytes = n * sizeof(*code);
    if (bytes > s->ccc_cap) {
        uint8_t *room = hone_realloc(s->ccc, bytes, 1);
        if (!room) return false;
        s->ccc = room;
        s->ccc_cap = bytes;
    }
    size_t at[257] = {0};
    for (size_t i = 0; i < n; i++) at[(uint8_t)utf8proc_get_property(code[i])->combining_class + 1]++;
    for (size_t i = 1; i < 257; i++) at[i] += at[i - 1];
    int32_t *sorted = (int32_t *)(void *)s->ccc; /* from the allocator, so aligned */
    for (size_t i = 0; i < n; i++) sorted[at[(uint8_t)utf8proc_get_property(code[i])->combining_class]++] = code[i];
    memcpy(code, sorted, bytes);
    return true;
}

/* Decompositions younger than the authority's tables (Unicode 9), which leaves these characters alone. */
static bool decomposes_since(uint32_t c) {
    return c == 0x32ff || (c >= 0xa7f2 && c <= 0xa7f4) || c == 0xab69 || (c >= 0x10781 && c <= 0x107ba) ||
           c == 0x11938 || (c >= 0x1e030 && c <= 0x1e06d) || c == 0x1f16c || (c >= 0x1fbf0 && c <= 0x1fbf9);
}

/* One stretch that nothing outside of it composes with. */
static bool form_stretch(model_scratch *s, const char *text, size_t n, utf8proc_option_t options, bool compose,
                         hone_buf *out) {
    size_t n_code = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        i += hone_utf8_decode(text + i, n - i, &c);
        int unused = UTF8PROC_BOUNDCLASS_START;
        if (!code_room(s, n_code + 32)) return false; /* the longest decomposition has 18 */
        const utf8proc_ssize_t k =
            decomposes_since(c) ? -1
                                : utf8proc_decompose_char((utf8proc_int32_t)c, s->code + n_code, 32, options, &unused);
        if (k < 0 || k > 32)
            s->code[n_code++] = (int32_t)c;
        else
            n_code += (size_t)k;
    }
    for (size_t i = 0; i < n_code;) {
        size_t run = 0;
        while (i + run < n_code && utf8proc_get_property(s->code[i + run])->combining_class) run++;
        if (!order_marks(s, s->code + i, run)) return false;
        i += run + 1;
    }
    if (compose) {
        const utf8proc_ssize_t k =
            utf8proc_normalize_utf32(s->code, (utf8proc_ssize_t)n_code, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        if (k >= 0) n_code = (size_t)k;
    }
    for (size_t i = 0; i < n_code; i++) put(out, (uint32_t)s->code[i]);
    return !out->failed;
}

/* ASCII never composes with what stands before it, so the text falls apart before every ASCII character. */
static hone_status unicode_form(model_normal_kind kind, model_scratch *s, const char *text, size_t n, hone_buf *out,
                                hone_error *err) {
    const bool compat = kind == MODEL_NORMAL_NFKC || kind == MODEL_NORMAL_NFKD;
    const bool compose = kind == MODEL_NORMAL_NFC || kind == MODEL_NORMAL_NFKC;
    const utf8proc_option_t options = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compat ? UTF8PROC_COMPAT : 0);
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && (unsigned char)text[end] < 0x80) end++;
        if (end == n) {
            hone_buf_add(out, text + i, n - i);
            break;
        }
        const size_t base = end > i ? end - 1 : end;
        hone_buf_add(out, text + i, base - i);
        while (end < n && (unsigned char)text[end] >= 0x80) end++;
        if (!form_stretch(s, text + base, end - base, options, compose, out))
            return out->failed ? done(out, err) : no_memory(err);
        i = end;
    }
    return done(out, err);
}

/* Whether every character is below the first one that the form could change. */
static bool form_keeps(model_normal_kind kind, const char *text, size_t n) {
    const unsigned char limit = kind == MODEL_NORMAL_NFC ? 0xcc : kind == MODEL_NORMAL_NFD ? 0xc3 : 0xc2;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= limit) return false; /* leads: U+0300, U+00C0, U+0080 */
    return true;
}

/* ---- Characters ---- */

static uint32_t lower(uint32_t c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

static bool is_cjk(uint32_t c) {
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

/* BERT's control characters: Cc, Cf, Co, without the three that are spaces; the authority's table is Unicode 8's. */
static bool is_control(uint32_t c) {
    if (c == '\t' || c == '\n' || c == '\r') return false;
    if (c == 0x890 || c == 0x891 || c == 0x8e2 || c == 0x110cd || (c >= 0x13430 && c <= 0x1343f)) return false;
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

static bool nmt_removes(uint32_t c) {
    return (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f;
}

static bool nmt_space(uint32_t c) {
    return c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) || c == 0x2028 ||
           c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
}

static hone_status each_character(model_normal_kind kind, const char *text, size_t n, hone_buf *out, bool *dropped,
                                  hone_error *err) {
    for (size_t i = 0; i < n && !out->failed;) {
        uint32_t c = 0;
        const size_t width = hone_utf8_decode(text + i, n - i, &c);
        const utf8proc_category_t k = c < 0x80 ? UTF8PROC_CATEGORY_CN : utf8proc_category((utf8proc_int32_t)c);
        bool keep = true;
        switch (kind) {
        case MODEL_NORMAL_LOWERCASE:
            if (c == 0x130)
                hone_buf_text(out, "i\xcc\x87"); /* the one character whose lower case is two */
            else
                put(out, lower(c));
            break;
        case MODEL_NORMAL_STRIP_ACCENTS:
            keep = k != UTF8PROC_CATEGORY_MN && k != UTF8PROC_CATEGORY_MC && k != UTF8PROC_CATEGORY_ME;
            if (keep) hone_buf_add(out, text + i, width);
            break;
        case MODEL_NORMAL_STRIP_MN:
            keep = k != UTF8PROC_CATEGORY_MN;
            if (keep) hone_buf_add(out, text + i, width);
            break;
        case MODEL_NORMAL_NMT:
            keep = !nmt_removes(c);
            if (keep) put(out, nmt_space(c) ? ' ' : c);
            break;
        case MODEL_NORMAL_BERT_CLEAN:
            keep = c != 0 && c != 0xfffd && !is_control(c);
            if (keep) put(out, model_is_space(c) ? ' ' : c);
            break;
        case MODEL_NORMAL_BERT_CJK:
            if (is_cjk(c)) hone_buf_char(out, ' ');
            hone_buf_add(out, text + i, width);
            if (is_cjk(c)) hone_buf_char(out, ' ');
            break;
        default: /* MODEL_NORMAL_BYTE_LEVEL */
            for (size_t b = 0; b < width; b++) put(out, model_byte_char((uint8_t)text[i + b]));
        }
        if (!keep && out->n == 0) *dropped = true;
        i += width;
    }
    return done(out, err);
}

/* ---- Strings ---- */

static hone_piece strip(const model_normal_step *step, const char *text, size_t n, bool *dropped) {
    size_t from = 0, to = n;
    uint32_t c = 0;
    while (step->flag_a && from < n) {
        const size_t width = hone_utf8_decode(text + from, n - from, &c);
        if (!model_is_space(c)) break;
        from += width;
        *dropped = true;
    }
    while (step->flag_b && to > from) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)text[at] & 0xc0) == 0x80) at--;
        hone_utf8_decode(text + at, to - at, &c);
        if (!model_is_space(c)) break;
        to = at;
    }
    return (hone_piece){text + from, to - from};
}

static hone_status replace(const model_normal_step *step, model_scratch *s, const char *text, size_t n, hone_buf *out,
                           bool *dropped, hone_error *err) {
    size_t at = 0, start, end;
    bool found;
    if (n == 0) return HONE_OK;
    if (step->pattern.code && !s->normal_match && !(s->normal_match = pcre2_match_data_create(1, NULL)))
        return no_memory(err);
    model_find f = {
        .pattern = &step->pattern, .data = s->normal_match, .scratch = s, .text = text, .n = n, .last_end = SIZE_MAX};
    for (;;) {
        const hone_status st = model_find_next(&f, &found, &start, &end, err);
        if (st != HONE_OK) return st;
        if (!found) break;
        if (start > at) hone_buf_add(out, text + at, start - at);
        hone_buf_add(out, step->content, step->content_n);
        if (out->n == 0 && end > start) *dropped = true;
        if (out->failed) return done(out, err);
        at = end;
    }
    hone_buf_add(out, text + at, n - at);
    return done(out, err);
}

/* ---- SentencePiece's charsmap: a double array (darts-clone) over UTF-8 whose values are offsets of replacements ----
 */

hone_status model_normal_charsmap(model_normal_step *step, const uint8_t *blob, size_t n, hone_error *err) {
    if (n < 4) return hone_fail(err, HONE_ERR_FORMAT, "a charsmap of %zu bytes", n);
    const size_t bytes = blob[0] | (size_t)blob[1] << 8 | (size_t)blob[2] << 16 | (size_t)blob[3] << 24;
    if (bytes > n - 4 || bytes % 4 || bytes == 0)
        return hone_fail(err, HONE_ERR_FORMAT, "a charsmap of %zu bytes with a table of %zu", n, bytes);
    step->trie = hone_zalloc(bytes / 4, sizeof(*step->trie));
    step->content = hone_strndup((const char *)blob + 4 + bytes, n - 4 - bytes);
    if (!step->trie || !step->content) return no_memory(err);
    step->trie_n = bytes / 4;
    for (size_t i = 0; i < step->trie_n; i++) {
        const uint8_t *u = blob + 4 + 4 * i;
        step->trie[i] = u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
    }
    step->content_n = n - 4 - bytes;
    if (hone_utf8_valid(step->content, step->content_n) != step->content_n)
        return hone_fail(err, HONE_ERR_FORMAT, "the charsmap's replacements are no UTF-8");
    return HONE_OK;
}

/* The replacement of the shortest prefix of text[n] that has one, as the authority takes it; false when none has. */
static bool charsmap_get(const model_normal_step *step, const char *text, size_t n, hone_piece *out) {
    const uint32_t *unit = step->trie;
    size_t at = (unit[0] >> 10) << ((unit[0] & 0x200u) >> 6);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == 0) return false;
        at ^= c;
        if (at >= step->trie_n || (unit[at] & 0x800000ffu) != c) return false;
        const uint32_t u = unit[at];
        at ^= (size_t)(u >> 10) << ((u & 0x200u) >> 6);
        if (at >= step->trie_n) return false;
        if (u & 0x100u) {
            const size_t value = unit[at] & 0x7fffffffu;
            if (value >= step->content_n) return false;
            *out = (hone_piece){step->content + value, strlen(step->content + value)};
            return true;
        }
    }
    return false;
}

static hone_status charsmap(const model_normal_step *step, const char *text, size_t n, hone_buf *out, hone_error *err) {
    for (size_t i = 0; i < n && !out->failed;) {
        uint32_t c = 0, next = 0;
        utf8proc_int32_t state = 0;
        size_t end = i + hone_utf8_decode(text + i, n - i, &c); /* the grapheme cluster text[i .. end) */
        while (end < n) {
            const size_t width = hone_utf8_decode(text + end, n - end, &next);
            if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state)) break;
            c = next;
            end += width;
        }
        hone_piece to;
        if (end - i < 6 && charsmap_get(step, text + i, end - i, &to)) {
            hone_buf_add(out, to.text, to.n);
        } else {
            for (size_t at = i; at < end;) {
                const size_t width = hone_utf8_decode(text + at, end - at, &c);
                if (charsmap_get(step, text + at, width, &to))
                    hone_buf_add(out, to.text, to.n);
                else
                    hone_buf_add(out, text + at, width);
                at += width;
            }
        }
        i = end;
    }
    return done(out, err);
}

/* ---- The driver ---- */

hone_status model_normalize(const model_normal *steps, model_scratch *s, const char *text, size_t n, hone_piece *out,
                            bool *lead_dropped, hone_error *err) {
    hone_piece now = {text, n};
    unsigned turn = 0;
    *lead_dropped = false;
    for (size_t i = 0; i < steps->n; i++) {
        const model_normal_step *step = &steps->step[i];
        hone_buf *to = &s->normal[turn];
        hone_status st = HONE_OK;
        hone_buf_clear(to);
        /* No step of a published normalizer makes more than 18 characters of one; a hostile chain of Replace could. */
        to->limit = n * 64 + (1u << 16);
        switch (step->kind) {
        case MODEL_NORMAL_NFC:
        case MODEL_NORMAL_NFD:
        case MODEL_NORMAL_NFKC:
        case MODEL_NORMAL_NFKD:
            if (form_keeps(step->kind, now.text, now.n)) continue;
            st = unicode_form(step->kind, s, now.text, now.n, to, err);
            break;
        case MODEL_NORMAL_STRIP: now = strip(step, now.text, now.n, lead_dropped); continue;
        case MODEL_NORMAL_PREPEND:
            if (now.n == 0) continue;
            hone_buf_add(to, step->content, step->content_n);
            hone_buf_add(to, now.text, now.n);
            st = done(to, err);
            break;
        case MODEL_NORMAL_REPLACE: st = replace(step, s, now.text, now.n, to, lead_dropped, err); break;
        case MODEL_NORMAL_CHARSMAP: st = charsmap(step, now.text, now.n, to, err); break;
        default: st = each_character(step->kind, now.text, now.n, to, lead_dropped, err);
        }
        if (st != HONE_OK) return st;
        now = (hone_piece){hone_buf_str(to), to->n};
        turn ^= 1;
    }
    *out = now;
    return HONE_OK;
}

model_normal_step *model_normal_add(model_normal *list, model_normal_kind kind) {
    if (list->n >= MODEL_STEPS_MAX || !hone_grow(&list->step, &list->cap, list->n, sizeof(*list->step))) return NULL;
    list->step[list->n] = (model_normal_step){.kind = kind};
    return &list->step[list->n++];
}

void model_normal_free(model_normal *steps) {
    for (size_t i = 0; i < steps->n; i++) {
        model_pattern_free(&steps->step[i].pattern);
        hone_free(steps->step[i].content);
        hone_free(steps->step[i].trie);
    }
    hone_free(steps->step);
    *steps = (model_normal){0};
}
