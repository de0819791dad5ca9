/* inspect.c - hone inspect: the rooms shown bare, for tests and bug reports.
 * Numbers are printed with as many digits as tell every float apart.
 * Order: output, tokens and text, template, logits, loss, masks, kernels, the verb. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/inspect.h"
#include "cli/model.h"
#include "cli/verbs.h"
#include "engine/inspect.h"
#include "kernel/probe.h"
#include "model/gguf.h"

/* A float that comes back as the same bits; JSON has no word for the others. */
static void add_float(hone_buf *b, float x) {
    if (isfinite(x))
        hone_buf_format(b, "%.9g", (double)x);
    else
        hone_buf_text(b, "null");
}

int cli_inspect_write(const cli_args *args, hone_buf *b) {
    int rc = CLI_OK;
    if (b->failed)
        rc = cli_fail_text(args, "no memory for the result");
    else
        fwrite(b->data, 1, b->n, stdout);
    hone_buf_free(b);
    return rc;
}

void cli_inspect_floats(hone_buf *b, const float *x, size_t n) {
    hone_buf_char(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i) hone_buf_char(b, ',');
        add_float(b, x[i]);
    }
    hone_buf_char(b, ']');
}

/* Tokens and text --------------------------------------------------------------------------------------------------*/

static void add_ids(hone_buf *b, const int32_t *id, size_t n) {
    hone_buf_char(b, '[');
    for (size_t i = 0; i < n; i++) hone_buf_format(b, i ? ",%d" : "%d", id[i]);
    hone_buf_char(b, ']');
}

/* A tokenizer alone is enough here: a folder may hold nothing else, or a template that does not compile. */
static int open_tokenizer(const cli_args *args, hone_tokenizer **out, hone_resolved *where) {
    *out = NULL;
    const char *name = cli_need(args, "model");
    if (!name) return CLI_USAGE;
    const int rc = cli_model_resolve(where, args, name);
    if (rc != CLI_OK) return rc;
    hone_error err = {0};
    hone_gguf *g = NULL;
    struct stat st;
    hone_status status;
    if (stat(where->path, &st) == 0 && S_ISDIR(st.st_mode)) {
        status = hone_tokenizer_open_folder(out, where->path, &err);
    } else {
        status = hone_gguf_open_path(&g, where->path, &err);
        if (status == HONE_OK) status = hone_tokenizer_open_gguf(out, g, &err);
        hone_gguf_close(g);
    }
    return status == HONE_OK ? CLI_OK : cli_fail(args, &err);
}

int cli_inspect_tokenizer(const cli_args *args, hone_tokenizer **out) {
    hone_resolved where = {0};
    const int rc = open_tokenizer(args, out, &where);
    hone_resolved_free(&where);
    return rc;
}

static int tokens_of(const cli_args *args, const hone_tokenizer *t, const json_t *texts) {
    hone_error err = {0};
    hone_buf b = {0};
    hone_ids ids = {0};
    const unsigned flags = cli_has(args, "no-special") ? 0 : HONE_ENCODE_ADD_SPECIAL;
    hone_status status = HONE_OK;
    hone_buf_text(&b, "{\"ids\":[");
    for (size_t i = 0; i < json_array_size(texts) && status == HONE_OK; i++) {
        const json_t *text = json_array_get(texts, i);
        if (!json_is_string(text)) {
            status = hone_fail(&err, HONE_ERR_FORMAT, "element %zu is no string", i);
            break;
        }
        ids.n = 0;
        status = hone_tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, &ids, &err);
        if (status != HONE_OK) hone_fail_within(&err, status, "text %zu: ", i);
        if (args->json) {
            if (i) hone_buf_char(&b, ',');
            add_ids(&b, ids.id, ids.n);
        } else if (status == HONE_OK) {
            for (size_t k = 0; k < ids.n; k++) {
                size_t n = 0;
                const char *piece = hone_tokenizer_text(t, ids.id[k], &n);
                printf("%d\t%.*s\n", ids.id[k], (int)n, piece ? piece : "");
            }
            putchar('\n');
        }
    }
    hone_buf_text(&b, "]}\n");
    hone_ids_free(&ids);
    if (status == HONE_OK && args->json) return cli_inspect_write(args, &b);
    hone_buf_free(&b);
    return status == HONE_OK ? CLI_OK : cli_fail(args, &err);
}

static int texts_of(const cli_args *args, const hone_tokenizer *t, const json_t *lists) {
    hone_error err = {0};
    hone_buf b = {0}, text = {0};
    hone_ids ids = {0};
    hone_status status = HONE_OK;
    hone_buf_text(&b, "{\"texts\":[");
    for (size_t i = 0; i < json_array_size(lists) && status == HONE_OK; i++) {
        const json_t *list = json_array_get(lists, i);
        ids.n = 0;
        hone_buf_clear(&text);
        if (!json_is_array(list)) status = hone_fail(&err, HONE_ERR_FORMAT, "element %zu is no list of ids", i);
        for (size_t k = 0; k < json_array_size(list) && status == HONE_OK; k++) {
            const json_t *v = json_array_get(list, k);
            if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX)
                status = hone_fail(&err, HONE_ERR_FORMAT, "list %zu, element %zu is no token id", i, k);
            else if (!hone_ids_add(&ids, (int32_t)json_integer_value(v)))
                status = hone_fail(&err, HONE_ERR_NOMEM, "no memory");
        }
        if (status == HONE_OK) status = hone_tokenizer_decode(t, ids.id, ids.n, false, &text, &err);
        if (status != HONE_OK) break;
        if (args->json) {
            if (i) hone_buf_char(&b, ',');
            hone_buf_json_string(&b, hone_buf_str(&text), text.n);
        } else {
            fwrite(hone_buf_str(&text), 1, text.n, stdout);
            putchar('\n');
        }
    }
    hone_buf_text(&b, "]}\n");
    hone_ids_free(&ids);
    hone_buf_free(&text);
    if (status == HONE_OK && args->json) return cli_inspect_write(args, &b);
    hone_buf_free(&b);
    return status == HONE_OK ? CLI_OK : cli_fail(args, &err);
}

static int inspect_tokens(const cli_args *args) {
    const char *path = cli_need(args, "file");
    if (!path) return CLI_USAGE;
    hone_tokenizer *t = NULL;
    hone_resolved where = {0};
    int rc = open_tokenizer(args, &t, &where);
    if (rc == CLI_OK) {
        hone_error err = {0};
        json_t *list = hone_json_load(path, &err);
        if (list && !json_is_array(list))
            rc = cli_fail_text(args, "%s: must hold a list", path);
        else if (!list)
            rc = cli_fail(args, &err);
        else
            rc = strcmp(args->word[0], "tokens") == 0 ? tokens_of(args, t, list) : texts_of(args, t, list);
        json_decref(list);
    }
    hone_tokenizer_close(t);
    hone_resolved_free(&where);
    return rc;
}

/* Template ---------------------------------------------------------------------------------------------------------*/

static int render(const cli_args *args, const hone_template *t, const json_t *special) {
    const char *path = cli_need(args, "input");
    if (!path) return CLI_USAGE;
    hone_error err = {0};
    hone_buf text = {0};
    json_t *conversation = hone_json_load(path, &err);
    hone_status status = conversation ? hone_chat_render_object(t, conversation, special, NULL, &text, &err) : err.code;
    json_decref(conversation);
    int rc = CLI_OK;
    if (status != HONE_OK) {
        rc = cli_fail(args, &err);
    } else if (args->json) {
        rc = cli_print_json(args, json_pack("{s:s%}", "text", hone_buf_str(&text), text.n));
    } else {
        fwrite(hone_buf_str(&text), 1, text.n, stdout); /* nothing added: the bytes are the result */
    }
    hone_buf_free(&text);
    return rc;
}

static int inspect_template(const cli_args *args) {
    const char *file = cli_get(args, "template"), *name = cli_get(args, "model");
    if (!file == !name) return cli_usage(args, "give --template FILE or --model NAME");
    hone_error err = {0};
    if (name) {
        cli_model m;
        int rc = cli_model_open(&m, args, name, CLI_TEXT_SIDE);
        if (rc == CLI_OK && !m.text->chat) rc = cli_fail_text(args, "%s brings no chat template", name);
        if (rc == CLI_OK) rc = render(args, m.text->chat, m.text->special_tokens);
        cli_model_close(&m);
        return rc;
    }
    hone_buf source = {0};
    hone_template *t = NULL;
    hone_status status = hone_file_read(file, &source, HONE_TEMPLATE_MAX_SOURCE, &err);
    if (status == HONE_OK) status = hone_template_compile(&t, hone_buf_str(&source), source.n, &err);
    const int rc = status == HONE_OK ? render(args, t, NULL) : cli_fail(args, &err);
    hone_template_free(t);
    hone_buf_free(&source);
    return rc;
}

/* Logits -----------------------------------------------------------------------------------------------------------*/

typedef struct {
    int64_t *token, *position;
    size_t n_token, n_position;
    int32_t *id;   /* [n_token] */
    uint32_t *pos; /* [n_position] */
    float *logits; /* [n_position, V] */
    int32_t *greedy;
    uint32_t n_greedy;
} logits_work;

static void logits_free(logits_work *w) {
    hone_free(w->token);
    hone_free(w->position);
    hone_free(w->id);
    hone_free(w->pos);
    hone_free(w->logits);
    hone_free(w->greedy);
}

static bool logits_read(const cli_args *args, logits_work *w) {
    if (!cli_need(args, "tokens") || !cli_int_list(args, "tokens", 0, INT32_MAX, &w->token, &w->n_token) ||
        !cli_int_list(args, "positions", 0, UINT32_MAX - 1, &w->position, &w->n_position) ||
        !cli_u32(args, "greedy", 0, 1u << 20, &w->n_greedy))
        return false;
    if (w->n_token == 0) {
        cli_usage(args, "--tokens: at least one token");
        return false;
    }
    return true;
}

static void logits_print(const logits_work *w, uint32_t vocab, hone_buf *b) {
    hone_buf_text(b, "{\"positions\":[");
    for (size_t i = 0; i < w->n_position; i++) hone_buf_format(b, i ? ",%u" : "%u", w->pos[i]);
    hone_buf_text(b, "],\"logits\":[");
    for (size_t i = 0; i < w->n_position; i++) {
        if (i) hone_buf_char(b, ',');
        cli_inspect_floats(b, w->logits + i * vocab, vocab);
    }
    hone_buf_char(b, ']');
    if (w->greedy) {
        hone_buf_text(b, ",\"tokens\":");
        add_ids(b, w->greedy, w->n_greedy);
    }
    hone_buf_text(b, "}\n");
}

/* For people: the five likeliest tokens at each position. */
static void logits_show(const logits_work *w, uint32_t vocab, const hone_tokenizer *t) {
    for (size_t i = 0; i < w->n_position; i++) {
        const float *x = w->logits + i * vocab;
        printf("position %u\n", w->pos[i]);
        uint32_t best[5], n = 0;
        for (uint32_t v = 0; v < vocab; v++) {
            uint32_t at = n < 5 ? n : 5;
            while (at > 0 && x[v] > x[best[at - 1]]) at--;
            if (at == 5) continue;
            if (n < 5) n++;
            memmove(best + at + 1, best + at, (n - 1 - at) * sizeof(*best));
            best[at] = v;
        }
        for (uint32_t k = 0; k < n; k++) {
            size_t bytes = 0;
            const char *text = t ? hone_tokenizer_text(t, (int32_t)best[k], &bytes) : NULL;
            printf("  %8u  %12.6g  %.*s\n", best[k], (double)x[best[k]], (int)bytes, text ? text : "");
        }
    }
    if (w->greedy) printf("greedy");
    for (uint32_t i = 0; w->greedy && i < w->n_greedy; i++) printf(" %d", w->greedy[i]);
    if (w->greedy) putchar('\n');
}

static int logits_run(const cli_args *args, const cli_model *m, logits_work *w) {
    const uint32_t vocab = m->model->arch.vocab;
    hone_error err = {0};
    if (cli_has(args, "positions") == false) { /* the last one */
        if (!(w->position = hone_zalloc(1, sizeof(*w->position)))) return cli_fail_text(args, "no memory");
        w->n_position = 1;
        w->position[0] = (int64_t)w->n_token - 1;
    }
    size_t n_logits;
    w->id = hone_zalloc(w->n_token, sizeof(*w->id));
    w->pos = hone_zalloc(w->n_position, sizeof(*w->pos));
    if (w->n_greedy) w->greedy = hone_zalloc(w->n_greedy, sizeof(*w->greedy));
    if (hone_mul_size(&n_logits, w->n_position, vocab)) w->logits = hone_zalloc(n_logits, sizeof(float));
    if (!w->id || !w->pos || !w->logits || (w->n_greedy && !w->greedy)) return cli_fail_text(args, "no memory");
    for (size_t i = 0; i < w->n_token; i++) w->id[i] = (int32_t)w->token[i];
    for (size_t i = 0; i < w->n_position; i++) w->pos[i] = (uint32_t)w->position[i];
    hone_kv_type kv_type;
    if (!cli_kv_type(args, cli_get(args, "kv-type"), m->precision, &kv_type)) return CLI_USAGE;
    const hone_inspection what = {.tokens = w->id,
                                  .n_token = (uint32_t)w->n_token,
                                  .position = w->pos,
                                  .n_position = (uint32_t)w->n_position,
                                  .n_greedy = w->n_greedy,
                                  .adapter = m->adapter,
                                  .kv_type = kv_type};
    if (hone_inspect_logits(m->model, m->pool, &what, w->logits, w->greedy, &err) != HONE_OK)
        return cli_fail(args, &err);
    if (!args->json) {
        logits_show(w, vocab, m->text ? m->text->tokenizer : NULL);
        return CLI_OK;
    }
    hone_buf b = {0};
    logits_print(w, vocab, &b);
    return cli_inspect_write(args, &b);
}

static int inspect_logits(const cli_args *args) {
    const char *name = cli_need(args, "model");
    if (!name) return CLI_USAGE;
    if (cli_has(args, "encoder-tokens"))
        return cli_fail_text(args, "--encoder-tokens: encoder-decoder models are not supported");
    logits_work w = {0};
    cli_model m = {0};
    int rc = logits_read(args, &w) ? CLI_OK : CLI_USAGE;
    /* Programs ask about weights that come without a tokenizer; people want to read the tokens. */
    if (rc == CLI_OK) rc = cli_model_open(&m, args, name, args->json ? CLI_WEIGHTS : CLI_WEIGHTS | CLI_TEXT_SIDE);
    if (rc == CLI_OK) rc = logits_run(args, &m, &w);
    cli_model_close(&m);
    logits_free(&w);
    return rc;
}

/* Kernels ----------------------------------------------------------------------------------------------------------*/

enum { MOST_FIGURES = 128 };

/* The chosen set beside the machine's limits; some seconds, so people see that it works. */
static uint32_t measure(const cli_args *args, const hone_kernels *best, hone_pool *pool, hone_kernel_figure *figures) {
    uint32_t n = 0;
    hone_error err;
    cli_progress(args, "measuring the %s set with %u threads", best->name, hone_pool_threads(pool));
    if (hone_kernels_probe(best, pool, figures, MOST_FIGURES, &n, &err) != HONE_OK)
        cli_say(args, "%s", err.message); /* what was measured still stands */
    return n;
}

static json_t *figures_json(const hone_kernel_figure *figures, uint32_t n) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) {
        const hone_kernel_figure *f = &figures[i];
        json_t *one = json_pack("{s:s, s:s, s:f, s:s}", "operation", f->operation, "shape", f->shape, "value", f->value,
                                "unit", f->unit);
        json_object_set_new(one, "of_limit", f->of_limit > 0 ? json_real(f->of_limit) : json_null());
        json_array_append_new(list, one);
    }
    return list;
}

static int inspect_kernels(const cli_args *args) {
    const hone_kernels *best = hone_kernels_best();
    hone_kernel_figure figures[MOST_FIGURES];
    hone_pool *pool = NULL;
    hone_error err;
    uint32_t threads = 0;
    if (!cli_u32(args, "threads", 1, 1024, &threads)) return CLI_USAGE;
    if (hone_pool_open(&pool, threads, &err) != HONE_OK) return cli_fail(args, &err);
    json_t *sets = json_array();
    for (const hone_kernels *const *k = hone_kernels_all(); *k; k++) {
        const bool runs = (*k)->can_run();
        if (args->json)
            json_array_append_new(
                sets, json_pack("{s:s, s:b, s:b}", "name", (*k)->name, "can_run", runs, "chosen", *k == best));
        else
            printf("%-8s %s%s\n", (*k)->name, runs ? "runs here" : "cannot run here", *k == best ? ", chosen" : "");
    }
    fflush(stdout);
    const uint32_t n = measure(args, best, pool, figures), used = hone_pool_threads(pool);
    hone_pool_close(pool);
    if (args->json)
        return cli_print_json(args, json_pack("{s:s, s:o, s:i, s:o}", "chosen", best->name, "sets", sets, "threads",
                                              (int)used, "operations", figures_json(figures, n)));
    json_decref(sets);
    cli_progress(args, NULL);
    printf("\n%-12s %-36s %10s           of the limit\n", "operation", "shape", "");
    for (uint32_t i = 0; i < n; i++) {
        const hone_kernel_figure *f = &figures[i];
        printf("%-12s %-36s %10.1f %-8s", f->operation, f->shape, f->value, f->unit);
        if (f->of_limit > 0) printf("  %3.0f %%", 100.0 * f->of_limit);
        putchar('\n');
    }
    return CLI_OK;
}

/* The verb ---------------------------------------------------------------------------------------------------------*/

static const struct {
    const char *word;
    int (*run)(const cli_args *args);
} kinds[] = {
    {"tokens", inspect_tokens},   {"text", inspect_tokens},         {"template", inspect_template},
    {"logits", inspect_logits},   {"loss", cli_inspect_loss},       {"masks", cli_inspect_masks},
    {"kernels", inspect_kernels}, {"grammar", cli_inspect_grammar},
};

static int run_inspect(const cli_args *args) {
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].word, args->word[0]) == 0) return kinds[i].run(args);
    return cli_usage(args, "there is no `hone inspect %s`", args->word[0]);
}

static const char *const words[] = {"tokens", "text",    "template", "logits", "loss",
                                    "masks",  "kernels", "grammar",  NULL};

static const cli_option options[] = {
    {"model", "NAME", "a local name, an alias, a version, or a path to a GGUF file or a folder"},
    {"adapter", "DIR", "a folder with PEFT's two files"},
    {"file", "FILE", "tokens: a list of strings; text: a list of lists of ids"},
    {"no-special", NULL, "tokens: add no begin-of-text token and the like"},
    {"template", "FILE", "template: a Jinja file in place of the model's own"},
    {"input", "FILE", "template: {\"messages\": ...}; loss: [{\"tokens\": [...], \"labels\": [...]}, ...]"},
    {"tokens", "1,2,3", "logits: the prompt"},
    {"positions", "0,2", "logits: where to read them (default: the last)"},
    {"encoder-tokens", "1,2", "logits: the encoder's input, for encoder-decoder models"},
    {"greedy", "N", "logits: N tokens to go on with"},
    {"kv-type", "bf16|int8|f32", "logits: how keys and values are kept"},
    {"grad", "FILE", "loss: write the adapter's gradients there (safetensors)"},
    {"logprobs", NULL, "loss: print the log-probability of every trained token"},
    {"data", "FILE", "masks: the training file"},
    {"limit", "N", "masks: only the first N sequences"},
    {"schema", "FILE", "grammar: a JSON Schema: whether it is kept exactly, and if not, why"},
    {"maskbench", "FILE.jsonl",
     "grammar: rows {\"name\", \"schema\", \"tests\": [{\"data\", \"valid\"}]}, walked through the masks"},
    {"log", "FILE.jsonl", "grammar: what became of each row"},
    {"walk", "N", "grammar: with --schema or --log, also N texts that the masks lead to"},
    {"seed", "N", "grammar: of those walks"},
    CLI_MODEL_OPTIONS,
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_inspect = {
    .name = "inspect",
    .usage = "inspect tokens --model NAME --file TEXTS.json [--no-special]\n"
             "inspect text --model NAME --file IDS.json\n"
             "inspect template (--model NAME | --template FILE) --input CONVERSATION.json\n"
             "inspect logits --model NAME [--adapter DIR] --tokens 1,2,3 [--positions 0,2] [--greedy N] [--kv-type T]\n"
             "inspect loss --model NAME [--adapter DIR] --input ROWS.json [--grad FILE] [--logprobs]\n"
             "inspect masks --model NAME --data FILE.jsonl [--limit N]\n"
             "inspect kernels [--threads N]\n"
             "inspect grammar --model NAME (--schema FILE | --maskbench FILE.jsonl [--log FILE.jsonl])",
    .about = "tokens, templates, logits, loss, masks and kernels, laid bare",
    .example = "hone inspect masks --model smollm2 --data train.jsonl --limit 3\n"
               "hone inspect logits --model smollm2 --tokens 1,2,3 --greedy 8",
    .words = words,
    .options = options,
    .min_words = 1,
    .max_words = 1,
    .run = run_inspect,
};
