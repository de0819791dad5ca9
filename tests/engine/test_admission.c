/* test_admission.c - a request gives the bits of a run alone, without prefix tree, whatever it found there, whomever it
 * rode on, and whoever took its place.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "engine/engine.h"
#include "engine/sample.h"
#include "tiny.h"

enum { PAGE = HONE_KV_PAGE, MAX_REQUESTS = 64, MAX_PROMPT = 300, MAX_OUTPUT = 40 };

static hone_model *model;

static int set_up(void **state) {
    (void)state;
    tiny_options o = tiny_defaults();
    o.window = 50;
    model = tiny_model(hone_kernels_best(), &o);
    return model ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tiny_model_free(model);
    return 0;
}

/* --- what came back --- */

typedef struct {
    uint32_t n, n_done, n_cached, first_step;
    int32_t token[MAX_OUTPUT];
    float logprob[MAX_OUTPUT], embedding[64];
    uint32_t n_told;
    float told[MAX_PROMPT];
} answer;

typedef struct {
    answer of[MAX_REQUESTS];
    hone_engine *e;
    uint32_t steps;
} answers;

static void on_event(void *arg, const hone_event *ev) {
    answers *all = arg;
    assert_true(ev->id < MAX_REQUESTS);
    answer *a = &all->of[ev->id];
    assert_int_equal(a->n_done, 0);
    switch (ev->kind) {
    case HONE_EVENT_TOKEN:
        assert_int_equal(ev->index, a->n);
        if (a->n == 0) a->first_step = all->steps;
        a->token[a->n] = ev->token;
        a->logprob[a->n++] = ev->logprob;
        break;
    case HONE_EVENT_PROMPT:
        assert_int_equal(ev->index, a->n_told + 1);
        a->told[a->n_told++] = ev->logprob;
        break;
    case HONE_EVENT_EMBEDDING: memcpy(a->embedding, ev->embedding, sizeof(a->embedding)); break;
    case HONE_EVENT_DONE:
        a->n_done++;
        a->n_cached = ev->n_cached;
        assert_true(ev->n_cached < ev->n_prompt); /* one token at least is computed */
    }
}

static void must_equal(const answer *got, const answer *want, uint64_t id, const char *what) {
    if (got->n != want->n) fail_msg("%s, request %d: %u tokens and %u", what, (int)id, got->n, want->n);
    for (uint32_t i = 0; i < want->n; i++) {
        if (got->token[i] != want->token[i])
            fail_msg("%s, request %d: token %u is %d and %d", what, (int)id, i, got->token[i], want->token[i]);
        if (memcmp(&got->logprob[i], &want->logprob[i], sizeof(float)) != 0)
            fail_msg("%s, request %d: logprob %u is %a and %a", what, (int)id, i, (double)got->logprob[i],
                     (double)want->logprob[i]);
    }
    assert_int_equal(got->n_told, want->n_told);
    assert_memory_equal(got->told, want->told, sizeof(want->told));
    assert_memory_equal(got->embedding, want->embedding, sizeof(want->embedding));
    assert_int_equal(got->n_done, 1);
}

/* --- engines and requests --- */

typedef struct {
    hone_pool *pool;
    hone_engine *e;
    answers a;
} rig;

static void rig_open(rig *r, hone_engine_config cfg, uint32_t threads, uint32_t pages) {
    *r = (rig){0};
    assert_int_equal(hone_pool_open(&r->pool, threads, NULL), HONE_OK);
    cfg.max_length = 400;
    cfg.max_draft = HONE_NO_DRAFT; /* these tests count steps */
    cfg.kv_bytes =
        pages * (uint64_t)(model->arch.n_layer * ((model->kernels->kv_page_bytes(HONE_KV_BF16, 2, 16) + 63) / 64 * 64));
    cfg.adapter_bytes = 1 << 20;
    assert_int_equal(hone_engine_open(&r->e, model, r->pool, &cfg, NULL), HONE_OK);
    assert_int_equal(hone_engine_add_adapter(r->e, "one", tiny_adapter(model, 4, 9), NULL), HONE_OK);
    assert_int_equal(hone_engine_add_adapter(r->e, "two", tiny_adapter(model, 7, 10), NULL), HONE_OK);
    r->a.e = r->e;
}

static void rig_close(rig *r) {
    hone_engine_close(r->e);
    hone_pool_close(r->pool);
}

/* A step allocates nothing and leaves everything in order. */
static bool step(rig *r) {
    const int64_t before = hone_mem_count;
    const bool more = hone_engine_step(r->e, on_event, &r->a);
    r->a.steps++;
    assert_true(hone_mem_count == before);
    const char *broken = hone_engine_check(r->e);
    if (broken) fail_msg("%s", broken);
    return more;
}

static void run(rig *r) {
    for (uint32_t n = 0; step(r); n++) assert_true(n < 20000);
}

static hone_engine_stats stats_of(const rig *r) {
    hone_engine_stats s;
    hone_engine_get_stats(r->e, &s);
    return s;
}

static void submit(rig *r, const hone_engine_request *q) {
    hone_error err = {0};
    memset(&r->a.of[q->id], 0, sizeof(r->a.of[0]));
    if (hone_engine_submit(r->e, q, &err) != HONE_OK) fail_msg("request %d: %s", (int)q->id, err.message);
}

static hone_engine_request plain(uint64_t id, const int32_t *prompt, uint32_t n_prompt, uint32_t max_tokens) {
    return (hone_engine_request){.id = id,
                                 .prompt = prompt,
                                 .n_prompt = n_prompt,
                                 .max_tokens = max_tokens,
                                 .n_logprobs = 0,
                                 .sampling = hone_sampling_defaults()};
}

/* Request id of a family of texts that share their beginnings: everything about it is a function of id. */
static hone_engine_request request_of(uint64_t id, int32_t *prompt) {
    uint32_t w[4], v[4];
    hone_random_block(11, (uint32_t)id, 1, 0, w);
    hone_random_block(11, (uint32_t)id, 2, 0, v);
    const uint32_t family = w[0] % 3, shared = w[1] % 230, own = 1 + w[2] % 60;
    tiny_tokens(prompt, shared, model->arch.vocab, 50 + family);
    tiny_tokens(prompt + shared, own, model->arch.vocab, 1000 + id);
    hone_engine_request r = plain(id, prompt, shared + own, 1 + w[3] % MAX_OUTPUT);
    if (id % 3) {
        r.sampling.temperature = 0.9f;
        r.sampling.seed = 77 + id;
        r.sampling.top_p = 0.95f;
        r.sampling.repetition_penalty = 1.1f;
    }
    const char *const adapter[] = {NULL, NULL, "one", "two"}, *const salt[] = {NULL, "", "x"};
    r.adapter = adapter[v[0] % 4];
    r.cache_salt = salt[v[1] % 3];
    r.no_prefix = v[2] % 8 == 0;
    r.pin_prefix = v[2] % 8 == 1;
    r.priority = v[3] % 3;
    r.prompt_logprobs = id % 11 == 5;
    r.want_embedding = id % 13 == 7;
    return r;
}

static const answers *alone(void) {
    static answers *made;
    if (made) return made;
    static rig r;
    rig_open(&r, (hone_engine_config){.max_step_rows = 256, .max_sequences = 1, .no_prefix = true}, 1, 64);
    for (uint64_t id = 0; id < MAX_REQUESTS; id++) {
        int32_t prompt[MAX_PROMPT];
        const hone_engine_request q = request_of(id, prompt);
        submit(&r, &q);
        run(&r);
        assert_int_equal(r.a.of[id].n_cached, 0);
    }
    assert_int_equal(stats_of(&r).pages_cached, 0);
    made = malloc(sizeof(*made));
    *made = r.a;
    rig_close(&r);
    return made;
}

/* --- tests --- */

static void any_mix_gives_the_bits_of_a_run_alone(void **state) {
    (void)state;
    const struct {
        uint32_t threads, rows, sequences, pages, stall;
    } setting[] = {{2, 64, 12, 200, 0},
                   {1, 17, 5, 40, HONE_STALL_ANY},
                   {2, 256, 17, 24, HONE_STALL_ANY}, /* page pressure */
                   {3, 40, 17, 14, 0},               /* one long request fills the slab */
                   {2, 64, 3, 60, 5}};
    uint64_t preempted = 0, cached = 0;
    static rig r;
    for (uint32_t i = 0; i < sizeof(setting) / sizeof(*setting); i++) {
        rig_open(&r,
                 (hone_engine_config){.max_step_rows = setting[i].rows,
                                      .max_sequences = setting[i].sequences,
                                      .stall_percent = setting[i].stall},
                 setting[i].threads, setting[i].pages);
        uint64_t next = 0;
        for (uint32_t n = 0; next < MAX_REQUESTS || step(&r); n++) {
            uint32_t w[4];
            hone_random_block(21, i, n, 0, w);
            assert_true(n < 20000);
            if (next < MAX_REQUESTS && w[0] % 3 == 0) { /* some arrive together */
                int32_t prompt[MAX_PROMPT];
                const hone_engine_request q = request_of(next++, prompt);
                submit(&r, &q);
                continue;
            }
            step(&r);
            if (w[1] % 16 == 0 && next) { /* one is cancelled, and comes again from the start */
                const uint64_t id = w[2] % next;
                if (r.a.of[id].n_done) continue;
                hone_engine_cancel(r.e, id);
                const char *broken = hone_engine_check(r.e);
                if (broken) fail_msg("%s", broken);
                int32_t prompt[MAX_PROMPT];
                const hone_engine_request q = request_of(id, prompt);
                submit(&r, &q);
            }
        }
        for (uint64_t id = 0; id < MAX_REQUESTS; id++) {
            int32_t prompt[MAX_PROMPT];
            const hone_engine_request q = request_of(id, prompt);
            must_equal(&r.a.of[id], &alone()->of[id], id, "in a mix");
            if (q.no_prefix || q.want_embedding || q.prompt_logprobs) assert_int_equal(r.a.of[id].n_cached, 0);
            cached += r.a.of[id].n_cached;
        }
        preempted += stats_of(&r).preemptions;
        rig_close(&r);
    }
    assert_true(preempted > 20 && cached > 50 * PAGE);
}

/* llama.cpp issue 26207: the prefix that adapter A computed was used for B. */
static void no_prefix_crosses_adapters_salts_or_the_base(void **state) {
    (void)state;
    static rig r;
    int32_t prompt[150];
    tiny_tokens(prompt, 150, model->arch.vocab, 5);
    const char *const adapter[] = {"one", "two", NULL}, *const salt[] = {NULL, "tenant"};
    answer cold[6];
    for (uint32_t i = 0; i < 6; i++) {
        rig_open(&r, (hone_engine_config){.max_sequences = 4}, 2, 64);
        hone_engine_request q = plain(i, prompt, 150, 12);
        q.adapter = adapter[i % 3];
        q.cache_salt = salt[i / 3];
        submit(&r, &q);
        run(&r);
        cold[i] = r.a.of[i];
        rig_close(&r);
    }
    rig_open(&r, (hone_engine_config){.max_sequences = 4}, 2, 64);
    for (uint32_t round = 0; round < 3; round++)
        for (uint32_t i = 0; i < 6; i++) {
            hone_engine_request q = plain(i, prompt, 150, 12);
            q.adapter = adapter[i % 3];
            q.cache_salt = salt[i / 3];
            submit(&r, &q);
            run(&r);
            must_equal(&r.a.of[i], &cold[i], i, round ? "warm" : "cold beside others");
            assert_int_equal(r.a.of[i].n_cached, round ? 150 / PAGE * PAGE : 0);
        }
    assert_true(cold[0].logprob[0] != cold[1].logprob[0] && cold[0].logprob[0] != cold[2].logprob[0]);
    rig_close(&r);
}

static void a_first_wave_computes_its_prefix_once(void **state) {
    (void)state;
    static rig r;
    rig_open(&r, (hone_engine_config){.max_step_rows = 64, .max_sequences = 8, .stall_percent = HONE_STALL_ANY}, 2, 64);
    int32_t prompt[8][220];
    for (uint32_t i = 0; i < 8; i++) {
        tiny_tokens(prompt[i], 200, model->arch.vocab, 5);
        tiny_tokens(prompt[i] + 200, 20, model->arch.vocab, 100 + i);
        const hone_engine_request q = plain(i, prompt[i], 220, 4);
        submit(&r, &q);
    }
    run(&r);
    const hone_engine_stats s = stats_of(&r);
    assert_int_equal(s.prefill_tokens, 220 + 7 * (220 - 192));
    assert_int_equal(s.prefix_tokens, 7 * 192);
    answer together[8];
    for (uint32_t i = 0; i < 8; i++) together[i] = r.a.of[i];
    rig_close(&r);
    rig_open(&r, (hone_engine_config){.max_sequences = 1, .no_prefix = true}, 1, 64);
    for (uint32_t i = 0; i < 8; i++) {
        const hone_engine_request q = plain(i, prompt[i], 220, 4);
        submit(&r, &q);
        run(&r);
        must_equal(&together[i], &r.a.of[i], i, "in a first wave");
        assert_int_equal(together[i].n_cached, i ? 192 : 0);
    }
    rig_close(&r);
}

static void who_rides_goes_on_when_the_ridden_one_is_gone(void **state) {
    (void)state;
    static rig r;
    rig_open(&r, (hone_engine_config){.max_step_rows = 32, .max_sequences = 8, .stall_percent = HONE_STALL_ANY}, 1, 64);
    int32_t prompt[220];
    tiny_tokens(prompt, 220, model->arch.vocab, 5);
    for (uint32_t i = 0; i < 3; i++) {
        const hone_engine_request q = plain(i, prompt, 220 - i, 4);
        submit(&r, &q);
    }
    step(&r);
    step(&r);
    assert_int_equal(stats_of(&r).running, 3); /* two of them ride */
    assert_int_equal(stats_of(&r).pages_free, 64 - 7);
    hone_engine_cancel(r.e, 0);
    run(&r);
    assert_int_equal(r.a.of[1].n_done + r.a.of[2].n_done, 2);
    assert_int_equal(r.a.of[1].n_cached, 2 * PAGE); /* what the first had computed */
    /* The other of the two rode on the one that went on. */
    assert_int_equal(r.a.of[2].n_cached, 217 / PAGE * PAGE);
    rig_close(&r);
}

static void the_next_turn_computes_what_is_new(void **state) {
    (void)state;
    static rig r;
    int32_t text[300];
    tiny_tokens(text, 300, model->arch.vocab, 5);
    rig_open(&r, (hone_engine_config){.max_sequences = 2}, 1, 64);
    hone_engine_request q = plain(0, text, 100, 30);
    q.adapter = "two";
    submit(&r, &q);
    run(&r);
    memcpy(text + 100, r.a.of[0].token, 30 * sizeof(int32_t)); /* the answer, then more of the user */
    q = plain(1, text, 150, 30);
    q.adapter = "two";
    submit(&r, &q);
    run(&r);
    assert_int_equal(r.a.of[1].n_cached, 129 / PAGE * PAGE);
    const answer warm = r.a.of[1];
    rig_close(&r);
    rig_open(&r, (hone_engine_config){.max_sequences = 2, .no_prefix = true}, 1, 64);
    submit(&r, &q);
    run(&r);
    must_equal(&warm, &r.a.of[1], 1, "second turn");
    rig_close(&r);
}

static void pinned_prefixes_outlive_the_pressure(void **state) {
    (void)state;
    static rig r;
    rig_open(&r, (hone_engine_config){.max_sequences = 2}, 1, 20); /* five pages for pins */
    int32_t pinned[120], other[300];
    tiny_tokens(pinned, 120, model->arch.vocab, 5);
    hone_engine_request q = plain(0, pinned, 120, 4);
    q.pin_prefix = true;
    submit(&r, &q);
    run(&r);
    for (uint32_t i = 0; i < 5; i++) {
        tiny_tokens(other, 300, model->arch.vocab, 60 + i);
        q = plain(1, other, 300, 40);
        submit(&r, &q);
        run(&r);
    }
    q = plain(2, pinned, 120, 4);
    submit(&r, &q);
    run(&r);
    assert_int_equal(r.a.of[2].n_cached, 3 * PAGE);
    assert_memory_equal(r.a.of[2].logprob, r.a.of[0].logprob, sizeof(r.a.of[0].logprob));
    rig_close(&r);
    /* One who needs the whole slab gets it. */
    rig_open(&r, (hone_engine_config){.max_sequences = 2}, 1, 11);
    q = plain(0, pinned, 120, 4);
    q.pin_prefix = true;
    submit(&r, &q);
    run(&r);
    q = plain(1, other, 300, 40);
    submit(&r, &q);
    run(&r);
    assert_int_equal(r.a.of[1].n, 40);
    rig_close(&r);
}

static void a_better_class_takes_the_place_of_a_lower_one(void **state) {
    (void)state;
    static rig r;
    rig_open(&r, (hone_engine_config){.max_step_rows = 64, .max_sequences = 2, .stall_percent = HONE_STALL_ANY}, 1, 64);
    int32_t prompt[4][100];
    hone_engine_request q[4];
    for (uint32_t i = 0; i < 4; i++) {
        tiny_tokens(prompt[i], 100, model->arch.vocab, 5 + i);
        q[i] = plain(i, prompt[i], 100, 40);
        q[i].priority = i == 3 ? 1 : 5;
    }
    q[3].max_tokens = 5;
    for (uint32_t i = 0; i < 3; i++) submit(&r, &q[i]);
    while (r.a.of[1].n < 5) step(&r);
    submit(&r, &q[3]);
    const uint32_t from = r.a.steps, had = r.a.of[1].n;
    while (!r.a.of[3].n_done) step(&r);
    assert_true(r.a.steps - from <= 7); /* two steps of prompt, no wait for a place */
    assert_int_equal(r.a.of[1].n, had); /* the younger of the two gave way */
    assert_int_equal(stats_of(&r).preemptions, 1);
    run(&r);
    answer among[4];
    for (uint32_t i = 0; i < 4; i++) among[i] = r.a.of[i];
    rig_close(&r);
    rig_open(&r, (hone_engine_config){.max_sequences = 1, .no_prefix = true}, 1, 64);
    for (uint32_t i = 0; i < 4; i++) {
        submit(&r, &q[i]);
        run(&r);
        must_equal(&among[i], &r.a.of[i], i, "displaced");
    }
    rig_close(&r);
}

static void short_prompts_pass_a_long_one_that_still_ends(void **state) {
    (void)state;
    static rig r;
    rig_open(&r, (hone_engine_config){.max_step_rows = 8, .max_sequences = 40, .stall_percent = HONE_STALL_ANY}, 1,
             200);
    int32_t giant[300], small[MAX_REQUESTS][20];
    tiny_tokens(giant, 300, model->arch.vocab, 5);
    hone_engine_request q = plain(0, giant, 300, 1);
    submit(&r, &q);
    step(&r);
    uint32_t sent = 1;
    /* Newcomers without end: each is a whole step of work. */
    for (; !r.a.of[0].n_done; sent++) {
        const uint64_t id = 1 + sent % 60;
        tiny_tokens(small[id], 8, model->arch.vocab, 100 + sent);
        if (sent > 60) assert_int_equal(r.a.of[id].n_done, 1);
        q = plain(id, small[id], 8, 1);
        submit(&r, &q);
        step(&r);
        assert_true(sent < 400);
    }
    /* It got its quarter: 292 rows, two of eight a step. */
    assert_true(sent <= 150);
    run(&r);
    rig_close(&r);
}

/* aLoRA: what stands before the invocation tokens is the base's, and is shared as such. */
static hone_adapter *invoked(uint32_t rank, uint64_t seed) {
    hone_adapter *a = tiny_adapter(model, rank, seed);
    a->invocation = hone_zalloc(2, sizeof(int32_t));
    a->invocation[0] = 7;
    a->invocation[1] = 8;
    a->n_invocation = 2;
    return a;
}

static void a_prefix_before_the_invocation_is_the_bases(void **state) {
    (void)state;
    static rig r;
    int32_t prompt[170];
    tiny_tokens(prompt, 170, model->arch.vocab, 5);
    prompt[105] = 7;
    prompt[106] = 8;
    const char *const adapter[] = {"late", NULL, "later", "late", "one", NULL, "later"};
    answer warm[7];
    const hone_engine_config cfg = {.max_sequences = 8, .max_step_rows = 64}, plainly = {.no_prefix = true};
    for (uint32_t way = 0; way < 3; way++) { /* one after the other, all at once, without a tree */
        rig_open(&r, way < 2 ? cfg : plainly, 2, 128);
        assert_int_equal(hone_engine_add_adapter(r.e, "late", invoked(5, 20), NULL), HONE_OK);
        assert_int_equal(hone_engine_add_adapter(r.e, "later", invoked(3, 21), NULL), HONE_OK);
        for (uint32_t i = 0; i < 7; i++) {
            hone_engine_request q = plain(i, prompt, 170, 10);
            q.adapter = adapter[i];
            submit(&r, &q);
            if (way != 1) run(&r);
        }
        run(&r);
        for (uint32_t i = 0; i < 7; i++) {
            if (way) must_equal(&r.a.of[i], &warm[i], i, way == 1 ? "at once" : "without a tree");
            warm[i] = r.a.of[i];
        }
        if (way == 0) { /* 96 positions lie in whole pages before the invocation */
            const uint32_t found[] = {0, 96, 96, 160, 0, 160, 160};
            for (uint32_t i = 0; i < 7; i++) assert_int_equal(warm[i].n_cached, found[i]);
        }
        if (way == 1) assert_true(warm[1].n_cached == 96 && warm[2].n_cached == 96 && warm[4].n_cached == 0);
        rig_close(&r);
    }
}

/* Dynamic NTK: keys depend on how long the sequence may become. */
static void position_tables_are_part_of_the_key(void **state) {
    (void)state;
    const hone_rope kept = model->arch.rope[0];
    hone_rope *rope = &model->arch.rope[0];
    rope->scaling = HONE_ROPE_DYNAMIC;
    rope->factor = 4;
    rope->original_length = 160;
    hone_rope_prepare(rope);
    static rig r;
    int32_t prompt[150];
    tiny_tokens(prompt, 150, model->arch.vocab, 5);
    const uint32_t out[] = {5, 8, 20, 21, 20, 5};
    const bool found[] = {false, true, false, false, true, true};
    answer warm[6];
    rig_open(&r, (hone_engine_config){.max_sequences = 2}, 1, 64);
    for (uint32_t i = 0; i < 6; i++) {
        const hone_engine_request q = plain(i, prompt, 150, out[i]);
        submit(&r, &q);
        run(&r);
        warm[i] = r.a.of[i];
        assert_int_equal(warm[i].n_cached, found[i] ? 128 : 0);
    }
    rig_close(&r);
    rig_open(&r, (hone_engine_config){.max_sequences = 2, .no_prefix = true}, 1, 64);
    for (uint32_t i = 0; i < 6; i++) {
        const hone_engine_request q = plain(i, prompt, 150, out[i]);
        submit(&r, &q);
        run(&r);
        must_equal(&warm[i], &r.a.of[i], i, "with dynamic tables");
    }
    rig_close(&r);
    model->arch.rope[0] = kept;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_mix_gives_the_bits_of_a_run_alone),
        cmocka_unit_test(no_prefix_crosses_adapters_salts_or_the_base),
        cmocka_unit_test(a_first_wave_computes_its_prefix_once),
        cmocka_unit_test(who_rides_goes_on_when_the_ridden_one_is_gone),
        cmocka_unit_test(the_next_turn_computes_what_is_new),
        cmocka_unit_test(pinned_prefixes_outlive_the_pressure),
        cmocka_unit_test(a_better_class_takes_the_place_of_a_lower_one),
        cmocka_unit_test(short_prompts_pass_a_long_one_that_still_ends),
        cmocka_unit_test(a_prefix_before_the_invocation_is_the_bases),
        cmocka_unit_test(position_tables_are_part_of_the_key),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
