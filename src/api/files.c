/* files.c - /v1/files: upload to disk as it streams, list, get, content, delete.
 * Order: objects, upload, list, get, content, delete. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/private.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/multipart.h"

/* ---- Objects ---- */

static json_t *file_object(const hone_rec_file *f) {
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "object", "file", "id", f->id, "purpose", f->purpose,
                          "filename", f->filename, "bytes", (json_int_t)f->bytes, "created_at",
                          (json_int_t)f->created_at, "status", f->status);
    if (!o) return NULL;
    if (f->expires_at) json_object_set_new(o, "expires_at", json_integer(f->expires_at));
    if (f->status_details) json_object_set_new(o, "status_details", json_string(f->status_details));
    return o;
}

static void not_found(hone_request *req, const char *id) {
    api_error(req, 404, "invalid_request_error", "id", "file_not_found", "No such File object: %.200s", id);
}

/* ---- Upload ---- */

typedef struct {
    hone_request *req; /* during the sync; NULL: the client left meanwhile */
    hone_store *store;
    hone_multipart *form;
    hone_artifact_writer *writer;
    int64_t expires_after;
    hone_status status; /* of the sync */
    hone_error err;
} upload;

static void free_upload(upload *u) {
    hone_multipart_close(u->form);
    hone_artifact_abandon(u->writer);
    hone_free(u);
}

/* Cut off: what was written goes with the writer. */
static void on_gone(void *arg, hone_request *req) {
    (void)req;
    free_upload(arg);
}

static hone_status on_file(void *arg, const void *bytes, size_t n, hone_error *err) {
    upload *u = arg;
    return hone_artifact_write(u->writer, bytes, n, err);
}

/* Ends the upload with the reply that fits the failure. */
static void refuse(hone_request *req, upload *u, const hone_error *err) {
    free_upload(u);
    if (err->code == HONE_ERR_FULL)
        api_error(req, 507, "server_error", "file", "storage_full", "The server has no space left for this file: %s",
                  err->message);
    else
        api_fail(req, err, "file");
}

static void on_body(void *arg, hone_request *req, const void *bytes, size_t n) {
    upload *u = arg;
    hone_error err = {.position = HONE_NO_POSITION};
    if (hone_multipart_feed(u->form, bytes, n, &err) != HONE_OK) refuse(req, u, &err);
}

void api_files_begin(void *arg, hone_request *req) {
    hone_api *api = arg;
    hone_error err = {.position = HONE_NO_POSITION};
    upload *u = hone_zalloc(1, sizeof(*u));
    if (!u) {
        api_error(req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        return;
    }
    u->store = api->cfg.store;
    hone_status status =
        hone_multipart_open(&u->form, hone_request_header(req, "content-type"), "file", on_file, u, &err);
    if (status == HONE_OK) status = hone_artifact_begin(hone_store_artifacts(api->cfg.store), &u->writer, &err);
    if (status != HONE_OK) {
        refuse(req, u, &err);
        return;
    }
    hone_request_set_data(req, u);
    hone_request_on_close(req, on_gone, u);
    hone_request_take_body(req, on_body, u);
}

static bool check_fields(hone_request *req, const hone_multipart *form, int64_t *expires_after) {
    static const char *const purposes[] = {"assistants", "batch", "fine-tune", "vision", "user_data", "evals"};
    static const char *const known[] = {"file", "purpose", "expires_after[anchor]", "expires_after[seconds]"};
    for (size_t i = 0; i < hone_multipart_count(form); i++) {
        bool good = false;
        for (size_t k = 0; k < 4; k++) good = good || strcmp(hone_multipart_name(form, i), known[k]) == 0;
        if (good) continue;
        api_invalid(req, hone_multipart_name(form, i), "unknown_parameter", "Unknown parameter: '%.60s'.",
                    hone_multipart_name(form, i));
        return false;
    }
    const char *purpose = hone_multipart_field(form, "purpose");
    if (!hone_multipart_has_file(form) || !purpose) {
        const char *name = purpose ? "file" : "purpose";
        api_invalid(req, name, "missing_required_parameter", "Missing required parameter: '%s'.", name);
        return false;
    }
    bool good = false;
    for (size_t i = 0; i < sizeof(purposes) / sizeof(purposes[0]); i++)
        good = good || strcmp(purpose, purposes[i]) == 0;
    if (!good) {
        api_invalid(req, "purpose", "invalid_value",
                    "Invalid value: '%.60s'. Supported values are: 'assistants', 'batch', 'fine-tune', 'vision', "
                    "'user_data' and 'evals'.",
                    purpose);
        return false;
    }
    const char *anchor = hone_multipart_field(form, "expires_after[anchor]"),
               *seconds = hone_multipart_field(form, "expires_after[seconds]");
    *expires_after = 0;
    if (!anchor && !seconds) return true;
    char *end = NULL;
    const long long n = seconds ? strtoll(seconds, &end, 10) : 0;
    if (!anchor || strcmp(anchor, "created_at") != 0 || !seconds || *end || n < 3600 || n > 2592000) {
        api_invalid(req, "expires_after", "invalid_value",
                    "Invalid 'expires_after': expected anchor 'created_at' and seconds from 3600 to 2592000.");
        return false;
    }
    *expires_after = n;
    return true;
}

/* Its fields are good and its bytes are on the disk. */
static void record_upload(hone_request *req, upload *u) {
    hone_error err = {.position = HONE_NO_POSITION};
    const int64_t bytes = (int64_t)hone_artifact_written(u->writer);
    char digest[HONE_DIGEST_TEXT], id[HONE_ID_MAX];
    hone_status status = hone_artifact_finish(u->writer, NULL, digest, &err);
    u->writer = NULL;
    hone_id_make("file-", id);
    const int64_t now = hone_clock_unix();
    const char *name = hone_multipart_filename(u->form);
    const hone_rec_file f = {.id = id,
                             .filename = name[0] ? name : "file",
                             .purpose = hone_multipart_field(u->form, "purpose"),
                             .status = "processed",
                             .digest = digest,
                             .bytes = bytes,
                             .created_at = now,
                             .expires_at = u->expires_after ? now + u->expires_after : 0};
    if (status == HONE_OK) status = hone_store_file_add(u->store, &f, &err);
    if (status != HONE_OK) {
        refuse(req, u, &err);
        return;
    }
    json_t *body = file_object(&f);
    free_upload(u);
    hone_reply_json(req, 200, body);
    json_decref(body);
}

/* The sync of gigabytes takes seconds, in which streams must go on: it runs beside the loop.  The name and the record
 * are made on the loop again, without a gap between them in which the last other file of the same bytes could be
 * deleted, and its artifact with it. */
static void sync_upload(void *arg) {
    upload *u = arg;
    u->status = hone_artifact_sync(u->writer, &u->err);
}

static void on_synced(void *arg) {
    upload *u = arg;
    const hone_error err = u->err; /* refuse() frees u */
    if (!u->req)
        free_upload(u);
    else if (u->status != HONE_OK)
        refuse(u->req, u, &err);
    else
        record_upload(u->req, u);
}

/* The writer is with the other thread: on_synced() ends it. */
static void on_gone_in_sync(void *arg, hone_request *req) {
    (void)req;
    ((upload *)arg)->req = NULL;
}

void api_files_create(void *arg, hone_request *req) {
    hone_api *api = arg;
    upload *u = hone_request_data(req);
    hone_error err = {.position = HONE_NO_POSITION};
    if (hone_multipart_finish(u->form, &err) != HONE_OK) {
        refuse(req, u, &err);
        return;
    }
    if (!check_fields(req, u->form, &u->expires_after)) {
        free_upload(u);
        return;
    }
    u->req = req;
    u->err = (hone_error){.position = HONE_NO_POSITION};
    hone_request_on_close(req, on_gone_in_sync, u);
    if (hone_offload_run(api->cfg.offload, sync_upload, on_synced, u, &err) != HONE_OK) refuse(req, u, &err);
}

/* ---- List, get ---- */

void api_files_list(void *arg, hone_request *req) {
    hone_api *api = arg;
    hone_page page;
    hone_list_file list;
    hone_error err = {.position = HONE_NO_POSITION};
    if (!api_page(req, 10000, 10000, &page)) return;
    hone_store_file_expire(api->cfg.store, NULL, NULL);
    if (hone_store_file_list(api->cfg.store, page, hone_request_query(req, "purpose"), &list, &err) != HONE_OK) {
        api_fail(req, &err, "after");
        return;
    }
    json_t *data = json_array();
    for (size_t i = 0; i < list.n; i++) json_array_append_new(data, file_object(&list.rows[i]));
    json_t *body =
        json_pack("{s:s, s:o, s:b, s:s?, s:s?}", "object", "list", "data", data, "has_more", (int)list.has_more,
                  "first_id", list.n ? list.rows[0].id : NULL, "last_id", list.n ? list.rows[list.n - 1].id : NULL);
    /* OpenAI's description wants strings here */
    if (body && list.n == 0) {
        json_object_set_new(body, "first_id", json_string(""));
        json_object_set_new(body, "last_id", json_string(""));
    }
    hone_reply_json(req, 200, body);
    json_decref(body);
    hone_list_file_free(&list);
}

/* The record of the path's id; false after a reply. */
static bool get_file(hone_api *api, hone_request *req, hone_rec_file *out) {
    const char *id = hone_request_param(req, "id");
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_status status = hone_store_file_get(api->cfg.store, id, out, &err);
    if (status == HONE_ERR_NOT_FOUND)
        not_found(req, id);
    else if (status != HONE_OK)
        api_fail(req, &err, NULL);
    return status == HONE_OK;
}

void api_files_get(void *arg, hone_request *req) {
    hone_rec_file f;
    if (!get_file(arg, req, &f)) return;
    json_t *body = file_object(&f);
    hone_reply_json(req, 200, body);
    json_decref(body);
    hone_rec_file_free(&f);
}

/* ---- Content ---- */

void api_files_content(void *arg, hone_request *req) {
    hone_api *api = arg;
    hone_rec_file f;
    int fd;
    uint64_t bytes;
    hone_error err = {.position = HONE_NO_POSITION};
    if (!get_file(api, req, &f)) return;
    if (hone_artifact_open(hone_store_artifacts(api->cfg.store), f.digest, &fd, &bytes, &err) != HONE_OK) {
        api_error(req, 500, "server_error", NULL, "file_unreadable", "%s", err.message);
    } else {
        hone_buf disposition = {0};
        hone_buf_text(&disposition, "attachment; filename=\"");
        for (const char *p = f.filename; *p; p++)
            hone_buf_char(&disposition,
                          *p == '"' || *p == '\\' || (unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f ? '_' : *p);
        hone_buf_char(&disposition, '"');
        hone_reply_header(req, "content-disposition", hone_buf_str(&disposition));
        hone_buf_free(&disposition);
        hone_reply_file(req, 200, "application/octet-stream", fd, 0, bytes);
    }
    hone_rec_file_free(&f);
}

/* ---- Delete ---- */

void api_files_delete(void *arg, hone_request *req) {
    hone_api *api = arg;
    const char *id = hone_request_param(req, "id");
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_status status = hone_store_file_delete(api->cfg.store, id, &err);
    if (status == HONE_ERR_NOT_FOUND) {
        not_found(req, id);
    } else if (status != HONE_OK) {
        api_fail(req, &err, NULL);
    } else {
        json_t *body = json_pack("{s:s, s:s, s:b}", "id", id, "object", "file", "deleted", 1);
        hone_reply_json(req, 200, body);
        json_decref(body);
    }
}
