/* adapter.h - low-rank adapters in PEFT's file format: adapter_config.json and adapter_model.safetensors (PEFT 0.21).
 *
 * y = W x + b + scale * B (A x): A and B in f32, scale never folded into B. */
#ifndef HONE_ADAPTER_H
#define HONE_ADAPTER_H

#include "base/json.h"
#include "model/model.h"

typedef struct {
    uint32_t rank; /* 0: this matrix has no adapter */
    float alpha;
    float scale; /* alpha / rank, rsLoRA: alpha / sqrt(rank) */
    float *a;    /* [rank, k] row-major; owned by the adapter */
    float *b;    /* [n, rank] row-major; owned by the adapter */
} hone_lora;

typedef struct {
    char base[256]; /* base_model_name_or_path as the file says */
    uint32_t rank;  /* r of the config: the default of modules without a pattern */
    float alpha;
    float dropout;
    bool rslora;
    uint32_t n_layer;
    uint32_t max_rank;
    hone_lora (*lora)[HONE_MOD_COUNT]; /* [n_layer] */
    bool target[HONE_MOD_COUNT];       /* modules named by target_modules */
    char digest[HONE_DIGEST_TEXT];     /* of adapter_model.safetensors; "" until written or read */
    uint64_t bytes;                    /* of A and B together */
    json_t *config;                    /* adapter_config.json as it will be written, base and digest aside; owned */
} hone_adapter;

/* What to make a new adapter of.  Ranks and alphas of single modules by PEFT's patterns (regular expressions on the
 * module's path), NULL: none. */
typedef struct {
    uint32_t rank;
    float alpha, dropout;
    bool rslora;
    bool target[HONE_MOD_COUNT];
    const json_t *rank_pattern, *alpha_pattern; /* objects or NULL; borrowed */
    uint64_t seed;
} hone_adapter_config;

/* A ~ uniform as PEFT's default initialisation (kaiming_uniform(a = sqrt(5)): +- 1 / sqrt(k)), a function of (seed,
 * layer, module, element); B = 0.  HONE_ERR_ARG for a rank or pattern that makes no sense. */
hone_status hone_adapter_new(hone_adapter **out, const hone_arch *arch, const hone_adapter_config *cfg,
                             hone_error *err);

/* Every tensor must land in a matrix of arch with the right shape; every option that this program does not implement
 * (DoRA, modules_to_save, bias, fan_in_fan_out, ...) is HONE_ERR_UNSUPPORTED naming it. */
hone_status hone_adapter_read(hone_adapter **out, const char *dir, const hone_arch *arch, hone_error *err);
hone_status hone_adapter_read_bytes(hone_adapter **out, const void *config, size_t config_n, const void *tensors,
                                    size_t tensors_n, const hone_arch *arch, hone_error *err);

/* Both files, each written atomically, into dir, which is made; a.digest is set.  The bytes are a function of the
 * adapter alone. */
hone_status hone_adapter_write(hone_adapter *a, const char *dir, hone_error *err);

void hone_adapter_free(hone_adapter *a); /* NULL is fine */

/* Tensors by PEFT's names for any matrix of floats that mirrors the adapter (gradients): the same file format.  a_of
 * and b_of: [n_layer * HONE_MOD_COUNT], entry l * HONE_MOD_COUNT + m shaped as lora[l][m].a and .b, not read where its
 * rank is 0. */
hone_status hone_adapter_write_tensors(const hone_adapter *shape, float *const *a_of, float *const *b_of,
                                       const char *path, hone_error *err);

#endif
