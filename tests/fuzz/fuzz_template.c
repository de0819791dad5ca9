/* fuzz_template.c - a chat template from anybody over variables from anybody: compile, render, chat and spans.
 *
 * The input is the template, a NUL, and the variables as JSON (or no NUL: no variables).  The limits are small, so that
 * a slow input is a finding and not a hang.  Start from published templates and conversations. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/utf8.h"
#include "model/chat.h"

static void never(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

static void check_spans(const hone_template *t, const json_t *vars, const hone_template_limits *limits) {
    const hone_chat_input in = {.messages = json_object_get(vars, "messages"), .tools = json_object_get(vars, "tools")};
    hone_buf text = {0};
    hone_chat_spans spans = {0};
    hone_error err;
    if (hone_chat_spans_find(t, &in, HONE_CHAT_EVERY, limits, &text, &spans, &err) == HONE_OK) {
        size_t at = 0;
        for (size_t i = 0; i < spans.n; i++) {
            if (spans.span[i].begin > spans.span[i].end || spans.span[i].end > text.n)
                never("a span outside of the text");
            if (spans.span[i].end < at) never("spans out of order");
            at = spans.span[i].end;
        }
    }
    hone_chat_spans_free(&spans);
    hone_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const hone_template_limits limits = {
        .max_steps = 50000, .max_depth = 200, .max_memory_bytes = 8u << 20, .max_output_bytes = 1u << 20};
    const char *text = (const char *)data;
    const char *nul = n ? memchr(text, 0, n) : NULL;
    const size_t n_template = nul ? (size_t)(nul - text) : n;
    hone_template *t = NULL;
    hone_error err = {0};
    const hone_status st = hone_template_compile(&t, text, n_template, &err);
    if ((st == HONE_OK) != (t != NULL)) never("a template and an error");
    if (st != HONE_OK) {
        if (err.code != st || !err.message[0]) never("an error without words");
        return 0;
    }
    json_t *vars = nul ? hone_json_parse(nul + 1, n - n_template - 1, &err) : NULL;
    hone_buf out = {0};
    hone_template_spans spans = {0};
    if (hone_template_render(t, json_is_object(vars) ? vars : NULL, &limits, &out, &spans, &err) == HONE_OK) {
        if (hone_utf8_valid(hone_buf_str(&out), out.n) != out.n) never("the rendering is no UTF-8");
    } else if (out.n || spans.n) {
        never("an error left something behind");
    }
    if (json_is_object(vars)) check_spans(t, vars, &limits);
    hone_template_spans_free(&spans);
    hone_buf_free(&out);
    json_decref(vars);
    hone_template_free(t);
    return 0;
}
