/* chat.c - conversations through a template, and whose bytes are whose; the contract is in chat.h.
 * Order: messages as the template sees them, the variables, rendering, spans. */
#include "model/chat.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

/* ---- Messages as the template sees them ----
 *
 * jansson's reference counts are atomic, so a message that needs no change is shared with the caller's conversation. */

static json_t *shared(const json_t *value) {
    return json_incref((json_t *)(uintptr_t)value);
}

/* json_copy() forgets a member where memory is short, and says nothing. */
static json_t *copied(const json_t *object) {
    json_t *copy = json_object();
    if (copy && json_object_update(copy, (json_t *)(uintptr_t)object) != 0) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

/* The reasoning of a message under the first of its names that is not null, or NULL. */
static json_t *reasoning_of(const json_t *message) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (size_t i = 0; i < 3; i++) {
        json_t *v = json_object_get(message, names[i]);
        if (v && !json_is_null(v)) return v;
    }
    return NULL;
}

static bool is_developer(const json_t *message) {
    const json_t *role = json_object_get(message, "role");
    return json_is_string(role) && json_string_length(role) == 9 &&
           memcmp(json_string_value(role), "developer", 9) == 0;
}

/* {"thinking": reasoning, **message, "reasoning_content": reasoning}, and the role of a developer. */
static json_t *adapted(const json_t *message, bool developer_is_system) {
    json_t *reasoning = reasoning_of(message);
    const bool rename = developer_is_system && is_developer(message);
    if (!reasoning && !rename) return shared(message);
    json_t *copy = json_object();
    bool ok = copy != NULL;
    if (ok && reasoning) ok = json_object_set(copy, "thinking", reasoning) == 0;
    ok = ok && json_object_update(copy, (json_t *)(uintptr_t)message) == 0;
    if (ok && reasoning) ok = json_object_set(copy, "reasoning_content", reasoning) == 0;
    if (ok && rename) ok = json_object_set_new(copy, "role", json_string("system")) == 0;
    if (ok) return copy;
    json_decref(copy);
    return NULL;
}

/* messages[0..n) as a new array. */
static hone_status adapt_messages(const hone_template *t, const json_t *messages, json_t **out, hone_error *err) {
    const bool developer_is_system = !hone_template_has_string(t, "developer");
    const size_t n = json_array_size(messages);
    *out = NULL;
    if (!json_is_array(messages)) return hone_fail(err, HONE_ERR_ARG, "'messages' must be an array");
    json_t *array = json_array();
    if (!array) return hone_fail(err, HONE_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_array_get(messages, i);
        if (!json_is_object(message)) {
            json_decref(array);
            return hone_fail(err, HONE_ERR_ARG, "messages[%zu] must be an object", i);
        }
        if (json_array_append_new(array, adapted(message, developer_is_system)) != 0) {
            json_decref(array);
            return hone_fail(err, HONE_ERR_NOMEM, "out of memory");
        }
    }
    *out = array;
    return HONE_OK;
}

/* ---- The variables ---- */

static bool is_absent(const json_t *value) {
    return !value || json_is_null(value);
}

static hone_status check_objects(const json_t *array, const char *what, hone_error *err) {
    if (is_absent(array)) return HONE_OK;
    if (!json_is_array(array)) return hone_fail(err, HONE_ERR_ARG, "'%s' must be an array", what);
    for (size_t i = 0; i < json_array_size(array); i++)
        if (!json_is_object(json_array_get(array, i)))
            return hone_fail(err, HONE_ERR_ARG, "%s[%zu] must be an object", what, i);
    return HONE_OK;
}

static hone_status check_kwargs(const json_t *kwargs, hone_error *err) {
    static const char *const reserved[] = {"messages", "tools", "documents", "add_generation_prompt"};
    if (is_absent(kwargs)) return HONE_OK;
    if (!json_is_object(kwargs)) return hone_fail(err, HONE_ERR_ARG, "the template's variables must be an object");
    for (size_t i = 0; i < sizeof(reserved) / sizeof(*reserved); i++)
        if (json_object_get(kwargs, reserved[i]))
            return hone_fail(err, HONE_ERR_ARG, "'%s' cannot be given as a template variable", reserved[i]);
    return HONE_OK;
}

static bool set_or_none(json_t *vars, const char *name, const json_t *value) {
    return json_object_set_new(vars, name, is_absent(value) ? json_null() : shared(value)) == 0;
}

/* Everything but add_generation_prompt and messages, which the spans change from rendering to rendering. */
static hone_status make_variables(const hone_chat_input *in, json_t **out, hone_error *err) {
    hone_status st;
    *out = NULL;
    if ((st = check_objects(in->tools, "tools", err)) || (st = check_objects(in->documents, "documents", err)) ||
        (st = check_kwargs(in->kwargs, err)))
        return st;
    json_t *vars = json_object();
    bool ok = vars != NULL;
    if (ok && json_is_object(in->special_tokens))
        ok = json_object_update(vars, (json_t *)(uintptr_t)in->special_tokens) == 0;
    if (ok && json_is_object(in->kwargs)) ok = json_object_update(vars, (json_t *)(uintptr_t)in->kwargs) == 0;
    ok = ok && set_or_none(vars, "tools", in->tools) && set_or_none(vars, "documents", in->documents);
    if (!ok) {
        json_decref(vars);
        return hone_fail(err, HONE_ERR_NOMEM, "out of memory");
    }
    *out = vars;
    return HONE_OK;
}

/* ---- Rendering ---- */

typedef struct {
    const hone_template *template;
    const hone_template_limits *limits;
    json_t *messages; /* adapted */
    json_t *vars;
} conversation;

static void conversation_close(conversation *c) {
    json_decref(c->messages);
    json_decref(c->vars);
    *c = (conversation){0};
}

static hone_status conversation_open(conversation *c, const hone_template *t, const hone_chat_input *in,
                                     const hone_template_limits *limits, hone_error *err) {
    *c = (conversation){.template = t, .limits = limits};
    hone_status st = adapt_messages(t, in->messages, &c->messages, err);
    if (st == HONE_OK) st = make_variables(in, &c->vars, err);
    if (st != HONE_OK) conversation_close(c);
    return st;
}

/* The first n messages. */
static hone_status render_first(conversation *c, size_t n, bool generation_prompt, hone_buf *out, hone_error *err) {
    json_t *some = n == json_array_size(c->messages) ? json_incref(c->messages) : json_array();
    bool ok = some != NULL;
    if (ok && some != c->messages)
        for (size_t i = 0; ok && i < n; i++) ok = json_array_append(some, json_array_get(c->messages, i)) == 0;
    ok = ok && json_object_set(c->vars, "messages", some) == 0 &&
         json_object_set_new(c->vars, "add_generation_prompt", json_boolean(generation_prompt)) == 0;
    json_decref(some);
    if (!ok) return hone_fail(err, HONE_ERR_NOMEM, "out of memory");
    return hone_template_render(c->template, c->vars, c->limits, out, NULL, err);
}

hone_status hone_chat_render(const hone_template *t, const hone_chat_input *in, const hone_template_limits *limits,
                             hone_buf *out, hone_error *err) {
    conversation c;
    hone_status st = conversation_open(&c, t, in, limits, err);
    if (st != HONE_OK) return st;
    st = render_first(&c, json_array_size(c.messages), in->add_generation_prompt, out, err);
    conversation_close(&c);
    return st;
}

hone_status hone_chat_render_object(const hone_template *t, const json_t *object, const json_t *special_tokens,
                                    const hone_template_limits *limits, hone_buf *out, hone_error *err) {
    if (!json_is_object(object)) return hone_fail(err, HONE_ERR_ARG, "a conversation must be an object");
    json_t *kwargs = copied(object);
    if (!kwargs) return hone_fail(err, HONE_ERR_NOMEM, "out of memory");
    const json_t *prompt = json_object_get(object, "add_generation_prompt");
    const hone_chat_input in = {.messages = json_object_get(object, "messages"),
                                .tools = json_object_get(object, "tools"),
                                .documents = json_object_get(object, "documents"),
                                .special_tokens = special_tokens,
                                .kwargs = kwargs,
                                .add_generation_prompt = json_is_true(prompt)};
    json_object_del(kwargs, "messages");
    json_object_del(kwargs, "tools");
    json_object_del(kwargs, "documents");
    json_object_del(kwargs, "add_generation_prompt");
    hone_status st = HONE_OK;
    if (prompt && !json_is_boolean(prompt) && !json_is_null(prompt))
        st = hone_fail(err, HONE_ERR_ARG, "'add_generation_prompt' must be true or false");
    if (st == HONE_OK) st = hone_chat_render(t, &in, limits, out, err);
    json_decref(kwargs);
    return st;
}

/* ---- Spans ---- */

void hone_chat_spans_free(hone_chat_spans *spans) {
    hone_free(spans->span);
    *spans = (hone_chat_spans){0};
}

static bool is_assistant(const json_t *message) {
    const json_t *role = json_object_get(message, "role");
    return json_is_string(role) && strcmp(json_string_value(role), "assistant") == 0;
}

static bool begins(const char *text, size_t n, const hone_buf *prefix) {
    return prefix->n <= n && (prefix->n == 0 || memcmp(text, prefix->data, prefix->n) == 0);
}

/* Offset of the first byte in which they differ. */
static size_t common_prefix(const char *a, size_t na, const char *b, size_t nb) {
    size_t i = 0;
    while (i < na && i < nb && a[i] == b[i]) i++;
    return i;
}

/* A message that tells what stands where the two differ, in a few bytes of each. */
static hone_status unstable(hone_error *err, size_t message, const char *what, const char *want, size_t n_want,
                            const char *got, size_t n_got) {
    const size_t at = common_prefix(want, n_want, got, n_got);
    hone_buf shown[2] = {{0}, {0}};
    const char *text[2] = {want, got};
    const size_t n[2] = {n_want, n_got};
    for (int i = 0; i < 2; i++) {
        size_t from = at > 8 ? at - 8 : 0;
        while (from && ((unsigned char)text[i][from] & 0xc0) == 0x80) from--;
        const size_t left = n[i] - from;
        hone_buf_json_string(&shown[i], text[i] + from, left < 40 ? left : hone_utf8_complete(text[i] + from, 40));
    }
    const hone_status st = hone_fail(err, HONE_ERR_UNSUPPORTED, "messages[%zu]: %s (byte %zu: %s against %s)", message,
                                     what, at, hone_buf_str(&shown[0]), hone_buf_str(&shown[1]));
    hone_buf_free(&shown[0]);
    hone_buf_free(&shown[1]);
    return st;
}

/* White space that the template itself puts at the end of message i: what stays when the message says something else.
 * Content may end in white space too, so the text alone cannot tell. */
static hone_status trailing_space(conversation *c, size_t i, const hone_buf *upto, size_t *n_space, hone_error *err) {
    size_t n = 0;
    while (n < upto->n && strchr(" \t\r\n", upto->data[upto->n - 1 - n])) n++;
    *n_space = 0;
    if (n == 0) return HONE_OK;
    json_t *real = json_incref(json_array_get(c->messages, i));
    json_t *probe = copied(real);
    hone_buf other = {0};
    hone_status st = HONE_OK;
    if (!probe || json_object_set_new(probe, "content", json_string("x")) != 0 ||
        json_array_set(c->messages, i, probe) != 0)
        st = hone_fail(err, HONE_ERR_NOMEM, "out of memory");
    if (st == HONE_OK) st = render_first(c, i + 1, false, &other, err);
    json_array_set(c->messages, i, real);
    json_decref(real);
    json_decref(probe);
    if (st == HONE_OK) {
        size_t same = 0; /* of both ends */
        while (same < other.n && same < upto->n && other.data[other.n - 1 - same] == upto->data[upto->n - 1 - same])
            same++;
        /* An end that is white space only is the end of turn itself: nothing else tells where the message stops. */
        *n_space = same > n ? n : 0;
    }
    hone_buf_free(&other);
    return st;
}

/* The span of assistant message i in whole, which lies at text[0..n). */
static hone_status find_span(conversation *c, size_t i, const char *text, size_t n, hone_chat_span *out,
                             hone_error *err) {
    hone_buf prompt = {0}, upto = {0};
    size_t n_space = 0;
    hone_status st = render_first(c, i, true, &prompt, err);
    if (st == HONE_OK) st = render_first(c, i + 1, false, &upto, err);
    if (st == HONE_OK && !begins(hone_buf_str(&upto), upto.n, &prompt))
        st = unstable(err, i, "the generation prompt does not begin the answer as the template shows it",
                      hone_buf_str(&prompt), prompt.n, hone_buf_str(&upto), upto.n);
    if (st == HONE_OK && !begins(text, n, &upto))
        st = unstable(err, i, "the template shows this message in another form once others follow", hone_buf_str(&upto),
                      upto.n, text, n);
    if (st == HONE_OK) st = trailing_space(c, i, &upto, &n_space, err);
    if (st == HONE_OK) {
        const size_t end = upto.n - n_space;
        *out = (hone_chat_span){i, prompt.n, end > prompt.n ? end : prompt.n};
    }
    hone_buf_free(&prompt);
    hone_buf_free(&upto);
    return st;
}

hone_status hone_chat_spans_find(const hone_template *t, const hone_chat_input *in, hone_chat_which which,
                                 const hone_template_limits *limits, hone_buf *text, hone_chat_spans *spans,
                                 hone_error *err) {
    conversation c;
    const size_t n_text = text->n, n_spans = spans->n;
    hone_status st = conversation_open(&c, t, in, limits, err);
    if (st != HONE_OK) return st;
    const size_t n = json_array_size(c.messages);
    st = render_first(&c, n, false, text, err);
    size_t first = 0;
    if (which == HONE_CHAT_LAST)
        for (size_t i = 0; i < n; i++)
            if (is_assistant(json_array_get(c.messages, i))) first = i;
    for (size_t i = first; st == HONE_OK && i < n; i++) {
        hone_chat_span span;
        if (!is_assistant(json_array_get(c.messages, i))) continue;
        st = find_span(&c, i, hone_buf_str(text) + n_text, text->n - n_text, &span, err);
        if (st != HONE_OK) break;
        if (!hone_grow(&spans->span, &spans->cap, spans->n, sizeof(*spans->span))) {
            st = hone_fail(err, HONE_ERR_NOMEM, "out of memory");
            break;
        }
        spans->span[spans->n++] = span;
    }
    conversation_close(&c);
    if (st != HONE_OK && text->n > n_text) { /* leave both as they were */
        text->n = n_text;
        text->data[n_text] = 0;
    }
    if (st != HONE_OK) spans->n = n_spans;
    return st;
}
