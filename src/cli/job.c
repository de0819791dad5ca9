/* job.c - hone job: fine-tuning jobs of this state folder.
 * Lists and shows from the store; cancelling goes through the controller where one runs, since it owns the trainer.
 * Order: list, show, cancel, the verb. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/http.h"
#include "cli/store.h"
#include "cli/verbs.h"

static json_t *parsed(const char *text) {
    return text ? hone_json_parse(text, strlen(text), NULL) : NULL;
}

static json_t *job_json(const hone_rec_job *j) {
    return json_pack("{s:s, s:s, s:s, s:s?, s:s, s:s?, s:s?, s:o?, s:o?, s:o?, s:I, s:I, s:I, s:I}", "id", j->id,
                     "model", j->model, "status", j->status, "suffix", j->suffix, "training_file", j->training_file,
                     "validation_file", j->validation_file, "fine_tuned_model", j->fine_tuned_model, "hyperparameters",
                     parsed(j->hyperparameters), "progress", parsed(j->progress), "error", parsed(j->error),
                     "created_at", (json_int_t)j->created_at, "started_at", (json_int_t)j->started_at, "finished_at",
                     (json_int_t)j->finished_at, "trained_tokens", (json_int_t)j->trained_tokens);
}

/* List -------------------------------------------------------------------------------------------------------------*/

static int job_list(const cli_args *args, hone_store *store) {
    enum { COLUMNS = 5 };
    hone_list_job list = {0};
    hone_error err = {0};
    if (hone_store_job_list(store, (hone_page){0}, &list, &err) != HONE_OK) return cli_fail(args, &err);
    int rc = CLI_OK;
    if (args->json) {
        json_t *all = json_array();
        for (size_t i = 0; i < list.n; i++) json_array_append_new(all, job_json(&list.rows[i]));
        rc = cli_print_json(args, json_pack("{s:o}", "jobs", all));
    } else if (list.n == 0) {
        cli_say(args, "no jobs");
    } else {
        const char **cell = hone_zalloc((list.n + 1) * COLUMNS, sizeof(*cell));
        char(*date)[CLI_TEXT] = hone_zalloc(list.n, sizeof(*date));
        static const char *const head[COLUMNS] = {"id", "status", "since", "base", "model"};
        if (!cell || !date) {
            rc = cli_fail_text(args, "no memory");
        } else {
            memcpy(cell, head, sizeof(head));
            for (size_t i = 0; i < list.n; i++) {
                const char **c = cell + (i + 1) * COLUMNS;
                c[0] = list.rows[i].id;
                c[1] = list.rows[i].status;
                c[2] = cli_date(list.rows[i].created_at, date[i]);
                c[3] = list.rows[i].model;
                c[4] = list.rows[i].fine_tuned_model;
            }
            cli_table(cell, (uint32_t)list.n + 1, COLUMNS, NULL);
        }
        hone_free(cell);
        hone_free(date);
    }
    hone_list_job_free(&list);
    return rc;
}

/* Show -------------------------------------------------------------------------------------------------------------*/

static void line(const char *what, const char *value) {
    if (value && *value) printf("%-12s %s\n", what, value);
}

static int job_show(const cli_args *args, hone_store *store) {
    hone_rec_job job = {0};
    hone_list_event events = {0};
    hone_error err = {0};
    if (hone_store_job_get(store, args->word[1], &job, &err) != HONE_OK)
        return err.code == HONE_ERR_NOT_FOUND ? cli_fail_text(args, "there is no job %s", args->word[1])
                                              : cli_fail(args, &err);
    int rc = CLI_OK;
    if (args->json) {
        rc = cli_print_json(args, job_json(&job));
    } else {
        char date[CLI_TEXT];
        line("job", job.id);
        line("status", job.status);
        line("base", job.model);
        line("model", job.fine_tuned_model);
        line("since", cli_date(job.created_at, date));
        line("finished", cli_date(job.finished_at, date));
        line("settings", job.hyperparameters);
        line("error", job.error);
        const hone_page last = {.limit = 10, .order = HONE_ORDER_DESC};
        if (hone_store_event_list(store, job.id, last, &events, NULL) == HONE_OK)
            for (size_t i = events.n; i-- > 0;)
                printf("  %s  %s\n", cli_date(events.rows[i].created_at, date), events.rows[i].message);
        hone_list_event_free(&events);
    }
    hone_rec_job_free(&job);
    return rc;
}

/* Cancel -----------------------------------------------------------------------------------------------------------*/

static hone_status cancel_by_server(const char *url, const char *id, hone_error *err) {
    cli_http *http;
    json_t *reply = NULL;
    hone_buf path = {0};
    hone_buf_format(&path, "/v1/fine_tuning/jobs/%s/cancel", id);
    hone_status status = cli_http_open(&http, url, getenv("HONE_API_KEY"), err);
    if (status == HONE_OK) status = cli_http_json(http, "POST", hone_buf_str(&path), NULL, &reply, err);
    json_decref(reply);
    cli_http_close(http);
    hone_buf_free(&path);
    return status;
}

/* Nobody works on it: the row is all there is. */
static hone_status cancel_in_store(hone_store *store, const char *id, hone_error *err) {
    hone_rec_job job = {0};
    hone_status status = hone_store_job_get(store, id, &job, err);
    if (status != HONE_OK) return status;
    if (job.finished_at) {
        status = hone_fail(err, HONE_ERR_ARG, "job %s has ended already: %s", id, job.status);
    } else {
        hone_rec_job changed = job; /* texts stay job's */
        changed.status = "cancelled";
        changed.finished_at = hone_clock_unix();
        status = hone_store_job_update(store, &changed, job.status, err);
    }
    hone_rec_job_free(&job);
    return status;
}

static int job_cancel(const cli_args *args, hone_store *store) {
    const char *id = args->word[1];
    hone_error err = {0};
    /* The id becomes part of a path. */
    if (strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") != strlen(id))
        return cli_usage(args, "'%s' is no id of a job", id);
    char *url = cli_server_url_read(store);
    const hone_status status = url ? cancel_by_server(url, id, &err) : cancel_in_store(store, id, &err);
    hone_free(url);
    if (status != HONE_OK) return cli_fail(args, &err);
    if (args->json) return cli_print_json(args, json_pack("{s:s}", "cancelled", id));
    cli_say(args, "cancelled %s", id);
    return CLI_OK;
}

static int run_job(const cli_args *args) {
    hone_store *store;
    const char *what = args->word[0];
    if (what[0] != 'l' && args->n_word < 2) return cli_usage(args, "which one? `hone job list` shows their ids");
    int rc = cli_store_open(&store, args);
    if (rc != CLI_OK) return rc;
    switch (what[0]) {
    case 'l': rc = job_list(args, store); break;
    case 's': rc = job_show(args, store); break;
    default: rc = job_cancel(args, store); break;
    }
    hone_store_close(store);
    return rc;
}

static const char *const words[] = {"list", "show", "cancel", NULL};

const cli_verb cli_verb_job = {
    .name = "job",
    .usage = "job list\njob show ID\njob cancel ID",
    .about = "fine-tuning jobs of the server",
    .example = "hone job list\nhone job show ftjob-AbCdEfGhIjKlMnOpQrStUvWx",
    .more = "Cancelling asks the running server; where it wants a key, HONE_API_KEY holds it.",
    .words = words,
    .min_words = 1,
    .max_words = 2,
    .run = run_job,
};
