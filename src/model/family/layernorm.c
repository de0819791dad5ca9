/* layernorm.c - families with LayerNorm: Cohere (attention and MLP side by side, neighbouring pairs rotated), StableLM,
 * Phi, StarCoder 2, Nemotron (norms of form 1 + w), Jais 2. */
#include "model/family/family.h"

static hone_status refuse_flag(const json_t *c, const char *key, hone_error *err) {
    bool set = false;
    const hone_status s = family_flag(c, key, &set, false, err);
    return s || !set ? s : hone_fail(err, HONE_ERR_UNSUPPORTED, "%s is not supported", key);
}

static hone_status biases(hone_layout *l, const json_t *c, bool otherwise, hone_error *err) {
    bool attention = false, mlp = false;
    hone_status s = family_flag(c, "attention_bias", &attention, otherwise, err);
    if (s == HONE_OK) s = family_flag(c, "mlp_bias", &mlp, otherwise, err);
    family_bias(l, attention, attention, mlp);
    return s;
}

/* ---- Cohere ---- */

static hone_status cohere(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {
        .tied = true, .theta = 500000.0, .eps = 1e-5, .eps_key = "layer_norm_eps", .max_position = 8192};
    bool bias = false;
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = refuse_flag(c, "use_qk_norm", err);
    if (s == HONE_OK) s = family_flag(c, "attention_bias", &bias, false, err);
    if (s == HONE_OK) s = family_f32(c, "logit_scale", &a->logit_scale, 0.0625f, err);
    family_bias(l, bias, bias, false);
    family_interleaved(a);
    a->norm = HONE_NORM_LAYER;
    a->block = HONE_BLOCK_PARALLEL;
    l->names.mlp_norm = NULL;
    return s;
}

/* Windows with rotation on three of four layers, the others see all and do not rotate. */
static hone_status cohere2(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    uint32_t window = 0;
    int64_t pattern = 4;
    bool found = false;
    hone_status s = cohere(a, l, c, err);
    if (s == HONE_OK) s = family_window(c, 4096, &window, err);
    if (s == HONE_OK) s = family_layer_types(a, c, window, &found, err);
    if (s == HONE_OK) s = hone_json_get_int(c, "sliding_window_pattern", 1, INT32_MAX, &pattern, pattern, err);
    if (s == HONE_OK && !found) family_every_nth_full(a, window, (uint32_t)pattern);
    for (uint32_t i = 0; s == HONE_OK && window && i < a->n_layer; i++)
        if (a->layer[i].window == 0) a->layer[i].rope = HONE_NO_ROPE;
    return s;
}

/* ---- one norm after the other ---- */

static hone_status stablelm(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {
        .n_kv_head = 32, .eps = 1e-5, .eps_key = "layer_norm_eps", .partial = 0.25, .max_position = 4096};
    bool bias = false, parallel = false;
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = refuse_flag(c, "qk_layernorm", err);
    if (s == HONE_OK) s = family_flag(c, "use_qkv_bias", &bias, false, err);
    if (s == HONE_OK) s = family_flag(c, "use_parallel_residual", &parallel, false, err);
    family_bias(l, bias, false, false);
    a->norm = HONE_NORM_LAYER;
    l->layer_norm_bias = true;
    if (parallel) {
        a->block = HONE_BLOCK_PARALLEL;
        l->names.mlp_norm = NULL;
    }
    return s;
}

static hone_status starcoder2(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {.tied = true,
                               .n_kv_head = 2,
                               .eps = 1e-5,
                               .eps_key = "norm_epsilon",
                               .max_position = 4096,
                               .act = "gelu_pytorch_tanh"};
    bool bias = false;
    uint32_t window = 0;
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = family_flag(c, "use_bias", &bias, true, err);
    if (s == HONE_OK) s = family_window(c, 0, &window, err);
    for (uint32_t i = 0; s == HONE_OK && i < a->n_layer; i++) a->layer[i].window = window;
    family_bias(l, bias, bias, bias);
    a->norm = HONE_NORM_LAYER;
    a->mlp_gated = false;
    l->layer_norm_bias = true;
    l->names.linear[HONE_MOD_UP].name = "model.layers.#.mlp.c_fc";
    l->names.linear[HONE_MOD_DOWN].name = "model.layers.#.mlp.c_proj";
    return s;
}

static hone_status phi(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {.eps = 1e-5, .eps_key = "layer_norm_eps", .partial = 0.5, .act = "gelu_new"};
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = refuse_flag(c, "qk_layernorm", err);
    family_bias(l, true, true, true);
    a->norm = HONE_NORM_LAYER;
    a->block = HONE_BLOCK_PARALLEL;
    a->mlp_gated = false;
    l->layer_norm_bias = true;
    l->head_bias = true;
    l->names.mlp_norm = NULL;
    l->names.final_norm = "model.final_layernorm";
    l->names.linear[HONE_MOD_O].name = "model.layers.#.self_attn.dense";
    l->names.linear[HONE_MOD_UP].name = "model.layers.#.mlp.fc1";
    l->names.linear[HONE_MOD_DOWN].name = "model.layers.#.mlp.fc2";
    return s;
}

static hone_status nemotron(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {
        .eps = 1e-5, .eps_key = "norm_eps", .partial = 0.5, .max_position = 4096, .act = "relu2"};
    const hone_status s = family_config(a, c, &d, err);
    a->norm = HONE_NORM_LAYER;
    a->norm_plus_one = true;
    a->mlp_gated = false;
    l->layer_norm_bias = true;
    return s ? s : biases(l, c, false, err);
}

static hone_status jais2(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {.eps = 1e-5, .eps_key = "layer_norm_eps", .max_position = 8192, .act = "relu2"};
    const hone_status s = family_config(a, c, &d, err);
    a->norm = HONE_NORM_LAYER;
    a->mlp_gated = false;
    l->layer_norm_bias = true;
    return s ? s : biases(l, c, true, err);
}

#define KIN(id, architecture)                                                                                          \
    const hone_family family_##id = {                                                                                  \
        .name = #id,                                                                                                   \
        .architectures = (const char *const[]){architecture, NULL},                                                    \
        .model_types = (const char *const[]){#id, NULL},                                                               \
        .from_config = id,                                                                                             \
    }
KIN(cohere, "CohereForCausalLM");
KIN(cohere2, "Cohere2ForCausalLM");
KIN(stablelm, "StableLmForCausalLM");
KIN(starcoder2, "Starcoder2ForCausalLM");
KIN(phi, "PhiForCausalLM");
KIN(nemotron, "NemotronForCausalLM");
KIN(jais2, "Jais2ForCausalLM");
