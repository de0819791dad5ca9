/* test_backward.c - gradients of every architecture option against finite differences of the same mathematics in
 * double, and their bits against other cuts of the same work. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tiny.h"
#include "train/pass.h"

static hone_pool *pool_of(uint32_t threads) {
    hone_pool *pool;
    assert_int_equal(hone_pool_open(&pool, threads, NULL), HONE_OK);
    return pool;
}

/* All rows in micro-batches of at most max_tokens. */
static void gradients(const tiny *t, const hone_train_data *data, uint32_t max_tokens, uint32_t threads,
                      const hone_pass_dropout *dropout, hone_lora_grad *grad, hone_loss *loss, float *logprob) {
    hone_pool *pool = pool_of(threads);
    hone_pass *pass;
    hone_error err = {0};
    const hone_pass_config cfg = {.max_tokens = max_tokens, .max_rows = 8, .gradients = true};
    if (hone_pass_open(&pass, &t->model, &t->adapter, pool, &cfg, &err) != HONE_OK) fail_msg("%s", err.message);
    assert_int_equal(hone_lora_grad_open(grad, &t->model, &t->adapter, NULL), HONE_OK);
    *loss = (hone_loss){0};
    for (size_t from = 0, to; from < data->n; from = to) {
        const hone_train_row *rows[8];
        uint32_t n = 0, used = 0;
        for (to = from; to < data->n && n < 8 && used + data->row[to].n_run <= max_tokens; to++) {
            rows[n++] = &data->row[to];
            used += data->row[to].n_run;
        }
        assert_true(n > 0);
        const uint64_t before = loss->trained;
        assert_int_equal(hone_pass_run(pass, rows, n, &t->adapter, 1.0, grad, dropout, loss, logprob, &err), HONE_OK);
        if (logprob) logprob += loss->trained - before;
    }
    hone_pass_close(pass);
    hone_pool_close(pool);
}

static double difference(const tiny *t, const hone_train_data *data, tiny_change c, const hone_dropout *dropout) {
    const double h = 1e-5;
    c.by = h;
    const double up = tiny_loss(t, data, &c, dropout);
    c.by = -h;
    return (up - tiny_loss(t, data, &c, dropout)) / (2 * h);
}

static void check_spec(const tiny_spec *spec) {
    tiny t;
    tiny_open(&t, spec, hone_kernels_find("ref"), HONE_PRECISION_F32);
    hone_train_data data;
    tiny_rows(&data, t.model.arch.vocab, 3, 14, 11);
    const hone_pass_dropout dropout = {.p = t.adapter.dropout, .seed = 5, .step = 3};
    const hone_dropout masks = {.p = dropout.p, .seed = 5, .step = 3};
    const hone_dropout *used = dropout.p > 0 ? &masks : NULL;
    hone_lora_grad grad;
    hone_loss loss;
    gradients(&t, &data, 40, 2, &dropout, &grad, &loss, NULL);
    assert_int_equal(loss.trained, data.n_trained);
    const double wanted = tiny_loss(&t, &data, NULL, used);
    if (fabs(loss.loss - wanted) > 1e-5 * wanted) fail_msg("%s: loss %.9g, wanted %.9g", spec->name, loss.loss, wanted);

    for (uint32_t l = 0; l < t.model.arch.n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
            const hone_lora *lora = &t.lora[l][m];
            const float *of[2] = {grad.a[l * HONE_MOD_COUNT + m], grad.b[l * HONE_MOD_COUNT + m]};
            if (lora->rank == 0) {
                assert_null(of[0]);
                continue;
            }
            const hone_weight *w = &t.layer[l].linear[m].w;
            const size_t count[2] = {(size_t)lora->rank * w->k, (size_t)lora->rank * w->n};
            for (int b = 0; b < 2; b++) {
                double square = 0;
                for (size_t i = 0; i < count[b]; i++) square += (double)of[b][i] * (double)of[b][i];
                const double rms = sqrt(square / (double)count[b]);
                assert_true(rms > 1e-6);
                for (size_t i = 1; i < count[b]; i += count[b] / 4) {
                    const double want = difference(&t, &data, (tiny_change){l, m, b == 1, i, 0}, used);
                    if (!(fabs(want - (double)of[b][i]) < 1e-3 * rms + 1e-6))
                        fail_msg("%s: layer %u module %u %c[%zu]: gradient %.7g, by differences %.7g, rms %.3g",
                                 spec->name, l, m, b ? 'B' : 'A', i, (double)of[b][i], want, rms);
                }
            }
        }
    hone_lora_grad_close(&grad);
    hone_data_free(&data);
    tiny_close(&t);
}

static void test_gradients_are_those_of_finite_differences(void **state) {
    (void)state;
    for (size_t i = 0; i < n_tiny_specs; i++) {
        check_spec(&tiny_specs[i]);
        print_message("  %s\n", tiny_specs[i].name);
    }
}

/* Thread count and micro-batches change no bit, in every kernel set and both precisions. */
static void test_gradients_do_not_depend_on_how_the_work_is_cut(void **state) {
    (void)state;
    for (const hone_kernels *const *set = hone_kernels_all(); *set; set++) {
        if (!(*set)->can_run()) continue;
        for (int precision = 0; precision < 2; precision++)
            for (size_t s = 0; s < 3; s++) {
                tiny t;
                tiny_open(&t, &tiny_specs[s], *set, precision ? HONE_PRECISION_F32 : HONE_PRECISION_SERVING);
                hone_train_data data;
                tiny_rows(&data, t.model.arch.vocab, 7, 100, 12);
                static const uint32_t cut[4][2] = {{800, 1}, {800, 3}, {0, 2}, {150, 2}};
                hone_lora_grad grad[4];
                hone_loss loss[4];
                float *logprob[4];
                for (int i = 0; i < 4; i++) {
                    logprob[i] = malloc(data.n_trained * sizeof(float));
                    gradients(&t, &data, cut[i][0] ? cut[i][0] : data.longest_run, cut[i][1], NULL, &grad[i], &loss[i],
                              logprob[i]);
                    if (loss[i].loss != loss[0].loss || memcmp(logprob[0], logprob[i], data.n_trained * sizeof(float)))
                        fail_msg("%s: loss differs for cut %d", (*set)->name, i);
                    for (size_t j = 0; j < grad[0].n; j++)
                        if (memcmp(&grad[0].data[j], &grad[i].data[j], sizeof(float)))
                            fail_msg("%s, precision %d, %s: gradient %zu differs for cut %d: %.9g, %.9g", (*set)->name,
                                     precision, tiny_specs[s].name, j, i, (double)grad[0].data[j],
                                     (double)grad[i].data[j]);
                }
                for (int i = 0; i < 4; i++) {
                    hone_lora_grad_close(&grad[i]);
                    free(logprob[i]);
                }
                hone_data_free(&data);
                tiny_close(&t);
            }
    }
}

/* A set's gradients are near those of ref: within rounding in f32, within the formats' noise in serving. */
static void test_sets_agree_with_ref(void **state) {
    (void)state;
    for (const hone_kernels *const *set = hone_kernels_all(); *set; set++) {
        if (!(*set)->can_run()) continue;
        for (int precision = 0; precision < 2; precision++) {
            hone_lora_grad grad[2];
            hone_loss loss[2];
            for (int i = 0; i < 2; i++) {
                tiny t;
                tiny_open(&t, &tiny_specs[0], i ? *set : hone_kernels_find("ref"),
                          precision || !i ? HONE_PRECISION_F32 : HONE_PRECISION_SERVING);
                hone_train_data data;
                tiny_rows(&data, t.model.arch.vocab, 7, 100, 13);
                gradients(&t, &data, 200, 2, NULL, &grad[i], &loss[i], NULL);
                hone_data_free(&data);
                tiny_close(&t);
            }
            double square = 0, error = 0;
            for (size_t j = 0; j < grad[0].n; j++) {
                const double d = (double)grad[0].data[j] - (double)grad[1].data[j];
                square += (double)grad[0].data[j] * (double)grad[0].data[j];
                error += d * d;
            }
            print_message("  %s, %s: relative difference %.1e\n", (*set)->name, precision ? "f32" : "serving",
                          sqrt(error / square));
            assert_true(sqrt(error / square) < (precision ? 1e-4 : 0.1));
            hone_lora_grad_close(&grad[0]);
            hone_lora_grad_close(&grad[1]);
        }
    }
}

/* What the plan says is what open takes; every failed allocation is survived. */
static void test_memory(void **state) {
    (void)state;
    tiny t;
    tiny_open(&t, &tiny_specs[0], hone_kernels_find("ref"), HONE_PRECISION_F32);
    const hone_pass_config cfg = {.max_tokens = 64, .max_rows = 4, .gradients = true};
    const int64_t before = hone_mem_live;
    for (int at = 0;; at++) {
        hone_pass *pass;
        hone_error err = {0};
        hone_mem_fail_at = at;
        const hone_status st = hone_pass_open(&pass, &t.model, &t.adapter, NULL, &cfg, &err);
        const bool done = hone_mem_fail_at >= 0;
        hone_mem_fail_at = -1;
        if (done) {
            assert_int_equal(st, HONE_OK);
            const int64_t count = hone_mem_count;
            hone_train_data data;
            tiny_rows(&data, t.model.arch.vocab, 2, 30, 1);
            hone_lora_grad grad;
            assert_int_equal(hone_lora_grad_open(&grad, &t.model, &t.adapter, NULL), HONE_OK);
            const int64_t ready = hone_mem_count;
            assert_true(ready > count);
            const hone_train_row *rows[2] = {&data.row[0], &data.row[1]};
            hone_loss loss = {0};
            assert_int_equal(hone_pass_run(pass, rows, 2, &t.adapter, 1, &grad, NULL, &loss, NULL, &err), HONE_OK);
            assert_int_equal(hone_mem_count, ready); /* a step allocates nothing */
            hone_lora_grad_close(&grad);
            hone_data_free(&data);
            hone_pass_close(pass);
            assert_int_equal(hone_mem_live, before);
            break;
        }
        assert_int_equal(st, HONE_ERR_NOMEM);
        assert_int_equal(hone_mem_live, before);
    }
    tiny_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_are_those_of_finite_differences),
        cmocka_unit_test(test_gradients_do_not_depend_on_how_the_work_is_cut),
        cmocka_unit_test(test_sets_agree_with_ref),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
