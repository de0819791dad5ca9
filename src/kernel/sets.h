/* sets.h - the tables of the build, for kernels.c; one static library per instruction set defines each. */
#ifndef HONE_KERNEL_SETS_H
#define HONE_KERNEL_SETS_H

#include "kernel/kernel.h"

extern const hone_kernels kernel_ref, kernel_avx2, kernel_avx512, kernel_amx;

#endif
