/* eval.c - hone eval: models against rows with known answers, side by side.
 * Order: reading, answers, the report, the verb. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/model.h"
#include "cli/verbs.h"
#include "lab/eval.h"

#define MAX_GRADERS 8u
#define MAX_MODELS 16u

typedef struct {
    const cli_args *args;
    char *name[MAX_MODELS]; /* owned */
    uint32_t n_model;
    hone_grader grader[MAX_GRADERS];
    const char *spec[MAX_GRADERS];
    uint32_t n_grader;
    hone_eval_data data;
    hone_eval_config cfg;
    char **answer[MAX_MODELS];              /* [n_rows] */
    double *score[MAX_MODELS][MAX_GRADERS]; /* [n_rows] */
    hone_interval mean[MAX_MODELS][MAX_GRADERS];
    hone_eval_cost cost[MAX_MODELS];
    uint32_t current; /* the model that answers now */
} work;

/* Reading ----------------------------------------------------------------------------------------------------------*/

static int read_models(work *w) {
    for (uint32_t i = 0; cli_nth(w->args, "model", i); i++) {
        const char *list = cli_nth(w->args, "model", i);
        while (*list) {
            const size_t n = strcspn(list, ",");
            if (n == 0) return cli_usage(w->args, "--model: an empty name");
            if (w->n_model == MAX_MODELS) return cli_usage(w->args, "at most %u models", MAX_MODELS);
            if (!(w->name[w->n_model] = hone_strndup(list, n))) return cli_fail_text(w->args, "no memory");
            w->n_model++;
            list += n + (list[n] == ',');
        }
    }
    return w->n_model ? CLI_OK : cli_usage(w->args, "--model is missing");
}

/* A name, or OpenAI's object: in the option itself, or in the file that it names. */
static hone_status read_grader(hone_grader *out, const char *spec, hone_error *err) {
    const size_t n = strlen(spec);
    const bool file = n > 5 && strcmp(spec + n - 5, ".json") == 0;
    if (spec[0] != '{' && !file) return hone_grader_parse(out, spec, err);
    json_t *object = file ? hone_json_load(spec, err) : hone_json_parse(spec, n, err);
    const hone_status status = object ? hone_grader_from_json(out, object, err) : err->code;
    json_decref(object);
    return status;
}

static int read_options(work *w) {
    hone_error err = {0};
    double temperature = 0;
    w->cfg = (hone_eval_config){.max_tokens = 64};
    int rc = read_models(w);
    if (rc != CLI_OK) return rc;
    for (uint32_t i = 0; cli_nth(w->args, "grader", i); i++) {
        if (i == MAX_GRADERS) return cli_usage(w->args, "at most %u graders", MAX_GRADERS);
        w->spec[i] = cli_nth(w->args, "grader", i);
        if (read_grader(&w->grader[i], w->spec[i], &err) != HONE_OK) return cli_usage(w->args, "%s", err.message);
        w->n_grader++;
    }
    if (!w->n_grader) return cli_usage(w->args, "--grader is missing; exact and token_f1 are two");
    if (!cli_need(w->args, "data") || !cli_u32(w->args, "max-tokens", 1, 1u << 20, &w->cfg.max_tokens) ||
        !cli_uint(w->args, "seed", 0, UINT64_MAX, &w->cfg.seed) ||
        !cli_real(w->args, "temperature", 0, 2, &temperature))
        return CLI_USAGE;
    w->cfg.temperature = (float)temperature;
    return CLI_OK;
}

static int read_rows(work *w) {
    hone_error err = {0};
    uint64_t limit = UINT64_MAX;
    if (!cli_uint(w->args, "limit", 1, UINT64_MAX, &limit)) return CLI_USAGE;
    if (hone_eval_load(&w->data, cli_get(w->args, "data"), &err) != HONE_OK) return cli_fail(w->args, &err);
    while (w->data.n > limit) {
        w->data.n--;
        json_decref(w->data.row[w->data.n].input);
        json_decref(w->data.row[w->data.n].row);
    }
    return CLI_OK;
}

/* Answers ----------------------------------------------------------------------------------------------------------*/

static hone_status on_answer(void *arg, size_t n_done) {
    work *w = arg;
    cli_progress(w->args, "%s: %zu of %zu rows", w->name[w->current], n_done, w->data.n);
    return HONE_OK;
}

static int ask_model(work *w, uint32_t i) {
    cli_model m;
    hone_error err = {0};
    w->current = i;
    int rc = cli_model_open(&m, w->args, w->name[i], CLI_TEXT_SIDE | CLI_WEIGHTS);
    if (rc == CLI_OK) {
        hone_status status = HONE_ERR_NOMEM;
        if ((w->answer[i] = hone_zalloc(w->data.n, sizeof(char *)))) {
            hone_adapter *adapter = m.adapter;
            m.adapter = NULL; /* the engine's from here */
            status = hone_eval_answers(w->answer[i], &w->data, m.model, m.text, m.pool, adapter, &w->cfg, on_answer, w,
                                       &w->cost[i], &err);
        }
        for (uint32_t g = 0; g < w->n_grader && status == HONE_OK; g++) {
            if (!(w->score[i][g] = hone_zalloc(w->data.n, sizeof(double))))
                status = HONE_ERR_NOMEM;
            else
                status = hone_eval_grade(w->score[i][g], &w->data, w->answer[i], &w->grader[g], &err);
            if (status == HONE_OK)
                status = hone_stats_mean(&w->mean[i][g], w->score[i][g], w->data.n, w->cfg.seed, &err);
        }
        cli_progress(w->args, NULL);
        if (status == HONE_ERR_NOMEM && !err.message[0]) hone_fail(&err, status, "no memory");
        if (status != HONE_OK) rc = cli_fail(w->args, &err);
    }
    cli_model_close(&m);
    return rc;
}

/* --out: a line for each row, to look at what a score is made of. */
static int write_answers(const work *w) {
    const char *path = cli_get(w->args, "out");
    if (!path) return CLI_OK;
    hone_buf b = {0};
    hone_error err = {0};
    for (size_t r = 0; r < w->data.n; r++) {
        hone_buf_format(&b, "{\"line\":%llu,\"reference\":", (unsigned long long)w->data.row[r].line);
        hone_buf_json_string(&b, w->data.row[r].reference, strlen(w->data.row[r].reference));
        hone_buf_text(&b, ",\"answers\":[");
        for (uint32_t i = 0; i < w->n_model; i++) {
            if (i) hone_buf_char(&b, ',');
            hone_buf_json_string(&b, w->answer[i][r], strlen(w->answer[i][r]));
        }
        hone_buf_text(&b, "],\"scores\":[");
        for (uint32_t i = 0; i < w->n_model; i++) {
            for (uint32_t g = 0; g < w->n_grader; g++)
                hone_buf_format(&b, "%s%.6g", g ? "," : i ? ",[" : "[", w->score[i][g][r]);
            hone_buf_char(&b, ']');
        }
        hone_buf_text(&b, "]}\n");
    }
    const hone_status status = b.failed ? hone_fail(&err, HONE_ERR_NOMEM, "no memory")
                                        : hone_file_write_atomic(path, hone_buf_str(&b), b.n, &err);
    hone_buf_free(&b);
    return status == HONE_OK ? CLI_OK : cli_fail(w->args, &err);
}

/* The report -------------------------------------------------------------------------------------------------------*/

typedef struct {
    hone_interval difference; /* of a model to the first one */
    hone_mcnemar test;
    bool tested;
} comparison;

static hone_status compare(const work *w, uint32_t i, uint32_t g, comparison *out, hone_error *err) {
    *out = (comparison){.tested = hone_grader_is_binary(&w->grader[g])};
    if (out->tested) out->test = hone_stats_mcnemar(w->score[0][g], w->score[i][g], w->data.n);
    return hone_stats_difference(&out->difference, w->score[0][g], w->score[i][g], w->data.n, w->cfg.seed, err);
}

static int report_json(const work *w) {
    hone_error err = {0};
    json_t *models = json_array(), *differences = json_array();
    for (uint32_t i = 0; i < w->n_model; i++) {
        json_t *scores = json_object();
        for (uint32_t g = 0; g < w->n_grader; g++) {
            const hone_interval *v = &w->mean[i][g];
            json_object_set_new(
                scores, w->spec[g],
                json_pack("{s:f, s:[f, f], s:s}", "mean", v->mean, "interval", v->low, v->high, "method", v->method));
            comparison c;
            if (i == 0) continue;
            if (compare(w, i, g, &c, &err) != HONE_OK) return cli_fail(w->args, &err);
            json_array_append_new(differences,
                                  json_pack("{s:s, s:s, s:s, s:f, s:[f, f], s:o}", "model", w->name[i], "against",
                                            w->name[0], "grader", w->spec[g], "difference", c.difference.mean,
                                            "interval", c.difference.low, c.difference.high, "p",
                                            c.tested ? json_real(c.test.p) : json_null()));
        }
        json_array_append_new(models, json_pack("{s:s, s:i, s:o, s:I, s:I, s:f}", "model", w->name[i], "n",
                                                (int)w->data.n, "scores", scores, "prompt_tokens",
                                                (json_int_t)w->cost[i].prompt_tokens, "output_tokens",
                                                (json_int_t)w->cost[i].output_tokens, "seconds", w->cost[i].seconds));
    }
    return cli_print_json(
        w->args, json_pack("{s:i, s:o, s:o}", "n", (int)w->data.n, "models", models, "differences", differences));
}

static int report_table(const work *w) {
    enum { COLUMNS = 7 };
    static const bool right[COLUMNS] = {false, false, true, true, false, true, false};
    const uint32_t rows = 1 + w->n_model * w->n_grader, columns = w->n_model > 1 ? COLUMNS : 5;
    char(*text)[64] = hone_zalloc((size_t)rows * COLUMNS, sizeof(*text));
    const char **cell = hone_zalloc((size_t)rows * COLUMNS, sizeof(*cell));
    static const char *const head[COLUMNS] = {"model", "grader", "n", "score", "95 %", "to the first", "95 %, p"};
    hone_error err = {0};
    int rc = text && cell ? CLI_OK : cli_fail_text(w->args, "no memory");
    for (uint32_t c = 0; c < columns && rc == CLI_OK; c++) cell[c] = head[c];
    uint32_t r = 1;
    for (uint32_t i = 0; i < w->n_model && rc == CLI_OK; i++) {
        for (uint32_t g = 0; g < w->n_grader && rc == CLI_OK; g++, r++) {
            char(*t)[64] = text + (size_t)r * COLUMNS;
            const hone_interval *v = &w->mean[i][g];
            cell[r * columns] = w->name[i];
            cell[r * columns + 1] = w->spec[g];
            snprintf(t[2], sizeof(*t), "%zu", w->data.n);
            snprintf(t[3], sizeof(*t), "%.4f", v->mean);
            snprintf(t[4], sizeof(*t), "%.4f to %.4f", v->low, v->high);
            comparison c;
            if (i > 0 && compare(w, i, g, &c, &err) != HONE_OK) {
                rc = cli_fail(w->args, &err);
            } else if (i > 0) {
                snprintf(t[5], sizeof(*t), "%+.4f", c.difference.mean);
                if (c.tested)
                    snprintf(t[6], sizeof(*t), "%+.4f to %+.4f, p %.2g", c.difference.low, c.difference.high, c.test.p);
                else
                    snprintf(t[6], sizeof(*t), "%+.4f to %+.4f", c.difference.low, c.difference.high);
            }
            for (uint32_t k = 2; k < columns; k++) cell[r * columns + k] = t[k];
        }
    }
    if (rc == CLI_OK) cli_table(cell, rows, columns, right);
    hone_free(cell);
    hone_free(text);
    return rc;
}

static int run_eval(const cli_args *args) {
    work w = {.args = args};
    int rc = read_options(&w);
    if (rc == CLI_OK) rc = read_rows(&w);
    for (uint32_t i = 0; i < w.n_model && rc == CLI_OK; i++) rc = ask_model(&w, i);
    if (rc == CLI_OK) rc = write_answers(&w);
    if (rc == CLI_OK) rc = args->json ? report_json(&w) : report_table(&w);
    for (uint32_t i = 0; i < w.n_model; i++) {
        for (size_t r = 0; w.answer[i] && r < w.data.n; r++) hone_free(w.answer[i][r]);
        hone_free(w.answer[i]);
        for (uint32_t g = 0; g < MAX_GRADERS; g++) hone_free(w.score[i][g]);
        hone_free(w.name[i]);
    }
    hone_eval_free(&w.data);
    return rc;
}

static const cli_option options[] = {
    {"model", "NAME", "a model, or several with commas between; the others are compared with the first"},
    {"data", "FILE", "rows whose last assistant message is the right answer"},
    {"grader", "SPEC",
     "exact, token_f1, fuzzy_match, string_check:eq, :ne, :like, :ilike; +lower and +stop may\n"
     "                             follow; or an OpenAI grader as JSON or FILE.json.  May be repeated"},
    {"adapter", "DIR", "an adapter over the model"},
    {"max-tokens", "N", "of an answer (default: 64)"},
    {"temperature", "X", "default: 0, greedy"},
    {"limit", "N", "only the first N rows"},
    {"seed", "N", "of sampling and resampling (default: 0)"},
    {"out", "FILE", "a line of JSON for each row: reference, answers, scores"},
    CLI_MODEL_OPTIONS,
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_eval = {
    .name = "eval",
    .usage = "eval --model A[,B...] --data FILE.jsonl --grader SPEC [--grader SPEC]... [options]",
    .about = "models against rows with known answers, with intervals",
    .example = "hone eval --model smollm2,ft:smollm2:org:titles:ab12cd34 --data test.jsonl --grader exact+lower+stop",
    .more = "Shares have Wilson's 95 % interval, other means and paired differences a percentile bootstrap over rows;\n"
            "p is McNemar's, exact and two-sided.",
    .options = options,
    .run = run_eval,
};
