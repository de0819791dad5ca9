/* queue.c - who waits for a component, in which order, for how long, and who is refused; part of the controller
 * (controller_private.h).
 *
 * A copy holds only what it runs and a few more, so that a class, a deadline or a cancellation still counts for all
 * others.  A newcomer is refused when one of the three bounds would be passed; Retry-After is the time after which
 * enough of those ahead will have begun, as the rates of the last seconds tell.
 *
 * Order: the lists, prediction, admission, deadlines and the watchdog. */
#include <event2/event.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "fleet/controller_private.h"

#define PULSE_US 100000

/* ---- The lists ---- */

static generation_list *list_of(const hone_generation *g) {
    return g->at ? &g->at->running : &g->component->waiting[g->r.priority];
}

static void count(hone_generation *g, int by) {
    hone_component *m = g->component;
    const uint32_t p = g->r.priority;
    if (g->at) {
        m->n_running = (uint32_t)((int)m->n_running + by);
        g->at->n_running = (uint32_t)((int)g->at->n_running + by);
        return;
    }
    m->n_waiting = (uint32_t)((int)m->n_waiting + by);
    m->sum[p].n = (uint32_t)((int)m->sum[p].n + by);
    m->sum[p].prompt += (uint64_t)((int64_t)g->r.n_prompt * by);
    m->sum[p].output += (uint64_t)((int64_t)g->expected * by);
}

/* A request that comes back from a copy stands where it stood: numbers are given in order of arrival. */
void queue_put(hone_generation *g, copy_link *at) {
    g->at = at;
    generation_list *list = list_of(g);
    hone_generation *after = list->last;
    if (!at)
        while (after && after->id > g->id) after = after->prev;
    g->prev = after;
    g->next = after ? after->next : list->first;
    if (g->prev)
        g->prev->next = g;
    else
        list->first = g;
    if (g->next)
        g->next->prev = g;
    else
        list->last = g;
    count(g, 1);
    if (at && at->n_running == 1) at->moved_ns = hone_clock_ns();
    hone_component *m = g->component;
    if (m->pulse && !event_pending(m->pulse, EV_TIMEOUT, NULL)) {
        const struct timeval tv = {.tv_usec = PULSE_US};
        event_add(m->pulse, &tv);
    }
}

void queue_take(hone_generation *g) {
    generation_list *list = list_of(g);
    if (g->prev)
        g->prev->next = g->next;
    else
        list->first = g->next;
    if (g->next)
        g->next->prev = g->prev;
    else
        list->last = g->prev;
    g->prev = g->next = NULL;
    count(g, -1);
}

hone_generation *queue_first(hone_component *m) {
    for (uint32_t p = 0; m->n_waiting && p <= HONE_PRIORITY_LAST; p++)
        if (m->waiting[p].first) return m->waiting[p].first;
    return NULL;
}

/* ---- Prediction ---- */

uint32_t queue_room(const hone_component *m) {
    const uint32_t n = m->controller->cfg.engine.max_sequences;
    return n + n / 16 + 1; /* a few more, so that a place that falls free is taken in the next step */
}

/* places: requests that could run at once; room: what copies take beside that. */
typedef struct {
    uint32_t copies, places, room;
} capacity;

static capacity free_capacity(const hone_component *m) {
    const uint32_t most = m->controller->cfg.engine.max_sequences, room = queue_room(m);
    capacity c = {0};
    for (uint32_t i = 0; i < m->n_link; i++) {
        const copy_link *l = &m->link[i];
        if (!l->ready || l->leaving || l->gone) continue;
        c.copies++;
        c.places += l->n_running < most ? most - l->n_running : 0;
        c.room += l->n_running < room ? room - l->n_running : 0;
    }
    return c;
}

static double seconds_of(const hone_component *m, uint64_t prompt, uint64_t output) {
    return hone_rate_seconds(&m->rate, prompt, output, m->controller->cfg.engine.max_sequences);
}

/* Places fall free as fast as the copies work off requests: the k-th in line begins once the work of those before it,
 * and of one more, is done. */
double queue_wait_seconds(const hone_component *m, uint32_t priority, uint32_t own, double own_seconds) {
    uint32_t n = own;
    const capacity c = free_capacity(m);
    double ahead = own_seconds;
    for (uint32_t p = 0; p <= priority && p <= HONE_PRIORITY_LAST; p++) {
        n += m->sum[p].n;
        ahead += seconds_of(m, m->sum[p].prompt, m->sum[p].output);
    }
    if (c.copies == 0 || n <= c.places) return 0;
    return ahead / c.copies;
}

/* ---- Admission ---- */

/* Seconds until n of those that wait have begun. */
static double until_gone(const hone_component *m, double n) {
    uint64_t prompt = 0, output = 0;
    for (uint32_t p = 0; p <= HONE_PRIORITY_LAST; p++) {
        prompt += m->sum[p].prompt;
        output += m->sum[p].output;
    }
    const uint32_t copies = free_capacity(m).copies;
    if (copies == 0 || m->n_waiting == 0) return 5; /* the model is still on its way */
    return seconds_of(m, prompt, output) / m->n_waiting * n / copies;
}

static hone_status refuse(hone_component *m, hone_refused why, double seconds, hone_error *err) {
    m->refused[why]++;
    const int64_t s = seconds < 1 ? 1 : seconds > 3600 ? 3600 : (int64_t)ceil(seconds);
    switch (why) {
    case HONE_REFUSED_REQUESTS:
        return hone_fail_at(err, HONE_ERR_FULL, s, "%u requests wait for this model already", m->n_waiting);
    case HONE_REFUSED_TOKENS:
        return hone_fail_at(err, HONE_ERR_FULL, s, "the requests that wait for this model hold too many prompt tokens");
    default: return hone_fail_at(err, HONE_ERR_FULL, s, "a new request would have to wait too long for this model");
    }
}

hone_status hone_controller_admits(hone_component *m, const hone_newcomer *r, hone_error *err) {
    const hone_controller_config *cfg = &m->controller->cfg;
    if (m->controller->draining) return hone_fail(err, HONE_ERR_BUSY, "the server is stopping");
    const uint32_t n = r->n ? r->n : 1, waiting = m->n_waiting;
    const capacity c = free_capacity(m); /* some of the queue only wait until this turn of the loop is over */
    if (c.copies && (uint64_t)waiting + n <= c.places) return HONE_OK;
    /* More than ever fits counts as what does: it is taken once everything is free. */
    const uint64_t all = (uint64_t)c.copies * queue_room(m) + cfg->max_waiting,
                   limit = (uint64_t)c.room + cfg->max_waiting;
    const uint64_t then = waiting + (n < all ? n : all ? all : 1);
    if (then > limit) return refuse(m, HONE_REFUSED_REQUESTS, until_gone(m, (double)(then - limit)), err);
    uint64_t tokens = r->n_prompt;
    for (uint32_t p = 0; p <= HONE_PRIORITY_LAST; p++) tokens += m->sum[p].prompt;
    if (waiting > c.places && cfg->max_waiting_tokens && tokens > cfg->max_waiting_tokens) {
        const uint64_t over = tokens - cfg->max_waiting_tokens, held = tokens - r->n_prompt;
        return refuse(m, HONE_REFUSED_TOKENS, until_gone(m, (double)waiting * (double)over / (double)held), err);
    }
    const uint64_t output = (uint64_t)hone_rate_expect(&m->rate, r->max_tokens) * n;
    const double wait = queue_wait_seconds(m, r->priority, n, seconds_of(m, r->n_prompt, output));
    double most = cfg->max_wait_ms ? cfg->max_wait_ms / 1e3 : INFINITY;
    /* To take what will pass its deadline waiting would only use up the place. */
    const uint32_t timeout = r->timeout_ms ? r->timeout_ms : cfg->timeout_ms;
    if (timeout && timeout / 1e3 < most) most = timeout / 1e3;
    if (wait > most) return refuse(m, HONE_REFUSED_WAIT, wait - most, err);
    return HONE_OK;
}

/* ---- Deadlines and the watchdog ---- */

static void expire(hone_component *m, int64_t now) {
    for (uint32_t p = 0; p <= HONE_PRIORITY_LAST; p++)
        for (hone_generation *g = m->waiting[p].first; g;) {
            hone_generation *next = g->next;
            /* What has begun is never cut off: it only waits because its copy died. */
            if (g->deadline_ns <= now && g->n_emitted == 0) {
                m->expired++;
                hone_error problem = {.position = HONE_NO_POSITION};
                hone_fail(&problem, HONE_ERR_TIMEOUT, "the request's time was over before the model could begin it");
                controller_end(g, &problem);
                next = m->waiting[p].first; /* the caller may have changed the list */
            }
            g = next;
        }
}

static void watch(copy_link *l, int64_t now) {
    hone_component *m = l->component;
    const uint32_t limit = m->controller->cfg.stall_ms;
    if (limit == 0 || !l->ready || l->gone || l->n_running == 0 || now - l->moved_ns < (int64_t)limit * 1000000) return;
    snprintf(l->last_words, sizeof(l->last_words), "it made no step for %.1f s and was killed",
             (double)(now - l->moved_ns) / 1e9);
    l->moved_ns = now; /* once */
    m->stalls++;
    m->stalled = true;
    hone_child_signal(l->child, SIGKILL); /* its end is handled as any other: what it ran moves to another copy */
}

void queue_pulse(hone_component *m) {
    const int64_t now = hone_clock_ns();
    expire(m, now);
    for (uint32_t i = 0; i < m->n_link; i++) watch(&m->link[i], now);
    if (m->n_waiting + m->n_running == 0) event_del(m->pulse);
}
