/* test_linear.c - products with frozen weights: every set that this machine can run against the exact product and ref,
 * and the arithmetic contract as bits. */
#include "fixture.h"

static const struct {
    uint32_t n, k;
} plain_shapes[] = {{16, 32}, {17, 33}, {1, 1}, {40, 12}, {5, 576}, {48, 300}, {33, 1040}},
  block_shapes[] = {{16, 32}, {33, 256}, {5, 96}, {40, 1536}, {19, 576}};

typedef void check_function(const hone_kernels *s, const hone_weight *w, const matrix *x);

static void for_each_weight(check_function *check) {
    FOR_EACH_SET(s) {
        for (int t = 0; t < HONE_DTYPE_COUNT; t++)
            for (int p = 0; p < 2; p++) {
                const bool plain = !kernel_quantised((hone_dtype)t);
                for (size_t i = 0; i < (plain ? sizeof(plain_shapes) : sizeof(block_shapes)) / 8; i++) {
                    const uint32_t n = plain ? plain_shapes[i].n : block_shapes[i].n;
                    const uint32_t k = plain ? plain_shapes[i].k : block_shapes[i].k;
                    if (k % hone_dtype_block((hone_dtype)t)) continue;
                    matrix x = matrix_make((hone_dtype)t, n, k);
                    hone_weight w = weight_lay(s, &x, (hone_precision)p);
                    check(s, &w, &x);
                    weight_free(&w);
                    matrix_free(&x);
                }
            }
    }
}

/* The stored values survive laying, exactly. */
static void check_rows(const hone_kernels *s, const hone_weight *w, const matrix *x) {
    float *row = hone_zalloc(w->k, sizeof(*row));
    for (uint32_t n = 0; n < w->n; n++) {
        s->weight_row(w, n, row);
        assert_bits(row, x->wide + (size_t)w->k * n, w->k, "%s %s row %u\n", s->name, hone_dtype_name(w->dtype), n);
    }
    hone_free(row);
}
static void test_rows(void **state) {
    (void)state;
    for_each_weight(check_rows);
}

/* Against sums in double; the bound is the sum of magnitudes times the rounding of the activations (int8: half a step
 * of max/127 per element, bf16: 2^-8) and a little for f32 sums. */
static void check_product(const hone_kernels *s, const hone_weight *w, const matrix *x) {
    for (uint32_t m = 1; m <= 37; m += 9) {
        float *in = random_floats((size_t)m * w->k), *y = linear(s, w, in, m);
        for (uint32_t i = 0; i < m; i++)
            for (uint32_t n = 0; n < w->n; n++) {
                double sum = 0, size = 0;
                for (uint32_t k = 0; k < w->k; k++) {
                    const double v = (double)x->wide[(size_t)w->k * n + k];
                    sum += v * (double)in[(size_t)w->k * i + k];
                    size += fabs(v);
                }
                double bound = 1e-6 * size + 1e-30;
                if (w->precision == HONE_PRECISION_SERVING && kernel_quantised(w->dtype)) bound += size * 0.5 / 127;
                if (w->precision == HONE_PRECISION_SERVING && w->dtype == HONE_BF16) bound += size * 0x1p-8;
                const double d = fabs(sum - (double)y[(size_t)w->n * i + n]);
                if (!(d <= bound))
                    fail_msg("%s %s precision %d n=%u k=%u m=%u: row %u output %u: %g for %g, bound %g", s->name,
                             hone_dtype_name(w->dtype), (int)w->precision, w->n, w->k, m, i, n,
                             (double)y[(size_t)w->n * i + n], sum, bound);
            }
        hone_free(in);
        hone_free(y);
    }
}
static void test_product(void **state) {
    (void)state;
    for_each_weight(check_product);
}

/* One input that is 64 times the rest does not coarsen its block: the bound of the others holds. */
static void check_outlier(const hone_kernels *s, const hone_weight *w, const matrix *x) {
    if (!kernel_quantised(w->dtype) || w->k < 96) return;
    enum { M = 19 };
    float *in = random_floats((size_t)M * w->k);
    for (uint32_t i = 0; i < M; i++) in[(size_t)w->k * i + i * 37 % w->k] = i % 2 ? 64.0f : -64.0f;
    float *y = linear(s, w, in, M);
    for (uint32_t i = 0; i < M; i++)
        for (uint32_t n = 0; n < w->n; n++) {
            double sum = 0, size = 0;
            for (uint32_t k = 0; k < w->k; k++) {
                const double v = (double)x->wide[(size_t)w->k * n + k];
                sum += v * (double)in[(size_t)w->k * i + k];
                size += fabs(v);
            }
            const double d = fabs(sum - (double)y[(size_t)w->n * i + n]);
            if (!(d <= size * 0.5 / 127 + 1e-4 * size))
                fail_msg("%s %s: row %u output %u is off by %g, bound %g", s->name, hone_dtype_name(w->dtype), i, n, d,
                         size * 0.5 / 127);
        }
    hone_free(in);
    hone_free(y);
}
static void test_outlier(void **state) {
    (void)state;
    for_each_weight(check_outlier);
}

/* int8 and f32 arithmetic is one order of operations in all sets: the bits of ref.  bf16 units round in their own way.
 */
static void check_ref(const hone_kernels *s, const hone_weight *w, const matrix *x) {
    const hone_kernels *ref = hone_kernels_find("ref");
    hone_weight wr = weight_lay(ref, x, w->precision);
    const uint32_t m = 21;
    float *in = random_floats((size_t)m * w->k);
    for (uint32_t k = 0; k < w->k; k++) in[k] *= k % 64 < 32 ? 1e-38f : 100.0f; /* uneven blocks, one near zero */
    if (kernel_quantised(w->dtype))                                             /* and some coarse ones */
        for (uint32_t i = 0; i < m; i += 4) in[(size_t)w->k * i + i * 29 % w->k] = -3000.0f;
    float *y = linear(s, w, in, m), *yr = linear(ref, &wr, in, m);
    if (w->precision == HONE_PRECISION_SERVING && w->dtype == HONE_BF16) {
        for (size_t i = 0; i < (size_t)m * w->n; i++)
            if (!(fabsf(y[i] - yr[i]) <= 1e-5f * (float)w->k * (i < w->n ? 100.0f : 1.0f)))
                fail_msg("%s BF16: %g for ref's %g", s->name, (double)y[i], (double)yr[i]);
    } else {
        assert_bits(y, yr, (size_t)m * w->n, "%s %s precision %d n=%u k=%u against ref\n", s->name,
                    hone_dtype_name(w->dtype), (int)w->precision, w->n, w->k);
    }
    hone_free(in);
    hone_free(y);
    hone_free(yr);
    weight_free(&wr);
}
static void test_ref(void **state) {
    (void)state;
    for_each_weight(check_ref);
}

/* A row's bits do not depend on m, on its place, or on the range of outputs asked for. */
static void check_invariance(const hone_kernels *s, const hone_weight *w, const matrix *x) {
    (void)x;
    enum { MOST = 40 };
    float *in = random_floats((size_t)MOST * w->k), *turned = random_floats((size_t)MOST * w->k);
    for (uint32_t i = 0; i < MOST; i++) /* some rows have blocks with a fine part, each in another place */
        if (i % 3 == 1) in[(size_t)w->k * i + i * 37 % w->k] *= 60.0f;
    float *whole = linear(s, w, in, MOST), *one = hone_zalloc(w->n, sizeof(*one));
    for (uint32_t m = 1; m < MOST; m += m < 18 ? 1 : 5) {
        float *y = linear(s, w, in, m);
        assert_bits(y, whole, (size_t)m * w->n, "%s %s: %u of %d rows\n", s->name, hone_dtype_name(w->dtype), m, MOST);
        hone_free(y);
    }
    for (uint32_t i = 0; i < MOST; i++)
        memcpy(turned + (size_t)w->k * i, in + (size_t)w->k * (MOST - 1 - i), (size_t)w->k * 4);
    float *y = linear(s, w, turned, MOST);
    for (uint32_t i = 0; i < MOST; i++)
        assert_bits(y + (size_t)w->n * i, whole + (size_t)w->n * (MOST - 1 - i), w->n, "%s %s: order of rows\n",
                    s->name, hone_dtype_name(w->dtype));
    /* Activations laid in ranges, outputs in ranges, an output stride of its own. */
    void *act = hone_alloc_aligned(1, s->act_bytes(w, MOST));
    const size_t ldy = w->n + 3;
    float *wide = hone_zalloc(ldy * MOST, sizeof(*wide));
    s->act_lay(w, in, w->k, MOST, 32, MOST, act);
    s->act_lay(w, in, w->k, MOST, 0, 32, act);
    for (uint32_t n = 0; n < w->n; n += HONE_PANEL) {
        const uint32_t end = w->n - n < HONE_PANEL ? w->n : n + HONE_PANEL;
        s->linear(w, act, MOST, wide, ldy, n, end);
    }
    for (uint32_t i = 0; i < MOST; i++) {
        assert_bits(wide + ldy * i, whole + (size_t)w->n * i, w->n, "%s %s: ranges\n", s->name,
                    hone_dtype_name(w->dtype));
        for (uint32_t j = 0; j < 3; j++) assert_true(wide[ldy * i + w->n + j] == 0.0f); /* nothing beyond */
    }
    hone_free(act);
    hone_free(wide);
    hone_free(y);
    hone_free(in);
    hone_free(turned);
    hone_free(whole);
    hone_free(one);
}
static void test_invariance(void **state) {
    (void)state;
    for_each_weight(check_invariance);
}

/* Where a block has a half-precision number: its scale, or its minimum's. */
static size_t half_at(int t) {
    switch (t) {
    case HONE_Q6_K: return 208;
    case HONE_Q4_1: return 2;
    case HONE_Q2_K: return 82;
    case HONE_Q3_K: return 108;
    default: return 0;
    }
}

/* Weights that are not finite are refused with their row; a row before the bad one is fine. */
static void test_refuses_not_finite(void **state) {
    (void)state;
    static const uint16_t bad_half[] = {0x7c00, 0xfc00, 0x7e01};
    FOR_EACH_SET(s) {
        for (int t = 0; t < HONE_DTYPE_COUNT; t++)
            for (int p = 0; p < 2; p++)
                for (int b = 0; b < 3; b++) {
                    matrix x = matrix_make((hone_dtype)t, 18, 512);
                    uint8_t *row = x.stored + 17 * ((size_t)((const uint8_t *)x.rows[1] - (const uint8_t *)x.rows[0]));
                    const float bad = b == 0 ? INFINITY : b == 1 ? -INFINITY : NAN;
                    const uint16_t bad_brain = hone_bf16_round(bad);
                    if (t == HONE_F32)
                        memcpy(row + 4 * 501, &bad, 4);
                    else if (t == HONE_BF16)
                        memcpy(row + 2 * 501, &bad_brain, 2);
                    else if (t == HONE_F16)
                        memcpy(row + 2 * 501, &bad_half[b], 2);
                    else if (t == HONE_FP4_16)
                        memcpy(row + 4, &bad, 4);
                    else if (t == HONE_MXFP4)
                        row[17 * 3] = 255; /* OCP's NaN, the only one */
                    else
                        memcpy(row + half_at(t), &bad_half[b], 2);
                    hone_weight w = {x.dtype, (hone_precision)p, x.n, x.k, 0, NULL};
                    w.bytes = s->weight_bytes(w.dtype, w.precision, w.n, w.k);
                    void *data = hone_alloc_aligned(1, w.bytes);
                    hone_error err = {0};
                    assert_int_equal(s->weight_lay(&w, data, x.rows, 0, 18, &err), HONE_ERR_FORMAT);
                    assert_int_equal(err.position, 17);
                    assert_int_equal(s->weight_lay(&w, data, x.rows, 0, 16, &err), HONE_OK);
                    hone_free(data);
                    matrix_free(&x);
                }
    }
}

static void test_sizes(void **state) {
    (void)state;
    FOR_EACH_SET(s) {
        assert_int_equal(s->weight_bytes(HONE_Q4_K, HONE_PRECISION_SERVING, 16, 32), 0); /* no whole block */
        assert_int_equal(s->weight_bytes(HONE_F32, HONE_PRECISION_SERVING, 0, 32), 0);
        assert_int_equal(s->weight_bytes(HONE_F32, HONE_PRECISION_SERVING, 32, 0), 0);
        assert_true(s->weight_bytes(HONE_F32, HONE_PRECISION_SERVING, UINT32_MAX, UINT32_MAX) == 0 ||
                    s->weight_bytes(HONE_F32, HONE_PRECISION_SERVING, UINT32_MAX, UINT32_MAX) > (size_t)1 << 60);
    }
}

/* NaN and infinity in a row show in that row and in no other. */
static void test_bad_rows_stay_alone(void **state) {
    (void)state;
    static const hone_dtype types[] = {HONE_F32, HONE_F16, HONE_BF16, HONE_Q4_1, HONE_Q8_0, HONE_Q6_K};
    FOR_EACH_SET(s) {
        for (size_t t = 0; t < sizeof(types) / sizeof(*types); t++) {
            matrix x = matrix_make(types[t], 16, 256);
            hone_weight w = weight_lay(s, &x, HONE_PRECISION_SERVING);
            float *in = random_floats(8 * 256);
            float *good = linear(s, &w, in, 8);
            in[3 * 256 + 7] = NAN;
            in[5 * 256 + 100] = INFINITY;
            float *y = linear(s, &w, in, 8);
            for (uint32_t i = 0; i < 8; i++) {
                if (i == 3 || i == 5)
                    assert_true(!isfinite(y[16 * i]));
                else
                    assert_bits(y + 16 * i, good + 16 * i, 16, "%s %s row %u\n", s->name, hone_dtype_name(types[t]), i);
            }
            hone_free(in);
            hone_free(good);
            hone_free(y);
            weight_free(&w);
            matrix_free(&x);
        }
    }
}

/* dx against sums in double, and as bits: rows alone, ranges of k, added to what is there. */
static void check_dx(const hone_kernels *s, const hone_weight *w, const matrix *x) {
    enum { M = 23 };
    float *dy = random_floats((size_t)M * w->n), *dx = hone_zalloc((size_t)M * w->k, 4);
    float *again = hone_zalloc((size_t)M * w->k, 4);
    void *scratch = hone_alloc_aligned(1, s->dx_scratch_bytes(w, M));
    s->linear_dx(w, dy, w->n, M, dx, w->k, 0, w->k, false, scratch);
    for (uint32_t i = 0; i < M; i++)
        for (uint32_t k = 0; k < w->k; k++) {
            double sum = 0, size = 0;
            for (uint32_t n = 0; n < w->n; n++) {
                const double v = (double)x->wide[(size_t)w->k * n + k];
                sum += v * (double)dy[(size_t)w->n * i + n];
                size += fabs(v);
            }
            const double bound = size * (w->precision == HONE_PRECISION_F32 ? 1e-6 : 0x1.02p-7) + 1e-30;
            if (!(fabs(sum - (double)dx[(size_t)w->k * i + k]) <= bound))
                fail_msg("%s %s precision %d n=%u k=%u: dx[%u, %u] %g for %g", s->name, hone_dtype_name(w->dtype),
                         (int)w->precision, w->n, w->k, i, k, (double)dx[(size_t)w->k * i + k], sum);
        }
    for (uint32_t i = 0; i < M; i += i < 3 ? 1 : 5) /* 1, then 5 rows; columns by 64, from the last */
        for (uint32_t k0 = (w->k - 1) / 64 * 64 + 64; k0 >= 64; k0 -= 64)
            s->linear_dx(w, dy + (size_t)w->n * i, w->n, i < 3 ? 1 : 5, again + (size_t)w->k * i, w->k, k0 - 64,
                         k0 < w->k ? k0 : w->k, false, scratch);
    assert_bits(again, dx, (size_t)M * w->k, "%s %s precision %d n=%u k=%u dx in pieces\n", s->name,
                hone_dtype_name(w->dtype), (int)w->precision, w->n, w->k);
    if (w->n <= 256) { /* one chunk: adding is one addition */
        float *sum = random_floats((size_t)M * w->k), *start = hone_zalloc((size_t)M * w->k, 4);
        memcpy(start, sum, (size_t)M * w->k * 4);
        s->linear_dx(w, dy, w->n, M, sum, w->k, 0, w->k, true, scratch);
        for (size_t i = 0; i < (size_t)M * w->k; i++) start[i] += dx[i];
        assert_bits(sum, start, (size_t)M * w->k, "%s %s dx added\n", s->name, hone_dtype_name(w->dtype));
        hone_free(sum);
        hone_free(start);
    }
    hone_free(dy);
    hone_free(dx);
    hone_free(again);
    hone_free(scratch);
}
static void test_dx(void **state) {
    (void)state;
    for_each_weight(check_dx);
    FOR_EACH_SET(s) { /* several chunks of n, several blocks of rows are in the sizes of a real layer */
        matrix x = matrix_make(HONE_Q4_1, 600, 96);
        for (int p = 0; p < 2; p++) {
            hone_weight w = weight_lay(s, &x, (hone_precision)p);
            check_dx(s, &w, &x);
            weight_free(&w);
        }
        matrix_free(&x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),       cmocka_unit_test(test_product),
        cmocka_unit_test(test_outlier),    cmocka_unit_test(test_ref),
        cmocka_unit_test(test_invariance), cmocka_unit_test(test_refuses_not_finite),
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_bad_rows_stay_alone),
        cmocka_unit_test(test_dx),
    };
    return cmocka_run_group_tests_name("kernel linear", tests, NULL, NULL);
}
