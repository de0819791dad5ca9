/* test_http_client.c - fetching from a scripted server: what is followed, resumed, checked and refused. */
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/http_client.h"

#define FILE_BYTES 200000u

/* ---- the server: one connection a request, answers by path ---- */

static int listener;
static uint16_t port;
static char body[FILE_BYTES];
static char digest[HONE_DIGEST_TEXT];
static atomic_int n_requests, n_ranged, n_flaky;
static atomic_int version = 1; /* of the file, in its ETag */
static char last_authorization[200];

static void say(int fd, const char *text) {
    if (write(fd, text, strlen(text)) < 0) return;
}

static void serve_file(int fd, const char *request, size_t cut) {
    char head[600];
    size_t first = 0;
    const char *range = strcasestr(request, "\r\nrange: bytes="), *if_range = strcasestr(request, "\r\nif-range: ");
    char tag[32];
    snprintf(tag, sizeof(tag), "\"v%d\"", atomic_load(&version));
    if (range && (!if_range || strncmp(if_range + 12, tag, strlen(tag)) == 0)) first = strtoul(range + 15, NULL, 10);
    if (first) n_ranged++;
    if (first >= FILE_BYTES) {
        snprintf(head, sizeof(head),
                 "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */%u\r\nContent-Length: 0\r\n\r\n",
                 FILE_BYTES);
        say(fd, head);
        return;
    }
    if (first)
        snprintf(
            head, sizeof(head),
            "HTTP/1.1 206 Partial Content\r\nETag: %s\r\nContent-Range: bytes %zu-%u/%u\r\nContent-Length: %zu\r\n\r\n",
            tag, first, FILE_BYTES - 1, FILE_BYTES, FILE_BYTES - first);
    else
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: %u\r\n\r\n", tag, FILE_BYTES);
    say(fd, head);
    const size_t n = FILE_BYTES - first < cut ? FILE_BYTES - first : cut;
    if (write(fd, body + first, n) < 0) return;
}

static void answer(int fd, const char *request) {
    char text[800];
    const char *path = strchr(request, ' ') + 1, *auth = strcasestr(request, "\r\nauthorization: ");
    n_requests++;
    last_authorization[0] = 0;
    if (auth)
        snprintf(last_authorization, sizeof(last_authorization), "%.*s", (int)strcspn(auth + 17, "\r"), auth + 17);
#define IS(p) (strncmp(path, p " ", sizeof(p)) == 0)
    if (IS("/small"))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    else if (IS("/empty"))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    else if (IS("/denied"))
        say(fd, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    else if (IS("/loop"))
        say(fd, "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n");
    else if (IS("/to-file-scheme"))
        say(fd, "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n");
    else if (IS("/file"))
        serve_file(fd, request, FILE_BYTES);
    else if (IS("/cut"))
        serve_file(fd, request, 60000);
    else if (IS("/always-cut"))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    else if (IS("/flaky")) {
        if (n_flaky-- > 0)
            say(fd, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        else
            serve_file(fd, request, FILE_BYTES);
    } else if (IS("/linked") ||
               IS("/linked-wrong")) { /* as Hugging Face does: names the digest, sends on to another host */
        char wrong[HONE_DIGEST_TEXT];
        memcpy(wrong, digest, sizeof(wrong));
        wrong[0] = wrong[0] == '0' ? '1' : '0';
        snprintf(text, sizeof(text),
                 "HTTP/1.1 302 Found\r\nX-Repo-Commit: abc123\r\nX-Linked-ETag: \"%s\"\r\nLocation: "
                 "http://localhost:%u/file\r\nContent-Length: 0\r\n\r\n",
                 IS("/linked") ? digest : wrong, port);
        say(fd, text);
    } else
        say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
#undef IS
}

static void *serve(void *arg) {
    (void)arg;
    for (;;) {
        const int fd = accept(listener, NULL, NULL);
        if (fd < 0) return NULL;
        char request[8192];
        size_t n = 0;
        ssize_t k;
        while (n < sizeof(request) - 1 && (k = read(fd, request + n, sizeof(request) - 1 - n)) > 0) {
            n += (size_t)k;
            request[n] = 0;
            if (strstr(request, "\r\n\r\n")) break;
        }
        if (n) answer(fd, request);
        shutdown(fd, SHUT_WR);
        close(fd);
    }
}

static char folder[64], path[128], part[140], tag_path[140];
static pthread_t server;

static int set_up(void **state) {
    (void)state;
    for (unsigned i = 0; i < FILE_BYTES; i++) body[i] = (char)(i * 2654435761u >> 24);
    hone_digest_bytes(body, sizeof(body), digest);
    snprintf(folder, sizeof(folder), "/tmp/hone-test-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof(path), "%s/file", folder);
    snprintf(part, sizeof(part), "%s.part", path);
    snprintf(tag_path, sizeof(tag_path), "%s.part.tag", path);
    signal(SIGPIPE, SIG_IGN);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    if (bind(listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(listener, 10) != 0) return -1;
    getsockname(listener, (struct sockaddr *)&at, &n);
    port = ntohs(at.sin_port);
    unsetenv("http_proxy");
    setenv("no_proxy", "*", 1);
    return pthread_create(&server, NULL, serve, NULL);
}

static int tear_down(void **state) {
    (void)state;
    shutdown(listener, SHUT_RDWR); /* ends the accept */
    pthread_join(server, NULL);
    close(listener);
    unlink(path);
    unlink(part);
    unlink(tag_path);
    rmdir(folder);
    return 0;
}

static const char *url(const char *name) {
    static char text[200];
    snprintf(text, sizeof(text), "http://127.0.0.1:%u%s", port, name);
    return text;
}

static hone_status fetch(const char *name, const char *sha256, uint32_t tries, hone_download_result *out,
                         hone_error *err) {
    hone_download d = hone_download_defaults();
    d.url = url(name);
    d.path = path;
    d.sha256 = sha256;
    d.tries = tries;
    return hone_download_run(&d, out, err);
}

static void expect_whole_file(void) {
    char found[HONE_DIGEST_TEXT];
    assert_int_equal(hone_digest_file(path, found, NULL, NULL), HONE_OK);
    assert_string_equal(found, digest);
    assert_int_equal(access(part, F_OK), -1);
    assert_int_equal(access(tag_path, F_OK), -1);
    unlink(path);
}

static void write_part(const void *bytes, size_t n, const char *tag) {
    assert_int_equal(hone_file_write_atomic(part, bytes, n, NULL), HONE_OK);
    unlink(tag_path);
    if (tag) assert_int_equal(hone_file_write_atomic(tag_path, tag, strlen(tag), NULL), HONE_OK);
}

/* ---- the tests ---- */

static void test_small_documents(void **state) {
    (void)state;
    hone_buf out = {0};
    hone_error err;
    long http;
    assert_int_equal(hone_http_get(url("/small"), "secret", 5, &out, &http, &err), HONE_OK);
    assert_string_equal(out.data, "hello");
    assert_int_equal(http, 200);
    assert_string_equal(last_authorization, "Bearer secret");
    assert_int_equal(hone_http_get(url("/small"), NULL, 4, &out, NULL, &err), HONE_ERR_LIMIT);
    assert_string_equal(last_authorization, "");
    assert_int_equal(hone_http_get(url("/nothing"), NULL, 100, &out, &http, &err), HONE_ERR_NOT_FOUND);
    assert_int_equal(http, 404);
    assert_int_equal(hone_http_get(url("/denied"), NULL, 100, &out, NULL, &err), HONE_ERR_DENIED);
    assert_int_equal(hone_http_get(url("/loop"), NULL, 100, &out, NULL, &err), HONE_ERR_IO);
    assert_int_not_equal(hone_http_get(url("/to-file-scheme"), NULL, 1 << 20, &out, NULL, &err), HONE_OK);
    assert_null(strstr(out.data, "root:"));
    assert_int_equal(hone_http_get("file:///etc/passwd", NULL, 100, &out, NULL, &err), HONE_ERR_ARG);
    assert_int_equal(hone_http_get(url("/small"), "a\r\nX: y", 100, &out, NULL, &err), HONE_ERR_ARG);
    assert_int_equal(hone_http_get("http://127.0.0.1:1/", NULL, 100, &out, NULL, &err),
                     HONE_ERR_IO); /* nobody listens */
    hone_buf_free(&out);
}

static void test_a_file_comes_whole(void **state) {
    (void)state;
    hone_download_result r;
    hone_error err;
    assert_int_equal(fetch("/file", digest, 1, &r, &err), HONE_OK);
    assert_string_equal(r.sha256, digest);
    assert_int_equal(r.bytes, FILE_BYTES);
    assert_int_equal(r.resumed_from, 0);
    expect_whole_file();
    assert_int_equal(fetch("/empty", NULL, 1, &r, &err), HONE_OK);
    assert_int_equal(r.bytes, 0);
    unlink(path);
    assert_int_equal(fetch("/nothing", NULL, 3, &r, &err), HONE_ERR_NOT_FOUND);
    assert_int_equal(access(path, F_OK), -1);
    unlink(part);
}

static void test_a_line_that_breaks_is_resumed(void **state) {
    (void)state;
    hone_download_result r;
    hone_error err;
    n_ranged = 0;
    assert_int_equal(fetch("/cut", digest, 2, &r, &err), HONE_OK); /* four pieces of 60,000 bytes */
    assert_int_equal(n_ranged, 3);
    expect_whole_file();
    n_flaky = 2;
    assert_int_equal(fetch("/flaky", digest, 3, &r, &err), HONE_OK);
    expect_whole_file();
    n_flaky = 5;
    assert_int_equal(fetch("/flaky", digest, 2, &r, &err), HONE_ERR_CLOSED);
    n_requests = 0; /* one that breaks at the same place for ever comes to an end */
    assert_int_equal(fetch("/always-cut", NULL, 2, &r, &err), HONE_ERR_CLOSED);
    assert_true(n_requests <= 4);
    unlink(part);
}

static void test_what_an_earlier_call_fetched_is_used(void **state) {
    (void)state;
    hone_download_result r;
    hone_error err;
    n_ranged = 0;
    write_part(body, 150000, "\"v1\"");
    assert_int_equal(fetch("/file", NULL, 1, &r, &err), HONE_OK);
    assert_int_equal(r.resumed_from, 150000);
    assert_int_equal(n_ranged, 1);
    expect_whole_file();
    write_part(body, FILE_BYTES, "\"v1\""); /* killed just before the end */
    assert_int_equal(fetch("/file", NULL, 1, &r, &err), HONE_OK);
    expect_whole_file();
    /* Another version: from the beginning, whatever the part holds. */
    char junk[1000];
    memset(junk, 'j', sizeof(junk));
    write_part(junk, sizeof(junk), "\"v0\"");
    assert_int_equal(fetch("/file", NULL, 1, &r, &err), HONE_OK);
    assert_int_equal(r.resumed_from, 0);
    expect_whole_file();
    write_part(junk, sizeof(junk), NULL); /* nobody knows which version */
    assert_int_equal(fetch("/file", NULL, 1, &r, &err), HONE_OK);
    expect_whole_file();
    /* With a digest an unnamed part is tried, and a wrong one is found out and removed. */
    write_part(body, 1000, NULL);
    assert_int_equal(fetch("/file", digest, 1, &r, &err), HONE_OK);
    assert_int_equal(r.resumed_from, 1000);
    expect_whole_file();
    write_part(junk, sizeof(junk), NULL);
    assert_int_equal(fetch("/file", digest, 1, &r, &err), HONE_ERR_FORMAT);
    assert_int_equal(access(part, F_OK), -1);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_a_redirect_keeps_the_digest_and_not_the_token(void **state) {
    (void)state;
    hone_download_result r;
    hone_error err;
    hone_download d = hone_download_defaults();
    d.url = url("/linked");
    d.path = path;
    d.bearer = "secret";
    assert_int_equal(hone_download_run(&d, &r, &err), HONE_OK);
    assert_string_equal(r.commit, "abc123");
    assert_string_equal(last_authorization, ""); /* the other host saw none */
    expect_whole_file();
    d.url = url("/linked-wrong");
    assert_int_equal(hone_download_run(&d, &r, &err), HONE_ERR_FORMAT);
    assert_int_equal(access(path, F_OK), -1);
}

static bool stop_early(void *arg, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    ++*(int *)arg;
    return false;
}

static void test_limits_and_cancelling(void **state) {
    (void)state;
    hone_download_result r;
    hone_error err;
    hone_download d = hone_download_defaults();
    int n = 0;
    d.url = url("/file");
    d.path = path;
    d.max_bytes = FILE_BYTES - 1;
    assert_int_equal(hone_download_run(&d, &r, &err), HONE_ERR_LIMIT);
    d.max_bytes = FILE_BYTES;
    d.on_progress = stop_early;
    d.arg = &n;
    assert_int_equal(hone_download_run(&d, &r, &err), HONE_ERR_CANCELLED);
    assert_int_equal(n, 1);
    d.on_progress = NULL;
    assert_int_equal(hone_download_run(&d, &r, &err), HONE_OK);
    expect_whole_file();
    d.path = "/nonexistent/folder/file";
    assert_int_equal(hone_download_run(&d, &r, &err), HONE_ERR_NOT_FOUND);
}

static void test_a_full_disk(void **state) {
    (void)state;
    const pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit limit = {100000, 100000};
        hone_download_result r;
        hone_error err;
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(1);
        _exit(fetch("/file", NULL, 3, &r, &err) == HONE_ERR_FULL ? 0 : 2);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    hone_download_result r; /* when there is space again it goes on */
    hone_error err;
    assert_int_equal(fetch("/file", NULL, 1, &r, &err), HONE_OK);
    assert_int_equal(r.resumed_from, 100000);
    expect_whole_file();
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    for (int64_t fail_at = 0, done = 0; !done; fail_at++) {
        const int64_t live = hone_mem_live;
        hone_download_result r;
        hone_mem_fail_at = fail_at;
        const hone_status status = fetch("/file", NULL, 1, &r, NULL);
        done = hone_mem_fail_at >= 0;
        hone_mem_fail_at = -1;
        if (done) assert_int_equal(status, HONE_OK);
        assert_int_equal(hone_mem_live, live);
    }
    expect_whole_file();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_documents),
        cmocka_unit_test(test_a_file_comes_whole),
        cmocka_unit_test(test_a_line_that_breaks_is_resumed),
        cmocka_unit_test(test_what_an_earlier_call_fetched_is_used),
        cmocka_unit_test(test_a_redirect_keeps_the_digest_and_not_the_token),
        cmocka_unit_test(test_limits_and_cancelling),
        cmocka_unit_test(test_a_full_disk),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
