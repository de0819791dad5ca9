/* test_sample.c - the sampler against a naive reference: a full sort, double arithmetic, no shortcuts. */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "engine/sample.h"

#define V 997u

static float logits_of(uint64_t seed, uint32_t i) {
    /* a spread of about 12, with ties */
    return roundf((hone_random_unit(seed, 1, 2, i) + hone_random_unit(seed, 3, 4, i)) * 240.0f) / 40.0f;
}

static void fill(float *x, uint64_t seed) {
    for (uint32_t i = 0; i < V; i++) x[i] = logits_of(seed, i);
}

/* --- the reference: which tokens are kept, and with which probability --- */

static double naive_x[V];

static int by_x(const void *a, const void *b) {
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    if (naive_x[i] != naive_x[j]) return naive_x[i] > naive_x[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

static void naive(const float *logits, const hone_sampling *p, const int32_t *history, uint32_t n_prompt,
                  uint32_t n_output, double *prob) {
    for (uint32_t i = 0; i < V; i++) naive_x[i] = (double)logits[i];
    for (uint32_t i = 0; i < p->n_bias; i++) naive_x[p->bias_token[i]] += (double)p->bias_value[i];
    for (uint32_t t = 0; t < V; t++) {
        uint32_t in_prompt = 0, in_output = 0;
        for (uint32_t i = 0; i < n_prompt; i++) in_prompt += history[i] == (int32_t)t;
        for (uint32_t i = n_prompt; i < n_prompt + n_output; i++) in_output += history[i] == (int32_t)t;
        if (in_prompt + in_output)
            naive_x[t] = naive_x[t] > 0 ? naive_x[t] / (double)p->repetition_penalty
                                        : naive_x[t] * (double)p->repetition_penalty;
        if (in_output) naive_x[t] -= (double)p->frequency_penalty * in_output + (double)p->presence_penalty;
    }
    uint32_t order[V];
    for (uint32_t i = 0; i < V; i++) {
        naive_x[i] /= (double)p->temperature;
        order[i] = i;
    }
    qsort(order, V, sizeof(*order), by_x);
    const double largest = naive_x[order[0]];
    uint32_t n = 0;
    while (n < V && exp(naive_x[order[n]] - largest) >= (double)p->min_p) n++;
    if (p->top_k && p->top_k < n) n = p->top_k;
    double total = 0, mass = 0;
    for (uint32_t i = 0; i < n; i++) total += exp(naive_x[order[i]] - largest);
    if (p->top_p < 1)
        for (uint32_t i = 0; i < n; i++) {
            mass += exp(naive_x[order[i]] - largest);
            if (mass >= (double)p->top_p * total * (1 - 1e-9)) {
                n = i + 1;
                total = mass;
                break;
            }
        }
    for (uint32_t i = 0; i < V; i++) prob[i] = 0;
    for (uint32_t i = 0; i < n; i++) prob[order[i]] = exp(naive_x[order[i]] - largest) / total;
}

/* --- distribution: every token drawn is kept by the reference, and frequencies fit (chi-square) --- */

static void check_distribution(const hone_sampling *given, uint64_t seed, uint32_t n_prompt, uint32_t n_output) {
    enum { DRAWS = 4000 };
    static float x[V];
    static double prob[V];
    int32_t history[64];
    for (uint32_t i = 0; i < n_prompt + n_output; i++)
        history[i] = (int32_t)(hone_random_unit(seed, 8, 8, i / 2) * (float)V);
    fill(x, seed);
    naive(x, given, history, n_prompt, n_output, prob);
    hone_sampler *s;
    assert_int_equal(hone_sampler_open(&s, hone_kernels_best(), V, NULL), HONE_OK);
    static uint32_t count[V];
    memset(count, 0, sizeof(count));
    const int64_t before = hone_mem_count;
    for (uint32_t i = 0; i < DRAWS; i++) {
        hone_sampling p = *given;
        p.seed = seed * 1000003 + i;
        fill(x, seed);
        const int32_t t = hone_sample(s, x, &p, history, n_prompt, n_output, n_output, NULL, 0, NULL);
        assert_in_range(t, 0, V - 1);
        assert_true(prob[t] > 0);
        count[t]++;
    }
    assert_int_equal(hone_mem_count, before);
    /* Cells with an expectation under 8 are one cell; the bound is the mean plus 5 deviations. */
    double chi = 0, rest_want = 0, rest_have = 0;
    uint32_t cells = 0;
    for (uint32_t t = 0; t < V; t++) {
        const double want = prob[t] * DRAWS;
        if (want < 8) {
            rest_want += want;
            rest_have += count[t];
            continue;
        }
        chi += (count[t] - want) * (count[t] - want) / want;
        cells++;
    }
    if (rest_want >= 8) {
        chi += (rest_have - rest_want) * (rest_have - rest_want) / rest_want;
        cells++;
    }
    const double free = cells > 1 ? cells - 1 : 0;
    if (chi > free + 5 * sqrt(2 * free) + 1e-9) fail_msg("chi-square %g over %g cells", chi, free);
    hone_sampler_close(s);
}

static void draws_follow_the_distribution(void **state) {
    (void)state;
    hone_sampling p = hone_sampling_defaults();
    const float temperature[] = {1.0f, 0.5f, 0.25f, 2.0f};
    for (uint32_t i = 0; i < 4; i++) {
        p = hone_sampling_defaults();
        p.temperature = temperature[i];
        check_distribution(&p, 10 + i, 0, 0);
        p.top_p = 0.7f;
        check_distribution(&p, 20 + i, 0, 0);
        p.top_k = 17;
        check_distribution(&p, 30 + i, 0, 0);
        p.top_p = 1;
        check_distribution(&p, 40 + i, 0, 0);
        p.top_k = 0;
        p.min_p = 0.1f;
        check_distribution(&p, 50 + i, 0, 0);
        p.top_k = 40;
        p.top_p = 0.95f;
        p.min_p = 0.02f;
        check_distribution(&p, 60 + i, 0, 0);
    }
    p = hone_sampling_defaults();
    p.temperature = 1;
    p.repetition_penalty = 1.3f;
    p.frequency_penalty = 0.7f;
    p.presence_penalty = -0.4f;
    const int32_t token[3] = {5, 900, 77};
    const float value[3] = {8, -100, 3.5f};
    p.n_bias = 3;
    p.bias_token = token;
    p.bias_value = value;
    check_distribution(&p, 70, 20, 30);
    p.top_p = 0.9f;
    check_distribution(&p, 71, 0, 40);
    p.repetition_penalty = 1;
    check_distribution(&p, 72, 40, 10);
}

/* --- greedy, bans, edges --- */

static void greedy_takes_the_lowest_of_the_largest(void **state) {
    (void)state;
    hone_sampler *s;
    assert_int_equal(hone_sampler_open(&s, hone_kernels_best(), V, NULL), HONE_OK);
    hone_sampling p = hone_sampling_defaults();
    float x[V];
    fill(x, 4);
    x[700] = x[300] = x[996] = 50;
    assert_int_equal(hone_sample(s, x, &p, NULL, 0, 0, 0, NULL, 0, NULL), 300);
    const int32_t banned[] = {300, 996, -1, 5000}; /* ids outside the vocabulary ban nothing */
    assert_int_equal(hone_sample(s, x, &p, NULL, 0, 0, 0, banned, 4, NULL), 700);
    fill(x, 4);
    x[3] = NAN;
    x[9] = 60;
    assert_int_equal(hone_sample(s, x, &p, NULL, 0, 0, 0, NULL, 0, NULL), 9);
    const int32_t history[] = {9, 9, 9};
    p.frequency_penalty = 30;
    fill(x, 4);
    x[9] = 60;
    x[10] = 59;
    assert_int_equal(hone_sample(s, x, &p, history, 3, 0, 0, NULL, 0, NULL), 9); /* prompt tokens do not count */
    fill(x, 4);
    x[9] = 60;
    x[10] = 59;
    assert_int_equal(hone_sample(s, x, &p, history, 2, 1, 1, NULL, 0, NULL), 10);
    hone_sampler_close(s);
}

static void banned_tokens_never_come(void **state) {
    (void)state;
    hone_sampler *s;
    assert_int_equal(hone_sampler_open(&s, hone_kernels_best(), V, NULL), HONE_OK);
    float x[V];
    const int32_t banned[] = {1, 2, 3};
    for (uint32_t way = 0; way < 4; way++)
        for (uint32_t i = 0; i < 200; i++) {
            hone_sampling p = hone_sampling_defaults();
            p.temperature = 1;
            p.seed = i;
            if (way & 1) p.top_k = 5;
            if (way & 2) p.top_p = 0.999f;
            for (uint32_t t = 0; t < V; t++) x[t] = t < 5 ? 10.0f : -10.0f;
            const int32_t t = hone_sample(s, x, &p, NULL, 0, 0, i, banned, 3, NULL);
            assert_true(t == 0 || t == 4 || t > 4);
            assert_true(t != 1 && t != 2 && t != 3);
        }
    hone_sampler_close(s);
}

static void a_token_is_a_function_of_seed_and_position(void **state) {
    (void)state;
    hone_sampler *s, *other;
    assert_int_equal(hone_sampler_open(&s, hone_kernels_best(), V, NULL), HONE_OK);
    assert_int_equal(hone_sampler_open(&other, hone_kernels_best(), V, NULL), HONE_OK);
    float x[V];
    uint32_t differ_by_seed = 0, differ_by_position = 0;
    int32_t first[32];
    hone_sampling p = hone_sampling_defaults();
    p.temperature = 1;
    p.seed = 5;
    for (uint32_t i = 0; i < 32; i++) {
        fill(x, 1);
        first[i] = hone_sample(s, x, &p, NULL, 0, 0, i, NULL, 0, NULL);
    }
    for (uint32_t i = 32; i-- > 0;) { /* in another order, by another sampler */
        fill(x, 1);
        assert_int_equal(hone_sample(other, x, &p, NULL, 0, 0, i, NULL, 0, NULL), first[i]);
        fill(x, 1);
        p.seed = 6;
        differ_by_seed += hone_sample(s, x, &p, NULL, 0, 0, i, NULL, 0, NULL) != first[i];
        p.seed = 5;
        differ_by_position += i > 0 && first[i] != first[0];
    }
    assert_true(differ_by_seed > 16 && differ_by_position > 16);
    hone_sampler_close(s);
    hone_sampler_close(other);
}

static void extremes_are_survived(void **state) {
    (void)state;
    hone_sampler *s;
    assert_int_equal(hone_sampler_open(&s, hone_kernels_best(), V, NULL), HONE_OK);
    float x[V];
    const float strange[] = {-INFINITY, NAN, 0.0f, 3e38f, -3e38f};
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t way = 0; way < 8; way++) {
            hone_sampling p = hone_sampling_defaults();
            p.temperature = way & 1 ? 1e-3f : 100.0f;
            if (way & 2) p.top_p = 0.5f;
            if (way & 4) p.top_k = 3;
            for (uint32_t t = 0; t < V; t++) x[t] = strange[i];
            const int32_t t = hone_sample(s, x, &p, NULL, 0, 0, 0, NULL, 0, NULL);
            assert_in_range(t, 0, V - 1);
            for (uint32_t j = 0; j < V; j++) x[j] = j == 500 ? 1.0f : strange[i] < 1 ? strange[i] : -INFINITY;
            x[501] = NAN;
            const int32_t u = hone_sample(s, x, &p, NULL, 0, 0, 0, NULL, 0, NULL);
            if (i == 0 || i == 1) assert_int_equal(u, 500);
        }
    hone_sampling p = hone_sampling_defaults();
    p.temperature = 1;
    p.top_p = 0; /* the best alone */
    for (uint32_t i = 0; i < 50; i++) {
        fill(x, i);
        uint32_t best = 0;
        for (uint32_t t = 1; t < V; t++)
            if (x[t] > x[best]) best = t;
        p.seed = i;
        assert_int_equal(hone_sample(s, x, &p, NULL, 0, 0, 0, NULL, 0, NULL), best);
    }
    hone_sampler_close(s);
}

static void top_is_the_head_of_a_sort(void **state) {
    (void)state;
    float x[V];
    for (uint64_t seed = 0; seed < 20; seed++) {
        fill(x, seed);
        int32_t top[HONE_TOP_LOGPROBS];
        for (uint32_t n = 0; n <= HONE_TOP_LOGPROBS; n += 5) {
            hone_top(x, V, n, top);
            uint32_t order[V];
            for (uint32_t i = 0; i < V; i++) {
                naive_x[i] = (double)x[i];
                order[i] = i;
            }
            qsort(order, V, sizeof(*order), by_x);
            for (uint32_t i = 0; i < n; i++) assert_int_equal(top[i], order[i]);
        }
    }
}

static void parameters_out_of_range_are_named(void **state) {
    (void)state;
    const struct {
        const char *name;
        size_t at;
        float value;
    } wrong[] = {{"temperature", offsetof(hone_sampling, temperature), -0.1f},
                 {"temperature", offsetof(hone_sampling, temperature), NAN},
                 {"top_p", offsetof(hone_sampling, top_p), 1.1f},
                 {"min_p", offsetof(hone_sampling, min_p), -1},
                 {"repetition_penalty", offsetof(hone_sampling, repetition_penalty), 0},
                 {"frequency_penalty", offsetof(hone_sampling, frequency_penalty), INFINITY},
                 {"presence_penalty", offsetof(hone_sampling, presence_penalty), NAN}};
    hone_error err;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        hone_sampling p = hone_sampling_defaults();
        assert_int_equal(hone_sampling_check(&p, V, &err), HONE_OK);
        memcpy((char *)&p + wrong[i].at, &wrong[i].value, sizeof(float));
        assert_int_equal(hone_sampling_check(&p, V, &err), HONE_ERR_ARG);
        assert_non_null(strstr(err.message, wrong[i].name));
    }
    hone_sampling p = hone_sampling_defaults();
    int32_t token = (int32_t)V;
    float value = 1;
    p.n_bias = 1;
    p.bias_token = &token;
    p.bias_value = &value;
    assert_int_equal(hone_sampling_check(&p, V, &err), HONE_ERR_ARG);
    token = 0;
    value = NAN;
    assert_int_equal(hone_sampling_check(&p, V, &err), HONE_ERR_ARG);
}

static void every_failed_allocation_is_survived(void **state) {
    (void)state;
    const int64_t live = hone_mem_live;
    for (int64_t fail_at = 0; fail_at < 10; fail_at++) {
        hone_sampler *s;
        hone_mem_fail_at = fail_at;
        const hone_status st = hone_sampler_open(&s, hone_kernels_best(), V, NULL);
        hone_mem_fail_at = -1;
        assert_true(st == HONE_OK || (st == HONE_ERR_NOMEM && s == NULL));
        assert_true(st == HONE_OK || fail_at < 5);
        hone_sampler_close(s);
        assert_int_equal(hone_mem_live, live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(greedy_takes_the_lowest_of_the_largest),
        cmocka_unit_test(banned_tokens_never_come),
        cmocka_unit_test(a_token_is_a_function_of_seed_and_position),
        cmocka_unit_test(extremes_are_survived),
        cmocka_unit_test(top_is_the_head_of_a_sort),
        cmocka_unit_test(parameters_out_of_range_are_named),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
