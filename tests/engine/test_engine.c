/* test_engine.c - the token machine: a request gives the same bytes whatever runs beside it and whatever happened to
 * it.
 */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "engine/engine.h"
#include "engine/sample.h"
#include "tiny.h"

#define MAX_REQUESTS 24
#define MAX_TOKENS 96

static hone_model *model;

static int set_up(void **state) {
    (void)state;
    tiny_options o = tiny_defaults();
    o.window = 20;
    model = tiny_model(hone_kernels_best(), &o);
    return model ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tiny_model_free(model);
    return 0;
}

/* --- what came back, by request id --- */

typedef struct {
    uint32_t n, first_index, n_prompt_event, n_done, n_embedding;
    int32_t token[MAX_TOKENS];
    float logprob[MAX_TOKENS], prompt_logprob[MAX_TOKENS];
    int32_t top[MAX_TOKENS][2];
    float top_logprob[MAX_TOKENS][2];
    float embedding[64];
    hone_finish finish;
    uint32_t usage_prompt, usage_output;
} answer;

typedef struct {
    answer of[MAX_REQUESTS];
    hone_engine *e;
    uint64_t cancel_at; /* id << 32 | tokens after which the request cancels itself; 0: none */
} answers;

static void on_event(void *arg, const hone_event *ev) {
    answers *all = arg;
    assert_true(ev->id < MAX_REQUESTS);
    answer *a = &all->of[ev->id];
    assert_int_equal(a->n_done, 0); /* nothing follows the end */
    switch (ev->kind) {
    case HONE_EVENT_TOKEN:
        if (a->n == 0) a->first_index = ev->index;
        assert_int_equal(ev->index, a->first_index + a->n); /* in order, none twice */
        a->token[a->n] = ev->token;
        a->logprob[a->n] = ev->logprob;
        for (uint32_t i = 0; i < ev->n_top && i < 2; i++) {
            a->top[a->n][i] = ev->top_token[i];
            a->top_logprob[a->n][i] = ev->top_logprob[i];
        }
        a->n++;
        if (all->cancel_at && all->cancel_at == (ev->id << 32 | a->n)) hone_engine_cancel(all->e, ev->id);
        break;
    case HONE_EVENT_PROMPT:
        assert_int_equal(ev->index, a->n_prompt_event + 1);
        a->prompt_logprob[ev->index] = ev->logprob;
        a->n_prompt_event++;
        break;
    case HONE_EVENT_EMBEDDING:
        a->n_embedding++;
        memcpy(a->embedding, ev->embedding, sizeof(a->embedding));
        break;
    case HONE_EVENT_DONE:
        a->n_done++;
        a->finish = ev->finish;
        a->usage_prompt = ev->n_prompt;
        a->usage_output = ev->n_output;
    }
}

/* --- requests --- */

typedef struct {
    hone_pool *pool;
    hone_engine *e;
} rig;

typedef struct {
    uint32_t threads, step_rows, sequences, pages;
} setting;

static void rig_open(rig *r, setting s) {
    assert_int_equal(hone_pool_open(&r->pool, s.threads, NULL), HONE_OK);
    const hone_engine_config cfg = {
        .max_step_rows = s.step_rows,
        .max_sequences = s.sequences,
        .max_length = 256,
        .kv_bytes = s.pages * (uint64_t)(model->arch.n_layer *
                                         ((model->kernels->kv_page_bytes(HONE_KV_BF16, 2, 16) + 63) / 64 * 64)),
        .kv_type = HONE_KV_BF16,
        .adapter_bytes = 1 << 20,
        .stall_percent = HONE_STALL_ANY};
    assert_int_equal(hone_engine_open(&r->e, model, r->pool, &cfg, NULL), HONE_OK);
    assert_int_equal(hone_engine_add_adapter(r->e, "one", tiny_adapter(model, 4, 9), NULL), HONE_OK);
    assert_int_equal(hone_engine_add_adapter(r->e, "two", tiny_adapter(model, 7, 10), NULL), HONE_OK);
}

static void rig_close(rig *r) {
    hone_engine_close(r->e);
    hone_pool_close(r->pool);
}

/* Request number id: its prompt, length, sampling and adapter are functions of id. */
static hone_engine_request request_of(uint64_t id, int32_t *prompt) {
    hone_engine_request r = {.id = id, .prompt = prompt, .n_prompt = 1 + (uint32_t)(id * 13 % 60), .n_logprobs = 2};
    tiny_tokens(prompt, r.n_prompt, model->arch.vocab, 1000 + id);
    r.max_tokens = 20 + (uint32_t)(id * 7 % 40);
    r.sampling = hone_sampling_defaults();
    if (id % 3) {
        r.sampling.temperature = 0.9f;
        r.sampling.seed = 77 + id;
        r.sampling.top_p = 0.95f;
        r.sampling.repetition_penalty = 1.1f;
    }
    if (id % 4 == 1) r.adapter = "one";
    if (id % 4 == 3) r.adapter = "two";
    return r;
}

static void submit(rig *r, uint64_t id) {
    int32_t prompt[64];
    const hone_engine_request q = request_of(id, prompt);
    hone_error err = {0};
    if (hone_engine_submit(r->e, &q, &err) != HONE_OK) fail_msg("request %d: %s", (int)id, err.message);
}

static void run(rig *r, answers *a) {
    a->e = r->e;
    for (uint32_t steps = 0; hone_engine_step(r->e, on_event, a); steps++) {
        const char *broken = hone_engine_check(r->e);
        if (broken) fail_msg("%s", broken);
        assert_true(steps < 5000);
    }
    assert_null(hone_engine_check(r->e));
    hone_engine_stats s;
    hone_engine_get_stats(r->e, &s);
    assert_int_equal(s.running + s.waiting, 0);
    assert_int_equal(s.pages_free, s.pages_total);
}

static void must_equal(const answer *a, const answer *b, uint32_t from, const char *what) {
    if (a->n - from != b->n) fail_msg("%s: %u and %u tokens", what, a->n - from, b->n);
    for (uint32_t i = 0; i < b->n; i++) {
        if (a->token[from + i] != b->token[i])
            fail_msg("%s: token %u is %d and %d", what, i, a->token[from + i], b->token[i]);
        assert_memory_equal(&a->logprob[from + i], &b->logprob[i], sizeof(float));
        assert_memory_equal(a->top[from + i], b->top[i], sizeof(a->top[0]));
        assert_memory_equal(a->top_logprob[from + i], b->top_logprob[i], sizeof(a->top_logprob[0]));
    }
    assert_int_equal(a->finish, b->finish);
    assert_int_equal(a->usage_prompt, b->usage_prompt);
    assert_int_equal(a->usage_output, b->usage_output);
}

/* Each of 17 requests alone, on one thread, with room for everything. */
static const answers *alone(void) {
    static answers a;
    static bool made;
    if (made) return &a;
    rig r;
    rig_open(&r, (setting){1, 256, 1, 64});
    for (uint64_t id = 1; id <= 17; id++) {
        submit(&r, id);
        run(&r, &a);
        assert_int_equal(a.of[id].n_done, 1);
        assert_int_equal(a.of[id].n, a.of[id].usage_output);
    }
    rig_close(&r);
    made = true;
    return &a;
}

static void a_request_gives_the_same_alone_and_among_others(void **state) {
    (void)state;
    const setting settings[] = {
        {1, 256, 17, 256}, {2, 32, 17, 256}, {3, 17, 17, 256}, {2, 64, 5, 256}, /* some wait for a place */
    };
    for (uint32_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
        answers *a = calloc(1, sizeof(*a));
        rig r;
        rig_open(&r, settings[i]);
        for (uint64_t id = 1; id <= 17; id++) {
            submit(&r, id);
            if (id % 3 == 0) { /* arrivals while others run */
                a->e = r.e;
                hone_engine_step(r.e, on_event, a);
            }
        }
        run(&r, a);
        for (uint64_t id = 1; id <= 17; id++) must_equal(&alone()->of[id], &a->of[id], 0, "among others");
        rig_close(&r);
        free(a);
    }
}

static void a_request_that_lost_its_pages_gives_the_same(void **state) {
    (void)state;
    answers *a = calloc(1, sizeof(*a));
    rig r;
    rig_open(&r, (setting){2, 64, 17, 9});
    for (uint64_t id = 1; id <= 17; id++) submit(&r, id);
    run(&r, a);
    hone_engine_stats s;
    hone_engine_get_stats(r.e, &s);
    assert_true(s.preemptions > 3);
    for (uint64_t id = 1; id <= 17; id++) must_equal(&alone()->of[id], &a->of[id], 0, "preempted");
    rig_close(&r);
    free(a);
}

static void a_journal_goes_on_with_the_same_bytes(void **state) {
    (void)state;
    for (uint32_t cut = 0; cut <= 60; cut += 6) {
        answers *a = calloc(1, sizeof(*a));
        rig r;
        rig_open(&r, (setting){2, 48, 17, 256});
        for (uint64_t id = 1; id <= 17; id++) {
            int32_t prompt[64];
            hone_engine_request q = request_of(id, prompt);
            const answer *whole = &alone()->of[id];
            q.emitted = whole->token;
            q.n_emitted = cut < whole->n ? cut : whole->n;
            assert_int_equal(hone_engine_submit(r.e, &q, NULL), HONE_OK);
        }
        run(&r, a);
        for (uint64_t id = 1; id <= 17; id++) {
            const answer *whole = &alone()->of[id];
            must_equal(whole, &a->of[id], cut < whole->n ? cut : whole->n, "journal");
            if (a->of[id].n) assert_int_equal(a->of[id].first_index, cut);
        }
        rig_close(&r);
        free(a);
    }
}

static void echo_tells_what_decoding_told(void **state) {
    (void)state;
    answers *a = calloc(1, sizeof(*a));
    rig r;
    rig_open(&r, (setting){2, 19, 4, 64});
    for (uint64_t id = 1; id <= 8; id++) {
        int32_t text[160];
        hone_engine_request q = request_of(id, text);
        const answer *whole = &alone()->of[id];
        memcpy(text + q.n_prompt, whole->token, whole->n * sizeof(int32_t));
        const uint32_t n_prompt = q.n_prompt;
        q.n_prompt += whole->n;
        q.max_tokens = 0;
        q.prompt_logprobs = true;
        q.want_embedding = true;
        memset(&a->of[id], 0, sizeof(a->of[id]));
        if (q.n_prompt > MAX_TOKENS) continue;
        assert_int_equal(hone_engine_submit(r.e, &q, NULL), HONE_OK);
        run(&r, a);
        const answer *b = &a->of[id];
        assert_int_equal(b->n_prompt_event, q.n_prompt - 1);
        assert_int_equal(b->n, 0);
        assert_int_equal(b->n_embedding, 1);
        assert_int_equal(b->finish, HONE_FINISH_LENGTH);
        for (uint32_t i = 0; i < whole->n; i++)
            if (memcmp(&b->prompt_logprob[n_prompt + i], &whole->logprob[i], sizeof(float)) != 0)
                fail_msg("token %u: %a in the echo, %a while decoding", i, (double)b->prompt_logprob[n_prompt + i],
                         (double)whole->logprob[i]);
    }
    rig_close(&r);
    free(a);
}

static void embeddings_do_not_depend_on_chunks_or_preemption(void **state) {
    (void)state;
    const setting settings[] = {{1, 256, 1, 64}, {2, 7, 3, 64}, {3, 31, 6, 6}};
    answers *a = calloc(3, sizeof(*a));
    for (uint32_t i = 0; i < 3; i++) {
        rig r;
        rig_open(&r, settings[i]);
        for (uint64_t id = 1; id <= 6; id++) {
            int32_t prompt[64];
            hone_engine_request q = request_of(id, prompt);
            q.want_embedding = true;
            q.prompt_logprobs = id % 2;
            assert_int_equal(hone_engine_submit(r.e, &q, NULL), HONE_OK);
        }
        run(&r, &a[i]);
        rig_close(&r);
    }
    for (uint32_t i = 1; i < 3; i++)
        for (uint64_t id = 1; id <= 6; id++) {
            assert_int_equal(a[i].of[id].n_embedding, 1);
            assert_memory_equal(a[i].of[id].embedding, a[0].of[id].embedding, sizeof(a[0].of[0].embedding));
            assert_memory_equal(a[i].of[id].prompt_logprob, a[0].of[id].prompt_logprob,
                                sizeof(a[0].of[0].prompt_logprob));
        }
    free(a);
}

static void the_decode_loop_allocates_nothing(void **state) {
    (void)state;
    answers *a = calloc(1, sizeof(*a));
    rig r;
    rig_open(&r, (setting){2, 64, 17, 12}); /* with preemption */
    for (uint64_t id = 1; id <= 17; id++) submit(&r, id);
    int32_t prompt[64];
    hone_engine_request q = request_of(18, prompt);
    q.want_embedding = q.prompt_logprobs = true;
    assert_int_equal(hone_engine_submit(r.e, &q, NULL), HONE_OK);
    const int64_t before = hone_mem_count;
    run(&r, a);
    assert_int_equal(hone_mem_count, before);
    rig_close(&r);
    free(a);
}

static void stops_and_lengths(void **state) {
    (void)state;
    const answer *whole = &alone()->of[2];
    assert_true(whole->n > 12);
    /* The first token of the answer that did not come before. */
    uint32_t at = 5;
    for (;; at++) {
        bool seen = false;
        for (uint32_t i = 0; i < at; i++) seen |= whole->token[i] == whole->token[at];
        if (!seen) break;
    }
    rig r;
    rig_open(&r, (setting){1, 64, 4, 64});
    for (uint32_t way = 0; way < 4; way++) {
        answers *a = calloc(1, sizeof(*a));
        int32_t prompt[64];
        hone_engine_request q = request_of(2, prompt);
        q.n_stop = 2;
        q.stop[0] = 319;
        q.stop[1] = whole->token[at];
        if (way == 1) q.ignore_stop = true;
        if (way == 2) q.min_tokens = at + 3;
        if (way == 3) q.max_tokens = at;
        assert_int_equal(hone_engine_submit(r.e, &q, NULL), HONE_OK);
        run(&r, a);
        const answer *b = &a->of[2];
        if (way == 0) {
            assert_int_equal(b->finish, HONE_FINISH_STOP);
            assert_int_equal(b->n, at + 1); /* the stop token is reported */
            assert_int_equal(b->token[at], whole->token[at]);
        }
        if (way == 1) assert_int_equal(b->n, whole->n);
        if (way == 2) {
            assert_true(b->n >= at + 3);
            for (uint32_t i = 0; i < at + 3; i++) assert_true(b->token[i] != q.stop[1]);
        }
        if (way == 3) {
            assert_int_equal(b->finish, HONE_FINISH_LENGTH);
            assert_int_equal(b->n, at);
            assert_int_equal(b->usage_output, at);
        }
        free(a);
    }
    rig_close(&r);
}

static void cancelling_frees_pages_at_once(void **state) {
    (void)state;
    answers *a = calloc(1, sizeof(*a));
    rig r;
    rig_open(&r, (setting){2, 64, 3, 64});
    for (uint64_t id = 1; id <= 6; id++) submit(&r, id); /* three run, three wait */
    a->e = r.e;
    for (uint32_t i = 0; i < 4; i++) hone_engine_step(r.e, on_event, a);
    hone_engine_stats before, after;
    hone_engine_get_stats(r.e, &before);
    assert_int_equal(before.running, 3);
    hone_engine_cancel(r.e, 2);
    hone_engine_cancel(r.e, 5);
    hone_engine_cancel(r.e, 12345);
    hone_engine_get_stats(r.e, &after);
    assert_true(after.pages_free > before.pages_free);
    assert_int_equal(after.running, 2);
    assert_int_equal(after.waiting, 2);
    assert_null(hone_engine_check(r.e));
    const uint32_t had = a->of[2].n;
    a->cancel_at = 3ull << 32 | (a->of[3].n + 2); /* from inside the callback */
    run(&r, a);
    assert_int_equal(a->of[2].n, had);
    assert_int_equal(a->of[2].n_done + a->of[5].n_done + a->of[5].n + a->of[3].n_done, 0);
    assert_int_equal(a->of[3].n, a->cancel_at & 0xffffffff);
    const uint64_t rest[] = {1, 4, 6};
    for (uint32_t i = 0; i < 3; i++) must_equal(&alone()->of[rest[i]], &a->of[rest[i]], 0, "beside cancelled ones");
    submit(&r, 2); /* the id is free again */
    memset(&a->of[2], 0, sizeof(a->of[2]));
    run(&r, a);
    must_equal(&alone()->of[2], &a->of[2], 0, "after a cancelled one");
    rig_close(&r);
    free(a);
}

static void priority_goes_first(void **state) {
    (void)state;
    answers *a = calloc(1, sizeof(*a));
    rig r;
    rig_open(&r, (setting){1, 64, 1, 64});
    int32_t prompt[64];
    for (uint64_t id = 1; id <= 3; id++) {
        hone_engine_request q = request_of(id, prompt);
        q.priority = id == 3 ? 0 : 1;
        assert_int_equal(hone_engine_submit(r.e, &q, NULL), HONE_OK);
    }
    a->e = r.e;
    while (!a->of[3].n_done) hone_engine_step(r.e, on_event, a);
    assert_int_equal(a->of[1].n + a->of[2].n, 0);
    while (!a->of[1].n_done) hone_engine_step(r.e, on_event, a);
    assert_int_equal(a->of[2].n, 0);
    run(&r, a);
    rig_close(&r);
    free(a);
}

static void running_streams_go_on_while_a_long_prompt_comes_in(void **state) {
    (void)state;
    answers *a = calloc(1, sizeof(*a));
    rig r;
    rig_open(&r, (setting){1, 8, 4, 64});
    submit(&r, 13); /* 50 tokens of prompt */
    a->e = r.e;
    while (a->of[13].n == 0) hone_engine_step(r.e, on_event, a);
    int32_t prompt[200];
    hone_engine_request q = request_of(1, prompt);
    tiny_tokens(prompt, 200, model->arch.vocab, 5);
    q.n_prompt = 200;
    q.max_tokens = 1;
    assert_int_equal(hone_engine_submit(r.e, &q, NULL), HONE_OK);
    const uint32_t had = a->of[13].n;
    uint32_t steps = 0;
    for (; a->of[1].n == 0; steps++) hone_engine_step(r.e, on_event, a);
    assert_int_equal(steps, 29); /* 200 rows, 7 a step beside the stream */
    assert_int_equal(a->of[13].n, had + steps > alone()->of[13].n ? alone()->of[13].n : had + steps);
    run(&r, a);
    must_equal(&alone()->of[13], &a->of[13], 0, "beside a long prompt");
    rig_close(&r);
    free(a);
}

static void the_plan_is_what_is_used(void **state) {
    (void)state;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        hone_pool *pool;
        hone_engine *e;
        assert_int_equal(hone_pool_open(&pool, threads, NULL), HONE_OK);
        const hone_engine_config cfg = {.max_step_rows = 40, .max_sequences = 9, .kv_type = HONE_KV_BF16};
        hone_memory_plan plan;
        hone_engine_plan(&plan, model, pool, &cfg);
        assert_int_equal(hone_engine_open(&e, model, pool, &cfg, NULL), HONE_OK);
        hone_engine_stats s;
        hone_engine_get_stats(e, &s);
        assert_int_equal(s.memory, plan.kv + plan.scratch);
        assert_int_equal(plan.total, plan.weights + plan.kv + plan.scratch + plan.adapters);
        assert_int_equal(plan.weights, model->weight_bytes);
        hone_engine_close(e);
        hone_pool_close(pool);
    }
}

static void every_failed_allocation_is_survived(void **state) {
    (void)state;
    const hone_engine_config cfg = {.max_step_rows = 16, .max_sequences = 4, .max_length = 256};
    const int64_t live = hone_mem_live;
    hone_engine *e = NULL;
    for (int64_t fail_at = 0; !e; fail_at++) {
        hone_mem_fail_at = fail_at;
        const hone_status st = hone_engine_open(&e, model, NULL, &cfg, NULL);
        hone_mem_fail_at = -1;
        assert_true(st == HONE_OK || (st == HONE_ERR_NOMEM && !e));
        if (!e) assert_int_equal(hone_mem_live, live);
        assert_true(fail_at < 60);
    }
    const int64_t open = hone_mem_live;
    bool done = false;
    for (int64_t fail_at = 0; !done; fail_at++) {
        int32_t prompt[64];
        hone_engine_request q = request_of(2, prompt);
        q.want_embedding = true;
        hone_mem_fail_at = fail_at;
        const hone_status st = hone_engine_submit(e, &q, NULL);
        hone_mem_fail_at = -1;
        done = st == HONE_OK;
        if (!done) {
            assert_int_equal(st, HONE_ERR_NOMEM);
            assert_int_equal(hone_mem_live, open);
        }
        assert_null(hone_engine_check(e));
    }
    hone_adapter *adapter = tiny_adapter(model, 4, 9);
    hone_mem_fail_at = 0;
    assert_int_equal(hone_engine_add_adapter(e, "x", adapter, NULL), HONE_ERR_NOMEM); /* and freed it */
    hone_mem_fail_at = -1;
    hone_engine_close(e); /* with a request waiting */
    assert_int_equal(hone_mem_live, live);
}

static void adapters_make_room_for_each_other(void **state) {
    (void)state;
    hone_adapter *probe = tiny_adapter(model, 4, 1);
    const uint64_t bytes = probe->bytes;
    assert_true(bytes > 0);
    hone_adapter_free(probe);
    const hone_engine_config cfg = {
        .max_step_rows = 16, .max_sequences = 4, .max_length = 128, .adapter_bytes = 3 * bytes};
    hone_engine *e;
    answers *a = calloc(1, sizeof(*a));
    assert_int_equal(hone_engine_open(&e, model, NULL, &cfg, NULL), HONE_OK);
    const char *name[] = {"a", "b", "c", "d", "e"};
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(hone_engine_add_adapter(e, name[i], tiny_adapter(model, 4, i), NULL), HONE_OK);
    int32_t prompt[64];
    hone_engine_request q = request_of(2, prompt);
    q.adapter = "a"; /* in use: it stays, though it is the oldest */
    assert_int_equal(hone_engine_submit(e, &q, NULL), HONE_OK);
    a->e = e;
    hone_engine_step(e, on_event, a);
    assert_int_equal(hone_engine_add_adapter(e, "d", tiny_adapter(model, 4, 4), NULL), HONE_OK);
    assert_true(hone_engine_has_adapter(e, "a") && hone_engine_has_adapter(e, "d"));
    assert_int_equal(hone_engine_has_adapter(e, "b") + hone_engine_has_adapter(e, "c"), 1);
    assert_null(hone_engine_check(e));
    /* All in use: the next one has to wait. */
    q.id = 3;
    q.adapter = "d";
    assert_int_equal(hone_engine_submit(e, &q, NULL), HONE_OK);
    q.id = 4;
    q.adapter = hone_engine_has_adapter(e, "b") ? "b" : "c";
    assert_int_equal(hone_engine_submit(e, &q, NULL), HONE_OK);
    hone_error err;
    assert_int_equal(hone_engine_add_adapter(e, "e", tiny_adapter(model, 4, 5), &err), HONE_ERR_FULL);
    q.id = 5;
    q.adapter = "e";
    assert_int_equal(hone_engine_submit(e, &q, &err), HONE_ERR_NOT_FOUND);
    while (hone_engine_step(e, on_event, a)) assert_null(hone_engine_check(e));
    assert_int_equal(hone_engine_add_adapter(e, "e", tiny_adapter(model, 4, 5), &err), HONE_OK);
    assert_int_equal(hone_engine_add_adapter(e, "e", tiny_adapter(model, 4, 5), &err), HONE_OK); /* again: fine */
    assert_int_equal(hone_engine_add_adapter(e, "wide", tiny_adapter(model, 300, 5), &err), HONE_ERR_LIMIT);
    hone_engine_close(e);
    free(a);
}

static void requests_that_cannot_be_are_refused_with_the_reason(void **state) {
    (void)state;
    rig r;
    rig_open(&r, (setting){1, 16, 2, 4}); /* 128 positions */
    int32_t prompt[300] = {0};
    hone_error err;
    hone_engine_request good = {.id = 1,
                                .prompt = prompt,
                                .n_prompt = 3,
                                .max_tokens = 4,
                                .n_logprobs = -1,
                                .sampling = hone_sampling_defaults()};
    hone_engine_request q = good;
    q.n_prompt = 0;
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_ARG);
    q = good;
    q.n_prompt = 200;
    q.max_tokens = 57;
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_ARG);
    assert_non_null(strstr(err.message, "200"));
    assert_non_null(strstr(err.message, "57"));
    assert_non_null(strstr(err.message, "256"));
    q.n_prompt = 100;
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_ARG); /* over the cache */
    assert_non_null(strstr(err.message, "128"));
    q = good;
    q.n_prompt = UINT32_MAX;
    q.max_tokens = UINT32_MAX;
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_ARG);
    q = good;
    prompt[1] = (int32_t)model->arch.vocab;
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_ARG);
    assert_int_equal(err.position, 1);
    prompt[1] = -1;
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_ARG);
    prompt[1] = 0;
    q.n_stop = 17;
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_ARG);
    q = good;
    q.n_logprobs = 21;
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_ARG);
    q = good;
    q.emitted = prompt;
    q.n_emitted = 5;
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_ARG);
    q = good;
    q.sampling.temperature = NAN;
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_ARG);
    q = good;
    q.adapter = "nobody";
    assert_int_equal(hone_engine_submit(r.e, &q, &err), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_engine_submit(r.e, &good, &err), HONE_OK);
    assert_int_equal(hone_engine_submit(r.e, &good, &err), HONE_ERR_EXISTS);
    answers *a = calloc(1, sizeof(*a));
    run(&r, a);
    assert_int_equal(a->of[1].n, 4);
    free(a);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_gives_the_same_alone_and_among_others),
        cmocka_unit_test(a_request_that_lost_its_pages_gives_the_same),
        cmocka_unit_test(a_journal_goes_on_with_the_same_bytes),
        cmocka_unit_test(echo_tells_what_decoding_told),
        cmocka_unit_test(embeddings_do_not_depend_on_chunks_or_preemption),
        cmocka_unit_test(the_decode_loop_allocates_nothing),
        cmocka_unit_test(stops_and_lengths),
        cmocka_unit_test(cancelling_frees_pages_at_once),
        cmocka_unit_test(priority_goes_first),
        cmocka_unit_test(running_streams_go_on_while_a_long_prompt_comes_in),
        cmocka_unit_test(the_plan_is_what_is_used),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(adapters_make_room_for_each_other),
        cmocka_unit_test(requests_that_cannot_be_are_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
