/* completions.c - POST /v1/completions.
 * Order: fields, prompts, text and log-probabilities of a choice, streams, the whole reply, the handler. */
#include <stdio.h>
#include <string.h>

#include "api/generate.h"
#include "api/reply.h"
#include "base/mem.h"

typedef struct {
    hone_ids *prompt; /* [n_prompt] */
    uint32_t n_prompt;
    char **echo;         /* [n_prompt] the prompts' text, where echo is asked for; else NULL */
    uint32_t n, best_of; /* choices returned and computed for each prompt */
    bool logprobs;
    bool *begun;   /* [n_choice] its echo went out */
    size_t *chars; /* [n_choice] characters of text whose tokens were listed: the next text_offset */
} completions;

/* ---- Fields ---- */

static const api_field fields[] = {
    {"model", API_STRING, 1, 512},
    {"prompt", API_STRING_OR_ARRAY, 0, 0},
    {"best_of", API_INT, 1, 128},
    {"echo", API_BOOL, 0, 0},
    {"logprobs", API_INT, 0, HONE_TOP_LOGPROBS},
    {"max_tokens", API_INT, 0, 2147483647},
    {"suffix", API_STRING, 0, 0},
    API_SAMPLING_FIELDS,
};

/* ---- Prompts ---- */

static bool bad_prompt(hone_request *req, const char *what) {
    api_invalid(req, "prompt", "invalid_value", "Invalid 'prompt': %s.", what);
    return false;
}

static bool add_text(hone_request *req, const api_base *base, const json_t *text, hone_ids *out) {
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_status status = hone_tokenizer_encode(base->text->tokenizer, json_string_value(text),
                                                     json_string_length(text), HONE_ENCODE_ADD_SPECIAL, out, &err);
    if (status != HONE_OK) {
        api_fail(req, &err, "prompt");
        return false;
    }
    return out->n ? true : bad_prompt(req, "it has no tokens");
}

static bool add_ids(hone_request *req, const api_base *base, const json_t *list, hone_ids *out) {
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)list, i, v) {
        const json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= (json_int_t)base->vocab)
            return bad_prompt(req, "a token is no integer, or is outside the vocabulary");
        if (!hone_ids_add(out, (int32_t)id)) return bad_prompt(req, "no memory for it");
    }
    return out->n ? true : bad_prompt(req, "it has no tokens");
}

bool api_read_prompts(hone_request *req, const api_base *base, const json_t *v, hone_ids **list, uint32_t *n) {
    const bool many = json_is_array(v) && json_array_size(v) && !json_is_integer(json_array_get(v, 0));
    const size_t count = many ? json_array_size(v) : 1;
    if (json_is_array(v) && json_array_size(v) == 0) return bad_prompt(req, "it is an empty list");
    if (many && count > 2048) return bad_prompt(req, "at most 2048 prompts at once");
    *list = hone_zalloc(count, sizeof(**list));
    if (!*list) return bad_prompt(req, "no memory for it");
    *n = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        const json_t *one = many ? json_array_get(v, i) : v;
        const bool ok = json_is_string(one)  ? add_text(req, base, one, &(*list)[i])
                        : json_is_array(one) ? add_ids(req, base, one, &(*list)[i])
                                             : bad_prompt(req, "expected a string, strings, tokens or lists of tokens");
        if (!ok) return false;
    }
    return true;
}

/* The prompt's own text: special tokens that the tokenizer added show as they are written. */
static bool make_echo(completions *own, const api_base *base) {
    own->echo = hone_zalloc(own->n_prompt, sizeof(*own->echo));
    for (uint32_t i = 0; own->echo && i < own->n_prompt; i++) {
        hone_buf text = {0};
        hone_tokenizer_decode(base->text->tokenizer, own->prompt[i].id, own->prompt[i].n, false, &text, NULL);
        if (!(own->echo[i] = hone_buf_take(&text, NULL))) return false;
    }
    return own->echo != NULL;
}

static const char *echo_of(const completions *own, const api_choice *c) {
    return own->echo ? own->echo[c->index / own->best_of] : "";
}

/* ---- Log-probabilities: {"tokens", "token_logprobs", "top_logprobs", "text_offset"} ---- */

typedef struct {
    json_t *tokens, *logprobs, *top, *offset;
    size_t at; /* characters of text so far */
} lists;

static json_t *text_of(const api_call *call, int32_t token, size_t *characters) {
    hone_buf text = {0}, bytes = {0};
    api_token_text(call, token, &text, &bytes);
    for (size_t i = 0; i < bytes.n; i++) *characters += ((unsigned char)bytes.data[i] & 0xc0) != 0x80;
    json_t *v = json_stringn(hone_buf_str(&text), text.n);
    hone_buf_free(&text);
    hone_buf_free(&bytes);
    return v;
}

static double listed(float logprob) {
    return logprob < -9999.0f ? -9999.0 : (double)logprob;
}

static void add_token(lists *l, const api_call *call, int32_t token, const api_token *t) {
    size_t ignored = 0;
    json_array_append_new(l->offset, json_integer((json_int_t)l->at));
    json_array_append_new(l->tokens, text_of(call, token, &l->at));
    json_array_append_new(l->logprobs, t ? json_real(listed(t->logprob)) : json_null());
    json_t *top = t ? json_object() : json_null();
    for (uint32_t k = 0; t && k < t->n_top; k++) {
        json_t *name = text_of(call, t->top_token[k], &ignored);
        json_object_setn_new_nocheck(top, json_string_value(name), json_string_length(name),
                                     json_real(listed(t->top_logprob[k])));
        json_decref(name);
    }
    json_array_append_new(l->top, top);
}

/* Output tokens from..to, behind the prompt's own where with_prompt. */
static json_t *logprobs_object(const api_call *call, const api_choice *c, bool with_prompt, size_t from, size_t to) {
    const completions *own = call->own;
    lists l = {json_array(), json_array(), json_array(), json_array(), own->chars[c->index]};
    for (uint32_t i = 0; with_prompt && i < c->n_prompt; i++)
        add_token(&l, call, c->prompt[i], i && i - 1 < c->n_prompt_token ? &c->prompt_token[i - 1] : NULL);
    for (size_t i = from; i < to; i++) add_token(&l, call, c->token[i].token, &c->token[i]);
    own->chars[c->index] = l.at;
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", l.tokens, "token_logprobs", l.logprobs, "top_logprobs", l.top,
                     "text_offset", l.offset);
}

/* ---- Streams ---- */

/* An event after the choice's first, without log-probabilities: written by hand, there is one for each token. */
static void send_text(api_call *call, const api_choice *c, const char *text, size_t n, const char *finish) {
    const completions *own = call->own;
    if (call->head.n == 0) {
        char fingerprint[64];
        const char *fp = api_call_fingerprint(call, fingerprint);
        hone_buf_format(&call->head,
                        "{\"id\":\"%s\",\"object\":\"text_completion\",\"created\":%lld,\"model\":", call->id,
                        (long long)call->created);
        hone_buf_json_string(&call->head, call->target.version, strlen(call->target.version));
        if (fp) {
            hone_buf_text(&call->head, ",\"system_fingerprint\":");
            hone_buf_json_string(&call->head, fp, strlen(fp));
        }
    }
    hone_buf *out = &call->chunk;
    hone_buf_clear(out);
    hone_buf_add(out, hone_buf_str(&call->head), call->head.n);
    hone_buf_format(
        out, ",\"choices\":[{\"index\":%u,\"text\":", c->index / own->best_of * own->n + c->index % own->best_of);
    hone_buf_json_string(out, text, n);
    hone_buf_text(out, ",\"logprobs\":null,\"finish_reason\":");
    if (finish)
        hone_buf_format(out, "\"%s\"}]", finish);
    else
        hone_buf_text(out, "null}]");
    hone_buf_text(out, call->include_usage ? ",\"usage\":null}" : "}");
    hone_sse_event(call->req, NULL, hone_buf_str(out), out->n);
}

static void send_chunk(api_call *call, api_choice *c, const char *text, size_t n, const char *finish) {
    completions *own = call->own;
    char fingerprint[64];
    if (!call->streaming) {
        hone_sse_begin(call->req);
        call->streaming = true;
    }
    if (own->begun[c->index] && !own->logprobs) {
        send_text(call, c, text, n, finish);
        return;
    }
    hone_buf words = {0}, out = {0};
    if (!own->begun[c->index]) hone_buf_text(&words, echo_of(own, c));
    const bool first = !own->begun[c->index];
    hone_buf_add(&words, text, n);
    json_t *lp = own->logprobs && (first || c->n_told < c->n_token)
                     ? logprobs_object(call, c, first && own->echo, c->n_told, c->n_token)
                     : json_null();
    own->begun[c->index] = true;
    c->n_told = c->n_token;
    json_t *body = json_pack("{s:s, s:s, s:I, s:s, s:[{s:i, s:o, s:o, s:s?}], s:s?}", "id", call->id, "object",
                             "text_completion", "created", (json_int_t)call->created, "model", call->target.version,
                             "choices", "index", (int)(c->index / own->best_of * own->n + c->index % own->best_of),
                             "text", json_stringn(hone_buf_str(&words), words.n), "logprobs", lp, "finish_reason",
                             finish, "system_fingerprint", api_call_fingerprint(call, fingerprint));
    if (call->include_usage) json_object_set_new(body, "usage", json_null());
    hone_json_write(body, &out);
    hone_sse_event(call->req, NULL, hone_buf_str(&out), out.n);
    json_decref(body);
    hone_buf_free(&out);
    hone_buf_free(&words);
}

static void stream_text(api_call *call, api_choice *c, const char *text, size_t n) {
    send_chunk(call, c, text, n, NULL);
}
static void stream_finished(api_call *call, api_choice *c) {
    send_chunk(call, c, "", 0, c->finish);
}

static void stream_done(api_call *call) {
    if (call->include_usage) {
        char fingerprint[64];
        hone_buf out = {0};
        json_t *body =
            json_pack("{s:s, s:s, s:I, s:s, s:[], s:o, s:s?}", "id", call->id, "object", "text_completion", "created",
                      (json_int_t)call->created, "model", call->target.version, "choices", "usage",
                      api_call_usage(call), "system_fingerprint", api_call_fingerprint(call, fingerprint));
        hone_json_write(body, &out);
        hone_sse_event(call->req, NULL, hone_buf_str(&out), out.n);
        json_decref(body);
        hone_buf_free(&out);
    }
    hone_sse_event(call->req, NULL, "[DONE]", 6);
    hone_stream_end(call->req);
}

/* ---- The whole reply ---- */

/* best_of: the highest log-probability a token. */
static const api_choice *best_left(api_choice *of, uint32_t n) {
    const api_choice *best = NULL;
    for (uint32_t i = 0; i < n; i++) {
        if (of[i].n_told == SIZE_MAX) continue; /* taken */
        const double mean = of[i].sum_logprob / (of[i].n_output ? of[i].n_output : 1);
        if (!best || mean > best->sum_logprob / (best->n_output ? best->n_output : 1)) best = &of[i];
    }
    return best;
}

static json_t *choice_object(const api_call *call, const api_choice *c, uint32_t index) {
    const completions *own = call->own;
    hone_buf text = {0};
    hone_buf_text(&text, echo_of(own, c));
    hone_buf_add(&text, hone_buf_str(&c->text), c->text.n);
    json_t *lp = own->logprobs ? logprobs_object(call, c, own->echo != NULL, 0, c->n_token) : json_null();
    json_t *v = json_pack("{s:o, s:i, s:o, s:s}", "text", json_stringn(hone_buf_str(&text), text.n), "index",
                          (int)index, "logprobs", lp, "finish_reason", c->finish);
    api_add_token_ids(c, v);
    hone_buf_free(&text);
    return v;
}

static void reply_done(api_call *call) {
    const completions *own = call->own;
    char fingerprint[64];
    json_t *choices = json_array();
    for (uint32_t p = 0; p < own->n_prompt; p++) {
        api_choice *of = &call->choice[p * own->best_of];
        for (uint32_t i = 0; i < own->n; i++) {
            api_choice *c = own->best_of > own->n ? (api_choice *)(uintptr_t)best_left(of, own->best_of) : &of[i];
            json_array_append_new(choices, choice_object(call, c, p * own->n + i));
            c->n_told = SIZE_MAX;
        }
    }
    json_t *body =
        json_pack("{s:s, s:s, s:I, s:s, s:o, s:o, s:s?}", "id", call->id, "object", "text_completion", "created",
                  (json_int_t)call->created, "model", call->target.version, "choices", choices, "usage",
                  api_call_usage(call), "system_fingerprint", api_call_fingerprint(call, fingerprint));
    if (body && !json_object_get(body, "system_fingerprint")) json_object_del(body, "system_fingerprint");
    hone_reply_json(call->req, 200, body);
    json_decref(body);
}

static void free_completions(void *p) {
    completions *own = p;
    if (!own) return;
    for (uint32_t i = 0; i < own->n_prompt; i++) {
        hone_ids_free(&own->prompt[i]);
        if (own->echo) hone_free(own->echo[i]);
    }
    hone_free(own->prompt);
    hone_free(own->echo);
    hone_free(own->begun);
    hone_free(own->chars);
    hone_free(own);
}

static const api_call_hooks collect = {.done = reply_done, .free_own = free_completions};
static const api_call_hooks streamed = {
    .text = stream_text, .finished = stream_finished, .done = stream_done, .free_own = free_completions};

/* ---- The handler ---- */

static bool check_values(hone_request *req, const json_t *body) {
    if (api_text(body, "suffix", "")[0]) {
        api_invalid(req, "suffix", "unsupported_parameter",
                    "Unsupported parameter: 'suffix' needs a model with fill-in tokens, which this one has not.");
        return false;
    }
    const int64_t n = api_int(body, "n", 1), best_of = api_int(body, "best_of", n);
    if (best_of < n) {
        api_invalid(req, "best_of", "invalid_value", "Invalid 'best_of': it must be at least 'n' (%lld), but is %lld.",
                    (long long)n, (long long)best_of);
        return false;
    }
    if (best_of > n && api_bool(body, "stream", false)) {
        api_invalid(req, "best_of", "invalid_value",
                    "Invalid 'best_of': results cannot be streamed when it is greater than 'n'.");
        return false;
    }
    return true;
}

void api_completions(void *arg, hone_request *req) {
    hone_api *api = arg;
    json_t *body = api_body(req, fields, sizeof(fields) / sizeof(fields[0]));
    if (!body) return;
    api_target target = {0};
    api_structured structured = {0};
    completions *own = NULL;
    if (!api_need(req, body, "model") || !api_need(req, body, "prompt") || !check_values(req, body) ||
        !api_structured_read(req, body, &structured) ||
        !api_find_target(api, req, api_text(body, "model", ""), &target) || !api_admits(req, &target, body))
        goto done;
    if (!(own = hone_zalloc(1, sizeof(*own)))) goto no_memory;
    own->n = (uint32_t)api_int(body, "n", 1);
    own->best_of = (uint32_t)api_int(body, "best_of", own->n);
    own->logprobs = api_value(body, "logprobs") != NULL;
    const bool echo = api_bool(body, "echo", false);
    if (!api_read_prompts(req, target.base, api_value(body, "prompt"), &own->prompt, &own->n_prompt)) goto done;
    const uint32_t n_choice = own->n_prompt * own->best_of;
    own->begun = hone_zalloc(n_choice, sizeof(*own->begun));
    own->chars = hone_zalloc(n_choice, sizeof(*own->chars));
    if (!own->begun || !own->chars) goto no_memory;
    if (echo && !make_echo(own, target.base)) goto no_memory;
    api_call *call =
        api_call_new(api, req, &target, "cmpl-", api_bool(body, "stream", false) ? &streamed : &collect, own, n_choice);
    completions *mine = own;
    own = NULL; /* the call's, or gone with it */
    if (!call) goto done;
    if (!api_call_read(call, body, 4) ||
        !api_reply_source(api, req, NULL, API_THINK_NONE, &structured, NULL, &call->grammar)) {
        api_call_free(call);
        goto done;
    }
    const int64_t wanted = api_int(body, "logprobs", 0);
    if (mine->logprobs || mine->best_of > mine->n) call->engine.n_logprobs = (int32_t)wanted;
    call->engine.prompt_logprobs = mine->logprobs && echo;
    for (uint32_t i = 0; i < n_choice; i++) {
        const hone_ids *p = &mine->prompt[i / mine->best_of];
        call->choice[i].prompt = p->id;
        call->choice[i].n_prompt = (uint32_t)p->n;
        if (i % mine->best_of == 0) call->prompt_tokens += (uint32_t)p->n;
    }
    api_call_start(call, api_int(body, "max_tokens", 16));
    goto done;
no_memory:
    api_error(req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
done:
    free_completions(own);
    api_structured_free(&structured);
    api_target_free(&target);
    json_decref(body);
}
