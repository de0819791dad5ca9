/* test_pool.c - pool.h: every task once, results visible, no allocation while running. */
#include "test.h"

#include <stdatomic.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/pool.h"

#define TASKS 257u

typedef struct {
    uint32_t times[TASKS];
    uint32_t n_threads;
    _Atomic uint32_t bad_thread;
} work;

static void mark(void *arg, uint32_t task, uint32_t thread) {
    work *w = arg;
    w->times[task]++; /* no lock: two threads with one task would be a defect that the count shows */
    if (thread >= w->n_threads) w->bad_thread++;
}

static void every_task_runs_once(void **state) {
    (void)state;
    for (uint32_t n_threads = 1; n_threads <= 5; n_threads++) {
        hone_pool *pool;
        assert_int_equal(hone_pool_open(&pool, n_threads, NULL), HONE_OK);
        assert_int_equal(hone_pool_threads(pool), n_threads);
        work w = {.n_threads = n_threads};
        const int64_t before = hone_mem_count;
        for (uint32_t round = 0; round < 300; round++) hone_pool_run(pool, round % TASKS + 1, mark, &w);
        assert_int_equal(hone_mem_count, before);
        assert_int_equal(w.bad_thread, 0);
        uint32_t total = 0, expected = 0;
        for (uint32_t round = 0; round < 300; round++) expected += round % TASKS + 1;
        for (uint32_t i = 0; i < TASKS; i++) total += w.times[i];
        assert_int_equal(total, expected);
        for (uint32_t i = 1; i < TASKS; i++) assert_true(w.times[i] <= w.times[i - 1]);
        hone_pool_close(pool);
    }
    assert_int_equal(hone_mem_live, 0);
}

static void sleepers_are_woken(void **state) {
    (void)state;
    hone_pool *pool;
    assert_int_equal(hone_pool_open(&pool, 3, NULL), HONE_OK);
    work w = {.n_threads = 3};
    for (int i = 0; i < 5; i++) {
        usleep(3000); /* far longer than the spin: the workers sleep now */
        hone_pool_run(pool, TASKS, mark, &w);
    }
    for (uint32_t i = 0; i < TASKS; i++) assert_int_equal(w.times[i], 5);
    hone_pool_close(pool);
}

static void no_pool_is_one_thread(void **state) {
    (void)state;
    work w = {.n_threads = 1};
    hone_pool_run(NULL, TASKS, mark, &w);
    for (uint32_t i = 0; i < TASKS; i++) assert_int_equal(w.times[i], 1);
    assert_int_equal(hone_pool_threads(NULL), 1);
    hone_pool_close(NULL);
    hone_error err;
    hone_pool *pool;
    assert_int_equal(hone_pool_open(&pool, 5000, &err), HONE_ERR_ARG);
    assert_null(pool);
    for (int at = 0; at < 2; at++) {
        hone_mem_fail_at = at;
        assert_int_equal(hone_pool_open(&pool, 2, NULL), HONE_ERR_NOMEM);
        hone_mem_fail_at = -1;
    }
    assert_int_equal(hone_mem_live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(no_pool_is_one_thread),
    };
    return cmocka_run_group_tests_name("base pool", tests, NULL, NULL);
}
