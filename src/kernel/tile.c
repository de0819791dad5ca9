/* tile.c - lays weights into the panels of tile.h and reads rows back.
 *
 * Order: sizes, laying one step of one panel, a range of panels, one row back. */
#include "kernel/tile.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* ---- Sizes ------------------------------------------------------------------------------------------------------ */

bool tile_shape_of(hone_dtype t, hone_precision p, uint32_t k, tile_shape *s) {
    size_t row;
    memset(s, 0, sizeof(*s));
    if (k == 0 || !hone_dtype_row_bytes(t, k, &row)) return false;
    s->n_step = tile_steps(k);
    if (p == HONE_PRECISION_F32 || t == HONE_F32) {
        s->kind = TILE_F32;
        s->q_bytes = 2048;
    } else if (t == HONE_F16 || t == HONE_BF16) {
        s->kind = t == HONE_F16 ? TILE_F16 : TILE_BF16;
        s->q_bytes = 1024;
    } else {
        static const tile_format formats[HONE_DTYPE_COUNT] = {TILE_FORMATS(TILE_FORMAT_VALUE)};
        const tile_format f = formats[t];
        s->kind = f.four_bits ? TILE_U4 : TILE_U8;
        s->q_bytes = f.four_bits ? 256 : 512;
        s->half_scales = f.half_scales;
        s->scale_bytes = f.half_scales ? 32 : 64;
        s->groups = f.pairs ? 2 : 1;
        s->has_minimum = f.has_minimum;
    }
    s->step_bytes = s->q_bytes + s->groups * (s->has_minimum ? 2u : 1u) * s->scale_bytes;
    return hone_mul_size(&s->panel_bytes, s->step_bytes, s->n_step);
}

size_t tile_weight_bytes(hone_dtype t, hone_precision p, uint32_t n, uint32_t k) {
    tile_shape s;
    size_t bytes;
    if (n == 0 || !tile_shape_of(t, p, k, &s)) return 0;
    return hone_mul_size(&bytes, s.panel_bytes, n / HONE_PANEL + (n % HONE_PANEL != 0)) ? bytes : 0;
}

uint32_t tile_act_kind_of(const hone_weight *w) {
    return (uint32_t)tile_act_kind(w);
}

size_t tile_act_bytes(const hone_weight *w, uint32_t m) {
    const size_t tiles = m / TILE_ROWS + (m % TILE_ROWS != 0);
    return tiles * tile_act_tile_bytes(tile_act_kind(w), tile_steps(w->k));
}

/* ---- One step of one panel ----------------------------------------------------------------------------------------
 */

static void put_scale(uint8_t *base, const tile_shape *s, uint32_t index, uint32_t output, float value) {
    uint8_t *p = base + index * s->scale_bytes;
    if (s->half_scales) {
        const uint16_t h = hone_f16_round(value);
        memcpy(p + 2u * output, &h, 2);
    } else {
        memcpy(p + 4u * output, &value, 4);
    }
}

static float get_scale(const uint8_t *base, const tile_shape *s, uint32_t index, uint32_t output) {
    const uint8_t *p = base + index * s->scale_bytes;
    if (s->half_scales) {
        uint16_t h;
        memcpy(&h, p + 2u * output, 2);
        return hone_f16_widen(h);
    }
    float value;
    memcpy(&value, p + 4u * output, 4);
    return value;
}

/* Returns false when a scale is not finite. */
static bool lay_quantised(const tile_shape *s, hone_dtype t, const void *row, uint32_t step, uint32_t output,
                          uint8_t *to) {
    kernel_quant b;
    kernel_quant_block(t, row, step, &b);
    for (uint32_t j = 0; j < 4; j++) {
        uint32_t low, high;
        memcpy(&low, &b.q[4 * j], 4);
        memcpy(&high, &b.q[16 + 4 * j], 4);
        if (s->kind == TILE_U4) {
            low |= high << 4;
            memcpy(to + 64u * j + 4u * output, &low, 4);
        } else {
            memcpy(to + 64u * j + 4u * output, &low, 4);
            memcpy(to + 64u * (j + 4) + 4u * output, &high, 4);
        }
    }
    for (uint32_t g = 0; g < s->groups; g++) put_scale(to + s->q_bytes, s, g, output, b.scale[g]);
    for (uint32_t g = 0; s->has_minimum && g < s->groups; g++)
        put_scale(to + s->q_bytes, s, s->groups + g, output, b.minimum[g]);
    return isfinite(b.scale[0]) && isfinite(b.scale[1]) && isfinite(b.minimum[0]) && isfinite(b.minimum[1]);
}

static bool lay_plain(const tile_shape *s, const hone_weight *w, const uint8_t *row, uint32_t step, uint32_t output,
                      uint8_t *to) {
    const uint32_t k0 = step * TILE_K, len = w->k - k0 < TILE_K ? w->k - k0 : TILE_K;
    if (s->kind == TILE_F32) {
        float v[TILE_K] = {0};
        bool finite = true;
        if (kernel_quantised(w->dtype)) {
            kernel_quant b;
            kernel_quant_block(w->dtype, row, step, &b);
            kernel_quant_widen(w->dtype, &b, v);
        } else {
            hone_dtype_widen(w->dtype, row + (size_t)k0 * hone_dtype_block_bytes(w->dtype), v, len);
        }
        for (uint32_t i = 0; i < TILE_K; i++) {
            memcpy(to + 64u * i + 4u * output, &v[i], 4);
            finite = finite && isfinite(v[i]);
        }
        return finite;
    }
    uint16_t h[TILE_K] = {0};
    memcpy(h, row + (size_t)k0 * 2, (size_t)len * 2);
    const uint16_t exponent = s->kind == TILE_F16 ? 0x7c00u : 0x7f80u;
    bool finite = true;
    for (uint32_t i = 0; i < TILE_K; i++) {
        finite = finite && (h[i] & exponent) != exponent;
        if (s->kind == TILE_F16)
            memcpy(to + 32u * i + 2u * output, &h[i], 2);
        else
            memcpy(to + 64u * (i / 2) + 4u * output + 2u * (i & 1u), &h[i], 2);
    }
    return finite;
}

/* ---- Ranges and rows ----------------------------------------------------------------------------------------------
 */

hone_status tile_weight_lay(const hone_weight *w, void *data, const void *const *rows, uint32_t n0, uint32_t n1,
                            hone_error *err) {
    tile_shape s;
    if (!tile_shape_of(w->dtype, w->precision, w->k, &s) || n0 % HONE_PANEL != 0 || n1 > w->n)
        return hone_fail(err, HONE_ERR_ARG, "%u inputs of %s, outputs %u to %u: not a range that can be laid", w->k,
                         hone_dtype_name(w->dtype), n0, n1);
    for (uint32_t p = n0; p < n1; p += HONE_PANEL) {
        uint8_t *panel = (uint8_t *)data + p / HONE_PANEL * s.panel_bytes;
        const uint32_t outputs = n1 - p < HONE_PANEL ? n1 - p : HONE_PANEL;
        for (uint32_t step = 0; step < s.n_step; step++, panel += s.step_bytes) {
            if (outputs < HONE_PANEL) memset(panel, 0, s.step_bytes);
            for (uint32_t o = 0; o < outputs; o++) {
                const uint8_t *row = rows[p - n0 + o];
                if (!(s.kind >= TILE_U8 ? lay_quantised(&s, w->dtype, row, step, o, panel)
                                        : lay_plain(&s, w, row, step, o, panel)))
                    return hone_fail_at(err, HONE_ERR_FORMAT, p + o, "weight at row %u, columns %u to %u is not finite",
                                        p + o, step * TILE_K, step * TILE_K + TILE_K - 1);
            }
        }
    }
    return HONE_OK;
}

void tile_weight_row(const hone_weight *w, uint32_t row, float *out) {
    tile_shape s;
    if (!tile_shape_of(w->dtype, w->precision, w->k, &s)) return;
    const uint8_t *p = (const uint8_t *)w->data + row / HONE_PANEL * s.panel_bytes;
    const uint32_t o = row % HONE_PANEL;
    const int32_t offset = kernel_quant_offset(w->dtype);
    const uint8_t *table = kernel_quant_table(w->dtype);
    for (uint32_t k0 = 0; k0 < w->k; k0 += TILE_K, p += s.step_bytes) {
        const uint32_t len = w->k - k0 < TILE_K ? w->k - k0 : TILE_K;
        for (uint32_t i = 0; i < len; i++) {
            uint16_t h;
            switch (s.kind) {
            case TILE_F32: memcpy(&out[k0 + i], p + 64u * i + 4u * o, 4); break;
            case TILE_F16:
                memcpy(&h, p + 32u * i + 2u * o, 2);
                out[k0 + i] = hone_f16_widen(h);
                break;
            case TILE_BF16:
                memcpy(&h, p + 64u * (i / 2) + 4u * o + 2u * (i & 1u), 2);
                out[k0 + i] = hone_bf16_widen(h);
                break;
            case TILE_U4:
            case TILE_U8: {
                int32_t q;
                if (s.kind == TILE_U8)
                    q = p[64u * (i / 4) + 4u * o + i % 4];
                else
                    q = p[64u * (i % 16 / 4) + 4u * o + i % 4] >> (i < 16 ? 0 : 4) & 15;
                if (table) q = table[q];
                const uint32_t group = s.groups == 2 ? i / 16 : 0;
                out[k0 + i] = get_scale(p + s.q_bytes, &s, group, o) * (float)(q - offset);
                if (s.has_minimum) out[k0 + i] += get_scale(p + s.q_bytes, &s, s.groups + group, o);
                break;
            }
            }
        }
    }
}
