/* format.c - "..." % values and "...".format(...), as far as strings and numbers go.
 *
 * Refused: precisions over MAX_PRECISION, %c and %a of what is no character, format codes of other types.
 * Order: one number or string by a specification, the % operator, str.format. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "model/template/value.h"

#define MAX_PRECISION 400

/* [[fill]align][sign][#][0][width][,][.precision][type], and what % has of it. */
typedef struct {
    char fill[4];
    size_t n_fill; /* bytes */
    char align;    /* < > = ^ or 0 */
    char sign;     /* + - or space */
    bool alternate;
    char grouping; /* , _ or 0 */
    int64_t width;
    int64_t precision; /* -1: not given */
    char type;         /* 0: not given */
} spec;

/* ---- One value by a specification ---- */

/* sign and prefix, then the digits; '=' alignment and zeros go between the two. */
static bool put_padded(jinja_run *run, const spec *s, const char *head, const char *body, size_t n_body, char align,
                       jinja_text *out) {
    const int64_t n = (int64_t)(strlen(head) + jinja_count_chars(body, n_body));
    const int64_t room = s->width > n ? s->width - n : 0;
    if (s->align) align = s->align;
    const int64_t left = align == '<' ? 0 : align == '^' ? room / 2 : room;
    const jinja_string fill = {s->n_fill ? s->fill : " ", s->n_fill ? s->n_fill : 1, 1};
    jinja_value filler = {.type = JINJA_STRING, .as.string = &fill}, before, behind;
    if (!jinja_repeat(run, filler, left, &before) || !jinja_repeat(run, filler, room - left, &behind)) return false;
    if (align == '=' && !jinja_put_text(run, out, head)) return false;
    if (!jinja_put(run, out, before.as.string->at, before.as.string->n)) return false;
    if (align != '=' && !jinja_put_text(run, out, head)) return false;
    return jinja_put(run, out, body, n_body) && jinja_put(run, out, behind.as.string->at, behind.as.string->n);
}

/* Separators into the digits before the point, every `every` of them.  to has room for twice the digits. */
static void group(const char *digits, char separator, size_t every, char *to) {
    size_t n = 0;
    while (digits[n] && strchr("0123456789abcdefABCDEF", digits[n])) {
        if (digits[n] == 'e' && every == 3) break;
        n++;
    }
    for (size_t i = 0; i < n; i++) {
        if (i && (n - i) % every == 0) *to++ = separator;
        *to++ = digits[i];
    }
    strcpy(to, digits + n);
}

static bool put_number(jinja_run *run, const spec *s, bool negative, const char *prefix, const char *digits,
                       jinja_text *out) {
    char head[8], grouped[2200];
    snprintf(head, sizeof(head), "%s%s", negative ? "-" : s->sign == '+' ? "+" : s->sign == ' ' ? " " : "", prefix);
    if (s->grouping) {
        group(digits, s->grouping, strchr("boxX", s->type) && s->type ? 4 : 3, grouped);
        digits = grouped;
    }
    return put_padded(run, s, head, digits, strlen(digits), '>', out);
}

static bool put_int(jinja_run *run, const spec *s, int64_t value, jinja_text *out) {
    const uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char digits[MAX_PRECISION + 70];
    const char *prefix = "";
    size_t n = 0;
    if (s->type == 'b') {
        for (uint64_t bit = magnitude; bit || n == 0; bit >>= 1) digits[n++] = (char)('0' + (bit & 1));
        for (size_t i = 0; i < n / 2; i++) {
            const char swap = digits[i];
            digits[i] = digits[n - 1 - i];
            digits[n - 1 - i] = swap;
        }
        digits[n] = 0;
    } else {
        const char *format = s->type == 'o'   ? "%.*" PRIo64
                             : s->type == 'x' ? "%.*" PRIx64
                             : s->type == 'X' ? "%.*" PRIX64
                                              : "%.*" PRIu64;
        snprintf(digits, sizeof(digits), format, (int)(s->precision > 0 ? s->precision : 1), magnitude);
    }
    if (s->alternate)
        prefix = s->type == 'b' ? "0b" : s->type == 'o' ? "0o" : s->type == 'x' ? "0x" : s->type == 'X' ? "0X" : "";
    return put_number(run, s, value < 0, prefix, digits, out);
}

static bool put_float(jinja_run *run, const spec *s, double value, jinja_text *out) {
    char digits[MAX_PRECISION + 340];
    const double magnitude = fabs(value);
    const int precision = s->precision < 0 ? 6 : (int)s->precision;
    const char type = s->type == '%' ? 'f' : s->type == 'n' ? 'g' : s->type;
    if (isnan(value) || isinf(value)) {
        const bool large = type >= 'A' && type <= 'Z';
        snprintf(digits, sizeof(digits), "%s%s", isnan(value) ? (large ? "NAN" : "nan") : (large ? "INF" : "inf"),
                 s->type == '%' ? "%" : "");
    } else if (type == 0 && s->precision < 0) {
        jinja_float_text(magnitude, digits);
    } else if (type == 0) {
        snprintf(digits, sizeof(digits), "%.*g", precision ? precision : 1, magnitude);
        if (!strpbrk(digits, ".e")) strcat(digits, ".0");
    } else {
        char format[8] = {'%', s->alternate ? '#' : '.', s->alternate ? '.' : '*', s->alternate ? '*' : type};
        if (s->alternate) format[4] = type;
        snprintf(digits, sizeof(digits) - 2, format, precision, s->type == '%' ? magnitude * 100 : magnitude);
        if (s->type == '%') strcat(digits, "%");
    }
    return put_number(run, s, signbit(value) && !isnan(value), "", digits, out);
}

static bool put_string(jinja_run *run, const spec *s, jinja_value v, jinja_text *out) {
    if (s->precision >= 0 && !jinja_substring(run, v, 0, (size_t)s->precision, &v)) return false;
    return put_padded(run, s, "", v.as.string->at, v.as.string->n, '<', out);
}

static bool put_char(jinja_run *run, const spec *s, int64_t code, jinja_text *out) {
    char bytes[4];
    const size_t n = code < 0 || code > 0x10ffff ? 0 : hone_utf8_encode((uint32_t)code, bytes);
    if (!n) return jinja_fail(run, HONE_ERR_ARG, "%%c needs a character");
    return put_padded(run, s, "", bytes, n, '<', out);
}

static bool check_sizes(jinja_run *run, const spec *s) {
    if (s->precision <= MAX_PRECISION || s->type == 's' || s->type == 0) return true;
    return jinja_fail(run, HONE_ERR_LIMIT, "a precision over %d", MAX_PRECISION);
}

/* Digits at *at as a number that cannot overflow. */
static int64_t read_number(const jinja_string *s, size_t *at) {
    int64_t n = 0;
    for (; *at < s->n && s->at[*at] >= '0' && s->at[*at] <= '9'; ++*at)
        if (n < INT64_MAX / 100) n = n * 10 + (s->at[*at] - '0');
    return n;
}

/* ---- format % values ---- */

typedef struct {
    const jinja_value *at; /* positional values left */
    size_t n;
    jinja_value mapping; /* for %(name)s, or JINJA_MISSING */
    bool single;         /* the one value was not a tuple: a mapping need not be used up */
    bool escapes;        /* the format is Markup */
} supply;

static bool next_value(jinja_run *run, supply *from, jinja_value *out) {
    if (!from->n) return jinja_type_error(run, "not enough arguments for format string");
    *out = *from->at++;
    from->n--;
    return true;
}

/* %(name): the key, at the bracket. */
static bool named_value(jinja_run *run, const jinja_string *f, size_t *at, const supply *from, jinja_value *out) {
    size_t end = *at + 1, depth = 1;
    for (; end < f->n; end++) {
        if (f->at[end] == '(') depth++;
        if (f->at[end] == ')' && --depth == 0) break;
    }
    jinja_value key;
    if (end >= f->n) return jinja_fail(run, HONE_ERR_ARG, "incomplete format key");
    if (from->mapping.type != JINJA_DICT) return jinja_type_error(run, "format requires a mapping");
    if (!jinja_string_borrow(run, f->at + *at + 1, end - *at - 1, &key) ||
        !jinja_dict_get(run, from->mapping.as.dict, key, out))
        return false;
    if (out->type == JINJA_MISSING)
        return jinja_fail(run, HONE_ERR_ARG, "no key '%.*s' to format", (int)(end - *at - 1 < 60 ? end - *at - 1 : 60),
                          f->at + *at + 1);
    *at = end + 1;
    return true;
}

static bool star_or_number(jinja_run *run, const jinja_string *f, size_t *at, supply *from, int64_t *out) {
    jinja_value v;
    if (*at >= f->n || f->at[*at] != '*') {
        *out = read_number(f, at);
        return true;
    }
    ++*at;
    return next_value(run, from, &v) && jinja_index(run, v, "* in a format", out);
}

static bool percent_number(jinja_run *run, spec *s, jinja_value v, jinja_text *out) {
    int64_t i;
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, v);
    if (!jinja_is_number(v))
        return jinja_type_error(run, "%%%c format: a number is required, not %s", s->type, jinja_type_name(v));
    if (strchr("eEfFgG", s->type))
        return put_float(
            run, s, v.type == JINJA_FLOAT ? v.as.real : (double)(v.type == JINJA_INT ? v.as.integer : v.as.boolean),
            out);
    if (v.type == JINJA_FLOAT) {
        if (strchr("xXo", s->type))
            return jinja_type_error(run, "%%%c format: an integer is required, not float", s->type);
        if (!jinja_truncate(v.as.real, &i)) return jinja_fail(run, HONE_ERR_LIMIT, "an integer beyond 64 bits");
    } else {
        i = v.type == JINJA_INT ? v.as.integer : v.as.boolean;
    }
    if (strchr("iu", s->type)) s->type = 'd';
    return put_int(run, s, i, out);
}

/* One conversion; *at is behind the '%'. */
static bool percent_one(jinja_run *run, const jinja_string *f, size_t *at, supply *from, jinja_text *out) {
    spec s = {.precision = -1};
    jinja_value v = jinja_missing();
    bool zero = false;
    if (*at < f->n && f->at[*at] == '(' && !named_value(run, f, at, from, &v)) return false;
    for (; *at < f->n && f->at[*at] && strchr("-+ 0#", f->at[*at]); ++*at) {
        if (f->at[*at] == '-') s.align = '<';
        if (f->at[*at] == '+' || (f->at[*at] == ' ' && !s.sign)) s.sign = f->at[*at];
        if (f->at[*at] == '0') zero = true;
        if (f->at[*at] == '#') s.alternate = true;
    }
    if (!star_or_number(run, f, at, from, &s.width)) return false;
    if (s.width < 0) {
        s.align = '<';
        s.width = s.width == INT64_MIN ? INT64_MAX : -s.width;
    }
    if (*at < f->n && f->at[*at] == '.') {
        ++*at;
        if (!star_or_number(run, f, at, from, &s.precision)) return false;
        if (s.precision < 0) s.precision = 0;
    }
    while (*at < f->n && f->at[*at] && strchr("hlL", f->at[*at])) ++*at;
    if (*at >= f->n) return jinja_fail(run, HONE_ERR_ARG, "incomplete format");
    s.type = f->at[(*at)++];
    if (s.type == '%') return jinja_put(run, out, "%", 1);
    if (!s.type || !strchr("srdiuxXoeEfFgGc", s.type))
        return jinja_fail(run, HONE_ERR_ARG, "unsupported format character '%c'", s.type);
    if (!check_sizes(run, &s) || (v.type == JINJA_MISSING && !next_value(run, from, &v))) return false;
    if (!s.align) s.align = '>';
    if (s.type == 's' || s.type == 'r') {
        jinja_text text = {0};
        if (!(s.type == 's' ? jinja_str : jinja_repr)(run, v, &text) || !jinja_string_done(run, &text, &v) ||
            (from->escapes && !jinja_escaped(run, v, &v)))
            return false;
        return put_string(run, &s, v, out);
    }
    if (s.type == 'c') {
        if (v.type == JINJA_STRING && v.as.string->n_chars == 1) return put_string(run, &s, v, out);
        int64_t code;
        return jinja_index(run, v, "%c", &code) && put_char(run, &s, code, out);
    }
    if (zero && s.align != '<') {
        s.align = '=';
        s.fill[0] = '0';
        s.n_fill = 1;
    }
    return percent_number(run, &s, v, out);
}

bool jinja_percent(jinja_run *run, jinja_value format, jinja_value values, jinja_value *out) {
    const jinja_string *f = format.as.string;
    supply from = {.at = &values, .n = 1, .mapping = jinja_missing(), .single = true};
    jinja_text text = {0};
    if (values.type == JINJA_TUPLE)
        from = (supply){.at = values.as.list->at, .n = values.as.list->n, .mapping = jinja_missing()};
    if (values.type == JINJA_DICT) from.mapping = values;
    from.escapes = format.safe;
    for (size_t at = 0; at < f->n;) {
        const char *percent = memchr(f->at + at, '%', f->n - at);
        const size_t end = percent ? (size_t)(percent - f->at) : f->n;
        if (!jinja_put(run, &text, f->at + at, end - at) || !jinja_work(run, 1)) return false;
        at = end + 1;
        if (percent && !percent_one(run, f, &at, &from, &text)) return false;
    }
    /* Python lets a lone mapping or list go unused */
    if (from.n && !(from.single && values.type != JINJA_STRING && jinja_has_length(values)))
        return jinja_type_error(run, "not all arguments converted during string formatting");
    if (!jinja_string_done(run, &text, out)) return false;
    out->safe = from.escapes;
    return true;
}

/* ---- str.format ---- */

typedef struct {
    jinja_run *run;
    const jinja_args *args;
    jinja_value mapping; /* format_map */
    int64_t next;        /* automatic numbering */
    bool automatic, manual;
} formatter;

static bool read_spec(jinja_run *run, const jinja_string *t, spec *s) {
    size_t at = 0;
    uint32_t code;
    *s = (spec){.precision = -1};
    const size_t width = hone_utf8_decode(t->at, t->n, &code);
    if (width && width < t->n && t->at[width] && strchr("<>=^", t->at[width])) {
        memcpy(s->fill, t->at, width);
        s->n_fill = width;
        s->align = t->at[width];
        at = width + 1;
    } else if (t->n && t->at[0] && strchr("<>=^", t->at[0])) {
        s->align = t->at[at++];
    }
    if (at < t->n && t->at[at] && strchr("+- ", t->at[at])) s->sign = t->at[at++];
    if (at < t->n && t->at[at] == '#') {
        s->alternate = true;
        at++;
    }
    if (at < t->n && t->at[at] == '0') {
        if (!s->align) s->align = '=';
        if (!s->n_fill) s->fill[s->n_fill++] = '0';
        at++;
    }
    s->width = read_number(t, &at);
    if (at < t->n && (t->at[at] == ',' || t->at[at] == '_')) s->grouping = t->at[at++];
    if (at < t->n && t->at[at] == '.') {
        at++;
        s->precision = read_number(t, &at);
    }
    if (at < t->n) s->type = t->at[at++];
    if (at < t->n) return jinja_fail(run, HONE_ERR_ARG, "invalid format specifier");
    return true;
}

static bool format_value(jinja_run *run, jinja_value v, const jinja_string *t, jinja_text *out) {
    spec s;
    if (t->n == 0) return jinja_str(run, v, out);
    if (!read_spec(run, t, &s) || !check_sizes(run, &s)) return false;
    if (v.type == JINJA_STRING && (s.type == 0 || s.type == 's') && s.align != '=' && !s.sign && !s.grouping)
        return put_string(run, &s, v, out);
    if (jinja_is_number(v)) {
        const int64_t i = v.type == JINJA_INT ? v.as.integer : v.type == JINJA_BOOL ? v.as.boolean : 0;
        if (s.type && strchr("eEfFgG%", s.type))
            return put_float(run, &s, v.type == JINJA_FLOAT ? v.as.real : (double)i, out);
        if (v.type == JINJA_FLOAT && (s.type == 0 || s.type == 'n')) {
            if (s.precision > MAX_PRECISION)
                return jinja_fail(run, HONE_ERR_LIMIT, "a precision over %d", MAX_PRECISION);
            return put_float(run, &s, v.as.real, out);
        }
        if (v.type != JINJA_FLOAT && s.type == 'c') return put_char(run, &s, i, out);
        if (v.type != JINJA_FLOAT && (s.type == 0 || strchr("bdoxXn", s.type)) && s.precision < 0)
            return put_int(run, &s, i, out);
    }
    return jinja_fail(run, HONE_ERR_ARG, "format code '%.*s' does not fit '%s'", (int)(t->n < 40 ? t->n : 40), t->at,
                      jinja_type_name(v));
}

/* name(.attribute|[item])*, or nothing for the next positional argument. */
static bool format_field(formatter *f, const char *at, size_t n, jinja_value *out) {
    jinja_run *run = f->run;
    size_t end = 0;
    while (end < n && at[end] != '.' && at[end] != '[') end++;
    const jinja_string name = {at, end, end};
    size_t digits = 0;
    const int64_t given = read_number(&name, &digits);
    *out = jinja_missing();
    if (end == 0 || digits == end) {
        if (f->mapping.type == JINJA_MISSING) {
            const int64_t i = end ? given : f->next++;
            if (end)
                f->manual = true;
            else
                f->automatic = true;
            if (f->manual && f->automatic)
                return jinja_fail(run, HONE_ERR_ARG, "cannot mix automatic and manual field numbering");
            if (i < (int64_t)f->args->n) *out = f->args->at[i];
        }
    } else if (f->mapping.type == JINJA_MISSING) {
        for (size_t k = 0; k < f->args->n_kw; k++)
            if (f->args->kw_name[k]->n == end && memcmp(f->args->kw_name[k]->at, at, end) == 0) *out = f->args->kw[k];
    } else {
        jinja_value key;
        if (!jinja_string_copy(run, at, end, &key) || !jinja_item(run, f->mapping, key, out)) return false;
    }
    if (out->type == JINJA_MISSING)
        return jinja_fail(run, HONE_ERR_ARG, "no argument '%.*s' to format", (int)(end < 60 ? end : 60), at);
    while (end < n) {
        const bool bracket = at[end] == '[';
        size_t stop = end + 1;
        jinja_value key;
        while (stop < n && (bracket ? at[stop] != ']' : at[stop] != '.' && at[stop] != '[')) stop++;
        if (bracket && stop == n) return jinja_fail(run, HONE_ERR_ARG, "missing ']' in format string");
        const jinja_string part = {at + end + 1, stop - end - 1, 0};
        digits = 0;
        const int64_t index = read_number(&part, &digits);
        if (!jinja_work(run, 1) || !jinja_string_copy(run, part.at, part.n, &key)) return false;
        if (bracket && digits == part.n && part.n) key = jinja_int(index);
        if (!(bracket ? jinja_item(run, *out, key, out) : jinja_attribute(run, *out, key.as.string, out))) return false;
        end = stop + bracket;
    }
    return true;
}

/* The matching '}' of a field that starts at `at`, or SIZE_MAX. */
static size_t field_end(const jinja_string *s, size_t at) {
    size_t depth = 1;
    for (; at < s->n; at++) {
        if (s->at[at] == '{') depth++;
        if (s->at[at] == '}' && --depth == 0) return at;
    }
    return SIZE_MAX;
}

static bool format_text(formatter *f, const jinja_string *s, unsigned level, jinja_text *out);

static bool format_one(formatter *f, const jinja_string *s, size_t from, size_t to, unsigned level, jinja_text *out) {
    jinja_run *run = f->run;
    size_t name_end = from;
    bool bracket = false;
    for (; name_end < to && (bracket || (s->at[name_end] != '!' && s->at[name_end] != ':')); name_end++)
        bracket = s->at[name_end] == '[' || (bracket && s->at[name_end] != ']');
    jinja_value v;
    if (!format_field(f, s->at + from, name_end - from, &v)) return false;
    size_t at = name_end;
    if (at < to && s->at[at] == '!') {
        const char kind = at + 1 < to ? s->at[at + 1] : 0;
        jinja_text text = {0};
        if (kind != 'r' && kind != 's' && kind != 'a')
            return jinja_fail(run, HONE_ERR_ARG, "unknown conversion in format string");
        if (!(kind == 's' ? jinja_str : jinja_repr)(run, v, &text) || !jinja_string_done(run, &text, &v)) return false;
        at += 2;
    }
    jinja_text specification = {0};
    if (at < to) {
        if (s->at[at] != ':') return jinja_fail(run, HONE_ERR_ARG, "expected ':' after the conversion");
        const jinja_string raw = {s->at + at + 1, to - at - 1, 0};
        if (!format_text(f, &raw, level + 1, &specification)) return false;
    }
    const jinja_string done = {specification.data ? specification.data : "", specification.n, 0};
    return format_value(run, v, &done, out);
}

static bool format_text(formatter *f, const jinja_string *s, unsigned level, jinja_text *out) {
    jinja_run *run = f->run;
    if (level > 2) return jinja_fail(run, HONE_ERR_ARG, "max string recursion exceeded");
    if (!jinja_work(run, s->n / 16 + 1)) return false;
    for (size_t at = 0; at < s->n;) {
        const char c = s->at[at];
        if (c != '{' && c != '}') {
            size_t end = at;
            while (end < s->n && s->at[end] != '{' && s->at[end] != '}') end++;
            if (!jinja_put(run, out, s->at + at, end - at)) return false;
            at = end;
        } else if (at + 1 < s->n && s->at[at + 1] == c && level == 0) {
            if (!jinja_put(run, out, &c, 1)) return false;
            at += 2;
        } else {
            const size_t end = c == '{' ? field_end(s, at + 1) : SIZE_MAX;
            if (end == SIZE_MAX) return jinja_fail(run, HONE_ERR_ARG, "single '%c' encountered in format string", c);
            if (!jinja_work(run, (end - at) / 16 + 1) || !format_one(f, s, at + 1, end, level, out)) return false;
            at = end + 1;
        }
    }
    return true;
}

static bool run_formatter(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value mapping,
                          jinja_value *out) {
    formatter f = {.run = run, .args = args, .mapping = mapping};
    jinja_text text = {0};
    return format_text(&f, self.as.string, 0, &text) && jinja_string_done(run, &text, out);
}

bool jinja_string_format(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return run_formatter(run, self, args, jinja_missing(), out);
}

bool jinja_string_format_map(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_value mapping;
    return jinja_bind(run, "format_map", args, 1, 1, NULL, &mapping) && run_formatter(run, self, args, mapping, out);
}
