/* engine_bench.c - speed of the engine alone: prefill and decoding on one file, one JSON object a line.
 *
 *     engine_bench --model M.gguf [--threads 2] [--pp 512] [--tg 128] [--batches 1,32] [--repeats 5]
 *                  [--precision serving|f32] [--step-rows 512] [--kv-type int8] [--drafts on]
 *
 * pp: one prompt of random tokens, one logit row wanted.  tg: B sequences decode from a context of `prompt` tokens (one
 * for B = 1, 128 otherwise), greedy choice included.  of_peak: operations of the products (two for each weight and
 * token that meets it) beside the machine's limit for the arithmetic of the first layer's weights; of_read: the bytes
 * of all weights for each step of one stream beside what plain reading reaches.  The limits are the better of two
 * measurements, before and after.  The median, least and most of the repeats are printed, and the share of the two
 * cores that others took meanwhile: compare only lines where it is small. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "engine/engine.h"
#include "engine/inspect.h"
#include "engine/sample.h"
#include "kernel/probe.h"

#define MAX_REPEATS 32
#define MAX_PROMPT 4096
#define AHEAD 128 /* tokens that early streams may make while late prompts are still read */

typedef struct {
    const char *model;
    uint32_t threads, pp, tg, repeats, step_rows;
    const char *batches;
    hone_precision precision;
    bool kv_int8;
    bool drafts;
} options;

static double foreign_start, wall_start, own_start, own_spent;

/* Busy seconds of all cores, and of this process. */
static double busy_seconds(void) {
    unsigned long long v[8] = {0};
    FILE *f = fopen("/proc/stat", "r");
    if (!f) return 0;
    const int n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5],
                         &v[6], &v[7]);
    fclose(f);
    return n < 8 ? 0 : (double)(v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / (double)sysconf(_SC_CLK_TCK);
}

static double own_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void load_begin(void) {
    foreign_start = busy_seconds();
    own_start = own_seconds();
    wall_start = hone_clock_seconds();
}

static double load_end(void) {
    const double wall = hone_clock_seconds() - wall_start;
    own_spent += own_seconds() - own_start;
    const double foreign = busy_seconds() - foreign_start - (own_seconds() - own_start);
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return foreign > 0 ? foreign / wall / (double)(cores > 0 ? cores : 1) : 0;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* What the pass does for a prompt token, for a token that gets logits as well, and what it reads for one step. */
typedef struct {
    double prompt_ops, token_ops, step_bytes, peak, read;
} work;

static work work_of(const hone_model *m) {
    work w = {0};
    for (uint32_t l = 0; l < m->arch.n_layer; l++)
        for (uint32_t i = 0; i < HONE_MOD_COUNT; i++) {
            w.prompt_ops += 2.0 * m->layer[l].linear[i].w.n * m->layer[l].linear[i].w.k;
            w.step_bytes += (double)m->layer[l].linear[i].w.bytes;
        }
    w.token_ops = w.prompt_ops + 2.0 * m->head.w.n * m->head.w.k;
    w.step_bytes += (double)m->head.w.bytes;
    return w;
}

static void measure_limits(const hone_model *m, hone_pool *pool, work *w) {
    hone_kernel_limits x;
    hone_kernels_limits(m->kernels, pool, &x);
    const hone_weight *first = &m->layer[0].linear[HONE_MOD_Q].w;
    double peak = first->dtype == HONE_BF16 ? x.bf16 : first->dtype >= HONE_Q4_0 ? x.int8 : x.f32;
    if (m->precision == HONE_PRECISION_F32 || peak <= 0) peak = x.f32;
    if (peak > w->peak) w->peak = peak;
    if (x.read > w->read) w->read = x.read;
}

static double pp_speed, one_speed, batch_speed; /* tokens a second, for the shares at the end */

/* tokens: of all repeats; per own CPU second they tell more than per second where others use the machine. */
static void line(const char *test, double *speed, uint32_t n, double foreign, double tokens) {
    qsort(speed, n, sizeof(*speed), by_value);
    printf("{\"test\": \"%s\", \"tok_s\": %.1f, \"min\": %.1f, \"max\": %.1f, \"n\": %u, \"tok_cpu_s\": %.1f, "
           "\"foreign\": %.3f}\n",
           test, speed[n / 2], speed[0], speed[n - 1], n, tokens / own_spent, foreign);
    fflush(stdout);
    own_spent = 0;
}

static uint32_t n_token, n_first;

static void count_tokens(void *arg, const hone_event *event) {
    (void)arg;
    n_token += event->kind == HONE_EVENT_TOKEN;
    n_first += event->kind == HONE_EVENT_TOKEN && event->index == 0;
}

static bool submit(hone_engine *e, uint64_t id, uint32_t n_prompt, uint32_t max_tokens, uint32_t vocab) {
    static int32_t prompt[MAX_PROMPT];
    for (uint32_t i = 0; i < n_prompt; i++)
        prompt[i] = 17 + (int32_t)(hone_random_unit(id, 1, 2, i) * (float)(vocab - 17));
    const hone_engine_request r = {.id = id,
                                   .prompt = prompt,
                                   .n_prompt = n_prompt,
                                   .max_tokens = max_tokens,
                                   .n_logprobs = -1,
                                   .sampling = hone_sampling_defaults()};
    hone_error err;
    if (hone_engine_submit(e, &r, &err) == HONE_OK) return true;
    fprintf(stderr, "engine_bench: %s\n", err.message);
    return false;
}

static bool run_prefill(hone_engine *e, const options *o, uint32_t vocab) {
    double speed[MAX_REPEATS], foreign = 0;
    for (uint32_t i = 0; i < o->repeats + 1; i++) {
        if (!submit(e, 1000 + i, o->pp, 1, vocab)) return false;
        load_begin();
        const double from = hone_clock_seconds();
        while (hone_engine_step(e, count_tokens, NULL)) {
        }
        if (i == 0) continue; /* warms up */
        speed[i - 1] = o->pp / (hone_clock_seconds() - from);
        const double f = load_end();
        foreign = f > foreign ? f : foreign;
    }
    char name[32];
    snprintf(name, sizeof(name), "pp%u", o->pp);
    line(name, speed, o->repeats, foreign, (double)o->pp * o->repeats);
    pp_speed = speed[o->repeats / 2];
    return true;
}

static bool run_decode(hone_engine *e, const options *o, uint32_t batch, uint32_t vocab) {
    double speed[MAX_REPEATS], foreign = 0;
    const uint32_t prompt = batch == 1 ? 1 : 128;
    const uint32_t repeats = batch == 1 ? o->repeats : (o->repeats + 1) / 2;
    for (uint32_t i = 0; i < repeats; i++) {
        for (uint32_t b = 0; b < batch; b++)
            if (!submit(e, 1 + b, prompt, o->tg + AHEAD, vocab)) return false;
        n_first = 0;
        while (n_first < batch) hone_engine_step(e, count_tokens, NULL); /* everyone's first */
        n_token = 0;
        load_begin();
        const double from = hone_clock_seconds();
        for (uint32_t step = 0; step < o->tg; step++) hone_engine_step(e, count_tokens, NULL);
        speed[i] = n_token / (hone_clock_seconds() - from);
        const double f = load_end();
        foreign = f > foreign ? f : foreign;
        for (uint32_t b = 0; b < batch; b++) hone_engine_cancel(e, 1 + b);
    }
    char name[32];
    snprintf(name, sizeof(name), "tg%u B=%u", o->tg, batch);
    line(name, speed, repeats, foreign, (double)batch * o->tg * repeats);
    *(batch == 1 ? &one_speed : &batch_speed) = speed[repeats / 2];
    return true;
}

static bool read_options(int argc, char **argv, options *o) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        const uint32_t number = (uint32_t)strtoul(value, NULL, 10);
        if (!strcmp(name, "--model"))
            o->model = value;
        else if (!strcmp(name, "--threads"))
            o->threads = number;
        else if (!strcmp(name, "--pp"))
            o->pp = number;
        else if (!strcmp(name, "--tg"))
            o->tg = number;
        else if (!strcmp(name, "--repeats"))
            o->repeats = number;
        else if (!strcmp(name, "--step-rows"))
            o->step_rows = number;
        else if (!strcmp(name, "--drafts"))
            o->drafts = !strcmp(value, "on");
        else if (!strcmp(name, "--batches"))
            o->batches = value;
        else if (!strcmp(name, "--precision"))
            o->precision = strcmp(value, "f32") ? HONE_PRECISION_SERVING : HONE_PRECISION_F32;
        else if (!strcmp(name, "--kv-type"))
            o->kv_int8 = !strcmp(value, "int8");
        else
            return false;
    }
    return argc % 2 == 1 && o->model && o->pp <= MAX_PROMPT && o->repeats && o->repeats < MAX_REPEATS;
}

int main(int argc, char **argv) {
    options o = {.pp = 512, .tg = 128, .repeats = 5, .step_rows = 512, .batches = "1,32"};
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr,
                "usage: engine_bench --model M.gguf [--threads N] [--pp N] [--tg N] [--batches 1,32] [--repeats N] "
                "[--step-rows N] [--precision serving|f32]\n");
        return 2;
    }
    hone_error err = {0};
    work w = {0};
    hone_pool *pool = NULL;
    hone_model *model = NULL;
    hone_engine *e = NULL;
    const double from = hone_clock_seconds();
    hone_status st = hone_pool_open(&pool, o.threads, &err);
    if (st == HONE_OK) st = hone_model_open(&model, o.model, hone_kernels_best(), o.precision, pool, &err);
    const hone_engine_config cfg = {.max_step_rows = o.step_rows,
                                    .max_sequences = 64,
                                    .max_draft = o.drafts ? 0 : HONE_NO_DRAFT,
                                    .kv_type = o.kv_int8 ? HONE_KV_INT8 : hone_kv_type_for(o.precision)};
    if (st == HONE_OK) st = hone_engine_open(&e, model, pool, &cfg, &err);
    bool done = st == HONE_OK;
    if (done) {
        printf("{\"model\": \"%s\", \"kernels\": \"%s\", \"threads\": %u, \"load_s\": %.2f}\n", o.model,
               model->kernels->name, hone_pool_threads(pool), hone_clock_seconds() - from);
        w = work_of(model);
        measure_limits(model, pool, &w);
        done = run_prefill(e, &o, model->arch.vocab);
    } else {
        fprintf(stderr, "engine_bench: %s\n", err.message);
    }
    for (const char *at = o.batches; done && *at;) {
        char *end;
        const uint32_t batch = (uint32_t)strtoul(at, &end, 10);
        if (end == at || batch == 0 || batch > 64) break;
        done = run_decode(e, &o, batch, model->arch.vocab);
        at = *end ? end + 1 : end;
    }
    if (done) {
        measure_limits(model, pool, &w);
        printf("{\"peak_gop_s\": %.1f, \"read_gb_s\": %.1f, \"pp_of_peak\": %.3f, \"batch_of_peak\": %.3f, "
               "\"one_stream_gb_s\": %.1f, \"one_stream_of_read\": %.3f}\n",
               w.peak * 1e-9, w.read * 1e-9, pp_speed * w.prompt_ops / w.peak, batch_speed * w.token_ops / w.peak,
               one_speed * w.step_bytes * 1e-9, one_speed * w.step_bytes / w.read);
    }
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    if (done) printf("{\"peak_rss_mib\": %ld}\n", u.ru_maxrss / 1024);
    hone_engine_close(e);
    hone_model_close(model);
    hone_pool_close(pool);
    return done ? 0 : 1;
}
