/* tool_tokens.c - ids and texts of a tokenizer as JSON, for the oracle's checker and for comparisons by hand:
 *   tool_tokens tokens MODEL TEXTS.json [--no-special]     {"ids": [[...], ...]}
 *   tool_tokens text MODEL IDS.json [--skip-special]       {"texts": [...]}
 *   tool_tokens speed MODEL FILE                           MB/s of encoding FILE, one thread */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

static hone_status open_model(hone_tokenizer **out, const char *path, hone_error *err) {
    const size_t n = strlen(path);
    if (n > 5 && strcmp(path + n - 5, ".gguf") == 0) {
        hone_gguf *g;
        hone_status st = hone_gguf_open_path(&g, path, err);
        if (st == HONE_OK) {
            st = hone_tokenizer_open_gguf(out, g, err);
            hone_gguf_close(g);
        }
        return st;
    }
    return hone_tokenizer_open_folder(out, path, err);
}

static hone_status tokens(const hone_tokenizer *t, const json_t *in, unsigned flags, hone_buf *out, hone_error *err) {
    hone_buf_text(out, "{\"ids\": [");
    for (size_t i = 0; i < json_array_size(in); i++) {
        const json_t *text = json_array_get(in, i);
        hone_ids ids = {0};
        const hone_status st =
            hone_tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, &ids, err);
        if (st != HONE_OK) return st;
        hone_buf_text(out, i ? ", [" : "[");
        for (size_t k = 0; k < ids.n; k++) hone_buf_format(out, k ? ", %d" : "%d", (int)ids.id[k]);
        hone_buf_char(out, ']');
        hone_ids_free(&ids);
    }
    hone_buf_text(out, "]}");
    return HONE_OK;
}

static hone_status texts(const hone_tokenizer *t, const json_t *in, bool skip, hone_buf *out, hone_error *err) {
    hone_buf_text(out, "{\"texts\": [");
    for (size_t i = 0; i < json_array_size(in); i++) {
        const json_t *list = json_array_get(in, i);
        hone_ids ids = {0};
        hone_buf text = {0};
        for (size_t k = 0; k < json_array_size(list); k++)
            hone_ids_add(&ids, (int32_t)json_integer_value(json_array_get(list, k)));
        const hone_status st = hone_tokenizer_decode(t, ids.id, ids.n, skip, &text, err);
        if (st != HONE_OK) return st;
        if (i) hone_buf_text(out, ", ");
        hone_buf_json_string(out, hone_buf_str(&text), text.n);
        hone_ids_free(&ids);
        hone_buf_free(&text);
    }
    hone_buf_text(out, "]}");
    return HONE_OK;
}

static hone_status speed(const hone_tokenizer *t, const char *path, hone_buf *out, hone_error *err) {
    hone_buf text = {0};
    hone_ids ids = {0};
    hone_status st = hone_file_read(path, &text, 0, err);
    for (int turn = 0; turn < 3 && st == HONE_OK; turn++) {
        const double start = hone_clock_seconds();
        ids.n = 0;
        st = hone_tokenizer_encode(t, hone_buf_str(&text), text.n, 0, &ids, err);
        hone_buf_format(out, "%.1f MB/s, %zu ids\n", (double)text.n / 1e6 / (hone_clock_seconds() - start), ids.n);
    }
    hone_buf_free(&text);
    hone_ids_free(&ids);
    return st;
}

int main(int argc, char **argv) {
    hone_tokenizer *t = NULL;
    hone_buf out = {0};
    hone_error err = {0};
    if (argc < 4) return 2;
    hone_json_init();
    const double start = hone_clock_seconds();
    hone_status st = open_model(&t, argv[2], &err);
    if (st == HONE_OK && strcmp(argv[1], "speed") == 0) {
        hone_buf_format(&out, "opened in %.0f ms\n", (hone_clock_seconds() - start) * 1e3);
        st = speed(t, argv[3], &out, &err);
    } else if (st == HONE_OK) {
        json_t *in = hone_json_load(argv[3], &err);
        const bool flag = argc > 4;
        if (!in)
            st = err.code;
        else if (strcmp(argv[1], "tokens") == 0)
            st = tokens(t, in, flag ? 0 : HONE_ENCODE_ADD_SPECIAL, &out, &err);
        else
            st = texts(t, in, flag, &out, &err);
        json_decref(in);
    }
    if (st == HONE_OK)
        puts(hone_buf_str(&out));
    else
        fprintf(stderr, "%s\n", err.message);
    hone_buf_free(&out);
    hone_tokenizer_close(t);
    return st == HONE_OK ? 0 : 1;
}
