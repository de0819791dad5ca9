/* linear.c - row stages and products of the forward pass; the contract is in forward_internal.h.
 *
 * A product is cut into tasks of (block of rows) x (range of output panels).  Neither cut changes a bit: an output is a
 * sum over K in an order of its own (kernel.h).  Biases, adapters and what follows on the same outputs alone are done
 * by the task that made them, while they are in its cache.
 *
 * Adapters: rows stand in runs of one adapter each (forward.c).  A x of all runs and matrices of a stage is a dispatch
 * of its own, whose tasks are (run, matrix, range of ranks): with many adapters in a step memory is what binds, and all
 * threads read.
 *
 * Order: cutting rows, building a stage, laying inputs, A x, B (A x), one task, the dispatch, what comes next. */
#include <string.h>

#include "base/random.h"

#include "engine/forward_internal.h"

/* Laid activations of one block of rows: about half of a core's second-level cache. */
#define BLOCK_BYTES (512u << 10)
#define MAX_BLOCK_ROWS 256u
/* Row stages of so few rows cost less than waking another core. */
#define FEW_ROWS 16u
/* More tasks than threads, so that a thread that was held up does not hold up the rest. */
#define TASKS_PER_THREAD 4u
/* A task of the MLP writes gate, up and their product and reads the first two again: this much stays in the cache. */
#define MLP_TASK_BYTES (256u << 10)
/* What a waiting thread fetches of the next weights; with more rows than FEW_ROWS arithmetic binds, not memory. */
#define AHEAD_BYTES (192u << 10)
/* Matrices A of so few elements cost less than waking another core. */
#define FEW_ELEMENTS (32u << 10)
/* Of one run's B, at most so much is asked for ahead: a part of the first cache. */
#define ASK_BYTES (12u << 10)
/* Up to this rank gemm_nt sums as one chain over the rank, as laid matrices are summed whatever their rank. */
#define CHAIN_RANK 64u

static uint32_t ceil_div(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}
static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}
static uint32_t max_u32(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* --- cutting rows --- */

typedef struct {
    void (*fn)(void *arg, uint32_t row0, uint32_t row1, uint32_t thread);
    void *arg;
    uint32_t m, chunk;
} rows_job;

static void rows_task(void *arg, uint32_t task, uint32_t thread) {
    const rows_job *job = arg;
    const uint32_t row0 = task * job->chunk;
    job->fn(job->arg, row0, min_u32(row0 + job->chunk, job->m), thread);
}

void forward_rows(hone_forward *f, uint32_t m, void (*fn)(void *arg, uint32_t row0, uint32_t row1, uint32_t thread),
                  void *arg) {
    if (m <= FEW_ROWS || f->n_threads == 1) {
        fn(arg, 0, m, 0);
        return;
    }
    const uint32_t groups = ceil_div(m, 16);
    rows_job job = {fn, arg, m, 16 * ceil_div(groups, f->n_threads * TASKS_PER_THREAD)};
    hone_pool_run(f->pool, ceil_div(m, job.chunk), rows_task, &job);
}

uint32_t forward_block_rows(uint32_t width, uint32_t max_rows) {
    uint32_t rows = BLOCK_BYTES / max_u32(width, 1) / 64 * 64;
    rows = max_u32(min_u32(rows, MAX_BLOCK_ROWS), 64);
    return min_u32(rows, ceil_div(max_rows, 16) * 16);
}

static size_t block_bytes(const hone_kernels *k, const hone_weight *w, uint32_t rows) {
    return (k->act_bytes(w, rows) + 63) / 64 * 64;
}

size_t forward_act_bytes(const hone_kernels *k, const hone_weight *w, uint32_t max_rows) {
    const uint32_t rows = forward_block_rows(w->k, max_rows);
    return block_bytes(k, w, rows) * ceil_div(max_rows, rows);
}

/* --- building a stage --- */

void forward_stage_init(forward_stage *s, hone_forward *f, const forward_layer *layer, const float *x, uint32_t m) {
    memset(s, 0, sizeof(*s));
    s->f = f;
    s->layer = layer;
    s->x = x;
    s->m = m;
    s->segment = layer ? f->segment : f->head_segment;
    s->n_segment = layer ? f->n_segment : f->n_head_segment;
    s->row_adapter = layer ? f->row_adapter : f->head_adapter;
}

void forward_stage_add(forward_stage *s, const hone_linear *linear, hone_module module, float *y) {
    hone_forward *f = s->f;
    const uint32_t i = s->n_item++;
    if (i == 0) {
        s->width = linear->w.k;
        s->block_rows = forward_block_rows(s->width, max_u32(f->max_rows, f->max_logit_rows));
    }
    forward_item *item = &s->item[i];
    *item = (forward_item){.module = module, .linear = linear, .act = f->act[i], .lays = true, .y = y};
    s->block_bytes[i] = block_bytes(f->kernels, &linear->w, s->block_rows);
    for (uint32_t j = 0; j < i; j++) {
        if (f->kernels->act_kind(&s->item[j].linear->w) != f->kernels->act_kind(&linear->w)) continue;
        item->act = s->item[j].act;
        item->lays = false;
        break;
    }
    if (s->layer && s->layer->tape) {
        item->ax = s->layer->tape->ax[module];
    } else {
        item->ax = f->ax[i];
        item->ax_fixed = HONE_FORWARD_MAX_RANK;
    }
}

/* --- laying inputs --- */

void hone_dropout_row(const hone_dropout *dropout, uint32_t layer, hone_module module, uint32_t row, const float *x,
                      uint32_t n, float *out) {
    const float scale = 1.0f / (1.0f - dropout->p);
    const uint32_t which = (layer * HONE_MOD_COUNT + (uint32_t)module) << 20;
    for (uint32_t e = 0; e < n; e += 4) {
        uint32_t word[4];
        hone_random_block(dropout->seed, dropout->step, which | e / 4, dropout->row_id[row], word);
        for (uint32_t i = 0; i < 4 && e + i < n; i++)
            out[e + i] = (float)(word[i] >> 8) * 0x1p-24f >= dropout->p ? x[e + i] * scale : 0.0f;
    }
}

void forward_stage_lay(const forward_stage *s, uint32_t row0, uint32_t row1) {
    const hone_kernels *k = s->f->kernels;
    const uint32_t block = s->block_rows;
    for (uint32_t from = row0, to; from < row1; from = to) {
        const uint32_t b = from / block;
        to = min_u32(row1, (b + 1) * block);
        const uint32_t rows_of_block = min_u32(block, s->m - b * block);
        for (uint32_t i = 0; i < s->n_item; i++) {
            if (!s->item[i].lays) continue;
            k->act_lay(&s->item[i].linear->w, s->x + (size_t)b * block * s->width, s->width, rows_of_block,
                       from - b * block, to - b * block, s->item[i].act + b * s->block_bytes[i]);
        }
    }
}

/* --- A x --- */

static const hone_lora *lora_of(const hone_adapter *adapter, const forward_stage *s, const forward_item *item) {
    const hone_lora *lora = s->layer ? &adapter->lora[s->layer->l][item->module] : &adapter->head;
    return lora->rank ? lora : NULL;
}

static uint32_t ax_stride(const forward_item *item, const hone_lora *lora) {
    return item->ax_fixed ? item->ax_fixed : lora->rank;
}

/* ax[m, r0 .. r1] of rows x. */
static void lora_down(const hone_kernels *k, const hone_lora *lora, uint32_t m, uint32_t r0, uint32_t r1,
                      const float *x, uint32_t width, float *ax, size_t ldax) {
    const size_t at = (size_t)r0 * width;
    if (!lora->laid_a)
        k->gemm_nt(m, r1 - r0, width, 1.0f, x, width, lora->a + at, width, ax + r0, ldax, false);
    else if (k->lora_down)
        k->lora_down(m, r1 - r0, width, x, width, lora->type,
                     (const uint8_t *)lora->laid_a + at * hone_dtype_block_bytes(lora->type), ax + r0, ldax);
    else
        k->gemm_nt(m, r1 - r0, width, 1.0f, x, width, (const float *)lora->laid_a + at, width, ax + r0, ldax, false);
}

typedef struct {
    const forward_stage *s;
    uint32_t n_piece; /* ranges of ranks */
} down_job;

static void down_task(void *arg, uint32_t task, uint32_t thread) {
    const down_job *job = arg;
    const forward_stage *s = job->s;
    hone_forward *f = s->f;
    const uint32_t piece = task % job->n_piece, d = s->width;
    const forward_item *item = &s->item[task / job->n_piece % s->n_item];
    const forward_segment *seg = &s->segment[task / job->n_piece / s->n_item];
    const hone_lora *lora = lora_of(seg->adapter, s, item);
    if (!lora) return;
    const uint32_t ldax = ax_stride(item, lora);
    const uint32_t r0 = (uint32_t)((uint64_t)lora->rank * piece / job->n_piece) / 4 * 4;
    const uint32_t r1 =
        piece + 1 == job->n_piece ? lora->rank : (uint32_t)((uint64_t)lora->rank * (piece + 1) / job->n_piece) / 4 * 4;
    if (r0 == r1) return;
    if (!f->dropout || f->dropout->p <= 0 || !s->layer) {
        lora_down(f->kernels, lora, seg->row1 - seg->row0, r0, r1, s->x + (size_t)seg->row0 * d, d,
                  item->ax + (size_t)seg->row0 * ldax, ldax);
        return;
    }
    float *dropped = f->thread_rows + thread * 16 * f->thread_width;
    for (uint32_t r = seg->row0; r < seg->row1; r += 16) {
        const uint32_t n = min_u32(16, seg->row1 - r);
        for (uint32_t j = 0; j < n; j++)
            hone_dropout_row(f->dropout, s->layer->l, item->module, r + j, s->x + (size_t)(r + j) * d, d,
                             dropped + (size_t)j * d);
        lora_down(f->kernels, lora, n, r0, r1, dropped, d, item->ax + (size_t)r * ldax, ldax);
    }
}

static void run_down(const forward_stage *s) {
    const hone_forward *f = s->f;
    const uint32_t n = s->n_segment * s->n_item;
    uint32_t most = 0;
    uint64_t elements = 0; /* of A, once for each run that reads it */
    for (uint32_t g = 0; g < s->n_segment; g++)
        for (uint32_t i = 0; i < s->n_item; i++) {
            const hone_lora *lora = lora_of(s->segment[g].adapter, s, &s->item[i]);
            if (!lora) continue;
            elements += (uint64_t)lora->rank * s->width;
            most = max_u32(most, lora->rank);
        }
    if (elements == 0) return;
    const uint32_t want = f->n_threads * TASKS_PER_THREAD;
    down_job job = {s, 1};
    /* Where dropout is on, every piece would make the same dropped rows again. */
    if (n < want && f->n_threads > 1 && !f->dropout) job.n_piece = max_u32(1, min_u32(ceil_div(want, n), most / 8));
    const bool few = elements < FEW_ELEMENTS && s->m <= FEW_ROWS;
    hone_pool_run(few ? NULL : f->pool, n * job.n_piece, down_task, &job);
}

/* --- B (A x) --- */

void forward_lora_up(const hone_kernels *k, const hone_lora *lora, uint32_t m, const float *ax, size_t ldax,
                     uint32_t n0, uint32_t n1, float *y, size_t ldy) {
    const uint32_t rank = lora->rank;
    const size_t at = (size_t)n0 * rank;
    if (lora->laid_b && k->lora_up) {
        k->lora_up(m, n1 - n0, rank, lora->scale, ax, ldax, lora->type,
                   (const uint8_t *)lora->laid_b + at * hone_dtype_block_bytes(lora->type), y + n0, ldy);
        return;
    }
    if (!lora->laid_b && (rank <= CHAIN_RANK || rank > HONE_FORWARD_MAX_RANK)) {
        k->gemm_nt(m, n1 - n0, rank, lora->scale, ax, ldax, lora->b + at, rank, y + n0, ldy, true);
        return;
    }
    float turned[HONE_FORWARD_MAX_RANK * HONE_PANEL];
    for (uint32_t j = n0; j < n1; j += HONE_PANEL) {
        const uint32_t len = min_u32(n1 - j, HONE_PANEL);
        const float *panel = (const float *)lora->laid_b + (size_t)j * rank;
        if (!lora->laid_b) {
            panel = turned;
            for (uint32_t i = 0; i < len; i++)
                for (uint32_t r = 0; r < rank; r++) turned[r * HONE_PANEL + i] = lora->b[(size_t)(j + i) * rank + r];
        }
        k->gemm_nn(m, len, rank, lora->scale, ax, ldax, panel, HONE_PANEL, y + j, ldy, true);
    }
}

/* Asks memory for the part of B that the run after g will want, if that is another adapter's.  Each part is a few KiB,
 * too short for the processor to guess; asking one run ahead keeps many lines under way. */
static void ask_for_next(const forward_stage *s, const forward_item *item, uint32_t g, uint32_t row1, uint32_t n0,
                         uint32_t n1) {
    if (g + 1 >= s->n_segment) return;
    const forward_segment *seg = &s->segment[g + 1];
    if (seg->row0 >= row1 || seg->adapter == s->segment[g].adapter) return;
    const hone_lora *lora = lora_of(seg->adapter, s, item);
    if (!lora || !lora->laid_b) return;
    const size_t one = lora->rank * hone_dtype_block_bytes(lora->type);
    const char *at = (const char *)lora->laid_b + n0 * one, *end = (const char *)lora->laid_b + n1 * one;
    for (size_t n = 0; at < end && n < ASK_BYTES; at += 64, n += 64) __builtin_prefetch(at);
}

static void add_adapters(const forward_stage *s, const forward_item *item, uint32_t row0, uint32_t row1, uint32_t n0,
                         uint32_t n1) {
    const hone_kernels *k = s->f->kernels;
    const uint32_t n = item->linear->w.n;
    for (uint32_t g = 0; g < s->n_segment; g++) {
        const forward_segment *seg = &s->segment[g];
        const uint32_t from = max_u32(row0, seg->row0), to = min_u32(row1, seg->row1);
        if (from >= to) continue;
        ask_for_next(s, item, g, row1, n0, n1);
        const hone_lora *lora = lora_of(seg->adapter, s, item);
        if (!lora) continue;
        const uint32_t ldax = ax_stride(item, lora);
        forward_lora_up(k, lora, to - from, item->ax + (size_t)from * ldax, ldax, n0, n1, item->y + (size_t)from * n,
                        n);
        for (uint32_t r = from; lora->gain && r < to; r++) {
            float *y = item->y + (size_t)r * n;
            for (uint32_t j = n0; j < n1; j++) y[j] *= lora->gain[j];
            if (item->linear->bias) k->add(y + n0, item->linear->bias + n0, n1 - n0);
        }
    }
}

/* DoRA scales the product without its bias, which add_adapters adds to such rows. */
static bool bias_waits(const forward_stage *s, const forward_item *item, uint32_t row) {
    const hone_adapter *adapter = s->n_segment ? s->row_adapter[row] : NULL;
    const hone_lora *lora = adapter && adapter->dora ? lora_of(adapter, s, item) : NULL;
    return lora && lora->gain;
}

/* --- one task: rows of a block, panels p0..p1 of the outputs of all items --- */

static void clamp(float *y, float limit, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) y[i] = y[i] > limit ? limit : y[i] < -limit ? -limit : y[i];
}

/* y[rows, n0..n1] of one item, complete: W x + b + scale * B (A x). */
static void one_product(const forward_stage *s, uint32_t i, uint32_t block, uint32_t n0, uint32_t n1) {
    const hone_kernels *k = s->f->kernels;
    const forward_item *item = &s->item[i];
    const hone_arch *arch = &s->f->model->arch;
    const uint32_t n = item->linear->w.n;
    const uint32_t row0 = block * s->block_rows, row1 = min_u32(row0 + s->block_rows, s->m);
    const uint8_t *act = item->act;
    for (uint32_t j = 0; j <= i; j++) /* the stride is that of the item which laid it */
        if (s->item[j].act == item->act) {
            act += block * s->block_bytes[j];
            break;
        }
    k->linear(&item->linear->w, act, row1 - row0, item->y + (size_t)row0 * n, n, n0, n1);
    if (item->linear->bias)
        for (uint32_t r = row0; r < row1; r++)
            if (!bias_waits(s, item, r)) k->add(item->y + (size_t)r * n + n0, item->linear->bias + n0, n1 - n0);
    if (s->n_segment) add_adapters(s, item, row0, row1, n0, n1);
    if (s->tail == FORWARD_QKV && arch->clip_qkv > 0)
        for (uint32_t r = row0; r < row1; r++) clamp(item->y + (size_t)r * n + n0, arch->clip_qkv, n1 - n0);
    if (s->tail == FORWARD_HEAD)
        for (uint32_t r = row0; r < row1; r++) {
            float *y = item->y + (size_t)r * n + n0;
            if (arch->logit_scale != 1.0f)
                for (uint32_t j = 0; j < n1 - n0; j++) y[j] *= arch->logit_scale;
            if (arch->logit_softcap > 0) k->softcap(y, arch->logit_softcap, n1 - n0);
        }
}

/* The MLP's activation on the outputs that this task made. */
static void activate(const forward_stage *s, uint32_t block, uint32_t n0, uint32_t n1) {
    const hone_arch *arch = &s->f->model->arch;
    const uint32_t n = s->item[0].linear->w.n;
    const uint32_t row0 = block * s->block_rows, row1 = min_u32(row0 + s->block_rows, s->m);
    for (uint32_t r = row0; r < row1; r++) {
        const size_t at = (size_t)r * n + n0;
        s->f->kernels->gated(arch->act, s->item[0].y + at, arch->mlp_gated ? s->item[1].y + at : NULL, n1 - n0,
                             s->mlp + at);
    }
}

typedef struct {
    const forward_stage *s;
    uint32_t n_block, n_range, panels;
} product_job;

static void product_task(void *arg, uint32_t task, uint32_t thread) {
    (void)thread;
    const product_job *job = arg;
    const forward_stage *s = job->s;
    const uint32_t block = task / job->n_range, range = task % job->n_range;
    const uint32_t p0 = (uint32_t)((uint64_t)job->panels * range / job->n_range);
    const uint32_t p1 = (uint32_t)((uint64_t)job->panels * (range + 1) / job->n_range);
    if (s->tail == FORWARD_MLP) { /* gate and up have the same outputs */
        const uint32_t n = s->item[0].linear->w.n;
        const uint32_t n0 = p0 * HONE_PANEL, n1 = min_u32(p1 * HONE_PANEL, n);
        for (uint32_t i = 0; i < s->n_item; i++) one_product(s, i, block, n0, n1);
        activate(s, block, n0, n1);
        return;
    }
    uint32_t first = 0;
    for (uint32_t i = 0; i < s->n_item; i++) {
        const uint32_t n = s->item[i].linear->w.n, panels = ceil_div(n, HONE_PANEL);
        const uint32_t a = max_u32(p0, first), b = min_u32(p1, first + panels);
        if (a < b) one_product(s, i, block, (a - first) * HONE_PANEL, min_u32((b - first) * HONE_PANEL, n));
        first += panels;
    }
}

void forward_stage_run(const forward_stage *s) {
    if (s->n_segment) run_down(s);
    product_job job = {.s = s, .n_block = ceil_div(s->m, s->block_rows)};
    if (s->tail == FORWARD_MLP)
        job.panels = ceil_div(s->item[0].linear->w.n, HONE_PANEL);
    else
        for (uint32_t i = 0; i < s->n_item; i++) job.panels += ceil_div(s->item[i].linear->w.n, HONE_PANEL);
    const uint32_t want = s->f->n_threads == 1 ? 1 : s->f->n_threads * TASKS_PER_THREAD;
    job.n_range = max_u32(1, ceil_div(want, job.n_block));
    if (s->tail == FORWARD_MLP && s->f->n_threads > 1) {
        const uint32_t rows = min_u32(s->block_rows, s->m), bytes = rows * HONE_PANEL * 3 * (uint32_t)sizeof(float);
        job.n_range = max_u32(job.n_range, ceil_div(job.panels, max_u32(1, MLP_TASK_BYTES / bytes)));
    }
    job.n_range = min_u32(job.n_range, job.panels);
    hone_pool_run(s->f->pool, job.n_block * job.n_range, product_task, &job);
}

/* Each thread begins with its part of the panels.  Gate and up share tasks: gate alone is asked for. */
void forward_ahead(hone_forward *f, const hone_linear *const *linear, uint32_t n_item) {
    if (f->m > FEW_ROWS || f->n_threads == 1) return;
    uint32_t panels = 0;
    for (uint32_t i = 0; i < n_item; i++) panels += ceil_div(linear[i]->w.n, HONE_PANEL);
    for (uint32_t t = 0; t < f->n_threads; t++) {
        uint32_t first = (uint32_t)((uint64_t)panels * t / f->n_threads), i = 0;
        for (; i + 1 < n_item && first >= ceil_div(linear[i]->w.n, HONE_PANEL); i++)
            first -= ceil_div(linear[i]->w.n, HONE_PANEL);
        const hone_weight *w = &linear[i]->w;
        const size_t from = w->bytes / ceil_div(w->n, HONE_PANEL) * first, rest = w->bytes - from;
        hone_pool_ahead(f->pool, t, (const uint8_t *)w->data + from, rest < AHEAD_BYTES ? rest : AHEAD_BYTES);
    }
}
