/* adapter.c - adapters: their memory, new ones, writing; the contract is in adapter.h, reading in adapter_read.c.
 *
 * In float form A and B of all matrices stand one after the other in one piece of memory, lora[0][0].a first; vectors
 * of DoRA follow.
 *
 * Order: memory, new, where it applies, writing. */
#include "model/adapter.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/random.h"
#include "model/adapter_config.h"
#include "model/adapter_private.h"
#include "model/safetensors.h"

/* ---- memory ---- */

uint32_t adapter_count(const hone_adapter *a) {
    return a->n_layer * HONE_MOD_COUNT + 2;
}

hone_lora *adapter_at(const hone_adapter *a, uint32_t i) {
    const uint32_t n = a->n_layer * HONE_MOD_COUNT;
    if (i < n) return &a->lora[i / HONE_MOD_COUNT][i % HONE_MOD_COUNT];
    return (hone_lora *)(uintptr_t)(i == n ? &a->embed : &a->head);
}

void hone_adapter_free(hone_adapter *a) {
    if (!a) return;
    hone_free(((adapter *)a)->block);
    hone_free(a->lora);
    hone_free(a->invocation);
    json_decref(a->config);
    hone_free(a);
}

hone_status adapter_make(adapter **out, const hone_arch *arch, json_t *config, hone_error *err) {
    *out = NULL;
    adapter *a = hone_zalloc(1, sizeof(*a));
    if (!a) {
        json_decref(config);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    }
    hone_adapter *s = &a->shown;
    s->config = config;
    s->n_layer = arch->n_layer;
    hone_status st = HONE_OK;
    if (!config || !(s->lora = hone_zalloc(arch->n_layer, sizeof(*s->lora))))
        st = hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    if (st == HONE_OK) st = adapter_config_apply(s, arch, config, err);
    if (st != HONE_OK) {
        hone_adapter_free(s);
        return st;
    }
    *out = a;
    return HONE_OK;
}

hone_status adapter_room_floats(adapter *a, hone_error *err) {
    hone_adapter *s = &a->shown;
    size_t n_float = 0, n_vector = 0;
    bool fits = true;
    for (uint32_t i = 0; i < adapter_count(s); i++) {
        const hone_lora *lora = adapter_at(s, i);
        /* rank <= 2^16, widths <= 2^24: their products fit */
        fits &= hone_add_size(&n_float, n_float, (size_t)lora->rank * ((size_t)lora->n + lora->k));
        if (s->dora && lora->rank) fits &= hone_add_size(&n_vector, n_vector, 2 * (size_t)lora->n);
    }
    fits &= hone_add_size(&n_vector, n_float, n_vector);
    float *at = fits ? hone_zalloc(n_vector, sizeof(float)) : NULL;
    if (!at) return hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    a->block = at;
    for (uint32_t i = 0; i < adapter_count(s); i++) {
        hone_lora *lora = adapter_at(s, i);
        if (lora->rank == 0) continue;
        lora->a = at;
        lora->b = at += (size_t)lora->rank * lora->k;
        at += (size_t)lora->rank * lora->n;
    }
    for (uint32_t i = 0; s->dora && i < adapter_count(s); i++) {
        hone_lora *lora = adapter_at(s, i);
        if (lora->rank == 0) continue;
        lora->magnitude = at;
        lora->gain = at += lora->n;
        at += lora->n;
    }
    s->bytes = n_float * sizeof(float);
    return HONE_OK;
}

/* ---- new ---- */

hone_status hone_adapter_new(hone_adapter **out, const hone_arch *arch, const hone_adapter_config *cfg,
                             hone_error *err) {
    *out = NULL;
    adapter *a = NULL;
    if (!isfinite(cfg->alpha) || !isfinite(cfg->dropout))
        return hone_fail(err, HONE_ERR_ARG, "alpha or dropout of the adapter is not finite");
    const hone_status s = adapter_make(&a, arch, adapter_config_make(cfg), err);
    if (s) {
        if (s == HONE_ERR_FORMAT && err) err->code = HONE_ERR_ARG; /* here the values are the caller's, not a file's */
        return s == HONE_ERR_FORMAT ? HONE_ERR_ARG : s;
    }
    const hone_status room = adapter_room_floats(a, err);
    if (room) {
        hone_adapter_free(&a->shown);
        return room;
    }
    for (uint32_t l = 0; l < a->shown.n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
            const hone_lora *lora = &a->shown.lora[l][m];
            const float bound = lora->rank ? (float)(1.0 / sqrt(lora->k)) : 0;
            for (size_t i = 0; i < (size_t)lora->rank * lora->k; i++)
                lora->a[i] = (2.0f * hone_random_unit(cfg->seed, l, m, i) - 1.0f) * bound;
        }
    *out = &a->shown;
    return HONE_OK;
}

/* ---- where it applies ---- */

uint32_t hone_adapter_applies_from(const hone_adapter *a, const int32_t *prompt, uint32_t n) {
    const uint32_t k = a->n_invocation;
    if (k == 0) return 0;
    for (uint32_t at = n; at-- > 0;)
        if (n - at >= k && memcmp(prompt + at, a->invocation, k * sizeof(*prompt)) == 0) return at;
    return HONE_APPLIES_NOWHERE;
}

const char *hone_adapter_untrainable(const hone_adapter *a) {
    if (a->laid) return "an adapter laid for serving";
    if (a->dora) return "use_dora";
    if (a->n_invocation) return "alora_invocation_tokens";
    if (a->embed.rank) return "embed_tokens";
    return a->head.rank ? "lm_head" : NULL;
}

/* ---- writing ---- */

typedef struct {
    hone_tensor *tensor;
    char (*name)[160];
    size_t n;
} listing;

static void list_one(listing *t, uint32_t l, uint32_t m, char which, const float *data, uint32_t rows, uint32_t cols) {
    adapter_tensor_name(t->name[t->n], l, m, which);
    t->tensor[t->n] = (hone_tensor){.name = t->name[t->n],
                                    .dtype = HONE_F32,
                                    .n_dim = 2,
                                    .shape = {rows, cols},
                                    .data = data,
                                    .bytes = (size_t)rows * cols * sizeof(float)};
    t->n++;
}

/* a_of NULL: the adapter's own numbers. */
static hone_status tensor_bytes(hone_buf *out, const hone_adapter *s, float *const *a_of, float *const *b_of,
                                hone_error *err) {
    const size_t max = 2 * HONE_MOD_COUNT * (size_t)s->n_layer;
    listing t = {hone_zalloc(max, sizeof(*t.tensor)), hone_zalloc(max, sizeof(*t.name)), 0};
    hone_status status =
        t.tensor && t.name ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory for %zu tensors", max);
    for (uint32_t l = 0; status == HONE_OK && l < s->n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
            const hone_lora *lora = &s->lora[l][m];
            const size_t i = (size_t)l * HONE_MOD_COUNT + m;
            if (lora->rank == 0) continue;
            list_one(&t, l, m, 'A', a_of ? a_of[i] : lora->a, lora->rank, lora->k);
            list_one(&t, l, m, 'B', b_of ? b_of[i] : lora->b, lora->n, lora->rank);
        }
    if (status == HONE_OK) status = hone_safetensors_write(out, t.tensor, t.n, err);
    hone_free(t.tensor);
    hone_free(t.name);
    return status;
}

hone_status hone_adapter_write_tensors(const hone_adapter *shape, float *const *a_of, float *const *b_of,
                                       const char *path, hone_error *err) {
    hone_buf bytes = {0};
    hone_status s = tensor_bytes(&bytes, shape, a_of, b_of, err);
    if (s == HONE_OK) s = hone_file_write_atomic(path, bytes.data, bytes.n, err);
    hone_buf_free(&bytes);
    return s;
}

static hone_status config_bytes(hone_buf *out, const hone_adapter *a, hone_error *err) {
    /* A copy, so that writing changes nothing; keys sorted as PEFT sorts them. */
    hone_json_memory_reset();
    json_t *c = json_deep_copy(a->config);
    const bool set = json_object_set_new(c, "base_model_name_or_path", json_string(a->base)) == 0 &&
                     json_object_set_new(c, "inference_mode", json_true()) == 0;
    char *text = set ? json_dumps(c, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    const bool ok = text && hone_json_memory_ok() && hone_buf_text(out, text);
    json_free_t release = NULL;
    json_get_alloc_funcs(NULL, &release); /* jansson's own, whatever hone_json_init() made of it */
    if (text) release(text);
    json_decref(c);
    return ok ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory for " CONFIG_FILE);
}

hone_status hone_adapter_write(hone_adapter *a, const char *dir, hone_error *err) {
    hone_buf config = {0}, tensors = {0};
    char *config_path = hone_path_join(dir, CONFIG_FILE), *tensors_path = hone_path_join(dir, TENSORS_FILE);
    hone_status s = config_path && tensors_path ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory");
    if (s == HONE_OK && hone_adapter_untrainable(a))
        s = hone_fail(err, HONE_ERR_UNSUPPORTED, "an adapter with %s cannot be written", hone_adapter_untrainable(a));
    if (s == HONE_OK) s = tensor_bytes(&tensors, a, NULL, NULL, err);
    if (s == HONE_OK) s = config_bytes(&config, a, err);
    if (s == HONE_OK) s = hone_folder_make(dir, err);
    /* The config last: a folder with it has its tensors. */
    if (s == HONE_OK) s = hone_file_write_atomic(tensors_path, tensors.data, tensors.n, err);
    if (s == HONE_OK) s = hone_file_write_atomic(config_path, config.data, config.n, err);
    if (s == HONE_OK && hone_digest_bytes(tensors.data, tensors.n, a->digest))
        s = hone_fail(err, HONE_ERR_NOMEM, "no memory for a digest");
    hone_buf_free(&config);
    hone_buf_free(&tensors);
    hone_free(config_path);
    hone_free(tensors_path);
    return s;
}
