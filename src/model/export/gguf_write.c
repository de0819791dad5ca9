/* gguf_write.c - the GGUF writer; the contract is in gguf_write.h, the layout in model/gguf.c.
 * Order: open and close, keys, tensors, the file. */
#include "model/export/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

enum { T_U32 = 4, T_I32 = 5, T_F32 = 6, T_BOOL = 7, T_STRING = 8, T_ARRAY = 9, ALIGNMENT = 32 };

struct hone_gguf_writer {
    char *path, *temporary;
    int fd;
    hone_buf keys, directory, head;
    uint64_t n_key, n_tensor;
    size_t *end; /* [n_tensor] where each tensor's data ends, without padding */
    size_t cap;
    size_t data_bytes;    /* of all tensors named so far, with padding */
    size_t written;       /* of data, with padding */
    uint64_t next_tensor; /* whose data come next */
    hone_status status;
    hone_error err;
};

/* ---- open and close ---- */

static void fail(hone_gguf_writer *w, hone_status status, const char *what) {
    if (w->status != HONE_OK) return;
    w->status = status;
    if (status == HONE_ERR_IO)
        hone_fail(&w->err, status, "%s: %s: %s", w->path ? w->path : "GGUF", what, strerror(errno));
    else
        hone_fail(&w->err, status, "%s: %s", w->path ? w->path : "GGUF", what);
}

hone_status hone_gguf_writer_open(hone_gguf_writer **out, const char *path, hone_error *err) {
    *out = NULL;
    hone_gguf_writer *w = hone_zalloc(1, sizeof(*w));
    if (!w) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a file");
    w->fd = -1;
    if (path) {
        const size_t n = strlen(path);
        if (!(w->path = hone_strdup(path)) || !(w->temporary = hone_zalloc(n + 8, 1))) {
            hone_gguf_writer_close(w);
            return hone_fail(err, HONE_ERR_NOMEM, "no memory for a file");
        }
        snprintf(w->temporary, n + 8, "%s.XXXXXX", path);
        if ((w->fd = mkstemp(w->temporary)) < 0) {
            const hone_status st = hone_fail(err, HONE_ERR_IO, "%s: %s", path, strerror(errno));
            hone_free(w->temporary);
            w->temporary = NULL;
            hone_gguf_writer_close(w);
            return st;
        }
    }
    *out = w;
    return HONE_OK;
}

void hone_gguf_writer_close(hone_gguf_writer *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->temporary) unlink(w->temporary);
    hone_buf_free(&w->keys);
    hone_buf_free(&w->directory);
    hone_buf_free(&w->head);
    hone_free(w->end);
    hone_free(w->path);
    hone_free(w->temporary);
    hone_free(w);
}

/* ---- keys ---- */

static void u32(hone_buf *b, uint32_t v) {
    hone_buf_add(b, &v, sizeof(v));
}
static void u64(hone_buf *b, uint64_t v) {
    hone_buf_add(b, &v, sizeof(v));
}
static void text(hone_buf *b, const char *s, size_t n) {
    u64(b, n);
    hone_buf_add(b, s, n);
}

static hone_buf *key(hone_gguf_writer *w, const char *name, uint32_t type) {
    text(&w->keys, name, strlen(name));
    u32(&w->keys, type);
    w->n_key++;
    return &w->keys;
}

static hone_buf *array(hone_gguf_writer *w, const char *name, uint32_t element, size_t n) {
    hone_buf *b = key(w, name, T_ARRAY);
    u32(b, element);
    u64(b, n);
    return b;
}

void hone_gguf_put_text(hone_gguf_writer *w, const char *name, const char *s, size_t n) {
    text(key(w, name, T_STRING), s, n);
}
void hone_gguf_put_u32(hone_gguf_writer *w, const char *name, uint32_t v) {
    u32(key(w, name, T_U32), v);
}
void hone_gguf_put_f32(hone_gguf_writer *w, const char *name, float v) {
    hone_buf_add(key(w, name, T_F32), &v, sizeof(v));
}
void hone_gguf_put_bool(hone_gguf_writer *w, const char *name, bool v) {
    hone_buf_char(key(w, name, T_BOOL), v ? 1 : 0);
}
void hone_gguf_put_texts(hone_gguf_writer *w, const char *name, const hone_gguf_text *v, size_t n) {
    hone_buf *b = array(w, name, T_STRING, n);
    for (size_t i = 0; i < n; i++) text(b, v[i].text, v[i].n);
}
void hone_gguf_put_i32s(hone_gguf_writer *w, const char *name, const int32_t *v, size_t n) {
    hone_buf_add(array(w, name, T_I32, n), v, n * sizeof(*v));
}
void hone_gguf_put_f32s(hone_gguf_writer *w, const char *name, const float *v, size_t n) {
    hone_buf_add(array(w, name, T_F32, n), v, n * sizeof(*v));
}
void hone_gguf_put_raw(hone_gguf_writer *w, const hone_gguf_key *k) {
    text(&w->keys, k->name.text, k->name.n);
    hone_buf_add(&w->keys, k->value, k->n);
    w->n_key++;
}

/* ---- tensors ---- */

static size_t padded(size_t n) {
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

void hone_gguf_put_tensor(hone_gguf_writer *w, const char *name, hone_dtype dtype, uint32_t n_dim,
                          const uint64_t *shape) {
    size_t row = 0, bytes = 0, end;
    const uint32_t type = hone_gguf_type_of(dtype);
    if (type == UINT32_MAX || !hone_dtype_row_bytes(dtype, shape[n_dim - 1], &row) ||
        !hone_mul_size(&bytes, row, n_dim == 2 ? shape[0] : 1) || !hone_add_size(&end, w->data_bytes, bytes)) {
        fail(w, HONE_ERR_ARG, "a tensor that GGUF cannot hold");
        return;
    }
    if (!hone_grow(&w->end, &w->cap, w->n_tensor + 1, sizeof(*w->end))) {
        fail(w, HONE_ERR_NOMEM, "no memory for the directory");
        return;
    }
    hone_buf *b = &w->directory;
    text(b, name, strlen(name));
    u32(b, n_dim);
    for (uint32_t d = n_dim; d-- > 0;) u64(b, shape[d]); /* the file has the innermost first */
    u32(b, type);
    u64(b, w->data_bytes);
    w->end[w->n_tensor++] = end;
    w->data_bytes = padded(end);
}

/* ---- the file ---- */

static void put(hone_gguf_writer *w, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    while (w->status == HONE_OK && n) {
        const ssize_t k = write(w->fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            fail(w, HONE_ERR_IO, "write");
            return;
        }
        p += k;
        n -= (size_t)k;
    }
}

void hone_gguf_writer_begin(hone_gguf_writer *w) {
    static const uint8_t zero[ALIGNMENT];
    hone_buf *b = &w->head;
    hone_buf_text(b, "GGUF");
    u32(b, 3);
    u64(b, w->n_tensor);
    u64(b, w->n_key);
    hone_buf_add(b, w->keys.data, w->keys.n);
    hone_buf_add(b, w->directory.data, w->directory.n);
    hone_buf_add(b, zero, padded(b->n) - b->n);
    if (w->keys.failed || w->directory.failed || b->failed) fail(w, HONE_ERR_NOMEM, "no memory for the head");
    if (w->fd >= 0 && w->status == HONE_OK) put(w, b->data, b->n);
}

void hone_gguf_writer_data(hone_gguf_writer *w, const void *bytes, size_t n) {
    static const uint8_t zero[ALIGNMENT];
    const uint8_t *p = bytes;
    while (n && w->status == HONE_OK) {
        if (w->next_tensor == w->n_tensor || w->fd < 0) {
            fail(w, HONE_ERR_INTERNAL, "more data than tensors");
            return;
        }
        const size_t end = w->end[w->next_tensor], take = n < end - w->written ? n : end - w->written;
        put(w, p, take);
        w->written += take;
        p += take;
        n -= take;
        if (w->written == end) {
            put(w, zero, padded(end) - end);
            w->written = padded(end);
            w->next_tensor++;
        }
    }
}

const hone_buf *hone_gguf_writer_head(hone_gguf_writer *w) {
    uint8_t *zero = hone_zalloc(w->data_bytes + 1, 1);
    if (!zero) fail(w, HONE_ERR_NOMEM, "no memory");
    if (zero && w->head.n % ALIGNMENT == 0) hone_buf_add(&w->head, zero, w->data_bytes);
    hone_free(zero);
    return w->status == HONE_OK && !w->head.failed ? &w->head : NULL;
}

hone_status hone_gguf_writer_finish(hone_gguf_writer *w, hone_error *err) {
    if (w->status == HONE_OK && w->next_tensor != w->n_tensor)
        fail(w, HONE_ERR_INTERNAL, "the data of a tensor are missing");
    if (w->status == HONE_OK && (fsync(w->fd) < 0 || fchmod(w->fd, 0644) < 0 || rename(w->temporary, w->path) < 0))
        fail(w, HONE_ERR_IO, "write");
    if (w->status != HONE_OK) {
        if (err) *err = w->err;
        return w->status;
    }
    hone_free(w->temporary); /* nothing is left to remove */
    w->temporary = NULL;
    return HONE_OK;
}
