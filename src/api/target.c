/* target.c - from a request's "model" to a base that runs here and an adapter on it. */
#include <string.h>

#include "api/dialect.h"
#include "api/private.h"
#include "base/mem.h"

static void free_base(api_base *b) {
    if (!b) return;
    api_dialect_close(b->dialect);
    hone_text_close(b->text);
    hone_free(b->path);
    hone_free(b);
}

void api_bases_free(hone_api *api) {
    while (api->bases) {
        api_base *b = api->bases;
        api->bases = b->next;
        free_base(b);
    }
}

api_base *api_find_base(hone_api *api, const char *path, hone_error *err) {
    for (api_base *b = api->bases; b; b = b->next)
        if (strcmp(b->path, path) == 0) return b;
    api_base *b = hone_zalloc(1, sizeof(*b));
    hone_model_info info = {0};
    hone_status status = b ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory for a model");
    if (status == HONE_OK && !(b->path = hone_strdup(path)))
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory for a model");
    if (status == HONE_OK) status = hone_model_inspect(&info, path, err);
    if (status == HONE_OK) {
        b->context = info.arch.max_position;
        b->vocab = info.arch.vocab;
        b->width = info.arch.width;
        status = hone_text_open(&b->text, path, err);
    }
    if (status == HONE_OK && !(b->dialect = api_dialect_open(b->text)))
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory for a model");
    if (status == HONE_OK &&
        (status = hone_arch_check_vocabulary(&info.arch, (uint64_t)hone_tokenizer_size(b->text->tokenizer), err)))
        hone_fail_within(err, status, "%s: ", path);
    hone_model_info_free(&info);
    if (status == HONE_OK) status = hone_controller_component(api->cfg.controller, path, &b->component, err);
    if (status != HONE_OK) {
        free_base(b);
        return NULL;
    }
    hone_component_set_tokenizer(b->component, b->text->tokenizer);
    b->next = api->bases;
    api->bases = b;
    return b;
}

void api_target_free(api_target *t) {
    hone_free(t->version);
    hone_free((void *)(uintptr_t)t->adapter.config_path);
    hone_free((void *)(uintptr_t)t->adapter.tensors_path);
    *t = (api_target){0};
}

static hone_status copy_target(const hone_resolved *r, api_target *out, hone_error *err) {
    out->version = hone_strdup(r->version);
    if (r->config_path) out->adapter.config_path = hone_strdup(r->config_path);
    if (r->tensors_path) out->adapter.tensors_path = hone_strdup(r->tensors_path);
    memcpy(out->adapter.digest, r->digest, sizeof(out->adapter.digest));
    if (out->version && !r->config_path == !out->adapter.config_path && !r->tensors_path == !out->adapter.tensors_path)
        return HONE_OK;
    return hone_fail(err, HONE_ERR_NOMEM, "no memory to look up a name");
}

bool api_find_target(hone_api *api, hone_request *req, const char *model, api_target *out) {
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_resolved *r;
    *out = (api_target){0};
    hone_status status = hone_names_resolve(api->names, model, &r, &err);
    if (status == HONE_ERR_NOT_FOUND) {
        api_error(req, 404, "invalid_request_error", "model", "model_not_found", "%s", err.message);
        return false;
    }
    if (status == HONE_OK && !(out->base = api_find_base(api, r->path, &err))) status = err.code;
    if (status == HONE_OK) status = copy_target(r, out, &err);
    if (status == HONE_OK) return true;
    api_target_free(out);
    /* A model that is registered but cannot be read is this side's fault, whatever the code. */
    api_error(req, 500, "server_error", "model", "model_unusable", "The model '%.200s' cannot be used: %s", model,
              err.message);
    return false;
}
