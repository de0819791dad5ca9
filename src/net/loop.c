/* loop.c - the event loop and its door for other threads; the contract is in loop.h.
 * Order: open and close, run and stop, posting, timers, signals.
 *
 * Posting uses a queue under a mutex and an eventfd instead of libevent's own locking: one lock that says what it
 * protects, and none on the loop's own path. */
#include "net/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"

typedef struct post {
    struct post *next;
    void (*fn)(void *arg);
    void *arg;
} post;

struct hone_timer {
    hone_timer *next, **link; /* the loop's list, so that close can free what is still set */
    struct event event;
    void (*fn)(void *arg);
    void *arg;
};

typedef struct watch { /* of a signal */
    struct watch *next;
    struct event event;
    void (*fn)(void *arg);
    void *arg;
} watch;

struct hone_loop {
    struct event_base *base;
    int wake_fd;
    struct event wake;
    bool wake_added;
    atomic_bool stop;     /* set by any thread, seen by the loop after a wake: sequentially consistent, it is rare */
    pthread_mutex_t lock; /* protects first and last */
    post *first, **last;
    hone_timer *timers;
    watch *watches;
};

static void on_wake(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    hone_loop *loop = arg;
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0) count = 0; /* EAGAIN: woken twice for one write */
    pthread_mutex_lock(&loop->lock);
    post *p = loop->first; /* only what is here now: a callback that posts again must not starve the sockets */
    loop->first = NULL;
    loop->last = &loop->first;
    pthread_mutex_unlock(&loop->lock);
    while (p) {
        post *next = p->next;
        p->fn(p->arg);
        hone_free(p);
        p = next;
    }
    if (atomic_load(&loop->stop)) event_base_loopbreak(loop->base);
}

hone_status hone_loop_open(hone_loop **out, hone_error *err) {
    *out = NULL;
    hone_loop *loop = hone_zalloc(1, sizeof(*loop));
    if (!loop) return hone_fail(err, HONE_ERR_NOMEM, "loop: no memory");
    loop->wake_fd = -1;
    loop->last = &loop->first;
    pthread_mutex_init(&loop->lock, NULL);
    signal(SIGPIPE, SIG_IGN);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0) {
        const hone_status status = hone_fail(err, HONE_ERR_IO, "loop: no eventfd: %s", strerror(errno));
        hone_loop_close(loop);
        return status;
    }
    loop->base = event_base_new();
    if (!loop->base || event_assign(&loop->wake, loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop) != 0 ||
        event_add(&loop->wake, NULL) != 0) {
        hone_loop_close(loop);
        return hone_fail(err, HONE_ERR_NOMEM, "loop: libevent cannot start");
    }
    loop->wake_added = true;
    *out = loop;
    return HONE_OK;
}

void hone_loop_close(hone_loop *loop) {
    if (!loop) return;
    while (loop->timers) hone_timer_cancel(loop->timers);
    while (loop->watches) {
        watch *w = loop->watches;
        loop->watches = w->next;
        event_del(&w->event);
        hone_free(w);
    }
    while (loop->first) {
        post *p = loop->first;
        loop->first = p->next;
        hone_free(p);
    }
    if (loop->wake_added) event_del(&loop->wake);
    if (loop->base) event_base_free(loop->base);
    if (loop->wake_fd >= 0) close(loop->wake_fd);
    pthread_mutex_destroy(&loop->lock);
    hone_free(loop);
}

struct event_base *hone_loop_base(hone_loop *loop) {
    return loop->base;
}

hone_status hone_loop_run(hone_loop *loop, hone_error *err) {
    while (!atomic_load(&loop->stop))
        if (event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY) < 0)
            return hone_fail(err, HONE_ERR_IO, "loop: waiting for events failed: %s", strerror(errno));
    atomic_store(&loop->stop, false); /* used up: the loop may be run again */
    return HONE_OK;
}

static void on_nothing(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what, (void)arg;
}

void hone_loop_turn(hone_loop *loop, uint32_t wait_ms) {
    if (wait_ms == 0) {
        event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        return;
    }
    struct event limit;
    const struct timeval tv = {wait_ms / 1000, (wait_ms % 1000) * 1000};
    if (event_assign(&limit, loop->base, -1, 0, on_nothing, NULL) != 0 || event_add(&limit, &tv) != 0) return;
    event_base_loop(loop->base, EVLOOP_ONCE);
    event_del(&limit);
}

static void wake(hone_loop *loop) {
    const uint64_t one = 1;
    while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) continue;
    /* EAGAIN: the counter is full, so a wake is due anyway */
}

void hone_loop_stop(hone_loop *loop) {
    atomic_store(&loop->stop, true);
    wake(loop);
}

hone_status hone_loop_post(hone_loop *loop, void (*fn)(void *arg), void *arg) {
    post *p = hone_zalloc(1, sizeof(*p));
    if (!p) return HONE_ERR_NOMEM;
    p->fn = fn;
    p->arg = arg;
    pthread_mutex_lock(&loop->lock);
    const bool was_empty = loop->first == NULL;
    *loop->last = p;
    loop->last = &p->next;
    pthread_mutex_unlock(&loop->lock);
    if (was_empty) wake(loop); /* otherwise the wake of the first is still on its way */
    return HONE_OK;
}

static void forget(hone_timer *timer) {
    *timer->link = timer->next;
    if (timer->next) timer->next->link = timer->link;
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    hone_timer *timer = arg;
    void (*fn)(void *) = timer->fn;
    void *fn_arg = timer->arg;
    forget(timer);
    hone_free(timer);
    fn(fn_arg);
}

hone_timer *hone_loop_after(hone_loop *loop, uint32_t delay_ms, void (*fn)(void *arg), void *arg) {
    hone_timer *timer = hone_zalloc(1, sizeof(*timer));
    const struct timeval tv = {delay_ms / 1000, (delay_ms % 1000) * 1000};
    if (!timer) return NULL;
    timer->fn = fn;
    timer->arg = arg;
    if (event_assign(&timer->event, loop->base, -1, 0, on_timer, timer) != 0 || event_add(&timer->event, &tv) != 0) {
        hone_free(timer);
        return NULL;
    }
    timer->next = loop->timers;
    timer->link = &loop->timers;
    if (timer->next) timer->next->link = &timer->next;
    loop->timers = timer;
    return timer;
}

void hone_timer_cancel(hone_timer *timer) {
    if (!timer) return;
    event_del(&timer->event);
    forget(timer);
    hone_free(timer);
}

static void on_signal(evutil_socket_t number, short what, void *arg) {
    (void)number, (void)what;
    watch *w = arg;
    w->fn(w->arg);
}

hone_status hone_loop_on_signal(hone_loop *loop, int number, void (*fn)(void *arg), void *arg, hone_error *err) {
    watch *w = hone_zalloc(1, sizeof(*w));
    if (!w) return hone_fail(err, HONE_ERR_NOMEM, "loop: no memory for a signal");
    w->fn = fn;
    w->arg = arg;
    if (event_assign(&w->event, loop->base, number, EV_SIGNAL | EV_PERSIST, on_signal, w) != 0 ||
        event_add(&w->event, NULL) != 0) {
        hone_free(w);
        return hone_fail(err, HONE_ERR_ARG, "loop: cannot watch signal %d", number);
    }
    w->next = loop->watches;
    loop->watches = w;
    return HONE_OK;
}
