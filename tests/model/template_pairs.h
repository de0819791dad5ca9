/* template_pairs.h - templates beside what they render, over one set of variables.  The right-hand sides were made with
 * Jinja 3.1.6 in the setting that template.h names. */
#ifndef HONE_TEMPLATE_PAIRS_H
#define HONE_TEMPLATE_PAIRS_H

#include "test.h"

#include <stdio.h>

#include "base/json.h"
#include "model/template.h"

typedef struct {
    const char *template;
    const char *text;
} pair;

static const char pair_variables[] =
    "{\"s\": \"Hello World\", \"u\": \"Grüße 世界\", \"n\": 7, \"f\": 2.5, \"l\": [3, 1, 2],"
    " \"d\": {\"b\": 2, \"a\": 1, \"items\": 5}, \"e\": \"\", \"none_\": null, \"fa\": false,"
    " \"users\": [{\"name\": \"bob\", \"age\": 30, \"addr\": {\"city\": \"X\"}},"
    " {\"name\": \"Al\", \"age\": 25, \"addr\": {\"city\": \"y\"}}, {\"name\": \"cy\", \"age\": 30}],"
    " \"nested\": {\"x\": [1, {\"y\": \"z\\n\\\"q'\"}], \"k\": null, \"b\": true, \"f\": 1.0},"
    " \"m\": \"line1\\nline2\\n\\nline4\\n\", \"sp\": \"  a  b\\tc\\n \", \"words\": [\"b\", \"A\", \"c\", \"a\"],"
    " \"tiny\": 1e-7}";

/* Compile and render; out gets the text or the error's message. */
static inline hone_status render_text(const char *text, size_t n, const char *variables,
                                      const hone_template_limits *limits, hone_buf *out, hone_error *err) {
    hone_template *t;
    *err = (hone_error){0};
    hone_status st = hone_template_compile(&t, text, n, err);
    if (st != HONE_OK) return st;
    json_t *vars = hone_json_parse(variables, strlen(variables), err);
    assert_non_null(vars);
    st = hone_template_render(t, vars, limits, out, NULL, err);
    json_decref(vars);
    hone_template_free(t);
    return st;
}

/* All pairs; with expression, what stands between {{ and }}. */
static inline void expect_pairs(const pair *pairs, size_t n, int expression) {
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        hone_buf source = {0}, out = {0};
        hone_error err;
        hone_buf_format(&source, expression ? "{{ %s }}" : "%s", pairs[i].template);
        const hone_status st = render_text(hone_buf_str(&source), source.n, pair_variables, NULL, &out, &err);
        if (st != HONE_OK || strcmp(hone_buf_str(&out), pairs[i].text) != 0) {
            print_error("%s\n  wanted <<%s>>\n  got    <<%s>> %s\n", pairs[i].template, pairs[i].text,
                        hone_buf_str(&out), st == HONE_OK ? "" : err.message);
            wrong++;
        }
        hone_buf_free(&source);
        hone_buf_free(&out);
    }
    assert_int_equal(wrong, 0);
}

#define EXPECT_TEMPLATES(pairs) expect_pairs((pairs), sizeof(pairs) / sizeof(*(pairs)), 0)
#define EXPECT_EXPRESSIONS(pairs) expect_pairs((pairs), sizeof(pairs) / sizeof(*(pairs)), 1)

#endif
