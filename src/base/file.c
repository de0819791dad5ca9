/* file.c - whole files; the contract is in file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static hone_status io_fail(hone_error *err, const char *what, const char *path) {
    const int e = errno;
    const hone_status code = e == ENOENT                  ? HONE_ERR_NOT_FOUND
                             : e == ENOSPC || e == EDQUOT ? HONE_ERR_FULL
                             : e == EACCES || e == EPERM  ? HONE_ERR_DENIED
                             : e == ENOMEM                ? HONE_ERR_NOMEM
                                                          : HONE_ERR_IO;
    return hone_fail(err, code, "%s: cannot %s: %s", path, what, strerror(e));
}

hone_status hone_file_read(const char *path, hone_buf *out, size_t max_bytes, hone_error *err) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_fail(err, "open", path);
    hone_status status = HONE_OK;
    char chunk[1 << 16];
    const size_t before = out->n;
    for (;;) {
        const ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = io_fail(err, "read", path);
        if (n <= 0) break;
        if (max_bytes && out->n - before + (size_t)n > max_bytes) {
            status = hone_fail(err, HONE_ERR_LIMIT, "%s: larger than %zu bytes", path, max_bytes);
            break;
        }
        if (!hone_buf_add(out, chunk, (size_t)n)) {
            status = hone_fail(err, HONE_ERR_NOMEM, "%s: no memory to read it", path);
            break;
        }
    }
    close(fd);
    return status;
}

hone_status hone_map_fd(hone_map *out, int fd, const char *name, hone_error *err) {
    *out = (hone_map){0};
    struct stat st;
    if (fstat(fd, &st) != 0) return io_fail(err, "stat", name);
    if (!S_ISREG(st.st_mode)) return hone_fail(err, HONE_ERR_ARG, "%s: not a regular file", name);
    if (st.st_size == 0) return HONE_OK;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return io_fail(err, "map", name);
    out->data = p;
    out->bytes = (size_t)st.st_size;
    return HONE_OK;
}

hone_status hone_map_path(hone_map *out, const char *path, hone_error *err) {
    *out = (hone_map){0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_fail(err, "open", path);
    const hone_status status = hone_map_fd(out, fd, path, err);
    close(fd);
    return status;
}

void hone_map_close(hone_map *map) {
    if (map->data) munmap((void *)(uintptr_t)map->data, map->bytes);
    *map = (hone_map){0};
}

static int sync_folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *dir = slash ? hone_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : hone_strdup(".");
    if (!dir) {
        errno = ENOMEM;
        return -1;
    }
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    hone_free(dir);
    if (fd < 0) return -1;
    const int rc = fsync(fd);
    close(fd);
    return rc;
}

static hone_status write_all(int fd, const char *path, const void *bytes, size_t n, hone_error *err) {
    const char *at = bytes;
    while (n) {
        const ssize_t k = write(fd, at, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return io_fail(err, "write", path);
        at += k;
        n -= (size_t)k;
    }
    return HONE_OK;
}

hone_status hone_file_write_atomic(const char *path, const void *bytes, size_t n, hone_error *err) {
    return hone_file_write_pieces(path, &(hone_piece_of_file){bytes, n}, 1, err);
}

hone_status hone_file_write_pieces(const char *path, const hone_piece_of_file *piece, size_t n_piece, hone_error *err) {
    hone_buf temp = {0};
    hone_status status = HONE_OK;
    if (!hone_buf_format(&temp, "%s.%ld.tmp", path, (long)getpid())) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    const int fd = open(temp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        status = io_fail(err, "create", path);
        hone_buf_free(&temp);
        return status;
    }
    for (size_t i = 0; status == HONE_OK && i < n_piece; i++)
        status = write_all(fd, path, piece[i].data, piece[i].n, err);
    if (status == HONE_OK && fsync(fd) != 0) status = io_fail(err, "sync", path);
    if (close(fd) != 0 && status == HONE_OK) status = io_fail(err, "close", path);
    if (status == HONE_OK && rename(temp.data, path) != 0) status = io_fail(err, "rename to", path);
    if (status == HONE_OK && sync_folder_of(path) != 0) status = io_fail(err, "sync the folder of", path);
    if (status != HONE_OK) unlink(temp.data);
    hone_buf_free(&temp);
    return status;
}

hone_status hone_folder_make(const char *path, hone_error *err) {
    char *copy = hone_strdup(path);
    if (!copy) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    hone_status status = HONE_OK;
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != 0) continue;
        const char c = *p;
        *p = 0;
        if (mkdir(copy, 0700) != 0 && errno != EEXIST) {
            status = io_fail(err, "make the folder", copy);
            break;
        }
        *p = c;
        if (!c) break;
    }
    hone_free(copy);
    return status;
}

static void to_hex(const unsigned char *raw, char out[HONE_DIGEST_TEXT]) {
    for (int i = 0; i < 32; i++) snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

hone_status hone_digest_bytes(const void *bytes, size_t n, char out[HONE_DIGEST_TEXT]) {
    unsigned char raw[32];
    if (EVP_Digest(bytes, n, raw, NULL, EVP_sha256(), NULL) != 1) return HONE_ERR_NOMEM;
    to_hex(raw, out);
    return HONE_OK;
}

hone_status hone_digest_fd(int fd, const char *name, char out[HONE_DIGEST_TEXT], uint64_t *bytes, hone_error *err) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a digest");
    }
    hone_status status = HONE_OK;
    uint64_t total = 0;
    unsigned char chunk[1 << 16], raw[32];
    for (;;) {
        const ssize_t n = pread(fd, chunk, sizeof(chunk), (off_t)total);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = io_fail(err, "read", name);
        if (n <= 0) break;
        EVP_DigestUpdate(ctx, chunk, (size_t)n);
        total += (uint64_t)n;
    }
    EVP_DigestFinal_ex(ctx, raw, NULL);
    EVP_MD_CTX_free(ctx);
    to_hex(raw, out);
    if (bytes) *bytes = total;
    return status;
}

hone_status hone_digest_file(const char *path, char out[HONE_DIGEST_TEXT], uint64_t *bytes, hone_error *err) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_fail(err, "open", path);
    const hone_status status = hone_digest_fd(fd, path, out, bytes, err);
    close(fd);
    return status;
}

char *hone_path_join(const char *dir, const char *name) {
    hone_buf b = {0};
    hone_buf_format(&b, "%s/%s", dir, name);
    return hone_buf_take(&b, NULL);
}
