/* encode.h - f32 rows into the stored block formats of dtype.h: the other direction of hone_dtype_widen.
 *
 * For each block the scale (and minimum) is searched that leaves the smallest sum of squared errors, the larger weights
 * counting more; the formats' layouts are ggml's, the bytes need not be those that another quantiser chooses.
 *
 * Threads: pure functions. */
#ifndef HONE_ENCODE_H
#define HONE_ENCODE_H

#include "kernel/dtype.h"

/* Formats that hone_dtype_encode can write. */
bool hone_dtype_can_encode(hone_dtype t);

/* x[k], all finite, into row; k must be a whole number of blocks.  F16 saturates at 65504. */
void hone_dtype_encode(hone_dtype t, const float *x, size_t k, void *row);

#endif
