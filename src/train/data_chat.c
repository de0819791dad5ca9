/* data_chat.c - conversations to sequences whose prompts are those that serving makes; the contract is in data.h.
 * Order: checking messages, the form that templates take, spans to sequences, one row. */
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/chat.h"
#include "train/data_parts.h"

/* ---- Checking ---- */

#define MAX_MESSAGES 4096u

static hone_status wrong(const data_line *at, size_t i, const char *what) {
    return hone_fail(at->fault, HONE_ERR_FORMAT, "messages[%zu]: %s", i, what);
}

static hone_status check_content(const data_line *at, size_t i, const json_t *content) {
    size_t k;
    json_t *part;
    if (json_is_string(content)) return HONE_OK;
    if (!json_is_array(content)) return wrong(at, i, "\"content\" must be a string or an array of text parts");
    json_array_foreach((json_t *)(uintptr_t)content, k, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        const bool text = type && strcmp(type, "text") == 0 && json_is_string(json_object_get(part, "text"));
        const bool refusal = type && strcmp(type, "refusal") == 0 && json_is_string(json_object_get(part, "refusal"));
        if (!text && !refusal) return wrong(at, i, "only content parts of type \"text\" can be trained on");
    }
    return HONE_OK;
}

static bool given(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    return v && !json_is_null(v);
}

/* *trained: whether the message's tokens count. */
static hone_status check_message(const data_line *at, size_t i, const json_t *m, bool *trained) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", NULL};
    static const char *const known[] = {"role",         "content",           "name",     "weight",    "tool_calls",
                                        "tool_call_id", "reasoning_content", "thinking", "reasoning", "refusal",
                                        "audio",        "function_call",     NULL};
    *trained = false;
    if (!json_is_object(m)) return wrong(at, i, "must be an object");
    const char *role = json_string_value(json_object_get(m, "role"));
    size_t r = 0;
    while (role && roles[r] && strcmp(roles[r], role) != 0) r++;
    if (!role || !roles[r])
        return wrong(at, i, "\"role\" must be \"system\", \"developer\", \"user\", \"assistant\" or \"tool\"");
    const bool assistant = strcmp(role, "assistant") == 0;
    hone_error key = {0};
    if (data_known_keys(m, "a message", known, &key) != HONE_OK) return wrong(at, i, key.message);
    if (given(m, "audio") || given(m, "function_call"))
        return wrong(at, i, "\"audio\" and \"function_call\" are not supported (calls are \"tool_calls\")");
    if (given(m, "content")) {
        const hone_status st = check_content(at, i, json_object_get(m, "content"));
        if (st != HONE_OK) return st;
    } else if (!assistant || !given(m, "tool_calls")) {
        return wrong(at, i, "\"content\" is missing");
    }
    if (given(m, "tool_calls") && (!assistant || !json_is_array(json_object_get(m, "tool_calls"))))
        return wrong(at, i, "\"tool_calls\" must be an array in an assistant message");
    const json_t *weight = json_object_get(m, "weight");
    if (weight && !json_is_null(weight)) {
        if (!assistant) return wrong(at, i, "only assistant messages have a \"weight\"");
        const double w = json_number_value(weight);
        if (!json_is_number(weight) || (w != 0.0 && w != 1.0)) return wrong(at, i, "\"weight\" must be 0 or 1");
        *trained = w == 1.0;
    } else {
        *trained = assistant;
    }
    return HONE_OK;
}

/* ---- The form that templates take ---- */

static json_t *joined(const json_t *parts) {
    hone_buf text = {0};
    size_t k;
    json_t *part;
    json_array_foreach((json_t *)(uintptr_t)parts, k, part) {
        const json_t *words = json_object_get(part, "text");
        if (!words) words = json_object_get(part, "refusal");
        hone_buf_add(&text, json_string_value(words), json_string_length(words));
    }
    json_t *s = text.failed ? NULL : json_stringn(hone_buf_str(&text), text.n);
    hone_buf_free(&text);
    return s;
}

/* Arguments of calls that are JSON text, as OpenAI writes them, become objects, as the server hands them on. */
static bool calls_as_objects(json_t *message) {
    json_t *call;
    size_t k;
    json_array_foreach(json_object_get(message, "tool_calls"), k, call) {
        json_t *function = json_object_get(call, "function");
        const json_t *arguments = json_object_get(function, "arguments");
        hone_error err = {0};
        json_t *object = json_is_string(arguments)
                             ? hone_json_parse(json_string_value(arguments), json_string_length(arguments), &err)
                             : NULL;
        if (err.code == HONE_ERR_NOMEM) return false;
        if (json_is_object(object) && json_object_set(function, "arguments", object) != 0) {
            json_decref(object);
            return false;
        }
        json_decref(object);
    }
    return true;
}

/* A copy as the server hands it on: parts joined, no weights, null members dropped (templates ask `is defined`),
 * arguments of calls as objects. */
static json_t *served_form(const json_t *messages) {
    json_t *copy = json_deep_copy(messages), *m, *value;
    size_t i;
    const char *key;
    void *next;
    json_array_foreach(copy, i, m) {
        json_t *content = json_object_get(m, "content");
        if ((json_is_array(content) && json_object_set_new(m, "content", joined(content)) != 0) ||
            !calls_as_objects(m)) {
            json_decref(copy);
            return NULL;
        }
        json_object_del(m, "weight");
        json_object_foreach_safe(m, next, key, value) if (json_is_null(value) && strcmp(key, "content") != 0)
            json_object_del(m, key);
    }
    return copy;
}

/* ---- Spans to sequences ---- */

static bool begins_with(const hone_ids *all, const hone_ids *first) {
    return first->n <= all->n && (first->n == 0 || memcmp(all->id, first->id, first->n * sizeof(*first->id)) == 0);
}

/* The tokens of text[begin, end) behind the prompt: those that encoding the whole gives where it leaves the prompt as
 * it was, else those of the answer by itself. */
static hone_status answer_tokens(const hone_tokenizer *t, const char *text, const hone_chat_span *s,
                                 const hone_ids *prompt, hone_ids *whole, const int32_t **id, size_t *n,
                                 hone_error *err) {
    whole->n = 0;
    hone_status st = hone_tokenizer_encode(t, text, s->end, 0, whole, err);
    if (st == HONE_OK && begins_with(whole, prompt)) {
        *id = whole->id + prompt->n;
        *n = whole->n - prompt->n;
        return HONE_OK;
    }
    whole->n = 0;
    if (st == HONE_OK) st = hone_tokenizer_encode(t, text + s->begin, s->end - s->begin, 0, whole, err);
    *id = whole->id;
    *n = whole->n;
    return st;
}

static hone_status sequences(const data_line *at, const char *text, const hone_chat_spans *spans, const bool *trained) {
    const hone_tokenizer *t = at->rules->tokenizer;
    hone_ids prompt = {0}, whole = {0};
    data_draft d = {0};
    hone_status st = HONE_OK;
    for (size_t i = 0; st == HONE_OK && i < spans->n; i++) {
        const hone_chat_span *s = &spans->span[i];
        if (!trained[s->message]) continue;
        prompt.n = 0;
        st = hone_tokenizer_encode(t, text, s->begin, 0, &prompt, at->fault);
        if (st == HONE_OK && d.ids.n && !begins_with(&prompt, &d.ids)) st = data_commit(at, &d);
        const size_t have = d.ids.n;
        if (st == HONE_OK) st = data_draft_add(&d, prompt.id + have, prompt.n - have, false, at->fault);
        const int32_t *id = NULL;
        size_t n = 0;
        if (st == HONE_OK) st = answer_tokens(t, text, s, &prompt, &whole, &id, &n, at->fault);
        if (st == HONE_OK) st = data_draft_add(&d, id, n, true, at->fault);
    }
    if (st == HONE_OK) st = data_commit(at, &d);
    data_draft_free(&d);
    hone_ids_free(&prompt);
    hone_ids_free(&whole);
    return st;
}

/* ---- One row ---- */

static hone_status render(const data_line *at, const json_t *messages, const json_t *tools, const bool *trained) {
    const hone_chat_input in = {.messages = messages, .tools = tools, .special_tokens = at->rules->special_tokens};
    size_t n_trained = 0, last = 0;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
        if (strcmp(role, "assistant") == 0) last = i;
        n_trained += trained[i];
    }
    const bool only_last = n_trained == 1 && trained[last];
    hone_buf text = {0};
    hone_chat_spans spans = {0};
    hone_status st = hone_chat_spans_find(at->rules->template, &in, only_last ? HONE_CHAT_LAST : HONE_CHAT_EVERY, NULL,
                                          &text, &spans, at->fault);
    if (st == HONE_ERR_UNSUPPORTED && !only_last)
        hone_fail_within(at->fault, st, "give all assistant messages but the last \"weight\": 0: ");
    if (st == HONE_OK) st = sequences(at, hone_buf_str(&text), &spans, trained);
    hone_chat_spans_free(&spans);
    hone_buf_free(&text);
    return st;
}

hone_status data_chat(const data_line *at, const json_t *row) {
    static const char *const known[] = {"messages", "tools", "parallel_tool_calls", "id", "metadata", NULL};
    hone_status st = data_known_keys(row, "a row of messages", known, at->fault);
    if (st != HONE_OK) return st;
    const json_t *messages = json_object_get(row, "messages"), *tools = json_object_get(row, "tools");
    const size_t n = json_array_size(messages);
    if (!json_is_array(messages) || n == 0)
        return hone_fail(at->fault, HONE_ERR_FORMAT, "\"messages\" must be an array that is not empty");
    if (n > MAX_MESSAGES) return hone_fail(at->fault, HONE_ERR_FORMAT, "%zu messages: at most %u", n, MAX_MESSAGES);
    if (tools && !json_is_null(tools) && !json_is_array(tools))
        return hone_fail(at->fault, HONE_ERR_FORMAT, "\"tools\" must be an array");
    if (!at->rules->tokenizer || !at->rules->template)
        return hone_fail(at->fault, HONE_ERR_FORMAT,
                         "the model has no chat template: use rows with \"prompt\" and \"completion\"");
    bool *trained = hone_zalloc(n, sizeof(*trained)), any = false;
    json_t *served = NULL;
    if (!trained) return hone_fail(at->fault, HONE_ERR_NOMEM, "no memory for a row");
    for (size_t i = 0; st == HONE_OK && i < n; i++) {
        st = check_message(at, i, json_array_get(messages, i), &trained[i]);
        any = any || trained[i];
    }
    if (st == HONE_OK && !any)
        st = hone_fail(at->fault, HONE_ERR_FORMAT,
                       "nothing to train in this row: no assistant message, or all have \"weight\": 0");
    if (st == HONE_OK && !(served = served_form(messages)))
        st = hone_fail(at->fault, HONE_ERR_NOMEM, "no memory for a row");
    if (st == HONE_OK) st = render(at, served, json_array_size(tools) ? tools : NULL, trained);
    json_decref(served);
    hone_free(trained);
    return st;
}
