/* sample.c - the contract is in sample.h.
 *
 * No sort of the vocabulary: top_k and top_p cut the set of candidates by a histogram of their logits, and only the
 * bucket in which the cut falls is ordered (a heap, popped as far as needed).
 *
 * Order: open and close, parameters, changes to logits, the cut, the draw, the whole, top logits. */
#include "engine/sample.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"
#include "engine/inspect.h"

#define N_BUCKET 1024u
/* Logits so far (in units of temperature) below the largest share the last bucket: exp(-64) counts for nothing. */
#define BUCKET_RANGE 64.0f
/* Word b of the random block: sampling, as against dropout, which uses other ones. */
#define RANDOM_SAMPLING 0x53414d50u
#define SEEN 0x80000000u

struct hone_sampler {
    const hone_kernels *kernels;
    uint32_t vocab;
    float *weight;    /* [V] exp((x - max) / temperature) */
    uint32_t *set;    /* [V] ids of candidates */
    uint32_t *bucket; /* [V] ids of the bucket being cut */
    uint32_t *count;  /* [V] all zero between calls: SEEN, and how often in the output */
    uint32_t n_in[N_BUCKET];
    double mass[N_BUCKET];
};

/* --- open and close --- */

size_t hone_sampler_bytes(uint32_t vocab) {
    return sizeof(hone_sampler) + (size_t)vocab * 16;
}

hone_status hone_sampler_open(hone_sampler **out, const hone_kernels *kernels, uint32_t vocab, hone_error *err) {
    *out = NULL;
    hone_sampler *s = hone_zalloc(1, sizeof(*s));
    if (!s) goto fail;
    s->kernels = kernels;
    s->vocab = vocab;
    if (!(s->weight = hone_zalloc(vocab, sizeof(*s->weight)))) goto fail;
    if (!(s->set = hone_zalloc(vocab, sizeof(*s->set)))) goto fail;
    if (!(s->bucket = hone_zalloc(vocab, sizeof(*s->bucket)))) goto fail;
    if (!(s->count = hone_zalloc(vocab, sizeof(*s->count)))) goto fail;
    *out = s;
    return HONE_OK;
fail:
    hone_sampler_close(s);
    return hone_fail(err, HONE_ERR_NOMEM, "sampler: no memory for a vocabulary of %u", vocab);
}

void hone_sampler_close(hone_sampler *s) {
    if (!s) return;
    hone_free(s->count);
    hone_free(s->bucket);
    hone_free(s->set);
    hone_free(s->weight);
    hone_free(s);
}

/* --- parameters --- */

hone_sampling hone_sampling_defaults(void) {
    return (hone_sampling){.top_p = 1, .repetition_penalty = 1};
}

static bool within(float x, float low, float high) {
    return x >= low && x <= high;
} /* false for NaN */

hone_status hone_sampling_check(const hone_sampling *p, uint32_t vocab, hone_error *err) {
    if (!within(p->temperature, 0, 100))
        return hone_fail(err, HONE_ERR_ARG, "temperature %g is not within 0 and 100", (double)p->temperature);
    if (!within(p->top_p, 0, 1))
        return hone_fail(err, HONE_ERR_ARG, "top_p %g is not within 0 and 1", (double)p->top_p);
    if (!within(p->min_p, 0, 1))
        return hone_fail(err, HONE_ERR_ARG, "min_p %g is not within 0 and 1", (double)p->min_p);
    if (!within(p->repetition_penalty, 1e-3f, 1e3f))
        return hone_fail(err, HONE_ERR_ARG, "repetition_penalty %g is not within 0.001 and 1000",
                         (double)p->repetition_penalty);
    if (!within(p->frequency_penalty, -100, 100))
        return hone_fail(err, HONE_ERR_ARG, "frequency_penalty %g is not within -100 and 100",
                         (double)p->frequency_penalty);
    if (!within(p->presence_penalty, -100, 100))
        return hone_fail(err, HONE_ERR_ARG, "presence_penalty %g is not within -100 and 100",
                         (double)p->presence_penalty);
    for (uint32_t i = 0; i < p->n_bias; i++) {
        if (p->bias_token[i] < 0 || (uint32_t)p->bias_token[i] >= vocab)
            return hone_fail(err, HONE_ERR_ARG, "logit_bias names token %d, the vocabulary has %u", p->bias_token[i],
                             vocab);
        if (!within(p->bias_value[i], -1e4f, 1e4f))
            return hone_fail(err, HONE_ERR_ARG, "logit_bias of token %d is not a number within -10000 and 10000",
                             p->bias_token[i]);
    }
    return HONE_OK;
}

/* --- changes to logits --- */

static void penalise(hone_sampler *s, float *x, const hone_sampling *p, const int32_t *history, uint32_t n_prompt,
                     uint32_t n_output) {
    const bool repetition = p->repetition_penalty != 1.0f;
    if (!repetition && p->frequency_penalty == 0 && p->presence_penalty == 0) return;
    const uint32_t n = n_prompt + n_output, from = repetition ? 0 : n_prompt;
    for (uint32_t i = from; i < n; i++)
        s->count[history[i]] = (s->count[history[i]] | SEEN) + (i >= n_prompt ? 1u : 0u);
    for (uint32_t i = from; i < n; i++) {
        const uint32_t seen = s->count[history[i]];
        if (!seen) continue; /* done at its first place */
        float *v = &x[history[i]];
        if (repetition) *v = *v > 0 ? *v / p->repetition_penalty : *v * p->repetition_penalty;
        const uint32_t times = seen & ~SEEN;
        if (times) *v -= p->frequency_penalty * (float)times + p->presence_penalty;
        s->count[history[i]] = 0;
    }
}

/* --- the cut --- */

static bool before(const float *x, uint32_t a, uint32_t b) {
    return x[a] > x[b] || (x[a] == x[b] && a < b);
}

static void sift_down(const float *x, uint32_t *heap, uint32_t n, uint32_t i) {
    for (;;) {
        uint32_t best = i;
        const uint32_t left = 2 * i + 1, right = left + 1;
        if (left < n && before(x, heap[left], heap[best])) best = left;
        if (right < n && before(x, heap[right], heap[best])) best = right;
        if (best == i) return;
        const uint32_t swap = heap[i];
        heap[i] = heap[best];
        heap[best] = swap;
        i = best;
    }
}

static uint32_t bucket_of(float x, float largest, float scale) {
    const float at = (largest - x) * scale;
    return at < (float)(N_BUCKET - 1) ? (uint32_t)at : N_BUCKET - 1;
}

/* Keeps the first candidates, in order of x, until there are max_n of them or their weights reach share of the whole.
 * The kept ones stand in set[] in a fixed order; returns how many. */
static uint32_t cut(hone_sampler *s, const float *x, uint32_t n, uint32_t max_n, double share) {
    float largest = -INFINITY, smallest = INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        const float v = x[s->set[i]];
        largest = v > largest ? v : largest;
        smallest = v < smallest ? v : smallest;
    }
    const float range = largest - smallest < BUCKET_RANGE ? largest - smallest : BUCKET_RANGE;
    const float scale = range > 0 ? (float)(N_BUCKET - 1) / range : 0.0f;
    memset(s->n_in, 0, sizeof(s->n_in));
    memset(s->mass, 0, sizeof(s->mass));
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t b = bucket_of(x[s->set[i]], largest, scale);
        s->n_in[b]++;
        s->mass[b] += (double)s->weight[s->set[i]];
    }
    double total = 0;
    for (uint32_t b = 0; b < N_BUCKET; b++) total += s->mass[b];
    const double goal = share >= 1 ? INFINITY : share * total;
    /* The first bucket in which the cut falls. */
    uint32_t at = 0, n_before = 0;
    double mass = 0;
    while (at < N_BUCKET && n_before + s->n_in[at] < max_n && mass + s->mass[at] < goal) {
        n_before += s->n_in[at];
        mass += s->mass[at++];
    }
    if (at == N_BUCKET) return n;
    uint32_t kept = 0, heap = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t id = s->set[i], b = bucket_of(x[id], largest, scale);
        if (b < at) s->set[kept++] = id;
        if (b == at) s->bucket[heap++] = id;
    }
    for (uint32_t i = heap / 2; i-- > 0;) sift_down(x, s->bucket, heap, i);
    while (heap && (kept == 0 || (kept < max_n && mass < goal))) {
        const uint32_t id = s->bucket[0];
        s->bucket[0] = s->bucket[--heap];
        sift_down(x, s->bucket, heap, 0);
        s->set[kept++] = id;
        mass += (double)s->weight[id];
    }
    return kept;
}

/* --- the draw --- */

#define LANES 8u

/* Sum of w[n], n at most a few thousand, in a fixed order. */
static double sum_of(const float *w, uint32_t n) {
    float lane[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (uint32_t j = 0; j < LANES; j++) lane[j] += w[i + j];
    double sum = 0;
    for (uint32_t j = 0; j < LANES; j++) sum += (double)lane[j];
    for (; i < n; i++) sum += (double)w[i];
    return sum;
}

/* From the whole vocabulary: sums of stretches first, then the stretch in which the draw falls. */
static uint32_t draw_from_all(const hone_sampler *s, double unit) {
    enum { STRETCH = 1024 };
    const uint32_t v = s->vocab;
    double total = 0, mass = 0;
    for (uint32_t i = 0; i < v; i += STRETCH) total += sum_of(s->weight + i, v - i < STRETCH ? v - i : STRETCH);
    const double goal = unit * total;
    uint32_t last = 0;
    for (uint32_t i = 0; i < v; i += STRETCH) {
        const uint32_t n = v - i < STRETCH ? v - i : STRETCH;
        const double sum = sum_of(s->weight + i, n);
        if (mass + sum <= goal && i + n < v) {
            mass += sum;
            continue;
        }
        for (uint32_t j = i; j < v; j++) { /* rounding may carry past the stretch: the next ones follow */
            if (!(s->weight[j] > 0)) continue;
            last = j;
            mass += (double)s->weight[j];
            if (mass > goal) return j;
        }
    }
    if (s->weight[last] > 0) return last;
    for (uint32_t j = v; j-- > 0;)
        if (s->weight[j] > 0) return j;
    return 0;
}

static uint32_t draw_from_set(const hone_sampler *s, uint32_t n, double unit) {
    double total = 0, mass = 0;
    for (uint32_t i = 0; i < n; i++) total += (double)s->weight[s->set[i]];
    for (uint32_t i = 0; i + 1 < n; i++) {
        mass += (double)s->weight[s->set[i]];
        if (mass > unit * total) return s->set[i];
    }
    return s->set[n - 1];
}

static int32_t sample(hone_sampler *s, float *logits, const hone_sampling *p, uint32_t position) {
    const uint32_t v = s->vocab;
    if (p->temperature <= 0 || p->top_k == 1) return (int32_t)hone_argmax(logits, v);

    const float largest = logits[hone_argmax(logits, v)], inverse = 1.0f / p->temperature;
    if (!(largest > -INFINITY)) return (int32_t)hone_argmax(logits, v); /* nothing to choose from */
    for (uint32_t i = 0; i < v; i++) logits[i] = (logits[i] - largest) * inverse;
    s->kernels->exp_shift(logits, 0.0f, v, s->weight);
    const float least = p->min_p;
    for (uint32_t i = 0; i < v; i++) /* NaN goes, too */
        s->weight[i] = s->weight[i] >= least && s->weight[i] > 0 ? s->weight[i] : 0.0f;

    const double unit = hone_random_unit_f64(p->seed, position, RANDOM_SAMPLING, 0);
    const bool by_count = p->top_k > 0 && p->top_k < v, by_share = p->top_p < 1.0f;
    if (!by_count && !by_share) return (int32_t)draw_from_all(s, unit);
    uint32_t n = 0;
    for (uint32_t i = 0; i < v; i++) {
        s->set[n] = i;
        n += s->weight[i] > 0;
    }
    if (n == 0) return (int32_t)hone_argmax(logits, v);
    if (by_count) n = cut(s, logits, n, p->top_k, 1);
    if (by_share) n = cut(s, logits, n, UINT32_MAX, (double)p->top_p);
    return (int32_t)draw_from_set(s, n, unit);
}

/* Whether the bans leave nothing of what is allowed. */
static bool only_banned(const uint32_t *allowed, uint32_t vocab, const int32_t *banned, uint32_t n_banned) {
    for (uint32_t w = 0; w < (vocab + 31) / 32; w++) {
        uint32_t left = allowed[w];
        for (uint32_t i = 0; left && i < n_banned; i++)
            if (banned[i] >= 0 && (uint32_t)banned[i] / 32 == w) left &= ~(1u << ((uint32_t)banned[i] % 32));
        if (left) return false;
    }
    return true;
}

static void apply_mask(float *x, uint32_t vocab, const uint32_t *allowed) {
    for (uint32_t w = 0; w < (vocab + 31) / 32; w++) {
        const uint32_t end = w * 32 + 32 < vocab ? w * 32 + 32 : vocab;
        if (allowed[w] == UINT32_MAX) continue;
        for (uint32_t i = w * 32; i < end; i++) x[i] = allowed[w] >> (i % 32) & 1 ? x[i] : -INFINITY;
    }
}

static bool is_set(const uint32_t *bits, int32_t i) {
    return bits[i / 32] >> (i % 32) & 1;
}

int32_t hone_sample(hone_sampler *s, float *logits, const hone_sampling *p, const int32_t *history, uint32_t n_prompt,
                    uint32_t n_output, uint32_t position, const int32_t *banned, uint32_t n_banned,
                    const uint32_t *allowed) {
    const uint32_t v = s->vocab;
    for (uint32_t i = 0; i < p->n_bias; i++) logits[p->bias_token[i]] += p->bias_value[i];
    penalise(s, logits, p, history, n_prompt, n_output);
    if (allowed && n_banned && only_banned(allowed, v, banned, n_banned)) n_banned = 0;
    for (uint32_t i = 0; i < n_banned; i++)
        if (banned[i] >= 0 && (uint32_t)banned[i] < v) logits[banned[i]] = -INFINITY;
    if (allowed) apply_mask(logits, v, allowed);
    const int32_t token = sample(s, logits, p, position);
    if (!allowed || is_set(allowed, token)) return token;
    for (int32_t i = 0; (uint32_t)i < v; i++) /* no allowed one has a number for a logit */
        if (is_set(allowed, i)) return i;
    return token;
}

/* --- top logits --- */

void hone_top(const float *x, uint32_t vocab, uint32_t n, int32_t *out) {
    if (n == 0) return;
    uint32_t have = 0;
    float least = -INFINITY; /* of the n that are kept */
    for (uint32_t i = 0; i < vocab; i++) {
        if (have == n && !(x[i] > least)) continue;
        if (x[i] != x[i]) continue;
        uint32_t at = have < n ? have++ : n - 1;
        for (; at > 0 && x[i] > x[out[at - 1]]; at--) out[at] = out[at - 1];
        out[at] = (int32_t)i;
        least = x[out[have - 1]];
    }
    for (; have < n; have++) out[have] = have ? out[have - 1] : 0; /* fewer numbers than asked for */
}
