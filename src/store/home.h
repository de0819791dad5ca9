/* home.h - the state folder: where it is, what stands in it, who holds it.
 *
 *     hone.db          metadata                       store/db.h
 *     artifact/ab/...  immutable files by SHA-256     store/artifact.h
 *     journal/         the controller's journals
 *     run/             sockets; controller.pid, locked and holding the pid of the controller
 *
 * A controller holds the folder alone.  Guests (hone pull, hone models) may work beside it: SQLite and the artifacts
 * allow several processes.
 *
 * Threads: read-only after opening. */
#ifndef HONE_HOME_H
#define HONE_HOME_H

#include <stdbool.h>

#include "base/status.h"

typedef struct hone_home hone_home;

typedef enum { HONE_HOME_GUEST, HONE_HOME_CONTROLLER } hone_home_role;

/* path NULL: $HONE_HOME, else ~/.local/share/hone.  Makes what is missing, mode 0700.  HONE_ERR_BUSY: another
 * controller holds it; the message has its pid.  The lock goes with the process, so a killed controller leaves none. */
hone_status hone_home_open(hone_home **out, const char *path, hone_home_role role, hone_error *err);
void hone_home_close(hone_home *home); /* gives the lock up; NULL is fine */

/* Absolute paths, borrowed. */
const char *hone_home_path(const hone_home *home);
const char *hone_home_db(const hone_home *home);
const char *hone_home_artifacts(const hone_home *home);
const char *hone_home_journal(const hone_home *home);
const char *hone_home_run(const hone_home *home);

/* The pid of the controller that holds the folder, 0 when none does. */
int hone_home_controller(const hone_home *home);

#endif
