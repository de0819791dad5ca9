/* kernel.h - arithmetic on blocks of numbers: one table of operations, filled by ref, avx2, avx512 and amx.
 *
 * The arithmetic contract: an output element is a sum over K (or over positions) in one order that depends on the
 * weight format, K and the set, and on nothing else - not on m, on the range asked for, on the thread, or on the other
 * rows. Every operation below keeps it; tests/kernel proves it as bits.
 *
 * Threads: operations are pure; callers split work by ranges (n0..n1, k0..k1, rows) and may run ranges at the same
 * time. None allocates.  Rows of x, y may have any stride (ld, in elements) and need no alignment.
 *
 * Letters: m rows, n outputs, k inputs, r rank, D model width, H query heads, G key/value heads, E head width. */
#ifndef HONE_KERNEL_H
#define HONE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"
#include "kernel/dtype.h"

typedef enum {
    HONE_PRECISION_SERVING, /* the set's own arithmetic for the format: int8 or bf16 activations, f32 sums */
    HONE_PRECISION_F32      /* weights widened as stored, f32 activations and sums */
} hone_precision;

/* One weight matrix W[n, k] re-laid for a set.  The layout is the set's own; only its operations read it. */
typedef struct {
    hone_dtype dtype; /* as stored in the file */
    hone_precision precision;
    uint32_t n, k;    /* outputs, inputs */
    size_t bytes;     /* of data */
    const void *data; /* 64-byte aligned; borrowed from the model's tiles */
} hone_weight;

/* n is cut into panels of this many outputs in every set; ranges n0..n1 begin at a multiple of it. */
#define HONE_PANEL 16u

typedef enum { HONE_ACT_SILU, HONE_ACT_GELU_TANH, HONE_ACT_GELU_ERF, HONE_ACT_RELU, HONE_ACT_RELU2 } hone_act;

/* Keys and values of one layer in one page of HONE_KV_PAGE positions, in the set's own layout.  INT8: each key and each
 * value of a head has a scale, max|x| / 127; the integers are exact in bf16, so the products are those of BF16 pages.
 */
#define HONE_KV_PAGE 32u
typedef enum { HONE_KV_BF16, HONE_KV_F32, HONE_KV_INT8, HONE_KV_TYPE_COUNT } hone_kv_type;
const char *hone_kv_type_name(hone_kv_type t); /* "bf16", "f32", "int8" */

/* Attention of m query rows against paged keys and values.  Row i has position pos[i] in its sequence and sees
 * positions from max(0, pos[i] - window + 1) (window 0: from 0) to pos[i], whose keys are stored already.  One pass
 * over pages in order of position with a running maximum and sum (Milakov and Gimelshein, 2018; Dao et al., 2022), page
 * by page, so that the result of a row does not depend on the chunking of the prompt. */
typedef struct {
    const float *q; /* [m, H, E], row stride ldq */
    size_t ldq;
    float *out; /* [m, H, E], row stride ldo */
    size_t ldo;
    uint32_t m, n_head, n_kv_head, head_dim;
    const uint32_t *pos;                /* [m] */
    const uint8_t *const *const *pages; /* [m][..]: for row i, the page table of its sequence for this layer */
    hone_kv_type kv_type;
    uint32_t window; /* 0: all earlier positions */
    float scale;     /* scores are multiplied by it */
    float softcap;   /* 0: none; else cap * tanh(score / cap) after scale */
    float *lse;      /* [m, H] log of the sum of exponentials, for backward; NULL when not wanted */
} hone_attention;

typedef struct hone_kernels {
    const char *name; /* "ref", "avx2", "avx512", "amx" */
    bool (*can_run)(void);

    /* Weights.  weight_bytes is 0 when (n, k) overflows.  weight_lay fills panels n0..n1 of data from rows, the stored
     * rows n0..n1 (row i at rows[i - n0]); it refuses weights that are not finite with HONE_ERR_FORMAT. */
    size_t (*weight_bytes)(hone_dtype t, hone_precision p, uint32_t n, uint32_t k);
    hone_status (*weight_lay)(const hone_weight *w, void *data, const void *const *rows, uint32_t n0, uint32_t n1,
                              hone_error *err);
    void (*weight_row)(const hone_weight *w, uint32_t row, float *out); /* out[k], the exact widened values */

    /* Activations: x rows in the form that `linear` with this weight wants.  Weights of equal act_kind and k share it.
     */
    uint32_t (*act_kind)(const hone_weight *w);
    size_t (*act_bytes)(const hone_weight *w,
                        uint32_t m); /* for m rows; grows with m; multiples of HONE_PANEL rows are whole */
    void (*act_lay)(const hone_weight *w, const float *x, size_t ldx, uint32_t m, uint32_t m0, uint32_t m1,
                    void *act); /* rows m0..m1 of m; x is row 0; m0 is a multiple of HONE_PANEL */

    /* y[m, n0..n1] = x W^T.  y points at column 0. */
    void (*linear)(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0, uint32_t n1);

    /* dx[m, k0..k1] (+)= dy[m, n] W.  k0 is a multiple of 64.  scratch: dx_scratch_bytes(w, m) per thread. */
    size_t (*dx_scratch_bytes)(const hone_weight *w, uint32_t m);
    void (*linear_dx)(const hone_weight *w, const float *dy, size_t lddy, uint32_t m, float *dx, size_t lddx,
                      uint32_t k0, uint32_t k1, bool add, void *scratch);

    /* Plain f32 products, for adapters.  c (+)= alpha * ...; sums over the inner length in fixed order.
     * nt: c[m,n] = a[m,k] b[n,k]^T    nn: c[m,n] = a[m,k] b[k,n]    tn: c[m,n] = a[k,m]^T b[k,n]
     * tn goes through k one by one, from c where add is set and 0 otherwise: c = fma(alpha * a, b, c).  Gradients are
     * summed with it, and so have the same bits however the rows were cut into micro-batches. */
    void (*gemm_nt)(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc, bool add);
    void (*gemm_nn)(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc, bool add);
    void (*gemm_tn)(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc, bool add);

    /* The same for adapters laid for serving; both NULL where a set has none of its own (engine/linear.c then uses gemm_nt
     * and gemm_nn on floats, with the same bits).  t: F32, or F16 or BF16, widened exactly.  r up to 256.
     * down: ax[m, r] = x[m, k] a[r, k]^T, the bits of gemm_nt.
     * up:   y[m, n] = fma(scale, ax b^T, y), b in panels [n / HONE_PANEL, r, HONE_PANEL], each sum a chain over r. */
    void (*lora_down)(uint32_t m, uint32_t r, uint32_t k, const float *x, size_t ldx, hone_dtype t, const void *a,
                      float *ax, size_t ldax);
    void (*lora_up)(uint32_t m, uint32_t n, uint32_t r, float scale, const float *ax, size_t ldax, hone_dtype t,
                    const void *b, float *y, size_t ldy);

    /* Rows of width d.  weight may be NULL (all ones); plus_one: the factor is 1 + weight.  inv_rms (may be NULL) gets
     * 1 / sqrt(mean(x^2) + eps) of each row for backward. */
    void (*rms_norm)(const float *x, size_t ldx, const float *weight, bool plus_one, float eps, uint32_t m, uint32_t d,
                     float *y, size_t ldy, float *inv_rms);
    void (*layer_norm)(const float *x, size_t ldx, const float *weight, const float *bias, bool plus_one, float eps,
                       uint32_t m, uint32_t d, float *y, size_t ldy, float *mean_inv);
    void (*gated)(hone_act act, const float *gate, const float *up, size_t n,
                  float *out);                                 /* out = act(gate) * up; up NULL: act(gate) */
    void (*add)(float *y, const float *x, size_t n);           /* y += x */
    void (*axpy)(float *y, float a, const float *x, size_t n); /* y = fma(a, x, y) */
    float (*dot)(const float *a, const float *b, size_t n);
    void (*softcap)(float *x, float cap, size_t n);                     /* x = cap * tanh(x / cap) */
    float (*log_sum_exp)(const float *x, size_t n);                     /* in one fixed order */
    void (*exp_shift)(const float *x, float shift, size_t n, float *y); /* y = exp(x - shift) */

    /* Rotary position of one head row: rot dimensions from the front.  half: pairs (i, i + rot/2), as GPT-NeoX and HF
     * Llama; otherwise pairs (2i, 2i + 1).  cos, sin: [rot / 2]. */
    void (*rope)(float *head, uint32_t rot, bool half, const float *cos, const float *sin);

    /* Pages, 64-byte aligned.  A sequence fills a page from slot 0 on, and the store of slot 0 clears the page (unseen
     * slots must be finite: they are multiplied by 0), so one task at a time stores into a page, in order. */
    size_t (*kv_page_bytes)(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim);
    void (*kv_store)(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim, void *page, uint32_t slot, const float *k,
                     const float *v); /* k, v: [G, E] */
    void (*attention)(const hone_attention *a, uint32_t row0, uint32_t row1, uint32_t g0, uint32_t g1,
                      void *scratch);                           /* rows and kv heads */
    size_t (*attention_scratch_bytes)(const hone_attention *a); /* per thread */
} hone_kernels;

/* The best set that this machine can run and that agrees with ref on a small product of its own at first use; a set
 * that does not is passed over with a warning.  HONE_KERNELS=ref|avx2|avx512|amx in the environment names one. */
const hone_kernels *hone_kernels_best(void);
const hone_kernels *hone_kernels_find(const char *name); /* NULL: unknown, or this machine cannot run it */
const hone_kernels *const *hone_kernels_all(void);       /* every set in the build, NULL at the end */

#endif
