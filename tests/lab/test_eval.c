/* test_eval.c - eval.h: rows of an evaluation, and their faults with line numbers.  The run itself is tested where an
 * engine is: tests/cli. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "lab/eval.h"

static char path[] = "/tmp/hone-test-eval-XXXXXX";

static int make_file(void **state) {
    (void)state;
    const int fd = mkstemp(path);
    if (fd >= 0) close(fd);
    return fd >= 0 ? 0 : -1;
}
static int drop_file(void **state) {
    (void)state;
    return unlink(path);
}

static hone_status load(hone_eval_data *data, const char *text, hone_error *err) {
    *data = (hone_eval_data){0};
    assert_int_equal(hone_file_write_atomic(path, text, strlen(text), NULL), HONE_OK);
    return hone_eval_load(data, path, err);
}

static void questions_and_references(void **state) {
    (void)state;
    hone_eval_data d;
    hone_error err;
    assert_int_equal(
        load(&d,
             "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"q\"},"
             "{\"role\":\"assistant\",\"content\":\"a\"}]}\r\n"
             "\n  \n"
             "{\"prompt\":\"p\",\"completion\":\"c\"}",
             &err),
        HONE_OK);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.row[0].reference, "a");
    assert_int_equal(json_array_size(d.row[0].input), 2);
    assert_string_equal(d.row[1].prompt, "p");
    assert_string_equal(d.row[1].reference, "c");
    assert_int_equal(d.row[1].line, 4);
    hone_eval_free(&d);
    assert_int_equal(hone_mem_live, 0);
}

static void faults_name_the_line(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":null}]}",
        "{\"messages\":\"x\"}",
        "{\"prompt\":\"p\"}",
        "{\"prompt\":1,\"completion\":\"c\"}",
        "[1]",
        "{broken",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        hone_buf text = {0};
        hone_buf_format(&text, "{\"prompt\":\"p\",\"completion\":\"c\"}\n\n%s\n", bad[i]);
        hone_eval_data d;
        hone_error err = {0};
        assert_int_equal(load(&d, text.data, &err), HONE_ERR_FORMAT);
        assert_int_equal(err.position, 3);
        assert_non_null(strstr(err.message, "line 3: "));
        hone_eval_free(&d);
        hone_buf_free(&text);
    }
    hone_eval_data d;
    hone_error err;
    assert_int_equal(load(&d, "\n\n", &err), HONE_ERR_FORMAT);
    assert_int_equal(hone_eval_load(&d, "/nonexistent", &err), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_mem_live, 0);
}

static void grading_goes_row_by_row(void **state) {
    (void)state;
    hone_eval_data d;
    assert_int_equal(
        load(&d, "{\"prompt\":\"p\",\"completion\":\"cook\"}\n{\"prompt\":\"p\",\"completion\":\"head chef\"}\n", NULL),
        HONE_OK);
    hone_grader g;
    hone_grader_parse(&g, "token_f1+lower+stop", NULL);
    char *answers[] = {"Cook.", "head"};
    double score[2];
    assert_int_equal(hone_eval_grade(score, &d, answers, &g, NULL), HONE_OK);
    assert_true(score[0] == 1 && score[1] > 0.66 && score[1] < 0.67);
    hone_eval_free(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_and_references),
        cmocka_unit_test(faults_name_the_line),
        cmocka_unit_test(grading_goes_row_by_row),
    };
    return cmocka_run_group_tests_name("lab eval", tests, make_file, drop_file);
}
