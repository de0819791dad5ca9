/* test_gemm.c - plain products of every set against sums in double, and as bits over rows, columns and place. */
#include "fixture.h"

typedef void gemm(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                  size_t ldb, float *c, size_t ldc, bool add);

static const uint32_t shapes[][3] = {{1, 4, 576}, {7, 8, 1536}, {33, 16, 300}, {5, 64, 65},
                                     {1, 1, 1},   {19, 300, 4}, {40, 33, 16},  {3, 100, 64},
                                     {64, 5, 70}, {16, 49, 8},  {9, 48, 33},   {2, 31, 1000}};

static float at(const float *x, size_t ld, bool turned, uint32_t i, uint32_t j) {
    return turned ? x[ld * j + i] : x[ld * i + j];
}

/* a is [m, k] or, turned, [k, m]; b is [k, n] or, turned, [n, k]. */
static void check(const char *name, gemm *f, bool a_turned, bool b_turned) {
    for (size_t c = 0; c < sizeof(shapes) / sizeof(*shapes); c++) {
        const uint32_t m = shapes[c][0], n = shapes[c][1], k = shapes[c][2];
        const size_t lda = (a_turned ? m : k) + 3, ldb = (b_turned ? k : n) + 5, ldc = n + 2;
        float *a = random_floats(lda * (a_turned ? k : m)), *b = random_floats(ldb * (b_turned ? n : k));
        float *out = random_floats(ldc * m), *start = hone_zalloc(ldc * m, 4), *again = hone_zalloc(ldc * m, 4);
        memcpy(start, out, ldc * m * 4);
        memcpy(again, out, ldc * m * 4);
        f(m, n, k, 0.75f, a, lda, b, ldb, out, ldc, c % 2);
        for (uint32_t i = 0; i < m; i++)
            for (uint32_t j = 0; j < n + 2; j++) {
                double sum = 0, size = 0;
                for (uint32_t l = 0; l < k && j < n; l++) {
                    const double v = (double)at(a, lda, a_turned, i, l) * (double)at(b, ldb, b_turned, l, j);
                    sum += v;
                    size += fabs(v);
                }
                double want = 0.75 * sum + (c % 2 ? (double)start[ldc * i + j] : 0.0);
                if (j >= n) want = (double)start[ldc * i + j]; /* nothing beyond */
                if (!(fabs((double)out[ldc * i + j] - want) <= 2e-6 * size + 1e-6 * fabs(want)))
                    fail_msg("%s %ux%ux%u: [%u, %u] %g for %g", name, m, n, k, i, j, (double)out[ldc * i + j], want);
            }
        /* Rows one by one, and by threes. */
        for (uint32_t i = 0; i < m; i += i < 4 ? 1 : 3) {
            const uint32_t rows = i < 4 ? 1 : m - i < 3 ? m - i : 3;
            f(rows, n, k, 0.75f, a + (a_turned ? i : lda * i), lda, b, ldb, again + ldc * i, ldc, c % 2);
        }
        assert_bits(again, out, ldc * m, "%s %ux%ux%u rows apart\n", name, m, n, k);
        /* Columns in two halves. */
        memcpy(again, start, ldc * m * 4);
        const uint32_t half = n / 2;
        if (half) f(m, half, k, 0.75f, a, lda, b, ldb, again, ldc, c % 2);
        f(m, n - half, k, 0.75f, a, lda, b + (b_turned ? ldb * half : half), ldb, again + half, ldc, c % 2);
        assert_bits(again, out, ldc * m, "%s %ux%ux%u columns apart\n", name, m, n, k);
        hone_free(a);
        hone_free(b);
        hone_free(out);
        hone_free(start);
        hone_free(again);
    }
}

static void test_products(void **state) {
    (void)state;
    FOR_EACH_SET(s) {
        char name[64];
        snprintf(name, sizeof(name), "%s nt", s->name);
        check(name, s->gemm_nt, false, true);
        snprintf(name, sizeof(name), "%s nn", s->name);
        check(name, s->gemm_nn, false, false);
        snprintf(name, sizeof(name), "%s tn", s->name);
        check(name, s->gemm_tn, true, false);
    }
}

/* Gradients are summed by tn: cutting k, as micro-batches do, changes no bit. */
static void test_tn_goes_on_from_c(void **state) {
    (void)state;
    FOR_EACH_SET(s) {
        for (size_t c = 0; c < sizeof(shapes) / sizeof(*shapes); c++) {
            const uint32_t m = shapes[c][0], n = shapes[c][1], k = shapes[c][2];
            float *a = random_floats((size_t)k * m), *b = random_floats((size_t)k * n);
            float *whole = hone_zalloc((size_t)m * n, 4), *cut = hone_zalloc((size_t)m * n, 4);
            s->gemm_tn(m, n, k, 0.3f, a, m, b, n, whole, n, false);
            for (uint32_t l = 0; l < k; l += 1 + k / 3) {
                const uint32_t len = k - l < 1 + k / 3 ? k - l : 1 + k / 3;
                s->gemm_tn(m, n, len, 0.3f, a + (size_t)l * m, m, b + (size_t)l * n, n, cut, n, l > 0);
            }
            assert_bits(cut, whole, (size_t)m * n, "%s tn %ux%ux%u in parts\n", s->name, m, n, k);
            hone_free(a);
            hone_free(b);
            hone_free(whole);
            hone_free(cut);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_tn_goes_on_from_c)};
    return cmocka_run_group_tests_name("kernel gemm", tests, NULL, NULL);
}
