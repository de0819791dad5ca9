/* private.h - what the files of this room share: the api's state, error replies, checked fields, targets. */
#ifndef HONE_API_PRIVATE_H
#define HONE_API_PRIVATE_H

#include "api/api.h"
#include "base/json.h"
#include "lab/names.h"
#include "model/model.h"
#include "model/text.h"
#include "net/metrics.h"

/* A base that requests have named: its text side and its component.  Lives as long as the api. */
typedef struct api_base {
    struct api_base *next;
    char *path;
    hone_text *text;
    hone_component *component;
    uint32_t context; /* positions of one sequence at most */
    uint32_t vocab, width;
    struct api_dialect *dialect; /* how the family writes calls and reasoning */
} api_base;

#define API_CHECKED 64u

struct hone_api {
    hone_api_config cfg;
    char *organization;
    hone_http *http;
    hone_names *names;
    api_base *bases;
    struct api_metrics *metrics;
    char checked[API_CHECKED]
                [HONE_DIGEST_TEXT]; /* grammar sources that compiled, by digest: agents send the same again */
    uint32_t next_checked;
    bool stopping;
};

/* ---- errors (errors.c) ---- */

/* type, param and code as OpenAI writes them; param and code may be NULL. */
void api_error(hone_request *req, int status, const char *type, const char *param, const char *code, const char *format,
               ...) __attribute__((format(printf, 6, 7)));
/* 400 invalid_request_error. */
void api_invalid(hone_request *req, const char *param, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The reply for a failure from below: limits and full queues become 429 or 503, the caller's faults 400, the rest 500.
 */
void api_fail(hone_request *req, const hone_error *err, const char *param);
json_t *api_error_object(const char *message, const char *type, const char *param, const char *code);

/* ---- fields (fields.c) ---- */

typedef enum {
    API_STRING,
    API_BOOL,
    API_INT,
    API_NUMBER,
    API_ARRAY,
    API_OBJECT,
    API_STRING_OR_ARRAY,
    API_NUMBER_OR_AUTO,
    API_ANY, /* the handler looks */
    API_REFUSED
} api_kind;
typedef struct {
    const char *name;
    api_kind kind;
    double min, max; /* of numbers, of a string's characters, of an array's elements; max 0 with min 0: no bounds */
} api_field;

/* The body as an object whose fields are all known, of the right type and in range; NULL after a 400 was sent.  null
 * counts as absent everywhere. */
json_t *api_body(hone_request *req, const api_field *fields, size_t n);
/* The same check on an object inside a body; prefix ("stream_options.") stands before names in messages. */
bool api_check(hone_request *req, const json_t *object, const char *prefix, const api_field *fields, size_t n);
/* False after a 400: the field is missing. */
bool api_need(hone_request *req, const json_t *body, const char *name);

const char *api_text(const json_t *body, const char *name, const char *otherwise);
int64_t api_int(const json_t *body, const char *name, int64_t otherwise);
double api_number(const json_t *body, const char *name, double otherwise);
bool api_bool(const json_t *body, const char *name, bool otherwise);
const json_t *api_value(const json_t *body, const char *name); /* NULL when absent or null */
/* metadata: at most 16 pairs of strings.  False after a 400. */
bool api_metadata(hone_request *req, const json_t *body);
/* Query parameters of lists: limit (1..max), after, order.  False after a 400. */
bool api_page(hone_request *req, uint32_t limit, uint32_t max, hone_page *out);

/* ---- targets (target.c) ---- */

/* What a request's "model" names: a version of a base that can run here. */
typedef struct {
    api_base *base;
    char *version;              /* the name that the reply carries; owned */
    hone_adapter_files adapter; /* digest "" without; paths owned */
} api_target;

/* False after a 404 or another error was sent. */
bool api_find_target(hone_api *api, hone_request *req, const char *model, api_target *out);
void api_target_free(api_target *t);
api_base *api_find_base(hone_api *api, const char *path, hone_error *err);
void api_bases_free(hone_api *api);

/* A prompt field: string, strings, tokens, lists of tokens -> ids, [n] on the heap, each owned.  False after a reply;
 * what was made so far is in *list even then. (completions.c) */
bool api_read_prompts(hone_request *req, const api_base *base, const json_t *v, hone_ids **list, uint32_t *n);

/* ---- the resources ---- */

void api_chat(void *arg, hone_request *req);
void api_completions(void *arg, hone_request *req);
void api_embeddings(void *arg, hone_request *req);
void api_models_list(void *arg, hone_request *req);
void api_models_get(void *arg, hone_request *req);
void api_models_delete(void *arg, hone_request *req);
void api_files_begin(void *arg, hone_request *req);
void api_files_create(void *arg, hone_request *req);
void api_files_list(void *arg, hone_request *req);
void api_files_get(void *arg, hone_request *req);
void api_files_content(void *arg, hone_request *req);
void api_files_delete(void *arg, hone_request *req);
void api_jobs_create(void *arg, hone_request *req);
void api_jobs_list(void *arg, hone_request *req);
void api_jobs_get(void *arg, hone_request *req);
void api_jobs_cancel(void *arg, hone_request *req);
void api_jobs_events(void *arg, hone_request *req);
void api_jobs_checkpoints(void *arg, hone_request *req);
void api_livez(void *arg, hone_request *req);
void api_readyz(void *arg, hone_request *req);
void api_metrics_text(void *arg, hone_request *req);

/* ---- metrics (ops.c) ---- */

typedef struct {
    double started, first_token, last_token; /* monotonic seconds; 0: none yet */
    uint32_t prompt_tokens, output_tokens;
    const char *finish; /* "stop", "length", "abort", "error" */
} api_request_figures;
void api_metrics_request(hone_api *api, const char *model, const api_request_figures *f);
/* Seconds between two tokens of one stream; NULL without memory. */
hone_series *api_metrics_gaps(hone_api *api, const char *model);
void api_metrics_http(hone_api *api, const hone_request *req);
hone_status api_metrics_open(hone_api *api, hone_error *err);
void api_metrics_close(hone_api *api);

#endif
