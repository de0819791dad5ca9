/* test_chat.c - conversations through templates: what the template is given, whose bytes are whose, and the published
 * templates against transformers.  Order: variables, messages, spans, failures, the oracle. */
#include <dirent.h>
#include <stdlib.h>

#include "test.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/chat.h"
#include "shared.h"

static const char chatml[] =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

static hone_template *compiled(const char *text) {
    hone_template *t;
    hone_error err;
    if (hone_template_compile(&t, text, strlen(text), &err) != HONE_OK) fail_msg("%s", err.message);
    return t;
}

static json_t *parsed(const char *text) {
    hone_error err;
    json_t *value = hone_json_parse(text, strlen(text), &err);
    if (!value) fail_msg("%s", err.message);
    return value;
}

/* The rendering of {"messages": ..., ...}, or the error's message, as a text that the caller frees. */
static char *rendered(const char *template, const char *conversation, const char *special) {
    hone_template *t = compiled(template);
    json_t *object = parsed(conversation), *tokens = special ? parsed(special) : NULL;
    hone_buf out = {0};
    hone_error err;
    if (hone_chat_render_object(t, object, tokens, NULL, &out, &err) != HONE_OK)
        hone_buf_format(&out, "%d: %s", err.code, err.message);
    json_decref(object);
    json_decref(tokens);
    hone_template_free(t);
    return hone_buf_take(&out, NULL);
}

static void expect(const char *template, const char *conversation, const char *special, const char *want) {
    char *got = rendered(template, conversation, special);
    assert_string_equal(got, want);
    hone_free(got);
}

/* ---- Variables ---- */

static void test_what_a_template_is_given(void **state) {
    (void)state;
    const char *probe = "{{ tools }} {{ documents }} {{ add_generation_prompt }} {{ tools is defined }}"
                        " {{ enable_thinking is defined }} {{ bos_token }}";
    expect(probe, "{\"messages\": []}", NULL, "None None False True False ");
    expect(probe, "{\"messages\": [], \"tools\": null, \"add_generation_prompt\": true}", "{\"bos_token\": \"<s>\"}",
           "None None True True False <s>");
    expect(probe, "{\"messages\": [], \"tools\": [], \"enable_thinking\": false, \"bos_token\": \"B\"}",
           "{\"bos_token\": \"<s>\"}", "[] None False True True B");
    expect(probe, "{\"messages\": [], \"documents\": [{\"a\": 1}]}", NULL, "None [{'a': 1}] False True False ");
}

static void test_reasoning_has_two_names(void **state) {
    (void)state;
    const char *probe = "{% for m in messages %}{{ m|tojson }}\n{% endfor %}";
    expect(probe, "{\"messages\": [{\"role\": \"a\", \"reasoning\": \"r\"}]}", NULL,
           "{\"thinking\": \"r\", \"role\": \"a\", \"reasoning\": \"r\", \"reasoning_content\": \"r\"}\n");
    expect(probe, "{\"messages\": [{\"thinking\": \"t\", \"reasoning_content\": \"r\"}]}", NULL,
           "{\"thinking\": \"t\", \"reasoning_content\": \"r\"}\n");
    expect(probe, "{\"messages\": [{\"thinking\": null, \"reasoning\": \"r\"}]}", NULL,
           "{\"thinking\": null, \"reasoning\": \"r\", \"reasoning_content\": \"r\"}\n");
    expect(probe, "{\"messages\": [{\"reasoning_content\": null, \"x\": 1}]}", NULL,
           "{\"reasoning_content\": null, \"x\": 1}\n");
}

static void test_a_developer_is_the_system_where_unknown(void **state) {
    (void)state;
    const char *conversation = "{\"messages\": [{\"role\": \"developer\", \"content\": \"Be brief.\"}]}";
    expect(chatml, conversation, NULL, "<|im_start|>system\nBe brief.<|im_end|>\n");
    expect("{% for m in messages %}{{ m.role }}{% if m.role == \"developer\" %}!{% endif %}{% endfor %}", conversation,
           NULL, "developer!");
    expect("a developer {% for m in messages %}{{ m.role }}{% endfor %}", conversation, NULL, "a developer system");
}

static void test_the_callers_conversation_is_not_changed(void **state) {
    (void)state;
    const char *text = "{\"messages\":[{\"role\":\"developer\",\"content\":\"c\",\"thinking\":\"t\"},"
                       "{\"role\":\"assistant\",\"content\":\"a\\n\"}],\"x\":1}";
    json_t *object = parsed(text);
    hone_template *t = compiled(chatml);
    hone_buf out = {0}, after = {0};
    hone_chat_spans spans = {0};
    const hone_chat_input in = {.messages = json_object_get(object, "messages")};
    assert_int_equal(hone_chat_render_object(t, object, NULL, NULL, &out, NULL), HONE_OK);
    assert_int_equal(hone_chat_spans_find(t, &in, HONE_CHAT_EVERY, NULL, &out, &spans, NULL), HONE_OK);
    hone_json_write(object, &after);
    assert_string_equal(hone_buf_str(&after), text);
    hone_chat_spans_free(&spans);
    hone_buf_free(&out);
    hone_buf_free(&after);
    hone_template_free(t);
    json_decref(object);
}

static void test_wrong_shapes_are_named(void **state) {
    (void)state;
    static const struct {
        const char *conversation;
        const char *words;
    } wrong[] = {
        {"{}", "'messages' must be an array"},
        {"{\"messages\": {}}", "'messages' must be an array"},
        {"{\"messages\": [{}, 5]}", "messages[1] must be an object"},
        {"{\"messages\": [], \"tools\": {}}", "'tools' must be an array"},
        {"{\"messages\": [], \"tools\": [1]}", "tools[0] must be an object"},
        {"{\"messages\": [], \"documents\": [[]]}", "documents[0] must be an object"},
        {"{\"messages\": [], \"add_generation_prompt\": 1}", "'add_generation_prompt' must be true or false"},
        {"[]", "must be an object"},
        {"{\"messages\": [{\"role\": \"user\"}]}", "no attribute 'content'"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        char *got = rendered(chatml, wrong[i].conversation, NULL);
        if (strncmp(got, "-1: ", 4) != 0 || !strstr(got, wrong[i].words)) print_error("%s\n", got);
        assert_int_equal(strncmp(got, "-1: ", 4), 0);
        assert_non_null(strstr(got, wrong[i].words));
        hone_free(got);
    }
    json_t *kwargs = parsed("{\"messages\": []}"), *messages = parsed("[]");
    hone_template *t = compiled(chatml);
    hone_buf out = {0};
    hone_error err;
    const hone_chat_input in = {.messages = messages, .kwargs = kwargs};
    assert_int_equal(hone_chat_render(t, &in, NULL, &out, &err), HONE_ERR_ARG);
    assert_non_null(strstr(err.message, "'messages' cannot be given"));
    hone_template_free(t);
    json_decref(kwargs);
    json_decref(messages);
}

/* ---- Spans ---- */

/* The spans as "index:bytes|index:bytes|", or the error's message. */
static char *spans_of(const char *template, const char *messages, hone_chat_which which) {
    hone_template *t = compiled(template);
    json_t *array = parsed(messages), *special = parsed("{\"eos_token\": \"</s>\"}");
    hone_buf text = {0}, shown = {0};
    hone_chat_spans spans = {0};
    hone_error err;
    const hone_chat_input in = {.messages = array, .special_tokens = special};
    hone_buf_text(&text, "before");
    if (hone_chat_spans_find(t, &in, which, NULL, &text, &spans, &err) == HONE_OK) {
        for (size_t i = 0; i < spans.n; i++)
            hone_buf_format(&shown, "%zu:%.*s|", spans.span[i].message, (int)(spans.span[i].end - spans.span[i].begin),
                            text.data + 6 + spans.span[i].begin);
    } else {
        hone_buf_format(&shown, "%d: %s", err.code, err.message);
        assert_string_equal(hone_buf_str(&text), "before");
        assert_int_equal(spans.n, 0);
    }
    json_decref(array);
    json_decref(special);
    hone_buf_free(&text);
    hone_chat_spans_free(&spans);
    hone_template_free(t);
    return hone_buf_take(&shown, NULL);
}

static void expect_spans(const char *template, const char *messages, hone_chat_which which, const char *want) {
    char *got = spans_of(template, messages, which);
    assert_string_equal(got, want);
    hone_free(got);
}

static const char two_answers[] =
    "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"one\"},"
    " {\"role\": \"user\", \"content\": \"r\"}, {\"role\": \"assistant\", \"content\": \"two\"}]";

static void test_spans_hold_the_answer_and_its_end(void **state) {
    (void)state;
    expect_spans(chatml, two_answers, HONE_CHAT_EVERY, "1:one<|im_end|>|3:two<|im_end|>|");
    expect_spans(chatml, two_answers, HONE_CHAT_LAST, "3:two<|im_end|>|");
    /* whoever speaks after the last assistant is nobody's */
    expect_spans(chatml, "[{\"role\": \"assistant\", \"content\": \"a\"}, {\"role\": \"user\", \"content\": \"u\"}]",
                 HONE_CHAT_EVERY, "0:a<|im_end|>|");
    expect_spans(chatml, "[{\"role\": \"user\", \"content\": \"u\"}]", HONE_CHAT_EVERY, "");
    expect_spans(chatml, "[]", HONE_CHAT_LAST, "");
    expect_spans(chatml, "[{\"role\": \"assistant\", \"content\": \"\"}]", HONE_CHAT_EVERY, "0:<|im_end|>|");
}

/* White space at the end belongs to the template only where it stays when the answer is another one. */
static void test_white_space_at_the_end(void **state) {
    (void)state;
    const char *answer = "[{\"role\": \"assistant\", \"content\": \"a\\n\"}]";
    expect_spans(chatml, answer, HONE_CHAT_EVERY, "0:a\n<|im_end|>|");
    const char *bare = "{% for m in messages %}{{ m.content }}{% endfor %}";
    expect_spans(bare, answer, HONE_CHAT_EVERY, "0:a\n|");
    /* a template whose only end of turn is white space */
    const char *lines = "{% for m in messages %}{{ m.content }}{{ '\n\n' }}{% endfor %}";
    expect_spans(lines, two_answers, HONE_CHAT_EVERY, "1:one\n\n|3:two\n\n|");
    const char *last_only = "{% for m in messages %}[{{ m.role[0] }}]{{ m.content }}{% if m.role == 'assistant' %}"
                            "{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}";
    expect_spans(last_only, two_answers, HONE_CHAT_EVERY, "1:one</s>|3:two</s>|");
}

static void test_unstable_templates_are_named(void **state) {
    (void)state;
    const char *thinks = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.last %}"
                         "<think></think>{% endif %}{{ m.content }}</>{% endfor %}"
                         "{% if add_generation_prompt %}<assistant>{% endif %}";
    char *got = spans_of(thinks, two_answers, HONE_CHAT_EVERY);
    assert_non_null(strstr(got, "-4: messages[1]: the template shows this message in another form once others follow"));
    assert_non_null(strstr(got, "<think>"));
    hone_free(got);
    expect_spans(thinks, two_answers, HONE_CHAT_LAST, "3:<think></think>two</>|");
    const char *prompts = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
                          "{% if add_generation_prompt %}<assistant><think>{% endif %}";
    got = spans_of(prompts, two_answers, HONE_CHAT_LAST);
    assert_non_null(strstr(got, "-4: messages[3]: the generation prompt does not begin the answer"));
    hone_free(got);
    got = spans_of("{{ messages[1].content.x.y }}", two_answers, HONE_CHAT_EVERY); /* the template's own errors pass */
    assert_int_equal(strncmp(got, "-1: ", 4), 0);
    hone_free(got);
}

/* ---- Failures ---- */

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    hone_json_init(); /* jansson's own allocations take part */
    hone_template *t = compiled(chatml);
    json_t *object = parsed("{\"messages\": [{\"role\": \"developer\", \"content\": \"d\"}, {\"role\": \"assistant\","
                            " \"content\": \"a\", \"thinking\": \"t\"}], \"tools\": [{}]}");
    const hone_chat_input in = {.messages = json_object_get(object, "messages"),
                                .tools = json_object_get(object, "tools")};
    const int64_t live = hone_mem_live;
    int failures = 0;
    for (int fail_at = 0, done = 0; !done; fail_at++) {
        hone_buf out = {0}, text = {0};
        hone_chat_spans spans = {0};
        hone_mem_fail_at = fail_at;
        hone_status st = hone_chat_render_object(t, object, NULL, NULL, &out, NULL);
        if (st == HONE_OK) st = hone_chat_spans_find(t, &in, HONE_CHAT_EVERY, NULL, &text, &spans, NULL);
        done = hone_mem_fail_at >= 0 && st == HONE_OK;
        hone_mem_fail_at = -1;
        if (!done) {
            failures++;
            assert_int_equal(st, HONE_ERR_NOMEM);
            assert_int_equal(spans.n, 0);
        }
        hone_buf_free(&out);
        hone_buf_free(&text);
        hone_chat_spans_free(&spans);
        assert_int_equal(hone_mem_live, live);
    }
    assert_true(failures > 20);
    json_decref(object);
    hone_template_free(t);
}

/* ---- The oracle: published templates, rendered by transformers ---- */

static size_t wrong_renderings(const hone_template *t, const char *name, const char *conversations,
                               const json_t *want) {
    const char *conversation;
    json_t *expected;
    size_t wrong = 0;
    json_object_foreach((json_t *)(uintptr_t)want, conversation, expected) {
        char path[8192];
        hone_buf out = {0};
        hone_error err = {0};
        snprintf(path, sizeof(path), "%s/%s.json", conversations, conversation);
        json_t *object = hone_json_load(path, &err);
        assert_non_null(object);
        const char *text = json_string_value(json_object_get(expected, "text"));
        const hone_status st = hone_chat_render_object(t, object, NULL, NULL, &out, &err);
        /* transformers' own errors are errors here too, those that Python raises by itself included */
        if (text ? st != HONE_OK || strcmp(hone_buf_str(&out), text) != 0 : st == HONE_OK) {
            print_error("%s, %s: %s\n", name, conversation, st == HONE_OK ? "another text" : err.message);
            wrong++;
        }
        json_decref(object);
        hone_buf_free(&out);
    }
    return wrong;
}

static void test_published_templates(void **state) {
    (void)state;
    char expected[4096], conversations[4096], templates[4096], path[8192];
    if (!shared_path(expected, sizeof(expected), "oracle/templates/expected") ||
        !shared_path(conversations, sizeof(conversations), "oracle/templates/conversations") ||
        !shared_path(templates, sizeof(templates), "data/chat-templates"))
        skip();
    setenv("SOURCE_DATE_EPOCH", "1783155907", 1);
    setenv("TZ", "UTC", 1);
    DIR *dir = opendir(expected);
    assert_non_null(dir);
    size_t n = 0, wrong = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        const size_t length = strlen(e->d_name);
        if (length < 6 || strcmp(e->d_name + length - 5, ".json") != 0) continue;
        hone_buf source = {0};
        hone_error err = {0};
        hone_template *t;
        snprintf(path, sizeof(path), "%s/%s", expected, e->d_name);
        json_t *want = hone_json_load(path, &err);
        assert_non_null(want);
        snprintf(path, sizeof(path), "%s/%.*s.jinja", templates, (int)(length - 5), e->d_name);
        assert_int_equal(hone_file_read(path, &source, 0, &err), HONE_OK);
        if (hone_template_compile(&t, source.data, source.n, &err) == HONE_OK) {
            wrong += wrong_renderings(t, e->d_name, conversations, want);
            hone_template_free(t);
        } else {
            print_error("%s: %s\n", e->d_name, err.message);
            wrong++;
        }
        json_decref(want);
        hone_buf_free(&source);
        n++;
    }
    closedir(dir);
    assert_true(n > 0);
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_template_is_given),
        cmocka_unit_test(test_reasoning_has_two_names),
        cmocka_unit_test(test_a_developer_is_the_system_where_unknown),
        cmocka_unit_test(test_the_callers_conversation_is_not_changed),
        cmocka_unit_test(test_wrong_shapes_are_named),
        cmocka_unit_test(test_spans_hold_the_answer_and_its_end),
        cmocka_unit_test(test_white_space_at_the_end),
        cmocka_unit_test(test_unstable_templates_are_named),
        cmocka_unit_test(test_published_templates),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests_name("model chat", tests, NULL, NULL);
}
