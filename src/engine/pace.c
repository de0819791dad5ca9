/* pace.c - the contract is in pace.h.  Order: the filter, questions. */
#include "engine/pace.h"

#include <math.h>

#define ROWS 64.0
#define POSITIONS 65536.0
#define N HONE_PACE_COSTS

/* Standard deviations in ms before anything was seen: time is held to be that of rows, until steps of other sizes show
 * how much of it is not.  That way round, a first chunk is too small rather than too large. */
static const double unknown[N] = {5, 200, 50, 50};
#define DRIFT 0.01 /* of a cost, a step */
#define NOISE 0.1  /* of a step's time */

static double dot(const double *a, const double *b) {
    double sum = 0;
    for (int i = 0; i < N; i++) sum += a[i] * b[i];
    return sum;
}

static void features(const hone_pace_load *load, double *x) {
    x[0] = 1;
    x[1] = load->rows / ROWS;
    x[2] = (double)load->stream_positions / POSITIONS;
    x[3] = (double)load->prompt_positions / POSITIONS;
}

void hone_pace_observe(hone_pace *p, const hone_pace_load *load, double seconds) {
    double x[N];
    const double ms = seconds * 1e3;
    if (!(ms >= 0) || load->rows == 0) return;
    features(load, x);
    if (p->n++ == 0)
        for (int i = 0; i < N; i++) p->covariance[i][i] = unknown[i] * unknown[i];
    const double expected = dot(p->cost, x), miss = ms - expected;
    /* Somebody else had the cores: the further off, the less it says.  That it stays so is believed after a while. */
    const double odd = p->n > 8 && miss > expected ? miss : 0;
    double gain[N], spread[N];
    for (int i = 0; i < N; i++) spread[i] = dot(p->covariance[i], x);
    const double variance = dot(spread, x) + NOISE * NOISE * ms * ms + odd * odd + 1e-6;
    for (int i = 0; i < N; i++) gain[i] = spread[i] / variance;
    for (int i = 0; i < N; i++) {
        p->cost[i] += gain[i] * miss;
        if (p->cost[i] < 0) p->cost[i] = 0;
        for (int j = 0; j < N; j++) p->covariance[i][j] -= gain[i] * spread[j];
    }
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < i; j++)
            p->covariance[i][j] = p->covariance[j][i] = (p->covariance[i][j] + p->covariance[j][i]) / 2;
        const double drift = DRIFT * p->cost[i];
        p->covariance[i][i] = fmin(fmax(p->covariance[i][i], 0) + drift * drift, unknown[i] * unknown[i]);
    }
}

double hone_pace_step(const hone_pace *p, const hone_pace_load *load) {
    double x[N];
    features(load, x);
    return dot(p->cost, x) * 1e-3;
}

double hone_pace_rows(const hone_pace *p, uint32_t position, uint32_t n) {
    const double x[N] = {0, n / ROWS, 0, (double)hone_pace_positions(position, n) / POSITIONS};
    double spread[N];
    for (int i = 0; i < N; i++) spread[i] = dot(p->covariance[i], x);
    return (dot(p->cost, x) + sqrt(fmax(dot(spread, x), 0))) * 1e-3;
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
