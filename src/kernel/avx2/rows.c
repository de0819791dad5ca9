/* rows.c - norms, activations, exponentials and rotary positions for AVX2, 8 floats at a time.
 *
 * Sums over a row go lane by lane into four registers in turn and end in one tree (math.h). */
#include <immintrin.h>
#include <math.h>

#include "kernel/avx2/avx2.h"
#include "kernel/avx2/math.h"
#include "kernel/ref/ref.h"

/* ---- Sums -----------------------------------------------------------------------------------------------------------
 */

static float tree(const __m256 *s) {
    return sum8(_mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3])));
}

float avx2_dot(const float *a, const float *b, size_t n) {
    __m256 s[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 4; j++)
            s[j] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8 * j), _mm256_loadu_ps(b + i + 8 * j), s[j]);
    for (size_t j = 0; i < n; i += 8, j++) s[j] = _mm256_fmadd_ps(load8(a + i, n - i), load8(b + i, n - i), s[j]);
    return tree(s);
}

/* Of x - shift: plain (square false) or squared. */
static float sum_of(const float *x, float shift, bool square, size_t n) {
    const __m256 by = _mm256_set1_ps(shift);
    __m256 s[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = 0, j = 0; i < n; i += 8, j = (j + 1) % 4) {
        __m256 v = _mm256_sub_ps(load8(x + i, n - i), by);
        v = _mm256_and_ps(v, _mm256_castsi256_ps(first8(n - i)));
        s[j] = square ? _mm256_fmadd_ps(v, v, s[j]) : _mm256_add_ps(v, s[j]);
    }
    return tree(s);
}

/* ---- Norms ----------------------------------------------------------------------------------------------------------
 */

static inline __m256 factor(const float *weight, bool plus_one, size_t i, size_t len) {
    const __m256 one = _mm256_set1_ps(1.0f);
    if (!weight) return one;
    const __m256 v = load8(weight + i, len);
    return plus_one ? _mm256_add_ps(one, v) : v;
}

void avx2_rms_norm(const float *x, size_t ldx, const float *weight, bool plus_one, float eps, uint32_t m, uint32_t d,
                   float *y, size_t ldy, float *inv_rms) {
    for (uint32_t r = 0; r < m; r++, x += ldx, y += ldy) {
        const float inv = 1.0f / sqrtf(avx2_dot(x, x, d) / (float)d + eps);
        const __m256 by = _mm256_set1_ps(inv);
        for (uint32_t i = 0; i < d; i += 8)
            store8(y + i, d - i,
                   _mm256_mul_ps(_mm256_mul_ps(load8(x + i, d - i), by), factor(weight, plus_one, i, d - i)));
        if (inv_rms) inv_rms[r] = inv;
    }
}

void avx2_layer_norm(const float *x, size_t ldx, const float *weight, const float *bias, bool plus_one, float eps,
                     uint32_t m, uint32_t d, float *y, size_t ldy, float *mean_inv) {
    for (uint32_t r = 0; r < m; r++, x += ldx, y += ldy) {
        const float mean = sum_of(x, 0.0f, false, d) / (float)d;
        const float inv = 1.0f / sqrtf(sum_of(x, mean, true, d) / (float)d + eps);
        const __m256 by = _mm256_set1_ps(inv), shift = _mm256_set1_ps(mean);
        for (uint32_t i = 0; i < d; i += 8) {
            const __m256 v = _mm256_mul_ps(_mm256_sub_ps(load8(x + i, d - i), shift), by);
            const __m256 b = bias ? load8(bias + i, d - i) : _mm256_setzero_ps();
            store8(y + i, d - i, _mm256_fmadd_ps(v, factor(weight, plus_one, i, d - i), b));
        }
        if (mean_inv) {
            mean_inv[2 * r] = mean;
            mean_inv[2 * r + 1] = inv;
        }
    }
}

/* ---- Element by element
 * ------------------------------------------------------------------------------------------------ */

static inline __m256 sigmoid_times(__m256 x, __m256 z) { /* x / (1 + e^-z) */
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), exp8(_mm256_sub_ps(_mm256_setzero_ps(), z))));
}

static inline __m256 activate(hone_act act, __m256 x) {
    const __m256 zero = _mm256_setzero_ps();
    switch (act) {
    case HONE_ACT_SILU: return sigmoid_times(x, x);
    case HONE_ACT_GELU_TANH: { /* (1 + tanh u) / 2 = 1 / (1 + e^-2u) */
        const __m256 cube = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(0.044715f)), x, x);
        return sigmoid_times(x, _mm256_mul_ps(cube, _mm256_set1_ps(1.5957691216f)));
    }
    case HONE_ACT_RELU: return _mm256_max_ps(zero, x);
    case HONE_ACT_RELU2: {
        const __m256 p = _mm256_max_ps(zero, x);
        return _mm256_mul_ps(p, p);
    }
    default: return x;
    }
}

void avx2_gated(hone_act act, const float *gate, const float *up, size_t n, float *out) {
    if (act == HONE_ACT_GELU_ERF) { /* no family of decoders on the hot path uses it */
        ref_gated(act, gate, up, n, out);
        return;
    }
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = activate(act, load8(gate + i, n - i));
        if (up) v = _mm256_mul_ps(v, load8(up + i, n - i));
        store8(out + i, n - i, v);
    }
}

void avx2_add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += 8) store8(y + i, n - i, _mm256_add_ps(load8(y + i, n - i), load8(x + i, n - i)));
}

void avx2_axpy(float *y, float a, const float *x, size_t n) {
    const __m256 by = _mm256_set1_ps(a);
    for (size_t i = 0; i < n; i += 8)
        store8(y + i, n - i, _mm256_fmadd_ps(by, load8(x + i, n - i), load8(y + i, n - i)));
}

void avx2_softcap(float *x, float cap, size_t n) {
    const __m256 c = _mm256_set1_ps(cap);
    for (size_t i = 0; i < n; i += 8)
        store8(x + i, n - i, _mm256_mul_ps(c, tanh8(_mm256_div_ps(load8(x + i, n - i), c))));
}

/* ---- Exponentials
 * ------------------------------------------------------------------------------------------------------- */

float avx2_log_sum_exp(const float *x, size_t n) {
    float top = -INFINITY;
    __m256 largest = _mm256_set1_ps(top);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) largest = _mm256_max_ps(_mm256_loadu_ps(x + i), largest);
    top = max8(largest);
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    if (top == -INFINITY) return top;
    const __m256 shift = _mm256_set1_ps(top);
    __m256 s[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (i = 0; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 4; j++)
            s[j] = _mm256_add_ps(s[j], exp8(_mm256_sub_ps(_mm256_loadu_ps(x + i + 8 * j), shift)));
    for (size_t j = 0; i < n; i += 8, j++) {
        const __m256 e = exp8(_mm256_sub_ps(load8(x + i, n - i), shift));
        s[j] = _mm256_add_ps(s[j], _mm256_and_ps(e, _mm256_castsi256_ps(first8(n - i))));
    }
    return top + logf(tree(s));
}

void avx2_exp_shift(const float *x, float shift, size_t n, float *y) {
    const __m256 by = _mm256_set1_ps(shift);
    for (size_t i = 0; i < n; i += 8) store8(y + i, n - i, exp8(_mm256_sub_ps(load8(x + i, n - i), by)));
}

/* ---- Rotary positions
 * ----------------------------------------------------------------------------------------------------- */

void avx2_rope(float *head, uint32_t rot, bool half, const float *cos, const float *sin) {
    const uint32_t n = rot / 2;
    if (!half) { /* pairs side by side: the old way of few families */
        ref_rope(head, rot, half, cos, sin);
        return;
    }
    for (uint32_t i = 0; i < n; i += 8) {
        const uint32_t len = n - i;
        const __m256 a = load8(head + i, len), b = load8(head + n + i, len);
        const __m256 c = load8(cos + i, len), s = load8(sin + i, len);
        store8(head + i, len, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        store8(head + n + i, len, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
    }
}
