/* plan.c - from a configuration to numbers: what `auto` means, steps, memory; what makes two runs the same run.
 * Order: defaults, auto, the largest micro-batch, memory, settings, measuring. */
#include "train/trainer.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "train/pack.h"
#include "train/trainer_parts.h"

/* ---- Defaults ---- */

hone_train_config hone_train_defaults(void) {
    hone_train_config c = {
        .lora = {.rank = 16, .alpha = 32.0f},
        .lr_multiplier = 1.0,
        .schedule = HONE_SCHEDULE_COSINE,
        .warmup_steps = -1,
        .warmup_ratio = 0.05,
        .adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.0},
        .clip = 1.0,
        .shuffle = true,
        .seed = 1,
        .checkpoint_seconds = 60.0,
    };
    for (int m = 0; m < HONE_MOD_COUNT; m++) c.lora.target[m] = true;
    return c;
}

/* ---- Auto ----
 * Measured on the ESCO task (bench/SPEED.md) and otherwise what carries over between models: low ranks want learning
 * rates about ten times those of full training (Biderman et al., 2024), falling with the width (Yang et al., 2022). */

#define AUTO_ROWS_SEEN 600u /* a small file is shown more than once */
#define AUTO_STEPS 40u      /* an epoch has about so many, where there are rows enough */

static uint32_t auto_epochs(size_t rows) {
    const size_t e = (AUTO_ROWS_SEEN + rows - 1) / rows;
    return e < 1 ? 1 : e > 10 ? 10 : (uint32_t)e;
}

static uint32_t auto_batch(size_t rows) {
    const size_t b = (rows + AUTO_STEPS / 2) / AUTO_STEPS;
    return b < 4 ? 4 : b > 32 ? 32 : (uint32_t)b;
}

static double auto_lr(const hone_arch *a) {
    const double lr = 5e-4 * sqrt(576.0 / (double)a->width); /* 576: the model it was measured on */
    return lr < 5e-5 ? 5e-5 : lr > 1e-3 ? 1e-3 : lr;
}

/* Positions that run together: enough that every product is large, little enough that the tape stays small. */
#define AUTO_MICRO_TOKENS 768u
#define AUTO_TAPE_BYTES ((size_t)640 << 20)

static uint32_t auto_micro(const hone_model *model, const hone_adapter *adapter) {
    const size_t per = hone_tape_bytes(model, adapter, 64) / 64;
    const size_t fit = per ? AUTO_TAPE_BYTES / per : AUTO_MICRO_TOKENS;
    return fit >= AUTO_MICRO_TOKENS ? AUTO_MICRO_TOKENS : fit < 64 ? 64 : (uint32_t)fit;
}

/* ---- The largest micro-batch ---- */

static void widen(hone_pass_config *cut, const hone_train_data *data, const uint32_t *order, size_t from, size_t end,
                  uint32_t micro) {
    for (size_t to; from < end; from = to) {
        uint32_t used = 0;
        to = hone_pack_micro(data, order, from, end, micro, TRAINER_MAX_ROWS);
        for (size_t i = from; i < to; i++) used += data->row[order[i]].n_run;
        if (used > cut->max_tokens) cut->max_tokens = used;
        if (to - from > cut->max_rows) cut->max_rows = (uint32_t)(to - from);
    }
}

/* Goes through all epochs as the run will, so that memory is what is needed and no more. */
static hone_status largest(hone_pass_config *cut, const hone_train_plan *p, const hone_train_config *cfg,
                           const hone_train_data *train, const hone_train_data *valid, hone_error *err) {
    const size_t n = valid && valid->n > train->n ? valid->n : train->n;
    uint32_t *order = hone_zalloc(n, sizeof(*order));
    if (!order) return hone_fail(err, HONE_ERR_NOMEM, "no memory for the order of %zu rows", n);
    *cut = (hone_pass_config){.gradients = true};
    for (uint32_t e = 0; e < p->epochs; e++) {
        hone_pack_order(cfg->seed, e, cfg->shuffle, order, train->n);
        for (size_t from = 0; from < train->n; from += p->batch_rows)
            widen(cut, train, order, from, train->n - from < p->batch_rows ? train->n : from + p->batch_rows,
                  p->micro_tokens);
    }
    if (valid && valid->n) {
        hone_pack_order(0, 0, false, order, valid->n);
        widen(cut, valid, order, 0, valid->n, p->micro_tokens);
    }
    hone_free(order);
    return HONE_OK;
}

/* ---- Memory and steps ---- */

hone_status trainer_adapter(hone_adapter **out, const hone_model *model, const hone_train_config *cfg,
                            hone_error *err) {
    hone_adapter_config lora = cfg->lora;
    lora.seed = cfg->seed;
    const hone_status st = cfg->init_adapter ? hone_adapter_read(out, cfg->init_adapter, &model->arch, err)
                                             : hone_adapter_new(out, &model->arch, &lora, err);
    if (st != HONE_OK) return st;
    const char *untrainable = hone_adapter_untrainable(*out);
    if (untrainable) {
        hone_adapter_free(*out);
        *out = NULL;
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "%s: %s cannot be trained", cfg->init_adapter, untrainable);
    }
    if (hone_adapter_floats(model, *out) == 0) {
        hone_adapter_free(*out);
        *out = NULL;
        return hone_fail(err, HONE_ERR_ARG, "the adapter has no matrices: nothing would be trained");
    }
    if (cfg->base_name) {
        const size_t n = strnlen(cfg->base_name, sizeof((*out)->base) - 1);
        memcpy((*out)->base, cfg->base_name, n);
        (*out)->base[n] = 0;
    }
    return HONE_OK;
}

static hone_status check_config(const hone_train_config *c, const hone_train_data *train, hone_error *err) {
    if (!train || train->n == 0) return hone_fail(err, HONE_ERR_ARG, "there are no rows to train on");
    if (!(c->lr >= 0) || !isfinite(c->lr)) return hone_fail(err, HONE_ERR_ARG, "a learning rate of %g", c->lr);
    if (!(c->lr_multiplier > 0) || !isfinite(c->lr_multiplier))
        return hone_fail(err, HONE_ERR_ARG, "a learning rate multiplier of %g: it must be above 0", c->lr_multiplier);
    if (!(c->adamw.beta1 >= 0 && c->adamw.beta1 < 1 && c->adamw.beta2 >= 0 && c->adamw.beta2 < 1))
        return hone_fail(err, HONE_ERR_ARG, "AdamW's betas must be at least 0 and below 1");
    if (!(c->adamw.eps > 0) || !(c->adamw.weight_decay >= 0))
        return hone_fail(err, HONE_ERR_ARG, "AdamW's eps must be above 0, its weight decay at least 0");
    if (!(c->warmup_ratio >= 0 && c->warmup_ratio <= 1))
        return hone_fail(err, HONE_ERR_ARG, "a warm-up ratio of %g: it must be from 0 to 1", c->warmup_ratio);
    if (!(c->lr_floor >= 0 && c->lr_floor <= 1))
        return hone_fail(err, HONE_ERR_ARG, "a learning rate floor of %g: it must be from 0 to 1", c->lr_floor);
    return HONE_OK;
}

static void count_bytes(hone_train_plan *p, const hone_pass_config *cut, const hone_model *model,
                        const hone_adapter *adapter, hone_pool *pool, const hone_train_data *train,
                        const hone_train_data *valid) {
    hone_pass_plan(&p->pass, model, adapter, pool, cut);
    p->parameters = hone_adapter_floats(model, adapter);
    p->adapter_bytes = 4 * p->parameters * sizeof(float); /* itself, gradient, two moments */
    p->weight_bytes = model->weight_bytes;
    p->data_bytes = train->n_tokens * 5 + train->n * (sizeof(hone_train_row) + sizeof(uint32_t));
    if (valid) p->data_bytes += valid->n_tokens * 5 + valid->n * sizeof(hone_train_row);
    p->total_bytes = p->pass.total + p->adapter_bytes + p->weight_bytes + p->data_bytes;
}

hone_status trainer_plan(hone_train_plan *p, hone_pass_config *cut, const hone_model *model,
                         const hone_adapter *adapter, hone_pool *pool, const hone_train_config *cfg,
                         const hone_train_data *train, const hone_train_data *valid, hone_error *err) {
    *p = (hone_train_plan){0};
    hone_status st = check_config(cfg, train, err);
    if (st != HONE_OK) return st;
    p->epochs = cfg->epochs ? cfg->epochs : auto_epochs(train->n);
    p->batch_rows = cfg->batch_rows ? cfg->batch_rows : auto_batch(train->n);
    if (p->batch_rows > train->n) p->batch_rows = (uint32_t)train->n;
    p->micro_tokens = cfg->micro_tokens ? cfg->micro_tokens : auto_micro(model, adapter);
    p->lr = (cfg->lr > 0 ? cfg->lr : auto_lr(&model->arch)) * cfg->lr_multiplier;
    p->rows = train->n;
    p->tokens = train->n_tokens;
    p->trained_tokens = train->n_trained;
    const uint64_t per_epoch = (train->n + p->batch_rows - 1) / p->batch_rows;
    p->steps = per_epoch * p->epochs;
    if (cfg->max_steps && cfg->max_steps < p->steps) {
        p->steps = cfg->max_steps;
        p->epochs = (uint32_t)((p->steps + per_epoch - 1) / per_epoch);
    }
    p->warmup_steps =
        cfg->warmup_steps >= 0 ? (uint64_t)cfg->warmup_steps : (uint64_t)ceil(cfg->warmup_ratio * (double)p->steps);
    for (;;) {
        st = largest(cut, p, cfg, train, valid, err);
        if (st != HONE_OK) return st;
        count_bytes(p, cut, model, adapter, pool, train, valid);
        if (!cfg->memory_bytes || p->total_bytes <= cfg->memory_bytes) return HONE_OK;
        if (cfg->micro_tokens || p->micro_tokens <= 32) break;
        p->micro_tokens /= 2; /* auto gives way; a stated setting is refused below */
    }
    const uint64_t wanted = p->total_bytes;
    uint32_t fits = 0, over = p->micro_tokens; /* memory grows with the micro-batch: the border by halving */
    while (over - fits > 1) {
        p->micro_tokens = fits + (over - fits) / 2;
        st = largest(cut, p, cfg, train, valid, err);
        if (st != HONE_OK) return st;
        count_bytes(p, cut, model, adapter, pool, train, valid);
        if (p->total_bytes <= cfg->memory_bytes)
            fits = p->micro_tokens;
        else
            over = p->micro_tokens;
    }
    if (fits)
        return hone_fail(err, HONE_ERR_LIMIT,
                         "training needs %llu MiB, %llu MiB are allowed: micro-batches of at most %u tokens fit",
                         (unsigned long long)(wanted >> 20), (unsigned long long)(cfg->memory_bytes >> 20), fits);
    return hone_fail(err, HONE_ERR_LIMIT,
                     "training needs %llu MiB, %llu MiB are allowed, and the longest row (%u tokens) fits with no "
                     "setting: shorten it or allow more",
                     (unsigned long long)(p->total_bytes >> 20), (unsigned long long)(cfg->memory_bytes >> 20),
                     train->longest);
}

hone_status hone_train_make_plan(hone_train_plan *out, const hone_model *model, hone_pool *pool,
                                 const hone_train_config *cfg, const hone_train_data *train,
                                 const hone_train_data *valid, hone_error *err) {
    hone_adapter *adapter;
    hone_pass_config cut;
    hone_status st = trainer_adapter(&adapter, model, cfg, err);
    if (st != HONE_OK) return st;
    st = trainer_plan(out, &cut, model, adapter, pool, cfg, train, valid, err);
    hone_adapter_free(adapter);
    return st;
}

/* ---- Settings ---- */

bool trainer_settings(hone_buf *out, const hone_train_plan *p, const hone_model *model, const hone_adapter *adapter,
                      const hone_train_config *c, const hone_train_data *train) {
    hone_buf_format(out, "weights=%s\nkernels=%s\nprecision=%s\ndata=%s\n", model->digest, model->kernels->name,
                    model->precision == HONE_PRECISION_F32 ? "f32" : "serving", train->digest);
    hone_buf_format(out, "init_adapter=%s\ndropout=%.9g\nrslora=%d\n", c->init_adapter ? adapter->digest : "new",
                    (double)adapter->dropout, adapter->rslora);
    for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
        hone_buf_format(out, "rank.%s=", hone_module_name((hone_module)m));
        for (uint32_t l = 0; l < adapter->n_layer; l++) {
            const hone_lora *y = &adapter->lora[l][m];
            /* runs of equal layers are said once */
            if (l && y->rank == y[-(ptrdiff_t)HONE_MOD_COUNT].rank && y->alpha == y[-(ptrdiff_t)HONE_MOD_COUNT].alpha)
                continue;
            hone_buf_format(out, "%s%u:%u/%.9g", l ? "," : "", l, y->rank, y->rank ? (double)y->alpha : 0.0);
        }
        hone_buf_char(out, '\n');
    }
    hone_buf_format(out,
                    "epochs=%u\nbatch_rows=%u\nlr=%.17g\nschedule=%d\nlr_floor=%.17g\nwarmup_steps=%llu\nsteps=%llu\n",
                    p->epochs, p->batch_rows, p->lr, (int)c->schedule, c->lr_floor, (unsigned long long)p->warmup_steps,
                    (unsigned long long)p->steps);
    hone_buf_format(out, "beta1=%.17g\nbeta2=%.17g\neps=%.17g\nweight_decay=%.17g\nclip=%.17g\nshuffle=%d\nseed=%llu\n",
                    c->adamw.beta1, c->adamw.beta2, c->adamw.eps, c->adamw.weight_decay, c->clip, c->shuffle,
                    (unsigned long long)c->seed);
    return !out->failed;
}

/* ---- Measuring ---- */

hone_status hone_train_measure(double *seconds, const hone_train_plan *plan, const hone_model *model, hone_pool *pool,
                               const hone_train_config *cfg, const hone_train_data *train, hone_error *err) {
    *seconds = 0;
    hone_adapter *adapter = NULL;
    hone_lora_grad grad = {0};
    hone_pass *pass = NULL;
    uint32_t *order = NULL;
    const hone_train_row *rows[TRAINER_MAX_ROWS];
    hone_status st = trainer_adapter(&adapter, model, cfg, err);
    if (st == HONE_OK) st = hone_lora_grad_open(&grad, model, adapter, err);
    if (st == HONE_OK && !(order = hone_zalloc(train->n, sizeof(*order))))
        st = hone_fail(err, HONE_ERR_NOMEM, "no memory for the order of %zu rows", train->n);
    if (st != HONE_OK) goto done;
    hone_pack_order(cfg->seed, 0, cfg->shuffle, order, train->n);
    const size_t to = hone_pack_micro(train, order, 0, plan->batch_rows, plan->micro_tokens, TRAINER_MAX_ROWS);
    hone_pass_config cut = {.max_rows = (uint32_t)to, .gradients = true};
    for (size_t i = 0; i < to; i++) {
        rows[i] = &train->row[order[i]];
        cut.max_tokens += rows[i]->n_run;
    }
    if ((st = hone_pass_open(&pass, model, adapter, pool, &cut, err)) != HONE_OK) goto done;
    uint64_t all = 0;
    for (size_t i = 0; i < train->n; i++) all += train->row[i].n_run;
    const double begin = hone_clock_seconds();
    hone_loss loss = {0};
    st = hone_pass_run(pass, rows, (uint32_t)to, adapter, 1.0, &grad, NULL, &loss, NULL, err);
    const double share = (double)plan->steps * plan->batch_rows / (double)plan->rows; /* epochs that really run */
    *seconds = (hone_clock_seconds() - begin) / cut.max_tokens * (double)all * share;
done:
    hone_pass_close(pass);
    hone_lora_grad_close(&grad);
    hone_adapter_free(adapter);
    hone_free(order);
    return st;
}
