/* test_regular.c - expressions against languages written out, patterns against a table and against PCRE2. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#include "test.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/utf8.h"
#include "grammar/regular.h"
#include "words.h"

/* ---- Against languages written out ---- */

typedef struct {
    hone_rx rx;
    uint32_t language;
} both;

static uint32_t dice_at;
static uint32_t dice(uint32_t seed, uint32_t below) {
    uint32_t v[4];
    hone_random_block(seed, 1, 2, dice_at++, v);
    return v[0] % below;
}

static hone_rx universe[2]; /* every text, every JSON string: their laws take part */

static both expression(hone_regular *r, uint32_t seed, uint32_t depth) {
    const uint32_t all = (uint32_t)((1ull << WORDS) - 1);
    const uint8_t ab[32] = {[12] = 6};
    if (depth == 0 || dice(seed, 8) == 0) switch (dice(seed, 8)) {
        case 6: return (both){universe[0], all};
        case 7: return (both){universe[1], all};
        case 0: return (both){hone_rx_bytes(r, "a", 1), 1u << word_number("a", 1)};
        case 1: return (both){hone_rx_bytes(r, "b", 1), 1u << word_number("b", 1)};
        case 2: return (both){hone_rx_bytes(r, "ab", 2), 1u << word_number("ab", 2)};
        case 3: return (both){HONE_RX_EMPTY, 1};
        case 4: return (both){HONE_RX_NONE, 0};
        default: return (both){hone_rx_class(r, ab), 6};
        }
    const both a = expression(r, seed, depth - 1);
    if (dice(seed, 6) == 0) return (both){hone_rx_not(r, a.rx), all & ~a.language};
    if (dice(seed, 3) == 0) {
        const uint32_t min = dice(seed, 3), max = dice(seed, 3) ? min + dice(seed, 3) : HONE_RX_UNBOUNDED;
        return (both){hone_rx_repeat(r, a.rx, min, max), language_repeat(a.language, min, max)};
    }
    const both b = expression(r, seed, depth - 1);
    switch (dice(seed, 3)) {
    case 0: return (both){hone_rx_cat(r, a.rx, b.rx), language_cat(a.language, b.language)};
    case 1: return (both){hone_rx_alt(r, a.rx, b.rx), a.language | b.language};
    default: return (both){hone_rx_and(r, a.rx, b.rx), a.language & b.language};
    }
}

static void test_expressions_are_their_languages(void **state) {
    (void)state;
    for (uint32_t seed = 1; seed <= 3000; seed++) {
        hone_regular *r;
        assert_int_equal(hone_regular_open(&r, NULL), HONE_OK);
        dice_at = 0;
        universe[0] = hone_rx_utf8(r);
        universe[1] = hone_rx_json_string(r, universe[0]);
        const both e = expression(r, seed, 1 + seed % 5);
        assert_int_not_equal(e.rx, HONE_RX_FAIL);
        for (uint32_t w = 0; w < WORDS; w++) {
            size_t n;
            const char *text = word_text(w, &n);
            if (hone_rx_matches(r, e.rx, text, n) != (e.language >> w & 1))
                fail_msg("seed %u: \"%.*s\" should be %u", seed, (int)n, text, e.language >> w & 1);
        }
        assert_int_equal(hone_rx_nullable(r, e.rx), e.language & 1);
        if (e.language) assert_false(hone_rx_is_void(r, e.rx, 10000));
        if (hone_rx_is_void(r, e.rx, 10000)) assert_int_equal(e.language, 0);
        hone_regular_close(r);
    }
}

/* Whether a state matches something, against the whole graph of its derivatives. */
static void test_void_is_what_leads_nowhere(void **state) {
    (void)state;
    static hone_rx seen[400];
    static uint8_t live[400];
    static uint32_t to[400][2];
    uint32_t whole = 0, dead = 0;
    for (uint32_t seed = 1; seed <= 2000; seed++) {
        hone_regular *r;
        assert_int_equal(hone_regular_open(&r, NULL), HONE_OK);
        dice_at = 0;
        universe[0] = hone_rx_utf8(r);
        universe[1] = hone_rx_json_string(r, universe[0]);
        uint32_t n = 1;
        /* letters alone, so that two bytes are the whole alphabet */
        const uint8_t ab[32] = {[12] = 6};
        seen[0] = hone_rx_and(r, expression(r, seed, 2 + seed % 4).rx,
                              hone_rx_repeat(r, hone_rx_class(r, ab), 0, HONE_RX_UNBOUNDED));
        for (uint32_t i = 0; i < n && n < 390; i++)
            for (uint32_t b = 0; b < 2; b++) {
                const hone_rx next = hone_rx_derive(r, seen[i], (uint8_t)('a' + b));
                uint32_t k = 0;
                while (k < n && seen[k] != next) k++;
                if (k == n) seen[n++] = next;
                to[i][b] = k;
            }
        if (n < 390) {
            whole++;
            for (uint32_t i = 0; i < n; i++) live[i] = hone_rx_nullable(r, seen[i]);
            for (bool again = true; again;) {
                again = false;
                for (uint32_t i = 0; i < n; i++)
                    if (!live[i] && (live[to[i][0]] || live[to[i][1]])) {
                        live[i] = 1;
                        again = true;
                    }
            }
            for (uint32_t i = n; i-- > 0;) {
                dead += !live[i];
                if (hone_rx_is_void(r, seen[i], 10000) == live[i])
                    fail_msg("seed %u state %u of %u: live %d", seed, i, n, live[i]);
            }
        }
        hone_regular_close(r);
    }
    assert_true(whole > 1500 && dead > 500);
}

static void test_equal_expressions_are_one(void **state) {
    (void)state;
    hone_regular *r;
    assert_int_equal(hone_regular_open(&r, NULL), HONE_OK);
    const hone_rx a = hone_rx_bytes(r, "abc", 3), b = hone_rx_bytes(r, "xyz", 3), c = hone_rx_bytes(r, "q", 1);
    assert_int_equal(a, hone_rx_bytes(r, "abc", 3));
    assert_int_equal(hone_rx_alt(r, hone_rx_alt(r, a, b), c), hone_rx_alt(r, c, hone_rx_alt(r, b, a)));
    assert_int_equal(hone_rx_not(r, hone_rx_not(r, a)), a);
    assert_int_equal(hone_rx_and(r, a, hone_rx_not(r, a)), HONE_RX_NONE);
    /* what comes back to an earlier state is that state */
    const hone_rx any = hone_rx_utf8(r), ends = hone_rx_cat(r, any, c);
    assert_int_equal(hone_rx_derive(r, any, 'x'), any);
    assert_int_equal(hone_rx_derive(r, ends, 'x'), ends);
    assert_int_equal(hone_rx_derive(r, hone_rx_derive(r, ends, 0xC3), 0xA9), ends);
    assert_int_equal(hone_rx_derive(r, ends, 0x80), HONE_RX_NONE);
    hone_regular_close(r);
}

static void test_utf8(void **state) {
    (void)state;
    hone_regular *r;
    assert_int_equal(hone_regular_open(&r, NULL), HONE_OK);
    const hone_rx any = hone_rx_utf8(r);
    uint32_t v[4];
    for (uint32_t i = 0; i < 200000; i++) { /* short random bytes, biased towards leads */
        hone_random_block(7, 0, 0, i, v);
        char text[4];
        const size_t n = 1 + v[0] % 4;
        for (size_t k = 0; k < n; k++) text[k] = (char)(v[1 + k % 3] >> (8 * (k / 3)) | (v[0] & 0x100 ? 0x80 : 0));
        assert_int_equal(hone_rx_matches(r, any, text, n), hone_utf8_valid(text, n) == n);
    }
    const uint32_t range[][2] = {{0, 0x10FFFF},    {0x7F, 0x80},      {0x7FF, 0x800},
                                 {0xD700, 0xE001}, {0xFFFF, 0x10000}, {0x1F600, 0x1F64F}};
    for (size_t k = 0; k < sizeof(range) / sizeof(*range); k++) {
        const hone_rx one = hone_rx_char_range(r, range[k][0], range[k][1]);
        for (uint32_t code = 0; code <= 0x10FFFF; code += code < 0x3000 || (code > 0xD600 && code < 0xE100) ? 1 : 97) {
            char text[4];
            const size_t n = hone_utf8_encode(code, text);
            if (n) assert_int_equal(hone_rx_matches(r, one, text, n), code >= range[k][0] && code <= range[k][1]);
        }
    }
    hone_regular_close(r);
}

/* ---- Patterns ---- */

static const struct {
    const char *pattern, *yes, *no; /* texts separated by newlines; search */
} pattern_table[] = {
    {"abc", "abc\nxabcx", "ab\nacb"},
    {"^abc$", "abc", "abcd\nxabc\n"},
    {"^a|b$", "ax\nxb\nab", "xa\nbx"},
    {"^(a|^b|c$)", "ax\nbx\nc", "cx\nxa"},
    {"(^|,)x(,|$)", "x\na,x\nx,a\na,x,b", "ax\nxa\na,xb"},
    {"^[a-z0-9_-]+$", "a-b_9", "A\na b\n"},
    {"^[^\\s@]+@[^\\s@]+$", "a@b", "a b@c\n@"},
    {"^\\d{3}-\\d{4}$", "555-1234", "5555-123\n55-1234"},
    {"^\\p{Lu}\\p{L}*$", "\xC3\x84pfel\nX", "apfel\n1"},
    {"^\\P{L}+$", "12 3", "1a"},
    {"^\\p{Script=Greek}+$", "\xCE\xB1\xCE\xB2", "ab"},
    {"^.$", "\xF0\x9F\x98\x80\nx", "xy\n"},
    {"^\\u00e4\\x41\\u{1F600}\\uD83D\\uDE00$",
     "\xC3\xA4"
     "A\xF0\x9F\x98\x80\xF0\x9F\x98\x80",
     "x"},
    {"\\bfoo\\b", "foo\na foo b\nfoo-bar", "food\nxfoo"},
    {"\\Bfoo", "xfoo", "foo\n foo"},
    {"^a*\\b", "a\naa-\na", "-\n"},
    {"^(?=.*\\d)(?=.*[a-z]).{4,}$", "abc1\n1abc", "abcd\n123\na1"},
    {"^(?!foo)", "bar\nfo", "foo\nfoobar"},
    {"^(?!.*(foo|bar)).*$", "baz", "a foo\nbar"},
    {"^((?!no).)*$", "yes\n\nn o", "no\na no b"},
    {"^(?:a|b(?!c)){1,3}?x?$", "abx\nb", "bcx"},
    {"^(a(,|$))*$", "\na\na,\na,a\na,a,", ",\naa\na,,a"},
    {"^(a(,|$))+x?", "a\na,x\na,a,\na,b", "b\nab"},
    {"^(\\/?((\\.{2})|([a-z0-9\\-]*))($|\\/))*$", "a/b\n/a/../b/", "A\na b"},
    {"^a{2,3}?$", "aa\naaa", "a\naaaa"},
    {"^a{,3}$", "a{,3}", "aa"},
    {"a]b}", "a]b}", "ab"},
    {"^[\\w.+-]+$", "a.b+c-d", "a b"},
    {"^[a\\-z]$", "a\n-\nz", "b"},
    {"^[]$", "", "a\n]"},
    {"^[^]$", "a\n\xC3\xA4", "ab"},
    {"^(?<year>\\d{4})$", "2024", "24"},
    {"^\\/\\-\\.\\$$", "/-.$", "x"},
    {"^\\cJ?x$", "x", "y"},
    {"^\\S+$", "ab",
     "a b\na\xC2\xA0"
     "b"},
    {"^$", "\n", "a"},
    {"", "\nabc", NULL},
};

static bool search(const char *pattern, const char *text, size_t n) {
    hone_regular *r;
    hone_rx rx;
    hone_error err;
    assert_int_equal(hone_regular_open(&r, NULL), HONE_OK);
    if (hone_rx_pattern(r, pattern, strlen(pattern), true, &rx, &err) != HONE_OK)
        fail_msg("%s: %s", pattern, err.message);
    const bool out = hone_rx_matches(r, rx, text, n);
    hone_regular_close(r);
    return out;
}

static void each(const char *pattern, const char *texts, bool expected) {
    for (const char *at = texts; at;) {
        const char *end = strchr(at, '\n');
        const size_t n = end ? (size_t)(end - at) : strlen(at);
        if (search(pattern, at, n) != expected)
            fail_msg("/%s/ on \"%.*s\" should be %d", pattern, (int)n, at, expected);
        at = end ? end + 1 : NULL;
    }
}

static void test_pattern_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(pattern_table) / sizeof(*pattern_table); i++) {
        if (pattern_table[i].yes[0] || !pattern_table[i].pattern[0])
            each(pattern_table[i].pattern, pattern_table[i].yes, true);
        if (pattern_table[i].no) each(pattern_table[i].pattern, pattern_table[i].no, false);
    }
}

static void test_pattern_refusals(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        hone_status status;
        int64_t offset;
    } table[] = {
        {"a(b", HONE_ERR_FORMAT, 1},         {"ab)", HONE_ERR_FORMAT, 2},
        {"x[a", HONE_ERR_FORMAT, 1},         {"*a", HONE_ERR_FORMAT, 0},
        {"a**", HONE_ERR_FORMAT, 2},         {"[z-a]", HONE_ERR_FORMAT, 2},
        {"a\\", HONE_ERR_FORMAT, 1},         {"\\q", HONE_ERR_FORMAT, 0},
        {"(a)\\1", HONE_ERR_UNSUPPORTED, 3}, {"a(?<=a)", HONE_ERR_UNSUPPORTED, 1},
        {"(?i:a)", HONE_ERR_UNSUPPORTED, 0}, {"\\p{Nonsense}", HONE_ERR_UNSUPPORTED, 0},
        {"a{3,2}", HONE_ERR_FORMAT, 0},      {"(a\\b)*", HONE_ERR_UNSUPPORTED, 0},
        {"\xFF", HONE_ERR_FORMAT, 0},        {"\\u{110000}", HONE_ERR_FORMAT, 0},
        {"(?<x", HONE_ERR_FORMAT, 0},        {"{2}", HONE_ERR_FORMAT, 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        hone_regular *r;
        hone_rx rx;
        hone_error err = {0};
        assert_int_equal(hone_regular_open(&r, NULL), HONE_OK);
        const hone_status st = hone_rx_pattern(r, table[i].pattern, strlen(table[i].pattern), true, &rx, &err);
        if (st != table[i].status || err.position != table[i].offset)
            fail_msg("/%s/: status %d at %lld: %s", table[i].pattern, st, (long long)err.position, err.message);
        hone_regular_close(r);
    }
}

/* Random patterns of the part that PCRE2 reads the same way, on random texts. */
static size_t random_pattern(uint32_t seed, uint32_t depth, char *out, size_t cap) {
    static const char *const atom[] = {"a",   "b", "c", "[ab]",  "[^a]",  ".",        "\\w", "\\d",
                                       "\\b", "^", "$", "(?=b)", "(?!a)", "\xC3\xA4", "-"};
    static const char *const after[] = {"", "", "", "*", "+", "?", "{2}", "{1,2}", "*?"};
    size_t n = 0;
    const uint32_t terms = 1 + dice(seed, 3);
    for (uint32_t i = 0; i < terms && n + 40 < cap; i++) {
        if (i && dice(seed, 4) == 0) out[n++] = '|';
        const uint32_t which = dice(seed, 18);
        bool assertion = false;
        if (which >= 15 && depth) {
            out[n++] = '(';
            n += random_pattern(seed, depth - 1, out + n, cap - n - 20);
            out[n++] = ')';
        } else {
            const uint32_t k = which % 15;
            assertion = k >= 8 && k <= 12;
            n += (size_t)snprintf(out + n, cap - n, "%s", atom[k]);
        }
        if (!assertion) n += (size_t)snprintf(out + n, cap - n, "%s", after[dice(seed, 9)]);
    }
    out[n] = 0;
    return n;
}

static void test_patterns_match_as_pcre2_does(void **state) {
    (void)state;
    static const char *const letter[] = {"a", "b", "c", "1", "-", " ", "\xC3\xA4"};
    uint32_t tried = 0;
    for (uint32_t seed = 1; seed <= 2500; seed++) {
        char pattern[400], text[40];
        dice_at = 0;
        const size_t n = random_pattern(seed, 2, pattern, sizeof(pattern));
        int code;
        PCRE2_SIZE where;
        pcre2_code *p = pcre2_compile((PCRE2_SPTR)pattern, n, PCRE2_UTF | PCRE2_DOLLAR_ENDONLY, &code, &where, NULL);
        hone_regular *r;
        hone_rx rx;
        hone_error err;
        assert_int_equal(hone_regular_open(&r, NULL), HONE_OK);
        const hone_status st = hone_rx_pattern(r, pattern, n, true, &rx, &err);
        if (st == HONE_OK && p) {
            tried++;
            pcre2_match_data *m = pcre2_match_data_create(1, NULL);
            for (int i = 0; i < 25; i++) {
                size_t len = 0;
                for (uint32_t k = dice(seed, 7); k > 0; k--)
                    len += (size_t)snprintf(text + len, sizeof(text) - len, "%s", letter[dice(seed, 7)]);
                text[len] = 0;
                const bool expected =
                    pcre2_match(p, (PCRE2_SPTR)text, len, 0, 0, m, NULL) >= 0; /* 0: the groups did not fit */
                if (hone_rx_matches(r, rx, text, len) != expected)
                    fail_msg("seed %u /%s/ on \"%s\" should be %d", seed, pattern, text, expected);
            }
            pcre2_match_data_free(m);
        } else if (st == HONE_OK || (st != HONE_ERR_UNSUPPORTED && p)) {
            fail_msg("seed %u /%s/: %d, PCRE2 %s", seed, pattern, st, p ? "takes it" : "refuses it");
        }
        pcre2_code_free(p);
        hone_regular_close(r);
    }
    assert_true(tried > 1500);
}

/* ---- JSON strings ---- */

static void test_json_strings(void **state) {
    (void)state;
    hone_regular *r;
    assert_int_equal(hone_regular_open(&r, NULL), HONE_OK);
    const hone_rx any = hone_rx_json_string(r, hone_rx_utf8(r));
    static const char *const good[] = {"",  "abc", "\\n\\t\\\\\\\"", "\\u000a\\u000A\\u001f\\u0022\\u005C", "\xC3\xA4",
                                       "/", "\\/"};
    static const char *const bad[] = {"\"", "\\", "\n", "\\q", "\\u00", "\\u0041", "\xC3"};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_true(hone_rx_matches(r, any, good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(hone_rx_matches(r, any, bad[i], strlen(bad[i])));
    const hone_rx lit = hone_rx_json_string(r, hone_rx_bytes(r, "a\"\nb\\", 5));
    assert_true(hone_rx_matches(r, lit, "a\\\"\\nb\\\\", 8));
    assert_true(hone_rx_matches(r, lit, "a\\u0022\\u000ab\\\\", 16));
    assert_false(hone_rx_matches(r, lit, "a\"\nb\\", 5));
    /* a length counts characters, not bytes or escapes; a complement stays within strings */
    const hone_rx two = hone_rx_json_string(r, hone_rx_repeat(r, hone_rx_char_range(r, 0, 0x10FFFF), 2, 2));
    assert_true(hone_rx_matches(r, two, "\\n\xC3\xA4", 4));
    assert_false(hone_rx_matches(r, two, "\\n", 2));
    const hone_rx other =
        hone_rx_json_string(r, hone_rx_and(r, hone_rx_utf8(r), hone_rx_not(r, hone_rx_bytes(r, "a\n", 2))));
    assert_false(hone_rx_matches(r, other, "a\\n", 3));
    assert_false(hone_rx_matches(r, other, "a\\u000a", 7));
    assert_true(hone_rx_matches(r, other, "a\\nx", 4));
    assert_false(hone_rx_matches(r, other, "a\n", 2));
    hone_regular_close(r);
}

/* ---- Limits and memory ---- */

static void test_hostile_patterns_end_soon(void **state) {
    (void)state;
    static const char *const hostile[] = {"^(a|a)*$",
                                          "^(a*)*$",
                                          "^((x{1000}){1000}){1000}$",
                                          "^(a?){500}a{500}$",
                                          "^(.*a){50}$",
                                          "(a|b)*a(a|b){200}",
                                          "^(?=.*a.{12})(?=.*b.{12})(?!.*c.{14}).*$",
                                          "^(([a-z])+.)+[A-Z]([a-z])+$",
                                          "(x+x+)+y"};
    for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++) {
        hone_regular *r;
        hone_rx rx;
        hone_error err;
        const double start = hone_clock_seconds();
        assert_int_equal(hone_regular_open(&r, NULL), HONE_OK);
        if (hone_rx_pattern(r, hostile[i], strlen(hostile[i]), true, &rx, &err) == HONE_OK) {
            char text[3000];
            for (size_t k = 0; k < sizeof(text); k++) text[k] = "aabxc"[(k * k) % 5];
            hone_rx_matches(r, rx, text, sizeof(text));
            hone_rx_is_void(r, rx, 5000);
        }
        hone_regular_close(r);
        if (hone_clock_seconds() - start > 20) fail_msg("/%s/ took %.1f s", hostile[i], hone_clock_seconds() - start);
    }
    /* nesting: refused, not a crash */
    hone_regular *r;
    hone_rx rx;
    assert_int_equal(hone_regular_open(&r, NULL), HONE_OK);
    char deep[20000];
    memset(deep, '(', sizeof(deep));
    assert_int_equal(hone_rx_pattern(r, deep, sizeof(deep), true, &rx, NULL), HONE_ERR_LIMIT);
    hone_regular_close(r);
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    const int64_t live = hone_mem_live;
    for (int64_t at = 0, done = 0; !done; at++) {
        hone_regular *r = NULL;
        hone_rx rx;
        hone_mem_fail_at = at;
        hone_status st = hone_regular_open(&r, NULL);
        if (st == HONE_OK) st = hone_rx_pattern(r, "^(?!x)\\p{Lu}[^a-f]{2,9}\\bend$|[a-z]+", 36, true, &rx, NULL);
        if (st == HONE_OK) {
            rx = hone_rx_json_string(r, hone_rx_and(r, rx, hone_rx_not(r, hone_rx_bytes(r, "abc", 3))));
            const bool matches = rx != HONE_RX_FAIL && hone_rx_matches(r, rx, "abcd", 4);
            hone_mem_fail_at = -1;
            done = matches;
        } else
            assert_int_equal(st, HONE_ERR_NOMEM);
        hone_mem_fail_at = -1;
        hone_regular_close(r);
        assert_int_equal(hone_mem_live, live);
        assert_true(at < 100000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expressions_are_their_languages),
        cmocka_unit_test(test_void_is_what_leads_nowhere),
        cmocka_unit_test(test_equal_expressions_are_one),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_pattern_table),
        cmocka_unit_test(test_pattern_refusals),
        cmocka_unit_test(test_patterns_match_as_pcre2_does),
        cmocka_unit_test(test_json_strings),
        cmocka_unit_test(test_hostile_patterns_end_soon),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
