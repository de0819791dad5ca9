/* tile.h - what is known of a tile file before it is mapped: its kernel set, and whether it is still good for it.
 *
 * Writing and mapping are in model.h; the format stands at the top of tile.c. */
#ifndef HONE_TILE_H
#define HONE_TILE_H

#include "kernel/kernel.h"

/* A number that changes whenever a set lays any weight differently: tile files carry it.  0 without memory. */
uint64_t hone_tile_fingerprint(const hone_kernels *kernels, hone_precision precision);

#endif
