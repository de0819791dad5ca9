/* peak.c - limits of AMX: products of full tiles already loaded; memory and f32 are avx512's. */
#include <immintrin.h>

#include "kernel/amx/register.h"
#include "kernel/peak.h"

double amx_peak(peak_kind kind, const void *p, size_t bytes, uint32_t rounds) {
    if (kind == PEAK_READ || kind == PEAK_F32) return avx512_peak(kind, p, bytes, rounds);
    static const uint8_t zeros[16 * 64] __attribute__((aligned(64)));
    amx_configure(16, 64);
    AMX_BARRIER();
    _tile_zero(0);
    _tile_loadd(1, zeros, 64);
    _tile_loadd(2, zeros, 64);
    for (uint32_t r = 0; r < rounds; r++) {
        if (kind == PEAK_BF16)
            _tile_dpbf16ps(0, 1, 2);
        else
            _tile_dpbsud(0, 1, 2);
    }
    _tile_release();
    return (double)rounds * 16 * 16 * (kind == PEAK_BF16 ? 64.0 : 128.0);
}
