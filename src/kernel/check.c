/* check.c - the self-check of a set against ref on small shapes with tails.
 *
 * Order: comparing, products of one format, attention, all. */
#include "kernel/check.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "kernel/sample.h"
#include "kernel/sets.h"

enum { M = 18, N = 18, K = 256 }; /* a whole tile of rows and a tail, two panels and a tail */

/* Largest difference against the largest value of what ref says. */
static bool same(const float *got, const float *want, size_t n, float tolerance, const char *what, const char *format,
                 char *why, size_t capacity) {
    float size = 0.0f;
    for (size_t i = 0; i < n; i++) size = fabsf(want[i]) > size ? fabsf(want[i]) : size;
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= tolerance * size)) {
            snprintf(why, capacity, "%s %s, element %zu: %.6g where ref has %.6g", what, format, i, (double)got[i],
                     (double)want[i]);
            return false;
        }
    return true;
}

/* ---- Products --------------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *rows;
    const void *row[N];
    float *x, *y[2], *dy, *dx[2];
} room;

static bool lay(const hone_kernels *s, hone_weight *w, const room *r) {
    w->bytes = s->weight_bytes(w->dtype, w->precision, N, K);
    void *data = w->bytes ? hone_alloc_aligned(1, w->bytes) : NULL;
    w->data = data;
    return data && s->weight_lay(w, data, r->row, 0, N, NULL) == HONE_OK;
}

/* forward and backward with set s into y, dx. */
static bool run(const hone_kernels *s, hone_dtype t, hone_precision p, const room *r, float *y, float *dx) {
    hone_weight w = {.dtype = t, .precision = p, .n = N, .k = K};
    bool done = false;
    void *act = NULL, *scratch = NULL;
    if (lay(s, &w, r) && (act = hone_alloc_aligned(1, s->act_bytes(&w, M))) &&
        (scratch = hone_alloc_aligned(1, s->dx_scratch_bytes(&w, M)))) {
        s->act_lay(&w, r->x, K, M, 0, M, act);
        s->linear(&w, act, M, y, N, 0, N);
        s->linear_dx(&w, r->dy, N, M, dx, K, 0, K, false, scratch);
        done = true;
    }
    hone_free(scratch);
    hone_free(act);
    hone_free((void *)(uintptr_t)w.data);
    return done;
}

static bool products(const hone_kernels *set, hone_dtype t, room *r, char *why, size_t capacity) {
    size_t bytes = 0;
    uint64_t state = 7;
    (void)hone_dtype_row_bytes(t, K, &bytes);
    for (uint32_t i = 0; i < N; i++) {
        kernel_sample_row(t, K, &state, r->rows + bytes * i);
        r->row[i] = r->rows + bytes * i;
    }
    /* In f32 precision all formats become one layout: a few stand for all, so that a start stays short. */
    const bool both = t == HONE_F32 || t == HONE_Q4_1 || t == HONE_Q6_K;
    for (int p = HONE_PRECISION_SERVING; p <= (both ? HONE_PRECISION_F32 : HONE_PRECISION_SERVING); p++) {
        /* Short of memory, or weights that one of the two refuses: nothing to compare. */
        if (!run(&kernel_ref, t, (hone_precision)p, r, r->y[0], r->dx[0])) return true;
        if (!run(set, t, (hone_precision)p, r, r->y[1], r->dx[1])) return true;
        if (!same(r->y[1], r->y[0], (size_t)M * N, 1e-5f, "linear", hone_dtype_name(t), why, capacity) ||
            !same(r->dx[1], r->dx[0], (size_t)M * K, 1e-5f, "linear_dx", hone_dtype_name(t), why, capacity))
            return false;
    }
    return true;
}

/* ---- Attention ----------------------------------------------------------------------------------------------------
 */

static bool attend(const hone_kernels *s, hone_kv_type t, const float *q, const float *kv, float *out) {
    enum { H = 6, G = 2, E = 24, LEN = 40, ROWS = 3 };
    const size_t bytes = s->kv_page_bytes(t, G, E);
    uint8_t *pages[2] = {hone_alloc_aligned(1, bytes), hone_alloc_aligned(1, bytes)};
    const uint8_t *const table[2] = {pages[0], pages[1]};
    const uint8_t *const *const tables[ROWS] = {table, table, table};
    const uint32_t pos[ROWS] = {5, 31, LEN - 1};
    const hone_attention a = {.q = q,
                              .ldq = H * E,
                              .out = out,
                              .ldo = H * E,
                              .m = ROWS,
                              .n_head = H,
                              .n_kv_head = G,
                              .head_dim = E,
                              .pos = pos,
                              .pages = tables,
                              .kv_type = t,
                              .scale = 0.3f,
                              .softcap = 20.0f};
    void *scratch = hone_alloc_aligned(1, s->attention_scratch_bytes(&a));
    const bool done = pages[0] && pages[1] && scratch;
    for (uint32_t i = 0; done && i < LEN; i++)
        s->kv_store(t, G, E, pages[i / HONE_KV_PAGE], i % HONE_KV_PAGE, kv + (size_t)i * G * E,
                    kv + (size_t)(LEN - 1 - i) * G * E);
    if (done) s->attention(&a, 0, ROWS, 0, G, scratch);
    hone_free(scratch);
    hone_free(pages[0]);
    hone_free(pages[1]);
    return done;
}

static bool attention(const hone_kernels *set, room *r, char *why, size_t capacity) {
    for (int t = 0; t < HONE_KV_TYPE_COUNT; t++) {
        if (!attend(&kernel_ref, (hone_kv_type)t, r->x, r->x, r->dx[0])) return true;
        if (!attend(set, (hone_kv_type)t, r->x, r->x, r->dx[1])) return true;
        /* A bf16 weight on the edge of a rounding may fall to either side. */
        if (!same(r->dx[1], r->dx[0], 3 * 6 * 24, t == HONE_KV_F32 ? 1e-5f : 4e-3f, "attention",
                  hone_kv_type_name((hone_kv_type)t), why, capacity))
            return false;
    }
    return true;
}

/* ---- All ----------------------------------------------------------------------------------------------------------
 */

bool kernel_set_agrees(const hone_kernels *set, char *why, size_t capacity) {
    if (set == &kernel_ref) return true;
    bool agrees = true;
    uint64_t state = 42;
    room r = {0};
    r.rows = hone_zalloc(N, K * sizeof(float));
    r.x = hone_zalloc(M * K, sizeof(float));
    r.dy = hone_zalloc(M * N, sizeof(float));
    for (int i = 0; i < 2; i++) {
        r.y[i] = hone_zalloc(M * N, sizeof(float));
        r.dx[i] = hone_zalloc(M * K, sizeof(float));
    }
    if (r.rows && r.x && r.dy && r.y[0] && r.y[1] && r.dx[0] && r.dx[1]) {
        for (size_t i = 0; i < M * K; i++) r.x[i] = kernel_sample(&state);
        for (size_t i = 0; i < M * N; i++) r.dy[i] = kernel_sample(&state);
        for (int t = 0; agrees && t < HONE_DTYPE_COUNT; t++) agrees = products(set, (hone_dtype)t, &r, why, capacity);
        agrees = agrees && attention(set, &r, why, capacity);
    }
    for (int i = 0; i < 2; i++) {
        hone_free(r.y[i]);
        hone_free(r.dx[i]);
    }
    hone_free(r.dy);
    hone_free(r.x);
    hone_free(r.rows);
    return agrees;
}
