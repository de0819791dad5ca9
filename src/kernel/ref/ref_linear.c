/* ref_linear.c - products with frozen weights and plain products, in the order that the contract names.
 *
 * Weights stay as stored: row n at data + n * row_bytes.  Serving arithmetic, per output element:
 *   quantised    per block b of 32 inputs, from the first: acc = fma(scale_w * scale_x, sum of (q_w - offset) * q_x,
 * acc), then acc = fma(minimum, scale_x * sum of q_x, acc); where a scale covers 16 inputs, both halves' first,
 *                then both halves' minima
 *   BF16         activations rounded to bf16, f32 sums;   F16, F32: f32 activations
 * The plain sums add chunks of SUM_CHUNK inputs, each summed from zero with
 * fma: the error grows with the chunk, not K. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "kernel/quant.h"
#include "kernel/ref/ref.h"

enum { ACT_F32, ACT_BF16, ACT_INT8, SUM_CHUNK = 256 };

bool ref_can_run(void) {
    return true;
}

/* ---- Weights ---------------------------------------------------------------------------------------------------- */

size_t ref_weight_bytes(hone_dtype t, hone_precision p, uint32_t n, uint32_t k) {
    (void)p;
    size_t row, bytes;
    if (n == 0 || k == 0 || !hone_dtype_row_bytes(t, k, &row) || !hone_mul_size(&bytes, row, n)) return 0;
    return bytes;
}

static const uint8_t *stored_row(const hone_weight *w, uint32_t row) {
    size_t bytes = 0;
    (void)hone_dtype_row_bytes(w->dtype, w->k, &bytes);
    return (const uint8_t *)w->data + bytes * row;
}

hone_status ref_weight_lay(const hone_weight *w, void *data, const void *const *rows, uint32_t n0, uint32_t n1,
                           hone_error *err) {
    size_t bytes = 0;
    if (!hone_dtype_row_bytes(w->dtype, w->k, &bytes))
        return hone_fail(err, HONE_ERR_ARG, "%u inputs are no whole number of %s blocks", w->k,
                         hone_dtype_name(w->dtype));
    const uint32_t block = hone_dtype_block(w->dtype);
    for (uint32_t n = n0; n < n1; n++) {
        const uint8_t *row = rows[n - n0];
        for (uint32_t k = 0; k < w->k; k += block) {
            float v[256];
            hone_dtype_widen(w->dtype, row + (size_t)(k / block) * hone_dtype_block_bytes(w->dtype), v, block);
            for (uint32_t i = 0; i < block; i++)
                if (!isfinite(v[i]))
                    return hone_fail_at(err, HONE_ERR_FORMAT, n, "weight at row %u, column %u is not finite", n, k + i);
        }
        memcpy((uint8_t *)data + bytes * n, row, bytes);
    }
    return HONE_OK;
}

void ref_weight_row(const hone_weight *w, uint32_t row, float *out) {
    hone_dtype_widen(w->dtype, stored_row(w, row), out, w->k);
}

/* ---- Activations ------------------------------------------------------------------------------------------------ */

uint32_t ref_act_kind(const hone_weight *w) {
    if (w->precision == HONE_PRECISION_F32 || w->dtype == HONE_F32 || w->dtype == HONE_F16) return ACT_F32;
    return w->dtype == HONE_BF16 ? ACT_BF16 : ACT_INT8;
}

/* int8 rows: k bytes of q, k bytes of the fine part's q (quant.h), then per block of 32 its scale and scale * sum(q),
 * then the sum; the same again for fine parts, their scale zero where the block is not coarse. */
typedef struct {
    float scale, scaled_sum;
    int32_t sum;
} block_act;

static size_t act_row_bytes(const hone_weight *w) {
    switch (ref_act_kind(w)) {
    case ACT_F32: return (size_t)w->k * 4;
    case ACT_BF16: return ((size_t)w->k * 2 + 3) / 4 * 4;
    default: return 2 * ((size_t)w->k + (size_t)w->k / 32 * sizeof(block_act));
    }
}

size_t ref_act_bytes(const hone_weight *w, uint32_t m) {
    const size_t whole = ((size_t)m + HONE_PANEL - 1) / HONE_PANEL * HONE_PANEL;
    return whole * act_row_bytes(w);
}

static float largest_of(const float *x) {
    uint32_t largest_bits = 0; /* as bits, so that NaN is the largest */
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t u;
        memcpy(&u, &x[i], 4);
        u &= 0x7fffffffu;
        if (u > largest_bits) largest_bits = u;
    }
    float largest;
    memcpy(&largest, &largest_bits, 4);
    return largest;
}

static void quantise_row(const float *x, uint32_t k, int8_t *q, block_act *blocks) {
    float sum_of_largest = 0.0f;
    for (uint32_t b = 0; b < k / 32; b++) sum_of_largest += largest_of(x + (size_t)b * 32);
    const float limit = kernel_coarse_limit(sum_of_largest, k / 32);
    int8_t *fine_q = q + k;
    block_act *fine = blocks + k / 32;
    for (uint32_t b = 0; b < k / 32; b++, x += 32, q += 32, fine_q += 32) {
        float inverse;
        const float largest = largest_of(x);
        const bool coarse = largest > limit;
        blocks[b].scale = kernel_quantise_scale(largest, &inverse);
        fine[b].scale = coarse ? blocks[b].scale / KERNEL_FINE_STEPS : 0.0f;
        blocks[b].sum = fine[b].sum = 0;
        for (uint32_t i = 0; i < 32; i++) {
            const int32_t v = inverse > 0.0f ? (int32_t)lrintf(x[i] * inverse) : 0;
            const int32_t rest = coarse ? (int32_t)lrintf(fmaf(x[i], inverse, -(float)v) * KERNEL_FINE_STEPS) : 0;
            q[i] = (int8_t)v;
            fine_q[i] = (int8_t)rest;
            blocks[b].sum += v;
            fine[b].sum += rest;
        }
        blocks[b].scaled_sum = blocks[b].scale * (float)blocks[b].sum;
        fine[b].scaled_sum = fine[b].scale * (float)fine[b].sum;
    }
}

void ref_act_lay(const hone_weight *w, const float *x, size_t ldx, uint32_t m, uint32_t m0, uint32_t m1, void *act) {
    (void)m;
    for (uint32_t i = m0; i < m1; i++) {
        uint8_t *out = (uint8_t *)act + act_row_bytes(w) * i;
        const float *row = x + ldx * i;
        switch (ref_act_kind(w)) {
        case ACT_F32: memcpy(out, row, (size_t)w->k * 4); break;
        case ACT_BF16:
            for (uint32_t k = 0; k < w->k; k++) ((uint16_t *)(void *)out)[k] = hone_bf16_round(row[k]);
            break;
        default: quantise_row(row, w->k, (int8_t *)out, (block_act *)(void *)(out + (size_t)2 * w->k)); break;
        }
    }
}

/* ---- y = x W^T ----------------------------------------------------------------------------------------------------
 */

static void linear_int8(const hone_weight *w, const uint8_t *act, uint32_t m, float *y, size_t ldy, uint32_t n) {
    const size_t row_bytes = act_row_bytes(w);
    const bool has_minimum = kernel_quant_has_minimum(w->dtype), pairs = kernel_quant_pairs(w->dtype);
    const int32_t offset = kernel_quant_offset(w->dtype);
    const uint8_t *table = kernel_quant_table(w->dtype);
    for (uint32_t i = 0; i < m; i++) y[ldy * i + n] = 0.0f;
    for (uint32_t b = 0; b < w->k / 32; b++) {
        kernel_quant q;
        kernel_quant_block(w->dtype, stored_row(w, n), b, &q);
        for (uint32_t j = 0; table && j < 32; j++) q.q[j] = table[q.q[j]];
        for (uint32_t i = 0; i < m; i++) {
            const int8_t *x = (const int8_t *)act + row_bytes * i + (size_t)b * 32;
            const block_act *xb = (const block_act *)(const void *)(act + row_bytes * i + (size_t)2 * w->k) + b;
            float acc = y[ldy * i + n];
            for (uint32_t part = 0; part < 2; part++, x += w->k, xb += w->k / 32) { /* the fine part comes second */
                if (part == 1 && xb->scale == 0.0f) break;
                int32_t sum[2] = {0, 0}, sum_x[2] = {0, 0};
                for (uint32_t j = 0; j < 32; j++) {
                    sum[j / 16] += ((int32_t)q.q[j] - offset) * x[j];
                    sum_x[j / 16] += x[j];
                }
                if (pairs) {
                    acc = fmaf(q.scale[0] * xb->scale, (float)sum[0], acc);
                    acc = fmaf(q.scale[1] * xb->scale, (float)sum[1], acc);
                    for (uint32_t g = 0; has_minimum && g < 2; g++)
                        acc = fmaf(q.minimum[g], xb->scale * (float)sum_x[g], acc);
                } else {
                    acc = fmaf(q.scale[0] * xb->scale, (float)(sum[0] + sum[1]), acc);
                    if (has_minimum) acc = fmaf(q.minimum[0], xb->scaled_sum, acc);
                }
            }
            y[ldy * i + n] = acc;
        }
    }
}

static void linear_plain(const hone_weight *w, const uint8_t *act, uint32_t m, float *y, size_t ldy, uint32_t n) {
    const size_t row_bytes = act_row_bytes(w);
    const bool bf16 = ref_act_kind(w) == ACT_BF16;
    const uint32_t block = hone_dtype_block(w->dtype);
    for (uint32_t k0 = 0; k0 < w->k; k0 += SUM_CHUNK) {
        const uint32_t len = w->k - k0 < SUM_CHUNK ? w->k - k0 : SUM_CHUNK;
        float v[SUM_CHUNK];
        hone_dtype_widen(w->dtype, stored_row(w, n) + (size_t)(k0 / block) * hone_dtype_block_bytes(w->dtype), v, len);
        for (uint32_t i = 0; i < m; i++) {
            const void *x = act + row_bytes * i;
            float part = 0.0f;
            for (uint32_t k = 0; k < len; k++) {
                const float xk = bf16 ? hone_bf16_widen(((const uint16_t *)x)[k0 + k]) : ((const float *)x)[k0 + k];
                part = fmaf(v[k], xk, part);
            }
            y[ldy * i + n] = k0 == 0 ? part : y[ldy * i + n] + part;
        }
    }
}

void ref_linear(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0, uint32_t n1) {
    for (uint32_t n = n0; n < n1; n++) {
        if (ref_act_kind(w) == ACT_INT8)
            linear_int8(w, act, m, y, ldy, n);
        else
            linear_plain(w, act, m, y, ldy, n);
    }
}

/* ---- dx = dy W ----------------------------------------------------------------------------------------------------
 */

size_t ref_dx_scratch_bytes(const hone_weight *w, uint32_t m) {
    (void)w;
    (void)m;
    return 64;
}

/* Columns come in pieces of the widest block.  Serving rounds dy and the widened weights to bf16.  Sums over n add
 * chunks of SUM_CHUNK outputs, each from zero. */
void ref_linear_dx(const hone_weight *w, const float *dy, size_t lddy, uint32_t m, float *dx, size_t lddx, uint32_t k0,
                   uint32_t k1, bool add, void *scratch) {
    (void)scratch;
    enum { PIECE = 256, ROWS = 8 };
    const bool bf16 = w->precision == HONE_PRECISION_SERVING;
    const uint32_t block = hone_dtype_block(w->dtype);
    for (uint32_t p0 = k0 / PIECE * PIECE; p0 < k1; p0 += PIECE) {
        const uint32_t len = w->k - p0 < PIECE ? w->k - p0 : PIECE;
        const uint32_t from = p0 < k0 ? k0 - p0 : 0, to = k1 - p0 < len ? k1 - p0 : len;
        for (uint32_t i0 = 0; i0 < m; i0 += ROWS) {
            const uint32_t rows = m - i0 < ROWS ? m - i0 : ROWS;
            for (uint32_t n0 = 0; n0 < w->n; n0 += SUM_CHUNK) {
                const uint32_t n1 = w->n - n0 < SUM_CHUNK ? w->n : n0 + SUM_CHUNK;
                float part[ROWS][PIECE] = {{0}}, v[PIECE];
                for (uint32_t n = n0; n < n1; n++) {
                    hone_dtype_widen(
                        w->dtype, stored_row(w, n) + (size_t)(p0 / block) * hone_dtype_block_bytes(w->dtype), v, len);
                    for (uint32_t k = from; bf16 && k < to; k++) v[k] = hone_bf16_widen(hone_bf16_round(v[k]));
                    for (uint32_t i = 0; i < rows; i++) {
                        float g = dy[lddy * (i0 + i) + n];
                        if (bf16) g = hone_bf16_widen(hone_bf16_round(g));
                        for (uint32_t k = from; k < to; k++) part[i][k] = fmaf(g, v[k], part[i][k]);
                    }
                }
                for (uint32_t i = 0; i < rows; i++) {
                    float *out = dx + lddx * (i0 + i) + p0;
                    for (uint32_t k = from; k < to; k++) out[k] = n0 == 0 && !add ? part[i][k] : out[k] + part[i][k];
                }
            }
        }
    }
}

/* ---- Plain products ------------------------------------------------------------------------------------------------
 */

static inline void put(float *c, float alpha, float sum, bool add) {
    *c = add ? fmaf(alpha, sum, *c) : alpha * sum;
}

void ref_gemm_nt(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                 size_t ldb, float *c, size_t ldc, bool add) {
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t j = 0; j < n; j++) {
            float sum = 0.0f;
            for (uint32_t l = 0; l < k; l++) sum = fmaf(a[lda * i + l], b[ldb * j + l], sum);
            put(&c[ldc * i + j], alpha, sum, add);
        }
}

void ref_gemm_nn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                 size_t ldb, float *c, size_t ldc, bool add) {
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t j = 0; j < n; j++) {
            float sum = 0.0f;
            for (uint32_t l = 0; l < k; l++) sum = fmaf(a[lda * i + l], b[ldb * l + j], sum);
            put(&c[ldc * i + j], alpha, sum, add);
        }
}

void ref_gemm_tn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                 size_t ldb, float *c, size_t ldc, bool add) {
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t j = 0; j < n; j++) {
            float sum = add ? c[ldc * i + j] : 0.0f;
            for (uint32_t l = 0; l < k; l++) sum = fmaf(alpha * a[lda * l + i], b[ldb * l + j], sum);
            c[ldc * i + j] = sum;
        }
}
