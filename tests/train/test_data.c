/* test_data.c - rows from JSONL: masks, served prompts, faults with their lines; every failed allocation. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/chat.h"
#include "train/data.h"

/* ---- A byte-level tokenizer with two merges and ChatML's special tokens ---- */

static hone_tokenizer *tokenizer;
static hone_template *chat, *forgetful;
static json_t *special;

/* GPT-2's byte alphabet, as UTF-8. */
static int byte_text(int b, char out[4]) {
    int c = b;
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
    if (!printable) {
        c = 256;
        for (int i = 0; i < b; i++)
            if (!((i >= 33 && i <= 126) || (i >= 161 && i <= 172) || (i >= 174 && i <= 255))) c++;
    }
    if (c < 128) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 63));
    return 2;
}

#define IM_START 0
#define IM_END 1
#define CHATML                                                                                                         \
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"                   \
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
/* Shows only the last assistant message in full, as templates do that drop earlier reasoning. */
#define FORGETFUL                                                                                                      \
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and not loop.last %}..."       \
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"                                                  \
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

static int open_all(void **state) {
    (void)state;
    static char text[256][4];
    hone_piece token[260] = {{"<|im_start|>", 12}, {"<|im_end|>", 10}};
    int32_t type[260] = {HONE_TOKEN_CONTROL, HONE_TOKEN_CONTROL};
    for (int b = 0; b < 256; b++) {
        token[2 + b] = (hone_piece){text[b], (size_t)byte_text(b, text[b])};
        type[2 + b] = HONE_TOKEN_NORMAL;
    }
    token[258] = (hone_piece){"ab", 2};
    token[259] = (hone_piece){"\xc4\x8a\xc4\x8a", 4}; /* two newlines */
    type[258] = type[259] = HONE_TOKEN_NORMAL;
    const hone_piece merge[2] = {{"a b", 3}, {"\xc4\x8a \xc4\x8a", 5}};
    hone_vocab v = hone_vocab_default();
    hone_error err = {0};
    v.pre = "gpt-2";
    v.token = token;
    v.type = type;
    v.n_token = 260;
    v.merge = merge;
    v.n_merge = 2;
    v.bos = v.eos = IM_END;
    v.eot = IM_END;
    if (hone_tokenizer_open_vocab(&tokenizer, &v, &err) != HONE_OK) fail_msg("%s", err.message);
    assert_int_equal(hone_template_compile(&chat, CHATML, strlen(CHATML), &err), HONE_OK);
    assert_int_equal(hone_template_compile(&forgetful, FORGETFUL, strlen(FORGETFUL), &err), HONE_OK);
    special = json_object();
    return 0;
}

static int close_all(void **state) {
    (void)state;
    json_decref(special);
    hone_template_free(chat);
    hone_template_free(forgetful);
    hone_tokenizer_close(tokenizer);
    return 0;
}

static hone_data_rules rules(void) {
    return (hone_data_rules){
        .tokenizer = tokenizer, .template = chat, .special_tokens = special, .vocab = 260, .max_length = 200};
}

static hone_status parse(hone_train_data *data, const char *text, const hone_data_rules *r, hone_data_faults *faults,
                         hone_error *err) {
    *data = (hone_train_data){0};
    if (faults) *faults = (hone_data_faults){0};
    return hone_data_parse(data, "rows.jsonl", text, strlen(text), r, faults, err);
}

static void shown_is(const hone_train_row *row, const char *wanted) {
    hone_buf out = {0};
    assert_int_equal(hone_data_show(row, tokenizer, "[", "]", &out, NULL), HONE_OK);
    assert_string_equal(hone_buf_str(&out), wanted);
    hone_buf_free(&out);
}

static void parse_ok(hone_train_data *data, const char *text, const hone_data_rules *r) {
    hone_error err = {0};
    if (parse(data, text, r, NULL, &err) != HONE_OK) fail_msg("%s", err.message);
}

/* ---- Masks ---- */

static void test_assistants_are_trained_with_their_end_of_turn(void **state) {
    (void)state;
    hone_train_data data;
    const hone_data_rules r = rules();
    parse_ok(
        &data,
        "\xef\xbb\xbf{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"yo\"}]"
        "}\r\n"
        "\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"1\"},{\"role\":\"assistant\",\"content\":\"2\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"3\"},{\"type\":\"text\",\"text\":\"4\"}]},"
        "{\"role\":\"assistant\",\"content\":\"5\"}],\"tools\":null}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"1\"},{\"role\":\"assistant\",\"content\":\"2\",\"weight\":0},"
        "{\"role\":\"user\",\"content\":\"3\"},{\"role\":\"assistant\",\"content\":\"4\",\"weight\":1},"
        "{\"role\":\"user\",\"content\":\"bye\"}]}",
        &r);
    assert_int_equal(data.n, 3);
    assert_int_equal(data.row[0].line, 1);
    assert_int_equal(data.row[1].line, 3);
    assert_int_equal(data.row[2].line, 4);
    shown_is(&data.row[0], "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[yo<|im_end|>]");
    shown_is(&data.row[1], "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n[2<|im_end|>]\n"
                           "<|im_start|>user\n34<|im_end|>\n<|im_start|>assistant\n[5<|im_end|>]");
    shown_is(&data.row[2], "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
                           "<|im_start|>user\n3<|im_end|>\n<|im_start|>assistant\n[4<|im_end|>]");
    assert_int_equal(data.row[0].n_trained, 3);
    assert_int_equal(data.row[0].n_run, data.row[0].n - 1);
    assert_int_equal(data.n_trained, 3 + 4 + 2);
    assert_int_equal(strlen(data.digest), 64);
    hone_data_free(&data);
}

/* Calls are trained as they are served: arguments that OpenAI writes as JSON text are an object to the template. */
static void test_calls_are_objects(void **state) {
    (void)state;
    static const char source[] = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] or '' }}{% for c "
                                 "in m.tool_calls or [] %}{{ "
                                 "c.function.arguments | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
                                 "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    hone_template *t;
    assert_int_equal(hone_template_compile(&t, source, strlen(source), NULL), HONE_OK);
    hone_data_rules r = rules();
    r.template = t;
    hone_train_data data;
    parse_ok(&data,
             "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":null,"
             "\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
             "\"{\\\"a\\\":1}\"}}]}]}",
             &r);
    shown_is(&data.row[0], "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n[{\"a\": 1}<|im_end|>]");
    hone_data_free(&data);
    hone_template_free(t);
}

/* The prompt of each trained message is, token for token, what serving asks with. */
static void test_the_served_prompt_begins_the_row(void **state) {
    (void)state;
    static const char *const answers[] = {"plain", "\n\nmerges with the line before", " space", "a", "b", "\xc3\xa4"};
    const hone_data_rules r = rules();
    for (size_t a = 0; a < sizeof(answers) / sizeof(*answers); a++)
        for (size_t b = 0; b < sizeof(answers) / sizeof(*answers); b++) {
            json_t *row = json_pack("{s:[{s:s,s:s},{s:s,s:s},{s:s,s:s},{s:s,s:s}]}", "messages", "role", "user",
                                    "content", "q", "role", "assistant", "content", answers[a], "role", "user",
                                    "content", "r", "role", "assistant", "content", answers[b]);
            char *line = json_dumps(row, JSON_COMPACT);
            hone_train_data data;
            parse_ok(&data, line, &r);
            uint32_t found = 0;
            for (size_t turns = 1; turns <= 3; turns += 2) { /* messages before the answer */
                json_t *before = json_array();
                for (size_t i = 0; i < turns; i++)
                    json_array_append(before, json_array_get(json_object_get(row, "messages"), i));
                const hone_chat_input in = {
                    .messages = before, .special_tokens = special, .add_generation_prompt = true};
                hone_buf text = {0};
                hone_ids ids = {0};
                assert_int_equal(hone_chat_render(chat, &in, NULL, &text, NULL), HONE_OK);
                assert_int_equal(hone_tokenizer_encode(tokenizer, hone_buf_str(&text), text.n, 0, &ids, NULL), HONE_OK);
                for (size_t s = 0; s < data.n; s++) {
                    const hone_train_row *t = &data.row[s];
                    if (t->n > ids.n && memcmp(t->token, ids.id, ids.n * sizeof(int32_t)) == 0 && t->trained[ids.n] &&
                        !t->trained[ids.n - 1]) {
                        found++;
                        break;
                    }
                }
                hone_ids_free(&ids);
                hone_buf_free(&text);
                json_decref(before);
            }
            if (found != 2) fail_msg("answers %zu, %zu: %u prompts of 2 found", a, b, found);
            /* one sequence where the first answer reads back as it was emitted, else one for each */
            assert_int_equal(data.n, a == 1 ? 2 : 1);
            hone_data_free(&data);
            free(line);
            json_decref(row);
        }
}

static void test_completions_and_tokens(void **state) {
    (void)state;
    hone_train_data data;
    hone_data_rules r = rules();
    parse_ok(&data,
             "{\"prompt\":\"p \",\"completion\":\"cd\"}\n{\"prompt\":\"a\",\"completion\":\"b<|im_end|>\"}\n"
             "{\"tokens\":[5,6,7,8],\"labels\":[5,-100,7,-100]}",
             &r);
    assert_int_equal(data.n, 3);
    shown_is(&data.row[0], "p [cd<|im_end|>]");
    shown_is(&data.row[1], "a[b<|im_end|>]");   /* not the merged token: serving has the prompt alone */
    assert_int_equal(data.row[2].n_trained, 1); /* the first token is never predicted */
    assert_int_equal(data.row[2].n_run, 2);
    hone_data_free(&data);
    r.tokenizer = NULL; /* an array, as `hone inspect loss` takes; needs no tokenizer */
    r.template = NULL;
    parse_ok(&data, " [{\"tokens\":[1,2],\"labels\":[-100,2]},\n{\"tokens\":[3,4],\"labels\":[-100,4]}]", &r);
    assert_int_equal(data.n, 2);
    assert_int_equal(data.row[1].line, 2);
    hone_data_free(&data);
}

static void test_templates_that_forget(void **state) {
    (void)state;
    hone_train_data data;
    hone_error err = {0};
    hone_data_rules r = rules();
    r.template = forgetful;
    const char *both =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"1\"},{\"role\":\"assistant\",\"content\":\"2\"},"
        "{\"role\":\"user\",\"content\":\"3\"},{\"role\":\"assistant\",\"content\":\"4\"}]}";
    assert_int_equal(parse(&data, both, &r, NULL, &err), HONE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "line 1"));
    assert_non_null(strstr(err.message, "\"weight\": 0"));
    hone_data_free(&data);
    const char *last = "{\"messages\":[{\"role\":\"user\",\"content\":\"1\"},"
                       "{\"role\":\"assistant\",\"content\":\"2\",\"weight\":0},"
                       "{\"role\":\"user\",\"content\":\"3\"},{\"role\":\"assistant\",\"content\":\"4\"}]}";
    parse_ok(&data, last, &r);
    shown_is(&data.row[0], "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n...<|im_end|>\n"
                           "<|im_start|>user\n3<|im_end|>\n<|im_start|>assistant\n[4<|im_end|>]");
    hone_data_free(&data);
}

/* ---- Faults ---- */

#define USER "{\"role\":\"user\",\"content\":\"x\"}"
#define YES "{\"role\":\"assistant\",\"content\":\"y\"}"

static void test_faults_have_their_line(void **state) {
    (void)state;
    static const struct {
        const char *line, *says;
    } bad[] = {
        {"{", "JSON"},
        {"[1]x", ""},
        {"7", "object"},
        {"{\"message\":[]}", "needs \"messages\""},
        {"{\"messages\":[]}", "not empty"},
        {"{\"messages\":{}}", "array"},
        {"{\"messages\":[" USER "]}", "nothing to train"},
        {"{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"y\",\"weight\":0}]}", "nothing to train"},
        {"{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"y\",\"weight\":0.5}]}", "weight"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"weight\":1}," YES "]}", "weight"},
        {"{\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}," YES "]}", "role"},
        {"{\"messages\":[{\"role\":\"user\"}," YES "]}", "content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":5}," YES "]}", "content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}," YES "]}", "parts"},
        {"{\"messages\":[" USER "," YES "],\"tool\":[]}", "unknown key \"tool\""},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"wieght\":1}," YES "]}", "unknown key \"wieght\""},
        {"{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":null}]}", "content"},
        {"{\"messages\":[" USER "," YES "],\"messages\":[]}", ""},
        {"{\"prompt\":\"x\"}", "strings"},
        {"{\"prompt\":\"x\",\"completion\":\"\"}", "nothing to train"},
        {"{\"tokens\":[1,2],\"labels\":[1]}", "one length"},
        {"{\"tokens\":[1,260],\"labels\":[-100,260]}", "vocabulary"},
        {"{\"tokens\":[1,2],\"labels\":[-100,3]}", "label"},
        {"{\"tokens\":[1,2],\"labels\":[-100,-100]}", "nothing to train"},
        {"{\"tokens\":[1],\"labels\":[1]}", "nothing to train"},
        {"{\"tokens\":[],\"labels\":[]}", "nothing to train"},
        {"{\"tokens\":[1,2.5],\"labels\":[-100,2]}", "integer"},
        {"{\"tokens\":[1,-1],\"labels\":[-100,-1]}", "vocabulary"},
    };
    const hone_data_rules r = rules();
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        hone_train_data data;
        hone_data_faults faults;
        hone_error err = {0};
        char text[1024];
        snprintf(text, sizeof(text), "{\"messages\":[" USER "," YES "]}\n%s\n{\"messages\":[" USER "," YES "]}",
                 bad[i].line);
        if (parse(&data, text, &r, &faults, &err) != HONE_ERR_FORMAT) fail_msg("%s was accepted", bad[i].line);
        assert_int_equal(faults.total, 1);
        assert_int_equal(faults.fault[0].line, 2);
        assert_int_equal(err.position, 2);
        if (!strstr(err.message, "line 2") || !strstr(err.message, bad[i].says))
            fail_msg("%s: the message is \"%s\"", bad[i].line, err.message);
        hone_data_free(&data);
    }
}

static void test_long_rows_are_refused_and_the_first_ten_faults_kept(void **state) {
    (void)state;
    hone_train_data data;
    hone_data_faults faults;
    hone_error err = {0};
    hone_data_rules r = rules();
    r.max_length = 40;
    hone_buf text = {0};
    for (int i = 0; i < 30; i++)
        hone_buf_format(&text, "{\"prompt\":\"p\",\"completion\":\"%.*s\"}\n", i % 2 ? 40 : 37,
                        "0123456789012345678901234567890123456789");
    assert_int_equal(parse(&data, text.data, &r, &faults, &err), HONE_ERR_FORMAT);
    assert_int_equal(faults.n, HONE_DATA_MAX_FAULTS);
    assert_int_equal(faults.total, 15);
    assert_int_equal(faults.fault[9].line, 20);
    assert_non_null(strstr(faults.fault[0].message, "42 tokens, and at most 40"));
    assert_non_null(strstr(err.message, " more"));
    hone_buf all = {0};
    assert_true(hone_data_faults_text(&faults, &all));
    assert_non_null(strstr(all.data, "line 2: "));
    assert_non_null(strstr(all.data, "line 20: "));
    assert_non_null(strstr(all.data, "; and 5 more"));
    hone_buf_free(&all);
    hone_data_free(&data);
    hone_buf_free(&text);
    assert_int_equal(parse(&data, "\n\n", &r, NULL, &err), HONE_ERR_FORMAT);
    hone_data_free(&data);
    assert_int_equal(hone_data_load(&data, "/nonexistent/rows", &r, NULL, &err), HONE_ERR_NOT_FOUND);
    hone_data_free(&data);
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    const char *text = "{\"messages\":[" USER "," YES "," USER "," YES "]}\n{\"prompt\":\"a\",\"completion\":\"b\"}\n"
                       "{\"tokens\":[1,2],\"labels\":[-100,2]}";
    const hone_data_rules r = rules();
    bool done = false;
    for (int at = 0; !done; at++) {
        const int64_t before = hone_mem_live;
        hone_train_data data;
        hone_error err = {0};
        hone_mem_fail_at = at;
        const hone_status st = parse(&data, text, &r, NULL, &err);
        done = hone_mem_fail_at >= 0;
        hone_mem_fail_at = -1;
        if (done)
            assert_int_equal(st, HONE_OK);
        else
            assert_true(st != HONE_OK);
        hone_data_free(&data);
        assert_int_equal(hone_mem_live, before);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assistants_are_trained_with_their_end_of_turn),
        cmocka_unit_test(test_calls_are_objects),
        cmocka_unit_test(test_the_served_prompt_begins_the_row),
        cmocka_unit_test(test_completions_and_tokens),
        cmocka_unit_test(test_templates_that_forget),
        cmocka_unit_test(test_faults_have_their_line),
        cmocka_unit_test(test_long_rows_are_refused_and_the_first_ten_faults_kept),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
