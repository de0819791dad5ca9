/* inspect.c - the contract is in inspect.h. */
#include "engine/inspect.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "engine/kv.h"

#define STEP_ROWS 256u

uint32_t hone_argmax(const float *x, uint32_t n) {
    enum { LANES = 16 }; /* compilers make vectors of them */
    float lane[LANES], largest = -INFINITY;
    for (uint32_t j = 0; j < LANES; j++) lane[j] = -INFINITY;
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (uint32_t j = 0; j < LANES; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (uint32_t j = 0; j < LANES; j++) largest = lane[j] > largest ? lane[j] : largest;
    for (; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    for (i = 0; i < n; i++)
        if (x[i] == largest) return i;
    return 0; /* nothing but NaN */
}

hone_kv_type hone_kv_type_for(hone_precision precision) {
    return precision == HONE_PRECISION_F32 ? HONE_KV_F32 : HONE_KV_BF16;
}

static hone_status check(const hone_model *model, const hone_inspection *w, hone_error *err) {
    const uint32_t v = model->arch.vocab;
    if (w->n_token == 0) return hone_fail(err, HONE_ERR_ARG, "no tokens");
    if ((uint64_t)w->n_token + w->n_greedy > 1u << 24)
        return hone_fail(err, HONE_ERR_ARG, "%u tokens and %u to come are too many", w->n_token, w->n_greedy);
    for (uint32_t i = 0; i < w->n_token; i++)
        if (w->tokens[i] < 0 || (uint32_t)w->tokens[i] >= v)
            return hone_fail_at(err, HONE_ERR_ARG, i, "token %u is %d, the vocabulary has %u", i, w->tokens[i], v);
    for (uint32_t i = 0; i < w->n_position; i++)
        if (w->position[i] >= w->n_token)
            return hone_fail(err, HONE_ERR_ARG, "position %u of %u tokens", w->position[i], w->n_token);
    return HONE_OK;
}

typedef struct {
    hone_forward *forward;
    hone_kv *kv;
    float *step; /* [STEP_ROWS, V] */
    hone_row rows[STEP_ROWS];
} run;

static void run_close(run *r) {
    if (!r) return;
    hone_free(r->step);
    hone_kv_close(r->kv);
    hone_forward_close(r->forward);
    hone_free(r);
}

/* Runs positions from..to and copies the logits that were asked for. */
static void run_step(run *r, const hone_inspection *w, const hone_seq_view *view, uint32_t from, uint32_t to,
                     size_t vocab, float *logits) {
    int32_t n_logit = 0;
    for (uint32_t p = from; p < to; p++) {
        bool wanted = p + 1 == w->n_token;
        for (uint32_t i = 0; i < w->n_position; i++) wanted |= w->position[i] == p;
        r->rows[p - from] = (hone_row){w->tokens[p], 0, p, wanted ? n_logit++ : -1};
    }
    hone_forward_run(r->forward, r->rows, to - from, view, 1, r->step, NULL, NULL, NULL);
    for (uint32_t i = 0; i < w->n_position; i++) {
        const uint32_t p = w->position[i];
        if (p < from || p >= to) continue;
        memcpy(logits + i * vocab, r->step + (size_t)r->rows[p - from].logit_row * vocab, vocab * sizeof(float));
    }
}

hone_status hone_inspect_logits(const hone_model *model, hone_pool *pool, const hone_inspection *w, float *logits,
                                int32_t *greedy, hone_error *err) {
    hone_status st = check(model, w, err);
    if (st != HONE_OK) return st;
    const size_t vocab = model->arch.vocab;
    const uint32_t length = w->n_token + w->n_greedy;
    const uint32_t step = w->n_token < STEP_ROWS ? w->n_token : STEP_ROWS;
    run *r = hone_zalloc(1, sizeof(*r));
    if (!r || !(r->step = hone_zalloc(step, vocab * sizeof(float)))) {
        run_close(r);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for logits");
    }
    const hone_kv_config cfg = {.max_sequences = 1,
                                .max_length = length,
                                .type = w->kv_type,
                                .budget_bytes =
                                    (uint64_t)hone_kv_pages_for(length) * hone_kv_page_bytes(model, w->kv_type)};
    st = hone_kv_open(&r->kv, model, &cfg, err);
    if (st == HONE_OK) st = hone_forward_open(&r->forward, model, pool, step, step, w->kv_type, err);
    if (st != HONE_OK) {
        run_close(r);
        return st;
    }
    const uint32_t seq = hone_kv_begin(r->kv);
    hone_kv_extend(r->kv, seq, length); /* the slab was made for it */
    hone_seq_view view = hone_kv_view(r->kv, seq);
    view.length = length;
    view.adapter = w->adapter;
    if (w->adapter) view.applies_from = hone_adapter_applies_from(w->adapter, w->tokens, w->n_token);
    for (uint32_t p = 0; p < w->n_token; p += step)
        run_step(r, w, &view, p, w->n_token - p < step ? w->n_token : p + step, vocab, logits);
    const uint32_t last = (w->n_token - 1) % step;
    const float *at = r->step + (size_t)r->rows[last].logit_row * vocab;
    for (uint32_t i = 0; i < w->n_greedy; i++) {
        greedy[i] = (int32_t)hone_argmax(at, (uint32_t)vocab);
        if (i + 1 == w->n_greedy) break;
        const hone_row row = {greedy[i], 0, w->n_token + i, 0};
        hone_forward_run(r->forward, &row, 1, &view, 1, r->step, NULL, NULL, NULL);
        at = r->step;
    }
    run_close(r);
    return HONE_OK;
}
