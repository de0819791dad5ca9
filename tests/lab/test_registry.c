/* test_registry.c - names: what they stand for, how aliases move, what cannot be one. */
#include "../store/folder.h"

#include "base/json.h"
#include "lab/registry.h"

static const char *version_of(hone_store *store, const char *name, char text[256]) {
    hone_resolved where;
    hone_error err = {0};
    if (hone_registry_resolve(store, name, false, &where, &err) != HONE_OK) fail_msg("%s: %s", name, err.message);
    snprintf(text, 256, "%s", where.version);
    hone_resolved_free(&where);
    return text;
}

static void test_aliases(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_store *store;
    hone_error err = {0};
    char text[256];
    assert_int_equal(hone_store_open(&store, f.path, HONE_HOME_CONTROLLER, &err), HONE_OK);
    for (int i = 0; i < 2; i++) {
        const hone_rec_model m = {.name = i ? "large" : "small",
                                  .source = "x",
                                  .origin = "x",
                                  .licence = "",
                                  .format = "gguf",
                                  .path = "/x.gguf",
                                  .info = "{}"};
        if (hone_store_model_put(store, &m, &err) != HONE_OK) fail_msg("%s", err.message);
    }
    assert_int_equal(hone_registry_point(store, "live", "small", &err), HONE_OK);
    assert_string_equal(version_of(store, "live", text), "small");
    assert_int_equal(hone_registry_point(store, "also", "live", &err), HONE_OK);
    assert_int_equal(hone_registry_point(store, "live", "large", &err), HONE_OK); /* it moves */
    assert_string_equal(version_of(store, "live", text), "large");
    assert_string_equal(version_of(store, "also", text), "small"); /* what it stood for when it was made */
    assert_int_equal(hone_registry_point(store, "live", "live", &err), HONE_OK); /* no circle comes of it */
    assert_string_equal(version_of(store, "live", text), "large");
    assert_int_equal(hone_registry_point(store, "live", "nobody", &err), HONE_ERR_NOT_FOUND);
    assert_string_equal(version_of(store, "live", text), "large");
    assert_int_equal(hone_registry_point(store, "small", "large", &err), HONE_ERR_EXISTS);
    static const char *const wrong[] = {
        "", "ft:a", "a b", "a/b", "\xc3\xa4", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_int_equal(hone_registry_point(store, wrong[i], "large", &err), HONE_ERR_ARG);
    hone_store_close(store);
    folder_remove(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_aliases)};
    hone_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
