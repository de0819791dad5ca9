/* test_pace.c - the cost of steps is learned from few of them, followed when it changes, and not from single odd ones.
 */
#include "test.h"

#include <math.h>

#include "base/random.h"
#include "engine/pace.h"

/* A machine: 4 ms a step, half a ms a row, 40 ns a position of a stream, 20 ns of a prompt; 5 % noise. */
static double truth(const hone_pace_load *l) {
    return 4e-3 + 0.5e-3 * l->rows + 40e-9 * (double)l->stream_positions + 20e-9 * (double)l->prompt_positions;
}

static void see(hone_pace *p, const hone_pace_load *l, uint32_t i, double slower) {
    const double noise = 0.95 + 0.1 * (double)hone_random_unit(1, 2, 3, i);
    hone_pace_observe(p, l, slower * noise * truth(l));
}

/* How far the prediction is from the truth: n rows of streams at 300, and a chunk of a prompt. */
static double off(const hone_pace *p, uint32_t streams, uint32_t chunk, uint32_t position, double slower) {
    const hone_pace_load l = {streams + chunk, streams * 300ull, hone_pace_positions(position, chunk)};
    return fabs(hone_pace_step(p, &l) / (slower * truth(&l)) - 1);
}

static uint32_t count;

/* Streams and a chunk of a prompt, of random size. */
static void some_steps(hone_pace *p, uint32_t n, double slower) {
    for (uint32_t i = 0; i < n; i++) {
        uint32_t w[4];
        hone_random_block(8, ++count, 0, 0, w);
        const uint32_t streams = w[2] % 9, chunk = w[0] % 3 || !streams ? 1 + w[0] % 40 : 0, at = w[1] % 8000;
        const hone_pace_load l = {streams + chunk, streams * (100 + w[3] % 400ull), hone_pace_positions(at, chunk)};
        see(p, &l, count, slower);
    }
}

static void a_few_steps_are_enough(void **state) {
    (void)state;
    hone_pace p = {0};
    const hone_pace_load any = {8, 2400, 0};
    assert_true(hone_pace_step(&p, &any) == 0);
    some_steps(&p, 12, 1);
    assert_true(off(&p, 8, 0, 0, 1) < 0.25);
    assert_true(off(&p, 8, 40, 6000, 1) < 0.25);
    some_steps(&p, 150, 1);
    assert_true(off(&p, 8, 0, 0, 1) < 0.1);
    assert_true(off(&p, 0, 1, 8000, 1) < 0.15);
    assert_true(off(&p, 8, 40, 6000, 1) < 0.1);
}

static void a_chunk_that_was_never_tried_is_small(void **state) {
    (void)state;
    hone_pace p = {0};
    const hone_pace_load streams = {8, 2400, 0};
    for (uint32_t i = 0; i < 200; i++) see(&p, &streams, i, 1);
    assert_true(off(&p, 8, 0, 0, 1) < 0.05);
    /* 6 ms are 12 rows in truth. */
    uint32_t n = hone_pace_fit(&p, 0, 256, 6e-3);
    assert_in_range(n, 0, 12);
    for (uint32_t i = 0; i < 20; i++) {
        const hone_pace_load mixed = {8 + n, 2400, hone_pace_positions(0, n)};
        see(&p, &mixed, 300 + i, 1);
        n = hone_pace_fit(&p, 0, 256, 6e-3);
        if (n == 0) n = 1;
        assert_true(n < 16);
    }
    assert_in_range(n, 8, 14);
}

static void steps_that_are_all_alike_do_no_harm(void **state) {
    (void)state;
    hone_pace p = {0};
    some_steps(&p, 100, 1);
    const hone_pace_load streams = {8, 2400, 0};
    for (uint32_t i = 0; i < 5000; i++) see(&p, &streams, i, 1);
    assert_true(off(&p, 8, 0, 0, 1) < 0.05);
    assert_true(off(&p, 0, 30, 5000, 1) < 0.35);
    some_steps(&p, 30, 1);
    assert_true(off(&p, 0, 30, 5000, 1) < 0.15);
}

static void a_slower_machine_is_followed_and_a_hiccup_is_not(void **state) {
    (void)state;
    hone_pace p = {0};
    some_steps(&p, 150, 1);
    const hone_pace_load streams = {8, 2400, 0}, nothing = {0};
    hone_pace_observe(&p, &streams, 3.0); /* a stopped process */
    assert_true(off(&p, 8, 0, 0, 1) < 0.1);
    assert_true(off(&p, 0, 30, 5000, 1) < 0.1);
    some_steps(&p, 80, 1.8);
    assert_true(off(&p, 8, 0, 0, 1.8) < 0.25);
    assert_true(off(&p, 0, 30, 5000, 1.8) < 0.25);
    hone_pace_observe(&p, &streams, NAN);
    hone_pace_observe(&p, &nothing, 1);
    hone_pace_observe(&p, &streams, -1);
    assert_true(off(&p, 8, 0, 0, 1.8) < 0.25);
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
        cmocka_unit_test(a_chunk_that_was_never_tried_is_small),
        cmocka_unit_test(steps_that_are_all_alike_do_no_harm),
        cmocka_unit_test(a_slower_machine_is_followed_and_a_hiccup_is_not),
        cmocka_unit_test(rows_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
