/* checkpoint.h - where a run stands, in one file that is either whole or not there.
 *
 * Written to a temporary file beside it, synced, renamed, and the folder synced: until the new one is durable the one
 * before stays.  The format stands at the top of checkpoint.c. */
#ifndef HONE_TRAIN_CHECKPOINT_H
#define HONE_TRAIN_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* What a run is made of, as text: "lr=0.0005", one a line.  A checkpoint goes on only where all lines agree. */
typedef struct {
    uint64_t step;     /* optimiser steps that are done */
    double epoch_loss; /* sums of the epoch so far */
    uint64_t epoch_trained;
    double last_loss, valid_loss;
} hone_checkpoint_state;

/* p: the adapter's matrices, m and v its moments, each [n] as hone_lora_grad lays them. */
hone_status hone_checkpoint_write(const char *path, const char *settings, const hone_checkpoint_state *state,
                                  const float *p, const float *m, const float *v, size_t n, hone_error *err);

/* HONE_ERR_NOT_FOUND: no file.  HONE_ERR_ARG: another run's; the message names the first setting that differs, with
 * both values.  HONE_ERR_FORMAT: damaged.  On failure nothing is changed. */
hone_status hone_checkpoint_read(const char *path, const char *settings, hone_checkpoint_state *state, float *p,
                                 float *m, float *v, size_t n, hone_error *err);

#endif
