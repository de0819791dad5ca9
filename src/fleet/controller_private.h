/* controller_private.h - the controller's structures, shared by controller.c (requests, components), queue.c (who
 * waits, and for how long) and link.c (copies). */
#ifndef HONE_CONTROLLER_PRIVATE_H
#define HONE_CONTROLLER_PRIVATE_H

#include "fleet/controller.h"
#include "fleet/protocol.h"
#include "fleet/rate.h"
#include "net/child.h"

struct event;

/* An adapter as one copy knows it. */
typedef enum { ADAPTER_SENT, ADAPTER_READY, ADAPTER_FAILED } adapter_state;
typedef struct {
    char digest[HONE_DIGEST_TEXT];
    adapter_state state;
} link_adapter;

/* Bytes on their way to a copy, in pieces because descriptors belong to the first byte of a frame. */
typedef struct outgoing {
    struct outgoing *next;
    hone_buf bytes;
    size_t sent;
    int fd[HONE_FRAME_FDS]; /* owned until sent */
    uint32_t n_fd;
} outgoing;

typedef struct {
    hone_generation *first, *last;
} generation_list;

/* One copy, as the controller sees it. */
typedef struct copy_link {
    hone_component *component;
    uint32_t index;
    hone_child *child;
    int socket; /* -1: no copy */
    struct event *readable, *writable, *again;
    struct event *flush; /* what this turn of the loop has for the copy leaves at its end, in one write */
    hone_frame_reader in;
    outgoing *out_first, *out_last;
    bool ready, leaving, dispatching;
    bool has_vocabulary;     /* it was sent */
    bool gone;               /* died while its frames were being read; taken down when that ends */
    uint32_t failures;       /* deaths in a row before READY */
    generation_list running; /* in order of sending */
    uint32_t n_running;
    int64_t moved_ns; /* when it was last seen to make a step, or got its first work */
    int64_t stats_ns; /* when stats came; 0: it was idle then */
    link_adapter *adapters;
    size_t n_adapters, cap_adapters;
    hone_engine_stats stats;
    char last_words[300]; /* what FAILED said */
} copy_link;

struct hone_generation {
    hone_generation *hash_next;
    hone_generation *prev, *next; /* in its class's list while it waits, in its copy's while it runs */
    hone_component *component;
    copy_link *at; /* NULL: waiting */
    uint64_t id;
    hone_engine_request r; /* arrays owned by the generation */
    int32_t *prompt, *emitted, *bias_token, *prediction;
    char *grammar_source;
    float *bias_value;
    size_t n_emitted, cap_emitted;
    char adapter[HONE_DIGEST_TEXT], salt[HONE_DIGEST_TEXT];
    char *config_path, *tensors_path;
    uint32_t prompt_seen; /* prompt events already delivered: index of the next */
    bool embedding_seen;
    uint32_t deaths;
    uint32_t expected;   /* output tokens, as guessed on arrival */
    int64_t deadline_ns; /* to begin; INT64_MAX: none */
    hone_generation_fn on_event;
    void *arg;
};

/* An adapter that every copy keeps. */
typedef struct component_pin {
    struct component_pin *next;
    char digest[HONE_DIGEST_TEXT];
    char *config_path, *tensors_path;
} component_pin;

struct hone_component {
    component_pin *pins;
    hone_component *next;
    hone_controller *controller;
    const hone_tokenizer *tokenizer; /* NULL: grammars are refused */
    int vocabulary;                  /* file of its tokens' bytes for copies, made on first use; -1: not yet */
    char *path, *tiles;
    hone_component_state state;
    char failure[300];
    hone_child *layer; /* the child that lays tiles */
    bool layer_answered;
    copy_link *link; /* [n_link] */
    uint32_t n_link;
    generation_list waiting[HONE_PRIORITY_LAST + 1]; /* by class, each in order of arrival */
    struct {
        uint32_t n;
        uint64_t prompt, output; /* tokens; output as expected */
    } sum[HONE_PRIORITY_LAST + 1];
    uint32_t n_waiting, n_running;
    hone_rate rate;
    uint64_t refused[HONE_REFUSED_KINDS], expired, stalls;
    bool stalled;
    hone_ready ready;
    uint64_t restarts;
    struct event *pulse; /* deadlines and the watchdog, while there is work */
    struct event *tick;  /* new work is looked at from the loop, never from the caller's stack: an event could reach a
                            caller that is still starting or ending a request */
};

#define CONTROLLER_BUCKETS 1024u
struct hone_controller {
    struct event_base *base;
    hone_controller_config cfg;
    char *program, *tile_folder;
    hone_component *components;
    hone_generation *bucket[CONTROLLER_BUCKETS];
    uint64_t next_id;
    bool draining;
};

/* controller.c */
hone_generation *controller_find(hone_controller *c, uint64_t id);
void controller_deliver(hone_generation *g, const hone_event *e);
void controller_pump(hone_component *m); /* send what waits to copies with room */
void controller_lost(copy_link *l);      /* its requests wait again, or end after too many deaths */
void controller_fail(hone_component *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
void controller_end(hone_generation *g, const hone_error *problem);
void controller_end_waiting(hone_component *m, const hone_error *problem);
void controller_adapter_failed(copy_link *l, const char *digest, const hone_error *problem);
hone_generation *controller_user_of(const copy_link *l, const char *digest); /* a request there with this adapter */

int controller_vocabulary(hone_component *m, hone_error *err); /* a descriptor, the component's; -1: err tells */

/* queue.c */
void queue_put(hone_generation *g, copy_link *at); /* at a copy, or (NULL) among those that wait, in its place */
void queue_take(hone_generation *g);               /* out of its list */
hone_generation *queue_first(hone_component *m);   /* of those that wait; NULL: none */
/* Until the last of `own` newcomers begins. */
double queue_wait_seconds(const hone_component *m, uint32_t priority, uint32_t own, double own_seconds);
uint32_t queue_room(const hone_component *m); /* requests that one copy takes */
void queue_pulse(hone_component *m);          /* deadlines, the watchdog */

/* link.c */
void link_start(copy_link *l);
void link_stop(copy_link *l, bool now); /* now: SIGKILL; otherwise STOP and let it finish */
bool link_send_request(copy_link *l, hone_generation *g, hone_error *err);
void link_send_pin(copy_link *l, const component_pin *pin);
void link_send_cancel(copy_link *l, uint64_t id);
bool link_has_adapter(const copy_link *l, const char *digest); /* resident there, or on its way */
void link_free(copy_link *l);

#endif
