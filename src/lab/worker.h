/* worker.h - `hone work check` and `hone work train`: one job in a process of its own.
 *
 * Both print one JSON object a line on stdout, which src/lab/jobs.c reads:
 *   {"ok": {rows, tokens, trained_tokens}}           check: the files are good
 *   {"failed": {code, message, param}}               the job cannot go on; the exit status is 1
 *   {"warning": TEXT}
 *   {"plan": {...}} {"step": {...}} {"epoch": {...}} {"done": {...}}   train
 *
 * A worker reads the store and writes only into its job's folder, home/job/ID: the checkpoint while it runs, PEFT's two
 * files when it is done.  SIGTERM: checkpoint, exit status 3. */
#ifndef HONE_WORKER_H
#define HONE_WORKER_H

#include "kernel/kernel.h"

int hone_work_check(const char *home, const char *job, hone_precision precision);
int hone_work_train(const char *home, const char *job, hone_precision precision);

#endif
