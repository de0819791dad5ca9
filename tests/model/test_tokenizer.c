/* test_tokenizer.c - tokenizers made here: models, splits, added tokens, templates, errors, threads, memory.
 * Ids of real tokenizers are in test_tokenizer_oracle.c, decoders in test_tokenizer_decode.c. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "test.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/utf8.h"
#include "model/tokenizer/impl.h"

/* A byte-level BPE with the 256 bytes as ids 0 .. 255 and the given merges as ids 256 on; more is pasted in as it is.
 */
static char *byte_bpe(const char *const *merge, size_t n_merge, const char *options, const char *more) {
    hone_buf b = {0};
    char utf8[4];
    hone_buf_format(&b, "{%s \"model\": {\"type\": \"BPE\", %s \"vocab\": {", more, options);
    for (unsigned i = 0; i < 256; i++) {
        hone_buf_json_string(&b, utf8, hone_utf8_encode(model_byte_char((uint8_t)i), utf8));
        hone_buf_format(&b, ": %u, ", i);
    }
    for (size_t i = 0; i < n_merge; i++) {
        char joined[64];
        const char *space = strchr(merge[i], ' ');
        snprintf(joined, sizeof(joined), "%.*s%s", (int)(space - merge[i]), merge[i], space + 1);
        hone_buf_json_string(&b, joined, strlen(joined));
        hone_buf_format(&b, ": %zu, ", 256 + i);
    }
    b.n -= 2;
    hone_buf_text(&b, "}, \"merges\": [");
    for (size_t i = 0; i < n_merge; i++) hone_buf_format(&b, "%s\"%s\"", i ? ", " : "", merge[i]);
    hone_buf_text(&b, "]}}");
    return hone_buf_take(&b, NULL);
}

#define BYTE_LEVEL(regex)                                                                                              \
    "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": " regex "}, "            \
    "\"decoder\": {\"type\": \"ByteLevel\"},"

static hone_tokenizer *open_text(const char *json, const char *config) {
    hone_tokenizer *t;
    hone_error err = {0};
    if (hone_tokenizer_open_json(&t, json, strlen(json), config, config ? strlen(config) : 0, &err) != HONE_OK) {
        print_error("%s\n", err.message);
        return NULL;
    }
    return t;
}

static hone_tokenizer *open_free(char *json, const char *config) {
    hone_tokenizer *t = open_text(json, config);
    hone_free(json);
    return t;
}

/* "1 2 3" for the ids of text. */
static const char *ids_of(const hone_tokenizer *t, const char *text, size_t n, unsigned flags) {
    static char out[4096];
    hone_ids ids = {0};
    hone_error err = {0};
    size_t at = 0;
    out[0] = 0;
    if (hone_tokenizer_encode(t, text, n, flags, &ids, &err) != HONE_OK) return strcpy(out, err.message);
    for (size_t i = 0; i < ids.n && at < sizeof(out) - 16; i++)
        at += (size_t)snprintf(out + at, sizeof(out) - at, i ? " %d" : "%d", (int)ids.id[i]);
    hone_ids_free(&ids);
    return out;
}

#define IDS(t, text, flags) ids_of(t, text, strlen(text), flags)

/* ---- BPE ---- */

static void test_merges_by_rank_leftmost_first(void **state) {
    (void)state;
    const char *const merge[] = {"l l", "h e", "ll o", "Ġ w", "he llo", "a a"};
    hone_tokenizer *t = open_free(byte_bpe(merge, 6, "", BYTE_LEVEL("true")), NULL);
    assert_non_null(t);
    for (int again = 0; again < 2; again++) { /* the second time from the cache */
        assert_string_equal(IDS(t, "hello", 0), "260");
        assert_string_equal(IDS(t, "hello world", 0), "260 259 111 114 108 100");
        assert_string_equal(IDS(t, "lll", 0), "256 108");
        assert_string_equal(IDS(t, "aaaaa", 0), "261 261 97");
        assert_string_equal(IDS(t, "", 0), "");
        assert_string_equal(ids_of(t, "\0h\0", 3, 0), "0 104 0");
    }
    assert_int_equal(hone_tokenizer_size(t), 262);
    hone_tokenizer_close(t);
}

static void test_ignore_merges_takes_whole_words(void **state) {
    (void)state;
    const char *const merge[] = {"a b", "ab c", "b c", "x é"};
    char *json = byte_bpe(merge, 4, "\"ignore_merges\": true,", BYTE_LEVEL("true"));
    char *at = strstr(json, "\"b c\""); /* the pair that makes "bc" goes: the word is reached by its text alone */
    assert_non_null(at);
    memcpy(at, "\"a b\"", 5);
    hone_tokenizer *t = open_free(json, NULL);
    assert_non_null(t);
    assert_string_equal(IDS(t, "bc", 0), "258");
    assert_string_equal(IDS(t, "abc bcd", 0), "257 32 98 99 100");
    hone_tokenizer_close(t);
}

/* The definition, without any cleverness: the best pair, leftmost, until there is none. */
static size_t plain_bpe(const hone_tokenizer *t, int32_t *id, size_t n) {
    const model_bpe *m = &t->bpe;
    for (;;) {
        size_t best = SIZE_MAX;
        uint32_t best_rank = UINT32_MAX;
        int32_t into = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (uint64_t k = 0; k <= m->merge_mask; k++)
                if (m->merge[k].pair == ((uint64_t)(uint32_t)id[i] << 32 | (uint32_t)id[i + 1]) &&
                    m->merge[k].rank < best_rank) {
                    best = i;
                    best_rank = m->merge[k].rank;
                    into = m->merge[k].id;
                }
        if (best == SIZE_MAX) return n;
        id[best] = into;
        memmove(id + best + 1, id + best + 2, (n - best - 2) * sizeof(*id));
        n--;
    }
}

static void test_scan_and_heap_give_the_definition(void **state) {
    (void)state;
    const char *const merge[] = {"a a",  "a b",   "b a",       "aa aa", "ab a", "b b",
                                 "aa b", "ba ba", "aaaa aaaa", "bb bb", "c a"};
    hone_tokenizer *t = open_free(byte_bpe(merge, 11, "", BYTE_LEVEL("false")), NULL);
    assert_non_null(t);
    for (uint32_t round = 0; round < 300; round++) {
        char text[200];
        int32_t want[200];
        uint32_t r[4];
        hone_random_block(7, round, 0, 0, r);
        const size_t n = 1 + r[0] % sizeof(text);
        for (size_t i = 0; i < n; i++) {
            hone_random_block(7, round, 1, i, r);
            text[i] = "aaabbc"[r[0] % (round % 2 ? 6 : 4)];
            want[i] = text[i];
        }
        const size_t n_want = plain_bpe(t, want, n);
        hone_ids ids = {0};
        assert_int_equal(hone_tokenizer_encode(t, text, n, 0, &ids, NULL), HONE_OK);
        assert_int_equal(ids.n, n_want);
        assert_memory_equal(ids.id, want, n_want * sizeof(*want));
        hone_ids_free(&ids);
    }
    hone_tokenizer_close(t);
}

/* A megabyte of one letter takes n log n steps; quadratic work would not end within the test's time. */
static void test_a_long_word_is_no_trap(void **state) {
    (void)state;
    const char *const merge[] = {"a a", "aa aa", "aaaa aaaa"};
    hone_tokenizer *t = open_free(byte_bpe(merge, 3, "", BYTE_LEVEL("true")), NULL);
    const size_t n = 1 << 20;
    char *text = hone_zalloc(n, 1);
    hone_ids ids = {0};
    memset(text, 'a', n);
    assert_int_equal(hone_tokenizer_encode(t, text, n, 0, &ids, NULL), HONE_OK);
    assert_int_equal(ids.n, n / 8);
    hone_ids_free(&ids);
    hone_free(text);
    hone_tokenizer_close(t);
}

#define SPM_MODEL                                                                                                      \
    "\"model\": {\"type\": \"BPE\", \"byte_fallback\": true, \"fuse_unk\": true, \"unk_token\": \"<unk>\", "           \
    "\"vocab\": {\"<unk>\": 0, \"▁\": 1, \"a\": 2, \"b\": 3, \"▁a\": 4, \"ab\": 5, \"▁ab\": 6, \"<0xC3>\": 7, "  \
    "\"<0xA9>\": 8, \"▁▁\": 9}, \"merges\": [[\"▁\", \"a\"], [\"a\", \"b\"], [\"▁a\", \"b\"], [\"▁\", \"▁\"]]}"

static void test_byte_fallback_and_unknown(void **state) {
    (void)state;
    hone_tokenizer *t = open_text(
        "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"▁\"}, "
        "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"▁\"}]}, " SPM_MODEL "}",
        NULL);
    assert_non_null(t);
    assert_string_equal(IDS(t, "ab ab", 0), "6 6");
    assert_string_equal(IDS(t, "é", 0), "1 7 8");
    assert_string_equal(IDS(t, "xyz", 0), "1 0"); /* one for all three: fuse_unk */
    assert_string_equal(IDS(t, "x éy a", 0), "1 0 1 7 8 0 4");
    assert_string_equal(IDS(t, "a  a", 0), "4 1 4");
    assert_string_equal(IDS(t, "a  b", 0), "4 9 3");
    assert_string_equal(IDS(t, "", 0), "");
    hone_tokenizer_close(t);
}

/* ---- Splits: the pieces are words of a vocabulary made of exactly them ---- */

static const char *pieces_of(const char *pre, const char *text) {
    static char out[1024];
    hone_buf b = {0};
    hone_error err = {0};
    hone_tokenizer *t;
    /* every substring of the text at character borders is a word */
    hone_buf_format(
        &b, "{\"pre_tokenizer\": %s, \"model\": {\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0",
        pre);
    json_t *seen = json_object();
    int id = 1;
    const size_t n = strlen(text);
    for (int mark = 0; mark < 2; mark++)
        for (size_t i = 0; i <= n; i++)
            for (size_t k = i; k <= n; k++) {
                char word[256] = "";
                if (((unsigned char)text[i] & 0xc0) == 0x80 || ((unsigned char)text[k] & 0xc0) == 0x80) continue;
                snprintf(word, sizeof(word), "%s%.*s", mark ? "_" : "", (int)(k - i), text + i);
                if (strstr(pre, "Metaspace"))
                    for (char *c = word; *c; c++) *c = *c == ' ' ? '_' : *c;
                if (!*word || strcmp(word, "?") == 0 || json_object_get(seen, word)) continue;
                json_object_set_new(seen, word, json_true());
                hone_buf_text(&b, ", ");
                hone_buf_json_string(&b, word, strlen(word));
                hone_buf_format(&b, ": %d", id++);
            }
    hone_buf_text(&b, "}}}");
    json_decref(seen);
    if (hone_tokenizer_open_json(&t, hone_buf_str(&b), b.n, NULL, 0, &err) != HONE_OK) {
        snprintf(out, sizeof(out), "%s", err.message);
    } else {
        hone_ids ids = {0};
        out[0] = 0;
        if (hone_tokenizer_encode(t, text, n, 0, &ids, &err) != HONE_OK) snprintf(out, sizeof(out), "%s", err.message);
        for (size_t i = 0; i < ids.n; i++) {
            size_t w;
            const char *word = hone_tokenizer_text(t, ids.id[i], &w);
            strncat(strcat(out, i ? "|" : ""), word, w);
        }
        hone_ids_free(&ids);
        hone_tokenizer_close(t);
    }
    hone_buf_free(&b);
    return out;
}

#define SPLIT(regex, behaviour)                                                                                        \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex "\"}, \"behavior\": \"" behaviour "\"}"

static void test_splits(void **state) {
    (void)state;
    static const struct {
        const char *pre, *text, *want;
    } cases[] = {
        {SPLIT("-", "Removed"), "a--b-c", "a|b|c"},
        {SPLIT("-", "Isolated"), "a--b-c", "a|-|-|b|-|c"},
        {SPLIT("-", "Contiguous"), "a--b-c", "a|--|b|-|c"},
        {SPLIT("-", "MergedWithPrevious"), "a--b-c", "a-|-|b-|c"},
        {SPLIT("-", "MergedWithNext"), "a--b-c", "a|-|-b|-c"},
        {SPLIT("-", "MergedWithNext"), "-a-", "-a|-"},
        {"{\"type\": \"Split\", \"pattern\": {\"String\": \".\"}, \"behavior\": \"Removed\", \"invert\": true}", "a.b",
         "."},
        {SPLIT("x*", "Isolated"), "axb", "a|x|b"},
        {SPLIT("$", "Isolated"), "a\\nb", "a\\nb"},
        /* Oniguruma, not PCRE: \h is a hexadecimal digit, classes nest and intersect, {n}+ repeats */
        {SPLIT("\\\\h+", "Isolated"), "xff zz", "x|ff| zz"},
        {SPLIT("[a-z&&[^aeiou]]+", "Isolated"), "stream", "str|ea|m"},
        {SPLIT("[[ab]c]+", "Isolated"), "xabcx", "x|abc|x"},
        {SPLIT("[^[ab]c]+", "Isolated"), "xabcx", "x|abc|x"},
        {SPLIT("\\\\d{2}+", "Isolated"), "12345", "1234|5"},
        {SPLIT("[^\\\\W\\\\d]+", "Isolated"), "1ab,c", "1|ab|,|c"},
        {SPLIT("\\\\p{^L}", "Removed"), "a1b", "a|b"},
        {SPLIT("(?m:.)+", "Isolated"), "a b", "a b"},
        {SPLIT("\\\\u00e9", "Isolated"), "aéb", "a|é|b"},
        {SPLIT("\\\\s", "Removed"),
         "a\u180e"
         "b\u2003c",
         "a\u180e"
         "b|c"},
        /* characters younger than PCRE2's tables */
        {SPLIT("\\\\p{L}+", "Isolated"),
         "\U0001e5d2"
         "a-\u1c89",
         "\U0001e5d2"
         "a|-|\u1c89"},
        {SPLIT("[^\\\\s\\\\p{L}\\\\p{N}]+", "Isolated"), "\U0001e5d2!", "\U0001e5d2|!"},
        {SPLIT("\\\\P{N}+", "Isolated"),
         "\U00016130"
         "ab",
         "\U00016130|ab"},
        {"{\"type\": \"Digits\", \"individual_digits\": true}", "a12½", "a|1|2|½"},
        {"{\"type\": \"Digits\", \"individual_digits\": false}", "a12b", "a|12|b"},
        {"{\"type\": \"Punctuation\"}", "a,b!。", "a|,|b|!|。"},
        {"{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"}", "a!!b", "a|!!|b"},
        {"{\"type\": \"Whitespace\"}", "Hi there, you.", "Hi|there|,|you|."},
        {"{\"type\": \"WhitespaceSplit\"}", " a,b  c\t", "a,b|c"},
        {"{\"type\": \"BertPreTokenizer\"}", "a,b c", "a|,|b|c"},
        {"{\"type\": \"CharDelimiterSplit\", \"delimiter\": \"-\"}", "a-b", "a|b"},
        {"{\"type\": \"FixedLength\", \"length\": 2}", "aébcd", "aé|bc|d"},
        {"{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"always\"}", "a b", "_a|_b"},
        {"{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"never\"}", "a b", "a|_b"},
        {"{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"first\", \"split\": false}", "a b",
         "_a_b"},
        {"{\"type\": \"Metaspace\", \"replacement\": \"_\", \"add_prefix_space\": false}", "a b", "a|_b"},
        {"{\"type\": \"Sequence\", \"pretokenizers\": [" SPLIT(" ", "MergedWithNext") ", {\"type\": \"Digits\"}]}",
         "a1 b2", "a|1| b|2"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *got = pieces_of(cases[i].pre, cases[i].text);
        if (strcmp(got, cases[i].want) != 0) print_error("case %zu: %s\n", i, cases[i].pre);
        assert_string_equal(got, cases[i].want);
    }
}

static void test_a_pattern_without_end_is_a_result(void **state) {
    (void)state;
    char text[64];
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    text[sizeof(text) - 2] = 'b';
    assert_non_null(strstr(pieces_of(SPLIT("(a+)+$|(a|aa)+$", "Isolated"), text), "too many steps"));
}

/* ---- Normalizers ---- */

static void test_normalizers(void **state) {
    (void)state;
    static const struct {
        const char *normal, *text, *want; /* the bytes of the normalized text are its ids */
    } cases[] = {
        {"{\"type\": \"NFC\"}", "e\u0301a\u0323\u0302", "\u00e9\u1ead"},
        {"{\"type\": \"NFC\"}", "\u1112\u1161\u11ab \u212b", "\ud55c \u00c5"},
        {"{\"type\": \"NFD\"}", "\u00e9\u1ead", "e\u0301a\u0323\u0302"},
        {"{\"type\": \"NFD\"}", "a\u0302\u0323", "a\u0323\u0302"},
        {"{\"type\": \"NFKC\"}", "\ufb01\u00bd\uff21", "fi1\u20442A"},
        {"{\"type\": \"NFKD\"}", "\ufb03\u00e9", "ffie\u0301"},
        {"{\"type\": \"Lowercase\"}", "ÀB\u0130", "àbi\u0307"},
        {"{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": false}", " \u3000a ", "a "},
        {"{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": true}", "  ", ""},
        {"{\"type\": \"StripAccents\"}", "e\u0301o", "eo"},
        {"{\"type\": \"Prepend\", \"prepend\": \"xy\"}", "a", "xya"},
        {"{\"type\": \"Prepend\", \"prepend\": \"xy\"}", "", ""},
        {"{\"type\": \"Replace\", \"pattern\": {\"String\": \"aa\"}, \"content\": \"b\"}", "aaaa a", "bb a"},
        {"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": \" \"}", "a   b c", "a b c"},
        {"{\"type\": \"Nmt\"}", "a\x01\tb\u200b", "a b "},
        {"{\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, \"strip_accents\": "
         "null, \"lowercase\": true}",
         "\u00c9a\u4e00\tB", "ea \u4e00  b"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hone_buf more = {0};
        hone_buf_format(&more, "\"normalizer\": %s, %s", cases[i].normal, BYTE_LEVEL("false"));
        hone_tokenizer *t = open_free(byte_bpe(NULL, 0, "", hone_buf_str(&more)), NULL);
        hone_ids ids = {0};
        char got[256];
        assert_non_null(t);
        assert_int_equal(hone_tokenizer_encode(t, cases[i].text, strlen(cases[i].text), 0, &ids, NULL), HONE_OK);
        for (size_t k = 0; k < ids.n; k++) got[k] = (char)ids.id[k];
        got[ids.n] = 0;
        assert_string_equal(got, cases[i].want);
        hone_ids_free(&ids);
        hone_tokenizer_close(t);
        hone_buf_free(&more);
    }
}

/* Runs of marks longer than the insertion sort takes, in the worst order, and a run too long for anything quadratic. */
static void test_long_runs_of_marks(void **state) {
    (void)state;
    hone_tokenizer *t =
        open_free(byte_bpe(NULL, 0, "", "\"normalizer\": {\"type\": \"NFD\"}," BYTE_LEVEL("false")), NULL);
    hone_buf text = {0};
    hone_ids ids = {0};
    const size_t n = 200000;
    hone_buf_char(&text, 'a');
    for (size_t i = 0; i < n; i++) hone_buf_text(&text, i < n / 2 ? "\u0301" : "\u0323"); /* classes 230, 220 */
    assert_int_equal(hone_tokenizer_encode(t, text.data, text.n, 0, &ids, NULL), HONE_OK);
    assert_int_equal(ids.n, text.n);
    for (size_t i = 0; i < n; i++) assert_int_equal(ids.id[1 + 2 * i + 1], i < n / 2 ? 0xa3 : 0x81);
    hone_ids_free(&ids);
    hone_buf_free(&text);
    hone_tokenizer_close(t);
}

static void test_a_normalizer_that_explodes_is_a_result(void **state) {
    (void)state;
    hone_buf more = {0};
    hone_error err;
    hone_ids ids = {0};
    hone_buf_text(&more, "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}");
    for (int i = 0; i < 30; i++)
        hone_buf_text(&more, ", {\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"aaaaaaaa\"}");
    hone_buf_text(&more, "]}, ");
    hone_tokenizer *t = open_free(byte_bpe(NULL, 0, "", hone_buf_str(&more)), NULL);
    assert_non_null(t);
    assert_int_equal(hone_tokenizer_encode(t, "a", 1, 0, &ids, &err), HONE_ERR_LIMIT);
    assert_int_equal(ids.n, 0);
    hone_ids_free(&ids);
    hone_tokenizer_close(t);
    hone_buf_free(&more);
}

/* ---- Added tokens, templates, roles ---- */

#define ADDED(content, options) "{\"id\": 0, \"content\": \"" content "\", " options "}"

static void test_added_tokens(void **state) {
    (void)state;
    static const char more[] = "\"added_tokens\": [" ADDED("<s>", "\"special\": true") ", " /* 256 */
        ADDED("<s>x", "\"special\": false, \"normalized\": false") ", "                     /* 257 */
        ADDED("<l>", "\"special\": true, \"lstrip\": true") ", "                            /* 258 */
        ADDED("<r>", "\"special\": true, \"rstrip\": true") ", "                            /* 259 */
        ADDED("word", "\"special\": false, \"single_word\": true") ", "                     /* 260 */
        ADDED("Up",
              "\"special\": false, \"normalized\": true") "], " /* 261 */
                                                          "\"normalizer\": {\"type\": \"Lowercase\"}, " BYTE_LEVEL(
                                                              "true");
    hone_tokenizer *t = open_free(byte_bpe(NULL, 0, "", more), NULL);
    assert_non_null(t);
    assert_string_equal(IDS(t, "a<s>b", 0), "97 256 98");
    assert_string_equal(IDS(t, "<s>x", 0), "257"); /* the longest of the leftmost */
    assert_string_equal(IDS(t, "<s", 0), "60 115");
    assert_string_equal(IDS(t, "a <l> b", 0), "97 258 32 98");
    assert_string_equal(IDS(t, "a <r> \n b", 0), "97 32 259 98");
    assert_string_equal(IDS(t, "a word, words", 0), "97 32 260 44 32 119 111 114 100 115");
    assert_string_equal(IDS(t, "UP", 0), "261");
    assert_string_equal(IDS(t, "<s>x<s>", HONE_ENCODE_PLAIN_SPECIAL), "257 60 115 62");
    assert_int_equal(hone_tokenizer_find(t, "<l>", 3), 258);
    assert_int_equal(hone_tokenizer_find(t, "none", 4), HONE_NO_TOKEN);
    assert_true(hone_tokenizer_is_special(t, 256));
    assert_false(hone_tokenizer_is_special(t, 257));
    assert_false(hone_tokenizer_is_special(t, -1));
    assert_false(hone_tokenizer_is_special(t, 9999));
    assert_string_equal(hone_tokenizer_text(t, 261, NULL), "Up");
    hone_tokenizer_close(t);
}

static void test_templates_and_configuration(void **state) {
    (void)state;
    static const char more[] = "\"added_tokens\": [" ADDED("<s>", "\"special\": true") ", " ADDED(
        "<|im_end|>",
        "\"special\": true") ", " ADDED("</s>",
                                        "\"special\": false, \"normalized\": false") "], "
                                                                                     "\"post_processor\": {\"type\": "
                                                                                     "\"Sequence\", \"processors\": "
                                                                                     "[{\"type\": \"ByteLevel\"}, "
                                                                                     "{\"type\": "
                                                                                     "\"TemplateProcessing\", "
                                                                                     "\"single\": [{\"SpecialToken\": "
                                                                                     "{\"id\": \"<s>\", \"type_id\": "
                                                                                     "0}}, {\"Sequence\": {\"id\": "
                                                                                     "\"A\", \"type_id\": 0}}], "
                                                                                     "\"pair\": [], "
                                                                                     "\"special_tokens\": {\"<s>\": "
                                                                                     "{\"id\": \"<s>\", \"ids\": "
                                                                                     "[256], \"tokens\": "
                                                                                     "[\"<s>\"]}}}]}, " BYTE_LEVEL(
                                                                                         "true");
    static const char config[] =
        "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"</s>\", \"pad_token\": null, "
        "\"chat_template\": [{\"name\": \"default\", \"template\": \"D\"}, {\"name\": \"rag\", \"template\": \"R\"}]}";
    hone_tokenizer *t = open_free(byte_bpe(NULL, 0, "", more), config);
    size_t n;
    assert_non_null(t);
    assert_string_equal(IDS(t, "a", HONE_ENCODE_ADD_SPECIAL), "256 97");
    assert_string_equal(IDS(t, "a", 0), "97");
    assert_string_equal(IDS(t, "", HONE_ENCODE_ADD_SPECIAL), "256");
    assert_true(hone_tokenizer_adds_bos(t));
    assert_false(hone_tokenizer_adds_eos(t));
    assert_int_equal(hone_tokenizer_role(t, HONE_ROLE_BOS), 256);
    assert_int_equal(hone_tokenizer_role(t, HONE_ROLE_EOS), 258);
    assert_int_equal(hone_tokenizer_role(t, HONE_ROLE_PAD), HONE_NO_TOKEN);
    const int32_t *ends = hone_tokenizer_ends(t, &n); /* the configuration's eos, and a well-known special token */
    assert_int_equal(n, 2);
    assert_int_equal(ends[0], 257);
    assert_int_equal(ends[1], 258);
    assert_string_equal(hone_tokenizer_template(t, NULL), "D");
    assert_string_equal(hone_tokenizer_template(t, "rag"), "R");
    assert_null(hone_tokenizer_template(t, "tools"));
    hone_tokenizer_close(t);
}

/* ---- Vocabularies as GGUF has them ---- */

static const hone_piece spm_token[] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}, {"<0x0A>", 6}, {"▁", 3}, {"a", 1},
                                       {"b", 1},     {"ab", 2},  {"▁a", 4},   {"<|x|>", 5},  {"aa", 2}};
static const float spm_score[] = {0, 0, 0, 0, -9, -9, -9, -2, -1, 0, -2};
static const int32_t spm_type[] = {2, 3, 3, 6, 1, 1, 1, 1, 1, 4, 1};

static hone_vocab spm_vocab(void) {
    hone_vocab v = hone_vocab_default();
    v.kind = HONE_VOCAB_SPM;
    v.token = spm_token;
    v.score = spm_score;
    v.type = spm_type;
    v.n_token = 11;
    v.bos = 1;
    v.eos = 2;
    v.unk = 0;
    v.add_bos = true;
    v.chat_template = "T";
    return v;
}

static void test_sentencepiece_merges_by_score(void **state) {
    (void)state;
    hone_tokenizer *t;
    hone_vocab v = spm_vocab();
    assert_int_equal(hone_tokenizer_open_vocab(&t, &v, NULL), HONE_OK);
    assert_string_equal(IDS(t, "ab", HONE_ENCODE_ADD_SPECIAL), "1 8 6"); /* the mark and a score better than ab */
    assert_string_equal(IDS(t, "b\nab", 0), "4 6 3 7");
    assert_string_equal(IDS(t, "b<|x|>b</s>", 0), "4 6 9 4 6 2"); /* a prefix behind every special token */
    assert_string_equal(IDS(t, "bbaab", 0), "4 6 6 10 6");        /* equal scores: the leftmost first */
    assert_string_equal(IDS(t, "é", 0), "4 0");
    assert_string_equal(hone_tokenizer_template(t, NULL), "T");
    assert_int_equal(hone_tokenizer_role(t, HONE_ROLE_EOS), 2);
    hone_tokenizer_close(t);
    v.add_space_prefix = false;
    v.add_eos = true;
    assert_int_equal(hone_tokenizer_open_vocab(&t, &v, NULL), HONE_OK);
    assert_string_equal(IDS(t, "ab", HONE_ENCODE_ADD_SPECIAL), "1 7 2");
    hone_tokenizer_close(t);
}

/* Of tokens written alike the first is found; the others keep their ids and decode. */
static void test_tokens_written_alike(void **state) {
    (void)state;
    static const hone_piece token[] = {{"<unk>", 5}, {"a", 1}, {"b", 1}, {"ab", 2}, {"ab", 2}};
    static const float score[] = {0, -1, -1, -3, -2};
    static const int32_t type[] = {2, 1, 1, 1, 1};
    const int32_t last = 4;
    hone_tokenizer *t;
    hone_buf out = {0};
    hone_vocab v = hone_vocab_default();
    v.kind = HONE_VOCAB_SPM;
    v.token = token;
    v.score = score;
    v.type = type;
    v.n_token = 5;
    v.unk = 0;
    v.add_space_prefix = false;
    assert_int_equal(hone_tokenizer_open_vocab(&t, &v, NULL), HONE_OK);
    assert_int_equal(hone_tokenizer_size(t), 5);
    assert_string_equal(IDS(t, "ab", 0), "3");
    assert_int_equal(hone_tokenizer_decode(t, &last, 1, false, &out, NULL), HONE_OK);
    assert_string_equal(hone_buf_str(&out), "ab");
    hone_buf_free(&out);
    hone_tokenizer_close(t);
}

static void test_bad_vocabularies(void **state) {
    (void)state;
    hone_tokenizer *t;
    hone_error err;
    hone_vocab v = spm_vocab();
    v.bos = 11;
    assert_int_equal(hone_tokenizer_open_vocab(&t, &v, &err), HONE_ERR_FORMAT);
    assert_null(t);
    v = spm_vocab();
    v.n_token = 0;
    v.bos = v.eos = v.unk = HONE_NO_TOKEN;
    v.add_bos = false;
    assert_int_equal(hone_tokenizer_open_vocab(&t, &v, &err), HONE_ERR_LIMIT);
    const hone_piece bad = {"\xff", 1};
    v = hone_vocab_default();
    v.token = &bad;
    v.n_token = 1;
    assert_int_equal(hone_tokenizer_open_vocab(&t, &v, &err), HONE_ERR_FORMAT);
    const hone_piece good = {"a", 1};
    v.token = &good;
    v.pre = "nobody-knows";
    assert_int_equal(hone_tokenizer_open_vocab(&t, &v, &err), HONE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "nobody-knows"));
}

static void test_every_pre_tokenizer_name_opens(void **state) {
    (void)state;
    static const char *const names[] = {
        "default", "llama-bpe",    "qwen2",          "qwen35",      "smollm",   "gpt-2",      "gpt-4o",
        "tekken",  "deepseek-llm", "deepseek-coder", "deepseek-v3", "falcon",   "starcoder",  "bloom",
        "viking",  "tiny_aya",     "bailingmoe",     "seed-coder",  "minicpm5", "exaone-moe", "laguna"};
    const hone_piece token[] = {{"a", 1}, {"<|end|>", 7}};
    const int32_t type[] = {1, 3};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        hone_tokenizer *t;
        hone_error err;
        hone_vocab v = hone_vocab_default();
        v.token = token;
        v.type = type;
        v.n_token = 2;
        v.pre = names[i];
        if (hone_tokenizer_open_vocab(&t, &v, &err) != HONE_OK) fail_msg("%s", err.message);
        assert_string_equal(IDS(t, "aa<|end|>z", 0), "0 0 1");
        hone_tokenizer_close(t);
    }
    assert_true(hone_vocab_pre_adds_bos("llama-bpe"));
    assert_false(hone_vocab_pre_adds_bos("smollm"));
}

/* ---- Errors ---- */

static void test_errors_name_the_part_and_its_path(void **state) {
    (void)state;
    static const struct {
        const char *json;
        hone_status status;
        const char *message;
    } cases[] = {
        {"{", HONE_ERR_FORMAT, "invalid JSON"},
        {"[]", HONE_ERR_FORMAT, "must be an object"},
        {"{}", HONE_ERR_FORMAT, "/model"},
        {"{\"model\": {\"type\": \"Magic\"}}", HONE_ERR_UNSUPPORTED, "/model: model 'Magic'"},
        {"{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\"}, {\"type\": "
         "\"UnicodeScripts\"}]}}",
         HONE_ERR_UNSUPPORTED, "/pre_tokenizer/pretokenizers/1: pre-tokenizer 'UnicodeScripts'"},
        {"{\"normalizer\": {\"type\": \"Foo\"}}", HONE_ERR_UNSUPPORTED, "/normalizer: normalizer 'Foo'"},
        {"{\"decoder\": {\"type\": \"CTC\"}}", HONE_ERR_UNSUPPORTED, "/decoder: decoder 'CTC'"},
        {"{\"post_processor\": {\"type\": \"Foo\"}}", HONE_ERR_UNSUPPORTED, "/post_processor"},
        {"{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}, \"behavior\": \"Isolated\"}}",
         HONE_ERR_FORMAT, "/pre_tokenizer/pattern"},
        {"{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(?~a)\"}, \"behavior\": \"Isolated\"}}",
         HONE_ERR_UNSUPPORTED, "kind of group"},
        {"{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \"a\"}, \"behavior\": \"Odd\"}}",
         HONE_ERR_UNSUPPORTED, "'Odd'"},
        {"{\"post_processor\": {\"type\": \"Sequence\", \"processors\": [{\"type\": \"BertProcessing\", \"cls\": "
         "[\"a\", 0], \"sep\": [\"b\", 1]}, {\"type\": \"BertProcessing\"}]}}",
         HONE_ERR_UNSUPPORTED, "/post_processor/processors/1: a second"},
        {"{\"model\": {\"type\": \"BPE\", \"dropout\": 0.1, \"vocab\": {}, \"merges\": []}}", HONE_ERR_UNSUPPORTED,
         "dropout"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a b\"]}}", HONE_ERR_FORMAT,
         "/model/merges/0"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}", HONE_ERR_FORMAT, "/model/vocab"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 99999999999}, \"merges\": []}}", HONE_ERR_FORMAT,
         "/model/vocab"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 9999999}, \"merges\": []}}", HONE_ERR_LIMIT,
         "token id 9999999"},
        {"{\"post_processor\": {\"type\": \"BertProcessing\", \"cls\": [\"a\", 0], \"sep\": [\"b\", 7]}, \"model\": "
         "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
         HONE_ERR_FORMAT, "adds token id 7"},
        {"{\"model\": {\"type\": \"Unigram\", \"unk_id\": 7, \"vocab\": [[\"a\", 0.5]]}}", HONE_ERR_FORMAT, "unk_id"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}, \"added_tokens\": [{\"content\": 1}]}",
         HONE_ERR_FORMAT, "/added_tokens/0"},
        {"{\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"/////wAA\"}}", HONE_ERR_FORMAT,
         "charsmap"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hone_tokenizer *t;
        hone_error err = {0};
        const hone_status st = hone_tokenizer_open_json(&t, cases[i].json, strlen(cases[i].json), NULL, 0, &err);
        if (st != cases[i].status || !strstr(err.message, cases[i].message))
            fail_msg("case %zu: %d %s", i, st, err.message);
        assert_null(t);
        /* and without anyone who listens */
        assert_int_equal(hone_tokenizer_open_json(&t, cases[i].json, strlen(cases[i].json), NULL, 0, NULL),
                         cases[i].status);
    }
}

static void test_text_that_is_no_utf8(void **state) {
    (void)state;
    hone_tokenizer *t = open_free(byte_bpe(NULL, 0, "", BYTE_LEVEL("true")), NULL);
    hone_ids ids = {0};
    hone_error err;
    assert_true(hone_ids_add(&ids, 5));
    assert_int_equal(hone_tokenizer_encode(t, "ab\xff", 3, 0, &ids, &err), HONE_ERR_FORMAT);
    assert_int_equal(err.position, 2);
    assert_int_equal(ids.n, 1);
    hone_ids_free(&ids);
    hone_tokenizer_close(t);
}

/* ---- Memory and threads ---- */

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    const char *const merge[] = {"a b", "ab c"};
    char *json = byte_bpe(
        merge, 2, "\"ignore_merges\": true,",
        "\"added_tokens\": [" ADDED("<s>", "\"special\": true") ", " ADDED(
            "Up", "\"normalized\": true") "], "
                                          "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": "
                                          "\"NFC\"}, {\"type\": \"Lowercase\"}]}, " BYTE_LEVEL("true"));
    const char *text = "abc <s> e\u0301 UP abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc";
    const int64_t before = hone_mem_live;
    bool done = false;
    for (int64_t at = 0; !done; at++) {
        hone_tokenizer *t;
        hone_ids ids = {0};
        hone_buf out = {0};
        hone_mem_fail_at = at;
        if (hone_tokenizer_open_json(&t, json, strlen(json), "{\"chat_template\": \"x\"}", 22, NULL) == HONE_OK) {
            if (hone_tokenizer_encode(t, text, strlen(text), HONE_ENCODE_ADD_SPECIAL, &ids, NULL) == HONE_OK)
                done = hone_tokenizer_decode(t, ids.id, ids.n, false, &out, NULL) == HONE_OK && hone_mem_fail_at >= 0;
            hone_tokenizer_close(t);
        } else {
            assert_null(t);
        }
        hone_mem_fail_at = -1;
        hone_ids_free(&ids);
        hone_buf_free(&out);
        assert_int_equal(hone_mem_live, before);
    }
    hone_free(json);
}

typedef struct {
    const hone_tokenizer *t;
    bool ok;
} worker;

static void *work(void *arg) {
    worker *w = arg;
    static const int32_t want[] = {260, 259, 111, 114, 108, 100};
    w->ok = true;
    for (int i = 0; i < 500 && w->ok; i++) {
        hone_ids ids = {0};
        hone_buf text = {0};
        w->ok = hone_tokenizer_encode(w->t, "hello world", 11, 0, &ids, NULL) == HONE_OK && ids.n == 6 &&
                memcmp(ids.id, want, sizeof(want)) == 0 &&
                hone_tokenizer_decode(w->t, ids.id, ids.n, true, &text, NULL) == HONE_OK &&
                strcmp(hone_buf_str(&text), "hello world") == 0;
        hone_ids_free(&ids);
        hone_buf_free(&text);
    }
    return NULL;
}

static void test_threads_share_a_tokenizer(void **state) {
    (void)state;
    const char *const merge[] = {"l l", "h e", "ll o", "Ġ w", "he llo"};
    hone_tokenizer *t = open_free(byte_bpe(merge, 5, "", BYTE_LEVEL("true")), NULL);
    pthread_t thread[4];
    worker w[4];
    for (int i = 0; i < 4; i++) {
        w[i] = (worker){t, false};
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_true(w[i].ok);
    }
    hone_tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges_by_rank_leftmost_first),
        cmocka_unit_test(test_ignore_merges_takes_whole_words),
        cmocka_unit_test(test_scan_and_heap_give_the_definition),
        cmocka_unit_test(test_a_long_word_is_no_trap),
        cmocka_unit_test(test_byte_fallback_and_unknown),
        cmocka_unit_test(test_splits),
        cmocka_unit_test(test_a_pattern_without_end_is_a_result),
        cmocka_unit_test(test_normalizers),
        cmocka_unit_test(test_long_runs_of_marks),
        cmocka_unit_test(test_a_normalizer_that_explodes_is_a_result),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_templates_and_configuration),
        cmocka_unit_test(test_sentencepiece_merges_by_score),
        cmocka_unit_test(test_tokens_written_alike),
        cmocka_unit_test(test_bad_vocabularies),
        cmocka_unit_test(test_every_pre_tokenizer_name_opens),
        cmocka_unit_test(test_errors_name_the_part_and_its_path),
        cmocka_unit_test(test_text_that_is_no_utf8),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
        cmocka_unit_test(test_threads_share_a_tokenizer),
    };
    hone_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
