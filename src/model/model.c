/* model.c - a model from published weights, and what can be said of one without laying tiles; the contract is in
 * model.h.
 *
 * Order: names, the list of slots, the block, open and close, inspect. */
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/model_internal.h"

/* ---- names ---- */

static const char *const module_path[HONE_MOD_COUNT] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                        "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                        "mlp.down_proj"};

const char *hone_module_path(hone_module m) {
    return module_path[m];
}

const char *hone_module_name(hone_module m) {
    return strchr(module_path[m], '.') + 1;
}

/* ---- the list of slots ---- */

typedef struct {
    hone_model *m;
    model_slot *slot;
    size_t n;
} lister;

static model_slot *add(lister *l, const char *name, int64_t layer, const char *tail, uint32_t n, uint32_t k) {
    model_slot *s = &l->slot[l->n++];
    if (layer < 0)
        snprintf(s->name, sizeof(s->name), "%s.%s", name, tail);
    else
        snprintf(s->name, sizeof(s->name), "layer.%d.%s.%s", (int)layer, name, tail);
    s->n = n;
    s->k = k;
    return s;
}

static void add_norm(lister *l, hone_norm *norm, const char *name, int64_t layer, uint32_t n) {
    model_slot *s = add(l, name, layer, "weight", n, 1);
    s->vector = &norm->weight;
    s->optional = true; /* bind.c knows by the layout whether the family has weights and biases here */
    s = add(l, name, layer, "bias", n, 1);
    s->vector = &norm->bias;
    s->optional = true;
}

static void add_linear(lister *l, hone_linear *linear, const char *name, int64_t layer, uint32_t n, uint32_t k) {
    add(l, name, layer, "weight", n, k)->weight = &linear->w;
    model_slot *s = add(l, name, layer, "bias", n, 1);
    s->vector = &linear->bias;
    s->optional = true;
}

static void list_layer(lister *l, uint32_t i) {
    const hone_arch *a = &l->m->arch;
    hone_layer *layer = &l->m->layer[i];
    const uint32_t d = a->width, q = a->n_head * a->head_dim, kv = a->n_kv_head * a->head_dim, f = a->mlp_width;
    const bool wide = a->qk_norm == HONE_QK_NORM_WIDTH;
    if (a->pre_norm) add_norm(l, &layer->attn_norm, "attn_norm", i, d);
    if (a->post_norm) add_norm(l, &layer->attn_post_norm, "attn_post_norm", i, d);
    if (a->pre_norm) add_norm(l, &layer->mlp_norm, "mlp_norm", i, d);
    if (a->post_norm) add_norm(l, &layer->mlp_post_norm, "mlp_post_norm", i, d);
    if (a->qk_norm != HONE_QK_NORM_NONE) {
        add_norm(l, &layer->q_norm, "q_norm", i, wide ? q : a->head_dim);
        add_norm(l, &layer->k_norm, "k_norm", i, wide ? kv : a->head_dim);
    }
    add_linear(l, &layer->linear[HONE_MOD_Q], "q", i, q, d);
    add_linear(l, &layer->linear[HONE_MOD_K], "k", i, kv, d);
    add_linear(l, &layer->linear[HONE_MOD_V], "v", i, kv, d);
    add_linear(l, &layer->linear[HONE_MOD_O], "o", i, d, q);
    if (a->mlp_gated) add_linear(l, &layer->linear[HONE_MOD_GATE], "gate", i, f, d);
    add_linear(l, &layer->linear[HONE_MOD_UP], "up", i, f, d);
    add_linear(l, &layer->linear[HONE_MOD_DOWN], "down", i, d, f);
}

enum { SLOTS_A_LAYER = 12 + 14, SLOTS_OUTSIDE = 8 };

hone_status model_new(hone_model **out, const hone_arch *arch, hone_error *err) {
    *out = NULL;
    hone_model *m = hone_zalloc(1, sizeof(*m));
    if (!m) goto no_memory;
    m->arch = *arch;
    model_owner *o = m->owner = hone_zalloc(1, sizeof(*o));
    if (!o) goto no_memory;
    m->layer = hone_zalloc(arch->n_layer, sizeof(*m->layer));
    lister l = {m, hone_zalloc((size_t)arch->n_layer * SLOTS_A_LAYER + SLOTS_OUTSIDE, sizeof(model_slot)), 0};
    o->slot = l.slot;
    if (!m->layer || !l.slot) goto no_memory;
    add(&l, "embed", -1, "weight", arch->vocab, arch->width)->weight = &m->embed;
    if (arch->embed_norm) add_norm(&l, &m->embed_norm, "embed_norm", -1, arch->width);
    for (uint32_t i = 0; i < arch->n_layer; i++) list_layer(&l, i);
    add_norm(&l, &m->final_norm, "final_norm", -1, arch->width);
    if (!arch->tied) add(&l, "head", -1, "weight", arch->vocab, arch->width)->weight = &m->head.w;
    model_slot *bias = add(&l, "head", -1, "bias", arch->vocab, 1);
    bias->vector = &m->head.bias;
    bias->optional = true;
    o->n_slot = l.n;
    *out = m;
    return HONE_OK;
no_memory:
    hone_model_close(m);
    return hone_fail(err, HONE_ERR_NOMEM, "no memory for a model of %u layers", arch->n_layer);
}

/* ---- the block ---- */

hone_status model_place(hone_model *m, hone_error *err) {
    model_owner *o = m->owner;
    size_t at = 0;
    for (size_t i = 0; i < o->n_slot; i++) {
        model_slot *s = &o->slot[i];
        if (!s->present) continue;
        s->bytes = s->weight ? m->kernels->weight_bytes(s->weight->dtype, m->precision, s->n, s->k)
                             : (size_t)s->n * sizeof(float);
        size_t padded = 0;
        if (s->bytes == 0 || !hone_add_size(&padded, s->bytes, 63) || !hone_add_size(&at, at, padded & ~(size_t)63))
            return hone_fail(err, HONE_ERR_FORMAT, "%s: %u x %u overflows", s->name, s->n, s->k);
        s->offset = at - (padded & ~(size_t)63);
    }
    o->block_bytes = at;
    return HONE_OK;
}

void model_point(hone_model *m) {
    model_owner *o = m->owner;
    for (size_t i = 0; i < o->n_slot; i++) {
        model_slot *s = &o->slot[i];
        if (!s->present) continue;
        if (s->vector) {
            *s->vector = (const float *)(const void *)(o->base + s->offset);
        } else {
            s->weight->precision = m->precision;
            s->weight->n = s->n;
            s->weight->k = s->k;
            s->weight->bytes = s->bytes;
            s->weight->data = o->base + s->offset;
        }
    }
    if (m->arch.tied) m->head.w = m->embed;
}

void model_count(hone_model *m) {
    const model_owner *o = m->owner;
    uint64_t of[HONE_DTYPE_COUNT] = {0};
    m->parameters = m->weight_bytes = 0;
    for (size_t i = 0; i < o->n_slot; i++) {
        const model_slot *s = &o->slot[i];
        if (!s->present) continue;
        m->parameters += (uint64_t)s->n * s->k;
        m->weight_bytes += s->bytes;
        if (s->weight) of[s->weight->dtype] += (uint64_t)s->n * s->k;
    }
    uint32_t most = 0;
    for (uint32_t t = 1; t < HONE_DTYPE_COUNT; t++)
        if (of[t] > of[most]) most = t;
    snprintf(m->format, sizeof(m->format), "%s", hone_dtype_name((hone_dtype)most));
}

/* ---- open and close ---- */

hone_status model_describe(hone_model **out, const hone_weights *w, hone_precision precision, hone_layout *layout_out,
                           hone_error *err) {
    const char *path = hone_weights_path(w);
    const hone_gguf *g = hone_weights_gguf(w);
    hone_layout layout;
    hone_model *m = NULL;
    hone_arch *arch = hone_zalloc(1, sizeof(*arch)); /* too large for a stack */
    *out = NULL;
    if (!arch) return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory", path);
    hone_status s =
        g ? hone_family_from_gguf(arch, &layout, g, err)
          : hone_family_from_config(arch, &layout, hone_weights_config(w), hone_weights_generation_config(w), err);
    if (s)
        s = hone_fail_within(err, s, "%s%s: ", path, g ? "" : "/config.json");
    else if ((s = model_new(&m, arch, err)) == HONE_OK) {
        m->precision = precision;
        if ((s = model_bind(m, w, &layout, err))) s = hone_fail_within(err, s, "%s: ", path);
    }
    hone_free(arch);
    if (s) {
        hone_model_close(m);
        m = NULL;
    } else if (layout_out) {
        *layout_out = layout;
    }
    *out = m;
    return s;
}

hone_status hone_model_open(hone_model **out, const char *path, const hone_kernels *kernels, hone_precision precision,
                            hone_pool *pool, hone_error *err) {
    *out = NULL;
    hone_weights *w = NULL;
    hone_model *m = NULL;
    hone_status s = hone_weights_open(&w, path, err);
    if (s == HONE_OK) s = model_describe(&m, w, precision, NULL, err);
    if (s) goto done;
    model_owner *o = m->owner;
    m->kernels = kernels;
    if ((s = model_place(m, err))) goto done;
    if (!(o->block = hone_alloc_aligned(o->block_bytes, 1))) {
        s = hone_fail(err, HONE_ERR_NOMEM, "%s: no memory for %zu bytes of weights", path, o->block_bytes);
        goto done;
    }
    o->base = o->block;
    model_point(m);
    model_count(m);
    if ((s = hone_weights_digest(w, m->digest, err))) goto done;
    s = model_lay(m, path, pool, err);
    for (size_t i = 0; i < o->n_slot; i++) o->slot[i].tensor = NULL; /* the weights are closed now */
done:
    hone_weights_close(w);
    if (s) {
        hone_model_close(m);
        m = NULL;
    }
    *out = m;
    return s;
}

hone_status hone_model_open_shape(hone_model **out, const char *path, const hone_kernels *kernels,
                                  hone_precision precision, hone_error *err) {
    *out = NULL;
    hone_weights *w = NULL;
    hone_model *m = NULL;
    hone_status s = hone_weights_open(&w, path, err);
    if (s == HONE_OK) s = model_describe(&m, w, precision, NULL, err);
    if (s == HONE_OK) {
        m->kernels = kernels;
        s = model_place(m, err);
    }
    if (s == HONE_OK) {
        model_owner *o = m->owner;
        model_count(m);
        for (size_t i = 0; i < o->n_slot; i++) o->slot[i].tensor = NULL; /* the weights are closed now */
        *out = m;
    } else {
        hone_model_close(m);
    }
    hone_weights_close(w);
    return s;
}

void hone_model_close(hone_model *m) {
    if (!m) return;
    model_owner *o = m->owner;
    if (o) {
        hone_map_close(&o->map);
        hone_free(o->block);
        hone_free(o->slot);
        hone_free(o);
    }
    hone_free(m->layer);
    hone_free(m);
}

/* ---- inspect ---- */

static void copy_text(char *out, size_t cap, const char *text, size_t n) {
    size_t at = 0;
    for (size_t i = 0; i < n && at + 1 < cap; i++)
        if ((unsigned char)text[i] >= 32 && text[i] != 127) out[at++] = text[i];
    out[at] = 0;
}

/* "license: apache-2.0" in the front matter of README.md: the lines between two of "---" at its very beginning. */
static void readme_licence(const char *dir, char *out, size_t cap) {
    char *path = hone_path_join(dir, "README.md");
    hone_buf text = {0};
    if (path && hone_file_read(path, &text, 1u << 20, NULL) == HONE_OK && strncmp(hone_buf_str(&text), "---", 3) == 0) {
        const char *line = strchr(hone_buf_str(&text), '\n');
        for (; line && strncmp(line + 1, "---", 3) != 0; line = strchr(line + 1, '\n')) {
            const char *key = line + 1;
            if (strncmp(key, "license:", 8) != 0) continue;
            const char *v = key + 8 + strspn(key + 8, " \t\"'");
            copy_text(out, cap, v, strcspn(v, "\r\n\"'"));
            break;
        }
    }
    hone_buf_free(&text);
    hone_free(path);
}

hone_status hone_model_inspect(hone_model_info *out, const char *path, hone_error *err) {
    memset(out, 0, sizeof(*out));
    hone_weights *w = NULL;
    hone_model *m = NULL;
    hone_status s = hone_weights_open(&w, path, err);
    if (s == HONE_OK) s = model_describe(&m, w, HONE_PRECISION_SERVING, NULL, err);
    if (s == HONE_OK) {
        model_count(m);
        out->arch = m->arch;
        out->parameters = m->parameters;
        out->bytes = hone_weights_bytes(w);
        memcpy(out->format, m->format, sizeof(out->format));
        const hone_gguf *g = hone_weights_gguf(w);
        hone_gguf_text t;
        const char *name = json_string_value(json_object_get(hone_weights_config(w), "_name_or_path"));
        if (name) copy_text(out->name, sizeof(out->name), name, strlen(name));
        if (g && hone_gguf_get_text(g, "general.name", &t, NULL) == HONE_OK)
            copy_text(out->name, sizeof(out->name), t.text, t.n);
        if (g && hone_gguf_get_text(g, "general.license", &t, NULL) == HONE_OK)
            copy_text(out->licence, sizeof(out->licence), t.text, t.n);
        if (!g) readme_licence(path, out->licence, sizeof(out->licence));
    }
    hone_model_close(m);
    hone_weights_close(w);
    return s;
}

void hone_model_info_free(hone_model_info *info) {
    memset(info, 0, sizeof(*info));
}
