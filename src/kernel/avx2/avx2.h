/* avx2.h - the operations of the avx2 set by name, for its table. */
#ifndef HONE_KERNEL_AVX2_H
#define HONE_KERNEL_AVX2_H

#include "kernel/kernel.h"

bool avx2_can_run(void);

/* linear.c, linear_plain.c */
void avx2_act_lay(const hone_weight *w, const float *x, size_t ldx, uint32_t m, uint32_t m0, uint32_t m1, void *act);
void avx2_linear(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0, uint32_t n1);
void avx2_linear_int8(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0,
                      uint32_t n1);
void avx2_linear_plain(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0,
                       uint32_t n1);

/* backward.c */
size_t avx2_dx_scratch_bytes(const hone_weight *w, uint32_t m);
void avx2_linear_dx(const hone_weight *w, const float *dy, size_t lddy, uint32_t m, float *dx, size_t lddx, uint32_t k0,
                    uint32_t k1, bool add, void *scratch);

/* gemm.c */
void avx2_gemm_nt(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                  size_t ldb, float *c, size_t ldc, bool add);
void avx2_gemm_nn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                  size_t ldb, float *c, size_t ldc, bool add);
void avx2_gemm_tn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                  size_t ldb, float *c, size_t ldc, bool add);

/* rows.c */
void avx2_rms_norm(const float *x, size_t ldx, const float *weight, bool plus_one, float eps, uint32_t m, uint32_t d,
                   float *y, size_t ldy, float *inv_rms);
void avx2_layer_norm(const float *x, size_t ldx, const float *weight, const float *bias, bool plus_one, float eps,
                     uint32_t m, uint32_t d, float *y, size_t ldy, float *mean_inv);
void avx2_gated(hone_act act, const float *gate, const float *up, size_t n, float *out);
void avx2_add(float *y, const float *x, size_t n);
void avx2_axpy(float *y, float a, const float *x, size_t n);
float avx2_dot(const float *a, const float *b, size_t n);
void avx2_softcap(float *x, float cap, size_t n);
float avx2_log_sum_exp(const float *x, size_t n);
void avx2_exp_shift(const float *x, float shift, size_t n, float *y);
void avx2_rope(float *head, uint32_t rot, bool half, const float *cos, const float *sin);

/* attention.c */
size_t avx2_kv_page_bytes(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim);
void avx2_kv_store(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim, void *page, uint32_t slot, const float *k,
                   const float *v);
void avx2_attention(const hone_attention *a, uint32_t row0, uint32_t row1, uint32_t g0, uint32_t g1, void *scratch);
size_t avx2_attention_scratch_bytes(const hone_attention *a);

#endif
