/* gemma3.c - Gemma 3's text model (Gemma Team, 2025): Gemma 2 without soft caps, with norms on the heads of q and k,
 * five local layers to one global, and a rope base for each kind; VaultGemma: Gemma 2 without the norms behind the
 * branches. */
#include <math.h>

#include "model/family/family.h"

static hone_status shared(hone_arch *a, hone_layout *l, const json_t *c, const family_defaults *d, uint32_t *window,
                          hone_error *err) {
    float scalar = 256;
    bool bias = false, both_ways = false;
    hone_status s = family_config(a, c, d, err);
    if (s == HONE_OK) s = family_flag(c, "attention_bias", &bias, false, err);
    if (s == HONE_OK) s = family_flag(c, "use_bidirectional_attention", &both_ways, false, err);
    if (s == HONE_OK) s = family_f32(c, "query_pre_attn_scalar", &scalar, scalar, err);
    if (s == HONE_OK) s = family_window(c, 4096, window, err);
    if (s) return s;
    if (both_ways) return hone_fail(err, HONE_ERR_UNSUPPORTED, "use_bidirectional_attention is not supported");
    if (!(scalar > 0)) return hone_fail(err, HONE_ERR_FORMAT, "'query_pre_attn_scalar' must be over 0");
    a->attn_scale = (float)(1.0 / sqrt((double)scalar));
    a->norm_plus_one = true;
    a->embed_scale = (float)sqrt(a->width);
    family_bias(l, bias, bias, false);
    l->names.mlp_norm = "model.layers.#.pre_feedforward_layernorm";
    return HONE_OK;
}

static hone_status gemma3(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {.tied = true,
                               .head_dim = 256,
                               .n_kv_head = 4,
                               .theta = 1000000.0,
                               .max_position = 131072,
                               .act = "gelu_pytorch_tanh",
                               .act_key = "hidden_activation"};
    uint32_t window = 0;
    int64_t pattern = 6;
    bool found = false;
    hone_status s = shared(a, l, c, &d, &window, err);
    if (s == HONE_OK) s = family_f32(c, "attn_logit_softcapping", &a->attn_softcap, 0.0f, err);
    if (s == HONE_OK) s = family_f32(c, "final_logit_softcapping", &a->logit_softcap, 0.0f, err);
    if (s == HONE_OK) s = hone_json_get_int(c, "sliding_window_pattern", 1, INT32_MAX, &pattern, pattern, err);
    if (s == HONE_OK) s = family_layer_types(a, c, window, &found, err);
    if (s == HONE_OK) s = family_local_rope(a, c, "rope_local_base_freq", 10000.0, err);
    if (s == HONE_OK && !found) family_every_nth_full(a, window, (uint32_t)pattern);
    a->post_norm = true;
    a->qk_norm = HONE_QK_NORM_HEAD;
    l->names.attn_post_norm = "model.layers.#.post_attention_layernorm";
    l->names.mlp_post_norm = "model.layers.#.post_feedforward_layernorm";
    return s;
}

/* GGUF says the window and the global base; the local base, the pattern and the scale of the scores are its readers'
 * knowledge: only 27B, with 62 layers, has a scale of its own. */
static hone_status gemma3_gguf(hone_arch *a, hone_layout *l, const hone_gguf *g, hone_error *err) {
    (void)l;
    uint32_t window = 0;
    hone_status s = family_gguf_u32(g, "attention.sliding_window", &window, err);
    if (s == HONE_OK) s = family_gguf_real(g, "attn_logit_softcapping", &a->attn_softcap, err);
    if (s == HONE_OK) s = family_gguf_real(g, "final_logit_softcapping", &a->logit_softcap, err);
    if (s == HONE_OK) s = family_local_rope(a, NULL, NULL, 10000.0, err);
    if (s) return s;
    family_every_nth_full(a, window, 6);
    for (uint32_t i = 0; i < a->n_layer; i++) a->layer[i].rope = a->layer[i].window ? 1 : 0;
    a->act = HONE_ACT_GELU_TANH;
    a->embed_scale = (float)sqrt(a->width);
    a->post_norm = true;
    a->qk_norm = HONE_QK_NORM_HEAD;
    if (a->n_layer == 62) a->attn_scale = (float)(1.0 / sqrt((double)a->width / a->n_head));
    return HONE_OK;
}

static hone_status cap(const json_t *c, const char *key, float *out, float otherwise, hone_error *err) {
    return family_f32(c, key, out, json_is_null(json_object_get(c, key)) ? 0.0f : otherwise, err);
}

static hone_status vaultgemma(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {.tied = true,
                               .head_dim = 256,
                               .n_kv_head = 4,
                               .max_position = 8192,
                               .act = "gelu_pytorch_tanh",
                               .act_key = "hidden_activation"};
    uint32_t window = 0;
    bool found = false;
    hone_status s = shared(a, l, c, &d, &window, err);
    if (s == HONE_OK) s = cap(c, "attn_logit_softcapping", &a->attn_softcap, 50.0f, err);
    if (s == HONE_OK) s = cap(c, "final_logit_softcapping", &a->logit_softcap, 30.0f, err);
    if (s == HONE_OK) s = family_layer_types(a, c, window, &found, err);
    if (s == HONE_OK && !found) family_every_nth_full(a, window, 2);
    return s;
}

const hone_family family_gemma3 = {
    .name = "gemma3",
    .architectures = (const char *const[]){"Gemma3ForCausalLM", NULL},
    .model_types = (const char *const[]){"gemma3_text", NULL},
    .gguf = (const char *const[]){"gemma3", NULL},
    .from_config = gemma3,
    .from_gguf = gemma3_gguf,
};

const hone_family family_vaultgemma = {
    .name = "vaultgemma",
    .architectures = (const char *const[]){"VaultGemmaForCausalLM", NULL},
    .model_types = (const char *const[]){"vaultgemma", NULL},
    .from_config = vaultgemma,
};
