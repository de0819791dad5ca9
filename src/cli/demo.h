/* demo.h - what the files of `hone demo` share: the state of the journey.
 *
 * demo.c        the journey and its report
 * demo_data.c   model and rows: pulled, made, checked for leaks
 * demo_server.c a real `hone serve` as a child
 * demo_ask.c    questions over the API, and scores */
#ifndef HONE_CLI_DEMO_H
#define HONE_CLI_DEMO_H

#include "cli/cli.h"
#include "cli/http.h"
#include "lab/eval.h"
#include "lab/stats.h"
#include "store/store.h"

#define DEMO_MODEL "smollm2"
#define DEMO_TRAIN_ROWS 300u
#define DEMO_TEST_ROWS 300u
#define DEMO_BASE_ROWS 100u /* of the two base runs, unless --full */
#define DEMO_AT_ONCE 16u
#define DEMO_SHOTS 5u

typedef struct {
    pid_t pid;      /* 0: not running */
    char url[128];  /* "http://127.0.0.1:PORT" */
    char *log_path; /* of its stderr; owned */
} demo_server;

/* One variant of the task: plain or masked. */
typedef struct {
    const char *name;
    char *folder; /* with train.jsonl, valid.jsonl, test.jsonl; owned */
    hone_eval_data test, shots;
} demo_task;

typedef struct {
    size_t n;
    double *exact, *f1; /* [n] of each row */
    hone_interval exact_mean, f1_mean;
    double seconds;
} demo_score;

typedef struct {
    char job[64], model[256];
    uint64_t steps, tokens, peak_rss_bytes;
    uint32_t examples;
    double seconds, tokens_per_second;
} demo_training;

typedef struct {
    demo_task task;
    demo_training train;
    demo_score base, few_shot, specialist;
    bool few_shot_is_better; /* than the base as it is, by exact match, then F1 */
    hone_interval difference;
    hone_mcnemar test;
} demo_variant;

typedef struct {
    const cli_args *args;
    bool full;
    char *home; /* the demo's own state folder */
    demo_server server;
    cli_http *http;
    demo_variant plain, masked;
    char answer_question[160];
    double start;
    hone_error err;
} demo;

/* All return HONE_OK or a failure with d->err filled. */
hone_status demo_get_model(demo *d);
hone_status demo_make_task(demo *d, demo_task *task, bool masked);
void demo_task_free(demo_task *task);

hone_status demo_server_start(demo *d);
void demo_server_stop(demo *d); /* SIGTERM, then waits; fine when it does not run */

typedef enum { DEMO_BASE, DEMO_FEW_SHOT, DEMO_SPECIALIST } demo_who;
hone_status demo_ask(demo *d, const demo_variant *v, demo_who who, demo_score *out);
void demo_score_free(demo_score *s);
hone_status demo_train(demo *d, demo_variant *v);
hone_status demo_stream_answer(demo *d, const demo_variant *v, char *answer, size_t n);

#endif
