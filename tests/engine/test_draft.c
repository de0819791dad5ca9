/* test_draft.c - guesses from what was said and from a prediction; how many rows they are worth. */
#include "test.h"

#include <string.h>

#include "base/mem.h"
#include "engine/draft.h"

static uint32_t guess(hone_draft *d, const int32_t *token, uint32_t n_prompt, uint32_t n, int32_t *out, float *keep) {
    hone_draft_follow(d, token, n_prompt, n);
    return hone_draft_guess(d, token, out, HONE_DRAFT_MOST, keep);
}

static void the_longest_earlier_occurrence_goes_on(void **state) {
    (void)state;
    /* "1 2 3 4 5" and later "9 3 4 6": after 1 2 3 4 the first goes on, after 9 3 4 the second. */
    const int32_t text[] = {1, 2, 3, 4, 5, 50, 51, 9, 3, 4, 6, 60, 61, 1, 2, 3, 4};
    hone_draft *d;
    int32_t out[HONE_DRAFT_MOST];
    float keep;
    assert_int_equal(hone_draft_open(&d, 64, NULL, 0, NULL), HONE_OK);
    assert_true(guess(d, text, 5, 17, out, &keep) >= 3);
    assert_int_equal(out[0], 5);
    assert_int_equal(out[1], 50);
    assert_true(keep > 0.2f && keep < 1);
    hone_draft_close(d);
    const int32_t other[] = {1, 2, 3, 4, 5, 50, 51, 9, 3, 4, 6, 60, 61, 9, 3, 4};
    assert_int_equal(hone_draft_open(&d, 64, NULL, 0, NULL), HONE_OK);
    assert_true(guess(d, other, 16, 16, out, &keep) >= 2);
    assert_int_equal(out[0], 6);
    hone_draft_close(d);
    assert_int_equal(hone_draft_open(&d, 64, NULL, 0, NULL), HONE_OK);
    const int32_t fresh[] = {1, 2, 3, 4, 5};
    assert_int_equal(guess(d, fresh, 5, 5, out, &keep), 0); /* nothing like it was said */
    hone_draft_close(d);
    assert_int_equal(hone_mem_live, 0);
}

static void a_text_that_repeats_itself_goes_on_so(void **state) {
    (void)state;
    const int32_t text[] = {8, 9, 1, 2, 3, 1, 2, 3};
    hone_draft *d;
    int32_t out[HONE_DRAFT_MOST];
    float keep;
    assert_int_equal(hone_draft_open(&d, 64, NULL, 0, NULL), HONE_OK);
    assert_int_equal(guess(d, text, 4, 8, out, &keep), HONE_DRAFT_MOST);
    for (uint32_t i = 0; i < HONE_DRAFT_MOST; i++) assert_int_equal(out[i], 1 + (int32_t)(i % 3));
    hone_draft_close(d);
}

/* Output that follows the prediction, replaces a token, leaves some out, and puts some in. */
static void a_prediction_is_found_again(void **state) {
    (void)state;
    int32_t prediction[100], text[80];
    for (int32_t i = 0; i < 100; i++) prediction[i] = 1000 + i;
    uint32_t n = 0;
    for (; n < 10; n++) text[n] = (int32_t)n; /* the prompt */
    for (int32_t i = 0; i < 10; i++) text[n++] = 1000 + i;
    text[n++] = 7;
    for (int32_t i = 11; i < 20; i++) text[n++] = 1000 + i;
    for (int32_t i = 25; i < 35; i++) text[n++] = 1000 + i;
    for (int32_t i = 0; i < 3; i++) text[n++] = 500 + i;
    for (int32_t i = 35; i < 45; i++) text[n++] = 1000 + i;
    hone_draft *d;
    assert_int_equal(hone_draft_open(&d, 80, prediction, 100, NULL), HONE_OK);
    uint32_t right = 0, wrong = 0;
    for (uint32_t at = 10; at < n; at++) {
        int32_t out[HONE_DRAFT_MOST];
        float keep;
        const uint32_t m = guess(d, text, 10, at, out, &keep);
        right += m > 0 && out[0] == text[at];
        wrong += m > 0 && out[0] != text[at];
        if (at == 10) assert_int_equal(out[0], 1000); /* at once, before anything was said */
    }
    assert_true(right >= n - 10 - 9);
    assert_true(wrong <= 6);
    hone_draft_close(d);
    assert_int_equal(hone_mem_live, 0);
}

static void belief_follows_what_was_right(void **state) {
    (void)state;
    /* Whatever comes after 1 2 is never the same: guesses after it lose their credit. */
    int32_t text[400];
    uint32_t n = 0;
    hone_draft *d;
    assert_int_equal(hone_draft_open(&d, 400, NULL, 0, NULL), HONE_OK);
    float first = 0, last = 0;
    for (int32_t i = 0; i < 60; i++) {
        int32_t out[HONE_DRAFT_MOST];
        float keep;
        text[n++] = 1;
        text[n++] = 2;
        if (guess(d, text, 1, n, out, &keep)) {
            if (first == 0) first = keep;
            last = keep;
        }
        text[n++] = 100 + i;
    }
    assert_true(first > 0.25f);
    assert_true(last < 0.05f);
    hone_draft_close(d);
}

static void drafts_are_tried_where_rows_are_cheap(void **state) {
    (void)state;
    hone_draft_cost c = {0};
    hone_draft_bid good = {.n = 8}, bad = {.n = 8}, *bid[2] = {&bad, &good};
    for (uint32_t i = 0; i < 8; i++) {
        good.keep[i] = 0.9f;
        bad.keep[i] = 0.1f;
    }
    hone_draft_choose(&c, 1, 1, 16, bid, 2); /* nothing is known of steps yet */
    assert_int_equal(good.chosen + bad.chosen, 0);
    /* Memory-bound: eight rows cost hardly more than one. */
    for (uint32_t k = 0; k < 20; k++)
        for (uint32_t rows = 1; rows <= 16; rows++) hone_draft_observe(&c, rows, rows <= 8 ? 0.004 : 0.001 * rows);
    hone_draft_choose(&c, 2, 2, 16, bid, 2);
    assert_true(good.chosen >= 5);
    assert_true(bad.chosen <= 1);
    hone_draft_choose(&c, 2, 2, 3, bid, 2); /* no more than there is room for */
    assert_true(good.chosen + bad.chosen <= 3);
    /* Compute-bound: each row costs what a token is worth. */
    hone_draft_cost dear = {0};
    for (uint32_t k = 0; k < 20; k++)
        for (uint32_t rows = 1; rows <= 64; rows++) hone_draft_observe(&dear, rows, 0.001 * rows);
    hone_draft_choose(&dear, 32, 32, 16, bid, 2);
    assert_int_equal(good.chosen + bad.chosen, 0);
    /* One slow step is no reason to believe in slow rows. */
    const double before = hone_draft_seconds(&c, 8);
    hone_draft_observe(&c, 8, 0.4);
    assert_true(hone_draft_seconds(&c, 8) < 1.05 * before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_earlier_occurrence_goes_on),
        cmocka_unit_test(a_text_that_repeats_itself_goes_on_so),
        cmocka_unit_test(a_prediction_is_found_again),
        cmocka_unit_test(belief_follows_what_was_right),
        cmocka_unit_test(drafts_are_tried_where_rows_are_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
