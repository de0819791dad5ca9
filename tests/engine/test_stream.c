/* test_stream.c - several tokens a step: whatever was drafted, the bits are those of one token a step. */
#include "test.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "engine/engine.h"
#include "engine/sample.h"
#include "tiny.h"

#define N 16u
#define MAX_TOKENS 96u

static hone_model *model;
static const hone_kernels *kernels; /* one set after the other */
static bool made[HONE_KV_TYPE_COUNT];

static int set_up(void **state) {
    (void)state;
    tiny_options o = tiny_defaults();
    o.window = 20;
    memset(made, 0, sizeof(made));
    model = tiny_model(kernels, &o);
    return model ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tiny_model_free(model);
    return 0;
}

typedef struct {
    uint32_t n, first, n_done, n_accepted, n_rejected;
    int32_t token[MAX_TOKENS];
    float logprob[MAX_TOKENS];
    float top[MAX_TOKENS][2];
    hone_finish finish;
    uint32_t n_output;
} answer;

typedef struct {
    hone_pool *pool;
    hone_engine *e;
    answer of[N];
    uint64_t cancel_id;
    uint32_t cancel_at;
} rig;

static void on_event(void *arg, const hone_event *ev) {
    rig *r = arg;
    answer *a = &r->of[ev->id];
    assert_int_equal(a->n_done, 0);
    if (ev->kind == HONE_EVENT_TOKEN) {
        if (a->n == 0) a->first = ev->index;
        assert_int_equal(ev->index, a->first + a->n);
        a->token[a->n] = ev->token;
        a->logprob[a->n] = ev->logprob;
        for (uint32_t i = 0; i < 2; i++) a->top[a->n][i] = ev->top_logprob[i];
        a->n++;
        if (r->cancel_id == ev->id && r->cancel_at == a->n) hone_engine_cancel(r->e, ev->id);
    }
    if (ev->kind == HONE_EVENT_DONE) {
        a->n_done++;
        a->finish = ev->finish;
        a->n_output = ev->n_output;
        a->n_accepted = ev->n_accepted;
        a->n_rejected = ev->n_rejected;
    }
}

typedef struct {
    uint32_t threads, step_rows, sequences, pages, max_draft;
    hone_kv_type kv;
} setting;

static rig *rig_open(setting s) {
    rig *r = calloc(1, sizeof(*r));
    assert_int_equal(hone_pool_open(&r->pool, s.threads, NULL), HONE_OK);
    const hone_engine_config cfg = {
        .max_step_rows = s.step_rows,
        .max_sequences = s.sequences,
        .max_length = 256,
        .kv_bytes =
            s.pages * (uint64_t)(model->arch.n_layer * ((model->kernels->kv_page_bytes(s.kv, 2, 16) + 63) / 64 * 64)),
        .kv_type = s.kv,
        .adapter_bytes = 1 << 20,
        .max_draft = s.max_draft};
    assert_int_equal(hone_engine_open(&r->e, model, r->pool, &cfg, NULL), HONE_OK);
    assert_int_equal(hone_engine_add_adapter(r->e, "one", tiny_adapter(model, 4, 9), NULL), HONE_OK);
    assert_int_equal(hone_engine_add_adapter(r->e, "two", tiny_adapter(model, 7, 10), NULL), HONE_OK);
    return r;
}

static void rig_close(rig *r) {
    hone_engine_close(r->e);
    hone_pool_close(r->pool);
    free(r);
}

/* Greedy, seeded, penalised; with and without adapters, log-probabilities, stop tokens. */
static hone_engine_request request_of(uint64_t id, int32_t *prompt) {
    hone_engine_request r = {.id = id, .prompt = prompt, .n_prompt = 3 + (uint32_t)(id * 11 % 50), .n_logprobs = 2};
    tiny_tokens(prompt, r.n_prompt, model->arch.vocab, 1000 + id);
    r.max_tokens = 30 + (uint32_t)(id * 7 % 40);
    r.sampling = hone_sampling_defaults();
    if (id % 4 > 1) {
        r.sampling.temperature = 0.7f;
        r.sampling.seed = 77 + id;
        r.sampling.top_p = 0.9f;
        r.sampling.top_k = id % 8 == 3 ? 7 : 0;
        r.sampling.repetition_penalty = id % 8 > 4 ? 1.2f : 1;
        r.sampling.frequency_penalty = id % 8 == 7 ? 0.3f : 0;
    }
    if (id % 5 == 4) r.n_logprobs = -1;
    if (id % 3 == 1) r.adapter = "one";
    if (id % 3 == 2) r.adapter = "two";
    if (id % 6 == 5) {
        r.n_stop = 2;
        r.stop[0] = 17;
        r.stop[1] = 99;
        r.min_tokens = 5;
    }
    return r;
}

static void run(rig *r) {
    for (uint32_t steps = 0; hone_engine_step(r->e, on_event, r); steps++) {
        const char *broken = hone_engine_check(r->e);
        if (broken) fail_msg("%s", broken);
        assert_true(steps < 5000);
    }
    assert_null(hone_engine_check(r->e));
}

/* One token a step, alone. */
static const answer *plain(hone_kv_type kv) {
    static answer of[HONE_KV_TYPE_COUNT][N];
    if (made[kv]) return of[kv];
    rig *r = rig_open((setting){1, 256, 1, 64, HONE_NO_DRAFT, kv});
    for (uint64_t id = 0; id < N; id++) {
        int32_t prompt[64];
        const hone_engine_request q = request_of(id, prompt);
        assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
        run(r);
    }
    hone_engine_stats s;
    hone_engine_get_stats(r->e, &s);
    assert_int_equal(s.drafted, 0);
    memcpy(of[kv], r->of, sizeof(r->of));
    rig_close(r);
    made[kv] = true;
    return of[kv];
}

static void must_equal(const answer *a, const answer *b, uint32_t from) {
    assert_int_equal(a->n - from, b->n);
    assert_memory_equal(a->token + from, b->token, b->n * sizeof(int32_t));
    assert_memory_equal(a->logprob + from, b->logprob, b->n * sizeof(float));
    assert_memory_equal(a->top + from, b->top, b->n * sizeof(a->top[0]));
    assert_int_equal(a->finish, b->finish);
    assert_int_equal(a->n_output, b->n_output);
}

/* Ways to predict: nothing, garbage, the truth, the truth with every ninth token changed or left out. */
enum { NOTHING, GARBAGE, TRUTH, CHANGED, LEFT_OUT, N_WAY };

static uint32_t predict(uint32_t way, const answer *truth, uint64_t seed, int32_t *out) {
    uint32_t n = 0;
    if (way == NOTHING) return 0;
    for (uint32_t i = 0; i < truth->n; i++) {
        const int32_t noise = (int32_t)(hone_random_unit(seed, 1, 2, i) * (float)(model->arch.vocab - 1));
        if (way == LEFT_OUT && i % 9 == 4) continue;
        out[n++] = way == GARBAGE || (way == CHANGED && i % 9 == 4) ? noise : truth->token[i];
    }
    return n;
}

static void drafts_change_no_bit(void **state) {
    (void)state;
    const setting settings[] = {
        {1, 256, 1, 64, 0, HONE_KV_BF16},  {2, 64, 16, 256, 0, HONE_KV_BF16}, {3, 17, 16, 256, 0, HONE_KV_BF16},
        {2, 40, 5, 64, 3, HONE_KV_BF16},   {2, 64, 16, 9, 0, HONE_KV_BF16}, /* pages are short */
        {2, 64, 16, 256, 0, HONE_KV_INT8},
    };
    for (uint32_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
        for (uint32_t way = 0; way < N_WAY; way++)
            for (uint32_t wish = 0; wish < 2; wish++) { /* the engine's choice; as many as can be */
                const answer *truth = plain(settings[i].kv);
                rig *r = rig_open(settings[i]);
                for (uint64_t id = 0; id < N; id++) {
                    int32_t prompt[64], prediction[MAX_TOKENS];
                    hone_engine_request q = request_of(id, prompt);
                    q.prediction = prediction;
                    q.n_prediction = predict(way, &truth[id], id + 100 * i, prediction);
                    q.max_draft = wish ? 1 + (uint32_t)(id % 16) : 0;
                    assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
                }
                run(r);
                hone_engine_stats s;
                hone_engine_get_stats(r->e, &s);
                uint64_t accepted = 0, rejected = 0, said = 0;
                for (uint64_t id = 0; id < N; id++) {
                    must_equal(&truth[id], &r->of[id], 0);
                    accepted += r->of[id].n_accepted;
                    rejected += r->of[id].n_rejected;
                    said += r->of[id].n;
                }
                assert_int_equal(s.accepted, accepted);
                assert_int_equal(s.drafted, accepted + rejected);
                if (settings[i].pages == 9) assert_true(s.preemptions > 0);
                if (wish && settings[i].step_rows > 17) {
                    if (way == TRUTH) assert_true(accepted > said / 3 && rejected == 0);
                    if (way == CHANGED || way == LEFT_OUT) assert_true(accepted > said / 5);
                    if (way == GARBAGE) assert_true(rejected > 0);
                }
                rig_close(r);
            }
}

static void a_true_prediction_saves_steps(void **state) {
    (void)state;
    const answer *truth = &plain(HONE_KV_BF16)[0];
    rig *r = rig_open((setting){1, 64, 1, 64, 0, HONE_KV_BF16});
    int32_t prompt[64];
    hone_engine_request q = request_of(0, prompt);
    q.prediction = truth->token;
    q.n_prediction = truth->n;
    q.max_draft = 16;
    assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
    run(r);
    must_equal(truth, &r->of[0], 0);
    hone_engine_stats s;
    hone_engine_get_stats(r->e, &s);
    assert_int_equal(s.steps, 1 + (truth->n - 1 + 16) / 17); /* the prompt and a token, then 17 a step */
    assert_int_equal(r->of[0].n_rejected, 0);
    assert_int_equal(s.decode_tokens, truth->n - 1);
    q.max_draft = HONE_NO_DRAFT;
    memset(&r->of[0], 0, sizeof(r->of[0]));
    assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
    run(r);
    must_equal(truth, &r->of[0], 0);
    assert_int_equal(r->of[0].n_accepted + r->of[0].n_rejected, 0);
    rig_close(r);
}

static void a_journal_goes_on_among_drafts(void **state) {
    (void)state;
    const answer *truth = plain(HONE_KV_BF16);
    for (uint32_t cut = 1; cut < 60; cut += 13) {
        rig *r = rig_open((setting){2, 64, 16, 256, 0, HONE_KV_BF16});
        for (uint64_t id = 0; id < N; id++) {
            int32_t prompt[64], prediction[MAX_TOKENS];
            hone_engine_request q = request_of(id, prompt);
            q.emitted = truth[id].token;
            q.n_emitted = cut < truth[id].n ? cut : truth[id].n;
            q.prediction = prediction;
            q.n_prediction = predict(CHANGED, &truth[id], id, prediction);
            q.max_draft = 7;
            assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
        }
        run(r);
        for (uint64_t id = 0; id < N; id++) must_equal(&truth[id], &r->of[id], cut < truth[id].n ? cut : truth[id].n);
        rig_close(r);
    }
}

static void a_cancel_amid_the_tokens_of_a_step(void **state) {
    (void)state;
    const answer *truth = plain(HONE_KV_BF16);
    for (uint32_t at = 2; at < 9; at++) {
        rig *r = rig_open((setting){2, 128, 4, 64, 0, HONE_KV_BF16});
        for (uint64_t id = 0; id < 2; id++) {
            int32_t prompt[64];
            hone_engine_request q = request_of(id, prompt);
            q.prediction = truth[id].token;
            q.n_prediction = truth[id].n;
            q.max_draft = 5;
            assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
        }
        r->cancel_id = 1;
        r->cancel_at = at;
        run(r);
        assert_int_equal(r->of[1].n, at);
        assert_int_equal(r->of[1].n_done, 0);
        must_equal(&truth[0], &r->of[0], 0);
        rig_close(r);
    }
}

static void drafting_allocates_nothing(void **state) {
    (void)state;
    const answer *truth = plain(HONE_KV_BF16);
    rig *r = rig_open((setting){2, 64, 16, 12, 0, HONE_KV_BF16});
    for (uint64_t id = 0; id < N; id++) {
        int32_t prompt[64];
        hone_engine_request q = request_of(id, prompt);
        q.prediction = truth[id].token;
        q.n_prediction = truth[id].n;
        q.max_draft = 4;
        assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
    }
    const int64_t before = hone_mem_count;
    run(r);
    assert_int_equal(hone_mem_count, before);
    rig_close(r);
}

static void a_prediction_outside_the_vocabulary_is_refused(void **state) {
    (void)state;
    rig *r = rig_open((setting){1, 64, 2, 64, 0, HONE_KV_BF16});
    int32_t prompt[64], wrong[2] = {1, (int32_t)model->arch.vocab};
    hone_error err;
    hone_engine_request q = request_of(0, prompt);
    q.prediction = wrong;
    q.n_prediction = 2;
    assert_int_equal(hone_engine_submit(r->e, &q, &err), HONE_ERR_ARG);
    assert_non_null(strstr(err.message, "prediction"));
    rig_close(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drafts_change_no_bit),
        cmocka_unit_test(a_true_prediction_saves_steps),
        cmocka_unit_test(a_journal_goes_on_among_drafts),
        cmocka_unit_test(a_cancel_amid_the_tokens_of_a_step),
        cmocka_unit_test(drafting_allocates_nothing),
        cmocka_unit_test(a_prediction_outside_the_vocabulary_is_refused),
    };
    int failed = 0;
    for (const hone_kernels *const *k = hone_kernels_all(); *k; k++) {
        if (!(*k)->can_run()) continue;
        kernels = *k;
        print_message("kernels: %s\n", kernels->name);
        failed += cmocka_run_group_tests(tests, set_up, tear_down);
    }
    return failed;
}
