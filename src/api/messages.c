/* messages.c - the messages of a conversation: checked, then in the form that the model's template wants.
 *
 * Templates of text models take contents as strings and arguments of calls as objects (transformers' form); where a
 * template knows no calls, no results or no tools, these stand in the text, in the family's native form.
 * Order: contents, calls, checking, ids, results, tools, adapting. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "api/reply.h"
#include "base/mem.h"

static bool bad(hone_request *req, size_t i, const char *name, const char *what) {
    char param[96];
    snprintf(param, sizeof(param), "messages[%zu]%s%s", i, name[0] ? "." : "", name);
    api_invalid(req, param, "invalid_value", "Invalid '%s': %s.", param, what);
    return false;
}

/* ---- Contents ---- */

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
            ok = bad(req, i, "content", "only parts of type 'text' are supported by this model");
        else if (!words && !(words = json_string_value(json_object_get(part, "refusal"))))
            ok = bad(req, i, "content", "a text part without 'text'");
        if (!ok) break;
        hone_buf_text(&text, words);
    }
    if (ok) json_object_set_new(message, "content", json_stringn(hone_buf_str(&text), text.n));
    hone_buf_free(&text);
    return ok;
}

/* ---- Calls ---- */

/* {name, arguments: JSON text} with the arguments as an object; NULL after a 400. */
static json_t *read_call(hone_request *req, size_t i, const char *at, const json_t *function) {
    char name[80];
    const char *called = json_string_value(json_object_get(function, "name"));
    const json_t *arguments = json_object_get(function, "arguments");
    if (!called || !called[0]) {
        snprintf(name, sizeof(name), "%s.name", at);
        bad(req, i, name, "the name of the function that was called is required");
        return NULL;
    }
    json_t *object = NULL;
    if (json_is_object(arguments)) { /* what transformers' own examples write */
        object = json_incref((json_t *)(uintptr_t)arguments);
    } else if (json_is_string(arguments)) {
        const char *text = json_string_value(arguments);
        object = text[0] ? hone_json_parse(text, json_string_length(arguments), NULL) : json_object();
    }
    if (!json_is_object(object)) {
        json_decref(object);
        snprintf(name, sizeof(name), "%s.arguments", at);
        bad(req, i, name, "expected a string that is the JSON text of an object");
        return NULL;
    }
    return json_pack("{s:s, s:o}", "name", called, "arguments", object);
}

static bool read_calls(hone_request *req, size_t i, json_t *message, const json_t *list) {
    char at[64];
    if (!json_is_array(list) || json_array_size(list) == 0)
        return bad(req, i, "tool_calls", "expected an array that is not empty");
    json_t *calls = json_array();
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *call = json_array_get(list, k);
        const char *id = json_string_value(json_object_get(call, "id"));
        const char *type = json_string_value(json_object_get(call, "type"));
        snprintf(at, sizeof(at), "tool_calls[%zu].id", k);
        bool ok = id && id[0] ? true : bad(req, i, at, "it is required");
        snprintf(at, sizeof(at), "tool_calls[%zu].type", k);
        if (ok && type && strcmp(type, "function") != 0) ok = bad(req, i, at, "supported is 'function'");
        snprintf(at, sizeof(at), "tool_calls[%zu].function", k);
        json_t *function = ok ? read_call(req, i, at, json_object_get(call, "function")) : NULL;
        if (!function) {
            json_decref(calls);
            return false;
        }
        json_array_append_new(calls, json_pack("{s:s, s:s, s:o}", "id", id, "type", "function", "function", function));
    }
    return json_object_set_new(message, "tool_calls", calls) == 0;
}

/* The predecessor: one call without an id.  The result that follows names the function alone. */
static bool read_function_call(hone_request *req, size_t i, json_t *message, const json_t *call) {
    char id[32];
    json_t *function = read_call(req, i, "function_call", call);
    if (!function) return false;
    snprintf(id, sizeof(id), "call_%zu", i);
    json_object_del(message, "function_call");
    return json_object_set_new(message, "tool_calls",
                               json_pack("[{s:s, s:s, s:o}]", "id", id, "type", "function", "function", function)) == 0;
}

/* ---- Checking ---- */

static bool read_message(hone_request *req, json_t *messages, size_t i, json_t *m) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function"};
    const char *role = json_string_value(json_object_get(m, "role"));
    bool known = false;
    for (size_t k = 0; role && k < sizeof(roles) / sizeof(roles[0]); k++) known = known || strcmp(role, roles[k]) == 0;
    if (!json_is_object(m)) return bad(req, i, "", "expected an object");
    if (!known)
        return bad(req, i, "role", "supported are 'system', 'developer', 'user', 'assistant', 'tool' and 'function'");
    const json_t *content = api_value(m, "content"), *calls = api_value(m, "tool_calls"),
                 *call = api_value(m, "function_call");
    if (json_is_array(content)) {
        if (!join_parts(req, i, m, content)) return false;
    } else if (content && !json_is_string(content)) {
        return bad(req, i, "content", "expected a string or an array of parts");
    } else if (!content && strcmp(role, "assistant") != 0) {
        return bad(req, i, "content", "it is required");
    }
    /* null fields are absent ones; templates test with `is defined` */
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(m, next, key, value) if (json_is_null(value) && strcmp(key, "content") != 0)
        json_object_del(m, key);
    if (calls && strcmp(role, "assistant") != 0)
        return bad(req, i, "tool_calls", "only messages of the role 'assistant' have it");
    if (calls) return read_calls(req, i, m, calls);
    if (call) return read_function_call(req, i, m, call);
    if (strcmp(role, "tool") == 0) {
        const char *id = json_string_value(json_object_get(m, "tool_call_id"));
        return id && id[0] ? true : bad(req, i, "tool_call_id", "it is required");
    }
    if (strcmp(role, "function") == 0) {
        const char *name = json_string_value(json_object_get(m, "name"));
        if (!name || !name[0]) return bad(req, i, "name", "it is required");
        const json_t *before = i ? json_object_get(json_array_get(messages, i - 1), "tool_calls") : NULL;
        const char *id = json_string_value(json_object_get(json_array_get(before, 0), "id"));
        json_object_set_new(m, "role", json_string("tool"));
        json_object_set_new(m, "tool_call_id", json_string(id ? id : "call_0"));
    }
    return true;
}

json_t *api_messages_read(hone_request *req, const json_t *body) {
    json_t *messages = json_deep_copy(api_value(body, "messages"));
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m) {
        if (read_message(req, messages, i, m)) continue;
        json_decref(messages);
        return NULL;
    }
    return messages;
}

/* ---- Ids ---- */

/* Nine letters and digits that follow from the id, for families that take no others (FNV-1a in base 62). */
static json_t *short_id(const char *id) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t n = 0;
    while (isalnum((unsigned char)id[n])) n++;
    if (n == 9 && id[9] == 0) return json_string(id);
    uint64_t hash = 0xcbf29ce484222325u;
    for (n = 0; id[n]; n++) hash = (hash ^ (unsigned char)id[n]) * 0x100000001b3u;
    char out[10] = {0};
    for (n = 0; n < 9; n++, hash /= 62) out[n] = digits[hash % 62];
    return json_string(out);
}

static void shorten_ids(json_t *messages) {
    size_t i, k;
    json_t *m, *call;
    json_array_foreach(messages, i, m) {
        json_array_foreach(json_object_get(m, "tool_calls"), k, call)
            json_object_set_new(call, "id", short_id(json_string_value(json_object_get(call, "id"))));
        const char *id = json_string_value(json_object_get(m, "tool_call_id"));
        if (id) json_object_set_new(m, "tool_call_id", short_id(id));
    }
}

/* ---- Results ---- */

static bool is_role(const json_t *m, const char *role) {
    const char *r = json_string_value(json_object_get(m, "role"));
    return r && strcmp(r, role) == 0;
}

/* The name of the function that was called by that id, before message i. */
static const char *called(const json_t *messages, size_t i, const char *id) {
    while (id && i--) {
        const json_t *calls = json_object_get(json_array_get(messages, i), "tool_calls");
        for (size_t k = 0; k < json_array_size(calls); k++) {
            const json_t *call = json_array_get(calls, k);
            const char *other = json_string_value(json_object_get(call, "id"));
            if (other && strcmp(other, id) == 0)
                return json_string_value(json_object_get(json_object_get(call, "function"), "name"));
        }
    }
    return NULL;
}

static void name_results(json_t *messages) {
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m) {
        if (!is_role(m, "tool") || json_object_get(m, "name")) continue;
        const char *name = called(messages, i, json_string_value(json_object_get(m, "tool_call_id")));
        if (name) json_object_set_new(m, "name", json_string(name));
    }
}

/* A run of results as one message of the user. */
static void results_as_text(json_t *messages) {
    for (size_t i = 0; i < json_array_size(messages); i++) {
        if (!is_role(json_array_get(messages, i), "tool")) continue;
        hone_buf text = {0};
        while (i < json_array_size(messages) && is_role(json_array_get(messages, i), "tool")) {
            const char *content = json_string_value(json_object_get(json_array_get(messages, i), "content"));
            hone_buf_format(&text, "%s<tool_response>\n%s\n</tool_response>", text.n ? "\n" : "",
                            content ? content : "");
            json_array_remove(messages, i);
        }
        json_array_insert_new(
            messages, i, json_pack("{s:s, s:o}", "role", "user", "content", json_stringn(hone_buf_str(&text), text.n)));
        hone_buf_free(&text);
    }
}

/* ---- Tools ---- */

/* What a model is told that has no place for tools in its template. */
static void instruct(const api_dialect *d, const api_tools *tools, json_t *messages) {
    hone_buf text = {0};
    json_t *first = json_array_get(messages, 0);
    const bool system = is_role(first, "system") || is_role(first, "developer");
    const char *said = json_string_value(json_object_get(first, "content"));
    if (system && said) hone_buf_format(&text, "%s\n\n", said);
    hone_buf_text(&text, "You can call functions. These are their signatures, one a line:\n<tools>\n");
    for (size_t i = 0; i < json_array_size(tools->list); i++) {
        hone_json_write(json_array_get(tools->list, i), &text);
        hone_buf_char(&text, '\n');
    }
    hone_buf_text(&text, "</tools>\nTo call one, write exactly this, with its name and its arguments as JSON:\n");
    json_t *sample = json_pack("[{s:s, s:{s:s, s:{s:s}}}]", "id", "abcdefgh1", "function", "name", "NAME", "arguments",
                               "ARGUMENT", "VALUE");
    api_dialect_write_calls(d, sample, &text);
    json_decref(sample);
    json_t *content;
    if (!system && !d->template_system && is_role(first, "user")) {
        hone_buf_format(&text, "\n\n%s", said ? said : "");
        content = json_stringn(hone_buf_str(&text), text.n);
        json_object_set_new(first, "content", content);
    } else {
        content = json_stringn(hone_buf_str(&text), text.n);
        if (system)
            json_object_set_new(first, "content", content);
        else
            json_array_insert_new(messages, 0, json_pack("{s:s, s:o}", "role", "system", "content", content));
    }
    hone_buf_free(&text);
}

/* ---- Adapting ---- */

static void adapt_calls(const api_dialect *d, json_t *m) {
    json_t *calls = json_object_get(m, "tool_calls");
    const char *content = json_string_value(json_object_get(m, "content"));
    size_t k;
    json_t *call;
    if (d->history == API_HISTORY_TEXT) {
        hone_buf text = {0};
        if (content && content[0]) hone_buf_format(&text, "%s\n", content);
        api_dialect_write_calls(d, calls, &text);
        json_object_set_new(m, "content", json_stringn(hone_buf_str(&text), text.n));
        json_object_del(m, "tool_calls");
        hone_buf_free(&text);
        return;
    }
    if (!content || !content[0]) json_object_set_new(m, "content", d->null_content ? json_null() : json_string(""));
    if (d->history != API_HISTORY_STRING) return;
    json_array_foreach(calls, k, call) {
        json_t *function = json_object_get(call, "function");
        hone_buf text = {0};
        api_write_spaced(json_object_get(function, "arguments"), &text);
        json_object_set_new(function, "arguments", json_stringn(hone_buf_str(&text), text.n));
        hone_buf_free(&text);
    }
}

bool api_messages_adapt(const api_dialect *d, const api_tools *tools, json_t *messages) {
    size_t i;
    json_t *m;
    name_results(messages);
    if (d->format->short_ids) shorten_ids(messages);
    json_array_foreach(messages, i, m) {
        if (json_object_get(m, "tool_calls"))
            adapt_calls(d, m);
        else if (is_role(m, "assistant") && !json_is_string(json_object_get(m, "content")))
            json_object_set_new(m, "content", json_string(""));
    }
    if (!d->template_results) results_as_text(messages);
    const bool shown = tools->list && tools->mode != API_TOOLS_NEVER;
    if (shown && !d->template_tools) instruct(d, tools, messages);
    return hone_json_memory_ok();
}
