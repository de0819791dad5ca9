/* value.h - Python's values inside one rendering, and the state of a rendering.
 *
 * Values are small and copied freely; what they point to lives in the arena of the rendering (or of the compiled
 * template, for constants) and never changes after it was made, namespaces, loops and iterators aside.
 *
 * Functions that can fail return false after jinja_fail(); whatever they were to fill is then undefined. */
#ifndef HONE_TEMPLATE_VALUE_H
#define HONE_TEMPLATE_VALUE_H

#include <jansson.h>
#include <stdint.h>

#include "model/template.h"
#include "model/template/arena.h"

typedef enum {
    JINJA_MISSING, /* no value at all: an unset variable or argument; never reaches a template */
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_DICT,
    JINJA_RANGE,
    JINJA_VIEW,     /* dict.keys(), values(), items() */
    JINJA_ITERATOR, /* what Python gives as a generator: always true, no length, read once */
    JINJA_NAMESPACE,
    JINJA_MACRO,
    JINJA_FUNCTION, /* a global */
    JINJA_METHOD,   /* a method with its object */
    JINJA_LOOP,
    JINJA_CYCLER,
    JINJA_JOINER
} jinja_type;

typedef struct jinja_run jinja_run;
typedef struct jinja_node jinja_node;
typedef struct jinja_scope jinja_scope;
typedef struct jinja_value jinja_value;

/* UTF-8, not terminated; may hold NUL. */
typedef struct {
    const char *at;
    size_t n;       /* bytes */
    size_t n_chars; /* code points */
} jinja_string;

typedef struct {
    const jinja_value *at;
    size_t n;
} jinja_list;

typedef struct jinja_dict jinja_dict;

typedef struct {
    int64_t start;
    int64_t step;
    int64_t stop; /* as given, for repr() */
    size_t n;
} jinja_range;

typedef enum { JINJA_KEYS, JINJA_VALUES, JINJA_ITEMS } jinja_view_kind;

typedef struct {
    const jinja_dict *dict;
    jinja_view_kind kind;
} jinja_view;

typedef struct {
    jinja_list items;
    size_t next;
    const char *type_name;
} jinja_iterator;

/* Why something is undefined: what an error about it will say. */
typedef enum { JINJA_NO_NAME, JINJA_NO_ATTRIBUTE, JINJA_NO_ELEMENT, JINJA_UNSAFE, JINJA_HINT } jinja_absence;

typedef struct {
    jinja_absence kind;
    const jinja_string *name; /* of the variable or attribute; the text of JINJA_HINT; the repr of JINJA_NO_ELEMENT */
    const char *object;       /* "dict object"; for JINJA_UNSAFE "dict" */
} jinja_undefined;

typedef struct {
    const jinja_node *node;
    jinja_scope *scope; /* where it was defined */
} jinja_macro;

typedef struct {
    const jinja_node *node; /* NULL unless recursive */
    jinja_scope *scope;
    jinja_list items;
    size_t index0;
    size_t depth0;
    jinja_value *changed; /* a tuple, or NULL: loop.changed() */
} jinja_loop;

typedef struct jinja_method jinja_method;
typedef struct jinja_function jinja_function;
typedef struct jinja_bound jinja_bound;
typedef struct jinja_cycler jinja_cycler;
typedef struct jinja_joiner jinja_joiner;

struct jinja_value {
    uint8_t type; /* jinja_type */
    bool safe;    /* a string that went through `safe` or `escape`: Markup */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const jinja_string *string;
        const jinja_list *list; /* list and tuple */
        jinja_dict *dict;       /* dict and namespace */
        const jinja_range *range;
        const jinja_view *view;
        jinja_iterator *iterator;
        const jinja_undefined *undefined;
        jinja_macro *macro;
        const jinja_function *function;
        const jinja_bound *bound;
        jinja_loop *loop;
        jinja_cycler *cycler;
        jinja_joiner *joiner;
    } as;
};

/* A method and the object it was taken from. */
struct jinja_bound {
    jinja_value self;
    const jinja_method *method;
};

struct jinja_cycler {
    jinja_list items;
    size_t next;
};

struct jinja_joiner {
    jinja_value separator;
    bool used;
};

/* Arguments of a call; keyword names are unique. */
typedef struct {
    const jinja_value *at; /* [n] */
    size_t n;
    const jinja_string *const *kw_name; /* [n_kw] */
    const jinja_value *kw;              /* [n_kw] */
    size_t n_kw;
} jinja_args;

/* Filters, tests and methods alike: `self` is what stands before the | , the `is` or the dot. */
typedef bool jinja_call(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out);

struct jinja_method {
    const char *name;
    jinja_call *call;
};

struct jinja_function {
    const char *name;
    jinja_call *call; /* self is JINJA_NONE */
};

/* One rendering. */
struct jinja_run {
    const hone_template *template;
    hone_template_limits limits;
    jinja_arena arena; /* everything below lives here */
    uint64_t steps;    /* left */
    uint32_t depth;    /* now */
    uint32_t line;     /* of the node under evaluation */
    jinja_text *out;
    jinja_text root;            /* the rendering; out points here unless something captures */
    jinja_value captured;       /* what the block around the current filters captured */
    hone_template_spans *spans; /* NULL: nobody asked */
    hone_error *err;
};

/* ---- Errors, work and memory ---- */

/* Always false.  The first error stands; code and line go to run->err. */
bool jinja_fail(jinja_run *run, hone_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A type error in Python's words: HONE_ERR_ARG. */
#define jinja_type_error(run, ...) jinja_fail((run), HONE_ERR_ARG, __VA_ARGS__)

/* Pay for n_units of 16 bytes or elements; false when max_steps is spent. */
bool jinja_work(jinja_run *run, size_t n_units);

/* Around every recursion: false past max_depth. */
bool jinja_enter(jinja_run *run);
static inline void jinja_leave(jinja_run *run) {
    run->depth--;
}

void *jinja_get(jinja_run *run, size_t count, size_t size); /* NULL after jinja_fail() */
bool jinja_put(jinja_run *run, jinja_text *text, const char *bytes, size_t n);
bool jinja_put_text(jinja_run *run, jinja_text *text, const char *c_string);

/* ---- Making values ---- */

jinja_value jinja_none(void);
jinja_value jinja_bool(bool b);
jinja_value jinja_int(int64_t i);
jinja_value jinja_float(double f);
jinja_value jinja_missing(void);

/* Counts the code points and borrows the bytes, which must be valid UTF-8 and live as long as the value. */
bool jinja_string_borrow(jinja_run *run, const char *at, size_t n, jinja_value *out);
bool jinja_string_copy(jinja_run *run, const char *at, size_t n, jinja_value *out);
bool jinja_string_done(jinja_run *run, const jinja_text *text, jinja_value *out); /* the text is not to be added to */
size_t jinja_count_chars(const char *at, size_t n);

bool jinja_list_new(jinja_run *run, jinja_type type, const jinja_value *items, size_t n,
                    jinja_value *out); /* borrows */
bool jinja_pair(jinja_run *run, jinja_value a, jinja_value b, jinja_value *out);
bool jinja_iterator_new(jinja_run *run, const char *type_name, const jinja_value *items, size_t n, jinja_value *out);
bool jinja_undefined_new(jinja_run *run, jinja_absence kind, const jinja_string *name, const char *object,
                         jinja_value *out);
bool jinja_undefined_hint(jinja_run *run, const char *hint, jinja_value *out); /* hint is static */
bool jinja_from_json(jinja_run *run, const json_t *json, jinja_value *out);    /* strings are borrowed */

/* A list that grows in the arena. */
typedef struct {
    jinja_value *at;
    size_t n;
    size_t cap;
} jinja_items;

bool jinja_items_add(jinja_run *run, jinja_items *items, jinja_value v);

/* ---- Dictionaries: insertion order, keys by Python's equality (1 == 1.0 == True) ---- */

typedef struct {
    jinja_value key;
    jinja_value value;
    uint64_t hash;
} jinja_entry;

struct jinja_dict {
    jinja_entry *entry; /* [n] */
    size_t n;
    size_t cap;
    uint32_t *slot; /* [n_slot] index in entry + 1, or 0; NULL while n is small */
    size_t n_slot;  /* a power of two */
};

jinja_dict *jinja_dict_new(jinja_run *run, size_t n_expected);
bool jinja_dict_set(jinja_run *run, jinja_dict *dict, jinja_value key, jinja_value value);
/* *out is JINJA_MISSING where there is no such key.  False for a key that has no hash. */
bool jinja_dict_get(jinja_run *run, const jinja_dict *dict, jinja_value key, jinja_value *out);
bool jinja_dict_get_text(jinja_run *run, const jinja_dict *dict, const jinja_string *key, jinja_value *out);

/* ---- Asking values ---- */

const char *jinja_type_name(jinja_value v); /* "str", "dict" ... as type(v).__name__ */
bool jinja_truth(jinja_value v);
bool jinja_is_string(jinja_value v);
bool jinja_is_number(jinja_value v); /* bool, int, float */
bool jinja_string_is(jinja_value v, const char *text);
bool jinja_same(jinja_value a, jinja_value b); /* `is` */
bool jinja_equal(jinja_run *run, jinja_value a, jinja_value b, bool *out);
/* a < b, -1, 0, 1 into *out; a TypeError for what Python does not order; op is its sign in the message.  A NaN gives 2.
 */
bool jinja_compare(jinja_run *run, jinja_value a, jinja_value b, const char *op, int *out);
bool jinja_contains(jinja_run *run, jinja_value container, jinja_value item, bool *out);
/* len(); a TypeError where there is none. */
bool jinja_length(jinja_run *run, jinja_value v, size_t *out);
bool jinja_has_length(jinja_value v);
bool jinja_is_iterable(jinja_value v);

/* The elements of anything that can be iterated; reading an iterator uses it up. */
bool jinja_iterate(jinja_run *run, jinja_value v, jinja_list *out);

bool jinja_fail_undefined(jinja_run *run, jinja_value undefined); /* raise its error; always false */

/* ---- Printing (print.c) ---- */

bool jinja_str(jinja_run *run, jinja_value v, jinja_text *out);        /* str(v) appended */
bool jinja_repr(jinja_run *run, jinja_value v, jinja_text *out);       /* repr(v) appended */
bool jinja_to_string(jinja_run *run, jinja_value v, jinja_value *out); /* str(v); a string stays itself, safe or not */
#define JINJA_FLOAT_TEXT 48
void jinja_float_text(double f, char out[JINJA_FLOAT_TEXT]);                                    /* repr(float) */
bool jinja_to_json(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out); /* the filter tojson */
bool jinja_escape_into(jinja_run *run, const jinja_string *s, jinja_text *out);                 /* & < > ' " */
bool jinja_escaped(jinja_run *run, jinja_value string, jinja_value *out); /* as Markup; a safe string stays itself */

/* ---- Arithmetic (number.c) ---- */

typedef enum { JINJA_ADD, JINJA_SUB, JINJA_MUL, JINJA_DIV, JINJA_FLOORDIV, JINJA_MOD, JINJA_POW } jinja_operator;

bool jinja_arithmetic(jinja_run *run, jinja_operator op, jinja_value a, jinja_value b, jinja_value *out);
bool jinja_negate(jinja_run *run, jinja_value v, bool minus, jinja_value *out);
bool jinja_repeat(jinja_run *run, jinja_value sequence, int64_t times, jinja_value *out);
/* int(v) for what is a number; false with a TypeError naming `what` otherwise. */
bool jinja_index(jinja_run *run, jinja_value v, const char *what, int64_t *out);
bool jinja_parse_int(const jinja_string *s, int base, int64_t *out, bool *overflow); /* int(str, base) */
bool jinja_parse_float(const jinja_string *s, double *out);                          /* float(str) */
bool jinja_round(jinja_run *run, jinja_value v, int64_t digits, jinja_value *out);
/* A float to an int towards zero; false: NaN, infinite, or beyond 64 bits. */
bool jinja_truncate(double f, int64_t *out);

/* ---- Attributes, items, calls (lookup.c) ---- */

bool jinja_attribute(jinja_run *run, jinja_value object, const jinja_string *name, jinja_value *out); /* a.b */
/* What Python's getattr() would find, keys of a dictionary aside; JINJA_MISSING where it finds nothing. */
bool jinja_own_attribute(jinja_run *run, jinja_value object, const jinja_string *name, jinja_value *out);
bool jinja_item(jinja_run *run, jinja_value object, jinja_value key, jinja_value *out); /* a[b] */
/* start, stop, step may be JINJA_NONE. */
bool jinja_slice(jinja_run *run, jinja_value object, jinja_value start, jinja_value stop, jinja_value step,
                 jinja_value *out);
bool jinja_invoke(jinja_run *run, jinja_value callee, const jinja_args *args, jinja_value *out);
bool jinja_is_callable(jinja_value v);
/* Slots by position, then by name.  n_positional slots may be given by position; names NULL: by position only.
 * Slots not given are JINJA_MISSING; fewer than n_required is a TypeError. */
bool jinja_bind(jinja_run *run, const char *what, const jinja_args *args, size_t n_required, size_t n_slots,
                const char *const *names, jinja_value *slots);

/* ---- Text (string.c, format.c) ---- */

const jinja_method *jinja_string_method(const jinja_string *name);
/* The code points [from, to) as a value; they share the bytes of s. */
bool jinja_substring(jinja_run *run, jinja_value s, size_t from, size_t to, jinja_value *out);
size_t jinja_char_offset(const jinja_string *s, size_t char_index); /* in bytes */
/* Offset of the first needle in s at or after byte `from`; SIZE_MAX when there is none. */
size_t jinja_find_bytes(const jinja_string *s, const jinja_string *needle, size_t from);
bool jinja_percent(jinja_run *run, jinja_value format, jinja_value values, jinja_value *out); /* format % values */
jinja_call jinja_string_upper, jinja_string_lower, jinja_string_capitalize, jinja_string_strip, jinja_string_center,
    jinja_string_format, jinja_string_format_map, jinja_string_islower, jinja_string_isupper;
bool jinja_join(jinja_run *run, jinja_value separator, const jinja_list *items, bool convert, jinja_value *out);
bool jinja_replace(jinja_run *run, jinja_value s, jinja_value old, jinja_value fresh, int64_t count, jinja_value *out);
bool jinja_split_lines(jinja_run *run, jinja_value s, bool keep_ends, jinja_items *out);
/* One case mapping of a code point: 'u' upper, 'l' lower, 't' title.  Writes at most 3 code points; how many. */
size_t jinja_case(uint32_t code, char which, uint32_t out[3]);
bool jinja_is_space(uint32_t code);
bool jinja_is_word(uint32_t code); /* \w of Python's re */

/* ---- Tables ---- */

typedef struct {
    const char *name;
    jinja_call *call;
} jinja_named_call;

jinja_call *jinja_filter_find(const jinja_string *name); /* filters.c; NULL: no such filter */
jinja_call *jinja_test_find(const jinja_string *name);   /* tests.c */
jinja_call *jinja_sequence_filter_find(const jinja_string *name);
const jinja_function *jinja_global_find(const jinja_string *name); /* globals.c */
const jinja_method *jinja_container_method(jinja_value v, const jinja_string *name);

/* Look a name up by a scan: the tables are short and this happens once, at compile time. */
jinja_call *jinja_table_find(const jinja_named_call *table, size_t n, const jinja_string *name);

/* The stable order of keys[n] by `<` into order[n]; reverse keeps equal ones in their order, as Python does. */
bool jinja_sort(jinja_run *run, const jinja_value *keys, size_t n, bool reverse, size_t *order);

/* ---- The evaluator (eval.c, exec.c) ---- */

bool jinja_call_macro(jinja_run *run, const jinja_macro *macro, const jinja_args *args, jinja_value *out);
bool jinja_call_loop(jinja_run *run, const jinja_loop *loop, jinja_value items, jinja_value *out);

#endif
