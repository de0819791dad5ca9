/* plan.c - hone plan: what serving or training will take, before anything runs.
 * Order: serve, train, the verb. */
#include <stdio.h>
#include <string.h>

#include "cli/train.h"
#include "cli/verbs.h"
#include "engine/engine.h"
#include "fleet/controller.h"
#include "fleet/copy.h"

/* The options of `hone serve` that decide over memory, and its defaults. */
static bool read_serve(const cli_args *args, hone_engine_config *cfg, uint32_t *copies) {
    const hone_controller_config usual = hone_controller_defaults();
    cfg->max_sequences = usual.engine.max_sequences;
    *copies = usual.copies;
    uint64_t kv_mb = 0, adapter_mb = 0;
    if (!cli_u32(args, "max-sequences", 1, 4096, &cfg->max_sequences) ||
        !cli_u32(args, "max-step-rows", 1, 65536, &cfg->max_step_rows) ||
        !cli_u32(args, "max-length", 1, 1u << 24, &cfg->max_length) || !cli_uint(args, "kv-mb", 1, 1u << 24, &kv_mb) ||
        !cli_uint(args, "adapter-mb", 1, 1u << 24, &adapter_mb) || !cli_u32(args, "copies", 1, 64, copies))
        return false;
    cfg->kv_bytes = kv_mb << 20;
    cfg->no_prefix = cli_has(args, "no-prefix");
    if (cli_has(args, "no-drafts")) cfg->max_draft = HONE_NO_DRAFT;
    cfg->adapter_bytes = adapter_mb << 20;
    return true;
}

static void say_bytes(const char *what, uint64_t bytes, const char *remark) {
    char t[CLI_TEXT];
    printf("%-9s %15llu B  %s%s\n", what, (unsigned long long)bytes, cli_bytes(bytes, t), remark);
}

static int plan_serve(const cli_args *args) {
    const char *name = cli_need(args, "model");
    if (!name) return CLI_USAGE;
    hone_engine_config cfg = {0};
    hone_precision precision;
    uint32_t threads = 0, copies;
    if (!cli_precision(args, &precision) || !cli_u32(args, "threads", 1, 1024, &threads) ||
        !read_serve(args, &cfg, &copies))
        return CLI_USAGE;
    if (!cli_kv_type(args, cli_get(args, "kv-type"), precision, &cfg.kv_type)) return CLI_USAGE;
    hone_resolved where;
    int rc = cli_model_resolve(&where, args, name);
    if (rc != CLI_OK) return rc;
    hone_error err = {.position = HONE_NO_POSITION};
    hone_model *model = NULL;
    hone_pool *pool = NULL;
    hone_status status = hone_pool_open(&pool, threads, &err);
    if (status == HONE_OK) status = hone_model_open_shape(&model, where.path, hone_kernels_best(), precision, &err);
    if (status == HONE_OK) {
        hone_memory_plan plan;
        hone_engine_plan(&plan, model, pool, &cfg);
        const hone_copy_process p =
            hone_copy_process_plan(hone_pool_threads(pool), cfg.max_sequences, model->arch.vocab);
        const uint64_t own = plan.kv + plan.scratch + p.own, shared = plan.weights + p.text;
        const uint64_t total = shared + copies * own;
        if (args->json) {
            rc = cli_print_json(args, json_pack("{s:s, s:i, s:i, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}}",
                                                "model", where.version, "copies", (int)copies, "max_sequences",
                                                (int)cfg.max_sequences, "memory_bytes", "weights",
                                                (json_int_t)plan.weights, "program", (json_int_t)p.text, "kv",
                                                (json_int_t)plan.kv, "scratch", (json_int_t)plan.scratch, "process",
                                                (json_int_t)p.own, "adapters", (json_int_t)plan.adapters, "copy",
                                                (json_int_t)own, "total", (json_int_t)total, "total_with_adapters",
                                                (json_int_t)(total + copies * plan.adapters)));
        } else {
            say_bytes("weights", plan.weights, ", laid for this machine; once for all copies");
            say_bytes("program", p.text, ", once for all copies");
            say_bytes("kv pages", plan.kv, ", each copy");
            say_bytes("scratch", plan.scratch, ", each copy");
            say_bytes("process", p.own, ", each copy");
            char remark[80];
            snprintf(remark, sizeof(remark), " for %u %s of %u sequences at once, no adapter resident", copies,
                     copies == 1 ? "copy" : "copies", cfg.max_sequences);
            say_bytes("total", total, remark);
            say_bytes("adapters", plan.adapters, " at most, each copy, as they are used");
        }
    }
    if (status != HONE_OK) rc = cli_fail(args, &err);
    hone_model_close(model);
    hone_pool_close(pool);
    hone_resolved_free(&where);
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
    {"copies", "N", "serve: of the model (1)"},
    {"max-sequences", "N", "serve: requests that one copy runs at once (32)"},
    {"max-step-rows", "N", "serve: tokens of one step at most"},
    {"max-length", "N", "serve: positions of one request at most (the model's context)"},
    {"kv-mb", "N", "serve: memory for keys and values of one copy, in MiB"},
    {"no-prefix", NULL, "serve: no prefix is kept"},
    {"no-drafts", NULL, "serve: one token a step and stream"},
    {"kv-type", "bf16|int8|f32", "serve: how keys and values are kept"},
    {"adapter-mb", "N", "serve: memory for resident adapters of one copy, in MiB"},
    CLI_MODEL_OPTIONS,
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_plan = {
    .name = "plan",
    .usage = "plan serve --model NAME [--copies N] [--max-sequences N] [--kv-mb N] ...\n"
             "plan train --model NAME --data FILE.jsonl [options of `hone train`] [--price X]",
    .about = "memory, time and cost, before anything runs",
    .example = "hone plan train --model smollm2 --data train.jsonl --price 0.10\nhone plan serve --model smollm2",
    .words = words,
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run_plan,
};
