/* draft.c - the contract is in draft.h.
 *
 * Two indexes of n-grams, of four and of two tokens: chains from the most recent position to older ones.  The longest
 * match among the first candidates of a chain is taken; a match of four or more anywhere goes before one of two.
 *
 * Order: indexes, open and close, following, guessing, what rows cost, choosing. */
#include "engine/draft.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

#define N_INDEX 2u
static const uint32_t gram[N_INDEX] = {4, 2};         /* tokens of an n-gram */
static const uint32_t most_looked[N_INDEX] = {32, 8}; /* candidates of a chain */
#define LONGEST_MATCH 32u
/* Where the prediction may go on after output that is not in it. */
#define REALIGN_BACK 8u
#define REALIGN_AHEAD 64u
#define NONE UINT32_MAX
#define MOST_BUCKETS (1u << 15) /* chains only get longer: a request with a whole context to fill costs no more */

/* How good guesses are, by where they come from: matches of 2, 3, 4-5, 6-11 and 12 or more tokens, a prediction that
 * was followed, one that was left and may go on. */
enum { MATCH_2, MATCH_3, MATCH_4, MATCH_6, MATCH_12, FOLLOWED, RESUMED, N_KIND };
static const float first_belief[N_KIND] = {0.3f, 0.4f, 0.55f, 0.75f, 0.9f, 0.9f, 0.5f};
#define BELIEF 4.0f   /* tokens that the first belief counts for */
#define MEMORY 0.985f /* what a token counts for, one token later */

struct hone_draft {
    uint32_t length, n_prediction;
    uint32_t n_text, n_prompt; /* tokens followed */
    int32_t *prediction;       /* [n_prediction] */
    /* Positions count through the prediction, then the text.  0: none, else position + 1 of an n-gram's last token. */
    uint32_t n_bucket;        /* a power of two */
    uint32_t *head[N_INDEX];  /* [n_bucket] */
    uint32_t *older[N_INDEX]; /* [n_prediction + length] */
    uint32_t at;              /* where the prediction goes on; n_prediction: nowhere */
    uint32_t n_followed;      /* tokens in a row that it foretold */
    int32_t guess[HONE_DRAFT_MOST];
    uint32_t n_guess, kind, n_right; /* n_right: of the guess, said already */
    float tried[N_KIND], kept[N_KIND];
};

/* --- indexes --- */

static uint32_t bucket_of(const hone_draft *d, const int32_t *last, uint32_t n) {
    uint64_t h = n;
    for (uint32_t i = 0; i < n; i++) h = (h ^ (uint32_t)last[-(int64_t)i]) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32) & (d->n_bucket - 1);
}

/* The n-grams that end with token[i] of a text that begins at position `from`. */
static void add(hone_draft *d, const int32_t *token, uint32_t i, uint32_t from) {
    for (uint32_t k = 0; k < N_INDEX; k++) {
        if (i + 1 < gram[k]) continue;
        uint32_t *head = &d->head[k][bucket_of(d, token + i, gram[k])];
        d->older[k][from + i] = *head;
        *head = from + i + 1;
    }
}

/* --- open and close --- */

hone_status hone_draft_open(hone_draft **out, uint32_t length, const int32_t *prediction, uint32_t n_prediction,
                            hone_error *err) {
    *out = NULL;
    size_t n;
    uint32_t n_bucket = 64;
    if (!hone_add_size(&n, length, n_prediction) || n > UINT32_MAX / 16)
        return hone_fail(err, HONE_ERR_LIMIT, "%u tokens and a prediction of %u are too many", length, n_prediction);
    while (n_bucket < n && n_bucket < MOST_BUCKETS) n_bucket *= 2;
    hone_draft *d = hone_zalloc(1, sizeof(*d) + (n_prediction + N_INDEX * (n_bucket + n)) * sizeof(uint32_t));
    if (!d) return hone_fail(err, HONE_ERR_NOMEM, "no memory for drafts over %zu tokens", n);
    uint32_t *at = (uint32_t *)(void *)(d + 1);
    d->length = length;
    d->n_prediction = n_prediction;
    d->n_bucket = n_bucket;
    d->prediction = (int32_t *)(void *)at;
    at += n_prediction;
    for (uint32_t k = 0; k < N_INDEX; k++) {
        d->head[k] = at;
        d->older[k] = at + n_bucket;
        at += n_bucket + n;
    }
    if (n_prediction) memcpy(d->prediction, prediction, n_prediction * sizeof(int32_t));
    for (uint32_t i = 0; i < n_prediction; i++) add(d, d->prediction, i, 0);
    *out = d;
    return HONE_OK;
}

void hone_draft_close(hone_draft *d) {
    hone_free(d);
}

/* --- following --- */

static void learn(hone_draft *d, int32_t token) {
    if (d->n_right >= d->n_guess) return; /* it was wrong, or used up */
    const bool right = d->guess[d->n_right] == token;
    d->tried[d->kind] = d->tried[d->kind] * MEMORY + 1;
    d->kept[d->kind] = d->kept[d->kind] * MEMORY + (right ? 1 : 0);
    if (right)
        d->n_right++;
    else
        d->n_guess = 0;
}

/* Tokens that end at a[-0], b[-0] and are equal, at most so many. */
static uint32_t common(const int32_t *a, const int32_t *b, uint32_t most) {
    uint32_t n = 0;
    while (n < most && a[-(int64_t)n] == b[-(int64_t)n]) n++;
    return n;
}

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Output token i went another way than the prediction: where does that go on?  The place near by with the most tokens
 * in common, the nearest of these; else one token further, as if this one had been replaced. */
static void realign(hone_draft *d, const int32_t *token, uint32_t i) {
    const uint32_t n_output = i + 1 - d->n_prompt, from = d->at > REALIGN_BACK ? d->at - REALIGN_BACK : 0;
    uint32_t best = 0, best_at = NONE, distance = NONE;
    for (uint32_t q = from; q < d->n_prediction && q < d->at + REALIGN_AHEAD; q++) {
        const uint32_t n = common(token + i, d->prediction + q, min_u32(min_u32(n_output, q + 1), LONGEST_MATCH));
        const uint32_t far = q > d->at ? q - d->at : d->at - q;
        if (n < best || n == 0 || (n == best && far >= distance)) continue;
        best = n;
        best_at = q + 1;
        distance = far;
    }
    d->n_followed = 0;
    d->at = best_at != NONE ? best_at : min_u32(d->at + 1, d->n_prediction);
}

void hone_draft_follow(hone_draft *d, const int32_t *token, uint32_t n_prompt, uint32_t n) {
    d->n_prompt = n_prompt;
    for (; d->n_text < n && d->n_text < d->length; d->n_text++) {
        const uint32_t i = d->n_text;
        add(d, token, i, d->n_prediction);
        if (i < n_prompt) continue;
        learn(d, token[i]);
        if (d->n_prediction == 0) continue;
        if (d->at < d->n_prediction && d->prediction[d->at] == token[i]) {
            d->at++;
            d->n_followed++;
        } else {
            realign(d, token, i);
        }
    }
}

/* --- guessing --- */

static float belief(const hone_draft *d, uint32_t kind) {
    return (d->kept[kind] + first_belief[kind] * BELIEF) / (d->tried[kind] + BELIEF);
}

static uint32_t kind_of(uint32_t match) {
    return match >= 12 ? MATCH_12 : match >= 6 ? MATCH_6 : match >= 4 ? MATCH_4 : match == 3 ? MATCH_3 : MATCH_2;
}

/* The longest earlier occurrence of the last tokens: its length, and what followed it. */
static uint32_t look_up(const hone_draft *d, const int32_t *token, const int32_t **next, uint32_t *n_next,
                        bool *in_text) {
    const uint32_t n = d->n_text, p = d->n_prediction;
    uint32_t best = 0;
    for (uint32_t k = 0; k < N_INDEX && best == 0; k++) {
        if (n < gram[k]) continue;
        uint32_t at = d->head[k][bucket_of(d, token + n - 1, gram[k])];
        for (uint32_t looked = 0; at && looked < most_looked[k]; looked++, at = d->older[k][at - 1]) {
            const bool predicted = at <= p; /* positions of the prediction come first */
            const uint32_t i = predicted ? at - 1 : at - 1 - p, end = predicted ? p : n;
            if (i + 1 >= end) continue; /* nothing follows; the last tokens themselves */
            const int32_t *text = predicted ? d->prediction : token;
            const uint32_t same = common(token + n - 1, text + i, min_u32(i + 1, LONGEST_MATCH));
            if (same < gram[k] || same <= best) continue;
            best = same;
            *next = text + i + 1;
            *n_next = end - i - 1;
            *in_text = !predicted;
            if (best == LONGEST_MATCH) break;
        }
    }
    return best;
}

uint32_t hone_draft_guess(hone_draft *d, const int32_t *token, int32_t *out, uint32_t cap, float *keep) {
    const int32_t *next = NULL;
    uint32_t n_next = 0;
    d->n_guess = d->n_right = 0;
    bool in_text = false;
    const uint32_t match = d->n_text ? look_up(d, token, &next, &n_next, &in_text) : 0;
    d->kind = kind_of(match);
    float p = match ? belief(d, d->kind) : 0;
    if (d->at < d->n_prediction) {
        const uint32_t kind = d->n_followed || d->n_text == d->n_prompt ? FOLLOWED : RESUMED;
        if (belief(d, kind) >= p) {
            d->kind = kind;
            p = belief(d, kind);
            next = d->prediction + d->at;
            n_next = d->n_prediction - d->at;
            in_text = false;
        }
    }
    /* Always of full length, whatever is asked for: what is not tried teaches, too.  An occurrence that runs into the
     * end of the text goes on with what was just guessed. */
    const uint32_t n_guess = next == NULL ? 0 : in_text ? HONE_DRAFT_MOST : min_u32(n_next, HONE_DRAFT_MOST);
    for (uint32_t i = 0; i < n_guess; i++) d->guess[i] = i < n_next ? next[i] : d->guess[i - n_next];
    d->n_guess = n_guess;
    const uint32_t n = min_u32(min_u32(d->n_guess, cap), HONE_DRAFT_MOST);
    memcpy(out, d->guess, n * sizeof(*out));
    *keep = p < 0.99f ? p : 0.99f;
    return n;
}

/* --- what rows cost --- */

#define FORGET 2000u    /* steps: a number of rows that was not seen for so long is tried again */
#define FEW_ROWS 8u     /* up to here weights are read and little is computed */
#define FEW_SLOPE 0.04f /* of a step, for a row that was never seen: low */
#define LEARN 0.15f

void hone_draft_observe(hone_draft_cost *c, uint32_t rows, double seconds) {
    if (rows == 0 || rows > HONE_DRAFT_ROWS || !(seconds > 0)) return;
    float *s = &c->seconds[rows];
    c->n++;
    if (*s > 0 && c->n - c->seen_at[rows] < FORGET) {
        /* Somebody else had the cores for a moment: the further off, the less it says. */
        const float ratio = (float)seconds / *s, step = ratio > 1.5f ? 0.1f : ratio - 1;
        /* Contexts grow and clocks change for all numbers of rows alike. */
        const float all = 1 + 0.2f * LEARN * step;
        for (uint32_t i = 1; i <= HONE_DRAFT_ROWS; i++) c->seconds[i] *= all;
        *s *= 1 + 0.8f * LEARN * step;
    } else {
        const double low = hone_draft_seconds(c, rows);
        *s = (float)(low > 0 && seconds > 2.5 * low ? 2.5 * low : seconds);
    }
    c->seen_at[rows] = c->n;
}

static bool known(const hone_draft_cost *c, uint32_t rows) {
    return c->seconds[rows] > 0 && c->n - c->seen_at[rows] < FORGET;
}

double hone_draft_seconds(const hone_draft_cost *c, uint32_t rows) {
    uint32_t low = min_u32(rows, HONE_DRAFT_ROWS), high = low;
    while (low > 0 && !known(c, low)) low--;
    while (high <= HONE_DRAFT_ROWS && !known(c, high)) high++;
    if (low == 0 && high > HONE_DRAFT_ROWS) return 0;
    if (low == 0) return (double)c->seconds[high];
    const double at_low = (double)c->seconds[low];
    if (low == rows) return at_low;
    if (high <= HONE_DRAFT_ROWS) {
        const double at_high = (double)c->seconds[high];
        return at_low + (at_high - at_low) * (rows - low) / (high - low);
    }
    if (low <= FEW_ROWS && rows <= 2 * FEW_ROWS) return at_low * (1 + (double)FEW_SLOPE * (rows - low));
    return at_low * rows / low;
}

/* --- choosing --- */

#define LEAST_CHANCE 0.02f
#define LEAST_GAIN 1.01 /* over a step without: what is nearly nothing is not worth the cores */

void hone_draft_choose(const hone_draft_cost *c, uint32_t rows, uint32_t tokens, uint32_t room,
                       hone_draft_bid *const *bid, uint32_t n_bid) {
    uint32_t best = 0;
    const double bare = hone_draft_seconds(c, rows);
    double best_rate = bare > 0 ? tokens / bare * LEAST_GAIN : 0;
    for (uint32_t pass = 0; pass < 2; pass++) { /* how many in all; then to whom */
        const uint32_t most = pass ? best : room;
        double gain = 0;
        for (uint32_t i = 0; i < n_bid; i++) {
            bid[i]->chosen = 0;
            bid[i]->chance = bid[i]->n ? bid[i]->keep[0] : 0;
        }
        for (uint32_t k = 1; k <= most && bare > 0; k++) {
            hone_draft_bid *top = NULL;
            for (uint32_t i = 0; i < n_bid; i++)
                if (bid[i]->chosen < bid[i]->n && (!top || bid[i]->chance > top->chance)) top = bid[i];
            if (!top || top->chance < LEAST_CHANCE) break;
            gain += (double)top->chance;
            if (++top->chosen < top->n) top->chance *= top->keep[top->chosen];
            if (pass) continue;
            const double rate = (tokens + gain) / hone_draft_seconds(c, rows + k);
            if (rate <= best_rate) continue;
            best_rate = rate;
            best = k;
        }
    }
}
