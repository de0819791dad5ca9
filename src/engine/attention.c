/* attention.c - positions and attention of the forward pass; the contract is in forward_internal.h.
 *
 * Order: norms, positions (query and key norms, rotation, storing), attention and how it is cut. */
#include "engine/forward_internal.h"

/* Scores (query head x position) that one core works off before waking another pays. */
#define FEW_SCORES 2048u
#define MAX_CHUNK_ROWS 32u
#define MIN_CUT_ROWS 16u

void forward_norm(const hone_forward *f, const hone_norm *norm, const float *x, uint32_t m, uint32_t d, float *y,
                  float *inv) {
    const hone_arch *a = &f->model->arch;
    if (a->norm == HONE_NORM_RMS)
        f->kernels->rms_norm(x, d, norm->weight, a->norm_plus_one, a->norm_eps, m, d, y, d, inv);
    else
        f->kernels->layer_norm(x, d, norm->weight, norm->bias, a->norm_plus_one, a->norm_eps, m, d, y, d, inv);
}

typedef struct {
    hone_forward *f;
    const forward_layer *layer;
} layer_job;

static void head_norms(const layer_job *job, float *q, float *k, uint32_t row0, uint32_t n) {
    const hone_arch *a = &job->f->model->arch;
    const hone_tape_layer *tape = job->layer->tape;
    const bool each = a->qk_norm == HONE_QK_NORM_HEAD;
    const uint32_t nq = each ? a->n_head : 1, nk = each ? a->n_kv_head : 1;
    const uint32_t dq = a->n_head * a->head_dim / nq, dk = a->n_kv_head * a->head_dim / nk;
    const uint32_t per = a->norm == HONE_NORM_RMS ? 1 : 2;
    float *q_inv = tape && tape->q_inv ? tape->q_inv + (size_t)row0 * nq * per : NULL;
    float *k_inv = tape && tape->k_inv ? tape->k_inv + (size_t)row0 * nk * per : NULL;
    forward_norm(job->f, &job->layer->layer->q_norm, q, n * nq, dq, q, q_inv);
    forward_norm(job->f, &job->layer->layer->k_norm, k, n * nk, dk, k, k_inv);
}

static void positions_rows(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const layer_job *job = arg;
    hone_forward *f = job->f;
    const forward_layer *layer = job->layer;
    const hone_arch *a = &f->model->arch;
    const size_t wq = (size_t)a->n_head * a->head_dim, wk = (size_t)a->n_kv_head * a->head_dim;
    if (layer->q != f->q) { /* the tape keeps queries and keys as the products left them */
        for (size_t i = row0 * wq; i < row1 * wq; i++) f->q[i] = layer->q[i];
        for (size_t i = row0 * wk; i < row1 * wk; i++) f->k[i] = layer->k[i];
    }
    float *q0 = f->q + row0 * wq, *k0 = f->k + row0 * wk;
    if (a->qk_norm != HONE_QK_NORM_NONE && !a->qk_norm_after_rope) head_norms(job, q0, k0, row0, row1 - row0);
    if (layer->arch->rope != HONE_NO_ROPE) {
        const hone_rope *rope = &a->rope[layer->arch->rope];
        const uint32_t half = rope->rot / 2;
        for (uint32_t r = row0; r < row1; r++) {
            const float *cos = f->cos + f->rope_at[layer->arch->rope] + (size_t)r * half;
            const float *sin = f->sin + f->rope_at[layer->arch->rope] + (size_t)r * half;
            for (uint32_t h = 0; h < a->n_head; h++)
                f->kernels->rope(f->q + r * wq + (size_t)h * a->head_dim, rope->rot, !rope->interleaved, cos, sin);
            for (uint32_t h = 0; h < a->n_kv_head; h++)
                f->kernels->rope(f->k + r * wk + (size_t)h * a->head_dim, rope->rot, !rope->interleaved, cos, sin);
        }
    }
    if (a->qk_norm != HONE_QK_NORM_NONE && a->qk_norm_after_rope) head_norms(job, q0, k0, row0, row1 - row0);
    for (uint32_t r = row0; r < row1; r++) {
        const hone_seq_view *seq = &f->seqs[f->rows[r].seq];
        const uint32_t p = f->rows[r].position;
        uint8_t *page = seq->page[(size_t)layer->l * seq->cap + p / HONE_KV_PAGE];
        f->kernels->kv_store(f->kv_type, a->n_kv_head, a->head_dim, page, p % HONE_KV_PAGE, f->k + r * wk,
                             layer->v + r * wk);
    }
}

/* Storing the first position of a page may clear the page, so one page is stored by one task, in order. */
void forward_cut(hone_forward *f) {
    f->n_cut = 0;
    f->cut[0] = 0;
    for (uint32_t r = 1; r < f->m; r++) {
        const bool same_page = f->rows[r].seq == f->rows[r - 1].seq && f->rows[r].position % HONE_KV_PAGE != 0;
        if (!same_page && r - f->cut[f->n_cut] >= MIN_CUT_ROWS) f->cut[++f->n_cut] = r;
    }
    f->cut[++f->n_cut] = f->m;
}

static void positions_task(void *arg, uint32_t task, uint32_t thread) {
    const layer_job *job = arg;
    positions_rows(arg, job->f->cut[task], job->f->cut[task + 1], thread);
}

void forward_positions(hone_forward *f, const forward_layer *layer) {
    layer_job job = {f, layer};
    if (f->n_threads == 1)
        positions_rows(&job, 0, f->m, 0);
    else
        hone_pool_run(f->pool, f->n_cut, positions_task, &job);
}

/* --- attention --- */

static void describe(hone_attention *at, const hone_model *model, hone_kv_type kv_type, uint32_t m) {
    const hone_arch *a = &model->arch;
    *at = (hone_attention){.ldq = (size_t)a->n_head * a->head_dim,
                           .ldo = (size_t)a->n_head * a->head_dim,
                           .m = m,
                           .n_head = a->n_head,
                           .n_kv_head = a->n_kv_head,
                           .head_dim = a->head_dim,
                           .kv_type = kv_type,
                           .scale = a->attn_scale,
                           .softcap = a->attn_softcap};
}

size_t forward_attention_bytes(const hone_model *model, hone_kv_type kv_type, uint32_t max_rows) {
    hone_attention at;
    describe(&at, model, kv_type, max_rows);
    return (model->kernels->attention_scratch_bytes(&at) + 63) / 64 * 64;
}

typedef struct {
    hone_forward *f;
    hone_attention at;
    uint32_t chunk, n_group, n_chunk; /* rows of a task; kv heads are cut into so many groups */
} attention_job;

static void attention_task(void *arg, uint32_t task, uint32_t thread) {
    const attention_job *job = arg;
    const hone_forward *f = job->f;
    /* Later rows of a prompt cost more: each thread's part of the tasks (pool.h) goes over all chunks, from the last.
     */
    const uint32_t n_task = job->n_chunk * job->n_group, per_thread = (n_task + f->n_threads - 1) / f->n_threads;
    const uint32_t turn = task % per_thread * f->n_threads + task / per_thread;
    if (turn >= n_task) return;
    const uint32_t row0 = (job->n_chunk - 1 - turn / job->n_group) * job->chunk, group = turn % job->n_group;
    const uint32_t row1 = row0 + job->chunk < f->m ? row0 + job->chunk : f->m;
    const uint32_t g = job->at.n_kv_head;
    f->kernels->attention(&job->at, row0, row1, g * group / job->n_group, g * (group + 1) / job->n_group,
                          f->thread_attn + thread * f->thread_attn_bytes);
}

void forward_attention(hone_forward *f, const forward_layer *layer) {
    attention_job job = {.f = f, .chunk = f->m, .n_group = 1};
    describe(&job.at, f->model, f->kv_type, f->m);
    job.at.q = f->q;
    job.at.out = layer->attn;
    job.at.pos = f->pos;
    job.at.window = layer->arch->window;
    job.at.lse = layer->tape ? layer->tape->lse : NULL;
    uint64_t scores = 0;
    for (uint32_t r = 0; r < f->m; r++) {
        const hone_seq_view *seq = &f->seqs[f->rows[r].seq];
        f->pages[r] = (const uint8_t *const *)seq->page + (size_t)layer->l * seq->cap;
        const uint32_t window = layer->arch->window, seen = f->pos[r] + 1;
        scores += (uint64_t)(window && window < seen ? window : seen) * job.at.n_head;
    }
    job.at.pages = f->pages;
    uint32_t n_chunk = 1;
    if (f->n_threads > 1 && scores > FEW_SCORES) {
        const uint32_t want = f->n_threads * 4;
        job.chunk = (f->m + want - 1) / want;
        if (job.chunk > MAX_CHUNK_ROWS) job.chunk = MAX_CHUNK_ROWS;
        n_chunk = (f->m + job.chunk - 1) / job.chunk;
        if (n_chunk < 4 * want) job.n_group = job.at.n_kv_head;
    }
    job.n_chunk = n_chunk;
    const uint32_t per_thread = (n_chunk * job.n_group + f->n_threads - 1) / f->n_threads;
    hone_pool_run(f->pool, per_thread * f->n_threads, attention_task, &job);
}
