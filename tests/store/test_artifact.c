/* test_artifact.c - immutable files: there whole or not at all. */
#include "folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <utime.h>

#include "base/mem.h"
#include "store/artifact.h"

static const char abc[] =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; /* SHA-256 of "abc", FIPS 180-2 */

static hone_artifacts *open_store(folder *f) {
    hone_artifacts *store;
    hone_error err;
    if (hone_artifacts_open(&store, f->path, &err) != HONE_OK) fail_msg("%s", err.message);
    return store;
}

static int count_in(const char *path) {
    DIR *dir = opendir(path);
    int n = 0;
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void test_what_goes_in_comes_out(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_artifacts *store = open_store(&f);
    char digest[HONE_DIGEST_TEXT];
    uint64_t bytes;
    int fd;
    struct stat st;
    assert_int_equal(hone_artifact_add_bytes(store, "abc", 3, digest, NULL), HONE_OK);
    assert_string_equal(digest, abc);
    assert_int_equal(hone_artifact_add_bytes(store, "abc", 3, digest, NULL), HONE_OK); /* again: one file */
    assert_int_equal(count_in(folder_at(&f, "ba")), 1);
    assert_int_equal(count_in(folder_at(&f, "tmp")), 0);
    assert_int_equal(hone_artifact_open(store, abc, &fd, &bytes, NULL), HONE_OK);
    assert_int_equal(bytes, 3);
    char text[4] = {0};
    assert_int_equal(read(fd, text, 4), 3);
    assert_string_equal(text, "abc");
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
    assert_int_equal(hone_artifact_verify(store, abc, NULL), HONE_OK);
    /* A file, an empty one, what is none. */
    assert_int_equal(hone_artifact_add_path(store, "/proc/self/exe", digest, &bytes, NULL), HONE_OK);
    assert_int_equal(hone_artifact_verify(store, digest, NULL), HONE_OK);
    assert_int_equal(stat("/proc/self/exe", &st), 0);
    assert_int_equal(bytes, st.st_size);
    assert_int_equal(hone_artifact_add_bytes(store, NULL, 0, digest, NULL), HONE_OK);
    assert_string_equal(digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(hone_artifact_add_path(store, "/nonexistent", digest, NULL, NULL), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_artifact_add_path(store, f.path, digest, NULL, NULL), HONE_ERR_ARG);
    assert_int_equal(mkfifo(folder_at(&f, "fifo"), 0600), 0);
    assert_int_equal(hone_artifact_add_path(store, f.at, digest, NULL, NULL), HONE_ERR_ARG);
    /* Names that are no digest reach no file. */
    static const char *const bad[] = {"", "abc", "../../../../etc/passwd",
                                      "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", NULL};
    for (int i = 0; i < 5; i++) {
        assert_false(hone_digest_is_valid(bad[i]));
        assert_null(hone_artifact_path(store, bad[i]));
        assert_int_equal(hone_artifact_open(store, bad[i], &fd, NULL, NULL), HONE_ERR_ARG);
        assert_int_equal(hone_artifact_delete(store, bad[i], NULL), HONE_ERR_ARG);
    }
    close(fd);
    assert_int_equal(hone_artifact_delete(store, abc, NULL), HONE_OK);
    assert_int_equal(hone_artifact_delete(store, abc, NULL), HONE_OK);
    assert_int_equal(hone_artifact_open(store, abc, &fd, NULL, NULL), HONE_ERR_NOT_FOUND);
    hone_artifacts_close(store);
    folder_remove(&f);
}

static void test_a_stream_is_checked_and_can_be_abandoned(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_artifacts *store = open_store(&f);
    hone_artifact_writer *w;
    char digest[HONE_DIGEST_TEXT];
    hone_error err;
    assert_int_equal(hone_artifact_begin(store, &w, NULL), HONE_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(hone_artifact_write(w, &"abc"[i], 1, NULL), HONE_OK);
    assert_int_equal(hone_artifact_written(w), 3);
    assert_false(hone_artifact_exists(store, abc));
    assert_int_equal(hone_artifact_finish(w, abc, digest, NULL), HONE_OK);
    assert_true(hone_artifact_exists(store, abc));
    assert_int_equal(hone_artifact_begin(store, &w, NULL), HONE_OK);
    assert_int_equal(hone_artifact_write(w, "abd", 3, NULL), HONE_OK);
    assert_int_equal(hone_artifact_finish(w, abc, digest, &err), HONE_ERR_FORMAT);
    assert_non_null(strstr(err.message, abc));
    assert_false(hone_artifact_exists(store, digest));
    assert_int_equal(hone_artifact_begin(store, &w, NULL), HONE_OK);
    assert_int_equal(hone_artifact_write(w, "xyz", 3, NULL), HONE_OK);
    hone_artifact_abandon(w);
    assert_int_equal(count_in(folder_at(&f, "tmp")), 0);
    /* Bytes that changed on the disk are noticed. */
    char *path = hone_artifact_path(store, abc);
    chmod(path, 0600);
    FILE *file = fopen(path, "w");
    fputs("abd", file);
    fclose(file);
    assert_int_equal(hone_artifact_verify(store, abc, &err), HONE_ERR_FORMAT);
    hone_free(path);
    hone_artifacts_close(store);
    folder_remove(&f);
}

static void test_what_dead_writers_left_is_swept_and_living_ones_are_not_disturbed(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_artifacts *store = open_store(&f);
    uint32_t n;
    const pid_t pid = fork();
    if (pid == 0) {
        hone_artifact_writer *w;
        if (hone_artifact_begin(store, &w, NULL) != HONE_OK || hone_artifact_write(w, "half", 4, NULL) != HONE_OK)
            _exit(1);
        _exit(0); /* as if killed: nothing is tidied */
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    hone_artifact_writer *alive;
    char digest[HONE_DIGEST_TEXT];
    assert_int_equal(hone_artifact_begin(store, &alive, NULL), HONE_OK);
    assert_int_equal(hone_artifact_write(alive, "abc", 3, NULL), HONE_OK);
    assert_int_equal(count_in(folder_at(&f, "tmp")), 2);
    assert_int_equal(hone_artifacts_sweep(store, &n, NULL), HONE_OK);
    assert_int_equal(n, 1);
    assert_int_equal(hone_artifact_finish(alive, NULL, digest, NULL), HONE_OK);
    assert_string_equal(digest, abc);
    assert_int_equal(count_in(folder_at(&f, "tmp")), 0);
    /* One that bears a living pid but is old and unlocked (a pid that was used again). */
    char name[64];
    snprintf(name, sizeof(name), "tmp/%d-0-0", (int)getpid());
    close(open(folder_at(&f, name), O_CREAT | O_WRONLY, 0600));
    assert_int_equal(hone_artifacts_sweep(store, &n, NULL), HONE_OK);
    assert_int_equal(n, 0);
    const struct utimbuf old = {time(NULL) - 1000, time(NULL) - 1000};
    utime(folder_at(&f, name), &old);
    assert_int_equal(hone_artifacts_sweep(store, &n, NULL), HONE_OK);
    assert_int_equal(n, 1);
    hone_artifacts_close(store);
    folder_remove(&f);
}

static void test_a_full_disk_leaves_nothing(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_artifacts *store = open_store(&f);
    static char large[200000];
    folder source;
    folder_make(&source);
    assert_int_equal(hone_file_write_atomic(folder_at(&source, "large"), large, sizeof(large), NULL), HONE_OK);
    const pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit limit = {100000, 100000};
        hone_artifact_writer *w;
        hone_error err = {0};
        char digest[HONE_DIGEST_TEXT];
        static char block[70000];
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(1);
        if (hone_artifact_begin(store, &w, &err) != HONE_OK) _exit(2);
        if (hone_artifact_write(w, block, sizeof(block), &err) != HONE_OK) _exit(3);
        if (hone_artifact_write(w, block, sizeof(block), &err) != HONE_ERR_FULL) _exit(4);
        hone_artifact_abandon(w);
        if (hone_artifact_add_path(store, folder_at(&source, "large"), digest, NULL, &err) != HONE_ERR_FULL) {
            fprintf(stderr, "%s\n", err.message);
            _exit(5);
        }
        if (hone_artifact_add_bytes(store, "abc", 3, digest, &err) != HONE_OK) _exit(6); /* small ones still go */
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(count_in(folder_at(&f, "tmp")), 0);
    assert_int_equal(count_in(f.path), 2); /* tmp and ba */
    hone_artifacts_close(store);
    folder_remove(&source);
    folder_remove(&f);
}

static hone_status note_one(void *arg, const char *digest, hone_error *err) {
    (void)err;
    strcat(arg, digest);
    return HONE_OK;
}

static void test_walking(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_artifacts *store = open_store(&f);
    char digest[HONE_DIGEST_TEXT], seen[200] = "";
    assert_int_equal(hone_artifact_add_bytes(store, "abc", 3, digest, NULL), HONE_OK);
    close(open(folder_at(&f, "ba/stray"), O_CREAT | O_WRONLY, 0600));
    assert_int_equal(hone_artifacts_each(store, 0, note_one, seen, NULL), HONE_OK);
    assert_string_equal(seen, abc);
    seen[0] = 0;
    assert_int_equal(hone_artifacts_each(store, 3600, note_one, seen, NULL), HONE_OK);
    assert_string_equal(seen, "");
    hone_artifacts_close(store);
    folder_remove(&f);
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    for (int64_t fail_at = 0, done = 0; !done; fail_at++) {
        const int64_t live = hone_mem_live;
        hone_artifacts *store = NULL;
        char digest[HONE_DIGEST_TEXT];
        int fd = -1;
        hone_mem_fail_at = fail_at;
        hone_status status = hone_artifacts_open(&store, f.path, NULL);
        if (status == HONE_OK) status = hone_artifact_add_bytes(store, "abc", 3, digest, NULL);
        if (status == HONE_OK) status = hone_artifact_add_path(store, "/proc/self/status", digest, NULL, NULL);
        if (status == HONE_OK) status = hone_artifact_open(store, abc, &fd, NULL, NULL);
        if (status == HONE_OK) status = hone_artifact_delete(store, abc, NULL);
        hone_mem_fail_at = -1;
        done = status == HONE_OK;
        if (fd >= 0) close(fd);
        if (store) assert_int_equal(count_in(folder_at(&f, "tmp")), 0);
        hone_artifacts_close(store);
        assert_int_equal(hone_mem_live, live);
    }
    folder_remove(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_goes_in_comes_out),
        cmocka_unit_test(test_a_stream_is_checked_and_can_be_abandoned),
        cmocka_unit_test(test_what_dead_writers_left_is_swept_and_living_ones_are_not_disturbed),
        cmocka_unit_test(test_a_full_disk_leaves_nothing),
        cmocka_unit_test(test_walking),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
