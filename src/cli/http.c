/* http.c - a client of the server's own API; the contract is in http.h.
 * Order: open and close, one exchange, JSON, upload, events, many at once. */
#include "cli/http.h"

#include <curl/curl.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

#define MAX_REPLY (64u << 20)

struct cli_http {
    CURL *easy;
    char *base;
    struct curl_slist *headers; /* of JSON bodies */
};

static hone_status no_memory(hone_error *err) {
    return hone_fail(err, HONE_ERR_NOMEM, "no memory for a request");
}

hone_status cli_http_open(cli_http **out, const char *base, const char *key, hone_error *err) {
    *out = NULL;
    cli_http *h = hone_zalloc(1, sizeof(*h));
    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        hone_free(h);
        return no_memory(err);
    }
    h->easy = curl_easy_init();
    h->base = hone_strdup(base);
    h->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (key && h->headers) {
        hone_buf line = {0};
        hone_buf_format(&line, "Authorization: Bearer %s", key);
        struct curl_slist *more = line.failed ? NULL : curl_slist_append(h->headers, hone_buf_str(&line));
        hone_buf_free(&line);
        if (!more) {
            cli_http_close(h);
            return no_memory(err);
        }
    }
    if (!h->easy || !h->base || !h->headers) {
        cli_http_close(h);
        return no_memory(err);
    }
    *out = h;
    return HONE_OK;
}

void cli_http_close(cli_http *h) {
    if (!h) return;
    curl_slist_free_all(h->headers);
    curl_easy_cleanup(h->easy);
    hone_free(h->base);
    hone_free(h);
    curl_global_cleanup();
}

/* One exchange -----------------------------------------------------------------------------------------------------*/

typedef struct {
    hone_buf url, body, reply;
} exchange;

static void exchange_free(exchange *x) {
    hone_buf_free(&x->url);
    hone_buf_free(&x->body);
    hone_buf_free(&x->reply);
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *arg) {
    return hone_buf_add(arg, bytes, size * n) ? size * n : 0;
}

/* Set easy up for method and path; takes body's reference. */
static bool prepare(const cli_http *h, CURL *easy, exchange *x, const char *method, const char *path, json_t *body) {
    curl_easy_reset(easy);
    *x = (exchange){.reply = {.limit = MAX_REPLY}};
    hone_buf_format(&x->url, "%s%s", h->base, path);
    if (body) hone_json_write(body, &x->body);
    json_decref(body);
    if (x->url.failed || x->body.failed) return false;
    curl_easy_setopt(easy, CURLOPT_URL, hone_buf_str(&x->url));
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, h->headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &x->reply);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*"); /* the server is ours; a proxy for the outside has no part in it */
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, hone_buf_str(&x->body));
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body.n);
    }
    return true;
}

/* What came back: JSON, or the server's error, or curl's. */
static hone_status conclude(const cli_http *h, CURL *easy, CURLcode code, exchange *x, json_t **reply,
                            hone_error *err) {
    long status = 0;
    *reply = NULL;
    if (code != CURLE_OK) return hone_fail(err, HONE_ERR_IO, "%s: %s", h->base, curl_easy_strerror(code));
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    json_t *value = hone_json_parse(hone_buf_str(&x->reply), x->reply.n, err);
    if (status >= 400) {
        const char *message = json_string_value(json_object_get(json_object_get(value, "error"), "message"));
        const hone_status failed = status == 404 ? HONE_ERR_NOT_FOUND : HONE_ERR_IO;
        hone_fail(err, failed, "the server says %ld: %s", status, message ? message : "(no message)");
        json_decref(value);
        return failed;
    }
    if (!value) return hone_fail_within(err, HONE_ERR_FORMAT, "the server's reply: ");
    *reply = value;
    return HONE_OK;
}

hone_status cli_http_json(cli_http *h, const char *method, const char *path, json_t *body, json_t **reply,
                          hone_error *err) {
    exchange x;
    *reply = NULL;
    hone_status status = prepare(h, h->easy, &x, method, path, body) ? HONE_OK : no_memory(err);
    if (status == HONE_OK) status = conclude(h, h->easy, curl_easy_perform(h->easy), &x, reply, err);
    exchange_free(&x);
    return status;
}

/* Upload -----------------------------------------------------------------------------------------------------------*/

hone_status cli_http_upload(cli_http *h, const char *file, const char *purpose, json_t **reply, hone_error *err) {
    exchange x;
    *reply = NULL;
    if (!prepare(h, h->easy, &x, "POST", "/v1/files", NULL)) {
        exchange_free(&x);
        return no_memory(err);
    }
    curl_easy_setopt(h->easy, CURLOPT_POST, 0L);
    curl_mime *form = curl_mime_init(h->easy);
    curl_mimepart *part = form ? curl_mime_addpart(form) : NULL;
    bool ok = part && curl_mime_name(part, "purpose") == CURLE_OK &&
              curl_mime_data(part, purpose, CURL_ZERO_TERMINATED) == CURLE_OK;
    part = ok ? curl_mime_addpart(form) : NULL;
    ok = part && curl_mime_name(part, "file") == CURLE_OK && curl_mime_filedata(part, file) == CURLE_OK;
    /* The headers of JSON bodies carry a content type that a form must not have: only the key goes along. */
    struct curl_slist *key = ok && h->headers->next ? curl_slist_append(NULL, h->headers->next->data) : NULL;
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, key);
    curl_easy_setopt(h->easy, CURLOPT_MIMEPOST, form);
    const hone_status status = ok ? conclude(h, h->easy, curl_easy_perform(h->easy), &x, reply, err) : no_memory(err);
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(key);
    curl_mime_free(form);
    exchange_free(&x);
    return status;
}

/* Events -----------------------------------------------------------------------------------------------------------*/

typedef struct {
    hone_buf line;
    hone_buf other; /* what is no event: an error's JSON */
    bool (*on_event)(void *arg, json_t *event);
    void *arg;
    bool done;
} event_stream;

static void on_line(event_stream *s) {
    const char *text = hone_buf_str(&s->line);
    if (strncmp(text, "data:", 5) != 0) {
        if (text[0] == '{') hone_buf_add(&s->other, text, s->line.n);
        return;
    }
    text += 5 + (text[5] == ' ');
    if (strcmp(text, "[DONE]") == 0) {
        s->done = true;
        return;
    }
    json_t *event = hone_json_parse(text, strlen(text), NULL);
    if (event && !s->on_event(s->arg, event)) s->done = true;
    json_decref(event);
}

static size_t on_stream(char *bytes, size_t size, size_t n, void *arg) {
    event_stream *s = arg;
    const size_t total = size * n;
    for (size_t i = 0; i < total; i++) {
        if (bytes[i] == '\r') continue;
        if (bytes[i] != '\n') {
            if (!hone_buf_char(&s->line, bytes[i])) return 0;
            continue;
        }
        on_line(s);
        hone_buf_clear(&s->line);
        if (s->done) return 0; /* a short count ends the transfer */
    }
    return total;
}

hone_status cli_http_events(cli_http *h, const char *method, const char *path, json_t *body,
                            bool (*on_event)(void *arg, json_t *event), void *arg, hone_error *err) {
    exchange x;
    event_stream s = {.line = {.limit = MAX_REPLY}, .on_event = on_event, .arg = arg};
    hone_status status = prepare(h, h->easy, &x, method, path, body) ? HONE_OK : no_memory(err);
    if (status == HONE_OK) {
        curl_easy_setopt(h->easy, CURLOPT_WRITEFUNCTION, on_stream);
        curl_easy_setopt(h->easy, CURLOPT_WRITEDATA, &s);
        const CURLcode code = curl_easy_perform(h->easy);
        long answer = 0;
        curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &answer);
        if (answer >= 400) {
            json_t *none;
            if (s.line.n) hone_buf_add(&s.other, s.line.data, s.line.n);
            hone_buf_add(&x.reply, hone_buf_str(&s.other), s.other.n);
            status = conclude(h, h->easy, CURLE_OK, &x, &none, err);
        } else if (code != CURLE_OK && !s.done) {
            status = hone_fail(err, HONE_ERR_IO, "%s: %s", h->base, curl_easy_strerror(code));
        }
    }
    hone_buf_free(&s.line);
    hone_buf_free(&s.other);
    exchange_free(&x);
    return status;
}

/* Many at once -----------------------------------------------------------------------------------------------------*/

typedef struct {
    CURL *easy;
    exchange x;
    size_t i;
    bool busy;
} lane;

static hone_status send_next(const cli_http *h, CURLM *multi, lane *l, const char *path, size_t i,
                             const cli_http_batch *b, hone_error *err) {
    json_t *body = b->body_of(b->arg, i);
    if (!body || !prepare(h, l->easy, &l->x, "POST", path, body)) return no_memory(err);
    curl_easy_setopt(l->easy, CURLOPT_PRIVATE, l);
    if (curl_multi_add_handle(multi, l->easy) != CURLM_OK) return no_memory(err);
    l->i = i;
    l->busy = true;
    return HONE_OK;
}

static hone_status take_reply(const cli_http *h, CURLM *multi, lane *l, CURLcode code, const cli_http_batch *b,
                              hone_error *err) {
    json_t *reply;
    hone_status status = conclude(h, l->easy, code, &l->x, &reply, err);
    curl_multi_remove_handle(multi, l->easy);
    l->busy = false;
    if (status == HONE_OK && !b->on_reply(b->arg, l->i, reply))
        status = hone_fail(err, HONE_ERR_CANCELLED, "stopped by an answer that is none");
    json_decref(reply);
    exchange_free(&l->x);
    return status;
}

hone_status cli_http_many(cli_http *h, const char *path, size_t n, uint32_t n_at_once, const cli_http_batch *b,
                          hone_error *err) {
    CURLM *multi = curl_multi_init();
    lane *lanes = hone_zalloc(n_at_once, sizeof(*lanes));
    hone_status status = multi && lanes ? HONE_OK : no_memory(err);
    size_t next = 0, done = 0;
    for (uint32_t k = 0; k < n_at_once && status == HONE_OK; k++)
        if (!(lanes[k].easy = curl_easy_init())) status = no_memory(err);
    for (uint32_t k = 0; k < n_at_once && next < n && status == HONE_OK; k++)
        status = send_next(h, multi, &lanes[k], path, next++, b, err);
    while (done < n && status == HONE_OK) {
        int running, left;
        curl_multi_perform(multi, &running);
        for (CURLMsg *m; status == HONE_OK && (m = curl_multi_info_read(multi, &left));) {
            lane *l = NULL;
            if (m->msg != CURLMSG_DONE) continue;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &l);
            status = take_reply(h, multi, l, m->data.result, b, err);
            done++;
            if (status == HONE_OK && next < n) status = send_next(h, multi, l, path, next++, b, err);
        }
        if (status == HONE_OK && done < n) curl_multi_poll(multi, NULL, 0, 200, NULL);
    }
    for (uint32_t k = 0; lanes && k < n_at_once; k++) {
        if (lanes[k].busy) curl_multi_remove_handle(multi, lanes[k].easy);
        if (lanes[k].busy) exchange_free(&lanes[k].x);
        curl_easy_cleanup(lanes[k].easy);
    }
    hone_free(lanes);
    curl_multi_cleanup(multi);
    return status;
}
