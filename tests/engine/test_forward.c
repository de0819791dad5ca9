/* test_forward.c - the forward pass: right against a naive decoder, and the same bits whatever the chunking, the
 * threads, the company, the tape. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "engine/kv.h"
#include "naive.h"
#include "tiny.h"

#define N 70u /* tokens of the sequence that is watched: three pages */

/* --- one sequence through a forward pass of its own --- */

typedef struct {
    hone_forward *f;
    hone_kv *kv;
    uint32_t max_rows;
} machine;

static void machine_open(machine *x, const hone_model *m, hone_pool *pool, uint32_t max_rows, uint32_t sequences,
                         hone_kv_type type) {
    const hone_kv_config cfg = {.max_sequences = sequences,
                                .max_length = 128,
                                .type = type,
                                .budget_bytes = 4 * sequences * hone_kv_page_bytes(m, type)};
    assert_int_equal(hone_kv_open(&x->kv, m, &cfg, NULL), HONE_OK);
    assert_int_equal(hone_forward_open(&x->f, m, pool, max_rows, max_rows, type, NULL), HONE_OK);
    assert_int_equal(hone_forward_bytes(x->f), hone_forward_plan(m, pool, max_rows, max_rows, type));
    x->max_rows = max_rows;
}

static void machine_close(machine *x) {
    hone_forward_close(x->f);
    hone_kv_close(x->kv);
}

/* A sequence whose pages hold garbage: what a former owner left must not matter. */
static hone_seq_view sequence(machine *x, const hone_model *m, hone_kv_type type, const hone_adapter *adapter) {
    const uint32_t id = hone_kv_begin(x->kv);
    assert_int_equal(hone_kv_extend(x->kv, id, 128), HONE_OK);
    hone_seq_view view = hone_kv_view(x->kv, id);
    const size_t bytes = m->kernels->kv_page_bytes(type, m->arch.n_kv_head, m->arch.head_dim);
    for (uint32_t l = 0; l < m->arch.n_layer; l++)
        for (uint32_t p = 0; p < 4; p++) memset(view.page[l * view.cap + p], 0xff, bytes);
    view.length = 128;
    view.adapter = adapter;
    return view;
}

static void run_chunks(const hone_model *m, hone_pool *pool, hone_kv_type type, const hone_adapter *adapter,
                       const int32_t *tokens, uint32_t chunk, float *logits) {
    machine x;
    machine_open(&x, m, pool, chunk, 1, type);
    const hone_seq_view view = sequence(&x, m, type, adapter);
    hone_row rows[N];
    for (uint32_t p = 0; p < N; p += chunk) {
        const uint32_t n = N - p < chunk ? N - p : chunk;
        for (uint32_t i = 0; i < n; i++) rows[i] = (hone_row){tokens[p + i], 0, p + i, (int32_t)i};
        hone_forward_run(x.f, rows, n, &view, 1, logits + (size_t)p * m->arch.vocab, NULL, NULL, NULL);
    }
    machine_close(&x);
}

/* --- the shapes and formats that are tried --- */

typedef struct {
    const char *name;
    tiny_options o;
    bool int8_pages;
} variant;

static uint32_t variants(variant *out) {
    const tiny_options base = tiny_defaults();
    uint32_t n = 0;
    out[n++] = (variant){"q4_1", base, false};
    out[n++] = (variant){"q4_1, int8 pages", base, true};
    out[n] = (variant){"q8_0", base, false};
    out[n++].o.dtype = HONE_Q8_0;
    out[n] = (variant){"q8_0, tied, window", base, false};
    out[n].o.dtype = HONE_Q8_0;
    out[n].o.precision = HONE_PRECISION_F32;
    out[n].o.tied = true;
    out[n++].o.window = 11;
    out[n] = (variant){"bf16, biases, qk norms", base, false};
    out[n].o.dtype = HONE_BF16;
    out[n].o.bias = true;
    out[n].o.qk_norm = true;
    out[n++].o.head_dim = 24;
    out[n] = (variant){"f32, all heads their own keys", base, false};
    out[n].o.dtype = HONE_F32;
    out[n].o.precision = HONE_PRECISION_F32;
    out[n].o.n_kv_head = 4;
    out[n++].o.width = 48;
    out[n] = (variant){"gemma in f32", base, false};
    out[n].o.dtype = HONE_BF16;
    out[n].o.precision = HONE_PRECISION_F32;
    out[n].o.gemma = true;
    out[n].o.tied = true;
    out[n++].o.window = 8;
    out[n] = (variant){"plain MLP, norms after", base, false};
    out[n].o.precision = HONE_PRECISION_F32;
    out[n].o.plain_mlp = true;
    out[n++].o.post_only = true;
    out[n] = (variant){"parallel, LayerNorm", base, false};
    out[n].o.parallel = true;
    out[n].o.layer_norm = true;
    out[n].o.n_head = 6;
    out[n++].o.bias = true;
    return n;
}

static hone_kv_type kv_of(const variant *v) {
    if (v->int8_pages) return HONE_KV_INT8;
    return v->o.precision == HONE_PRECISION_F32 ? HONE_KV_F32 : HONE_KV_BF16;
}

static void for_each(void (*fn)(const variant *v, const hone_model *m)) {
    variant list[16];
    const uint32_t n = variants(list);
    for (const hone_kernels *const *k = hone_kernels_all(); *k; k++) {
        if (!(*k)->can_run()) continue;
        for (uint32_t i = 0; i < n; i++) {
            hone_model *m = tiny_model(*k, &list[i].o);
            assert_non_null(m);
            fn(&list[i], m);
            tiny_model_free(m);
        }
    }
}

static void must_equal(const variant *v, const hone_model *m, const float *a, const float *b, const char *what,
                       uint32_t x, uint32_t y) {
    if (memcmp(a, b, (size_t)N * m->arch.vocab * sizeof(float)) == 0) return;
    for (uint32_t i = 0; i < N * m->arch.vocab; i++)
        if (a[i] != b[i])
            fail_msg("%s, %s: %s %u %u: position %u, token %u: %a and %a", m->kernels->name, v->name, what, x, y,
                     i / m->arch.vocab, i % m->arch.vocab, (double)a[i], (double)b[i]);
    fail_msg("%s, %s: %s: signs of zero or NaN differ", m->kernels->name, v->name, what);
}

/* --- tests --- */

static void agrees(const variant *v, const hone_model *m) {
    if (v->o.parallel) return; /* the naive decoder knows serial blocks */
    int32_t tokens[N];
    tiny_tokens(tokens, N, m->arch.vocab, 3);
    const size_t n = (size_t)N * m->arch.vocab;
    float *have = malloc(n * sizeof(*have));
    double *want = malloc(n * sizeof(*want));
    for (uint32_t with = 0; with < 2; with++) {
        hone_adapter *adapter = with ? tiny_adapter(m, 4, 9) : NULL;
        run_chunks(m, NULL, kv_of(v), adapter, tokens, N, have);
        naive_logits(m, adapter, tokens, N, want);
        double mean = 0, square = 0, worst = 0;
        for (size_t i = 0; i < n; i++) mean += want[i] / (double)n;
        for (size_t i = 0; i < n; i++) {
            square += (want[i] - mean) * (want[i] - mean) / (double)n;
            const double difference = fabs(want[i] - (double)have[i]);
            worst = difference <= worst ? worst : difference; /* NaN is worst */
        }
        /* f32 keeps 6 digits; int8 and bf16 activations keep about two */
        const double limit = v->o.precision == HONE_PRECISION_F32 ? 2e-5 : 0.5;
        if (!(worst / sqrt(square) < limit))
            fail_msg("%s, %s, adapter %u: error %g of the deviation", m->kernels->name, v->name, with,
                     worst / sqrt(square));
        hone_adapter_free(adapter);
    }
    free(have);
    free(want);
}

/* Rows without logits skip what only logits need: that changes neither the others nor what was stored. */
static void logits_of_some(const variant *v, const hone_model *m) {
    const uint32_t vocab = m->arch.vocab;
    const size_t n = (size_t)N * vocab;
    float *all = malloc(n * sizeof(float)), *some = malloc(n * sizeof(float));
    int32_t tokens[N];
    tiny_tokens(tokens, N, vocab, 3);
    hone_adapter *adapter = tiny_adapter(m, 4, 9);
    hone_pool *pool;
    assert_int_equal(hone_pool_open(&pool, 2, NULL), HONE_OK);
    run_chunks(m, pool, kv_of(v), adapter, tokens, N, all);
    machine x;
    machine_open(&x, m, pool, N, 1, kv_of(v));
    const hone_seq_view view = sequence(&x, m, kv_of(v), adapter);
    for (uint32_t p = 0; p < N; p += 20) { /* blocks with none, one and several */
        hone_row rows[20];
        int32_t n_logit = 0;
        const uint32_t take = N - p < 20 ? N - p : 20;
        for (uint32_t i = 0; i < take; i++)
            rows[i] = (hone_row){tokens[p + i], 0, p + i,
                                 p / 20 % 3 == 0              ? -1
                                 : i % (p / 20 % 3 * 10) == 3 ? n_logit++
                                                              : -1};
        hone_forward_run(x.f, rows, take, &view, 1, some, NULL, NULL, NULL);
        for (uint32_t i = 0; i < take; i++)
            if (rows[i].logit_row >= 0)
                assert_memory_equal(some + (size_t)rows[i].logit_row * vocab, all + (size_t)(p + i) * vocab,
                                    vocab * sizeof(float));
    }
    machine_close(&x);
    hone_pool_close(pool);
    hone_adapter_free(adapter);
    free(all);
    free(some);
}

static void rows_without_logits_change_no_bit(void **state) {
    (void)state;
    for_each(logits_of_some);
}

static void a_naive_decoder_agrees(void **state) {
    (void)state;
    for_each(agrees);
}

static void chunks_and_threads(const variant *v, const hone_model *m) {
    const uint32_t chunk[] = {1, 16, 17, 33, N};
    int32_t tokens[N];
    tiny_tokens(tokens, N, m->arch.vocab, 3);
    const size_t n = (size_t)N * m->arch.vocab;
    float *first = malloc(n * sizeof(float)), *other = malloc(n * sizeof(float));
    hone_adapter *adapter = tiny_adapter(m, 4, 9);
    run_chunks(m, NULL, kv_of(v), adapter, tokens, N, first);
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        hone_pool *pool;
        assert_int_equal(hone_pool_open(&pool, threads, NULL), HONE_OK);
        for (uint32_t i = 0; i < sizeof(chunk) / sizeof(*chunk); i++) {
            run_chunks(m, pool, kv_of(v), adapter, tokens, chunk[i], other);
            must_equal(v, m, first, other, "threads and chunk", threads, chunk[i]);
        }
        hone_pool_close(pool);
    }
    hone_adapter_free(adapter);
    free(first);
    free(other);
}

static void chunks_and_threads_change_no_bit(void **state) {
    (void)state;
    for_each(chunks_and_threads);
}

/* The watched sequence among 16 others of several lengths and adapters, its rows spread over several blocks. */
static void company(const variant *v, const hone_model *m) {
    enum { OTHERS = 16, BLOCK = 128 };
    hone_adapter *adapter[3] = {NULL, tiny_adapter(m, 4, 9), tiny_adapter(m, 7, 10)};
    hone_pool *pool;
    assert_int_equal(hone_pool_open(&pool, 3, NULL), HONE_OK);
    const uint32_t vocab = m->arch.vocab;
    const size_t n = (size_t)N * vocab;
    float *alone = malloc(n * sizeof(float)), *among = malloc(n * sizeof(float));
    float *logits = malloc((size_t)BLOCK * vocab * sizeof(float));
    int32_t tokens[N], other[OTHERS][128];
    tiny_tokens(tokens, N, vocab, 3);
    for (uint32_t i = 0; i < OTHERS; i++) tiny_tokens(other[i], 128, vocab, 100 + i);
    for (uint32_t which = 0; which < 2; which++) {
        run_chunks(m, NULL, kv_of(v), adapter[which], tokens, N, alone);
        machine x;
        machine_open(&x, m, pool, BLOCK, OTHERS + 1, kv_of(v));
        hone_seq_view view[OTHERS + 1];
        uint32_t done[OTHERS + 1] = {0};
        for (uint32_t i = 0; i <= OTHERS; i++)
            view[i] = sequence(&x, m, kv_of(v), i == 8 ? adapter[which] : adapter[i % 3]);
        for (uint32_t block = 0; done[8] < N; block++) {
            hone_row rows[BLOCK];
            uint32_t m_rows = 0, mine = 0;
            for (uint32_t i = 0; i <= OTHERS; i++) {
                uint32_t take = 1 + (i * 5 + block * 3) % 11;
                const uint32_t left = (i == 8 ? N : 128) - done[i];
                if (take > left) take = left;
                if (take > BLOCK - m_rows) take = BLOCK - m_rows;
                if (i == 8) mine = m_rows;
                for (uint32_t j = 0; j < take; j++, done[i]++, m_rows++)
                    rows[m_rows] = (hone_row){i == 8 ? tokens[done[i]] : other[i < 8 ? i : i - 1][done[i]], i, done[i],
                                              (int32_t)m_rows};
            }
            uint32_t count = 0;
            while (mine + count < m_rows && rows[mine + count].seq == 8) count++;
            hone_forward_run(x.f, rows, m_rows, view, OTHERS + 1, logits, NULL, NULL, NULL);
            memcpy(among + (size_t)(done[8] - count) * vocab, logits + (size_t)mine * vocab,
                   (size_t)count * vocab * sizeof(float));
        }
        must_equal(v, m, alone, among, "among others, adapter", which, 0);
        machine_close(&x);
    }
    hone_pool_close(pool);
    hone_adapter_free(adapter[1]);
    hone_adapter_free(adapter[2]);
    free(alone);
    free(among);
    free(logits);
}

static void company_changes_no_bit(void **state) {
    (void)state;
    for_each(company);
}

static void tape_and_head(const variant *v, const hone_model *m) {
    const uint32_t vocab = m->arch.vocab, d = m->arch.width;
    const size_t n = (size_t)N * vocab;
    float *plain = malloc(n * sizeof(float)), *taped = malloc(n * sizeof(float));
    float *hidden = malloc((size_t)N * d * sizeof(float));
    int32_t tokens[N];
    tiny_tokens(tokens, N, vocab, 3);
    hone_adapter *adapter = tiny_adapter(m, 4, 9);
    hone_pool *pool;
    assert_int_equal(hone_pool_open(&pool, 2, NULL), HONE_OK);
    run_chunks(m, pool, kv_of(v), adapter, tokens, N, plain);

    hone_tape *tape;
    assert_int_equal(hone_tape_open(&tape, m, adapter, N, NULL), HONE_OK);
    machine x;
    machine_open(&x, m, pool, N, 1, kv_of(v));
    const hone_seq_view view = sequence(&x, m, kv_of(v), adapter);
    hone_row rows[N];
    for (uint32_t i = 0; i < N; i++) rows[i] = (hone_row){tokens[i], 0, i, (int32_t)i};
    const int64_t allocations = hone_mem_count;
    hone_forward_run(x.f, rows, N, &view, 1, taped, hidden, tape, NULL);
    must_equal(v, m, plain, taped, "with a tape", 0, 0);
    assert_memory_equal(hidden, tape->final_out, (size_t)N * d * sizeof(float));
    /* The head alone, in any pieces. */
    memset(taped, 0, n * sizeof(float));
    hone_forward_head(x.f, hidden, 7, NULL, taped);
    hone_forward_head(x.f, hidden + 7 * d, N - 7, NULL, taped + (size_t)7 * vocab);
    must_equal(v, m, plain, taped, "head alone", 0, 0);
    for (uint32_t i = 0; i < N; i++) rows[i].logit_row = -1;
    memset(hidden, 0, (size_t)N * d * sizeof(float));
    hone_forward_run(x.f, rows, N, &view, 1, NULL, hidden, NULL, NULL);
    assert_memory_equal(hidden, tape->final_out, (size_t)N * d * sizeof(float));
    assert_int_equal(hone_mem_count, allocations);
    /* The residual stream adds up: the next block's input is this one's middle and its branch. */
    for (uint32_t i = 0; i < N * d && !v->o.parallel; i++) assert_true(isfinite(tape->layer[1].x[i]));
    hone_tape_close(tape);
    machine_close(&x);
    hone_adapter_free(adapter);
    hone_pool_close(pool);
    free(plain);
    free(taped);
    free(hidden);
}

static void the_tape_and_the_head_change_no_bit(void **state) {
    (void)state;
    for_each(tape_and_head);
}

static void dropout_is_a_function_of_its_coordinates(void **state) {
    (void)state;
    enum { WIDTH = 1000 };
    float x[WIDTH], a[WIDTH], b[WIDTH];
    for (uint32_t i = 0; i < WIDTH; i++) x[i] = 1 + (float)i;
    const uint64_t id[2] = {5ull << 32 | 3, 5ull << 32 | 4};
    hone_dropout d = {.p = 0.25f, .seed = 7, .step = 2, .row_id = id};
    hone_dropout_row(&d, 1, HONE_MOD_UP, 0, x, WIDTH, a);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < WIDTH; i++) {
        assert_true(a[i] == 0 || fabsf(a[i] - x[i] / 0.75f) < 1e-3f);
        kept += a[i] != 0;
    }
    assert_in_range(kept, 690, 810); /* 750, deviation 14 */
    memcpy(b, x, sizeof(b));
    hone_dropout_row(&d, 1, HONE_MOD_UP, 0, b, WIDTH, b); /* in place */
    assert_memory_equal(a, b, sizeof(a));
    uint32_t same[4] = {0};
    for (uint32_t way = 0; way < 4; way++) {
        d.step = way == 0 ? 3 : 2;
        hone_dropout_row(&d, way == 1 ? 2 : 1, way == 2 ? HONE_MOD_DOWN : HONE_MOD_UP, way == 3, x, WIDTH, b);
        for (uint32_t i = 0; i < WIDTH; i++) same[way] += (a[i] == 0) == (b[i] == 0);
        assert_in_range(same[way], 550, 700); /* independent masks agree in 0.75^2 + 0.25^2 */
    }
}

static void what_it_does_not_compute_is_refused(void **state) {
    (void)state;
    const tiny_options o = tiny_defaults();
    hone_model *m = tiny_model(hone_kernels_best(), &o);
    hone_forward *f;
    hone_error err;
    m->arch.position = HONE_POSITION_ALIBI;
    assert_int_equal(hone_forward_open(&f, m, NULL, 8, 8, HONE_KV_BF16, &err), HONE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "ALiBi"));
    assert_null(f);
    m->arch.position = HONE_POSITION_ROPE;
    m->arch.layer[1].moe = true;
    assert_int_equal(hone_forward_open(&f, m, NULL, 8, 8, HONE_KV_BF16, &err), HONE_ERR_UNSUPPORTED);
    m->arch.layer[1].moe = false;
    assert_int_equal(hone_forward_open(&f, m, NULL, 0, 8, HONE_KV_BF16, &err), HONE_ERR_ARG);
    assert_int_equal(hone_forward_open(&f, m, NULL, UINT32_MAX, 8, HONE_KV_BF16, &err), HONE_ERR_ARG);
    const int64_t live = hone_mem_live;
    for (int64_t fail_at = 0; fail_at < 3; fail_at++) {
        hone_mem_fail_at = fail_at;
        const hone_status st = hone_forward_open(&f, m, NULL, 8, 8, HONE_KV_BF16, &err);
        hone_mem_fail_at = -1;
        assert_int_equal(st, fail_at < 2 ? HONE_ERR_NOMEM : HONE_OK);
        hone_forward_close(f);
        assert_int_equal(hone_mem_live, live);
        hone_tape *tape;
        hone_mem_fail_at = fail_at;
        assert_int_equal(hone_tape_open(&tape, m, NULL, 8, &err), HONE_ERR_NOMEM);
        hone_mem_fail_at = -1;
        assert_null(tape);
        assert_int_equal(hone_mem_live, live);
    }
    tiny_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_naive_decoder_agrees),
        cmocka_unit_test(chunks_and_threads_change_no_bit),
        cmocka_unit_test(company_changes_no_bit),
        cmocka_unit_test(rows_without_logits_change_no_bit),
        cmocka_unit_test(the_tape_and_the_head_change_no_bit),
        cmocka_unit_test(dropout_is_a_function_of_its_coordinates),
        cmocka_unit_test(what_it_does_not_compute_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
