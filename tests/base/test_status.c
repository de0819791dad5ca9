/* test_status.c - status.h: codes, positions, context put before a message. */
#include "test.h"

#include "base/status.h"

static void messages_gain_context(void **state) {
    (void)state;
    hone_error err;
    assert_int_equal(hone_fail_at(&err, HONE_ERR_FORMAT, 17, "bad byte %d", 3), HONE_ERR_FORMAT);
    assert_int_equal(err.position, 17);
    assert_int_equal(hone_fail_within(&err, HONE_ERR_IO, "file %s: ", "x"), HONE_ERR_FORMAT);
    assert_string_equal(err.message, "file x: bad byte 3");
    assert_int_equal(err.position, 17);
    assert_int_equal(hone_fail(&err, HONE_ERR_ARG, "no"), HONE_ERR_ARG);
    assert_int_equal(err.position, HONE_NO_POSITION);
    assert_int_equal(hone_fail(NULL, HONE_ERR_BUSY, "nobody listens"), HONE_ERR_BUSY);
    assert_int_equal(hone_fail_within(NULL, HONE_ERR_IO, "x"), HONE_ERR_IO);
}

static void long_messages_are_cut_not_overrun(void **state) {
    (void)state;
    char text[2000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    hone_error err;
    hone_fail(&err, HONE_ERR_ARG, "%s", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    hone_fail_within(&err, HONE_ERR_ARG, "%s: ", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
}

static void every_code_has_its_text(void **state) {
    (void)state;
    for (int a = HONE_ERR_INTERNAL; a <= HONE_OK; a++) {
        assert_true(strlen(hone_status_text((hone_status)a)) > 1);
        for (int b = HONE_ERR_INTERNAL; b < a; b++)
            assert_string_not_equal(hone_status_text((hone_status)a), hone_status_text((hone_status)b));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_gain_context),
        cmocka_unit_test(long_messages_are_cut_not_overrun),
        cmocka_unit_test(every_code_has_its_text),
    };
    return cmocka_run_group_tests_name("base status", tests, NULL, NULL);
}
