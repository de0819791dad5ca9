/* test_grammar.c - grammars built by hand: recursion, empty rules, left recursion, what derives nothing. */
#include "test.h"

#include "base/clock.h"
#include "walk.h"
#include "words.h"

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

static int reads(hone_grammar *g, const char *text) {
    return walk_read(g, v, text, strlen(text));
}

static hone_gx lit(hone_grammar_builder *b, const char *text) {
    return hone_gx_terminal(b, hone_rx_bytes(hone_grammar_regular(b), text, strlen(text)));
}

static void test_balanced(void **state) { /* S = ( S ) S | empty */
    (void)state;
    hone_grammar_builder *b;
    hone_grammar *g;
    assert_int_equal(hone_grammar_begin(&b, NULL), HONE_OK);
    const hone_gx s = hone_gx_rule(b);
    const hone_gx some[4] = {lit(b, "("), s, lit(b, ")"), s};
    const hone_gx either[2] = {hone_gx_seq(b, some, 4), hone_gx_seq(b, NULL, 0)};
    hone_gx_define(b, s, hone_gx_alt(b, either, 2));
    assert_int_equal(hone_grammar_finish(&g, b, s, NULL), HONE_OK);
    for (uint32_t code = 0; code < 1u << 10; code++) { /* every string of ten parentheses */
        char text[11] = {0};
        int depth = 0, expected = 0;
        for (int i = 0; i < 10; i++) {
            text[i] = code >> i & 1 ? '(' : ')';
            depth += code >> i & 1 ? 1 : -1;
            if (depth < 0) expected = -1;
        }
        if (expected == 0) expected = depth == 0;
        assert_int_equal(reads(g, text), expected);
    }
    char deep[2001] = {0};
    memset(deep, '(', 1000);
    memset(deep + 1000, ')', 1000);
    assert_int_equal(reads(g, deep), 1);
    hone_grammar_unref(g);
}

static void test_what_derives_nothing_is_never_begun(void **state) {
    (void)state;
    hone_grammar_builder *b;
    hone_grammar *g;
    assert_int_equal(hone_grammar_begin(&b, NULL), HONE_OK);
    hone_regular *r = hone_grammar_regular(b);
    const hone_gx endless = hone_gx_rule(b); /* E = "x" E */
    const hone_gx more[2] = {lit(b, "x"), endless};
    hone_gx_define(b, endless, hone_gx_seq(b, more, 2));
    /* a terminal that is empty only as an intersection: letters that end in a digit */
    hone_rx letters, digit;
    assert_int_equal(hone_rx_pattern(r, "[a-z]*", 6, false, &letters, NULL), HONE_OK);
    assert_int_equal(hone_rx_pattern(r, ".*[0-9]", 7, false, &digit, NULL), HONE_OK);
    const hone_gx never = hone_gx_terminal(b, hone_rx_cat(r, hone_rx_bytes(r, "y", 1), hone_rx_and(r, letters, digit)));
    assert_int_equal(never, HONE_RX_NONE);
    const hone_gx ends[3] = {lit(b, "a"), endless, lit(b, "z")};
    const hone_gx either[3] = {hone_gx_seq(b, ends, 3), never, lit(b, "ok")};
    assert_int_equal(hone_grammar_finish(&g, b, hone_gx_alt(b, either, 3), NULL), HONE_OK);
    assert_int_equal(reads(g, "ok"), 1);
    assert_int_equal(reads(g, "a"), -1);
    assert_int_equal(reads(g, "y"), -1);
    hone_grammar_unref(g);

    assert_int_equal(hone_grammar_begin(&b, NULL), HONE_OK);
    const hone_gx loop = hone_gx_rule(b);
    const hone_gx body[2] = {lit(b, "x"), loop};
    hone_gx_define(b, loop, hone_gx_seq(b, body, 2));
    hone_error err = {0};
    assert_int_equal(hone_grammar_finish(&g, b, loop, &err), HONE_ERR_ARG);
    assert_null(g);
    assert_true(err.message[0]);
}

static void test_intersections_are_not_entered_to_get_stuck(void **state) {
    (void)state;
    /* a word of letters, at most five, that holds "qu": after four letters without it nothing but... */
    hone_grammar_builder *b;
    hone_grammar *g;
    assert_int_equal(hone_grammar_begin(&b, NULL), HONE_OK);
    hone_regular *r = hone_grammar_regular(b);
    hone_rx five, qu;
    assert_int_equal(hone_rx_pattern(r, "^[a-z]{0,5}$", 12, true, &five, NULL), HONE_OK);
    assert_int_equal(hone_rx_pattern(r, "qu", 2, true, &qu, NULL), HONE_OK);
    assert_int_equal(hone_grammar_finish(&g, b, hone_gx_terminal(b, hone_rx_and(r, five, qu)), NULL), HONE_OK);
    assert_int_equal(reads(g, "aaaq"), 0);
    assert_int_equal(reads(g, "aaaqu"), 1);
    assert_int_equal(reads(g, "aaaa"), -1);
    assert_int_equal(reads(g, "aaab"), -1);
    hone_grammar_unref(g);
}

static void test_left_recursion_is_rewritten(void **state) {
    (void)state;
    static const struct {
        const char *source, *yes[4], *no[4];
    } table[] = {
        {"root ::= sum\nsum ::= sum \"+\" num | num\nnum ::= [0-9]+", {"1", "1+2", "1+22+3"}, {"+1", "1++2", "a"}},
        {"root ::= a\na ::= b \"x\" | \"q\"\nb ::= a \"y\" | \"z\"", {"q", "zx", "qyx", "zxyx"}, {"qx", "z1", "y"}},
        {"root ::= e\ne ::= e \"+\" t | e \"-\" t | t\nt ::= t \"*\" f | f\nf ::= [0-9] | \"(\" e \")\"",
         {"1+2*3", "(1-2)*(3)", "((4))"},
         {"1+*", ")"}},
        {"root ::= l\nl ::= l [0-9] \";\" | \"\"", {"", "1;", "1;2;3;"}, {"a", ";", "11"}},
        {"root ::= root root | \"a\"", {"a", "aa", "aaaaa"}, {"b", "ab"}},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        hone_grammar *g = walk_compile(table[i].source);
        for (int k = 0; k < 4 && table[i].yes[k]; k++)
            if (reads(g, table[i].yes[k]) != 1) fail_msg("%s\n%s", table[i].source, table[i].yes[k]);
        for (int k = 0; k < 4 && table[i].no[k]; k++)
            if (reads(g, table[i].no[k]) != -1) fail_msg("%s\n%s", table[i].source, table[i].no[k]);
        hone_grammar_unref(g);
    }
}

static void test_ambiguity_is_no_explosion(void **state) {
    (void)state;
    hone_grammar *g = walk_compile("root ::= s\ns ::= \"a\" s \"b\" | \"a\" s | \"a\" s s | \"a\"");
    char text[400];
    memset(text, 'a', sizeof(text));
    const double start = hone_clock_seconds();
    const int out = walk_read(g, v, text, sizeof(text)); /* read, or over a limit, but soon */
    assert_true(out == 1 || out == -1);
    assert_true(hone_clock_seconds() - start < 20);
    hone_grammar_unref(g);
}

static void test_repetition_of_rules(void **state) {
    (void)state;
    hone_grammar *g = walk_compile("root ::= \"[\" item{2,3} \"]\"\nitem ::= \"(\" item* \")\" | \"\"");
    assert_int_equal(reads(g, "[]"), 1);
    assert_int_equal(reads(g, "[()()]"), 1);
    assert_int_equal(reads(g, "[(()())()()]"), 1);
    assert_int_equal(reads(g, "[()()()()]"), -1);
    hone_grammar_unref(g);
}

/* ---- Random grammars against their languages written out ---- */

#define RULES 4u
typedef enum { G_A, G_B, G_AB, G_EMPTY, G_RULE, G_CAT, G_ALT, G_REPEAT } form;
typedef struct {
    form form;
    uint32_t a, b; /* nodes; the rule; repetition: a with b = min, max = c */
    uint32_t c;
} tree;
static tree forest[400];
static uint32_t n_tree, dice_at;

static uint32_t dice(uint32_t seed, uint32_t below) {
    uint32_t out[4];
    hone_random_block(seed, 9, 9, dice_at++, out);
    return out[0] % below;
}

static uint32_t grow_tree(uint32_t seed, uint32_t depth) {
    const uint32_t at = n_tree++;
    tree t = {.form = depth == 0 ? (form)dice(seed, 5) : (form)dice(seed, 8)};
    if (t.form == G_RULE) t.a = dice(seed, RULES);
    if (t.form == G_CAT || t.form == G_ALT || t.form == G_REPEAT) t.a = grow_tree(seed, depth - 1);
    if (t.form == G_CAT || t.form == G_ALT) t.b = grow_tree(seed, depth - 1);
    if (t.form == G_REPEAT) {
        t.b = dice(seed, 2);
        t.c = dice(seed, 2) ? HONE_RX_UNBOUNDED : t.b + dice(seed, 3);
    }
    forest[at] = t;
    return at;
}

static uint32_t language_of(uint32_t at, const uint32_t rule[RULES]) {
    const tree t = forest[at];
    switch (t.form) {
    case G_A: return 1u << word_number("a", 1);
    case G_B: return 1u << word_number("b", 1);
    case G_AB: return 1u << word_number("ab", 2);
    case G_EMPTY: return 1;
    case G_RULE: return rule[t.a];
    case G_CAT: return language_cat(language_of(t.a, rule), language_of(t.b, rule));
    case G_ALT: return language_of(t.a, rule) | language_of(t.b, rule);
    default: return language_repeat(language_of(t.a, rule), t.b, t.c);
    }
}

static hone_gx build_tree(hone_grammar_builder *b, uint32_t at, const hone_gx rule[RULES]) {
    const tree t = forest[at];
    hone_gx part[2];
    switch (t.form) {
    case G_A: return lit(b, "a");
    case G_B: return lit(b, "b");
    case G_AB: return lit(b, "ab");
    case G_EMPTY: return lit(b, "");
    case G_RULE: return rule[t.a];
    case G_REPEAT: return hone_gx_repeat(b, build_tree(b, t.a, rule), t.b, t.c);
    default:
        part[0] = build_tree(b, t.a, rule);
        part[1] = build_tree(b, t.b, rule);
        return t.form == G_CAT ? hone_gx_seq(b, part, 2) : hone_gx_alt(b, part, 2);
    }
}

static void test_random_grammars_are_their_languages(void **state) {
    (void)state;
    uint32_t compared = 0, refused = 0;
    for (uint32_t seed = 1; seed <= 4000; seed++) {
        uint32_t root[RULES], language[RULES] = {0};
        n_tree = dice_at = 0;
        for (uint32_t i = 0; i < RULES; i++) root[i] = grow_tree(seed, 1 + dice(seed, 4));
        for (bool again = true; again;) { /* the least fixed point */
            again = false;
            for (uint32_t i = 0; i < RULES; i++) {
                const uint32_t now = language_of(root[i], language);
                again = again || now != language[i];
                language[i] = now;
            }
        }
        hone_grammar_builder *b;
        hone_grammar *g;
        hone_gx rule[RULES];
        assert_int_equal(hone_grammar_begin(&b, NULL), HONE_OK);
        for (uint32_t i = 0; i < RULES; i++) rule[i] = hone_gx_rule(b);
        for (uint32_t i = 0; i < RULES; i++) hone_gx_define(b, rule[i], build_tree(b, root[i], rule));
        const hone_status st = hone_grammar_finish(&g, b, rule[0], NULL);
        if (st == HONE_ERR_UNSUPPORTED) { /* left recursion behind something empty */
            refused++;
            continue;
        }
        if (st == HONE_ERR_ARG) {
            assert_int_equal(language[0], 0);
            continue;
        }
        assert_int_equal(st, HONE_OK);
        compared++;
        for (uint32_t w = 0; w < WORDS; w++) {
            size_t n, longer;
            char text[8];
            memcpy(text, word_text(w, &n), 8);
            bool prefix = false;
            for (uint32_t k = 0; k < WORDS && !prefix; k++) {
                const char *other = word_text(k, &longer);
                prefix = (language[0] >> k & 1) && longer >= n && memcmp(other, text, n) == 0;
            }
            const int out = walk_read(g, v, text, n);
            if ((out == 1) != (language[0] >> w & 1)) fail_msg("seed %u: \"%.*s\" reads %d", seed, (int)n, text, out);
            if (prefix && out < 0) fail_msg("seed %u: \"%.*s\" is a beginning", seed, (int)n, text);
        }
        hone_grammar_unref(g);
    }
    assert_true(compared > 2000 && refused < compared);
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    static const char source[] = "root ::= e\ne ::= e \"+\" t | t\nt ::= \"x\"{2,5} | %regex\"(?!a)[a-f]+\" | \"(\" e "
                                 "\")\" | dead\ndead ::= \"d\" dead";
    const int64_t live = hone_mem_live;
    for (int64_t at = 0, done = 0; !done; at++) {
        hone_grammar *g = NULL;
        hone_mem_fail_at = at;
        const hone_status st = hone_grammar_compile(&g, source, sizeof(source) - 1, NULL);
        hone_mem_fail_at = -1;
        if (st == HONE_OK) {
            assert_int_equal(reads(g, "(xx+bcd)+xxx"), 1);
            hone_grammar_unref(g);
            done = 1;
        } else {
            assert_int_equal(st, HONE_ERR_NOMEM);
            assert_null(g);
        }
        assert_int_equal(hone_mem_live, live);
    }
}

static void test_sources(void **state) {
    (void)state;
    hone_buf out = {0};
    const char text[] = "a\"b\\\n\x01\xC3\xA4\x7F";
    hone_buf_text(&out, "root ::= ");
    hone_grammar_source_literal(&out, text, sizeof(text) - 1);
    hone_grammar *g = walk_compile(hone_buf_str(&out));
    assert_int_equal(walk_read(g, v, text, sizeof(text) - 1), 1);
    hone_grammar_unref(g);
    hone_buf_clear(&out);
    hone_grammar_source_regex(&out, "[a-c]\\\"+", 8);
    g = walk_compile(hone_buf_str(&out));
    assert_int_equal(reads(g, "b\"\""), 1);
    assert_int_equal(reads(g, "b"), 0);
    hone_grammar_unref(g);
    hone_buf_clear(&out);
    hone_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_balanced),
        cmocka_unit_test(test_what_derives_nothing_is_never_begun),
        cmocka_unit_test(test_intersections_are_not_entered_to_get_stuck),
        cmocka_unit_test(test_left_recursion_is_rewritten),
        cmocka_unit_test(test_ambiguity_is_no_explosion),
        cmocka_unit_test(test_repetition_of_rules),
        cmocka_unit_test(test_random_grammars_are_their_languages),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
        cmocka_unit_test(test_sources),
    };
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
