/* test_journey.c - the verbs one after the other, as a user types them, on a tiny model that the test writes: pull,
 * show, inspect, plan, train, eval, run, serve's client verbs, rm.  Runs the program at $HONE with a state folder of
 * its own. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "fixture.h"

static char *model, *home; /* folders */
static hone_buf out, err;

/* ---- The tiny model: every byte is a token, and the two of ChatML ---- */

/* GPT-2's printable stand-in for a byte. */
static uint32_t stand_in(uint32_t byte) {
    uint32_t next = 256;
    for (uint32_t b = 0; b <= byte; b++) {
        const bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte) return plain ? b : next;
        if (!plain) next++;
    }
    return 0;
}

static bool write_tokenizer(void) {
    json_t *vocab = json_object(), *added = json_array();
    for (uint32_t b = 0; b < 256; b++) {
        char text[5] = {0};
        hone_utf8_encode(stand_in(b), text);
        json_object_set_new(vocab, text, json_integer((json_int_t)b));
    }
    static const char *const special[] = {"<|im_start|>", "<|im_end|>"};
    for (int i = 0; i < 2; i++)
        json_array_append_new(added,
                              json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", 256 + i, "content", special[i],
                                        "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1));
    json_t *t = json_pack(
        "{s:s, s:o, s:n, s:{s:s, s:b, s:b, s:b}, s:n, s:{s:s, s:b, s:b, s:b}, s:{s:s, s:n, s:n, s:n, s:o, s:[]}}",
        "version", "1.0", "added_tokens", added, "normalizer", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space",
        0, "trim_offsets", 1, "use_regex", 0, "post_processor", "decoder", "type", "ByteLevel", "add_prefix_space", 0,
        "trim_offsets", 1, "use_regex", 0, "model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix",
        "vocab", vocab, "merges");
    json_t *c = json_pack("{s:s, s:s}", "eos_token", "<|im_end|>", "chat_template",
                          "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
    hone_buf text = {0}, config = {0};
    const bool ok = t && c && hone_json_write(t, &text) && hone_json_write(c, &config) &&
                    fixture_write_text(fixture_path(model, "tokenizer.json"), hone_buf_str(&text)) &&
                    fixture_write_text(fixture_path(model, "tokenizer_config.json"), hone_buf_str(&config));
    hone_buf_free(&text);
    hone_buf_free(&config);
    json_decref(t);
    json_decref(c);
    return ok;
}

static int make(void **state) {
    (void)state;
    fixture_spec s = fixture_default();
    s.vocab = 260;
    s.width = 128; /* wide enough that a hidden state can single a token out */
    s.mlp_width = 128;
    model = fixture_folder();
    home = fixture_folder();
    if (!model || !home || !fixture_write_folder(model, &s, 1) || !write_tokenizer()) return -1;
    setenv("HONE_HOME", home, 1);
    setenv("M", model, 1);
    setenv("W", home, 1); /* scratch of the test's own files, too */
    hone_buf rows = {0};
    for (int i = 0; i < 4; i++)
        hone_buf_format(
            &rows,
            "{\"messages\":[{\"role\":\"user\",\"content\":\"%c?\"},{\"role\":\"assistant\",\"content\":\"%s\"}]}\n",
            'a' + i, i % 2 ? "no" : "yes");
    const bool ok = fixture_write_text(fixture_path(home, "rows.jsonl"), hone_buf_str(&rows));
    hone_buf_free(&rows);
    return ok ? 0 : -1;
}

static int drop(void **state) {
    (void)state;
    hone_buf_free(&out);
    hone_buf_free(&err);
    fixture_remove(model);
    fixture_remove(home);
    return 0;
}

/* ---- Running ---- */

static int run(const char *arguments) {
    char command[2000];
    snprintf(command, sizeof(command), "\"$HONE\" %s 2>\"$W/stderr\"", arguments);
    FILE *f = popen(command, "r");
    char chunk[4096];
    size_t n;
    hone_buf_clear(&out);
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0) hone_buf_add(&out, chunk, n);
    const int status = pclose(f);
    hone_buf_clear(&err);
    hone_file_read(fixture_path(home, "stderr"), &err, 0, NULL);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The result as JSON; the command must succeed. */
static json_t *result(const char *arguments) {
    const int rc = run(arguments);
    if (rc != 0) fail_msg("hone %s: exit status %d: %s", arguments, rc, hone_buf_str(&err));
    json_t *v = hone_json_parse(hone_buf_str(&out), out.n, NULL);
    if (!v) fail_msg("hone %s: no JSON: %s", arguments, hone_buf_str(&out));
    return v;
}

static void fails(const char *arguments, int status, const char *because) {
    assert_int_equal(run(arguments), status);
    if (!strstr(hone_buf_str(&err), because)) fail_msg("hone %s: said '%s'", arguments, hone_buf_str(&err));
}

static const json_t *at(const json_t *v, const char *key) {
    const json_t *found = json_object_get(v, key);
    if (!found) fail_msg("no '%s'", key);
    return found;
}
static double number(const json_t *v, const char *key) {
    return json_number_value(at(v, key));
}
static const char *text(const json_t *v, const char *key) {
    return json_string_value(at(v, key));
}

/* ---- The journey ---- */

static void pull_gives_a_name(void **state) {
    (void)state;
    json_t *v = result("pull \"$M\" --as tiny --json");
    assert_string_equal(text(v, "name"), "tiny");
    assert_string_equal(text(v, "path"), model);
    json_decref(v);
    v = result("models --json");
    assert_int_equal(json_array_size(at(v, "models")), 1);
    json_decref(v);
    v = result("show tiny --json");
    assert_string_equal(text(at(v, "shape"), "family"), "llama");
    assert_int_equal(number(at(v, "shape"), "vocabulary"), 260);
    assert_string_equal(text(v, "template"), "chat");
    json_decref(v);
    assert_int_equal(run("show \"$M\""), 0); /* a path needs no name */
    assert_int_equal(run("models --names"), 0);
    assert_string_equal(hone_buf_str(&out), "tiny\n");
    fails("show nobody", 1, "nobody");
    fails("pull /nonexistent", 1, "/nonexistent");
    fails("pull \"$M\" --as a/b", 2, "cannot be a name");
    fails("pull 'pip:--index-url=x' --as x", 2, "not the name of a package");
    fails("pull hf:nothing --as x", 2, "hf:OWNER/REPO");
    fails("pull hf:a/../b --as x", 2, "hf:OWNER/REPO");
}

static void tokens_come_back_as_text(void **state) {
    (void)state;
    fixture_write_text(fixture_path(home, "texts.json"), "[\"a \\u00e4\\n<|im_end|>\",\"\",\"nul\\u0000!\"]");
    json_t *v = result("inspect tokens --model \"$M\" --file \"$W/texts.json\" --json");
    json_t *lists = json_object_get(v, "ids");
    assert_int_equal(json_array_size(lists), 3);
    const json_t *first = json_array_get(lists, 0);
    assert_int_equal(json_integer_value(json_array_get(first, 0)), 'a');
    assert_int_equal(json_integer_value(json_array_get(first, json_array_size(first) - 1)), 257);
    json_dump_file(lists, fixture_path(home, "ids.json"), 0);
    json_t *back = result("inspect text --model tiny --file \"$W/ids.json\" --json");
    json_t *texts = hone_json_load(fixture_path(home, "texts.json"), NULL);
    assert_true(json_equal(json_object_get(back, "texts"), texts));
    json_decref(texts);
    json_decref(back);
    json_decref(v);
    fails("inspect tokens --model tiny", 2, "--file");
    fails("inspect nonsense", 2, "nonsense");
}

static void the_template_is_the_models(void **state) {
    (void)state;
    fixture_write_text(fixture_path(home, "c.json"),
                       "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"add_generation_prompt\":true}");
    assert_int_equal(run("inspect template --model tiny --input \"$W/c.json\""), 0);
    assert_string_equal(hone_buf_str(&out), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    fixture_write_text(fixture_path(home, "t.jinja"), "{% for m in messages %}[{{ m.content }}{% endfor %}");
    assert_int_equal(run("inspect template --template \"$W/t.jinja\" --input \"$W/c.json\""), 0);
    assert_string_equal(hone_buf_str(&out), "[hi");
    fixture_write_text(fixture_path(home, "t.jinja"), "{{ raise_exception('no') }}");
    fails("inspect template --template \"$W/t.jinja\" --input \"$W/c.json\"", 1, "no");
    fails("inspect template --input \"$W/c.json\"", 2, "--template");
}

/* The loss is what the logits say, and the printed floats tell it to the last bit. */
static void loss_and_logits_agree(void **state) {
    (void)state;
    json_t *v =
        result("inspect logits --model tiny --precision f32 --tokens 256,117,10 --positions 0,1,2 --greedy 3 --json");
    const json_t *logits = at(v, "logits");
    assert_int_equal(json_array_size(logits), 3);
    assert_int_equal(json_array_size(at(v, "tokens")), 3);
    const json_t *row = json_array_get(logits, 1);
    assert_int_equal(json_array_size(row), 260);
    double sum = 0;
    for (size_t i = 0; i < 260; i++) sum += exp(json_number_value(json_array_get(row, i)));
    const double expected = json_number_value(json_array_get(row, 10)) - log(sum);
    json_decref(v);
    fixture_write_text(fixture_path(home, "r.json"), "[{\"tokens\":[256,117,10],\"labels\":[-100,-100,10]}]");
    v = result("inspect loss --model tiny --precision f32 --input \"$W/r.json\" --logprobs --json");
    assert_int_equal(number(v, "trained_tokens"), 1);
    assert_true(fabs(number(v, "loss") + expected) < 1e-5);
    const json_t *p = json_array_get(json_array_get(at(v, "logprobs"), 0), 0);
    assert_true(fabs(json_number_value(p) - expected) < 1e-5);
    json_decref(v);
    fails("inspect logits --model tiny --tokens 256,260", 1, "260");
    fails("inspect logits --model tiny --tokens 1 --positions 5", 1, "5");
    fails("inspect loss --model tiny --input \"$W/r.json\" --grad \"$W/g.safetensors\"", 2, "--adapter");
}

static void masks_show_the_answer(void **state) {
    (void)state;
    json_t *v = result("inspect masks --model tiny --data \"$W/rows.jsonl\" --limit 1 --json");
    const json_t *row = json_array_get(at(v, "rows"), 0);
    assert_string_equal(text(row, "text"),
                        "<|im_start|>user\na?<|im_end|>\n<|im_start|>assistant\n\xc2\xabyes<|im_end|>\xc2\xbb");
    assert_int_equal(number(row, "trained_tokens"), 4);
    json_decref(v);
}

static void plans_come_before_runs(void **state) {
    (void)state;
    json_t *v = result("plan serve --model tiny --max-sequences 4 --json");
    const json_t *bytes = at(v, "memory_bytes");
    assert_true(number(bytes, "copy") == number(bytes, "kv") + number(bytes, "scratch") + number(bytes, "process"));
    assert_true(number(bytes, "total") == number(bytes, "weights") + number(bytes, "program") + number(bytes, "copy"));
    assert_true(number(bytes, "total_with_adapters") == number(bytes, "total") + number(bytes, "adapters"));
    json_t *ten = result("plan serve --model tiny --max-sequences 4 --copies 10 --json");
    assert_true(number(at(ten, "memory_bytes"), "total") == number(bytes, "total") + 9 * number(bytes, "copy"));
    json_decref(ten);
    json_decref(v);
    v = result("plan train --model tiny --data \"$W/rows.jsonl\" --epochs 3 --batch-rows 2 --price 1 --json");
    assert_int_equal(number(v, "steps"), 6);
    assert_int_equal(number(v, "rows"), 4);
    assert_true(number(v, "seconds") > 0 && number(v, "cost") > 0);
    json_decref(v);
}

static char version[300];

/* Four rows learned by heart: the base answers none, the version all. */
static void a_version_is_trained_and_better(void **state) {
    (void)state;
    json_t *v = result("train --model tiny --data \"$W/rows.jsonl\" --suffix t-1 --epochs 80 --batch-rows 4 --lr 0.01 "
                       "--rank 16 --clip 0 "
                       "--log \"$W/log.jsonl\" --json");
    snprintf(version, sizeof(version), "%s", text(v, "model"));
    assert_true(strncmp(version, "ft:tiny:org:t-1:", 16) == 0);
    assert_int_equal(number(v, "steps"), 80);
    if (!(number(v, "loss") < 0.1)) fail_msg("loss %g", number(v, "loss"));
    json_decref(v);
    hone_buf log = {0};
    assert_int_equal(hone_file_read(fixture_path(home, "log.jsonl"), &log, 0, NULL), HONE_OK);
    json_t *first = hone_json_parse(log.data, strcspn(log.data, "\n"), NULL);
    static const char *const keys[] = {"step",   "loss",           "lr",      "grad_norm",
                                       "tokens", "trained_tokens", "seconds", "rss_bytes"};
    for (size_t i = 0; i < 8; i++) at(first, keys[i]);
    json_decref(first);
    hone_buf_free(&log);

    char command[1000];
    snprintf(
        command, sizeof(command),
        "eval --model tiny,%s --data \"$W/rows.jsonl\" --grader exact --grader token_f1+lower --max-tokens 8 --out "
        "\"$W/answers.jsonl\" --json",
        version);
    v = result(command);
    const json_t *models = at(v, "models");
    assert_true(number(at(at(json_array_get(models, 0), "scores"), "exact"), "mean") < 1);
    assert_true(number(at(at(json_array_get(models, 1), "scores"), "exact"), "mean") == 1);
    const json_t *d = json_array_get(at(v, "differences"), 0);
    assert_true(number(d, "difference") > 0 && number(d, "p") <= 1);
    json_decref(v);
    snprintf(command, sizeof(command), "run '%s' 'a?' --json", version);
    v = result(command);
    assert_string_equal(text(v, "text"), "yes");
    assert_string_equal(text(v, "finish_reason"), "stop");
    json_decref(v);
    snprintf(command, sizeof(command), "run '%s' 'b?'", version);
    assert_int_equal(run(command), 0);
    assert_string_equal(hone_buf_str(&out), "no\n");
    snprintf(command, sizeof(command), "show '%s' --json", version);
    v = result(command);
    assert_string_equal(text(v, "base"), "tiny");
    json_decref(v);
}

/* --out leaves PEFT's two files, and the same command gives the same bytes. */
static void a_run_is_a_function_of_its_arguments(void **state) {
    (void)state;
    json_t *a = result("train --model \"$M\" --data \"$W/rows.jsonl\" --epochs 2 --seed 3 --out \"$W/a\" --json");
    json_t *b =
        result("train --model \"$M\" --data \"$W/rows.jsonl\" --epochs 2 --seed 3 --out \"$W/b\" --batch-tokens 64 "
               "--threads 1 --json");
    json_t *c = result("train --model \"$M\" --data \"$W/rows.jsonl\" --epochs 2 --seed 4 --out \"$W/c\" --json");
    assert_string_equal(text(a, "digest"), text(b, "digest"));
    assert_string_not_equal(text(a, "digest"), text(c, "digest"));
    assert_int_equal(json_typeof(at(a, "model")), JSON_NULL);
    json_decref(a);
    json_decref(b);
    json_decref(c);
    assert_int_equal(access(fixture_path(home, "a/adapter_config.json"), R_OK), 0);
    a = result(
        "inspect loss --model \"$M\" --adapter \"$W/a\" --input \"$W/r.json\" --grad \"$W/g.safetensors\" --json");
    json_decref(a);
    assert_int_equal(access(fixture_path(home, "g.safetensors"), R_OK), 0);
}

static void faults_are_named_and_nothing_is_left(void **state) {
    (void)state;
    fixture_write_text(
        fixture_path(home, "bad.jsonl"),
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}]}\n"
        "{broken\n{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}\n");
    fails("train --model tiny --data \"$W/bad.jsonl\" --out \"$W/x\"", 1, "line 2");
    fails("eval --model tiny --data \"$W/bad.jsonl\" --grader exact", 1, "line 2");
    fails("eval --model tiny --data \"$W/rows.jsonl\" --grader bleu", 2, "unknown grader");
    fails("train --model tiny --data \"$W/rows.jsonl\" --suffix 'a b'", 2, "--suffix");
    fails("train --model tiny", 2, "--data");
    fails("train --model tiny --data \"$W/rows.jsonl\" --method dora", 2, "dora");
    fails("train --model tiny --data \"$W/rows.jsonl\" --modules q_proj,z_proj", 2, "z_proj");
    fails("run nobody hi", 1, "nobody");
    fails("serve --listen nonsense", 2, "--listen");
}

static void keys_jobs_and_rm(void **state) {
    (void)state;
    json_t *v = result("key add site --json");
    char command[400];
    assert_memory_equal(text(v, "secret"), "sk-hone-", 8);
    snprintf(command, sizeof(command), "key rm %s", text(v, "id"));
    json_t *list = result("key list --json");
    assert_int_equal(json_array_size(at(list, "keys")), 1);
    assert_null(strstr(hone_buf_str(&out), text(v, "secret"))); /* shown once, and never again */
    json_decref(list);
    json_decref(v);
    assert_int_equal(run(command), 0);
    assert_int_equal(run(command), 1);
    v = result("job list --json");
    assert_int_equal(json_array_size(at(v, "jobs")), 0);
    json_decref(v);
    fails("job show ftjob-none", 1, "ftjob-none");
    fails("job cancel '../x'", 2, "no id");
    snprintf(command, sizeof(command), "rm '%s'", version);
    assert_int_equal(run(command), 0);
    snprintf(command, sizeof(command), "show '%s'", version);
    assert_int_equal(run(command), 1);
    assert_int_equal(run("rm tiny"), 0);
    fails("rm tiny", 1, "tiny");
    assert_int_equal(access(fixture_path(model, "config.json"), R_OK), 0); /* what came from a path stays there */
}

int main(void) {
    if (!getenv("HONE")) {
        fprintf(stderr, "HONE must name the program\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pull_gives_a_name),
        cmocka_unit_test(tokens_come_back_as_text),
        cmocka_unit_test(the_template_is_the_models),
        cmocka_unit_test(loss_and_logits_agree),
        cmocka_unit_test(masks_show_the_answer),
        cmocka_unit_test(plans_come_before_runs),
        cmocka_unit_test(a_version_is_trained_and_better),
        cmocka_unit_test(a_run_is_a_function_of_its_arguments),
        cmocka_unit_test(faults_are_named_and_nothing_is_left),
        cmocka_unit_test(keys_jobs_and_rm),
    };
    return cmocka_run_group_tests_name("cli journey", tests, make, drop);
}
