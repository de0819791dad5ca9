/* test_prefix.c - pages of the tree: found only by what they hold, never lost, kept by use and by pins. */
#include "test.h"

#include "base/mem.h"
#include "base/random.h"
#include "engine/kv.h"
#include "tiny.h"

enum { PAGE = HONE_KV_PAGE };

static hone_model *model;

static int set_up(void **state) {
    (void)state;
    const tiny_options o = tiny_defaults();
    model = tiny_model(hone_kernels_best(), &o);
    return model ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tiny_model_free(model);
    return 0;
}

static hone_kv *open_kv(uint32_t pages, uint32_t sequences, uint32_t pin_percent) {
    const hone_kv_config cfg = {.max_sequences = sequences,
                                .max_length = 16 * PAGE,
                                .type = HONE_KV_BF16,
                                .budget_bytes = pages * hone_kv_page_bytes(model, HONE_KV_BF16),
                                .pin_percent = pin_percent};
    hone_kv *kv;
    assert_int_equal(hone_kv_open(&kv, model, &cfg, NULL), HONE_OK);
    return kv;
}

static void must_hold(const hone_kv *kv) {
    const char *broken = hone_kv_check(kv);
    if (broken) fail_msg("%s", broken);
}

static const hone_prefix_key key_a = {"a"}, key_b = {"b"};

/* A text of 16 pages; every page's tokens follow from (seed, page). */
static void text_of(int32_t *out, uint32_t seed) {
    for (uint32_t i = 0; i < 16 * PAGE; i++) out[i] = (int32_t)(seed * 1000 + i);
}

static hone_prefix_path path_of(const int32_t *token, const hone_prefix_key *key) {
    return (hone_prefix_path){.token = token, .applies_from = UINT32_MAX, .base = key, .own = key};
}

/* A sequence that computed n positions of the path and ended. */
static void leave(hone_kv *kv, const hone_prefix_path *path, uint32_t n, bool pin) {
    const uint32_t seq = hone_kv_begin(kv);
    assert_int_not_equal(seq, HONE_KV_NONE);
    hone_kv_share(kv, seq, path, n);
    assert_int_equal(hone_kv_extend(kv, seq, n), HONE_OK);
    hone_kv_commit(kv, seq, path, n);
    if (pin) hone_kv_pin(kv, seq, n);
    must_hold(kv);
    hone_kv_end(kv, seq);
    must_hold(kv);
}

static void whole_pages_are_found_again(void **state) {
    (void)state;
    int32_t text[16 * PAGE], other[16 * PAGE];
    text_of(text, 1);
    text_of(other, 1);
    other[2 * PAGE + 5]++;
    hone_kv *kv = open_kv(12, 4, 0);
    const hone_prefix_path path = path_of(text, &key_a), fork = path_of(other, &key_a), foreign = path_of(text, &key_b);
    leave(kv, &path, 4 * PAGE + 7, false); /* the fifth page is not whole */
    assert_int_equal(hone_kv_free_pages(kv), 12);
    assert_int_equal(hone_kv_cached_pages(kv), 4);
    assert_int_equal(hone_kv_match(kv, &path, 16 * PAGE), 4 * PAGE);
    assert_int_equal(hone_kv_match(kv, &path, 4 * PAGE - 1), 3 * PAGE); /* within the limit */
    assert_int_equal(hone_kv_match(kv, &path, PAGE - 1), 0);
    assert_int_equal(hone_kv_match(kv, &fork, 16 * PAGE), 2 * PAGE);
    assert_int_equal(hone_kv_match(kv, &foreign, 16 * PAGE), 0);
    /* The same tokens at another place are another page. */
    const hone_prefix_path shifted = path_of(text + PAGE, &key_a);
    assert_int_equal(hone_kv_match(kv, &shifted, 15 * PAGE), 0);
    /* Two share the same bytes, and what follows is their own. */
    const uint32_t a = hone_kv_begin(kv), b = hone_kv_begin(kv);
    assert_int_equal(hone_kv_share(kv, a, &path, 16 * PAGE), 4 * PAGE);
    assert_int_equal(hone_kv_share(kv, b, &fork, 16 * PAGE), 2 * PAGE);
    assert_int_equal(hone_kv_extend(kv, a, 5 * PAGE), HONE_OK);
    assert_int_equal(hone_kv_extend(kv, b, 5 * PAGE), HONE_OK);
    must_hold(kv);
    assert_int_equal(hone_kv_free_pages(kv), 12 - 4 - 1 - 3);
    const hone_seq_view va = hone_kv_view(kv, a), vb = hone_kv_view(kv, b);
    for (uint32_t l = 0; l < 2; l++)
        for (uint32_t p = 0; p < 5; p++) assert_int_equal(va.page[l * va.cap + p] == vb.page[l * vb.cap + p], p < 2);
    hone_kv_end(kv, a);
    hone_kv_end(kv, b);
    must_hold(kv);
    assert_int_equal(hone_kv_free_pages(kv), 12);
    hone_kv_close(kv);
}

static void adapters_share_what_lies_before_them(void **state) {
    (void)state;
    int32_t text[16 * PAGE];
    text_of(text, 1);
    hone_kv *kv = open_kv(12, 4, 0);
    const hone_prefix_path base = path_of(text, &key_a);
    /* The adapter begins within the third page. */
    const hone_prefix_path late = {.token = text, .applies_from = 2 * PAGE + 3, .base = &key_a, .own = &key_b};
    leave(kv, &base, 4 * PAGE, false);
    assert_int_equal(hone_kv_match(kv, &late, 16 * PAGE), 2 * PAGE);
    leave(kv, &late, 4 * PAGE, false);
    assert_int_equal(hone_kv_cached_pages(kv), 6);
    assert_int_equal(hone_kv_match(kv, &late, 16 * PAGE), 4 * PAGE);
    assert_int_equal(hone_kv_match(kv, &base, 16 * PAGE), 4 * PAGE);
    hone_kv_close(kv);
}

static void two_that_computed_the_same_keep_one(void **state) {
    (void)state;
    int32_t text[16 * PAGE];
    text_of(text, 1);
    hone_kv *kv = open_kv(12, 4, 0);
    const hone_prefix_path path = path_of(text, &key_a);
    const uint32_t a = hone_kv_begin(kv), b = hone_kv_begin(kv), c = hone_kv_begin(kv);
    assert_int_equal(hone_kv_extend(kv, a, 3 * PAGE), HONE_OK);
    assert_int_equal(hone_kv_extend(kv, b, 3 * PAGE), HONE_OK);
    assert_int_equal(hone_kv_extend(kv, c, 3 * PAGE + 1), HONE_OK);
    assert_int_equal(hone_kv_free_pages(kv), 2);
    hone_kv_commit(kv, a, &path, 3 * PAGE);
    hone_kv_commit(kv, b, &path, 2 * PAGE + 31);
    must_hold(kv);
    assert_int_equal(hone_kv_free_pages(kv), 4);
    assert_int_equal(hone_kv_share(kv, c, &path, 3 * PAGE), 3 * PAGE); /* pages it had reserved are free again */
    assert_int_equal(hone_kv_free_pages(kv), 7);
    must_hold(kv);
    hone_kv_end(kv, a);
    hone_kv_end(kv, c);
    hone_kv_end(kv, b);
    must_hold(kv);
    assert_int_equal(hone_kv_cached_pages(kv), 3);
    hone_kv_close(kv);
}

static void the_least_recently_used_leaves_go_first(void **state) {
    (void)state;
    int32_t text[3][16 * PAGE];
    hone_prefix_path path[3];
    hone_kv *kv = open_kv(10, 4, 0);
    for (uint32_t i = 0; i < 3; i++) {
        text_of(text[i], i + 1);
        path[i] = path_of(text[i], &key_a);
        leave(kv, &path[i], 3 * PAGE, false);
    }
    leave(kv, &path[0], 2 * PAGE, false); /* the first two pages of the oldest are used again */
    const uint32_t seq = hone_kv_begin(kv);
    assert_int_equal(hone_kv_extend(kv, seq, 3 * PAGE), HONE_OK); /* one was free: two go */
    must_hold(kv);
    assert_int_equal(hone_kv_match(kv, &path[0], 3 * PAGE), 2 * PAGE); /* its last page was the oldest leaf */
    assert_int_equal(hone_kv_match(kv, &path[1], 3 * PAGE), 2 * PAGE);
    assert_int_equal(hone_kv_match(kv, &path[2], 3 * PAGE), 3 * PAGE);
    assert_int_equal(hone_kv_extend(kv, seq, 5 * PAGE), HONE_OK);
    assert_int_equal(hone_kv_match(kv, &path[1], 3 * PAGE), 0);
    assert_int_equal(hone_kv_extend(kv, seq, 10 * PAGE), HONE_OK);
    assert_int_equal(hone_kv_cached_pages(kv), 0);
    must_hold(kv);
    hone_kv_close(kv);
}

static void pins_stay_within_their_share(void **state) {
    (void)state;
    int32_t text[4][16 * PAGE];
    hone_prefix_path path[4];
    hone_kv *kv = open_kv(10, 4, 50);
    for (uint32_t i = 0; i < 4; i++) {
        text_of(text[i], i + 1);
        path[i] = path_of(text[i], &key_a);
    }
    leave(kv, &path[0], 3 * PAGE, true);
    leave(kv, &path[1], 2 * PAGE, true);
    assert_int_equal(hone_kv_idle_pins(kv), 5);
    assert_int_equal(hone_kv_free_pages(kv), 5);
    const uint32_t seq = hone_kv_begin(kv);
    assert_int_equal(hone_kv_extend(kv, seq, 6 * PAGE), HONE_ERR_FULL);
    assert_int_equal(hone_kv_extend(kv, seq, 5 * PAGE), HONE_OK);
    assert_int_equal(hone_kv_match(kv, &path[0], 3 * PAGE), 3 * PAGE);
    hone_kv_end(kv, seq);
    /* A third pushes out the least recently used pins; what lost its pin is still found while nobody needs the page. */
    leave(kv, &path[2], 2 * PAGE, true);
    assert_int_equal(hone_kv_idle_pins(kv), 5);
    assert_int_equal(hone_kv_match(kv, &path[0], 3 * PAGE), 3 * PAGE);
    leave(kv, &path[3], 5 * PAGE, false);
    assert_int_equal(hone_kv_match(kv, &path[0], 3 * PAGE), PAGE); /* its deeper pages lost the pin first */
    assert_int_equal(hone_kv_match(kv, &path[1], 2 * PAGE), 2 * PAGE);
    assert_int_equal(hone_kv_match(kv, &path[2], 2 * PAGE), 2 * PAGE);
    /* Pins can be given up one by one. */
    uint32_t n = 0;
    while (hone_kv_unpin(kv)) n++;
    assert_int_equal(n, 5);
    must_hold(kv);
    assert_int_equal(hone_kv_free_pages(kv), 10);
    hone_kv_close(kv);
}

/* Random sequences on random paths.  A model in plain C keeps what must be there: while a sequence lives, what it
 * shares can be matched, and every match is of the right tokens. */
static void ten_thousand_random_steps_lose_nothing(void **state) {
    (void)state;
    enum { SEQUENCES = 7, TEXTS = 12, PAGES = 37 };
    static int32_t text[TEXTS][16 * PAGE];
    for (uint32_t i = 0; i < TEXTS; i++) { /* a tree: text i follows its elder up to a page */
        text_of(text[i], i + 1);
        if (i) memcpy(text[i], text[(i - 1) / 2], (1 + i * 5 % 4) * PAGE * sizeof(int32_t));
    }
    hone_kv *kv = open_kv(PAGES, SEQUENCES, 25);
    const int64_t before = hone_mem_count;
    struct {
        uint32_t seq, text, done, length;
        const hone_prefix_key *key;
    } s[SEQUENCES];
    for (uint32_t i = 0; i < SEQUENCES; i++) s[i].seq = HONE_KV_NONE;
    uint32_t refused = 0, matched = 0;
    for (uint32_t step = 0; step < 10000; step++) {
        uint32_t w[4];
        hone_random_block(5, step, 0, 0, w);
        const uint32_t i = w[0] % SEQUENCES;
        if (s[i].seq == HONE_KV_NONE) {
            s[i].seq = hone_kv_begin(kv);
            s[i].text = w[1] % TEXTS;
            s[i].key = w[2] % 4 ? &key_a : &key_b;
            const hone_prefix_path path = path_of(text[s[i].text], s[i].key);
            const uint32_t limit = w[3] % (16 * PAGE), there = hone_kv_match(kv, &path, limit);
            s[i].done = s[i].length = hone_kv_share(kv, s[i].seq, &path, limit);
            assert_int_equal(s[i].done, there);
            assert_true(s[i].done <= limit);
            matched += there;
        } else if (w[1] % 8 == 0) {
            if (w[2] % 3 == 0) hone_kv_pin(kv, s[i].seq, w[3] % (16 * PAGE));
            hone_kv_end(kv, s[i].seq);
            s[i].seq = HONE_KV_NONE;
        } else {
            const uint32_t to = s[i].length + w[2] % 60 < 16 * PAGE ? s[i].length + w[2] % 60 : 16 * PAGE;
            if (hone_kv_extend(kv, s[i].seq, to) == HONE_OK) {
                /* drafts may be dropped: only part of what was stored is final */
                s[i].length = to;
                s[i].done += w[3] % (to - s[i].done + 1);
                const hone_prefix_path path = path_of(text[s[i].text], s[i].key);
                hone_kv_commit(kv, s[i].seq, &path, s[i].done);
                assert_true(hone_kv_match(kv, &path, s[i].done) == s[i].done / PAGE * PAGE);
            } else {
                refused++;
            }
        }
        if (w[3] % 50 == 0) hone_kv_unpin(kv);
        must_hold(kv);
    }
    assert_true(refused > 100 && matched > 1000 * PAGE);
    assert_int_equal(hone_mem_count, before);
    hone_kv_close(kv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_pages_are_found_again),
        cmocka_unit_test(adapters_share_what_lies_before_them),
        cmocka_unit_test(two_that_computed_the_same_keep_one),
        cmocka_unit_test(the_least_recently_used_leaves_go_first),
        cmocka_unit_test(pins_stay_within_their_share),
        cmocka_unit_test(ten_thousand_random_steps_lose_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
