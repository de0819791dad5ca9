/* avx2.c - the set for machines with AVX2, FMA and F16C (Haswell, Zen and later). */
#include "kernel/avx2/avx2.h"

#include "kernel/cpu.h"
#include "kernel/sets.h"
#include "kernel/tile.h"

bool avx2_can_run(void) {
    return kernel_cpu_has_avx2();
}

const hone_kernels kernel_avx2 = {
    .name = "avx2",
    .can_run = avx2_can_run,
    .weight_bytes = tile_weight_bytes,
    .weight_lay = tile_weight_lay,
    .weight_row = tile_weight_row,
    .act_kind = tile_act_kind_of,
    .act_bytes = tile_act_bytes,
    .act_lay = avx2_act_lay,
    .linear = avx2_linear,
    .dx_scratch_bytes = avx2_dx_scratch_bytes,
    .linear_dx = avx2_linear_dx,
    .gemm_nt = avx2_gemm_nt,
    .gemm_nn = avx2_gemm_nn,
    .gemm_tn = avx2_gemm_tn,
    .rms_norm = avx2_rms_norm,
    .layer_norm = avx2_layer_norm,
    .gated = avx2_gated,
    .add = avx2_add,
    .axpy = avx2_axpy,
    .dot = avx2_dot,
    .softcap = avx2_softcap,
    .log_sum_exp = avx2_log_sum_exp,
    .exp_shift = avx2_exp_shift,
    .rope = avx2_rope,
    .kv_page_bytes = avx2_kv_page_bytes,
    .kv_store = avx2_kv_store,
    .attention = avx2_attention,
    .attention_scratch_bytes = avx2_attention_scratch_bytes,
};
