/* copy_adapters.c - background loading of adapters; the contract is in copy_adapters.h.
 *
 * One load is handed over at a time.  A loaded adapter that finds no room, because requests use all that is resident,
 * stays with the loop until some of them end: it alone may be over the budget.
 *
 * Order: the thread, open and close, loads, held requests, the turn. */
#include "fleet/copy_adapters.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "fleet/protocol.h"

typedef struct load {
    struct load *next;
    char digest[HONE_DIGEST_TEXT];
    int fd[2]; /* config, tensors; owned */
    hone_adapter *adapter;
    hone_status status;
    hone_error error;
} load;

typedef struct held {
    struct held *next;
    hone_engine_request r;
    void *store;
} held;

typedef struct pin {
    struct pin *next;
    char digest[HONE_DIGEST_TEXT];
} pin;

struct copy_adapters {
    copy_adapters_config cfg;
    load *first;                          /* in order of arrival; the first is with the thread or came back from it */
    enum { IDLE, LOADING, LOADED } state; /* of the first, as the loop knows it */
    held *waiting;
    pin *pins;
    int wake; /* eventfd */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work;
    load *handed; /* under lock: for the thread */
    bool stop;    /* under lock */
};

/* ---- The thread ---- */

static void read_files(const copy_adapters *a, load *l) {
    hone_map map[2] = {{0}, {0}};
    struct stat st;
    hone_error *err = &l->error;
    l->status = HONE_OK;
    if (l->fd[0] < 0 || l->fd[1] < 0)
        l->status = hone_fail(err, HONE_ERR_FORMAT, "adapter %.12s came without its two files", l->digest);
    else if (fstat(l->fd[1], &st) == 0 && (uint64_t)st.st_size > a->cfg.budget_bytes)
        l->status = hone_fail(err, HONE_ERR_LIMIT, "an adapter of %llu bytes: the budget is %llu",
                              (unsigned long long)st.st_size, (unsigned long long)a->cfg.budget_bytes);
    if (l->status == HONE_OK) l->status = hone_map_fd(&map[0], l->fd[0], "adapter_config.json", err);
    if (l->status == HONE_OK) l->status = hone_map_fd(&map[1], l->fd[1], "adapter_model.safetensors", err);
    if (l->status == HONE_OK) {
        madvise((void *)(uintptr_t)map[1].data, map[1].bytes, MADV_SEQUENTIAL);
        madvise((void *)(uintptr_t)map[1].data, map[1].bytes, MADV_WILLNEED);
#ifdef MADV_POPULATE_READ /* in one call rather than by faults; older kernels say no */
        madvise((void *)(uintptr_t)map[1].data, map[1].bytes, MADV_POPULATE_READ);
#endif
        l->status =
            hone_adapter_load(&l->adapter, map[0].data, map[0].bytes, map[1].data, map[1].bytes, a->cfg.model, err);
    }
    for (int i = 0; i < 2; i++) {
        hone_map_close(&map[i]);
        if (l->fd[i] >= 0) close(l->fd[i]);
        l->fd[i] = -1;
    }
}

static void *run(void *arg) {
    copy_adapters *a = arg;
    for (;;) {
        pthread_mutex_lock(&a->lock);
        while (!a->handed && !a->stop) pthread_cond_wait(&a->work, &a->lock);
        load *l = a->handed;
        const bool stop = a->stop;
        pthread_mutex_unlock(&a->lock);
        if (stop) return NULL;
        read_files(a, l);
        pthread_mutex_lock(&a->lock);
        a->handed = NULL;
        pthread_mutex_unlock(&a->lock);
        const uint64_t one = 1;
        if (write(a->wake, &one, sizeof(one)) < 0) return NULL; /* cannot be: the counter is never full */
    }
}

static bool still_loading(copy_adapters *a) {
    pthread_mutex_lock(&a->lock);
    const bool is = a->handed != NULL;
    pthread_mutex_unlock(&a->lock);
    return is;
}

/* ---- Open and close ---- */

hone_status copy_adapters_open(copy_adapters **out, const copy_adapters_config *cfg, hone_error *err) {
    *out = NULL;
    copy_adapters *a = hone_zalloc(1, sizeof(*a));
    if (!a) return hone_fail(err, HONE_ERR_NOMEM, "no memory to load adapters");
    a->cfg = *cfg;
    a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->work, NULL);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    a->started = a->wake >= 0 && pthread_create(&a->thread, NULL, run, a) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!a->started) {
        copy_adapters_close(a);
        return hone_fail(err, HONE_ERR_NOMEM, "cannot start the thread that loads adapters");
    }
    *out = a;
    return HONE_OK;
}

static void free_load(load *l) {
    for (int i = 0; i < 2; i++)
        if (l->fd[i] >= 0) close(l->fd[i]);
    hone_adapter_free(l->adapter);
    hone_free(l);
}

void copy_adapters_close(copy_adapters *a) {
    if (!a) return;
    if (a->started) {
        pthread_mutex_lock(&a->lock);
        a->stop = true;
        pthread_cond_signal(&a->work);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
    }
    while (a->first) {
        load *next = a->first->next;
        free_load(a->first);
        a->first = next;
    }
    while (a->waiting) {
        held *next = a->waiting->next;
        hone_free(a->waiting->store);
        hone_free(a->waiting);
        a->waiting = next;
    }
    while (a->pins) {
        pin *next = a->pins->next;
        hone_free(a->pins);
        a->pins = next;
    }
    pthread_cond_destroy(&a->work);
    pthread_mutex_destroy(&a->lock);
    if (a->wake >= 0) close(a->wake);
    hone_free(a);
}

int copy_adapters_fd(const copy_adapters *a) {
    return a->wake;
}

/* ---- Loads ---- */

static load *find_load(const copy_adapters *a, const char *digest) {
    load *l = a->first;
    while (l && strcmp(l->digest, digest) != 0) l = l->next;
    return l;
}

void copy_adapters_offer(copy_adapters *a, const char *digest, int config_fd, int tensors_fd) {
    load *l = NULL;
    const bool here = hone_engine_has_adapter(a->cfg.engine, digest);
    if (!here && !find_load(a, digest)) l = hone_zalloc(1, sizeof(*l));
    if (!l) {
        if (config_fd >= 0) close(config_fd);
        if (tensors_fd >= 0) close(tensors_fd);
        if (here) {
            hone_frame_text(a->cfg.out, HONE_FRAME_ADAPTER_READY, digest);
        } else if (!find_load(a, digest)) {
            const hone_error problem = {.code = HONE_ERR_NOMEM, .message = "no memory for an adapter"};
            hone_frame_problem(a->cfg.out, HONE_FRAME_ADAPTER_FAILED, digest, &problem);
        }
        return;
    }
    memcpy(l->digest, digest, strlen(digest) + 1);
    l->fd[0] = config_fd;
    l->fd[1] = tensors_fd;
    l->error.position = HONE_NO_POSITION;
    load **at = &a->first;
    while (*at) at = &(*at)->next;
    *at = l;
}

void copy_adapters_pin(copy_adapters *a, const char *digest) {
    hone_engine_pin_adapter(a->cfg.engine, digest, true);
    for (const pin *p = a->pins; p; p = p->next)
        if (strcmp(p->digest, digest) == 0) return;
    pin *p = hone_zalloc(1, sizeof(*p));
    if (!p) return; /* it is loaded when it is used, as others are */
    memcpy(p->digest, digest, strlen(digest) + 1);
    p->next = a->pins;
    a->pins = p;
}

/* ---- Held requests ---- */

bool copy_adapters_hold(copy_adapters *a, const hone_engine_request *r, void *store) {
    if (!r->adapter || hone_engine_has_adapter(a->cfg.engine, r->adapter)) return false;
    held *h = hone_zalloc(1, sizeof(*h));
    if (!h) return false; /* the engine refuses it: it knows no such adapter */
    h->r = *r;
    h->store = store;
    held **at = &a->waiting;
    while (*at) at = &(*at)->next;
    *at = h;
    if (!find_load(a, r->adapter)) hone_frame_text(a->cfg.out, HONE_FRAME_ADAPTER_GONE, r->adapter);
    return true;
}

bool copy_adapters_cancel(copy_adapters *a, uint64_t id) {
    for (held **at = &a->waiting; *at; at = &(*at)->next) {
        held *h = *at;
        if (h->r.id != id) continue;
        *at = h->next;
        hone_free(h->store);
        hone_free(h);
        return true;
    }
    return false;
}

/* Those that waited for this adapter: to the engine, or, where it cannot be had, away: ADAPTER_FAILED ends them. */
static void release(copy_adapters *a, const char *digest, bool submit) {
    for (held **at = &a->waiting; *at;) {
        held *h = *at;
        if (strcmp(h->r.adapter, digest) != 0) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        if (submit) a->cfg.submit(a->cfg.arg, &h->r);
        hone_free(h->store);
        hone_free(h);
    }
}

/* ---- The turn ---- */

static void attach(copy_adapters *a) {
    load *l = a->first;
    if (l->status == HONE_OK) {
        hone_error error = {.position = HONE_NO_POSITION};
        const hone_status room = hone_engine_adapter_room(a->cfg.engine, l->adapter->bytes, &error);
        if (room == HONE_ERR_FULL) return; /* until a request ends */
        l->status = hone_engine_add_adapter(a->cfg.engine, l->digest, l->adapter, &l->error);
        l->adapter = NULL;
    }
    for (const pin *p = a->pins; p; p = p->next)
        if (strcmp(p->digest, l->digest) == 0) hone_engine_pin_adapter(a->cfg.engine, l->digest, true);
    a->first = l->next;
    a->state = IDLE;
    /* What stands in a registered adapter's files is no fault of the request. */
    if (l->status == HONE_ERR_FORMAT || l->status == HONE_ERR_UNSUPPORTED || l->status == HONE_ERR_ARG)
        hone_fail_within(&l->error, l->error.code = HONE_ERR_INTERNAL, "the adapter cannot be used: ");
    if (l->status == HONE_OK)
        hone_frame_text(a->cfg.out, HONE_FRAME_ADAPTER_READY, l->digest);
    else
        hone_frame_problem(a->cfg.out, HONE_FRAME_ADAPTER_FAILED, l->digest, &l->error);
    release(a, l->digest, l->status == HONE_OK);
    free_load(l);
}

void copy_adapters_turn(copy_adapters *a) {
    if (a->state == LOADING && !still_loading(a)) {
        uint64_t n;
        if (read(a->wake, &n, sizeof(n)) < 0) return; /* it wakes us yet */
        a->state = LOADED;
    }
    if (a->state == LOADED) attach(a);
    if (a->state != IDLE || !a->first) return;
    a->state = LOADING;
    pthread_mutex_lock(&a->lock);
    a->handed = a->first;
    pthread_cond_signal(&a->work);
    pthread_mutex_unlock(&a->lock);
}

bool copy_adapters_busy(const copy_adapters *a) {
    return a->first || a->waiting;
}
