/* test_pass.c - train = serve: the log-probabilities that training sees are those of the token machine, as bits. */
#include "test.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "engine/engine.h"
#include "tiny.h"
#include "train/pass.h"

typedef struct {
    float **logprob; /* [rows][n] of each token of a row */
} heard;

static void on_event(void *arg, const hone_event *e) {
    heard *h = arg;
    if (e->kind == HONE_EVENT_PROMPT) h->logprob[e->id][e->index] = e->logprob;
}

/* The same each time; B is not zero. */
static hone_adapter *make_adapter(const tiny *t, uint32_t rank) {
    hone_adapter_config cfg = {.rank = rank, .alpha = 6, .seed = 8};
    hone_adapter *a;
    hone_error err = {0};
    for (int m = 0; m < HONE_MOD_COUNT; m++) cfg.target[m] = t->model.arch.mlp_gated || m != HONE_MOD_GATE;
    if (hone_adapter_new(&a, &t->model.arch, &cfg, &err) != HONE_OK) fail_msg("%s", err.message);
    for (uint32_t l = 0; l < a->n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++)
            for (uint32_t i = 0; i < t->model.layer[l].linear[m].w.n * a->lora[l][m].rank; i++)
                a->lora[l][m].b[i] = hone_random_unit(3, l, m, i) - 0.5f;
    return a;
}

/* Every token of every row through the engine, as a prompt with echo. */
static void serve(const tiny *t, const hone_train_data *data, bool adapter, heard *h) {
    hone_engine *engine;
    hone_error err = {0};
    hone_engine_config cfg = hone_engine_defaults(&t->model);
    cfg.max_step_rows = 48; /* rows are cut into chunks and mixed */
    cfg.max_sequences = 3;
    cfg.max_length = 256;
    cfg.kv_bytes = 64u << 20;
    if (hone_engine_open(&engine, &t->model, NULL, &cfg, &err) != HONE_OK) fail_msg("%s", err.message);
    if (adapter && hone_engine_add_adapter(engine, "a", make_adapter(t, 3), &err) != HONE_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < data->n; i++) {
        hone_engine_request q = {.id = i,
                                 .prompt = data->row[i].token,
                                 .n_prompt = data->row[i].n,
                                 .prompt_logprobs = true,
                                 .n_logprobs = 0,
                                 .adapter = adapter ? "a" : NULL};
        q.sampling = (hone_sampling){.top_p = 1, .repetition_penalty = 1};
        if (hone_engine_submit(engine, &q, &err) != HONE_OK) fail_msg("%s", err.message);
    }
    while (hone_engine_step(engine, on_event, h)) {
    }
    hone_engine_close(engine);
}

static void compare(const tiny_spec *spec, const hone_kernels *set, hone_precision precision, bool adapter) {
    tiny t;
    hone_train_data data;
    tiny_open(&t, spec, set, precision);
    hone_adapter *used = adapter ? make_adapter(&t, 3) : NULL;
    tiny_rows(&data, t.model.arch.vocab, 6, 120, 31);
    float *trained = malloc(data.n_trained * sizeof(float));
    hone_loss sum = {0};
    hone_error err = {0};
    hone_lora_grad grad = {0};
    if (adapter) assert_int_equal(hone_lora_grad_open(&grad, &t.model, used, NULL), HONE_OK);
    if (hone_loss_of_data(&t.model, used, NULL, &data, 300, &sum, trained, adapter ? &grad : NULL, &err) != HONE_OK)
        fail_msg("%s", err.message);
    heard h = {.logprob = malloc(data.n * sizeof(float *))};
    for (size_t i = 0; i < data.n; i++) h.logprob[i] = calloc(data.row[i].n + 1, sizeof(float));
    serve(&t, &data, adapter, &h);
    const float *p = trained;
    double loss = 0;
    for (size_t i = 0; i < data.n; i++)
        for (uint32_t k = 0; k < data.row[i].n; k++) {
            if (!data.row[i].trained[k]) continue;
            loss -= (double)*p;
            if (memcmp(p, &h.logprob[i][k], sizeof(*p)))
                fail_msg("%s, %s, precision %d: row %zu token %u: trained %.9g, served %.9g", spec->name, set->name,
                         precision, i, k, (double)*p, (double)h.logprob[i][k]);
            p++;
        }
    assert_true(loss == sum.loss);
    for (size_t i = 0; i < data.n; i++) free(h.logprob[i]);
    free(h.logprob);
    free(trained);
    hone_lora_grad_close(&grad);
    hone_adapter_free(used);
    hone_data_free(&data);
    tiny_close(&t);
}

static void test_trained_log_probabilities_are_the_served_ones(void **state) {
    (void)state;
    for (const hone_kernels *const *set = hone_kernels_all(); *set; set++) {
        if (!(*set)->can_run()) continue;
        for (int precision = 0; precision < 2; precision++)
            for (size_t s = 0; s < 5; s++)
                for (int adapter = 0; adapter < 2; adapter++)
                    compare(&tiny_specs[s], *set, precision ? HONE_PRECISION_F32 : HONE_PRECISION_SERVING, adapter);
    }
}

/* Ranks over what forward has room for without a tape: the loss is the one with gradients. */
static void test_large_ranks(void **state) {
    (void)state;
    tiny t;
    hone_train_data data;
    tiny_open(&t, &tiny_specs[0], hone_kernels_find("ref"), HONE_PRECISION_F32);
    tiny_rows(&data, t.model.arch.vocab, 3, 20, 5);
    hone_adapter *a = make_adapter(&t, HONE_FORWARD_MAX_RANK + 44);
    hone_lora_grad grad;
    hone_loss with = {0}, without = {0};
    assert_int_equal(hone_lora_grad_open(&grad, &t.model, a, NULL), HONE_OK);
    assert_int_equal(hone_loss_of_data(&t.model, a, NULL, &data, 0, &with, NULL, &grad, NULL), HONE_OK);
    assert_int_equal(hone_loss_of_data(&t.model, a, NULL, &data, 0, &without, NULL, NULL, NULL), HONE_OK);
    assert_true(with.loss > 0 && with.loss == without.loss);
    hone_lora_grad_close(&grad);
    hone_adapter_free(a);
    hone_data_free(&data);
    tiny_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trained_log_probabilities_are_the_served_ones),
        cmocka_unit_test(test_large_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
