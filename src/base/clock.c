/* clock.c - the two clocks; the contract is in clock.h. */
#include "base/clock.h"

#include <time.h>

int64_t hone_clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double hone_clock_seconds(void) {
    return 1e-9 * (double)hone_clock_ns();
}
int64_t hone_clock_unix(void) {
    return (int64_t)time(NULL);
}
