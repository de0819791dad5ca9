/* artifact.h - immutable files named by their SHA-256: artifact/ab/cdef...
 *
 * An artifact is there whole or not at all.  It is written as artifact/tmp/..., synced, then renamed to its name and
 * the folder synced; a crash leaves at most a file in tmp/, which the next controller removes (its writer's lock is
 * gone). Files are mode 0400.  Adding bytes that are there already keeps the one that is there.
 *
 * Threads: a hone_artifacts may be shared; a writer belongs to one thread at a time. */
#ifndef HONE_ARTIFACT_H
#define HONE_ARTIFACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "base/status.h"

typedef struct hone_artifacts hone_artifacts;
typedef struct hone_artifact_writer hone_artifact_writer;

hone_status hone_artifacts_open(hone_artifacts **out, const char *folder, hone_error *err);
void hone_artifacts_close(hone_artifacts *store); /* NULL is fine; writers end first */

/* Remove what dead writers left in tmp/.  For the controller, at start.  *n_removed may be NULL. */
hone_status hone_artifacts_sweep(hone_artifacts *store, uint32_t *n_removed, hone_error *err);

/* ---- adding ---- */

/* HONE_ERR_FULL from any of these: no disk space (or a quota, or a file size limit); nothing is left behind. */
hone_status hone_artifact_begin(hone_artifacts *store, hone_artifact_writer **out, hone_error *err);
hone_status hone_artifact_write(hone_artifact_writer *writer, const void *bytes, size_t n, hone_error *err);
uint64_t hone_artifact_written(const hone_artifact_writer *writer); /* bytes so far */
/* Bring what was written to the disk, which takes as long as the disk takes: may run on another thread than the writes
 * did.  What is written afterwards is not covered. */
hone_status hone_artifact_sync(hone_artifact_writer *writer, hone_error *err);
/* Sync unless hone_artifact_sync() did, name it, and end the writer (also on failure, with nothing left).  expected may
 * be NULL; when the digest differs from it: HONE_ERR_FORMAT. */
hone_status hone_artifact_finish(hone_artifact_writer *writer, const char *expected, char digest[HONE_DIGEST_TEXT],
                                 hone_error *err);
void hone_artifact_abandon(hone_artifact_writer *writer); /* NULL is fine */

/* The file at path, copied (as a reflink where the file system can) and digested on the way; path stays. */
hone_status hone_artifact_add_path(hone_artifacts *store, const char *path, char digest[HONE_DIGEST_TEXT],
                                   uint64_t *bytes, hone_error *err);
hone_status hone_artifact_add_bytes(hone_artifacts *store, const void *bytes, size_t n, char digest[HONE_DIGEST_TEXT],
                                    hone_error *err);

/* ---- reading ---- */

/* A descriptor opened read-only, the caller's; bytes may be NULL.  HONE_ERR_NOT_FOUND, HONE_ERR_ARG for no digest. */
hone_status hone_artifact_open(hone_artifacts *store, const char *digest, int *fd, uint64_t *bytes, hone_error *err);
char *hone_artifact_path(const hone_artifacts *store, const char *digest); /* hone_free; NULL: no digest, no memory */
bool hone_artifact_exists(const hone_artifacts *store, const char *digest);

/* Read it all and compare: HONE_ERR_FORMAT when the bytes are not those of the name. */
hone_status hone_artifact_verify(hone_artifacts *store, const char *digest, hone_error *err);

/* Fine when it is not there.  Descriptors and mappings that are open stay good. */
hone_status hone_artifact_delete(hone_artifacts *store, const char *digest, hone_error *err);

/* Call fn for each artifact last touched at least min_age_s ago, until it fails.  fn may delete the one it is given. */
hone_status hone_artifacts_each(hone_artifacts *store, int64_t min_age_s,
                                hone_status (*fn)(void *arg, const char *digest, hone_error *err), void *arg,
                                hone_error *err);

/* 64 lower-case hexadecimal digits. */
bool hone_digest_is_valid(const char *digest);

#endif
