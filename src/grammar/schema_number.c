/* schema_number.c - what keywords for numbers demand, exactly, as a regular language of spellings.
 *
 * Bounds are compared digit by digit, so there is no rounding.  A language here never has an exponent and holds all
 * spellings of a value or none (1, 1.0, 1.00), which makes intersection and complement those of the values.  What is
 * written at last is narrower: integers without a fraction, listed values in their shortest spelling; only a number of
 * which nothing is demanded may have an exponent.
 *
 * Order: decimals, comparisons, multiples, keywords, the opposite, values, spellings. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/schema_impl.h"

/* ---- Decimals ---- */

#define DIGITS_MAX 400u

typedef struct {
    bool negative;
    char whole[DIGITS_MAX + 1], fraction[DIGITS_MAX + 1]; /* no leading, no trailing zeros; whole is "0" at least */
    uint32_t n_whole, n_fraction;
} decimal;

/* A double is taken as the shortest decimal that reads back as itself, which is how it stood in the document. */
static bool decimal_of(const json_t *v, decimal *d) {
    char text[64];
    memset(d, 0, sizeof(*d));
    if (json_is_integer(v))
        snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else {
        const double x = json_real_value(v);
        if (!isfinite(x)) return false;
        for (int p = 1; p <= 17; p++) {
            snprintf(text, sizeof(text), "%.*e", p - 1, x);
            if (strtod(text, NULL) == x) break;
        }
    }
    const char *p = text;
    if (*p == '-') p++, d->negative = true;
    char digit[64];
    int32_t n = 0, point = 0, exponent = 0;
    bool seen = false;
    for (; *p && *p != 'e'; p++) {
        if (*p == '.')
            seen = true;
        else {
            digit[n++] = *p;
            if (!seen) point++;
        }
    }
    if (*p == 'e') exponent = (int32_t)strtol(p + 1, NULL, 10);
    point += exponent;
    if (point > (int32_t)DIGITS_MAX - 64 || point < -(int32_t)(DIGITS_MAX - 64)) return false;
    for (int32_t i = point < 0 ? point : 0; i < n || i < point; i++) {
        const char x = i >= 0 && i < n ? digit[i] : '0';
        if (i < point) {
            if (d->n_whole || x != '0') d->whole[d->n_whole++] = x;
        } else
            d->fraction[d->n_fraction++] = x;
    }
    if (d->n_whole == 0) d->whole[d->n_whole++] = '0';
    while (d->n_fraction && d->fraction[d->n_fraction - 1] == '0') d->n_fraction--;
    d->fraction[d->n_fraction] = d->whole[d->n_whole] = 0;
    if (d->n_fraction == 0 && d->n_whole == 1 && d->whole[0] == '0') d->negative = false;
    return true;
}

/* ---- Comparisons of magnitudes ---- */

static hone_rx digits(sc_context *c, uint32_t first, uint32_t last) { /* one digit out of first ... last */
    uint8_t bits[32] = {0};
    for (uint32_t i = first; i <= last && i <= 9; i++) bits[(48 + i) / 8] |= (uint8_t)(1u << ((48 + i) % 8));
    return hone_rx_class(c->r, bits);
}
static hone_rx any_digits(sc_context *c, uint32_t min, uint32_t max) {
    return hone_rx_repeat(c->r, digits(c, 0, 9), min, max);
}
static hone_rx text(sc_context *c, const char *s, size_t n) {
    return hone_rx_bytes(c->r, s, n);
}
static hone_rx optional(sc_context *c, hone_rx a) {
    return hone_rx_alt(c->r, a, HONE_RX_EMPTY);
}
static hone_rx any_fraction(sc_context *c) {
    return optional(c, hone_rx_cat(c->r, text(c, ".", 1), any_digits(c, 1, SC_UNBOUNDED)));
}
static hone_rx zero_fraction(sc_context *c) {
    return optional(c, hone_rx_cat(c->r, text(c, ".", 1), hone_rx_repeat(c->r, digits(c, 0, 0), 1, SC_UNBOUNDED)));
}
static hone_rx whole(sc_context *c) {
    return hone_rx_alt(c->r, digits(c, 0, 0), hone_rx_cat(c->r, digits(c, 1, 9), any_digits(c, 0, SC_UNBOUNDED)));
}
static hone_rx magnitude(sc_context *c) {
    return hone_rx_cat(c->r, whole(c), any_fraction(c));
}
static hone_rx some_digit(sc_context *c) { /* digits that are not all 0 */
    return hone_rx_cat(c->r, any_digits(c, 0, SC_UNBOUNDED),
                       hone_rx_cat(c->r, digits(c, 1, 9), any_digits(c, 0, SC_UNBOUNDED)));
}

static hone_rx at_least(sc_context *c, const decimal *d, bool more) {
    hone_regular *r = c->r;
    hone_rx tail;
    if (d->n_fraction == 0)
        tail = more ? hone_rx_cat(r, text(c, ".", 1), some_digit(c)) : any_fraction(c);
    else {
        tail = more ? some_digit(c) : any_digits(c, 0, SC_UNBOUNDED);
        for (uint32_t i = d->n_fraction; i-- > 0;) {
            const uint32_t x = (uint32_t)(d->fraction[i] - '0');
            tail = hone_rx_cat(r, digits(c, x, x), tail);
            if (x < 9) tail = hone_rx_alt(r, tail, hone_rx_cat(r, digits(c, x + 1, 9), any_digits(c, 0, SC_UNBOUNDED)));
        }
        tail = hone_rx_cat(r, text(c, ".", 1), tail);
    }
    for (uint32_t i = d->n_whole; i-- > 0;) {
        const uint32_t x = (uint32_t)(d->whole[i] - '0'), left = d->n_whole - i - 1;
        tail = hone_rx_cat(r, digits(c, x, x), tail);
        if (x < 9)
            tail = hone_rx_alt(
                r, tail,
                hone_rx_cat(r, digits(c, x + 1, 9), hone_rx_cat(r, any_digits(c, left, left), any_fraction(c))));
    }
    const hone_rx longer =
        hone_rx_cat(r, digits(c, 1, 9), hone_rx_cat(r, any_digits(c, d->n_whole, SC_UNBOUNDED), any_fraction(c)));
    return hone_rx_alt(r, tail, longer);
}

static hone_rx at_most(sc_context *c, const decimal *d, bool less) {
    hone_regular *r = c->r;
    hone_rx tail;
    if (d->n_fraction == 0)
        tail = less ? HONE_RX_NONE : zero_fraction(c);
    else {
        tail = less ? HONE_RX_NONE : hone_rx_repeat(r, digits(c, 0, 0), 0, SC_UNBOUNDED);
        for (uint32_t i = d->n_fraction; i-- > 0;) {
            const uint32_t x = (uint32_t)(d->fraction[i] - '0');
            tail = hone_rx_cat(r, digits(c, x, x), tail);
            if (x > 0) tail = hone_rx_alt(r, tail, hone_rx_cat(r, digits(c, 0, x - 1), any_digits(c, 0, SC_UNBOUNDED)));
            if (i > 0) tail = optional(c, tail); /* what ends here is smaller: the last digit of d is not 0 */
        }
        tail = optional(c, hone_rx_cat(r, text(c, ".", 1), tail));
    }
    for (uint32_t i = d->n_whole; i-- > 0;) {
        const uint32_t x = (uint32_t)(d->whole[i] - '0'), left = d->n_whole - i - 1;
        const uint32_t first = i == 0 && d->n_whole > 1 ? 1 : 0;
        tail = hone_rx_cat(r, digits(c, x, x), tail);
        if (x > first)
            tail = hone_rx_alt(
                r, tail,
                hone_rx_cat(r, digits(c, first, x - 1), hone_rx_cat(r, any_digits(c, left, left), any_fraction(c))));
    }
    if (d->n_whole == 1) return tail;
    const hone_rx shorter = hone_rx_cat(
        r, hone_rx_alt(r, digits(c, 0, 0), hone_rx_cat(r, digits(c, 1, 9), any_digits(c, 0, d->n_whole - 2))),
        any_fraction(c));
    return hone_rx_alt(r, tail, shorter);
}

static hone_rx with_sign(sc_context *c, hone_rx positive, hone_rx negative) {
    return hone_rx_alt(c->r, positive, hone_rx_cat(c->r, text(c, "-", 1), negative));
}

/* -0 is 0. */
static hone_rx bound_below(sc_context *c, decimal d, bool strictly) {
    const bool zero = d.n_fraction == 0 && d.n_whole == 1 && d.whole[0] == '0';
    if (d.negative) return with_sign(c, magnitude(c), at_most(c, &d, strictly));
    const hone_rx minus = zero && !strictly ? hone_rx_cat(c->r, digits(c, 0, 0), zero_fraction(c)) : HONE_RX_NONE;
    return with_sign(c, at_least(c, &d, strictly), minus);
}
static hone_rx bound_above(sc_context *c, decimal d, bool strictly) {
    const bool zero = d.n_fraction == 0 && d.n_whole == 1 && d.whole[0] == '0';
    if (d.negative) return with_sign(c, HONE_RX_NONE, at_least(c, &d, strictly));
    if (zero && strictly) return with_sign(c, HONE_RX_NONE, at_least(c, &d, true));
    return with_sign(c, at_most(c, &d, strictly), magnitude(c));
}

static hone_rx all_decimals(sc_context *c) {
    if (c->decimal == HONE_RX_FAIL) c->decimal = with_sign(c, magnitude(c), magnitude(c));
    return c->decimal;
}

hone_rx sc_number_integers(sc_context *c) {
    if (c->integers == HONE_RX_FAIL) {
        const hone_rx one = hone_rx_cat(c->r, whole(c), zero_fraction(c));
        c->integers = with_sign(c, one, one);
    }
    return c->integers;
}

hone_rx sc_number_except(sc_context *c, hone_rx values) {
    return hone_rx_and(c->r, all_decimals(c), hone_rx_not(c->r, values));
}

/* ---- Multiples ---- */

/* value = whole.fraction is a multiple of m = M / 10^k when its digits, k of them behind the point and zeros after
 * those, are a multiple of M. */
static bool multiple_of(sc_context *c, uint32_t node, hone_rx *out) {
    const json_t *v = json_object_get(c->node[node].json, "multipleOf");
    decimal d;
    if (!json_is_number(v) || json_number_value(v) <= 0 || !decimal_of(v, &d))
        return sc_refuse(c, HONE_ERR_FORMAT, node, "multipleOf", "must be a positive number");
    uint64_t m = 0;
    for (uint32_t i = 0; i < d.n_whole + d.n_fraction; i++) {
        m = m * 10 + (uint64_t)((i < d.n_whole ? d.whole[i] : d.fraction[i - d.n_whole]) - '0');
        if (m > 100000000u) return sc_refuse(c, HONE_ERR_UNSUPPORTED, node, "multipleOf", "has too many digits");
    }
    const hone_rx one = hone_rx_and(c->r, magnitude(c), hone_rx_multiple(c->r, (uint32_t)m, d.n_fraction));
    *out = with_sign(c, one, one);
    return sc_ok(c);
}

/* ---- Keywords ---- */

typedef struct {
    bool set, strict;
    const char *key;
    hone_rx rx, opposite;
} bound;

static bool read_bound(sc_context *c, uint32_t node, const char *key, const char *exclusive, bool above, bound out[2]) {
    const json_t *json = c->node[node].json, *v = json_object_get(json, key), *x = json_object_get(json, exclusive);
    memset(out, 0, 2 * sizeof(*out));
    const json_t *value[2] = {v, json_is_boolean(x) ? NULL : x}; /* draft 4: true beside the bound */
    for (int i = 0; i < 2; i++) {
        if (!value[i]) continue;
        decimal d;
        const char *at = i ? exclusive : key;
        if (!json_is_number(value[i])) return sc_refuse(c, HONE_ERR_FORMAT, node, at, "must be a number");
        if (!decimal_of(value[i], &d)) return sc_refuse(c, HONE_ERR_UNSUPPORTED, node, at, "has too many digits");
        const bool strict = i == 1 || json_is_true(x);
        out[i].set = true;
        out[i].key = at;
        out[i].rx = above ? bound_above(c, d, strict) : bound_below(c, d, strict);
        out[i].opposite = above ? bound_below(c, d, !strict) : bound_above(c, d, !strict);
    }
    return sc_ok(c);
}

static bool read_bounds(sc_context *c, uint32_t node, bound all[4]) {
    return read_bound(c, node, "minimum", "exclusiveMinimum", false, all) &&
           read_bound(c, node, "maximum", "exclusiveMaximum", true, all + 2);
}

bool sc_number(sc_context *c, uint32_t node, sc_case *out) {
    bound all[4];
    if (!read_bounds(c, node, all)) return false;
    for (int i = 0; i < 4; i++)
        if (all[i].set) out->number = hone_rx_and(c->r, out->number, all[i].rx);
    if (json_object_get(c->node[node].json, "multipleOf")) {
        hone_rx m;
        if (!multiple_of(c, node, &m)) return false;
        out->number = hone_rx_and(c->r, out->number, m);
    }
    return sc_ok(c);
}

/* ---- The opposite ---- */

void sc_number_not(sc_context *c, uint32_t node, sc_cases *out) {
    bound all[4];
    sc_case one = sc_case_any(c);
    one.types = SC_NUMBER;
    if (!read_bounds(c, node, all)) return;
    for (int i = 0; i < 4; i++) {
        if (!all[i].set) continue;
        one.number = all[i].opposite;
        sc_cases_add(c, out, &one);
    }
    if (json_object_get(c->node[node].json, "multipleOf")) {
        hone_rx m;
        if (!multiple_of(c, node, &m)) return;
        one.number = sc_number_except(c, m);
        sc_cases_add(c, out, &one);
    }
}

/* ---- Values ---- */

hone_rx sc_number_value(sc_context *c, const json_t *value) {
    decimal d;
    if (!decimal_of(value, &d)) {
        sc_refuse(c, HONE_ERR_UNSUPPORTED, 0, NULL, "a number has too many digits");
        return HONE_RX_FAIL;
    }
    hone_rx fraction = zero_fraction(c);
    if (d.n_fraction) {
        fraction = hone_rx_cat(c->r, text(c, d.fraction, d.n_fraction),
                               hone_rx_repeat(c->r, digits(c, 0, 0), 0, SC_UNBOUNDED));
        fraction = hone_rx_cat(c->r, text(c, ".", 1), fraction);
    }
    const hone_rx one = hone_rx_cat(c->r, text(c, d.whole, d.n_whole), fraction);
    const bool zero = d.n_fraction == 0 && d.n_whole == 1 && d.whole[0] == '0';
    return with_sign(c, d.negative ? HONE_RX_NONE : one, d.negative || zero ? one : HONE_RX_NONE);
}

/* ---- Spellings ---- */

hone_rx sc_number_gx(sc_context *c, const sc_case *one) {
    hone_regular *r = c->r;
    if (one->number == c->all && !one->integer) {
        if (c->spelling == HONE_RX_FAIL) {
            uint8_t e[32] = {0}, sign[32] = {0};
            e['e' / 8] = (uint8_t)(1u << ('e' % 8));
            e['E' / 8] |= (uint8_t)(1u << ('E' % 8));
            sign['+' / 8] = (uint8_t)(1u << ('+' % 8));
            sign['-' / 8] |= (uint8_t)(1u << ('-' % 8));
            hone_rx power = hone_rx_cat(r, optional(c, hone_rx_class(r, sign)), any_digits(c, 1, 3));
            power = optional(c, hone_rx_cat(r, hone_rx_class(r, e), power));
            c->spelling = hone_rx_cat(r, optional(c, text(c, "-", 1)), hone_rx_cat(r, magnitude(c), power));
        }
        return c->spelling;
    }
    hone_rx form = all_decimals(c);
    const hone_rx sign = optional(c, text(c, "-", 1));
    if (one->integer)
        form = hone_rx_cat(r, sign, whole(c));
    else if (one->listed) {
        const hone_rx trimmed = hone_rx_cat(r, any_digits(c, 0, SC_UNBOUNDED), digits(c, 1, 9));
        const hone_rx short_fraction = hone_rx_cat(r, text(c, ".", 1), hone_rx_alt(r, digits(c, 0, 0), trimmed));
        form = hone_rx_cat(r, sign, hone_rx_cat(r, whole(c), optional(c, short_fraction)));
    }
    if (one->number == c->all || (one->integer && one->number == sc_number_integers(c))) return form;
    return hone_rx_and(r, form, one->number);
}
