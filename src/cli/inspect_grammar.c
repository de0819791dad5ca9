/* inspect_grammar.c - hone inspect grammar: what of a JSON Schema is kept or refused, and MaskBench.
 *
 * MaskBench (github.com/guidance-ai/jsonschemabench) walks instances, written as Python's json.dumps writes them and
 * cut by the model's tokenizer, through the masks.  A schema counts once: compile_error when it is refused,
 * invalidation_error when an invalid instance gets through, validation_error when a valid one does not, else passing.
 *
 * --walk writes texts of the grammar: tokens at random out of each mask, at last such that close what is open.
 *
 * Order: the vocabulary, instances as text, times, one schema, walks, a file of schemas, the kind. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/random.h"
#include "cli/inspect.h"
#include "fleet/vocabulary.h"
#include "grammar/matcher.h"
#include "grammar/schema.h"

/* ---- Instances as text ---- */

/* As Python writes a float: the shortest digits that read back the same, an exponent below 1e-4 and from 1e16 on. */
static void write_real(hone_buf *b, double x) {
    char digits[40];
    for (int p = 1; p <= 17; p++) {
        snprintf(digits, sizeof(digits), "%.*e", p - 1, x);
        if (strtod(digits, NULL) == x) break;
    }
    const char *e = strchr(digits, 'e');
    const long exponent = e ? strtol(e + 1, NULL, 10) : 0;
    if (x == 0 || (exponent >= -4 && exponent < 16)) {
        const long written = e ? (long)(e - digits) - (digits[0] == '-') : 1;
        const long places = written > 1 ? written - 2 - exponent : -exponent;
        hone_buf_format(b, "%.*f", (int)(places > 1 ? places : 1), x);
    } else
        hone_buf_text(b, digits);
}

static void write_python(hone_buf *b, const json_t *v) {
    const char *key;
    json_t *child;
    bool first = true;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        hone_buf_char(b, '{');
        json_object_foreach((json_t *)(uintptr_t)v, key, child) {
            if (!first) hone_buf_text(b, ", ");
            first = false;
            hone_buf_json_string(b, key, strlen(key));
            hone_buf_text(b, ": ");
            write_python(b, child);
        }
        hone_buf_char(b, '}');
        break;
    case JSON_ARRAY:
        hone_buf_char(b, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i) hone_buf_text(b, ", ");
            write_python(b, json_array_get(v, i));
        }
        hone_buf_char(b, ']');
        break;
    case JSON_STRING: hone_buf_json_string(b, json_string_value(v), json_string_length(v)); break;
    case JSON_REAL: write_real(b, json_real_value(v)); break;
    default: hone_json_write(v, b);
    }
}

/* ---- Times ---- */

typedef struct {
    double *us;
    size_t n, cap;
} times;

static void add_time(times *t, int64_t ns) {
    if (hone_grow(&t->us, &t->cap, t->n, sizeof(*t->us))) t->us[t->n++] = (double)ns / 1e3;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static json_t *times_json(times *t) {
    double sum = 0;
    if (t->n == 0) return json_pack("{s:n, s:n, s:n}", "p50", "p99", "mean");
    qsort(t->us, t->n, sizeof(*t->us), by_size);
    for (size_t i = 0; i < t->n; i++) sum += t->us[i];
    const double round = 10;
    return json_pack("{s:f, s:f, s:f}", "p50", floor(t->us[t->n / 2] * round) / round, "p99",
                     floor(t->us[t->n * 99 / 100] * round) / round, "mean", floor(sum / (double)t->n * round) / round);
}

/* ---- One schema ---- */

typedef struct {
    const hone_tokenizer *tokenizer;
    hone_vocabulary *vocabulary;
    uint32_t *bits;
    hone_ids ids;
    hone_buf text;
    times mask, compile;
    uint32_t schemas, passing, compile_error, validation_error, invalidation_error;
    json_t *refused;
    uint32_t walks;
    uint32_t seed;
} bench;

static hone_status compile(bench *b, const json_t *schema, hone_grammar **out, hone_error *err) {
    hone_buf source = {0};
    const int64_t begin = hone_clock_ns();
    hone_grammar_source_schema(&source, schema);
    const hone_status status = source.failed ? hone_fail(err, HONE_ERR_NOMEM, "no memory")
                                             : hone_grammar_compile(out, hone_buf_str(&source), source.n, err);
    add_time(&b->compile, hone_clock_ns() - begin);
    hone_buf_free(&source);
    return status;
}

/* Whether the masks let the text of an instance through.  where: how many of its tokens. */
static hone_status walk(bench *b, hone_grammar *g, const json_t *data, bool *through, size_t *where, hone_error *err) {
    hone_matcher *m = NULL;
    *through = false;
    b->ids.n = 0;
    hone_buf_clear(&b->text);
    write_python(&b->text, data);
    hone_status status = hone_tokenizer_encode(b->tokenizer, hone_buf_str(&b->text), b->text.n, 0, &b->ids, err);
    if (status == HONE_OK) status = hone_matcher_open(&m, g, b->vocabulary, err);
    size_t i = 0;
    for (; i < b->ids.n && status == HONE_OK; i++) {
        const uint32_t id = (uint32_t)b->ids.id[i];
        const int64_t begin = hone_clock_ns();
        status = hone_matcher_mask(m, b->bits, err);
        add_time(&b->mask, hone_clock_ns() - begin);
        if (status != HONE_OK || !(b->bits[id / 32] >> (id % 32) & 1)) break;
        status = hone_matcher_accept(m, (int32_t)id, err);
    }
    *where = i;
    *through = status == HONE_OK && i == b->ids.n && hone_matcher_complete(m);
    hone_matcher_close(m);
    return status;
}

static bool is_keyword(const char *word, size_t n) {
    static const char *const all[] = {"type",
                                      "enum",
                                      "const",
                                      "pattern",
                                      "format",
                                      "multipleOf",
                                      "minimum",
                                      "maximum",
                                      "uniqueItems",
                                      "contains",
                                      "minContains",
                                      "maxContains",
                                      "minProperties",
                                      "maxProperties",
                                      "patternProperties",
                                      "propertyNames",
                                      "unevaluatedProperties",
                                      "unevaluatedItems",
                                      "additionalProperties",
                                      "required",
                                      "$ref",
                                      "$dynamicRef",
                                      "$recursiveRef",
                                      "allOf",
                                      "anyOf",
                                      "oneOf",
                                      "not",
                                      "if",
                                      "dependencies",
                                      "items",
                                      "prefixItems",
                                      "properties",
                                      "definitions",
                                      "$defs"};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (strlen(all[i]) == n && memcmp(all[i], word, n) == 0) return true;
    return false;
}

/* The last keyword in the pointer that a refusal begins with; "#" where there is none. */
static void count_refusal(bench *b, const char *message) {
    char key[64] = "#";
    const char *end = message[0] == '#' ? strstr(message, ": ") : NULL;
    for (const char *part = message; end && part < end;) {
        const char *next = part + 1;
        while (next < end && *next != '/') next++;
        if (is_keyword(part + 1, (size_t)(next - part - 1)))
            snprintf(key, sizeof(key), "%.*s", (int)(next - part - 1), part + 1);
        part = next;
    }
    json_object_set_new(b->refused, key, json_integer(json_integer_value(json_object_get(b->refused, key)) + 1));
}

static void tell(FILE *log, const char *name, const char *result, const char *why, json_t *texts) {
    json_t *line = log ? json_pack("{s:s, s:s, s:s}", "name", name, "result", result, "why", why) : NULL;
    if (line && texts) json_object_set(line, "texts", texts);
    json_decref(texts);
    if (!line) return;
    json_dumpf(line, log, JSON_COMPACT);
    fputc('\n', log);
    json_decref(line);
}

/* ---- Walks ---- */

enum { WILD = 40, MOST = 600 }; /* tokens at random; tokens of a text */

/* One of the tokens that close something, or begin the shortest value; else any, by chance. */
static int32_t choose(const bench *b, uint32_t n, double chance, bool closing) {
    static const char *const shortest[] = {"\"", "}", "]", "null", "true", "0", "1", "2", "3",
                                           "4",  "5", "6", "7",    "8",    "9", "[", "{"};
    size_t n_end = 0;
    const int32_t *end = hone_tokenizer_ends(b->tokenizer, &n_end);
    for (size_t i = 0; closing && i < n_end; i++)
        if (b->bits[end[i] / 32] >> (end[i] % 32) & 1) return end[i];
    for (size_t i = 0; closing && i < sizeof(shortest) / sizeof(*shortest); i++) {
        const int32_t id = hone_tokenizer_find(b->tokenizer, shortest[i], strlen(shortest[i]));
        if (id >= 0 && (b->bits[id / 32] >> (id % 32) & 1)) return id;
    }
    uint32_t allowed = 0;
    for (uint32_t i = 0; i < (n + 31) / 32; i++) allowed += (uint32_t)__builtin_popcount(b->bits[i]);
    uint32_t skip = (uint32_t)(chance * allowed);
    for (uint32_t i = 0; i < n; i++)
        if ((b->bits[i / 32] >> (i % 32) & 1) && skip-- == 0) return (int32_t)i;
    return -1;
}

/* The texts that came to an end. */
static json_t *random_texts(bench *b, hone_grammar *g) {
    json_t *texts = json_array();
    hone_error err = {0};
    for (uint32_t k = 0; k < b->walks; k++) {
        hone_matcher *m = NULL;
        hone_status status = hone_matcher_open(&m, g, b->vocabulary, &err);
        b->ids.n = 0;
        for (uint32_t i = 0; i < MOST && status == HONE_OK && !hone_matcher_closed(m); i++) {
            status = hone_matcher_mask(m, b->bits, &err);
            if (status != HONE_OK) break;
            const int32_t id = choose(b, hone_vocabulary_size(b->vocabulary), hone_random_unit_f64(b->seed, k, 0, i),
                                      i > WILD || hone_random_unit(b->seed, k, 1, i) < 0.25f);
            status = hone_matcher_accept(m, id, &err);
            if (status == HONE_OK && !hone_matcher_closed(m)) hone_ids_add(&b->ids, id);
        }
        if (status != HONE_OK)
            json_array_append_new(texts, json_pack("{s:s}", "error", err.message));
        else if (hone_matcher_closed(m)) {
            hone_buf_clear(&b->text);
            hone_tokenizer_decode(b->tokenizer, b->ids.id, b->ids.n, false, &b->text, &err);
            json_array_append_new(texts, json_stringn(hone_buf_str(&b->text), b->text.n));
        }
        hone_matcher_close(m);
    }
    return texts;
}

static void bench_row(bench *b, const json_t *row, FILE *log) {
    const char *name = json_string_value(json_object_get(row, "name"));
    const json_t *tests = json_object_get(row, "tests");
    hone_grammar *g = NULL;
    hone_error err = {0};
    char why[300] = "";
    uint32_t lost = 0, leaked = 0;
    b->schemas++;
    if (!name) name = "";
    if (compile(b, json_object_get(row, "schema"), &g, &err) != HONE_OK) {
        b->compile_error++;
        count_refusal(b, err.message);
        tell(log, name, "compile_error", err.message, NULL);
        return;
    }
    for (size_t i = 0; i < json_array_size(tests); i++) {
        const json_t *test = json_array_get(tests, i);
        const bool valid = json_is_true(json_object_get(test, "valid"));
        bool through;
        size_t where = 0;
        if (walk(b, g, json_object_get(test, "data"), &through, &where, &err) != HONE_OK)
            snprintf(why, sizeof(why), "%.200s", err.message);
        if (through == valid) continue;
        if (valid)
            lost++;
        else
            leaked++;
        if (why[0]) continue;
        hone_buf read = {0};
        hone_error ignored;
        const size_t n = where < b->ids.n ? where + 1 : b->ids.n;
        if (!through) hone_tokenizer_decode(b->tokenizer, b->ids.id, n, false, &read, &ignored);
        const size_t from = read.n > 100 ? read.n - 100 : 0;
        snprintf(why, sizeof(why), "test %zu: %s%s", i, through ? "accepted" : "rejected behind ",
                 hone_buf_str(&read) + from);
        hone_buf_free(&read);
    }
    json_t *texts = b->walks ? random_texts(b, g) : NULL;
    hone_grammar_unref(g);
    if (leaked)
        b->invalidation_error++;
    else if (lost)
        b->validation_error++;
    else
        b->passing++;
    tell(log, name, leaked ? "invalidation_error" : lost ? "validation_error" : "passing", why, texts);
}

static int explain(const cli_args *args, bench *b, const char *path) {
    hone_error err = {0};
    json_t *schema = hone_json_load(path, &err);
    if (!schema) return cli_fail(args, &err);
    hone_grammar *g = NULL;
    hone_matcher *m = NULL;
    hone_status status = compile(b, schema, &g, &err);
    json_decref(schema);
    if (status == HONE_OK) status = hone_matcher_open(&m, g, b->vocabulary, &err);
    int64_t first = 0;
    if (status == HONE_OK) {
        const int64_t begin = hone_clock_ns();
        status = hone_matcher_mask(m, b->bits, &err);
        first = hone_clock_ns() - begin;
    }
    json_t *out =
        json_pack("{s:b, s:f}", "accepted", status == HONE_OK, "compile_us", b->compile.n ? b->compile.us[0] : 0.0);
    if (status == HONE_OK) {
        json_object_set_new(out, "first_mask_us", json_real((double)first / 1e3));
        if (b->walks) json_object_set_new(out, "texts", random_texts(b, g));
        json_object_set_new(out, "bytes", json_integer((json_int_t)hone_grammar_bytes(g)));
    } else
        json_object_set_new(out, "why", json_string(err.message));
    hone_matcher_close(m);
    hone_grammar_unref(g);
    int rc = CLI_OK;
    if (args->json)
        rc = cli_print_json(args, out);
    else {
        if (status == HONE_OK)
            printf("accepted: compiled in %.0f us, first mask in %.0f us\n", b->compile.us[0], (double)first / 1e3);
        else
            printf("refused: %s\n", err.message);
        json_decref(out);
    }
    return rc == CLI_OK && status != HONE_OK ? CLI_FAILED : rc;
}

/* ---- A file of schemas ---- */

static int bench_file(const cli_args *args, bench *b, const char *path) {
    hone_buf file = {0};
    hone_error err = {0};
    if (hone_file_read(path, &file, (size_t)1 << 30, &err) != HONE_OK) return cli_fail(args, &err);
    const char *log_path = cli_get(args, "log");
    FILE *log = log_path ? fopen(log_path, "w") : NULL;
    int rc = log_path && !log ? cli_fail_text(args, "%s: cannot be written", log_path) : CLI_OK;
    const char *text = hone_buf_str(&file), *end = text + file.n;
    for (size_t line = 1; text < end && rc == CLI_OK; line++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        json_t *row = stop > text ? hone_json_parse(text, (size_t)(stop - text), &err) : NULL;
        if (row)
            bench_row(b, row, log);
        else if (stop > text) { /* a number beyond 64 bits, say: what cannot be read cannot be kept */
            b->schemas++;
            b->compile_error++;
            count_refusal(b, err.message);
            tell(log, "", "compile_error", err.message, NULL);
        }
        json_decref(row);
        cli_progress(args, "%u schemas, %u pass", b->schemas, b->passing);
        text = stop + 1;
    }
    cli_progress(args, NULL);
    if (log) fclose(log);
    hone_buf_free(&file);
    if (rc != CLI_OK) return rc;
    json_t *mask = times_json(&b->mask), *compiled = times_json(&b->compile);
    if (args->json)
        return cli_print_json(args,
                              json_pack("{s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:O}", "schemas", b->schemas, "passing",
                                        b->passing, "compile_error", b->compile_error, "validation_error",
                                        b->validation_error, "invalidation_error", b->invalidation_error, "mask_us",
                                        mask, "compile_us", compiled, "refused", b->refused));
    printf("%u of %u pass; %u refused, %u reject a valid instance, %u accept an invalid one\n", b->passing, b->schemas,
           b->compile_error, b->validation_error, b->invalidation_error);
    printf("mask     p50 %8.1f us  p99 %8.1f us\n", json_number_value(json_object_get(mask, "p50")),
           json_number_value(json_object_get(mask, "p99")));
    printf("compile  p50 %8.1f us  p99 %8.1f us\n", json_number_value(json_object_get(compiled, "p50")),
           json_number_value(json_object_get(compiled, "p99")));
    const char *key;
    json_t *n;
    json_object_foreach(b->refused, key, n) printf("refused for %s: %lld\n", key, (long long)json_integer_value(n));
    json_decref(mask);
    json_decref(compiled);
    return CLI_OK;
}

/* ---- The kind ---- */

int cli_inspect_grammar(const cli_args *args) {
    const char *schema = cli_get(args, "schema"), *file = cli_get(args, "maskbench");
    if (!schema == !file) return cli_usage(args, "give --schema FILE or --maskbench FILE.jsonl");
    hone_tokenizer *t = NULL;
    int rc = cli_inspect_tokenizer(args, &t);
    if (rc == CLI_OK) {
        hone_error err = {0};
        bench b = {.tokenizer = t, .refused = json_object()};
        if (!cli_u32(args, "walk", 0, 1u << 20, &b.walks) || !cli_u32(args, "seed", 0, UINT32_MAX, &b.seed))
            rc = CLI_USAGE;
        b.bits = hone_zalloc(((size_t)hone_tokenizer_size(t) + 31) / 32, sizeof(*b.bits));
        if (rc != CLI_OK)
            ;
        else if (!b.bits || !b.refused)
            rc = cli_fail_text(args, "no memory");
        else if (hone_vocabulary_of(&b.vocabulary, t, &err) != HONE_OK)
            rc = cli_fail(args, &err);
        else
            rc = schema ? explain(args, &b, schema) : bench_file(args, &b, file);
        hone_vocabulary_close(b.vocabulary);
        hone_free(b.bits);
        hone_free(b.mask.us);
        hone_free(b.compile.us);
        hone_ids_free(&b.ids);
        hone_buf_free(&b.text);
        json_decref(b.refused);
    }
    hone_tokenizer_close(t);
    return rc;
}
