/* gemma2.c - Gemma and Gemma 2 (Gemma Team, 2024): embeddings scaled by sqrt(width), norms of form 1 + w, gated
 * tanh-GELU, head tied; Gemma 2 adds norms behind attention and MLP, soft caps, a window on every other layer, and its
 * own scale of the scores.  GGUF files store their norms as 1 + w already. */
#include <math.h>

#include "model/family/family.h"

static void shared(hone_arch *a) {
    a->norm_plus_one = true;
    a->act = HONE_ACT_GELU_TANH; /* early files say gelu and mean this one */
    a->embed_scale = (float)sqrt(a->width);
}

static hone_status gemma_config(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    bool bias = false;
    const family_defaults d = {
        .tied = true, .head_dim = 256, .n_kv_head = 16, .max_position = 8192, .act = "gelu_pytorch_tanh"};
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = family_flag(c, "attention_bias", &bias, false, err);
    family_bias(l, bias, bias, false);
    shared(a);
    return s;
}

static hone_status gemma_gguf(hone_arch *a, hone_layout *l, const hone_gguf *g, hone_error *err) {
    (void)l, (void)g, (void)err;
    shared(a);
    a->norm_plus_one = false;
    return HONE_OK;
}

static void alternate(hone_arch *a, uint32_t window) {
    for (uint32_t i = 0; i < a->n_layer; i++) a->layer[i].window = i % 2 == 0 ? window : 0;
}

static hone_status cap(const json_t *c, const char *key, float *out, float otherwise, hone_error *err) {
    const bool off = json_is_null(json_object_get(c, key)); /* null switches it off, absence does not */
    return family_f32(c, key, out, off ? 0.0f : otherwise, err);
}

static hone_status gemma2_config(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {.tied = true,
                               .head_dim = 256,
                               .n_kv_head = 4,
                               .max_position = 8192,
                               .act = "gelu_pytorch_tanh",
                               .act_key = "hidden_activation"};
    bool bias = false, found = false;
    uint32_t window = 0;
    float scalar = 256;
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = family_flag(c, "attention_bias", &bias, false, err);
    if (s == HONE_OK) s = cap(c, "attn_logit_softcapping", &a->attn_softcap, 50.0f, err);
    if (s == HONE_OK) s = cap(c, "final_logit_softcapping", &a->logit_softcap, 30.0f, err);
    if (s == HONE_OK) s = family_f32(c, "query_pre_attn_scalar", &scalar, scalar, err);
    if (s == HONE_OK) s = family_window(c, 4096, &window, err);
    if (s == HONE_OK) s = family_layer_types(a, c, window, &found, err);
    if (s) return s;
    if (!found) alternate(a, window);
    if (!(scalar > 0)) return hone_fail(err, HONE_ERR_FORMAT, "'query_pre_attn_scalar' must be over 0");
    const hone_act act = a->act;
    shared(a);
    a->act = act;
    a->attn_scale = (float)(1.0 / sqrt((double)scalar));
    a->post_norm = true;
    l->names.attn_post_norm = "model.layers.#.post_attention_layernorm";
    l->names.mlp_norm = "model.layers.#.pre_feedforward_layernorm";
    l->names.mlp_post_norm = "model.layers.#.post_feedforward_layernorm";
    family_bias(l, bias, bias, false);
    return HONE_OK;
}

static hone_status gemma2_gguf(hone_arch *a, hone_layout *l, const hone_gguf *g, hone_error *err) {
    uint32_t window = 4096;
    hone_status s = gemma_gguf(a, l, g, err);
    a->attn_softcap = 50.0f;
    a->logit_softcap = 30.0f;
    if (s == HONE_OK) s = family_gguf_real(g, "attn_logit_softcapping", &a->attn_softcap, err);
    if (s == HONE_OK) s = family_gguf_real(g, "final_logit_softcapping", &a->logit_softcap, err);
    if (s == HONE_OK) s = family_gguf_u32(g, "attention.sliding_window", &window, err);
    alternate(a, window);
    a->post_norm = true;
    /* No key says the scale of the scores: of the published sizes only 27B, with its 46 layers, has another one. */
    if (a->n_layer == 46) a->attn_scale = (float)(1.0 / sqrt((double)a->width / a->n_head));
    return s;
}

const hone_family family_gemma = {
    .name = "gemma",
    .architectures = (const char *const[]){"GemmaForCausalLM", NULL},
    .model_types = (const char *const[]){"gemma", NULL},
    .gguf = (const char *const[]){"gemma", NULL},
    .from_config = gemma_config,
    .from_gguf = gemma_gguf,
};

const hone_family family_gemma2 = {
    .name = "gemma2",
    .architectures = (const char *const[]){"Gemma2ForCausalLM", NULL},
    .model_types = (const char *const[]){"gemma2", NULL},
    .gguf = (const char *const[]){"gemma2", NULL},
    .from_config = gemma2_config,
    .from_gguf = gemma2_gguf,
};
