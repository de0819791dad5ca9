/* jobs.c - the queue of fine-tuning jobs and their processes; the contract is in jobs.h.
 * Order: followers and events, the check, the training (lines, publishing, death), the queue, open and close. */
#include "lab/jobs.h"

#include <event2/event.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "lab/registry.h"
#include "net/child.h"

struct hone_follower {
    hone_follower *prev, *next;
    hone_jobs *jobs;
    char id[HONE_ID_MAX];
    void (*fn)(void *arg);
    void *arg;
};

/* A child and the job it works on. */
typedef struct {
    hone_jobs *jobs;
    hone_child *child; /* NULL: idle */
    char id[HONE_ID_MAX];
    char folder[4096]; /* the job's own, under home/job/ */
    bool said_done;
    char problem[1024]; /* JSON object {code, message, param} of its "failed" line */
    uint64_t last_step; /* seen by this process */
    uint64_t trained_tokens;
} runner;

struct hone_jobs {
    hone_jobs_config cfg;
    char *program, *organization;
    runner check, train;
    hone_follower *followers;
    struct event *tick;
    hone_jobs_figures figures;
    char retried_id[HONE_ID_MAX]; /* the job whose trainer died last, how often without a new step */
    uint32_t n_retried;
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* ---- Followers and events ---- */

hone_follower *hone_jobs_follow(hone_jobs *jobs, const char *id, void (*fn)(void *arg), void *arg) {
    hone_follower *f = hone_zalloc(1, sizeof(*f));
    if (!f) return NULL;
    *f = (hone_follower){.next = jobs->followers, .jobs = jobs, .fn = fn, .arg = arg};
    snprintf(f->id, sizeof(f->id), "%s", id);
    if (f->next) f->next->prev = f;
    jobs->followers = f;
    return f;
}

void hone_jobs_unfollow(hone_follower *f) {
    if (!f) return;
    if (f->prev)
        f->prev->next = f->next;
    else
        f->jobs->followers = f->next;
    if (f->next) f->next->prev = f->prev;
    hone_free(f);
}

static void tell(hone_jobs *jobs, const char *id) {
    for (hone_follower *f = jobs->followers; f;) {
        hone_follower *next = f->next; /* fn may unfollow itself */
        if (strcmp(f->id, id) == 0) f->fn(f->arg);
        f = next;
    }
}

static void add_event(hone_jobs *jobs, const char *id, const char *level, const char *type, json_t *data,
                      const char *format, ...) __attribute__((format(printf, 6, 7)));

/* Takes data (may be NULL). */
static void add_event(hone_jobs *jobs, const char *id, const char *level, const char *type, json_t *data,
                      const char *format, ...) {
    char message[700];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    hone_buf text = {0};
    if (data) hone_json_write(data, &text);
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_rec_event e = {
        .job_id = id, .level = level, .message = message, .type = type, .data = data ? hone_buf_str(&text) : NULL};
    if (hone_store_event_add(jobs->cfg.store, &e, NULL, NULL, &err) != HONE_OK)
        hone_log(HONE_LOG_ERROR, "jobs", "%s: an event was not kept: %s", id, err.message);
    hone_buf_free(&text);
    json_decref(data);
    tell(jobs, id);
}

/* Change one job's record from status `from`; change(rec, arg) edits it.  False when it has another status by now. */
static bool change_job(hone_jobs *jobs, const char *id, const char *from, void (*change)(hone_rec_job *rec, void *arg),
                       void *arg) {
    hone_rec_job rec;
    hone_error err = {.position = HONE_NO_POSITION};
    hone_status status = hone_store_job_get(jobs->cfg.store, id, &rec, &err);
    if (status == HONE_OK) {
        hone_rec_job edited = rec; /* borrowed texts; rec keeps what it owns */
        change(&edited, arg);
        status = hone_store_job_update(jobs->cfg.store, &edited, from, &err);
        hone_rec_job_free(&rec);
    }
    if (status != HONE_OK && status != HONE_ERR_BUSY) hone_log(HONE_LOG_ERROR, "jobs", "%s: %s", id, err.message);
    return status == HONE_OK; /* followers hear of it with the event that follows, the last one included */
}

static void set_queued(hone_rec_job *rec, void *arg) {
    (void)arg;
    rec->status = "queued";
}
static void set_queued_again(hone_rec_job *rec, void *arg) {
    (void)arg;
    rec->status = "queued";
    rec->resume = 1;
}
static void set_failed(hone_rec_job *rec, void *arg) {
    rec->status = "failed";
    rec->error = arg;
    rec->finished_at = hone_clock_unix();
    rec->estimated_finish = 0;
}
static void set_cancelled(hone_rec_job *rec, void *arg) {
    (void)arg;
    rec->status = "cancelled";
    rec->finished_at = hone_clock_unix();
    rec->estimated_finish = 0;
}

static void fail_job(hone_jobs *jobs, const char *id, const char *from, const char *problem) {
    if (!change_job(jobs, id, from, set_failed, (void *)(uintptr_t)problem)) return;
    json_t *p = hone_json_parse(problem, strlen(problem), NULL);
    const char *message = json_string_value(json_object_get(p, "message"));
    add_event(jobs, id, "error", "message", NULL, "The job failed: %s", message ? message : problem);
    json_decref(p);
    jobs->figures.failed++;
}

static void make_problem(char *out, size_t n, const char *code, const char *message) {
    json_t *p = json_pack("{s:s, s:s, s:n}", "code", code, "message", message, "param");
    hone_buf text = {0};
    if (!p || !hone_json_write(p, &text) || text.n >= n)
        snprintf(out, n, "{\"code\":\"%s\",\"message\":\"see the server's log\",\"param\":null}", code);
    else
        memcpy(out, text.data, text.n + 1);
    hone_buf_free(&text);
    json_decref(p);
}

/* ---- Children ---- */

static void on_line(void *arg, const char *line, size_t n);
static void on_check_exit(void *arg, int status);
static void on_train_exit(void *arg, int status);

static bool start(runner *r, const char *verb, const char *id) {
    hone_jobs *jobs = r->jobs;
    const char *home = hone_home_path(hone_store_home(jobs->cfg.store));
    *r = (runner){.jobs = jobs};
    snprintf(r->id, sizeof(r->id), "%s", id);
    snprintf(r->folder, sizeof(r->folder), "%s/job/%s", home, id);
    const char *argv[] = {jobs->program, "work", verb, home, id, jobs->cfg.precision_f32 ? "f32" : "serving", NULL};
    /* SIGTERM when the controller dies: the trainer writes a checkpoint and ends instead of running on unseen. */
    const hone_child_options o = {.argv = argv,
                                  .pass_fd = -1,
                                  .death_signal = SIGTERM,
                                  .nice = 10,
                                  .on_line = on_line,
                                  .on_exit = r == &jobs->check ? on_check_exit : on_train_exit,
                                  .arg = r};
    hone_error err = {.position = HONE_NO_POSITION};
    if (hone_child_start(&r->child, hone_loop_base(jobs->cfg.loop), &o, &err) == HONE_OK) return true;
    hone_log(HONE_LOG_ERROR, "jobs", "%s: %s", id, err.message);
    return false;
}

static void report_step(runner *r, const json_t *s);
static void report_epoch(runner *r, const json_t *e);

static void set_plan(hone_rec_job *rec, void *arg) {
    const json_t *plan = arg;
    json_t *h = json_pack("{s:O, s:O, s:O}", "n_epochs", json_object_get(plan, "epochs"), "batch_size",
                          json_object_get(plan, "batch_size"), "learning_rate_multiplier",
                          json_object_get(plan, "learning_rate_multiplier"));
    static hone_buf text; /* lives until the record is written; the loop's thread alone comes here */
    hone_buf_clear(&text);
    if (h && hone_json_write(h, &text)) rec->hyperparameters = hone_buf_str(&text);
    json_decref(h);
    if (!rec->started_at) rec->started_at = hone_clock_unix();
}

static void on_line(void *arg, const char *line, size_t n) {
    runner *r = arg;
    json_t *v = hone_json_parse(line, n, NULL);
    const json_t *part;
    if ((part = json_object_get(v, "failed"))) {
        hone_buf text = {0};
        hone_json_write(part, &text);
        snprintf(r->problem, sizeof(r->problem), "%s", hone_buf_str(&text));
        if (text.n >= sizeof(r->problem))
            make_problem(r->problem, sizeof(r->problem), "invalid_training_file",
                         "the faults do not fit here; see the events");
        hone_buf_free(&text);
    } else if ((part = json_object_get(v, "ok"))) {
        r->said_done = true;
        add_event(r->jobs, r->id, "info", "message", json_incref((json_t *)(uintptr_t)part),
                  "Files validated: %lld rows, %lld tokens, %lld of them trained",
                  (long long)json_integer_value(json_object_get(part, "rows")),
                  (long long)json_integer_value(json_object_get(part, "tokens")),
                  (long long)json_integer_value(json_object_get(part, "trained_tokens")));
    } else if ((part = json_object_get(v, "warning"))) {
        add_event(r->jobs, r->id, "warn", "message", NULL, "%s",
                  json_string_value(part) ? json_string_value(part) : "");
    } else if ((part = json_object_get(v, "plan"))) {
        change_job(r->jobs, r->id, "running", set_plan, (void *)(uintptr_t)part);
        add_event(r->jobs, r->id, "info", "message", json_incref((json_t *)(uintptr_t)part),
                  "Training: %lld steps from step %lld, at most %.2f GB of memory",
                  (long long)json_integer_value(json_object_get(part, "steps")),
                  (long long)json_integer_value(json_object_get(part, "first_step")),
                  json_number_value(json_object_get(part, "memory_bytes")) / 1e9);
    } else if ((part = json_object_get(v, "step"))) {
        report_step(r, part);
    } else if ((part = json_object_get(v, "epoch"))) {
        report_epoch(r, part);
    } else if ((part = json_object_get(v, "done"))) {
        r->said_done = true;
        r->trained_tokens = (uint64_t)json_integer_value(json_object_get(part, "trained_tokens"));
    }
    json_decref(v);
}

/* ---- The check ---- */

static void on_check_exit(void *arg, int status) {
    runner *r = arg;
    hone_jobs *jobs = r->jobs;
    r->child = NULL;
    if (r->said_done && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        if (change_job(jobs, r->id, "validating_files", set_queued, NULL))
            add_event(jobs, r->id, "info", "message", NULL, "Files validated, moving job to queued state");
    } else if (!jobs->stopping) {
        if (!r->problem[0]) {
            char text[80], message[160];
            hone_child_status_text(status, text, sizeof(text));
            snprintf(message, sizeof(message), "the check of the files ended with %s", text);
            make_problem(r->problem, sizeof(r->problem), "internal_error", message);
        }
        fail_job(jobs, r->id, "validating_files", r->problem);
    }
    event_active(jobs->tick, 0, 0);
}

/* ---- The training ---- */

static void set_progress(hone_rec_job *rec, void *arg) {
    const json_t *s = arg;
    static hone_buf text; /* as in set_plan */
    hone_buf_clear(&text);
    if (hone_json_write(s, &text)) rec->progress = hone_buf_str(&text);
    rec->estimated_finish = hone_clock_unix() + (int64_t)json_number_value(json_object_get(s, "seconds_left"));
}

static void report_step(runner *r, const json_t *s) {
    const json_int_t step = json_integer_value(json_object_get(s, "step"));
    r->last_step = (uint64_t)step;
    r->jobs->figures.trained_tokens += (uint64_t)json_integer_value(json_object_get(s, "trained_tokens"));
    if (!change_job(r->jobs, r->id, "running", set_progress, (void *)(uintptr_t)s)) return; /* cancelled meanwhile */
    const double loss = json_number_value(json_object_get(s, "loss"));
    json_t *data = json_copy((json_t *)(uintptr_t)s);
    /* OpenAI's names beside ours */
    json_object_set_new(data, "train_loss", json_real(loss));
    json_object_set_new(data, "train_mean_token_accuracy",
                        json_real(json_number_value(json_object_get(s, "accuracy"))));
    json_object_set_new(data, "total_steps", json_integer(json_integer_value(json_object_get(s, "steps"))));
    add_event(r->jobs, r->id, "info", "metrics", data, "Step %lld/%lld: training loss=%.2f", (long long)step,
              (long long)json_integer_value(json_object_get(s, "steps")), loss);
}

/* Both files of an adapter's folder become artifacts. */
static hone_status keep_adapter(hone_jobs *jobs, const char *folder, char config[HONE_DIGEST_TEXT],
                                char weights[HONE_DIGEST_TEXT], uint64_t *bytes, hone_error *err) {
    char *path = hone_path_join(folder, "adapter_config.json");
    hone_artifacts *store = hone_store_artifacts(jobs->cfg.store);
    hone_status status = path ? hone_artifact_add_path(store, path, config, NULL, err)
                              : hone_fail(err, HONE_ERR_NOMEM, "no memory for a path");
    hone_free(path);
    if (status != HONE_OK) return status;
    path = hone_path_join(folder, "adapter_model.safetensors");
    status = path ? hone_artifact_add_path(store, path, weights, bytes, err)
                  : hone_fail(err, HONE_ERR_NOMEM, "no memory for a path");
    hone_free(path);
    return status;
}

/* "ft:BASE:ORG:SUFFIX:ID"; ID follows from the job's own, so that publishing twice after a crash names one version. */
static void version_name(const hone_jobs *jobs, const hone_rec_job *job, char *out, size_t n) {
    const char *dash = strchr(job->id, '-');
    snprintf(out, n, "ft:%s:%s:%s:%.8s", job->model, jobs->organization, job->suffix ? job->suffix : "",
             dash ? dash + 1 : job->id);
}

static void report_epoch(runner *r, const json_t *e) {
    hone_jobs *jobs = r->jobs;
    hone_error err = {.position = HONE_NO_POSITION};
    hone_rec_job job;
    const char *folder = json_string_value(json_object_get(e, "folder"));
    if (!folder || hone_store_job_get(jobs->cfg.store, r->id, &job, &err) != HONE_OK) return;
    const json_int_t step = json_integer_value(json_object_get(e, "step"));
    char config[HONE_DIGEST_TEXT], weights[HONE_DIGEST_TEXT], name[1100], version[1024];
    version_name(jobs, &job, version, sizeof(version));
    snprintf(name, sizeof(name), "%s:ckpt-step-%lld", version, (long long)step);
    hone_rec_checkpoint known;
    if (hone_store_checkpoint_find(jobs->cfg.store, name, &known, NULL) == HONE_OK) { /* told again after a resume */
        hone_rec_checkpoint_free(&known);
        hone_rec_job_free(&job);
        return;
    }
    char id[HONE_ID_MAX];
    hone_id_make("ftckpt-", id);
    hone_buf metrics = {0};
    json_t *m = json_object_get(e, "metrics");
    if (m) hone_json_write(m, &metrics);
    hone_status status = keep_adapter(jobs, folder, config, weights, NULL, &err);
    const hone_rec_checkpoint rec = {.id = id,
                                     .job_id = r->id,
                                     .version = name,
                                     .step_number = step,
                                     .metrics = m ? hone_buf_str(&metrics) : "{}",
                                     .config_digest = config,
                                     .weights_digest = weights,
                                     .created_at = hone_clock_unix()};
    if (status == HONE_OK) status = hone_store_checkpoint_add(jobs->cfg.store, &rec, &err);
    if (status == HONE_OK)
        add_event(jobs, r->id, "info", "message", json_incref(m), "Checkpoint created at step %lld: %s",
                  (long long)step, name);
    else
        add_event(jobs, r->id, "warn", "message", NULL, "The checkpoint at step %lld was not kept: %s", (long long)step,
                  err.message);
    hone_buf_free(&metrics);
    hone_rec_job_free(&job);
}

/* OpenAI's result file: a row a step. */
static hone_status make_results(hone_jobs *jobs, const char *id, char file_id[HONE_ID_MAX], hone_error *err) {
    hone_list_event list = {0};
    hone_buf csv = {0};
    hone_status status = hone_store_event_list(jobs->cfg.store, id, (hone_page){.order = HONE_ORDER_ASC}, &list, err);
    if (status != HONE_OK) return status;
    hone_buf_text(&csv, "step,train_loss,train_accuracy,learning_rate,grad_norm,trained_tokens\n");
    json_int_t last = 0;
    for (size_t i = 0; i < list.n; i++) {
        if (!list.rows[i].data || strcmp(list.rows[i].type, "metrics") != 0) continue;
        json_t *d = hone_json_parse(list.rows[i].data, strlen(list.rows[i].data), NULL);
        const json_int_t step = json_integer_value(json_object_get(d, "step"));
        if (step > last) /* steps repeated after a resume are equal to what stands here */
            hone_buf_format(
                &csv, "%lld,%.6f,%.6f,%.9g,%.6f,%lld\n", (long long)step, json_number_value(json_object_get(d, "loss")),
                json_number_value(json_object_get(d, "accuracy")), json_number_value(json_object_get(d, "lr")),
                json_number_value(json_object_get(d, "grad_norm")),
                (long long)json_integer_value(json_object_get(d, "trained_tokens")));
        if (step > last) last = step;
        json_decref(d);
    }
    hone_list_event_free(&list);
    char digest[HONE_DIGEST_TEXT], name[HONE_ID_MAX + 16];
    hone_id_make("file-", file_id);
    snprintf(name, sizeof(name), "%s-results.csv", id);
    status = hone_artifact_add_bytes(hone_store_artifacts(jobs->cfg.store), hone_buf_str(&csv), csv.n, digest, err);
    const hone_rec_file f = {.id = file_id,
                             .filename = name,
                             .purpose = "fine-tune-results",
                             .status = "processed",
                             .digest = digest,
                             .bytes = (int64_t)csv.n,
                             .created_at = hone_clock_unix()};
    if (status == HONE_OK) status = hone_store_file_add(jobs->cfg.store, &f, err);
    hone_buf_free(&csv);
    return status;
}

typedef struct {
    const char *version, *results;
    uint64_t trained_tokens;
} success;

static void set_succeeded(hone_rec_job *rec, void *arg) {
    const success *s = arg;
    rec->status = "succeeded";
    rec->fine_tuned_model = s->version;
    rec->result_files = s->results;
    rec->trained_tokens = (int64_t)s->trained_tokens;
    rec->finished_at = hone_clock_unix();
    rec->estimated_finish = 0;
}

static void remove_now(void *arg) {
    /* The trainer's own files and one level of epoch folders; rm is on every Debian and knows how. */
    const pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", "--", (const char *)arg, (char *)NULL);
        _exit(127);
    }
    if (pid > 0) waitpid(pid, NULL, 0);
}

/* Beside the loop: checkpoints are large, and a busy disk takes its time with them.  Nothing waits for it. */
static void remove_folder(const hone_jobs *jobs, const char *folder) {
    hone_error err = {.position = HONE_NO_POSITION};
    char *path = hone_strdup(folder);
    if (path && hone_offload_run(jobs->cfg.offload, remove_now, hone_free, path, &err) == HONE_OK) return;
    hone_log(HONE_LOG_WARN, "jobs", "%s stays behind: no memory to remove it", folder);
    hone_free(path);
}

/* The adapter becomes a version that answers from this moment on; then the job says so. */
static hone_status publish(runner *r, hone_error *err) {
    hone_jobs *jobs = r->jobs;
    hone_rec_job job;
    hone_resolved base = {0};
    hone_status status = hone_store_job_get(jobs->cfg.store, r->id, &job, err);
    if (status != HONE_OK) return status;
    char config[HONE_DIGEST_TEXT], weights[HONE_DIGEST_TEXT], name[1024], file_id[HONE_ID_MAX],
        results[HONE_ID_MAX + 8];
    uint64_t bytes = 0;
    version_name(jobs, &job, name, sizeof(name));
    status = hone_registry_resolve(jobs->cfg.store, job.model, false, &base, err);
    if (status == HONE_OK) status = keep_adapter(jobs, r->folder, config, weights, &bytes, err);
    const hone_rec_version v = {.id = name,
                                .base = base.base,
                                .base_digest = base.base_digest[0] ? base.base_digest : NULL,
                                .job_id = r->id,
                                .config_digest = config,
                                .weights_digest = weights,
                                .bytes = (int64_t)bytes,
                                .created_at = hone_clock_unix()};
    if (status == HONE_OK) status = hone_store_version_add(jobs->cfg.store, &v, err);
    if (status == HONE_ERR_EXISTS) status = HONE_OK; /* a former controller got this far */
    if (status == HONE_OK) status = make_results(jobs, r->id, file_id, err);
    if (status == HONE_OK) {
        snprintf(results, sizeof(results), "[\"%s\"]", file_id);
        success s = {.version = name, .results = results, .trained_tokens = r->trained_tokens};
        add_event(jobs, r->id, "info", "message", NULL, "New fine-tuned model created: %s", name);
        if (change_job(jobs, r->id, "running", set_succeeded, &s)) {
            jobs->figures.succeeded++;
            add_event(jobs, r->id, "info", "message", NULL, "The job has successfully completed");
            remove_folder(jobs, r->folder);
        }
    }
    hone_resolved_free(&base);
    hone_rec_job_free(&job);
    return status;
}

static void on_train_exit(void *arg, int status) {
    runner *r = arg;
    hone_jobs *jobs = r->jobs;
    hone_error err = {.position = HONE_NO_POSITION};
    hone_rec_job job;
    r->child = NULL;
    char problem[1024];
    const bool known = hone_store_job_get(jobs->cfg.store, r->id, &job, &err) == HONE_OK;
    const bool running = known && strcmp(job.status, "running") == 0;
    if (known) hone_rec_job_free(&job);
    if (!running) {
        remove_folder(jobs, r->folder); /* cancelled */
    } else if (r->said_done) {
        if (publish(r, &err) != HONE_OK) {
            make_problem(problem, sizeof(problem), "publish_failed", err.message);
            fail_job(jobs, r->id, "running", problem);
        }
    } else if (r->problem[0]) {
        fail_job(jobs, r->id, "running", r->problem);
        remove_folder(jobs, r->folder);
    } else if (jobs->stopping) {
        /* It wrote a checkpoint; the record still says running, and the next start puts it back into the queue. */
    } else {
        char text[80];
        hone_child_status_text(status, text, sizeof(text));
        const bool same = strcmp(jobs->retried_id, r->id) == 0 && r->last_step == 0;
        jobs->n_retried = same ? jobs->n_retried + 1 : 1;
        snprintf(jobs->retried_id, sizeof(jobs->retried_id), "%s", r->id);
        if (jobs->n_retried >= jobs->cfg.max_tries) {
            char message[200];
            snprintf(message, sizeof(message),
                     "the trainer ended %u times without finishing a step; the last time with %s", jobs->n_retried,
                     text);
            make_problem(problem, sizeof(problem), "trainer_died", message);
            fail_job(jobs, r->id, "running", problem);
        } else {
            add_event(jobs, r->id, "warn", "message", NULL, "The trainer ended with %s; it goes on from its checkpoint",
                      text);
            change_job(jobs, r->id, "running", set_queued_again, NULL);
        }
    }
    event_active(jobs->tick, 0, 0);
}

/* ---- The queue ---- */

/* The oldest job that waits for its check, into id. */
static bool next_to_check(hone_jobs *jobs, char id[HONE_ID_MAX]) {
    hone_list_job list = {0};
    bool found = false;
    jobs->figures.queued = 0;
    if (hone_store_job_list(jobs->cfg.store, (hone_page){.order = HONE_ORDER_ASC}, &list, NULL) != HONE_OK)
        return false;
    for (size_t i = 0; i < list.n; i++) {
        jobs->figures.queued += strcmp(list.rows[i].status, "queued") == 0;
        if (found || strcmp(list.rows[i].status, "validating_files") != 0) continue;
        snprintf(id, HONE_ID_MAX, "%s", list.rows[i].id);
        found = true;
    }
    hone_list_job_free(&list);
    return found;
}

static void look(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    hone_jobs *jobs = arg;
    char id[HONE_ID_MAX];
    if (jobs->stopping) {
        if (!jobs->check.child && !jobs->train.child && jobs->stopped) {
            void (*done)(void *) = jobs->stopped;
            jobs->stopped = NULL;
            done(jobs->stopped_arg);
        }
        return;
    }
    if (!jobs->check.child && next_to_check(jobs, id)) start(&jobs->check, "check", id);
    if (!jobs->train.child) {
        hone_rec_job job;
        if (hone_store_job_claim(jobs->cfg.store, &job, NULL) == HONE_OK) {
            const bool again = job.resume != 0;
            snprintf(id, sizeof(id), "%s", job.id);
            hone_rec_job_free(&job);
            add_event(jobs, id, "info", "message", NULL, again ? "Fine-tuning job resumed" : "Fine-tuning job started");
            jobs->figures.started++;
            if (!start(&jobs->train, "train", id)) {
                char problem[200];
                make_problem(problem, sizeof(problem), "internal_error", "the trainer could not be started");
                fail_job(jobs, id, "running", problem);
            }
        }
    }
    jobs->figures.checking = jobs->check.child != NULL;
    jobs->figures.running = jobs->train.child != NULL;
}

void hone_jobs_wake(hone_jobs *jobs) {
    event_active(jobs->tick, 0, 0);
}

hone_status hone_jobs_cancel(hone_jobs *jobs, const char *id, hone_error *err) {
    hone_rec_job job;
    const hone_status status = hone_store_job_get(jobs->cfg.store, id, &job, err);
    if (status != HONE_OK) return status;
    char was[32];
    snprintf(was, sizeof(was), "%s", job.status);
    hone_rec_job_free(&job);
    if (strcmp(was, "succeeded") == 0 || strcmp(was, "failed") == 0 || strcmp(was, "cancelled") == 0)
        return hone_fail(err, HONE_ERR_ARG, "the job %s has %s already", id,
                         strcmp(was, "cancelled") == 0 ? "been cancelled" : was);
    if (!change_job(jobs, id, was, set_cancelled, NULL))
        return hone_fail(err, HONE_ERR_BUSY, "the job %s changed meanwhile: try again", id);
    jobs->figures.cancelled++;
    add_event(jobs, id, "info", "message", NULL, "The job was cancelled");
    if (jobs->check.child && strcmp(jobs->check.id, id) == 0) hone_child_signal(jobs->check.child, SIGKILL);
    if (jobs->train.child && strcmp(jobs->train.id, id) == 0) hone_child_signal(jobs->train.child, SIGKILL);
    return HONE_OK;
}

/* ---- Open and close ---- */

hone_status hone_jobs_open(hone_jobs **out, const hone_jobs_config *cfg, hone_error *err) {
    *out = NULL;
    hone_jobs *jobs = hone_zalloc(1, sizeof(*jobs));
    if (!jobs) return hone_fail(err, HONE_ERR_NOMEM, "no memory for the jobs");
    jobs->cfg = *cfg;
    if (!jobs->cfg.max_tries) jobs->cfg.max_tries = 3;
    jobs->check.jobs = jobs->train.jobs = jobs;
    jobs->program = hone_strdup(cfg->program);
    jobs->organization = hone_strdup(cfg->organization ? cfg->organization : "org");
    jobs->tick = event_new(hone_loop_base(cfg->loop), -1, 0, look, jobs);
    if (!jobs->program || !jobs->organization || !jobs->tick) {
        hone_jobs_close(jobs);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for the jobs");
    }
    hone_jobs_wake(jobs);
    *out = jobs;
    return HONE_OK;
}

void hone_jobs_stop(hone_jobs *jobs, void (*done)(void *arg), void *arg) {
    jobs->stopping = true;
    jobs->stopped = done;
    jobs->stopped_arg = arg;
    if (jobs->check.child) hone_child_signal(jobs->check.child, SIGKILL);
    if (jobs->train.child) hone_child_signal(jobs->train.child, SIGTERM);
    event_active(jobs->tick, 0, 0);
}

void hone_jobs_close(hone_jobs *jobs) {
    if (!jobs) return;
    hone_child_drop(jobs->check.child, true);
    hone_child_drop(jobs->train.child, true);
    while (jobs->followers) hone_jobs_unfollow(jobs->followers);
    if (jobs->tick) event_free(jobs->tick);
    hone_free(jobs->program);
    hone_free(jobs->organization);
    hone_free(jobs);
}

void hone_jobs_get_figures(hone_jobs *jobs, hone_jobs_figures *out) {
    *out = jobs->figures;
}
