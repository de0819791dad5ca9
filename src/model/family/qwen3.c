/* qwen3.c - Qwen3: Qwen2 without its biases, with norms on the heads of q and k (Yang et al., 2025). */
#include "model/family/qwen.h"

static hone_status from_config(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    bool bias = false;
    hone_status s =
        family_config(a, c, &(family_defaults){.n_kv_head = 32, .head_dim = 128, .max_position = 32768}, err);
    if (s == HONE_OK) s = family_flag(c, "attention_bias", &bias, false, err);
    family_bias(l, bias, bias, false);
    a->qk_norm = HONE_QK_NORM_HEAD;
    return s ? s : qwen_windows(a, c, err);
}

static hone_status from_gguf(hone_arch *a, hone_layout *l, const hone_gguf *g, hone_error *err) {
    (void)l, (void)g, (void)err;
    a->qk_norm = HONE_QK_NORM_HEAD;
    return HONE_OK;
}

const hone_family family_qwen3 = {
    .name = "qwen3",
    .architectures = (const char *const[]){"Qwen3ForCausalLM", NULL},
    .model_types = (const char *const[]){"qwen3", NULL},
    .gguf = (const char *const[]){"qwen3", NULL},
    .from_config = from_config,
    .from_gguf = from_gguf,
};
