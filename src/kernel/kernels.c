/* kernels.c - which sets are in this build, and which one this machine should use.
 *
 * Order: names, the list, finding by name, the choice. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "kernel/check.h"
#include "kernel/kernel.h"
#include "kernel/sets.h"

const char *hone_kv_type_name(hone_kv_type t) {
    static const char *const names[HONE_KV_TYPE_COUNT] = {"bf16", "f32", "int8"};
    return names[t];
}

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

static bool sound(const hone_kernels *set) {
    char why[200] = "";
    if (kernel_set_agrees(set, why, sizeof(why))) return true;
    hone_log(HONE_LOG_WARN, "kernel", "the %s set is passed over: it disagrees with ref on this machine (%s)",
             set->name, why);
    return false;
}

static const hone_kernels *choose(const char *name) {
    if (name && *name) {
        const hone_kernels *named = hone_kernels_find(name);
        if (!named)
            hone_log(HONE_LOG_WARN, "kernel", "HONE_KERNELS=%s: no such set, or this machine cannot run it", name);
        else if (sound(named))
            return named;
    }
    for (size_t i = 0; sets[i]; i++)
        if (sets[i]->can_run() && sound(sets[i])) return sets[i];
    return &kernel_ref;
}

/* One choice for the life of the process: weights laid for a set are read by its operations only. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const hone_kernels *chosen;

static void choose_once(void) {
    chosen = choose(getenv("HONE_KERNELS"));
}

const hone_kernels *hone_kernels_best(void) {
    pthread_once(&once, choose_once);
    return chosen;
}
