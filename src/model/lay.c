/* lay.c - stored tensors into the block: matrices re-laid by the kernel set, vectors widened to f32.
 *
 * Work is cut into chunks of rows, one task each.  Of several faults the one with the lowest chunk is reported, so that
 * the message does not depend on the threads.
 *
 * Order: chunks, vectors, matrices, all of it. */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "kernel/encode.h"
#include "kernel/quant.h"
#include "model/model_internal.h"

#define CHUNK_ROWS 256u /* a multiple of HONE_PANEL; also bounds the row pointers on the stack */

/* ---- chunks ---- */

typedef struct {
    uint32_t slot, first; /* rows first .. first + CHUNK_ROWS of the slot, vectors whole */
} chunk;

typedef struct {
    hone_model *m;
    const char *path;
    const chunk *chunks;
    const void **aligned; /* [n_slot] a copy of a tensor whose bytes are not aligned, else NULL */

    pthread_mutex_t lock; /* protects the rest */
    uint32_t failed_chunk;
    hone_status status;
    hone_error err;
} work;

/* The stored row that is row r in Hugging Face's order: GGUF's Llama keeps the two halves of a head pair by pair, row
 * h E + 2 i + half, where HF has h E + half E / 2 + i. */
static uint64_t stored_row(const model_slot *s, uint32_t r) {
    const uint32_t e = s->permuted_head;
    if (!e) return s->first_row + r;
    const uint32_t in = r % e;
    return s->first_row + (r - in) + 2u * (in % (e / 2)) + in / (e / 2);
}

static const uint8_t *data_of(const work *w, uint32_t slot) {
    const model_owner *o = w->m->owner;
    return w->aligned[slot] ? w->aligned[slot] : o->slot[slot].tensor->data;
}

/* ---- vectors ---- */

static hone_status lay_vector(const work *w, uint32_t slot, hone_error *err) {
    const model_owner *o = w->m->owner;
    const model_slot *s = &o->slot[slot];
    float *out = (float *)(void *)(o->block + s->offset);
    size_t one = hone_dtype_block_bytes(s->tensor->dtype);
    for (uint32_t i = 0; i < s->n; i++) {
        hone_dtype_widen(s->tensor->dtype, data_of(w, slot) + stored_row(s, i) * one, &out[i], 1);
        if (!isfinite(out[i])) return hone_fail(err, HONE_ERR_FORMAT, "element %u is not finite", i);
    }
    return HONE_OK;
}

/* ---- matrices ---- */

/* The factor of element (row, column) of the stored tensor. */
static float scale_at(const model_slot *s, uint64_t row, uint32_t column) {
    const hone_tensor *t = s->scale;
    if (!t) return 1.0f;
    const uint64_t columns = t->n_dim > 1 ? t->shape[1] : 1;
    const uint64_t at =
        (s->scale_rows ? row / s->scale_rows * columns : 0) + (s->scale_columns ? column / s->scale_columns : 0);
    float v;
    hone_dtype_widen(t->dtype, (const uint8_t *)t->data + at * hone_dtype_block_bytes(t->dtype), &v, 1);
    return v;
}

void model_slot_row(const model_slot *s, uint32_t r, float *out) {
    size_t row_bytes = 0;
    (void)hone_dtype_row_bytes(s->tensor->dtype, s->k, &row_bytes);
    const uint64_t row = stored_row(s, r);
    hone_dtype_widen(s->tensor->dtype, (const uint8_t *)s->tensor->data + row * row_bytes, out, s->k);
    if (!s->scale) return;
    const uint32_t run = s->scale_columns ? s->scale_columns : s->k; /* elements that one scale covers */
    for (uint32_t k0 = 0; k0 < s->k; k0 += run) {
        const float scale = scale_at(s, row, k0);
        for (uint32_t k = k0; k < s->k && k - k0 < run; k++) out[k] *= scale;
    }
}

/* Row r in the format that the matrix is laid in.  FP8 becomes the product with its scale, rounded to bf16 as
 * transformers and DeepSeek's weight_dequant do; NVFP4's scales take the tensor's in.  wide: room for [k]. */
static void convert_row(const model_slot *s, uint32_t r, float *wide, uint8_t *to) {
    if (s->tensor->dtype == HONE_NVFP4) {
        const uint8_t *from = (const uint8_t *)s->tensor->data + stored_row(s, r) * (s->k / 64 * 36);
        const float scale = scale_at(s, 0, 0);
        for (uint32_t k = 0; k < s->k; k += 64) kernel_fp4_from_nvfp4(from + k / 64 * 36, scale, to + k / 64 * 48);
    } else {
        model_slot_row(s, r, wide);
        hone_dtype_encode(s->weight->dtype, wide, s->k, to);
    }
}

static hone_status lay_converted(const work *w, uint32_t slot, uint32_t first, uint32_t n, hone_error *err) {
    const model_owner *o = w->m->owner;
    const model_slot *s = &o->slot[slot];
    const void *rows[CHUNK_ROWS];
    size_t laid_bytes = 0;
    if (!hone_dtype_row_bytes(s->weight->dtype, s->k, &laid_bytes))
        return hone_fail(err, HONE_ERR_FORMAT, "rows of %u elements cannot be laid", s->k);
    uint8_t *converted = hone_zalloc(n, laid_bytes);
    float *wide = hone_zalloc(s->k, sizeof(*wide));
    hone_status st = HONE_OK;
    if (!converted || !wide) st = hone_fail(err, HONE_ERR_NOMEM, "no memory for %u rows of %u elements", n, s->k);
    for (uint32_t i = 0; st == HONE_OK && i < n; i++) {
        convert_row(s, first + i, wide, converted + i * laid_bytes);
        rows[i] = converted + i * laid_bytes;
    }
    if (st == HONE_OK) st = w->m->kernels->weight_lay(s->weight, o->block + s->offset, rows, first, first + n, err);
    hone_free(wide);
    hone_free(converted);
    return st;
}

static hone_status lay_rows(const work *w, uint32_t slot, uint32_t first, hone_error *err) {
    const model_owner *o = w->m->owner;
    const model_slot *s = &o->slot[slot];
    const void *rows[CHUNK_ROWS];
    size_t row_bytes = 0;
    const uint32_t n = s->n - first < CHUNK_ROWS ? s->n - first : CHUNK_ROWS;
    if (!hone_dtype_row_bytes(s->tensor->dtype, s->k, &row_bytes))
        return hone_fail(err, HONE_ERR_FORMAT, "rows of %u elements are no whole number of %s blocks", s->k,
                         hone_dtype_name(s->tensor->dtype));
    if (s->tensor->dtype >= HONE_DTYPE_COUNT) return lay_converted(w, slot, first, n, err);
    for (uint32_t i = 0; i < n; i++) rows[i] = data_of(w, slot) + stored_row(s, first + i) * row_bytes;
    return w->m->kernels->weight_lay(s->weight, o->block + s->offset, rows, first, first + n, err);
}

static void run(void *arg, uint32_t task, uint32_t thread) {
    (void)thread;
    work *w = arg;
    const model_owner *o = w->m->owner;
    const chunk *c = &w->chunks[task];
    const model_slot *s = &o->slot[c->slot];
    hone_error err = {0};
    const hone_status st = s->vector ? lay_vector(w, c->slot, &err) : lay_rows(w, c->slot, c->first, &err);
    if (st == HONE_OK) return;
    pthread_mutex_lock(&w->lock);
    if (task < w->failed_chunk) {
        w->failed_chunk = task;
        w->status = st;
        hone_fail_within(&err, st, "%s: tensor %s: ", w->path, s->tensor->name);
        w->err = err;
    }
    pthread_mutex_unlock(&w->lock);
}

/* ---- all of it ---- */

/* Kernels read 16-bit and 32-bit words; safetensors promise no alignment.  GGUF tensors never need this. */
static hone_status align_tensors(work *w, hone_error *err) {
    const model_owner *o = w->m->owner;
    for (size_t i = 0; i < o->n_slot; i++) {
        const hone_tensor *t = o->slot[i].present ? o->slot[i].tensor : NULL;
        if (!t || (uintptr_t)t->data % (t->dtype == HONE_F32 ? 4u : 2u) == 0) continue;
        void *copy = hone_alloc_aligned(t->bytes, 1);
        if (!copy) return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory for %zu bytes", w->path, t->bytes);
        memcpy(copy, t->data, t->bytes);
        w->aligned[i] = copy;
    }
    return HONE_OK;
}

hone_status model_lay(hone_model *m, const char *path, hone_pool *pool, hone_error *err) {
    model_owner *o = m->owner;
    uint64_t n = 0;
    for (size_t i = 0; i < o->n_slot; i++)
        if (o->slot[i].present) n += o->slot[i].vector ? 1 : (o->slot[i].n + CHUNK_ROWS - 1) / CHUNK_ROWS;
    chunk *chunks = n <= UINT32_MAX ? hone_zalloc((size_t)n, sizeof(*chunks)) : NULL;
    work w = {.m = m,
              .path = path,
              .chunks = chunks,
              .aligned = hone_zalloc(o->n_slot, sizeof(*w.aligned)),
              .lock = PTHREAD_MUTEX_INITIALIZER,
              .failed_chunk = UINT32_MAX,
              .status = HONE_OK};
    hone_status s =
        chunks && w.aligned ? align_tensors(&w, err) : hone_fail(err, HONE_ERR_NOMEM, "%s: no memory", path);
    if (s == HONE_OK) {
        uint32_t at = 0;
        for (uint32_t i = 0; i < o->n_slot; i++)
            for (uint32_t first = 0; o->slot[i].present && first < o->slot[i].n;
                 first = o->slot[i].vector ? o->slot[i].n : first + CHUNK_ROWS)
                chunks[at++] = (chunk){i, first};
        /* Padding between slots, so that a tile file's bytes are a function of the weights alone. */
        for (size_t i = 0; i < o->n_slot; i++) {
            const size_t end = o->slot[i].offset + o->slot[i].bytes;
            if (o->slot[i].present) memset(o->block + end, 0, (64 - end % 64) % 64);
        }
        hone_pool_run(pool, at, run, &w);
        s = w.status;
        if (s && err) *err = w.err;
    }
    for (size_t i = 0; w.aligned && i < o->n_slot; i++) hone_free((void *)(uintptr_t)w.aligned[i]);
    hone_free(w.aligned);
    hone_free(chunks);
    return s;
}
