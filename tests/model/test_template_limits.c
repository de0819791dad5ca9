/* test_template_limits.c - hostile templates meet a named error in bounded time and memory, and so does a machine
 * without memory.  Order: too deep, too long, too large, each limit, each allocation. */
#include "template_pairs.h"

#include "base/clock.h"
#include "base/mem.h"

/* head, then `part` n times, then middle, then `tail` n times, then end. */
static void build(hone_buf *out, const char *head, const char *part, size_t n, const char *middle, const char *tail,
                  const char *end) {
    hone_buf_text(out, head);
    for (size_t i = 0; i < n; i++) hone_buf_text(out, part);
    hone_buf_text(out, middle);
    for (size_t i = 0; i < n; i++) hone_buf_text(out, tail);
    hone_buf_text(out, end);
}

static void expect_limit(const char *text, size_t n, const char *name) {
    hone_buf out = {0};
    hone_error err;
    const double start = hone_clock_seconds();
    const hone_status st = render_text(text, n, pair_variables, NULL, &out, &err);
    if (st != HONE_ERR_LIMIT || err.position < 1) print_error("%s: %d %s\n", name, st, err.message);
    assert_int_equal(st, HONE_ERR_LIMIT);
    assert_int_equal(out.n, 0);
    assert_true(hone_clock_seconds() - start <
                60); /* sanitizers and a busy machine included; alone it is about a second */
    hone_buf_free(&out);
}

/* ---- Too deep ---- */

static void test_nesting_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *head, *part, *middle, *tail, *end;
    } deep[] = {
        {"{{ ", "(", "1", ")", " }}"},
        {"{{ ", "[", "1", "]", " }}"},
        {"{{ ", "{1:", "1", "}", " }}"},
        {"{{ ", "not ", "1", "", " }}"},
        {"{{ ", "-", "1", "", " }}"},
        {"{{ 1", "+1", "", "", " }}"},
        {"{{ 1", "~(1", "", ")", " }}"},
        {"{{ s", "|trim", "", "", " }}"},
        {"{{ s", ".x", "", "", " }}"},
        {"{{ s", "[0]", "", "", " }}"},
        {"{{ s", "()", "", "", " }}"},
        {"{{ ", "1 if 0 else ", "2", "", " }}"},
        {"{{ ", "f(", "1", ")", " }}"},
        {"", "{% if 1 %}", "x", "{% endif %}", ""},
        {"", "{% for i in l %}", "x", "{% endfor %}", ""},
        {"", "{% with %}", "x", "{% endwith %}", ""},
        {"", "{% filter upper %}", "x", "{% endfilter %}", ""},
        {"", "{% macro f() %}", "x", "{% endmacro %}", ""},
        {"{% set ", "(", "a", ",)", " = 1 %}"},
    };
    for (size_t i = 0; i < sizeof(deep) / sizeof(*deep); i++) {
        hone_buf text = {0};
        build(&text, deep[i].head, deep[i].part, 5000, deep[i].middle, deep[i].tail, deep[i].end);
        hone_buf out = {0};
        hone_error err;
        const hone_status st = render_text(text.data, text.n, pair_variables, NULL, &out, &err);
        /* a chain of lookups may find nothing before it is too deep */
        if (st != HONE_ERR_LIMIT) print_error("%s%s...: %d %s\n", deep[i].head, deep[i].part, st, err.message);
        assert_int_equal(st, HONE_ERR_LIMIT);
        hone_buf_free(&out);
        hone_buf_free(&text);
    }
}

static void test_long_elif_chains_are_not_deep(void **state) {
    (void)state;
    hone_buf text = {0}, out = {0};
    hone_error err;
    build(&text, "{% if 0 %}", "{% elif 0 %}x", 5000, "{% else %}y", "", "{% endif %}");
    assert_int_equal(render_text(text.data, text.n, "{}", NULL, &out, &err), HONE_OK);
    assert_string_equal(hone_buf_str(&out), "y");
    hone_buf_free(&text);
    hone_buf_free(&out);
}

static void test_values_nested_by_loops(void **state) {
    (void)state;
    static const char *const uses[] = {"{{ ns.x }}", "{{ ns.x|tojson }}", "{{ ns.x == ns.y }}", "{{ ns.x < ns.y }}",
                                       "{{ {ns.t: 1} }}"};
    for (size_t i = 0; i < sizeof(uses) / sizeof(*uses); i++) {
        hone_buf text = {0};
        hone_buf_format(&text,
                        "{%% set ns = namespace(x=[], y=[], t=()) %%}{%% for i in range(50000) %%}"
                        "{%% set ns.x = [ns.x] %%}{%% set ns.y = [ns.y] %%}{%% set ns.t = (ns.t,) %%}{%% endfor %%}%s",
                        uses[i]);
        expect_limit(text.data, text.n, uses[i]);
        hone_buf_free(&text);
    }
}

/* JSON that someone built, not parsed, can be deeper than any parser allows. */
static void test_deep_variables(void **state) {
    (void)state;
    hone_template *t;
    hone_buf out = {0};
    hone_error err;
    json_t *value = json_array();
    for (int i = 0; i < 3000; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, value);
        value = outer;
    }
    json_t *vars = json_pack("{s:o}", "x", value);
    assert_int_equal(hone_template_compile(&t, "{{ x }}", 7, NULL), HONE_OK);
    assert_int_equal(hone_template_render(t, vars, NULL, &out, NULL, &err), HONE_ERR_LIMIT);
    json_decref(vars);
    hone_template_free(t);
    assert_int_equal(hone_template_compile(&t, "{{ y }}", 7, NULL), HONE_OK); /* what is not named is not looked at */
    vars = json_pack("{s:o, s:i}", "x", json_array(), "y", 1);
    assert_int_equal(hone_template_render(t, vars, NULL, &out, NULL, &err), HONE_OK);
    json_decref(vars);
    hone_template_free(t);
    hone_buf_free(&out);
}

/* ---- Too long, too large ---- */

static void test_bombs(void **state) {
    (void)state;
    static const char *const bombs[] = {
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}{% call f() %}x{% endcall %}{{ caller() }}{% endmacro %}{% call f() %}x{% endcall %}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{{ 'a' * 10000000000 }}",
        "{{ 10000000000 * [1] }}",
        "{{ 'aaaaaaaaaa' * 9223372036854775807 }}",
        "{{ ('a' * 10000000)|replace('a', 'b' * 100) }}",
        "{{ range(1000000000000)|list }}",
        "{{ range(-9223372036854775807, 9223372036854775807) }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ -9223372036854775807 - 2 }}",
        "{{ 9223372036854775807 * 2 }}",
        "{{ 1e300|int }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%.999999999f' % 1.5 }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ 'a'|center(9223372036854775807) }}",
        "{{ 'a'.zfill(9223372036854775807) }}",
        "{{ ('\\t' * 1000000).expandtabs(1000000) }}",
        "{{ ('a\\n' * 100000)|indent(100000) }}",
        "{{ [1]|slice(9223372036854775807)|list }}",
        "{{ [1]|batch(9223372036854775807, 1)|list }}",
        "{{ [1]|tojson(indent=9223372036854775807) }}",
        "{{ ('a' * 100000)|join('b' * 100000) }}",
        "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s.find('b') }}{% endfor %}",
        "{% set s = 'a' * 1000000 %}{{ s.rfind('b' ~ 'a' * 500000) }}{{ s.rfind('b' ~ 'a' * 400000) }}",
        "{% set s = 'é' * 100000 %}{% for i in range(100000) %}{{ s[i] }}{% endfor %}",
        "{{ ('a' * 1000000).strip('bcdefghijklmnopqrstuvwxyz' * 1000 ~ 'a') }}",
        "{% for i in range(100) %}{{ ('é' * 1000000)|upper|length }}{% endfor %}",
        "{% set b = [['a' * 1000] * 1000] * 1000 %}{{ [b] * 1000 }}",
        "{% set b = [['a' * 1000] * 1000] * 1000 %}{{ [b] * 1000 == [[['a' * 1000] * 1000] * 1000] * 1000 }}",
    };
    for (size_t i = 0; i < sizeof(bombs) / sizeof(*bombs); i++) expect_limit(bombs[i], strlen(bombs[i]), bombs[i]);
}

static void test_sources_that_are_too_large(void **state) {
    (void)state;
    hone_buf text = {0};
    hone_template *t;
    hone_error err;
    while (text.n <= HONE_TEMPLATE_MAX_SOURCE) hone_buf_text(&text, "0123456789abcdef");
    assert_int_equal(hone_template_compile(&t, text.data, text.n, &err), HONE_ERR_LIMIT);
    hone_buf_clear(&text);
    hone_buf_text(&text, "{{ f(");
    for (int i = 0; i < 300; i++) hone_buf_format(&text, "a%d=1,", i);
    hone_buf_text(&text, ") }}");
    assert_int_equal(hone_template_compile(&t, text.data, text.n, &err), HONE_ERR_LIMIT);
    hone_buf_free(&text);
}

/* ---- Each limit by itself ---- */

static void test_each_limit_is_kept(void **state) {
    (void)state;
    const hone_template_limits ample = hone_template_limits_default();
    const char *text = "{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(9) }}{{ s * 50 }}";
    hone_template_limits one[4];
    for (int i = 0; i < 4; i++) one[i] = ample;
    one[0].max_steps = 100;
    one[1].max_depth = 20;
    one[2].max_memory_bytes = 2000;
    one[3].max_output_bytes = 200;
    static const char *const words[4] = {"100 steps", "20 levels", "2000 bytes of memory", "more than 200 bytes"};
    for (int i = 0; i < 4; i++) {
        hone_buf out = {0};
        hone_error err;
        assert_int_equal(render_text(text, strlen(text), pair_variables, &one[i], &out, &err), HONE_ERR_LIMIT);
        assert_non_null(strstr(err.message, words[i]));
        assert_int_equal(out.n, 0);
        hone_buf_free(&out);
    }
    hone_buf out = {0};
    hone_error err;
    hone_template_limits zero = {0};
    assert_int_equal(render_text("x", 1, "{}", &zero, &out, &err), HONE_ERR_LIMIT);
    assert_int_equal(render_text(text, strlen(text), pair_variables, &ample, &out, &err), HONE_OK);
    hone_buf_free(&out);
}

/* ---- Each allocation fails in turn: nothing leaks, nothing half-changes ---- */

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    hone_buf text = {0};
    hone_error err;
    /* enough of everything that the arenas, the token list and the spans all have to grow */
    for (int i = 0; i < 60; i++)
        hone_buf_format(&text,
                        "{%% macro f%d(a, b='x') %%}{{ a ~ b|upper }}{%% endmacro %%}{%% set v%d = f%d('é' * 200) %%}"
                        "{%% generation %%}{{ v%d }}{{ users|tojson(indent=2) }}{%% endgeneration %%}",
                        i, i, i, i);
    json_t *vars = hone_json_parse(pair_variables, strlen(pair_variables), &err);
    const int64_t live = hone_mem_live;
    int failures = 0;
    for (int fail_at = 0, done = 0; !done; fail_at++) {
        hone_template *t = NULL;
        hone_buf out = {0};
        hone_template_spans spans = {0};
        hone_mem_fail_at = fail_at;
        hone_status st = hone_template_compile(&t, text.data, text.n, &err);
        if (st == HONE_OK) st = hone_template_render(t, vars, NULL, &out, &spans, &err);
        done = hone_mem_fail_at >= 0 && st == HONE_OK; /* it was not reached */
        hone_mem_fail_at = -1;
        if (!done) {
            failures++;
            assert_int_equal(st, HONE_ERR_NOMEM);
            assert_int_equal(out.n, 0);
            assert_int_equal(spans.n, 0);
        }
        hone_template_free(t);
        hone_template_spans_free(&spans);
        hone_buf_free(&out);
        assert_int_equal(hone_mem_live, live);
    }
    assert_true(failures > 10);
    json_decref(vars);
    hone_buf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nesting_is_refused),
        cmocka_unit_test(test_long_elif_chains_are_not_deep),
        cmocka_unit_test(test_values_nested_by_loops),
        cmocka_unit_test(test_deep_variables),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_sources_that_are_too_large),
        cmocka_unit_test(test_each_limit_is_kept),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests_name("model template limits", tests, NULL, NULL);
}
