/* probe.c - measures the machine's limits and a set's operations.
 *
 * Every figure is the best of repeated runs for about SLICE seconds: a limit and a capability, not an average.
 *
 * Order: running and timing, limits, products, attention, rows, all. */
#include "kernel/probe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kernel/peak.h"
#include "kernel/sample.h"
#include "kernel/sets.h"

enum { READ_BYTES = 192 << 20, ROUNDS = 20000, N_MAX = 1536, K_MAX = 1536, M_MAX = 512 };
static const double SLICE = 0.02;

typedef double peak_function(peak_kind kind, const void *p, size_t bytes, uint32_t rounds);

typedef struct {
    const hone_kernels *set;
    hone_pool *pool;
    uint32_t n_threads;
    peak_function *peak;
    double limit[PEAK_COUNT]; /* operations or bytes a second */
    hone_kernel_figure *figures;
    uint32_t capacity, n;
    uint64_t state;
} probe;

/* ---- Running and timing ---------------------------------------------------------------------------------------------
 */

typedef void task_function(void *arg, uint32_t task, uint32_t thread);

/* Seconds of the fastest of at least 3 runs. */
static double fastest(probe *p, uint32_t n_tasks, task_function *fn, void *arg) {
    double best = INFINITY;
    const int64_t start = hone_clock_ns();
    for (uint32_t i = 0; i < 3 || (double)(hone_clock_ns() - start) * 1e-9 < SLICE; i++) {
        const int64_t t0 = hone_clock_ns();
        hone_pool_run(p->pool, n_tasks, fn, arg);
        const double s = (double)(hone_clock_ns() - t0) * 1e-9;
        if (s < best) best = s;
    }
    return best > 0 ? best : 1e-9;
}

static void put(probe *p, const char *operation, const char *shape, double per_second, const char *unit, double limit) {
    if (p->n == p->capacity) return;
    hone_kernel_figure *f = &p->figures[p->n++];
    snprintf(f->operation, sizeof(f->operation), "%s", operation);
    snprintf(f->shape, sizeof(f->shape), "%s", shape);
    f->value = per_second * 1e-9;
    f->unit = unit;
    f->of_limit = limit > 0 ? per_second / limit : 0;
}

/* ---- Limits ---------------------------------------------------------------------------------------------------------
 */

typedef struct {
    const probe *p;
    peak_kind kind;
    const uint8_t *memory;
    double done; /* by one task */
} peak_job;

static void peak_task(void *arg, uint32_t task, uint32_t thread) {
    (void)thread;
    peak_job *job = arg;
    const size_t share = READ_BYTES / job->p->n_threads / 256 * 256;
    const double done = job->p->peak(job->kind, job->memory + share * task, share, ROUNDS);
    if (task == 0) job->done = done;
}

/* Arithmetic is measured on one thread, in runs short enough to fall between other work, and multiplied: cores do not
 * share their units.  Memory is shared: the better of one thread and all. */
static void measure_limits(probe *p, const uint8_t *memory) {
    static const char *const names[] = {"memory", "f32", "bf16", "int8"};
    static const char *const units[] = {"GB/s", "GFLOP/s", "GFLOP/s", "GOP/s"};
    for (int kind = 0; kind < PEAK_COUNT; kind++) {
        if (kind == PEAK_READ && !memory) continue;
        peak_job job = {p, (peak_kind)kind, memory, 0};
        const double alone = fastest(p, 1, peak_task, &job);
        p->limit[kind] = job.done / alone * (kind == PEAK_READ ? 1 : p->n_threads);
        if (kind == PEAK_READ) {
            const double together = fastest(p, p->n_threads, peak_task, &job);
            if (job.done * p->n_threads / together > p->limit[kind])
                p->limit[kind] = job.done * p->n_threads / together;
        }
        if (job.done > 0) put(p, "limit", names[kind], p->limit[kind], units[kind], 0);
    }
}

static probe begin_probe(const hone_kernels *set, hone_pool *pool) {
    return (probe){.set = set,
                   .pool = pool,
                   .n_threads = hone_pool_threads(pool),
                   .peak = set == &kernel_amx      ? amx_peak
                           : set == &kernel_avx512 ? avx512_peak
                           : set == &kernel_avx2   ? avx2_peak
                                                   : ref_peak,
                   .state = 1};
}

static bool limits(probe *p) {
    uint8_t *memory = hone_alloc_aligned(1, READ_BYTES);
    for (size_t i = 0; memory && i < READ_BYTES; i += 64) memory[i] = (uint8_t)i;
    measure_limits(p, memory);
    const bool ready = memory != NULL;
    hone_free(memory);
    return ready;
}

void hone_kernels_limits(const hone_kernels *set, hone_pool *pool, hone_kernel_limits *out) {
    probe p = begin_probe(set, pool);
    (void)limits(&p);
    *out = (hone_kernel_limits){p.limit[PEAK_READ], p.limit[PEAK_F32], p.limit[PEAK_BF16], p.limit[PEAK_INT8]};
}

/* ---- Products
 * --------------------------------------------------------------------------------------------------------- */

typedef struct {
    const hone_kernels *set;
    hone_weight w;
    uint8_t *data;
    uint32_t m, chunk;
    float *x, *y;
    void *act;
    uint8_t *scratch; /* per thread, for linear_dx */
    size_t scratch_bytes;
    const void *rows[HONE_PANEL];
} product;

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* The same 16 rows in every panel: the first is laid, the others are its copies. */
static void copy_task(void *arg, uint32_t task, uint32_t thread) {
    (void)thread;
    const product *j = arg;
    const size_t panel = j->w.bytes / (j->w.n / HONE_PANEL);
    memcpy(j->data + panel * (task + 1), j->data, panel);
}
static void linear_task(void *arg, uint32_t task, uint32_t thread) {
    (void)thread;
    const product *j = arg;
    const uint32_t n0 = task * j->chunk;
    j->set->linear(&j->w, j->act, j->m, j->y, j->w.n, n0, least(n0 + j->chunk, j->w.n));
}
static void dx_task(void *arg, uint32_t task, uint32_t thread) {
    const product *j = arg;
    const uint32_t k0 = task * j->chunk;
    j->set->linear_dx(&j->w, j->y, j->w.n, j->m, j->x, j->w.k, k0, least(k0 + j->chunk, j->w.k), false,
                      j->scratch + j->scratch_bytes * thread);
}

/* A weight of n outputs (a multiple of 16), laid; false when memory is short. */
static bool begin_product(probe *p, product *j, hone_dtype t, hone_precision precision, uint32_t n, uint32_t k,
                          uint32_t m_max) {
    size_t bytes = 0;
    *j = (product){.set = p->set, .w = {.dtype = t, .precision = precision, .n = n, .k = k}};
    j->w.bytes = p->set->weight_bytes(t, precision, n, k);
    if (!j->w.bytes || !hone_dtype_row_bytes(t, k, &bytes)) return false;
    uint8_t *rows = hone_zalloc(HONE_PANEL, bytes);
    j->data = hone_alloc_aligned(1, j->w.bytes);
    j->x = hone_zalloc((size_t)m_max * k, sizeof(float));
    j->y = hone_zalloc((size_t)m_max * n, sizeof(float));
    j->act = hone_alloc_aligned(1, p->set->act_bytes(&j->w, m_max));
    j->scratch_bytes = (p->set->dx_scratch_bytes(&j->w, m_max) + 63) / 64 * 64;
    j->scratch = hone_alloc_aligned(p->n_threads, j->scratch_bytes);
    const bool ready = rows && j->data && j->x && j->y && j->act && j->scratch;
    if (ready) {
        j->w.data = j->data;
        for (uint32_t i = 0; i < HONE_PANEL; i++) {
            kernel_sample_row(t, k, &p->state, rows + bytes * i);
            j->rows[i] = rows + bytes * i;
        }
        (void)p->set->weight_lay(&j->w, j->data, j->rows, 0, HONE_PANEL, NULL);
        hone_pool_run(p->pool, n / HONE_PANEL - 1, copy_task, j);
        for (size_t i = 0; i < (size_t)m_max * k; i++) j->x[i] = kernel_sample(&p->state);
        p->set->act_lay(&j->w, j->x, k, m_max, 0, m_max, j->act);
    }
    hone_free(rows);
    return ready;
}

static void end_product(product *j) {
    hone_free(j->data);
    hone_free(j->x);
    hone_free(j->y);
    hone_free(j->act);
    hone_free(j->scratch);
}

static double arithmetic_limit(const probe *p, const product *j) {
    const bool serving = j->w.precision == HONE_PRECISION_SERVING;
    if (serving && j->w.dtype == HONE_BF16 && p->limit[PEAK_BF16] > 0) return p->limit[PEAK_BF16];
    if (serving && j->w.dtype >= HONE_Q4_0) return p->limit[PEAK_INT8];
    return p->limit[PEAK_F32];
}

/* y = x W^T: one row with weights from memory, and many rows with weights in the cache. */
static bool products_of(probe *p, hone_dtype t) {
    if (p->n == p->capacity) return true; /* no room for what it would find */
    const uint32_t k = 768;               /* whole blocks of every format */
    const bool slow = p->set == &kernel_ref;
    size_t row = 0;
    char shape[64];
    product j;
    (void)hone_dtype_row_bytes(t, k, &row);
    const uint32_t n_long = (uint32_t)((slow ? 2u << 20 : READ_BYTES) / row) / 1024 * 1024 + 1024;
    bool ready = begin_product(p, &j, t, HONE_PRECISION_SERVING, n_long, k, 1);
    if (ready) {
        j.m = 1;
        j.chunk = 512;
        const double s = fastest(p, (n_long + 511) / 512, linear_task, &j);
        snprintf(shape, sizeof(shape), "%s m=1 from memory", hone_dtype_name(t));
        put(p, "linear", shape, (double)j.w.bytes / s, "GB/s", p->limit[PEAK_READ]);
    }
    end_product(&j);
    if (!ready) return false;
    const uint32_t n = slow ? 64 : N_MAX;
    const uint32_t m_max = slow ? 64 : M_MAX;
    ready = begin_product(p, &j, t, HONE_PRECISION_SERVING, n, k, m_max);
    for (j.m = 8; ready && j.m <= m_max; j.m *= 8) {
        j.chunk = (n / HONE_PANEL + 2 * p->n_threads - 1) / (2 * p->n_threads) * HONE_PANEL;
        const double s = fastest(p, (n + j.chunk - 1) / j.chunk, linear_task, &j);
        snprintf(shape, sizeof(shape), "%s n=%u k=%u m=%u", hone_dtype_name(t), n, k, j.m);
        put(p, "linear", shape, 2.0 * n * k * j.m / s, t >= HONE_Q4_0 ? "GOP/s" : "GFLOP/s", arithmetic_limit(p, &j));
    }
    end_product(&j);
    return ready;
}

static bool backward_of(probe *p, hone_precision precision) {
    const bool slow = p->set == &kernel_ref;
    const uint32_t n = slow ? 64 : 576, k = 1536, m = slow ? 8 : 256;
    char shape[64];
    product j;
    const bool ready = begin_product(p, &j, HONE_Q4_1, precision, n, k, m);
    if (ready) {
        j.m = m;
        j.chunk = (k + p->n_threads * 64 - 1) / (p->n_threads * 64) * 64;
        const double s = fastest(p, (k + j.chunk - 1) / j.chunk, dx_task, &j);
        snprintf(shape, sizeof(shape), "Q4_1 %s n=%u k=%u m=%u", precision ? "f32" : "serving", n, k, m);
        const double limit = precision || p->limit[PEAK_BF16] <= 0 ? p->limit[PEAK_F32] : p->limit[PEAK_BF16];
        put(p, "linear_dx", shape, 2.0 * n * k * m / s, "GFLOP/s", limit);
    }
    end_product(&j);
    return ready;
}

/* ---- Attention
 * ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    const hone_kernels *set;
    hone_attention a;
    uint32_t row0, rows; /* of a task; the rest of the row range follows */
    uint8_t *scratch;
    size_t scratch_bytes;
} attention_job;

static void attention_task(void *arg, uint32_t task, uint32_t thread) {
    const attention_job *j = arg;
    const uint32_t per = j->a.n_kv_head, r0 = j->row0 + task / per * j->rows;
    j->set->attention(&j->a, r0, least(r0 + j->rows, j->a.m), task % per, task % per + 1,
                      j->scratch + j->scratch_bytes * thread);
}

/* Decoding: one row of each of SEQUENCES at T, whose pages come from memory. */
static bool attention_from_memory(probe *p, attention_job *j, const uint8_t *one, size_t sequence_bytes,
                                  uint32_t n_page) {
    enum { SEQUENCES = 96 };
    uint8_t *memory = hone_alloc_aligned(SEQUENCES, sequence_bytes);
    const uint8_t **pages = hone_zalloc((size_t)SEQUENCES * n_page, sizeof(*pages));
    const uint8_t *const **tables = hone_zalloc(SEQUENCES, sizeof(*tables));
    uint32_t *pos = hone_zalloc(SEQUENCES, sizeof(*pos));
    const bool ready = memory && pages && tables && pos;
    if (ready) {
        char shape[64];
        for (uint32_t i = 0; i < SEQUENCES; i++) {
            memcpy(memory + i * sequence_bytes, one, sequence_bytes);
            pos[i] = n_page * HONE_KV_PAGE - 1;
            tables[i] = pages + (size_t)i * n_page;
            for (uint32_t k = 0; k < n_page; k++)
                pages[(size_t)i * n_page + k] = memory + i * sequence_bytes + k * (sequence_bytes / n_page);
        }
        j->a.m = SEQUENCES;
        j->a.pos = pos;
        j->a.pages = tables;
        j->row0 = 0;
        j->rows = 4;
        const double s = fastest(p, SEQUENCES / j->rows * j->a.n_kv_head, attention_task, j);
        snprintf(shape, sizeof(shape), "%s %d rows at %u, from memory", hone_kv_type_name(j->a.kv_type), SEQUENCES,
                 n_page * HONE_KV_PAGE);
        put(p, "attention", shape, (double)sequence_bytes * SEQUENCES / s, "GB/s", p->limit[PEAK_READ]);
    }
    hone_free(memory);
    hone_free(pages);
    hone_free(tables);
    hone_free(pos);
    return ready;
}

static bool attention_of(probe *p, hone_kv_type t) {
    enum { T = M_MAX, H = 9, G = 3, E = 64, PAGES = T / HONE_KV_PAGE };
    const size_t page_bytes = (p->set->kv_page_bytes(t, G, E) + 63) / 64 * 64, wide = (size_t)H * E;
    float *q = hone_zalloc(T * wide, sizeof(float)), *out = hone_zalloc(T * wide, sizeof(float));
    uint8_t *memory = hone_alloc_aligned(PAGES, page_bytes);
    uint32_t *pos = hone_zalloc(T, sizeof(*pos));
    const uint8_t *const **tables = hone_zalloc(T, sizeof(*tables));
    const uint8_t *pages[PAGES];
    attention_job j = {.set = p->set,
                       .a = {.q = q,
                             .ldq = wide,
                             .out = out,
                             .ldo = wide,
                             .m = T,
                             .n_head = H,
                             .n_kv_head = G,
                             .head_dim = E,
                             .pos = pos,
                             .pages = tables,
                             .kv_type = t,
                             .scale = 0.125f}};
    j.scratch_bytes = (p->set->attention_scratch_bytes(&j.a) + 63) / 64 * 64;
    j.scratch = hone_alloc_aligned(p->n_threads, j.scratch_bytes);
    bool ready = q && out && memory && pos && tables && j.scratch;
    if (ready) {
        char shape[64];
        for (size_t i = 0; i < T * wide; i++) q[i] = kernel_sample(&p->state);
        for (uint32_t i = 0; i < PAGES; i++) pages[i] = memory + page_bytes * i;
        for (uint32_t i = 0; i < T; i++) {
            pos[i] = i;
            tables[i] = pages;
            p->set->kv_store(t, G, E, memory + page_bytes * (i / HONE_KV_PAGE), i % HONE_KV_PAGE, q + wide * i, q);
        }
        j.rows = 32;
        double s = fastest(p, T / j.rows * G, attention_task, &j);
        const double limit = t == HONE_KV_F32 || p->limit[PEAK_BF16] <= 0 ? p->limit[PEAK_F32] : p->limit[PEAK_BF16];
        snprintf(shape, sizeof(shape), "%s prompt of %d, 9 heads on 3 of 64", hone_kv_type_name(t), T);
        put(p, "attention", shape, 2.0 * T * (T + 1) * (double)wide / s, "GFLOP/s", limit);
        j.row0 = T - 1;
        j.rows = 1;
        s = fastest(p, G, attention_task, &j);
        snprintf(shape, sizeof(shape), "%s one row at %d, in the cache", hone_kv_type_name(t), T);
        put(p, "attention", shape, (double)page_bytes * PAGES / s, "GB/s", 0);
        if (p->set != &kernel_ref) ready = attention_from_memory(p, &j, memory, page_bytes * PAGES, PAGES);
    }
    hone_free(q);
    hone_free(out);
    hone_free(memory);
    hone_free(pos);
    hone_free(tables);
    hone_free(j.scratch);
    return ready;
}

/* ---- Rows and plain products, by one thread
 * ------------------------------------------------------------------------------- */

typedef struct {
    const hone_kernels *set;
    float *a, *b, *c;
    hone_weight w; /* of int8 activations */
    void *act;
    int which;
} rows_job;

enum { ROWS_M = 256, ROWS_D = 576, RANK = 16, ROWS_PLAIN = 4, ROWS_COUNT = 10 };

static void rows_task(void *arg, uint32_t task, uint32_t thread) {
    (void)task;
    (void)thread;
    const rows_job *j = arg;
    const hone_kernels *s = j->set;
    switch (j->which) {
    case 0: s->rms_norm(j->a, ROWS_D, j->b, false, 1e-5f, ROWS_M, ROWS_D, j->c, ROWS_D, NULL); break;
    case 1: s->gated(HONE_ACT_SILU, j->a, j->b, (size_t)ROWS_M * ROWS_D, j->c); break;
    case 2: j->c[0] = s->log_sum_exp(j->a, (size_t)ROWS_M * ROWS_D); break;
    case 3: s->act_lay(&j->w, j->a, ROWS_D, ROWS_M, 0, ROWS_M, j->act); break;
    case 4: s->gemm_nt(ROWS_M, RANK, ROWS_D, 1, j->a, ROWS_D, j->b, ROWS_D, j->c, RANK, false); break;
    case 5: s->gemm_nt(ROWS_M, ROWS_D, RANK, 1, j->a, RANK, j->b, RANK, j->c, ROWS_D, true); break;
    case 6: s->gemm_nn(ROWS_M, RANK, ROWS_D, 1, j->a, ROWS_D, j->b, RANK, j->c, RANK, false); break;
    case 7: s->gemm_tn(ROWS_D, RANK, ROWS_M, 1, j->a, ROWS_D, j->b, RANK, j->c, RANK, true); break;
    case 8: s->lora_down(ROWS_M, RANK, ROWS_D, j->a, ROWS_D, HONE_F32, j->b, j->c, RANK); break;
    case 9: s->lora_up(ROWS_M, ROWS_D, RANK, 1, j->a, RANK, HONE_F32, j->b, j->c, ROWS_D); break;
    default: break;
    }
}

static bool rows_of(probe *p) {
    static const char *const names[] = {"rms_norm", "gated",   "log_sum_exp", "act_lay",   "gemm_nt",
                                        "gemm_nt",  "gemm_nn", "gemm_tn",     "lora_down", "lora_up"};
    static const char *const shapes[] = {"256 rows of 576",        "silu, 147456",           "147456",
                                         "int8, 256 rows of 576",  "256x16x576, one thread", "256x576x16, one thread",
                                         "256x16x576, one thread", "576x16x256, one thread", "256x16x576, one thread",
                                         "256x576x16, one thread"};
    const size_t n = (size_t)ROWS_M * ROWS_D;
    rows_job j = {.set = p->set,
                  .a = hone_zalloc(n, 4),
                  .b = hone_zalloc(n, 4),
                  .c = hone_zalloc(n, 4),
                  .w = {.dtype = HONE_Q4_1, .n = HONE_PANEL, .k = ROWS_D}};
    j.act = hone_alloc_aligned(1, p->set->act_bytes(&j.w, ROWS_M));
    const bool ready = j.a && j.b && j.c && j.act;
    for (size_t i = 0; ready && i < n; i++) {
        j.a[i] = kernel_sample(&p->state);
        j.b[i] = kernel_sample(&p->state);
    }
    for (j.which = 0; ready && j.which < ROWS_COUNT; j.which++) {
        if (j.which >= 8 && !p->set->lora_down) continue;
        const double s = fastest(p, 1, rows_task, &j);
        if (j.which < ROWS_PLAIN)
            put(p, names[j.which], shapes[j.which], (double)n / s, "G/s", 0);
        else
            put(p, names[j.which], shapes[j.which], 2.0 * RANK * (double)n / s, "GFLOP/s",
                p->limit[PEAK_F32] / p->n_threads);
    }
    hone_free(j.a);
    hone_free(j.b);
    hone_free(j.c);
    hone_free(j.act);
    return ready;
}

/* ---- All
 * -------------------------------------------------------------------------------------------------------------------
 */

hone_status hone_kernels_probe(const hone_kernels *set, hone_pool *pool, hone_kernel_figure *figures, uint32_t capacity,
                               uint32_t *n, hone_error *err) {
    probe p = begin_probe(set, pool);
    p.figures = figures;
    p.capacity = capacity;
    bool ready = limits(&p);
    for (int t = 0; t < HONE_DTYPE_COUNT; t++) ready = products_of(&p, (hone_dtype)t) && ready;
    for (int precision = 0; precision < 2; precision++) ready = backward_of(&p, (hone_precision)precision) && ready;
    for (int t = 0; t < HONE_KV_TYPE_COUNT; t++) ready = attention_of(&p, (hone_kv_type)t) && ready;
    ready = rows_of(&p) && ready;
    *n = p.n;
    return ready ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "kernels: not enough memory for every measurement");
}
