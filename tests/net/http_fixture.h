/* http_fixture.h - a server and raw-socket clients in one thread: the loop turns whenever a client waits. */
#ifndef HONE_TESTS_HTTP_FIXTURE_H
#define HONE_TESTS_HTTP_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "net/http.h"
#include "test.h"

typedef struct {
    hone_loop *loop;
    hone_http *http;
    char log[4096]; /* what the hooks and handlers saw, for comparison */
    hone_request *held;
    int n_closed;
    int n_ended;
    int n_aborted;
    int last_status;
    uint64_t upload_bytes;
    bool stopped;
} fixture;

static inline int dial_port(uint16_t port, int receive_buffer) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (receive_buffer) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static inline int dial(fixture *f) {
    return dial_port(hone_http_port(f->http), 0);
}

static inline void turn(fixture *f, int n) {
    for (int i = 0; i < n; i++) hone_loop_turn(f->loop, i + 1 < n ? 0 : 1);
}

static inline void say_bytes(fixture *f, int fd, const char *bytes, size_t n) {
    while (n) {
        const ssize_t k = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k > 0) {
            bytes += k;
            n -= (size_t)k;
        } else if (k < 0 && errno != EAGAIN) {
            return; /* the server may close on a request it refuses */
        }
        turn(f, 1);
    }
}
static inline void say(fixture *f, int fd, const char *text) {
    say_bytes(f, fd, text, strlen(text));
}

/* Read until `until` stands in out (NULL: until the server closes).  False after 10 s.  Bytes that came stay in out. */
static inline bool hear(fixture *f, int fd, hone_buf *out, const char *until) {
    char chunk[65536];
    const int64_t deadline = hone_clock_ns() + 10000000000;
    for (;;) {
        if (until && out->n && memmem(out->data, out->n, until, strlen(until))) return true;
        const ssize_t k = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
        if (k > 0) {
            hone_buf_add(out, chunk, (size_t)k);
            continue;
        }
        if (k == 0 || (k < 0 && errno != EAGAIN))
            return !until || (out->n && memmem(out->data, out->n, until, strlen(until)));
        if (hone_clock_ns() > deadline) return false;
        turn(f, 1);
    }
}

/* Whole replies so far in out, by their Content-Length. */
static inline bool hear_reply(fixture *f, int fd, hone_buf *out) {
    if (!hear(f, fd, out, "\r\n\r\n")) return false;
    const char *length = strcasestr(out->data, "\r\ncontent-length:");
    const char *end = strstr(out->data, "\r\n\r\n") + 4;
    if (!length) return true;
    const size_t need = (size_t)(end - out->data) + strtoul(length + 17, NULL, 10);
    const int64_t deadline = hone_clock_ns() + 10000000000;
    while (out->n < need) {
        char chunk[4096];
        const ssize_t k = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
        if (k > 0)
            hone_buf_add(out, chunk, (size_t)k);
        else if (k == 0 || (k < 0 && errno != EAGAIN) || hone_clock_ns() > deadline)
            return false;
        else
            turn(f, 1);
    }
    return true;
}

/* One request on a connection of its own, the reply up to the close; its status. */
static inline int ask(fixture *f, const char *request, size_t n, hone_buf *out) {
    const int fd = dial(f);
    hone_buf_clear(out);
    say_bytes(f, fd, request, n);
    assert_true(hear_reply(f, fd, out));
    close(fd);
    turn(f, 2);
    assert_true(out->n > 12);
    return atoi(out->data + 9);
}

#endif
