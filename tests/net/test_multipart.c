/* test_multipart.c - forms cut at every byte give the same; broken ones are refused. */
#include "test.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/multipart.h"

static const char type[] = "multipart/form-data; boundary=\"XyZ\"";
static const char form[] =
    "--XyZ\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n"
    "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a/b\\\\c; d.jsonl\"\r\nContent-Type: "
    "text/plain\r\n\r\nline 1\r\n--XyZnot\r\n\r\n--Xy\r\n--XyZ--\r\n";
static const char content[] = "line 1\r\n--XyZnot\r\n\r\n--Xy";

static hone_status keep(void *arg, const void *bytes, size_t n, hone_error *err) {
    (void)err;
    return hone_buf_add(arg, bytes, n) ? HONE_OK : HONE_ERR_NOMEM;
}

static hone_status parse(const char *text, size_t n, size_t cut, hone_buf *file, hone_multipart **out) {
    if (hone_multipart_open(out, type, "file", keep, file, NULL) != HONE_OK) return HONE_ERR_NOMEM;
    hone_status status = hone_multipart_feed(*out, text, cut, NULL);
    if (status == HONE_OK) status = hone_multipart_feed(*out, text + cut, n - cut, NULL);
    if (status == HONE_OK) status = hone_multipart_finish(*out, NULL);
    return status;
}

/* "--XyZnot" is a boundary by its bytes: RFC 2046 wants the line to end behind it, so a strict parser refuses this
 * form. */
static void test_a_boundary_with_a_tail_is_refused(void **state) {
    (void)state;
    hone_multipart *m;
    hone_buf file = {0};
    assert_int_equal(parse(form, strlen(form), 10, &file, &m), HONE_ERR_FORMAT);
    hone_multipart_close(m);
    hone_buf_free(&file);
}

static void test_every_cut_gives_the_same(void **state) {
    (void)state;
    char good[sizeof(form)];
    memcpy(good, form, sizeof(form));
    memcpy(strstr(good, "--XyZnot"), "--Xy_not", 8);
    char wanted[sizeof(content)];
    memcpy(wanted, content, sizeof(content));
    memcpy(strstr(wanted, "--XyZnot"), "--Xy_not", 8);
    const size_t n = strlen(good);
    for (size_t cut = 0; cut <= n; cut++) {
        hone_multipart *m;
        hone_buf file = {0};
        assert_int_equal(parse(good, n, cut, &file, &m), HONE_OK);
        assert_string_equal(hone_multipart_field(m, "purpose"), "fine-tune");
        assert_string_equal(hone_multipart_filename(m), "c; d.jsonl");
        assert_string_equal(hone_buf_str(&file), wanted);
        assert_int_equal(hone_multipart_count(m), 2);
        assert_null(hone_multipart_field(m, "file"));
        hone_multipart_close(m);
        hone_buf_free(&file);
    }
    for (size_t end = 0; end < n - 4; end++) { /* cut off anywhere before the last boundary is whole */
        hone_multipart *m;
        hone_buf file = {0};
        assert_int_not_equal(parse(good, end, end / 2, &file, &m), HONE_OK);
        hone_multipart_close(m);
        hone_buf_free(&file);
    }
    assert_int_equal(hone_mem_live, 0);
}

static void test_limits(void **state) {
    (void)state;
    hone_buf b = {0}, file = {0};
    hone_multipart *m;
    for (int i = 0; i < 40; i++)
        hone_buf_format(&b, "--XyZ\r\nContent-Disposition: form-data; name=\"f%d\"\r\n\r\nx\r\n", i);
    hone_buf_text(&b, "--XyZ--\r\n");
    assert_int_equal(parse(b.data, b.n, 0, &file, &m), HONE_ERR_LIMIT);
    hone_multipart_close(m);
    hone_buf_clear(&b);
    hone_buf_text(&b, "--XyZ\r\nX: ");
    for (int i = 0; i < 10000; i++) hone_buf_char(&b, 'a');
    assert_int_equal(parse(b.data, b.n, 5000, &file, &m), HONE_ERR_LIMIT);
    hone_multipart_close(m);
    hone_buf_clear(&b);
    hone_buf_text(&b, "--XyZ\r\nContent-Disposition: form-data; name=\"big\"\r\n\r\n");
    for (int i = 0; i < 70000; i++) hone_buf_char(&b, 'a');
    assert_int_equal(parse(b.data, b.n, 5000, &file, &m), HONE_ERR_LIMIT);
    hone_multipart_close(m);
    hone_buf_free(&b);
    hone_buf_free(&file);
}

static void test_types_that_are_no_form(void **state) {
    (void)state;
    static const char *const bad[] = {
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"",
        "multipart/form-data; x=boundary=1",
        "multipart/mixed; boundary=a",
        "multipart/form-data; boundary=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        hone_multipart *m;
        assert_int_equal(hone_multipart_open(&m, bad[i], "file", keep, NULL, NULL), HONE_ERR_FORMAT);
        assert_null(m);
    }
    hone_multipart *m;
    assert_int_equal(hone_multipart_open(&m, "Multipart/Form-Data; charset=x; BOUNDARY=abc ", "file", keep, NULL, NULL),
                     HONE_OK);
    hone_multipart_close(m);
}

static void test_fields_that_are_no_text_and_parts_without_names(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } bad[] = {
#define FORM(text) {text, sizeof(text) - 1}
        FORM("--XyZ\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\0x\r\n--XyZ--\r\n"),
        FORM("--XyZ\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n\xff\r\n--XyZ--\r\n"),
        FORM("--XyZ\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\nx\r\n--XyZ--\r\n"),
        FORM("--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\xff\"\r\n\r\nx\r\n--XyZ--\r\n"),
        FORM("--XyZ\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XyZ--\r\n"),
        FORM("--XyZ\r\nX: y\r\n\r\nx\r\n--XyZ--\r\n"),
        FORM("--XyZ\r\n\r\nx\r\n--XyZ--\r\n"),
        FORM("--XyZ\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--XyZ\r\nContent-Disposition: form-data; "
             "name=a\r\n\r\ny\r\n--XyZ--"),
#undef FORM
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t cut = 0; cut <= bad[i].n; cut++) {
            hone_multipart *m;
            hone_buf file = {0};
            assert_int_equal(parse(bad[i].text, bad[i].n, cut, &file, &m), HONE_ERR_FORMAT);
            hone_multipart_close(m);
            hone_buf_free(&file);
        }
    }
    /* The bytes of a file are anything. */
    static const char binary[] = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n\0\xff\r\n--XyZ--";
    hone_multipart *m;
    hone_buf file = {0};
    assert_int_equal(parse(binary, sizeof(binary) - 1, 3, &file, &m), HONE_OK);
    assert_int_equal(file.n, 2);
    hone_multipart_close(m);
    hone_buf_free(&file);
    for (int64_t fail_at = 0, done = 0; !done; fail_at++) {
        hone_mem_fail_at = fail_at;
        m = NULL;
        const hone_status status = parse(binary, sizeof(binary) - 1, 3, &file, &m);
        hone_mem_fail_at = -1;
        done = status == HONE_OK;
        hone_multipart_close(m);
        hone_buf_free(&file);
        assert_int_equal(hone_mem_live, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut_gives_the_same),
        cmocka_unit_test(test_a_boundary_with_a_tail_is_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_types_that_are_no_form),
        cmocka_unit_test(test_fields_that_are_no_text_and_parts_without_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
