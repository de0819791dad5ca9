/* pull_http.c - hone pull from Hugging Face and from plain addresses.
 * Refuses: file names with a path in them that would leave the folder, repositories without a model.
 * Order: the source's parts, the list of files, one repository, one address. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "lab/pull_private.h"
#include "net/http_client.h"

/* The source's parts -----------------------------------------------------------------------------------------------*/

typedef struct {
    char *repo, *revision, *file; /* file NULL: the whole model */
} hf_source;

static void hf_free(hf_source *s) {
    hone_free(s->repo);
    hone_free(s->revision);
    hone_free(s->file);
}

/* Parts go into an address: nothing that ends a path or climbs out of one. */
static bool is_part(const char *text) {
    return *text && !strstr(text, "..") && text[0] != '/' &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/") == strlen(text);
}

/* hf:OWNER/REPO[@REVISION][:FILE] */
static hone_status hf_read(hf_source *out, const char *source, hone_error *err) {
    const char *at = source + 3;
    const size_t n_repo = strcspn(at, "@:");
    out->repo = hone_strndup(at, n_repo);
    at += n_repo;
    if (*at == '@') {
        const size_t n = strcspn(++at, ":");
        out->revision = hone_strndup(at, n);
        at += n;
    } else {
        out->revision = hone_strdup("main");
    }
    if (*at == ':') out->file = hone_strdup(at + 1);
    const bool file_missing = *at == ':' && !out->file;
    if (!out->repo || !out->revision || file_missing) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    if (!is_part(out->repo) || !strchr(out->repo, '/') || !is_part(out->revision) || (out->file && !is_part(out->file)))
        return hone_fail(err, HONE_ERR_ARG, "%s: expected hf:OWNER/REPO[@REVISION][:FILE]", source);
    return HONE_OK;
}

static const char *endpoint(void) {
    const char *given = getenv("HF_ENDPOINT");
    return given && *given ? given : "https://huggingface.co";
}

/* For the endpoint and no other host: the client drops it when a redirect leads elsewhere. */
static const char *token(void) {
    const char *given = getenv("HF_TOKEN");
    return given && *given ? given : NULL;
}

/* The list of files ------------------------------------------------------------------------------------------------*/

/* Of a repository, what makes a model: nothing that would have to be executed. */
static bool is_wanted(const char *name) {
    static const char *const exact[] = {"config.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "chat_template.jinja",
                                        "model.safetensors.index.json",
                                        "tokenizer.model"};
    for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
        if (strcmp(name, exact[i]) == 0) return true;
    const size_t n = strlen(name);
    return n > 12 && strcmp(name + n - 12, ".safetensors") == 0 && !strchr(name, '/') &&
           strncmp(name, "adapter", 7) != 0;
}

static hone_status hf_list(const hf_source *s, const hone_pull_request *r, json_t **out, hone_error *err) {
    hone_buf url = {0}, body = {0};
    *out = NULL;
    hone_buf_format(&url, "%s/api/models/%s/revision/%s?blobs=true", endpoint(), s->repo, s->revision);
    pull_progress(r, "asking for the list of files", 0, 0);
    hone_status status = url.failed ? hone_fail(err, HONE_ERR_NOMEM, "no memory")
                                    : hone_http_get(hone_buf_str(&url), token(), 16u << 20, &body, NULL, err);
    if (status == HONE_ERR_DENIED) hone_fail_within(err, status, "a closed repository wants HF_TOKEN: ");
    if (status == HONE_OK) {
        *out = hone_json_parse(hone_buf_str(&body), body.n, err);
        if (!*out) status = hone_fail_within(err, HONE_ERR_FORMAT, "the list of files: ");
    }
    hone_buf_free(&url);
    hone_buf_free(&body);
    return status;
}

/* One repository ---------------------------------------------------------------------------------------------------*/

typedef struct {
    const hone_pull_request *r;
    const char *name;
} shown;

static bool on_progress(void *arg, uint64_t done, uint64_t total) {
    const shown *s = arg;
    pull_progress(s->r, s->name, done, total);
    return true;
}

static hone_status fetch(const char *url, const char *bearer, const char *path, const char *sha256, shown *show,
                         hone_error *err) {
    hone_download_result result;
    hone_download d = hone_download_defaults();
    d.url = url;
    d.bearer = bearer;
    d.path = path;
    d.sha256 = sha256;
    d.on_progress = on_progress;
    d.arg = show;
    return hone_download_run(&d, &result, err);
}

static hone_status hf_fetch(const hf_source *s, const hone_pull_request *r, const json_t *file, const char *folder,
                            hone_error *err) {
    const char *name = json_string_value(json_object_get(file, "rfilename"));
    const char *expected = json_string_value(json_object_get(json_object_get(file, "lfs"), "sha256"));
    const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    shown show = {r, base};
    hone_buf url = {0};
    char *path = hone_path_join(folder, base);
    hone_buf_format(&url, "%s/%s/resolve/%s/%s", endpoint(), s->repo, s->revision, name);
    hone_status status = HONE_OK;
    if (!path || url.failed) status = hone_fail(err, HONE_ERR_NOMEM, "no memory");
    /* What a former pull fetched to its end is not fetched again. */
    else if (access(path, R_OK) != 0)
        status = fetch(hone_buf_str(&url), token(), path, expected, &show, err);
    hone_buf_free(&url);
    hone_free(path);
    return status;
}

/* The files of the list that make the model, each fetched into folder; *one is the GGUF file where one was asked for.
 */
static hone_status hf_fetch_all(const hf_source *s, const hone_pull_request *r, const json_t *info, const char *folder,
                                char **one, hone_error *err) {
    const json_t *files = json_object_get(info, "siblings");
    hone_status status = HONE_OK;
    size_t fetched = 0;
    for (size_t i = 0; i < json_array_size(files) && status == HONE_OK; i++) {
        const json_t *file = json_array_get(files, i);
        const char *name = json_string_value(json_object_get(file, "rfilename"));
        if (!name || !is_part(name) || (s->file ? strcmp(name, s->file) != 0 : !is_wanted(name))) continue;
        status = hf_fetch(s, r, file, folder, err);
        fetched++;
        if (s->file && status == HONE_OK)
            *one = hone_path_join(folder, strrchr(name, '/') ? strrchr(name, '/') + 1 : name);
    }
    if (status == HONE_OK && fetched == 0)
        return hone_fail(err, HONE_ERR_NOT_FOUND, "%s: %s", r->source,
                         s->file ? "no such file in the repository"
                                 : "no weights there that this program reads; a GGUF file is named as :FILE");
    if (status == HONE_OK && s->file && !*one) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    return status;
}

hone_status pull_hf(hone_store *store, const hone_pull_request *r, const char *name, hone_rec_model *out,
                    hone_error *err) {
    hf_source s = {0};
    json_t *info = NULL;
    hone_buf origin = {0};
    char *folder = pull_scratch(store, name), *one = NULL;
    hone_status status = hf_read(&s, r->source, err);
    if (status == HONE_OK && !folder) status = hone_fail(err, HONE_ERR_NOMEM, "no memory");
    if (status == HONE_OK) status = hone_folder_make(folder, err);
    if (status == HONE_OK) status = hf_list(&s, r, &info, err);
    if (status == HONE_OK) status = hf_fetch_all(&s, r, info, folder, &one, err);
    if (status == HONE_OK) {
        const char *licence = json_string_value(json_object_get(json_object_get(info, "cardData"), "license"));
        const char *commit = json_string_value(json_object_get(info, "sha"));
        hone_buf_format(&origin, "%s/%s at %s", endpoint(), s.repo, commit ? commit : s.revision);
        const pull_found found = {.request = r,
                                  .name = name,
                                  .model = one ? one : folder,
                                  .licence = licence,
                                  .origin = hone_buf_str(&origin),
                                  .fetched = true};
        status = pull_register(store, &found, out, err);
        /* After a failed download the folder stays: the next pull goes on with it. */
        if (status == HONE_OK) pull_drop_folder(folder);
    }
    json_decref(info);
    hone_buf_free(&origin);
    hone_free(folder);
    hone_free(one);
    hf_free(&s);
    return status;
}

/* One address ------------------------------------------------------------------------------------------------------*/

hone_status pull_url(hone_store *store, const hone_pull_request *r, const char *name, hone_rec_model *out,
                     hone_error *err) {
    char *folder = pull_scratch(store, name), *path = NULL;
    shown show = {r, name};
    hone_status status = HONE_OK;
    if (!folder || !(path = hone_path_join(folder, "model.gguf"))) status = hone_fail(err, HONE_ERR_NOMEM, "no memory");
    if (status == HONE_OK) status = hone_folder_make(folder, err);
    if (status == HONE_OK) status = fetch(r->source, NULL, path, NULL, &show, err);
    if (status == HONE_OK) {
        const pull_found found = {.request = r, .name = name, .model = path, .origin = r->source, .fetched = true};
        status = pull_register(store, &found, out, err);
        pull_drop_folder(folder);
    }
    hone_free(folder);
    hone_free(path);
    return status;
}
