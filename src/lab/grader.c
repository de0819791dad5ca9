/* grader.c - scores of single answers; the contract is in grader.h.
 * Order: names, normalisation, the measures, the entry. */
#include "lab/grader.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

static const struct {
    const char *type, *measure, *name;
    hone_grade_kind kind;
} known[] = {
    {"string_check", "eq", "string_check:eq", HONE_GRADE_EQ},
    {"string_check", "ne", "string_check:ne", HONE_GRADE_NE},
    {"string_check", "like", "string_check:like", HONE_GRADE_LIKE},
    {"string_check", "ilike", "string_check:ilike", HONE_GRADE_ILIKE},
    {"text_similarity", "exact", "exact", HONE_GRADE_EXACT},
    {"text_similarity", "fuzzy_match", "fuzzy_match", HONE_GRADE_FUZZY},
    {"text_similarity", "token_f1", "token_f1", HONE_GRADE_TOKEN_F1},
};
enum { N_KNOWN = sizeof(known) / sizeof(known[0]) };

const char *hone_grader_name(const hone_grader *grader) {
    for (int i = 0; i < N_KNOWN; i++)
        if (known[i].kind == grader->kind) return known[i].name;
    return "";
}

bool hone_grader_is_binary(const hone_grader *grader) {
    return grader->kind != HONE_GRADE_FUZZY && grader->kind != HONE_GRADE_TOKEN_F1;
}

static bool is(const char *text, size_t n, const char *word) {
    return strlen(word) == n && !memcmp(text, word, n);
}

hone_status hone_grader_parse(hone_grader *out, const char *spec, hone_error *err) {
    *out = (hone_grader){0};
    size_t n = strcspn(spec, "+");
    const char *measure = memchr(spec, ':', n);
    bool found = false;
    for (int i = 0; i < N_KNOWN && !found; i++) {
        if (measure)
            found = is(spec, (size_t)(measure - spec), known[i].type) &&
                    is(measure + 1, n - (size_t)(measure + 1 - spec), known[i].measure);
        else
            found = is(spec, n, known[i].measure);
        if (found) out->kind = known[i].kind;
    }
    if (!found)
        return hone_fail(err, HONE_ERR_ARG,
                         "unknown grader '%.*s': known are exact, token_f1, fuzzy_match and string_check:eq, :ne, "
                         ":like, :ilike; +lower and +stop may follow",
                         (int)(n > 80 ? 80 : n), spec);
    while (spec[n] == '+') {
        const char *word = spec + n + 1;
        const size_t k = strcspn(word, "+");
        if (is(word, k, "lower"))
            out->lower = true;
        else if (is(word, k, "stop"))
            out->stop = true;
        else
            return hone_fail(err, HONE_ERR_ARG, "unknown normalisation '+%.*s': known are +lower and +stop",
                             (int)(k > 80 ? 80 : k), word);
        n += 1 + k;
    }
    return HONE_OK;
}

hone_status hone_grader_from_json(hone_grader *out, const json_t *object, hone_error *err) {
    *out = (hone_grader){0};
    const char *type = NULL, *measure = NULL;
    if (!json_is_object(object)) return hone_fail(err, HONE_ERR_FORMAT, "a grader must be an object");
    hone_status status = hone_json_get_string(object, "type", &type, "", err);
    if (status != HONE_OK) return status;
    const bool check = strcmp(type, "string_check") == 0;
    if (!check && strcmp(type, "text_similarity") != 0)
        return hone_fail(err, HONE_ERR_UNSUPPORTED,
                         "grader type '%.60s': this server has string_check and text_similarity", type);
    const char *key = check ? "operation" : "evaluation_metric";
    status = hone_json_get_string(object, key, &measure, "", err);
    if (status != HONE_OK) return status;
    bool found = false;
    for (int i = 0; i < N_KNOWN && !found; i++) {
        found = strcmp(known[i].type, type) == 0 && strcmp(known[i].measure, measure) == 0;
        if (found) out->kind = known[i].kind;
    }
    if (!found) return hone_fail(err, HONE_ERR_UNSUPPORTED, "%s: unknown %s '%.60s'", type, key, measure);
    const json_t *list = json_object_get(object, "normalize");
    if (list && !json_is_null(list) && !json_is_array(list))
        return hone_fail(err, HONE_ERR_FORMAT, "'normalize' must be an array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (word && strcmp(word, "lower") == 0)
            out->lower = true;
        else if (word && strcmp(word, "stop") == 0)
            out->stop = true;
        else
            return hone_fail(err, HONE_ERR_FORMAT, "'normalize' may hold \"lower\" and \"stop\"");
    }
    return HONE_OK;
}

/* Normalisation: texts become code points, invalid bytes U+FFFD ----------------------------------------------------*/

typedef struct {
    uint32_t *code; /* [n]; memory is freed by its owner, code may have moved on */
    uint32_t *memory;
    size_t n;
} text;

static bool is_space(uint32_t c) {
    if (c == ' ' || (c >= '\t' && c <= '\r')) return true;
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP || c == 0x85;
}

static void strip(text *t) {
    while (t->n && is_space(t->code[0])) {
        t->code++;
        t->n--;
    }
    while (t->n && is_space(t->code[t->n - 1])) t->n--;
}

static bool read_text(text *out, const char *utf8, const hone_grader *g) {
    size_t n = strlen(utf8);
    *out = (text){0};
    out->code = out->memory = hone_zalloc(n + 1, sizeof(*out->code));
    if (!out->code) return false;
    const bool lower = g->lower || g->kind == HONE_GRADE_ILIKE;
    while (n) {
        uint32_t c;
        size_t width = hone_utf8_decode(utf8, n, &c);
        if (!width) {
            c = 0xfffd;
            width = 1;
        }
        out->code[out->n++] = lower ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)c) : c;
        utf8 += width;
        n -= width;
    }
    if (g->lower || g->stop || g->kind == HONE_GRADE_EXACT) strip(out);
    if (g->stop && out->n && out->code[out->n - 1] == '.') {
        out->n--;
        strip(out);
    }
    return true;
}

/* The measures -----------------------------------------------------------------------------------------------------*/

static bool equal(const text *a, const text *b) {
    return a->n == b->n && memcmp(a->code, b->code, a->n * sizeof(*a->code)) == 0;
}

static bool contains(const text *a, const text *part) {
    for (size_t i = 0; i + part->n <= a->n; i++)
        if (memcmp(a->code + i, part->code, part->n * sizeof(*a->code)) == 0) return true;
    return false;
}

static hone_status fuzzy(const text *a, const text *b, double *score, hone_error *err) {
    if (a->n + b->n == 0) {
        *score = 1;
        return HONE_OK;
    }
    if (b->n && a->n > ((size_t)1 << 30) / b->n)
        return hone_fail(err, HONE_ERR_LIMIT, "fuzzy_match: texts of %zu and %zu characters are too long", a->n, b->n);
    /* row[j]: longest common subsequence of a's first i and b's first j. */
    uint32_t *row = hone_zalloc(b->n + 1, sizeof(*row));
    if (!row) return hone_fail(err, HONE_ERR_NOMEM, "no memory to grade");
    for (size_t i = 0; i < a->n; i++) {
        uint32_t diagonal = 0;
        for (size_t j = 1; j <= b->n; j++) {
            const uint32_t above = row[j];
            if (a->code[i] == b->code[j - 1])
                row[j] = diagonal + 1;
            else if (row[j - 1] > above)
                row[j] = row[j - 1];
            diagonal = above;
        }
    }
    *score = 2.0 * row[b->n] / (double)(a->n + b->n);
    hone_free(row);
    return HONE_OK;
}

typedef struct {
    const uint32_t *code;
    size_t n;
} word;

static int by_letters(const void *x, const void *y) {
    const word *a = x, *b = y;
    const size_t n = a->n < b->n ? a->n : b->n;
    for (size_t i = 0; i < n; i++)
        if (a->code[i] != b->code[i]) return a->code[i] < b->code[i] ? -1 : 1;
    return (a->n > b->n) - (a->n < b->n);
}

/* The words of t, sorted. */
static bool words_of(const text *t, word **out, size_t *n) {
    *out = hone_zalloc(t->n / 2 + 1, sizeof(**out));
    *n = 0;
    if (!*out) return false;
    for (size_t i = 0; i < t->n;) {
        size_t end = i;
        while (end < t->n && !is_space(t->code[end])) end++;
        if (end > i) (*out)[(*n)++] = (word){t->code + i, end - i};
        i = end + (end < t->n);
    }
    if (*n) qsort(*out, *n, sizeof(**out), by_letters);
    return true;
}

static hone_status token_f1(const text *a, const text *b, double *score, hone_error *err) {
    word *wa = NULL, *wb = NULL;
    size_t na = 0, nb = 0;
    hone_status status = HONE_OK;
    if (!words_of(a, &wa, &na) || !words_of(b, &wb, &nb)) {
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory to grade");
    } else if (na == 0 || nb == 0) {
        *score = na == nb;
    } else {
        size_t same = 0;
        for (size_t i = 0, j = 0; i < na && j < nb;) {
            const int order = by_letters(&wa[i], &wb[j]);
            same += order == 0;
            i += order <= 0;
            j += order >= 0;
        }
        *score = 2.0 * (double)same / (double)(na + nb);
    }
    hone_free(wa);
    hone_free(wb);
    return status;
}

hone_status hone_grade(const hone_grader *g, const char *output, const char *reference, double *score,
                       hone_error *err) {
    text a = {0}, b = {0};
    hone_status status = HONE_OK;
    *score = 0;
    if (!read_text(&a, output, g) || !read_text(&b, reference, g)) {
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory to grade");
    } else {
        switch (g->kind) {
        case HONE_GRADE_EQ:
        case HONE_GRADE_EXACT: *score = equal(&a, &b); break;
        case HONE_GRADE_NE: *score = !equal(&a, &b); break;
        case HONE_GRADE_LIKE:
        case HONE_GRADE_ILIKE: *score = contains(&a, &b); break;
        case HONE_GRADE_FUZZY: status = fuzzy(&a, &b, score, err); break;
        case HONE_GRADE_TOKEN_F1: status = token_f1(&a, &b, score, err); break;
        }
    }
    hone_free(a.memory);
    hone_free(b.memory);
    return status;
}
