/* test_tokenizer_decode.c - decoders, and that a text decoded token by token is the text decoded at once. */
#include <stdio.h>

#include "test.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/utf8.h"
#include "model/tokenizer/impl.h"

/* A tokenizer whose ids are the given tokens in order, with one decoder. */
static hone_tokenizer *open_tokens(const char *const *token, size_t n, const char *decoder, const char *added) {
    hone_buf b = {0};
    hone_error err = {0};
    hone_tokenizer *t;
    hone_buf_format(&b,
                    "{\"decoder\": %s, \"added_tokens\": [%s], \"model\": {\"type\": \"WordLevel\", \"unk_token\": "
                    "\"?\", \"vocab\": {",
                    decoder, added);
    for (size_t i = 0; i < n; i++) {
        if (i) hone_buf_text(&b, ", ");
        hone_buf_json_string(&b, token[i], strlen(token[i]));
        hone_buf_format(&b, ": %zu", i);
    }
    hone_buf_text(&b, "}}}");
    if (hone_tokenizer_open_json(&t, hone_buf_str(&b), b.n, NULL, 0, &err) != HONE_OK) print_error("%s\n", err.message);
    hone_buf_free(&b);
    return t;
}

/* Decode at once and token by token; both must agree, and every part must be whole characters. */
static void decode_both(const hone_tokenizer *t, const int32_t *id, size_t n, bool skip, hone_buf *out) {
    hone_detok *d;
    hone_buf parts = {0};
    assert_int_equal(hone_tokenizer_decode(t, id, n, skip, out, NULL), HONE_OK);
    assert_int_equal(hone_detok_open(&d, t, skip, NULL), HONE_OK);
    for (int again = 0; again < 2; again++) { /* finish leaves it ready for the next text */
        hone_buf_clear(&parts);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(hone_detok_feed(d, id[i], &parts), HONE_OK);
            assert_int_equal(hone_utf8_valid(hone_buf_str(&parts), parts.n), parts.n);
        }
        assert_int_equal(hone_detok_finish(d, &parts), HONE_OK);
        assert_int_equal(parts.n, out->n);
        if (out->n) assert_memory_equal(parts.data, out->data, out->n);
    }
    hone_detok_close(d);
    hone_buf_free(&parts);
}

#define SP_DECODER                                                                                                      \
    "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": \"▁\"}, \"content\": " \
    "\" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", "            \
    "\"start\": 1, \"stop\": 0}]}"

static void test_decoders(void **state) {
    (void)state;
    static const struct {
        const char *decoder;
        const char *token[8];
        const char *want;
    } cases[] = {
        {"{\"type\": \"ByteLevel\"}", {"Ġhello", "Ċ", "Ã", "©"}, " hello\n\u00e9"},
        {"{\"type\": \"ByteLevel\"}",
         {"Ã", "a", "ð", "Ł"},
         "\ufffda\ufffd"}, /* a broken character; a cut one: one replacement */
        {"{\"type\": \"ByteLevel\"}", {"<｜x｜>", "a"}, "<｜x｜>a"}, /* not written in byte characters: as it is */
        {SP_DECODER, {"▁▁a", "▁b", "<0xC3>", "<0xA9>", "c"}, " a b\u00e9c"},
        {SP_DECODER, {"<0xC3>", "x", "<0xE2>", "<0x41>"}, "\ufffdx\ufffd\ufffd"}, /* one bad byte spoils its run */
        {SP_DECODER, {"▁"}, ""},
        {SP_DECODER, {"a", "<0x20>"}, "a "},
        {"{\"type\": \"Metaspace\", \"replacement\": \"▁\", \"prepend_scheme\": \"always\"}", {"▁a▁", "▁b"}, "a b"},
        {"{\"type\": \"Metaspace\", \"replacement\": \"▁\", \"prepend_scheme\": \"never\"}", {"▁a", "▁b"}, " a b"},
        {"{\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true}",
         {"do", "n", "##ice", ",", "it", "'s"},
         "do nice, it's"},
        {"{\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": false}", {"##a", "##b", "."}, "##ab ."},
        {"{\"type\": \"BPEDecoder\", \"suffix\": \"</w>\"}", {"a", "b</w>", "c</w>"}, "ab c"},
        {"{\"type\": \"Strip\", \"content\": \"x\", \"start\": 2, \"stop\": 1}", {"xxxax", "b"}, "xab"},
        {"{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \"x\", "
         "\"start\": 0, \"stop\": 2}]}",
         {"axx", "x", "bx", "xX", "x", "xx"},
         "axxxbxxXx"},
        {"{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, {\"type\": \"Replace\", \"pattern\": "
         "{\"Regex\": \"b+\"}, \"content\": \"-\"}]}",
         {"ab", "b", "c"},
         "a-c"},
        {"null", {"a", "b"}, "a b"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *token[8];
        size_t n = 0, n_token = 0;
        int32_t id[8];
        for (; n < 8 && cases[i].token[n]; n++) { /* one that stands twice is one token */
            size_t k = 0;
            while (k < n_token && strcmp(token[k], cases[i].token[n]) != 0) k++;
            if (k == n_token) token[n_token++] = cases[i].token[n];
            id[n] = (int32_t)k;
        }
        hone_tokenizer *t = open_tokens(token, n_token, cases[i].decoder, "");
        hone_buf out = {0};
        assert_non_null(t);
        decode_both(t, id, n, false, &out);
        if (strcmp(hone_buf_str(&out), cases[i].want) != 0) print_error("case %zu\n", i);
        assert_string_equal(hone_buf_str(&out), cases[i].want);
        hone_buf_free(&out);
        hone_tokenizer_close(t);
    }
}

static void test_special_tokens_and_unknown_ids(void **state) {
    (void)state;
    const char *const token[] = {"Ġa", "b"};
    hone_tokenizer *t =
        open_tokens(token, 2, "{\"type\": \"ByteLevel\"}",
                    "{\"content\": \"<s>\", \"special\": true}, {\"content\": \"<t>\", \"special\": false}");
    const int32_t id[] = {2, 0, -1, 3, 99, 2, 1};
    hone_buf out = {0};
    assert_non_null(t);
    decode_both(t, id, 7, false, &out);
    assert_string_equal(hone_buf_str(&out), "<s> a<t><s>b");
    hone_buf_clear(&out);
    decode_both(t, id, 7, true, &out);
    assert_string_equal(hone_buf_str(&out), " a<t>b");
    hone_buf_free(&out);
    hone_tokenizer_close(t);
}

/* Something that is no text follows: what waits leaves, and the text goes on as the same one. */
static void test_flush(void **state) {
    (void)state;
    static const struct {
        const char *decoder, *token[4], *want;
    } cases[] = {
        {"{\"type\": \"ByteLevel\"}", {"a", "ð", "Ġb", NULL}, "a\ufffd| b"},
        {SP_DECODER, {"▁a", "<0xC3>", "<0xA9>", "▁b"}, "a\u00e9| b"},
        {"{\"type\": \"Metaspace\", \"replacement\": \"▁\", \"prepend_scheme\": \"always\"}", {"▁a", "▁b"}, "a| b"},
        {"{\"type\": \"BPEDecoder\", \"suffix\": \"</w>\"}", {"a", "b</w>", "c</w>"}, "ab |c"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = 0;
        while (n < 4 && cases[i].token[n]) n++;
        hone_tokenizer *t = open_tokens(cases[i].token, n, cases[i].decoder, "");
        hone_detok *d;
        hone_buf out = {0};
        assert_int_equal(hone_detok_open(&d, t, true, NULL), HONE_OK);
        for (size_t k = 0; k < n; k++) {
            if (k + 1 == n) {
                assert_int_equal(hone_detok_flush(d, &out), HONE_OK);
                hone_buf_char(&out, '|');
            }
            assert_int_equal(hone_detok_feed(d, (int32_t)k, &out), HONE_OK);
        }
        assert_int_equal(hone_detok_finish(d, &out), HONE_OK);
        assert_string_equal(hone_buf_str(&out), cases[i].want);
        hone_buf_free(&out);
        hone_detok_close(d);
        hone_tokenizer_close(t);
    }
}

/* Half a character never leaves, and what can no longer change leaves at once. */
static void test_what_is_held_back(void **state) {
    (void)state;
    const char *const bytes[] = {"a", "ð", "Ł", "ĳ", "į"}; /* a and U+1F44D byte by byte */
    hone_tokenizer *t = open_tokens(bytes, 5, "{\"type\": \"ByteLevel\"}", "");
    hone_detok *d;
    hone_buf out = {0};
    assert_int_equal(hone_detok_open(&d, t, false, NULL), HONE_OK);
    const size_t want[] = {1, 1, 1, 1, 5};
    for (int32_t i = 0; i < 5; i++) {
        assert_int_equal(hone_detok_feed(d, i, &out), HONE_OK);
        assert_int_equal(out.n, want[i]);
    }
    assert_int_equal(hone_detok_finish(d, &out), HONE_OK);
    assert_string_equal(hone_buf_str(&out), "a\U0001f44d");
    hone_detok_close(d);
    hone_tokenizer_close(t);

    const char *const sp[] = {"▁a", "<0xC3>", "<0xA9>", "▁b"};
    t = open_tokens(sp, 4, SP_DECODER, "");
    hone_buf_clear(&out);
    assert_int_equal(hone_detok_open(&d, t, false, NULL), HONE_OK);
    const size_t then[] = {1, 1, 1, 5};
    for (int32_t i = 0; i < 4; i++) {
        assert_int_equal(hone_detok_feed(d, i, &out), HONE_OK);
        assert_int_equal(out.n, then[i]);
    }
    hone_detok_close(d);
    hone_tokenizer_close(t);
    hone_buf_free(&out);
}

static void test_any_ids_stream_as_they_decode(void **state) {
    (void)state;
    static const char *const token[] = {"▁",   "▁▁a", "b", "<0xE2>", "<0x82>", "<0xAC>", "<0xF0>", "</w>",
                                        "##x", ".",   "x", "Ã",      "©",      "é",      " "};
    static const char *const decoder[] = {
        SP_DECODER,
        "{\"type\": \"ByteLevel\"}",
        "{\"type\": \"Metaspace\", \"replacement\": \"▁\", \"prepend_scheme\": \"first\"}",
        "{\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true}",
        "{\"type\": \"BPEDecoder\", \"suffix\": \"</w>\"}",
        "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": "
        "\"Strip\", \"content\": \"▁\", \"start\": 2, \"stop\": 2}]}",
        "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteLevel\"}, {\"type\": \"Replace\", \"pattern\": "
        "{\"String\": \"x.\"}, \"content\": \"!\"}, {\"type\": \"Strip\", \"content\": \"x\", \"start\": 1, \"stop\": "
        "1}]}",
        "null"};
    for (size_t k = 0; k < sizeof(decoder) / sizeof(decoder[0]); k++) {
        hone_tokenizer *t = open_tokens(token, 15, decoder[k], "");
        assert_non_null(t);
        for (uint32_t round = 0; round < 200; round++) {
            int32_t id[12];
            uint32_t r[4];
            hone_buf out = {0};
            for (uint32_t i = 0; i < 12; i++) {
                hone_random_block(3, round, i, k, r);
                id[i] = (int32_t)(r[0] % 15);
            }
            decode_both(t, id, round % 13, false, &out);
            hone_buf_free(&out);
        }
        hone_tokenizer_close(t);
    }
}

static void test_bytes_of_one_token(void **state) {
    (void)state;
    hone_buf out = {0};
    const char *const bytes[] = {"Ġthe", "Ã"};
    hone_tokenizer *t = open_tokens(bytes, 2, "{\"type\": \"ByteLevel\"}", "");
    assert_int_equal(hone_tokenizer_bytes(t, 0, &out), HONE_OK);
    assert_int_equal(hone_tokenizer_bytes(t, 1, &out), HONE_OK);
    assert_string_equal(hone_buf_str(&out), " the\xc3");
    assert_int_equal(hone_tokenizer_bytes(t, 2, &out), HONE_ERR_NOT_FOUND);
    hone_tokenizer_close(t);
    hone_buf_clear(&out);
    const char *const sp[] = {"▁the", "<0xE2>"};
    t = open_tokens(sp, 2, SP_DECODER, "");
    assert_int_equal(hone_tokenizer_bytes(t, 0, &out), HONE_OK);
    assert_int_equal(hone_tokenizer_bytes(t, 1, &out), HONE_OK);
    assert_string_equal(hone_buf_str(&out), " the\xe2");
    hone_tokenizer_close(t);
    hone_buf_free(&out);
}

/* Feeding allocates nothing once the buffers have grown. */
static void test_feeding_settles(void **state) {
    (void)state;
    const char *const sp[] = {"▁the", "<0xC3>", "<0xA9>", "x"};
    hone_tokenizer *t = open_tokens(sp, 4, SP_DECODER, "");
    hone_detok *d;
    hone_buf out = {0};
    assert_int_equal(hone_detok_open(&d, t, false, NULL), HONE_OK);
    assert_true(hone_buf_reserve(&out, 10000));
    for (int i = 0; i < 20; i++) assert_int_equal(hone_detok_feed(d, i % 4, &out), HONE_OK);
    const int64_t before = hone_mem_count;
    for (int i = 0; i < 400; i++) assert_int_equal(hone_detok_feed(d, i % 4, &out), HONE_OK);
    assert_int_equal(hone_mem_count, before);
    hone_detok_close(d);
    hone_tokenizer_close(t);
    hone_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoders),
        cmocka_unit_test(test_special_tokens_and_unknown_ids),
        cmocka_unit_test(test_flush),
        cmocka_unit_test(test_what_is_held_back),
        cmocka_unit_test(test_any_ids_stream_as_they_decode),
        cmocka_unit_test(test_bytes_of_one_token),
        cmocka_unit_test(test_feeding_settles),
    };
    hone_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
