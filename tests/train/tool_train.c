/* tool_train.c - the trainer's functions without the program around them, for checkers that compare with outside
 * authorities and for measuring.  Not installed.
 *
 *   tool_train loss  --model M --input ROWS [--adapter DIR] [--grad FILE] [--logprobs]
 *   tool_train run   --model M --data FILE [--valid FILE] [--out DIR] [--init-adapter DIR] [--losses FILE] [--resume]
 * ... both: [--precision f32|serving] [--threads N] [--kernels SET] [--text]     --text: open tokenizer and template
 * too
 *
 * Prints one JSON object on stdout, steps on stderr. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "model/text.h"
#include "train/trainer.h"

static int n_args;
static char **args;
static hone_error err;
static atomic_bool stop;

static const char *get(const char *name, const char *otherwise) {
    for (int i = 2; i < n_args; i++)
        if (strncmp(args[i], "--", 2) == 0 && strcmp(args[i] + 2, name) == 0)
            return i + 1 < n_args ? args[i + 1] : otherwise;
    return otherwise;
}
static bool has(const char *name) {
    return get(name, NULL) || (n_args > 2 && strcmp(args[n_args - 1], name) == 0);
}
static double number(const char *name, double otherwise) {
    const char *s = get(name, NULL);
    return s ? atof(s) : otherwise;
}
static void die(void) {
    fprintf(stderr, "tool_train: %s\n", err.message);
    exit(1);
}
static void must(hone_status st) {
    if (st != HONE_OK) die();
}

typedef struct {
    FILE *losses;
    bool first;
    double kill_after;
} report;

static hone_status on_plan(void *arg, const hone_train_plan *p, uint64_t first, hone_error *e) {
    (void)arg;
    (void)e;
    fprintf(stderr,
            "plan: %u epochs, %u rows a step, lr %g, %llu steps from %llu, micro %u; weights %.1f, tape %.1f, forward "
            "%.1f, backward %.1f, pages %.1f, logits %.1f, adapter %.1f, total %.1f MiB\n",
            p->epochs, p->batch_rows, p->lr, (unsigned long long)p->steps, (unsigned long long)first, p->micro_tokens,
            (double)p->weight_bytes / 1048576, (double)p->pass.tape / 1048576, (double)p->pass.forward / 1048576,
            (double)p->pass.backward / 1048576, (double)p->pass.pages / 1048576, (double)p->pass.logits / 1048576,
            (double)p->adapter_bytes / 1048576, (double)p->total_bytes / 1048576);
    return HONE_OK;
}
static hone_status on_step(void *arg, const hone_train_step *s, hone_error *e) {
    report *r = arg;
    (void)e;
    fprintf(
        stderr,
        "step %llu/%llu loss %.5f acc %.3f lr %.3g norm %.3f tokens %llu trained %llu %.2f s %.0f tok/s rss %.0f MiB\n",
        (unsigned long long)s->step, (unsigned long long)s->steps, s->loss, s->accuracy, s->lr, s->grad_norm,
        (unsigned long long)s->tokens, (unsigned long long)s->trained_tokens, s->seconds, s->tokens_per_second,
        (double)s->rss_bytes / 1048576);
    if (r->losses) fprintf(r->losses, "%s%.9g", r->first ? "" : ", ", s->loss);
    r->first = false;
    return HONE_OK;
}
static hone_status on_epoch(void *arg, const hone_train_epoch *s, hone_error *e) {
    (void)arg;
    (void)e;
    fprintf(stderr, "epoch %u train %.5f valid %.5f accuracy %.3f\n", s->epoch, s->train_loss, s->valid_loss,
            s->valid_accuracy);
    return HONE_OK;
}

static void on_signal(int s) {
    (void)s;
    atomic_store(&stop, true);
}

static void run(const hone_model *model, hone_pool *pool, const hone_data_rules *rules) {
    hone_train_data train = {0}, valid = {0};
    hone_train_config c = hone_train_defaults();
    must(hone_data_load(&train, get("data", ""), rules, NULL, &err));
    if (get("valid", NULL)) must(hone_data_load(&valid, get("valid", NULL), rules, NULL, &err));
    const uint64_t limit = (uint64_t)number("limit", 0);
    if (limit && limit < train.n) { /* the first rows alone; for measuring */
        train.n_tokens = train.n_trained = 0;
        for (size_t i = 0; i < train.n; i++) {
            if (i < limit) {
                train.n_tokens += train.row[i].n;
                train.n_trained += train.row[i].n_trained;
                continue;
            }
            hone_free(train.row[i].token);
            hone_free(train.row[i].trained);
        }
        train.n = limit;
    }
    c.lora.rank = (uint32_t)number("rank", c.lora.rank);
    c.lora.alpha = (float)number("alpha", (double)c.lora.alpha);
    c.lora.dropout = (float)number("dropout", 0);
    c.init_adapter = get("init-adapter", NULL);
    c.epochs = (uint32_t)number("epochs", 0);
    c.batch_rows = (uint32_t)number("batch", 0);
    c.lr = number("lr", 0);
    c.lr_floor = number("floor", c.lr_floor);
    c.warmup_steps = (int64_t)number("warmup-steps", -1);
    c.warmup_ratio = number("warmup-ratio", c.warmup_ratio);
    if (!strcmp(get("schedule", "cosine"), "linear")) c.schedule = HONE_SCHEDULE_LINEAR;
    if (!strcmp(get("schedule", "cosine"), "constant")) c.schedule = HONE_SCHEDULE_CONSTANT;
    c.adamw.beta1 = number("beta1", c.adamw.beta1);
    c.adamw.beta2 = number("beta2", c.adamw.beta2);
    c.adamw.eps = number("eps", c.adamw.eps);
    c.adamw.weight_decay = number("weight-decay", c.adamw.weight_decay);
    c.clip = number("clip", c.clip);
    c.shuffle = number("shuffle", 1) != 0;
    c.seed = (uint64_t)number("seed", 1);
    c.max_steps = (uint64_t)number("max-steps", 0);
    c.micro_tokens = (uint32_t)number("micro-tokens", 0);
    c.memory_bytes = (uint64_t)(number("memory-mib", 0) * 1048576);
    c.out_dir = get("out", NULL);
    c.checkpoint_steps = (uint64_t)number("checkpoint-steps", 0);
    c.resume = has("resume");
    c.base_name = get("base-name", NULL);
    report r = {.first = true};
    if (get("losses", NULL) && !(r.losses = fopen(get("losses", NULL), "w"))) exit(1);
    if (r.losses) fputc('[', r.losses);
    const hone_train_hooks hooks = {&r, on_plan, on_step, on_epoch, NULL};
    hone_train_result result;
    must(hone_train_run(&result, model, pool, &c, &train, valid.n ? &valid : NULL, &hooks, &stop, &err));
    if (r.losses) fputs("]\n", r.losses);
    if (r.losses) fclose(r.losses);
    printf("{\"steps\": %llu, \"loss\": %.9g, \"valid_loss\": %.9g, \"seconds\": %.3f, \"tokens_per_second\": %.1f, "
           "\"peak_rss_bytes\": %llu, \"digest\": \"%s\"}\n",
           (unsigned long long)result.steps, result.last_loss, result.valid_loss, result.seconds,
           (double)result.tokens / result.seconds, (unsigned long long)result.peak_rss_bytes, result.adapter->digest);
    hone_adapter_free(result.adapter);
    hone_data_free(&train);
    hone_data_free(&valid);
}

static void loss(const hone_model *model, hone_pool *pool, const hone_data_rules *rules) {
    hone_train_data data = {0};
    hone_adapter *adapter = NULL;
    hone_lora_grad grad = {0};
    must(hone_data_load(&data, get("input", ""), rules, NULL, &err));
    if (get("adapter", NULL)) must(hone_adapter_read(&adapter, get("adapter", NULL), &model->arch, &err));
    const char *path = get("grad", NULL);
    if (path) must(hone_lora_grad_open(&grad, model, adapter, &err));
    float *logprob = hone_zalloc(data.n_trained + 1, sizeof(float));
    hone_loss sum = {0};
    must(hone_loss_of_data(model, adapter, pool, &data, (uint32_t)number("micro-tokens", 0), &sum, logprob,
                           path ? &grad : NULL, &err));
    if (path) must(hone_adapter_write_tensors(adapter, grad.a, grad.b, path, &err));
    printf("{\"loss\": %.17g, \"trained_tokens\": %llu", sum.loss / (double)sum.trained,
           (unsigned long long)sum.trained);
    if (has("logprobs")) {
        printf(", \"logprobs\": [");
        const float *p = logprob;
        for (size_t i = 0; i < data.n; i++) {
            printf("%s[", i ? ", " : "");
            for (uint32_t k = 0; k < data.row[i].n_trained; k++) printf("%s%.9g", k ? ", " : "", (double)*p++);
            printf("]");
        }
        printf("]");
    }
    printf("}\n");
    hone_free(logprob);
    hone_lora_grad_close(&grad);
    hone_adapter_free(adapter);
    hone_data_free(&data);
}

/* ---- Greedy answers ---- */

typedef struct {
    const hone_train_data *data;
    int32_t (*out)[64];
    uint32_t *n_out;
} answers;

static void on_event(void *arg, const hone_event *e) {
    answers *a = arg;
    if (e->kind == HONE_EVENT_TOKEN && e->index < 64) {
        a->out[e->id][e->index] = e->token;
        a->n_out[e->id] = e->index + 1;
    }
}

/* Lower case, no white space or one full stop at the end: as the peers' script compares. */
static void plain_text(const hone_tokenizer *t, const int32_t *id, size_t n, char out[512]) {
    hone_buf b = {0};
    must(hone_tokenizer_decode(t, id, n, true, &b, &err));
    size_t k = 0;
    for (const char *p = hone_buf_str(&b); *p && k < 511; p++)
        if (k || *p != ' ') out[k++] = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    while (k && (out[k - 1] == ' ' || out[k - 1] == '\n')) k--;
    if (k && out[k - 1] == '.') k--;
    out[k] = 0;
    hone_buf_free(&b);
}

static void eval(const hone_model *model, hone_pool *pool, const hone_data_rules *rules) {
    hone_train_data data = {0};
    hone_adapter *adapter = NULL;
    hone_engine *engine;
    must(hone_data_load(&data, get("data", ""), rules, NULL, &err));
    hone_engine_config cfg = hone_engine_defaults(model);
    must(hone_engine_open(&engine, model, pool, &cfg, &err));
    if (get("adapter", NULL)) {
        must(hone_adapter_read(&adapter, get("adapter", NULL), &model->arch, &err));
        must(hone_engine_add_adapter(engine, "a", adapter, &err));
    }
    answers a = {&data, hone_zalloc(data.n, sizeof(*a.out)), hone_zalloc(data.n, sizeof(*a.n_out))};
    uint32_t right = 0;
    for (size_t i = 0; i < data.n; i++) {
        const hone_train_row *r = &data.row[i];
        hone_engine_request q = {.id = i,
                                 .prompt = r->token,
                                 .max_tokens = 24,
                                 .n_stop = 1,
                                 .n_logprobs = -1,
                                 .adapter = adapter ? "a" : NULL};
        q.n_prompt = r->n - r->n_trained;
        q.stop[0] = r->token[r->n - 1];
        q.sampling = (hone_sampling){.top_p = 1, .repetition_penalty = 1};
        must(hone_engine_submit(engine, &q, &err));
    }
    while (hone_engine_step(engine, on_event, &a)) {
    }
    for (size_t i = 0; i < data.n; i++) {
        const hone_train_row *r = &data.row[i];
        right += a.n_out[i] == r->n_trained &&
                 memcmp(a.out[i], r->token + r->n - r->n_trained, r->n_trained * sizeof(int32_t)) == 0;
    }
    uint32_t same = 0;
    for (size_t i = 0; rules->tokenizer && i < data.n; i++) {
        const hone_train_row *r = &data.row[i];
        char want[512], got[512];
        plain_text(rules->tokenizer, r->token + r->n - r->n_trained, r->n_trained, want);
        plain_text(rules->tokenizer, a.out[i], a.n_out[i], got);
        if (strcmp(want, got) == 0)
            same++;
        else
            fprintf(stderr, "%s | %s\n", want, got);
    }
    printf("{\"n\": %zu, \"exact_tokens\": %.4f, \"exact_text\": %.4f}\n", data.n, (double)right / (double)data.n,
           (double)same / (double)data.n);
    hone_engine_close(engine);
    hone_free(a.out);
    hone_free(a.n_out);
    hone_data_free(&data);
}

int main(int argc, char **argv) {
    n_args = argc;
    args = argv;
    hone_json_init();
    signal(SIGTERM, on_signal);
    if (argc < 2 || (strcmp(argv[1], "loss") && strcmp(argv[1], "run") && strcmp(argv[1], "eval"))) {
        fprintf(stderr, "tool_train: loss, run or eval\n");
        return 2;
    }
    hone_pool *pool;
    hone_model *model;
    hone_text *text = NULL;
    const hone_kernels *kernels = get("kernels", NULL) ? hone_kernels_find(get("kernels", NULL)) : hone_kernels_best();
    const char *path = get("model", "");
    if (!kernels) return 2;
    must(hone_pool_open(&pool, (uint32_t)number("threads", 0), &err));
    must(hone_model_open(&model, path, kernels,
                         strcmp(get("precision", "serving"), "f32") ? HONE_PRECISION_SERVING : HONE_PRECISION_F32, pool,
                         &err));
    if (has("text")) must(hone_text_open(&text, path, &err));
    const hone_data_rules rules = {.tokenizer = text ? text->tokenizer : NULL,
                                   .template = text ? text->chat : NULL,
                                   .special_tokens = text ? text->special_tokens : NULL,
                                   .vocab = model->arch.vocab,
                                   .max_length = model->arch.max_position};
    if (!strcmp(argv[1], "eval"))
        eval(model, pool, &rules);
    else if (!strcmp(argv[1], "loss"))
        loss(model, pool, &rules);
    else
        run(model, pool, &rules);
    hone_text_close(text);
    hone_model_close(model);
    hone_pool_close(pool);
    return 0;
}
