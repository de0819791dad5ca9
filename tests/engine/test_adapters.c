/* test_adapters.c - adapters in the batch, as bits: any mix of kinds beside each other gives each what it has alone;
 * laid for serving they give what the float form gives; residency keeps its budget, its users and its pins. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "engine/engine.h"
#include "engine/inspect.h"
#include "engine/sample.h"
#include "peft.h"
#include "tiny.h"

#define MAX_TOKENS 40u

/* --- the kinds --- */

#define ATTENTION (1u << HONE_MOD_Q | 1u << HONE_MOD_V)
#define MLP (1u << HONE_MOD_UP | 1u << HONE_MOD_DOWN)

static const peft_options kinds[] = {
    {.rank = 1, .modules = PEFT_ALL_MODULES},
    {.rank = 4, .modules = ATTENTION, .type = HONE_BF16},
    {.rank = 16, .modules = PEFT_ALL_MODULES, .type = HONE_F16},
    {.rank = 16, .modules = MLP, .widened = true},
    {.rank = 70, .modules = PEFT_ALL_MODULES, .type = HONE_BF16},
    {.rank = 256, .modules = 1u << HONE_MOD_O},
    {.rank = 8, .modules = PEFT_ALL_MODULES, .dora = true},
    {.rank = 5, .modules = ATTENTION, .dora = true, .head = true, .type = HONE_BF16},
    {.rank = 6, .modules = PEFT_ALL_MODULES, .head = true, .embed = true},
    {.rank = 3, .modules = 0, .head = true},
    {.rank = 3, .modules = 0, .embed = true, .type = HONE_BF16},
    {.rank = 12, .modules = PEFT_ALL_MODULES, .invocation = {7, 8}, .n_invocation = 2},
    {.rank = 9, .modules = ATTENTION, .head = true, .invocation = {7}, .n_invocation = 1},
};
#define N_KIND (sizeof(kinds) / sizeof(*kinds))

static tiny_options shape(void) {
    tiny_options o = tiny_defaults();
    o.bias = true;
    o.window = 20;
    return o;
}

static hone_adapter *load(const hone_model *m, uint32_t kind) {
    hone_error err = {0};
    peft_options o = kinds[kind];
    o.seed = 100 + kind;
    hone_adapter *a = peft_load(m, &o, &err);
    if (!a) fail_msg("kind %u: %s", kind, err.message);
    return a;
}

/* --- laid and float form --- */

static void both_forms_give_the_same_bits(void **state) {
    (void)state;
    const uint32_t position[] = {0, 5, 30};
    int32_t tokens[31];
    for (const hone_kernels *const *k = hone_kernels_all(); *k; k++) {
        if (!(*k)->can_run()) continue;
        tiny_options o = shape();
        /* Inputs wider than 64 are summed another way than narrow ones. */
        o.width = 96;
        hone_model *m = tiny_model(*k, &o);
        assert_non_null(m);
        const size_t v = m->arch.vocab;
        tiny_tokens(tokens, 31, (uint32_t)v, 3);
        tokens[4] = 7, tokens[5] = 8;
        float *base = calloc(3 * v, sizeof(float)), *laid = calloc(3 * v, sizeof(float)),
              *floats = calloc(3 * v, sizeof(float));
        hone_inspection w = {.tokens = tokens, .n_token = 31, .position = position, .n_position = 3};
        assert_int_equal(hone_inspect_logits(m, NULL, &w, base, NULL, NULL), HONE_OK);
        for (uint32_t i = 0; i < N_KIND; i++) {
            hone_error err = {0};
            peft_options p = kinds[i];
            p.seed = 50 + i;
            hone_adapter *a = peft_load(m, &p, &err), *b = peft_read(m, &p, &err);
            if (!a || !b) fail_msg("kind %u: %s", i, err.message);
            assert_true(a->laid && !b->laid);
            if (p.widened && (*k)->lora_up) assert_int_equal(a->lora[1][HONE_MOD_UP].type, HONE_BF16);
            if (p.rank == 12) assert_int_equal(a->lora[1][HONE_MOD_UP].type, HONE_F32);
            w.adapter = a;
            assert_int_equal(hone_inspect_logits(m, NULL, &w, laid, NULL, NULL), HONE_OK);
            w.adapter = b;
            assert_int_equal(hone_inspect_logits(m, NULL, &w, floats, NULL, NULL), HONE_OK);
            if (memcmp(laid, floats, 3 * v * sizeof(float)) != 0) fail_msg("%s: kind %u: other bits", (*k)->name, i);
            /* It does something: everywhere, or from its invocation on and not before. */
            assert_int_equal(memcmp(laid, base, v * sizeof(float)) == 0, p.n_invocation > 0);
            assert_memory_not_equal(laid + 2 * v, base + 2 * v, v * sizeof(float));
            hone_adapter_free(a);
            assert_int_equal(hone_adapter_lay(b, m, &err), HONE_OK); /* the third way to the same */
            w.adapter = b;
            assert_int_equal(hone_inspect_logits(m, NULL, &w, laid, NULL, NULL), HONE_OK);
            assert_memory_equal(laid, floats, 3 * v * sizeof(float));
            hone_adapter_free(b);
        }
        free(base), free(laid), free(floats);
        tiny_model_free(m);
    }
}

/* --- company --- */

typedef struct {
    uint32_t n;
    int32_t token[MAX_TOKENS];
    float logprob[MAX_TOKENS], prompt[MAX_TOKENS];
    bool done;
} answer;

static void on_event(void *arg, const hone_event *ev) {
    answer *a = (answer *)arg + ev->id;
    if (ev->kind == HONE_EVENT_TOKEN) {
        a->token[a->n] = ev->token;
        a->logprob[a->n++] = ev->logprob;
    } else if (ev->kind == HONE_EVENT_PROMPT) {
        a->prompt[ev->index] = ev->logprob;
    } else if (ev->kind == HONE_EVENT_DONE) {
        assert_int_equal(ev->finish, HONE_FINISH_LENGTH);
        a->done = true;
    }
}

static void open_engine(hone_engine **e, const hone_model *m, hone_pool *pool, uint32_t step_rows) {
    const hone_engine_config cfg = {.max_step_rows = step_rows,
                                    .max_sequences = 2 * N_KIND < step_rows ? 2 * N_KIND : step_rows,
                                    .max_length = 128,
                                    .kv_bytes = 256 << 20,
                                    .adapter_bytes = 256 << 20};
    assert_int_equal(hone_engine_open(e, m, pool, &cfg, NULL), HONE_OK);
    for (uint32_t i = 0; i < N_KIND; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%u", i);
        assert_int_equal(hone_engine_add_adapter(*e, name, load(m, i), NULL), HONE_OK);
    }
}

/* Request id uses adapter id / 2, every seventh none: two of each, far from each other in the step. */
static void ask(hone_engine *e, uint32_t id, uint32_t vocab) {
    char name[16];
    hone_error err = {0};
    int32_t prompt[32];
    hone_engine_request r = {.id = id, .prompt = prompt, .n_prompt = 3 + id * 5 % 25, .max_tokens = 8 + id % 6};
    tiny_tokens(prompt, r.n_prompt, vocab, 900 + id);
    if (r.n_prompt > 6) prompt[r.n_prompt - 3] = 7, prompt[r.n_prompt - 2] = 8;
    r.sampling = hone_sampling_defaults();
    r.sampling.temperature = id % 3 ? 0.8f : 0;
    r.sampling.seed = id;
    r.prompt_logprobs = id % 4 == 0;
    snprintf(name, sizeof(name), "%u", id % (uint32_t)N_KIND);
    if (id % 7 != 6) r.adapter = name;
    if (hone_engine_submit(e, &r, &err) != HONE_OK) fail_msg("%u: %s", id, err.message);
}

static void any_company_gives_each_its_own_bits(void **state) {
    (void)state;
    const uint32_t n = 3 * N_KIND;
    tiny_options o = shape();
    hone_model *m = tiny_model(hone_kernels_best(), &o);
    answer *alone = calloc(n, sizeof(*alone)), *all = calloc(n, sizeof(*all));
    hone_engine *e;
    open_engine(&e, m, NULL, 32);
    for (uint32_t i = 0; i < n; i++) {
        ask(e, i, m->arch.vocab);
        while (hone_engine_step(e, on_event, alone)) continue;
        assert_true(alone[i].done);
    }
    hone_engine_close(e);
    static const struct { uint32_t threads, step_rows; } table[] = {{1, 64}, {3, 64}, {2, 17}, {2, 200}};
    for (uint32_t t = 0; t < sizeof(table) / sizeof(*table); t++) {
        hone_pool *pool;
        assert_int_equal(hone_pool_open(&pool, table[t].threads, NULL), HONE_OK);
        open_engine(&e, m, pool, table[t].step_rows);
        memset(all, 0, n * sizeof(*all));
        for (uint32_t i = 0; i < n; i++) {
            ask(e, (i * 17 + t) % n, m->arch.vocab); /* 17 and n have no common factor */
            if (i % 3 == 0) hone_engine_step(e, on_event, all);
        }
        while (hone_engine_step(e, on_event, all)) assert_null(hone_engine_check(e));
        for (uint32_t i = 0; i < n; i++)
            if (memcmp(&alone[i], &all[i], sizeof(answer)) != 0)
                fail_msg("%u threads, %u rows: request %u differs in company", table[t].threads, table[t].step_rows, i);
        hone_engine_close(e);
        hone_pool_close(pool);
    }
    free(alone), free(all);
    tiny_model_free(m);
}

/* --- where it applies --- */

static void invocation_tokens_are_found_from_the_end(void **state) {
    (void)state;
    int32_t invocation[] = {4, 5};
    const hone_adapter a = {.invocation = invocation, .n_invocation = 2}, plain = {0};
    const int32_t prompt[] = {4, 5, 1, 4, 5, 4, 9, 4};
    assert_int_equal(hone_adapter_applies_from(&a, prompt, 8), 3);
    assert_int_equal(hone_adapter_applies_from(&a, prompt, 4), 0);
    assert_int_equal(hone_adapter_applies_from(&a, prompt, 1), HONE_APPLIES_NOWHERE);
    assert_int_equal(hone_adapter_applies_from(&a, prompt + 5, 3), HONE_APPLIES_NOWHERE);
    assert_int_equal(hone_adapter_applies_from(&plain, prompt, 8), 0);
}

/* --- residency --- */

static char evicted[64];
static void on_evicted(void *arg, const char *digest) {
    (void)arg;
    snprintf(evicted + strlen(evicted), sizeof(evicted) - strlen(evicted), "%s ", digest);
}

static void pins_and_room(void **state) {
    (void)state;
    tiny_options o = shape();
    hone_model *m = tiny_model(hone_kernels_best(), &o);
    hone_adapter *probe = load(m, 0);
    const uint64_t bytes = probe->bytes;
    hone_adapter_free(probe);
    const hone_engine_config cfg = {
        .max_step_rows = 16, .max_sequences = 4, .max_length = 64, .adapter_bytes = 3 * bytes};
    hone_engine *e;
    hone_error err = {0};
    assert_int_equal(hone_engine_open(&e, m, NULL, &cfg, NULL), HONE_OK);
    hone_engine_on_evicted(e, on_evicted, NULL);
    evicted[0] = 0;
    const char *name[] = {"a", "b", "c", "d", "e"};
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(hone_engine_add_adapter(e, name[i], load(m, 0), NULL), HONE_OK);
    hone_engine_pin_adapter(e, "a", true);
    hone_engine_pin_adapter(e, "nobody", true);
    assert_int_equal(hone_engine_add_adapter(e, "d", load(m, 0), NULL), HONE_OK);
    assert_int_equal(hone_engine_add_adapter(e, "e", load(m, 0), NULL), HONE_OK);
    assert_string_equal(evicted, "b c "); /* the oldest that nobody pinned */
    assert_null(hone_engine_check(e));
    /* Pinned ones leave no room, whoever waits. */
    hone_engine_pin_adapter(e, "d", true);
    hone_engine_pin_adapter(e, "e", true);
    assert_int_equal(hone_engine_add_adapter(e, "b", load(m, 0), &err), HONE_ERR_LIMIT);
    assert_non_null(strstr(err.message, "are pinned"));
    hone_engine_pin_adapter(e, "e", false);
    assert_int_equal(hone_engine_adapter_room(e, bytes, &err), HONE_OK);
    assert_string_equal(evicted, "b c e ");
    assert_int_equal(hone_engine_adapter_room(e, 4 * bytes, &err), HONE_ERR_LIMIT);
    hone_engine_close(e);
    tiny_model_free(m);
}

/* --- without memory --- */

static void loading_survives_every_failed_allocation(void **state) {
    (void)state;
    tiny_options o = shape();
    hone_model *m = tiny_model(hone_kernels_best(), &o);
    for (uint32_t kind = 7; kind < 9; kind++) {
        peft_options p = kinds[kind];
        hone_buf config = {0}, tensors = {0};
        peft_files(&m->arch, &p, &config, &tensors);
        const int64_t live = hone_mem_live;
        hone_status status = HONE_ERR_NOMEM;
        for (int64_t i = 0; status != HONE_OK; i++) {
            hone_error err = {0};
            hone_adapter *a = NULL, *b = NULL;
            hone_mem_fail_at = i;
            status = hone_adapter_load(&a, config.data, config.n, tensors.data, tensors.n, m, &err);
            if (status == HONE_OK)
                status = hone_adapter_read_bytes(&b, config.data, config.n, tensors.data, tensors.n, &m->arch, &err);
            if (status == HONE_OK) status = hone_adapter_lay(b, m, &err);
            hone_mem_fail_at = -1;
            if (status != HONE_OK && status != HONE_ERR_NOMEM) fail_msg("allocation %d: %s", (int)i, err.message);
            hone_adapter_free(a);
            hone_adapter_free(b);
            assert_int_equal(hone_mem_live, live);
        }
        hone_buf_free(&config);
        hone_buf_free(&tensors);
    }
    tiny_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_give_the_same_bits),
        cmocka_unit_test(any_company_gives_each_its_own_bits),
        cmocka_unit_test(invocation_tokens_are_found_from_the_end),
        cmocka_unit_test(pins_and_room),
        cmocka_unit_test(loading_survives_every_failed_allocation),
    };
    hone_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
