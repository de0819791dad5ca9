/* test_model.c - the same model as a folder, as shards and as a GGUF file gives the same numbers, bit for bit; files
 * that contradict themselves are refused; the families of the oracle open where it is present. */
#include "test.h"

#include <stdio.h>

#include "base/file.h"
#include "base/mem.h"
#include "fixture.h"
#include "model/weights.h"
#include "model/gguf.h"
#include "model/model.h"
#include "shared.h"

static float rounded(hone_dtype t, float v) {
    if (t == HONE_F16) return hone_f16_widen(hone_f16_round(v));
    if (t == HONE_BF16) return hone_bf16_widen(hone_bf16_round(v));
    return v;
}

static void check_matrix(const hone_model *m, const hone_weight *w, const fixture_spec *s, const char *which,
                         uint32_t layer, uint32_t n, uint32_t k) {
    float *row = hone_zalloc(k, sizeof(float));
    assert_int_equal(w->n, n);
    assert_int_equal(w->k, k);
    for (uint32_t r = 0; r < n; r++) {
        m->kernels->weight_row(w, r, row);
        for (uint32_t c = 0; c < k; c++) {
            const float want = rounded(s->dtype, fixture_value(s, which, layer, (uint64_t)r * k + c));
            if (row[c] != want)
                fail_msg("%s %s of layer %u at (%u, %u): %.9g, wanted %.9g", s->family, which, layer, r, c,
                         (double)row[c], (double)want);
        }
    }
    hone_free(row);
}

static void check_vector(const float *v, const fixture_spec *s, const char *which, uint32_t layer, uint32_t n,
                         bool gguf) {
    assert_non_null(v);
    const float offset = gguf && strcmp(s->family, "gemma2") == 0 && strstr(which, "norm") ? 1.0f : 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        const float x = fixture_value(s, which, layer, i) + offset, want = gguf ? x : rounded(s->dtype, x);
        if (v[i] != want)
            fail_msg("%s %s of layer %u at %u: %.9g, wanted %.9g", s->family, which, layer, i, (double)v[i],
                     (double)want);
    }
}

static void check_model(const hone_model *m, const fixture_spec *s, bool gguf) {
    const uint32_t d = s->width, q = s->n_head * s->head_dim, kv = s->n_kv_head * s->head_dim, f = s->mlp_width;
    static const char *const names[HONE_MOD_COUNT] = {"q", "k", "v", "o", "gate", "up", "down"};
    const uint32_t n[HONE_MOD_COUNT] = {q, kv, kv, d, f, f, d}, k[HONE_MOD_COUNT] = {d, d, d, q, d, d, f};
    check_matrix(m, &m->embed, s, "embed", 0, s->vocab, d);
    check_matrix(m, &m->head.w, s, s->tied ? "embed" : "head", 0, s->vocab, d);
    if (s->tied) assert_ptr_equal(m->head.w.data, m->embed.data);
    check_vector(m->final_norm.weight, s, "final_norm", 0, d, gguf);
    for (uint32_t l = 0; l < s->n_layer; l++) {
        const hone_layer *y = &m->layer[l];
        for (uint32_t i = 0; i < HONE_MOD_COUNT; i++) check_matrix(m, &y->linear[i].w, s, names[i], l, n[i], k[i]);
        check_vector(y->attn_norm.weight, s, "attn_norm", l, d, gguf);
        check_vector(y->mlp_norm.weight, s, "mlp_norm", l, d, gguf);
        if (strcmp(s->family, "gemma2") == 0) {
            check_vector(y->attn_post_norm.weight, s, "attn_post_norm", l, d, gguf);
            check_vector(y->mlp_post_norm.weight, s, "mlp_post_norm", l, d, gguf);
        } else {
            assert_null(y->attn_post_norm.weight);
        }
        if (strcmp(s->family, "qwen2") == 0) {
            check_vector(y->linear[HONE_MOD_Q].bias, s, "q_bias", l, q, gguf);
            check_vector(y->linear[HONE_MOD_K].bias, s, "k_bias", l, kv, gguf);
            check_vector(y->linear[HONE_MOD_V].bias, s, "v_bias", l, kv, gguf);
        } else {
            assert_null(y->linear[HONE_MOD_Q].bias);
        }
        if (strcmp(s->family, "qwen3") == 0) check_vector(y->q_norm.weight, s, "q_norm", l, s->head_dim, gguf);
    }
}

static hone_model *open_path(const char *path, hone_pool *pool) {
    hone_model *m = NULL;
    hone_error err = {0};
    if (hone_model_open(&m, path, hone_kernels_find("ref"), HONE_PRECISION_F32, pool, &err))
        fail_msg("%s: %s", path, err.message);
    return m;
}

static void test_folder_shards_and_gguf_agree(void **state) {
    (void)state;
    static const char *const families[] = {"llama", "mistral", "qwen2", "qwen3", "gemma2"};
    hone_pool *pool = NULL;
    assert_int_equal(hone_pool_open(&pool, 3, NULL), HONE_OK);
    for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
        for (uint32_t variant = 0; variant < 3; variant++) {
            fixture_spec s = fixture_default();
            s.family = families[i];
            s.tied = variant == 1;
            s.dtype = (hone_dtype[]){HONE_F32, HONE_BF16, HONE_F16}[variant];
            s.width = 40 + 4 * variant, s.mlp_width = 60, s.head_dim = 10; /* no multiples of a panel */
            char *one = fixture_folder(), *many = fixture_folder();
            const char *file = fixture_path(many, "x.gguf");
            assert_true(fixture_write_folder(one, &s, 1) && fixture_write_folder(many, &s, 3) &&
                        fixture_write_gguf(file, &s));
            hone_model *a = open_path(one, pool), *b = open_path(many, NULL), *c = open_path(file, pool);
            check_model(a, &s, false);
            check_model(b, &s, false);
            check_model(c, &s, true);
            assert_int_equal(a->parameters, b->parameters);
            assert_int_equal(a->parameters, c->parameters);
            assert_string_equal(a->format, hone_dtype_name(s.dtype));
            assert_int_equal(strlen(a->digest), 64);
            assert_string_not_equal(a->digest, b->digest);
            assert_string_equal(c->arch.family, strcmp(s.family, "mistral") == 0 ? "llama" : s.family);
            assert_int_equal(c->arch.norm_plus_one, false); /* GGUF stores 1 + w */
            for (uint32_t l = 0; l < s.n_layer; l++) assert_int_equal(a->arch.layer[l].window, c->arch.layer[l].window);
            assert_true(a->arch.embed_scale == c->arch.embed_scale && a->arch.attn_scale == c->arch.attn_scale);
            assert_memory_equal(a->arch.rope, c->arch.rope, sizeof(a->arch.rope));
            hone_model_close(a);
            hone_model_close(b);
            hone_model_close(c);
            fixture_remove(one);
            fixture_remove(many);
        }
    hone_pool_close(pool);
}

/* Rows of q and k move back; the blocks of a row do not change. */
static void test_block_formats(void **state) {
    (void)state;
    for (uint32_t t = HONE_Q4_0; t < HONE_STORED_COUNT; t++) {
        if (t == HONE_FP4_16 || t == HONE_F8_E4M3) continue; /* in no GGUF file */
        fixture_spec s = fixture_default();
        s.dtype = (hone_dtype)t;
        s.width = 256, s.head_dim = 64, s.mlp_width = 256;
        char *dir = fixture_folder();
        const char *file = fixture_path(dir, "x.gguf");
        assert_true(fixture_write_gguf(file, &s));
        hone_model *m = open_path(dir, NULL); /* a folder with one GGUF file is that file */
        hone_gguf *g = NULL;
        assert_int_equal(hone_gguf_open_path(&g, file, NULL), HONE_OK);
        assert_string_equal(m->format, hone_dtype_name(s.dtype));
        const hone_gguf_tensor *q = hone_gguf_tensor_find(g, "blk.1.attn_q.weight"),
                               *v = hone_gguf_tensor_find(g, "blk.1.attn_v.weight");
        float stored[256], laid[256];
        size_t bytes = 0;
        assert_true(hone_dtype_row_bytes(s.dtype, 256, &bytes));
        for (uint32_t r = 0; r < 128; r++) {
            hone_dtype_widen(s.dtype, (const uint8_t *)v->data + r * bytes, stored, 256);
            m->kernels->weight_row(&m->layer[1].linear[HONE_MOD_V].w, r, laid);
            assert_memory_equal(stored, laid, sizeof(laid));
            /* HF's row 37 of a head of 64 is in its second half, number 5: stored as 2 * 5 + 1 */
            const uint32_t in = r % 64, at = r - in + 2 * (in % 32) + in / 32;
            hone_dtype_widen(s.dtype, (const uint8_t *)q->data + at * bytes, stored, 256);
            m->kernels->weight_row(&m->layer[1].linear[HONE_MOD_Q].w, r, laid);
            assert_memory_equal(stored, laid, sizeof(laid));
        }
        hone_gguf_close(g);
        hone_model_close(m);
        fixture_remove(dir);
    }
}

/* FP8 with a scale for each block of 16 x 16: the product in f32 precision, rounded to bf16 in serving. */
static void test_fp8_folder(void **state) {
    (void)state;
    for (uint32_t serving = 0; serving < 2; serving++) {
        fixture_spec s = fixture_default();
        s.dtype = HONE_F8_E4M3;
        s.width = 40, s.mlp_width = 56, s.head_dim = 10;
        char *dir = fixture_folder();
        assert_true(fixture_write_folder(dir, &s, 2));
        hone_model *m = NULL;
        hone_error err = {0};
        if (hone_model_open(&m, dir, hone_kernels_find("ref"), serving ? HONE_PRECISION_SERVING : HONE_PRECISION_F32,
                            NULL, &err))
            fail_msg("%s", err.message);
        hone_weights *w = NULL;
        assert_int_equal(hone_weights_open(&w, dir, NULL), HONE_OK);
        const hone_tensor *t = hone_weights_find(w, "model.layers.1.mlp.gate_proj.weight"),
                          *scale = hone_weights_find(w, "model.layers.1.mlp.gate_proj.weight_scale_inv");
        assert_non_null(scale);
        float stored[40], laid[40], factor[3];
        for (uint32_t r = 0; r < 56; r++) {
            hone_dtype_widen(HONE_F8_E4M3, (const uint8_t *)t->data + r * 40, stored, 40);
            memcpy(factor, (const uint8_t *)scale->data + r / 16 * sizeof(factor), sizeof(factor));
            for (uint32_t k = 0; k < 40; k++) {
                stored[k] *= factor[k / 16];
                if (serving) stored[k] = hone_bf16_widen(hone_bf16_round(stored[k]));
            }
            m->kernels->weight_row(&m->layer[1].linear[HONE_MOD_GATE].w, r, laid);
            assert_memory_equal(stored, laid, sizeof(laid));
        }
        hone_weights_close(w);
        hone_model_close(m);
        fixture_remove(dir);
    }
}

static void refused(const char *path, hone_status status, const char *says) {
    hone_model *m = NULL;
    hone_error err = {0};
    const hone_status s = hone_model_open(&m, path, hone_kernels_find("ref"), HONE_PRECISION_F32, NULL, &err);
    if (s != status || m || !strstr(err.message, says) || !strstr(err.message, path))
        fail_msg("wanted %d \"%s\", got %d \"%s\"", status, says, s, err.message);
}

/* Replace the first `from` in a file by `to`, of any length. */
static void edit(const char *path, const char *from, const char *to) {
    hone_buf b = {0}, out = {0};
    assert_int_equal(hone_file_read(path, &b, 0, NULL), HONE_OK);
    char *at = memmem(b.data, b.n, from, strlen(from));
    if (!at) fail_msg("%s is not in %s", from, path);
    hone_buf_add(&out, b.data, (size_t)(at - b.data));
    hone_buf_text(&out, to);
    hone_buf_add(&out, at + strlen(from), b.n - (size_t)(at - b.data) - strlen(from));
    assert_int_equal(hone_file_write_atomic(path, out.data, out.n, NULL), HONE_OK);
    hone_buf_free(&b);
    hone_buf_free(&out);
}

static void test_contradictions(void **state) {
    (void)state;
    static const struct {
        const char *family, *from, *to, *says;
        hone_status status;
    } table[] = {
        {"llama", "\"hidden_size\": 32", "\"hidden_size\": 64", "is 96 x 32, the configuration asks for 96 x 64",
         HONE_ERR_FORMAT},
        {"llama", "\"vocab_size\": 96", "\"vocab_size\": 95",
         "tensor model.embed_tokens.weight is 96 x 32, the configuration asks for 95 x 32", HONE_ERR_FORMAT},
        {"llama", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4",
         "k_proj.weight is 16 x 32, the configuration asks for 32 x 32", HONE_ERR_FORMAT},
        {"llama", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         "model.layers.2.input_layernorm.weight is missing", HONE_ERR_FORMAT},
        {"llama", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "tensor model.layers.1.", HONE_ERR_FORMAT},
        {"llama", "\"rms_norm_eps\"", "\"attention_bias\": true, \"rms_norm_eps\"", "q_proj.bias is missing",
         HONE_ERR_FORMAT},
        {"qwen2", "Qwen2ForCausalLM", "LlamaForCausalLM", "_proj.bias has no place", HONE_ERR_FORMAT},
        {"qwen3", "Qwen3ForCausalLM", "LlamaForCausalLM", "_norm.weight has no place", HONE_ERR_FORMAT},
        {"llama", "LlamaForCausalLM", "LamaForCausalLM", "unknown architecture LamaForCausalLM", HONE_ERR_UNSUPPORTED},
        {"llama", "{", "[", "config.json", HONE_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        fixture_spec s = fixture_default();
        s.family = table[i].family;
        char *dir = fixture_folder();
        assert_true(fixture_write_folder(dir, &s, 1));
        edit(fixture_path(dir, "config.json"), table[i].from, table[i].to);
        refused(dir, table[i].status, table[i].says);
        fixture_remove(dir);
    }
}

static void test_numbers_that_are_none(void **state) {
    (void)state;
    fixture_spec s = fixture_default();
    char *dir = fixture_folder();
    hone_buf b = {0};
    const char *file = fixture_path(dir, "x.gguf");
    assert_true(fixture_write_gguf(file, &s));
    assert_int_equal(hone_file_read(file, &b, 0, NULL), HONE_OK);
    const uint32_t nan = 0x7fc00000;
    memcpy(b.data + b.n - 4, &nan, 4); /* the last number of output.weight */
    assert_int_equal(hone_file_write_atomic(file, b.data, b.n, NULL), HONE_OK);
    refused(file, HONE_ERR_FORMAT, "output.weight");
    assert_int_equal(hone_file_write_atomic(file, b.data, b.n - 100, NULL), HONE_OK);
    refused(file, HONE_ERR_FORMAT, "100 bytes are missing");
    hone_buf_free(&b);
    fixture_remove(dir);
    refused("/nonexistent/model", HONE_ERR_NOT_FOUND, "no such");
}

static void test_inspect(void **state) {
    (void)state;
    fixture_spec s = fixture_default();
    char *dir = fixture_folder();
    hone_model_info *info = hone_zalloc(1, sizeof(*info));
    hone_error err = {0};
    assert_true(fixture_write_folder(dir, &s, 1));
    assert_true(fixture_write_text(fixture_path(dir, "README.md"),
                                   "---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: other\n"));
    assert_int_equal(hone_model_inspect(info, dir, &err), HONE_OK);
    assert_string_equal(info->licence, "apache-2.0");
    assert_string_equal(info->format, "F32");
    const uint64_t layer = 32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 64 * 32 + 2 * 32;
    assert_int_equal(info->parameters, 2 * layer + 2 * 96 * 32 + 32);
    assert_int_equal(info->bytes, 4 * info->parameters);
    assert_int_equal(info->arch.vocab, 96);
    hone_model_info_free(info);
    const char *file = fixture_path(dir, "x.gguf");
    assert_true(fixture_write_gguf(file, &s));
    assert_int_equal(hone_model_inspect(info, file, &err), HONE_OK);
    assert_string_equal(info->name, "tiny");
    assert_string_equal(info->licence, "apache-2.0");
    hone_free(info);
    fixture_remove(dir);
}

static void test_without_memory(void **state) {
    (void)state;
    fixture_spec s = fixture_default();
    s.n_layer = 1, s.vocab = 16;
    char *dir = fixture_folder();
    assert_true(fixture_write_folder(dir, &s, 2));
    const int64_t live = hone_mem_live;
    hone_status status = HONE_ERR_NOMEM;
    for (int64_t i = 0; status != HONE_OK; i++) {
        hone_model *m = NULL;
        hone_error err = {0};
        hone_mem_fail_at = i;
        status = hone_model_open(&m, dir, hone_kernels_find("ref"), HONE_PRECISION_F32, NULL, &err);
        hone_mem_fail_at = -1;
        hone_model_close(m);
        if (status != HONE_OK && status != HONE_ERR_NOMEM) fail_msg("allocation %d: %s", (int)i, err.message);
        assert_int_equal(hone_mem_live, live);
    }
    fixture_remove(dir);
}

static void test_the_oracles_families(void **state) {
    (void)state;
    static const char *const names[] = {"llama",
                                        "llama_bias",
                                        "llama_headdim",
                                        "llama_mha_nohd",
                                        "llama_tied",
                                        "llama_rope_yarn",
                                        "llama_rope_yarn_opts",
                                        "llama_rope_dynamic",
                                        "llama_rope_linear",
                                        "llama_rope_llama3",
                                        "internlm3",
                                        "mistral",
                                        "ministral",
                                        "qwen2",
                                        "qwen2_tied",
                                        "qwen3",
                                        "qwen3_tied",
                                        "gemma",
                                        "gemma2",
                                        "gemma3",
                                        "vaultgemma",
                                        "granite",
                                        "hyperclovax",
                                        "arcee",
                                        "seed_oss",
                                        "helium",
                                        "ernie4_5",
                                        "smollm3",
                                        "cwm",
                                        "hunyuan_v1_dense",
                                        "olmo",
                                        "olmo2",
                                        "olmo3",
                                        "exaone4",
                                        "phi3",
                                        "phi3_longrope",
                                        "phi3_partial",
                                        "glm",
                                        "glm4",
                                        "cohere2",
                                        "stablelm",
                                        "starcoder2",
                                        "phi",
                                        "nemotron",
                                        "jais2"};
    char root[512], path[600];
    if (!shared_path(root, sizeof(root), "oracle/families")) skip();
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), "%s/%s", root, names[i]);
        hone_model *m = open_path(path, NULL);
        assert_true(m->parameters > 10000);
        hone_model_close(m);
    }
}

int main(void) {
    hone_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder_shards_and_gguf_agree),
        cmocka_unit_test(test_block_formats),
        cmocka_unit_test(test_fp8_folder),
        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_numbers_that_are_none),
        cmocka_unit_test(test_inspect),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_the_oracles_families),
    };
    return cmocka_run_group_tests_name("model/model", tests, NULL, NULL);
}
