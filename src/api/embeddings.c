/* embeddings.c - POST /v1/embeddings: the mean of the last hidden states over the input, of unit length.
 * `dimensions` keeps the first ones and scales the rest to unit length again (Matryoshka style). */
#include <math.h>
#include <string.h>

#include "api/generate.h"
#include "base/mem.h"

typedef struct {
    hone_ids *input; /* [n] */
    uint32_t n, dimensions;
    bool base64;
} embeddings;

static const api_field fields[] = {
    {"model", API_STRING, 1, 512},   {"input", API_STRING_OR_ARRAY, 0, 0}, {"encoding_format", API_STRING, 0, 0},
    {"dimensions", API_INT, 1, 1e9}, {"user", API_STRING, 0, 0},
};

/* RFC 4648, over the little-endian floats. */
static json_t *base64_of(const float *v, uint32_t n) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = (const unsigned char *)v;
    const size_t bytes = (size_t)n * sizeof(float);
    hone_buf out = {0};
    for (size_t i = 0; i < bytes; i += 3) {
        const size_t left = bytes - i;
        const uint32_t w =
            (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0u);
        const char group[4] = {digit[w >> 18], digit[w >> 12 & 63], left > 1 ? digit[w >> 6 & 63] : '=',
                               left > 2 ? digit[w & 63] : '='};
        hone_buf_add(&out, group, 4);
    }
    json_t *text = json_stringn(hone_buf_str(&out), out.n);
    hone_buf_free(&out);
    return text;
}

static void to_unit_length(float *v, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)v[i] * (double)v[i];
    const double factor = sum > 0 ? 1 / sqrt(sum) : 0;
    for (uint32_t i = 0; i < n; i++) v[i] = (float)((double)v[i] * factor);
}

static json_t *vector_of(const embeddings *own, float *v) {
    to_unit_length(v, own->dimensions);
    if (own->base64) return base64_of(v, own->dimensions);
    json_t *list = json_array();
    for (uint32_t i = 0; i < own->dimensions; i++) json_array_append_new(list, json_real((double)v[i]));
    return list;
}

static void reply_done(api_call *call) {
    const embeddings *own = call->own;
    json_t *data = json_array();
    for (uint32_t i = 0; i < call->n_choice; i++)
        json_array_append_new(data, json_pack("{s:s, s:i, s:o}", "object", "embedding", "index", (int)i, "embedding",
                                              vector_of(own, call->choice[i].embedding)));
    json_t *body =
        json_pack("{s:s, s:o, s:s, s:{s:i, s:i}}", "object", "list", "data", data, "model", call->target.version,
                  "usage", "prompt_tokens", (int)call->prompt_tokens, "total_tokens", (int)call->prompt_tokens);
    hone_reply_json(call->req, 200, body);
    json_decref(body);
}

static void free_embeddings(void *p) {
    embeddings *own = p;
    if (!own) return;
    for (uint32_t i = 0; own->input && i < own->n; i++) hone_ids_free(&own->input[i]);
    hone_free(own->input);
    hone_free(own);
}

static const api_call_hooks hooks = {.done = reply_done, .free_own = free_embeddings};

void api_embeddings(void *arg, hone_request *req) {
    hone_api *api = arg;
    json_t *body = api_body(req, fields, sizeof(fields) / sizeof(fields[0]));
    if (!body) return;
    api_target target = {0};
    embeddings *own = NULL;
    const char *format = api_text(body, "encoding_format", "float");
    if (!api_need(req, body, "model") || !api_need(req, body, "input")) goto done;
    if (strcmp(format, "float") != 0 && strcmp(format, "base64") != 0) {
        api_invalid(req, "encoding_format", "invalid_value",
                    "Invalid value: '%.40s'. Supported values are: 'float' and 'base64'.", format);
        goto done;
    }
    if (!api_find_target(api, req, api_text(body, "model", ""), &target) || !api_admits(req, &target, body)) goto done;
    const uint32_t width = target.base->width;
    const int64_t dimensions = api_int(body, "dimensions", width);
    if (dimensions > (int64_t)width) {
        api_invalid(req, "dimensions", "integer_above_max_value",
                    "Invalid 'dimensions': this model has %u, but got %lld.", width, (long long)dimensions);
        goto done;
    }
    if (!(own = hone_zalloc(1, sizeof(*own)))) {
        api_error(req, 500, "server_error", NULL, "out_of_memory", "The server is out of memory.");
        goto done;
    }
    own->dimensions = (uint32_t)dimensions;
    own->base64 = format[0] == 'b';
    if (!api_read_prompts(req, target.base, api_value(body, "input"), &own->input, &own->n)) goto done;
    api_call *call = api_call_new(api, req, &target, "embd-", &hooks, own, own->n);
    embeddings *mine = own;
    own = NULL;
    if (!call) goto done;
    for (uint32_t i = 0; i < mine->n; i++) {
        call->choice[i].prompt = mine->input[i].id;
        call->choice[i].n_prompt = (uint32_t)mine->input[i].n;
        call->prompt_tokens += (uint32_t)mine->input[i].n;
    }
    call->engine.want_embedding = true;
    call->engine.sampling.repetition_penalty = 1;
    call->engine.sampling.top_p = 1;
    api_call_start(call, 0);
done:
    free_embeddings(own);
    api_target_free(&target);
    json_decref(body);
}
