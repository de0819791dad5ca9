/* http_client.c - fetching by libcurl; the contract is in http_client.h.
 * Order: a handle, errors, small documents, the part file, one try, the whole download. */
#include "net/http_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define MAX_REDIRECTS 10L
#define TAG_BYTES 256

/* ---- a handle ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode init_code = CURLE_FAILED_INIT;
static void init_once(void) {
    init_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

hone_status hone_http_client_init(hone_error *err) {
    pthread_once(&once, init_once);
    if (init_code == CURLE_OK) return HONE_OK;
    return hone_fail(err, HONE_ERR_INTERNAL, "libcurl cannot start: %s", curl_easy_strerror(init_code));
}

typedef struct {
    CURL *curl;
    struct curl_slist *fields;
    char *authorization;
    char text[CURL_ERROR_SIZE]; /* libcurl's words for its error */
} handle;

static void handle_end(handle *h) {
    curl_easy_cleanup(h->curl);
    curl_slist_free_all(h->fields);
    hone_free(h->authorization);
    *h = (handle){0};
}

static bool add_field(handle *h, const char *line) {
    struct curl_slist *longer = curl_slist_append(h->fields, line);
    if (longer) h->fields = longer;
    return longer != NULL;
}

static hone_status handle_begin(handle *h, const char *url, const char *bearer, uint32_t connect_ms, uint32_t stall_ms,
                                hone_error *err) {
    *h = (handle){0};
    hone_status status = hone_http_client_init(err);
    if (status != HONE_OK) return status;
    const bool is_https = strncasecmp(url, "https://", 8) == 0;
    if (!is_https && strncasecmp(url, "http://", 7) != 0)
        return hone_fail(err, HONE_ERR_ARG, "%s: the address must begin with https:// or http://", url);
    bool ok = (h->curl = curl_easy_init()) != NULL;
    if (ok && bearer) {
        /* libcurl leaves a field of ours named Authorization away when a redirect goes to another host. */
        if (strpbrk(bearer, "\r\n")) {
            handle_end(h);
            return hone_fail(err, HONE_ERR_ARG, "the token for %s holds a line feed", url);
        }
        hone_buf line = {0};
        hone_buf_format(&line, "Authorization: Bearer %s", bearer);
        h->authorization = hone_buf_take(&line, NULL);
        ok = h->authorization && add_field(h, h->authorization);
    }
    ok = ok && curl_easy_setopt(h->curl, CURLOPT_URL, url) == CURLE_OK &&
         curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, h->text) == CURLE_OK &&
         curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
         curl_easy_setopt(h->curl, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK &&
         curl_easy_setopt(h->curl, CURLOPT_MAXREDIRS, MAX_REDIRECTS) == CURLE_OK &&
         curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "https,http") == CURLE_OK &&
         curl_easy_setopt(h->curl, CURLOPT_REDIR_PROTOCOLS_STR, is_https ? "https" : "https,http") == CURLE_OK &&
         curl_easy_setopt(h->curl, CURLOPT_USERAGENT, "hone/" HONE_VERSION) == CURLE_OK &&
         curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms) == CURLE_OK &&
         curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK &&
         curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_TIME, (long)((stall_ms + 999) / 1000)) == CURLE_OK;
    if (ok) return HONE_OK;
    handle_end(h);
    return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory to fetch it", url);
}

/* ---- errors ---- */

static hone_status http_fail(long http, const char *url, hone_error *err) {
    switch (http) {
    case 404:
    case 410: return hone_fail(err, HONE_ERR_NOT_FOUND, "%s: not there (HTTP %ld)", url, http);
    case 401:
    case 403:
        return hone_fail(err, HONE_ERR_DENIED,
                         "%s: not allowed (HTTP %ld): a token may be missing, or its owner may have to accept terms",
                         url, http);
    default: return hone_fail(err, HONE_ERR_IO, "%s: the server answered HTTP %ld", url, http);
    }
}

static hone_status curl_fail(const handle *h, CURLcode code, const char *url, hone_error *err) {
    const char *text = h->text[0] ? h->text : curl_easy_strerror(code);
    switch (code) {
    case CURLE_OUT_OF_MEMORY: return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory to fetch it", url);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL: return hone_fail(err, HONE_ERR_ARG, "%s: %s", url, text);
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING: return hone_fail(err, HONE_ERR_CLOSED, "%s: cut off: %s", url, text);
    default: return hone_fail(err, HONE_ERR_IO, "%s: %s", url, text);
    }
}

static hone_status file_fail(const char *what, const char *path, hone_error *err) {
    const int e = errno;
    const hone_status code = e == ENOSPC || e == EDQUOT || e == EFBIG ? HONE_ERR_FULL
                             : e == EACCES || e == EPERM              ? HONE_ERR_DENIED
                             : e == ENOENT                            ? HONE_ERR_NOT_FOUND
                                                                      : HONE_ERR_IO;
    return hone_fail(err, code, "%s: cannot %s: %s", path, what, strerror(e));
}

/* ---- small documents ---- */

typedef struct {
    hone_buf *out;
    size_t limit;
    hone_status status;
} sink;

static size_t to_buf(char *bytes, size_t one, size_t n, void *arg) {
    sink *s = arg;
    if (n * one > s->limit - s->out->n)
        s->status = HONE_ERR_LIMIT;
    else if (!hone_buf_add(s->out, bytes, n * one))
        s->status = HONE_ERR_NOMEM;
    return s->status == HONE_OK ? n * one : 0;
}

hone_status hone_http_get(const char *url, const char *bearer, size_t max_bytes, hone_buf *out, long *http_status,
                          hone_error *err) {
    const hone_download d = hone_download_defaults();
    handle h;
    sink s = {out, out->n + max_bytes, HONE_OK};
    if (http_status) *http_status = 0;
    hone_status status = handle_begin(&h, url, bearer, d.connect_ms, d.stall_ms, err);
    if (status != HONE_OK) return status;
    curl_easy_setopt(h.curl, CURLOPT_HTTPHEADER, h.fields);
    curl_easy_setopt(h.curl, CURLOPT_WRITEFUNCTION, to_buf);
    curl_easy_setopt(h.curl, CURLOPT_WRITEDATA, &s);
    curl_easy_setopt(h.curl, CURLOPT_ACCEPT_ENCODING, "");
    const CURLcode code = curl_easy_perform(h.curl);
    long http = 0;
    curl_easy_getinfo(h.curl, CURLINFO_RESPONSE_CODE, &http);
    if (http_status) *http_status = http;
    if (s.status == HONE_ERR_LIMIT)
        status = hone_fail(err, s.status, "%s: larger than %zu bytes", url, max_bytes);
    else if (s.status != HONE_OK)
        status = hone_fail(err, s.status, "%s: no memory for it", url);
    else if (code != CURLE_OK)
        status = curl_fail(&h, code, url, err);
    else if (http < 200 || http > 299)
        status = http_fail(http, url, err);
    handle_end(&h);
    return status;
}

/* ---- the part file ---- */

hone_download hone_download_defaults(void) {
    return (hone_download){.connect_ms = 30000, .stall_ms = 60000, .tries = 5};
}

/* A download under way.  tag names the version of what is in the part file: a strong ETag, or nothing. */
typedef struct {
    const hone_download *d;
    hone_download_result *out;
    char *part_path, *tag_path;
    int fd;
    uint64_t have;  /* bytes in the part file */
    uint64_t total; /* 0: not known */
    char tag[TAG_BYTES];
    char linked[HONE_DIGEST_TEXT]; /* the SHA-256 that the server names, "" */
    bool answered;                 /* the header of this try was looked at */
    bool progressed;               /* this try brought bytes */
    hone_status status;            /* of what a callback found */
    hone_error *err;
    CURL *curl;
} download;

static void read_tag(download *w) {
    hone_buf text = {0};
    w->tag[0] = 0;
    if (hone_file_read(w->tag_path, &text, TAG_BYTES - 1, NULL) == HONE_OK && text.n && !strpbrk(text.data, "\r\n"))
        memcpy(w->tag, text.data, text.n + 1);
    hone_buf_free(&text);
}

static hone_status start_over(download *w, hone_error *err) {
    w->have = 0;
    w->out->resumed_from = 0;
    w->tag[0] = 0;
    unlink(w->tag_path); /* first: bytes must never stand beside another version's tag */
    return ftruncate(w->fd, 0) == 0 ? HONE_OK : file_fail("truncate", w->part_path, err);
}

static hone_status open_part(download *w, hone_error *err) {
    hone_buf part = {0}, tag = {0};
    hone_buf_format(&part, "%s.part", w->d->path);
    hone_buf_format(&tag, "%s.part.tag", w->d->path);
    w->part_path = hone_buf_take(&part, NULL);
    w->tag_path = hone_buf_take(&tag, NULL);
    if (!w->part_path || !w->tag_path) return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory", w->d->path);
    w->fd = open(w->part_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (w->fd < 0) return file_fail("create", w->part_path, err);
    if (flock(w->fd, LOCK_EX | LOCK_NB) != 0)
        return hone_fail(err, HONE_ERR_BUSY, "%s: another process is fetching it", w->part_path);
    struct stat st;
    if (fstat(w->fd, &st) != 0) return file_fail("stat", w->part_path, err);
    w->have = (uint64_t)st.st_size;
    read_tag(w);
    /* Bytes whose version nobody knows may only be kept when the digest will tell. */
    if (w->have && !w->tag[0] && !w->d->sha256) return start_over(w, err);
    return HONE_OK;
}

/* ---- one try ---- */

static const char *field_of(CURL *curl, const char *name, int request) {
    struct curl_header *field;
    return curl_easy_header(curl, name, 0, CURLH_HEADER, request, &field) == CURLHE_OK ? field->value : NULL;
}

/* Hugging Face names the commit, and the SHA-256 of a large file, in its own answer before it sends on to another host.
 */
static void read_linked(download *w) {
    const char *linked = field_of(w->curl, "x-linked-etag", 0), *commit = field_of(w->curl, "x-repo-commit", 0);
    if (commit) snprintf(w->out->commit, sizeof(w->out->commit), "%s", commit);
    if (!linked) return;
    linked += *linked == '"';
    const size_t n = strspn(linked, "0123456789abcdef");
    if (n == HONE_DIGEST_TEXT - 1) snprintf(w->linked, sizeof(w->linked), "%.*s", (int)n, linked);
}

/* The answer's header is there: does its body go on where the part file ends? */
static hone_status look_at_answer(download *w) {
    long http = 0;
    curl_off_t length = -1;
    curl_easy_getinfo(w->curl, CURLINFO_RESPONSE_CODE, &http);
    curl_easy_getinfo(w->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    read_linked(w);
    if (http == 206) {
        const char *range = field_of(w->curl, "content-range", -1);
        unsigned long long first = 0, last = 0, total = 0;
        if (!range || sscanf(range, "bytes %llu-%llu/%llu", &first, &last, &total) < 2 || first != w->have)
            return hone_fail(w->err, HONE_ERR_IO, "%s: the server sent another part than it was asked for", w->d->url);
        w->total = total;
    } else if (http == 200) {
        const char *tag = field_of(w->curl, "etag", -1);
        const hone_status status = start_over(w, w->err);
        if (status != HONE_OK) return status;
        w->total = length > 0 ? (uint64_t)length : 0;
        /* A weak tag (W/) does not promise the same bytes. */
        if (tag && tag[0] == '"' && strlen(tag) < TAG_BYTES) {
            snprintf(w->tag, sizeof(w->tag), "%s", tag);
            const hone_status kept = hone_file_write_atomic(w->tag_path, tag, strlen(tag), w->err);
            if (kept != HONE_OK) return kept;
        }
    }
    if (w->d->max_bytes && w->total > w->d->max_bytes)
        return hone_fail(w->err, HONE_ERR_LIMIT, "%s: %llu bytes are more than the %llu allowed", w->d->url,
                         (unsigned long long)w->total, (unsigned long long)w->d->max_bytes);
    return HONE_OK;
}

static size_t to_file(char *bytes, size_t one, size_t n, void *arg) {
    download *w = arg;
    long http = 0;
    size_t left = one * n;
    curl_easy_getinfo(w->curl, CURLINFO_RESPONSE_CODE, &http);
    if (http != 200 && http != 206) return left; /* the text of an error: thrown away */
    if (!w->answered) {
        w->answered = true;
        w->status = look_at_answer(w);
    }
    if (w->status == HONE_OK && w->d->max_bytes && left > w->d->max_bytes - w->have)
        w->status = hone_fail(w->err, HONE_ERR_LIMIT, "%s: more than the %llu bytes allowed", w->d->url,
                              (unsigned long long)w->d->max_bytes);
    while (left && w->status == HONE_OK) {
        const ssize_t k = pwrite(w->fd, bytes, left, (off_t)w->have);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            w->status = file_fail("write", w->part_path, w->err);
            break;
        }
        bytes += k;
        left -= (size_t)k;
        w->have += (uint64_t)k;
    }
    return w->status == HONE_OK ? one * n : 0;
}

static int to_progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up) {
    (void)total, (void)now, (void)up_total, (void)up;
    download *w = arg;
    if (w->status != HONE_OK || w->d->on_progress(w->d->arg, w->have, w->total)) return 0;
    w->status = hone_fail(w->err, HONE_ERR_CANCELLED, "%s: cancelled", w->d->url);
    return 1;
}

static hone_status try_once(download *w, hone_error *err) {
    handle h;
    hone_status status = handle_begin(&h, w->d->url, w->d->bearer, w->d->connect_ms, w->d->stall_ms, err);
    if (status != HONE_OK) return status;
    w->curl = h.curl;
    w->err = err;
    w->answered = false;
    w->status = HONE_OK;
    const uint64_t before = w->have;
    char range[64], if_range[TAG_BYTES + 16];
    bool ok = true;
    if (before) {
        snprintf(range, sizeof(range), "%llu-", (unsigned long long)before);
        ok = curl_easy_setopt(h.curl, CURLOPT_RANGE, range) == CURLE_OK;
        snprintf(if_range, sizeof(if_range), "If-Range: %s", w->tag);
        if (w->tag[0]) ok = ok && add_field(&h, if_range);
    }
    ok = ok && (!h.fields || curl_easy_setopt(h.curl, CURLOPT_HTTPHEADER, h.fields) == CURLE_OK) &&
         curl_easy_setopt(h.curl, CURLOPT_WRITEFUNCTION, to_file) == CURLE_OK &&
         curl_easy_setopt(h.curl, CURLOPT_WRITEDATA, w) == CURLE_OK;
    if (w->d->on_progress)
        ok = ok && curl_easy_setopt(h.curl, CURLOPT_XFERINFOFUNCTION, to_progress) == CURLE_OK &&
             curl_easy_setopt(h.curl, CURLOPT_XFERINFODATA, w) == CURLE_OK &&
             curl_easy_setopt(h.curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK;
    if (!ok) {
        handle_end(&h);
        return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory to fetch it", w->d->url);
    }
    const CURLcode code = curl_easy_perform(h.curl);
    long http = 0;
    curl_easy_getinfo(h.curl, CURLINFO_RESPONSE_CODE, &http);
    if (code == CURLE_OK && http == 200 && !w->answered) w->status = look_at_answer(w); /* an empty file */
    if (w->status != HONE_OK)
        status = w->status;
    else if (code != CURLE_OK)
        status = curl_fail(&h, code, w->d->url, err);
    else if (http == 416 && before) { /* the part is all there is, or is not a part of this any more */
        read_linked(w);
        const char *range_now = field_of(h.curl, "content-range", -1);
        unsigned long long total = 0;
        if (range_now && sscanf(range_now, "bytes */%llu", &total) == 1 && total == before)
            w->total = total;
        else {
            status = start_over(w, err);
            if (status == HONE_OK)
                status = hone_fail(err, HONE_ERR_CLOSED, "%s: the file changed meanwhile", w->d->url);
        }
    } else if (http != 200 && http != 206)
        status = http_fail(http, w->d->url, err);
    else if (w->total && w->have != w->total)
        status = hone_fail(err, HONE_ERR_CLOSED, "%s: cut off after %llu of %llu bytes", w->d->url,
                           (unsigned long long)w->have, (unsigned long long)w->total);
    /* What a server says with 5xx and 429 may be otherwise in a moment. */
    if (status == HONE_ERR_IO && code == CURLE_OK && (http >= 500 || http == 429)) status = HONE_ERR_CLOSED;
    if (status == HONE_ERR_IO &&
        (code == CURLE_OPERATION_TIMEDOUT || code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
         code == CURLE_SEND_ERROR || code == CURLE_HTTP2))
        status = HONE_ERR_CLOSED;
    handle_end(&h);
    w->curl = NULL;
    return status;
}

/* ---- the whole download ---- */

static hone_status check_bytes(download *w, hone_error *err) {
    hone_status status = hone_digest_fd(w->fd, w->part_path, w->out->sha256, &w->out->bytes, err);
    if (status != HONE_OK) return status;
    const char *wanted = w->d->sha256 ? w->d->sha256 : w->linked[0] ? w->linked : NULL;
    if (!wanted || strcmp(wanted, w->out->sha256) == 0) return HONE_OK;
    unlink(w->part_path);
    unlink(w->tag_path);
    return hone_fail(err, HONE_ERR_FORMAT, "%s: the bytes have the SHA-256 %s, not %s as they should", w->d->url,
                     w->out->sha256, wanted);
}

static hone_status put_in_place(download *w, hone_error *err) {
    if (fsync(w->fd) != 0) return file_fail("sync", w->part_path, err);
    if (rename(w->part_path, w->d->path) != 0) return file_fail("rename to", w->d->path, err);
    unlink(w->tag_path);
    return HONE_OK;
}

hone_status hone_download_run(const hone_download *d, hone_download_result *out, hone_error *err) {
    *out = (hone_download_result){0};
    hone_error own; /* the retries need a code also where the caller wants none */
    if (!err) err = &own;
    download w = {.d = d, .out = out, .fd = -1};
    hone_status status = open_part(&w, err);
    out->resumed_from = w.have;
    uint64_t rest_ms = 250, most = w.have;
    for (uint32_t n = 0; status == HONE_OK;) {
        status = try_once(&w, err);
        if (status != HONE_ERR_CLOSED) break;
        /* A line that breaks often but brings something new each time may go on; one that begins anew each time may
         * not. */
        const bool further = w.have > most;
        if (further) most = w.have;
        n = further ? 0 : n + 1;
        if (n >= d->tries) break;
        const struct timespec rest = {(time_t)(rest_ms / 1000), (long)(rest_ms % 1000) * 1000000};
        nanosleep(&rest, NULL);
        rest_ms = further ? 250 : rest_ms < 8000 ? rest_ms * 2 : rest_ms;
        status = HONE_OK;
    }
    if (status == HONE_OK) status = check_bytes(&w, err);
    if (status == HONE_OK) status = put_in_place(&w, err);
    if (w.fd >= 0) close(w.fd);
    hone_free(w.part_path);
    hone_free(w.tag_path);
    return status;
}
