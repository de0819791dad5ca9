/* schema_impl.h - how a schema becomes a grammar, shared by schema*.c.
 *
 * A literal is a subschema or a value of an enum, or the opposite of one.  A goal is a set of literals that one value
 * has to meet all together; it becomes one rule, so recursion through $ref ends as soon as a goal comes up again.
 *
 * A goal is taken apart into cases, of which a value meets at least one (a disjunctive normal form).  A case says, type
 * by type, what is left to demand: which strings and which numbers, as regular languages with all of boolean algebra;
 * and what of arrays and objects, as records whose parts are goals again.  allOf is a meeting of cases, anyOf a union,
 * not the cases of the opposite (one for each keyword that fails), oneOf all three; so each of them is exact, and what
 * a record cannot say is refused.
 *
 * Everything here lives in one arena that goes with the compilation. */
#ifndef HONE_SCHEMA_IMPL_H
#define HONE_SCHEMA_IMPL_H

#include "grammar/schema.h"

#define SC_CASES_MAX 256u    /* of one literal or goal */
#define SC_GOALS_MAX 20000u  /* of one schema */
#define SC_WORK_MAX 4000000u /* steps of one schema, about a second */
#define SC_DEPTH_MAX 64u     /* references and combinators within one value */
#define SC_COUNT_MAX 4096u   /* cells of a table of properties by count */
#define SC_PROBE_DEPTH 4u    /* how deep two branches are compared */
#define SC_UNBOUNDED HONE_RX_UNBOUNDED

enum { SC_NULL = 1, SC_TRUE = 2, SC_FALSE = 4, SC_NUMBER = 8, SC_STRING = 16, SC_ARRAY = 32, SC_OBJECT = 64 };
#define SC_TYPES 127u
#define SC_SCALARS (SC_NULL | SC_TRUE | SC_FALSE | SC_NUMBER | SC_STRING)

typedef uint32_t sc_literal; /* node << 2 | value << 1 | opposite */
typedef uint32_t sc_goal;
#define SC_ANYTHING 0u
#define SC_NOTHING 1u

/* A place in the document. */
typedef struct {
    const json_t *json;
    const char *key; /* NULL: element `index` of an array */
    uint32_t index;
    uint32_t parent; /* the root is its own */
    uint32_t root;   /* of the resource ($id) that it belongs to */
} sc_node;

typedef struct {
    const char *name;
    size_t n;
    sc_goal value;
    bool required;
} sc_property;

typedef struct {
    hone_rx key; /* regions are disjoint and hold every key, named ones too */
    sc_goal value;
} sc_region;

typedef struct {
    sc_property *property;
    sc_region *region;
    uint32_t n_property, n_region;
    uint32_t min, max; /* properties */
    bool has;          /* some property's key is in has_key and its value meets has_value */
    hone_rx has_key;
    sc_goal has_value;
    uint32_t node; /* to blame */
} sc_object;

typedef struct {
    sc_goal *prefix;
    uint32_t n_prefix;
    sc_goal rest;
    uint32_t min, max; /* items */
    bool contains;     /* some item meets some_value */
    sc_goal some_value;
    bool unique;
    uint32_t node;
} sc_array;

typedef struct {
    uint8_t types;
    bool listed;             /* numbers: each is given, its shortest spelling will do */
    bool integer;            /* numbers: written without a fraction */
    hone_rx string, number;  /* values; number: spellings without exponent, see schema_number.c */
    const sc_array *array;   /* NULL: any */
    const sc_object *object; /* NULL: any */
} sc_case;

typedef struct {
    sc_case *item;
    uint32_t n;
} sc_cases;

typedef struct {
    sc_literal *literal;
    uint32_t n;
    hone_gx gx; /* HONE_GX_FAIL before it is asked for */
    uint8_t known, empty;
    bool expanded;
    sc_cases cases;
} sc_goal_record;

typedef struct sc_chunk sc_chunk;

typedef struct {
    hone_grammar_builder *b;
    hone_regular *r;
    hone_schema_options options;
    hone_status status;
    hone_error *err;
    sc_chunk *chunk;
    sc_node *node;
    size_t n_node, node_cap;
    uint32_t *node_table; /* open addressing by json_t *, 1 + node */
    size_t node_mask;
    struct sc_id *id; /* $id and $anchor */
    size_t n_id, id_cap;
    bool plain_id; /* draft 4 and earlier write `id`: a `$id` below the root is no keyword and opens no resource */
    bool old_ref;  /* draft 7 and earlier: what stands beside $ref does not count */
    sc_goal_record *goal;
    size_t n_goal, goal_cap;
    uint32_t *goal_table;
    size_t goal_mask;
    uint32_t *todo; /* goals whose rule has no body yet */
    size_t n_todo, todo_cap;
    struct sc_memo *memo; /* cases by literal */
    size_t memo_cap;
    uint32_t work, depth;
    uint32_t at;        /* to blame for too many cases */
    hone_rx format[16]; /* schema_string.c */
    /* While it is asked whether a goal can be met (sc_goal_empty), what is refused makes the answer unknown and no
     * more. */
    uint32_t probing;
    bool probe_failed;
    hone_rx all, utf8, quote;
    hone_rx decimal, integers, spelling; /* schema_number.c; HONE_RX_FAIL before they are made */
    hone_gx comma, colon, open_object, close_object, open_array, close_array;
    hone_rx string; /* any string with its quotes */
} sc_context;

/* schema_read.c */
void *sc_alloc(sc_context *c, size_t n, size_t size); /* zeroed; NULL: c has failed */
bool sc_read(sc_context *c, const json_t *schema);
uint32_t sc_node_of(sc_context *c, const json_t *json, uint32_t parent, const char *key, uint32_t index);
bool sc_resolve(sc_context *c, uint32_t node, const char *ref, uint32_t *out);
/* The first failure sticks.  Always false.  key NULL: the node itself. */
bool sc_refuse(sc_context *c, hone_status code, uint32_t node, const char *key, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void sc_close(sc_context *c);
bool sc_strict(sc_context *c);
bool sc_count(sc_context *c, uint32_t node, const char *key, uint32_t otherwise, uint32_t *out);

static inline bool sc_ok(const sc_context *c) {
    return c->status == HONE_OK && !c->probe_failed;
}

/* schema.c: goals */
sc_goal sc_goal_of(sc_context *c, const sc_literal *literal, uint32_t n); /* sorted and made unique here */
sc_goal sc_goal_schema(sc_context *c, uint32_t parent, const char *key, uint32_t index, const json_t *schema,
                       bool opposite);
sc_goal sc_goal_value(sc_context *c, uint32_t parent, const char *key, uint32_t index, const json_t *value,
                      bool opposite);
hone_rx sc_goal_strings(sc_context *c, sc_goal g); /* the strings that meet it */
sc_goal sc_goal_and(sc_context *c, sc_goal a, sc_goal b);
bool sc_goal_empty(sc_context *c, sc_goal g, uint32_t depth); /* no value meets it, for sure */
hone_gx sc_goal_gx(sc_context *c, sc_goal g);

/* schema_cases.c */
const sc_cases *sc_literal_cases(sc_context *c, sc_literal l);
const sc_cases *sc_goal_cases(sc_context *c, sc_goal g);
sc_case sc_case_any(const sc_context *c);
void sc_cases_add(sc_context *c, sc_cases *list, const sc_case *one);
bool sc_case_empty(sc_context *c, const sc_case *one, uint32_t depth);

/* schema_string.c */
hone_rx sc_string(sc_context *c, uint32_t node); /* what the keywords for strings demand */
void sc_string_not(sc_context *c, uint32_t node, sc_cases *out);

/* schema_number.c */
bool sc_number(sc_context *c, uint32_t node, sc_case *out);
void sc_number_not(sc_context *c, uint32_t node, sc_cases *out);
hone_rx sc_number_value(sc_context *c, const json_t *value); /* every spelling of it */
hone_rx sc_number_integers(sc_context *c);
hone_rx sc_number_except(sc_context *c, hone_rx values);
hone_rx sc_number_gx(sc_context *c, const sc_case *one);

/* schema_object.c, schema_array.c: NULL: no demand */
const sc_object *sc_object_read(sc_context *c, uint32_t node);
void sc_object_not(sc_context *c, uint32_t node, sc_cases *out);
const sc_object *sc_object_value(sc_context *c, uint32_t node);
void sc_object_value_not(sc_context *c, uint32_t node, sc_cases *out);
const sc_object *sc_object_meet(sc_context *c, const sc_object *a, const sc_object *b);
bool sc_object_empty(sc_context *c, const sc_object *o, uint32_t depth);
hone_gx sc_object_gx(sc_context *c, const sc_object *o);
sc_object *sc_object_any(sc_context *c, uint32_t node);
sc_object *sc_object_with(sc_context *c, uint32_t node, const char *name, size_t n, sc_goal value, bool required);

const sc_array *sc_array_read(sc_context *c, uint32_t node);
void sc_array_not(sc_context *c, uint32_t node, sc_cases *out);
const sc_array *sc_array_value(sc_context *c, uint32_t node);
void sc_array_value_not(sc_context *c, uint32_t node, sc_cases *out);
const sc_array *sc_array_meet(sc_context *c, const sc_array *a, const sc_array *b);
bool sc_array_empty(sc_context *c, const sc_array *a, uint32_t depth);
hone_gx sc_array_gx(sc_context *c, const sc_array *a);

#endif
