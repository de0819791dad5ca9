/* test_rows.c - norms, activations, exponentials and rotary positions of every set against double, with every tail. */
#include "fixture.h"

static void near(const char *set, const char *what, size_t n, const float *got, const double *want, double relative,
                 double absolute) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= relative * fabs(want[i]) + absolute))
            fail_msg("%s %s n=%zu [%zu]: %.9g for %.9g", set, what, n, i, (double)got[i], want[i]);
}

static void test_norms(void **state) {
    (void)state;
    FOR_EACH_SET(s) {
        for (uint32_t d = 1; d < 200; d += d < 40 ? 1 : 29)
            for (int variant = 0; variant < 3; variant++) {
                enum { M = 3 };
                float *x = random_floats(M * (d + 1)), *weight = random_floats(d), *bias = random_floats(d);
                float *y = hone_zalloc(M * d, 4), inv[M], both[2 * M];
                const float *w = variant ? weight : NULL;
                s->rms_norm(x, d + 1, w, variant == 2, 1e-5f, M, d, y, d, inv);
                for (uint32_t i = 0; i < M; i++) {
                    double sum = 0, want[200];
                    for (uint32_t j = 0; j < d; j++) sum += (double)x[(d + 1) * i + j] * (double)x[(d + 1) * i + j];
                    const double by = 1 / sqrt(sum / d + 1e-5);
                    for (uint32_t j = 0; j < d; j++)
                        want[j] = (double)x[(d + 1) * i + j] * by * (w ? (double)w[j] + (variant == 2) : 1.0);
                    near(s->name, "rms_norm", d, y + d * i, want, 2e-6, 1e-9);
                    near(s->name, "inv_rms", 1, inv + i, &by, 2e-6, 0);
                }
                s->layer_norm(x, d + 1, w, variant == 1 ? bias : NULL, variant == 2, 1e-5f, M, d, y, d, both);
                for (uint32_t i = 0; i < M; i++) {
                    double mean = 0, square = 0, want[200];
                    for (uint32_t j = 0; j < d; j++) mean += (double)x[(d + 1) * i + j] / d;
                    for (uint32_t j = 0; j < d; j++) square += pow((double)x[(d + 1) * i + j] - mean, 2);
                    const double by = 1 / sqrt(square / d + 1e-5);
                    for (uint32_t j = 0; j < d; j++)
                        want[j] = ((double)x[(d + 1) * i + j] - mean) * by * (w ? (double)w[j] + (variant == 2) : 1.0) +
                                  (variant == 1 ? (double)bias[j] : 0.0);
                    near(s->name, "layer_norm", d, y + d * i, want, 1e-5, 2e-5 * (1 + by * 1e-2));
                }
                float alone[200];
                s->rms_norm(x, d + 1, w, variant == 2, 1e-5f, M, d, y, d, NULL);
                s->rms_norm(x + d + 1, d + 1, w, variant == 2, 1e-5f, 1, d, alone, d, NULL);
                assert_bits(alone, y + d, d, "%s rms_norm alone\n", s->name);
                hone_free(x);
                hone_free(weight);
                hone_free(bias);
                hone_free(y);
            }
    }
}

static double exact(hone_act act, double x) {
    switch (act) {
    case HONE_ACT_SILU: return x / (1 + exp(-x));
    case HONE_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case HONE_ACT_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    case HONE_ACT_RELU: return x > 0 ? x : 0;
    case HONE_ACT_RELU2: return x > 0 ? x * x : 0;
    }
    return x;
}

static void test_activations(void **state) {
    (void)state;
    enum { N = 1003 };
    FOR_EACH_SET(s) {
        for (int act = HONE_ACT_SILU; act <= HONE_ACT_RELU2; act++) {
            float *gate = random_floats(N), *up = random_floats(N), *out = hone_zalloc(N, 4);
            double *want = hone_zalloc(N, sizeof(*want));
            for (int i = 0; i < N; i++) gate[i] *= i % 3 ? 4.0f : 60.0f;
            gate[0] = 0.0f, gate[1] = -200.0f, gate[2] = 200.0f;
            for (int i = 0; i < N; i++) want[i] = exact((hone_act)act, (double)gate[i]) * (double)up[i];
            s->gated((hone_act)act, gate, up, N, out);
            near(s->name, "gated", N, out, want, 4e-6, 1e-6);
            for (int i = 0; i < N; i++) want[i] = exact((hone_act)act, (double)gate[i]);
            for (size_t n = 1; n < 40; n++) {
                memset(out, 0, N * 4);
                s->gated((hone_act)act, gate, NULL, n, out);
                near(s->name, "activation", n, out, want, 4e-6, 1e-6);
                assert_true(out[n] == 0.0f);
            }
            hone_free(gate);
            hone_free(up);
            hone_free(out);
            hone_free(want);
        }
    }
}

static void test_exponentials(void **state) {
    (void)state;
    enum { N = 3001 };
    FOR_EACH_SET(s) {
        float *x = random_floats(N), *y = hone_zalloc(N, 4);
        double *want = hone_zalloc(N, sizeof(*want));
        for (int i = 0; i < N; i++) x[i] *= i % 2 ? 88.0f : 2.0f;
        for (int i = 0; i < N; i++) want[i] = exp((double)(x[i] - 0.25f));
        s->exp_shift(x, 0.25f, N, y);
        near(s->name, "exp", N, y, want, 3e-7, 1e-44);
        for (size_t n = 1; n <= N; n += n < 70 ? 1 : 977) {
            double sum = 0;
            for (size_t i = 0; i < n; i++) sum += exp((double)x[i]);
            const double log_sum = log(sum);
            const float got = s->log_sum_exp(x, n);
            near(s->name, "log_sum_exp", 1, &got, &log_sum, 1e-6, 1e-6);
        }
        float edge[17] = {-INFINITY, -104.5f, 90.0f, INFINITY, NAN, -0.0f, 88.7f, -87.5f, -100.0f};
        s->exp_shift(edge, 0.0f, 17, edge);
        assert_true(edge[0] == 0.0f && edge[1] == 0.0f && isinf(edge[2]) && isinf(edge[3]) && isnan(edge[4]));
        assert_true(edge[5] == 1.0f && isfinite(edge[6]) && edge[7] > 0.0f && edge[8] > 0.0f && edge[16] == 1.0f);
        float none[2] = {-INFINITY, -INFINITY};
        assert_true(s->log_sum_exp(none, 2) == -INFINITY);
        for (int i = 0; i < N; i++) want[i] = 30.0 * tanh((double)x[i] / 30.0);
        memcpy(y, x, N * 4);
        s->softcap(y, 30.0f, N);
        near(s->name, "softcap", N, y, want, 1e-6, 0);
        hone_free(x);
        hone_free(y);
        hone_free(want);
    }
}

static void test_sums(void **state) {
    (void)state;
    FOR_EACH_SET(s) {
        for (size_t n = 0; n < 300; n += n < 70 ? 1 : 37) {
            float *a = random_floats(n + 1), *b = random_floats(n + 1), *c = hone_zalloc(n + 1, 4);
            double dot = 0, size = 0, want[300];
            for (size_t i = 0; i < n; i++) {
                dot += (double)a[i] * (double)b[i];
                size += fabs((double)a[i] * (double)b[i]);
            }
            const float got = s->dot(a, b, n);
            near(s->name, "dot", 1, &got, &dot, 0, 1e-6 * size);
            memcpy(c, a, (n + 1) * 4);
            s->add(c, b, n);
            for (size_t i = 0; i < n; i++) want[i] = (double)a[i] + (double)b[i];
            near(s->name, "add", n, c, want, 1e-7, 1e-7);
            assert_true(c[n] == a[n]);
            s->axpy(c, 0.5f, a, n);
            for (size_t i = 0; i < n; i++) want[i] = 1.5 * (double)a[i] + (double)b[i];
            near(s->name, "axpy", n, c, want, 1e-6, 1e-6);
            assert_true(c[n] == a[n]);
            hone_free(a);
            hone_free(b);
            hone_free(c);
        }
    }
}

static void test_rope(void **state) {
    (void)state;
    FOR_EACH_SET(s) {
        for (uint32_t rot = 2; rot <= 256; rot += rot < 80 ? 2 : 44)
            for (int half = 0; half < 2; half++) {
                float *x = random_floats(rot + 1), *y = hone_zalloc(rot + 1, 4), cos_[128], sin_[128];
                double want[256];
                for (uint32_t i = 0; i < rot / 2; i++) {
                    cos_[i] = cosf((float)i);
                    sin_[i] = sinf((float)i);
                    const uint32_t p = half ? i : 2 * i, q = half ? i + rot / 2 : 2 * i + 1;
                    want[p] = (double)x[p] * (double)cos_[i] - (double)x[q] * (double)sin_[i];
                    want[q] = (double)x[q] * (double)cos_[i] + (double)x[p] * (double)sin_[i];
                }
                memcpy(y, x, (rot + 1) * 4);
                s->rope(y, rot, half, cos_, sin_);
                near(s->name, "rope", rot, y, want, 0, 2e-7);
                assert_true(y[rot] == x[rot]);
                hone_free(x);
                hone_free(y);
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms), cmocka_unit_test(test_activations), cmocka_unit_test(test_exponentials),
        cmocka_unit_test(test_sums),  cmocka_unit_test(test_rope),
    };
    return cmocka_run_group_tests_name("kernel rows", tests, NULL, NULL);
}
