/* bpe.c - byte-pair encoding: a word to symbols, symbols merged best rank first (Sennrich et al., "Neural
 * machine translation of rare words with subword units", ACL 2016).
 *
 * Two alphabets.  Byte-level vocabularies (GPT-2) write every byte as a character; where the pre-tokenizer ends in that
 * mapping, words stay bytes here and the vocabulary is mapped back once.  Otherwise a symbol starts as one character.
 *
 * Speed: most words are met again, so a direct-mapped cache by content answers them; short words merge by scanning a
 * small array, long ones by a heap over a linked list, O(n log n) whatever the text.
 *
 * Order: byte characters, merges, tables, symbols, merging, words. */
#include "model/tokenizer/impl.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* ---- Byte characters: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on ---- */

static bool stands_for_itself(uint32_t b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
}

uint32_t model_byte_char(uint8_t byte) {
    if (stands_for_itself(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    if (byte <= 0xa0) return 0x100u + 33 + (byte - 0x7fu);
    return 0x100u + 67; /* 0xad */
}

int model_char_byte(uint32_t c) {
    if (c < 0x100) return stands_for_itself(c) ? (int)c : -1;
    if (c <= 0x120) return (int)c - 0x100;
    if (c <= 0x142) return (int)c - 0x100 - 33 + 0x7f;
    return c == 0x143 ? 0xad : -1;
}

bool model_byte_unmap(const char *text, size_t n, char *out, size_t *out_n) {
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        const size_t width = hone_utf8_decode(text + i, n - i, &c);
        const int byte = width ? model_char_byte(c) : -1;
        if (byte < 0) return false;
        out[k++] = (char)byte;
        i += width;
    }
    *out_n = k;
    return true;
}

/* ---- Merges ---- */

static uint64_t spread(uint64_t pair) {
    pair *= 0x9e3779b97f4a7c15u;
    return pair ^ pair >> 32;
}

static inline const model_merge *merge_of(const model_bpe *m, int32_t left, int32_t right) {
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (uint64_t i = spread(pair) & m->merge_mask;; i = (i + 1) & m->merge_mask) {
        if (m->merge[i].pair == pair) return &m->merge[i];
        if (m->merge[i].pair == UINT64_MAX) return NULL;
    }
}

hone_status model_bpe_merges(model_bpe *m, const model_merge *list, size_t n, hone_error *err) {
    size_t size = 16;
    while (size < n * 2 + 2) size *= 2; /* never full: a search always meets a free slot */
    m->merge = hone_zalloc(size, sizeof(*m->merge));
    if (!m->merge) return hone_fail(err, HONE_ERR_NOMEM, "no memory for %zu merges", n);
    m->merge_mask = size - 1;
    for (size_t i = 0; i < size; i++) m->merge[i].pair = UINT64_MAX;
    for (size_t k = 0; k < n; k++) {
        uint64_t i = spread(list[k].pair) & m->merge_mask;
        while (m->merge[i].pair != UINT64_MAX && m->merge[i].pair != list[k].pair) i = (i + 1) & m->merge_mask;
        m->merge[i] = list[k]; /* a pair that stands twice has its later rank, as in the authority */
    }
    return HONE_OK;
}

/* ---- Tables ---- */

/* The id of one symbol with the affixes that its place asks for. */
static int32_t symbol_id(const hone_tokenizer *t, const char *text, size_t n, bool first, bool last, hone_buf *room) {
    const model_bpe *m = &t->bpe;
    if ((first || !m->prefix) && (!last || !m->suffix)) return model_dict_get(&t->vocab, text, n);
    hone_buf_clear(room);
    if (!first && m->prefix) hone_buf_add(room, m->prefix, m->prefix_n);
    hone_buf_add(room, text, n);
    if (last && m->suffix) hone_buf_add(room, m->suffix, m->suffix_n);
    return room->failed ? HONE_NO_TOKEN : model_dict_get(&t->vocab, room->data, room->n);
}

static bool ends_in(const hone_piece *p, const char *c, size_t n) {
    return p->n >= n && memcmp(p->text + p->n - n, c, n) == 0;
}
static bool begins_with(const hone_piece *p, const char *c, size_t n) {
    return p->n >= n && memcmp(p->text, c, n) == 0;
}

/* Whether no merge joins something that does not end in U+2581 with something that begins with it.  Then a text may be
 * cut before every such character without changing its ids, and the words of a SentencePiece text come from the cache.
 */
static bool can_cut(const hone_tokenizer *t, const char *mark, size_t n) {
    const model_bpe *m = &t->bpe;
    if (m->bytes || m->prefix || m->suffix || m->ignore_merges) return false;
    if (model_dict_get(&t->vocab, mark, n) == HONE_NO_TOKEN) return false;
    for (uint64_t i = 0; i <= m->merge_mask; i++) {
        if (m->merge[i].pair == UINT64_MAX) continue;
        const hone_piece *left = &t->text[m->merge[i].pair >> 32], *right = &t->text[m->merge[i].pair & UINT32_MAX];
        if (!left->text || !right->text) return false;
        if (begins_with(right, mark, n) && !ends_in(left, mark, n)) return false;
    }
    return true;
}

hone_status model_bpe_finish(hone_tokenizer *t, hone_error *err) {
    model_bpe *m = &t->bpe;
    hone_buf room = {0};
    char name[8];
    if (!m->merge) {
        const hone_status st = model_bpe_merges(m, NULL, 0, err);
        if (st != HONE_OK) return st;
    }
    m->first = hone_zalloc(4, sizeof(*m->first));
    if (!m->first) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary");
    for (unsigned place = 0; place < 4; place++)
        for (unsigned b = 0; b < 256; b++) {
            char utf8[4];
            const size_t n = m->bytes ? hone_utf8_encode(model_byte_char((uint8_t)b), utf8) : hone_utf8_encode(b, utf8);
            m->first[place][b] = symbol_id(t, utf8, n, place & 1, place & 2, &room);
        }
    const bool failed = room.failed;
    hone_buf_free(&room);
    if (failed) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary");
    for (unsigned b = 0; b < 256; b++) {
        snprintf(name, sizeof(name), "<0x%02X>", b);
        m->byte_id[b] = model_dict_get(&t->vocab, name, 6);
    }
    if (m->bytes && m->ignore_merges) {
        for (size_t i = 0; i < t->vocab.n; i++) {
            char stack[256], *bytes = stack;
            size_t n = t->vocab.entry[i].n;
            if (n > sizeof(stack) && !(bytes = hone_zalloc(n, 1)))
                return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary");
            const bool ok = !model_byte_unmap(model_dict_text(&t->vocab, i), n, bytes, &n) ||
                            model_dict_put(&m->words, bytes, n, t->vocab.entry[i].value) >= 0;
            if (bytes != stack) hone_free(bytes);
            if (!ok) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary");
        }
    }
    if (can_cut(t, "\xe2\x96\x81", 3)) {
        memcpy(m->boundary, "\xe2\x96\x81", 3);
        m->boundary_n = 3;
    }
    return HONE_OK;
}

void model_bpe_free(model_bpe *m) {
    hone_free(m->prefix);
    hone_free(m->suffix);
    hone_free(m->merge);
    hone_free(m->first);
    model_dict_free(&m->words);
    *m = (model_bpe){0};
}

/* ---- Symbols ---- */

struct model_symbol {
    int32_t id;
    int32_t prev, next; /* indices, -1 at the ends; used by the heap alone */
    bool gone;
};
typedef struct model_symbol symbol;

static bool add_symbol(model_scratch *s, size_t *n, int32_t id) {
    if (!hone_grow(&s->symbol, &s->symbol_cap, *n, sizeof(*s->symbol))) return false;
    s->symbol[*n] = (symbol){.id = id};
    ++*n;
    return true;
}

static hone_status no_memory(hone_error *err) {
    return hone_fail(err, HONE_ERR_NOMEM, "no memory to encode a text");
}

/* The first symbols of a word.  An unknown character becomes its bytes' tokens, else the unknown token, else nothing.
 */
static hone_status first_symbols(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n,
                                 size_t *n_symbol, hone_error *err) {
    const model_bpe *m = &t->bpe;
    hone_buf room = {0};
    hone_status st = HONE_OK;
    bool unk_waits = false;
    *n_symbol = 0;
    for (size_t i = 0, width; i < n && st == HONE_OK; i += width) {
        const unsigned char c = (unsigned char)text[i];
        uint32_t code;
        width = m->bytes || c < 0x80 ? 1 : hone_utf8_decode(text + i, n - i, &code);
        const bool last = i + width == n;
        const int32_t id = m->bytes || c < 0x80 ? m->first[(i == 0 ? 1u : 0u) | (last ? 2u : 0u)][c]
                                                : symbol_id(t, text + i, width, i == 0, last, &room);
        if (id != HONE_NO_TOKEN) {
            if (unk_waits && !add_symbol(s, n_symbol, m->unk)) st = no_memory(err);
            unk_waits = false;
            if (!add_symbol(s, n_symbol, id)) st = no_memory(err);
            continue;
        }
        if (m->byte_fallback) {
            /* The authority takes the bytes of the symbol with its affixes, and lets a waiting unknown wait on. */
            hone_buf_clear(&room);
            if (i && m->prefix) hone_buf_add(&room, m->prefix, m->prefix_n);
            if (m->bytes) {
                char utf8[4];
                hone_buf_add(&room, utf8, hone_utf8_encode(model_byte_char(c), utf8));
            } else {
                hone_buf_add(&room, text + i, width);
            }
            if (last && m->suffix) hone_buf_add(&room, m->suffix, m->suffix_n);
            bool all = !room.failed;
            for (size_t b = 0; all && b < room.n; b++) all = m->byte_id[(unsigned char)room.data[b]] != HONE_NO_TOKEN;
            for (size_t b = 0; all && b < room.n; b++)
                if (!add_symbol(s, n_symbol, m->byte_id[(unsigned char)room.data[b]])) st = no_memory(err);
            if (all) continue;
        }
        if (m->unk_missing) {
            st = hone_fail(err, HONE_ERR_FORMAT,
                           "a character outside the vocabulary, whose unknown token does not exist");
        } else if (m->unk != HONE_NO_TOKEN) {
            if (unk_waits && !m->fuse_unk && !add_symbol(s, n_symbol, m->unk)) st = no_memory(err);
            unk_waits = true;
        }
    }
    if (st == HONE_OK && unk_waits && !add_symbol(s, n_symbol, m->unk)) st = no_memory(err);
    hone_buf_free(&room);
    return st;
}

/* ---- Merging ---- */

#define SCAN_MAX 48u

/* The leftmost best pair again and again; for few symbols. */
static size_t merge_by_scan(const model_bpe *m, symbol *x, size_t n) {
    uint32_t rank[SCAN_MAX];
    int32_t into[SCAN_MAX];
    for (size_t i = 0; i + 1 < n; i++) {
        const model_merge *p = merge_of(m, x[i].id, x[i + 1].id);
        rank[i] = p ? p->rank : UINT32_MAX;
        into[i] = p ? p->id : 0;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == UINT32_MAX) break;
        x[best].id = into[best];
        for (size_t i = best + 1; i + 1 < n; i++) {
            x[i] = x[i + 1];
            rank[i - 1] = rank[i];
            into[i - 1] = into[i];
        }
        n--;
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const model_merge *p = merge_of(m, x[i].id, x[i + 1].id);
            rank[i] = p ? p->rank : UINT32_MAX;
            into[i] = p ? p->id : 0;
        }
    }
    return n;
}

static bool heap_push(model_scratch *s, uint64_t key) {
    if (!hone_grow(&s->heap, &s->heap_cap, s->heap_n, sizeof(*s->heap))) return false;
    size_t i = s->heap_n++;
    for (; i > 0 && s->heap[(i - 1) / 2] > key; i = (i - 1) / 2) s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = key;
    return true;
}

static uint64_t heap_pop(model_scratch *s) {
    const uint64_t top = s->heap[0], key = s->heap[--s->heap_n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->heap_n; i = child) {
        if (child + 1 < s->heap_n && s->heap[child + 1] < s->heap[child]) child++;
        if (s->heap[child] >= key) break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = key;
    return top;
}

/* The same result as merge_by_scan.  A key is rank << 32 | left symbol; one that no longer describes its pair is stale
 * and dropped when it comes up. */
static bool push_pair(const model_bpe *m, model_scratch *s, int32_t left, int32_t right) {
    const model_merge *p = merge_of(m, s->symbol[left].id, s->symbol[right].id);
    return !p || heap_push(s, (uint64_t)p->rank << 32 | (uint32_t)left);
}

static bool merge_by_heap(const model_bpe *m, model_scratch *s, size_t n) {
    s->heap_n = 0;
    for (size_t i = 0; i < n; i++) {
        s->symbol[i].prev = (int32_t)i - 1;
        s->symbol[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; i + 1 < n; i++)
        if (!push_pair(m, s, (int32_t)i, (int32_t)i + 1)) return false;
    while (s->heap_n) {
        const uint64_t key = heap_pop(s);
        const int32_t at = (int32_t)(uint32_t)key;
        symbol *left = &s->symbol[at];
        if (left->gone || left->next < 0) continue;
        symbol *right = &s->symbol[left->next];
        const model_merge *p = merge_of(m, left->id, right->id);
        if (!p || p->rank != key >> 32) continue;
        left->id = p->id;
        right->gone = true;
        left->next = right->next;
        if (left->next >= 0) s->symbol[left->next].prev = at;
        if (left->prev >= 0 && !push_pair(m, s, left->prev, at)) return false;
        if (left->next >= 0 && !push_pair(m, s, at, left->next)) return false;
    }
    return true;
}

/* ---- Words ---- */

static hone_status merge_word(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, hone_ids *out,
                              hone_error *err) {
    size_t n_symbol;
    hone_status st = first_symbols(t, s, text, n, &n_symbol, err);
    if (st != HONE_OK) return st;
    const bool scan = n_symbol <= SCAN_MAX;
    size_t kept = n_symbol;
    if (scan)
        kept = merge_by_scan(&t->bpe, s->symbol, n_symbol);
    else if (!merge_by_heap(&t->bpe, s, n_symbol))
        return no_memory(err);
    for (size_t i = 0; i < kept; i++)
        if ((scan || !s->symbol[i].gone) && !hone_ids_add(out, s->symbol[i].id)) return no_memory(err);
    return HONE_OK;
}

static hone_status cached_word(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, hone_ids *out,
                               hone_error *err) {
    if (n > MODEL_CACHE_BYTES) return merge_word(t, s, text, n, out, err);
    uint64_t key[MODEL_CACHE_BYTES / 8] = {0};
    memcpy(key, text, n);
    uint64_t h = (key[0] ^ key[1] * 0x9e3779b97f4a7c15u ^ n) * 0xff51afd7ed558ccdu;
    if (n > 16) h ^= (key[2] ^ key[3] * 0x9e3779b97f4a7c15u) * 0xc4ceb9fe1a85ec53u;
    h ^= h >> 32;
    if (!s->cache && !(s->cache = hone_zalloc(MODEL_CACHE_ENTRIES, sizeof(*s->cache)))) return no_memory(err);
    model_cache_entry *e = &s->cache[h % MODEL_CACHE_ENTRIES];
    if (e->n == n && memcmp(e->key, key, MODEL_CACHE_BYTES) == 0) {
        if (out->cap - out->n < MODEL_CACHE_IDS) {
            int32_t *id = hone_realloc(out->id, out->cap * 2 + 64, sizeof(*id));
            if (!id) return no_memory(err);
            out->id = id;
            out->cap = out->cap * 2 + 64;
        }
        memcpy(out->id + out->n, e->id, sizeof(e->id)); /* all of it: a fixed size copies faster */
        out->n += e->n_id;
        return HONE_OK;
    }
    const size_t before = out->n;
    const hone_status st = merge_word(t, s, text, n, out, err);
    const size_t n_id = out->n - before;
    if (st == HONE_OK && n_id <= MODEL_CACHE_IDS) {
        memcpy(e->key, key, sizeof(e->key));
        e->n = (uint32_t)n;
        e->n_id = (uint32_t)n_id;
        if (n_id) memcpy(e->id, out->id + before, n_id * sizeof(*e->id));
    }
    return st;
}

hone_status model_bpe_word(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, hone_ids *out,
                           hone_error *err) {
    const model_bpe *m = &t->bpe;
    if (m->ignore_merges) {
        const int32_t id = model_dict_get(m->bytes ? &m->words : &t->vocab, text, n);
        if (id != HONE_NO_TOKEN) return hone_ids_add(out, id) ? HONE_OK : no_memory(err);
    }
    if (!m->boundary_n) return cached_word(t, s, text, n, out, err);
    size_t from = 0;
    for (size_t at = 0; at < n;) { /* cut before a mark that does not follow a mark */
        const char *mark = memmem(text + at, n - at, m->boundary, m->boundary_n);
        const size_t cut = mark ? (size_t)(mark - text) : n;
        if (cut > from && (cut == n || cut != at || at == 0)) {
            const hone_status st = cached_word(t, s, text + from, cut - from, out, err);
            if (st != HONE_OK) return st;
            from = cut;
        }
        at = cut + m->boundary_n;
    }
    return from < n ? cached_word(t, s, text + from, n - from, out, err) : HONE_OK;
}
