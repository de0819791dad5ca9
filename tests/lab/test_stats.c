/* test_stats.c - stats.h: intervals and tests with values from outside (scipy.stats.binomtest for Wilson's interval,
 * exact rational sums for McNemar), coverage of the bootstrap on data of known mean. */
#include "test.h"

#include <math.h>

#include "base/mem.h"
#include "base/random.h"
#include "lab/stats.h"

static void near_to(double a, double b, double relative) {
    if (!(fabs(a - b) <= relative * fabs(b) + 1e-300)) fail_msg("%.15g is not %.15g", a, b);
}

static void shares(double *x, size_t n, size_t ones) {
    for (size_t i = 0; i < n; i++) x[i] = i < ones;
}

static void wilson_has_known_values(void **state) {
    (void)state;
    static const struct {
        size_t ones, n;
        double low, high;
    } cases[] = {
        {0, 10, 0, 0.2775327998628892},
        {10, 10, 0.7224672001371107, 1},
        {279, 300, 0.8953639895740667, 0.9537630551728237},
        {50, 100, 0.4038315303659956, 0.5961684696340044},
        {1, 3, 0.06149194472039615, 0.7923403991979523},
    };
    double x[300];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        shares(x, cases[i].n, cases[i].ones);
        hone_interval v;
        assert_int_equal(hone_stats_mean(&v, x, cases[i].n, 1, NULL), HONE_OK);
        assert_string_equal(v.method, "wilson");
        near_to(v.mean, (double)cases[i].ones / (double)cases[i].n, 1e-14);
        near_to(v.low, cases[i].low, 1e-12);
        near_to(v.high, cases[i].high, 1e-12);
    }
}

static void mcnemar_has_known_values(void **state) {
    (void)state;
    static const struct {
        size_t first, second;
        double p;
    } cases[] = {
        {0, 0, 1},
        {5, 5, 1},
        {1, 10, 0.01171875},
        {10, 1, 0.01171875},
        {0, 20, 1.9073486328125e-06},
        {12, 30, 0.007915897334896727},
        {0, 300, 9.818186930595453e-91},
        {150, 170, 0.28816003219473185},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        double a[400] = {0}, b[400] = {0};
        for (size_t k = 0; k < cases[i].first; k++) a[k] = 1;
        for (size_t k = 0; k < cases[i].second; k++) b[cases[i].first + k] = 1;
        a[399] = b[399] = 1;
        const hone_mcnemar m = hone_stats_mcnemar(a, b, 400);
        assert_int_equal(m.only_first, cases[i].first);
        assert_int_equal(m.only_second, cases[i].second);
        assert_int_equal(m.both, 1);
        assert_int_equal(m.neither, 399 - cases[i].first - cases[i].second);
        near_to(m.p, cases[i].p, 1e-11);
    }
}

/* 200 sets of 60 uniform numbers, whose mean is 0.5: about 95 % of the intervals must hold it, and their width must be
 * that of the normal approximation, 2 * 1.96 * sqrt(1/12/60) = 0.146. */
static void the_bootstrap_covers(void **state) {
    (void)state;
    uint32_t held = 0;
    double width = 0;
    for (uint32_t set = 0; set < 200; set++) {
        double x[60];
        for (uint32_t i = 0; i < 60; i++) x[i] = hone_random_unit_f64(99, set, 7, i);
        hone_interval v;
        assert_int_equal(hone_stats_mean(&v, x, 60, set, NULL), HONE_OK);
        assert_string_equal(v.method, "bootstrap");
        assert_true(v.low < v.mean && v.mean < v.high);
        held += v.low <= 0.5 && 0.5 <= v.high;
        width += (v.high - v.low) / 200;
    }
    assert_in_range(held, 180, 199);
    near_to(width, 0.146, 0.04);
}

static void paired_differences_see_the_pairing(void **state) {
    (void)state;
    /* Rows vary by 0.3, b is 0.1 better on every one: unpaired this drowns, paired it is certain. */
    double a[80], b[80];
    for (uint32_t i = 0; i < 80; i++) {
        a[i] = 0.3 * hone_random_unit_f64(5, 0, 0, i);
        b[i] = a[i] + 0.1 + 0.01 * hone_random_unit_f64(5, 1, 0, i);
    }
    hone_interval v, again, other;
    assert_int_equal(hone_stats_difference(&v, a, b, 80, 3, NULL), HONE_OK);
    assert_true(v.low > 0.1 && v.high < 0.11 && v.mean > 0.1);
    hone_stats_difference(&again, a, b, 80, 3, NULL);
    assert_memory_equal(&v, &again, sizeof(v)); /* a function of scores and seed */
    hone_stats_difference(&other, a, b, 80, 4, NULL);
    assert_true(other.low != v.low && fabs(other.low - v.low) < 0.001);
    hone_stats_difference(&other, b, a, 80, 3, NULL);
    near_to(other.mean, -v.mean, 1e-12);
    near_to(other.low, -v.high, 1e-2);
}

static void no_scores_and_no_memory(void **state) {
    (void)state;
    hone_interval v;
    double x[4] = {0.1, 0.2, 0.3, 0.4};
    assert_int_equal(hone_stats_mean(&v, NULL, 0, 1, NULL), HONE_ERR_ARG);
    for (int at = 0; at < 2; at++) {
        hone_mem_fail_at = at;
        const hone_status status = hone_stats_difference(&v, x, x, 4, 1, NULL);
        hone_mem_fail_at = -1;
        assert_int_equal(status, HONE_ERR_NOMEM);
        assert_int_equal(hone_mem_live, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wilson_has_known_values), cmocka_unit_test(mcnemar_has_known_values),
        cmocka_unit_test(the_bootstrap_covers),    cmocka_unit_test(paired_differences_see_the_pairing),
        cmocka_unit_test(no_scores_and_no_memory),
    };
    return cmocka_run_group_tests_name("lab stats", tests, NULL, NULL);
}
