/* admission.c - who runs: places, pages, and what of a prompt the prefix tree holds already.
 *
 * A request is admitted when a place and pages for all that is known of it are free, and takes them at once, so that
 * prompts do not push each other out.  Admission goes by (class, arrival).  A request that finds no pages may be passed
 * by a few younger ones that do; one of a better class takes place and pages from the youngest of the lowest.
 *
 * A request whose next pages are being computed by a running one would compute them again.  It rides: it stays in the
 * queue, without place or pages, until the running one has passed what they have in common, and takes it from the tree
 * then.  Only running requests are ridden on, and those never wait for anybody: nobody waits in a ring.  A request
 * rides on none of a lower class.
 *
 * Order: keys, sharing, preemption, riding, admission. */
#include <string.h>

#include "base/buf.h"
#include "engine/engine_internal.h"

#define MAX_PASSED 16u /* younger requests past one that waits for pages */
#define MAX_LOOKED 64u /* waiting requests looked at in a step */

uint32_t engine_known(const engine_request *r) {
    return r->r.n_prompt + r->n_output;
}

/* --- keys --- */

/* Tables of rotary frequencies that depend on the length a sequence may reach: dynamic NTK on the length itself,
 * longrope on which side of the trained length it lies (rope.c). */
static void add_position_tables(const hone_arch *a, uint32_t length, hone_buf *text) {
    for (uint32_t i = 0; i < a->n_rope; i++) {
        const hone_rope *rope = &a->rope[i];
        const bool longer = length > rope->original_length;
        if (rope->scaling == HONE_ROPE_DYNAMIC && longer) hone_buf_format(text, "ntk %u %u\n", i, length);
        if (rope->scaling == HONE_ROPE_LONGROPE && longer) hone_buf_format(text, "long %u\n", i);
    }
}

static hone_status make_key(const hone_engine *e, const engine_request *r, bool base, hone_prefix_key *out) {
    hone_buf text = {0};
    if (!base) hone_buf_format(&text, "adapter %s from %u\n", r->adapter->digest, r->applies_from);
    add_position_tables(&e->model->arch, r->length, &text);
    hone_buf_text(&text, "salt ");
    hone_buf_text(&text, r->r.cache_salt ? r->r.cache_salt : ""); /* last: it may hold anything */
    const hone_status st = text.failed ? HONE_ERR_NOMEM : hone_digest_bytes(text.data, text.n, out->text);
    hone_buf_free(&text);
    return st;
}

hone_status engine_find_keys(const hone_engine *e, engine_request *r, hone_error *err) {
    r->shares = !e->cfg.no_prefix && !r->r.no_prefix;
    if (!r->adapter) r->applies_from = HONE_APPLIES_NOWHERE;
    hone_status st = HONE_OK;
    if (r->shares) st = make_key(e, r, true, &r->base_key);
    if (st == HONE_OK && r->shares && r->applies_from != HONE_APPLIES_NOWHERE) st = make_key(e, r, false, &r->key);
    return st == HONE_OK ? st : hone_fail(err, st, "no memory for the key of a prefix");
}

/* --- sharing --- */

static hone_prefix_path path_of(const engine_request *r) {
    return (hone_prefix_path){.token = r->token, .applies_from = r->applies_from, .base = &r->base_key, .own = &r->key};
}

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Positions that need not be computed when their keys and values are there: the last known one gives the next token,
 * and prompt log-probabilities and embeddings want every row that was not told of. */
static uint32_t may_share(const engine_request *r) {
    if (!r->shares || r->r.want_embedding) return 0;
    const uint32_t limit = engine_known(r) - 1;
    return r->n_told < r->r.n_prompt ? min_u32(limit, r->n_told - 1) : limit;
}

void engine_share(hone_engine *e, engine_request *r) {
    const uint32_t limit = may_share(r);
    if (r->n_done % HONE_KV_PAGE || r->n_done + HONE_KV_PAGE > limit) return;
    const hone_prefix_path path = path_of(r);
    const uint32_t had = r->n_done, n = hone_kv_share(e->kv, r->seq, &path, limit);
    if (n <= had) return;
    r->n_done = n;
    const uint32_t from_prompt = min_u32(n, r->r.n_prompt) - min_u32(had, r->r.n_prompt);
    e->stats.prefix_tokens += from_prompt;
    if (!r->preempted) r->n_cached += from_prompt;
}

void engine_commit(hone_engine *e, engine_request *r) {
    if (!r->shares || r->seq == HONE_KV_NONE) return;
    const hone_prefix_path path = path_of(r);
    hone_kv_commit(e->kv, r->seq, &path, r->n_done);
}

/* --- preemption --- */

void engine_preempt(hone_engine *e, uint32_t i) {
    engine_request *r = e->running[i];
    hone_kv_end(e->kv, r->seq);
    r->seq = HONE_KV_NONE;
    r->n_done = 0;
    r->preempted = true;
    if (r->sum) memset(r->sum, 0, e->model->arch.width * sizeof(float));
    for (; i + 1 < e->n_running; i++) e->running[i] = e->running[i + 1];
    e->n_running--;
    e->stats.preemptions++;
    engine_wait(e, r);
}

/* The youngest of the lowest class goes, if that class is below r's. */
static bool displace(hone_engine *e, const engine_request *r) {
    if (e->n_running == 0 || e->running[e->n_running - 1]->r.priority <= r->r.priority) return false;
    engine_preempt(e, e->n_running - 1);
    return true;
}

/* --- riding --- */

static bool same_key(const hone_prefix_key *a, const hone_prefix_key *b) {
    return strcmp(a->text, b->text) == 0;
}

/* Positions, in whole pages, whose keys and values are the same for both and that r may take over. */
static uint32_t in_common(const engine_request *r, const engine_request *q) {
    uint32_t n = min_u32(may_share(r), engine_known(q));
    if (!same_key(&r->base_key, &q->base_key)) return 0;
    if (r->applies_from != q->applies_from || !same_key(&r->key, &q->key))
        n = min_u32(n, min_u32(r->applies_from, q->applies_from));
    uint32_t i = 0;
    while (i < n && r->token[i] == q->token[i]) i++;
    return i / HONE_KV_PAGE * HONE_KV_PAGE;
}

static engine_request *find_running(const hone_engine *e, uint64_t arrival) {
    for (uint32_t i = 0; i < e->n_running; i++)
        if (e->running[i]->arrival == arrival) return e->running[i];
    return NULL;
}

/* The request that is computing what r needs next, or NULL. */
static engine_request *ridden_by(const hone_engine *e, engine_request *r) {
    if (!r->shares || may_share(r) < HONE_KV_PAGE) return NULL;
    if (r->rides_on) {
        engine_request *q = find_running(e, r->rides_on - 1);
        if (q && q->n_done < r->ride_until) return q;
        r->rides_on = 0;
    }
    const hone_prefix_path path = path_of(r);
    const uint32_t held = hone_kv_match(e->kv, &path, may_share(r));
    engine_request *best = NULL;
    r->ride_until = held;
    for (uint32_t i = 0; i < e->n_running; i++) {
        engine_request *q = e->running[i];
        if (!q->shares || q->r.priority > r->r.priority || q->n_done < held || q->n_done + 1 >= engine_known(q))
            continue;
        const uint32_t common = in_common(r, q);
        if (common <= q->n_done || common <= r->ride_until) continue;
        best = q;
        r->ride_until = common;
    }
    r->rides_on = best ? best->arrival + 1 : 0;
    return best;
}

/* --- admission --- */

static bool start(hone_engine *e, engine_request *r) {
    const uint32_t seq = hone_kv_begin(e->kv);
    if (seq == HONE_KV_NONE) return false;
    const hone_prefix_path path = path_of(r);
    if (may_share(r)) hone_kv_share(e->kv, seq, &path, may_share(r));
    if (hone_kv_extend(e->kv, seq, engine_known(r)) != HONE_OK) {
        hone_kv_end(e->kv, seq);
        return false;
    }
    r->seq = seq;
    engine_share(e, r); /* counts what was shared */
    return true;
}

/* Pages are taken from whom r may take them: pins only where nobody else holds any. */
static bool start_somehow(hone_engine *e, engine_request *r) {
    for (;;) {
        if (e->n_running < e->cfg.max_sequences && start(e, r)) return true;
        if (displace(e, r)) continue;
        if (e->n_running > 0 || !hone_kv_unpin(e->kv)) return false;
    }
}

static void enter(hone_engine *e, engine_request *r) {
    uint32_t at = e->n_running++;
    for (; at > 0 && engine_older(r, e->running[at - 1]); at--) e->running[at] = e->running[at - 1];
    e->running[at] = r;
    r->rest = engine_known(r) - r->n_done;
    r->n_row = 0;
    r->served = false;
}

void engine_admit(hone_engine *e) {
    engine_request *blocked = NULL;
    uint32_t looked = 0;
    e->n_riding = 0;
    for (engine_request **at = &e->waiting; *at && looked < MAX_LOOKED; looked++) {
        engine_request *r = *at, *q = ridden_by(e, r);
        if (q) {
            const uint32_t rest = engine_known(r) - q->n_done;
            if (rest < q->rest) q->rest = rest;
            e->n_riding++;
            at = &r->next;
            continue;
        }
        if (blocked && (blocked->passed >= MAX_PASSED || e->n_running == e->cfg.max_sequences)) break;
        if (!start_somehow(e, r)) {
            if (e->n_running == e->cfg.max_sequences) break;
            if (!blocked) blocked = r;
            at = &r->next;
            continue;
        }
        if (blocked) blocked->passed++;
        *at = r->next; /* a request that it displaced stands further down */
        r->next = NULL;
        e->n_waiting--;
        enter(e, r);
    }
}
