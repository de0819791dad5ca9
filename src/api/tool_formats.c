/* tool_formats.c - the call formats of model families as a table, and which of them a model has.
 *
 * A row is what the family's own chat template writes into the history, so that a call that is read, constrained or
 * rendered has the same bytes.  Recognised by what the template's source holds; what a template can do with tools,
 * system messages and results is found by rendering a small conversation.
 * Order: the table, recognising, binding to a tokenizer, probing, calls as text. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "api/dialect.h"
#include "base/mem.h"
#include "grammar/grammar.h"

/* ---- The table ---- */

#define HERMES                                                                                                         \
    [M_TRIGGER] = "<tool_call>", [M_OPEN] = "<tool_call>\n", [M_CLOSE] = "\n</tool_call>", [M_BETWEEN] = "\n",         \
    [M_NAME_KEY] = "name", [M_ARGUMENTS_KEY] = "arguments"

/* Special rows first: the first one that fits is taken. */
static const api_call_format table[] = {
    {.name = "mistral-id",
     .holds = {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"},
     .style = API_CALL_NAMED,
     .mark = {[M_TRIGGER] = "[TOOL_CALLS]", [M_OPEN] = "[TOOL_CALLS]", [M_MIDDLE] = "[ARGS]", [M_ID] = "[CALL_ID]"},
     .short_ids = true},
    {.name = "mistral",
     .holds = {"[TOOL_CALLS]", "[ARGS]"},
     .style = API_CALL_NAMED,
     .mark = {[M_TRIGGER] = "[TOOL_CALLS]", [M_OPEN] = "[TOOL_CALLS]", [M_MIDDLE] = "[ARGS]"},
     .short_ids = true},
    {.name = "mistral-list",
     .holds = {"[TOOL_CALLS]"},
     .style = API_CALL_OBJECT,
     .mark = {[M_TRIGGER] = "[TOOL_CALLS]",
              [M_BEGIN] = "[TOOL_CALLS][",
              [M_BETWEEN] = ", ",
              [M_END] = "]",
              [M_NAME_KEY] = "name",
              [M_ARGUMENTS_KEY] = "arguments"},
     .id_last = true,
     .short_ids = true},
    {.name = "seed",
     .holds = {"<seed:tool_call>", "<parameter="},
     .style = API_CALL_PARAMETERS,
     .mark = {[M_TRIGGER] = "<seed:tool_call>",
              [M_OPEN] = "<seed:tool_call>\n<function=",
              [M_MIDDLE] = ">\n",
              [M_KEY] = "<parameter=",
              [M_KEY_END] = ">",
              [M_VALUE_END] = "</parameter>\n",
              [M_CLOSE] = "</function>\n</seed:tool_call>",
              [M_BETWEEN] = "\n"}},
    {.name = "qwen-coder", /* Qwen3-Coder, Qwen3.5, Nemotron 3, Step 3.5 */
     .holds = {"<tool_call>", "<function=", "<parameter="},
     .style = API_CALL_PARAMETERS,
     .mark = {[M_TRIGGER] = "<tool_call>",
              [M_OPEN] = "<tool_call>\n<function=",
              [M_MIDDLE] = ">\n",
              [M_KEY] = "<parameter=",
              [M_KEY_END] = ">\n",
              [M_VALUE_END] = "\n</parameter>\n",
              [M_CLOSE] = "</function>\n</tool_call>",
              [M_BETWEEN] = "\n"}},
    {.name = "glm-tight", /* GLM 4.7 and later */
     .holds = {"<tool_call>", "</arg_key><arg_value>"},
     .style = API_CALL_PARAMETERS,
     .mark = {[M_TRIGGER] = "<tool_call>",
              [M_OPEN] = "<tool_call>",
              [M_KEY] = "<arg_key>",
              [M_KEY_END] = "</arg_key><arg_value>",
              [M_VALUE_END] = "</arg_value>",
              [M_CLOSE] = "</tool_call>"}},
    {.name = "glm",
     .holds = {"<tool_call>", "<arg_key>"},
     .style = API_CALL_PARAMETERS,
     .mark = {[M_TRIGGER] = "<tool_call>",
              [M_OPEN] = "<tool_call>",
              [M_MIDDLE] = "\n",
              [M_KEY] = "<arg_key>",
              [M_KEY_END] = "</arg_key>\n<arg_value>",
              [M_VALUE_END] = "</arg_value>\n",
              [M_CLOSE] = "</tool_call>",
              [M_BETWEEN] = "\n"}},
    {.name = "deepseek", /* V3, R1 and its distillations */
     .holds = {"<｜tool▁calls▁begin｜>", "```json"},
     .style = API_CALL_NAMED,
     .mark = {[M_TRIGGER] = "<｜tool▁calls▁begin｜>",
              [M_BEGIN] = "<｜tool▁calls▁begin｜>",
              [M_OPEN] = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
              [M_MIDDLE] = "\n```json\n",
              [M_CLOSE] = "\n```<｜tool▁call▁end｜>",
              [M_BETWEEN] = "\n",
              [M_END] = "<｜tool▁calls▁end｜>"}},
    {.name = "deepseek-v3.1",
     .holds = {"<｜tool▁calls▁begin｜>"},
     .style = API_CALL_NAMED,
     .mark = {[M_TRIGGER] = "<｜tool▁calls▁begin｜>",
              [M_BEGIN] = "<｜tool▁calls▁begin｜>",
              [M_OPEN] = "<｜tool▁call▁begin｜>",
              [M_MIDDLE] = "<｜tool▁sep｜>",
              [M_CLOSE] = "<｜tool▁call▁end｜>",
              [M_END] = "<｜tool▁calls▁end｜>"}},
    {.name = "kimi",
     .holds = {"<|tool_calls_section_begin|>"},
     .style = API_CALL_NAMED,
     .mark = {[M_TRIGGER] = "<|tool_calls_section_begin|>",
              [M_BEGIN] = "<|tool_calls_section_begin|>",
              [M_OPEN] = "<|tool_call_begin|>functions.",
              [M_MIDDLE] = "<|tool_call_argument_begin|>",
              [M_CLOSE] = "<|tool_call_end|>",
              [M_END] = "<|tool_calls_section_end|>"},
     .numbered = true},
    {.name = "gemma", /* Gemma 4 */
     .holds = {"<|tool_call>call:"},
     .style = API_CALL_GEMMA,
     .mark = {[M_TRIGGER] = "<|tool_call>",
              [M_OPEN] = "<|tool_call>call:",
              [M_CLOSE] = "<tool_call|>",
              [M_QUOTE] = "<|\"|>"}},
    {.name = "functiongemma",
     .holds = {"<start_function_call>"},
     .style = API_CALL_GEMMA,
     .mark = {[M_TRIGGER] = "<start_function_call>",
              [M_OPEN] = "<start_function_call>call:",
              [M_CLOSE] = "<end_function_call>",
              [M_QUOTE] = "<escape>"}},
    {.name = "granite",
     .holds = {"<|tool_call|>"},
     .style = API_CALL_OBJECT,
     .mark = {[M_TRIGGER] = "<|tool_call|>",
              [M_BEGIN] = "<|tool_call|>[",
              [M_BETWEEN] = ", ",
              [M_END] = "]",
              [M_NAME_KEY] = "name",
              [M_ARGUMENTS_KEY] = "arguments"}},
    {.name = "command-r",
     .holds = {"<|START_ACTION|>"},
     .style = API_CALL_OBJECT,
     .mark = {[M_TRIGGER] = "<|START_ACTION|>",
              [M_BEGIN] = "<|START_ACTION|>[\n    ",
              [M_BETWEEN] = ",\n    ",
              [M_END] = "\n]<|END_ACTION|>",
              [M_ID_KEY] = "tool_call_id",
              [M_NAME_KEY] = "tool_name",
              [M_ARGUMENTS_KEY] = "parameters"}},
    {.name = "apertus",
     .holds = {"<|tools_prefix|>"},
     .style = API_CALL_NAMED,
     .mark = {[M_TRIGGER] = "<|tools_prefix|>",
              [M_BEGIN] = "<|tools_prefix|>[",
              [M_OPEN] = "{\"",
              [M_MIDDLE] = "\": ",
              [M_CLOSE] = "}",
              [M_BETWEEN] = ", ",
              [M_END] = "]<|tools_suffix|>"}},
    {.name = "functionary",
     .holds = {"<function="},
     .lacks = {"<parameter="},
     .style = API_CALL_NAMED,
     .mark = {[M_TRIGGER] = "<function=", [M_OPEN] = "<function=", [M_MIDDLE] = ">", [M_CLOSE] = "</function>"}},
    {.name = "firefunction",
     .holds = {"functools["},
     .style = API_CALL_OBJECT,
     .mark = {[M_TRIGGER] = "functools[",
              [M_BEGIN] = "functools[",
              [M_BETWEEN] = ", ",
              [M_END] = "]",
              [M_NAME_KEY] = "name",
              [M_ARGUMENTS_KEY] = "arguments"}},
    {.name = "apriel",
     .holds = {"<tool_calls>["},
     .style = API_CALL_OBJECT,
     .mark = {[M_TRIGGER] = "<tool_calls>",
              [M_BEGIN] = "<tool_calls>[",
              [M_BETWEEN] = ", ",
              [M_END] = "]</tool_calls>",
              [M_NAME_KEY] = "name",
              [M_ARGUMENTS_KEY] = "arguments"}},
    {.name = "hermes", /* Hermes 2 and 3, Qwen 2.5 and 3, Granite 4, SmolLM3 and many others */
     .holds = {"<tool_call>"},
     .style = API_CALL_OBJECT,
     .mark = {HERMES}},
    {.name = "llama3",
     .holds = {"ipython", "\"parameters\": "},
     .style = API_CALL_OBJECT,
     .mark = {[M_TRIGGER] = "<|python_tag|>",
              [M_ALSO] = "<|python_tag|>",
              [M_NAME_KEY] = "name",
              [M_ARGUMENTS_KEY] = "parameters"},
     .bare = true,
     .single = true},
    {.name = "generic", .style = API_CALL_OBJECT, .mark = {HERMES}},
};
#define N_FORMATS (sizeof(table) / sizeof(table[0]))
#define GENERIC (&table[N_FORMATS - 1])

static const char *const thinking[][2] = {
    {"<seed:think>", "</seed:think>"},
    {"<|channel>thought\n", "<channel|>"},
    {"[THINK]", "[/THINK]"},
    {"<|START_THINKING|>", "<|END_THINKING|>"},
    {"<|inner_prefix|>", "<|inner_suffix|>"},
    {"<think>", "</think>"},
    {"<thinking>", "</thinking>"},
};

const api_call_format *api_call_format_at(size_t i) {
    return i < N_FORMATS ? &table[i] : NULL;
}

/* ---- Recognising ---- */

const api_call_format *api_call_format_of(const char *source) {
    for (size_t i = 0; source && i + 1 < N_FORMATS; i++) {
        bool fits = true;
        for (size_t k = 0; k < 3 && table[i].holds[k]; k++) fits = fits && strstr(source, table[i].holds[k]);
        for (size_t k = 0; k < 2 && table[i].lacks[k]; k++) fits = fits && !strstr(source, table[i].lacks[k]);
        if (fits) return &table[i];
    }
    return GENERIC;
}

/* ---- Binding ---- */

static bool show(api_dialect *d, int32_t id) {
    for (uint32_t i = 0; i < d->n_shown; i++)
        if (d->shown[i] == id) return true;
    if (d->n_shown == API_SHOWN_TOKENS) return false;
    d->shown[d->n_shown++] = id;
    return true;
}

/* The mark with its special tokens set apart.  NULL: no memory. */
static char *bind_mark(api_dialect *d, const char *mark, const hone_tokenizer *t) {
    hone_buf out = {0};
    hone_ids ids = {0};
    if (t && hone_tokenizer_encode(t, mark, strlen(mark), 0, &ids, NULL) != HONE_OK) ids.n = 0;
    const char *at = mark;
    for (size_t i = 0; i < ids.n; i++) {
        size_t n;
        const char *token = hone_tokenizer_is_special(t, ids.id[i]) ? hone_tokenizer_text(t, ids.id[i], &n) : NULL;
        const char *found = token && n ? strstr(at, token) : NULL;
        if (!found || !show(d, ids.id[i])) continue;
        hone_buf_add(&out, at, (size_t)(found - at));
        hone_buf_char(&out, (char)HONE_TOKEN_MARK);
        hone_buf_add(&out, token, n);
        hone_buf_char(&out, (char)HONE_TOKEN_MARK);
        at = found + n;
    }
    hone_buf_text(&out, at);
    hone_buf_reserve(&out, 1); /* "" is a string too */
    hone_ids_free(&ids);
    return hone_buf_take(&out, NULL);
}

api_dialect *api_dialect_bind(const api_call_format *format, const char *source, const hone_tokenizer *t) {
    api_dialect *d = hone_zalloc(1, sizeof(*d));
    if (!d) return NULL;
    d->format = format;
    d->template_tools = d->template_system = d->template_results = true;
    const char *const *think = NULL;
    for (size_t i = 0; source && !think && i < sizeof(thinking) / sizeof(thinking[0]); i++)
        if (strstr(source, thinking[i][1])) think = thinking[i];
    d->thinks = think != NULL;
    for (int m = 0; m < N_MARKS; m++) {
        const char *mark = format->mark[m];
        if (m == M_THINK || m == M_THINK_END) mark = think ? think[m - M_THINK] : NULL;
        if (!(d->mark[m] = bind_mark(d, mark ? mark : "", t))) {
            api_dialect_close(d);
            return NULL;
        }
    }
    return d;
}

void api_dialect_close(api_dialect *d) {
    if (!d) return;
    for (int m = 0; m < N_MARKS; m++) hone_free(d->mark[m]);
    hone_free(d);
}

/* The last place where needle stands in text[n], or NULL. */
static const char *find_last(const char *text, size_t n, const char *needle, size_t n_needle) {
    for (size_t i = n; n_needle && i >= n_needle; i--)
        if (memcmp(text + i - n_needle, needle, n_needle) == 0) return text + i - n_needle;
    return NULL;
}

static bool blank(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isspace((unsigned char)text[i])) return false;
    return true;
}

/* A mark as it is rendered, without the bytes that set special tokens apart and without white space behind it. */
static size_t plain_mark(const char *mark, char out[64]) {
    size_t n = 0;
    for (; *mark && n < 63; mark++)
        if ((unsigned char)*mark != HONE_TOKEN_MARK) out[n++] = *mark;
    while (n && isspace((unsigned char)out[n - 1])) n--;
    return n;
}

api_think api_dialect_think(const api_dialect *d, const char *prompt, size_t n) {
    if (!d->thinks) return API_THINK_NONE;
    char begin[64], end[64];
    const size_t n_begin = plain_mark(d->mark[M_THINK], begin), n_end = plain_mark(d->mark[M_THINK_END], end);
    const char *open = find_last(prompt, n, begin, n_begin), *close = find_last(prompt, n, end, n_end);
    const char *past = prompt + n;
    if (open && blank(open + n_begin, (size_t)(past - open) - n_begin)) return API_THINK_OPEN;
    if (close && blank(close + n_end, (size_t)(past - close) - n_end)) return API_THINK_NONE;
    return API_THINK_MAY;
}

/* ---- Probing ---- */

#define PROBE_NAME "probe_function_q7"
#define PROBE_VALUE "probe_value_q7"
#define PROBE_RESULT "probe_result_q7"
#define PROBE_SYSTEM "probe_system_q7"

/* Whether the conversation renders to a text with both of these in it, and without the third. */
static bool renders(const hone_text *text, json_t *messages, json_t *tools, const char *one, const char *two,
                    const char *never) {
    const hone_chat_input in = {
        .messages = messages, .tools = tools, .special_tokens = text->special_tokens, .add_generation_prompt = true};
    hone_buf out = {0};
    const bool ok = messages && hone_chat_render(text->chat, &in, NULL, &out, NULL) == HONE_OK &&
                    strstr(hone_buf_str(&out), one) && (!two || strstr(hone_buf_str(&out), two)) &&
                    (!never || !strstr(hone_buf_str(&out), never));
    hone_buf_free(&out);
    json_decref(messages);
    return ok;
}

static json_t *probe_history(bool null_content, bool as_string, bool result) {
    json_t *arguments =
        as_string ? json_string("{\"word\": \"" PROBE_VALUE "\"}") : json_pack("{s:s}", "word", PROBE_VALUE);
    json_t *list =
        json_pack("[{s:s, s:s}, {s:s, s:o, s:[{s:s, s:s, s:{s:s, s:o}}]}]", "role", "user", "content", "hi", "role",
                  "assistant", "content", null_content ? json_null() : json_string(""), "tool_calls", "id", "abcdefghi",
                  "type", "function", "function", "name", PROBE_NAME, "arguments", arguments);
    if (result)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "role", "tool", "tool_call_id", "abcdefghi",
                                              "name", PROBE_NAME, "content", PROBE_RESULT));
    return list;
}

void api_dialect_probe(api_dialect *d, const hone_text *text) {
    json_t *tools = json_pack("[{s:s, s:{s:s, s:s, s:{s:s, s:{s:{s:s, s:s}}, s:[s]}}}]", "type", "function", "function",
                              "name", PROBE_NAME, "description", "probe", "parameters", "type", "object", "properties",
                              "word", "type", "string", "description", "a word", "required", "word");
    json_t *ask = json_pack("[{s:s, s:s}]", "role", "user", "content", "hi");
    d->template_tools = renders(text, ask, tools, PROBE_NAME, NULL, NULL);
    d->template_system = renders(text,
                                 json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "system", "content", PROBE_SYSTEM,
                                           "role", "user", "content", "hi"),
                                 d->template_tools ? tools : NULL, PROBE_SYSTEM, NULL, NULL);
    /* Arguments as an object, shown as JSON or part by part (but not with Python's quotes), else as JSON text. */
    d->history = API_HISTORY_TEXT;
    for (int i = 0; i < 6 && d->history == API_HISTORY_TEXT; i++) {
        const bool null_content = (i & 1) == 0, in_parts = i / 2 == 1, string = i / 2 == 2;
        if (!renders(text, probe_history(null_content, string, false), tools, PROBE_NAME,
                     in_parts ? PROBE_VALUE : "{\"word\": \"" PROBE_VALUE, in_parts ? "{'word'" : NULL))
            continue;
        d->history = string ? API_HISTORY_STRING : API_HISTORY_OBJECT;
        d->null_content = null_content;
    }
    const bool as_string = d->history == API_HISTORY_STRING;
    d->template_results =
        renders(text, probe_history(d->null_content, as_string, true), tools, PROBE_RESULT, NULL, NULL);
    json_decref(tools);
    if (d->format == GENERIC) { /* its form is ours, so it is told by ours alone */
        d->template_tools = d->template_results = d->null_content = false;
        d->history = API_HISTORY_TEXT;
    }
}

api_dialect *api_dialect_open(const hone_text *text) {
    const char *source = hone_tokenizer_template(text->tokenizer, NULL);
    api_dialect *d = api_dialect_bind(api_call_format_of(source), source, text->tokenizer);
    if (!d || !text->chat) return d;
    api_dialect_probe(d, text);
    return d;
}

/* ---- Calls as text ---- */

static void add_mark(const api_dialect *d, api_mark m, hone_buf *out) {
    if (d->format->mark[m]) hone_buf_text(out, d->format->mark[m]);
}

void api_write_spaced(const json_t *v, hone_buf *out) {
    if (json_is_object(v)) {
        const char *key;
        json_t *value;
        bool first = true;
        hone_buf_char(out, '{');
        json_object_foreach((json_t *)(uintptr_t)v, key, value) {
            if (!first) hone_buf_text(out, ", ");
            first = false;
            hone_buf_json_string(out, key, strlen(key));
            hone_buf_text(out, ": ");
            api_write_spaced(value, out);
        }
        hone_buf_char(out, '}');
    } else if (json_is_array(v)) {
        hone_buf_char(out, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i) hone_buf_text(out, ", ");
            api_write_spaced(json_array_get(v, i), out);
        }
        hone_buf_char(out, ']');
    } else {
        hone_json_write(v, out);
    }
}

static void write_gemma(const api_dialect *d, const json_t *v, hone_buf *out) {
    if (json_is_object(v)) {
        const char *key;
        json_t *value;
        bool first = true;
        hone_buf_char(out, '{');
        json_object_foreach((json_t *)(uintptr_t)v, key, value) {
            if (!first) hone_buf_char(out, ',');
            first = false;
            hone_buf_text(out, key);
            hone_buf_char(out, ':');
            write_gemma(d, value, out);
        }
        hone_buf_char(out, '}');
    } else if (json_is_array(v)) {
        hone_buf_char(out, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i) hone_buf_char(out, ',');
            write_gemma(d, json_array_get(v, i), out);
        }
        hone_buf_char(out, ']');
    } else if (json_is_string(v)) {
        add_mark(d, M_QUOTE, out);
        hone_buf_add(out, json_string_value(v), json_string_length(v));
        add_mark(d, M_QUOTE, out);
    } else {
        hone_json_write(v, out);
    }
}

static void write_call(const api_dialect *d, const char *id, const char *name, const json_t *arguments, size_t index,
                       hone_buf *out) {
    const char *key;
    json_t *value;
    switch (d->format->style) {
    case API_CALL_OBJECT:
        hone_buf_char(out, '{');
        if (d->format->mark[M_ID_KEY]) hone_buf_format(out, "\"%s\": \"%zu\", ", d->format->mark[M_ID_KEY], index);
        hone_buf_format(out, "\"%s\": \"%s\", \"%s\": ", d->format->mark[M_NAME_KEY], name,
                        d->format->mark[M_ARGUMENTS_KEY]);
        api_write_spaced(arguments, out);
        if (d->format->id_last) hone_buf_format(out, ", \"id\": \"%s\"", id);
        hone_buf_char(out, '}');
        return;
    case API_CALL_NAMED:
        hone_buf_text(out, name);
        if (d->format->numbered) hone_buf_format(out, ":%zu", index);
        if (d->format->mark[M_ID]) {
            add_mark(d, M_ID, out);
            hone_buf_text(out, id);
        }
        add_mark(d, M_MIDDLE, out);
        api_write_spaced(arguments, out);
        return;
    case API_CALL_PARAMETERS:
        hone_buf_text(out, name);
        add_mark(d, M_MIDDLE, out);
        json_object_foreach((json_t *)(uintptr_t)arguments, key, value) {
            add_mark(d, M_KEY, out);
            hone_buf_text(out, key);
            add_mark(d, M_KEY_END, out);
            if (json_is_string(value))
                hone_buf_add(out, json_string_value(value), json_string_length(value));
            else
                api_write_spaced(value, out);
            add_mark(d, M_VALUE_END, out);
        }
        return;
    case API_CALL_GEMMA:
        hone_buf_text(out, name);
        write_gemma(d, arguments, out);
        return;
    }
}

void api_dialect_write_calls(const api_dialect *d, const json_t *tool_calls, hone_buf *out) {
    add_mark(d, M_BEGIN, out);
    for (size_t i = 0; i < json_array_size(tool_calls); i++) {
        const json_t *call = json_array_get(tool_calls, i), *function = json_object_get(call, "function");
        const char *id = json_string_value(json_object_get(call, "id"));
        const char *name = json_string_value(json_object_get(function, "name"));
        if (i) add_mark(d, M_BETWEEN, out);
        add_mark(d, M_OPEN, out);
        write_call(d, id ? id : "", name ? name : "", json_object_get(function, "arguments"), i, out);
        add_mark(d, M_CLOSE, out);
    }
    add_mark(d, M_END, out);
}
