/* child.c - child processes on the event loop; the contract is in child.h.
 * Order: starting (fork, descriptors, exec), output lines, exit, signals. */
#include "net/child.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

#define LINE_LIMIT (1u << 20)

struct hone_child {
    pid_t pid;
    int pidfd;
    int out_fd; /* read end of its standard output, -1: none or at its end */
    struct event *exit_event, *out_event;
    struct evbuffer *out;
    bool exited;
    int status;
    hone_child_options o;
};

/* Only async-signal-safe calls: another thread may have held the heap's lock at the fork. */
static _Noreturn void become(const hone_child_options *o, int out_fd, int err_fd, pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int s = 1; s < 32; s++) signal(s, SIG_DFL);
    if (o->death_signal) {
        prctl(PR_SET_PDEATHSIG, o->death_signal);
        if (getppid() != parent) _exit(125); /* it died before prctl */
    }
    if (o->nice && nice(o->nice) == -1) errno = 0; /* best effort */
    bool ok = true;
    if (out_fd >= 0) ok = dup2(out_fd, STDOUT_FILENO) >= 0;
    if (ok && o->pass_fd >= 0) {
        if (o->pass_fd == HONE_CHILD_FD)
            ok = fcntl(HONE_CHILD_FD, F_SETFD, 0) == 0;
        else
            ok = dup2(o->pass_fd, HONE_CHILD_FD) >= 0;
    }
    const int nothing = open("/dev/null", O_RDONLY);
    if (nothing >= 0) dup2(nothing, STDIN_FILENO);
    /* Everything else is close-on-exec already; this covers what a library forgot.  err_fd must survive until exec. */
    const unsigned first = o->pass_fd >= 0 ? HONE_CHILD_FD + 1u : 3u;
    syscall(SYS_close_range, first, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
    if (ok) execv(o->argv[0], (char *const *)(uintptr_t)o->argv);
    const int e = errno;
    if (write(err_fd, &e, sizeof(e)) < 0) _exit(126);
    _exit(127);
}

static void finish_if_done(hone_child *hc) {
    if (!hc->exited || hc->out_fd >= 0) return;
    void (*on_exit)(void *, int) = hc->o.on_exit;
    void *arg = hc->o.arg;
    const int status = hc->status;
    hone_child_drop(hc, false);
    if (on_exit) on_exit(arg, status);
}

static void on_output(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    hone_child *hc = arg;
    const int n = evbuffer_read(hc->out, fd, 1 << 16);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    size_t length;
    char *line;
    while ((line = evbuffer_readln(hc->out, &length, EVBUFFER_EOL_LF))) {
        hc->o.on_line(hc->o.arg, line, length);
        free(line); /* libevent's own allocation */
    }
    if (n <= 0 || evbuffer_get_length(hc->out) > LINE_LIMIT) {
        event_del(hc->out_event);
        close(hc->out_fd);
        hc->out_fd = -1;
        finish_if_done(hc);
    }
}

static void on_exit_ready(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    hone_child *hc = arg;
    if (waitpid(hc->pid, &hc->status, WNOHANG) != hc->pid) return;
    hc->exited = true;
    event_del(hc->exit_event);
    finish_if_done(hc);
}

hone_status hone_child_start(hone_child **out, struct event_base *base, const hone_child_options *o, hone_error *err) {
    *out = NULL;
    int report[2] = {-1, -1}, output[2] = {-1, -1};
    hone_child *hc = hone_zalloc(1, sizeof(*hc));
    if (!hc) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a child process");
    hc->o = *o;
    hc->o.argv = NULL;
    hc->pidfd = hc->out_fd = -1;
    hone_status status = HONE_ERR_IO;
    if (pipe2(report, O_CLOEXEC) != 0 || (o->on_line && pipe2(output, O_CLOEXEC) != 0)) {
        hone_fail(err, status, "cannot make a pipe: %s", strerror(errno));
        goto done;
    }
    const pid_t parent = getpid();
    hc->pid = fork();
    if (hc->pid == 0) become(o, output[1], report[1], parent);
    if (hc->pid < 0) {
        hone_fail(err, status, "cannot start %s: %s", o->argv[0], strerror(errno));
        goto done;
    }
    close(report[1]);
    report[1] = -1;
    int problem = 0;
    ssize_t n;
    do n = read(report[0], &problem, sizeof(problem));
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof(problem)) {
        waitpid(hc->pid, NULL, 0);
        hc->pid = 0;
        hone_fail(err, status, "cannot run %s: %s", o->argv[0], strerror(problem));
        goto done;
    }
    hc->pidfd = (int)syscall(SYS_pidfd_open, hc->pid, 0);
    if (hc->pidfd < 0) {
        hone_fail(err, status, "pidfd_open: %s", strerror(errno));
        goto done;
    }
    hc->exit_event = event_new(base, hc->pidfd, EV_READ | EV_PERSIST, on_exit_ready, hc);
    bool ready = hc->exit_event && event_add(hc->exit_event, NULL) == 0;
    if (ready && o->on_line) {
        hc->out_fd = output[0];
        output[0] = -1;
        fcntl(hc->out_fd, F_SETFL, O_NONBLOCK);
        hc->out = evbuffer_new();
        hc->out_event = event_new(base, hc->out_fd, EV_READ | EV_PERSIST, on_output, hc);
        ready = hc->out && hc->out_event && event_add(hc->out_event, NULL) == 0;
    }
    if (!ready) {
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory for a child process");
        goto done;
    }
    *out = hc;
    hc = NULL;
    status = HONE_OK;
done:
    for (int i = 0; i < 2; i++) {
        if (report[i] >= 0) close(report[i]);
        if (output[i] >= 0) close(output[i]);
    }
    if (hc) hone_child_drop(hc, hc->pid > 0);
    return status;
}

pid_t hone_child_pid(const hone_child *hc) {
    return hc->pid;
}

void hone_child_signal(hone_child *hc, int signal) {
    if (!hc->exited) syscall(SYS_pidfd_send_signal, hc->pidfd, signal, NULL, 0);
}

void hone_child_drop(hone_child *hc, bool kill_it) {
    if (!hc) return;
    if (kill_it && hc->pid > 0 && !hc->exited) {
        kill(hc->pid, SIGKILL); /* not reaped yet, so the number is still its own */
        while (waitpid(hc->pid, NULL, 0) < 0 && errno == EINTR) continue;
    }
    if (hc->exit_event) event_free(hc->exit_event);
    if (hc->out_event) event_free(hc->out_event);
    if (hc->out) evbuffer_free(hc->out);
    if (hc->out_fd >= 0) close(hc->out_fd);
    if (hc->pidfd >= 0) close(hc->pidfd);
    hone_free(hc);
}

void hone_child_status_text(int status, char *text, size_t n) {
    if (WIFSIGNALED(status))
        snprintf(text, n, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(text, n, "exit status %d", WEXITSTATUS(status));
}
