/* adapter.h - low-rank adapters in PEFT's file format: adapter_config.json and adapter_model.safetensors (PEFT 0.21).
 *
 * LoRA    y = W x + b + scale * B (A x): A and B as stored, the sums in f32, scale never folded into B (Hu et al.,
 * 2021; scale = alpha / r, with use_rslora alpha / sqrt(r)). DoRA    y = gain * (W x + scale * B (A x)) + b with gain =
 * magnitude / |row of W + scale B A|, made once when the adapter meets its base (Liu et al., 2024). aLoRA   the adapter
 * applies from the beginning of the last occurrence of its invocation tokens in the prompt on (Greenewald et al.,
 * 2025); without an occurrence nowhere, as in PEFT. lm_head and embed_tokens may have a part as well, each of its own
 * also where the base ties them, as in PEFT.
 *
 * An adapter has one of two forms: float matrices that a trainer changes, or laid for serving (hone_adapter_load,
 * hone_adapter_lay), where B stands in panels and half-precision files stay as they are.  Both give the same bits. */
#ifndef HONE_ADAPTER_H
#define HONE_ADAPTER_H

#include "base/json.h"
#include "model/model.h"

#define HONE_LORA_MAX_RANK 256u     /* of a laid adapter */
#define HONE_ALORA_MAX_TOKENS 1024u /* invocation tokens */
#define HONE_APPLIES_NOWHERE UINT32_MAX

typedef struct {
    uint32_t rank; /* 0: this matrix has no adapter */
    uint32_t n, k; /* outputs and inputs */
    float alpha;
    float scale;      /* alpha / rank, rsLoRA: alpha / sqrt(rank) */
    float *a;         /* [rank, k] row-major, embed_tokens: [k, rank]; owned by the adapter, NULL when laid */
    float *b;         /* [n, rank] row-major; owned by the adapter, NULL when laid */
    float *magnitude; /* [n] DoRA, else NULL */
    float *gain;      /* [n] DoRA, by hone_adapter_bind; else NULL */
    /* Laid: F32, or BF16 or F16 where both matrices were stored so (widened exactly when they are used). */
    hone_dtype type;
    const void *laid_a; /* as a */
    const void
        *laid_b; /* [ceil(n / HONE_PANEL), rank, HONE_PANEL]: column r of a panel's rows is one line; zeros past n */
} hone_lora;

typedef struct {
    char base[256]; /* base_model_name_or_path as the file says */
    uint32_t rank;  /* r of the config: the default of modules without a pattern */
    float alpha;
    float dropout;
    bool rslora, dora;
    uint32_t n_layer;
    uint32_t max_rank;
    hone_lora (*lora)[HONE_MOD_COUNT]; /* [n_layer] */
    hone_lora embed, head;             /* embed_tokens (n: width, k: vocabulary) and lm_head */
    bool target[HONE_MOD_COUNT];       /* modules named by target_modules */
    int32_t *invocation;               /* [n_invocation] aLoRA's invocation tokens; owned */
    uint32_t n_invocation;             /* 0: it applies everywhere */
    bool laid;
    char digest[HONE_DIGEST_TEXT]; /* of adapter_model.safetensors; "" until hone_adapter_write or hone_adapter_read */
    uint64_t bytes;                /* of all matrices together */
    json_t *config;                /* adapter_config.json as it will be written, base and digest aside; owned */
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
 * (modules_to_save, bias, fan_in_fan_out, ...) is HONE_ERR_UNSUPPORTED naming it.  Where PEFT saved the base's own
 * embedding or head beside their adapters (save_embedding_layers), its shape is checked.  read_bytes leaves the digest
 * empty.  Float form; a DoRA adapter must be bound before it is used. */
hone_status hone_adapter_read(hone_adapter **out, const char *dir, const hone_arch *arch, hone_error *err);
hone_status hone_adapter_read_bytes(hone_adapter **out, const void *config, size_t config_n, const void *tensors,
                                    size_t tensors_n, const hone_arch *arch, hone_error *err);

/* The same, laid for serving and bound to model in one pass over the file; a saved embedding or head must be the base's
 * (HONE_ERR_UNSUPPORTED: it was changed).  HONE_ERR_LIMIT: a rank over HONE_LORA_MAX_RANK. */
hone_status hone_adapter_load(hone_adapter **out, const void *config, size_t config_n, const void *tensors,
                              size_t tensors_n, const hone_model *model, hone_error *err);

/* DoRA's gains for this base, by the model's kernels, rows in order; nothing to do for other adapters. */
hone_status hone_adapter_bind(hone_adapter *a, const hone_model *model, hone_error *err);

/* Binds an adapter in float form and lays it; the float matrices are gone afterwards.  A laid one stays.  On failure a
 * is as it was. */
hone_status hone_adapter_lay(hone_adapter *a, const hone_model *model, hone_error *err);

/* The position from which the adapter applies to this prompt: 0 without invocation tokens, HONE_APPLIES_NOWHERE where
 * they do not occur. */
uint32_t hone_adapter_applies_from(const hone_adapter *a, const int32_t *prompt, uint32_t n);

/* NULL where the trainer can go on with this adapter, else what it cannot train: "DoRA", "lm_head", ... */
const char *hone_adapter_untrainable(const hone_adapter *a);

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
