/* kernels.c - which sets are in this build, and which one this machine should use.
 *
 * Order: the list, finding by name, the choice. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "kernel/kernel.h"
#include "kernel/sets.h"

/* Best first. */
static const hone_kernels *const sets[] = {&kernel_amx, &kernel_avx512, &kernel_avx2, &kernel_ref, NULL};

const hone_kernels *const *hone_kernels_all(void) {
    return sets;
}

const hone_kernels *hone_kernels_find(const char *name) {
    for (size_t i = 0; sets[i]; i++)
        if (strcmp(sets[i]->name, name) == 0) return sets[i]->can_run() ? sets[i] : NULL;
    return NULL;
}

const hone_kernels *hone_kernels_best(void) {
    const char *name = getenv("HONE_KERNELS");
    if (name && *name) {
        const hone_kernels *chosen = hone_kernels_find(name);
        if (chosen) return chosen;
        hone_log(HONE_LOG_WARN, "kernel", "HONE_KERNELS=%s: no such set, or this machine cannot run it", name);
    }
    for (size_t i = 0; sets[i]; i++)
        if (sets[i]->can_run()) return sets[i];
    return &kernel_ref;
}
