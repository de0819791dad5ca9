/* test_trainer.c - whole runs of a tiny model: one digest whatever is cut, stopped or killed. */
#include "test.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/random.h"
#include "tiny.h"
#include "train/trainer.h"

static tiny t;
static hone_train_data train, valid;
static char root[] = "/tmp/hone-trainer-XXXXXX";

static int setup(void **state) {
    (void)state;
    tiny_open(&t, &tiny_specs[0], hone_kernels_best(), HONE_PRECISION_SERVING);
    tiny_rows(&train, t.model.arch.vocab, 23, 40, 21);
    tiny_rows(&valid, t.model.arch.vocab, 5, 60, 22);
    return mkdtemp(root) ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    char command[64];
    hone_data_free(&train);
    hone_data_free(&valid);
    tiny_close(&t);
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

static hone_train_config config(const char *dir) {
    hone_train_config c = hone_train_defaults();
    c.lora.rank = 4;
    c.lora.dropout = 0.1f;
    c.epochs = 3;
    c.batch_rows = 5;
    c.lr = 0.01;
    c.out_dir = dir;
    c.checkpoint_steps = 1;
    return c;
}

static hone_status train_once(const hone_train_config *c, uint32_t threads, const hone_train_hooks *hooks,
                              const atomic_bool *stop, hone_train_result *result, hone_error *err) {
    hone_pool *pool;
    assert_int_equal(hone_pool_open(&pool, threads, NULL), HONE_OK);
    const hone_status st = hone_train_run(result, &t.model, pool, c, &train, &valid, hooks, stop, err);
    hone_pool_close(pool);
    return st;
}

static void folder(char *out, const char *name) {
    sprintf(out, "%s/%s", root, name);
}

static char wanted[HONE_DIGEST_TEXT]; /* of an undisturbed run */

/* ---- Hooks that look ---- */

typedef struct {
    uint64_t steps, epochs, checkpoints, stop_at;
    double first_loss, last_loss, valid[8];
    atomic_bool *stop;
} seen;

static hone_status on_plan(void *arg, const hone_train_plan *p, uint64_t first, hone_error *err) {
    (void)arg;
    (void)err;
    assert_int_equal(p->steps, 15);
    assert_true(first >= 1 && p->total_bytes > p->pass.total && p->parameters > 0);
    return HONE_OK;
}
static hone_status on_step(void *arg, const hone_train_step *s, hone_error *err) {
    seen *y = arg;
    (void)err;
    if (y->steps++ == 0) y->first_loss = s->loss;
    y->last_loss = s->loss;
    assert_true(s->step <= s->steps && s->epoch <= s->epochs && s->tokens > s->trained_tokens);
    assert_true(s->seconds > 0 && s->grad_norm > 0 && s->rss_bytes > 0);
    if (y->stop && s->step == y->stop_at) atomic_store(y->stop, true);
    return HONE_OK;
}
static hone_status on_epoch(void *arg, const hone_train_epoch *e, hone_error *err) {
    seen *y = arg;
    (void)err;
    assert_true(e->has_valid && e->valid_loss > 0);
    y->valid[y->epochs++] = e->valid_loss;
    return HONE_OK;
}
static hone_status on_checkpoint(void *arg, uint64_t step, double seconds, hone_error *err) {
    (void)step;
    (void)seconds;
    (void)err;
    ((seen *)arg)->checkpoints++;
    return HONE_OK;
}

static void test_a_run_learns_and_is_one_function_of_its_inputs(void **state) {
    (void)state;
    static const struct { uint32_t threads, micro; } cut[] = {{1, 0}, {3, 0}, {2, 41}, {2, 100}};
    for (size_t i = 0; i < sizeof(cut) / sizeof(*cut); i++) {
        char dir[64], name[16];
        sprintf(name, "run%zu", i);
        folder(dir, name);
        hone_train_config c = config(dir);
        c.micro_tokens = cut[i].micro;
        c.keep_epochs = i == 0;
        seen y = {0};
        const hone_train_hooks hooks = {&y, on_plan, on_step, on_epoch, on_checkpoint};
        hone_train_result result;
        hone_error err = {0};
        if (train_once(&c, cut[i].threads, &hooks, NULL, &result, &err) != HONE_OK) fail_msg("%s", err.message);
        assert_int_equal(result.steps, 15);
        assert_int_equal(y.steps, 15);
        assert_int_equal(y.epochs, 3);
        assert_int_equal(y.checkpoints, 15);
        assert_true(y.last_loss < 0.95 * y.first_loss);
        assert_true(result.valid_loss == y.valid[2]);
        if (i == 0) strcpy(wanted, result.adapter->digest);
        assert_string_equal(result.adapter->digest, wanted);
        hone_adapter *back;
        if (hone_adapter_read(&back, dir, &t.model.arch, &err) != HONE_OK) fail_msg("%s", err.message);
        assert_string_equal(back->digest, wanted);
        hone_adapter_free(back);
        hone_adapter_free(result.adapter);
        struct stat st;
        char path[128];
        sprintf(path, "%s/checkpoint.hone", dir);
        assert_int_not_equal(stat(path, &st), 0);
        sprintf(path, "%s/epoch-2/adapter_model.safetensors", dir);
        assert_int_equal(stat(path, &st), i == 0 ? 0 : -1);
    }
    /* another seed is another run */
    char dir[64];
    folder(dir, "seed");
    hone_train_config c = config(dir);
    c.seed = 2;
    hone_train_result result;
    assert_int_equal(train_once(&c, 2, NULL, NULL, &result, NULL), HONE_OK);
    assert_string_not_equal(result.adapter->digest, wanted);
    hone_adapter_free(result.adapter);
}

static void test_stopped_and_resumed(void **state) {
    (void)state;
    char dir[64];
    folder(dir, "stop");
    hone_train_config c = config(dir);
    c.checkpoint_steps = 0; /* only what the stop itself writes */
    c.resume = true;
    hone_train_result result;
    hone_error err = {0};
    const uint64_t stops[] = {1, 5, 8, 14};
    for (size_t i = 0; i < 4; i++) {
        atomic_bool stop = false;
        seen y = {.stop = &stop, .stop_at = stops[i]};
        const hone_train_hooks hooks = {&y, NULL, on_step, NULL, NULL};
        assert_int_equal(train_once(&c, 2, &hooks, &stop, &result, &err), HONE_ERR_CANCELLED);
        assert_null(result.adapter);
        assert_int_equal(result.steps, stops[i]);
    }
    c.lr = 0.02; /* not this run */
    assert_int_equal(train_once(&c, 2, NULL, NULL, &result, &err), HONE_ERR_ARG);
    assert_non_null(strstr(err.message, "lr="));
    c.lr = 0.01;
    c.micro_tokens = 64; /* may change in between */
    if (train_once(&c, 1, NULL, NULL, &result, &err) != HONE_OK) fail_msg("%s", err.message);
    assert_string_equal(result.adapter->digest, wanted);
    hone_adapter_free(result.adapter);
}

static void test_killed_at_any_moment_and_resumed(void **state) {
    (void)state;
    char dir[64], path[128], digest[HONE_DIGEST_TEXT];
    folder(dir, "kill");
    sprintf(path, "%s/adapter_model.safetensors", dir);
    int kills = 0;
    for (uint32_t round = 0; round < 3; round++) {
        char litter[128];
        sprintf(litter, "%s/checkpoint.hone.4711.tmp", dir);
        hone_train_config c = config(dir);
        assert_int_equal(hone_folder_make(dir, NULL), HONE_OK);
        assert_int_equal(hone_file_write_atomic(litter, "x", 1, NULL), HONE_OK);
        c.resume = true;
        for (uint32_t attempt = 0;; attempt++) {
            const pid_t pid = fork();
            assert_true(pid >= 0);
            if (pid == 0) {
                hone_train_result result;
                _exit(train_once(&c, 2, NULL, NULL, &result, NULL) == HONE_OK ? 0 : 1);
            }
            if (attempt < 12) {
                usleep((useconds_t)(hone_random_unit(5, round, attempt, 0) * 40000.0f));
                kill(pid, SIGKILL);
            }
            int status;
            assert_int_equal(waitpid(pid, &status, 0), pid);
            if (WIFEXITED(status)) {
                assert_int_equal(WEXITSTATUS(status), 0);
                break;
            }
            kills++;
        }
        assert_int_equal(hone_digest_file(path, digest, NULL, NULL), HONE_OK);
        assert_string_equal(digest, wanted);
        unlink(path);
        DIR *d = opendir(dir); /* and what a kill left half written is gone */
        for (const struct dirent *e; (e = readdir(d));) assert_null(strstr(e->d_name, ".tmp"));
        closedir(d);
    }
    assert_true(kills > 0);
    print_message("  killed %d times\n", kills);
}

/* ---- Plans ---- */

static void test_plans(void **state) {
    (void)state;
    hone_train_config c = config(NULL);
    hone_train_plan p;
    hone_error err = {0};
    assert_int_equal(hone_train_make_plan(&p, &t.model, NULL, &c, &train, &valid, &err), HONE_OK);
    const uint64_t usual = p.total_bytes;
    c.memory_bytes = usual / 2; /* auto gives way */
    assert_int_equal(hone_train_make_plan(&p, &t.model, NULL, &c, &train, &valid, &err), HONE_OK);
    assert_true(p.total_bytes <= usual / 2);
    c.micro_tokens = 768; /* stated: refused, with what fits */
    assert_int_equal(hone_train_make_plan(&p, &t.model, NULL, &c, &train, &valid, &err), HONE_ERR_LIMIT);
    const char *at = strstr(err.message, "at most ");
    assert_non_null(at);
    const uint32_t fits = (uint32_t)strtoul(at + 8, NULL, 10);
    c.micro_tokens = fits; /* what it says is the largest that does */
    assert_int_equal(hone_train_make_plan(&p, &t.model, NULL, &c, &train, &valid, &err), HONE_OK);
    c.micro_tokens = fits + 1;
    assert_int_equal(hone_train_make_plan(&p, &t.model, NULL, &c, &train, &valid, &err), HONE_ERR_LIMIT);
    c.memory_bytes = 1000;
    assert_int_equal(hone_train_make_plan(&p, &t.model, NULL, &c, &train, &valid, &err), HONE_ERR_LIMIT);
    assert_non_null(strstr(err.message, "longest row"));
    c = config(NULL);
    c.epochs = c.batch_rows = 0;
    c.lr = 0;
    c.lr_multiplier = 2;
    assert_int_equal(hone_train_make_plan(&p, &t.model, NULL, &c, &train, NULL, &err), HONE_OK);
    assert_true(p.epochs > 0 && p.batch_rows > 0 && p.lr > 0);
    const double doubled = p.lr;
    c.lr_multiplier = 1;
    assert_int_equal(hone_train_make_plan(&p, &t.model, NULL, &c, &train, NULL, &err), HONE_OK);
    assert_true(fabs(doubled - 2 * p.lr) < 1e-12);
    double seconds;
    assert_int_equal(hone_train_measure(&seconds, &p, &t.model, NULL, &c, &train, &err), HONE_OK);
    assert_true(seconds > 0);
    c.max_steps = 2;
    assert_int_equal(hone_train_make_plan(&p, &t.model, NULL, &c, &train, NULL, &err), HONE_OK);
    assert_int_equal(p.steps, 2);
    const double wrong[] = {-1, NAN, INFINITY};
    for (int i = 0; i < 3; i++) {
        c.lr = wrong[i];
        assert_int_equal(hone_train_make_plan(&p, &t.model, NULL, &c, &train, NULL, &err), HONE_ERR_ARG);
    }
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    hone_train_config c = config(NULL);
    c.epochs = 1;
    c.max_steps = 1;
    bool done = false;
    for (int at = 0; !done; at++) {
        const int64_t before = hone_mem_live;
        hone_train_result result;
        hone_error err = {0};
        hone_mem_fail_at = at;
        const hone_status st = hone_train_run(&result, &t.model, NULL, &c, &train, NULL, NULL, NULL, &err);
        done = hone_mem_fail_at >= 0;
        hone_mem_fail_at = -1;
        assert_int_equal(st, done ? HONE_OK : HONE_ERR_NOMEM);
        hone_adapter_free(result.adapter);
        assert_int_equal(hone_mem_live, before);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_run_learns_and_is_one_function_of_its_inputs),
        cmocka_unit_test(test_stopped_and_resumed),
        cmocka_unit_test(test_killed_at_any_moment_and_resumed),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
