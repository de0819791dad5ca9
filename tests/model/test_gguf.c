/* test_gguf.c - a small valid file read back, and every field of it lied about. */
#include "test.h"

#include "base/mem.h"
#include "fixture.h"
#include "model/gguf.h"

/* Two tensors: "a" F32 {4, 2} at 0, "b" Q8_0 {32} at 32. */
typedef struct {
    uint32_t version, type_a, dims_a, bool_value;
    uint64_t n_tensor, n_key, shape_a0, shape_a1, offset_a, offset_b, string_bytes, alignment;
    const char *name_b, *key_2;
    size_t cut; /* bytes left out at the end */
} lie;

static lie honest(void) {
    return (lie){.version = 3,
                 .type_a = 0,
                 .dims_a = 2,
                 .bool_value = 1,
                 .n_tensor = 2,
                 .n_key = 7,
                 .shape_a0 = 4,
                 .shape_a1 = 2,
                 .offset_a = 0,
                 .offset_b = 32,
                 .string_bytes = 3,
                 .alignment = 32,
                 .name_b = "b",
                 .key_2 = "k.int"};
}

static void write_file(hone_buf *b, const lie *l) {
    fixture_gguf_head(b, l->version, l->n_tensor, l->n_key);
    fixture_gguf_text(b, "general.architecture", "test");
    fixture_gguf_u32(b, "general.alignment", (uint32_t)l->alignment);
    fixture_gguf_u32(b, l->key_2, 77);
    fixture_gguf_f32(b, "k.real", 0.5f);
    fixture_string(b, "k.bool"), fixture_u32(b, 7), hone_buf_char(b, (char)l->bool_value);
    fixture_string(b, "k.texts"), fixture_u32(b, 9), fixture_u32(b, 8), fixture_u64(b, 2);
    fixture_u64(b, l->string_bytes), hone_buf_text(b, "one"), fixture_string(b, "");
    fixture_string(b, "k.ints"), fixture_u32(b, 9), fixture_u32(b, 5), fixture_u64(b, 3);
    fixture_u32(b, 1), fixture_u32(b, (uint32_t)-2), fixture_u32(b, 3);
    const uint64_t shape_a[5] = {l->shape_a0, l->shape_a1, 1, 1, 1}, shape_b[1] = {32};
    fixture_gguf_tensor(b, "a", l->dims_a, shape_a, l->type_a, l->offset_a);
    fixture_gguf_tensor(b, l->name_b, 1, shape_b, 8, l->offset_b);
    fixture_pad(b, 32);
    for (uint32_t i = 0; i < 8; i++) fixture_f32(b, (float)i);
    for (uint32_t i = 0; i < 34; i++) hone_buf_char(b, (char)i);
    if (l->cut < b->n) b->n -= l->cut;
}

static hone_status open_lie(const lie *l, hone_error *err) {
    hone_buf b = {0};
    hone_gguf *g = NULL;
    write_file(&b, l);
    const hone_status s = hone_gguf_open(&g, b.data, b.n, "x.gguf", err);
    hone_gguf_close(g);
    hone_buf_free(&b);
    return s;
}

static void test_reads_what_was_written(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        hone_buf b = {0};
        lie l = honest();
        l.version = version;
        write_file(&b, &l);
        hone_gguf *g = NULL;
        hone_error err = {0};
        assert_int_equal(hone_gguf_open(&g, b.data, b.n, "x.gguf", &err), HONE_OK);
        assert_int_equal(hone_gguf_version(g), version);
        hone_gguf_text t;
        int64_t i = 0;
        double r = 0;
        bool flag = false;
        assert_int_equal(hone_gguf_get_text(g, "general.architecture", &t, &err), HONE_OK);
        assert_int_equal(t.n, 4);
        assert_memory_equal(t.text, "test", 4);
        assert_int_equal(hone_gguf_get_int(g, "k.int", 0, 100, &i, &err), HONE_OK);
        assert_int_equal(i, 77);
        assert_int_equal(hone_gguf_get_int(g, "k.int", 0, 76, &i, &err), HONE_ERR_FORMAT);
        assert_int_equal(hone_gguf_get_real(g, "k.real", &r, &err), HONE_OK);
        assert_true(r == 0.5);
        assert_int_equal(hone_gguf_get_bool(g, "k.bool", &flag, &err), HONE_OK);
        assert_true(flag);
        assert_int_equal(hone_gguf_get_bool(g, "k.real", &flag, &err), HONE_ERR_FORMAT);
        assert_non_null(strstr(err.message, "k.real"));
        assert_int_equal(hone_gguf_get_int(g, "k.none", 0, 1, &i, &err), HONE_ERR_NOT_FOUND);
        i = 5;
        assert_int_equal(hone_gguf_opt_int(g, "k.none", 0, 1, &i, &err), HONE_OK);
        assert_int_equal(i, 5);

        hone_gguf_array a;
        assert_int_equal(hone_gguf_get_array(g, "k.texts", HONE_GGUF_TEXTS, &a, &err), HONE_OK);
        assert_int_equal(a.n, 2);
        assert_true(hone_gguf_next_text(&a, &t) && t.n == 3 && memcmp(t.text, "one", 3) == 0);
        assert_true(hone_gguf_next_text(&a, &t) && t.n == 0);
        assert_false(hone_gguf_next_text(&a, &t));
        assert_int_equal(hone_gguf_get_array(g, "k.ints", HONE_GGUF_INTS, &a, &err), HONE_OK);
        int64_t sum = 0;
        while (hone_gguf_next_int(&a, &i)) sum = sum * 10 + i;
        assert_int_equal(sum, 100 - 20 + 3);
        assert_int_equal(hone_gguf_get_array(g, "k.ints", HONE_GGUF_TEXTS, &a, &err), HONE_ERR_FORMAT);

        assert_int_equal(hone_gguf_tensor_count(g), 2);
        const hone_gguf_tensor *x = hone_gguf_tensor_find(g, "a");
        assert_non_null(x);
        assert_int_equal(x->shape[0], 4);
        assert_int_equal(x->shape[1], 2);
        assert_int_equal(x->bytes, 32);
        assert_true(((const float *)x->data)[7] == 7.0f);
        x = hone_gguf_tensor_at(g, 1);
        assert_int_equal(x->dtype, HONE_Q8_0);
        assert_int_equal(x->bytes, 34);
        assert_int_equal(((const uint8_t *)x->data)[33], 33);
        assert_null(hone_gguf_tensor_find(g, "c"));
        assert_null(hone_gguf_tensor_at(g, 2));
        hone_gguf_close(g);
        hone_buf_free(&b);
    }
}

static void test_every_field_lied_about(void **state) {
    (void)state;
    struct {
        const char *what, *said;
        hone_status status;
        lie l;
    } table[32];
    size_t n = 0;
#define LIE(text, code, says, change)                                                                                  \
    do {                                                                                                               \
        lie l = honest();                                                                                              \
        change;                                                                                                        \
        table[n].what = text, table[n].said = says, table[n].status = code, table[n].l = l, n++;                       \
    } while (0)
    LIE("version 1", HONE_ERR_UNSUPPORTED, "version 1", l.version = 1);
    LIE("version 4", HONE_ERR_UNSUPPORTED, "version 4", l.version = 4);
    LIE("big-endian", HONE_ERR_UNSUPPORTED, "big-endian", l.version = 3u << 24);
    LIE("too many tensors", HONE_ERR_FORMAT, "promises", l.n_tensor = UINT64_MAX);
    LIE("one tensor more", HONE_ERR_FORMAT, "", l.n_tensor = 3);
    LIE("too many keys", HONE_ERR_FORMAT, "promises", l.n_key = UINT64_MAX / 2);
    LIE("a key less", HONE_ERR_FORMAT, "", l.n_key = 6);
    LIE("same key twice", HONE_ERR_FORMAT, "occurs twice", l.key_2 = "k.real");
    LIE("same tensor twice", HONE_ERR_FORMAT, "occurs twice", l.name_b = "a");
    LIE("empty tensor name", HONE_ERR_FORMAT, "tensor name", l.name_b = "");
    LIE("string over the end", HONE_ERR_FORMAT, "missing", l.string_bytes = UINT64_MAX);
    LIE("bool of 2", HONE_ERR_FORMAT, "bool", l.bool_value = 2);
    LIE("alignment 0", HONE_ERR_FORMAT, "alignment", l.alignment = 0);
    LIE("alignment 48", HONE_ERR_FORMAT, "alignment", l.alignment = 48);
    LIE("no dimension", HONE_ERR_FORMAT, "dimensions", l.dims_a = 0);
    LIE("five dimensions", HONE_ERR_FORMAT, "dimensions", l.dims_a = 5);
    LIE("dimension 0", HONE_ERR_FORMAT, "dimension 1 is 0", l.shape_a1 = 0);
    LIE("shape overflows", HONE_ERR_FORMAT, "overflow", (l.shape_a0 = 1ull << 40, l.shape_a1 = 1ull << 40));
    LIE("shape overflows once bytes count", HONE_ERR_FORMAT, "overflow", l.shape_a0 = 1ull << 62);
    LIE("larger than the file", HONE_ERR_FORMAT, "are missing", l.shape_a1 = 1000);
    LIE("unknown type", HONE_ERR_UNSUPPORTED, "unknown", l.type_a = 99);
    LIE("type that is not supported", HONE_ERR_UNSUPPORTED, "IQ2_XXS", l.type_a = 16);
    LIE("part of a block", HONE_ERR_FORMAT, "blocks", l.type_a = 8);
    LIE("offset out of the file", HONE_ERR_FORMAT, "are missing", l.offset_b = 1ull << 40);
    LIE("offset that overflows", HONE_ERR_FORMAT, "", l.offset_b = UINT64_MAX - 31);
    LIE("offset not aligned", HONE_ERR_FORMAT, "alignment", l.offset_b = 33);
    LIE("overlap", HONE_ERR_FORMAT, "overlap", l.offset_b = 0);
    LIE("ten bytes missing", HONE_ERR_FORMAT, "10 bytes are missing", l.cut = 10);
#undef LIE
    for (size_t i = 0; i < n; i++) {
        hone_error err = {0};
        const hone_status s = open_lie(&table[i].l, &err);
        if (s != table[i].status || !strstr(err.message, table[i].said) || !strstr(err.message, "x.gguf"))
            fail_msg("%s: status %d, \"%s\"", table[i].what, s, err.message);
    }
    hone_error err = {0};
    hone_gguf *g = NULL;
    assert_int_equal(hone_gguf_open(&g, "GGML0000", 8, "y", &err), HONE_ERR_FORMAT);
    assert_null(g);
}

static void test_every_truncation(void **state) {
    (void)state;
    hone_buf b = {0};
    const lie l = honest();
    write_file(&b, &l);
    for (size_t n = 0; n < b.n; n++) {
        uint8_t *exact = hone_zalloc(n, 1); /* of its own, so that a sanitizer sees a read past it */
        memcpy(exact, b.data, n);
        hone_gguf *g = NULL;
        hone_error err = {0};
        assert_int_equal(hone_gguf_open(&g, exact, n, "x", &err), HONE_ERR_FORMAT);
        assert_null(g);
        hone_free(exact);
    }
    hone_buf_free(&b);
}

static void test_flipped_bytes(void **state) {
    (void)state;
    hone_buf b = {0};
    const lie l = honest();
    write_file(&b, &l);
    for (size_t i = 0; i < b.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            b.data[i] = (char)(b.data[i] ^ 1 << bit);
            hone_gguf *g = NULL;
            if (hone_gguf_open(&g, b.data, b.n, "x", NULL) == HONE_OK)
                for (uint64_t t = 0; t < hone_gguf_tensor_count(g); t++) {
                    const hone_gguf_tensor *x = hone_gguf_tensor_at(g, t);
                    assert_true((const char *)x->data >= b.data && (const char *)x->data + x->bytes <= b.data + b.n);
                }
            hone_gguf_close(g);
            b.data[i] = (char)(b.data[i] ^ 1 << bit);
        }
    hone_buf_free(&b);
}

static void test_without_memory(void **state) {
    (void)state;
    hone_buf b = {0};
    const lie l = honest();
    write_file(&b, &l);
    const int64_t live = hone_mem_live;
    hone_status s = HONE_ERR_NOMEM;
    for (int64_t i = 0; s != HONE_OK; i++) {
        hone_gguf *g = NULL;
        hone_mem_fail_at = i;
        s = hone_gguf_open(&g, b.data, b.n, "x", NULL);
        hone_mem_fail_at = -1;
        hone_gguf_close(g);
        assert_true(s == HONE_OK || s == HONE_ERR_NOMEM);
        assert_int_equal(hone_mem_live, live);
    }
    hone_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_was_written), cmocka_unit_test(test_every_field_lied_about),
        cmocka_unit_test(test_every_truncation),       cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests_name("model/gguf", tests, NULL, NULL);
}
