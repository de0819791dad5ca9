/* train.c - hone train: a fine-tuning run in the foreground; and hone plan train: the same up to its first step.
 * Order: options to configuration, reporting, publishing, the run, the verbs' descriptions. */
#include "cli/train.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/model.h"
#include "cli/verbs.h"
#include "train/trainer.h"

/* Options to configuration -----------------------------------------------------------------------------------------*/

static bool read_modules(const cli_args *args, bool target[HONE_MOD_COUNT]) {
    const char *list = cli_get(args, "modules");
    if (!list) return true;
    memset(target, 0, HONE_MOD_COUNT * sizeof(*target));
    while (*list) {
        const size_t n = strcspn(list, ",");
        bool known = false;
        for (int m = 0; m < HONE_MOD_COUNT; m++) {
            const char *name = hone_module_name((hone_module)m);
            if (strlen(name) == n && memcmp(name, list, n) == 0) known = target[m] = true;
        }
        if (!known) {
            cli_usage(args,
                      "--modules: '%.*s' is none of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
                      (int)n, list);
            return false;
        }
        list += n + (list[n] == ',');
    }
    return true;
}

/* An object of JSON, in the option itself or in the file that it names. */
static bool read_pattern(const cli_args *args, const char *name, json_t **out) {
    const char *text = cli_get(args, name);
    hone_error err = {0};
    if (!text) return true;
    *out = text[0] == '{' ? hone_json_parse(text, strlen(text), &err) : hone_json_load(text, &err);
    if (json_is_object(*out)) return true;
    cli_usage(args, "--%s: %s", name, *out ? "must be a JSON object" : err.message);
    return false;
}

static bool read_real32(const cli_args *args, const char *name, double min, double max, float *out) {
    double wide = (double)*out;
    if (!cli_real(args, name, min, max, &wide)) return false;
    *out = (float)wide;
    return true;
}

static bool read_schedule(const cli_args *args, hone_schedule *out) {
    static const char *const names[] = {"constant", "linear", "cosine"};
    static const hone_schedule values[] = {HONE_SCHEDULE_CONSTANT, HONE_SCHEDULE_LINEAR, HONE_SCHEDULE_COSINE};
    const char *text = cli_get(args, "schedule");
    if (!text) return true;
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = values[i];
            return true;
        }
    cli_usage(args, "--schedule %s: must be constant, linear or cosine", text);
    return false;
}

static bool read_lora(const cli_args *args, hone_train_config *c, cli_train *t) {
    const char *method = cli_get(args, "method");
    if (method && strcmp(method, "lora") != 0) {
        cli_usage(args, "--method %s: this version trains lora", method);
        return false;
    }
    if (!cli_u32(args, "rank", 1, 4096, &c->lora.rank)) return false;
    /* Twice the rank unless asked otherwise, so that the scale stays what it is when the rank changes. */
    if (cli_has(args, "rank") && !cli_has(args, "alpha")) c->lora.alpha = 2 * (float)c->lora.rank;
    if (!read_real32(args, "alpha", 1e-6, 1e6, &c->lora.alpha) ||
        !read_real32(args, "dropout", 0, 0.99, &c->lora.dropout))
        return false;
    if (cli_has(args, "rslora")) c->lora.rslora = true;
    if (!read_modules(args, c->lora.target) || !read_pattern(args, "rank-pattern", &t->rank_pattern) ||
        !read_pattern(args, "alpha-pattern", &t->alpha_pattern))
        return false;
    c->lora.rank_pattern = t->rank_pattern;
    c->lora.alpha_pattern = t->alpha_pattern;
    c->init_adapter = cli_get(args, "init-adapter");
    return true;
}

bool cli_train_read(const cli_args *args, cli_train *t) {
    hone_train_config *c = &t->config;
    uint64_t warmup = 0, gigabytes = 0;
    *c = hone_train_defaults();
    if (!read_lora(args, c, t) || !read_schedule(args, &c->schedule) ||
        !cli_uint(args, "seed", 0, UINT64_MAX, &c->seed) || !cli_u32(args, "epochs", 1, 1000000, &c->epochs) ||
        !cli_u32(args, "batch-rows", 1, 1u << 20, &c->batch_rows) ||
        !cli_u32(args, "batch-tokens", 1, 1u << 24, &c->micro_tokens) ||
        !cli_uint(args, "steps", 1, 1ull << 40, &c->max_steps))
        return false;
    if (!cli_real(args, "lr", 1e-12, 10, &c->lr) || !cli_real(args, "lr-floor", 0, 1, &c->lr_floor) ||
        !cli_real(args, "warmup-ratio", 0, 1, &c->warmup_ratio) ||
        !cli_real(args, "beta1", 0, 0.999999, &c->adamw.beta1) ||
        !cli_real(args, "beta2", 0, 0.9999999, &c->adamw.beta2) || !cli_real(args, "eps", 1e-30, 1, &c->adamw.eps) ||
        !cli_real(args, "weight-decay", 0, 10, &c->adamw.weight_decay) || !cli_real(args, "clip", 0, 1e9, &c->clip))
        return false;
    if (!cli_uint(args, "warmup-steps", 0, 1ull << 40, &warmup) ||
        !cli_uint(args, "memory-gb", 1, 1u << 20, &gigabytes) ||
        !cli_real(args, "checkpoint-seconds", 0, 1e9, &c->checkpoint_seconds) ||
        !cli_uint(args, "checkpoint-steps", 0, 1ull << 40, &c->checkpoint_steps))
        return false;
    if (cli_has(args, "warmup-steps")) c->warmup_steps = (int64_t)warmup;
    c->memory_bytes = gigabytes * 1000000000u;
    if (cli_has(args, "no-shuffle")) c->shuffle = false;
    c->lora.seed = c->seed;
    c->resume = cli_has(args, "resume");
    c->keep_epochs = cli_has(args, "keep-epochs");
    c->out_dir = cli_get(args, "out");
    return true;
}

int cli_train_load(const cli_args *args, hone_train_data *data, const char *path, const hone_data_rules *rules) {
    hone_data_faults faults = {0};
    hone_error err = {0};
    if (hone_data_load(data, path, rules, &faults, &err) == HONE_OK) return CLI_OK;
    hone_buf text = {0};
    const int rc = faults.total && hone_data_faults_text(&faults, &text)
                       ? cli_fail_text(args, "%s: %s", path, hone_buf_str(&text))
                       : cli_fail(args, &err);
    hone_buf_free(&text);
    return rc;
}

int cli_train_open(const cli_args *args, cli_train *t) {
    *t = (cli_train){0};
    const char *name = cli_need(args, "model"), *data = cli_need(args, "data"), *valid = cli_get(args, "valid");
    if (!name || !data || !cli_train_read(args, t)) return CLI_USAGE;
    const int rc = cli_model_open(&t->model, args, name, CLI_WEIGHTS);
    if (rc != CLI_OK) return rc;
    hone_error err = {0};
    /* Rows of tokens need no tokenizer; where there is a faulty one, the rows that need it say so. */
    if (hone_text_open(&t->model.text, t->model.where.path, &err) != HONE_OK) {
        cli_say(args, "no text side, only rows of tokens can be trained: %s", err.message);
        t->model.text = NULL;
    }
    const hone_text *text = t->model.text;
    const hone_data_rules rules = {.tokenizer = text ? text->tokenizer : NULL,
                                   .template = text ? text->chat : NULL,
                                   .special_tokens = text ? text->special_tokens : NULL,
                                   .vocab = t->model.model->arch.vocab,
                                   .max_length = t->model.model->arch.max_position};
    cli_progress(args, "reading %s ...", data);
    int loaded = cli_train_load(args, &t->data, data, &rules);
    if (loaded == CLI_OK && valid) loaded = cli_train_load(args, &t->valid, valid, &rules);
    cli_progress(args, NULL);
    t->config.base_name = t->model.where.base;
    return loaded;
}

void cli_train_close(cli_train *t) {
    hone_data_free(&t->data);
    hone_data_free(&t->valid);
    json_decref(t->rank_pattern);
    json_decref(t->alpha_pattern);
    cli_model_close(&t->model);
}

json_t *cli_train_plan_json(const hone_train_plan *p) {
    return json_pack("{s:I, s:I, s:i, s:i, s:i, s:f, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I}}", "steps",
                     (json_int_t)p->steps, "warmup_steps", (json_int_t)p->warmup_steps, "epochs", (int)p->epochs,
                     "batch_rows", (int)p->batch_rows, "batch_tokens", (int)p->micro_tokens, "lr", p->lr, "rows",
                     (json_int_t)p->rows, "tokens", (json_int_t)p->tokens, "trained_tokens",
                     (json_int_t)p->trained_tokens, "trained_parameters", (json_int_t)p->parameters, "memory_bytes",
                     "weights", (json_int_t)p->weight_bytes, "adapter_and_optimiser", (json_int_t)p->adapter_bytes,
                     "activations", (json_int_t)p->pass.total, "data", (json_int_t)p->data_bytes, "total",
                     (json_int_t)p->total_bytes);
}

void cli_train_plan_say(const hone_train_plan *p, FILE *to) {
    char total[CLI_TEXT], weights[CLI_TEXT], adapter[CLI_TEXT], pass[CLI_TEXT];
    fprintf(to, "%llu rows, %llu tokens, %llu of them trained; %u epochs of %llu steps in all, %u rows a step, lr %g\n",
            (unsigned long long)p->rows, (unsigned long long)p->tokens, (unsigned long long)p->trained_tokens,
            p->epochs, (unsigned long long)p->steps, p->batch_rows, p->lr);
    fprintf(to, "%llu trained parameters; memory %s: weights %s, adapter and optimiser %s, activations %s\n",
            (unsigned long long)p->parameters, cli_bytes(p->total_bytes, total), cli_bytes(p->weight_bytes, weights),
            cli_bytes(p->adapter_bytes, adapter), cli_bytes(p->pass.total, pass));
}

/* Reporting --------------------------------------------------------------------------------------------------------*/

static atomic_bool stop;

static void on_signal(int number) {
    (void)number;
    atomic_store(&stop, true);
}

typedef struct {
    const cli_args *args;
    FILE *log;
    hone_train_plan plan;
    double said_at;
} report;

static hone_status on_plan(void *arg, const hone_train_plan *plan, uint64_t first_step, hone_error *err) {
    (void)err;
    report *r = arg;
    r->plan = *plan;
    if (!r->args->quiet) cli_train_plan_say(plan, stderr);
    if (first_step > 1) cli_say(r->args, "going on at step %llu", (unsigned long long)first_step);
    return HONE_OK;
}

static hone_status on_step(void *arg, const hone_train_step *s, hone_error *err) {
    report *r = arg;
    if (r->log) {
        fprintf(r->log,
                "{\"step\":%llu,\"loss\":%.9g,\"lr\":%.9g,\"grad_norm\":%.9g,\"tokens\":%llu,\"trained_tokens\":%llu,"
                "\"seconds\":%.6g,\"rss_bytes\":%llu}\n",
                (unsigned long long)s->step, s->loss, s->lr, s->grad_norm, (unsigned long long)s->tokens,
                (unsigned long long)s->trained_tokens, s->seconds, (unsigned long long)s->rss_bytes);
        if (fflush(r->log) != 0) return hone_fail(err, HONE_ERR_IO, "cannot write the log");
    }
    char left[CLI_TEXT];
    cli_progress(r->args, "step %llu of %llu, loss %.4f, %.0f tokens/s, %s left", (unsigned long long)s->step,
                 (unsigned long long)s->steps, s->loss, s->tokens_per_second, cli_seconds(s->seconds_left, left));
    /* Where nobody watches a line that changes, one every ten seconds. */
    if (!cli_terminal() && hone_clock_seconds() - r->said_at >= 10) {
        r->said_at = hone_clock_seconds();
        cli_say(r->args, "step %llu of %llu, loss %.4f, %.0f tokens/s, %s left", (unsigned long long)s->step,
                (unsigned long long)s->steps, s->loss, s->tokens_per_second, left);
    }
    return HONE_OK;
}

static hone_status on_epoch(void *arg, const hone_train_epoch *e, hone_error *err) {
    (void)err;
    report *r = arg;
    if (e->has_valid)
        cli_say(r->args, "epoch %u: train loss %.4f, valid loss %.4f, valid accuracy %.3f", e->epoch, e->train_loss,
                e->valid_loss, e->valid_accuracy);
    else
        cli_say(r->args, "epoch %u: train loss %.4f", e->epoch, e->train_loss);
    return HONE_OK;
}

/* Publishing -------------------------------------------------------------------------------------------------------*/

static bool suffix_fits(const char *suffix) {
    const size_t n = strlen(suffix);
    return n >= 1 && n <= 64 &&
           strspn(suffix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* The adapter becomes a version of the base, as a job of the server would make it. */
static hone_status publish(const cli_args *args, const cli_train *t, const char *folder, char id[256],
                           hone_error *err) {
    hone_store *store = NULL;
    char *home = cli_home(args);
    char *config = hone_path_join(folder, "adapter_config.json");
    char *weights = hone_path_join(folder, "adapter_model.safetensors");
    char config_digest[HONE_DIGEST_TEXT], weights_digest[HONE_DIGEST_TEXT], unique[HONE_ID_MAX];
    uint64_t bytes = 0;
    hone_status status = HONE_ERR_NOMEM;
    if (!home || !config || !weights)
        hone_fail(err, HONE_ERR_NOMEM, "no memory");
    else
        status = hone_store_open(&store, home, HONE_HOME_GUEST, err);
    if (status == HONE_OK)
        status = hone_artifact_add_path(hone_store_artifacts(store), config, config_digest, NULL, err);
    if (status == HONE_OK)
        status = hone_artifact_add_path(hone_store_artifacts(store), weights, weights_digest, &bytes, err);
    if (status == HONE_OK) {
        hone_id_make("", unique);
        const char *suffix = cli_get(args, "suffix");
        snprintf(id, 256, "ft:%s:org:%s:%.8s", t->model.where.base, suffix ? suffix : "", unique);
        const hone_rec_version version = {.id = id,
                                          .base = t->model.where.base,
                                          .base_digest = t->model.model->digest,
                                          .config_digest = config_digest,
                                          .weights_digest = weights_digest,
                                          .bytes = (int64_t)bytes,
                                          .created_at = hone_clock_unix()};
        status = hone_store_version_add(store, &version, err);
    }
    hone_store_close(store);
    hone_free(home);
    hone_free(config);
    hone_free(weights);
    return status;
}

/* The store has both files now; the folder was only the run's. */
static void clear_folder(const char *folder) {
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
    for (int i = 0; i < 2; i++) {
        char *path = hone_path_join(folder, names[i]);
        if (path) unlink(path);
        hone_free(path);
    }
    rmdir(folder); /* stays where --keep-epochs left something in it */
}

/* The run ----------------------------------------------------------------------------------------------------------*/

static int finish(const cli_args *args, const report *r, const hone_train_result *result, const char *version,
                  const char *folder) {
    if (args->json)
        return cli_print_json(
            args,
            json_pack("{s:s?, s:s?, s:s, s:I, s:f, s:f, s:f, s:I, s:I, s:f, s:I, s:o}", "model", version, "out", folder,
                      "digest", result->adapter->digest, "steps", (json_int_t)result->steps, "loss", result->last_loss,
                      "valid_loss", result->valid_loss, "seconds", result->seconds, "tokens",
                      (json_int_t)result->tokens, "trained_tokens", (json_int_t)result->trained_tokens,
                      "tokens_per_second", result->seconds > 0 ? (double)result->tokens / result->seconds : 0.0,
                      "peak_rss_bytes", (json_int_t)result->peak_rss_bytes, "plan", cli_train_plan_json(&r->plan)));
    char took[CLI_TEXT], peak[CLI_TEXT];
    cli_say(args, "%llu steps in %s, loss %.4f, peak memory %s", (unsigned long long)result->steps,
            cli_seconds(result->seconds, took), result->last_loss, cli_bytes(result->peak_rss_bytes, peak));
    printf("%s\n", version ? version : folder);
    return CLI_OK;
}

static int train_run(const cli_args *args, cli_train *t) {
    report r = {.args = args};
    hone_error err = {0};
    hone_train_result result = {0};
    char version[256] = "", *kept = NULL;
    const char *log = cli_get(args, "log");
    if (log && !(r.log = fopen(log, t->config.resume ? "a" : "w")))
        return cli_fail_text(args, "%s: cannot write there", log);
    if (!t->config.out_dir) { /* a run that is to be published needs a folder meanwhile, the same one for --resume */
        char *home = cli_home(args);
        hone_buf path = {0};
        if (home) hone_buf_format(&path, "%s/train/%.16s", home, t->data.digest);
        hone_free(home);
        t->config.out_dir = kept = hone_buf_take(&path, NULL);
    }
    if (!t->config.out_dir || hone_folder_make(t->config.out_dir, &err) != HONE_OK) {
        if (r.log) fclose(r.log);
        hone_free(kept);
        return err.message[0] ? cli_fail(args, &err) : CLI_FAILED;
    }
    const hone_train_hooks hooks = {.arg = &r, .on_plan = on_plan, .on_step = on_step, .on_epoch = on_epoch};
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    hone_status status = hone_train_run(&result, t->model.model, t->model.pool, &t->config, &t->data,
                                        t->data.n && t->valid.n ? &t->valid : NULL, &hooks, &stop, &err);
    cli_progress(args, NULL);
    if (status == HONE_OK && (!cli_has(args, "out") || cli_has(args, "suffix")))
        status = publish(args, t, t->config.out_dir, version, &err);
    int rc;
    if (status == HONE_ERR_CANCELLED)
        rc = cli_fail_text(args, "stopped; the same command with --resume goes on from the checkpoint in %s",
                           t->config.out_dir);
    else if (status != HONE_OK)
        rc = cli_fail(args, &err);
    else
        rc = finish(args, &r, &result, version[0] ? version : NULL, cli_get(args, "out"));
    hone_adapter_free(result.adapter);
    if (kept && rc == CLI_OK) clear_folder(kept);
    if (r.log && fclose(r.log) != 0 && rc == CLI_OK) rc = cli_fail_text(args, "%s: cannot write the log", log);
    hone_free(kept);
    return rc;
}

static int run_train(const cli_args *args) {
    const char *suffix = cli_get(args, "suffix");
    if (suffix && !suffix_fits(suffix)) return cli_usage(args, "--suffix %s: up to 64 of A-Z a-z 0-9 . _ -", suffix);
    cli_train t;
    int rc = cli_train_open(args, &t);
    if (rc == CLI_OK) rc = train_run(args, &t);
    cli_train_close(&t);
    return rc;
}

static const cli_option options[] = {
    CLI_TRAIN_OPTIONS,
    {"suffix", "S", "becomes part of the version's name, ft:BASE:org:S:ID"},
    {"resume", NULL, "go on from the checkpoint of the same run"},
    {"out", "DIR", "leave PEFT's two files there; without it the adapter becomes a version here"},
    {"log", "FILE", "a line of JSON for each step"},
    {"keep-epochs", NULL, "keep the adapter of every epoch in DIR/epoch-N"},
    {"checkpoint-seconds", "S", "at most so long between two checkpoints"},
    {"checkpoint-steps", "N", "a checkpoint every N steps"},
    CLI_MODEL_OPTIONS,
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_train = {
    .name = "train",
    .usage = "train --model NAME --data FILE.jsonl [--valid FILE] [--suffix S] [--out DIR] [--resume] [options]",
    .about = "fine-tune a model on your rows, in the foreground",
    .example = "hone train --model smollm2 --data train.jsonl --valid valid.jsonl --suffix titles\n"
               "hone train --model smollm2 --data train.jsonl --out adapter --rank 16 --lr 5e-4 --epochs 1",
    .more =
        "Rows are OpenAI's chat rows, {\"prompt\", \"completion\"} or {\"tokens\", \"labels\"}; `hone inspect masks` "
        "shows what\n"
        "would be trained, `hone plan train` what it costs.  Killed at any moment, --resume ends in the same adapter.",
    .options = options,
    .run = run_train,
};
