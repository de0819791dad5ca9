/* bench.c - hone bench: figures of a model on this machine.
 *
 * perplexity: the text is cut into windows of --context tokens, each behind a begin-of-text token where the tokenizer
 * has one; the second half of each window is scored, so that every scored token has at least half a window before it
 * (llama.cpp's llama-perplexity does the same, and gives comparable numbers).
 *
 * Order: windows, the verb. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/model.h"
#include "cli/verbs.h"
#include "train/pass.h"

/* ---- windows ---- */

static bool cut(hone_train_data *data, const hone_ids *ids, uint32_t context, uint32_t most, int32_t bos) {
    const size_t n = ids->n / context < most ? ids->n / context : most;
    if (!(data->row = hone_zalloc(n + 1, sizeof(*data->row)))) return false;
    for (size_t w = 0; w < n; w++) {
        hone_train_row *r = &data->row[data->n++];
        r->token = hone_zalloc(context, sizeof(*r->token));
        r->trained = hone_zalloc(context, 1);
        if (!r->token || !r->trained) return false;
        memcpy(r->token, ids->id + w * context, context * sizeof(*r->token));
        if (bos >= 0) r->token[0] = bos;
        for (uint32_t t = context / 2; t < context; t++) r->trained[t] = 1;
        r->n = context;
        r->n_trained = context - context / 2;
        r->n_run = context - 1;
        data->n_tokens += context;
        data->n_trained += r->n_trained;
    }
    data->longest = context;
    data->longest_run = context - 1;
    return true;
}

static int print_perplexity(const cli_args *args, const cli_model *m, const hone_train_data *data, const float *logprob,
                            uint32_t context) {
    double sum = 0.0, squares = 0.0;
    for (uint64_t i = 0; i < data->n_trained; i++) {
        sum -= logprob[i];
        squares += (double)logprob[i] * logprob[i];
    }
    const double n = (double)data->n_trained, nll = sum / n, variance = squares / n - nll * nll;
    const double error = sqrt(variance > 0 ? variance / n : 0); /* of the mean */
    if (args->json)
        return cli_print_json(args,
                              json_pack("{s:s, s:s, s:f, s:f, s:f, s:I, s:i, s:i}", "model", m->where.version, "format",
                                        m->model->format, "perplexity", exp(nll), "nll", nll, "standard_error",
                                        exp(nll) * error, "scored_tokens", (json_int_t)data->n_trained, "windows",
                                        (int)data->n, "context", (int)context));
    printf("perplexity %.4f +- %.4f  (nll %.5f; %llu tokens in %zu windows of %u; %s)\n", exp(nll), exp(nll) * error,
           nll, (unsigned long long)data->n_trained, data->n, context, m->model->format);
    return CLI_OK;
}

static int perplexity(const cli_args *args) {
    const char *name = cli_need(args, "model"), *path = cli_need(args, "file");
    uint32_t context = 512, most = UINT32_MAX;
    if (!name || !path || !cli_u32(args, "context", 8, 1u << 20, &context) ||
        !cli_u32(args, "windows", 1, UINT32_MAX, &most))
        return CLI_USAGE;
    cli_model m;
    hone_train_data data = {0};
    hone_loss loss = {0};
    hone_buf text = {0};
    hone_ids ids = {0};
    hone_error err = {0};
    float *logprob = NULL;
    int rc = cli_model_open(&m, args, name, CLI_WEIGHTS | CLI_TEXT_SIDE);
    if (rc != CLI_OK) goto done;
    const hone_tokenizer *t = m.text->tokenizer;
    hone_status st = context > m.model->arch.max_position
                         ? hone_fail(&err, HONE_ERR_ARG, "--context %u: the model has %u positions", context,
                                     m.model->arch.max_position)
                         : hone_file_read(path, &text, 0, &err);
    if (st == HONE_OK) st = hone_tokenizer_encode(t, hone_buf_str(&text), text.n, 0, &ids, &err);
    if (st == HONE_OK && ids.n < context)
        st = hone_fail(&err, HONE_ERR_ARG, "%s has %zu tokens, one window is %u", path, ids.n, context);
    if (st == HONE_OK &&
        (!cut(&data, &ids, context, most, hone_tokenizer_adds_bos(t) ? hone_tokenizer_role(t, HONE_ROLE_BOS) : -1) ||
         !(logprob = hone_zalloc(data.n_trained, sizeof(*logprob)))))
        st = hone_fail(&err, HONE_ERR_NOMEM, "no memory for %zu tokens", ids.n);
    if (st == HONE_OK) st = hone_loss_of_data(m.model, m.adapter, m.pool, &data, 0, &loss, logprob, NULL, &err);
    rc = st == HONE_OK ? print_perplexity(args, &m, &data, logprob, context) : cli_fail(args, &err);
done:
    hone_free(logprob);
    hone_ids_free(&ids);
    hone_buf_free(&text);
    hone_data_free(&data);
    cli_model_close(&m);
    return rc;
}

/* ---- the verb ---- */

static const char *const words[] = {"perplexity", NULL};

static const cli_option options[] = {
    {"model", "NAME", "a local name, a version, or a path"},
    {"adapter", "DIR", "with this adapter"},
    {"file", "FILE", "the text, UTF-8"},
    {"context", "N", "tokens of a window (default: 512)"},
    {"windows", "N", "score at most so many windows (default: all)"},
    CLI_MODEL_OPTIONS,
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_bench = {
    .name = "bench",
    .usage = "bench perplexity --model NAME --file TEXT",
    .about = "figures of a model: what a format costs in quality",
    .example = "hone bench perplexity --model smollm2-360m-q4_k.gguf --file wiki.test.raw",
    .more = "Speeds, beside other programs on the same machine, are bench/run in the source tree.",
    .words = words,
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = perplexity, /* the only word so far: the table refuses others */
};
