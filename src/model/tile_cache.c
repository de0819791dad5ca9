/* tile_cache.c - weights into a tile file; the contract is in tile_cache.h. */
#include "model/tile_cache.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

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

static hone_status digest_of(const char *path, char digest[HONE_DIGEST_TEXT], hone_error *err) {
    hone_weights *w;
    hone_status status = hone_weights_open(&w, path, err);
    if (status == HONE_OK) status = hone_weights_digest(w, digest, err);
    hone_weights_close(w);
    return status;
}

hone_status hone_tile_cache_get(const char *model_path, const char *folder, hone_precision precision, char **path,
                                hone_error *err) {
    *path = NULL;
    const hone_kernels *kernels = hone_kernels_best();
    char digest[HONE_DIGEST_TEXT];
    hone_status status = hone_folder_make(folder, err);
    if (status == HONE_OK) status = digest_of(model_path, digest, err);
    if (status != HONE_OK) return status;
    hone_buf name = {0};
    hone_buf_format(&name, "%s/%.32s-%s-%s.tiles", folder, digest, kernels->name,
                    precision == HONE_PRECISION_F32 ? "f32" : "serving");
    char *file = hone_buf_take(&name, NULL);
    if (!file) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a path");
    if (!usable(file)) {
        hone_pool *pool = NULL;
        hone_model *m = NULL;
        status = hone_pool_open(&pool, 0, err);
        if (status == HONE_OK) status = hone_model_open(&m, model_path, kernels, precision, pool, err);
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
