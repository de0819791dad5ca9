/* rope.c - rotary frequencies: from the fields of a table to cos and sin.
 *
 * All in float and in the order of operations of transformers' modeling_rope_utils.py, because published models were
 * trained and are compared with exactly these roundings; powers and logarithms that Python takes in double stay double.
 *
 * Order: the base frequencies, one function a scaling, the table, rows. */
#include <math.h>

#include "model/arch.h"

#define PI 3.14159265358979323846

/* base^(2i / rot), what the plain frequencies are the reciprocals of. */
static float power(double base, uint32_t rot, uint32_t i) {
    return powf((float)base, (float)(2u * i) / (float)rot);
}

static void plain(const hone_rope *r, double base, float *out) {
    for (uint32_t i = 0; i < r->rot / 2; i++) out[i] = 1.0f / power(base, r->rot, i);
}

/* Three bands of wavelengths: short ones stay, long ones are stretched, those between are blended. */
static void llama3(const hone_rope *r, float *out) {
    const float factor = (float)r->factor, low = (float)r->low_freq_factor, high = (float)r->high_freq_factor;
    const float length = (float)r->original_length;
    const float long_wave = (float)(r->original_length / r->low_freq_factor);
    const float short_wave = (float)(r->original_length / r->high_freq_factor);
    plain(r, r->theta, out);
    for (uint32_t i = 0; i < r->rot / 2; i++) {
        const float wave = (float)(2.0 * PI) / out[i];
        if (wave > long_wave) {
            out[i] /= factor;
        } else if (!(wave < short_wave)) {
            const float smooth = (length / wave - low) / (high - low);
            out[i] = (1.0f - smooth) * out[i] / factor + smooth * out[i];
        }
    }
}

static double yarn_mscale(double factor, double mscale) {
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

/* The dimension that turns `turns` times over the original length. */
static double yarn_dimension(const hone_rope *r, double turns) {
    return r->rot * log(r->original_length / (turns * 2.0 * PI)) / (2.0 * log(r->theta));
}

static void yarn(const hone_rope *r, float *out) {
    double low = yarn_dimension(r, r->beta_fast), high = yarn_dimension(r, r->beta_slow);
    if (!r->yarn_no_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0.0);
    high = fmin(high, r->rot - 1.0);
    if (low == high) high += 0.001; /* no division by zero */
    for (uint32_t i = 0; i < r->rot / 2; i++) {
        const float p = power(r->theta, r->rot, i);
        const float near = 1.0f / p, far = 1.0f / ((float)r->factor * p);
        const float ramp = fminf(fmaxf(((float)i - (float)low) / (float)(high - low), 0.0f), 1.0f);
        const float keep = 1.0f - ramp;
        out[i] = far * (1.0f - keep) + near * keep;
    }
}

static double yarn_scale(const hone_rope *r) {
    if (r->attention_factor != 0.0) return r->attention_factor;
    if (r->mscale != 0.0 && r->mscale_all_dim != 0.0)
        return yarn_mscale(r->factor, r->mscale) / yarn_mscale(r->factor, r->mscale_all_dim);
    return yarn_mscale(r->factor, 1.0);
}

static double longrope_scale(const hone_rope *r) {
    if (r->attention_factor != 0.0) return r->attention_factor;
    return r->factor <= 1.0 ? 1.0 : sqrt(1.0 + log(r->factor) / log(r->original_length));
}

/* NTK by length: the base grows once the sequence may pass the original length. */
static void dynamic(const hone_rope *r, uint32_t length, float *out) {
    const double n = length > r->original_length ? length : r->original_length;
    const double stretch = r->factor * n / r->original_length - (r->factor - 1.0);
    plain(r, r->theta * pow(stretch, r->rot / (r->rot - 2.0)), out);
}

static void fill(const hone_rope *r, uint32_t which, float *out, float *scale) {
    const uint32_t n = r->rot / 2;
    *scale = 1.0f;
    switch (r->scaling) {
    case HONE_ROPE_PLAIN: plain(r, r->theta, out); break;
    case HONE_ROPE_LINEAR:
        plain(r, r->theta, out);
        for (uint32_t i = 0; i < n; i++) out[i] /= (float)r->factor;
        break;
    case HONE_ROPE_LLAMA3: llama3(r, out); break;
    case HONE_ROPE_YARN:
        yarn(r, out);
        *scale = (float)yarn_scale(r);
        break;
    case HONE_ROPE_DYNAMIC: dynamic(r, 0, out); break;
    case HONE_ROPE_LONGROPE:
        for (uint32_t i = 0; i < n; i++) out[i] = 1.0f / (r->divisor[which][i] * power(r->theta, r->rot, i));
        *scale = (float)longrope_scale(r);
        return;
    }
    if (r->divided[0])
        for (uint32_t i = 0; i < n; i++) out[i] /= r->divisor[0][i];
}

void hone_rope_prepare(hone_rope *rope) {
    for (uint32_t which = 0; which < 2; which++) fill(rope, which, rope->inv_freq[which], &rope->scale[which]);
}

void hone_rope_frequencies(const hone_rope *rope, uint32_t length, float *inv_freq, float *factor) {
    const uint32_t which = rope->scaling == HONE_ROPE_LONGROPE && length > rope->original_length;
    for (uint32_t i = 0; i < rope->rot / 2; i++) inv_freq[i] = rope->inv_freq[which][i];
    *factor = rope->scale[which];
    if (rope->scaling == HONE_ROPE_DYNAMIC && length > rope->original_length) dynamic(rope, length, inv_freq);
}

void hone_rope_row(const hone_rope *rope, uint32_t position, uint32_t length, float *cos_out, float *sin_out) {
    float grown[HONE_MAX_ROT / 2];
    const uint32_t which = rope->scaling == HONE_ROPE_LONGROPE && length > rope->original_length;
    const float *inv_freq = rope->inv_freq[which];
    if (rope->scaling == HONE_ROPE_DYNAMIC && length > rope->original_length) {
        dynamic(rope, length, grown);
        inv_freq = grown;
    }
    for (uint32_t i = 0; i < rope->rot / 2; i++) {
        const float angle = (float)position * inv_freq[i];
        cos_out[i] = cosf(angle) * rope->scale[which];
        sin_out[i] = sinf(angle) * rope->scale[which];
    }
}
