/* gguf.c - the GGUF reader.
 *
 * A file is: "GGUF", version u32, tensor count u64, key count u64; the keys, each a string, a type u32 and a value; the
 * tensor directory, each a string, dimension count u32, that many u64, a type u32 and an offset u64; padding to
 * general.alignment; tensor data, offsets counted from there.  A string is a length u64 and bytes.
 *
 * Refused: version 1 (its lengths were 32 bits wide), big-endian files, arrays of arrays, tensor types outside
 * kernel/dtype.h, empty tensors.
 *
 * Order: reading bytes, metadata, tensor directory, open and close, look-ups. */
#include "model/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

enum { T_U8, T_I8, T_U16, T_I16, T_U32, T_I32, T_F32, T_BOOL, T_STRING, T_ARRAY, T_U64, T_I64, T_F64, T_COUNT };

/* Bytes of a value of fixed width; 0: string, array. */
static const uint8_t type_bytes[T_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static const char *const type_name[T_COUNT] = {"uint8", "int8", "uint16", "int16",  "uint32", "int32",  "float32",
                                               "bool",  "text", "array",  "uint64", "int64",  "float64"};

/* The smallest key (length, type, one byte) and directory entry (length, dimensions, one size, type, offset): what a
 * count must fit into the file by, before anything is allocated for it. */
#define KEY_MIN_BYTES 13u
#define ENTRY_MIN_BYTES 32u

typedef struct {
    hone_gguf_text name;
    uint32_t type;
    uint32_t element; /* of an array */
    uint64_t n;       /* elements of an array */
    const uint8_t *value;
    const uint8_t *begin, *end; /* from the type to what follows the value */
} entry;

struct hone_gguf {
    const uint8_t *bytes;
    size_t n_bytes;
    char name[256];
    uint32_t version;
    uint64_t alignment;
    uint64_t n_key, n_tensor;
    entry *key;               /* [n_key], sorted by name */
    hone_gguf_tensor *tensor; /* [n_tensor], in the file's order */
    uint32_t *by_name;        /* [n_tensor], indices into tensor, sorted by name */
    hone_map map;             /* of hone_gguf_open_path */
};

/* ---- reading bytes: every read says what it reads, so that a file that ends early is explained ---- */

typedef struct {
    const hone_gguf *g;
    size_t at;
    hone_error *err;
} reader;

static hone_status ends_early(const reader *r, uint64_t want, const char *what) {
    const uint64_t left = r->g->n_bytes - r->at;
    return hone_fail_at(r->err, HONE_ERR_FORMAT, (int64_t)r->at,
                        "%s: file ends inside %s at byte %zu of %zu: at least %llu bytes are missing", r->g->name, what,
                        r->at, r->g->n_bytes, (unsigned long long)(want - left));
}

static hone_status take(reader *r, uint64_t n, const uint8_t **out, const char *what) {
    if (n > r->g->n_bytes - r->at) return ends_early(r, n, what);
    *out = r->g->bytes + r->at;
    r->at += (size_t)n;
    return HONE_OK;
}

static uint64_t load(const uint8_t *p, unsigned n) {
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++) v |= (uint64_t)p[i] << (8u * i);
    return v;
}

static hone_status take_u(reader *r, unsigned n, uint64_t *out, const char *what) {
    const uint8_t *p = NULL;
    const hone_status s = take(r, n, &p, what);
    if (s == HONE_OK) *out = load(p, n);
    return s;
}

static hone_status take_text(reader *r, hone_gguf_text *out, const char *what) {
    uint64_t n = 0;
    const uint8_t *p = NULL;
    hone_status s = take_u(r, 8, &n, what);
    if (s == HONE_OK) s = take(r, n, &p, what);
    if (s == HONE_OK) *out = (hone_gguf_text){(const char *)p, (size_t)n};
    return s;
}

static int compare_text(hone_gguf_text a, hone_gguf_text b) {
    const size_t n = a.n < b.n ? a.n : b.n;
    const int c = n ? memcmp(a.text, b.text, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* For messages: names are the file's, so they are cut and cleaned. */
static const char *shown(hone_gguf_text t, char out[80]) {
    const size_t n = t.n < 76 ? t.n : 76;
    for (size_t i = 0; i < n; i++) out[i] = t.text[i] >= 32 && t.text[i] < 127 ? t.text[i] : '?';
    memcpy(out + n, t.n > n ? "..." : "", t.n > n ? 4u : 1u);
    return out;
}

/* ---- metadata ---- */

static hone_status read_value(reader *r, entry *e) {
    const hone_gguf *g = r->g;
    char s[80];
    hone_status st;
    if (e->type >= T_COUNT)
        return hone_fail_at(r->err, HONE_ERR_FORMAT, (int64_t)r->at, "%s: key %s has unknown type %u", g->name,
                            shown(e->name, s), e->type);
    uint64_t n = 1;
    uint32_t type = e->type;
    if (type == T_ARRAY) {
        uint64_t element = 0;
        if ((st = take_u(r, 4, &element, "an array")) || (st = take_u(r, 8, &n, "an array"))) return st;
        if (element >= T_COUNT)
            return hone_fail_at(r->err, HONE_ERR_FORMAT, (int64_t)r->at, "%s: array %s has unknown element type %u",
                                g->name, shown(e->name, s), (uint32_t)element);
        if (element == T_ARRAY)
            return hone_fail_at(r->err, HONE_ERR_UNSUPPORTED, (int64_t)r->at, "%s: key %s is an array of arrays",
                                g->name, shown(e->name, s));
        type = e->element = (uint32_t)element;
        e->n = n;
    }
    const uint8_t *p = NULL;
    e->value = g->bytes + r->at;
    if (type == T_STRING) {
        /* A lying count ends at the end of the file, not after 2^64 steps: every string takes eight bytes. */
        for (uint64_t i = 0; i < n; i++) {
            hone_gguf_text t;
            if ((st = take_text(r, &t, "a text value"))) return st;
        }
        return HONE_OK;
    }
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(n, (uint64_t)type_bytes[type], &bytes))
        return hone_fail_at(r->err, HONE_ERR_FORMAT, (int64_t)r->at, "%s: array %s has %llu elements: that overflows",
                            g->name, shown(e->name, s), (unsigned long long)n);
    if ((st = take(r, bytes, &p, "a value"))) return st;
    if (type == T_BOOL)
        for (uint64_t i = 0; i < n; i++)
            if (p[i] > 1)
                return hone_fail_at(r->err, HONE_ERR_FORMAT, p + i - g->bytes, "%s: key %s holds a bool that is %u",
                                    g->name, shown(e->name, s), p[i]);
    return HONE_OK;
}

static int compare_keys(const void *a, const void *b) {
    return compare_text(((const entry *)a)->name, ((const entry *)b)->name);
}

static hone_status read_metadata(hone_gguf *g, reader *r) {
    hone_status s = HONE_OK;
    char text[80];
    if (g->n_key > (g->n_bytes - r->at) / KEY_MIN_BYTES)
        return hone_fail_at(r->err, HONE_ERR_FORMAT, 16,
                            "%s: header promises %llu keys, more than %zu bytes can hold: file is broken or truncated",
                            g->name, (unsigned long long)g->n_key, g->n_bytes);
    if (!(g->key = hone_zalloc((size_t)g->n_key, sizeof(*g->key))))
        return hone_fail(r->err, HONE_ERR_NOMEM, "%s: no memory for %llu keys", g->name, (unsigned long long)g->n_key);
    for (uint64_t i = 0; i < g->n_key; i++) {
        entry *e = &g->key[i];
        uint64_t type = 0;
        if ((s = take_text(r, &e->name, "a key"))) return s;
        e->begin = g->bytes + r->at;
        if ((s = take_u(r, 4, &type, "a key's type"))) return s;
        e->type = (uint32_t)type;
        if ((s = read_value(r, e))) return s;
        e->end = g->bytes + r->at;
    }
    qsort(g->key, (size_t)g->n_key, sizeof(*g->key), compare_keys);
    for (uint64_t i = 1; i < g->n_key; i++)
        if (compare_text(g->key[i - 1].name, g->key[i].name) == 0)
            return hone_fail(r->err, HONE_ERR_FORMAT, "%s: key %s occurs twice", g->name, shown(g->key[i].name, text));
    return HONE_OK;
}

/* ---- tensor directory ---- */

/* ggml's numbers of the types that kernel/dtype.h knows; the rest by name, for the message. */
static const struct {
    uint8_t ggml;
    hone_dtype dtype;
} types[] = {{0, HONE_F32},     {1, HONE_F16},     {2, HONE_Q4_0},  {3, HONE_Q4_1},   {6, HONE_Q5_0},  {7, HONE_Q5_1},
             {8, HONE_Q8_0},    {10, HONE_Q2_K},   {11, HONE_Q3_K}, {12, HONE_Q4_K},  {13, HONE_Q5_K}, {14, HONE_Q6_K},
             {20, HONE_IQ4_NL}, {23, HONE_IQ4_XS}, {30, HONE_BF16}, {39, HONE_MXFP4}, {40, HONE_NVFP4}};

static bool dtype_of(uint32_t type, hone_dtype *out) {
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        if (types[i].ggml == type) {
            *out = types[i].dtype;
            return true;
        }
    return false;
}

uint32_t hone_gguf_type_of(hone_dtype dtype) {
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        if (types[i].dtype == dtype) return types[i].ggml;
    return UINT32_MAX;
}

static const char *ggml_type_name(uint32_t type) {
    static const char *const names[] = {
        "F32",        "F16",        "Q4_0",       "Q4_1",  "Q4_2",     "Q4_3",     "Q5_0",     "Q5_1",    "Q8_0",
        "Q8_1",       "Q2_K",       "Q3_K",       "Q4_K",  "Q5_K",     "Q6_K",     "Q8_K",     "IQ2_XXS", "IQ2_XS",
        "IQ3_XXS",    "IQ1_S",      "IQ4_NL",     "IQ3_S", "IQ2_S",    "IQ4_XS",   "I8",       "I16",     "I32",
        "I64",        "F64",        "IQ1_M",      "BF16",  "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0",
        "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4", "NVFP4"};
    return type < sizeof(names) / sizeof(*names) ? names[type] : "unknown";
}

static hone_status read_entry(reader *r, hone_gguf_tensor *t, uint64_t *offset) {
    const hone_gguf *g = r->g;
    hone_gguf_text name;
    uint64_t v = 0;
    hone_status s;
    if ((s = take_text(r, &name, "a tensor's name"))) return s;
    char text[80];
    if (name.n == 0 || name.n >= HONE_GGUF_NAME || memchr(name.text, 0, name.n))
        return hone_fail_at(r->err, HONE_ERR_FORMAT, (int64_t)r->at,
                            "%s: tensor name %s has %zu bytes: 1 to %u without NUL are allowed", g->name,
                            shown(name, text), name.n, HONE_GGUF_NAME - 1);
    memcpy(t->name, name.text, name.n);
    shown(name, text);

    if ((s = take_u(r, 4, &v, "a tensor's shape"))) return s;
    if (v < 1 || v > 4)
        return hone_fail_at(r->err, HONE_ERR_FORMAT, (int64_t)r->at,
                            "%s: tensor %s has %llu dimensions: 1 to 4 are allowed", g->name, text,
                            (unsigned long long)v);
    t->n_dim = (uint32_t)v;
    uint64_t rows = 1;
    for (uint32_t d = 0; d < 4; d++) {
        t->shape[d] = 1;
        if (d >= t->n_dim) continue;
        if ((s = take_u(r, 8, &t->shape[d], "a tensor's shape"))) return s;
        if (t->shape[d] == 0)
            return hone_fail_at(r->err, HONE_ERR_FORMAT, (int64_t)r->at, "%s: tensor %s: dimension %u is 0", g->name,
                                text, d);
        if (d > 0 && __builtin_mul_overflow(rows, t->shape[d], &rows)) goto overflow;
    }
    if ((s = take_u(r, 4, &v, "a tensor's type"))) return s;
    if (!dtype_of((uint32_t)v, &t->dtype))
        return hone_fail_at(r->err, HONE_ERR_UNSUPPORTED, (int64_t)r->at,
                            "%s: tensor %s has type %llu (%s), which is not supported", g->name, text,
                            (unsigned long long)v, ggml_type_name((uint32_t)v));
    if (t->shape[0] % hone_dtype_block(t->dtype) != 0)
        return hone_fail_at(r->err, HONE_ERR_FORMAT, (int64_t)r->at,
                            "%s: tensor %s: rows of %llu elements are no whole number of %s blocks", g->name, text,
                            (unsigned long long)t->shape[0], hone_dtype_name(t->dtype));
    size_t row_bytes = 0;
    if (!hone_dtype_row_bytes(t->dtype, t->shape[0], &row_bytes) || __builtin_mul_overflow(row_bytes, rows, &t->bytes))
        goto overflow;
    return take_u(r, 8, offset, "a tensor's offset");
overflow:
    return hone_fail_at(r->err, HONE_ERR_FORMAT, (int64_t)r->at, "%s: tensor %s: its shape overflows", g->name, text);
}

static int compare_data(const void *a, const void *b) {
    const hone_gguf_tensor *x = *(const hone_gguf_tensor *const *)a, *y = *(const hone_gguf_tensor *const *)b;
    const uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    return (p > q) - (p < q);
}

static int compare_names(const void *a, const void *b, void *tensors) {
    const hone_gguf_tensor *t = tensors;
    return strcmp(t[*(const uint32_t *)a].name, t[*(const uint32_t *)b].name);
}

/* Every tensor inside the file, aligned, and none over another. */
static hone_status place(hone_gguf *g, const uint64_t *offset, uint64_t base, hone_error *err) {
    uint64_t end = base;
    const char *last = "";
    for (uint64_t i = 0; i < g->n_tensor; i++) {
        const hone_gguf_tensor *t = &g->tensor[i];
        uint64_t from = 0, to = 0;
        if (__builtin_add_overflow(base, offset[i], &from) || __builtin_add_overflow(from, (uint64_t)t->bytes, &to))
            return hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %s: its offset overflows", g->name, t->name);
        if (offset[i] % g->alignment)
            return hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %s: offset %llu is no multiple of the alignment %llu",
                             g->name, t->name, (unsigned long long)offset[i], (unsigned long long)g->alignment);
        if (to > end) end = to, last = t->name;
    }
    if (g->n_tensor > 0 && end > g->n_bytes)
        return hone_fail_at(
            err, HONE_ERR_FORMAT, (int64_t)g->n_bytes,
            "%s: file is truncated: tensor %s ends at byte %llu, the file at %zu: %llu bytes are missing", g->name,
            last, (unsigned long long)end, g->n_bytes, (unsigned long long)(end - g->n_bytes));
    if (g->n_tensor == 0) return HONE_OK; /* a vocabulary alone; there may be no padding either */
    const hone_gguf_tensor **order = hone_zalloc((size_t)g->n_tensor, sizeof(*order));
    if (!order) return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory for the tensor directory", g->name);
    for (uint64_t i = 0; i < g->n_tensor; i++) {
        g->tensor[i].data = g->bytes + base + offset[i];
        order[i] = &g->tensor[i];
    }
    qsort(order, (size_t)g->n_tensor, sizeof(*order), compare_data);
    hone_status s = HONE_OK;
    for (uint64_t i = 1; i < g->n_tensor && s == HONE_OK; i++)
        if ((const uint8_t *)order[i - 1]->data + order[i - 1]->bytes > (const uint8_t *)order[i]->data)
            s = hone_fail(err, HONE_ERR_FORMAT, "%s: tensors %s and %s overlap", g->name, order[i - 1]->name,
                          order[i]->name);
    hone_free(order);
    return s;
}

static hone_status read_tensors(hone_gguf *g, reader *r) {
    if (g->n_tensor > (g->n_bytes - r->at) / ENTRY_MIN_BYTES || g->n_tensor > UINT32_MAX)
        return hone_fail_at(
            r->err, HONE_ERR_FORMAT, 8,
            "%s: header promises %llu tensors, more than %zu bytes can hold: file is broken or truncated", g->name,
            (unsigned long long)g->n_tensor, g->n_bytes);
    int64_t alignment = 32;
    hone_status s = hone_gguf_opt_int(g, "general.alignment", 8, 1 << 20, &alignment, r->err);
    if (s) return s;
    if (alignment & (alignment - 1))
        return hone_fail(r->err, HONE_ERR_FORMAT, "%s: general.alignment is %lld, no power of two", g->name,
                         (long long)alignment);
    g->alignment = (uint64_t)alignment;

    uint64_t *offset = hone_zalloc((size_t)g->n_tensor, sizeof(*offset));
    g->tensor = hone_zalloc((size_t)g->n_tensor, sizeof(*g->tensor));
    g->by_name = hone_zalloc((size_t)g->n_tensor, sizeof(*g->by_name));
    if (!offset || !g->tensor || !g->by_name) {
        s = hone_fail(r->err, HONE_ERR_NOMEM, "%s: no memory for %llu tensors", g->name,
                      (unsigned long long)g->n_tensor);
        goto done;
    }
    for (uint64_t i = 0; i < g->n_tensor && s == HONE_OK; i++) {
        s = read_entry(r, &g->tensor[i], &offset[i]);
        g->by_name[i] = (uint32_t)i;
    }
    if (s) goto done;
    qsort_r(g->by_name, (size_t)g->n_tensor, sizeof(*g->by_name), compare_names, g->tensor);
    for (uint64_t i = 1; i < g->n_tensor; i++)
        if (strcmp(g->tensor[g->by_name[i - 1]].name, g->tensor[g->by_name[i]].name) == 0) {
            s = hone_fail(r->err, HONE_ERR_FORMAT, "%s: tensor %s occurs twice", g->name,
                          g->tensor[g->by_name[i]].name);
            goto done;
        }
    /* r->at < n_bytes < 2^63: rounding up does not overflow */
    s = place(g, offset, ((uint64_t)r->at + g->alignment - 1) / g->alignment * g->alignment, r->err);
done:
    hone_free(offset);
    return s;
}

/* ---- open and close ---- */

bool hone_gguf_is(const void *bytes, size_t n) {
    return n >= 4 && memcmp(bytes, "GGUF", 4) == 0;
}

static hone_status read_file(hone_gguf *g, hone_error *err) {
    reader r = {g, 0, err};
    const uint8_t *magic = NULL;
    uint64_t version = 0;
    hone_status s;
    if ((s = take(&r, 4, &magic, "the header"))) return s;
    if (memcmp(magic, "GGUF", 4) != 0)
        return hone_fail_at(err, HONE_ERR_FORMAT, 0, "%s: no GGUF file: it does not begin with \"GGUF\"", g->name);
    if ((s = take_u(&r, 4, &version, "the header"))) return s;
    if (version != 2 && version != 3) {
        if ((version & 0xffffu) == 0 && version != 0)
            return hone_fail_at(err, HONE_ERR_UNSUPPORTED, 4, "%s: a big-endian GGUF file, which is not supported",
                                g->name);
        return hone_fail_at(err, HONE_ERR_UNSUPPORTED, 4, "%s: GGUF version %llu; 2 and 3 are supported", g->name,
                            (unsigned long long)version);
    }
    g->version = (uint32_t)version;
    if ((s = take_u(&r, 8, &g->n_tensor, "the header")) || (s = take_u(&r, 8, &g->n_key, "the header"))) return s;
    if ((s = read_metadata(g, &r))) return s;
    return read_tensors(g, &r);
}

hone_status hone_gguf_open(hone_gguf **out, const void *bytes, size_t n, const char *name, hone_error *err) {
    *out = NULL;
    hone_gguf *g = hone_zalloc(1, sizeof(*g));
    if (!g) return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory", name);
    g->bytes = bytes;
    g->n_bytes = n;
    snprintf(g->name, sizeof(g->name), "%s", name);
    const hone_status s = read_file(g, err);
    if (s) {
        hone_gguf_close(g);
        return s;
    }
    *out = g;
    return HONE_OK;
}

hone_status hone_gguf_open_path(hone_gguf **out, const char *path, hone_error *err) {
    *out = NULL;
    hone_map map = {0};
    hone_status s = hone_map_path(&map, path, err);
    if (s) return s;
    s = hone_gguf_open(out, map.data, map.bytes, path, err);
    if (s)
        hone_map_close(&map);
    else
        (*out)->map = map;
    return s;
}

void hone_gguf_close(hone_gguf *g) {
    if (!g) return;
    hone_map_close(&g->map);
    hone_free(g->key);
    hone_free(g->tensor);
    hone_free(g->by_name);
    hone_free(g);
}

uint32_t hone_gguf_version(const hone_gguf *g) {
    return g->version;
}

/* ---- look-ups ---- */

static const entry *find(const hone_gguf *g, const char *key) {
    const hone_gguf_text want = {key, strlen(key)};
    uint64_t lo = 0, hi = g->n_key;
    while (lo < hi) {
        const uint64_t mid = lo + (hi - lo) / 2;
        const int c = compare_text(want, g->key[mid].name);
        if (c == 0) return &g->key[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

static hone_status absent(const hone_gguf *g, const char *key, hone_error *err) {
    return hone_fail(err, HONE_ERR_NOT_FOUND, "%s: key %s is missing", g->name, key);
}

static hone_status wrong_type(const hone_gguf *g, const entry *e, const char *key, const char *want, hone_error *err) {
    return hone_fail(err, HONE_ERR_FORMAT, "%s: key %s is %s%s, expected %s", g->name, key,
                     e->type == T_ARRAY ? "an array of " : "", type_name[e->type == T_ARRAY ? e->element : e->type],
                     want);
}

/* False: no integer type, or over INT64_MAX. */
static bool int_of(uint32_t type, const uint8_t *p, int64_t *out) {
    const uint64_t v = type_bytes[type] ? load(p, type_bytes[type]) : 0;
    switch (type) {
    case T_U8:
    case T_U16:
    case T_U32: *out = (int64_t)v; return true;
    case T_U64: *out = (int64_t)v; return v <= INT64_MAX;
    case T_I8: *out = (int8_t)(uint8_t)v; return true;
    case T_I16: *out = (int16_t)(uint16_t)v; return true;
    case T_I32: *out = (int32_t)(uint32_t)v; return true;
    case T_I64: *out = (int64_t)v; return true;
    default: return false;
    }
}

static bool is_int(uint32_t type) {
    return type <= T_I32 || type == T_U64 || type == T_I64;
}

static double real_of(uint32_t type, const uint8_t *p) {
    if (type == T_F64) {
        double d;
        memcpy(&d, p, sizeof(d));
        return d;
    }
    if (type == T_F32) {
        float f;
        memcpy(&f, p, sizeof(f));
        return (double)f;
    }
    int64_t i = 0;
    return int_of(type, p, &i) ? (double)i : NAN;
}

uint64_t hone_gguf_key_count(const hone_gguf *g) {
    return g->n_key;
}

hone_gguf_key hone_gguf_key_at(const hone_gguf *g, uint64_t i) {
    const entry *e = &g->key[i];
    return (hone_gguf_key){e->name, e->begin, (size_t)(e->end - e->begin)};
}

bool hone_gguf_has(const hone_gguf *g, const char *key) {
    return find(g, key) != NULL;
}

hone_status hone_gguf_get_text(const hone_gguf *g, const char *key, hone_gguf_text *out, hone_error *err) {
    const entry *e = find(g, key);
    if (!e) return absent(g, key, err);
    if (e->type != T_STRING) return wrong_type(g, e, key, "text", err);
    *out = (hone_gguf_text){(const char *)e->value + 8, (size_t)load(e->value, 8)};
    return HONE_OK;
}

hone_status hone_gguf_get_int(const hone_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
                              hone_error *err) {
    const entry *e = find(g, key);
    int64_t v = 0;
    if (!e) return absent(g, key, err);
    if (!is_int(e->type)) return wrong_type(g, e, key, "an integer", err);
    const bool fits = int_of(e->type, e->value, &v);
    if (!fits || v < min || v > max)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: key %s is %s%lld, allowed is %lld to %lld", g->name, key,
                         fits ? "" : "over ", fits ? (long long)v : (long long)INT64_MAX, (long long)min,
                         (long long)max);
    *out = v;
    return HONE_OK;
}

hone_status hone_gguf_get_real(const hone_gguf *g, const char *key, double *out, hone_error *err) {
    const entry *e = find(g, key);
    if (!e) return absent(g, key, err);
    if (!is_int(e->type) && e->type != T_F32 && e->type != T_F64) return wrong_type(g, e, key, "a number", err);
    const double v = real_of(e->type, e->value);
    if (!isfinite(v)) return hone_fail(err, HONE_ERR_FORMAT, "%s: key %s is not finite", g->name, key);
    *out = v;
    return HONE_OK;
}

hone_status hone_gguf_get_bool(const hone_gguf *g, const char *key, bool *out, hone_error *err) {
    const entry *e = find(g, key);
    if (!e) return absent(g, key, err);
    if (e->type != T_BOOL) return wrong_type(g, e, key, "a bool", err);
    *out = e->value[0] != 0;
    return HONE_OK;
}

hone_status hone_gguf_opt_int(const hone_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
                              hone_error *err) {
    return find(g, key) ? hone_gguf_get_int(g, key, min, max, out, err) : HONE_OK;
}

hone_status hone_gguf_opt_real(const hone_gguf *g, const char *key, double *out, hone_error *err) {
    return find(g, key) ? hone_gguf_get_real(g, key, out, err) : HONE_OK;
}

hone_status hone_gguf_opt_bool(const hone_gguf *g, const char *key, bool *out, hone_error *err) {
    return find(g, key) ? hone_gguf_get_bool(g, key, out, err) : HONE_OK;
}

hone_status hone_gguf_get_array(const hone_gguf *g, const char *key, hone_gguf_kind kind, hone_gguf_array *out,
                                hone_error *err) {
    static const char *const want[] = {"an array of texts", "an array of integers", "an array of floats",
                                       "an array of bools"};
    const entry *e = find(g, key);
    if (!e) return absent(g, key, err);
    const uint32_t t = e->element;
    const bool right = e->type == T_ARRAY && (kind == HONE_GGUF_TEXTS   ? t == T_STRING
                                              : kind == HONE_GGUF_INTS  ? is_int(t)
                                              : kind == HONE_GGUF_REALS ? t == T_F32 || t == T_F64
                                                                        : t == T_BOOL);
    if (!right) return wrong_type(g, e, key, want[kind], err);
    for (uint64_t i = 0; t == T_U64 && i < e->n; i++)
        if (load(e->value + 8 * i, 8) > INT64_MAX)
            return hone_fail(err, HONE_ERR_FORMAT, "%s: key %s: element %llu is over %lld", g->name, key,
                             (unsigned long long)i, (long long)INT64_MAX);
    *out = (hone_gguf_array){.kind = kind, .n = e->n, .left = e->n, .at = e->value, .type = t};
    return HONE_OK;
}

bool hone_gguf_next_text(hone_gguf_array *a, hone_gguf_text *out) {
    if (a->left == 0 || a->kind != HONE_GGUF_TEXTS) return false;
    *out = (hone_gguf_text){(const char *)a->at + 8, (size_t)load(a->at, 8)};
    a->at += 8 + out->n;
    a->left--;
    return true;
}

bool hone_gguf_next_int(hone_gguf_array *a, int64_t *out) {
    if (a->left == 0 || a->kind != HONE_GGUF_INTS) return false;
    int_of(a->type, a->at, out);
    a->at += type_bytes[a->type];
    a->left--;
    return true;
}

bool hone_gguf_next_real(hone_gguf_array *a, double *out) {
    if (a->left == 0 || a->kind != HONE_GGUF_REALS) return false;
    *out = real_of(a->type, a->at);
    a->at += type_bytes[a->type];
    a->left--;
    return true;
}

bool hone_gguf_next_bool(hone_gguf_array *a, bool *out) {
    if (a->left == 0 || a->kind != HONE_GGUF_BOOLS) return false;
    *out = a->at[0] != 0;
    a->at++;
    a->left--;
    return true;
}

uint64_t hone_gguf_tensor_count(const hone_gguf *g) {
    return g->n_tensor;
}

const hone_gguf_tensor *hone_gguf_tensor_at(const hone_gguf *g, uint64_t i) {
    return i < g->n_tensor ? &g->tensor[i] : NULL;
}

const hone_gguf_tensor *hone_gguf_tensor_find(const hone_gguf *g, const char *name) {
    uint64_t lo = 0, hi = g->n_tensor;
    while (lo < hi) {
        const uint64_t mid = lo + (hi - lo) / 2;
        const hone_gguf_tensor *t = &g->tensor[g->by_name[mid]];
        const int c = strcmp(name, t->name);
        if (c == 0) return t;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}
