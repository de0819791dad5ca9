/* http_reply.c - what a handler sees of a request and says in reply; the contract is in http.h.
 * Order: looking at the request, fields of the reply, its header, whole replies, files, streams, server-sent events. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/http_internal.h"

/* ---- the request ---- */

const char *hone_request_id(const hone_request *req) {
    return req->id;
}
const char *hone_request_method(const hone_request *req) {
    return req->head.method;
}
const char *hone_request_path(const hone_request *req) {
    return req->target.path;
}
const char *hone_request_route(const hone_request *req) {
    return req->route ? req->route->route.pattern : NULL;
}
const char *hone_request_peer(const hone_request *req) {
    return req->conn->peer;
}

static const char *pair_value(const net_pair *pairs, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(pairs[i].name, name) == 0) return pairs[i].value;
    return NULL;
}

const char *hone_request_param(const hone_request *req, const char *name) {
    return pair_value(req->params, req->n_params, name);
}

const char *hone_request_query(const hone_request *req, const char *name) {
    return pair_value(req->target.query, req->target.n_query, name);
}

size_t hone_request_query_count(const hone_request *req) {
    return req->target.n_query;
}

const char *hone_request_query_at(const hone_request *req, size_t i, const char **value) {
    if (i >= req->target.n_query) return NULL;
    if (value) *value = req->target.query[i].value;
    return req->target.query[i].name;
}

const char *hone_request_header(const hone_request *req, const char *name) {
    return net_head_field(&req->head, name);
}
size_t hone_request_header_count(const hone_request *req) {
    return req->head.n_fields;
}

const char *hone_request_header_at(const hone_request *req, size_t i, const char **value) {
    if (i >= req->head.n_fields) return NULL;
    if (value) *value = req->head.fields[i].value;
    return req->head.fields[i].name;
}

const char *hone_request_body(const hone_request *req, size_t *n) {
    if (n) *n = req->bytes.n;
    return hone_buf_str(&req->bytes);
}

int64_t hone_request_body_declared(const hone_request *req) {
    return req->head.chunked ? -1
                             : (int64_t)(req->head.content_length > INT64_MAX ? INT64_MAX : req->head.content_length);
}

void hone_request_take_body(hone_request *req,
                            void (*on_body)(void *arg, hone_request *req, const void *bytes, size_t n), void *arg) {
    if (!req->in_begin || !req->to_handler) {
        hone_log(HONE_LOG_ERROR, "net", "hone_request_take_body outside of begin is ignored");
        return;
    }
    req->on_body = on_body;
    req->on_body_arg = arg;
}

void hone_request_set_data(hone_request *req, void *data) {
    req->data = data;
}
void *hone_request_data(const hone_request *req) {
    return req->data;
}

void hone_request_on_close(hone_request *req, hone_http_handler fn, void *arg) {
    req->on_close = fn;
    req->on_close_arg = arg;
}

int hone_request_status(const hone_request *req) {
    return req->status;
}
uint64_t hone_request_bytes_in(const hone_request *req) {
    return req->body.total;
}
uint64_t hone_request_bytes_out(const hone_request *req) {
    return req->bytes_out;
}
bool hone_request_aborted(const hone_request *req) {
    return !req->complete || req->conn->broken;
}

double hone_request_seconds(const hone_request *req) {
    return (double)((req->ended_ns ? req->ended_ns : hone_clock_ns()) - req->began_ns) / 1e9;
}

/* ---- fields of the reply ---- */

void hone_reply_header(hone_request *req, const char *name, const char *value) {
    for (const char *c = value; *c; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f) { /* else a value could begin a field of its own */
            hone_log(HONE_LOG_ERROR, "net", "reply field %s holds a control character and is left out", name);
            return;
        }
    const size_t before = req->fields.n;
    if (!hone_buf_format(&req->fields, "%s: %s\r\n", name, value)) req->fields.n = before;
}

void hone_reply_header_format(hone_request *req, const char *name, const char *format, ...) {
    char value[512];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof(value), format, args);
    va_end(args);
    hone_reply_header(req, name, value);
}

/* ---- the reply's header ---- */

static const char *reason(int status) {
    switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "Unknown";
    }
}

/* The date only changes once a second. */
static const char *date_now(void) {
    static _Thread_local char text[40];
    static _Thread_local time_t of = -1;
    const time_t now = time(NULL);
    struct tm tm;
    if (now != of && gmtime_r(&now, &tm)) {
        strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        of = now;
    }
    return text;
}

/* length -1: not known, in chunks where the client knows them.  False: no memory, the connection is to be dropped. */
static bool send_head(hone_request *req, int status, const char *content_type, int64_t length) {
    net_connection *conn = req->conn;
    req->begun = true;
    req->status = status;
    const bool bare = status == 204 || status == 304;
    req->chunked = length < 0 && req->head.minor == 1 && !bare;
    /* Must be known now, because it is said here; net_connection_reply_ended() acts on it. */
    if (req->body.state != NET_BODY_DONE || (length < 0 && !req->chunked)) req->keep_alive = false;
    const bool closes = conn->close_after || !req->keep_alive;
    if (closes) conn->close_after = true;
    hone_buf *head = &conn->http->scratch;
    hone_buf_clear(head);
    hone_buf_format(head, "HTTP/1.1 %d %s\r\nDate: %s\r\nx-request-id: %s\r\n", status, reason(status), date_now(),
                    req->id);
    if (content_type) hone_buf_format(head, "Content-Type: %s\r\n", content_type);
    if (length >= 0 && !bare) hone_buf_format(head, "Content-Length: %lld\r\n", (long long)length);
    if (req->chunked) hone_buf_text(head, "Transfer-Encoding: chunked\r\n");
    if (closes)
        hone_buf_text(head, "Connection: close\r\n");
    else if (req->head.minor == 0)
        hone_buf_text(head, "Connection: keep-alive\r\n");
    hone_buf_add(head, hone_buf_str(&req->fields), req->fields.n);
    hone_buf_text(head, "\r\n");
    return !head->failed && !req->fields.failed && net_connection_put(conn, head->data, head->n);
}

/* Whether the caller may answer.  A second answer is a bug of ours; it must not reach the client. */
static bool may_answer(hone_request *req, bool begun) {
    if (req->to_handler && req->begun == begun) return true;
    if (req->to_handler) hone_log(HONE_LOG_ERROR, "net", "%s: a reply out of turn is ignored", req->id);
    return false;
}

/* The end of every reply: what could not be written cannot be mended, as the header may be out. */
static void end_reply(hone_request *req, bool ok) {
    net_connection *conn = req->conn;
    net_connection_reply_ended(conn);
    if (ok) return;
    req->complete = false;
    net_connection_break(conn);
}

/* ---- whole replies ---- */

void net_error_body(const hone_http *http, int status, const char *message, hone_buf *out) {
    if (http->config.error) {
        http->config.error(http->config.arg, status, message, out);
        return;
    }
    hone_buf_text(out, "{\"error\":{\"message\":");
    hone_buf_json_string(out, message, strlen(message));
    hone_buf_format(out, ",\"type\":\"%s\",\"param\":null,\"code\":null}}",
                    status >= 500 ? "server_error" : "invalid_request_error");
}

void net_reply_bytes(hone_request *req, int status, const char *content_type, const void *body, size_t n) {
    bool ok = send_head(req, status, content_type, (int64_t)n);
    if (ok && n && !req->head_only && status != 204 && status != 304) {
        ok = net_connection_put(req->conn, body, n);
        req->bytes_out += n;
    }
    end_reply(req, ok);
}

void hone_reply_bytes(hone_request *req, int status, const char *content_type, const void *body, size_t n) {
    if (may_answer(req, false)) net_reply_bytes(req, status, content_type, body, n);
}

static void free_body(const void *data, size_t n, void *arg) {
    (void)data, (void)n;
    hone_free(arg);
}

#define COPY_BELOW 4096u /* a small body is copied behind the header, so that both leave in one write */

void hone_reply_buf(hone_request *req, int status, const char *content_type, hone_buf *body) {
    if (!may_answer(req, false)) {
        hone_buf_free(body);
        return;
    }
    if (body->failed || body->n < COPY_BELOW || req->head_only || status == 204 || status == 304) {
        if (body->failed) net_connection_break(req->conn);
        net_reply_bytes(req, status, content_type, hone_buf_str(body), body->n);
        hone_buf_free(body);
        return;
    }
    size_t n;
    char *bytes = hone_buf_take(body, &n);
    bool ok = send_head(req, status, content_type, (int64_t)n);
    if (!ok || evbuffer_add_reference(net_connection_output(req->conn), bytes, n, free_body, bytes) != 0) {
        hone_free(bytes);
        ok = false;
    }
    req->bytes_out += n;
    end_reply(req, ok);
}

void hone_reply_json(hone_request *req, int status, const json_t *value) {
    hone_buf body = {0};
    if (!hone_json_write(value, &body)) body.failed = true;
    hone_reply_buf(req, status, "application/json", &body);
}

void hone_reply_error(hone_request *req, int status, const char *message) {
    hone_buf body = {0};
    net_error_body(req->conn->http, status, message, &body);
    hone_reply_buf(req, status, "application/json", &body);
}

/* ---- files ---- */

void hone_reply_file(hone_request *req, int status, const char *content_type, int fd, uint64_t offset, uint64_t bytes) {
    struct stat st;
    if (!may_answer(req, false)) {
        close(fd);
        return;
    }
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size < offset || (uint64_t)st.st_size - offset < bytes) {
        close(fd); /* to promise bytes that are not there would leave the client waiting */
        hone_log(HONE_LOG_ERROR, "net", "%s: the file to be sent is shorter than it should be", req->id);
        hone_reply_error(req, 500, "the file is damaged");
        return;
    }
    bool ok = send_head(req, status, content_type, (int64_t)bytes);
    if (!ok || bytes == 0 || req->head_only) {
        close(fd);
        end_reply(req, ok);
        return;
    }
    struct evbuffer_file_segment *segment =
        evbuffer_file_segment_new(fd, (ev_off_t)offset, (ev_off_t)bytes, EVBUF_FS_CLOSE_ON_FREE);
    if (!segment) close(fd);
    ok = segment && evbuffer_add_file_segment(net_connection_output(req->conn), segment, 0, (ev_off_t)bytes) == 0;
    if (segment) evbuffer_file_segment_free(segment); /* the output holds its own reference */
    req->bytes_out += bytes;
    end_reply(req, ok);
}

/* ---- streams ---- */

void hone_stream_begin(hone_request *req, int status, const char *content_type) {
    if (!may_answer(req, false)) return;
    if (!send_head(req, status, content_type, -1)) net_connection_break(req->conn);
    net_connection_wrote(req->conn);
}

/* bytes as one chunk. */
static hone_status send_chunk(hone_request *req, const void *bytes, size_t n) {
    net_connection *conn = req->conn;
    if (conn->broken) return HONE_ERR_CLOSED;
    if (n == 0 || req->head_only) return HONE_OK;
    if (net_connection_pending(conn) + n > conn->http->config.max_pending_bytes) {
        hone_log(HONE_LOG_WARN, "net", "%s: %s takes its stream too slowly and is dropped", req->id, conn->peer);
        net_connection_break(conn);
        return HONE_ERR_CLOSED;
    }
    bool ok = true;
    if (req->chunked) { /* the size in hexadecimal, written from its end */
        char size[20];
        char *at = size + sizeof(size);
        *--at = '\n';
        *--at = '\r';
        for (size_t left = n; left; left >>= 4) *--at = "0123456789abcdef"[left & 15];
        ok = net_connection_put(conn, at, (size_t)(size + sizeof(size) - at));
    }
    ok = ok && net_connection_put(conn, bytes, n) && (!req->chunked || net_connection_put(conn, "\r\n", 2));
    if (!ok) {
        net_connection_break(conn);
        return HONE_ERR_CLOSED;
    }
    req->bytes_out += n;
    net_connection_wrote(conn);
    return HONE_OK;
}

hone_status hone_stream_write(hone_request *req, const void *bytes, size_t n) {
    return may_answer(req, true) ? send_chunk(req, bytes, n) : HONE_ERR_CLOSED;
}

void hone_stream_end(hone_request *req) {
    if (!may_answer(req, true)) return;
    const bool ok = !req->chunked || req->head_only || net_connection_put(req->conn, "0\r\n\r\n", 5);
    end_reply(req, ok && !req->conn->broken);
}

size_t hone_stream_pending(const hone_request *req) {
    return net_connection_pending(req->conn);
}

void hone_stream_on_drain(hone_request *req, size_t low_bytes, hone_http_handler fn, void *arg) {
    net_connection *conn = req->conn;
    req->on_drain = fn;
    req->on_drain_arg = arg;
    req->drain_low = low_bytes;
    bufferevent_setwatermark(conn->bev, EV_WRITE, low_bytes, 0);
    if (fn && hone_stream_pending(req) <= low_bytes) bufferevent_trigger(conn->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
}

/* ---- server-sent events ---- */

void hone_sse_begin(hone_request *req) {
    if (!may_answer(req, false)) return;
    hone_reply_header(req, "Cache-Control", "no-cache");
    hone_reply_header(req, "X-Accel-Buffering", "no"); /* a proxy that collects would undo the streaming */
    req->is_sse = true;
    hone_stream_begin(req, 200, "text/event-stream; charset=utf-8");
}

/* Each line of text with the field's name before it. */
static void add_lines(hone_buf *out, const char *field, const char *text, size_t n) {
    size_t i = 0;
    do {
        const char *lf = n > i ? memchr(text + i, '\n', n - i) : NULL;
        size_t end = lf ? (size_t)(lf - text) : n;
        const char *cr = end > i ? memchr(text + i, '\r', end - i) : NULL;
        if (cr) end = (size_t)(cr - text);
        hone_buf_text(out, field);
        hone_buf_add(out, text + i, end - i);
        hone_buf_char(out, '\n');
        i = end + 1;
        if (end + 1 < n && text[end] == '\r' && text[end + 1] == '\n') i++;
    } while (i <= n && n);
}

static hone_status send_frame(hone_request *req, hone_buf *frame) {
    hone_buf_char(frame, '\n');
    if (frame->failed) {
        net_connection_break(req->conn);
        return HONE_ERR_CLOSED;
    }
    return send_chunk(req, frame->data, frame->n);
}

hone_status hone_sse_event(hone_request *req, const char *event, const char *data, size_t n) {
    if (!may_answer(req, true)) return HONE_ERR_CLOSED;
    hone_buf *frame = &req->conn->http->scratch;
    hone_buf_clear(frame);
    if (event) add_lines(frame, "event: ", event, strcspn(event, "\r\n"));
    add_lines(frame, "data: ", data, n);
    return send_frame(req, frame);
}

hone_status hone_sse_comment(hone_request *req, const char *text) {
    if (!may_answer(req, true)) return HONE_ERR_CLOSED;
    hone_buf *frame = &req->conn->http->scratch;
    hone_buf_clear(frame);
    add_lines(frame, ": ", text, strlen(text));
    return send_frame(req, frame);
}
