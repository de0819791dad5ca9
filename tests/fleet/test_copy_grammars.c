/* test_copy_grammars.c - what is kept of compiled grammars: what grows past its limit or the budget makes room. */
#include "test.h"

#include <poll.h>

#include "fleet/copy_grammars.h"
#include "grammar/matcher.h"

static hone_vocabulary *bytes; /* a token for each, then the end */

static int open_vocabulary(void **state) {
    (void)state;
    uint32_t offset[258];
    uint8_t text[256];
    for (uint32_t i = 0; i < 256; i++) {
        offset[i] = i;
        text[i] = (uint8_t)i;
    }
    offset[256] = offset[257] = 256;
    const int32_t end = 256;
    return hone_vocabulary_open(&bytes, 257, offset, text, &end, 1, NULL) == HONE_OK ? 0 : -1;
}

static int close_vocabulary(void **state) {
    (void)state;
    hone_vocabulary_close(bytes);
    return 0;
}

typedef struct {
    uint32_t admitted, refused;
} outcome;

static void admit(void *arg, const hone_engine_request *r, void *store) {
    (void)r;
    assert_null(store);
    ((outcome *)arg)->admitted++;
}

static void refuse(void *arg, const hone_engine_request *r, const hone_error *why) {
    (void)r;
    (void)why;
    ((outcome *)arg)->refused++;
}

static hone_engine_request request_of(const char *source) {
    return (hone_engine_request){.id = 1, .grammar_source = source, .n_grammar_source = strlen(source)};
}

/* The source's grammar, compiled now or kept; *compiled tells which. */
static hone_grammar *get(copy_grammars *g, outcome *o, const char *source, bool *compiled) {
    const hone_engine_request r = request_of(source);
    const uint32_t before = o->admitted;
    *compiled = copy_grammars_hold(g, &r, NULL);
    while (*compiled && o->admitted == before) {
        struct pollfd p = {.fd = copy_grammars_fd(g), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
        copy_grammars_turn(g);
        assert_int_equal(o->refused, 0);
    }
    hone_grammar *found = copy_grammars_find(g, &r);
    assert_non_null(found);
    return found;
}

/* An automaton that has a state for every text of so many letters. */
static const char wide[] = "root ::= %regex\"[ab]*a[ab]{300}\"";

/* Texts nobody wrote before, until the grammar has so many bytes or fails. */
static hone_status grow(hone_grammar *g, size_t size) {
    hone_matcher *m;
    assert_int_equal(hone_matcher_open(&m, g, bytes, NULL), HONE_OK);
    hone_status st = HONE_OK;
    uint32_t x = 1;
    for (uint32_t i = 0; i < 2000000 && st == HONE_OK && hone_grammar_bytes(g) < size; i++) {
        x = x * 1664525u + 1013904223u;
        st = hone_matcher_accept(m, x >> 31 ? 'a' : 'b', NULL);
    }
    hone_matcher_close(m);
    return st;
}

static void what_has_grown_to_its_limit_is_compiled_anew(void **state) {
    (void)state;
    outcome o = {0};
    copy_grammars *g;
    const copy_grammars_config cfg = {.admit = admit, .refuse = refuse, .arg = &o};
    assert_int_equal(copy_grammars_open(&g, &cfg, NULL), HONE_OK);
    bool compiled;
    hone_grammar *first = hone_grammar_ref(get(g, &o, wide, &compiled));
    assert_true(compiled);
    assert_ptr_equal(get(g, &o, wide, &compiled), first);
    assert_false(compiled);
    assert_false(hone_grammar_spent(first));
    assert_int_equal(grow(first, SIZE_MAX), HONE_ERR_LIMIT);
    assert_true(hone_grammar_spent(first));
    hone_grammar *second = get(g, &o, wide, &compiled);
    assert_true(compiled);
    assert_ptr_not_equal(second, first);
    assert_false(hone_grammar_spent(second));
    assert_int_equal(grow(second, hone_grammar_bytes(second) + (1 << 20)), HONE_OK);
    hone_grammar_unref(first); /* a request that still ran */
    copy_grammars_close(g);
}

static void growth_counts_against_the_budget(void **state) {
    (void)state;
    outcome o = {0};
    copy_grammars *g;
    const copy_grammars_config cfg = {.admit = admit, .refuse = refuse, .arg = &o, .budget_bytes = 4 << 20};
    assert_int_equal(copy_grammars_open(&g, &cfg, NULL), HONE_OK);
    static const char small[] = "root ::= [a-z]+";
    bool compiled;
    hone_grammar *large = get(g, &o, wide, &compiled);
    get(g, &o, small, &compiled);
    assert_true(compiled);
    get(g, &o, wide, &compiled);
    assert_false(compiled);
    assert_int_equal(grow(large, 5 << 20), HONE_OK);
    get(g, &o, small, &compiled); /* it is the first now, and the other too large beside it */
    assert_false(compiled);
    get(g, &o, wide, &compiled);
    assert_true(compiled);
    copy_grammars_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_grown_to_its_limit_is_compiled_anew),
        cmocka_unit_test(growth_counts_against_the_budget),
    };
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
