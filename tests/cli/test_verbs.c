/* test_verbs.c - the table and the program as a user meets them: help, version, exit statuses, JSON, completion.
 * Runs the program at $HONE. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"

/* The exit status; stdout and stderr apart. */
static int run(const char *arguments, hone_buf *out, hone_buf *err) {
    char command[1000], path[] = "/tmp/hone-test-cli-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(command, sizeof(command), "\"$HONE\" %s 2>%s", arguments, path);
    FILE *f = popen(command, "r");
    char chunk[4096];
    size_t n;
    hone_buf_clear(out);
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0) hone_buf_add(out, chunk, n);
    const int status = pclose(f);
    hone_buf_clear(err);
    f = fopen(path, "r");
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0) hone_buf_add(err, chunk, n);
    fclose(f);
    unlink(path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static hone_buf out, err;

static void help_shows_an_example_first(void **state) {
    (void)state;
    assert_int_equal(run("help", &out, &err), 0);
    for (const cli_verb *const *v = cli_verbs; *v; v++) {
        if ((*v)->hidden) continue;
        char line[100];
        snprintf(line, sizeof(line), "  %s ", (*v)->name);
        assert_non_null(strstr(hone_buf_str(&out), line));
    }
    for (const cli_verb *const *v = cli_verbs; *v; v++) {
        if ((*v)->hidden) continue;
        char line[100];
        snprintf(line, sizeof(line), "help %s", (*v)->name);
        assert_int_equal(run(line, &out, &err), 0);
        snprintf(line, sizeof(line), "Example:\n  hone %s", (*v)->name);
        assert_memory_equal(hone_buf_str(&out), line, strlen(line));
        for (const cli_option *o = (*v)->options; o && o->name; o++) {
            snprintf(line, sizeof(line), "--%s", o->name);
            assert_non_null(strstr(hone_buf_str(&out), line));
        }
        snprintf(line, sizeof(line), "%s --help", (*v)->name);
        hone_buf direct = {0};
        assert_int_equal(run(line, &direct, &err), 0);
        assert_string_equal(hone_buf_str(&direct), hone_buf_str(&out));
        hone_buf_free(&direct);
    }
}

static void the_table_is_sound(void **state) {
    (void)state;
    for (const cli_verb *const *v = cli_verbs; *v; v++) {
        assert_non_null((*v)->run);
        assert_true((*v)->about[0] && (*v)->usage[0]);
        assert_true((*v)->max_words >= (*v)->min_words);
        if (!(*v)->hidden) assert_true(strncmp((*v)->usage, (*v)->name, strlen((*v)->name)) == 0);
        for (const cli_verb *const *w = v + 1; *w; w++) assert_string_not_equal((*v)->name, (*w)->name);
        for (const cli_option *o = (*v)->options; o && o->name; o++) {
            for (const cli_option *p = o + 1; p->name; p++) assert_string_not_equal(o->name, p->name);
            for (const cli_option *p = cli_common; p->name; p++) assert_string_not_equal(o->name, p->name);
        }
    }
}

static void wrong_usage_says_so_on_stderr(void **state) {
    (void)state;
    static const char *const bad[] = {"", "nonsense", "version --nonsense", "version word", "help nonsense", "versio"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(run(bad[i], &out, &err), 2);
        assert_int_equal(out.n, 0);
        assert_true(err.n > 0);
    }
    assert_non_null(strstr(hone_buf_str(&err), "did you mean `hone version`?"));
}

static void version_and_json(void **state) {
    (void)state;
    assert_int_equal(run("version", &out, &err), 0);
    assert_string_equal(hone_buf_str(&out), "hone " HONE_VERSION "\n");
    assert_int_equal(run("version --json", &out, &err), 0);
    json_t *v = hone_json_parse(out.data, out.n, NULL);
    assert_string_equal(json_string_value(json_object_get(v, "version")), HONE_VERSION);
    json_decref(v);
    assert_int_equal(run("help --json", &out, &err), 0);
    v = hone_json_parse(out.data, out.n, NULL);
    assert_true(json_array_size(json_object_get(v, "verbs")) > 1);
    json_decref(v);
    assert_int_equal(run("--version", &out, &err), 0);
    assert_int_equal(run("version >/dev/full", &out, &err), 1); /* a result that was not written is a failure */
}

static void the_reference_is_the_table(void **state) {
    (void)state;
    hone_buf file = {0};
    assert_int_equal(hone_file_read(COMMANDS, &file, 0, NULL), HONE_OK);
    assert_int_equal(run("help --markdown", &out, &err), 0);
    assert_string_equal(hone_buf_str(&out), hone_buf_str(&file)); /* else: hone help --markdown >docs/commands.md */
    hone_buf_free(&file);
}

/* bash itself reads the file and completes. */
static void completion_completes(void **state) {
    (void)state;
    if (system("command -v bash >/dev/null") != 0) {
        print_message("skipped: no bash\n");
        skip();
    }
    static const struct {
        const char *line, *wanted;
    } cases[] = {
        {"hone ver", "version"},        {"hone help versio", "version"},          {"hone version --js", "--json"},
        {"hone inspect tok", "tokens"}, {"hone train --batch-r", "--batch-rows"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[40];
        sscanf(cases[i].line, "hone %39s", name);
        if (i > 2 && !cli_verb_find(name)) continue;
        char command[1000];
        snprintf(
            command, sizeof(command),
            "completion | bash -c '. /dev/stdin; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _hone; echo "
            "${COMPREPLY[@]}'",
            cases[i].line);
        assert_int_equal(run(command, &out, &err), 0);
        assert_string_equal(hone_buf_str(&err), "");
        assert_non_null(strstr(hone_buf_str(&out), cases[i].wanted));
    }
}

int main(void) {
    if (!getenv("HONE")) {
        fprintf(stderr, "HONE must name the program\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(help_shows_an_example_first),
        cmocka_unit_test(wrong_usage_says_so_on_stderr),
        cmocka_unit_test(version_and_json),
        cmocka_unit_test(completion_completes),
        cmocka_unit_test(the_reference_is_the_table),
    };
    const int failed = cmocka_run_group_tests_name("cli verbs", tests, NULL, NULL);
    hone_buf_free(&out);
    hone_buf_free(&err);
    return failed;
}
