/* random.h - counter-based randomness: a pure function of its coordinates, never a stream.
 *
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).  The same coordinates give the
 * same bits on every machine, whatever was drawn before: what makes resume, replay and batching exact. */
#ifndef HONE_RANDOM_H
#define HONE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Four 32-bit words for (seed, a, b, c). */
void hone_random_block(uint64_t seed, uint32_t a, uint32_t b, uint64_t c, uint32_t out[4]);

/* One number in [0, 1), a multiple of 2^-24 (exact in float). */
float hone_random_unit(uint64_t seed, uint32_t a, uint32_t b, uint64_t c);

/* One number in [0, 1), a multiple of 2^-53. */
double hone_random_unit_f64(uint64_t seed, uint32_t a, uint32_t b, uint64_t c);

/* Bytes that nobody can guess, for ids: from the kernel, 256 at a time, as each draw is a system call.  Not for
 * secrets, which should lie nowhere else.  Any thread. */
void hone_random_id_bytes(void *out, size_t n);

#endif
