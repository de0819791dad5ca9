/* http.c - the server: listening, connections and their states, time limits, stopping; the contract is in http.h.
 * Order: time, connections' ends, refusing, the header, the body, the turn of a connection, what the socket reports,
 * accepting, opening, stopping, closing.
 *
 * A connection is driven by advance(): it takes from the input what its state allows and stops where it has to wait.
 * Handlers run inside it and may end their reply there; nothing frees a connection while a handler is on the stack,
 * that is left to the loop (kick). */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "net/http_internal.h"

#define INPUT_HIGH (64u * 1024) /* bytes that wait in a connection's input before reading pauses */
#define KEEP_OUT (64u * 1024)   /* of a connection's own buffer between two replies */
#define MAX_WRITE (256u * 1024) /* in one call, so that one large reply does not hold up the streams */
#define LINGER_QUIET_MS 2000    /* a closing connection that sends nothing for so long is done */
#define LINGER_MS 30000         /* in all */
#define RETRY_ACCEPT_MS 100     /* after running out of descriptors */

hone_http_config hone_http_defaults(void) {
    return (hone_http_config){
        .address = "127.0.0.1",
        .max_connections = 4096,
        .max_fields = 100,
        .max_header_bytes = 32u << 10,
        .max_target_bytes = 8u << 10,
        .max_body_bytes = 64ull << 20,
        .max_upload_bytes = 16ull << 30,
        .max_buffered_bytes = 1ull << 30,
        .max_pending_bytes = 64u << 20,
        .header_ms = 30000,
        .body_ms = 60000,
        .idle_ms = 75000,
        .write_ms = 60000,
        .sse_quiet_ms = 15000,
        .retry_after_s = 5,
    };
}

/* ---- time: one timer a connection, whose meaning is its state's ---- */

static int64_t ms(uint32_t n) {
    return (int64_t)n * 1000000;
}
size_t net_connection_pending(const net_connection *conn) {
    return conn->out.n + evbuffer_get_length(bufferevent_get_output(conn->bev));
}
static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* When the state runs out; INT64_MAX: never. */
static int64_t due_ns(const net_connection *conn) {
    const hone_http_config *c = &conn->http->config;
    switch (conn->state) {
    case NET_IDLE: return conn->since_ns + ms(c->idle_ms);
    case NET_HEAD: return conn->since_ns + ms(c->header_ms);
    case NET_BODY: return conn->since_ns + ms(c->body_ms);
    case NET_FLUSH: return conn->progress_ns + ms(c->write_ms);
    case NET_LINGER: return earlier(conn->since_ns + ms(LINGER_QUIET_MS), conn->wrote_ns + ms(LINGER_MS));
    case NET_ANSWER: break;
    }
    int64_t due = net_connection_pending(conn) ? conn->progress_ns + ms(c->write_ms) : INT64_MAX;
    if (conn->req->is_sse && c->sse_quiet_ms) due = earlier(due, conn->wrote_ns + ms(c->sse_quiet_ms));
    return due;
}

/* A timer that is set earlier than needed stays: it looks again when it fires.  A request passes five states and would
 * otherwise move it five times. */
static void arm(net_connection *conn) {
    const int64_t due = due_ns(conn);
    if (due >= conn->timer_ns) return;
    conn->timer_ns = due;
    int64_t wait_us = (due - hone_clock_ns()) / 1000 + 1;
    if (wait_us < 1) wait_us = 1;
    const struct timeval tv = {wait_us / 1000000, wait_us % 1000000};
    event_add(&conn->timer, &tv); /* moves a timer that was set */
}

static void enter(net_connection *conn, net_connection_state state) {
    conn->state = state;
    conn->since_ns = hone_clock_ns();
    if (state != NET_ANSWER && conn->gone_added) {
        event_del(&conn->gone);
        conn->gone_added = false;
    }
    arm(conn);
}

/* ---- ends ---- */

static void check_finished(hone_http *http) {
    if (http->stopping && http->counts.active_requests == 0) event_active(&http->finish, EV_TIMEOUT, 0);
}

static void close_to_handler(hone_request *req) {
    if (!req->to_handler) return;
    req->to_handler = false;
    if (req->on_close) req->on_close(req->on_close_arg, req);
}

static void free_request(net_connection *conn) {
    hone_request *req = conn->req;
    hone_http *http = conn->http;
    if (!req) return;
    close_to_handler(req);
    req->ended_ns = hone_clock_ns();
    if (req->counted && !req->status) req->status = 499;
    if (req->counted && http->config.ended) http->config.ended(http->config.arg, req);
    conn->req = NULL;
    http->counts.buffered_bytes -= req->bytes.n;
    if (req->active) http->counts.active_requests--;
    net_head_free(&req->head);
    net_target_free(&req->target);
    hone_free(req->params);
    hone_free(req->params_text);
    hone_free(req->block);
    hone_buf_free(&req->bytes);
    hone_buf_free(&req->fields);
    hone_free(req);
    check_finished(http);
}

static void listen_again(hone_http *http) {
    if (!http->listener || http->listening || http->retry) return;
    if (http->counts.open_connections >= http->config.max_connections) return;
    http->listening = evconnlistener_enable(http->listener) == 0;
}

static void forget_dirty(net_connection *conn) {
    hone_http *http = conn->http;
    net_connection **at = &http->dirty;
    while (*at != conn) at = &(*at)->dirty_next;
    *at = conn->dirty_next;
    if (!*at) http->dirty_last = at;
    conn->dirty = false;
    http->n_dirty--;
}

static void drop(net_connection *conn) {
    hone_http *http = conn->http;
    if (conn->req && net_connection_pending(conn)) conn->req->complete = false;
    free_request(conn);
    *conn->link = conn->next;
    if (conn->next) conn->next->link = conn->link;
    event_del(&conn->timer);
    event_del(&conn->kick);
    if (conn->gone_added) event_del(&conn->gone);
    if (conn->dirty) forget_dirty(conn);
    bufferevent_free(conn->bev);
    hone_buf_free(&conn->out);
    hone_free(conn);
    http->counts.open_connections--;
    listen_again(http);
}

void net_connection_break(net_connection *conn) {
    conn->broken = true;
    event_active(&conn->kick, EV_TIMEOUT, 0);
}

/* Our side ends.  Where the client may still be sending, closing at once would make its kernel throw away the reply
 * that it has not read yet. */
static bool end_connection(net_connection *conn) {
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    if (conn->peer_closed) {
        drop(conn);
        return false;
    }
    shutdown(bufferevent_getfd(conn->bev), SHUT_WR);
    evbuffer_drain(input, evbuffer_get_length(input));
    enter(conn, NET_LINGER);
    conn->wrote_ns = conn->since_ns;
    return true;
}

/* ---- a request comes to be, and is refused ---- */

static hone_request *make_request(net_connection *conn) {
    static const char hex[] = "0123456789abcdef";
    hone_request *req = hone_zalloc(1, sizeof(*req));
    if (!req) return NULL;
    unsigned char raw[16];
    hone_random_id_bytes(raw, sizeof(raw));
    memcpy(req->id, "req_", 4);
    for (int i = 0; i < 16; i++) {
        req->id[4 + 2 * i] = hex[raw[i] >> 4];
        req->id[5 + 2 * i] = hex[raw[i] & 15];
    }
    req->conn = conn;
    req->began_ns = hone_clock_ns();
    conn->req = req;
    return req;
}

void net_connection_refuse(net_connection *conn, int status, const char *why) {
    hone_http *http = conn->http;
    hone_request *req = conn->req ? conn->req : make_request(conn);
    if (!req || req->begun) {
        net_connection_break(conn);
        return;
    }
    http->counts.refused++;
    close_to_handler(req);
    if (status == 503) hone_reply_header_format(req, "Retry-After", "%u", http->config.retry_after_s);
    hone_buf body = {0};
    net_error_body(http, status, why, &body);
    net_reply_bytes(req, status, "application/json", hone_buf_str(&body), body.n);
    hone_buf_free(&body);
}

/* After a fault in the framing nobody knows where the next request begins. */
static void refuse_and_close(net_connection *conn, int status, const char *why) {
    conn->close_after = true;
    net_connection_refuse(conn, status, why);
}

void net_connection_reply_ended(net_connection *conn) {
    hone_request *req = conn->req;
    req->to_handler = false;
    req->complete = true;
    if (req->body.state != NET_BODY_DONE || !req->keep_alive) conn->close_after = true;
    enter(conn, NET_FLUSH);
    if (net_connection_pending(conn) == 0)
        event_active(&conn->kick, EV_TIMEOUT, 0); /* the socket will not report an empty buffer */
}

void net_connection_wrote(net_connection *conn) {
    conn->wrote_ns = hone_clock_ns();
    if (conn->state == NET_ANSWER) arm(conn);
}

/* ---- the header ---- */

static void call(hone_request *req, hone_http_handler fn, void *arg) {
    if (fn && req->to_handler) fn(arg, req);
}

/* The header is whole: look at it, ask those who may answer without a body, and say what becomes of the body. */
static void begin_request(net_connection *conn, size_t n_head) {
    hone_http *http = conn->http;
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    hone_request *req = make_request(conn);
    net_fault fault;
    char allow[128];
    if (!req || !(req->block = hone_zalloc(n_head + 1, 1))) {
        refuse_and_close(conn, 503, "no memory for the request");
        return;
    }
    evbuffer_remove(input, req->block, n_head);
    if (!net_head_parse(&req->head, req->block, n_head, &http->limits, &fault)) {
        refuse_and_close(conn, fault.status, fault.why);
        return;
    }
    req->keep_alive = req->head.keep_alive;
    req->head_only = strcmp(req->head.method, "HEAD") == 0;
    net_body_begin(&req->body, &req->head, 0);
    if (!net_target_parse(&req->target, req->head.target, &fault)) {
        net_connection_refuse(conn, fault.status, fault.why);
        return;
    }
    req->counted = true;
    http->counts.requests++;
    req->route = net_routes_find(http->routes, http->n_routes, req->head.method, req->target.path, &req->params,
                                 &req->n_params, &req->params_text, allow, &fault);
    if (!req->route) {
        if (fault.status == 405) hone_reply_header(req, "Allow", allow);
        net_connection_refuse(conn, fault.status, fault.why);
        return;
    }
    if (http->stopping && !req->route->route.while_stopping) {
        conn->close_after = true;
        net_connection_refuse(conn, 503, "the server is stopping, try again in a few seconds");
        return;
    }
    req->active = true;
    http->counts.active_requests++;
    enter(conn, NET_BODY);
    req->to_handler = true;
    req->in_begin = true;
    call(req, http->config.begin, http->config.arg);
    call(req, req->route->route.begin, req->route->route.arg);
    req->in_begin = false;
    if (conn->state != NET_BODY) return; /* answered */
    req->body.limit = req->on_body ? http->config.max_upload_bytes : http->config.max_body_bytes;
    if (req->head.content_length > req->body.limit) {
        net_connection_refuse(conn, 413, "the body is too large");
    } else if (req->head.expect_continue && req->body.state != NET_BODY_DONE && evbuffer_get_length(input) == 0) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        if (bufferevent_write(conn->bev, go_on, sizeof(go_on) - 1) != 0) net_connection_break(conn);
    }
}

/* False: the connection must wait for more. */
static bool take_head(net_connection *conn) {
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    const net_head_limits *limits = &conn->http->limits;
    char start[2];
    /* An empty line before a request is forgiven (RFC 9112, 2.2): old clients send one behind a body. */
    while (conn->scan.seen == 0 && evbuffer_copyout(input, start, 2) == 2 && start[0] == '\r' && start[1] == '\n')
        evbuffer_drain(input, 2);
    const size_t n = evbuffer_get_length(input);
    if (n == 0) return false;
    if (conn->state == NET_IDLE) enter(conn, NET_HEAD);
    if (n == 1 && evbuffer_copyout(input, start, 1) == 1 && start[0] == '\r') return false; /* perhaps such a line */
    const size_t most = limits->max_target_bytes + limits->max_header_bytes + 8; /* find() refuses at that length */
    const size_t look = n < most ? n : most;
    const char *bytes = (const char *)evbuffer_pullup(input, (ev_ssize_t)look);
    if (!bytes) {
        net_connection_break(conn);
        return false;
    }
    net_fault fault;
    const size_t n_head = net_head_find(&conn->scan, bytes, look, limits, &fault);
    if (fault.status) {
        refuse_and_close(conn, fault.status, fault.why);
        return false;
    }
    if (n_head == 0) return false;
    conn->scan = (net_head_scan){0};
    begin_request(conn, n_head);
    return true;
}

/* ---- the body ---- */

static void keep_piece(net_connection *conn, const char *piece, size_t n) {
    hone_http *http = conn->http;
    hone_request *req = conn->req;
    if (req->body.total > req->body.limit) {
        net_connection_refuse(conn, 413, "the body is too large");
    } else if (req->on_body) {
        req->on_body(req->on_body_arg, req, piece, n);
    } else if (n > http->config.max_buffered_bytes - http->counts.buffered_bytes ||
               !hone_buf_add(&req->bytes, piece, n)) {
        conn->close_after = true;
        net_connection_refuse(conn, 503, "no memory for the body at present");
    } else {
        http->counts.buffered_bytes += n;
    }
}

/* False: the connection must wait for more. */
static bool take_body(net_connection *conn) {
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    hone_request *req = conn->req;
    while (conn->state == NET_BODY && req->body.state != NET_BODY_DONE) {
        if (conn->broken) return false;
        struct evbuffer_iovec view;
        if (evbuffer_peek(input, -1, NULL, &view, 1) < 1 || view.iov_len == 0) return false;
        const char *piece;
        size_t n_piece;
        net_fault fault;
        const size_t used = net_body_take(&req->body, view.iov_base, view.iov_len, &piece, &n_piece, &fault);
        if (fault.status) {
            refuse_and_close(conn, fault.status, fault.why);
            return false;
        }
        if (n_piece) keep_piece(conn, piece, n_piece); /* the piece lies in the input: drain only afterwards */
        evbuffer_drain(input, used);
        conn->since_ns = hone_clock_ns();
    }
    if (conn->state != NET_BODY) return true; /* answered or refused on the way */
    enter(conn, NET_ANSWER);
    call(req, req->route->route.handle, req->route->route.arg);
    if (conn->state != NET_ANSWER) return true;
    if (!req->on_close && !req->begun) {
        hone_log(HONE_LOG_ERROR, "net", "%s %s: the handler neither answered nor said that it will", req->head.method,
                 req->route->route.pattern);
        net_connection_refuse(conn, 500, "the server failed to answer");
        return true;
    }
    return false;
}

/* ---- the turn of a connection ---- */

static void advance(net_connection *conn) {
    while (!conn->broken) {
        switch (conn->state) {
        case NET_IDLE:
        case NET_HEAD:
            if (!take_head(conn)) return;
            break;
        case NET_BODY:
            if (!take_body(conn)) return;
            break;
        case NET_LINGER:
            evbuffer_drain(bufferevent_get_input(conn->bev), evbuffer_get_length(bufferevent_get_input(conn->bev)));
            conn->since_ns = hone_clock_ns();
            return;
        case NET_ANSWER:
        case NET_FLUSH: return;
        }
    }
}

/* The reply is out.  May free conn. */
static void flushed(net_connection *conn) {
    const bool go_on = !conn->close_after;
    free_request(conn);
    if (conn->paused && bufferevent_enable(conn->bev, EV_READ) == 0) conn->paused = false;
    if (!go_on) {
        end_connection(conn);
        return;
    }
    enter(conn, NET_IDLE);
    advance(conn);
    if (conn->peer_closed &&
        (conn->state == NET_IDLE || conn->state == NET_HEAD || conn->state == NET_BODY || conn->state == NET_ANSWER))
        net_connection_break(conn);
}

/* ---- bytes out ---- */

struct evbuffer *net_connection_output(net_connection *conn) {
    struct evbuffer *output = bufferevent_get_output(conn->bev);
    if (conn->out.n && evbuffer_add(output, conn->out.data, conn->out.n) != 0) net_connection_break(conn);
    hone_buf_clear(&conn->out);
    return output;
}

bool net_connection_put(net_connection *conn, const void *bytes, size_t n) {
    if (conn->out.n == 0) {
        struct evbuffer *output = bufferevent_get_output(conn->bev);
        if (evbuffer_get_length(output)) return evbuffer_add(output, bytes, n) == 0; /* the socket is full: queue up */
        conn->progress_ns = hone_clock_ns();
    }
    if (!hone_buf_add(&conn->out, bytes, n)) return false;
    if (conn->dirty) return true;
    hone_http *http = conn->http;
    conn->dirty = true;
    conn->dirty_next = NULL;
    if (!http->dirty) event_active(&http->flush, EV_TIMEOUT, 0);
    *http->dirty_last = conn;
    http->dirty_last = &conn->dirty_next;
    http->n_dirty++;
    return true;
}

/* May free conn. */
static void send_out(net_connection *conn) {
    if (conn->broken) return;
    if (conn->out.n && evbuffer_get_length(bufferevent_get_output(conn->bev)) == 0) {
        const ssize_t k = send(bufferevent_getfd(conn->bev), conn->out.data, conn->out.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0 && errno != EAGAIN && errno != EINTR) {
            drop(conn);
            return;
        }
        if (k > 0) {
            conn->progress_ns = hone_clock_ns();
            memmove(conn->out.data, conn->out.data + k, conn->out.n - (size_t)k);
            conn->out.n -= (size_t)k;
        }
    }
    if (conn->out.n) net_connection_output(conn);
    if (conn->out.cap > KEEP_OUT) hone_buf_free(&conn->out);
    if (net_connection_pending(conn) == 0 && conn->state == NET_FLUSH)
        flushed(conn);
    else if (conn->state == NET_ANSWER && conn->req->on_drain && net_connection_pending(conn) <= conn->req->drain_low)
        bufferevent_trigger(conn->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
}

static void on_flush(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    hone_http *http = arg;
    /* What is put meanwhile waits for the next turn: a client that sends request after request must not hold the loop.
     */
    for (uint32_t n = http->n_dirty; n && http->dirty; n--) {
        net_connection *conn = http->dirty;
        forget_dirty(conn);
        send_out(conn);
    }
    if (http->dirty) event_active(&http->flush, EV_TIMEOUT, 0);
}

/* ---- what the socket and the clock report ---- */

static void on_read(struct bufferevent *bev, void *arg) {
    (void)bev;
    net_connection *conn = arg;
    if (conn->broken) return;
    advance(conn);
    /* At its high mark libevent would call here again and again until somebody takes the bytes: stop reading outright.
     */
    if ((conn->state == NET_ANSWER || conn->state == NET_FLUSH) &&
        evbuffer_get_length(bufferevent_get_input(conn->bev)) >= INPUT_HIGH) {
        bufferevent_disable(conn->bev, EV_READ);
        conn->paused = true;
        if (conn->state == NET_ANSWER && event_add(&conn->gone, NULL) == 0) conn->gone_added = true;
    }
}

static void on_write(struct bufferevent *bev, void *arg) {
    (void)bev;
    net_connection *conn = arg;
    if (conn->broken) return;
    if (conn->state == NET_FLUSH && net_connection_pending(conn) == 0) {
        flushed(conn);
        return;
    }
    hone_request *req = conn->req;
    if (conn->state == NET_ANSWER && req->on_drain && net_connection_pending(conn) <= req->drain_low) {
        hone_http_handler fn = req->on_drain;
        req->on_drain = NULL;
        bufferevent_setwatermark(conn->bev, EV_WRITE, 0, 0);
        call(req, fn, req->on_drain_arg);
    }
}

static void peer_closed(net_connection *conn) {
    conn->peer_closed = true;
    if (conn->state != NET_FLUSH) drop(conn); /* a reply that is whole may still reach a client that only half closed */
}

static void on_event(struct bufferevent *bev, short what, void *arg) {
    (void)bev;
    net_connection *conn = arg;
    if (what & BEV_EVENT_ERROR)
        drop(conn);
    else if (what & BEV_EVENT_EOF)
        peer_closed(conn);
}

static void on_gone(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    peer_closed(arg);
}

static void on_kick(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    net_connection *conn = arg;
    if (conn->broken)
        drop(conn);
    else if (conn->state == NET_FLUSH && net_connection_pending(conn) == 0)
        flushed(conn);
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    net_connection *conn = arg;
    conn->timer_ns = INT64_MAX;
    if (conn->broken) return;
    const int64_t now = hone_clock_ns();
    if (now < due_ns(conn)) { /* something happened since the timer was set */
        arm(conn);
        return;
    }
    switch (conn->state) {
    case NET_HEAD: refuse_and_close(conn, 408, "the header took too long"); return;
    case NET_BODY: refuse_and_close(conn, 408, "nothing of the body came for too long"); return;
    case NET_ANSWER:
        if (net_connection_pending(conn) == 0 || now < conn->progress_ns + ms(conn->http->config.write_ms)) {
            hone_sse_comment(conn->req, "still here");
            arm(conn);
            return;
        }
        break;
    case NET_IDLE:
    case NET_FLUSH:
    case NET_LINGER: break;
    }
    drop(conn);
}

static void on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg) {
    (void)output;
    net_connection *conn = arg;
    if (info->n_deleted || info->orig_size == 0) conn->progress_ns = hone_clock_ns();
}

/* ---- accepting ---- */

static void name_peer(const struct sockaddr *address, socklen_t n, char *out, size_t n_out, uint16_t *port) {
    char host[64], service[8];
    if (getnameinfo(address, n, host, sizeof(host), service, sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(out, n_out, "?");
        return;
    }
    if (port) {
        *port = (uint16_t)strtoul(service, NULL, 10);
        snprintf(out, n_out, "%s", host);
    } else {
        snprintf(out, n_out, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, service);
    }
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int n_address,
                      void *arg) {
    hone_http *http = arg;
    net_connection *conn = hone_zalloc(1, sizeof(*conn));
    if (!conn || !(conn->bev = bufferevent_socket_new(http->base, fd, BEV_OPT_CLOSE_ON_FREE))) {
        hone_free(conn);
        close(fd);
        return;
    }
    conn->http = http;
    name_peer(address, (socklen_t)n_address, conn->peer, sizeof(conn->peer), NULL);
    conn->timer_ns = INT64_MAX;
    event_assign(&conn->timer, http->base, -1, 0, on_timer, conn);
    event_assign(&conn->kick, http->base, -1, 0, on_kick, conn);
    event_assign(&conn->gone, http->base, fd, EV_CLOSED | EV_PERSIST, on_gone, conn);
    conn->next = http->connections;
    conn->link = &http->connections;
    if (conn->next) conn->next->link = &conn->next;
    http->connections = conn;
    http->counts.connections++;
    http->counts.open_connections++;
    enter(conn, NET_IDLE);
    bufferevent_setcb(conn->bev, on_read, on_write, on_event, conn);
    const size_t head_most = http->limits.max_target_bytes + http->limits.max_header_bytes + 1024;
    bufferevent_setwatermark(conn->bev, EV_READ, 0, head_most > INPUT_HIGH ? head_most : INPUT_HIGH);
    bufferevent_set_max_single_read(conn->bev, INPUT_HIGH); /* libevent's 16 KiB would quarter an upload's pieces */
    bufferevent_set_max_single_write(conn->bev, MAX_WRITE);
    if (!evbuffer_add_cb(bufferevent_get_output(conn->bev), on_output, conn) ||
        bufferevent_enable(conn->bev, EV_READ | EV_WRITE) != 0) {
        drop(conn);
        return;
    }
    if (http->counts.open_connections >= http->config.max_connections) {
        evconnlistener_disable(listener);
        http->listening = false;
    }
}

static void on_retry(void *arg) {
    hone_http *http = arg;
    http->retry = NULL;
    listen_again(http);
}

/* Without descriptors the listener would report the same waiting client for ever: rest a little. */
static void on_accept_error(struct evconnlistener *listener, void *arg) {
    hone_http *http = arg;
    hone_log(HONE_LOG_WARN, "net", "cannot accept a connection: %s", strerror(errno));
    if (http->retry) return;
    http->retry = hone_loop_after(http->loop, RETRY_ACCEPT_MS, on_retry, http);
    if (!http->retry) return;
    evconnlistener_disable(listener);
    http->listening = false;
}

/* ---- opening ---- */

bool hone_http_is_loopback(const char *address) {
    struct in_addr v4;
    struct in6_addr v6;
    if (strcasecmp(address, "localhost") == 0) return true;
    if (inet_pton(AF_INET, address, &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, address, &v6) != 1) return false;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

static int bind_one(const struct addrinfo *at) {
    const int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* not REUSEPORT: a port in use must be an error */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* accepted sockets inherit it */
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
    const int e = errno;
    close(fd);
    errno = e;
    return -1;
}

static hone_status listen_on(hone_http *http, hone_error *err) {
    const char *address = http->config.address;
    const unsigned port = http->config.port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    const int rc = getaddrinfo(address, service, &hints, &found);
    if (rc != 0) return hone_fail(err, HONE_ERR_ARG, "cannot listen on '%s': %s", address, gai_strerror(rc));
    int fd = -1, e = 0;
    for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
        if ((fd = bind_one(at)) < 0) e = errno;
    freeaddrinfo(found);
    if (fd < 0) {
        if (e == EADDRINUSE)
            return hone_fail(err, HONE_ERR_BUSY, "cannot listen on %s:%u: the port is in use by another program",
                             address, port);
        if (e == EACCES || e == EPERM)
            return hone_fail(err, HONE_ERR_DENIED,
                             "cannot listen on %s:%u: not allowed (ports below 1024 need a privilege)", address, port);
        return hone_fail(err, e == EADDRNOTAVAIL ? HONE_ERR_ARG : HONE_ERR_IO, "cannot listen on %s:%u: %s", address,
                         port, strerror(e));
    }
    struct sockaddr_storage bound;
    socklen_t n_bound = sizeof(bound);
    if (getsockname(fd, (struct sockaddr *)&bound, &n_bound) == 0)
        name_peer((struct sockaddr *)&bound, n_bound, http->address, sizeof(http->address), &http->port);
    http->listener =
        evconnlistener_new(http->base, on_accept, http, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (!http->listener) {
        close(fd);
        return hone_fail(err, HONE_ERR_NOMEM, "http: no memory to listen");
    }
    evconnlistener_set_error_cb(http->listener, on_accept_error);
    http->listening = true;
    return HONE_OK;
}

static void on_finish(evutil_socket_t fd, short what, void *arg);

hone_status hone_http_open(hone_http **out, hone_loop *loop, const hone_http_config *config,
                           const hone_http_route *routes, size_t n_routes, hone_error *err) {
    *out = NULL;
    hone_http *http = hone_zalloc(1, sizeof(*http));
    if (!http) return hone_fail(err, HONE_ERR_NOMEM, "http: no memory");
    hone_status status = HONE_ERR_NOMEM;
    http->loop = loop;
    http->base = hone_loop_base(loop);
    http->config = *config;
    http->limits = (net_head_limits){config->max_fields, config->max_header_bytes, config->max_target_bytes};
    http->address_given = hone_strdup(config->address);
    if (!http->address_given) {
        hone_fail(err, HONE_ERR_NOMEM, "http: no memory");
        goto fail;
    }
    http->config.address = http->address_given;
    http->dirty_last = &http->dirty;
    if (event_assign(&http->flush, http->base, -1, 0, on_flush, http) != 0) goto fail;
    http->flush_assigned = true;
    if (event_assign(&http->finish, http->base, -1, 0, on_finish, http) == 0) http->finish_assigned = true;
    if ((status = net_routes_compile(&http->routes, routes, n_routes, err)) != HONE_OK) goto fail;
    http->n_routes = n_routes;
    if ((status = listen_on(http, err)) != HONE_OK) goto fail;
    *out = http;
    return HONE_OK;
fail:
    hone_http_close(http);
    return status;
}

uint16_t hone_http_port(const hone_http *http) {
    return http->port;
}
const char *hone_http_address(const hone_http *http) {
    return http->address;
}
hone_http_counts hone_http_count(const hone_http *http) {
    return http->counts;
}

/* ---- stopping and closing ---- */

static void on_finish(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    hone_http *http = arg;
    if (http->finished || http->counts.active_requests != 0) return;
    http->finished = true;
    if (http->listener) evconnlistener_free(http->listener);
    http->listener = NULL;
    for (net_connection *conn = http->connections, *next; conn; conn = next) {
        next = conn->next;
        if (conn->state == NET_IDLE || conn->state == NET_HEAD) drop(conn); /* the others still flush or linger */
    }
    if (http->done) http->done(http->done_arg); /* may close http: nothing of it is touched after this */
}

void hone_http_stop(hone_http *http, void (*done)(void *arg), void *arg) {
    if (http->stopping) return;
    http->stopping = true;
    http->done = done;
    http->done_arg = arg;
    check_finished(http);
}

void hone_http_close(hone_http *http) {
    if (!http) return;
    hone_timer_cancel(http->retry);
    if (http->listener) evconnlistener_free(http->listener);
    http->listener = NULL;
    while (http->connections) drop(http->connections);
    if (http->finish_assigned) event_del(&http->finish);
    if (http->flush_assigned) event_del(&http->flush);
    hone_buf_free(&http->scratch);
    hone_free(http->routes);
    hone_free(http->address_given);
    hone_free(http);
}
