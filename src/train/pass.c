/* pass.c - one micro-batch: forward, loss at the head, backward; the contract is in pass.h.
 * Order: memory, laying rows, the head and its loss, the run, all rows of a file. */
#include "train/pass.h"

#include <string.h>

#include "base/mem.h"
#include "engine/inspect.h"
#include "engine/kv.h"
#include "train/pack.h"

/* Trained positions whose logits stand in memory at a time: with a vocabulary of 10^5 they cost more than the tape. */
#define HEAD_ROWS 64u
#define HEAD_COLUMNS 64u
#define SOFTMAX_CHUNK 512u

typedef struct {
    uint32_t at; /* row of the block that predicts */
    int32_t token;
} target;

struct hone_pass {
    const hone_model *model;
    hone_pool *pool;
    hone_pass_config cfg;
    hone_forward *forward;
    hone_tape *tape;         /* NULL where neither gradients nor a large rank need it */
    hone_backward *backward; /* NULL without gradients */
    hone_kv *kv;
    hone_row *rows;       /* [max_tokens] */
    uint64_t *row_id;     /* [max_tokens], for dropout */
    hone_seq_view *views; /* [max_rows] */
    uint32_t *kv_id;      /* [max_rows] */
    target *targets;      /* [max_tokens] */
    float *hidden;        /* [max_tokens, D] without a tape */
    float *d_final;       /* [max_tokens, D] */
    float *head_in;       /* [HEAD_ROWS, D] */
    float *head_dx;       /* [HEAD_ROWS, D] */
    float *logits;        /* [HEAD_ROWS, V] */
    uint8_t *scratch;     /* [threads, scratch_bytes] */
    size_t scratch_bytes;
};

/* ---- Memory ---- */

static hone_kv_config kv_config(const hone_model *model, const hone_pass_config *cfg) {
    hone_kv_config kv = {
        .max_sequences = cfg->max_rows, .max_length = cfg->max_tokens, .type = hone_kv_type_for(model->precision)};
    /* each row leaves its last page partly empty */
    const uint64_t pages = (uint64_t)cfg->max_tokens / HONE_KV_PAGE + cfg->max_rows + 1;
    kv.budget_bytes = pages * hone_kv_page_bytes(model, kv.type);
    return kv;
}

static size_t head_scratch(const hone_model *model) {
    return (model->kernels->dx_scratch_bytes(&model->head.w, HEAD_ROWS) + 63) / 64 * 64;
}

/* Without a tape forward has room for adapters of a bounded rank alone (forward.h). */
static bool needs_tape(const hone_adapter *adapter, const hone_pass_config *cfg) {
    return cfg->gradients || (adapter && adapter->max_rank > HONE_FORWARD_MAX_RANK);
}

void hone_pass_plan(hone_pass_bytes *out, const hone_model *model, const hone_adapter *adapter, hone_pool *pool,
                    const hone_pass_config *cfg) {
    const size_t d = (size_t)model->arch.width * sizeof(float), n_threads = hone_pool_threads(pool);
    const hone_kv_config kv = kv_config(model, cfg);
    *out = (hone_pass_bytes){0};
    out->forward = hone_forward_plan(model, pool, cfg->max_tokens, HEAD_ROWS, kv.type);
    if (needs_tape(adapter, cfg)) out->tape = hone_tape_bytes(model, adapter, cfg->max_tokens);
    if (cfg->gradients) {
        out->backward = hone_backward_bytes(model, adapter, cfg->max_tokens, (uint32_t)n_threads) + HEAD_ROWS * d +
                        n_threads * head_scratch(model);
    }
    out->pages = hone_kv_plan(model, &kv);
    out->logits = (uint64_t)HEAD_ROWS * model->arch.vocab * sizeof(float) + HEAD_ROWS * d;
    const uint64_t rows = sizeof(hone_row) + sizeof(uint64_t) + sizeof(target) + d;
    out->total = out->forward + out->tape + out->backward + out->pages + out->logits + rows * cfg->max_tokens +
                 cfg->max_rows * (sizeof(hone_seq_view) + sizeof(uint32_t));
}

hone_status hone_pass_open(hone_pass **out, const hone_model *model, const hone_adapter *adapter, hone_pool *pool,
                           const hone_pass_config *cfg, hone_error *err) {
    *out = NULL;
    if (cfg->gradients && hone_adapter_untrainable(adapter))
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "%s cannot be trained", hone_adapter_untrainable(adapter));
    if (cfg->max_tokens == 0 || cfg->max_rows == 0)
        return hone_fail(err, HONE_ERR_ARG, "a micro-batch needs rows and positions");
    const size_t d = model->arch.width, n_threads = hone_pool_threads(pool);
    const hone_kv_config kv = kv_config(model, cfg);
    hone_status st = HONE_ERR_NOMEM;
    hone_pass *p = hone_zalloc(1, sizeof(*p));
    if (!p) goto no_memory;
    p->model = model;
    p->pool = pool;
    p->cfg = *cfg;
    if ((st = hone_forward_open(&p->forward, model, pool, cfg->max_tokens, HEAD_ROWS, kv.type, err)) != HONE_OK)
        goto fail;
    if ((st = hone_kv_open(&p->kv, model, &kv, err)) != HONE_OK) goto fail;
    if (needs_tape(adapter, cfg)) {
        if ((st = hone_tape_open(&p->tape, model, adapter, cfg->max_tokens, err)) != HONE_OK) goto fail;
    } else if (!(p->hidden = hone_alloc_aligned(cfg->max_tokens, d * sizeof(float)))) {
        goto no_memory;
    }
    if (cfg->gradients) {
        st = hone_backward_open(&p->backward, model, adapter, pool, cfg->max_tokens, kv.type, err);
        if (st != HONE_OK) goto fail;
        p->scratch_bytes = head_scratch(model);
        if (!(p->scratch = hone_alloc_aligned(n_threads, p->scratch_bytes))) goto no_memory;
        if (!(p->head_dx = hone_alloc_aligned(HEAD_ROWS, d * sizeof(float)))) goto no_memory;
        if (!(p->d_final = hone_alloc_aligned(cfg->max_tokens, d * sizeof(float)))) goto no_memory;
    }
    if (!(p->rows = hone_zalloc(cfg->max_tokens, sizeof(*p->rows)))) goto no_memory;
    if (!(p->row_id = hone_zalloc(cfg->max_tokens, sizeof(*p->row_id)))) goto no_memory;
    if (!(p->views = hone_zalloc(cfg->max_rows, sizeof(*p->views)))) goto no_memory;
    if (!(p->kv_id = hone_zalloc(cfg->max_rows, sizeof(*p->kv_id)))) goto no_memory;
    if (!(p->targets = hone_zalloc(cfg->max_tokens, sizeof(*p->targets)))) goto no_memory;
    if (!(p->head_in = hone_alloc_aligned(HEAD_ROWS, d * sizeof(float)))) goto no_memory;
    if (!(p->logits = hone_alloc_aligned(HEAD_ROWS, (size_t)model->arch.vocab * sizeof(float)))) goto no_memory;
    *out = p;
    return HONE_OK;
no_memory:
    st = hone_fail(err, HONE_ERR_NOMEM, "no memory for micro-batches of %u positions", cfg->max_tokens);
fail:
    hone_pass_close(p);
    return st;
}

void hone_pass_close(hone_pass *p) {
    if (!p) return;
    hone_forward_close(p->forward);
    hone_tape_close(p->tape);
    hone_backward_close(p->backward);
    hone_kv_close(p->kv);
    hone_free(p->rows);
    hone_free(p->row_id);
    hone_free(p->views);
    hone_free(p->kv_id);
    hone_free(p->targets);
    hone_free(p->hidden);
    hone_free(p->d_final);
    hone_free(p->head_in);
    hone_free(p->head_dx);
    hone_free(p->logits);
    hone_free(p->scratch);
    hone_free(p);
}

/* ---- Laying rows ---- */

/* Fills rows, targets and pages; counts in *m and *n_target. */
static hone_status lay(hone_pass *p, const hone_train_row *const *rows, uint32_t n, const hone_adapter *adapter,
                       uint32_t *m, uint32_t *n_target, hone_error *err) {
    *m = *n_target = 0;
    for (uint32_t s = 0; s < n; s++) {
        const hone_train_row *row = rows[s];
        if (row->n_run > p->cfg.max_tokens - *m || s >= p->cfg.max_rows)
            return hone_fail(err, HONE_ERR_ARG, "rows do not fit a micro-batch of %u positions in %u rows",
                             p->cfg.max_tokens, p->cfg.max_rows);
        p->kv_id[s] = hone_kv_begin(p->kv);
        if (p->kv_id[s] == HONE_KV_NONE || hone_kv_extend(p->kv, p->kv_id[s], row->n_run) != HONE_OK)
            return hone_fail(err, HONE_ERR_INTERNAL, "no pages for row %u of a micro-batch", s);
        p->views[s] = hone_kv_view(p->kv, p->kv_id[s]);
        p->views[s].length = row->n;
        p->views[s].adapter = adapter;
        if (adapter) p->views[s].applies_from = hone_adapter_applies_from(adapter, row->token, row->n_run);
        for (uint32_t t = 0; t < row->n_run; t++) {
            p->row_id[*m] = row->line << 32 | t;
            if (row->trained[t + 1]) p->targets[(*n_target)++] = (target){*m, row->token[t + 1]};
            p->rows[(*m)++] = (hone_row){.token = row->token[t], .seq = s, .position = t, .logit_row = -1};
        }
    }
    return HONE_OK;
}

/* ---- The head and its loss ---- */

typedef struct {
    hone_pass *p;
    const target *targets; /* [n] of this chunk */
    uint32_t n;
    bool gradient;
    float scale;
    float logprob[HEAD_ROWS];
    bool correct[HEAD_ROWS];
} head_work;

/* logits[V] become scale * d(-log p[token]) / d(what the head's product gave). */
static void logit_gradient(const hone_model *model, float *logits, int32_t token, float lse, float scale) {
    const hone_arch *a = &model->arch;
    float p[SOFTMAX_CHUNK];
    for (size_t at = 0; at < a->vocab; at += SOFTMAX_CHUNK) {
        const size_t n = a->vocab - at < SOFTMAX_CHUNK ? a->vocab - at : SOFTMAX_CHUNK;
        float *l = logits + at;
        model->kernels->exp_shift(l, lse, n, p);
        if ((size_t)token >= at && (size_t)token < at + n) p[(size_t)token - at] -= 1.0f;
        const float s = scale * a->logit_scale, inv = a->logit_softcap > 0 ? 1.0f / a->logit_softcap : 0.0f;
        if (inv > 0)
            for (size_t i = 0; i < n; i++) l[i] = p[i] * s * (1.0f - (l[i] * inv) * (l[i] * inv));
        else
            for (size_t i = 0; i < n; i++) l[i] = p[i] * s;
    }
}

static void head_row(void *arg, uint32_t i, uint32_t thread) {
    (void)thread;
    head_work *w = arg;
    const hone_model *model = w->p->model;
    const uint32_t v = model->arch.vocab;
    float *logits = w->p->logits + (size_t)i * v;
    const int32_t token = w->targets[i].token;
    w->correct[i] = hone_argmax(logits, v) == (uint32_t)token;
    w->logprob[i] = hone_logprob(model->kernels, logits, v, token);
    if (w->gradient) logit_gradient(model, logits, token, model->kernels->log_sum_exp(logits, v), w->scale);
}

static void head_dx(void *arg, uint32_t task, uint32_t thread) {
    const head_work *w = arg;
    hone_pass *p = w->p;
    const uint32_t d = p->model->arch.width, k0 = task * HEAD_COLUMNS;
    p->model->kernels->linear_dx(&p->model->head.w, p->logits, p->model->arch.vocab, w->n, p->head_dx, d, k0,
                                 d - k0 < HEAD_COLUMNS ? d : k0 + HEAD_COLUMNS, false,
                                 p->scratch + (size_t)thread * p->scratch_bytes);
}

/* Loss of all targets, in order; with a gradient fills d_final of their rows. */
static void head(hone_pass *p, const float *final_out, uint32_t n_target, const hone_adapter *adapter, bool gradient,
                 double scale, hone_loss *sum, float *logprob) {
    const size_t d = p->model->arch.width;
    for (uint32_t from = 0; from < n_target; from += HEAD_ROWS) {
        head_work w = {.p = p, .targets = p->targets + from, .gradient = gradient, .scale = (float)scale};
        w.n = n_target - from < HEAD_ROWS ? n_target - from : HEAD_ROWS;
        for (uint32_t i = 0; i < w.n; i++)
            memcpy(p->head_in + i * d, final_out + w.targets[i].at * d, d * sizeof(float));
        hone_forward_head(p->forward, p->head_in, w.n, adapter, p->logits);
        hone_pool_run(p->pool, w.n, head_row, &w);
        for (uint32_t i = 0; i < w.n; i++) {
            sum->loss -= (double)w.logprob[i];
            sum->correct += w.correct[i];
            if (logprob) logprob[from + i] = w.logprob[i];
        }
        sum->trained += w.n;
        if (!gradient) continue;
        hone_pool_run(p->pool, (uint32_t)((d + HEAD_COLUMNS - 1) / HEAD_COLUMNS), head_dx, &w);
        for (uint32_t i = 0; i < w.n; i++)
            memcpy(p->d_final + w.targets[i].at * d, p->head_dx + i * d, d * sizeof(float));
    }
}

/* ---- The run ---- */

hone_status hone_pass_run(hone_pass *p, const hone_train_row *const *rows, uint32_t n, const hone_adapter *adapter,
                          double scale, hone_lora_grad *grad, const hone_pass_dropout *dropout, hone_loss *sum,
                          float *logprob, hone_error *err) {
    uint32_t m, n_target;
    if (grad && !p->backward) return hone_fail(err, HONE_ERR_ARG, "this pass was opened without gradients");
    for (uint32_t s = 0; s < n && s < p->cfg.max_rows; s++) p->kv_id[s] = HONE_KV_NONE;
    hone_status st = lay(p, rows, n, adapter, &m, &n_target, err);
    if (st == HONE_OK && m > 0) {
        const hone_dropout drop = {.p = dropout ? dropout->p : 0,
                                   .seed = dropout ? dropout->seed : 0,
                                   .step = dropout ? dropout->step : 0,
                                   .row_id = p->row_id};
        const hone_dropout *use = grad && drop.p > 0 ? &drop : NULL;
        const float *final_out = p->tape ? p->tape->final_out : p->hidden;
        hone_forward_run(p->forward, p->rows, m, p->views, n, NULL, p->hidden, p->tape, use);
        if (grad) memset(p->d_final, 0, (size_t)m * p->model->arch.width * sizeof(float));
        head(p, final_out, n_target, adapter, grad != NULL, scale, sum, logprob);
        if (grad) hone_backward_run(p->backward, p->rows, m, p->views, n, p->tape, adapter, use, p->d_final, grad);
    }
    for (uint32_t s = 0; s < n && s < p->cfg.max_rows; s++)
        if (p->kv_id[s] != HONE_KV_NONE) hone_kv_end(p->kv, p->kv_id[s]);
    return st;
}

/* ---- All rows of a file ---- */

hone_status hone_loss_of_data(const hone_model *model, const hone_adapter *adapter, hone_pool *pool,
                              const hone_train_data *data, uint32_t micro_tokens, hone_loss *sum, float *logprob,
                              hone_lora_grad *grad, hone_error *err) {
    if (grad && !adapter) return hone_fail(err, HONE_ERR_ARG, "gradients need an adapter");
    if (data->n_trained == 0) return hone_fail(err, HONE_ERR_ARG, "no token is trained");
    const hone_pass_config cfg = {.max_tokens = micro_tokens > data->longest_run ? micro_tokens : data->longest_run,
                                  .max_rows = 64,
                                  .gradients = grad != NULL};
    hone_pass *p;
    hone_status st = hone_pass_open(&p, model, adapter, pool, &cfg, err);
    if (st != HONE_OK) return st;
    uint32_t *order = hone_zalloc(data->n, sizeof(*order));
    const hone_train_row *rows[64];
    if (!order)
        st = hone_fail(err, HONE_ERR_NOMEM, "no memory for %zu rows", data->n);
    else
        hone_pack_order(0, 0, false, order, data->n);
    for (size_t from = 0, to; st == HONE_OK && from < data->n; from = to) {
        to = hone_pack_micro(data, order, from, data->n, cfg.max_tokens, cfg.max_rows);
        const uint64_t before = sum->trained;
        for (size_t i = from; i < to; i++) rows[i - from] = &data->row[i];
        st = hone_pass_run(p, rows, (uint32_t)(to - from), adapter, 1.0 / (double)data->n_trained, grad, NULL, sum,
                           logprob, err);
        if (logprob) logprob += sum->trained - before;
    }
    hone_free(order);
    hone_pass_close(p);
    return st;
}
