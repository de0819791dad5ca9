/* loop.h - one event loop, owned by one thread, with a door for the other threads.
 *
 * A thin shell around libevent's event_base: whoever needs sockets of its own takes the base from hone_loop_base() and
 * adds events there.  Everything that the loop calls, it calls on the thread that runs it. */
#ifndef HONE_LOOP_H
#define HONE_LOOP_H

#include <stdint.h>

#include "base/status.h"

struct event_base;
typedef struct hone_loop hone_loop;
typedef struct hone_timer hone_timer;

/* Also ignores SIGPIPE for the process: a client that left must be an error code, not a signal. */
hone_status hone_loop_open(hone_loop **out, hone_error *err);

/* Not while it runs.  What was posted and has not run is dropped; timers still set are freed.  NULL is fine. */
void hone_loop_close(hone_loop *loop);

struct event_base *hone_loop_base(hone_loop *loop);

/* Until hone_loop_stop().  A stop that came before the run counts: it returns at once. */
hone_status hone_loop_run(hone_loop *loop, hone_error *err);

/* One turn: what is ready now, or what becomes ready within wait_ms (0: do not wait).  For tests and embedding. */
void hone_loop_turn(hone_loop *loop, uint32_t wait_ms);

/* Any thread, also a callback of the loop itself.  Not from a signal handler. */
void hone_loop_stop(hone_loop *loop);

/* Run fn(arg) on the loop's thread, in the order of posting.  Any thread.  HONE_ERR_NOMEM: nothing was posted. */
hone_status hone_loop_post(hone_loop *loop, void (*fn)(void *arg), void *arg);

/* Call fn(arg) once in delay_ms, then forget the timer: the pointer is invalid from the call on.  Loop's thread only.
 * NULL without memory. */
hone_timer *hone_loop_after(hone_loop *loop, uint32_t delay_ms, void (*fn)(void *arg), void *arg);
void hone_timer_cancel(hone_timer *timer); /* before it fired; NULL is fine */

/* Call fn(arg) for each arrival of signal (SIGTERM, SIGINT, SIGHUP, SIGCHLD), on the loop's thread.  Stays until the
 * loop is closed. */
hone_status hone_loop_on_signal(hone_loop *loop, int signal, void (*fn)(void *arg), void *arg, hone_error *err);

#endif
