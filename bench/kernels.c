/* kernels.c - what every kernel set that this machine can run reaches, as text: the figures of bench/SPEED.md.
 *
 * kernels [set [threads]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/probe.h"

int main(int argc, char **argv) {
    enum { MOST = 128 };
    static hone_kernel_figure figures[MOST];
    hone_pool *pool = NULL;
    hone_error err;
    if (hone_pool_open(&pool, argc > 2 ? (uint32_t)atoi(argv[2]) : 0, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    for (const hone_kernels *const *s = hone_kernels_all(); *s; s++) {
        uint32_t n = 0;
        if (!(*s)->can_run() || (argc > 1 && strcmp(argv[1], (*s)->name) != 0)) continue;
        if (hone_kernels_probe(*s, pool, figures, MOST, &n, &err)) fprintf(stderr, "%s\n", err.message);
        printf("%s, %u threads\n", (*s)->name, hone_pool_threads(pool));
        for (uint32_t i = 0; i < n; i++) {
            const hone_kernel_figure *f = &figures[i];
            printf("  %-12s %-36s %8.1f %-8s", f->operation, f->shape, f->value, f->unit);
            if (f->of_limit > 0) printf(" %3.0f %%", 100.0 * f->of_limit);
            putchar('\n');
        }
    }
    hone_pool_close(pool);
    return 0;
}
