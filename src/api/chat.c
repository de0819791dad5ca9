/* chat.c - POST /v1/chat/completions.
 * Order: fields, messages, chunks of a stream, the whole reply, the handler. */
#include <stdio.h>
#include <string.h>

#include "api/generate.h"
#include "base/mem.h"

typedef struct {
    hone_ids prompt;
    bool *told_role; /* [n] the choice's first chunk went out */
    bool logprobs;
    char *metadata; /* JSON, NULL: none */
} chat;

/* ---- Fields ---- */

static const api_field fields[] = {
    {"model", API_STRING, 1, 512},
    {"messages", API_ARRAY, 1, 100000},
    {"max_tokens", API_INT, 1, 2147483647},
    {"max_completion_tokens", API_INT, 1, 2147483647},
    {"logprobs", API_BOOL, 0, 0},
    {"top_logprobs", API_INT, 0, HONE_TOP_LOGPROBS},
    {"response_format", API_OBJECT, 0, 0},
    {"tools", API_ARRAY, 0, 128},
    {"tool_choice", API_STRING, 0, 0},
    {"parallel_tool_calls", API_BOOL, 0, 0},
    {"metadata", API_OBJECT, 0, 0},
    {"store", API_BOOL, 0, 0},
    {"service_tier", API_STRING, 0, 0},
    {"reasoning_effort", API_STRING, 0, 0},
    {"safety_identifier", API_STRING, 0, 64},
    {"chat_template_kwargs", API_OBJECT, 0, 0},
    {"modalities", API_ARRAY, 0, 0},
    {"verbosity", API_STRING, 0, 0},
    {"audio", API_REFUSED, 0, 0},
    {"functions", API_REFUSED, 0, 0},
    {"function_call", API_REFUSED, 0, 0},
    {"prediction", API_REFUSED, 0, 0},
    {"web_search_options", API_REFUSED, 0, 0},
    {"moderation", API_REFUSED, 0, 0},
    {"prompt_cache_options", API_REFUSED, 0, 0},
    API_SAMPLING_FIELDS,
};

static bool refuse(hone_request *req, const char *name, const char *what) {
    api_invalid(req, name, "unsupported_value", "Unsupported value: '%s' %s.", name, what);
    return false;
}

/* Fields of which only some values can be honoured: the others are refused, never ignored. */
static bool check_values(hone_request *req, const json_t *body) {
    const json_t *format = api_value(body, "response_format");
    const char *type = format ? json_string_value(json_object_get(format, "type")) : "text";
    if (!type || strcmp(type, "text") != 0)
        return refuse(req, "response_format", "supports the type 'text' only on this server");
    const char *choice = api_text(body, "tool_choice", "auto");
    if (json_array_size(api_value(body, "tools")) && strcmp(choice, "none") != 0)
        return refuse(req, "tools",
                      "can only be shown to the model here (tool_choice 'none'); this server does not parse calls");
    if (strcmp(choice, "none") != 0 && strcmp(choice, "auto") != 0)
        return refuse(req, "tool_choice", "must be 'none' or 'auto' on this server");
    const json_t *modalities = api_value(body, "modalities");
    for (size_t i = 0; i < json_array_size(modalities); i++) {
        const char *m = json_string_value(json_array_get(modalities, i));
        if (!m || strcmp(m, "text") != 0) return refuse(req, "modalities", "supports 'text' only");
    }
    if (api_bool(body, "store", false)) return refuse(req, "store", "must be false: this server keeps no completions");
    const char *tier = api_text(body, "service_tier", "auto");
    if (strcmp(tier, "auto") != 0 && strcmp(tier, "default") != 0 && strcmp(tier, "flex") != 0 &&
        strcmp(tier, "priority") != 0)
        return refuse(req, "service_tier", "must be 'auto', 'default', 'flex' or 'priority'");
    if (api_value(body, "max_tokens") && api_value(body, "max_completion_tokens"))
        return refuse(req, "max_tokens", "and 'max_completion_tokens' exclude each other: give one");
    if (api_value(body, "top_logprobs") && !api_bool(body, "logprobs", false))
        return refuse(req, "top_logprobs", "needs 'logprobs' to be true");
    return true;
}

/* ---- Messages ---- */

static bool bad_message(hone_request *req, size_t i, const char *name, const char *what) {
    char param[64];
    snprintf(param, sizeof(param), "messages[%zu]%s%s", i, name[0] ? "." : "", name);
    api_invalid(req, param, "invalid_value", "Invalid '%s': %s.", param, what);
    return false;
}

/* Content parts become one string: templates of text models expect it. */
static bool join_parts(hone_request *req, size_t i, json_t *message, const json_t *parts) {
    hone_buf text = {0};
    size_t k;
    json_t *part;
    bool ok = true;
    json_array_foreach((json_t *)(uintptr_t)parts, k, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        const char *words = json_string_value(json_object_get(part, "text"));
        if (!type || (strcmp(type, "text") != 0 && strcmp(type, "refusal") != 0))
            ok = bad_message(req, i, "content", "only parts of type 'text' are supported by this model");
        else if (!words && !(words = json_string_value(json_object_get(part, "refusal"))))
            ok = bad_message(req, i, "content", "a text part without 'text'");
        if (!ok) break;
        hone_buf_text(&text, words);
    }
    if (ok) json_object_set_new(message, "content", json_stringn(hone_buf_str(&text), text.n));
    hone_buf_free(&text);
    return ok;
}

/* A checked copy in the form that templates take; NULL after a 400. */
static json_t *read_messages(hone_request *req, const json_t *body) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
    json_t *messages = json_deep_copy(api_value(body, "messages"));
    size_t i;
    json_t *m;
    bool ok = messages != NULL;
    json_array_foreach(messages, i, m) {
        const char *role = json_string_value(json_object_get(m, "role"));
        bool known = false;
        for (size_t k = 0; role && k < sizeof(roles) / sizeof(roles[0]); k++)
            known = known || strcmp(role, roles[k]) == 0;
        const json_t *content = api_value(m, "content");
        if (!json_is_object(m))
            ok = bad_message(req, i, "", "expected an object");
        else if (!known)
            ok = bad_message(req, i, "role", "supported are 'system', 'developer', 'user', 'assistant' and 'tool'");
        else if (json_is_array(content))
            ok = join_parts(req, i, m, content);
        else if (content && !json_is_string(content))
            ok = bad_message(req, i, "content", "expected a string or an array of parts");
        else if (!content && strcmp(role, "assistant") != 0)
            ok = bad_message(req, i, "content", "it is required");
        /* null fields are absent ones; templates test with `is defined` */
        const char *key;
        json_t *value;
        void *next;
        if (ok)
            json_object_foreach_safe(m, next, key, value) if (json_is_null(value) && strcmp(key, "content") != 0)
                json_object_del(m, key);
        if (!ok) break;
    }
    if (ok) return messages;
    json_decref(messages);
    return NULL;
}

/* ---- Log-probabilities ---- */

static json_t *token_object(const api_call *call, int32_t token, double logprob) {
    hone_buf text = {0}, bytes = {0};
    api_token_text(call, token, &text, &bytes);
    json_t *list = json_array();
    for (size_t i = 0; i < bytes.n; i++) json_array_append_new(list, json_integer((unsigned char)bytes.data[i]));
    /* OpenAI writes -9999 for "never"; JSON has no infinity */
    json_t *object = json_pack("{s:o, s:f, s:o}", "token", json_stringn(hone_buf_str(&text), text.n), "logprob",
                               logprob < -9999 ? -9999.0 : logprob, "bytes", list);
    hone_buf_free(&text);
    hone_buf_free(&bytes);
    return object;
}

/* Tokens from..to of a choice: {"content": [...], "refusal": null}. */
static json_t *logprobs_object(const api_call *call, const api_choice *c, size_t from, size_t to) {
    json_t *content = json_array();
    for (size_t i = from; i < to; i++) {
        const api_token *t = &c->token[i];
        json_t *entry = token_object(call, t->token, (double)t->logprob), *top = json_array();
        for (uint32_t k = 0; k < t->n_top; k++)
            json_array_append_new(top, token_object(call, t->top_token[k], (double)t->top_logprob[k]));
        json_object_set_new(entry, "top_logprobs", top);
        json_array_append_new(content, entry);
    }
    return json_pack("{s:o, s:n}", "content", content, "refusal");
}

/* ---- Streams ---- */

/* What every event of a stream begins with; written once, as nothing of it changes after the first token. */
static void chunk_head(api_call *call, hone_buf *out) {
    if (call->head.n == 0) {
        hone_buf *head = &call->head;
        char fingerprint[64];
        const char *fp = api_call_fingerprint(call, fingerprint);
        hone_buf_format(head,
                        "{\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"created\":%lld,\"model\":", call->id,
                        (long long)call->created);
        hone_buf_json_string(head, call->target.version, strlen(call->target.version));
        hone_buf_format(head, ",\"service_tier\":\"%s\",\"system_fingerprint\":", call->tier);
        if (fp)
            hone_buf_json_string(head, fp, strlen(fp));
        else
            hone_buf_text(head, "null");
    }
    hone_buf_add(out, hone_buf_str(&call->head), call->head.n);
    if (call->head.failed) out->failed = true;
}

/* One event for one choice; role, text and finish may be NULL. */
static void send_chunk(api_call *call, api_choice *c, const char *role, const char *text, size_t n,
                       const char *finish) {
    const chat *own = call->own;
    hone_buf *out = &call->chunk;
    hone_buf_clear(out);
    if (!call->streaming) {
        hone_sse_begin(call->req);
        call->streaming = true;
    }
    chunk_head(call, out);
    if (c->index == 0)
        hone_buf_text(out, ",\"choices\":[{\"index\":0,\"delta\":{");
    else
        hone_buf_format(out, ",\"choices\":[{\"index\":%u,\"delta\":{", c->index);
    if (role) hone_buf_format(out, "\"role\":\"%s\",\"content\":\"\",\"refusal\":null", role);
    if (text) {
        hone_buf_text(out, "\"content\":");
        hone_buf_json_string(out, text, n);
    }
    hone_buf_text(out, "},\"logprobs\":");
    json_t *lp = own->logprobs && (text || c->n_told < c->n_token) && !role
                     ? logprobs_object(call, c, c->n_told, c->n_token)
                     : NULL;
    if (lp)
        hone_json_write(lp, out);
    else
        hone_buf_text(out, "null");
    if (lp) c->n_told = c->n_token;
    json_decref(lp);
    if (finish)
        hone_buf_format(out, ",\"finish_reason\":\"%s\"}]", finish);
    else
        hone_buf_text(out, ",\"finish_reason\":null}]");
    hone_buf_text(out, call->include_usage ? ",\"usage\":null}" : "}");
    hone_sse_event(call->req, NULL, hone_buf_str(out), out->n);
}

static void begin_choice(api_call *call, api_choice *c) {
    chat *own = call->own;
    if (own->told_role[c->index]) return;
    own->told_role[c->index] = true;
    send_chunk(call, c, "assistant", NULL, 0, NULL);
}

static void stream_text(api_call *call, api_choice *c, const char *text, size_t n) {
    begin_choice(call, c);
    send_chunk(call, c, NULL, text, n, NULL);
}

static void stream_finished(api_call *call, api_choice *c) {
    begin_choice(call, c);
    send_chunk(call, c, NULL, NULL, 0, c->finish);
}

static void stream_done(api_call *call) {
    hone_buf out = {0};
    if (call->include_usage) {
        chunk_head(call, &out);
        hone_buf_text(&out, ",\"choices\":[],\"usage\":");
        json_t *usage = api_call_usage(call);
        hone_json_write(usage, &out);
        json_decref(usage);
        hone_buf_char(&out, '}');
        hone_sse_event(call->req, NULL, hone_buf_str(&out), out.n);
    }
    hone_sse_event(call->req, NULL, "[DONE]", 6);
    hone_stream_end(call->req);
    hone_buf_free(&out);
}

/* ---- The whole reply ---- */

static void reply_done(api_call *call) {
    const chat *own = call->own;
    char fingerprint[64];
    json_t *choices = json_array();
    for (uint32_t i = 0; i < call->n_choice; i++) {
        const api_choice *c = &call->choice[i];
        json_t *lp = own->logprobs ? logprobs_object(call, c, 0, c->n_token) : json_null();
        json_t *choice = json_pack("{s:i, s:{s:s, s:o, s:n, s:[]}, s:o, s:s}", "index", (int)i, "message", "role",
                                   "assistant", "content", json_stringn(hone_buf_str(&c->text), c->text.n), "refusal",
                                   "annotations", "logprobs", lp, "finish_reason", c->finish);
        api_add_token_ids(c, choice);
        json_array_append_new(choices, choice);
    }
    json_t *body = json_pack("{s:s, s:s, s:I, s:s, s:o, s:o, s:s, s:s?}", "id", call->id, "object", "chat.completion",
                             "created", (json_int_t)call->created, "model", call->target.version, "choices", choices,
                             "usage", api_call_usage(call), "service_tier", call->tier, "system_fingerprint",
                             api_call_fingerprint(call, fingerprint));
    if (own->metadata && body)
        json_object_set_new(body, "metadata", hone_json_parse(own->metadata, strlen(own->metadata), NULL));
    hone_reply_json(call->req, 200, body);
    json_decref(body);
}

static void free_chat(void *p) {
    chat *own = p;
    if (!own) return;
    hone_ids_free(&own->prompt);
    hone_free(own->told_role);
    hone_free(own->metadata);
    hone_free(own);
}

static const api_call_hooks collect = {.done = reply_done, .free_own = free_chat};
static const api_call_hooks streamed = {
    .text = stream_text, .finished = stream_finished, .done = stream_done, .free_own = free_chat};

/* ---- The handler ---- */

static bool make_prompt(hone_request *req, const api_base *base, const json_t *body, json_t *messages, hone_ids *out) {
    hone_error err = {.position = HONE_NO_POSITION};
    json_t *kwargs = json_copy((json_t *)(uintptr_t)api_value(body, "chat_template_kwargs"));
    if (!kwargs) kwargs = json_object();
    const char *effort = api_text(body, "reasoning_effort", NULL);
    if (effort && !json_object_get(kwargs, "reasoning_effort"))
        json_object_set_new(kwargs, "reasoning_effort", json_string(effort));
    const json_t *tools = api_value(body, "tools");
    const hone_chat_input in = {.messages = messages,
                                .tools = json_array_size(tools) ? tools : NULL,
                                .kwargs = kwargs,
                                .add_generation_prompt = true};
    hone_status status = hone_text_chat(base->text, &in, out, &err);
    json_decref(kwargs);
    if (status == HONE_OK && out->n == 0) status = hone_fail(&err, HONE_ERR_ARG, "the messages make an empty prompt");
    if (status == HONE_OK) return true;
    api_fail(req, &err, "messages");
    return false;
}

void api_chat(void *arg, hone_request *req) {
    hone_api *api = arg;
    json_t *body = api_body(req, fields, sizeof(fields) / sizeof(fields[0]));
    if (!body) return;
    json_t *messages = NULL;
    api_target target = {0};
    chat *own = NULL;
    if (!api_need(req, body, "model") || !api_need(req, body, "messages") || !check_values(req, body) ||
        !api_metadata(req, body))
        goto done;
    if (!(messages = read_messages(req, body)) || !api_find_target(api, req, api_text(body, "model", ""), &target) ||
        !api_admits(req, &target, body))
        goto done;
    own = hone_zalloc(1, sizeof(*own));
    const uint32_t n = (uint32_t)api_int(body, "n", 1);
    if (!own || !(own->told_role = hone_zalloc(n, sizeof(bool)))) {
        api_error(req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        goto done;
    }
    own->logprobs = api_bool(body, "logprobs", false);
    if (api_value(body, "metadata")) {
        hone_buf text = {0};
        hone_json_write(api_value(body, "metadata"), &text);
        own->metadata = hone_buf_take(&text, NULL);
    }
    if (!make_prompt(req, target.base, body, messages, &own->prompt)) goto done;
    api_call *call =
        api_call_new(api, req, &target, "chatcmpl-", api_bool(body, "stream", false) ? &streamed : &collect, own, n);
    if (!call) {
        own = NULL;
        goto done;
    }
    own = NULL; /* the call's */
    chat *mine = call->own;
    if (!api_call_read(call, body, 4)) {
        api_call_free(call);
        goto done;
    }
    if (mine->logprobs) call->engine.n_logprobs = (int32_t)api_int(body, "top_logprobs", 0);
    for (uint32_t i = 0; i < n; i++) {
        call->choice[i].prompt = mine->prompt.id;
        call->choice[i].n_prompt = (uint32_t)mine->prompt.n;
    }
    call->prompt_tokens = (uint32_t)mine->prompt.n;
    api_call_start(call, api_int(body, "max_completion_tokens", api_int(body, "max_tokens", -1)));
done:
    free_chat(own);
    api_target_free(&target);
    json_decref(messages);
    json_decref(body);
}
