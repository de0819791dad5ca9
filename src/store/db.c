/* db.c - SQL over SQLite; the contract is in db.h.
 * Order: errors, opening, migrations, statements and their cache, transactions, marks.
 *
 * What PostgreSQL will need lies behind the same functions: the SQL that comes in is already written with $1. */
#include "store/db.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

#define MAX_PARAMS 40
#define MAX_CACHED 128 /* the program has fewer statements; those over it are prepared and finalised each time */
#define BUSY_WAIT_MS 10000

struct hone_stmt {
    hone_db *db;
    const char *sql;
    sqlite3_stmt *raw;
    int place[MAX_PARAMS + 1]; /* of $n among SQLite's own, 0: there is none */
    int bind_error;            /* SQLITE_OK, or the first error of a bind since the last step */
    bool in_use;
    bool cached;
};

struct hone_db {
    sqlite3 *raw;
    char *path;
    hone_stmt *cache[MAX_CACHED];
    size_t n_cached;
    int depth;                               /* of transactions begun */
    bool must_rollback;                      /* an inner one was rolled back */
    bool relaxed;                            /* synchronous is NORMAL at present */
    const volatile unsigned char *wal_index; /* SQLite's own mapping, as long as the handle; NULL: not in WAL mode */
};

/* ---- errors ---- */

static hone_status code_of(sqlite3 *raw, int rc) {
    const int system_error = raw ? sqlite3_system_errno(raw) : 0;
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return HONE_OK;
    case SQLITE_CONSTRAINT:
        return rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY ? HONE_ERR_EXISTS : HONE_ERR_ARG;
    case SQLITE_FULL: return HONE_ERR_FULL;
    case SQLITE_NOMEM: return HONE_ERR_NOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return HONE_ERR_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return HONE_ERR_FORMAT;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return HONE_ERR_DENIED;
    case SQLITE_CANTOPEN: return system_error == EACCES || system_error == EPERM ? HONE_ERR_DENIED : HONE_ERR_IO;
    case SQLITE_IOERR:
        if (rc == SQLITE_IOERR_NOMEM) return HONE_ERR_NOMEM;
        return system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG ? HONE_ERR_FULL : HONE_ERR_IO;
    case SQLITE_TOOBIG: return HONE_ERR_LIMIT;
    case SQLITE_RANGE:
    case SQLITE_MISMATCH: return HONE_ERR_ARG;
    default: return HONE_ERR_INTERNAL; /* SQL that does not parse: ours is fixed, so this is a bug */
    }
}

static hone_status fail(const hone_db *db, int rc, const char *what, hone_error *err) {
    const hone_status status = code_of(db->raw, rc);
    const char *text = db->raw ? sqlite3_errmsg(db->raw) : sqlite3_errstr(rc);
    switch (status) {
    case HONE_ERR_FORMAT:
        return hone_fail(err, status,
                         "%s: not a database of this program, or damaged (%s): move it away with its -wal and "
                         "-shm files, or put a copy back",
                         db->path, text);
    case HONE_ERR_FULL: return hone_fail(err, status, "%s: no space on the disk (%s)", db->path, text);
    case HONE_ERR_BUSY: return hone_fail(err, status, "%s: another process is writing (%s)", db->path, text);
    default: return hone_fail(err, status, "%s: %s: %s", db->path, what, text);
    }
}

/* ---- opening ---- */

static void rest(void) {
    const struct timespec a_little = {0, 10000000};
    nanosleep(&a_little, NULL);
}

/* A switch to WAL does not wait for other processes by itself. */
static int run_patiently(sqlite3 *raw, const char *sql) {
    const double deadline = hone_clock_seconds() + BUSY_WAIT_MS / 1000.0;
    for (;;) {
        const int rc = sqlite3_exec(raw, sql, NULL, NULL, NULL);
        if (((rc & 0xff) != SQLITE_BUSY && (rc & 0xff) != SQLITE_LOCKED) || hone_clock_seconds() > deadline) return rc;
        rest();
    }
}

/* The index of the write-ahead log, which all processes share in memory. */
static const volatile unsigned char *find_wal_index(sqlite3 *raw) {
    sqlite3_file *file = NULL;
    volatile void *at = NULL;
    if (sqlite3_file_control(raw, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file || !file->pMethods ||
        file->pMethods->iVersion < 2 || !file->pMethods->xShmMap)
        return NULL;
    return file->pMethods->xShmMap(file, 0, 32768, 0, &at) == SQLITE_OK ? at : NULL;
}

hone_status hone_db_open(hone_db **out, const char *path, hone_error *err) {
    static const char *const settings[] = {
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL", /* a commit that was reported survives a power cut */
        "PRAGMA foreign_keys = ON",
        "PRAGMA trusted_schema = OFF", /* the file may come from somebody else */
        "PRAGMA cell_size_check = ON",
    };
    *out = NULL;
    hone_db *db = hone_zalloc(1, sizeof(*db));
    if (!db || !(db->path = hone_strdup(path))) {
        hone_db_close(db);
        return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory to open it", path);
    }
    int rc = sqlite3_open_v2(
        path, &db->raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_busy_timeout(db->raw, BUSY_WAIT_MS);
    if (rc == SQLITE_OK) rc = sqlite3_db_config(db->raw, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && rc == SQLITE_OK; i++)
        rc = run_patiently(db->raw, settings[i]);
    if (rc == SQLITE_OK)
        rc = run_patiently(db->raw, "SELECT count(*) FROM sqlite_master"); /* reads the schema: is it one? */
    if (rc != SQLITE_OK) {
        const hone_status status = fail(db, rc, "cannot open the database", err);
        hone_db_close(db);
        return status;
    }
    db->wal_index = find_wal_index(db->raw);
    *out = db;
    return HONE_OK;
}

void hone_db_close(hone_db *db) {
    if (!db) return;
    for (size_t i = 0; i < db->n_cached; i++) {
        sqlite3_finalize(db->cache[i]->raw);
        hone_free(db->cache[i]);
    }
    sqlite3_close_v2(db->raw); /* rolls back; _v2: a statement that was never given back must not keep the file open */
    hone_free(db->path);
    hone_free(db);
}

hone_status hone_db_exec(hone_db *db, const char *sql, hone_error *err) {
    const int rc = sqlite3_exec(db->raw, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? HONE_OK : fail(db, rc, "cannot run a statement", err);
}

/* ---- migrations ---- */

hone_status hone_db_version(hone_db *db, int64_t *version, hone_error *err) {
    hone_stmt *stmt;
    bool row;
    *version = 0;
    hone_status status = hone_db_prepare(db, &stmt, "SELECT COALESCE(MAX(version), 0) FROM hone_migration", err);
    if (status == HONE_OK) status = hone_stmt_step(stmt, &row, err);
    if (status == HONE_OK && row) *version = hone_stmt_int(stmt, 0);
    hone_stmt_done(stmt);
    return status;
}

static hone_status migrate_one(hone_db *db, const hone_db_migration *steps, size_t n, bool *more, hone_error *err) {
    int64_t version = 0;
    *more = false;
    hone_status status =
        hone_db_begin(db, err); /* takes the write lock: of two processes the second sees the first's work */
    if (status != HONE_OK) return status;
    status = hone_db_version(db, &version, err);
    if (status == HONE_OK && version > (int64_t)n)
        status = hone_fail(err, HONE_ERR_UNSUPPORTED,
                           "%s: made by a newer version of this program (schema %lld, this one knows %zu)", db->path,
                           (long long)version, n);
    if (status == HONE_OK && version < (int64_t)n) {
        hone_stmt *stmt = NULL;
        status = hone_db_exec(db, steps[version].sql, err);
        if (status == HONE_OK)
            status = hone_db_prepare(db, &stmt,
                                     "INSERT INTO hone_migration (version, name, applied_at) VALUES ($1, $2, $3)", err);
        if (status == HONE_OK) {
            hone_stmt_bind_int(stmt, 1, version + 1);
            hone_stmt_bind_text(stmt, 2, steps[version].name);
            hone_stmt_bind_int(stmt, 3, hone_clock_unix());
            status = hone_stmt_run(stmt, NULL, err);
        }
        *more = true;
    }
    return hone_db_finish(db, status, err);
}

hone_status hone_db_migrate(hone_db *db, const hone_db_migration *steps, size_t n, hone_error *err) {
    int64_t version;
    /* The usual case takes no lock, so that a reader never waits for a writer. */
    if (hone_db_version(db, &version, NULL) == HONE_OK && version == (int64_t)n) return HONE_OK;
    hone_status status =
        hone_db_exec(db,
                     "CREATE TABLE IF NOT EXISTS hone_migration (version BIGINT PRIMARY KEY, name TEXT NOT NULL, "
                     "applied_at BIGINT NOT NULL)",
                     err);
    for (bool more = true; more && status == HONE_OK;) status = migrate_one(db, steps, n, &more, err);
    return status;
}

hone_status hone_db_check(hone_db *db, hone_error *err) {
    hone_stmt *stmt;
    bool row = false;
    hone_status status = hone_db_prepare(db, &stmt, "PRAGMA quick_check(1)", err);
    if (status == HONE_OK) status = hone_stmt_step(stmt, &row, err);
    if (status == HONE_OK && row) {
        const char *text = hone_stmt_text(stmt, 0);
        if (!text || strcmp(text, "ok") != 0)
            status = hone_fail(err, HONE_ERR_FORMAT, "%s: damaged: %s", db->path, text ? text : "?");
    }
    hone_stmt_done(stmt);
    return status;
}

/* ---- statements ---- */

static hone_status make_stmt(hone_db *db, hone_stmt **out, const char *sql, hone_error *err) {
    hone_stmt *stmt = hone_zalloc(1, sizeof(*stmt));
    if (!stmt) return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory for a statement", db->path);
    stmt->db = db;
    stmt->sql = sql;
    const char *tail = NULL;
    const int rc = sqlite3_prepare_v3(db->raw, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt->raw, &tail);
    if (rc != SQLITE_OK) {
        const hone_status status = fail(db, rc, "cannot prepare a statement", err);
        hone_free(stmt);
        return status;
    }
    /* SQLite numbers $names by first appearance: remember which is which. */
    for (int i = 1; i <= sqlite3_bind_parameter_count(stmt->raw); i++) {
        const char *name = sqlite3_bind_parameter_name(stmt->raw, i);
        int n = 0;
        for (const char *c = name && name[0] == '$' ? name + 1 : ""; *c >= '0' && *c <= '9' && n <= MAX_PARAMS; c++)
            n = n * 10 + (*c - '0');
        if (n < 1 || n > MAX_PARAMS) {
            sqlite3_finalize(stmt->raw);
            hone_free(stmt);
            return hone_fail(err, HONE_ERR_INTERNAL, "%s: parameters are $1 to $%d", sql, MAX_PARAMS);
        }
        stmt->place[n] = i;
    }
    *out = stmt;
    return HONE_OK;
}

hone_status hone_db_prepare(hone_db *db, hone_stmt **out, const char *sql, hone_error *err) {
    *out = NULL;
    for (size_t i = 0; i < db->n_cached; i++) {
        hone_stmt *stmt = db->cache[i];
        if (stmt->in_use || (stmt->sql != sql && strcmp(stmt->sql, sql) != 0)) continue;
        stmt->in_use = true;
        *out = stmt;
        return HONE_OK;
    }
    const hone_status status = make_stmt(db, out, sql, err);
    if (status != HONE_OK) return status;
    (*out)->in_use = true;
    if (db->n_cached < MAX_CACHED) {
        (*out)->cached = true;
        db->cache[db->n_cached++] = *out;
    }
    return HONE_OK;
}

static bool may_bind(hone_stmt *stmt, int n, int *place) {
    *place = n >= 1 && n <= MAX_PARAMS ? stmt->place[n] : 0;
    if (!*place && stmt->bind_error == SQLITE_OK) stmt->bind_error = SQLITE_RANGE;
    return *place != 0;
}

static void bound(hone_stmt *stmt, int rc) {
    if (rc != SQLITE_OK && stmt->bind_error == SQLITE_OK) stmt->bind_error = rc;
}

void hone_stmt_bind_int(hone_stmt *stmt, int n, int64_t value) {
    int place;
    if (may_bind(stmt, n, &place)) bound(stmt, sqlite3_bind_int64(stmt->raw, place, value));
}

void hone_stmt_bind_real(hone_stmt *stmt, int n, double value) {
    int place;
    if (may_bind(stmt, n, &place)) bound(stmt, sqlite3_bind_double(stmt->raw, place, value));
}

void hone_stmt_bind_text(hone_stmt *stmt, int n, const char *text) {
    int place;
    if (!may_bind(stmt, n, &place)) return;
    bound(stmt, text ? sqlite3_bind_text64(stmt->raw, place, text, strlen(text), SQLITE_TRANSIENT, SQLITE_UTF8)
                     : sqlite3_bind_null(stmt->raw, place));
}

void hone_stmt_bind_bytes(hone_stmt *stmt, int n, const void *bytes, size_t n_bytes) {
    int place;
    if (!may_bind(stmt, n, &place)) return;
    bound(stmt, n_bytes ? sqlite3_bind_blob64(stmt->raw, place, bytes, n_bytes, SQLITE_TRANSIENT)
                        : sqlite3_bind_zeroblob(stmt->raw, place, 0));
}

hone_status hone_stmt_step(hone_stmt *stmt, bool *row, hone_error *err) {
    *row = false;
    if (stmt->bind_error != SQLITE_OK) {
        const hone_status code = code_of(NULL, stmt->bind_error);
        return hone_fail(err, code, "%s: a parameter could not be bound: %s", stmt->sql,
                         sqlite3_errstr(stmt->bind_error));
    }
    const int rc = sqlite3_step(stmt->raw);
    *row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? HONE_OK : fail(stmt->db, rc, "a statement failed", err);
}

int64_t hone_stmt_int(const hone_stmt *stmt, int column) {
    return sqlite3_column_int64(stmt->raw, column);
}
double hone_stmt_real(const hone_stmt *stmt, int column) {
    return sqlite3_column_double(stmt->raw, column);
}

const char *hone_stmt_text(const hone_stmt *stmt, int column) {
    return (const char *)sqlite3_column_text(stmt->raw, column);
}

const void *hone_stmt_bytes(const hone_stmt *stmt, int column, size_t *n) {
    const void *bytes = sqlite3_column_blob(stmt->raw, column);
    *n = (size_t)sqlite3_column_bytes(stmt->raw, column);
    return bytes;
}

bool hone_stmt_is_null(const hone_stmt *stmt, int column) {
    return sqlite3_column_type(stmt->raw, column) == SQLITE_NULL;
}

void hone_stmt_done(hone_stmt *stmt) {
    if (!stmt) return;
    if (!stmt->cached) {
        sqlite3_finalize(stmt->raw);
        hone_free(stmt);
        return;
    }
    sqlite3_reset(stmt->raw); /* repeats the last step's error, which was reported then */
    sqlite3_clear_bindings(stmt->raw);
    stmt->bind_error = SQLITE_OK;
    stmt->in_use = false;
}

hone_status hone_stmt_run(hone_stmt *stmt, int64_t *changed, hone_error *err) {
    bool row = true;
    hone_status status = HONE_OK;
    while (row && status == HONE_OK) status = hone_stmt_step(stmt, &row, err);
    if (changed) *changed = status == HONE_OK ? sqlite3_changes64(stmt->db->raw) : 0;
    hone_stmt_done(stmt);
    return status;
}

/* ---- transactions ---- */

/* Not possible inside a transaction. */
static hone_status set_relaxed(hone_db *db, bool relaxed, hone_error *err) {
    if (db->relaxed == relaxed) return HONE_OK;
    const hone_status status =
        hone_db_exec(db, relaxed ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL", err);
    if (status == HONE_OK) db->relaxed = relaxed;
    return status;
}

static hone_status begin(hone_db *db, bool relaxed, hone_error *err) {
    if (db->depth == 0) {
        hone_status status = set_relaxed(db, relaxed, err);
        if (status == HONE_OK) status = hone_db_exec(db, "BEGIN IMMEDIATE", err);
        if (status != HONE_OK) {
            set_relaxed(db, false, NULL);
            return status;
        }
        db->must_rollback = false;
    }
    db->depth++;
    return HONE_OK;
}

hone_status hone_db_begin(hone_db *db, hone_error *err) {
    return begin(db, false, err);
}
hone_status hone_db_begin_relaxed(hone_db *db, hone_error *err) {
    return begin(db, true, err);
}

void hone_db_rollback(hone_db *db) {
    if (db->depth == 0) return;
    db->must_rollback = true;
    if (--db->depth > 0) return;
    /* Some errors (disk full, no memory) have rolled back already. */
    if (!sqlite3_get_autocommit(db->raw)) sqlite3_exec(db->raw, "ROLLBACK", NULL, NULL, NULL);
    set_relaxed(db, false, NULL);
}

hone_status hone_db_commit(hone_db *db, hone_error *err) {
    if (db->depth == 0) return hone_fail(err, HONE_ERR_INTERNAL, "%s: a commit without a transaction", db->path);
    if (db->depth > 1) {
        db->depth--;
        return HONE_OK;
    }
    hone_status status;
    if (db->must_rollback || sqlite3_get_autocommit(db->raw))
        status = hone_fail(err, HONE_ERR_INTERNAL, "%s: the transaction was rolled back before its commit", db->path);
    else
        status = hone_db_exec(db, "COMMIT", err);
    if (status != HONE_OK) {
        hone_db_rollback(db);
        return status;
    }
    db->depth = 0;
    set_relaxed(db, false, NULL); /* where it fails for want of memory, the next begin tries again */
    return HONE_OK;
}

hone_status hone_db_finish(hone_db *db, hone_status status, hone_error *err) {
    if (status == HONE_OK) return hone_db_commit(db, err);
    hone_db_rollback(db);
    return status;
}

/* ---- marks ---- */

/* The log's index begins with its header (sqlite.org/walformat.html): 48 bytes that a commit writes last - a counter of
 * transactions, the number of frames, running checksums, salts.  A header caught half written equals no whole one. */
bool hone_db_mark(const hone_db *db, unsigned char mark[HONE_DB_MARK]) {
    if (!db->wal_index || db->depth > 0) return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (size_t i = 0; i < HONE_DB_MARK; i++) mark[i] = db->wal_index[i];
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return mark[12] == 1; /* isInit */
}
