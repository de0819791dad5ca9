/* registry.h - from a name that a person or a request gives to the files that answer it.
 *
 * A name is an alias, a fine-tuned version ("ft:..."), a checkpoint of one, a local model, or - where paths are allowed
 * - a folder or file.  Aliases may point at aliases, a few deep.
 *
 * Threads: the store's owner. */
#ifndef HONE_REGISTRY_H
#define HONE_REGISTRY_H

#include "base/file.h"
#include "store/store.h"

typedef struct {
    char *version;                      /* what answers: the name that GET /v1/models/{id} knows */
    char *base;                         /* local name of the base; the version itself when it is a base */
    char *path;                         /* of the base's weights: a GGUF file or a folder */
    char *config_path, *tensors_path;   /* of the adapter; NULL: the base alone */
    char digest[HONE_DIGEST_TEXT];      /* names the adapter: of its two files; "" without */
    char base_digest[HONE_DIGEST_TEXT]; /* as the store knows it; "" unknown */
    int64_t created_at;
} hone_resolved;

/* paths: whether a folder or file may be named too (the command line: yes; requests: no).  HONE_ERR_NOT_FOUND names the
 * nearest known names. */
hone_status hone_registry_resolve(hone_store *store, const char *name, bool paths, hone_resolved *out, hone_error *err);
void hone_resolved_free(hone_resolved *r); /* back to {0} */

/* Whether name may be an alias: up to 64 of A-Z a-z 0-9 . _ -, and no base's.  HONE_ERR_ARG, HONE_ERR_EXISTS. */
hone_status hone_registry_check_alias(hone_store *store, const char *name, hone_error *err);

/* From the next request on name stands for target, which must resolve and not through name itself.  Requests that run
 * keep what they resolved. */
hone_status hone_registry_point(hone_store *store, const char *name, const char *target, hone_error *err);

#endif
