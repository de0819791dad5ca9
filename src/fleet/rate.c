/* rate.c - the cost of work by least squares; the contract is in rate.h. */
#include "fleet/rate.h"

#include <stdbool.h>

/* An observation counts half after 35 others, about 4 seconds under load. */
#define FADE 0.98
#define ENDED_SHARE 0.05
#define FIRST_GUESS 256u /* output tokens of a request while none has ended */
#define ENOUGH 5u        /* observations before anything is said */

/* Columns of like size keep the equations solvable. */
static const double scale[3] = {10, 1000, 200};

/* Solve for the variables of mask, the others 0.  False: they cannot be told apart, or one is below zero. */
static bool solve(const hone_rate *r, unsigned mask, double x[3]) {
    double a[3][4];
    uint32_t at[3], n = 0;
    for (uint32_t i = 0; i < 3; i++) {
        x[i] = 0;
        if (mask & 1u << i) at[n++] = i;
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < n; k++) a[i][k] = r->normal[at[i]][at[k]];
        a[i][n] = r->right[at[i]];
    }
    for (uint32_t i = 0; i < n; i++) { /* the matrix is positive: no pivoting */
        if (a[i][i] <= 1e-9 * (1 + r->normal[at[i]][at[i]])) return false;
        for (uint32_t k = i + 1; k < n; k++) {
            const double f = a[k][i] / a[i][i];
            for (uint32_t c = i; c <= n; c++) a[k][c] -= f * a[i][c];
        }
    }
    for (uint32_t i = n; i-- > 0;) {
        double v = a[i][n];
        for (uint32_t k = i + 1; k < n; k++) v -= a[i][k] * x[at[k]];
        x[at[i]] = v / a[i][i];
        if (!(x[at[i]] >= 0)) return false;
    }
    return true;
}

static double residue(const hone_rate *r, const double x[3]) {
    double s = r->squares;
    for (int i = 0; i < 3; i++) {
        s -= 2 * x[i] * r->right[i];
        for (int k = 0; k < 3; k++) s += x[i] * r->normal[i][k] * x[k];
    }
    return s;
}

void hone_rate_observe(hone_rate *r, double seconds, uint64_t steps, uint64_t prefill, uint64_t decode,
                       uint64_t cached) {
    if (!(seconds > 0) || steps == 0) return;
    const double row[3] = {(double)steps / scale[0], (double)prefill / scale[1], (double)decode / scale[2]};
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) r->normal[i][k] = FADE * r->normal[i][k] + row[i] * row[k];
        r->right[i] = FADE * r->right[i] + row[i] * seconds;
    }
    r->squares = FADE * r->squares + seconds * seconds;
    r->n++;
    if (prefill + cached) r->cached += 0.1 * ((double)cached / (double)(prefill + cached) - r->cached);
    /* Where several explain it as well, rows cost rather than steps: a guess from one stream is then too high for a
     * full batch, not too low. */
    static const unsigned masks[] = {7, 6, 3, 5, 2, 4, 1};
    double best = -1;
    for (int m = 0; m < 7; m++) {
        double x[3];
        if (!solve(r, masks[m], x)) continue;
        const double rest = residue(r, x);
        if (best >= 0 && rest >= best - 1e-6 * r->squares) continue;
        best = rest;
        for (int i = 0; i < 3; i++) r->cost[i] = x[i] / scale[i];
    }
}

void hone_rate_ended(hone_rate *r, uint32_t n_output) {
    if (n_output == 0) return;
    r->output = r->output == 0 ? n_output : r->output + ENDED_SHARE * (n_output - r->output);
}

uint32_t hone_rate_expect(const hone_rate *r, uint32_t max_tokens) {
    const uint32_t usual = r->output == 0 ? FIRST_GUESS : (uint32_t)(r->output + 0.5);
    return max_tokens < usual ? max_tokens : usual;
}

double hone_rate_seconds(const hone_rate *r, uint64_t prompt, uint64_t output, uint32_t at_once) {
    if (r->n < ENOUGH) return 0;
    const double token = r->cost[2] + r->cost[0] / (at_once ? at_once : 1);
    return (double)prompt * (1 - r->cached) * r->cost[1] + (double)output * token;
}
