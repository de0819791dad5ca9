/* errors.c - error replies in OpenAI's shape. */
#include <stdarg.h>
#include <stdio.h>

#include "api/private.h"

json_t *api_error_object(const char *message, const char *type, const char *param, const char *code) {
    return json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", message, "type", type, "param", param, "code",
                     code);
}

static void reply(hone_request *req, int status, const char *type, const char *param, const char *code,
                  const char *format, va_list args) {
    char message[1024];
    vsnprintf(message, sizeof(message), format, args);
    json_t *body = api_error_object(message, type, param, code);
    if (body)
        hone_reply_json(req, status, body);
    else /* the message may hold broken UTF-8 from the request */
        hone_reply_error(req, status, "The request could not be answered.");
    json_decref(body);
}

void api_error(hone_request *req, int status, const char *type, const char *param, const char *code, const char *format,
               ...) {
    va_list args;
    va_start(args, format);
    reply(req, status, type, param, code, format, args);
    va_end(args);
}

void api_invalid(hone_request *req, const char *param, const char *code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    reply(req, 400, "invalid_request_error", param, code, format, args);
    va_end(args);
}

void api_fail(hone_request *req, const hone_error *err, const char *param) {
    switch (err->code) {
    case HONE_ERR_ARG:
    case HONE_ERR_FORMAT:
    case HONE_ERR_UNSUPPORTED: api_invalid(req, param, NULL, "%s", err->message); return;
    case HONE_ERR_NOT_FOUND:
        api_error(req, 404, "invalid_request_error", param, "not_found", "%s", err->message);
        return;
    case HONE_ERR_FULL:
        /* the controller tells when it would fit */
        hone_reply_header_format(req, "retry-after", "%lld", err->position > 0 ? (long long)err->position : 1LL);
        api_error(req, 429, "rate_limit_error", NULL, "queue_full",
                  "The server is at its limit: %s. Please retry later.", err->message);
        return;
    case HONE_ERR_TIMEOUT: api_error(req, 504, "server_error", NULL, "timeout", "%s", err->message); return;
    case HONE_ERR_BUSY:
        hone_reply_header(req, "retry-after", "5");
        api_error(req, 503, "server_error", NULL, "unavailable", "%s", err->message);
        return;
    default: api_error(req, 500, "server_error", NULL, "internal_error", "%s", err->message); return;
    }
}
