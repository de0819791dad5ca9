/* ref_rows.c - what works on one row at a time: norms, activations, exponentials, rotary positions.
 *
 * Plain loops from the first element to the last; libm does the functions. */
#include <math.h>

#include "kernel/ref/ref.h"

void ref_rms_norm(const float *x, size_t ldx, const float *weight, bool plus_one, float eps, uint32_t m, uint32_t d,
                  float *y, size_t ldy, float *inv_rms) {
    for (uint32_t i = 0; i < m; i++, x += ldx, y += ldy) {
        float sum = 0.0f;
        for (uint32_t j = 0; j < d; j++) sum = fmaf(x[j], x[j], sum);
        const float inv = 1.0f / sqrtf(sum / (float)d + eps);
        for (uint32_t j = 0; j < d; j++) {
            const float factor = weight == NULL ? 1.0f : plus_one ? 1.0f + weight[j] : weight[j];
            y[j] = x[j] * inv * factor;
        }
        if (inv_rms) inv_rms[i] = inv;
    }
}

void ref_layer_norm(const float *x, size_t ldx, const float *weight, const float *bias, bool plus_one, float eps,
                    uint32_t m, uint32_t d, float *y, size_t ldy, float *mean_inv) {
    for (uint32_t i = 0; i < m; i++, x += ldx, y += ldy) {
        float sum = 0.0f, square = 0.0f;
        for (uint32_t j = 0; j < d; j++) sum += x[j];
        const float mean = sum / (float)d;
        for (uint32_t j = 0; j < d; j++) square = fmaf(x[j] - mean, x[j] - mean, square);
        const float inv = 1.0f / sqrtf(square / (float)d + eps);
        for (uint32_t j = 0; j < d; j++) {
            const float factor = weight == NULL ? 1.0f : plus_one ? 1.0f + weight[j] : weight[j];
            y[j] = fmaf((x[j] - mean) * inv, factor, bias ? bias[j] : 0.0f);
        }
        if (mean_inv) {
            mean_inv[2 * i] = mean;
            mean_inv[2 * i + 1] = inv;
        }
    }
}

static float activate(hone_act act, float x) {
    switch (act) {
    case HONE_ACT_SILU: return x / (1.0f + expf(-x));
    case HONE_ACT_GELU_TANH: /* Hendrycks and Gimpel, 2016 */
        return 0.5f * x * (1.0f + tanhf(0.7978845608f * fmaf(0.044715f * x * x, x, x)));
    case HONE_ACT_GELU_ERF: return 0.5f * x * (1.0f + erff(x * 0.7071067812f));
    case HONE_ACT_RELU: return x > 0.0f ? x : 0.0f;
    case HONE_ACT_RELU2: return x > 0.0f ? x * x : 0.0f;
    }
    return x;
}

void ref_gated(hone_act act, const float *gate, const float *up, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        const float a = activate(act, gate[i]);
        out[i] = up ? a * up[i] : a;
    }
}

void ref_add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

void ref_axpy(float *y, float a, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = fmaf(a, x[i], y[i]);
}

float ref_dot(const float *a, const float *b, size_t n) {
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) sum = fmaf(a[i], b[i], sum);
    return sum;
}

void ref_softcap(float *x, float cap, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = cap * tanhf(x[i] / cap);
}

/* max + log(sum of exp(x - max)), the sum in chunks of 256 so that a vocabulary does not cost digits; -inf for n = 0.
 */
float ref_log_sum_exp(const float *x, size_t n) {
    float largest = -INFINITY, sum = 0.0f;
    for (size_t i = 0; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    if (largest == -INFINITY) return largest;
    for (size_t i = 0; i < n; i += 256) {
        float part = 0.0f;
        for (size_t j = i; j < n && j < i + 256; j++) part += expf(x[j] - largest);
        sum += part;
    }
    return largest + logf(sum);
}

void ref_exp_shift(const float *x, float shift, size_t n, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = expf(x[i] - shift);
}

void ref_rope(float *head, uint32_t rot, bool half, const float *cos, const float *sin) {
    for (uint32_t i = 0; i < rot / 2; i++) {
        float *p = half ? &head[i] : &head[2 * i], *q = half ? &head[i + rot / 2] : &head[2 * i + 1];
        const float a = *p, b = *q;
        *p = fmaf(a, cos[i], -(b * sin[i]));
        *q = fmaf(b, cos[i], a * sin[i]);
    }
}
