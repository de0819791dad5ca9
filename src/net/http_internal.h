/* http_internal.h - what http.c, http_route.c and http_reply.c share; nobody else includes it. */
#ifndef HONE_NET_HTTP_INTERNAL_H
#define HONE_NET_HTTP_INTERNAL_H

#include <event2/bufferevent.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>

#include "net/http.h"
#include "net/http_parse.h"

/* ---- routes: http_route.c ---- */

#define NET_MAX_SEGMENTS 16 /* of a pattern */

typedef enum { NET_SEGMENT_LITERAL, NET_SEGMENT_PARAM, NET_SEGMENT_REST } net_segment_kind;
typedef struct {
    net_segment_kind kind;
    const char *text; /* literal or name, not NUL-terminated, into the pattern */
    size_t n;
} net_segment;
typedef struct {
    hone_http_route route;
    net_segment segment[NET_MAX_SEGMENTS];
    size_t n_segments;
} net_route;

hone_status net_routes_compile(net_route **out, const hone_http_route *routes, size_t n, hone_error *err);

/* The route for method and path, its parameters into *params [*n_params] with the texts in *text (both owned by the
 * caller, hone_free).  NULL with a fault: 404, 405 (allow, room for 128, lists the methods), 400, 503. */
const net_route *net_routes_find(const net_route *routes, size_t n, const char *method, const char *path,
                                 net_pair **params, size_t *n_params, char **text, char allow[128], net_fault *fault);

/* ---- the server and its connections: http.c ---- */

typedef struct net_connection net_connection;

/* Where a connection is.  Reading goes on in all of them, up to the input's high mark; the bytes wait there. */
typedef enum {
    NET_IDLE,   /* nothing of a request yet */
    NET_HEAD,   /* some of its header */
    NET_BODY,   /* header done, handlers may know of it, the body comes */
    NET_ANSWER, /* the handler has it: waiting or streaming */
    NET_FLUSH,  /* reply ended, its bytes are on their way */
    NET_LINGER  /* our side is closed; reading on so that the reply is not destroyed by a reset (RFC 9112, 9.6) */
} net_connection_state;

struct hone_request {
    net_connection *conn;
    char id[37];
    char *block; /* the header's bytes, which head points into; owned */
    net_head head;
    net_target target;
    net_pair *params;
    size_t n_params;
    char *params_text;
    const net_route *route;
    net_body body;
    hone_buf bytes; /* the body in memory */
    void (*on_body)(void *arg, hone_request *req, const void *bytes, size_t n);
    void *on_body_arg;
    hone_http_handler on_close;
    void *on_close_arg;
    hone_http_handler on_drain;
    void *on_drain_arg;
    size_t drain_low;
    void *data;
    hone_buf fields; /* of the reply, as they go out */
    int status;      /* of the reply, 0 until it begins */
    uint64_t bytes_out;
    int64_t began_ns;
    int64_t ended_ns;
    bool head_only;  /* HEAD: the body is not sent */
    bool counted;    /* a header got through: config.ended is to be told */
    bool active;     /* counts in active_requests */
    bool to_handler; /* a handler has seen it and has not ended the reply */
    bool in_begin;
    bool begun;   /* the reply's header went out */
    bool chunked; /* the reply's coding */
    bool is_sse;
    bool complete; /* the reply ended as it should */
    bool keep_alive;
};

struct net_connection {
    hone_http *http;
    net_connection *next, **link;
    struct bufferevent *bev;
    struct event timer;
    int64_t timer_ns; /* when it fires; INT64_MAX: it is not set */
    struct event gone; /* EV_CLOSED: sees the client leave while reading is paused */
    hone_buf out; /* of the reply, on its way to the socket when this turn of the loop ends; what the socket does not
                     take goes behind what bev's output holds */
    net_connection *dirty_next; /* in the server's list, where dirty */
    bool dirty;
    struct event kick; /* something to be done from the loop rather than from the caller's stack */
    net_connection_state state;
    net_head_scan scan;
    hone_request *req;   /* NULL in NET_IDLE and NET_HEAD */
    int64_t since_ns;    /* of the state, or the last byte of the body */
    int64_t progress_ns; /* the client last took bytes, or nothing was waiting */
    int64_t wrote_ns;    /* the last write to a stream */
    char peer[64];
    bool gone_added;
    bool paused;      /* reading is off: enough waits behind the request */
    bool peer_closed; /* it will send no more */
    bool broken;      /* to be dropped at the next kick */
    bool close_after; /* no further request after this reply */
};

struct hone_http {
    hone_loop *loop;
    struct event_base *base;
    hone_http_config config;
    char *address_given;
    net_head_limits limits;
    net_route *routes;
    size_t n_routes;
    struct evconnlistener *listener;
    bool listening; /* false while there are too many connections, or no descriptors */
    net_connection *connections;
    hone_http_counts counts;
    uint16_t port;
    char address[64];
    net_connection *dirty, **dirty_last; /* have bytes in out */
    uint32_t n_dirty;
    struct event flush; /* sends them: the replies of one turn of the loop, one system call each */
    hone_buf scratch;   /* headers and frames of streams are put together here */
    hone_timer *retry;  /* of a listener that ran out of descriptors */
    struct event finish;
    bool finish_assigned, flush_assigned;
    bool stopping;
    bool finished;
    void (*done)(void *arg);
    void *done_arg;
};

/* A reply of the server's own making to whatever conn has reached; ends the handler's right to the request. */
void net_connection_refuse(net_connection *conn, int status, const char *why);
/* The reply was ended by its maker: flush, then go on. */
void net_connection_reply_ended(net_connection *conn);
/* Bytes of the reply, behind those before; false without memory.  They leave when this turn of the loop ends. */
bool net_connection_put(net_connection *conn, const void *bytes, size_t n);
/* libevent's output, with what was put before in it: for files and for bytes that are not to be copied. */
struct evbuffer *net_connection_output(net_connection *conn);
size_t net_connection_pending(const net_connection *conn); /* not yet taken by the socket */
/* Bytes were written: see to the timer. */
void net_connection_wrote(net_connection *conn);
void net_connection_break(net_connection *conn); /* drop it, from the loop */

/* ---- replies: http_reply.c ---- */

/* Without asking who has the right to the request. */
void net_reply_bytes(hone_request *req, int status, const char *content_type, const void *body, size_t n);
void net_error_body(const hone_http *http, int status, const char *message, hone_buf *out);

#endif
