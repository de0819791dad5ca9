/* test_family.c - config.json in both forms, defaults of absent keys, layers' windows, and what is refused. */
#include "test.h"

#include <stdio.h>

#include "base/mem.h"
#include "fixture.h"
#include "model/family/family.h"

#define SHAPE                                                                                                          \
    "\"vocab_size\": 96, \"hidden_size\": 32, \"num_hidden_layers\": 4, \"num_attention_heads\": 4, "                  \
    "\"intermediate_size\": 64"

static hone_arch *arch_of(const char *rest, hone_layout *layout, hone_error *err) {
    char text[2048];
    hone_arch *a = hone_zalloc(1, sizeof(*a));
    hone_layout ignored;
    snprintf(text, sizeof(text), "{" SHAPE ", %s}", rest);
    json_t *c = hone_json_parse(text, strlen(text), err);
    if (!c) fail_msg("%s: %s", text, err->message);
    err->code = HONE_OK;
    if (hone_family_from_config(a, layout ? layout : &ignored, c, NULL, err)) {
        hone_free(a);
        a = NULL;
    }
    json_decref(c);
    return a;
}

static hone_arch *good(const char *rest, hone_layout *layout) {
    hone_error err = {0};
    hone_arch *a = arch_of(rest, layout, &err);
    if (!a) fail_msg("%s: %s", rest, err.message);
    return a;
}

static void bad(const char *rest, hone_status status, const char *says) {
    hone_error err = {0};
    hone_arch *a = arch_of(rest, NULL, &err);
    if (a || err.code != status || !strstr(err.message, says))
        fail_msg("%s: wanted \"%s\", got %d \"%s\"", rest, says, err.code, err.message);
}

static void same(const char *old, const char *new) {
    hone_arch *a = good(old, NULL), *b = good(new, NULL);
    assert_memory_equal(a, b, sizeof(*a));
    hone_free(a);
    hone_free(b);
}

static void windows(const char *rest, uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) {
    hone_arch *a = good(rest, NULL);
    const uint32_t want[4] = {w0, w1, w2, w3};
    for (uint32_t l = 0; l < 4; l++)
        if (a->layer[l].window != want[l]) fail_msg("%s: layer %u has %u", rest, l, a->layer[l].window);
    hone_free(a);
}

static void test_old_and_new_forms_agree(void **state) {
    (void)state;
    same("\"architectures\": [\"LlamaForCausalLM\"], \"rope_theta\": 500000.0, \"torch_dtype\": \"bfloat16\"",
         "\"architectures\": [\"LlamaForCausalLM\"], \"dtype\": \"bfloat16\", \"rope_parameters\": {\"rope_type\": "
         "\"default\", \"rope_theta\": 500000.0}");
    same(
        "\"architectures\": [\"LlamaForCausalLM\"], \"rope_theta\": 10000, \"rope_scaling\": {\"type\": \"linear\", "
        "\"factor\": 4}",
        "\"architectures\": [\"LlamaForCausalLM\"], \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 4.0}");
    same("\"architectures\": [\"LlamaForCausalLM\"], \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, "
         "\"low_freq_factor\": 1, \"high_freq_factor\": 4, \"original_max_position_embeddings\": 32}",
         "\"architectures\": [\"LlamaForCausalLM\"], \"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8, "
         "\"original_max_position_embeddings\": 32, \"rope_theta\": 10000}");
    same("\"architectures\": [\"Gemma2ForCausalLM\"], \"sliding_window\": 8",
         "\"architectures\": [\"Gemma2ForCausalLM\"], \"sliding_window\": 8, \"layer_types\": [\"sliding_attention\", "
         "\"full_attention\", \"sliding_attention\", \"full_attention\"]");
}

static void test_windows(void **state) {
    (void)state;
#define QWEN "\"architectures\": [\"Qwen2ForCausalLM\"], "
#define MISTRAL "\"architectures\": [\"MistralForCausalLM\"], \"num_key_value_heads\": 2, "
    windows(QWEN "\"num_key_value_heads\": 2, \"sliding_window\": 8, \"max_window_layers\": 1", 0, 0, 0, 0);
    windows(QWEN
            "\"num_key_value_heads\": 2, \"use_sliding_window\": true, \"sliding_window\": 8, \"max_window_layers\": 1",
            0, 8, 8, 8);
    windows(QWEN "\"num_key_value_heads\": null, \"use_sliding_window\": true, \"sliding_window\": null, "
                 "\"max_window_layers\": 1",
            0, 0, 0, 0);
    windows(QWEN "\"num_key_value_heads\": 2, \"use_sliding_window\": true, \"sliding_window\": 8, \"layer_types\": "
                 "[\"sliding_attention\", \"full_attention\", \"full_attention\", \"sliding_attention\"]",
            8, 0, 0, 8);
    windows(MISTRAL "\"sliding_window\": 16", 16, 16, 16, 16);
    windows(MISTRAL "\"sliding_window\": null", 0, 0, 0, 0);
    windows(MISTRAL "\"hidden_act\": \"silu\"", 4096, 4096, 4096, 4096); /* the class's default */
    windows("\"architectures\": [\"Gemma2ForCausalLM\"]", 4096, 0, 4096, 0);
    windows("\"architectures\": [\"LlamaForCausalLM\"], \"sliding_window\": 8", 0, 0, 0, 0);
    bad(QWEN "\"num_key_value_heads\": 2, \"layer_types\": [\"full_attention\"]", HONE_ERR_FORMAT, "layer_types has 1");
    bad(QWEN
        "\"num_key_value_heads\": 2, \"layer_types\": [\"full_attention\", \"full_attention\", \"linear_attention\", "
        "\"full_attention\"]",
        HONE_ERR_UNSUPPORTED, "layer 2 is of type linear_attention");
    bad(QWEN
        "\"num_key_value_heads\": 2, \"layer_types\": [\"sliding_attention\", \"full_attention\", \"full_attention\", "
        "\"full_attention\"]",
        HONE_ERR_FORMAT, "sliding_window is not set");
#undef QWEN
#undef MISTRAL
}

static void test_families(void **state) {
    (void)state;
    hone_layout l;
    hone_arch *a =
        good("\"architectures\": [\"LlamaForCausalLM\"], \"attention_bias\": true, \"eos_token_id\": [5, 6, 5]", &l);
    assert_string_equal(a->family, "llama");
    assert_int_equal(a->n_kv_head, 4);
    assert_int_equal(a->head_dim, 8);
    assert_int_equal(a->n_eos, 2);
    assert_false(a->tied);
    assert_true(l.bias[HONE_MOD_Q] && l.bias[HONE_MOD_O] && !l.bias[HONE_MOD_UP]);
    hone_free(a);

    a = good("\"model_type\": \"qwen2\", \"num_key_value_heads\": 2", &l);
    assert_string_equal(a->family, "qwen2");
    assert_true(l.bias[HONE_MOD_V] && !l.bias[HONE_MOD_O]);
    hone_free(a);

    a = good("\"architectures\": [\"Qwen3ForCausalLM\"], \"num_key_value_heads\": 2", NULL);
    assert_int_equal(a->head_dim, 128);
    assert_int_equal(a->qk_norm, HONE_QK_NORM_HEAD);
    hone_free(a);

    a = good(
        "\"architectures\": [\"Gemma2ForCausalLM\"], \"query_pre_attn_scalar\": 64, \"attn_logit_softcapping\": null",
        &l);
    assert_true(a->tied && a->norm_plus_one && a->post_norm && a->pre_norm);
    assert_true(a->attn_scale == 0.125f);
    assert_true(a->attn_softcap == 0.0f && a->logit_softcap == 30.0f);
    assert_true(a->embed_scale == 5.65685425f);
    assert_int_equal(a->act, HONE_ACT_GELU_TANH);
    assert_string_equal(l.names.mlp_norm, "model.layers.#.pre_feedforward_layernorm");
    hone_free(a);
}

static void test_refusals(void **state) {
    (void)state;
    bad("\"architectures\": [\"Llama9ForCausalLM\"]", HONE_ERR_UNSUPPORTED,
        "unknown architecture Llama9ForCausalLM; the nearest known ones are LlamaForCausalLM");
    bad("\"model_type\": \"mamba\"", HONE_ERR_UNSUPPORTED, "mamba");
    bad("\"x\": 1", HONE_ERR_FORMAT, "architectures");
#define L "\"architectures\": [\"LlamaForCausalLM\"], "
    bad(L "\"quantization_config\": {\"quant_method\": \"awq\"}", HONE_ERR_UNSUPPORTED, "quantization_config");
    bad(L "\"rope_scaling\": {\"type\": \"spiral\", \"factor\": 2}", HONE_ERR_UNSUPPORTED, "spiral");
    bad(L "\"rope_scaling\": {\"type\": \"linear\"}", HONE_ERR_FORMAT, "rope factor");
    bad(L "\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1], \"long_factor\": [1]}", HONE_ERR_FORMAT,
        "short_factor has 1 entries");
    bad(L "\"rope_scaling\": 3", HONE_ERR_FORMAT, "rope_scaling");
    bad(L "\"rope_parameters\": {\"partial_rotary_factor\": 2}", HONE_ERR_FORMAT, "partial_rotary_factor");
    bad(L "\"hidden_act\": \"mish\"", HONE_ERR_UNSUPPORTED, "mish");
    bad(L "\"eos_token_id\": \"2\"", HONE_ERR_FORMAT, "eos_token_id");
    bad(L "\"num_key_value_heads\": 3", HONE_ERR_FORMAT, "does not divide");
    bad(L "\"rms_norm_eps\": \"small\"", HONE_ERR_FORMAT, "rms_norm_eps");
#undef L
    hone_arch *a = hone_zalloc(1, sizeof(*a));
    hone_layout l;
    hone_error err = {0};
    json_t *c = json_pack("{s:[s], s:i}", "architectures", "LlamaForCausalLM", "hidden_size", 32);
    assert_int_equal(hone_family_from_config(a, &l, c, NULL, &err), HONE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "'vocab_size' is missing"));
    json_decref(c);
    hone_free(a);
}

/* A GGUF file of one embedding (and tensors of factors), with the shared keys and those that extra adds. */
static hone_arch *arch_of_gguf(const char *name, uint32_t n_layer, uint64_t (*extra)(hone_buf *b), bool factors,
                               hone_layout *l) {
    static const char *const keys[] = {"block_count", "context_length", "embedding_length", "feed_forward_length",
                                       "attention.head_count"};
    const uint32_t values[] = {n_layer, 128, 32, 64, 4};
    hone_buf meta = {0}, b = {0};
    char key[64];
    uint64_t n_key = 1;
    fixture_gguf_text(&meta, "general.architecture", name);
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++, n_key++) {
        snprintf(key, sizeof(key), "%s.%s", name, keys[i]);
        fixture_gguf_u32(&meta, key, values[i]);
    }
    if (extra) n_key += extra(&meta);
    fixture_gguf_head(&b, 3, factors ? 3 : 1, n_key);
    hone_buf_add(&b, meta.data, meta.n);
    const uint64_t embed[2] = {32, 1}, four[1] = {4};
    fixture_gguf_tensor(&b, "token_embd.weight", 2, embed, 0, 0);
    if (factors) {
        fixture_gguf_tensor(&b, "rope_factors_short.weight", 1, four, 0, 128);
        fixture_gguf_tensor(&b, "rope_factors_long.weight", 1, four, 0, 160);
    }
    fixture_pad(&b, 32);
    for (uint32_t i = 0; i < 44; i++) fixture_f32(&b, (float)(i + 1));

    hone_gguf *g = NULL;
    hone_error err = {0};
    hone_arch *a = hone_zalloc(1, sizeof(*a));
    if (hone_gguf_open(&g, b.data, b.n, "x", &err) || hone_family_from_gguf(a, l, g, &err))
        fail_msg("%s: %s", name, err.message);
    hone_gguf_close(g);
    hone_buf_free(&b);
    hone_buf_free(&meta);
    return a;
}

static uint64_t granite_keys(hone_buf *b) {
    fixture_gguf_f32(b, "granite.attention.scale", 0.5f);
    fixture_gguf_f32(b, "granite.embedding_scale", 12.0f);
    fixture_gguf_f32(b, "granite.residual_scale", 0.25f);
    fixture_gguf_f32(b, "granite.logit_scale", 8.0f);
    return 4;
}
static uint64_t gemma3_keys(hone_buf *b) {
    fixture_gguf_u32(b, "gemma3.attention.sliding_window", 16);
    fixture_gguf_f32(b, "gemma3.rope.freq_base", 1e6f);
    return 2;
}
static uint64_t phi3_keys(hone_buf *b) {
    fixture_gguf_u32(b, "phi3.rope.scaling.original_context_length", 32);
    return 1;
}
static uint64_t linear_keys(hone_buf *b) {
    fixture_gguf_text(b, "llama.rope.scaling.type", "linear");
    fixture_gguf_f32(b, "llama.rope.scaling.factor", 4.0f);
    fixture_gguf_u32(b, "llama.attention.sliding_window", 9);
    return 3;
}

static void test_gguf_metadata(void **state) {
    (void)state;
    hone_layout l;
    hone_arch *a = arch_of_gguf("llama", 2, linear_keys, false, &l);
    assert_int_equal(a->rope[0].scaling, HONE_ROPE_LINEAR);
    assert_true(a->rope[0].factor == 4.0 && l.permuted_qk && a->tied);
    assert_int_equal(a->layer[1].window, 9);
    assert_int_equal(a->n_kv_head, 4);
    hone_free(a);

    a = arch_of_gguf("granite", 2, granite_keys, false, &l);
    assert_true(a->attn_scale == 0.5f && a->embed_scale == 12.0f && a->residual_scale == 0.25f);
    assert_true(a->logit_scale == 0.125f && l.permuted_qk);
    hone_free(a);

    a = arch_of_gguf("gemma3", 7, gemma3_keys, false, &l);
    for (uint32_t i = 0; i < 7; i++) {
        assert_int_equal(a->layer[i].window, i == 5 ? 0 : 16);
        assert_int_equal(a->layer[i].rope, i == 5 ? 0 : 1);
    }
    assert_true(a->rope[0].theta == 1e6 && a->rope[1].theta == 1e4 && !a->norm_plus_one);
    hone_free(a);

    a = arch_of_gguf("smollm3", 8, NULL, false, &l);
    for (uint32_t i = 0; i < 8; i++) assert_int_equal(a->layer[i].rope, i % 4 == 3 ? HONE_NO_ROPE : 0);
    hone_free(a);

    a = arch_of_gguf("phi3", 2, phi3_keys, true, &l);
    assert_int_equal(a->rope[0].scaling, HONE_ROPE_LONGROPE);
    assert_true(a->rope[0].factor == 4.0 && a->rope[0].divisor[0][0] == 33.0f && a->rope[0].divisor[1][3] == 44.0f);
    assert_int_equal(l.names.linear[HONE_MOD_UP].part, HONE_PART_UP);
    assert_int_equal(a->no_adapter,
                     1u << HONE_MOD_Q | 1u << HONE_MOD_K | 1u << HONE_MOD_V | 1u << HONE_MOD_GATE | 1u << HONE_MOD_UP);
    hone_free(a);

    a = arch_of_gguf("gemma2", 4, NULL, false, &l);
    assert_true(a->attn_softcap == 50.0f && a->logit_softcap == 30.0f && a->post_norm && !a->norm_plus_one);
    assert_int_equal(a->layer[0].window, 4096);
    assert_int_equal(a->layer[1].window, 0);
    hone_free(a);
}

int main(void) {
    hone_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old_and_new_forms_agree),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_gguf_metadata),
    };
    return cmocka_run_group_tests_name("model/family", tests, NULL, NULL);
}
