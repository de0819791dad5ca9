/* amx_plain.h - AMX tile registers in plain C, put before src/kernel/amx so that its logic (shapes, strides, signs,
 * order) is tested on machines without AMX.  Every access is checked against the configuration as the processor does
 * it. */
#ifndef HONE_TEST_AMX_PLAIN_H
#define HONE_TEST_AMX_PLAIN_H

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern struct amx_plain {
    uint8_t configured, rows[8], data[8][16][64];
    uint16_t row_bytes[8];
} amx_plain;

static inline void amx_plain_need(int holds) {
    if (!holds) abort(); /* what raises #UD or #GP */
}
static inline void amx_plain_config(const void *config) {
    const uint8_t *p = config;
    amx_plain_need(p[0] == 1 && p[1] == 0);
    for (int t = 0; t < 8; t++) {
        memcpy(&amx_plain.row_bytes[t], p + 16 + 2 * t, 2);
        amx_plain.rows[t] = p[48 + t];
        amx_plain_need(amx_plain.row_bytes[t] <= 64 && amx_plain.rows[t] <= 16);
    }
    amx_plain.configured = 1;
}
static inline void amx_plain_load(int t, const void *from, size_t stride) {
    amx_plain_need(amx_plain.configured && amx_plain.rows[t]);
    memset(amx_plain.data[t], 0, sizeof(amx_plain.data[t]));
    for (int r = 0; r < amx_plain.rows[t]; r++)
        memcpy(amx_plain.data[t][r], (const uint8_t *)from + stride * (size_t)r, amx_plain.row_bytes[t]);
}
static inline void amx_plain_store(int t, void *to, size_t stride) {
    amx_plain_need(amx_plain.configured && amx_plain.rows[t]);
    for (int r = 0; r < amx_plain.rows[t]; r++)
        memcpy((uint8_t *)to + stride * (size_t)r, amx_plain.data[t][r], amx_plain.row_bytes[t]);
}
static inline void amx_plain_shapes(int c, int a, int b) {
    amx_plain_need(amx_plain.configured && amx_plain.rows[c] == amx_plain.rows[a]);
    amx_plain_need(amx_plain.row_bytes[c] == amx_plain.row_bytes[b]);
    amx_plain_need(amx_plain.row_bytes[a] == 4 * amx_plain.rows[b]);
}
static inline void amx_plain_dpbsud(int c, int a, int b) {
    amx_plain_shapes(c, a, b);
    for (int m = 0; m < amx_plain.rows[c]; m++)
        for (int n = 0; n < amx_plain.row_bytes[c] / 4; n++) {
            int32_t sum;
            memcpy(&sum, &amx_plain.data[c][m][4 * n], 4);
            for (int k = 0; k < amx_plain.row_bytes[a]; k++)
                sum += (int8_t)amx_plain.data[a][m][k] * (int32_t)amx_plain.data[b][k / 4][4 * n + k % 4];
            memcpy(&amx_plain.data[c][m][4 * n], &sum, 4);
        }
}
static inline float amx_plain_bf16(const uint8_t *p) {
    const uint32_t u = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline void amx_plain_dpbf16ps(int c, int a, int b) {
    amx_plain_shapes(c, a, b);
    for (int m = 0; m < amx_plain.rows[c]; m++)
        for (int n = 0; n < amx_plain.row_bytes[c] / 4; n++) {
            float sum;
            memcpy(&sum, &amx_plain.data[c][m][4 * n], 4);
            for (int k = 0; k < amx_plain.row_bytes[a] / 2; k++)
                sum += amx_plain_bf16(&amx_plain.data[a][m][2 * k]) *
                       amx_plain_bf16(&amx_plain.data[b][k / 2][4 * n + 2 * (k % 2)]);
            memcpy(&amx_plain.data[c][m][4 * n], &sum, 4);
        }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbsud
#undef _tile_dpbf16ps
#define _tile_loadconfig(p) amx_plain_config(p)
#define _tile_release() (void)(amx_plain.configured = 0)
#define _tile_loadd(t, p, stride) amx_plain_load(t, p, stride)
#define _tile_stored(t, p, stride) amx_plain_store(t, p, stride)
#define _tile_zero(t) memset(amx_plain.data[t], 0, sizeof(amx_plain.data[t]))
#define _tile_dpbsud(c, a, b) amx_plain_dpbsud(c, a, b)
#define _tile_dpbf16ps(c, a, b) amx_plain_dpbf16ps(c, a, b)

#endif
