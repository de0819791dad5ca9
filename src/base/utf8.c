/* utf8.c - strict UTF-8; the contract is in utf8.h. */
#include "base/utf8.h"

/* Bytes a lead announces: 1 to 4, or 0 for a byte that cannot lead. */
static size_t width_of(unsigned char lead) {
    if (lead < 0x80) return 1;
    if (lead < 0xc2) return 0;
    if (lead < 0xe0) return 2;
    if (lead < 0xf0) return 3;
    return lead < 0xf5 ? 4 : 0;
}

/* The second byte has a narrower range after four leads: it is what excludes overlong forms and surrogates. */
static bool second_fits(unsigned char lead, unsigned char c) {
    if (lead == 0xe0) return c >= 0xa0 && c <= 0xbf;
    if (lead == 0xed) return c >= 0x80 && c <= 0x9f;
    if (lead == 0xf0) return c >= 0x90 && c <= 0xbf;
    if (lead == 0xf4) return c >= 0x80 && c <= 0x8f;
    return (c & 0xc0) == 0x80;
}

size_t hone_utf8_decode(const char *text, size_t n, uint32_t *code) {
    if (n == 0) return 0;
    const unsigned char *s = (const unsigned char *)text;
    const size_t width = width_of(s[0]);
    if (width == 0 || width > n) return 0;
    if (width == 1) {
        *code = s[0];
        return 1;
    }
    if (!second_fits(s[0], s[1])) return 0;
    uint32_t value = s[0] & (0x7fu >> width);
    for (size_t i = 1; i < width; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        value = value << 6 | (s[i] & 0x3fu);
    }
    *code = value;
    return width;
}

size_t hone_utf8_encode(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code >= 0xd800 && code < 0xe000) return 0;
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    if (code > 0x10ffff) return 0;
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

size_t hone_utf8_valid(const char *text, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint32_t code;
        const size_t width = hone_utf8_decode(text + i, n - i, &code);
        if (!width) break;
        i += width;
    }
    return i;
}

size_t hone_utf8_complete(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char c = s[n - back];
        if ((c & 0xc0) == 0x80) continue;
        const size_t width = width_of(c);
        if (width <= back) return n; /* a whole character, or a byte that nothing can complete */
        if (back >= 2 && !second_fits(c, s[n - back + 1])) return n;
        return n - back;
    }
    return n;
}
