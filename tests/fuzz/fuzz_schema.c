/* fuzz_schema.c - a schema of any bytes: refused or compiled, and then a walk through its masks never gets stuck. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "grammar/matcher.h"

static hone_vocabulary *vocabulary;

static void set_up(void) { /* every byte, and the end */
    uint32_t offset[258];
    uint8_t text[256];
    const int32_t end = 256;
    for (uint32_t i = 0; i < 256; i++) {
        offset[i] = i;
        text[i] = (uint8_t)i;
    }
    offset[256] = offset[257] = 256;
    hone_json_init();
    if (hone_vocabulary_open(&vocabulary, 257, offset, text, &end, 1, NULL) != HONE_OK) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (!vocabulary) set_up();
    hone_buf source = {0};
    hone_grammar *g = NULL;
    hone_matcher *m = NULL;
    hone_error err = {0};
    hone_buf_text(&source, "root ::= %json{\"anyOf\": [");
    hone_buf_add(&source, bytes, n);
    hone_buf_text(&source, "]}");
    if (hone_grammar_compile(&g, hone_buf_str(&source), source.n, &err) == HONE_OK &&
        hone_matcher_open(&m, g, vocabulary, &err) == HONE_OK) {
        for (uint32_t i = 0; i < 60 && !hone_matcher_closed(m); i++) {
            uint32_t bits[9], allowed = 0;
            if (hone_matcher_mask(m, bits, &err) != HONE_OK) break;
            int32_t pick = -1;
            for (int32_t k = 0; k < 257; k++)
                if (bits[k / 32] >> (k % 32) & 1 && (allowed++ == 0 || (bytes[(i * 7u) % n] + i) % allowed == 0))
                    pick = k;
            if (pick < 0) abort(); /* never stuck */
            if (hone_matcher_accept(m, pick, &err) != HONE_OK) abort();
        }
    }
    hone_matcher_close(m);
    hone_grammar_unref(g);
    hone_buf_free(&source);
    return 0;
}
