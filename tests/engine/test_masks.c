/* test_masks.c - grammars in the engine: every text is one of the grammar's, whatever the logits, and the same tokens
 * come with drafts, in company, after a journal, with and without log-probabilities. */
#include "test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "engine/masks.h"
#include "engine/sample.h"
#include "tiny.h"

#define N 24u
#define MAX_TOKENS 96u
#define END 319

static hone_model *model;
static uint32_t offset[321];
static uint8_t bytes[4096];

/* All single bytes, then runs that JSON has; the last token ends a text. */
static void spell(void) {
    static const char *run[] = {"{\"", "\":",   "\": ", "\", \"", "\",\"", "true",   "false",    "null",
                                "\"}", "}]",    "[]",   "{}",     "name",  "name\"", "colour",   "red",
                                "gr",  "green", "12",   "123",    "0.5",   ", ",     "\"colour", "ab",
                                "abc", "bc",    "een",  "lue",    "blue",  "ue\"",   "\"\"",     "  "};
    uint32_t at = 0;
    for (uint32_t i = 0; i < 320; i++) {
        offset[i] = at;
        const char *text = i >= 256 && i - 256 < sizeof(run) / sizeof(*run) ? run[i - 256] : "";
        if (i < 256) bytes[at++] = (uint8_t)i;
        memcpy(bytes + at, text, strlen(text));
        at += (uint32_t)strlen(text);
    }
    offset[320] = at;
}

static hone_vocabulary *vocabulary(void) {
    const int32_t end = END;
    hone_vocabulary *v;
    assert_int_equal(hone_vocabulary_open(&v, 320, offset, bytes, &end, 1, NULL), HONE_OK);
    return v;
}

static int set_up(void **state) {
    (void)state;
    tiny_options o = tiny_defaults();
    model = tiny_model(hone_kernels_best(), &o);
    spell();
    return model ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tiny_model_free(model);
    return 0;
}

typedef struct {
    uint32_t n, first, n_done, n_cached, n_accepted, n_rejected;
    int32_t token[MAX_TOKENS];
    float logprob[MAX_TOKENS];
    hone_finish finish;
    char problem[80];
} answer;

typedef struct {
    hone_pool *pool;
    hone_engine *e;
    answer of[N];
} rig;

static void on_event(void *arg, const hone_event *ev) {
    rig *r = arg;
    answer *a = &r->of[ev->id];
    assert_int_equal(a->n_done, 0);
    if (ev->kind == HONE_EVENT_TOKEN) {
        if (a->n == 0) a->first = ev->index;
        assert_int_equal(ev->index, a->first + a->n);
        a->token[a->n] = ev->token;
        a->logprob[a->n++] = ev->logprob;
    } else if (ev->kind == HONE_EVENT_DONE) {
        a->n_done++;
        a->finish = ev->finish;
        a->n_cached = ev->n_cached;
        a->n_accepted = ev->n_accepted;
        a->n_rejected = ev->n_rejected;
        if (ev->error) snprintf(a->problem, sizeof(a->problem), "%.79s", ev->error->message);
    }
}

static rig *rig_open(uint32_t threads, uint32_t sequences, uint32_t pages, uint32_t max_draft) {
    rig *r = calloc(1, sizeof(*r));
    assert_int_equal(hone_pool_open(&r->pool, threads, NULL), HONE_OK);
    const hone_engine_config cfg = {
        .max_step_rows = 64,
        .max_sequences = sequences,
        .max_length = 256,
        .kv_bytes = pages * (uint64_t)(model->arch.n_layer *
                                       ((model->kernels->kv_page_bytes(HONE_KV_BF16, 2, 16) + 63) / 64 * 64)),
        .adapter_bytes = 1 << 20,
        .max_draft = max_draft};
    assert_int_equal(hone_engine_open(&r->e, model, r->pool, &cfg, NULL), HONE_OK);
    assert_int_equal(hone_engine_add_adapter(r->e, "one", tiny_adapter(model, 4, 9), NULL), HONE_OK);
    hone_engine_set_vocabulary(r->e, vocabulary());
    return r;
}

static void rig_close(rig *r) {
    hone_engine_close(r->e);
    hone_pool_close(r->pool);
    free(r);
}

static void run(rig *r) {
    for (uint32_t steps = 0; hone_engine_step(r->e, on_event, r); steps++) {
        const char *broken = hone_engine_check(r->e);
        if (broken) fail_msg("%s", broken);
        assert_true(steps < 5000);
    }
}

/* An object whose texts are short: any run ends within its tokens. */
static const char object[] =
    "root ::= \"{\\\"name\\\": \" string \", \\\"colour\\\": \" colour (\", \\\"n\\\": \" number)? \"}\"\n"
    "string ::= \"\\\"\" [a-z 0-9]{0,12} \"\\\"\"\n"
    "colour ::= \"\\\"red\\\"\" | \"\\\"green\\\"\" | \"\\\"blue\\\"\"\n"
    "number ::= \"0\" | [1-9] [0-9]{0,4} (\".\" [0-9]{1,3})?\n";
static const char list[] =
    "root ::= \"[\" (value (\",\" value){0,5})? \"]\"\n"
    "value ::= \"true\" | \"false\" | \"null\" | \"\\\"\" [a-c]{0,5} \"\\\"\" | \"[\" value? \"]\"\n";
static const char pair[] = "root ::= (\"ab\" | \"abc\" | \"cab\"){2,8}\n";

static hone_engine_request request_of(uint64_t id, int32_t *prompt) {
    static const char *source[] = {object, list, pair};
    hone_engine_request r = {
        .id = id % N, .prompt = prompt, .n_prompt = 2 + (uint32_t)(id * 11 % 50), .n_logprobs = -1};
    tiny_tokens(prompt, r.n_prompt, model->arch.vocab, 1000 + id);
    r.max_tokens = 90;
    r.sampling = hone_sampling_defaults();
    if (id % 4) {
        r.sampling.temperature = 0.5f + (float)(id % 5);
        r.sampling.seed = id;
        r.sampling.top_p = id % 3 ? 1 : 0.9f;
        r.sampling.repetition_penalty = id % 7 == 1 ? 1.3f : 1;
    }
    if (id % 3 == 1) r.adapter = "one";
    r.grammar_source = source[id % 3];
    r.n_grammar_source = strlen(r.grammar_source);
    return r;
}

static size_t text_of(const answer *a, char *out) {
    size_t n = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        const uint32_t t = (uint32_t)a->token[i];
        memcpy(out + n, bytes + offset[t], offset[t + 1] - offset[t]);
        n += offset[t + 1] - offset[t];
    }
    out[n] = 0;
    return n;
}

static void must_be_valid(uint64_t id, const answer *a) {
    char text[1024];
    const size_t n = text_of(a, text);
    if (a->finish != HONE_FINISH_STOP || a->token[a->n - 1] != END) fail_msg("%llu: %s", (unsigned long long)id, text);
    if (id % 3 == 2) { /* ab, abc and cab alone; "abcab" may be cut in two ways */
        assert_true(n >= 4);
        for (size_t i = 0; i < n; i++)
            assert_true(text[i] == 'a'   ? text[i + 1] == 'b'
                        : text[i] == 'b' ? i > 0 && text[i - 1] == 'a'
                                         : text[i] == 'c');
        return;
    }
    json_t *v = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    if (!v) fail_msg("no JSON: %s", text);
    if (id % 3 == 0) {
        assert_true(json_is_string(json_object_get(v, "name")));
        const char *colour = json_string_value(json_object_get(v, "colour"));
        assert_true(colour && (!strcmp(colour, "red") || !strcmp(colour, "green") || !strcmp(colour, "blue")));
        assert_true(json_object_size(v) == 2 || (json_object_size(v) == 3 && json_is_number(json_object_get(v, "n"))));
    } else {
        assert_true(json_is_array(v) && json_array_size(v) <= 6);
    }
    json_decref(v);
}

static void whatever_the_logits_texts_are_valid(void **state) {
    (void)state;
    rig *r = rig_open(2, 16, 256, 0);
    uint64_t forced = 0;
    for (uint64_t from = 0; from < 1008; from += N) {
        memset(r->of, 0, sizeof(r->of));
        for (uint64_t id = from; id < from + N; id++) {
            int32_t prompt[64];
            const hone_engine_request q = request_of(id, prompt);
            assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
        }
        run(r);
        for (uint64_t id = from; id < from + N; id++) must_be_valid(id, &r->of[id % N]);
    }
    hone_engine_stats s;
    hone_engine_get_stats(r->e, &s);
    forced = s.forced;
    assert_true(forced > 1000); /* {"name": " and the like */
    assert_true(s.grammar_mask_ns > 0);
    rig_close(r);
}

/* One token a step, alone, nothing drafted. */
static const answer *plain(void) {
    static answer of[N];
    static bool made;
    if (made) return of;
    rig *r = rig_open(1, 1, 64, HONE_NO_DRAFT);
    for (uint64_t id = 0; id < N; id++) {
        int32_t prompt[64];
        hone_engine_request q = request_of(id, prompt);
        q.n_logprobs = 0; /* forced tokens have rows of their own then */
        assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
        run(r);
        must_be_valid(id, &r->of[id]);
        assert_int_equal(r->of[id].n_accepted + r->of[id].n_rejected, 0); /* forced tokens are no guesses */
    }
    memcpy(of, r->of, sizeof(of));
    rig_close(r);
    made = true;
    return of;
}

static void must_equal(const answer *a, const answer *b, uint32_t from, bool logprobs) {
    assert_int_equal(a->n - from, b->n);
    assert_memory_equal(a->token + from, b->token, b->n * sizeof(int32_t));
    if (logprobs) assert_memory_equal(a->logprob + from, b->logprob, b->n * sizeof(float));
    assert_int_equal(a->finish, b->finish);
}

static void tokens_are_the_same_however_they_came(void **state) {
    (void)state;
    const answer *truth = plain();
    uint64_t preemptions = 0;
    for (uint32_t way = 0; way < 16; way++) {
        const bool logprobs = way & 1, short_of_pages = way & 2, predicted = way & 4, cut = way & 8;
        rig *r = rig_open(1 + way % 3, N, short_of_pages ? 6 : 256, 0);
        for (uint64_t id = 0; id < N; id++) {
            int32_t prompt[64], garbage[MAX_TOKENS];
            hone_engine_request q = request_of(id, prompt);
            q.n_logprobs = logprobs ? 0 : -1;
            tiny_tokens(garbage, MAX_TOKENS, model->arch.vocab, id);
            if (predicted) {
                q.prediction = id % 3 ? truth[id].token : garbage;
                q.n_prediction = id % 3 ? truth[id].n : MAX_TOKENS;
                q.max_draft = 1 + (uint32_t)id % 9;
            }
            q.emitted = truth[id].token;
            q.n_emitted = cut ? (uint32_t)(id * 5 % truth[id].n) : 0;
            assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
        }
        run(r);
        uint32_t accepted = 0;
        for (uint64_t id = 0; id < N; id++) {
            must_equal(&truth[id], &r->of[id], cut ? (uint32_t)(id * 5 % truth[id].n) : 0, logprobs);
            accepted += r->of[id].n_accepted;
        }
        hone_engine_stats s;
        hone_engine_get_stats(r->e, &s);
        if (predicted) assert_true(accepted > N / 2);
        preemptions += s.preemptions;
        rig_close(r);
    }
    assert_true(preemptions > 0);
}

static void forced_runs_need_no_step_each(void **state) {
    (void)state;
    rig *r = rig_open(1, 1, 64, HONE_NO_DRAFT);
    int32_t prompt[64];
    hone_engine_request q = request_of(0, prompt);
    q.grammar_source = "root ::= \"the same words whatever the model says\" [0-9]";
    q.n_grammar_source = strlen(q.grammar_source);
    assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
    run(r);
    hone_engine_stats s;
    hone_engine_get_stats(r->e, &s);
    assert_int_equal(r->of[0].finish, HONE_FINISH_STOP);
    assert_true(r->of[0].n > 30);
    assert_true(s.steps <= 4); /* the prompt with all that is forced, the digit, the end */
    assert_int_equal(s.forced, r->of[0].n - 2);
    /* A text without any choice, cut off by its length, needs none at all. */
    q.max_tokens = 7;
    memset(r->of, 0, sizeof(r->of));
    assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
    run(r);
    hone_engine_stats after;
    hone_engine_get_stats(r->e, &after);
    assert_int_equal(r->of[0].n, 7);
    assert_int_equal(r->of[0].finish, HONE_FINISH_LENGTH);
    assert_int_equal(after.steps, s.steps);
    rig_close(r);
}

/* A prompt of whole pages is found whole only where the first token of the answer is known without its last row: forced
 * by a grammar, or in a journal. */
static void forced_tokens_let_a_whole_prompt_be_found(void **state) {
    (void)state;
    rig *r = rig_open(1, 1, 64, HONE_NO_DRAFT);
    int32_t prompt[64];
    tiny_tokens(prompt, 64, model->arch.vocab, 3);
    const int32_t told = 'a';
    for (uint32_t i = 0; i < 4; i++) {
        hone_engine_request q = {.id = i, .prompt = prompt, .n_prompt = 64, .n_logprobs = -1, .max_tokens = 20};
        q.sampling = hone_sampling_defaults();
        if (i == 2) q.grammar_source = "root ::= \"the same words\" [0-9]";
        if (i == 2) q.n_grammar_source = strlen(q.grammar_source);
        if (i == 3) q.emitted = &told;
        if (i == 3) q.n_emitted = 1;
        assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
        run(r);
        assert_int_equal(r->of[i].n_done, 1);
    }
    assert_int_equal(r->of[0].n_cached, 0);
    assert_int_equal(r->of[1].n_cached, 32);
    assert_int_equal(r->of[2].n_cached, 64);
    assert_int_equal(r->of[3].n_cached, 64);
    rig_close(r);
}

static void stops_lengths_and_least_lengths(void **state) {
    (void)state;
    rig *r = rig_open(1, 1, 64, 0);
    int32_t prompt[64];
    hone_engine_request q = request_of(0, prompt);
    /* The grammar is complete after one digit; min_tokens asks for more where more is allowed. */
    q.grammar_source = "root ::= [0-9] [a-z]*";
    q.n_grammar_source = strlen(q.grammar_source);
    q.n_stop = 1;
    q.stop[0] = END;
    q.min_tokens = 9;
    q.max_tokens = 40;
    assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
    run(r);
    assert_true(r->of[0].n >= 10);
    for (uint32_t i = 0; i < 9; i++) assert_true(r->of[0].token[i] != END);
    /* Where nothing else is allowed the end comes before that. */
    memset(r->of, 0, sizeof(r->of));
    q.grammar_source = "root ::= [0-9]";
    q.n_grammar_source = strlen(q.grammar_source);
    assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
    run(r);
    assert_int_equal(r->of[0].n, 2);
    assert_int_equal(r->of[0].token[1], END);
    assert_int_equal(r->of[0].finish, HONE_FINISH_STOP);
    /* Nothing can follow an end, also where stop tokens are to be ignored. */
    memset(r->of, 0, sizeof(r->of));
    q.ignore_stop = true;
    q.min_tokens = 0;
    assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
    run(r);
    assert_int_equal(r->of[0].n, 2);
    assert_int_equal(r->of[0].finish, HONE_FINISH_STOP);
    rig_close(r);
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    rig *r = rig_open(1, 1, 64, 0);
    int32_t prompt[64];
    const int32_t wrong = 'x';
    hone_error err;
    hone_engine_request q = request_of(0, prompt);
    q.emitted = &wrong;
    q.n_emitted = 1;
    assert_int_equal(hone_engine_submit(r->e, &q, &err), HONE_ERR_ARG);
    q.n_emitted = 0;
    q.grammar_source = "root ::= (";
    q.n_grammar_source = strlen(q.grammar_source);
    assert_true(hone_engine_submit(r->e, &q, &err) != HONE_OK);
    assert_null(hone_engine_check(r->e));
    rig_close(r);
    hone_engine *e;
    const hone_engine_config cfg = {.max_step_rows = 16, .max_sequences = 2, .max_length = 256};
    assert_int_equal(hone_engine_open(&e, model, NULL, &cfg, NULL), HONE_OK);
    q = request_of(0, prompt);
    q.adapter = NULL;
    assert_int_equal(hone_engine_submit(e, &q, &err), HONE_ERR_UNSUPPORTED); /* no vocabulary */
    hone_engine_close(e);
}

/* A vocabulary of letters alone: no token goes on where a digit has to come. */
static void a_text_that_cannot_go_on_ends_its_request_alone(void **state) {
    (void)state;
    rig *r = calloc(1, sizeof(*r));
    assert_int_equal(hone_pool_open(&r->pool, 2, NULL), HONE_OK);
    const hone_engine_config cfg = {.max_step_rows = 64, .max_sequences = 4, .max_length = 256};
    assert_int_equal(hone_engine_open(&r->e, model, r->pool, &cfg, NULL), HONE_OK);
    uint32_t few[321];
    for (uint32_t i = 0; i <= 320; i++) few[i] = i < 'a' ? 0 : i <= 'z' ? i - 'a' : 26;
    const int32_t end = END;
    hone_vocabulary *v;
    assert_int_equal(hone_vocabulary_open(&v, 320, few, (const uint8_t *)"abcdefghijklmnopqrstuvwxyz", &end, 1, NULL),
                     HONE_OK);
    hone_engine_set_vocabulary(r->e, v);
    int32_t prompt[64];
    for (uint64_t id = 0; id < 3; id++) {
        hone_engine_request q = request_of(id, prompt);
        q.adapter = NULL;
        q.grammar_source = id == 1 ? "root ::= [a-f]{3} [0-9]" : "root ::= [a-f]{3} [g-h]{4}";
        q.n_grammar_source = strlen(q.grammar_source);
        assert_int_equal(hone_engine_submit(r->e, &q, NULL), HONE_OK);
    }
    run(r);
    assert_int_equal(r->of[1].finish, HONE_FINISH_ERROR);
    assert_true(strlen(r->of[1].problem) > 0);
    assert_int_equal(r->of[1].n, 3);
    for (uint64_t id = 0; id < 3; id += 2) {
        assert_int_equal(r->of[id].finish, HONE_FINISH_STOP);
        assert_int_equal(r->of[id].n, 8);
    }
    rig_close(r);
}

static void every_failed_allocation_of_a_submit_is_survived(void **state) {
    (void)state;
    rig *r = rig_open(1, 2, 64, 0);
    const int64_t open = hone_mem_live;
    bool done = false;
    for (int64_t fail_at = 0; !done; fail_at++) {
        int32_t prompt[64];
        hone_engine_request q = request_of(0, prompt);
        hone_mem_fail_at = fail_at;
        const hone_status st = hone_engine_submit(r->e, &q, NULL);
        hone_mem_fail_at = -1;
        done = st == HONE_OK;
        if (!done) {
            assert_int_equal(st, HONE_ERR_NOMEM);
            assert_int_equal(hone_mem_live, open);
        }
        assert_true(fail_at < 2000);
    }
    rig_close(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_logits_texts_are_valid),
        cmocka_unit_test(tokens_are_the_same_however_they_came),
        cmocka_unit_test(forced_runs_need_no_step_each),
        cmocka_unit_test(forced_tokens_let_a_whole_prompt_be_found),
        cmocka_unit_test(stops_lengths_and_least_lengths),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(a_text_that_cannot_go_on_ends_its_request_alone),
        cmocka_unit_test(every_failed_allocation_of_a_submit_is_survived),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
