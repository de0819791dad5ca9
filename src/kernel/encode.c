/* encode.c - f32 blocks into quantised ones; the contract is in encode.h.
 *
 * Two problems cover all formats: symmetric (w = d q, q from -2^(b-1)) and affine (w = d q + m).  Both start from the
 * range of the block and alternate: given the integers, the best scale is a least-squares fit; given the scale, the
 * best integers are the nearest.  Several first scales are tried, because rounding makes many local minima.  K formats
 * solve it for each sub-block, quantise the scales themselves, and then choose the integers again for the scales they
 * got.
 *
 * Order: packing, symmetric, affine, formats of 32, formats of 256, rows. */
#include "kernel/encode.h"

#include <math.h>
#include <string.h>

#include "kernel/quant.h"

enum { TRIALS = 9 };

/* ---- packing ---- */

static void put_half(uint8_t *p, float v) {
    const uint16_t h = hone_f16_round(v);
    memcpy(p, &h, 2);
}

static float as_half(float v) {
    return hone_f16_widen(hone_f16_round(v));
}

static int32_t nearest(float v, int32_t low, int32_t high) {
    if (!(v > (float)low)) return low; /* NaN too, from 0 / 0 */
    if (v >= (float)high) return high;
    return (int32_t)lrintf(v);
}

/* Low nibbles hold the first half. */
static void put_nibbles(uint8_t *p, const uint8_t *q) {
    for (uint32_t i = 0; i < 16; i++) p[i] = (uint8_t)((q[i] & 15u) | (q[i + 16] & 15u) << 4);
}

static float largest_of(const float *x, uint32_t n) {
    float most = 0.0f;
    for (uint32_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    return most;
}

/* How much an error of weight i counts: large weights carry more of the output. */
static float weight_of(float x, float mean_square) {
    return sqrtf(mean_square) + fabsf(x);
}

static float mean_square_of(const float *x, uint32_t n) {
    float sum = 0.0f;
    for (uint32_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum / (float)n;
}

/* ---- symmetric: w = d q, low <= q <= high ---- */

static double symmetric_error(const float *x, uint32_t n, float d, int32_t low, int32_t high, float mean_square) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const float e = x[i] - d * (float)nearest(x[i] / d, low, high);
        sum += (double)weight_of(x[i], mean_square) * e * e;
    }
    return sum;
}

/* The best scale of either sign: the end of the range that reaches further goes to the largest weight. */
static float symmetric_scale(const float *x, uint32_t n, int32_t low, int32_t high) {
    const float most = largest_of(x, n), mean_square = mean_square_of(x, n);
    if (most < 1e-30f) return 0.0f;
    float best = 0.0f;
    double least = INFINITY;
    for (int32_t sign = -1; sign <= 1; sign += 2)
        for (int32_t trial = 0; trial < TRIALS; trial++) {
            float d = (float)sign * most / ((float)-low + 0.1f * (float)(trial - 6));
            for (uint32_t round = 0; round < 2; round++) { /* fit the scale to the integers that it gave */
                double up = 0.0, down = 0.0;
                for (uint32_t i = 0; i < n; i++) {
                    const double q = nearest(x[i] / d, low, high), w = weight_of(x[i], mean_square);
                    up += w * q * x[i];
                    down += w * q * q;
                }
                if (down == 0.0 || up == 0.0) break;
                d = (float)(up / down);
            }
            const double error = symmetric_error(x, n, d, low, high, mean_square);
            if (error < least) least = error, best = d;
        }
    return best;
}

/* ---- affine: w = d q + m, 0 <= q <= high, d >= 0 ---- */

typedef struct {
    float d, m;
} affine;

static double affine_error(const float *x, uint32_t n, affine a, int32_t high, float mean_square) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const int32_t q = a.d > 0.0f ? nearest((x[i] - a.m) / a.d, 0, high) : 0;
        const float e = x[i] - (a.d * (float)q + a.m);
        sum += (double)weight_of(x[i], mean_square) * e * e;
    }
    return sum;
}

/* below: the minimum may not be positive (K formats store its magnitude). */
static affine affine_fit(const float *x, uint32_t n, int32_t high, bool below) {
    float least_x = x[0], most_x = x[0];
    for (uint32_t i = 1; i < n; i++) {
        least_x = fminf(least_x, x[i]);
        most_x = fmaxf(most_x, x[i]);
    }
    if (below && least_x > 0.0f) least_x = 0.0f;
    affine best = {0.0f, below && most_x <= least_x ? fminf(least_x, 0.0f) : least_x};
    if (!(most_x - least_x > 1e-30f)) return best;
    const float mean_square = mean_square_of(x, n);
    double least = INFINITY;
    for (int32_t trial = 0; trial < TRIALS; trial++) {
        affine a = {(most_x - least_x) / ((float)high + 0.1f * (float)(trial - 4)), least_x};
        for (uint32_t round = 0; round < 3; round++) {
            const double error = affine_error(x, n, a, high, mean_square);
            if (error < least) least = error, best = a;
            double w1 = 0.0, wq = 0.0, wqq = 0.0, wx = 0.0, wqx = 0.0;
            for (uint32_t i = 0; i < n; i++) {
                const double q = nearest((x[i] - a.m) / a.d, 0, high), w = weight_of(x[i], mean_square);
                w1 += w, wq += w * q, wqq += w * q * q, wx += w * x[i], wqx += w * q * x[i];
            }
            const double determinant = w1 * wqq - wq * wq;
            if (!(determinant > 0.0)) break;
            a.d = (float)((w1 * wqx - wq * wx) / determinant);
            a.m = (float)((wqq * wx - wq * wqx) / determinant);
            if (below && a.m > 0.0f) {
                a.m = 0.0f;
                a.d = (float)(wqx / wqq);
            }
            if (!(a.d > 0.0f)) break;
        }
    }
    return best;
}

/* ---- formats of 32 ---- */

static void encode_q8_0(hone_dtype t, const float *x, uint8_t *p) {
    (void)t;
    const float d = largest_of(x, 32) / 127.0f;
    put_half(p, d);
    const float stored = as_half(d);
    for (uint32_t i = 0; i < 32; i++)
        p[2 + i] = (uint8_t)(int8_t)(stored > 0.0f ? nearest(x[i] / stored, -127, 127) : 0);
}

static void put_fifths(uint8_t *p, const uint8_t *q) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < 32; i++) bits |= (uint32_t)(q[i] >> 4 & 1u) << i;
    memcpy(p, &bits, 4);
    put_nibbles(p + 4, q);
}

static void encode_symmetric(hone_dtype t, const float *x, uint8_t *p) {
    const int32_t half = t == HONE_Q4_0 ? 8 : 16;
    const float d = as_half(symmetric_scale(x, 32, -half, half - 1));
    uint8_t q[32];
    put_half(p, d);
    for (uint32_t i = 0; i < 32; i++) q[i] = (uint8_t)(d != 0.0f ? nearest(x[i] / d, -half, half - 1) + half : half);
    if (t == HONE_Q4_0)
        put_nibbles(p + 2, q);
    else
        put_fifths(p + 2, q);
}

static void encode_affine(hone_dtype t, const float *x, uint8_t *p) {
    const int32_t high = t == HONE_Q4_1 ? 15 : 31;
    affine a = affine_fit(x, 32, high, false);
    a = (affine){as_half(a.d), as_half(a.m)};
    uint8_t q[32];
    put_half(p, a.d);
    put_half(p + 2, a.m);
    for (uint32_t i = 0; i < 32; i++) q[i] = (uint8_t)(a.d > 0.0f ? nearest((x[i] - a.m) / a.d, 0, high) : 0);
    if (t == HONE_Q4_1)
        put_nibbles(p + 4, q);
    else
        put_fifths(p + 4, q);
}

static uint8_t nearest_code(const uint8_t *table, int32_t offset, float v) {
    uint8_t best = 0;
    float least = INFINITY;
    for (uint8_t c = 0; c < 16; c++) {
        const float e = fabsf(v - (float)((int32_t)table[c] - offset));
        if (e < least) least = e, best = c;
    }
    return best;
}

/* The shared exponent of the largest weight, as OCP Microscaling 1.0 has it, or a neighbour that fits better. */
static void encode_mxfp4(hone_dtype t, const float *x, uint8_t *p) {
    (void)t;
    const float most = largest_of(x, 32);
    uint8_t q[32] = {0}, best_q[32] = {0};
    double least = INFINITY;
    const int32_t middle = most > 0x1p-120f ? ilogbf(most) - 2 + 127 : 0;
    p[0] = 0;
    for (int32_t e = middle - 1; e <= middle + 1; e++) {
        if (e < 1 || e > 254) continue;
        const float d = ldexpf(1.0f, e - 128); /* half of 2^(e - 127), the table being doubled */
        double sum = 0.0;
        for (uint32_t i = 0; i < 32; i++) {
            q[i] = nearest_code(kernel_table_fp4, 16, x[i] / d);
            const float error = x[i] - d * (float)((int32_t)kernel_table_fp4[q[i]] - 16);
            sum += (double)error * error;
        }
        if (sum < least) {
            least = sum;
            p[0] = (uint8_t)e;
            memcpy(best_q, q, sizeof(q));
        }
    }
    put_nibbles(p + 1, best_q);
}

/* ---- formats of 256 ---- */

/* Scales and minima of 8 sub-blocks, 6 bits each, under one half-precision factor each; then the integers for them. */
static void encode_k_affine(hone_dtype t, const float *x, uint8_t *p) {
    const int32_t high = t == HONE_Q4_K ? 15 : 31;
    affine a[8];
    float most_d = 0.0f, most_m = 0.0f;
    for (uint32_t j = 0; j < 8; j++) {
        a[j] = affine_fit(x + 32 * j, 32, high, true);
        most_d = fmaxf(most_d, a[j].d);
        most_m = fmaxf(most_m, -a[j].m);
    }
    const float d = as_half(most_d / 63.0f), m = as_half(most_m / 63.0f);
    uint8_t sc[8], mn[8], q[256];
    for (uint32_t j = 0; j < 8; j++) {
        sc[j] = (uint8_t)(d > 0.0f ? nearest(a[j].d / d, 0, 63) : 0);
        mn[j] = (uint8_t)(m > 0.0f ? nearest(-a[j].m / m, 0, 63) : 0);
        const float scale = d * (float)sc[j], minimum = m * (float)mn[j];
        for (uint32_t i = 0; i < 32; i++)
            q[32 * j + i] = (uint8_t)(scale > 0.0f ? nearest((x[32 * j + i] + minimum) / scale, 0, high) : 0);
    }
    memset(p, 0, hone_dtype_block_bytes(t));
    put_half(p, d);
    put_half(p + 2, m);
    for (uint32_t j = 0; j < 4; j++) {
        p[4 + j] = (uint8_t)(sc[j] | (sc[j + 4] >> 4) << 6);
        p[8 + j] = (uint8_t)(mn[j] | (mn[j + 4] >> 4) << 6);
        p[12 + j] = (uint8_t)((sc[j + 4] & 15u) | (mn[j + 4] & 15u) << 4);
    }
    uint8_t *low = p + (t == HONE_Q4_K ? 16 : 48), *fifth = p + 16;
    for (uint32_t j = 0; j < 8; j++)
        for (uint32_t i = 0; i < 32; i++) {
            low[32 * (j / 2) + i] |= (uint8_t)((q[32 * j + i] & 15u) << (j % 2 * 4));
            if (t == HONE_Q5_K) fifth[i] |= (uint8_t)((q[32 * j + i] >> 4) << j);
        }
}

static void encode_q6_k(hone_dtype t, const float *x, uint8_t *p) {
    (void)t;
    float scale[16], most = 0.0f;
    for (uint32_t j = 0; j < 16; j++) {
        scale[j] = symmetric_scale(x + 16 * j, 16, -32, 31);
        if (fabsf(scale[j]) > fabsf(most)) most = scale[j];
    }
    const float d = as_half(most / -128.0f); /* the largest takes the end of int8 that reaches further */
    memset(p, 0, hone_dtype_block_bytes(HONE_Q6_K));
    put_half(p + 208, d);
    for (uint32_t j = 0; j < 16; j++) {
        const int32_t sc = d != 0.0f ? nearest(scale[j] / d, -128, 127) : 0;
        p[192 + j] = (uint8_t)(int8_t)sc;
        const float step = d * (float)sc;
        for (uint32_t i = 0; i < 16; i++) {
            const uint32_t at = 16 * j + i, half = at / 128, r = at % 128;
            const uint32_t q = (uint32_t)((step != 0.0f ? nearest(x[at] / step, -32, 31) : 0) + 32);
            p[64 * half + r % 64] |= (uint8_t)((q & 15u) << (r / 64 * 4));
            p[128 + 32 * half + r % 32] |= (uint8_t)((q >> 4) << (r / 32 * 2));
        }
    }
}

/* ---- rows ---- */

typedef void encoder(hone_dtype t, const float *x, uint8_t *p);

static encoder *const encoders[HONE_DTYPE_COUNT] = {
    [HONE_Q4_0] = encode_symmetric, [HONE_Q5_0] = encode_symmetric, [HONE_Q4_1] = encode_affine,
    [HONE_Q5_1] = encode_affine,    [HONE_Q8_0] = encode_q8_0,      [HONE_MXFP4] = encode_mxfp4,
    [HONE_Q4_K] = encode_k_affine,  [HONE_Q5_K] = encode_k_affine,  [HONE_Q6_K] = encode_q6_k,
};

bool hone_dtype_can_encode(hone_dtype t) {
    return t == HONE_F32 || t == HONE_F16 || t == HONE_BF16 || (t < HONE_DTYPE_COUNT && encoders[t]);
}

void hone_dtype_encode(hone_dtype t, const float *x, size_t k, void *row) {
    uint8_t *p = row;
    if (t == HONE_F32) {
        memcpy(p, x, k * sizeof(float));
        return;
    }
    for (size_t i = 0; t == HONE_F16 && i < k; i++) put_half(p + 2 * i, fminf(fmaxf(x[i], -65504.0f), 65504.0f));
    for (size_t i = 0; t == HONE_BF16 && i < k; i++) {
        const uint16_t h = hone_bf16_round(x[i]);
        memcpy(p + 2 * i, &h, 2);
    }
    if (t >= HONE_DTYPE_COUNT || !encoders[t]) return;
    const uint32_t block = hone_dtype_block(t), bytes = hone_dtype_block_bytes(t);
    for (size_t i = 0; i + block <= k; i += block, p += bytes) encoders[t](t, x + i, p);
}
