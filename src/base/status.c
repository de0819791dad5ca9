/* status.c - the texts and the formatting of errors; the contract is in status.h. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static hone_status fill(hone_error *err, hone_status code, int64_t position, const char *format, va_list args) {
    if (err) {
        err->code = code;
        err->position = position;
        vsnprintf(err->message, sizeof(err->message), format, args);
    }
    return code;
}

hone_status hone_fail(hone_error *err, hone_status code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(err, code, HONE_NO_POSITION, format, args);
    va_end(args);
    return code;
}

hone_status hone_fail_at(hone_error *err, hone_status code, int64_t position, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(err, code, position, format, args);
    va_end(args);
    return code;
}

hone_status hone_fail_within(hone_error *err, hone_status code, const char *format, ...) {
    if (!err) return code;
    char inner[sizeof(err->message)];
    memcpy(inner, err->message, sizeof(inner));
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(err->message))
        snprintf(err->message + n, sizeof(err->message) - (size_t)n, "%s", inner);
    return err->code;
}

const char *hone_status_text(hone_status code) {
    switch (code) {
    case HONE_OK: return "ok";
    case HONE_ERR_ARG: return "bad argument";
    case HONE_ERR_NOMEM: return "out of memory";
    case HONE_ERR_FORMAT: return "bad format";
    case HONE_ERR_UNSUPPORTED: return "not supported";
    case HONE_ERR_NOT_FOUND: return "not found";
    case HONE_ERR_EXISTS: return "exists already";
    case HONE_ERR_IO: return "input/output error";
    case HONE_ERR_FULL: return "full";
    case HONE_ERR_LIMIT: return "limit passed";
    case HONE_ERR_CLOSED: return "closed by the peer";
    case HONE_ERR_BUSY: return "in use";
    case HONE_ERR_CANCELLED: return "cancelled";
    case HONE_ERR_DENIED: return "denied";
    case HONE_ERR_TIMEOUT: return "timed out";
    case HONE_ERR_INTERNAL: return "internal error";
    }
    return "unknown status";
}
