/* copy_adapters.h - adapters on their way into a copy: read in the background, attached between steps.
 *
 * A thread of its own maps, checks and lays one adapter after the other; the loop attaches what is ready before its
 * next step and then submits the requests that waited for it, so that nobody else's step is longer for it.  What the
 * engine gives up to make room is told to the controller, which sends the files again when a request needs them: the
 * copy keeps no file open.
 *
 * Threads: all calls are the loop's. */
#ifndef HONE_COPY_ADAPTERS_H
#define HONE_COPY_ADAPTERS_H

#include "base/buf.h"
#include "engine/engine.h"

typedef struct copy_adapters copy_adapters;

/* Frames for the controller go to out.  submit is called with requests whose adapter is there now, or that have to
 * find out that it is not. */
typedef struct {
    const hone_model *model;
    hone_engine *engine;
    hone_buf *out;
    void (*submit)(void *arg, const hone_engine_request *r);
    void *arg;
    uint64_t budget_bytes; /* a file that is larger is refused before it is read */
} copy_adapters_config;

hone_status copy_adapters_open(copy_adapters **out, const copy_adapters_config *cfg, hone_error *err);
void copy_adapters_close(copy_adapters *a); /* NULL is fine */

/* Readable when a load has ended: then copy_adapters_turn has something to do. */
int copy_adapters_fd(const copy_adapters *a);

/* The files of an adapter came; both descriptors are owned afterwards, -1 where one is missing. */
void copy_adapters_offer(copy_adapters *a, const char *digest, int config_fd, int tensors_fd);

/* A pinned adapter, here or to come, never makes room for others. */
void copy_adapters_pin(copy_adapters *a, const char *digest);

/* Whether the request has to wait for its adapter.  True: r and store (hone_free) are owned here until submit. */
bool copy_adapters_hold(copy_adapters *a, const hone_engine_request *r, void *store);
bool copy_adapters_cancel(copy_adapters *a, uint64_t id); /* a held one; false: it is not held here */

/* Between two steps. */
void copy_adapters_turn(copy_adapters *a);

/* Requests or loads are under way. */
bool copy_adapters_busy(const copy_adapters *a);

#endif
