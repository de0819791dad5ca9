/* A conversation as OpenAI's clients send it, through every published template: tools, calls and results all arrive in
 * the prompt, whatever the template knows of them. */
#include "test.h"

#include <stdio.h>

#include "api/reply.h"
#include "base/mem.h"
#include "shared.h"

static const char conversation[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Weather in \"}, {\"type\": "
    "\"text\", "
    "\"text\": \"Graz?\"}]},"
    "{\"role\": \"assistant\", \"content\": null, \"refusal\": null, \"tool_calls\": [{\"id\": "
    "\"call_abcdefghijklmnop\", \"type\": "
    "\"function\", \"function\": {\"name\": \"get_weather\", \"arguments\": \"{\\\"city\\\": \\\"Graz\\\", "
    "\\\"days\\\": 3}\"}}]},"
    "{\"role\": \"tool\", \"tool_call_id\": \"call_abcdefghijklmnop\", \"content\": \"rain_q7\"}],"
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"description\": \"The "
    "weather_q7.\", "
    "\"strict\": null, \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\", "
    "\"description\": "
    "\"a city\"}, \"days\": {\"type\": \"integer\", \"description\": \"how many\"}}, \"required\": [\"city\"]}}}]}";

static json_t *body_of(const char *text) {
    hone_error err = {0};
    json_t *v = hone_json_parse(text, strlen(text), &err);
    if (!v) fail_msg("%s", err.message);
    return v;
}

static void through(const char *name, const char *source, size_t n, uint32_t *rendered) {
    hone_text text = {0};
    hone_error err = {0};
    assert_int_equal(hone_template_compile(&text.chat, source, n, &err), HONE_OK);
    text.special_tokens = json_pack("{s:s, s:s}", "bos_token", "<s>", "eos_token", "</s>");
    api_dialect *d = api_dialect_bind(api_call_format_of(source), source, NULL);
    api_dialect_probe(d, &text);
    json_t *body = body_of(conversation);
    json_t *messages = api_messages_read(NULL, body);
    api_tools tools;
    assert_non_null(messages);
    assert_true(api_tools_read(NULL, body, &tools));
    assert_true(api_messages_adapt(d, &tools, messages));
    json_t *kwargs = json_object();
    const hone_chat_input in = {.messages = messages,
                                .tools = d->template_tools ? tools.list : NULL,
                                .special_tokens = text.special_tokens,
                                .kwargs = kwargs,
                                .add_generation_prompt = true};
    hone_buf out = {0};
    if (hone_chat_render(text.chat, &in, NULL, &out, &err) != HONE_OK) {
        /* what these need is no template language: variables or changes of lists that transformers has not either */
        if (!strstr("fireworks-ai-llama-3-firefunction-v2.jinja Kimi-K2-Instruct.jinja moonshotai-Kimi-K2.jinja", name))
            fail_msg("%s: %s", name, err.message);
    } else {
        (*rendered)++;
        static const char *const parts[] = {"Graz?", "get_weather", "weather_q7", "rain_q7"};
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
            if (!strstr(out.data, parts[i]))
                fail_msg("%s (%s): no %s in\n%s", name, d->format->name, parts[i], out.data);
        const char *called = strstr(out.data, "Graz?");
        bool again = false; /* the call itself: the city stands a second time */
        for (const char *at = out.data; (at = strstr(at, "Graz")); at += 4) again = again || at != called;
        if (!again) fail_msg("%s (%s): no call in\n%s", name, d->format->name, out.data);
    }
    hone_buf_free(&out);
    json_decref(kwargs);
    json_decref(messages);
    json_decref(body);
    api_tools_free(&tools);
    api_dialect_close(d);
    json_decref(text.special_tokens);
    hone_template_free(text.chat);
}

static void test_every_published_template(void **state) {
    (void)state;
    static const char *const names[] = {"Qwen-Qwen2.5-7B-Instruct",
                                        "Qwen-Qwen3-0.6B",
                                        "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
                                        "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
                                        "meta-llama-Llama-3.1-8B-Instruct",
                                        "meta-llama-Llama-3.2-3B-Instruct",
                                        "meta-llama-Llama-3.3-70B-Instruct",
                                        "mistralai-Mistral-Nemo-Instruct-2407",
                                        "Mistral-Small-3.2-24B-Instruct-2506",
                                        "unsloth-mistral-Devstral-Small-2507",
                                        "mistralai-Ministral-3-14B-Reasoning-2512",
                                        "google-gemma-4-31B-it",
                                        "google-gemma-2-2b-it",
                                        "ibm-granite-granite-3.3-2B-Instruct",
                                        "Qwen3-Coder",
                                        "Qwen3.5-4B",
                                        "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
                                        "stepfun-ai-Step-3.5-Flash",
                                        "GLM-4.6",
                                        "GLM-4.7-Flash",
                                        "deepseek-ai-DeepSeek-V3.1",
                                        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
                                        "llama-cpp-deepseek-r1",
                                        "Kimi-K2-Instruct",
                                        "Apertus-8B-Instruct",
                                        "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
                                        "ByteDance-Seed-OSS",
                                        "meetkai-functionary-medium-v3.1",
                                        "fireworks-ai-llama-3-firefunction-v2",
                                        "unsloth-Apriel-1.5",
                                        "microsoft-Phi-3.5-mini-instruct",
                                        "Bielik-11B-v3.0-Instruct",
                                        "MiMo-VL",
                                        "Reka-Edge",
                                        "LFM2-8B-A1B",
                                        "HuggingFaceTB-SmolLM3-3B"};
    char *source = hone_zalloc(1, 1 << 18);
    uint32_t rendered = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char name[200], path[1024];
        snprintf(name, sizeof(name), "data/chat-templates/%s.jinja", names[i]);
        if (!shared_path(path, sizeof(path), name)) {
            hone_free(source);
            skip();
        }
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        const size_t n = fread(source, 1, (1 << 18) - 1, f);
        fclose(f);
        source[n] = 0;
        through(strrchr(name, '/') + 1, source, n, &rendered);
    }
    assert_true(rendered >= 33);
    hone_free(source);
}

static void test_calls_become_objects_and_results_get_names(void **state) {
    (void)state;
    json_t *body = body_of(conversation), *messages = api_messages_read(NULL, body);
    const json_t *call = json_array_get(json_object_get(json_array_get(messages, 1), "tool_calls"), 0);
    const json_t *arguments = json_object_get(json_object_get(call, "function"), "arguments");
    assert_int_equal(json_integer_value(json_object_get(arguments, "days")), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(messages, 0), "content")), "Weather in Graz?");
    assert_null(json_object_get(json_array_get(messages, 1), "refusal")); /* null is absent */
    api_dialect *d = api_dialect_bind(api_call_format_of("[TOOL_CALLS]"), NULL, NULL);
    api_tools none = {0};
    assert_true(api_messages_adapt(d, &none, messages));
    const char *id = json_string_value(json_object_get(call, "id"));
    assert_int_equal(strlen(id), 9); /* Mistral takes no others; both ends have the same */
    assert_string_equal(id, json_string_value(json_object_get(json_array_get(messages, 2), "tool_call_id")));
    assert_string_equal(json_string_value(json_object_get(json_array_get(messages, 2), "name")), "get_weather");
    api_dialect_close(d);
    json_decref(messages);
    json_decref(body);
}

static void test_the_predecessor_of_tools(void **state) {
    (void)state;
    json_t *body = body_of(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\", \"content\": null, "
        "\"function_call\": {\"name\": \"f\", \"arguments\": \"{}\"}}, {\"role\": \"function\", \"name\": "
        "\"f\", \"content\": \"r\"}], \"functions\": [{\"name\": \"f\"}], \"function_call\": \"auto\"}");
    json_t *messages = api_messages_read(NULL, body);
    const json_t *call = json_array_get(json_object_get(json_array_get(messages, 1), "tool_calls"), 0);
    assert_string_equal(json_string_value(json_object_get(json_array_get(messages, 2), "role")), "tool");
    assert_string_equal(json_string_value(json_object_get(call, "id")),
                        json_string_value(json_object_get(json_array_get(messages, 2), "tool_call_id")));
    api_tools tools;
    assert_true(api_tools_read(NULL, body, &tools));
    assert_true(tools.legacy && !tools.parallel && tools.mode == API_TOOLS_AUTO && tools.n_function == 1);
    api_tools_free(&tools);
    json_decref(messages);
    json_decref(body);
}

static void test_choices(void **state) {
    (void)state;
    static const struct {
        const char *choice;
        api_tools_mode mode;
        bool first, second, parallel;
    } row[] = {
        {"null", API_TOOLS_AUTO, true, true, true},
        {"\"none\"", API_TOOLS_NEVER, true, true, true},
        {"\"required\"", API_TOOLS_FORCED, true, true, true},
        {"{\"type\": \"function\", \"function\": {\"name\": \"b\"}}", API_TOOLS_FORCED, false, true, false},
        {"{\"type\": \"allowed_tools\", \"allowed_tools\": {\"mode\": \"auto\", \"tools\": [{\"type\": \"function\", "
         "\"function\": {\"name\": \"a\"}}]}}",
         API_TOOLS_AUTO, true, false, true},
        {"{\"type\": \"allowed_tools\", \"allowed_tools\": {\"mode\": \"required\", \"tools\": [{\"type\": "
         "\"function\", "
         "\"function\": {\"name\": \"b\"}}]}}",
         API_TOOLS_FORCED, false, true, true},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        hone_buf text = {0};
        hone_buf_format(
            &text,
            "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"a\"}}, {\"type\": \"function\", "
            "\"function\": {\"name\": \"b\"}}], \"tool_choice\": %s}",
            row[i].choice);
        json_t *body = body_of(text.data);
        api_tools tools;
        assert_true(api_tools_read(NULL, body, &tools));
        assert_int_equal(tools.mode, row[i].mode);
        assert_int_equal(tools.function[0].allowed, row[i].first);
        assert_int_equal(tools.function[1].allowed, row[i].second);
        assert_int_equal(tools.parallel, row[i].parallel);
        api_tools_free(&tools);
        json_decref(body);
        hone_buf_free(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_published_template),
        cmocka_unit_test(test_calls_become_objects_and_results_get_names),
        cmocka_unit_test(test_the_predecessor_of_tools),
        cmocka_unit_test(test_choices),
    };
    hone_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
