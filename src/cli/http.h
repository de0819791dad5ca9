/* http.h - a client of the server's own API, for the verbs that drive it (demo, job).
 *
 * libcurl below.  One request at a time, but for cli_http_many.
 *
 * Threads: the main thread. */
#ifndef HONE_CLI_HTTP_H
#define HONE_CLI_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct cli_http cli_http;

/* base: "http://127.0.0.1:8080"; key may be NULL. */
hone_status cli_http_open(cli_http **out, const char *base, const char *key, hone_error *err);
void cli_http_close(cli_http *h); /* NULL is fine */

/* body NULL: none.  *reply (the caller's) is the reply's JSON.  A status of 400 and above is HONE_ERR_NOT_FOUND for
 * 404, else HONE_ERR_IO, and err holds the server's message; *reply is NULL then. */
hone_status cli_http_json(cli_http *h, const char *method, const char *path, json_t *body, json_t **reply,
                          hone_error *err);

/* POST /v1/files as a multipart form. */
hone_status cli_http_upload(cli_http *h, const char *file, const char *purpose, json_t **reply, hone_error *err);

/* Server-sent events, each one's JSON handed to on_event as it comes, until the stream ends, "[DONE]", or on_event
 * returns false. */
hone_status cli_http_events(cli_http *h, const char *method, const char *path, json_t *body,
                            bool (*on_event)(void *arg, json_t *event), void *arg, hone_error *err);

/* POST n bodies to one path with at most n_at_once under way.  body_of gives a new reference, or NULL without memory.
 * on_reply gets each reply in the order of arrival; false ends it all.  The first failure ends it all. */
typedef struct {
    json_t *(*body_of)(void *arg, size_t i);
    bool (*on_reply)(void *arg, size_t i, json_t *reply);
    void *arg;
} cli_http_batch;
hone_status cli_http_many(cli_http *h, const char *path, size_t n, uint32_t n_at_once, const cli_http_batch *batch,
                          hone_error *err);

#endif
