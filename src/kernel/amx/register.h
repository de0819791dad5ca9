/* register.h - the tile registers as the amx set uses them. */
#ifndef HONE_KERNEL_AMX_REGISTER_H
#define HONE_KERNEL_AMX_REGISTER_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* gcc 12 knows neither that a tile load reads memory nor that a tile store writes it: without a barrier it drops or
 * moves the ordinary stores before the one and the ordinary loads after the other. */
#define AMX_BARRIER() __asm__ volatile("" ::: "memory")

/* Registers: C (tmm0) `rows` x 16 words, A (tmm1) `rows` x `bytes`, B (tmm2) `bytes` / 4 x 16 words. */
static inline void amx_configure(uint32_t rows, uint32_t bytes) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config __attribute__((aligned(64)));
    memset(&config, 0, sizeof(config));
    config.palette = 1;
    config.rows[0] = config.rows[1] = (uint8_t)rows;
    config.rows[2] = (uint8_t)(bytes / 4);
    config.row_bytes[0] = config.row_bytes[2] = 64;
    config.row_bytes[1] = (uint16_t)bytes;
    AMX_BARRIER();
    _tile_loadconfig(&config);
}

#endif
