/* jobs.h - fine-tuning jobs: checked at once, then queued, one trainer process at a time, published the moment they
 * end.
 *
 *   validating_files -> queued -> running -> succeeded | failed | cancelled
 *
 * The store holds the state; every change is written before it is acted on.  A check (`hone work check`) and the
 * training itself (`hone work train`) are child processes that print one JSON object a line; this room writes what they
 * say into the store as events.  After a crash of anything the job goes on from its checkpoint and ends in the same
 * adapter.
 *
 * Threads: the loop's. */
#ifndef HONE_JOBS_H
#define HONE_JOBS_H

#include "net/loop.h"
#include "net/offload.h"
#include "store/store.h"

typedef struct hone_jobs hone_jobs;

typedef struct {
    hone_loop *loop;
    hone_store *store;
    hone_offload *offload;    /* closed after the jobs */
    const char *program;      /* this program's path */
    const char *organization; /* the third part of ft: names */
    bool precision_f32;       /* train in --precision f32 */
    uint32_t max_tries;       /* a trainer that dies this often without a new step ends the job as failed; 3 */
} hone_jobs_config;

hone_status hone_jobs_open(hone_jobs **out, const hone_jobs_config *cfg, hone_error *err);

/* Children are killed; their jobs go on at the next start. */
void hone_jobs_close(hone_jobs *jobs);

/* A job was added with status validating_files, or one became queued: look. */
void hone_jobs_wake(hone_jobs *jobs);

/* HONE_ERR_ARG when it has ended already, HONE_ERR_NOT_FOUND.  The job is cancelled in the store on return. */
hone_status hone_jobs_cancel(hone_jobs *jobs, const char *id, hone_error *err);

/* SIGTERM to children, which write a checkpoint and end; then done(arg).  Nothing new is started. */
void hone_jobs_stop(hone_jobs *jobs, void (*done)(void *arg), void *arg);

/* Call fn(arg) from the loop after events or the status of job id changed, until unfollowed. */
typedef struct hone_follower hone_follower;
hone_follower *hone_jobs_follow(hone_jobs *jobs, const char *id, void (*fn)(void *arg),
                                void *arg); /* NULL: no memory */
void hone_jobs_unfollow(hone_follower *f);

typedef struct {
    uint64_t started, succeeded, failed, cancelled;
    uint32_t checking, running, queued;
    uint64_t trained_tokens;
} hone_jobs_figures;
void hone_jobs_get_figures(hone_jobs *jobs, hone_jobs_figures *out);

#endif
