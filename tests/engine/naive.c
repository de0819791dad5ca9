/* naive.c - the contract is in naive.h. */
#include "naive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *room(size_t n) {
    return calloc(n, sizeof(double));
}

/* y[n] = W x + b (+ scale B (A x)) */
static void product(const hone_model *m, const hone_linear *lin, const hone_lora *lora, const double *x, double *y) {
    float *row = malloc(lin->w.k * sizeof(float));
    for (uint32_t i = 0; i < lin->w.n; i++) {
        m->kernels->weight_row(&lin->w, i, row);
        y[i] = lin->bias ? (double)lin->bias[i] : 0;
        for (uint32_t j = 0; j < lin->w.k; j++) y[i] += (double)row[j] * x[j];
    }
    for (uint32_t r = 0; lora && r < lora->rank; r++) {
        double ax = 0;
        for (uint32_t j = 0; j < lin->w.k; j++) ax += (double)lora->a[(size_t)r * lin->w.k + j] * x[j];
        for (uint32_t i = 0; i < lin->w.n; i++)
            y[i] += (double)lora->scale * (double)lora->b[(size_t)i * lora->rank + r] * ax;
    }
    free(row);
}

static void norm(const hone_arch *a, const hone_norm *w, const double *x, uint32_t d, double *y) {
    double sum = 0;
    for (uint32_t i = 0; i < d; i++) sum += x[i] * x[i];
    const double inv = 1 / sqrt(sum / d + (double)a->norm_eps);
    for (uint32_t i = 0; i < d; i++) y[i] = x[i] * inv * ((double)w->weight[i] + (a->norm_plus_one ? 1 : 0));
}

static void rotate(const hone_rope *rope, double *head, uint32_t position) {
    const uint32_t half = rope->rot / 2;
    for (uint32_t i = 0; i < half; i++) {
        const double angle = position * pow(rope->theta, -2.0 * i / rope->rot), c = cos(angle), s = sin(angle);
        const double p = head[i], q = head[i + half];
        head[i] = p * c - q * s;
        head[i + half] = q * c + p * s;
    }
}

static double cap(double x, float limit) {
    return limit > 0 ? (double)limit * tanh(x / (double)limit) : x;
}

static double activate(hone_act act, double x) {
    if (act == HONE_ACT_SILU) return x / (1 + exp(-x));
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

static void attend(const hone_arch *a, uint32_t window, const double *q, const double *k, const double *v, uint32_t p,
                   double *out) {
    const uint32_t e = a->head_dim, wk = a->n_kv_head * e;
    const uint32_t first = window && p + 1 > window ? p + 1 - window : 0;
    double *score = room(p + 1);
    for (uint32_t h = 0; h < a->n_head; h++) {
        const uint32_t g = h / (a->n_head / a->n_kv_head);
        double largest = -INFINITY, sum = 0;
        for (uint32_t t = first; t <= p; t++) {
            score[t] = 0;
            for (uint32_t i = 0; i < e; i++) score[t] += q[h * e + i] * k[(size_t)t * wk + g * e + i];
            score[t] = cap(score[t] * (double)a->attn_scale, a->attn_softcap);
            if (score[t] > largest) largest = score[t];
        }
        for (uint32_t i = 0; i < e; i++) out[h * e + i] = 0;
        for (uint32_t t = first; t <= p; t++) {
            const double w = exp(score[t] - largest);
            sum += w;
            for (uint32_t i = 0; i < e; i++) out[h * e + i] += w * v[(size_t)t * wk + g * e + i];
        }
        for (uint32_t i = 0; i < e; i++) out[h * e + i] /= sum;
    }
    free(score);
}

void naive_logits(const hone_model *m, const hone_adapter *adapter, const int32_t *tokens, uint32_t n, double *logits) {
    const hone_arch *a = &m->arch;
    const uint32_t d = a->width, wq = a->n_head * a->head_dim, wk = a->n_kv_head * a->head_dim, f = a->mlp_width;
    double *x = room((size_t)n * d), *h = room(d), *q = room(wq), *attn = room(wq), *y = room(d), *gate = room(f),
           *up = room(f);
    double *k = room((size_t)a->n_layer * n * wk), *v = room((size_t)a->n_layer * n * wk);
    float *row = malloc(d * sizeof(float));
    for (uint32_t p = 0; p < n; p++) {
        double *xp = x + (size_t)p * d;
        m->kernels->weight_row(&m->embed, (uint32_t)tokens[p], row);
        for (uint32_t i = 0; i < d; i++) xp[i] = (double)row[i] * (double)a->embed_scale;
        for (uint32_t l = 0; l < a->n_layer; l++) {
            const hone_layer *y_of = &m->layer[l];
            const hone_linear *lin = y_of->linear;
            const hone_lora none[HONE_MOD_COUNT] = {{0}}, *lora = adapter ? adapter->lora[l] : none;
            double *kl = k + (size_t)l * n * wk, *vl = v + (size_t)l * n * wk;
            if (a->pre_norm)
                norm(a, &y_of->attn_norm, xp, d, h);
            else
                memcpy(h, xp, d * sizeof(*h));
            product(m, &lin[HONE_MOD_Q], &lora[HONE_MOD_Q], h, q);
            product(m, &lin[HONE_MOD_K], &lora[HONE_MOD_K], h, kl + (size_t)p * wk);
            product(m, &lin[HONE_MOD_V], &lora[HONE_MOD_V], h, vl + (size_t)p * wk);
            for (uint32_t i = 0; i < a->n_head + a->n_kv_head; i++) {
                const bool is_q = i < a->n_head;
                double *head = is_q ? q + i * a->head_dim : kl + (size_t)p * wk + (i - a->n_head) * a->head_dim;
                if (a->qk_norm == HONE_QK_NORM_HEAD)
                    norm(a, is_q ? &y_of->q_norm : &y_of->k_norm, head, a->head_dim, head);
                rotate(&a->rope[0], head, p);
            }
            attend(a, a->layer[l].window, q, kl, vl, p, attn);
            product(m, &lin[HONE_MOD_O], &lora[HONE_MOD_O], attn, y);
            if (a->post_norm) norm(a, &y_of->attn_post_norm, y, d, y);
            for (uint32_t i = 0; i < d; i++) xp[i] += y[i];
            if (a->pre_norm)
                norm(a, &y_of->mlp_norm, xp, d, h);
            else
                memcpy(h, xp, d * sizeof(*h));
            product(m, &lin[HONE_MOD_UP], &lora[HONE_MOD_UP], h, up);
            if (a->mlp_gated) product(m, &lin[HONE_MOD_GATE], &lora[HONE_MOD_GATE], h, gate);
            for (uint32_t i = 0; i < f; i++)
                up[i] = a->mlp_gated ? activate(a->act, gate[i]) * up[i] : activate(a->act, up[i]);
            product(m, &lin[HONE_MOD_DOWN], &lora[HONE_MOD_DOWN], up, y);
            if (a->post_norm) norm(a, &y_of->mlp_post_norm, y, d, y);
            for (uint32_t i = 0; i < d; i++) xp[i] += y[i];
        }
        norm(a, &m->final_norm, xp, d, h);
        product(m, &m->head, NULL, h, logits + (size_t)p * a->vocab);
        for (uint32_t i = 0; i < a->vocab; i++)
            logits[(size_t)p * a->vocab + i] = cap(logits[(size_t)p * a->vocab + i], a->logit_softcap);
    }
    free(x), free(h), free(q), free(attn), free(y), free(gate), free(up), free(k), free(v), free(row);
}
