/* data_parts.h - what the files of data share; for data*.c alone. */
#ifndef HONE_TRAIN_DATA_PARTS_H
#define HONE_TRAIN_DATA_PARTS_H

#include "train/data.h"

/* One line on its way to rows. */
typedef struct {
    hone_train_data *data;
    const hone_data_rules *rules;
    uint64_t line;
    /* The fault of this line, if any: HONE_ERR_NOMEM ends the reading, everything else is reported with the line. */
    hone_error *fault;
} data_line;

/* A sequence under construction: ids, and for each whether it is trained.  Start from {0}. */
typedef struct {
    hone_ids ids;
    hone_buf trained;
} data_draft;

void data_draft_free(data_draft *d);
hone_status data_draft_add(data_draft *d, const int32_t *id, size_t n, bool trained, hone_error *err);

/* Checks the draft (length, vocabulary, something to train) and moves it into the data as a row; d is {0} again. */
hone_status data_commit(const data_line *at, data_draft *d);

/* Rows of one object of each kind; data_chat.c and data.c. */
hone_status data_chat(const data_line *at, const json_t *row);

/* HONE_ERR_FORMAT naming the first member of object that is not in known (NULL at the end). */
hone_status data_known_keys(const json_t *object, const char *what, const char *const *known, hone_error *err);

#endif
