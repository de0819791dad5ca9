/* json.c - the glue to jansson; the contract is in json.h. */
#include "base/json.h"

#include <setjmp.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

/* jansson is not safe when memory runs out: its lexer goes on with a text that lost a character, and may then write
 * past the end of a buffer; some builders leave values out without a word.  So a parse ends at the first allocation
 * that fails, by a jump out of the library, and what it had allocated until then is found in a list and freed.  For
 * builders each failure is noted. */
typedef struct allocation {
    struct allocation *next, **back; /* in the list of the parse that is going on; back NULL: in none.  16 bytes, so
                                        that what follows is aligned for everything */
} allocation;

static _Thread_local allocation *parsed; /* what the parse of this thread holds */
static _Thread_local jmp_buf *no_memory; /* where to go; NULL: no parse is going on */
static _Thread_local bool alloc_failed;

static void *json_alloc(size_t n) {
    size_t bytes;
    allocation *a = hone_add_size(&bytes, n, sizeof(*a)) ? hone_zalloc(1, bytes) : NULL;
    if (!a) {
        alloc_failed = true;
        if (no_memory) longjmp(*no_memory, 1);
        return NULL;
    }
    if (no_memory) {
        a->next = parsed;
        a->back = &parsed;
        if (parsed) parsed->back = &a->next;
        parsed = a;
    }
    return a + 1;
}

static void json_release(void *p) {
    if (!p) return;
    allocation *a = (allocation *)p - 1;
    if (a->back) {
        *a->back = a->next;
        if (a->next) a->next->back = a->back;
    }
    hone_free(a);
}

void hone_json_init(void) {
    json_set_alloc_funcs(json_alloc, json_release);
}

void hone_json_memory_reset(void) {
    alloc_failed = false;
}

bool hone_json_memory_ok(void) {
    return !alloc_failed;
}

/* NULL without memory; then *ran_out is true. */
static json_t *parse(const char *text, size_t n, json_error_t *e, bool *ran_out) {
    jmp_buf jump;
    json_t *volatile value = NULL;
    *ran_out = false;
    if (setjmp(jump) == 0) {
        no_memory = &jump;
        value = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, e);
        no_memory = NULL;
        for (allocation *a = parsed; a; a = a->next) a->back = NULL; /* they belong to the value now */
        parsed = NULL;
        return value;
    }
    no_memory = NULL;
    while (parsed) {
        allocation *a = parsed;
        parsed = a->next;
        hone_free(a);
    }
    *ran_out = true;
    return NULL;
}

json_t *hone_json_parse(const char *text, size_t n, hone_error *err) {
    json_error_t e;
    bool ran_out;
    json_t *value = parse(text, n, &e, &ran_out);
    if (ran_out)
        hone_fail(err, HONE_ERR_NOMEM, "no memory to parse JSON");
    else if (!value)
        hone_fail_at(err, HONE_ERR_FORMAT, e.position, "invalid JSON at line %d, column %d: %s", e.line, e.column,
                     e.text);
    return value;
}

json_t *hone_json_load(const char *path, hone_error *err) {
    hone_buf text = {0};
    json_t *value = NULL;
    if (hone_file_read(path, &text, 0, err) == HONE_OK) {
        value = hone_json_parse(hone_buf_str(&text), text.n, err);
        if (!value) hone_fail_within(err, HONE_ERR_FORMAT, "%s: ", path);
    }
    hone_buf_free(&text);
    return value;
}

static int append(const char *bytes, size_t n, void *out) {
    return hone_buf_add(out, bytes, n) ? 0 : -1;
}

bool hone_json_write(const json_t *value, hone_buf *out) {
    return json_dump_callback(value, append, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0;
}

/* The value, or NULL where the default holds. */
static const json_t *given(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    return !v || json_is_null(v) ? NULL : v;
}

hone_status hone_json_get_string(const json_t *object, const char *key, const char **out, const char *otherwise,
                                 hone_error *err) {
    const json_t *v = given(object, key);
    *out = otherwise;
    if (!v) return HONE_OK;
    if (!json_is_string(v)) return hone_fail(err, HONE_ERR_FORMAT, "'%s' must be a string", key);
    *out = json_string_value(v);
    return HONE_OK;
}

hone_status hone_json_get_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *out,
                              int64_t otherwise, hone_error *err) {
    const json_t *v = given(object, key);
    *out = otherwise;
    if (!v) return HONE_OK;
    if (!json_is_integer(v)) return hone_fail(err, HONE_ERR_FORMAT, "'%s' must be an integer", key);
    const int64_t n = json_integer_value(v);
    if (n < min || n > max)
        return hone_fail(err, HONE_ERR_FORMAT, "'%s' is %lld, must be between %lld and %lld", key, (long long)n,
                         (long long)min, (long long)max);
    *out = n;
    return HONE_OK;
}

hone_status hone_json_get_real(const json_t *object, const char *key, double *out, double otherwise, hone_error *err) {
    const json_t *v = given(object, key);
    *out = otherwise;
    if (!v) return HONE_OK;
    if (!json_is_number(v)) return hone_fail(err, HONE_ERR_FORMAT, "'%s' must be a number", key);
    *out = json_number_value(v);
    return HONE_OK;
}

hone_status hone_json_get_bool(const json_t *object, const char *key, bool *out, bool otherwise, hone_error *err) {
    const json_t *v = given(object, key);
    *out = otherwise;
    if (!v) return HONE_OK;
    if (!json_is_boolean(v)) return hone_fail(err, HONE_ERR_FORMAT, "'%s' must be true or false", key);
    *out = json_is_true(v);
    return HONE_OK;
}
