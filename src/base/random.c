/* random.c - Philox4x32-10, and the kernel's randomness for ids; the contract is in random.h. */
#include "base/random.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

void hone_random_block(uint64_t seed, uint32_t a, uint32_t b, uint64_t c, uint32_t out[4]) {
    uint32_t x0 = a, x1 = b, x2 = (uint32_t)c, x3 = (uint32_t)(c >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * x0, p1 = (uint64_t)0xCD9E8D57u * x2;
        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x1 = (uint32_t)p1;
        x3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

float hone_random_unit(uint64_t seed, uint32_t a, uint32_t b, uint64_t c) {
    uint32_t w[4];
    hone_random_block(seed, a, b, c, w);
    return (float)(w[0] >> 8) * 0x1p-24f;
}

double hone_random_unit_f64(uint64_t seed, uint32_t a, uint32_t b, uint64_t c) {
    uint32_t w[4];
    hone_random_block(seed, a, b, c, w);
    return (double)(((uint64_t)w[0] << 32 | w[1]) >> 11) * 0x1p-53;
}

#define POOL 256u /* what one getrandom() gives whole */

static _Thread_local unsigned char pool[POOL];
static _Thread_local size_t n_pool;
static pthread_once_t watched = PTHREAD_ONCE_INIT;

/* A child must not make its parent's ids again. */
static void forked(void) {
    n_pool = 0;
}
static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forked);
}

void hone_random_id_bytes(void *out, size_t n) {
    static _Thread_local uint64_t refused;
    pthread_once(&watched, watch_forks);
    for (unsigned char *at = out; n;) {
        if (n_pool == 0) {
            n_pool = POOL;
            if (getrandom(pool, POOL, 0) != (ssize_t)POOL) { /* no such call in this kernel: unique, if not secret */
                uint32_t w[4];
                refused++;
                for (size_t i = 0; i < POOL; i += sizeof(w)) {
                    hone_random_block((uint64_t)hone_clock_ns() ^ (uint64_t)(uintptr_t)pool, (uint32_t)i, 1, refused,
                                      w);
                    memcpy(pool + i, w, sizeof(w));
                }
            }
        }
        const size_t k = n < n_pool ? n : n_pool;
        n_pool -= k;
        memcpy(at, pool + n_pool, k);
        at += k;
        n -= k;
    }
}
