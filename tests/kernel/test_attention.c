/* test_attention.c - paged attention of every set against sums in double, and its rows as bits: alone or among others,
 * prompt whole or in chunks, heads together or apart, with stale pages. */
#include "fixture.h"

typedef struct {
    uint32_t n_head, n_kv_head, head_dim, len, window;
    float softcap;
    hone_kv_type type;
} shape;

static const shape shapes[] = {
    {1, 1, 12, 1, 0, 0, HONE_KV_BF16},      {4, 2, 16, 40, 0, 0, HONE_KV_BF16},
    {9, 3, 64, 100, 0, 0, HONE_KV_BF16},    {8, 1, 24, 70, 33, 30.0f, HONE_KV_BF16},
    {2, 2, 128, 65, 5, 0, HONE_KV_BF16},    {4, 2, 256, 33, 0, 50.0f, HONE_KV_BF16},
    {3, 3, 32, 97, 1, 0, HONE_KV_BF16},     {1, 1, 12, 5, 0, 0, HONE_KV_F32},
    {4, 2, 16, 40, 0, 0, HONE_KV_F32},      {9, 3, 64, 100, 0, 0, HONE_KV_F32},
    {8, 1, 24, 70, 33, 30.0f, HONE_KV_F32}, {2, 2, 128, 65, 64, 0, HONE_KV_F32},
    {4, 2, 256, 33, 0, 0, HONE_KV_F32},     {2, 1, 7, 64, 0, 0, HONE_KV_BF16},
    {6, 1, 80, 64, 31, 0, HONE_KV_BF16},    {9, 3, 64, 128, 0, 0, HONE_KV_BF16},
    {4, 1, 32, 120, 40, 0, HONE_KV_F32},    {1, 1, 12, 5, 0, 0, HONE_KV_INT8},
    {9, 3, 64, 100, 0, 0, HONE_KV_INT8},    {8, 1, 24, 70, 33, 30.0f, HONE_KV_INT8},
    {2, 1, 7, 64, 0, 0, HONE_KV_INT8},      {4, 2, 256, 33, 5, 50.0f, HONE_KV_INT8},
};

/* One sequence of len positions in pages that held rubbish before. */
typedef struct {
    float *q, *k, *v; /* [len, H or G, E] */
    uint8_t **pages;
    uint32_t n_page;
} sequence;

static sequence sequence_make(const hone_kernels *s, const shape *a, uint8_t rubbish) {
    sequence x = {random_floats((size_t)a->len * a->n_head * a->head_dim),
                  random_floats((size_t)a->len * a->n_kv_head * a->head_dim),
                  random_floats((size_t)a->len * a->n_kv_head * a->head_dim), NULL,
                  (a->len + HONE_KV_PAGE - 1) / HONE_KV_PAGE};
    const size_t bytes = s->kv_page_bytes(a->type, a->n_kv_head, a->head_dim), row = (size_t)a->n_kv_head * a->head_dim;
    x.pages = hone_zalloc(x.n_page, sizeof(*x.pages));
    for (uint32_t p = 0; p < x.n_page; p++) {
        x.pages[p] = hone_alloc_aligned(1, bytes);
        memset(x.pages[p], rubbish, bytes);
    }
    for (uint32_t i = 0; i < a->len; i++)
        s->kv_store(a->type, a->n_kv_head, a->head_dim, x.pages[i / HONE_KV_PAGE], i % HONE_KV_PAGE, x.k + row * i,
                    x.v + row * i);
    return x;
}
static void sequence_free(sequence *x) {
    for (uint32_t p = 0; p < x->n_page; p++) hone_free(x->pages[p]);
    hone_free(x->pages);
    hone_free(x->q);
    hone_free(x->k);
    hone_free(x->v);
}

/* Rows first .. first + m - 1 of the sequence; out [m, H, E], lse [m, H]. */
static void attend(const hone_kernels *s, const shape *a, const sequence *x, uint32_t first, uint32_t m, float *out,
                   float *lse, bool apart) {
    uint32_t pos[128];
    const uint8_t *const *tables[128];
    for (uint32_t i = 0; i < m; i++) {
        pos[i] = first + i;
        tables[i] = (const uint8_t *const *)x->pages;
    }
    const size_t ld = (size_t)a->n_head * a->head_dim;
    const hone_attention call = {.q = x->q + ld * first,
                                 .ldq = ld,
                                 .out = out,
                                 .ldo = ld,
                                 .m = m,
                                 .n_head = a->n_head,
                                 .n_kv_head = a->n_kv_head,
                                 .head_dim = a->head_dim,
                                 .pos = pos,
                                 .pages = tables,
                                 .kv_type = a->type,
                                 .window = a->window,
                                 .scale = 1.7f / sqrtf((float)a->head_dim),
                                 .softcap = a->softcap,
                                 .lse = lse};
    void *scratch = hone_alloc_aligned(1, s->attention_scratch_bytes(&call));
    if (apart)
        for (uint32_t g = 0; g < a->n_kv_head; g++)
            for (uint32_t i = 0; i < m; i++) s->attention(&call, i, i + 1, g, g + 1, scratch);
    else
        s->attention(&call, 0, m, 0, a->n_kv_head, scratch);
    hone_free(scratch);
}

/* What a page keeps of x[E], and of the query as it is multiplied. */
static void stored(const shape *a, const float *x, bool query, double *out) {
    float largest = 0;
    for (uint32_t e = 0; e < a->head_dim; e++) largest = fmaxf(largest, fabsf(x[e]));
    for (uint32_t e = 0; e < a->head_dim; e++)
        if (a->type == HONE_KV_F32)
            out[e] = (double)x[e];
        else if (a->type == HONE_KV_BF16 || query)
            out[e] = (double)hone_bf16_widen(hone_bf16_round(x[e]));
        else
            out[e] = (double)(largest / 127.0f) * (double)lrintf(x[e] * (127.0f / largest));
}

static void test_against_double(void **state) {
    (void)state;
    FOR_EACH_SET(s) {
        for (size_t c = 0; c < sizeof(shapes) / sizeof(*shapes); c++) {
            const shape *a = &shapes[c];
            sequence x = sequence_make(s, a, 0xff);
            const size_t ld = (size_t)a->n_head * a->head_dim;
            float *out = hone_zalloc(a->len * ld, 4), *lse = hone_zalloc((size_t)a->len * a->n_head, 4);
            attend(s, a, &x, 0, a->len, out, lse, false);
            const double scale = (double)(1.7f / sqrtf((float)a->head_dim));
            for (uint32_t i = 0; i < a->len; i++)
                for (uint32_t h = 0; h < a->n_head; h++) {
                    const uint32_t from = a->window && i + 1 > a->window ? i + 1 - a->window : 0;
                    const size_t g = h / (a->n_head / a->n_kv_head), kv = (size_t)a->n_kv_head * a->head_dim;
                    double sum = 0, want[256] = {0}, size[256] = {0};
                    for (uint32_t j = from; j <= i; j++) {
                        double dot = 0, q[256], k[256], value[256];
                        stored(a, x.q + ld * i + h * a->head_dim, true, q);
                        stored(a, x.k + kv * j + g * a->head_dim, false, k);
                        stored(a, x.v + kv * j + g * a->head_dim, false, value);
                        for (size_t e = 0; e < a->head_dim; e++) dot += q[e] * k[e];
                        dot *= scale;
                        if (a->softcap > 0) dot = (double)a->softcap * tanh(dot / (double)a->softcap);
                        sum += exp(dot);
                        for (size_t e = 0; e < a->head_dim; e++) {
                            want[e] += exp(dot) * value[e];
                            size[e] += exp(dot) * fabs(value[e]);
                        }
                    }
                    const double tolerance = a->type == HONE_KV_F32 ? 4e-6 : 0x1p-7;
                    for (size_t e = 0; e < a->head_dim; e++) {
                        const double got = (double)out[ld * i + h * a->head_dim + e];
                        if (!(fabs(got - want[e] / sum) <= tolerance * size[e] / sum + 1e-7))
                            fail_msg("%s case %zu row %u head %u element %zu: %g for %g", s->name, c, i, h, e, got,
                                     want[e] / sum);
                    }
                    if (!(fabs((double)lse[(size_t)i * a->n_head + h] - log(sum)) <= 1e-5))
                        fail_msg("%s case %zu row %u head %u: lse %g for %g", s->name, c, i, h,
                                 (double)lse[(size_t)i * a->n_head + h], log(sum));
                }
            hone_free(out);
            hone_free(lse);
            sequence_free(&x);
        }
    }
}

static void test_bits(void **state) {
    (void)state;
    FOR_EACH_SET(s) {
        for (size_t c = 0; c < sizeof(shapes) / sizeof(*shapes); c++) {
            const shape *a = &shapes[c];
            const uint64_t seed = fixture_state;
            sequence x = sequence_make(s, a, 0xff);
            const size_t ld = (size_t)a->n_head * a->head_dim;
            float *whole = hone_zalloc(a->len * ld, 4), *part = hone_zalloc(a->len * ld, 4);
            attend(s, a, &x, 0, a->len, whole, NULL, false);
            for (uint32_t chunk = 1; chunk < a->len; chunk += 6) {
                for (uint32_t i = 0; i < a->len; i += chunk)
                    attend(s, a, &x, i, a->len - i < chunk ? a->len - i : chunk, part + ld * i, NULL, false);
                assert_bits(part, whole, a->len * ld, "%s case %zu in chunks of %u\n", s->name, c, chunk);
            }
            attend(s, a, &x, 0, a->len, part, NULL, true);
            assert_bits(part, whole, a->len * ld, "%s case %zu rows and heads apart\n", s->name, c);
            /* Keys stored one by one as decoding does, every row attended before the next is stored; other rubbish. */
            fixture_state = seed;
            sequence y = sequence_make(s, a, 0x7f);
            const size_t row = (size_t)a->n_kv_head * a->head_dim;
            for (uint32_t i = 0; i < a->len; i++) {
                s->kv_store(a->type, a->n_kv_head, a->head_dim, y.pages[i / HONE_KV_PAGE], i % HONE_KV_PAGE,
                            y.k + row * i, y.v + row * i);
                attend(s, a, &y, i, 1, part + ld * i, NULL, false);
            }
            assert_bits(part, whole, a->len * ld, "%s case %zu decoded\n", s->name, c);
            hone_free(whole);
            hone_free(part);
            sequence_free(&x);
            sequence_free(&y);
        }
    }
}

/* Rows of two sequences in one call, interleaved. */
static void test_sequences_mixed(void **state) {
    (void)state;
    const shape a = {6, 2, 64, 50, 0, 0, HONE_KV_BF16};
    FOR_EACH_SET(s) {
        sequence x = sequence_make(s, &a, 0), y = sequence_make(s, &a, 0);
        const size_t ld = (size_t)a.n_head * a.head_dim;
        float *alone[2] = {hone_zalloc(a.len * ld, 4), hone_zalloc(a.len * ld, 4)};
        attend(s, &a, &x, 0, a.len, alone[0], NULL, false);
        attend(s, &a, &y, 0, a.len, alone[1], NULL, false);
        uint32_t pos[30];
        const uint8_t *const *tables[30];
        float *q = hone_zalloc(30 * ld, 4), *out = hone_zalloc(30 * ld, 4);
        for (uint32_t i = 0; i < 30; i++) {
            const sequence *from = i % 2 || i > 20 ? &y : &x;
            pos[i] = 49 - i;
            tables[i] = (const uint8_t *const *)from->pages;
            memcpy(q + ld * i, from->q + ld * pos[i], ld * 4);
        }
        const hone_attention call = {.q = q,
                                     .ldq = ld,
                                     .out = out,
                                     .ldo = ld,
                                     .m = 30,
                                     .n_head = a.n_head,
                                     .n_kv_head = a.n_kv_head,
                                     .head_dim = a.head_dim,
                                     .pos = pos,
                                     .pages = tables,
                                     .kv_type = a.type,
                                     .scale = 1.7f / sqrtf((float)a.head_dim)};
        void *scratch = hone_alloc_aligned(1, s->attention_scratch_bytes(&call));
        s->attention(&call, 0, 30, 0, a.n_kv_head, scratch);
        for (uint32_t i = 0; i < 30; i++)
            assert_bits(out + ld * i, alone[i % 2 || i > 20] + ld * pos[i], ld, "%s row %u\n", s->name, i);
        hone_free(scratch);
        hone_free(q);
        hone_free(out);
        hone_free(alone[0]);
        hone_free(alone[1]);
        sequence_free(&x);
        sequence_free(&y);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_sequences_mixed),
    };
    return cmocka_run_group_tests_name("kernel attention", tests, NULL, NULL);
}
