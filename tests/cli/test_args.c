/* test_args.c - the parser: every option of every verb is taken, everything else is refused with status 2. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"

static const char *const words[] = {"one", "two", NULL};
static int nothing(const cli_args *args) {
    (void)args;
    return CLI_OK;
}
static const cli_option options[] = {
    {"name", "NAME", ""}, {"count", "N", ""}, {"flag", NULL, ""},
    {"list", "1,2", ""},  {"x", "X", ""},     {NULL, NULL, NULL},
};
static const cli_verb verb = {
    .name = "try", .usage = "try", .about = "", .example = "", .options = options, .max_words = 2, .run = nothing};
static const cli_verb strict = {.name = "strict",
                                .usage = "strict",
                                .about = "",
                                .example = "",
                                .words = words,
                                .min_words = 1,
                                .max_words = 1,
                                .run = nothing};

static int parse(cli_args *out, const cli_verb *v, const char *line) {
    static char text[500];
    static char *argv[40];
    int argc = 0;
    snprintf(text, sizeof(text), "%s", line);
    for (char *w = strtok(text, " "); w; w = strtok(NULL, " ")) argv[argc++] = w;
    return cli_args_parse(out, v, "hone", argc, argv);
}

static void values_in_every_form(void **state) {
    (void)state;
    cli_args a;
    assert_int_equal(parse(&a, &verb, "w1 --name a --name=b --flag --count 7 w2 --json --home /h"), CLI_OK);
    assert_int_equal(a.n_word, 2);
    assert_string_equal(a.word[1], "w2");
    assert_string_equal(cli_get(&a, "name"), "b");
    assert_string_equal(cli_nth(&a, "name", 0), "a");
    assert_string_equal(cli_nth(&a, "name", 1), "b");
    assert_null(cli_nth(&a, "name", 2));
    assert_true(cli_has(&a, "flag") && a.json && !a.quiet);
    assert_null(cli_get(&a, "list"));
    char *home = cli_home(&a);
    assert_string_equal(home, "/h");
    hone_free(home);
    cli_args_free(&a);

    assert_int_equal(parse(&a, &verb, "--name=--flag -- --json"), CLI_OK); /* values and words may look like options */
    assert_string_equal(cli_get(&a, "name"), "--flag");
    assert_string_equal(a.word[0], "--json");
    assert_false(a.json);
    cli_args_free(&a);
    assert_int_equal(hone_mem_live, 0);
}

static void wrong_usage_is_two(void **state) {
    (void)state;
    static const char *const bad[] = {"--nonsense", "--name", "--flag=1", "a b c", "--nam x", "--count"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cli_args a;
        assert_int_equal(parse(&a, &verb, bad[i]), CLI_USAGE);
        cli_args_free(&a);
    }
    static const char *const strict_bad[] = {"", "three", "one two"};
    for (size_t i = 0; i < 3; i++) {
        cli_args a;
        assert_int_equal(parse(&a, &strict, strict_bad[i]), CLI_USAGE);
        cli_args_free(&a);
    }
    cli_args a;
    assert_int_equal(parse(&a, &strict, "two"), CLI_OK);
    cli_args_free(&a);
    assert_int_equal(parse(&a, &strict, "--help"), CLI_OK); /* help comes before any other fault */
    cli_args_free(&a);
}

static void numbers_have_form_and_range(void **state) {
    (void)state;
    static const struct {
        const char *line;
        bool ok;
    } cases[] = {
        {"--count 5", true},
        {"--count 10", true},
        {"--count 11", false},
        {"--count 1", false},
        {"--count -3", false},
        {"--count 5x", false},
        {"--count= 5", false},
        {"--count 0x5", false},
        {"--count 99999999999999999999", false},
        {"", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cli_args a;
        uint64_t n = 77;
        uint32_t m = 77;
        assert_int_equal(parse(&a, &verb, cases[i].line), CLI_OK);
        assert_int_equal(cli_uint(&a, "count", 2, 10, &n), cases[i].ok);
        assert_int_equal(cli_u32(&a, "count", 2, 10, &m), cases[i].ok);
        if (!cases[i].ok || !cases[i].line[0]) assert_true(n == 77 && m == 77);
        cli_args_free(&a);
    }
    static const struct {
        const char *line;
        bool ok;
    } reals[] = {{"--x 0.5", true},  {"--x 1e-1", true}, {"--x 2", false},
                 {"--x nan", false}, {"--x inf", false}, {"--x a", false}};
    for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++) {
        cli_args a;
        double x = 9;
        assert_int_equal(parse(&a, &verb, reals[i].line), CLI_OK);
        assert_int_equal(cli_real(&a, "x", 0, 1, &x), reals[i].ok);
        assert_true((x == 9) == !reals[i].ok);
        cli_args_free(&a);
    }
}

static void lists_of_numbers(void **state) {
    (void)state;
    cli_args a;
    int64_t *x;
    size_t n;
    assert_int_equal(parse(&a, &verb, "--list 1,22,333"), CLI_OK);
    assert_true(cli_int_list(&a, "list", 0, 1000, &x, &n));
    assert_int_equal(n, 3);
    assert_int_equal(x[2], 333);
    hone_free(x);
    assert_false(cli_int_list(&a, "list", 0, 300, &x, &n));
    assert_null(x);
    cli_args_free(&a);
    static const char *const bad[] = {"--list 1,,2", "--list a", "--list 1;2", "--list ,1"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(parse(&a, &verb, bad[i]), CLI_OK);
        assert_false(cli_int_list(&a, "list", 0, 300, &x, &n));
        cli_args_free(&a);
    }
    assert_int_equal(hone_mem_live, 0);
}

static void the_state_folder_has_an_order(void **state) {
    (void)state;
    cli_args a;
    setenv("HOME", "/u", 1);
    unsetenv("HONE_HOME");
    assert_int_equal(parse(&a, &verb, ""), CLI_OK);
    char *home = cli_home(&a);
    assert_string_equal(home, "/u/.local/share/hone");
    hone_free(home);
    setenv("HONE_HOME", "/e", 1);
    home = cli_home(&a);
    assert_string_equal(home, "/e");
    hone_free(home);
    cli_args_free(&a);
}

static void quantities_read_well(void **state) {
    (void)state;
    char t[CLI_TEXT];
    assert_string_equal(cli_bytes(0, t), "0 B");
    assert_string_equal(cli_bytes(999, t), "999 B");
    assert_string_equal(cli_bytes(1000, t), "1.0 kB");
    assert_string_equal(cli_bytes(98362432, t), "98.4 MB");
    assert_string_equal(cli_bytes(999999, t), "1.0 MB");
    assert_string_equal(cli_seconds(3.21, t), "3.2 s");
    assert_string_equal(cli_seconds(59, t), "59 s");
    assert_string_equal(cli_seconds(59.6, t), "1 min 00 s");
    assert_string_equal(cli_seconds(3700, t), "1 h 01 min");
    assert_string_equal(cli_seconds(-1, t), "?");
}

int main(void) {
    if (!freopen("/dev/null", "w", stderr)) return 1; /* the messages are meant for people */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_in_every_form),          cmocka_unit_test(wrong_usage_is_two),
        cmocka_unit_test(numbers_have_form_and_range),   cmocka_unit_test(lists_of_numbers),
        cmocka_unit_test(the_state_folder_has_an_order), cmocka_unit_test(quantities_read_well),
    };
    return cmocka_run_group_tests_name("cli args", tests, NULL, NULL);
}
