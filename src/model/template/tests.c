/* tests.c - what may stand behind `is`.  Each test gives a bool. */
#include "model/template/value.h"

static bool plain(jinja_run *run, const jinja_args *args) {
    return jinja_bind(run, "a test", args, 0, 0, NULL, NULL);
}

/* Tests that ask for the type alone. */
#define TYPE_TEST(test, condition)                                                                                     \
    static bool test(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {                     \
        *out = jinja_bool(condition);                                                                                  \
        return plain(run, args);                                                                                       \
    }
TYPE_TEST(test_defined, self.type != JINJA_UNDEFINED)
TYPE_TEST(test_undefined, self.type == JINJA_UNDEFINED)
TYPE_TEST(test_none, self.type == JINJA_NONE)
TYPE_TEST(test_boolean, self.type == JINJA_BOOL)
TYPE_TEST(test_true, self.type == JINJA_BOOL && self.as.boolean)
TYPE_TEST(test_false, self.type == JINJA_BOOL && !self.as.boolean)
TYPE_TEST(test_integer, self.type == JINJA_INT)
TYPE_TEST(test_float, self.type == JINJA_FLOAT)
TYPE_TEST(test_number, jinja_is_number(self))
TYPE_TEST(test_string, self.type == JINJA_STRING)
TYPE_TEST(test_mapping, self.type == JINJA_DICT)
TYPE_TEST(test_iterable, jinja_is_iterable(self))
TYPE_TEST(test_callable, jinja_is_callable(self))
TYPE_TEST(test_escaped, self.type == JINJA_STRING && self.safe)
/* what has len() and can be indexed: views cannot */
TYPE_TEST(test_sequence, jinja_has_length(self) && self.type != JINJA_VIEW && self.type != JINJA_LOOP)

static bool remainder_is(jinja_run *run, jinja_value self, jinja_value divisor, int64_t wanted, jinja_value *out) {
    jinja_value rest;
    bool same = false;
    if (!jinja_arithmetic(run, JINJA_MOD, self, divisor, &rest) || !jinja_equal(run, rest, jinja_int(wanted), &same))
        return false;
    *out = jinja_bool(same);
    return true;
}

static bool test_odd(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return plain(run, args) && remainder_is(run, self, jinja_int(2), 1, out);
}

static bool test_even(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return plain(run, args) && remainder_is(run, self, jinja_int(2), 0, out);
}

static bool test_divisibleby(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"num"};
    jinja_value by;
    return jinja_bind(run, "divisibleby", args, 1, 1, names, &by) && remainder_is(run, self, by, 0, out);
}

static bool test_lower(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return jinja_to_string(run, self, &self) && jinja_string_islower(run, self, args, out);
}

static bool test_upper(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return jinja_to_string(run, self, &self) && jinja_string_isupper(run, self, args, out);
}

static bool test_filter(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    *out = jinja_bool(self.type == JINJA_STRING && jinja_filter_find(self.as.string));
    return plain(run, args);
}

static bool test_test(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    *out = jinja_bool(self.type == JINJA_STRING && jinja_test_find(self.as.string));
    return plain(run, args);
}

static bool test_sameas(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"other"};
    jinja_value other;
    if (!jinja_bind(run, "sameas", args, 1, 1, names, &other)) return false;
    *out = jinja_bool(jinja_same(self, other));
    return true;
}

static bool test_in(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"seq"};
    jinja_value container;
    bool found = false;
    if (!jinja_bind(run, "in", args, 1, 1, names, &container) || !jinja_contains(run, container, self, &found))
        return false;
    *out = jinja_bool(found);
    return true;
}

static bool equality(jinja_run *run, jinja_value self, const jinja_args *args, bool wanted, jinja_value *out) {
    jinja_value other;
    bool same = false;
    if (!jinja_bind(run, "eq", args, 1, 1, NULL, &other) || !jinja_equal(run, self, other, &same)) return false;
    *out = jinja_bool(same == wanted);
    return true;
}

static bool test_eq(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return equality(run, self, args, true, out);
}

static bool test_ne(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return equality(run, self, args, false, out);
}

/* sign: the order that is wanted; or_equal: and 0 too. */
static bool order(jinja_run *run, jinja_value self, const jinja_args *args, const char *op, int sign, bool or_equal,
                  jinja_value *out) {
    jinja_value other;
    int c;
    if (!jinja_bind(run, op, args, 1, 1, NULL, &other) || !jinja_compare(run, self, other, op, &c)) return false;
    *out = jinja_bool(c == sign || (or_equal && c == 0));
    return true;
}

static bool test_lt(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return order(run, self, args, "<", -1, false, out);
}

static bool test_le(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return order(run, self, args, "<=", -1, true, out);
}

static bool test_gt(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return order(run, self, args, ">", 1, false, out);
}

static bool test_ge(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return order(run, self, args, ">=", 1, true, out);
}

static const jinja_named_call tests[] = {{"odd", test_odd},
                                         {"even", test_even},
                                         {"divisibleby", test_divisibleby},
                                         {"defined", test_defined},
                                         {"undefined", test_undefined},
                                         {"filter", test_filter},
                                         {"test", test_test},
                                         {"none", test_none},
                                         {"boolean", test_boolean},
                                         {"false", test_false},
                                         {"true", test_true},
                                         {"integer", test_integer},
                                         {"float", test_float},
                                         {"lower", test_lower},
                                         {"upper", test_upper},
                                         {"string", test_string},
                                         {"mapping", test_mapping},
                                         {"number", test_number},
                                         {"sequence", test_sequence},
                                         {"iterable", test_iterable},
                                         {"callable", test_callable},
                                         {"sameas", test_sameas},
                                         {"escaped", test_escaped},
                                         {"in", test_in},
                                         {"==", test_eq},
                                         {"eq", test_eq},
                                         {"equalto", test_eq},
                                         {"!=", test_ne},
                                         {"ne", test_ne},
                                         {">", test_gt},
                                         {"gt", test_gt},
                                         {"greaterthan", test_gt},
                                         {">=", test_ge},
                                         {"ge", test_ge},
                                         {"<", test_lt},
                                         {"lt", test_lt},
                                         {"lessthan", test_lt},
                                         {"<=", test_le},
                                         {"le", test_le}};

jinja_call *jinja_test_find(const jinja_string *name) {
    return jinja_table_find(tests, sizeof(tests) / sizeof(*tests), name);
}
