/* buf.c - the growing byte string; the contract is in buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

bool hone_buf_reserve(hone_buf *b, size_t n_more) {
    size_t need;
    if (b->failed) return false;
    if (!hone_add_size(&need, b->n, n_more) || need == SIZE_MAX || (b->limit && need > b->limit)) {
        b->failed = true;
        return false;
    }
    need += 1; /* the NUL */
    if (need <= b->cap) return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    char *p = hone_realloc(b->data, cap, 1);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->data = p;
    b->cap = cap;
    return true;
}

bool hone_buf_add(hone_buf *b, const void *bytes, size_t n) {
    if (!hone_buf_reserve(b, n)) return false;
    if (n) memcpy(b->data + b->n, bytes, n);
    b->n += n;
    b->data[b->n] = 0;
    return true;
}

bool hone_buf_text(hone_buf *b, const char *text) {
    return hone_buf_add(b, text, strlen(text));
}
bool hone_buf_char(hone_buf *b, char c) {
    return hone_buf_add(b, &c, 1);
}

bool hone_buf_format(hone_buf *b, const char *format, ...) {
    char first[256]; /* most texts are written once, into the room that is there or this */
    const bool inside = b->data && b->cap - b->n > 1;
    char *to = inside ? b->data + b->n : first;
    const size_t room = inside ? b->cap - b->n : sizeof(first);
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(to, room, format, args);
    va_end(args);
    const bool fits = n >= 0 && (size_t)n < room;
    bool ok = n >= 0 && hone_buf_reserve(b, (size_t)n);
    if (ok && !fits) vsnprintf(b->data + b->n, (size_t)n + 1, format, again);
    if (ok && fits && !inside) memcpy(b->data + b->n, first, (size_t)n + 1);
    if (ok)
        b->n += (size_t)n;
    else if (inside)
        b->data[b->n] = 0; /* nothing was added */
    va_end(again);
    return ok;
}

bool hone_buf_json_string(hone_buf *b, const char *text, size_t n) {
    static const char hex[] = "0123456789abcdef";
    hone_buf_char(b, '"');
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            size_t end = i + 1; /* runs of plain ASCII go out in one append */
            while (end < n && (unsigned char)text[end] >= 0x20 && (unsigned char)text[end] < 0x7f && text[end] != '"' &&
                   text[end] != '\\')
                end++;
            hone_buf_add(b, text + i, end - i);
            i = end;
        } else if (c < 0x80) {
            char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            const char *at = c < 0x20 || c == '"' || c == '\\' ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL;
            if (c && at) {
                escape[1] = at[1];
                hone_buf_add(b, escape, 2);
            } else if (c == 0x7f) {
                hone_buf_char(b, (char)c);
            } else {
                hone_buf_add(b, escape, 6);
            }
            i++;
        } else {
            uint32_t code;
            const size_t width = hone_utf8_decode(text + i, n - i, &code);
            if (width) {
                hone_buf_add(b, text + i, width);
                i += width;
            } else {
                hone_buf_text(b, "\xef\xbf\xbd");
                i++;
            }
        }
    }
    return hone_buf_char(b, '"');
}

const char *hone_buf_str(const hone_buf *b) {
    return b->data ? b->data : "";
}

void hone_buf_clear(hone_buf *b) {
    b->n = 0;
    b->failed = false;
    if (b->data) b->data[0] = 0;
}

void hone_buf_free(hone_buf *b) {
    hone_free(b->data);
    *b = (hone_buf){0};
}

char *hone_buf_take(hone_buf *b, size_t *n) {
    if (!b->failed && !b->data) hone_buf_reserve(b, 0);
    if (b->failed) {
        hone_buf_free(b);
        return NULL;
    }
    char *p = b->data;
    p[b->n] = 0;
    if (n) *n = b->n;
    *b = (hone_buf){0};
    return p;
}
