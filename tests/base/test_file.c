/* test_file.c - file.h: whole files, digests with known answers, errors that name the file. */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

static char folder[] = "/tmp/hone-test-file-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}
static int drop_folder(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}
static const char *in_folder(const char *name) {
    static char path[200];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void a_file_is_written_whole_and_read_back(void **state) {
    (void)state;
    const char *path = in_folder("a");
    char *bytes = hone_zalloc(300000, 1);
    for (int i = 0; i < 300000; i++) bytes[i] = (char)(i * 31);
    assert_int_equal(hone_file_write_atomic(path, "old", 3, NULL), HONE_OK);
    assert_int_equal(hone_file_write_atomic(path, bytes, 300000, NULL), HONE_OK);

    hone_buf read = {0};
    hone_buf_text(&read, "before");
    assert_int_equal(hone_file_read(path, &read, 0, NULL), HONE_OK);
    assert_int_equal(read.n, 300006);
    assert_memory_equal(read.data + 6, bytes, 300000);
    hone_map map;
    assert_int_equal(hone_map_path(&map, path, NULL), HONE_OK);
    assert_int_equal(map.bytes, 300000);
    assert_memory_equal(map.data, bytes, 300000);
    hone_map_close(&map);
    hone_error err;
    assert_int_equal(hone_file_read(path, &read, 299999, &err), HONE_ERR_LIMIT);
    hone_buf_free(&read);
    hone_free(bytes);
}

static void errors_name_the_file_and_leave_nothing(void **state) {
    (void)state;
    hone_error err;
    hone_buf b = {0};
    assert_int_equal(hone_file_read(in_folder("none"), &b, 0, &err), HONE_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "none"));
    hone_map map;
    assert_int_equal(hone_map_path(&map, folder, &err), HONE_ERR_ARG); /* a folder is no file */
    assert_null(map.data);
    assert_int_equal(hone_file_write_atomic(in_folder("no/such/folder"), "x", 1, &err), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_file_write_atomic(in_folder("empty"), NULL, 0, &err), HONE_OK);
    assert_int_equal(hone_map_path(&map, in_folder("empty"), &err), HONE_OK);
    assert_int_equal(map.bytes, 0);
    hone_map_close(&map);
    hone_buf_free(&b);
    assert_int_equal(hone_mem_live, 0);
}

static void digests_have_known_answers(void **state) {
    (void)state;
    char hex[HONE_DIGEST_TEXT];
    assert_int_equal(hone_digest_bytes("abc", 3, hex), HONE_OK); /* FIPS 180-4, example B.1 */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hone_digest_bytes("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    const char *path = in_folder("million");
    char *a = hone_zalloc(1000000, 1);
    memset(a, 'a', 1000000);
    assert_int_equal(hone_file_write_atomic(path, a, 1000000, NULL), HONE_OK);
    hone_free(a);
    uint64_t bytes = 0;
    assert_int_equal(hone_digest_file(path, hex, &bytes, NULL), HONE_OK); /* FIPS 180-4, example B.3 */
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    assert_int_equal(bytes, 1000000);
}

static void folders_are_made_private(void **state) {
    (void)state;
    const char *path = in_folder("x/y/z");
    assert_int_equal(hone_folder_make(path, NULL), HONE_OK);
    assert_int_equal(hone_folder_make(path, NULL), HONE_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    hone_file_write_atomic(in_folder("file"), "x", 1, NULL);
    hone_error err;
    assert_int_not_equal(hone_folder_make(in_folder("file/below"), &err), HONE_OK);
    char *joined = hone_path_join("a", "b");
    assert_string_equal(joined, "a/b");
    hone_free(joined);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_written_whole_and_read_back),
        cmocka_unit_test(errors_name_the_file_and_leave_nothing),
        cmocka_unit_test(digests_have_known_answers),
        cmocka_unit_test(folders_are_made_private),
    };
    return cmocka_run_group_tests_name("base file", tests, make_folder, drop_folder);
}
