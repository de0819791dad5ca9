/* demo_ask.c - the demo's traffic: questions to three models, a fine-tuning job, one streamed answer.  All of it goes
 * through the HTTP API, as any client's would.
 * Order: questions, scores, the job, the streamed answer. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/demo.h"

/* Questions --------------------------------------------------------------------------------------------------------*/

typedef struct {
    demo *d;
    const demo_variant *v;
    demo_who who;
    demo_score *score;
    size_t done;
    char label[40];
} asking;

/* The row's messages; for few-shot, five answered rows between the system message and the question. */
static json_t *messages_of(const asking *a, const hone_eval_row *row) {
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(row->input); i++) {
        json_t *m = json_array_get(row->input, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        if (a->who == DEMO_FEW_SHOT && role && strcmp(role, "user") == 0)
            for (size_t s = 0; s < a->v->task.shots.n; s++) {
                const hone_eval_row *shot = &a->v->task.shots.row[s];
                for (size_t k = 0; k < json_array_size(shot->input); k++) {
                    json_t *q = json_array_get(shot->input, k);
                    const char *of = json_string_value(json_object_get(q, "role"));
                    if (of && strcmp(of, "system") != 0) json_array_append(list, q);
                }
                json_array_append_new(list, json_pack("{s:s, s:s}", "role", "assistant", "content", shot->reference));
            }
        json_array_append(list, m);
    }
    return list;
}

static json_t *body_of(void *arg, size_t i) {
    const asking *a = arg;
    const char *model = a->who == DEMO_SPECIALIST ? a->v->train.model : DEMO_MODEL;
    json_t *messages = messages_of(a, &a->v->task.test.row[i]);
    return json_pack("{s:s, s:o, s:i, s:i, s:i}", "model", model, "messages", messages, "temperature", 0, "max_tokens",
                     24, "seed", 0);
}

static const char *content_of(const json_t *reply) {
    const json_t *choice = json_array_get(json_object_get(reply, "choices"), 0);
    return json_string_value(json_object_get(json_object_get(choice, "message"), "content"));
}

static bool on_reply(void *arg, size_t i, json_t *reply) {
    asking *a = arg;
    static const hone_grader exact = {.kind = HONE_GRADE_EXACT, .lower = true, .stop = true};
    static const hone_grader f1 = {.kind = HONE_GRADE_TOKEN_F1, .lower = true, .stop = true};
    const char *answer = content_of(reply), *reference = a->v->task.test.row[i].reference;
    if (!answer) return false;
    if (hone_grade(&exact, answer, reference, &a->score->exact[i], &a->d->err) != HONE_OK ||
        hone_grade(&f1, answer, reference, &a->score->f1[i], &a->d->err) != HONE_OK)
        return false;
    a->done++;
    cli_progress(a->d->args, "%s: %zu of %zu answers", a->label, a->done, a->score->n);
    return true;
}

hone_status demo_ask(demo *d, const demo_variant *v, demo_who who, demo_score *out) {
    static const char *const names[] = {"base", "base with 5 examples", "specialist"};
    size_t n = v->task.test.n;
    if (who != DEMO_SPECIALIST && !d->full && n > DEMO_BASE_ROWS) n = DEMO_BASE_ROWS;
    asking a = {.d = d, .v = v, .who = who, .score = out};
    snprintf(a.label, sizeof(a.label), "%s, %s", v->task.name, names[who]);
    *out = (demo_score){.n = n, .exact = hone_zalloc(n, sizeof(double)), .f1 = hone_zalloc(n, sizeof(double))};
    if (!out->exact || !out->f1) return hone_fail(&d->err, HONE_ERR_NOMEM, "no memory");
    const double start = hone_clock_seconds();
    const cli_http_batch batch = {body_of, on_reply, &a};
    hone_status status = cli_http_many(d->http, "/v1/chat/completions", n, DEMO_AT_ONCE, &batch, &d->err);
    out->seconds = hone_clock_seconds() - start;
    cli_progress(d->args, NULL);
    if (status == HONE_OK) status = hone_stats_mean(&out->exact_mean, out->exact, n, 1, &d->err);
    if (status == HONE_OK) status = hone_stats_mean(&out->f1_mean, out->f1, n, 1, &d->err);
    char took[CLI_TEXT];
    if (status == HONE_OK)
        cli_say(d->args, "  %s: %zu answers in %s, exact match %.3f, token F1 %.3f", a.label, n,
                cli_seconds(out->seconds, took), out->exact_mean.mean, out->f1_mean.mean);
    return status;
}

void demo_score_free(demo_score *s) {
    hone_free(s->exact);
    hone_free(s->f1);
    *s = (demo_score){0};
}

/* The job ----------------------------------------------------------------------------------------------------------*/

static hone_status upload(demo *d, const demo_task *task, const char *name, char id[64]) {
    char *path = hone_path_join(task->folder, name);
    json_t *reply = NULL;
    if (!path) return hone_fail(&d->err, HONE_ERR_NOMEM, "no memory");
    const hone_status status = cli_http_upload(d->http, path, "fine-tune", &reply, &d->err);
    const char *given = json_string_value(json_object_get(reply, "id"));
    snprintf(id, 64, "%s", given ? given : "");
    json_decref(reply);
    hone_free(path);
    return status;
}

typedef struct {
    demo *d;
    demo_training *t;
    double said_at;
} following;

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static bool on_job_event(void *arg, json_t *event) {
    following *f = arg;
    const json_t *data = json_object_get(event, "data");
    const char *type = json_string_value(json_object_get(event, "type"));
    const char *message = json_string_value(json_object_get(event, "message"));
    if (!type || strcmp(type, "metrics") != 0 || !json_object_get(data, "step")) {
        if (message) cli_say(f->d->args, "  job: %s", message);
        return true;
    }
    if (!json_object_get(data, "tokens")) return true; /* an epoch's metrics */
    f->t->steps = (uint64_t)number(data, "step");
    f->t->seconds += number(data, "seconds");
    f->t->tokens += (uint64_t)number(data, "tokens");
    if (number(data, "rss_bytes") > (double)f->t->peak_rss_bytes)
        f->t->peak_rss_bytes = (uint64_t)number(data, "rss_bytes");
    char left[CLI_TEXT], text[160];
    snprintf(text, sizeof(text), "step %llu of %.0f, loss %.3f, %.0f tokens/s, %s left",
             (unsigned long long)f->t->steps, number(data, "total_steps"), number(data, "train_loss"),
             number(data, "tokens_per_second"), cli_seconds(number(data, "seconds_left"), left));
    cli_progress(f->d->args, "  job: %s", text);
    if (!cli_terminal() && hone_clock_seconds() - f->said_at >= 10) {
        f->said_at = hone_clock_seconds();
        cli_say(f->d->args, "  job: %s", text);
    }
    return true;
}

/* What the job object says when it is over. */
static hone_status read_job(demo *d, demo_training *t) {
    char path[128];
    json_t *job = NULL;
    snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s", t->job);
    const hone_status status = cli_http_json(d->http, "GET", path, NULL, &job, &d->err);
    if (status != HONE_OK) return status;
    const char *state = json_string_value(json_object_get(job, "status"));
    const char *model = json_string_value(json_object_get(job, "fine_tuned_model"));
    const char *why = json_string_value(json_object_get(json_object_get(job, "error"), "message"));
    hone_status result = HONE_OK;
    if (state && strcmp(state, "succeeded") == 0 && model)
        snprintf(t->model, sizeof(t->model), "%s", model);
    else
        result = hone_fail(&d->err, HONE_ERR_IO, "the job ended as %s: %s", state ? state : "?",
                           why ? why : "no reason given");
    json_decref(job);
    return result;
}

hone_status demo_train(demo *d, demo_variant *v) {
    demo_training *t = &v->train;
    char train[64], valid[64], path[160];
    t->examples = DEMO_TRAIN_ROWS;
    hone_status status = upload(d, &v->task, "train.jsonl", train);
    if (status == HONE_OK) status = upload(d, &v->task, "valid.jsonl", valid);
    json_t *reply = NULL;
    if (status == HONE_OK) {
        char suffix[64];
        snprintf(suffix, sizeof(suffix), "titles-%s", v->task.name);
        json_t *hyper = json_pack("{s:i, s:i}", "n_epochs", 1, "batch_size", 8);
        json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:i, s:{s:s, s:{s:o}}}", "model", DEMO_MODEL, "training_file",
                                 train, "validation_file", valid, "suffix", suffix, "seed", 1, "method", "type",
                                 "supervised", "supervised", "hyperparameters", hyper);
        status = cli_http_json(d->http, "POST", "/v1/fine_tuning/jobs", body, &reply, &d->err);
    }
    const char *id = json_string_value(json_object_get(reply, "id"));
    snprintf(t->job, sizeof(t->job), "%s", id ? id : "");
    json_decref(reply);
    if (status != HONE_OK) return status;
    cli_say(d->args, "  job %s on %u rows", t->job, t->examples);
    const double start = hone_clock_seconds();
    following f = {.d = d, .t = t, .said_at = start};
    snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s/events?stream=true", t->job);
    status = cli_http_events(d->http, "GET", path, NULL, on_job_event, &f, &d->err);
    cli_progress(d->args, NULL);
    if (status == HONE_OK) status = read_job(d, t);
    if (t->seconds > 0) t->tokens_per_second = (double)t->tokens / t->seconds;
    char took[CLI_TEXT], peak[CLI_TEXT];
    if (status == HONE_OK)
        cli_say(d->args, "  %s: %llu steps in %s, %.0f tokens/s, peak memory %s", t->model,
                (unsigned long long)t->steps, cli_seconds(t->seconds, took), t->tokens_per_second,
                cli_bytes(t->peak_rss_bytes, peak));
    return status;
}

/* The streamed answer ----------------------------------------------------------------------------------------------*/

typedef struct {
    char *text;
    size_t cap;
    bool show;
} streamed;

static bool on_chunk(void *arg, json_t *chunk) {
    streamed *s = arg;
    const json_t *delta = json_object_get(json_array_get(json_object_get(chunk, "choices"), 0), "delta");
    const char *piece = json_string_value(json_object_get(delta, "content"));
    if (!piece) return true;
    const size_t n = strlen(s->text);
    snprintf(s->text + n, s->cap - n, "%s", piece);
    if (s->show) fputs(piece, stderr);
    return true;
}

hone_status demo_stream_answer(demo *d, const demo_variant *v, char *answer, size_t n) {
    const hone_eval_row *row = &v->task.test.row[0];
    streamed s = {answer, n, !d->args->quiet};
    answer[0] = 0;
    json_t *body = json_pack("{s:s, s:O, s:i, s:i, s:b}", "model", v->train.model, "messages", row->input,
                             "temperature", 0, "max_tokens", 24, "stream", 1);
    const char *question =
        json_string_value(json_object_get(json_array_get(row->input, json_array_size(row->input) - 1), "content"));
    cli_say(d->args, "\n> %s", question ? question : "");
    const hone_status status = cli_http_events(d->http, "POST", "/v1/chat/completions", body, on_chunk, &s, &d->err);
    if (s.show) fputc('\n', stderr);
    return status;
}
