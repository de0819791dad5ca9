/* chat_reply.c - the reply to a chat completion: text split into reasoning, content and calls, whole or in chunks.
 * Order: log-probabilities, chunks, parts, the end of a choice, the whole reply, life. */
#include "api/chat.h"

#include <string.h>

#include "base/mem.h"

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

/* ---- Chunks ---- */

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

/* One event for one choice: the members of its delta are written between begin and end.  A token's event allocates
 * nothing: the buffer is the call's. */
static hone_buf *begin_chunk(api_call *call, const api_choice *c) {
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
    return out;
}

/* New tokens' log-probabilities go with the first chunk behind them that is not the role's.  finish may be NULL. */
static void end_chunk(api_call *call, api_choice *c, bool role, const char *finish) {
    const chat *own = call->own;
    hone_buf *out = &call->chunk;
    hone_buf_text(out, "},\"logprobs\":");
    json_t *lp =
        own->logprobs && !role && c->n_told < c->n_token ? logprobs_object(call, c, c->n_told, c->n_token) : NULL;
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

#define ROLE "\"role\":\"assistant\",\"content\":"

static void tell_role(chat_choice *x) {
    if (x->told_role) return;
    x->told_role = true;
    hone_buf_text(begin_chunk(x->choice->call, x->choice), ROLE "\"\",\"refusal\":null");
    end_chunk(x->choice->call, x->choice, true, NULL);
}

/* member: "content" or its like, with quotes and colon. */
static void stream_text(chat_choice *x, const char *member, const char *text, size_t n) {
    tell_role(x);
    hone_buf *out = begin_chunk(x->choice->call, x->choice);
    hone_buf_text(out, member);
    hone_buf_json_string(out, text, n);
    end_chunk(x->choice->call, x->choice, false, NULL);
}

/* A call's first chunk has its index, id and name, and the role where it is the reply's first; what follows has
 * arguments. */
static void stream_call(chat_choice *x, const char *arguments, size_t n, bool begins) {
    const chat_tool_call *t = &x->tool_call[x->n_tool_call - 1];
    const bool role = !x->told_role;
    hone_buf *out = begin_chunk(x->choice->call, x->choice);
    if (role) hone_buf_text(out, ROLE "null,");
    x->told_role = true;
    if (x->chat->tools.legacy) {
        hone_buf_text(out, "\"function_call\":{");
        if (begins) hone_buf_format(out, "\"name\":\"%s\",", t->name);
        hone_buf_text(out, "\"arguments\":");
        hone_buf_json_string(out, arguments, n);
        hone_buf_char(out, '}');
    } else {
        hone_buf_format(out, "\"tool_calls\":[{\"index\":%zu,", x->n_tool_call - 1);
        if (begins) {
            hone_buf_text(out, "\"id\":");
            hone_buf_json_string(out, t->id, strlen(t->id));
            hone_buf_format(out, ",\"type\":\"function\",\"function\":{\"name\":\"%s\",", t->name);
        } else {
            hone_buf_text(out, "\"function\":{");
        }
        hone_buf_text(out, "\"arguments\":");
        hone_buf_json_string(out, arguments, n);
        hone_buf_text(out, "}}]");
    }
    if (role) hone_buf_text(out, ",\"refusal\":null");
    end_chunk(x->choice->call, x->choice, false, NULL);
}

/* ---- Parts ---- */

static bool begin_tool_call(chat_choice *x, const char *name, size_t n, const char *id) {
    if (!hone_grow(&x->tool_call, &x->cap_tool_call, x->n_tool_call, sizeof(*x->tool_call))) return false;
    chat_tool_call *t = &x->tool_call[x->n_tool_call++];
    *t = (chat_tool_call){0};
    memcpy(t->name, name, n < API_CALL_NAME ? n : API_CALL_NAME);
    if (id[0] && strlen(id) < sizeof(t->id)) {
        strcpy(t->id, id);
    } else if (x->chat->dialect->format->short_ids) {
        hone_id_make("", t->id);
        t->id[9] = 0;
    } else {
        hone_id_make("call_", t->id);
    }
    return true;
}

static void on_part(void *arg, api_part part, const char *text, size_t n, const char *id) {
    chat_choice *x = arg;
    chat *own = x->chat;
    const bool stream = x->choice->call->stream;
    bool ok = true;
    if (part == API_PART_REASONING) x->reasoned = true;
    /* its predecessor has place for one call only: there are no others, a grammar sees to that */
    if (own->tools.legacy && x->n_tool_call > 1 && part == API_PART_ARGUMENTS) return;
    switch (part) {
    case API_PART_REASONING:
        if (stream)
            stream_text(x, "\"reasoning_content\":", text, n);
        else
            ok = hone_buf_add(&x->reasoning, text, n);
        break;
    case API_PART_CONTENT:
        if (stream)
            stream_text(x, "\"content\":", text, n);
        else
            ok = hone_buf_add(&x->content, text, n);
        break;
    case API_PART_CALL:
        ok = begin_tool_call(x, text, n, id);
        if (ok && stream && !(own->tools.legacy && x->n_tool_call > 1)) stream_call(x, "", 0, true);
        break;
    case API_PART_ARGUMENTS:
        if (x->n_tool_call == 0) return;
        if (stream)
            stream_call(x, text, n, false);
        else
            ok = hone_buf_add(&x->tool_call[x->n_tool_call - 1].arguments, text, n);
        break;
    }
    if (!ok) own->failed = true;
}

static void on_text(api_call *call, api_choice *c, const char *text, size_t n) {
    chat *own = call->own;
    chat_choice *x = &own->choice[c->index];
    if (!api_splitter_feed(x->splitter, text, n)) own->failed = true;
    c->thinking = api_splitter_thinking(x->splitter);
}

/* ---- The end of a choice ---- */

static void on_finished(api_call *call, api_choice *c) {
    chat *own = call->own;
    chat_choice *x = &own->choice[c->index];
    if (!api_splitter_finish(x->splitter)) own->failed = true;
    if (x->n_tool_call && strcmp(c->finish, "stop") == 0)
        c->finish = own->tools.legacy ? "function_call" : "tool_calls";
    if (!call->stream) return;
    tell_role(x);
    begin_chunk(call, c);
    end_chunk(call, c, false, c->finish);
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

static json_t *text_of(const hone_buf *b) {
    return json_stringn(hone_buf_str(b), b->n);
}

static json_t *message_of(const chat *own, const chat_choice *x) {
    const bool called = x->n_tool_call > 0;
    json_t *message =
        json_pack("{s:s, s:o, s:n, s:[]}", "role", "assistant", "content",
                  called && x->content.n == 0 ? json_null() : text_of(&x->content), "refusal", "annotations");
    if (x->reasoned) json_object_set_new(message, "reasoning_content", text_of(&x->reasoning));
    if (!called) return message;
    if (own->tools.legacy) {
        json_object_set_new(
            message, "function_call",
            json_pack("{s:s, s:o}", "name", x->tool_call[0].name, "arguments", text_of(&x->tool_call[0].arguments)));
        return message;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < x->n_tool_call; i++) {
        const chat_tool_call *t = &x->tool_call[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", t->id, "type", "function", "function",
                                              "name", t->name, "arguments", text_of(&t->arguments)));
    }
    json_object_set_new(message, "tool_calls", list);
    return message;
}

static void reply_done(api_call *call) {
    const chat *own = call->own;
    char fingerprint[64];
    if (own->failed) {
        api_error(call->req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        return;
    }
    json_t *choices = json_array();
    for (uint32_t i = 0; i < call->n_choice; i++) {
        const api_choice *c = &call->choice[i];
        json_t *lp = own->logprobs ? logprobs_object(call, c, 0, c->n_token) : json_null();
        json_t *choice = json_pack("{s:i, s:o, s:o, s:s}", "index", (int)i, "message", message_of(own, &own->choice[i]),
                                   "logprobs", lp, "finish_reason", c->finish);
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

/* ---- Life ---- */

bool chat_begin(api_call *call) {
    chat *own = call->own;
    const bool tools = own->tools.mode == API_TOOLS_AUTO || own->tools.mode == API_TOOLS_FORCED;
    for (uint32_t i = 0; i < own->n; i++) {
        chat_choice *x = &own->choice[i];
        x->chat = own;
        x->choice = &call->choice[i];
        x->splitter = api_splitter_open(own->dialect, own->think, tools, own->tools.list, on_part, x);
        if (!x->splitter) return false;
        x->choice->thinking = api_splitter_thinking(x->splitter);
    }
    call->shown = own->dialect->shown;
    call->n_shown = own->dialect->n_shown;
    return true;
}

void chat_free(void *p) {
    chat *own = p;
    if (!own) return;
    for (uint32_t i = 0; own->choice && i < own->n; i++) {
        chat_choice *x = &own->choice[i];
        api_splitter_close(x->splitter);
        hone_buf_free(&x->content);
        hone_buf_free(&x->reasoning);
        for (size_t k = 0; k < x->n_tool_call; k++) hone_buf_free(&x->tool_call[k].arguments);
        hone_free(x->tool_call);
    }
    hone_free(own->choice);
    hone_ids_free(&own->prompt);
    api_tools_free(&own->tools);
    hone_free(own->metadata);
    hone_free(own);
}

const api_call_hooks chat_collect = {
    .text = on_text, .finished = on_finished, .done = reply_done, .free_own = chat_free};
const api_call_hooks chat_stream = {
    .text = on_text, .finished = on_finished, .done = stream_done, .free_own = chat_free};
