/* rate.h - how long work takes here, learned from what copies report.
 *
 * A step costs so much for itself, for each prompt row and for each output row.  Each report of a copy that was busy
 * since the one before is an observation of that sum; the three costs are the least squares over them, older ones
 * fading, none below zero.  What a request will say is taken from those that ended.
 *
 * Threads: one owner. */
#ifndef HONE_RATE_H
#define HONE_RATE_H

#include <stdint.h>

/* Start from {0}. */
typedef struct {
    double normal[3][3], right[3], squares; /* of the scaled observations */
    double cost[3];                         /* seconds: of a step, a prompt row, an output row */
    double cached;                          /* share of prompt tokens that the prefix tree gives */
    double output;                          /* tokens that a request says; 0: none has ended yet */
    uint32_t n;                             /* observations */
} hone_rate;

/* A copy worked for so many seconds: steps, prompt rows computed, output rows, prompt tokens that were not computed. */
void hone_rate_observe(hone_rate *r, double seconds, uint64_t steps, uint64_t prefill, uint64_t decode,
                       uint64_t cached);

void hone_rate_ended(hone_rate *r, uint32_t n_output);

/* Output tokens to expect of a request that may say max_tokens. */
uint32_t hone_rate_expect(const hone_rate *r, uint32_t max_tokens);

/* Seconds of one copy for so many prompt and output tokens, with at_once sequences sharing its steps; 0 while nothing
 * is known. */
double hone_rate_seconds(const hone_rate *r, uint64_t prompt, uint64_t output, uint32_t at_once);

#endif
