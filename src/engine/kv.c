/* kv.c - the slab, its free stack and the tables; the contract is in kv.h.
 * Order: sizes, open and close, sequences, self-check. */
#include "engine/kv.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

/* Invariants, checked by hone_kv_check():
 *   every page is in the free stack or belongs to exactly one sequence
 *   every sequence is in the free stack of sequences or in use, and one not in use has no pages
 *   the pointers of a sequence are those of its page ids */
typedef struct {
    uint32_t *id;   /* [cap], n in use */
    uint8_t **page; /* [L][cap] */
    uint32_t n;
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
    uint8_t *slab;       /* [n_page][L][layer_bytes] */
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
        !hone_add_size(&s->tables, s->tables, (size_t)s->n_page * sizeof(uint32_t)))
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

hone_status hone_kv_extend(hone_kv *kv, uint32_t seq, uint32_t length) {
    sequence *s = &kv->seq[seq];
    const uint32_t want = hone_kv_pages_for(length);
    if (length > kv->cfg.max_length) return HONE_ERR_ARG;
    if (want <= s->n) return HONE_OK;
    if (want > kv->cap || want - s->n > kv->n_free) return HONE_ERR_FULL;
    while (s->n < want) { /* from here on nothing can fail */
        const uint32_t id = kv->free_page[--kv->n_free];
        uint8_t *page = kv->slab + (size_t)id * kv->page_bytes;
        for (uint32_t l = 0; l < kv->n_layer; l++) s->page[(size_t)l * kv->cap + s->n] = page + l * kv->layer_bytes;
        s->id[s->n++] = id;
    }
    return HONE_OK;
}

void hone_kv_end(hone_kv *kv, uint32_t seq) {
    sequence *s = &kv->seq[seq];
    assert(s->in_use);
    while (s->n) kv->free_page[kv->n_free++] = s->id[--s->n];
    s->in_use = false;
    kv->free_seq[kv->n_free_seq++] = seq;
}

hone_seq_view hone_kv_view(const hone_kv *kv, uint32_t seq) {
    return (hone_seq_view){.page = kv->seq[seq].page, .cap = kv->cap};
}

uint32_t hone_kv_free_pages(const hone_kv *kv) {
    return kv->n_free;
}
uint32_t hone_kv_total_pages(const hone_kv *kv) {
    return kv->n_page;
}

/* --- self-check: quadratic in nothing but memory; owners are counted by walking, as no mark may be allocated --- */

const char *hone_kv_check(const hone_kv *kv) {
    uint64_t owned = 0, sum = 0;
    uint32_t in_use = 0;
    if (kv->n_free > kv->n_page || kv->n_free_seq > kv->cfg.max_sequences) return "a free stack is too high";
    for (uint32_t i = 0; i < kv->n_free; i++) {
        if (kv->free_page[i] >= kv->n_page) return "a free page id is out of range";
        sum += (uint64_t)kv->free_page[i] + 1;
    }
    for (uint32_t i = 0; i < kv->cfg.max_sequences; i++) {
        const sequence *s = &kv->seq[i];
        in_use += s->in_use;
        if (!s->in_use && s->n) return "a sequence that ended has pages";
        if (s->n > kv->cap) return "a sequence has too many pages";
        owned += s->n;
        for (uint32_t j = 0; j < s->n; j++) {
            if (s->id[j] >= kv->n_page) return "a page id is out of range";
            sum += (uint64_t)s->id[j] + 1;
            for (uint32_t l = 0; l < kv->n_layer; l++)
                if (s->page[(size_t)l * kv->cap + j] != kv->slab + s->id[j] * kv->page_bytes + l * kv->layer_bytes)
                    return "a pointer is not that of its page";
        }
    }
    if (in_use + kv->n_free_seq != kv->cfg.max_sequences) return "a sequence was lost";
    if (owned + kv->n_free != kv->n_page) return "a page was lost";
    /* a page given out twice means another is missing: with the counts right, the sum of ids tells nearly always */
    if (sum != (uint64_t)kv->n_page * (kv->n_page + 1) / 2) return "a page was given out twice";
    return NULL;
}
