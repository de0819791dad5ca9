/* artifact.c - immutable files by digest; the contract is in artifact.h.
 * Order: names, opening and sweeping, the writer, adding whole files, reading, removing. */
#include "store/artifact.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define SWEEP_AGE_S                                                                                                    \
    60 /* a leftover whose writer's pid lives (perhaps in another container) is taken only when this old */
#define COPY_BYTES (1u << 20)

struct hone_artifacts {
    char *folder, *temp;
};

struct hone_artifact_writer {
    hone_artifacts *store;
    char *path; /* in tmp/ */
    int fd;     /* locked (flock) as long as the writer lives: what the sweep asks */
    EVP_MD_CTX *digest;
    uint64_t bytes;
    bool synced;
};

static hone_status io_fail(hone_error *err, const char *what, const char *path) {
    const int e = errno;
    const hone_status code = e == ENOSPC || e == EDQUOT || e == EFBIG ? HONE_ERR_FULL
                             : e == ENOENT                            ? HONE_ERR_NOT_FOUND
                             : e == EACCES || e == EPERM              ? HONE_ERR_DENIED
                             : e == ENOMEM                            ? HONE_ERR_NOMEM
                                                                      : HONE_ERR_IO;
    return hone_fail(err, code, "%s: cannot %s: %s", path, what, strerror(e));
}

/* ---- names ---- */

bool hone_digest_is_valid(const char *digest) {
    return digest && strlen(digest) == HONE_DIGEST_TEXT - 1 &&
           strspn(digest, "0123456789abcdef") == HONE_DIGEST_TEXT - 1;
}

char *hone_artifact_path(const hone_artifacts *store, const char *digest) {
    if (!hone_digest_is_valid(digest)) return NULL;
    hone_buf b = {0};
    hone_buf_format(&b, "%s/%.2s/%s", store->folder, digest, digest + 2);
    return hone_buf_take(&b, NULL);
}

/* ---- opening and sweeping ---- */

hone_status hone_artifacts_open(hone_artifacts **out, const char *folder, hone_error *err) {
    *out = NULL;
    hone_artifacts *store = hone_zalloc(1, sizeof(*store));
    if (store) {
        store->folder = hone_strdup(folder);
        store->temp = hone_path_join(folder, "tmp");
    }
    hone_status status =
        store && store->folder && store->temp ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "%s: no memory", folder);
    if (status == HONE_OK) status = hone_folder_make(store->temp, err);
    if (status != HONE_OK) {
        hone_artifacts_close(store);
        return status;
    }
    signal(SIGXFSZ, SIG_IGN); /* a file size limit must be an error (EFBIG) like a full disk, not a kill */
    *out = store;
    return HONE_OK;
}

void hone_artifacts_close(hone_artifacts *store) {
    if (!store) return;
    hone_free(store->folder);
    hone_free(store->temp);
    hone_free(store);
}

/* Temporary names begin with the writer's pid. */
static bool writer_is_gone(int fd, const char *name) {
    struct stat st;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &st) != 0) return false;
    /* The writer may be between its open and its lock. */
    const long pid = strtol(name, NULL, 10);
    return (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH) || time(NULL) - st.st_mtime > SWEEP_AGE_S;
}

hone_status hone_artifacts_sweep(hone_artifacts *store, uint32_t *n_removed, hone_error *err) {
    uint32_t n = 0;
    DIR *dir = opendir(store->temp);
    if (!dir) return io_fail(err, "read the folder", store->temp);
    for (const struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        const int fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0) continue;
        if (writer_is_gone(fd, e->d_name) && unlinkat(dirfd(dir), e->d_name, 0) == 0) n++;
        close(fd);
    }
    closedir(dir);
    if (n_removed) *n_removed = n;
    return HONE_OK;
}

/* ---- the writer ---- */

hone_status hone_artifact_begin(hone_artifacts *store, hone_artifact_writer **out, hone_error *err) {
    static atomic_uint counter; /* only has to differ within the process; relaxed would do */
    *out = NULL;
    hone_artifact_writer *w = hone_zalloc(1, sizeof(*w));
    if (!w) return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory to write", store->folder);
    w->store = store;
    w->fd = -1;
    hone_buf path = {0};
    hone_buf_format(&path, "%s/%ld-%u-%llx", store->temp, (long)getpid(), atomic_fetch_add(&counter, 1),
                    (unsigned long long)time(NULL));
    w->path = hone_buf_take(&path, NULL);
    w->digest = EVP_MD_CTX_new();
    hone_status status = HONE_OK;
    if (!w->path || !w->digest || EVP_DigestInit_ex(w->digest, EVP_sha256(), NULL) != 1)
        status = hone_fail(err, HONE_ERR_NOMEM, "%s: no memory to write", store->folder);
    else if ((w->fd = open(w->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        status = io_fail(err, "create", w->path);
    else if (flock(w->fd, LOCK_EX | LOCK_NB) != 0)
        status = io_fail(err, "lock", w->path);
    if (status != HONE_OK) {
        hone_artifact_abandon(w);
        return status;
    }
    *out = w;
    return HONE_OK;
}

hone_status hone_artifact_write(hone_artifact_writer *w, const void *bytes, size_t n, hone_error *err) {
    const char *at = bytes;
    w->synced = false;
    if (n && EVP_DigestUpdate(w->digest, bytes, n) != 1)
        return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory for the digest", w->path);
    while (n) {
        const ssize_t k = write(w->fd, at, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return io_fail(err, "write", w->path);
        at += k;
        n -= (size_t)k;
        w->bytes += (uint64_t)k;
    }
    return HONE_OK;
}

uint64_t hone_artifact_written(const hone_artifact_writer *w) {
    return w->bytes;
}

void hone_artifact_abandon(hone_artifact_writer *w) {
    if (!w) return;
    if (w->fd >= 0) {
        unlink(w->path);
        close(w->fd);
    }
    EVP_MD_CTX_free(w->digest);
    hone_free(w->path);
    hone_free(w);
}

static hone_status sync_folder(const char *path, hone_error *err) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return io_fail(err, "open", path);
    const hone_status status = fsync(fd) == 0 ? HONE_OK : io_fail(err, "sync the folder", path);
    close(fd);
    return status;
}

/* Move the synced temporary file to its name.  One that is there already is kept: readers may have it open. */
static hone_status put_in_place(const hone_artifact_writer *w, const char *target, hone_error *err) {
    struct stat st;
    if (stat(target, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == w->bytes) {
        unlink(w->path);
        return HONE_OK;
    }
    char *folder = hone_strndup(target, (size_t)(strrchr(target, '/') - target));
    if (!folder) return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory", target);
    hone_status status = HONE_OK;
    if (mkdir(folder, 0700) == 0)
        status = sync_folder(w->store->folder, err);
    else if (errno != EEXIST)
        status = io_fail(err, "make the folder", folder);
    if (status == HONE_OK && rename(w->path, target) != 0) status = io_fail(err, "rename to", target);
    if (status == HONE_OK) status = sync_folder(folder, err);
    hone_free(folder);
    return status;
}

hone_status hone_artifact_sync(hone_artifact_writer *w, hone_error *err) {
    if (w->synced) return HONE_OK;
    if (fchmod(w->fd, 0400) != 0) return io_fail(err, "protect", w->path);
    if (fsync(w->fd) != 0) return io_fail(err, "sync", w->path);
    w->synced = true;
    return HONE_OK;
}

hone_status hone_artifact_finish(hone_artifact_writer *w, const char *expected, char digest[HONE_DIGEST_TEXT],
                                 hone_error *err) {
    unsigned char raw[32];
    hone_status status = HONE_OK;
    char *target = NULL;
    if (EVP_DigestFinal_ex(w->digest, raw, NULL) != 1) {
        hone_artifact_abandon(w);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for the digest");
    }
    for (int i = 0; i < 32; i++) snprintf(digest + 2 * i, 3, "%02x", raw[i]);
    if (expected && strcmp(expected, digest) != 0)
        status =
            hone_fail(err, HONE_ERR_FORMAT, "the bytes have the SHA-256 %s, not %s as they should", digest, expected);
    else if (!(target = hone_artifact_path(w->store, digest)))
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory");
    else
        status = hone_artifact_sync(w, err);
    if (status == HONE_OK) status = put_in_place(w, target, err);
    hone_free(target);
    if (status == HONE_OK) { /* the name in tmp/ is gone; closing gives the lock up */
        close(w->fd);
        w->fd = -1;
    }
    hone_artifact_abandon(w);
    return status;
}

/* ---- adding whole files ---- */

hone_status hone_artifact_add_bytes(hone_artifacts *store, const void *bytes, size_t n, char digest[HONE_DIGEST_TEXT],
                                    hone_error *err) {
    hone_artifact_writer *w;
    hone_status status = hone_artifact_begin(store, &w, err);
    if (status != HONE_OK) return status;
    status = hone_artifact_write(w, bytes, n, err);
    if (status == HONE_OK) return hone_artifact_finish(w, NULL, digest, err);
    hone_artifact_abandon(w);
    return status;
}

static hone_status copy_from(hone_artifact_writer *w, int fd, const char *path, hone_error *err) {
    char *chunk = hone_zalloc(COPY_BYTES, 1);
    if (!chunk) return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory to copy", path);
    /* Where the file system shares blocks the copy costs nothing; the digest is taken from the copy, which cannot
     * change. */
    const bool cloned = ioctl(w->fd, FICLONE, fd) == 0;
    hone_status status = HONE_OK;
    while (status == HONE_OK) {
        const ssize_t n = cloned ? pread(w->fd, chunk, COPY_BYTES, (off_t)w->bytes) : read(fd, chunk, COPY_BYTES);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = io_fail(err, "read", path);
        if (n <= 0) break;
        if (!cloned)
            status = hone_artifact_write(w, chunk, (size_t)n, err);
        else if (EVP_DigestUpdate(w->digest, chunk, (size_t)n) == 1)
            w->bytes += (uint64_t)n;
        else
            status = hone_fail(err, HONE_ERR_NOMEM, "%s: no memory for the digest", path);
    }
    hone_free(chunk);
    return status;
}

hone_status hone_artifact_add_path(hone_artifacts *store, const char *path, char digest[HONE_DIGEST_TEXT],
                                   uint64_t *bytes, hone_error *err) {
    hone_artifact_writer *w = NULL;
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang here */
    if (fd < 0) return io_fail(err, "open", path);
    hone_status status = HONE_OK;
    if (fstat(fd, &st) != 0)
        status = io_fail(err, "stat", path);
    else if (!S_ISREG(st.st_mode))
        status = hone_fail(err, HONE_ERR_ARG, "%s: not a regular file", path);
    if (status == HONE_OK) status = hone_artifact_begin(store, &w, err);
    if (status == HONE_OK) status = copy_from(w, fd, path, err);
    close(fd);
    if (status != HONE_OK) {
        hone_artifact_abandon(w);
        return status;
    }
    if (bytes) *bytes = w->bytes;
    return hone_artifact_finish(w, NULL, digest, err);
}

/* ---- reading and removing ---- */

hone_status hone_artifact_open(hone_artifacts *store, const char *digest, int *fd, uint64_t *bytes, hone_error *err) {
    *fd = -1;
    if (!hone_digest_is_valid(digest)) return hone_fail(err, HONE_ERR_ARG, "'%s' is no digest", digest ? digest : "");
    char *path = hone_artifact_path(store, digest);
    if (!path) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    hone_status status = HONE_OK;
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        status = io_fail(err, "open", path);
    else if (fstat(*fd, &st) != 0)
        status = io_fail(err, "stat", path);
    else if (bytes)
        *bytes = (uint64_t)st.st_size;
    if (status != HONE_OK && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    hone_free(path);
    return status;
}

bool hone_artifact_exists(const hone_artifacts *store, const char *digest) {
    char *path = hone_artifact_path(store, digest);
    const bool there = path && access(path, F_OK) == 0;
    hone_free(path);
    return there;
}

hone_status hone_artifact_verify(hone_artifacts *store, const char *digest, hone_error *err) {
    int fd;
    char found[HONE_DIGEST_TEXT];
    hone_status status = hone_artifact_open(store, digest, &fd, NULL, err);
    if (status != HONE_OK) return status;
    status = hone_digest_fd(fd, digest, found, NULL, err);
    close(fd);
    if (status == HONE_OK && strcmp(found, digest) != 0)
        status =
            hone_fail(err, HONE_ERR_FORMAT, "the artifact %s is damaged: its bytes have the SHA-256 %s", digest, found);
    return status;
}

hone_status hone_artifact_delete(hone_artifacts *store, const char *digest, hone_error *err) {
    if (!hone_digest_is_valid(digest)) return hone_fail(err, HONE_ERR_ARG, "'%s' is no digest", digest ? digest : "");
    char *path = hone_artifact_path(store, digest);
    if (!path) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    hone_status status = HONE_OK;
    if (unlink(path) != 0 && errno != ENOENT) status = io_fail(err, "remove", path);
    hone_free(path);
    return status;
}

static hone_status each_in(DIR *dir, const char *start, int64_t min_age_s,
                           hone_status (*fn)(void *arg, const char *digest, hone_error *err), void *arg,
                           hone_error *err) {
    hone_status status = HONE_OK;
    for (const struct dirent *e; status == HONE_OK && (e = readdir(dir));) {
        char digest[HONE_DIGEST_TEXT];
        struct stat st;
        if (snprintf(digest, sizeof(digest), "%s%s", start, e->d_name) != HONE_DIGEST_TEXT - 1) continue;
        if (!hone_digest_is_valid(digest) || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (time(NULL) - st.st_mtime >= min_age_s) status = fn(arg, digest, err);
    }
    return status;
}

hone_status hone_artifacts_each(hone_artifacts *store, int64_t min_age_s,
                                hone_status (*fn)(void *arg, const char *digest, hone_error *err), void *arg,
                                hone_error *err) {
    DIR *top = opendir(store->folder);
    if (!top) return io_fail(err, "read the folder", store->folder);
    hone_status status = HONE_OK;
    for (const struct dirent *e; status == HONE_OK && (e = readdir(top));) {
        if (strlen(e->d_name) != 2 || strspn(e->d_name, "0123456789abcdef") != 2) continue;
        const int fd = openat(dirfd(top), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
        if (!dir && fd >= 0) close(fd);
        if (!dir) continue;
        status = each_in(dir, e->d_name, min_age_s, fn, arg, err);
        closedir(dir);
    }
    closedir(top);
    return status;
}
