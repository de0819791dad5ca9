/* backward_norm.c - norms and activations, forward again and backward.
 * Order: norms, activations. */
#include <math.h>
#include <string.h>

#include "train/backward_parts.h"

/* ---- Norms ---- */

typedef struct {
    hone_backward *b;
    const hone_norm *norm;
    const float *x, *dy;
    float *y;
    bool add;
} norm_work;

static void norm_again(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const norm_work *w = arg;
    const hone_arch *a = &w->b->model->arch;
    const size_t at = (size_t)row0 * a->width;
    if (a->norm == HONE_NORM_LAYER)
        w->b->kernels->layer_norm(w->x + at, a->width, w->norm->weight, w->norm->bias, a->norm_plus_one, a->norm_eps,
                                  row1 - row0, a->width, w->y + at, a->width, NULL);
    else
        w->b->kernels->rms_norm(w->x + at, a->width, w->norm->weight, a->norm_plus_one, a->norm_eps, row1 - row0,
                                a->width, w->y + at, a->width, NULL);
}

const float *backward_norm_again(hone_backward *b, const hone_norm *norm, const float *x, float *y) {
    if (!norm) return x;
    norm_work w = {.b = b, .norm = norm, .x = x, .y = y};
    backward_each_rows(b, norm_again, &w);
    return y;
}

/* y = f * (x - mean) * inv with inv = 1 / sqrt(mean square + eps), where the root mean square norm has mean 0:
 * with g = f * dy,  dx = inv * (g - [mean of g] - xhat * mean(g * xhat)). */
void backward_norm_rows(const hone_kernels *k, hone_norm_kind kind, bool plus_one, float eps, const hone_norm *norm,
                        const float *x, uint32_t n, uint32_t d, const float *dy, float *dx, bool add, float *tmp) {
    float *xhat = tmp, *g = tmp + d;
    for (uint32_t i = 0; i < n; i++, x += d, dy += d, dx += d) {
        float inv, mean_inv[2], mean_g = 0.0f;
        if (kind == HONE_NORM_LAYER) {
            k->layer_norm(x, d, NULL, NULL, false, eps, 1, d, xhat, d, mean_inv);
            inv = mean_inv[1];
        } else {
            k->rms_norm(x, d, NULL, false, eps, 1, d, xhat, d, &inv);
        }
        if (!norm->weight)
            memcpy(g, dy, d * sizeof(*g));
        else if (plus_one)
            for (uint32_t j = 0; j < d; j++) g[j] = dy[j] * (1.0f + norm->weight[j]);
        else
            for (uint32_t j = 0; j < d; j++) g[j] = dy[j] * norm->weight[j];
        const float c = k->dot(g, xhat, d) / (float)d;
        if (kind == HONE_NORM_LAYER) {
            for (uint32_t j = 0; j < d; j++) mean_g += g[j];
            mean_g /= (float)d;
        }
        if (add)
            for (uint32_t j = 0; j < d; j++) dx[j] += inv * (g[j] - mean_g - xhat[j] * c);
        else
            for (uint32_t j = 0; j < d; j++) dx[j] = inv * (g[j] - mean_g - xhat[j] * c);
    }
}

static void norm_back(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    const norm_work *w = arg;
    const hone_arch *a = &w->b->model->arch;
    const size_t at = (size_t)row0 * a->width;
    if (w->norm)
        backward_norm_rows(w->b->kernels, a->norm, a->norm_plus_one, a->norm_eps, w->norm, w->x + at, row1 - row0,
                           a->width, w->dy + at, w->y + at, w->add, backward_scratch(w->b, thread));
    else if (w->add)
        w->b->kernels->add(w->y + at, w->dy + at, (size_t)(row1 - row0) * a->width);
    else
        memmove(w->y + at, w->dy + at, (size_t)(row1 - row0) * a->width * sizeof(float));
}

void backward_norm(hone_backward *b, const hone_norm *norm, const float *x, const float *dy, float *dx, bool add) {
    norm_work w = {.b = b, .norm = norm, .x = x, .dy = dy, .y = dx, .add = add};
    backward_each_rows(b, norm_back, &w);
}

/* ---- Activations ---- */

#define CHUNK 512u

/* value[n] = act(x), slope[n] = its derivative; n <= CHUNK.  Exponentials come from the kernel set, the rest are plain
 * loops over independent elements. */
static void act_slope(const hone_kernels *k, hone_act act, const float *x, size_t n, float *value, float *slope) {
    float t[CHUNK], e[CHUNK];
    switch (act) {
    case HONE_ACT_SILU:
        for (size_t i = 0; i < n; i++) t[i] = -x[i];
        k->exp_shift(t, 0.0f, n, e);
        for (size_t i = 0; i < n; i++) {
            const float s = 1.0f / (1.0f + e[i]);
            value[i] = x[i] * s;
            slope[i] = s * (1.0f + x[i] * (1.0f - s));
        }
        return;
    case HONE_ACT_GELU_TANH: {
        const float c = 0.7978845608f, c3 = 0.044715f;
        for (size_t i = 0; i < n; i++) t[i] = 2.0f * c * (x[i] + c3 * x[i] * x[i] * x[i]);
        k->exp_shift(t, 0.0f, n, e);
        for (size_t i = 0; i < n; i++) {
            const float h = 1.0f - 2.0f / (1.0f + e[i]); /* tanh; e may be infinite */
            value[i] = 0.5f * x[i] * (1.0f + h);
            slope[i] = 0.5f * (1.0f + h) + 0.5f * x[i] * (1.0f - h * h) * c * (1.0f + 3.0f * c3 * x[i] * x[i]);
        }
        return;
    }
    case HONE_ACT_GELU_ERF:
        for (size_t i = 0; i < n; i++) t[i] = -0.5f * x[i] * x[i];
        k->exp_shift(t, 0.0f, n, e);
        for (size_t i = 0; i < n; i++) {
            const float cdf = 0.5f * (1.0f + erff(x[i] * 0.7071067812f));
            value[i] = x[i] * cdf;
            slope[i] = cdf + x[i] * 0.3989422804f * e[i];
        }
        return;
    case HONE_ACT_RELU:
    case HONE_ACT_RELU2:
        for (size_t i = 0; i < n; i++) {
            const float p = x[i] > 0.0f ? x[i] : 0.0f;
            value[i] = act == HONE_ACT_RELU ? p : p * p;
            slope[i] = act == HONE_ACT_RELU ? (float)(x[i] > 0.0f) : 2.0f * p;
        }
        return;
    }
}

void backward_activation_chunk(const hone_kernels *k, hone_act act, const float *gate, const float *up, float *dh,
                               float *dgate, size_t n) {
    float value[CHUNK], slope[CHUNK];
    for (size_t at = 0; at < n; at += CHUNK) {
        const size_t len = n - at < CHUNK ? n - at : CHUNK;
        act_slope(k, act, gate + at, len, value, slope);
        float *d = dh + at, *dg = dgate + at;
        if (!up) {
            for (size_t i = 0; i < len; i++) dg[i] = d[i] * slope[i];
            continue;
        }
        const float *u = up + at;
        for (size_t i = 0; i < len; i++) {
            dg[i] = d[i] * u[i] * slope[i];
            d[i] = d[i] * value[i];
        }
    }
}

typedef struct {
    hone_backward *b;
    const float *gate, *up;
    float *h, *dgate;
} act_work;

static void act_again(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const act_work *w = arg;
    const size_t f = w->b->model->arch.mlp_width, at = row0 * f;
    w->b->kernels->gated(w->b->model->arch.act, w->gate + at, w->up ? w->up + at : NULL, (row1 - row0) * f, w->h + at);
}

static void act_back(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const act_work *w = arg;
    const size_t f = w->b->model->arch.mlp_width, at = row0 * f;
    backward_activation_chunk(w->b->kernels, w->b->model->arch.act, w->gate + at, w->up ? w->up + at : NULL, w->h + at,
                              w->dgate + at, (row1 - row0) * f);
}

void backward_activation_again(hone_backward *b, const float *gate, const float *up, float *h) {
    act_work w = {.b = b, .gate = gate, .up = up, .h = h};
    backward_each_rows(b, act_again, &w);
}

void backward_activation(hone_backward *b, const float *gate, const float *up, float *dh, float *dgate) {
    act_work w = {.b = b, .gate = gate, .up = up, .h = dh, .dgate = dgate};
    backward_each_rows(b, act_back, &w);
}
