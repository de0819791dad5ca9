/* models.c - GET /v1/models, GET and DELETE /v1/models/{model...}. */
#include <string.h>

#include "api/private.h"

static json_t *model_object(const char *id, int64_t created, const char *owner) {
    return json_pack("{s:s, s:s, s:I, s:s}", "id", id, "object", "model", "created", (json_int_t)created, "owned_by",
                     owner);
}

void api_models_list(void *arg, hone_request *req) {
    hone_api *api = arg;
    hone_error err = {.position = HONE_NO_POSITION};
    hone_list_model bases = {0};
    hone_list_version versions = {0};
    hone_list_alias aliases = {0};
    const hone_page all = {.order = HONE_ORDER_ASC};
    hone_status status = hone_store_model_list(api->cfg.store, all, &bases, &err);
    if (status == HONE_OK) status = hone_store_version_list(api->cfg.store, all, &versions, &err);
    if (status == HONE_OK) status = hone_store_alias_list(api->cfg.store, all, &aliases, &err);
    if (status == HONE_OK) {
        json_t *data = json_array();
        for (size_t i = 0; i < bases.n; i++)
            json_array_append_new(data, model_object(bases.rows[i].name, bases.rows[i].created_at, "hone"));
        for (size_t i = 0; i < versions.n; i++)
            json_array_append_new(data,
                                  model_object(versions.rows[i].id, versions.rows[i].created_at, api->organization));
        for (size_t i = 0; i < aliases.n; i++)
            json_array_append_new(data,
                                  model_object(aliases.rows[i].name, aliases.rows[i].created_at, api->organization));
        json_t *body = json_pack("{s:s, s:o}", "object", "list", "data", data);
        hone_reply_json(req, 200, body);
        json_decref(body);
    } else {
        api_fail(req, &err, NULL);
    }
    hone_list_model_free(&bases);
    hone_list_version_free(&versions);
    hone_list_alias_free(&aliases);
}

static void not_found(hone_request *req, const char *id) {
    api_error(req, 404, "invalid_request_error", "model", "model_not_found", "The model '%.300s' does not exist.", id);
}

void api_models_get(void *arg, hone_request *req) {
    hone_api *api = arg;
    const char *id = hone_request_param(req, "model");
    hone_error err = {.position = HONE_NO_POSITION};
    hone_resolved r;
    const hone_status status = hone_registry_resolve(api->cfg.store, id, false, &r, &err);
    if (status == HONE_ERR_NOT_FOUND) {
        not_found(req, id);
        return;
    }
    if (status != HONE_OK) {
        api_fail(req, &err, "model");
        return;
    }
    json_t *body = model_object(id, r.created_at, r.config_path ? api->organization : "hone");
    hone_reply_json(req, 200, body);
    json_decref(body);
    hone_resolved_free(&r);
}

void api_models_delete(void *arg, hone_request *req) {
    hone_api *api = arg;
    const char *id = hone_request_param(req, "model");
    hone_error err = {.position = HONE_NO_POSITION};
    hone_rec_model base;
    hone_status status = hone_store_model_get(api->cfg.store, id, &base, &err);
    if (status == HONE_OK) {
        hone_rec_model_free(&base);
        api_error(req, 403, "invalid_request_error", "model", "not_deletable",
                  "'%.300s' is a base model; only fine-tuned models are deleted here (`hone rm` removes a base).", id);
        return;
    }
    status = hone_store_version_delete(api->cfg.store, id, &err);
    if (status == HONE_ERR_NOT_FOUND) {
        not_found(req, id);
        return;
    }
    if (status != HONE_OK) {
        api_fail(req, &err, "model");
        return;
    }
    json_t *body = json_pack("{s:s, s:s, s:b}", "id", id, "object", "model", "deleted", 1);
    hone_reply_json(req, 200, body);
    json_decref(body);
}
