/* tape.c - memory for what backward needs; the contract is in forward.h. */
#include <string.h>

#include "base/mem.h"
#include "engine/forward.h"

typedef struct {
    uint8_t *base; /* NULL while only counting */
    size_t used;
    bool overflow;
} carver;

static float *carve(carver *c, size_t rows, size_t width) {
    size_t n, bytes, end;
    float *at = c->base ? (float *)(void *)(c->base + c->used) : NULL;
    if (!hone_mul_size(&n, rows, width) || !hone_mul_size(&bytes, n, sizeof(float)) ||
        !hone_add_size(&bytes, bytes, 63) || !hone_add_size(&end, c->used, bytes / 64 * 64)) {
        c->overflow = true;
        return NULL;
    }
    c->used = end;
    return at;
}

static void lay_out(carver *c, hone_tape *t, const hone_model *model, const hone_adapter *adapter, size_t m) {
    const hone_arch *a = &model->arch;
    const size_t d = a->width, wq = (size_t)a->n_head * a->head_dim, wk = (size_t)a->n_kv_head * a->head_dim;
    const size_t per = a->norm == HONE_NORM_RMS ? 1 : 2;
    const bool norms = a->qk_norm != HONE_QK_NORM_NONE, each = a->qk_norm == HONE_QK_NORM_HEAD;
    for (uint32_t l = 0; l < a->n_layer; l++) {
        const hone_layer *layer = &model->layer[l];
        hone_tape_layer y = {0};
        y.x = carve(c, m, d);
        if (a->pre_norm) y.attn_inv = carve(c, m, per);
        y.q = carve(c, m, wq);
        y.k = carve(c, m, wk);
        y.v = carve(c, m, wk);
        if (norms) {
            y.q_inv = carve(c, m, per * (each ? a->n_head : 1));
            y.k_inv = carve(c, m, per * (each ? a->n_kv_head : 1));
        }
        y.attn = carve(c, m, wq);
        y.lse = carve(c, m, a->n_head);
        y.x_mid = carve(c, m, d);
        if (a->post_norm && layer->attn_post_norm.weight) {
            y.attn_out = carve(c, m, d);
            y.attn_post_inv = carve(c, m, per);
        }
        if (a->post_norm && layer->mlp_post_norm.weight) {
            y.mlp_out = carve(c, m, d);
            y.mlp_post_inv = carve(c, m, per);
        }
        if (a->pre_norm || a->block == HONE_BLOCK_PARALLEL) y.mlp_inv = carve(c, m, per);
        if (a->mlp_gated) y.gate = carve(c, m, a->mlp_width);
        y.up = carve(c, m, a->mlp_width);
        for (uint32_t i = 0; adapter && i < HONE_MOD_COUNT; i++)
            if (adapter->lora[l][i].rank) y.ax[i] = carve(c, m, adapter->lora[l][i].rank);
        if (t) t->layer[l] = y;
    }
    float *x_last = carve(c, m, d), *final_inv = carve(c, m, per), *final_out = carve(c, m, d);
    if (!t) return;
    t->x_last = x_last;
    t->final_inv = final_inv;
    t->final_out = final_out;
}

size_t hone_tape_bytes(const hone_model *model, const hone_adapter *adapter, uint32_t max_rows) {
    carver c = {0};
    lay_out(&c, NULL, model, adapter, max_rows);
    return c.overflow ? SIZE_MAX : c.used;
}

/* The record and its layers stand in front of the floats, in one allocation each. */
hone_status hone_tape_open(hone_tape **out, const hone_model *model, const hone_adapter *adapter, uint32_t max_rows,
                           hone_error *err) {
    *out = NULL;
    const size_t bytes = hone_tape_bytes(model, adapter, max_rows);
    if (max_rows == 0 || bytes == SIZE_MAX)
        return hone_fail(err, HONE_ERR_ARG, "tape: %u rows cannot be addressed", max_rows);
    hone_tape *t = hone_zalloc(1, sizeof(*t));
    if (!t) goto no_memory;
    t->max_rows = max_rows;
    if (!(t->layer = hone_zalloc(model->arch.n_layer, sizeof(*t->layer)))) goto no_memory;
    uint8_t *base = hone_alloc_aligned(bytes, 1);
    if (!base) goto no_memory;
    carver c = {.base = base};
    lay_out(&c, t, model, adapter, max_rows);
    *out = t;
    return HONE_OK;
no_memory:
    if (t) hone_free(t->layer);
    hone_free(t);
    return hone_fail(err, HONE_ERR_NOMEM, "tape: no memory for %u rows (%zu bytes)", max_rows, bytes);
}

void hone_tape_close(hone_tape *t) {
    if (!t) return;
    hone_free(t->layer[0].x); /* the first carved: the block itself */
    hone_free(t->layer);
    hone_free(t);
}
