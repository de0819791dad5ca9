/* schedule_bench.c - what streams, newcomers and second turns see of each other: the engine alone, one JSON object a
 * line.
 *
 *     schedule_bench --model M.gguf [--what giant,turn,wave,mixed] [--threads N] [--tokens 7900] [--context N]
 *                    [--deep N] [--seconds 8] [--stall PERCENT] [--adapter DIR]
 *
 * giant: 8 streams, alone and while a prompt of --tokens comes in, with a newcomer of 64 tokens every second; gaps
 *        between tokens, time to a newcomer's first token, rows a second of the giant.  Ends after --seconds.
 *        --deep: so many of the prompt's tokens are computed beforehand, so that it is met far down.
 * turn:  a prompt of --tokens, then the same with 40 more: time to the first token, cold and warm.
 * wave:  8 prompts at once, 600 tokens in common and 50 of their own: time to the first token.
 * mixed: 32 clients in a closed loop, 200 tokens in, 64 out, for --seconds: tokens a second.
 * --stall 0 is the engine's own choice, 4294967295 no limit.  --context overrides what the model was trained for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "engine/engine.h"
#include "engine/sample.h"

#define MAX_TOKENS 65536
#define MAX_IDS 4096
#define MAX_GAPS 200000

typedef struct {
    const char *model, *what, *adapter;
    uint32_t threads, tokens, context, stall, deep;
    double seconds;
} options;

static double sent[MAX_IDS], last[MAX_IDS], gap[MAX_GAPS], ttft[MAX_IDS];
static uint32_t n_gap, n_ttft, n_token, n_done, cached;
static uint64_t gaps_below; /* gaps of ids below it count */

static void on_event(void *arg, const hone_event *event) {
    (void)arg;
    const double now = hone_clock_seconds();
    const uint64_t id = event->id;
    if (event->kind == HONE_EVENT_DONE) n_done++;
    if (event->kind != HONE_EVENT_TOKEN) return;
    n_token++;
    cached = event->n_cached;
    if (event->index == 0)
        ttft[n_ttft++ % MAX_IDS] = now - sent[id];
    else if (id < gaps_below && n_gap < MAX_GAPS)
        gap[n_gap++] = now - last[id];
    last[id] = now;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double at(double *v, uint32_t n, double share) {
    if (n == 0) return 0;
    qsort(v, n, sizeof(*v), by_value);
    const uint32_t i = (uint32_t)(share * n);
    return v[i < n ? i : n - 1] * 1e3;
}

static bool submit(hone_engine *e, const options *o, uint64_t id, uint32_t n, uint32_t common, uint32_t max_tokens,
                   uint64_t seed, uint32_t vocab) {
    static int32_t prompt[MAX_TOKENS];
    for (uint32_t i = 0; i < n; i++)
        prompt[i] = 17 + (int32_t)(hone_random_unit(i < common ? 99 : seed, 1, 2, i) * (float)(vocab - 17));
    const hone_engine_request r = {.id = id,
                                   .prompt = prompt,
                                   .n_prompt = n,
                                   .max_tokens = max_tokens,
                                   .n_logprobs = -1,
                                   .ignore_stop = true,
                                   .max_draft = HONE_NO_DRAFT,
                                   .adapter = o->adapter ? "adapter" : NULL,
                                   .sampling = hone_sampling_defaults()};
    hone_error err;
    sent[id] = hone_clock_seconds();
    if (hone_engine_submit(e, &r, &err) == HONE_OK) return true;
    fprintf(stderr, "schedule_bench: %s\n", err.message);
    return false;
}

/* Gaps of the streams alone, for so long; they end in gap[] behind those that are there. */
static void run_idle(hone_engine *e, double seconds) {
    const double from = hone_clock_seconds();
    while (hone_clock_seconds() - from < seconds) hone_engine_step(e, on_event, NULL);
}

static bool run_giant(hone_engine *e, const options *o, uint32_t vocab) {
    enum { STREAMS = 8, GIANT = 100, NEW = 200 };
    static double busy[MAX_GAPS];
    gaps_below = STREAMS;
    if (o->deep && !submit(e, o, GIANT, o->deep, 0, 1, 5, vocab)) return false;
    while (o->deep && hone_engine_step(e, on_event, NULL)) {
    }
    n_ttft = 0;
    for (uint64_t id = 0; id < STREAMS; id++)
        if (!submit(e, o, id, 600, 0, 7000, 10 + id, vocab)) return false;
    while (n_ttft < STREAMS) hone_engine_step(e, on_event, NULL);
    n_gap = 0;
    run_idle(e, o->seconds / 6);
    const uint32_t n_before = n_gap;
    hone_engine_stats before, after;
    hone_engine_get_stats(e, &before);
    if (!submit(e, o, GIANT, o->tokens, 0, 2, 5, vocab)) return false;
    n_ttft = n_done = 0;
    const double from = hone_clock_seconds();
    uint64_t next = 0;
    double took = 0;
    while (took < o->seconds && n_done < 1 + next) {
        if (took > 0.5 + (double)next && !submit(e, o, NEW + next, 64, 0, 1, 1000 + next, vocab)) return false;
        next += took > 0.5 + (double)next;
        hone_engine_step(e, on_event, NULL);
        took = hone_clock_seconds() - from;
    }
    hone_engine_get_stats(e, &after);
    const bool ended = n_done > next;
    const uint32_t n_busy = n_gap - n_before;
    memcpy(busy, gap + n_before, n_busy * sizeof(*gap));
    n_gap = n_before;
    for (uint64_t id = GIANT; id < MAX_IDS; id++) hone_engine_cancel(e, id);
    run_idle(e, o->seconds / 6); /* the streams are longer now, and so are their steps: half before, half after */
    const double p50 = at(gap, n_gap, 0.5), p99 = at(gap, n_gap, 0.99);
    const double with50 = at(busy, n_busy, 0.5), with99 = at(busy, n_busy, 0.99);
    printf(
        "{\"test\": \"giant of %u\", \"idle_itl_ms\": {\"p50\": %.2f, \"p99\": %.2f}, \"itl_ms\": {\"p50\": %.2f, "
        "\"p90\": %.2f, \"p99\": %.2f}, \"ratio\": {\"p50\": %.2f, \"p99\": %.2f}, \"newcomer_ttft_ms\": {\"n\": %u, "
        "\"p50\": %.1f, \"max\": %.1f}, \"prompt_rows_s\": %.0f, \"seconds\": %.1f, \"ended\": %s}\n",
        o->tokens, p50, p99, with50, at(busy, n_busy, 0.9), with99, with50 / p50, with99 / p99, n_ttft,
        at(ttft, n_ttft, 0.5), at(ttft, n_ttft, 1), (double)(after.prefill_tokens - before.prefill_tokens) / took, took,
        ended ? "true" : "false");
    for (uint64_t id = 0; id < MAX_IDS; id++) hone_engine_cancel(e, id);
    return true;
}

static bool run_turn(hone_engine *e, const options *o, uint32_t vocab) {
    double warm[5], cold = 0;
    for (uint32_t i = 0; i < 6; i++) {
        n_ttft = 0;
        if (!submit(e, o, i, o->tokens + 40 * i, o->tokens + 40 * i, 2, 1, vocab)) return false;
        while (hone_engine_step(e, on_event, NULL)) {
        }
        if (i)
            warm[i - 1] = ttft[0];
        else
            cold = ttft[0];
    }
    printf("{\"test\": \"second turn on %u\", \"cold_ttft_ms\": %.1f, \"warm_ttft_ms\": %.1f, \"share\": %.4f, "
           "\"cached\": %u}\n",
           o->tokens, cold * 1e3, at(warm, 5, 0.5), at(warm, 5, 0.5) / cold / 1e3, cached);
    return true;
}

static bool run_wave(hone_engine *e, const options *o, uint32_t vocab) {
    n_ttft = 0;
    for (uint64_t id = 0; id < 8; id++)
        if (!submit(e, o, id, 650, 600, 32, 70 + id, vocab)) return false;
    while (hone_engine_step(e, on_event, NULL)) {
    }
    printf("{\"test\": \"wave of 8 x 600 + 50\", \"ttft_ms\": {\"p50\": %.1f, \"max\": %.1f}}\n", at(ttft, 8, 0.5),
           at(ttft, 8, 1));
    return true;
}

static bool run_mixed(hone_engine *e, const options *o, uint32_t vocab) {
    enum { CLIENTS = 32 };
    n_ttft = n_gap = n_token = n_done = 0;
    gaps_below = MAX_IDS;
    uint64_t next = 0;
    const double from = hone_clock_seconds();
    while (hone_clock_seconds() - from < o->seconds) {
        for (; next < n_done + CLIENTS && next < MAX_IDS; next++)
            if (!submit(e, o, next, 180 + (uint32_t)(next * 7 % 40), 0, 64, 5000 + next, vocab)) return false;
        hone_engine_step(e, on_event, NULL);
    }
    const double took = hone_clock_seconds() - from;
    const uint32_t n = n_ttft < MAX_IDS ? n_ttft : MAX_IDS;
    printf("{\"test\": \"mixed 32\", \"tokens_s\": %.1f, \"requests_s\": %.2f, \"ttft_ms\": {\"p50\": %.1f, \"p99\": "
           "%.1f}, \"itl_ms\": {\"p50\": %.1f, \"p99\": %.1f}}\n",
           n_token / took, n_done / took, at(ttft, n, 0.5), at(ttft, n, 0.99), at(gap, n_gap, 0.5),
           at(gap, n_gap, 0.99));
    for (uint64_t id = 0; id < MAX_IDS; id++) hone_engine_cancel(e, id);
    return true;
}

static bool read_options(int argc, char **argv, options *o) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        const uint32_t number = (uint32_t)strtoul(value, NULL, 10);
        if (!strcmp(name, "--model"))
            o->model = value;
        else if (!strcmp(name, "--what"))
            o->what = value;
        else if (!strcmp(name, "--adapter"))
            o->adapter = value;
        else if (!strcmp(name, "--threads"))
            o->threads = number;
        else if (!strcmp(name, "--tokens"))
            o->tokens = number;
        else if (!strcmp(name, "--context"))
            o->context = number;
        else if (!strcmp(name, "--deep"))
            o->deep = number;
        else if (!strcmp(name, "--stall"))
            o->stall = number;
        else if (!strcmp(name, "--seconds"))
            o->seconds = strtod(value, NULL);
        else
            return false;
    }
    return argc % 2 == 1 && o->model && o->tokens <= MAX_TOKENS - 400 && o->seconds > 0;
}

static bool run(const char *what, hone_model *model, hone_pool *pool, const options *o, hone_error *err) {
    const hone_engine_config cfg = {.max_sequences = 64, .kv_bytes = 3ull << 29, .stall_percent = o->stall};
    hone_engine *e = NULL;
    if (hone_engine_open(&e, model, pool, &cfg, err) != HONE_OK) return false;
    hone_adapter *adapter = NULL;
    bool done = !o->adapter || (hone_adapter_read(&adapter, o->adapter, &model->arch, err) == HONE_OK &&
                                hone_engine_add_adapter(e, "adapter", adapter, err) == HONE_OK);
    const uint32_t v = model->arch.vocab;
    n_ttft = n_gap = 0;
    if (done && !strcmp(what, "giant")) done = run_giant(e, o, v);
    if (done && !strcmp(what, "turn")) done = run_turn(e, o, v);
    if (done && !strcmp(what, "wave")) done = run_wave(e, o, v);
    if (done && !strcmp(what, "mixed")) done = run_mixed(e, o, v);
    fflush(stdout);
    hone_engine_close(e);
    return done;
}

int main(int argc, char **argv) {
    options o = {.what = "giant,turn,wave,mixed", .tokens = 7900, .seconds = 8};
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr,
                "usage: schedule_bench --model M.gguf [--what giant,turn,wave,mixed] [--threads N] [--tokens N] "
                "[--context N] [--deep N] [--seconds S] [--stall PERCENT] [--adapter DIR]\n");
        return 2;
    }
    hone_error err = {0};
    hone_pool *pool = NULL;
    hone_model *model = NULL;
    bool done = hone_pool_open(&pool, o.threads, &err) == HONE_OK &&
                hone_model_open(&model, o.model, hone_kernels_best(), HONE_PRECISION_SERVING, pool, &err) == HONE_OK;
    if (done && o.context) model->arch.max_position = o.context;
    for (const char *w = o.what; done && *w;) {
        char word[16] = "";
        const size_t n = strcspn(w, ",");
        if (n < sizeof(word)) memcpy(word, w, n);
        done = run(word, model, pool, &o, &err);
        w += n + (w[n] == ',');
    }
    if (!done) fprintf(stderr, "schedule_bench: %s\n", err.message);
    hone_model_close(model);
    hone_pool_close(pool);
    return done ? 0 : 1;
}
