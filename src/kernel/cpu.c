/* cpu.c - cpuid, what the system saves (xgetbv), and the permission that AMX needs. */
#include "kernel/cpu.h"

#include <cpuid.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t saved_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

typedef struct {
    uint32_t leaf1_c, leaf7_b, leaf7_c, leaf7_d, leaf7_1_a;
    uint64_t saved;
} features;

static features ask(void) {
    features f = {0};
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
    f.leaf1_c = c;
    if (c & 1u << 27) f.saved = saved_state(); /* OSXSAVE */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
    f.leaf7_b = b;
    f.leaf7_c = c;
    f.leaf7_d = d;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) f.leaf7_1_a = a;
    return f;
}

static bool all(uint64_t have, uint64_t need) {
    return (have & need) == need;
}

static bool has_avx2(const features *f) {
    return all(f->saved, 6) && all(f->leaf1_c, 1u << 28 | 1u << 12 | 1u << 29) && all(f->leaf7_b, 1u << 5);
}

static bool has_avx512(const features *f) {
    return has_avx2(f) && all(f->saved, 0xe6) && all(f->leaf7_b, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31) &&
           all(f->leaf7_c, 1u << 11) && all(f->leaf7_1_a, 1u << 5);
}

bool kernel_cpu_has_avx2(void) {
    const features f = ask();
    return has_avx2(&f);
}

bool kernel_cpu_has_avx512(void) {
    const features f = ask();
    return has_avx512(&f);
}

/* Linux gives tile registers to a process that asks (arch/x86/kernel/fpu/xstate.c): ARCH_REQ_XCOMP_PERM for XTILEDATA.
 */
bool kernel_cpu_has_amx(void) {
    const features f = ask();
    if (!has_avx512(&f) || !all(f.saved, 3u << 17) || !all(f.leaf7_d, 1u << 22 | 1u << 24 | 1u << 25)) return false;
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
