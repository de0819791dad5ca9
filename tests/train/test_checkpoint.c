/* test_checkpoint.c - whole or not there: what was written is read, every damage is seen, another run's is refused. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "train/checkpoint.h"

#define N 100
static char dir[] = "/tmp/hone-checkpoint-XXXXXX", path[64];

static int setup(void **state) {
    (void)state;
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof(path), "%s/checkpoint.hone", dir);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void fill(float *x, float from) {
    for (int i = 0; i < N; i++) x[i] = from + (float)i;
}

static void test_what_was_written_is_read(void **state) {
    (void)state;
    float p[N], m[N], v[N], q[N], r[N], s[N];
    hone_error err = {0};
    const hone_checkpoint_state in = {
        .step = 7, .epoch_loss = 1.5, .epoch_trained = 9, .last_loss = 2, .valid_loss = 3};
    hone_checkpoint_state out;
    fill(p, 0.5f);
    fill(m, 1000);
    fill(v, 2000);
    assert_int_equal(hone_checkpoint_read(path, "lr=1\n", &out, q, r, s, N, &err), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_checkpoint_write(path, "lr=1\nseed=2\n", &in, p, m, v, N, &err), HONE_OK);
    assert_int_equal(hone_checkpoint_read(path, "lr=1\nseed=2\n", &out, q, r, s, N, &err), HONE_OK);
    assert_memory_equal(&in, &out, sizeof(in));
    assert_memory_equal(p, q, sizeof(p));
    assert_memory_equal(m, r, sizeof(m));
    assert_memory_equal(v, s, sizeof(v));
    assert_int_equal(hone_checkpoint_read(path, "lr=1\nseed=3\n", &out, q, r, s, N, &err), HONE_ERR_ARG);
    assert_non_null(strstr(err.message, "seed=2 there, seed=3 here"));
    assert_int_equal(hone_checkpoint_read(path, "lr=1\nseed=2\n", &out, q, r, s, N - 1, &err), HONE_ERR_FORMAT);
}

static void test_every_damage_is_seen(void **state) {
    (void)state;
    hone_buf whole = {0};
    float q[N], r[N], s[N];
    hone_checkpoint_state out;
    assert_int_equal(hone_file_read(path, &whole, 0, NULL), HONE_OK);
    for (size_t i = 0; i < whole.n; i += i < 80 ? 1 : 37) {
        whole.data[i] ^= 4;
        assert_int_equal(hone_file_write_atomic(path, whole.data, whole.n, NULL), HONE_OK);
        assert_true(hone_checkpoint_read(path, "lr=1\nseed=2\n", &out, q, r, s, N, NULL) != HONE_OK);
        whole.data[i] ^= 4;
    }
    for (size_t n = 0; n < whole.n; n += n < 100 ? 1 : 41) { /* cut off */
        assert_int_equal(hone_file_write_atomic(path, whole.data, n, NULL), HONE_OK);
        assert_true(hone_checkpoint_read(path, "lr=1\nseed=2\n", &out, q, r, s, N, NULL) != HONE_OK);
    }
    assert_int_equal(hone_file_write_atomic(path, whole.data, whole.n, NULL), HONE_OK);
    assert_int_equal(hone_checkpoint_read(path, "lr=1\nseed=2\n", &out, q, r, s, N, NULL), HONE_OK);
    hone_buf_free(&whole);
}

/* A write that fails half way leaves the checkpoint before it, and no litter. */
static void test_no_space_leaves_the_one_before(void **state) {
    (void)state;
    float p[N], q[N], r[N], s[N];
    hone_error err = {0};
    hone_checkpoint_state out, in = {.step = 8};
    struct rlimit before, tight;
    fill(p, 9);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    tight = before;
    tight.rlim_cur = 600;
    setrlimit(RLIMIT_FSIZE, &tight);
    const hone_status st = hone_checkpoint_write(path, "lr=1\nseed=2\n", &in, p, p, p, N, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_true(st != HONE_OK);
    assert_non_null(strstr(err.message, "untouched"));
    assert_int_equal(hone_checkpoint_read(path, "lr=1\nseed=2\n", &out, q, r, s, N, &err), HONE_OK);
    assert_int_equal(out.step, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read),
        cmocka_unit_test(test_every_damage_is_seen),
        cmocka_unit_test(test_no_space_leaves_the_one_before),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
