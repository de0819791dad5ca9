/* offload.c - the thread for calls that wait; the contract is in offload.h.
 * Order: types, the thread, the loop's side, open and close.
 *
 * An item is in one list at a time, waiting or ended, each under the one lock.  The way back is an eventfd of its own
 * rather than hone_loop_post(), which allocates: an end must not get lost for want of memory. */
#include "net/offload.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"

typedef struct item {
    struct item *next;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
} item;

typedef struct {
    item *first, **last;
} list;

struct hone_offload {
    pthread_mutex_t lock; /* protects waiting, ended and stop */
    pthread_cond_t more;
    list waiting, ended;
    bool stop;
    bool has_lock, has_more, has_thread;
    pthread_t thread;
    int wake_fd; /* written once for each end */
    struct event *wake;
};

static void append(list *l, item *i) {
    i->next = NULL;
    *l->last = i;
    l->last = &i->next;
}

static item *take_all(list *l) {
    item *first = l->first;
    *l = (list){NULL, &l->first};
    return first;
}

/* ---- The thread ---- */

static void *serve(void *arg) {
    hone_offload *o = arg;
    const uint64_t one = 1;
    pthread_mutex_lock(&o->lock);
    for (;;) {
        while (!o->waiting.first && !o->stop) pthread_cond_wait(&o->more, &o->lock);
        item *i = o->waiting.first;
        if (!i) break; /* stop, and nothing is left */
        if (!(o->waiting.first = i->next)) o->waiting.last = &o->waiting.first;
        pthread_mutex_unlock(&o->lock);
        i->work(i->arg);
        pthread_mutex_lock(&o->lock);
        append(&o->ended, i);
        while (write(o->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) continue;
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

/* ---- The loop's side ---- */

static void finish_ended(hone_offload *o) {
    pthread_mutex_lock(&o->lock);
    item *i = take_all(&o->ended);
    pthread_mutex_unlock(&o->lock);
    while (i) {
        item *next = i->next;
        i->done(i->arg);
        hone_free(i);
        i = next;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0) return; /* taken along by an earlier turn */
    finish_ended(arg);
}

hone_status hone_offload_run(hone_offload *o, void (*work)(void *arg), void (*done)(void *arg), void *arg,
                             hone_error *err) {
    item *i = hone_zalloc(1, sizeof(*i));
    if (!i) return hone_fail(err, HONE_ERR_NOMEM, "no memory for work beside the loop");
    *i = (item){NULL, work, done, arg};
    pthread_mutex_lock(&o->lock);
    append(&o->waiting, i);
    pthread_mutex_unlock(&o->lock);
    pthread_cond_signal(&o->more);
    return HONE_OK;
}

/* ---- Open and close ---- */

hone_status hone_offload_open(hone_offload **out, hone_loop *loop, hone_error *err) {
    *out = NULL;
    hone_offload *o = hone_zalloc(1, sizeof(*o));
    if (!o) return hone_fail(err, HONE_ERR_NOMEM, "no memory for the thread beside the loop");
    o->waiting.last = &o->waiting.first;
    o->ended.last = &o->ended.first;
    o->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    bool good = o->wake_fd >= 0;
    good = good && (o->has_lock = pthread_mutex_init(&o->lock, NULL) == 0);
    good = good && (o->has_more = pthread_cond_init(&o->more, NULL) == 0);
    good = good && (o->wake = event_new(hone_loop_base(loop), o->wake_fd, EV_READ | EV_PERSIST, on_wake, o)) &&
           event_add(o->wake, NULL) == 0;
    if (good) {
        sigset_t all, before; /* signals are the loop's business */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        o->has_thread = pthread_create(&o->thread, NULL, serve, o) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (!o->has_thread) {
        hone_offload_close(o);
        return hone_fail(err, HONE_ERR_NOMEM, "the thread beside the loop cannot start");
    }
    *out = o;
    return HONE_OK;
}

void hone_offload_close(hone_offload *o) {
    if (!o) return;
    if (o->has_thread) {
        pthread_mutex_lock(&o->lock);
        o->stop = true;
        pthread_mutex_unlock(&o->lock);
        pthread_cond_signal(&o->more);
        pthread_join(o->thread, NULL);
        finish_ended(o);
        while (o->waiting.first) { /* handed in by a done() just now: the thread is gone, so it runs here */
            serve(o);
            finish_ended(o);
        }
    }
    if (o->wake) event_free(o->wake);
    if (o->wake_fd >= 0) close(o->wake_fd);
    if (o->has_more) pthread_cond_destroy(&o->more);
    if (o->has_lock) pthread_mutex_destroy(&o->lock);
    hone_free(o);
}
