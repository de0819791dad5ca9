/* test_pack.c - every epoch holds every row once, orders depend on (seed, epoch) alone, micro-batches keep their
 * limits.
 */
#include "test.h"

#include "tiny.h"
#include "train/pack.h"

#define N 500

static void test_an_epoch_holds_every_row_once(void **state) {
    (void)state;
    uint32_t a[N], b[N];
    for (uint32_t epoch = 0; epoch < 4; epoch++) {
        uint8_t seen[N] = {0};
        hone_pack_order(9, epoch, true, a, N);
        for (int i = 0; i < N; i++) {
            assert_true(a[i] < N && !seen[a[i]]);
            seen[a[i]] = 1;
        }
        hone_pack_order(9, epoch, true, b, N);
        assert_memory_equal(a, b, sizeof(a));
        hone_pack_order(9, epoch + 1, true, b, N);
        assert_memory_not_equal(a, b, sizeof(a));
        hone_pack_order(10, epoch, true, b, N);
        assert_memory_not_equal(a, b, sizeof(a));
    }
    hone_pack_order(9, 0, false, a, N);
    for (uint32_t i = 0; i < N; i++) assert_int_equal(a[i], i);
    hone_pack_order(9, 0, true, a, 0);
    hone_pack_order(9, 0, true, a, 1);
    assert_int_equal(a[0], 0);
}

static void test_micro_batches(void **state) {
    (void)state;
    hone_train_data data;
    uint32_t order[N];
    tiny_rows(&data, 50, N, 60, 4);
    hone_pack_order(1, 0, true, order, N);
    for (size_t from = 0, to; from < N; from = to) {
        to = hone_pack_micro(&data, order, from, N, 130, 5);
        uint32_t used = 0;
        for (size_t i = from; i < to; i++) used += data.row[order[i]].n_run;
        assert_true(to > from && to - from <= 5 && used <= 130);
        if (to < N && to - from < 5) assert_true(used + data.row[order[to]].n_run > 130); /* as full as can be */
    }
    assert_int_equal(hone_pack_micro(&data, order, 0, N, 1, 5), 1); /* a row over the budget runs alone */
    assert_int_equal(hone_pack_micro(&data, order, 3, 4, 1000, 5), 4);
    hone_data_free(&data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_epoch_holds_every_row_once),
        cmocka_unit_test(test_micro_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
