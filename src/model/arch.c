/* arch.c - the architecture record: its checks, and its form as JSON.
 *
 * One table names every field once; reading and writing walk it, so that a field cannot be written and forgotten.
 *
 * Order: the tables, writing, reading, checks. */
#include "model/arch.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"

/* ---- the tables ---- */

typedef enum { U32, I32, F32, F64, BOOL, ENUM, TEXT32, TEXT64 } kind;

typedef struct {
    const char *name;
    kind kind;
    size_t offset;
    uint32_t max; /* of an ENUM */
} field;

#define A(name, kind)                                                                                                  \
    { #name, kind, offsetof(hone_arch, name), 0 }
#define AE(name, max)                                                                                                  \
    { #name, ENUM, offsetof(hone_arch, name), max }
static const field arch_fields[] = {
    A(family, TEXT32),
    A(architecture, TEXT64),
    A(vocab, U32),
    A(width, U32),
    A(n_layer, U32),
    A(n_head, U32),
    A(n_kv_head, U32),
    A(head_dim, U32),
    A(mlp_width, U32),
    A(max_position, U32),
    AE(norm, HONE_NORM_LAYER),
    A(norm_eps, F32),
    A(norm_plus_one, BOOL),
    AE(block, HONE_BLOCK_PARALLEL),
    A(pre_norm, BOOL),
    A(post_norm, BOOL),
    A(embed_norm, BOOL),
    AE(qk_norm, HONE_QK_NORM_WIDTH),
    A(qk_norm_after_rope, BOOL),
    A(attn_scale, F32),
    A(attn_softcap, F32),
    A(clip_qkv, F32),
    AE(position, HONE_POSITION_NONE),
    A(n_rope, U32),
    AE(act, HONE_ACT_RELU2),
    A(mlp_gated, BOOL),
    A(embed_scale, F32),
    A(residual_scale, F32),
    A(logit_scale, F32),
    A(logit_softcap, F32),
    A(tied, BOOL),
    A(no_adapter, U32),
    A(bos, I32),
    A(pad, I32),
};

#define R(name, kind)                                                                                                  \
    { #name, kind, offsetof(hone_rope, name), 0 }
static const field rope_fields[] = {
    R(theta, F64),
    R(rot, U32),
    R(interleaved, BOOL),
    {"scaling", ENUM, offsetof(hone_rope, scaling), HONE_ROPE_LONGROPE},
    R(factor, F64),
    R(low_freq_factor, F64),
    R(high_freq_factor, F64),
    R(original_length, U32),
    R(attention_factor, F64),
    R(beta_fast, F64),
    R(beta_slow, F64),
    R(mscale, F64),
    R(mscale_all_dim, F64),
    R(yarn_no_truncate, BOOL),
};
#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static size_t text_bytes(kind k) {
    return k == TEXT32 ? 32 : 64;
}

/* ---- writing ---- */

static json_t *value_of(const field *f, const void *record) {
    const void *p = (const uint8_t *)record + f->offset;
    switch (f->kind) {
    case U32: return json_integer(*(const uint32_t *)p);
    case I32: return json_integer(*(const int32_t *)p);
    case F32: return json_real((double)*(const float *)p); /* 17 digits: exact */
    case F64: return json_real(*(const double *)p);
    case BOOL: return json_boolean(*(const bool *)p);
    case ENUM: {
        int v = 0; /* every enum of the record has int's size */
        memcpy(&v, p, sizeof(v));
        return json_integer(v);
    }
    case TEXT32:
    case TEXT64: return json_stringn(p, strnlen(p, text_bytes(f->kind)));
    }
    return NULL;
}

static json_t *record_of(const field *f, size_t n, const void *record) {
    json_t *out = json_object();
    for (size_t i = 0; i < n; i++)
        if (json_object_set_new(out, f[i].name, value_of(&f[i], record)) != 0) {
            json_decref(out);
            return NULL;
        }
    return out;
}

static json_t *divisor_of(const hone_rope *r, uint32_t which) {
    if (!r->divided[which]) return json_null();
    json_t *a = json_array();
    bool ok = true;
    for (uint32_t i = 0; i < r->rot / 2; i++)
        ok &= json_array_append_new(a, json_real((double)r->divisor[which][i])) == 0;
    if (ok) return a;
    json_decref(a);
    return NULL;
}

static json_t *rope_of(const hone_rope *r) {
    json_t *out = record_of(rope_fields, COUNT(rope_fields), r);
    if (json_object_set_new(out, "divisor_0", divisor_of(r, 0)) == 0 &&
        json_object_set_new(out, "divisor_1", divisor_of(r, 1)) == 0)
        return out;
    json_decref(out);
    return NULL;
}

json_t *hone_arch_to_json(const hone_arch *arch) {
    json_t *out = record_of(arch_fields, COUNT(arch_fields), arch);
    json_t *ropes = json_array(), *window = json_array(), *rope = json_array(), *moe = json_array(),
           *eos = json_array();
    bool ok = out != NULL; /* every step may run out of memory, and none may be left out */
    for (uint32_t i = 0; i < arch->n_rope; i++) ok &= json_array_append_new(ropes, rope_of(&arch->rope[i])) == 0;
    for (uint32_t l = 0; l < arch->n_layer; l++) {
        ok &= json_array_append_new(window, json_integer(arch->layer[l].window)) == 0;
        ok &= json_array_append_new(rope, json_integer(arch->layer[l].rope)) == 0;
        ok &= json_array_append_new(moe, json_boolean(arch->layer[l].moe)) == 0;
    }
    for (int32_t i = 0; i < arch->n_eos; i++) ok &= json_array_append_new(eos, json_integer(arch->eos[i])) == 0;
    ok &= json_object_set_new(out, "ropes", ropes) == 0; /* takes the array over also when it fails */
    ok &= json_object_set_new(out, "layer_window", window) == 0;
    ok &= json_object_set_new(out, "layer_rope", rope) == 0;
    ok &= json_object_set_new(out, "layer_moe", moe) == 0;
    ok &= json_object_set_new(out, "eos", eos) == 0;
    if (ok) return out;
    json_decref(out);
    return NULL;
}

/* ---- reading ---- */

static hone_status bad(const char *name, hone_error *err) {
    return hone_fail(err, HONE_ERR_FORMAT, "architecture record: %s is missing or out of range", name);
}

static hone_status read_field(const field *f, void *record, const json_t *object, hone_error *err) {
    void *p = (uint8_t *)record + f->offset;
    const json_t *v = json_object_get(object, f->name);
    const json_int_t n = json_is_integer(v) ? json_integer_value(v) : -2;
    switch (f->kind) {
    case U32:
        if (n < 0 || n > UINT32_MAX) return bad(f->name, err);
        *(uint32_t *)p = (uint32_t)n;
        return HONE_OK;
    case I32:
        if (n < -1 || n > INT32_MAX) return bad(f->name, err);
        *(int32_t *)p = (int32_t)n;
        return HONE_OK;
    case F32:
    case F64:
        if (!json_is_number(v)) return bad(f->name, err);
        if (f->kind == F64)
            *(double *)p = json_number_value(v);
        else
            *(float *)p = (float)json_number_value(v);
        return HONE_OK;
    case BOOL:
        if (!json_is_boolean(v)) return bad(f->name, err);
        *(bool *)p = json_is_true(v);
        return HONE_OK;
    case ENUM: {
        if (n < 0 || n > f->max) return bad(f->name, err);
        const int e = (int)n;
        memcpy(p, &e, sizeof(e));
        return HONE_OK;
    }
    case TEXT32:
    case TEXT64:
        if (!json_is_string(v) || json_string_length(v) >= text_bytes(f->kind)) return bad(f->name, err);
        memcpy(p, json_string_value(v), json_string_length(v) + 1);
        return HONE_OK;
    }
    return HONE_ERR_INTERNAL;
}

static hone_status read_divisor(hone_rope *r, uint32_t which, const json_t *v, hone_error *err) {
    if (json_is_null(v)) return HONE_OK;
    if (json_array_size(v) != r->rot / 2) return bad("rope.divisor", err);
    for (uint32_t i = 0; i < r->rot / 2; i++) {
        const json_t *x = json_array_get(v, i);
        if (!json_is_number(x)) return bad("rope.divisor", err);
        r->divisor[which][i] = (float)json_number_value(x);
    }
    r->divided[which] = true;
    return HONE_OK;
}

/* An integer of an array, -2 when it is none. */
static json_int_t at(const json_t *array, size_t i) {
    const json_t *v = json_array_get(array, i);
    return json_is_integer(v) ? json_integer_value(v) : -2;
}

hone_status hone_arch_from_json(hone_arch *out, const json_t *json, hone_error *err) {
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < COUNT(arch_fields); i++) {
        const hone_status s = read_field(&arch_fields[i], out, json, err);
        if (s) return s;
    }
    const json_t *ropes = json_object_get(json, "ropes"), *window = json_object_get(json, "layer_window"),
                 *rope = json_object_get(json, "layer_rope"), *moe = json_object_get(json, "layer_moe"),
                 *eos = json_object_get(json, "eos");
    if (out->n_rope > HONE_MAX_ROPES || json_array_size(ropes) != out->n_rope) return bad("ropes", err);
    if (out->n_layer > HONE_MAX_LAYERS || json_array_size(window) != out->n_layer ||
        json_array_size(rope) != out->n_layer || json_array_size(moe) != out->n_layer)
        return bad("layers", err);
    for (uint32_t i = 0; i < out->n_rope; i++) {
        const json_t *r = json_array_get(ropes, i);
        for (size_t f = 0; f < COUNT(rope_fields); f++) {
            const hone_status s = read_field(&rope_fields[f], &out->rope[i], r, err);
            if (s) return s;
        }
        if (out->rope[i].rot > HONE_MAX_ROT) return bad("rope.rot", err);
        for (uint32_t which = 0; which < 2; which++) {
            const hone_status s =
                read_divisor(&out->rope[i], which, json_object_get(r, which ? "divisor_1" : "divisor_0"), err);
            if (s) return s;
        }
    }
    for (uint32_t l = 0; l < out->n_layer; l++) {
        const json_int_t w = at(window, l), r = at(rope, l);
        if (w < 0 || w > UINT32_MAX || r < 0 || r > HONE_NO_ROPE) return bad("layers", err);
        out->layer[l] = (hone_layer_arch){(uint32_t)w, (uint8_t)r, json_is_true(json_array_get(moe, l))};
    }
    if (!json_is_array(eos) || json_array_size(eos) > COUNT(out->eos)) return bad("eos", err);
    for (size_t i = 0; i < json_array_size(eos); i++) {
        if (at(eos, i) < 0 || at(eos, i) > INT32_MAX) return bad("eos", err);
        out->eos[out->n_eos++] = (int32_t)at(eos, i);
    }
    return hone_arch_check(out, err);
}

/* ---- checks ---- */

/* Wide enough for every published model, narrow enough that no product of two of them overflows 64 bits, of four 128.
 */
#define MAX_WIDTH (1u << 20)
#define MAX_VOCAB (1u << 24)
#define MAX_POSITION (1u << 30)

static hone_status range(const char *name, uint64_t v, uint64_t min, uint64_t max, hone_error *err) {
    if (v >= min && v <= max) return HONE_OK;
    return hone_fail(err, HONE_ERR_FORMAT, "%s is %llu, allowed is %llu to %llu", name, (unsigned long long)v,
                     (unsigned long long)min, (unsigned long long)max);
}

static hone_status number(const char *name, double v, double min, hone_error *err) {
    if (isfinite(v) && v >= min && v <= 1e12) return HONE_OK;
    return hone_fail(err, HONE_ERR_FORMAT, "%s is %g, allowed is %g to 1e12", name, v, min);
}

static hone_status check_rope(hone_rope *r, uint32_t head_dim, hone_error *err) {
    hone_status s;
    if ((s = range("rotated dimensions", r->rot, 2, head_dim < HONE_MAX_ROT ? head_dim : HONE_MAX_ROT, err))) return s;
    if (r->rot % 2) return hone_fail(err, HONE_ERR_FORMAT, "rotated dimensions are %u, must be even", r->rot);
    if ((s = number("rope_theta", r->theta, 1e-6, err))) return s;
    if ((s = number("rope attention_factor", r->attention_factor, 0, err))) return s;
    if (r->scaling == HONE_ROPE_DYNAMIC && r->rot < 4)
        return hone_fail(err, HONE_ERR_FORMAT, "rotated dimensions are %u, dynamic scaling needs 4", r->rot);
    if (r->scaling != HONE_ROPE_PLAIN && (s = number("rope factor", r->factor, 1e-6, err))) return s;
    if (r->scaling >= HONE_ROPE_LLAMA3 &&
        (s = range("rope original_max_position_embeddings", r->original_length, 1, MAX_POSITION, err)))
        return s;
    if (r->scaling == HONE_ROPE_LLAMA3) {
        if ((s = number("rope low_freq_factor", r->low_freq_factor, 1e-6, err))) return s;
        if ((s = number("rope high_freq_factor", r->high_freq_factor, 1e-6, err))) return s;
        if (r->high_freq_factor <= r->low_freq_factor)
            return hone_fail(err, HONE_ERR_FORMAT, "rope high_freq_factor %g must be over low_freq_factor %g",
                             r->high_freq_factor, r->low_freq_factor);
    }
    if (r->scaling == HONE_ROPE_YARN) {
        if ((s = number("rope beta_fast", r->beta_fast, 1e-6, err))) return s;
        if ((s = number("rope beta_slow", r->beta_slow, 1e-6, err))) return s;
        if ((s = number("rope mscale", r->mscale, 0, err))) return s;
        if ((s = number("rope mscale_all_dim", r->mscale_all_dim, 0, err))) return s;
        if (r->theta == 1.0) return hone_fail(err, HONE_ERR_FORMAT, "rope_theta is 1, yarn divides by its logarithm");
    }
    if (r->scaling == HONE_ROPE_LONGROPE && !(r->divided[0] && r->divided[1]))
        return hone_fail(err, HONE_ERR_FORMAT, "longrope needs short_factor and long_factor");
    for (uint32_t which = 0; which < 2; which++)
        for (uint32_t i = 0; r->divided[which] && i < r->rot / 2; i++)
            if ((s = number("rope frequency factor", (double)r->divisor[which][i], 1e-6, err))) return s;
    hone_rope_prepare(r);
    return HONE_OK;
}

hone_status hone_arch_check(hone_arch *a, hone_error *err) {
    hone_status s;
    if ((s = range("vocab_size", a->vocab, 1, MAX_VOCAB, err))) return s;
    if ((s = range("hidden_size", a->width, 1, MAX_WIDTH, err))) return s;
    if ((s = range("num_hidden_layers", a->n_layer, 1, HONE_MAX_LAYERS, err))) return s;
    if ((s = range("num_attention_heads", a->n_head, 1, 4096, err))) return s;
    if ((s = range("num_key_value_heads", a->n_kv_head, 1, a->n_head, err))) return s;
    if (a->n_head % a->n_kv_head)
        return hone_fail(err, HONE_ERR_FORMAT, "num_key_value_heads %u does not divide num_attention_heads %u",
                         a->n_kv_head, a->n_head);
    if ((s = range("head_dim", a->head_dim, 1, 4096, err))) return s;
    if ((s = range("heads times head_dim", (uint64_t)a->n_head * a->head_dim, 1, MAX_WIDTH, err))) return s;
    if ((s = range("intermediate_size", a->mlp_width, 1, MAX_WIDTH, err))) return s;
    if ((s = range("max_position_embeddings", a->max_position, 1, MAX_POSITION, err))) return s;
    if ((s = number("norm epsilon", (double)a->norm_eps, 0, err))) return s;
    if ((s = number("attention scale", (double)a->attn_scale, 1e-12, err))) return s;
    if ((s = number("attention soft cap", (double)a->attn_softcap, 0, err))) return s;
    if ((s = number("clip_qkv", (double)a->clip_qkv, 0, err))) return s;
    if ((s = number("embedding scale", (double)a->embed_scale, -1e12, err))) return s;
    if ((s = number("residual scale", (double)a->residual_scale, -1e12, err))) return s;
    if ((s = number("logit scale", (double)a->logit_scale, -1e12, err))) return s;
    if ((s = number("logit soft cap", (double)a->logit_softcap, 0, err))) return s;
    if (a->n_rope > HONE_MAX_ROPES) return range("rope tables", a->n_rope, 0, HONE_MAX_ROPES, err);
    for (uint32_t i = 0; i < a->n_rope; i++)
        if ((s = check_rope(&a->rope[i], a->head_dim, err))) return s;
    for (uint32_t l = 0; l < a->n_layer; l++)
        if (a->layer[l].rope != HONE_NO_ROPE && a->layer[l].rope >= a->n_rope)
            return hone_fail(err, HONE_ERR_FORMAT, "layer %u names rope table %u of %u", l, a->layer[l].rope,
                             a->n_rope);
    if (a->n_eos < 0 || (size_t)a->n_eos > COUNT(a->eos)) return bad("eos", err);
    /* A stop token outside of the vocabulary is never sampled; published configurations have such.  None is an error.
     */
    return HONE_OK;
}

hone_status hone_arch_check_vocabulary(const hone_arch *arch, uint64_t n_vocab, hone_error *err) {
    if (n_vocab <= arch->vocab) return HONE_OK;
    return hone_fail(err, HONE_ERR_FORMAT,
                     "the tokenizer does not fit the weights: it has %llu tokens, the embedding %u rows",
                     (unsigned long long)n_vocab, arch->vocab);
}
