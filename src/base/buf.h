/* buf.h - a growing byte string, always followed by a NUL that does not count.
 *
 * Errors stick: after a failed append the buffer keeps what it had and `failed` stays true, so a writer may append
 * many times and look once. */
#ifndef HONE_BUF_H
#define HONE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *data; /* [cap], NULL while nothing was appended; owned */
    size_t n;   /* bytes in use, the NUL not counted */
    size_t cap;
    size_t limit; /* 0: none; otherwise n never passes it and an append that would fails */
    bool failed;
} hone_buf;

/* Start from {0}. */
bool hone_buf_reserve(hone_buf *b, size_t n_more);
bool hone_buf_add(hone_buf *b, const void *bytes, size_t n);
bool hone_buf_text(hone_buf *b, const char *text);
bool hone_buf_char(hone_buf *b, char c);
bool hone_buf_format(hone_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* text as a JSON string with its quotes; bytes that are no UTF-8 become U+FFFD.  For the streaming path. */
bool hone_buf_json_string(hone_buf *b, const char *text, size_t n);

/* The text, "" when empty.  Borrowed until the next append. */
const char *hone_buf_str(const hone_buf *b);

void hone_buf_clear(hone_buf *b); /* n = 0, memory kept */
void hone_buf_free(hone_buf *b);  /* back to {0} */

/* Hand the memory to the caller (hone_free) and reset b; NULL when an append had failed. */
char *hone_buf_take(hone_buf *b, size_t *n);

#endif
