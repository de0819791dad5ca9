/* test_kv.c - pages are never lost and never given out twice, whatever the order of growing and ending. */
#include "test.h"

#include "base/mem.h"
#include "base/random.h"
#include "engine/kv.h"
#include "tiny.h"

static hone_model *model;

static int set_up(void **state) {
    (void)state;
    const tiny_options o = tiny_defaults();
    model = tiny_model(hone_kernels_best(), &o);
    return model ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tiny_model_free(model);
    return 0;
}

static hone_kv_config config_of(uint32_t pages, uint32_t sequences, uint32_t length) {
    return (hone_kv_config){.max_sequences = sequences,
                            .max_length = length,
                            .type = HONE_KV_BF16,
                            .budget_bytes = pages * hone_kv_page_bytes(model, HONE_KV_BF16)};
}

static void a_page_serves_its_positions(void **state) {
    (void)state;
    const hone_kv_config cfg = config_of(4, 2, 3 * HONE_KV_PAGE);
    hone_kv *kv;
    assert_int_equal(hone_kv_open(&kv, model, &cfg, NULL), HONE_OK);
    assert_int_equal(hone_kv_total_pages(kv), 4);
    const uint32_t a = hone_kv_begin(kv), b = hone_kv_begin(kv);
    assert_int_equal(hone_kv_begin(kv), HONE_KV_NONE);
    assert_int_equal(hone_kv_extend(kv, a, 0), HONE_OK);
    assert_int_equal(hone_kv_free_pages(kv), 4);
    assert_int_equal(hone_kv_extend(kv, a, HONE_KV_PAGE), HONE_OK);
    assert_int_equal(hone_kv_free_pages(kv), 3);
    assert_int_equal(hone_kv_extend(kv, a, HONE_KV_PAGE + 1), HONE_OK);
    assert_int_equal(hone_kv_free_pages(kv), 2);
    assert_int_equal(hone_kv_extend(kv, a, 3 * HONE_KV_PAGE + 1), HONE_ERR_ARG); /* over max_length */
    assert_int_equal(hone_kv_extend(kv, b, 3 * HONE_KV_PAGE), HONE_ERR_FULL);    /* changed nothing */
    assert_int_equal(hone_kv_free_pages(kv), 2);
    assert_null(hone_kv_check(kv));
    assert_int_equal(hone_kv_extend(kv, b, 2 * HONE_KV_PAGE), HONE_OK);
    /* Every (layer, page) of both is a place of its own. */
    const hone_seq_view va = hone_kv_view(kv, a), vb = hone_kv_view(kv, b);
    const uint8_t *seen[8];
    uint32_t n = 0;
    for (uint32_t l = 0; l < 2; l++)
        for (uint32_t p = 0; p < 2; p++) {
            seen[n++] = va.page[l * va.cap + p];
            seen[n++] = vb.page[l * vb.cap + p];
        }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++) assert_true(seen[i] != seen[j]);
    hone_kv_end(kv, a);
    assert_null(hone_kv_check(kv));
    assert_int_equal(hone_kv_extend(kv, b, 3 * HONE_KV_PAGE), HONE_OK);
    hone_kv_end(kv, b);
    assert_int_equal(hone_kv_free_pages(kv), 4);
    assert_null(hone_kv_check(kv));
    hone_kv_close(kv);
}

static void a_thousand_random_steps_lose_nothing(void **state) {
    (void)state;
    enum { SEQUENCES = 7 };
    const hone_kv_config cfg = config_of(23, SEQUENCES, 9 * HONE_KV_PAGE);
    hone_kv *kv;
    assert_int_equal(hone_kv_open(&kv, model, &cfg, NULL), HONE_OK);
    const int64_t before = hone_mem_count;
    uint32_t seq[SEQUENCES], length[SEQUENCES];
    for (uint32_t i = 0; i < SEQUENCES; i++) seq[i] = HONE_KV_NONE;
    uint32_t refused = 0;
    for (uint32_t step = 0; step < 1000; step++) {
        uint32_t w[4];
        hone_random_block(3, step, 0, 0, w);
        const uint32_t i = w[0] % SEQUENCES;
        if (seq[i] == HONE_KV_NONE) {
            seq[i] = hone_kv_begin(kv);
            assert_int_not_equal(seq[i], HONE_KV_NONE);
            length[i] = 0;
        } else if (w[1] % 8 == 0) {
            hone_kv_end(kv, seq[i]);
            seq[i] = HONE_KV_NONE;
        } else {
            const uint32_t to = length[i] + w[2] % 50;
            const hone_status st = hone_kv_extend(kv, seq[i], to);
            if (st == HONE_OK && to > length[i]) length[i] = to;
            refused += st == HONE_ERR_FULL;
        }
        assert_null(hone_kv_check(kv));
        uint32_t owned = 0;
        for (uint32_t j = 0; j < SEQUENCES; j++)
            if (seq[j] != HONE_KV_NONE) owned += hone_kv_pages_for(length[j]);
        assert_int_equal(owned + hone_kv_free_pages(kv), 23);
    }
    assert_true(refused > 0); /* the run did meet a full slab */
    assert_int_equal(hone_mem_count, before);
    hone_kv_close(kv);
}

static void every_failed_allocation_is_survived(void **state) {
    (void)state;
    const hone_kv_config cfg = config_of(3, 2, 64);
    const int64_t live = hone_mem_live;
    bool opened = false;
    for (int64_t fail_at = 0; !opened; fail_at++) {
        hone_kv *kv;
        hone_mem_fail_at = fail_at;
        const hone_status st = hone_kv_open(&kv, model, &cfg, NULL);
        hone_mem_fail_at = -1;
        opened = st == HONE_OK;
        if (!opened) {
            assert_int_equal(st, HONE_ERR_NOMEM);
            assert_null(kv);
        }
        hone_kv_close(kv);
        assert_int_equal(hone_mem_live, live);
        assert_true(fail_at < 20);
    }
}

static void senseless_sizes_are_refused(void **state) {
    (void)state;
    hone_kv *kv;
    hone_error err = {0};
    hone_kv_config cfg = config_of(0, 1, 32);
    assert_int_equal(hone_kv_open(&kv, model, &cfg, &err), HONE_ERR_ARG);
    assert_non_null(strstr(err.message, "one page"));
    assert_int_equal(hone_kv_plan(model, &cfg), 0);
    cfg = config_of(1, 0, 32);
    assert_int_equal(hone_kv_open(&kv, model, &cfg, NULL), HONE_ERR_ARG);
    cfg = config_of(1, 1, 0);
    assert_int_equal(hone_kv_open(&kv, model, &cfg, NULL), HONE_ERR_ARG);
    cfg = config_of(1, 1, 32);
    cfg.budget_bytes = UINT64_MAX;
    cfg.max_sequences = UINT32_MAX;
    cfg.max_length = UINT32_MAX;
    assert_int_not_equal(hone_kv_open(&kv, model, &cfg, NULL), HONE_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_serves_its_positions),
        cmocka_unit_test(a_thousand_random_steps_lose_nothing),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(senseless_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
