/* test_schema.c - schemas, texts of theirs and texts that are none, and what is refused with which pointer. */
#include "test.h"

#include "base/json.h"
#include "grammar/schema.h"
#include "walk.h"

static hone_vocabulary *v;

static hone_status compile(const char *schema, hone_grammar **g, hone_error *err) {
    hone_buf source = {0};
    hone_buf_format(&source, "root ::= %%json%s", schema);
    const hone_status st = hone_grammar_compile(g, hone_buf_str(&source), source.n, err);
    hone_buf_free(&source);
    return st;
}

static const struct {
    const char *schema, *yes[5], *no[7];
} table[] = {
    {"{}", {"1", "{\"a\": [null,true]}", "-0.5e+3", "\"\\u001f\""}, {"01", "[1,]", "\"\n\"", "{1:2}", "tru", " 1"}},
    {"{\"type\": [\"integer\", \"null\"]}", {"0", "-12", "null"}, {"1.5", "true", "1e3", "01"}},
    {"{\"type\": \"integer\", \"minimum\": -3, \"exclusiveMaximum\": 120}",
     {"-3", "0", "9", "119"},
     {"-4", "120", "1000", "-10"}},
    {"{\"type\": \"number\", \"minimum\": 0.25, \"maximum\": 10.5}",
     {"0.25", "0.3", "10.5", "10.50", "3"},
     {"0.2", "0.249", "10.51", "11", "-1", "0"}},
    {"{\"type\": \"number\", \"exclusiveMinimum\": 0}", {"0.001", "1", "100"}, {"0", "0.0", "-0", "-1"}},
    {"{\"minimum\": 3, \"exclusiveMinimum\": true, \"type\": \"integer\"}", {"4"}, {"3", "2"}},
    {"{\"type\": \"integer\", \"multipleOf\": 7}", {"0", "7", "-14", "700"}, {"1", "8", "71"}},
    {"{\"type\": \"number\", \"multipleOf\": 0.25}", {"0.25", "1", "2.50", "-3.75"}, {"0.3", "0.1", "0.255"}},
    {"{\"type\": \"integer\", \"not\": {\"multipleOf\": 3}}", {"1", "2", "100"}, {"0", "3", "-6", "99"}},
    {"{\"enum\": [1, \"a\\\"b\", null, [1, 2], {\"k\": true}]}",
     {"1", "\"a\\\"b\"", "null", "[1, 2]", "{\"k\": true}"},
     {"2", "\"a\"", "[1]", "[1, 2, 3]", "{}", "{\"k\": false}", "{\"k\": true, \"l\": 1}"}},
    {"{\"type\": \"number\", \"const\": 2}", {"2", "2.0"}, {"2.5", "20", "1"}},
    {"{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 3}",
     {"\"ab\"", "\"\xC3\xA4\\n\\\"\""},
     {"\"a\"", "\"abcd\""}},
    {"{\"type\": \"string\", \"pattern\": \"^a+$\", \"maxLength\": 2}",
     {"\"a\"", "\"aa\""},
     {"\"\"", "\"aaa\"", "\"b\""}},
    {"{\"type\": \"string\", \"not\": {\"enum\": [\"x\", \"yz\"]}}",
     {"\"\"", "\"xx\"", "\"y\""},
     {"\"x\"", "\"yz\"", "1"}},
    {"{\"type\": \"string\", \"format\": \"date\"}",
     {"\"2024-02-29\"", "\"2000-02-29\"", "\"1999-12-31\""},
     {"\"2023-02-29\"", "\"1900-02-29\"", "\"2024-13-01\"", "\"2024-4-1\""}},
    {"{\"type\": \"string\", \"format\": \"ipv6\"}",
     {"\"::1\"", "\"fe80::1:2\"", "\"1:2:3:4:5:6:7:8\""},
     {"\"1:2\"", "\"::1::\"", "\"1:2:3:4:5:6:7:8:9\""}},
    {"{\"type\": \"string\", \"format\": \"no-such-format\"}", {"\"x\""}, {"1"}},
    {"{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": \"boolean\"}}, "
     "\"required\": [\"b\"], \"additionalProperties\": false}",
     {"{\"a\": 1, \"b\": true}", "{\"b\":false}"},
     {"{}", "{\"a\": 1}", "{\"b\": true, \"b\": true}", "{\"b\": 1}", "{\"b\": true, \"c\": 1}",
      "{\"a\": 1,\n \"b\": true}"}},
    {"{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}}, \"additionalProperties\": {\"type\": "
     "\"string\"}}",
     {"{}", "{\"a\": 1, \"x\": \"y\"}", "{\"aa\": \"\"}"},
     {"{\"a\": \"1\"}", "{\"x\": 1}", "{\"x\": \"y\", \"a\": \"z\"}"}},
    {"{\"type\": \"object\", \"patternProperties\": {\"^n\": {\"type\": \"number\"}, \"s$\": {\"minimum\": 5}}, "
     "\"additionalProperties\": false}",
     {"{\"n1\": 1}", "{\"ns\": 7}", "{\"s\": \"\"}"},
     {"{\"ns\": 1}", "{\"x\": 1}", "{\"n\": \"\"}"}},
    {"{\"type\": \"object\", \"propertyNames\": {\"maxLength\": 2}, \"minProperties\": 1}",
     {"{\"ab\": 1}"},
     {"{}", "{\"abc\": 1}"}},
    {"{\"type\": \"object\", \"properties\": {\"a\": {}, \"b\": {}, \"c\": {}}, \"additionalProperties\": false, "
     "\"minProperties\": 2, \"maxProperties\": 2}",
     {"{\"a\": 1, \"b\": 1}", "{\"b\": 1, \"c\": 1}"},
     {"{}", "{\"c\": 1}", "{\"a\": 1, \"b\": 1, \"c\": 1}"}},
    {"{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 1, \"maxItems\": 2}",
     {"[1]", "[1, 2]"},
     {"[]", "[1, 2, 3]", "[true]"}},
    {"{\"type\": \"array\", \"prefixItems\": [{\"const\": 1}, {\"const\": 2}], \"items\": false}",
     {"[]", "[1]", "[1, 2]"},
     {"[2]", "[1, 2, 3]"}},
    {"{\"type\": \"array\", \"items\": [{\"const\": 1}], \"additionalItems\": {\"const\": 3}}",
     {"[]", "[1, 3, 3]"},
     {"[3]", "[1, 1]"}},
    {"{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"contains\": {\"minimum\": 5}}",
     {"[1, 5]", "[7]", "[1, 9, 1]"},
     {"[]", "[1]", "[1, 2, 3]"}},
    {"{\"type\": \"array\", \"uniqueItems\": true, \"maxItems\": 1}", {"[]", "[1]"}, {"[1, 1]"}},
    {"{\"allOf\": [{\"type\": \"object\", \"properties\": {\"a\": {\"minimum\": 1}}, \"required\": [\"a\"]}, "
     "{\"properties\": {\"a\": {\"type\": \"integer\", \"maximum\": 2}}, \"additionalProperties\": false}]}",
     {"{\"a\": 1}", "{\"a\": 2}"},
     {"{}", "{\"a\": 3}", "{\"a\": 0}", "{\"a\": 1, \"b\": 1}"}},
    {"{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"integer\", \"minimum\": 5}]}", {"\"\"", "5"}, {"4", "null"}},
    {"{\"oneOf\": [{\"type\": \"integer\"}, {\"type\": \"number\", \"minimum\": 2}]}",
     {"1", "2.5"},
     {"2", "1.5", "30"}},
    {"{\"oneOf\": [{\"type\": \"object\", \"required\": [\"a\"]}, {\"type\": \"object\", \"required\": [\"b\"]}]}",
     {"{\"a\": 1}", "{\"b\": 1, \"c\": 1}"},
     {"{}", "{\"a\": 1, \"b\": 1}", "{\"c\": 1}"}},
    {"{\"type\": \"object\", \"not\": {\"required\": [\"a\"]}}",
     {"{}", "{\"b\": 1}"},
     {"{\"a\": 1}", "{\"b\": 1, \"a\": 1}"}},
    {"{\"type\": \"object\", \"properties\": {\"k\": {\"enum\": [\"i\", \"s\"]}, \"v\": {}}, \"required\": [\"k\", "
     "\"v\"], \"additionalProperties\": false, \"if\": {\"properties\": {\"k\": {\"const\": \"i\"}}}, \"then\": "
     "{\"properties\": {\"v\": {\"type\": \"integer\"}}}, \"else\": {\"properties\": {\"v\": {\"type\": \"string\"}}}}",
     {"{\"k\": \"i\", \"v\": 1}", "{\"k\": \"s\", \"v\": \"\"}"},
     {"{\"k\": \"i\", \"v\": \"\"}", "{\"k\": \"s\", \"v\": 1}"}},
    {"{\"type\": \"object\", \"properties\": {\"a\": {}, \"b\": {}}, \"dependentRequired\": {\"a\": [\"b\"]}, "
     "\"additionalProperties\": false}",
     {"{}", "{\"b\": 1}", "{\"a\": 1, \"b\": 1}"},
     {"{\"a\": 1}"}},
    {"{\"$ref\": \"#/$defs/tree\", \"$defs\": {\"tree\": {\"type\": \"object\", \"properties\": {\"v\": {\"type\": "
     "\"integer\"}, \"next\": {\"$ref\": \"#/$defs/tree\"}}, \"required\": [\"v\"], \"additionalProperties\": false}}}",
     {"{\"v\": 1}", "{\"v\": 1, \"next\": {\"v\": 2, \"next\": {\"v\": 3}}}"},
     {"{}", "{\"v\": 1, \"next\": {}}"}},
    {"{\"$id\": \"http://x.y/s\", \"$ref\": \"t#a\", \"$defs\": {\"t\": {\"$id\": \"t\", \"$defs\": {\"a\": "
     "{\"$anchor\": \"a\", \"const\": 1}}}}}",
     {"1"},
     {"2"}},
    /* draft 4's keyword is id: a $id within is none, and "#" is the document */
    {"{\"$schema\": \"http://json-schema.org/draft-04/schema#\", \"$id\": \"http://x.y/s\", \"definitions\": {\"p\": "
     "{\"$id\": \"p\", \"const\": 1}, \"q\": {\"$id\": \"q\", \"anyOf\": [{\"$ref\": \"#/definitions/p\"}, {\"$ref\": "
     "\"http://x.y/s#/definitions/p\"}, {\"type\": \"null\"}]}}, \"anyOf\": [{\"$ref\": \"#/definitions/q\"}]}",
     {"1", "null"},
     {"2"}},
    {"{\"$schema\": \"http://json-schema.org/draft-04/schema#\", \"$ref\": \"#/definitions/q\", \"definitions\": "
     "{\"q\": "
     "{\"id\": \"http://x.y/q\", \"definitions\": {\"p\": {\"const\": 1}}, \"allOf\": [{\"$ref\": "
     "\"#/definitions/p\"}]}}}",
     {"1"},
     {"2"}},
    {"{\"$ref\": \"#/$defs/q\", \"$defs\": {\"p\": {\"const\": 2}, \"q\": {\"$id\": \"http://x.y/q\", \"$defs\": "
     "{\"p\": "
     "{\"const\": 1}}, \"$ref\": \"#/$defs/p\"}}}",
     {"1"},
     {"2"}},
    {"{\"type\": \"string\"}", {"\"a\\/b/\\\\/\""}, {"\"a\\\"", "\"\\?\""}},
    {"{\"const\": \"a/b/\"}", {"\"a/b/\"", "\"a\\/b/\"", "\"a\\/b\\/\""}, {"\"a\\\\/b/\"", "\"ab/\""}},
    {"{\"type\": \"string\", \"not\": {\"const\": \"a/b\"}}", {"\"a/c\"", "\"a\\/c\""}, {"\"a/b\"", "\"a\\/b\""}},
    {"{\"type\": \"string\", \"pattern\": \"^[^/]*/x$\", \"maxLength\": 3}",
     {"\"b/x\"", "\"b\\/x\""},
     {"\"\\/\\/x\"", "\"bb\\/x\""}},
    {"{\"type\": \"object\", \"properties\": {\"a/b\": {\"const\": 1}}}",
     {"{\"a/b\": 1}", "{\"a\\/b\": 1}", "{\"a/c\": 2}"},
     {"{\"a/b\": 2}", "{\"a\\/b\": 2}"}},
    {"{\"type\": \"object\", \"properties\": {\"a\": {}}, \"unevaluatedProperties\": false}",
     {"{}", "{\"a\": 1}"},
     {"{\"b\": 1}"}},
    {"{\"type\": \"string\", \"title\": \"t\", \"x-vendor\": [1], \"nullable\": true}", {"\"\""}, {"null"}},
    {"{\"type\": \"object\", \"properties\": {\"a\\\"b/\xC3\xA4\": {\"const\": 1}}, \"additionalProperties\": false}",
     {"{\"a\\\"b/\xC3\xA4\": 1}", "{}"},
     {"{\"a\": 1}"}},
};

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        hone_grammar *g;
        hone_error err = {0};
        if (compile(table[i].schema, &g, &err) != HONE_OK) fail_msg("%s\n%s", table[i].schema, err.message);
        for (size_t k = 0; k < 5 && table[i].yes[k]; k++)
            if (walk_read(g, v, table[i].yes[k], strlen(table[i].yes[k])) != 1)
                fail_msg("%s\nrejects %s", table[i].schema, table[i].yes[k]);
        for (size_t k = 0; k < 7 && table[i].no[k]; k++)
            if (walk_read(g, v, table[i].no[k], strlen(table[i].no[k])) == 1)
                fail_msg("%s\naccepts %s", table[i].schema, table[i].no[k]);
        hone_grammar_unref(g);
    }
}

static const struct {
    const char *schema, *pointer;
    hone_status code;
} refused[] = {
    {"{\"properties\": {\"a/b\": {\"type\": \"array\", \"uniqueItems\": true}}}",
     "#/properties/a~1b/uniqueItems: ", HONE_ERR_UNSUPPORTED},
    {"{\"items\": {\"$dynamicRef\": \"#x\"}}", "#/items/$dynamicRef: ", HONE_ERR_UNSUPPORTED},
    {"{\"$ref\": \"http://elsewhere/s\"}", "#/$ref: ", HONE_ERR_UNSUPPORTED},
    {"{\"$ref\": \"#/$defs/none\"}", "#/$ref: ", HONE_ERR_FORMAT},
    {"{\"$ref\": \"#\"}", "#: ", HONE_ERR_UNSUPPORTED},
    {"{\"anyOf\": [{\"type\": \"text\"}]}", "#/anyOf/0/type: ", HONE_ERR_FORMAT},
    {"{\"type\": \"string\", \"pattern\": \"(a)\\\\1\"}", "#/pattern: ", HONE_ERR_UNSUPPORTED},
    {"{\"type\": \"string\", \"pattern\": \"(\"}", "#/pattern: ", HONE_ERR_FORMAT},
    {"{\"type\": \"string\", \"format\": \"idn-email\"}", "#/format: ", HONE_ERR_UNSUPPORTED},
    {"{\"minLength\": -1}", "#/minLength: ", HONE_ERR_FORMAT},
    {"{\"type\": \"object\", \"minProperties\": 3}", "#/minProperties: ", HONE_ERR_UNSUPPORTED},
    {"{\"type\": \"array\", \"contains\": {}, \"minContains\": 2}", "#/minContains: ", HONE_ERR_UNSUPPORTED},
    {"{\"$ref\": \"#/$defs/a\", \"unevaluatedProperties\": false, \"$defs\": {\"a\": {}}}",
     "#/unevaluatedProperties: ", HONE_ERR_UNSUPPORTED},
    {"{\"anyOf\": {}}", "#/anyOf: ", HONE_ERR_FORMAT},
    {"{\"properties\": {\"a\": 1}}", "#/properties/a: ", HONE_ERR_FORMAT},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        hone_grammar *g = NULL;
        hone_error err = {0};
        const hone_status st = compile(refused[i].schema, &g, &err);
        if (st != refused[i].code || strncmp(err.message, refused[i].pointer, strlen(refused[i].pointer)) != 0)
            fail_msg("%s\n%d %s", refused[i].schema, st, err.message);
    }
}

static hone_status node(const char *text, const hone_schema_options *options, hone_grammar **g, hone_error *err) {
    hone_grammar_builder *b;
    json_t *schema = hone_json_parse(text, strlen(text), err);
    hone_gx root;
    *g = NULL;
    if (!schema) return HONE_ERR_FORMAT;
    hone_status st = hone_grammar_begin(&b, err);
    if (st == HONE_OK && (st = hone_schema_node(b, schema, options, &root, err)) != HONE_OK)
        hone_grammar_abandon(b);
    else if (st == HONE_OK)
        st = hone_grammar_finish(g, b, root, err);
    json_decref(schema);
    return st;
}

static void test_strict(void **state) {
    (void)state;
    static const struct {
        const char *schema, *pointer;
    } rules[] = {
        {"{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\"}}, \"required\": [\"a\"], "
         "\"additionalProperties\": false}",
         NULL},
        {"{\"type\": \"object\", \"properties\": {\"a\": {}}, \"required\": [\"a\"]}", "#/additionalProperties: "},
        {"{\"type\": \"object\", \"properties\": {\"a\": {}, \"b\": {}}, \"required\": [\"a\"], "
         "\"additionalProperties\": false}",
         "#/required: "},
        {"{\"type\": \"array\"}", "#/type: "},
        {"{\"anyOf\": [{}]}", "#/anyOf: "},
        {"{\"type\": \"object\", \"additionalProperties\": false, \"$defs\": {\"x\": {\"allOf\": [{}]}}}",
         "#/$defs/x/allOf: "},
    };
    const hone_schema_options options = {.strict = true};
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
        hone_grammar *g;
        hone_error err = {0};
        const hone_status st = node(rules[i].schema, &options, &g, &err);
        if (rules[i].pointer
                ? st != HONE_ERR_FORMAT || strncmp(err.message, rules[i].pointer, strlen(rules[i].pointer)) != 0
                : st != HONE_OK)
            fail_msg("%s\n%d %s", rules[i].schema, st, err.message);
        hone_grammar_unref(g);
    }
}

static void test_whitespace(void **state) {
    (void)state;
    const hone_schema_options options = {.whitespace = true};
    hone_grammar *g;
    hone_error err = {0};
    assert_int_equal(node("{\"type\": \"object\", \"required\": [\"a\"]}", &options, &g, &err), HONE_OK);
    static const char text[] = "{\n\t\"a\" :\r\n [ 1 , 2 ]\n}";
    assert_int_equal(walk_read(g, v, text, strlen(text)), 1);
    hone_grammar_unref(g);
}

/* What would take for ever is an error soon. */
static void test_bounds(void **state) {
    (void)state;
    hone_buf b = {0};
    hone_grammar *g;
    hone_error err = {0};
    hone_buf_text(&b, "{\"oneOf\": [");
    for (int i = 0; i < 60; i++)
        hone_buf_format(&b, "%s{\"required\": [\"a%d\"], \"minProperties\": %d}", i ? "," : "", i, i % 3);
    hone_buf_text(&b, "]}");
    assert_int_not_equal(compile(hone_buf_str(&b), &g, &err), HONE_OK);
    hone_buf_clear(&b);
    for (int i = 0; i < 300; i++) hone_buf_text(&b, "{\"not\":");
    hone_buf_text(&b, "{}");
    for (int i = 0; i < 300; i++) hone_buf_text(&b, "}");
    assert_int_not_equal(compile(hone_buf_str(&b), &g, &err), HONE_OK);
    hone_buf_free(&b);
}

/* Each allocation fails in turn; nothing leaks, nothing is lost from the schema. */
static void test_memory(void **state) {
    (void)state;
    static const char schema[] =
        "root ::= %json{\"type\": \"object\", \"properties\": {\"a\": {\"enum\": [1, \"x\", [2]]}, \"b\": {\"oneOf\": "
        "[{\"type\": "
        "\"string\", "
        "\"format\": \"date\"}, {\"$ref\": \"#\"}]}}, \"patternProperties\": {\"^n\": {\"minimum\": 3}}}";
    const int64_t before = hone_mem_live;
    for (int64_t at = 0, done = 0; !done; at += at < 200 ? 1 : 17) {
        hone_grammar *g = NULL;
        hone_error err = {0};
        hone_mem_fail_at = at;
        const hone_status st = hone_grammar_compile(&g, schema, strlen(schema), &err);
        hone_mem_fail_at = -1;
        if (st == HONE_OK) {
            assert_int_equal(walk_read(g, v, "{\"a\": 1, \"n\": 2}", 16), -1);
            assert_int_equal(walk_read(g, v, "{\"a\": 1, \"n\": 3}", 16), 1);
        } else if (st != HONE_ERR_NOMEM)
            fail_msg("allocation %d: %d %s", (int)at, st, err.message);
        done = st == HONE_OK && at > 200;
        hone_grammar_unref(g);
        assert_int_equal(hone_mem_live, before);
    }
}

static int open_vocabulary(void **state) {
    (void)state;
    hone_json_init();
    return walk_open(&v, NULL) == HONE_OK ? 0 : -1;
}
static int close_vocabulary(void **state) {
    (void)state;
    hone_vocabulary_close(v);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table),  cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_strict), cmocka_unit_test(test_whitespace),
                                       cmocka_unit_test(test_bounds), cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
