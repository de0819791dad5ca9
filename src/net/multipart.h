/* multipart.h - multipart/form-data (RFC 7578, RFC 2046 5.1) as it streams by: small fields into memory, the file's
 * bytes to a callback.
 *
 * Bounded whatever comes: parts, header bytes, field bytes, boundary length.  Threads: one owner. */
#ifndef HONE_MULTIPART_H
#define HONE_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

#define HONE_MULTIPART_FIELDS 32u         /* parts at most */
#define HONE_MULTIPART_FIELD_BYTES 65536u /* of a field's value */
#define HONE_MULTIPART_HEADER_BYTES 8192u /* of one part's header */

typedef struct hone_multipart hone_multipart;

/* Bytes of the part called file_field, n > 0; a failure ends the parse with it. */
typedef hone_status (*hone_multipart_file_fn)(void *arg, const void *bytes, size_t n, hone_error *err);

/* content_type: the header's value, "multipart/form-data; boundary=...".  HONE_ERR_FORMAT: it is another type, or has
 * no usable boundary. */
hone_status hone_multipart_open(hone_multipart **out, const char *content_type, const char *file_field,
                                hone_multipart_file_fn on_file, void *arg, hone_error *err);
void hone_multipart_close(hone_multipart *m); /* NULL is fine */

/* More of the body.  After a failure the parser takes nothing more. */
hone_status hone_multipart_feed(hone_multipart *m, const void *bytes, size_t n, hone_error *err);

/* The body is at its end: HONE_ERR_FORMAT when the last boundary has not been seen. */
hone_status hone_multipart_finish(hone_multipart *m, hone_error *err);

/* A field's value, NULL when it was not sent.  Borrowed until close. */
const char *hone_multipart_field(const hone_multipart *m, const char *name);
size_t hone_multipart_count(const hone_multipart *m);
const char *hone_multipart_name(const hone_multipart *m, size_t i); /* names of fields in order, the file's too */

bool hone_multipart_has_file(const hone_multipart *m);
const char *hone_multipart_filename(const hone_multipart *m); /* as sent, folders cut off; "" when none was given */

#endif
