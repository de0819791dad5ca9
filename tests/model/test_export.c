/* test_export.c - folders and GGUF files written as GGUF files: the same numbers, the same ids, errors without a file.
 */
#include "test.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "fixture.h"
#include "model/export/export.h"
#include "model/export/export_internal.h"
#include "model/tokenizer.h"
#include "shared.h"

static hone_pool *pool;

static int open_pool(void **state) {
    (void)state;
    return hone_pool_open(&pool, 3, NULL) == HONE_OK ? 0 : 1;
}
static int close_pool(void **state) {
    (void)state;
    hone_pool_close(pool);
    return 0;
}

static hone_model *open_path(const char *path) {
    hone_model *m = NULL;
    hone_error err = {0};
    if (hone_model_open(&m, path, hone_kernels_find("ref"), HONE_PRECISION_F32, pool, &err))
        fail_msg("%s: %s", path, err.message);
    return m;
}

static void same_matrix(const hone_model *a, const hone_weight *x, const hone_weight *y, double limit) {
    float p[256], q[256];
    double error = 0.0, size = 0.0;
    assert_int_equal(x->n, y->n);
    assert_int_equal(x->k, y->k);
    for (uint32_t r = 0; r < x->n; r++) {
        a->kernels->weight_row(x, r, p);
        a->kernels->weight_row(y, r, q);
        for (uint32_t k = 0; k < x->k; k++) {
            error += (double)(p[k] - q[k]) * (p[k] - q[k]);
            size += (double)p[k] * p[k];
        }
    }
    if (!(error <= limit * limit * size)) fail_msg("off by %g of its size, %g is allowed", sqrt(error / size), limit);
}

static void same_model(const hone_model *a, const hone_model *b, double limit) {
    assert_null(export_differs(&a->arch, &b->arch));
    same_matrix(a, &a->embed, &b->embed, limit);
    same_matrix(a, &a->head.w, &b->head.w, limit);
    assert_memory_equal(a->final_norm.weight, b->final_norm.weight, a->arch.width * sizeof(float));
    for (uint32_t l = 0; l < a->arch.n_layer; l++) {
        for (uint32_t i = 0; i < HONE_MOD_COUNT; i++) {
            const hone_linear *x = &a->layer[l].linear[i], *y = &b->layer[l].linear[i];
            same_matrix(a, &x->w, &y->w, limit);
            assert_int_equal(x->bias != NULL, y->bias != NULL);
            if (x->bias) assert_memory_equal(x->bias, y->bias, x->w.n * sizeof(float));
        }
        assert_memory_equal(a->layer[l].attn_norm.weight, b->layer[l].attn_norm.weight, a->arch.width * sizeof(float));
        assert_memory_equal(a->layer[l].mlp_norm.weight, b->layer[l].mlp_norm.weight, a->arch.width * sizeof(float));
    }
}

/* Folders through F32 are the same to the bit, and so is the GGUF file written from that GGUF file; through quantised
 * formats the error is that of the format. */
static void test_folder_to_gguf(void **state) {
    (void)state;
    static const char *const families[] = {"llama", "mistral", "qwen2", "qwen3"};
    static const struct {
        hone_dtype type;
        double limit;
    } formats[] = {{HONE_F32, 0.0},    {HONE_BF16, 0.003}, {HONE_Q8_0, 0.006}, {HONE_Q6_K, 0.02},  {HONE_Q5_K, 0.04},
                   {HONE_Q4_K, 0.075}, {HONE_Q4_0, 0.085}, {HONE_Q4_1, 0.075}, {HONE_MXFP4, 0.13}, {HONE_F16, 0.0004}};
    for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
        for (size_t f = 0; f < sizeof(formats) / sizeof(*formats); f++) {
            if (i > 0 && f > 2) continue;
            fixture_spec s = fixture_default();
            s.family = families[i];
            s.tied = i % 2 == 1;
            s.width = 256, s.mlp_width = 256, s.head_dim = 64, s.n_layer = 1;
            s.dtype = f == 0 ? HONE_BF16 : HONE_F32;
            char *dir = fixture_folder();
            const char *file = fixture_path(dir, "out.gguf"), *again = fixture_path(dir, "again.gguf");
            assert_true(fixture_write_folder(dir, &s, 2));
            hone_model *a = open_path(dir);
            const hone_quantize_options options = {.type = formats[f].type, .pure = true};
            hone_quantize_report report;
            hone_error err = {0};
            if (hone_quantize(dir, file, &options, pool, &report, &err)) fail_msg("%s: %s", families[i], err.message);
            assert_true(report.tensors[formats[f].type] >= 7);
            assert_int_equal(report.parameters, a->parameters);
            hone_model *b = open_path(file);
            assert_string_equal(b->format, hone_dtype_name(formats[f].type));
            same_model(a, b, formats[f].limit);
            if (formats[f].type == HONE_F32) {
                assert_int_equal(hone_quantize(file, again, &options, pool, &report, &err), HONE_OK);
                hone_model *c = open_path(again);
                same_model(b, c, 0.0);
                hone_model_close(c);
            }
            hone_model_close(b);
            hone_model_close(a);
            fixture_remove(dir);
        }
}

/* Widths that are no multiple of 256 get formats of 32; the head gets six bits unless all is to be pure. */
static void test_formats_of_tensors(void **state) {
    (void)state;
    fixture_spec s = fixture_default();
    s.width = 96, s.mlp_width = 256, s.head_dim = 24, s.n_layer = 1;
    char *dir = fixture_folder();
    assert_true(fixture_write_folder(dir, &s, 1));
    const char *file = fixture_path(dir, "out.gguf");
    hone_quantize_report r;
    assert_int_equal(hone_quantize(dir, file, &(hone_quantize_options){.type = HONE_Q4_K}, pool, &r, NULL), HONE_OK);
    assert_int_equal(r.tensors[HONE_Q4_K], 1); /* down */
    assert_int_equal(r.tensors[HONE_Q5_0], 7); /* six of the layer, the embedding */
    assert_int_equal(r.tensors[HONE_Q8_0], 1); /* the head: Q6_K does not fit 96 */
    assert_int_equal(hone_quantize(dir, file, &(hone_quantize_options){HONE_Q4_K, true, NULL, NULL}, pool, &r, NULL),
                     HONE_OK);
    assert_int_equal(r.tensors[HONE_Q8_0], 0);
    /* what is quantised is not quantised again */
    hone_error err = {0};
    const char *twice = fixture_path(dir, "twice.gguf");
    assert_int_equal(hone_quantize(file, twice, &(hone_quantize_options){.type = HONE_Q8_0}, pool, &r, &err),
                     HONE_ERR_ARG);
    assert_non_null(strstr(err.message, "already"));
    assert_int_not_equal(access(twice, F_OK), 0);
    assert_int_equal(hone_quantize(dir, twice, &(hone_quantize_options){.type = HONE_Q2_K}, pool, &r, &err),
                     HONE_ERR_ARG);
    fixture_remove(dir);
}

/* Gemma's norms are w in folders and 1 + w in GGUF files: the matrices are equal, the norms one apart. */
static void test_norms_plus_one(void **state) {
    (void)state;
    fixture_spec s = fixture_default();
    s.family = "gemma2";
    char *dir = fixture_folder();
    const char *file = fixture_path(dir, "out.gguf");
    assert_true(fixture_write_folder(dir, &s, 1));
    hone_quantize_report r;
    hone_error err = {0};
    if (hone_quantize(dir, file, &(hone_quantize_options){.type = HONE_F32}, pool, &r, &err))
        fail_msg("%s", err.message);
    hone_model *a = open_path(dir), *b = open_path(file);
    assert_null(export_differs(&a->arch, &b->arch));
    assert_true(a->arch.norm_plus_one && !b->arch.norm_plus_one);
    for (uint32_t i = 0; i < s.width; i++)
        assert_true(b->layer[1].mlp_norm.weight[i] == a->layer[1].mlp_norm.weight[i] + 1.0f);
    same_matrix(a, &a->layer[1].linear[HONE_MOD_Q].w, &b->layer[1].linear[HONE_MOD_Q].w, 0.0);
    hone_model_close(b);
    hone_model_close(a);
    fixture_remove(dir);
}

/* A folder that GGUF's keys do not express, and paths that are none: named, and no file is left. */
static void test_refusals(void **state) {
    (void)state;
    fixture_spec s = fixture_default();
    char *dir = fixture_folder();
    assert_true(fixture_write_folder(dir, &s, 1));
    hone_quantize_report r;
    hone_error err = {0};
    hone_buf text = {0};
    const char *config = fixture_path(dir, "config.json"), *file = fixture_path(dir, "out.gguf");
    const hone_quantize_options options = {.type = HONE_F32};
    assert_int_equal(hone_file_read(config, &text, 0, NULL), HONE_OK);
    text.n--; /* the closing brace */
    hone_buf_text(&text, ", \"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 2.0}}");
    assert_true(fixture_write_text(config, hone_buf_str(&text)));
    hone_buf_free(&text);
    assert_int_equal(hone_quantize(dir, file, &options, pool, &r, &err), HONE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "do not express the rotation"));
    assert_int_equal(hone_quantize("/nowhere/at/all", file, &options, pool, &r, &err), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_quantize(dir, "/nowhere/at/all/x.gguf", &options, pool, &r, &err), HONE_ERR_IO);
    DIR *left = opendir(dir);
    struct dirent *e;
    while ((e = readdir(left))) assert_null(strstr(e->d_name, "gguf"));
    closedir(left);
    fixture_remove(dir);
}

static bool normal(const char *text) {
    utf8proc_uint8_t *nfc = utf8proc_NFC((const utf8proc_uint8_t *)text);
    const bool same = nfc && strcmp((const char *)nfc, text) == 0;
    free(nfc);
    return same;
}

/* Tokenizers of the oracle: what can be written gives the same ids for every text in NFC: GGUF has no key for
 * normalisation. */
static void test_vocabularies(void **state) {
    (void)state;
    char folder[4096], path[8192];
    if (!shared_path(folder, sizeof(folder), "oracle/tokenizers")) skip();
    snprintf(path, sizeof(path), "%s/texts.json", folder);
    json_t *texts = hone_json_load(path, NULL);
    DIR *dir = opendir(folder);
    struct dirent *e;
    size_t written = 0, n_text = 0;
    hone_arch *arch = hone_zalloc(1, sizeof(*arch));
    arch->bos = arch->pad = -1;
    while ((e = readdir(dir))) {
        snprintf(path, sizeof(path), "%s/%s/tokenizer.json", folder, e->d_name);
        if (access(path, F_OK) != 0) continue;
        path[strlen(path) - strlen("/tokenizer.json")] = 0;
        hone_gguf_writer *w = NULL;
        hone_tokenizer *want = NULL, *got = NULL;
        hone_gguf *g = NULL;
        hone_error err = {0};
        assert_int_equal(hone_gguf_writer_open(&w, NULL, &err), HONE_OK);
        const hone_status st = export_vocabulary(w, path, arch, &err);
        if (st != HONE_OK) {
            print_message("%s: %s\n", e->d_name, err.message);
            assert_int_equal(st, HONE_ERR_UNSUPPORTED);
            hone_gguf_writer_close(w);
            continue;
        }
        hone_gguf_put_tensor(w, "x", HONE_F32, 1, (const uint64_t[]){1});
        hone_gguf_writer_begin(w);
        const hone_buf *head = hone_gguf_writer_head(w);
        assert_non_null(head);
        if (hone_gguf_open(&g, head->data, head->n, "made", &err)) fail_msg("%s", err.message);
        if (hone_tokenizer_open_gguf(&got, g, &err)) fail_msg("%s: %s", e->d_name, err.message);
        assert_int_equal(hone_tokenizer_open_folder(&want, path, &err), HONE_OK);
        assert_int_equal(hone_tokenizer_size(got), hone_tokenizer_size(want));
        for (size_t i = 0; i < json_array_size(texts); i++) {
            const json_t *t = json_array_get(texts, i);
            hone_ids a = {0}, b = {0};
            if (!normal(json_string_value(t))) continue;
            for (unsigned flags = 0; flags <= HONE_ENCODE_ADD_SPECIAL; flags++) {
                a.n = b.n = 0;
                if (hone_tokenizer_encode(want, json_string_value(t), json_string_length(t), flags, &a, NULL)) continue;
                assert_int_equal(
                    hone_tokenizer_encode(got, json_string_value(t), json_string_length(t), flags, &b, &err), HONE_OK);
                if (a.n != b.n || (a.n && memcmp(a.id, b.id, a.n * sizeof(*a.id)) != 0))
                    fail_msg("%s: text %zu has other ids: %.60s", e->d_name, i, json_string_value(t));
                n_text++;
            }
            hone_ids_free(&a);
            hone_ids_free(&b);
        }
        hone_tokenizer_close(want);
        hone_tokenizer_close(got);
        hone_gguf_close(g);
        hone_gguf_writer_close(w);
        written++;
    }
    closedir(dir);
    json_decref(texts);
    hone_free(arch);
    print_message("%zu tokenizers, %zu encodings\n", written, n_text);
    assert_true(written >= 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folder_to_gguf), cmocka_unit_test(test_formats_of_tensors),
                                       cmocka_unit_test(test_norms_plus_one), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_vocabularies)};
    hone_json_init();
    return cmocka_run_group_tests(tests, open_pool, close_pool);
}
