/* tile_cache.c - weights into a tile file; the contract is in tile_cache.h. */
#include "model/tile_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/weights.h"

/* A tile file that this program cannot map (cut off, older layout) counts as absent and is made again. */
static bool usable(const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    hone_model *m = NULL;
    const bool good = hone_model_map_tiles(&m, fd, path, NULL) == HONE_OK;
    hone_model_close(m);
    close(fd);
    return good;
}

/* ---- The digest of the weights, without reading them again ----
 *
 * FOLDER/KEY.digest holds it.  The key is made of what stat tells of each file of the weights: device, inode, size,
 * times of change to the nanosecond.  A file that was changed a moment ago may change again within the clock's grain:
 * its digest is used and not kept. */

#define SETTLED_S 2

typedef struct {
    XXH64_state_t *hash;
    int64_t newest; /* seconds */
    uint32_t n;
} stamp;

static bool stamp_file(stamp *s, const char *name, const struct stat *st) {
    const uint64_t part[] = {(uint64_t)st->st_dev,          (uint64_t)st->st_ino,
                             (uint64_t)st->st_size,         (uint64_t)st->st_mtim.tv_sec,
                             (uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ctim.tv_sec,
                             (uint64_t)st->st_ctim.tv_nsec, strlen(name)};
    if (st->st_mtim.tv_sec > s->newest) s->newest = st->st_mtim.tv_sec;
    if (st->st_ctim.tv_sec > s->newest) s->newest = st->st_ctim.tv_sec;
    s->n++;
    return XXH64_update(s->hash, part, sizeof(part)) == XXH_OK && XXH64_update(s->hash, name, strlen(name)) == XXH_OK;
}

static int keep_weights(const struct dirent *e) {
    const char *dot = strrchr(e->d_name, '.');
    return dot && (strcmp(dot, ".safetensors") == 0 || strcmp(dot, ".json") == 0 || strcmp(dot, ".gguf") == 0);
}

/* False: it cannot be told. */
static bool stamp_path(stamp *s, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return false;
    if (!S_ISDIR(st.st_mode)) return stamp_file(s, "", &st);
    struct dirent **entry = NULL;
    const int n = scandir(path, &entry, keep_weights, alphasort);
    bool ok = n > 0;
    for (int i = 0; i < n; i++) {
        char *file = ok ? hone_path_join(path, entry[i]->d_name) : NULL;
        ok = file && stat(file, &st) == 0 && stamp_file(s, entry[i]->d_name, &st);
        hone_free(file);
        free(entry[i]); /* scandir's own memory, as is the list */
    }
    free(entry);
    return ok;
}

/* The file that holds the digest, on the heap; NULL: none can be told.  *settled: it may be written. */
static char *digest_file(const char *model_path, const char *folder, bool *settled) {
    stamp s = {.hash = XXH64_createState()};
    char *file = NULL;
    if (s.hash && XXH64_reset(s.hash, 0) == XXH_OK && stamp_path(&s, model_path)) {
        char name[40];
        snprintf(name, sizeof(name), "%016llx.digest", (unsigned long long)XXH64_digest(s.hash));
        file = hone_path_join(folder, name);
    }
    *settled = hone_clock_unix() - s.newest > SETTLED_S;
    XXH64_freeState(s.hash);
    return file;
}

static bool read_digest(const char *file, char digest[HONE_DIGEST_TEXT]) {
    hone_buf text = {0};
    const bool good = hone_file_read(file, &text, HONE_DIGEST_TEXT, NULL) == HONE_OK &&
                      text.n == HONE_DIGEST_TEXT - 1 && strspn(text.data, "0123456789abcdef") == HONE_DIGEST_TEXT - 1;
    if (good) memcpy(digest, text.data, HONE_DIGEST_TEXT);
    hone_buf_free(&text);
    return good;
}

static hone_status digest_of(const char *path, const char *folder, char digest[HONE_DIGEST_TEXT], hone_error *err) {
    bool settled;
    char *file = digest_file(path, folder, &settled);
    hone_status status = HONE_OK;
    if (!file || !read_digest(file, digest)) {
        hone_weights *w;
        status = hone_weights_open(&w, path, err);
        if (status == HONE_OK) status = hone_weights_digest(w, digest, err);
        hone_weights_close(w);
        if (status == HONE_OK && file && settled) /* the next time is only slower without it */
            hone_file_write_atomic(file, digest, HONE_DIGEST_TEXT - 1, NULL);
    }
    hone_free(file);
    return status;
}

/* ---- The tile file ---- */

static char *tile_file(const char *folder, const char *digest, hone_precision precision) {
    hone_buf name = {0};
    hone_buf_format(&name, "%s/%.32s-%s-%s.tiles", folder, digest, hone_kernels_best()->name,
                    precision == HONE_PRECISION_F32 ? "f32" : "serving");
    return hone_buf_take(&name, NULL);
}

hone_status hone_tile_cache_get(const char *model_path, const char *folder, hone_precision precision, char **path,
                                hone_error *err) {
    *path = NULL;
    char digest[HONE_DIGEST_TEXT];
    hone_status status = hone_folder_make(folder, err);
    if (status == HONE_OK) status = digest_of(model_path, folder, digest, err);
    if (status != HONE_OK) return status;
    char *file = tile_file(folder, digest, precision);
    if (!file) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a path");
    if (!usable(file)) {
        hone_pool *pool = NULL;
        hone_model *m = NULL;
        status = hone_pool_open(&pool, 0, err);
        if (status == HONE_OK) status = hone_model_open(&m, model_path, hone_kernels_best(), precision, pool, err);
        if (status == HONE_OK) status = hone_model_write_tiles(m, file, err);
        hone_model_close(m);
        hone_pool_close(pool);
    }
    if (status == HONE_OK)
        *path = file;
    else
        hone_free(file);
    return status;
}

char *hone_tile_cache_find(const char *model_path, const char *folder, hone_precision precision) {
    bool settled;
    char digest[HONE_DIGEST_TEXT], *file = digest_file(model_path, folder, &settled), *tiles = NULL;
    if (file && read_digest(file, digest)) tiles = tile_file(folder, digest, precision);
    hone_free(file);
    if (tiles && usable(tiles)) return tiles;
    hone_free(tiles);
    return NULL;
}

hone_status hone_tile_cache_open(hone_model **out, const char *model_path, const char *folder, hone_precision precision,
                                 hone_pool *pool, hone_error *err) {
    char *tiles = NULL;
    *out = NULL;
    if (folder && hone_tile_cache_get(model_path, folder, precision, &tiles, NULL) == HONE_OK) {
        const int fd = open(tiles, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) hone_model_map_tiles(out, fd, tiles, NULL);
        if (fd >= 0) close(fd);
    }
    hone_free(tiles);
    /* No folder, no space in it, or bad weights: the plain way works, or says what is wrong. */
    return *out ? HONE_OK : hone_model_open(out, model_path, hone_kernels_best(), precision, pool, err);
}

int hone_tile_cache_run(const char *model_path, const char *folder, hone_precision precision) {
    hone_error err = {.position = HONE_NO_POSITION};
    char *path;
    const hone_status status = hone_tile_cache_get(model_path, folder, precision, &path, &err);
    json_t *answer = status == HONE_OK ? json_pack("{s:s}", "tiles", path) : json_pack("{s:s}", "error", err.message);
    hone_buf line = {0};
    if (answer && hone_json_write(answer, &line) && hone_buf_char(&line, '\n')) fputs(hone_buf_str(&line), stdout);
    fflush(stdout);
    json_decref(answer);
    hone_buf_free(&line);
    hone_free(path);
    return status == HONE_OK ? 0 : 1;
}
