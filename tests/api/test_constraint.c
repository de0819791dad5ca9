/* The grammars of replies: what a family's template writes is accepted, what differs is not, and what a random walk
 * through the masks writes is read back as calls. */
#include "test.h"

#include <stdio.h>

#include "api/constraint.h"
#include "base/mem.h"
#include "base/random.h"
#include "grammar/matcher.h"

/* ---- A vocabulary of bytes, the special tokens of marks, and an end ---- */

typedef struct {
    char text[64][48];
    uint32_t n;
} specials;

#define END_TOKEN(s) (256 + (int32_t)(s)->n)

static hone_vocabulary *vocabulary(const specials *s) {
    uint32_t offset[400];
    uint8_t text[8192];
    uint32_t n = 0, at = 0;
    for (; n < 256; n++) {
        offset[n] = at;
        text[at++] = (uint8_t)n;
    }
    for (uint32_t i = 0; i < s->n; i++, n++) {
        offset[n] = at;
        text[at++] = HONE_TOKEN_MARK;
        memcpy(text + at, s->text[i], strlen(s->text[i]));
        at += (uint32_t)strlen(s->text[i]);
        text[at++] = HONE_TOKEN_MARK;
    }
    offset[n++] = at;
    offset[n] = at;
    const int32_t end = END_TOKEN(s);
    hone_vocabulary *v;
    hone_error err = {0};
    if (hone_vocabulary_open(&v, n, offset, text, &end, 1, &err) != HONE_OK) fail_msg("%s", err.message);
    return v;
}

/* The text's next token: a byte, or a special one between marks. */
static int32_t next_token(const specials *s, const char **text) {
    if ((unsigned char)**text != HONE_TOKEN_MARK) return (unsigned char)*(*text)++;
    for (uint32_t i = 0; i < s->n; i++) {
        const size_t n = strlen(s->text[i]);
        if (strncmp(*text + 1, s->text[i], n) != 0 || (unsigned char)(*text)[n + 1] != HONE_TOKEN_MARK) continue;
        *text += n + 2;
        return 256 + (int32_t)i;
    }
    fail_msg("no such token in %s", *text);
    return -1;
}

static bool accepts(const char *source, const specials *s, const char *text) {
    hone_grammar *g;
    hone_matcher *m;
    hone_error err = {0};
    if (hone_grammar_compile(&g, source, strlen(source), &err) != HONE_OK) fail_msg("%s\n%s", err.message, source);
    hone_vocabulary *v = vocabulary(s);
    if (hone_matcher_open(&m, g, v, &err) != HONE_OK) fail_msg("%s", err.message);
    bool ok = true;
    while (ok && *text) {
        const int32_t token = next_token(s, &text);
        ok = hone_matcher_accept(m, token, NULL) == HONE_OK;
    }
    ok = ok && hone_matcher_complete(m);
    hone_matcher_close(m);
    hone_vocabulary_close(v);
    hone_grammar_unref(g);
    return ok;
}

/* ---- Functions ---- */

static json_t *parameters(void) {
    static const char text[] =
        "{\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}, \"days\": {\"type\": \"integer\"}, "
        "\"unit\": {\"type\": \"string\", \"enum\": [\"C\", \"F\"]}}, \"required\": [\"city\", \"days\"], "
        "\"additionalProperties\": false}";
    json_t *v = json_loads(text, 0, NULL);
    assert_non_null(v);
    return v;
}

static const api_call_format *format(const char *name) {
    for (size_t i = 0; api_call_format_at(i); i++)
        if (strcmp(api_call_format_at(i)->name, name) == 0) return api_call_format_at(i);
    fail_msg("no format %s", name);
    return NULL;
}

static char *source_of(const api_constraint *c) {
    hone_buf out = {0};
    hone_error err = {0};
    if (api_constraint_source(c, &out, &err) != HONE_OK) fail_msg("%s", err.message);
    hone_buf_reserve(&out, 1);
    return hone_buf_take(&out, NULL);
}

static char *native(const api_dialect *d, const char *name, const char *arguments, uint32_t n) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:{s:s, s:o}}", "id", "abcdefgh1", "function", "name", name,
                                              "arguments", json_loads(arguments, 0, NULL)));
    hone_buf out = {0};
    api_dialect_write_calls(d, list, &out);
    json_decref(list);
    return hone_buf_take(&out, NULL);
}

static void expect(bool want, const char *source, const specials *s, const char *text) {
    if (accepts(source, s, text) != want) fail_msg("%s: <%s>\n%s", want ? "refused" : "accepted", text, source);
}

/* ---- Tests ---- */

static void test_forced_calls_of_every_family(void **state) {
    (void)state;
    const specials none = {.n = 0};
    json_t *schema = parameters();
    const api_function f[2] = {{.name = "get_weather", .parameters = schema, .allowed = true},
                               {.name = "get_time", .allowed = true}};
    for (size_t i = 0; api_call_format_at(i); i++) {
        const api_call_format *form = api_call_format_at(i);
        api_dialect *d = api_dialect_bind(form, NULL, NULL);
        api_constraint c = {.dialect = d, .tools = API_TOOLS_FORCED, .function = f, .n_function = 2, .parallel = true};
        char *source = source_of(&c);
        static const struct {
            const char *name, *arguments;
            uint32_t n;
            bool valid;
        } call[] = {{"get_weather", "{\"city\": \"Graz\", \"days\": 3}", 1, true},
                    {"get_weather", "{\"city\": \"Graz <b>\", \"days\": -3, \"unit\": \"C\"}", 1, true},
                    {"get_weather", "{\"city\": \"Graz\", \"days\": 3}", 2, true},
                    {"get_time", "{}", 1, true},
                    {"get_weather", "{\"city\": \"Graz\"}", 1, false},
                    {"get_weather", "{\"city\": \"Graz\", \"days\": 3, \"unit\": \"K\"}", 1, false},
                    {"get_weather", "{\"city\": \"Graz\", \"days\": \"three\"}", 1, false},
                    {"get_when", "{}", 1, false}};
        for (size_t k = 0; k < sizeof(call) / sizeof(call[0]); k++) {
            char *text = native(d, call[k].name, call[k].arguments, call[k].n);
            expect(call[k].valid && !(form->single && call[k].n > 1), source, &none, text);
            hone_free(text);
        }
        expect(false, source, &none, "");
        expect(false, source, &none, "Hello.");
        hone_free(source);
        /* one call at most; one function only */
        c.parallel = false;
        api_function named[2] = {f[0], f[1]};
        named[0].allowed = false;
        c.function = named;
        source = source_of(&c);
        char *one = native(d, "get_time", "{}", 1), *two = native(d, "get_time", "{}", 2),
             *other = native(d, "get_weather", "{\"city\": \"Graz\", \"days\": 3}", 1);
        expect(true, source, &none, one);
        expect(false, source, &none, two);
        expect(false, source, &none, other);
        hone_free(one);
        hone_free(two);
        hone_free(other);
        hone_free(source);
        api_dialect_close(d);
    }
    json_decref(schema);
}

/* The model's choice: text, or text and then calls; the mark that begins a call begins a call. */
static void test_auto_is_text_then_calls(void **state) {
    (void)state;
    const specials none = {.n = 0};
    json_t *schema = parameters();
    const api_function f[1] = {{.name = "get_weather", .parameters = schema, .allowed = true}};
    for (size_t i = 0; api_call_format_at(i); i++) {
        const api_call_format *form = api_call_format_at(i);
        api_dialect *d = api_dialect_bind(form, NULL, NULL);
        api_constraint c = {.dialect = d, .tools = API_TOOLS_AUTO, .function = f, .n_function = 1, .parallel = true};
        char *source = source_of(&c);
        expect(true, source, &none, "");
        expect(true, source, &none, "Hello <b> [x] {1}\n\xc3\xa9 <tool <|");
        char *call = native(d, "get_weather", "{\"city\": \"Graz\", \"days\": 3}", 1);
        expect(true, source, &none, call);
        hone_buf text = {0};
        hone_buf_format(&text, "I look.\n%s", call);
        if (!form->bare) expect(true, source, &none, text.data);
        hone_buf_clear(&text);
        hone_buf_format(&text, "So: %s no", form->mark[M_TRIGGER]);
        if (!form->bare) expect(false, source, &none, text.data);
        hone_free(source);
        c.tools = API_TOOLS_NEVER;
        source = source_of(&c);
        expect(true, source, &none, "Hello <b>");
        expect(false, source, &none, call);
        hone_free(source);
        hone_free(call);
        hone_buf_free(&text);
        api_dialect_close(d);
    }
    json_decref(schema);
}

static void test_reasoning_comes_first(void **state) {
    (void)state;
    const specials none = {.n = 0};
    api_dialect *d = api_dialect_bind(format("hermes"), "</think>", NULL);
    json_t *schema = json_pack("{s:s}", "type", "object");
    api_constraint c = {.dialect = d, .think = API_THINK_MAY, .content = API_CONTENT_SCHEMA, .value = schema};
    char *source = source_of(&c);
    expect(true, source, &none, "{\"a\": 1}");
    expect(true, source, &none, "<think>\nhm <b> {\n</think>\n\n{\"a\": 1}");
    expect(false, source, &none, "<think>hm {\"a\": 1}");
    expect(false, source, &none, "hm </think>{\"a\": 1}");
    hone_free(source);
    c.think = API_THINK_OPEN;
    source = source_of(&c);
    expect(true, source, &none, "hm </thi</think>{\"a\": 1}");
    expect(false, source, &none, "{\"a\": 1}");
    expect(false, source, &none, "hm</think>x");
    hone_free(source);
    c.think = API_THINK_NONE;
    c.content = API_CONTENT_FREE;
    source = source_of(&c);
    assert_string_equal(source, ""); /* nothing to keep */
    hone_free(source);
    json_decref(schema);
    api_dialect_close(d);
}

static void test_content(void **state) {
    (void)state;
    const specials none = {.n = 0};
    api_dialect *d = api_dialect_bind(format("hermes"), "</think>", NULL);
    const api_function f[1] = {{.name = "f", .allowed = true}};
    json_t *choice = json_pack("[s, s]", "yes \"so\"", "no\n");
    json_t *regex = json_string("[a-c]+\\d{2}"),
           *gbnf = json_string("root ::= \"root \" word # root\nword ::= [root]+ root-x\nroot-x ::= \"!\"");
    api_constraint c = {.content = API_CONTENT_CHOICE, .value = choice};
    for (int round = 0; round < 3; round++) { /* alone, behind reasoning, beside calls */
        c.dialect = round ? d : NULL;
        c.think = round ? API_THINK_MAY : API_THINK_NONE;
        c.tools = round == 2 ? API_TOOLS_AUTO : API_TOOLS_OFF;
        c.function = f;
        c.n_function = round == 2 ? 1 : 0;
        c.content = API_CONTENT_CHOICE;
        c.value = choice;
        char *source = source_of(&c);
        expect(true, source, &none, "yes \"so\"");
        expect(true, source, &none, "no\n");
        expect(false, source, &none, "no");
        if (round) expect(true, source, &none, "<think>a</think>no\n");
        if (round == 2) expect(true, source, &none, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>");
        hone_free(source);
        c.content = API_CONTENT_REGEX;
        c.value = regex;
        source = source_of(&c);
        expect(true, source, &none, "abc12");
        expect(false, source, &none, "xabc12");
        expect(false, source, &none, "abc1");
        hone_free(source);
        c.content = API_CONTENT_GRAMMAR;
        c.value = gbnf;
        source = source_of(&c);
        expect(true, source, &none, "root root!");
        expect(false, source, &none, "root root");
        hone_free(source);
    }
    json_decref(choice);
    json_decref(regex);
    json_decref(gbnf);
    api_dialect_close(d);
}

/* A mark that is a special token is asked for as one, and its letters are text. */
static void test_special_tokens(void **state) {
    (void)state;
    const specials s = {.text = {"[TOOL_CALLS]", "[ARGS]", "</s>"}, .n = 3};
    api_dialect *d = api_dialect_bind(format("mistral"), NULL, NULL);
    const api_mark marks[] = {M_TRIGGER, M_OPEN, M_MIDDLE};
    const char *const bound[] = {"\xff[TOOL_CALLS]\xff", "\xff[TOOL_CALLS]\xff", "\xff[ARGS]\xff"};
    for (int i = 0; i < 3; i++) {
        hone_free(d->mark[marks[i]]);
        d->mark[marks[i]] = hone_strdup(bound[i]);
    }
    const api_function f[1] = {{.name = "f", .allowed = true}};
    api_constraint c = {.dialect = d, .tools = API_TOOLS_AUTO, .function = f, .n_function = 1, .parallel = true};
    char *source = source_of(&c);
    expect(true, source, &s, "text [TOOL_CALLS]f[ARGS]{}");
    expect(true, source, &s,
           "text\xff[TOOL_CALLS]\xff"
           "f\xff[ARGS]\xff{}\xff[TOOL_CALLS]\xff"
           "f\xff[ARGS]\xff{}");
    expect(false, source, &s,
           "text\xff[TOOL_CALLS]\xff"
           "f[ARGS]{}");
    expect(false, source, &s, "text\xff[TOOL_CALLS]\xff");
    expect(false, source, &s, "a\xff</s>\xff");
    hone_free(source);
    api_dialect_close(d);
}

/* ---- A random walk ---- */

typedef struct {
    uint32_t n_call;
    hone_buf content, arguments;
    bool broken;
} heard;

static void close_call(heard *h) {
    json_t *v = h->n_call ? hone_json_parse(hone_buf_str(&h->arguments), h->arguments.n, NULL) : NULL;
    if (h->n_call && !json_is_object(v)) h->broken = true;
    json_decref(v);
    hone_buf_clear(&h->arguments);
}

static void hear(void *arg, api_part part, const char *text, size_t n, const char *id) {
    heard *h = arg;
    (void)id;
    if (part == API_PART_CONTENT) hone_buf_add(&h->content, text, n);
    if (part == API_PART_ARGUMENTS) hone_buf_add(&h->arguments, text, n);
    if (part != API_PART_CALL) return;
    close_call(h);
    h->n_call++;
}

static void test_random_walks_are_calls(void **state) {
    (void)state;
    const specials none = {.n = 0};
    json_t *schema = parameters();
    const api_function f[2] = {{.name = "get_weather", .parameters = schema, .allowed = true},
                               {.name = "get_time", .allowed = true}};
    uint32_t finished = 0;
    for (size_t i = 0; api_call_format_at(i); i++) {
        api_dialect *d = api_dialect_bind(api_call_format_at(i), NULL, NULL);
        const api_constraint c = {
            .dialect = d, .tools = API_TOOLS_FORCED, .function = f, .n_function = 2, .parallel = true};
        char *source = source_of(&c);
        hone_grammar *g;
        hone_error err = {0};
        assert_int_equal(hone_grammar_compile(&g, source, strlen(source), &err), HONE_OK);
        hone_vocabulary *v = vocabulary(&none);
        for (uint32_t walk = 0; walk < 12; walk++) {
            hone_matcher *m;
            assert_int_equal(hone_matcher_open(&m, g, v, &err), HONE_OK);
            hone_buf text = {0};
            uint32_t bits[9], r[4];
            for (uint32_t at = 0; at < 600 && !hone_matcher_closed(m); at++) {
                assert_int_equal(hone_matcher_mask(m, bits, &err), HONE_OK);
                int32_t allowed[257];
                uint32_t n = 0;
                for (int32_t t = 0; t < 257; t++)
                    if (bits[t / 32] >> (t % 32) & 1u) allowed[n++] = t;
                assert_true(n > 0);
                hone_random_block(walk, (uint32_t)i, at, 7, r);
                int32_t pick = allowed[r[0] % n];
                /* ends are taken when they are there, quotes often: texts stay short */
                for (uint32_t k = 0; k < n; k++)
                    if (allowed[k] == 256 ||
                        ((allowed[k] == '"' || allowed[k] == '<' || allowed[k] == '}') && r[1] % 3 == 0))
                        pick = allowed[k];
                if (pick < 256) hone_buf_char(&text, (char)pick);
                assert_int_equal(hone_matcher_accept(m, pick, &err), HONE_OK);
            }
            if (hone_matcher_closed(m)) {
                heard h = {0};
                json_t *list = json_pack("[{s:{s:s, s:O}}]", "function", "name", "get_weather", "parameters", schema);
                api_splitter *s = api_splitter_open(d, API_THINK_NONE, true, list, hear, &h);
                for (size_t k = 0; k < text.n; k++) assert_true(api_splitter_feed(s, text.data + k, 1));
                assert_true(api_splitter_finish(s));
                close_call(&h);
                if (h.n_call == 0 || h.content.n || h.broken)
                    fail_msg("%s: <%s> gave %u calls, content <%s>", api_call_format_at(i)->name, text.data, h.n_call,
                             hone_buf_str(&h.content));
                finished++;
                api_splitter_close(s);
                json_decref(list);
                hone_buf_free(&h.content);
                hone_buf_free(&h.arguments);
            }
            hone_buf_free(&text);
            hone_matcher_close(m);
        }
        hone_vocabulary_close(v);
        hone_grammar_unref(g);
        hone_free(source);
        api_dialect_close(d);
    }
    assert_true(finished > 60);
    json_decref(schema);
}

/* What a form without JSON cannot keep is refused by its pointer where it is strict, and left out where it is not. */
static void test_what_cannot_be_kept(void **state) {
    (void)state;
    json_t *schema = json_pack("{s:s, s:{s:{s:s, s:s}}, s:[s]}", "type", "object", "properties", "a", "type", "string",
                               "pattern", "^x+$", "required", "a");
    const char *const families[] = {"qwen-coder", "gemma"};
    for (int i = 0; i < 2; i++) {
        api_dialect *d = api_dialect_bind(format(families[i]), NULL, NULL);
        api_function f = {.name = "f", .parameters = schema, .strict = true, .allowed = true};
        const api_constraint c = {.dialect = d, .tools = API_TOOLS_FORCED, .function = &f, .n_function = 1};
        hone_buf out = {0};
        hone_error err = {0};
        assert_int_equal(api_constraint_source(&c, &out, &err), HONE_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, "#/properties/a/pattern"));
        hone_buf_free(&out);
        f.strict = false;
        f.loose = true;
        assert_int_equal(api_constraint_source(&c, &out, &err), HONE_OK);
        hone_buf_free(&out);
        api_dialect_close(d);
    }
    json_decref(schema);
}

/* A call that is forced keeps its schema or is refused, strict or not; where the model chooses, what the form can keep
 * is kept. */
static void test_forced_calls_ignore_nothing(void **state) {
    (void)state;
    static const struct {
        const char *parameters, *pointer;
    } row[] = {{"{\"properties\": {\"a\": {\"type\": \"string\", \"pattern\": \"^x+$\"}}}", "#/properties/a/pattern"},
               {"{\"properties\": {\"a\": {\"type\": \"string\", \"minLength\": 2}}}", "#/properties/a/minLength"},
               {"{\"properties\": {\"a\": {\"type\": \"string\", \"format\": \"date\"}}}", "#/properties/a/format"},
               {"{\"properties\": {\"a\": {\"type\": [\"string\", \"null\"]}}}", "#/properties/a"},
               {"{\"properties\": {\"a\": {\"anyOf\": [{\"type\": \"integer\"}]}}}", "#/properties/a/anyOf"},
               {"{\"properties\": {\"a\": {\"properties\": {\"b\": {\"type\": \"integer\"}}}}}", "#/properties/a"},
               {"{\"properties\": {\"a\": {}}, \"minProperties\": 1}", "#/minProperties"},
               {"{\"properties\": {\"a\": {}}, \"required\": [\"a\", \"b\"]}", "#/required"},
               {"{\"properties\": {\"a\": {\"description\": \"anything\"}}}", NULL},
               {"{\"properties\": {\"a\": {\"type\": \"string\", \"title\": \"A\"}}, \"required\": [\"a\"]}", NULL},
               {"{\"additionalProperties\": false}", NULL},
               {"{}", NULL}};
    const char *const families[] = {"qwen-coder", "seed", "glm", "glm-tight", "gemma", "functiongemma"};
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        api_dialect *d = api_dialect_bind(format(families[i]), NULL, NULL);
        for (size_t k = 0; k < sizeof(row) / sizeof(row[0]); k++) {
            json_t *schema = json_loads(row[k].parameters, 0, NULL);
            assert_non_null(schema);
            const api_function f = {.name = "f", .parameters = schema, .allowed = true};
            api_constraint c = {.dialect = d, .tools = API_TOOLS_FORCED, .function = &f, .n_function = 1};
            hone_buf out = {0};
            hone_error err = {0};
            const hone_status status = api_constraint_source(&c, &out, &err);
            if (status != (row[k].pointer ? HONE_ERR_UNSUPPORTED : HONE_OK))
                fail_msg("%s: %s: status %d", families[i], row[k].parameters, status);
            if (row[k].pointer && strncmp(err.message, row[k].pointer, strlen(row[k].pointer)) != 0)
                fail_msg("%s: %s: %s", families[i], row[k].parameters, err.message);
            hone_buf_free(&out);
            c.tools = API_TOOLS_AUTO;
            if (d->format->style == API_CALL_PARAMETERS)
                assert_int_equal(api_constraint_source(&c, &out, &err), HONE_OK);
            hone_buf_free(&out);
            json_decref(schema);
        }
        api_dialect_close(d);
    }
}

/* Each allocation fails in turn: an error, or the whole source, never one with something missing. */
static void test_failed_allocations(void **state) {
    (void)state;
    json_t *schema = parameters();
    const api_function f[2] = {{.name = "get_weather", .parameters = schema, .allowed = true},
                               {.name = "get_time", .allowed = true}};
    const char *const families[] = {"hermes", "qwen-coder", "gemma", "mistral-list"};
    for (int i = 0; i < 4; i++) {
        api_dialect *d = api_dialect_bind(format(families[i]), "</think>", NULL);
        const api_constraint c = {.dialect = d,
                                  .think = API_THINK_MAY,
                                  .tools = API_TOOLS_AUTO,
                                  .function = f,
                                  .n_function = 2,
                                  .parallel = true};
        char *whole = source_of(&c);
        bool done = false;
        for (int64_t at = 0; !done; at++) {
            hone_buf out = {0};
            hone_error err = {0};
            const int64_t live = hone_mem_live;
            hone_json_memory_reset();
            hone_mem_fail_at = at;
            const hone_status status = api_constraint_source(&c, &out, &err);
            done = hone_mem_fail_at >= 0;
            hone_mem_fail_at = -1;
            if (status == HONE_OK) assert_string_equal(hone_buf_str(&out), whole);
            if (done) assert_int_equal(status, HONE_OK);
            hone_buf_free(&out);
            assert_int_equal(hone_mem_live, live);
        }
        hone_json_memory_reset();
        hone_free(whole);
        api_dialect_close(d);
    }
    json_decref(schema);
}

int main(void) {
    hone_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forced_calls_of_every_family),
        cmocka_unit_test(test_auto_is_text_then_calls),
        cmocka_unit_test(test_reasoning_comes_first),
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_random_walks_are_calls),
        cmocka_unit_test(test_what_cannot_be_kept),
        cmocka_unit_test(test_forced_calls_ignore_nothing),
        cmocka_unit_test(test_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
