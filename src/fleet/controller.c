/* controller.c - components and the token journals of their requests; the contract is in controller.h.
 * Order: requests (find, begin, deliver, end), their way to copies, components (preparing, waking, failing), open and
 * close. */
#include "fleet/controller.h"

#include <event2/event.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "fleet/controller_private.h"
#include "fleet/vocabulary.h"
#include "model/tile_cache.h"

hone_controller_config hone_controller_defaults(void) {
    return (hone_controller_config){.copies = 1,
                                    .max_waiting = 1024,
                                    .max_waiting_tokens = 4u << 20,
                                    .max_wait_ms = 120000,
                                    .timeout_ms = 600000,
                                    .stall_ms = 60000,
                                    .max_deaths = 3,
                                    .engine = {.max_sequences = 32}};
}

/* ---- Requests ---- */

hone_generation *controller_find(hone_controller *c, uint64_t id) {
    hone_generation *g = c->bucket[id % CONTROLLER_BUCKETS];
    while (g && g->id != id) g = g->hash_next;
    return g;
}

static void forget(hone_generation *g) {
    hone_generation **slot = &g->component->controller->bucket[g->id % CONTROLLER_BUCKETS];
    while (*slot != g) slot = &(*slot)->hash_next;
    *slot = g->hash_next;
    queue_take(g);
}

static void free_generation(hone_generation *g) {
    if (!g) return;
    hone_free(g->prompt);
    hone_free(g->emitted);
    hone_free(g->bias_token);
    hone_free(g->bias_value);
    hone_free(g->prediction);
    hone_free(g->grammar_source);
    hone_free(g->config_path);
    hone_free(g->tensors_path);
    hone_free(g);
}

static void *copy_of(const void *p, size_t n, size_t size, bool *ok) {
    if (n == 0) return NULL;
    void *q = hone_zalloc(n, size);
    if (q)
        memcpy(q, p, n * size);
    else
        *ok = false;
    return q;
}

static hone_generation *journal_of(const hone_adapter_files *adapter, const hone_engine_request *r) {
    hone_generation *g = hone_zalloc(1, sizeof(*g));
    if (!g) return NULL;
    bool ok = true;
    g->r = *r;
    g->r.prompt = g->prompt = copy_of(r->prompt, r->n_prompt, sizeof(int32_t), &ok);
    g->r.sampling.bias_token = g->bias_token =
        copy_of(r->sampling.bias_token, r->sampling.n_bias, sizeof(int32_t), &ok);
    g->r.sampling.bias_value = g->bias_value = copy_of(r->sampling.bias_value, r->sampling.n_bias, sizeof(float), &ok);
    g->r.prediction = g->prediction = copy_of(r->prediction, r->n_prediction, sizeof(int32_t), &ok);
    g->r.grammar_source = g->grammar_source =
        copy_of(r->grammar_source, r->grammar_source ? r->n_grammar_source : 0, 1, &ok);
    g->r.grammar = NULL; /* a copy compiles it */
    if (r->cache_salt) {
        memcpy(g->salt, r->cache_salt, strlen(r->cache_salt)); /* the caller checked its length */
        g->r.cache_salt = g->salt;
    }
    g->r.adapter = NULL;
    if (adapter) {
        memcpy(g->adapter, adapter->digest, sizeof(g->adapter));
        g->r.adapter = g->adapter;
        g->config_path = hone_strdup(adapter->config_path);
        g->tensors_path = hone_strdup(adapter->tensors_path);
        ok = ok && g->config_path && g->tensors_path;
    }
    if (ok) return g;
    free_generation(g);
    return NULL;
}

hone_status hone_controller_generate(hone_component *m, const hone_adapter_files *adapter, const hone_engine_request *r,
                                     uint32_t timeout_ms, hone_generation_fn on_event, void *arg, hone_generation **out,
                                     hone_error *err) {
    hone_controller *c = m->controller;
    *out = NULL;
    if (c->draining) return hone_fail(err, HONE_ERR_BUSY, "the server is stopping");
    if (r->n_prompt == 0) return hone_fail(err, HONE_ERR_ARG, "the prompt has no tokens");
    if (r->cache_salt && strlen(r->cache_salt) >= HONE_DIGEST_TEXT)
        return hone_fail(err, HONE_ERR_ARG, "a cache salt of %zu bytes", strlen(r->cache_salt));
    if (r->priority > HONE_PRIORITY_LAST)
        return hone_fail(err, HONE_ERR_ARG, "class %u is over %u", r->priority, HONE_PRIORITY_LAST);
    hone_generation *g = journal_of(adapter, r);
    if (!g) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a request");
    g->component = m;
    g->id = ++c->next_id;
    g->on_event = on_event;
    g->arg = arg;
    g->expected = hone_rate_expect(&m->rate, r->max_tokens);
    if (timeout_ms == 0) timeout_ms = c->cfg.timeout_ms;
    g->deadline_ns = timeout_ms ? hone_clock_ns() + (int64_t)timeout_ms * 1000000 : INT64_MAX;
    g->hash_next = c->bucket[g->id % CONTROLLER_BUCKETS];
    c->bucket[g->id % CONTROLLER_BUCKETS] = g;
    queue_put(g, NULL);
    *out = g;
    event_active(m->tick, 0, 0);
    return HONE_OK;
}

void hone_generation_cancel(hone_generation *g) {
    hone_component *m = g->component;
    if (g->at) link_send_cancel(g->at, g->id);
    forget(g);
    free_generation(g);
    if (m->n_waiting) event_active(m->tick, 0, 0);
}

/* The journal is written before the caller hears of a token, and what it heard already is not told again. */
void controller_deliver(hone_generation *g, const hone_event *e) {
    switch (e->kind) {
    case HONE_EVENT_TOKEN:
        if (e->index != g->n_emitted) return; /* an earlier copy's */
        if (!hone_grow(&g->emitted, &g->cap_emitted, g->n_emitted, sizeof(*g->emitted))) {
            const hone_error problem = {.code = HONE_ERR_NOMEM, .message = "no memory for the token journal"};
            if (g->at) link_send_cancel(g->at, g->id);
            controller_end(g, &problem);
            return;
        }
        g->emitted[g->n_emitted++] = e->token;
        break;
    case HONE_EVENT_PROMPT:
        if (e->index < g->prompt_seen) return;
        g->prompt_seen = e->index + 1;
        break;
    case HONE_EVENT_EMBEDDING:
        if (g->embedding_seen) return;
        g->embedding_seen = true;
        break;
    case HONE_EVENT_DONE: {
        hone_component *m = g->component;
        const hone_generation_fn on_event = g->on_event;
        void *arg = g->arg;
        if (e->finish == HONE_FINISH_STOP || e->finish == HONE_FINISH_LENGTH) hone_rate_ended(&m->rate, e->n_output);
        forget(g);
        free_generation(g);
        on_event(arg, e);
        if (m->n_waiting) controller_pump(m);
        return;
    }
    }
    g->on_event(g->arg, e);
}

void controller_end(hone_generation *g, const hone_error *problem) {
    const hone_event done = {.kind = HONE_EVENT_DONE,
                             .id = g->id,
                             .finish = HONE_FINISH_ERROR,
                             .n_prompt = g->r.n_prompt,
                             .n_output = (uint32_t)g->n_emitted,
                             .error = problem};
    controller_deliver(g, &done);
}

/* ---- Their way to copies ---- */

/* A copy that has the request's adapter, unless another has much less work; otherwise the one with least.  A copy whose
 * engine still has requests that it could not begin - no pages - gets no more. */
static copy_link *choose(hone_component *m, const hone_generation *g) {
    copy_link *best = NULL, *home = NULL;
    const uint32_t room = queue_room(m), few = room - m->controller->cfg.engine.max_sequences;
    for (uint32_t i = 0; i < m->n_link; i++) {
        copy_link *l = &m->link[i];
        if (!l->ready || l->leaving || l->gone || l->n_running >= room || l->stats.waiting > few) continue;
        if (!best || l->n_running < best->n_running) best = l;
        if (m->n_link > 1 && g->adapter[0] && link_has_adapter(l, g->adapter) &&
            (!home || l->n_running < home->n_running))
            home = l;
    }
    return home && home->n_running <= best->n_running + few ? home : best;
}

void controller_pump(hone_component *m) {
    hone_generation *g;
    copy_link *l;
    while ((g = queue_first(m)) && (l = choose(m, g))) {
        hone_error err = {.position = HONE_NO_POSITION};
        queue_take(g);
        queue_put(g, l);
        if (!link_send_request(l, g, &err)) controller_end(g, &err);
    }
}

void controller_lost(copy_link *l) {
    const uint32_t limit = l->component->controller->cfg.max_deaths;
    hone_generation *g;
    while ((g = l->running.first)) {
        queue_take(g);
        queue_put(g, NULL);
        if (++g->deaths < limit) continue;
        hone_error problem = {.position = HONE_NO_POSITION};
        hone_fail(&problem, HONE_ERR_INTERNAL, "the model's process ended %u times while it ran this request",
                  g->deaths);
        controller_end(g, &problem);
    }
}

void controller_end_waiting(hone_component *m, const hone_error *problem) {
    hone_generation *g;
    while ((g = queue_first(m))) controller_end(g, problem);
}

void controller_adapter_failed(copy_link *l, const char *digest, const hone_error *problem) {
    for (hone_generation *g = l->running.first; g;) {
        hone_generation *next = g->next;
        if (strcmp(g->adapter, digest) == 0) {
            link_send_cancel(l, g->id); /* the copy may still hold it */
            controller_end(g, problem);
            next = l->running.first; /* the caller may have changed the list */
        }
        g = next;
    }
}

hone_generation *controller_user_of(const copy_link *l, const char *digest) {
    hone_generation *g = l->running.first;
    while (g && strcmp(g->adapter, digest) != 0) g = g->next;
    return g;
}

/* ---- Components ---- */

static void on_pulse(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    queue_pulse(arg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    hone_component *m = arg;
    if (m->n_waiting == 0) return;
    if (m->state == HONE_COMPONENT_RUNNING)
        controller_pump(m);
    else
        hone_component_wake(m);
}

void controller_fail(hone_component *m, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(m->failure, sizeof(m->failure), format, args);
    va_end(args);
    m->state = HONE_COMPONENT_FAILED;
    hone_log(HONE_LOG_ERROR, "fleet", "%s cannot run: %s", m->path, m->failure);
    hone_error problem = {.position = HONE_NO_POSITION};
    hone_fail(&problem, HONE_ERR_INTERNAL, "the model cannot run here: %.300s", m->failure);
    hone_generation *g;
    while (m->state == HONE_COMPONENT_FAILED && (g = queue_first(m))) controller_end(g, &problem);
}

/* `hone work lay` prints one line: {"tiles": PATH} or {"error": TEXT}. */
static void on_layer_line(void *arg, const char *line, size_t n) {
    hone_component *m = arg;
    const char *tiles = NULL, *error = NULL;
    json_t *answer = hone_json_parse(line, n, NULL);
    hone_json_get_string(answer, "tiles", &tiles, NULL, NULL);
    hone_json_get_string(answer, "error", &error, NULL, NULL);
    if (tiles) {
        hone_free(m->tiles);
        m->tiles = hone_strdup(tiles);
    } else if (error) {
        snprintf(m->failure, sizeof(m->failure), "%s", error);
    }
    m->layer_answered = true;
    json_decref(answer);
}

static void on_layer_exit(void *arg, int status) {
    hone_component *m = arg;
    m->layer = NULL;
    if (m->tiles) {
        m->state = HONE_COMPONENT_STARTING;
        for (uint32_t i = 0; i < m->n_link && m->state != HONE_COMPONENT_FAILED; i++) link_start(&m->link[i]);
        return;
    }
    char text[80], reason[300];
    hone_child_status_text(status, text, sizeof(text));
    snprintf(reason, sizeof(reason), "%s", m->layer_answered && m->failure[0] ? m->failure : text);
    controller_fail(m, "%s", reason);
}

void hone_component_set_tokenizer(hone_component *m, const hone_tokenizer *tokenizer) {
    m->tokenizer = tokenizer;
}

int controller_vocabulary(hone_component *m, hone_error *err) {
    if (m->vocabulary >= 0) return m->vocabulary;
    if (!m->tokenizer) {
        hone_fail(err, HONE_ERR_UNSUPPORTED, "grammars need the model's tokenizer, which is not here");
        return -1;
    }
    hone_vocabulary_file(&m->vocabulary, m->tokenizer, err);
    return m->vocabulary;
}

void hone_component_wake(hone_component *m) {
    hone_controller *c = m->controller;
    if ((m->state != HONE_COMPONENT_ASLEEP && m->state != HONE_COMPONENT_FAILED) || c->draining) return;
    hone_free(m->tiles);
    m->tiles = NULL;
    m->failure[0] = 0;
    m->layer_answered = false;
    for (uint32_t i = 0; i < m->n_link; i++) m->link[i].failures = 0;
    m->tiles = hone_tile_cache_find(m->path, c->tile_folder, c->cfg.precision);
    if (m->tiles) { /* laid before: nothing of the weights is read */
        m->state = HONE_COMPONENT_STARTING;
        for (uint32_t i = 0; i < m->n_link && m->state != HONE_COMPONENT_FAILED; i++) link_start(&m->link[i]);
        return;
    }
    m->state = HONE_COMPONENT_PREPARING;
    const char *argv[] = {c->program, "work",         "lay",
                          m->path,    c->tile_folder, c->cfg.precision == HONE_PRECISION_F32 ? "f32" : "serving",
                          NULL};
    const hone_child_options o = {.argv = argv,
                                  .pass_fd = -1,
                                  .death_signal = SIGKILL,
                                  .on_line = on_layer_line,
                                  .on_exit = on_layer_exit,
                                  .arg = m};
    hone_error err = {.position = HONE_NO_POSITION};
    if (hone_child_start(&m->layer, c->base, &o, &err) != HONE_OK) controller_fail(m, "%s", err.message);
}

hone_status hone_component_pin(hone_component *m, const hone_adapter_files *adapter, hone_error *err) {
    component_pin *p = hone_zalloc(1, sizeof(*p));
    if (p) {
        memcpy(p->digest, adapter->digest, sizeof(p->digest));
        p->config_path = hone_strdup(adapter->config_path);
        p->tensors_path = hone_strdup(adapter->tensors_path);
    }
    if (!p || !p->config_path || !p->tensors_path) {
        if (p) hone_free(p->config_path);
        if (p) hone_free(p->tensors_path);
        hone_free(p);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory to pin an adapter");
    }
    p->next = m->pins;
    m->pins = p;
    for (uint32_t i = 0; i < m->n_link; i++)
        if (m->link[i].ready) link_send_pin(&m->link[i], p);
    return HONE_OK;
}

static void free_component(hone_component *m) {
    if (!m) return;
    while (m->pins) {
        component_pin *next = m->pins->next;
        hone_free(m->pins->config_path);
        hone_free(m->pins->tensors_path);
        hone_free(m->pins);
        m->pins = next;
    }
    hone_child_drop(m->layer, true);
    for (uint32_t i = 0; m->link && i < m->n_link; i++) link_free(&m->link[i]);
    if (m->tick) event_free(m->tick);
    if (m->pulse) event_free(m->pulse);
    hone_free(m->link);
    hone_free(m->path);
    if (m->vocabulary >= 0) close(m->vocabulary);
    hone_free(m->tiles);
    hone_free(m);
}

hone_status hone_controller_component(hone_controller *c, const char *path, hone_component **out, hone_error *err) {
    for (hone_component *m = c->components; m; m = m->next)
        if (strcmp(m->path, path) == 0) {
            *out = m;
            return HONE_OK;
        }
    *out = NULL;
    hone_component *m = hone_zalloc(1, sizeof(*m));
    if (!m) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a component");
    m->controller = c;
    m->vocabulary = -1;
    m->path = hone_strdup(path);
    m->link = hone_zalloc(c->cfg.copies, sizeof(*m->link));
    m->tick = event_new(c->base, -1, 0, on_tick, m);
    m->pulse = event_new(c->base, -1, EV_PERSIST, on_pulse, m);
    if (!m->path || !m->link || !m->tick || !m->pulse) {
        free_component(m);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a component");
    }
    m->n_link = c->cfg.copies;
    for (uint32_t i = 0; i < m->n_link; i++) m->link[i] = (copy_link){.component = m, .index = i, .socket = -1};
    m->next = c->components;
    c->components = m;
    *out = m;
    return HONE_OK;
}

static void add_stats(hone_engine_stats *sum, const hone_engine_stats *s) {
    sum->running += s->running;
    sum->waiting += s->waiting;
    sum->pages_free += s->pages_free;
    sum->pages_total += s->pages_total;
    sum->steps += s->steps;
    sum->prefill_tokens += s->prefill_tokens;
    sum->decode_tokens += s->decode_tokens;
    sum->preemptions += s->preemptions;
    sum->prefix_tokens += s->prefix_tokens;
    sum->pages_cached += s->pages_cached;
    sum->drafted += s->drafted;
    sum->accepted += s->accepted;
    sum->forced += s->forced;
    sum->grammar_mask_ns += s->grammar_mask_ns;
    sum->memory += s->memory;
    sum->adapter_bytes += s->adapter_bytes;
    sum->adapters += s->adapters;
}

void hone_component_get_status(const hone_component *m, hone_component_status *out) {
    *out = (hone_component_status){.state = m->state,
                                   .plan = m->ready.plan,
                                   .copies_wanted = m->state == HONE_COMPONENT_ASLEEP ? 0 : m->n_link,
                                   .running = m->n_running,
                                   .waiting = m->n_waiting,
                                   .restarts = m->restarts,
                                   .stalls = m->stalls,
                                   .wait_seconds = queue_wait_seconds(m, HONE_PRIORITY_USUAL, 1, 0),
                                   .expired = m->expired,
                                   .stalled = m->stalled};
    for (uint32_t p = 0; p <= HONE_PRIORITY_LAST; p++) out->waiting_tokens += m->sum[p].prompt;
    memcpy(out->refused, m->refused, sizeof(out->refused));
    memcpy(out->failure, m->failure, sizeof(out->failure));
    memcpy(out->fingerprint, m->ready.fingerprint, sizeof(out->fingerprint));
    memcpy(out->sandbox, m->ready.sandbox, sizeof(out->sandbox));
    for (uint32_t i = 0; i < m->n_link; i++) {
        const hone_engine_stats *s = &m->link[i].stats;
        out->copies_ready += m->link[i].ready;
        add_stats(&out->engine, s);
    }
}

hone_component *hone_controller_next(hone_controller *c, hone_component *after) {
    return after ? after->next : c->components;
}

const char *hone_component_path(const hone_component *m) {
    return m->path;
}

const char *hone_component_fingerprint(const hone_component *m) {
    return m->ready.fingerprint;
}

/* ---- Open and close ---- */

hone_status hone_controller_open(hone_controller **out, struct event_base *base, const hone_controller_config *cfg,
                                 hone_error *err) {
    *out = NULL;
    if (cfg->copies == 0 || cfg->copies > 64) return hone_fail(err, HONE_ERR_ARG, "%u copies: 1 to 64", cfg->copies);
    if (cfg->engine.max_sequences == 0)
        return hone_fail(err, HONE_ERR_ARG, "the engine's configuration allows no sequence");
    hone_controller *c = hone_zalloc(1, sizeof(*c));
    if (!c) return hone_fail(err, HONE_ERR_NOMEM, "no memory for the controller");
    c->base = base;
    c->cfg = *cfg;
    c->program = hone_strdup(cfg->program);
    c->tile_folder = hone_strdup(cfg->tile_folder);
    c->cfg.program = c->program;
    c->cfg.tile_folder = c->tile_folder;
    if (!c->program || !c->tile_folder) {
        hone_controller_close(c);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for the controller");
    }
    *out = c;
    return HONE_OK;
}

void hone_controller_drain(hone_controller *c) {
    c->draining = true;
    const hone_error problem = {.code = HONE_ERR_BUSY, .message = "the server is stopping"};
    for (hone_component *m = c->components; m; m = m->next) {
        controller_end_waiting(m, &problem);
        for (uint32_t i = 0; i < m->n_link; i++) link_stop(&m->link[i], false);
    }
}

void hone_controller_close(hone_controller *c) {
    if (!c) return;
    c->draining = true;
    const hone_error problem = {.code = HONE_ERR_BUSY, .message = "the server has stopped"};
    for (hone_component *m = c->components; m; m = m->next) {
        for (uint32_t i = 0; i < m->n_link; i++) link_stop(&m->link[i], true);
        controller_end_waiting(m, &problem); /* what ran waits again by now */
    }
    while (c->components) {
        hone_component *m = c->components;
        c->components = m->next;
        free_component(m);
    }
    hone_free(c->program);
    hone_free(c->tile_folder);
    hone_free(c);
}
