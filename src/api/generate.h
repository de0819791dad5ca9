/* generate.h - one HTTP request as a set of generations: what chat, completions and embeddings have in common.
 *
 * A call has choices; each is one sequence at a copy.  Tokens become text here: detokenised, stop strings found across
 * token borders, text that may be the beginning of a stop string held back.  At most API_WINDOW choices run at once,
 * the others follow.
 *
 * Life: api_call_new, fill choices, api_call_start; then hooks, `done` or `failed` last, after which the call is freed.
 * When the client leaves, generations are cancelled and the call is freed without a hook. */
#ifndef HONE_API_GENERATE_H
#define HONE_API_GENERATE_H

#include "api/private.h"

#define API_WINDOW 64u
#define API_MAX_STOPS 16u

typedef struct {
    int32_t token;
    float logprob;
    uint32_t n_top;
    int32_t top_token[HONE_TOP_LOGPROBS];
    float top_logprob[HONE_TOP_LOGPROBS];
    size_t begin; /* byte of the choice's text at which the token's text begins */
} api_token;

typedef struct api_call api_call;

typedef struct {
    api_call *call;
    uint32_t index;
    const int32_t *prompt; /* [n_prompt]; owned by the call's owner, outlives the choice */
    uint32_t n_prompt;
    uint64_t seed;
    hone_generation *generation; /* NULL: not started, or over */
    hone_detok *detok;
    hone_buf held;    /* text that may still turn out to belong to a stop string */
    hone_buf text;    /* all text given out; empty in streams */
    size_t n_text;    /* bytes given out */
    api_token *token; /* [n_token] output tokens with logprobs, when asked for; owned */
    size_t n_token, cap_token;
    size_t n_told;           /* of token, already in a chunk */
    api_token *prompt_token; /* [n_prompt_token] from the prompt's second token on */
    size_t n_prompt_token, cap_prompt_token;
    hone_ids ids;                                 /* output tokens as ids, with return_token_ids */
    bool thinking;                                /* the next token is reasoning: the hooks say so */
    uint32_t n_reasoning, n_accepted, n_rejected; /* the last two of drafts, as the engine tells them at the end */
    float *embedding;                             /* [width] or NULL */
    double sum_logprob;                           /* of output tokens, when they are known */
    uint32_t n_output, n_cached;                  /* n_cached: of the prompt, not computed */
    const char *finish;                           /* "stop", "length"; NULL: runs */
    double last_token;                            /* monotonic seconds */
} api_choice;

typedef struct {
    /* Text of a running choice, n > 0; NULL: the call collects (choice->text). */
    void (*text)(api_call *call, api_choice *choice, const char *text, size_t n);
    void (*finished)(api_call *call, api_choice *choice); /* may be NULL */
    void (*done)(api_call *call);                         /* all are finished: end the reply */
    void (*free_own)(void *own);
    void (*failed)(api_call *call, const hone_error *err); /* NULL: api_fail, or an error event in a stream */
} api_call_hooks;

struct api_call {
    hone_api *api;
    hone_request *req;
    const api_call_hooks *hooks;
    void *own; /* chat's or completions' part; freed by hooks->free_own */
    api_target target;
    hone_engine_request engine; /* what all choices share; prompt and seed are each choice's own */
    char cache_salt[HONE_DIGEST_TEXT];
    int32_t *bias_token;
    float *bias_value;
    hone_buf grammar;     /* source of the reply's grammar; empty: free */
    hone_ids prediction;  /* the expected output */
    const int32_t *shown; /* [n_shown] special tokens that stand in the text, between HONE_TOKEN_MARKs; borrowed */
    uint32_t n_shown;
    char *stop[API_MAX_STOPS];
    uint32_t n_stop;
    api_choice *choice; /* [n_choice] */
    uint32_t n_choice, n_started, n_over;
    bool stream, include_usage, streaming; /* streaming: the reply has begun */
    uint32_t timeout_ms;                   /* to begin; 0: the server's default */
    const char *tier;                      /* service_tier that the reply names */
    bool token_ids;                        /* return_token_ids, vLLM's extension */
    uint32_t prompt_tokens;                /* of all distinct prompts, for usage */
    char id[HONE_ID_MAX];
    int64_t created;
    double started, first_token;
    hone_series *gaps;    /* where times between tokens are counted; NULL before the first */
    hone_buf head, chunk; /* of a stream's events: what all begin with, and the one that is being written */
};

/* Takes target (also on failure: it is freed then and a reply was sent). */
api_call *api_call_new(hone_api *api, hone_request *req, api_target *target, const char *id_prefix,
                       const api_call_hooks *hooks, void *own, uint32_t n_choice);

/* Sampling fields, stop, stream and stream_options of body into the call; false after a 400.  max_tokens is the
 * caller's. */
bool api_call_read(api_call *call, const json_t *body, uint32_t max_stops);

/* False after a 429 or 503: the queue has no place.  Before templates and tokens are paid for. */
bool api_admits(hone_request *req, const api_target *target, const json_t *body);

/* prediction of body into the call's; false after a 400. */
bool api_call_predict(api_call *call, const json_t *body);

/* Checks prompt + max_tokens against the context (400 context_length_exceeded), then starts.  max_tokens -1: what the
 * context leaves.  The call belongs to the loop from here on. */
void api_call_start(api_call *call, int64_t max_tokens);

void api_call_free(api_call *call); /* for failures between new and start */

/* Adds token_ids and prompt_token_ids to a choice's object where they were asked for. */
void api_add_token_ids(const api_choice *c, json_t *object);

uint32_t api_call_output_tokens(const api_call *call);
json_t *api_call_usage(const api_call *call);

/* "fp_..." of the component, or NULL before its first copy was ready. */
const char *api_call_fingerprint(const api_call *call, char text[64]);

/* Fields that sampling requests share; appended to an endpoint's own table. */
#define API_SAMPLING_FIELDS                                                                                            \
    {"frequency_penalty", API_NUMBER, -2, 2}, {"presence_penalty", API_NUMBER, -2, 2},                                 \
        {"logit_bias", API_OBJECT, 0, 0}, {"n", API_INT, 1, 128},                                                      \
        {"seed", API_INT, -9223372036854775808.0, 9223372036854775807.0}, {"stop", API_STRING_OR_ARRAY, 0, 0},         \
        {"stream", API_BOOL, 0, 0}, {"stream_options", API_OBJECT, 0, 0}, {"temperature", API_NUMBER, 0, 2},           \
        {"top_p", API_NUMBER, 0, 1}, {"user", API_STRING, 0, 0}, {"top_k", API_INT, -1, 1e9},                          \
        {"min_p", API_NUMBER, 0, 1}, {"repetition_penalty", API_NUMBER, 0.01, 10}, {"ignore_eos", API_BOOL, 0, 0},     \
        {"min_tokens", API_INT, 0, 1e9}, {"prompt_cache_key", API_STRING, 0, 0}, {"cache_salt", API_STRING, 0, 0},     \
        {"prompt_cache_retention", API_STRING, 0, 0}, {"cache_prompt", API_BOOL, 0, 0}, {"priority", API_INT, -8, 8},  \
        {"timeout", API_NUMBER, 0.001, 86400}, {"return_token_ids", API_BOOL, 0, 0}, {"speculative", API_BOOL, 0, 0},  \
        {"response_format", API_OBJECT, 0, 0}, {"structured_outputs", API_OBJECT, 0, 0},                               \
        {"guided_json", API_ANY, 0, 0}, {"guided_regex", API_STRING, 0, 0}, {"guided_choice", API_ARRAY, 0, 0},        \
        {"guided_grammar", API_STRING, 0, 0}, {"json_schema", API_ANY, 0, 0}, {                                        \
        "grammar", API_STRING, 0, 0                                                                                    \
    }

/* A token's text for logprobs: as it reads, or "bytes:\xe2\x80" where it is a part of a character (as OpenAI writes).
 */
void api_token_text(const api_call *call, int32_t token, hone_buf *text, hone_buf *bytes);

#endif
