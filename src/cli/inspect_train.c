/* inspect_train.c - hone inspect loss and hone inspect masks: the trainer's view of rows.
 * Order: loss, masks. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/inspect.h"
#include "cli/model.h"
#include "cli/train.h"
#include "train/pass.h"

/* Rows of tokens need no tokenizer; rows of messages and texts do. */
static hone_data_rules rules_for(const cli_model *m) {
    return (hone_data_rules){
        .tokenizer = m->text ? m->text->tokenizer : NULL,
        .template = m->text ? m->text->chat : NULL,
        .special_tokens = m->text ? m->text->special_tokens : NULL,
        .vocab = m->model  ? m->model->arch.vocab
                 : m->text ? (uint32_t)hone_tokenizer_size(m->text->tokenizer)
                           : 0,
        .max_length = m->model ? m->model->arch.max_position : UINT32_MAX,
    };
}

static void print_logprobs(hone_buf *b, const hone_train_data *data, const float *logprob) {
    hone_buf_text(b, ",\"logprobs\":[");
    for (size_t i = 0; i < data->n; i++) {
        if (i) hone_buf_char(b, ',');
        cli_inspect_floats(b, logprob, data->row[i].n_trained);
        logprob += data->row[i].n_trained;
    }
    hone_buf_char(b, ']');
}

static int loss_run(const cli_args *args, const cli_model *m, const hone_train_data *data) {
    const char *grad_path = cli_get(args, "grad");
    const bool want_logprobs = cli_has(args, "logprobs");
    hone_lora_grad grad = {0};
    hone_loss sum = {0};
    hone_error err = {0};
    float *logprob = NULL;
    hone_buf b = {0};
    if (grad_path && !m->adapter) return cli_usage(args, "--grad needs --adapter: the base is frozen");
    if (want_logprobs && !(logprob = hone_zalloc(data->n_trained + 1, sizeof(*logprob))))
        return cli_fail_text(args, "no memory");
    hone_status status = HONE_OK;
    if (grad_path) status = hone_lora_grad_open(&grad, m->model, m->adapter, &err);
    if (status == HONE_OK)
        status =
            hone_loss_of_data(m->model, m->adapter, m->pool, data, 0, &sum, logprob, grad_path ? &grad : NULL, &err);
    if (status == HONE_OK && grad_path)
        status = hone_adapter_write_tensors(m->adapter, grad.a, grad.b, grad_path, &err);
    int rc = CLI_OK;
    const double mean = sum.trained ? sum.loss / (double)sum.trained : 0;
    if (status != HONE_OK) {
        rc = cli_fail(args, &err);
    } else if (args->json) {
        hone_buf_format(&b, "{\"loss\":%.17g,\"trained_tokens\":%llu,\"accuracy\":%.9g", mean,
                        (unsigned long long)sum.trained, sum.trained ? (double)sum.correct / (double)sum.trained : 0.0);
        if (logprob) print_logprobs(&b, data, logprob);
        hone_buf_text(&b, "}\n");
        rc = cli_inspect_write(args, &b);
    } else {
        printf("loss %.9g over %llu trained tokens\n", mean, (unsigned long long)sum.trained);
        const float *p = logprob;
        for (size_t i = 0; logprob && i < data->n; i++) {
            printf("line %llu:", (unsigned long long)data->row[i].line);
            for (uint32_t k = 0; k < data->row[i].n_trained; k++) printf(" %.9g", (double)*p++);
            putchar('\n');
        }
    }
    hone_free(logprob);
    hone_lora_grad_close(&grad);
    return rc;
}

int cli_inspect_loss(const cli_args *args) {
    const char *name = cli_need(args, "model"), *path = cli_need(args, "input");
    if (!name || !path) return CLI_USAGE;
    cli_model m;
    hone_train_data data = {0};
    hone_error err = {0};
    int rc = cli_model_open(&m, args, name, CLI_WEIGHTS);
    if (rc == CLI_OK) {
        /* The text side is a bonus: a folder of weights alone still answers for rows of tokens. */
        if (hone_text_open(&m.text, m.where.path, &err) != HONE_OK) m.text = NULL;
        const hone_data_rules rules = rules_for(&m);
        rc = cli_train_load(args, &data, path, &rules);
        if (rc == CLI_OK) rc = loss_run(args, &m, &data);
    }
    hone_data_free(&data);
    cli_model_close(&m);
    return rc;
}

/* Masks ------------------------------------------------------------------------------------------------------------*/

/* On a terminal trained tokens stand out; elsewhere they stand between signs that are rare in text. */
static int masks_run(const cli_args *args, const cli_model *m, const hone_train_data *data) {
    uint64_t limit = UINT64_MAX;
    if (!cli_uint(args, "limit", 1, UINT64_MAX, &limit)) return CLI_USAGE;
    hone_error err = {0};
    json_t *rows = json_array();
    for (size_t i = 0; i < data->n && i < limit; i++) {
        const hone_train_row *r = &data->row[i];
        hone_buf text = {0};
        if (hone_data_show(r, m->text->tokenizer, "\xc2\xab", "\xc2\xbb", &text, &err) != HONE_OK) {
            hone_buf_free(&text);
            json_decref(rows);
            return cli_fail(args, &err);
        }
        if (args->json)
            json_array_append_new(rows,
                                  json_pack("{s:I, s:i, s:i, s:s%}", "line", (json_int_t)r->line, "tokens", (int)r->n,
                                            "trained_tokens", (int)r->n_trained, "text", hone_buf_str(&text), text.n));
        else
            printf("line %llu: %u tokens, %u trained\n%s\n\n", (unsigned long long)r->line, r->n, r->n_trained,
                   hone_buf_str(&text));
        hone_buf_free(&text);
    }
    if (args->json)
        return cli_print_json(args, json_pack("{s:I, s:I, s:o}", "tokens", (json_int_t)data->n_tokens, "trained_tokens",
                                              (json_int_t)data->n_trained, "rows", rows));
    json_decref(rows);
    printf("%zu sequences, %llu tokens, %llu trained (between \xc2\xab and \xc2\xbb)\n", data->n,
           (unsigned long long)data->n_tokens, (unsigned long long)data->n_trained);
    return CLI_OK;
}

int cli_inspect_masks(const cli_args *args) {
    const char *name = cli_need(args, "model"), *path = cli_need(args, "data");
    if (!name || !path) return CLI_USAGE;
    cli_model m;
    hone_train_data data = {0};
    int rc = cli_model_open(&m, args, name, CLI_TEXT_SIDE);
    if (rc == CLI_OK) {
        const hone_data_rules rules = rules_for(&m);
        rc = cli_train_load(args, &data, path, &rules);
        if (rc == CLI_OK) rc = masks_run(args, &m, &data);
    }
    hone_data_free(&data);
    cli_model_close(&m);
    return rc;
}
