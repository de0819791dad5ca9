/* controller.h - which copies of which models run here, and which request goes to which copy.
 *
 * A component is a base model with its copies on this machine.  Its life: asleep -> preparing (tiles are laid by a
 * child process, so that a hostile file cannot hurt the controller) -> starting -> running, or failed with a reason.  A
 * request that finds no running copy is held, and starts one.
 *
 * The controller keeps each request's token journal - prompt, parameters, tokens emitted so far.  When a copy dies the
 * journal goes to the next one, which goes on where the first ended; callers see the same bytes and no event twice.
 *
 * Threads: the event loop's. */
#ifndef HONE_CONTROLLER_H
#define HONE_CONTROLLER_H

#include "engine/engine.h"
#include "model/tokenizer.h"

struct event_base;

typedef struct {
    const char *program;     /* this program's path, to start `copy` and `work` */
    const char *tile_folder; /* where laid tiles are kept */
    hone_precision precision;
    uint32_t threads; /* of a copy; 0: one per core */
    uint32_t copies;  /* of each component */
    /* Bounds of one component's queue, for what is held as well; over any of them HONE_ERR_FULL. */
    uint32_t max_waiting;        /* requests */
    uint64_t max_waiting_tokens; /* of their prompts together, 0: no bound; one request alone is never too large */
    uint32_t max_wait_ms;        /* that a newcomer would have to wait, as predicted; 0: no bound */
    uint32_t timeout_ms;         /* a request that waits here for so long ends with HONE_ERR_TIMEOUT; 0: never */
    uint32_t stall_ms;           /* a copy with work that makes no step for so long is killed; 0: never */
    uint32_t max_deaths;         /* a request whose copies died this often is ended with an error */
    hone_engine_config engine;   /* zeros: the engine's defaults */
} hone_controller_config;

hone_controller_config hone_controller_defaults(void);

typedef struct hone_controller hone_controller;
typedef struct hone_component hone_component;
typedef struct hone_generation hone_generation;

typedef enum {
    HONE_COMPONENT_ASLEEP,
    HONE_COMPONENT_PREPARING,
    HONE_COMPONENT_STARTING,
    HONE_COMPONENT_RUNNING,
    HONE_COMPONENT_FAILED
} hone_component_state;

hone_status hone_controller_open(hone_controller **out, struct event_base *base, const hone_controller_config *cfg,
                                 hone_error *err);

/* Every generation ends with HONE_FINISH_ERROR, copies are killed. */
void hone_controller_close(hone_controller *c);

/* Copies finish what they have and exit; generations that were not sent yet end with an error. */
void hone_controller_drain(hone_controller *c);

/* The component of the weights at path, made on first use; asleep until hone_component_wake or a request. */
hone_status hone_controller_component(hone_controller *c, const char *path, hone_component **out, hone_error *err);

/* Start its copies unless they run or start already.  A failed component tries again. */
void hone_component_wake(hone_component *m);

/* The model's tokenizer, for requests with a grammar; without one they end with HONE_ERR_UNSUPPORTED.  Borrowed until
 * the controller is closed. */
void hone_component_set_tokenizer(hone_component *m, const hone_tokenizer *tokenizer);

/* Which bound of the queue a request did not fit. */
typedef enum { HONE_REFUSED_REQUESTS, HONE_REFUSED_TOKENS, HONE_REFUSED_WAIT, HONE_REFUSED_KINDS } hone_refused;

typedef struct {
    hone_component_state state;
    char failure[300];    /* FAILED: why */
    char fingerprint[64]; /* "" before the first copy was ready */
    char sandbox[96];
    hone_memory_plan plan; /* of one copy, zeros before the first was ready */
    uint32_t copies_ready, copies_wanted;
    uint32_t running, waiting; /* requests at copies; held or queued here */
    uint64_t restarts;         /* copies that died without being asked to */
    uint64_t stalls;           /* of these, killed because they made no step */
    uint64_t waiting_tokens;   /* prompt tokens of those that wait */
    double wait_seconds;       /* predicted for a newcomer of the usual class; 0 while nothing is known */
    uint64_t refused[HONE_REFUSED_KINDS];
    uint64_t expired;         /* requests that ended waiting, at their deadline */
    bool stalled;             /* a copy was killed for making no step, and its successor is not ready */
    hone_engine_stats engine; /* summed over copies */
} hone_component_status;
void hone_component_get_status(const hone_component *m, hone_component_status *out);

/* Where an adapter's files are.  The digest names it; the paths are opened when a copy first needs them. */
typedef struct {
    char digest[HONE_DIGEST_TEXT];
    const char *config_path;  /* adapter_config.json */
    const char *tensors_path; /* adapter_model.safetensors */
} hone_adapter_files;

/* A request's class is its priority: lower classes go first, each in order of arrival. */
#define HONE_PRIORITY_USUAL 8u
#define HONE_PRIORITY_LAST 16u

/* What wants to be taken: n requests (0: one) that come together, of which all are taken or none. */
typedef struct {
    uint32_t priority, n;
    uint64_t n_prompt;   /* tokens of all together; 0: not known yet */
    uint32_t max_tokens; /* of each */
    uint32_t timeout_ms; /* to begin; 0: the configuration's */
} hone_newcomer;

/* Whether it would be taken now, before anything is spent on it.  HONE_ERR_FULL: the queue is full, and err's position
 * is the seconds (at least 1) after which it would fit if nobody else came. */
hone_status hone_controller_admits(hone_component *m, const hone_newcomer *r, hone_error *err);

/* Every copy reads this adapter when it starts and never gives it up for others.  Copies that run already get it too.
 */
hone_status hone_component_pin(hone_component *m, const hone_adapter_files *adapter, hone_error *err);

/* Begin a request: r->id and r->emitted are ignored, everything is copied.  timeout_ms 0: the configuration's. on_event
 * gets its events in order, DONE last and once; the handle is gone after DONE.  adapter NULL: the base.  It is taken
 * however many wait: whoever lets requests in asks hone_controller_admits first. */
typedef void (*hone_generation_fn)(void *arg, const hone_event *event);
hone_status hone_controller_generate(hone_component *m, const hone_adapter_files *adapter, const hone_engine_request *r,
                                     uint32_t timeout_ms, hone_generation_fn on_event, void *arg, hone_generation **out,
                                     hone_error *err);

/* No event follows; the copy frees its pages before its next step.  May be called from on_event, not after DONE. */
void hone_generation_cancel(hone_generation *g);

/* Walk the components, for status pages and metrics. */
hone_component *hone_controller_next(hone_controller *c, hone_component *after); /* NULL: the first; NULL: no more */
const char *hone_component_path(const hone_component *m);
const char *hone_component_fingerprint(const hone_component *m); /* "" before its first copy was ready */

#endif
