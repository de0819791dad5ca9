/* fields.c - the fields of requests, checked against a table before anything is done with them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/private.h"
#include "base/utf8.h"

const json_t *api_value(const json_t *body, const char *name) {
    const json_t *v = json_object_get(body, name);
    return v && !json_is_null(v) ? v : NULL;
}

const char *api_text(const json_t *body, const char *name, const char *otherwise) {
    const json_t *v = api_value(body, name);
    return v ? json_string_value(v) : otherwise;
}
int64_t api_int(const json_t *body, const char *name, int64_t otherwise) {
    const json_t *v = api_value(body, name);
    return v ? json_integer_value(v) : otherwise;
}
double api_number(const json_t *body, const char *name, double otherwise) {
    const json_t *v = api_value(body, name);
    return v ? json_number_value(v) : otherwise;
}
bool api_bool(const json_t *body, const char *name, bool otherwise) {
    const json_t *v = api_value(body, name);
    return v ? json_is_true(v) : otherwise;
}

static const char *type_of(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a decimal";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    }
    return "something else";
}

static bool wrong_type(hone_request *req, const char *path, const json_t *v, const char *wanted) {
    api_invalid(req, path, "invalid_type", "Invalid type for '%s': expected %s, but got %s instead.", path, wanted,
                type_of(v));
    return false;
}

static bool number_in_range(hone_request *req, const api_field *f, const char *path, const json_t *v) {
    const double x = json_number_value(v);
    const char *kind = f->kind == API_INT ? "integer" : "decimal";
    if (f->min == 0 && f->max == 0) return true;
    if (x >= f->min && x <= f->max) return true;
    const bool below = x < f->min;
    char code[40];
    snprintf(code, sizeof(code), "%s_%s_value", kind, below ? "below_min" : "above_max");
    api_invalid(req, path, code, "Invalid '%s': %s %s value. Expected a value %s %.15g, but got %.15g instead.", path,
                kind, below ? "below minimum" : "above maximum", below ? ">=" : "<=", below ? f->min : f->max, x);
    return false;
}

static bool length_in_range(hone_request *req, const api_field *f, const char *path, const char *what, double n) {
    if ((f->min == 0 && f->max == 0) || (n >= f->min && n <= f->max)) return true;
    const bool below = n < f->min;
    char code[40];
    snprintf(code, sizeof(code), "%s_%s_length", what, below ? "below_min" : "above_max");
    api_invalid(req, path, code, "Invalid '%s': %s too %s. Expected %s with %s length %.0f, but got length %.0f.", path,
                what, below ? "short" : "long", what[0] == 'a' ? "an array" : "a string", below ? "minimum" : "maximum",
                below ? f->min : f->max, n);
    return false;
}

/* Characters, not bytes: that is what OpenAI's limits count. */
static double characters(const json_t *v) {
    const char *s = json_string_value(v);
    double n = 0;
    for (size_t i = 0; i < json_string_length(v); i++) n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n;
}

static bool check_one(hone_request *req, const api_field *f, const char *path, const json_t *v) {
    switch (f->kind) {
    case API_STRING:
        if (!json_is_string(v)) return wrong_type(req, path, v, "a string");
        return length_in_range(req, f, path, "string", characters(v));
    case API_BOOL: return json_is_boolean(v) || wrong_type(req, path, v, "a boolean");
    case API_INT:
        /* 3.0 is an integer to JSON Schema, and some clients write it so; jansson keeps it as a real: refused like
         * OpenAI */
        if (!json_is_integer(v)) return wrong_type(req, path, v, "an integer");
        return number_in_range(req, f, path, v);
    case API_NUMBER:
        if (!json_is_number(v)) return wrong_type(req, path, v, "a decimal");
        return number_in_range(req, f, path, v);
    case API_NUMBER_OR_AUTO:
        if (json_is_string(v) && strcmp(json_string_value(v), "auto") == 0) return true;
        if (!json_is_number(v)) return wrong_type(req, path, v, "a number or \"auto\"");
        return number_in_range(req, f, path, v);
    case API_ARRAY:
        if (!json_is_array(v)) return wrong_type(req, path, v, "an array");
        return length_in_range(req, f, path, "array", (double)json_array_size(v));
    case API_OBJECT: return json_is_object(v) || wrong_type(req, path, v, "an object");
    case API_STRING_OR_ARRAY:
        if (json_is_string(v)) return true;
        if (!json_is_array(v)) return wrong_type(req, path, v, "a string or an array");
        return length_in_range(req, f, path, "array", (double)json_array_size(v));
    case API_ANY: return true;
    case API_REFUSED: break;
    }
    api_invalid(req, path, "unsupported_parameter", "Unsupported parameter: '%s' is not supported by this server.",
                path);
    return false;
}

bool api_check(hone_request *req, const json_t *object, const char *prefix, const api_field *fields, size_t n) {
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)object, name, v) {
        char path[200];
        snprintf(path, sizeof(path), "%s%.150s", prefix, name);
        const api_field *f = NULL;
        for (size_t i = 0; i < n && !f; i++)
            if (strcmp(fields[i].name, name) == 0) f = &fields[i];
        if (!f) {
            api_invalid(req, path, "unknown_parameter", "Unknown parameter: '%s'.", path);
            return false;
        }
        if (!json_is_null(v) && !check_one(req, f, path, v)) return false;
    }
    return true;
}

json_t *api_body(hone_request *req, const api_field *fields, size_t n) {
    size_t bytes;
    const char *text = hone_request_body(req, &bytes);
    hone_error err;
    json_t *body = hone_json_parse(text, bytes, &err);
    if (!body) {
        if (err.code == HONE_ERR_NOMEM)
            api_fail(req, &err, NULL);
        else
            api_invalid(req, NULL, "invalid_json", "We could not parse the JSON body of your request: %s", err.message);
        return NULL;
    }
    if (!json_is_object(body)) {
        api_invalid(req, NULL, "invalid_type", "The body must be a JSON object, but is %s.", type_of(body));
    } else if (api_check(req, body, "", fields, n)) {
        return body;
    }
    json_decref(body);
    return NULL;
}

bool api_need(hone_request *req, const json_t *body, const char *name) {
    if (api_value(body, name)) return true;
    api_invalid(req, name, "missing_required_parameter", "Missing required parameter: '%s'.", name);
    return false;
}

bool api_metadata(hone_request *req, const json_t *body) {
    const json_t *m = api_value(body, "metadata");
    if (!m) return true;
    if (json_object_size(m) > 16) {
        api_invalid(req, "metadata", "object_above_max_properties",
                    "Invalid 'metadata': at most 16 pairs, but got %zu.", json_object_size(m));
        return false;
    }
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)m, name, v) {
        char path[128];
        snprintf(path, sizeof(path), "metadata.%.64s", name);
        if (!json_is_string(v)) return wrong_type(req, path, v, "a string");
        const api_field limit = {.min = 0, .max = 512};
        if (strlen(name) > 64 || !length_in_range(req, &limit, path, "string", characters(v))) {
            if (strlen(name) > 64)
                api_invalid(req, path, "string_above_max_length",
                            "Invalid 'metadata': keys have at most 64 characters.");
            return false;
        }
    }
    return true;
}

bool api_page(hone_request *req, uint32_t limit, uint32_t max, hone_page *out) {
    *out = (hone_page){.limit = limit, .order = HONE_ORDER_DESC, .after = hone_request_query(req, "after")};
    const char *text = hone_request_query(req, "limit");
    if (text) {
        char *end;
        const long n = strtol(text, &end, 10);
        if (*text == 0 || *end != 0 || n < 1 || n > (long)max) {
            api_invalid(req, "limit", "invalid_value",
                        "Invalid 'limit': expected an integer from 1 to %u, but got '%.40s'.", max, text);
            return false;
        }
        out->limit = (uint32_t)n;
    }
    const char *order = hone_request_query(req, "order");
    if (order && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0) {
        api_invalid(req, "order", "invalid_value", "Invalid value: '%.40s'. Supported values are: 'asc' and 'desc'.",
                    order);
        return false;
    }
    if (order && order[0] == 'a') out->order = HONE_ORDER_ASC;
    return true;
}
