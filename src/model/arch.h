/* arch.h - the architecture record: everything that distinguishes one decoder family from another, as data.
 *
 * A family (src/model/family/NAME.c) fills it from a configuration and names the tensors; the one forward pass of
 * src/engine reads it and nothing else.  Fields are chosen so that the table of known architectures needs values here,
 * not code there; a field no loaded family sets yet stays at its zero, which always means "as plain Llama does it".
 *
 * Letters: V vocabulary, D model width, L layers, H query heads, G key/value heads, E head width, F MLP width. */
#ifndef HONE_ARCH_H
#define HONE_ARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "kernel/kernel.h"

#define HONE_MAX_LAYERS 512u
#define HONE_MAX_ROPES 4u
#define HONE_MAX_ROT 512u

typedef enum { HONE_NORM_RMS, HONE_NORM_LAYER } hone_norm_kind;
typedef enum {
    HONE_BLOCK_SERIAL,
    HONE_BLOCK_PARALLEL
} hone_block_kind; /* parallel: attention and MLP both read the block's input */
typedef enum {
    HONE_QK_NORM_NONE,
    HONE_QK_NORM_HEAD,
    HONE_QK_NORM_WIDTH
} hone_qk_norm; /* over E, or over the whole H*E / G*E */
typedef enum { HONE_POSITION_ROPE, HONE_POSITION_LEARNED, HONE_POSITION_ALIBI, HONE_POSITION_NONE } hone_position_kind;

typedef enum {
    HONE_ROPE_PLAIN,
    HONE_ROPE_LINEAR,  /* positions divided by factor */
    HONE_ROPE_LLAMA3,  /* Llama 3.1: three bands */
    HONE_ROPE_YARN,    /* Peng et al., 2023 */
    HONE_ROPE_DYNAMIC, /* NTK by length: chosen once at admission, see DESIGN's arithmetic contract */
    HONE_ROPE_LONGROPE
} hone_rope_scaling;

/* One table of rotary frequencies; most models have one, some another for their local layers. */
typedef struct {
    double theta;     /* base */
    uint32_t rot;     /* rotated dimensions of a head, even, <= E */
    bool interleaved; /* pairs (2i, 2i+1); false: (i, i + rot/2) */
    hone_rope_scaling scaling;
    double factor;            /* linear, llama3, yarn, dynamic */
    double low_freq_factor;   /* llama3 */
    double high_freq_factor;  /* llama3 */
    uint32_t original_length; /* llama3, yarn, longrope, dynamic: context before scaling */
    double attention_factor;  /* yarn, longrope: cos and sin are multiplied by it; 0: the formula's default */
    double beta_fast, beta_slow, mscale, mscale_all_dim; /* yarn */
    bool yarn_no_truncate;
    bool divided[2];                     /* which of the two divisors are given */
    float divisor[2][HONE_MAX_ROT / 2];  /* [rot / 2] each.  Plain: GGUF's rope_freqs in [0].  longrope: its short
                                            factors in  [0], the long ones, for sequences over original_length, in [1] */
    float inv_freq[2][HONE_MAX_ROT / 2]; /* by hone_rope_prepare(): what the fields above come to */
    float scale[2];                      /* the same: the factor of cos and sin */
} hone_rope;

typedef struct {
    uint32_t window; /* sliding window in positions, 0: full causal */
    uint8_t rope;    /* index into hone_arch.rope; HONE_NO_ROPE: this layer has no rotation */
    bool moe;        /* the MLP of this layer is routed (no family of this version sets it) */
} hone_layer_arch;
#define HONE_NO_ROPE 255u

typedef struct {
    char family[32];       /* "llama", "qwen2", ... our name */
    char architecture[64]; /* as the file says: "LlamaForCausalLM" or GGUF's "llama" */
    uint32_t vocab;        /* V: rows of the embedding */
    uint32_t width;        /* D */
    uint32_t n_layer;      /* L */
    uint32_t n_head;       /* H */
    uint32_t n_kv_head;    /* G, divides H */
    uint32_t head_dim;     /* E */
    uint32_t mlp_width;    /* F */
    uint32_t max_position; /* context length the configuration promises */

    hone_norm_kind norm;
    float norm_eps;
    bool norm_plus_one; /* the factor is 1 + weight (Gemma) */
    hone_block_kind block;
    bool pre_norm;   /* norms before attention and MLP (nearly all) */
    bool post_norm;  /* norms after attention and MLP, before the residual sum (Gemma 2; OLMo 2 has only these) */
    bool embed_norm; /* a norm right after the embedding */

    hone_qk_norm qk_norm;
    bool qk_norm_after_rope;
    float attn_scale;   /* scores are multiplied by it: 1 / sqrt(E) or what query_pre_attn_scalar says */
    float attn_softcap; /* 0: none */
    float clip_qkv;     /* 0: none */
    hone_position_kind position;
    uint32_t n_rope;
    hone_rope rope[HONE_MAX_ROPES];
    hone_layer_arch layer[HONE_MAX_LAYERS]; /* [n_layer] */

    hone_act act;
    bool mlp_gated; /* down(act(gate x) * up x); false: down(act(up x)) */

    float embed_scale;    /* rows of the embedding are multiplied by it; 1 by default */
    float residual_scale; /* branches are multiplied by it before the sum; 1 by default */
    float logit_scale;    /* logits are multiplied by it; 1 by default */
    float logit_softcap;  /* 0: none */
    bool tied;            /* the head is the embedding */

    uint32_t no_adapter; /* bit m: module m is stored fused with others or under a name of the family's own, so that
                            PEFT's adapters of this model name something else; adapters on it are refused */

    int32_t bos, eos[8], n_eos, pad; /* as the configuration says; -1 none */
} hone_arch;

/* Every number in range and none contradicting another (heads divide, rotations fit a head, layers name ropes that
 * exist); then the rope tables are prepared.  HONE_ERR_FORMAT names the field. */
hone_status hone_arch_check(hone_arch *arch, hone_error *err);

/* The record as JSON and back, exact to the bit: what tile files carry.  to_json: NULL without memory. */
json_t *hone_arch_to_json(const hone_arch *arch);
hone_status hone_arch_from_json(hone_arch *out, const json_t *json, hone_error *err);

/* A vocabulary of n_vocab tokens asks for no row that the embedding lacks; more rows than tokens are padding. */
hone_status hone_arch_check_vocabulary(const hone_arch *arch, uint64_t n_vocab, hone_error *err);

/* Fill inv_freq and scale from the other fields. */
void hone_rope_prepare(hone_rope *rope);

/* cos and sin of position p for one rope table: [rot / 2] each, already multiplied by the attention factor.
 * length: the longest the sequence may become (dynamic and longrope choose by it; others ignore it). */
void hone_rope_row(const hone_rope *rope, uint32_t position, uint32_t length, float *cos_out, float *sin_out);

/* The frequencies themselves, [rot / 2], and the factor for cos and sin.  In float, step by step as transformers 5 does
 * it (modeling_rope_utils.py): angles of far positions are sensitive to the last bit. */
void hone_rope_frequencies(const hone_rope *rope, uint32_t length, float *inv_freq, float *factor);

#endif
