/* test_pace.c - the cost of steps is learned from few of them, followed when it changes, and not from single odd ones.
 */
#include "test.h"

#include <math.h>

#include "base/random.h"
#include "engine/pace.h"

/* A machine: 4 ms a step, half a ms a row, 20 ns a position; 5 % noise. */
static double machine(uint32_t rows, uint64_t positions, uint32_t i, double slower) {
    const double noise = 0.95 + 0.1 * (double)hone_random_unit(1, 2, 3, i);
    return slower * noise * (4e-3 + 0.5e-3 * rows + 20e-9 * (double)positions);
}

static double off(const hone_pace *p, uint32_t rows, uint64_t positions, double slower) {
    const double truth = slower * (4e-3 + 0.5e-3 * rows + 20e-9 * (double)positions);
    return fabs(hone_pace_step(p, rows, positions) / truth - 1);
}

static uint32_t count;

/* Streams and a chunk of a prompt, of random size. */
static void some_steps(hone_pace *p, uint32_t n, double slower) {
    for (uint32_t i = 0; i < n; i++) {
        uint32_t w[4];
        hone_random_block(8, ++count, 0, 0, w);
        const uint32_t rows = 1 + w[0] % 40, at = w[1] % 8000;
        const uint64_t positions = hone_pace_positions(at, rows);
        hone_pace_observe(p, rows, positions, machine(rows, positions, count, slower));
    }
}

static void a_few_steps_are_enough(void **state) {
    (void)state;
    hone_pace p = {0};
    assert_true(hone_pace_step(&p, 8, 100) == 0);
    some_steps(&p, 12, 1);
    assert_true(off(&p, 8, 8 * 300, 1) < 0.25);
    assert_true(off(&p, 40, 40 * 6000, 1) < 0.2);
    some_steps(&p, 100, 1);
    assert_true(off(&p, 8, 8 * 300, 1) < 0.1);
    assert_true(off(&p, 1, 8000, 1) < 0.15);
    assert_true(off(&p, 40, 40 * 6000, 1) < 0.1);
}

static void steps_that_are_all_alike_do_no_harm(void **state) {
    (void)state;
    hone_pace p = {0};
    some_steps(&p, 100, 1);
    for (uint32_t i = 0; i < 5000; i++) hone_pace_observe(&p, 8, 8 * 300, machine(8, 8 * 300, i, 1));
    assert_true(off(&p, 8, 8 * 300, 1) < 0.05);
    assert_true(off(&p, 30, 30 * 5000, 1) < 0.35);
    some_steps(&p, 30, 1);
    assert_true(off(&p, 30, 30 * 5000, 1) < 0.1);
}

static void a_slower_machine_is_followed_and_a_hiccup_is_not(void **state) {
    (void)state;
    hone_pace p = {0};
    some_steps(&p, 100, 1);
    hone_pace_observe(&p, 8, 2400, 3.0); /* a stopped process */
    assert_true(off(&p, 8, 2400, 1) < 0.1);
    assert_true(off(&p, 30, 30 * 5000, 1) < 0.1);
    some_steps(&p, 60, 1.8);
    assert_true(off(&p, 8, 2400, 1.8) < 0.2);
    assert_true(off(&p, 30, 30 * 5000, 1.8) < 0.2);
    hone_pace_observe(&p, 8, 2400, NAN);
    hone_pace_observe(&p, 0, 0, 1);
    hone_pace_observe(&p, 8, 2400, -1);
    assert_true(off(&p, 8, 2400, 1.8) < 0.2);
}

static void rows_that_fit(void **state) {
    (void)state;
    hone_pace p = {0};
    some_steps(&p, 200, 1);
    for (uint32_t at = 0; at < 20000; at += 777)
        for (double s = 0; s < 0.05; s += 0.003) {
            const uint32_t n = hone_pace_fit(&p, at, 256, s);
            assert_true(n <= 256 && (n == 0 || hone_pace_rows(&p, at, n) <= s));
            assert_true(n == 256 || hone_pace_rows(&p, at, n + 1) > s);
        }
    assert_int_equal(hone_pace_positions(10, 3), 11 + 12 + 13);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_steps_are_enough),
        cmocka_unit_test(steps_that_are_all_alike_do_no_harm),
        cmocka_unit_test(a_slower_machine_is_followed_and_a_hiccup_is_not),
        cmocka_unit_test(rows_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
