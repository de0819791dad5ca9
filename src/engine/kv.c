/* kv.c - the slab, its free stack and the tables; the contract is in kv.h.
 * Order: sizes, open and close, sequences, sharing, self-check. */
#include "engine/kv.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

/* Invariants, checked by hone_kv_check():
 *   every page is in the free stack, in the tree, or private to exactly one sequence
 *   users[] counts the sequences that hold a page
 *   the shared pages of a sequence are a path of the tree from its root
 *   every sequence is in the free stack of sequences or in use, and one not in use has no pages
 *   the pointers of a sequence are those of its page ids */
typedef struct {
    uint32_t *id;         /* [cap], n in use */
    uint8_t **page;       /* [L][cap] */
    uint32_t n, n_shared; /* the first n_shared are in the tree */
    bool in_use;
} sequence;

struct hone_kv {
    hone_kv_config cfg;
    uint32_t n_layer, cap; /* cap: pages of one sequence at most */
    size_t layer_bytes, page_bytes;
    uint32_t n_page, n_free, n_free_seq;
    uint32_t *free_page; /* [n_page], a stack: the warmest page goes out first */
    uint32_t *free_seq;  /* [max_sequences], a stack */
    sequence *seq;       /* [max_sequences] */
    uint32_t *ids;       /* [max_sequences][cap] */
    uint8_t **pointers;  /* [max_sequences][L][cap] */
    uint32_t *users;     /* [n_page] sequences that hold it */
    uint32_t *mark;      /* [n_page] scratch of the self-check */
    hone_prefix *prefix;
    uint8_t *slab; /* [n_page][L][layer_bytes] */
};

/* --- sizes --- */

uint32_t hone_kv_pages_for(uint32_t length) {
    return length / HONE_KV_PAGE + (length % HONE_KV_PAGE != 0);
}

static size_t layer_bytes_of(const hone_model *model, hone_kv_type type) {
    const hone_arch *a = &model->arch;
    const size_t bytes = model->kernels->kv_page_bytes(type, a->n_kv_head, a->head_dim);
    return bytes > SIZE_MAX - 63 ? 0 : (bytes + 63) / 64 * 64;
}

size_t hone_kv_page_bytes(const hone_model *model, hone_kv_type type) {
    size_t bytes;
    return hone_mul_size(&bytes, layer_bytes_of(model, type), model->arch.n_layer) ? bytes : 0;
}

typedef struct {
    uint32_t n_page, cap;
    size_t slab, tables;
} sizes;

/* The dimensions come from a model file: every product is checked. */
static bool measure(sizes *s, const hone_model *model, const hone_kv_config *cfg) {
    const size_t page = hone_kv_page_bytes(model, cfg->type);
    if (page == 0 || cfg->max_sequences == 0 || cfg->max_length == 0) return false;
    const uint64_t n = cfg->budget_bytes / page;
    if (n == 0 || n >= UINT32_MAX) return false;
    s->n_page = (uint32_t)n;
    s->cap = hone_kv_pages_for(cfg->max_length);
    if (s->cap > s->n_page) s->cap = s->n_page;
    size_t entries;
    const size_t per_entry = sizeof(uint32_t) + model->arch.n_layer * sizeof(uint8_t *);
    if (!hone_mul_size(&s->slab, s->n_page, page) || !hone_mul_size(&entries, cfg->max_sequences, s->cap) ||
        !hone_mul_size(&s->tables, entries, per_entry) ||
        !hone_add_size(&s->tables, s->tables, (size_t)cfg->max_sequences * (sizeof(sequence) + sizeof(uint32_t))) ||
        !hone_add_size(&s->tables, s->tables, (size_t)s->n_page * 3 * sizeof(uint32_t)) ||
        !hone_add_size(&s->tables, s->tables, (size_t)hone_prefix_plan(s->n_page)))
        return false;
    return true;
}

uint64_t hone_kv_plan(const hone_model *model, const hone_kv_config *cfg) {
    sizes s;
    size_t total;
    return measure(&s, model, cfg) && hone_add_size(&total, s.slab, s.tables) ? total : 0;
}

/* --- open and close --- */

hone_status hone_kv_open(hone_kv **out, const hone_model *model, const hone_kv_config *cfg, hone_error *err) {
    *out = NULL;
    sizes s;
    if (!measure(&s, model, cfg))
        return hone_fail(err, HONE_ERR_ARG, "kv: %llu bytes for %u sequences of %u positions; one page of %u is %zu",
                         (unsigned long long)cfg->budget_bytes, cfg->max_sequences, cfg->max_length, HONE_KV_PAGE,
                         hone_kv_page_bytes(model, cfg->type));
    hone_kv *kv = hone_zalloc(1, sizeof(*kv));
    if (!kv) goto fail;
    kv->cfg = *cfg;
    kv->n_layer = model->arch.n_layer;
    kv->cap = s.cap;
    kv->layer_bytes = layer_bytes_of(model, cfg->type);
    kv->page_bytes = hone_kv_page_bytes(model, cfg->type);
    kv->n_page = kv->n_free = s.n_page;
    kv->n_free_seq = cfg->max_sequences;
    const size_t entries = (size_t)cfg->max_sequences * s.cap;
    if (!(kv->free_page = hone_zalloc(s.n_page, sizeof(*kv->free_page)))) goto fail;
    if (!(kv->free_seq = hone_zalloc(cfg->max_sequences, sizeof(*kv->free_seq)))) goto fail;
    if (!(kv->seq = hone_zalloc(cfg->max_sequences, sizeof(*kv->seq)))) goto fail;
    if (!(kv->ids = hone_zalloc(entries, sizeof(*kv->ids)))) goto fail;
    if (!(kv->pointers = hone_zalloc(entries, kv->n_layer * sizeof(*kv->pointers)))) goto fail;
    if (!(kv->users = hone_zalloc(s.n_page, sizeof(*kv->users)))) goto fail;
    if (!(kv->mark = hone_zalloc(s.n_page, sizeof(*kv->mark)))) goto fail;
    const uint32_t pins = (uint32_t)((uint64_t)s.n_page * (cfg->pin_percent < 100 ? cfg->pin_percent : 100) / 100);
    if (hone_prefix_open(&kv->prefix, s.n_page, pins, err) != HONE_OK) goto fail;
    if (!(kv->slab = hone_alloc_aligned(s.slab, 1))) goto fail;
    for (uint32_t i = 0; i < s.n_page; i++) kv->free_page[i] = s.n_page - 1 - i; /* page 0 on top */
    for (uint32_t i = 0; i < cfg->max_sequences; i++) {
        kv->free_seq[i] = cfg->max_sequences - 1 - i;
        kv->seq[i].id = kv->ids + (size_t)i * s.cap;
        kv->seq[i].page = kv->pointers + (size_t)i * s.cap * kv->n_layer;
    }
    *out = kv;
    return HONE_OK;
fail:
    hone_kv_close(kv); /* accepts a half-built one: what is unset is NULL */
    return hone_fail(err, HONE_ERR_NOMEM, "kv: no memory for %u pages (%zu bytes)", s.n_page, s.slab);
}

void hone_kv_close(hone_kv *kv) {
    if (!kv) return;
    hone_free(kv->slab);
    hone_prefix_close(kv->prefix);
    hone_free(kv->mark);
    hone_free(kv->users);
    hone_free(kv->pointers);
    hone_free(kv->ids);
    hone_free(kv->seq);
    hone_free(kv->free_seq);
    hone_free(kv->free_page);
    hone_free(kv);
}

/* --- sequences --- */

uint32_t hone_kv_begin(hone_kv *kv) {
    if (kv->n_free_seq == 0) return HONE_KV_NONE;
    const uint32_t seq = kv->free_seq[--kv->n_free_seq];
    kv->seq[seq].in_use = true;
    return seq;
}

/* Page number `at` of the sequence is page id now. */
static void place(hone_kv *kv, sequence *s, uint32_t at, uint32_t id) {
    uint8_t *page = kv->slab + (size_t)id * kv->page_bytes;
    for (uint32_t l = 0; l < kv->n_layer; l++) s->page[(size_t)l * kv->cap + at] = page + l * kv->layer_bytes;
    s->id[at] = id;
}

static void give_back(hone_kv *kv, uint32_t id) {
    kv->users[id] = 0;
    kv->free_page[kv->n_free++] = id;
}

hone_status hone_kv_extend(hone_kv *kv, uint32_t seq, uint32_t length) {
    sequence *s = &kv->seq[seq];
    const uint32_t want = hone_kv_pages_for(length);
    if (length > kv->cfg.max_length) return HONE_ERR_ARG;
    if (want <= s->n) return HONE_OK;
    if (want > kv->cap || want - s->n > hone_kv_free_pages(kv)) return HONE_ERR_FULL;
    while (s->n < want) { /* from here on nothing can fail */
        if (kv->n_free == 0) kv->free_page[kv->n_free++] = hone_prefix_evict(kv->prefix);
        const uint32_t id = kv->free_page[--kv->n_free];
        kv->users[id] = 1;
        place(kv, s, s->n++, id);
    }
    return HONE_OK;
}

void hone_kv_end(hone_kv *kv, uint32_t seq) {
    sequence *s = &kv->seq[seq];
    assert(s->in_use);
    while (s->n > s->n_shared) give_back(kv, s->id[--s->n]);
    while (s->n) { /* deepest first, as the tree's order wants it */
        const uint32_t id = s->id[--s->n];
        if (--kv->users[id] == 0) hone_prefix_idle(kv->prefix, id);
    }
    s->n_shared = 0;
    s->in_use = false;
    kv->free_seq[kv->n_free_seq++] = seq;
}

hone_seq_view hone_kv_view(const hone_kv *kv, uint32_t seq) {
    return (hone_seq_view){.page = kv->seq[seq].page, .cap = kv->cap};
}

uint32_t hone_kv_free_pages(const hone_kv *kv) {
    return kv->n_free + hone_prefix_idle_pages(kv->prefix);
}
uint32_t hone_kv_cached_pages(const hone_kv *kv) {
    return hone_prefix_idle_pages(kv->prefix) + hone_prefix_idle_pins(kv->prefix);
}
uint32_t hone_kv_idle_pins(const hone_kv *kv) {
    return hone_prefix_idle_pins(kv->prefix);
}
uint32_t hone_kv_total_pages(const hone_kv *kv) {
    return kv->n_page;
}

/* --- sharing --- */

static uint32_t last_shared(const sequence *s) {
    return s->n_shared ? s->id[s->n_shared - 1] : HONE_PREFIX_NONE;
}

static void use(hone_kv *kv, uint32_t id) {
    if (kv->users[id]++ == 0) hone_prefix_use(kv->prefix, id);
}

uint32_t hone_kv_match(const hone_kv *kv, const hone_prefix_path *path, uint32_t limit) {
    uint32_t n = 0;
    for (uint32_t id = HONE_PREFIX_NONE; n < kv->cap && n < limit / HONE_KV_PAGE; n++)
        if ((id = hone_prefix_find(kv->prefix, id, path, n)) == HONE_PREFIX_NONE) break;
    return n * HONE_KV_PAGE;
}

uint32_t hone_kv_share(hone_kv *kv, uint32_t seq, const hone_prefix_path *path, uint32_t limit) {
    sequence *s = &kv->seq[seq];
    while (s->n_shared < kv->cap && s->n_shared < limit / HONE_KV_PAGE) {
        const uint32_t at = s->n_shared, id = hone_prefix_find(kv->prefix, last_shared(s), path, at);
        if (id == HONE_PREFIX_NONE) break;
        use(kv, id);
        if (at < s->n)
            give_back(kv, s->id[at]);
        else
            s->n++;
        place(kv, s, at, id);
        s->n_shared++;
    }
    return s->n_shared * HONE_KV_PAGE;
}

void hone_kv_commit(hone_kv *kv, uint32_t seq, const hone_prefix_path *path, uint32_t n) {
    sequence *s = &kv->seq[seq];
    for (; s->n_shared < s->n && s->n_shared < n / HONE_KV_PAGE; s->n_shared++) {
        const uint32_t at = s->n_shared, parent = last_shared(s), own = s->id[at];
        const uint32_t id = hone_prefix_find(kv->prefix, parent, path, at);
        if (id == HONE_PREFIX_NONE) {
            hone_prefix_insert(kv->prefix, own, parent, path, at);
            continue;
        }
        use(kv, id);
        give_back(kv, own);
        place(kv, s, at, id);
    }
}

void hone_kv_pin(hone_kv *kv, uint32_t seq, uint32_t n) {
    const sequence *s = &kv->seq[seq];
    for (uint32_t i = 0; i < s->n_shared && i < n / HONE_KV_PAGE; i++)
        if (!hone_prefix_pin(kv->prefix, s->id[i])) return;
}

bool hone_kv_unpin(hone_kv *kv) {
    return hone_prefix_unpin(kv->prefix);
}

/* --- self-check: users are counted anew in mark[] --- */

static const char *check_sequence(const hone_kv *kv, const sequence *s) {
    if (!s->in_use && s->n) return "a sequence that ended has pages";
    if (s->n > kv->cap || s->n_shared > s->n) return "a sequence has too many pages";
    for (uint32_t j = 0; j < s->n; j++) {
        const uint32_t id = s->id[j];
        if (id >= kv->n_page) return "a page id is out of range";
        kv->mark[id]++;
        if (hone_prefix_has(kv->prefix, id) != (j < s->n_shared)) return "a page is both private and shared";
        if (j < s->n_shared && hone_prefix_parent(kv->prefix, id) != (j ? s->id[j - 1] : HONE_PREFIX_NONE))
            return "shared pages are no path of the tree";
        for (uint32_t l = 0; l < kv->n_layer; l++)
            if (s->page[(size_t)l * kv->cap + j] != kv->slab + id * kv->page_bytes + l * kv->layer_bytes)
                return "a pointer is not that of its page";
    }
    return NULL;
}

const char *hone_kv_check(const hone_kv *kv) {
    uint32_t in_use = 0, private = 0;
    if (kv->n_free > kv->n_page || kv->n_free_seq > kv->cfg.max_sequences) return "a free stack is too high";
    memset(kv->mark, 0, kv->n_page * sizeof(*kv->mark));
    for (uint32_t i = 0; i < kv->cfg.max_sequences; i++) {
        const char *broken = check_sequence(kv, &kv->seq[i]);
        if (broken) return broken;
        in_use += kv->seq[i].in_use;
        private += kv->seq[i].n - kv->seq[i].n_shared;
    }
    if (in_use + kv->n_free_seq != kv->cfg.max_sequences) return "a sequence was lost";
    for (uint32_t i = 0; i < kv->n_page; i++) {
        if (kv->mark[i] != kv->users[i]) return "users of a page are miscounted";
        if (kv->users[i] > 1 && !hone_prefix_has(kv->prefix, i)) return "a page was given out twice";
    }
    for (uint32_t i = 0; i < kv->n_free; i++) {
        const uint32_t id = kv->free_page[i];
        if (id >= kv->n_page) return "a free page id is out of range";
        if (kv->mark[id]++ || hone_prefix_has(kv->prefix, id)) return "a free page has an owner";
    }
    if (private + kv->n_free + hone_prefix_pages(kv->prefix) != kv->n_page) return "a page was lost";
    return hone_prefix_check(kv->prefix, kv->users);
}
