/* test_http.c - the server by raw sockets: what it answers, what it refuses, what it survives. */
#include "http_fixture.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>

#include "base/file.h"

static void note(fixture *f, const char *text) {
    strncat(f->log, text, sizeof(f->log) - strlen(f->log) - 1);
    strncat(f->log, ";", sizeof(f->log) - strlen(f->log) - 1);
}

/* ---- handlers ---- */

static void on_echo(void *arg, hone_request *req) {
    (void)arg;
    json_t *o = json_object(), *query = json_array();
    size_t n;
    const char *body = hone_request_body(req, &n);
    for (size_t i = 0; i < hone_request_query_count(req); i++) {
        const char *value, *name = hone_request_query_at(req, i, &value);
        json_array_append_new(query, json_string(name));
        json_array_append_new(query, json_string(value));
    }
    const char *id = hone_request_param(req, "id");
    json_object_set_new(o, "method", json_string(hone_request_method(req)));
    json_object_set_new(o, "id", id ? json_string(id) : json_null());
    json_object_set_new(o, "route", json_string(hone_request_route(req)));
    json_object_set_new(o, "query", query);
    json_object_set_new(o, "body", json_stringn(body, n));
    hone_reply_header(req, "openai-processing-ms", "7");
    hone_reply_json(req, 200, o);
    json_decref(o);
}

static void on_left(void *arg, hone_request *req) {
    fixture *f = arg;
    f->n_closed++;
    if (f->held == req) f->held = NULL;
    note(f, "left");
}

static void on_hold(void *arg, hone_request *req) {
    fixture *f = arg;
    f->held = req;
    hone_request_on_close(req, on_left, f);
}

static void on_stream(void *arg, hone_request *req) {
    on_hold(arg, req);
    hone_sse_begin(req);
    hone_sse_event(req, NULL, "{\"a\":1}", 7);
}

static void on_silent(void *arg, hone_request *req) {
    (void)arg, (void)req;
}

static void on_upload_bytes(void *arg, hone_request *req, const void *bytes, size_t n) {
    (void)req, (void)bytes;
    ((fixture *)arg)->upload_bytes += n;
}

static void on_upload_begin(void *arg, hone_request *req) {
    const char *key = hone_request_header(req, "authorization");
    if (!key) {
        hone_reply_error(req, 401, "no key");
        return;
    }
    hone_request_on_close(req, on_left, arg);
    hone_request_take_body(req, on_upload_bytes, arg);
}

static void on_upload(void *arg, hone_request *req) {
    char text[64];
    const int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)((fixture *)arg)->upload_bytes);
    hone_reply_bytes(req, 200, "text/plain", text, (size_t)n);
}

static void on_file(void *arg, hone_request *req) {
    (void)arg;
    const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    hone_reply_file(req, 200, "application/octet-stream", fd, 1, 100000);
}

static void on_large(void *arg, hone_request *req) {
    (void)arg;
    hone_buf body = {0};
    for (int i = 0; i < 100000; i++) hone_buf_text(&body, "0123456789");
    hone_reply_buf(req, 200, "text/plain", &body);
}

static void on_ended(void *arg, const hone_request *req) {
    fixture *f = arg;
    f->n_ended++;
    f->n_aborted += hone_request_aborted(req);
    f->last_status = hone_request_status(req);
    assert_true(hone_request_seconds(req) >= 0);
}

static void setup_with(fixture *f, void (*change)(hone_http_config *c)) {
    *f = (fixture){0};
    const hone_http_route routes[] = {
        {"GET", "/echo", NULL, on_echo, f, false},
        {"POST", "/echo", NULL, on_echo, f, false},
        {"GET", "/v1/files/{id}/content", NULL, on_echo, f, false},
        {"GET", "/v1/files/{id}", NULL, on_echo, f, false},
        {"DELETE", "/v1/files/{id}", NULL, on_echo, f, false},
        {"GET", "/v1/models/{id...}", NULL, on_echo, f, false},
        {"GET", "/v1/models/own", NULL, on_echo, f, false},
        {"GET", "/hold", NULL, on_hold, f, false},
        {"POST", "/hold", NULL, on_hold, f, false},
        {"GET", "/stream", NULL, on_stream, f, false},
        {"GET", "/silent", NULL, on_silent, f, false},
        {"POST", "/upload", on_upload_begin, on_upload, f, false},
        {"GET", "/file", NULL, on_file, f, false},
        {"GET", "/large", NULL, on_large, f, false},
        {"GET", "/livez", NULL, on_echo, f, true},
    };
    hone_error err;
    hone_http_config config = hone_http_defaults();
    config.arg = f;
    config.ended = on_ended;
    if (change) change(&config);
    assert_int_equal(hone_loop_open(&f->loop, &err), HONE_OK);
    if (hone_http_open(&f->http, f->loop, &config, routes, sizeof(routes) / sizeof(routes[0]), &err) != HONE_OK)
        fail_msg("%s", err.message);
}

static void teardown(fixture *f) {
    hone_http_close(f->http);
    hone_loop_close(f->loop);
}

/* ---- what is refused ---- */

static void test_malformed_requests_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *request;
        int status;
    } cases[] = {
        {"well-formed", "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 200},
        {"empty line before", "\r\nGET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 200},
        {"absolute form", "GET http://x/echo HTTP/1.1\r\nHost: x\r\n\r\n", 200},
        {"HTTP/1.0 without Host", "GET /echo HTTP/1.0\r\n\r\n", 200},
        {"field without a value", "GET /echo HTTP/1.1\r\nHost: x\r\nEmpty:\r\n\r\n", 200},
        {"second Content-Length, different",
         "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
        {"second Content-Length, equal",
         "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", 400},
        {"list of Content-Lengths", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\nab", 400},
        {"signed Content-Length", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nab", 400},
        {"hexadecimal Content-Length", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\nab", 400},
        {"empty Content-Length", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400},
        {"endless Content-Length", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
         413},
        {"large Content-Length", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 67108865\r\n\r\n", 413},
        {"Content-Length with chunked",
         "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"chunked with Content-Length",
         "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
        {"chunked twice",
         "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400},
        {"gzip, chunked", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
        {"chunked in HTTP/1.0", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"no Host", "GET /echo HTTP/1.1\r\n\r\n", 400},
        {"two Hosts", "GET /echo HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400},
        {"list in Host", "GET /echo HTTP/1.1\r\nHost: x, y\r\n\r\n", 400},
        {"space before the colon", "GET /echo HTTP/1.1\r\nHost : x\r\n\r\n", 400},
        {"space in a name", "GET /echo HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400},
        {"no colon", "GET /echo HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n", 400},
        {"no name", "GET /echo HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400},
        {"folded field", "GET /echo HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400},
        {"folded first field", "GET /echo HTTP/1.1\r\n Host: x\r\n\r\n", 400},
        {"carriage return in a value", "GET /echo HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400},
        {"control character in a value", "GET /echo HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n", 400},
        {"bare line feed after the request line", "GET /echo HTTP/1.1\nHost: x\r\n\r\n", 400},
        {"bare line feed at the end", "GET /echo HTTP/1.1\r\nHost: x\r\n\n", 400},
        {"bare line feed first", "\nGET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"no version", "GET /echo\r\nHost: x\r\n\r\n", 400},
        {"two spaces", "GET  /echo HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"space behind the version", "GET /echo HTTP/1.1 \r\nHost: x\r\n\r\n", 400},
        {"lower-case version", "GET /echo http/1.1\r\nHost: x\r\n\r\n", 400},
        {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"HTTP/1.2", "GET /echo HTTP/1.2\r\nHost: x\r\n\r\n", 200},
        {"method that is no token", "GE(T /echo HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"target without a slash", "GET echo HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"fragment", "GET /echo#a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"byte over 0x7f in the target", "GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"broken escape", "GET /v1/files/%4 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"NUL by escape", "GET /v1/files/a%00b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"no UTF-8 by escape", "GET /v1/files/%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"broken escape in the query", "GET /echo?a=%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"query parameter twice", "GET /echo?a=1&a=1 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"query parameter twice, one escaped", "GET /echo?a=1&%61=2 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"list in the query", "GET /echo?a[]=1&a[]=2 HTTP/1.1\r\nHost: x\r\n\r\n", 200},
        {"no such path", "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404},
        {"double slash", "GET /v1//files HTTP/1.1\r\nHost: x\r\n\r\n", 404},
        {"slash at the end", "GET /echo/ HTTP/1.1\r\nHost: x\r\n\r\n", 404},
        {"empty parameter", "GET /v1/files/ HTTP/1.1\r\nHost: x\r\n\r\n", 404},
        {"method not allowed", "PUT /echo HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"CONNECT", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404},
        {"other expectation", "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 0\r\n\r\n", 417},
        {"chunk without a size", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", 400},
        {"chunk size with a sign", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400},
        {"chunk size with 0x", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n", 400},
        {"chunk size over 64 bits",
         "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\n", 400},
        {"huge chunk", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", 413},
        {"chunk longer than its size",
         "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400},
        {"bare line feed behind a size",
         "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", 400},
        {"bare line feed behind a chunk",
         "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n", 400},
        {"bad trailer", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n a: b\r\n\r\n", 400},
        {"handler that does not answer", "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n", 500},
    };
    fixture f;
    setup_with(&f, NULL);
    hone_buf out = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const int status = ask(&f, cases[i].request, strlen(cases[i].request), &out);
        if (status != cases[i].status) fail_msg("%s: %d instead of %d", cases[i].name, status, cases[i].status);
        assert_non_null(strstr(out.data, "\r\nx-request-id: req_"));
        if (status < 400) continue;
        /* Every refusal has OpenAI's four fields. */
        json_t *body = hone_json_parse(strstr(out.data, "\r\n\r\n") + 4,
                                       out.n - (size_t)(strstr(out.data, "\r\n\r\n") + 4 - out.data), NULL);
        json_t *error = json_object_get(body, "error");
        assert_int_equal(json_object_size(error), 4);
        assert_true(json_is_string(json_object_get(error, "message")));
        assert_true(json_is_string(json_object_get(error, "type")));
        assert_true(json_is_null(json_object_get(error, "param")));
        assert_true(json_is_null(json_object_get(error, "code")));
        json_decref(body);
    }
    static const char nul[] = "GET /echo HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n";
    assert_int_equal(ask(&f, nul, sizeof(nul) - 1, &out), 400);
    assert_int_equal(hone_http_count(f.http).active_requests, 0);
    assert_int_equal(hone_http_count(f.http).buffered_bytes, 0);
    hone_buf_free(&out);
    teardown(&f);
}

static void test_header_limits(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, NULL);
    hone_buf request = {0}, out = {0};
    for (int n = 99; n <= 101; n++) { /* with Host: 100 are allowed */
        hone_buf_clear(&request);
        hone_buf_text(&request, "GET /echo HTTP/1.1\r\nHost: x\r\n");
        for (int i = 0; i < n; i++) hone_buf_format(&request, "f%d: v\r\n", i);
        hone_buf_text(&request, "\r\n");
        assert_int_equal(ask(&f, request.data, request.n, &out), n <= 99 ? 200 : 431);
    }
    hone_buf_clear(&request);
    hone_buf_text(&request, "GET /echo HTTP/1.1\r\nHost: x\r\nbig: ");
    for (int i = 0; i < 32 * 1024; i++) hone_buf_char(&request, 'a');
    hone_buf_text(&request, "\r\n\r\n");
    assert_int_equal(ask(&f, request.data, request.n, &out), 431);
    hone_buf_clear(&request);
    hone_buf_text(&request, "GET /");
    for (int i = 0; i < 9000; i++) hone_buf_char(&request, 'a');
    assert_int_equal(ask(&f, request.data, request.n, &out), 414); /* before the line's end came */
    hone_buf_free(&request);
    hone_buf_free(&out);
    teardown(&f);
}

static void small_limits(hone_http_config *c) {
    c->max_body_bytes = 1000;
    c->max_upload_bytes = 200000;
    c->max_buffered_bytes = 1500;
}

static void test_body_limits(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, small_limits);
    hone_buf request = {0}, out = {0};
    static const int sizes[] = {0, 1, 1000, 1001, 5000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int chunked = 0; chunked < 2; chunked++) {
            hone_buf_clear(&request);
            hone_buf_text(&request, "POST /echo HTTP/1.1\r\nHost: x\r\n");
            if (chunked)
                hone_buf_text(&request, "Transfer-Encoding: chunked\r\n\r\n");
            else
                hone_buf_format(&request, "Content-Length: %d\r\n\r\n", sizes[i]);
            for (int k = 0; k < sizes[i]; k++) hone_buf_text(&request, chunked ? "1;ext=\"a\"\r\nz\r\n" : "z");
            if (chunked) hone_buf_text(&request, "0\r\nTrailer: thrown away\r\n\r\n");
            assert_int_equal(ask(&f, request.data, request.n, &out), sizes[i] <= 1000 ? 200 : 413);
            if (sizes[i] == 1000) {
                const char *body = strstr(out.data, "\"body\":\"");
                assert_non_null(body);
                assert_int_equal(strspn(body + 8, "z"), 1000);
            }
        }
    }
    /* Bodies of several requests together. */
    int fd[2];
    for (int i = 0; i < 2; i++) {
        fd[i] = dial(&f);
        say(&f, fd[i], "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
        hone_buf_clear(&request);
        for (int k = 0; k < 900; k++) hone_buf_char(&request, 'z');
        say_bytes(&f, fd[i], request.data, request.n);
        turn(&f, 3);
    }
    hone_buf_clear(&out);
    assert_true(hear_reply(&f, fd[1], &out));
    assert_int_equal(atoi(out.data + 9), 503);
    assert_non_null(strstr(out.data, "\r\nRetry-After: 5\r\n"));
    close(fd[0]);
    close(fd[1]);
    turn(&f, 5);
    assert_int_equal(hone_http_count(f.http).buffered_bytes, 0);
    hone_buf_free(&request);
    hone_buf_free(&out);
    teardown(&f);
}

/* ---- what is answered ---- */

static json_t *body_of(const hone_buf *out) {
    const char *body = strstr(out->data, "\r\n\r\n") + 4;
    return hone_json_parse(body, out->n - (size_t)(body - out->data), NULL);
}

static void test_routes_and_parameters(void **state) {
    (void)state;
    static const struct {
        const char *target, *route, *id;
    } cases[] = {
        {"/v1/files/file-1", "/v1/files/{id}", "file-1"},
        {"/v1/files/a%2Fb%20c", "/v1/files/{id}", "a/b c"},
        {"/v1/files/x/content", "/v1/files/{id}/content", "x"},
        {"/v1/models/a", "/v1/models/{id...}", "a"},
        {"/v1/models/ft:base:org:s:1", "/v1/models/{id...}", "ft:base:org:s:1"},
        {"/v1/models/owner/name", "/v1/models/{id...}", "owner/name"},
        {"/v1/models/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20", "/v1/models/{id...}",
         "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20"},
        {"/v1/models/own", "/v1/models/own", NULL},
        {"/%76%31/models/own", "/v1/models/own", NULL},
    };
    fixture f;
    setup_with(&f, NULL);
    hone_buf request = {0}, out = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hone_buf_clear(&request);
        hone_buf_format(&request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", cases[i].target);
        assert_int_equal(ask(&f, request.data, request.n, &out), 200);
        json_t *o = body_of(&out);
        assert_string_equal(json_string_value(json_object_get(o, "route")), cases[i].route);
        if (cases[i].id) assert_string_equal(json_string_value(json_object_get(o, "id")), cases[i].id);
        json_decref(o);
    }
    hone_buf_clear(&request);
    hone_buf_text(&request, "GET /echo?limit=20&after=a%2Bb+c&&flag&x[]=1&x[]=2 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(ask(&f, request.data, request.n, &out), 200);
    assert_non_null(
        strstr(out.data, "[\"limit\",\"20\",\"after\",\"a+b c\",\"flag\",\"\",\"x[]\",\"1\",\"x[]\",\"2\"]"));
    assert_non_null(strstr(out.data, "\r\nopenai-processing-ms: 7\r\n"));
    hone_buf_clear(&request);
    hone_buf_text(&request, "POST /v1/files/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(ask(&f, request.data, request.n, &out), 405);
    assert_non_null(strstr(out.data, "\r\nAllow: GET, HEAD, DELETE\r\n"));
    hone_buf_free(&request);
    hone_buf_free(&out);
    teardown(&f);
}

static void test_bad_routes_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"v1", "/a/{", "/a/{}", "/{a...}/b", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"};
    hone_loop *loop;
    hone_http *http;
    hone_http_config config = hone_http_defaults();
    assert_int_equal(hone_loop_open(&loop, NULL), HONE_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const hone_http_route route = {"GET", bad[i], NULL, on_echo, NULL, false};
        assert_int_equal(hone_http_open(&http, loop, &config, &route, 1, NULL), HONE_ERR_ARG);
        assert_null(http);
    }
    const hone_http_route twice[] = {{"GET", "/a/{x}", NULL, on_echo, NULL, false},
                                     {"GET", "/a/{y}", NULL, on_echo, NULL, false}};
    assert_int_equal(hone_http_open(&http, loop, &config, twice, 2, NULL), HONE_ERR_ARG);
    hone_loop_close(loop);
}

static void test_keep_alive_and_pipelining(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, NULL);
    hone_buf out = {0};
    int fd = dial(&f);
    /* Three at once, the second of which has to wait: the replies come in order, none is lost. */
    say(&f, fd,
        "GET /v1/files/one HTTP/1.1\r\nHost: x\r\n\r\nGET /hold HTTP/1.1\r\nHost: x\r\n\r\n"
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nthree");
    assert_true(hear(&f, fd, &out, "\"one\""));
    turn(&f, 5);
    assert_non_null(f.held);
    assert_null(strstr(out.data, "three"));
    hone_reply_bytes(f.held, 200, "text/plain", "two", 3);
    assert_true(hear(&f, fd, &out, "\"body\":\"three\""));
    assert_true(strstr(out.data, "two") < strstr(out.data, "three"));
    assert_int_equal(f.n_closed, 0);
    assert_int_equal(hone_http_count(f.http).connections, 1);
    close(fd);

    /* Byte by byte. */
    static const char slow[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
    hone_buf_clear(&out);
    fd = dial(&f);
    for (size_t i = 0; i + 1 < sizeof(slow); i++) say_bytes(&f, fd, slow + i, 1);
    assert_true(hear(&f, fd, &out, "\"body\":\"abc0123456789\""));
    close(fd);

    /* Connection: close, and HTTP/1.0 with and without keep-alive. */
    static const struct {
        const char *request;
        bool closes;
    } cases[] = {{"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", true},
                 {"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, Close\r\n\r\n", true},
                 {"GET /echo HTTP/1.0\r\n\r\n", true},
                 {"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false},
                 {"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hone_buf_clear(&out);
        fd = dial(&f);
        say(&f, fd, cases[i].request);
        assert_true(hear_reply(&f, fd, &out));
        assert_int_equal(strstr(out.data, "Connection: close") != NULL, cases[i].closes);
        if (cases[i].closes)
            assert_true(hear(&f, fd, &out, NULL));
        else {
            hone_buf_clear(&out);
            say(&f, fd, cases[i].request);
            assert_true(hear_reply(&f, fd, &out));
        }
        close(fd);
    }
    hone_buf_free(&out);
    turn(&f, 5);
    assert_int_equal(f.n_aborted, 0);
    teardown(&f);
}

static void test_head_files_and_large_replies(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, NULL);
    hone_buf out = {0};
    int fd = dial(&f);
    say(&f, fd, "HEAD /file HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hear(&f, fd, &out, "\r\n\r\n"));
    turn(&f, 5);
    assert_true(hear(&f, fd, &out, "\r\n\r\n"));
    assert_non_null(strstr(out.data, "Content-Length: 100000\r\n"));
    assert_int_equal((size_t)(strstr(out.data, "\r\n\r\n") + 4 - out.data), out.n);
    hone_buf_clear(&out);
    say(&f, fd, "GET /file HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hear_reply(&f, fd, &out));
    hone_buf own = {0};
    assert_int_equal(hone_file_read("/proc/self/exe", &own, 0, NULL), HONE_OK);
    assert_memory_equal(strstr(out.data, "\r\n\r\n") + 4, own.data + 1, 100000);
    hone_buf_free(&own);
    hone_buf_clear(&out);
    say(&f, fd, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hear_reply(&f, fd, &out));
    assert_int_equal(out.n - (size_t)(strstr(out.data, "\r\n\r\n") + 4 - out.data), 1000000);
    close(fd);
    hone_buf_free(&out);
    turn(&f, 5);
    teardown(&f);
}

static void test_uploads_are_streamed(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, small_limits);
    hone_buf out = {0}, request = {0};
    /* The body waits for the server's word. */
    int fd = dial(&f);
    say(&f, fd,
        "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: k\r\nContent-Length: 100000\r\nExpect: "
        "100-continue\r\n\r\n");
    assert_true(hear(&f, fd, &out, "HTTP/1.1 100 Continue\r\n\r\n"));
    for (int i = 0; i < 100000; i++) hone_buf_char(&request, 'u');
    say_bytes(&f, fd, request.data, request.n);
    assert_true(hear(&f, fd, &out, "100000"));
    close(fd);
    /* Refused by the header: no byte is asked for. */
    hone_buf_clear(&out);
    fd = dial(&f);
    say(&f, fd, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
    assert_true(hear_reply(&f, fd, &out));
    assert_int_equal(atoi(out.data + 9), 401);
    assert_non_null(strstr(out.data, "Connection: close"));
    close(fd);
    /* Refused while the client sends on without looking: it still gets the reply. */
    hone_buf_clear(&out);
    fd = dial(&f);
    say(&f, fd, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    say_bytes(&f, fd, request.data, request.n);
    assert_true(hear_reply(&f, fd, &out));
    assert_int_equal(atoi(out.data + 9), 401);
    close(fd);
    /* Over the limit, declared and not. */
    fd = dial(&f);
    hone_buf_clear(&out);
    say(&f, fd, "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: k\r\nContent-Length: 200001\r\n\r\n");
    assert_true(hear_reply(&f, fd, &out));
    assert_int_equal(atoi(out.data + 9), 413);
    assert_int_equal(f.n_closed, 1);
    close(fd);
    fd = dial(&f);
    hone_buf_clear(&out);
    say(&f, fd, "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: k\r\nTransfer-Encoding: chunked\r\n\r\n30D40\r\n");
    say_bytes(&f, fd, request.data, request.n);
    say_bytes(&f, fd, request.data, request.n);
    say(&f, fd, "\r\n1\r\n");
    assert_true(hear_reply(&f, fd, &out));
    assert_int_equal(atoi(out.data + 9), 413);
    assert_int_equal(f.n_closed, 2);
    close(fd);
    /* Cut off. */
    fd = dial(&f);
    say(&f, fd, "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: k\r\nContent-Length: 1000\r\n\r\nabc");
    turn(&f, 5);
    close(fd);
    turn(&f, 5);
    assert_int_equal(f.n_closed, 3);
    assert_int_equal(f.last_status, 499);
    hone_buf_free(&out);
    hone_buf_free(&request);
    teardown(&f);
}

/* ---- clients that leave, and slow ones ---- */

static void test_a_client_that_leaves_is_noticed(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, NULL);
    hone_buf out = {0};
    for (int way = 0; way < 4; way++) { /* waiting or streaming; close or reset */
        const int before = f.n_closed;
        int fd = dial(&f);
        say(&f, fd, way & 1 ? "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" : "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
        turn(&f, 5);
        assert_non_null(f.held);
        if (way & 2) {
            const struct linger reset = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        }
        close(fd);
        turn(&f, 5);
        assert_int_equal(f.n_closed, before + 1);
        assert_null(f.held);
    }
    /* While more than the input takes waits behind the request, so that reading is paused. */
    int fd = dial(&f);
    say(&f, fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 3000;
         i++) /* 93 kB: more than the input takes, less than the kernel does, so that the FIN gets through */
        if (send(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 31, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) break;
    turn(&f, 20);
    assert_non_null(f.held);
    close(fd);
    turn(&f, 5);
    assert_null(f.held);
    assert_int_equal(f.n_aborted, 5);
    /* One that only closes its sending half still gets what can be said at once. */
    fd = dial(&f);
    say(&f, fd, "GET /large HTTP/1.1\r\nHost: x\r\n\r\nGET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(fd, SHUT_WR);
    assert_true(hear(&f, fd, &out, NULL));
    assert_true(out.n > 1000000);
    assert_non_null(memmem(out.data, out.n, "\"method\":\"GET\"", 14));
    close(fd);
    turn(&f, 5);
    assert_int_equal(hone_http_count(f.http).open_connections, 0);
    hone_buf_free(&out);
    teardown(&f);
}

static void short_times(hone_http_config *c) {
    c->header_ms = 60;
    c->body_ms = 1000; /* long beside what a loaded machine keeps us waiting */
    c->idle_ms = 80;
    c->write_ms = 500;
    c->sse_quiet_ms = 30;
    c->max_pending_bytes = 32u << 20;
}

static void test_slow_clients_meet_time_limits(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, short_times);
    hone_buf out = {0};
    /* A header that trickles: bytes do not prolong it. */
    int fd = dial(&f);
    const int64_t start = hone_clock_ns();
    for (int i = 0; i < 40 && !out.n; i++) {
        if (send(fd, i ? "a" : "GET /", i ? 1 : 5, MSG_NOSIGNAL) < 0) break;
        for (int k = 0; k < 5; k++) turn(&f, 1);
        char chunk[512];
        const ssize_t n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
        if (n > 0) hone_buf_add(&out, chunk, (size_t)n);
    }
    assert_true(out.n > 12 && atoi(out.data + 9) == 408);
    assert_true(hone_clock_ns() - start >= 60000000);
    close(fd);
    /* A body that stops; one that trickles is fine. */
    hone_buf_clear(&out);
    fd = dial(&f);
    say(&f, fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n");
    for (int i = 0; i < 8; i++) {
        say(&f, fd, "b");
        const int64_t until = hone_clock_ns() + 150000000; /* in all longer than the limit */
        while (hone_clock_ns() < until) turn(&f, 1);
    }
    assert_true(hear_reply(&f, fd, &out));
    assert_int_equal(atoi(out.data + 9), 200);
    close(fd);
    hone_buf_clear(&out);
    fd = dial(&f);
    say(&f, fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nb");
    assert_true(hear_reply(&f, fd, &out));
    assert_int_equal(atoi(out.data + 9), 408);
    close(fd);
    /* Nothing at all: closed without a word. */
    hone_buf_clear(&out);
    fd = dial(&f);
    assert_true(hear(&f, fd, &out, NULL));
    assert_int_equal(out.n, 0);
    close(fd);
    /* A quiet stream says that it lives. */
    fd = dial(&f);
    say(&f, fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hear(&f, fd, &out, ": still here\n\n"));
    hone_buf_clear(&out);
    assert_true(hear(&f, fd, &out, ": still here\n\n"));
    hone_stream_end(f.held);
    assert_true(hear(&f, fd, &out, "0\r\n\r\n"));
    close(fd);
    hone_buf_free(&out);
    turn(&f, 3);
    teardown(&f);
}

static void on_drained(void *arg, hone_request *req) {
    (void)req;
    note(arg, "drained");
}

static void test_backpressure_and_clients_that_do_not_read(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, short_times);
    hone_buf out = {0};
    static char block[1 << 20];
    memset(block, 'x', sizeof(block));
    int fd = dial_port(hone_http_port(f.http), 4096);
    say(&f, fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    turn(&f, 3);
    for (int i = 0; i < 16; i++) assert_int_equal(hone_stream_write(f.held, block, sizeof(block)), HONE_OK);
    turn(&f, 3);
    assert_true(hone_stream_pending(f.held) > sizeof(block));
    hone_stream_on_drain(f.held, 1000, on_drained, &f);
    turn(&f, 3);
    assert_string_equal(f.log, "");
    while (f.log[0] == 0 && f.held) {
        static char sink[1 << 20];
        while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0) continue;
        turn(&f, 1);
    }
    assert_string_equal(f.log, "drained;");
    assert_true(hone_stream_pending(f.held) <= 1000);
    /* It stops reading: dropped after write_ms, and the handler is told. */
    for (int i = 0; i < 16; i++) assert_int_equal(hone_stream_write(f.held, block, sizeof(block)), HONE_OK);
    const int64_t start = hone_clock_ns();
    while (f.held && hone_clock_ns() - start < 10000000000) turn(&f, 1);
    assert_null(f.held);
    assert_int_equal(f.n_closed, 1);
    assert_true(hone_clock_ns() - start >= 450000000);
    close(fd);
    /* It lets too much pile up: refused at once, told from the loop. */
    fd = dial_port(hone_http_port(f.http), 4096);
    say(&f, fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    turn(&f, 3);
    hone_status status = HONE_OK;
    for (int i = 0; i < 40 && status == HONE_OK; i++) status = hone_stream_write(f.held, block, sizeof(block));
    assert_int_equal(status, HONE_ERR_CLOSED);
    assert_int_equal(f.n_closed, 1);
    assert_non_null(f.held);
    turn(&f, 2);
    assert_int_equal(f.n_closed, 2);
    close(fd);
    hone_buf_free(&out);
    teardown(&f);
}

/* ---- streams ---- */

static void test_server_sent_events(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, NULL);
    hone_buf out = {0};
    int fd = dial(&f);
    say(&f, fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hear(&f, fd, &out, "data: {\"a\":1}\n\n"));
    assert_non_null(strstr(out.data, "Content-Type: text/event-stream"));
    assert_non_null(strstr(out.data, "Transfer-Encoding: chunked"));
    hone_sse_event(f.held, "error", "two\nlines\r\nand\rmore\n", 20);
    assert_true(hear(&f, fd, &out, "event: error\ndata: two\ndata: lines\ndata: and\ndata: more\ndata: \n\n"));
    hone_sse_event(f.held, NULL, "[DONE]", 6);
    hone_stream_end(f.held);
    assert_true(hear(&f, fd, &out, "data: [DONE]\n\n\r\n0\r\n\r\n"));
    hone_buf_clear(&out); /* the connection goes on */
    say(&f, fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hear_reply(&f, fd, &out));
    close(fd);
    /* HTTP/1.0: up to the close; also when nothing is left to write at the end. */
    hone_buf_clear(&out);
    fd = dial(&f);
    say(&f, fd, "GET /stream HTTP/1.0\r\n\r\n");
    assert_true(hear(&f, fd, &out, "data: {\"a\":1}\n\n"));
    assert_null(strstr(out.data, "chunked"));
    turn(&f, 5);
    hone_stream_end(f.held);
    assert_true(hear(&f, fd, &out, NULL));
    close(fd);
    hone_buf_free(&out);
    turn(&f, 3);
    assert_int_equal(f.n_aborted, 0);
    teardown(&f);
}

static void test_fields_of_a_reply_cannot_be_smuggled(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, NULL);
    hone_buf out = {0};
    int fd = dial(&f);
    say(&f, fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    turn(&f, 3);
    hone_reply_header(f.held, "a", "b\r\nSet-Cookie: c");
    hone_reply_header_format(f.held, "ok", "%d", 1);
    hone_reply_bytes(f.held, 204, NULL, NULL, 0);
    assert_true(hear(&f, fd, &out, "\r\n\r\n"));
    assert_null(strstr(out.data, "Set-Cookie"));
    assert_non_null(strstr(out.data, "\r\nok: 1\r\n"));
    assert_null(strstr(out.data, "Content-Length"));
    close(fd);
    hone_buf_free(&out);
    turn(&f, 3);
    teardown(&f);
}

/* ---- opening, stopping ---- */

static void test_a_port_in_use_is_a_clear_error(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, NULL);
    hone_http_config config = hone_http_defaults();
    const hone_http_route route = {"GET", "/", NULL, on_echo, NULL, false};
    hone_http *second;
    hone_error err;
    config.port = hone_http_port(f.http);
    assert_int_equal(hone_http_open(&second, f.loop, &config, &route, 1, &err), HONE_ERR_BUSY);
    assert_non_null(strstr(err.message, "in use"));
    config.port = 0;
    config.address = "no.such.host.invalid";
    assert_int_equal(hone_http_open(&second, f.loop, &config, &route, 1, &err), HONE_ERR_ARG);
    config.address = "203.0.113.1"; /* not ours */
    assert_int_equal(hone_http_open(&second, f.loop, &config, &route, 1, &err), HONE_ERR_ARG);
    assert_true(hone_http_is_loopback("127.0.0.1") && hone_http_is_loopback("127.1.2.3") &&
                hone_http_is_loopback("::1") && hone_http_is_loopback("localhost") &&
                hone_http_is_loopback("::ffff:127.0.0.1"));
    assert_false(hone_http_is_loopback("0.0.0.0") || hone_http_is_loopback("::") || hone_http_is_loopback("10.0.0.1") ||
                 hone_http_is_loopback("localhost.example"));
    teardown(&f);
}

static void on_stopped(void *arg) {
    ((fixture *)arg)->stopped = true;
}

static void test_stopping_is_graceful(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, NULL);
    hone_buf out = {0};
    const int streaming = dial(&f), idle = dial(&f);
    say(&f, streaming, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    say(&f, idle, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hear_reply(&f, idle, &out));
    hone_http_stop(f.http, on_stopped, &f);
    turn(&f, 5);
    assert_false(f.stopped);
    static const char late[] = "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n",
                      live[] = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(ask(&f, late, strlen(late), &out), 503);
    assert_non_null(strstr(out.data, "\r\nRetry-After: 5\r\n"));
    assert_int_equal(ask(&f, live, strlen(live), &out), 200);
    hone_buf_clear(&out);
    say(&f, idle, late); /* also on a connection from before */
    assert_true(hear_reply(&f, idle, &out));
    assert_int_equal(atoi(out.data + 9), 503);
    close(idle);
    hone_buf_clear(&out);
    hone_sse_event(f.held, NULL, "last", 4);
    assert_true(hear(&f, streaming, &out, "data: last\n\n"));
    assert_false(f.stopped);
    hone_stream_end(f.held);
    assert_true(hear(&f, streaming, &out, "0\r\n\r\n"));
    turn(&f, 5);
    assert_true(f.stopped);
    assert_int_equal(f.n_aborted, 0);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(hone_http_port(f.http)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
    close(fd);
    close(streaming);
    hone_buf_free(&out);
    teardown(&f);
}

static void test_closing_tells_the_handlers(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, NULL);
    const int fd = dial(&f);
    say(&f, fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    turn(&f, 5);
    assert_non_null(f.held);
    hone_http_close(f.http);
    f.http = NULL;
    assert_int_equal(f.n_closed, 1);
    close(fd);
    teardown(&f);
}

static void few_connections(hone_http_config *c) {
    c->max_connections = 2;
}

static void test_connections_are_bounded(void **state) {
    (void)state;
    fixture f;
    setup_with(&f, few_connections);
    hone_buf out = {0};
    int fd[3];
    for (int i = 0; i < 3; i++) fd[i] = dial(&f); /* the third waits in the listen queue */
    turn(&f, 5);
    assert_int_equal(hone_http_count(f.http).open_connections, 2);
    say(&f, fd[2], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    turn(&f, 5);
    assert_int_equal(recv(fd[2], &(char){0}, 1, MSG_DONTWAIT), -1);
    close(fd[0]);
    assert_true(hear_reply(&f, fd[2], &out));
    close(fd[1]);
    close(fd[2]);
    turn(&f, 5);
    hone_buf_free(&out);
    teardown(&f);
}

/* Each allocation fails in turn while requests of several kinds run: nothing leaks, nothing crashes, and the server
 * answers the next one. */
static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    static const char *const requests[] = {
        "GET /v1/files/a?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /large HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /none HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    for (size_t r = 0; r < sizeof(requests) / sizeof(requests[0]); r++) {
        for (int64_t fail_at = 0, done = 0; !done && fail_at < 300; fail_at++) {
            fixture f;
            const int64_t live = hone_mem_live;
            setup_with(&f, NULL);
            const int fd = dial(&f);
            hone_buf out = {0};
            hone_mem_fail_at = fail_at;
            say(&f, fd, requests[r]);
            turn(&f, 6);
            if (f.held) hone_stream_end(f.held);
            done = hone_mem_fail_at >= 0; /* it was never reached */
            hone_mem_fail_at = -1;
            turn(&f, 3);
            close(fd);
            assert_int_equal(ask(&f, requests[0], strlen(requests[0]), &out), 200);
            hone_buf_free(&out);
            turn(&f, 3);
            teardown(&f);
            assert_int_equal(hone_mem_live, live);
        }
    }
}

/* ---- the loop ---- */

static void on_post(void *arg) {
    ++*(int *)arg;
}

typedef struct {
    hone_loop *loop;
    int *count;
} poster;

static void *post_many(void *arg) {
    poster *p = arg;
    for (int i = 0; i < 1000; i++) assert_int_equal(hone_loop_post(p->loop, on_post, p->count), HONE_OK);
    return NULL;
}

static void on_late(void *arg) {
    hone_loop_stop(arg);
}

static void test_the_loop_takes_posts_timers_and_signals(void **state) {
    (void)state;
    hone_loop *loop;
    int count = 0, signals = 0;
    assert_int_equal(hone_loop_open(&loop, NULL), HONE_OK);
    poster p = {loop, &count};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, post_many, &p);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(hone_loop_on_signal(loop, SIGUSR1, on_post, &signals, NULL), HONE_OK);
    raise(SIGUSR1);
    hone_timer *never = hone_loop_after(loop, 5, on_post, &count);
    hone_timer_cancel(never);
    hone_loop_after(loop, 20, on_late, loop);
    hone_loop_after(loop, 100000, on_post, &count); /* still set when the loop closes */
    assert_int_equal(hone_loop_run(loop, NULL), HONE_OK);
    assert_int_equal(count, 4000);
    assert_int_equal(signals, 1);
    hone_loop_stop(loop);
    assert_int_equal(hone_loop_run(loop, NULL), HONE_OK); /* a stop that came before */
    hone_loop_post(loop, on_post, &count);
    hone_loop_close(loop);
    assert_int_equal(count, 4000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_requests_are_refused),
        cmocka_unit_test(test_header_limits),
        cmocka_unit_test(test_body_limits),
        cmocka_unit_test(test_routes_and_parameters),
        cmocka_unit_test(test_bad_routes_are_refused),
        cmocka_unit_test(test_keep_alive_and_pipelining),
        cmocka_unit_test(test_head_files_and_large_replies),
        cmocka_unit_test(test_uploads_are_streamed),
        cmocka_unit_test(test_a_client_that_leaves_is_noticed),
        cmocka_unit_test(test_slow_clients_meet_time_limits),
        cmocka_unit_test(test_backpressure_and_clients_that_do_not_read),
        cmocka_unit_test(test_server_sent_events),
        cmocka_unit_test(test_fields_of_a_reply_cannot_be_smuggled),
        cmocka_unit_test(test_a_port_in_use_is_a_clear_error),
        cmocka_unit_test(test_stopping_is_graceful),
        cmocka_unit_test(test_closing_tells_the_handlers),
        cmocka_unit_test(test_connections_are_bounded),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
        cmocka_unit_test(test_the_loop_takes_posts_timers_and_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
