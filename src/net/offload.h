/* offload.h - one thread beside an event loop, for calls that wait for a disk: what is handed in runs there, in order,
 * and its end comes back as an event of the loop.
 *
 * Threads: every call, and done(), on the loop's thread; work() on the other one. */
#ifndef HONE_OFFLOAD_H
#define HONE_OFFLOAD_H

#include "base/status.h"
#include "net/loop.h"

typedef struct hone_offload hone_offload;

hone_status hone_offload_open(hone_offload **out, hone_loop *loop, hone_error *err);

/* Waits for what was handed in and calls the done() that are left, from within this call.  Before the loop is closed;
 * NULL is fine. */
void hone_offload_close(hone_offload *o);

/* Run work(arg) on the thread, then done(arg) from the loop, which may hand in more.  arg belongs to work() until
 * done() is called.  HONE_ERR_NOMEM: neither will run. */
hone_status hone_offload_run(hone_offload *o, void (*work)(void *arg), void (*done)(void *arg), void *arg,
                             hone_error *err);

#endif
