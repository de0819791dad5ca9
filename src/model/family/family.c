/* family.c - the table of families, finding one by name, and what their configurations share.
 *
 * Order: names of tensors, config.json, rope, GGUF, finding. */
#include "model/family/family.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/family/list.h"

/* ---- names of tensors ---- */

const hone_tensor_names family_hf_names = {
    .embed = "model.embed_tokens",
    .final_norm = "model.norm",
    .head = "lm_head",
    .attn_norm = "model.layers.#.input_layernorm",
    .mlp_norm = "model.layers.#.post_attention_layernorm",
    .q_norm = "model.layers.#.self_attn.q_norm",
    .k_norm = "model.layers.#.self_attn.k_norm",
    .linear = {{"model.layers.#.self_attn.q_proj", HONE_PART_ALL},
               {"model.layers.#.self_attn.k_proj", HONE_PART_ALL},
               {"model.layers.#.self_attn.v_proj", HONE_PART_ALL},
               {"model.layers.#.self_attn.o_proj", HONE_PART_ALL},
               {"model.layers.#.mlp.gate_proj", HONE_PART_ALL},
               {"model.layers.#.mlp.up_proj", HONE_PART_ALL},
               {"model.layers.#.mlp.down_proj", HONE_PART_ALL}},
};

const hone_tensor_names family_gguf_names = {
    .embed = "token_embd",
    .final_norm = "output_norm",
    .head = "output",
    .attn_norm = "blk.#.attn_norm",
    .attn_post_norm = "blk.#.post_attention_norm",
    .mlp_norm = "blk.#.ffn_norm",
    .mlp_post_norm = "blk.#.post_ffw_norm",
    .q_norm = "blk.#.attn_q_norm",
    .k_norm = "blk.#.attn_k_norm",
    .linear = {{"blk.#.attn_q", HONE_PART_ALL},
               {"blk.#.attn_k", HONE_PART_ALL},
               {"blk.#.attn_v", HONE_PART_ALL},
               {"blk.#.attn_output", HONE_PART_ALL},
               {"blk.#.ffn_gate", HONE_PART_ALL},
               {"blk.#.ffn_up", HONE_PART_ALL},
               {"blk.#.ffn_down", HONE_PART_ALL}},
};

void family_bias(hone_layout *l, bool qkv, bool o, bool mlp) {
    l->bias[HONE_MOD_Q] = l->bias[HONE_MOD_K] = l->bias[HONE_MOD_V] = qkv;
    l->bias[HONE_MOD_O] = o;
    l->bias[HONE_MOD_GATE] = l->bias[HONE_MOD_UP] = l->bias[HONE_MOD_DOWN] = mlp;
}

/* Plain Llama, to be changed by the family. */
static void plain(hone_arch *a) {
    memset(a, 0, sizeof(*a));
    a->pre_norm = true;
    a->mlp_gated = true;
    a->embed_scale = a->residual_scale = a->logit_scale = 1.0f;
    a->bos = a->pad = -1;
    a->n_rope = 1;
}

/* ---- config.json ---- */

static bool given(const json_t *c, const char *key) {
    const json_t *v = json_object_get(c, key);
    return v && !json_is_null(v);
}

/* 0 when absent: the checks of the record name what is missing. */
static hone_status count(const json_t *c, const char *key, uint32_t *out, uint32_t otherwise, hone_error *err) {
    int64_t v = 0;
    const hone_status s = hone_json_get_int(c, key, 1, INT32_MAX, &v, otherwise, err);
    *out = (uint32_t)v;
    return s;
}

hone_status family_f32(const json_t *c, const char *key, float *out, float otherwise, hone_error *err) {
    double v = 0;
    const hone_status s = hone_json_get_real(c, key, &v, (double)otherwise, err);
    *out = (float)v;
    return s;
}

hone_status family_flag(const json_t *c, const char *key, bool *out, bool otherwise, hone_error *err) {
    return hone_json_get_bool(c, key, out, otherwise, err);
}

hone_status family_window(const json_t *c, uint32_t otherwise, uint32_t *out, hone_error *err) {
    *out = json_is_null(json_object_get(c, "sliding_window")) ? 0 : otherwise;
    if (!given(c, "sliding_window")) return HONE_OK;
    return count(c, "sliding_window", out, 0, err);
}

static hone_status activation(hone_arch *a, const char *name, hone_error *err) {
    static const struct {
        const char *name;
        hone_act act;
    } table[] = {{"silu", HONE_ACT_SILU},          {"swish", HONE_ACT_SILU},
                 {"gelu", HONE_ACT_GELU_ERF},      {"gelu_pytorch_tanh", HONE_ACT_GELU_TANH},
                 {"gelu_new", HONE_ACT_GELU_TANH}, {"gelu_fast", HONE_ACT_GELU_TANH},
                 {"relu", HONE_ACT_RELU},          {"relu2", HONE_ACT_RELU2}};
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (strcmp(table[i].name, name) == 0) {
            a->act = table[i].act;
            return HONE_OK;
        }
    return hone_fail(err, HONE_ERR_UNSUPPORTED, "activation %.60s is not supported", name);
}

/* A token id or a list of them, added to the stop tokens. */
static hone_status add_eos(hone_arch *a, const json_t *v, hone_error *err) {
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (!v || json_is_null(v)) return HONE_OK;
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(e) || json_integer_value(e) < -1 || json_integer_value(e) > INT32_MAX)
            return hone_fail(err, HONE_ERR_FORMAT, "eos_token_id must be a token id or a list of them");
        const int32_t id = (int32_t)json_integer_value(e);
        bool known = id < 0; /* some files say -1 for none */
        for (int32_t k = 0; k < a->n_eos; k++) known |= a->eos[k] == id;
        if (known) continue;
        if ((size_t)a->n_eos == sizeof(a->eos) / sizeof(*a->eos))
            return hone_fail(err, HONE_ERR_UNSUPPORTED, "more than %zu eos_token_id", sizeof(a->eos) / sizeof(*a->eos));
        a->eos[a->n_eos++] = id;
    }
    return HONE_OK;
}

hone_status family_layer_types(hone_arch *a, const json_t *c, uint32_t window, bool *found, hone_error *err) {
    const json_t *types = json_object_get(c, "layer_types");
    *found = types && !json_is_null(types);
    if (!*found) return HONE_OK;
    if (json_array_size(types) != a->n_layer)
        return hone_fail(err, HONE_ERR_FORMAT, "layer_types has %zu entries, num_hidden_layers is %u",
                         json_array_size(types), a->n_layer);
    for (uint32_t l = 0; l < a->n_layer; l++) {
        const char *type = json_string_value(json_array_get(types, l));
        if (type && strcmp(type, "full_attention") == 0) {
            a->layer[l].window = 0;
        } else if (type && strcmp(type, "sliding_attention") == 0) {
            if (window == 0)
                return hone_fail(err, HONE_ERR_FORMAT, "layer %u is sliding_attention, but sliding_window is not set",
                                 l);
            a->layer[l].window = window;
        } else {
            return hone_fail(err, HONE_ERR_UNSUPPORTED, "layer %u is of type %.60s, which is not supported here", l,
                             type ? type : "(no text)");
        }
    }
    return HONE_OK;
}

/* ---- rope ---- */

/* r: rope_parameters, or one of its parts, or the old rope_scaling; c: config.json, where older files keep the rest. */
static hone_status rope_numbers(hone_rope *o, const json_t *r, const json_t *c, hone_error *err) {
    hone_status s;
    uint32_t outer = 0;
    double factor = 0;
    if ((s = hone_json_get_real(r, "factor", &factor, 0, err))) return s;
    if ((s = hone_json_get_real(r, "low_freq_factor", &o->low_freq_factor, 1, err))) return s;
    if ((s = hone_json_get_real(r, "high_freq_factor", &o->high_freq_factor, 4, err))) return s;
    if ((s = hone_json_get_real(r, "attention_factor", &o->attention_factor, 0, err))) return s;
    if ((s = hone_json_get_real(r, "beta_fast", &o->beta_fast, 32, err))) return s;
    if ((s = hone_json_get_real(r, "beta_slow", &o->beta_slow, 1, err))) return s;
    if ((s = hone_json_get_real(r, "mscale", &o->mscale, 0, err))) return s;
    if ((s = hone_json_get_real(r, "mscale_all_dim", &o->mscale_all_dim, 0, err))) return s;
    bool truncate = true;
    if ((s = hone_json_get_bool(r, "truncate", &truncate, true, err))) return s;
    o->yarn_no_truncate = !truncate;

    const uint32_t longest = o->original_length; /* max_position_embeddings, by the caller */
    if (o->scaling != HONE_ROPE_DYNAMIC) {
        if ((s = count(r, "original_max_position_embeddings", &o->original_length, longest, err))) return s;
        if ((s = count(c, "original_max_position_embeddings", &outer, 0, err))) return s;
        if (outer) o->original_length = outer; /* Phi-3's place, which wins */
    }
    if (factor == 0 && (o->scaling == HONE_ROPE_YARN || o->scaling == HONE_ROPE_LONGROPE))
        factor = (double)longest / o->original_length;
    o->factor = factor;
    return HONE_OK;
}

static hone_status rope_divisor(hone_rope *o, uint32_t which, const json_t *r, const char *key, hone_error *err) {
    const json_t *v = json_object_get(r, key);
    if (json_array_size(v) != o->rot / 2 || o->rot > HONE_MAX_ROT)
        return hone_fail(err, HONE_ERR_FORMAT, "rope %s has %zu entries, %u rotated dimensions need %u", key,
                         json_array_size(v), o->rot, o->rot / 2);
    for (uint32_t i = 0; i < o->rot / 2; i++) {
        const json_t *x = json_array_get(v, i);
        if (!json_is_number(x))
            return hone_fail(err, HONE_ERR_FORMAT, "rope %s holds something else than numbers", key);
        o->divisor[which][i] = (float)json_number_value(x);
    }
    o->divided[which] = true;
    return HONE_OK;
}

static hone_status rope_of(hone_rope *o, const hone_arch *a, const json_t *r, const json_t *c, const family_defaults *d,
                           hone_error *err) {
    static const struct {
        const char *name;
        hone_rope_scaling scaling;
    } table[] = {{"default", HONE_ROPE_PLAIN}, {"linear", HONE_ROPE_LINEAR},   {"llama3", HONE_ROPE_LLAMA3},
                 {"yarn", HONE_ROPE_YARN},     {"dynamic", HONE_ROPE_DYNAMIC}, {"longrope", HONE_ROPE_LONGROPE},
                 {"su", HONE_ROPE_LONGROPE}};
    hone_status s;
    const char *type = NULL;
    double partial = 1, outer = 0;
    const double theta = d->theta != 0 ? d->theta : 10000.0;
    if ((s = hone_json_get_string(r, "type", &type, "default", err))) return s;
    if ((s = hone_json_get_string(r, "rope_type", &type, type, err))) return s;
    size_t i = 0;
    while (i < sizeof(table) / sizeof(*table) && strcmp(table[i].name, type) != 0) i++;
    if (i == sizeof(table) / sizeof(*table))
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "rope scaling %.60s is not supported", type);
    o->scaling = table[i].scaling;

    if ((s = hone_json_get_real(c, "rope_theta", &outer, theta, err))) return s;
    if ((s = hone_json_get_real(r, "rope_theta", &o->theta, outer, err))) return s;
    if ((s = hone_json_get_real(c, "partial_rotary_factor", &partial, d->partial != 0 ? d->partial : 1, err))) return s;
    if ((s = hone_json_get_real(r, "partial_rotary_factor", &partial, partial, err))) return s;
    if (!(partial > 0 && partial <= 1))
        return hone_fail(err, HONE_ERR_FORMAT, "partial_rotary_factor is %g, allowed is over 0 to 1", partial);
    o->rot = (uint32_t)(a->head_dim * partial);
    o->original_length = a->max_position;
    if (o->scaling == HONE_ROPE_PLAIN) return HONE_OK;
    if ((s = rope_numbers(o, r, c, err))) return s;
    if (o->scaling != HONE_ROPE_LONGROPE) return HONE_OK;
    if ((s = rope_divisor(o, 0, r, "short_factor", err))) return s;
    return rope_divisor(o, 1, r, "long_factor", err);
}

static hone_status family_rope(hone_arch *a, const json_t *c, const family_defaults *d, hone_error *err) {
    const json_t *r = json_object_get(c, "rope_parameters");
    if (!json_is_object(r)) r = json_object_get(c, "rope_scaling");
    if (r && !json_is_null(r) && !json_is_object(r))
        return hone_fail(err, HONE_ERR_FORMAT, "rope_parameters or rope_scaling must be an object");
    const json_t *full = json_object_get(r, "full_attention"), *local = json_object_get(r, "sliding_attention");
    if (!json_is_object(full) && !json_is_object(local)) return rope_of(&a->rope[0], a, r, c, d, err);
    /* One table for each kind of layer; which layer uses which is settled once the windows are known. */
    a->n_rope = 2;
    const hone_status s = rope_of(&a->rope[0], a, json_is_object(full) ? full : local, c, d, err);
    return s ? s : rope_of(&a->rope[1], a, json_is_object(local) ? local : full, c, d, err);
}

hone_status family_local_rope(hone_arch *a, const json_t *c, const char *key, double otherwise, hone_error *err) {
    if (a->n_rope == 2) return HONE_OK;
    a->n_rope = 2;
    a->rope[1] = (hone_rope){.theta = otherwise, .rot = a->rope[0].rot, .original_length = a->max_position};
    return key ? hone_json_get_real(c, key, &a->rope[1].theta, otherwise, err) : HONE_OK;
}

void family_every_nth_full(hone_arch *a, uint32_t window, uint32_t n) {
    for (uint32_t l = 0; l < a->n_layer; l++) a->layer[l].window = n && (l + 1) % n == 0 ? 0 : window;
}

void family_interleaved(hone_arch *a) {
    for (uint32_t i = 0; i < a->n_rope; i++) a->rope[i].interleaved = true;
}

hone_status family_config(hone_arch *a, const json_t *c, const family_defaults *d, hone_error *err) {
    hone_status s;
    if ((s = count(c, "vocab_size", &a->vocab, 0, err))) return s;
    if ((s = count(c, "hidden_size", &a->width, 0, err))) return s;
    if ((s = count(c, "intermediate_size", &a->mlp_width, 0, err))) return s;
    if ((s = count(c, "num_hidden_layers", &a->n_layer, 0, err))) return s;
    if ((s = count(c, "num_attention_heads", &a->n_head, 0, err))) return s;
    if (a->n_layer > HONE_MAX_LAYERS)
        return hone_fail(err, HONE_ERR_FORMAT, "num_hidden_layers is %u, at most %u are supported", a->n_layer,
                         HONE_MAX_LAYERS);
    const struct {
        const char *key;
        uint32_t v;
    } needed[] = {{"vocab_size", a->vocab},
                  {"hidden_size", a->width},
                  {"intermediate_size", a->mlp_width},
                  {"num_hidden_layers", a->n_layer},
                  {"num_attention_heads", a->n_head}};
    for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++)
        if (needed[i].v == 0) return hone_fail(err, HONE_ERR_FORMAT, "'%s' is missing", needed[i].key);

    /* An explicit null means: as many as query heads. */
    const bool kv_null = json_is_null(json_object_get(c, "num_key_value_heads"));
    if ((s = count(c, "num_key_value_heads", &a->n_kv_head, kv_null || !d->n_kv_head ? a->n_head : d->n_kv_head, err)))
        return s;
    if ((s = count(c, "head_dim", &a->head_dim, d->head_dim ? d->head_dim : a->width / a->n_head, err))) return s;
    if (!given(c, "head_dim") && !d->head_dim && a->width % a->n_head)
        return hone_fail(err, HONE_ERR_FORMAT,
                         "num_attention_heads %u does not divide hidden_size %u, and there is no head_dim", a->n_head,
                         a->width);
    if ((s = count(c, "max_position_embeddings", &a->max_position, d->max_position ? d->max_position : 2048, err)))
        return s;
    if ((s = family_f32(c, d->eps_key ? d->eps_key : "rms_norm_eps", &a->norm_eps, d->eps != 0 ? (float)d->eps : 1e-6f,
                        err)))
        return s;
    const char *act = NULL;
    if ((s = hone_json_get_string(c, d->act_key ? d->act_key : "hidden_act", &act, d->act ? d->act : "silu", err)))
        return s;
    if ((s = activation(a, act, err))) return s;
    if ((s = family_flag(c, "tie_word_embeddings", &a->tied, d->tied, err))) return s;
    a->attn_scale = (float)(1.0 / sqrt(a->head_dim));

    int64_t bos = -1, pad = -1;
    const json_t *b = json_object_get(c, "bos_token_id");
    if (json_is_integer(b) && json_integer_value(b) >= 0 && json_integer_value(b) <= INT32_MAX)
        bos = json_integer_value(b);
    if ((s = hone_json_get_int(c, "pad_token_id", -1, INT32_MAX, &pad, -1, err))) return s;
    a->bos = (int32_t)bos;
    a->pad = (int32_t)pad;
    if ((s = add_eos(a, json_object_get(c, "eos_token_id"), err))) return s;
    return family_rope(a, c, d, err);
}

/* ---- GGUF ---- */

static void gguf_key(const hone_gguf *g, const char *key, char out[192]) {
    hone_gguf_text arch = {"", 0};
    hone_gguf_get_text(g, "general.architecture", &arch, NULL);
    snprintf(out, 192, "%.*s.%s", (int)(arch.n < 64 ? arch.n : 64), arch.text, key);
}

hone_status family_gguf_real(const hone_gguf *g, const char *key, float *out, hone_error *err) {
    char full[192];
    double v = (double)*out;
    gguf_key(g, key, full);
    const hone_status s = hone_gguf_opt_real(g, full, &v, err);
    *out = (float)v;
    return s;
}

hone_status family_gguf_u32(const hone_gguf *g, const char *key, uint32_t *out, hone_error *err) {
    char full[192];
    int64_t v = *out;
    gguf_key(g, key, full);
    const hone_status s = hone_gguf_opt_int(g, full, 0, INT32_MAX, &v, err);
    *out = (uint32_t)v;
    return s;
}

static hone_status gguf_need(const hone_gguf *g, const char *key, uint32_t *out, hone_error *err) {
    char full[192];
    int64_t v = 0;
    gguf_key(g, key, full);
    const hone_status s = hone_gguf_get_int(g, full, 1, INT32_MAX, &v, err);
    *out = (uint32_t)v;
    return s == HONE_ERR_NOT_FOUND ? hone_fail(err, HONE_ERR_FORMAT, "metadata key %s is missing", full) : s;
}

static hone_status gguf_rope(hone_arch *a, const hone_gguf *g, hone_error *err) {
    hone_rope *r = &a->rope[0];
    hone_status s;
    char key[192];
    double v;
    r->theta = 10000.0;
    r->rot = a->head_dim;
    gguf_key(g, "rope.freq_base", key);
    if ((s = hone_gguf_opt_real(g, key, &r->theta, err))) return s;
    if ((s = family_gguf_u32(g, "rope.dimension_count", &r->rot, err))) return s;

    hone_gguf_text type = {"none", 4};
    gguf_key(g, "rope.scaling.type", key);
    if (hone_gguf_has(g, key) && (s = hone_gguf_get_text(g, key, &type, err))) return s;
    double factor = 1;
    gguf_key(g, "rope.scaling.factor", key);
    if ((s = hone_gguf_opt_real(g, key, &factor, err))) return s;
    r->original_length = a->max_position;
    if ((s = family_gguf_u32(g, "rope.scaling.original_context_length", &r->original_length, err))) return s;
    if (type.n == 6 && memcmp(type.text, "linear", 6) == 0 && factor != 1) {
        r->scaling = HONE_ROPE_LINEAR;
        r->factor = factor;
    } else if (type.n == 4 && memcmp(type.text, "yarn", 4) == 0) {
        r->scaling = HONE_ROPE_YARN;
        r->factor = factor;
        r->beta_fast = 32;
        r->beta_slow = 1;
        gguf_key(g, "rope.scaling.yarn_beta_fast", key);
        if ((s = hone_gguf_opt_real(g, key, &r->beta_fast, err))) return s;
        gguf_key(g, "rope.scaling.yarn_beta_slow", key);
        if ((s = hone_gguf_opt_real(g, key, &r->beta_slow, err))) return s;
        gguf_key(g, "rope.scaling.yarn_attn_factor", key);
        if (hone_gguf_has(g, key)) {
            v = 1;
            if ((s = hone_gguf_get_real(g, key, &v, err))) return s;
            r->attention_factor = v * (0.1 * log(r->factor) + 1.0); /* llama.cpp multiplies the default by it */
        }
    } else if (!(type.n == 6 && memcmp(type.text, "linear", 6) == 0) &&
               !(type.n == 4 && memcmp(type.text, "none", 4) == 0)) {
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "rope scaling %.*s is not supported",
                         (int)(type.n < 60 ? type.n : 60), type.text);
    }
    /* Llama 3.1's bands stand in the file as divisors of the frequencies, not as metadata. */
    const hone_gguf_tensor *t = hone_gguf_tensor_find(g, "rope_freqs.weight");
    if (!t) return HONE_OK;
    if (t->dtype != HONE_F32 || t->n_dim != 1 || t->shape[0] != r->rot / 2 || r->rot > HONE_MAX_ROT)
        return hone_fail(err, HONE_ERR_FORMAT, "tensor rope_freqs.weight: %u rotated dimensions need %u F32 numbers",
                         r->rot, r->rot / 2);
    memcpy(r->divisor[0], t->data, t->bytes);
    r->divided[0] = true;
    return HONE_OK;
}

hone_status family_gguf(hone_arch *a, const hone_gguf *g, hone_error *err) {
    hone_status s;
    if ((s = gguf_need(g, "embedding_length", &a->width, err))) return s;
    if ((s = gguf_need(g, "block_count", &a->n_layer, err))) return s;
    if ((s = gguf_need(g, "feed_forward_length", &a->mlp_width, err))) return s;
    if ((s = gguf_need(g, "attention.head_count", &a->n_head, err))) return s;
    if ((s = gguf_need(g, "context_length", &a->max_position, err))) return s;
    if (a->n_layer > HONE_MAX_LAYERS)
        return hone_fail(err, HONE_ERR_FORMAT, "block_count is %u, at most %u are supported", a->n_layer,
                         HONE_MAX_LAYERS);
    a->n_kv_head = a->n_head;
    a->head_dim = a->width / a->n_head;
    if ((s = family_gguf_u32(g, "attention.head_count_kv", &a->n_kv_head, err))) return s;
    if ((s = family_gguf_u32(g, "attention.key_length", &a->head_dim, err))) return s;
    uint32_t value_length = a->head_dim, experts = 0;
    if ((s = family_gguf_u32(g, "attention.value_length", &value_length, err))) return s;
    if (value_length != a->head_dim)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "attention.value_length %u differs from attention.key_length %u",
                         value_length, a->head_dim);
    if ((s = family_gguf_u32(g, "expert_count", &experts, err))) return s;
    if (experts) return hone_fail(err, HONE_ERR_UNSUPPORTED, "%u experts: routed layers are not supported", experts);
    a->norm_eps = 1e-6f;
    if ((s = family_gguf_real(g, "attention.layer_norm_rms_epsilon", &a->norm_eps, err))) return s;
    a->attn_scale = (float)(1.0 / sqrt(a->head_dim));

    const hone_gguf_tensor *embed = hone_gguf_tensor_find(g, "token_embd.weight");
    if (!embed) return hone_fail(err, HONE_ERR_FORMAT, "tensor token_embd.weight is missing");
    if (embed->shape[1] > UINT32_MAX)
        return hone_fail(err, HONE_ERR_FORMAT, "tensor token_embd.weight has too many rows");
    a->vocab = (uint32_t)embed->shape[1];
    a->tied = !hone_gguf_tensor_find(g, "output.weight");

    static const char *const stop[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int64_t id;
    for (size_t i = 0; i < sizeof(stop) / sizeof(*stop); i++) {
        id = -1;
        if ((s = hone_gguf_opt_int(g, stop[i], -1, UINT32_MAX, &id, err))) return s;
        bool known = id < 0 || id > INT32_MAX;
        for (int32_t k = 0; k < a->n_eos; k++) known |= a->eos[k] == id;
        if (!known) a->eos[a->n_eos++] = (int32_t)id;
    }
    id = -1;
    if ((s = hone_gguf_opt_int(g, "tokenizer.ggml.bos_token_id", -1, UINT32_MAX, &id, err))) return s;
    a->bos = id <= INT32_MAX ? (int32_t)id : -1;
    id = -1;
    if ((s = hone_gguf_opt_int(g, "tokenizer.ggml.padding_token_id", -1, UINT32_MAX, &id, err))) return s;
    a->pad = id <= INT32_MAX ? (int32_t)id : -1;
    return gguf_rope(a, g, err);
}

/* ---- finding ---- */

static const hone_family *const families[] = {FAMILIES(FAMILY_ADDRESS) NULL};

const hone_family *const *hone_family_all(void) {
    return families;
}

static bool listed(const char *const *list, const char *name) {
    for (; list && *list; list++)
        if (strcmp(*list, name) == 0) return true;
    return false;
}

/* Levenshtein's distance, letter case aside; names over the limit count as far away. */
static uint32_t distance(const char *a, const char *b) {
    enum { LIMIT = 63 };
    const size_t n = strlen(a), m = strlen(b);
    if (n > LIMIT || m > LIMIT) return UINT32_MAX;
    uint32_t row[LIMIT + 1];
    for (uint32_t j = 0; j <= m; j++) row[j] = j;
    for (uint32_t i = 1; i <= n; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= m; j++) {
            const char x = (char)(a[i - 1] | 32), y = (char)(b[j - 1] | 32);
            uint32_t best = diagonal + (x != y);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

/* The message names the three nearest of the names that this kind of file could have used. */
static hone_status unknown(const char *name, bool gguf, hone_error *err) {
    const char *near[3] = {"", "", ""};
    uint32_t d[3] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
    for (size_t f = 0; families[f]; f++) {
        const char *const *list = gguf ? families[f]->gguf : families[f]->architectures;
        for (; list && *list; list++) {
            const uint32_t x = distance(name, *list);
            uint32_t at = 3;
            while (at > 0 && x < d[at - 1]) at--;
            if (at == 3) continue;
            for (uint32_t i = 2; i > at; i--) d[i] = d[i - 1], near[i] = near[i - 1];
            d[at] = x;
            near[at] = *list;
        }
    }
    return hone_fail(err, HONE_ERR_UNSUPPORTED, "unknown architecture %.100s; the nearest known ones are %s, %s and %s",
                     name, near[0], near[1], near[2]);
}

static void name_it(hone_arch *a, const hone_family *f, const char *architecture) {
    snprintf(a->family, sizeof(a->family), "%s", f->name);
    snprintf(a->architecture, sizeof(a->architecture), "%.*s", (int)sizeof(a->architecture) - 1, architecture);
}

static bool says(const json_t *object, const char *key, const char *value) {
    const char *text = json_string_value(json_object_get(object, key));
    return text && strcmp(text, value) == 0;
}

/* FP8 weights as three tools write them: transformers and DeepSeek, compressed-tensors, NVIDIA's modelopt. */
static bool readable_quantisation(const json_t *q) {
    return !q || json_is_null(q) || says(q, "quant_method", "fp8") ||
           (says(q, "quant_method", "compressed-tensors") && says(q, "format", "float-quantized")) ||
           (says(q, "quant_method", "modelopt") && says(q, "quant_algo", "FP8"));
}

hone_status hone_family_from_config(hone_arch *arch, hone_layout *layout, const json_t *config,
                                    const json_t *generation_config, hone_error *err) {
    if (!json_is_object(config)) return hone_fail(err, HONE_ERR_FORMAT, "no JSON object");
    const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    const char *type = json_string_value(json_object_get(config, "model_type"));
    const hone_family *f = NULL;
    for (size_t i = 0; name && families[i] && !f; i++)
        if (listed(families[i]->architectures, name)) f = families[i];
    /* The model type is asked only where no architecture is named: base models and odd exports. */
    for (size_t i = 0; !name && type && families[i] && !f; i++)
        if (listed(families[i]->model_types, type)) f = families[i];
    if (!f && !name && !type)
        return hone_fail(err, HONE_ERR_FORMAT, "neither architectures nor model_type says what this is");
    if (!f) return unknown(name ? name : type, false, err);
    if (!readable_quantisation(json_object_get(config, "quantization_config")))
        return hone_fail(err, HONE_ERR_UNSUPPORTED,
                         "quantization_config: of quantised folders only FP8 (e4m3 weights with scales) is supported, "
                         "take the GGUF file or the original weights");
    plain(arch);
    memset(layout, 0, sizeof(*layout));
    layout->names = family_hf_names;
    name_it(arch, f, name ? name : type);
    hone_status s = f->from_config(arch, layout, config, err);
    if (s == HONE_OK && generation_config) s = add_eos(arch, json_object_get(generation_config, "eos_token_id"), err);
    for (uint32_t l = 0; s == HONE_OK && arch->n_rope == 2 && l < arch->n_layer; l++)
        if (arch->layer[l].rope == 0 && arch->layer[l].window) arch->layer[l].rope = 1;
    for (uint32_t m = 0; m < HONE_MOD_COUNT; m++)
        if (layout->names.linear[m].part != HONE_PART_ALL ||
            strcmp(layout->names.linear[m].name, family_hf_names.linear[m].name) != 0)
            arch->no_adapter |= 1u << m;
    return s ? s : hone_arch_check(arch, err);
}

hone_status hone_family_from_gguf(hone_arch *arch, hone_layout *layout, const hone_gguf *g, hone_error *err) {
    hone_gguf_text t;
    hone_status s = hone_gguf_get_text(g, "general.architecture", &t, err);
    if (s) return s == HONE_ERR_NOT_FOUND ? hone_fail(err, HONE_ERR_FORMAT, "key general.architecture is missing") : s;
    char name[64];
    snprintf(name, sizeof(name), "%.*s", (int)(t.n < 63 ? t.n : 63), t.text);
    const hone_family *f = NULL;
    for (size_t i = 0; families[i] && !f; i++)
        if (families[i]->from_gguf && listed(families[i]->gguf, name)) f = families[i];
    if (!f) return unknown(name, true, err);
    plain(arch);
    memset(layout, 0, sizeof(*layout));
    layout->names = family_gguf_names;
    layout->optional_bias = true;
    name_it(arch, f, name);
    if ((s = family_gguf(arch, g, err)) || (s = f->from_gguf(arch, layout, g, err))) return s;
    for (uint32_t m = 0; m < HONE_MOD_COUNT; m++)
        if (layout->names.linear[m].part != HONE_PART_ALL) arch->no_adapter |= 1u << m;
    return hone_arch_check(arch, err);
}
