/* scheduler.c - one step of the engine: who gets rows, the forward pass, sampling, reports.
 *
 * Running streams come first (stream.c).  What prompts get beside them is a matter of time.  Short prompts are let
 * through in steps that a reader does not notice.  While a giant is among them, which would be noticed for long, a step
 * is stretched by stall_percent, by more only where many wait: a prompt that nobody answered yet counts as four
 * streams.  Where nothing streams, prompts get all rows, in steps short enough that a newcomer is soon seen.  The cost
 * of rows is predicted (pace.h), since one far down a long prompt costs many times one at its beginning.
 *
 * Within the best class that has prompts, the shortest rest goes first; a quarter is the oldest's, so that it ends
 * whatever comes after it.  Streams that grow may need pages: then the youngest of the lowest class gives its own back
 * and waits.  As a request whose full length does not fit the cache was refused, the oldest always gets on.
 *
 * Order: rows for streams, rows for prompts, results of sampling, prompt log-probabilities, embeddings, the step. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "engine/engine_internal.h"

/* Seconds of a step: beside streams; without them, but not so short that reading the weights is most of it. */
#define UNNOTICED_STEP 0.1
#define LONGEST_STEP 0.25
#define LEAST_CHUNK 64u
/* Seconds that a giant's rest takes at least. */
#define GIANT 1.0
#define PROMPT_WEIGHT 4
/* A step without prompts now and then shows what it costs: mixed ones alone cannot tell. */
#define BARE_EVERY 32u
/* Predictions are used once so many steps were seen. */
#define LEAST_STEPS 3u

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* --- rows --- */

/* Pages for one more row of every stream, oldest first; the youngest go when there are none. */
static void grow_streams(hone_engine *e) {
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        while (hone_kv_extend(e->kv, r->seq, engine_known(r)) == HONE_ERR_FULL) {
            const uint32_t last = e->n_running - 1;
            if (last == 0 && hone_kv_unpin(e->kv)) continue; /* nobody else is left to take from */
            engine_preempt(e, last);
            if (last == i) break; /* it was the youngest itself */
        }
    }
}

static void add_rows(hone_engine *e, engine_request *r, uint32_t n, uint32_t *n_row, int32_t *n_logit) {
    const uint32_t seq = e->n_batch;
    r->row0 = *n_row;
    r->n_row = n;
    r->first = r->n_done;
    const bool wants = r->n_done + n == engine_known(r) && engine_finish_of(r) == HONE_FINISH_NONE;
    if (!wants) r->n_draft = 0;
    r->logit_row = wants ? *n_logit : -1;
    r->n_row += r->n_draft; /* behind the known tokens, each with logits */
    for (uint32_t i = 0; i < r->n_row; i++)
        e->rows[(*n_row)++] = (hone_row){.token = r->token[r->n_done + i],
                                         .seq = seq,
                                         .position = r->n_done + i,
                                         .logit_row = wants && i + 1 >= n ? (*n_logit)++ : -1};
    e->views[seq] = hone_kv_view(e->kv, r->seq);
    e->views[seq].length = r->length;
    e->views[seq].adapter = r->adapter ? r->adapter->adapter : NULL;
    e->views[seq].applies_from = r->applies_from;
    e->batch[e->n_batch++] = r;
    if (engine_streams(r) && r->n_output > 0)
        e->stats.decode_tokens += n;
    else
        e->stats.prefill_tokens += n;
}

/* --- rows for prompts --- */

typedef struct {
    double seconds; /* that prompts may add to the step */
    uint32_t rows;
} allowance;

/* More rows for r, within `seconds` of what is left.  One row at least where it has none, however dear. */
static void give_rows(const hone_engine *e, engine_request *r, double seconds, allowance *left) {
    const uint32_t from = r->n_done + r->n_row, most = min_u32(engine_known(r) - from, left->rows);
    uint32_t n = hone_pace_fit(&e->pace, from, most, seconds);
    if (n == 0 && r->n_row == 0) n = min_u32(most, 1);
    r->n_row += n;
    left->rows -= n;
    left->seconds -= hone_pace_rows(&e->pace, from, n);
}

/* Of the best class with prompts that were not served yet: the one with the least rest, and the oldest. */
static engine_request *next_prompt(const hone_engine *e, engine_request **oldest) {
    engine_request *best = NULL;
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        if (r->served || r->streaming || engine_known(r) - r->n_done <= r->n_row) continue;
        if (!best) *oldest = best = r;
        if (r->r.priority != best->r.priority) break; /* they stand in order of class */
        if (r->rest < best->rest) best = r;
    }
    return best;
}

static void share_out(hone_engine *e, allowance left) {
    engine_request *r, *oldest, *last_oldest = NULL;
    while (left.rows > 0 && left.seconds > 0 && (r = next_prompt(e, &oldest))) {
        if (r != oldest && (!last_oldest || last_oldest->r.priority != oldest->r.priority)) {
            last_oldest = oldest; /* once a class */
            give_rows(e, oldest, left.seconds / 4, &left);
            continue;
        }
        give_rows(e, r, left.seconds, &left);
        r->served = true;
    }
}

static bool has_giant(const hone_engine *e) {
    for (uint32_t i = 0; i < e->n_running; i++) {
        const engine_request *r = e->running[i];
        const uint32_t left = engine_known(r) - r->n_done;
        if (!r->streaming && hone_pace_rows(&e->pace, r->n_done, left) > GIANT) return true;
    }
    return false;
}

/* What n_prompt prompts may add to a step that holds the streams' rows already. */
static double time_for_prompts(hone_engine *e, uint32_t n_stream, uint32_t n_prompt) {
    const double bare = hone_pace_step(&e->pace, &e->load);
    if (e->cfg.stall_percent == HONE_STALL_ANY || e->pace.n < LEAST_STEPS) return 1e9;
    if (n_stream > 0) {
        const double each = bare * e->cfg.stall_percent / 100;
        if (!has_giant(e)) return fmax(each, UNNOTICED_STEP - bare);
        if (++e->n_paced % BARE_EVERY == 0) return 0;
        return fmax(each, fmin(each * PROMPT_WEIGHT * n_prompt / n_stream, LONGEST_STEP));
    }
    engine_request *oldest, *first = next_prompt(e, &oldest);
    const double least = first ? hone_pace_rows(&e->pace, first->n_done, LEAST_CHUNK) : 0;
    return fmax(LONGEST_STEP - bare, least);
}

/* Fills rows, views and batch; returns the number of rows. */
static uint32_t plan_rows(hone_engine *e) {
    uint32_t n_row = 0, n_prompt = 0, n_stream = 0, rows = 0;
    int32_t n_logit = 0;
    e->n_batch = 0;
    e->load = (hone_pace_load){0};
    grow_streams(e);
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        r->n_row = 0;
        r->served = false;
        r->rest = engine_known(r) - r->n_done;
    }
    engine_admit(e);
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        if (engine_known(r) - r->n_done > 1) engine_share(e, r);
        const uint32_t left = engine_known(r) - r->n_done, later = e->n_running - i - 1;
        r->streaming = engine_streams(r) && rows + left + later <= e->cfg.max_step_rows;
        n_stream += r->streaming;
        rows += r->streaming ? left : 0;
        n_prompt += !r->streaming;
    }
    const uint32_t room = e->cfg.max_step_rows - rows; /* half of it is for prompts where there are some */
    engine_draft(e, n_stream, rows,
                 min_u32(n_prompt ? room / 2 : room, e->n_logit - min_u32(e->n_logit, e->n_running)));
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        if (!r->streaming) continue;
        e->load.stream_positions += hone_pace_positions(r->n_done, engine_known(r) - r->n_done + r->n_draft);
        add_rows(e, r, engine_known(r) - r->n_done, &n_row, &n_logit);
    }
    e->step_streams = n_prompt == 0;
    e->load.rows = n_row;
    const double seconds = time_for_prompts(e, n_stream, n_prompt + e->n_riding);
    share_out(e, (allowance){.seconds = seconds, .rows = e->cfg.max_step_rows - n_row});
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        if (!r->streaming && r->n_row > 0) {
            e->load.prompt_positions += hone_pace_positions(r->n_done, r->n_row);
            add_rows(e, r, r->n_row, &n_row, &n_logit);
        }
    }
    e->load.rows = n_row;
    return n_row;
}

/* --- results --- */

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
    engine_tell_logprobs(job->e, job->e->logits + (size_t)task * job->e->model->arch.vocab, r->r.n_logprobs, out);
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
    engine_tell_forced(r, on_event, arg); /* a grammar that leaves no choice may need no step */
    if (r->ended) return;
    e->stats.forced += r->text ? r->text->n_forced : 0;
    const hone_event event = {.kind = HONE_EVENT_DONE,
                              .id = r->r.id,
                              .finish = finish,
                              .n_prompt = r->r.n_prompt,
                              .n_output = r->n_output,
                              .n_cached = r->n_cached,
                              .n_accepted = r->n_accepted,
                              .n_rejected = r->n_rejected,
                              .error = finish == HONE_FINISH_ERROR ? &r->text->err : NULL};
    engine_end(e, r);
    on_event(arg, &event);
}

/* What the step made of one request; the caller may cancel it, or others, at every event. */
static void report(hone_engine *e, engine_request *r, event_fn on_event, void *arg) {
    if (r->ended) return;
    /* Behind the last token that was kept, drafts have left keys and values that nobody reads. */
    r->n_done += r->n_row - r->n_draft + (r->n_new ? r->n_new - 1 : 0);
    engine_commit(e, r);
    if (r->n_told < r->r.n_prompt) report_prompt(e, r, on_event, arg);
    if (r->r.want_embedding && !r->ended) report_embedding(e, r, on_event, arg);
    if (r->ended) return;
    if (r->logit_row >= 0) engine_tell(e, r, on_event, arg);
    if (r->ended || r->n_done < r->r.n_prompt) return;
    const hone_finish finish = r->text && r->text->failed ? HONE_FINISH_ERROR : engine_finish_of(r);
    if (finish != HONE_FINISH_NONE) report_done(e, r, finish, on_event, arg);
}

/* --- the step --- */

/* A journal may hold a complete answer: nothing is left to compute. */
static void end_complete(hone_engine *e, event_fn on_event, void *arg) {
    for (engine_request **at = &e->waiting; *at;) {
        engine_request *r = *at;
        const hone_finish finish = r->n_output ? engine_finish_of(r) : HONE_FINISH_NONE;
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
    engine_bury(e); /* a callback may have cancelled */
    const uint32_t n_row = plan_rows(e);
    if (n_row) {
        bool wants_hidden = false;
        for (uint32_t i = 0; i < e->n_batch; i++)
            wants_hidden |= e->batch[i]->r.want_embedding || e->batch[i]->n_told < e->batch[i]->r.n_prompt;
        const double from = hone_clock_seconds();
        hone_forward_run(e->forward, e->rows, n_row, e->views, e->n_batch, e->logits, wants_hidden ? e->hidden : NULL,
                         NULL, NULL);
        e->stats.steps++;
        hone_pool_run(e->pool, e->n_batch, engine_sample_task, e); /* before the logits of prompts take their place */
        const double seconds = hone_clock_seconds() - from;
        hone_pace_observe(&e->pace, &e->load, seconds);
        if (e->step_streams) hone_draft_observe(&e->row_cost, n_row, seconds);
        for (uint32_t i = 0; i < e->n_batch; i++) report(e, e->batch[i], on_event, arg);
    }
    e->stepping = false;
    engine_bury(e);
    return e->n_running + e->n_waiting > 0;
}
