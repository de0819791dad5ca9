/* plan.c - hone plan: what serving or training will take, before anything runs.
 * Order: serve, train, the verb. */
#include <stdio.h>
#include <string.h>

#include "cli/train.h"
#include "cli/verbs.h"
#include "engine/engine.h"

static int plan_serve(const cli_args *args) {
    const char *name = cli_need(args, "model");
    if (!name) return CLI_USAGE;
    cli_model m;
    int rc = cli_model_open(&m, args, name, CLI_WEIGHTS);
    if (rc == CLI_OK) {
        hone_engine_config cfg = hone_engine_defaults(m.model);
        uint64_t kv_mb = cfg.kv_bytes / 1000000;
        if (!cli_u32(args, "sequences", 1, 1u << 16, &cfg.max_sequences) ||
            !cli_u32(args, "length", 1, 1u << 28, &cfg.max_length) || !cli_uint(args, "kv-mb", 1, 1u << 30, &kv_mb) ||
            !cli_kv_type(args, cli_get(args, "kv-type"), m.precision, &cfg.kv_type)) {
            cli_model_close(&m);
            return CLI_USAGE;
        }
        if (cli_has(args, "kv-mb")) cfg.kv_bytes = kv_mb * 1000000;
        hone_memory_plan plan;
        hone_engine_plan(&plan, m.model, m.pool, &cfg);
        if (args->json) {
            rc =
                cli_print_json(args, json_pack("{s:s, s:i, s:i, s:{s:I, s:I, s:I, s:I, s:I}}", "model", m.where.version,
                                               "sequences", (int)cfg.max_sequences, "step_rows", (int)cfg.max_step_rows,
                                               "memory_bytes", "weights", (json_int_t)plan.weights, "kv",
                                               (json_int_t)plan.kv, "scratch", (json_int_t)plan.scratch, "adapters",
                                               (json_int_t)plan.adapters, "total", (json_int_t)plan.total));
        } else {
            char t[CLI_TEXT];
            printf("weights   %15llu B  %s, shared by all copies on the machine\n", (unsigned long long)plan.weights,
                   cli_bytes(plan.weights, t));
            printf("kv pages  %15llu B  %s\n", (unsigned long long)plan.kv, cli_bytes(plan.kv, t));
            printf("scratch   %15llu B  %s\n", (unsigned long long)plan.scratch, cli_bytes(plan.scratch, t));
            printf("adapters  %15llu B  %s at most\n", (unsigned long long)plan.adapters, cli_bytes(plan.adapters, t));
            printf("total     %15llu B  %s; %u sequences at once, steps of %u rows\n", (unsigned long long)plan.total,
                   cli_bytes(plan.total, t), cfg.max_sequences, cfg.max_step_rows);
        }
    }
    cli_model_close(&m);
    return rc;
}

static int plan_train(const cli_args *args) {
    cli_train t;
    int rc = cli_train_open(args, &t);
    if (rc == CLI_OK) {
        hone_error err = {0};
        hone_train_plan plan;
        double seconds = 0, price = 0;
        const hone_train_data *valid = t.valid.n ? &t.valid : NULL;
        hone_status status = hone_train_make_plan(&plan, t.model.model, t.model.pool, &t.config, &t.data, valid, &err);
        if (status == HONE_OK) {
            cli_progress(args, "measuring one micro-batch ...");
            status = hone_train_measure(&seconds, &plan, t.model.model, t.model.pool, &t.config, &t.data, &err);
            cli_progress(args, NULL);
        }
        if (status != HONE_OK) {
            rc = cli_fail(args, &err);
        } else if (!cli_real(args, "price", 0, 1e6, &price)) {
            rc = CLI_USAGE;
        } else if (args->json) {
            json_t *o = cli_train_plan_json(&plan);
            if (o) json_object_set_new(o, "seconds", json_real(seconds));
            if (o && cli_has(args, "price")) json_object_set_new(o, "cost", json_real(seconds / 3600 * price));
            rc = cli_print_json(args, o);
        } else {
            char took[CLI_TEXT];
            cli_train_plan_say(&plan, stdout);
            printf("about %s on this machine, by one micro-batch measured now\n", cli_seconds(seconds, took));
            if (cli_has(args, "price")) printf("cost %.4f at %g an hour\n", seconds / 3600 * price, price);
        }
    }
    cli_train_close(&t);
    return rc;
}

static int run_plan(const cli_args *args) {
    return strcmp(args->word[0], "serve") == 0 ? plan_serve(args) : plan_train(args);
}

static const char *const words[] = {"serve", "train", NULL};

static const cli_option options[] = {
    CLI_TRAIN_OPTIONS,
    {"price", "X", "train: of an hour of this machine, for the cost"},
    {"sequences", "N", "serve: sequences at once"},
    {"length", "N", "serve: positions of one sequence at most"},
    {"kv-mb", "N", "serve: memory for keys and values"},
    {"kv-type", "bf16|int8|f32", "serve: how keys and values are kept"},
    CLI_MODEL_OPTIONS,
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_plan = {
    .name = "plan",
    .usage = "plan serve --model NAME [--sequences N] [--length N] [--kv-mb N] [--kv-type T]\n"
             "plan train --model NAME --data FILE.jsonl [options of `hone train`] [--price X]",
    .about = "memory, time and cost, before anything runs",
    .example = "hone plan train --model smollm2 --data train.jsonl --price 0.10\nhone plan serve --model smollm2",
    .words = words,
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run_plan,
};
