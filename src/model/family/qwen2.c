/* qwen2.c - Qwen2 and Qwen2.5: Llama with biases on q, k and v, and a sliding window on the upper layers where the
 * configuration asks for it (Yang et al., 2024).  qwen_windows is Qwen3's too. */
#include "model/family/qwen.h"

hone_status qwen_windows(hone_arch *a, const json_t *c, hone_error *err) {
    uint32_t window = 0;
    bool use = false, found = false;
    int64_t from = 28;
    hone_status s = family_flag(c, "use_sliding_window", &use, false, err);
    if (s == HONE_OK) s = family_window(c, 4096, &window, err);
    if (s == HONE_OK) s = hone_json_get_int(c, "max_window_layers", 0, INT32_MAX, &from, from, err);
    if (!use) window = 0;
    if (s == HONE_OK) s = family_layer_types(a, c, window, &found, err);
    for (uint32_t i = 0; s == HONE_OK && !found && i < a->n_layer; i++) a->layer[i].window = i >= from ? window : 0;
    return s;
}

static hone_status from_config(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    const hone_status s = family_config(a, c, &(family_defaults){.n_kv_head = 32, .max_position = 32768}, err);
    family_bias(l, true, false, false);
    return s ? s : qwen_windows(a, c, err);
}

static hone_status from_gguf(hone_arch *a, hone_layout *l, const hone_gguf *g, hone_error *err) {
    (void)a, (void)g, (void)err;
    family_bias(l, true, false, false);
    return HONE_OK;
}

const hone_family family_qwen2 = {
    .name = "qwen2",
    .architectures = (const char *const[]){"Qwen2ForCausalLM", NULL},
    .model_types = (const char *const[]){"qwen2", NULL},
    .gguf = (const char *const[]){"qwen2", NULL},
    .from_config = from_config,
    .from_gguf = from_gguf,
};
