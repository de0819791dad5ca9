/* test_schema_suite.c - the JSON Schema Test Suite (2020-12): a schema of it is refused, or no invalid instance gets
 * through.  Valid ones that do not are counted: they are those whose properties come in another order, or whose numbers
 * are spelled in ways that are not written (docs/structured-output.md). */
#include "test.h"

#include <dirent.h>

#include "base/json.h"
#include "grammar/grammar.h"
#include "shared.h"
#include "walk.h"

static hone_vocabulary *v;

typedef struct {
    uint32_t groups, refused, valid, lost, invalid, leaked;
} counts;

static void run_group(const char *file, const json_t *group, counts *c) {
    hone_buf source = {0};
    hone_error err = {0};
    hone_grammar *g = NULL;
    c->groups++;
    hone_grammar_source_schema(&source, json_object_get(group, "schema"));
    const hone_status status = hone_grammar_compile(&g, hone_buf_str(&source), source.n, &err);
    if (status != HONE_OK) {
        /* refused with a pointer, except where no value at all is valid */
        if (status == HONE_ERR_UNSUPPORTED || status == HONE_ERR_FORMAT)
            assert_true(err.message[0] == '#' || strstr(err.message, "json"));
        c->refused++;
        hone_buf_free(&source);
        return;
    }
    size_t i;
    json_t *test;
    json_array_foreach(json_object_get(group, "tests"), i, test) {
        char *text = json_dumps(json_object_get(test, "data"), JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        const bool valid = json_is_true(json_object_get(test, "valid"));
        const bool through = walk_read(g, v, text, strlen(text)) == 1;
        c->valid += valid;
        c->invalid += !valid;
        if (valid && !through) {
            c->lost++;
            if (getenv("HONE_SUITE_VERBOSE"))
                printf("# lost: %s: %s: %s\n", file, json_string_value(json_object_get(group, "description")), text);
        }
        if (!valid && through) {
            c->leaked++;
            printf("# LEAKED: %s: %s: %s\n", file, json_string_value(json_object_get(group, "description")), text);
        }
        free(text);
    }
    hone_grammar_unref(g);
    hone_buf_free(&source);
}

static void run_folder(const char *folder, bool formats, counts *c) {
    DIR *d = opendir(folder);
    struct dirent *e;
    assert_non_null(d);
    while ((e = readdir(d))) {
        char path[1024];
        const size_t n = strlen(e->d_name);
        if (n < 6 || strcmp(e->d_name + n - 5, ".json") != 0) continue;
        /* format.json says that formats are annotations, which is the default; here they are kept. */
        if (!formats && (strcmp(e->d_name, "format.json") == 0 || strcmp(e->d_name, "refRemote.json") == 0)) continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        json_t *groups = json_load_file(path, JSON_DECODE_ANY, NULL), *group;
        if (!groups) continue; /* numbers beyond 64 bits */
        size_t i;
        json_array_foreach(groups, i, group) run_group(e->d_name, group, c);
        json_decref(groups);
    }
    closedir(d);
}

static void test_suite(void **state) {
    (void)state;
    char folder[512];
    if (!shared_path(folder, sizeof(folder), "data/json-schema-suite")) skip();
    counts c = {0};
    run_folder(folder, false, &c);
    printf("# %u groups, %u refused; %u valid instances, %u not written; %u invalid ones, %u let through\n", c.groups,
           c.refused, c.valid, c.lost, c.invalid, c.leaked);
    assert_int_equal(c.leaked, 0);
    assert_true(c.groups > 300 && c.refused * 3 < c.groups && c.lost * 10 < c.valid);
}

static void test_formats(void **state) {
    (void)state;
    char folder[512];
    if (!shared_path(folder, sizeof(folder), "data/json-schema-suite/optional/format")) skip();
    counts c = {0};
    run_folder(folder, true, &c);
    printf("# %u groups, %u refused; %u valid instances, %u not written; %u invalid ones, %u let through\n", c.groups,
           c.refused, c.valid, c.lost, c.invalid, c.leaked);
    assert_int_equal(c.leaked, 0);
    assert_true(c.groups - c.refused >= 13 && c.lost * 4 < c.valid);
}

static int open_vocabulary(void **state) {
    (void)state;
    return walk_open(&v, NULL) == HONE_OK ? 0 : -1;
}
static int close_vocabulary(void **state) {
    (void)state;
    hone_vocabulary_close(v);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_suite), cmocka_unit_test(test_formats)};
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
