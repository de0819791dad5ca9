/* split.c - pre-tokenizers: text to pieces, each handed to the model as soon as it is cut.
 *
 * Steps are nested, not run one after the other over the whole text: a piece goes through all remaining steps before
 * the next one is cut, so no list of pieces exists and a word is still in the cache when its merges run.  The depth is
 * the number of steps.
 *
 * Order: what delimits, behaviours, rewriting steps, the recursion. */
#include "model/tokenizer/impl.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

typedef struct {
    const hone_tokenizer *t;
    model_scratch *s;
    hone_ids *out;
    hone_error *err;
} run;

static hone_status step_piece(const run *r, size_t at, const char *text, size_t n, bool first);

/* ---- What delimits: an iteration over stretches that match and stretches that do not ---- */

typedef struct {
    const model_split_step *step;
    model_find find;
    const char *text;
    size_t n, at;                  /* everything before at was given out */
    size_t match_start, match_end; /* a match that waits behind the stretch before it; valid when pending */
    bool pending, exhausted;
} stretches;

static bool delimits(model_split_kind kind, uint32_t c) {
    switch (kind) {
    case MODEL_SPLIT_DIGITS: return model_is_numeric(c);
    case MODEL_SPLIT_WHITESPACE: return model_is_space(c);
    default: return model_is_punctuation(c);
    }
}

/* The next match at or behind x->at. */
static hone_status next_match(stretches *x, bool *found, hone_error *err) {
    if (x->step->kind == MODEL_SPLIT_PATTERN)
        return model_find_next(&x->find, found, &x->match_start, &x->match_end, err);
    *found = false;
    size_t i = x->at;
    if (x->step->kind == MODEL_SPLIT_FIXED) {
        size_t left = x->step->length;
        for (uint32_t c; i < x->n && left; left--) i += hone_utf8_decode(x->text + i, x->n - i, &c);
        *found = i > x->at;
        x->match_start = x->at;
        x->match_end = i;
        return HONE_OK;
    }
    while (i < x->n) {
        uint32_t c = 0;
        const size_t width = hone_utf8_decode(x->text + i, x->n - i, &c);
        if (delimits(x->step->kind, c)) {
            *found = true;
            x->match_start = i;
            x->match_end = i + width;
            return HONE_OK;
        }
        i += width;
    }
    return HONE_OK;
}

/* The next stretch; *more false at the end. */
static hone_status next_stretch(stretches *x, size_t *start, size_t *end, bool *match, bool *more, hone_error *err) {
    *more = true;
    if (!x->pending && !x->exhausted) {
        bool found;
        const hone_status st = next_match(x, &found, err);
        if (st != HONE_OK) return st;
        x->pending = found;
        x->exhausted = !found;
    }
    if (x->pending && x->match_start <= x->at) {
        *start = x->match_start;
        *end = x->at = x->match_end;
        *match = true;
        x->pending = false;
        return HONE_OK;
    }
    if (x->pending || x->at < x->n) {
        *start = x->at;
        *end = x->at = x->pending ? x->match_start : x->n;
        *match = false;
        return HONE_OK;
    }
    *more = false;
    return HONE_OK;
}

/* ---- Behaviours: what becomes of the delimiters ---- */

static hone_status split_step(const run *r, size_t at, const char *text, size_t n, bool first) {
    const model_split_step *step = &r->t->split.step[at];
    stretches x = {.step = step, .text = text, .n = n};
    if (step->kind == MODEL_SPLIT_PATTERN) {
        if (step->pattern.code && !r->s->match[at] && !(r->s->match[at] = pcre2_match_data_create(1, NULL)))
            return hone_fail(r->err, HONE_ERR_NOMEM, "no memory to match a pattern");
        x.find = (model_find){.pattern = &step->pattern,
                              .data = r->s->match[at],
                              .scratch = r->s,
                              .text = text,
                              .n = n,
                              .last_end = SIZE_MAX};
    }
    size_t from = 0, to = 0; /* the piece that may still grow */
    bool held = false, before = false;
    for (;;) {
        size_t start, end;
        bool match, more, grows = false;
        hone_status st = next_stretch(&x, &start, &end, &match, &more, r->err);
        if (st != HONE_OK) return st;
        if (!more) break;
        if (step->invert) match = !match;
        switch (step->behaviour) {
        case MODEL_REMOVED:
            if (match) continue;
            break;
        case MODEL_ISOLATED: break;
        case MODEL_CONTIGUOUS: grows = match == before; break;
        case MODEL_MERGED_WITH_PREVIOUS: grows = match && !before; break;
        case MODEL_MERGED_WITH_NEXT: grows = before && !match; break;
        }
        before = match;
        if (held && grows) {
            to = end;
            continue;
        }
        if (held && to > from && (st = step_piece(r, at + 1, text + from, to - from, first && from == 0)) != HONE_OK)
            return st;
        from = start;
        to = end;
        held = true;
    }
    return held && to > from ? step_piece(r, at + 1, text + from, to - from, first && from == 0) : HONE_OK;
}

/* ---- Rewriting steps ---- */

static hone_status rewrite_step(const run *r, size_t at, const char *text, size_t n, bool first) {
    const model_split_step *step = &r->t->split.step[at];
    hone_buf *to = &r->s->piece[at];
    hone_buf_clear(to);
    if (step->kind == MODEL_SPLIT_PREFIX_SPACE) {
        if (text[0] == ' ') return step_piece(r, at + 1, text, n, first);
        hone_buf_char(to, ' ');
        hone_buf_add(to, text, n);
    } else if (step->kind == MODEL_SPLIT_BYTE_MAP) {
        for (size_t i = 0; i < n; i++) {
            char utf8[4];
            hone_buf_add(to, utf8, hone_utf8_encode(model_byte_char((uint8_t)text[i]), utf8));
        }
    } else {
        const bool marked =
            text[0] == ' ' || (n >= step->content_n && memcmp(text, step->content, step->content_n) == 0);
        if (!marked && (step->prepend == MODEL_PREPEND_ALWAYS || (step->prepend == MODEL_PREPEND_FIRST && first)))
            hone_buf_add(to, step->content, step->content_n);
        for (size_t i = 0; i < n;) {
            const char *space = memchr(text + i, ' ', n - i);
            const size_t end = space ? (size_t)(space - text) : n;
            hone_buf_add(to, text + i, end - i);
            if (space) hone_buf_add(to, step->content, step->content_n);
            i = end + 1;
        }
    }
    if (to->failed) return hone_fail(r->err, HONE_ERR_NOMEM, "no memory for a piece of text");
    return step_piece(r, at + 1, to->data, to->n, first);
}

/* ---- The recursion ---- */

static hone_status step_piece(const run *r, size_t at, const char *text, size_t n, bool first) {
    if (n == 0) return HONE_OK;
    if (at == r->t->split.n) return model_word(r->t, r->s, text, n, r->out, r->err);
    switch (r->t->split.step[at].kind) {
    case MODEL_SPLIT_METASPACE:
    case MODEL_SPLIT_PREFIX_SPACE:
    case MODEL_SPLIT_BYTE_MAP: return rewrite_step(r, at, text, n, first);
    default: return split_step(r, at, text, n, first);
    }
}

hone_status model_split_run(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, bool first,
                            hone_ids *out, hone_error *err) {
    const run r = {t, s, out, err};
    return step_piece(&r, 0, text, n, first);
}

model_split_step *model_split_add(model_split *list, model_split_kind kind) {
    if (list->n >= MODEL_STEPS_MAX || !hone_grow(&list->step, &list->cap, list->n, sizeof(*list->step))) return NULL;
    list->step[list->n] = (model_split_step){.kind = kind, .behaviour = MODEL_ISOLATED};
    return &list->step[list->n++];
}

void model_split_free(model_split *steps) {
    for (size_t i = 0; i < steps->n; i++) model_pattern_free(&steps->step[i].pattern);
    hone_free(steps->step);
    *steps = (model_split){0};
}
