/* test_vocabulary.c - the tokens' bytes in a file for copies: what a tokenizer says comes through, nothing broken is
 * believed. */
#include "test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "fleet/vocabulary.h"

/* A byte-level BPE of four plain tokens and two special ones. */
static hone_tokenizer *tokenizer(void) {
    static const hone_piece token[] = {{"a", 1},          {"b", 1}, {"ab", 2}, {"\xc4\xa0", 2}, {"<|im_start|>", 12},
                                       {"<|im_end|>", 10}};
    static const int32_t type[] = {1, 1, 1, 1, 3, 3};
    static const hone_piece merge[] = {{"a b", 3}};
    hone_vocab v = hone_vocab_default();
    v.token = token;
    v.type = type;
    v.n_token = 6;
    v.merge = merge;
    v.n_merge = 1;
    v.eos = 5;
    hone_tokenizer *t;
    hone_error err = {0};
    if (hone_tokenizer_open_vocab(&t, &v, &err) != HONE_OK) fail_msg("%s", err.message);
    return t;
}

static bool may_follow(hone_vocabulary *v, const char *source, int32_t token) {
    hone_grammar *g;
    hone_matcher *m;
    assert_int_equal(hone_grammar_compile(&g, source, strlen(source), NULL), HONE_OK);
    assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
    const bool allows = hone_matcher_allows(m, token);
    hone_matcher_close(m);
    hone_grammar_unref(g);
    return allows;
}

static void tokens_come_through_a_file(void **state) {
    (void)state;
    hone_tokenizer *t = tokenizer();
    int fd;
    hone_error err = {0};
    if (hone_vocabulary_file(&fd, t, &err) != HONE_OK) fail_msg("%s", err.message);
    assert_true(write(fd, "x", 1) < 0); /* sealed */
    hone_vocabulary *v;
    if (hone_vocabulary_read(&v, fd, &err) != HONE_OK) fail_msg("%s", err.message);
    assert_int_equal(hone_vocabulary_size(v), 6);
    assert_true(may_follow(v, "root ::= \"ab \"", 2));
    assert_true(may_follow(v, "root ::= \" a\"", 3));            /* its bytes, not how the vocabulary writes it */
    assert_false(may_follow(v, "root ::= \"<|im_start|>\"", 4)); /* text is never a special token */
    assert_true(may_follow(v, "root ::= %token\"<|im_start|>\"", 4));
    assert_true(may_follow(v, "root ::= \"\" | \"a\"", 5)); /* an end */
    hone_vocabulary_close(v);
    close(fd);
    hone_tokenizer_close(t);
    assert_int_equal(hone_mem_live, 0);
}

static hone_status read_bytes(const uint8_t *bytes, size_t n) {
    const int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    hone_vocabulary *v = NULL;
    const hone_status st = hone_vocabulary_read(&v, fd, NULL);
    assert_true((st == HONE_OK) == (v != NULL));
    hone_vocabulary_close(v);
    close(fd);
    return st;
}

/* Every cut and every changed byte is refused or read within bounds. */
static void broken_files_are_refused(void **state) {
    (void)state;
    hone_tokenizer *t = tokenizer();
    int fd;
    assert_int_equal(hone_vocabulary_file(&fd, t, NULL), HONE_OK);
    uint8_t bytes[512];
    const ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
    assert_true(n > 40 && n < (ssize_t)sizeof(bytes));
    assert_int_equal(read_bytes(bytes, (size_t)n), HONE_OK);
    for (size_t cut = 0; cut < (size_t)n; cut++) assert_true(read_bytes(bytes, cut) != HONE_OK);
    for (size_t at = 0; at < (size_t)n; at++)
        for (uint32_t bit = 0; bit < 8; bit += 7) {
            bytes[at] ^= (uint8_t)(1u << bit);
            read_bytes(bytes, (size_t)n);
            bytes[at] ^= (uint8_t)(1u << bit);
        }
    close(fd);
    hone_tokenizer_close(t);
    assert_int_equal(hone_mem_live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_come_through_a_file),
        cmocka_unit_test(broken_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
