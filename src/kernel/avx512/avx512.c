/* avx512.c - the set for machines with AVX-512 F, BW, VL, DQ, VNNI and BF16 (Cooper Lake, Zen 4 and later). */
#include "kernel/avx512/avx512.h"

#include "kernel/cpu.h"
#include "kernel/sets.h"
#include "kernel/tile.h"

bool avx512_can_run(void) {
    return kernel_cpu_has_avx512();
}

const hone_kernels kernel_avx512 = {
    .name = "avx512",
    .can_run = avx512_can_run,
    .weight_bytes = tile_weight_bytes,
    .weight_lay = tile_weight_lay,
    .weight_row = tile_weight_row,
    .act_kind = tile_act_kind_of,
    .act_bytes = tile_act_bytes,
    .act_lay = avx512_act_lay,
    .linear = avx512_linear,
    .dx_scratch_bytes = avx512_dx_scratch_bytes,
    .linear_dx = avx512_linear_dx,
    .gemm_nt = avx512_gemm_nt,
    .gemm_nn = avx512_gemm_nn,
    .gemm_tn = avx512_gemm_tn,
    .lora_down = avx512_lora_down,
    .lora_up = avx512_lora_up,
    .rms_norm = avx512_rms_norm,
    .layer_norm = avx512_layer_norm,
    .gated = avx512_gated,
    .add = avx512_add,
    .axpy = avx512_axpy,
    .dot = avx512_dot,
    .softcap = avx512_softcap,
    .log_sum_exp = avx512_log_sum_exp,
    .exp_shift = avx512_exp_shift,
    .rope = avx512_rope,
    .kv_page_bytes = avx512_kv_page_bytes,
    .kv_store = avx512_kv_store,
    .attention = avx512_attention,
    .attention_scratch_bytes = avx512_attention_scratch_bytes,
};
