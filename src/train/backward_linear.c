/* backward_linear.c - linear layers with adapters: y = W x + b + scale * B (A x).
 *
 * With t = scale * dY B [m, r]:   dA += t^T x,   dB += scale * dY^T (A x),   dx = dY W + t A.
 * Two rounds for a group of modules that share x: all t, by rows; then everything else, whose tasks write elements of
 * their own - ranges of dx, columns of dA, rows of dB - so that no sum is shared between threads. */
#include "train/backward_parts.h"

#define COLUMNS 64u  /* a task of dx has a multiple of so many columns: linear_dx wants it */
#define TASKS 4u     /* of dx for each thread: the more columns in one, the less often dy is rounded for it */
#define SLICE 128u   /* columns of A, or rows of B, in a task */
#define DX_ROWS 256u /* rows of dx in a task: weights are unpacked once for so many */

typedef struct {
    hone_backward *b;
    const backward_group *g;
    const hone_lora *lora[3]; /* NULL: the module has no adapter */
    uint32_t k, columns, n_split, split_rows;
    uint32_t n_dx, n_a[3], n_b[3]; /* tasks of each kind; n_a + n_b is 0 without an adapter */
    const float *x_of_a;           /* what A reads */
    uint32_t dropped;              /* the part that stands in b->dropped */
} work;

static float *grad_a(const work *w, uint32_t part) {
    return w->b->grad->a[w->g->layer * HONE_MOD_COUNT + w->g->module[part]];
}
static float *grad_b(const work *w, uint32_t part) {
    return w->b->grad->b[w->g->layer * HONE_MOD_COUNT + w->g->module[part]];
}
static const hone_weight *weight(const work *w, uint32_t part) {
    return &w->b->model->layer[w->g->layer].linear[w->g->module[part]].w;
}

static void low_rank(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const work *w = arg;
    for (uint32_t p = 0; p < w->g->n; p++) {
        const hone_lora *l = w->lora[p];
        const size_t n = weight(w, p)->n;
        if (l)
            w->b->kernels->gemm_nn(row1 - row0, l->rank, (uint32_t)n, l->scale, w->g->dy[p] + row0 * n, n, l->b,
                                   l->rank, w->b->low[p] + (size_t)row0 * l->rank, l->rank, false);
    }
}

static void dx_task(const work *w, uint32_t task, void *scratch) {
    const hone_backward *b = w->b;
    /* tasks of one column range stand together: its weights are still in the cache */
    const uint32_t k0 = task / w->n_split * w->columns, k1 = w->k - k0 < w->columns ? w->k : k0 + w->columns;
    const uint32_t row0 = task % w->n_split * w->split_rows;
    const uint32_t m = b->m - row0 < w->split_rows ? b->m - row0 : w->split_rows;
    float *dx = w->g->dx + (size_t)row0 * w->k;
    for (uint32_t p = 0; p < w->g->n; p++) {
        const hone_weight *wt = weight(w, p);
        const hone_lora *l = w->lora[p];
        b->kernels->linear_dx(wt, w->g->dy[p] + (size_t)row0 * wt->n, wt->n, m, dx, w->k, k0, k1, p != 0, scratch);
        if (l && !b->dropout)
            b->kernels->gemm_nn(m, k1 - k0, l->rank, 1.0f, b->low[p] + (size_t)row0 * l->rank, l->rank, l->a + k0, w->k,
                                dx + k0, w->k, true);
    }
}

static void a_task(const work *w, uint32_t p, uint32_t task) {
    const hone_lora *l = w->lora[p];
    const uint32_t k0 = task * SLICE, n = w->k - k0 < SLICE ? w->k - k0 : SLICE;
    w->b->kernels->gemm_tn(l->rank, n, w->b->m, 1.0f, w->b->low[p], l->rank, w->x_of_a + k0, w->k, grad_a(w, p) + k0,
                           w->k, true);
}

static void b_task(const work *w, uint32_t p, uint32_t task) {
    const hone_lora *l = w->lora[p];
    const uint32_t outputs = weight(w, p)->n, n0 = task * SLICE, n = outputs - n0 < SLICE ? outputs - n0 : SLICE;
    const float *ax = w->b->tape->layer[w->g->layer].ax[w->g->module[p]];
    w->b->kernels->gemm_tn(n, l->rank, w->b->m, l->scale, w->g->dy[p] + n0, outputs, ax, l->rank,
                           grad_b(w, p) + (size_t)n0 * l->rank, l->rank, true);
}

static void everything_else(void *arg, uint32_t task, uint32_t thread) {
    const work *w = arg;
    if (task < w->n_dx) {
        dx_task(w, task, backward_scratch(w->b, thread));
        return;
    }
    task -= w->n_dx;
    for (uint32_t p = 0; p < w->g->n; p++) {
        if (task < w->n_a[p]) {
            a_task(w, p, task);
            return;
        }
        task -= w->n_a[p];
        if (task < w->n_b[p]) {
            b_task(w, p, task);
            return;
        }
        task -= w->n_b[p];
    }
}

/* ---- With dropout A reads another input for every module; slower, and apart from the usual path ---- */

static void drop_rows(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const work *w = arg;
    for (uint32_t i = row0; i < row1; i++)
        hone_dropout_row(w->b->dropout, w->g->layer, w->g->module[w->dropped], i, w->g->x + (size_t)i * w->k, w->k,
                         w->b->dropped + (size_t)i * w->k);
}

static void a_of_dropped(void *arg, uint32_t task, uint32_t thread) {
    (void)thread;
    const work *w = arg;
    a_task(w, w->dropped, task);
}

static void dx_of_dropped(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const work *w = arg;
    const hone_lora *l = w->lora[w->dropped];
    for (uint32_t i = row0; i < row1; i++) {
        float *row = w->b->dropped + (size_t)i * w->k;
        w->b->kernels->gemm_nn(1, w->k, l->rank, 1.0f, w->b->low[w->dropped] + (size_t)i * l->rank, l->rank, l->a, w->k,
                               row, w->k, false);
        hone_dropout_row(w->b->dropout, w->g->layer, w->g->module[w->dropped], i, row, w->k, row);
        w->b->kernels->add(w->g->dx + (size_t)i * w->k, row, w->k);
    }
}

void backward_linear(hone_backward *b, const backward_group *g) {
    const hone_linear *linear = b->model->layer[g->layer].linear;
    work w = {.b = b, .g = g, .k = linear[g->module[0]].w.k, .x_of_a = g->x};
    for (uint32_t p = 0; p < g->n; p++) {
        const hone_lora *l = &b->adapter->lora[g->layer][g->module[p]];
        if (l->rank == 0) continue;
        w.lora[p] = l;
        w.n_a[p] = b->dropout ? 0 : (w.k + SLICE - 1) / SLICE;
        w.n_b[p] = (linear[g->module[p]].w.n + SLICE - 1) / SLICE;
    }
    w.n_split = (b->m + DX_ROWS - 1) / DX_ROWS;
    w.split_rows = (b->m + w.n_split - 1) / w.n_split;
    const uint32_t n_column = (w.k + COLUMNS - 1) / COLUMNS, wide = n_column * w.n_split / (TASKS * b->n_threads);
    w.columns = COLUMNS * (wide < 1 ? 1 : wide);
    w.n_dx = g->dx ? (w.k + w.columns - 1) / w.columns * w.n_split : 0;
    uint32_t n_tasks = w.n_dx;
    for (uint32_t p = 0; p < g->n; p++) n_tasks += w.n_a[p] + w.n_b[p];

    backward_each_rows(b, low_rank, &w);
    hone_pool_run(b->pool, n_tasks, everything_else, &w);
    for (uint32_t p = 0; b->dropout && p < g->n; p++) {
        if (!w.lora[p]) continue;
        w.dropped = p;
        w.x_of_a = b->dropped;
        backward_each_rows(b, drop_rows, &w);
        hone_pool_run(b->pool, (w.k + SLICE - 1) / SLICE, a_of_dropped, &w);
        if (g->dx) backward_each_rows(b, dx_of_dropped, &w);
    }
}

size_t backward_linear_scratch(const hone_model *model, uint32_t max_rows) {
    size_t most = 0;
    for (uint32_t l = 0; l < model->arch.n_layer; l++)
        for (uint32_t i = 0; i < HONE_MOD_COUNT; i++) {
            const hone_weight *w = &model->layer[l].linear[i].w;
            const size_t n = w->n ? model->kernels->dx_scratch_bytes(w, max_rows < DX_ROWS ? max_rows : DX_ROWS) : 0;
            if (n > most) most = n;
        }
    return most;
}
