/* tool_template.c - a template and a conversation to text, for comparisons by hand and by script.
 *
 *   tool_template TEMPLATE CONVERSATION.json            as a chat
 *   tool_template --vars TEMPLATE VARIABLES.json        the object's members as variables, nothing added
 *   tool_template --spans TEMPLATE CONVERSATION.json    the assistant's bytes, one line a message
 *
 * The text goes to stdout as it is; an error to stderr, with exit status 1. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "model/chat.h"

static hone_status show_spans(const hone_template *t, const json_t *vars, hone_error *err) {
    const hone_chat_input in = {.messages = json_object_get(vars, "messages"), .tools = json_object_get(vars, "tools")};
    hone_buf text = {0};
    hone_chat_spans spans = {0};
    const hone_status st = hone_chat_spans_find(t, &in, HONE_CHAT_EVERY, NULL, &text, &spans, err);
    for (size_t i = 0; i < spans.n; i++)
        printf("messages[%zu] %zu-%zu: <<%.*s>>\n", spans.span[i].message, spans.span[i].begin, spans.span[i].end,
               (int)(spans.span[i].end - spans.span[i].begin), text.data + spans.span[i].begin);
    hone_buf_free(&text);
    hone_chat_spans_free(&spans);
    return st;
}

int main(int argc, char **argv) {
    hone_error err = {0};
    hone_buf source = {0}, out = {0};
    hone_template *t = NULL;
    const char *mode = argc == 4 ? argv[1] : "";
    if (argc != 3 && strcmp(mode, "--vars") != 0 && strcmp(mode, "--spans") != 0) {
        fprintf(stderr, "usage: tool_template [--vars|--spans] TEMPLATE VARIABLES.json\n");
        return 2;
    }
    json_t *vars = NULL;
    hone_status st = hone_file_read(argv[argc - 2], &source, 0, &err);
    if (st == HONE_OK) st = hone_template_compile(&t, hone_buf_str(&source), source.n, &err);
    if (st == HONE_OK && !(vars = hone_json_load(argv[argc - 1], &err))) st = err.code;
    if (st == HONE_OK) {
        if (strcmp(mode, "--vars") == 0)
            st = hone_template_render(t, vars, NULL, &out, NULL, &err);
        else if (strcmp(mode, "--spans") == 0)
            st = show_spans(t, vars, &err);
        else
            st = hone_chat_render_object(t, vars, NULL, NULL, &out, &err);
    }
    if (st == HONE_OK)
        fwrite(hone_buf_str(&out), 1, out.n, stdout);
    else
        fprintf(stderr, "%s: %s\n", hone_status_text(st), err.message);
    json_decref(vars);
    hone_buf_free(&source);
    hone_buf_free(&out);
    hone_template_free(t);
    return st == HONE_OK ? 0 : 1;
}
