/* test_tokenizer_oracle.c - ids and texts of outside authorities: the `tokenizers` library for folders with a
 * tokenizer.json, llama.cpp for GGUF vocabularies.  Skips what is not there (shared.h). */
#include <dirent.h>
#include <stdio.h>

#include "test.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "shared.h"

static size_t wrong(const hone_tokenizer *t, const char *name, size_t i, const json_t *text, const json_t *want,
                    unsigned flags) {
    hone_ids ids = {0};
    hone_error err = {0};
    bool same =
        hone_tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, &ids, &err) == HONE_OK &&
        ids.n == json_array_size(want);
    for (size_t k = 0; same && k < ids.n; k++) same = ids.id[k] == json_integer_value(json_array_get(want, k));
    if (!same) print_error("%s, text %zu: %zu ids %s\n", name, i, ids.n, err.message);
    hone_ids_free(&ids);
    return !same;
}

static size_t wrong_text(const hone_tokenizer *t, const char *name, size_t i, const json_t *ids, bool skip,
                         const json_t *text) {
    hone_buf out = {0};
    hone_ids list = {0};
    for (size_t k = 0; k < json_array_size(ids); k++)
        hone_ids_add(&list, (int32_t)json_integer_value(json_array_get(ids, k)));
    const bool same = hone_tokenizer_decode(t, list.id, list.n, skip, &out, NULL) == HONE_OK &&
                      out.n == json_string_length(text) &&
                      memcmp(hone_buf_str(&out), json_string_value(text), out.n) == 0;
    if (!same) print_error("%s, decoding of text %zu: %s\n", name, i, hone_buf_str(&out));
    hone_ids_free(&list);
    hone_buf_free(&out);
    return !same;
}

static const json_t *or_text(const json_t *changed, size_t i, const json_t *text) {
    char key[24];
    snprintf(key, sizeof(key), "%zu", i);
    const json_t *v = json_object_get(changed, key);
    return v ? v : text;
}

static void test_folders(void **state) {
    (void)state;
    char folder[4096], path[8192];
    hone_error err = {0};
    if (!shared_path(folder, sizeof(folder), "oracle/tokenizers")) skip();
    snprintf(path, sizeof(path), "%s/texts.json", folder);
    json_t *texts = hone_json_load(path, &err);
    DIR *dir = opendir(folder);
    size_t bad = 0, n_folder = 0;
    assert_non_null(texts);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        snprintf(path, sizeof(path), "%s/%s/expected.json", folder, e->d_name);
        if (access(path, R_OK) != 0) continue;
        json_t *expected = hone_json_load(path, &err);
        hone_tokenizer *t;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        if (hone_tokenizer_open_folder(&t, path, &err) != HONE_OK) fail_msg("%s", err.message);
        n_folder++;
        for (size_t i = 0; i < json_array_size(texts); i++) {
            const json_t *text = json_array_get(texts, i), *with = json_array_get(json_object_get(expected, "ids"), i);
            const json_t *without = json_array_get(json_object_get(expected, "ids_no_special"), i);
            if (json_is_null(without)) without = with;
            bad +=
                wrong(t, e->d_name, i, text, with, HONE_ENCODE_ADD_SPECIAL) + wrong(t, e->d_name, i, text, without, 0);
            bad += wrong_text(t, e->d_name, i, without, false,
                              or_text(json_object_get(expected, "decoded_no_special_ids"), i, text));
            bad += wrong_text(t, e->d_name, i, with, true,
                              or_text(json_object_get(expected, "decoded_ids_skipping_special"), i, text));
        }
        hone_tokenizer_close(t);
        json_decref(expected);
    }
    closedir(dir);
    json_decref(texts);
    assert_true(n_folder > 0);
    assert_int_equal(bad, 0);
}

/* NAME.gguf, NAME.gguf.inp with texts between marks, NAME.gguf.out with a line of ids for each. */
static void test_gguf_vocabularies(void **state) {
    (void)state;
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char folder[4096], path[8192];
    hone_error err = {0};
    if (!shared_path(folder, sizeof(folder), "data/vocab")) skip();
    DIR *dir = opendir(folder);
    size_t bad = 0, n_file = 0;
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        const size_t len = strlen(e->d_name);
        hone_buf in = {0}, want = {0};
        hone_gguf *g;
        hone_tokenizer *t;
        if (len < 9 || strcmp(e->d_name + len - 9, ".gguf.inp") != 0) continue;
        snprintf(path, sizeof(path), "%s/%.*s", folder, (int)len - 4, e->d_name);
        if (access(path, R_OK) != 0) continue;
        if (hone_gguf_open_path(&g, path, &err) != HONE_OK || hone_tokenizer_open_gguf(&t, g, &err) != HONE_OK)
            fail_msg("%s: %s", e->d_name, err.message);
        hone_gguf_close(g);
        n_file++;
        strcat(path, ".inp");
        assert_int_equal(hone_file_read(path, &in, 0, &err), HONE_OK);
        strcpy(path + strlen(path) - 4, ".out");
        assert_int_equal(hone_file_read(path, &want, 0, &err), HONE_OK);
        char *line = want.data;
        size_t k = 0;
        for (const char *text = in.data; line && *line; k++) {
            const char *end = strstr(text, mark);
            if (!end) break;
            hone_ids ids = {0};
            const unsigned flags = strstr(e->d_name, "bert") ? HONE_ENCODE_ADD_SPECIAL : 0;
            bool same = hone_tokenizer_encode(t, text, (size_t)(end - text), flags, &ids, &err) == HONE_OK;
            const char *stop = strchr(line, '\n');
            size_t n = flags ? 1 : 0; /* BERT's file leaves [CLS] and [SEP] out */
            char *at = line;
            for (;;) {
                char *after;
                const long id = strtol(at, &after, 10);
                if (after == at || (stop && after > stop)) break;
                same &= n < ids.n && ids.id[n] == id;
                n++;
                at = after;
            }
            if (!same || ids.n != n + (flags ? 1 : 0)) {
                print_error("%s, text %zu\n", e->d_name, k);
                bad++;
            }
            hone_ids_free(&ids);
            text = end + strlen(mark);
            line = stop ? want.data + (stop - want.data) + 1 : NULL;
        }
        assert_true(k > 40);
        hone_tokenizer_close(t);
        hone_buf_free(&in);
        hone_buf_free(&want);
    }
    closedir(dir);
    assert_true(n_file > 0);
    assert_int_equal(bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folders), cmocka_unit_test(test_gguf_vocabularies)};
    hone_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
