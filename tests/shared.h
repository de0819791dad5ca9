/* shared.h - data for tests that does not belong to the source tree: looked for in the folder that HONE_SHARED names,
 * else in
 * ../shared beside the source root (HONE_SOURCE_ROOT, from the build).  A test without it skips and says so. */
#ifndef HONE_TEST_SHARED_H
#define HONE_TEST_SHARED_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The path of one file or folder in it; false, with a line on stdout, when it is not there. */
static inline bool shared_path(char *out, size_t cap, const char *name) {
    const char *folder = getenv("HONE_SHARED");
    if (folder)
        snprintf(out, cap, "%s/%s", folder, name);
    else
        snprintf(out, cap, "%s/../shared/%s", HONE_SOURCE_ROOT, name);
    if (access(out, R_OK) == 0) return true;
    printf("# skipped: no %s\n", out);
    return false;
}

#endif
