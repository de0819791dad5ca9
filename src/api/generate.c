/* generate.c - generations of one HTTP request; the contract is in generate.h.
 * Order: life of a call, reading fields, text and stop strings, events, starting. */
#include "api/generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/utf8.h"

/* ---- Life ---- */

static void stop_all(api_call *call) {
    for (uint32_t i = 0; i < call->n_choice; i++) {
        if (call->choice[i].generation) hone_generation_cancel(call->choice[i].generation);
        call->choice[i].generation = NULL;
    }
}

void api_call_free(api_call *call) {
    if (!call) return;
    for (uint32_t i = 0; call->choice && i < call->n_choice; i++) {
        api_choice *c = &call->choice[i];
        hone_detok_close(c->detok);
        hone_buf_free(&c->held);
        hone_buf_free(&c->text);
        hone_free(c->token);
        hone_ids_free(&c->ids);
        hone_free(c->prompt_token);
        hone_free(c->embedding);
    }
    hone_free(call->choice);
    for (uint32_t i = 0; i < call->n_stop; i++) hone_free(call->stop[i]);
    hone_buf_free(&call->head);
    hone_buf_free(&call->chunk);
    hone_free(call->bias_token);
    hone_free(call->bias_value);
    hone_buf_free(&call->grammar);
    hone_ids_free(&call->prediction);
    api_target_free(&call->target);
    if (call->hooks->free_own) call->hooks->free_own(call->own);
    hone_free(call);
}

static void note(api_call *call, const char *finish) {
    const api_request_figures f = {.started = call->started,
                                   .first_token = call->first_token,
                                   .last_token = hone_clock_seconds(),
                                   .prompt_tokens = call->prompt_tokens,
                                   .output_tokens = api_call_output_tokens(call),
                                   .finish = finish};
    api_metrics_request(call->api, call->target.version, &f);
}

/* The client left: nobody reads on. */
static void on_gone(void *arg, hone_request *req) {
    (void)req;
    api_call *call = arg;
    stop_all(call);
    note(call, "abort");
    api_call_free(call);
}

api_call *api_call_new(hone_api *api, hone_request *req, api_target *target, const char *id_prefix,
                       const api_call_hooks *hooks, void *own, uint32_t n_choice) {
    api_call *call = hone_zalloc(1, sizeof(*call));
    if (call) {
        call->hooks = hooks;
        call->own = own;
        call->target = *target;
        *target = (api_target){0};
        call->choice = hone_zalloc(n_choice, sizeof(*call->choice));
    }
    if (!call || !call->choice) {
        if (call)
            api_call_free(call);
        else if (hooks->free_own)
            hooks->free_own(own);
        api_target_free(target);
        api_error(req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        return NULL;
    }
    call->api = api;
    call->req = req;
    call->n_choice = n_choice;
    call->started = hone_clock_seconds();
    call->created = hone_clock_unix();
    call->engine.n_logprobs = -1;
    call->engine.priority = HONE_PRIORITY_USUAL;
    call->tier = "default";
    hone_id_make(id_prefix, call->id);
    for (uint32_t i = 0; i < n_choice; i++) call->choice[i] = (api_choice){.call = call, .index = i};
    return call;
}

/* ---- Fields ---- */

static bool read_stops(api_call *call, const json_t *body, uint32_t max_stops) {
    const json_t *v = api_value(body, "stop");
    const size_t n = json_is_array(v) ? json_array_size(v) : v ? 1 : 0;
    if (n > max_stops) {
        api_invalid(call->req, "stop", "array_above_max_length", "Invalid 'stop': at most %u strings, but got %zu.",
                    max_stops, n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(s) || json_string_length(s) == 0 || strlen(json_string_value(s)) != json_string_length(s)) {
            api_invalid(call->req, "stop", "invalid_type", "Invalid 'stop': expected strings that are not empty.");
            return false;
        }
        if (!(call->stop[call->n_stop] = hone_strdup(json_string_value(s)))) return false;
        call->n_stop++;
    }
    return true;
}

static bool read_bias(api_call *call, const json_t *body) {
    const json_t *v = api_value(body, "logit_bias");
    const size_t n = json_object_size(v);
    if (n == 0) return true;
    call->bias_token = hone_zalloc(n, sizeof(*call->bias_token));
    call->bias_value = hone_zalloc(n, sizeof(*call->bias_value));
    if (!call->bias_token || !call->bias_value) return false;
    const char *key;
    json_t *value;
    uint32_t at = 0;
    json_object_foreach((json_t *)(uintptr_t)v, key, value) {
        char *end;
        const long token = strtol(key, &end, 10);
        if (*key == 0 || *end != 0 || token < 0 || token >= (long)call->target.base->vocab) {
            api_invalid(call->req, "logit_bias", "invalid_value",
                        "Invalid key in 'logit_bias': '%.40s' is no token id below %u.", key, call->target.base->vocab);
            return false;
        }
        const double bias = json_number_value(value);
        if (!json_is_number(value) || !(bias >= -100 && bias <= 100)) {
            api_invalid(call->req, "logit_bias", "invalid_value",
                        "Invalid value in 'logit_bias' for token %ld: expected a number from -100 to 100.", token);
            return false;
        }
        call->bias_token[at] = (int32_t)token;
        call->bias_value[at++] = (float)bias;
    }
    call->engine.sampling.n_bias = at;
    call->engine.sampling.bias_token = call->bias_token;
    call->engine.sampling.bias_value = call->bias_value;
    return true;
}

/* Class of the queue: vLLM's `priority` (lower goes first), else what the service tier means. */
static uint32_t class_of(const json_t *body) {
    const char *tier = api_text(body, "service_tier", "auto");
    const int64_t usual = strcmp(tier, "flex") == 0 ? 4 : strcmp(tier, "priority") == 0 ? -4 : 0;
    return (uint32_t)(HONE_PRIORITY_USUAL + api_int(body, "priority", usual));
}

/* Seconds to begin in: the body's `timeout`, else the header X-Request-Timeout; 0: neither, or no number. */
static uint32_t timeout_of(const hone_request *req, const json_t *body) {
    const char *header = hone_request_header(req, "x-request-timeout");
    const double seconds = api_number(body, "timeout", header ? strtod(header, NULL) : 0);
    return seconds > 0 && seconds <= 86400 ? (uint32_t)(seconds * 1000) + 1 : 0;
}

bool api_admits(hone_request *req, const api_target *target, const json_t *body) {
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_newcomer one = {.priority = class_of(body), .max_tokens = 1, .timeout_ms = timeout_of(req, body)};
    if (hone_controller_admits(target->base->component, &one, &err) == HONE_OK) return true;
    api_fail(req, &err, NULL);
    return false;
}

/* OpenAI's prompt_cache_key and prompt_cache_retention, vLLM's cache_salt, llama.cpp's cache_prompt.  Prefixes are
 * shared among requests of one salt; its digest travels, whatever its length. */
static bool read_cache(api_call *call, const json_t *body) {
    const char *salt = api_text(body, "cache_salt", api_text(body, "prompt_cache_key", ""));
    const char *retention = api_text(body, "prompt_cache_retention", "in_memory");
    if (strcmp(retention, "in_memory") != 0 && strcmp(retention, "in-memory") != 0 && strcmp(retention, "24h") != 0) {
        api_invalid(call->req, "prompt_cache_retention", "invalid_value",
                    "Invalid value: '%.40s'. 'prompt_cache_retention' must be 'in_memory' or '24h'.", retention);
        return false;
    }
    call->engine.no_prefix = !api_bool(body, "cache_prompt", true);
    call->engine.pin_prefix = strcmp(retention, "24h") == 0;
    if (*salt == 0) return true;
    call->engine.cache_salt = call->cache_salt;
    return hone_digest_bytes(salt, strlen(salt), call->cache_salt) == HONE_OK;
}

bool api_call_read(api_call *call, const json_t *body, uint32_t max_stops) {
    static const api_field stream_fields[] = {{"include_usage", API_BOOL, 0, 0},
                                              {"include_obfuscation", API_BOOL, 0, 0}};
    hone_sampling *s = &call->engine.sampling;
    s->temperature = (float)api_number(body, "temperature", 1);
    s->top_p = (float)api_number(body, "top_p", 1);
    s->min_p = (float)api_number(body, "min_p", 0);
    s->repetition_penalty = (float)api_number(body, "repetition_penalty", 1);
    s->frequency_penalty = (float)api_number(body, "frequency_penalty", 0);
    s->presence_penalty = (float)api_number(body, "presence_penalty", 0);
    const int64_t top_k = api_int(body, "top_k", 0);
    s->top_k = top_k < 0 ? 0 : (uint32_t)top_k;
    call->engine.min_tokens = (uint32_t)api_int(body, "min_tokens", 0);
    call->engine.ignore_stop = api_bool(body, "ignore_eos", false);
    call->engine.priority = class_of(body);
    call->timeout_ms = timeout_of(call->req, body);
    const char *tier = api_text(body, "service_tier", "auto");
    call->tier = strcmp(tier, "flex") == 0 ? "flex" : strcmp(tier, "priority") == 0 ? "priority" : "default";
    if (api_value(body, "seed")) {
        s->seed = (uint64_t)api_int(body, "seed", 0);
    } else {
        /* Nobody asked for repetition: two requests differ.  The journal keeps the number, so a move repeats it. */
        static uint64_t drawn;
        uint32_t w[4];
        hone_random_block((uint64_t)hone_clock_ns(), 1, 2, ++drawn, w);
        s->seed = (uint64_t)w[0] << 32 | w[1];
    }
    if (!api_bool(body, "speculative", true)) call->engine.max_draft = HONE_NO_DRAFT;
    call->stream = api_bool(body, "stream", false);
    call->token_ids = api_bool(body, "return_token_ids", false);
    if (call->token_ids && call->stream) {
        api_invalid(call->req, "return_token_ids", "unsupported_value",
                    "'return_token_ids' is not supported in streams.");
        return false;
    }
    const json_t *options = api_value(body, "stream_options");
    if (options) {
        if (!call->stream) {
            api_invalid(call->req, "stream_options", "invalid_value",
                        "The 'stream_options' parameter is only allowed when 'stream' is enabled.");
            return false;
        }
        if (!api_check(call->req, options, "stream_options.", stream_fields, 2)) return false;
        call->include_usage = api_bool(options, "include_usage", false);
    }
    const hone_text *t = call->target.base->text;
    call->engine.n_stop = t->n_end < HONE_MAX_STOP_TOKENS ? t->n_end : HONE_MAX_STOP_TOKENS;
    memcpy(call->engine.stop, t->end, call->engine.n_stop * sizeof(int32_t));
    return read_cache(call, body) && read_stops(call, body, max_stops) && read_bias(call, body);
}

bool api_call_predict(api_call *call, const json_t *body) {
    static const api_field fields[] = {{"type", API_STRING, 0, 0}, {"content", API_STRING_OR_ARRAY, 0, 0}};
    const json_t *v = api_value(body, "prediction"), *content = api_value(v, "content");
    if (!v) return true;
    if (!api_check(call->req, v, "prediction.", fields, 2)) return false;
    if (strcmp(api_text(v, "type", ""), "content") != 0 || !content) {
        api_invalid(call->req, "prediction", "invalid_value",
                    "Invalid 'prediction': expected {\"type\": \"content\", \"content\": ...}.");
        return false;
    }
    hone_buf text = {0};
    bool ok = true;
    if (json_is_string(content)) hone_buf_add(&text, json_string_value(content), json_string_length(content));
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_object_get(json_array_get(content, i), "text");
        ok = ok && json_is_string(part);
        if (ok) hone_buf_add(&text, json_string_value(part), json_string_length(part));
    }
    if (!ok)
        api_invalid(call->req, "prediction.content", "invalid_value",
                    "Invalid 'prediction.content': only parts of type 'text' are supported.");
    hone_error err = {.position = HONE_NO_POSITION};
    if (ok && hone_tokenizer_encode(call->target.base->text->tokenizer, hone_buf_str(&text), text.n,
                                    HONE_ENCODE_PLAIN_SPECIAL, &call->prediction, &err) != HONE_OK) {
        api_fail(call->req, &err, "prediction");
        ok = false;
    }
    hone_buf_free(&text);
    return ok;
}

/* ---- Text ---- */

static void give(api_choice *c, size_t n) {
    if (n == 0) return;
    if (c->call->hooks->text)
        c->call->hooks->text(c->call, c, c->held.data, n);
    else
        hone_buf_add(&c->text, c->held.data, n);
    c->n_text += n;
    memmove(c->held.data, c->held.data + n, c->held.n - n + 1);
    c->held.n -= n;
}

/* Bytes at the end of held that begin some stop string: they wait. */
static size_t may_stop(const api_choice *c) {
    size_t longest = 0;
    for (uint32_t i = 0; i < c->call->n_stop; i++) {
        const char *stop = c->call->stop[i];
        const size_t length = strlen(stop);
        size_t k = length - 1 < c->held.n ? length - 1 : c->held.n;
        for (; k > longest; k--)
            if (memcmp(c->held.data + c->held.n - k, stop, k) == 0) longest = k;
    }
    return longest;
}

/* True when a stop string is in held: everything before the earliest was given out, the rest is dropped. */
static bool stopped(api_choice *c) {
    const char *first = NULL;
    for (uint32_t i = 0; i < c->call->n_stop && c->held.n; i++) {
        const char *at = memmem(c->held.data, c->held.n, c->call->stop[i], strlen(c->call->stop[i]));
        if (at && (!first || at < first)) first = at;
    }
    if (!first) return false;
    const size_t keep = (size_t)(first - c->held.data);
    /* Tokens whose text was cut away are not reported either. */
    while (c->n_token && c->token[c->n_token - 1].begin >= c->n_text + keep && c->n_token > c->n_told) c->n_token--;
    give(c, keep);
    hone_buf_clear(&c->held);
    return true;
}

void api_token_text(const api_call *call, int32_t token, hone_buf *text, hone_buf *bytes) {
    hone_tokenizer_bytes(call->target.base->text->tokenizer, token, bytes);
    if (hone_utf8_valid(hone_buf_str(bytes), bytes->n) == bytes->n) {
        hone_buf_add(text, hone_buf_str(bytes), bytes->n);
        return;
    }
    hone_buf_text(text, "bytes:");
    for (size_t i = 0; i < bytes->n; i++) hone_buf_format(text, "\\x%02x", (unsigned char)bytes->data[i]);
}

/* ---- Events ---- */

static void start_more(api_call *call);

static void fail(api_call *call, const hone_error *err) {
    stop_all(call);
    note(call, "error");
    if (call->hooks->failed) {
        call->hooks->failed(call, err);
    } else if (!call->streaming) {
        api_fail(call->req, err, NULL);
    } else {
        json_t *body = api_error_object(err->message, "server_error", NULL, "generation_failed");
        hone_buf text = {0};
        if (body) hone_json_write(body, &text);
        hone_sse_event(call->req, NULL, hone_buf_str(&text), text.n);
        hone_stream_end(call->req);
        hone_buf_free(&text);
        json_decref(body);
    }
    api_call_free(call);
}

static void finish(api_choice *c, const char *reason) {
    api_call *call = c->call;
    c->finish = reason;
    c->generation = NULL;
    call->n_over++;
    if (call->hooks->finished) call->hooks->finished(call, c);
    if (call->n_over == call->n_choice) {
        note(call, reason);
        call->hooks->done(call);
        api_call_free(call);
    } else {
        start_more(call);
    }
}

static bool keep_token(api_token **list, size_t *n, size_t *cap, const hone_event *e, size_t begin) {
    if (!hone_grow(list, cap, *n, sizeof(**list))) return false;
    api_token *t = &(*list)[(*n)++];
    t->token = e->token;
    t->logprob = e->logprob;
    t->n_top = e->n_top;
    t->begin = begin;
    memcpy(t->top_token, e->top_token, sizeof(t->top_token));
    memcpy(t->top_logprob, e->top_logprob, sizeof(t->top_logprob));
    return true;
}

static bool ends_turn(const api_call *call, int32_t token) {
    if (call->engine.ignore_stop) return false;
    for (uint32_t i = 0; i < call->engine.n_stop; i++)
        if (call->engine.stop[i] == token) return true;
    return false;
}

/* The token's text into held: as it decodes, or a special token that the reply's form needs between marks. */
static bool add_text(api_choice *c, int32_t token) {
    const api_call *call = c->call;
    const hone_tokenizer *t = call->target.base->text->tokenizer;
    for (uint32_t i = 0; i < call->n_shown; i++) {
        size_t n;
        const char *text = call->shown[i] == token ? hone_tokenizer_text(t, token, &n) : NULL;
        if (!text) continue;
        if (hone_detok_flush(c->detok, &c->held) != HONE_OK) return false;
        hone_buf_char(&c->held, (char)HONE_TOKEN_MARK);
        hone_buf_add(&c->held, text, n);
        return hone_buf_char(&c->held, (char)HONE_TOKEN_MARK);
    }
    return hone_detok_feed(c->detok, token, &c->held) == HONE_OK && !c->held.failed;
}

static void on_token(api_choice *c, const hone_event *e) {
    api_call *call = c->call;
    const double now = hone_clock_seconds();
    if (call->first_token == 0) call->first_token = now;
    if (c->last_token != 0) {
        if (!call->gaps) call->gaps = api_metrics_gaps(call->api, call->target.version);
        hone_series_observe(call->gaps, now - c->last_token);
    }
    c->last_token = now;
    if (c->n_output++ == 0) c->n_cached = e->n_cached; /* a copy that goes on after another's death says what it had */
    if (c->thinking) c->n_reasoning++;
    c->sum_logprob += (double)e->logprob;
    const hone_error no_memory = {.code = HONE_ERR_NOMEM, .message = "The server is out of memory."};
    if (call->token_ids && !hone_ids_add(&c->ids, e->token)) {
        fail(call, &no_memory);
        return;
    }
    if (ends_turn(call, e->token)) return; /* DONE follows */
    if (call->engine.n_logprobs >= 0 && !keep_token(&c->token, &c->n_token, &c->cap_token, e, c->n_text + c->held.n)) {
        fail(call, &no_memory);
        return;
    }
    if (!add_text(c, e->token)) {
        fail(call, &no_memory);
        return;
    }
    if (c->held.n == 0) return;
    if (stopped(c)) {
        hone_generation *g = c->generation;
        hone_generation_cancel(g);
        finish(c, "stop");
        return;
    }
    give(c, c->held.n - may_stop(c));
}

static void on_done(api_choice *c, const hone_event *e) {
    api_call *call = c->call;
    c->generation = NULL;
    if (c->n_output == 0) c->n_cached = e->n_cached;
    c->n_accepted = e->n_accepted;
    c->n_rejected = e->n_rejected;
    if (e->finish == HONE_FINISH_ERROR || e->finish == HONE_FINISH_CANCELLED) {
        const hone_error lost = {.code = HONE_ERR_INTERNAL, .message = "The generation was ended by the server."};
        fail(call, e->error ? e->error : &lost);
        return;
    }
    if (c->detok) hone_detok_finish(c->detok, &c->held);
    const bool hit = stopped(c);
    give(c, c->held.n);
    finish(c, hit || e->finish == HONE_FINISH_STOP ? "stop" : "length");
}

static void on_event(void *arg, const hone_event *e) {
    api_choice *c = arg;
    api_call *call = c->call;
    const hone_error no_memory = {.code = HONE_ERR_NOMEM, .message = "The server is out of memory."};
    switch (e->kind) {
    case HONE_EVENT_TOKEN: on_token(c, e); return;
    case HONE_EVENT_PROMPT:
        if (!keep_token(&c->prompt_token, &c->n_prompt_token, &c->cap_prompt_token, e, 0)) fail(call, &no_memory);
        return;
    case HONE_EVENT_EMBEDDING:
        c->embedding = hone_zalloc(call->target.base->width, sizeof(float));
        if (!c->embedding) {
            fail(call, &no_memory);
            return;
        }
        memcpy(c->embedding, e->embedding, call->target.base->width * sizeof(float));
        return;
    case HONE_EVENT_DONE: on_done(c, e); return;
    }
}

/* ---- Starting ---- */

static void start_more(api_call *call) {
    while (call->n_started < call->n_choice && call->n_started - call->n_over < API_WINDOW) {
        api_choice *c = &call->choice[call->n_started];
        hone_error err = {.position = HONE_NO_POSITION};
        hone_engine_request r = call->engine;
        r.prompt = c->prompt;
        r.n_prompt = c->n_prompt;
        r.sampling.seed = c->seed;
        hone_status status = HONE_OK;
        if (r.max_tokens) status = hone_detok_open(&c->detok, call->target.base->text->tokenizer, true, &err);
        if (status == HONE_OK)
            status = hone_controller_generate(call->target.base->component,
                                              call->target.adapter.digest[0] ? &call->target.adapter : NULL, &r,
                                              call->timeout_ms, on_event, c, &c->generation, &err);
        if (status != HONE_OK) {
            fail(call, &err);
            return;
        }
        call->n_started++;
    }
}

/* All choices or none: what was begun is not refused half way.  Those behind the window take the places of the first.
 */
static bool admitted(api_call *call) {
    const uint32_t n = call->n_choice < API_WINDOW ? call->n_choice : API_WINDOW;
    hone_newcomer all = {.priority = call->engine.priority,
                         .n = n,
                         .max_tokens = call->engine.max_tokens,
                         .timeout_ms = call->timeout_ms};
    for (uint32_t i = 0; i < n; i++) all.n_prompt += call->choice[i].n_prompt;
    hone_error err = {.position = HONE_NO_POSITION};
    if (hone_controller_admits(call->target.base->component, &all, &err) == HONE_OK) return true;
    fail(call, &err);
    return false;
}

void api_call_start(api_call *call, int64_t max_tokens) {
    const uint32_t context = call->target.base->context;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < call->n_choice; i++)
        if (call->choice[i].n_prompt > longest) longest = call->choice[i].n_prompt;
    const bool generates = max_tokens != 0;
    if (longest + (generates ? 1u : 0u) > context || (max_tokens > 0 && (uint64_t)max_tokens + longest > context)) {
        if (max_tokens > 0)
            api_invalid(call->req, "messages", "context_length_exceeded",
                        "This model's maximum context length is %u tokens. However, you requested %llu tokens (%u in "
                        "the prompt, %lld in the completion). "
                        "Please reduce the length of the prompt or completion.",
                        context, (unsigned long long)longest + (unsigned long long)max_tokens, longest,
                        (long long)max_tokens);
        else
            api_invalid(call->req, "messages", "context_length_exceeded",
                        "This model's maximum context length is %u tokens. However, your prompt resulted in %u tokens. "
                        "Please reduce its length.",
                        context, longest);
        api_call_free(call);
        return;
    }
    for (uint32_t i = 0; i < call->n_choice; i++) {
        /* The first choice has the seed as given; each further one a number that follows from it. */
        uint32_t w[4];
        const uint64_t seed = call->engine.sampling.seed;
        hone_random_block(seed, i, 0, 0x686f6e65, w);
        call->choice[i].seed = i == 0 ? seed : (uint64_t)w[0] << 32 | w[1];
    }
    if (call->grammar.n) {
        call->engine.grammar_source = call->grammar.data;
        call->engine.n_grammar_source = call->grammar.n;
    }
    call->engine.prediction = call->prediction.id;
    call->engine.n_prediction = (uint32_t)call->prediction.n;
    call->engine.max_tokens = max_tokens < 0 ? context - longest : (uint32_t)max_tokens;
    if (call->engine.min_tokens > call->engine.max_tokens) call->engine.min_tokens = call->engine.max_tokens;
    hone_request_on_close(call->req, on_gone, call);
    if (admitted(call)) start_more(call);
}

static json_t *ids_array(const int32_t *id, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(id[i]));
    return list;
}

void api_add_token_ids(const api_choice *c, json_t *object) {
    if (!c->call->token_ids) return;
    json_object_set_new(object, "token_ids", ids_array(c->ids.id, c->ids.n));
    json_object_set_new(object, "prompt_token_ids", ids_array(c->prompt, c->n_prompt));
}

uint32_t api_call_output_tokens(const api_call *call) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < call->n_choice; i++) n += call->choice[i].n_output;
    return n;
}

/* Of each prompt once, as prompt_tokens counts it: further choices find what the first computed. */
static uint32_t cached_tokens(const api_call *call) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < call->n_choice; i++)
        if (i == 0 || call->choice[i].prompt != call->choice[i - 1].prompt) n += call->choice[i].n_cached;
    return n;
}

json_t *api_call_usage(const api_call *call) {
    const uint32_t out = api_call_output_tokens(call);
    uint32_t reasoning = 0, accepted = 0, rejected = 0;
    for (uint32_t i = 0; i < call->n_choice; i++) {
        const api_choice *c = &call->choice[i];
        reasoning += c->n_reasoning;
        accepted += call->prediction.n ? c->n_accepted : 0;
        rejected += call->prediction.n ? c->n_rejected : 0;
    }
    return json_pack("{s:i, s:i, s:i, s:{s:i, s:i}, s:{s:i, s:i, s:i, s:i}}", "prompt_tokens", (int)call->prompt_tokens,
                     "completion_tokens", (int)out, "total_tokens", (int)(call->prompt_tokens + out),
                     "prompt_tokens_details", "cached_tokens", (int)cached_tokens(call), "audio_tokens", 0,
                     "completion_tokens_details", "reasoning_tokens", (int)reasoning, "audio_tokens", 0,
                     "accepted_prediction_tokens", (int)accepted, "rejected_prediction_tokens", (int)rejected);
}

const char *api_call_fingerprint(const api_call *call, char text[64]) {
    snprintf(text, 64, "%s", hone_component_fingerprint(call->target.base->component));
    return text[0] ? text : NULL;
}
