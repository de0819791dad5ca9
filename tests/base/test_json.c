/* test_json.c - json.h: duplicates refused, positions given, getters with ranges. */
#include "test.h"

#include "base/json.h"
#include "base/mem.h"

static json_t *parse(const char *text, hone_error *err) {
    return hone_json_parse(text, strlen(text), err);
}

static void values_of_any_type_and_nothing_behind(void **state) {
    (void)state;
    static const char *const good[] = {"1", "\"x\"", "null", "[]", "{\"a\":{\"a\":1}}", " true ", "\"\\u0000\""};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        json_t *v = parse(good[i], NULL);
        assert_non_null(v);
        json_decref(v);
    }
    static const char *const bad[] = {"",   "{",   "{\"a\":1,\"a\":2}", "1 2", "[1,]", "NaN", "\"\xff\"", "{'a':1}",
                                      "01", "[1}", "\"\\ud800\""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        hone_error err = {0};
        assert_null(parse(bad[i], &err));
        assert_int_equal(err.code, HONE_ERR_FORMAT);
        assert_non_null(strstr(err.message, "line 1"));
    }
    hone_error err = {0};
    assert_null(parse("{\"a\": 1,\n \"b\": x}", &err));
    assert_non_null(strstr(err.message, "line 2"));
    assert_in_range(err.position, 10, 17);
}

/* Depth comes from outside and costs stack: a reader without a limit would be killed by it. */
static void depth_is_bounded(void **state) {
    (void)state;
    hone_buf b = {0};
    for (int i = 0; i < 100000; i++) hone_buf_char(&b, '[');
    hone_error err = {0};
    assert_null(hone_json_parse(b.data, b.n, &err));
    assert_int_equal(err.code, HONE_ERR_FORMAT);
    hone_buf_free(&b);
}

static void getters_check_type_and_range(void **state) {
    (void)state;
    json_t *o = parse("{\"s\":\"x\",\"n\":5,\"r\":0.5,\"b\":true,\"z\":null}", NULL);
    hone_error err;
    const char *s;
    int64_t n;
    double r;
    bool b;
    assert_int_equal(hone_json_get_string(o, "s", &s, "d", &err), HONE_OK);
    assert_string_equal(s, "x");
    assert_int_equal(hone_json_get_string(o, "z", &s, "d", &err), HONE_OK);
    assert_string_equal(s, "d");
    assert_int_equal(hone_json_get_string(o, "n", &s, "d", &err), HONE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "'n'"));
    assert_int_equal(hone_json_get_int(o, "n", 0, 5, &n, 1, &err), HONE_OK);
    assert_int_equal(n, 5);
    assert_int_equal(hone_json_get_int(o, "n", 0, 4, &n, 1, &err), HONE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "between 0 and 4"));
    assert_int_equal(hone_json_get_int(o, "r", 0, 4, &n, 1, &err), HONE_ERR_FORMAT);
    assert_int_equal(hone_json_get_int(o, "absent", 0, 4, &n, 9, &err), HONE_OK);
    assert_int_equal(n, 9);
    assert_int_equal(hone_json_get_real(o, "n", &r, 0, &err), HONE_OK);
    assert_true(r == 5);
    assert_int_equal(hone_json_get_real(o, "b", &r, 0, &err), HONE_ERR_FORMAT);
    assert_int_equal(hone_json_get_bool(o, "b", &b, false, &err), HONE_OK);
    assert_true(b);
    assert_int_equal(hone_json_get_bool(o, "n", &b, false, &err), HONE_ERR_FORMAT);
    json_decref(o);
}

static void writing_keeps_order_and_every_failed_allocation_is_survived(void **state) {
    (void)state;
    const char *text = "{\"b\":[1,2.5,\"\\u00e4\"],\"a\":null}";
    for (int at = 0, done = 0; !done; at++) {
        hone_mem_fail_at = at;
        json_t *v = parse(text, NULL);
        hone_buf b = {0};
        done = v && hone_json_write(v, &b);
        hone_mem_fail_at = -1;
        if (done) assert_string_equal(b.data, "{\"b\":[1,2.5,\"\xc3\xa4\"],\"a\":null}");
        hone_buf_free(&b);
        json_decref(v);
        assert_int_equal(hone_mem_live, 0);
    }
}

static int init(void **state) {
    (void)state;
    hone_json_init();
    return 0;
}

/* jansson's lexer writes past buffers when it goes on without memory: parsing must end at the first failure. */
static void parsing_survives_every_failed_allocation(void **state) {
    (void)state;
    static const char text[] = "{\"a long name that makes the lexer's buffer grow\": [1, 2.5, -3e10, true, null, "
                               "\"text with \\\"escapes\\\" \\u00e4 and more than thirty-two bytes of it\"], "
                               "\"b\": {\"c\": {\"d\": [[[\"deep\"]]]}, \"e\": \"\"}}";
    const int64_t live = hone_mem_live;
    json_t *whole = hone_json_parse(text, sizeof(text) - 1, NULL), *value = NULL;
    assert_non_null(whole);
    const int64_t with_whole = hone_mem_live;
    for (int64_t i = 0; !value; i++) {
        hone_error err = {0};
        hone_mem_fail_at = i;
        value = hone_json_parse(text, sizeof(text) - 1, &err);
        hone_mem_fail_at = -1;
        if (value) break;
        assert_int_equal(err.code, HONE_ERR_NOMEM);
        assert_int_equal(hone_mem_live, with_whole);
    }
    assert_true(json_equal(value, whole));
    json_decref(value);
    json_decref(whole);
    assert_int_equal(hone_mem_live, live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parsing_survives_every_failed_allocation),
        cmocka_unit_test(values_of_any_type_and_nothing_behind),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(getters_check_type_and_range),
        cmocka_unit_test(writing_keeps_order_and_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests_name("base json", tests, init, NULL);
}
