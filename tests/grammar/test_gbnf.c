/* test_gbnf.c - GBNF as llama.cpp documents it, and the three directives. */
#include "test.h"

#include "grammar/grammar.h"
#include "walk.h"

static hone_vocabulary *v;
static int open_vocabulary(void **state) {
    (void)state;
    return walk_open(&v, NULL) == HONE_OK ? 0 : -1;
}
static int close_vocabulary(void **state) {
    (void)state;
    hone_vocabulary_close(v);
    return 0;
}

static const struct {
    const char *what, *source;
    const char *yes[4], *no[4]; /* no: not a text of the grammar, refused or incomplete */
} table[] = {
    {"literals", "root ::= \"ab\" \"c\"", {"abc"}, {"ab", "abcd", ""}},
    {"escapes",
     "root ::= \"\\x41\\u00e4\\U0001F600\\n\\t\\r\\\\\\\"\\[\\]\"",
     {"A\xC3\xA4\xF0\x9F\x98\x80\n\t\r\\\"[]"},
     {"A"}},
    {"hex escapes are characters", "root ::= \"\\xE4\"", {"\xC3\xA4"}, {"\xE4"}},
    {"classes", "root ::= [a-cx_]+ [^0-9\\]]", {"abz", "x\xC3\xA4", "_-"}, {"a", "a0", "a]", "dz"}},
    {"class of escapes", "root ::= [\\x30-\\x39\\u00e4\\n-]", {"5", "\xC3\xA4", "\n", "-"}, {"a"}},
    {"empty negated class", "root ::= [^]", {"a", "\xC3\xA4"}, {"", "aa"}},
    {"dot", "root ::= . .", {"ab", "\n\xF0\x9F\x98\x80"}, {"a", "abc"}},
    {"alternatives", "root ::= \"a\" | \"b\" \"c\" | ", {"", "a", "bc"}, {"b", "ac"}},
    {"repetition", "root ::= \"a\"* \"b\"+ \"c\"?", {"b", "aabbc", "bc"}, {"ac", "a", "bcc"}},
    {"counts",
     "root ::= \"a\"{2} \"b\"{1,} \"c\"{0,2} \"d\"{ 1 , 2 }",
     {"aabd", "aabbbccdd"},
     {"abd", "aad", "aabcccd", "aabddd"}},
    {"count without minimum", "root ::= \"a\"{,2} \"b\"", {"b", "aab"}, {"aaab"}},
    {"groups", "root ::= (\"a\" | \"b\")+ (\"c\" (\"d\"))?", {"abba", "acd"}, {"cd", "ac"}},
    {"repeated repetition", "root ::= (\"a\"{2}){2} \"b\"*+", {"aaaa", "aaaabb"}, {"aaa"}},
    {"rules",
     "root ::= item (\", \" item)*\nitem ::= [a-z]+ | sub-item\nsub-item ::= \"(\" root \")\"\n",
     {"a", "a, b", "(a, (b))"},
     {"a,b", "(a"}},
    {"comments and lines",
     "# a comment\n\nroot ::= # here too\n  \"a\" (\n \"b\" # inside\n | \"c\"\n) |\n \"d\"\n# end",
     {"ab", "ac", "d"},
     {"a", "b"}},
    {"rules in any order", "b ::= \"x\" root?\nroot ::= \"<\" b \">\"", {"<x>", "<x<x>>"}, {"<>"}},
    {"carriage returns", "root ::= a\r\na ::= \"a\"\r\n", {"a"}, {"b"}},
    {"regex", "root ::= \"<\" %regex\"[a-c]{2}|\\\\d+\" \">\"", {"<ab>", "<123>"}, {"<a>", "<>", "<abc>"}},
    {"regex is whole", "root ::= %regex\"b\"", {"b"}, {"abc", "bb"}},
    {"regex with quotes", "root ::= %regex\"\\\"x\\\"\" \"!\"", {"\"x\"!"}, {"x!"}},
};

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        hone_grammar *g = walk_compile(table[i].source);
        for (int k = 0; k < 4 && table[i].yes[k]; k++)
            if (walk_read(g, v, table[i].yes[k], strlen(table[i].yes[k])) != 1)
                fail_msg("%s: \"%s\" is refused", table[i].what, table[i].yes[k]);
        for (int k = 0; k < 4 && table[i].no[k]; k++)
            if (walk_read(g, v, table[i].no[k], strlen(table[i].no[k])) == 1)
                fail_msg("%s: \"%s\" is accepted", table[i].what, table[i].no[k]);
        hone_grammar_unref(g);
    }
}

/* llama.cpp's own examples, shortened where they repeat themselves. */
static void test_known_grammars(void **state) {
    (void)state;
    static const char json[] =
        "root   ::= object\n"
        "value  ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n\n"
        "object ::=\n  \"{\" ws (\n            string \":\" ws value\n    (\",\" ws string \":\" ws value)*\n  )? "
        "\"}\" ws\n\n"
        "array  ::=\n  \"[\" ws (\n            value\n    (\",\" ws value)*\n  )? \"]\" ws\n\n"
        "string ::=\n  \"\\\"\" (\n    [^\"\\\\\\x7F\\x00-\\x1F] |\n    \"\\\\\" ([\"\\\\bfnrt] | \"u\" "
        "[0-9a-fA-F]{4}) # escapes\n  )* \"\\\"\" ws\n\n"
        "number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws\n\n"
        "# Optional space: by convention, applied in this grammar after literal chars when allowed\n"
        "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n";
    hone_grammar *g = walk_compile(json);
    static const char *const yes[] = {"{}", "{\"a\": [1, 2.5e3, {\"b\":null}], \"c\":\"\\u00e4\\n\"}",
                                      "{\n  \"x\" :true}"};
    assert_int_equal(walk_read(g, v, yes[0], strlen(yes[0])), 1);
    assert_int_equal(walk_read(g, v, yes[1], strlen(yes[1])), 1);
    assert_int_equal(walk_read(g, v, yes[2], strlen(yes[2])), 1);
    assert_int_equal(walk_read(g, v, "[]", 2), -1);
    assert_int_equal(walk_read(g, v, "{\"a\":01}", 8), -1);
    assert_int_equal(walk_read(g, v, "{\"a\":\"\n\"}", 9), -1);
    hone_grammar_unref(g);

    static const char arithmetic[] = "root  ::= (expr \"=\" ws term \"\\n\")+\nexpr  ::= term ([-+*/] term)*\n"
                                     "term  ::= ident | num | \"(\" ws expr \")\" ws\nident ::= [a-z] [a-z0-9_]* "
                                     "ws\nnum   ::= [0-9]+ ws\nws    ::= [ \\t\\n]*\n";
    g = walk_compile(arithmetic);
    assert_int_equal(walk_read(g, v, "(a +12)*b = c\n", 14), 1);
    assert_int_equal(walk_read(g, v, "(a +12)*b c\n", 12), -1);
    hone_grammar_unref(g);
}

static void test_tokens(void **state) {
    (void)state;
    hone_grammar *g = walk_compile("root ::= %token\"" WALK_SPECIAL "\" \"a\" <x>?");
    hone_matcher *m;
    assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
    assert_false(hone_matcher_allows(m, '<'));
    assert_true(hone_matcher_allows(m, WALK_CALL));
    assert_int_equal(hone_matcher_accept(m, WALK_CALL, NULL), HONE_OK);
    assert_true(hone_matcher_allows(m, 'a'));
    assert_false(hone_matcher_allows(m, WALK_CALL));
    hone_matcher_close(m);
    hone_grammar_unref(g);
    /* free text never allows it */
    g = walk_compile("root ::= .*");
    assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
    assert_true(hone_matcher_allows(m, '<'));
    assert_false(hone_matcher_allows(m, WALK_CALL));
    hone_matcher_close(m);
    hone_grammar_unref(g);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *source;
        hone_status status;
        int64_t offset;
    } bad[] = {
        {"", HONE_ERR_FORMAT, HONE_NO_POSITION},
        {"other ::= \"a\"", HONE_ERR_FORMAT, HONE_NO_POSITION},
        {"root ::= missing", HONE_ERR_FORMAT, 9},
        {"root ::= \"a", HONE_ERR_FORMAT, 9},
        {"root ::= [a", HONE_ERR_FORMAT, 9},
        {"root ::= (\"a\"", HONE_ERR_FORMAT, 9},
        {"root ::= \"a\" )", HONE_ERR_FORMAT, 13},
        {"root = \"a\"", HONE_ERR_FORMAT, 5},
        {"root ::= \"\\q\"", HONE_ERR_FORMAT, 10},
        {"root ::= \"\\x4\"", HONE_ERR_FORMAT, 10},
        {"root ::= \"\\uD800\"", HONE_ERR_FORMAT, 10},
        {"root ::= [z-a]", HONE_ERR_FORMAT, 9},
        {"root ::= \"a\"{3,2}", HONE_ERR_FORMAT, 12},
        {"root ::= \"a\"{x}", HONE_ERR_FORMAT, 12},
        {"root ::= \"a\"{99999999}", HONE_ERR_LIMIT, 13},
        {"root ::= \"a\"\nroot ::= \"b\"", HONE_ERR_FORMAT, 13},
        {"root ::= %what", HONE_ERR_FORMAT, 9},
        {"root ::= %regex\"(\"", HONE_ERR_FORMAT, 9},
        {"root ::= %regex\"(a)\\\\1\"", HONE_ERR_UNSUPPORTED, 9},
        {"root ::= <[12]>", HONE_ERR_UNSUPPORTED, 9},
        {"root ::= \"a\" root", HONE_ERR_ARG, HONE_NO_POSITION},
        {"root ::= root* \"a\"", HONE_ERR_UNSUPPORTED, HONE_NO_POSITION},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        hone_grammar *g;
        hone_error err = {.position = HONE_NO_POSITION};
        const hone_status st = hone_grammar_compile(&g, bad[i].source, strlen(bad[i].source), &err);
        if (st != bad[i].status || err.position != bad[i].offset || g)
            fail_msg("%s: status %d at %lld: %s", bad[i].source, st, (long long)err.position, err.message);
    }
}

static void test_hostile_sources_end_soon(void **state) {
    (void)state;
    hone_grammar *g;
    hone_error err;
    hone_buf out = {0};
    for (int i = 0; i < 100000; i++) hone_buf_char(&out, '(');
    hone_buf_clear(&out);
    hone_buf_text(&out, "root ::= ");
    for (int i = 0; i < 100000; i++) hone_buf_char(&out, '(');
    assert_int_equal(hone_grammar_compile(&g, hone_buf_str(&out), out.n, &err), HONE_ERR_LIMIT);
    /* a chain of many rules, each beginning with the next: deep, refused or compiled, but no crash */
    hone_buf_clear(&out);
    hone_buf_text(&out, "root ::= r0\n");
    for (int i = 0; i < 20000; i++) hone_buf_format(&out, "r%d ::= r%d \"x\" | \"y\"\n", i, i + 1);
    hone_buf_text(&out, "r20000 ::= \"z\"\n");
    const hone_status st = hone_grammar_compile(&g, hone_buf_str(&out), out.n, &err);
    if (st == HONE_OK) {
        hone_matcher *m;
        assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
        uint32_t bits[(WALK_N + 31) / 32];
        assert_int_equal(hone_matcher_mask(m, bits, &err), HONE_ERR_LIMIT);
        hone_matcher_close(m);
        hone_grammar_unref(g);
    } else
        assert_int_equal(st, HONE_ERR_LIMIT);
    /* nested counts */
    g = walk_compile("root ::= (((\"x\"{1000}){1000}){1000}){1000} | (\"a\"? \"a\"?){300}");
    assert_int_equal(walk_read(g, v, "xxxx", 4), 0);
    assert_int_equal(walk_read(g, v, "aaaaaa", 6), 1);
    hone_grammar_unref(g);
    hone_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),    cmocka_unit_test(test_known_grammars),           cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_hostile_sources_end_soon),
    };
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
