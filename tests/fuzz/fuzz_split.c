/* fuzz_split.c - a model's output in any form of calls: whatever it says, in one piece or byte by byte, the parts are
 * the same, and no byte of a call's name breaks a reply. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/dialect.h"
#include "base/mem.h"

typedef struct {
    hone_buf all;
    int last;
} heard;

static void hear(void *arg, api_part part, const char *text, size_t n, const char *id) {
    heard *h = arg;
    if (part == API_PART_CALL) {
        for (size_t i = 0; i < n; i++)
            if (text[i] == '"' || (unsigned char)text[i] < 0x20) abort();
        hone_buf_format(&h->all, "\n[%d %s]", part, id);
    } else if (h->last != (int)part) {
        hone_buf_format(&h->all, "\n[%d]", part);
    }
    h->last = (int)part;
    hone_buf_add(&h->all, text, n);
}

static void split(const api_dialect *d, api_think think, const json_t *types, const hone_buf *text, bool whole,
                  heard *out) {
    api_splitter *s = api_splitter_open(d, think, true, types, hear, out);
    out->last = -1;
    for (size_t i = 0; i < text->n && !whole; i++) api_splitter_feed(s, text->data + i, 1);
    if (whole) api_splitter_feed(s, hone_buf_str(text), text->n);
    api_splitter_finish(s);
    api_splitter_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static api_dialect *dialect[64];
    static json_t *types;
    static size_t n_format;
    if (!types) {
        hone_json_init();
        types = json_pack("[{s:{s:s, s:{s:{s:{s:s}, s:{s:s}}}}}]", "function", "name", "f", "parameters", "properties",
                          "s", "type", "string", "i", "type", "integer");
        for (; api_call_format_at(n_format); n_format++)
            dialect[n_format] = api_dialect_bind(api_call_format_at(n_format), "</think>", NULL);
    }
    if (n < 2 || n > 4096) return 0;
    const api_dialect *d = dialect[data[0] % n_format];
    /* bytes that are no ASCII stand for the form's marks, so that they are met often */
    hone_buf text = {0};
    for (size_t i = 2; i < n; i++) {
        if (data[i] < 0x80)
            hone_buf_char(&text, (char)data[i]);
        else
            hone_buf_text(&text, data[i] < 0xc0 ? d->mark[data[i] % N_MARKS] : "{\"name\": \"f\", \"arguments\": {");
    }
    heard one = {0}, other = {0};
    split(d, (api_think)(data[1] % 3), types, &text, true, &one);
    split(d, (api_think)(data[1] % 3), types, &text, false, &other);
    if (one.all.n != other.all.n || memcmp(hone_buf_str(&one.all), hone_buf_str(&other.all), one.all.n) != 0) abort();
    hone_buf_free(&one.all);
    hone_buf_free(&other.all);
    hone_buf_free(&text);
    return 0;
}
