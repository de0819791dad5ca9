/* demo.c - hone demo: a published model and real job-market text become a served specialist.
 * Order: the journey, comparison, the report for programs, the report for people, the verb. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/demo.h"
#include "cli/verbs.h"

/* Comparison -------------------------------------------------------------------------------------------------------*/

/* The specialist against the better base, on the rows that both answered. */
static hone_status compare(demo *d, demo_variant *v) {
    const demo_score *base = &v->base, *shot = &v->few_shot;
    v->few_shot_is_better = shot->exact_mean.mean > base->exact_mean.mean ||
                            (shot->exact_mean.mean == base->exact_mean.mean && shot->f1_mean.mean > base->f1_mean.mean);
    const demo_score *better = v->few_shot_is_better ? shot : base;
    v->test = hone_stats_mcnemar(better->exact, v->specialist.exact, better->n);
    return hone_stats_difference(&v->difference, better->exact, v->specialist.exact, better->n, 1, &d->err);
}

/* The journey ------------------------------------------------------------------------------------------------------*/

static hone_status run_variant(demo *d, demo_variant *v, bool masked) {
    cli_say(d->args, masked ? "\nThe harder variant: the subject is \"They\", the title must be inferred"
                            : "\nThe task: occupation description -> job title (ESCO)");
    hone_status status = demo_make_task(d, &v->task, masked);
    if (status == HONE_OK) status = demo_ask(d, v, DEMO_BASE, &v->base);
    if (status == HONE_OK) status = demo_ask(d, v, DEMO_FEW_SHOT, &v->few_shot);
    if (status == HONE_OK) status = demo_train(d, v);
    if (status == HONE_OK) status = demo_ask(d, v, DEMO_SPECIALIST, &v->specialist);
    return status == HONE_OK ? compare(d, v) : status;
}

static hone_status journey(demo *d, char *answer, size_t n) {
    cli_say(d->args, "State folder of the demo: %s", d->home);
    hone_status status = hone_folder_make(d->home, &d->err);
    if (status == HONE_OK) status = demo_get_model(d);
    if (status == HONE_OK) status = demo_server_start(d);
    if (status == HONE_OK) cli_say(d->args, "  hone serve on %s", d->server.url);
    if (status == HONE_OK) status = run_variant(d, &d->plain, false);
    if (status == HONE_OK && !cli_has(d->args, "no-masked")) status = run_variant(d, &d->masked, true);
    if (status == HONE_OK) status = demo_stream_answer(d, &d->plain, answer, n);
    return status;
}

/* The report for programs ------------------------------------------------------------------------------------------*/

static json_t *score_json(const demo_score *s) {
    return json_pack("{s:i, s:f, s:[f, f], s:f, s:[f, f], s:f}", "n", (int)s->n, "exact_match", s->exact_mean.mean,
                     "exact_match_interval", s->exact_mean.low, s->exact_mean.high, "token_f1", s->f1_mean.mean,
                     "token_f1_interval", s->f1_mean.low, s->f1_mean.high, "seconds", s->seconds);
}

static json_t *variant_json(const demo_variant *v) {
    const demo_training *t = &v->train;
    return json_pack("{s:i, s:o, s:o, s:o, s:f, s:[f, f], s:s, s:f, s:{s:s, s:i, s:I, s:f, s:f, s:I}}", "n",
                     (int)v->specialist.n, "base", score_json(&v->base), "base_few_shot", score_json(&v->few_shot),
                     "specialist", score_json(&v->specialist), "difference", v->difference.mean, "difference_interval",
                     v->difference.low, v->difference.high, "difference_to",
                     v->few_shot_is_better ? "base_few_shot" : "base", "p", v->test.p, "train", "model", t->model,
                     "examples", (int)t->examples, "steps", (json_int_t)t->steps, "seconds", t->seconds,
                     "tokens_per_second", t->tokens_per_second, "peak_rss_bytes", (json_int_t)t->peak_rss_bytes);
}

static int report_json(const demo *d, const char *answer) {
    json_t *o = variant_json(&d->plain);
    if (o && d->masked.specialist.n) json_object_set_new(o, "masked", variant_json(&d->masked));
    if (o) json_object_set_new(o, "answer", json_string(answer));
    if (o) json_object_set_new(o, "seconds", json_real(hone_clock_seconds() - d->start));
    return cli_print_json(d->args, o);
}

/* The report for people --------------------------------------------------------------------------------------------*/

static void table(const demo_variant *v) {
    enum { ROWS = 4, COLUMNS = 6 };
    const demo_score *scores[] = {&v->base, &v->few_shot, &v->specialist};
    static const char *const names[] = {"base", "base, 5 examples in the prompt", "specialist"};
    static const char *const head[COLUMNS] = {"", "n", "exact match", "95 %", "token F1", "95 %"};
    static const bool right[COLUMNS] = {false, true, true, false, true, false};
    char text[3][5][32];
    const char *cell[ROWS * COLUMNS];
    memcpy(cell, head, sizeof(head));
    cell[0] = v->task.name;
    for (int i = 0; i < 3; i++) {
        const demo_score *s = scores[i];
        snprintf(text[i][0], 32, "%zu", s->n);
        snprintf(text[i][1], 32, "%.3f", s->exact_mean.mean);
        snprintf(text[i][2], 32, "%.3f to %.3f", s->exact_mean.low, s->exact_mean.high);
        snprintf(text[i][3], 32, "%.3f", s->f1_mean.mean);
        snprintf(text[i][4], 32, "%.3f to %.3f", s->f1_mean.low, s->f1_mean.high);
        cell[(i + 1) * COLUMNS] = names[i];
        for (int k = 0; k < 5; k++) cell[(i + 1) * COLUMNS + 1 + k] = text[i][k];
    }
    cli_table(cell, ROWS, COLUMNS, right);
    printf("the specialist is %+.3f (95 %%: %+.3f to %+.3f) from %s in exact match on the same %zu rows, p = %.2g\n",
           v->difference.mean, v->difference.low, v->difference.high,
           v->few_shot_is_better ? "the base with examples" : "the base",
           v->few_shot_is_better ? v->few_shot.n : v->base.n, v->test.p);
}

static int report(const demo *d) {
    char took[CLI_TEXT];
    putchar('\n');
    table(&d->plain);
    if (d->masked.specialist.n) {
        putchar('\n');
        table(&d->masked);
    }
    printf("\n%s in all. Go on with it:\n\n", cli_seconds(hone_clock_seconds() - d->start, took));
    printf("  %s serve --home %s --model %s\n", d->args->program, d->home, DEMO_MODEL);
    printf("  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' -d "
           "'{\"model\": \"%s\", \"messages\": [{\"role\": \"user\", \"content\": \"They bake bread and cakes.\"}]}'\n",
           d->plain.train.model);
    printf("  python3 -c 'from openai import OpenAI; c = OpenAI(base_url=\"http://127.0.0.1:8080/v1\", api_key=\"-\"); "
           "print(c.models.list())'\n");
    return CLI_OK;
}

/* The verb ---------------------------------------------------------------------------------------------------------*/

static void variant_free(demo_variant *v) {
    demo_task_free(&v->task);
    demo_score_free(&v->base);
    demo_score_free(&v->few_shot);
    demo_score_free(&v->specialist);
}

static int run_demo(const cli_args *args) {
    demo d = {.args = args, .full = cli_has(args, "full"), .start = hone_clock_seconds()};
    char answer[400] = "";
    char *home = cli_home(args);
    if (!home || !(d.home = hone_path_join(home, "demo"))) {
        hone_free(home);
        return CLI_FAILED;
    }
    hone_free(home);
    signal(SIGPIPE, SIG_IGN);
    const hone_status status = journey(&d, answer, sizeof(answer));
    cli_progress(args, NULL);
    demo_server_stop(&d);
    const int rc = status != HONE_OK ? cli_fail(args, &d.err) : args->json ? report_json(&d, answer) : report(&d);
    variant_free(&d.plain);
    variant_free(&d.masked);
    hone_free(d.home);
    return rc;
}

static const cli_option options[] = {
    {"full", NULL, "ask the base all 300 rows too, not the first 100"},
    {"no-masked", NULL, "leave the harder variant out"},
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_demo = {
    .name = "demo",
    .usage = "demo [--full] [--no-masked]",
    .about = "the whole journey on a small real model, a few minutes",
    .example = "hone demo",
    .more = "Pulls a model of 98 MB and 2.6 MB of data at the first run; all of it stays in DIR/demo of the state "
            "folder, so\n"
            "that one can go on by hand.",
    .options = options,
    .run = run_demo,
};
