/* test_metrics.c - Prometheus text: as written here, and as promtool reads it. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/metrics.h"

static const double bounds[] = {0.1, 0.5, 1};

static hone_metrics *make(void) {
    hone_metrics *m;
    assert_int_equal(hone_metrics_open(&m, NULL), HONE_OK);
    hone_metric *requests =
        hone_metrics_add(m, HONE_COUNTER, "hone_requests_total", "Requests.", "model,code", NULL, 0);
    hone_metric *up = hone_metrics_add(m, HONE_GAUGE, "hone_up_seconds", "Time since start.", "", NULL, 0);
    hone_metric *wait =
        hone_metrics_add(m, HONE_HISTOGRAM, "vllm:time_to_first_token_seconds", "Wait.", "model", bounds, 3);
    hone_metrics_add(m, HONE_COUNTER, "hone_never_total", "A family without a series yet.", "", NULL, 0);
    const char *a[] = {"base", "200"}, *b[] = {"odd \"name\"\\ with\na line", "400"}, *none[] = {NULL, "404"};
    hone_metric_add(requests, a, 1);
    hone_metric_add(requests, a, 2);
    hone_metric_add(requests, b, 1);
    hone_metric_add(requests, none, 1);
    hone_metric_set(up, NULL, 12.5);
    hone_metric_add(up, NULL, 1);
    static const double seen[] = {0.05, 0.1, 0.3, 0.7, 100};
    for (int i = 0; i < 5; i++) hone_metric_observe(wait, a, seen[i]);
    return m;
}

static void test_the_text(void **state) {
    (void)state;
    static const char expected[] =
        "# HELP hone_requests_total Requests.\n# TYPE hone_requests_total counter\n"
        "hone_requests_total{model=\"base\",code=\"200\"} 3\n"
        "hone_requests_total{model=\"odd \\\"name\\\"\\\\ with\\na line\",code=\"400\"} 1\n"
        "hone_requests_total{model=\"\",code=\"404\"} 1\n"
        "# HELP hone_up_seconds Time since start.\n# TYPE hone_up_seconds gauge\nhone_up_seconds 13.5\n"
        "# HELP vllm:time_to_first_token_seconds Wait.\n# TYPE vllm:time_to_first_token_seconds histogram\n"
        "vllm:time_to_first_token_seconds_bucket{model=\"base\",le=\"0.1\"} 2\n"
        "vllm:time_to_first_token_seconds_bucket{model=\"base\",le=\"0.5\"} 3\n"
        "vllm:time_to_first_token_seconds_bucket{model=\"base\",le=\"1\"} 4\n"
        "vllm:time_to_first_token_seconds_bucket{model=\"base\",le=\"+Inf\"} 5\n"
        "vllm:time_to_first_token_seconds_sum{model=\"base\"} 101.15000000000001\n"
        "vllm:time_to_first_token_seconds_count{model=\"base\"} 5\n"
        "# HELP hone_never_total A family without a series yet.\n# TYPE hone_never_total counter\n";
    hone_metrics *m = make();
    hone_buf text = {0};
    hone_metrics_write(m, &text);
    assert_string_equal(hone_buf_str(&text), expected);
    hone_buf_free(&text);
    hone_metrics_close(m);
    assert_int_equal(hone_mem_live, 0);
}

/* Prometheus' own reader and its rules for names. */
static void test_promtool_has_nothing_to_say(void **state) {
    (void)state;
    if (system("command -v promtool > /dev/null 2>&1") != 0) {
        print_message("skipped: promtool is not installed (package prometheus)\n");
        skip();
    }
    hone_metrics *m = make();
    hone_buf text = {0};
    hone_metrics_write(m, &text);
    FILE *tool = popen("promtool check metrics", "w");
    assert_non_null(tool);
    assert_int_equal(fwrite(text.data, 1, text.n, tool), text.n);
    /* 3 is "a rule of style is broken": the colon of vLLM's name, which is kept on purpose. */
    const int status = pclose(tool);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3));
    tool = popen("promtool check metrics > /dev/null 2>&1", "w"); /* and it does find faults */
    fputs("hone_requests_total{model=\"base\" 3\n", tool);
    assert_int_not_equal(pclose(tool), 0);
    hone_buf_free(&text);
    hone_metrics_close(m);
}

/* A client that sends ever new label values cannot fill the memory. */
static void test_series_are_bounded(void **state) {
    (void)state;
    hone_metrics *m;
    assert_int_equal(hone_metrics_open(&m, NULL), HONE_OK);
    hone_metric *f = hone_metrics_add(m, HONE_COUNTER, "x_total", "x", "name", NULL, 0);
    for (int i = 0; i < 10100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        const char *values[] = {name};
        hone_metric_add(f, values, 1);
    }
    hone_buf text = {0};
    hone_metrics_write(m, &text);
    assert_non_null(strstr(text.data, "x_total{name=\"9999\"} 1\n"));
    assert_null(strstr(text.data, "x_total{name=\"10000\"}"));
    hone_buf_free(&text);
    hone_metrics_close(m);
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    const char *labels[] = {"a"};
    for (int64_t fail_at = 0, done = 0; !done; fail_at++) {
        hone_metrics *m = NULL;
        hone_mem_fail_at = fail_at;
        if (hone_metrics_open(&m, NULL) == HONE_OK) {
            hone_metric *f = hone_metrics_add(m, HONE_HISTOGRAM, "x_seconds", "x", "name", bounds, 3);
            if (f) hone_metric_observe(f, labels, 1);
        }
        done = hone_mem_fail_at >= 0;
        hone_mem_fail_at = -1;
        hone_metrics_close(m);
        assert_int_equal(hone_mem_live, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_text),
        cmocka_unit_test(test_promtool_has_nothing_to_say),
        cmocka_unit_test(test_series_are_bounded),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
