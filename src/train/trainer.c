/* trainer.c - the run; the contract is in trainer.h.
 *
 * The state between two steps is (step, adapter, moments, sums of the epoch): what a checkpoint holds.  An epoch's end
 * (validation, its event, its checkpoint) belongs to its last step: a run that is killed in between does it again.
 * Order: memory, checkpoints, one step, validation, epochs, the run. */
#include "train/trainer.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "train/checkpoint.h"
#include "train/pack.h"
#include "train/trainer_parts.h"

typedef struct {
    const hone_model *model;
    hone_pool *pool;
    const hone_train_config *cfg;
    const hone_train_data *train, *valid;
    const hone_train_hooks *hooks;
    const atomic_bool *stop;
    hone_train_plan plan;
    hone_adapter *adapter;
    hone_pass *pass;
    hone_lora_grad grad;
    float *m, *v;         /* [grad.n] moments */
    double *square;       /* [2 * n_module] */
    uint32_t *order;      /* [max of rows] */
    uint32_t order_epoch; /* of order, from 1; 0: not yet */
    char *settings, *checkpoint_path;
    hone_checkpoint_state state;
    uint64_t steps_per_epoch;
    double last_checkpoint; /* clock */
    double seconds;         /* of the steps of this process */
    uint64_t tokens, trained;
    uint64_t recent_tokens;
    double recent_seconds;
    double scale; /* of the gradient at hand, by clipping */
    double lr;
} trainer;

/* ---- Memory ---- */

static uint64_t rss_now(void) {
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2) resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t rss_peak(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024u : 0;
}

/* Each matrix of the adapter beside where it stands in a flat array. */
static void copy_adapter(trainer *t, bool out) {
    for (uint32_t i = 0; i < t->grad.n_module; i++) {
        const hone_lora *lora = &t->adapter->lora[i / HONE_MOD_COUNT][i % HONE_MOD_COUNT];
        if (lora->rank == 0) continue;
        const hone_weight *w = &t->model->layer[i / HONE_MOD_COUNT].linear[i % HONE_MOD_COUNT].w;
        const size_t na = (size_t)lora->rank * w->k * sizeof(float), nb = (size_t)lora->rank * w->n * sizeof(float);
        memcpy(out ? t->grad.a[i] : lora->a, out ? lora->a : t->grad.a[i], na);
        memcpy(out ? t->grad.b[i] : lora->b, out ? lora->b : t->grad.b[i], nb);
    }
}

static hone_status open_all(trainer *t, hone_error *err) {
    hone_pass_config cut;
    hone_buf settings = {0};
    hone_status st = trainer_adapter(&t->adapter, t->model, t->cfg, err);
    if (st == HONE_OK)
        st = trainer_plan(&t->plan, &cut, t->model, t->adapter, t->pool, t->cfg, t->train, t->valid, err);
    if (st != HONE_OK) return st;
    t->steps_per_epoch = (t->train->n + t->plan.batch_rows - 1) / t->plan.batch_rows;
    trainer_settings(&settings, &t->plan, t->model, t->adapter, t->cfg, t->train);
    t->settings = hone_buf_take(&settings, NULL);
    if ((st = hone_lora_grad_open(&t->grad, t->model, t->adapter, err)) != HONE_OK) return st;
    const size_t n = t->valid && t->valid->n > t->train->n ? t->valid->n : t->train->n;
    t->m = hone_zalloc(t->grad.n, sizeof(*t->m));
    t->v = hone_zalloc(t->grad.n, sizeof(*t->v));
    t->square = hone_zalloc((size_t)t->grad.n_module * 2, sizeof(*t->square));
    t->order = hone_zalloc(n, sizeof(*t->order));
    if (t->cfg->out_dir) t->checkpoint_path = hone_path_join(t->cfg->out_dir, "checkpoint.hone");
    if (!t->settings || !t->m || !t->v || !t->square || !t->order || (t->cfg->out_dir && !t->checkpoint_path))
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a trainer");
    return hone_pass_open(&t->pass, t->model, t->adapter, t->pool, &cut, err);
}

static void close_all(trainer *t) {
    hone_pass_close(t->pass);
    hone_lora_grad_close(&t->grad);
    hone_free(t->m);
    hone_free(t->v);
    hone_free(t->square);
    hone_free(t->order);
    hone_free(t->settings);
    hone_free(t->checkpoint_path);
    hone_adapter_free(t->adapter);
}

/* ---- Checkpoints; the gradient is free between steps and lends its memory ---- */

static hone_status write_checkpoint(trainer *t, hone_error *err) {
    if (!t->checkpoint_path) return HONE_OK;
    const double begin = hone_clock_seconds();
    copy_adapter(t, true);
    hone_status st =
        hone_checkpoint_write(t->checkpoint_path, t->settings, &t->state, t->grad.data, t->m, t->v, t->grad.n, err);
    t->last_checkpoint = hone_clock_seconds();
    if (st == HONE_OK && t->hooks && t->hooks->on_checkpoint)
        st = t->hooks->on_checkpoint(t->hooks->arg, t->state.step, t->last_checkpoint - begin, err);
    return st;
}

static hone_status resume(trainer *t, hone_error *err) {
    if (!t->cfg->resume || !t->checkpoint_path) return HONE_OK;
    hone_error own = {0};
    const hone_status st =
        hone_checkpoint_read(t->checkpoint_path, t->settings, &t->state, t->grad.data, t->m, t->v, t->grad.n, &own);
    if (st == HONE_ERR_NOT_FOUND) return HONE_OK; /* killed before the first one: begin */
    if (st != HONE_OK) return hone_fail(err, st, "%s", own.message);
    if (t->state.step > t->plan.steps)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: step %llu of %llu", t->checkpoint_path,
                         (unsigned long long)t->state.step, (unsigned long long)t->plan.steps);
    copy_adapter(t, false);
    return HONE_OK;
}

/* A process that is killed while it writes leaves a temporary file beside the real one: "checkpoint.hone.PID.tmp". */
static void sweep(const char *dir) {
    static const char *const written[] = {"checkpoint.hone.", "adapter_config.json.", "adapter_model.safetensors."};
    DIR *d = opendir(dir);
    if (!d) return;
    for (const struct dirent *e; (e = readdir(d));)
        for (size_t i = 0; i < sizeof(written) / sizeof(*written); i++) {
            const size_t n = strlen(written[i]),
                         digits = strspn(e->d_name + (strlen(e->d_name) < n ? 0 : n), "0123456789");
            if (strncmp(e->d_name, written[i], n) == 0 && digits && strcmp(e->d_name + n + digits, ".tmp") == 0)
                unlinkat(dirfd(d), e->d_name, 0);
        }
    closedir(d);
}

/* ---- One step ---- */

static void square_task(void *arg, uint32_t task, uint32_t thread) {
    (void)thread;
    trainer *t = arg;
    const hone_lora *lora = &t->adapter->lora[task / HONE_MOD_COUNT][task % HONE_MOD_COUNT];
    const hone_weight *w = &t->model->layer[task / HONE_MOD_COUNT].linear[task % HONE_MOD_COUNT].w;
    t->square[2 * task] = t->square[2 * task + 1] = 0;
    if (lora->rank == 0) return;
    t->square[2 * task] = hone_square_sum(t->grad.a[task], (size_t)lora->rank * w->k);
    t->square[2 * task + 1] = hone_square_sum(t->grad.b[task], (size_t)lora->rank * w->n);
}

static void update_task(void *arg, uint32_t task, uint32_t thread) {
    (void)thread;
    trainer *t = arg;
    const hone_lora *lora = &t->adapter->lora[task / HONE_MOD_COUNT][task % HONE_MOD_COUNT];
    const hone_weight *w = &t->model->layer[task / HONE_MOD_COUNT].linear[task % HONE_MOD_COUNT].w;
    if (lora->rank == 0) return;
    float *const p[2] = {lora->a, lora->b};
    float *const g[2] = {t->grad.a[task], t->grad.b[task]};
    const size_t n[2] = {(size_t)lora->rank * w->k, (size_t)lora->rank * w->n};
    for (int i = 0; i < 2; i++) {
        const size_t at = (size_t)(g[i] - t->grad.data);
        hone_adamw_update(&t->cfg->adamw, t->lr, t->state.step + 1, t->scale, p[i], g[i], t->m + at, t->v + at, n[i]);
        memset(g[i], 0, n[i] * sizeof(float));
    }
}

static double update(trainer *t) {
    const hone_lr_plan lr = {.lr = t->plan.lr,
                             .floor = t->cfg->lr_floor,
                             .schedule = t->cfg->schedule,
                             .warmup_steps = t->plan.warmup_steps,
                             .steps = t->plan.steps};
    double sum = 0;
    hone_pool_run(t->pool, t->grad.n_module, square_task, t);
    for (uint32_t i = 0; i < 2 * t->grad.n_module; i++) sum += t->square[i];
    t->scale = hone_clip_factor(sqrt(sum), t->cfg->clip);
    t->lr = hone_lr_at(&lr, t->state.step);
    hone_pool_run(t->pool, t->grad.n_module, update_task, t);
    return sqrt(sum);
}

static void set_order(trainer *t, uint32_t epoch) {
    if (t->order_epoch == epoch) return;
    hone_pack_order(t->cfg->seed, epoch - 1, t->cfg->shuffle, t->order, t->train->n);
    t->order_epoch = epoch;
}

static hone_status step(trainer *t, hone_train_step *said, hone_error *err) {
    const double begin = hone_clock_seconds();
    const uint64_t done = t->state.step, in_epoch = done % t->steps_per_epoch;
    const size_t from = (size_t)in_epoch * t->plan.batch_rows;
    const size_t end = t->train->n - from < t->plan.batch_rows ? t->train->n : from + t->plan.batch_rows;
    *said = (hone_train_step){.step = done + 1,
                              .steps = t->plan.steps,
                              .epochs = t->plan.epochs,
                              .epoch = (uint32_t)(done / t->steps_per_epoch) + 1};
    set_order(t, said->epoch);
    memset(t->grad.data, 0, t->grad.n * sizeof(float)); /* a checkpoint may have used it */
    for (size_t i = from; i < end; i++) {
        said->tokens += t->train->row[t->order[i]].n;
        said->trained_tokens += t->train->row[t->order[i]].n_trained;
    }
    const hone_pass_dropout dropout = {.p = t->adapter->dropout, .seed = t->cfg->seed, .step = (uint32_t)done};
    hone_loss loss = {0};
    for (size_t at = from, to; at < end; at = to) {
        const hone_train_row *rows[TRAINER_MAX_ROWS];
        to = hone_pack_micro(t->train, t->order, at, end, t->plan.micro_tokens, TRAINER_MAX_ROWS);
        for (size_t i = at; i < to; i++) rows[i - at] = &t->train->row[t->order[i]];
        const hone_status st = hone_pass_run(t->pass, rows, (uint32_t)(to - at), t->adapter,
                                             1.0 / (double)said->trained_tokens, &t->grad, &dropout, &loss, NULL, err);
        if (st != HONE_OK) return st;
    }
    said->loss = loss.loss / (double)loss.trained;
    if (!isfinite(said->loss))
        return hone_fail(err, HONE_ERR_ARG, "the loss of step %llu is not finite: a lower learning rate is needed",
                         (unsigned long long)said->step);
    said->accuracy = (double)loss.correct / (double)loss.trained;
    said->grad_norm = update(t);
    said->lr = t->lr;
    t->state.step++;
    t->state.epoch_loss += loss.loss;
    t->state.epoch_trained += loss.trained;
    t->state.last_loss = said->loss;

    said->seconds = hone_clock_seconds() - begin;
    said->rss_bytes = rss_now();
    t->seconds += said->seconds;
    t->tokens += said->tokens;
    t->trained += said->trained_tokens;
    /* a mean that forgets: steps differ, and a machine's load changes */
    t->recent_tokens = t->recent_tokens * 7 / 8 + said->tokens;
    t->recent_seconds = t->recent_seconds * 7 / 8 + said->seconds;
    said->tokens_per_second = (double)t->recent_tokens / t->recent_seconds;
    const double per_step = (double)t->train->n_tokens / (double)t->steps_per_epoch;
    said->seconds_left = (double)(t->plan.steps - t->state.step) * per_step / said->tokens_per_second;
    return HONE_OK;
}

/* ---- Validation ---- */

static hone_status validate(trainer *t, hone_train_epoch *said, hone_error *err) {
    hone_loss loss = {0};
    if (!t->valid || t->valid->n == 0) return HONE_OK;
    t->order_epoch = 0;
    hone_pack_order(0, 0, false, t->order, t->valid->n);
    for (size_t from = 0, to; from < t->valid->n; from = to) {
        const hone_train_row *rows[TRAINER_MAX_ROWS];
        to = hone_pack_micro(t->valid, t->order, from, t->valid->n, t->plan.micro_tokens, TRAINER_MAX_ROWS);
        for (size_t i = from; i < to; i++) rows[i - from] = &t->valid->row[i];
        const hone_status st =
            hone_pass_run(t->pass, rows, (uint32_t)(to - from), t->adapter, 1.0, NULL, NULL, &loss, NULL, err);
        if (st != HONE_OK) return st;
    }
    said->has_valid = true;
    said->valid_loss = loss.loss / (double)loss.trained;
    said->valid_accuracy = (double)loss.correct / (double)loss.trained;
    return HONE_OK;
}

/* ---- Epochs ---- */

static hone_status end_epoch(trainer *t, hone_error *err) {
    hone_train_epoch said = {.epoch = (uint32_t)((t->state.step + t->steps_per_epoch - 1) / t->steps_per_epoch),
                             .step = t->state.step,
                             .train_loss = t->state.epoch_loss / (double)t->state.epoch_trained,
                             .adapter = t->adapter};
    hone_buf folder = {0};
    hone_status st = validate(t, &said, err);
    if (st == HONE_OK && t->cfg->keep_epochs && t->cfg->out_dir) {
        hone_buf_format(&folder, "%s/epoch-%u", t->cfg->out_dir, said.epoch);
        st = folder.failed ? hone_fail(err, HONE_ERR_NOMEM, "no memory") : hone_folder_make(folder.data, err);
        if (st == HONE_OK) st = hone_adapter_write(t->adapter, folder.data, err);
        said.folder = folder.data;
    }
    if (st == HONE_OK && t->hooks && t->hooks->on_epoch) st = t->hooks->on_epoch(t->hooks->arg, &said, err);
    hone_buf_free(&folder);
    if (st != HONE_OK) return st;
    t->state.epoch_loss = 0;
    t->state.epoch_trained = 0;
    t->state.valid_loss = said.valid_loss;
    return write_checkpoint(t, err);
}

static bool due(const trainer *t) {
    if (t->cfg->checkpoint_steps && t->state.step % t->cfg->checkpoint_steps == 0) return true;
    return t->cfg->checkpoint_seconds > 0 && hone_clock_seconds() - t->last_checkpoint >= t->cfg->checkpoint_seconds;
}

static bool stopping(const trainer *t) {
    return t->stop && atomic_load_explicit(t->stop, memory_order_relaxed);
}

static hone_status all_steps(trainer *t, hone_error *err) {
    hone_status st = HONE_OK;
    t->last_checkpoint = hone_clock_seconds();
    while (st == HONE_OK && t->state.step < t->plan.steps) {
        hone_train_step said;
        if (stopping(t)) { /* also before the first step */
            st = write_checkpoint(t, err);
            return st != HONE_OK ? st
                                 : hone_fail(err, HONE_ERR_CANCELLED, "stopped after step %llu of %llu",
                                             (unsigned long long)t->state.step, (unsigned long long)t->plan.steps);
        }
        st = step(t, &said, err);
        if (st == HONE_OK && t->hooks && t->hooks->on_step) st = t->hooks->on_step(t->hooks->arg, &said, err);
        if (st != HONE_OK) return st;
        if (t->state.step % t->steps_per_epoch == 0 || t->state.step == t->plan.steps)
            st = end_epoch(t, err);
        else if (due(t))
            st = write_checkpoint(t, err);
    }
    return st;
}

/* ---- The run ---- */

static hone_status finish(trainer *t, hone_error *err) {
    if (!t->cfg->out_dir) return HONE_OK;
    const hone_status st = hone_adapter_write(t->adapter, t->cfg->out_dir, err);
    if (st != HONE_OK) return st;
    if (unlink(t->checkpoint_path) != 0 && errno != ENOENT)
        return hone_fail(err, HONE_ERR_IO, "%s: cannot remove it: %s", t->checkpoint_path, strerror(errno));
    return HONE_OK;
}

hone_status hone_train_run(hone_train_result *result, const hone_model *model, hone_pool *pool,
                           const hone_train_config *cfg, const hone_train_data *train, const hone_train_data *valid,
                           const hone_train_hooks *hooks, const atomic_bool *stop, hone_error *err) {
    *result = (hone_train_result){0};
    trainer t = {
        .model = model, .pool = pool, .cfg = cfg, .train = train, .valid = valid, .hooks = hooks, .stop = stop};
    hone_status st = cfg->out_dir ? hone_folder_make(cfg->out_dir, err) : HONE_OK;
    if (st == HONE_OK && cfg->out_dir) sweep(cfg->out_dir);
    if (st == HONE_OK) st = open_all(&t, err);
    if (st == HONE_OK) st = resume(&t, err);
    if (st == HONE_OK && hooks && hooks->on_plan) st = hooks->on_plan(hooks->arg, &t.plan, t.state.step + 1, err);
    if (st == HONE_OK) st = all_steps(&t, err);
    if (st == HONE_OK) st = finish(&t, err);
    result->steps = t.state.step;
    result->last_loss = t.state.last_loss;
    result->valid_loss = t.state.valid_loss;
    result->seconds = t.seconds;
    result->tokens = t.tokens;
    result->trained_tokens = t.trained;
    result->peak_rss_bytes = rss_peak();
    if (st == HONE_OK) {
        result->adapter = t.adapter;
        t.adapter = NULL;
    }
    close_all(&t);
    return st;
}
