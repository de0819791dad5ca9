/* tiny.c - the contract is in tiny.h. */
#include "tiny.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"

#define MAX_BLOCKS 256

typedef struct {
    void *block[MAX_BLOCKS];
    uint32_t n;
} owner;

static void *own(hone_model *m, void *p) {
    owner *o = m->owner;
    if (!p || o->n == MAX_BLOCKS) return NULL;
    o->block[o->n++] = p;
    return p;
}

static float uniform(uint64_t seed, uint32_t a, uint64_t i) {
    return hone_random_unit(seed, a, 77, i) * 2 - 1;
}

/* One stored row of random numbers of about the given size. */
static void fill_row(hone_dtype t, void *row, uint32_t k, float size, uint64_t seed, uint32_t which, uint32_t n) {
    const uint32_t block = hone_dtype_block(t), bytes = hone_dtype_block_bytes(t);
    for (uint32_t b = 0; b < k / block; b++) {
        uint8_t *at = (uint8_t *)row + (size_t)b * bytes;
        const uint64_t i = (uint64_t)n * 65536 + (uint64_t)b * block;
        const float x = uniform(seed, which, i) * size;
        const uint16_t bf = hone_bf16_round(x), half = hone_f16_round(fabsf(x) / 8 + size / 64),
                       low = hone_f16_round(-fabsf(x));
        switch (t) {
        case HONE_F32: memcpy(at, &x, 4); break;
        case HONE_BF16: memcpy(at, &bf, 2); break;
        case HONE_F16: memcpy(at, &half, 2); break;
        default:
            for (uint32_t j = 0; j < bytes; j++) at[j] = (uint8_t)(hone_random_unit(seed, which, 78, i + j) * 256);
            memcpy(at, &half, 2); /* Q8_0: d; Q4_1: d, m */
            if (t == HONE_Q8_0) {
                const uint16_t d = hone_f16_round(size / 200);
                memcpy(at, &d, 2);
            }
            if (t == HONE_Q4_1) memcpy(at + 2, &low, 2);
        }
    }
}

static bool make_weight(hone_model *m, hone_weight *w, const tiny_options *o, uint32_t n, uint32_t k, uint32_t which) {
    *w = (hone_weight){.dtype = o->dtype, .precision = o->precision, .n = n, .k = k};
    if (k % hone_dtype_block(o->dtype)) w->dtype = HONE_BF16;
    w->bytes = m->kernels->weight_bytes(w->dtype, w->precision, n, k);
    void *data = own(m, hone_alloc_aligned(w->bytes, 1));
    size_t row_bytes;
    if (!data || !hone_dtype_row_bytes(w->dtype, k, &row_bytes)) return false;
    uint8_t *rows = hone_zalloc(n, row_bytes);
    const void **at = hone_zalloc(n, sizeof(*at));
    bool done = rows && at;
    for (uint32_t i = 0; done && i < n; i++) {
        at[i] = rows + i * row_bytes;
        fill_row(w->dtype, rows + i * row_bytes, k, 1.5f / sqrtf((float)k), o->seed, which, i);
    }
    hone_error err;
    done = done && m->kernels->weight_lay(w, data, at, 0, n, &err) == HONE_OK;
    hone_free(rows);
    hone_free(at);
    w->data = data;
    m->weight_bytes += w->bytes;
    return done;
}

static const float *make_vector(hone_model *m, const tiny_options *o, uint32_t n, float base, float size,
                                uint32_t which) {
    float *v = own(m, hone_zalloc(n, sizeof(*v)));
    for (uint32_t i = 0; v && i < n; i++) v[i] = base + size * uniform(o->seed, which, i);
    return v;
}

static hone_norm make_norm(hone_model *m, const tiny_options *o, uint32_t n, uint32_t which) {
    hone_norm norm = {.weight = make_vector(m, o, n, o->gemma ? 0.0f : 1.0f, 0.2f, which)};
    if (o->layer_norm) norm.bias = make_vector(m, o, n, 0, 0.1f, which + 1);
    return norm;
}

tiny_options tiny_defaults(void) {
    return (tiny_options){.n_layer = 2,
                          .width = 64,
                          .n_head = 4,
                          .n_kv_head = 2,
                          .head_dim = 16,
                          .mlp_width = 96,
                          .vocab = 320,
                          .dtype = HONE_Q4_1,
                          .seed = 1};
}

static void make_arch(hone_arch *a, const tiny_options *o) {
    strcpy(a->family, "tiny");
    a->vocab = o->vocab;
    a->width = o->width;
    a->n_layer = o->n_layer;
    a->n_head = o->n_head;
    a->n_kv_head = o->n_kv_head;
    a->head_dim = o->head_dim;
    a->mlp_width = o->mlp_width;
    a->max_position = 1024;
    a->norm = o->layer_norm ? HONE_NORM_LAYER : HONE_NORM_RMS;
    a->norm_eps = 1e-5f;
    a->norm_plus_one = o->gemma;
    a->block = o->parallel ? HONE_BLOCK_PARALLEL : HONE_BLOCK_SERIAL;
    a->pre_norm = !o->post_only;
    a->post_norm = o->gemma || o->post_only;
    a->qk_norm = o->qk_norm ? HONE_QK_NORM_HEAD : HONE_QK_NORM_NONE;
    a->attn_scale = 1.0f / sqrtf((float)o->head_dim);
    a->attn_softcap = o->gemma ? 5.0f : 0.0f;
    a->n_rope = 1;
    a->rope[0] = (hone_rope){.theta = 10000, .rot = o->head_dim, .factor = 1};
    hone_rope_prepare(&a->rope[0]);
    for (uint32_t l = 0; l < o->n_layer; l++) a->layer[l].window = l % 2 ? o->window : 0;
    a->act = o->gemma ? HONE_ACT_GELU_TANH : HONE_ACT_SILU;
    a->mlp_gated = !o->plain_mlp;
    a->embed_scale = o->gemma ? 8.0f : 1.0f;
    a->residual_scale = a->logit_scale = 1.0f;
    a->logit_softcap = o->gemma ? 15.0f : 0.0f;
    a->tied = o->tied;
    a->bos = a->pad = -1;
}

static bool make_layer(hone_model *m, hone_layer *y, const tiny_options *o, uint32_t l) {
    const uint32_t d = o->width, q = o->n_head * o->head_dim, kv = o->n_kv_head * o->head_dim, f = o->mlp_width;
    const struct { uint32_t n, k; } shape[HONE_MOD_COUNT] = {{q, d}, {kv, d}, {kv, d}, {d, q}, {f, d}, {f, d}, {d, f}};
    const uint32_t base = 100 * (l + 1);
    for (uint32_t i = 0; i < HONE_MOD_COUNT; i++) {
        if (i == HONE_MOD_GATE && o->plain_mlp) continue;
        if (!make_weight(m, &y->linear[i].w, o, shape[i].n, shape[i].k, base + i)) return false;
        if (o->bias) y->linear[i].bias = make_vector(m, o, shape[i].n, 0, 0.1f, base + 10 + i);
    }
    if (!o->post_only) {
        y->attn_norm = make_norm(m, o, d, base + 20);
        y->mlp_norm = make_norm(m, o, d, base + 22);
    }
    if (o->gemma || o->post_only) {
        y->attn_post_norm = make_norm(m, o, d, base + 24);
        y->mlp_post_norm = make_norm(m, o, d, base + 26);
    }
    if (o->qk_norm) {
        y->q_norm = make_norm(m, o, o->head_dim, base + 28);
        y->k_norm = make_norm(m, o, o->head_dim, base + 30);
    }
    return true;
}

hone_model *tiny_model(const hone_kernels *k, const tiny_options *o) {
    hone_model *m = hone_zalloc(1, sizeof(*m));
    if (!m || !(m->owner = hone_zalloc(1, sizeof(owner)))) goto fail;
    m->kernels = k;
    m->precision = o->precision;
    make_arch(&m->arch, o);
    if (!(m->layer = own(m, hone_zalloc(o->n_layer, sizeof(*m->layer))))) goto fail;
    if (!make_weight(m, &m->embed, o, o->vocab, o->width, 1)) goto fail;
    if (o->tied)
        m->head.w = m->embed;
    else if (!make_weight(m, &m->head.w, o, o->vocab, o->width, 2))
        goto fail;
    m->final_norm = make_norm(m, o, o->width, 3);
    for (uint32_t l = 0; l < o->n_layer; l++)
        if (!make_layer(m, &m->layer[l], o, l)) goto fail;
    return m;
fail:
    tiny_model_free(m);
    return NULL;
}

void tiny_model_free(hone_model *m) {
    if (!m) return;
    owner *o = m->owner;
    for (uint32_t i = 0; o && i < o->n; i++) hone_free(o->block[i]);
    hone_free(o);
    hone_free(m);
}

hone_adapter *tiny_adapter(const hone_model *m, uint32_t rank, uint64_t seed) {
    hone_adapter_config cfg = {.rank = rank, .alpha = (float)rank * 2, .seed = seed};
    for (uint32_t i = 0; i < HONE_MOD_COUNT; i++) cfg.target[i] = m->layer[0].linear[i].w.n > 0;
    hone_adapter *a;
    hone_error err;
    if (hone_adapter_new(&a, &m->arch, &cfg, &err) != HONE_OK) return NULL;
    for (uint32_t l = 0; l < m->arch.n_layer; l++)
        for (uint32_t i = 0; i < HONE_MOD_COUNT; i++) {
            hone_lora *lora = &a->lora[l][i];
            for (uint32_t j = 0; lora->rank && j < m->layer[l].linear[i].w.n * lora->rank; j++)
                lora->b[j] = 0.1f * uniform(seed, l * 7 + i, j);
        }
    return a;
}

void tiny_tokens(int32_t *out, uint32_t n, uint32_t vocab, uint64_t seed) {
    for (uint32_t i = 0; i < n; i++) out[i] = (int32_t)(hone_random_unit(seed, 5, 6, i) * (float)vocab);
}
