/* sample.h - numbers and stored weights that look like a model's and repeat, for the self-check and the probes. */
#ifndef HONE_KERNEL_SAMPLE_H
#define HONE_KERNEL_SAMPLE_H

#include <string.h>

#include "kernel/dtype.h"

static inline uint32_t kernel_sample_bits(uint64_t *state) { /* Knuth's MMIX line, high half */
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}
static inline float kernel_sample(uint64_t *state) { /* -1 .. 1 */
    return (float)(int32_t)kernel_sample_bits(state) * 0x1p-31f;
}

static inline void kernel_sample_half(uint8_t *p, float v) {
    const uint16_t h = hone_f16_round(v);
    memcpy(p, &h, 2);
}

/* k weights in t's blocks: random integers under finite scales; about unit size. */
static inline void kernel_sample_row(hone_dtype t, uint32_t k, uint64_t *state, uint8_t *row) {
    const uint32_t bytes = hone_dtype_block_bytes(t);
    for (uint32_t b = 0; b < k / hone_dtype_block(t); b++, row += bytes) {
        for (uint32_t i = 0; i < bytes; i++) row[i] = (uint8_t)kernel_sample_bits(state);
        const float v = kernel_sample(state);
        switch (t) {
        case HONE_F32: memcpy(row, &v, 4); break;
        case HONE_F16: kernel_sample_half(row, v); break;
        case HONE_BF16: {
            const uint16_t h = hone_bf16_round(v);
            memcpy(row, &h, 2);
            break;
        }
        case HONE_Q6_K: kernel_sample_half(row + 208, v * 0.0005f); break;
        case HONE_Q2_K:
            kernel_sample_half(row + 80, v * 0.02f);
            kernel_sample_half(row + 82, -v * 0.02f);
            break;
        case HONE_Q3_K: kernel_sample_half(row + 108, v * 0.01f); break;
        case HONE_IQ4_XS: kernel_sample_half(row, v * 0.0005f); break;
        case HONE_MXFP4: row[0] = (uint8_t)(120u + row[0] % 4u); break;
        case HONE_FP4_16: {
            const float scale[2] = {v * 0.1f, v * -0.05f};
            memcpy(row, scale, sizeof(scale));
            break;
        }
        case HONE_Q4_1:
        case HONE_Q5_1:
            kernel_sample_half(row, v * 0.05f);
            kernel_sample_half(row + 2, -v);
            break;
        case HONE_Q4_K:
        case HONE_Q5_K:
            kernel_sample_half(row, v * 0.002f);
            kernel_sample_half(row + 2, v * 0.02f);
            break;
        default: kernel_sample_half(row, v * 0.02f); break;
        }
    }
}

#endif
