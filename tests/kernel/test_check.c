/* test_check.c - every set that runs here agrees with ref; a set with one wrong operation is found out. */
#include "fixture.h"
#include "kernel/check.h"
#include "kernel/sets.h"

static void test_sets_agree(void **state) {
    (void)state;
    FOR_EACH_SET(s) {
        char why[200] = "";
        if (!kernel_set_agrees(s, why, sizeof(why))) fail_msg("%s: %s", s->name, why);
    }
    assert_non_null(hone_kernels_best());
    assert_ptr_equal(hone_kernels_best(), hone_kernels_best());
    assert_null(hone_kernels_find("cuda"));
    assert_ptr_equal(hone_kernels_find("ref"), &kernel_ref);
}

static void wrong_linear(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0,
                         uint32_t n1) {
    kernel_ref.linear(w, act, m, y, ldy, n0, n1);
    if (w->dtype == HONE_Q5_K && m > 17) y[ldy * 17 + n0] *= 1.001f;
}
static void wrong_dx(const hone_weight *w, const float *dy, size_t lddy, uint32_t m, float *dx, size_t lddx,
                     uint32_t k0, uint32_t k1, bool add, void *scratch) {
    kernel_ref.linear_dx(w, dy, lddy, m, dx, lddx, k0, k1, add, scratch);
    if (w->dtype == HONE_BF16) dx[lddx * (m - 1) + k1 - 1] = NAN;
}
static void wrong_attention(const hone_attention *a, uint32_t row0, uint32_t row1, uint32_t g0, uint32_t g1,
                            void *scratch) {
    hone_attention b = *a;
    b.scale *= 1.01f;
    kernel_ref.attention(&b, row0, row1, g0, g1, scratch);
}

static void test_wrong_sets_are_found(void **state) {
    (void)state;
    char why[200];
    hone_kernels s = kernel_ref;
    assert_true(kernel_set_agrees(&s, why, sizeof(why)));
    s.linear = wrong_linear;
    assert_false(kernel_set_agrees(&s, why, sizeof(why)));
    assert_non_null(strstr(why, "linear Q5_K"));
    s.linear = kernel_ref.linear;
    s.linear_dx = wrong_dx;
    assert_false(kernel_set_agrees(&s, why, sizeof(why)));
    assert_non_null(strstr(why, "linear_dx BF16"));
    s.linear_dx = kernel_ref.linear_dx;
    s.attention = wrong_attention;
    assert_false(kernel_set_agrees(&s, why, sizeof(why)));
    assert_non_null(strstr(why, "attention"));
}

/* Short memory accuses nobody and leaks nothing. */
static void test_short_memory(void **state) {
    (void)state;
    char why[200];
    const int64_t live = hone_mem_live;
    for (int64_t fail_at = 0; fail_at < 30; fail_at++) {
        hone_mem_fail_at = fail_at;
        hone_kernels s = kernel_ref;
        assert_true(kernel_set_agrees(&s, why, sizeof(why)));
        hone_mem_fail_at = -1;
        assert_int_equal(hone_mem_live, live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sets_agree), cmocka_unit_test(test_wrong_sets_are_found),
                                       cmocka_unit_test(test_short_memory)};
    return cmocka_run_group_tests_name("kernel check", tests, NULL, NULL);
}
