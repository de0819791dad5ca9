/* test_safetensors.c - files written and read back, and every field of a header lied about. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"
#include "fixture.h"
#include "model/safetensors.h"

static hone_status open_text(const char *header, size_t n, hone_error *err) {
    hone_buf b = {0};
    hone_safetensors *s = NULL;
    fixture_safetensors(&b, header, n);
    const hone_status st = hone_safetensors_open(&s, b.data, b.n, "x.safetensors", err);
    hone_safetensors_close(s);
    hone_buf_free(&b);
    return st;
}

static void test_written_is_read(void **state) {
    (void)state;
    const float a[6] = {1, 2, 3, 4, 5, 6};
    const uint16_t h[2] = {0x3c00, 0x4000};
    const hone_tensor in[] = {
        {.name = "half", .dtype = HONE_F16, .n_dim = 1, .shape = {2}, .data = h, .bytes = 4},
        {.name = "z \"quoted\"", .dtype = HONE_F32, .n_dim = 2, .shape = {2, 3}, .data = a, .bytes = 24},
        {.name = "a", .dtype = HONE_F32, .n_dim = 0, .data = a, .bytes = 4},
        {.name = "none", .dtype = HONE_F32, .n_dim = 1, .shape = {0}, .data = a, .bytes = 0},
    };
    hone_buf one = {0}, two = {0};
    hone_error err = {0};
    assert_int_equal(hone_safetensors_write(&one, in, 4, &err), HONE_OK);
    const hone_tensor shuffled[] = {in[3], in[1], in[0], in[2]};
    assert_int_equal(hone_safetensors_write(&two, shuffled, 4, &err), HONE_OK);
    assert_int_equal(one.n, two.n);
    assert_memory_equal(one.data, two.data, one.n);

    hone_safetensors *s = NULL;
    assert_int_equal(hone_safetensors_open(&s, one.data, one.n, "x", &err), HONE_OK);
    assert_int_equal(hone_safetensors_count(s), 4);
    const hone_tensor *t = hone_safetensors_find(s, "z \"quoted\"");
    assert_non_null(t);
    assert_int_equal(t->n_dim, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_memory_equal(t->data, a, sizeof(a));
    t = hone_safetensors_find(s, "half");
    assert_int_equal(t->dtype, HONE_F16);
    assert_memory_equal(t->data, h, sizeof(h));
    assert_null(hone_safetensors_find(s, "other"));
    hone_safetensors_close(s);

    const hone_tensor twice[] = {in[0], in[0]};
    assert_int_equal(hone_safetensors_write(&two, twice, 2, &err), HONE_ERR_ARG);
    hone_buf_free(&one);
    hone_buf_free(&two);
}

static void test_every_field_lied_about(void **state) {
    (void)state;
    const struct {
        const char *what, *header;
        size_t n;
        hone_status status;
        const char *said;
    } table[] = {
        {"no JSON", "{\"a\"", 0, HONE_ERR_FORMAT, "header"},
        {"no object", "[]", 0, HONE_ERR_FORMAT, "no object"},
        {"entry no object", "{\"a\": 3}", 0, HONE_ERR_FORMAT, "tensor a"},
        {"no dtype", "{\"a\": {\"shape\": [1], \"data_offsets\": [0, 4]}}", 4, HONE_ERR_FORMAT, "must hold"},
        {"other type", "{\"a\": {\"dtype\": \"I64\", \"shape\": [1], \"data_offsets\": [0, 8]}}", 8,
         HONE_ERR_UNSUPPORTED, "I64"},
        {"negative dimension", "{\"a\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, 4]}}", 4,
         HONE_ERR_FORMAT, "dimension 0"},
        {"dimension a text", "{\"a\": {\"dtype\": \"F32\", \"shape\": [\"1\"], \"data_offsets\": [0, 4]}}", 4,
         HONE_ERR_FORMAT, "dimension 0"},
        {"overflow", "{\"a\": {\"dtype\": \"F32\", \"shape\": [4294967296, 4294967296], \"data_offsets\": [0, 4]}}", 4,
         HONE_ERR_FORMAT, "overflows"},
        {"overflow hidden by a zero",
         "{\"a\": {\"dtype\": \"F32\", \"shape\": [4294967296, 4294967296, 0], \"data_offsets\": [0, 0]}}", 0,
         HONE_ERR_FORMAT, "overflows"},
        {"nine dimensions", "{\"a\": {\"dtype\": \"F32\", \"shape\": [1,1,1,1,1,1,1,1,1], \"data_offsets\": [0, 4]}}",
         4, HONE_ERR_UNSUPPORTED, "9 dimensions"},
        {"offsets turned round", "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 0]}}", 4,
         HONE_ERR_FORMAT, "data_offsets"},
        {"three offsets", "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4, 4]}}", 4,
         HONE_ERR_FORMAT, "data_offsets"},
        {"shape and offsets differ", "{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 4]}}", 4,
         HONE_ERR_FORMAT, "takes 8 bytes"},
        {"truncated", "{\"a\": {\"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0, 16]}}", 11, HONE_ERR_FORMAT,
         "5 bytes are missing"},
        {"bytes behind", "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 6, HONE_ERR_FORMAT,
         "2 bytes behind"},
        {"hole",
         "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}, \"b\": {\"dtype\": \"F32\", "
         "\"shape\": "
         "[1], \"data_offsets\": [8, 12]}}",
         12, HONE_ERR_FORMAT, "hole of 4 bytes before tensor b"},
        {"overlap",
         "{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}, \"b\": {\"dtype\": \"F32\", "
         "\"shape\": "
         "[2], \"data_offsets\": [4, 12]}}",
         12, HONE_ERR_FORMAT, "overlap"},
        {"same name twice",
         "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}, \"a\": {\"dtype\": \"F32\", "
         "\"shape\": "
         "[1], \"data_offsets\": [4, 8]}}",
         8, HONE_ERR_FORMAT, "header"},
        {"metadata no object", "{\"__metadata__\": 3}", 0, HONE_ERR_FORMAT, "__metadata__"},
        {"metadata of numbers", "{\"__metadata__\": {\"a\": 3}}", 0, HONE_ERR_FORMAT, "__metadata__"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        hone_error err = {0};
        const hone_status s = open_text(table[i].header, table[i].n, &err);
        if (s != table[i].status || !strstr(err.message, table[i].said) || !strstr(err.message, "x.safetensors"))
            fail_msg("%s: status %d, \"%s\"", table[i].what, s, err.message);
    }
    hone_error err = {0};
    assert_int_equal(open_text("{\"a\": {\"dtype\": \"BF16\", \"shape\": [2], \"data_offsets\": [0, 4]}}   ", 4, &err),
                     HONE_OK); /* spaces behind the object are allowed */
}

static void test_lengths_of_headers(void **state) {
    (void)state;
    hone_safetensors *s = NULL;
    hone_error err = {0};
    uint8_t file[16] = {0};
    assert_int_equal(hone_safetensors_open(&s, file, 5, "x", &err), HONE_ERR_FORMAT);
    file[0] = 200;
    assert_int_equal(hone_safetensors_open(&s, file, 16, "x", &err), HONE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "192 bytes are missing"));
    memset(file, 255, 8);
    assert_int_equal(hone_safetensors_open(&s, file, 16, "x", &err), HONE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "no safetensors file"));
    assert_int_equal(hone_safetensors_open(&s, NULL, 0, "x", &err), HONE_ERR_FORMAT);
}

static void test_folders(void **state) {
    (void)state;
    char *dir = fixture_folder();
    fixture_spec spec = fixture_default();
    hone_safetensors *s = NULL;
    hone_error err = {0};
    assert_non_null(dir);
    assert_int_equal(hone_safetensors_open_folder(&s, dir, &err), HONE_ERR_NOT_FOUND);
    assert_true(fixture_write_folder(dir, &spec, 3));
    assert_int_equal(hone_safetensors_open_folder(&s, dir, &err), HONE_OK);
    assert_int_equal(hone_safetensors_file_count(s), 3);
    assert_int_equal(hone_safetensors_count(s), 2 * 9 + 3);
    assert_non_null(hone_safetensors_find(s, "model.layers.1.mlp.down_proj.weight"));
    hone_safetensors_close(s);

    const char *index = fixture_path(dir, "model.safetensors.index.json");
    const struct {
        const char *text, *said;
    } bad[] = {
        {"{}", "weight_map"},
        {"{\"weight_map\": {\"a\": \"../model.safetensors\"}}", "plain file name"},
        {"{\"weight_map\": {\"a\": 3}}", "plain file name"},
        {"{\"weight_map\": {\"a\": \"model-00001-of-00003.safetensors\"}}", "stands in no file"},
        {"{\"weight_map\": {\"model.norm.weight\": \"model-00001-of-00003.safetensors\", \"lm_head.weight\": "
         "\"model-00001-of-00003.safetensors\", \"model.embed_tokens.weight\": \"model-00002-of-00003.safetensors\"}}",
         "said to stand"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        fixture_write_text(index, bad[i].text);
        err = (hone_error){0};
        assert_int_equal(hone_safetensors_open_folder(&s, dir, &err), HONE_ERR_FORMAT);
        assert_null(s);
        if (!strstr(err.message, bad[i].said)) fail_msg("%s: \"%s\"", bad[i].text, err.message);
    }
    fixture_write_text(index, "{\"weight_map\": {\"a\": \"gone.safetensors\"}}");
    assert_int_equal(hone_safetensors_open_folder(&s, dir, &err), HONE_ERR_NOT_FOUND);
    fixture_remove(dir);
}

int main(void) {
    hone_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_is_read),
        cmocka_unit_test(test_every_field_lied_about),
        cmocka_unit_test(test_lengths_of_headers),
        cmocka_unit_test(test_folders),
    };
    return cmocka_run_group_tests_name("model/safetensors", tests, NULL, NULL);
}
