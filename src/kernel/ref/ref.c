/* ref.c - the plain set: every operation in portable C, kept for ever; the other sets are compared with it. */
#include "kernel/ref/ref.h"

#include "kernel/sets.h"

const hone_kernels kernel_ref = {
    .name = "ref",
    .can_run = ref_can_run,
    .weight_bytes = ref_weight_bytes,
    .weight_lay = ref_weight_lay,
    .weight_row = ref_weight_row,
    .act_kind = ref_act_kind,
    .act_bytes = ref_act_bytes,
    .act_lay = ref_act_lay,
    .linear = ref_linear,
    .dx_scratch_bytes = ref_dx_scratch_bytes,
    .linear_dx = ref_linear_dx,
    .gemm_nt = ref_gemm_nt,
    .gemm_nn = ref_gemm_nn,
    .gemm_tn = ref_gemm_tn,
    .rms_norm = ref_rms_norm,
    .layer_norm = ref_layer_norm,
    .gated = ref_gated,
    .add = ref_add,
    .axpy = ref_axpy,
    .dot = ref_dot,
    .softcap = ref_softcap,
    .log_sum_exp = ref_log_sum_exp,
    .exp_shift = ref_exp_shift,
    .rope = ref_rope,
    .kv_page_bytes = ref_kv_page_bytes,
    .kv_store = ref_kv_store,
    .attention = ref_attention,
    .attention_scratch_bytes = ref_attention_scratch_bytes,
};
