/* forward.c - runs a block of rows through the layers; the contract is in forward.h.
 *
 * Everything that distinguishes families is read from the architecture record.  A layer is five products with row
 * stages between them; a row stage closes one branch (norm after it, residual sum), opens the next (norm before it) and
 * lays its rows for the products that follow.
 *
 * Refused at open: what the record can say and this pass does not compute (learned positions, ALiBi, routed MLPs).
 * Order: memory, row stages, one layer, the block, the head. */
#include <string.h>

#include "base/mem.h"
#include "engine/forward_internal.h"

/* --- memory: one allocation, planned from the model --- */

typedef struct {
    uint8_t *base; /* NULL while only counting */
    size_t used;
    bool overflow;
} carver;

/* count * size bytes, 64-byte aligned. */
static void *carve(carver *c, size_t count, size_t size) {
    size_t bytes, end;
    void *at = c->base ? c->base + c->used : NULL;
    if (!hone_mul_size(&bytes, count, size) || !hone_add_size(&bytes, bytes, 63) ||
        !hone_add_size(&end, c->used, bytes / 64 * 64)) {
        c->overflow = true;
        return NULL;
    }
    c->used = end;
    return at;
}

static size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

/* The largest laid input that any product of place `item` in its stage may need. */
static size_t act_bytes(const hone_forward *f, uint32_t item) {
    static const hone_module place[FORWARD_MAX_ITEMS][4] = {
        {HONE_MOD_Q, HONE_MOD_O, HONE_MOD_GATE, HONE_MOD_DOWN},
        {HONE_MOD_K, HONE_MOD_UP, HONE_MOD_K, HONE_MOD_UP},
        {HONE_MOD_V, HONE_MOD_V, HONE_MOD_V, HONE_MOD_V},
    };
    const uint32_t rows = f->max_rows > f->max_logit_rows ? f->max_rows : f->max_logit_rows;
    size_t most = 64;
    for (uint32_t l = 0; l < f->model->arch.n_layer; l++)
        for (uint32_t i = 0; i < 4; i++) {
            const hone_weight *w = &f->model->layer[l].linear[place[item][i]].w;
            if (w->n) most = max_size(most, forward_act_bytes(f->kernels, w, rows));
        }
    if (item == 0) {
        most = max_size(most, forward_act_bytes(f->kernels, &f->model->head.w, rows));
        for (uint32_t l = 0; l < f->model->arch.n_layer; l++) { /* a plain MLP's up stands first */
            const hone_weight *w = &f->model->layer[l].linear[HONE_MOD_UP].w;
            if (w->n) most = max_size(most, forward_act_bytes(f->kernels, w, rows));
        }
    }
    return most;
}

static void lay_out(hone_forward *f, carver *c) {
    const hone_arch *a = &f->model->arch;
    const size_t m = f->max_rows, d = a->width, wq = (size_t)a->n_head * a->head_dim,
                 wk = (size_t)a->n_kv_head * a->head_dim, ff = a->mlp_width;
    const size_t head_rows = max_size(m, f->max_logit_rows);
    f->x = carve(c, m * d, sizeof(float));
    f->h = carve(c, m * d, sizeof(float));
    f->branch = carve(c, m * d, sizeof(float));
    f->head_in = carve(c, head_rows * d, sizeof(float));
    f->q = carve(c, m * wq, sizeof(float));
    f->attn = carve(c, m * wq, sizeof(float));
    f->k = carve(c, m * wk, sizeof(float));
    f->v = carve(c, m * wk, sizeof(float));
    f->gate = carve(c, m * ff, sizeof(float));
    f->up = carve(c, m * ff, sizeof(float));
    f->mlp = carve(c, m * ff, sizeof(float));
    size_t rope = 0;
    for (uint32_t i = 0; i < a->n_rope; i++) {
        f->rope_at[i] = rope;
        rope += m * (a->rope[i].rot / 2);
    }
    f->cos = carve(c, rope, sizeof(float));
    f->sin = carve(c, rope, sizeof(float));
    for (uint32_t i = 0; i < FORWARD_MAX_ITEMS; i++) {
        f->act[i] = carve(c, act_bytes(f, i), 1);
        f->ax[i] = carve(c, (i ? m : head_rows) * HONE_FORWARD_MAX_RANK, sizeof(float));
    }
    f->thread_width = max_size(max_size(d, wq), ff);
    f->thread_rows = carve(c, f->n_threads * 16 * f->thread_width, sizeof(float));
    f->thread_attn_bytes = forward_attention_bytes(f->model, f->kv_type, f->max_rows);
    f->thread_attn = carve(c, f->n_threads, f->thread_attn_bytes);
    f->pages = carve(c, m, sizeof(*f->pages));
    f->pos = carve(c, m, sizeof(*f->pos));
    f->own_rows = carve(c, m, sizeof(*f->own_rows));
    f->last_rows = carve(c, m, sizeof(*f->last_rows));
    f->origin = carve(c, m, sizeof(*f->origin));
    f->group = carve(c, m, sizeof(*f->group));
    f->group_at = carve(c, m + 1, sizeof(*f->group_at));
    f->row_adapter = carve(c, m, sizeof(*f->row_adapter));
    f->head_adapter = carve(c, head_rows, sizeof(*f->head_adapter));
    f->segment = carve(c, m, sizeof(*f->segment));
    f->head_segment = carve(c, head_rows, sizeof(*f->head_segment));
    f->cut = carve(c, m + 1, sizeof(*f->cut));
}

size_t hone_forward_plan(const hone_model *model, const hone_pool *pool, uint32_t max_rows, uint32_t max_logit_rows,
                         hone_kv_type kv_type) {
    hone_forward f = {.model = model,
                      .kernels = model->kernels,
                      .n_threads = hone_pool_threads(pool),
                      .max_rows = max_rows,
                      .max_logit_rows = max_logit_rows,
                      .kv_type = kv_type};
    carver c = {0};
    lay_out(&f, &c);
    return c.overflow ? SIZE_MAX : c.used;
}

static hone_status refuse(const hone_arch *a, hone_error *err) {
    if (a->position == HONE_POSITION_LEARNED)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "%s: learned positions are not implemented", a->family);
    if (a->position == HONE_POSITION_ALIBI)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "%s: ALiBi is not implemented", a->family);
    for (uint32_t l = 0; l < a->n_layer; l++) {
        if (a->layer[l].moe)
            return hone_fail(err, HONE_ERR_UNSUPPORTED, "%s: layer %u is routed, which is not implemented", a->family,
                             l);
        if (a->layer[l].rope != HONE_NO_ROPE && a->layer[l].rope >= a->n_rope)
            return hone_fail(err, HONE_ERR_ARG, "%s: layer %u names rope table %u of %u", a->family, l,
                             a->layer[l].rope, a->n_rope);
    }
    return HONE_OK;
}

hone_status hone_forward_open(hone_forward **out, const hone_model *model, hone_pool *pool, uint32_t max_rows,
                              uint32_t max_logit_rows, hone_kv_type kv_type, hone_error *err) {
    *out = NULL;
    /* 2^20 rows of any width a weight file may have stay far below 2^64 bytes. */
    if (max_rows == 0 || max_rows > 1u << 20 || max_logit_rows > 1u << 20)
        return hone_fail(err, HONE_ERR_ARG, "forward: %u rows, %u of logits: at most %u", max_rows, max_logit_rows,
                         1u << 20);
    const hone_status st = refuse(&model->arch, err);
    if (st != HONE_OK) return st;
    hone_forward *f = hone_zalloc(1, sizeof(*f));
    if (!f) return hone_fail(err, HONE_ERR_NOMEM, "forward: no memory");
    f->model = model;
    f->kernels = model->kernels;
    f->pool = pool;
    f->n_threads = hone_pool_threads(pool);
    f->max_rows = max_rows;
    f->max_logit_rows = max_logit_rows;
    f->kv_type = kv_type;
    carver c = {0};
    lay_out(f, &c);
    if (!c.overflow && (f->block = hone_alloc_aligned(c.used, 1))) {
        f->bytes = c.used;
        memset(f->block, 0, c.used); /* pages are touched now, not in the first request */
        c = (carver){.base = f->block};
        lay_out(f, &c);
        *out = f;
        return HONE_OK;
    }
    hone_forward_close(f);
    return hone_fail(err, HONE_ERR_NOMEM, "forward: no memory for %u rows (%zu bytes)", max_rows, c.used);
}

void hone_forward_close(hone_forward *f) {
    if (!f) return;
    hone_free(f->block);
    hone_free(f);
}

size_t hone_forward_bytes(const hone_forward *f) {
    return f->bytes;
}

/* --- row stages --- */

typedef struct {
    hone_forward *f;
    const forward_layer *layer;
    const forward_stage *next; /* the products that read what this stage lays */
} stage_job;

static void embed_rows(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const stage_job *job = arg;
    hone_forward *f = job->f;
    const hone_arch *a = &f->model->arch;
    const uint32_t d = a->width;
    float *x = job->layer->x;
    for (uint32_t r = row0; r < row1; r++) {
        f->kernels->weight_row(&f->model->embed, (uint32_t)f->rows[r].token, x + (size_t)r * d);
        const hone_adapter *adapter = f->row_adapter[r];
        if (adapter && adapter->embed.rank) { /* its rows of A are A x itself */
            const hone_lora *lora = &adapter->embed;
            const float *rows = lora->laid_a ? lora->laid_a : lora->a;
            forward_lora_up(f->kernels, lora, 1, rows + (size_t)f->rows[r].token * lora->rank, lora->rank, 0, d,
                            x + (size_t)r * d, d);
        }
        if (a->embed_scale != 1.0f)
            for (uint32_t i = 0; i < d; i++) x[(size_t)r * d + i] *= a->embed_scale;
        for (uint32_t i = 0; i < a->n_rope; i++) {
            const size_t at = f->rope_at[i] + (size_t)r * (a->rope[i].rot / 2);
            hone_rope_row(&a->rope[i], f->pos[r], f->seqs[f->rows[r].seq].length, f->cos + at, f->sin + at);
        }
    }
    if (a->embed_norm)
        forward_norm(f, &f->model->embed_norm, x + (size_t)row0 * d, row1 - row0, d, x + (size_t)row0 * d, NULL);
}

static float *inv_at(float *inv, const hone_arch *a, uint32_t row) {
    return inv ? inv + (size_t)row * (a->norm == HONE_NORM_RMS ? 1 : 2) : NULL;
}

/* to = from + branch, the branch normed and scaled first where the family does so. */
static void close_branch(hone_forward *f, const hone_norm *post, float *branch, float *post_inv, const float *from,
                         float *to, uint32_t row0, uint32_t row1) {
    const hone_arch *a = &f->model->arch;
    const size_t d = a->width, at = row0 * d, n = (row1 - row0) * d;
    const float *y = branch;
    if (a->post_norm && post->weight) {
        /* the tape keeps the branch as it was, and scratch is free then */
        forward_norm(f, post, branch + at, row1 - row0, a->width, f->branch + at, inv_at(post_inv, a, row0));
        y = f->branch;
    }
    if (to != from) memcpy(to + at, from + at, n * sizeof(float));
    if (a->residual_scale != 1.0f)
        f->kernels->axpy(to + at, a->residual_scale, y + at, n);
    else
        f->kernels->add(to + at, y + at, n);
}

/* What attention and the MLP read: the norm's output where there is a norm before them. */
static const float *attention_input(const hone_forward *f, const forward_layer *layer) {
    return f->model->arch.pre_norm ? f->h : layer->x;
}
static const float *mlp_input(const hone_forward *f, const forward_layer *layer) {
    const hone_arch *a = &f->model->arch;
    return a->pre_norm || a->block == HONE_BLOCK_PARALLEL ? f->h : layer->x_mid;
}

/* Opens attention: norm, laying for q, k, v. */
static void open_attention_rows(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const stage_job *job = arg;
    hone_forward *f = job->f;
    const hone_arch *a = &f->model->arch;
    const forward_layer *layer = job->layer;
    const size_t at = (size_t)row0 * a->width;
    if (a->pre_norm)
        forward_norm(f, &layer->layer->attn_norm, layer->x + at, row1 - row0, a->width, f->h + at,
                     layer->tape ? inv_at(layer->tape->attn_inv, a, row0) : NULL);
    forward_stage_lay(job->next, row0, row1);
}

/* Lays rows for o, down or the head. */
static void lay_rows(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const stage_job *job = arg;
    forward_stage_lay(job->next, row0, row1);
}

/* Closes attention and opens the MLP. */
static void open_mlp_rows(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const stage_job *job = arg;
    hone_forward *f = job->f;
    const hone_arch *a = &f->model->arch;
    const forward_layer *layer = job->layer;
    const hone_tape_layer *tape = layer->tape;
    const size_t at = (size_t)row0 * a->width;
    const bool parallel = a->block == HONE_BLOCK_PARALLEL;
    if (parallel) { /* reads what attention read, before x changes */
        const hone_norm *norm = layer->layer->mlp_norm.weight ? &layer->layer->mlp_norm : &layer->layer->attn_norm;
        forward_norm(f, norm, layer->x + at, row1 - row0, a->width, f->h + at,
                     tape ? inv_at(tape->mlp_inv, a, row0) : NULL);
        forward_stage_lay(job->next, row0, row1);
    }
    close_branch(f, &layer->layer->attn_post_norm, layer->attn_out, tape ? tape->attn_post_inv : NULL, layer->x,
                 layer->x_mid, row0, row1);
    if (parallel) return;
    if (a->pre_norm)
        forward_norm(f, &layer->layer->mlp_norm, layer->x_mid + at, row1 - row0, a->width, f->h + at,
                     tape ? inv_at(tape->mlp_inv, a, row0) : NULL);
    forward_stage_lay(job->next, row0, row1);
}

static void close_mlp_rows(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const stage_job *job = arg;
    const forward_layer *layer = job->layer;
    close_branch(job->f, &layer->layer->mlp_post_norm, layer->mlp_out, layer->tape ? layer->tape->mlp_post_inv : NULL,
                 layer->x_mid, layer->x_next, row0, row1);
}

/* --- one layer --- */

static void place_layer(hone_forward *f, uint32_t l, forward_layer *out) {
    const uint32_t n_layer = f->model->arch.n_layer;
    hone_tape *tape = f->tape;
    *out = (forward_layer){.l = l, .layer = &f->model->layer[l], .arch = &f->model->arch.layer[l]};
    out->x = out->x_mid = out->x_next = f->x;
    out->q = f->q;
    out->k = f->k;
    out->v = f->v;
    out->attn = f->attn;
    out->attn_out = out->mlp_out = f->branch;
    out->gate = f->gate;
    out->up = f->up;
    if (!tape) return;
    hone_tape_layer *t = &tape->layer[l];
    out->tape = t;
    out->x = t->x;
    out->x_mid = t->x_mid;
    out->x_next = l + 1 < n_layer ? tape->layer[l + 1].x : tape->x_last;
    out->q = t->q;
    out->k = t->k;
    out->v = t->v;
    out->attn = t->attn;
    if (t->attn_out) out->attn_out = t->attn_out;
    if (t->mlp_out) out->mlp_out = t->mlp_out;
    if (t->gate) out->gate = t->gate;
    if (t->up) out->up = t->up;
}

static void find_segments(hone_forward *f);

/* The last layer's output is read for rows with logits alone: the others have stored their keys and values by now, and
 * the rest moves to the front. */
static void keep_logit_rows(hone_forward *f, const forward_layer *layer) {
    const hone_arch *a = &f->model->arch;
    const size_t d = a->width, wq = (size_t)a->n_head * a->head_dim;
    uint32_t n = 0;
    for (uint32_t r = 0; r < f->m; r++) {
        if (f->rows[r].logit_row < 0) continue;
        if (n != r) {
            memcpy(layer->x + n * d, layer->x + r * d, d * sizeof(float));
            memcpy(f->q + n * wq, f->q + r * wq, wq * sizeof(float));
            f->pos[n] = f->pos[r];
        }
        f->last_rows[n++] = f->rows[r];
    }
    f->rows = f->last_rows;
    f->m = n;
    find_segments(f);
}

/* The weights of the stage after down: the next layer's, or the head's. */
static void ahead_of_layer(hone_forward *f, const forward_layer *layer) {
    const hone_linear *qkv[3], *head = &f->model->head;
    if (layer->l + 1 == f->model->arch.n_layer) {
        forward_ahead(f, &head, 1);
        return;
    }
    for (uint32_t i = 0; i < 3; i++) qkv[i] = &layer->layer[1].linear[HONE_MOD_Q + i];
    forward_ahead(f, qkv, 3);
}

static void run_layer(hone_forward *f, const forward_layer *layer) {
    const hone_arch *a = &f->model->arch;
    const hone_linear *lin = layer->layer->linear;
    const hone_linear *const mlp = &lin[a->mlp_gated ? HONE_MOD_GATE : HONE_MOD_UP]; /* tasks begin with it */
    const hone_linear *const o = &lin[HONE_MOD_O], *const down = &lin[HONE_MOD_DOWN];
    forward_stage s;
    stage_job job = {.f = f, .layer = layer, .next = &s};

    forward_stage_init(&s, f, layer, attention_input(f, layer), f->m);
    s.tail = FORWARD_QKV;
    forward_stage_add(&s, &lin[HONE_MOD_Q], HONE_MOD_Q, layer->q);
    forward_stage_add(&s, &lin[HONE_MOD_K], HONE_MOD_K, layer->k);
    forward_stage_add(&s, &lin[HONE_MOD_V], HONE_MOD_V, layer->v);
    forward_rows(f, f->m, open_attention_rows, &job);
    forward_ahead(f, &o, 1);
    forward_stage_run(&s);
    forward_positions(f, layer);
    if (layer->l + 1 == a->n_layer && !f->every_row) keep_logit_rows(f, layer);
    if (f->m == 0) return;
    forward_attention(f, layer);

    forward_stage_init(&s, f, layer, layer->attn, f->m);
    forward_stage_add(&s, &lin[HONE_MOD_O], HONE_MOD_O, layer->attn_out);
    forward_rows(f, f->m, lay_rows, &job);
    forward_ahead(f, &mlp, 1);
    forward_stage_run(&s);

    forward_stage_init(&s, f, layer, mlp_input(f, layer), f->m);
    s.tail = FORWARD_MLP;
    s.mlp = f->mlp;
    if (a->mlp_gated) forward_stage_add(&s, &lin[HONE_MOD_GATE], HONE_MOD_GATE, layer->gate);
    forward_stage_add(&s, &lin[HONE_MOD_UP], HONE_MOD_UP, layer->up);
    forward_rows(f, f->m, open_mlp_rows, &job);
    forward_ahead(f, &down, 1);
    forward_stage_run(&s);

    forward_stage_init(&s, f, layer, f->mlp, f->m);
    forward_stage_add(&s, &lin[HONE_MOD_DOWN], HONE_MOD_DOWN, layer->mlp_out);
    forward_rows(f, f->m, lay_rows, &job);
    ahead_of_layer(f, layer);
    forward_stage_run(&s);
    forward_rows(f, f->m, close_mlp_rows, &job);
}

/* --- the block --- */

static const hone_adapter *adapter_of(const hone_forward *f, const hone_row *row) {
    const hone_seq_view *seq = &f->seqs[row->seq];
    return row->position >= seq->applies_from ? seq->adapter : NULL;
}

static uint32_t runs(const hone_adapter *const *adapter, uint32_t m, forward_segment *out) {
    uint32_t n = 0;
    for (uint32_t r = 0; r < m; r++) {
        if (!adapter[r]) continue;
        if (r && adapter[r] == adapter[r - 1] && r - out[n - 1].row0 < FORWARD_SEGMENT_ROWS)
            out[n - 1].row1 = r + 1;
        else
            out[n++] = (forward_segment){adapter[r], r, r + 1};
    }
    return n;
}

/* Sequences with one adapter stand together; those of one adapter, and rows of one sequence, stay in their order. */
static void group_rows(hone_forward *f, const hone_row *rows) {
    const hone_adapter **first = f->row_adapter; /* one of each group; scratch until the end */
    uint32_t n_group = 0, changes = 0;
    for (uint32_t r = 0; r < f->m; r++) {
        const hone_adapter *adapter = f->seqs[rows[r].seq].adapter;
        uint32_t g = r ? f->group[r - 1] : 0;
        if (r == 0 || first[g] != adapter) {
            for (g = 0; g < n_group && first[g] != adapter; g++) continue;
            if (g == n_group) first[n_group++] = adapter;
            changes++;
        }
        f->group[r] = g;
    }
    f->rows = rows;
    f->permuted = changes != n_group;
    if (!f->permuted) return;
    memset(f->group_at, 0, (n_group + 1) * sizeof(*f->group_at));
    for (uint32_t r = 0; r < f->m; r++) f->group_at[f->group[r] + 1]++;
    for (uint32_t g = 0; g < n_group; g++) f->group_at[g + 1] += f->group_at[g];
    for (uint32_t r = 0; r < f->m; r++) {
        const uint32_t at = f->group_at[f->group[r]]++;
        f->own_rows[at] = rows[r];
        f->origin[at] = r;
    }
    f->rows = f->own_rows;
}

static void find_segments(hone_forward *f) {
    for (uint32_t r = 0; r < f->m; r++) f->row_adapter[r] = adapter_of(f, &f->rows[r]);
    f->n_segment = runs(f->row_adapter, f->m, f->segment);
}

/* The head's rows keep the order that the caller gave them: adapters with a part on it are few. */
static void find_head_segments(hone_forward *f, uint32_t n_logit) {
    bool any = false;
    for (uint32_t r = 0; r < f->m; r++) {
        if (f->rows[r].logit_row < 0) continue;
        const hone_adapter *adapter = f->row_adapter[r];
        if (adapter && !adapter->head.rank) adapter = NULL;
        f->head_adapter[f->rows[r].logit_row] = adapter;
        any |= adapter != NULL;
    }
    f->n_head_segment = any ? runs(f->head_adapter, n_logit, f->head_segment) : 0;
}

typedef struct {
    hone_forward *f;
    const float *x; /* [m, D] */
    float *out;     /* [m, D] */
    float *inv;
} final_job;

static void final_norm_rows(void *arg, uint32_t row0, uint32_t row1, uint32_t thread) {
    (void)thread;
    const final_job *job = arg;
    const hone_arch *a = &job->f->model->arch;
    const size_t at = (size_t)row0 * a->width;
    forward_norm(job->f, &job->f->model->final_norm, job->x + at, row1 - row0, a->width, job->out + at,
                 inv_at(job->inv, a, row0));
}

/* At most max(max_rows, max_logit_rows) rows. */
static void run_head(hone_forward *f, const float *final_out, uint32_t m, float *logits) {
    forward_stage s;
    forward_stage_init(&s, f, NULL, final_out, m);
    s.tail = FORWARD_HEAD;
    forward_stage_add(&s, &f->model->head, HONE_MOD_COUNT, logits);
    stage_job job = {.f = f, .next = &s};
    forward_rows(f, m, lay_rows, &job);
    forward_stage_run(&s);
}

void hone_forward_run(hone_forward *f, const hone_row *rows, uint32_t m, const hone_seq_view *seqs, uint32_t n_seqs,
                      float *logits, float *hidden, hone_tape *tape, const hone_dropout *dropout) {
    (void)n_seqs;
    if (m == 0) return;
    const hone_arch *a = &f->model->arch;
    const uint32_t d = a->width;
    f->m = m;
    f->seqs = seqs;
    f->tape = tape;
    f->dropout = dropout;
    f->every_row = tape || hidden;
    group_rows(f, rows);
    rows = f->rows;
    for (uint32_t r = 0; r < m; r++) f->pos[r] = rows[r].position;
    find_segments(f);
    forward_cut(f);

    forward_layer layer;
    place_layer(f, 0, &layer);
    stage_job job = {.f = f, .layer = &layer};
    forward_rows(f, m, embed_rows, &job);
    for (uint32_t l = 0; l < a->n_layer; l++) {
        place_layer(f, l, &layer);
        run_layer(f, &layer);
    }

    const float *x = layer.x_next;
    uint32_t n_logit = 0;
    rows = f->rows;
    m = f->m;
    for (uint32_t r = 0; r < m; r++) n_logit += rows[r].logit_row >= 0;
    float *out = tape ? tape->final_out : hidden && f->permuted ? f->h : hidden;
    if (out) { /* every row is normed; the head reads from there */
        final_job all = {f, x, out, tape ? tape->final_inv : NULL};
        forward_rows(f, m, final_norm_rows, &all);
        for (uint32_t r = 0; hidden && hidden != out && r < m; r++)
            memcpy(hidden + (size_t)(f->permuted ? f->origin[r] : r) * d, out + (size_t)r * d, d * sizeof(float));
        x = out;
    }
    if (n_logit == 0 || !logits) return;
    for (uint32_t r = 0; r < m; r++)
        if (rows[r].logit_row >= 0)
            memcpy(f->head_in + (size_t)rows[r].logit_row * d, x + (size_t)r * d, d * sizeof(float));
    if (!out) {
        final_job some = {f, f->head_in, f->head_in, NULL};
        forward_rows(f, n_logit, final_norm_rows, &some);
    }
    find_head_segments(f, n_logit);
    run_head(f, f->head_in, n_logit, logits);
}

void hone_forward_head(hone_forward *f, const float *final_out, uint32_t m, const hone_adapter *adapter,
                       float *logits) {
    const uint32_t most = f->max_rows > f->max_logit_rows ? f->max_rows : f->max_logit_rows;
    const size_t d = f->model->arch.width, v = f->model->head.w.n;
    for (uint32_t r = 0; r < m; r += most) {
        const uint32_t n = m - r < most ? m - r : most;
        for (uint32_t i = 0; i < n; i++) f->head_adapter[i] = adapter && adapter->head.rank ? adapter : NULL;
        f->n_head_segment = runs(f->head_adapter, n, f->head_segment);
        run_head(f, final_out + r * d, n, logits + r * v);
    }
}

float hone_logprob(const hone_kernels *k, const float *logits, uint32_t vocab, int32_t token) {
    return logits[token] - k->log_sum_exp(logits, vocab);
}
