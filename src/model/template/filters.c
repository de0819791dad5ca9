/* filters.c - filters over one value: text, numbers, defaults; and the table of all filters.
 *
 * Left out, and so unknown by name: pprint, random, striptags, urlize, wordwrap, xmlattr.
 * Order: defaults and conversions, text, numbers, the table. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "model/template/value.h"

static const jinja_string empty_text = {"", 0, 0};
static jinja_value empty_string(void) {
    return (jinja_value){.type = JINJA_STRING, .as.string = &empty_text};
}

static bool given(jinja_value slot) {
    return slot.type != JINJA_MISSING && slot.type != JINJA_NONE;
}

static bool is_truthy(jinja_value slot) {
    return slot.type != JINJA_MISSING && jinja_truth(slot);
}

/* ---- Defaults and conversions ---- */

static bool filter_default(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"default_value", "boolean"};
    jinja_value slot[2];
    if (!jinja_bind(run, "default", args, 0, 2, names, slot)) return false;
    *out = self;
    if (self.type == JINJA_UNDEFINED || (is_truthy(slot[1]) && !jinja_truth(self)))
        *out = slot[0].type == JINJA_MISSING ? empty_string() : slot[0];
    return true;
}

static bool filter_string(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return jinja_bind(run, "string", args, 0, 0, NULL, NULL) && jinja_to_string(run, self, out);
}

static bool filter_safe(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    if (!filter_string(run, self, args, out)) return false;
    out->safe = true;
    return true;
}

static bool filter_escape(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return filter_string(run, self, args, out) && jinja_escaped(run, *out, out);
}

static bool filter_forceescape(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    if (!filter_string(run, self, args, out)) return false;
    out->safe = false;
    return jinja_escaped(run, *out, out);
}

static bool filter_int(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"default", "base"};
    jinja_value slot[2];
    int64_t base = 10, i;
    bool too_large = false;
    double f;
    if (!jinja_bind(run, "int", args, 0, 2, names, slot)) return false;
    if (slot[1].type != JINJA_MISSING && !jinja_index(run, slot[1], "base", &base)) return false;
    if (base != 0 && (base < 2 || base > 36)) return jinja_fail(run, HONE_ERR_ARG, "int: base must be 2 to 36, or 0");
    *out = slot[0].type == JINJA_MISSING ? jinja_int(0) : slot[0];
    switch ((jinja_type)self.type) {
    case JINJA_UNDEFINED: return jinja_fail_undefined(run, self);
    case JINJA_INT: *out = self; return true;
    case JINJA_BOOL: *out = jinja_int(self.as.boolean); return true;
    case JINJA_FLOAT:
        if (isnan(self.as.real)) return true;
        f = self.as.real;
        break;
    case JINJA_STRING:
        if (!jinja_work(run, self.as.string->n / 16)) return false;
        if (jinja_parse_int(self.as.string, (int)base, &i, &too_large)) {
            *out = jinja_int(i);
            return true;
        }
        if (too_large) return jinja_fail(run, HONE_ERR_LIMIT, "an integer beyond 64 bits");
        if (!jinja_parse_float(self.as.string, &f) || isnan(f) || isinf(f)) return true;
        break;
    default: return true;
    }
    if (!jinja_truncate(f, &i)) return jinja_fail(run, HONE_ERR_LIMIT, "an integer beyond 64 bits");
    *out = jinja_int(i);
    return true;
}

static bool filter_float(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"default"};
    jinja_value slot;
    double f;
    if (!jinja_bind(run, "float", args, 0, 1, names, &slot)) return false;
    if (self.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, self);
    *out = slot.type == JINJA_MISSING ? jinja_float(0) : slot;
    if (self.type == JINJA_FLOAT) *out = self;
    if (self.type == JINJA_INT) *out = jinja_float((double)self.as.integer);
    if (self.type == JINJA_BOOL) *out = jinja_float(self.as.boolean);
    if (self.type == JINJA_STRING && jinja_work(run, self.as.string->n / 16) && jinja_parse_float(self.as.string, &f))
        *out = jinja_float(f);
    return true;
}

static bool filter_attr(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"name"};
    jinja_value name;
    if (!jinja_bind(run, "attr", args, 1, 1, names, &name)) return false;
    if (name.type != JINJA_STRING) return jinja_type_error(run, "attr: the name must be a str");
    if (self.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, self);
    if (!jinja_own_attribute(run, self, name.as.string, out)) return false; /* a key of that name does not count */
    return out->type != JINJA_MISSING ||
           jinja_undefined_new(run, JINJA_NO_ATTRIBUTE, name.as.string, jinja_type_name(self), out);
}

/* ---- Text ---- */

#define ON_TEXT(filter, method)                                                                                        \
    static bool filter(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {                   \
        return jinja_to_string(run, self, &self) && method(run, self, args, out);                                      \
    }
ON_TEXT(filter_upper, jinja_string_upper)
ON_TEXT(filter_lower, jinja_string_lower)
ON_TEXT(filter_capitalize, jinja_string_capitalize)

static bool filter_trim(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"chars"};
    jinja_value slot;
    if (!jinja_bind(run, "trim", args, 0, 1, names, &slot) || !jinja_to_string(run, self, &self)) return false;
    const jinja_args one = {.at = &slot, .n = slot.type != JINJA_MISSING};
    return jinja_string_strip(run, self, &one, out);
}

static bool filter_center(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"width"};
    jinja_value slot;
    if (!jinja_bind(run, "center", args, 0, 1, names, &slot) || !jinja_to_string(run, self, &self)) return false;
    if (slot.type == JINJA_MISSING) slot = jinja_int(80);
    return jinja_string_center(run, self, &(jinja_args){.at = &slot, .n = 1}, out);
}

static bool filter_title(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_text text = {0};
    bool inside = false;
    if (!filter_string(run, self, args, &self)) return false;
    const jinja_string *s = self.as.string;
    if (!jinja_work(run, s->n)) return false;
    for (size_t at = 0; at < s->n;) {
        uint32_t c = 0, codes[3];
        const size_t width = hone_utf8_decode(s->at + at, s->n - at, &c);
        const bool divides = jinja_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
        const size_t n = jinja_case(c, inside ? 'l' : 'u', codes);
        for (size_t i = 0; i < n; i++) {
            char bytes[4];
            if (!jinja_put(run, &text, bytes, hone_utf8_encode(codes[i], bytes))) return false;
        }
        inside = !divides;
        at += width ? width : 1;
    }
    if (!jinja_string_done(run, &text, out)) return false;
    out->safe = self.safe;
    return true;
}

static bool filter_replace(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"old", "new", "count"};
    jinja_value slot[3];
    int64_t count = -1;
    if (!jinja_bind(run, "replace", args, 2, 3, names, slot)) return false;
    if (given(slot[2]) && !jinja_index(run, slot[2], "count", &count)) return false;
    if (!jinja_to_string(run, self, &self) || !jinja_to_string(run, slot[0], &slot[0]) ||
        !jinja_to_string(run, slot[1], &slot[1]))
        return false;
    self.safe = false;
    return jinja_replace(run, self, slot[0], slot[1], count, out);
}

static bool filter_format(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_value values;
    if (args->n && args->n_kw)
        return jinja_type_error(run, "format: positional and keyword arguments at the same time");
    if (!jinja_to_string(run, self, &self)) return false;
    if (args->n_kw) {
        jinja_dict *dict = jinja_dict_new(run, args->n_kw);
        if (!dict) return false;
        for (size_t i = 0; i < args->n_kw; i++)
            if (!jinja_dict_set(run, dict, (jinja_value){.type = JINJA_STRING, .as.string = args->kw_name[i]},
                                args->kw[i]))
                return false;
        values = (jinja_value){.type = JINJA_DICT, .as.dict = dict};
    } else if (!jinja_list_new(run, JINJA_TUPLE, args->at, args->n, &values)) {
        return false;
    }
    return jinja_percent(run, self, values, out);
}

static bool filter_indent(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"width", "first", "blank"};
    static const jinja_string space = {" ", 1, 1};
    jinja_value slot[3], by = {.type = JINJA_STRING, .as.string = &space};
    jinja_items lines = {0};
    jinja_text text = {0};
    int64_t width = 4;
    if (!jinja_bind(run, "indent", args, 0, 3, names, slot)) return false;
    if (self.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, self);
    if (self.type != JINJA_STRING)
        return jinja_type_error(run, "indent: a str is needed, not %s", jinja_type_name(self));
    if (slot[0].type == JINJA_STRING)
        by = slot[0];
    else if (slot[0].type != JINJA_MISSING && !jinja_index(run, slot[0], "width", &width))
        return false;
    if (slot[0].type != JINJA_STRING && !jinja_repeat(run, by, width, &by)) return false;
    if (!jinja_split_lines(run, self, false, &lines)) return false;
    const jinja_string *s = self.as.string;
    /* a line feed is put behind the text before it is cut, so one at the end makes one more, empty line */
    if ((s->n == 0 || s->at[s->n - 1] == '\n' || lines.n == 0) && !jinja_items_add(run, &lines, empty_string()))
        return false;
    for (size_t i = 0; i < lines.n; i++) {
        const jinja_string *line = lines.at[i].as.string;
        const bool indented = i ? line->n || is_truthy(slot[2]) : is_truthy(slot[1]);
        if ((i && !jinja_put(run, &text, "\n", 1)) ||
            (indented && !jinja_put(run, &text, by.as.string->at, by.as.string->n)) ||
            !jinja_put(run, &text, line->at, line->n))
            return false;
    }
    if (!jinja_string_done(run, &text, out)) return false;
    out->safe = self.safe;
    return true;
}

static bool filter_truncate(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"length", "killwords", "end", "leeway"};
    static const jinja_string dots = {"...", 3, 3};
    jinja_value slot[4], end = {.type = JINJA_STRING, .as.string = &dots};
    int64_t length = 255, leeway = 5;
    if (!jinja_bind(run, "truncate", args, 0, 4, names, slot)) return false;
    if (self.type == JINJA_UNDEFINED) self = empty_string();
    if (self.type != JINJA_STRING)
        return jinja_type_error(run, "truncate: a str is needed, not %s", jinja_type_name(self));
    if (slot[2].type == JINJA_STRING) end = slot[2];
    if ((slot[0].type != JINJA_MISSING && !jinja_index(run, slot[0], "length", &length)) ||
        (given(slot[3]) && !jinja_index(run, slot[3], "leeway", &leeway)))
        return false;
    if (length < (int64_t)end.as.string->n_chars || leeway < 0)
        return jinja_fail(run, HONE_ERR_ARG, "truncate: length is shorter than its end");
    *out = self;
    if (length > INT64_MAX - leeway || (int64_t)self.as.string->n_chars <= length + leeway) return true;
    if (!jinja_substring(run, self, 0, (size_t)length - end.as.string->n_chars, &self)) return false;
    if (!is_truthy(slot[1])) {
        size_t n = self.as.string->n;
        while (n && self.as.string->at[n - 1] != ' ') n--;
        if (n && !jinja_string_borrow(run, self.as.string->at, n - 1, &self)) return false;
    }
    return jinja_arithmetic(run, JINJA_ADD, self, end, out);
}

static bool filter_wordcount(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    int64_t n = 0;
    bool inside = false;
    if (!filter_string(run, self, args, &self) || !jinja_work(run, self.as.string->n / 8)) return false;
    for (size_t at = 0; at < self.as.string->n;) {
        uint32_t c = 0;
        const size_t width = hone_utf8_decode(self.as.string->at + at, self.as.string->n - at, &c);
        const bool word = jinja_is_word(c);
        n += word && !inside;
        inside = word;
        at += width ? width : 1;
    }
    *out = jinja_int(n);
    return true;
}

/* Percent-encoding of one text; for_query turns spaces into + and encodes the slash. */
static bool put_url(jinja_run *run, jinja_value v, bool for_query, jinja_text *out) {
    if (!jinja_to_string(run, v, &v)) return false;
    for (size_t i = 0; i < v.as.string->n; i++) {
        const unsigned char c = (unsigned char)v.as.string->at[i];
        char code[4];
        const bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                           (c && strchr("_.-~", c)) || (c == '/' && !for_query);
        snprintf(code, sizeof(code), plain ? "%c" : "%%%02X", c);
        if (!jinja_put_text(run, out, c == ' ' && for_query ? "+" : code)) return false;
    }
    return jinja_work(run, v.as.string->n);
}

static bool filter_urlencode(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_text text = {0};
    jinja_list pairs;
    if (!jinja_bind(run, "urlencode", args, 0, 0, NULL, NULL)) return false;
    if (self.type == JINJA_STRING || !jinja_is_iterable(self))
        return put_url(run, self, false, &text) && jinja_string_done(run, &text, out);
    if (self.type == JINJA_DICT) {
        const jinja_view view = {self.as.dict, JINJA_ITEMS};
        if (!jinja_iterate(run, (jinja_value){.type = JINJA_VIEW, .as.view = &view}, &pairs)) return false;
    } else if (!jinja_iterate(run, self, &pairs)) {
        return false;
    }
    for (size_t i = 0; i < pairs.n; i++) {
        jinja_list pair;
        if (!jinja_iterate(run, pairs.at[i], &pair)) return false;
        if (pair.n != 2) return jinja_type_error(run, "urlencode: pairs are needed");
        if ((i && !jinja_put(run, &text, "&", 1)) || !put_url(run, pair.at[0], true, &text) ||
            !jinja_put(run, &text, "=", 1) || !put_url(run, pair.at[1], true, &text))
            return false;
    }
    return jinja_string_done(run, &text, out);
}

/* ---- Numbers ---- */

static bool filter_abs(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    if (!jinja_bind(run, "abs", args, 0, 0, NULL, NULL)) return false;
    if (self.type == JINJA_UNDEFINED || !jinja_is_number(self))
        return jinja_type_error(run, "bad operand type for abs(): '%s'", jinja_type_name(self));
    const bool negative =
        self.type == JINJA_FLOAT ? signbit(self.as.real) != 0 : self.type == JINJA_INT && self.as.integer < 0;
    return jinja_negate(run, self, negative, out);
}

static bool filter_round(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"precision", "method"};
    jinja_value slot[2];
    int64_t precision = 0;
    if (!jinja_bind(run, "round", args, 0, 2, names, slot)) return false;
    if (slot[0].type != JINJA_MISSING && !jinja_index(run, slot[0], "precision", &precision)) return false;
    if (slot[1].type == JINJA_MISSING || jinja_string_is(slot[1], "common"))
        return jinja_round(run, self, precision, out);
    const bool up = jinja_string_is(slot[1], "ceil");
    if (!up && !jinja_string_is(slot[1], "floor"))
        return jinja_fail(run, HONE_ERR_ARG, "round: method must be common, ceil or floor");
    if (!jinja_is_number(self))
        return jinja_type_error(run, "round: a number is needed, not %s", jinja_type_name(self));
    if (precision < -300 || precision > 300)
        return jinja_fail(run, HONE_ERR_LIMIT, "round: precision beyond 300 digits");
    const double unit = pow(10, (double)precision);
    const double f = self.type == JINJA_FLOAT ? self.as.real
                     : self.type == JINJA_INT ? (double)self.as.integer
                                              : self.as.boolean;
    *out = jinja_float((up ? ceil(f * unit) : floor(f * unit)) / unit);
    return true;
}

static bool filter_filesizeformat(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"binary"};
    static const char prefix[] = "kMGTPEZY";
    jinja_value slot, number;
    char text[64];
    if (!jinja_bind(run, "filesizeformat", args, 0, 1, names, &slot) ||
        !filter_float(run, self, &(jinja_args){0}, &number))
        return false;
    if (!jinja_is_number(self) && !(self.type == JINJA_STRING && jinja_parse_float(self.as.string, &number.as.real)))
        return jinja_type_error(run, "filesizeformat: a number is needed, not %s", jinja_type_name(self));
    const bool binary = is_truthy(slot);
    const double base = binary ? 1024 : 1000, bytes = number.as.real;
    if (bytes == 1) {
        snprintf(text, sizeof(text), "1 Byte");
    } else if (!(bytes >= base)) {
        snprintf(text, sizeof(text), "%.0f Bytes", trunc(bytes));
    } else {
        double unit = base;
        int i = 0;
        while (i < 7 && bytes >= unit * base) {
            unit *= base;
            i++;
        }
        snprintf(text, sizeof(text), "%.1f %c%sB", fmin(bytes / unit, 1e30), binary && i == 0 ? 'K' : prefix[i],
                 binary ? "i" : "");
    }
    return jinja_string_copy(run, text, strlen(text), out);
}

/* ---- The table ---- */

static const jinja_named_call filters[] = {{"abs", filter_abs},
                                           {"attr", filter_attr},
                                           {"capitalize", filter_capitalize},
                                           {"center", filter_center},
                                           {"d", filter_default},
                                           {"default", filter_default},
                                           {"e", filter_escape},
                                           {"escape", filter_escape},
                                           {"filesizeformat", filter_filesizeformat},
                                           {"float", filter_float},
                                           {"forceescape", filter_forceescape},
                                           {"format", filter_format},
                                           {"indent", filter_indent},
                                           {"int", filter_int},
                                           {"lower", filter_lower},
                                           {"replace", filter_replace},
                                           {"round", filter_round},
                                           {"safe", filter_safe},
                                           {"string", filter_string},
                                           {"title", filter_title},
                                           {"tojson", jinja_to_json},
                                           {"trim", filter_trim},
                                           {"truncate", filter_truncate},
                                           {"upper", filter_upper},
                                           {"urlencode", filter_urlencode},
                                           {"wordcount", filter_wordcount}};

jinja_call *jinja_table_find(const jinja_named_call *table, size_t n, const jinja_string *name) {
    for (size_t i = 0; i < n; i++)
        if (strlen(table[i].name) == name->n && memcmp(table[i].name, name->at, name->n) == 0) return table[i].call;
    return NULL;
}

jinja_call *jinja_filter_find(const jinja_string *name) {
    jinja_call *call = jinja_table_find(filters, sizeof(filters) / sizeof(*filters), name);
    return call ? call : jinja_sequence_filter_find(name);
}
