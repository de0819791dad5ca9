/* tensor.h - a named, stored tensor: what weight files hold, whatever their format. */
#ifndef HONE_TENSOR_H
#define HONE_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/dtype.h"

#define HONE_TENSOR_DIMS 8u

typedef struct {
    const char *name; /* borrowed from the file it came from */
    hone_dtype dtype;
    uint32_t n_dim;                   /* 0 .. HONE_TENSOR_DIMS; 0: one number */
    uint64_t shape[HONE_TENSOR_DIMS]; /* outermost first: a matrix W[n, k] is {n, k} */
    const void *data;                 /* row-major, of any alignment; borrowed */
    size_t bytes;
} hone_tensor;

#endif
