/* cpu.h - what this processor and its system offer to the sets.  Plain code: it runs where none of it exists. */
#ifndef HONE_KERNEL_CPU_H
#define HONE_KERNEL_CPU_H

#include <stdbool.h>

bool kernel_cpu_has_avx2(void);   /* AVX2, FMA, F16C, registers saved by the system */
bool kernel_cpu_has_avx512(void); /* the above and AVX-512 F, BW, VL, DQ, VNNI, BF16 */
bool kernel_cpu_has_amx(void);    /* the above and AMX-INT8, AMX-BF16; asks the system for its use by this process */

#endif
