/* words.c - the models besides BPE: Unigram (Kudo, "Subword regularization", ACL 2018), WordPiece, WordLevel.
 * Order: Unigram, WordPiece, WordLevel. */
#include "model/tokenizer/impl.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

static hone_status no_memory(hone_error *err) {
    return hone_fail(err, HONE_ERR_NOMEM, "no memory to encode a text");
}

/* ---- Unigram: the most probable cut, by Viterbi over byte positions ---- */

#define UNK_PENALTY 10.0 /* below the worst token */

hone_status model_unigram_finish(hone_tokenizer *t, hone_error *err) {
    model_unigram *m = &t->unigram;
    char name[8];
    double worst = 0;
    for (size_t i = 0; i < t->vocab.n; i++) {
        const model_dict_entry *e = &t->vocab.entry[i];
        if (e->n > m->max_bytes) m->max_bytes = e->n;
        if ((size_t)e->value >= m->n_log_prob) return hone_fail(err, HONE_ERR_INTERNAL, "a token without its score");
        if (i == 0 || m->log_prob[e->value] < worst) worst = m->log_prob[e->value];
    }
    if (m->max_bytes > MODEL_ADDED_BYTES_MAX)
        return hone_fail(err, HONE_ERR_LIMIT, "a token of %zu bytes (at most %u)", m->max_bytes, MODEL_ADDED_BYTES_MAX);
    m->unk_score = worst - UNK_PENALTY;
    for (unsigned b = 0; b < 256; b++) {
        snprintf(name, sizeof(name), "<0x%02X>", b);
        m->byte_id[b] = model_dict_get(&t->vocab, name, 6);
    }
    return HONE_OK;
}

static bool viterbi_room(model_scratch *s, size_t n) {
    if (n <= s->best_cap) return true;
    double *best = hone_realloc(s->best, n, sizeof(*best));
    if (best) s->best = best;
    int32_t *id = hone_realloc(s->best_id, n, sizeof(*id));
    if (id) s->best_id = id;
    uint32_t *from = hone_realloc(s->best_from, n, sizeof(*from));
    if (from) s->best_from = from;
    if (!best || !id || !from) return false;
    s->best_cap = n;
    return true;
}

/* The ids of one piece of the best path: a token, or a run of unknown characters. */
static hone_status unigram_piece(const hone_tokenizer *t, const char *text, size_t n, hone_ids *out, hone_error *err) {
    const model_unigram *m = &t->unigram;
    const int32_t id = model_dict_get(&t->vocab, text, n);
    if (id != HONE_NO_TOKEN) return hone_ids_add(out, id) ? HONE_OK : no_memory(err);
    bool all = m->byte_fallback;
    for (size_t i = 0; all && i < n; i++) all = m->byte_id[(unsigned char)text[i]] != HONE_NO_TOKEN;
    for (size_t i = 0; all && i < n; i++)
        if (!hone_ids_add(out, m->byte_id[(unsigned char)text[i]])) return no_memory(err);
    if (all) return HONE_OK;
    if (m->unk == HONE_NO_TOKEN)
        return hone_fail(err, HONE_ERR_FORMAT, "a character outside the vocabulary, which has no unknown token");
    return hone_ids_add(out, m->unk) ? HONE_OK : no_memory(err);
}

hone_status model_unigram_word(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, hone_ids *out,
                               hone_error *err) {
    const model_unigram *m = &t->unigram;
    if (!viterbi_room(s, n + 1)) return no_memory(err);
    for (size_t i = 0; i <= n; i++) s->best_from[i] = UINT32_MAX; /* not reached */
    s->best[0] = 0;
    for (size_t at = 0, width; at < n; at += width) {
        uint32_t c;
        bool single = false;
        const double here = s->best[at];
        width = hone_utf8_decode(text + at, n - at, &c);
        for (size_t end = at + width; end - at <= m->max_bytes;) {
            const int32_t id = model_dict_get(&t->vocab, text + at, end - at);
            if (id != HONE_NO_TOKEN) {
                const double score = m->log_prob[id] + here;
                if (s->best_from[end] == UINT32_MAX || score > s->best[end]) {
                    s->best[end] = score;
                    s->best_from[end] = (uint32_t)at;
                    s->best_id[end] = id;
                }
                single |= end - at == width;
            }
            if (end == n) break;
            end += hone_utf8_decode(text + end, n - end, &c);
        }
        if (!single) {
            const size_t end = at + width;
            const double score = m->unk_score + here;
            if (m->unk == HONE_NO_TOKEN && !m->byte_fallback)
                return hone_fail(err, HONE_ERR_FORMAT,
                                 "a character outside the vocabulary, which has no unknown token");
            if (s->best_from[end] == UINT32_MAX || score > s->best[end]) {
                s->best[end] = score;
                s->best_from[end] = (uint32_t)at;
                s->best_id[end] = m->unk;
            }
        }
    }
    /* Backwards along the path, turning it round in place: best_id[start] becomes the piece's end. */
    size_t n_piece = 0;
    for (size_t end = n; end > 0; end = s->best_from[end]) n_piece++;
    const size_t before = s->ids.n;
    for (size_t end = n; end > 0; end = s->best_from[end])
        if (!hone_ids_add(&s->ids, (int32_t)end)) return no_memory(err);
    hone_status st = HONE_OK;
    size_t from = 0, run = SIZE_MAX; /* where a run of unknowns began */
    for (size_t k = n_piece; k-- > 0 && st == HONE_OK;) {
        const size_t end = (size_t)s->ids.id[before + k];
        if (s->best_id[end] == m->unk && m->unk != HONE_NO_TOKEN) {
            if (run == SIZE_MAX) run = from;
        } else {
            if (run != SIZE_MAX) st = unigram_piece(t, text + run, from - run, out, err);
            run = SIZE_MAX;
            if (st == HONE_OK) st = unigram_piece(t, text + from, end - from, out, err);
        }
        from = end;
    }
    if (st == HONE_OK && run != SIZE_MAX) st = unigram_piece(t, text + run, n - run, out, err);
    s->ids.n = before;
    return st;
}

/* ---- WordPiece: the longest token first ---- */

static hone_status unknown_word(const model_wordpiece *m, hone_ids *out, hone_error *err) {
    if (m->unk == HONE_NO_TOKEN)
        return hone_fail(err, HONE_ERR_FORMAT, "a word outside the vocabulary, which has no unknown token");
    return hone_ids_add(out, m->unk) ? HONE_OK : no_memory(err);
}

hone_status model_wordpiece_word(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, hone_ids *out,
                                 hone_error *err) {
    const model_wordpiece *m = &t->wordpiece;
    const size_t before = out->n;
    size_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += ((unsigned char)text[i] & 0xc0) != 0x80;
    if (chars > m->max_chars) return unknown_word(m, out, err);
    for (size_t at = 0; at < n;) {
        size_t end = n - at > m->max_bytes ? at + m->max_bytes : n;
        while (end < n && end > at && ((unsigned char)text[end] & 0xc0) == 0x80) end--;
        int32_t id = HONE_NO_TOKEN;
        while (end > at) {
            if (at == 0) {
                id = model_dict_get(&t->vocab, text, end);
            } else {
                hone_buf *room = &s->word;
                hone_buf_clear(room);
                hone_buf_add(room, m->prefix, m->prefix_n);
                if (!hone_buf_add(room, text + at, end - at)) return no_memory(err);
                id = model_dict_get(&t->vocab, room->data, room->n);
            }
            if (id != HONE_NO_TOKEN) break;
            end--;
            while (end > at && ((unsigned char)text[end] & 0xc0) == 0x80) end--;
        }
        if (id == HONE_NO_TOKEN) {
            out->n = before;
            return unknown_word(m, out, err);
        }
        if (!hone_ids_add(out, id)) return no_memory(err);
        at = end;
    }
    return HONE_OK;
}

/* ---- WordLevel: the word or nothing ---- */

hone_status model_wordlevel_word(const hone_tokenizer *t, const char *text, size_t n, hone_ids *out, hone_error *err) {
    const int32_t id = model_dict_get(&t->vocab, text, n);
    if (id == HONE_NO_TOKEN) return unknown_word(&t->wordpiece, out, err);
    return hone_ids_add(out, id) ? HONE_OK : no_memory(err);
}
