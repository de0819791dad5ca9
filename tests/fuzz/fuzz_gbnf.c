/* fuzz_gbnf.c - a grammar's source from anybody: compile, then walk it with a small vocabulary.
 *
 * The first byte seeds the walk, the rest is the source.  What must hold: an error has words; a mask is never empty;
 * what the mask allows is accepted.  Start from llama.cpp's grammars. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "grammar/matcher.h"

static void never(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

static hone_vocabulary *bytes_and_pairs(void) { /* every byte, and every pair of letters that a test may hold */
    static uint32_t offset[256 + 26 * 26 + 2];
    static uint8_t text[256 + 26 * 26 * 2];
    uint32_t n = 0, at = 0;
    for (int i = 0; i < 256; i++) {
        offset[n++] = at;
        text[at++] = (uint8_t)i;
    }
    for (int i = 0; i < 26 * 26; i++) {
        offset[n++] = at;
        text[at++] = (uint8_t)('a' + i / 26);
        text[at++] = (uint8_t)('a' + i % 26);
    }
    offset[n] = offset[n + 1] = at; /* the end token has no bytes */
    const int32_t end = (int32_t)n;
    hone_vocabulary *v;
    if (hone_vocabulary_open(&v, n + 1, offset, text, &end, 1, NULL) != HONE_OK) never("no vocabulary");
    return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static hone_vocabulary *v;
    if (!v) {
        hone_json_init();
        v = bytes_and_pairs();
    }
    if (n == 0) return 0;
    uint32_t dice = data[0] * 2654435761u + 1;
    hone_grammar *g = NULL;
    hone_error err = {0};
    const hone_status st = hone_grammar_compile(&g, (const char *)data + 1, n - 1, &err);
    if ((st == HONE_OK) != (g != NULL)) never("a grammar and an error");
    if (st != HONE_OK) {
        if (err.code != st || !err.message[0]) never("an error without words");
        return 0;
    }
    hone_matcher *m;
    static uint32_t bits[64];
    if (hone_matcher_open(&m, g, v, NULL) != HONE_OK) never("no matcher");
    for (int i = 0; i < 40 && !hone_matcher_closed(m); i++) {
        const hone_status mask = hone_matcher_mask(m, bits, &err);
        if (mask == HONE_ERR_LIMIT) break;
        if (mask != HONE_OK) never("every byte is a token, and yet none goes on");
        int32_t forced[8];
        hone_matcher_forced(m, forced, 8);
        const uint32_t size = hone_vocabulary_size(v);
        uint32_t token = (dice = dice * 1664525u + 1013904223u) % size;
        while (!(bits[token / 32] >> (token % 32) & 1)) token = (token + 1) % size;
        if (!hone_matcher_allows(m, (int32_t)token)) never("the mask allows it, the matcher does not");
        const hone_status on = hone_matcher_accept(m, (int32_t)token, &err);
        if (on == HONE_ERR_LIMIT) break;
        if (on != HONE_OK) never("allowed, but not accepted");
    }
    hone_matcher_close(m);
    hone_grammar_unref(g);
    return 0;
}
