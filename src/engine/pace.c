/* pace.c - the contract is in pace.h.  Order: the filter, questions. */
#include "engine/pace.h"

#include <math.h>

#define ROWS 64.0
#define POSITIONS 65536.0

/* Variances in ms^2.  A first guess knows nothing; later the costs may drift by 2 % a step. */
#define UNKNOWN 1e4
#define DRIFT 0.02
#define NOISE 0.1 /* of a step's time */

static double dot(const double *a, const double *b) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

void hone_pace_observe(hone_pace *p, uint32_t rows, uint64_t positions, double seconds) {
    const double x[3] = {1, rows / ROWS, (double)positions / POSITIONS}, ms = seconds * 1e3;
    if (!(ms >= 0) || rows == 0) return;
    if (p->n++ == 0)
        for (int i = 0; i < 3; i++) p->covariance[i][i] = UNKNOWN;
    const double expected = dot(p->cost, x), miss = ms - expected;
    /* Somebody else had the cores: the further off, the less it says.  That it stays so is believed after a while. */
    const double odd = p->n > 8 && miss > expected ? miss : 0;
    double gain[3], spread[3];
    for (int i = 0; i < 3; i++) spread[i] = dot(p->covariance[i], x);
    const double variance = dot(spread, x) + NOISE * NOISE * ms * ms + odd * odd + 1e-6;
    for (int i = 0; i < 3; i++) gain[i] = spread[i] / variance;
    for (int i = 0; i < 3; i++) {
        p->cost[i] += gain[i] * miss;
        if (p->cost[i] < 0) p->cost[i] = 0;
        for (int j = 0; j < 3; j++) p->covariance[i][j] -= gain[i] * spread[j];
    }
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < i; j++)
            p->covariance[i][j] = p->covariance[j][i] = (p->covariance[i][j] + p->covariance[j][i]) / 2;
        const double drift = DRIFT * p->cost[i];
        p->covariance[i][i] = fmin(fmax(p->covariance[i][i], 0) + drift * drift, UNKNOWN);
    }
}

double hone_pace_step(const hone_pace *p, uint32_t rows, uint64_t positions) {
    return (p->cost[0] + p->cost[1] * rows / ROWS + p->cost[2] * (double)positions / POSITIONS) * 1e-3;
}

double hone_pace_rows(const hone_pace *p, uint32_t position, uint32_t n) {
    return (p->cost[1] * n / ROWS + p->cost[2] * (double)hone_pace_positions(position, n) / POSITIONS) * 1e-3;
}

uint32_t hone_pace_fit(const hone_pace *p, uint32_t position, uint32_t most, double seconds) {
    uint32_t low = 0, high = most; /* low fits */
    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        if (hone_pace_rows(p, position, middle) <= seconds)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}
