/* mistral.c - Mistral: Llama with a sliding window on every layer; Ministral: on the layers that its list names (Jiang
 * et al., 2023).  GGUF files of both are of the architecture llama. */
#include "model/family/family.h"

static hone_status from_config(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    (void)l;
    uint32_t window = 0;
    hone_status s = family_config(a, c, &(family_defaults){.n_kv_head = 8, .max_position = 4096 * 32}, err);
    if (s == HONE_OK) s = family_window(c, 4096, &window, err);
    for (uint32_t i = 0; s == HONE_OK && i < a->n_layer; i++) a->layer[i].window = window;
    return s;
}

static hone_status from_ministral(hone_arch *a, hone_layout *l, const json_t *c, hone_error *err) {
    uint32_t window = 0;
    bool found = false;
    hone_status s = from_config(a, l, c, err);
    if (s == HONE_OK) s = family_window(c, 4096, &window, err);
    return s ? s : family_layer_types(a, c, window, &found, err);
}

const hone_family family_mistral = {
    .name = "mistral",
    .architectures = (const char *const[]){"MistralForCausalLM", NULL},
    .model_types = (const char *const[]){"mistral", NULL},
    .from_config = from_config,
};

const hone_family family_ministral = {
    .name = "ministral",
    .architectures = (const char *const[]){"MinistralForCausalLM", NULL},
    .model_types = (const char *const[]){"ministral", NULL},
    .from_config = from_ministral,
};
