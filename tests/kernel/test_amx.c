/* test_amx.c - the amx set over tile registers in plain C (amx_plain.h), on any machine with AVX-512: int8 products are
 * avx512's bits for every number of rows, bf16 products and dx agree with ref and do not depend on the rows beside
 * them. */
#include "amx_plain.h"
#include "fixture.h"
#include "kernel/avx512/avx512.h"
#include "kernel/sets.h"

struct amx_plain amx_plain;

static void test_int8(void **state) {
    (void)state;
    if (!kernel_avx512.can_run()) skip();
    for (int t = HONE_Q4_0; t < HONE_DTYPE_COUNT; t++)
        for (uint32_t m = 1; m < 40; m += m < 6 ? 1 : 7) {
            matrix x = matrix_make((hone_dtype)t, 41, 512);
            hone_weight w = weight_lay(&kernel_avx512, &x, HONE_PRECISION_SERVING);
            float *in = random_floats((size_t)m * w.k);
            float *y = linear(&kernel_amx, &w, in, m), *want = linear(&kernel_avx512, &w, in, m);
            assert_bits(y, want, (size_t)m * w.n, "%s m=%u\n", hone_dtype_name(w.dtype), m);
            hone_free(in);
            hone_free(y);
            hone_free(want);
            weight_free(&w);
            matrix_free(&x);
        }
}

static void close_to(const float *y, const float *want, size_t n, float bound) {
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(y[i] - want[i]) <= bound)) fail_msg("[%zu] %g for %g", i, (double)y[i], (double)want[i]);
}

static void test_bf16(void **state) {
    (void)state;
    if (!kernel_avx512.can_run()) skip();
    static const uint32_t shapes[][2] = {{16, 32}, {33, 40}, {20, 600}};
    for (size_t c = 0; c < 3; c++) {
        enum { M = 37 };
        matrix x = matrix_make(HONE_BF16, shapes[c][0], shapes[c][1]);
        hone_weight w = weight_lay(&kernel_avx512, &x, HONE_PRECISION_SERVING);
        hone_weight wr = weight_lay(&kernel_ref, &x, HONE_PRECISION_SERVING);
        float *in = random_floats((size_t)M * w.k), *y = linear(&kernel_amx, &w, in, M);
        float *want = linear(&kernel_ref, &wr, in, M);
        close_to(y, want, (size_t)M * w.n, 1e-6f * (float)w.k + 1e-6f);
        for (uint32_t m = 1; m < M; m += 5) {
            float *few = linear(&kernel_amx, &w, in, m);
            assert_bits(few, y, (size_t)m * w.n, "%u rows\n", m);
            hone_free(few);
        }
        hone_free(in);
        hone_free(y);
        hone_free(want);
        weight_free(&w);
        weight_free(&wr);
        matrix_free(&x);
    }
}

static void test_dx(void **state) {
    (void)state;
    if (!kernel_avx512.can_run()) skip();
    static const uint32_t shapes[][2] = {{16, 32}, {17, 96}, {300, 64}, {600, 224}};
    for (size_t c = 0; c < 4; c++)
        for (int p = 0; p < 2; p++) {
            enum { M = 21 };
            matrix x = matrix_make(HONE_Q4_1, shapes[c][0], shapes[c][1]);
            hone_weight w = weight_lay(&kernel_avx512, &x, (hone_precision)p);
            hone_weight wr = weight_lay(&kernel_ref, &x, (hone_precision)p);
            float *dy = random_floats((size_t)M * w.n), *dx = hone_zalloc((size_t)M * w.k, 4);
            float *want = hone_zalloc((size_t)M * w.k, 4), *again = hone_zalloc((size_t)M * w.k, 4);
            void *scratch = hone_alloc_aligned(1, kernel_amx.dx_scratch_bytes(&w, M));
            memset(scratch, 0xff, kernel_amx.dx_scratch_bytes(&w, M));
            kernel_amx.linear_dx(&w, dy, w.n, M, dx, w.k, 0, w.k, false, scratch);
            kernel_ref.linear_dx(&wr, dy, w.n, M, want, w.k, 0, w.k, false, NULL);
            close_to(dx, want, (size_t)M * w.k, 2e-6f * (float)w.n);
            for (uint32_t i = 0; i < M; i += 7)
                for (uint32_t k = 0; k < w.k; k += 64)
                    kernel_amx.linear_dx(&w, dy + (size_t)w.n * i, w.n, 7, again + (size_t)w.k * i, w.k, k,
                                         w.k - k < 64 ? w.k : k + 64, false, scratch);
            assert_bits(again, dx, (size_t)M * w.k, "dx in pieces\n");
            hone_free(dy);
            hone_free(dx);
            hone_free(want);
            hone_free(again);
            hone_free(scratch);
            weight_free(&w);
            weight_free(&wr);
            matrix_free(&x);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_int8), cmocka_unit_test(test_bf16),
                                       cmocka_unit_test(test_dx)};
    return cmocka_run_group_tests_name("kernel amx", tests, NULL, NULL);
}
