/* test_home.c - the state folder and who holds it. */
#include "folder.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "store/home.h"

static void test_a_folder_is_made_with_its_parts(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_home *home;
    struct stat st;
    assert_int_equal(hone_home_open(&home, folder_at(&f, "deep/er"), HONE_HOME_GUEST, NULL), HONE_OK);
    assert_int_equal(stat(hone_home_artifacts(home), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(hone_home_journal(home), &st), 0);
    assert_int_equal(stat(hone_home_run(home), &st), 0);
    assert_int_equal(hone_home_path(home)[0], '/');
    assert_int_equal(hone_home_controller(home), 0);
    hone_home_close(home);
    /* A relative path, and the environment. */
    assert_int_equal(chdir(f.path), 0);
    assert_int_equal(hone_home_open(&home, "deep/../deep/er", HONE_HOME_GUEST, NULL), HONE_OK);
    assert_string_equal(hone_home_path(home), folder_at(&f, "deep/er"));
    hone_home_close(home);
    setenv("HONE_HOME", folder_at(&f, "from-env"), 1);
    assert_int_equal(hone_home_open(&home, NULL, HONE_HOME_GUEST, NULL), HONE_OK);
    assert_string_equal(hone_home_path(home), folder_at(&f, "from-env"));
    hone_home_close(home);
    unsetenv("HONE_HOME");
    setenv("HOME", f.path, 1);
    assert_int_equal(hone_home_open(&home, NULL, HONE_HOME_GUEST, NULL), HONE_OK);
    assert_string_equal(hone_home_path(home), folder_at(&f, ".local/share/hone"));
    hone_home_close(home);
    unsetenv("HOME");
    hone_error err;
    assert_int_equal(hone_home_open(&home, NULL, HONE_HOME_GUEST, &err), HONE_ERR_ARG);
    assert_null(home);
    assert_int_equal(chdir("/"), 0);
    /* Where no folder can be. */
    FILE *file = fopen(folder_at(&f, "file"), "w");
    fclose(file);
    assert_int_not_equal(hone_home_open(&home, folder_at(&f, "file/home"), HONE_HOME_GUEST, &err), HONE_OK);
    folder_remove(&f);
}

static void test_a_second_controller_is_refused_with_the_pid(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        hone_home *home;
        if (hone_home_open(&home, f.path, HONE_HOME_CONTROLLER, NULL) != HONE_OK) _exit(1);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    hone_home *home, *guest;
    hone_error err;
    char text[32];
    snprintf(text, sizeof(text), "pid %d", (int)pid);
    assert_int_equal(hone_home_open(&home, f.path, HONE_HOME_CONTROLLER, &err), HONE_ERR_BUSY);
    assert_non_null(strstr(err.message, text));
    assert_null(home);
    assert_int_equal(hone_home_open(&guest, f.path, HONE_HOME_GUEST, &err), HONE_OK); /* guests may */
    assert_int_equal(hone_home_controller(guest), pid);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(hone_home_controller(guest), 0);
    assert_int_equal(hone_home_open(&home, f.path, HONE_HOME_CONTROLLER, &err), HONE_OK); /* no leftover lock */
    assert_int_equal(hone_home_controller(guest), getpid());
    hone_home *again;
    assert_int_equal(hone_home_open(&again, f.path, HONE_HOME_CONTROLLER, &err),
                     HONE_ERR_BUSY); /* nor by the same process */
    hone_home_close(home);
    hone_home_close(guest);
    close(ready[0]);
    close(ready[1]);
    folder_remove(&f);
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    for (int64_t fail_at = 0, done = 0; !done; fail_at++) {
        const int64_t live = hone_mem_live;
        hone_home *home;
        hone_mem_fail_at = fail_at;
        done = hone_home_open(&home, f.path, HONE_HOME_CONTROLLER, NULL) == HONE_OK;
        hone_mem_fail_at = -1;
        hone_home_close(home);
        assert_int_equal(hone_mem_live, live);
    }
    folder_remove(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_folder_is_made_with_its_parts),
        cmocka_unit_test(test_a_second_controller_is_refused_with_the_pid),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
