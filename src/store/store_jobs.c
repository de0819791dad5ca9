/* store_jobs.c - fine-tuning jobs, their events and checkpoints; the contract is in store.h.
 * Order: jobs, events, checkpoints. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/records.h"

#define FIELD(type, member, kind)                                                                                      \
    { kind, offsetof(type, member) }

/* ---- jobs ---- */

#define JOB_COLUMNS                                                                                                    \
    "id, model, status, organization, suffix, training_file, validation_file, fine_tuned_model, hyperparameters, "     \
    "method,"                                                                                                          \
    " integrations, metadata, error, result_files, progress, seed, trained_tokens, estimated_finish, created_at,"      \
    " started_at, finished_at, resume"
static const store_field job_fields[] = {
    FIELD(hone_rec_job, id, STORE_TEXT),
    FIELD(hone_rec_job, model, STORE_TEXT),
    FIELD(hone_rec_job, status, STORE_TEXT),
    FIELD(hone_rec_job, organization, STORE_TEXT),
    FIELD(hone_rec_job, suffix, STORE_TEXT),
    FIELD(hone_rec_job, training_file, STORE_TEXT),
    FIELD(hone_rec_job, validation_file, STORE_TEXT),
    FIELD(hone_rec_job, fine_tuned_model, STORE_TEXT),
    FIELD(hone_rec_job, hyperparameters, STORE_TEXT),
    FIELD(hone_rec_job, method, STORE_TEXT),
    FIELD(hone_rec_job, integrations, STORE_TEXT),
    FIELD(hone_rec_job, metadata, STORE_TEXT),
    FIELD(hone_rec_job, error, STORE_TEXT),
    FIELD(hone_rec_job, result_files, STORE_TEXT),
    FIELD(hone_rec_job, progress, STORE_TEXT),
    FIELD(hone_rec_job, seed, STORE_INT),
    FIELD(hone_rec_job, trained_tokens, STORE_INT),
    FIELD(hone_rec_job, estimated_finish, STORE_INT),
    FIELD(hone_rec_job, created_at, STORE_INT),
    FIELD(hone_rec_job, started_at, STORE_INT),
    FIELD(hone_rec_job, finished_at, STORE_INT),
    FIELD(hone_rec_job, resume, STORE_INT),
};
#define JOB_FIELDS (sizeof(job_fields) / sizeof(job_fields[0]))
static const store_table job_table = {
    .fields = job_fields,
    .n = JOB_FIELDS,
    .bytes = sizeof(hone_rec_job),
    .add = "INSERT INTO job (" JOB_COLUMNS
           ", seq) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,"
           " $16, $17, $18, $19, $20, $21, $22, (SELECT COALESCE(MAX(seq), 0) + 1 FROM job))",
    .get = "SELECT " JOB_COLUMNS " FROM job WHERE id = $1",
    .list = STORE_LIST(JOB_COLUMNS, "job", "1 = 1"),
    .cursor = "SELECT seq FROM job WHERE id = $1",
};

hone_status hone_store_job_add(hone_store *store, const hone_rec_job *rec, hone_error *err) {
    hone_rec_job copy = *rec;
    if (!copy.created_at) copy.created_at = hone_clock_unix();
    return store_add(store, &job_table, &copy, err);
}

hone_status hone_store_job_get(hone_store *store, const char *id, hone_rec_job *out, hone_error *err) {
    return store_get(store, &job_table, "job", id, out, err);
}

hone_status hone_store_job_list(hone_store *store, hone_page page, hone_list_job *out, hone_error *err) {
    void *rows;
    const hone_status status = store_list(store, &job_table, page, NULL, &rows, &out->n, &out->has_more, err);
    out->rows = rows;
    return status;
}

/* The parameters are those of the record ($1 the id, $19 created_at, which stays), $23 the expected status. */
static hone_status write_job(hone_store *store, const hone_rec_job *rec, const char *expected, int64_t *changed,
                             hone_error *err) {
    static const char sql[] =
        "UPDATE job SET model = $2, status = $3, organization = $4, suffix = $5, training_file = $6, validation_file = "
        "$7,"
        " fine_tuned_model = $8, hyperparameters = $9, method = $10, integrations = $11, metadata = $12, error = $13,"
        " result_files = $14, progress = $15, seed = $16, trained_tokens = $17, estimated_finish = $18,"
        " created_at = COALESCE(created_at, $19), started_at = $20, finished_at = $21, resume = $22"
        " WHERE id = $1 AND (CAST($23 AS TEXT) IS NULL OR status = $23)";
    hone_stmt *stmt;
    const hone_status status = hone_db_prepare(store->db, &stmt, sql, err);
    if (status != HONE_OK) return status;
    store_bind(stmt, &job_table, rec, 1);
    hone_stmt_bind_text(stmt, JOB_FIELDS + 1, expected);
    return hone_stmt_run(stmt, changed, err);
}

hone_status hone_store_job_update(hone_store *store, const hone_rec_job *rec, const char *expected, hone_error *err) {
    int64_t changed = 0;
    hone_rec_job now = {0};
    /* Progress within a status comes with every step, on the thread that streams tokens: it need not wait for the disk.
     */
    const bool is_progress = expected && strcmp(rec->status, expected) == 0;
    hone_status status = is_progress ? hone_db_begin_relaxed(store->db, err) : hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = write_job(store, rec, expected, &changed, err);
    if (status == HONE_OK && !changed) { /* not there, or in another status? */
        status = hone_store_job_get(store, rec->id, &now, err);
        if (status == HONE_OK)
            status = hone_fail(err, HONE_ERR_BUSY, "job %s is %s, not %s any more", rec->id, now.status,
                               expected ? expected : "");
        hone_rec_job_free(&now);
    }
    return hone_db_finish(store->db, status, err);
}

hone_status hone_store_job_claim(hone_store *store, hone_rec_job *out, hone_error *err) {
    hone_stmt *stmt = NULL;
    bool row = false;
    hone_rec_job job = {0};
    *out = (hone_rec_job){0};
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = hone_db_prepare(store->db, &stmt,
                             "SELECT " JOB_COLUMNS " FROM job WHERE status = 'queued' ORDER BY seq ASC LIMIT 1", err);
    if (status == HONE_OK) status = hone_stmt_step(stmt, &row, err);
    if (status == HONE_OK && !row) status = hone_fail(err, HONE_ERR_NOT_FOUND, "no job is queued");
    if (status == HONE_OK) status = store_read(stmt, &job_table, &job, err);
    hone_stmt_done(stmt);
    if (status == HONE_OK)
        status = store_run(store, NULL, err, "UPDATE job SET status = 'running' WHERE id = $1", job.id, NULL);
    if (status == HONE_OK) status = hone_store_job_get(store, job.id, out, err);
    hone_rec_job_free(&job);
    status = hone_db_finish(store->db, status, err);
    if (status != HONE_OK) hone_rec_job_free(out);
    return status;
}

void hone_rec_job_free(hone_rec_job *rec) {
    store_free(&job_table, rec);
}
void hone_list_job_free(hone_list_job *list) {
    store_free_list(&job_table, list->rows, list->n);
    *list = (hone_list_job){0};
}

/* ---- events ---- */

#define EVENT_COLUMNS "id, job_id, seq, level, message, type, data, created_at"
static const store_field event_fields[] = {
    FIELD(hone_rec_event, id, STORE_TEXT),      FIELD(hone_rec_event, job_id, STORE_TEXT),
    FIELD(hone_rec_event, seq, STORE_INT),      FIELD(hone_rec_event, level, STORE_TEXT),
    FIELD(hone_rec_event, message, STORE_TEXT), FIELD(hone_rec_event, type, STORE_TEXT),
    FIELD(hone_rec_event, data, STORE_TEXT),    FIELD(hone_rec_event, created_at, STORE_INT),
};
static const store_table event_table = {
    .fields = event_fields,
    .n = sizeof(event_fields) / sizeof(event_fields[0]),
    .bytes = sizeof(hone_rec_event),
    .add = "INSERT INTO job_event (" EVENT_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    .list = STORE_LIST(EVENT_COLUMNS, "job_event", "job_id = $3"),
    .cursor = "SELECT seq FROM job_event WHERE id = $1",
    .has_filter = true,
};

static hone_status next_seq(hone_store *store, const char *job_id, int64_t *seq, hone_error *err) {
    hone_stmt *stmt;
    bool row = false;
    hone_status status =
        hone_db_prepare(store->db, &stmt, "SELECT COALESCE(MAX(seq), 0) + 1 FROM job_event WHERE job_id = $1", err);
    if (status != HONE_OK) return status;
    hone_stmt_bind_text(stmt, 1, job_id);
    status = hone_stmt_step(stmt, &row, err);
    *seq = row ? hone_stmt_int(stmt, 0) : 0;
    hone_stmt_done(stmt);
    return status;
}

hone_status hone_store_event_add(hone_store *store, const hone_rec_event *rec, int64_t *seq, char id_out[HONE_ID_MAX],
                                 hone_error *err) {
    hone_rec_event copy = *rec;
    char id[HONE_ID_MAX];
    if (!copy.id) {
        hone_id_make("ftevent-", id);
        copy.id = id;
    }
    if (!copy.created_at) copy.created_at = hone_clock_unix();
    hone_status status = hone_db_begin_relaxed(store->db, err);
    if (status != HONE_OK) return status;
    status = next_seq(store, copy.job_id, &copy.seq, err);
    if (status == HONE_OK) status = store_add(store, &event_table, &copy, err);
    status = hone_db_finish(store->db, status, err);
    if (status != HONE_OK) return status;
    if (seq) *seq = copy.seq;
    if (id_out) snprintf(id_out, HONE_ID_MAX, "%s", copy.id);
    return HONE_OK;
}

hone_status hone_store_event_list(hone_store *store, const char *job_id, hone_page page, hone_list_event *out,
                                  hone_error *err) {
    void *rows;
    const hone_status status = store_list(store, &event_table, page, job_id, &rows, &out->n, &out->has_more, err);
    out->rows = rows;
    return status;
}

hone_status hone_store_event_follow(hone_store *store, const char *job_id, int64_t after_seq, uint32_t limit,
                                    hone_list_event *out, hone_error *err) {
    hone_stmt *stmt;
    void *rows = NULL;
    *out = (hone_list_event){0};
    hone_status status = hone_db_prepare(store->db, &stmt, event_table.list[HONE_ORDER_ASC], err);
    if (status != HONE_OK) return status;
    hone_stmt_bind_int(stmt, 1, after_seq);
    hone_stmt_bind_int(stmt, 2, limit ? (int64_t)limit + 1 : INT64_MAX);
    hone_stmt_bind_text(stmt, 3, job_id);
    status = store_collect(stmt, &event_table, limit, &rows, &out->n, &out->has_more, err);
    out->rows = rows;
    return status;
}

void hone_rec_event_free(hone_rec_event *rec) {
    store_free(&event_table, rec);
}
void hone_list_event_free(hone_list_event *list) {
    store_free_list(&event_table, list->rows, list->n);
    *list = (hone_list_event){0};
}

/* ---- checkpoints ---- */

#define CHECKPOINT_COLUMNS "id, job_id, version, step_number, metrics, config_digest, weights_digest, created_at"
static const store_field checkpoint_fields[] = {
    FIELD(hone_rec_checkpoint, id, STORE_TEXT),
    FIELD(hone_rec_checkpoint, job_id, STORE_TEXT),
    FIELD(hone_rec_checkpoint, version, STORE_TEXT),
    FIELD(hone_rec_checkpoint, step_number, STORE_INT),
    FIELD(hone_rec_checkpoint, metrics, STORE_TEXT),
    FIELD(hone_rec_checkpoint, config_digest, STORE_TEXT),
    FIELD(hone_rec_checkpoint, weights_digest, STORE_TEXT),
    FIELD(hone_rec_checkpoint, created_at, STORE_INT),
};
static const store_table checkpoint_table = {
    .fields = checkpoint_fields,
    .n = sizeof(checkpoint_fields) / sizeof(checkpoint_fields[0]),
    .bytes = sizeof(hone_rec_checkpoint),
    .add = "INSERT INTO job_checkpoint (" CHECKPOINT_COLUMNS ", seq) VALUES ($1, $2, $3, $4, $5, $6, $7, $8,"
           " (SELECT COALESCE(MAX(seq), 0) + 1 FROM job_checkpoint))",
    .get = "SELECT " CHECKPOINT_COLUMNS " FROM job_checkpoint WHERE version = $1",
    .list = STORE_LIST(CHECKPOINT_COLUMNS, "job_checkpoint", "job_id = $3"),
    .cursor = "SELECT seq FROM job_checkpoint WHERE id = $1",
    .has_filter = true,
};

hone_status hone_store_checkpoint_add(hone_store *store, const hone_rec_checkpoint *rec, hone_error *err) {
    hone_rec_checkpoint copy = *rec;
    if (!copy.created_at) copy.created_at = hone_clock_unix();
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = store_need_artifact(store, rec->config_digest, err);
    if (status == HONE_OK) status = store_need_artifact(store, rec->weights_digest, err);
    if (status == HONE_OK) status = store_add(store, &checkpoint_table, &copy, err);
    return hone_db_finish(store->db, status, err);
}

hone_status hone_store_checkpoint_list(hone_store *store, const char *job_id, hone_page page, hone_list_checkpoint *out,
                                       hone_error *err) {
    void *rows;
    const hone_status status = store_list(store, &checkpoint_table, page, job_id, &rows, &out->n, &out->has_more, err);
    out->rows = rows;
    return status;
}

hone_status hone_store_checkpoint_find(hone_store *store, const char *version, hone_rec_checkpoint *out,
                                       hone_error *err) {
    return store_get(store, &checkpoint_table, "checkpoint", version, out, err);
}

void hone_rec_checkpoint_free(hone_rec_checkpoint *rec) {
    store_free(&checkpoint_table, rec);
}
void hone_list_checkpoint_free(hone_list_checkpoint *list) {
    store_free_list(&checkpoint_table, list->rows, list->n);
    *list = (hone_list_checkpoint){0};
}
