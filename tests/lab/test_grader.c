/* test_grader.c - grader.h: scores with known values (fuzzy_match against rapidfuzz 3.x `fuzz.ratio`), normalisation,
 * every failed allocation. */
#include "test.h"

#include <math.h>

#include "base/json.h"
#include "base/mem.h"
#include "lab/grader.h"

static double score(const char *spec, const char *output, const char *reference) {
    hone_grader g;
    double s = -1;
    assert_int_equal(hone_grader_parse(&g, spec, NULL), HONE_OK);
    assert_int_equal(hone_grade(&g, output, reference, &s, NULL), HONE_OK);
    return s;
}

static void near_to(double a, double b) {
    if (!(fabs(a - b) < 1e-12)) fail_msg("%.15g is not %.15g", a, b);
}

static void string_checks(void **state) {
    (void)state;
    near_to(score("string_check:eq", "cook", "cook"), 1);
    near_to(score("eq", "Cook", "cook"), 0);
    near_to(score("eq", " cook", "cook"), 0);
    near_to(score("ne", "Cook", "cook"), 1);
    near_to(score("ne", "cook", "cook"), 0);
    near_to(score("like", "a head cook", "cook"), 1);
    near_to(score("like", "a head Cook", "cook"), 0);
    near_to(score("like", "cook", "a cook"), 0); /* the reference in the output, not the other way round */
    near_to(score("ilike", "A HEAD COOK", "cook"), 1);
    near_to(score("ilike", "\xc3\x84RZTIN", "\xc3\xa4rztin"), 1);
    near_to(score("like", "anything", ""), 1);
}

static void exact_and_normalisation(void **state) {
    (void)state;
    near_to(score("exact", " cook\n", "cook"), 1);
    near_to(score("exact", "Cook", "cook"), 0);
    near_to(score("exact+lower", "Cook", "cook"), 1);
    near_to(score("exact+stop", "cook.", "cook"), 1);
    near_to(score("exact+stop", "cook .", "cook"), 1);
    near_to(score("exact+stop", "cook..", "cook"), 0); /* one full stop, no more */
    near_to(score("exact+lower+stop", "Cook. ", "COOK"), 1);
    near_to(score("exact+lower",
                  "\xc3\x89"
                  "tudiant",
                  "\xc3\xa9tudiant"),
            1);
    near_to(score("exact", "\xc2\xa0x", "x"), 1); /* a no-break space is white space */
}

static void token_f1(void **state) {
    (void)state;
    near_to(score("token_f1", "head cook", "head cook"), 1);
    near_to(score("token_f1", "cook head", "head cook"), 1);
    near_to(score("token_f1", "the head cook", "head chef"), 2.0 * 1 / 5);
    near_to(score("token_f1", "a a a b", "a a c"), 2.0 * 2 / 7); /* as often as in both */
    near_to(score("token_f1", "x", "y"), 0);
    near_to(score("token_f1", "", ""), 1);
    near_to(score("token_f1", "x", ""), 0);
    near_to(score("token_f1", "", "x"), 0);
    near_to(score("token_f1+lower+stop", "Head  Cook.", "head cook"), 1);
    near_to(score("token_f1", "ab", "a b"), 0);
}

static void fuzzy_match(void **state) {
    (void)state;
    near_to(score("fuzzy_match", "this is a test", "this is a test!"), 2.0 * 14 / 29); /* rapidfuzz: 96.55 */
    near_to(score("fuzzy_match", "lewenstein", "levenshtein"), 2.0 * 9 / 21);          /* rapidfuzz: 85.71 */
    near_to(score("text_similarity:fuzzy_match", "abc", "abc"), 1);
    near_to(score("fuzzy_match", "abc", "xyz"), 0);
    near_to(score("fuzzy_match", "", ""), 1);
    near_to(score("fuzzy_match", "", "x"), 0);
    near_to(score("fuzzy_match",
                  "\xc3\xa4"
                  "b",
                  "\xc3\xb6"
                  "b"),
            0.5); /* code points, not bytes */
    near_to(score("fuzzy_match+lower", "ABC", "abc"), 1);
}

static void unknown_graders_are_named(void **state) {
    (void)state;
    hone_grader g;
    hone_error err;
    static const char *const bad[] = {"",       "bleu",   "string_check",      "string_check:exact", "exact+upper",
                                      "exact+", "+lower", "text_similarity:eq"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(hone_grader_parse(&g, bad[i], &err), HONE_ERR_ARG);

    static const struct {
        const char *json;
        hone_status status;
        hone_grade_kind kind;
    } cases[] = {
        {"{\"type\":\"string_check\",\"operation\":\"ilike\",\"name\":\"x\"}", HONE_OK, HONE_GRADE_ILIKE},
        {"{\"type\":\"text_similarity\",\"evaluation_metric\":\"fuzzy_match\"}", HONE_OK, HONE_GRADE_FUZZY},
        {"{\"type\":\"text_similarity\",\"evaluation_metric\":\"bleu\"}", HONE_ERR_UNSUPPORTED, 0},
        {"{\"type\":\"string_check\",\"operation\":\"fuzzy_match\"}", HONE_ERR_UNSUPPORTED, 0},
        {"{\"type\":\"python\"}", HONE_ERR_UNSUPPORTED, 0},
        {"{\"type\":7}", HONE_ERR_FORMAT, 0},
        {"[]", HONE_ERR_FORMAT, 0},
        {"{\"type\":\"text_similarity\",\"evaluation_metric\":\"exact\",\"normalize\":[\"upper\"]}", HONE_ERR_FORMAT,
         0},
        {"{\"type\":\"text_similarity\",\"evaluation_metric\":\"exact\",\"normalize\":\"lower\"}", HONE_ERR_FORMAT, 0},
        {"{\"type\":\"text_similarity\",\"evaluation_metric\":\"exact\",\"normalize\":[\"lower\"]}", HONE_OK,
         HONE_GRADE_EXACT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *v = hone_json_parse(cases[i].json, strlen(cases[i].json), NULL);
        assert_int_equal(hone_grader_from_json(&g, v, &err), cases[i].status);
        if (cases[i].status == HONE_OK) assert_int_equal(g.kind, cases[i].kind);
        json_decref(v);
    }
}

static void names_come_back(void **state) {
    (void)state;
    for (int kind = HONE_GRADE_EQ; kind <= HONE_GRADE_TOKEN_F1; kind++) {
        const hone_grader g = {.kind = (hone_grade_kind)kind};
        hone_grader back;
        assert_int_equal(hone_grader_parse(&back, hone_grader_name(&g), NULL), HONE_OK);
        assert_int_equal(back.kind, kind);
    }
}

static void every_failed_allocation_is_survived(void **state) {
    (void)state;
    static const char *const specs[] = {"exact", "fuzzy_match", "token_f1"};
    for (size_t i = 0; i < 3; i++) {
        hone_grader g;
        hone_grader_parse(&g, specs[i], NULL);
        hone_status status = HONE_ERR_NOMEM;
        for (int at = 0; status != HONE_OK; at++) {
            double s;
            hone_mem_fail_at = at;
            status = hone_grade(&g, "a b", "a c", &s, NULL);
            hone_mem_fail_at = -1;
            assert_int_equal(hone_mem_live, 0);
            assert_true(status == HONE_OK || status == HONE_ERR_NOMEM);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(string_checks),
        cmocka_unit_test(exact_and_normalisation),
        cmocka_unit_test(token_f1),
        cmocka_unit_test(fuzzy_match),
        cmocka_unit_test(unknown_graders_are_named),
        cmocka_unit_test(names_come_back),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests_name("lab grader", tests, NULL, NULL);
}
