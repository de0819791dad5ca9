/* optim.h - AdamW with decoupled weight decay, learning rates by step, gradient norm.
 *
 * Kingma and Ba, 2015; Loshchilov and Hutter, 2019; in the arithmetic order of PyTorch's AdamW.  Every result is a
 * function of its arguments: not of the thread count. */
#ifndef HONE_TRAIN_OPTIM_H
#define HONE_TRAIN_OPTIM_H

#include <stddef.h>
#include <stdint.h>

typedef enum { HONE_SCHEDULE_CONSTANT, HONE_SCHEDULE_LINEAR, HONE_SCHEDULE_COSINE } hone_schedule;

typedef struct {
    double lr;    /* the peak */
    double floor; /* the schedule ends at floor * lr; 0 by default */
    hone_schedule schedule;
    uint64_t warmup_steps; /* lr * step / warmup_steps before that step */
    uint64_t steps;
} hone_lr_plan;

/* The rate of step (from 0). */
double hone_lr_at(const hone_lr_plan *plan, uint64_t step);

typedef struct {
    double beta1, beta2, eps, weight_decay;
} hone_adamw;

/* One update of p[n] with gradient factor * g[n].  step counts from 1. */
void hone_adamw_update(const hone_adamw *o, double lr, uint64_t step, double factor, float *p, const float *g, float *m,
                       float *v, size_t n);

/* Sum of squares in one fixed order, in double. */
double hone_square_sum(const float *g, size_t n);

/* What gradients are multiplied by for a norm of at most clip (0: no limit): min(1, clip / (norm + 1e-6)). */
double hone_clip_factor(double norm, double clip);

#endif
