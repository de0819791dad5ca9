/* quant.h - what the sets share about quantised formats: one view of a block of 32 weights for all of them.
 *
 * w = scale * (v - offset) + minimum, v unsigned: the stored code itself or, in formats with a table, what the table
 * has for it.  offset belongs to the format (0 where it stores a minimum), so that the product of integers can take it
 * out exactly; a scale covers 32 weights, in some formats 16. */
#ifndef HONE_KERNEL_QUANT_H
#define HONE_KERNEL_QUANT_H

#include <math.h>

#include "kernel/dtype.h"

typedef struct {
    uint8_t q[32];              /* codes */
    float scale[2], minimum[2]; /* of weights 0..15 and 16..31 */
} kernel_quant;

/* Block `index` (of 32 weights) of one stored row; t is a quantised format. */
void kernel_quant_block(hone_dtype t, const void *row, uint32_t index, kernel_quant *b);

static inline bool kernel_quantised(hone_dtype t) {
    return t >= HONE_Q4_0;
}

static inline int32_t kernel_quant_offset(hone_dtype t) {
    switch (t) {
    case HONE_Q3_K: return 4;
    case HONE_Q4_0: return 8;
    case HONE_Q5_0:
    case HONE_MXFP4:
    case HONE_FP4_16: return 16;
    case HONE_Q6_K: return 32;
    case HONE_Q8_0:
    case HONE_IQ4_NL:
    case HONE_IQ4_XS: return 128;
    default: return 0;
    }
}

static inline bool kernel_quant_has_minimum(hone_dtype t) {
    return t == HONE_Q4_1 || t == HONE_Q5_1 || t == HONE_Q4_K || t == HONE_Q5_K || t == HONE_Q2_K;
}

/* A scale (and minimum) covers 16 weights. */
static inline bool kernel_quant_pairs(hone_dtype t) {
    return t == HONE_Q6_K || t == HONE_Q2_K || t == HONE_Q3_K || t == HONE_FP4_16;
}

/* What a code of 4 bits stands for, plus the offset: ggml's kvalues of IQ4_NL, and OCP's e2m1 doubled. */
extern const uint8_t kernel_table_iq4[16], kernel_table_fp4[16];

static inline const uint8_t *kernel_quant_table(hone_dtype t) { /* NULL: the code itself */
    return t == HONE_IQ4_NL || t == HONE_IQ4_XS  ? kernel_table_iq4
           : t == HONE_MXFP4 || t == HONE_FP4_16 ? kernel_table_fp4
                                                 : NULL;
}

/* One block of 64 NVFP4 weights as two of FP4_16; a scale that is NaN stays NaN. */
void kernel_fp4_from_nvfp4(const uint8_t *block, float tensor_scale, uint8_t out[48]);

static inline void kernel_quant_widen(hone_dtype t, const kernel_quant *b, float out[32]) {
    const int32_t offset = kernel_quant_offset(t);
    const bool has_minimum = kernel_quant_has_minimum(t);
    const uint8_t *table = kernel_quant_table(t);
    for (uint32_t i = 0; i < 32; i++) {
        out[i] = b->scale[i / 16] * (float)((int32_t)(table ? table[b->q[i]] : b->q[i]) - offset);
        if (has_minimum) out[i] += b->minimum[i / 16]; /* adding 0 would turn -0 into 0 */
    }
}

/* Activations as the int8 products want them: per row and block of 32, scale = max|x| / 127, q = round to nearest even.
 * A block that holds NaN or infinity gets a NaN scale, so that it shows in every output; one too small for 127 / max
 * to be finite counts as zero. */
static inline float kernel_quantise_scale(float largest, float *inverse) {
    if (!(largest <= 3.4028235e38f)) {
        *inverse = 0.0f;
        return NAN;
    }
    *inverse = largest < 0x1p-110f ? 0.0f : 127.0f / largest;
    return largest < 0x1p-110f ? 0.0f : largest / 127.0f;
}

/* Where one input of a row is many times the rest, its block's step is too wide for the others, and the product's noise
 * is mostly that of such blocks.  A block whose largest input is over twice the mean of all blocks' largest is coarse:
 * what its integers left over is kept in a second set of integers, in 254ths of the step, and multiplied as well.  The
 * mean is summed in order of K, so that all sets agree; it is no number where an input is none, and nothing is coarse
 * then. */
#define KERNEL_FINE_STEPS 254.0f

static inline float kernel_coarse_limit(float sum_of_largest, uint32_t n_block) {
    return 2.0f * (sum_of_largest / (float)n_block);
}

#endif
