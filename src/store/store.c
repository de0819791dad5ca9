/* store.c - the schema, opening and repair; models, aliases, versions; the contract is in store.h.
 * Order: ids, the schema, opening, repair, models, aliases, versions.  Files and keys: store_files.c; jobs:
 * store_jobs.c. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "store/records.h"

void hone_id_make(const char *prefix, char out[HONE_ID_MAX]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const int n = snprintf(out, HONE_ID_MAX - 24, "%s", prefix);
    char *at = out + (n < HONE_ID_MAX - 25 ? n : HONE_ID_MAX - 25);
    unsigned char raw[40];
    size_t used = sizeof(raw);
    for (int i = 0; i < 24;) {
        if (used == sizeof(raw)) {
            hone_random_id_bytes(raw, sizeof(raw));
            used = 0;
        }
        const unsigned n_letters = sizeof(letters) - 1, byte = raw[used++];
        if (byte >= 256 / n_letters * n_letters) continue; /* the rest would favour the first letters */
        *at++ = letters[byte % n_letters];
        i++;
    }
    *at = 0;
}

/* ---- the schema ----
 *
 * seq orders the rows of a table as they were added: a page's cursor stays right when rows share a second.  deleted_at
 * 0 is "not deleted", expires_at 0 "never".  A published step is never changed; the next one is added behind it. */
static const hone_db_migration migrations[] = {
    {"models, files, jobs, keys",
     "CREATE TABLE model (name TEXT PRIMARY KEY, source TEXT, origin TEXT, licence TEXT, format TEXT, digest TEXT, "
     "path TEXT,"
     " bytes BIGINT NOT NULL, info TEXT, created_at BIGINT NOT NULL, seq BIGINT NOT NULL);"
     "CREATE TABLE alias (name TEXT PRIMARY KEY, target TEXT NOT NULL, created_at BIGINT NOT NULL, seq BIGINT NOT "
     "NULL);"
     "CREATE TABLE version (id TEXT PRIMARY KEY, base TEXT NOT NULL, base_digest TEXT, job_id TEXT, config_digest TEXT,"
     " weights_digest TEXT, bytes BIGINT NOT NULL, created_at BIGINT NOT NULL, deleted_at BIGINT NOT NULL, seq BIGINT "
     "NOT NULL);"
     "CREATE TABLE file (id TEXT PRIMARY KEY, filename TEXT NOT NULL, purpose TEXT NOT NULL, status TEXT NOT NULL,"
     " status_details TEXT, digest TEXT NOT NULL, bytes BIGINT NOT NULL, created_at BIGINT NOT NULL,"
     " expires_at BIGINT NOT NULL, seq BIGINT NOT NULL);"
     "CREATE UNIQUE INDEX file_seq ON file (seq);"
     "CREATE INDEX file_digest ON file (digest);"
     "CREATE TABLE job (id TEXT PRIMARY KEY, model TEXT NOT NULL, status TEXT NOT NULL, organization TEXT, suffix TEXT,"
     " training_file TEXT NOT NULL, validation_file TEXT, fine_tuned_model TEXT, hyperparameters TEXT, method TEXT,"
     " integrations TEXT, metadata TEXT, error TEXT, result_files TEXT, progress TEXT, seed BIGINT NOT NULL,"
     " trained_tokens BIGINT NOT NULL, estimated_finish BIGINT NOT NULL, created_at BIGINT NOT NULL,"
     " started_at BIGINT NOT NULL, finished_at BIGINT NOT NULL, resume BIGINT NOT NULL, seq BIGINT NOT NULL);"
     "CREATE UNIQUE INDEX job_seq ON job (seq);"
     "CREATE INDEX job_status ON job (status, seq);"
     "CREATE TABLE job_event (id TEXT PRIMARY KEY, job_id TEXT NOT NULL REFERENCES job (id), seq BIGINT NOT NULL,"
     " level TEXT NOT NULL, message TEXT NOT NULL, type TEXT NOT NULL, data TEXT, created_at BIGINT NOT NULL);"
     "CREATE UNIQUE INDEX job_event_seq ON job_event (job_id, seq);"
     "CREATE TABLE job_checkpoint (id TEXT PRIMARY KEY, job_id TEXT NOT NULL REFERENCES job (id), version TEXT NOT "
     "NULL UNIQUE,"
     " step_number BIGINT NOT NULL, metrics TEXT, config_digest TEXT, weights_digest TEXT, created_at BIGINT NOT NULL,"
     " seq BIGINT NOT NULL);"
     "CREATE INDEX job_checkpoint_seq ON job_checkpoint (job_id, seq);"
     "CREATE TABLE api_key (id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, prefix TEXT NOT NULL,"
     " created_at BIGINT NOT NULL, last_used_at BIGINT NOT NULL, seq BIGINT NOT NULL)"},
};

/* ---- opening ---- */

static hone_status open_parts(hone_store *store, const hone_home *home, hone_error *err) {
    if (sodium_init() < 0) return hone_fail(err, HONE_ERR_INTERNAL, "store: libsodium cannot start");
    hone_status status = hone_artifacts_open(&store->artifacts, hone_home_artifacts(home), err);
    if (status == HONE_OK) status = hone_db_open(&store->db, hone_home_db(home), err);
    if (status == HONE_OK)
        status = hone_db_migrate(store->db, migrations, sizeof(migrations) / sizeof(migrations[0]), err);
    return status;
}

/* ---- repair: what the last controller left when it was killed ---- */

static hone_status requeue(hone_store *store, hone_error *err) {
    hone_list_job jobs;
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = hone_store_job_list(store, (hone_page){.order = HONE_ORDER_ASC}, &jobs, err);
    for (size_t i = 0; i < jobs.n && status == HONE_OK; i++) {
        hone_rec_job job = jobs.rows[i];
        if (strcmp(job.status, "running") != 0) continue;
        job.status = "queued";
        job.resume = 1;
        const hone_rec_event event = {.job_id = job.id,
                                      .level = "warn",
                                      .type = "message",
                                      .message =
                                          "The server stopped while the job ran; it goes on from its last checkpoint"};
        status = hone_store_job_update(store, &job, "running", err);
        if (status == HONE_OK) status = hone_store_event_add(store, &event, NULL, NULL, err);
        if (status == HONE_OK) hone_log(HONE_LOG_INFO, "store", "job %s was running and is queued again", job.id);
    }
    hone_list_job_free(&jobs);
    return hone_db_finish(store->db, status, err);
}

/* An artifact is written before its row: one without a row may be on its way, unless it is old. */
#define COLLECT_AGE_S (24 * 3600)

static hone_status repair(hone_store *store, hone_error *err) {
    uint32_t n_swept = 0, n_expired = 0, n_collected = 0;
    hone_status status = hone_db_check(store->db, err);
    if (status == HONE_OK) status = hone_artifacts_sweep(store->artifacts, &n_swept, err);
    if (status == HONE_OK) status = requeue(store, err);
    if (status == HONE_OK) status = hone_store_file_expire(store, &n_expired, err);
    if (status == HONE_OK) status = store_collect_artifacts(store, COLLECT_AGE_S, &n_collected, err);
    if (n_swept || n_expired || n_collected)
        hone_log(HONE_LOG_INFO, "store", "removed %u unfinished, %u expired and %u forgotten files", n_swept, n_expired,
                 n_collected);
    return status;
}

hone_status hone_store_open(hone_store **out, const char *path, hone_home_role role, hone_error *err) {
    *out = NULL;
    hone_store *store = hone_zalloc(1, sizeof(*store));
    if (!store) return hone_fail(err, HONE_ERR_NOMEM, "store: no memory");
    hone_status status = hone_home_open(&store->home, path, role, err);
    if (status == HONE_OK) status = open_parts(store, store->home, err);
    if (status == HONE_OK && role == HONE_HOME_CONTROLLER) status = repair(store, err);
    if (status != HONE_OK) {
        hone_store_close(store);
        return status;
    }
    *out = store;
    return HONE_OK;
}

hone_status hone_store_open_beside(hone_store **out, const hone_store *first, hone_error *err) {
    *out = NULL;
    hone_store *store = hone_zalloc(1, sizeof(*store));
    if (!store) return hone_fail(err, HONE_ERR_NOMEM, "store: no memory");
    store->first = first->first ? first->first : first;
    const hone_status status = open_parts(store, store->first->home, err);
    if (status != HONE_OK) {
        hone_store_close(store);
        return status;
    }
    *out = store;
    return HONE_OK;
}

void hone_store_close(hone_store *store) {
    if (!store) return;
    hone_db_close(store->db);
    hone_artifacts_close(store->artifacts);
    hone_home_close(store->home);
    hone_free(store);
}

hone_home *hone_store_home(hone_store *store) {
    return store->first ? store->first->home : store->home;
}
hone_db *hone_store_db(hone_store *store) {
    return store->db;
}
hone_artifacts *hone_store_artifacts(hone_store *store) {
    return store->artifacts;
}

/* ---- models ---- */

#define MODEL_COLUMNS "name, source, origin, licence, format, digest, path, bytes, info, created_at"
#define FIELD(type, member, kind)                                                                                      \
    { kind, offsetof(type, member) }
static const store_field model_fields[] = {
    FIELD(hone_rec_model, name, STORE_TEXT),   FIELD(hone_rec_model, source, STORE_TEXT),
    FIELD(hone_rec_model, origin, STORE_TEXT), FIELD(hone_rec_model, licence, STORE_TEXT),
    FIELD(hone_rec_model, format, STORE_TEXT), FIELD(hone_rec_model, digest, STORE_TEXT),
    FIELD(hone_rec_model, path, STORE_TEXT),   FIELD(hone_rec_model, bytes, STORE_INT),
    FIELD(hone_rec_model, info, STORE_TEXT),   FIELD(hone_rec_model, created_at, STORE_INT),
};
static const store_table model_table = {
    .fields = model_fields,
    .n = sizeof(model_fields) / sizeof(model_fields[0]),
    .bytes = sizeof(hone_rec_model),
    .add = "INSERT INTO model (" MODEL_COLUMNS ", seq) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,"
           " (SELECT COALESCE(MAX(seq), 0) + 1 FROM model)) ON CONFLICT (name) DO UPDATE SET source = excluded.source,"
           " origin = excluded.origin, licence = excluded.licence, format = excluded.format, digest = excluded.digest,"
           " path = excluded.path, bytes = excluded.bytes, info = excluded.info, created_at = excluded.created_at",
    .get = "SELECT " MODEL_COLUMNS " FROM model WHERE name = $1",
    .list = STORE_LIST(MODEL_COLUMNS, "model", "1 = 1"),
    .cursor = "SELECT seq FROM model WHERE name = $1",
};

/* The artifacts that a model's row alone held: its own, and those that info lists. */
static void drop_model_artifacts(hone_store *store, const hone_rec_model *rec) {
    store_drop_artifact(store, rec->digest);
    for (const char *at = rec->info; at && *at;) {
        const size_t n = strspn(at, "0123456789abcdef");
        if (n == HONE_DIGEST_TEXT - 1) {
            char digest[HONE_DIGEST_TEXT];
            snprintf(digest, sizeof(digest), "%.*s", (int)n, at);
            store_drop_artifact(store, digest);
        }
        at += n ? n : 1;
    }
}

hone_status hone_store_model_put(hone_store *store, const hone_rec_model *rec, hone_error *err) {
    hone_rec_model copy = *rec, old = {0};
    if (!copy.created_at) copy.created_at = hone_clock_unix();
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = hone_store_model_get(store, rec->name, &old, err);
    if (status == HONE_ERR_NOT_FOUND) status = HONE_OK;
    if (status == HONE_OK) status = store_add(store, &model_table, &copy, err);
    status = hone_db_finish(store->db, status, err);
    if (status == HONE_OK) drop_model_artifacts(store, &old);
    hone_rec_model_free(&old);
    return status;
}

hone_status hone_store_model_get(hone_store *store, const char *name, hone_rec_model *out, hone_error *err) {
    return store_get(store, &model_table, "model", name, out, err);
}

hone_status hone_store_model_list(hone_store *store, hone_page page, hone_list_model *out, hone_error *err) {
    void *rows;
    const hone_status status = store_list(store, &model_table, page, NULL, &rows, &out->n, &out->has_more, err);
    out->rows = rows;
    return status;
}

hone_status hone_store_model_delete(hone_store *store, const char *name, hone_error *err) {
    hone_rec_model old = {0};
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = hone_store_model_get(store, name, &old, err);
    if (status == HONE_OK) status = store_run(store, NULL, err, "DELETE FROM model WHERE name = $1", name, NULL);
    status = hone_db_finish(store->db, status, err);
    if (status == HONE_OK) drop_model_artifacts(store, &old);
    hone_rec_model_free(&old);
    return status;
}

void hone_rec_model_free(hone_rec_model *rec) {
    store_free(&model_table, rec);
}
void hone_list_model_free(hone_list_model *list) {
    store_free_list(&model_table, list->rows, list->n);
    *list = (hone_list_model){0};
}

/* ---- aliases ---- */

#define ALIAS_COLUMNS "name, target, created_at"
static const store_field alias_fields[] = {
    FIELD(hone_rec_alias, name, STORE_TEXT),
    FIELD(hone_rec_alias, target, STORE_TEXT),
    FIELD(hone_rec_alias, created_at, STORE_INT),
};
static const store_table alias_table = {
    .fields = alias_fields,
    .n = sizeof(alias_fields) / sizeof(alias_fields[0]),
    .bytes = sizeof(hone_rec_alias),
    .add =
        "INSERT INTO alias (" ALIAS_COLUMNS ", seq) VALUES ($1, $2, $3, (SELECT COALESCE(MAX(seq), 0) + 1 FROM alias))"
        " ON CONFLICT (name) DO UPDATE SET target = excluded.target, created_at = excluded.created_at",
    .get = "SELECT " ALIAS_COLUMNS " FROM alias WHERE name = $1",
    .list = STORE_LIST(ALIAS_COLUMNS, "alias", "1 = 1"),
    .cursor = "SELECT seq FROM alias WHERE name = $1",
};

hone_status hone_store_alias_put(hone_store *store, const hone_rec_alias *rec, hone_error *err) {
    hone_rec_alias copy = *rec;
    if (!copy.created_at) copy.created_at = hone_clock_unix();
    return store_add(store, &alias_table, &copy, err);
}

hone_status hone_store_alias_get(hone_store *store, const char *name, hone_rec_alias *out, hone_error *err) {
    return store_get(store, &alias_table, "alias", name, out, err);
}

hone_status hone_store_alias_list(hone_store *store, hone_page page, hone_list_alias *out, hone_error *err) {
    void *rows;
    const hone_status status = store_list(store, &alias_table, page, NULL, &rows, &out->n, &out->has_more, err);
    out->rows = rows;
    return status;
}

hone_status hone_store_alias_delete(hone_store *store, const char *name, hone_error *err) {
    int64_t changed = 0;
    const hone_status status = store_run(store, &changed, err, "DELETE FROM alias WHERE name = $1", name, NULL);
    return status == HONE_OK && !changed ? hone_fail(err, HONE_ERR_NOT_FOUND, "no such alias: '%s'", name) : status;
}

void hone_rec_alias_free(hone_rec_alias *rec) {
    store_free(&alias_table, rec);
}
void hone_list_alias_free(hone_list_alias *list) {
    store_free_list(&alias_table, list->rows, list->n);
    *list = (hone_list_alias){0};
}

/* ---- versions ---- */

#define VERSION_COLUMNS "id, base, base_digest, job_id, config_digest, weights_digest, bytes, created_at, deleted_at"
static const store_field version_fields[] = {
    FIELD(hone_rec_version, id, STORE_TEXT),
    FIELD(hone_rec_version, base, STORE_TEXT),
    FIELD(hone_rec_version, base_digest, STORE_TEXT),
    FIELD(hone_rec_version, job_id, STORE_TEXT),
    FIELD(hone_rec_version, config_digest, STORE_TEXT),
    FIELD(hone_rec_version, weights_digest, STORE_TEXT),
    FIELD(hone_rec_version, bytes, STORE_INT),
    FIELD(hone_rec_version, created_at, STORE_INT),
    FIELD(hone_rec_version, deleted_at, STORE_INT),
};
static const store_table version_table = {
    .fields = version_fields,
    .n = sizeof(version_fields) / sizeof(version_fields[0]),
    .bytes = sizeof(hone_rec_version),
    .add = "INSERT INTO version (" VERSION_COLUMNS ", seq) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,"
           " (SELECT COALESCE(MAX(seq), 0) + 1 FROM version))",
    .get = "SELECT " VERSION_COLUMNS " FROM version WHERE id = $1 AND deleted_at = 0",
    .list = STORE_LIST(VERSION_COLUMNS, "version", "deleted_at = 0"),
    .cursor = "SELECT seq FROM version WHERE id = $1",
};

hone_status hone_store_version_add(hone_store *store, const hone_rec_version *rec, hone_error *err) {
    hone_rec_version copy = *rec;
    if (!copy.created_at) copy.created_at = hone_clock_unix();
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = store_need_artifact(store, rec->config_digest, err);
    if (status == HONE_OK) status = store_need_artifact(store, rec->weights_digest, err);
    if (status == HONE_OK) status = store_add(store, &version_table, &copy, err);
    return hone_db_finish(store->db, status, err);
}

hone_status hone_store_version_get(hone_store *store, const char *id, hone_rec_version *out, hone_error *err) {
    return store_get(store, &version_table, "fine-tuned model", id, out, err);
}

hone_status hone_store_version_list(hone_store *store, hone_page page, hone_list_version *out, hone_error *err) {
    void *rows;
    const hone_status status = store_list(store, &version_table, page, NULL, &rows, &out->n, &out->has_more, err);
    out->rows = rows;
    return status;
}

hone_status hone_store_version_delete(hone_store *store, const char *id, hone_error *err) {
    hone_rec_version old = {0};
    hone_stmt *stmt = NULL;
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = hone_store_version_get(store, id, &old, err);
    if (status == HONE_OK)
        status = hone_db_prepare(store->db, &stmt, "UPDATE version SET deleted_at = $2 WHERE id = $1", err);
    if (status == HONE_OK) {
        hone_stmt_bind_text(stmt, 1, id);
        hone_stmt_bind_int(stmt, 2, hone_clock_unix());
        status = hone_stmt_run(stmt, NULL, err);
    }
    if (status == HONE_OK) status = store_run(store, NULL, err, "DELETE FROM alias WHERE target = $1", id, NULL);
    status = hone_db_finish(store->db, status, err);
    if (status == HONE_OK) {
        store_drop_artifact(store, old.config_digest);
        store_drop_artifact(store, old.weights_digest);
    }
    hone_rec_version_free(&old);
    return status;
}

void hone_rec_version_free(hone_rec_version *rec) {
    store_free(&version_table, rec);
}
void hone_list_version_free(hone_list_version *list) {
    store_free_list(&version_table, list->rows, list->n);
    *list = (hone_list_version){0};
}
