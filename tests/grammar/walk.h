/* walk.h - what the tests of grammars and matchers share: a small vocabulary, reading a text, walking at random. */
#ifndef HONE_TEST_GRAMMAR_WALK_H
#define HONE_TEST_GRAMMAR_WALK_H

#include "test.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/random.h"
#include "grammar/matcher.h"

/* Tokens: every byte by its number, then some text, then a special one and the end. */
#define WALK_SPECIAL "<|call|>"
static const char *const walk_text[] = {
    "ab",   "abc",  "aa",   "aab",   "\"",     "\":", "\",",      "\", \"", "name", "\"name", "\": \"", "true", "false",
    "null", "\xC3", "\xA4", "e\xCC", "hello",  "he",  " world",   "  ",     "12",   "123",    "]}",     "}}",   "{\"",
    "\\n",  "\\u",  "00",   "foo",   "foobar", "bar", "barbaz\"", "xy",     "yx",   "xyxy",   "aa"};
#define WALK_N_TEXT (sizeof(walk_text) / sizeof(*walk_text))
#define WALK_CALL (256 + (int32_t)WALK_N_TEXT)
#define WALK_END (WALK_CALL + 1)
#define WALK_N ((uint32_t)WALK_END + 1)

static inline hone_status walk_open(hone_vocabulary **v, hone_error *err) {
    uint32_t offset[WALK_N + 1], at = 0;
    uint8_t text[1000];
    for (uint32_t i = 0; i < WALK_N; i++) {
        offset[i] = at;
        if (i < 256)
            text[at++] = (uint8_t)i;
        else if (i < 256 + WALK_N_TEXT) {
            memcpy(text + at, walk_text[i - 256], strlen(walk_text[i - 256]));
            at += (uint32_t)strlen(walk_text[i - 256]);
        } else if (i == (uint32_t)WALK_CALL) {
            text[at++] = HONE_TOKEN_MARK;
            memcpy(text + at, WALK_SPECIAL, strlen(WALK_SPECIAL));
            at += (uint32_t)strlen(WALK_SPECIAL);
            text[at++] = HONE_TOKEN_MARK;
        }
    }
    offset[WALK_N] = at;
    const int32_t end = WALK_END;
    return hone_vocabulary_open(v, WALK_N, offset, text, &end, 1, err);
}

static inline hone_grammar *walk_compile(const char *source) {
    hone_grammar *g;
    hone_error err = {0};
    if (hone_grammar_compile(&g, source, strlen(source), &err) != HONE_OK) fail_msg("%s\n%s", source, err.message);
    return g;
}

/* Byte by byte; -1: refused on the way, 0: may go on but is not complete, 1: complete. */
static inline int walk_read(hone_grammar *g, hone_vocabulary *v, const char *text, size_t n) {
    hone_matcher *m;
    assert_int_equal(hone_matcher_open(&m, g, v, NULL), HONE_OK);
    int out = 0;
    for (size_t i = 0; i < n && out >= 0; i++)
        if (hone_matcher_accept(m, (uint8_t)text[i], NULL) != HONE_OK) out = -1;
    if (out == 0) out = hone_matcher_complete(m);
    hone_matcher_close(m);
    return out;
}

#endif
