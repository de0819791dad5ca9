/* tile.h - the layout of weights and activations that avx2, avx512 and amx share.
 *
 * Weights: panels of 16 outputs, one after the other, each panel walking K in steps of 32 inputs (padded with zeros):
 *   TILE_F32   [32 k][16 n] f32            TILE_F16  [32 k][16 n] f16          TILE_BF16 [16 pairs of k][16 n][2] bf16
 *   TILE_U8    [8 j][16 n][4] u8: input 4j + t
 *   TILE_U4    [4 j][16 n][4] u8: low nibble input 4j + t, high nibble input 16 + 4j + t
 *   the last two are followed by scales [groups][16 n] and, where the format stores them, minima [groups][16 n]; f16
 *   where the file's are f16, so that they are exact, else f32 (products of two stored numbers, exact as well).
 * w = scale * (q - offset) + minimum; nibbles are codes where the format has a table (quant.h).  16 outputs are one
 * AVX-512 register or two AVX2 registers of int32, and a TILE_U8 step is half of an AMX tile.
 *
 * Activations: tiles of 16 rows, each tile walking K in the same steps of 32, so that a row is at a constant distance:
 *   ACT_F32    [2][16 rows][16 k] f32      ACT_BF16  [16 rows][32 k] bf16      ACT_INT8  act_block below
 * An ACT_INT8 tile goes on with the fine parts of coarse blocks (quant.h): act_block [n_step], zero for rows whose
 * block is not coarse and unset where no row's is, then which rows are, as bits: uint16_t [n_step]. */
#ifndef HONE_KERNEL_TILE_H
#define HONE_KERNEL_TILE_H

#include <string.h>

#include "kernel/kernel.h"
#include "kernel/quant.h"

enum { TILE_K = 32, TILE_ROWS = 16 };
/* Plain and bf16 sums over K (and over N in linear_dx) add chunks of this length, each summed from zero. */
enum { TILE_SUM_CHUNK = 256 };

typedef enum { TILE_F32, TILE_F16, TILE_BF16, TILE_U8, TILE_U4 } tile_kind;
typedef enum { ACT_F32, ACT_BF16, ACT_INT8 } act_kind;

/* What a set specialises its kernel of a format for; in the inlined bodies it is a constant. */
typedef struct {
    bool four_bits, half_scales, has_minimum, pairs; /* pairs: a scale covers 16 inputs */
    uint8_t offset_shift;                            /* offset = 1 << offset_shift; 0: none */
    hone_dtype table;                                /* whose table codes go through; HONE_F32: none */
} tile_format;

/*         dtype        name   4 bits  f16 scales  minimum  pairs  offset  table */
#define TILE_FORMATS(FORMAT)                                                                                           \
    FORMAT(HONE_Q4_0, q4_0, true, true, false, false, 3, HONE_F32)                                                     \
    FORMAT(HONE_Q4_1, q4_1, true, true, true, false, 0, HONE_F32)                                                      \
    FORMAT(HONE_Q5_0, q5_0, false, true, false, false, 4, HONE_F32)                                                    \
    FORMAT(HONE_Q5_1, q5_1, false, true, true, false, 0, HONE_F32)                                                     \
    FORMAT(HONE_Q8_0, q8_0, false, true, false, false, 7, HONE_F32)                                                    \
    FORMAT(HONE_Q4_K, q4_k, true, false, true, false, 0, HONE_F32)                                                     \
    FORMAT(HONE_Q5_K, q5_k, false, false, true, false, 0, HONE_F32)                                                    \
    FORMAT(HONE_Q6_K, q6_k, false, false, false, true, 5, HONE_F32)                                                    \
    FORMAT(HONE_Q2_K, q2_k, true, false, true, true, 0, HONE_F32)                                                      \
    FORMAT(HONE_Q3_K, q3_k, true, false, false, true, 2, HONE_F32)                                                     \
    FORMAT(HONE_IQ4_NL, iq4_nl, true, true, false, false, 7, HONE_IQ4_NL)                                              \
    FORMAT(HONE_IQ4_XS, iq4_xs, true, false, false, false, 7, HONE_IQ4_XS)                                             \
    FORMAT(HONE_MXFP4, mxfp4, true, false, false, false, 4, HONE_MXFP4)                                                \
    FORMAT(HONE_FP4_16, fp4_16, true, false, false, true, 4, HONE_FP4_16)
#define TILE_FORMAT_ENTRY(dtype, name, ...) [dtype] = name,          /* of a set's table of functions */
#define TILE_FORMAT_VALUE(dtype, name, ...) [dtype] = {__VA_ARGS__}, /* of a table of tile_format */

typedef struct {
    tile_kind kind;
    uint32_t groups;  /* scales per output and step: 1, or 2 where one covers 16 inputs */
    bool half_scales; /* scales and minima are f16 */
    bool has_minimum;
    uint32_t n_step;    /* of K */
    size_t q_bytes;     /* of the integers (or floats) of one step */
    size_t scale_bytes; /* of 16 scales or 16 minima */
    size_t step_bytes;
    size_t panel_bytes;
} tile_shape;

/* False: the sizes overflow, or k is no whole number of blocks. */
bool tile_shape_of(hone_dtype t, hone_precision p, uint32_t k, tile_shape *shape);

typedef struct {
    int8_t q[TILE_ROWS][TILE_K];
    float scale[TILE_ROWS];
    float scaled_sum[TILE_ROWS];      /* scale * sum of the 32 integers */
    int32_t minus_sum[TILE_ROWS];     /* -(sum of the 32 integers): times the format's offset it starts the sum */
    int32_t minus_low_sum[TILE_ROWS]; /* the same over inputs 0..15, for scales that cover 16 */
} act_block;

static inline act_kind tile_act_kind(const hone_weight *w) {
    if (w->precision == HONE_PRECISION_F32 || w->dtype == HONE_F32 || w->dtype == HONE_F16) return ACT_F32;
    return w->dtype == HONE_BF16 ? ACT_BF16 : ACT_INT8;
}

static inline size_t tile_act_step_bytes(act_kind kind) {
    return kind == ACT_F32 ? 2048u : kind == ACT_BF16 ? 1024u : sizeof(act_block);
}

static inline uint32_t tile_steps(uint32_t k) {
    return k / TILE_K + (k % TILE_K != 0);
}

static inline size_t tile_act_tile_bytes(act_kind kind, uint32_t n_step) {
    const size_t bytes = n_step * tile_act_step_bytes(kind);
    return kind == ACT_INT8 ? 2 * bytes + (n_step * sizeof(uint16_t) + 63) / 64 * 64 : bytes;
}

/* Rows of each step that have a fine part, in a tile of ACT_INT8. */
static inline uint16_t *tile_fine_rows(const act_block *tile, uint32_t n_step) {
    return (uint16_t *)(uintptr_t)(tile + 2 * (size_t)n_step);
}

/* The fine part of row r in this step, all of it zero when r is the first; rows of a tile are laid in order. */
static inline act_block *tile_fine_row(act_block *tile, uint32_t n_step, uint32_t step, uint32_t r) {
    uint16_t *rows = tile_fine_rows(tile, n_step) + step;
    act_block *fine = tile + n_step + step;
    if (*rows == 0) memset(fine, 0, sizeof(*fine));
    *rows = (uint16_t)(*rows | 1u << r);
    return fine;
}

/* Rows whose activations should stay in the second cache while panels pass by: whole tiles.  Few fine parts are read.
 */
static inline uint32_t tile_rows_at_once(size_t act_tile_bytes) {
    const size_t tiles = 393216u / act_tile_bytes;
    return TILE_ROWS * (uint32_t)(tiles < 2 ? 2 : tiles);
}

size_t tile_weight_bytes(hone_dtype t, hone_precision p, uint32_t n, uint32_t k);
hone_status tile_weight_lay(const hone_weight *w, void *data, const void *const *rows, uint32_t n0, uint32_t n1,
                            hone_error *err);
void tile_weight_row(const hone_weight *w, uint32_t row, float *out);
uint32_t tile_act_kind_of(const hone_weight *w);
size_t tile_act_bytes(const hone_weight *w, uint32_t m);

#endif
