/* fuzz_pattern.c - an ECMA-262 pattern from anybody over a text from anybody.
 *
 * The input is the pattern, a NUL, and the text.  What must hold: no crash, no hang, an error has words, a search that
 * finds the whole pattern finds it anywhere, and what a JSON string's pattern takes are strings. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/regular.h"

static void never(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const char *pattern = (const char *)data;
    const char *nul = n ? memchr(pattern, 0, n) : NULL;
    const size_t n_pattern = nul ? (size_t)(nul - pattern) : n;
    const char *text = nul ? nul + 1 : "";
    const size_t n_text = nul ? n - n_pattern - 1 : 0;
    hone_regular *r;
    hone_rx whole, anywhere;
    hone_error err = {0};
    if (hone_regular_open(&r, NULL) != HONE_OK) return 0;
    hone_status st = hone_rx_pattern(r, pattern, n_pattern, false, &whole, &err);
    if (st != HONE_OK && (err.code != st || !err.message[0])) never("an error without words");
    if (st == HONE_OK) {
        const bool matches = hone_rx_matches(r, whole, text, n_text);
        const hone_rx spelt = hone_rx_json_string(r, whole);
        if (spelt != HONE_RX_FAIL && hone_rx_matches(r, spelt, text, n_text) && memchr(text, '"', n_text) &&
            !memchr(text, '\\', n_text))
            never("a bare quote within a string");
        hone_rx_is_void(r, whole, 2000);
        st = hone_rx_pattern(r, pattern, n_pattern, true, &anywhere, &err);
        if (st == HONE_OK && matches) {
            const bool found = hone_rx_matches(r, anywhere, text, n_text);
            hone_rx probe; /* a limit reached meanwhile makes every answer no: tell it from a wrong one */
            if (!found && hone_rx_pattern(r, "a", 1, false, &probe, NULL) == HONE_OK) never("whole but not anywhere");
        }
    }
    hone_regular_close(r);
    return 0;
}
