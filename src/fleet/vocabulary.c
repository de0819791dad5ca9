/* vocabulary.c - the contract is in vocabulary.h.  Order: from a tokenizer, reading, the file. */
#include "fleet/vocabulary.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

#define MAGIC 0x43564e48u /* "HNVC" */

typedef struct {
    uint32_t magic, n, n_end, bytes;
} head;

/* ---- From a tokenizer ---- */

static void add_token(hone_buf *text, const hone_tokenizer *t, int32_t id) {
    static const char mark = (char)HONE_TOKEN_MARK;
    size_t n;
    const char *written = hone_tokenizer_text(t, id, &n);
    if (!written) return;
    if (!hone_tokenizer_is_special(t, id)) {
        hone_tokenizer_bytes(t, id, text);
        return;
    }
    hone_buf_add(text, &mark, 1);
    hone_buf_add(text, written, n);
    hone_buf_add(text, &mark, 1);
}

/* The whole file, in memory. */
static hone_status lay_out(hone_buf *out, const hone_tokenizer *t, hone_error *err) {
    size_t n_end;
    const int32_t *end = hone_tokenizer_ends(t, &n_end);
    const uint32_t n = (uint32_t)hone_tokenizer_size(t);
    hone_buf text = {0};
    head h = {.magic = MAGIC, .n = n, .n_end = (uint32_t)n_end};
    hone_buf_add(out, &h, sizeof(h));
    hone_buf_add(out, end, n_end * sizeof(*end));
    for (uint32_t i = 0; i <= n; i++) {
        const uint32_t at = (uint32_t)text.n;
        hone_buf_add(out, &at, sizeof(at));
        if (i < n) add_token(&text, t, (int32_t)i);
    }
    const bool ok = !out->failed && !text.failed && text.n <= UINT32_MAX;
    if (ok) {
        h.bytes = (uint32_t)text.n;
        memcpy(out->data, &h, sizeof(h));
        hone_buf_add(out, text.data, text.n);
    }
    hone_buf_free(&text);
    return ok && !out->failed ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory for the vocabulary's bytes");
}

/* ---- Reading ---- */

static hone_status read_bytes(hone_vocabulary **out, const uint8_t *data, size_t size, hone_error *err) {
    head h;
    *out = NULL;
    if (size < sizeof(h)) return hone_fail(err, HONE_ERR_FORMAT, "the vocabulary has no head");
    memcpy(&h, data, sizeof(h));
    /* The counts are bounded first, so that the sum cannot wrap. */
    if (h.magic != MAGIC || h.n > HONE_VOCABULARY_MAX_TOKENS || h.n_end > h.n ||
        size != sizeof(h) + 4ull * h.n_end + 4ull * (h.n + 1) + h.bytes)
        return hone_fail(err, HONE_ERR_FORMAT, "the vocabulary's head does not fit its %zu bytes", size);
    const int32_t *end = (const int32_t *)(const void *)(data + sizeof(h));
    const uint32_t *offset = (const uint32_t *)(const void *)(end + h.n_end);
    for (uint32_t i = 0; i < h.n_end; i++)
        if (end[i] < 0 || (uint32_t)end[i] >= h.n)
            return hone_fail(err, HONE_ERR_FORMAT, "the vocabulary ends with token %d of %u", end[i], h.n);
    for (uint32_t i = 0; i < h.n; i++)
        if (offset[i] > offset[i + 1])
            return hone_fail(err, HONE_ERR_FORMAT, "the vocabulary's offset %u goes backwards", i);
    if (offset[0] != 0 || offset[h.n] != h.bytes)
        return hone_fail(err, HONE_ERR_FORMAT, "the vocabulary's offsets do not span its text");
    return hone_vocabulary_open(out, h.n, offset, (const uint8_t *)(offset + h.n + 1), end, h.n_end, err);
}

hone_status hone_vocabulary_of(hone_vocabulary **out, const hone_tokenizer *t, hone_error *err) {
    hone_buf bytes = {0};
    *out = NULL;
    hone_status st = lay_out(&bytes, t, err);
    if (st == HONE_OK) st = read_bytes(out, (const uint8_t *)bytes.data, bytes.n, err);
    hone_buf_free(&bytes);
    return st;
}

hone_status hone_vocabulary_read(hone_vocabulary **out, int fd, hone_error *err) {
    hone_map map;
    *out = NULL;
    hone_status st = hone_map_fd(&map, fd, "vocabulary", err);
    if (st != HONE_OK) return st;
    st = read_bytes(out, map.data, map.bytes, err);
    hone_map_close(&map);
    return st;
}

/* ---- The file ---- */

static bool write_all(int fd, const char *data, size_t n) {
    while (n > 0) {
        const ssize_t k = write(fd, data, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        data += k;
        n -= (size_t)k;
    }
    return true;
}

hone_status hone_vocabulary_file(int *out, const hone_tokenizer *t, hone_error *err) {
    hone_buf bytes = {0};
    *out = -1;
    hone_status st = lay_out(&bytes, t, err);
    if (st != HONE_OK) {
        hone_buf_free(&bytes);
        return st;
    }
    const int fd = memfd_create("hone-vocabulary", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    /* Sealed: no copy can change what the others read. */
    if (fd < 0 || !write_all(fd, bytes.data, bytes.n) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
        st = hone_fail(err, HONE_ERR_IO, "a memory file for the vocabulary: %s", strerror(errno));
        if (fd >= 0) close(fd);
    } else {
        *out = fd;
    }
    hone_buf_free(&bytes);
    return st;
}
