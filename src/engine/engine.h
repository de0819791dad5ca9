/* engine.h - the token machine: sequences in, tokens out, many at a time.
 *
 * Continuous batching over paged keys and values: every step runs a block of rows under a token budget that prefill
 * chunks and decodes share.  Rows of one step may use different adapters.  The engine knows nothing of text, templates,
 * stop strings or tenants; it works on tokens (docs/internals/serving.md).
 *
 * Sampling of position p of a request is a function of (logits, parameters, earlier tokens of the request, seed, p)
 * alone, so a request that is submitted again with its emitted tokens goes on with the same bytes.
 *
 * Threads: one owner for all calls; products are spread over the pool.  After open, submit and add_adapter allocate; of
 * a step only what grammars learn (masks, states) does. */
#ifndef HONE_ENGINE_H
#define HONE_ENGINE_H

#include "engine/forward.h"
#include "grammar/matcher.h"

#define HONE_TOP_LOGPROBS 20u
#define HONE_MAX_STOP_TOKENS 16u
#define HONE_NO_DRAFT UINT32_MAX
#define HONE_STALL_ANY UINT32_MAX

typedef struct {
    float temperature;        /* 0: greedy (the lowest id among equals) */
    float top_p;              /* 1: off */
    uint32_t top_k;           /* 0: off */
    float min_p;              /* 0: off */
    float repetition_penalty; /* 1: off; over prompt and output, as transformers and vLLM */
    float frequency_penalty;  /* over output tokens, OpenAI */
    float presence_penalty;
    uint64_t seed;
    uint32_t n_bias; /* logit_bias entries */
    const int32_t *bias_token;
    const float *bias_value; /* added to the logit before anything else */
} hone_sampling;

typedef struct {
    uint64_t id;            /* the caller's; unique among live requests */
    const int32_t *prompt;  /* copied */
    uint32_t n_prompt;      /* at least 1 */
    const int32_t *emitted; /* tokens a former copy already emitted (journal); copied; they are not reported again */
    uint32_t n_emitted;
    uint32_t max_tokens; /* output tokens at most, emitted ones included; 0: only the prompt is computed (echo,
                            embeddings) */
    uint32_t min_tokens; /* stop tokens are not sampled before */
    uint32_t n_stop;
    int32_t stop[HONE_MAX_STOP_TOKENS]; /* end-of-turn tokens: sampled ones end the request and are reported */
    bool ignore_stop;                   /* ignore_eos */
    hone_sampling sampling;
    int32_t n_logprobs;     /* -1: none; 0 to HONE_TOP_LOGPROBS alternatives for each output token */
    bool prompt_logprobs;   /* the same for prompt tokens, from the second on; a request with emitted tokens tells them
                               again */
    bool want_embedding;    /* mean over the prompt of the final norm's output */
    const char *adapter;    /* digest of a registered adapter, NULL: base */
    uint32_t priority;      /* class: lower goes first; the youngest of the highest number loses its pages first */
    bool no_prefix;         /* neither takes cached pages nor leaves any (cache_salt of other tenants, measurements) */
    const char *cache_salt; /* prefixes are shared among requests of one salt; NULL: ""; on the wire shorter than
                               HONE_DIGEST_TEXT */
    bool pin_prefix;        /* the prompt's whole pages stay cached when it ends, within the pins' share of the slab */
    hone_grammar *grammar;  /* NULL: free text; retained.  Output ends with a stop token once the text is complete */
    const char *grammar_source; /* [n_grammar_source] what the wire carries; a copy compiles it into `grammar` */
    size_t n_grammar_source;
    const int32_t *prediction; /* OpenAI's `prediction`: the output that the caller expects, for drafts; copied */
    uint32_t n_prediction;
    uint32_t max_draft; /* drafted tokens a step; 0: the engine's choice, HONE_NO_DRAFT: none */
} hone_engine_request;

typedef enum { HONE_EVENT_TOKEN, HONE_EVENT_PROMPT, HONE_EVENT_EMBEDDING, HONE_EVENT_DONE } hone_event_kind;
typedef enum {
    HONE_FINISH_NONE,
    HONE_FINISH_STOP,
    HONE_FINISH_LENGTH,
    HONE_FINISH_CANCELLED,
    HONE_FINISH_ERROR
} hone_finish;

/* Borrowed for the duration of the callback. */
typedef struct {
    hone_event_kind kind;
    uint64_t id;
    uint32_t index; /* TOKEN: position in the output, from 0; PROMPT: position in the prompt */
    int32_t token;
    float logprob;  /* of token, when asked for: log softmax of the raw logits */
    uint32_t n_top; /* alternatives, best first */
    int32_t top_token[HONE_TOP_LOGPROBS];
    float top_logprob[HONE_TOP_LOGPROBS];
    hone_finish finish;              /* DONE */
    uint32_t n_prompt, n_output;     /* DONE: usage */
    uint32_t n_cached;               /* TOKEN, DONE: prompt tokens whose keys and values came from the prefix tree */
    uint32_t n_accepted, n_rejected; /* DONE: drafted tokens; OpenAI's accepted_prediction_tokens where it was asked */
    const float *embedding;          /* EMBEDDING: [D] mean, not normalised */
    const hone_error *error;         /* DONE with HONE_FINISH_ERROR */
} hone_event;

/* Zeros mean hone_engine_defaults' values; HONE_KV_BF16 stays. */
typedef struct {
    uint32_t max_step_rows; /* token budget of a step */
    uint32_t max_sequences; /* running at once; the rest wait in the engine's queue */
    uint32_t max_length;    /* positions of one sequence at most; 0: the model's context */
    uint64_t kv_bytes;      /* the slab */
    hone_kv_type kv_type;
    uint64_t adapter_bytes; /* budget of resident adapters */
    uint32_t max_draft;     /* drafted tokens of one request in a step at most; HONE_NO_DRAFT: speculation is off */
    bool no_prefix;         /* no prefix tree */
    uint32_t pin_percent;   /* of the slab, what pinned prefixes may hold */
    uint32_t stall_percent; /* by how much prompts may lengthen a step while others stream; HONE_STALL_ANY: by as much
                               as max_step_rows allows.  For tests and bench/schedule_bench: no option of serve, which
                               promises the default (docs/serving.md) */
} hone_engine_config;

typedef struct {
    uint32_t running, waiting; /* running: those too that ride on one for its prefix */
    uint32_t pages_free, pages_total;
    uint64_t steps, prefill_tokens, decode_tokens;
    uint64_t preemptions;       /* sequences that lost their pages to others and were computed again */
    uint64_t prefix_tokens;     /* prompt tokens that were not computed */
    uint32_t pages_cached;      /* hold prefixes that nobody uses now: of pages_free, or pinned */
    uint64_t drafted, accepted; /* tokens of speculation */
    uint64_t forced;            /* tokens that a grammar left no choice for */
    uint64_t grammar_mask_ns;   /* time spent on token masks */
    uint64_t memory;            /* bytes held: the plan's kv and scratch */
    uint64_t adapter_bytes;
    uint32_t adapters;
} hone_engine_stats;

typedef struct hone_engine hone_engine;

hone_engine_config hone_engine_defaults(const hone_model *model);

/* What an engine of this configuration will use, before anything is opened; adapters: the budget.  A request adds its
 * own tokens, which are not planned. */
typedef struct {
    uint64_t weights, kv, scratch, adapters, total; /* bytes */
} hone_memory_plan;
void hone_engine_plan(hone_memory_plan *out, const hone_model *model, const hone_pool *pool,
                      const hone_engine_config *cfg);

hone_status hone_engine_open(hone_engine **out, const hone_model *model, hone_pool *pool, const hone_engine_config *cfg,
                             hone_error *err);

/* The bytes of the tokens, for grammars; once, owned afterwards; one of more tokens than the model has is dropped.
 * Without one, requests with a grammar are refused with HONE_ERR_UNSUPPORTED. */
void hone_engine_set_vocabulary(hone_engine *e, hone_vocabulary *vocabulary);

void hone_engine_close(hone_engine *e);

/* The engine owns the adapter afterwards, also on failure, and lays it if it is not laid yet.  The least recently used
 * adapters that no request uses and nobody pinned make room.  A digest that is there already is fine.  HONE_ERR_FULL:
 * over the budget of adapters in use; HONE_ERR_LIMIT: a rank over HONE_LORA_MAX_RANK. */
hone_status hone_engine_add_adapter(hone_engine *e, const char *digest, hone_adapter *adapter, hone_error *err);
bool hone_engine_has_adapter(const hone_engine *e, const char *digest);

/* Makes room for so many bytes of adapters before they are read.  HONE_ERR_FULL: requests use what is in the way, later
 * it may do; HONE_ERR_LIMIT: the whole budget is smaller, or pinned adapters leave too little of it. */
hone_status hone_engine_adapter_room(hone_engine *e, uint64_t bytes, hone_error *err);

/* A pinned adapter never makes room; one that is not here is ignored. */
void hone_engine_pin_adapter(hone_engine *e, const char *digest, bool pinned);

/* Told when an adapter made room, from inside add_adapter and adapter_room. */
void hone_engine_on_evicted(hone_engine *e, void (*fn)(void *arg, const char *digest), void *arg);

/* HONE_ERR_ARG with both numbers when prompt + output cannot fit, HONE_ERR_NOT_FOUND for an unknown adapter. */
hone_status hone_engine_submit(hone_engine *e, const hone_engine_request *request, hone_error *err);

/* Ends the request before the next step; its pages are free at once.  No event follows.  Unknown ids are fine, and so
 * is a call from inside on_event. */
void hone_engine_cancel(hone_engine *e, uint64_t id);

/* One step; events go to on_event in order.  Returns whether work is left. */
bool hone_engine_step(hone_engine *e, void (*on_event)(void *arg, const hone_event *event), void *arg);

void hone_engine_get_stats(const hone_engine *e, hone_engine_stats *out);
const char *hone_engine_check(const hone_engine *e); /* NULL or the broken invariant; for tests */

#endif
