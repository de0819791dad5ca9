/* quantize.c - hone quantize: a model as a GGUF file in another format. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/pool.h"
#include "cli/model.h"
#include "cli/verbs.h"
#include "kernel/encode.h"
#include "model/export/export.h"

typedef struct {
    bool terminal;
    int percent;
} drawing;

static void draw(void *arg, uint64_t done, uint64_t total) {
    drawing *d = arg;
    const int percent = total ? (int)(done * 100 / total) : 100;
    if (!d->terminal || percent == d->percent) return;
    d->percent = percent;
    fprintf(stderr, "\r%3d %%%s", percent, percent == 100 ? "\n" : "");
}

static bool type_named(const char *name, hone_dtype *out) {
    for (int t = 0; t < HONE_DTYPE_COUNT; t++)
        if (hone_dtype_can_encode((hone_dtype)t) && strcasecmp(hone_dtype_name((hone_dtype)t), name) == 0) {
            *out = (hone_dtype)t;
            return true;
        }
    return false;
}

static int print_report(const cli_args *args, const char *to, const hone_quantize_report *r) {
    if (args->json) {
        json_t *tensors = json_object();
        for (int t = 0; t < HONE_DTYPE_COUNT; t++)
            if (r->tensors[t])
                json_object_set_new(tensors, hone_dtype_name((hone_dtype)t), json_integer(r->tensors[t]));
        return cli_print_json(args, json_pack("{s:s, s:I, s:I, s:I, s:o}", "file", to, "bytes", (json_int_t)r->bytes,
                                              "source_bytes", (json_int_t)r->source_bytes, "parameters",
                                              (json_int_t)r->parameters, "tensors", tensors));
    }
    char a[CLI_TEXT], b[CLI_TEXT];
    printf("%s: %s, was %s; %.2f bits a weight\n", to, cli_bytes(r->bytes, a), cli_bytes(r->source_bytes, b),
           r->parameters ? 8.0 * (double)r->bytes / (double)r->parameters : 0.0);
    for (int t = 0; t < HONE_DTYPE_COUNT; t++)
        if (r->tensors[t]) printf("  %5u tensors %s\n", r->tensors[t], hone_dtype_name((hone_dtype)t));
    return CLI_OK;
}

static int run(const cli_args *args) {
    const char *to = args->word[1], *type = cli_need(args, "type");
    drawing d = {.terminal = isatty(2) && !args->quiet, .percent = -1};
    hone_quantize_options options = {.pure = cli_has(args, "pure"), .progress = draw, .arg = &d};
    hone_quantize_report report;
    hone_resolved where;
    hone_error err = {0};
    struct stat st;
    uint32_t threads = 0;
    if (!type || !cli_u32(args, "threads", 1, 256, &threads)) return CLI_USAGE;
    if (!type_named(type, &options.type))
        return cli_usage(
            args, "--type %.40s: one of F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, MXFP4", type);
    if (stat(to, &st) == 0 && !cli_has(args, "force"))
        return cli_fail_text(args, "%s is there already; --force writes over it", to);
    int rc = cli_model_resolve(&where, args, args->word[0]);
    if (rc != CLI_OK) return rc;
    hone_pool *pool = NULL;
    hone_status status = hone_pool_open(&pool, threads, &err);
    if (status == HONE_OK) status = hone_quantize(where.path, to, &options, pool, &report, &err);
    hone_pool_close(pool);
    rc = status == HONE_OK ? print_report(args, to, &report) : cli_fail(args, &err);
    hone_resolved_free(&where);
    return rc;
}

static const cli_option options[] = {
    {"type", "FORMAT", "F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0 or MXFP4"},
    {"pure", NULL, "the head (or the embedding it is tied to) in this format too; else it gets at least Q6_K"},
    {"force", NULL, "write over a file that is there"},
    {"threads", "N", "threads of computation (default: one per core)"},
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_quantize = {
    .name = "quantize",
    .usage = "quantize MODEL FILE.gguf --type FORMAT",
    .about = "write a model as a GGUF file in another format",
    .example = "hone quantize ./SmolLM2-360M-Instruct smollm2-360m-q4_k.gguf --type Q4_K",
    .more = "MODEL is a Hugging Face folder or a GGUF file whose weights are not quantised yet (F32, F16, BF16, FP8).\n"
            "Vectors stay F32.  Matrices whose width is no multiple of 256 get Q5_0 for Q4_K, Q5_1 for Q5_K, Q8_0 for\n"
            "Q6_K.  What a format costs in quality: hone bench perplexity.",
    .options = options,
    .min_words = 2,
    .max_words = 2,
    .run = run,
};
