/* Calls and reasoning in the forms of model families: every text is read whole, cut in two at every byte, and byte by
 * byte; the result is always the same. */
#include "test.h"

#include <stdio.h>

#include "api/dialect.h"
#include "base/mem.h"
#include "shared.h"

/* ---- Reading ---- */

/* What was read, as one line: r:, c:, and for each call name(id)=arguments. */
typedef struct {
    hone_buf reasoning, content, calls;
    bool any;
} heard;

static void hear(void *arg, api_part part, const char *text, size_t n, const char *id) {
    heard *h = arg;
    switch (part) {
    case API_PART_REASONING: hone_buf_add(&h->reasoning, text, n); return;
    case API_PART_CONTENT: hone_buf_add(&h->content, text, n); return;
    case API_PART_CALL:
        hone_buf_format(&h->calls, "%s%.*s(%s)=", h->any ? "|" : "", (int)n, text, id);
        h->any = true;
        return;
    case API_PART_ARGUMENTS: hone_buf_add(&h->calls, text, n); return;
    }
}

static void forget(heard *h) {
    hone_buf_free(&h->reasoning);
    hone_buf_free(&h->content);
    hone_buf_free(&h->calls);
    *h = (heard){0};
}

static json_t *types(void) {
    return json_pack("[{s:{s:s, s:{s:{s:{s:s}, s:{s:s}, s:{s:s}}}}}]", "function", "name", "f", "parameters",
                     "properties", "city", "type", "string", "days", "type", "integer", "where", "type", "object");
}

static void read_parts(const api_dialect *d, api_think think, const char *text, size_t n, size_t step, size_t cut,
                       heard *out) {
    json_t *list = types();
    api_splitter *s = api_splitter_open(d, think, true, list, hear, out);
    assert_non_null(s);
    if (step) {
        for (size_t i = 0; i < n; i += step) assert_true(api_splitter_feed(s, text + i, n - i < step ? n - i : step));
    } else {
        assert_true(api_splitter_feed(s, text, cut));
        assert_true(api_splitter_feed(s, text + cut, n - cut));
    }
    assert_true(api_splitter_finish(s));
    api_splitter_close(s);
    json_decref(list);
}

static void check_one(const heard *h, const char *text, const char *reasoning, const char *content, const char *calls) {
    if (strcmp(hone_buf_str(&h->reasoning), reasoning) || strcmp(hone_buf_str(&h->content), content) ||
        strcmp(hone_buf_str(&h->calls), calls))
        fail_msg("%s\n got r<%s> c<%s> t<%s>\nwant r<%s> c<%s> t<%s>", text, hone_buf_str(&h->reasoning),
                 hone_buf_str(&h->content), hone_buf_str(&h->calls), reasoning, content, calls);
}

static void check(const api_dialect *d, api_think think, const char *text, const char *reasoning, const char *content,
                  const char *calls) {
    const size_t n = strlen(text);
    heard h = {0};
    for (size_t step = 1; step <= 3; step++) {
        read_parts(d, think, text, n, step, 0, &h);
        check_one(&h, text, reasoning, content, calls);
        forget(&h);
    }
    for (size_t cut = 0; cut <= n; cut++) {
        read_parts(d, think, text, n, 0, cut, &h);
        check_one(&h, text, reasoning, content, calls);
        forget(&h);
    }
}

static const api_call_format *format(const char *name) {
    for (size_t i = 0; api_call_format_at(i); i++)
        if (strcmp(api_call_format_at(i)->name, name) == 0) return api_call_format_at(i);
    fail_msg("no format %s", name);
    return NULL;
}

/* ---- The table of texts ---- */

static const struct {
    const char *format, *text, *content, *calls;
} rows[] = {
    {"hermes", "hello", "hello", ""},
    {"hermes", " hello \n", " hello \n", ""},
    {"hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"city\": \"Graz\"}}\n</tool_call>", "",
     "f()={\"city\": \"Graz\"}"},
    {"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>", "", "f()={}"},
    {"hermes",
     "I look.\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": "
     "\"}\\\"]\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {\"b\": [1, {\"c\": "
     "null}]}}\n</tool_call>",
     "I look.", "f()={\"a\": \"}\\\"]\"}|g()={\"b\": [1, {\"c\": null}]}"},
    {"hermes", "<tool_call>\n{\"arguments\": {\"x\": 1}, \"name\": \"f\"}\n</tool_call>", "", "f()={\"x\": 1}"},
    {"hermes", "<tool_call>\n{\"name\": \"f\"}\n</tool_call>", "", "f()={}"},
    {"hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": \\\"\\u00e9\\\"}\"}\n</tool_call>", "",
     "f()={\"x\": \"\xc3\xa9\"}"},
    {"hermes",
     "<tool_call>\n{\"id\": \"call_7\", \"name\": \"f\", \"arguments\": {}, \"more\": [1]}\n</tool_call> done", "done",
     "f(call_7)={}"},
    {"hermes", "a <tool_call> is what I need", "a <tool_call> is what I need", ""},
    {"hermes", "a <tool_call>\n{\"name\": 5}", "a <tool_call>\n{\"name\": 5}", ""},
    {"hermes", "a <tool_cal", "a <tool_cal", ""},
    {"hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1, 2", "", "f()={\"x\": [1, 2"},
    {"hermes", "<tool_call>\n{\"name\": \"f\", \"argu", "<tool_call>\n{\"name\": \"f\", \"argu", ""},
    {"hermes", "x <tool_call>{\"name\": \"bad name!\", \"arguments\": {}}</tool_call>",
     "x <tool_call>{\"name\": \"bad name!\", \"arguments\": {}}</tool_call>", ""},
    {"llama3", "{\"name\": \"f\", \"parameters\": {\"city\": \"Graz\"}}", "", "f()={\"city\": \"Graz\"}"},
    {"llama3", "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}", "", "f()={}"},
    {"llama3", "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"a\": 1}}", "", "f()={\"a\": 1}"},
    {"llama3", "{\"answer\": 42}", "{\"answer\": 42}", ""},
    {"llama3", "{\"name\": \"Ann\", \"age\": 4}", "{\"name\": \"Ann\", \"age\": 4}", ""},
    {"llama3", "No {\"name\": \"f\", \"parameters\": {}}", "No {\"name\": \"f\", \"parameters\": {}}", ""},
    {"mistral-list",
     "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefghi\"}, {\"name\": \"g\", "
     "\"arguments\": {}}]",
     "", "f()={\"a\": 1}|g()={}"},
    {"mistral-list", "[TOOL_CALLS] [{\"name\":\"f\",\"arguments\":{}}] ", "", "f()={}"},
    {"mistral-list", "[TOOL_CALLS] nothing", "[TOOL_CALLS] nothing", ""},
    {"mistral", "[TOOL_CALLS]f[ARGS]{\"a\": [1]}[TOOL_CALLS]g[ARGS]{}", "", "f()={\"a\": [1]}|g()={}"},
    {"mistral-id", "[TOOL_CALLS]f[CALL_ID]abc123XYZ[ARGS]{\"a\": 1}", "", "f(abc123XYZ)={\"a\": 1}"},
    {"mistral-id", "[TOOL_CALLS]f[ARGS]{\"a\": 1}", "", "f()={\"a\": 1}"},
    {"gemma",
     "<|tool_call>call:f{city:<|\"|>Gr\"az<|\"|>,days:3,where:{on:true,list:[1,<|\"|>b\xc3\xa9<|\"|>]}}<tool_call|>",
     "", "f()={\"city\": \"Gr\\\"az\", \"days\": 3, \"where\": {\"on\": true, \"list\": [1, \"b\xc3\xa9\"]}}"},
    {"gemma", "<|tool_call>call:f{}<tool_call|><|tool_call>call:g{a:null}<tool_call|>", "", "f()={}|g()={\"a\": null}"},
    {"gemma", "<|tool_call>call:f{a:word}<tool_call|>", "", "f()={\"a\": \"word\"}"},
    {"functiongemma", "<start_function_call>call:f{city:<escape>Graz<escape>}<end_function_call>", "",
     "f()={\"city\": \"Graz\"}"},
    {"granite", "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]", "",
     "f()={\"a\": 1}|g()={}"},
    {"granite", "<|tool_call|> [ {\"name\": \"f\", \"arguments\": {\"a\": 1}} ] ", "", "f()={\"a\": 1}"},
    {"qwen-coder",
     "<tool_call>\n<function=f>\n<parameter=city>\nGraz\n</parameter>\n<parameter=days>\n3\n</parameter>\n</"
     "function>\n</tool_call>",
     "", "f()={\"city\": \"Graz\", \"days\": 3}"},
    {"qwen-coder",
     "<tool_call>\n<function=f>\n</function>\n</tool_call>\n<tool_call>\n<function=f>\n<parameter=city>\n12\n</"
     "parameter>\n<parameter=where>\n{\"a\": 1}\n</parameter>\n</function>\n</tool_call>",
     "", "f()={}|f()={\"city\": \"12\", \"where\": {\"a\": 1}}"},
    {"qwen-coder",
     "<tool_call>\n<function=f>\n<parameter=city>\ntwo\nlines \"and\" <b>\n</parameter>\n</function>\n</tool_call>", "",
     "f()={\"city\": \"two\\nlines \\\"and\\\" <b>\"}"},
    {"seed", "<seed:tool_call>\n<function=f>\n<parameter=city>Graz</parameter>\n</function>\n</seed:tool_call>", "",
     "f()={\"city\": \"Graz\"}"},
    {"glm",
     "<tool_call>f\n<arg_key>city</arg_key>\n<arg_value>Graz</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</"
     "arg_value>\n</tool_call>",
     "", "f()={\"city\": \"Graz\", \"days\": 2}"},
    {"glm-tight", "<tool_call>f<arg_key>city</arg_key><arg_value>Graz</arg_value></tool_call>", "",
     "f()={\"city\": \"Graz\"}"},
    {"deepseek",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": "
     "1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜><"
     "｜tool▁calls▁end｜>",
     "", "f()={\"a\": 1}|g()={}"},
    {"deepseek-v3.1",
     "ok<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": "
     "1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "ok", "f()={\"a\": 1}|g()={}"},
    {"kimi",
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": "
     "1}<|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_"
     "section_end|>",
     "", "f()={\"a\": 1}|g()={}"},
    {"command-r",
     "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"a\": 1}},\n    "
     "{\"tool_call_id\": \"1\", \"tool_name\": \"g\", \"parameters\": {}}\n]<|END_ACTION|>",
     "", "f()={\"a\": 1}|g()={}"},
    {"apertus", "<|tools_prefix|>[{\"f\": {\"a\": 1}}, {\"g\": {}}]<|tools_suffix|>", "", "f()={\"a\": 1}|g()={}"},
    {"functionary", "<function=f>{\"a\": 1}</function><function=g>{}</function>", "", "f()={\"a\": 1}|g()={}"},
    {"firefunction", " functools[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]", "", "f()={\"a\": 1}"},
    {"apriel",
     "<tool_calls>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]</tool_calls>",
     "", "f()={\"a\": 1}|g()={}"},
};

static void test_texts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        api_dialect *d = api_dialect_bind(format(rows[i].format), NULL, NULL);
        check(d, API_THINK_NONE, rows[i].text, "", rows[i].content, rows[i].calls);
        api_dialect_close(d);
    }
}

/* Reasoning: opened by the prompt, by the model, not at all; with calls behind it. */
static void test_reasoning(void **state) {
    (void)state;
    api_dialect *d = api_dialect_bind(format("hermes"), "<tool_call> </think>", NULL);
    assert_true(d->thinks);
    check(d, API_THINK_OPEN, "\nI think so.\n</think>\n\nYes.", "I think so.", "Yes.", "");
    check(d, API_THINK_OPEN, "never closed ", "never closed", "", "");
    check(d, API_THINK_MAY, "<think>\nhm <b> </thin\n</think>\n\nYes.", "hm <b> </thin", "Yes.", "");
    check(d, API_THINK_MAY, "\n<think></think>Yes.", "", "Yes.", "");
    check(d, API_THINK_MAY, "  <thin ice", "", "  <thin ice", "");
    check(d, API_THINK_NONE, "<think>x</think>", "", "<think>x</think>", "");
    check(d, API_THINK_OPEN, "use f</think>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>", "use f",
          "", "f()={}");
    api_dialect_close(d);
    d = api_dialect_bind(format("gemma"), "<|channel>thought <channel|>", NULL);
    check(d, API_THINK_MAY, "<|channel>thought\nhm\n<channel|>Yes", "hm", "Yes", "");
    api_dialect_close(d);
}

static void test_what_the_prompt_says_of_reasoning(void **state) {
    (void)state;
    static const struct {
        const char *prompt;
        api_think think;
    } asked[] = {{"<|im_start|>assistant\n<think>\n", API_THINK_OPEN},
                 {"<|im_start|>assistant\n<think>\n\n</think>\n\n", API_THINK_NONE},
                 {"<|im_start|>assistant\n", API_THINK_MAY},
                 {"user: <think> is a mark</think>\nassistant:", API_THINK_MAY},
                 {"", API_THINK_MAY}};
    api_dialect *d = api_dialect_bind(format("hermes"), "</think>", NULL);
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
        assert_int_equal(api_dialect_think(d, asked[i].prompt, strlen(asked[i].prompt)), asked[i].think);
    api_dialect_close(d);
    d = api_dialect_bind(format("hermes"), "", NULL);
    assert_int_equal(api_dialect_think(d, "<think>", 7), API_THINK_NONE);
    api_dialect_close(d);
}

/* Special tokens stand between marks; the same letters as ordinary text are text, other special tokens leave none. */
static void test_special_tokens(void **state) {
    (void)state;
    api_dialect *d = api_dialect_bind(format("mistral"), NULL, NULL);
    hone_free(d->mark[M_TRIGGER]);
    hone_free(d->mark[M_OPEN]);
    hone_free(d->mark[M_MIDDLE]);
    d->mark[M_TRIGGER] = hone_strdup("\xff[TOOL_CALLS]\xff");
    d->mark[M_OPEN] = hone_strdup("\xff[TOOL_CALLS]\xff");
    d->mark[M_MIDDLE] = hone_strdup("\xff[ARGS]\xff");
    check(d, API_THINK_NONE,
          "a [TOOL_CALLS] b\xff[TOOL_CALLS]\xff"
          "f\xff[ARGS]\xff{\"x\": \"[ARGS]\"}",
          "", "a [TOOL_CALLS] b", "f()={\"x\": \"[ARGS]\"}");
    check(d, API_THINK_NONE, "a\xff<other>\xff b\xff[ARGS]\xff", "", "a b", "");
    check(d, API_THINK_NONE, "\xff[TOOL_CALLS]\xff, no", "", ", no", "");
    api_dialect_close(d);
}

/* What is written for a history is read back as the same calls. */
static void test_written_calls_are_read_back(void **state) {
    (void)state;
    json_t *calls = json_pack("[{s:s, s:{s:s, s:{s:s, s:i, s:{s:b}}}}, {s:s, s:{s:s, s:{s:s}}}]", "id", "abcdefgh1",
                              "function", "name", "f", "arguments", "city", "Gr\xc3\xa4z, \"x\" {y}", "days", 3,
                              "where", "a", 1, "id", "abcdefgh2", "function", "name", "f", "arguments", "city", "");
    assert_non_null(calls);
    for (size_t i = 0; api_call_format_at(i); i++) {
        const api_call_format *f = api_call_format_at(i);
        api_dialect *d = api_dialect_bind(f, NULL, NULL);
        json_t *some = json_array();
        for (size_t k = 0; k < (f->single ? 1u : 2u); k++) json_array_append(some, json_array_get(calls, k));
        hone_buf text = {0};
        api_dialect_write_calls(d, some, &text);
        heard h = {0};
        read_parts(d, API_THINK_NONE, text.data, text.n, 1, 0, &h);
        assert_int_equal(h.content.n, 0);
        char *at = (char *)(uintptr_t)hone_buf_str(&h.calls);
        for (size_t k = 0; k < json_array_size(some); k++) {
            char *equals = strchr(at, '='), *bar = strchr(at, '|');
            assert_non_null(equals);
            if (bar) *bar = 0;
            json_t *got = hone_json_parse(equals + 1, strlen(equals + 1), NULL);
            if (!json_equal(got, json_object_get(json_object_get(json_array_get(some, k), "function"), "arguments")))
                fail_msg("%s: %s gave %s", f->name, text.data, equals + 1);
            json_decref(got);
            at = bar ? bar + 1 : at;
        }
        forget(&h);
        hone_buf_free(&text);
        json_decref(some);
        api_dialect_close(d);
    }
    json_decref(calls);
}

/* ---- Published templates ---- */

static const struct {
    const char *file, *format;
} families[] = {
    {"Qwen-Qwen2.5-7B-Instruct", "hermes"},
    {"Qwen-Qwen3-0.6B", "hermes"},
    {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "hermes"},
    {"Bielik-11B-v3.0-Instruct", "hermes"},
    {"meta-llama-Llama-3.1-8B-Instruct", "llama3"},
    {"meta-llama-Llama-3.2-3B-Instruct", "llama3"},
    {"meta-llama-Llama-3.3-70B-Instruct", "llama3"},
    {"mistralai-Mistral-Nemo-Instruct-2407", "mistral-list"},
    {"Mistral-Small-3.2-24B-Instruct-2506", "mistral-id"},
    {"unsloth-mistral-Devstral-Small-2507", "mistral"},
    {"mistralai-Ministral-3-14B-Reasoning-2512", "mistral"},
    {"google-gemma-4-31B-it", "gemma"},
    {"google-gemma-4-31B-it-interleaved", "gemma"},
    {"ibm-granite-granite-3.3-2B-Instruct", "granite"},
    {"Qwen3-Coder", "qwen-coder"},
    {"Qwen3.5-4B", "qwen-coder"},
    {"NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "qwen-coder"},
    {"stepfun-ai-Step-3.5-Flash", "qwen-coder"},
    {"GLM-4.6", "glm"},
    {"GLM-4.7-Flash", "glm-tight"},
    {"deepseek-ai-DeepSeek-V3.1", "deepseek-v3.1"},
    {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek"},
    {"llama-cpp-deepseek-r1", "deepseek"},
    {"Kimi-K2-Instruct", "kimi"},
    {"Apertus-8B-Instruct", "apertus"},
    {"CohereForAI-c4ai-command-r7b-12-2024-tool_use", "command-r"},
    {"ByteDance-Seed-OSS", "seed"},
    {"meetkai-functionary-medium-v3.1", "functionary"},
    {"fireworks-ai-llama-3-firefunction-v2", "firefunction"},
    {"unsloth-Apriel-1.5", "apriel"},
    {"google-gemma-2-2b-it", "generic"},
    {"microsoft-Phi-3.5-mini-instruct", "generic"},
};

/* The template's own rendering of a call, where it renders calls, is what we write and read. */
static void test_published_templates(void **state) {
    (void)state;
    char path[256];
    if (!shared_path(path, sizeof(path), "data/chat-templates")) skip();
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        snprintf(path, sizeof(path), "data/chat-templates/%s.jinja", families[i].file);
        char file[1024];
        if (!shared_path(file, sizeof(file), path)) skip();
        FILE *f = fopen(file, "rb");
        char *source = hone_zalloc(1, 1 << 18);
        assert_non_null(f);
        const size_t n = fread(source, 1, (1 << 18) - 1, f);
        fclose(f);
        const api_call_format *found = api_call_format_of(source);
        if (strcmp(found->name, families[i].format) != 0) fail_msg("%s is %s", families[i].file, found->name);
        hone_text text = {0};
        hone_error err = {0};
        assert_int_equal(hone_template_compile(&text.chat, source, n, &err), HONE_OK);
        text.special_tokens = json_pack("{s:s, s:s}", "bos_token", "<s>", "eos_token", "</s>");
        api_dialect *d = api_dialect_bind(found, source, NULL);
        api_dialect_probe(d, &text);
        if (d->history != API_HISTORY_TEXT) {
            json_t *calls = json_pack("[{s:s, s:s, s:{s:s, s:o}}]", "id", "abcdefghi", "type", "function", "function",
                                      "name", "get_weather", "arguments", json_pack("{s:s}", "city", "Graz"));
            hone_buf want = {0}, got = {0};
            api_dialect_write_calls(d, calls, &want);
            if (d->history == API_HISTORY_STRING)
                json_object_set_new(json_object_get(json_array_get(calls, 0), "function"), "arguments",
                                    json_string("{\"city\": \"Graz\"}"));
            json_t *messages =
                json_pack("[{s:s, s:s}, {s:s, s:o, s:o}]", "role", "user", "content", "hi", "role", "assistant",
                          "content", d->null_content ? json_null() : json_string(""), "tool_calls", calls);
            json_t *tools = json_pack("[{s:s, s:{s:s, s:s, s:{s:s, s:{}}}}]", "type", "function", "function", "name",
                                      "g", "description", "", "parameters", "type", "object", "properties");
            const hone_chat_input in = {.messages = messages, .tools = tools, .special_tokens = text.special_tokens};
            assert_int_equal(hone_chat_render(text.chat, &in, NULL, &got, &err), HONE_OK);
            if (!strstr(hone_buf_str(&got), hone_buf_str(&want)))
                fail_msg("%s renders\n%s\nwithout\n%s", families[i].file, got.data, want.data);
            hone_buf_free(&want);
            hone_buf_free(&got);
            json_decref(messages);
            json_decref(tools);
        }
        json_decref(text.special_tokens);
        hone_template_free(text.chat);
        api_dialect_close(d);
        hone_free(source);
    }
}

/* Hostile text costs no square of its length, and no failed allocation crashes. */
static void test_failures(void **state) {
    (void)state;
    api_dialect *d = api_dialect_bind(format("hermes"), "</think>", NULL);
    const char *text = "<think>a</think><tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"y\"}}\n</tool_call>b";
    for (int64_t at = 0; at < 200; at++) {
        heard h = {0};
        json_t *list = types();
        hone_mem_fail_at = at;
        api_splitter *s = api_splitter_open(d, API_THINK_MAY, true, list, hear, &h);
        bool ok = s != NULL;
        for (size_t i = 0; ok && text[i]; i++) ok = api_splitter_feed(s, text + i, 1);
        if (ok) ok = api_splitter_finish(s);
        hone_mem_fail_at = -1;
        api_splitter_close(s);
        json_decref(list);
        forget(&h);
    }
    heard h = {0};
    api_splitter *s = api_splitter_open(d, API_THINK_NONE, true, NULL, hear, &h);
    assert_true(api_splitter_feed(s, "<tool_call>{\"arguments\": [", 25));
    for (int i = 0; i < 200000; i++) assert_true(api_splitter_feed(s, "\"a\",", 4));
    assert_true(api_splitter_finish(s));
    assert_int_equal(h.content.n, 25 + 800000);
    api_splitter_close(s);
    forget(&h);
    api_dialect_close(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_reasoning),
        cmocka_unit_test(test_what_the_prompt_says_of_reasoning),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_written_calls_are_read_back),
        cmocka_unit_test(test_published_templates),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
