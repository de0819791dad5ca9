/* fuzz_http.c - requests and forms from anybody: whatever the bytes, and however they are cut into pieces, the outcome
 * is one and the same, and no byte is read that is not there.
 *
 * The first byte chooses what is fuzzed, the second how it is cut.  Forms begin with a line that is their Content-Type.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/http_internal.h"
#include "net/http_parse.h"
#include "net/multipart.h"

static void never(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

/* ---- requests ---- */

static const net_head_limits limits = {20, 2000, 500};

static void ignore(void *arg, hone_request *req) {
    (void)arg, (void)req;
}
static const hone_http_route routes[] = {
    {"GET", "/v1/models", NULL, ignore, NULL, false},
    {"GET", "/v1/models/{id...}", NULL, ignore, NULL, false},
    {"POST", "/v1/files/{id}/content", NULL, ignore, NULL, false},
    {"DELETE", "/v1/files/{id}", NULL, ignore, NULL, false},
};
static net_route *compiled;

static void take_route(const net_head *head, const net_target *target, hone_buf *out) {
    net_pair *params;
    size_t n_params;
    char *text, allow[128];
    net_fault fault;
    const net_route *route =
        net_routes_find(compiled, 4, head->method, target->path, &params, &n_params, &text, allow, &fault);
    hone_buf_format(out, "%d %s %s;", fault.status, route ? route->route.pattern : "", allow);
    for (size_t i = 0; route && i < n_params; i++) {
        hone_buf_format(out, "%s=%s;", params[i].name, params[i].value);
        if (strlen(params[i].value) > strlen(target->path)) never("a parameter is longer than the path");
    }
    hone_free(params);
    hone_free(text);
}

/* What becomes of bytes[n] that come in steps, as text. */
static void run_request(const char *bytes, size_t n, size_t step, hone_buf *out) {
    net_head_scan scan = {0};
    net_fault fault = {0};
    size_t n_head = 0;
    for (size_t have = 0; have < n && !n_head && !fault.status;) {
        have = n - have < step ? n : have + step;
        char *exact = malloc(have); /* exactly as long as what came: a read beyond it is seen */
        memcpy(exact, bytes, have);
        n_head = net_head_find(&scan, exact, have, &limits, &fault);
        free(exact);
    }
    hone_buf_format(out, "head %zu %d;", n_head, fault.status);
    if (!n_head) return;
    if (n_head > n) never("the header is longer than what came");
    char *block = malloc(n_head);
    memcpy(block, bytes, n_head);
    net_head head;
    net_target target = {0};
    if (net_head_parse(&head, block, n_head, &limits, &fault)) {
        hone_buf_format(out, "%s %s %d %d %d %llu;", head.method, head.target, head.minor, head.keep_alive,
                        head.chunked, (unsigned long long)head.content_length);
        if (head.chunked && head.content_length) never("both framings");
        for (size_t i = 0; i < head.n_fields; i++)
            hone_buf_format(out, "%s:%s;", head.fields[i].name, head.fields[i].value);
        if (net_target_parse(&target, head.target, &fault)) {
            for (size_t i = 0; i < target.n_query; i++)
                hone_buf_format(out, "%s=%s;", target.query[i].name, target.query[i].value);
            take_route(&head, &target, out);
        }
        net_target_free(&target);
        net_body body;
        net_fault body_fault = {0};
        net_body_begin(&body, &head, 5000);
        if (!head.chunked && head.content_length > 5000) body.state = NET_BODY_DONE; /* http.c refuses it */
        for (size_t at = n_head; at < n && body.state != NET_BODY_DONE && !body_fault.status;) {
            const size_t k = n - at < step ? n - at : step;
            char *exact = malloc(k);
            memcpy(exact, bytes + at, k);
            for (size_t used = 0; used < k && body.state != NET_BODY_DONE;) {
                const char *piece;
                size_t n_piece;
                const size_t more = net_body_take(&body, exact + used, k - used, &piece, &n_piece, &body_fault);
                if (body_fault.status) break;
                if (more == 0 || more > k - used || n_piece > more) never("a step of the body that does not fit");
                if (n_piece) hone_buf_add(out, piece, n_piece);
                used += more;
            }
            free(exact);
            at += k;
        }
        if (body.total > 5000) never("the body passed its limit");
        hone_buf_format(out, ";body %d %d %llu", (int)body.state, body_fault.status, (unsigned long long)body.total);
    }
    hone_buf_format(out, ";%d", fault.status);
    net_head_free(&head);
    free(block);
}

/* ---- forms ---- */

static hone_status keep(void *arg, const void *bytes, size_t n, hone_error *err) {
    (void)err;
    return hone_buf_add(arg, bytes, n) ? HONE_OK : HONE_ERR_NOMEM;
}

static void run_form(const char *type, const char *bytes, size_t n, size_t step, hone_buf *out) {
    hone_multipart *m;
    hone_buf file = {0};
    hone_status status = hone_multipart_open(&m, type, "file", keep, &file, NULL);
    hone_buf_format(out, "open %d;", status);
    if (status != HONE_OK) return;
    for (size_t at = 0; at < n && status == HONE_OK;) {
        const size_t k = n - at < step ? n - at : step;
        char *exact = malloc(k);
        memcpy(exact, bytes + at, k);
        status = hone_multipart_feed(m, exact, k, NULL);
        free(exact);
        at += k;
    }
    const hone_status end = hone_multipart_finish(m, NULL);
    if (status != HONE_OK && end == HONE_OK) never("a broken form that ends well");
    hone_buf_format(out, "%d %d;", status, end);
    if (end == HONE_OK) {
        for (size_t i = 0; i < hone_multipart_count(m); i++) {
            const char *value = hone_multipart_field(m, hone_multipart_name(m, i));
            hone_buf_format(out, "%s=%s;", hone_multipart_name(m, i), value ? value : "(file)");
        }
        hone_buf_format(out, "%s;", hone_multipart_filename(m));
        hone_buf_add(out, file.data, file.n);
    }
    hone_multipart_close(m);
    hone_buf_free(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (!compiled && net_routes_compile(&compiled, routes, 4, NULL) != HONE_OK) never("the routes");
    if (n < 2) return 0;
    const size_t step = 1 + data[1] % 61;
    const char *bytes = (const char *)data + 2;
    n -= 2;
    hone_buf whole = {0}, cut = {0};
    if (data[0] & 1) {
        const char *feed = memchr(bytes, '\n', n);
        const size_t n_type = feed ? (size_t)(feed - bytes) : 0;
        char *type = hone_strndup(bytes, n_type);
        run_form(type, bytes + n_type, n - n_type, n + 1, &whole);
        run_form(type, bytes + n_type, n - n_type, step, &cut);
        hone_free(type);
    } else {
        run_request(bytes, n, n + 1, &whole);
        run_request(bytes, n, step, &cut);
    }
    if (whole.n != cut.n || memcmp(hone_buf_str(&whole), hone_buf_str(&cut), whole.n) != 0) {
        fprintf(stderr, "whole: %s\n  cut: %s\n", hone_buf_str(&whole), hone_buf_str(&cut));
        never("the pieces change the outcome");
    }
    hone_buf_free(&whole);
    hone_buf_free(&cut);
    return 0;
}
