/* peft.c - the contract is in peft.h. */
#include "peft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "model/safetensors.h"

typedef struct {
    hone_tensor tensor[160];
    char name[160][128];
    size_t n;
    uint64_t seed;
    bool widened;
} files;

static void add(files *f, hone_dtype type, const char *path, const char *part, uint32_t rows, uint32_t cols,
                float scale, float shift) {
    const size_t n = (size_t)rows * (cols ? cols : 1), i = f->n++;
    uint8_t *data = calloc(n, 4);
    for (size_t j = 0; j < n; j++) {
        float x = shift + scale * (hone_random_unit(f->seed, 7, (uint32_t)i, j) - 0.5f);
        if (f->widened) x = hone_bf16_widen(hone_bf16_round(x));
        const uint16_t h = type == HONE_BF16 ? hone_bf16_round(x) : hone_f16_round(x);
        if (type == HONE_F32)
            memcpy(data + 4 * j, &x, 4);
        else
            memcpy(data + 2 * j, &h, 2);
    }
    snprintf(f->name[i], sizeof(f->name[i]), "base_model.model.%s.%s", path, part);
    f->tensor[i] = (hone_tensor){.name = f->name[i],
                                 .dtype = type,
                                 .n_dim = cols ? 2 : 1,
                                 .shape = {rows, cols},
                                 .data = data,
                                 .bytes = n * hone_dtype_block_bytes(type)};
}

static void add_pair(files *f, const peft_options *o, const char *path, uint32_t n, uint32_t k) {
    add(f, o->type, path, "lora_A.weight", o->rank, k, 0.4f, 0);
    add(f, o->type, path, "lora_B.weight", n, o->rank, 0.2f, 0);
    if (o->dora) add(f, o->type, path, "lora_magnitude_vector", n, 0, 0.3f, 1.0f);
}

void peft_files(const hone_arch *a, const peft_options *o, hone_buf *config, hone_buf *tensors) {
    files *f = calloc(1, sizeof(*f));
    f->seed = o->seed;
    f->widened = o->widened;
    const uint32_t d = a->width, q = a->n_head * a->head_dim, kv = a->n_kv_head * a->head_dim, ff = a->mlp_width;
    const uint32_t n[HONE_MOD_COUNT] = {q, kv, kv, d, ff, ff, d}, k[HONE_MOD_COUNT] = {d, d, d, q, d, d, ff};
    const char *comma = "";
    hone_buf_format(config, "{\"peft_type\": \"LORA\", \"r\": %u, \"lora_alpha\": %u, \"use_dora\": %s, ", o->rank,
                    2 * o->rank, o->dora ? "true" : "false");
    if (o->n_invocation) {
        hone_buf_text(config, "\"alora_invocation_tokens\": [");
        for (uint32_t i = 0; i < o->n_invocation; i++) hone_buf_format(config, "%s%d", i ? ", " : "", o->invocation[i]);
        hone_buf_text(config, "], ");
    }
    hone_buf_text(config, "\"target_modules\": [");
    for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
        if (!(o->modules >> m & 1) || (m == HONE_MOD_GATE && !a->mlp_gated)) continue;
        hone_buf_format(config, "%s\"%s\"", comma, hone_module_name((hone_module)m));
        comma = ", ";
        for (uint32_t l = 0; l < a->n_layer; l++) {
            char path[96];
            snprintf(path, sizeof(path), "model.layers.%u.%s", l, hone_module_path((hone_module)m));
            add_pair(f, o, path, n[m], k[m]);
        }
    }
    if (o->head) {
        hone_buf_format(config, "%s\"lm_head\"", comma);
        comma = ", ";
        add_pair(f, o, "lm_head", a->vocab, d);
    }
    if (o->embed) {
        hone_buf_format(config, "%s\"embed_tokens\"", comma);
        add(f, o->type, "model.embed_tokens", "lora_embedding_A", o->rank, a->vocab, 0.4f, 0);
        add(f, o->type, "model.embed_tokens", "lora_embedding_B", d, o->rank, 0.2f, 0);
    }
    hone_buf_text(config, "]}");
    hone_safetensors_write(tensors, f->tensor, f->n, NULL);
    for (size_t i = 0; i < f->n; i++) free((void *)(uintptr_t)f->tensor[i].data);
    free(f);
}

hone_adapter *peft_load(const hone_model *m, const peft_options *o, hone_error *err) {
    hone_buf config = {0}, tensors = {0};
    hone_adapter *a = NULL;
    peft_files(&m->arch, o, &config, &tensors);
    hone_adapter_load(&a, config.data, config.n, tensors.data, tensors.n, m, err);
    hone_buf_free(&config);
    hone_buf_free(&tensors);
    return a;
}

hone_adapter *peft_read(const hone_model *m, const peft_options *o, hone_error *err) {
    hone_buf config = {0}, tensors = {0};
    hone_adapter *a = NULL;
    peft_files(&m->arch, o, &config, &tensors);
    if (hone_adapter_read_bytes(&a, config.data, config.n, tensors.data, tensors.n, &m->arch, err) == HONE_OK &&
        hone_adapter_bind(a, m, err) != HONE_OK) {
        hone_adapter_free(a);
        a = NULL;
    }
    hone_buf_free(&config);
    hone_buf_free(&tensors);
    return a;
}
