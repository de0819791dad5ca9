/* schema_string.c - what keywords for strings demand, as a regular language of the decoded text.
 * Formats are those of JSON Schema 2020-12 that are regular languages, in the grammars of their RFCs; a standard one
 * that is not here is refused, an unknown one is an annotation, as the specification has it.
 * Order: formats, keywords, the opposite. */
#include <string.h>

#include "grammar/schema_impl.h"

/* ---- Formats ---- */

#define OCTET "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define IPV4 "(" OCTET "\\.){3}" OCTET
#define H16 "[0-9A-Fa-f]{1,4}"
#define LS32 "(" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                                           \
    "((" H16 ":){6}" LS32 "|::(" H16 ":){5}" LS32 "|(" H16 ")?::(" H16 ":){4}" LS32 "|((" H16 ":){0,1}" H16            \
    ")?::(" H16 ":){3}" LS32 "|((" H16 ":){0,2}" H16 ")?::(" H16 ":){2}" LS32 "|((" H16 ":){0,3}" H16 ")?::" H16       \
    ":" LS32 "|((" H16 ":){0,4}" H16 ")?::" LS32 "|((" H16 ":){0,5}" H16 ")?::" H16 "|((" H16 ":){0,6}" H16 ")?::)"
/* February has 29 days in leap years alone: the pattern knows the Gregorian rule. */
#define YEAR "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])" /* many readers begin with year 1 */
#define QUARTER "(0[48]|[2468][048]|[13579][26])"
#define LEAP "([0-9]{2}" QUARTER "|" QUARTER "00)"
#define DATE                                                                                                           \
    "(" YEAR "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])" \
    ")|" LEAP "-02-29)"
#define ZONE "([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?" ZONE
/* Not two hyphens in places 3 and 4: xn-- begins an encoded international name, whose rules are no regular language. */
#define ALNUM "[A-Za-z0-9]"
#define HYPHEN "[A-Za-z0-9-]"
#define LABEL                                                                                                          \
    ALNUM "(" ALNUM "|" HYPHEN ALNUM "|" HYPHEN HYPHEN ALNUM "|" HYPHEN "(" ALNUM HYPHEN "|-" ALNUM ")" HYPHEN         \
          "{0,58}" ALNUM ")?"
#define HOST LABEL "(\\." LABEL ")*"
#define UNRESERVED "A-Za-z0-9._~\\-"
#define DELIMS "!$&'()*+,;="
#define ESCAPED "%[0-9A-Fa-f]{2}"
#define PCHAR "([" UNRESERVED DELIMS ":@]|" ESCAPED ")"
#define AUTHORITY                                                                                                      \
    "(([" UNRESERVED DELIMS ":]|" ESCAPED ")*@)?(\\[(" IPV6 "|v[0-9A-Fa-f]+\\.[" UNRESERVED DELIMS                     \
    ":]+)\\]|([" UNRESERVED DELIMS "]|" ESCAPED ")*)(:[0-9]*)?"
#define TAIL "(\\?(" PCHAR "|[/?])*)?(#(" PCHAR "|[/?])*)?"
#define URI                                                                                                            \
    "[A-Za-z][A-Za-z0-9+.-]*:(//" AUTHORITY "(/" PCHAR "*)*|/(" PCHAR "+(/" PCHAR "*)*)?|" PCHAR "+(/" PCHAR           \
    "*)*|)" TAIL
#define RELATIVE                                                                                                       \
    "(//" AUTHORITY "(/" PCHAR "*)*|/(" PCHAR "+(/" PCHAR "*)*)?|([" UNRESERVED DELIMS "@]|" ESCAPED ")+(/" PCHAR      \
    "*)*|)" TAIL
#define NAME_CHAR "([A-Za-z0-9_]|" ESCAPED ")"
#define VARIABLE NAME_CHAR "(\\.?" NAME_CHAR ")*(:[1-9][0-9]{0,3}|\\*)?"
#define ATEXT "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"

static const struct {
    const char *name, *pattern;
} formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "[Tt]" TIME},
    {"duration",
     "P([0-9]+W|([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)(T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M("
     "[0-9]+S)?|[0-9]+S))?|T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))"},
    {"email", ATEXT "+(\\." ATEXT "+)*@" HOST},
    {"hostname", HOST},
    {"ipv4", IPV4},
    {"ip-address", IPV4},
    {"ipv6", IPV6},
    {"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"},
    {"uri", URI},
    {"uri-reference", "(" URI "|" RELATIVE ")"},
    {"json-pointer", "(/([^~/]|~[01])*)*"},
    {"relative-json-pointer", "(0|[1-9][0-9]*)(#|(/([^~/]|~[01])*)*)"},
    {"byte", "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"},
    {"uri-template", "([!#$&(-;=?-\\[\\]_a-z~]|" ESCAPED "|\\{[+#./;?&=,!@|]?" VARIABLE "(," VARIABLE ")*\\})*"},
};
_Static_assert(sizeof(formats) / sizeof(*formats) <= 16, "sc_context.format");
static const char *const refused[] = {"idn-email", "idn-hostname", "iri", "iri-reference", "regex"};

static hone_rx format_of(sc_context *c, uint32_t node) {
    const json_t *v = json_object_get(c->node[node].json, "format");
    const char *name = json_string_value(v);
    if (!v) return c->all;
    if (!name) {
        sc_refuse(c, HONE_ERR_FORMAT, node, "format", "must be a string");
        return HONE_RX_FAIL;
    }
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
        if (strcmp(formats[i].name, name) != 0) continue;
        if (c->format[i] != HONE_RX_FAIL) return c->format[i];
        hone_rx out;
        hone_error inner = {0};
        if (hone_rx_pattern(c->r, formats[i].pattern, strlen(formats[i].pattern), false, &out, &inner) != HONE_OK) {
            sc_refuse(c, inner.code, node, "format", "%s", inner.message);
            return HONE_RX_FAIL;
        }
        if (strcmp(name, "hostname") == 0) { /* RFC 1035: at most 253 characters */
            uint8_t any[32];
            memset(any, 0xFF, sizeof(any));
            const hone_rx byte = hone_rx_class(c->r, any);
            out = hone_rx_and(c->r, out, hone_rx_repeat(c->r, byte, 1, 253));
        }
        return c->format[i] = out;
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
        if (strcmp(refused[i], name) == 0) {
            sc_refuse(c, HONE_ERR_UNSUPPORTED, node, "format", "%s is not supported", name);
            return HONE_RX_FAIL;
        }
    return c->all;
}

/* ---- Keywords ---- */

static hone_rx pattern_of(sc_context *c, uint32_t node) {
    const json_t *v = json_object_get(c->node[node].json, "pattern");
    if (!v) return c->all;
    hone_rx out = HONE_RX_FAIL;
    hone_error inner = {0};
    if (!json_is_string(v))
        sc_refuse(c, HONE_ERR_FORMAT, node, "pattern", "must be a string");
    else if (hone_rx_pattern(c->r, json_string_value(v), json_string_length(v), true, &out, &inner) != HONE_OK)
        sc_refuse(c, inner.code, node, "pattern", "%s", inner.message);
    return out;
}

static hone_rx length_of(sc_context *c, uint32_t min, uint32_t max) {
    if (min == 0 && max == SC_UNBOUNDED) return c->all;
    return hone_rx_repeat(c->r, hone_rx_char_range(c->r, 0, 0x10FFFF), min, max);
}

hone_rx sc_string(sc_context *c, uint32_t node) {
    uint32_t min, max;
    if (!sc_count(c, node, "minLength", 0, &min) || !sc_count(c, node, "maxLength", SC_UNBOUNDED, &max))
        return HONE_RX_FAIL;
    hone_rx out = length_of(c, min, max);
    out = hone_rx_and(c->r, out, pattern_of(c, node));
    return hone_rx_and(c->r, out, format_of(c, node));
}

/* ---- The opposite: a string that breaks one of them ---- */

void sc_string_not(sc_context *c, uint32_t node, sc_cases *out) {
    const json_t *json = c->node[node].json;
    sc_case one = sc_case_any(c);
    one.types = SC_STRING;
    uint32_t min, max;
    if (!sc_count(c, node, "minLength", 0, &min) || !sc_count(c, node, "maxLength", SC_UNBOUNDED, &max)) return;
    if (min > 0) {
        one.string = length_of(c, 0, min - 1);
        sc_cases_add(c, out, &one);
    }
    if (max != SC_UNBOUNDED) {
        one.string = length_of(c, max + 1, SC_UNBOUNDED);
        sc_cases_add(c, out, &one);
    }
    if (json_object_get(json, "pattern")) {
        one.string = hone_rx_not(c->r, pattern_of(c, node));
        sc_cases_add(c, out, &one);
    }
    if (json_object_get(json, "format")) {
        one.string = format_of(c, node);
        if (one.string == c->all) return;
        one.string = hone_rx_not(c->r, one.string);
        sc_cases_add(c, out, &one);
    }
}
