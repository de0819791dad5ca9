/* test_mem.c - mem.h: zeroed, checked for overflow, failing on demand. */
#include "test.h"

#include "base/mem.h"

static void memory_is_zeroed_and_aligned(void **state) {
    (void)state;
    unsigned char *p = hone_zalloc(1000, 3);
    for (int i = 0; i < 3000; i++) assert_int_equal(p[i], 0);
    hone_free(p);
    for (size_t n = 1; n < 500; n += 37) {
        void *a = hone_alloc_aligned(n, 5);
        assert_int_equal((uintptr_t)a % 64, 0);
        hone_free(a);
    }
    void *none = hone_zalloc(0, 8);
    assert_non_null(none);
    hone_free(none);
    hone_free(NULL);
    assert_int_equal(hone_mem_live, 0);
}

static void products_that_wrap_are_refused(void **state) {
    (void)state;
    /* 2^33 * 2^31 is 0 in 64 bits: a small block that a caller would write past. */
    const size_t many = (size_t)1 << 33, wide = (size_t)1 << 31;
    assert_null(hone_zalloc(many, wide));
    assert_null(hone_alloc_aligned(many, wide));
    char *p = hone_strdup("whole");
    assert_null(hone_realloc(p, many, wide));
    assert_string_equal(p, "whole");
    hone_free(p);
    size_t product, sum;
    assert_false(hone_mul_size(&product, many, wide));
    assert_true(hone_mul_size(&product, many, 3) && product == 3 * many);
    assert_false(hone_add_size(&sum, SIZE_MAX, 1));
}

static void grow_keeps_the_elements(void **state) {
    (void)state;
    uint32_t *a = NULL;
    size_t cap = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(hone_grow(&a, &cap, i, sizeof(*a)));
        a[i] = i * 7;
    }
    for (uint32_t i = 0; i < 1000; i++) assert_int_equal(a[i], i * 7);
    hone_mem_fail_at = 0;
    const size_t before = cap;
    assert_false(hone_grow(&a, &cap, cap, sizeof(*a)));
    hone_mem_fail_at = -1;
    assert_int_equal(cap, before);
    assert_int_equal(a[999], 999 * 7);
    hone_free(a);
}

static void the_chosen_allocation_fails_and_only_it(void **state) {
    (void)state;
    hone_mem_fail_at = 2;
    void *a = hone_zalloc(1, 1), *b = hone_strdup("x"), *c = hone_zalloc(1, 1), *d = hone_zalloc(1, 1);
    hone_mem_fail_at = -1;
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_non_null(d);
    assert_int_equal(hone_mem_live, 3);
    hone_free(a);
    hone_free(b);
    hone_free(d);
    assert_int_equal(hone_mem_live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(products_that_wrap_are_refused),
        cmocka_unit_test(grow_keeps_the_elements),
        cmocka_unit_test(the_chosen_allocation_fails_and_only_it),
    };
    return cmocka_run_group_tests_name("base mem", tests, NULL, NULL);
}
