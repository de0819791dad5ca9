/* added.c - added tokens: registered as the authority registers them, found in a text before anything else.
 *
 * Tokens that are not normalized are looked for in the raw text, the others, in their normalized form, in the
 * normalized text between those.  The leftmost match wins, of those the longest.
 *
 * Order: the trie, finding, registering. */
#include "model/tokenizer/impl.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* ---- The trie ---- */

static uint32_t child_of(const model_matcher *m, uint32_t node, uint8_t byte) {
    if (node == 0) return m->first[byte];
    uint32_t c = m->node[node].child;
    while (c && m->node[c].byte != byte) c = m->node[c].next;
    return c;
}

static uint32_t new_node(model_matcher *m, uint8_t byte) {
    if (m->n >= UINT32_MAX - 1 || !hone_grow(&m->node, &m->cap, m->n, sizeof(*m->node))) return 0;
    m->node[m->n] = (model_trie_node){.added = -1, .byte = byte};
    return (uint32_t)m->n++;
}

hone_status model_matcher_add(model_matcher *m, const char *text, size_t n, int32_t added, hone_error *err) {
    if (n == 0) return HONE_OK; /* a normalizer left nothing of it: nothing can match */
    if (m->n == 0) {
        new_node(m, 0); /* the root, number 0 */
        if (m->n == 0) return hone_fail(err, HONE_ERR_NOMEM, "no memory for the added tokens");
    }
    uint32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t next = child_of(m, at, (uint8_t)text[i]);
        if (!next) {
            if (!(next = new_node(m, (uint8_t)text[i])))
                return hone_fail(err, HONE_ERR_NOMEM, "no memory for the added tokens");
            if (at == 0) {
                m->first[(uint8_t)text[i]] = next;
            } else {
                m->node[next].next = m->node[at].child;
                m->node[at].child = next;
            }
        }
        at = next;
    }
    if (m->node[at].added < 0) m->node[at].added = added; /* of two that normalize alike, the first */
    return HONE_OK;
}

void model_matcher_free(model_matcher *m) {
    hone_free(m->node);
    *m = (model_matcher){0};
}

/* ---- Finding ---- */

static bool word_before(const char *text, size_t at) {
    uint32_t c = 0;
    size_t from = at - 1;
    while (from > 0 && ((unsigned char)text[from] & 0xc0) == 0x80) from--;
    return hone_utf8_decode(text + from, at - from, &c) && model_is_word(c);
}

static bool word_after(const char *text, size_t n, size_t at) {
    uint32_t c = 0;
    return hone_utf8_decode(text + at, n - at, &c) && model_is_word(c);
}

static size_t spaces_before(const char *text, size_t at) {
    while (at > 0) {
        uint32_t c = 0;
        size_t from = at - 1;
        while (from > 0 && ((unsigned char)text[from] & 0xc0) == 0x80) from--;
        if (!hone_utf8_decode(text + from, at - from, &c) || !model_is_space(c)) break;
        at = from;
    }
    return at;
}

static size_t spaces_after(const char *text, size_t n, size_t at) {
    while (at < n) {
        uint32_t c = 0;
        const size_t width = hone_utf8_decode(text + at, n - at, &c);
        if (!width || !model_is_space(c)) break;
        at += width;
    }
    return at;
}

hone_status model_added_run(const hone_tokenizer *t, const model_matcher *m, bool plain_special, const char *text,
                            size_t n, model_added_fn *fn, void *arg, hone_error *err) {
    size_t given = 0; /* where the next piece starts */
    hone_status st;
    for (size_t i = 0; m->n && i < n;) {
        uint32_t node = m->first[(uint8_t)text[i]];
        int32_t found = -1;
        size_t end = i;
        for (size_t at = i; node;) {
            at++;
            if (m->node[node].added >= 0) {
                found = m->node[node].added;
                end = at;
            }
            node = at < n ? child_of(m, node, (uint8_t)text[at]) : 0;
        }
        if (found < 0) {
            i++;
            continue;
        }
        const model_added *a = &t->added[found];
        size_t start = i, stop = end;
        i = end;
        if (plain_special && a->special) continue;
        if (a->single_word && ((start > 0 && word_before(text, start)) || (stop < n && word_after(text, n, stop))))
            continue;
        if (a->lstrip) {
            start = spaces_before(text, start);
            if (start < given) start = given;
        }
        if (a->rstrip) stop = spaces_after(text, n, stop);
        if (given < start && (st = fn(arg, -1, given, start, err)) != HONE_OK) return st;
        if ((st = fn(arg, found, start, stop, err)) != HONE_OK) return st;
        given = stop;
    }
    return given < n ? fn(arg, -1, given, n, err) : HONE_OK;
}

/* ---- Registering ---- */

/* Takes the contents out of list (they are NULL there afterwards); on error t frees what it took. */
hone_status model_added_set(hone_tokenizer *t, model_added *list, size_t n, hone_error *err) {
    int64_t largest = -1; /* of the ids given so far */
    t->added = hone_zalloc(n, sizeof(*t->added));
    if (!t->added) return hone_fail(err, HONE_ERR_NOMEM, "no memory for %zu added tokens", n);
    for (size_t i = 0; i < n; i++) {
        model_added *a = &list[i];
        if (a->n == 0) continue;
        if (a->n > MODEL_ADDED_BYTES_MAX)
            return hone_fail(err, HONE_ERR_LIMIT, "added token %zu has %zu bytes (at most %u)", i, a->n,
                             MODEL_ADDED_BYTES_MAX);
        int32_t at = model_dict_get(&t->added_of, a->content, a->n);
        if (at < 0) {
            at = (int32_t)t->n_added;
            if (model_dict_put(&t->added_of, a->content, a->n, at) < 0)
                return hone_fail(err, HONE_ERR_NOMEM, "no memory for %zu added tokens", n);
            t->n_added++;
        } else { /* named twice: the later one holds, special stays special */
            a->special |= t->added[at].special;
            hone_free(t->added[at].content);
        }
        /* The vocabulary's id, else the next free one: the number in the file is only a check, in the authority too. */
        a->id = model_dict_get(&t->vocab, a->content, a->n);
        if (a->id == HONE_NO_TOKEN) {
            if (t->added[at].content)
                a->id = t->added[at].id;
            else
                a->id = (int32_t)(largest >= t->vocab_size || (t->vocab_size == 0 && largest >= 0) ? largest + 1
                                                                                                   : t->vocab_size);
        }
        if (a->id > largest) largest = a->id;
        t->added[at] = *a;
        a->content = NULL;
    }
    return HONE_OK;
}
