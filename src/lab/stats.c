/* stats.c - intervals and tests; the contract is in stats.h. */
#include "lab/stats.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"

#define Z95 1.959963984540054 /* the normal distribution's 97.5 % point */

static int by_value(const void *x, const void *y) {
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double mean_of(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

/* Between the two nearest order statistics. */
static double quantile(const double *sorted, size_t n, double q) {
    const double at = q * (double)(n - 1);
    const size_t i = (size_t)at;
    const double share = at - (double)i;
    return i + 1 < n ? sorted[i] + share * (sorted[i + 1] - sorted[i]) : sorted[i];
}

/* Resample r draws row k with the word k % 4 of the block (seed, r, k / 4): whatever n is, each resample has numbers of
 * its own. */
static hone_status bootstrap(hone_interval *out, const double *x, size_t n, uint64_t seed, hone_error *err) {
    double *means = hone_zalloc(HONE_STATS_RESAMPLES, sizeof(*means));
    if (!means) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a bootstrap");
    for (uint32_t r = 0; r < HONE_STATS_RESAMPLES; r++) {
        uint32_t w[4] = {0};
        double sum = 0;
        for (size_t k = 0; k < n; k++) {
            if (k % 4 == 0) hone_random_block(seed, r, 0, k / 4, w);
            sum += x[(size_t)((uint64_t)w[k % 4] * n >> 32)];
        }
        means[r] = sum / (double)n;
    }
    qsort(means, HONE_STATS_RESAMPLES, sizeof(*means), by_value);
    out->mean = mean_of(x, n);
    out->low = quantile(means, HONE_STATS_RESAMPLES, 0.025);
    out->high = quantile(means, HONE_STATS_RESAMPLES, 0.975);
    out->method = "bootstrap";
    hone_free(means);
    return HONE_OK;
}

static void wilson(hone_interval *out, double p, size_t n) {
    const double m = (double)n, z2 = Z95 * Z95;
    const double centre = (p + z2 / (2 * m)) / (1 + z2 / m);
    const double half = Z95 / (1 + z2 / m) * sqrt(p * (1 - p) / m + z2 / (4 * m * m));
    out->mean = p;
    out->low = p == 0 ? 0 : fmax(0, centre - half); /* rounding must not leave a share below 0 or over 1 */
    out->high = p == 1 ? 1 : fmin(1, centre + half);
    out->method = "wilson";
}

static hone_status check_count(size_t n, hone_error *err) {
    if (n == 0) return hone_fail(err, HONE_ERR_ARG, "no scores");
    if (n > UINT32_MAX) return hone_fail(err, HONE_ERR_LIMIT, "%zu scores are too many", n);
    return HONE_OK;
}

hone_status hone_stats_mean(hone_interval *out, const double *score, size_t n, uint64_t seed, hone_error *err) {
    *out = (hone_interval){.method = ""};
    const hone_status status = check_count(n, err);
    if (status != HONE_OK) return status;
    for (size_t i = 0; i < n; i++)
        if (score[i] != 0 && score[i] != 1) return bootstrap(out, score, n, seed, err);
    wilson(out, mean_of(score, n), n);
    return HONE_OK;
}

hone_status hone_stats_difference(hone_interval *out, const double *a, const double *b, size_t n, uint64_t seed,
                                  hone_error *err) {
    *out = (hone_interval){.method = ""};
    hone_status status = check_count(n, err);
    if (status != HONE_OK) return status;
    double *d = hone_zalloc(n, sizeof(*d));
    if (!d) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a bootstrap");
    for (size_t i = 0; i < n; i++) d[i] = b[i] - a[i];
    status = bootstrap(out, d, n, seed, err);
    hone_free(d);
    return status;
}

hone_mcnemar hone_stats_mcnemar(const double *first, const double *second, size_t n) {
    hone_mcnemar m = {.p = 1};
    for (size_t i = 0; i < n; i++) {
        const bool f = first[i] >= 0.5, s = second[i] >= 0.5;
        m.only_first += f && !s;
        m.only_second += s && !f;
        m.both += f && s;
        m.neither += !f && !s;
    }
    const uint64_t less = m.only_first < m.only_second ? m.only_first : m.only_second;
    const double all = (double)(m.only_first + m.only_second);
    if (all == 0) return m;
    /* Each term by its logarithm: 2^-300 times a binomial coefficient near 2^300 is an ordinary number. */
    double tail = 0;
    for (uint64_t k = 0; k <= less; k++)
        tail += exp(lgamma(all + 1) - lgamma((double)k + 1) - lgamma(all - (double)k + 1) - all * log(2));
    m.p = fmin(1, 2 * tail);
    return m;
}
