/* store_files.c - files and keys; the contract is in store.h.
 * Order: files, their end, keys. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/records.h"

#define FIELD(type, member, kind)                                                                                      \
    { kind, offsetof(type, member) }

/* ---- files ---- */

#define FILE_COLUMNS "id, filename, purpose, status, status_details, digest, bytes, created_at, expires_at"
static const store_field file_fields[] = {
    FIELD(hone_rec_file, id, STORE_TEXT),
    FIELD(hone_rec_file, filename, STORE_TEXT),
    FIELD(hone_rec_file, purpose, STORE_TEXT),
    FIELD(hone_rec_file, status, STORE_TEXT),
    FIELD(hone_rec_file, status_details, STORE_TEXT),
    FIELD(hone_rec_file, digest, STORE_TEXT),
    FIELD(hone_rec_file, bytes, STORE_INT),
    FIELD(hone_rec_file, created_at, STORE_INT),
    FIELD(hone_rec_file, expires_at, STORE_INT),
};
static const store_table file_table = {
    .fields = file_fields,
    .n = sizeof(file_fields) / sizeof(file_fields[0]),
    .bytes = sizeof(hone_rec_file),
    .add = "INSERT INTO file (" FILE_COLUMNS ", seq) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,"
           " (SELECT COALESCE(MAX(seq), 0) + 1 FROM file))",
    .get = "SELECT " FILE_COLUMNS " FROM file WHERE id = $1 AND (expires_at = 0 OR expires_at > $2)",
    .list = STORE_LIST(FILE_COLUMNS, "file",
                       "(CAST($3 AS TEXT) IS NULL OR purpose = $3) AND (expires_at = 0 OR expires_at > $4)"),
    .cursor = "SELECT seq FROM file WHERE id = $1",
    .has_filter = true,
    .has_now = true,
};

hone_status hone_store_file_add(hone_store *store, const hone_rec_file *rec, hone_error *err) {
    hone_rec_file copy = *rec;
    if (!copy.created_at) copy.created_at = hone_clock_unix();
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = store_need_artifact(store, rec->digest, err);
    if (status == HONE_OK) status = store_add(store, &file_table, &copy, err);
    return hone_db_finish(store->db, status, err);
}

hone_status hone_store_file_get(hone_store *store, const char *id, hone_rec_file *out, hone_error *err) {
    return store_get(store, &file_table, "file", id, out, err);
}

hone_status hone_store_file_list(hone_store *store, hone_page page, const char *purpose, hone_list_file *out,
                                 hone_error *err) {
    void *rows;
    const hone_status status = store_list(store, &file_table, page, purpose, &rows, &out->n, &out->has_more, err);
    out->rows = rows;
    return status;
}

/* ---- their end ---- */

hone_status hone_store_file_delete(hone_store *store, const char *id, hone_error *err) {
    hone_rec_file old = {0};
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    status = hone_store_file_get(store, id, &old, err);
    if (status == HONE_OK) status = store_run(store, NULL, err, "DELETE FROM file WHERE id = $1", id, NULL);
    status = hone_db_finish(store->db, status, err);
    if (status == HONE_OK) store_drop_artifact(store, old.digest);
    hone_rec_file_free(&old);
    return status;
}

hone_status hone_store_file_expire(hone_store *store, uint32_t *n_deleted, hone_error *err) {
    hone_stmt *stmt;
    void *rows = NULL;
    size_t n = 0;
    bool more;
    if (n_deleted) *n_deleted = 0;
    hone_status status = hone_db_begin(store->db, err);
    if (status != HONE_OK) return status;
    const int64_t now = hone_clock_unix(); /* one time for both statements: what is deleted is what was listed */
    status = hone_db_prepare(store->db, &stmt,
                             "SELECT " FILE_COLUMNS " FROM file WHERE expires_at <> 0 AND expires_at <= $1", err);
    if (status == HONE_OK) {
        hone_stmt_bind_int(stmt, 1, now);
        status = store_collect(stmt, &file_table, 0, &rows, &n, &more, err);
    }
    if (status == HONE_OK && n) {
        status = hone_db_prepare(store->db, &stmt, "DELETE FROM file WHERE expires_at <> 0 AND expires_at <= $1", err);
        if (status == HONE_OK) {
            hone_stmt_bind_int(stmt, 1, now);
            status = hone_stmt_run(stmt, NULL, err);
        }
    }
    status = hone_db_finish(store->db, status, err);
    if (status == HONE_OK) {
        const hone_rec_file *files = rows;
        for (size_t i = 0; i < n; i++) store_drop_artifact(store, files[i].digest);
        if (n_deleted) *n_deleted = (uint32_t)n;
    }
    store_free_list(&file_table, rows, n);
    return status;
}

void hone_rec_file_free(hone_rec_file *rec) {
    store_free(&file_table, rec);
}
void hone_list_file_free(hone_list_file *list) {
    store_free_list(&file_table, list->rows, list->n);
    *list = (hone_list_file){0};
}

/* ---- keys ---- */

#define KEY_COLUMNS "id, name, hash, prefix, created_at, last_used_at"
static const store_field key_fields[] = {
    FIELD(hone_rec_key, id, STORE_TEXT),        FIELD(hone_rec_key, name, STORE_TEXT),
    FIELD(hone_rec_key, hash, STORE_TEXT),      FIELD(hone_rec_key, prefix, STORE_TEXT),
    FIELD(hone_rec_key, created_at, STORE_INT), FIELD(hone_rec_key, last_used_at, STORE_INT),
};
static const store_table key_table = {
    .fields = key_fields,
    .n = sizeof(key_fields) / sizeof(key_fields[0]),
    .bytes = sizeof(hone_rec_key),
    .add = "INSERT INTO api_key (" KEY_COLUMNS ", seq) VALUES ($1, $2, $3, $4, $5, $6,"
           " (SELECT COALESCE(MAX(seq), 0) + 1 FROM api_key))",
    .get = "SELECT " KEY_COLUMNS " FROM api_key WHERE hash = $1",
    .list = STORE_LIST(KEY_COLUMNS, "api_key", "1 = 1"),
    .cursor = "SELECT seq FROM api_key WHERE id = $1",
};

#define KEY_PREFIX "sk-hone-"
#define USED_EVERY_S 60 /* the time of the last use is worth one write a minute, not one a request */

/* The hash's own key only says what the hash is for: no other hash of the same bytes is equal to it. */
static void hash_key(const char *secret, char hash[65]) {
    static const unsigned char purpose[] = "hone api key, version 1";
    unsigned char raw[32];
    crypto_generichash(raw, sizeof(raw), (const unsigned char *)secret, strlen(secret), purpose, sizeof(purpose) - 1);
    sodium_bin2hex(hash, 65, raw, sizeof(raw));
}

hone_status hone_store_key_add(hone_store *store, const char *name, char secret[HONE_KEY_TEXT], hone_rec_key *out,
                               hone_error *err) {
    unsigned char raw[32];
    char id[HONE_ID_MAX], hash[65], prefix[32];
    *out = (hone_rec_key){0};
    memcpy(secret, KEY_PREFIX, sizeof(KEY_PREFIX));
    randombytes_buf(raw, sizeof(raw));
    sodium_bin2base64(secret + sizeof(KEY_PREFIX) - 1, HONE_KEY_TEXT - sizeof(KEY_PREFIX) + 1, raw, sizeof(raw),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(raw, sizeof(raw));
    hash_key(secret, hash);
    hone_id_make("key-", id);
    snprintf(prefix, sizeof(prefix), "%.12s...%s", secret, secret + strlen(secret) - 4);
    const hone_rec_key rec = {.id = id, .name = name, .hash = hash, .prefix = prefix, .created_at = hone_clock_unix()};
    hone_status status = store_add(store, &key_table, &rec, err);
    if (status == HONE_OK) status = store_get(store, &key_table, "key", hash, out, err);
    if (status != HONE_OK) sodium_memzero(secret, HONE_KEY_TEXT);
    return status;
}

hone_status hone_store_key_check(hone_store *store, const char *secret, hone_rec_key *out, hone_error *err) {
    char hash[65];
    hone_stmt *stmt;
    *out = (hone_rec_key){0};
    if (strncmp(secret, KEY_PREFIX, sizeof(KEY_PREFIX) - 1) != 0 || strlen(secret) != HONE_KEY_TEXT - 1)
        return hone_fail(err, HONE_ERR_NOT_FOUND, "no such key");
    hash_key(secret, hash);
    /* Found by its hash: how long that takes says nothing about a secret that nobody can guess piece by piece. */
    hone_status status = store_get(store, &key_table, "key", hash, out, NULL);
    if (status == HONE_ERR_NOT_FOUND) return hone_fail(err, status, "no such key"); /* and not a word about the hash */
    if (status != HONE_OK) return hone_fail(err, status, "the key could not be looked up");
    const int64_t now = hone_clock_unix();
    if (now - out->last_used_at < USED_EVERY_S) return HONE_OK;
    /* Not worth failing a request for (the disk may be full), nor waiting for the disk. */
    if (hone_db_begin_relaxed(store->db, NULL) != HONE_OK) return HONE_OK;
    status = hone_db_prepare(store->db, &stmt, "UPDATE api_key SET last_used_at = $2 WHERE hash = $1", NULL);
    if (status == HONE_OK) {
        hone_stmt_bind_text(stmt, 1, hash);
        hone_stmt_bind_int(stmt, 2, now);
        status = hone_stmt_run(stmt, NULL, NULL);
    }
    if (hone_db_finish(store->db, status, NULL) == HONE_OK) out->last_used_at = now;
    return HONE_OK;
}

hone_status hone_store_key_list(hone_store *store, hone_page page, hone_list_key *out, hone_error *err) {
    void *rows;
    const hone_status status = store_list(store, &key_table, page, NULL, &rows, &out->n, &out->has_more, err);
    out->rows = rows;
    return status;
}

hone_status hone_store_key_delete(hone_store *store, const char *id, hone_error *err) {
    int64_t changed = 0;
    const hone_status status = store_run(store, &changed, err, "DELETE FROM api_key WHERE id = $1", id, NULL);
    return status == HONE_OK && !changed ? hone_fail(err, HONE_ERR_NOT_FOUND, "no such key: '%s'", id) : status;
}

void hone_rec_key_free(hone_rec_key *rec) {
    store_free(&key_table, rec);
}
void hone_list_key_free(hone_list_key *list) {
    store_free_list(&key_table, list->rows, list->n);
    *list = (hone_list_key){0};
}
