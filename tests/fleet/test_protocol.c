/* test_protocol.c - frames: what goes in comes out, and nothing broken is believed. */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "fleet/protocol.h"

/* Send bytes (with descriptors) through a socket pair and read frames back. */
typedef struct {
    int fd[2];
    hone_frame_reader in;
} pipe_pair;

static void open_pair(pipe_pair *p) {
    *p = (pipe_pair){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->fd), 0);
    fcntl(p->fd[1], F_SETFL, O_NONBLOCK);
}
static void close_pair(pipe_pair *p) {
    hone_frame_reader_free(&p->in);
    close(p->fd[0]);
    close(p->fd[1]);
}

static void send_all(pipe_pair *p, const hone_buf *b, const int *fds, uint32_t n_fds) {
    size_t sent;
    assert_int_equal(hone_frame_send(p->fd[0], b->data, b->n, fds, n_fds, &sent, NULL), HONE_OK);
    assert_int_equal(sent, b->n);
}

static const int32_t prompt[] = {1, 2, 3, 40000}, emitted[] = {7}, bias_token[] = {5, 6};
static const float bias_value[] = {-1.5f, 100.0f};
static const int32_t prediction[] = {9, 8, 7};
static const char source[] = "root ::= \"a\" | \"\\u0000\"";

static hone_engine_request sample(void) {
    hone_engine_request r = {.id = 0x123456789abcdefull,
                             .prompt = prompt,
                             .n_prompt = 4,
                             .emitted = emitted,
                             .n_emitted = 1,
                             .max_tokens = 99,
                             .min_tokens = 3,
                             .n_stop = 2,
                             .stop = {2, 49152},
                             .ignore_stop = true,
                             .n_logprobs = 5,
                             .prompt_logprobs = true,
                             .adapter = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                             .priority = 4,
                             .no_prefix = true,
                             .cache_salt = "a tenant",
                             .pin_prefix = true};
    r.grammar_source = source;
    r.n_grammar_source = sizeof(source); /* a NUL is no end */
    r.prediction = prediction;
    r.n_prediction = 3;
    r.max_draft = HONE_NO_DRAFT;
    r.sampling = (hone_sampling){.temperature = 0.7f,
                                 .top_p = 0.9f,
                                 .top_k = 40,
                                 .min_p = 0.05f,
                                 .repetition_penalty = 1.1f,
                                 .frequency_penalty = -0.5f,
                                 .presence_penalty = 0.25f,
                                 .seed = UINT64_MAX,
                                 .n_bias = 2,
                                 .bias_token = bias_token,
                                 .bias_value = bias_value};
    return r;
}

static void test_a_request_comes_back_as_it_was(void **state) {
    (void)state;
    pipe_pair p;
    open_pair(&p);
    hone_buf b = {0};
    const hone_engine_request r = sample();
    hone_frame_request(&b, &r);
    send_all(&p, &b, NULL, 0);
    hone_frame f;
    assert_int_equal(hone_frame_receive(&p.in, p.fd[1], NULL), HONE_OK);
    assert_int_equal(hone_frame_next(&p.in, &f, NULL), HONE_OK);
    assert_int_equal(f.type, HONE_FRAME_REQUEST);
    hone_engine_request got;
    void *store;
    assert_int_equal(hone_frame_get_request(&f, &got, &store), HONE_OK);
    assert_true(got.id == r.id && got.n_prompt == 4 && got.n_emitted == 1 && got.max_tokens == 99 &&
                got.min_tokens == 3);
    assert_memory_equal(got.prompt, prompt, sizeof(prompt));
    assert_memory_equal(got.emitted, emitted, sizeof(emitted));
    assert_true(got.n_stop == 2 && got.stop[1] == 49152 && got.ignore_stop && got.prompt_logprobs &&
                !got.want_embedding && got.n_logprobs == 5);
    assert_true(got.sampling.seed == UINT64_MAX && got.sampling.top_k == 40 && got.sampling.frequency_penalty == -0.5f);
    assert_memory_equal(got.sampling.bias_token, bias_token, sizeof(bias_token));
    assert_memory_equal(got.sampling.bias_value, bias_value, sizeof(bias_value));
    assert_string_equal(got.adapter, r.adapter);
    assert_int_equal(got.n_grammar_source, sizeof(source));
    assert_memory_equal(got.grammar_source, source, sizeof(source));
    assert_int_equal(got.n_prediction, 3);
    assert_memory_equal(got.prediction, prediction, sizeof(prediction));
    assert_true(got.max_draft == HONE_NO_DRAFT && got.grammar == NULL);
    assert_string_equal(got.cache_salt, r.cache_salt);
    assert_true(got.no_prefix && got.pin_prefix && got.priority == 4);
    hone_free(store);
    assert_int_equal(hone_frame_next(&p.in, &f, NULL), HONE_ERR_FULL);
    hone_buf_free(&b);
    close_pair(&p);
    assert_int_equal(hone_mem_live, 0);
}

/* Every prefix of a payload, and every payload with one byte changed, is refused or decodes to something in bounds. */
static void test_broken_requests_are_refused(void **state) {
    (void)state;
    hone_buf b = {0};
    const hone_engine_request r = sample();
    hone_frame_request(&b, &r);
    const size_t n = b.n - HONE_FRAME_HEAD;
    uint8_t *payload = hone_zalloc(n, 1);
    memcpy(payload, b.data + HONE_FRAME_HEAD, n);
    for (size_t cut = 0; cut < n; cut++) {
        const hone_frame f = {.type = HONE_FRAME_REQUEST, .payload = payload, .n = cut};
        hone_engine_request got;
        void *store = NULL;
        assert_int_equal(hone_frame_get_request(&f, &got, &store), HONE_ERR_FORMAT);
        assert_null(store);
    }
    for (size_t at = 0; at < n; at++) {
        payload[at] ^= 0xff;
        const hone_frame f = {.type = HONE_FRAME_REQUEST, .payload = payload, .n = n};
        hone_engine_request got;
        void *store = NULL;
        if (hone_frame_get_request(&f, &got, &store) == HONE_OK)
            assert_true(got.n_stop <= HONE_MAX_STOP_TOKENS && got.n_prompt <= n && got.sampling.n_bias <= n &&
                        got.n_prediction <= n && got.n_grammar_source <= n);
        hone_free(store);
        payload[at] ^= 0xff;
    }
    hone_free(payload);
    hone_buf_free(&b);
    assert_int_equal(hone_mem_live, 0);
}

static void test_a_changed_byte_on_the_wire_is_noticed(void **state) {
    (void)state;
    hone_buf b = {0};
    hone_frame_text(&b, HONE_FRAME_ADAPTER_READY, "abcdef");
    for (size_t at = 0; at < b.n; at++) {
        pipe_pair p;
        open_pair(&p);
        b.data[at] ^= 1;
        send_all(&p, &b, NULL, 0);
        b.data[at] ^= 1;
        hone_frame f;
        hone_frame_receive(&p.in, p.fd[1], NULL);
        const hone_status status = hone_frame_next(&p.in, &f, NULL);
        /* a longer length waits for more; the type alone is not under the checksum, its reader refuses it */
        assert_true(status == HONE_ERR_FORMAT || status == HONE_ERR_FULL || (at == 4 || at == 5));
        close_pair(&p);
    }
    hone_buf_free(&b);
}

static void test_descriptors_arrive_in_order(void **state) {
    (void)state;
    pipe_pair p;
    open_pair(&p);
    int q[2];
    assert_int_equal(pipe(q), 0);
    hone_buf b = {0};
    hone_frame_text(&b, HONE_FRAME_ADAPTER, "x");
    send_all(&p, &b, q, 2);
    hone_frame f;
    assert_int_equal(hone_frame_receive(&p.in, p.fd[1], NULL), HONE_OK);
    assert_int_equal(hone_frame_next(&p.in, &f, NULL), HONE_OK);
    const int r = hone_frame_take_fd(&p.in), w = hone_frame_take_fd(&p.in);
    assert_int_equal(hone_frame_take_fd(&p.in), -1);
    assert_int_equal(write(w, "hello", 5), 5);
    char text[5];
    assert_int_equal(read(r, text, 5), 5);
    assert_memory_equal(text, "hello", 5);
    for (int i = 0; i < 2; i++) close(q[i]);
    close(r);
    close(w);
    hone_buf_free(&b);
    close_pair(&p);
}

typedef struct {
    hone_event e[4];
    float v[2];
    char problem[64];
    int n;
} seen;

static void on_event(void *arg, const hone_event *e) {
    seen *s = arg;
    s->e[s->n++] = *e;
    if (e->kind == HONE_EVENT_EMBEDDING) memcpy(s->v, e->embedding, sizeof(s->v));
    if (e->error) snprintf(s->problem, sizeof(s->problem), "%.60s", e->error->message);
}

static void test_events_of_a_step(void **state) {
    (void)state;
    const float v[2] = {0.5f, -3.0f};
    const hone_error problem = {.code = HONE_ERR_FULL, .message = "no pages"};
    hone_event token = {.kind = HONE_EVENT_TOKEN,
                        .id = 9,
                        .index = 4,
                        .token = 77,
                        .logprob = -0.125f,
                        .n_cached = 3,
                        .n_top = 2,
                        .top_token = {1, 2},
                        .top_logprob = {-1.0f, -2.0f}};
    const hone_event embedding = {.kind = HONE_EVENT_EMBEDDING, .id = 10, .embedding = v};
    const hone_event done = {.kind = HONE_EVENT_DONE,
                             .id = 11,
                             .finish = HONE_FINISH_ERROR,
                             .n_prompt = 5,
                             .n_output = 6,
                             .n_cached = 3,
                             .n_accepted = 2,
                             .n_rejected = 1,
                             .error = &problem};
    hone_buf b = {0};
    size_t mark;
    hone_frame_begin(&b, &mark);
    hone_frame_put_event(&b, &token, 2);
    hone_frame_put_event(&b, &embedding, 2);
    hone_frame_put_event(&b, &done, 2);
    hone_frame_end(&b, mark, HONE_FRAME_EVENTS);
    const hone_frame f = {
        .type = HONE_FRAME_EVENTS, .payload = (const uint8_t *)b.data + HONE_FRAME_HEAD, .n = b.n - HONE_FRAME_HEAD};
    seen s = {.n = 0};
    assert_int_equal(hone_frame_each_event(&f, on_event, &s), HONE_OK);
    assert_int_equal(s.n, 3);
    assert_true(s.e[0].id == 9 && s.e[0].index == 4 && s.e[0].token == 77 && s.e[0].logprob == -0.125f &&
                s.e[0].n_cached == 3 && s.e[0].n_top == 2 && s.e[0].top_token[1] == 2);
    assert_memory_equal(s.v, v, sizeof(v));
    assert_true(s.e[2].finish == HONE_FINISH_ERROR && s.e[2].n_prompt == 5 && s.e[2].n_output == 6 &&
                s.e[2].n_cached == 3 && s.e[2].n_accepted == 2 && s.e[2].n_rejected == 1);
    assert_string_equal(s.problem, "no pages");
    hone_buf_free(&b);
    assert_int_equal(hone_mem_live, 0);
}

/* A figure that the frame leaves out, or two that change places, would be a lie on a dashboard. */
static void test_every_figure_of_the_engine_travels(void **state) {
    (void)state;
    /* static: compared byte by byte, so that no field is forgotten here, and zero between the fields too */
    static const hone_engine_stats told = {.running = 1,
                                           .waiting = 2,
                                           .pages_free = 3,
                                           .pages_total = 4,
                                           .steps = 5,
                                           .prefill_tokens = 6,
                                           .decode_tokens = 7,
                                           .preemptions = 8,
                                           .prefix_tokens = 9,
                                           .pages_cached = 10,
                                           .drafted = 11,
                                           .accepted = 12,
                                           .forced = 13,
                                           .grammar_mask_ns = 14,
                                           .memory = 15,
                                           .adapter_bytes = 16,
                                           .adapters = 17};
    hone_buf b = {0};
    hone_frame_stats(&b, &told);
    const hone_frame f = {
        .type = HONE_FRAME_STATS, .payload = (const uint8_t *)b.data + HONE_FRAME_HEAD, .n = b.n - HONE_FRAME_HEAD};
    hone_engine_stats got;
    memset(&got, 0, sizeof(got));
    assert_int_equal(hone_frame_get_stats(&f, &got), HONE_OK);
    assert_memory_equal(&got, &told, sizeof(got));
    const hone_frame cut = {.type = f.type, .payload = f.payload, .n = f.n - 1};
    assert_int_equal(hone_frame_get_stats(&cut, &got), HONE_ERR_FORMAT);
    hone_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_comes_back_as_it_was),
        cmocka_unit_test(test_broken_requests_are_refused),
        cmocka_unit_test(test_a_changed_byte_on_the_wire_is_noticed),
        cmocka_unit_test(test_descriptors_arrive_in_order),
        cmocka_unit_test(test_events_of_a_step),
        cmocka_unit_test(test_every_figure_of_the_engine_travels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
