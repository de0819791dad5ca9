/* keys.c - an architecture record as GGUF metadata, and what two records differ in.
 * Order: keys, tensors of the rotation, differences. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/export/export_internal.h"

/* ---- keys ---- */

typedef struct {
    hone_gguf_writer *w;
    const char *name;
    char key[128];
} keyed;

static const char *key_of(keyed *k, const char *tail) {
    snprintf(k->key, sizeof(k->key), "%s.%s", k->name, tail);
    return k->key;
}

static void put_u32(keyed *k, const char *tail, uint32_t v) {
    hone_gguf_put_u32(k->w, key_of(k, tail), v);
}
static void put_f32(keyed *k, const char *tail, double v) {
    hone_gguf_put_f32(k->w, key_of(k, tail), (float)v);
}
static void put_text(keyed *k, const char *tail, const char *v) {
    hone_gguf_put_text(k->w, key_of(k, tail), v, strlen(v));
}

static void put_rope(keyed *k, const hone_rope *r) {
    put_u32(k, "rope.dimension_count", r->rot);
    put_f32(k, "rope.freq_base", r->theta);
    switch (r->scaling) {
    case HONE_ROPE_LINEAR:
        put_text(k, "rope.scaling.type", "linear");
        put_f32(k, "rope.scaling.factor", r->factor);
        break;
    case HONE_ROPE_YARN:
        put_text(k, "rope.scaling.type", "yarn");
        put_f32(k, "rope.scaling.factor", r->factor);
        put_u32(k, "rope.scaling.original_context_length", r->original_length);
        put_f32(k, "rope.scaling.yarn_beta_fast", r->beta_fast);
        put_f32(k, "rope.scaling.yarn_beta_slow", r->beta_slow);
        if (r->attention_factor != 0)
            put_f32(k, "rope.scaling.yarn_attn_factor", r->attention_factor / (0.1 * log(r->factor) + 1.0));
        break;
    case HONE_ROPE_LONGROPE:
        put_u32(k, "rope.scaling.original_context_length", r->original_length);
        if (r->attention_factor != 0) put_f32(k, "rope.scaling.attn_factor", r->attention_factor);
        break;
    default: break; /* plain; Llama 3's bands are a tensor; what has no keys shows in export_differs */
    }
}

void export_keys(hone_gguf_writer *w, const hone_arch *a, const char *name) {
    keyed k = {.w = w, .name = name};
    hone_gguf_put_text(w, "general.architecture", name, strlen(name));
    hone_gguf_put_text(w, "general.type", "model", 5);
    hone_gguf_put_u32(w, "general.quantization_version", 2);
    put_u32(&k, "vocab_size", a->vocab);
    put_u32(&k, "context_length", a->max_position);
    put_u32(&k, "embedding_length", a->width);
    put_u32(&k, "block_count", a->n_layer);
    put_u32(&k, "feed_forward_length", a->mlp_width);
    put_u32(&k, "attention.head_count", a->n_head);
    put_u32(&k, "attention.head_count_kv", a->n_kv_head);
    put_u32(&k, "attention.key_length", a->head_dim);
    put_u32(&k, "attention.value_length", a->head_dim);
    put_f32(&k, "attention.layer_norm_rms_epsilon", a->norm_eps);
    put_rope(&k, &a->rope[0]);
    uint32_t window = 0;
    for (uint32_t i = 0; i < a->n_layer; i++)
        if (a->layer[i].window > window) window = a->layer[i].window;
    if (window) put_u32(&k, "attention.sliding_window", window);
    if (a->attn_softcap != 0) put_f32(&k, "attn_logit_softcapping", a->attn_softcap);
    if (a->logit_softcap != 0) put_f32(&k, "final_logit_softcapping", a->logit_softcap);
    if (strcmp(name, "granite") != 0) return; /* of the families known in GGUF files, only Granite's scales are keys */
    put_f32(&k, "attention.scale", a->attn_scale);
    put_f32(&k, "embedding_scale", a->embed_scale);
    put_f32(&k, "residual_scale", a->residual_scale);
    put_f32(&k, "logit_scale", 1.0f / a->logit_scale);
}

/* ---- tensors of the rotation ---- */

/* What `plain` has to be divided by to be `wanted`, to the bit where one of the nearest floats does it. */
static float divisor_for(float plain, float wanted) {
    const float near = plain / wanted;
    float above = near, below = near;
    for (int step = 0; step < 3; step++) {
        if (plain / above == wanted) return above;
        if (plain / below == wanted) return below;
        above = nextafterf(above, INFINITY);
        below = nextafterf(below, 0.0f);
    }
    return near;
}

uint32_t export_rope_tensors(const hone_arch *a, float buffer[HONE_MAX_ROT / 2], export_factors out[2]) {
    const hone_rope *r = &a->rope[0];
    const uint32_t n = r->rot / 2;
    if (r->scaling == HONE_ROPE_LONGROPE) {
        out[0] = (export_factors){"rope_factors_long.weight", r->divisor[1], n};
        out[1] = (export_factors){"rope_factors_short.weight", r->divisor[0], n};
        return 2;
    }
    if (r->divided[0])
        out[0] = (export_factors){"rope_freqs.weight", r->divisor[0], n};
    else if (r->scaling == HONE_ROPE_LLAMA3) {
        hone_rope plain = *r;
        plain.scaling = HONE_ROPE_PLAIN;
        hone_rope_prepare(&plain);
        for (uint32_t i = 0; i < n; i++) buffer[i] = divisor_for(plain.inv_freq[0][i], r->inv_freq[0][i]);
        out[0] = (export_factors){"rope_freqs.weight", buffer, n};
    } else {
        return 0;
    }
    return 1;
}

/* ---- differences ---- */

/* Where no divisor gives a frequency to the bit, the nearest is off by its last one. */
static bool close_to(float a, float b) {
    return a == b || fabsf(a - b) <= 4e-7f * fabsf(a);
}

static bool same_rope(const hone_rope *a, const hone_rope *b) {
    const uint32_t tables = a->scaling == HONE_ROPE_LONGROPE ? 2 : 1;
    if (a->rot != b->rot || a->interleaved != b->interleaved) return false;
    if ((a->scaling == HONE_ROPE_DYNAMIC) != (b->scaling == HONE_ROPE_DYNAMIC)) return false;
    if ((a->scaling == HONE_ROPE_LONGROPE) != (b->scaling == HONE_ROPE_LONGROPE)) return false;
    if (tables == 2 && a->original_length != b->original_length) return false;
    for (uint32_t t = 0; t < tables; t++) {
        if (!close_to(a->scale[t], b->scale[t])) return false;
        for (uint32_t i = 0; i < a->rot / 2; i++)
            if (!close_to(a->inv_freq[t][i], b->inv_freq[t][i])) return false;
    }
    return true;
}

const char *export_differs(const hone_arch *a, const hone_arch *b) {
#define SAME(field)                                                                                                    \
    if (a->field != b->field) return #field
    SAME(vocab);
    SAME(width);
    SAME(n_layer);
    SAME(n_head);
    SAME(n_kv_head);
    SAME(head_dim);
    SAME(mlp_width);
    SAME(max_position);
    SAME(norm);
    SAME(norm_eps);
    SAME(block);
    SAME(pre_norm);
    SAME(post_norm);
    SAME(embed_norm);
    SAME(qk_norm);
    SAME(qk_norm_after_rope);
    SAME(attn_scale);
    SAME(attn_softcap);
    SAME(clip_qkv);
    SAME(position);
    SAME(act);
    SAME(mlp_gated);
    SAME(embed_scale);
    SAME(residual_scale);
    SAME(logit_scale);
    SAME(logit_softcap);
    SAME(tied);
#undef SAME
    for (uint32_t l = 0; l < a->n_layer; l++) {
        const hone_layer_arch *x = &a->layer[l], *y = &b->layer[l];
        if (x->window != y->window) return "the windows of layers";
        if ((x->rope == HONE_NO_ROPE) != (y->rope == HONE_NO_ROPE)) return "the layers without rotation";
        if (x->rope != HONE_NO_ROPE && !same_rope(&a->rope[x->rope], &b->rope[y->rope])) return "the rotation";
    }
    return NULL;
}
