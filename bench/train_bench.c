/* train_bench.c - speed and memory of fine-tuning on rows of a file, one JSON object.
 *
 *     train_bench --model M --data ROWS.jsonl [--steps 12] [--batch 8] [--threads N] [--micro-tokens N]
 *                 [--precision serving|f32]
 *
 * The first step pays for cold memory and is left out.  clean_tokens_per_second counts only steps during which other
 * processes took less than 4 % of the cores: quote that one, and only where clean_steps is not small. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "model/text.h"
#include "train/trainer.h"

static int n_args;
static char **args;

static const char *get(const char *name, const char *otherwise) {
    for (int i = 1; i + 1 < n_args; i++)
        if (strncmp(args[i], "--", 2) == 0 && strcmp(args[i] + 2, name) == 0) return args[i + 1];
    return otherwise;
}

static void must(hone_status st, const hone_error *err) {
    if (st == HONE_OK) return;
    fprintf(stderr, "train_bench: %s\n", err->message);
    exit(1);
}

/* Seconds that all cores were busy or taken away, less those of this process. */
static double foreign_seconds(void) {
    unsigned long long v[8] = {0};
    struct rusage u;
    FILE *f = fopen("/proc/stat", "r");
    if (!f) return 0;
    const int n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5],
                         &v[6], &v[7]);
    fclose(f);
    getrusage(RUSAGE_SELF, &u);
    const double own =
        (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
    const double all = (double)(v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / (double)sysconf(_SC_CLK_TCK);
    return n < 8 ? 0 : all - own;
}

typedef struct {
    double foreign, clean_seconds, seconds;
    uint64_t clean_steps, clean_tokens, tokens, steps, planned;
} tally;

static hone_status on_plan(void *arg, const hone_train_plan *plan, uint64_t first, hone_error *err) {
    tally *t = arg;
    (void)first;
    (void)err;
    t->planned = plan->total_bytes;
    t->foreign = foreign_seconds();
    return HONE_OK;
}

static hone_status on_step(void *arg, const hone_train_step *s, hone_error *err) {
    tally *t = arg;
    (void)err;
    const double foreign = foreign_seconds(), share = (foreign - t->foreign) / s->seconds;
    t->foreign = foreign;
    if (s->step == 1) return HONE_OK;
    t->steps++;
    t->tokens += s->tokens;
    t->seconds += s->seconds;
    if (share < 0.04 * (double)sysconf(_SC_NPROCESSORS_ONLN)) {
        t->clean_steps++;
        t->clean_tokens += s->tokens;
        t->clean_seconds += s->seconds;
    }
    return HONE_OK;
}

int main(int argc, char **argv) {
    n_args = argc;
    args = argv;
    hone_error err = {0};
    hone_pool *pool;
    hone_model *model;
    hone_text *text;
    hone_train_data data = {0};
    const char *path = get("model", NULL), *rows = get("data", NULL);
    if (!path || !rows) return fprintf(stderr, "train_bench: --model and --data are needed\n"), 2;
    const hone_precision precision =
        strcmp(get("precision", "serving"), "f32") ? HONE_PRECISION_SERVING : HONE_PRECISION_F32;
    hone_json_init();
    must(hone_pool_open(&pool, (uint32_t)atoi(get("threads", "0")), &err), &err);
    must(hone_model_open(&model, path, hone_kernels_best(), precision, pool, &err), &err);
    must(hone_text_open(&text, path, &err), &err);
    const hone_data_rules rules = {.tokenizer = text->tokenizer,
                                   .template = text->chat,
                                   .special_tokens = text->special_tokens,
                                   .vocab = model->arch.vocab,
                                   .max_length = model->arch.max_position};
    must(hone_data_load(&data, rows, &rules, NULL, &err), &err);
    hone_train_config c = hone_train_defaults();
    c.epochs = 1;
    c.batch_rows = (uint32_t)atoi(get("batch", "8"));
    c.max_steps = (uint64_t)atoi(get("steps", "12"));
    c.micro_tokens = (uint32_t)atoi(get("micro-tokens", "0"));
    tally t = {0};
    const hone_train_hooks hooks = {.arg = &t, .on_plan = on_plan, .on_step = on_step};
    hone_train_result result;
    must(hone_train_run(&result, model, pool, &c, &data, NULL, &hooks, NULL, &err), &err);
    printf("{\"kernels\": \"%s\", \"threads\": %u, \"format\": \"%s\", \"steps\": %llu, \"tokens_per_second\": %.1f, "
           "\"clean_steps\": %llu, \"clean_tokens_per_second\": %.1f, \"peak_rss_bytes\": %llu, \"planned_bytes\": "
           "%llu}\n",
           model->kernels->name, hone_pool_threads(pool), model->format, (unsigned long long)t.steps,
           t.seconds > 0 ? (double)t.tokens / t.seconds : 0, (unsigned long long)t.clean_steps,
           t.clean_seconds > 0 ? (double)t.clean_tokens / t.clean_seconds : 0,
           (unsigned long long)result.peak_rss_bytes, (unsigned long long)t.planned);
    hone_adapter_free(result.adapter);
    hone_data_free(&data);
    hone_text_close(text);
    hone_model_close(model);
    hone_pool_close(pool);
    return 0;
}
