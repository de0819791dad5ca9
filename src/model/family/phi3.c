/* phi3.c - Phi-3 and Phi-4: Llama with q, k, v in one tensor and gate, up in another, a share of each head rotated,
 * longrope (Abdin et al., 2024); GLM and GLM-4: gate and up fused, neighbouring pairs rotated in half of each head. */
#include <string.h>

#include "model/family/family.h"

static void fused_mlp(hone_layout *l) {
    l->names.linear[HONE_MOD_GATE].name = l->names.linear[HONE_MOD_UP].name = "model.layers.#.mlp.gate_up_proj";
    l->names.linear[HONE_MOD_GATE].part = HONE_PART_GATE;
    l->names.linear[HONE_MOD_UP].part = HONE_PART_UP;
}

static hone_status phi3(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    uint32_t window = 0;
    hone_status s = family_config(a, c, &(family_defaults){.eps = 1e-5, .max_position = 4096}, err);
    if (s == HONE_OK) s = family_window(c, 0, &window, err);
    for (uint32_t i = 0; s == HONE_OK && i < a->n_layer; i++) a->layer[i].window = window;
    for (uint32_t m = HONE_MOD_Q; m <= HONE_MOD_V; m++) {
        l->names.linear[m].name = "model.layers.#.self_attn.qkv_proj";
        l->names.linear[m].part = (hone_part)(HONE_PART_Q + m);
    }
    fused_mlp(l);
    return s;
}

/* longrope's divisors stand in the file as tensors. */
static hone_status divisors(hone_rope *r, const hone_gguf *g, hone_error *err) {
    static const char *const names[2] = {"rope_factors_short.weight", "rope_factors_long.weight"};
    for (uint32_t which = 0; which < 2; which++) {
        const hone_gguf_tensor *t = hone_gguf_tensor_find(g, names[which]);
        if (!t) return HONE_OK;
        if (t->dtype != HONE_F32 || t->n_dim != 1 || t->shape[0] != r->rot / 2 || r->rot > HONE_MAX_ROT)
            return hone_fail(err, HONE_ERR_FORMAT, "tensor %s: %u rotated dimensions need %u F32 numbers", names[which],
                             r->rot, r->rot / 2);
        memcpy(r->divisor[which], t->data, t->bytes);
        r->divided[which] = true;
    }
    r->scaling = HONE_ROPE_LONGROPE;
    return HONE_OK;
}

static hone_status phi3_gguf(hone_arch *a, hone_layout *l, const hone_gguf *g, hone_error *err) {
    uint32_t window = 0;
    float factor = 0;
    hone_rope *r = &a->rope[0];
    hone_status s = family_gguf_u32(g, "attention.sliding_window", &window, err);
    if (s == HONE_OK) s = family_gguf_real(g, "rope.scaling.attn_factor", &factor, err);
    if (s == HONE_OK) s = divisors(r, g, err);
    for (uint32_t i = 0; s == HONE_OK && i < a->n_layer; i++) a->layer[i].window = window;
    if (r->scaling == HONE_ROPE_LONGROPE) {
        r->factor = r->original_length ? (double)a->max_position / r->original_length : 1;
        r->attention_factor = (double)factor;
    }
    for (uint32_t m = HONE_MOD_Q; m <= HONE_MOD_V; m++) {
        l->names.linear[m].name = "blk.#.attn_qkv";
        l->names.linear[m].part = (hone_part)(HONE_PART_Q + m);
    }
    l->names.linear[HONE_MOD_GATE].name = l->names.linear[HONE_MOD_UP].name = "blk.#.ffn_up";
    l->names.linear[HONE_MOD_GATE].part = HONE_PART_GATE;
    l->names.linear[HONE_MOD_UP].part = HONE_PART_UP;
    return s;
}

static hone_status glm(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const family_defaults d = {
        .n_kv_head = 2, .head_dim = 128, .eps = 0.00000015625, .partial = 0.5, .max_position = 131072};
    bool bias = false;
    hone_status s = family_config(a, c, &d, err);
    if (s == HONE_OK) s = family_flag(c, "attention_bias", &bias, true, err);
    family_bias(l, bias, false, false);
    family_interleaved(a);
    fused_mlp(l);
    return s;
}

static hone_status glm4(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const hone_status s = glm(a, l, c, err);
    a->post_norm = true;
    l->names.attn_post_norm = "model.layers.#.post_self_attn_layernorm";
    l->names.mlp_post_norm = "model.layers.#.post_mlp_layernorm";
    return s;
}

const hone_family family_phi3 = {
    .name = "phi3",
    .architectures = (const char *const[]){"Phi3ForCausalLM", NULL},
    .model_types = (const char *const[]){"phi3", NULL},
    .gguf = (const char *const[]){"phi3", NULL},
    .from_config = phi3,
    .from_gguf = phi3_gguf,
};

const hone_family family_glm = {
    .name = "glm",
    .architectures = (const char *const[]){"GlmForCausalLM", NULL},
    .model_types = (const char *const[]){"glm", NULL},
    .from_config = glm,
};

const hone_family family_glm4 = {
    .name = "glm4",
    .architectures = (const char *const[]){"Glm4ForCausalLM", NULL},
    .model_types = (const char *const[]){"glm4", NULL},
    .from_config = glm4,
};
