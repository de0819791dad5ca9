/* avx512.h - the operations of the avx512 set by name, for its table and for amx, which borrows most of them. */
#ifndef HONE_KERNEL_AVX512_H
#define HONE_KERNEL_AVX512_H

#include "kernel/kernel.h"

bool avx512_can_run(void);

/* linear.c, linear_plain.c */
void avx512_act_lay(const hone_weight *w, const float *x, size_t ldx, uint32_t m, uint32_t m0, uint32_t m1, void *act);
void avx512_linear(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0, uint32_t n1);
void avx512_linear_int8(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0,
                        uint32_t n1);
void avx512_linear_plain(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0,
                         uint32_t n1);

/* backward.c */
size_t avx512_dx_scratch_bytes(const hone_weight *w, uint32_t m);
void avx512_linear_dx(const hone_weight *w, const float *dy, size_t lddy, uint32_t m, float *dx, size_t lddx,
                      uint32_t k0, uint32_t k1, bool add, void *scratch);

/* Its parts, for amx: scratch holds the strip of widened weights, bf16 pairs of outputs [128][32 inputs][2], and then
 * whole tiles of 16 rows of dy, bf16 [AVX512_DX_ROWS][256].  Both are 0 from len up to a multiple of 32 outputs. */
enum { AVX512_DX_ROWS = 512 };
uint8_t *avx512_dx_strip(void *scratch);
uint8_t *avx512_dx_rows(void *scratch);
void avx512_dx_widen(const hone_weight *w, uint32_t n, uint32_t len, uint32_t step, uint8_t *strip);
void avx512_dx_round(const float *dy, size_t lddy, uint32_t m, uint32_t len, uint8_t *to);

/* gemm.c */
void avx512_gemm_nt(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc, bool add);
void avx512_lora_down(uint32_t m, uint32_t r, uint32_t k, const float *x, size_t ldx, hone_dtype t, const void *a,
                      float *ax, size_t ldax);
void avx512_lora_up(uint32_t m, uint32_t n, uint32_t r, float scale, const float *ax, size_t ldax, hone_dtype t,
                    const void *b, float *y, size_t ldy);
void avx512_gemm_nn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc, bool add);
void avx512_gemm_tn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc, bool add);

/* rows.c */
void avx512_rms_norm(const float *x, size_t ldx, const float *weight, bool plus_one, float eps, uint32_t m, uint32_t d,
                     float *y, size_t ldy, float *inv_rms);
void avx512_layer_norm(const float *x, size_t ldx, const float *weight, const float *bias, bool plus_one, float eps,
                       uint32_t m, uint32_t d, float *y, size_t ldy, float *mean_inv);
void avx512_gated(hone_act act, const float *gate, const float *up, size_t n, float *out);
void avx512_add(float *y, const float *x, size_t n);
void avx512_axpy(float *y, float a, const float *x, size_t n);
float avx512_dot(const float *a, const float *b, size_t n);
void avx512_softcap(float *x, float cap, size_t n);
float avx512_log_sum_exp(const float *x, size_t n);
void avx512_exp_shift(const float *x, float shift, size_t n, float *y);
void avx512_rope(float *head, uint32_t rot, bool half, const float *cos, const float *sin);

/* attention.c */
size_t avx512_kv_page_bytes(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim);
void avx512_kv_store(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim, void *page, uint32_t slot, const float *k,
                     const float *v);
void avx512_attention(const hone_attention *a, uint32_t row0, uint32_t row1, uint32_t g0, uint32_t g1, void *scratch);
size_t avx512_attention_scratch_bytes(const hone_attention *a);

#endif
