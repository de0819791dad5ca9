/* http_parse.h - the bytes of an HTTP/1.1 request: header, target, body.  No input or output, for net alone.
 *
 * Own code, because libevent's evhttp keeps a whole upload in memory before it asks anybody, cannot refuse a request
 * by its header, and takes what request smuggling is made of (a second Content-Length, Content-Length beside chunked,
 * a space in a name, bare line feeds).  Here whatever RFC 9112 lets a recipient refuse is refused.
 *
 * Errors are HTTP statuses with a reason for the client. */
#ifndef HONE_NET_HTTP_PARSE_H
#define HONE_NET_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

typedef struct {
    int status;      /* 0: no error; else 400, 408, ... */
    const char *why; /* static text */
} net_fault;

/* ---- header ---- */

typedef struct {
    size_t max_fields;
    size_t max_header_bytes; /* of the fields */
    size_t max_target_bytes; /* of the request line */
} net_head_limits;

/* How far a header that comes in pieces was looked at.  Start from {0}. */
typedef struct {
    size_t seen;       /* bytes looked at */
    size_t line_start; /* of the line being read */
    size_t first_line; /* where the fields begin, 0 while in the request line */
} net_head_scan;

/* Look for the header's end in bytes[n], which begin where the request begins and grow from call to call.  Returns its
 * length with the empty line, 0 when more is needed, or 0 with a fault. */
size_t net_head_find(net_head_scan *scan, const char *bytes, size_t n, const net_head_limits *limits, net_fault *fault);

typedef struct {
    const char *name, *value; /* into the block */
} net_field;

typedef struct {
    const char *method, *target;
    int minor;         /* HTTP/1.minor: 0 or 1 */
    net_field *fields; /* [n_fields], owned */
    size_t n_fields;
    bool chunked;
    bool keep_alive;
    bool expect_continue;
    uint64_t content_length; /* 0 when there is none, and when chunked */
} net_head;

/* Take a whole header apart.  block[n] is what net_head_find() measured, it is written to (NULs) and must outlive head.
 * False: fault says what is wrong; head is to be freed all the same. */
bool net_head_parse(net_head *head, char *block, size_t n, const net_head_limits *limits, net_fault *fault);
void net_head_free(net_head *head);
const char *net_head_field(const net_head *head, const char *name); /* the first, NULL when absent */

/* ---- target ---- */

typedef struct {
    const char *name, *value; /* owned together, in text */
} net_pair;

typedef struct {
    char *path;      /* raw; owned */
    char *text;      /* the decoded query; owned */
    net_pair *query; /* [n_query], owned */
    size_t n_query;
} net_target;

bool net_target_parse(net_target *target, const char *raw, net_fault *fault);
void net_target_free(net_target *target);

/* Percent-decode text[n] into out (room for n + 1), a NUL behind it.  plus: '+' is a space.  False for a broken escape,
 * a NUL or what is not UTF-8. */
bool net_percent_decode(const char *text, size_t n, bool plus, char *out);

/* ---- body ---- */

typedef enum {
    NET_BODY_LENGTH,
    NET_BODY_CHUNK_SIZE,
    NET_BODY_CHUNK_DATA,
    NET_BODY_CHUNK_END,
    NET_BODY_TRAILER,
    NET_BODY_DONE
} net_body_state;

typedef struct {
    net_body_state state;
    uint64_t left;  /* of the body or of the chunk */
    uint64_t total; /* body bytes so far */
    uint64_t limit; /* of total, else 413 */
    size_t line;    /* bytes of the line being read, or of all trailers */
    uint8_t digits; /* of the chunk's size */
    uint8_t at;     /* where in the line: see http_parse.c */
} net_body;

void net_body_begin(net_body *body, const net_head *head, uint64_t limit);

/* Take some of bytes[n] (n > 0) and return how many; *piece and *n_piece are what is body among them (*n_piece may be
 * 0). Call again until state is NET_BODY_DONE or the bytes are used up.  0 with a fault. */
size_t net_body_take(net_body *body, const char *bytes, size_t n, const char **piece, size_t *n_piece,
                     net_fault *fault);

#endif
