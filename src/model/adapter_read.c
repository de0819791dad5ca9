/* adapter_read.c - adapters from PEFT's files, laid for serving, bound to their base; the contract is in adapter.h.
 *
 * Numbers are copied in whole rows and looked at once: a matrix with something that is not finite is refused, since one
 * NaN would spoil every answer of its adapter.
 *
 * Order: names, numbers, float form, laid form, binding, the files. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/adapter_private.h"
#include "model/safetensors.h"

#define CHUNK 1024u     /* elements that are widened at once */
#define BASE_ROWS 4096u /* of a saved embedding that are compared with the base's */
#define BASE_ERROR                                                                                                     \
    0.25f /* squared error of stored formats against squared values, far below that of another matrix                  \
           */
#define BIND_ROWS 16u

/* ---- names ---- */

void adapter_tensor_name(char out[160], uint32_t l, uint32_t m, char which) {
    snprintf(out, 160, "base_model.model.model.layers.%u.%s.lora_%c.weight", l, hone_module_path((hone_module)m),
             which);
}

typedef enum { PART_A, PART_B, PART_MAGNITUDE, PART_BASE, PART_COUNT } part;

/* PEFT's name of a part of matrix i; false where there is none. */
static bool part_name(char out[160], const hone_adapter *a, uint32_t i, part p) {
    const uint32_t n = a->n_layer * HONE_MOD_COUNT;
    const bool embed = i == n, head = i == n + 1;
    static const char *const end[PART_COUNT] = {"lora_A.weight", "lora_B.weight", "lora_magnitude_vector",
                                                "base_layer.weight"};
    const char *what = end[p];
    char path[96];
    if (p == PART_BASE && !embed && !head) return false;
    if (embed && p == PART_A) what = "lora_embedding_A";
    if (embed && p == PART_B) what = "lora_embedding_B";
    if (embed || head)
        snprintf(path, sizeof(path), embed ? "model.embed_tokens" : "lm_head");
    else
        snprintf(path, sizeof(path), "model.layers.%u.%s", i / HONE_MOD_COUNT,
                 hone_module_path((hone_module)(i % HONE_MOD_COUNT)));
    snprintf(out, 160, "base_model.model.%s.%s", path, what);
    return true;
}

/* ---- numbers ---- */

/* out[n] from stored elements of any alignment. */
static void widen(hone_dtype t, const uint8_t *from, float *out, size_t n) {
    if (t == HONE_F32) {
        memcpy(out, from, n * sizeof(float));
        return;
    }
    uint16_t chunk[CHUNK]; /* F16 and BF16 are what is left: safetensors.c reads no others */
    for (size_t i = 0; i < n; i += CHUNK) {
        const size_t len = n - i < CHUNK ? n - i : CHUNK;
        memcpy(chunk, from + 2 * i, 2 * len);
        hone_dtype_widen(t, chunk, out + i, len);
    }
}

/* Two at a time: an exponent of ones and 1 more reach the bit of the sign. */
static bool finite_floats(const float *x, size_t n) {
    uint64_t bad = 0;
    for (size_t i = 0; i < n; i += 2) {
        uint64_t u = 0;
        memcpy(&u, &x[i], i + 2 <= n ? sizeof(u) : sizeof(*x));
        bad |= (u & 0x7f8000007f800000u) + 0x0080000000800000u;
    }
    return !(bad & 0x8000000080000000u);
}

static bool finite_halves(const uint16_t *x, size_t n, hone_dtype t) {
    const uint16_t exponent = t == HONE_BF16 ? 0x7f80u : 0x7c00u;
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) bad |= (x[i] & exponent) == exponent;
    return !bad;
}

static hone_status not_finite(const hone_tensor *t, hone_error *err) {
    const uint8_t *at = t->data;
    size_t i = 0;
    for (const size_t one = hone_dtype_block_bytes(t->dtype); i < t->bytes / one; i++) {
        float x;
        widen(t->dtype, at + i * one, &x, 1);
        if (!isfinite(x)) break;
    }
    return hone_fail(err, HONE_ERR_FORMAT, "tensor %s: element %zu is not finite", t->name, i);
}

static hone_status find_matrix(const hone_safetensors *st, const char *name, uint32_t rows, uint32_t cols,
                               const hone_tensor **out, hone_error *err) {
    const hone_tensor *t = *out = hone_safetensors_find(st, name);
    if (!t) return hone_fail(err, HONE_ERR_FORMAT, "tensor %s is missing", name);
    if (t->n_dim == 2 && t->shape[0] == rows && t->shape[1] == cols) return HONE_OK;
    char shape[64] = "not a matrix";
    if (t->n_dim == 2)
        snprintf(shape, sizeof(shape), "%llu x %llu", (unsigned long long)t->shape[0], (unsigned long long)t->shape[1]);
    return hone_fail(err, HONE_ERR_FORMAT, "tensor %s is %s, this model and the adapter's rank ask for %u x %u", name,
                     shape, rows, cols);
}

/* Where the numbers of one matrix stand. */
typedef struct {
    const hone_tensor *a, *b;
    const hone_tensor *magnitude, *base; /* NULL: none */
} source;

static hone_status find_source(const hone_adapter *s, uint32_t i, const hone_safetensors *st, source *out,
                               hone_error *err) {
    char name[160];
    const hone_lora *lora = adapter_at(s, i);
    *out = (source){0};
    part_name(name, s, i, PART_A);
    hone_status status = find_matrix(st, name, lora->rank, lora->k, &out->a, err);
    part_name(name, s, i, PART_B);
    if (status == HONE_OK) status = find_matrix(st, name, lora->n, lora->rank, &out->b, err);
    if (status != HONE_OK) return status;
    if (part_name(name, s, i, PART_BASE) && hone_safetensors_find(st, name)) {
        const bool embed = lora == &s->embed;
        status = find_matrix(st, name, embed ? lora->k : lora->n, embed ? lora->n : lora->k, &out->base, err);
    }
    if (status != HONE_OK || !s->dora) return status;
    part_name(name, s, i, PART_MAGNITUDE);
    const hone_tensor *m = out->magnitude = hone_safetensors_find(st, name);
    if (!m) return hone_fail(err, HONE_ERR_FORMAT, "tensor %s is missing, which use_dora asks for", name);
    if (m->n_dim != 1 || m->shape[0] != lora->n)
        return hone_fail(err, HONE_ERR_FORMAT, "tensor %s is no vector of %u numbers", name, lora->n);
    return HONE_OK;
}

/* All that were wanted were found: more in the file than that belongs to something else. */
static hone_status check_rest(const hone_adapter *s, const hone_safetensors *st, size_t n_placed, hone_error *err) {
    char name[160];
    for (size_t i = 0; n_placed != hone_safetensors_count(st) && i < hone_safetensors_count(st); i++) {
        const char *have = hone_safetensors_at(st, i)->name;
        bool placed = false;
        for (uint32_t j = 0; j < adapter_count(s) && !placed; j++)
            for (int p = 0; adapter_at(s, j)->rank && p < PART_COUNT && !placed; p++)
                placed = (p != PART_MAGNITUDE || s->dora) && part_name(name, s, j, (part)p) && strcmp(name, have) == 0;
        if (!placed)
            return hone_fail(err, HONE_ERR_FORMAT,
                             "tensor %.200s lands nowhere: it is no matrix of this model that " CONFIG_FILE " targets",
                             have);
    }
    return HONE_OK;
}

static size_t parts(const source *from) {
    return 2u + (from->magnitude != NULL) + (from->base != NULL);
}

static hone_status read_vector(const hone_tensor *t, float *out, uint32_t n, hone_error *err) {
    widen(t->dtype, t->data, out, n);
    return finite_floats(out, n) ? HONE_OK : not_finite(t, err);
}

/* ---- float form ---- */

/* A of an embedding is turned: [k, rank] from [rank, k]. */
static void turn(const float *from, float *to, size_t rank, size_t k) {
    for (size_t c = 0; c < k; c++)
        for (size_t r = 0; r < rank; r++) to[c * rank + r] = from[r * k + c];
}

static hone_status read_a(const hone_tensor *t, float *out, const hone_lora *lora, bool turned, hone_error *err) {
    const size_t n = (size_t)lora->rank * lora->k;
    float *rows = turned ? hone_zalloc(n, sizeof(float)) : out;
    if (!rows) return hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    widen(t->dtype, t->data, rows, n);
    const bool fine = finite_floats(rows, n);
    if (turned) {
        turn(rows, out, lora->rank, lora->k);
        hone_free(rows);
    }
    return fine ? HONE_OK : not_finite(t, err);
}

static hone_status read_floats(adapter *a, const hone_safetensors *st, hone_error *err) {
    hone_adapter *s = &a->shown;
    size_t n = 0;
    hone_status status = adapter_room_floats(a, err);
    for (uint32_t i = 0; status == HONE_OK && i < adapter_count(s); i++) {
        hone_lora *lora = adapter_at(s, i);
        source from;
        if (lora->rank == 0) continue;
        if ((status = find_source(s, i, st, &from, err))) break;
        status = read_a(from.a, lora->a, lora, lora == &s->embed, err);
        widen(from.b->dtype, from.b->data, lora->b, (size_t)lora->n * lora->rank);
        if (status == HONE_OK && !finite_floats(lora->b, (size_t)lora->n * lora->rank))
            status = not_finite(from.b, err);
        if (status == HONE_OK && from.magnitude) status = read_vector(from.magnitude, lora->magnitude, lora->n, err);
        n += parts(&from);
    }
    return status == HONE_OK ? check_rest(s, st, n, err) : status;
}

/* ---- laid form ---- */

static uint32_t panels(uint32_t n) {
    return (n + HONE_PANEL - 1) / HONE_PANEL;
}

static size_t type_bytes(hone_dtype t) {
    return hone_dtype_block_bytes(t);
}

typedef struct {
    uint8_t *base; /* NULL while only counting */
    size_t used;
    bool overflow;
} carver;

static void *carve(carver *c, size_t count, size_t size) {
    size_t bytes, end;
    void *at = c->base ? c->base + c->used : NULL;
    if (!hone_mul_size(&bytes, count, size) || !hone_add_size(&bytes, bytes, 63) ||
        !hone_add_size(&end, c->used, bytes / 64 * 64)) {
        c->overflow = true;
        return NULL;
    }
    c->used = end;
    return at;
}

/* Places for every matrix of to[count], whose types are chosen. */
static void carve_laid(carver *c, hone_lora *to, uint32_t count, bool dora) {
    for (uint32_t i = 0; i < count; i++) {
        hone_lora *lora = &to[i];
        if (lora->rank == 0) continue;
        lora->a = lora->b = lora->magnitude = lora->gain = NULL;
        lora->laid_a = carve(c, (size_t)lora->rank * lora->k, type_bytes(lora->type));
        lora->laid_b = carve(c, (size_t)lora->rank * panels(lora->n) * HONE_PANEL, type_bytes(lora->type));
        if (dora) lora->magnitude = carve(c, lora->n, sizeof(float));
        if (dora) lora->gain = carve(c, lora->n, sizeof(float));
    }
}

/* One panel of B: rows[n, rank] with n <= HONE_PANEL, turned. */
#define TURN_PANEL(name, type_of)                                                                                      \
    static void name(const type_of *rows, uint32_t n, uint32_t rank, type_of *out) {                                   \
        if (n < HONE_PANEL) memset(out, 0, (size_t)rank *HONE_PANEL * sizeof(*out));                                   \
        for (uint32_t i = 0; i < n; i++)                                                                               \
            for (uint32_t r = 0; r < rank; r++) out[r * HONE_PANEL + i] = rows[i * rank + r];                          \
    }
TURN_PANEL(turn_floats, float)
TURN_PANEL(turn_halves, uint16_t)

/* out[n] from element `from` on: halves as they are, or the upper halves of widened floats. */
static void halves(const hone_tensor *t, size_t from, uint16_t *out, size_t n) {
    const uint8_t *at = (const uint8_t *)t->data + from * type_bytes(t->dtype);
    if (t->dtype != HONE_F32) {
        memcpy(out, at, n * sizeof(*out));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, at + 4 * i, sizeof(u));
        out[i] = (uint16_t)(u >> 16);
    }
}

static hone_status lay_b(const hone_tensor *t, const hone_lora *lora, hone_error *err) {
    union {
        float f[HONE_PANEL * HONE_LORA_MAX_RANK];
        uint16_t h[HONE_PANEL * HONE_LORA_MAX_RANK];
    } rows;
    const size_t in = type_bytes(t->dtype), out = type_bytes(lora->type);
    for (uint32_t p = 0; p < panels(lora->n); p++) {
        const uint32_t n = lora->n - p * HONE_PANEL < HONE_PANEL ? lora->n - p * HONE_PANEL : HONE_PANEL;
        const uint8_t *from = (const uint8_t *)t->data + (size_t)p * HONE_PANEL * lora->rank * in;
        uint8_t *to = (uint8_t *)(uintptr_t)lora->laid_b + (size_t)p * HONE_PANEL * lora->rank * out;
        bool fine;
        if (lora->type == HONE_F32) {
            widen(t->dtype, from, rows.f, (size_t)n * lora->rank);
            fine = finite_floats(rows.f, (size_t)n * lora->rank);
            turn_floats(rows.f, n, lora->rank, (float *)(void *)to);
        } else {
            halves(t, (size_t)p * HONE_PANEL * lora->rank, rows.h, (size_t)n * lora->rank);
            fine = finite_halves(rows.h, (size_t)n * lora->rank, lora->type);
            turn_halves(rows.h, n, lora->rank, (uint16_t *)(void *)to);
        }
        if (!fine) return not_finite(t, err);
    }
    return HONE_OK;
}

static hone_status lay_a(const hone_tensor *t, const hone_lora *lora, bool turned, hone_error *err) {
    void *to = (void *)(uintptr_t)lora->laid_a;
    const size_t n = (size_t)lora->rank * lora->k;
    if (lora->type == HONE_F32) return read_a(t, to, lora, turned, err);
    halves(t, 0, to, n);
    return finite_halves(to, n, lora->type) ? HONE_OK : not_finite(t, err);
}

static hone_status check_rank(const hone_adapter *s, hone_error *err) {
    if (s->max_rank <= HONE_LORA_MAX_RANK) return HONE_OK;
    return hone_fail(err, HONE_ERR_LIMIT, "the adapter has rank %u, at most %u are served", s->max_rank,
                     HONE_LORA_MAX_RANK);
}

/* Floats that were bf16 before they were saved, as many programs do it. */
static bool is_widened(const hone_tensor *t) {
    const uint8_t *at = t->data;
    uint16_t low = 0, block[CHUNK];
    for (size_t i = 0; i < t->bytes && !low; i += sizeof(block)) {
        const size_t n = t->bytes - i < sizeof(block) ? t->bytes - i : sizeof(block);
        memcpy(block, at + i, n);
        for (size_t j = 0; j < n / 2; j += 2) low |= block[j];
    }
    return !low;
}

/* Half precision stays where the set can read it, since memory is what binds a step with many adapters; the embedding,
 * which is read by single rows, is floats always. */
static hone_dtype laid_type(const hone_model *model, const source *from, bool embed) {
    if (embed || !model->kernels->lora_up || from->a->dtype != from->b->dtype) return HONE_F32;
    if (from->a->dtype != HONE_F32) return from->a->dtype;
    return is_widened(from->a) && is_widened(from->b) ? HONE_BF16 : HONE_F32;
}

/* Whether a saved base matrix is this base's, as far as stored formats can tell. */
static hone_status check_base(const hone_tensor *t, const hone_weight *w, hone_error *err, const hone_model *model) {
    const size_t k = w->k, one = type_bytes(t->dtype);
    float *mine = hone_zalloc(2 * k, sizeof(float));
    if (!mine) return hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    float *theirs = mine + k;
    double error = 0, all = 0;
    const uint32_t step = w->n > BASE_ROWS ? w->n / BASE_ROWS : 1;
    for (uint32_t r = 0; r < w->n; r += step) {
        model->kernels->weight_row(w, r, mine);
        widen(t->dtype, (const uint8_t *)t->data + r * k * one, theirs, k);
        for (size_t i = 0; i < k; i++) {
            const double d = (double)mine[i] - (double)theirs[i];
            error += d * d;
            all += (double)mine[i] * (double)mine[i];
        }
    }
    hone_free(mine);
    if (error <= (double)BASE_ERROR * all) return HONE_OK;
    return hone_fail(err, HONE_ERR_UNSUPPORTED, "tensor %s is not this base's: changed embeddings are not supported",
                     t->name);
}

static hone_status load_laid(adapter *a, const hone_safetensors *st, const hone_model *model, hone_error *err) {
    hone_adapter *s = &a->shown;
    const uint32_t count = adapter_count(s);
    hone_status status = check_rank(s, err);
    if (status != HONE_OK) return status;
    source *from = hone_zalloc(count, sizeof(*from));
    hone_lora *to = hone_zalloc(count, sizeof(*to));
    if (!from || !to) status = hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    size_t n = 0;
    for (uint32_t i = 0; status == HONE_OK && i < count; i++) {
        to[i] = *adapter_at(s, i);
        if (to[i].rank == 0) continue;
        if ((status = find_source(s, i, st, &from[i], err))) break;
        to[i].type = laid_type(model, &from[i], i + 2 == count);
        n += parts(&from[i]);
    }
    if (status == HONE_OK) status = check_rest(s, st, n, err);
    carver c = {0};
    if (status == HONE_OK) {
        carve_laid(&c, to, count, s->dora);
        a->block = c.overflow ? NULL : hone_alloc_aligned(c.used, 1);
        if (!a->block) status = hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    }
    if (status == HONE_OK) {
        s->bytes = c.used;
        s->laid = true;
        c = (carver){.base = a->block};
        carve_laid(&c, to, count, s->dora);
    }
    for (uint32_t i = 0; status == HONE_OK && i < count; i++) {
        hone_lora *lora = adapter_at(s, i);
        if (to[i].rank == 0) continue;
        *lora = to[i];
        status = lay_a(from[i].a, lora, lora == &s->embed, err);
        if (status == HONE_OK) status = lay_b(from[i].b, lora, err);
        if (status == HONE_OK && from[i].magnitude)
            status = read_vector(from[i].magnitude, lora->magnitude, lora->n, err);
        if (status == HONE_OK && from[i].base)
            status = check_base(from[i].base, lora == &s->embed ? &model->embed : &model->head.w, err, model);
    }
    hone_free(from);
    hone_free(to);
    return status == HONE_OK ? hone_adapter_bind(s, model, err) : status;
}

hone_status hone_adapter_lay(hone_adapter *s, const hone_model *model, hone_error *err) {
    adapter *a = (adapter *)s;
    const uint32_t count = adapter_count(s);
    if (s->laid) return HONE_OK;
    hone_status status = check_rank(s, err);
    if (status == HONE_OK) status = hone_adapter_bind(s, model, err);
    if (status != HONE_OK) return status;
    hone_lora *to = hone_zalloc(count, sizeof(*to));
    if (!to) return hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    for (uint32_t i = 0; i < count; i++) to[i] = *adapter_at(s, i);
    carver c = {0};
    carve_laid(&c, to, count, s->dora);
    const size_t bytes = c.used;
    uint8_t *block = c.overflow ? NULL : hone_alloc_aligned(bytes, 1);
    if (!block) {
        hone_free(to);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    }
    c = (carver){.base = block};
    carve_laid(&c, to, count, s->dora);
    for (uint32_t i = 0; i < count; i++) {
        const hone_lora *old = adapter_at(s, i);
        if (old->rank == 0) continue;
        const hone_tensor b = {
            .name = "B", .dtype = HONE_F32, .data = old->b, .bytes = (size_t)old->n * old->rank * sizeof(float)};
        memcpy((void *)(uintptr_t)to[i].laid_a, old->a, (size_t)old->rank * old->k * sizeof(float));
        if (status == HONE_OK) status = lay_b(&b, &to[i], err);
        if (s->dora) memcpy(to[i].magnitude, old->magnitude, old->n * sizeof(float));
        if (s->dora) memcpy(to[i].gain, old->gain, old->n * sizeof(float));
    }
    if (status != HONE_OK) { /* numbers that are not finite */
        hone_free(block);
        hone_free(to);
        return status;
    }
    for (uint32_t i = 0; i < count; i++) *adapter_at(s, i) = to[i];
    hone_free(to);
    hone_free(a->block);
    a->block = block;
    s->bytes = bytes;
    s->laid = true;
    return HONE_OK;
}

/* ---- binding ---- */

/* Rows row .. row + n of B as floats. */
static void b_rows(const hone_lora *lora, uint32_t row, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t r = 0; r < lora->rank; r++) {
            const size_t at =
                (size_t)row / HONE_PANEL * HONE_PANEL * lora->rank + r * HONE_PANEL + row % HONE_PANEL + i;
            if (lora->b)
                out[i * lora->rank + r] = lora->b[(size_t)(row + i) * lora->rank + r];
            else
                widen(lora->type, (const uint8_t *)lora->laid_b + at * type_bytes(lora->type), &out[i * lora->rank + r],
                      1);
        }
}

static hone_status bind_matrix(hone_lora *lora, const hone_weight *w, const hone_model *model, hone_error *err) {
    const hone_kernels *k = model->kernels;
    const size_t width = lora->k, n_a = lora->rank * width;
    hone_status status = HONE_OK;
    float *rows = hone_zalloc(BIND_ROWS * (width + lora->rank) + (lora->a ? 0 : n_a), sizeof(float));
    if (!rows) return hone_fail(err, HONE_ERR_NOMEM, "no memory for DoRA's gains");
    float *b = rows + BIND_ROWS * width, *own = b + BIND_ROWS * (size_t)lora->rank;
    if (!lora->a) widen(lora->type, lora->laid_a, own, n_a);
    const float *a = lora->a ? lora->a : own;
    for (uint32_t r = 0; r < lora->n && status == HONE_OK; r += BIND_ROWS) {
        const uint32_t n = lora->n - r < BIND_ROWS ? lora->n - r : BIND_ROWS;
        for (uint32_t i = 0; i < n; i++) k->weight_row(w, r + i, rows + i * width);
        b_rows(lora, r, n, b);
        k->gemm_nn(n, lora->k, lora->rank, lora->scale, b, lora->rank, a, width, rows, width, true);
        for (uint32_t i = 0; i < n; i++) {
            const float norm = sqrtf(k->dot(rows + i * width, rows + i * width, width));
            lora->gain[r + i] = lora->magnitude[r + i] / norm;
            if (!isfinite(lora->gain[r + i]))
                status =
                    hone_fail(err, HONE_ERR_FORMAT, "row %u of a DoRA matrix has the norm %g", r + i, (double)norm);
        }
    }
    hone_free(rows);
    return status;
}

hone_status hone_adapter_bind(hone_adapter *a, const hone_model *model, hone_error *err) {
    hone_status status = HONE_OK;
    if (a->n_layer != model->arch.n_layer)
        return hone_fail(err, HONE_ERR_ARG, "the adapter has %u layers, the model %u", a->n_layer, model->arch.n_layer);
    for (uint32_t i = 0; a->dora && status == HONE_OK && i < adapter_count(a); i++) {
        hone_lora *lora = adapter_at(a, i);
        const uint32_t l = i / HONE_MOD_COUNT;
        if (lora->rank == 0) continue;
        const hone_weight *w = l < a->n_layer ? &model->layer[l].linear[i % HONE_MOD_COUNT].w : &model->head.w;
        status = bind_matrix(lora, w, model, err);
    }
    return status;
}

/* ---- the files ---- */

/* model NULL: the float form for arch. */
static hone_status read_both(hone_adapter **out, const void *config, size_t config_n, const void *tensors,
                             size_t tensors_n, const char *config_name, const char *tensors_name, const hone_arch *arch,
                             const hone_model *model, hone_error *err) {
    *out = NULL;
    adapter *a = NULL;
    hone_safetensors *st = NULL;
    if (config_n > MAX_CONFIG_BYTES)
        return hone_fail(err, HONE_ERR_LIMIT, "%s: larger than %u bytes", config_name, MAX_CONFIG_BYTES);
    json_t *json = hone_json_parse(config, config_n, err);
    hone_status s = json ? HONE_OK : err ? err->code : HONE_ERR_FORMAT;
    if (s || (s = adapter_make(&a, arch, json, err))) return hone_fail_within(err, s, "%s: ", config_name);
    if ((s = hone_safetensors_open(&st, tensors, tensors_n, tensors_name, err)) == HONE_OK &&
        (s = model ? load_laid(a, st, model, err) : read_floats(a, st, err)))
        s = hone_fail_within(err, s, "%s: ", tensors_name);
    hone_safetensors_close(st);
    if (s) {
        hone_adapter_free(&a->shown);
        return s;
    }
    *out = &a->shown;
    return HONE_OK;
}

hone_status hone_adapter_read_bytes(hone_adapter **out, const void *config, size_t config_n, const void *tensors,
                                    size_t tensors_n, const hone_arch *arch, hone_error *err) {
    return read_both(out, config, config_n, tensors, tensors_n, CONFIG_FILE, TENSORS_FILE, arch, NULL, err);
}

hone_status hone_adapter_load(hone_adapter **out, const void *config, size_t config_n, const void *tensors,
                              size_t tensors_n, const hone_model *model, hone_error *err) {
    return read_both(out, config, config_n, tensors, tensors_n, CONFIG_FILE, TENSORS_FILE, &model->arch, model, err);
}

hone_status hone_adapter_read(hone_adapter **out, const char *dir, const hone_arch *arch, hone_error *err) {
    *out = NULL;
    char *config = hone_path_join(dir, CONFIG_FILE), *tensors = hone_path_join(dir, TENSORS_FILE),
         *old = hone_path_join(dir, "adapter_model.bin");
    hone_buf text = {0};
    hone_map map = {0};
    hone_status s = HONE_OK;
    if (!config || !tensors || !old)
        s = hone_fail(err, HONE_ERR_NOMEM, "no memory");
    else if (access(tensors, F_OK) != 0 && access(old, F_OK) == 0)
        s = hone_fail(err, HONE_ERR_UNSUPPORTED, "%s: a pickle, which is not read; save the adapter as " TENSORS_FILE,
                      old);
    else if ((s = hone_file_read(config, &text, MAX_CONFIG_BYTES, err)) == HONE_OK &&
             (s = hone_map_path(&map, tensors, err)) == HONE_OK)
        s = read_both(out, hone_buf_str(&text), text.n, map.data, map.bytes, config, tensors, arch, NULL, err);
    if (s == HONE_OK && hone_digest_bytes(map.data, map.bytes, (*out)->digest)) {
        s = hone_fail(err, HONE_ERR_NOMEM, "%s: no memory for a digest", tensors);
        hone_adapter_free(*out);
        *out = NULL;
    }
    hone_map_close(&map);
    hone_buf_free(&text);
    hone_free(config);
    hone_free(tensors);
    hone_free(old);
    return s;
}
