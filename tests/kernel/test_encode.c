/* test_encode.c - encoding: what a format can say exactly comes back exactly enough, errors are within what plain
 * rounding to the block's range would leave, odd blocks do no harm. */
#include "fixture.h"
#include "kernel/encode.h"

#define N 512

static double error_of(hone_dtype t, const float *x, uint32_t n, float *out) {
    uint8_t row[4 * N];
    double error = 0.0;
    memset(row, 0xaa, sizeof(row));
    hone_dtype_encode(t, x, n, row);
    hone_dtype_widen(t, row, out, n);
    for (uint32_t i = 0; i < n; i++) error += (double)(out[i] - x[i]) * (out[i] - x[i]);
    return error;
}

/* What rounding each block of 32 to equal steps between its ends leaves: no search, no fit. */
static double plain_error(const float *x, uint32_t n, uint32_t levels) {
    double error = 0.0;
    for (uint32_t b = 0; b < n; b += 32) {
        float low = x[b], high = x[b];
        for (uint32_t i = b; i < b + 32; i++) low = fminf(low, x[i]), high = fmaxf(high, x[i]);
        const double step = ((double)high - (double)low) / ((double)levels - 1);
        for (uint32_t i = b; i < b + 32 && step > 0; i++) {
            const double e = x[i] - (low + step * rint((x[i] - low) / step));
            error += e * e;
        }
    }
    return error;
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        hone_dtype t;
        uint32_t levels; /* of the plain rounding that it has to come near to or beat */
        double factor;
    } table[] = {{HONE_Q8_0, 256, 1.5}, {HONE_Q6_K, 64, 1.1}, {HONE_Q5_K, 32, 1.1}, {HONE_Q5_1, 32, 1.0},
                 {HONE_Q5_0, 32, 1.6},  {HONE_Q4_K, 16, 1.1}, {HONE_Q4_1, 16, 1.0}, {HONE_Q4_0, 16, 1.6}};
    for (size_t f = 0; f < sizeof(table) / sizeof(*table); f++) {
        double error = 0.0, plain = 0.0;
        for (int c = 0; c < 50; c++) {
            float x[N], out[N];
            for (uint32_t i = 0; i < N; i++) x[i] = random_float() * random_float() * (1.0f + (float)(i / 64));
            error += error_of(table[f].t, x, N, out);
            plain += plain_error(x, N, table[f].levels);
        }
        if (!(error <= table[f].factor * plain))
            fail_msg("%s: %g, plain rounding leaves %g", hone_dtype_name(table[f].t), error, plain);
    }
}

/* Rows that widening made: their numbers are the format's own, so little may be lost the second time. */
static void test_own_numbers(void **state) {
    (void)state;
    for (int t = 0; t < HONE_DTYPE_COUNT; t++) {
        if (!hone_dtype_can_encode((hone_dtype)t)) continue;
        double error = 0.0, size = 0.0;
        for (int c = 0; c < 100; c++) {
            uint8_t row[4 * N];
            float x[N], out[N];
            random_row((hone_dtype)t, N, row);
            hone_dtype_widen((hone_dtype)t, row, x, N);
            error += error_of((hone_dtype)t, x, N, out);
            for (uint32_t i = 0; i < N; i++) size += (double)x[i] * x[i];
        }
        const bool plain = hone_dtype_block((hone_dtype)t) == 1;
        if (!(sqrt(error / size) <= (plain ? 0.0 : 0.02)))
            fail_msg("%s: %g of its size is lost", hone_dtype_name((hone_dtype)t), sqrt(error / size));
    }
}

static void test_odd_blocks(void **state) {
    (void)state;
    static const float fill[] = {0.0f, 1.0f, -1.0f, 1e-38f, -3e-20f, 60000.0f, -60000.0f};
    for (int t = 0; t < HONE_DTYPE_COUNT; t++) {
        if (!hone_dtype_can_encode((hone_dtype)t)) continue;
        for (size_t f = 0; f < sizeof(fill) / sizeof(*fill); f++)
            for (int alone = 0; alone < 2; alone++) { /* one such number among zeros, and nothing else */
                float x[N], out[N];
                for (uint32_t i = 0; i < N; i++) x[i] = !alone || i == 77 ? fill[f] : 0.0f;
                error_of((hone_dtype)t, x, N, out);
                for (uint32_t i = 0; i < N; i++)
                    if (!isfinite(out[i]) || fabsf(out[i] - x[i]) > 0.2f * fabsf(fill[f]) + 1e-6f)
                        fail_msg("%s: %g became %g", hone_dtype_name((hone_dtype)t), (double)x[i], (double)out[i]);
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_errors), cmocka_unit_test(test_own_numbers),
                                       cmocka_unit_test(test_odd_blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
