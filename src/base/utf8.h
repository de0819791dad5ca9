/* utf8.h - strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef HONE_UTF8_H
#define HONE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the first character of text[n], its code point into *code; 0 when it is invalid, cut off or n is 0. */
size_t hone_utf8_decode(const char *text, size_t n, uint32_t *code);

/* Writes 1 to 4 bytes; 0 for surrogates and values over U+10FFFF. */
size_t hone_utf8_encode(uint32_t code, char out[4]);

/* Offset of the first invalid byte, or n when all of it is valid. */
size_t hone_utf8_valid(const char *text, size_t n);

/* Length of the longest prefix of text[n] that does not end inside a character which later bytes could complete. */
size_t hone_utf8_complete(const char *text, size_t n);

#endif
