/* fine_tuning.c - /v1/fine_tuning/jobs: create, list, get, cancel, events (listed, or as they happen), checkpoints.
 * Order: objects, create, get and list and cancel, events, checkpoints. */
#include <stdio.h>
#include <string.h>

#include "api/private.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"

/* ---- Objects ---- */

/* JSON text of a column as a value; otherwise when there is none. */
static json_t *column(const char *text, json_t *otherwise) {
    json_t *v = text ? hone_json_parse(text, strlen(text), NULL) : NULL;
    if (!v) return otherwise;
    json_decref(otherwise);
    return v;
}

static json_t *time_or_null(int64_t t) {
    return t ? json_integer(t) : json_null();
}
static json_t *text_or_null(const char *text) {
    return text ? json_string(text) : json_null();
}

static json_t *job_object(const hone_rec_job *j) {
    json_t *hyper = column(j->hyperparameters, json_object());
    json_t *method = column(j->method, json_object());
    /* The settings of a running job are numbers in both places. */
    if (!json_object_get(method, "type")) json_object_set_new(method, "type", json_string("supervised"));
    json_object_set_new(method, "supervised", json_pack("{s:O}", "hyperparameters", hyper));
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o}", "object",
                  "fine_tuning.job", "id", j->id, "model", j->model, "created_at", (json_int_t)j->created_at,
                  "finished_at", time_or_null(j->finished_at), "fine_tuned_model", text_or_null(j->fine_tuned_model),
                  "error", column(j->error, json_null()), "estimated_finish", time_or_null(j->estimated_finish),
                  "status", j->status, "organization_id", j->organization ? j->organization : "org", "result_files",
                  column(j->result_files, json_array()), "training_file", j->training_file, "validation_file",
                  text_or_null(j->validation_file), "hyperparameters", hyper, "user_provided_suffix",
                  text_or_null(j->suffix), "method", method);
    if (!o) return NULL;
    json_object_set_new(o, "trained_tokens", j->trained_tokens >= 0 ? json_integer(j->trained_tokens) : json_null());
    json_object_set_new(o, "seed", json_integer(j->seed));
    json_object_set_new(o, "integrations", column(j->integrations, json_array()));
    json_object_set_new(o, "metadata", column(j->metadata, json_null()));
    return o;
}

static json_t *event_object(const hone_rec_event *e) {
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:o}", "object", "fine_tuning.job.event", "id", e->id,
                     "created_at", (json_int_t)e->created_at, "level", e->level, "message", e->message, "type", e->type,
                     "data", column(e->data, json_object()));
}

static void reply_list(hone_request *req, json_t *data, bool has_more, const char *first, const char *last, bool ids) {
    json_t *body = json_pack("{s:s, s:o, s:b}", "object", "list", "data", data, "has_more", (int)has_more);
    if (ids) {
        json_object_set_new(body, "first_id", text_or_null(first));
        json_object_set_new(body, "last_id", text_or_null(last));
    }
    hone_reply_json(req, 200, body);
    json_decref(body);
}

static void not_found(hone_request *req, const char *id) {
    api_error(req, 404, "invalid_request_error", "fine_tuning_job_id", "fine_tune_not_found",
              "Could not find fine tune: %.200s", id);
}

static void reply_job(hone_api *api, hone_request *req, const char *id) {
    hone_rec_job job;
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_status status = hone_store_job_get(api->cfg.store, id, &job, &err);
    if (status == HONE_ERR_NOT_FOUND) {
        not_found(req, id);
    } else if (status != HONE_OK) {
        api_fail(req, &err, NULL);
    } else {
        json_t *body = job_object(&job);
        hone_reply_json(req, 200, body);
        json_decref(body);
        hone_rec_job_free(&job);
    }
}

/* ---- Create ---- */

static const api_field fields[] = {
    {"model", API_STRING, 1, 512},
    {"training_file", API_STRING, 1, 512},
    {"validation_file", API_STRING, 0, 512},
    {"hyperparameters", API_OBJECT, 0, 0},
    {"suffix", API_STRING, 1, 64},
    {"seed", API_INT, 0, 2147483647},
    {"method", API_OBJECT, 0, 0},
    {"metadata", API_OBJECT, 0, 0},
    {"integrations", API_ARRAY, 0, 0},
};

static const api_field hyper_fields[] = {
    {"n_epochs", API_NUMBER_OR_AUTO, 1, 50},
    {"batch_size", API_NUMBER_OR_AUTO, 1, 256},
    {"learning_rate_multiplier", API_NUMBER_OR_AUTO, 1e-6, 1000},
};

static bool whole(hone_request *req, const json_t *h, const char *prefix, const char *name) {
    const json_t *v = api_value(h, name);
    if (!v || !json_is_real(v)) return true;
    char path[100];
    snprintf(path, sizeof(path), "%s%s", prefix, name);
    api_invalid(req, path, "invalid_type",
                "Invalid type for '%s': expected an integer or \"auto\", but got a decimal instead.", path);
    return false;
}

/* hyperparameters, or those inside method, in the store's form: each a number or "auto".  NULL after a reply. */
static json_t *read_hyper(hone_request *req, const json_t *body) {
    static const api_field method_fields[] = {{"type", API_STRING, 0, 0},
                                              {"supervised", API_OBJECT, 0, 0},
                                              {"dpo", API_REFUSED, 0, 0},
                                              {"reinforcement", API_REFUSED, 0, 0}};
    static const api_field inner_fields[] = {{"hyperparameters", API_OBJECT, 0, 0}};
    const json_t *h = api_value(body, "hyperparameters"), *method = api_value(body, "method");
    const char *prefix = "hyperparameters.";
    if (method) {
        if (!api_check(req, method, "method.", method_fields, 4)) return NULL;
        const char *type = api_text(method, "type", "supervised");
        if (strcmp(type, "supervised") != 0) {
            api_invalid(req, "method.type", "invalid_value",
                        "Invalid value: '%.60s'. Supported values are: 'supervised'.", type);
            return NULL;
        }
        const json_t *inner = api_value(method, "supervised");
        if (inner && !api_check(req, inner, "method.supervised.", inner_fields, 1)) return NULL;
        const json_t *inner_h = inner ? api_value(inner, "hyperparameters") : NULL;
        if (inner_h && h) {
            api_invalid(req, "hyperparameters", "invalid_value",
                        "'hyperparameters' is given twice: at the top and in 'method'. Give one.");
            return NULL;
        }
        if (inner_h) {
            h = inner_h;
            prefix = "method.supervised.hyperparameters.";
        }
    }
    if (h && (!api_check(req, h, prefix, hyper_fields, 3) || !whole(req, h, prefix, "n_epochs") ||
              !whole(req, h, prefix, "batch_size")))
        return NULL;
    json_t *out = json_object();
    for (size_t i = 0; i < 3; i++) {
        const json_t *v = h ? api_value(h, hyper_fields[i].name) : NULL;
        json_object_set_new(out, hyper_fields[i].name, v ? json_copy((json_t *)(uintptr_t)v) : json_string("auto"));
    }
    return out;
}

static bool check_suffix(hone_request *req, const char *suffix) {
    if (!suffix ||
        strspn(suffix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(suffix))
        return true;
    api_invalid(req, "suffix", "invalid_value",
                "Invalid 'suffix': only letters, digits, '.', '_' and '-' are allowed.");
    return false;
}

/* The file is here and may be trained on. */
static bool check_file(hone_api *api, hone_request *req, const char *param, const char *id) {
    if (!id) return true;
    hone_rec_file f;
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_status status = hone_store_file_get(api->cfg.store, id, &f, &err);
    if (status == HONE_ERR_NOT_FOUND) {
        api_invalid(req, param, "file_not_found", "invalid %s: %.200s", param, id);
        return false;
    }
    if (status != HONE_OK) {
        api_fail(req, &err, param);
        return false;
    }
    const bool good = strcmp(f.purpose, "fine-tune") == 0;
    if (!good)
        api_invalid(req, param, "invalid_file_purpose",
                    "The file %.100s has the purpose '%.40s'; training takes 'fine-tune'.", id, f.purpose);
    hone_rec_file_free(&f);
    return good;
}

static bool check_model(hone_api *api, hone_request *req, const char *model) {
    hone_resolved r;
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_status status = hone_registry_resolve(api->cfg.store, model, false, &r, &err);
    if (status == HONE_ERR_NOT_FOUND) {
        api_invalid(req, "model", "model_not_found", "%s", err.message);
        return false;
    }
    if (status != HONE_OK) {
        api_fail(req, &err, "model");
        return false;
    }
    const bool base = r.config_path == NULL;
    if (!base)
        api_invalid(req, "model", "model_not_trainable", "'%.200s' is fine-tuned already; train on its base '%.200s'.",
                    model, r.base);
    hone_resolved_free(&r);
    return base;
}

static char *text_of(const json_t *v) {
    hone_buf text = {0};
    if (!v || !hone_json_write(v, &text)) return NULL;
    return hone_buf_take(&text, NULL);
}

void api_jobs_create(void *arg, hone_request *req) {
    hone_api *api = arg;
    json_t *body = api_body(req, fields, sizeof(fields) / sizeof(fields[0]));
    if (!body) return;
    json_t *hyper = NULL;
    char *hyper_text = NULL, *metadata = NULL;
    const char *suffix = api_text(body, "suffix", NULL);
    const char *training = api_text(body, "training_file", NULL), *validation = api_text(body, "validation_file", NULL);
    if (!api_need(req, body, "model") || !api_need(req, body, "training_file") || !check_suffix(req, suffix) ||
        !api_metadata(req, body))
        goto done;
    if (json_array_size(api_value(body, "integrations"))) {
        api_invalid(req, "integrations", "unsupported_parameter",
                    "Unsupported parameter: this server has no integrations; events and metrics are in the job.");
        goto done;
    }
    if (!(hyper = read_hyper(req, body)) || !check_model(api, req, api_text(body, "model", "")) ||
        !check_file(api, req, "training_file", training) || !check_file(api, req, "validation_file", validation))
        goto done;
    hyper_text = text_of(hyper);
    metadata = text_of(api_value(body, "metadata"));
    char id[HONE_ID_MAX];
    hone_id_make("ftjob-", id);
    uint32_t w[4];
    hone_random_block((uint64_t)hone_clock_ns(), 3, 4, (uint64_t)hone_clock_unix(), w);
    const hone_rec_job job = {.id = id,
                              .model = api_text(body, "model", ""),
                              .status = "validating_files",
                              .organization = api->organization,
                              .suffix = suffix,
                              .training_file = training,
                              .validation_file = validation,
                              .hyperparameters = hyper_text,
                              .metadata = metadata,
                              .seed = api_int(body, "seed", w[0] >> 1),
                              .trained_tokens = -1,
                              .created_at = hone_clock_unix()};
    hone_error err = {.position = HONE_NO_POSITION};
    hone_status status = hone_store_job_add(api->cfg.store, &job, &err);
    char message[200];
    snprintf(message, sizeof(message), "Created fine-tuning job: %s", id);
    hone_rec_event event = {.job_id = id, .level = "info", .type = "message", .message = message};
    if (status == HONE_OK) status = hone_store_event_add(api->cfg.store, &event, NULL, NULL, &err);
    snprintf(message, sizeof(message), "Validating training file: %.100s", training);
    if (status == HONE_OK) status = hone_store_event_add(api->cfg.store, &event, NULL, NULL, &err);
    if (status != HONE_OK) {
        api_fail(req, &err, NULL);
        goto done;
    }
    hone_jobs_wake(api->cfg.jobs);
    reply_job(api, req, id);
done:
    hone_free(hyper_text);
    hone_free(metadata);
    json_decref(hyper);
    json_decref(body);
}

/* ---- Get, list, cancel ---- */

void api_jobs_get(void *arg, hone_request *req) {
    reply_job(arg, req, hone_request_param(req, "id"));
}

void api_jobs_list(void *arg, hone_request *req) {
    hone_api *api = arg;
    hone_page page;
    hone_list_job list;
    hone_error err = {.position = HONE_NO_POSITION};
    if (!api_page(req, 20, 100, &page)) return;
    const hone_status status = hone_store_job_list(api->cfg.store, page, &list, &err);
    if (status != HONE_OK) {
        api_fail(req, &err, "after");
        return;
    }
    json_t *data = json_array();
    for (size_t i = 0; i < list.n; i++) json_array_append_new(data, job_object(&list.rows[i]));
    reply_list(req, data, list.has_more, NULL, NULL, false);
    hone_list_job_free(&list);
}

void api_jobs_cancel(void *arg, hone_request *req) {
    hone_api *api = arg;
    const char *id = hone_request_param(req, "id");
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_status status = hone_jobs_cancel(api->cfg.jobs, id, &err);
    if (status == HONE_OK)
        reply_job(api, req, id);
    else if (status == HONE_ERR_NOT_FOUND)
        not_found(req, id);
    else
        api_fail(req, &err, "fine_tuning_job_id");
}

/* ---- Events ---- */

/* A stream of events: what is there, then what comes, until the job has ended. */
typedef struct {
    hone_api *api;
    hone_request *req;
    hone_follower *follower;
    char id[HONE_ID_MAX];
    int64_t seq; /* of the last event sent */
} tail;

static void free_tail(tail *t) {
    hone_jobs_unfollow(t->follower);
    hone_free(t);
}

static void on_tail_gone(void *arg, hone_request *req) {
    (void)req;
    free_tail(arg);
}

static bool ended(const char *status) {
    return strcmp(status, "succeeded") == 0 || strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0;
}

static void on_tail(void *arg) {
    tail *t = arg;
    hone_rec_job job;
    /* The status is read before the events: what is written last is an event, so none can be missed. */
    bool over = hone_store_job_get(t->api->cfg.store, t->id, &job, NULL) != HONE_OK;
    if (!over) {
        over = ended(job.status);
        hone_rec_job_free(&job);
    }
    for (;;) {
        hone_list_event list;
        if (hone_store_event_follow(t->api->cfg.store, t->id, t->seq, 100, &list, NULL) != HONE_OK) break;
        for (size_t i = 0; i < list.n; i++) {
            json_t *o = event_object(&list.rows[i]);
            hone_buf text = {0};
            if (o) hone_json_write(o, &text);
            hone_sse_event(t->req, NULL, hone_buf_str(&text), text.n);
            hone_buf_free(&text);
            json_decref(o);
            t->seq = list.rows[i].seq;
        }
        const size_t n = list.n;
        hone_list_event_free(&list);
        if (n < 100) break;
    }
    if (!over) return;
    hone_sse_event(t->req, NULL, "[DONE]", 6);
    hone_stream_end(t->req);
    free_tail(t);
}

static void stream_events(hone_api *api, hone_request *req, const char *id) {
    tail *t = hone_zalloc(1, sizeof(*t));
    if (t) {
        t->api = api;
        t->req = req;
        snprintf(t->id, sizeof(t->id), "%s", id);
        t->follower = hone_jobs_follow(api->cfg.jobs, id, on_tail, t);
    }
    if (!t || !t->follower) {
        hone_free(t);
        api_error(req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        return;
    }
    hone_request_on_close(req, on_tail_gone, t);
    hone_sse_begin(req);
    on_tail(t);
}

void api_jobs_events(void *arg, hone_request *req) {
    hone_api *api = arg;
    const char *id = hone_request_param(req, "id"), *stream = hone_request_query(req, "stream");
    hone_page page;
    hone_rec_job job;
    hone_list_event list;
    hone_error err = {.position = HONE_NO_POSITION};
    if (!api_page(req, 20, 1000, &page)) return;
    if (hone_store_job_get(api->cfg.store, id, &job, &err) != HONE_OK) {
        if (err.code == HONE_ERR_NOT_FOUND)
            not_found(req, id);
        else
            api_fail(req, &err, NULL);
        return;
    }
    hone_rec_job_free(&job);
    if (stream && strcmp(stream, "true") == 0) {
        stream_events(api, req, id);
        return;
    }
    if (hone_store_event_list(api->cfg.store, id, page, &list, &err) != HONE_OK) {
        api_fail(req, &err, "after");
        return;
    }
    json_t *data = json_array();
    for (size_t i = 0; i < list.n; i++) json_array_append_new(data, event_object(&list.rows[i]));
    reply_list(req, data, list.has_more, NULL, NULL, false);
    hone_list_event_free(&list);
}

/* ---- Checkpoints ---- */

void api_jobs_checkpoints(void *arg, hone_request *req) {
    hone_api *api = arg;
    const char *id = hone_request_param(req, "id");
    hone_page page;
    hone_rec_job job;
    hone_list_checkpoint list;
    hone_error err = {.position = HONE_NO_POSITION};
    if (!api_page(req, 10, 100, &page)) return;
    if (hone_store_job_get(api->cfg.store, id, &job, &err) != HONE_OK) {
        if (err.code == HONE_ERR_NOT_FOUND)
            not_found(req, id);
        else
            api_fail(req, &err, NULL);
        return;
    }
    hone_rec_job_free(&job);
    if (hone_store_checkpoint_list(api->cfg.store, id, page, &list, &err) != HONE_OK) {
        api_fail(req, &err, "after");
        return;
    }
    json_t *data = json_array();
    for (size_t i = 0; i < list.n; i++) {
        const hone_rec_checkpoint *k = &list.rows[i];
        json_array_append_new(data, json_pack("{s:s, s:s, s:I, s:s, s:I, s:s, s:o}", "object",
                                              "fine_tuning.job.checkpoint", "id", k->id, "created_at",
                                              (json_int_t)k->created_at, "fine_tuned_model_checkpoint", k->version,
                                              "step_number", (json_int_t)k->step_number, "fine_tuning_job_id", id,
                                              "metrics", column(k->metrics, json_object())));
    }
    reply_list(req, data, list.has_more, list.n ? list.rows[0].id : NULL, list.n ? list.rows[list.n - 1].id : NULL,
               true);
    hone_list_checkpoint_free(&list);
}
