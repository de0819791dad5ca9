/* stream.c - running streams: how many rows each gets in a step, which tokens come out of them.
 *
 * A stream's rows are its last token, tokens that a grammar forced since (known, but without keys and values yet), and
 * drafts, which stand in token[] behind the known ones.  From the last known token on every row has logits.  Tokens are
 * sampled row after row as if each were a step of its own; the first that is not the draft ends the row's use.  Keys
 * and values of the rows behind it are overwritten when their positions come again: they are in pages of the stream's
 * own, and a page enters the prefix tree only when all of it is final.
 *
 * Order: ends, drafts of a step, sampling, what follows from a token, telling. */
#include <string.h>

#include "base/clock.h"
#include "engine/engine_internal.h"

#define FORCED_A_STEP 64u

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* --- ends --- */

static bool is_stop(const engine_request *r, int32_t token) {
    if (r->r.ignore_stop) return false;
    for (uint32_t i = 0; i < r->r.n_stop; i++)
        if (r->r.stop[i] == token) return true;
    return false;
}

hone_finish engine_finish_of(const engine_request *r) {
    if (r->n_output > 0 && is_stop(r, r->token[engine_known(r) - 1])) return HONE_FINISH_STOP;
    if (r->text && r->text->closed) return HONE_FINISH_STOP;
    return r->n_output >= r->r.max_tokens ? HONE_FINISH_LENGTH : HONE_FINISH_NONE;
}

/* --- drafts of a step --- */

bool engine_streams(const engine_request *r) {
    return engine_known(r) - r->n_done <= 1 + r->n_ahead;
}

/* Room for positions behind the known ones, of pages that nobody has to give up. */
static void draft(hone_engine *e, engine_request *r, uint32_t n) {
    r->n_draft = hone_kv_extend(e->kv, r->seq, engine_known(r) + n) == HONE_OK ? n : 0;
}

void engine_draft(hone_engine *e, uint32_t n_stream, uint32_t n_row, uint32_t room) {
    uint32_t n_bid = 0;
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        r->n_draft = r->bid.chosen = 0;
        if (!r->streaming || r->bid.n == 0 || engine_finish_of(r) != HONE_FINISH_NONE) continue;
        uint32_t sure = r->r.max_draft ? r->bid.n : 0; /* the caller's wish; else what is no guess */
        while (sure < r->bid.n && r->bid.keep[sure] >= 1) sure++;
        if (sure == 0) {
            e->bid[n_bid++] = &r->bid;
            continue;
        }
        draft(e, r, min_u32(sure, room));
        room -= r->n_draft;
        n_row += r->n_draft;
    }
    if (n_bid == 0) return;
    hone_draft_choose(&e->row_cost, n_row, n_stream, room, e->bid, n_bid);
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *r = e->running[i];
        if (r->streaming && r->n_draft == 0 && r->bid.chosen) draft(e, r, r->bid.chosen);
    }
}

/* --- sampling --- */

/* log softmax of raw logits: of the token, and of the best alternatives. */
void engine_tell_logprobs(const hone_engine *e, const float *logits, int32_t n_top, hone_event *out) {
    const uint32_t v = e->model->arch.vocab;
    const float all = e->model->kernels->log_sum_exp(logits, v);
    out->logprob = logits[out->token] - all; /* as hone_logprob */
    out->n_top = n_top > 0 ? (uint32_t)n_top : 0;
    if (out->n_top > v) out->n_top = v;
    hone_top(logits, v, out->n_top, out->top_token);
    for (uint32_t i = 0; i < out->n_top; i++) out->top_logprob[i] = logits[out->top_token[i]] - all;
}

/* The tokens that the grammar allows, NULL: all of them, or it failed. */
static const uint32_t *mask_of(hone_engine *e, engine_request *r, uint32_t thread) {
    if (!r->text) return NULL;
    uint32_t *bits = e->mask + (size_t)thread * ((e->model->arch.vocab + 31) / 32);
    const int64_t from = hone_clock_ns();
    const bool ok = engine_text_mask(r->text, bits, e->model->arch.vocab);
    e->mask_ns[thread] += (uint64_t)(hone_clock_ns() - from);
    return ok ? bits : NULL;
}

/* The token behind row j of the rows with logits; -1: the grammar failed. */
static int32_t sample(hone_engine *e, engine_request *r, uint32_t j, uint32_t thread, float *raw) {
    const uint32_t v = e->model->arch.vocab, n_output = r->n_output + j;
    const int32_t forced = r->text ? engine_text_next(r->text) : -1;
    if (forced >= 0) {
        r->text->n_forced++;
        return forced;
    }
    const uint32_t *allowed = mask_of(e, r, thread);
    if (r->text && r->text->failed) return -1;
    float *logits = raw; /* changed where nobody wants them raw */
    if (r->r.n_logprobs >= 0) {
        logits = e->copy + (size_t)thread * v;
        memcpy(logits, raw, v * sizeof(float));
    }
    const bool bans = n_output < r->r.min_tokens;
    return hone_sample(e->sampler[thread], logits, &r->r.sampling, r->token, r->r.n_prompt, n_output, n_output,
                       r->r.stop, bans ? r->r.n_stop : 0, allowed);
}

/* --- what follows from a token --- */

/* Forced tokens where nobody wants their logits, and a guess at what comes behind. */
static void look_ahead(hone_engine *e, engine_request *r, uint32_t n_output) {
    const uint32_t known = r->r.n_prompt + n_output, left = r->r.max_tokens - n_output;
    int32_t *end = r->token + known;
    uint32_t cap = min_u32(e->cfg.max_draft, r->r.max_draft ? r->r.max_draft : e->cfg.max_draft);
    if (left > 0 && r->text && r->r.n_logprobs < 0)
        r->n_ahead =
            engine_text_run(r->text, end, min_u32(left, FORCED_A_STEP), r->r.stop, r->r.ignore_stop ? 0 : r->r.n_stop);
    if (r->n_ahead == left || (r->n_ahead && is_stop(r, end[r->n_ahead - 1]))) return;
    cap = min_u32(cap, left - r->n_ahead - 1); /* the last token is sampled, whatever is kept */
    float chance = 0;
    if (r->draft) {
        hone_draft_follow(r->draft, r->token, r->r.n_prompt, known + r->n_ahead);
        r->bid.n = hone_draft_guess(r->draft, r->token, end + r->n_ahead, cap, &chance);
    }
    if (r->text)
        r->bid.n = engine_text_draft(r->text, end + r->n_ahead, r->bid.n, chance, end + r->n_ahead, r->bid.keep,
                                     min_u32(cap, HONE_DRAFT_MOST));
    else
        for (uint32_t i = 0; i < r->bid.n; i++) r->bid.keep[i] = chance;
}

void engine_begin_forced(engine_request *r) {
    if (r->r.n_logprobs >= 0 || engine_finish_of(r) != HONE_FINISH_NONE) return;
    r->n_output += engine_text_run(r->text, r->token + engine_known(r), r->r.max_tokens - r->n_output, r->r.stop,
                                   r->r.ignore_stop ? 0 : r->r.n_stop);
}

void engine_sample_task(void *arg, uint32_t task, uint32_t thread) {
    hone_engine *e = arg;
    engine_request *r = e->batch[task];
    r->n_new = r->n_right = r->n_sure = 0;
    if (r->logit_row < 0) return;
    const size_t v = e->model->arch.vocab;
    int32_t *next = r->token + engine_known(r);
    bool over = false;
    r->n_ahead = r->bid.n = 0;
    for (uint32_t j = 0; j <= r->n_draft && !over; j++) {
        float *raw = e->logits + ((size_t)r->logit_row + j) * v;
        const uint64_t n_forced = r->text ? r->text->n_forced : 0;
        const int32_t token = sample(e, r, j, thread, raw);
        if (token < 0) return;
        hone_event *out = &e->token_event[(uint32_t)r->logit_row + j];
        *out = (hone_event){
            .kind = HONE_EVENT_TOKEN, .id = r->r.id, .index = r->n_output + j, .token = token, .n_cached = r->n_cached};
        if (r->r.n_logprobs >= 0) engine_tell_logprobs(e, raw, r->r.n_logprobs, out);
        const bool right = j < r->n_draft && next[j] == token;
        next[j] = token;
        r->n_new++;
        r->n_right += right;
        r->n_sure += right && r->text && r->text->n_forced > n_forced;
        if (r->text && !engine_text_say(r->text, token)) return;
        over = is_stop(r, token) || (r->text && r->text->closed);
        if (!right) break;
    }
    if (!over) look_ahead(e, r, r->n_output + r->n_new);
}

/* --- telling --- */

/* Forced tokens, which have no logits, are told when they are known. */
void engine_tell_forced(engine_request *r, void (*on_event)(void *arg, const hone_event *event), void *arg) {
    for (; r->n_emit < r->n_output && !r->ended; r->n_emit++) {
        const hone_event event = {.kind = HONE_EVENT_TOKEN,
                                  .id = r->r.id,
                                  .index = r->n_emit,
                                  .token = r->token[r->r.n_prompt + r->n_emit],
                                  .n_cached = r->n_cached};
        on_event(arg, &event);
    }
}

void engine_tell(hone_engine *e, engine_request *r, void (*on_event)(void *arg, const hone_event *event), void *arg) {
    engine_tell_forced(r, on_event, arg); /* those before the first sampled one */
    r->n_accepted += r->n_right - r->n_sure;
    r->n_rejected += r->n_draft - r->n_right;
    e->stats.drafted += r->n_draft - r->n_sure;
    e->stats.accepted += r->n_right - r->n_sure;
    e->stats.decode_tokens += r->n_right;
    for (uint32_t j = 0; j < r->n_new && !r->ended; j++) {
        r->n_output++;
        r->n_emit++;
        on_event(arg, &e->token_event[(uint32_t)r->logit_row + j]);
    }
    if (r->ended) return;
    r->n_output += r->n_ahead;
    engine_tell_forced(r, on_event, arg);
}
