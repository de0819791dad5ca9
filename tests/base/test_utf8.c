/* test_utf8.c - utf8.h: RFC 3629 to the letter. */
#include "test.h"

#include "base/utf8.h"

static void every_code_point_survives(void **state) {
    (void)state;
    for (uint32_t code = 0; code <= 0x110005; code++) {
        char bytes[4];
        const size_t n = hone_utf8_encode(code, bytes);
        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
            assert_int_equal(n, 0);
            continue;
        }
        uint32_t back = 0;
        assert_int_equal(hone_utf8_decode(bytes, n, &back), n);
        assert_int_equal(back, code);
        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(hone_utf8_decode(bytes, cut, &back), 0);
            assert_int_equal(hone_utf8_complete(bytes, cut), 0); /* more bytes may complete it */
        }
        assert_int_equal(hone_utf8_complete(bytes, n), n);
    }
}

static void what_is_no_utf8_is_found(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n, valid;
    } cases[] = {
        {"abc", 3, 3},
        {"a\x80", 2, 1},            /* a continuation that continues nothing */
        {"\xc0\xaf", 2, 0},         /* overlong / */
        {"\xc1\xbf", 2, 0},         /* overlong */
        {"\xe0\x9f\xbf", 3, 0},     /* overlong, three bytes */
        {"\xf0\x8f\xbf\xbf", 4, 0}, /* overlong, four bytes */
        {"\xed\xa0\x80", 3, 0},     /* a surrogate */
        {"\xf4\x90\x80\x80", 4, 0}, /* over U+10FFFF */
        {"\xf5\x80\x80\x80", 4, 0}, /* a lead that leads nothing */
        {"x\xe2\x82", 3, 1},        /* cut off */
        {"\xe2\x28\xa1", 3, 0},     /* a wrong second byte */
        {"ok\xf0\x9f\x98\x80"
         "z",
         7, 7}, /* four bytes and more */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(hone_utf8_valid(cases[i].bytes, cases[i].n), cases[i].valid);
}

/* A streaming writer holds back only what later bytes could still make whole. */
static void complete_holds_back_only_the_possible(void **state) {
    (void)state;
    assert_int_equal(hone_utf8_complete("", 0), 0);
    assert_int_equal(hone_utf8_complete("a\xf0\x9f\x98", 4), 1);
    assert_int_equal(hone_utf8_complete("a\xe0", 2), 1);
    assert_int_equal(hone_utf8_complete("a\xe0\x80", 3), 3); /* overlong: nothing completes it */
    assert_int_equal(hone_utf8_complete("a\xff", 2), 2);
    assert_int_equal(hone_utf8_complete("\x80\x80\x80\x80", 4), 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_survives),
        cmocka_unit_test(what_is_no_utf8_is_found),
        cmocka_unit_test(complete_holds_back_only_the_possible),
    };
    return cmocka_run_group_tests_name("base utf8", tests, NULL, NULL);
}
