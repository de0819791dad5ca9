/* pool.c - the team of threads; the contract is in pool.h.
 * Order: types, taking tasks, workers, open and close, run. */
#include "base/pool.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

/* About 20 us of pause instructions: longer than the gap between two products of a step, far shorter than a request. */
#define SPIN 2000

typedef struct {
    hone_pool *pool;
    pthread_t thread;
    uint32_t index;
} worker;

struct hone_pool {
    uint32_t n_threads;
    void (*fn)(void *, uint32_t, uint32_t);
    void *arg;
    uint32_t n_tasks;
    /* Round number; workers sleep on it.  A release store publishes fn, arg and n_tasks. */
    _Alignas(64) _Atomic uint32_t round;
    _Alignas(64) _Atomic uint32_t next;     /* next task nobody took */
    _Alignas(64) _Atomic uint32_t working;  /* workers still inside this round; the caller waits for 0 */
    _Alignas(64) _Atomic uint32_t sleeping; /* workers in futex_wait, so that a round may skip the system call */
    _Atomic uint32_t stop;
    worker *workers; /* [n_threads - 1] */
    uint32_t n_started;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen) {
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}
static void futex_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void take_tasks(hone_pool *p, uint32_t thread) {
    const uint32_t n = p->n_tasks;
    for (;;) {
        const uint32_t task = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (task >= n) return;
        p->fn(p->arg, task, thread);
    }
}

static void *work(void *arg) {
    worker *w = arg;
    hone_pool *p = w->pool;
    uint32_t seen = 0;
    for (;;) {
        uint32_t round = atomic_load_explicit(&p->round, memory_order_acquire);
        for (int i = 0; round == seen && i < SPIN; i++) {
            _mm_pause();
            round = atomic_load_explicit(&p->round, memory_order_acquire);
        }
        while (round == seen) {
            /* seq_cst on both sides: either the caller sees us sleeping, or futex_wait sees the new round. */
            atomic_fetch_add(&p->sleeping, 1);
            futex_wait(&p->round, seen);
            atomic_fetch_sub(&p->sleeping, 1);
            round = atomic_load_explicit(&p->round, memory_order_acquire);
        }
        seen = round;
        if (atomic_load_explicit(&p->stop, memory_order_relaxed)) return NULL;
        take_tasks(p, w->index);
        /* release: results of our tasks are visible to the caller that sees the count fall */
        if (atomic_fetch_sub_explicit(&p->working, 1, memory_order_release) == 1) futex_wake_all(&p->working);
    }
}

static void begin_round(hone_pool *p) {
    atomic_fetch_add(&p->round, 1);
    if (atomic_load(&p->sleeping)) futex_wake_all(&p->round);
}

hone_status hone_pool_open(hone_pool **out, uint32_t n_threads, hone_error *err) {
    *out = NULL;
    if (n_threads == 0) {
        const long n = sysconf(_SC_NPROCESSORS_ONLN);
        n_threads = n > 0 ? (uint32_t)n : 1;
    }
    if (n_threads > 1024) return hone_fail(err, HONE_ERR_ARG, "%u threads: at most 1024", n_threads);
    hone_pool *p = hone_alloc_aligned(1, sizeof(*p));
    if (!p) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a thread pool");
    *p = (hone_pool){.n_threads = n_threads};
    if (n_threads > 1 && !(p->workers = hone_zalloc(n_threads - 1, sizeof(*p->workers)))) {
        hone_pool_close(p);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a thread pool");
    }
    /* Signals are the main thread's business. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (uint32_t i = 0; i + 1 < n_threads; i++) {
        p->workers[i] = (worker){.pool = p, .index = i + 1};
        if (pthread_create(&p->workers[i].thread, NULL, work, &p->workers[i]) != 0) break;
        p->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (p->n_started + 1 != n_threads) {
        hone_pool_close(p);
        return hone_fail(err, HONE_ERR_NOMEM, "cannot start %u threads", n_threads);
    }
    *out = p;
    return HONE_OK;
}

void hone_pool_close(hone_pool *p) {
    if (!p) return;
    atomic_store(&p->stop, 1);
    begin_round(p);
    for (uint32_t i = 0; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    hone_free(p->workers);
    hone_free(p);
}

uint32_t hone_pool_threads(const hone_pool *p) {
    return p ? p->n_threads : 1;
}

void hone_pool_run(hone_pool *p, uint32_t n_tasks, void (*fn)(void *, uint32_t, uint32_t), void *arg) {
    if (!p || p->n_threads == 1 || n_tasks <= 1) {
        for (uint32_t task = 0; task < n_tasks; task++) fn(arg, task, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store_explicit(&p->working, p->n_threads - 1, memory_order_relaxed);
    begin_round(p);
    take_tasks(p, 0);
    uint32_t left = atomic_load_explicit(&p->working, memory_order_acquire);
    for (int i = 0; left && i < SPIN; i++) {
        _mm_pause();
        left = atomic_load_explicit(&p->working, memory_order_acquire);
    }
    while (left) {
        futex_wait(&p->working, left);
        left = atomic_load_explicit(&p->working, memory_order_acquire);
    }
}
