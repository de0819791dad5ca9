/* pace.h - what a step costs on this machine, learned while it runs.
 *
 * seconds = step + row * rows + scores of streams + scores of prompts, where scores go by how many positions the rows
 * attend to: one row alone reads keys and values for itself, rows of a prompt share them.  The four are followed by a
 * Kalman filter: they drift with the machine's load, a few steps are enough to start with, and steps that are all alike
 * change nothing that they do not show.
 *
 * Only how prompts are cut into chunks depends on it, and no result depends on that. */
#ifndef HONE_PACE_H
#define HONE_PACE_H

#include <stdint.h>

#define HONE_PACE_COSTS 4

typedef struct {
    double cost[HONE_PACE_COSTS]; /* milliseconds: a step, 64 rows, 65536 positions of streams, of prompts */
    double covariance[HONE_PACE_COSTS][HONE_PACE_COSTS];
    uint64_t n; /* steps seen */
} hone_pace;

/* What a step runs; positions: attended to, summed over the rows. */
typedef struct {
    uint32_t rows;
    uint64_t stream_positions, prompt_positions;
} hone_pace_load;

/* Zeros are a new one. */
void hone_pace_observe(hone_pace *p, const hone_pace_load *load, double seconds);

/* 0 before the first step was seen. */
double hone_pace_step(const hone_pace *p, const hone_pace_load *load);

/* What n more rows of a prompt from `position` on add to a step: one standard deviation more than is likely, so that
 * what was never tried is tried with care. */
double hone_pace_rows(const hone_pace *p, uint32_t position, uint32_t n);

/* The most rows from `position` on, up to most, that add at most `seconds`. */
uint32_t hone_pace_fit(const hone_pace *p, uint32_t position, uint32_t most, double seconds);

/* Positions attended to by n rows from `position` on. */
static inline uint64_t hone_pace_positions(uint32_t position, uint32_t n) {
    return (uint64_t)n * position + (uint64_t)n * (n + 1ull) / 2;
}

#endif
