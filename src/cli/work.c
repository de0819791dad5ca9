/* work.c - `hone copy` and `hone work`: the processes that a controller starts.  Not for people. */
#include <stdlib.h>
#include <string.h>

#include "cli/verbs.h"
#include "fleet/copy.h"
#include "lab/worker.h"
#include "model/tile_cache.h"
#include "net/child.h"

static int run_copy(const cli_args *args) {
    (void)args;
    return hone_copy_run(HONE_CHILD_FD);
}

static int run_work(const cli_args *args) {
    const hone_precision precision = strcmp(args->word[3], "f32") == 0 ? HONE_PRECISION_F32 : HONE_PRECISION_SERVING;
    if (strcmp(args->word[0], "lay") == 0) return hone_tile_cache_run(args->word[1], args->word[2], precision);
    if (strcmp(args->word[0], "check") == 0) return hone_work_check(args->word[1], args->word[2], precision);
    return hone_work_train(args->word[1], args->word[2], precision);
}

static const char *const kinds[] = {"lay", "check", "train", NULL};

const cli_verb cli_verb_copy = {
    .name = "copy",
    .usage = "copy",
    .about = "one model copy; started by `hone serve`",
    .example = "",
    .hidden = true,
    .run = run_copy,
};

const cli_verb cli_verb_work = {
    .name = "work",
    .usage = "work lay MODEL FOLDER PRECISION\nwork check|train HOME JOB PRECISION",
    .about = "one job; started by `hone serve`",
    .example = "",
    .words = kinds,
    .min_words = 4,
    .max_words = 4,
    .hidden = true,
    .run = run_work,
};
