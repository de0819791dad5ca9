/* child.h - a child process on an event loop: started, watched by pidfd, read line by line.
 *
 * Threads: the loop's. */
#ifndef HONE_CHILD_H
#define HONE_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"

struct event_base;
typedef struct hone_child hone_child;

#define HONE_CHILD_FD 3 /* where the child finds pass_fd */

typedef struct {
    const char *const *argv; /* argv[0] is the path; NULL at the end; borrowed for the call */
    int pass_fd;             /* becomes HONE_CHILD_FD in the child; -1: none.  Stays the caller's */
    int death_signal;        /* sent to the child when this process dies; 0: none */
    int nice;                /* added to the child's nice value */
    /* A line of the child's standard output without its newline, at most 1 MiB; NULL: standard output is this one's.
     * Standard error is always this process's. */
    void (*on_line)(void *arg, const char *line, size_t n);
    /* The child is gone and everything it printed was delivered: status as of waitpid.  hc is freed afterwards. */
    void (*on_exit)(void *arg, int status);
    void *arg;
} hone_child_options;

hone_status hone_child_start(hone_child **out, struct event_base *base, const hone_child_options *o, hone_error *err);
pid_t hone_child_pid(const hone_child *hc);
void hone_child_signal(hone_child *hc, int signal); /* by pidfd: never another process that got the number */

/* Forget it: no callback any more.  kill: SIGKILL first.  The process is reaped before this returns when killed. */
void hone_child_drop(hone_child *hc, bool kill);

/* "exit status 3" or "signal 9 (Killed)" into text. */
void hone_child_status_text(int status, char *text, size_t n);

#endif
