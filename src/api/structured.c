/* structured.c - the form that a request asks of its reply's content.
 *
 * OpenAI's response_format, and the extensions of vLLM (structured_outputs, guided_*) and llama.cpp (grammar,
 * json_schema).  What cannot be kept is refused before anything is admitted.
 * Order: one value by kind, response_format, the extensions, the grammar of a whole reply. */
#include <stdio.h>
#include <string.h>

#include "api/reply.h"
#include "base/mem.h"
#include "grammar/schema.h"

/* ---- Values ---- */

static bool bad(hone_request *req, const char *param, const char *code, const char *what) {
    api_invalid(req, param, code, "Invalid '%s': %s.", param, what);
    return false;
}

/* Takes value. */
static bool ask(hone_request *req, api_structured *out, const char *param, api_content_kind kind, json_t *value) {
    if (!value) {
        api_error(req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        return false;
    }
    if (out->kind != API_CONTENT_FREE) {
        json_decref(value);
        api_invalid(req, param, "invalid_value", "Invalid '%s': '%s' constrains the reply already; give one of them.",
                    param, out->param);
        return false;
    }
    out->kind = kind;
    out->value = value;
    snprintf(out->param, sizeof(out->param), "%s", param);
    return true;
}

/* A schema, or the text of one. */
static bool ask_schema(hone_request *req, api_structured *out, const char *param, const json_t *v) {
    if (json_is_string(v)) {
        hone_error err = {0};
        json_t *parsed = hone_json_parse(json_string_value(v), json_string_length(v), &err);
        if (parsed && (json_is_object(parsed) || json_is_boolean(parsed)))
            return ask(req, out, param, API_CONTENT_SCHEMA, parsed);
        json_decref(parsed);
        return bad(req, param, "invalid_value", "the text of a JSON Schema was expected");
    }
    if (!json_is_object(v) && !json_is_boolean(v)) return bad(req, param, "invalid_type", "expected a JSON Schema");
    return ask(req, out, param, API_CONTENT_SCHEMA, json_incref((json_t *)(uintptr_t)v));
}

static bool ask_text(hone_request *req, api_structured *out, const char *param, api_content_kind kind,
                     const json_t *v) {
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return bad(req, param, "invalid_type", "expected a string without NUL");
    return ask(req, out, param, kind, json_incref((json_t *)(uintptr_t)v));
}

static bool ask_choice(hone_request *req, api_structured *out, const char *param, const json_t *v) {
    if (!json_is_array(v) || json_array_size(v) == 0)
        return bad(req, param, "invalid_type", "expected an array of strings that is not empty");
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_string(json_array_get(v, i)))
            return bad(req, param, "invalid_type", "expected an array of strings");
    return ask(req, out, param, API_CONTENT_CHOICE, json_incref((json_t *)(uintptr_t)v));
}

/* ---- response_format ---- */

static bool is_name(const char *name) {
    size_t n = 0;
    for (; name[n]; n++)
        if (!(name[n] == '_' || name[n] == '-' || (name[n] >= '0' && name[n] <= '9') ||
              (name[n] >= 'a' && name[n] <= 'z') || (name[n] >= 'A' && name[n] <= 'Z')))
            return false;
    return n > 0 && n <= API_CALL_NAME;
}

static bool read_json_schema(hone_request *req, const json_t *v, api_structured *out) {
    static const api_field fields[] = {{"name", API_STRING, 0, 0},
                                       {"description", API_STRING, 0, 0},
                                       {"schema", API_OBJECT, 0, 0},
                                       {"strict", API_BOOL, 0, 0}};
    if (!v) {
        api_invalid(req, "response_format.json_schema", "missing_required_parameter",
                    "Missing required parameter: 'response_format.json_schema'.");
        return false;
    }
    if (!json_is_object(v)) return bad(req, "response_format.json_schema", "invalid_type", "expected an object");
    if (!api_check(req, v, "response_format.json_schema.", fields, 4)) return false;
    const char *name = api_text(v, "name", NULL);
    if (!name) {
        api_invalid(req, "response_format.json_schema.name", "missing_required_parameter",
                    "Missing required parameter: 'response_format.json_schema.name'.");
        return false;
    }
    if (!is_name(name))
        return bad(req, "response_format.json_schema.name", "invalid_value",
                   "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]{1,64}$'");
    snprintf(out->name, sizeof(out->name), "%s", name);
    out->strict = api_bool(v, "strict", false);
    const json_t *schema = api_value(v, "schema");
    if (out->strict && !schema) {
        api_invalid(req, "response_format.json_schema.schema", "missing_required_parameter",
                    "Missing required parameter: 'response_format.json_schema.schema'.");
        return false;
    }
    return ask(req, out, "response_format", API_CONTENT_SCHEMA,
               schema ? json_incref((json_t *)(uintptr_t)schema) : json_pack("{s:s}", "type", "object"));
}

static bool read_format(hone_request *req, const json_t *v, api_structured *out) {
    static const api_field fields[] = {
        {"type", API_STRING, 0, 0}, {"json_schema", API_OBJECT, 0, 0}, {"schema", API_OBJECT, 0, 0}};
    if (!api_check(req, v, "response_format.", fields, 3)) return false;
    const char *type = api_text(v, "type", NULL);
    if (!type) {
        api_invalid(req, "response_format.type", "missing_required_parameter",
                    "Missing required parameter: 'response_format.type'.");
        return false;
    }
    if (strcmp(type, "text") == 0) return true;
    if (strcmp(type, "json_schema") == 0) return read_json_schema(req, api_value(v, "json_schema"), out);
    if (strcmp(type, "json_object") == 0) { /* with a schema: llama.cpp's form */
        const json_t *schema = api_value(v, "schema");
        return ask(req, out, "response_format", API_CONTENT_SCHEMA,
                   schema ? json_incref((json_t *)(uintptr_t)schema) : json_pack("{s:s}", "type", "object"));
    }
    api_invalid(req, "response_format.type", "invalid_value",
                "Invalid value: '%.40s'. Supported values are: 'text', 'json_object' and 'json_schema'.", type);
    return false;
}

/* ---- Extensions ---- */

static bool read_vllm(hone_request *req, const json_t *v, api_structured *out) {
    static const api_field fields[] = {{"json", API_ANY, 0, 0},
                                       {"regex", API_STRING, 0, 0},
                                       {"choice", API_ARRAY, 0, 0},
                                       {"grammar", API_STRING, 0, 0},
                                       {"json_object", API_BOOL, 0, 0}};
    if (!api_check(req, v, "structured_outputs.", fields, 5)) return false;
    const json_t *json = api_value(v, "json"), *regex = api_value(v, "regex"), *choice = api_value(v, "choice"),
                 *grammar = api_value(v, "grammar");
    if (json && !ask_schema(req, out, "structured_outputs.json", json)) return false;
    if (regex && !ask_text(req, out, "structured_outputs.regex", API_CONTENT_REGEX, regex)) return false;
    if (choice && !ask_choice(req, out, "structured_outputs.choice", choice)) return false;
    if (grammar && !ask_text(req, out, "structured_outputs.grammar", API_CONTENT_GRAMMAR, grammar)) return false;
    if (api_bool(v, "json_object", false) &&
        !ask(req, out, "structured_outputs.json_object", API_CONTENT_SCHEMA, json_pack("{s:s}", "type", "object")))
        return false;
    return true;
}

bool api_structured_read(hone_request *req, const json_t *body, api_structured *out) {
    *out = (api_structured){0};
    const json_t *v;
    if ((v = api_value(body, "response_format")) && !read_format(req, v, out)) return false;
    if ((v = api_value(body, "structured_outputs")) && !read_vllm(req, v, out)) return false;
    if ((v = api_value(body, "guided_json")) && !ask_schema(req, out, "guided_json", v)) return false;
    if ((v = api_value(body, "guided_regex")) && !ask_text(req, out, "guided_regex", API_CONTENT_REGEX, v))
        return false;
    if ((v = api_value(body, "guided_choice")) && !ask_choice(req, out, "guided_choice", v)) return false;
    if ((v = api_value(body, "guided_grammar")) && !ask_text(req, out, "guided_grammar", API_CONTENT_GRAMMAR, v))
        return false;
    if ((v = api_value(body, "json_schema")) && !ask_schema(req, out, "json_schema", v)) return false;
    if ((v = api_value(body, "grammar")) && !ask_text(req, out, "grammar", API_CONTENT_GRAMMAR, v)) return false;
    return true;
}

void api_structured_free(api_structured *s) {
    json_decref(s->value);
    *s = (api_structured){0};
}

/* ---- The whole reply's grammar ---- */

/* One schema by itself: whether it can be kept, and OpenAI's rules of strict ones. */
static hone_status try_schema(const json_t *schema, bool strict, hone_error *err) {
    hone_grammar_builder *b;
    hone_status status = hone_grammar_begin(&b, err);
    if (status != HONE_OK) return status;
    hone_gx out;
    const hone_schema_options options = {.strict = strict};
    status = hone_schema_node(b, schema, &options, &out, err);
    hone_grammar_abandon(b);
    return status;
}

static hone_status try_source(const hone_buf *source, hone_error *err) {
    hone_grammar *g = NULL;
    const hone_status status = hone_grammar_compile(&g, hone_buf_str(source), source->n, err);
    hone_grammar_unref(g);
    return status;
}

static bool refuse_content(hone_request *req, const api_structured *s, const hone_error *err) {
    if (err->code == HONE_ERR_NOMEM || err->code == HONE_ERR_INTERNAL)
        api_fail(req, err, NULL);
    else if (s->name[0])
        api_invalid(req, s->param, NULL, "Invalid schema for response_format '%s': %s", s->name, err->message);
    else
        api_invalid(req, s->param, NULL, "Invalid '%s': %s", s->param, err->message);
    return false;
}

static bool refuse_function(hone_request *req, const api_tools *t, uint32_t i, const hone_error *err) {
    char param[64];
    snprintf(param, sizeof(param), t->legacy ? "functions[%u].parameters" : "tools[%u].function.parameters", i);
    if (err->code == HONE_ERR_NOMEM || err->code == HONE_ERR_INTERNAL)
        api_fail(req, err, NULL);
    else
        api_invalid(req, param, "invalid_function_parameters", "Invalid schema for function '%s': %s",
                    t->function[i].name, err->message);
    return false;
}

/* Strict schemas first, by OpenAI's rules; true also where nothing is strict. */
static bool check_strict(hone_request *req, const api_structured *s, const api_tools *t) {
    hone_error err = {.position = HONE_NO_POSITION};
    if (s->strict && s->kind == API_CONTENT_SCHEMA && try_schema(s->value, true, &err) != HONE_OK)
        return refuse_content(req, s, &err);
    for (uint32_t i = 0; t && i < t->n_function; i++)
        if (t->function[i].strict && t->function[i].parameters &&
            try_schema(t->function[i].parameters, true, &err) != HONE_OK)
            return refuse_function(req, t, i, &err);
    return true;
}

/* The functions whose schemas cannot be kept: refused where that was promised, else their arguments are any object. */
static bool loosen(hone_request *req, const api_dialect *d, api_tools *t, bool *changed) {
    for (uint32_t i = 0; i < t->n_function; i++) {
        api_function *f = &t->function[i];
        if (!f->allowed || f->loose) continue;
        const api_constraint one = {.dialect = d, .tools = t->mode, .function = f, .n_function = 1};
        hone_buf source = {0};
        hone_error err = {.position = HONE_NO_POSITION};
        hone_status status = api_constraint_source(&one, &source, &err);
        if (status == HONE_OK) status = try_source(&source, &err);
        if (status != HONE_OK && f->parameters && (f->strict || t->mode == API_TOOLS_FORCED)) {
            /* by itself, so that the pointer begins at the schema's root */
            hone_error clear = {.position = HONE_NO_POSITION};
            const bool by_itself = try_schema(f->parameters, f->strict, &clear) != HONE_OK;
            hone_buf_free(&source);
            return refuse_function(req, t, i, by_itself ? &clear : &err);
        }
        hone_buf_free(&source);
        if (status == HONE_OK) continue;
        f->loose = *changed = true;
    }
    return true;
}

/* Whether the same source was compiled before, and the same schemas found strict. */
static bool was_checked(hone_api *api, const hone_buf *source, const api_structured *s, const api_tools *t,
                        char digest[HONE_DIGEST_TEXT]) {
    hone_buf key = {0};
    hone_buf_add(&key, source->data, source->n);
    hone_buf_char(&key, s->strict ? '1' : '0');
    for (uint32_t i = 0; t && i < t->n_function; i++) {
        if (!t->function[i].strict) continue;
        /* one that is not allowed is in no source, but its schema is checked all the same */
        hone_buf_format(&key, "\n%u ", i);
        if (t->function[i].parameters) hone_json_write(t->function[i].parameters, &key);
    }
    digest[0] = 0;
    if (key.failed || hone_digest_bytes(key.data, key.n, digest) != HONE_OK) digest[0] = 0;
    hone_buf_free(&key);
    for (uint32_t i = 0; digest[0] && i < API_CHECKED; i++)
        if (strcmp(api->checked[i], digest) == 0) return true;
    return false;
}

static void note_checked(hone_api *api, const char *digest) {
    if (digest[0]) memcpy(api->checked[api->next_checked++ % API_CHECKED], digest, HONE_DIGEST_TEXT);
}

bool api_reply_source(hone_api *api, hone_request *req, const api_dialect *dialect, api_think think,
                      const api_structured *structured, api_tools *tools, hone_buf *out) {
    const api_constraint c = {.dialect = dialect,
                              .think = think,
                              .content = structured->kind,
                              .value = structured->value,
                              .tools = tools ? tools->mode : API_TOOLS_OFF,
                              .function = tools ? tools->function : NULL,
                              .n_function = tools ? tools->n_function : 0,
                              .parallel = tools && tools->parallel};
    hone_error err = {.position = HONE_NO_POSITION};
    char digest[HONE_DIGEST_TEXT];
    for (int attempt = 0; attempt < 2; attempt++) {
        hone_buf_clear(out);
        hone_status status = api_constraint_source(&c, out, &err);
        const bool nothing = status == HONE_OK && out->n == 0;
        if (status == HONE_OK && !nothing && was_checked(api, out, structured, tools, digest)) return true;
        if (attempt == 0 && !check_strict(req, structured, tools)) return false;
        if (nothing) return true;
        if (status == HONE_OK) status = try_source(out, &err);
        if (status == HONE_OK) {
            note_checked(api, digest);
            return true;
        }
        bool changed = false;
        const bool calls = c.tools == API_TOOLS_AUTO || c.tools == API_TOOLS_FORCED;
        if (attempt == 0 && calls && !loosen(req, dialect, tools, &changed)) return false;
        if (!changed) break;
    }
    if (structured->kind != API_CONTENT_FREE) return refuse_content(req, structured, &err);
    if (err.code == HONE_ERR_LIMIT)
        api_invalid(req, "tools", NULL, "The tools are too large together: %s", err.message);
    else
        api_fail(req, &err, "tools");
    return false;
}
