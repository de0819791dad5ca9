/* copy_grammars.h - grammars on their way into a copy: compiled in the background, kept for the next request.
 *
 * A thread of its own reads the vocabulary and compiles one source after the other; the loop submits the requests that
 * waited for it between two steps, so that no step is longer for it.  Compiled grammars are kept by the digest of their
 * source, with the masks that matchers have put into them; the least recently used go when there are too many bytes,
 * growth included, and one that has grown to its limit goes at once: the next request compiles it anew.
 *
 * Threads: all calls are the loop's. */
#ifndef HONE_COPY_GRAMMARS_H
#define HONE_COPY_GRAMMARS_H

#include "engine/engine.h"

typedef struct copy_grammars copy_grammars;

typedef struct {
    hone_engine *engine;
    /* A request whose grammar is there; store (hone_free) is the callee's. */
    void (*admit)(void *arg, const hone_engine_request *r, void *store);
    /* One whose grammar cannot be: it ends with this error. */
    void (*refuse)(void *arg, const hone_engine_request *r, const hone_error *why);
    void *arg;
    uint64_t budget_bytes; /* of grammars that are kept; 0: 64 MiB */
} copy_grammars_config;

hone_status copy_grammars_open(copy_grammars **out, const copy_grammars_config *cfg, hone_error *err);
void copy_grammars_close(copy_grammars *g); /* NULL is fine */

/* Readable when the thread has done something: then copy_grammars_turn has something to do. */
int copy_grammars_fd(const copy_grammars *g);

/* The vocabulary came (vocabulary.h); fd is owned afterwards. */
void copy_grammars_vocabulary(copy_grammars *g, int fd);

/* Whether the request has to wait for its grammar.  True: r and store are owned here until admit or refuse. */
bool copy_grammars_hold(copy_grammars *g, const hone_engine_request *r, void *store);
bool copy_grammars_cancel(copy_grammars *g, uint64_t id); /* a held one; false: it is not held here */

/* The compiled grammar of r's source, or NULL; valid until the next call. */
hone_grammar *copy_grammars_find(copy_grammars *g, const hone_engine_request *r);

/* Between two steps. */
void copy_grammars_turn(copy_grammars *g);

bool copy_grammars_busy(const copy_grammars *g); /* requests wait here */

#endif
