/* copy.c - one model copy: the loop between a socket and an engine; the contract is in copy.h.
 * Order: start (hello, tiles, sandbox, engine), frames from the controller, the loop. */
#include "fleet/copy.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "fleet/copy_adapters.h"
#include "fleet/copy_grammars.h"
#include "fleet/protocol.h"
#include "fleet/sandbox.h"

#define STATS_EVERY_NS 100000000

typedef struct {
    int socket;
    hone_frame_reader in;
    hone_buf out; /* frames of the current step */
    hone_model *model;
    hone_pool *pool;
    hone_engine *engine;
    copy_adapters *adapters;
    copy_grammars *grammars;
    hone_engine_stats told;
    int64_t told_at;
    bool stopping;
    size_t n_events;
} copy;

static hone_status flush(copy *c, hone_error *err) {
    if (c->out.failed) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a frame");
    size_t sent;
    const hone_status status =
        c->out.n ? hone_frame_send(c->socket, c->out.data, c->out.n, NULL, 0, &sent, err) : HONE_OK;
    hone_buf_clear(&c->out);
    return status;
}

/* ---- Start ---- */

static void submit(void *arg, const hone_engine_request *r);
static void admit(void *arg, const hone_engine_request *r, void *store);
static void refuse(void *arg, const hone_engine_request *r, const hone_error *why);
static void on_evicted(void *arg, const char *digest);

static hone_status next_frame(copy *c, hone_frame *f, hone_error *err) {
    for (;;) {
        hone_status status = hone_frame_next(&c->in, f, err);
        if (status != HONE_ERR_FULL) return status;
        status = hone_frame_receive(&c->in, c->socket, err);
        if (status != HONE_OK) return status;
    }
}

static hone_status start(copy *c, hone_error *err) {
    hone_frame f;
    hone_status status = next_frame(c, &f, err);
    if (status != HONE_OK) return status;
    hone_hello hello;
    if (f.type != HONE_FRAME_HELLO || hone_frame_get_hello(&f, &hello) != HONE_OK)
        return hone_fail(err, HONE_ERR_FORMAT, "the first frame is no HELLO of this version");
    const int fd = hone_frame_take_fd(&c->in);
    if (fd < 0) return hone_fail(err, HONE_ERR_FORMAT, "HELLO came without the tiles");
    status = hone_model_map_tiles(&c->model, fd, "tiles", err);
    close(fd);
    if (status != HONE_OK) return status;
    uint32_t threads = hello.threads;
    if (threads == 0) {
        const long n = sysconf(_SC_NPROCESSORS_ONLN); /* reads a file, so before the sandbox */
        threads = n > 0 ? (uint32_t)n : 1;
    }
    hone_ready ready = {0};
    hone_sandbox_enter(ready.sandbox, sizeof(ready.sandbox)); /* before the team starts: its threads inherit it */
    status = hone_pool_open(&c->pool, threads, err);
    if (status != HONE_OK) return status;
    static const char *const kv_names[HONE_KV_TYPE_COUNT] = {"kv16", "kv32", "kv8"};
    const hone_engine_config wanted = hello.engine;
    hello.engine = hone_engine_defaults(c->model);
    if (wanted.max_step_rows) hello.engine.max_step_rows = wanted.max_step_rows;
    if (wanted.max_sequences) hello.engine.max_sequences = wanted.max_sequences;
    if (wanted.max_length) hello.engine.max_length = wanted.max_length;
    if (wanted.kv_bytes) hello.engine.kv_bytes = wanted.kv_bytes;
    if (wanted.adapter_bytes) hello.engine.adapter_bytes = wanted.adapter_bytes;
    if (wanted.kv_type) hello.engine.kv_type = wanted.kv_type;
    if (wanted.pin_percent) hello.engine.pin_percent = wanted.pin_percent;
    hello.engine.no_prefix = wanted.no_prefix;
    if (wanted.max_draft) hello.engine.max_draft = wanted.max_draft;
    status = hone_engine_open(&c->engine, c->model, c->pool, &hello.engine, err);
    if (status != HONE_OK) return status;
    hone_engine_on_evicted(c->engine, on_evicted, c);
    const copy_adapters_config adapters = {.model = c->model,
                                           .engine = c->engine,
                                           .out = &c->out,
                                           .submit = submit,
                                           .arg = c,
                                           .budget_bytes = hello.engine.adapter_bytes};
    status = copy_adapters_open(&c->adapters, &adapters, err);
    if (status != HONE_OK) return status;
    const copy_grammars_config grammars = {.engine = c->engine, .admit = admit, .refuse = refuse, .arg = c};
    status = copy_grammars_open(&c->grammars, &grammars, err);
    if (status != HONE_OK) return status;
    hone_engine_plan(&ready.plan, c->model, c->pool, &hello.engine);
    snprintf(ready.fingerprint, sizeof(ready.fingerprint), "fp_%.12s_%s_%s_%s", c->model->digest,
             c->model->kernels->name, c->model->precision == HONE_PRECISION_F32 ? "f32" : "serving",
             kv_names[hello.engine.kv_type]);
    hone_frame_ready(&c->out, &ready);
    return flush(c, err);
}

/* ---- Frames from the controller ---- */

/* A request that cannot be ends at once, with the reason; the copy goes on. */
static void refuse(void *arg, const hone_engine_request *r, const hone_error *why) {
    copy *c = arg;
    const hone_event done = {
        .kind = HONE_EVENT_DONE, .id = r->id, .finish = HONE_FINISH_ERROR, .n_prompt = r->n_prompt, .error = why};
    size_t mark;
    hone_frame_begin(&c->out, &mark);
    hone_frame_put_event(&c->out, &done, 0);
    hone_frame_end(&c->out, mark, HONE_FRAME_EVENTS);
}

static void submit(void *arg, const hone_engine_request *r) {
    copy *c = arg;
    hone_error problem = {.position = HONE_NO_POSITION};
    hone_engine_request whole = *r;
    whole.grammar = copy_grammars_find(c->grammars, r); /* NULL: it lost its place meanwhile, the engine compiles it */
    if (hone_engine_submit(c->engine, &whole, &problem) != HONE_OK) refuse(c, r, &problem);
}

/* A request waits for its grammar first, then for its adapter. */
static void admit(void *arg, const hone_engine_request *r, void *store) {
    copy *c = arg;
    if (copy_adapters_hold(c->adapters, r, store)) return;
    submit(c, r);
    hone_free(store);
}

static hone_status on_request(copy *c, const hone_frame *f, hone_error *err) {
    hone_engine_request r;
    void *store;
    if (hone_frame_get_request(f, &r, &store) != HONE_OK) return hone_fail(err, HONE_ERR_FORMAT, "a broken REQUEST");
    if (!copy_grammars_hold(c->grammars, &r, store)) admit(c, &r, store);
    return HONE_OK;
}

static void on_evicted(void *arg, const char *digest) {
    copy *c = arg;
    hone_frame_text(&c->out, HONE_FRAME_ADAPTER_GONE, digest);
}

static hone_status handle(copy *c, const hone_frame *f, hone_error *err) {
    char digest[HONE_DIGEST_TEXT];
    int fd[2];
    uint64_t id;
    switch (f->type) {
    case HONE_FRAME_REQUEST: return on_request(c, f, err);
    case HONE_FRAME_CANCEL:
        if (hone_frame_get_id(f, &id) != HONE_OK) break;
        if (!copy_grammars_cancel(c->grammars, id) && !copy_adapters_cancel(c->adapters, id))
            hone_engine_cancel(c->engine, id);
        return HONE_OK;
    case HONE_FRAME_ADAPTER:
        if (hone_frame_get_text(f, digest, sizeof(digest)) != HONE_OK) break;
        fd[0] = hone_frame_take_fd(&c->in);
        fd[1] = hone_frame_take_fd(&c->in);
        copy_adapters_offer(c->adapters, digest, fd[0], fd[1]);
        return HONE_OK;
    case HONE_FRAME_PIN:
        if (hone_frame_get_text(f, digest, sizeof(digest)) != HONE_OK) break;
        copy_adapters_pin(c->adapters, digest);
        return HONE_OK;
    case HONE_FRAME_VOCABULARY: copy_grammars_vocabulary(c->grammars, hone_frame_take_fd(&c->in)); return HONE_OK;
    case HONE_FRAME_STOP: c->stopping = true; return HONE_OK;
    default: break;
    }
    return hone_fail(err, HONE_ERR_FORMAT, "a frame of type %d that a copy cannot read", (int)f->type);
}

/* ---- The loop ---- */

static void on_event(void *arg, const hone_event *event) {
    copy *c = arg;
    hone_frame_put_event(&c->out, event, c->model->arch.width);
    c->n_events++;
}

static bool step(copy *c) {
    size_t mark;
    hone_frame_begin(&c->out, &mark);
    c->n_events = 0;
    const bool busy = hone_engine_step(c->engine, on_event, c);
    if (c->n_events)
        hone_frame_end(&c->out, mark, HONE_FRAME_EVENTS);
    else if (!c->out.failed)
        c->out.n = mark;
    return busy;
}

static void tell_stats(copy *c, bool busy) {
    hone_engine_stats now;
    const int64_t at = hone_clock_ns();
    hone_engine_get_stats(c->engine, &now);
    const bool room = c->told.waiting && !now.waiting; /* the controller may have held requests back for it */
    if (busy && !room && c->told.running && at - c->told_at < STATS_EVERY_NS) return;
    if (memcmp(&now, &c->told, sizeof(now)) == 0) return;
    c->told = now;
    c->told_at = at;
    hone_frame_stats(&c->out, &now);
}

static hone_status serve(copy *c, hone_error *err) {
    bool busy = false;
    for (;;) {
        if (c->stopping && !busy && !copy_adapters_busy(c->adapters) && !copy_grammars_busy(c->grammars))
            return HONE_OK;
        struct pollfd p[3] = {{.fd = c->socket, .events = POLLIN},
                              {.fd = copy_adapters_fd(c->adapters), .events = POLLIN},
                              {.fd = copy_grammars_fd(c->grammars), .events = POLLIN}};
        const int n = poll(p, 3, busy ? 0 : -1);
        if (n < 0 && errno != EINTR) return hone_fail(err, HONE_ERR_IO, "poll: %s", strerror(errno));
        if (n > 0 && (p[1].revents || p[2].revents)) busy = true; /* requests that waited may come in now */
        if (n > 0 && p[0].revents) {
            hone_status status = hone_frame_receive(&c->in, c->socket, err);
            if (status == HONE_ERR_CLOSED) return HONE_OK; /* nobody is left to tell anything */
            if (status != HONE_OK && status != HONE_ERR_FULL) return status;
            hone_frame f;
            while ((status = hone_frame_next(&c->in, &f, err)) == HONE_OK) {
                status = handle(c, &f, err);
                if (status != HONE_OK) return status;
                busy = true; /* it may have brought work: one step will tell */
            }
            if (status != HONE_ERR_FULL) return status;
        }
        copy_grammars_turn(c->grammars);
        copy_adapters_turn(c->adapters);
        if (busy) busy = step(c);
        tell_stats(c, busy);
        const hone_status status = flush(c, err);
        if (status == HONE_ERR_CLOSED) return HONE_OK;
        if (status != HONE_OK) return status;
    }
}

int hone_copy_run(int socket) {
    copy c = {.socket = socket};
    hone_error err = {.position = HONE_NO_POSITION};
    hone_status status = start(&c, &err);
    if (status == HONE_OK) status = serve(&c, &err);
    if (status != HONE_OK && status != HONE_ERR_CLOSED) {
        hone_log(HONE_LOG_ERROR, "copy", "%s", err.message);
        hone_error ignored;
        hone_buf_clear(&c.out);
        hone_frame_problem(&c.out, HONE_FRAME_FAILED, "", &err);
        flush(&c, &ignored);
    }
    copy_grammars_close(c.grammars);
    copy_adapters_close(c.adapters);
    hone_engine_close(c.engine);
    hone_pool_close(c.pool);
    hone_model_close(c.model);
    hone_frame_reader_free(&c.in);
    hone_buf_free(&c.out);
    close(socket);
    return status == HONE_OK ? 0 : 1;
}

/* Measured, not derived (tests/e2e/test_memory.py holds it to the truth): what the dynamic linker and the C library
 * dirty and the heap of an idle copy; a stack that products use; frames and records of one request; the bytes of the
 * tokens, which grammars read. */
#define PROCESS_BYTES (2000u << 10)
#define THREAD_BYTES (96u << 10)
#define REQUEST_BYTES (16u << 10)
#define TOKEN_BYTES 24u
#define TEXT_BYTES (6400u << 10)

hone_copy_process hone_copy_process_plan(uint32_t threads, uint32_t max_sequences, uint32_t vocab) {
    return (hone_copy_process){.own = PROCESS_BYTES + (uint64_t)threads * THREAD_BYTES +
                                      (uint64_t)max_sequences * REQUEST_BYTES + (uint64_t)vocab * TOKEN_BYTES,
                               .text = TEXT_BYTES};
}
