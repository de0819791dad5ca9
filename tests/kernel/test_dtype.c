/* test_dtype.c - every stored format against a decoding of its own, written element by element from the layouts of
 * ggml-common.h, and the half formats over all their bits. */
#include "fixture.h"

static double half(const uint8_t *p) { /* by the definition of IEEE 754 binary16 */
    const unsigned h = p[0] | (unsigned)p[1] << 8, e = h >> 10 & 31, f = h & 1023;
    const double v = e ? ldexp(1024 + f, (int)e - 25) : ldexp(f, -24);
    return h >> 15 ? -v : v;
}

static unsigned bits_of(const uint8_t *p, unsigned at, unsigned n) { /* n bits from bit `at`, lowest first */
    unsigned v = 0;
    for (unsigned i = 0; i < n; i++) v |= (unsigned)(p[(at + i) / 8] >> (at + i) % 8 & 1) << i;
    return v;
}

static const int iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static double e2m1(unsigned v) { /* OCP Microscaling Formats 1.0, 5.3.3 */
    const unsigned e = v >> 1 & 3, m = v & 1;
    const double x = e ? ldexp(2 + m, (int)e - 2) : 0.5 * m;
    return v >> 3 ? -x : x;
}

static double e4m3(unsigned v) { /* OCP 8-bit floating point 1.0 */
    const unsigned e = v >> 3 & 15, m = v & 7;
    const double x = e ? ldexp(8 + m, (int)e - 10) : ldexp(m, -9);
    return v >> 7 ? -x : x;
}

/* Element i of one block. */
static double element(hone_dtype t, const uint8_t *p, unsigned i) {
    switch (t) {
    case HONE_Q4_0: return half(p) * ((int)bits_of(p + 2 + i % 16, i / 16 * 4, 4) - 8);
    case HONE_Q4_1: return half(p) * bits_of(p + 4 + i % 16, i / 16 * 4, 4) + half(p + 2);
    case HONE_Q5_0: return half(p) * ((int)(bits_of(p + 6 + i % 16, i / 16 * 4, 4) + 16 * bits_of(p + 2, i, 1)) - 16);
    case HONE_Q5_1: return half(p) * (bits_of(p + 8 + i % 16, i / 16 * 4, 4) + 16 * bits_of(p + 4, i, 1)) + half(p + 2);
    case HONE_Q8_0: return half(p) * (int8_t)p[2 + i];
    case HONE_Q4_K:
    case HONE_Q5_K: {
        const unsigned j = i / 32;
        const uint8_t *s = p + 4, *q = p + (t == HONE_Q4_K ? 16 : 48);
        const unsigned sc = j < 4 ? s[j] % 64u : s[j + 4] % 16u + 16u * (s[j - 4] / 64u);
        const unsigned mn = j < 4 ? s[j + 4] % 64u : s[j + 4] / 16u + 16u * (s[j] / 64u);
        unsigned v = bits_of(q + 32 * (i / 64) + i % 32, j % 2 * 4, 4);
        if (t == HONE_Q5_K) v += 16 * bits_of(p + 16 + i % 32, j, 1);
        return half(p) * sc * v - half(p + 2) * mn;
    }
    case HONE_Q6_K: {
        const unsigned n = i / 128, r = i % 128;
        const unsigned low = bits_of(p + 64 * n + r % 64, r / 64 * 4, 4);
        const unsigned high = bits_of(p + 128 + 32 * n + r % 32, r / 32 * 2, 2);
        return half(p + 208) * (int8_t)p[192 + i / 16] * ((int)(low + 16 * high) - 32);
    }
    case HONE_Q2_K: {
        const unsigned v = bits_of(p + 16 + 32 * (i / 128) + i % 32, i % 128 / 32 * 2, 2), s = p[i / 16];
        return half(p + 80) * (s % 16) * v - half(p + 82) * (s / 16);
    }
    case HONE_Q3_K: {
        const unsigned j = i / 16, low = bits_of(p + 32 + 32 * (i / 128) + i % 32, i % 128 / 32 * 2, 2);
        const unsigned s = bits_of(p + 96 + j % 8, j / 8 * 4, 4) + 16 * bits_of(p + 104 + j % 4, j / 4 * 2, 2);
        return half(p + 108) * ((int)s - 32) * ((int)(low + 4 * bits_of(p + i % 32, i / 32, 1)) - 4);
    }
    case HONE_IQ4_NL: return half(p) * iq4[bits_of(p + 2 + i % 16, i / 16 * 4, 4)];
    case HONE_IQ4_XS: {
        const unsigned j = i / 32, s = bits_of(p + 4, 4 * j, 4) + 16 * bits_of(p + 2, 2 * j, 2);
        return half(p) * ((int)s - 32) * iq4[bits_of(p + 8 + 16 * j + i % 16, i % 32 / 16 * 4, 4)];
    }
    case HONE_MXFP4: return ldexp(e2m1(bits_of(p + 1 + i % 16, i / 16 * 4, 4)), p[0] - 127);
    case HONE_FP4_16: {
        float scale;
        memcpy(&scale, p + 4 * (i / 16), 4);
        return 2 * scale * e2m1(bits_of(p + 8 + i % 16, i / 16 * 4, 4));
    }
    case HONE_NVFP4: return e4m3(p[i / 16]) * e2m1(bits_of(p + 4 + 8 * (i / 16) + i % 8, i % 16 / 8 * 4, 4));
    case HONE_F8_E4M3: return e4m3(p[0]);
    default: return 0;
    }
}

static void test_blocks(void **state) {
    (void)state;
    for (int t = HONE_Q4_0; t < HONE_STORED_COUNT; t++)
        for (int c = 0; c < 200; c++) {
            uint8_t row[3 * 256];
            float out[512];
            const uint32_t n = hone_dtype_block((hone_dtype)t), bytes = hone_dtype_block_bytes((hone_dtype)t);
            random_row((hone_dtype)t, 2 * n, row);
            hone_dtype_widen((hone_dtype)t, row, out, 2 * n);
            for (uint32_t i = 0; i < 2 * n; i++) {
                const double want = element((hone_dtype)t, row + i / n * bytes, i % n);
                if (out[i] != (float)want) /* one rounding at most: the double is exact */
                    fail_msg("%s element %u: %.9g for %.17g", hone_dtype_name((hone_dtype)t), i, (double)out[i], want);
            }
        }
}

static void test_half(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const uint8_t p[2] = {(uint8_t)h, (uint8_t)(h >> 8)};
        const float f = hone_f16_widen((uint16_t)h);
        if ((h & 0x7c00u) == 0x7c00u) {
            assert_true((h & 1023u) ? isnan(f) : isinf(f));
            assert_true(isnan(f) ? isnan(hone_f16_widen(hone_f16_round(f))) : hone_f16_round(f) == h);
            continue;
        }
        assert_true((double)f == half(p));
        assert_int_equal(hone_f16_round(f), h);
        if ((h & 0x7fffu) < 0x7bffu) { /* between two neighbours: nearest, ties to even */
            const float up = hone_f16_widen((uint16_t)(h + 1)), middle = (f + up) * 0.5f;
            assert_int_equal(hone_f16_round(middle), h & 1u ? h + 1 : h);
            assert_int_equal(hone_f16_round(nextafterf(middle, up)), h + 1);
            assert_int_equal(hone_f16_round(nextafterf(middle, f)), h);
        }
    }
    assert_int_equal(hone_f16_round(65519.0f), 0x7bff);
    assert_int_equal(hone_f16_round(65520.0f), 0x7c00);
    assert_int_equal(hone_f16_round(-1e30f), 0xfc00);
    assert_int_equal(hone_bf16_round(1.00390625f), 0x3f80); /* tie to even */
    assert_int_equal(hone_bf16_round(1.01171875f), 0x3f82);
    assert_true(isnan(hone_bf16_widen(hone_bf16_round(NAN))));
    assert_true(isinf(hone_bf16_widen(hone_bf16_round(INFINITY))));
}

static void test_sizes(void **state) {
    (void)state;
    size_t bytes = 0;
    assert_true(hone_dtype_row_bytes(HONE_Q4_K, 512, &bytes) && bytes == 288);
    assert_true(hone_dtype_row_bytes(HONE_Q8_0, 576, &bytes) && bytes == 612);
    assert_false(hone_dtype_row_bytes(HONE_Q4_K, 288, &bytes));
    assert_false(hone_dtype_row_bytes(HONE_Q4_1, 33, &bytes));
    assert_false(hone_dtype_row_bytes(HONE_F32, UINT64_MAX / 2, &bytes));
    assert_false(hone_dtype_row_bytes(HONE_STORED_COUNT, 32, &bytes));
    assert_string_equal(hone_dtype_name(HONE_Q6_K), "Q6_K");
    assert_string_equal(hone_dtype_name((hone_dtype)77), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks), cmocka_unit_test(test_half),
                                       cmocka_unit_test(test_sizes)};
    return cmocka_run_group_tests_name("kernel dtype", tests, NULL, NULL);
}
