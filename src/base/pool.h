/* pool.h - a fixed team of threads for one piece of parallel work at a time.
 *
 * The caller is thread 0 and works too.  Workers spin for a short while after a piece of work, then sleep on a futex: a
 * decode step dispatches hundreds of times in a row, an idle server must burn nothing.
 *
 * Threads: one caller at a time per pool.  Neighbouring tasks mostly go to one thread (thread t of T begins with the
 * t-th part of them), but which thread takes which task is not fixed: a task's result must not depend on it. */
#ifndef HONE_POOL_H
#define HONE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct hone_pool hone_pool;

/* n_threads counts the caller; 0: one per online core. */
hone_status hone_pool_open(hone_pool **out, uint32_t n_threads, hone_error *err);
void hone_pool_close(hone_pool *pool); /* NULL is fine */

uint32_t hone_pool_threads(const hone_pool *pool); /* 1 for NULL */

/* Run fn(arg, task, thread) for task 0 .. n_tasks - 1 and return when all are done.  thread < hone_pool_threads(): an
 * index for scratch memory.  pool NULL: all of it here.  Never allocates. */
void hone_pool_run(hone_pool *pool, uint32_t n_tasks, void (*fn)(void *arg, uint32_t task, uint32_t thread), void *arg);

/* While this thread waits, now or in later rounds, it fetches data into its cache: what its first tasks of a coming
 * round will read.  A hint: data is never looked at, and may be freed at any time. */
void hone_pool_ahead(hone_pool *pool, uint32_t thread, const void *data, size_t bytes);

#endif
