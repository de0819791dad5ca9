/* check.h - does a set agree with ref?  Asked once at start: no user should meet a wrong unit or a wrong build. */
#ifndef HONE_KERNEL_CHECK_H
#define HONE_KERNEL_CHECK_H

#include "kernel/kernel.h"

/* Small products in every format, forward and backward, and attention; a millisecond or two.  On false `why` (capacity
 * bytes) names the operation and both numbers.  True when memory is short: what cannot be compared is not accused. */
bool kernel_set_agrees(const hone_kernels *set, char *why, size_t capacity);

#endif
