/* stats.h - how sure a score is: intervals of means, paired differences, an exact test.
 *
 * All of it is a function of the scores and a seed; nothing is drawn from a stream (random.h).
 *
 * Threads: any. */
#ifndef HONE_STATS_H
#define HONE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define HONE_STATS_RESAMPLES 10000u

typedef struct {
    double mean;
    double low, high;   /* 95 % */
    const char *method; /* "wilson" or "bootstrap"; a static text */
} hone_interval;

/* Mean of score[n], n > 0.  Where every score is 0 or 1 the interval is Wilson's score interval (JASA 22, 1927), which
 * holds its level near 0 and 1, where a bootstrap of equal scores would have no width; otherwise the percentile
 * bootstrap of the mean over HONE_STATS_RESAMPLES resamples. */
hone_status hone_stats_mean(hone_interval *out, const double *score, size_t n, uint64_t seed, hone_error *err);

/* Mean of b[i] - a[i], the same rows graded twice, with the percentile bootstrap over rows. */
hone_status hone_stats_difference(hone_interval *out, const double *a, const double *b, size_t n, uint64_t seed,
                                  hone_error *err);

/* McNemar's test in its exact, two-sided form: with b rows right only in the first and c only in the second,
 * p = min(1, 2 P[Binomial(b + c, 1/2) <= min(b, c)]); 1 when b + c is 0.  A score counts as right when it is >= 0.5. */
typedef struct {
    uint64_t only_first, only_second, both, neither;
    double p;
} hone_mcnemar;
hone_mcnemar hone_stats_mcnemar(const double *first, const double *second, size_t n);

#endif
