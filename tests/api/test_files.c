/* test_files.c - uploads by raw sockets on a real store: the loop serves others while the disk is awaited; a client
 * that leaves or a server that closes meanwhile leaves nothing behind. */
#include <dirent.h>
#include <stdatomic.h>
#include <time.h>

#include "api/api.h"
#include "net/http_fixture.h"
#include "store/folder.h"

typedef struct {
    fixture f; /* of which the loop alone is used */
    folder home;
    hone_store *store;
    hone_offload *offload;
    hone_api *api;
    atomic_bool go_on; /* of the work that keeps the thread beside the loop */
} server;

static void keep_busy(void *arg) {
    const struct timespec ms = {0, 1000000};
    while (!atomic_load(&((server *)arg)->go_on)) nanosleep(&ms, NULL);
}
static void on_idle(void *arg) {
    (void)arg;
}

static void start(server *s) {
    hone_error err = {0};
    *s = (server){0};
    folder_make(&s->home);
    assert_int_equal(hone_loop_open(&s->f.loop, &err), HONE_OK);
    assert_int_equal(hone_offload_open(&s->offload, s->f.loop, &err), HONE_OK);
    if (hone_store_open(&s->store, s->home.path, HONE_HOME_CONTROLLER, &err) != HONE_OK) fail_msg("%s", err.message);
    hone_api_config a = {.loop = s->f.loop,
                         .store = s->store,
                         .offload = s->offload,
                         .http = hone_http_defaults(),
                         .organization = "org"};
    a.http.address = "127.0.0.1";
    if (hone_api_open(&s->api, &a, &err) != HONE_OK) fail_msg("%s", err.message);
    /* Whatever is handed in now waits behind this, as it would for a slow disk. */
    assert_int_equal(hone_offload_run(s->offload, keep_busy, on_idle, s, NULL), HONE_OK);
}

static void end(server *s) {
    atomic_store(&s->go_on, true);
    hone_api_close(s->api);
    hone_offload_close(s->offload);
    hone_store_close(s->store);
    hone_loop_close(s->f.loop);
    folder_remove(&s->home);
}

static int send_upload(server *s, const char *text) {
    hone_buf body = {0}, request = {0};
    hone_buf_format(&body,
                    "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\n"
                    "Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n%s\r\n--x--\r\n",
                    text);
    hone_buf_format(&request,
                    "POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                    "Content-Length: %zu\r\n\r\n%s",
                    body.n, hone_buf_str(&body));
    const int fd = dial_port(hone_api_port(s->api), 0);
    say(&s->f, fd, hone_buf_str(&request));
    hone_buf_free(&body);
    hone_buf_free(&request);
    turn(&s->f, 20);
    return fd;
}

/* The number of files, as GET /v1/files tells it: a request of its own, answered while the upload waits. */
static size_t count_files(server *s) {
    hone_buf reply = {0};
    const int fd = dial_port(hone_api_port(s->api), 0);
    say(&s->f, fd, "GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hear_reply(&s->f, fd, &reply));
    close(fd);
    json_t *list = json_loads(strstr(hone_buf_str(&reply), "\r\n\r\n") + 4, 0, NULL);
    const size_t n = json_array_size(json_object_get(list, "data"));
    assert_non_null(list);
    json_decref(list);
    hone_buf_free(&reply);
    return n;
}

static int count_temporary(server *s) {
    int n = 0;
    DIR *dir = opendir(folder_at(&s->home, "artifact/tmp"));
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static bool has_ended(void *arg) {
    return count_temporary(arg) == 0;
}
static void wait_until(server *s, bool (*condition)(void *)) {
    const int64_t deadline = hone_clock_ns() + 10000000000;
    while (!condition(s) && hone_clock_ns() < deadline) turn(&s->f, 1);
    assert_true(condition(s));
}

static void test_others_are_served_meanwhile(void **state) {
    (void)state;
    server s;
    hone_buf reply = {0};
    start(&s);
    const int fd = send_upload(&s, "{\"a\": 1}");
    assert_int_equal(count_temporary(&s), 1);
    assert_int_equal(count_files(&s), 0);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1); /* no word before it is on the disk */
    atomic_store(&s.go_on, true);
    assert_true(hear_reply(&s.f, fd, &reply));
    assert_int_equal(atoi(reply.data + 9), 200);
    assert_non_null(strstr(hone_buf_str(&reply), "\"filename\":\"a.jsonl\""));
    assert_int_equal(count_files(&s), 1);
    assert_int_equal(count_temporary(&s), 0);
    close(fd);
    hone_buf_free(&reply);
    end(&s);
}

static void test_a_client_that_leaves_leaves_nothing(void **state) {
    (void)state;
    server s;
    start(&s);
    close(send_upload(&s, "{\"a\": 2}"));
    turn(&s.f, 20);
    atomic_store(&s.go_on, true);
    wait_until(&s, has_ended);
    assert_int_equal(count_files(&s), 0);
    end(&s);
}

static void test_a_server_that_closes_leaves_nothing(void **state) {
    (void)state;
    const int64_t live = hone_mem_live;
    server s;
    start(&s);
    const int fd = send_upload(&s, "{\"a\": 3}");
    assert_int_equal(count_temporary(&s), 1);
    hone_api_close(s.api);
    s.api = NULL;
    atomic_store(&s.go_on, true);
    hone_offload_close(s.offload);
    s.offload = NULL;
    assert_int_equal(count_temporary(&s), 0);
    close(fd);
    end(&s);
    assert_int_equal(hone_mem_live, live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_others_are_served_meanwhile),
        cmocka_unit_test(test_a_client_that_leaves_leaves_nothing),
        cmocka_unit_test(test_a_server_that_closes_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
