/* http_parse.c - the bytes of a request; the contract is in http_parse.h.
 * Order: characters, finding the header's end, the header, the target, the body. */
#include "net/http_parse.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/utf8.h"

static bool refuse(net_fault *fault, int status, const char *why) {
    *fault = (net_fault){status, why};
    return false;
}

/* tchar of RFC 9110, 5.6.2 */
static bool is_token_char(unsigned char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", (char)c) != NULL);
}

static int hex_value(unsigned char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const int low = c | 0x20;
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

/* ---- finding the header's end ---- */

size_t net_head_find(net_head_scan *scan, const char *bytes, size_t n, const net_head_limits *limits,
                     net_fault *fault) {
    *fault = (net_fault){0};
    while (scan->seen < n) {
        const char *feed = memchr(bytes + scan->seen, '\n', n - scan->seen);
        /* A line's length counts as soon as it is known to be too long, its end need not have come. */
        const size_t end = feed ? (size_t)(feed - bytes) : n;
        if (scan->first_line == 0 && end - scan->line_start > limits->max_target_bytes)
            return refuse(fault, 414, "the request line is too long"), 0;
        if (scan->first_line != 0 && end - scan->first_line > limits->max_header_bytes)
            return refuse(fault, 431, "the header fields are too long"), 0;
        scan->seen = end;
        if (!feed) return 0;
        /* A bare line feed ends a line for some and not for others: the ground of request smuggling. */
        if (end == scan->line_start || bytes[end - 1] != '\r')
            return refuse(fault, 400, "a header line must end in CR LF"), 0;
        const bool empty = end - 1 == scan->line_start;
        scan->seen = end + 1;
        scan->line_start = end + 1;
        if (scan->first_line == 0) {
            if (empty) return refuse(fault, 400, "the request line is empty"), 0;
            scan->first_line = end + 1;
        } else if (empty) {
            return end + 1;
        }
    }
    return 0;
}

/* ---- the header ---- */

static bool parse_request_line(net_head *head, char *line, size_t n, net_fault *fault) {
    if (memchr(line, 0, n)) return refuse(fault, 400, "the request line holds a control character");
    char *space = memchr(line, ' ', n);
    if (!space || space == line) return refuse(fault, 400, "the request line must be: method, target, version");
    *space = 0;
    head->method = line;
    for (const char *c = line; *c; c++)
        if (!is_token_char((unsigned char)*c)) return refuse(fault, 400, "the method is not a token");
    char *target = space + 1;
    char *second = memchr(target, ' ', n - (size_t)(target - line));
    if (!second || second == target) return refuse(fault, 400, "the request line must be: method, target, version");
    *second = 0;
    head->target = target;
    for (const char *c = target; *c; c++)
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f || *c == '#')
            return refuse(fault, 400, "the target holds a character that must be percent-encoded");
    const char *version = second + 1;
    if (strncmp(version, "HTTP/", 5) != 0 || strlen(version) != 8 || version[6] != '.' || version[5] < '0' ||
        version[5] > '9' || version[7] < '0' || version[7] > '9')
        return refuse(fault, 400, "the request line must end in HTTP/1.1");
    if (version[5] != '1') return refuse(fault, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    head->minor = version[7] == '0' ? 0 : 1;
    return true;
}

static bool parse_field(net_field *field, char *line, size_t n, net_fault *fault) {
    if (line[0] == ' ' || line[0] == '\t')
        return refuse(fault, 400, "a header field must not be folded over two lines");
    char *colon = memchr(line, ':', n);
    if (!colon || colon == line) return refuse(fault, 400, "a header field needs a name and a colon");
    for (const char *c = line; c < colon; c++)
        if (!is_token_char((unsigned char)*c))
            return refuse(fault, 400, "a header field's name holds a space or another character that is not allowed");
    *colon = 0;
    char *value = colon + 1, *end = line + n;
    while (value < end && (*value == ' ' || *value == '\t')) value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) end--;
    for (const char *c = value; c < end; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return refuse(fault, 400, "a header field's value holds a control character");
    *end = 0; /* at the latest on the CR */
    field->name = line;
    field->value = value;
    return true;
}

/* Whether a list field ("Connection: close, x") has the word. */
static bool list_has(const char *list, const char *word) {
    const size_t n = strlen(word);
    while (*list) {
        list += strspn(list, ", \t");
        const size_t k = strcspn(list, ", \t");
        if (k == n && strncasecmp(list, word, n) == 0) return true;
        list += k;
    }
    return false;
}

static bool parse_length(uint64_t *length, const char *value, net_fault *fault) {
    if (!*value) return refuse(fault, 400, "Content-Length is empty");
    *length = 0;
    for (const char *c = value; *c; c++) {
        if (*c < '0' || *c > '9') return refuse(fault, 400, "Content-Length is not a number");
        if (__builtin_mul_overflow(*length, 10, length) ||
            __builtin_add_overflow(*length, (uint64_t)(*c - '0'), length))
            return refuse(fault, 413, "Content-Length is too large");
    }
    return true;
}

/* What the fields say about framing and about this connection: RFC 9112, 3.2, 6 and 9. */
static bool read_framing(net_head *head, net_fault *fault) {
    int n_host = 0, n_length = 0, n_coding = 0;
    bool close = false, keep = false;
    for (size_t i = 0; i < head->n_fields; i++) {
        const char *name = head->fields[i].name, *value = head->fields[i].value;
        if (strcasecmp(name, "host") == 0) {
            if (n_host++) return refuse(fault, 400, "there is a second Host");
            if (strpbrk(value, " \t,/?#@\\")) return refuse(fault, 400, "Host is not a host name");
        } else if (strcasecmp(name, "content-length") == 0) {
            if (n_length++) return refuse(fault, 400, "there is a second Content-Length");
            if (!parse_length(&head->content_length, value, fault)) return false;
        } else if (strcasecmp(name, "transfer-encoding") == 0) {
            if (n_coding++) return refuse(fault, 400, "there is a second Transfer-Encoding");
            if (head->minor == 0) return refuse(fault, 400, "HTTP/1.0 knows no Transfer-Encoding");
            if (strcasecmp(value, "chunked") != 0)
                return refuse(fault, 501, "chunked is the only Transfer-Encoding that is understood here");
            head->chunked = true;
        } else if (strcasecmp(name, "connection") == 0) {
            close = close || list_has(value, "close");
            keep = keep || list_has(value, "keep-alive");
        } else if (strcasecmp(name, "expect") == 0) {
            if (strcasecmp(value, "100-continue") != 0)
                return refuse(fault, 417, "100-continue is the only expectation that can be met");
            head->expect_continue = head->minor == 1;
        }
    }
    if (n_length && n_coding) return refuse(fault, 400, "Content-Length and Transfer-Encoding exclude each other");
    if (n_host == 0 && head->minor == 1) return refuse(fault, 400, "Host is missing");
    head->keep_alive = !close && (head->minor == 1 || keep);
    return true;
}

bool net_head_parse(net_head *head, char *block, size_t n, const net_head_limits *limits, net_fault *fault) {
    *head = (net_head){0};
    *fault = (net_fault){0};
    size_t n_lines = 0;
    for (size_t i = 0; i < n; i++) n_lines += block[i] == '\n';
    if (n_lines < 2) return refuse(fault, 400, "the header is cut off");
    if (n_lines - 2 > limits->max_fields) return refuse(fault, 431, "there are too many header fields");
    head->fields = hone_zalloc(n_lines, sizeof(*head->fields));
    if (!head->fields) return refuse(fault, 503, "no memory for the request");
    bool first = true;
    for (char *line = block; line < block + n;) {
        char *feed = memchr(line, '\n', (size_t)(block + n - line));
        if (!feed || feed == line || feed[-1] != '\r') return refuse(fault, 400, "a header line must end in CR LF");
        feed[-1] = 0;
        const size_t length = (size_t)(feed - 1 - line);
        if (first) {
            if (!parse_request_line(head, line, length, fault)) return false;
        } else if (length) {
            if (!parse_field(&head->fields[head->n_fields], line, length, fault)) return false;
            head->n_fields++;
        }
        first = false;
        line = feed + 1;
    }
    return read_framing(head, fault);
}

void net_head_free(net_head *head) {
    hone_free(head->fields);
    *head = (net_head){0};
}

const char *net_head_field(const net_head *head, const char *name) {
    for (size_t i = 0; i < head->n_fields; i++)
        if (strcasecmp(head->fields[i].name, name) == 0) return head->fields[i].value;
    return NULL;
}

/* ---- the target ---- */

#define MAX_QUERY                                                                                                      \
    100 /* parameters; the request line's limit alone would allow thousands, and looking for doubles is                \
           quadratic */

bool net_percent_decode(const char *text, size_t n, bool plus, char *out) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '%') {
            if (n - i < 3) return false;
            const int high = hex_value((unsigned char)text[i + 1]), low = hex_value((unsigned char)text[i + 2]);
            if (high < 0 || low < 0) return false;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (!c) return false;
        out[k++] = c;
    }
    out[k] = 0;
    return hone_utf8_valid(out, k) == k;
}

static bool parse_query(net_target *target, const char *query, net_fault *fault) {
    const size_t n = strlen(query);
    size_t n_pairs = 1;
    for (const char *c = query; *c; c++) n_pairs += *c == '&';
    if (n_pairs > MAX_QUERY) return refuse(fault, 400, "there are too many query parameters");
    target->query = hone_zalloc(n_pairs, sizeof(*target->query));
    target->text = hone_zalloc(n + 2 * n_pairs + 1, 1); /* decoding shortens; a pair without '=' has a NUL more */
    if (!target->query || !target->text) return refuse(fault, 503, "no memory for the request");
    char *out = target->text;
    for (const char *at = query; *at;) {
        const size_t pair = strcspn(at, "&");
        if (pair) {
            const char *equals = memchr(at, '=', pair);
            const size_t n_name = equals ? (size_t)(equals - at) : pair;
            net_pair *p = &target->query[target->n_query];
            if (!net_percent_decode(at, n_name, true, out))
                return refuse(fault, 400, "a query parameter's name is not well encoded");
            p->name = out;
            out += strlen(out) + 1;
            if (!net_percent_decode(equals ? equals + 1 : "", equals ? pair - n_name - 1 : 0, true, out))
                return refuse(fault, 400, "a query parameter's value is not well encoded");
            p->value = out;
            out += strlen(out) + 1;
            const size_t n_own = strlen(p->name);
            const bool is_list = n_own > 2 && strcmp(p->name + n_own - 2, "[]") == 0;
            for (size_t i = 0; i < target->n_query && !is_list; i++)
                if (strcmp(target->query[i].name, p->name) == 0)
                    return refuse(fault, 400, "a query parameter is given twice");
            target->n_query++;
        }
        at += pair;
        if (*at) at++;
    }
    return true;
}

bool net_target_parse(net_target *target, const char *raw, net_fault *fault) {
    *target = (net_target){0};
    *fault = (net_fault){0};
    /* absolute-form is for proxies, but a server must take it (RFC 9112, 3.2.2) */
    if (strncasecmp(raw, "http://", 7) == 0 || strncasecmp(raw, "https://", 8) == 0) {
        raw = strchr(raw, ':') + 3;
        raw += strcspn(raw, "/?");
        if (*raw != '/') return refuse(fault, 400, "the target has no path");
    }
    if (raw[0] != '/' && strcmp(raw, "*") != 0) return refuse(fault, 400, "the target must begin with a slash");
    const size_t n_path = strcspn(raw, "?");
    target->path = hone_strndup(raw, n_path);
    if (!target->path) return refuse(fault, 503, "no memory for the request");
    return raw[n_path] == 0 || parse_query(target, raw + n_path + 1, fault);
}

void net_target_free(net_target *target) {
    hone_free(target->path);
    hone_free(target->text);
    hone_free(target->query);
    *target = (net_target){0};
}

/* ---- the body ---- */

#define MAX_CHUNK_LINE 1024 /* size and extensions, which nobody here reads */
#define MAX_TRAILER_BYTES 8192

enum { AT_SIZE, AT_EXTENSION, AT_FEED };                     /* net_body.at in NET_BODY_CHUNK_SIZE */
enum { AT_LINE_START, AT_LINE, AT_LINE_FEED, AT_LAST_FEED }; /* in NET_BODY_TRAILER */

void net_body_begin(net_body *body, const net_head *head, uint64_t limit) {
    *body = (net_body){.limit = limit};
    if (head->chunked) {
        body->state = NET_BODY_CHUNK_SIZE;
    } else {
        body->left = head->content_length;
        body->state = body->left ? NET_BODY_LENGTH : NET_BODY_DONE;
    }
}

/* One byte of "1a3;name=value CR LF". */
static bool take_size(net_body *body, unsigned char c, net_fault *fault) {
    if (++body->line > MAX_CHUNK_LINE) return refuse(fault, 400, "a chunk's first line is too long");
    const int digit = hex_value(c);
    switch (body->at) {
    case AT_SIZE:
        if (digit >= 0) {
            if (++body->digits > 16) return refuse(fault, 400, "a chunk's size is too long");
            body->left = body->left << 4 | (uint64_t)digit;
            return true;
        }
        if (!body->digits) return refuse(fault, 400, "a chunk's size is missing");
        if (c == '\r') {
            body->at = AT_FEED;
            return true;
        }
        if (c != ';') return refuse(fault, 400, "a chunk's size is not a hexadecimal number");
        body->at = AT_EXTENSION;
        return true;
    case AT_EXTENSION:
        if (c == '\r')
            body->at = AT_FEED;
        else if ((c < 0x20 && c != '\t') || c == 0x7f)
            return refuse(fault, 400, "a chunk's extension holds a control character");
        return true;
    default:
        if (c != '\n') return refuse(fault, 400, "a chunk's first line must end in CR LF");
        body->line = 0;
        body->digits = 0;
        body->at = 0;
        body->state = body->left ? NET_BODY_CHUNK_DATA : NET_BODY_TRAILER;
        if (body->left > body->limit - body->total) return refuse(fault, 413, "the body is too large");
        return true;
    }
}

/* One byte of the trailers, which are read and thrown away. */
static bool take_trailer(net_body *body, unsigned char c, net_fault *fault) {
    if (++body->line > MAX_TRAILER_BYTES) return refuse(fault, 431, "the trailer fields are too long");
    switch (body->at) {
    case AT_LINE_START:
        if (c == '\r')
            body->at = AT_LAST_FEED;
        else if (!is_token_char(c))
            return refuse(fault, 400, "a trailer field is malformed");
        else
            body->at = AT_LINE;
        return true;
    case AT_LINE:
        if (c == '\r')
            body->at = AT_LINE_FEED;
        else if ((c < 0x20 && c != '\t') || c == 0x7f)
            return refuse(fault, 400, "a trailer field is malformed");
        return true;
    default:
        if (c != '\n') return refuse(fault, 400, "a trailer line must end in CR LF");
        if (body->at == AT_LAST_FEED) body->state = NET_BODY_DONE;
        body->at = AT_LINE_START;
        return true;
    }
}

size_t net_body_take(net_body *body, const char *bytes, size_t n, const char **piece, size_t *n_piece,
                     net_fault *fault) {
    *fault = (net_fault){0};
    *piece = NULL;
    *n_piece = 0;
    size_t i = 0;
    while (i < n && body->state != NET_BODY_DONE) {
        const unsigned char c = (unsigned char)bytes[i];
        switch (body->state) {
        case NET_BODY_LENGTH:
        case NET_BODY_CHUNK_DATA: {
            const size_t k = body->left < n - i ? (size_t)body->left : n - i;
            *piece = bytes + i;
            *n_piece = k;
            body->left -= k;
            body->total += k;
            if (body->left == 0) body->state = body->state == NET_BODY_LENGTH ? NET_BODY_DONE : NET_BODY_CHUNK_END;
            return i + k;
        }
        case NET_BODY_CHUNK_SIZE:
            if (!take_size(body, c, fault)) return 0;
            break;
        case NET_BODY_CHUNK_END:
            if (c != (body->at ? '\n' : '\r')) return refuse(fault, 400, "a chunk must end in CR LF"), 0;
            if (body->at) body->state = NET_BODY_CHUNK_SIZE;
            body->at = !body->at;
            break;
        case NET_BODY_TRAILER:
            if (!take_trailer(body, c, fault)) return 0;
            break;
        case NET_BODY_DONE: break;
        }
        i++;
    }
    return i;
}
