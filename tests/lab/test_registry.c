/* test_registry.c - names: what they stand for, how aliases move, what cannot be one, what is kept in memory. */
#include "../store/folder.h"

#include "base/json.h"
#include "lab/names.h"

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

static void put_model(hone_store *store, const char *name, const char *path) {
    const hone_rec_model m = {
        .name = name, .source = "x", .origin = "x", .licence = "", .format = "gguf", .path = path, .info = "{}"};
    hone_error err = {0};
    if (hone_store_model_put(store, &m, &err) != HONE_OK) fail_msg("%s", err.message);
}

static const hone_resolved *kept(hone_names *names, const char *name) {
    const hone_resolved *where;
    hone_error err = {0};
    if (hone_names_resolve(names, name, &where, &err) != HONE_OK) fail_msg("%s: %s", name, err.message);
    return where;
}

/* Whoever changes what a name stands for - this handle, or another one, which is what a CLI has - is heard at once. */
static void test_names_in_memory(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_store *store, *beside;
    hone_names *names;
    hone_error err = {0};
    assert_int_equal(hone_store_open(&store, f.path, HONE_HOME_CONTROLLER, &err), HONE_OK);
    assert_int_equal(hone_store_open_beside(&beside, store, &err), HONE_OK);
    assert_int_equal(hone_names_open(&names, store, &err), HONE_OK);
    put_model(store, "small", "/small.gguf");
    put_model(beside, "large", "/large.gguf");
    const hone_resolved *where = kept(names, "small");
    assert_string_equal(where->path, "/small.gguf");
    unsigned char mark[HONE_DB_MARK], later[HONE_DB_MARK];
    assert_true(hone_db_mark(hone_store_db(store), mark)); /* else nothing here is from memory */
    where->path[1] = 'S';                                  /* shows that the next answer is the kept one */
    assert_string_equal(kept(names, "small")->path, "/Small.gguf");
    for (int i = 0; i < 50; i++) {
        hone_store *who = i & 2 ? store : beside;
        assert_int_equal(hone_registry_point(who, "live", i & 1 ? "small" : "large", &err), HONE_OK);
        assert_string_equal(kept(names, "live")->version, i & 1 ? "small" : "large");
        assert_string_equal(kept(names, "small")->path, "/small.gguf");
        assert_true(hone_db_mark(hone_store_db(store), later));
        assert_memory_not_equal(mark, later, sizeof(mark));
        memcpy(mark, later, sizeof(mark)); /* each commit moves it */
    }
    put_model(beside, "small", "/other.gguf");
    assert_string_equal(kept(names, "small")->path, "/other.gguf");
    assert_int_equal(hone_store_alias_delete(beside, "live", &err), HONE_OK);
    assert_int_equal(hone_names_resolve(names, "live", &where, &err), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_registry_point(beside, "live", "small", &err), HONE_OK); /* an unknown name is not kept */
    assert_string_equal(kept(names, "live")->path, "/other.gguf");
    /* a transaction's own writes are seen, and gone when it is rolled back */
    assert_int_equal(hone_db_begin(hone_store_db(store), &err), HONE_OK);
    put_model(store, "small", "/third.gguf");
    assert_false(hone_db_mark(hone_store_db(store), later));
    assert_string_equal(kept(names, "small")->path, "/third.gguf");
    hone_db_rollback(hone_store_db(store));
    assert_string_equal(kept(names, "small")->path, "/other.gguf");
    /* the log begins anew: the mark goes with it */
    assert_int_equal(hone_db_exec(hone_store_db(beside), "PRAGMA wal_checkpoint(TRUNCATE)", &err), HONE_OK);
    assert_string_equal(kept(names, "small")->path, "/other.gguf");
    put_model(beside, "small", "/fourth.gguf");
    assert_string_equal(kept(names, "small")->path, "/fourth.gguf");
    assert_int_equal(hone_db_begin(hone_store_db(beside), &err), HONE_OK); /* more names than places */
    for (int i = 0; i < 5000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d", i);
        put_model(beside, name, "/many.gguf");
    }
    assert_int_equal(hone_db_commit(hone_store_db(beside), &err), HONE_OK);
    for (int i = 0; i < 10000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d", i % 5000);
        assert_string_equal(kept(names, name)->version, name);
    }
    hone_names_close(names);
    hone_store_close(beside);
    hone_store_close(store);
    folder_remove(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_aliases), cmocka_unit_test(test_names_in_memory)};
    hone_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
