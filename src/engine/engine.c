/* engine.c - memory, adapters and requests of the token machine; the contract is in engine.h, the step in scheduler.c.
 * Order: configuration and plan, open and close, requests, stats and self-check.  Adapters: adapters.c. */
#include <string.h>

#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/inspect.h"

#define DEFAULT_STEP_ROWS 256u
#define DEFAULT_SEQUENCES 64u
#define DEFAULT_KV_BYTES (1ull << 30)
#define DEFAULT_ADAPTER_BYTES (1ull << 30)
#define DEFAULT_PIN_PERCENT 25u
#define DEFAULT_STALL_PERCENT 60u
#define DEFAULT_DRAFT HONE_DRAFT_MOST
/* Drafts need rows of logits beside those of the streams: for so many streams with the longest drafts. */
#define DRAFTING_STREAMS 2u
#define MAX_STEP_ROWS 8192u
/* Prompt log-probabilities want logits of many rows: in pieces of at least so many. */
#define MIN_LOGIT_ROWS 16u

/* --- configuration and plan --- */

hone_engine_config hone_engine_defaults(const hone_model *model) {
    hone_engine_config cfg = {.max_step_rows = DEFAULT_STEP_ROWS,
                              .max_sequences = DEFAULT_SEQUENCES,
                              .max_length = model->arch.max_position ? model->arch.max_position : 2048,
                              .kv_type = hone_kv_type_for(model->precision),
                              .adapter_bytes = DEFAULT_ADAPTER_BYTES,
                              .max_draft = DEFAULT_DRAFT,
                              .pin_percent = DEFAULT_PIN_PERCENT,
                              .stall_percent = DEFAULT_STALL_PERCENT};
    /* One sequence of full length at least, all of them at most. */
    const uint64_t page = hone_kv_page_bytes(model, cfg.kv_type), n = hone_kv_pages_for(cfg.max_length);
    cfg.kv_bytes = n * page > DEFAULT_KV_BYTES ? n * page : DEFAULT_KV_BYTES;
    if (cfg.kv_bytes / cfg.max_sequences > n * page) cfg.kv_bytes = n * page * cfg.max_sequences;
    return cfg;
}

static hone_engine_config resolve(const hone_model *model, const hone_engine_config *given) {
    hone_engine_config cfg = *given;
    const hone_engine_config usual = hone_engine_defaults(model);
    if (!cfg.max_step_rows) cfg.max_step_rows = usual.max_step_rows;
    if (!cfg.max_sequences) cfg.max_sequences = usual.max_sequences;
    if (cfg.max_sequences > cfg.max_step_rows)
        cfg.max_sequences = cfg.max_step_rows; /* every one may decode in a step */
    if (!cfg.max_length || (model->arch.max_position && cfg.max_length > model->arch.max_position))
        cfg.max_length = usual.max_length;
    if (!cfg.kv_bytes) {
        const uint64_t page = hone_kv_page_bytes(model, cfg.kv_type), n = hone_kv_pages_for(cfg.max_length);
        cfg.kv_bytes = n * page > DEFAULT_KV_BYTES ? n * page : DEFAULT_KV_BYTES;
        if (cfg.kv_bytes / cfg.max_sequences > n * page) cfg.kv_bytes = n * page * cfg.max_sequences;
    }
    if (!cfg.adapter_bytes) cfg.adapter_bytes = usual.adapter_bytes;
    if (!cfg.pin_percent) cfg.pin_percent = usual.pin_percent;
    if (!cfg.stall_percent) cfg.stall_percent = usual.stall_percent;
    if (!cfg.max_draft) cfg.max_draft = usual.max_draft;
    if (cfg.max_draft == HONE_NO_DRAFT)
        cfg.max_draft = 0;
    else if (cfg.max_draft > HONE_DRAFT_MOST)
        cfg.max_draft = HONE_DRAFT_MOST;
    return cfg;
}

static uint32_t logit_rows(const hone_engine_config *cfg) {
    const uint32_t want = cfg->max_sequences + DRAFTING_STREAMS * cfg->max_draft;
    const uint32_t n = want > MIN_LOGIT_ROWS ? want : MIN_LOGIT_ROWS;
    return n < cfg->max_step_rows ? n : cfg->max_step_rows;
}

static hone_kv_config kv_config(const hone_engine_config *cfg) {
    return (hone_kv_config){.max_sequences = cfg->max_sequences,
                            .max_length = cfg->max_length,
                            .budget_bytes = cfg->kv_bytes,
                            .type = cfg->kv_type,
                            .pin_percent = cfg->pin_percent};
}

/* Counts while base allocations are not made: plan and open walk the same list, so that they cannot differ. */
typedef struct {
    bool opening, failed;
    uint64_t bytes;
} reserve;

static void *take(reserve *r, size_t count, size_t size) {
    size_t bytes;
    if (r->failed || !hone_mul_size(&bytes, count, size)) {
        r->failed = true;
        return NULL;
    }
    r->bytes += bytes;
    if (!r->opening) return NULL;
    void *p = hone_zalloc(count, size);
    r->failed = p == NULL;
    return p;
}

static void take_scratch(hone_engine *e, reserve *r) {
    const hone_engine_config *cfg = &e->cfg;
    const size_t v = e->model->arch.vocab, d = e->model->arch.width, row = v * sizeof(float);
    e->n_logit = logit_rows(cfg);
    e->sampler = take(r, e->n_threads, sizeof(*e->sampler));
    e->copy = take(r, e->n_threads, row);
    e->logits = take(r, e->n_logit, row);
    e->hidden = take(r, cfg->max_step_rows, d * sizeof(float));
    e->rows = take(r, cfg->max_step_rows, sizeof(*e->rows));
    e->views = take(r, cfg->max_sequences, sizeof(*e->views));
    e->running = take(r, cfg->max_sequences, sizeof(*e->running));
    e->batch = take(r, cfg->max_sequences, sizeof(*e->batch));
    e->token_event = take(r, e->n_logit, sizeof(*e->token_event));
    e->prompt_event = take(r, e->n_logit, sizeof(*e->prompt_event));
    e->bid = take(r, cfg->max_sequences, sizeof(*e->bid));
    e->mask = take(r, e->n_threads, (v + 31) / 32 * sizeof(*e->mask));
    e->mask_ns = take(r, e->n_threads, sizeof(*e->mask_ns));
    r->bytes += (uint64_t)e->n_threads * hone_sampler_bytes((uint32_t)v);
}

void hone_engine_plan(hone_memory_plan *out, const hone_model *model, const hone_pool *pool,
                      const hone_engine_config *given) {
    hone_engine e = {.model = model, .cfg = resolve(model, given), .n_threads = hone_pool_threads(pool)};
    reserve r = {0};
    take_scratch(&e, &r);
    const hone_kv_config kv = kv_config(&e.cfg);
    out->weights = model->weight_bytes;
    out->kv = hone_kv_plan(model, &kv);
    out->scratch = r.bytes + hone_forward_plan(model, pool, e.cfg.max_step_rows, e.n_logit, e.cfg.kv_type);
    out->adapters = e.cfg.adapter_bytes;
    out->total = out->weights + out->kv + out->scratch + out->adapters;
}

/* --- open and close --- */

hone_status hone_engine_open(hone_engine **out, const hone_model *model, hone_pool *pool,
                             const hone_engine_config *given, hone_error *err) {
    *out = NULL;
    const hone_engine_config cfg = resolve(model, given);
    if (cfg.max_step_rows > MAX_STEP_ROWS)
        return hone_fail(err, HONE_ERR_ARG, "max_step_rows %u is over %u", cfg.max_step_rows, MAX_STEP_ROWS);
    hone_status st = HONE_ERR_NOMEM;
    hone_engine *e = hone_zalloc(1, sizeof(*e));
    if (!e) return hone_fail(err, HONE_ERR_NOMEM, "engine: no memory");
    e->model = model;
    e->pool = pool;
    e->cfg = cfg;
    e->n_threads = hone_pool_threads(pool);
    reserve r = {.opening = true};
    take_scratch(e, &r);
    if (r.failed) {
        hone_fail(err, HONE_ERR_NOMEM, "engine: no memory for %u rows of logits", e->n_logit);
        goto fail;
    }
    const hone_kv_config kv = kv_config(&cfg);
    if ((st = hone_kv_open(&e->kv, model, &kv, err)) != HONE_OK) goto fail;
    st = hone_forward_open(&e->forward, model, pool, cfg.max_step_rows, e->n_logit, cfg.kv_type, err);
    if (st != HONE_OK) goto fail;
    for (uint32_t i = 0; i < e->n_threads; i++)
        if ((st = hone_sampler_open(&e->sampler[i], model->kernels, model->arch.vocab, err)) != HONE_OK) goto fail;
    e->stats.memory = r.bytes + hone_forward_bytes(e->forward) + hone_kv_plan(model, &kv);
    *out = e;
    return HONE_OK;
fail:
    hone_engine_close(e); /* accepts a half-built one */
    return st;
}

static void free_request(engine_request *r) {
    engine_text_close(r->text);
    hone_draft_close(r->draft);
    hone_free(r->sum);
    hone_free(r);
}

void hone_engine_close(hone_engine *e) {
    if (!e) return;
    for (uint32_t i = 0; i < e->n_running; i++) free_request(e->running[i]);
    while (e->waiting) {
        engine_request *next = e->waiting->next;
        free_request(e->waiting);
        e->waiting = next;
    }
    engine_bury(e);
    engine_drop_adapters(e);
    for (uint32_t i = 0; e->sampler && i < e->n_threads; i++) hone_sampler_close(e->sampler[i]);
    hone_forward_close(e->forward);
    hone_kv_close(e->kv);
    hone_free(e->sampler);
    hone_free(e->copy);
    hone_free(e->logits);
    hone_free(e->hidden);
    hone_free(e->rows);
    hone_free(e->views);
    hone_free(e->running);
    hone_free(e->batch);
    hone_free(e->token_event);
    hone_free(e->prompt_event);
    hone_free(e->bid);
    hone_free(e->mask);
    hone_free(e->mask_ns);
    hone_vocabulary_close(e->vocabulary); /* after the requests, whose matchers use it */
    hone_free(e);
}

void hone_engine_set_vocabulary(hone_engine *e, hone_vocabulary *vocabulary) {
    if (e->vocabulary || hone_vocabulary_size(vocabulary) > e->model->arch.vocab)
        hone_vocabulary_close(vocabulary); /* matchers may use the first; masks have no room for more tokens */
    else
        e->vocabulary = vocabulary;
}

/* --- requests --- */

bool engine_older(const engine_request *a, const engine_request *b) {
    return a->r.priority != b->r.priority ? a->r.priority < b->r.priority : a->arrival < b->arrival;
}

void engine_wait(hone_engine *e, engine_request *r) {
    engine_request **at = &e->waiting;
    while (*at && engine_older(*at, r)) at = &(*at)->next;
    r->next = *at;
    *at = r;
    e->n_waiting++;
}

/* A live request by id, or NULL. */
static engine_request *find_request(const hone_engine *e, uint64_t id) {
    for (uint32_t i = 0; i < e->n_running; i++)
        if (e->running[i]->r.id == id && !e->running[i]->ended) return e->running[i];
    for (engine_request *r = e->waiting; r; r = r->next)
        if (r->r.id == id) return r;
    return NULL;
}

static hone_status check_tokens(const int32_t *token, uint32_t n, uint32_t vocab, const char *what, hone_error *err) {
    for (uint32_t i = 0; i < n; i++)
        if (token[i] < 0 || (uint32_t)token[i] >= vocab)
            return hone_fail_at(err, HONE_ERR_ARG, i, "%s token %u is %d, the vocabulary has %u", what, i, token[i],
                                vocab);
    return HONE_OK;
}

static hone_status check_request(const hone_engine *e, const hone_engine_request *r, hone_error *err) {
    const uint32_t vocab = e->model->arch.vocab;
    if (r->n_prompt == 0) return hone_fail(err, HONE_ERR_ARG, "the prompt is empty");
    if (r->n_emitted > r->max_tokens)
        return hone_fail(err, HONE_ERR_ARG, "%u tokens are emitted already, max_tokens is %u", r->n_emitted,
                         r->max_tokens);
    if (r->n_stop > HONE_MAX_STOP_TOKENS)
        return hone_fail(err, HONE_ERR_ARG, "%u stop tokens, at most %u", r->n_stop, HONE_MAX_STOP_TOKENS);
    if (r->n_logprobs > (int32_t)HONE_TOP_LOGPROBS)
        return hone_fail(err, HONE_ERR_ARG, "%d alternatives, at most %u", r->n_logprobs, HONE_TOP_LOGPROBS);
    const uint64_t length = (uint64_t)r->n_prompt + r->max_tokens;
    if (length > e->cfg.max_length)
        return hone_fail(err, HONE_ERR_ARG, "prompt of %u and output of %u tokens are over the context of %u",
                         r->n_prompt, r->max_tokens, e->cfg.max_length);
    if (hone_kv_pages_for((uint32_t)length) > hone_kv_total_pages(e->kv))
        return hone_fail(err, HONE_ERR_ARG, "prompt of %u and output of %u tokens are over the cache of %u",
                         r->n_prompt, r->max_tokens, hone_kv_total_pages(e->kv) * HONE_KV_PAGE);
    hone_status st = check_tokens(r->prompt, r->n_prompt, vocab, "prompt", err);
    if (st == HONE_OK) st = check_tokens(r->emitted, r->n_emitted, vocab, "emitted", err);
    if (st == HONE_OK) st = hone_sampling_check(&r->sampling, vocab, err);
    if (st == HONE_OK) st = check_tokens(r->prediction, r->n_prediction, vocab, "prediction", err);
    if (st == HONE_OK && (r->grammar || r->grammar_source) && !e->vocabulary)
        st = hone_fail(err, HONE_ERR_UNSUPPORTED, "a grammar needs the model's vocabulary, which is not here");
    if (st == HONE_OK && find_request(e, r->id))
        st = hone_fail(err, HONE_ERR_EXISTS, "request %llu is running already", (unsigned long long)r->id);
    if (st == HONE_OK && r->adapter && !hone_engine_has_adapter(e, r->adapter))
        st = hone_fail(err, HONE_ERR_NOT_FOUND, "adapter %.12s is not here", r->adapter);
    return st;
}

/* Drafts, and the grammar with what it forces before anything is sampled. */
static hone_status begin_text(hone_engine *e, engine_request *r, const hone_engine_request *given, hone_error *err) {
    hone_status st = HONE_OK;
    r->n_emit = given->n_emitted;
    if (e->cfg.max_draft && given->max_draft != HONE_NO_DRAFT && given->max_tokens > 1)
        st = hone_draft_open(&r->draft, r->length, given->prediction, given->n_prediction, err);
    r->r.prediction = NULL; /* the caller's; so are these */
    r->r.grammar = NULL;
    r->r.grammar_source = NULL;
    if (st != HONE_OK || (!given->grammar && !given->grammar_source)) return st;
    hone_grammar *grammar = given->grammar ? hone_grammar_ref(given->grammar) : NULL;
    if (!grammar) st = hone_grammar_compile(&grammar, given->grammar_source, given->n_grammar_source, err);
    if (st == HONE_OK) st = engine_text_open(&r->text, grammar, e->vocabulary, given->emitted, given->n_emitted, err);
    hone_grammar_unref(grammar);
    if (st == HONE_OK) engine_begin_forced(r);
    return st;
}

hone_status hone_engine_submit(hone_engine *e, const hone_engine_request *given, hone_error *err) {
    const hone_status st = check_request(e, given, err);
    if (st != HONE_OK) return st;
    /* One allocation: the record, its tokens, its biases.  length is bounded by the context. */
    const uint32_t length = given->n_prompt + given->max_tokens, n_bias = given->sampling.n_bias;
    const size_t bytes = sizeof(engine_request) + (size_t)length * sizeof(int32_t) + (size_t)n_bias * 8;
    engine_request *r = hone_zalloc(1, bytes);
    if (!r) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a request of %u tokens", length);
    r->r = *given;
    r->token = (int32_t *)(void *)(r + 1);
    memcpy(r->token, given->prompt, given->n_prompt * sizeof(int32_t));
    if (given->n_emitted) memcpy(r->token + given->n_prompt, given->emitted, given->n_emitted * sizeof(int32_t));
    int32_t *bias_token = r->token + length;
    float *bias_value = (float *)(void *)(bias_token + n_bias);
    if (n_bias) {
        memcpy(bias_token, given->sampling.bias_token, n_bias * sizeof(int32_t));
        memcpy(bias_value, given->sampling.bias_value, n_bias * sizeof(float));
    }
    r->r.prompt = r->token;
    r->r.emitted = r->token + given->n_prompt;
    r->r.sampling.bias_token = bias_token;
    r->r.sampling.bias_value = bias_value;
    r->r.adapter = NULL;
    if (given->want_embedding && !(r->sum = hone_zalloc(e->model->arch.width, sizeof(float)))) {
        free_request(r);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for an embedding");
    }
    r->n_output = given->n_emitted;
    r->length = length;
    r->seq = HONE_KV_NONE;
    r->n_told = given->prompt_logprobs ? 1 : given->n_prompt;
    r->arrival = e->arrivals++;
    if (given->adapter) {
        r->adapter = engine_use_adapter(e, given->adapter);
        r->applies_from = hone_adapter_applies_from(r->adapter->adapter, r->token, given->n_prompt);
    }
    hone_status keyed = engine_find_keys(e, r, err);
    if (keyed == HONE_OK) keyed = begin_text(e, r, given, err);
    r->r.cache_salt = NULL; /* the caller's */
    if (keyed != HONE_OK) {
        engine_end(e, r);
        free_request(r);
        return keyed;
    }
    engine_wait(e, r);
    return HONE_OK;
}

void engine_end(hone_engine *e, engine_request *r) {
    if (r->seq != HONE_KV_NONE && r->r.pin_prefix) hone_kv_pin(e->kv, r->seq, r->r.n_prompt);
    if (r->seq != HONE_KV_NONE) hone_kv_end(e->kv, r->seq);
    r->seq = HONE_KV_NONE;
    if (r->adapter) engine_leave_adapter(e, r->adapter);
    r->adapter = NULL;
    r->ended = true;
}

void engine_bury(hone_engine *e) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        if (!r->ended) {
            e->running[n++] = r;
            continue;
        }
        r->next = e->graveyard;
        e->graveyard = r;
    }
    e->n_running = n;
    while (e->graveyard) {
        engine_request *next = e->graveyard->next;
        free_request(e->graveyard);
        e->graveyard = next;
    }
}

void hone_engine_cancel(hone_engine *e, uint64_t id) {
    for (engine_request **at = &e->waiting; *at; at = &(*at)->next)
        if ((*at)->r.id == id) {
            engine_request *r = *at;
            *at = r->next;
            e->n_waiting--;
            engine_end(e, r);
            r->next = e->graveyard; /* the step may still look at it */
            e->graveyard = r;
            if (!e->stepping) engine_bury(e);
            return;
        }
    engine_request *r = find_request(e, id);
    if (!r) return;
    engine_end(e, r);
    if (!e->stepping) engine_bury(e);
}

/* --- stats and self-check --- */

void hone_engine_get_stats(const hone_engine *e, hone_engine_stats *out) {
    *out = e->stats;
    for (uint32_t i = 0; i < e->n_threads; i++) out->grammar_mask_ns += e->mask_ns[i];
    uint32_t riding = 0;
    for (const engine_request *r = e->waiting; r; r = r->next) riding += r->rides_on != 0;
    out->running = e->n_running + riding;
    out->waiting = e->n_waiting - riding;
    out->pages_free = hone_kv_free_pages(e->kv);
    out->pages_total = hone_kv_total_pages(e->kv);
    out->pages_cached = hone_kv_cached_pages(e->kv);
    out->adapters = e->n_adapter;
    out->adapter_bytes = e->adapter_bytes;
}

const char *hone_engine_check(const hone_engine *e) {
    uint32_t waiting = 0, users = 0, used = 0;
    uint64_t bytes = 0;
    if (e->n_running > e->cfg.max_sequences) return "too many requests run";
    for (uint32_t i = 0; i < e->n_running; i++) {
        const engine_request *r = e->running[i];
        if (r->ended) return "a request that ended is still running";
        if (r->seq == HONE_KV_NONE) return "a running request has no sequence";
        if (i && !engine_older(e->running[i - 1], r)) return "running requests are out of order";
        if (r->n_done >= r->r.n_prompt + r->n_output) return "a running request has nothing to compute";
        if (r->n_cached > r->r.n_prompt) return "a request has more cached tokens than its prompt";
        if (r->n_cached == r->r.n_prompt && r->n_output == 0) return "nothing of a prompt was computed";
        if (r->n_output > r->r.max_tokens) return "a request has too many tokens";
        used += r->adapter != NULL;
    }
    for (const engine_request *r = e->waiting; r; r = r->next) {
        waiting++;
        if (r->seq != HONE_KV_NONE) return "a waiting request has a sequence";
        if (r->next && !engine_older(r, r->next)) return "waiting requests are out of order";
        used += r->adapter != NULL;
    }
    if (waiting != e->n_waiting) return "waiting requests are miscounted";
    for (const engine_adapter *a = e->adapters; a; a = a->next) {
        users += a->users;
        bytes += a->adapter->bytes;
    }
    if (users != used) return "users of adapters are miscounted";
    if (bytes != e->adapter_bytes || bytes > e->cfg.adapter_bytes) return "bytes of adapters are miscounted";
    if (e->n_running == 0 && hone_kv_free_pages(e->kv) + hone_kv_idle_pins(e->kv) != hone_kv_total_pages(e->kv))
        return "pages without an owner";
    return hone_kv_check(e->kv);
}
