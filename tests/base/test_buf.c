/* test_buf.c - buf.h: growth, sticky errors, limits, the JSON string writer against jansson. */
#include "test.h"

#include <jansson.h>

#include "base/buf.h"
#include "base/mem.h"

static void appends_and_terminates(void **state) {
    (void)state;
    hone_buf b = {0};
    assert_string_equal(hone_buf_str(&b), "");
    for (int i = 0; i < 1000; i++) assert_true(hone_buf_format(&b, "%d,", i));
    assert_int_equal(b.n, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(b.data[b.n], 0);
    hone_buf_clear(&b);
    assert_true(hone_buf_text(&b, "ab") && hone_buf_char(&b, 'c') && hone_buf_add(&b, "d\0e", 3));
    assert_int_equal(b.n, 6);
    size_t n = 0;
    char *taken = hone_buf_take(&b, &n);
    assert_memory_equal(taken, "abcd\0e", 7);
    assert_int_equal(n, 6);
    assert_null(b.data);
    hone_free(taken);
}

static void an_error_sticks_and_keeps_what_was_there(void **state) {
    (void)state;
    hone_buf b = {.limit = 4};
    assert_true(hone_buf_text(&b, "1234"));
    assert_false(hone_buf_char(&b, '5'));
    assert_false(hone_buf_text(&b, ""));
    assert_string_equal(b.data, "1234");
    assert_null(hone_buf_take(&b, NULL));

    hone_buf c = {0};
    assert_true(hone_buf_text(&c, "kept"));
    hone_mem_fail_at = 0;
    char big[500] = {0};
    assert_false(hone_buf_add(&c, big, sizeof(big)));
    hone_mem_fail_at = -1;
    assert_string_equal(hone_buf_str(&c), "kept");
    assert_false(hone_buf_text(&c, "no"));
    hone_buf_clear(&c);
    assert_true(hone_buf_text(&c, "yes"));
    assert_false(hone_buf_reserve(&c, SIZE_MAX));
    hone_buf_free(&c);
    assert_int_equal(hone_mem_live, 0);
}

/* Every byte, and every pair of bytes, comes back through another reader as what it was, or as U+FFFD. */
static void json_strings_are_what_jansson_reads(void **state) {
    (void)state;
    for (int first = 0; first < 256; first++) {
        for (int second = 0; second < 256; second++) {
            const char text[3] = {(char)first, (char)second, 'x'};
            hone_buf b = {0};
            assert_true(hone_buf_json_string(&b, text, 3));
            json_t *v = json_loadb(b.data, b.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            assert_non_null(v);
            json_t *direct = json_stringn(text, 3); /* NULL where the bytes are no UTF-8 */
            if (direct)
                assert_true(json_equal(v, direct));
            else
                assert_non_null(strstr(json_string_value(v) + (first == 0), "\xef\xbf\xbd"));
            json_decref(v);
            json_decref(direct);
            hone_buf_free(&b);
        }
    }
}

static void json_escapes_are_the_short_ones(void **state) {
    (void)state;
    hone_buf b = {0};
    hone_buf_json_string(&b, "\"\\\b\f\n\r\t\x01/\xc3\xa9", 11);
    assert_string_equal(b.data, "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001/\xc3\xa9\"");
    hone_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_and_terminates),
        cmocka_unit_test(an_error_sticks_and_keeps_what_was_there),
        cmocka_unit_test(json_strings_are_what_jansson_reads),
        cmocka_unit_test(json_escapes_are_the_short_ones),
    };
    return cmocka_run_group_tests_name("base buf", tests, NULL, NULL);
}
