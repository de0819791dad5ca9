/* rows.c - norms, activations, exponentials and rotary positions, 16 floats at a time.
 *
 * Sums over a row go lane by lane into four registers in turn and end in one tree (math.h): an order that depends on
 * the length alone. */
#include <immintrin.h>
#include <math.h>

#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"
#include "kernel/ref/ref.h"

static inline __m512 load(const float *p, __mmask16 k) {
    return _mm512_maskz_loadu_ps(k, p);
}

/* ---- Sums -----------------------------------------------------------------------------------------------------------
 */

float avx512_dot(const float *a, const float *b, size_t n) {
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (size_t j = 0; j < 4; j++)
            s[j] = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16 * j), _mm512_loadu_ps(b + i + 16 * j), s[j]);
    for (size_t j = 0; i < n; i += 16, j++) {
        const __mmask16 k = first(n - i);
        s[j] = _mm512_fmadd_ps(load(a + i, k), load(b + i, k), s[j]);
    }
    return sum16(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

/* Of x - shift: plain (square false) or squared. */
static float sum_of(const float *x, float shift, bool square, size_t n) {
    const __m512 by = _mm512_set1_ps(shift);
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (size_t i = 0, j = 0; i < n; i += 16, j = (j + 1) % 4) {
        const __mmask16 k = first(n - i);
        const __m512 v = _mm512_maskz_sub_ps(k, load(x + i, k), by);
        s[j] = square ? _mm512_fmadd_ps(v, v, s[j]) : _mm512_add_ps(v, s[j]);
    }
    return sum16(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

/* ---- Norms ----------------------------------------------------------------------------------------------------------
 */

static inline __m512 factor(const float *weight, bool plus_one, size_t i, __mmask16 k) {
    const __m512 one = _mm512_set1_ps(1.0f);
    if (!weight) return one;
    const __m512 v = load(weight + i, k);
    return plus_one ? _mm512_add_ps(one, v) : v;
}

void avx512_rms_norm(const float *x, size_t ldx, const float *weight, bool plus_one, float eps, uint32_t m, uint32_t d,
                     float *y, size_t ldy, float *inv_rms) {
    for (uint32_t r = 0; r < m; r++, x += ldx, y += ldy) {
        const float inv = 1.0f / sqrtf(avx512_dot(x, x, d) / (float)d + eps);
        const __m512 by = _mm512_set1_ps(inv);
        for (uint32_t i = 0; i < d; i += 16) {
            const __mmask16 k = first(d - i);
            _mm512_mask_storeu_ps(y + i, k,
                                  _mm512_mul_ps(_mm512_mul_ps(load(x + i, k), by), factor(weight, plus_one, i, k)));
        }
        if (inv_rms) inv_rms[r] = inv;
    }
}

void avx512_layer_norm(const float *x, size_t ldx, const float *weight, const float *bias, bool plus_one, float eps,
                       uint32_t m, uint32_t d, float *y, size_t ldy, float *mean_inv) {
    for (uint32_t r = 0; r < m; r++, x += ldx, y += ldy) {
        const float mean = sum_of(x, 0.0f, false, d) / (float)d;
        const float inv = 1.0f / sqrtf(sum_of(x, mean, true, d) / (float)d + eps);
        const __m512 by = _mm512_set1_ps(inv), shift = _mm512_set1_ps(mean);
        for (uint32_t i = 0; i < d; i += 16) {
            const __mmask16 k = first(d - i);
            const __m512 v = _mm512_mul_ps(_mm512_sub_ps(load(x + i, k), shift), by);
            const __m512 b = bias ? load(bias + i, k) : _mm512_setzero_ps();
            _mm512_mask_storeu_ps(y + i, k, _mm512_fmadd_ps(v, factor(weight, plus_one, i, k), b));
        }
        if (mean_inv) {
            mean_inv[2 * r] = mean;
            mean_inv[2 * r + 1] = inv;
        }
    }
}

/* ---- Element by element
 * ------------------------------------------------------------------------------------------------ */

static inline __m512 sigmoid_times(__m512 x, __m512 z) { /* x / (1 + e^-z) */
    const __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), z));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

static inline __m512 activate(hone_act act, __m512 x) {
    const __m512 zero = _mm512_setzero_ps();
    switch (act) {
    case HONE_ACT_SILU: return sigmoid_times(x, x);
    case HONE_ACT_GELU_TANH: { /* (1 + tanh u) / 2 = 1 / (1 + e^-2u) */
        const __m512 cube = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(0.044715f)), x, x);
        return sigmoid_times(x, _mm512_mul_ps(cube, _mm512_set1_ps(1.5957691216f)));
    }
    case HONE_ACT_RELU: return _mm512_max_ps(zero, x);
    case HONE_ACT_RELU2: {
        const __m512 p = _mm512_max_ps(zero, x);
        return _mm512_mul_ps(p, p);
    }
    default: return x;
    }
}

void avx512_gated(hone_act act, const float *gate, const float *up, size_t n, float *out) {
    if (act == HONE_ACT_GELU_ERF) { /* no family of decoders on the hot path uses it */
        ref_gated(act, gate, up, n, out);
        return;
    }
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 k = first(n - i);
        __m512 v = activate(act, load(gate + i, k));
        if (up) v = _mm512_mul_ps(v, load(up + i, k));
        _mm512_mask_storeu_ps(out + i, k, v);
    }
}

void avx512_add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 k = first(n - i);
        _mm512_mask_storeu_ps(y + i, k, _mm512_add_ps(load(y + i, k), load(x + i, k)));
    }
}

void avx512_axpy(float *y, float a, const float *x, size_t n) {
    const __m512 by = _mm512_set1_ps(a);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 k = first(n - i);
        _mm512_mask_storeu_ps(y + i, k, _mm512_fmadd_ps(by, load(x + i, k), load(y + i, k)));
    }
}

void avx512_softcap(float *x, float cap, size_t n) {
    const __m512 c = _mm512_set1_ps(cap);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 k = first(n - i);
        _mm512_mask_storeu_ps(x + i, k, _mm512_mul_ps(c, tanh16(_mm512_div_ps(load(x + i, k), c))));
    }
}

/* ---- Exponentials
 * ------------------------------------------------------------------------------------------------------- */

float avx512_log_sum_exp(const float *x, size_t n) {
    const __m512 low = _mm512_set1_ps(-INFINITY);
    __m512 largest[4] = {low, low, low, low};
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (size_t j = 0; j < 4; j++) largest[j] = _mm512_max_ps(_mm512_loadu_ps(x + i + 16 * j), largest[j]);
    for (; i < n; i += 16) largest[0] = _mm512_max_ps(_mm512_mask_loadu_ps(low, first(n - i), x + i), largest[0]);
    const float top =
        max16(_mm512_max_ps(_mm512_max_ps(largest[0], largest[1]), _mm512_max_ps(largest[2], largest[3])));
    if (top == -INFINITY) return top;
    const __m512 shift = _mm512_set1_ps(top);
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (i = 0; i + 64 <= n; i += 64)
        for (size_t j = 0; j < 4; j++)
            s[j] = _mm512_add_ps(s[j], exp16(_mm512_sub_ps(_mm512_loadu_ps(x + i + 16 * j), shift)));
    for (size_t j = 0; i < n; i += 16, j++) {
        const __mmask16 k = first(n - i);
        s[j] = _mm512_mask_add_ps(s[j], k, s[j], exp16(_mm512_sub_ps(load(x + i, k), shift)));
    }
    return top + logf(sum16(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3]))));
}

void avx512_exp_shift(const float *x, float shift, size_t n, float *y) {
    const __m512 by = _mm512_set1_ps(shift);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 k = first(n - i);
        _mm512_mask_storeu_ps(y + i, k, exp16(_mm512_sub_ps(load(x + i, k), by)));
    }
}

/* ---- Rotary positions
 * ----------------------------------------------------------------------------------------------------- */

void avx512_rope(float *head, uint32_t rot, bool half, const float *cos, const float *sin) {
    const uint32_t n = rot / 2;
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const __m512i front = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i back = _mm512_add_epi32(front, _mm512_set1_epi32(8));
    for (uint32_t i = 0; i < n; i += 16) {
        const uint32_t len = n - i < 16 ? n - i : 16;
        const __mmask16 k = first(len);
        /* Interleaved pairs: 2 len floats in two registers. */
        const __mmask16 k_low = first(2 * len), k_high = len > 8 ? first(2 * len - 16) : 0;
        __m512 a, b;
        if (half) {
            a = load(head + i, k);
            b = load(head + n + i, k);
        } else {
            const __m512 low = load(head + 2 * i, k_low), high = load(head + 2 * i + 16, k_high);
            a = _mm512_permutex2var_ps(low, even, high);
            b = _mm512_permutex2var_ps(low, odd, high);
        }
        const __m512 c = load(cos + i, k), s = load(sin + i, k);
        const __m512 p = _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)), q = _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s));
        if (half) {
            _mm512_mask_storeu_ps(head + i, k, p);
            _mm512_mask_storeu_ps(head + n + i, k, q);
        } else {
            _mm512_mask_storeu_ps(head + 2 * i, k_low, _mm512_permutex2var_ps(p, front, q));
            _mm512_mask_storeu_ps(head + 2 * i + 16, k_high, _mm512_permutex2var_ps(p, back, q));
        }
    }
}
