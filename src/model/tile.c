/* tile.c - the tile file: a model's block of re-laid weights, written once and mapped by every later process.
 *
 *     offset  bytes  what
 *          0      8  "HONETILE"
 *          8      4  version of this format, u32 little-endian as all numbers here: 1
 *         12      4  zero
 *         16      8  H, bytes of the header text
 *         24      8  XXH64 of the header text, seed 0
 *         32      8  D, offset of the data: a multiple of 4096
 *         40      8  bytes of the data; the file ends with them
 *         48     16  zero
 *         64      H  the header: JSON
 *                    {"kernels": name of the set, "fingerprint": 16 hexadecimal digits, "precision": "serving" or
 * "f32", "digest": of the published weights, "arch": the record (arch.c), "slots":
 *                     [[name, type, n, k, offset in the data, bytes], ...]}
 *          D      -  the data: every slot at a multiple of 64; matrices as the set lays them, vectors as f32
 *
 * A file is valid for a program when the version is its own, the checksum holds, the sizes add up, the set can run here
 * and its fingerprint is the file's, and the slots are exactly those that the record asks for, each with the size and
 * place that this program would give it.  Any other file is an error; whoever asked makes it anew from the weights.
 *
 * A tile file is a cache: little-endian machines only, no promise between versions.
 *
 * Order: the fingerprint, writing, the fixed part, the header, mapping. */
#include "model/tile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "model/model_internal.h"

#define MAGIC "HONETILE"
#define VERSION 1u
#define FIXED_BYTES 64u
#define DATA_ALIGN 4096u
#define MAX_HEADER_BYTES (64u << 20)

/* ---- the fingerprint ---- */

/* One small matrix of every format, laid by the set: whatever changes the layout changes its bytes.  Bytes from 0x10 to
 * 0x37 are finite numbers in every format. */
static uint64_t fingerprint_of(const hone_kernels *kernels, hone_precision precision, hone_dtype t, uint64_t seed) {
    enum { N = HONE_PANEL + 3, K = 512 };
    size_t row_bytes = 0;
    const size_t bytes = kernels->weight_bytes(t, precision, N, K);
    if (!hone_dtype_row_bytes(t, K, &row_bytes) || bytes == 0) return seed;
    uint8_t *stored = hone_alloc_aligned(N, row_bytes), *data = hone_alloc_aligned(1, bytes);
    uint64_t out = 0;
    if (stored && data) {
        const void *rows[N];
        for (size_t i = 0; i < N * row_bytes; i++) stored[i] = (uint8_t)(0x10 + (i * 2654435761u >> 7) % 0x28);
        for (size_t i = 0; i < N; i++) rows[i] = stored + i * row_bytes;
        memset(data, 0, bytes);
        const hone_weight w = {.dtype = t, .precision = precision, .n = N, .k = K, .bytes = bytes, .data = data};
        hone_status s = kernels->weight_lay(&w, data, rows, 0, HONE_PANEL, NULL);
        if (s == HONE_OK) s = kernels->weight_lay(&w, data, rows + HONE_PANEL, HONE_PANEL, N, NULL);
        out = XXH64(data, bytes, seed ^ (uint64_t)s);
    }
    hone_free(stored);
    hone_free(data);
    return out;
}

uint64_t hone_tile_fingerprint(const hone_kernels *kernels, hone_precision precision) {
    uint64_t f = XXH64(kernels->name, strlen(kernels->name), HONE_PANEL);
    for (uint32_t t = 0; t < HONE_DTYPE_COUNT && f; t++) f = fingerprint_of(kernels, precision, (hone_dtype)t, f);
    return f;
}

/* ---- writing ---- */

static const char *precision_name(hone_precision p) {
    return p == HONE_PRECISION_F32 ? "f32" : "serving";
}

static const char *type_name(const model_slot *s) {
    return s->weight ? hone_dtype_name(s->weight->dtype) : "vector";
}

static json_t *header_of(const hone_model *m) {
    const model_owner *o = m->owner;
    char fingerprint[17];
    const uint64_t f = hone_tile_fingerprint(m->kernels, m->precision);
    if (f == 0) return NULL;
    snprintf(fingerprint, sizeof(fingerprint), "%016llx", (unsigned long long)f);
    json_t *slots = json_array();
    bool ok = true;
    for (size_t i = 0; i < o->n_slot; i++) {
        const model_slot *s = &o->slot[i];
        if (!s->present) continue;
        ok &=
            json_array_append_new(slots, json_pack("[s, s, I, I, I, I]", s->name, type_name(s), (json_int_t)s->n,
                                                   (json_int_t)s->k, (json_int_t)s->offset, (json_int_t)s->bytes)) == 0;
    }
    if (!ok) { /* no memory for one of them */
        json_decref(slots);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "kernels", m->kernels->name, "fingerprint", fingerprint,
                     "precision", precision_name(m->precision), "digest", m->digest, "arch",
                     hone_arch_to_json(&m->arch), "slots", slots);
}

static void put(uint8_t *p, uint64_t v, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get(const uint8_t *p, unsigned bytes) {
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

hone_status hone_model_write_tiles(const hone_model *m, const char *path, hone_error *err) {
    const model_owner *o = m->owner;
    json_t *json = header_of(m);
    hone_buf head = {0};
    static const uint8_t zeros[DATA_ALIGN];
    hone_buf_add(&head, zeros, FIXED_BYTES);
    const bool ok = json && hone_json_write(json, &head);
    const size_t text_bytes = head.n - FIXED_BYTES;
    if (ok) hone_buf_add(&head, zeros, (DATA_ALIGN - head.n % DATA_ALIGN) % DATA_ALIGN);
    json_decref(json);
    hone_status s = HONE_OK;
    if (!ok || head.failed) {
        s = hone_fail(err, HONE_ERR_NOMEM, "%s: no memory for its header", path);
    } else {
        uint8_t *p = (uint8_t *)head.data;
        memcpy(p, MAGIC, 8);
        put(p + 8, VERSION, 4);
        put(p + 16, text_bytes, 8);
        put(p + 24, XXH64(p + FIXED_BYTES, text_bytes, 0), 8);
        put(p + 32, head.n, 8);
        put(p + 40, o->block_bytes, 8);
        const hone_piece_of_file pieces[2] = {{head.data, head.n}, {o->base, o->block_bytes}};
        s = hone_file_write_pieces(path, pieces, 2, err);
    }
    hone_buf_free(&head);
    return s;
}

/* ---- the fixed part ---- */

typedef struct {
    const uint8_t *text;
    size_t text_bytes, data_at, data_bytes;
} fixed_part;

static hone_status read_fixed(fixed_part *out, const hone_map *map, hone_error *err) {
    const uint8_t *p = map->data;
    if (map->bytes < 8 || memcmp(p, MAGIC, 8) != 0) return hone_fail(err, HONE_ERR_FORMAT, "no tile file");
    if (map->bytes < FIXED_BYTES)
        return hone_fail(err, HONE_ERR_FORMAT, "file is truncated: %zu bytes are missing", FIXED_BYTES - map->bytes);
    if (get(p + 8, 4) != VERSION)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "version %llu of the tile format, this program has %u",
                         (unsigned long long)get(p + 8, 4), VERSION);
    const uint64_t text = get(p + 16, 8), at = get(p + 32, 8), data = get(p + 40, 8);
    uint64_t end = 0;
    if (get(p + 12, 4) || get(p + 48, 8) || get(p + 56, 8) || text > MAX_HEADER_BYTES || at % DATA_ALIGN ||
        at < FIXED_BYTES + text || at - text >= FIXED_BYTES + DATA_ALIGN || __builtin_add_overflow(at, data, &end))
        return hone_fail(err, HONE_ERR_FORMAT, "the sizes at its beginning contradict each other");
    if (end > map->bytes)
        return hone_fail(err, HONE_ERR_FORMAT, "file is truncated: %llu bytes are missing",
                         (unsigned long long)(end - map->bytes));
    if (end < map->bytes)
        return hone_fail(err, HONE_ERR_FORMAT, "file has %llu bytes too many", (unsigned long long)(map->bytes - end));
    for (uint64_t i = FIXED_BYTES + text; i < at; i++)
        if (p[i]) return hone_fail(err, HONE_ERR_FORMAT, "padding that is not zero");
    *out = (fixed_part){p + FIXED_BYTES, (size_t)text, (size_t)at, (size_t)data};
    if (XXH64(out->text, out->text_bytes, 0) != get(p + 24, 8))
        return hone_fail(err, HONE_ERR_FORMAT, "the checksum of its header is wrong: the file was damaged");
    return HONE_OK;
}

/* ---- the header ---- */

static const char *text_of(const json_t *object, const char *key) {
    const char *t = json_string_value(json_object_get(object, key));
    return t ? t : "";
}

static hone_status read_set(hone_model *m, const json_t *json, hone_error *err) {
    const char *precision = text_of(json, "precision"), *name = text_of(json, "kernels"),
               *digest = text_of(json, "digest");
    if (strcmp(precision, "f32") != 0 && strcmp(precision, "serving") != 0)
        return hone_fail(err, HONE_ERR_FORMAT, "unknown precision %.40s", precision);
    m->precision = strcmp(precision, "f32") == 0 ? HONE_PRECISION_F32 : HONE_PRECISION_SERVING;
    if (strlen(digest) != HONE_DIGEST_TEXT - 1 || strspn(digest, "0123456789abcdef") != HONE_DIGEST_TEXT - 1)
        return hone_fail(err, HONE_ERR_FORMAT, "its digest is none");
    memcpy(m->digest, digest, HONE_DIGEST_TEXT);
    if (!(m->kernels = hone_kernels_find(name)))
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "made for the kernel set %.40s, which this machine cannot run",
                         name);
    char mine[17];
    const uint64_t f = hone_tile_fingerprint(m->kernels, m->precision);
    if (f == 0) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a fingerprint");
    snprintf(mine, sizeof(mine), "%016llx", (unsigned long long)f);
    if (strcmp(mine, text_of(json, "fingerprint")) != 0)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "made by another version of the kernel set %s", name);
    return HONE_OK;
}

static bool dtype_by_name(const char *name, hone_dtype *out) {
    for (uint32_t t = 0; t < HONE_DTYPE_COUNT; t++)
        if (strcmp(hone_dtype_name((hone_dtype)t), name) == 0) {
            *out = (hone_dtype)t;
            return true;
        }
    return false;
}

static uint64_t number_at(const json_t *entry, size_t i) {
    const json_t *v = json_array_get(entry, i);
    return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : UINT64_MAX;
}

/* Both lists are in the order of model.c; the file's leaves out what is absent. */
static hone_status read_slots(hone_model *m, const json_t *slots, size_t data_bytes, hone_error *err) {
    model_owner *o = m->owner;
    size_t at = 0;
    for (size_t i = 0; i < o->n_slot; i++) {
        model_slot *s = &o->slot[i];
        const json_t *e = json_array_get(slots, at);
        const char *name = json_string_value(json_array_get(e, 0)), *type = json_string_value(json_array_get(e, 1));
        if (!name || strcmp(name, s->name) != 0) {
            if (!s->optional) return hone_fail(err, HONE_ERR_FORMAT, "%s is missing", s->name);
            continue;
        }
        if (!type || number_at(e, 2) != s->n || number_at(e, 3) != s->k ||
            (s->weight ? !dtype_by_name(type, &s->weight->dtype) : strcmp(type, "vector") != 0))
            return hone_fail(err, HONE_ERR_FORMAT, "%s has another type or shape than the record asks for", s->name);
        s->present = true;
        at++;
    }
    if (at != json_array_size(slots)) return hone_fail(err, HONE_ERR_FORMAT, "it holds slots that the record has not");
    const hone_status st = model_place(m, err);
    if (st) return st;
    at = 0;
    for (size_t i = 0; i < o->n_slot; i++) {
        const model_slot *s = &o->slot[i];
        if (!s->present) continue;
        const json_t *e = json_array_get(slots, at++);
        if (number_at(e, 4) != s->offset || number_at(e, 5) != s->bytes)
            return hone_fail(err, HONE_ERR_FORMAT, "%s stands elsewhere or has another size than this program gives it",
                             s->name);
    }
    if (o->block_bytes != data_bytes)
        return hone_fail(err, HONE_ERR_FORMAT, "its data has another size than its slots");
    return HONE_OK;
}

/* ---- mapping ---- */

static hone_status map_tiles(hone_model **out, const hone_map *map, hone_error *err) {
    fixed_part f = {0};
    hone_model *m = NULL;
    *out = NULL;
    hone_status s = read_fixed(&f, map, err);
    if (s) return s;
    json_t *json = hone_json_parse((const char *)f.text, f.text_bytes, err);
    hone_arch *arch = hone_zalloc(1, sizeof(*arch));
    if (!json)
        s = err ? err->code : HONE_ERR_FORMAT;
    else if (!arch)
        s = hone_fail(err, HONE_ERR_NOMEM, "no memory");
    if (s == HONE_OK) s = hone_arch_from_json(arch, json_object_get(json, "arch"), err);
    if (s == HONE_OK) s = model_new(&m, arch, err);
    if (s == HONE_OK) s = read_set(m, json, err);
    if (s == HONE_OK) s = read_slots(m, json_object_get(json, "slots"), f.data_bytes, err);
    json_decref(json);
    hone_free(arch);
    if (s) {
        hone_model_close(m);
        return s;
    }
    model_owner *o = m->owner;
    o->base = map->data + f.data_at;
    model_point(m);
    model_count(m);
    *out = m;
    return HONE_OK;
}

hone_status hone_model_map_tiles(hone_model **out, int fd, const char *name, hone_error *err) {
    hone_map map = {0};
    *out = NULL;
    hone_status s = hone_map_fd(&map, fd, name, err);
    if (s) return s;
    s = map_tiles(out, &map, err);
    if (s) {
        hone_map_close(&map);
        return hone_fail_within(err, s, "%s: ", name);
    }
    ((model_owner *)(*out)->owner)->map = map;
    return HONE_OK;
}
