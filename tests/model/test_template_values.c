/* test_template_values.c - values and what can be done with them: operators, lookups, methods, filters, tojson.
 * Order: the tables, a test for each. */
#include "template_pairs.h"

/* Numbers: Python's division, floats by their shortest text, True as 1. */
static const pair arithmetic[] = {
    {"7 / 2", "3.5"},
    {"7 // 2", "3"},
    {"-7 // 2", "-4"},
    {"7 % -3", "-2"},
    {"-7.5 % 2", "0.5"},
    {"7.5 // 2", "3.0"},
    {"2 ** 10", "1024"},
    {"2 ** -1", "0.5"},
    {"1 / 3", "0.3333333333333333"},
    {"0.1 + 0.2", "0.30000000000000004"},
    {"1e16", "1e+16"},
    {"1e15", "1000000000000000.0"},
    {"123456789.125", "123456789.125"},
    {"1.5e-7", "1.5e-07"},
    {"tiny", "1e-07"},
    {"1e400", "inf"},
    {"0x1f + 0o17 + 0b101 + 1_000", "1051"},
    {"-2 ** 2", "4"},
    {"2 ** 3 ** 2", "64"},
    {"10 - 2 - 3", "5"},
    {"true + true", "2"},
    {"5 * 5.0", "25.0"},
    {"-n", "-7"},
    {"- 3|abs", "3"},
    {"9223372036854775807", "9223372036854775807"},
};

/* Comparison chains, membership, and what and, or and not give back. */
static const pair operators[] = {
    {"1 < 2 < 3", "True"},
    {"3 > 2 > 2", "False"},
    {"1 == 1.0 == true", "True"},
    {"'Z' < 'a'", "True"},
    {"(1, 2) < (1, 3)", "True"},
    {"[1] < [1, 2]", "True"},
    {"{'a': 1} == {'a': 1.0}", "True"},
    {"'a' in 'abc'", "True"},
    {"1 in [2, 1]", "True"},
    {"'a' in d", "True"},
    {"'x' not in 'abc'", "True"},
    {"2 in range(3)", "True"},
    {"0 or 'x'", "x"},
    {"'' or none", "None"},
    {"1 and 2", "2"},
    {"[] or {} or 'last'", "last"},
    {"not []", "True"},
    {"'x' if false", ""},
    {"('x' if false) is defined", "False"},
    {"1 if 0 else 2 if 0 else 3", "3"},
    {"'a' ~ 1 ~ 2.0 ~ none ~ true", "a12.0NoneTrue"},
    {"'ab' * 3", "ababab"},
    {"[1] + [2] * 2", "[1, 2, 2]"},
    {"(1,) + (2,)", "(1, 2)"},
    {"n is divisibleby 7 and f is float", "True"},
    {"n is not none", "True"},
    {"s is string and d is mapping and l is sequence", "True"},
    {"d.items() is sequence", "False"},
    {"range(3) is iterable", "True"},
    {"undef is sequence", "True"},
    {"1 is true", "False"},
    {"true is integer", "False"},
    {"true is number", "True"},
    {"2.0 is even", "True"},
    {"'upper' is filter", "True"},
    {"'nosuch' is test", "False"},
    {"1 is lessthan 2", "True"},
    {"n is in [7]", "True"},
};

/* str() and repr() of values. */
static const pair literals[] = {
    {"[1, 2.0, 'x', none, true, {'a': 'b'}]", "[1, 2.0, 'x', None, True, {'a': 'b'}]"},
    {"(1,)", "(1,)"},
    {"()", "()"},
    {"{1: 'a', 1.0: 'b', true: 'c'}", "{1: 'c'}"},
    {"'a' 'b'", "ab"},
    {"'\\x41\\u00e9\\U0001F600\\101\\q'", "Aé😀A\\q"},
    {"['it\\'s', \"q\\\"\", 'both\\'\"', '\\n\\r\\t\\\\', '\\x00\\x7f\\u200bé世']",
     "[\"it's\", 'q\"', 'both\\'\"', '\\n\\r\\t\\\\', '\\x00\\x7f\\u200bé世']"},
    {"nested", "{'x': [1, {'y': 'z\\n\"q\\''}], 'k': None, 'b': True, 'f': 1.0}"},
    {"range(1, 10, 2)", "range(1, 10, 2)"},
    {"range(10)[2:5]", "range(2, 5)"},
    {"d.items()", "dict_items([('b', 2), ('a', 1), ('items', 5)])"},
    {"d.keys()", "dict_keys(['b', 'a', 'items'])"},
    {"namespace(a=1)", "<Namespace {'a': 1}>"},
    {"[undef]", "[Undefined]"},
    {"[('a'|safe)]", "[Markup('a')]"},
};

/* Attributes before items after a dot, items before attributes in brackets, code points, slices. */
static const pair lookups[] = {
    {"u[2]", "ü"},
    {"u[-1]", "界"},
    {"u[2:5]", "üße"},
    {"u[::-1]", "界世 eßürG"},
    {"u|length", "8"},
    {"s[1:3] ~ s[-3:] ~ s[:-8] ~ s[10:2]", "elrldHel"},
    {"s[5:1:-1]", " oll"},
    {"l[::-1]", "[2, 1, 3]"},
    {"l[5]", ""},
    {"l[true]", "1"},
    {"s[1.0]", ""},
    {"d['a']", "1"},
    {"d['items']", "5"},
    {"d.b", "2"},
    {"d.zz", ""},
    {"nested.x.1.y", "z\n\"q'"},
    {"nested['x'][0]", "1"},
    {"none_.x", ""},
    {"s.nosuch", ""},
    {"d['keys']()|list", "['b', 'a', 'items']"},
    {"range(10)[::-1]|list", "[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]"},
    {"s[9223372036854775807:]", ""},
};

/* Methods of strings, mappings and sequences. */
static const pair methods[] = {
    {"u.upper()", "GRÜSSE 世界"},
    {"'ﬁ ß'.upper()", "FI SS"},
    {"'ΑΣ ΣΑΣ.'.lower()", "ας σας."},
    {"\"they're bill's\".title()", "They'Re Bill'S"},
    {"'hELLO wORLD'.capitalize()", "Hello world"},
    {"s.swapcase()", "hELLO wORLD"},
    {"sp.split()", "['a', 'b', 'c']"},
    {"sp.split(' ')", "['', '', 'a', '', 'b\\tc\\n', '']"},
    {"sp.split(None, 1)", "['a', 'b\\tc\\n ']"},
    {"sp.rsplit(None, 1)", "['  a  b', 'c']"},
    {"'a,b,c'.rsplit(',', 1)", "['a,b', 'c']"},
    {"sp.strip()", "a  b\tc"},
    {"'xyaxy'.strip('yx')", "a"},
    {"'abc'.strip('')", "abc"},
    {"s.startswith(('a', 'H'))", "True"},
    {"s.startswith('W', 6)", "True"},
    {"s.endswith('o', 0, 5)", "True"},
    {"u.find('界')", "7"},
    {"s.find('o', 5)", "7"},
    {"s.rfind('o')", "7"},
    {"'aaa'.count('aa')", "1"},
    {"'abc'.count('')", "4"},
    {"'abc'.replace('', '-', 2)", "-a-bc"},
    {"','.join(d)", "b,a,items"},
    {"m.splitlines(true)", "['line1\\n', 'line2\\n', '\\n', 'line4\\n']"},
    {"'a\\r\\nb\\rc\\x0bd'.splitlines()", "['a', 'b', 'c', 'd']"},
    {"'a,b,c'.rpartition(',')", "('a,b', ',', 'c')"},
    {"'abc'.partition('x')", "('abc', '', '')"},
    {"'abc'.removeprefix('a')", "bc"},
    {"'-42'.zfill(5)", "-0042"},
    {"'ab'.center(5, '*')", "**ab*"},
    {"'a\\tb'.expandtabs(4)", "a   b"},
    {"'²'.isdigit()", "True"},
    {"'½'.isnumeric()", "True"},
    {"''.isspace()", "False"},
    {"'Ab Cd'.istitle()", "True"},
    {"d.get('zz', 9)", "9"},
    {"d.get('zz')", "None"},
    {"(1, 2, 1).count(1)", "2"},
    {"l.index(2)", "2"},
    {"(2.0).is_integer()", "True"},
};

/* The % operator and str.format. */
static const pair formats[] = {
    {"'%5.2f|%-5s|%05d|%x|%X|%o|%e|%g|%+d|% d' % (3.14159, 'ab', 42, 255, 255, 8, 12345.678, 0.0001, 5, 5)",
     " 3.14|ab   |00042|ff|FF|10|1.234568e+04|0.0001|+5| 5"},
    {"'%(a)s%%' % {'a': 1}", "1%"},
    {"'%r' % 'q'", "'q'"},
    {"'%c%c' % (65, 'z')", "Az"},
    {"'%.2s|%5s|' % ('abc', 'é')", "ab|    é|"},
    {"'%*d' % (5, 42)", "   42"},
    {"'{0} {1} {0}'.format(1, 2)", "1 2 1"},
    {"'{a} {b[0]} {c.x}'.format(a=1, b=[5], c={'x': 3})", "1 5 3"},
    {"'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')", "    a|b    |  c  |***d***"},
    {"'{:05d} {:+} {:,} {:x} {:#x} {:b} {:o} {:e} {:.2f} {:.3g} {:%} {:.1%}'.format(42, 5, 1234567, 255, 255, 5, 8, "
     "12345.6789, 3.14159, 0.00012345, 0.5, 0.123)",
     "00042 +5 1,234,567 ff 0xff 101 10 1.234568e+04 3.14 0.000123 50.000000% 12.3%"},
    {"'{!r} {{}} {:{w}}|'.format('a', 'b', w=3)", "'a' {} b  |"},
    {"'{:,.2f} {:_}'.format(1234567.891, 1234567)", "1,234,567.89 1_234_567"},
    {"'{} {:d}'.format(true, true)", "True 1"},
};

/* Filters over one value. */
static const pair filters[] = {
    {"'hELLO wORLD-foo (bar'|title", "Hello World-Foo (Bar"},
    {"none|upper", "NONE"},
    {"5|trim ~ '|'", "5|"},
    {"5|replace(5, 6)", "6"},
    {"'foo bar baz qux'|truncate(9)", "foo..."},
    {"'foo bar baz qux'|truncate(9, true)", "foo ba..."},
    {"'foo bar baz qux'|truncate(11)", "foo bar baz qux"},
    {"\"it's a-b c_d é\"|wordcount", "6"},
    {"m|indent(2, true, true)", "  line1\n  line2\n  \n  line4\n  "},
    {"m|indent('> ')", "line1\n> line2\n\n> line4\n"},
    {"''|indent", ""},
    {"'a\\n'|indent|tojson", "\"a\\n\""},
    {"'42.7'|int", "42"},
    {"'x'|int(9)", "9"},
    {"'0x1f'|int(base=16)", "31"},
    {"' 1_000 '|int", "1000"},
    {"-3.9|int", "-3"},
    {"'1e3'|float", "1000.0"},
    {"'x'|float(1.5)", "1.5"},
    {"2.5|round", "2.0"},
    {"42.55|round(1)", "42.5"},
    {"42.55|round(1, 'floor')", "42.5"},
    {"45|round(-1)", "40"},
    {"2.675|round(2)", "2.67"},
    {"-5.5|abs", "5.5"},
    {"'<a>'|e", "&lt;a&gt;"},
    {"('<a>'|safe)|e", "<a>"},
    {"('<a>'|safe) + '<b>'", "<a>&lt;b&gt;"},
    {"('<a>'|safe) ~ '<b>'", "<a><b>"},
    {"('%s'|safe) % '<'", "&lt;"},
    {"'%s %s'|format(1, 2)", "1 2"},
    {"123456789|filesizeformat(true)", "117.7 MiB"},
    {"'a b/c?d=é'|urlencode", "a%20b/c%3Fd%3D%C3%A9"},
    {"{'a b': 'c/d'}|urlencode", "a+b=c%2Fd"},
    {"e|default('x', true)", "x"},
    {"fa|default(1)", "False"},
    {"undef|d('y')", "y"},
    {"d|attr('a')", ""},
};

/* Filters over sequences. */
static const pair sequences[] = {
    {"l|sort(reverse=true)", "[3, 2, 1]"},
    {"words|sort", "['A', 'a', 'b', 'c']"},
    {"words|sort(case_sensitive=true)", "['A', 'a', 'b', 'c']"},
    {"users|sort(attribute='age,name')|map(attribute='name')|join(',')", "Al,bob,cy"},
    {"words|min", "A"},
    {"users|max(attribute='age')", "{'name': 'bob', 'age': 30, 'addr': {'city': 'X'}}"},
    {"[]|min", ""},
    {"l|sum", "6"},
    {"[[1], [2]]|sum(start=[])", "[1, 2]"},
    {"'abc'|last", "c"},
    {"[]|first", ""},
    {"s|reverse", "dlroW olleH"},
    {"d|reverse|list", "['items', 'a', 'b']"},
    {"users|join(',', attribute='name')", "bob,Al,cy"},
    {"['a', 'A', 'b']|unique|list", "['a', 'b']"},
    {"users|unique(attribute='age')|map(attribute='name')|list", "['bob', 'Al']"},
    {"l|batch(2, 'x')|list", "[[3, 1], [2, 'x']]"},
    {"[1, 2, 3, 4, 5, 6, 7]|slice(3, 0)|list", "[[1, 2, 3], [4, 5, 0], [6, 7, 0]]"},
    {"words|map('replace', 'a', 'b')|list", "['b', 'A', 'c', 'b']"},
    {"users|map(attribute='addr.city', default='?')|list", "['X', 'y', '?']"},
    {"l|select('gt', 1)|list", "[3, 2]"},
    {"users|selectattr('age', 'eq', 30)|map(attribute='name')|list", "['bob', 'cy']"},
    {"users|rejectattr('addr')|map(attribute='name')|list", "['cy']"},
    {"(l|select('gt', 100)) is defined", "True"},
    {"users|groupby('age')|map(attribute='grouper')|list", "[25, 30]"},
    {"(users|groupby('age'))[0].list|length", "1"},
    {"d|dictsort", "[('a', 1), ('b', 2), ('items', 5)]"},
    {"d|dictsort(by='value', reverse=true)", "[('items', 5), ('b', 2), ('a', 1)]"},
    {"{'B': 1, 'a': 2}|dictsort(true)", "[('B', 1), ('a', 2)]"},
    {"d|items|list", "[('b', 2), ('a', 1), ('items', 5)]"},
    {"undef|items|list", "[]"},
    {"none_|map('upper')|list", "[]"},
};

/* tojson as json.dumps writes it. */
static const pair json[] = {
    {"nested|tojson", "{\"x\": [1, {\"y\": \"z\\n\\\"q'\"}], \"k\": null, \"b\": true, \"f\": 1.0}"},
    {"nested|tojson(indent=2)", "{\n  \"x\": [\n    1,\n    {\n      \"y\": \"z\\n\\\"q'\"\n    }\n  ],\n  \"k\": "
                                "null,\n  \"b\": true,\n  \"f\": 1.0\n}"},
    {"[[], {}]|tojson(indent=1)", "[\n [],\n {}\n]"},
    {"u|tojson", "\"Grüße 世界\""},
    {"'é\\x7f😀'|tojson(ensure_ascii=true)", "\"\\u00e9\\u007f\\ud83d\\ude00\""},
    {"'<b>&\\'\\u2028\\x01\\b\\f'|tojson", "\"<b>&'\342\200\250\\u0001\\b\\f\""},
    {"d|tojson(separators=(',', ':'))", "{\"b\":2,\"a\":1,\"items\":5}"},
    {"d|tojson(sort_keys=true)", "{\"a\": 1, \"b\": 2, \"items\": 5}"},
    {"{1: 2, none: 3, true: 4, 1.5: 5}|tojson", "{\"1\": 4, \"null\": 3, \"1.5\": 5}"},
    {"[1.0, 1e100, none, true, (1, 2)]|tojson", "[1.0, 1e+100, null, true, [1, 2]]"},
    {"nested|tojson(indent='\\t')", "{\n\t\"x\": [\n\t\t1,\n\t\t{\n\t\t\t\"y\": \"z\\n\\\"q'\"\n\t\t}\n\t],\n\t\"k\": "
                                    "null,\n\t\"b\": true,\n\t\"f\": 1.0\n}"},
    {"d|tojson(false, 0)", "{\n\"b\": 2,\n\"a\": 1,\n\"items\": 5\n}"},
};

static void test_arithmetic(void **state) {
    (void)state;
    EXPECT_EXPRESSIONS(arithmetic);
}

static void test_operators(void **state) {
    (void)state;
    EXPECT_EXPRESSIONS(operators);
}

static void test_literals(void **state) {
    (void)state;
    EXPECT_EXPRESSIONS(literals);
}

static void test_lookups(void **state) {
    (void)state;
    EXPECT_EXPRESSIONS(lookups);
}

static void test_methods(void **state) {
    (void)state;
    EXPECT_EXPRESSIONS(methods);
}

static void test_formats(void **state) {
    (void)state;
    EXPECT_EXPRESSIONS(formats);
}

static void test_filters(void **state) {
    (void)state;
    EXPECT_EXPRESSIONS(filters);
}

static void test_sequences(void **state) {
    (void)state;
    EXPECT_EXPRESSIONS(sequences);
}

static void test_json(void **state) {
    (void)state;
    EXPECT_EXPRESSIONS(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_operators), cmocka_unit_test(test_literals),
        cmocka_unit_test(test_lookups),    cmocka_unit_test(test_methods),   cmocka_unit_test(test_formats),
        cmocka_unit_test(test_filters),    cmocka_unit_test(test_sequences), cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests_name("model template values", tests, NULL, NULL);
}
