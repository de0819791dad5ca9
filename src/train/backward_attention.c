/* backward_attention.c - causal attention of whole sequences, with grouped heads, windows and soft caps.
 *
 * Scores are computed again from the rotated queries and keys, probabilities by the stored log-sum-exp:
 *   P = exp(c - lse), c = softcap(scale * q k),   dP = dO V^T,   dS = P * (dP - sum(dO * O)) * scale * softcap'
 *   dQ = dS K,   dK = dS^T Q,   dV = P^T dO                         (Dao et al., 2022, algorithm 4)
 * A task is one key/value head of one sequence; all its sums are its own.
 * Order: rows forward again, one task, rows back, the whole. */
#include <math.h>
#include <string.h>

#include "train/backward_parts.h"

typedef struct {
    hone_backward *b;
    uint32_t layer;
} work;

/* ---- Queries, keys and values as attention saw them ---- */

static float rounded(hone_kv_type t, float x) {
    return t == HONE_KV_BF16 ? hone_bf16_widen(hone_bf16_round(x)) : x;
}

static void head_norm(const hone_backward *b, const hone_norm *norm, float *row, uint32_t n_head) {
    const hone_arch *a = &b->model->arch;
    const bool whole = a->qk_norm == HONE_QK_NORM_WIDTH;
    const uint32_t n = whole ? 1 : n_head, d = whole ? n_head * a->head_dim : a->head_dim;
    if (a->norm == HONE_NORM_LAYER)
        b->kernels->layer_norm(row, d, norm->weight, norm->bias, a->norm_plus_one, a->norm_eps, n, d, row, d, NULL);
    else
        b->kernels->rms_norm(row, d, norm->weight, a->norm_plus_one, a->norm_eps, n, d, row, d, NULL);
}

static void rotate(const hone_backward *b, uint32_t layer, float *row, uint32_t n_head, uint32_t i, const float *sin) {
    const hone_arch *a = &b->model->arch;
    const hone_rope *rope = &a->rope[a->layer[layer].rope];
    const float *cos = b->cos[a->layer[layer].rope] + (size_t)i * (rope->rot / 2);
    for (uint32_t h = 0; h < n_head; h++)
        b->kernels->rope(row + (size_t)h * a->head_dim, rope->rot, !rope->interleaved, cos, sin);
}

static bool rotates(const hone_arch *a, uint32_t layer) {
    return a->position == HONE_POSITION_ROPE && a->layer[layer].rope != HONE_NO_ROPE;
}

static const float *sin_row(const hone_backward *b, uint32_t layer, uint32_t i) {
    const hone_arch *a = &b->model->arch;
    const uint8_t r = a->layer[layer].rope;
    return b->sin[r] + (size_t)i * (a->rope[r].rot / 2);
}

static void prepare_row(const hone_backward *b, uint32_t layer, const hone_norm *norm, float *row, uint32_t n_head,
                        uint32_t i) {
    const hone_arch *a = &b->model->arch;
    const bool normed = a->qk_norm != HONE_QK_NORM_NONE;
    if (normed && !a->qk_norm_after_rope) head_norm(b, norm, row, n_head);
    if (rotates(a, layer)) rotate(b, layer, row, n_head, i, sin_row(b, layer, i));
    if (normed && a->qk_norm_after_rope) head_norm(b, norm, row, n_head);
}

static void prepare(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const work *w = arg;
    hone_backward *b = w->b;
    const hone_arch *a = &b->model->arch;
    const hone_tape_layer *t = &b->tape->layer[w->layer];
    const hone_layer *l = &b->model->layer[w->layer];
    const size_t qn = (size_t)a->n_head * a->head_dim, kn = (size_t)a->n_kv_head * a->head_dim;
    for (uint32_t i = row0; i < row1; i++) {
        float *q = b->q + i * qn, *k = b->k + i * kn, *v = b->v + i * kn;
        memcpy(q, t->q + i * qn, qn * sizeof(*q));
        memcpy(k, t->k + i * kn, kn * sizeof(*k));
        prepare_row(b, w->layer, &l->q_norm, q, a->n_head, i);
        prepare_row(b, w->layer, &l->k_norm, k, a->n_kv_head, i);
        for (size_t j = 0; j < qn; j++) q[j] = rounded(b->kv_type, q[j]);
        for (size_t j = 0; j < kn; j++) {
            k[j] = rounded(b->kv_type, k[j]);
            v[j] = rounded(b->kv_type, t->v[i * kn + j]);
        }
    }
}

/* ---- One key/value head of one sequence ---- */

/* Turns a row of scores s[n] and z[n] = dO V^T into probabilities and dS. */
static void row_gradient(const hone_kernels *k, const hone_arch *a, float lse, float inner, float *s, float *z,
                         uint32_t n) {
    if (a->attn_softcap > 0.0f) {
        const float inv = 1.0f / a->attn_softcap;
        k->softcap(s, a->attn_softcap, n);
        for (uint32_t j = 0; j < n; j++) {
            const float c = s[j] * inv;
            z[j] = (z[j] - inner) * (1.0f - c * c);
        }
    } else {
        for (uint32_t j = 0; j < n; j++) z[j] -= inner;
    }
    k->exp_shift(s, lse, n, s);
    for (uint32_t j = 0; j < n; j++) z[j] *= s[j] * a->attn_scale;
}

static void one_head(void *arg, uint32_t task, uint32_t thread) {
    const work *w = arg;
    hone_backward *b = w->b;
    const hone_arch *a = &b->model->arch;
    const hone_kernels *ops = b->kernels;
    const backward_seq seq = b->seq[task / a->n_kv_head];
    const uint32_t g = task % a->n_kv_head, group = a->n_head / a->n_kv_head, e = a->head_dim;
    const uint32_t window = a->layer[w->layer].window;
    const size_t qn = (size_t)a->n_head * e, kn = (size_t)a->n_kv_head * e;
    const size_t k_at = seq.start * kn + (size_t)g * e;
    const hone_tape_layer *tape = &b->tape->layer[w->layer];
    float *s = backward_scratch(b, thread), *z = s + (size_t)BACKWARD_QUERIES * b->max_rows;
    for (uint32_t j = 0; j < seq.n; j++) {
        memset(b->dk + k_at + j * kn, 0, e * sizeof(float));
        memset(b->dv + k_at + j * kn, 0, e * sizeof(float));
    }
    for (uint32_t h = g * group; h < (g + 1) * group; h++)
        for (uint32_t i0 = 0; i0 < seq.n; i0 += BACKWARD_QUERIES) {
            const uint32_t i1 = seq.n - i0 < BACKWARD_QUERIES ? seq.n : i0 + BACKWARD_QUERIES;
            const uint32_t j0 = window && i0 + 1 > window ? i0 + 1 - window : 0, nk = i1 - j0, m = i1 - i0;
            const size_t q_at = (seq.start + i0) * qn + (size_t)h * e;
            const float *q = b->q + q_at, *d_out = b->dattn + q_at, *k = b->k + k_at + j0 * kn;
            ops->gemm_nt(m, nk, e, a->attn_scale, q, qn, k, kn, s, nk, false);
            ops->gemm_nt(m, nk, e, 1.0f, d_out, qn, b->v + k_at + j0 * kn, kn, z, nk, false);
            for (uint32_t i = i0; i < i1; i++) {
                const uint32_t lo = window && i + 1 > window ? i + 1 - window : 0;
                const uint32_t from = lo - j0, to = i + 1 - j0;
                const size_t row = seq.start + i, at = (size_t)(i - i0) * nk;
                const float inner =
                    ops->dot(b->dattn + row * qn + (size_t)h * e, tape->attn + row * qn + (size_t)h * e, e);
                row_gradient(ops, a, tape->lse[row * a->n_head + h], inner, s + at + from, z + at + from, to - from);
                memset(s + at, 0, from * sizeof(*s)); /* what the mask hides */
                memset(z + at, 0, from * sizeof(*z));
                memset(s + at + to, 0, (nk - to) * sizeof(*s));
                memset(z + at + to, 0, (nk - to) * sizeof(*z));
            }
            ops->gemm_nn(m, e, nk, 1.0f, z, nk, k, kn, b->dq + q_at, qn, false);
            ops->gemm_tn(nk, e, m, 1.0f, z, nk, q, qn, b->dk + k_at + j0 * kn, kn, true);
            ops->gemm_tn(nk, e, m, 1.0f, s, nk, d_out, qn, b->dv + k_at + j0 * kn, kn, true);
        }
}

/* ---- Back through rotation and head norms ---- */

static void head_norm_back(const hone_backward *b, const hone_norm *norm, const float *x, float *d, uint32_t n_head,
                           float *tmp) {
    const hone_arch *a = &b->model->arch;
    const bool whole = a->qk_norm == HONE_QK_NORM_WIDTH;
    backward_norm_rows(b->kernels, a->norm, a->norm_plus_one, a->norm_eps, norm, x, whole ? 1 : n_head,
                       whole ? n_head * a->head_dim : a->head_dim, d, d, false, tmp);
}

/* raw: the tape's row; d: its gradient, in place.  tmp: room for four rows. */
static void finish_row(const hone_backward *b, uint32_t layer, const hone_norm *norm, const float *raw, float *d,
                       uint32_t n_head, uint32_t i, float *tmp) {
    const hone_arch *a = &b->model->arch;
    const size_t n = (size_t)n_head * a->head_dim;
    const bool normed = a->qk_norm != HONE_QK_NORM_NONE;
    float *minus = tmp, *x = tmp + n;
    if (normed && a->qk_norm_after_rope) { /* the norm's input is the rotated row */
        memcpy(x, raw, n * sizeof(*x));
        if (rotates(a, layer)) rotate(b, layer, x, n_head, i, sin_row(b, layer, i));
        head_norm_back(b, norm, x, d, n_head, x + n);
    }
    if (rotates(a, layer)) { /* a rotation's transpose is the rotation by the opposite angle */
        const uint32_t half = a->rope[a->layer[layer].rope].rot / 2;
        const float *sin = sin_row(b, layer, i);
        for (uint32_t j = 0; j < half; j++) minus[j] = -sin[j];
        rotate(b, layer, d, n_head, i, minus);
    }
    if (normed && !a->qk_norm_after_rope) head_norm_back(b, norm, raw, d, n_head, x);
    if (a->clip_qkv > 0.0f)
        for (size_t j = 0; j < n; j++)
            if (fabsf(raw[j]) >= a->clip_qkv) d[j] = 0.0f;
}

static void finish(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    const work *w = arg;
    hone_backward *b = w->b;
    const hone_arch *a = &b->model->arch;
    const hone_tape_layer *t = &b->tape->layer[w->layer];
    const hone_layer *l = &b->model->layer[w->layer];
    const size_t qn = (size_t)a->n_head * a->head_dim, kn = (size_t)a->n_kv_head * a->head_dim;
    float *tmp = backward_scratch(b, thread);
    for (uint32_t i = row0; i < row1; i++) {
        finish_row(b, w->layer, &l->q_norm, t->q + i * qn, b->dq + i * qn, a->n_head, i, tmp);
        finish_row(b, w->layer, &l->k_norm, t->k + i * kn, b->dk + i * kn, a->n_kv_head, i, tmp);
        for (size_t j = 0; a->clip_qkv > 0.0f && j < kn; j++)
            if (fabsf(t->v[i * kn + j]) >= a->clip_qkv) b->dv[i * kn + j] = 0.0f;
    }
}

void backward_attention(hone_backward *b, uint32_t layer) {
    work w = {.b = b, .layer = layer};
    backward_each_rows(b, prepare, &w);
    hone_pool_run(b->pool, b->n_seq * b->model->arch.n_kv_head, one_head, &w);
    backward_each_rows(b, finish, &w);
}

size_t backward_attention_scratch(const hone_arch *a, uint32_t max_rows) {
    const size_t scores = (size_t)2 * BACKWARD_QUERIES * max_rows, row = (size_t)4 * a->n_head * a->head_dim;
    return (scores > row ? scores : row) * sizeof(float);
}
