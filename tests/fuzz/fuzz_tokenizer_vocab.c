/* fuzz_tokenizer_vocab.c - a vocabulary from anybody, as a GGUF file would give it, and any text.
 *
 * Two bytes choose the kind and the pre-tokenizer, then lines: tokens ("type score text" as one byte, one byte and the
 * rest), an empty line, merges, an empty line, the text. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "model/tokenizer.h"

#define LINES 400

/* The lines up to an empty one; data moves behind it. */
static size_t lines(const char **data, size_t *n, hone_piece *out) {
    size_t count = 0;
    while (*n) {
        const char *end = memchr(*data, '\n', *n);
        const size_t len = end ? (size_t)(end - *data) : *n;
        const hone_piece line = {*data, len};
        *data += len + (end ? 1 : 0);
        *n -= len + (end ? 1 : 0);
        if (len == 0) break;
        if (count < LINES) out[count++] = line;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char *const pre[] = {"default", "llama-bpe",    "qwen2",       "smollm", "gpt-2",    "gpt-4o",
                                      "tekken",  "deepseek-llm", "deepseek-v3", "falcon", "tiny_aya", NULL};
    static hone_piece token[LINES], merge[LINES];
    static float score[LINES];
    static int32_t type[LINES];
    if (n < 2) return 0;
    hone_vocab v = hone_vocab_default();
    const char *at = (const char *)data + 2;
    size_t left = n - 2;
    v.kind = (hone_vocab_kind)(data[0] & 3);
    v.add_space_prefix = data[0] & 4;
    v.add_bos = data[0] & 8;
    v.add_eos = data[0] & 16;
    v.remove_extra_whitespaces = data[0] & 32;
    v.pre = pre[data[1] % (sizeof(pre) / sizeof(pre[0]))];
    v.n_token = lines(&at, &left, token);
    for (size_t i = 0; i < v.n_token; i++) {
        type[i] = token[i].text[0] % 8;
        score[i] = token[i].n > 1 ? (float)token[i].text[1] : 0;
        const size_t skip = token[i].n > 1 ? 2 : 1;
        token[i] = (hone_piece){token[i].text + skip, token[i].n - skip};
    }
    v.n_merge = lines(&at, &left, merge);
    v.token = token;
    v.score = score;
    v.type = type;
    v.merge = merge;
    if (v.n_token > 3) v.bos = 0, v.eos = 1, v.unk = 2;
    hone_tokenizer *t;
    hone_error err;
    if (hone_tokenizer_open_vocab(&t, &v, &err) != HONE_OK) return 0;
    hone_ids ids = {0};
    hone_buf all = {0}, parts = {0};
    hone_detok *d;
    if (hone_tokenizer_encode(t, at, left, HONE_ENCODE_ADD_SPECIAL, &ids, &err) == HONE_OK) {
        for (size_t i = 0; i < ids.n; i++)
            if (ids.id[i] < 0 || ids.id[i] >= hone_tokenizer_size(t)) abort();
        if (hone_tokenizer_decode(t, ids.id, ids.n, false, &all, NULL) == HONE_OK &&
            hone_detok_open(&d, t, false, NULL) == HONE_OK) {
            for (size_t i = 0; i < ids.n; i++) hone_detok_feed(d, ids.id[i], &parts);
            hone_detok_finish(d, &parts);
            hone_detok_close(d);
            if (parts.n != all.n || hone_utf8_valid(hone_buf_str(&all), all.n) != all.n) abort();
        }
    }
    hone_ids_free(&ids);
    hone_buf_free(&all);
    hone_buf_free(&parts);
    hone_tokenizer_close(t);
    return 0;
}
