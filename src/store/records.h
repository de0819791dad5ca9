/* records.h - structs to rows and back, driven by tables of fields; for store alone.
 *
 * A record type is described once (which column, what kind, where in the struct); insert, read, list and free follow
 * from that.  The order of a description's fields is the order of its column list and of its parameters. */
#ifndef HONE_STORE_RECORDS_H
#define HONE_STORE_RECORDS_H

#include "store/store.h"

typedef enum { STORE_TEXT, STORE_INT } store_kind; /* const char *, int64_t */
typedef struct {
    store_kind kind;
    size_t offset;
} store_field;

typedef struct {
    const store_field *fields; /* [n] */
    size_t n;
    size_t bytes;        /* of the struct */
    const char *add;     /* INSERT: $1 .. $n */
    const char *get;     /* SELECT the columns by the primary key: $1; $2 is the time now where has_now */
    const char *list[2]; /* by hone_order: $1 seq to go on from, $2 limit, $3 filter where has_filter, $4 now */
    const char *cursor;  /* SELECT seq by id: $1 */
    bool has_filter, has_now;
} store_table;

#define STORE_LIST(columns, from, condition)                                                                           \
    {                                                                                                                  \
        "SELECT " columns " FROM " from " WHERE seq < $1 AND " condition " ORDER BY seq DESC LIMIT $2",                \
            "SELECT " columns " FROM " from " WHERE seq > $1 AND " condition " ORDER BY seq ASC LIMIT $2"              \
    }

/* Bind the fields of rec to $first, $first + 1, ... */
void store_bind(hone_stmt *stmt, const store_table *t, const void *rec, int first);
/* Columns 0 .. n - 1 of the current row into rec, whose texts are then owned. */
hone_status store_read(const hone_stmt *stmt, const store_table *t, void *rec, hone_error *err);
void store_free(const store_table *t, void *rec); /* back to {0} */

hone_status store_add(hone_store *store, const store_table *t, const void *rec, hone_error *err);
/* what names the thing in the message of HONE_ERR_NOT_FOUND. */
hone_status store_get(hone_store *store, const store_table *t, const char *what, const char *key, void *out,
                      hone_error *err);
hone_status store_list(hone_store *store, const store_table *t, hone_page page, const char *filter, void **rows,
                       size_t *n, bool *has_more, hone_error *err);
/* All rows of a statement that was bound, at most limit (0: all); gives the statement back. */
hone_status store_collect(hone_stmt *stmt, const store_table *t, uint32_t limit, void **rows, size_t *n, bool *has_more,
                          hone_error *err);
void store_free_list(const store_table *t, void *rows, size_t n);

/* One statement with texts as $1, $2 ... (NULL ends them); *changed may be NULL. */
hone_status store_run(hone_store *store, int64_t *changed, hone_error *err, const char *sql, ...)
    __attribute__((sentinel));

/* Whether artifact digest is in the folder, as a row that is about to name it needs: HONE_ERR_NOT_FOUND.  Inside the
 * transaction of the row: a deletion then either came before and is seen, or comes after and sees the row. */
hone_status store_need_artifact(hone_store *store, const char *digest, hone_error *err);
/* Remove the artifact if no row names it any more.  After the transaction that took the row away has been committed:
 * were it undone, its row would name nothing.  A crash before this leaves the bytes to store_collect_artifacts().  A
 * failure is logged, the row is gone all the same.  NULL is fine. */
void store_drop_artifact(hone_store *store, const char *digest);
/* Every artifact of min_age_s or more that no row names. */
hone_status store_collect_artifacts(hone_store *store, int64_t min_age_s, uint32_t *n_removed, hone_error *err);

struct hone_store {
    hone_home *home;         /* owned, NULL for a handle beside */
    const hone_store *first; /* of a handle beside */
    hone_db *db;
    hone_artifacts *artifacts;
};

#endif
