/* run.c - hone run: one answer, or a chat in the terminal, from an engine in this process.
 * Order: one answer, the chat, the verb. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/model.h"
#include "cli/verbs.h"
#include "engine/engine.h"

typedef struct {
    const cli_args *args;
    cli_model m;
    hone_engine *engine;
    hone_sampling sampling;
    uint32_t max_tokens;
    json_t *messages;
    char adapter[HONE_DIGEST_TEXT]; /* "" without one */

    /* of the answer that is being made */
    hone_detok *detok;
    hone_buf answer;
    uint32_t n_prompt, n_output;
    hone_finish finish;
    hone_error err;
    double first_at; /* of the first token */
} chat;

static atomic_bool interrupted;

static void on_signal(int number) {
    (void)number;
    atomic_store(&interrupted, true);
}

/* One answer -------------------------------------------------------------------------------------------------------*/

static bool ends(const hone_text *t, int32_t id) {
    for (uint32_t i = 0; i < t->n_end; i++)
        if (t->end[i] == id) return true;
    return false;
}

/* What the detokenizer gives out goes to the answer and, for people, to the terminal at once. */
static void show_from(chat *c, size_t from) {
    if (c->args->json || c->answer.n == from) return;
    fwrite(c->answer.data + from, 1, c->answer.n - from, stdout);
    fflush(stdout);
}

static void on_event(void *arg, const hone_event *event) {
    chat *c = arg;
    if (event->kind == HONE_EVENT_TOKEN) {
        if (c->n_output++ == 0) c->first_at = hone_clock_seconds();
        const size_t from = c->answer.n;
        if (!ends(c->m.text, event->token)) hone_detok_feed(c->detok, event->token, &c->answer);
        show_from(c, from);
    } else if (event->kind == HONE_EVENT_DONE) {
        c->finish = event->finish;
        c->n_prompt = event->n_prompt;
        if (event->finish == HONE_FINISH_ERROR && event->error) c->err = *event->error;
    }
}

static hone_status submit(chat *c, uint64_t id) {
    hone_ids ids = {0};
    const hone_chat_input in = {.messages = c->messages, .add_generation_prompt = true};
    hone_status status = hone_text_chat(c->m.text, &in, &ids, &c->err);
    /* A default is no demand: the answer ends where the context does. */
    const uint32_t context = c->m.model->arch.max_position;
    uint32_t room = c->max_tokens;
    if (!cli_has(c->args, "max-tokens") && ids.n < context && room > context - ids.n) room = context - (uint32_t)ids.n;
    hone_engine_request q = {.id = id,
                             .prompt = ids.id,
                             .n_prompt = (uint32_t)ids.n,
                             .max_tokens = room,
                             .sampling = c->sampling,
                             .n_logprobs = -1,
                             .adapter = c->adapter[0] ? c->adapter : NULL};
    q.n_stop = c->m.text->n_end < HONE_MAX_STOP_TOKENS ? c->m.text->n_end : HONE_MAX_STOP_TOKENS;
    for (uint32_t k = 0; k < q.n_stop; k++) q.stop[k] = c->m.text->end[k];
    if (status == HONE_OK) status = hone_engine_submit(c->engine, &q, &c->err);
    hone_ids_free(&ids);
    return status;
}

/* Answer the last message of c->messages, and append the answer to them. */
static int answer(chat *c, const char *prompt) {
    static uint64_t id;
    hone_buf_clear(&c->answer);
    c->n_output = 0;
    c->finish = HONE_FINISH_NONE;
    c->err = (hone_error){0};
    json_array_append_new(c->messages, json_pack("{s:s, s:s}", "role", "user", "content", prompt));
    const double start = hone_clock_seconds();
    if (submit(c, ++id) != HONE_OK) return cli_fail(c->args, &c->err);
    atomic_store(&interrupted, false);
    while (c->finish == HONE_FINISH_NONE && hone_engine_step(c->engine, on_event, c))
        if (atomic_load(&interrupted)) {
            hone_engine_cancel(c->engine, id);
            c->finish = HONE_FINISH_CANCELLED;
        }
    const size_t from = c->answer.n;
    hone_detok_finish(c->detok, &c->answer);
    show_from(c, from);
    if (!c->args->json) putchar('\n');
    if (c->finish == HONE_FINISH_ERROR) return cli_fail(c->args, &c->err);
    json_array_append_new(
        c->messages, json_pack("{s:s, s:s%}", "role", "assistant", "content", hone_buf_str(&c->answer), c->answer.n));
    const double end = hone_clock_seconds();
    if (c->args->json)
        return cli_print_json(c->args, json_pack("{s:s, s:s%, s:s, s:i, s:i, s:f, s:f}", "model", c->m.where.version,
                                                 "text", hone_buf_str(&c->answer), c->answer.n, "finish_reason",
                                                 c->finish == HONE_FINISH_STOP ? "stop" : "length", "prompt_tokens",
                                                 (int)c->n_prompt, "output_tokens", (int)c->n_output,
                                                 "first_token_seconds", c->first_at - start, "seconds", end - start));
    if (cli_terminal() && c->n_output > 1 && end > c->first_at)
        cli_say(c->args, "(%u + %u tokens, first after %.2f s, then %.1f tokens/s)", c->n_prompt, c->n_output,
                c->first_at - start, (c->n_output - 1) / (end - c->first_at));
    return CLI_OK;
}

/* The chat ---------------------------------------------------------------------------------------------------------*/

static int converse(chat *c) {
    char *line = NULL;
    size_t cap = 0;
    int rc = CLI_OK;
    cli_say(c->args, "%s. An empty line or Ctrl-D ends the chat; Ctrl-C ends an answer.", c->m.where.version);
    while (rc == CLI_OK) {
        fputs("> ", stderr);
        const ssize_t n = getline(&line, &cap, stdin);
        if (n <= 1) break;
        line[strcspn(line, "\n")] = 0;
        rc = answer(c, line);
    }
    free(line); /* getline's own memory */
    return rc;
}

static int answer_stdin(chat *c) {
    hone_buf text = {0};
    char chunk[4096];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), stdin)) > 0) hone_buf_add(&text, chunk, n);
    const int rc = text.n ? answer(c, hone_buf_str(&text)) : cli_usage(c->args, "no prompt");
    hone_buf_free(&text);
    return rc;
}

static int prepare(chat *c) {
    double temperature = 0, top_p = 1;
    c->max_tokens = 512;
    if (!cli_real(c->args, "temperature", 0, 2, &temperature) || !cli_real(c->args, "top-p", 1e-6, 1, &top_p) ||
        !cli_uint(c->args, "seed", 0, UINT64_MAX, &c->sampling.seed) ||
        !cli_u32(c->args, "max-tokens", 1, 1u << 20, &c->max_tokens))
        return CLI_USAGE;
    c->sampling.temperature = (float)temperature;
    c->sampling.top_p = (float)top_p;
    c->sampling.repetition_penalty = 1;
    int rc = cli_model_open(&c->m, c->args, c->args->word[0], CLI_TEXT_SIDE | CLI_WEIGHTS);
    if (rc != CLI_OK) return rc;
    hone_error err = {0};
    hone_engine_config cfg = hone_engine_defaults(c->m.model);
    hone_status status = hone_engine_open(&c->engine, c->m.model, c->m.pool, &cfg, &err);
    if (status == HONE_OK && c->m.adapter) {
        snprintf(c->adapter, sizeof(c->adapter), "%s", c->m.adapter->digest[0] ? c->m.adapter->digest : "adapter");
        hone_adapter *adapter = c->m.adapter;
        c->m.adapter = NULL; /* the engine's from here */
        status = hone_engine_add_adapter(c->engine, c->adapter, adapter, &err);
    }
    if (status == HONE_OK) status = hone_detok_open(&c->detok, c->m.text->tokenizer, true, &err);
    if (status == HONE_OK && !(c->messages = json_array())) status = hone_fail(&err, HONE_ERR_NOMEM, "no memory");
    if (status != HONE_OK) return cli_fail(c->args, &err);
    const char *system = cli_get(c->args, "system");
    if (system) json_array_append_new(c->messages, json_pack("{s:s, s:s}", "role", "system", "content", system));
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGINT, &act, NULL);
    return CLI_OK;
}

static int run_run(const cli_args *args) {
    chat c = {.args = args};
    int rc = prepare(&c);
    if (rc == CLI_OK && args->n_word > 1)
        rc = answer(&c, args->word[1]);
    else if (rc == CLI_OK && isatty(STDIN_FILENO) && !args->json)
        rc = converse(&c);
    else if (rc == CLI_OK)
        rc = answer_stdin(&c);
    json_decref(c.messages);
    hone_buf_free(&c.answer);
    hone_detok_close(c.detok);
    hone_engine_close(c.engine);
    cli_model_close(&c.m);
    return rc;
}

static const cli_option options[] = {
    {"system", "TEXT", "the system message"},
    {"max-tokens", "N", "of an answer (default: 512)"},
    {"temperature", "X", "default: 0, greedy"},
    {"top-p", "X", "default: 1"},
    {"seed", "N", "of sampling (default: 0)"},
    {"adapter", "DIR", "an adapter over the model"},
    CLI_MODEL_OPTIONS,
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_run = {
    .name = "run",
    .usage = "run MODEL [PROMPT]",
    .about = "one answer, or a chat in the terminal",
    .example = "hone run smollm2 'Name three skills of a nurse.'\nhone run smollm2",
    .more = "Without PROMPT it chats where a person sits at the terminal, and answers stdin elsewhere.",
    .options = options,
    .min_words = 1,
    .max_words = 2,
    .run = run_run,
};
