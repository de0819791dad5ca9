/* family.h - what a decoder family is: its names in the world, and how its configuration becomes a record.
 *
 * A family is one small file here.  It reads config.json (the form before 2026 with rope_theta and rope_scaling, and
 * the one with rope_parameters) or GGUF metadata into a hone_arch, and says under which names its tensors stand.
 * Defaults of absent keys are those of the transformers library's configuration classes, because published files rely
 * on them. */
#ifndef HONE_FAMILY_H
#define HONE_FAMILY_H

#include "base/json.h"
#include "model/arch.h"
#include "model/gguf.h"
#include "model/model.h"

/* Which rows of a stored tensor a matrix is: all, or its part of a fused one. */
typedef enum {
    HONE_PART_ALL,
    HONE_PART_Q, /* of q, k, v one after the other */
    HONE_PART_K,
    HONE_PART_V,
    HONE_PART_GATE, /* of gate, up one after the other */
    HONE_PART_UP
} hone_part;

/* Tensor names without ".weight" and ".bias"; '#' stands for the layer.  NULL: the family has none. */
typedef struct {
    const char *embed, *embed_norm, *final_norm, *head;
    const char *attn_norm, *attn_post_norm, *mlp_norm, *mlp_post_norm, *q_norm, *k_norm;
    struct {
        const char *name;
        hone_part part;
    } linear[HONE_MOD_COUNT];
} hone_tensor_names;

/* How the tensors of one file are to be read. */
typedef struct {
    hone_tensor_names names;
    bool bias[HONE_MOD_COUNT]; /* these have a bias */
    bool head_bias;
    bool optional_bias;   /* GGUF: no key tells, a bias is there when its tensor is */
    bool layer_norm_bias; /* LayerNorm weights have biases beside them */
    bool norm_weightless; /* norms have no weights at all */
    bool permuted_qk;     /* GGUF's Llama: rows of q and k stand pair by pair */
} hone_layout;

typedef struct {
    const char *name;
    const char *const *architectures; /* config.json's architectures[0], NULL at the end */
    const char *const *model_types;   /* config.json's model_type, NULL at the end */
    const char *const *gguf;          /* general.architecture, NULL at the end */
    /* arch holds the plain record of family_plain(); both finish it.  from_gguf NULL: not known in GGUF files. */
    hone_status (*from_config)(hone_arch *arch, hone_layout *layout, const json_t *config, hone_error *err);
    hone_status (*from_gguf)(hone_arch *arch, hone_layout *layout, const hone_gguf *g, hone_error *err);
} hone_family;

/* Record and layout of a folder's config.json (generation_config.json adds stop tokens; NULL: absent) or of a GGUF
 * file; checked.  An unknown architecture is HONE_ERR_UNSUPPORTED naming it and the nearest known ones. */
hone_status hone_family_from_config(hone_arch *arch, hone_layout *layout, const json_t *config,
                                    const json_t *generation_config, hone_error *err);
hone_status hone_family_from_gguf(hone_arch *arch, hone_layout *layout, const hone_gguf *g, hone_error *err);

/* Every family of the build, NULL at the end. */
const hone_family *const *hone_family_all(void);

/* ---- for the families ---- */

/* What the configuration classes differ in where a key is absent. */
typedef struct {
    bool tied;
    uint32_t head_dim;     /* 0: hidden_size / num_attention_heads */
    uint32_t n_kv_head;    /* 0: num_attention_heads */
    double theta;          /* 0: 10000 */
    double eps;            /* 0: 1e-6 */
    double partial;        /* partial_rotary_factor; 0: 1 */
    uint32_t max_position; /* 0: 2048 */
    const char *act;       /* NULL: silu */
    const char *act_key;   /* NULL: hidden_act */
    const char *eps_key;   /* NULL: rms_norm_eps */
} family_defaults;

/* The shared keys of config.json: shape, norm epsilon, activation, head, special tokens, rope. */
hone_status family_config(hone_arch *a, const json_t *c, const family_defaults *d, hone_error *err);

/* layer_types where present: sliding_attention layers get the window.  *found tells whether it was. */
hone_status family_layer_types(hone_arch *a, const json_t *c, uint32_t window, bool *found, hone_error *err);

/* A second rope table, unscaled, for layers with a window, unless the configuration has given one by layer type: its
 * base by key (may be NULL), else otherwise. */
hone_status family_local_rope(hone_arch *a, const json_t *c, const char *key, double otherwise, hone_error *err);

/* Every nth layer is full, the others have the window (0: all are full). */
void family_every_nth_full(hone_arch *a, uint32_t window, uint32_t n);

void family_interleaved(hone_arch *a);

/* sliding_window: absent gives otherwise, null gives 0. */
hone_status family_window(const json_t *c, uint32_t otherwise, uint32_t *out, hone_error *err);

hone_status family_f32(const json_t *c, const char *key, float *out, float otherwise, hone_error *err);
hone_status family_flag(const json_t *c, const char *key, bool *out, bool otherwise, hone_error *err);

/* The shared keys of GGUF metadata. */
hone_status family_gguf(hone_arch *a, const hone_gguf *g, hone_error *err);

/* Its keys begin with the architecture's name: "llama.block_count".  Absent: *out unchanged. */
hone_status family_gguf_real(const hone_gguf *g, const char *key, float *out, hone_error *err);
hone_status family_gguf_u32(const hone_gguf *g, const char *key, uint32_t *out, hone_error *err);

void family_bias(hone_layout *l, bool qkv, bool o, bool mlp);

extern const hone_tensor_names family_hf_names;   /* model.layers.#.self_attn.q_proj ... */
extern const hone_tensor_names family_gguf_names; /* blk.#.attn_q ... */

#endif
