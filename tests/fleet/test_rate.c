/* test_rate.c - costs that are known are found again, and never below zero. */
#include "fleet/rate.h"

#include <math.h>

#include "test.h"

#define STEP 0.004
#define PROMPT 0.0008
#define OUTPUT 0.0015

static double near(double a, double b) {
    return fabs(a - b) / b;
}

static void test_costs_are_found(void **state) {
    (void)state;
    hone_rate r = {0};
    assert_true(hone_rate_seconds(&r, 1000, 1000, 32) == 0);
    uint32_t x = 12345;
    for (int i = 0; i < 60; i++) {
        x = x * 1664525u + 1013904223u;
        const uint64_t steps = 2 + x % 9, prefill = (x >> 8) % 900, decode = steps * ((x >> 20) % 33);
        const double noise = 1 + ((x >> 4) % 100 / 100.0 - 0.5) * 0.02;
        hone_rate_observe(&r, ((double)steps * STEP + (double)prefill * PROMPT + (double)decode * OUTPUT) * noise,
                          steps, prefill, decode, 0);
    }
    assert_true(near(hone_rate_seconds(&r, 1000, 0, 1), 1000 * PROMPT) < 0.05);
    assert_true(near(hone_rate_seconds(&r, 0, 320, 32), 320 * OUTPUT + 10 * STEP) < 0.05);
}

/* One stream alone: a step and its row always come together.  The sum must hold, however it is shared out. */
static void test_what_cannot_be_told_apart_still_adds_up(void **state) {
    (void)state;
    hone_rate r = {0};
    for (int i = 0; i < 40; i++) hone_rate_observe(&r, 20 * (STEP + OUTPUT), 20, 0, 20, 0);
    assert_true(near(hone_rate_seconds(&r, 0, 100, 1), 100 * (STEP + OUTPUT)) < 0.01);
    assert_true(r.cost[0] >= 0 && r.cost[1] >= 0 && r.cost[2] >= 0);
}

static void test_old_news_fade(void **state) {
    (void)state;
    hone_rate r = {0};
    for (int i = 0; i < 50; i++) hone_rate_observe(&r, 0.1, 5, 100, 0, 0);
    for (int i = 0; i < 300; i++) hone_rate_observe(&r, 0.2, 5, 100, 0, 0);
    assert_true(near(5 * r.cost[0] + 100 * r.cost[1], 0.2) < 0.02);
}

static void test_expected_output(void **state) {
    (void)state;
    hone_rate r = {0};
    assert_int_equal(hone_rate_expect(&r, 64), 64);
    assert_true(hone_rate_expect(&r, 1u << 20) < 1000); /* a limit is no promise */
    for (int i = 0; i < 200; i++) hone_rate_ended(&r, 40);
    hone_rate_ended(&r, 0); /* embeddings say nothing about the others */
    assert_int_equal(hone_rate_expect(&r, 4096), 40);
    assert_int_equal(hone_rate_expect(&r, 16), 16);
}

static void test_cached_prompts_cost_less(void **state) {
    (void)state;
    hone_rate r = {0};
    for (int i = 0; i < 200; i++) hone_rate_observe(&r, 0.1, 1, 100, 0, 300);
    const double one = hone_rate_seconds(&r, 400, 0, 1);
    assert_true(fabs(one - 0.1) < 0.01); /* 400 tokens, of which 100 are computed */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_costs_are_found),
        cmocka_unit_test(test_what_cannot_be_told_apart_still_adds_up),
        cmocka_unit_test(test_old_news_fade),
        cmocka_unit_test(test_expected_output),
        cmocka_unit_test(test_cached_prompts_cost_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
