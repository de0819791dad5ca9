/* server.c - routes, keys, life of the HTTP server; the contract is in api.h. */
#include <stdio.h>
#include <string.h>

#include "api/private.h"
#include "base/log.h"
#include "base/mem.h"

static const struct {
    const char *method, *pattern;
    hone_http_handler begin, handle;
    bool while_stopping;
} routes[] = {
    {"GET", "/livez", NULL, api_livez, true},
    {"GET", "/readyz", NULL, api_readyz, true},
    {"GET", "/metrics", NULL, api_metrics_text, true},
    {"GET", "/v1/models", NULL, api_models_list, false},
    {"GET", "/v1/models/{model...}", NULL, api_models_get, false},
    {"DELETE", "/v1/models/{model...}", NULL, api_models_delete, false},
    {"POST", "/v1/chat/completions", NULL, api_chat, false},
    {"POST", "/v1/completions", NULL, api_completions, false},
    {"POST", "/v1/embeddings", NULL, api_embeddings, false},
    {"POST", "/v1/files", api_files_begin, api_files_create, false},
    {"GET", "/v1/files", NULL, api_files_list, false},
    {"GET", "/v1/files/{id}", NULL, api_files_get, false},
    {"GET", "/v1/files/{id}/content", NULL, api_files_content, false},
    {"DELETE", "/v1/files/{id}", NULL, api_files_delete, false},
    {"POST", "/v1/fine_tuning/jobs", NULL, api_jobs_create, false},
    {"GET", "/v1/fine_tuning/jobs", NULL, api_jobs_list, false},
    {"GET", "/v1/fine_tuning/jobs/{id}", NULL, api_jobs_get, false},
    {"POST", "/v1/fine_tuning/jobs/{id}/cancel", NULL, api_jobs_cancel, false},
    {"GET", "/v1/fine_tuning/jobs/{id}/events", NULL, api_jobs_events, false},
    {"GET", "/v1/fine_tuning/jobs/{id}/checkpoints", NULL, api_jobs_checkpoints, false},
};
#define N_ROUTES (sizeof(routes) / sizeof(routes[0]))

/* Before any route: who is it? */
static void check_key(void *arg, hone_request *req) {
    hone_api *api = arg;
    const char *route = hone_request_route(req);
    if (!api->cfg.need_key || strcmp(route, "/livez") == 0 || strcmp(route, "/readyz") == 0) return;
    const char *given = hone_request_header(req, "authorization");
    if (!given || strncasecmp(given, "Bearer ", 7) != 0) {
        hone_reply_header(req, "www-authenticate", "Bearer");
        api_error(req, 401, "invalid_request_error", NULL, "missing_api_key",
                  "You did not provide an API key. Send it as the header: Authorization: Bearer YOUR_KEY");
        return;
    }
    hone_rec_key key;
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_status status = hone_store_key_check(api->cfg.store, given + 7, &key, &err);
    if (status == HONE_OK) {
        hone_rec_key_free(&key);
        return;
    }
    if (status != HONE_ERR_NOT_FOUND) {
        api_fail(req, &err, NULL);
        return;
    }
    hone_reply_header(req, "www-authenticate", "Bearer error=\"invalid_token\"");
    api_error(req, 401, "invalid_request_error", NULL, "invalid_api_key", "Incorrect API key provided.");
}

static void on_ended(void *arg, const hone_request *req) {
    api_metrics_http(arg, req);
}

hone_status hone_api_open(hone_api **out, const hone_api_config *cfg, hone_error *err) {
    *out = NULL;
    hone_api *api = hone_zalloc(1, sizeof(*api));
    if (!api) return hone_fail(err, HONE_ERR_NOMEM, "no memory for the server");
    api->cfg = *cfg;
    api->cfg.need_key = cfg->need_key || !hone_http_is_loopback(cfg->http.address);
    hone_status status = HONE_OK;
    if (!(api->organization = hone_strdup(cfg->organization ? cfg->organization : "org")))
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory for the server");
    if (status == HONE_OK && api->cfg.need_key) {
        hone_list_key keys;
        status = hone_store_key_list(cfg->store, (hone_page){.limit = 1}, &keys, err);
        if (status == HONE_OK && keys.n == 0)
            status = hone_fail(
                err, HONE_ERR_DENIED,
                "%s is not loopback: anyone who reaches it could use the models. Make a key first: hone key add NAME",
                cfg->http.address);
        if (status != HONE_ERR_DENIED) hone_list_key_free(&keys);
    }
    if (status == HONE_OK) status = hone_names_open(&api->names, cfg->store, err);
    if (status == HONE_OK) status = api_metrics_open(api, err);
    hone_http_route table[N_ROUTES];
    for (size_t i = 0; i < N_ROUTES; i++)
        table[i] = (hone_http_route){.method = routes[i].method,
                                     .pattern = routes[i].pattern,
                                     .begin = routes[i].begin,
                                     .handle = routes[i].handle,
                                     .arg = api,
                                     .while_stopping = routes[i].while_stopping};
    hone_http_config http = cfg->http;
    http.arg = api;
    http.begin = check_key;
    http.ended = on_ended;
    if (status == HONE_OK) status = hone_http_open(&api->http, cfg->loop, &http, table, N_ROUTES, err);
    if (status != HONE_OK) {
        hone_api_close(api);
        return status;
    }
    *out = api;
    return HONE_OK;
}

uint16_t hone_api_port(const hone_api *api) {
    return hone_http_port(api->http);
}

void hone_api_stop(hone_api *api, void (*done)(void *arg), void *arg) {
    api->stopping = true;
    hone_http_stop(api->http, done, arg);
}

void hone_api_close(hone_api *api) {
    if (!api) return;
    hone_http_close(api->http);
    api_metrics_close(api);
    api_bases_free(api);
    hone_names_close(api->names);
    hone_free(api->organization);
    hone_free(api);
}
