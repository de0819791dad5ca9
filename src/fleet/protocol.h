/* protocol.h - what controller and copy say to each other over one Unix stream socket.
 *
 * A frame is 12 bytes of head - u32 bytes of payload, u16 type, u16 version, u32 checksum of the payload (XXH32) - and
 * the payload, at most HONE_FRAME_LIMIT bytes.  Numbers are little-endian; a text or array is a u32 count and its
 * bytes. Descriptors travel beside the first byte of their frame (SCM_RIGHTS).  Either side that meets a frame it
 * cannot read ends the connection: there is no resynchronising, and a copy is cheap to start again.
 *
 *   controller -> copy                              copy -> controller
 *   HELLO    configuration; fd: tiles               READY    memory plan, fingerprint, sandbox
 *   ADAPTER  digest; fds: config, tensors           ADAPTER_READY digest | ADAPTER_FAILED digest, code, message
 *   PIN      digest                                 ADAPTER_GONE digest: it made room, or a request waits for it
 *   REQUEST  hone_engine_request                           EVENTS   the events of one step
 *   VOCABULARY  fd: the tokens' bytes (vocabulary.h), before the first request with a grammar
 *   CANCEL   id                                     STATS    after each step that changed them, at most 10 a second
 *   STOP     exit when nothing is left              FAILED   why the copy cannot go on; it exits next
 */
#ifndef HONE_PROTOCOL_H
#define HONE_PROTOCOL_H

#include "base/buf.h"
#include "engine/engine.h"

#define HONE_PROTOCOL_VERSION 3u
#define HONE_FRAME_HEAD 12u
#define HONE_FRAME_LIMIT (256u << 20) /* a request of 16 million tokens and its bias would fit */
#define HONE_FRAME_FDS 2u

typedef enum {
    HONE_FRAME_HELLO = 1,
    HONE_FRAME_ADAPTER,
    HONE_FRAME_REQUEST,
    HONE_FRAME_CANCEL,
    HONE_FRAME_STOP,
    HONE_FRAME_PIN,
    HONE_FRAME_VOCABULARY,
    HONE_FRAME_READY = 64,
    HONE_FRAME_ADAPTER_READY,
    HONE_FRAME_ADAPTER_FAILED,
    HONE_FRAME_EVENTS,
    HONE_FRAME_STATS,
    HONE_FRAME_FAILED,
    HONE_FRAME_ADAPTER_GONE
} hone_frame_type;

typedef struct {
    hone_engine_config engine;
    uint32_t threads; /* 0: one per core */
} hone_hello;

typedef struct {
    hone_memory_plan plan;
    char fingerprint[64]; /* weights and kernel set: two copies with the same one give the same bits */
    char sandbox[96];     /* what holds: "landlock, seccomp", or what is missing and why */
} hone_ready;

/* One frame, appended to out. */
void hone_frame_begin(hone_buf *out, size_t *mark);
void hone_frame_end(hone_buf *out, size_t mark, hone_frame_type type);

void hone_frame_hello(hone_buf *out, const hone_hello *h);
void hone_frame_ready(hone_buf *out, const hone_ready *r);
void hone_frame_request(hone_buf *out, const hone_engine_request *r);
void hone_frame_id(hone_buf *out, hone_frame_type type, uint64_t id); /* CANCEL */
void hone_frame_text(hone_buf *out, hone_frame_type type,
                     const char *text); /* ADAPTER, PIN, ADAPTER_READY, ADAPTER_GONE */
void hone_frame_problem(hone_buf *out, hone_frame_type type, const char *about, const hone_error *e);
void hone_frame_stats(hone_buf *out, const hone_engine_stats *s);

/* Events are appended to an open frame one after the other. */
void hone_frame_put_event(hone_buf *out, const hone_event *e, uint32_t width);

/* A received frame; payload is borrowed from the reader until its next call. */
typedef struct {
    hone_frame_type type;
    const uint8_t *payload;
    size_t n;
} hone_frame;

/* Decoders check every count against the bytes that are there; HONE_ERR_FORMAT otherwise. */
hone_status hone_frame_get_hello(const hone_frame *f, hone_hello *out);
hone_status hone_frame_get_ready(const hone_frame *f, hone_ready *out);
/* Arrays of out point into *store, which the caller frees with hone_free. */
hone_status hone_frame_get_request(const hone_frame *f, hone_engine_request *out, void **store);
hone_status hone_frame_get_id(const hone_frame *f, uint64_t *id);
hone_status hone_frame_get_text(const hone_frame *f, char *text, size_t text_cap);
hone_status hone_frame_get_problem(const hone_frame *f, char *about, size_t about_cap, hone_error *e);
hone_status hone_frame_get_stats(const hone_frame *f, hone_engine_stats *s);
hone_status hone_frame_each_event(const hone_frame *f, void (*on_event)(void *arg, const hone_event *e), void *arg);

/* Bytes and descriptors arriving on a socket, cut into frames.  Owns descriptors until they are taken. */
typedef struct {
    hone_buf in;
    size_t at; /* bytes of in consumed by frames already returned */
    int fd[16];
    uint32_t n_fd;
} hone_frame_reader;

/* Read once what is there (non-blocking or blocking socket).  HONE_ERR_CLOSED: the peer is gone; HONE_ERR_FULL: nothing
 * to read now. */
hone_status hone_frame_receive(hone_frame_reader *r, int socket, hone_error *err);
/* The next whole frame: HONE_OK, HONE_ERR_FULL (more bytes needed) or HONE_ERR_FORMAT. */
hone_status hone_frame_next(hone_frame_reader *r, hone_frame *out, hone_error *err);
int hone_frame_take_fd(hone_frame_reader *r); /* in order of arrival; -1: none */
void hone_frame_reader_free(hone_frame_reader *r);

/* Send n bytes from data, with descriptors beside the first.  Blocking sockets: all of it.  *sent tells how far. */
hone_status hone_frame_send(int socket, const void *data, size_t n, const int *fds, uint32_t n_fds, size_t *sent,
                            hone_error *err);

#endif
