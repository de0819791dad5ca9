/* tools.c - tools, tool_choice, parallel_tool_calls; functions and function_call, their predecessors.
 *
 * Refused: tools of other types than `function`.  Everything is brought into the form of `tools`. */
#include <stdio.h>
#include <string.h>

#include "api/reply.h"
#include "base/mem.h"

#define MAX_TOOLS 128u /* OpenAI's limit */

static bool bad(hone_request *req, const char *param, const char *code, const char *what) {
    api_invalid(req, param, code, "Invalid '%s': %s.", param, what);
    return false;
}

static bool missing(hone_request *req, const char *param) {
    api_invalid(req, param, "missing_required_parameter", "Missing required parameter: '%s'.", param);
    return false;
}

static bool name_fits(const char *name, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(name[i] == '_' || name[i] == '-' || (name[i] >= '0' && name[i] <= '9') ||
              (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z')))
            return false;
    return n > 0 && n <= API_CALL_NAME;
}

static int64_t find(const api_tools *t, const char *name) {
    for (uint32_t i = 0; i < t->n_function; i++)
        if (strcmp(t->function[i].name, name) == 0) return i;
    return -1;
}

/* ---- Functions ---- */

/* prefix: "tools[2].function." */
static bool read_function(hone_request *req, const json_t *v, const char *prefix, bool legacy, api_tools *out) {
    static const api_field fields[] = {{"name", API_STRING, 0, 0},
                                       {"description", API_STRING, 0, 0},
                                       {"parameters", API_OBJECT, 0, 0},
                                       {"strict", API_BOOL, 0, 0}};
    char param[96];
    if (!api_check(req, v, prefix, fields, legacy ? 3 : 4)) return false;
    snprintf(param, sizeof(param), "%sname", prefix);
    const json_t *name = api_value(v, "name");
    if (!name) return missing(req, param);
    if (!name_fits(json_string_value(name), json_string_length(name)))
        return bad(req, param, "invalid_value",
                   "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]{1,64}$'");
    if (find(out, json_string_value(name)) >= 0) {
        api_invalid(req, param, "invalid_value", "Invalid '%s': the name '%s' stands for another function already.",
                    param, json_string_value(name));
        return false;
    }
    const json_t *parameters = api_value(v, "parameters"), *type = json_object_get(parameters, "type");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "object") != 0)) {
        snprintf(param, sizeof(param), "%sparameters", prefix);
        api_invalid(req, param, "invalid_function_parameters",
                    "Invalid schema for function '%s': #/type: schema must be a JSON Schema of 'type: \"object\"'.",
                    json_string_value(name));
        return false;
    }
    json_t *wrapped = json_pack("{s:s, s:o}", "type", "function", "function", json_deep_copy(v));
    json_t *function = json_object_get(wrapped, "function");
    /* null fields are absent ones; templates test with `is defined` */
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(function, next, key, value) if (json_is_null(value)) json_object_del(function, key);
    if (!wrapped || json_array_append_new(out->list, wrapped) != 0) {
        api_error(req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        return false;
    }
    out->function[out->n_function++] = (api_function){.name = json_string_value(json_object_get(function, "name")),
                                                      .parameters = json_object_get(function, "parameters"),
                                                      .strict = api_bool(function, "strict", false),
                                                      .allowed = true};
    return true;
}

static bool read_list(hone_request *req, const json_t *list, bool legacy, api_tools *out) {
    static const api_field fields[] = {{"type", API_STRING, 0, 0}, {"function", API_OBJECT, 0, 0}};
    const size_t n = json_array_size(list);
    if (n == 0) return true;
    out->list = json_array();
    out->function = hone_zalloc(n, sizeof(*out->function));
    if (!out->list || !out->function) {
        api_error(req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        char param[64];
        snprintf(param, sizeof(param), legacy ? "functions[%zu]" : "tools[%zu]", i);
        if (!json_is_object(v)) return bad(req, param, "invalid_type", "expected an object");
        if (!legacy) {
            const char *type = json_string_value(json_object_get(v, "type"));
            snprintf(param, sizeof(param), "tools[%zu].type", i);
            if (!json_object_get(v, "type")) return missing(req, param);
            if (!type || strcmp(type, "function") != 0) {
                api_invalid(req, param, type && strcmp(type, "custom") == 0 ? "unsupported_value" : "invalid_value",
                            "Invalid value: '%.40s'. Supported values are: 'function'.", type ? type : "");
                return false;
            }
            snprintf(param, sizeof(param), "tools[%zu].", i);
            if (!api_check(req, v, param, fields, 2)) return false;
            snprintf(param, sizeof(param), "tools[%zu].function", i);
            if (!(v = api_value(v, "function"))) return missing(req, param);
        }
        snprintf(param, sizeof(param), legacy ? "functions[%zu]." : "tools[%zu].function.", i);
        if (!read_function(req, v, param, legacy, out)) return false;
    }
    out->mode = API_TOOLS_AUTO;
    return true;
}

/* ---- The choice ---- */

static bool allow_only(hone_request *req, const char *param, const char *name, api_tools *out) {
    const int64_t i = find(out, name);
    if (i < 0) {
        api_invalid(req, param, "invalid_value", "Invalid value for '%s': the function '%.64s' is not in 'tools'.",
                    param, name);
        return false;
    }
    out->function[i].allowed = true;
    return true;
}

static void allow_none(api_tools *out) {
    for (uint32_t i = 0; i < out->n_function; i++) out->function[i].allowed = false;
}

static bool read_allowed(hone_request *req, const json_t *v, api_tools *out) {
    static const api_field fields[] = {{"mode", API_STRING, 0, 0}, {"tools", API_ARRAY, 1, MAX_TOOLS}};
    if (!json_is_object(v)) return missing(req, "tool_choice.allowed_tools");
    if (!api_check(req, v, "tool_choice.allowed_tools.", fields, 2)) return false;
    const char *mode = api_text(v, "mode", NULL);
    if (!mode) return missing(req, "tool_choice.allowed_tools.mode");
    if (!api_value(v, "tools")) return missing(req, "tool_choice.allowed_tools.tools");
    const bool required = strcmp(mode, "required") == 0;
    if (!required && strcmp(mode, "auto") != 0)
        return bad(req, "tool_choice.allowed_tools.mode", "invalid_value", "supported are 'auto' and 'required'");
    allow_none(out);
    const json_t *list = api_value(v, "tools");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *tool = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
        char param[64];
        snprintf(param, sizeof(param), "tool_choice.allowed_tools.tools[%zu]", i);
        if (!name)
            return bad(req, param, "invalid_value", "expected {\"type\": \"function\", \"function\": {\"name\"}}");
        if (!allow_only(req, param, name, out)) return false;
    }
    out->mode = required ? API_TOOLS_FORCED : API_TOOLS_AUTO;
    return true;
}

static bool read_choice(hone_request *req, const json_t *v, const char *param, api_tools *out) {
    if (!v) return true;
    const char *word = json_string_value(v);
    if (word) {
        const bool none = strcmp(word, "none") == 0, required = strcmp(word, "required") == 0 && !out->legacy;
        if (!none && !required && strcmp(word, "auto") != 0) {
            api_invalid(req, param, "invalid_value", "Invalid value: '%.40s'. Supported values are: %s.", word,
                        out->legacy ? "'none' and 'auto'" : "'none', 'auto' and 'required'");
            return false;
        }
        if (out->n_function == 0 && required) {
            api_invalid(req, param, "invalid_value", "Invalid value for '%s': it needs 'tools'.", param);
            return false;
        }
        if (out->n_function) out->mode = none ? API_TOOLS_NEVER : required ? API_TOOLS_FORCED : API_TOOLS_AUTO;
        return true;
    }
    if (!json_is_object(v)) return bad(req, param, "invalid_type", "expected a string or an object");
    if (out->n_function == 0) {
        api_invalid(req, param, "invalid_value", "Invalid value for '%s': it needs 'tools'.", param);
        return false;
    }
    const char *type = out->legacy ? "function" : json_string_value(json_object_get(v, "type"));
    if (!type) return missing(req, "tool_choice.type");
    if (strcmp(type, "allowed_tools") == 0) return read_allowed(req, json_object_get(v, "allowed_tools"), out);
    if (strcmp(type, "function") != 0) {
        api_invalid(req, "tool_choice.type", "invalid_value",
                    "Invalid value: '%.40s'. Supported values are: 'function' and 'allowed_tools'.", type);
        return false;
    }
    const json_t *named = out->legacy ? v : json_object_get(v, "function");
    const char *name = json_string_value(json_object_get(named, "name"));
    const char *at = out->legacy ? "function_call.name" : "tool_choice.function.name";
    if (!name) return missing(req, at);
    allow_none(out);
    if (!allow_only(req, at, name, out)) return false;
    out->mode = API_TOOLS_FORCED;
    out->parallel = false; /* a named function is called once */
    return true;
}

bool api_tools_read(hone_request *req, const json_t *body, api_tools *out) {
    *out = (api_tools){.parallel = api_bool(body, "parallel_tool_calls", true)};
    const json_t *tools = api_value(body, "tools"), *functions = api_value(body, "functions");
    if (tools && functions) return bad(req, "functions", "invalid_value", "'tools' replaces it: give one of them");
    out->legacy = functions || api_value(body, "function_call");
    if (out->legacy) out->parallel = false;
    if (!read_list(req, functions ? functions : tools, functions != NULL, out)) return false;
    if (out->legacy && !functions)
        return bad(req, "function_call", "invalid_value", "it is only allowed when 'functions' are specified");
    return out->legacy ? read_choice(req, api_value(body, "function_call"), "function_call", out)
                       : read_choice(req, api_value(body, "tool_choice"), "tool_choice", out);
}

void api_tools_free(api_tools *t) {
    json_decref(t->list);
    hone_free(t->function);
    *t = (api_tools){0};
}
