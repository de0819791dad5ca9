/* number.c - + - * / // % ** by Python's rules, and text to numbers.
 *
 * Integers are 64 bits; where Python would go on with more, the result is HONE_ERR_LIMIT and never a wrong number.
 * Order: integers, floats, sequences, the operators, conversions, round. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/template/value.h"

static bool overflow(jinja_run *run) {
    return jinja_fail(run, HONE_ERR_LIMIT, "an integer beyond 64 bits");
}
static bool by_zero(jinja_run *run) {
    return jinja_fail(run, HONE_ERR_ARG, "division by zero");
}

/* ---- Integers ---- */

static bool int_power(jinja_run *run, int64_t base, int64_t exponent, jinja_value *out) {
    if (exponent < 0) {
        if (base == 0) return jinja_fail(run, HONE_ERR_ARG, "0 cannot be raised to a negative power");
        *out = jinja_float(pow((double)base, (double)exponent));
        return true;
    }
    int64_t result = 1;
    while (exponent) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return overflow(run);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) return overflow(run);
    }
    *out = jinja_int(result);
    return true;
}

static bool int_operation(jinja_run *run, jinja_operator op, int64_t a, int64_t b, jinja_value *out) {
    int64_t r = 0;
    switch (op) {
    case JINJA_ADD:
        if (__builtin_add_overflow(a, b, &r)) return overflow(run);
        break;
    case JINJA_SUB:
        if (__builtin_sub_overflow(a, b, &r)) return overflow(run);
        break;
    case JINJA_MUL:
        if (__builtin_mul_overflow(a, b, &r)) return overflow(run);
        break;
    case JINJA_DIV:
        if (b == 0) return by_zero(run);
        *out = jinja_float((double)((long double)a / (long double)b));
        return true;
    case JINJA_FLOORDIV:
    case JINJA_MOD:
        if (b == 0) return by_zero(run);
        if (b == -1) { /* INT64_MIN / -1 traps */
            if (op == JINJA_FLOORDIV && a == INT64_MIN) return overflow(run);
            r = op == JINJA_MOD ? 0 : -a;
            break;
        }
        r = op == JINJA_MOD ? a % b : a / b;
        if (a % b != 0 && (a < 0) != (b < 0)) r += op == JINJA_MOD ? b : -1; /* towards minus infinity */
        break;
    case JINJA_POW: return int_power(run, a, b, out);
    }
    *out = jinja_int(r);
    return true;
}

/* ---- Floats ---- */

static double floor_divide(double a, double b, double *remainder) {
    double mod = fmod(a, b), div = (a - mod) / b;
    if (mod != 0) {
        if ((b < 0) != (mod < 0)) {
            mod += b;
            div -= 1;
        }
    } else {
        mod = copysign(0, b);
    }
    *remainder = mod;
    if (div == 0) return copysign(0, a / b);
    const double whole = floor(div);
    return div - whole > 0.5 ? whole + 1 : whole;
}

static bool float_operation(jinja_run *run, jinja_operator op, double a, double b, jinja_value *out) {
    double r = 0, mod;
    switch (op) {
    case JINJA_ADD: r = a + b; break;
    case JINJA_SUB: r = a - b; break;
    case JINJA_MUL: r = a * b; break;
    case JINJA_DIV:
        if (b == 0) return by_zero(run);
        r = a / b;
        break;
    case JINJA_FLOORDIV:
    case JINJA_MOD:
        if (b == 0) return by_zero(run);
        r = floor_divide(a, b, &mod);
        if (op == JINJA_MOD) r = mod;
        break;
    case JINJA_POW:
        if (a == 0 && b < 0) return jinja_fail(run, HONE_ERR_ARG, "0.0 cannot be raised to a negative power");
        if (a < 0 && b != floor(b) && !isinf(b)) return jinja_fail(run, HONE_ERR_UNSUPPORTED, "complex numbers");
        r = pow(a, b);
        if (isinf(r) && !isinf(a) && !isinf(b)) return jinja_fail(run, HONE_ERR_ARG, "numerical result out of range");
        break;
    }
    *out = jinja_float(r);
    return true;
}

/* ---- Sequences ---- */

bool jinja_repeat(jinja_run *run, jinja_value v, int64_t times, jinja_value *out) {
    if (times < 0) times = 0;
    size_t bytes;
    if (v.type == JINJA_STRING) {
        const jinja_string *s = v.as.string;
        const bool safe = v.safe;
        if (__builtin_mul_overflow(s->n, (size_t)times, &bytes)) bytes = SIZE_MAX;
        char *text = jinja_get(run, bytes, 1);
        if (!text || !jinja_work(run, bytes / 16)) return false;
        if (s->n == 1)
            memset(text, s->at[0], bytes);
        else if (s->n)
            for (size_t i = 0; i < (size_t)times; i++) memcpy(text + i * s->n, s->at, s->n);
        if (!jinja_string_borrow(run, text, bytes, out)) return false;
        out->safe = safe;
        return true;
    }
    const jinja_list *list = v.as.list;
    size_t n;
    if (__builtin_mul_overflow(list->n, (size_t)times, &n)) n = SIZE_MAX;
    jinja_value *items = jinja_get(run, n, sizeof(*items));
    if (!items || !jinja_work(run, n)) return false;
    for (size_t i = 0; list->n && i < (size_t)times; i++)
        memcpy(items + i * list->n, list->at, list->n * sizeof(*items));
    return jinja_list_new(run, (jinja_type)v.type, items, n, out);
}

bool jinja_escaped(jinja_run *run, jinja_value v, jinja_value *out) {
    jinja_text text = {0};
    *out = v;
    if (v.safe) return true;
    if (!jinja_escape_into(run, v.as.string, &text) || !jinja_string_done(run, &text, out)) return false;
    out->safe = true;
    return true;
}

static bool add_strings(jinja_run *run, jinja_value a, jinja_value b, jinja_value *out) {
    const bool safe = a.safe || b.safe;
    if (safe && (!jinja_escaped(run, a, &a) || !jinja_escaped(run, b, &b))) return false;
    const jinja_string *p = a.as.string, *q = b.as.string;
    char *bytes = jinja_get(run, p->n + q->n, 1); /* both lie in this address space: no overflow */
    if (!bytes || !jinja_work(run, (p->n + q->n) / 16)) return false;
    if (p->n) memcpy(bytes, p->at, p->n);
    if (q->n) memcpy(bytes + p->n, q->at, q->n);
    jinja_string *s = jinja_get(run, 1, sizeof(*s));
    if (!s) return false;
    *s = (jinja_string){bytes, p->n + q->n, p->n_chars + q->n_chars};
    *out = (jinja_value){.type = JINJA_STRING, .safe = safe, .as.string = s};
    return true;
}

static bool add_lists(jinja_run *run, jinja_value a, jinja_value b, jinja_value *out) {
    const jinja_list *p = a.as.list, *q = b.as.list;
    jinja_value *items = jinja_get(run, p->n + q->n, sizeof(*items));
    if (!items || !jinja_work(run, (p->n + q->n) / 4)) return false;
    if (p->n) memcpy(items, p->at, p->n * sizeof(*items));
    if (q->n) memcpy(items + p->n, q->at, q->n * sizeof(*items));
    return jinja_list_new(run, (jinja_type)a.type, items, p->n + q->n, out);
}

/* ---- The operators ---- */

static bool is_int(jinja_value v) {
    return v.type == JINJA_INT || v.type == JINJA_BOOL;
}
static int64_t as_int(jinja_value v) {
    return v.type == JINJA_INT ? v.as.integer : v.as.boolean;
}
static double as_float(jinja_value v) {
    return v.type == JINJA_FLOAT ? v.as.real : (double)as_int(v);
}
static bool repeats(jinja_value v) {
    return v.type == JINJA_STRING || v.type == JINJA_LIST || v.type == JINJA_TUPLE;
}

bool jinja_arithmetic(jinja_run *run, jinja_operator op, jinja_value a, jinja_value b, jinja_value *out) {
    static const char *const sign[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
    if (is_int(a) && is_int(b)) return int_operation(run, op, as_int(a), as_int(b), out);
    if (jinja_is_number(a) && jinja_is_number(b)) return float_operation(run, op, as_float(a), as_float(b), out);
    if (op == JINJA_MOD && a.type == JINJA_STRING) return jinja_percent(run, a, b, out);
    if (a.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, a);
    if (b.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, b);
    if (op == JINJA_ADD && a.type == b.type) {
        if (a.type == JINJA_STRING) return add_strings(run, a, b, out);
        if (a.type == JINJA_LIST || a.type == JINJA_TUPLE) return add_lists(run, a, b, out);
    }
    if (op == JINJA_MUL && repeats(a) && is_int(b)) return jinja_repeat(run, a, as_int(b), out);
    if (op == JINJA_MUL && is_int(a) && repeats(b)) return jinja_repeat(run, b, as_int(a), out);
    if (op == JINJA_ADD && repeats(a))
        return jinja_type_error(run, "can only concatenate %s (not \"%s\") to %s", jinja_type_name(a),
                                jinja_type_name(b), jinja_type_name(a));
    return jinja_type_error(run, "unsupported operand types for %s: '%s' and '%s'", sign[op], jinja_type_name(a),
                            jinja_type_name(b));
}

bool jinja_negate(jinja_run *run, jinja_value v, bool minus, jinja_value *out) {
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, v);
    if (v.type == JINJA_FLOAT) {
        *out = jinja_float(minus ? -v.as.real : v.as.real);
        return true;
    }
    if (!is_int(v))
        return jinja_type_error(run, "bad operand type for unary %c: '%s'", minus ? '-' : '+', jinja_type_name(v));
    if (minus && as_int(v) == INT64_MIN) return overflow(run);
    *out = jinja_int(minus ? -as_int(v) : as_int(v));
    return true;
}

bool jinja_index(jinja_run *run, jinja_value v, const char *what, int64_t *out) {
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, v);
    if (!is_int(v)) return jinja_type_error(run, "%s must be an integer, not %s", what, jinja_type_name(v));
    *out = as_int(v);
    return true;
}

/* ---- Conversions ---- */

bool jinja_truncate(double f, int64_t *out) {
    if (!(f > -9223372036854775809.0 && f < 9223372036854775808.0)) return false;
    *out = (int64_t)f;
    return true;
}

/* Without the white space around it. */
static jinja_string stripped(const jinja_string *s) {
    size_t from = 0, to = s->n;
    uint32_t code;
    for (size_t width; (width = hone_utf8_decode(s->at + from, to - from, &code)) && jinja_is_space(code);)
        from += width;
    while (to > from) {
        size_t start = to - 1;
        while (start > from && ((unsigned char)s->at[start] & 0xc0) == 0x80) start--;
        if (!hone_utf8_decode(s->at + start, to - start, &code) || !jinja_is_space(code)) break;
        to = start;
    }
    return (jinja_string){s->at + from, to - from, 0};
}

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

bool jinja_parse_int(const jinja_string *text, int base, int64_t *out, bool *too_large) {
    const jinja_string s = stripped(text);
    size_t i = 0;
    const bool minus = s.n && s.at[0] == '-';
    if (s.n && (s.at[0] == '-' || s.at[0] == '+')) i++;
    *too_large = false;
    if (i + 1 < s.n && s.at[i] == '0') {
        const int named = digit(s.at[i + 1]) == 33   ? 16
                          : digit(s.at[i + 1]) == 24 ? 8
                          : digit(s.at[i + 1]) == 11 ? 2
                                                     : 0;
        if (named && (base == named || base == 0)) {
            base = named;
            i += 2;
            if (i < s.n && s.at[i] == '_') i++;
        }
    }
    if (base == 0) base = 10;
    int64_t value = 0;
    bool last_was_digit = false;
    for (; i < s.n; i++) {
        if (s.at[i] == '_' && last_was_digit) {
            last_was_digit = false;
            continue;
        }
        const int d = digit(s.at[i]);
        if (d >= base) return false;
        if (__builtin_mul_overflow(value, base, &value) || __builtin_sub_overflow(value, d, &value)) *too_large = true;
        last_was_digit = true;
    }
    if (!last_was_digit || *too_large) return false;
    if (!minus && value == INT64_MIN) {
        *too_large = true;
        return false;
    }
    *out = minus ? value : -value; /* gathered below zero, where there is room for INT64_MIN */
    return true;
}

bool jinja_parse_float(const jinja_string *text, double *out) {
    const jinja_string s = stripped(text);
    char plain[512];
    size_t n = 0;
    bool digits = false, words = false;
    for (size_t i = 0; i < s.n; i++) {
        const char c = s.at[i];
        const char low = (char)(c | 0x20);
        if (c == '_') {
            if (!i || i + 1 == s.n || digit(s.at[i - 1]) > 9 || digit(s.at[i + 1]) > 9) return false;
            continue;
        }
        if (n + 1 == sizeof(plain)) return false;
        if (c >= '0' && c <= '9')
            digits = true;
        else if (low >= 'a' && low <= 'z' && low != 'e')
            words = true;
        else if (low != 'e' && c != '.' && c != '+' && c != '-')
            return false;
        plain[n++] = c;
    }
    plain[n] = 0;
    if (!n) return false;
    if (words || !digits) { /* inf, infinity, nan with a sign; strtod knows more than Python does */
        const char *word = plain + (plain[0] == '+' || plain[0] == '-');
        if (strcasecmp(word, "inf") != 0 && strcasecmp(word, "infinity") != 0 && strcasecmp(word, "nan") != 0)
            return false;
    }
    char *end;
    *out = strtod(plain, &end);
    return end == plain + n;
}

/* ---- round(v, digits): to even, on the exact decimal value ---- */

bool jinja_round(jinja_run *run, jinja_value v, int64_t digits, jinja_value *out) {
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, v);
    if (!jinja_is_number(v)) return jinja_type_error(run, "type %s cannot be rounded", jinja_type_name(v));
    if (v.type != JINJA_FLOAT) {
        int64_t i = as_int(v), unit = 1;
        for (; digits < 0 && unit <= INT64_MAX / 10; digits++) unit *= 10;
        if (digits < 0) {
            *out = jinja_int(0);
            return true;
        }
        const int64_t rest = ((i % unit) + unit) % unit;
        int64_t base;
        if (__builtin_sub_overflow(i, rest, &base)) return overflow(run);
        const bool up = rest > unit - rest || (rest == unit - rest && (base / unit) % 2 != 0);
        if (up && unit > 1 && __builtin_add_overflow(base, unit, &base)) return overflow(run);
        *out = jinja_int(unit > 1 ? base : i);
        return true;
    }
    const double f = v.as.real;
    if (isnan(f) || isinf(f) || digits > 323) {
        *out = v;
        return true;
    }
    if (digits < -308) {
        *out = jinja_float(copysign(0, f));
        return true;
    }
    if (digits >= 0) {
        char text[700]; /* 309 digits before the point, 323 behind */
        snprintf(text, sizeof(text), "%.*f", (int)digits, f);
        *out = jinja_float(strtod(text, NULL));
        return true;
    }
    const double unit = pow(10, (double)-digits);
    *out = jinja_float(nearbyint(f / unit) * unit);
    return true;
}
