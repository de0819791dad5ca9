/* safetensors.c - the contract is in safetensors.h.
 *
 * A file is: header length u64 little-endian; that many bytes of JSON, one object {name: {"dtype", "shape",
 * "data_offsets": [begin, end]}, "__metadata__": {text: text}}, spaces behind it allowed; then the data, offsets
 * counted from its first byte.
 *
 * Refused: number formats that are not weights of this program (F64, I64, F8_E5M2 ...), more than HONE_TENSOR_DIMS
 * dimensions, shard names with a slash.
 *
 * Order: one file, the directory over all files, folders, look-ups, writing. */
#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

typedef struct {
    char *path;
    hone_map map;    /* {0} where the caller owns the bytes */
    json_t *header;  /* the tensors' names live here */
    size_t first, n; /* its tensors */
} shard;

struct hone_safetensors {
    shard *file;
    size_t n_file;
    hone_tensor *tensor; /* [n_tensor] */
    size_t n_tensor, cap;
    size_t *by_name; /* [n_tensor] */
};

/* ---- one file ---- */

static bool dtype_of(const char *text, hone_dtype *out) {
    if (strcmp(text, "F32") == 0) return *out = HONE_F32, true;
    if (strcmp(text, "F16") == 0) return *out = HONE_F16, true;
    if (strcmp(text, "BF16") == 0) return *out = HONE_BF16, true;
    if (strcmp(text, "F8_E4M3") == 0) return *out = HONE_F8_E4M3, true;
    return false;
}

/* A count from JSON: a non-negative integer. */
static bool count_of(const json_t *v, uint64_t *out) {
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static hone_status read_tensor(hone_tensor *t, const char *file, const char *name, const json_t *v, const uint8_t *data,
                               hone_error *err) {
    if (!json_is_object(v))
        return hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %.200s: its entry is no object", file, name);
    const json_t *dtype = json_object_get(v, "dtype"), *shape = json_object_get(v, "shape"),
                 *offsets = json_object_get(v, "data_offsets");
    if (!json_is_string(dtype) || !json_is_array(shape) || !json_is_array(offsets) || json_object_size(v) != 3)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %.200s: its entry must hold dtype, shape and data_offsets",
                         file, name);
    t->name = name;
    if (!dtype_of(json_string_value(dtype), &t->dtype))
        return hone_fail(err, HONE_ERR_UNSUPPORTED,
                         "%s: tensor %.200s has type %.40s; F32, F16, BF16 and F8_E4M3 are supported", file, name,
                         json_string_value(dtype));
    if (json_array_size(shape) > HONE_TENSOR_DIMS)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "%s: tensor %.200s has %zu dimensions, at most %u are supported",
                         file, name, json_array_size(shape), HONE_TENSOR_DIMS);
    t->n_dim = (uint32_t)json_array_size(shape);
    uint64_t bytes = hone_dtype_block_bytes(t->dtype);
    bool overflow = false;
    for (uint32_t d = 0; d < t->n_dim; d++) {
        if (!count_of(json_array_get(shape, d), &t->shape[d]))
            return hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %.200s: dimension %u of its shape is no count", file,
                             name, d);
        overflow |= __builtin_mul_overflow(bytes, t->shape[d], &bytes);
    }
    if (overflow || bytes > INT64_MAX)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %.200s: its shape overflows", file, name);
    uint64_t begin = 0, end = 0;
    if (json_array_size(offsets) != 2 || !count_of(json_array_get(offsets, 0), &begin) ||
        !count_of(json_array_get(offsets, 1), &end) || begin > end)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %.200s: data_offsets must be [begin, end]", file, name);
    if (end - begin != bytes)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %.200s: its shape takes %llu bytes, its data_offsets %llu",
                         file, name, (unsigned long long)bytes, (unsigned long long)(end - begin));
    t->data = data + begin;
    t->bytes = (size_t)bytes;
    return HONE_OK;
}

/* Before anything points into the data: all of it is there. */
static hone_status check_end(const json_t *header, const char *file, uint64_t data_bytes, hone_error *err) {
    const char *name, *last = "";
    json_t *v;
    uint64_t end = 0, e = 0;
    json_object_foreach((json_t *)(uintptr_t)header, name, v) {
        if (!count_of(json_array_get(json_object_get(v, "data_offsets"), 1), &e) || e <= end) continue;
        end = e;
        last = name;
    }
    if (end > data_bytes)
        return hone_fail(
            err, HONE_ERR_FORMAT,
            "%s: file is truncated: tensor %.200s ends at byte %llu of the data, which has %llu: %llu bytes "
            "are missing",
            file, last, (unsigned long long)end, (unsigned long long)data_bytes,
            (unsigned long long)(end - data_bytes));
    return HONE_OK;
}

static int compare_data(const void *a, const void *b) {
    const hone_tensor *x = a, *y = b;
    const uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    if (p != q) return p < q ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1; /* empty ones before what begins there */
    return strcmp(x->name, y->name);
}

/* The tensors of one file must follow each other from the first byte of the data to the last. */
static hone_status check_layout(const hone_tensor *t, size_t n, const char *file, const uint8_t *data,
                                uint64_t data_bytes, hone_error *err) {
    const uint8_t *at = data;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *begin = t[i].data;
        if (begin < at)
            return hone_fail(err, HONE_ERR_FORMAT, "%s: tensors %.200s and %.200s overlap", file, t[i - 1].name,
                             t[i].name);
        if (begin > at)
            return hone_fail(err, HONE_ERR_FORMAT, "%s: a hole of %lld bytes before tensor %.200s", file,
                             (long long)(begin - at), t[i].name);
        at = begin + t[i].bytes;
    }
    if ((uint64_t)(at - data) != data_bytes)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: %llu bytes behind the last tensor belong to none", file,
                         (unsigned long long)(data_bytes - (uint64_t)(at - data)));
    return HONE_OK;
}

static hone_status read_shard(hone_safetensors *s, shard *f, const uint8_t *bytes, size_t n, hone_error *err) {
    uint64_t length = 0;
    if (n < 8)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: file is truncated: %zu bytes, at least %zu are missing", f->path, n,
                         10 - n);
    for (unsigned i = 0; i < 8; i++) length |= (uint64_t)bytes[i] << (8 * i);
    if (length > HONE_SAFETENSORS_MAX_HEADER)
        return hone_fail(err, HONE_ERR_FORMAT,
                         "%s: no safetensors file: its header would take %llu bytes, at most %u are allowed", f->path,
                         (unsigned long long)length, HONE_SAFETENSORS_MAX_HEADER);
    if (length > n - 8)
        return hone_fail(err, HONE_ERR_FORMAT,
                         "%s: file is truncated: header of %llu bytes, file of %zu: %llu bytes are missing", f->path,
                         (unsigned long long)length, n, (unsigned long long)(length - (n - 8)));
    f->header = hone_json_parse((const char *)bytes + 8, (size_t)length, err);
    if (!f->header) return hone_fail_within(err, HONE_ERR_FORMAT, "%s: header: ", f->path);
    if (!json_is_object(f->header)) return hone_fail(err, HONE_ERR_FORMAT, "%s: its header is no object", f->path);

    const uint8_t *data = bytes + 8 + length;
    const uint64_t data_bytes = n - 8 - length;
    const char *name;
    json_t *v;
    f->first = s->n_tensor;
    hone_status st = check_end(f->header, f->path, data_bytes, err);
    if (st) return st;
    json_object_foreach(f->header, name, v) {
        if (strcmp(name, "__metadata__") == 0) {
            const char *key;
            json_t *value;
            if (!json_is_object(v)) return hone_fail(err, HONE_ERR_FORMAT, "%s: __metadata__ is no object", f->path);
            json_object_foreach(v, key, value) if (!json_is_string(value)) return hone_fail(
                err, HONE_ERR_FORMAT, "%s: __metadata__: %.100s is no text", f->path, key);
            continue;
        }
        if (!hone_grow(&s->tensor, &s->cap, s->n_tensor, sizeof(*s->tensor)))
            return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory for the tensor directory", f->path);
        hone_tensor *t = &s->tensor[s->n_tensor];
        memset(t, 0, sizeof(*t));
        st = read_tensor(t, f->path, name, v, data, err);
        if (st) return st;
        s->n_tensor++;
    }
    f->n = s->n_tensor - f->first;
    if (f->n) qsort(s->tensor + f->first, f->n, sizeof(*s->tensor), compare_data);
    return check_layout(s->tensor + f->first, f->n, f->path, data, data_bytes, err);
}

/* ---- the directory over all files ---- */

static int compare_names(const void *a, const void *b, void *tensors) {
    const hone_tensor *t = tensors;
    return strcmp(t[*(const size_t *)a].name, t[*(const size_t *)b].name);
}

static hone_status index_names(hone_safetensors *s, hone_error *err) {
    s->by_name = hone_zalloc(s->n_tensor, sizeof(*s->by_name));
    if (!s->by_name) return hone_fail(err, HONE_ERR_NOMEM, "no memory for the tensor directory");
    for (size_t i = 0; i < s->n_tensor; i++) s->by_name[i] = i;
    qsort_r(s->by_name, s->n_tensor, sizeof(*s->by_name), compare_names, s->tensor);
    for (size_t i = 1; i < s->n_tensor; i++)
        if (strcmp(s->tensor[s->by_name[i - 1]].name, s->tensor[s->by_name[i]].name) == 0)
            return hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %.200s occurs twice", s->file[s->n_file - 1].path,
                             s->tensor[s->by_name[i]].name);
    return HONE_OK;
}

/* One more file; bytes NULL: map path. */
static hone_status add_file(hone_safetensors *s, const char *path, const void *bytes, size_t n, hone_error *err) {
    shard *f = &s->file[s->n_file++]; /* room was made by the caller */
    if (!(f->path = hone_strdup(path))) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    if (!bytes) {
        const hone_status st = hone_map_path(&f->map, path, err);
        if (st) return st;
        bytes = f->map.data;
        n = f->map.bytes;
    }
    return read_shard(s, f, bytes, n, err);
}

static hone_status start(hone_safetensors **out, size_t n_file, hone_error *err) {
    *out = hone_zalloc(1, sizeof(**out));
    if (*out && ((*out)->file = hone_zalloc(n_file, sizeof(*(*out)->file)))) return HONE_OK;
    hone_safetensors_close(*out);
    *out = NULL;
    return hone_fail(err, HONE_ERR_NOMEM, "no memory for a tensor directory");
}

static hone_status finish(hone_safetensors **out, hone_safetensors *s, hone_status st, hone_error *err) {
    if (st == HONE_OK) st = index_names(s, err);
    if (st) {
        hone_safetensors_close(s);
        s = NULL;
    }
    *out = s;
    return st;
}

hone_status hone_safetensors_open(hone_safetensors **out, const void *bytes, size_t n, const char *name,
                                  hone_error *err) {
    hone_safetensors *s = NULL;
    *out = NULL;
    const hone_status st = start(&s, 1, err);
    if (st) return st;
    return finish(out, s, add_file(s, name, n ? bytes : "", n, err), err);
}

hone_status hone_safetensors_open_path(hone_safetensors **out, const char *path, hone_error *err) {
    hone_safetensors *s = NULL;
    *out = NULL;
    const hone_status st = start(&s, 1, err);
    if (st) return st;
    return finish(out, s, add_file(s, path, NULL, 0, err), err);
}

void hone_safetensors_close(hone_safetensors *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n_file; i++) {
        json_decref(s->file[i].header);
        hone_map_close(&s->file[i].map);
        hone_free(s->file[i].path);
    }
    hone_free(s->file);
    hone_free(s->tensor);
    hone_free(s->by_name);
    hone_free(s);
}

/* ---- folders ---- */

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct file names of the weight map, sorted; names borrowed from the index. */
static hone_status shard_names(const json_t *map, const char *index, const char ***out, size_t *n_out,
                               hone_error *err) {
    const size_t n = json_object_size(map);
    const char **names = hone_zalloc(n, sizeof(*names));
    if (!names) return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory", index);
    size_t i = 0;
    const char *tensor;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, v) {
        const char *file = json_string_value(v);
        if (!file || !*file || strchr(file, '/') || file[0] == '.') {
            hone_free(names);
            return hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %.200s: its file must be a plain file name", index,
                             tensor);
        }
        names[i++] = file;
    }
    qsort(names, n, sizeof(*names), compare_texts);
    size_t distinct = 0;
    for (i = 0; i < n; i++)
        if (distinct == 0 || strcmp(names[distinct - 1], names[i]) != 0) names[distinct++] = names[i];
    *out = names;
    *n_out = distinct;
    return HONE_OK;
}

static const shard *file_of(const hone_safetensors *s, const hone_tensor *t) {
    const size_t i = (size_t)(t - s->tensor);
    for (size_t f = 0; f < s->n_file; f++)
        if (i - s->file[f].first < s->file[f].n) return &s->file[f];
    return NULL;
}

static hone_status open_sharded(hone_safetensors **out, const char *dir, const char *index, const json_t *map,
                                hone_error *err) {
    const char **names = NULL;
    size_t n = 0;
    hone_safetensors *s = NULL;
    hone_status st = shard_names(map, index, &names, &n, err);
    if (st) return st;
    if ((st = start(&s, n ? n : 1, err))) goto done;
    for (size_t i = 0; i < n && st == HONE_OK; i++) {
        char *path = hone_path_join(dir, names[i]);
        st = path ? add_file(s, path, NULL, 0, err) : hone_fail(err, HONE_ERR_NOMEM, "no memory");
        hone_free(path);
    }
    st = finish(&s, s, st, err);
    if (st) goto done;
    const char *tensor;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, v) {
        const hone_tensor *t = hone_safetensors_find(s, tensor);
        if (!t)
            st = hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %.200s stands in no file", index, tensor);
        else if (strcmp(strrchr(file_of(s, t)->path, '/') + 1, json_string_value(v)) != 0)
            st = hone_fail(err, HONE_ERR_FORMAT, "%s: tensor %.200s is said to stand in %.100s but stands in %s", index,
                           tensor, json_string_value(v), file_of(s, t)->path);
        if (st) break;
    }
    if (st) {
        hone_safetensors_close(s);
        s = NULL;
    }
    *out = s;
done:
    hone_free(names);
    return st;
}

hone_status hone_safetensors_open_folder(hone_safetensors **out, const char *dir, hone_error *err) {
    *out = NULL;
    char *single = hone_path_join(dir, "model.safetensors"),
         *index = hone_path_join(dir, "model.safetensors.index.json");
    json_t *json = NULL;
    hone_status st;
    if (!single || !index) {
        st = hone_fail(err, HONE_ERR_NOMEM, "no memory");
    } else if (access(single, F_OK) == 0) {
        st = hone_safetensors_open_path(out, single, err);
    } else if (access(index, F_OK) != 0) {
        st = hone_fail(err, HONE_ERR_NOT_FOUND,
                       "%s: neither model.safetensors nor model.safetensors.index.json is here", dir);
    } else if (!(json = hone_json_load(index, err))) {
        st = err ? err->code : HONE_ERR_FORMAT;
    } else if (!json_is_object(json_object_get(json, "weight_map"))) {
        st = hone_fail(err, HONE_ERR_FORMAT, "%s: weight_map is missing or no object", index);
    } else {
        st = open_sharded(out, dir, index, json_object_get(json, "weight_map"), err);
    }
    json_decref(json);
    hone_free(single);
    hone_free(index);
    return st;
}

/* ---- look-ups ---- */

size_t hone_safetensors_count(const hone_safetensors *s) {
    return s->n_tensor;
}

const hone_tensor *hone_safetensors_at(const hone_safetensors *s, size_t i) {
    return i < s->n_tensor ? &s->tensor[i] : NULL;
}

const hone_tensor *hone_safetensors_find(const hone_safetensors *s, const char *name) {
    size_t lo = 0, hi = s->n_tensor;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const hone_tensor *t = &s->tensor[s->by_name[mid]];
        const int c = strcmp(name, t->name);
        if (c == 0) return t;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

size_t hone_safetensors_file_count(const hone_safetensors *s) {
    return s->n_file;
}

const char *hone_safetensors_file_at(const hone_safetensors *s, size_t i) {
    return i < s->n_file ? s->file[i].path : NULL;
}

/* ---- writing ---- */

static int compare_for_writing(const void *a, const void *b) {
    const hone_tensor *x = *(const hone_tensor *const *)a, *y = *(const hone_tensor *const *)b;
    const uint32_t p = hone_dtype_block_bytes(x->dtype), q = hone_dtype_block_bytes(y->dtype);
    if (p != q) return p > q ? -1 : 1;
    if (x->dtype != y->dtype) return x->dtype < y->dtype ? -1 : 1;
    return strcmp(x->name, y->name);
}

hone_status hone_safetensors_write(hone_buf *out, const hone_tensor *tensors, size_t n, hone_error *err) {
    const hone_tensor **order = hone_zalloc(n, sizeof(*order));
    if (!order) return hone_fail(err, HONE_ERR_NOMEM, "no memory to write %zu tensors", n);
    for (size_t i = 0; i < n; i++) order[i] = &tensors[i];
    qsort(order, n, sizeof(*order), compare_for_writing);

    hone_buf head = {0};
    hone_status st = HONE_OK;
    uint64_t at = 0;
    /* "format" is what loaders of the transformers library ask for */
    hone_buf_text(&head, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < n && st == HONE_OK; i++) {
        const hone_tensor *t = order[i];
        if (t->dtype > HONE_BF16 || t->n_dim > HONE_TENSOR_DIMS)
            st = hone_fail(err, HONE_ERR_ARG, "tensor %.200s: type %s cannot stand in a safetensors file", t->name,
                           hone_dtype_name(t->dtype));
        if (i > 0 && strcmp(order[i - 1]->name, t->name) == 0)
            st = hone_fail(err, HONE_ERR_ARG, "tensor %.200s is given twice", t->name);
        if (st) break;
        hone_buf_char(&head, ',');
        hone_buf_json_string(&head, t->name, strlen(t->name));
        hone_buf_format(&head, ":{\"dtype\":\"%s\",\"shape\":[", hone_dtype_name(t->dtype));
        for (uint32_t d = 0; d < t->n_dim; d++)
            hone_buf_format(&head, "%s%llu", d ? "," : "", (unsigned long long)t->shape[d]);
        hone_buf_format(&head, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                        (unsigned long long)(at + t->bytes));
        at += t->bytes;
    }
    hone_buf_char(&head, '}');
    while (head.n % 8 && !head.failed) hone_buf_char(&head, ' '); /* data begins at a multiple of 8 */
    if (st == HONE_OK) {
        uint8_t length[8];
        for (unsigned i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)head.n >> (8 * i));
        hone_buf_reserve(out, 8 + head.n + (size_t)at);
        hone_buf_add(out, length, 8);
        hone_buf_add(out, head.data, head.n);
        for (size_t i = 0; i < n; i++) hone_buf_add(out, order[i]->data, order[i]->bytes);
        if (head.failed || out->failed) st = hone_fail(err, HONE_ERR_NOMEM, "no memory to write %zu tensors", n);
    }
    hone_buf_free(&head);
    hone_free(order);
    return st;
}
