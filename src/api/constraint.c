/* constraint.c - the source of a reply's grammar; the contract is in constraint.h.
 *
 * Every rule stands in one line; names of ours begin with "hone-", so that a grammar of the request's own can stand
 * beside them.  What a call looks like is what the family's template writes (tool_formats.c), byte for byte.
 * Order: words, text that avoids a mark, arguments by style, calls, content, the whole. */
#include "api/constraint.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "grammar/grammar.h"

typedef struct {
    const api_constraint *c;
    hone_buf *out; /* finished rules */
    uint32_t n_rule;
    const api_function *function; /* whose arguments are written */
    bool exact;                   /* what its schema demands and this form cannot keep is refused, not left out */
    hone_error *err;
} writer;

/* ---- Words ---- */

/* A part that was written by itself: what it lost, the whole has lost. */
static void drop(hone_buf *part, hone_buf *whole) {
    if (part->failed) whole->failed = true;
    hone_buf_free(part);
}

/* A mark as literals and special tokens. */
static void add_mark(hone_buf *out, const char *mark) {
    while (*mark) {
        const char *special = strchr(mark, (char)HONE_TOKEN_MARK);
        const size_t plain = special ? (size_t)(special - mark) : strlen(mark);
        if (plain) {
            hone_buf_char(out, ' ');
            hone_grammar_source_literal(out, mark, plain);
        }
        mark += plain;
        if (!special) return;
        const char *end = strchr(special + 1, (char)HONE_TOKEN_MARK);
        if (!end) return;
        hone_buf_text(out, " %token");
        hone_grammar_source_literal(out, special + 1, (size_t)(end - special) - 1);
        mark = end + 1;
    }
}

static void add_literal(hone_buf *out, const char *text) {
    if (!text[0]) return;
    hone_buf_char(out, ' ');
    hone_grammar_source_literal(out, text, strlen(text));
}

static void add_regex(hone_buf *out, const char *pattern) {
    hone_buf_text(out, " %regex");
    hone_grammar_source_literal(out, pattern, strlen(pattern));
}

static void add_schema(hone_buf *out, const json_t *schema) {
    hone_buf_text(out, " %json");
    hone_json_write(schema, out);
}

/* ---- Text that avoids a mark ---- */

/* One character of a pattern, for inside or outside of a class. */
static void pattern_char(hone_buf *out, char c) {
    if (strchr("\\^$.*+?()[]{}|/-", c))
        hone_buf_format(out, "\\%c", c);
    else if (c == '\n')
        hone_buf_text(out, "\\n");
    else
        hone_buf_char(out, c);
}

/* Texts without the mark: cut at the mark's first character, no piece goes on as the mark does.  Where that character
 * comes again in the mark it is a look-ahead at every place. */
static void pattern_avoid(hone_buf *out, const char *mark) {
    size_t n;
    while (isspace((unsigned char)*mark)) mark++;
    for (n = strlen(mark); n && isspace((unsigned char)mark[n - 1]);) n--;
    if (n == 0 || (unsigned char)mark[0] == HONE_TOKEN_MARK) { /* no text holds a special token */
        hone_buf_text(out, "[\\s\\S]*");
        return;
    }
    /* bytes over 0x7f would have to stand in classes as whole characters */
    bool simple = memchr(mark + 1, mark[0], n - 1) == NULL;
    for (size_t i = 0; i < n; i++) simple = simple && (unsigned char)mark[i] < 0x80;
    if (!simple) {
        hone_buf_text(out, "(?:(?!");
        for (size_t i = 0; i < n; i++) pattern_char(out, mark[i]);
        hone_buf_text(out, ")[\\s\\S])*");
        return;
    }
    hone_buf_text(out, "[^");
    pattern_char(out, mark[0]);
    hone_buf_text(out, "]*(?:");
    pattern_char(out, mark[0]);
    for (size_t i = 1; i < n; i++) { /* (?:[^1t][^1]*|t(...)?)? */
        hone_buf_text(out, "(?:[^");
        pattern_char(out, mark[0]);
        pattern_char(out, mark[i]);
        hone_buf_text(out, "][^");
        pattern_char(out, mark[0]);
        hone_buf_text(out, "]*");
        if (i + 1 == n) break;
        hone_buf_char(out, '|');
        pattern_char(out, mark[i]);
    }
    for (size_t i = 1; i < n; i++) hone_buf_text(out, ")?");
    hone_buf_text(out, ")*");
}

/* Texts that do not begin with the mark (ASCII). */
static void pattern_not_begin(hone_buf *out, const char *mark) {
    const size_t n = strlen(mark);
    for (size_t i = 0; i < n; i++) {
        hone_buf_text(out, "(?:[^");
        pattern_char(out, mark[i]);
        hone_buf_text(out, "][\\s\\S]*");
        if (i + 1 == n) break;
        hone_buf_char(out, '|');
        pattern_char(out, mark[i]);
    }
    for (size_t i = 0; i < n; i++) hone_buf_text(out, ")?");
}

static void add_avoid(hone_buf *out, const char *mark) {
    hone_buf pattern = {0};
    pattern_avoid(&pattern, mark);
    add_regex(out, hone_buf_str(&pattern));
    drop(&pattern, out);
}

/* ---- Arguments ---- */

static hone_status cannot(writer *w, const char *pointer, const char *what) {
    return hone_fail(w->err, HONE_ERR_UNSUPPORTED, "%s: %s", pointer, what);
}

/* The function's parameters as a schema of an object. */
static json_t *object_schema(const api_function *f) {
    json_t *schema = f->loose || !f->parameters ? NULL : json_copy((json_t *)(uintptr_t)f->parameters);
    if (!schema && f->loose) return json_pack("{s:s}", "type", "object");
    if (!schema) return json_pack("{s:s, s:{}, s:b}", "type", "object", "properties", "additionalProperties", 0);
    if (!json_object_get(schema, "type")) json_object_set_new(schema, "type", json_string("object"));
    return schema;
}

/* A part of a schema that stands alone: definitions come with it. */
static json_t *part_schema(const json_t *whole, const json_t *part) {
    json_t *copy = json_copy((json_t *)(uintptr_t)part);
    static const char *const shared[] = {"$defs", "definitions"};
    for (int i = 0; i < 2; i++) {
        json_t *defs = json_object_get(whole, shared[i]);
        if (defs && !json_object_get(copy, shared[i])) json_object_set(copy, shared[i], defs);
    }
    return copy;
}

static bool is_type(const json_t *schema, const char *type) {
    const char *t = json_string_value(json_object_get(schema, "type"));
    return t && strcmp(t, type) == 0;
}

static bool is_required(const json_t *schema, const char *name) {
    const json_t *list = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *r = json_string_value(json_array_get(list, i));
        if (r && strcmp(r, name) == 0) return true;
    }
    return false;
}

/* A keyword that restricts and that the forms without JSON do not keep; NULL: none.  Of strings and of objects. */
static const char *beyond(const json_t *schema) {
    static const char *const kept[] = {
        "type",       "title",    "description", "default", "examples",    "example",
        "enum",       "const",    "properties",  "items",   "required",    "additionalProperties",
        "nullable",   "$schema",  "$id",         "$defs",   "definitions", "$comment",
        "deprecated", "readOnly", "writeOnly"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value) {
        bool known = false;
        for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) known = known || strcmp(key, kept[i]) == 0;
        if (!known) return key;
    }
    return NULL;
}

/* Whether a schema that names no single type demands nothing of a value all the same. */
static bool any_value(const json_t *schema) {
    static const char *const restricts[] = {
        "type", "enum", "const", "properties", "items", "required", "additionalProperties"};
    if (!json_is_object(schema)) return json_is_true(schema);
    for (size_t i = 0; i < sizeof(restricts) / sizeof(restricts[0]); i++)
        if (json_object_get(schema, restricts[i])) return false;
    return beyond(schema) == NULL;
}

/* Whether it demands an object, and nothing of its members. */
static bool any_object(const json_t *schema) {
    return is_type(schema, "object") && !json_object_get(schema, "properties") &&
           !json_object_get(schema, "required") && !json_object_get(schema, "enum") &&
           !json_object_get(schema, "const") &&
           (!json_object_get(schema, "additionalProperties") ||
            json_is_true(json_object_get(schema, "additionalProperties"))) &&
           beyond(schema) == NULL;
}

/* A name that is demanded and that no property has; NULL: none. */
static const char *missing_property(const json_t *schema) {
    const json_t *list = json_object_get(schema, "required"), *properties = json_object_get(schema, "properties");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name && !json_object_get(properties, name)) return name;
    }
    return NULL;
}

/* PARAMETERS: one value.  Strings are raw text up to the mark behind them, everything else is JSON. */
static hone_status add_value(writer *w, hone_buf *rule, const json_t *whole, const char *name, const json_t *schema) {
    const json_t *list = json_object_get(schema, "enum"), *only = json_object_get(schema, "const");
    json_t *single = only ? json_pack("[O]", only) : NULL;
    if (single) list = single;
    const char *more = beyond(schema);
    char pointer[200];
    snprintf(pointer, sizeof(pointer), "#/properties/%.80s/%.80s", name, more ? more : "type");
    hone_status status = HONE_OK;
    if (list) {
        hone_buf_text(rule, " (");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *v = json_array_get(list, i);
            hone_buf text = {0};
            if (json_is_string(v))
                hone_buf_add(&text, json_string_value(v), json_string_length(v));
            else
                hone_json_write(v, &text);
            if (i) hone_buf_text(rule, " |");
            hone_buf_char(rule, ' ');
            hone_grammar_source_literal(rule, hone_buf_str(&text), text.n);
            drop(&text, rule);
        }
        hone_buf_text(rule, " )");
        if (json_array_size(list) == 0) status = cannot(w, pointer, "an empty enum");
    } else if (is_type(schema, "string") && !more) {
        add_avoid(rule, w->c->dialect->mark[M_VALUE_END]);
    } else if (is_type(schema, "string") && w->exact) {
        status = cannot(w, pointer, "this model writes strings of calls without quotes, and so it cannot be kept");
    } else if (json_is_string(json_object_get(schema, "type")) && !is_type(schema, "string")) {
        json_t *part = part_schema(whole, schema);
        add_schema(rule, part);
        json_decref(part);
    } else if (w->function->strict || (w->exact && !any_value(schema))) {
        status = cannot(w, pointer, "this model's form of calls needs one type for each parameter");
    } else {
        add_avoid(rule, w->c->dialect->mark[M_VALUE_END]);
    }
    json_decref(single);
    return status;
}

static hone_status add_parameters(writer *w, hone_buf *rule) {
    const api_dialect *d = w->c->dialect;
    if (w->function->loose) {
        hone_buf_text(rule, " (");
        add_mark(rule, d->mark[M_KEY]);
        hone_buf_text(rule, " [a-zA-Z0-9_.-]{1,64}");
        add_mark(rule, d->mark[M_KEY_END]);
        add_avoid(rule, d->mark[M_VALUE_END]);
        add_mark(rule, d->mark[M_VALUE_END]);
        hone_buf_text(rule, " )*");
        return HONE_OK;
    }
    json_t *schema = object_schema(w->function);
    const char *more = beyond(schema);
    hone_status status = HONE_OK;
    if (more && w->exact) {
        char pointer[100];
        snprintf(pointer, sizeof(pointer), "#/%.80s", more);
        status = cannot(w, pointer, "this model's form of calls cannot keep it");
    } else if (w->exact && missing_property(schema)) {
        status = cannot(w, "#/required", "this model's form of calls needs a property for each required name");
    }
    const char *name;
    json_t *property;
    json_object_foreach(json_object_get(schema, "properties"), name, property) {
        if (status != HONE_OK) break;
        const bool required = is_required(schema, name);
        hone_buf_text(rule, required ? "" : " (");
        add_mark(rule, d->mark[M_KEY]);
        add_literal(rule, name);
        add_mark(rule, d->mark[M_KEY_END]);
        status = add_value(w, rule, schema, name, property);
        add_mark(rule, d->mark[M_VALUE_END]);
        hone_buf_text(rule, required ? "" : " )?");
    }
    json_decref(schema);
    return status;
}

/* GEMMA: a value of any shape, once for the grammar. */
static void add_gemma_any(writer *w, hone_buf *rule, bool object) {
    const char *quote = w->c->dialect->mark[M_QUOTE];
    hone_buf_text(rule, object ? " hone-object" : " hone-value");
    if (strstr(hone_buf_str(w->out), "\nhone-value ::=")) return;
    hone_buf_text(w->out, "\nhone-string ::=");
    add_mark(w->out, quote);
    add_avoid(w->out, quote);
    add_mark(w->out, quote);
    hone_buf_text(w->out, "\nhone-member ::= [a-zA-Z0-9_-]{1,64} \":\" hone-value"
                          "\nhone-object ::= \"{\" ( hone-member ( \",\" hone-member )* )? \"}\""
                          "\nhone-array ::= \"[\" ( hone-value ( \",\" hone-value )* )? \"]\""
                          "\nhone-value ::= hone-string | hone-object | hone-array | \"true\" | \"false\" | \"null\" | "
                          "%json{\"type\": \"number\"}");
}

static hone_status add_gemma(writer *w, hone_buf *rule, const json_t *schema, const char *pointer, uint32_t depth);

static void add_gemma_literal(writer *w, hone_buf *rule, const json_t *v) {
    hone_buf text = {0};
    if (json_is_string(v)) {
        add_mark(rule, w->c->dialect->mark[M_QUOTE]);
        add_literal(rule, json_string_value(v));
        add_mark(rule, w->c->dialect->mark[M_QUOTE]);
        return;
    }
    hone_json_write(v, &text);
    add_literal(rule, hone_buf_str(&text));
    drop(&text, rule);
}

/* Members i.. of an object, by rules of their own: optional ones may be left out, and commas stand between those that
 * are there. */
static hone_status add_gemma_object(writer *w, hone_buf *rule, const json_t *schema, const char *pointer,
                                    uint32_t depth) {
    const json_t *properties = json_object_get(schema, "properties");
    const uint32_t n = (uint32_t)json_object_size(properties), base = w->n_rule;
    if (w->exact && missing_property(schema)) {
        char at[300];
        snprintf(at, sizeof(at), "%.280s/required", pointer);
        return cannot(w, at, "this model's form of calls needs a property for each required name");
    }
    w->n_rule += n + 1;
    hone_buf_format(rule, " \"{\" hone-m%u-first \"}\"", base);
    const char *name;
    json_t *property;
    uint32_t i = 0;
    hone_status status = HONE_OK;
    json_object_foreach((json_t *)(uintptr_t)properties, name, property) {
        char at[300];
        snprintf(at, sizeof(at), "%.180s/properties/%.80s", pointer, name);
        hone_buf item = {0};
        add_literal(&item, name);
        hone_buf_text(&item, " \":\"");
        status = add_gemma(w, &item, property, at, depth + 1);
        const bool required = is_required(schema, name);
        for (int first = 0; first < 2; first++) {
            hone_buf_format(w->out, "\nhone-m%u%s ::=%s%s hone-m%u", base + i, first ? "-first" : "",
                            first ? "" : " \",\"", hone_buf_str(&item), base + i + 1);
            if (!required) hone_buf_format(w->out, " | hone-m%u%s", base + i + 1, first ? "-first" : "");
        }
        drop(&item, rule);
        if (status != HONE_OK) return status;
        i++;
    }
    hone_buf_format(w->out, "\nhone-m%u ::= \"\"\nhone-m%u-first ::= \"\"", base + n, base + n);
    return status;
}

static hone_status add_gemma(writer *w, hone_buf *rule, const json_t *schema, const char *pointer, uint32_t depth) {
    const json_t *list = json_object_get(schema, "enum"), *only = json_object_get(schema, "const");
    const char *more = beyond(schema);
    if (depth > 32) return cannot(w, pointer, "nested too deep");
    if (more) {
        char at[400];
        snprintf(at, sizeof(at), "%.280s/%.80s", pointer, more);
        return cannot(w, at, "this model's form of calls cannot keep it");
    }
    if (only) {
        add_gemma_literal(w, rule, only);
    } else if (list && json_array_size(list)) {
        hone_buf_text(rule, " (");
        for (size_t i = 0; i < json_array_size(list); i++) {
            if (i) hone_buf_text(rule, " |");
            add_gemma_literal(w, rule, json_array_get(list, i));
        }
        hone_buf_text(rule, " )");
    } else if (is_type(schema, "string")) {
        add_mark(rule, w->c->dialect->mark[M_QUOTE]);
        add_avoid(rule, w->c->dialect->mark[M_QUOTE]);
        add_mark(rule, w->c->dialect->mark[M_QUOTE]);
    } else if (is_type(schema, "integer") || is_type(schema, "number") || is_type(schema, "boolean") ||
               is_type(schema, "null")) {
        add_schema(rule, schema);
    } else if (is_type(schema, "array") && json_is_object(json_object_get(schema, "items"))) {
        char at[300];
        snprintf(at, sizeof(at), "%.280s/items", pointer);
        const uint32_t number = w->n_rule++;
        hone_buf item = {0};
        const hone_status status = add_gemma(w, &item, json_object_get(schema, "items"), at, depth + 1);
        hone_buf_format(w->out, "\nhone-i%u ::=%s", number, hone_buf_str(&item));
        drop(&item, rule);
        hone_buf_format(rule, " \"[\" ( hone-i%u ( \",\" hone-i%u )* )? \"]\"", number, number);
        return status;
    } else if (is_type(schema, "object") && (json_object_get(schema, "properties") ||
                                             json_is_false(json_object_get(schema, "additionalProperties")))) {
        return add_gemma_object(w, rule, schema, pointer, depth);
    } else if (w->function->strict || (w->exact && !any_value(schema) && !any_object(schema))) {
        return cannot(w, pointer, "this model's form of calls needs a type of each value");
    } else {
        add_gemma_any(w, rule, is_type(schema, "object"));
    }
    return HONE_OK;
}

/* ---- Calls ---- */

static hone_status add_body(writer *w, hone_buf *rule, const api_function *f) {
    const api_dialect *d = w->c->dialect;
    const api_call_format *form = d->format;
    json_t *schema = NULL;
    hone_status status = HONE_OK;
    w->function = f;
    w->exact = f->strict || w->c->tools == API_TOOLS_FORCED;
    hone_buf text = {0};
    switch (form->style) {
    case API_CALL_OBJECT:
        if (form->mark[M_ID_KEY]) {
            hone_buf_format(&text, "{\"%s\": \"", form->mark[M_ID_KEY]);
            add_literal(rule, hone_buf_str(&text));
            hone_buf_text(rule, " [0-9]{1,3}");
            hone_buf_clear(&text);
            hone_buf_format(&text, "\", \"%s\": \"%s\", \"%s\": ", form->mark[M_NAME_KEY], f->name,
                            form->mark[M_ARGUMENTS_KEY]);
        } else {
            hone_buf_format(&text, "{\"%s\": \"%s\", \"%s\": ", form->mark[M_NAME_KEY], f->name,
                            form->mark[M_ARGUMENTS_KEY]);
        }
        add_literal(rule, hone_buf_str(&text));
        schema = object_schema(f);
        add_schema(rule, schema);
        if (form->id_last) hone_buf_text(rule, " \", \\\"id\\\": \\\"\" [a-zA-Z0-9]{9} \"\\\"\"");
        hone_buf_text(rule, " \"}\"");
        break;
    case API_CALL_NAMED:
        add_literal(rule, f->name);
        if (form->numbered) hone_buf_text(rule, " \":\" [0-9]{1,3}");
        if (form->mark[M_ID]) {
            add_mark(rule, d->mark[M_ID]);
            hone_buf_text(rule, " [a-zA-Z0-9]{9}");
        }
        add_mark(rule, d->mark[M_MIDDLE]);
        schema = object_schema(f);
        add_schema(rule, schema);
        break;
    case API_CALL_PARAMETERS:
        add_literal(rule, f->name);
        add_mark(rule, d->mark[M_MIDDLE]);
        status = add_parameters(w, rule);
        break;
    case API_CALL_GEMMA:
        add_literal(rule, f->name);
        if (f->loose) {
            add_gemma_any(w, rule, true);
        } else {
            schema = object_schema(f);
            if (!json_object_get(schema, "properties") && (!w->exact || any_object(schema)))
                add_gemma_any(w, rule, true);
            else
                status = add_gemma(w, rule, schema, "#", 0);
        }
        break;
    }
    drop(&text, rule);
    json_decref(schema);
    return status;
}

static hone_status add_calls(writer *w) {
    const api_constraint *c = w->c;
    const api_dialect *d = c->dialect;
    for (uint32_t i = 0; i < c->n_function; i++) {
        if (!c->function[i].allowed) continue;
        hone_buf rule = {0};
        const hone_status status = add_body(w, &rule, &c->function[i]);
        hone_buf_format(w->out, "\nhone-f%u ::=%s", i, hone_buf_str(&rule));
        drop(&rule, w->out);
        if (status != HONE_OK) return status;
    }
    hone_buf_text(w->out, "\nhone-call ::=");
    add_mark(w->out, d->mark[M_OPEN]);
    hone_buf_text(w->out, " (");
    bool first = true;
    for (uint32_t i = 0; i < c->n_function; i++) {
        if (!c->function[i].allowed) continue;
        hone_buf_format(w->out, "%s hone-f%u", first ? "" : " |", i);
        first = false;
    }
    hone_buf_text(w->out, " )");
    add_mark(w->out, d->mark[M_CLOSE]);
    hone_buf_text(w->out, "\nhone-calls ::=");
    if (d->mark[M_ALSO][0]) {
        hone_buf_text(w->out, " (");
        add_mark(w->out, d->mark[M_ALSO]);
        hone_buf_text(w->out, " )?");
    }
    add_mark(w->out, d->mark[M_BEGIN]);
    hone_buf_text(w->out, " hone-call");
    if (c->parallel && !d->format->single) {
        hone_buf_text(w->out, " (");
        add_mark(w->out, d->mark[M_BETWEEN]);
        hone_buf_text(w->out, " hone-call )*");
    }
    add_mark(w->out, d->mark[M_END]);
    return HONE_OK;
}

/* ---- Content ---- */

static bool word_char(char c) {
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

/* The request's grammar with its rule `root` called hone-content.  Strings, classes and comments are passed over; so is
 * %json{...}, by its braces. */
static void add_renamed(hone_buf *out, const char *text) {
    hone_buf_char(out, '\n');
    for (size_t i = 0; text[i];) {
        const char c = text[i];
        size_t end = i + 1;
        if (c == '"' || c == '[') {
            const char close = c == '"' ? '"' : ']';
            while (text[end] && text[end] != close) end += text[end] == '\\' && text[end + 1] ? 2 : 1;
            if (text[end]) end++;
        } else if (c == '#') {
            while (text[end] && text[end] != '\n') end++;
        } else if (strncmp(text + i, "%json", 5) == 0) {
            uint32_t depth = 0;
            bool quoted = false;
            for (end = i + 5; text[end]; end++) {
                const char b = text[end];
                if (quoted && b == '\\' && text[end + 1]) {
                    end++;
                } else if (b == '"') {
                    quoted = !quoted;
                } else if (!quoted && (b == '{' || b == '[')) {
                    depth++;
                } else if (!quoted && (b == '}' || b == ']') && --depth == 0) {
                    end++;
                    break;
                }
            }
        } else if (word_char(c)) {
            while (word_char(text[end])) end++;
            if (end - i == 4 && memcmp(text + i, "root", 4) == 0) {
                hone_buf_text(out, "hone-content");
                i = end;
                continue;
            }
        }
        hone_buf_add(out, text + i, end - i);
        i = end;
    }
}

static void add_content(writer *w) {
    const json_t *v = w->c->value;
    if (w->c->content == API_CONTENT_GRAMMAR) {
        add_renamed(w->out, json_string_value(v));
        return;
    }
    hone_buf_text(w->out, "\nhone-content ::=");
    switch (w->c->content) {
    case API_CONTENT_SCHEMA: add_schema(w->out, v); break;
    case API_CONTENT_REGEX:
        hone_buf_text(w->out, " %regex");
        hone_grammar_source_literal(w->out, json_string_value(v), json_string_length(v));
        break;
    case API_CONTENT_CHOICE:
        for (size_t i = 0; i < json_array_size(v); i++) {
            const json_t *s = json_array_get(v, i);
            hone_buf_text(w->out, i ? " | " : " ");
            hone_grammar_source_literal(w->out, json_string_value(s), json_string_length(s));
        }
        break;
    case API_CONTENT_FREE: {
        const api_dialect *d = w->c->dialect;
        if (d->format->bare) {
            hone_buf pattern = {0};
            pattern_not_begin(&pattern, "{\"name\": \"");
            add_regex(w->out, hone_buf_str(&pattern));
            drop(&pattern, w->out);
        } else {
            add_avoid(w->out, d->mark[M_TRIGGER]);
        }
        break;
    }
    case API_CONTENT_GRAMMAR: break;
    }
}

/* ---- The whole ---- */

hone_status api_constraint_source(const api_constraint *c, hone_buf *out, hone_error *err) {
    const bool free_content = c->content == API_CONTENT_FREE;
    if (free_content && c->tools == API_TOOLS_OFF) return HONE_OK;
    const api_dialect *d = c->dialect;
    const bool calls = c->tools == API_TOOLS_AUTO || c->tools == API_TOOLS_FORCED;
    const api_think think = d ? c->think : API_THINK_NONE;
    /* A grammar of the request's own that stands alone goes as it is: its messages name its own places. */
    if (c->content == API_CONTENT_GRAMMAR && !calls && think == API_THINK_NONE)
        return hone_buf_text(out, json_string_value(c->value)) ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory");
    writer w = {.c = c, .out = out, .err = err};
    hone_buf_text(out, "root ::=");
    if (think == API_THINK_MAY) {
        hone_buf_text(out, " (");
        add_mark(out, d->mark[M_THINK]);
        hone_buf_text(out, " hone-thought )?");
    } else if (think == API_THINK_OPEN) {
        hone_buf_text(out, " hone-thought");
    }
    if (c->tools == API_TOOLS_FORCED)
        hone_buf_text(out, " hone-calls");
    else if (c->tools != API_TOOLS_AUTO)
        hone_buf_text(out, " hone-content");
    else if (free_content && !d->format->bare)
        hone_buf_text(out, " hone-content hone-calls?");
    else
        hone_buf_text(out, " ( hone-content | hone-calls )");
    if (think != API_THINK_NONE) {
        hone_buf_text(out, "\nhone-thought ::=");
        add_avoid(out, d->mark[M_THINK_END]);
        add_mark(out, d->mark[M_THINK_END]);
        hone_buf_text(out, " [ \\n]{0,2}");
    }
    if (c->tools != API_TOOLS_FORCED) add_content(&w);
    hone_status status = calls ? add_calls(&w) : HONE_OK;
    hone_buf_char(out, '\n');
    if (status == HONE_OK && (out->failed || !hone_json_memory_ok()))
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory for a grammar");
    return status;
}
