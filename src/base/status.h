/* status.h - results and errors, one convention everywhere.
 *
 * A function that can fail returns hone_status: 0 is success, negative an error.  Details go to the caller's
 * hone_error, which may always be NULL.  Messages tell what, where and what to do. */
#ifndef HONE_STATUS_H
#define HONE_STATUS_H

#include <stdint.h>

typedef enum {
    HONE_OK = 0,
    HONE_ERR_ARG = -1,         /* a value from the caller is out of range or contradictory */
    HONE_ERR_NOMEM = -2,       /* memory could not be had */
    HONE_ERR_FORMAT = -3,      /* a file or message breaks its format */
    HONE_ERR_UNSUPPORTED = -4, /* well-formed, but this program does not implement it; the message names it */
    HONE_ERR_NOT_FOUND = -5,
    HONE_ERR_EXISTS = -6,
    HONE_ERR_IO = -7,      /* read, write, map or socket failed; errno is in the message */
    HONE_ERR_FULL = -8,    /* no pages, no queue place, no disk space: retry later */
    HONE_ERR_LIMIT = -9,   /* a stated limit (steps, depth, bytes) was passed */
    HONE_ERR_CLOSED = -10, /* the peer is gone */
    HONE_ERR_BUSY = -11,   /* in use by another process */
    HONE_ERR_CANCELLED = -12,
    HONE_ERR_DENIED = -13,
    HONE_ERR_INTERNAL = -14, /* an invariant of our own does not hold */
    HONE_ERR_TIMEOUT = -15   /* a deadline passed */
} hone_status;

#define HONE_NO_POSITION (-1)

typedef struct {
    hone_status code;
    int64_t position; /* byte offset or line number, as the message says; HONE_NO_POSITION when none */
    char message[500];
} hone_error;

/* Fill err (may be NULL) and return code, so that `return hone_fail(...)` reads well. */
hone_status hone_fail(hone_error *err, hone_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same with a position. */
hone_status hone_fail_at(hone_error *err, hone_status code, int64_t position, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Put context before the message that err already holds ("file x: ..."); returns err's code, or code when err is NULL.
 */
hone_status hone_fail_within(hone_error *err, hone_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "ok", "bad argument", ...: a static text. */
const char *hone_status_text(hone_status code);

#endif
