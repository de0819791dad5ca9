/* test_arch.c - the record's checks, its form as JSON, and the rotary tables against numbers from transformers 5.23
 * (torch 2.13, float32), made by tests/model/rope_numbers.py. */
#include "test.h"

#include <math.h>

#include "base/mem.h"
#include "model/arch.h"

static hone_arch *sane(void) {
    hone_arch *a = hone_zalloc(1, sizeof(*a));
    strcpy(a->family, "llama");
    strcpy(a->architecture, "LlamaForCausalLM");
    a->vocab = 96, a->width = 32, a->n_layer = 2, a->n_head = 4, a->n_kv_head = 2, a->head_dim = 16, a->mlp_width = 64;
    a->max_position = 128, a->norm_eps = 1e-5f, a->attn_scale = 0.25f, a->pre_norm = a->mlp_gated = true;
    a->embed_scale = a->residual_scale = a->logit_scale = 1;
    a->bos = 1, a->eos[0] = 2, a->n_eos = 1, a->pad = -1, a->n_rope = 1;
    a->rope[0] = (hone_rope){.theta = 10000, .rot = 16};
    return a;
}

static void test_json_is_exact(void **state) {
    (void)state;
    hone_arch *a = sane(), *b = hone_zalloc(1, sizeof(*b));
    hone_error err = {0};
    a->norm_eps = 1.1920929e-07f, a->attn_softcap = 1.0f / 3.0f, a->n_rope = 2;
    a->rope[0].scaling = HONE_ROPE_LLAMA3, a->rope[0].factor = 8.1, a->rope[0].low_freq_factor = 1,
    a->rope[0].high_freq_factor = 4, a->rope[0].original_length = 32;
    a->rope[1] = (hone_rope){.theta = 1e6, .rot = 8, .interleaved = true, .divided = {true, false}};
    for (uint32_t i = 0; i < 4; i++) a->rope[1].divisor[0][i] = 1.0f + (float)i / 7.0f;
    a->layer[1] = (hone_layer_arch){.window = 8, .rope = 1};
    a->layer[0].rope = HONE_NO_ROPE;
    assert_int_equal(hone_arch_check(a, &err), HONE_OK);
    json_t *json = hone_arch_to_json(a);
    hone_buf text = {0};
    assert_true(json && hone_json_write(json, &text));
    json_decref(json);
    json = hone_json_parse(text.data, text.n, &err);
    if (hone_arch_from_json(b, json, &err)) fail_msg("%s", err.message);
    assert_memory_equal(a, b, sizeof(*a)); /* both begin as zeros, padding too */

    /* A field less, or of another kind, is an error that names it. */
    const char *key;
    json_t *v, *whole = json_copy(json);
    json_object_foreach(whole, key, v) {
        json_object_del(json, key);
        if (hone_arch_from_json(b, json, &err) != HONE_ERR_FORMAT) fail_msg("%s may be missing", key);
        json_object_set_new(json, key, json_object());
        if (hone_arch_from_json(b, json, &err) != HONE_ERR_FORMAT) fail_msg("%s may be an object", key);
        json_object_set(json, key, v);
    }
    json_decref(whole);
    assert_int_equal(hone_arch_from_json(b, json, &err), HONE_OK);
    json_decref(json);
    hone_buf_free(&text);
    hone_free(a);
    hone_free(b);
}

static void test_checks_name_the_field(void **state) {
    (void)state;
    hone_error err;
#define BAD(says, change)                                                                                              \
    do {                                                                                                               \
        hone_arch *a = sane();                                                                                         \
        err = (hone_error){0};                                                                                         \
        change;                                                                                                        \
        assert_int_equal(hone_arch_check(a, &err), HONE_ERR_FORMAT);                                                   \
        if (!strstr(err.message, says)) fail_msg("wanted %s, got \"%s\"", says, err.message);                          \
        hone_free(a);                                                                                                  \
    } while (0)
    BAD("vocab_size", a->vocab = 0);
    BAD("hidden_size", a->width = 1u << 30);
    BAD("num_hidden_layers", a->n_layer = HONE_MAX_LAYERS + 1);
    BAD("num_attention_heads", a->n_head = 0);
    BAD("does not divide", a->n_kv_head = 3);
    BAD("num_key_value_heads", a->n_kv_head = 8);
    BAD("head_dim", a->head_dim = 0);
    BAD("intermediate_size", a->mlp_width = 0);
    BAD("max_position", a->max_position = 0);
    BAD("epsilon", a->norm_eps = NAN);
    BAD("attention scale", a->attn_scale = 0);
    BAD("rotated", a->rope[0].rot = 18);
    BAD("even", a->rope[0].rot = 15);
    BAD("rope_theta", a->rope[0].theta = -1);
    BAD("rope factor", a->rope[0].scaling = HONE_ROPE_LINEAR);
    BAD("longrope", (a->rope[0].scaling = HONE_ROPE_LONGROPE, a->rope[0].factor = 2, a->rope[0].original_length = 8));
    BAD("layer 1 names rope", a->layer[1].rope = 1);
#undef BAD
    hone_arch *a = sane();
    assert_int_equal(hone_arch_check_vocabulary(a, 96, &err), HONE_OK);
    assert_int_equal(hone_arch_check_vocabulary(a, 90, &err), HONE_OK);
    assert_int_equal(hone_arch_check_vocabulary(a, 97, &err), HONE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "97 tokens"));
    hone_free(a);
}

/* What transformers computes: inv_freq[0], [3], [5], [7] of 16 dimensions and the factor of cos and sin. */
static void test_frequencies(void **state) {
    (void)state;
    static const struct {
        const char *what;
        hone_rope rope;
        uint32_t length;
        float freq[4], factor;
    } table[] = {
#include "rope_numbers.inc"
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        hone_rope r = table[i].rope;
        float freq[HONE_MAX_ROT / 2], factor = 0;
        static const uint32_t at[4] = {0, 3, 5, 7};
        hone_rope_prepare(&r);
        hone_rope_frequencies(&r, table[i].length, freq, &factor);
        for (uint32_t k = 0; k < 4; k++)
            if (fabsf(freq[at[k]] - table[i].freq[k]) > 1.2e-7f * table[i].freq[k]) /* one unit in the last place */
                fail_msg("%s: frequency %u is %.9g, wanted %.9g", table[i].what, at[k], (double)freq[at[k]],
                         (double)table[i].freq[k]);
        if (fabsf(factor - table[i].factor) > 1.2e-7f * factor)
            fail_msg("%s: factor %.9g, wanted %.9g", table[i].what, (double)factor, (double)table[i].factor);
        float c[8], s[8];
        hone_rope_row(&r, 21, table[i].length, c, s);
        for (uint32_t k = 0; k < 8; k++) {
            assert_true(c[k] == cosf(21.0f * freq[k]) * factor);
            assert_true(s[k] == sinf(21.0f * freq[k]) * factor);
        }
    }
}

int main(void) {
    hone_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_is_exact),
        cmocka_unit_test(test_checks_name_the_field),
        cmocka_unit_test(test_frequencies),
    };
    return cmocka_run_group_tests_name("model/arch", tests, NULL, NULL);
}
