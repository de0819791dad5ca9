/* test_random.c - random.h against the known answers of Philox4x32-10 that its authors publish (Random123,
 * kat_vectors), and the shape of the uniform numbers. */
#include "test.h"

#include "base/random.h"

static void known_answers(void **state) {
    (void)state;
    static const struct {
        uint64_t key;
        uint32_t a, b;
        uint64_t c;
        uint32_t out[4];
    } kat[] = {
        {0, 0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         0x243f6a88,
         0x85a308d3,
         0x0370734413198a2e,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof(kat) / sizeof(kat[0]); i++) {
        uint32_t out[4];
        hone_random_block(kat[i].key, kat[i].a, kat[i].b, kat[i].c, out);
        assert_memory_equal(out, kat[i].out, sizeof(out));
    }
}

static void units_are_uniform_multiples(void **state) {
    (void)state;
    double sum = 0, sum_f64 = 0;
    uint32_t eighth[8] = {0};
    const uint32_t n = 80000;
    for (uint32_t i = 0; i < n; i++) {
        const float u = hone_random_unit(42, 1, 2, i);
        const double d = hone_random_unit_f64(42, 1, 2, i);
        assert_true(u >= 0 && u < 1 && d >= 0 && d < 1);
        assert_true((double)u * 0x1p24 == (double)(uint32_t)((double)u * 0x1p24));
        sum += (double)u;
        sum_f64 += d;
        eighth[(int)(u * 8)]++;
    }
    /* Five deviations of the mean of n uniform numbers, and of a bin's count. */
    assert_true(sum / n > 0.5 - 5 * 0.00103 && sum / n < 0.5 + 5 * 0.00103);
    assert_true(sum_f64 / n > 0.5 - 5 * 0.00103 && sum_f64 / n < 0.5 + 5 * 0.00103);
    for (int i = 0; i < 8; i++) assert_true(eighth[i] > 10000 - 470 && eighth[i] < 10000 + 470);
}

static void each_coordinate_counts(void **state) {
    (void)state;
    const float here = hone_random_unit(7, 1, 2, 3);
    assert_true(here == hone_random_unit(7, 1, 2, 3));
    assert_true(here != hone_random_unit(8, 1, 2, 3) && here != hone_random_unit(7, 2, 2, 3));
    assert_true(here != hone_random_unit(7, 1, 3, 3) && here != hone_random_unit(7, 1, 2, 4));
    assert_true(here != hone_random_unit(7 + (1ull << 32), 1, 2, 3) &&
                here != hone_random_unit(7, 1, 2, 3 + (1ull << 32)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(units_are_uniform_multiples),
        cmocka_unit_test(each_coordinate_counts),
    };
    return cmocka_run_group_tests_name("base random", tests, NULL, NULL);
}
