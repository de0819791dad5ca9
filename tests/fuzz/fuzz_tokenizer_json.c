/* fuzz_tokenizer_json.c - a tokenizer.json from anybody, and any text: open, encode, decode at once and token by token.
 *
 * The input is the file, a NUL, and the text (or no NUL: the text is empty).  Start from real files: mutations of small
 * ones reach every part. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/utf8.h"
#include "model/tokenizer.h"

static void never(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

/* The stream of single tokens must be the text of all of them, and valid UTF-8 wherever it stops. */
static void check_decoding(const hone_tokenizer *t, const int32_t *id, size_t n, bool skip) {
    hone_buf all = {0}, parts = {0};
    hone_detok *d;
    if (hone_tokenizer_decode(t, id, n, skip, &all, NULL) == HONE_OK && hone_detok_open(&d, t, skip, NULL) == HONE_OK) {
        bool ok = true;
        for (size_t i = 0; i < n && ok; i++) {
            ok = hone_detok_feed(d, id[i], &parts) == HONE_OK;
            if (hone_utf8_valid(hone_buf_str(&parts), parts.n) != parts.n) never("half a character was given out");
        }
        if (ok && hone_detok_finish(d, &parts) == HONE_OK &&
            (parts.n != all.n || memcmp(hone_buf_str(&parts), hone_buf_str(&all), all.n) != 0))
            never("token by token the text is another");
        hone_detok_close(d);
    }
    hone_buf_free(&all);
    hone_buf_free(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const uint8_t *nul = n ? memchr(data, 0, n) : NULL;
    const size_t n_json = nul ? (size_t)(nul - data) : n;
    const char *text = nul ? (const char *)nul + 1 : "";
    const size_t n_text = nul ? n - n_json - 1 : 0;
    hone_tokenizer *t;
    hone_error err;
    hone_json_init();
    if (hone_tokenizer_open_json(&t, (const char *)data, n_json, NULL, 0, &err) != HONE_OK) {
        if (t) never("an error with a tokenizer");
        return 0;
    }
    hone_ids ids = {0};
    for (unsigned flags = 0; flags < 4; flags++) {
        ids.n = 0;
        if (hone_tokenizer_encode(t, text, n_text, flags, &ids, &err) != HONE_OK) continue;
        for (size_t i = 0; i < ids.n; i++) {
            hone_buf bytes = {0};
            hone_tokenizer_bytes(t, ids.id[i], &bytes);
            hone_buf_free(&bytes);
        }
        check_decoding(t, ids.id, ids.n, flags & 1);
    }
    ids.n = 0;
    for (size_t i = 0; i < n_text; i++) hone_ids_add(&ids, (int32_t)(uint8_t)text[i]);
    check_decoding(t, ids.id, ids.n, false);
    hone_ids_free(&ids);
    hone_tokenizer_close(t);
    return 0;
}
