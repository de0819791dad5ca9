/* demo_server.c - a real `hone serve` on loopback, as anybody would start it.
 * Order: start, stop. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/demo.h"

#define START_SECONDS 120.0

static void become_server(const demo *d, int out) {
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a demo that is killed leaves no server behind */
    const int log = open(d->server.log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) _exit(126);
    dup2(log, STDERR_FILENO);
    dup2(out, STDOUT_FILENO);
    setpgid(0, 0); /* Ctrl-C reaches the demo alone, which stops the server in its own way */
    execl("/proc/self/exe", "hone", "serve", "--home", d->home, "--listen", "127.0.0.1:0", "--model", DEMO_MODEL,
          "--json", (char *)NULL);
    _exit(127);
}

/* The line with which the server says where it listens. */
static hone_status read_url(demo *d, int fd) {
    hone_buf line = {.limit = 1u << 16};
    const double until = hone_clock_seconds() + START_SECONDS;
    hone_status status = HONE_ERR_IO;
    while (hone_clock_seconds() < until) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char c;
        if (poll(&p, 1, 500) <= 0) {
            cli_progress(d->args, "starting the server ...");
            continue;
        }
        const ssize_t n = read(fd, &c, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break; /* it is gone */
        if (c != '\n') {
            hone_buf_char(&line, c);
            continue;
        }
        json_t *said = hone_json_parse(hone_buf_str(&line), line.n, NULL);
        const char *url = json_string_value(json_object_get(said, "url"));
        if (url && strlen(url) < sizeof(d->server.url)) {
            snprintf(d->server.url, sizeof(d->server.url), "%s", url);
            status = HONE_OK;
        }
        json_decref(said);
        hone_buf_clear(&line);
        if (status == HONE_OK) break;
    }
    hone_buf_free(&line);
    cli_progress(d->args, NULL);
    if (status != HONE_OK)
        hone_fail(&d->err, HONE_ERR_IO, "the server did not start; its messages are in %s", d->server.log_path);
    return status;
}

hone_status demo_server_start(demo *d) {
    int ends[2];
    if (!(d->server.log_path = hone_path_join(d->home, "serve.log")))
        return hone_fail(&d->err, HONE_ERR_NOMEM, "no memory");
    if (pipe2(ends, O_CLOEXEC) != 0) return hone_fail(&d->err, HONE_ERR_IO, "no pipe: %s", strerror(errno));
    const pid_t pid = fork();
    if (pid == 0) become_server(d, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return hone_fail(&d->err, HONE_ERR_IO, "cannot start the server: %s", strerror(errno));
    }
    d->server.pid = pid;
    hone_status status = read_url(d, ends[0]);
    close(ends[0]);
    if (status == HONE_OK) status = cli_http_open(&d->http, d->server.url, NULL, &d->err);
    return status;
}

void demo_server_stop(demo *d) {
    cli_http_close(d->http);
    d->http = NULL;
    if (d->server.pid > 0) {
        kill(d->server.pid, SIGTERM);
        const double until = hone_clock_seconds() + 15;
        while (waitpid(d->server.pid, NULL, WNOHANG) == 0) {
            if (hone_clock_seconds() > until) kill(d->server.pid, SIGKILL);
            usleep(20000);
        }
        d->server.pid = 0;
    }
    hone_free(d->server.log_path);
    d->server.log_path = NULL;
}
