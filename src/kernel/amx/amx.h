/* amx.h - what the amx set does itself, and the tile registers as it uses them; the rest of its table is avx512's. */
#ifndef HONE_KERNEL_AMX_H
#define HONE_KERNEL_AMX_H

#include "kernel/kernel.h"

void amx_linear(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0, uint32_t n1);
void amx_linear_dx(const hone_weight *w, const float *dy, size_t lddy, uint32_t m, float *dx, size_t lddx, uint32_t k0,
                   uint32_t k1, bool add, void *scratch);

#endif
