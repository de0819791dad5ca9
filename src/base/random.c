/* random.c - Philox4x32-10; the contract is in random.h. */
#include "base/random.h"

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
