/* test_probe.c - the measurements fill their figures with real numbers and keep to the room they are given. */
#include "fixture.h"
#include "kernel/probe.h"

static void test_figures(void **state) {
    (void)state;
    enum { ROOM = 24 };
    hone_kernel_figure figures[ROOM + 1];
    memset(figures, 0, sizeof(figures));
    uint32_t n = 0;
    hone_error err;
    hone_pool *pool = NULL;
    assert_int_equal(hone_pool_open(&pool, 2, &err), HONE_OK);
    assert_int_equal(hone_kernels_probe(hone_kernels_best(), pool, figures, ROOM, &n, &err), HONE_OK);
    hone_pool_close(pool);
    assert_int_equal(n, ROOM); /* more are measured than fit */
    assert_string_equal(figures[0].operation, "limit");
    for (uint32_t i = 0; i < n; i++) {
        assert_true(isfinite(figures[i].value) && figures[i].value > 0);
        assert_true(strlen(figures[i].shape) > 0 && strlen(figures[i].unit) > 0);
    }
    assert_null(figures[ROOM].unit);
}

/* Short memory is a result, nothing leaks, and what was measured before stands. */
static void test_short_memory(void **state) {
    (void)state;
    static hone_kernel_figure figures[24];
    const int64_t live = hone_mem_live;
    for (int64_t fail_at = 3; fail_at < 4; fail_at++) {
        uint32_t n = 0;
        hone_error err;
        hone_mem_fail_at = fail_at;
        assert_int_equal(hone_kernels_probe(hone_kernels_best(), NULL, figures, 24, &n, &err), HONE_ERR_NOMEM);
        hone_mem_fail_at = -1;
        assert_int_equal(hone_mem_live, live);
        assert_true(n > 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_figures), cmocka_unit_test(test_short_memory)};
    return cmocka_run_group_tests_name("kernel probe", tests, NULL, NULL);
}
