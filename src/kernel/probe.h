/* probe.h - what this machine reaches: limits of memory and arithmetic, and each operation of a set beside them.
 *
 * For `hone inspect kernels` and bench/: numbers only, the caller prints.  Short best-of-several runs, some seconds in
 * all; other work on the machine lowers them. */
#ifndef HONE_KERNEL_PROBE_H
#define HONE_KERNEL_PROBE_H

#include "kernel/kernel.h"

typedef struct {
    char operation[32]; /* "limit", "linear", "linear_dx", "attention", ... */
    char shape[64];     /* "Q4_1 n=1536 k=576 m=32", ... */
    double value;
    const char *unit; /* "GB/s", "GFLOP/s", "GOP/s": two operations per multiply and add */
    double of_limit;  /* share of the limit that applies, 0 when none was measured */
} hone_kernel_figure;

/* Of the machine with this set and the pool's threads, in bytes and operations a second; 0: no such unit (or, for read,
 * no memory: 192 MB are read). */
typedef struct {
    double read, f32, bf16, int8;
} hone_kernel_limits;
void hone_kernels_limits(const hone_kernels *set, hone_pool *pool, hone_kernel_limits *out);

/* At most `capacity` figures of `set`, which this machine must be able to run, by the threads of pool (NULL: one).
 * HONE_ERR_NOMEM: about 600 MB are wanted; *n figures are filled nevertheless. */
hone_status hone_kernels_probe(const hone_kernels *set, hone_pool *pool, hone_kernel_figure *figures, uint32_t capacity,
                               uint32_t *n, hone_error *err);

#endif
