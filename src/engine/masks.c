/* masks.c - the contract is in masks.h.  Order: open and close, one token, runs and drafts. */
#include "engine/masks.h"

#include <string.h>

#include "base/mem.h"

/* --- open and close --- */

hone_status engine_text_open(engine_text **out, hone_grammar *grammar, hone_vocabulary *vocabulary,
                             const int32_t *emitted, uint32_t n, hone_error *err) {
    *out = NULL;
    engine_text *t = hone_zalloc(1, sizeof(*t));
    if (!t) return hone_fail(err, HONE_ERR_NOMEM, "no memory for the text of a grammar");
    t->err.position = HONE_NO_POSITION;
    hone_status st = hone_matcher_open(&t->matcher, grammar, vocabulary, err);
    for (uint32_t i = 0; i < n && st == HONE_OK; i++) {
        if (engine_text_say(t, emitted[i])) continue;
        st = t->err.code == HONE_ERR_ARG
                 ? hone_fail_at(err, HONE_ERR_ARG, i, "emitted token %u is not allowed by the grammar", i)
                 : hone_fail(err, t->err.code, "%s", t->err.message);
    }
    if (st == HONE_OK)
        *out = t;
    else
        engine_text_close(t);
    return st;
}

void engine_text_close(engine_text *t) {
    if (!t) return;
    hone_matcher_close(t->matcher);
    hone_free(t);
}

/* --- one token --- */

int32_t engine_text_next(engine_text *t) {
    if (t->drained || t->closed) return -1;
    if (hone_matcher_forced(t->matcher, &t->forced, 1) > 0) return t->forced;
    t->drained = true;
    return -1;
}

bool engine_text_mask(engine_text *t, uint32_t *bits, uint32_t vocab) {
    memset(bits, 0, (vocab + 31) / 32 * sizeof(*bits)); /* the model's vocabulary may be padded */
    t->failed = t->failed || hone_matcher_mask(t->matcher, bits, &t->err) != HONE_OK;
    return !t->failed;
}

bool engine_text_say(engine_text *t, int32_t token) {
    t->drained = false;
    t->failed = t->failed || hone_matcher_accept(t->matcher, token, &t->err) != HONE_OK;
    t->closed = !t->failed && hone_matcher_closed(t->matcher);
    return !t->failed;
}

/* --- runs and drafts --- */

static bool is_in(const int32_t *set, uint32_t n, int32_t token) {
    for (uint32_t i = 0; i < n; i++)
        if (set[i] == token) return true;
    return false;
}

uint32_t engine_text_run(engine_text *t, int32_t *out, uint32_t cap, const int32_t *stop, uint32_t n_stop) {
    uint32_t n = 0;
    while (n < cap && !t->failed && engine_text_next(t) >= 0) {
        if (!engine_text_say(t, t->forced)) break;
        out[n++] = t->forced;
        t->n_forced++;
        if (is_in(stop, n_stop, out[n - 1])) break;
    }
    return n;
}

uint32_t engine_text_draft(engine_text *t, const int32_t *guess, uint32_t n, float chance, int32_t *draft, float *keep,
                           uint32_t cap) {
    int32_t left[64];
    uint32_t at = 0, m = 0;
    if (n > sizeof(left) / sizeof(*left)) n = sizeof(left) / sizeof(*left);
    memcpy(left, guess, n * sizeof(*left));
    if (t->failed || t->closed) return 0;
    while (m < cap && !hone_matcher_closed(t->matcher)) {
        const uint32_t k = m == 0 && t->drained ? 0 : hone_matcher_forced(t->matcher, &t->forced, 1);
        const int32_t token = k ? t->forced : at < n ? left[at] : -1;
        if (token < 0) break;
        hone_error ignored;
        if (hone_matcher_accept(t->matcher, token, &ignored) != HONE_OK) break;
        keep[m] = k ? 1 : chance;
        draft[m++] = token;
        at = at < n && left[at] == token ? at + 1 : n; /* the guess went another way than the grammar */
    }
    hone_matcher_rollback(t->matcher, m);
    return m;
}
