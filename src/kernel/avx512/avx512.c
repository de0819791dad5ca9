/* avx512.c - the set for machines with AVX-512 F, BW, VL, DQ, VNNI and BF16 (Cooper Lake, Zen 4 and later). */
#include "kernel/avx512/avx512.h"

#include <cpuid.h>

#include "kernel/sets.h"
#include "kernel/tile.h"

/* Plain code only: this runs on machines that have none of it. */
bool avx512_can_run(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
    const unsigned need = 1u << 27 | 1u << 12 | 1u << 29; /* OSXSAVE, FMA, F16C */
    if ((c & need) != need) return false;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 0xe6u) != 0xe6u) return false; /* the system saves xmm, ymm, masks, zmm */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const unsigned need_b = 1u << 5 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* AVX2, F, DQ, BW, VL */
    if ((b & need_b) != need_b || !(c & 1u << 11)) return false;                 /* VNNI */
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return false;
    return (a & 1u << 5) != 0; /* BF16 */
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
