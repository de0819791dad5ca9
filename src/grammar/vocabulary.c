/* vocabulary.c - tokens sorted into depth-first tries: one of all tokens, two per slice of those that are not in it.
 *
 * Order: sorting, a trie, slices, opening. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "grammar/vocabulary_impl.h"

#define TOKENS_MAX (1u << 22)
#define TOKEN_BYTES_MAX 4096u /* a longer token is never allowed: nobody writes a kilobyte at once */

typedef struct {
    const uint8_t *text;
    uint32_t n, id;
} entry;

static int by_text(const void *a, const void *b) {
    const entry *x = a, *y = b;
    const uint32_t n = x->n < y->n ? x->n : y->n;
    const int c = n ? memcmp(x->text, y->text, n) : 0;
    if (c) return c;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* The entries, sorted and without repetitions, but those of `but` (NULL: all). */
static bool build(voc_trie *t, const entry *e, size_t n, const uint32_t *but, size_t *bytes) {
    for (int i = 0; i < 256; i++) t->root[i] = VOC_NONE;
    size_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        const entry *last = NULL;
        uint32_t open[TOKEN_BYTES_MAX + 1]; /* the nodes whose subtrees are open, by depth */
        uint32_t at = 0, depth = 0;
        for (size_t i = 0; i < n; i++) {
            if (but && (but[e[i].id / 32] >> (e[i].id % 32) & 1)) continue;
            uint32_t common = 0;
            if (last)
                while (common < last->n && common < e[i].n && last->text[common] == e[i].text[common]) common++;
            for (; depth > common; depth--)
                if (pass) t->node[open[depth]].skip = at;
            for (uint32_t d = common; d < e[i].n; d++, at++) {
                if (!pass) continue;
                if (d == 0) t->root[e[i].text[0]] = at;
                open[d + 1] = at;
                t->node[at] = (voc_node){.token = VOC_NONE, .depth = (uint16_t)(d + 1), .byte = e[i].text[d]};
            }
            depth = e[i].n;
            if (pass) t->node[at - 1].token = e[i].id;
            last = &e[i];
        }
        for (; depth > 0; depth--)
            if (pass) t->node[open[depth]].skip = at;
        count = at;
        if (!pass && !(t->node = hone_zalloc(count + 1, sizeof(*t->node)))) return false;
    }
    t->n = (uint32_t)count;
    *bytes += count * sizeof(*t->node);
    return true;
}

/* Plain characters at the beginning; *next: the byte behind them, UINT32_MAX at the end. */
static uint32_t plain_chars(const uint8_t *text, uint32_t n, uint32_t *next) {
    uint32_t chars = 0, i = 0;
    while (i < n) {
        uint32_t code;
        if (text[i] < 0x20 || text[i] == '"' || text[i] == '\\') break;
        const size_t k = hone_utf8_decode((const char *)text + i, n - i, &code);
        if (k == 0 || code == 0x2028 || code == 0x2029) break;
        i += (uint32_t)k;
        chars++;
    }
    *next = i < n ? text[i] : UINT32_MAX;
    return chars;
}

hone_status hone_vocabulary_open(hone_vocabulary **out, uint32_t n, const uint32_t *offset, const uint8_t *text,
                                 const int32_t *end, uint32_t n_end, hone_error *err) {
    static _Atomic uint32_t serial;
    static const uint32_t chars[VOC_SLICES] = {6, 12, 24, UINT32_MAX};
    *out = NULL;
    if (n == 0 || n > TOKENS_MAX) return hone_fail(err, HONE_ERR_ARG, "vocabulary: %u tokens", n);
    for (uint32_t i = 0; i < n; i++)
        if (offset[i] > offset[i + 1]) return hone_fail(err, HONE_ERR_ARG, "vocabulary: offsets run backwards");
    for (uint32_t i = 0; i < n_end; i++)
        if (end[i] < 0 || (uint32_t)end[i] >= n)
            return hone_fail(err, HONE_ERR_ARG, "vocabulary: no end token %d", end[i]);
    entry *e = NULL;
    hone_vocabulary *v = hone_zalloc(1, sizeof(*v));
    if (!v) goto no_memory;
    const size_t n_text = offset[n] - offset[0];
    v->n = n;
    v->words = (n + 31) / 32;
    v->serial = 1 + atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed);
    v->n_end = n_end;
    v->offset = hone_zalloc((size_t)n + 1, sizeof(*v->offset));
    v->text = hone_zalloc(n_text + 1, 1);
    v->same = hone_zalloc(n, sizeof(*v->same));
    v->end = hone_zalloc((size_t)n_end + 1, sizeof(*v->end));
    e = hone_zalloc(n, sizeof(*e));
    if (!v->offset || !v->text || !v->same || !v->end || !e) goto no_memory;
    v->bytes = sizeof(*v) + n_text + (size_t)n * 8 + (size_t)n_end * 4;
    if (n_end) memcpy(v->end, end, n_end * sizeof(*end));
    if (n_text) memcpy(v->text, text + offset[0], n_text);
    size_t n_entry = 0;
    for (uint32_t i = 0; i <= n; i++) v->offset[i] = offset[i] - offset[0];
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t bytes = v->offset[i + 1] - v->offset[i];
        v->same[i] = VOC_NONE;
        if (bytes == 0 || bytes > TOKEN_BYTES_MAX) continue;
        if (bytes > v->depth) v->depth = bytes;
        e[n_entry++] = (entry){.text = v->text + v->offset[i], .n = bytes, .id = i};
    }
    qsort(e, n_entry, sizeof(*e), by_text);
    size_t kept = 0;
    for (size_t i = 0; i < n_entry; i++) { /* same bytes: the first one stands for all */
        if (kept && e[kept - 1].n == e[i].n && memcmp(e[kept - 1].text, e[i].text, e[i].n) == 0) {
            v->same[e[i].id] = v->same[e[kept - 1].id];
            v->same[e[kept - 1].id] = e[i].id;
        } else
            e[kept++] = e[i];
    }
    if (!build(&v->all, e, kept, NULL, &v->bytes)) goto no_memory;
    for (int s = 0; s < VOC_SLICES; s++) {
        voc_slice *slice = &v->slice[s];
        if (!(slice->bits = hone_zalloc(v->words, sizeof(*slice->bits)))) goto no_memory;
        v->bytes += v->words * sizeof(*slice->bits);
        uint32_t most = 0, *without = hone_zalloc(v->words, sizeof(*without));
        if (!without) goto no_memory;
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t bytes = v->offset[i + 1] - v->offset[i];
            uint32_t next;
            const uint32_t count = plain_chars(v->text + v->offset[i], bytes, &next);
            if (bytes == 0 || bytes > TOKEN_BYTES_MAX || count > chars[s]) continue;
            if (next < 0x20 || next == UINT32_MAX) without[i / 32] |= 1u << (i % 32);
            if (next != UINT32_MAX) continue;
            if (count > most) most = count;
            slice->bits[i / 32] |= 1u << (i % 32);
        }
        slice->chars = most;
        const bool built =
            build(&slice->rest, e, kept, slice->bits, &v->bytes) && build(&slice->quiet, e, kept, without, &v->bytes);
        hone_free(without);
        if (!built) goto no_memory;
    }
    for (uint32_t c = 1; c < VOC_COUNTS; c++) {
        if (!(v->upto[c] = hone_zalloc(v->words, sizeof(*v->upto[c])))) goto no_memory;
        v->bytes += v->words * sizeof(*v->upto[c]);
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t bytes = v->offset[i + 1] - v->offset[i];
        uint32_t next;
        const uint32_t count = plain_chars(v->text + v->offset[i], bytes, &next);
        if (bytes == 0 || next != UINT32_MAX) continue;
        for (uint32_t c = count; c < VOC_COUNTS; c++) v->upto[c][i / 32] |= 1u << (i % 32);
    }
    hone_free(e);
    *out = v;
    return HONE_OK;
no_memory:
    hone_free(e);
    hone_vocabulary_close(v);
    return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary of %u tokens", n);
}

void hone_vocabulary_close(hone_vocabulary *v) {
    if (!v) return;
    for (int s = 0; s < VOC_SLICES; s++) {
        hone_free(v->slice[s].bits);
        hone_free(v->slice[s].rest.node);
        hone_free(v->slice[s].quiet.node);
    }
    for (uint32_t c = 1; c < VOC_COUNTS; c++) hone_free(v->upto[c]);
    hone_free(v->all.node);
    hone_free(v->offset);
    hone_free(v->text);
    hone_free(v->same);
    hone_free(v->end);
    hone_free(v);
}

size_t hone_vocabulary_bytes(const hone_vocabulary *v) {
    return v->bytes;
}
uint32_t hone_vocabulary_size(const hone_vocabulary *v) {
    return v->n;
}
