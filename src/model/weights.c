/* weights.c - one view over both containers; the contract is in weights.h.
 *
 * Order: GGUF files, folders, look-ups, digest. */
#include "model/weights.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/safetensors.h"

struct hone_weights {
    char *path;
    char *gguf_path; /* the file itself; NULL: a folder of safetensors */
    hone_gguf *gguf;
    hone_tensor *tensor; /* [n] the GGUF directory with shapes turned round */
    hone_safetensors *st;
    json_t *config, *generation_config;
    size_t n;
};

static hone_status no_memory(const char *path, hone_error *err) {
    return hone_fail(err, HONE_ERR_NOMEM, "%s: no memory", path);
}

/* ---- GGUF files ---- */

static hone_status open_gguf(hone_weights *w, const char *path, hone_error *err) {
    hone_status s;
    if (!(w->gguf_path = hone_strdup(path))) return no_memory(path, err);
    if ((s = hone_gguf_open_path(&w->gguf, path, err))) return s;
    int64_t parts = 1;
    if ((s = hone_gguf_opt_int(w->gguf, "split.count", 0, INT64_MAX, &parts, err))) return s;
    if (parts > 1)
        return hone_fail(err, HONE_ERR_UNSUPPORTED,
                         "%s: one of %lld parts of a split GGUF file; join them to one first", path, (long long)parts);
    w->n = (size_t)hone_gguf_tensor_count(w->gguf);
    if (!(w->tensor = hone_zalloc(w->n, sizeof(*w->tensor)))) return no_memory(path, err);
    for (size_t i = 0; i < w->n; i++) {
        const hone_gguf_tensor *g = hone_gguf_tensor_at(w->gguf, i);
        hone_tensor *t = &w->tensor[i];
        *t = (hone_tensor){.name = g->name, .dtype = g->dtype, .n_dim = g->n_dim, .data = g->data, .bytes = g->bytes};
        for (uint32_t d = 0; d < g->n_dim; d++) t->shape[d] = g->shape[g->n_dim - 1 - d];
    }
    return HONE_OK;
}

/* ---- folders ---- */

/* The one GGUF file of a folder: NOT_FOUND when there is none, ARG when there are several to choose from. */
static hone_status only_gguf(const char *dir, char **out, hone_error *err) {
    DIR *d = opendir(dir);
    *out = NULL;
    if (!d) return hone_fail(err, HONE_ERR_IO, "%s: cannot read the folder", dir);
    hone_status s = HONE_OK;
    for (struct dirent *e; s == HONE_OK && (e = readdir(d));) {
        const size_t n = strlen(e->d_name);
        if (n < 6 || strcmp(e->d_name + n - 5, ".gguf") != 0) continue;
        if (*out)
            s = hone_fail(err, HONE_ERR_ARG, "%s: several GGUF files are here; name one of them", dir);
        else if (!(*out = hone_path_join(dir, e->d_name)))
            s = no_memory(dir, err);
    }
    closedir(d);
    if (s == HONE_OK && !*out)
        s = hone_fail(err, HONE_ERR_NOT_FOUND, "%s: no model is here: neither config.json nor a GGUF file", dir);
    if (s) {
        hone_free(*out);
        *out = NULL;
    }
    return s;
}

static hone_status load_json(const char *dir, const char *name, json_t **out, hone_error *err) {
    char *path = hone_path_join(dir, name);
    if (!path) return no_memory(dir, err);
    hone_status s = HONE_OK;
    *out = hone_json_load(path, err);
    if (!*out) s = err ? err->code : HONE_ERR_FORMAT;
    hone_free(path);
    return s;
}

static hone_status look_for(const char *dir, const char *name, bool *out, hone_error *err) {
    char *path = hone_path_join(dir, name);
    if (!path) return no_memory(dir, err);
    *out = access(path, F_OK) == 0;
    hone_free(path);
    return HONE_OK;
}

static hone_status open_folder(hone_weights *w, const char *dir, hone_error *err) {
    bool config = false, generation = false;
    hone_status s;
    if ((s = look_for(dir, "config.json", &config, err))) return s;
    if ((s = look_for(dir, "generation_config.json", &generation, err))) return s;
    if (!config) {
        char *file = NULL;
        if ((s = only_gguf(dir, &file, err))) return s;
        s = open_gguf(w, file, err);
        hone_free(file);
        return s;
    }
    if ((s = load_json(dir, "config.json", &w->config, err))) return s;
    if (generation && (s = load_json(dir, "generation_config.json", &w->generation_config, err))) return s;
    if ((s = hone_safetensors_open_folder(&w->st, dir, err))) return s;
    w->n = hone_safetensors_count(w->st);
    return HONE_OK;
}

hone_status hone_weights_open(hone_weights **out, const char *path, hone_error *err) {
    *out = NULL;
    struct stat st;
    hone_weights *w = hone_zalloc(1, sizeof(*w));
    if (!w || !(w->path = hone_strdup(path))) {
        hone_free(w);
        return no_memory(path, err);
    }
    const hone_status s = stat(path, &st) != 0  ? hone_fail(err, HONE_ERR_NOT_FOUND, "%s: no such file or folder", path)
                          : S_ISDIR(st.st_mode) ? open_folder(w, path, err)
                                                : open_gguf(w, path, err);
    if (s) {
        hone_weights_close(w);
        return s;
    }
    *out = w;
    return HONE_OK;
}

void hone_weights_close(hone_weights *w) {
    if (!w) return;
    hone_gguf_close(w->gguf);
    hone_safetensors_close(w->st);
    json_decref(w->config);
    json_decref(w->generation_config);
    hone_free(w->tensor);
    hone_free(w->gguf_path);
    hone_free(w->path);
    hone_free(w);
}

/* ---- look-ups ---- */

size_t hone_weights_count(const hone_weights *w) {
    return w->n;
}

const hone_tensor *hone_weights_at(const hone_weights *w, size_t i) {
    if (w->st) return hone_safetensors_at(w->st, i);
    return i < w->n ? &w->tensor[i] : NULL;
}

const hone_tensor *hone_weights_find(const hone_weights *w, const char *name) {
    if (w->st) return hone_safetensors_find(w->st, name);
    const hone_gguf_tensor *g = hone_gguf_tensor_find(w->gguf, name);
    return g ? &w->tensor[g - hone_gguf_tensor_at(w->gguf, 0)] : NULL;
}

const hone_gguf *hone_weights_gguf(const hone_weights *w) {
    return w->gguf;
}

const json_t *hone_weights_config(const hone_weights *w) {
    return w->config;
}

const json_t *hone_weights_generation_config(const hone_weights *w) {
    return w->generation_config;
}

const char *hone_weights_path(const hone_weights *w) {
    return w->path;
}

uint64_t hone_weights_bytes(const hone_weights *w) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < w->n; i++) bytes += hone_weights_at(w, i)->bytes;
    return bytes;
}

/* ---- digest ---- */

hone_status hone_weights_digest(const hone_weights *w, char out[HONE_DIGEST_TEXT], hone_error *err) {
    if (w->gguf_path) return hone_digest_file(w->gguf_path, out, NULL, err);
    hone_buf digests = {0};
    char one[HONE_DIGEST_TEXT];
    char *config = hone_path_join(w->path, "config.json");
    hone_status s = config ? hone_digest_file(config, one, NULL, err) : no_memory(w->path, err);
    hone_free(config);
    if (s == HONE_OK) hone_buf_text(&digests, one);
    for (size_t i = 0; s == HONE_OK && i < hone_safetensors_file_count(w->st); i++)
        if ((s = hone_digest_file(hone_safetensors_file_at(w->st, i), one, NULL, err)) == HONE_OK)
            hone_buf_text(&digests, one);
    if (s == HONE_OK && (digests.failed || hone_digest_bytes(digests.data, digests.n, out)))
        s = no_memory(w->path, err);
    hone_buf_free(&digests);
    return s;
}
