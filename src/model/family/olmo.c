/* olmo.c - OLMo: LayerNorms without weights, q, k and v clipped; OLMo 2 and 3: RMS norms behind the branches only, q
 * and k normed over their whole width, OLMo 3 with windows and a scaled rope on its full layers (Groeneveld et al.,
 * 2024; OLMo et al., 2025); EXAONE 4: norms behind the branches, heads of q and k normed, full layers without rotation.
 */
#include "model/family/family.h"

static void norms_behind(hone_arch *a, hone_layout *l) {
    a->pre_norm = false;
    a->post_norm = true;
    l->names.attn_post_norm = "model.layers.#.post_attention_layernorm";
    l->names.mlp_post_norm = "model.layers.#.post_feedforward_layernorm";
}

static hone_status attention_bias(hone_layout *l, const json_t *c, hone_error *err) {
    bool bias = false;
    const hone_status s = family_flag(c, "attention_bias", &bias, false, err);
    family_bias(l, bias, bias, false);
    return s;
}

static hone_status olmo(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    hone_status s = family_config(a, c, &(family_defaults){0}, err);
    if (s == HONE_OK) s = attention_bias(l, c, err);
    if (s == HONE_OK) s = family_f32(c, "clip_qkv", &a->clip_qkv, 0.0f, err);
    a->norm = HONE_NORM_LAYER;
    a->norm_eps = 1e-5f; /* whatever the configuration says */
    l->norm_weightless = true;
    return s;
}

static hone_status olmo2(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const hone_status s = family_config(a, c, &(family_defaults){.eps = 1e-5}, err);
    a->qk_norm = HONE_QK_NORM_WIDTH;
    norms_behind(a, l);
    return s ? s : attention_bias(l, c, err);
}

static hone_status olmo3(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    uint32_t window = 0;
    bool found = false;
    hone_status s = family_config(a, c, &(family_defaults){.eps = 1e-5, .theta = 500000.0}, err);
    if (s == HONE_OK) s = attention_bias(l, c, err);
    if (s == HONE_OK) s = family_window(c, 4096, &window, err);
    if (s == HONE_OK) s = family_layer_types(a, c, window, &found, err);
    if (s == HONE_OK) s = family_local_rope(a, c, NULL, a->rope[0].theta, err);
    if (s == HONE_OK && !found) family_every_nth_full(a, window, 4);
    a->qk_norm = HONE_QK_NORM_WIDTH;
    norms_behind(a, l);
    return s;
}

static hone_status exaone4(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    uint32_t window = 0;
    bool found = false;
    int64_t pattern = 4;
    hone_status s = family_config(a, c, &(family_defaults){.n_kv_head = 32, .eps = 1e-5}, err);
    if (s == HONE_OK) s = family_window(c, 4096, &window, err);
    if (s == HONE_OK) s = family_layer_types(a, c, window, &found, err);
    if (s == HONE_OK && !found && window)
        s = hone_json_get_int(c, "sliding_window_pattern", 1, INT32_MAX, &pattern, pattern, err);
    if (s == HONE_OK && !found) family_every_nth_full(a, window, (uint32_t)pattern);
    for (uint32_t i = 0; s == HONE_OK && window && i < a->n_layer; i++)
        if (a->layer[i].window == 0) a->layer[i].rope = HONE_NO_ROPE;
    a->qk_norm = HONE_QK_NORM_HEAD;
    norms_behind(a, l);
    return s;
}

#define KIN(id, architecture)                                                                                          \
    const hone_family family_##id = {                                                                                  \
        .name = #id,                                                                                                   \
        .architectures = (const char *const[]){architecture, NULL},                                                    \
        .model_types = (const char *const[]){#id, NULL},                                                               \
        .from_config = id,                                                                                             \
    }
KIN(olmo, "OlmoForCausalLM");
KIN(olmo2, "Olmo2ForCausalLM");
KIN(olmo3, "Olmo3ForCausalLM");
KIN(exaone4, "Exaone4ForCausalLM");
