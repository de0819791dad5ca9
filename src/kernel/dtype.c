/* dtype.c - the block formats, their sizes and their plain widening; the layouts are those of ggml-common.h.
 *
 * Order: sizes, half precision, one block of 32 of every quantised format, a whole row. */
#include "kernel/dtype.h"

#include <math.h>
#include <string.h>

#include "kernel/quant.h"

static const struct {
    const char *name;
    uint32_t block, bytes;
} formats[HONE_STORED_COUNT] = {
    [HONE_F32] = {"F32", 1, 4},         [HONE_F16] = {"F16", 1, 2},         [HONE_BF16] = {"BF16", 1, 2},
    [HONE_Q4_0] = {"Q4_0", 32, 18},     [HONE_Q4_1] = {"Q4_1", 32, 20},     [HONE_Q5_0] = {"Q5_0", 32, 22},
    [HONE_Q5_1] = {"Q5_1", 32, 24},     [HONE_Q8_0] = {"Q8_0", 32, 34},     [HONE_Q4_K] = {"Q4_K", 256, 144},
    [HONE_Q5_K] = {"Q5_K", 256, 176},   [HONE_Q6_K] = {"Q6_K", 256, 210},   [HONE_Q2_K] = {"Q2_K", 256, 84},
    [HONE_Q3_K] = {"Q3_K", 256, 110},   [HONE_IQ4_NL] = {"IQ4_NL", 32, 18}, [HONE_IQ4_XS] = {"IQ4_XS", 256, 136},
    [HONE_MXFP4] = {"MXFP4", 32, 17},   [HONE_FP4_16] = {"NVFP4", 32, 24}, [HONE_NVFP4] = {"NVFP4", 64, 36},
    [HONE_F8_E4M3] = {"F8_E4M3", 1, 1},
};

const char *hone_dtype_name(hone_dtype t) {
    return (unsigned)t < HONE_STORED_COUNT ? formats[t].name : "unknown";
}
uint32_t hone_dtype_block(hone_dtype t) {
    return formats[t].block;
}
uint32_t hone_dtype_block_bytes(hone_dtype t) {
    return formats[t].bytes;
}

bool hone_dtype_row_bytes(hone_dtype t, uint64_t k, size_t *bytes) {
    if ((unsigned)t >= HONE_STORED_COUNT || k % formats[t].block != 0) return false;
    return !__builtin_mul_overflow(k / formats[t].block, formats[t].bytes, bytes);
}

float hone_f16_widen(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 1023u;
    union {
        uint32_t u;
        float f;
    } v;
    if (exponent == 31u) {
        v.u = sign | 0x7f800000u | mantissa << 13;
    } else if (exponent != 0) {
        v.u = sign | (exponent + 112u) << 23 | mantissa << 13;
    } else { /* subnormal: mantissa * 2^-24, exact in f32 */
        v.f = (float)mantissa * 0x1p-24f;
        v.u |= sign;
    }
    return v.f;
}

float hone_e4m3_widen(uint8_t v) {
    const uint32_t exponent = v >> 3 & 15u, mantissa = v & 7u;
    if ((v & 0x7fu) == 0x7fu) return NAN;
    const float f = exponent ? ldexpf((float)(8u + mantissa), (int)exponent - 10) : (float)mantissa * 0x1p-9f;
    return v & 0x80u ? -f : f;
}

uint16_t hone_f16_round(float f) {
    union {
        float f;
        uint32_t u;
    } v = {.f = f};
    const uint32_t sign = v.u >> 16 & 0x8000u, a = v.u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more round to infinity */
    if (a < 0x38800000u) {                                   /* below 2^-14: adding 0.5 leaves the 2^-24 digits */
        v.u = a;
        v.f += 0.5f;
        return (uint16_t)(sign | (v.u - 0x3f000000u));
    }
    const uint32_t r = a + 0xfffu + (a >> 13 & 1u);
    return (uint16_t)(sign | (r - 0x38000000u) >> 13);
}

/* Scale and minimum of sub-block j of 8: 6 bits each, packed in 12 bytes (Q4_K, Q5_K). */
static void k_scale(const uint8_t *s, uint32_t j, uint32_t *scale, uint32_t *minimum) {
    if (j < 4) {
        *scale = s[j] & 63u;
        *minimum = s[j + 4] & 63u;
    } else {
        *scale = (s[j + 4] & 15u) | (uint32_t)(s[j - 4] >> 6) << 4;
        *minimum = (uint32_t)(s[j + 4] >> 4) | (uint32_t)(s[j] >> 6) << 4;
    }
}

static float half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return hone_f16_widen(h);
}

const uint8_t kernel_table_iq4[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};
const uint8_t kernel_table_fp4[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};

static void nibbles_of(const uint8_t q[16], uint8_t out[32]) {
    for (uint32_t i = 0; i < 16; i++) {
        out[i] = q[i] & 15u;
        out[i + 16] = q[i] >> 4;
    }
}

/* Half of OCP's e8m0 scale, as the table's values are doubled; 255 is NaN. */
static float e8m0_half(uint8_t e) {
    return e == 255u ? NAN : ldexpf(1.0f, (int)e - 128);
}

/* Scale j of Q3_K's 16: 4 low bits in bytes 0..7, 2 high bits in bytes 8..11, biased by 32. */
static int32_t q3_scale(const uint8_t *s, uint32_t j) {
    const uint32_t low = j < 8 ? s[j] & 15u : (uint32_t)(s[j - 8] >> 4), high = s[8 + j % 4] >> (2 * (j / 4)) & 3u;
    return (int32_t)(low | high << 4) - 32;
}

void kernel_quant_block(hone_dtype t, const void *row, uint32_t index, kernel_quant *b) {
    const uint32_t per = formats[t].block / 32u, sub = index % per;
    const uint8_t *p = (const uint8_t *)row + (size_t)(index / per) * formats[t].bytes;
    b->minimum[0] = b->minimum[1] = 0.0f;
    switch (t) {
    case HONE_Q4_0:
    case HONE_Q4_1: {
        nibbles_of(p + (t == HONE_Q4_0 ? 2 : 4), b->q);
        b->scale[0] = b->scale[1] = half_at(p);
        if (t == HONE_Q4_1) b->minimum[0] = b->minimum[1] = half_at(p + 2);
        break;
    }
    case HONE_Q5_0:
    case HONE_Q5_1: {
        const uint8_t *high = p + (t == HONE_Q5_0 ? 2 : 4), *q = high + 4;
        uint32_t bits;
        memcpy(&bits, high, 4);
        for (uint32_t i = 0; i < 16; i++) {
            b->q[i] = (uint8_t)((q[i] & 15u) | (bits >> i & 1u) << 4);
            b->q[i + 16] = (uint8_t)(q[i] >> 4 | (bits >> (i + 16) & 1u) << 4);
        }
        b->scale[0] = b->scale[1] = half_at(p);
        if (t == HONE_Q5_1) b->minimum[0] = b->minimum[1] = half_at(p + 2);
        break;
    }
    case HONE_Q8_0:
        for (uint32_t i = 0; i < 32; i++) b->q[i] = p[2 + i] ^ 0x80u; /* signed + 128 */
        b->scale[0] = b->scale[1] = half_at(p);
        break;
    case HONE_Q4_K:
    case HONE_Q5_K: {
        const uint8_t *q = p + (t == HONE_Q4_K ? 16 : 48) + 32u * (sub / 2u), *high = p + 16;
        for (uint32_t i = 0; i < 32; i++) {
            uint32_t v = sub % 2u ? (uint32_t)(q[i] >> 4) : q[i] & 15u;
            if (t == HONE_Q5_K) v |= (uint32_t)(high[i] >> sub & 1u) << 4;
            b->q[i] = (uint8_t)v;
        }
        uint32_t scale, minimum;
        k_scale(p + 4, sub, &scale, &minimum);
        b->scale[0] = b->scale[1] = half_at(p) * (float)scale; /* 11 + 6 bits: exact */
        b->minimum[0] = b->minimum[1] = -(half_at(p + 2) * (float)minimum);
        break;
    }
    case HONE_Q6_K: {
        const uint32_t half = sub / 4u, j = sub % 4u;
        const uint8_t *low = p + 64u * half + 32u * (j & 1u), *high = p + 128 + 32u * half;
        for (uint32_t i = 0; i < 32; i++)
            b->q[i] = (uint8_t)((j < 2u ? low[i] & 15u : (uint32_t)(low[i] >> 4)) | (high[i] >> (2u * j) & 3u) << 4);
        for (uint32_t g = 0; g < 2; g++)
            b->scale[g] = half_at(p + 208) * (float)(int8_t)p[192u + 8u * half + 2u * j + g]; /* 11 + 8 bits: exact */
        break;
    }
    case HONE_Q2_K:
        for (uint32_t i = 0; i < 32; i++) b->q[i] = p[16u + 32u * (sub / 4u) + i] >> (2u * (sub % 4u)) & 3u;
        for (uint32_t g = 0; g < 2; g++) { /* 11 + 4 bits: exact */
            b->scale[g] = half_at(p + 80) * (float)(p[2u * sub + g] & 15u);
            b->minimum[g] = -(half_at(p + 82) * (float)(p[2u * sub + g] >> 4));
        }
        break;
    case HONE_Q3_K:
        for (uint32_t i = 0; i < 32; i++)
            b->q[i] = (uint8_t)((p[32u + 32u * (sub / 4u) + i] >> (2u * (sub % 4u)) & 3u) | (p[i] >> sub & 1u) << 2);
        for (uint32_t g = 0; g < 2; g++)
            b->scale[g] = half_at(p + 108) * (float)q3_scale(p + 96, 2u * sub + g); /* 11 + 6 bits: exact */
        break;
    case HONE_IQ4_NL:
        nibbles_of(p + 2, b->q);
        b->scale[0] = b->scale[1] = half_at(p);
        break;
    case HONE_IQ4_XS: {
        const uint32_t low = p[4u + sub / 2u] >> (4u * (sub % 2u)) & 15u;
        const uint32_t high = ((uint32_t)p[2] | (uint32_t)p[3] << 8) >> (2u * sub) & 3u;
        nibbles_of(p + 8u + 16u * sub, b->q);
        b->scale[0] = b->scale[1] = half_at(p) * (float)((int32_t)(low | high << 4) - 32); /* 11 + 6 bits: exact */
        break;
    }
    case HONE_MXFP4:
        nibbles_of(p + 1, b->q);
        b->scale[0] = b->scale[1] = e8m0_half(p[0]);
        break;
    case HONE_FP4_16:
        memcpy(b->scale, p, 8);
        nibbles_of(p + 8, b->q);
        break;
    default: memset(b, 0, sizeof(*b)); break;
    }
}

void kernel_fp4_from_nvfp4(const uint8_t *block, float tensor_scale, uint8_t out[48]) {
    for (uint32_t part = 0; part < 2; part++, out += 24) {
        for (uint32_t g = 0; g < 2; g++) {
            const uint8_t e4m3 = block[2 * part + g] & 0x7fu; /* the scale has no sign */
            const float scale = 0.5f * hone_e4m3_widen(e4m3) * tensor_scale;
            memcpy(out + 4 * g, &scale, 4);
        }
        /* Byte j of 8 holds elements j and j + 8 of its 16; ours i and i + 16 of 32. */
        const uint8_t *q = block + 4 + 16 * part;
        for (uint32_t i = 0; i < 8; i++) {
            out[8 + i] = (uint8_t)((q[i] & 15u) | (q[8 + i] & 15u) << 4);
            out[16 + i] = (uint8_t)(q[i] >> 4 | (q[8 + i] & 0xf0u));
        }
    }
}

void hone_dtype_widen(hone_dtype t, const void *row, float *out, size_t k) {
    const uint8_t *p = row;
    switch (t) {
    case HONE_F32: memcpy(out, row, k * sizeof(float)); return;
    case HONE_F16:
    case HONE_BF16:
        for (size_t i = 0; i < k; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            out[i] = t == HONE_F16 ? hone_f16_widen(h) : hone_bf16_widen(h);
        }
        return;
    case HONE_F8_E4M3:
        for (size_t i = 0; i < k; i++) out[i] = hone_e4m3_widen(p[i]);
        return;
    case HONE_NVFP4:
        for (size_t i = 0; i + 64 <= k; i += 64, p += 36) {
            uint8_t fp4[48];
            kernel_fp4_from_nvfp4(p, 1.0f, fp4);
            hone_dtype_widen(HONE_FP4_16, fp4, out + i, 64);
        }
        return;
    default: break;
    }
    for (size_t i = 0; i + 32 <= k; i += 32) {
        kernel_quant b;
        kernel_quant_block(t, row, (uint32_t)(i / 32), &b);
        kernel_quant_widen(t, &b, out + i);
    }
}
