/* records.c - structs to rows and back; the contract is in records.h.
 * Order: one record, whole operations, artifacts that rows name. */
#include "store/records.h"

#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

/* ---- one record ---- */

void store_bind(hone_stmt *stmt, const store_table *t, const void *rec, int first) {
    for (size_t i = 0; i < t->n; i++) {
        const void *at = (const char *)rec + t->fields[i].offset;
        if (t->fields[i].kind == STORE_TEXT)
            hone_stmt_bind_text(stmt, first + (int)i, *(const char *const *)at);
        else
            hone_stmt_bind_int(stmt, first + (int)i, *(const int64_t *)at);
    }
}

hone_status store_read(const hone_stmt *stmt, const store_table *t, void *rec, hone_error *err) {
    memset(rec, 0, t->bytes);
    for (size_t i = 0; i < t->n; i++) {
        void *at = (char *)rec + t->fields[i].offset;
        if (t->fields[i].kind == STORE_INT) {
            *(int64_t *)at = hone_stmt_int(stmt, (int)i);
            continue;
        }
        if (hone_stmt_is_null(stmt, (int)i)) continue;
        const char *text = hone_stmt_text(stmt, (int)i);
        const char *copy = text ? hone_strdup(text) : NULL;
        if (!copy) {
            store_free(t, rec);
            return hone_fail(err, HONE_ERR_NOMEM, "store: no memory for a record");
        }
        *(const char **)at = copy;
    }
    return HONE_OK;
}

void store_free(const store_table *t, void *rec) {
    for (size_t i = 0; i < t->n; i++)
        if (t->fields[i].kind == STORE_TEXT)
            hone_free((void *)(uintptr_t) * (const char **)((char *)rec + t->fields[i].offset));
    memset(rec, 0, t->bytes);
}

/* ---- whole operations ---- */

hone_status store_add(hone_store *store, const store_table *t, const void *rec, hone_error *err) {
    hone_stmt *stmt;
    const hone_status status = hone_db_prepare(store->db, &stmt, t->add, err);
    if (status != HONE_OK) return status;
    store_bind(stmt, t, rec, 1);
    return hone_stmt_run(stmt, NULL, err);
}

hone_status store_get(hone_store *store, const store_table *t, const char *what, const char *key, void *out,
                      hone_error *err) {
    hone_stmt *stmt;
    bool row = false;
    memset(out, 0, t->bytes);
    hone_status status = hone_db_prepare(store->db, &stmt, t->get, err);
    if (status != HONE_OK) return status;
    hone_stmt_bind_text(stmt, 1, key);
    if (t->has_now) hone_stmt_bind_int(stmt, 2, hone_clock_unix());
    status = hone_stmt_step(stmt, &row, err);
    if (status == HONE_OK && !row) status = hone_fail(err, HONE_ERR_NOT_FOUND, "no such %s: '%s'", what, key);
    if (status == HONE_OK) status = store_read(stmt, t, out, err);
    hone_stmt_done(stmt);
    return status;
}

void store_free_list(const store_table *t, void *rows, size_t n) {
    for (size_t i = 0; i < n; i++) store_free(t, (char *)rows + i * t->bytes);
    hone_free(rows);
}

hone_status store_collect(hone_stmt *stmt, const store_table *t, uint32_t limit, void **rows, size_t *n, bool *has_more,
                          hone_error *err) {
    char *all = NULL;
    size_t cap = 0, k = 0;
    bool row = false, more = false;
    hone_status status;
    while ((status = hone_stmt_step(stmt, &row, err)) == HONE_OK && row) {
        if (limit && k == limit) { /* one more was asked for, to know whether there is one */
            more = true;
            break;
        }
        if (!hone_grow(&all, &cap, k, t->bytes)) {
            status = hone_fail(err, HONE_ERR_NOMEM, "store: no memory for a list");
            break;
        }
        if ((status = store_read(stmt, t, all + k * t->bytes, err)) != HONE_OK) break;
        k++;
    }
    hone_stmt_done(stmt);
    if (status != HONE_OK) {
        store_free_list(t, all, k);
        return status;
    }
    *rows = all;
    *n = k;
    *has_more = more;
    return HONE_OK;
}

static hone_status find_cursor(hone_store *store, const store_table *t, const char *id, int64_t *seq, hone_error *err) {
    hone_stmt *stmt;
    bool row = false;
    hone_status status = hone_db_prepare(store->db, &stmt, t->cursor, err);
    if (status != HONE_OK) return status;
    hone_stmt_bind_text(stmt, 1, id);
    status = hone_stmt_step(stmt, &row, err);
    if (status == HONE_OK && !row) status = hone_fail(err, HONE_ERR_NOT_FOUND, "there is no '%s' to go on after", id);
    if (status == HONE_OK) *seq = hone_stmt_int(stmt, 0);
    hone_stmt_done(stmt);
    return status;
}

hone_status store_list(hone_store *store, const store_table *t, hone_page page, const char *filter, void **rows,
                       size_t *n, bool *has_more, hone_error *err) {
    *rows = NULL;
    *n = 0;
    *has_more = false;
    hone_stmt *stmt;
    int64_t seq = page.order == HONE_ORDER_ASC ? 0 : INT64_MAX;
    hone_status status = HONE_OK;
    if (page.after) status = find_cursor(store, t, page.after, &seq, err);
    if (status == HONE_OK) status = hone_db_prepare(store->db, &stmt, t->list[page.order == HONE_ORDER_ASC], err);
    if (status != HONE_OK) return status;
    hone_stmt_bind_int(stmt, 1, seq);
    hone_stmt_bind_int(stmt, 2, page.limit ? (int64_t)page.limit + 1 : INT64_MAX);
    if (t->has_filter) hone_stmt_bind_text(stmt, 3, filter);
    if (t->has_now) hone_stmt_bind_int(stmt, 4, hone_clock_unix());
    return store_collect(stmt, t, page.limit, rows, n, has_more, err);
}

hone_status store_run(hone_store *store, int64_t *changed, hone_error *err, const char *sql, ...) {
    hone_stmt *stmt;
    const hone_status status = hone_db_prepare(store->db, &stmt, sql, err);
    if (status != HONE_OK) return status;
    va_list args;
    va_start(args, sql);
    int n = 1;
    for (const char *text; (text = va_arg(args, const char *)); n++) hone_stmt_bind_text(stmt, n, text);
    va_end(args);
    return hone_stmt_run(stmt, changed, err);
}

/* ---- artifacts that rows name ---- */

hone_status store_need_artifact(hone_store *store, const char *digest, hone_error *err) {
    if (hone_artifact_exists(store->artifacts, digest)) return HONE_OK;
    return hone_fail(err, HONE_ERR_NOT_FOUND, "the artifact %s is not there", digest ? digest : "(none)");
}

/* The write lock is held from the look to the removal, and whoever adds a row looks for its artifact under the same
 * lock. */
static hone_status drop_if_unused(hone_store *store, const char *digest, bool *dropped, hone_error *err) {
    static const char sql[] =
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM file WHERE digest = $1) "
        "OR EXISTS (SELECT 1 FROM version WHERE deleted_at = 0 AND (config_digest = $1 OR weights_digest = $1)) "
        "OR EXISTS (SELECT 1 FROM job_checkpoint WHERE config_digest = $1 OR weights_digest = $1) "
        "OR EXISTS (SELECT 1 FROM model WHERE digest = $1 OR info LIKE '%' || $1 || '%')"; /* info may list files */
    hone_stmt *stmt = NULL;
    bool used = true;
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = hone_db_prepare(store->db, &stmt, sql, err);
    if (status == HONE_OK) {
        hone_stmt_bind_text(stmt, 1, digest);
        status = hone_stmt_step(stmt, &used, err);
        hone_stmt_done(stmt);
    }
    if (status == HONE_OK && !used) status = hone_artifact_delete(store->artifacts, digest, err);
    if (status == HONE_OK) *dropped = !used;
    return hone_db_finish(store->db, status, err);
}

void store_drop_artifact(hone_store *store, const char *digest) {
    hone_error err;
    bool dropped;
    if (hone_digest_is_valid(digest) && drop_if_unused(store, digest, &dropped, &err) != HONE_OK)
        hone_log(HONE_LOG_WARN, "store", "the bytes of %s stay for now: %s", digest, err.message);
}

typedef struct {
    hone_store *store;
    uint32_t n;
} collection;

static hone_status collect_one(void *arg, const char *digest, hone_error *err) {
    collection *c = arg;
    bool dropped = false;
    const hone_status status = drop_if_unused(c->store, digest, &dropped, err);
    c->n += dropped;
    return status;
}

hone_status store_collect_artifacts(hone_store *store, int64_t min_age_s, uint32_t *n_removed, hone_error *err) {
    collection c = {store, 0};
    const hone_status status = hone_artifacts_each(store->artifacts, min_age_s, collect_one, &c, err);
    *n_removed = c.n;
    return status;
}
