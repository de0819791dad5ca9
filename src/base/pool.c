/* pool.c - the team of threads; the contract is in pool.h.
 *
 * The tasks of a round lie in one range for each thread, which takes its own first and then from the others: what a
 * thread reads is in one piece, and one that is late or lost its core holds up no more than the task in its hands.  A
 * range is one word, next task and end, so that a claim says by itself whether it is good, whatever round the thread
 * believed to be in; what belongs to a round stays as it is until all of its tasks are done.
 *
 * Order: types, taking tasks, waiting, workers, open and close, run. */
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

typedef struct {
    _Alignas(64) _Atomic uint64_t range; /* end << 32 | next task nobody took */
    _Alignas(64) _Atomic(const uint8_t *) ahead;
    _Atomic size_t ahead_bytes;
} place;

struct hone_pool {
    uint32_t n_threads;
    void (*fn)(void *, uint32_t, uint32_t);
    void *arg;
    place *places;                          /* [n_threads]; storing a range publishes fn and arg */
    _Alignas(64) _Atomic uint32_t round;    /* workers sleep on it */
    _Alignas(64) _Atomic uint32_t left;     /* tasks not done yet; the caller waits for 0 */
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
    for (uint32_t i = 0; i < p->n_threads; i++) {
        place *from = &p->places[(thread + i) % p->n_threads];
        uint32_t done = 0;
        for (;; done++) {
            const uint64_t seen = atomic_load_explicit(&from->range, memory_order_relaxed);
            if ((uint32_t)seen >= seen >> 32) break; /* nothing to claim: the line stays shared */
            const uint64_t claim = atomic_fetch_add_explicit(&from->range, 1, memory_order_acquire);
            if ((uint32_t)claim >= claim >> 32) break;
            p->fn(p->arg, (uint32_t)claim, thread);
        }
        /* release: what our tasks wrote is visible to the caller that sees 0 */
        if (done && atomic_fetch_sub_explicit(&p->left, done, memory_order_acq_rel) == done) futex_wake_all(&p->left);
    }
}

/* One turn of waiting: a pause, and two lines of what this thread will read next. */
typedef struct {
    const uint8_t *from;
    size_t at;
} fetcher;

static void wait_turn(place *own, fetcher *f) {
    const uint8_t *from = atomic_load_explicit(&own->ahead, memory_order_relaxed);
    const size_t bytes = atomic_load_explicit(&own->ahead_bytes, memory_order_relaxed);
    if (from != f->from) *f = (fetcher){from, 0};
    for (int i = 0; i < 2 && f->at < bytes; i++, f->at += 64) _mm_prefetch((const char *)from + f->at, _MM_HINT_T1);
    _mm_pause();
}

static void *work(void *arg) {
    worker *w = arg;
    hone_pool *p = w->pool;
    uint32_t seen = 0;
    fetcher ahead = {NULL, 0};
    for (;;) {
        uint32_t round = atomic_load_explicit(&p->round, memory_order_acquire);
        for (int i = 0; round == seen && i < SPIN; i++) {
            wait_turn(&p->places[w->index], &ahead);
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
    if (!(p->places = hone_alloc_aligned(n_threads, sizeof(*p->places)))) {
        hone_pool_close(p);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a thread pool");
    }
    for (uint32_t i = 0; i < n_threads; i++) p->places[i] = (place){0};
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
    hone_free(p->places);
    hone_free(p->workers);
    hone_free(p);
}

uint32_t hone_pool_threads(const hone_pool *p) {
    return p ? p->n_threads : 1;
}

void hone_pool_ahead(hone_pool *p, uint32_t thread, const void *data, size_t bytes) {
    if (!p || p->n_threads == 1) return;
    atomic_store_explicit(&p->places[thread].ahead_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&p->places[thread].ahead, data, memory_order_relaxed);
}

void hone_pool_run(hone_pool *p, uint32_t n_tasks, void (*fn)(void *, uint32_t, uint32_t), void *arg) {
    if (!p || p->n_threads == 1 || n_tasks <= 1) {
        for (uint32_t task = 0; task < n_tasks; task++) fn(arg, task, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    atomic_store_explicit(&p->left, n_tasks, memory_order_relaxed);
    for (uint32_t i = 0; i < p->n_threads; i++) {
        const uint64_t from = (uint64_t)n_tasks * i / p->n_threads, to = (uint64_t)n_tasks * (i + 1) / p->n_threads;
        atomic_store_explicit(&p->places[i].range, to << 32 | from, memory_order_release);
    }
    begin_round(p);
    take_tasks(p, 0);
    fetcher ahead = {NULL, 0};
    uint32_t left = atomic_load_explicit(&p->left, memory_order_acquire);
    for (int i = 0; left && i < SPIN; i++) {
        wait_turn(&p->places[0], &ahead);
        left = atomic_load_explicit(&p->left, memory_order_acquire);
    }
    while (left) {
        futex_wait(&p->left, left);
        left = atomic_load_explicit(&p->left, memory_order_acquire);
    }
}
