/* link.c - one copy as the controller sees it: its process, its socket, its adapters.
 * Order: starting, sending, receiving, death, stopping. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "fleet/controller_private.h"

/* Copies that die before they were ready this often in a row mean that the component cannot run here. */
#define MAX_FAILURES 5u

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_child_exit(void *arg, int status);
static void die(copy_link *l, const char *why);

/* ---- Sending ---- */

static outgoing *queue_piece(copy_link *l) {
    outgoing *o = hone_zalloc(1, sizeof(*o));
    if (!o) return NULL;
    if (l->out_last)
        l->out_last->next = o;
    else
        l->out_first = o;
    l->out_last = o;
    return o;
}

/* The piece that frames without descriptors may still be appended to. */
static outgoing *open_piece(copy_link *l) {
    outgoing *o = l->out_last;
    return o && o->sent == 0 ? o : queue_piece(l);
}

static void free_piece(outgoing *o) {
    for (uint32_t i = 0; i < o->n_fd; i++) close(o->fd[i]);
    hone_buf_free(&o->bytes);
    hone_free(o);
}

static void write_out(copy_link *l) {
    while (l->out_first && l->socket >= 0) {
        outgoing *o = l->out_first;
        if (o->bytes.failed) {
            die(l, "no memory for a frame");
            return;
        }
        size_t sent = 0;
        hone_error err;
        const uint32_t n_fd = o->sent == 0 ? o->n_fd : 0;
        const hone_status status =
            hone_frame_send(l->socket, o->bytes.data + o->sent, o->bytes.n - o->sent, o->fd, n_fd, &sent, &err);
        o->sent += sent;
        if (o->sent && o->n_fd) { /* they left with the first byte */
            for (uint32_t i = 0; i < o->n_fd; i++) close(o->fd[i]);
            o->n_fd = 0;
        }
        if (status == HONE_ERR_FULL) {
            event_add(l->writable, NULL);
            return;
        }
        if (status != HONE_OK) {
            die(l, err.message);
            return;
        }
        l->out_first = o->next;
        if (!l->out_first) l->out_last = NULL;
        free_piece(o);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    write_out(arg);
}

static link_adapter *find_adapter(const copy_link *l, const char *digest) {
    for (size_t i = 0; i < l->n_adapters; i++)
        if (strcmp(l->adapters[i].digest, digest) == 0) return &l->adapters[i];
    return NULL;
}

bool link_has_adapter(const copy_link *l, const char *digest) {
    const link_adapter *a = find_adapter(l, digest);
    return a && a->state != ADAPTER_FAILED;
}

static bool send_adapter(copy_link *l, const char *digest, const char *config_path, const char *tensors_path,
                         hone_error *err) {
    link_adapter *a = find_adapter(l, digest);
    if (a && a->state != ADAPTER_FAILED) return true;
    const char *path[2] = {config_path, tensors_path};
    int fd[2] = {-1, -1};
    for (int i = 0; i < 2; i++) {
        fd[i] = open(path[i], O_RDONLY | O_CLOEXEC);
        if (fd[i] < 0) {
            hone_fail(err, HONE_ERR_IO, "cannot open the adapter's file %s: %s", path[i], strerror(errno));
            if (i) close(fd[0]);
            return false;
        }
        posix_fadvise(fd[i], 0, 0, POSIX_FADV_WILLNEED); /* the disk begins before the copy asks */
    }
    outgoing *o = NULL;
    if (!a && hone_grow(&l->adapters, &l->cap_adapters, l->n_adapters, sizeof(*a))) a = &l->adapters[l->n_adapters];
    if (a) o = queue_piece(l);
    if (!o) {
        close(fd[0]);
        close(fd[1]);
        hone_fail(err, HONE_ERR_NOMEM, "no memory to send an adapter");
        return false;
    }
    if (a == &l->adapters[l->n_adapters]) l->n_adapters++;
    snprintf(a->digest, sizeof(a->digest), "%s", digest);
    a->state = ADAPTER_SENT;
    o->fd[0] = fd[0];
    o->fd[1] = fd[1];
    o->n_fd = 2;
    hone_frame_text(&o->bytes, HONE_FRAME_ADAPTER, digest);
    return true;
}

void link_send_pin(copy_link *l, const component_pin *pin) {
    hone_error err = {.position = HONE_NO_POSITION};
    outgoing *o = NULL;
    const bool sent = send_adapter(l, pin->digest, pin->config_path, pin->tensors_path, &err);
    if (sent && !(o = open_piece(l))) hone_fail(&err, HONE_ERR_NOMEM, "no memory to send it");
    if (!o) { /* requests load it as they load others */
        hone_log(HONE_LOG_WARN, "fleet", "adapter %.12s is not pinned: %s", pin->digest, err.message);
        return;
    }
    hone_frame_text(&o->bytes, HONE_FRAME_PIN, pin->digest);
    event_add(l->writable, NULL);
}

/* Once a copy, before the first request that needs it. */
static bool send_vocabulary(copy_link *l, hone_error *err) {
    if (l->has_vocabulary) return true;
    const int file = controller_vocabulary(l->component, err);
    if (file < 0) return false;
    const int fd = fcntl(file, F_DUPFD_CLOEXEC, 0);
    outgoing *o = fd >= 0 ? queue_piece(l) : NULL;
    if (!o) {
        if (fd >= 0) close(fd);
        hone_fail(err, HONE_ERR_NOMEM, "cannot send the vocabulary: %s", fd < 0 ? strerror(errno) : "no memory");
        return false;
    }
    size_t mark;
    hone_frame_begin(&o->bytes, &mark);
    hone_frame_end(&o->bytes, mark, HONE_FRAME_VOCABULARY);
    o->fd[0] = fd;
    o->n_fd = 1;
    l->has_vocabulary = true;
    return true;
}

bool link_send_request(copy_link *l, hone_generation *g, hone_error *err) {
    if (g->adapter[0] && !send_adapter(l, g->adapter, g->config_path, g->tensors_path, err)) return false;
    if (g->r.grammar_source && !send_vocabulary(l, err)) return false;
    outgoing *o = open_piece(l);
    if (!o) {
        hone_fail(err, HONE_ERR_NOMEM, "no memory to send a request");
        return false;
    }
    hone_engine_request r = g->r;
    r.id = g->id;
    r.emitted = g->emitted;
    r.n_emitted = (uint32_t)g->n_emitted;
    hone_frame_request(&o->bytes, &r);
    event_active(l->flush, EV_TIMEOUT, 0); /* several requests of one turn of the loop leave in one write */
    return true;
}

void link_send_cancel(copy_link *l, uint64_t id) {
    outgoing *o = l->socket >= 0 ? open_piece(l) : NULL;
    if (!o) return;
    hone_frame_id(&o->bytes, HONE_FRAME_CANCEL, id);
    event_active(l->flush, EV_TIMEOUT, 0);
}

/* ---- Starting ---- */

static void start_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    link_start(arg);
}

static bool make_events(copy_link *l, int socket) {
    struct event_base *base = l->component->controller->base;
    l->readable = event_new(base, socket, EV_READ | EV_PERSIST, on_readable, l);
    l->writable = event_new(base, socket, EV_WRITE, on_writable, l);
    l->flush = event_new(base, -1, 0, on_writable, l);
    return l->readable && l->writable && l->flush && event_add(l->readable, NULL) == 0;
}

void link_start(copy_link *l) {
    hone_component *m = l->component;
    hone_controller *c = m->controller;
    if (l->socket >= 0 || c->draining) return;
    hone_error err = {.position = HONE_NO_POSITION};
    int pair[2] = {-1, -1};
    const int tiles = open(m->tiles, O_RDONLY | O_CLOEXEC);
    if (tiles < 0) {
        controller_fail(m, "cannot open the tiles %s: %s", m->tiles, strerror(errno));
        return;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        close(tiles);
        controller_fail(m, "socketpair: %s", strerror(errno));
        return;
    }
    const char *argv[] = {c->program, "copy", NULL};
    const hone_child_options o = {
        .argv = argv, .pass_fd = pair[1], .death_signal = SIGKILL, .on_exit = on_child_exit, .arg = l};
    hone_status status = hone_child_start(&l->child, c->base, &o, &err);
    close(pair[1]);
    if (status != HONE_OK) {
        close(tiles);
        close(pair[0]);
        controller_fail(m, "%s", err.message);
        return;
    }
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    l->socket = pair[0];
    l->ready = l->leaving = l->gone = l->has_vocabulary = false;
    l->last_words[0] = 0;
    outgoing *hello = make_events(l, pair[0]) ? queue_piece(l) : NULL;
    if (!hello) {
        close(tiles);
        die(l, "no memory to start a copy");
        return;
    }
    const hone_hello h = {.engine = c->cfg.engine, .threads = c->cfg.threads};
    hone_frame_hello(&hello->bytes, &h);
    hello->fd[0] = tiles;
    hello->n_fd = 1;
    m->state = m->state == HONE_COMPONENT_RUNNING ? m->state : HONE_COMPONENT_STARTING;
    write_out(l);
}

/* ---- Receiving ---- */

/* A copy gave an adapter up, or has a request for one that it gave up before it knew of the request: it gets the files
 * again where requests need them.  What was sent after the copy's word is on its way already. */
static void gone(copy_link *l, const char *digest) {
    link_adapter *a = find_adapter(l, digest);
    if (!a || a->state == ADAPTER_SENT) return;
    const hone_generation *g = controller_user_of(l, digest);
    hone_error err = {.position = HONE_NO_POSITION};
    *a = l->adapters[--l->n_adapters];
    if (!g || send_adapter(l, digest, g->config_path, g->tensors_path, &err)) {
        if (g) event_add(l->writable, NULL);
        return;
    }
    controller_adapter_failed(l, digest, &err);
}

static void take_event(void *arg, const hone_event *e) {
    copy_link *l = arg;
    hone_generation *g = controller_find(l->component->controller, e->id);
    if (g && g->at == l) controller_deliver(g, e); /* others were cancelled or moved */
}

/* Between two reports of which the first told of work the copy never rested. */
static hone_status take_stats(copy_link *l, const hone_frame *f) {
    hone_engine_stats now;
    if (hone_frame_get_stats(f, &now) != HONE_OK) return HONE_ERR_FORMAT;
    const hone_engine_stats *was = &l->stats;
    const int64_t at = hone_clock_ns();
    if (now.steps > was->steps) l->moved_ns = at;
    if (l->stats_ns && now.steps > was->steps)
        hone_rate_observe(&l->component->rate, (double)(at - l->stats_ns) / 1e9, now.steps - was->steps,
                          now.prefill_tokens - was->prefill_tokens, now.decode_tokens - was->decode_tokens,
                          now.prefix_tokens - was->prefix_tokens);
    l->stats_ns = now.running + now.waiting ? at : 0;
    l->stats = now;
    return HONE_OK;
}

static hone_status take_frame(copy_link *l, const hone_frame *f) {
    hone_component *m = l->component;
    char digest[HONE_DIGEST_TEXT];
    hone_error problem;
    link_adapter *a;
    switch (f->type) {
    case HONE_FRAME_READY:
        if (hone_frame_get_ready(f, &m->ready) != HONE_OK) return HONE_ERR_FORMAT;
        l->ready = true;
        l->failures = 0;
        l->stats_ns = 0;
        m->stalled = false;
        m->state = HONE_COMPONENT_RUNNING;
        hone_log(HONE_LOG_INFO, "fleet", "copy %u of %s is ready, pid %ld, %s, sandbox: %s", l->index, m->path,
                 (long)hone_child_pid(l->child), m->ready.fingerprint, m->ready.sandbox);
        for (const component_pin *p = m->pins; p; p = p->next) link_send_pin(l, p);
        controller_pump(m);
        return HONE_OK;
    case HONE_FRAME_EVENTS: l->moved_ns = hone_clock_ns(); return hone_frame_each_event(f, take_event, l);
    case HONE_FRAME_STATS: return take_stats(l, f);
    case HONE_FRAME_ADAPTER_READY:
        if (hone_frame_get_text(f, digest, sizeof(digest)) != HONE_OK) return HONE_ERR_FORMAT;
        a = find_adapter(l, digest);
        if (a) a->state = ADAPTER_READY;
        return HONE_OK;
    case HONE_FRAME_ADAPTER_GONE:
        if (hone_frame_get_text(f, digest, sizeof(digest)) != HONE_OK) return HONE_ERR_FORMAT;
        gone(l, digest);
        return HONE_OK;
    case HONE_FRAME_ADAPTER_FAILED:
        if (hone_frame_get_problem(f, digest, sizeof(digest), &problem) != HONE_OK) return HONE_ERR_FORMAT;
        a = find_adapter(l, digest);
        if (a) a->state = ADAPTER_FAILED;
        hone_log(HONE_LOG_WARN, "fleet", "adapter %.12s: %s", digest, problem.message);
        controller_adapter_failed(l, digest, &problem);
        return HONE_OK;
    case HONE_FRAME_FAILED:
        if (hone_frame_get_problem(f, digest, sizeof(digest), &problem) != HONE_OK) return HONE_ERR_FORMAT;
        snprintf(l->last_words, sizeof(l->last_words), "%.*s", (int)sizeof(l->last_words) - 1, problem.message);
        return HONE_OK;
    default: return HONE_ERR_FORMAT;
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    copy_link *l = arg;
    hone_error err = {.position = HONE_NO_POSITION};
    hone_frame f;
    hone_status status = hone_frame_receive(&l->in, fd, &err);
    if (status == HONE_ERR_FULL) return;
    l->dispatching = true; /* a callback may close the controller's last request: the link must outlive this loop */
    if (status == HONE_OK) {
        while ((status = hone_frame_next(&l->in, &f, &err)) == HONE_OK) {
            status = take_frame(l, &f);
            if (status != HONE_OK) {
                hone_fail(&err, status, "a frame of type %d that cannot be read", (int)f.type);
                break;
            }
        }
        if (status == HONE_ERR_FULL) status = HONE_OK;
    }
    l->dispatching = false;
    if (status != HONE_OK || l->gone) die(l, err.message);
    if (l->component->n_waiting) controller_pump(l->component);
}

/* ---- Death ---- */

static void take_down(copy_link *l) {
    if (l->readable) event_free(l->readable);
    if (l->writable) event_free(l->writable);
    if (l->flush) event_free(l->flush);
    l->readable = l->writable = l->flush = NULL;
    if (l->socket >= 0) close(l->socket);
    l->socket = -1;
    l->ready = false;
    while (l->out_first) {
        outgoing *o = l->out_first;
        l->out_first = o->next;
        free_piece(o);
    }
    l->out_last = NULL;
    hone_frame_reader_free(&l->in);
    l->n_adapters = 0;
    l->stats = (hone_engine_stats){0};
    hone_child_drop(l->child, true);
    l->child = NULL;
}

static void die(copy_link *l, const char *why) {
    if (l->dispatching) {
        l->gone = true;
        return;
    }
    hone_component *m = l->component;
    const bool expected = l->leaving;
    const bool was_ready = l->ready;
    char words[300];
    snprintf(words, sizeof(words), "%s", l->last_words[0] ? l->last_words : why);
    take_down(l);
    controller_lost(l);
    if (m->controller->draining) { /* nobody will take them any more */
        const hone_error problem = {.code = HONE_ERR_BUSY, .message = "the server is stopping"};
        if (m->n_running == 0) controller_end_waiting(m, &problem);
    }
    if (expected || m->controller->draining) return;
    m->restarts++;
    l->failures = was_ready ? 0 : l->failures + 1;
    hone_log(HONE_LOG_WARN, "fleet", "copy %u of %s ended: %s", l->index, m->path, words);
    bool others = false;
    for (uint32_t i = 0; i < m->n_link; i++) others = others || m->link[i].ready;
    if (l->failures >= MAX_FAILURES && !others) {
        controller_fail(m, "copies died %u times before they were ready; the last said: %s", l->failures, words);
        return;
    }
    /* At once after a crash in work; with growing pauses when it does not even start. */
    const int ms = was_ready ? 0 : 100 << (l->failures < 8 ? l->failures : 8);
    const struct timeval pause = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    m->state = others ? HONE_COMPONENT_RUNNING : HONE_COMPONENT_STARTING;
    if (!l->again) l->again = event_new(m->controller->base, -1, 0, start_again, l);
    if (l->again) event_add(l->again, &pause);
}

static void on_child_exit(void *arg, int status) {
    copy_link *l = arg;
    char text[80];
    l->child = NULL; /* reaped and freed by its owner */
    hone_child_status_text(status, text, sizeof(text));
    /* What it wrote before it ended is still in the socket. */
    if (l->socket >= 0 && !l->dispatching) {
        hone_error err = {.position = HONE_NO_POSITION};
        hone_frame f;
        l->dispatching = true;
        while (hone_frame_receive(&l->in, l->socket, &err) == HONE_OK)
            while (hone_frame_next(&l->in, &f, &err) == HONE_OK && take_frame(l, &f) == HONE_OK) continue;
        l->dispatching = false;
    }
    die(l, text);
}

/* ---- Stopping ---- */

void link_stop(copy_link *l, bool now) {
    if (l->again) event_del(l->again);
    if (l->socket < 0) return;
    l->leaving = true;
    if (now) {
        die(l, "stopped");
        return;
    }
    outgoing *o = open_piece(l);
    if (!o) return;
    size_t mark;
    hone_frame_begin(&o->bytes, &mark);
    hone_frame_end(&o->bytes, mark, HONE_FRAME_STOP);
    event_active(l->flush, EV_TIMEOUT, 0);
}

void link_free(copy_link *l) {
    take_down(l);
    if (l->again) event_free(l->again);
    hone_free(l->adapters);
    l->adapters = NULL;
}
