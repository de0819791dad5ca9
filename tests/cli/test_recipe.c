/* test_recipe.c - examples/hr/esco_titles.py on a few occupations: titles found, singular, masked; the split by hash.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "fixture.h"

static char *work;

static int make(void **state) {
    (void)state;
    work = fixture_folder();
    if (!work) return -1;
    setenv("W", work, 1);
    setenv("RECIPE", RECIPE, 1);
    hone_buf csv = {0};
    const char *rest = "plan and lead the work of a department and they answer for its results to the management.";
    hone_buf_text(&csv, "id,description\n");
    hone_buf_format(
        &csv, "http://data.europa.eu/esco/occupation/1,technical director head of technical Technical directors %s\n",
        rest);
    hone_buf_format(&csv, "http://data.europa.eu/esco/occupation/2,\"chairman chair Chairmen %s\"\n", rest);
    hone_buf_format(&csv,
                    "http://data.europa.eu/esco/occupation/3,laundry laundries boss Laundries %s The laundries %s\n",
                    rest, rest);
    hone_buf_format(&csv, "http://data.europa.eu/esco/isco/C1,group groups Groups %s\n", rest); /* no occupation */
    hone_buf_format(&csv, "http://data.europa.eu/esco/occupation/4,nothing comes back here at all\n");
    hone_buf_format(&csv, "http://data.europa.eu/esco/occupation/5,baker Bakers bake.\n"); /* too short */
    const bool ok = fixture_write_text(fixture_path(work, "o.csv"), hone_buf_str(&csv));
    hone_buf_free(&csv);
    return ok ? 0 : -1;
}

static int drop(void **state) {
    (void)state;
    fixture_remove(work);
    return 0;
}

/* The report; the exit status into *rc. */
static json_t *run(const char *options, int *rc) {
    char command[1000];
    snprintf(command, sizeof(command), "python3 \"$RECIPE\" \"$W/o.csv\" \"$W/out\" %s >\"$W/report\"", options);
    const int status = system(command);
    *rc = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return hone_json_load(fixture_path(work, "report"), NULL);
}

static int64_t number(const json_t *v, const char *key) {
    return json_integer_value(json_object_get(v, key));
}

static char *rows_of(const char *name) {
    char path[400];
    hone_buf b = {0};
    snprintf(path, sizeof(path), "%s/out/%s", work, name);
    assert_int_equal(hone_file_read(path, &b, 0, NULL), HONE_OK);
    return hone_buf_take(&b, NULL);
}

static void titles_are_found(void **state) {
    (void)state;
    int rc;
    json_t *v = run("--test 3 --valid 0 --train 0", &rc);
    assert_int_equal(rc, 0);
    assert_int_equal(number(v, "kept"), 3);
    assert_int_equal(number(v, "dropped"), 2);
    json_decref(v);
    char *rows = rows_of("test.jsonl");
    assert_non_null(strstr(rows, "\"content\": \"technical director\"}"));
    assert_non_null(strstr(rows, "\"content\": \"chairman\"}"));
    assert_non_null(strstr(rows, "\"content\": \"laundry\"}"));
    assert_non_null(strstr(rows, "\"Technical directors plan and lead"));
    hone_free(rows);
}

static void masked_subjects_are_gone(void **state) {
    (void)state;
    int rc;
    json_t *v = run("--test 3 --valid 0 --train 0 --mask", &rc);
    assert_int_equal(rc, 0);
    json_decref(v);
    char *rows = rows_of("test.jsonl");
    assert_null(strstr(rows, "aundries"));
    assert_null(strstr(rows, "directors"));
    assert_non_null(strstr(rows, "The they plan")); /* wherever it came back */
    hone_free(rows);
}

/* SHA-256 orders the URIs ...occupation/1, /2, /3; the same row is in the same place every time. */
static void the_split_is_by_hash(void **state) {
    (void)state;
    int rc;
    json_decref(run("--test 1 --valid 1 --train 1", &rc));
    assert_int_equal(rc, 0);
    char *test = rows_of("test.jsonl"), *valid = rows_of("valid.jsonl"), *train = rows_of("train.jsonl");
    static const char *const titles[] = {"\"technical director\"}", "\"chairman\"}", "\"laundry\"}"};
    char hash[3][HONE_DIGEST_TEXT];
    for (int i = 0; i < 3; i++) {
        char uri[80];
        const int n = snprintf(uri, sizeof(uri), "http://data.europa.eu/esco/occupation/%d", i + 1);
        hone_digest_bytes(uri, (size_t)n, hash[i]);
    }
    for (int i = 0; i < 3; i++) {
        int before = 0;
        for (int k = 0; k < 3; k++) before += strcmp(hash[k], hash[i]) < 0;
        assert_non_null(strstr(before == 0 ? test : before == 1 ? valid : train, titles[i]));
    }
    hone_free(test);
    hone_free(valid);
    hone_free(train);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(titles_are_found),
        cmocka_unit_test(masked_subjects_are_gone),
        cmocka_unit_test(the_split_is_by_hash),
    };
    return cmocka_run_group_tests_name("cli recipe", tests, make, drop);
}
