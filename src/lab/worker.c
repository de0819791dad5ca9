/* worker.c - one fine-tuning job in a process of its own; the contract is in worker.h.
 * Order: printing, what a job stands on, its settings, the check, the training. */
#include "lab/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "lab/registry.h"
#include "model/text.h"
#include "model/tile_cache.h"
#include "train/trainer.h"

static atomic_bool stop_wanted;

static void on_term(int signal_number) {
    (void)signal_number;
    atomic_store(&stop_wanted, true);
}

/* ---- Printing ---- */

/* Takes value.  A reader that is gone is not this side's trouble: SIGPIPE is ignored, the run goes on to its
 * checkpoint. */
static void print(const char *kind, json_t *value) {
    json_t *line = json_pack("{s:o}", kind, value ? value : json_null());
    hone_buf text = {0};
    if (line && hone_json_write(line, &text) && hone_buf_char(&text, '\n')) {
        fwrite(text.data, 1, text.n, stdout);
        fflush(stdout);
    }
    hone_buf_free(&text);
    json_decref(line);
}

static void failed_text(const char *code, const char *param, const char *message) {
    print("failed", json_pack("{s:s, s:s, s:s?}", "code", code, "message", message, "param", param));
}

static int failed(const char *code, const char *param, const hone_error *err) {
    failed_text(code, param, err->message);
    return 1;
}

/* ---- What a job stands on ---- */

typedef struct {
    hone_store *store;
    hone_rec_job job;
    hone_resolved base;
    hone_text *text;
    hone_model_info info;
    hone_train_data train, valid;
    bool has_valid;
} bench;

static void clear(bench *b) {
    hone_data_free(&b->train);
    hone_data_free(&b->valid);
    hone_model_info_free(&b->info);
    hone_text_close(b->text);
    hone_resolved_free(&b->base);
    hone_rec_job_free(&b->job);
    hone_store_close(b->store);
}

/* faults: what the message has no room for. */
static hone_status load_file(bench *b, const char *file_id, hone_train_data *out, hone_data_faults *faults,
                             hone_error *err) {
    hone_rec_file f;
    hone_status status = hone_store_file_get(b->store, file_id, &f, err);
    if (status != HONE_OK) return status;
    char *path = hone_artifact_path(hone_store_artifacts(b->store), f.digest);
    const hone_data_rules rules = {.tokenizer = b->text->tokenizer,
                                   .template = b->text->chat,
                                   .special_tokens = b->text->special_tokens,
                                   .vocab = b->info.arch.vocab,
                                   .max_length = b->info.arch.max_position};
    status =
        path ? hone_data_load(out, path, &rules, faults, err) : hone_fail(err, HONE_ERR_NOMEM, "no memory for a path");
    hone_free(path);
    hone_rec_file_free(&f);
    return status;
}

/* Store, job, base and rows; prints what failed and returns false. */
static bool prepare(bench *b, const char *home, const char *id) {
    hone_error err = {.position = HONE_NO_POSITION};
    hone_data_faults faults = {0};
    signal(SIGPIPE, SIG_IGN);
    const char *code = "internal_error", *param = NULL;
    hone_status status = hone_store_open(&b->store, home, HONE_HOME_GUEST, &err);
    if (status == HONE_OK) status = hone_store_job_get(b->store, id, &b->job, &err);
    if (status == HONE_OK) {
        code = "model_unusable";
        param = "model";
        status = hone_registry_resolve(b->store, b->job.model, false, &b->base, &err);
    }
    if (status == HONE_OK) status = hone_model_inspect(&b->info, b->base.path, &err);
    if (status == HONE_OK) status = hone_text_open(&b->text, b->base.path, &err);
    if (status == HONE_OK)
        status = hone_arch_check_vocabulary(&b->info.arch, (uint64_t)hone_tokenizer_size(b->text->tokenizer), &err);
    if (status == HONE_OK) {
        code = "invalid_training_file";
        param = "training_file";
        status = load_file(b, b->job.training_file, &b->train, &faults, &err);
    }
    if (status == HONE_OK && b->job.validation_file) {
        code = "invalid_validation_file";
        param = "validation_file";
        b->has_valid = true;
        status = load_file(b, b->job.validation_file, &b->valid, &faults, &err);
    }
    if (status == HONE_OK) return true;
    hone_buf text = {0};
    if (faults.total && hone_data_faults_text(&faults, &text))
        failed_text(code, param, hone_buf_str(&text));
    else
        failed_text(code, param, err.message);
    hone_buf_free(&text);
    return false;
}

/* ---- Settings ---- */

static double number_of(const json_t *h, const char *name) {
    return json_number_value(json_object_get(h, name));
}

/* OpenAI's three, from the job's hyperparameters ("auto" stays 0), and the ones of ours beside them. */
static void settle(hone_train_config *cfg, const bench *b) {
    json_t *h =
        b->job.hyperparameters ? hone_json_parse(b->job.hyperparameters, strlen(b->job.hyperparameters), NULL) : NULL;
    *cfg = hone_train_defaults();
    cfg->seed = (uint64_t)b->job.seed;
    cfg->lora.seed = cfg->seed;
    cfg->base_name = b->base.base;
    cfg->epochs = (uint32_t)number_of(h, "n_epochs");
    cfg->batch_rows = (uint32_t)number_of(h, "batch_size");
    if (number_of(h, "learning_rate_multiplier") > 0) cfg->lr_multiplier = number_of(h, "learning_rate_multiplier");
    cfg->keep_epochs = true;
    cfg->checkpoint_seconds = 20;
    cfg->resume = true;
    json_decref(h);
}

/* ---- The check ---- */

int hone_work_check(const char *home, const char *id, hone_precision precision) {
    (void)precision;
    bench b = {0};
    int rc = 1;
    if (prepare(&b, home, id)) {
        print("ok", json_pack("{s:I, s:I, s:I}", "rows", (json_int_t)b.train.n, "tokens", (json_int_t)b.train.n_tokens,
                              "trained_tokens", (json_int_t)b.train.n_trained));
        rc = 0;
    }
    clear(&b);
    return rc;
}

/* ---- The training ---- */

static hone_status on_plan(void *arg, const hone_train_plan *p, uint64_t first_step, hone_error *err) {
    (void)err;
    const hone_train_config *cfg = arg;
    print("plan", json_pack("{s:I, s:i, s:i, s:f, s:f, s:I, s:I, s:I}", "steps", (json_int_t)p->steps, "epochs",
                            (int)p->epochs, "batch_size", (int)p->batch_rows, "learning_rate", p->lr,
                            "learning_rate_multiplier", cfg->lr_multiplier, "first_step", (json_int_t)first_step,
                            "memory_bytes", (json_int_t)p->total_bytes, "parameters", (json_int_t)p->parameters));
    return HONE_OK;
}

static hone_status on_step(void *arg, const hone_train_step *s, hone_error *err) {
    (void)arg;
    (void)err;
    print("step",
          json_pack("{s:I, s:I, s:i, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:f, s:f, s:I}", "step", (json_int_t)s->step,
                    "steps", (json_int_t)s->steps, "epoch", (int)s->epoch, "loss", s->loss, "lr", s->lr, "grad_norm",
                    s->grad_norm, "accuracy", s->accuracy, "tokens", (json_int_t)s->tokens, "trained_tokens",
                    (json_int_t)s->trained_tokens, "seconds", s->seconds, "tokens_per_second", s->tokens_per_second,
                    "seconds_left", s->seconds_left, "rss_bytes", (json_int_t)s->rss_bytes));
    return HONE_OK;
}

static hone_status on_epoch(void *arg, const hone_train_epoch *e, hone_error *err) {
    (void)arg;
    (void)err;
    json_t *m = json_pack("{s:I, s:f}", "step", (json_int_t)e->step, "train_loss", e->train_loss);
    if (m && e->has_valid) {
        json_object_set_new(m, "full_valid_loss", json_real(e->valid_loss));
        json_object_set_new(m, "full_valid_mean_token_accuracy", json_real(e->valid_accuracy));
    }
    print("epoch", json_pack("{s:i, s:I, s:s?, s:o}", "epoch", (int)e->epoch, "step", (json_int_t)e->step, "folder",
                             e->folder, "metrics", m));
    return HONE_OK;
}

int hone_work_train(const char *home, const char *id, hone_precision precision) {
    bench b = {0};
    hone_error err = {.position = HONE_NO_POSITION};
    char *tiles_folder = NULL, *tiles = NULL, *out_dir = NULL;
    hone_model *model = NULL;
    hone_pool *pool = NULL;
    hone_train_result result = {0};
    int rc = 1;
    signal(SIGTERM, on_term);
    if (!prepare(&b, home, id)) goto done;
    hone_train_config cfg;
    settle(&cfg, &b);
    hone_buf path = {0};
    hone_buf_format(&path, "%s/job/%s", hone_home_path(hone_store_home(b.store)), id);
    out_dir = hone_buf_take(&path, NULL);
    hone_buf_format(&path, "%s/tile", hone_home_path(hone_store_home(b.store)));
    tiles_folder = hone_buf_take(&path, NULL);
    hone_status status = out_dir && tiles_folder ? HONE_OK : hone_fail(&err, HONE_ERR_NOMEM, "no memory for a path");
    if (status == HONE_OK) status = hone_folder_make(out_dir, &err);
    if (status == HONE_OK) status = hone_tile_cache_get(b.base.path, tiles_folder, precision, &tiles, &err);
    const int fd = status == HONE_OK ? open(tiles, O_RDONLY | O_CLOEXEC) : -1;
    if (status == HONE_OK) status = hone_model_map_tiles(&model, fd, tiles, &err);
    if (fd >= 0) close(fd);
    if (status == HONE_OK) status = hone_pool_open(&pool, 0, &err);
    if (status == HONE_OK) {
        cfg.out_dir = out_dir;
        const hone_train_hooks hooks = {.arg = &cfg, .on_plan = on_plan, .on_step = on_step, .on_epoch = on_epoch};
        status = hone_train_run(&result, model, pool, &cfg, &b.train, b.has_valid ? &b.valid : NULL, &hooks,
                                &stop_wanted, &err);
    }
    if (status == HONE_OK) {
        hone_train_plan plan;
        uint64_t trained = result.trained_tokens;
        /* Of the whole run, also of what a former process did. */
        if (hone_train_make_plan(&plan, model, pool, &cfg, &b.train, NULL, NULL) == HONE_OK)
            trained = plan.trained_tokens * plan.epochs;
        print("done", json_pack("{s:I, s:f, s:f, s:I, s:I}", "steps", (json_int_t)result.steps, "loss",
                                result.last_loss, "seconds", result.seconds, "trained_tokens", (json_int_t)trained,
                                "peak_rss_bytes", (json_int_t)result.peak_rss_bytes));
        rc = 0;
    } else if (status == HONE_ERR_CANCELLED) {
        rc = 3;
    } else {
        rc = failed(status == HONE_ERR_LIMIT  ? "out_of_memory"
                    : status == HONE_ERR_FULL ? "disk_full"
                                              : "training_failed",
                    NULL, &err);
    }
done:
    hone_adapter_free(result.adapter);
    hone_model_close(model);
    hone_pool_close(pool);
    hone_free(tiles);
    hone_free(tiles_folder);
    hone_free(out_dir);
    clear(&b);
    return rc;
}
