/* scheduler.c - one step of the engine: who gets rows, the forward pass, sampling, reports.
 *
 * Running streams come first, one row each; what is left of the budget goes to prompts in order of arrival, in chunks,
 * several prompts in a step.  A prompt is admitted when pages for all that is known of it are free, and takes them at
 * once, so that prompts do not push each other out; only streams that grow may: then the youngest running request gives
 * its pages back and waits.  As a request whose full length does not fit the cache was refused, the oldest always gets
 * on.
 *
 * Order: rows for streams, rows for prompts, results of sampling, prompt log-probabilities, embeddings, the step. */
#include <string.h>

#include "engine/engine_internal.h"

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Tokens that are known; the last of them is the next row of a stream. */
static uint32_t known(const engine_request *r) {
    return r->r.n_prompt + r->n_output;
}

/* --- rows --- */

static bool is_stop(const engine_request *r, int32_t token) {
    if (r->r.ignore_stop) return false;
    for (uint32_t i = 0; i < r->r.n_stop; i++)
        if (r->r.stop[i] == token) return true;
    return false;
}

/* Why the request is over now, after its last token; NONE: it goes on. */
static hone_finish finish_of(const engine_request *r) {
    if (r->n_output > 0 && is_stop(r, r->token[known(r) - 1])) return HONE_FINISH_STOP;
    return r->n_output >= r->r.max_tokens ? HONE_FINISH_LENGTH : HONE_FINISH_NONE;
}

static void preempt(hone_engine *e, uint32_t i) {
    engine_request *r = e->running[i];
    hone_kv_end(e->kv, r->seq);
    r->seq = HONE_KV_NONE;
    r->n_done = 0;
    if (r->sum) memset(r->sum, 0, e->model->arch.width * sizeof(float));
    for (; i + 1 < e->n_running; i++) e->running[i] = e->running[i + 1];
    e->n_running--;
    e->stats.preemptions++;
    engine_wait(e, r);
}

/* Pages for one more row of every stream, oldest first; the youngest go when there are none. */
static void grow_streams(hone_engine *e) {
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        while (hone_kv_extend(e->kv, r->seq, known(r)) == HONE_ERR_FULL) {
            const uint32_t last = e->n_running - 1;
            preempt(e, last);
            if (last == i) break; /* it was the youngest itself */
        }
    }
}

static void add_rows(hone_engine *e, engine_request *r, uint32_t n, uint32_t *n_row, int32_t *n_logit) {
    const uint32_t seq = e->n_batch;
    r->row0 = *n_row;
    r->n_row = n;
    r->first = r->n_done;
    const bool wants = r->n_done + n == known(r) && finish_of(r) == HONE_FINISH_NONE;
    r->logit_row = wants ? (*n_logit)++ : -1;
    for (uint32_t i = 0; i < n; i++)
        e->rows[(*n_row)++] = (hone_row){.token = r->token[r->n_done + i],
                                         .seq = seq,
                                         .position = r->n_done + i,
                                         .logit_row = i + 1 == n ? r->logit_row : -1};
    e->views[seq] = hone_kv_view(e->kv, r->seq);
    e->views[seq].length = r->length;
    e->views[seq].adapter = r->adapter ? r->adapter->adapter : NULL;
    e->views[seq].applies_from = r->applies_from;
    e->batch[e->n_batch++] = r;
    if (n == 1 && r->n_output > 0)
        e->stats.decode_tokens++;
    else
        e->stats.prefill_tokens += n;
}

/* The first of the waiting ones runs, when there is a place and pages for what is known of it. */
static engine_request *admit(hone_engine *e) {
    engine_request *r = e->waiting;
    if (!r || e->n_running == e->cfg.max_sequences) return NULL;
    const uint32_t seq = hone_kv_begin(e->kv);
    if (seq == HONE_KV_NONE) return NULL;
    if (hone_kv_extend(e->kv, seq, known(r)) != HONE_OK) {
        hone_kv_end(e->kv, seq);
        return NULL;
    }
    r->seq = seq;
    e->waiting = r->next;
    r->next = NULL;
    e->n_waiting--;
    uint32_t at = e->n_running++;
    for (; at > 0 && engine_older(r, e->running[at - 1]); at--) e->running[at] = e->running[at - 1];
    e->running[at] = r;
    return r;
}

/* Fills rows, views and batch; returns the number of rows. */
static uint32_t plan_rows(hone_engine *e) {
    uint32_t n_row = 0;
    int32_t n_logit = 0;
    e->n_batch = 0;
    grow_streams(e);
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        r->n_row = 0;
        if (known(r) - r->n_done == 1) add_rows(e, r, 1, &n_row, &n_logit);
    }
    for (uint32_t i = 0; i < e->n_running && n_row < e->cfg.max_step_rows; i++) {
        engine_request *r = e->running[i];
        const uint32_t left = known(r) - r->n_done;
        if (r->n_row == 0 && left > 0) add_rows(e, r, min_u32(left, e->cfg.max_step_rows - n_row), &n_row, &n_logit);
    }
    while (n_row < e->cfg.max_step_rows) {
        engine_request *r = admit(e);
        if (!r) break;
        add_rows(e, r, min_u32(known(r), e->cfg.max_step_rows - n_row), &n_row, &n_logit);
    }
    return n_row;
}

/* --- results --- */

/* log softmax of raw logits: of the token, and of the best alternatives. */
static void tell_logprobs(const hone_engine *e, const float *logits, int32_t n_top, hone_event *out) {
    const uint32_t v = e->model->arch.vocab;
    const float all = e->model->kernels->log_sum_exp(logits, v);
    out->logprob = logits[out->token] - all; /* as hone_logprob */
    out->n_top = n_top > 0 ? (uint32_t)n_top : 0;
    if (out->n_top > v) out->n_top = v;
    hone_top(logits, v, out->n_top, out->top_token);
    for (uint32_t i = 0; i < out->n_top; i++) out->top_logprob[i] = logits[out->top_token[i]] - all;
}

/* The token after the last row of batch[task]. */
static void sample_task(void *arg, uint32_t task, uint32_t thread) {
    hone_engine *e = arg;
    engine_request *r = e->batch[task];
    if (r->logit_row < 0) return;
    const uint32_t v = e->model->arch.vocab;
    float *raw = e->logits + (size_t)r->logit_row * v, *logits = raw;
    hone_event *out = &e->token_event[r->logit_row];
    *out = (hone_event){.kind = HONE_EVENT_TOKEN, .id = r->r.id, .index = r->n_output};
    if (r->r.n_logprobs >= 0) {
        logits = e->copy + (size_t)thread * v;
        memcpy(logits, raw, v * sizeof(float));
    }
    const bool bans = r->n_output < r->r.min_tokens;
    out->token = hone_sample(e->sampler[thread], logits, &r->r.sampling, r->token, r->r.n_prompt, r->n_output,
                             r->n_output, r->r.stop, bans ? r->r.n_stop : 0);
    if (r->r.n_logprobs >= 0) tell_logprobs(e, raw, r->r.n_logprobs, out);
}

typedef struct {
    hone_engine *e;
    engine_request *r;
    uint32_t from; /* position in the prompt of the first */
} prompt_job;

static void prompt_task(void *arg, uint32_t task, uint32_t thread) {
    (void)thread;
    const prompt_job *job = arg;
    const engine_request *r = job->r;
    hone_event *out = &job->e->prompt_event[task];
    *out = (hone_event){
        .kind = HONE_EVENT_PROMPT, .id = r->r.id, .index = job->from + task, .token = r->token[job->from + task]};
    tell_logprobs(job->e, job->e->logits + (size_t)task * job->e->model->arch.vocab, r->r.n_logprobs, out);
}

typedef void (*event_fn)(void *arg, const hone_event *event);

/* Prompt tokens after the rows that this step computed.  The row of position p tells of token p + 1. */
static void report_prompt(hone_engine *e, engine_request *r, event_fn on_event, void *arg) {
    const uint32_t first = r->first;
    const uint32_t d = e->model->arch.width, end = min_u32(first + r->n_row, r->r.n_prompt - 1);
    uint32_t p = first > r->n_told - 1 ? first : r->n_told - 1;
    while (p < end && !r->ended) {
        const bool applies = r->adapter && p >= r->applies_from;
        uint32_t n = min_u32(end - p, e->n_logit);
        if (r->adapter && !applies) n = min_u32(n, r->applies_from - p);
        hone_forward_head(e->forward, e->hidden + (size_t)(r->row0 + p - first) * d, n,
                          applies ? r->adapter->adapter : NULL, e->logits);
        prompt_job job = {e, r, p + 1};
        hone_pool_run(e->pool, n, prompt_task, &job);
        for (uint32_t i = 0; i < n && !r->ended; i++) {
            r->n_told = p + 1 + i + 1;
            on_event(arg, &e->prompt_event[i]);
        }
        p += n;
    }
}

static void report_embedding(hone_engine *e, engine_request *r, event_fn on_event, void *arg) {
    const uint32_t first = r->first;
    const hone_kernels *k = e->model->kernels;
    const uint32_t d = e->model->arch.width, end = min_u32(first + r->n_row, r->r.n_prompt);
    for (uint32_t p = first; p < end; p++) k->add(r->sum, e->hidden + (size_t)(r->row0 + p - first) * d, d);
    if (end < r->r.n_prompt) return;
    for (uint32_t i = 0; i < d; i++) r->sum[i] /= (float)r->r.n_prompt;
    const hone_event event = {.kind = HONE_EVENT_EMBEDDING, .id = r->r.id, .embedding = r->sum};
    on_event(arg, &event);
    r->r.want_embedding = false; /* the sum is freed with the request */
}

static void report_done(hone_engine *e, engine_request *r, hone_finish finish, event_fn on_event, void *arg) {
    const hone_event event = {
        .kind = HONE_EVENT_DONE, .id = r->r.id, .finish = finish, .n_prompt = r->r.n_prompt, .n_output = r->n_output};
    engine_end(e, r);
    on_event(arg, &event);
}

/* What the step made of one request; the caller may cancel it, or others, at every event. */
static void report(hone_engine *e, engine_request *r, event_fn on_event, void *arg) {
    if (r->ended) return;
    r->n_done += r->n_row;
    if (r->n_told < r->r.n_prompt) report_prompt(e, r, on_event, arg);
    if (r->r.want_embedding && !r->ended) report_embedding(e, r, on_event, arg);
    if (r->ended) return;
    if (r->logit_row >= 0) {
        const hone_event *event = &e->token_event[r->logit_row];
        r->token[known(r)] = event->token;
        r->n_output++;
        on_event(arg, event);
    }
    if (r->ended || r->n_done + (r->logit_row >= 0) < known(r)) return;
    const hone_finish finish = finish_of(r);
    if (finish != HONE_FINISH_NONE) report_done(e, r, finish, on_event, arg);
}

/* --- the step --- */

/* A journal may hold a complete answer: nothing is left to compute. */
static void end_complete(hone_engine *e, event_fn on_event, void *arg) {
    for (engine_request **at = &e->waiting; *at;) {
        engine_request *r = *at;
        const hone_finish finish = r->n_output ? finish_of(r) : HONE_FINISH_NONE;
        if (finish == HONE_FINISH_NONE || r->n_told < r->r.n_prompt || r->r.want_embedding) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        e->n_waiting--;
        r->next = e->graveyard;
        e->graveyard = r;
        report_done(e, r, finish, on_event, arg);
        at = &e->waiting; /* the callback may have changed the list */
    }
}

bool hone_engine_step(hone_engine *e, event_fn on_event, void *arg) {
    e->stepping = true;
    end_complete(e, on_event, arg);
    const uint32_t n_row = plan_rows(e);
    if (n_row) {
        bool wants_hidden = false;
        for (uint32_t i = 0; i < e->n_batch; i++)
            wants_hidden |= e->batch[i]->r.want_embedding || e->batch[i]->n_told < e->batch[i]->r.n_prompt;
        hone_forward_run(e->forward, e->rows, n_row, e->views, e->n_batch, e->logits, wants_hidden ? e->hidden : NULL,
                         NULL, NULL);
        e->stats.steps++;
        hone_pool_run(e->pool, e->n_batch, sample_task, e); /* before the logits of prompts take their place */
        for (uint32_t i = 0; i < e->n_batch; i++) report(e, e->batch[i], on_event, arg);
    }
    e->stepping = false;
    engine_bury(e);
    return e->n_running + e->n_waiting > 0;
}
