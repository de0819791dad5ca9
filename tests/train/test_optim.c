/* test_optim.c - AdamW, schedules and clipping against the formulae in double, and known values. */
#include "test.h"

#include <math.h>

#include "base/random.h"
#include "train/optim.h"

static void test_learning_rates(void **state) {
    (void)state;
    /* PEFT's oracle: 10 steps, 2 of warm-up, peak 0.002 */
    const double wanted[10] = {0.0,           0.001, 0.002,          0.00192387953,  0.00170710678,
                               0.00138268343, 0.001, 0.000617316568, 0.000292893219, 7.61204675e-05};
    hone_lr_plan p = {.lr = 0.002, .schedule = HONE_SCHEDULE_COSINE, .warmup_steps = 2, .steps = 10};
    for (uint64_t s = 0; s < 10; s++) assert_true(fabs(hone_lr_at(&p, s) - wanted[s]) < 1e-11);
    p.floor = 0.1;
    assert_true(fabs(hone_lr_at(&p, 10) - 0.0002) < 1e-12);
    assert_true(fabs(hone_lr_at(&p, 2) - 0.002) < 1e-12);
    p = (hone_lr_plan){.lr = 1, .schedule = HONE_SCHEDULE_LINEAR, .warmup_steps = 0, .steps = 4};
    for (uint64_t s = 0; s < 4; s++) assert_true(fabs(hone_lr_at(&p, s) - (1 - (double)s / 4)) < 1e-12);
    p.schedule = HONE_SCHEDULE_CONSTANT;
    assert_true(hone_lr_at(&p, 3) == 1);
    p.warmup_steps = 9; /* longer than the run */
    assert_true(fabs(hone_lr_at(&p, 3) - 3.0 / 9) < 1e-12);
}

static void test_adamw(void **state) {
    (void)state;
    enum { N = 37 };
    const hone_adamw o = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1};
    float p[N], m[N] = {0}, v[N] = {0};
    double dp[N], dm[N] = {0}, dv[N] = {0};
    for (int i = 0; i < N; i++) dp[i] = (double)(p[i] = hone_random_unit(1, 0, 0, (uint64_t)i) - 0.5f);
    for (uint64_t step = 1; step <= 20; step++) {
        float g[N];
        const double lr = 0.01 / (double)step, factor = 0.5;
        for (int i = 0; i < N; i++) g[i] = hone_random_unit(2, (uint32_t)step, 0, (uint64_t)i) - 0.4f;
        hone_adamw_update(&o, lr, step, factor, p, g, m, v, N);
        for (int i = 0; i < N; i++) {
            const double gi = (double)g[i] * factor;
            dp[i] *= 1 - lr * o.weight_decay;
            dm[i] = o.beta1 * dm[i] + (1 - o.beta1) * gi;
            dv[i] = o.beta2 * dv[i] + (1 - o.beta2) * gi * gi;
            dp[i] -= lr * (dm[i] / (1 - pow(o.beta1, (double)step))) /
                     (sqrt(dv[i] / (1 - pow(o.beta2, (double)step))) + o.eps);
            assert_true(fabs((double)p[i] - dp[i]) < 1e-5);
        }
    }
}

static void test_norm_and_clipping(void **state) {
    (void)state;
    float g[101];
    double sum = 0;
    for (int i = 0; i < 101; i++) {
        g[i] = hone_random_unit(3, 0, 0, (uint64_t)i);
        sum += (double)g[i] * (double)g[i];
    }
    assert_true(fabs(hone_square_sum(g, 101) - sum) < 1e-9);
    assert_true(hone_square_sum(g, 0) == 0);
    assert_true(hone_clip_factor(100, 0) == 1);
    assert_true(hone_clip_factor(0.5, 1) == 1);
    assert_true(fabs(hone_clip_factor(41, 1) - 1 / (41 + 1e-6)) < 1e-15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learning_rates),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_norm_and_clipping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
