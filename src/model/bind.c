/* bind.c - from the names of a layout to the stored tensors of a model's slots.
 *
 * Every slot that the record asks for must be found with the right shape, and every tensor of the file must have a
 * place: a file with more in it than its family knows is another family's, and would run and be wrong.
 *
 * Order: names, scales beside a tensor, one slot, tensors without a place. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/model_internal.h"

/* ---- names ---- */

static hone_status expand(char *out, size_t cap, const char *pattern, uint32_t layer, const char *tail,
                          hone_error *err) {
    const char *mark = strchr(pattern, '#');
    const int n = mark ? snprintf(out, cap, "%.*s%u%s%s", (int)(mark - pattern), pattern, layer, mark + 1, tail)
                       : snprintf(out, cap, "%s%s", pattern, tail);
    return n > 0 && (size_t)n < cap ? HONE_OK
                                    : hone_fail(err, HONE_ERR_INTERNAL, "tensor name %s is too long", pattern);
}

/* Where a slot stands: the layout's pattern for it, NULL when the family has none. */
typedef struct {
    const char *pattern;
    hone_part part;
    bool needed;
} place;

static place place_of(const model_slot *s, const char *what, bool bias, const hone_layout *l) {
    static const char *const linear[HONE_MOD_COUNT] = {"q", "k", "v", "o", "gate", "up", "down"};
    const hone_tensor_names *n = &l->names;
    const struct {
        const char *what, *pattern;
    } norms[] = {{"embed_norm", n->embed_norm}, {"final_norm", n->final_norm},
                 {"attn_norm", n->attn_norm},   {"attn_post_norm", n->attn_post_norm},
                 {"mlp_norm", n->mlp_norm},     {"mlp_post_norm", n->mlp_post_norm},
                 {"q_norm", n->q_norm},         {"k_norm", n->k_norm}};
    for (size_t i = 0; i < sizeof(norms) / sizeof(*norms); i++)
        if (strcmp(what, norms[i].what) == 0)
            return (place){l->norm_weightless ? NULL : norms[i].pattern, HONE_PART_ALL,
                           !l->norm_weightless && (!bias || l->layer_norm_bias)};
    for (uint32_t m = 0; m < HONE_MOD_COUNT; m++)
        if (strcmp(what, linear[m]) == 0) return (place){n->linear[m].name, n->linear[m].part, !bias || l->bias[m]};
    if (strcmp(what, "head") == 0) return (place){n->head, HONE_PART_ALL, bias ? l->head_bias : !s->optional};
    return (place){n->embed, HONE_PART_ALL, true};
}

/* ---- scales beside a tensor ---- */

/* Elements that one scale covers along an axis of n, of which there are `scales`; block: what the configuration says.
 */
static bool covers(uint64_t n, uint64_t scales, uint32_t block, uint32_t *out) {
    *out = scales == 1 ? 0 : scales == n ? 1 : block;
    return scales == 1 || scales == n || (block && scales == n / block + (n % block != 0));
}

/* FP8 folders keep X.weight_scale (compressed-tensors, modelopt: one number, or one a row) or X.weight_scale_inv
 * (DeepSeek, Qwen: one for each block of weight_block_size; it is multiplied all the same); GGUF's NVFP4 keeps X.scale.
 */
static hone_status bind_scale(model_slot *s, const hone_tensor *t, const hone_weights *w, const hone_tensor **used,
                              size_t *n_used, hone_error *err) {
    static const char *const tails[] = {"weight_scale", "weight_scale_inv", "scale"};
    const hone_tensor *scale = NULL;
    char name[256];
    const size_t stem = strlen(t->name) - strlen("weight");
    for (size_t i = 0; !scale && i < sizeof(tails) / sizeof(*tails); i++)
        if ((size_t)snprintf(name, sizeof(name), "%.*s%s", (int)stem, t->name, tails[i]) < sizeof(name))
            scale = hone_weights_find(w, name);
    if (!scale) return HONE_OK;
    const json_t *config = json_object_get(hone_weights_config(w), "quantization_config");
    const json_t *block = json_object_get(config, "weight_block_size");
    uint32_t size[2];
    for (size_t i = 0; i < 2; i++) {
        const json_int_t v = json_integer_value(json_array_get(block, i));
        size[i] = v > 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
    }
    uint64_t rows = scale->n_dim > 0 ? scale->shape[0] : 1, columns = scale->n_dim > 1 ? scale->shape[1] : 1;
    if (scale->n_dim > 2 || hone_dtype_block(scale->dtype) != 1 ||
        !covers(t->shape[0], rows, size[0], &s->scale_rows) ||
        !covers(t->shape[1], columns, size[1], &s->scale_columns) || (t->dtype == HONE_NVFP4 && rows * columns != 1))
        return hone_fail(err, HONE_ERR_FORMAT,
                         "tensor %.200s does not fit its matrix: %llu x %llu scales for %llu x %llu", scale->name,
                         (unsigned long long)rows, (unsigned long long)columns, (unsigned long long)t->shape[0],
                         (unsigned long long)t->shape[1]);
    s->scale = scale;
    used[(*n_used)++] = scale;
    return HONE_OK;
}

/* ---- one slot ---- */

/* First row of a part, and the rows of the whole fused tensor. */
static void rows_of(const hone_arch *a, hone_part part, uint32_t n, uint64_t *first, uint64_t *total) {
    const uint64_t q = (uint64_t)a->n_head * a->head_dim, kv = (uint64_t)a->n_kv_head * a->head_dim, f = a->mlp_width;
    *first = 0;
    *total = n;
    switch (part) {
    case HONE_PART_ALL: return;
    case HONE_PART_Q: *total = q + 2 * kv; return;
    case HONE_PART_K: *first = q, *total = q + 2 * kv; return;
    case HONE_PART_V: *first = q + kv, *total = q + 2 * kv; return;
    case HONE_PART_GATE: *total = 2 * f; return;
    case HONE_PART_UP: *first = f, *total = 2 * f; return;
    }
}

static const char *shape_text(const hone_tensor *t, char out[128]) {
    size_t at = 0;
    out[0] = 0;
    for (uint32_t d = 0; d < t->n_dim && at < 100; d++)
        at += (size_t)snprintf(out + at, 128 - at, "%s%llu", d ? " x " : "", (unsigned long long)t->shape[d]);
    return out;
}

hone_status model_stored_name(const model_slot *s, const hone_layout *l, model_stored *out, hone_error *err) {
    char what[24] = "";
    const char *dot = s->name;
    uint32_t layer = 0;
    memset(out, 0, sizeof(*out));
    if (strncmp(s->name, "layer.", 6) == 0) {
        sscanf(s->name + 6, "%u", &layer);
        dot = strchr(s->name + 6, '.') + 1;
    }
    const char *tail = strchr(dot, '.');
    snprintf(what, sizeof(what), "%.*s", (int)(tail - dot), dot);
    const bool bias = strcmp(tail, ".bias") == 0;
    const place p = place_of(s, what, bias, l);
    if (!p.pattern) return HONE_OK;
    out->part = p.part;
    out->optional = l->optional_bias && bias;
    out->needed = p.needed;
    out->permuted = l->permuted_qk && (strcmp(what, "q") == 0 || strcmp(what, "k") == 0);
    return expand(out->name, sizeof(out->name), p.pattern, layer, tail, err);
}

static hone_status bind_slot(model_slot *s, const hone_model *m, const hone_weights *w, const hone_layout *l,
                             const hone_tensor **used, size_t *n_used, hone_error *err) {
    model_stored p;
    const hone_status st = model_stored_name(s, l, &p, err);
    if (st) return st;
    const char *name = p.name;
    if (!*name) return HONE_OK;
    const hone_tensor *t = hone_weights_find(w, name);
    /* A bias that the configuration does not announce is no part of the model: model_bind refuses the tensor. */
    if (!p.needed && !p.optional) return HONE_OK;
    if (!t)
        return p.needed && !p.optional
                   ? hone_fail(err, HONE_ERR_FORMAT, "tensor %s is missing, family %s has it", name, m->arch.family)
                   : HONE_OK;
    uint64_t total;
    char shape[128];
    rows_of(&m->arch, p.part, s->n, &s->first_row, &total);
    const bool fits = s->weight ? t->n_dim == 2 && t->shape[0] == total && t->shape[1] == s->k
                                : t->n_dim == 1 && t->shape[0] == total;
    if (!fits)
        return s->weight ? hone_fail(err, HONE_ERR_FORMAT, "tensor %s is %s, the configuration asks for %llu x %u",
                                     name, shape_text(t, shape), (unsigned long long)total, s->k)
                         : hone_fail(err, HONE_ERR_FORMAT, "tensor %s is %s, the configuration asks for %llu", name,
                                     shape_text(t, shape), (unsigned long long)total);
    if (s->vector && hone_dtype_block(t->dtype) != 1)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "tensor %s: a vector of type %s is not supported", name,
                         hone_dtype_name(t->dtype));
    if (p.permuted) {
        if (m->arch.head_dim % 2)
            return hone_fail(err, HONE_ERR_FORMAT, "tensor %s: rows of heads of %u cannot stand in pairs", name,
                             m->arch.head_dim);
        s->permuted_head = m->arch.head_dim;
    }
    s->tensor = t;
    s->present = true;
    used[(*n_used)++] = t;
    if (!s->weight) return HONE_OK;
    s->weight->dtype = t->dtype;
    if (t->dtype < HONE_DTYPE_COUNT) return HONE_OK;
    s->weight->dtype = t->dtype == HONE_NVFP4 ? HONE_FP4_16 : m->precision == HONE_PRECISION_F32 ? HONE_F32 : HONE_BF16;
    return bind_scale(s, t, w, used, n_used, err);
}

/* ---- tensors without a place ---- */

static bool ends(const char *text, const char *tail) {
    const size_t n = strlen(text), k = strlen(tail);
    return n >= k && strcmp(text + n - k, tail) == 0;
}

/* Stored, but no part of the model: tables that are computed, a copy of the tied head, scales of activations that
 * others quantise with numbers fixed beforehand. */
static bool ignored(const char *name, const hone_model *m, const hone_layout *l) {
    char head[64];
    snprintf(head, sizeof(head), "%s.weight", l->names.head ? l->names.head : "");
    return ends(name, "rotary_emb.inv_freq") || ends(name, "rope_freqs.weight") ||
           ends(name, "rope_factors_short.weight") || ends(name, "rope_factors_long.weight") ||
           ends(name, "attn.masked_bias") || ends(name, ".input_scale") || (m->arch.tied && strcmp(name, head) == 0);
}

hone_status model_bind(hone_model *m, const hone_weights *w, const hone_layout *l, hone_error *err) {
    model_owner *o = m->owner;
    const size_t n = hone_weights_count(w);
    const hone_tensor **used = hone_zalloc(2 * o->n_slot, sizeof(*used));
    uint8_t *placed = hone_zalloc(n, 1);
    size_t n_used = 0;
    hone_status s = used && placed ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory");
    for (size_t i = 0; s == HONE_OK && i < o->n_slot; i++) s = bind_slot(&o->slot[i], m, w, l, used, &n_used, err);
    const hone_tensor *first = n ? hone_weights_at(w, 0) : NULL; /* both containers keep theirs in one array */
    for (size_t i = 0; s == HONE_OK && i < n_used; i++) placed[used[i] - first] = 1;
    for (size_t i = 0; s == HONE_OK && i < n; i++)
        if (!placed[i] && !ignored(hone_weights_at(w, i)->name, m, l))
            s = hone_fail(err, HONE_ERR_FORMAT, "tensor %.200s has no place in a model of family %s as configured",
                          hone_weights_at(w, i)->name, m->arch.family);
    hone_free(used);
    hone_free(placed);
    return s;
}
