/* test_matcher.c - masks against brute force, random walks against the byte-wise reader, rollback, forced tokens, ends.
 */
#include <pthread.h>
#include <stdio.h>

#include "test.h"

#include "grammar/matcher.h"
#include "walk.h"

#define WORDS ((WALK_N + 31) / 32)

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

static const char *const grammars[] = {
    "root ::= \"{\\\"name\\\": \\\"\" [^\"\\\\\\x00-\\x1F]* \"\\\", \\\"n\\\": \" [0-9]{1,3} \"}\"",
    "root ::= \"{\\\"name\\\": \\\"\" [^\"\\\\\\x00-\\x1F]{2,5} \"\\\"}\"",
    "root ::= v\nv ::= o | a | s | [0-9]+ | \"true\" | \"null\"\no ::= \"{\" (s \": \" v (\", \" s \": \" v)*)? \"}\"\n"
    "a ::= \"[\" (v (\",\" v)*)? \"]\"\ns ::= \"\\\"\" ([^\"\\\\\\x00-\\x1F] | \"\\\\\" ([\"\\\\n] | \"u\" "
    "[0-9a-f]{4}))* \"\\\"\"",
    "root ::= \"foo\" | \"foobar\" | \"foobarbaz\\\"x\"",
    "root ::= (\"xy\" | \"yx\")+ (\"\\n\" | \"!\")?",
    "root ::= %regex\"[a-z]*\" \"ab\" .{0,3}",
    "root ::= %regex\"(?=[^u]*u)[a-z]{3,6}\" \"\\\"\"",
    "root ::= %regex\"(?!foo|name|hello).*\" \"\\\"\"",
    "root ::= e\ne ::= e \"+\" t | t\nt ::= [0-9]+ | \"(\" e \")\"",
    "root ::= \"a\" s \"b\"\ns ::= \"a\" s \"b\" | \"\"",
    "root ::= ([\\u0080-\\U0010FFFF] | \"ab\"){1,4}",
    "root ::= %token\"" WALK_SPECIAL "\" [a-z]+ | .* \"#\"",
    "root ::= \"h\"? \"e\"? \"l\"* \"lo\" \" world\"?",
};
#define N_GRAMMARS (sizeof(grammars) / sizeof(*grammars))

static uint32_t dice(uint64_t seed, uint64_t at, uint32_t below) {
    uint32_t out[4];
    hone_random_block(seed, 3, 4, at, out);
    return out[0] % below;
}

/* The mask, held against every token tried by itself. */
static uint32_t checked_mask(hone_matcher *m, uint32_t *bits, int32_t *allowed) {
    hone_error err = {0};
    uint32_t n = 0;
    if (hone_matcher_mask(m, bits, &err) != HONE_OK) fail_msg("%s", err.message);
    for (int32_t t = 0; t < (int32_t)WALK_N; t++) {
        const bool bit = bits[t / 32] >> (t % 32) & 1;
        if (hone_matcher_allows(m, t) != bit) fail_msg("token %d: mask says %d", t, bit);
        if (bit) allowed[n++] = t;
    }
    for (uint32_t t = WALK_N; t < WORDS * 32; t++) assert_int_equal(bits[t / 32] >> (t % 32) & 1, 0);
    assert_true(n > 0);
    return n;
}

static void test_masks_are_brute_force(void **state) {
    (void)state;
    uint32_t bits[WORDS], again[WORDS];
    int32_t allowed[WALK_N];
    for (size_t k = 0; k < N_GRAMMARS; k++)
        for (uint32_t walk = 0; walk < 12; walk++) {
            hone_grammar *g = walk_compile(grammars[k]); /* a fresh one: the order of asking must not matter */
            hone_matcher *m;
            assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
            for (uint32_t i = 0; i < 25; i++) {
                const uint32_t n = checked_mask(m, bits, allowed);
                assert_int_equal(hone_matcher_mask(m, again, NULL), HONE_OK); /* now perhaps from memory */
                assert_memory_equal(bits, again, sizeof(bits));
                const int32_t t = allowed[dice(k * 1000 + walk, i, n)];
                assert_int_equal(hone_matcher_accept(m, t, NULL), HONE_OK);
                if (t == WALK_END) break;
            }
            hone_matcher_close(m);
            hone_grammar_unref(g);
        }
}

/* Never stuck: from wherever a random walk stands, preferring what closes, the text can be ended. */
static void test_walks_end_in_texts(void **state) {
    (void)state;
    uint32_t bits[WORDS];
    int32_t allowed[WALK_N];
    for (size_t k = 0; k < N_GRAMMARS; k++) {
        hone_grammar *g = walk_compile(grammars[k]);
        uint32_t ended = 0;
        for (uint32_t walk = 0; walk < 60; walk++) {
            hone_matcher *m;
            hone_buf text = {0};
            bool marked = false;
            assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
            for (uint32_t i = 0; i < 80 && !hone_matcher_closed(m); i++) {
                const uint32_t n = checked_mask(m, bits, allowed);
                const bool can_end = bits[WALK_END / 32] >> (WALK_END % 32) & 1;
                assert_int_equal(can_end, hone_matcher_complete(m));
                const int32_t t = can_end && i > 6 ? WALK_END : allowed[dice(k * 999 + walk, i, n)];
                assert_int_equal(hone_matcher_accept(m, t, NULL), HONE_OK);
                if (t < 256)
                    hone_buf_char(&text, (char)t);
                else if (t < WALK_CALL)
                    hone_buf_text(&text, walk_text[t - 256]);
                else if (t == WALK_CALL)
                    marked = true;
            }
            if (hone_matcher_closed(m)) {
                ended++;
                assert_int_equal(hone_matcher_mask(m, bits, NULL), HONE_ERR_ARG);
                assert_int_equal(hone_matcher_accept(m, 'a', NULL), HONE_ERR_ARG);
                if (!marked) assert_int_equal(walk_read(g, v, hone_buf_str(&text), text.n), 1);
            }
            hone_buf_free(&text);
            hone_matcher_close(m);
        }
        assert_true(ended > 10);
        hone_grammar_unref(g);
    }
}

static void test_rollback(void **state) {
    (void)state;
    uint32_t first[WORDS], now[WORDS];
    int32_t allowed[WALK_N];
    for (size_t k = 0; k < N_GRAMMARS; k++) {
        hone_grammar *g = walk_compile(grammars[k]);
        hone_matcher *m;
        assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
        for (uint32_t round = 0; round < 20; round++) {
            checked_mask(m, first, allowed);
            uint32_t n = 0;
            for (; n < 1 + dice(k, round, 6) && !hone_matcher_closed(m); n++) {
                const uint32_t count = checked_mask(m, now, allowed);
                assert_int_equal(hone_matcher_accept(m, allowed[dice(k + 50, round * 10 + n, count)], NULL), HONE_OK);
            }
            assert_int_equal(hone_matcher_accept(m, -1, NULL), HONE_ERR_ARG);
            hone_matcher_rollback(m, n);
            checked_mask(m, now, allowed);
            assert_memory_equal(first, now, sizeof(first));
            const uint32_t count = checked_mask(m, now, allowed);
            int32_t t = allowed[dice(k + 70, round, count)];
            if (t != WALK_END) assert_int_equal(hone_matcher_accept(m, t, NULL), HONE_OK);
        }
        hone_matcher_rollback(m, UINT32_MAX); /* at most all of it */
        assert_false(hone_matcher_closed(m));
        hone_matcher_close(m);
        hone_grammar_unref(g);
    }
}

/* Bytes that are forced are forced: no other byte is allowed where one is. */
static void test_forced_is_what_masks_leave(void **state) {
    (void)state;
    uint32_t bits[WORDS], total = 0;
    int32_t allowed[WALK_N];
    for (size_t k = 0; k < N_GRAMMARS; k++)
        for (uint32_t walk = 0; walk < 20; walk++) {
            hone_grammar *g = walk_compile(grammars[k]);
            hone_matcher *m, *other;
            assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
            for (uint32_t i = 0; i < 12 && !hone_matcher_closed(m); i++) {
                int32_t forced[50], again[50];
                const uint32_t n = hone_matcher_forced(m, forced, 50);
                assert_int_equal(hone_matcher_forced(m, again, 50), n);
                assert_memory_equal(forced, again, n * sizeof(*forced));
                total += n;
                for (uint32_t f = 0; f < n; f++) {
                    const uint32_t count = checked_mask(m, bits, allowed);
                    uint32_t single = 0;
                    for (uint32_t a = 0; a < count; a++) {
                        single += allowed[a] < 256;
                        assert_int_not_equal(allowed[a], WALK_END);
                    }
                    assert_int_equal(single + (forced[f] == WALK_CALL), 1); /* one byte goes on, and no other */
                    assert_true(hone_matcher_allows(m, forced[f]));
                    assert_int_equal(hone_matcher_accept(m, forced[f], NULL), HONE_OK);
                }
                const uint32_t count = checked_mask(m, bits, allowed);
                assert_int_equal(hone_matcher_accept(m, allowed[dice(k * 77 + walk, i, count)], NULL), HONE_OK);
            }
            assert_int_equal(hone_matcher_open(&other, g, v, NULL), HONE_OK);
            hone_matcher_close(other);
            hone_matcher_close(m);
            hone_grammar_unref(g);
        }
    assert_true(total > 100);
    /* cut into the longest; the last one is left when a longer one may come */
    hone_grammar *g = walk_compile("root ::= \"abcname\" (\"\\\"\" | \"x\") \"foo\" (\"bar\" | \"c\")");
    hone_matcher *m;
    int32_t forced[8];
    assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
    assert_int_equal(hone_matcher_forced(m, forced, 8), 2);
    assert_int_equal(forced[0], 257); /* abc */
    assert_int_equal(forced[1], 264); /* name */
    assert_int_equal(hone_matcher_forced(m, forced, 1), 1);
    assert_int_equal(hone_matcher_accept(m, 257, NULL), HONE_OK);
    assert_int_equal(hone_matcher_accept(m, 264, NULL), HONE_OK);
    assert_int_equal(hone_matcher_accept(m, 'x', NULL), HONE_OK);
    assert_int_equal(hone_matcher_forced(m, forced, 8), 0); /* foobar may be meant */
    hone_matcher_close(m);
    hone_grammar_unref(g);
}

static void test_duplicate_tokens_and_large_ids(void **state) {
    (void)state;
    hone_grammar *g = walk_compile("root ::= \"aa\"");
    hone_matcher *m;
    uint32_t bits[WORDS];
    assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
    assert_int_equal(hone_matcher_mask(m, bits, NULL), HONE_OK);
    const uint32_t twice[3] = {'a', 258, 256 + WALK_N_TEXT - 1};
    for (int i = 0; i < 3; i++) assert_true(bits[twice[i] / 32] >> (twice[i] % 32) & 1);
    assert_false(hone_matcher_allows(m, (int32_t)WALK_N));
    assert_false(hone_matcher_allows(m, INT32_MAX));
    hone_matcher_close(m);
    hone_grammar_unref(g);
}

static void test_a_vocabulary_that_cannot_go_on(void **state) {
    (void)state;
    const uint32_t offset[3] = {0, 1, 2};
    const int32_t end = 1;
    hone_vocabulary *small;
    hone_error err = {0};
    assert_int_equal(hone_vocabulary_open(&small, 2, offset, (const uint8_t *)"a!", &end, 1, NULL), HONE_OK);
    hone_grammar *g = walk_compile("root ::= \"ab\"");
    hone_matcher *m;
    uint32_t bits[1];
    assert_int_equal(hone_matcher_open(&m, g, small, NULL), HONE_OK);
    assert_int_equal(hone_matcher_mask(m, bits, NULL), HONE_OK);
    assert_int_equal(bits[0], 1);
    assert_int_equal(hone_matcher_accept(m, 0, NULL), HONE_OK);
    assert_int_equal(hone_matcher_mask(m, bits, &err), HONE_ERR_UNSUPPORTED);
    hone_matcher_close(m);
    hone_vocabulary_close(small);
    hone_grammar_unref(g);
    const uint32_t backwards[3] = {0, 2, 1};
    assert_int_equal(hone_vocabulary_open(&small, 2, backwards, (const uint8_t *)"a!", &end, 1, NULL), HONE_ERR_ARG);
    const int32_t outside = 2;
    assert_int_equal(hone_vocabulary_open(&small, 2, offset, (const uint8_t *)"a!", &outside, 1, NULL), HONE_ERR_ARG);
}

/* Many threads, one grammar: each walks by its own dice and must see what a thread alone sees. */
typedef struct {
    hone_grammar *g;
    uint64_t seed, digest;
} thread_walk;

static void *run_walk(void *arg) {
    thread_walk *w = arg;
    uint32_t bits[WORDS];
    for (uint32_t walk = 0; walk < 40; walk++) {
        hone_matcher *m;
        if (hone_matcher_open(&m, w->g, v, NULL) != HONE_OK) return NULL;
        for (uint32_t i = 0; i < 30 && !hone_matcher_closed(m); i++) {
            if (hone_matcher_mask(m, bits, NULL) != HONE_OK) return NULL;
            uint32_t n = 0;
            for (uint32_t k = 0; k < WORDS; k++) {
                w->digest = w->digest * 1099511628211u + bits[k];
                n += (uint32_t)__builtin_popcount(bits[k]);
            }
            uint32_t pick = dice(w->seed * 100 + walk, i, n);
            int32_t t = 0;
            for (;; t++)
                if ((bits[t / 32] >> (t % 32) & 1) && pick-- == 0) break;
            if (hone_matcher_accept(m, t, NULL) != HONE_OK) return NULL;
        }
        hone_matcher_close(m);
    }
    return w;
}

static void test_threads_share_a_grammar(void **state) {
    (void)state;
    for (size_t k = 0; k < N_GRAMMARS; k += 2) {
        hone_grammar *g = walk_compile(grammars[k]);
        thread_walk w[4];
        pthread_t thread[4];
        for (uint64_t i = 0; i < 4; i++) {
            w[i] = (thread_walk){.g = g, .seed = i / 2}; /* two of each */
            assert_int_equal(pthread_create(&thread[i], NULL, run_walk, &w[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
            void *out;
            pthread_join(thread[i], &out);
            assert_non_null(out);
        }
        assert_true(w[0].digest == w[1].digest && w[2].digest == w[3].digest);
        hone_grammar_unref(g);
        g = walk_compile(grammars[k]);
        thread_walk alone = {.g = g, .seed = 1};
        assert_non_null(run_walk(&alone));
        assert_true(alone.digest == w[2].digest);
        hone_grammar_unref(g);
    }
}

/* A long text of counted characters: each is a state of its own, and what is kept of it must stay small. */
static void test_long_counted_texts(void **state) {
    (void)state;
    hone_grammar *g = walk_compile("root ::= \"\\\"\" [^\"\\\\\\x00-\\x1F]{10,32767} \"\\\"\" [a-z]*");
    hone_matcher *m;
    uint32_t bits[WORDS];
    assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
    assert_int_equal(hone_matcher_accept(m, '"', NULL), HONE_OK);
    for (uint32_t i = 0; i < 32767; i++) {
        if (i % 3 == 0) assert_int_equal(hone_matcher_mask(m, bits, NULL), HONE_OK);
        if (i == 20001) assert_true((bits[1] >> 2 & 1) && (bits[3] >> 1 & 1)); /* a quote, and an a */
        assert_int_equal(hone_matcher_accept(m, 'a' + (int32_t)(i % 26), NULL), HONE_OK);
    }
    assert_false(hone_matcher_allows(m, 'a'));
    assert_true(hone_matcher_allows(m, '"'));
    assert_true(hone_grammar_bytes(g) < 100u << 20);
    print_message("%zu bytes\n", hone_grammar_bytes(g));
    hone_matcher_close(m);
    hone_grammar_unref(g);
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    const int64_t live = hone_mem_live;
    uint32_t bits[WORDS];
    for (int64_t at = 0, done = 0; !done; at++) {
        hone_grammar *g = walk_compile(grammars[2]);
        hone_vocabulary *w = NULL;
        hone_matcher *m = NULL;
        hone_mem_fail_at = at;
        hone_status st = walk_open(&w, NULL);
        if (st == HONE_OK) st = hone_matcher_open(&m, g, w, NULL);
        static const char text[] = "{\"a\\n\": [1,\"";
        for (size_t i = 0; i < sizeof(text) - 1 && st == HONE_OK; i++) {
            st = hone_matcher_mask(m, bits, NULL);
            if (st == HONE_OK) st = hone_matcher_accept(m, text[i], NULL);
        }
        hone_mem_fail_at = -1;
        if (st == HONE_OK)
            done = 1;
        else
            assert_int_equal(st, HONE_ERR_NOMEM);
        if (m) { /* and it works again afterwards */
            assert_int_equal(hone_matcher_mask(m, bits, NULL), HONE_OK);
            for (int32_t t = 0; t < (int32_t)WALK_N; t++)
                assert_int_equal(hone_matcher_allows(m, t), bits[t / 32] >> (t % 32) & 1);
        }
        hone_matcher_close(m);
        hone_vocabulary_close(w);
        hone_grammar_unref(g);
        assert_int_equal(hone_mem_live, live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks_are_brute_force),
        cmocka_unit_test(test_walks_end_in_texts),
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_forced_is_what_masks_leave),
        cmocka_unit_test(test_duplicate_tokens_and_large_ids),
        cmocka_unit_test(test_a_vocabulary_that_cannot_go_on),
        cmocka_unit_test(test_threads_share_a_grammar),
        cmocka_unit_test(test_long_counted_texts),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
