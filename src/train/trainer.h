/* trainer.h - a fine-tuning run: plan, steps, validation, checkpoints, the finished adapter.
 *
 * The loss of a step is the sum over its trained tokens divided by their number.  A run is a function of (weights,
 * kernel set, data, configuration): neither the thread count nor the micro-batch size, nor being killed and resumed at
 * any moment, changes a bit of the adapter.
 *
 * out_dir holds adapter_config.json and adapter_model.safetensors when the run is done, and checkpoint.hone while it is
 * under way (checkpoint.h).
 *
 * Threads: one caller; the work is spread over the pool.  `stop` may be set from a signal handler. */
#ifndef HONE_TRAINER_H
#define HONE_TRAINER_H

#include <stdatomic.h>

#include "train/optim.h"
#include "train/pass.h"

/* hone_train_defaults() fills it; 0 means `auto` where it says so. */
typedef struct {
    hone_adapter_config lora; /* rank 16, alpha 32, all seven modules; seed is the one below */
    const char *init_adapter; /* a folder to begin from, whose ranks and alphas count; NULL: a new adapter */
    const char *base_name;    /* stands in adapter_config.json as base_model_name_or_path; NULL: "" */

    uint32_t epochs;        /* 0: auto */
    uint32_t batch_rows;    /* rows of an optimiser step; 0: auto */
    double lr;              /* peak learning rate; 0: auto */
    double lr_multiplier;   /* OpenAI's learning_rate_multiplier: lr is multiplied by it; 1 */
    hone_schedule schedule; /* cosine */
    double lr_floor;        /* share of lr at the end; 0 */
    int64_t warmup_steps;   /* -1: by warmup_ratio */
    double warmup_ratio;    /* of all steps */
    hone_adamw adamw;       /* 0.9, 0.999, 1e-8, no weight decay */
    double clip;            /* of the gradient's norm, 0: none; 1 */
    bool shuffle;           /* true */
    uint64_t seed;
    uint64_t max_steps; /* 0: by epochs */

    uint32_t micro_tokens; /* positions that run together, 0: auto; changes memory and speed, never results */
    uint64_t memory_bytes; /* refuse a plan above it; 0: no limit */

    const char *out_dir;       /* NULL: nothing is written */
    double checkpoint_seconds; /* at most so long between checkpoints; 0: none by time */
    uint64_t checkpoint_steps; /* every so many steps; 0: none by steps */
    bool keep_epochs;          /* out_dir/epoch-N holds the adapter after each epoch */
    bool resume;               /* go on from out_dir's checkpoint where there is one */
} hone_train_config;

hone_train_config hone_train_defaults(void);

/* Memory and work, known before the first step. */
typedef struct {
    uint32_t epochs, batch_rows, micro_tokens; /* auto resolved */
    double lr;                                 /* auto and multiplier resolved */
    uint64_t steps, warmup_steps;
    uint64_t rows, tokens, trained_tokens; /* of one epoch */
    uint64_t parameters;                   /* trained */
    uint64_t weight_bytes;                 /* tiles of the base: shared and read-only */
    uint64_t adapter_bytes;                /* adapter, gradient and both moments */
    uint64_t data_bytes;
    hone_pass_bytes pass;
    uint64_t total_bytes;
} hone_train_plan;

/* adapter is needed for its shapes: cfg->init_adapter is read where it is given.  HONE_ERR_LIMIT: over memory_bytes,
 * and the message says which setting fits, or that none does. */
hone_status hone_train_make_plan(hone_train_plan *out, const hone_model *model, hone_pool *pool,
                                 const hone_train_config *cfg, const hone_train_data *train,
                                 const hone_train_data *valid, hone_error *err);

/* Seconds of the whole run, from one micro-batch that runs now (it is thrown away). */
hone_status hone_train_measure(double *seconds, const hone_train_plan *plan, const hone_model *model, hone_pool *pool,
                               const hone_train_config *cfg, const hone_train_data *train, hone_error *err);

typedef struct {
    uint64_t step, steps; /* from 1 */
    uint32_t epoch;       /* from 1 */
    uint32_t epochs;
    double loss, lr, grad_norm;      /* of this step; grad_norm before clipping */
    double accuracy;                 /* share of trained tokens that were the likeliest */
    uint64_t tokens, trained_tokens; /* of this step */
    double seconds;                  /* of this step */
    uint64_t rss_bytes;              /* of the process, now */
    double tokens_per_second;        /* over the last steps of this process */
    double seconds_left;             /* by that speed */
} hone_train_step;

typedef struct {
    uint32_t epoch; /* from 1 */
    uint64_t step;
    bool has_valid;
    double train_loss; /* mean over the epoch's trained tokens as the steps saw them */
    double valid_loss, valid_accuracy;
    const hone_adapter *adapter; /* borrowed for the call */
    const char *folder;          /* of keep_epochs, or NULL */
} hone_train_epoch;

/* Any may be NULL.  A result that is not HONE_OK ends the run with it, err being the caller's to fill. */
typedef struct {
    void *arg;
    hone_status (*on_plan)(void *arg, const hone_train_plan *plan, uint64_t first_step, hone_error *err);
    hone_status (*on_step)(void *arg, const hone_train_step *step, hone_error *err);
    hone_status (*on_epoch)(void *arg, const hone_train_epoch *epoch, hone_error *err);
    hone_status (*on_checkpoint)(void *arg, uint64_t step, double seconds, hone_error *err);
} hone_train_hooks;

typedef struct {
    hone_adapter *adapter; /* the caller's: hone_adapter_free(); its digest is set when out_dir was given */
    uint64_t steps;
    double last_loss;
    double valid_loss;               /* of the last epoch; 0 without validation data */
    double seconds;                  /* of the steps of this process */
    uint64_t tokens, trained_tokens; /* of this process */
    uint64_t peak_rss_bytes;
} hone_train_result;

/* valid may be NULL.  When *stop becomes true the run writes a checkpoint at the border of the step and returns
 * HONE_ERR_CANCELLED.  HONE_ERR_FULL: no space for a checkpoint; the one before is untouched.  On failure result's
 * adapter is NULL. */
hone_status hone_train_run(hone_train_result *result, const hone_model *model, hone_pool *pool,
                           const hone_train_config *cfg, const hone_train_data *train, const hone_train_data *valid,
                           const hone_train_hooks *hooks, const atomic_bool *stop, hone_error *err);

#endif
