/* granite.c - Granite: Llama with multipliers on embedding, scores, branches and logits; HyperCLOVA X, which adds norms
 * behind the branches and multiplies the logits where Granite divides. */
#include "model/family/family.h"

static hone_status shared(hone_arch *a, hone_layout *l, const json_t *c, float *logits, hone_error *err) {
    bool attention_bias = false, mlp_bias = false;
    hone_status s = family_config(a, c, &(family_defaults){0}, err);
    if (s == HONE_OK) s = family_flag(c, "attention_bias", &attention_bias, false, err);
    if (s == HONE_OK) s = family_flag(c, "mlp_bias", &mlp_bias, false, err);
    if (s == HONE_OK) s = family_f32(c, "embedding_multiplier", &a->embed_scale, 1.0f, err);
    if (s == HONE_OK) s = family_f32(c, "residual_multiplier", &a->residual_scale, 1.0f, err);
    if (s == HONE_OK) s = family_f32(c, "logits_scaling", logits, 1.0f, err);
    family_bias(l, attention_bias, attention_bias, mlp_bias);
    return s;
}

static hone_status granite_config(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    float logits = 1;
    hone_status s = shared(a, l, c, &logits, err);
    if (s == HONE_OK) s = family_f32(c, "attention_multiplier", &a->attn_scale, 1.0f, err);
    if (s == HONE_OK && logits == 0) s = hone_fail(err, HONE_ERR_FORMAT, "'logits_scaling' is 0");
    if (s == HONE_OK) a->logit_scale = 1.0f / logits;
    return s;
}

static hone_status granite_gguf(hone_arch *a, hone_layout *l, const hone_gguf *g, hone_error *err) {
    float logits = 1;
    hone_status s = family_gguf_real(g, "attention.scale", &a->attn_scale, err);
    if (s == HONE_OK) s = family_gguf_real(g, "embedding_scale", &a->embed_scale, err);
    if (s == HONE_OK) s = family_gguf_real(g, "residual_scale", &a->residual_scale, err);
    if (s == HONE_OK) s = family_gguf_real(g, "logit_scale", &logits, err);
    if (s == HONE_OK && logits == 0) s = hone_fail(err, HONE_ERR_FORMAT, "granite.logit_scale is 0");
    if (s == HONE_OK) a->logit_scale = 1.0f / logits;
    l->permuted_qk = true;
    return s;
}

static hone_status hyperclovax_config(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    hone_status s = shared(a, l, c, &a->logit_scale, err);
    if (s == HONE_OK) s = family_f32(c, "attention_multiplier", &a->attn_scale, a->attn_scale, err);
    if (s == HONE_OK) s = family_flag(c, "use_post_norm", &a->post_norm, true, err);
    l->names.attn_post_norm = "model.layers.#.post_norm1";
    l->names.mlp_post_norm = "model.layers.#.post_norm2";
    return s;
}

const hone_family family_granite = {
    .name = "granite",
    .architectures = (const char *const[]){"GraniteForCausalLM", NULL},
    .model_types = (const char *const[]){"granite", NULL},
    .gguf = (const char *const[]){"granite", NULL},
    .from_config = granite_config,
    .from_gguf = granite_gguf,
};

const hone_family family_hyperclovax = {
    .name = "hyperclovax",
    .architectures = (const char *const[]){"HyperCLOVAXForCausalLM", NULL},
    .model_types = (const char *const[]){"hyperclovax", NULL},
    .from_config = hyperclovax_config,
};
