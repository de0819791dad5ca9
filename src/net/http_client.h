/* http_client.h - fetching from the outside (libcurl): whole small documents, and large files that resume.
 *
 * Redirects are followed, at most 10, never from https to http; a token goes to the host that was named and to no
 * other. Certificates are checked.  HTTPS_PROXY and its kin are honoured (libcurl does).
 *
 * Threads: any, one call a thread; calls block until done.  hone_http_client_init() before the first thread starts. */
#ifndef HONE_HTTP_CLIENT_H
#define HONE_HTTP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/status.h"

hone_status hone_http_client_init(hone_error *err); /* more than once is fine */

/* The body of url into out, at most max_bytes (HONE_ERR_LIMIT).  bearer: a token for Authorization, may be NULL.
 * *http_status (may be NULL) is the answer's, 0 when none came.  HONE_ERR_NOT_FOUND: 404 and 410; HONE_ERR_DENIED: 401
 * and 403; HONE_ERR_IO: no connection or another status; HONE_ERR_CLOSED: cut off. */
hone_status hone_http_get(const char *url, const char *bearer, size_t max_bytes, hone_buf *out, long *http_status,
                          hone_error *err);

/* Start from hone_download_defaults(). */
typedef struct {
    const char *url;
    const char *bearer; /* NULL: none */
    const char *path; /* where the whole file will be; until then path.part, with path.part.tag telling which version */
    const char *sha256;  /* what the bytes must be, NULL: not known */
    uint64_t max_bytes;  /* 0: no limit */
    uint32_t connect_ms; /* 30 s */
    uint32_t stall_ms;   /* 60 s with no byte, then the try counts as failed */
    uint32_t tries;      /* 5, each going on where the last ended; with growing rests between them */
    /* bytes there now, the part from before included; total 0: not known.  False cancels: HONE_ERR_CANCELLED.  May be
     * NULL */
    bool (*on_progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    void *arg;
} hone_download;

hone_download hone_download_defaults(void);

typedef struct {
    uint64_t bytes;
    uint64_t resumed_from;         /* bytes that an earlier call had fetched, 0: none */
    char sha256[HONE_DIGEST_TEXT]; /* of the file */
    char commit[65];               /* Hugging Face's X-Repo-Commit, "" when absent */
} hone_download_result;

/* Success: the file stands under path, synced.  Where the server names a SHA-256 (Hugging Face: X-Linked-ETag) the
 * bytes are held against it as well.  HONE_ERR_FORMAT: they differ, and what was fetched is removed; HONE_ERR_FULL:
 * disk full; HONE_ERR_LIMIT: over max_bytes; HONE_ERR_BUSY: another process fetches to the same path; HONE_ERR_CLOSED:
 * cut off or not to be reached (also 429 and 5xx) in all tries; otherwise as hone_http_get().  Except after
 * HONE_ERR_FORMAT path.part stays, also after a kill, and the next call goes on from there if the server still has the
 * same version (If-Range). */
hone_status hone_download_run(const hone_download *d, hone_download_result *out, hone_error *err);

#endif
