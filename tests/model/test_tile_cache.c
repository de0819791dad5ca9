/* test_tile_cache.c - the digest that stat vouches for, and what makes it void. */
#include "test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "fixture.h"
#include "model/tile_cache.h"

/* Digests of files that changed a moment ago are not kept: their times could stay the same. */
static void let_it_settle(void) {
    usleep(3100000);
}

static uint32_t count(const char *folder, const char *ending) {
    char command[600], line[32] = "";
    snprintf(command, sizeof(command), "ls '%s' | grep -c '%s$'", folder, ending);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    pclose(f);
    return (uint32_t)atoi(line);
}

static void test_found_again_without_reading(void **state) {
    (void)state;
    fixture_spec s = fixture_default();
    char *dir = fixture_folder();
    const char *folder = fixture_path(dir, "tile"), *model = fixture_path(dir, "m.gguf");
    char *one = NULL, *two = NULL;
    hone_error err = {0};
    assert_true(fixture_write_gguf(model, &s));
    assert_null(hone_tile_cache_find(model, folder, HONE_PRECISION_SERVING));
    assert_int_equal(hone_tile_cache_get(model, folder, HONE_PRECISION_SERVING, &one, &err), HONE_OK);
    assert_int_equal(count(folder, "digest"), 0); /* too young */
    assert_null(hone_tile_cache_find(model, folder, HONE_PRECISION_SERVING));
    let_it_settle();
    assert_int_equal(hone_tile_cache_get(model, folder, HONE_PRECISION_SERVING, &two, &err), HONE_OK);
    assert_string_equal(one, two);
    hone_free(two);
    assert_int_equal(count(folder, "digest"), 1);
    two = hone_tile_cache_find(model, folder, HONE_PRECISION_SERVING);
    assert_non_null(two);
    assert_string_equal(one, two);
    hone_free(two);
    assert_null(hone_tile_cache_find(model, folder, HONE_PRECISION_F32)); /* other tiles, not laid */

    /* Another weight in a file of the same size. */
    s.seed++;
    struct stat before, after;
    stat(model, &before);
    assert_true(fixture_write_gguf(model, &s));
    stat(model, &after);
    assert_true(before.st_size == after.st_size);
    assert_null(hone_tile_cache_find(model, folder, HONE_PRECISION_SERVING));
    assert_int_equal(hone_tile_cache_get(model, folder, HONE_PRECISION_SERVING, &two, &err), HONE_OK);
    assert_string_not_equal(one, two);
    hone_free(one);
    hone_free(two);
    fixture_remove(dir);
}

/* What stands in the folder is ours, but a disk may fail: nonsense is read as nothing. */
static void test_a_broken_digest_is_made_again(void **state) {
    (void)state;
    const fixture_spec s = fixture_default();
    char *dir = fixture_folder(), *path = NULL, *again = NULL;
    const char *folder = fixture_path(dir, "tile"), *model = fixture_path(dir, "model");
    hone_error err = {0};
    assert_int_equal(mkdir(model, 0700), 0);
    assert_true(fixture_write_folder(model, &s, 2));
    let_it_settle();
    assert_int_equal(hone_tile_cache_get(model, folder, HONE_PRECISION_F32, &path, &err), HONE_OK);
    again = hone_tile_cache_find(model, folder, HONE_PRECISION_F32);
    assert_non_null(again);
    hone_free(again);
    char command[600];
    snprintf(command, sizeof(command), "for f in '%s'/*.digest; do echo nonsense >$f; done", folder);
    assert_int_equal(system(command), 0);
    assert_null(hone_tile_cache_find(model, folder, HONE_PRECISION_F32));
    assert_int_equal(hone_tile_cache_get(model, folder, HONE_PRECISION_F32, &again, &err), HONE_OK);
    assert_string_equal(path, again);
    hone_free(again);
    again = hone_tile_cache_find(model, folder, HONE_PRECISION_F32);
    assert_non_null(again);
    hone_free(again);
    /* Cut tiles count as absent. */
    assert_int_equal(truncate(path, 100), 0);
    assert_null(hone_tile_cache_find(model, folder, HONE_PRECISION_F32));
    hone_free(path);
    fixture_remove(dir);
}

static void test_opened_either_way(void **state) {
    (void)state;
    const fixture_spec s = fixture_default();
    char *dir = fixture_folder();
    const char *folder = fixture_path(dir, "tile"), *model = fixture_path(dir, "m.gguf");
    hone_model *a = NULL, *b = NULL;
    hone_error err = {0};
    assert_true(fixture_write_gguf(model, &s));
    assert_int_equal(hone_tile_cache_open(&a, model, NULL, HONE_PRECISION_SERVING, NULL, &err), HONE_OK);
    assert_int_equal(hone_tile_cache_open(&b, model, folder, HONE_PRECISION_SERVING, NULL, &err), HONE_OK);
    assert_int_equal(count(folder, "tiles"), 1);
    assert_string_equal(a->digest, b->digest);
    hone_model_close(a);
    hone_model_close(b);
    assert_int_equal(hone_tile_cache_open(&a, "/nowhere/at/all", folder, HONE_PRECISION_SERVING, NULL, &err),
                     HONE_ERR_NOT_FOUND);
    assert_null(a);
    fixture_remove(dir);
}

int main(void) {
    hone_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_again_without_reading),
        cmocka_unit_test(test_a_broken_digest_is_made_again),
        cmocka_unit_test(test_opened_either_way),
    };
    return cmocka_run_group_tests_name("model/tile_cache", tests, NULL, NULL);
}
