/* value.c - making, comparing and walking values; the contract is in value.h.
 * Order: errors and budgets, making, dictionaries, truth and identity, equality and order, iteration. */
#include "model/template/value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* ---- Errors and budgets: every loop and every recursion below pays here ---- */

bool jinja_fail(jinja_run *run, hone_status code, const char *format, ...) {
    char text[sizeof(((hone_error *)0)->message)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    hone_fail_at(run->err, code, run->line, "template line %u: %.*s", run->line, (int)sizeof(text) - 40, text);
    return false;
}

bool jinja_work(jinja_run *run, size_t n_units) {
    if (n_units > run->steps) {
        run->steps = 0;
        return jinja_fail(run, HONE_ERR_LIMIT, "more than %llu steps: does the template loop for ever?",
                          (unsigned long long)run->limits.max_steps);
    }
    run->steps -= n_units;
    return true;
}

bool jinja_enter(jinja_run *run) {
    if (++run->depth <= run->limits.max_depth) return true;
    run->depth--;
    return jinja_fail(run, HONE_ERR_LIMIT, "nested deeper than %u levels: does a macro call itself for ever?",
                      run->limits.max_depth);
}

static bool memory_failed(jinja_run *run) {
    if (run->arena.over)
        return jinja_fail(run, HONE_ERR_LIMIT, "needs more than %zu bytes of memory", run->limits.max_memory_bytes);
    return jinja_fail(run, HONE_ERR_NOMEM, "out of memory");
}

void *jinja_get(jinja_run *run, size_t count, size_t size) {
    void *p = jinja_arena_get(&run->arena, count, size);
    if (!p) memory_failed(run);
    return p;
}

bool jinja_put(jinja_run *run, jinja_text *text, const char *bytes, size_t n) {
    if (!jinja_work(run, n / 16)) return false;
    if (text == &run->root && n > run->limits.max_output_bytes - text->n)
        return jinja_fail(run, HONE_ERR_LIMIT, "writes more than %zu bytes", run->limits.max_output_bytes);
    return jinja_text_add(&run->arena, text, bytes, n) || memory_failed(run);
}

bool jinja_put_text(jinja_run *run, jinja_text *text, const char *c_string) {
    return jinja_put(run, text, c_string, strlen(c_string));
}

bool jinja_fail_undefined(jinja_run *run, jinja_value v) {
    const jinja_undefined *u = v.as.undefined;
    const int n = u->name ? (int)(u->name->n < 200 ? u->name->n : 200) : 0;
    const char *name = u->name ? u->name->at : "";
    switch (u->kind) {
    case JINJA_NO_NAME: return jinja_fail(run, HONE_ERR_ARG, "'%.*s' is undefined", n, name);
    case JINJA_NO_ATTRIBUTE: return jinja_fail(run, HONE_ERR_ARG, "'%s' has no attribute '%.*s'", u->object, n, name);
    case JINJA_NO_ELEMENT: return jinja_fail(run, HONE_ERR_ARG, "%s has no element %.*s", u->object, n, name);
    case JINJA_UNSAFE:
        return jinja_fail(run, HONE_ERR_ARG, "access to attribute '%.*s' of '%s' object is unsafe", n, name, u->object);
    case JINJA_HINT: break;
    }
    return jinja_fail(run, HONE_ERR_ARG, "%.*s", n, name);
}

/* ---- Making values ---- */

jinja_value jinja_none(void) {
    return (jinja_value){.type = JINJA_NONE};
}
jinja_value jinja_bool(bool b) {
    return (jinja_value){.type = JINJA_BOOL, .as.boolean = b};
}
jinja_value jinja_int(int64_t i) {
    return (jinja_value){.type = JINJA_INT, .as.integer = i};
}
jinja_value jinja_float(double f) {
    return (jinja_value){.type = JINJA_FLOAT, .as.real = f};
}
jinja_value jinja_missing(void) {
    return (jinja_value){.type = JINJA_MISSING};
}

size_t jinja_count_chars(const char *at, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((unsigned char)at[i] & 0xc0) != 0x80;
    return count;
}

/* The 128 strings of one ASCII character: walking a text would otherwise make one object for each. */
static const char ascii_byte[128] = {
#define B4(i) (char)(i), (char)((i) + 1), (char)((i) + 2), (char)((i) + 3)
#define B16(i) B4(i), B4((i) + 4), B4((i) + 8), B4((i) + 12)
    B16(0), B16(16), B16(32), B16(48), B16(64), B16(80), B16(96), B16(112)};
static const jinja_string ascii_string[128] = {
#define S1(i)                                                                                                          \
    { ascii_byte + (i), 1, 1 }
#define S4(i) S1(i), S1((i) + 1), S1((i) + 2), S1((i) + 3)
#define S16(i) S4(i), S4((i) + 4), S4((i) + 8), S4((i) + 12)
    S16(0), S16(16), S16(32), S16(48), S16(64), S16(80), S16(96), S16(112)};

static bool string_new(jinja_run *run, const char *at, size_t n, size_t n_chars, jinja_value *out) {
    *out = (jinja_value){.type = JINJA_STRING};
    if (n == 1 && (unsigned char)*at < 128) {
        out->as.string = &ascii_string[(unsigned char)*at];
        return true;
    }
    jinja_string *s = jinja_get(run, 1, sizeof(*s));
    if (!s) return false;
    *s = (jinja_string){at, n, n_chars};
    out->as.string = s;
    return true;
}

bool jinja_string_borrow(jinja_run *run, const char *at, size_t n, jinja_value *out) {
    return jinja_work(run, n / 16) && string_new(run, at, n, jinja_count_chars(at, n), out);
}

bool jinja_string_copy(jinja_run *run, const char *at, size_t n, jinja_value *out) {
    char *copy = jinja_get(run, n, 1);
    if (!copy) return false;
    if (n) memcpy(copy, at, n);
    return jinja_string_borrow(run, copy, n, out);
}

bool jinja_string_done(jinja_run *run, const jinja_text *text, jinja_value *out) {
    return jinja_string_borrow(run, text->data ? text->data : "", text->n, out);
}

bool jinja_list_new(jinja_run *run, jinja_type type, const jinja_value *items, size_t n, jinja_value *out) {
    jinja_list *list = jinja_get(run, 1, sizeof(*list));
    if (!list) return false;
    *list = (jinja_list){items, n};
    *out = (jinja_value){.type = (uint8_t)type, .as.list = list};
    return true;
}

bool jinja_pair(jinja_run *run, jinja_value a, jinja_value b, jinja_value *out) {
    jinja_value *two = jinja_get(run, 2, sizeof(*two));
    if (!two) return false;
    two[0] = a;
    two[1] = b;
    return jinja_list_new(run, JINJA_TUPLE, two, 2, out);
}

bool jinja_iterator_new(jinja_run *run, const char *type_name, const jinja_value *items, size_t n, jinja_value *out) {
    jinja_iterator *it = jinja_get(run, 1, sizeof(*it));
    if (!it) return false;
    *it = (jinja_iterator){{items, n}, 0, type_name};
    *out = (jinja_value){.type = JINJA_ITERATOR, .as.iterator = it};
    return true;
}

bool jinja_undefined_new(jinja_run *run, jinja_absence kind, const jinja_string *name, const char *object,
                         jinja_value *out) {
    jinja_undefined *u = jinja_get(run, 1, sizeof(*u));
    if (!u) return false;
    *u = (jinja_undefined){kind, name, object};
    *out = (jinja_value){.type = JINJA_UNDEFINED, .as.undefined = u};
    return true;
}

bool jinja_undefined_hint(jinja_run *run, const char *hint, jinja_value *out) {
    jinja_value text;
    return jinja_string_borrow(run, hint, strlen(hint), &text) &&
           jinja_undefined_new(run, JINJA_HINT, text.as.string, NULL, out);
}

bool jinja_items_add(jinja_run *run, jinja_items *items, jinja_value v) {
    if (items->n == items->cap) {
        const size_t cap = items->cap ? items->cap * 2 : 8; /* the arena's limit keeps this far from overflow */
        jinja_value *grown = jinja_get(run, cap, sizeof(*grown));
        if (!grown || !jinja_work(run, items->n)) return false;
        if (items->n) memcpy(grown, items->at, items->n * sizeof(*grown));
        items->at = grown;
        items->cap = cap;
    }
    items->at[items->n++] = v;
    return true;
}

static bool import_object(jinja_run *run, const json_t *json, jinja_value *out) {
    json_t *object = (json_t *)(uintptr_t)json; /* jansson's iterators want it so; nothing is changed */
    jinja_dict *dict = jinja_dict_new(run, json_object_size(object));
    if (!dict) return false;
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        const char *name = json_object_iter_key(at);
        jinja_value key, value;
        if (hone_utf8_valid(name, strlen(name)) != strlen(name))
            return jinja_fail(run, HONE_ERR_ARG, "a key of the variables is no UTF-8");
        if (!jinja_string_borrow(run, name, strlen(name), &key) ||
            !jinja_from_json(run, json_object_iter_value(at), &value) || !jinja_dict_set(run, dict, key, value))
            return false;
    }
    *out = (jinja_value){.type = JINJA_DICT, .as.dict = dict};
    return true;
}

static bool import_array(jinja_run *run, const json_t *json, jinja_value *out) {
    const size_t n = json_array_size(json);
    jinja_value *items = jinja_get(run, n, sizeof(*items));
    if (!items) return false;
    for (size_t i = 0; i < n; i++)
        if (!jinja_from_json(run, json_array_get(json, i), &items[i])) return false;
    return jinja_list_new(run, JINJA_LIST, items, n, out);
}

bool jinja_from_json(jinja_run *run, const json_t *json, jinja_value *out) {
    if (!jinja_work(run, 1)) return false;
    switch (json_typeof(json)) {
    case JSON_NULL: *out = jinja_none(); return true;
    case JSON_TRUE: *out = jinja_bool(true); return true;
    case JSON_FALSE: *out = jinja_bool(false); return true;
    case JSON_INTEGER: *out = jinja_int(json_integer_value(json)); return true;
    case JSON_REAL: *out = jinja_float(json_real_value(json)); return true;
    case JSON_STRING: {
        const char *text = json_string_value(json);
        const size_t n = json_string_length(json);
        if (hone_utf8_valid(text, n) != n)
            return jinja_fail(run, HONE_ERR_ARG, "a string of the variables is no UTF-8");
        return jinja_string_borrow(run, text, n, out);
    }
    case JSON_ARRAY:
    case JSON_OBJECT: {
        if (!jinja_enter(run)) return false;
        const bool ok = json_is_array(json) ? import_array(run, json, out) : import_object(run, json, out);
        jinja_leave(run);
        return ok;
    }
    }
    return jinja_fail(run, HONE_ERR_ARG, "a variable of no JSON type");
}

/* ---- Dictionaries ---- */

#define LINEAR 8u /* up to here a scan is cheaper than an index */

static uint64_t mix(uint64_t h) {
    h ^= h >> 31;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_text(const jinja_string *s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s->n; i++) h = (h ^ (unsigned char)s->at[i]) * 0x100000001b3u;
    return mix(h);
}

/* Equal keys must have equal hashes, so 1, 1.0 and True go one way. */
static bool hash_of(jinja_run *run, jinja_value v, uint64_t *out) {
    int64_t whole;
    *out = 0;
    switch ((jinja_type)v.type) {
    case JINJA_BOOL: *out = mix(v.as.boolean ? 1 : 0); return true;
    case JINJA_INT: *out = mix((uint64_t)v.as.integer); return true;
    case JINJA_FLOAT:
        if (jinja_truncate(v.as.real, &whole) && (double)whole == v.as.real) {
            *out = mix((uint64_t)whole);
        } else {
            uint64_t bits;
            memcpy(&bits, &v.as.real, sizeof(bits));
            *out = mix(bits);
        }
        return true;
    case JINJA_STRING: *out = hash_text(v.as.string); return jinja_work(run, v.as.string->n / 16);
    case JINJA_NONE: *out = mix(77); return true;
    case JINJA_UNDEFINED: *out = mix(78); return true;
    case JINJA_TUPLE: {
        uint64_t h = 79;
        if (!jinja_enter(run)) return false;
        for (size_t i = 0; i < v.as.list->n; i++) {
            uint64_t one;
            if (!jinja_work(run, 1) || !hash_of(run, v.as.list->at[i], &one)) return false;
            h = mix(h ^ one);
        }
        jinja_leave(run);
        *out = h;
        return true;
    }
    case JINJA_LIST:
    case JINJA_DICT:
    case JINJA_VIEW: return jinja_type_error(run, "unhashable type: '%s'", jinja_type_name(v));
    default: *out = mix((uint64_t)(uintptr_t)v.as.string); return true; /* by identity */
    }
}

jinja_dict *jinja_dict_new(jinja_run *run, size_t n_expected) {
    jinja_dict *dict = jinja_get(run, 1, sizeof(*dict));
    if (!dict) return NULL;
    *dict = (jinja_dict){0};
    if (n_expected) {
        dict->entry = jinja_get(run, n_expected, sizeof(*dict->entry));
        if (!dict->entry) return NULL;
        dict->cap = n_expected;
    }
    return dict;
}

static void index_entry(jinja_dict *dict, size_t i) {
    size_t at = (size_t)dict->entry[i].hash & (dict->n_slot - 1);
    while (dict->slot[at]) at = (at + 1) & (dict->n_slot - 1);
    dict->slot[at] = (uint32_t)(i + 1);
}

/* Index of the entry into *found, or SIZE_MAX. */
static bool dict_find(jinja_run *run, const jinja_dict *dict, jinja_value key, uint64_t hash, size_t *found) {
    *found = SIZE_MAX;
    if (!dict->slot) {
        for (size_t i = 0; i < dict->n; i++) {
            bool same = false;
            if (dict->entry[i].hash != hash) continue;
            if (!jinja_equal(run, dict->entry[i].key, key, &same)) return false;
            if (same) {
                *found = i;
                break;
            }
        }
        return true;
    }
    for (size_t at = (size_t)hash & (dict->n_slot - 1); dict->slot[at]; at = (at + 1) & (dict->n_slot - 1)) {
        const size_t i = dict->slot[at] - 1;
        bool same = false;
        if (!jinja_work(run, 1)) return false; /* keys chosen to collide cost their sender steps */
        if (dict->entry[i].hash != hash) continue;
        if (!jinja_equal(run, dict->entry[i].key, key, &same)) return false;
        if (same) {
            *found = i;
            return true;
        }
    }
    return true;
}

static bool dict_grow(jinja_run *run, jinja_dict *dict) {
    const size_t cap = dict->cap ? dict->cap * 2 : 4;
    jinja_entry *entry = jinja_get(run, cap, sizeof(*entry));
    if (!entry || !jinja_work(run, dict->n)) return false;
    if (dict->n) memcpy(entry, dict->entry, dict->n * sizeof(*entry));
    dict->entry = entry;
    dict->cap = cap;
    return true;
}

static bool dict_reindex(jinja_run *run, jinja_dict *dict) {
    const size_t n_slot = dict->n_slot ? dict->n_slot * 2 : 4 * LINEAR;
    if (n_slot > UINT32_MAX / 2) return jinja_fail(run, HONE_ERR_LIMIT, "dictionary too large");
    uint32_t *slot = jinja_get(run, n_slot, sizeof(*slot));
    if (!slot || !jinja_work(run, n_slot / 4)) return false;
    memset(slot, 0, n_slot * sizeof(*slot));
    dict->slot = slot;
    dict->n_slot = n_slot;
    for (size_t i = 0; i < dict->n; i++) index_entry(dict, i);
    return true;
}

bool jinja_dict_set(jinja_run *run, jinja_dict *dict, jinja_value key, jinja_value value) {
    uint64_t hash;
    size_t found;
    if (!hash_of(run, key, &hash) || !dict_find(run, dict, key, hash, &found)) return false;
    if (found != SIZE_MAX) {
        dict->entry[found].value = value; /* the first key stays, as in Python */
        return true;
    }
    if (dict->n == dict->cap && !dict_grow(run, dict)) return false;
    dict->entry[dict->n++] = (jinja_entry){key, value, hash};
    if (dict->n <= LINEAR) return true;
    if (dict->n * 2 > dict->n_slot) return dict_reindex(run, dict);
    index_entry(dict, dict->n - 1);
    return true;
}

bool jinja_dict_get(jinja_run *run, const jinja_dict *dict, jinja_value key, jinja_value *out) {
    uint64_t hash;
    size_t found;
    if (!hash_of(run, key, &hash) || !dict_find(run, dict, key, hash, &found)) return false;
    *out = found == SIZE_MAX ? jinja_missing() : dict->entry[found].value;
    return true;
}

bool jinja_dict_get_text(jinja_run *run, const jinja_dict *dict, const jinja_string *key, jinja_value *out) {
    return jinja_dict_get(run, dict, (jinja_value){.type = JINJA_STRING, .as.string = key}, out);
}

/* ---- Truth and identity ---- */

const char *jinja_type_name(jinja_value v) {
    switch ((jinja_type)v.type) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED: return "Undefined";
    case JINJA_NONE: return "NoneType";
    case JINJA_BOOL: return "bool";
    case JINJA_INT: return "int";
    case JINJA_FLOAT: return "float";
    case JINJA_STRING: return v.safe ? "Markup" : "str";
    case JINJA_LIST: return "list";
    case JINJA_TUPLE: return "tuple";
    case JINJA_DICT: return "dict";
    case JINJA_RANGE: return "range";
    case JINJA_VIEW: {
        static const char *const names[] = {"dict_keys", "dict_values", "dict_items"};
        return names[v.as.view->kind];
    }
    case JINJA_ITERATOR: return v.as.iterator->type_name;
    case JINJA_NAMESPACE: return "Namespace";
    case JINJA_MACRO: return "Macro";
    case JINJA_FUNCTION: return "function";
    case JINJA_METHOD: return "builtin_function_or_method";
    case JINJA_LOOP: return "LoopContext";
    case JINJA_CYCLER: return "Cycler";
    case JINJA_JOINER: return "Joiner";
    }
    return "object";
}

bool jinja_is_string(jinja_value v) {
    return v.type == JINJA_STRING;
}
bool jinja_is_number(jinja_value v) {
    return v.type == JINJA_BOOL || v.type == JINJA_INT || v.type == JINJA_FLOAT;
}

bool jinja_string_is(jinja_value v, const char *text) {
    return v.type == JINJA_STRING && v.as.string->n == strlen(text) && memcmp(v.as.string->at, text, strlen(text)) == 0;
}

bool jinja_truth(jinja_value v) {
    switch ((jinja_type)v.type) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
    case JINJA_NONE: return false;
    case JINJA_BOOL: return v.as.boolean;
    case JINJA_INT: return v.as.integer != 0;
    case JINJA_FLOAT: return v.as.real != 0;
    case JINJA_STRING: return v.as.string->n != 0;
    case JINJA_LIST:
    case JINJA_TUPLE: return v.as.list->n != 0;
    case JINJA_DICT: return v.as.dict->n != 0;
    case JINJA_RANGE: return v.as.range->n != 0;
    case JINJA_VIEW: return v.as.view->dict->n != 0;
    default: return true;
    }
}

bool jinja_same(jinja_value a, jinja_value b) {
    if (a.type != b.type) return false;
    switch ((jinja_type)a.type) {
    case JINJA_NONE: return true;
    case JINJA_BOOL: return a.as.boolean == b.as.boolean;
    case JINJA_INT: return a.as.integer == b.as.integer;
    case JINJA_FLOAT: return memcmp(&a.as.real, &b.as.real, sizeof(double)) == 0;
    case JINJA_STRING:
        return a.as.string == b.as.string || (a.as.string->at == b.as.string->at && a.as.string->n == b.as.string->n);
    default: return a.as.string == b.as.string;
    }
}

/* ---- Equality and order ---- */

static long double number(jinja_value v) {
    /* 64 bits of mantissa: an int64 and a double are both exact */
    if (v.type == JINJA_FLOAT) return v.as.real;
    return v.type == JINJA_BOOL ? (long double)v.as.boolean : (long double)v.as.integer;
}

static int order_text(const jinja_string *a, const jinja_string *b) {
    const int c = memcmp(a->at, b->at, a->n < b->n ? a->n : b->n); /* UTF-8 sorts as its code points do */
    if (c) return c < 0 ? -1 : 1;
    return a->n < b->n ? -1 : a->n > b->n;
}

/* Index of the first elements that differ, or the shorter length. */
static bool first_difference(jinja_run *run, const jinja_list *a, const jinja_list *b, size_t *out) {
    size_t i = 0;
    if (!jinja_enter(run)) return false;
    for (; i < a->n && i < b->n; i++) {
        bool same;
        if (!jinja_work(run, 1) || !jinja_equal(run, a->at[i], b->at[i], &same)) return false;
        if (!same) break;
    }
    jinja_leave(run);
    *out = i;
    return true;
}

static bool dicts_equal(jinja_run *run, const jinja_dict *a, const jinja_dict *b, bool *out) {
    *out = false;
    if (a->n != b->n) return true;
    if (!jinja_enter(run)) return false;
    bool same = true;
    for (size_t i = 0; same && i < a->n; i++) {
        jinja_value other;
        if (!jinja_work(run, 1) || !jinja_dict_get(run, b, a->entry[i].key, &other)) return false;
        same = other.type != JINJA_MISSING;
        if (same && !jinja_equal(run, a->entry[i].value, other, &same)) return false;
    }
    jinja_leave(run);
    *out = same;
    return true;
}

bool jinja_equal(jinja_run *run, jinja_value a, jinja_value b, bool *out) {
    if (jinja_is_number(a) && jinja_is_number(b)) {
        *out = number(a) == number(b);
        return true;
    }
    *out = false;
    if (a.type != b.type) return true;
    switch ((jinja_type)a.type) {
    case JINJA_STRING:
        *out = a.as.string->n == b.as.string->n && memcmp(a.as.string->at, b.as.string->at, a.as.string->n) == 0;
        return jinja_work(run, *out ? a.as.string->n / 64 : 0);
    case JINJA_LIST:
    case JINJA_TUPLE: {
        size_t i;
        if (a.as.list->n != b.as.list->n) return true;
        if (!first_difference(run, a.as.list, b.as.list, &i)) return false;
        *out = i == a.as.list->n;
        return true;
    }
    case JINJA_DICT: return dicts_equal(run, a.as.dict, b.as.dict, out);
    case JINJA_UNDEFINED: *out = true; return true;
    case JINJA_RANGE: {
        const jinja_range *p = a.as.range, *q = b.as.range;
        *out = p->n == q->n && (p->n == 0 || (p->start == q->start && (p->n == 1 || p->step == q->step)));
        return true;
    }
    case JINJA_VIEW: *out = a.as.view->dict == b.as.view->dict && a.as.view->kind == b.as.view->kind; return true;
    case JINJA_METHOD:
        *out = a.as.bound->method == b.as.bound->method && jinja_same(a.as.bound->self, b.as.bound->self);
        return true;
    default: *out = jinja_same(a, b); return true;
    }
}

bool jinja_compare(jinja_run *run, jinja_value a, jinja_value b, const char *op, int *out) {
    if (jinja_is_number(a) && jinja_is_number(b)) {
        const long double x = number(a), y = number(b);
        *out = x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
        return true;
    }
    if (a.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, a);
    if (b.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, b);
    if (a.type == JINJA_STRING && b.type == JINJA_STRING) {
        *out = order_text(a.as.string, b.as.string);
        return true;
    }
    if (a.type == b.type && (a.type == JINJA_LIST || a.type == JINJA_TUPLE)) {
        const jinja_list *p = a.as.list, *q = b.as.list;
        size_t i;
        if (!first_difference(run, p, q, &i)) return false;
        if (i < p->n && i < q->n) {
            if (!jinja_enter(run)) return false;
            const bool ok = jinja_compare(run, p->at[i], q->at[i], op, out);
            jinja_leave(run);
            return ok;
        }
        *out = p->n < q->n ? -1 : p->n > q->n;
        return true;
    }
    return jinja_type_error(run, "'%s' not supported between instances of '%s' and '%s'", op, jinja_type_name(a),
                            jinja_type_name(b));
}

bool jinja_contains(jinja_run *run, jinja_value container, jinja_value item, bool *out) {
    jinja_value found;
    *out = false;
    switch ((jinja_type)container.type) {
    case JINJA_STRING:
        if (item.type != JINJA_STRING)
            return jinja_type_error(run, "'in <string>' requires string as left operand, not %s",
                                    jinja_type_name(item));
        *out = jinja_find_bytes(container.as.string, item.as.string, 0) != SIZE_MAX;
        return jinja_work(run, container.as.string->n / 16);
    case JINJA_DICT:
        if (!jinja_dict_get(run, container.as.dict, item, &found)) return false;
        *out = found.type != JINJA_MISSING;
        return true;
    case JINJA_VIEW:
        if (container.as.view->kind == JINJA_KEYS) {
            if (!jinja_dict_get(run, container.as.view->dict, item, &found)) return false;
            *out = found.type != JINJA_MISSING;
            return true;
        }
        break;
    default: break;
    }
    if (!jinja_is_iterable(container))
        return jinja_type_error(run, "argument of type '%s' is not iterable", jinja_type_name(container));
    jinja_list items;
    if (!jinja_iterate(run, container, &items) || !jinja_enter(run)) return false;
    for (size_t i = 0; i < items.n && !*out; i++)
        if (!jinja_work(run, 1) || !jinja_equal(run, items.at[i], item, out)) return false;
    jinja_leave(run);
    return true;
}

/* ---- Length and iteration ---- */

bool jinja_has_length(jinja_value v) {
    switch ((jinja_type)v.type) {
    case JINJA_UNDEFINED:
    case JINJA_STRING:
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_RANGE:
    case JINJA_VIEW:
    case JINJA_LOOP: return true;
    default: return false;
    }
}

bool jinja_length(jinja_run *run, jinja_value v, size_t *out) {
    switch ((jinja_type)v.type) {
    case JINJA_UNDEFINED: *out = 0; return true;
    case JINJA_STRING: *out = v.as.string->n_chars; return true;
    case JINJA_LIST:
    case JINJA_TUPLE: *out = v.as.list->n; return true;
    case JINJA_DICT: *out = v.as.dict->n; return true;
    case JINJA_RANGE: *out = v.as.range->n; return true;
    case JINJA_VIEW: *out = v.as.view->dict->n; return true;
    case JINJA_LOOP: *out = v.as.loop->items.n; return true;
    default: return jinja_type_error(run, "object of type '%s' has no len()", jinja_type_name(v));
    }
}

bool jinja_is_iterable(jinja_value v) {
    return jinja_has_length(v) || v.type == JINJA_ITERATOR;
}

static bool iterate_text(jinja_run *run, const jinja_string *s, jinja_list *out) {
    jinja_value *items = jinja_get(run, s->n_chars, sizeof(*items));
    if (!items || !jinja_work(run, s->n_chars / 4)) return false;
    size_t at = 0, n = 0;
    while (at < s->n) {
        uint32_t code;
        const size_t width = hone_utf8_decode(s->at + at, s->n - at, &code);
        if (!width) return jinja_fail(run, HONE_ERR_INTERNAL, "a string is no UTF-8");
        if (!string_new(run, s->at + at, width, 1, &items[n++])) return false;
        at += width;
    }
    *out = (jinja_list){items, n};
    return true;
}

static bool iterate_dict(jinja_run *run, const jinja_dict *dict, jinja_view_kind kind, jinja_list *out) {
    jinja_value *items = jinja_get(run, dict->n, sizeof(*items));
    if (!items || !jinja_work(run, dict->n / 4)) return false;
    for (size_t i = 0; i < dict->n; i++) {
        if (kind == JINJA_KEYS) items[i] = dict->entry[i].key;
        if (kind == JINJA_VALUES) items[i] = dict->entry[i].value;
        if (kind == JINJA_ITEMS && !jinja_pair(run, dict->entry[i].key, dict->entry[i].value, &items[i])) return false;
    }
    *out = (jinja_list){items, dict->n};
    return true;
}

bool jinja_iterate(jinja_run *run, jinja_value v, jinja_list *out) {
    switch ((jinja_type)v.type) {
    case JINJA_UNDEFINED: *out = (jinja_list){0}; return true;
    case JINJA_LIST:
    case JINJA_TUPLE: *out = *v.as.list; return true;
    case JINJA_STRING: return iterate_text(run, v.as.string, out);
    case JINJA_DICT: return iterate_dict(run, v.as.dict, JINJA_KEYS, out);
    case JINJA_VIEW: return iterate_dict(run, v.as.view->dict, v.as.view->kind, out);
    case JINJA_RANGE: {
        const jinja_range *r = v.as.range;
        jinja_value *items = jinja_get(run, r->n, sizeof(*items));
        if (!items || !jinja_work(run, r->n / 4)) return false;
        for (size_t i = 0; i < r->n; i++) items[i] = jinja_int(r->start + (int64_t)i * r->step);
        *out = (jinja_list){items, r->n};
        return true;
    }
    case JINJA_ITERATOR: {
        jinja_iterator *it = v.as.iterator;
        *out = (jinja_list){it->items.at + it->next, it->items.n - it->next};
        it->next = it->items.n;
        return true;
    }
    case JINJA_LOOP: return jinja_type_error(run, "the loop variable cannot be iterated here");
    default: return jinja_type_error(run, "'%s' object is not iterable", jinja_type_name(v));
    }
}
