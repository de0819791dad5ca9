/* http.h - an HTTP/1.1 server (RFC 9110, 9112) on one event loop: routes, limits, streams.
 *
 * The life of a request: the header is read and checked, the route found; config.begin and then the route's begin see
 * it before any byte of the body (authentication, choice of where the body goes); the body arrives; the route's handle
 * answers, now or later.  Requests of one connection are answered one after the other, in order.
 *
 * Whatever breaks the protocol or a limit is answered here and never reaches a handler: 400, 404, 405 (with Allow),
 * 408, 413, 414, 417, 431, 501, 503 (while stopping), 505.  Every reply has an x-request-id.
 *
 * Ownership: a hone_request belongs to the server.  A handler may hold the pointer until it has ended the reply
 * (hone_reply..., hone_stream_end) or its on_close was called, whichever is first; then it is invalid.
 *
 * Threads: all calls and callbacks on the loop's thread.  Others come in through hone_loop_post(). */
#ifndef HONE_HTTP_H
#define HONE_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "net/loop.h"

typedef struct hone_http hone_http;
typedef struct hone_request hone_request;

typedef void (*hone_http_handler)(void *arg, hone_request *req);

/* ---- the server ---- */

typedef struct {
    const char *method;      /* "GET" (answers HEAD as well), "POST", ... */
    const char *pattern;     /* "/v1/files/{id}/content"; {name...} at the end takes all segments that are left, slashes
                                too.     A literal segment goes before a parameter, whatever the order of the table */
    hone_http_handler begin; /* may be NULL: the header is there, the body is not.  May reply (the body is then not
                                read) or call hone_request_take_body() */
    hone_http_handler handle; /* the body is whole, in memory or handed over */
    void *arg;                /* for both */
    bool while_stopping;      /* answered during a stop too: /livez, /metrics */
} hone_http_route;

/* Start from hone_http_defaults(). */
typedef struct {
    const char *address;         /* "127.0.0.1"; a numeric IPv4 or IPv6 address, or a host name */
    uint16_t port;               /* 0: the system picks one, see hone_http_port() */
    uint32_t max_connections;    /* 4096; newcomers wait in the listen queue */
    uint32_t max_fields;         /* 100 header fields, else 431 */
    size_t max_header_bytes;     /* 32 KiB for all fields, else 431 */
    size_t max_target_bytes;     /* 8 KiB for the request line, else 414 */
    uint64_t max_body_bytes;     /* 64 MiB for a body in memory, else 413 */
    uint64_t max_upload_bytes;   /* 16 GiB for a body taken with hone_request_take_body(), else 413 */
    uint64_t max_buffered_bytes; /* 1 GiB for all bodies in memory together, else 503 */
    size_t max_pending_bytes;    /* 64 MiB written and not yet sent on one stream, else the client is dropped */
    uint32_t header_ms;          /* 30 s from the first byte of a header to its end, else 408 */
    uint32_t body_ms;            /* 60 s without a byte of the body, else 408 */
    uint32_t idle_ms;            /* 75 s between two requests of a connection, else it is closed */
    uint32_t write_ms;           /* 60 s in which the client takes nothing of what waits for it, else it is dropped */
    uint32_t sse_quiet_ms;       /* 15 s: a stream of events that says nothing for so long sends a comment; 0: never */
    uint32_t retry_after_s;      /* 5, in the 503 while stopping */
    void *arg;                   /* for the three hooks, each of which may be NULL */
    hone_http_handler begin;     /* before the route's begin, for every request that found a route; may reply */
    void (*error)(void *arg, int status, const char *message,
                  hone_buf *out);                      /* the JSON body of the server's own
               errors.  NULL: OpenAI's shape, {"error": {message, type, param: null, code: null}} */
    void (*ended)(void *arg, const hone_request *req); /* once for each request that got a header through, after its
                                      last byte went to the socket or the client left: access log, metrics */
} hone_http_config;

hone_http_config hone_http_defaults(void);

/* Listen.  config, with its texts, and routes are copied; patterns and methods must outlive the server.  HONE_ERR_BUSY:
 * the port is in use; HONE_ERR_DENIED: not allowed; HONE_ERR_ARG: a bad address, or a bad or doubled route. */
hone_status hone_http_open(hone_http **out, hone_loop *loop, const hone_http_config *config,
                           const hone_http_route *routes, size_t n_routes, hone_error *err);

/* Drop everything now; on_close is called for requests still open.  NULL is fine.  Not from a handler's or hook's
 * call stack: post it. */
void hone_http_close(hone_http *http);

uint16_t hone_http_port(const hone_http *http);
const char *hone_http_address(const hone_http *http); /* numeric */

/* Stop gracefully: new requests get 503 with Retry-After, running ones end in their own time, then the listener closes
 * and done(arg) is called once, from the loop (never from within this call).  hone_http_close() is still to follow;
 * called earlier it ends the wait, and done is not called. */
void hone_http_stop(hone_http *http, void (*done)(void *arg), void *arg);

typedef struct {
    uint64_t connections; /* accepted so far */
    uint64_t requests;    /* that got a header through */
    uint64_t refused;     /* answered with one of the server's own errors */
    uint32_t open_connections;
    uint32_t active_requests; /* header read, reply not yet ended */
    uint64_t buffered_bytes;  /* of request bodies */
} hone_http_counts;
hone_http_counts hone_http_count(const hone_http *http);

/* "127.0.0.0/8", "::1" and "localhost": what may be served without a key. */
bool hone_http_is_loopback(const char *address);

/* ---- the request; texts are borrowed, valid as long as the request ---- */

const char *hone_request_id(const hone_request *req); /* "req_" and 32 hexadecimal digits; sent as x-request-id */
const char *hone_request_method(const hone_request *req);
const char *hone_request_path(const hone_request *req);  /* as sent, without the query */
const char *hone_request_route(const hone_request *req); /* the pattern; NULL when none matched (in config.ended) */
const char *hone_request_peer(const hone_request *req);  /* "127.0.0.1:50512" */

/* A path parameter, percent-decoded; NULL when the pattern has none of that name.  Never holds a NUL. */
const char *hone_request_param(const hone_request *req, const char *name);

/* A query parameter, decoded; NULL when absent.  A name given twice is 400 before any handler runs, unless it ends in
 * "[]": those are walked by index. */
const char *hone_request_query(const hone_request *req, const char *name);
size_t hone_request_query_count(const hone_request *req);
const char *hone_request_query_at(const hone_request *req, size_t i, const char **value); /* returns the name */

/* A header field by name (any case), the first of that name; NULL when absent. */
const char *hone_request_header(const hone_request *req, const char *name);
size_t hone_request_header_count(const hone_request *req);
const char *hone_request_header_at(const hone_request *req, size_t i, const char **value); /* returns the name */

/* The body in memory, followed by a NUL that does not count; "" when there is none or when it was taken. */
const char *hone_request_body(const hone_request *req, size_t *n);
int64_t hone_request_body_declared(const hone_request *req); /* Content-Length; -1: chunked; 0: no body */

/* From begin only: have the body given to on_body piece by piece instead of kept in memory, under max_upload_bytes.
 * on_body may reply (the rest of the body is then thrown away and the connection closed).  Afterwards handle is called.
 * When the upload is cut off, on_close. */
void hone_request_take_body(hone_request *req,
                            void (*on_body)(void *arg, hone_request *req, const void *bytes, size_t n), void *arg);

/* A place for the handler's own state, NULL at first. */
void hone_request_set_data(hone_request *req, void *data);
void *hone_request_data(const hone_request *req);

/* Called once if the request ends before the handler ended its reply: the client left (waiting or in mid-stream), the
 * body was cut off or passed a limit, the server closes.  A handle that returns without having replied must have set
 * it, else the request is answered with 500. */
void hone_request_on_close(hone_request *req, hone_http_handler fn, void *arg);

/* ---- the reply ---- */

/* A header field of the reply, before it begins.  The value is copied; one with a control character is refused
 * (logged). */
void hone_reply_header(hone_request *req, const char *name, const char *value);
void hone_reply_header_format(hone_request *req, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Each of these ends the reply and with it the handler's right to req.  They do not fail in a way that the handler
 * could mend: without memory the connection is dropped. */
void hone_reply_bytes(hone_request *req, int status, const char *content_type, const void *body, size_t n);
void hone_reply_json(hone_request *req, int status, const json_t *value); /* value stays the caller's */
void hone_reply_buf(hone_request *req, int status, const char *content_type,
                    hone_buf *body);                                       /* takes the bytes, body is {0} then */
void hone_reply_error(hone_request *req, int status, const char *message); /* the body comes from config.error */
/* bytes of fd from offset, sent without passing through memory.  fd is the server's from here on, also on failure. */
void hone_reply_file(hone_request *req, int status, const char *content_type, int fd, uint64_t offset, uint64_t bytes);

/* A reply in pieces (chunked; to an HTTP/1.0 client up to the end of the connection). */
void hone_stream_begin(hone_request *req, int status, const char *content_type);
/* HONE_ERR_CLOSED: the client is gone or is being dropped (it let max_pending_bytes pile up); on_close follows from the
 * loop, not from within this call. */
hone_status hone_stream_write(hone_request *req, const void *bytes, size_t n);
void hone_stream_end(hone_request *req); /* ends the handler's right to req */

/* Server-sent events (WHATWG HTML, 9.2), as OpenAI writes them: "data: ...\n\n".  data may hold line feeds; event may
 * be NULL.  Begin: 200, text/event-stream, no-cache.  End with hone_stream_end(). */
void hone_sse_begin(hone_request *req);
hone_status hone_sse_event(hone_request *req, const char *event, const char *data, size_t n);
hone_status hone_sse_comment(hone_request *req, const char *text);

/* Bytes written to the stream and not yet taken by the client's side of the socket. */
size_t hone_stream_pending(const hone_request *req);
/* fn when pending falls to low_bytes or less, once; set again for another.  For senders with more than fits. */
void hone_stream_on_drain(hone_request *req, size_t low_bytes, hone_http_handler fn, void *arg);

/* For config.ended. */
int hone_request_status(const hone_request *req);         /* of the reply, 499 when the client left before it began */
uint64_t hone_request_bytes_in(const hone_request *req);  /* of the body */
uint64_t hone_request_bytes_out(const hone_request *req); /* of the reply's body */
double hone_request_seconds(const hone_request *req);     /* since the header's last byte */
bool hone_request_aborted(const hone_request *req);       /* the reply did not get to its end */

#endif
