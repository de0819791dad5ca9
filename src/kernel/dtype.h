/* dtype.h - the stored number formats of weight files, and their plain widening to f32.
 *
 * Block formats are those of ggml (GGUF specification, ggml-common.h of ggml-org/ggml): a row of K elements is K /
 * block blocks one after the other. */
#ifndef HONE_DTYPE_H
#define HONE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    HONE_F32,
    HONE_F16,
    HONE_BF16,
    HONE_Q4_0,
    HONE_Q4_1,
    HONE_Q5_0,
    HONE_Q5_1,
    HONE_Q8_0,
    HONE_Q4_K,
    HONE_Q5_K,
    HONE_Q6_K,
    HONE_Q2_K,
    HONE_Q3_K,
    HONE_IQ4_NL,
    HONE_IQ4_XS,
    HONE_MXFP4,
    HONE_FP4_16, /* NVFP4 as kernels have it: two f32 scales, the tensor's scale in them, and 32 codes; in no file */
    HONE_DTYPE_COUNT,
    /* Formats of files that laying turns into one of those above: kernels never see them. */
    HONE_NVFP4 = HONE_DTYPE_COUNT, /* ggml's block of 64: four e4m3 scales, 64 codes; lies as FP4_16 */
    HONE_F8_E4M3,                  /* safetensors' F8_E4M3; lies as BF16, in f32 precision as F32 */
    HONE_STORED_COUNT
} hone_dtype;

const char *hone_dtype_name(hone_dtype t);     /* "F32", "Q4_1", ... as GGUF files and `hone show` print it */
uint32_t hone_dtype_block(hone_dtype t);       /* elements of a block: 1, 32, 64 or 256 */
uint32_t hone_dtype_block_bytes(hone_dtype t); /* bytes of a block */
bool hone_dtype_row_bytes(hone_dtype t, uint64_t k,
                          size_t *bytes); /* false: k is no whole number of blocks, or overflow */

/* The reference widening, exact: out[k] from one stored row.  k must be a whole number of blocks. */
void hone_dtype_widen(hone_dtype t, const void *row, float *out, size_t k);

static inline float hone_bf16_widen(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)h << 16};
    return v.f;
}
/* Round to nearest even; NaN stays NaN. */
static inline uint16_t hone_bf16_round(float f) {
    union {
        float f;
        uint32_t u;
    } v = {.f = f};
    if ((v.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(v.u >> 16 | 0x40u);
    return (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1u)) >> 16);
}
float hone_f16_widen(uint16_t h);
/* OCP 8-bit floating point, e4m3 without infinities; 0x7f and 0xff are NaN. */
float hone_e4m3_widen(uint8_t v);
uint16_t hone_f16_round(float f);

#endif
