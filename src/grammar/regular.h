/* regular.h - regular languages over bytes as hash-consed expressions: the terminals of grammars.
 *
 * Beside union, sequence and repetition there are intersection and complement, which JSON Schema needs: a pattern with
 * a length, a key that is none of these names.  Automata are built lazily by derivatives (Brzozowski, 1964; Owens,
 * Reppy and Turon, 2009), never in full, so a hostile expression costs what is walked and not what it could become.
 *
 * Text patterns are ECMA-262 regular expressions over Unicode code points, compiled to UTF-8 bytes.  What is no regular
 * language (back-references) or not implemented is HONE_ERR_UNSUPPORTED with the offset in the pattern.
 *
 * Threads: a set of expressions belongs to one grammar under construction; frozen with it. */
#ifndef HONE_REGULAR_H
#define HONE_REGULAR_H

#include "base/buf.h"
#include "base/status.h"

#include <stdbool.h>

typedef struct hone_regular hone_regular; /* the arena of expressions */
typedef uint32_t hone_rx;                 /* an expression; equal ids are equal expressions */

#define HONE_RX_NONE 0u         /* matches nothing */
#define HONE_RX_EMPTY 1u        /* matches the empty text alone */
#define HONE_RX_FAIL UINT32_MAX /* no memory or a limit; every builder passes it on */
#define HONE_RX_UNBOUNDED UINT32_MAX

hone_status hone_regular_open(hone_regular **out, hone_error *err);
void hone_regular_close(hone_regular *r);

hone_rx hone_rx_bytes(hone_regular *r, const void *text, size_t n); /* this text */
hone_rx hone_rx_class(hone_regular *r, const uint8_t bits[32]);     /* one byte of a set */
hone_rx hone_rx_char_range(hone_regular *r, uint32_t first,
                           uint32_t last); /* one code point, as UTF-8; surrogates excluded */
hone_rx hone_rx_cat(hone_regular *r, hone_rx a, hone_rx b);
hone_rx hone_rx_alt(hone_regular *r, hone_rx a, hone_rx b);
hone_rx hone_rx_and(hone_regular *r, hone_rx a, hone_rx b);
hone_rx hone_rx_not(hone_regular *r, hone_rx a); /* over all byte strings; intersect with hone_rx_utf8 for texts */
hone_rx hone_rx_repeat(hone_regular *r, hone_rx a, uint32_t min, uint32_t max); /* max may be HONE_RX_UNBOUNDED */
hone_rx hone_rx_utf8(hone_regular *r);                                          /* every well-formed UTF-8 text */

/* Digits, at least one, with a point among them or not, that write a multiple of m / 10^places: digits further behind
 * the point are 0.  0 < m < 400000000, places < 20. */
hone_rx hone_rx_multiple(hone_regular *r, uint32_t m, uint32_t places);

/* ECMA-262 with the u flag: classes, escapes, \d \w \s \b, \p{...}, groups, lazy quantifiers (the same language),
 * look-ahead where it can be said with intersection.  search: matches anywhere, as JSON Schema's `pattern` does; else
 * the whole text. */
hone_status hone_rx_pattern(hone_regular *r, const char *pattern, size_t n, bool search, hone_rx *out, hone_error *err);

/* The language of JSON string contents (between the quotes) whose decoded value is in `value`: each code point as
 * itself or, where JSON demands it, escaped.  Short escapes and \u00XX for control characters, quote and backslash are
 * accepted in every form JSON allows. */
hone_rx hone_rx_json_string(hone_regular *r, hone_rx value);

bool hone_rx_nullable(const hone_regular *r, hone_rx a);
bool hone_rx_is_void(hone_regular *r, hone_rx a,
                     uint32_t limit); /* matches nothing, for sure; walks at most limit states */
bool hone_rx_matches(hone_regular *r, hone_rx a, const void *text, size_t n);
hone_rx hone_rx_derive(hone_regular *r, hone_rx a, uint8_t byte);

#endif
