/* print.c - values as text: Python's str() and repr(), JSON as json.dumps() writes it, HTML escapes.
 * Order: numbers, repr of strings, repr of the rest, str, escape, JSON. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/utf8.h"
#include "model/template/ast.h"
#include "model/template/value.h"

/* ---- Numbers ---- */

/* The fewest digits that read back as f, laid out as Python does: fixed from 1e-4 up to below 1e16, else with exponent.
 */
void jinja_float_text(double f, char out[JINJA_FLOAT_TEXT]) {
    if (isnan(f) || isinf(f)) {
        snprintf(out, JINJA_FLOAT_TEXT, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    char digits[32];
    for (int n = 0; n < 17; n++) {
        snprintf(digits, sizeof(digits), "%.*e", n, f);
        if (strtod(digits, NULL) == f) break;
    }
    const char *e = strchr(digits, 'e');
    const int exponent = atoi(e + 1);
    char mantissa[24];
    int n = 0;
    for (const char *c = digits; c < e; c++)
        if (*c >= '0' && *c <= '9') mantissa[n++] = *c;
    while (n > 1 && mantissa[n - 1] == '0') n--;
    char *to = out;
    if (digits[0] == '-') *to++ = '-';
    if (exponent < -4 || exponent >= 16) {
        *to++ = mantissa[0];
        if (n > 1) {
            *to++ = '.';
            memcpy(to, mantissa + 1, (size_t)n - 1);
            to += n - 1;
        }
        snprintf(to, 16, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    for (int i = exponent < 0 ? exponent : 0; i < n || i <= exponent; i++) { /* i: index of the digit, 0 the first */
        *to++ = i < 0 || i >= n ? '0' : mantissa[i];
        if (i == exponent) *to++ = '.';
    }
    if (to[-1] == '.') *to++ = '0';
    *to = 0;
}

static bool put_int(jinja_run *run, int64_t i, jinja_text *out) {
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, i);
    return jinja_put_text(run, out, text);
}

static bool put_float(jinja_run *run, double f, jinja_text *out) {
    char text[JINJA_FLOAT_TEXT];
    jinja_float_text(f, text);
    return jinja_put_text(run, out, text);
}

/* ---- repr ---- */

static bool is_printable(uint32_t code) {
    if (code < 0x7f) return code >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    default: return true;
    }
}

static bool repr_char(jinja_run *run, uint32_t code, char quote, jinja_text *out) {
    char text[12];
    if (code == (uint32_t)quote || code == '\\')
        snprintf(text, sizeof(text), "\\%c", (char)code);
    else if (code == '\n' || code == '\r' || code == '\t')
        snprintf(text, sizeof(text), "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
    else if (code < 0x100)
        snprintf(text, sizeof(text), "\\x%02x", code);
    else if (code < 0x10000)
        snprintf(text, sizeof(text), "\\u%04x", code);
    else
        snprintf(text, sizeof(text), "\\U%08x", code);
    return jinja_work(run, 1) && jinja_put_text(run, out, text);
}

static bool repr_string(jinja_run *run, const jinja_string *s, jinja_text *out) {
    const char quote = memchr(s->at, '\'', s->n) && !memchr(s->at, '"', s->n) ? '"' : '\'';
    size_t plain = 0; /* start of the bytes that go out as they are */
    if (!jinja_work(run, s->n / 16) || !jinja_put(run, out, &quote, 1)) return false;
    for (size_t at = 0; at < s->n;) {
        uint32_t code = 0;
        const size_t width = hone_utf8_decode(s->at + at, s->n - at, &code);
        if (!width) return jinja_fail(run, HONE_ERR_INTERNAL, "a string is no UTF-8");
        if (code == (uint32_t)quote || code == '\\' || !is_printable(code)) {
            if (!jinja_put(run, out, s->at + plain, at - plain) || !repr_char(run, code, quote, out)) return false;
            plain = at + width;
        }
        at += width;
    }
    return jinja_put(run, out, s->at + plain, s->n - plain) && jinja_put(run, out, &quote, 1);
}

static bool repr_list(jinja_run *run, const jinja_list *list, char open, char close, jinja_text *out) {
    if (!jinja_put(run, out, &open, 1)) return false;
    for (size_t i = 0; i < list->n; i++)
        if ((i && !jinja_put(run, out, ", ", 2)) || !jinja_repr(run, list->at[i], out)) return false;
    if (open == '(' && list->n == 1 && !jinja_put(run, out, ",", 1)) return false;
    return jinja_put(run, out, &close, 1);
}

static bool repr_dict(jinja_run *run, const jinja_dict *dict, jinja_text *out) {
    if (!jinja_put(run, out, "{", 1)) return false;
    for (size_t i = 0; i < dict->n; i++)
        if ((i && !jinja_put(run, out, ", ", 2)) || !jinja_repr(run, dict->entry[i].key, out) ||
            !jinja_put(run, out, ": ", 2) || !jinja_repr(run, dict->entry[i].value, out))
            return false;
    return jinja_put(run, out, "}", 1);
}

static bool repr_object(jinja_run *run, const char *what, const char *name, size_t n, jinja_text *out) {
    return jinja_put_text(run, out, what) && jinja_put(run, out, name, n) && jinja_put(run, out, ">", 1);
}

static bool repr_nested(jinja_run *run, jinja_value v, jinja_text *out) {
    switch ((jinja_type)v.type) {
    case JINJA_LIST: return repr_list(run, v.as.list, '[', ']', out);
    case JINJA_TUPLE: return repr_list(run, v.as.list, '(', ')', out);
    case JINJA_DICT: return repr_dict(run, v.as.dict, out);
    case JINJA_NAMESPACE:
        return jinja_put_text(run, out, "<Namespace ") && repr_dict(run, v.as.dict, out) && jinja_put(run, out, ">", 1);
    case JINJA_VIEW: {
        jinja_list items;
        return jinja_iterate(run, v, &items) && jinja_put_text(run, out, jinja_type_name(v)) &&
               jinja_put(run, out, "(", 1) && repr_list(run, &items, '[', ']', out) && jinja_put(run, out, ")", 1);
    }
    default: return jinja_fail(run, HONE_ERR_INTERNAL, "a value of no type");
    }
}

bool jinja_repr(jinja_run *run, jinja_value v, jinja_text *out) {
    if (!jinja_work(run, 1)) return false;
    switch ((jinja_type)v.type) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED: return jinja_put_text(run, out, "Undefined");
    case JINJA_NONE: return jinja_put_text(run, out, "None");
    case JINJA_BOOL: return jinja_put_text(run, out, v.as.boolean ? "True" : "False");
    case JINJA_INT: return put_int(run, v.as.integer, out);
    case JINJA_FLOAT: return put_float(run, v.as.real, out);
    case JINJA_STRING:
        if (!v.safe) return repr_string(run, v.as.string, out);
        return jinja_put_text(run, out, "Markup(") && repr_string(run, v.as.string, out) && jinja_put(run, out, ")", 1);
    case JINJA_RANGE: {
        const jinja_range *r = v.as.range;
        char text[80];
        if (r->step == 1)
            snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64 ")", r->start, r->stop);
        else
            snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")", r->start, r->stop, r->step);
        return jinja_put_text(run, out, text);
    }
    case JINJA_ITERATOR:
        return jinja_put_text(run, out, "<") && repr_object(run, v.as.iterator->type_name, " object", 7, out);
    case JINJA_MACRO: {
        const jinja_string *name = v.as.macro->node->text;
        return jinja_put_text(run, out, "<Macro ") &&
               (name ? repr_string(run, name, out) : jinja_put_text(run, out, "anonymous")) &&
               jinja_put(run, out, ">", 1);
    }
    case JINJA_FUNCTION: return repr_object(run, "<function ", v.as.function->name, strlen(v.as.function->name), out);
    case JINJA_METHOD: {
        const char *name = v.as.bound->method->name;
        return repr_object(run, "<built-in method ", name, strlen(name), out);
    }
    case JINJA_LOOP: {
        char text[64];
        snprintf(text, sizeof(text), "<LoopContext %zu/%zu>", v.as.loop->index0 + 1, v.as.loop->items.n);
        return jinja_put_text(run, out, text);
    }
    case JINJA_CYCLER: return jinja_put_text(run, out, "<Cycler>");
    case JINJA_JOINER: return jinja_put_text(run, out, "<Joiner>");
    default: break;
    }
    if (!jinja_enter(run)) return false;
    const bool ok = repr_nested(run, v, out);
    jinja_leave(run);
    return ok;
}

/* ---- str ---- */

bool jinja_str(jinja_run *run, jinja_value v, jinja_text *out) {
    if (v.type == JINJA_STRING) return jinja_put(run, out, v.as.string->at, v.as.string->n);
    if (v.type == JINJA_UNDEFINED) return true;
    return jinja_repr(run, v, out);
}

bool jinja_to_string(jinja_run *run, jinja_value v, jinja_value *out) {
    if (v.type == JINJA_STRING) {
        *out = v;
        return true;
    }
    jinja_text text = {0};
    return jinja_str(run, v, &text) && jinja_string_done(run, &text, out);
}

bool jinja_escape_into(jinja_run *run, const jinja_string *s, jinja_text *out) {
    size_t plain = 0;
    for (size_t i = 0; i < s->n; i++) {
        const char *with = NULL;
        switch (s->at[i]) {
        case '&': with = "&amp;"; break;
        case '<': with = "&lt;"; break;
        case '>': with = "&gt;"; break;
        case '\'': with = "&#39;"; break;
        case '"': with = "&#34;"; break;
        default: continue;
        }
        if (!jinja_work(run, 1) || !jinja_put(run, out, s->at + plain, i - plain) || !jinja_put_text(run, out, with))
            return false;
        plain = i + 1;
    }
    return jinja_put(run, out, s->at + plain, s->n - plain);
}

/* ---- JSON: json.dumps(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False) ---- */

typedef struct {
    jinja_run *run;
    jinja_text *out;
    bool ascii;
    bool sort;
    bool pretty;
    const jinja_string *indent; /* one level, when pretty */
    const jinja_string *item_separator;
    const jinja_string *key_separator;
} writer;

static bool write_escape(writer *w, uint32_t code) {
    char text[16];
    const char *at = code < 0x80 ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", (int)code) : NULL;
    if (code && at)
        snprintf(text, sizeof(text), "\\%c", at[1]);
    else if (code < 0x10000)
        snprintf(text, sizeof(text), "\\u%04x", code);
    else
        snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10),
                 0xdc00 + ((code - 0x10000) & 0x3ff));
    return jinja_work(w->run, 1) && jinja_put_text(w->run, w->out, text);
}

static bool write_string(writer *w, const jinja_string *s) {
    size_t plain = 0;
    if (!jinja_work(w->run, s->n / 16) || !jinja_put(w->run, w->out, "\"", 1)) return false;
    for (size_t at = 0; at < s->n;) {
        uint32_t code = (unsigned char)s->at[at];
        size_t width = 1;
        if (code >= 0x80 && !(width = hone_utf8_decode(s->at + at, s->n - at, &code)))
            return jinja_fail(w->run, HONE_ERR_INTERNAL, "a string is no UTF-8");
        if (code < 0x20 || code == '"' || code == '\\' || (w->ascii && code >= 0x7f)) {
            if (!jinja_put(w->run, w->out, s->at + plain, at - plain) || !write_escape(w, code)) return false;
            plain = at + width;
        }
        at += width;
    }
    return jinja_put(w->run, w->out, s->at + plain, s->n - plain) && jinja_put(w->run, w->out, "\"", 1);
}

static bool write_float(writer *w, double f) {
    if (isnan(f)) return jinja_put_text(w->run, w->out, "NaN");
    if (isinf(f)) return jinja_put_text(w->run, w->out, f < 0 ? "-Infinity" : "Infinity");
    return put_float(w->run, f, w->out);
}

static bool write_break(writer *w, size_t level) {
    if (!w->pretty) return true;
    if (!jinja_put(w->run, w->out, "\n", 1)) return false;
    for (size_t i = 0; i < level; i++)
        if (!jinja_put(w->run, w->out, w->indent->at, w->indent->n) || !jinja_work(w->run, 1)) return false;
    return true;
}

static bool write_separator(writer *w, size_t i, size_t level) {
    return (!i || jinja_put(w->run, w->out, w->item_separator->at, w->item_separator->n)) && write_break(w, level);
}

static bool write_value(writer *w, jinja_value v, size_t level);

static bool write_array(writer *w, const jinja_list *list, size_t level) {
    if (list->n == 0) return jinja_put(w->run, w->out, "[]", 2);
    if (!jinja_put(w->run, w->out, "[", 1)) return false;
    for (size_t i = 0; i < list->n; i++)
        if (!write_separator(w, i, level + 1) || !write_value(w, list->at[i], level + 1)) return false;
    return write_break(w, level) && jinja_put(w->run, w->out, "]", 1);
}

static bool write_key(writer *w, jinja_value key) {
    switch ((jinja_type)key.type) {
    case JINJA_STRING: return write_string(w, key.as.string);
    case JINJA_NONE:
    case JINJA_BOOL:
    case JINJA_INT:
    case JINJA_FLOAT:
        return jinja_put(w->run, w->out, "\"", 1) && write_value(w, key, 0) && jinja_put(w->run, w->out, "\"", 1);
    default:
        return jinja_type_error(w->run, "keys must be str, int, float, bool or None, not %s", jinja_type_name(key));
    }
}

static bool write_object(writer *w, const jinja_dict *dict, size_t level) {
    if (dict->n == 0) return jinja_put(w->run, w->out, "{}", 2);
    size_t *order = NULL;
    if (w->sort) {
        order = jinja_get(w->run, dict->n, sizeof(*order));
        jinja_value *keys = jinja_get(w->run, dict->n, sizeof(*keys));
        if (!order || !keys) return false;
        for (size_t i = 0; i < dict->n; i++) keys[i] = dict->entry[i].key;
        if (!jinja_sort(w->run, keys, dict->n, false, order)) return false;
    }
    if (!jinja_put(w->run, w->out, "{", 1)) return false;
    for (size_t i = 0; i < dict->n; i++) {
        const jinja_entry *e = &dict->entry[order ? order[i] : i];
        if (!write_separator(w, i, level + 1) || !write_key(w, e->key) ||
            !jinja_put(w->run, w->out, w->key_separator->at, w->key_separator->n) ||
            !write_value(w, e->value, level + 1))
            return false;
    }
    return write_break(w, level) && jinja_put(w->run, w->out, "}", 1);
}

static bool write_value(writer *w, jinja_value v, size_t level) {
    bool ok;
    if (!jinja_work(w->run, 1)) return false;
    switch ((jinja_type)v.type) {
    case JINJA_NONE: return jinja_put_text(w->run, w->out, "null");
    case JINJA_BOOL: return jinja_put_text(w->run, w->out, v.as.boolean ? "true" : "false");
    case JINJA_INT: return put_int(w->run, v.as.integer, w->out);
    case JINJA_FLOAT: return write_float(w, v.as.real);
    case JINJA_STRING: return write_string(w, v.as.string);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT: break;
    default: return jinja_type_error(w->run, "Object of type %s is not JSON serializable", jinja_type_name(v));
    }
    if (!jinja_enter(w->run)) return false;
    ok = v.type == JINJA_DICT ? write_object(w, v.as.dict, level) : write_array(w, v.as.list, level);
    jinja_leave(w->run);
    return ok;
}

/* The indent argument: a number of spaces, or the text of one level. */
static bool write_indent(writer *w, jinja_value v) {
    jinja_value spaces;
    int64_t n;
    if (v.type == JINJA_MISSING || v.type == JINJA_NONE) return true;
    w->pretty = true;
    if (v.type == JINJA_STRING) {
        w->indent = v.as.string;
        return true;
    }
    if (!jinja_index(w->run, v, "indent", &n)) return false;
    if (!jinja_string_borrow(w->run, " ", 1, &spaces) || !jinja_repeat(w->run, spaces, n, &spaces)) return false;
    w->indent = spaces.as.string;
    return true;
}

bool jinja_to_json(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"ensure_ascii", "indent", "separators", "sort_keys"};
    static const jinja_string comma = {",", 1, 1}, comma_space = {", ", 2, 2}, colon_space = {": ", 2, 2};
    jinja_value slot[4];
    jinja_text text = {0};
    if (!jinja_bind(run, "tojson", args, 0, 4, names, slot)) return false;
    writer w = {.run = run, .out = &text, .ascii = jinja_truth(slot[0]), .sort = jinja_truth(slot[3])};
    if (!write_indent(&w, slot[1])) return false;
    w.item_separator = w.pretty ? &comma : &comma_space;
    w.key_separator = &colon_space;
    if (jinja_truth(slot[2])) {
        jinja_list two;
        if (!jinja_iterate(run, slot[2], &two)) return false;
        if (two.n != 2 || two.at[0].type != JINJA_STRING || two.at[1].type != JINJA_STRING)
            return jinja_type_error(run, "tojson: separators must be two strings");
        w.item_separator = two.at[0].as.string;
        w.key_separator = two.at[1].as.string;
    }
    return write_value(&w, self, 0) && jinja_string_done(run, &text, out);
}
