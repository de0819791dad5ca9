/* pace.h - what a step costs on this machine, learned while it runs.
 *
 * seconds = step + row * rows + score * positions, where positions sums, over the rows, how many positions each one
 * attends to.  The three are followed by a Kalman filter: they drift with the machine's load, a few steps are enough
 * to start with, and steps that are all alike change nothing that they do not show.
 *
 * Only how prompts are cut into chunks depends on it, and no result depends on that. */
#ifndef HONE_PACE_H
#define HONE_PACE_H

#include <stdint.h>

typedef struct {
    double cost[3];          /* milliseconds: a step, 64 rows, 65536 positions */
    double covariance[3][3]; /* of cost */
    uint64_t n;              /* steps seen */
} hone_pace;

/* Zeros are a new one. */
void hone_pace_observe(hone_pace *p, uint32_t rows, uint64_t positions, double seconds);

/* 0 before the first step was seen. */
double hone_pace_step(const hone_pace *p, uint32_t rows, uint64_t positions);

/* What n more rows from `position` on add to a step. */
double hone_pace_rows(const hone_pace *p, uint32_t position, uint32_t n);

/* The most rows from `position` on, up to most, that add at most `seconds`. */
uint32_t hone_pace_fit(const hone_pace *p, uint32_t position, uint32_t most, double seconds);

/* Positions attended to by n rows from `position` on. */
static inline uint64_t hone_pace_positions(uint32_t position, uint32_t n) {
    return (uint64_t)n * position + (uint64_t)n * (n + 1ull) / 2;
}

#endif
