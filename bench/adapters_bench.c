/* adapters_bench.c - what adapters cost a decoding batch: the same streams with no adapter, one for all, and one each.
 *
 *     adapters_bench --model M.gguf --adapters DIR [--streams 64] [--distinct 0,1,64] [--steps 32] [--rounds 3]
 *                    [--threads N] [--prompt 16]
 *
 * DIR holds folders 0000, 0001, ... (make_adapters.py).  The settings take turns, round after round; printed are the
 * median of each, and its ratio to the first and to the one with one adapter.  distinct 0: the base alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "engine/engine.h"
#include "engine/sample.h"

#define MAX_SETTINGS 8u
#define MAX_ROUNDS 15u
#define MAX_PROMPT 1024u

typedef struct {
    const char *model, *adapters;
    uint32_t streams, steps, rounds, threads, prompt, n_setting, distinct[MAX_SETTINGS];
} options;

static uint32_t n_token, n_first;

static void count(void *arg, const hone_event *event) {
    (void)arg;
    n_token += event->kind == HONE_EVENT_TOKEN;
    n_first += event->kind == HONE_EVENT_TOKEN && event->index == 0;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bool fail(const hone_error *err) {
    fprintf(stderr, "adapters_bench: %s\n", err->message);
    return false;
}

static bool load(hone_engine *e, const hone_model *model, const options *o, uint32_t n) {
    double spent = 0;
    for (uint32_t i = 0; i < n; i++) {
        char path[600], name[16];
        hone_error err = {0};
        hone_map config = {0}, tensors = {0};
        hone_adapter *a = NULL;
        snprintf(name, sizeof(name), "%04u", i);
        snprintf(path, sizeof(path), "%s/%s/adapter_config.json", o->adapters, name);
        hone_status st = hone_map_path(&config, path, &err);
        snprintf(path, sizeof(path), "%s/%s/adapter_model.safetensors", o->adapters, name);
        if (st == HONE_OK) st = hone_map_path(&tensors, path, &err);
        const double from = hone_clock_seconds();
        if (st == HONE_OK)
            st = hone_adapter_load(&a, config.data, config.bytes, tensors.data, tensors.bytes, model, &err);
        if (st == HONE_OK) st = hone_engine_add_adapter(e, name, a, &err);
        spent += hone_clock_seconds() - from;
        hone_map_close(&config);
        hone_map_close(&tensors);
        if (st != HONE_OK) return fail(&err);
    }
    hone_engine_stats s;
    hone_engine_get_stats(e, &s);
    if (n)
        printf("{\"adapters\": %u, \"bytes\": %llu, \"load_ms\": %.2f}\n", n, (unsigned long long)s.adapter_bytes,
               spent * 1e3 / n);
    return true;
}

static bool run(hone_engine *e, const hone_model *model, const options *o, uint32_t distinct, double *speed) {
    static int32_t prompt[MAX_PROMPT];
    for (uint32_t b = 0; b < o->streams; b++) {
        char name[16];
        hone_error err = {0};
        snprintf(name, sizeof(name), "%04u", distinct ? b % distinct : 0);
        for (uint32_t i = 0; i < o->prompt; i++)
            prompt[i] = 17 + (int32_t)(hone_random_unit(b, 1, 2, i) * (float)(model->arch.vocab - 17));
        const hone_engine_request r = {.id = 1 + b,
                                       .prompt = prompt,
                                       .n_prompt = o->prompt,
                                       .max_tokens = o->steps + 64,
                                       .n_logprobs = -1,
                                       .ignore_stop = true,
                                       .max_draft = HONE_NO_DRAFT,
                                       .sampling = hone_sampling_defaults(),
                                       .adapter = distinct ? name : NULL};
        if (hone_engine_submit(e, &r, &err) != HONE_OK) return fail(&err);
    }
    n_first = 0;
    while (n_first < o->streams) hone_engine_step(e, count, NULL);
    n_token = 0;
    const double from = hone_clock_seconds();
    for (uint32_t i = 0; i < o->steps; i++) hone_engine_step(e, count, NULL);
    *speed = n_token / (hone_clock_seconds() - from);
    for (uint32_t b = 0; b < o->streams; b++) hone_engine_cancel(e, 1 + b);
    return true;
}

static bool read_options(int argc, char **argv, options *o) {
    const char *distinct = "0,1,64";
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        const uint32_t number = (uint32_t)strtoul(value, NULL, 10);
        if (!strcmp(name, "--model"))
            o->model = value;
        else if (!strcmp(name, "--adapters"))
            o->adapters = value;
        else if (!strcmp(name, "--streams"))
            o->streams = number;
        else if (!strcmp(name, "--steps"))
            o->steps = number;
        else if (!strcmp(name, "--rounds"))
            o->rounds = number;
        else if (!strcmp(name, "--threads"))
            o->threads = number;
        else if (!strcmp(name, "--prompt"))
            o->prompt = number;
        else if (!strcmp(name, "--distinct"))
            distinct = value;
        else
            return false;
    }
    for (char *end; *distinct && o->n_setting < MAX_SETTINGS; distinct = *end ? end + 1 : end)
        o->distinct[o->n_setting++] = (uint32_t)strtoul(distinct, &end, 10);
    return argc % 2 == 1 && o->model && o->adapters && o->rounds && o->rounds <= MAX_ROUNDS && o->prompt &&
           o->prompt <= MAX_PROMPT;
}

int main(int argc, char **argv) {
    options o = {.streams = 64, .steps = 32, .rounds = 3, .prompt = 16};
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: adapters_bench --model M.gguf --adapters DIR [--streams N] [--distinct 0,1,64] "
                        "[--steps N] [--rounds N] [--threads N] [--prompt N]\n");
        return 2;
    }
    hone_error err = {0};
    hone_pool *pool = NULL;
    hone_model *model = NULL;
    hone_engine *e = NULL;
    uint32_t most = 0;
    for (uint32_t i = 0; i < o.n_setting; i++) most = o.distinct[i] > most ? o.distinct[i] : most;
    hone_status st = hone_pool_open(&pool, o.threads, &err);
    if (st == HONE_OK) st = hone_model_open(&model, o.model, hone_kernels_best(), HONE_PRECISION_SERVING, pool, &err);
    const hone_engine_config cfg = {.max_step_rows = 512, .max_sequences = o.streams, .adapter_bytes = 8ull << 30};
    if (st == HONE_OK) st = hone_engine_open(&e, model, pool, &cfg, &err);
    bool done = st == HONE_OK ? load(e, model, &o, most) : fail(&err);
    double speed[MAX_SETTINGS][MAX_ROUNDS], unused;
    if (done) done = run(e, model, &o, 0, &unused); /* warms up */
    for (uint32_t round = 0; done && round < o.rounds; round++)
        for (uint32_t i = 0; done && i < o.n_setting; i++) done = run(e, model, &o, o.distinct[i], &speed[i][round]);
    double first = 0, one = 0;
    for (uint32_t i = 0; done && i < o.n_setting; i++) {
        qsort(speed[i], o.rounds, sizeof(double), by_value);
        const double median = speed[i][o.rounds / 2];
        if (i == 0) first = median;
        if (o.distinct[i] == 1) one = median;
        printf("{\"distinct\": %u, \"streams\": %u, \"tok_s\": %.1f, \"min\": %.1f, \"max\": %.1f, \"of_first\": %.3f, "
               "\"of_one\": %.3f}\n",
               o.distinct[i], o.streams, median, speed[i][0], speed[i][o.rounds - 1], median / first,
               one > 0 ? median / one : 0.0);
    }
    hone_engine_close(e);
    hone_model_close(model);
    hone_pool_close(pool);
    return done ? 0 : 1;
}
