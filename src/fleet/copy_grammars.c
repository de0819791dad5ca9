/* copy_grammars.c - the contract is in copy_grammars.h.
 * Order: the thread, open and close, what is kept, requests that wait, the turn. */
#include "fleet/copy_grammars.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "fleet/vocabulary.h"

#define DEFAULT_BUDGET (64ull << 20)

/* What the thread is to do: a vocabulary (fd >= 0) or a source. */
typedef struct {
    int fd;
    hone_vocabulary *vocabulary;
    const char *source; /* of a held request */
    size_t n;
    hone_grammar *grammar;
    hone_status status;
    hone_error err;
} job;

typedef struct held {
    struct held *next;
    hone_engine_request r;
    void *store;
    char digest[HONE_DIGEST_TEXT];
    bool cancelled; /* while the thread reads its source */
} held;

typedef struct kept {
    struct kept *next; /* the most recently used first */
    char digest[HONE_DIGEST_TEXT];
    hone_grammar *grammar;
} kept;

struct copy_grammars {
    copy_grammars_config cfg;
    int wake; /* eventfd */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* handed and stop; *handed is the thread's while handed is set */
    pthread_cond_t work;
    job *handed;
    bool stop;
    /* the loop's */
    job job;      /* valid while working */
    bool working; /* handed over and not taken back yet */
    held *first, **last;
    held *compiling; /* whose source the job is, still in the list; NULL: the vocabulary's */
    int vocabulary;  /* a file that was not read yet; -1: none */
    kept *kept;
};

/* ---- The thread ---- */

static void work(job *j) {
    j->err = (hone_error){.position = HONE_NO_POSITION};
    if (j->fd >= 0)
        j->status = hone_vocabulary_read(&j->vocabulary, j->fd, &j->err);
    else
        j->status = hone_grammar_compile(&j->grammar, j->source, j->n, &j->err);
}

static void *run(void *arg) {
    copy_grammars *g = arg;
    for (;;) {
        pthread_mutex_lock(&g->lock);
        while (!g->handed && !g->stop) pthread_cond_wait(&g->work, &g->lock);
        job *j = g->handed;
        const bool stop = g->stop;
        pthread_mutex_unlock(&g->lock);
        if (stop) return NULL;
        work(j);
        pthread_mutex_lock(&g->lock);
        g->handed = NULL;
        pthread_mutex_unlock(&g->lock);
        const uint64_t one = 1;
        if (write(g->wake, &one, sizeof(one)) < 0) return NULL; /* cannot be: the counter is never full */
    }
}

static void hand_over(copy_grammars *g, job j) {
    g->job = j;
    g->working = true;
    pthread_mutex_lock(&g->lock);
    g->handed = &g->job;
    pthread_cond_signal(&g->work);
    pthread_mutex_unlock(&g->lock);
}

static bool is_done(copy_grammars *g) {
    pthread_mutex_lock(&g->lock);
    const bool done = g->handed == NULL;
    pthread_mutex_unlock(&g->lock);
    return done;
}

/* ---- Open and close ---- */

hone_status copy_grammars_open(copy_grammars **out, const copy_grammars_config *cfg, hone_error *err) {
    *out = NULL;
    copy_grammars *g = hone_zalloc(1, sizeof(*g));
    if (!g) return hone_fail(err, HONE_ERR_NOMEM, "no memory for grammars");
    g->cfg = *cfg;
    if (!g->cfg.budget_bytes) g->cfg.budget_bytes = DEFAULT_BUDGET;
    g->last = &g->first;
    g->vocabulary = -1;
    g->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->work, NULL);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    g->started = g->wake >= 0 && pthread_create(&g->thread, NULL, run, g) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!g->started) {
        copy_grammars_close(g);
        return hone_fail(err, HONE_ERR_NOMEM, "cannot start the thread that compiles grammars");
    }
    *out = g;
    return HONE_OK;
}

static void free_held(held *h) {
    hone_free(h->store);
    hone_free(h);
}

void copy_grammars_close(copy_grammars *g) {
    if (!g) return;
    pthread_mutex_lock(&g->lock);
    g->stop = true;
    pthread_cond_signal(&g->work);
    pthread_mutex_unlock(&g->lock);
    if (g->started) pthread_join(g->thread, NULL);
    if (g->working) {
        hone_vocabulary_close(g->job.vocabulary);
        hone_grammar_unref(g->job.grammar);
        if (g->job.fd >= 0) close(g->job.fd);
    }
    while (g->first) {
        held *h = g->first;
        g->first = h->next;
        free_held(h);
    }
    while (g->kept) {
        kept *k = g->kept;
        g->kept = k->next;
        hone_grammar_unref(k->grammar);
        hone_free(k);
    }
    if (g->vocabulary >= 0) close(g->vocabulary);
    if (g->wake >= 0) close(g->wake);
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->work);
    hone_free(g);
}

int copy_grammars_fd(const copy_grammars *g) {
    return g->wake;
}

/* ---- What is kept ---- */

static void drop(kept *k) {
    hone_grammar_unref(k->grammar); /* requests that use it have their own reference */
    hone_free(k);
}

/* One that has grown to its limit is as good as none. */
static kept *find(copy_grammars *g, const char *digest) {
    for (kept **at = &g->kept; *at; at = &(*at)->next) {
        kept *k = *at;
        if (strcmp(k->digest, digest) != 0) continue;
        *at = k->next;
        if (hone_grammar_spent(k->grammar)) {
            drop(k);
            return NULL;
        }
        k->next = g->kept;
        g->kept = k;
        return k;
    }
    return NULL;
}

/* The first stays, however large it is.  Grammars grow with the masks that are put into them, so all are asked. */
static void make_room(copy_grammars *g) {
    uint64_t bytes = 0;
    for (kept **at = &g->kept; *at;) {
        kept *k = *at;
        bytes += hone_grammar_bytes(k->grammar);
        if (k == g->kept || bytes <= g->cfg.budget_bytes) {
            at = &k->next;
            continue;
        }
        *at = k->next;
        drop(k);
    }
}

/* Takes the reference. */
static void keep(copy_grammars *g, const char *digest, hone_grammar *grammar) {
    kept *k = hone_zalloc(1, sizeof(*k));
    if (!k) {
        hone_grammar_unref(grammar); /* whoever waits for it compiles it again, or is refused */
        return;
    }
    memcpy(k->digest, digest, sizeof(k->digest));
    k->grammar = grammar;
    k->next = g->kept;
    g->kept = k;
    make_room(g);
}

hone_grammar *copy_grammars_find(copy_grammars *g, const hone_engine_request *r) {
    char digest[HONE_DIGEST_TEXT];
    if (!r->grammar_source || hone_digest_bytes(r->grammar_source, r->n_grammar_source, digest) != HONE_OK) return NULL;
    const kept *k = find(g, digest);
    return k ? k->grammar : NULL;
}

/* ---- Requests that wait ---- */

void copy_grammars_vocabulary(copy_grammars *g, int fd) {
    if (fd < 0) return;
    if (g->vocabulary >= 0) close(g->vocabulary);
    g->vocabulary = fd;
    copy_grammars_turn(g);
}

static void append(copy_grammars *g, held *h) {
    *g->last = h;
    g->last = &h->next;
}

static void take_out(copy_grammars *g, held *h) {
    held **at = &g->first;
    while (*at != h) at = &(*at)->next;
    *at = h->next;
    if (g->last == &h->next) g->last = at;
}

bool copy_grammars_hold(copy_grammars *g, const hone_engine_request *r, void *store) {
    if (!r->grammar_source) return false;
    const bool reading = g->vocabulary >= 0 || (g->working && g->job.fd >= 0);
    if (!reading && copy_grammars_find(g, r)) {
        make_room(g); /* what requests have put into the others counts, too */
        return false;
    }
    held *h = hone_zalloc(1, sizeof(*h));
    if (!h || hone_digest_bytes(r->grammar_source, r->n_grammar_source, h->digest) != HONE_OK) {
        hone_free(h);
        return false; /* the engine compiles it, however long that takes */
    }
    h->r = *r;
    h->store = store;
    append(g, h);
    copy_grammars_turn(g);
    return true;
}

bool copy_grammars_cancel(copy_grammars *g, uint64_t id) {
    for (held *h = g->first; h; h = h->next) {
        if (h->r.id != id || h->cancelled) continue;
        if (h == g->compiling) {
            h->cancelled = true;
        } else {
            take_out(g, h);
            free_held(h);
        }
        return true;
    }
    return false;
}

bool copy_grammars_busy(const copy_grammars *g) {
    return g->first != NULL;
}

/* ---- The turn ---- */

static void take_back(copy_grammars *g) {
    job *j = &g->job;
    g->working = false;
    if (j->fd >= 0) {
        close(j->fd);
        if (j->status == HONE_OK)
            hone_engine_set_vocabulary(g->cfg.engine, j->vocabulary);
        else /* requests with a grammar will be told that there is none */
            hone_log(HONE_LOG_ERROR, "copy", "%s", j->err.message);
        return;
    }
    held *h = g->compiling;
    g->compiling = NULL;
    if (j->status == HONE_OK) {
        keep(g, h->digest, j->grammar);
        if (!h->cancelled) return; /* it is admitted with all others that wait for this one */
    }
    take_out(g, h);
    if (!h->cancelled) g->cfg.refuse(g->cfg.arg, &h->r, &j->err);
    free_held(h);
}

/* Everyone whose grammar is there goes on, in order of arrival. */
static void admit(copy_grammars *g) {
    for (held *h = g->first, *next; h; h = next) {
        next = h->next;
        if (h == g->compiling || !find(g, h->digest)) continue;
        take_out(g, h);
        g->cfg.admit(g->cfg.arg, &h->r, h->store);
        hone_free(h);
    }
}

void copy_grammars_turn(copy_grammars *g) {
    uint64_t ignored;
    if (read(g->wake, &ignored, sizeof(ignored)) < 0) ignored = 0; /* nothing was to be read */
    if (g->working) {
        if (!is_done(g)) return;
        take_back(g);
    }
    if (g->vocabulary >= 0) {
        hand_over(g, (job){.fd = g->vocabulary});
        g->vocabulary = -1;
        return;
    }
    admit(g);
    if (!g->first) return;
    g->compiling = g->first;
    hand_over(g, (job){.fd = -1, .source = g->first->r.grammar_source, .n = g->first->r.n_grammar_source});
}
