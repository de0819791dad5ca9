/* peak.h - loops that only a limit stops: for probe.c, one implementation per set. */
#ifndef HONE_KERNEL_PEAK_H
#define HONE_KERNEL_PEAK_H

#include <stddef.h>
#include <stdint.h>

typedef enum { PEAK_READ, PEAK_F32, PEAK_BF16, PEAK_INT8, PEAK_COUNT } peak_kind;

/* Runs `rounds` of the loop, or reads `bytes` at p once; returns operations (or bytes) done, 0 when the set has no such
 * unit. */
double ref_peak(peak_kind kind, const void *p, size_t bytes, uint32_t rounds);
double avx2_peak(peak_kind kind, const void *p, size_t bytes, uint32_t rounds);
double avx512_peak(peak_kind kind, const void *p, size_t bytes, uint32_t rounds);
double amx_peak(peak_kind kind, const void *p, size_t bytes, uint32_t rounds);

#endif
