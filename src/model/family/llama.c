/* llama.c - Llama and what shares its graph: RMS norms before attention and MLP, rotary positions, gated SiLU, biases
 * by configuration (Touvron et al., 2023; Dubey et al., 2024). */
#include "model/family/family.h"

static hone_status from_config(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    bool attention_bias = false, mlp_bias = false;
    hone_status s = family_config(a, c, &(family_defaults){0}, err);
    if (s == HONE_OK) s = family_flag(c, "attention_bias", &attention_bias, false, err);
    if (s == HONE_OK) s = family_flag(c, "mlp_bias", &mlp_bias, false, err);
    family_bias(l, attention_bias, attention_bias, mlp_bias);
    return s;
}

static hone_status from_gguf(hone_arch *a, hone_layout *l, const hone_gguf *g, hone_error *err) {
    /* Mistral's files are of this architecture too, and say their window here. */
    uint32_t window = 0;
    const hone_status s = family_gguf_u32(g, "attention.sliding_window", &window, err);
    for (uint32_t i = 0; i < a->n_layer; i++) a->layer[i].window = window;
    l->permuted_qk = true;
    return s;
}

const hone_family family_llama = {
    .name = "llama",
    .architectures = (const char *const[]){"LlamaForCausalLM", "InternLM3ForCausalLM", NULL},
    .model_types = (const char *const[]){"llama", "internlm3", NULL},
    .gguf = (const char *const[]){"llama", NULL},
    .from_config = from_config,
    .from_gguf = from_gguf,
};
