/* db.h - SQL through one thin layer: SQLite today, written so that PostgreSQL can follow.
 *
 * The SQL that passes here stays in the part that both speak: parameters are $1, $2, ...; types are BIGINT, TEXT,
 * DOUBLE PRECISION and BYTEA; INSERT ... ON CONFLICT, RETURNING, COALESCE, LIMIT; no rowid, AUTOINCREMENT, PRAGMA,
 * datetime functions or implicit conversions.
 *
 * Durability: a commit is on the disk when it returns (WAL, synchronous=FULL), except those of hone_db_begin_relaxed().
 * Several processes may have one database open; a writer waits for another up to 10 s, then gets HONE_ERR_BUSY.
 *
 * Threads: a hone_db and its statements belong to one thread; each thread opens its own. */
#ifndef HONE_DB_H
#define HONE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct hone_db hone_db;
typedef struct hone_stmt hone_stmt;

/* Open or make the database file.  HONE_ERR_FORMAT: no database, or a damaged one (the message says what to do);
 * HONE_ERR_DENIED, HONE_ERR_IO, HONE_ERR_NOMEM. */
hone_status hone_db_open(hone_db **out, const char *path, hone_error *err);
void hone_db_close(hone_db *db); /* rolls an open transaction back; NULL is fine */

/* One or more statements without parameters or results. */
hone_status hone_db_exec(hone_db *db, const char *sql, hone_error *err);

/* One step of the schema.  Steps have the versions 1, 2, ... n by their place; a step that was published never changes.
 */
typedef struct {
    const char *name;
    const char *sql;
} hone_db_migration;

/* Bring the schema to version n: each missing step in a transaction of its own with the version row, so that a crash
 * leaves a whole version.  Two processes that start together do it once.  HONE_ERR_UNSUPPORTED: the database was made
 * by a newer program. */
hone_status hone_db_migrate(hone_db *db, const hone_db_migration *steps, size_t n, hone_error *err);
hone_status hone_db_version(hone_db *db, int64_t *version, hone_error *err);

/* Walk the whole file (PRAGMA quick_check): HONE_ERR_FORMAT with the first fault. */
hone_status hone_db_check(hone_db *db, hone_error *err);

/* ---- statements: prepare, bind, step, done ---- */

/* The prepared statement for sql, from the cache (by text) where it is not in use.  sql must be a constant or outlive
 * db. Give it back with hone_stmt_done(), also after errors. */
hone_status hone_db_prepare(hone_db *db, hone_stmt **out, const char *sql, hone_error *err);

/* Parameter $n, n from 1.  Errors stick and come out of hone_stmt_step().  Texts and bytes are copied; a NULL text
 * binds NULL.  A parameter not bound is NULL. */
void hone_stmt_bind_int(hone_stmt *stmt, int n, int64_t value);
void hone_stmt_bind_real(hone_stmt *stmt, int n, double value);
void hone_stmt_bind_text(hone_stmt *stmt, int n, const char *text);
void hone_stmt_bind_bytes(hone_stmt *stmt, int n, const void *bytes, size_t n_bytes);

/* *row: whether there is a row to read; false at the end.  HONE_ERR_EXISTS: a unique or primary key is taken;
 * HONE_ERR_ARG: another constraint; HONE_ERR_FULL: disk full; HONE_ERR_BUSY; HONE_ERR_FORMAT: damaged. */
hone_status hone_stmt_step(hone_stmt *stmt, bool *row, hone_error *err);

/* Columns from 0, of the row just stepped to.  Borrowed until the next step or done. */
int64_t hone_stmt_int(const hone_stmt *stmt, int column); /* 0 for NULL */
double hone_stmt_real(const hone_stmt *stmt, int column);
const char *hone_stmt_text(const hone_stmt *stmt, int column); /* NULL for NULL, and without memory */
const void *hone_stmt_bytes(const hone_stmt *stmt, int column, size_t *n);
bool hone_stmt_is_null(const hone_stmt *stmt, int column);

void hone_stmt_done(hone_stmt *stmt); /* NULL is fine */

/* Step to the end, done, and the number of rows that an INSERT, UPDATE or DELETE touched (changed may be NULL). */
hone_status hone_stmt_run(hone_stmt *stmt, int64_t *changed, hone_error *err);

/* ---- transactions ---- */

/* Begin takes the write lock at once, so that what was read stays true until the commit.  They nest: only the outermost
 * pair acts, and a rollback inside makes the outer commit fail. */
hone_status hone_db_begin(hone_db *db, hone_error *err);
/* The same for what may be lost in a power cut: the commit does not wait for the disk.  A crash or kill of the process
 * loses nothing, and the next full commit takes it along.  Inside another transaction: that one's rule holds. */
hone_status hone_db_begin_relaxed(hone_db *db, hone_error *err);
hone_status hone_db_commit(hone_db *db, hone_error *err); /* on failure the transaction is rolled back */
void hone_db_rollback(hone_db *db);

/* status OK: commit; otherwise roll back and return status, err untouched.  For the end of a function. */
hone_status hone_db_finish(hone_db *db, hone_status status, hone_error *err);

/* ---- whether anything changed ---- */

#define HONE_DB_MARK 48u

/* A mark of what is committed, by whatever process or handle: equal marks mean that nothing was committed between them.
 * What is read after a mark was taken holds as long as a later mark equals it.  No system call, no lock.  False where
 * there is none: inside a transaction of this handle, or where the database cannot say. */
bool hone_db_mark(const hone_db *db, unsigned char mark[HONE_DB_MARK]);

#endif
