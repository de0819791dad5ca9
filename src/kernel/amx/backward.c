/* backward.c - dx = dy W on AMX tiles, serving precision; f32 precision is avx512's.
 *
 * The walk, the scratch and the widened strip are those of avx512/backward.c.  A chunk of TILE_SUM_CHUNK outputs is
 * summed from zero in tiles of 32 outputs, then added to dx. */
#include <immintrin.h>

#include "kernel/amx/amx.h"
#include "kernel/amx/register.h"
#include "kernel/avx512/avx512.h"
#include "kernel/avx512/math.h"
#include "kernel/tile.h"

enum { CHUNK = TILE_SUM_CHUNK, STRIP_ROW_BYTES = 128 };

/* 16 rows of dy (bf16 [16][CHUNK]) against 16 columns of the strip. */
static void tile_of_dx(const uint8_t *dy, const uint8_t *strip, uint32_t len, uint32_t rows, bool add, float *dx,
                       size_t lddx, __mmask16 mask) {
    float part[16 * 16] __attribute__((aligned(64)));
    _tile_zero(0);
    for (uint32_t n = 0; n < len; n += 32) {
        AMX_BARRIER();
        _tile_loadd(1, dy + 2 * n, CHUNK * 2);
        _tile_loadd(2, strip + (size_t)(n / 2) * STRIP_ROW_BYTES, STRIP_ROW_BYTES);
        _tile_dpbf16ps(0, 1, 2);
    }
    _tile_stored(0, part, 64);
    AMX_BARRIER();
    for (uint32_t r = 0; r < rows; r++) {
        float *out = dx + lddx * r;
        __m512 v = _mm512_load_ps(part + 16 * r);
        if (add) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), v);
        _mm512_mask_storeu_ps(out, mask, v);
    }
}

void amx_linear_dx(const hone_weight *w, const float *dy, size_t lddy, uint32_t m, float *dx, size_t lddx, uint32_t k0,
                   uint32_t k1, bool add, void *scratch) {
    if (w->precision != HONE_PRECISION_SERVING) {
        avx512_linear_dx(w, dy, lddy, m, dx, lddx, k0, k1, add, scratch);
        return;
    }
    uint8_t *strip = avx512_dx_strip(scratch), *pairs = avx512_dx_rows(scratch);
    for (uint32_t i0 = 0; i0 < m; i0 += AVX512_DX_ROWS) {
        const uint32_t rows = m - i0 < AVX512_DX_ROWS ? m - i0 : AVX512_DX_ROWS;
        amx_configure(rows < TILE_ROWS ? rows : TILE_ROWS, 64);
        for (uint32_t n = 0; n < w->n; n += CHUNK) {
            const uint32_t len = w->n - n < CHUNK ? w->n - n : CHUNK;
            avx512_dx_round(dy + lddy * i0 + n, lddy, rows, len, pairs);
            for (uint32_t k = k0; k < k1; k += TILE_K) {
                avx512_dx_widen(w, n, len, k / TILE_K, strip);
                for (uint32_t h = 0; h < TILE_K && k + h < k1; h += 16)
                    for (uint32_t i = 0; i < rows; i += TILE_ROWS) /* scratch holds whole tiles of rows */
                        tile_of_dx(pairs + (size_t)i * CHUNK * 2, strip + 4 * h, len,
                                   rows - i < TILE_ROWS ? rows - i : TILE_ROWS, add || n > 0,
                                   dx + lddx * (i0 + i) + k + h, lddx, first(k1 - k - h));
            }
        }
        _tile_release();
    }
}
