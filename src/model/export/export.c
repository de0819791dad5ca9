/* export.c - the tensors of a model into a GGUF file of another format; the contract is in export.h.
 *
 * A target is one tensor of the file: a tensor of the source (GGUF), or one slot or several fused ones (folders).
 * Targets are named first, with their formats; then their rows are widened, encoded in parallel and written in order.
 *
 * Order: formats, targets from a GGUF file, targets from a folder, rows, all of it. */
#include "model/export/export.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "kernel/encode.h"
#include "model/export/export_internal.h"

#define CHUNK_ROWS 64u
#define MAX_PARTS 3u

typedef struct {
    char name[256];
    hone_dtype dtype;
    uint32_t n_dim;
    uint64_t rows, k;
    const hone_tensor *tensor;         /* from a GGUF file; NULL: slots */
    const model_slot *slot[MAX_PARTS]; /* fused ones in order of their rows */
    uint32_t n_slot;
    uint32_t permute;  /* head width whose rows go pair by pair; 0: rows stay */
    float add;         /* to every element: Gemma's norms are 1 + w in GGUF files */
    const float *made; /* numbers that stand in no tensor */
} target;

typedef struct {
    const hone_quantize_options *options;
    target *target; /* [n_target] */
    size_t n_target, cap;
    hone_quantize_report *report;
    float factors[HONE_MAX_ROT / 2];
    hone_error *err;
} exporter;

/* ---- formats ---- */

static hone_dtype for_width(hone_dtype t, uint64_t k) {
    if (k % hone_dtype_block(t) == 0) return t;
    t = t == HONE_Q4_K ? HONE_Q5_0 : t == HONE_Q5_K ? HONE_Q5_1 : t == HONE_Q6_K ? HONE_Q8_0 : t;
    return k % hone_dtype_block(t) == 0 ? t : HONE_F16;
}

/* The head decides among all tokens: it gets six bits at least. */
static hone_dtype matrix_format(const exporter *x, uint64_t k, bool head) {
    hone_dtype t = x->options->type;
    if (head && !x->options->pure && t >= HONE_Q4_0 && t != HONE_Q8_0) t = HONE_Q6_K;
    return for_width(t, k);
}

static target *new_target(exporter *x, const char *name) {
    if (!hone_grow(&x->target, &x->cap, x->n_target + 1, sizeof(*x->target))) {
        hone_fail(x->err, HONE_ERR_NOMEM, "no memory for the list of tensors");
        return NULL;
    }
    target *t = &x->target[x->n_target++];
    memset(t, 0, sizeof(*t));
    snprintf(t->name, sizeof(t->name), "%s", name);
    return t;
}

static hone_status refuse_quantised(const hone_tensor *t, hone_error *err) {
    return hone_fail(
        err, HONE_ERR_ARG,
        "tensor %.200s is %s already: quantising twice loses more than either step, take the original weights", t->name,
        hone_dtype_name(t->dtype));
}

/* ---- targets from a GGUF file ---- */

static hone_status targets_of_gguf(exporter *x, const hone_weights *w, bool tied) {
    for (size_t i = 0; i < hone_weights_count(w); i++) {
        const hone_tensor *s = hone_weights_at(w, i);
        if (hone_dtype_block(s->dtype) != 1) return refuse_quantised(s, x->err);
        if (s->n_dim != 1 && s->n_dim != 2)
            return hone_fail(x->err, HONE_ERR_UNSUPPORTED, "tensor %.200s has %u dimensions", s->name, s->n_dim);
        target *t = new_target(x, s->name);
        if (!t) return HONE_ERR_NOMEM;
        const bool head = strcmp(s->name, tied ? "token_embd.weight" : "output.weight") == 0;
        t->tensor = s;
        t->n_dim = s->n_dim;
        t->rows = s->n_dim == 2 ? s->shape[0] : 1;
        t->k = s->shape[s->n_dim - 1];
        t->dtype = s->n_dim == 2 ? matrix_format(x, t->k, head) : HONE_F32;
    }
    return HONE_OK;
}

/* ---- targets from a folder ---- */

static hone_status add_slot(exporter *x, const model_slot *s, const hone_model *m, const hone_layout *layout) {
    model_stored p;
    const hone_status st = model_stored_name(s, layout, &p, x->err);
    if (st) return st;
    if (!*p.name) return hone_fail(x->err, HONE_ERR_UNSUPPORTED, "GGUF has no name for %s of this family", s->name);
    if (hone_dtype_block(s->tensor->dtype) != 1) return refuse_quantised(s->tensor, x->err);
    if (p.part != HONE_PART_ALL) /* parts come in order: q, k, v and gate, up */
        for (size_t i = 0; i < x->n_target; i++)
            if (strcmp(x->target[i].name, p.name) == 0 && x->target[i].n_slot < MAX_PARTS) {
                x->target[i].slot[x->target[i].n_slot++] = s;
                x->target[i].rows += s->n;
                return HONE_OK;
            }
    target *t = new_target(x, p.name);
    if (!t) return HONE_ERR_NOMEM;
    const bool head = m->arch.tied ? s->weight == &m->embed : s->weight == &m->head.w;
    t->slot[0] = s;
    t->n_slot = 1;
    t->n_dim = s->weight ? 2 : 1;
    t->rows = s->weight ? s->n : 1;
    t->k = s->weight ? s->k : s->n;
    t->dtype = s->weight ? matrix_format(x, t->k, head) : HONE_F32;
    t->permute = p.permuted ? m->arch.head_dim : 0;
    t->add = m->arch.norm_plus_one && strstr(s->name, "norm.weight") ? 1.0f : 0.0f;
    return HONE_OK;
}

/* What a GGUF file with these keys would say: the layout to write by, and whether it is the same model. */
static hone_status try_keys(const hone_arch *arch, const char *name, hone_layout *layout, const char **differs,
                            hone_error *err) {
    hone_gguf_writer *w = NULL;
    hone_gguf *g = NULL;
    hone_arch *back = hone_zalloc(1, sizeof(*back));
    float buffer[HONE_MAX_ROT / 2];
    export_factors factors[2];
    hone_status st = back ? hone_gguf_writer_open(&w, NULL, err) : hone_fail(err, HONE_ERR_NOMEM, "no memory");
    if (st == HONE_OK) {
        export_keys(w, arch, name);
        const uint64_t rows[2] = {arch->vocab, 1}; /* the reader takes the vocabulary's size from it */
        hone_gguf_put_tensor(w, "token_embd.weight", HONE_F32, 2, rows);
        if (!arch->tied) hone_gguf_put_tensor(w, "output.weight", HONE_F32, 2, rows);
        const uint32_t n = export_rope_tensors(arch, buffer, factors);
        for (uint32_t i = 0; i < n; i++)
            hone_gguf_put_tensor(w, factors[i].name, HONE_F32, 1, (const uint64_t[]){factors[i].n});
        hone_gguf_writer_begin(w);
        const hone_buf *head = hone_gguf_writer_head(w);
        st = head ? hone_gguf_open(&g, head->data, head->n, "keys", err) : hone_fail(err, HONE_ERR_NOMEM, "no memory");
    }
    for (uint32_t i = 0; st == HONE_OK && i < export_rope_tensors(arch, buffer, factors); i++) {
        const hone_gguf_tensor *t = hone_gguf_tensor_find(g, factors[i].name);
        memcpy((void *)(uintptr_t)t->data, factors[i].value, factors[i].n * sizeof(float)); /* into our own buffer */
    }
    if (st == HONE_OK) st = hone_family_from_gguf(back, layout, g, err);
    if (st == HONE_OK) *differs = export_differs(arch, back);
    hone_gguf_close(g);
    hone_gguf_writer_close(w);
    hone_free(back);
    return st;
}

/* The family's own name in GGUF, else plain Llama's, where that says the same. */
static hone_status choose_name(const hone_arch *arch, const char **name, hone_layout *layout, hone_error *err) {
    const char *candidates[2] = {NULL, "llama"}, *differs = NULL;
    for (const hone_family *const *f = hone_family_all(); *f; f++)
        if (strcmp((*f)->name, arch->family) == 0 && (*f)->from_gguf && (*f)->gguf) candidates[0] = (*f)->gguf[0];
    for (int i = 0; i < 2; i++) {
        if (!candidates[i]) continue;
        const hone_status st = try_keys(arch, candidates[i], layout, &differs, err);
        if (st != HONE_OK) return st;
        if (!differs) {
            *name = candidates[i];
            return HONE_OK;
        }
        if (i == 0) break; /* its own name says something else: plain Llama would be wrong */
    }
    return hone_fail(err, HONE_ERR_UNSUPPORTED,
                     "a model of family %s cannot be written to GGUF: its keys do not express %s", arch->family,
                     differs);
}

static hone_status targets_of_folder(exporter *x, const hone_model *m, const hone_layout *layout) {
    const model_owner *o = m->owner;
    hone_status st = HONE_OK;
    for (size_t i = 0; st == HONE_OK && i < o->n_slot; i++)
        if (o->slot[i].present) st = add_slot(x, &o->slot[i], m, layout);
    export_factors factors[2];
    const uint32_t n = st == HONE_OK ? export_rope_tensors(&m->arch, x->factors, factors) : 0;
    for (uint32_t i = 0; i < n; i++) {
        target *t = new_target(x, factors[i].name);
        if (!t) return HONE_ERR_NOMEM;
        t->made = factors[i].value;
        t->n_dim = 1;
        t->rows = 1;
        t->k = factors[i].n;
        t->dtype = HONE_F32;
    }
    return st;
}

/* ---- rows ---- */

/* Row r of the file's tensor, widened. */
static void source_row(const target *t, uint64_t r, float *out) {
    if (t->made) {
        memcpy(out, t->made, t->k * sizeof(*out));
        return;
    }
    if (t->tensor) {
        size_t row_bytes = 0;
        (void)hone_dtype_row_bytes(t->tensor->dtype, t->k, &row_bytes);
        hone_dtype_widen(t->tensor->dtype, (const uint8_t *)t->tensor->data + r * row_bytes, out, t->k);
        return;
    }
    if (t->n_dim == 1) { /* a vector's slot has one element a row, and biases may be permuted or fused */
        uint64_t at = 0;
        for (uint32_t p = 0; p < t->n_slot; p++)
            for (uint32_t i = 0; i < t->slot[p]->n; i++) {
                const uint32_t e = t->permute, in = e ? i % e : 0;
                const uint32_t from = e ? i - in + in % 2 * (e / 2) + in / 2 : i;
                model_slot_row(t->slot[p], from, &out[at++]);
            }
        for (uint64_t i = 0; i < t->k; i++) out[i] += t->add;
        return;
    }
    uint32_t part = 0;
    while (r >= t->slot[part]->n) r -= t->slot[part++]->n;
    if (t->permute) { /* stored row 2 i + j of a head is its row j half + i */
        const uint64_t in = r % t->permute;
        r = r - in + in % 2 * (t->permute / 2) + in / 2;
    }
    model_slot_row(t->slot[part], (uint32_t)r, out);
}

typedef struct {
    const target *t;
    uint64_t first;
    size_t row_bytes;
    float *wide;    /* [threads, k] */
    uint8_t *rows;  /* [CHUNK_ROWS * threads, row_bytes] */
    uint8_t *wrong; /* [rows] a row that is not finite */
} batch;

static void encode_task(void *arg, uint32_t task, uint32_t thread) {
    const batch *b = arg;
    float *wide = b->wide + (size_t)thread * b->t->k;
    source_row(b->t, b->first + task, wide);
    for (uint64_t i = 0; i < b->t->k; i++)
        if (!isfinite(wide[i])) b->wrong[task] = 1;
    if (!b->wrong[task]) hone_dtype_encode(b->t->dtype, wide, b->t->k, b->rows + task * b->row_bytes);
}

static hone_status write_target(exporter *x, const target *t, hone_gguf_writer *w, hone_pool *pool, uint64_t *done,
                                uint64_t total) {
    const uint32_t threads = hone_pool_threads(pool), at_once = CHUNK_ROWS * threads;
    batch b = {.t = t};
    hone_status st = HONE_OK;
    if (!hone_dtype_row_bytes(t->dtype, t->k, &b.row_bytes))
        return hone_fail(x->err, HONE_ERR_INTERNAL, "%s: rows of %llu", t->name, (unsigned long long)t->k);
    b.wide = hone_zalloc(threads, (size_t)t->k * sizeof(float));
    b.rows = hone_zalloc(at_once, b.row_bytes);
    b.wrong = hone_zalloc(at_once, 1);
    if (!b.wide || !b.rows || !b.wrong) st = hone_fail(x->err, HONE_ERR_NOMEM, "%s: no memory for rows", t->name);
    for (b.first = 0; st == HONE_OK && b.first < t->rows; b.first += at_once) {
        const uint32_t n = t->rows - b.first < at_once ? (uint32_t)(t->rows - b.first) : at_once;
        hone_pool_run(pool, n, encode_task, &b);
        for (uint32_t i = 0; i < n; i++)
            if (b.wrong[i])
                st = hone_fail(x->err, HONE_ERR_FORMAT, "tensor %s: row %llu is not finite", t->name,
                               (unsigned long long)(b.first + i));
        if (st != HONE_OK) break;
        hone_gguf_writer_data(w, b.rows, n * b.row_bytes);
        *done += n * b.row_bytes;
        if (x->options->progress) x->options->progress(x->options->arg, *done, total);
    }
    hone_free(b.wide);
    hone_free(b.rows);
    hone_free(b.wrong);
    return st;
}

static hone_status write_all(exporter *x, hone_gguf_writer *w, hone_pool *pool) {
    uint64_t total = 0, done = 0;
    hone_status st = HONE_OK;
    for (size_t i = 0; i < x->n_target; i++) {
        const target *t = &x->target[i];
        size_t row = 0;
        const uint64_t shape[2] = {t->rows, t->k};
        (void)hone_dtype_row_bytes(t->dtype, t->k, &row);
        total += t->rows * row;
        x->report->parameters += t->rows * t->k;
        x->report->tensors[t->dtype]++;
        hone_gguf_put_tensor(w, t->name, t->dtype, t->n_dim, t->n_dim == 2 ? shape : shape + 1);
    }
    hone_gguf_writer_begin(w);
    x->report->bytes = total;
    for (size_t i = 0; st == HONE_OK && i < x->n_target; i++)
        st = write_target(x, &x->target[i], w, pool, &done, total);
    return st == HONE_OK ? hone_gguf_writer_finish(w, x->err) : st;
}

/* ---- all of it ---- */

/* llama.cpp's number for what most matrices are (LLAMA_FTYPE). */
static uint32_t file_type(hone_dtype t) {
    switch (t) {
    case HONE_F16: return 1;
    case HONE_Q4_0: return 2;
    case HONE_Q4_1: return 3;
    case HONE_Q8_0: return 7;
    case HONE_Q5_0: return 8;
    case HONE_Q5_1: return 9;
    case HONE_Q4_K: return 14;
    case HONE_Q5_K: return 16;
    case HONE_Q6_K: return 18;
    case HONE_BF16: return 32;
    case HONE_MXFP4: return 38;
    default: return 0;
    }
}

static bool replaced(const hone_gguf_text *key) {
    static const char *const names[] = {"general.file_type", "general.quantization_version"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (key->n == strlen(names[i]) && memcmp(key->text, names[i], key->n) == 0) return true;
    return false;
}

hone_status hone_quantize(const char *from, const char *to, const hone_quantize_options *options, hone_pool *pool,
                          hone_quantize_report *report, hone_error *err) {
    memset(report, 0, sizeof(*report));
    if (!hone_dtype_can_encode(options->type))
        return hone_fail(err, HONE_ERR_ARG, "format %s cannot be written", hone_dtype_name(options->type));
    exporter *x = hone_zalloc(1, sizeof(*x));
    if (!x) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    *x = (exporter){.options = options, .report = report, .err = err};
    hone_weights *w = NULL;
    hone_model *m = NULL;
    hone_gguf_writer *out = NULL;
    hone_status st = hone_weights_open(&w, from, err);
    if (st == HONE_OK) st = model_describe(&m, w, HONE_PRECISION_F32, NULL, err);
    if (st == HONE_OK) st = hone_gguf_writer_open(&out, to, err);
    if (st == HONE_OK) {
        const hone_gguf *g = hone_weights_gguf(w);
        report->source_bytes = hone_weights_bytes(w);
        hone_gguf_put_u32(out, "general.file_type", file_type(options->type));
        if (g) {
            hone_gguf_put_u32(out, "general.quantization_version", 2);
            for (uint64_t i = 0; i < hone_gguf_key_count(g); i++) {
                const hone_gguf_key key = hone_gguf_key_at(g, i);
                if (!replaced(&key.name)) hone_gguf_put_raw(out, &key);
            }
            st = targets_of_gguf(x, w, m->arch.tied);
        } else {
            const char *name = NULL;
            hone_layout layout;
            st = choose_name(&m->arch, &name, &layout, err);
            if (st == HONE_OK) export_keys(out, &m->arch, name);
            if (st == HONE_OK) st = export_vocabulary(out, from, &m->arch, err);
            if (st == HONE_OK) st = targets_of_folder(x, m, &layout);
        }
    }
    if (st == HONE_OK) st = write_all(x, out, pool);
    hone_gguf_writer_close(out);
    hone_model_close(m);
    hone_weights_close(w);
    hone_free(x->target);
    hone_free(x);
    return st;
}
