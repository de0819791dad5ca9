/* test_db.c - SQL through db.h: values, errors, transactions, migrations, damage, failing memory. */
#include "folder.h"

#include <fcntl.h>
#include <sched.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "store/db.h"

/* SQLite's memory fails on demand too: a header keeps the size that SQLite asks back. */
typedef struct {
    _Alignas(16) size_t n;
} header;

static void *lite_malloc(int n) {
    header *h = hone_zalloc((size_t)n + sizeof(header), 1);
    if (!h) return NULL;
    h->n = (size_t)n;
    return h + 1;
}
static void lite_free(void *p) {
    hone_free(p ? (header *)p - 1 : NULL);
}
static void *lite_realloc(void *p, int n) {
    if (!p) return lite_malloc(n);
    header *h = hone_realloc((header *)p - 1, (size_t)n + sizeof(header), 1);
    if (!h) return NULL;
    h->n = (size_t)n;
    return h + 1;
}
static int lite_size(void *p) {
    return p ? (int)((header *)p - 1)->n : 0;
}
static int lite_roundup(int n) {
    return (n + 15) & ~15;
}
static int lite_init(void *p) {
    (void)p;
    return SQLITE_OK;
}
static void lite_shutdown(void *p) {
    (void)p;
}

static hone_db *open_db(folder *f) {
    hone_db *db;
    hone_error err;
    if (hone_db_open(&db, folder_at(f, "test.db"), &err) != HONE_OK) fail_msg("%s", err.message);
    return db;
}

static void run(hone_db *db, const char *sql) {
    hone_error err;
    if (hone_db_exec(db, sql, &err) != HONE_OK) fail_msg("%s", err.message);
}

static int64_t number(hone_db *db, const char *sql) {
    hone_stmt *stmt;
    bool row;
    assert_int_equal(hone_db_prepare(db, &stmt, sql, NULL), HONE_OK);
    assert_int_equal(hone_stmt_step(stmt, &row, NULL), HONE_OK);
    const int64_t n = row ? hone_stmt_int(stmt, 0) : -1;
    hone_stmt_done(stmt);
    return n;
}

static void test_values_come_back_as_they_went(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_db *db = open_db(&f);
    run(db, "CREATE TABLE t (a BIGINT, b DOUBLE PRECISION, c TEXT, d BYTEA)");
    hone_stmt *stmt;
    bool row;
    size_t n;
    /* Out of order, and one used twice: the number counts, not the place. */
    assert_int_equal(
        hone_db_prepare(db, &stmt, "INSERT INTO t (d, c, b, a) VALUES ($4, $3, $2, COALESCE($1, $1))", NULL), HONE_OK);
    hone_stmt_bind_int(stmt, 1, INT64_MIN + 1);
    hone_stmt_bind_real(stmt, 2, 0.1);
    hone_stmt_bind_text(stmt, 3, "caf\xc3\xa9 '\"; DROP TABLE t");
    hone_stmt_bind_bytes(stmt, 4, "\0\1\2", 3);
    int64_t changed;
    assert_int_equal(hone_stmt_run(stmt, &changed, NULL), HONE_OK);
    assert_int_equal(changed, 1);
    assert_int_equal(
        hone_db_prepare(db, &stmt, "INSERT INTO t (d, c, b, a) VALUES ($4, $3, $2, COALESCE($1, $1))", NULL), HONE_OK);
    hone_stmt_bind_text(stmt, 3, NULL); /* the values of the run before are gone */
    assert_int_equal(hone_stmt_run(stmt, NULL, NULL), HONE_OK);
    assert_int_equal(hone_db_prepare(db, &stmt, "SELECT a, b, c, d FROM t", NULL), HONE_OK);
    assert_int_equal(hone_stmt_step(stmt, &row, NULL), HONE_OK);
    assert_true(row);
    assert_true(hone_stmt_int(stmt, 0) == INT64_MIN + 1);
    assert_true(hone_stmt_real(stmt, 1) == 0.1);
    assert_string_equal(hone_stmt_text(stmt, 2), "caf\xc3\xa9 '\"; DROP TABLE t");
    assert_memory_equal(hone_stmt_bytes(stmt, 3, &n), "\0\1\2", 3);
    assert_int_equal(n, 3);
    assert_int_equal(hone_stmt_step(stmt, &row, NULL), HONE_OK);
    for (int i = 0; i < 4; i++) assert_true(hone_stmt_is_null(stmt, i));
    assert_null(hone_stmt_text(stmt, 2));
    assert_int_equal(hone_stmt_step(stmt, &row, NULL), HONE_OK);
    assert_false(row);
    hone_stmt_done(stmt);
    /* The same text twice at a time: two statements. */
    hone_stmt *other;
    assert_int_equal(hone_db_prepare(db, &stmt, "SELECT a FROM t", NULL), HONE_OK);
    assert_int_equal(hone_db_prepare(db, &other, "SELECT a FROM t", NULL), HONE_OK);
    assert_ptr_not_equal(stmt, other);
    hone_stmt_done(stmt);
    hone_stmt_done(other);
    hone_db_close(db);
    folder_remove(&f);
}

static void test_errors_have_codes(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_db *db = open_db(&f);
    hone_error err;
    hone_stmt *stmt;
    bool row;
    run(db, "CREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT NOT NULL, c BIGINT UNIQUE)");
    run(db, "INSERT INTO t VALUES (1, 'x', 1)");
    assert_int_equal(hone_db_exec(db, "INSERT INTO t VALUES (1, 'x', 2)", &err), HONE_ERR_EXISTS);
    assert_int_equal(hone_db_exec(db, "INSERT INTO t VALUES (2, 'x', 1)", &err), HONE_ERR_EXISTS);
    assert_int_equal(hone_db_exec(db, "INSERT INTO t VALUES (2, NULL, 2)", &err), HONE_ERR_ARG);
    assert_int_equal(hone_db_exec(db, "SELEKT", &err), HONE_ERR_INTERNAL);
    assert_int_equal(hone_db_prepare(db, &stmt, "SELECT ?", &err), HONE_ERR_INTERNAL); /* not $n */
    assert_null(stmt);
    assert_int_equal(hone_db_prepare(db, &stmt, "SELECT $1", &err), HONE_OK);
    hone_stmt_bind_int(stmt, 2, 1); /* there is none: said at the step */
    assert_int_equal(hone_stmt_step(stmt, &row, &err), HONE_ERR_ARG);
    hone_stmt_done(stmt);
    hone_db_close(db);
    assert_int_equal(hone_db_open(&db, "/nonexistent/folder/x.db", &err), HONE_ERR_IO);
    assert_null(db);
    folder_remove(&f);
}

static void test_transactions_nest(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_db *db = open_db(&f), *other = open_db(&f);
    run(db, "CREATE TABLE t (a BIGINT)");
    assert_int_equal(hone_db_begin(db, NULL), HONE_OK);
    assert_int_equal(hone_db_begin(db, NULL), HONE_OK);
    run(db, "INSERT INTO t VALUES (1)");
    assert_int_equal(hone_db_commit(db, NULL), HONE_OK);
    assert_int_equal(number(other, "SELECT COUNT(*) FROM t"), 0); /* not yet for others */
    assert_int_equal(hone_db_commit(db, NULL), HONE_OK);
    assert_int_equal(number(other, "SELECT COUNT(*) FROM t"), 1);
    /* A rollback inside spoils the whole. */
    assert_int_equal(hone_db_begin(db, NULL), HONE_OK);
    run(db, "INSERT INTO t VALUES (2)");
    assert_int_equal(hone_db_begin(db, NULL), HONE_OK);
    hone_db_rollback(db);
    assert_int_equal(hone_db_commit(db, NULL), HONE_ERR_INTERNAL);
    assert_int_equal(number(db, "SELECT COUNT(*) FROM t"), 1);
    assert_int_equal(hone_db_finish(db, HONE_ERR_ARG, NULL), HONE_ERR_ARG); /* without a begin: harmless */
    assert_int_equal(hone_db_commit(db, NULL), HONE_ERR_INTERNAL);
    /* Relaxed for one transaction, whatever becomes of it; inside another the other's rule holds. */
    for (int how = 0; how < 3; how++) {
        assert_int_equal(how == 2 ? hone_db_begin(db, NULL) : hone_db_begin_relaxed(db, NULL), HONE_OK);
        if (how == 2) assert_int_equal(hone_db_begin_relaxed(db, NULL), HONE_OK);
        assert_int_equal(number(db, "PRAGMA synchronous"), how == 2 ? 2 : 1);
        if (how == 2) assert_int_equal(hone_db_commit(db, NULL), HONE_OK);
        assert_int_equal(hone_db_finish(db, how == 1 ? HONE_ERR_ARG : HONE_OK, NULL),
                         how == 1 ? HONE_ERR_ARG : HONE_OK);
        assert_int_equal(number(db, "PRAGMA synchronous"), 2);
    }
    /* One left open is rolled back by the close. */
    assert_int_equal(hone_db_begin(db, NULL), HONE_OK);
    run(db, "INSERT INTO t VALUES (3)");
    hone_db_close(db);
    assert_int_equal(number(other, "SELECT COUNT(*) FROM t"), 1);
    hone_db_close(other);
    folder_remove(&f);
}

static const hone_db_migration steps[] = {
    {"first", "CREATE TABLE a (x BIGINT); INSERT INTO a VALUES (1)"},
    {"second", "CREATE TABLE b (x BIGINT); INSERT INTO b SELECT x FROM a"},
    {"broken", "CREATE TABLE c (x BIGINT); SELEKT"},
};

static void test_migrations_are_whole_or_absent(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_db *db = open_db(&f);
    hone_error err;
    int64_t version;
    assert_int_equal(hone_db_migrate(db, steps, 1, &err), HONE_OK);
    assert_int_equal(hone_db_migrate(db, steps, 1, &err), HONE_OK);
    assert_int_equal(number(db, "SELECT COUNT(*) FROM a"), 1);
    assert_int_equal(hone_db_migrate(db, steps, 3, &err), HONE_ERR_INTERNAL);
    assert_int_equal(hone_db_version(db, &version, NULL), HONE_OK);
    assert_int_equal(version, 2); /* the second is there, of the third nothing */
    assert_int_equal(number(db, "SELECT COUNT(*) FROM b"), 1);
    assert_int_equal(number(db, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'c'"), 0);
    assert_int_equal(hone_db_migrate(db, steps, 1, &err), HONE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "newer"));
    assert_int_equal(hone_db_check(db, &err), HONE_OK);
    hone_db_close(db);
    folder_remove(&f);
}

static void test_two_processes_migrate_once(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    pid_t pid[4];
    for (int i = 0; i < 4; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            hone_db *db;
            hone_error err = {0};
            int rc = 1;
            if (hone_db_open(&db, folder_at(&f, "test.db"), &err) == HONE_OK)
                rc = hone_db_migrate(db, steps, 2, &err) != HONE_OK;
            if (rc) fprintf(stderr, "%s\n", err.message);
            _exit(rc);
        }
    }
    for (int i = 0; i < 4; i++) {
        int status;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    hone_db *db = open_db(&f);
    assert_int_equal(number(db, "SELECT COUNT(*) FROM a"), 1);
    assert_int_equal(number(db, "SELECT COUNT(*) FROM b"), 1);
    hone_db_close(db);
    folder_remove(&f);
}

static void test_a_damaged_file_is_named(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_error err;
    hone_db *db;
    FILE *file = fopen(folder_at(&f, "test.db"), "w");
    for (int i = 0; i < 1000; i++) fputs("this is not a database. ", file);
    fclose(file);
    assert_int_equal(hone_db_open(&db, folder_at(&f, "test.db"), &err), HONE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "damaged"));
    unlink(folder_at(&f, "test.db"));
    db = open_db(&f);
    run(db, "CREATE TABLE t (a TEXT)");
    for (int i = 0; i < 200; i++)
        run(db, "INSERT INTO t VALUES ('some text that fills the pages of the file, one after the other, as rows do')");
    hone_db_close(db);
    const int fd = open(folder_at(&f, "test.db"), O_RDWR);
    char junk[3000];
    memset(junk, 0x5a, sizeof(junk));
    assert_int_equal(pwrite(fd, junk, sizeof(junk), 8192), sizeof(junk));
    close(fd);
    db = open_db(&f);
    assert_int_equal(hone_db_check(db, &err), HONE_ERR_FORMAT);
    hone_db_close(db);
    folder_remove(&f);
}

/* In a child with a file system of its own, 400 kB small. */
static int fill_a_disk(folder *f) {
    hone_db *db;
    hone_error err = {0};
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", f->path, "tmpfs", 0, "size=400k") != 0)
        return 77;
    if (hone_db_open(&db, folder_at(f, "test.db"), &err) != HONE_OK ||
        hone_db_exec(db, "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('kept')", &err) != HONE_OK)
        return 1;
    hone_status status = HONE_OK;
    for (int i = 0; i < 10000 && status == HONE_OK; i++)
        status = hone_db_exec(db, "INSERT INTO t VALUES (hex(zeroblob(2000)))", &err);
    if (status != HONE_ERR_FULL) return 2;
    if (hone_db_begin(db, &err) == HONE_OK) { /* a transaction that fails in its middle can be left */
        status = hone_db_exec(db, "INSERT INTO t VALUES (hex(zeroblob(400000)))", &err);
        if (hone_db_finish(db, status, &err) != HONE_ERR_FULL) return 3;
    }
    const int64_t n = number(db, "SELECT COUNT(*) FROM t");
    hone_db_close(db);
    if (hone_db_open(&db, folder_at(f, "test.db"), &err) != HONE_OK || hone_db_check(db, &err) != HONE_OK) return 4;
    if (number(db, "SELECT COUNT(*) FROM t WHERE a = 'kept'") != 1 || number(db, "SELECT COUNT(*) FROM t") != n ||
        n < 2)
        return 5;
    hone_db_close(db);
    return 0;
}

static void test_a_full_disk_is_an_error_and_nothing_is_lost(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    const pid_t pid = fork();
    if (pid == 0) _exit(fill_a_disk(&f));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    folder_remove(&f);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skipped: no small file system can be mounted here\n");
        skip();
    }
    assert_int_equal(status, 0);
}

/* Each allocation fails in turn, SQLite's included: an error comes out, nothing leaks, and what was committed is there.
 */
static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_db *db = open_db(&f);
    hone_db_close(db);
    int64_t live = -1;
    int n_failed = 0, n_full = 0;
    for (int64_t fail_at = 0, done = 0; !done && fail_at < 4000; fail_at++) {
        hone_stmt *stmt = NULL;
        int64_t changed = 0;
        unlink(folder_at(&f, "test.db"));
        hone_mem_fail_at = fail_at;
        hone_status status = hone_db_open(&db, folder_at(&f, "test.db"), NULL);
        if (status == HONE_OK) status = hone_db_migrate(db, steps, 2, NULL);
        if (status == HONE_OK) status = hone_db_begin(db, NULL);
        if (status == HONE_OK) {
            status = hone_db_prepare(db, &stmt, "INSERT INTO a (x) VALUES ($1)", NULL);
            if (status == HONE_OK) {
                hone_stmt_bind_int(stmt, 1, 7);
                status = hone_stmt_run(stmt, &changed, NULL);
            }
            status = hone_db_finish(db, status, NULL);
        }
        done = hone_mem_fail_at >= 0;
        hone_mem_fail_at = -1;
        if (status != HONE_OK) n_failed++;
        if (status != HONE_OK && status != HONE_ERR_NOMEM) n_full++;
        if (db) {
            assert_int_equal(hone_db_migrate(db, steps, 2, NULL), HONE_OK); /* the handle still works */
            assert_int_equal(number(db, "SELECT COUNT(*) FROM a WHERE x = 7"), status == HONE_OK);
        }
        hone_db_close(db);
        sqlite3_release_memory(1 << 30);
        if (live < 0) live = hone_mem_live;
        if (hone_mem_live > live + 64) fail_msg("allocation %lld leaks", (long long)fail_at);
    }
    assert_true(n_failed > 50);
    assert_true(n_full <=
                n_failed / 10); /* SQLite reports some of them as other errors (a file that cannot be opened) */
    folder_remove(&f);
}

int main(void) {
    static const sqlite3_mem_methods methods = {lite_malloc,  lite_free, lite_realloc,  lite_size,
                                                lite_roundup, lite_init, lite_shutdown, NULL};
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_come_back_as_they_went),
        cmocka_unit_test(test_errors_have_codes),
        cmocka_unit_test(test_transactions_nest),
        cmocka_unit_test(test_migrations_are_whole_or_absent),
        cmocka_unit_test(test_two_processes_migrate_once),
        cmocka_unit_test(test_a_damaged_file_is_named),
        cmocka_unit_test(test_a_full_disk_is_an_error_and_nothing_is_lost),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
