/* llama_kin.c - families that are Llama but for a line or two: another activation, biases elsewhere, rotation of
 * neighbouring pairs, layers without rotation or with a window, norms of q and k behind the rotation. */
#include "model/family/family.h"

static hone_status biases(hone_layout *l, const json_t *c, bool otherwise, hone_error *err) {
    bool attention = false, mlp = false;
    hone_status s = family_flag(c, "attention_bias", &attention, otherwise, err);
    if (s == HONE_OK) s = family_flag(c, "mlp_bias", &mlp, otherwise, err);
    family_bias(l, attention, attention, mlp);
    return s;
}

/* AFM of Arcee: squared ReLU, no gate. */
static hone_status arcee(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const hone_status s =
        family_config(a, c, &(family_defaults){.eps = 1e-5, .max_position = 4096, .act = "relu2"}, err);
    a->mlp_gated = false;
    return s ? s : biases(l, c, false, err);
}

/* Seed-OSS: biases on q, k, v, the output's by an option of its own. */
static hone_status seed_oss(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {.n_kv_head = 8, .head_dim = 128, .max_position = 524288};
    bool qkv = false, o = false, mlp = false;
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = family_flag(c, "attention_bias", &qkv, true, err);
    if (s == HONE_OK) s = family_flag(c, "attention_out_bias", &o, false, err);
    if (s == HONE_OK) s = family_flag(c, "mlp_bias", &mlp, false, err);
    family_bias(l, qkv, o, mlp);
    return s;
}

/* Helium: neighbouring pairs are rotated, the output has no bias. */
static hone_status helium(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {.n_kv_head = 20, .head_dim = 128, .eps = 1e-8, .theta = 100000.0, .max_position = 4096};
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = biases(l, c, false, err);
    l->bias[HONE_MOD_O] = false;
    family_interleaved(a);
    return s;
}

/* ERNIE 4.5: neighbouring pairs, one option for all biases. */
static hone_status ernie4_5(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {
        .tied = true, .n_kv_head = 2, .head_dim = 128, .eps = 1e-5, .theta = 500000.0, .max_position = 131072};
    bool bias = false;
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = family_flag(c, "use_bias", &bias, false, err);
    family_bias(l, bias, bias, bias);
    family_interleaved(a);
    return s;
}

/* SmolLM3: every fourth layer has no rotation. */
static hone_status smollm3(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {.tied = true, .n_kv_head = 4, .theta = 2000000.0, .max_position = 32768};
    bool use = false, found = false;
    uint32_t window = 0;
    int64_t interval = 4;
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = biases(l, c, false, err);
    if (s == HONE_OK) s = family_flag(c, "use_sliding_window", &use, false, err);
    if (s == HONE_OK) s = family_window(c, 0, &window, err);
    if (s == HONE_OK) s = hone_json_get_int(c, "no_rope_layer_interval", 1, INT32_MAX, &interval, interval, err);
    if (s == HONE_OK) s = family_layer_types(a, c, window, &found, err);
    const json_t *list = json_object_get(c, "no_rope_layers");
    if (s == HONE_OK && json_is_array(list) && json_array_size(list) != a->n_layer)
        s = hone_fail(err, HONE_ERR_FORMAT, "no_rope_layers has %zu entries, num_hidden_layers is %u",
                      json_array_size(list), a->n_layer);
    for (uint32_t i = 0; s == HONE_OK && i < a->n_layer; i++) {
        const json_t *v = json_array_get(list, i);
        const bool turns =
            json_is_array(list) ? json_is_true(v) || json_integer_value(v) != 0 : (i + 1) % interval != 0;
        if (!turns) a->layer[i].rope = HONE_NO_ROPE;
        if (!found) a->layer[i].window = use && !turns ? window : 0;
    }
    return s;
}

static hone_status smollm3_gguf(hone_arch *a, hone_layout *l, const hone_gguf *g, hone_error *err) {
    (void)g, (void)err;
    for (uint32_t i = 3; i < a->n_layer; i += 4) a->layer[i].rope = HONE_NO_ROPE;
    l->permuted_qk = true;
    return HONE_OK;
}

/* Code World Model: a window on three of four layers, Llama 3's scaling. */
static hone_status cwm(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {
        .n_kv_head = 8, .head_dim = 128, .eps = 1e-5, .theta = 1000000.0, .max_position = 131072};
    bool found = false;
    uint32_t window = 0;
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = biases(l, c, false, err);
    if (s == HONE_OK) s = family_window(c, 8192, &window, err);
    if (s == HONE_OK) s = family_layer_types(a, c, window, &found, err);
    for (uint32_t i = 0; s == HONE_OK && !found && i < a->n_layer; i++) a->layer[i].window = i % 4 == 0 ? 0 : window;
    return s;
}

/* Hunyuan: the heads of q and k are normed after they were rotated. */
static hone_status hunyuan(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    bool bias = false;
    hone_status s = family_config(a, c, &(family_defaults){.eps = 1e-5}, err);
    if (s == HONE_OK) s = family_flag(c, "attention_bias", &bias, false, err);
    family_bias(l, bias, bias, false);
    a->qk_norm = HONE_QK_NORM_HEAD;
    a->qk_norm_after_rope = true;
    l->names.q_norm = "model.layers.#.self_attn.query_layernorm";
    l->names.k_norm = "model.layers.#.self_attn.key_layernorm";
    return s;
}

const hone_family family_smollm3 = {
    .name = "smollm3",
    .architectures = (const char *const[]){"SmolLM3ForCausalLM", NULL},
    .model_types = (const char *const[]){"smollm3", NULL},
    .gguf = (const char *const[]){"smollm3", NULL},
    .from_config = smollm3,
    .from_gguf = smollm3_gguf,
};

#define KIN(id, architecture, from)                                                                                    \
    const hone_family family_##id = {                                                                                  \
        .name = #id,                                                                                                   \
        .architectures = (const char *const[]){architecture, NULL},                                                    \
        .model_types = (const char *const[]){#id, NULL},                                                               \
        .from_config = from,                                                                                           \
    }
KIN(arcee, "ArceeForCausalLM", arcee);
KIN(seed_oss, "SeedOssForCausalLM", seed_oss);
KIN(helium, "HeliumForCausalLM", helium);
KIN(ernie4_5, "Ernie4_5ForCausalLM", ernie4_5);
KIN(cwm, "CwmForCausalLM", cwm);
KIN(hunyuan_v1_dense, "HunYuanDenseV1ForCausalLM", hunyuan);
