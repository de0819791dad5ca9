/* tiny.c - see tiny.h.  Order: specs, building, rows, the plain mathematics. */
#include "test.h"

#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"

/* ---- Specs ---- */

static void plain(hone_arch *a) {
    (void)a;
}
static void gemma2(hone_arch *a) {
    a->norm_plus_one = a->post_norm = true;
    a->attn_softcap = 3.0f;
    a->logit_softcap = 4.0f;
    a->layer[0].window = 5;
    a->act = HONE_ACT_GELU_TANH;
    a->embed_scale = 4.9f;
    a->attn_scale = 0.3f;
}
static void qwen3(hone_arch *a) {
    a->qk_norm = HONE_QK_NORM_HEAD;
    a->tied = false;
}
static void olmo2(hone_arch *a) {
    a->pre_norm = false;
    a->post_norm = true;
    a->qk_norm = HONE_QK_NORM_WIDTH;
}
static void layer_norms(hone_arch *a) {
    a->norm = HONE_NORM_LAYER;
    a->mlp_gated = false;
    a->act = HONE_ACT_GELU_ERF;
    a->rope[0].rot = 4;
    a->rope[0].interleaved = true;
}
static void parallel(hone_arch *a) {
    a->block = HONE_BLOCK_PARALLEL;
    a->norm = HONE_NORM_LAYER;
    a->logit_scale = 0.5f;
}
static void granite(hone_arch *a) {
    a->residual_scale = 0.4f;
    a->logit_scale = 0.7f;
    a->act = HONE_ACT_RELU2;
    a->mlp_gated = false;
}
static void odd(hone_arch *a) {
    a->qk_norm = HONE_QK_NORM_HEAD;
    a->qk_norm_after_rope = true;
    a->act = HONE_ACT_RELU;
    a->layer[1].rope = HONE_NO_ROPE;
    a->clip_qkv = 0.8f;
}

const tiny_spec tiny_specs[] = {
    {"llama", plain, false, false},
    {"qwen2 biases", plain, true, false},
    {"gemma2", gemma2, false, false},
    {"qwen3 head norms", qwen3, false, false},
    {"olmo2 post norms", olmo2, false, false},
    {"layer norms", layer_norms, true, false},
    {"parallel block", parallel, false, false},
    {"granite scales", granite, false, false},
    {"odd ones", odd, false, false},
    {"dropout", plain, false, true},
};
const size_t n_tiny_specs = sizeof(tiny_specs) / sizeof(*tiny_specs);

/* ---- Building ---- */

static void *own(tiny *t, void *p) {
    assert_non_null(p);
    assert_true(t->n_owned < 256);
    return t->owned[t->n_owned++] = p;
}

static float *random_floats(tiny *t, size_t n, float scale, float around) {
    float *p = own(t, hone_alloc_aligned(n, sizeof(float)));
    for (size_t i = 0; i < n; i++)
        p[i] = around + scale * (2.0f * hone_random_unit(7, (uint32_t)t->n_owned, 0, i) - 1.0f);
    return p;
}

static hone_weight lay(tiny *t, const float *w, uint32_t n, uint32_t k) {
    hone_weight out = {.dtype = HONE_F32, .precision = t->model.precision, .n = n, .k = k};
    out.bytes = t->model.kernels->weight_bytes(out.dtype, out.precision, n, k);
    void *data = own(t, hone_alloc_aligned(out.bytes, 1));
    memset(data, 0, out.bytes);
    const void **rows = malloc(n * sizeof(*rows));
    assert_non_null(rows);
    for (uint32_t i = 0; i < n; i++) rows[i] = w + (size_t)i * k;
    out.data = data;
    assert_int_equal(t->model.kernels->weight_lay(&out, data, rows, 0, n, NULL), HONE_OK);
    free(rows);
    return out;
}

static hone_norm norm_of(tiny *t, uint32_t width) {
    const hone_arch *a = &t->model.arch;
    hone_norm n = {.weight = random_floats(t, width, 0.3f, a->norm_plus_one ? 0.0f : 1.0f)};
    if (a->norm == HONE_NORM_LAYER) n.bias = random_floats(t, width, 0.2f, 0.0f);
    return n;
}

static void sizes_of(const hone_arch *a, uint32_t m, uint32_t *n, uint32_t *k) {
    const uint32_t q = a->n_head * a->head_dim, kv = a->n_kv_head * a->head_dim;
    const uint32_t ns[HONE_MOD_COUNT] = {q, kv, kv, a->width, a->mlp_width, a->mlp_width, a->width};
    const uint32_t ks[HONE_MOD_COUNT] = {a->width, a->width, a->width, q, a->width, a->width, a->mlp_width};
    *n = ns[m];
    *k = ks[m];
}

void tiny_open(tiny *t, const tiny_spec *spec, const hone_kernels *kernels, hone_precision precision) {
    memset(t, 0, sizeof(*t));
    t->model.kernels = kernels;
    t->model.precision = precision;
    t->model.layer = t->layer;
    hone_arch *a = &t->model.arch;
    strcpy(a->family, "tiny");
    a->vocab = 70;
    a->width = 64;
    a->n_layer = 2;
    a->n_head = 4;
    a->n_kv_head = 2;
    a->head_dim = 16;
    a->mlp_width = 96;
    a->max_position = 512;
    a->norm_eps = 1e-5f;
    a->pre_norm = a->mlp_gated = a->tied = true;
    a->attn_scale = 0.25f;
    a->position = HONE_POSITION_ROPE;
    a->n_rope = 1;
    a->rope[0] = (hone_rope){.theta = 100.0, .rot = 16};
    a->embed_scale = a->residual_scale = a->logit_scale = 1.0f;
    spec->change(a);
    hone_rope_prepare(&a->rope[0]);

    t->embed = random_floats(t, (size_t)a->vocab * a->width, 0.5f, 0.0f);
    t->head = a->tied ? t->embed : random_floats(t, (size_t)a->vocab * a->width, 0.5f, 0.0f);
    t->model.embed = lay(t, t->embed, a->vocab, a->width);
    t->model.head.w = a->tied ? t->model.embed : lay(t, t->head, a->vocab, a->width);
    t->model.final_norm = norm_of(t, a->width);
    t->adapter = (hone_adapter){.rank = 3, .n_layer = a->n_layer, .max_rank = 5, .lora = t->lora};
    if (spec->dropout) t->adapter.dropout = 0.3f;
    for (uint32_t l = 0; l < a->n_layer; l++) {
        hone_layer *y = &t->layer[l];
        if (a->pre_norm || a->block == HONE_BLOCK_PARALLEL) y->attn_norm = norm_of(t, a->width);
        if (a->pre_norm && a->block == HONE_BLOCK_SERIAL) y->mlp_norm = norm_of(t, a->width);
        if (a->post_norm) y->attn_post_norm = norm_of(t, a->width);
        if (a->post_norm) y->mlp_post_norm = norm_of(t, a->width);
        const bool whole = a->qk_norm == HONE_QK_NORM_WIDTH;
        if (a->qk_norm) y->q_norm = norm_of(t, a->head_dim * (whole ? a->n_head : 1));
        if (a->qk_norm) y->k_norm = norm_of(t, a->head_dim * (whole ? a->n_kv_head : 1));
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
            if (m == HONE_MOD_GATE && !a->mlp_gated) continue;
            uint32_t n, k;
            sizes_of(a, m, &n, &k);
            t->w[l][m] = random_floats(t, (size_t)n * k, 0.25f, 0.0f);
            y->linear[m].w = lay(t, t->w[l][m], n, k);
            if (spec->biases) y->linear[m].bias = random_floats(t, n, 0.1f, 0.0f);
            if (l == 1 && m == HONE_MOD_O) continue; /* a module without an adapter */
            hone_lora *lora = &t->lora[l][m];
            lora->rank = m == HONE_MOD_DOWN ? 5 : 3;
            lora->alpha = 6.0f;
            lora->scale = lora->alpha / (float)lora->rank;
            lora->a = random_floats(t, (size_t)lora->rank * k, 0.2f, 0.0f);
            lora->b = random_floats(t, (size_t)n * lora->rank, 0.2f, 0.0f);
        }
    }
}

void tiny_close(tiny *t) {
    for (size_t i = 0; i < t->n_owned; i++) hone_free(t->owned[i]);
    memset(t, 0, sizeof(*t));
}

/* ---- Rows ---- */

void tiny_rows(hone_train_data *data, uint32_t vocab, uint32_t n, uint32_t longest, uint64_t seed) {
    memset(data, 0, sizeof(*data));
    data->row = hone_zalloc(n, sizeof(*data->row));
    assert_non_null(data->row);
    data->n = data->cap = n;
    for (uint32_t i = 0; i < n; i++) {
        hone_train_row *r = &data->row[i];
        r->n = 2 + (uint32_t)(hone_random_unit(seed, 1, i, 0) * (float)(longest - 1));
        r->line = i + 1;
        r->token = hone_zalloc(r->n, sizeof(*r->token));
        r->trained = hone_zalloc(r->n, 1);
        for (uint32_t t = 0; t < r->n; t++) {
            r->token[t] = (int32_t)(hone_random_unit(seed, 2, i, t) * (float)vocab);
            r->trained[t] = t > 0 && (hone_random_unit(seed, 3, i, t) < 0.4f || t + 2 == r->n || r->n == 2);
            r->n_trained += r->trained[t];
            if (r->trained[t]) r->n_run = t;
        }
        data->n_tokens += r->n;
        data->n_trained += r->n_trained;
        if (r->n > data->longest) data->longest = r->n;
        if (r->n_run > data->longest_run) data->longest_run = r->n_run;
    }
}

/* ---- The plain mathematics, one row at a time ---- */

#define MAX_T 200
#define MAX_W 128

typedef struct {
    const tiny *t;
    const hone_train_row *row;
    uint64_t row_number;
    const tiny_change *change;
    const hone_dropout *dropout; /* its row_id is not used */
} run;

static double lora_at(const run *r, uint32_t l, uint32_t m, bool of_b, size_t i) {
    const hone_lora *lora = &r->t->lora[l][m];
    const double v = (double)(of_b ? lora->b : lora->a)[i];
    const tiny_change *c = r->change;
    return c && c->layer == l && c->module == m && c->of_b == of_b && c->element == i ? v + c->by : v;
}

static void linear(const run *r, uint32_t l, uint32_t m, uint32_t position, const double *x, double *y) {
    const tiny *t = r->t;
    const hone_lora *lora = &t->lora[l][m];
    uint32_t n, k;
    sizes_of(&t->model.arch, m, &n, &k);
    double ax[8] = {0};
    float ones[MAX_W], kept[MAX_W];
    for (uint32_t j = 0; j < k; j++) ones[j] = kept[j] = 1.0f;
    if (r->dropout && lora->rank) { /* the mask itself is forward's, as its header states it */
        const uint64_t id = r->row_number << 32 | position;
        const hone_dropout drop = {r->dropout->p, r->dropout->seed, r->dropout->step, &id};
        hone_dropout_row(&drop, l, (hone_module)m, 0, ones, k, kept);
    }
    for (uint32_t i = 0; i < lora->rank; i++)
        for (uint32_t j = 0; j < k; j++) ax[i] += lora_at(r, l, m, false, (size_t)i * k + j) * x[j] * (double)kept[j];
    for (uint32_t i = 0; i < n; i++) {
        double sum = t->layer[l].linear[m].bias ? (double)t->layer[l].linear[m].bias[i] : 0.0;
        for (uint32_t j = 0; j < k; j++) sum += (double)t->w[l][m][(size_t)i * k + j] * x[j];
        for (uint32_t j = 0; j < lora->rank; j++)
            sum += (double)lora->scale * lora_at(r, l, m, true, (size_t)i * lora->rank + j) * ax[j];
        y[i] = sum;
    }
}

static void norm(const hone_arch *a, const hone_norm *w, const double *x, uint32_t d, double *y) {
    double mean = 0, square = 0, copy[MAX_W];
    memcpy(copy, x, d * sizeof(*x));
    for (uint32_t j = 0; j < d && a->norm == HONE_NORM_LAYER; j++) mean += x[j] / d;
    for (uint32_t j = 0; j < d; j++) square += (x[j] - mean) * (x[j] - mean) / d;
    const double inv = 1.0 / sqrt(square + (double)a->norm_eps);
    for (uint32_t j = 0; j < d; j++)
        y[j] = (copy[j] - mean) * inv * ((double)w->weight[j] + (a->norm_plus_one ? 1.0 : 0.0)) +
               (w->bias ? (double)w->bias[j] : 0.0);
}

static double activate(hone_act act, double x) {
    switch (act) {
    case HONE_ACT_SILU: return x / (1.0 + exp(-x));
    case HONE_ACT_GELU_TANH: return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case HONE_ACT_GELU_ERF: return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    case HONE_ACT_RELU: return x > 0 ? x : 0;
    case HONE_ACT_RELU2: return x > 0 ? x * x : 0;
    }
    return x;
}

static void head_norms(const hone_arch *a, const hone_norm *w, double *x, uint32_t heads) {
    const bool whole = a->qk_norm == HONE_QK_NORM_WIDTH;
    for (uint32_t h = 0; h < (whole ? 1 : heads); h++)
        norm(a, w, x + h * a->head_dim, whole ? heads * a->head_dim : a->head_dim, x + h * a->head_dim);
}

static void rotate(const hone_arch *a, uint32_t l, double *x, uint32_t heads, uint32_t position, uint32_t length) {
    if (a->layer[l].rope == HONE_NO_ROPE) return;
    const hone_rope *rope = &a->rope[a->layer[l].rope];
    float cos[16], sin[16];
    hone_rope_row(rope, position, length, cos, sin);
    for (uint32_t h = 0; h < heads; h++)
        for (uint32_t i = 0; i < rope->rot / 2; i++) {
            double *p = x + h * a->head_dim + (rope->interleaved ? 2 * i : i);
            double *q = p + (rope->interleaved ? 1 : rope->rot / 2);
            const double u = *p, v = *q;
            *p = u * (double)cos[i] - v * (double)sin[i];
            *q = v * (double)cos[i] + u * (double)sin[i];
        }
}

static void clip(const hone_arch *a, double *x, uint32_t n) {
    for (uint32_t i = 0; i < n && a->clip_qkv > 0; i++)
        x[i] = fmax(fmin(x[i], (double)a->clip_qkv), -(double)a->clip_qkv);
}

static double (*q)[MAX_W], (*k)[MAX_W], (*v)[MAX_W], (*x)[MAX_W], (*mid)[MAX_W];

static void branch_out(const run *r, const hone_norm *post, double *y, double *into) {
    const hone_arch *a = &r->t->model.arch;
    if (a->post_norm) norm(a, post, y, a->width, y);
    for (uint32_t j = 0; j < a->width; j++) into[j] += (double)a->residual_scale * y[j];
}

static void block(const run *r, uint32_t l, uint32_t n) {
    const hone_arch *a = &r->t->model.arch;
    const hone_layer *w = &r->t->layer[l];
    const uint32_t e = a->head_dim, group = a->n_head / a->n_kv_head;
    double h[MAX_W], gate[MAX_W], up[MAX_W], y[MAX_W];
    for (uint32_t t = 0; t < n; t++) {
        memcpy(h, x[t], sizeof(h));
        if (a->pre_norm) norm(a, &w->attn_norm, x[t], a->width, h);
        linear(r, l, HONE_MOD_Q, t, h, q[t]);
        linear(r, l, HONE_MOD_K, t, h, k[t]);
        linear(r, l, HONE_MOD_V, t, h, v[t]);
        clip(a, q[t], a->n_head * e);
        clip(a, k[t], a->n_kv_head * e);
        clip(a, v[t], a->n_kv_head * e);
        if (a->qk_norm && !a->qk_norm_after_rope) head_norms(a, &w->q_norm, q[t], a->n_head);
        if (a->qk_norm && !a->qk_norm_after_rope) head_norms(a, &w->k_norm, k[t], a->n_kv_head);
        rotate(a, l, q[t], a->n_head, t, r->row->n);
        rotate(a, l, k[t], a->n_kv_head, t, r->row->n);
        if (a->qk_norm && a->qk_norm_after_rope) head_norms(a, &w->q_norm, q[t], a->n_head);
        if (a->qk_norm && a->qk_norm_after_rope) head_norms(a, &w->k_norm, k[t], a->n_kv_head);
    }
    for (uint32_t t = 0; t < n; t++) {
        double attn[MAX_W] = {0};
        const uint32_t window = a->layer[l].window, first = window && t + 1 > window ? t + 1 - window : 0;
        for (uint32_t head = 0; head < a->n_head; head++) {
            double p[MAX_T], sum = 0;
            const uint32_t g = head / group;
            for (uint32_t s = first; s <= t; s++) {
                double score = 0;
                for (uint32_t i = 0; i < e; i++) score += q[t][head * e + i] * k[s][g * e + i];
                score *= (double)a->attn_scale;
                if (a->attn_softcap > 0) score = (double)a->attn_softcap * tanh(score / (double)a->attn_softcap);
                sum += p[s] = exp(score);
            }
            for (uint32_t s = first; s <= t; s++)
                for (uint32_t i = 0; i < e; i++) attn[head * e + i] += p[s] / sum * v[s][g * e + i];
        }
        linear(r, l, HONE_MOD_O, t, attn, y);
        memcpy(mid[t], x[t], sizeof(h));
        branch_out(r, &w->attn_post_norm, y, mid[t]);
        const double *in = a->block == HONE_BLOCK_PARALLEL ? x[t] : mid[t];
        memcpy(h, in, sizeof(h));
        if (a->block == HONE_BLOCK_PARALLEL)
            norm(a, &w->attn_norm, in, a->width, h);
        else if (a->pre_norm)
            norm(a, &w->mlp_norm, in, a->width, h);
        linear(r, l, HONE_MOD_UP, t, h, up);
        if (a->mlp_gated) linear(r, l, HONE_MOD_GATE, t, h, gate);
        for (uint32_t i = 0; i < a->mlp_width; i++)
            up[i] = a->mlp_gated ? activate(a->act, gate[i]) * up[i] : activate(a->act, up[i]);
        linear(r, l, HONE_MOD_DOWN, t, up, y);
        branch_out(r, &w->mlp_post_norm, y, mid[t]);
    }
    memcpy(x, mid, n * sizeof(*x));
}

static double row_loss(const run *r) {
    const hone_arch *a = &r->t->model.arch;
    const uint32_t n = r->row->n_run;
    double loss = 0, h[MAX_W], logits[MAX_W];
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t j = 0; j < a->width; j++)
            x[t][j] = (double)(r->t->embed[(size_t)r->row->token[t] * a->width + j] * a->embed_scale);
    for (uint32_t l = 0; l < a->n_layer; l++) block(r, l, n);
    for (uint32_t t = 0; t < n; t++) {
        if (!r->row->trained[t + 1]) continue;
        norm(a, &r->t->model.final_norm, x[t], a->width, h);
        double sum = 0;
        for (uint32_t i = 0; i < a->vocab; i++) {
            double z = 0;
            for (uint32_t j = 0; j < a->width; j++) z += (double)r->t->head[(size_t)i * a->width + j] * h[j];
            z *= (double)a->logit_scale;
            if (a->logit_softcap > 0) z = (double)a->logit_softcap * tanh(z / (double)a->logit_softcap);
            sum += exp(logits[i] = z);
        }
        loss += log(sum) - logits[r->row->token[t + 1]];
    }
    return loss;
}

double tiny_loss(const tiny *t, const hone_train_data *data, const tiny_change *change, const hone_dropout *dropout) {
    double loss = 0, (*memory)[MAX_T][MAX_W] = malloc(5 * sizeof(*memory));
    assert_non_null(memory);
    q = memory[0];
    k = memory[1];
    v = memory[2];
    x = memory[3];
    mid = memory[4];
    for (size_t i = 0; i < data->n; i++) {
        assert_true(data->row[i].n <= MAX_T);
        loss += row_loss(&(run){t, &data->row[i], data->row[i].line, change, dropout});
    }
    free(memory);
    return loss;
}
