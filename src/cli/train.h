/* train.h - what `hone train` and `hone plan train` share. */
#ifndef HONE_CLI_TRAIN_H
#define HONE_CLI_TRAIN_H

#include <stdio.h>

#include "cli/model.h"
#include "train/data.h"
#include "train/trainer.h"

typedef struct {
    cli_model model;
    hone_train_config config;
    hone_train_data data, valid; /* valid.n is 0 without --valid */
    json_t *rank_pattern, *alpha_pattern;
} cli_train;

#define CLI_TRAIN_OPTIONS                                                                                              \
    {"model", "NAME", "the base: a local name or a path"}, {"data", "FILE", "the rows to train on"},                   \
        {"valid", "FILE", "rows to validate on after each epoch"}, {"method", "lora", "the way of training"},          \
        {"rank", "R", "of the adapter (default: 16)"}, {"alpha", "A", "its scale is A / R (default: twice the rank)"}, \
        {"rslora", NULL, "its scale is A / sqrt(R)"}, {"dropout", "P", "on the adapter's inputs (default: 0)"},        \
        {"modules", "q_proj,...", "what is adapted (default: all seven linear layers)"},                               \
        {"rank-pattern", "JSON", "ranks of single modules, as in PEFT's configuration"},                               \
        {"alpha-pattern", "JSON", "alphas of single modules"}, {"init-adapter", "DIR", "begin from this adapter"},     \
        {"lr", "X", "the peak learning rate (default: by the model's width)"},                                         \
        {"schedule", "cosine|linear|constant", "of the learning rate (default: cosine)"},                              \
        {"lr-floor", "X", "the share of lr at the end (default: 0)"}, {"warmup-steps", "N", "steps of rising rate"},   \
        {"warmup-ratio", "X", "the same as a share of all steps"},                                                     \
        {"epochs", "N", "times over the data (default: by its size)"}, {"steps", "N", "end after so many steps"},      \
        {"batch-rows", "N", "rows of an optimiser step (default: by the data's size)"},                                \
        {"batch-tokens", "N", "positions that run together: memory and speed, never results"},                         \
        {"weight-decay", "X", "of AdamW (default: 0)"}, {"beta1", "X", "of AdamW (default: 0.9)"},                     \
        {"beta2", "X", "of AdamW (default: 0.999)"}, {"eps", "X", "of AdamW (default: 1e-8)"},                         \
        {"clip", "X", "the gradient's largest norm, 0: any (default: 1)"},                                             \
        {"no-shuffle", NULL, "rows in the order of the file"}, {"seed", "N", "of all randomness (default: 1)"}, {      \
        "memory-gb", "N", "refuse a run that needs more"                                                               \
    }

/* Options into t->config; false after a message. */
bool cli_train_read(const cli_args *args, cli_train *t);

/* Options, model and rows.  CLI_OK, else the exit status after a message; close in all cases. */
int cli_train_open(const cli_args *args, cli_train *t);
void cli_train_close(cli_train *t);

/* Rows of a file; after faults the message holds the first ten and how many more. */
int cli_train_load(const cli_args *args, hone_train_data *data, const char *path, const hone_data_rules *rules);

json_t *cli_train_plan_json(const hone_train_plan *plan);
void cli_train_plan_say(const hone_train_plan *plan, FILE *to);

#endif
