/* json.h - jansson with our rules: duplicate keys refused, errors with a position, typed getters.
 *
 * jansson's allocation goes through mem.h after hone_json_init(). */
#ifndef HONE_JSON_H
#define HONE_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/status.h"

/* Once, at program start: routes jansson to mem.h. */
void hone_json_init(void);

/* jansson's builders lose what they have no memory for, json_deep_copy() without a word.  Where nothing may be missing,
 * reset before building and ask after it.  Per thread; after hone_json_init(). */
void hone_json_memory_reset(void);
bool hone_json_memory_ok(void);

/* One JSON value of any type, nothing behind it.  NULL on error; err's position is the byte offset. */
json_t *hone_json_parse(const char *text, size_t n, hone_error *err);
json_t *hone_json_load(const char *path, hone_error *err);

/* Compact text appended to out; keys in insertion order. */
bool hone_json_write(const json_t *value, hone_buf *out);

/* Getters with a default for an absent or null key.  A wrong type or range is HONE_ERR_FORMAT naming the key. */
hone_status hone_json_get_string(const json_t *object, const char *key, const char **out, const char *otherwise,
                                 hone_error *err);
hone_status hone_json_get_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *out,
                              int64_t otherwise, hone_error *err);
hone_status hone_json_get_real(const json_t *object, const char *key, double *out, double otherwise, hone_error *err);
hone_status hone_json_get_bool(const json_t *object, const char *key, bool *out, bool otherwise, hone_error *err);

#endif
