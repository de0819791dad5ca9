/* pull_private.h - what the files of hone_pull share. */
#ifndef HONE_PULL_PRIVATE_H
#define HONE_PULL_PRIVATE_H

#include <stdbool.h>

#include "lab/pull.h"

typedef struct {
    const hone_pull_request *request;
    const char *name;
    const char *model;   /* the file or folder */
    const char *licence; /* NULL: as the model's own files say */
    const char *origin;  /* NULL: the path */
    bool fetched;        /* the store takes it over; otherwise it stays where it is */
} pull_found;

/* Check the model and give it its name. */
hone_status pull_register(hone_store *store, const pull_found *found, hone_rec_model *out, hone_error *err);

hone_status pull_hf(hone_store *store, const hone_pull_request *r, const char *name, hone_rec_model *out,
                    hone_error *err);
hone_status pull_url(hone_store *store, const hone_pull_request *r, const char *name, hone_rec_model *out,
                     hone_error *err);

void pull_progress(const hone_pull_request *r, const char *what, uint64_t done, uint64_t total);
char *pull_scratch(hone_store *store, const char *name); /* pull/NAME of the state folder; hone_free */
void pull_drop_folder(const char *folder);               /* and all in it */

#endif
