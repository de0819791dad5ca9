/* ref.h - the plain operations, by name, for the table in ref.c and for sets that borrow what is not hot. */
#ifndef HONE_KERNEL_REF_H
#define HONE_KERNEL_REF_H

#include "kernel/kernel.h"

bool ref_can_run(void);
size_t ref_weight_bytes(hone_dtype t, hone_precision p, uint32_t n, uint32_t k);
hone_status ref_weight_lay(const hone_weight *w, void *data, const void *const *rows, uint32_t n0, uint32_t n1,
                           hone_error *err);
void ref_weight_row(const hone_weight *w, uint32_t row, float *out);
uint32_t ref_act_kind(const hone_weight *w);
size_t ref_act_bytes(const hone_weight *w, uint32_t m);
void ref_act_lay(const hone_weight *w, const float *x, size_t ldx, uint32_t m, uint32_t m0, uint32_t m1, void *act);
void ref_linear(const hone_weight *w, const void *act, uint32_t m, float *y, size_t ldy, uint32_t n0, uint32_t n1);
size_t ref_dx_scratch_bytes(const hone_weight *w, uint32_t m);
void ref_linear_dx(const hone_weight *w, const float *dy, size_t lddy, uint32_t m, float *dx, size_t lddx, uint32_t k0,
                   uint32_t k1, bool add, void *scratch);
void ref_gemm_nt(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                 size_t ldb, float *c, size_t ldc, bool add);
void ref_gemm_nn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                 size_t ldb, float *c, size_t ldc, bool add);
void ref_gemm_tn(uint32_t m, uint32_t n, uint32_t k, float alpha, const float *a, size_t lda, const float *b,
                 size_t ldb, float *c, size_t ldc, bool add);

void ref_rms_norm(const float *x, size_t ldx, const float *weight, bool plus_one, float eps, uint32_t m, uint32_t d,
                  float *y, size_t ldy, float *inv_rms);
void ref_layer_norm(const float *x, size_t ldx, const float *weight, const float *bias, bool plus_one, float eps,
                    uint32_t m, uint32_t d, float *y, size_t ldy, float *mean_inv);
void ref_gated(hone_act act, const float *gate, const float *up, size_t n, float *out);
void ref_add(float *y, const float *x, size_t n);
void ref_axpy(float *y, float a, const float *x, size_t n);
float ref_dot(const float *a, const float *b, size_t n);
void ref_softcap(float *x, float cap, size_t n);
float ref_log_sum_exp(const float *x, size_t n);
void ref_exp_shift(const float *x, float shift, size_t n, float *y);
void ref_rope(float *head, uint32_t rot, bool half, const float *cos, const float *sin);

size_t ref_kv_page_bytes(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim);
void ref_kv_store(hone_kv_type t, uint32_t n_kv_head, uint32_t head_dim, void *page, uint32_t slot, const float *k,
                  const float *v);
void ref_attention(const hone_attention *a, uint32_t row0, uint32_t row1, uint32_t g0, uint32_t g1, void *scratch);
size_t ref_attention_scratch_bytes(const hone_attention *a);

#endif
