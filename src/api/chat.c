/* chat.c - POST /v1/chat/completions: the request.  The reply is chat_reply.c's.
 * Order: fields, the prompt, the handler. */
#include "api/chat.h"

#include <string.h>

#include "base/mem.h"

/* ---- Fields ---- */

static const api_field fields[] = {
    {"model", API_STRING, 1, 512},
    {"messages", API_ARRAY, 1, 100000},
    {"max_tokens", API_INT, 1, 2147483647},
    {"max_completion_tokens", API_INT, 1, 2147483647},
    {"logprobs", API_BOOL, 0, 0},
    {"top_logprobs", API_INT, 0, HONE_TOP_LOGPROBS},
    {"tools", API_ARRAY, 0, 128},
    {"tool_choice", API_ANY, 0, 0},
    {"parallel_tool_calls", API_BOOL, 0, 0},
    {"functions", API_ARRAY, 1, 128},
    {"function_call", API_ANY, 0, 0},
    {"prediction", API_OBJECT, 0, 0},
    {"metadata", API_OBJECT, 0, 0},
    {"store", API_BOOL, 0, 0},
    {"service_tier", API_STRING, 0, 0},
    {"reasoning_effort", API_STRING, 0, 0},
    {"safety_identifier", API_STRING, 0, 64},
    {"prompt_cache_options", API_OBJECT, 0, 0},
    {"chat_template_kwargs", API_OBJECT, 0, 0},
    {"modalities", API_ARRAY, 0, 0},
    {"verbosity", API_STRING, 0, 0},
    {"audio", API_REFUSED, 0, 0},
    {"web_search_options", API_REFUSED, 0, 0},
    {"moderation", API_REFUSED, 0, 0},
    API_SAMPLING_FIELDS,
};

static bool refuse(hone_request *req, const char *name, const char *what) {
    api_invalid(req, name, "unsupported_value", "Unsupported value: '%s' %s.", name, what);
    return false;
}

/* NULL: absent. */
static bool one_of(hone_request *req, const json_t *body, const char *name, const char *const *values) {
    const char *given = api_text(body, name, NULL);
    hone_buf list = {0};
    for (size_t i = 0; values[i]; i++) {
        if (!given || strcmp(given, values[i]) == 0) {
            hone_buf_free(&list);
            return true;
        }
        hone_buf_format(&list, "%s'%s'", i ? ", " : "", values[i]);
    }
    api_invalid(req, name, "invalid_value", "Invalid value: '%.40s'. Supported values are: %s.", given,
                hone_buf_str(&list));
    hone_buf_free(&list);
    return false;
}

/* The prompt cache is ours: it keeps what is used, as long as there is room; breakpoints are not taken. */
static bool check_cache(hone_request *req, const json_t *body) {
    static const char *const ttl[] = {"30m", NULL}, *const mode[] = {"implicit", NULL};
    static const api_field options[] = {{"ttl", API_STRING, 0, 0}, {"mode", API_STRING, 0, 0}};
    const json_t *v = api_value(body, "prompt_cache_options");
    if (!v) return true;
    return api_check(req, v, "prompt_cache_options.", options, 2) && one_of(req, v, "ttl", ttl) &&
           one_of(req, v, "mode", mode);
}

/* Fields of which only some values can be honoured: the others are refused, never ignored. */
static bool check_values(hone_request *req, const json_t *body) {
    static const char *const efforts[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max", NULL};
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
    if (strcmp(api_text(body, "verbosity", "medium"), "medium") != 0)
        return refuse(req, "verbosity", "must be 'medium': this model has no other");
    if (api_value(body, "max_tokens") && api_value(body, "max_completion_tokens"))
        return refuse(req, "max_tokens", "and 'max_completion_tokens' exclude each other: give one");
    if (api_value(body, "top_logprobs") && !api_bool(body, "logprobs", false))
        return refuse(req, "top_logprobs", "needs 'logprobs' to be true");
    return one_of(req, body, "reasoning_effort", efforts) && check_cache(req, body);
}

/* ---- The prompt ---- */

/* What the template sees beside the messages.  reasoning_effort goes by its name, and "none" also as what templates
 * that can be silent ask for. */
static json_t *template_kwargs(const json_t *body) {
    json_t *kwargs = json_copy((json_t *)(uintptr_t)api_value(body, "chat_template_kwargs"));
    if (!kwargs) kwargs = json_object();
    const char *effort = api_text(body, "reasoning_effort", NULL);
    if (!effort) return kwargs;
    if (!json_object_get(kwargs, "reasoning_effort"))
        json_object_set_new(kwargs, "reasoning_effort", json_string(effort));
    const char *const off[] = {"enable_thinking", "thinking"};
    for (int i = 0; strcmp(effort, "none") == 0 && i < 2; i++)
        if (!json_object_get(kwargs, off[i])) json_object_set_new(kwargs, off[i], json_false());
    return kwargs;
}

static bool make_prompt(hone_request *req, const api_base *base, const json_t *body, json_t *messages, chat *own) {
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_text *text = base->text;
    hone_buf rendered = {0};
    json_t *kwargs = template_kwargs(body);
    const hone_chat_input in = {.messages = messages,
                                .tools = own->dialect->template_tools ? own->tools.list : NULL,
                                .special_tokens = text->special_tokens,
                                .kwargs = kwargs,
                                .add_generation_prompt = true};
    hone_status status =
        text->chat ? HONE_OK
                   : hone_fail(&err, HONE_ERR_UNSUPPORTED, "the model has no chat template: use /v1/completions");
    if (status == HONE_OK && !api_messages_adapt(own->dialect, &own->tools, messages))
        status = hone_fail(&err, HONE_ERR_NOMEM, "no memory for the messages");
    if (status == HONE_OK) status = hone_chat_render(text->chat, &in, NULL, &rendered, &err);
    if (status == HONE_OK) {
        own->think = api_dialect_think(own->dialect, hone_buf_str(&rendered), rendered.n);
        status = hone_tokenizer_encode(text->tokenizer, hone_buf_str(&rendered), rendered.n, 0, &own->prompt, &err);
    }
    hone_buf_free(&rendered);
    json_decref(kwargs);
    if (status == HONE_OK && own->prompt.n == 0)
        status = hone_fail(&err, HONE_ERR_ARG, "the messages make an empty prompt");
    if (status == HONE_OK) return true;
    api_fail(req, &err, "messages");
    return false;
}

/* ---- The handler ---- */

/* The request into the call, which has own; false after a reply. */
static bool fill_call(api_call *call, const json_t *body, const api_structured *structured) {
    chat *own = call->own;
    if (!api_call_read(call, body, 4) || !api_call_predict(call, body) ||
        !api_reply_source(call->api, call->req, own->dialect, own->think, structured, &own->tools, &call->grammar))
        return false;
    /* copies of schemas and messages may have lost parts without a word: nothing may be missing from a constraint */
    if (!hone_json_memory_ok() || !chat_begin(call)) {
        api_error(call->req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        return false;
    }
    if (own->logprobs) call->engine.n_logprobs = (int32_t)api_int(body, "top_logprobs", 0);
    for (uint32_t i = 0; i < call->n_choice; i++) {
        call->choice[i].prompt = own->prompt.id;
        call->choice[i].n_prompt = (uint32_t)own->prompt.n;
    }
    call->prompt_tokens = (uint32_t)own->prompt.n;
    return true;
}

void api_chat(void *arg, hone_request *req) {
    hone_api *api = arg;
    json_t *body = api_body(req, fields, sizeof(fields) / sizeof(fields[0]));
    if (!body) return;
    hone_json_memory_reset();
    json_t *messages = NULL;
    api_target target = {0};
    api_structured structured = {0};
    chat *own = hone_zalloc(1, sizeof(*own));
    const uint32_t n = (uint32_t)api_int(body, "n", 1);
    if (!own || !(own->choice = hone_zalloc(n, sizeof(*own->choice)))) {
        api_error(req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        goto done;
    }
    own->n = n;
    if (!api_need(req, body, "model") || !api_need(req, body, "messages") || !check_values(req, body) ||
        !api_metadata(req, body) || !(messages = api_messages_read(req, body)) ||
        !api_tools_read(req, body, &own->tools) || !api_structured_read(req, body, &structured) ||
        !api_find_target(api, req, api_text(body, "model", ""), &target) || !api_admits(req, &target, body))
        goto done;
    own->dialect = target.base->dialect;
    own->logprobs = api_bool(body, "logprobs", false);
    if (api_value(body, "metadata")) {
        hone_buf text = {0};
        hone_json_write(api_value(body, "metadata"), &text);
        own->metadata = hone_buf_take(&text, NULL);
    }
    if (!make_prompt(req, target.base, body, messages, own)) goto done;
    api_call *call = api_call_new(api, req, &target, "chatcmpl-",
                                  api_bool(body, "stream", false) ? &chat_stream : &chat_collect, own, n);
    own = NULL; /* the call's, or gone with it */
    if (!call) goto done;
    if (fill_call(call, body, &structured))
        api_call_start(call, api_int(body, "max_completion_tokens", api_int(body, "max_tokens", -1)));
    else
        api_call_free(call);
done:
    chat_free(own);
    api_structured_free(&structured);
    api_target_free(&target);
    json_decref(messages);
    json_decref(body);
}
