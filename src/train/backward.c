/* backward.c - the walk down the layers; the contract is in backward.h.
 * Order: gradients, opening and closing, the two halves of a block, the whole. */
#include "train/backward.h"

#include <string.h>

#include "base/mem.h"
#include "train/backward_parts.h"

/* ---- Gradients of an adapter ---- */

/* Sizes are those of an adapter that exists in memory, so their sum cannot overflow. */
static size_t a_floats(const hone_model *model, const hone_adapter *ad, uint32_t layer, uint32_t module) {
    return (size_t)ad->lora[layer][module].rank * model->layer[layer].linear[module].w.k;
}
static size_t b_floats(const hone_model *model, const hone_adapter *ad, uint32_t layer, uint32_t module) {
    return (size_t)ad->lora[layer][module].rank * model->layer[layer].linear[module].w.n;
}

size_t hone_adapter_floats(const hone_model *model, const hone_adapter *ad) {
    size_t n = 0;
    for (uint32_t l = 0; l < ad->n_layer; l++)
        for (uint32_t i = 0; i < HONE_MOD_COUNT; i++) n += a_floats(model, ad, l, i) + b_floats(model, ad, l, i);
    return n;
}

hone_status hone_lora_grad_open(hone_lora_grad *out, const hone_model *model, const hone_adapter *ad, hone_error *err) {
    *out = (hone_lora_grad){.n_module = ad->n_layer * HONE_MOD_COUNT, .n = hone_adapter_floats(model, ad)};
    out->data = hone_zalloc(out->n, sizeof(*out->data));
    out->a = hone_zalloc(out->n_module, sizeof(*out->a));
    out->b = hone_zalloc(out->n_module, sizeof(*out->b));
    if (!out->data || !out->a || !out->b) {
        hone_lora_grad_close(out);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for the gradients of an adapter");
    }
    float *at = out->data;
    for (uint32_t l = 0; l < ad->n_layer; l++)
        for (uint32_t i = 0; i < HONE_MOD_COUNT; i++) {
            if (ad->lora[l][i].rank == 0) continue;
            out->a[l * HONE_MOD_COUNT + i] = at;
            at += a_floats(model, ad, l, i);
            out->b[l * HONE_MOD_COUNT + i] = at;
            at += b_floats(model, ad, l, i);
        }
    return HONE_OK;
}

void hone_lora_grad_close(hone_lora_grad *g) {
    hone_free(g->data);
    hone_free(g->a);
    hone_free(g->b);
    *g = (hone_lora_grad){0};
}

/* ---- Opening and closing ---- */

typedef struct {
    size_t d, wide, arena, low, dropped, cos[HONE_MAX_ROPES], scratch; /* floats of a row; scratch: bytes of a thread */
} sizes;

static sizes plan(const hone_model *model, const hone_adapter *adapter, uint32_t max_rows) {
    const hone_arch *a = &model->arch;
    const size_t qn = (size_t)a->n_head * a->head_dim, kn = (size_t)a->n_kv_head * a->head_dim;
    const size_t attention = 3 * qn + 4 * kn, mlp = 2 * (size_t)a->mlp_width;
    sizes s = {
        .d = a->width, .wide = a->mlp_width, .arena = attention > mlp ? attention : mlp, .low = adapter->max_rank};
    if (adapter->dropout > 0) {
        s.dropped = qn > s.wide ? qn : s.wide;
        if (s.d > s.dropped) s.dropped = s.d;
    }
    for (uint32_t r = 0; r < a->n_rope && a->position == HONE_POSITION_ROPE; r++) s.cos[r] = a->rope[r].rot / 2;
    const size_t scratch[3] = {backward_linear_scratch(model, max_rows), backward_attention_scratch(a, max_rows),
                               2 * s.d * sizeof(float)};
    for (int i = 0; i < 3; i++)
        if (scratch[i] > s.scratch) s.scratch = scratch[i];
    s.scratch = (s.scratch + 63) / 64 * 64;
    return s;
}

size_t hone_backward_bytes(const hone_model *model, const hone_adapter *adapter, uint32_t max_rows,
                           uint32_t n_threads) {
    const sizes s = plan(model, adapter, max_rows);
    const size_t parallel = model->arch.block == HONE_BLOCK_PARALLEL;
    size_t row = (3 + parallel) * s.d + s.arena + 3 * s.low + s.dropped;
    for (int r = 0; r < (int)HONE_MAX_ROPES; r++) row += 2 * s.cos[r];
    return max_rows * (row * sizeof(float) + sizeof(backward_seq)) + n_threads * s.scratch;
}

hone_status hone_backward_open(hone_backward **out, const hone_model *model, const hone_adapter *adapter,
                               hone_pool *pool, uint32_t max_rows, hone_kv_type kv_type, hone_error *err) {
    *out = NULL;
    const hone_arch *a = &model->arch;
    if (a->position == HONE_POSITION_ALIBI)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "training with ALiBi positions (%s) is not implemented", a->family);
    for (uint32_t l = 0; l < a->n_layer; l++)
        if (a->layer[l].moe)
            return hone_fail(err, HONE_ERR_UNSUPPORTED, "training of routed layers (%s) is not implemented", a->family);
    const sizes s = plan(model, adapter, max_rows);
    hone_backward *b = hone_zalloc(1, sizeof(*b));
    if (!b) goto fail;
    *b = (hone_backward){.model = model,
                         .kernels = model->kernels,
                         .pool = pool,
                         .max_rows = max_rows,
                         .n_threads = hone_pool_threads(pool),
                         .kv_type = kv_type,
                         .rank_cap = adapter->max_rank,
                         .scratch_bytes = s.scratch};
    if (!(b->dx = hone_alloc_aligned(max_rows, s.d * sizeof(float)))) goto fail;
    if (!(b->branch = hone_alloc_aligned(max_rows, s.d * sizeof(float)))) goto fail;
    if (!(b->norm_out = hone_alloc_aligned(max_rows, s.d * sizeof(float)))) goto fail;
    if (a->block == HONE_BLOCK_PARALLEL && !(b->dout = hone_alloc_aligned(max_rows, s.d * sizeof(float)))) goto fail;
    if (!(b->wide[0] = hone_alloc_aligned(max_rows, s.arena * sizeof(float)))) goto fail;
    for (int i = 0; i < 3; i++)
        if (!(b->low[i] = hone_alloc_aligned(max_rows, s.low * sizeof(float)))) goto fail;
    if (s.dropped && !(b->dropped = hone_alloc_aligned(max_rows, s.dropped * sizeof(float)))) goto fail;
    for (int r = 0; r < (int)HONE_MAX_ROPES; r++) {
        if (!s.cos[r]) continue;
        if (!(b->cos[r] = hone_alloc_aligned(max_rows, s.cos[r] * sizeof(float)))) goto fail;
        if (!(b->sin[r] = hone_alloc_aligned(max_rows, s.cos[r] * sizeof(float)))) goto fail;
    }
    if (!(b->seq = hone_zalloc(max_rows, sizeof(*b->seq)))) goto fail;
    if (!(b->scratch = hone_alloc_aligned(b->n_threads, s.scratch))) goto fail;

    const size_t qn = (size_t)a->n_head * a->head_dim * max_rows, kn = (size_t)a->n_kv_head * a->head_dim * max_rows;
    b->wide[1] = b->wide[0] + s.wide * max_rows;
    b->q = b->wide[0]; /* the MLP is done with `wide` when attention begins */
    b->dq = b->q + qn;
    b->dattn = b->dq + qn;
    b->k = b->dattn + qn;
    b->v = b->k + kn;
    b->dk = b->v + kn;
    b->dv = b->dk + kn;
    *out = b;
    return HONE_OK;
fail:
    hone_backward_close(b);
    return hone_fail(err, HONE_ERR_NOMEM, "no memory for the backward pass of %u rows", max_rows);
}

void hone_backward_close(hone_backward *b) {
    if (!b) return;
    hone_free(b->dx);
    hone_free(b->dout);
    hone_free(b->branch);
    hone_free(b->norm_out);
    hone_free(b->wide[0]);
    for (int i = 0; i < 3; i++) hone_free(b->low[i]);
    hone_free(b->dropped);
    for (int r = 0; r < (int)HONE_MAX_ROPES; r++) {
        hone_free(b->cos[r]);
        hone_free(b->sin[r]);
    }
    hone_free(b->seq);
    hone_free(b->scratch);
    hone_free(b);
}

/* ---- The two halves of a block ---- */

typedef struct {
    hone_backward *b;
    backward_rows_fn fn;
    void *arg;
} rows_work;

static void rows_task(void *arg, uint32_t task, uint32_t thread) {
    const rows_work *w = arg;
    const uint32_t row0 = task * BACKWARD_ROWS, m = w->b->m;
    w->fn(w->arg, row0, m - row0 < BACKWARD_ROWS ? m : row0 + BACKWARD_ROWS, thread);
}

void backward_each_rows(hone_backward *b, backward_rows_fn fn, void *arg) {
    rows_work w = {.b = b, .fn = fn, .arg = arg};
    hone_pool_run(b->pool, (b->m + BACKWARD_ROWS - 1) / BACKWARD_ROWS, rows_task, &w);
}

typedef struct {
    hone_backward *b;
    const float *dout;
} scale_work;

static void scale_rows(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const scale_work *w = arg;
    const float s = w->b->model->arch.residual_scale;
    const size_t d = w->b->model->arch.width;
    for (size_t i = row0 * d; i < row1 * d; i++) w->b->branch[i] = w->dout[i] * s;
}

/* b->branch = gradient of what the branch's last linear layer put out: back through the residual scale and post norm.
 */
static const float *into_branch(hone_backward *b, const float *dout, const hone_norm *post, const float *post_in) {
    const float *d = dout;
    if (!b->model->arch.post_norm || !post->weight) post = NULL; /* as forward decides it */
    if (b->model->arch.residual_scale != 1.0f) {
        scale_work w = {.b = b, .dout = dout};
        backward_each_rows(b, scale_rows, &w);
        d = b->branch;
    }
    if (post) {
        backward_norm(b, post, post_in, d, b->branch, false);
        d = b->branch;
    }
    return d;
}

/* Adds to b->dx what comes through the MLP from the gradient dout of the block's output; x: the MLP norm's input. */
static void mlp_back(hone_backward *b, uint32_t layer, const float *dout, const float *x) {
    const hone_arch *a = &b->model->arch;
    const hone_layer *l = &b->model->layer[layer];
    const hone_tape_layer *t = &b->tape->layer[layer];
    const hone_norm *norm = a->pre_norm ? &l->mlp_norm : NULL;
    if (a->block == HONE_BLOCK_PARALLEL)
        norm = l->mlp_norm.weight ? &l->mlp_norm : &l->attn_norm; /* maybe one for both */
    const float *gate = a->mlp_gated ? t->gate : t->up, *up = a->mlp_gated ? t->up : NULL;
    float *h = b->wide[0], *dh = b->wide[1];

    const float *d = into_branch(b, dout, &l->mlp_post_norm, t->mlp_out);
    backward_activation_again(b, gate, up, h);
    backward_linear(b,
                    &(backward_group){.layer = layer, .n = 1, .module = {HONE_MOD_DOWN}, .dy = {d}, .x = h, .dx = dh});
    backward_activation(b, gate, up, dh, h); /* h holds the gate's gradient now, dh the one of up */
    backward_group in = {.layer = layer, .n = 2, .module = {HONE_MOD_GATE, HONE_MOD_UP}, .dy = {h, dh}};
    if (!a->mlp_gated) in = (backward_group){.layer = layer, .n = 1, .module = {HONE_MOD_UP}, .dy = {h}};
    in.x = backward_norm_again(b, norm, x, b->norm_out);
    in.dx = b->branch;
    backward_linear(b, &in);
    backward_norm(b, norm, x, b->branch, b->dx, true);
}

/* The same for attention.  The lowest layer's input is the embedding, which is frozen: nothing goes on below it. */
static void attention_back(hone_backward *b, uint32_t layer, const float *dout) {
    const hone_layer *l = &b->model->layer[layer];
    const hone_norm *norm = b->model->arch.pre_norm ? &l->attn_norm : NULL;
    const hone_tape_layer *t = &b->tape->layer[layer];
    const float *d = into_branch(b, dout, &l->attn_post_norm, t->attn_out);
    backward_linear(
        b, &(backward_group){.layer = layer, .n = 1, .module = {HONE_MOD_O}, .dy = {d}, .x = t->attn, .dx = b->dattn});
    backward_attention(b, layer);
    backward_group in = {
        .layer = layer, .n = 3, .module = {HONE_MOD_Q, HONE_MOD_K, HONE_MOD_V}, .dy = {b->dq, b->dk, b->dv}};
    in.x = backward_norm_again(b, norm, t->x, b->norm_out);
    in.dx = layer ? b->branch : NULL;
    backward_linear(b, &in);
    if (layer) backward_norm(b, norm, t->x, b->branch, b->dx, true);
}

/* ---- The whole ---- */

static void rope_rows(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    hone_backward *b = arg;
    const hone_arch *a = &b->model->arch;
    for (uint32_t r = 0; r < HONE_MAX_ROPES; r++) {
        const size_t half = a->rope[r].rot / 2;
        for (uint32_t i = row0; b->cos[r] && i < row1; i++)
            hone_rope_row(&a->rope[r], b->rows[i].position, b->views[b->rows[i].seq].length, b->cos[r] + i * half,
                          b->sin[r] + i * half);
    }
}

void hone_backward_run(hone_backward *b, const hone_row *rows, uint32_t m, const hone_seq_view *seqs, uint32_t n_seqs,
                       const hone_tape *tape, const hone_adapter *adapter, const hone_dropout *dropout, float *d_final,
                       hone_lora_grad *grad) {
    (void)n_seqs;
    b->rows = rows;
    b->m = m;
    b->views = seqs;
    b->tape = tape;
    b->adapter = adapter;
    b->dropout = dropout && dropout->p > 0 ? dropout : NULL;
    b->grad = grad;
    b->n_seq = 0;
    for (uint32_t i = 0; i < m; i++) {
        if (i == 0 || rows[i].seq != rows[i - 1].seq) b->seq[b->n_seq++] = (backward_seq){.start = i};
        b->seq[b->n_seq - 1].n++;
    }
    backward_each_rows(b, rope_rows, b);

    const hone_arch *a = &b->model->arch;
    const size_t bytes = (size_t)m * a->width * sizeof(float);
    backward_norm(b, &b->model->final_norm, tape->x_last, d_final, b->dx, false);
    for (uint32_t layer = a->n_layer; layer-- > 0;) {
        if (a->block == HONE_BLOCK_PARALLEL) {
            memcpy(b->dout, b->dx, bytes);
            mlp_back(b, layer, b->dout, tape->layer[layer].x);
            attention_back(b, layer, b->dout);
        } else {
            mlp_back(b, layer, b->dx, tape->layer[layer].x_mid);
            attention_back(b, layer, b->dx);
        }
    }
}
