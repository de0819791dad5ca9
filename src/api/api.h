/* api.h - the OpenAI surface: one HTTP server over store, controller and jobs.
 *
 * Every reply that is an error has OpenAI's shape: {"error": {message, type, param, code}}, always four.  Fields of a
 * request that this server does not implement are refused by name; unknown ones too.  Extensions beyond OpenAI's
 * fields are those of vLLM: top_k, min_p, repetition_penalty, ignore_eos, min_tokens, chat_template_kwargs,
 * structured_outputs, guided_*; llama.cpp's grammar and json_schema; reasoning_content in replies.
 *
 * Threads: the loop's. */
#ifndef HONE_API_H
#define HONE_API_H

#include "fleet/controller.h"
#include "lab/jobs.h"
#include "net/http.h"
#include "net/offload.h"
#include "store/store.h"

typedef struct hone_api hone_api;

typedef struct {
    hone_loop *loop;
    hone_store *store;
    hone_controller *controller;
    hone_jobs *jobs;
    hone_offload *offload;    /* closed after the api: what still runs there ends without it */
    hone_http_config http;    /* address, port, limits; the hooks are the api's own */
    bool need_key;            /* every request but /livez and /readyz needs a key */
    const char *organization; /* stands in organization_id and in ft: names; NULL: "org" */
} hone_api_config;

/* Listens on return.  HONE_ERR_DENIED: an address that is not loopback while no key exists (`hone key add`). */
hone_status hone_api_open(hone_api **out, const hone_api_config *cfg, hone_error *err);
void hone_api_close(hone_api *api);
uint16_t hone_api_port(const hone_api *api);

/* Refuse newcomers, let streams end, then done(arg). */
void hone_api_stop(hone_api *api, void (*done)(void *arg), void *arg);

#endif
