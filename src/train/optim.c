/* optim.c - AdamW, learning rates, norms; the contract is in optim.h. */
#include "train/optim.h"

#include <math.h>

double hone_lr_at(const hone_lr_plan *p, uint64_t step) {
    if (step < p->warmup_steps) return p->lr * (double)step / (double)p->warmup_steps;
    if (p->schedule == HONE_SCHEDULE_CONSTANT || p->steps <= p->warmup_steps) return p->lr;
    const uint64_t span = p->steps - p->warmup_steps, at = step - p->warmup_steps;
    const double done = at < span ? (double)at / (double)span : 1.0;
    const double share = p->schedule == HONE_SCHEDULE_LINEAR ? 1.0 - done : 0.5 * (1.0 + cos(acos(-1.0) * done));
    return p->lr * (p->floor + (1.0 - p->floor) * share);
}

/* Plain loops over independent elements: any vector width gives the same bits. */
void hone_adamw_update(const hone_adamw *o, double lr, uint64_t step, double factor, float *restrict p,
                       const float *restrict g, float *restrict m, float *restrict v, size_t n) {
    const double correction1 = 1.0 - pow(o->beta1, (double)step), correction2 = 1.0 - pow(o->beta2, (double)step);
    const float keep = (float)(1.0 - lr * o->weight_decay), f = (float)factor;
    const float b2 = (float)o->beta2, a1 = (float)(1.0 - o->beta1), a2 = (float)(1.0 - o->beta2);
    const float size = (float)(lr / correction1), root = (float)sqrt(correction2), eps = (float)o->eps;
    for (size_t i = 0; i < n; i++) {
        const float gi = g[i] * f;
        m[i] += a1 * (gi - m[i]);
        v[i] = b2 * v[i] + a2 * (gi * gi);
        p[i] = p[i] * keep - size * (m[i] / (sqrtf(v[i]) / root + eps));
    }
}

double hone_square_sum(const float *g, size_t n) {
    double part[8] = {0}; /* eight chains, so that the order is fixed and the adder is not waited for */
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) part[j] += (double)g[i + j] * (double)g[i + j];
    for (size_t j = 0; i < n; i++, j++) part[j] += (double)g[i] * (double)g[i];
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

double hone_clip_factor(double norm, double clip) {
    if (!(clip > 0)) return 1.0;
    const double f = clip / (norm + 1e-6);
    return f < 1.0 ? f : 1.0;
}
