/* test_offload.c - work beside the loop: the loop turns meanwhile, order, the end at close, memory that fails. */
#include "net/offload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "test.h"

typedef struct {
    hone_loop *loop;
    hone_offload *offload;
    pthread_t loop_thread;
    atomic_bool may_end, has_begun; /* of held work */
    char worked[16], ended[16];     /* written by the thread, then, after the end, by the loop */
    int n_ticks, n_left;
} fixture;

typedef struct {
    fixture *f;
    char name;
    bool again;
} job;

static void work(void *arg) {
    job *j = arg;
    if (pthread_equal(pthread_self(), j->f->loop_thread)) strcat(j->f->worked, "?");
    strncat(j->f->worked, &j->name, 1);
}

static void hold(void *arg) {
    job *j = arg;
    atomic_store(&j->f->has_begun, true);
    while (!atomic_load(&j->f->may_end)) continue;
    work(arg);
}

static void append_name(void *arg) {
    job *j = arg;
    strncat(j->f->worked, &j->name, 1);
}

static void done(void *arg) {
    job *j = arg;
    assert_true(pthread_equal(pthread_self(), j->f->loop_thread));
    strncat(j->f->ended, &j->name, 1);
    j->f->n_left--;
    if (!j->again) return;
    j->again = false;
    j->f->n_left++;
    assert_int_equal(hone_offload_run(j->f->offload, append_name, done, j, NULL), HONE_OK);
}

static void on_tick(void *arg) {
    ((fixture *)arg)->n_ticks++;
}

static void start(fixture *f) {
    hone_error err = {0};
    *f = (fixture){.loop_thread = pthread_self()};
    assert_int_equal(hone_loop_open(&f->loop, &err), HONE_OK);
    assert_int_equal(hone_offload_open(&f->offload, f->loop, &err), HONE_OK);
}

static void end(fixture *f) {
    hone_offload_close(f->offload);
    hone_loop_close(f->loop);
}

static void run(fixture *f, void (*fn)(void *), job *j) {
    f->n_left++;
    assert_int_equal(hone_offload_run(f->offload, fn, done, j, NULL), HONE_OK);
}

static void wait_all(fixture *f) {
    const int64_t deadline = hone_clock_ns() + 10000000000;
    while (f->n_left && hone_clock_ns() < deadline) hone_loop_turn(f->loop, 10);
    assert_int_equal(f->n_left, 0);
}

/* While the first waits, the loop serves others; what waits behind it ends in order, each end once. */
static void test_the_loop_turns_meanwhile(void **state) {
    (void)state;
    const int64_t live = hone_mem_live;
    fixture f;
    start(&f);
    job a = {&f, 'a', false}, b = {&f, 'b', true}, c = {&f, 'c', false};
    run(&f, hold, &a);
    run(&f, append_name, &b);
    run(&f, work, &c);
    while (!atomic_load(&f.has_begun)) continue;
    assert_non_null(hone_loop_after(f.loop, 1, on_tick, &f));
    const int64_t deadline = hone_clock_ns() + 10000000000;
    while (!f.n_ticks && hone_clock_ns() < deadline) hone_loop_turn(f.loop, 10);
    assert_int_equal(f.n_ticks, 1);
    assert_string_equal(f.ended, "");
    atomic_store(&f.may_end, true);
    wait_all(&f);
    assert_string_equal(f.worked, "abcb");
    assert_string_equal(f.ended, "abcb");
    end(&f);
    assert_int_equal(hone_mem_live, live);
}

/* Nothing that was handed in is lost at the close, not even what an end hands in there. */
static void test_close_finishes_everything(void **state) {
    (void)state;
    const int64_t live = hone_mem_live;
    fixture f;
    start(&f);
    job a = {&f, 'a', false}, b = {&f, 'b', true};
    run(&f, work, &a);
    run(&f, append_name, &b);
    end(&f);
    assert_int_equal(f.n_left, 0);
    assert_string_equal(f.worked, "abb");
    assert_string_equal(f.ended, "abb");
    start(&f);
    end(&f); /* and with nothing to do */
    hone_offload_close(NULL);
    assert_int_equal(hone_mem_live, live);
}

static void test_memory_fails(void **state) {
    (void)state;
    fixture f;
    start(&f);
    const int64_t live = hone_mem_live;
    job a = {&f, 'a', false};
    hone_error err = {0};
    hone_mem_fail_at = 0;
    assert_int_equal(hone_offload_run(f.offload, work, done, &a, &err), HONE_ERR_NOMEM);
    hone_offload *other;
    hone_mem_fail_at = 0;
    assert_int_equal(hone_offload_open(&other, f.loop, &err), HONE_ERR_NOMEM);
    hone_mem_fail_at = -1;
    assert_null(other);
    assert_int_equal(hone_mem_live, live);
    hone_loop_turn(f.loop, 1);
    assert_string_equal(f.ended, "");
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_loop_turns_meanwhile),
        cmocka_unit_test(test_close_finishes_everything),
        cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
