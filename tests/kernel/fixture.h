/* fixture.h - what the kernel tests share: numbers that repeat, random stored weights, one weight laid for one set. */
#ifndef HONE_TEST_KERNEL_FIXTURE_H
#define HONE_TEST_KERNEL_FIXTURE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../test.h"
#include "base/mem.h"
#include "kernel/kernel.h"
#include "kernel/quant.h"

static uint64_t fixture_state = 1;

static inline uint32_t random_bits(void) { /* splitmix64 */
    uint64_t z = (fixture_state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}
static inline float random_float(void) {
    return (float)(int32_t)random_bits() * 0x1p-31f;
} /* -1 .. 1 */

static inline float *random_floats(size_t n) {
    float *x = hone_alloc_aligned(n ? n : 1, sizeof(*x));
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = random_float();
    return x;
}

static inline void put_half(uint8_t *p, float v) {
    const uint16_t h = hone_f16_round(v);
    memcpy(p, &h, 2);
}

/* One stored row of k weights of about unit size. */
static inline void random_row(hone_dtype t, uint32_t k, uint8_t *row) {
    size_t bytes;
    assert_true(hone_dtype_row_bytes(t, k, &bytes));
    for (size_t i = 0; i < bytes; i++) row[i] = (uint8_t)random_bits();
    for (uint32_t b = 0; b < k / hone_dtype_block(t); b++) {
        uint8_t *p = row + (size_t)b * hone_dtype_block_bytes(t);
        const float v = random_float();
        switch (t) {
        case HONE_F32: memcpy(p, &v, 4); break;
        case HONE_F16: put_half(p, v); break;
        case HONE_BF16: {
            const uint16_t h = hone_bf16_round(v);
            memcpy(p, &h, 2);
            break;
        }
        case HONE_Q4_0: put_half(p, v * 0.1f); break;
        case HONE_Q4_1:
            put_half(p, v * 0.1f);
            put_half(p + 2, random_float());
            break;
        case HONE_Q5_0: put_half(p, v * 0.05f); break;
        case HONE_Q5_1:
            put_half(p, v * 0.05f);
            put_half(p + 2, random_float());
            break;
        case HONE_Q8_0: put_half(p, v * 0.01f); break;
        case HONE_Q4_K:
        case HONE_Q5_K:
            put_half(p, v * 0.002f);
            put_half(p + 2, random_float() * 0.02f);
            break;
        case HONE_Q6_K: put_half(p + 208, v * 0.0005f); break;
        case HONE_Q2_K:
            put_half(p + 80, v * 0.02f);
            put_half(p + 82, random_float() * 0.02f);
            break;
        case HONE_Q3_K: put_half(p + 108, v * 0.002f); break;
        case HONE_IQ4_NL: put_half(p, v * 0.01f); break;
        case HONE_IQ4_XS: put_half(p, v * 0.0005f); break;
        case HONE_MXFP4: p[0] = (uint8_t)(118u + random_bits() % 8u); break;
        case HONE_FP4_16: {
            const float scale[2] = {v * 0.1f, random_float() * 0.1f};
            memcpy(p, scale, sizeof(scale));
            break;
        }
        case HONE_NVFP4:
            for (int i = 0; i < 4; i++) p[i] = (uint8_t)(random_bits() % 0x7fu);
            break;
        case HONE_F8_E4M3: p[0] = (uint8_t)(p[0] % 0x7fu | (p[0] & 0x80u)); break;
        case HONE_STORED_COUNT: break;
        }
    }
}

/* W[n, k]: stored rows and their exact values. */
typedef struct {
    hone_dtype dtype;
    uint32_t n, k;
    uint8_t *stored;
    const void **rows;
    float *wide; /* [n, k] */
} matrix;

static inline matrix matrix_make(hone_dtype t, uint32_t n, uint32_t k) {
    size_t bytes;
    assert_true(hone_dtype_row_bytes(t, k, &bytes));
    matrix x = {t, n, k, hone_zalloc(n, bytes), hone_zalloc(n, sizeof(void *)), hone_zalloc((size_t)n * k, 4)};
    assert_true(x.stored && x.rows && x.wide);
    for (uint32_t i = 0; i < n; i++) {
        x.rows[i] = x.stored + bytes * i;
        random_row(t, k, x.stored + bytes * i);
        hone_dtype_widen(t, x.rows[i], x.wide + (size_t)k * i, k);
    }
    return x;
}
static inline void matrix_free(matrix *x) {
    hone_free(x->stored);
    hone_free(x->rows);
    hone_free(x->wide);
}

static inline hone_weight weight_lay(const hone_kernels *s, const matrix *x, hone_precision p) {
    hone_weight w = {x->dtype, p, x->n, x->k, s->weight_bytes(x->dtype, p, x->n, x->k), NULL};
    assert_true(w.bytes > 0);
    void *data = hone_alloc_aligned(1, w.bytes);
    assert_non_null(data);
    w.data = data;
    hone_error err;
    for (uint32_t n = 0; n < x->n; n += 32) /* in ranges, as a loader does */
        assert_int_equal(s->weight_lay(&w, data, x->rows + n, n, x->n - n < 32 ? x->n : n + 32, &err), HONE_OK);
    return w;
}
static inline void weight_free(hone_weight *w) {
    hone_free((void *)(uintptr_t)w->data);
}

/* y[m, n] of a set, everything in one call; the caller frees it. */
static inline float *linear(const hone_kernels *s, const hone_weight *w, const float *x, uint32_t m) {
    void *act = hone_alloc_aligned(1, s->act_bytes(w, m));
    float *y = hone_zalloc((size_t)m * w->n, sizeof(*y));
    assert_true(act && y);
    s->act_lay(w, x, w->k, m, 0, m, act);
    s->linear(w, act, m, y, w->n, 0, w->n);
    hone_free(act);
    return y;
}

#define FOR_EACH_SET(s)                                                                                                \
    for (const hone_kernels *const *fe_ = hone_kernels_all(), *s = *fe_; s; s = *++fe_)                                \
        if (s->can_run())

#define assert_bits(a, b, n, ...)                                                                                      \
    do {                                                                                                               \
        if (memcmp((a), (b), (n) * sizeof(float)) != 0) {                                                              \
            size_t at_ = 0;                                                                                            \
            while (memcmp((a) + at_, (b) + at_, sizeof(float)) == 0) at_++;                                            \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fail_msg("bits differ at %zu of %zu: %.9g, %.9g", at_, (size_t)(n), (double)(a)[at_], (double)(b)[at_]);   \
        }                                                                                                              \
    } while (0)

#endif
