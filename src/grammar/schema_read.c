/* schema_read.c - the document of a schema: where everything stands, what references mean, how failures are told.
 * Refuses references to elsewhere: nothing is fetched.
 * Order: memory, failures, places, identifiers, references, counts. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "grammar/schema_impl.h"

/* ---- Memory: freed all at once ---- */

#define CHUNK_BYTES 16384u

struct sc_chunk {
    sc_chunk *next;
    size_t used, size;
    _Alignas(16) uint8_t bytes[];
};

void *sc_alloc(sc_context *c, size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n ? n : 1, size, &bytes) || bytes > ((size_t)1 << 28)) {
        sc_refuse(c, HONE_ERR_LIMIT, 0, NULL, "the schema needs too much memory");
        return NULL;
    }
    bytes = (bytes + 15) & ~(size_t)15;
    if (!c->chunk || c->chunk->size - c->chunk->used < bytes) {
        const size_t room = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        sc_chunk *fresh = hone_zalloc(1, sizeof(*fresh) + room);
        if (!fresh) {
            sc_refuse(c, HONE_ERR_NOMEM, 0, NULL, "no memory");
            return NULL;
        }
        fresh->size = room;
        fresh->next = c->chunk;
        c->chunk = fresh;
    }
    void *out = c->chunk->bytes + c->chunk->used;
    c->chunk->used += bytes;
    return out;
}

struct sc_id {
    const char *uri; /* without fragment; in the arena */
    const char *anchor;
    uint32_t node;
};

void sc_close(sc_context *c) {
    while (c->chunk) {
        sc_chunk *next = c->chunk->next;
        hone_free(c->chunk);
        c->chunk = next;
    }
    hone_free(c->node);
    hone_free(c->node_table);
    hone_free(c->id);
    hone_free(c->goal);
    hone_free(c->goal_table);
    hone_free(c->todo);
    hone_free(c->memo);
}

/* ---- Failures ---- */

static void add_pointer_part(hone_buf *b, const char *key) {
    hone_buf_char(b, '/');
    for (const char *p = key; *p; p++) {
        if (*p == '~')
            hone_buf_text(b, "~0");
        else if (*p == '/')
            hone_buf_text(b, "~1");
        else
            hone_buf_char(b, *p);
    }
}

static void add_pointer(const sc_context *c, uint32_t node, hone_buf *b) {
    uint32_t path[128], n = 0;
    while (node < c->n_node && c->node[node].parent != node && n < 128) {
        path[n++] = node;
        node = c->node[node].parent;
    }
    hone_buf_char(b, '#');
    while (n-- > 0) {
        const sc_node *at = &c->node[path[n]];
        if (at->key)
            add_pointer_part(b, at->key);
        else
            hone_buf_format(b, "/%u", at->index);
    }
}

bool sc_refuse(sc_context *c, hone_status code, uint32_t node, const char *key, const char *format, ...) {
    if (c->status != HONE_OK) return false;
    if (c->probing && (code == HONE_ERR_UNSUPPORTED || code == HONE_ERR_LIMIT)) {
        c->probe_failed = true;
        return false;
    }
    hone_buf b = {0};
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    add_pointer(c, node, &b);
    if (key) add_pointer_part(&b, key);
    c->status = hone_fail(c->err, code, "%s: %s", hone_buf_str(&b), what);
    hone_buf_free(&b);
    return false;
}

/* ---- Places ---- */

static size_t hash_pointer(const void *p) {
    uint64_t x = (uint64_t)(uintptr_t)p >> 4;
    x *= 0x9E3779B97F4A7C15u;
    return (size_t)(x >> 20);
}

static bool node_table_grow(sc_context *c) {
    const size_t n = c->node_table ? (c->node_mask + 1) * 2 : 256;
    uint32_t *table = hone_zalloc(n, sizeof(*table));
    if (!table) return sc_refuse(c, HONE_ERR_NOMEM, 0, NULL, "no memory");
    for (uint32_t i = 0; i < c->n_node; i++) {
        size_t at = hash_pointer(c->node[i].json) & (n - 1);
        while (table[at]) at = (at + 1) & (n - 1);
        table[at] = i + 1;
    }
    hone_free(c->node_table);
    c->node_table = table;
    c->node_mask = n - 1;
    return true;
}

/* Only objects and arrays are told apart by their address; true, false and null are everywhere the same. */
uint32_t sc_node_of(sc_context *c, const json_t *json, uint32_t parent, const char *key, uint32_t index) {
    if (!c->node_table || c->n_node * 2 > c->node_mask)
        if (!node_table_grow(c)) return 0;
    size_t at = hash_pointer(json) & c->node_mask;
    for (; c->node_table[at]; at = (at + 1) & c->node_mask)
        if (c->node[c->node_table[at] - 1].json == json) return c->node_table[at] - 1;
    if (c->n_node > (1u << 22) || !hone_grow(&c->node, &c->node_cap, c->n_node, sizeof(*c->node))) {
        sc_refuse(c, HONE_ERR_NOMEM, 0, NULL, "no memory");
        return 0;
    }
    const uint32_t id = (uint32_t)c->n_node++;
    c->node[id] = (sc_node){.json = json, .key = key, .index = index, .parent = id ? parent : 0};
    c->node[id].root = id ? c->node[parent].root : 0;
    c->node_table[at] = id + 1;
    return id;
}

/* ---- Identifiers ---- */

static const char *base_of(const sc_context *c, uint32_t root) {
    for (size_t i = 0; i < c->n_id; i++)
        if (c->id[i].node == root && !c->id[i].anchor) return c->id[i].uri;
    return "";
}

/* RFC 3986, 5.2, as far as identifiers of schemas go: an absolute URI, a path from the root, or a sibling. */
static const char *join_uri(sc_context *c, const char *base, const char *ref, size_t n) {
    size_t scheme = 0;
    while (scheme < n && ((ref[scheme] | 32) >= 'a' && (ref[scheme] | 32) <= 'z')) scheme++;
    size_t keep = 0;
    if (!(scheme > 0 && scheme < n && ref[scheme] == ':')) {
        const char *authority = strstr(base, "://");
        const char *path = authority ? strchr(authority + 3, '/') : strchr(base, '/');
        const char *last = strrchr(base, '/');
        if (n && ref[0] == '/')
            keep = path ? (size_t)(path - base) : strlen(base);
        else if (last && path)
            keep = (size_t)(last - base) + 1;
    }
    char *out = sc_alloc(c, keep + n + 1, 1);
    if (!out) return NULL;
    memcpy(out, base, keep);
    memcpy(out + keep, ref, n);
    return out;
}

static bool add_id(sc_context *c, const char *uri, const char *anchor, uint32_t node) {
    if (!uri) return false;
    if (!hone_grow(&c->id, &c->id_cap, c->n_id, sizeof(*c->id)))
        return sc_refuse(c, HONE_ERR_NOMEM, 0, NULL, "no memory");
    c->id[c->n_id++] = (struct sc_id){.uri = uri, .anchor = anchor, .node = node};
    return true;
}

static bool is_data(const char *key) {
    return strcmp(key, "enum") == 0 || strcmp(key, "const") == 0 || strcmp(key, "default") == 0 ||
           strcmp(key, "examples") == 0 || strcmp(key, "example") == 0;
}

/* names: the members of this object are names that users gave, not keywords. */
static bool index_nodes(sc_context *c, uint32_t node, bool names, uint32_t depth) {
    if (depth > 500) return sc_refuse(c, HONE_ERR_LIMIT, node, NULL, "nested too deeply");
    const json_t *json = c->node[node].json;
    if (json_is_array(json)) {
        for (size_t i = 0; i < json_array_size(json); i++) {
            const json_t *child = json_array_get(json, i);
            if (!json_is_object(child) && !json_is_array(child)) continue;
            if (!index_nodes(c, sc_node_of(c, child, node, NULL, (uint32_t)i), false, depth + 1)) return false;
        }
        return sc_ok(c);
    }
    if (!names) {
        const char *id = c->plain_id && node != 0 ? NULL : json_string_value(json_object_get(json, "$id"));
        if (!id) {
            id = json_string_value(json_object_get(json, "id"));
            if (id && node != 0 && id[0] != '#' && !strstr(id, "://")) id = NULL; /* more likely a property's */
        }
        const bool ignored = c->old_ref && json_object_get(json, "$ref");
        if (id && !ignored) {
            const char *mark = strchr(id, '#');
            const size_t n = mark ? (size_t)(mark - id) : strlen(id);
            if (n) {
                const char *uri = join_uri(c, base_of(c, c->node[node].root), id, n);
                c->node[node].root = node;
                if (!add_id(c, uri, NULL, node)) return false;
            }
            if (mark && mark[1] && !add_id(c, base_of(c, c->node[node].root), mark + 1, node)) return false;
        }
        const char *anchor = json_string_value(json_object_get(json, "$anchor"));
        if (anchor && !add_id(c, base_of(c, c->node[node].root), anchor, node)) return false;
    }
    const char *key;
    json_t *child;
    json_object_foreach((json_t *)(uintptr_t)json, key, child) {
        if ((!json_is_object(child) && !json_is_array(child)) || (!names && is_data(key))) continue;
        const bool inside = !names && (strcmp(key, "properties") == 0 || strcmp(key, "patternProperties") == 0 ||
                                       strcmp(key, "$defs") == 0 || strcmp(key, "definitions") == 0);
        if (!index_nodes(c, sc_node_of(c, child, node, key, 0), inside, depth + 1)) return false;
    }
    return sc_ok(c);
}

bool sc_read(sc_context *c, const json_t *schema) {
    const uint32_t root = sc_node_of(c, schema, 0, NULL, 0);
    if (!sc_ok(c)) return false;
    const char *draft = json_string_value(json_object_get(schema, "$schema"));
    if (draft) {
        c->plain_id = strstr(draft, "draft-03") || strstr(draft, "draft-04");
        c->old_ref = strstr(draft, "draft-03") || strstr(draft, "draft-04") || strstr(draft, "draft-05") ||
                     strstr(draft, "draft-06") || strstr(draft, "draft-07");
    }
    return !json_is_object(schema) || index_nodes(c, root, false, 0);
}

/* ---- References ---- */

static int hex(char x) {
    if (x >= '0' && x <= '9') return x - '0';
    return (x | 32) >= 'a' && (x | 32) <= 'f' ? (x | 32) - 'a' + 10 : -1;
}

/* One part of a JSON pointer in a URI, percent and ~ undone. */
static void unescape(const char *from, size_t n, char *to) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        char ch = from[i];
        if (ch == '%' && i + 2 < n && hex(from[i + 1]) >= 0 && hex(from[i + 2]) >= 0) {
            ch = (char)(hex(from[i + 1]) * 16 + hex(from[i + 2]));
            i += 2;
        }
        to[k++] = ch;
    }
    n = k;
    k = 0;
    for (size_t i = 0; i < n; i++) {
        if (to[i] == '~' && i + 1 < n && (to[i + 1] == '0' || to[i + 1] == '1'))
            to[k++] = to[++i] == '0' ? '~' : '/';
        else
            to[k++] = to[i];
    }
    to[k] = 0;
}

bool sc_resolve(sc_context *c, uint32_t node, const char *ref, uint32_t *out) {
    const char *mark = strchr(ref, '#');
    const size_t n = mark ? (size_t)(mark - ref) : strlen(ref);
    const char *fragment = mark ? mark + 1 : "";
    uint32_t at = c->node[node].root;
    if (n) {
        const char *uri = join_uri(c, base_of(c, at), ref, n);
        if (!uri) return false;
        bool found = false;
        for (size_t i = 0; i < c->n_id && !found; i++)
            if (!c->id[i].anchor && strcmp(c->id[i].uri, uri) == 0) {
                at = c->id[i].node;
                found = true;
            }
        if (!found)
            return sc_refuse(c, HONE_ERR_UNSUPPORTED, node, "$ref",
                             "%.100s is not in this document, and nothing is fetched", ref);
    }
    if (*fragment && *fragment != '/') {
        const char *uri = base_of(c, at);
        for (size_t i = 0; i < c->n_id; i++)
            if (c->id[i].anchor && strcmp(c->id[i].anchor, fragment) == 0 && strcmp(c->id[i].uri, uri) == 0) {
                *out = c->id[i].node;
                return true;
            }
        return sc_refuse(c, HONE_ERR_FORMAT, node, "$ref", "no anchor %.100s", ref);
    }
    while (*fragment) {
        const char *end = strchr(fragment + 1, '/');
        const size_t k = end ? (size_t)(end - fragment - 1) : strlen(fragment + 1);
        char *part = sc_alloc(c, k + 1, 1);
        if (!part) return false;
        unescape(fragment + 1, k, part);
        const json_t *json = c->node[at].json, *child = NULL;
        uint32_t index = 0;
        if (json_is_object(json))
            child = json_object_get(json, part);
        else if (json_is_array(json) && *part >= '0' && *part <= '9') {
            index = (uint32_t)strtoul(part, NULL, 10);
            child = json_array_get(json, index);
        }
        if (!child) return sc_refuse(c, HONE_ERR_FORMAT, node, "$ref", "%.100s leads nowhere", ref);
        at = sc_node_of(c, child, at, json_is_object(json) ? part : NULL, index);
        if (!sc_ok(c)) return false;
        fragment += 1 + k;
    }
    *out = at;
    return true;
}

/* ---- Counts ---- */

bool sc_count(sc_context *c, uint32_t node, const char *key, uint32_t otherwise, uint32_t *out) {
    *out = otherwise;
    const json_t *v = json_object_get(c->node[node].json, key);
    if (!v) return true;
    const double x = json_number_value(v);
    if (!json_is_number(v) || x < 0 || floor(x) != x)
        return sc_refuse(c, HONE_ERR_FORMAT, node, key, "must be a whole number, not negative");
    *out = x > 1e9 ? SC_UNBOUNDED - 1 : (uint32_t)x;
    return true;
}
