/* adapter.c - adapters: made new, read, written; the contract is in adapter.h.
 *
 * A and B of all matrices stand one after the other in one piece of memory, lora[0][0].a first.
 *
 * Order: memory, new, reading, writing. */
#include "model/adapter.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/random.h"
#include "model/adapter_config.h"
#include "model/safetensors.h"

#define CONFIG_FILE "adapter_config.json"
#define TENSORS_FILE "adapter_model.safetensors"
#define MAX_CONFIG_BYTES (1u << 20)

/* The struct that callers see, and the memory behind it. */
typedef struct {
    hone_adapter shown; /* first: a pointer to one is a pointer to the other */
    float *floats;
    uint32_t width_n[HONE_MOD_COUNT], width_k[HONE_MOD_COUNT];
} adapter;

/* ---- memory ---- */

void hone_adapter_free(hone_adapter *a) {
    if (!a) return;
    hone_free(((adapter *)a)->floats);
    hone_free(a->lora);
    json_decref(a->config);
    hone_free(a);
}

/* Ranks and scales by config, which is taken over also on failure; room for A and B. */
static hone_status make(adapter **out, const hone_arch *arch, json_t *config, hone_error *err) {
    *out = NULL;
    adapter *a = hone_zalloc(1, sizeof(*a));
    if (!a) {
        json_decref(config);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    }
    hone_adapter *s = &a->shown;
    s->config = config;
    s->n_layer = arch->n_layer;
    hone_status st = HONE_ERR_NOMEM;
    if (!config || !(s->lora = hone_zalloc(arch->n_layer, sizeof(*s->lora)))) goto no_memory;
    if ((st = adapter_config_apply(s, arch, config, err))) goto fail;

    size_t n_float = 0;
    bool fits = true;
    for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
        adapter_module_shape(arch, (hone_module)m, &a->width_n[m], &a->width_k[m]);
        for (uint32_t l = 0; l < s->n_layer; l++) {
            /* rank <= 2^16, widths <= 2^24: their products fit */
            const size_t one = (size_t)s->lora[l][m].rank * ((size_t)a->width_n[m] + a->width_k[m]);
            fits &= hone_add_size(&n_float, n_float, one);
        }
    }
    if (!fits || !(a->floats = hone_zalloc(n_float, sizeof(float)))) goto no_memory;
    float *at = a->floats;
    for (uint32_t l = 0; l < s->n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
            hone_lora *lora = &s->lora[l][m];
            if (lora->rank == 0) continue;
            lora->a = at;
            lora->b = at += (size_t)lora->rank * a->width_k[m];
            at += (size_t)lora->rank * a->width_n[m];
        }
    s->bytes = n_float * sizeof(float);
    *out = a;
    return HONE_OK;
no_memory:
    st = hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
fail:
    hone_adapter_free(s);
    return st;
}

/* ---- new ---- */

hone_status hone_adapter_new(hone_adapter **out, const hone_arch *arch, const hone_adapter_config *cfg,
                             hone_error *err) {
    *out = NULL;
    adapter *a = NULL;
    if (!isfinite(cfg->alpha) || !isfinite(cfg->dropout))
        return hone_fail(err, HONE_ERR_ARG, "alpha or dropout of the adapter is not finite");
    const hone_status s = make(&a, arch, adapter_config_make(cfg), err);
    if (s) {
        if (s == HONE_ERR_FORMAT && err) err->code = HONE_ERR_ARG; /* here the values are the caller's, not a file's */
        return s == HONE_ERR_FORMAT ? HONE_ERR_ARG : s;
    }
    for (uint32_t l = 0; l < a->shown.n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
            const hone_lora *lora = &a->shown.lora[l][m];
            const float bound = (float)(1.0 / sqrt(a->width_k[m]));
            for (size_t i = 0; i < (size_t)lora->rank * a->width_k[m]; i++)
                lora->a[i] = (2.0f * hone_random_unit(cfg->seed, l, m, i) - 1.0f) * bound;
        }
    *out = &a->shown;
    return HONE_OK;
}

/* ---- reading ---- */

static void tensor_name(char out[160], uint32_t l, uint32_t m, char which) {
    snprintf(out, 160, "base_model.model.model.layers.%u.%s.lora_%c.weight", l, hone_module_path((hone_module)m),
             which);
}

static hone_status read_matrix(const hone_safetensors *st, const char *name, float *out, uint32_t rows, uint32_t cols,
                               hone_error *err) {
    const hone_tensor *t = hone_safetensors_find(st, name);
    if (!t) return hone_fail(err, HONE_ERR_FORMAT, "tensor %s is missing", name);
    if (t->n_dim != 2 || t->shape[0] != rows || t->shape[1] != cols) {
        char shape[64] = "not a matrix";
        if (t->n_dim == 2)
            snprintf(shape, sizeof(shape), "%llu x %llu", (unsigned long long)t->shape[0],
                     (unsigned long long)t->shape[1]);
        return hone_fail(err, HONE_ERR_FORMAT, "tensor %s is %s, this model and the adapter's rank ask for %u x %u",
                         name, shape, rows, cols);
    }
    const size_t one = hone_dtype_block_bytes(t->dtype);
    for (size_t i = 0; i < (size_t)rows * cols; i++) {
        uint8_t word[4]; /* tensors have any alignment */
        union {
            uint32_t u32;
            uint16_t u16;
        } aligned;
        memcpy(word, (const uint8_t *)t->data + i * one, one);
        memcpy(&aligned, word, one);
        hone_dtype_widen(t->dtype, &aligned, &out[i], 1);
        if (!isfinite(out[i])) return hone_fail(err, HONE_ERR_FORMAT, "tensor %s: element %zu is not finite", name, i);
    }
    return HONE_OK;
}

static hone_status read_tensors(adapter *a, const hone_safetensors *st, hone_error *err) {
    hone_adapter *s = &a->shown;
    char name[160];
    size_t n = 0;
    hone_status status = HONE_OK;
    for (uint32_t l = 0; l < s->n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
            const hone_lora *lora = &s->lora[l][m];
            if (lora->rank == 0) continue;
            tensor_name(name, l, m, 'A');
            if ((status = read_matrix(st, name, lora->a, lora->rank, a->width_k[m], err))) return status;
            tensor_name(name, l, m, 'B');
            if ((status = read_matrix(st, name, lora->b, a->width_n[m], lora->rank, err))) return status;
            n += 2;
        }
    /* All that were wanted were found; more in the file than that belongs to something else. */
    for (size_t i = 0; n != hone_safetensors_count(st) && i < hone_safetensors_count(st); i++) {
        const char *have = hone_safetensors_at(st, i)->name;
        bool placed = false;
        for (uint32_t l = 0; l < s->n_layer && !placed; l++)
            for (uint32_t m = 0; m < HONE_MOD_COUNT && !placed; m++)
                for (uint32_t ab = 0; ab < 2 && s->lora[l][m].rank && !placed; ab++) {
                    tensor_name(name, l, m, ab ? 'B' : 'A');
                    placed = strcmp(name, have) == 0;
                }
        if (!placed)
            return hone_fail(err, HONE_ERR_FORMAT,
                             "tensor %.200s lands nowhere: it is no matrix of this model that " CONFIG_FILE " targets",
                             have);
    }
    return HONE_OK;
}

static hone_status read_both(hone_adapter **out, const void *config, size_t config_n, const void *tensors,
                             size_t tensors_n, const char *config_name, const char *tensors_name, const hone_arch *arch,
                             hone_error *err) {
    *out = NULL;
    adapter *a = NULL;
    hone_safetensors *st = NULL;
    if (config_n > MAX_CONFIG_BYTES)
        return hone_fail(err, HONE_ERR_LIMIT, "%s: larger than %u bytes", config_name, MAX_CONFIG_BYTES);
    json_t *json = hone_json_parse(config, config_n, err);
    hone_status s = json ? HONE_OK : err ? err->code : HONE_ERR_FORMAT;
    if (s || (s = make(&a, arch, json, err))) return hone_fail_within(err, s, "%s: ", config_name);
    if ((s = hone_safetensors_open(&st, tensors, tensors_n, tensors_name, err)) == HONE_OK &&
        (s = read_tensors(a, st, err)))
        s = hone_fail_within(err, s, "%s: ", tensors_name);
    hone_safetensors_close(st);
    if (s == HONE_OK && hone_digest_bytes(tensors, tensors_n, a->shown.digest))
        s = hone_fail(err, HONE_ERR_NOMEM, "%s: no memory for a digest", tensors_name);
    if (s) {
        hone_adapter_free(&a->shown);
        return s;
    }
    *out = &a->shown;
    return HONE_OK;
}

hone_status hone_adapter_read_bytes(hone_adapter **out, const void *config, size_t config_n, const void *tensors,
                                    size_t tensors_n, const hone_arch *arch, hone_error *err) {
    return read_both(out, config, config_n, tensors, tensors_n, CONFIG_FILE, TENSORS_FILE, arch, err);
}

hone_status hone_adapter_read(hone_adapter **out, const char *dir, const hone_arch *arch, hone_error *err) {
    *out = NULL;
    char *config = hone_path_join(dir, CONFIG_FILE), *tensors = hone_path_join(dir, TENSORS_FILE),
         *old = hone_path_join(dir, "adapter_model.bin");
    hone_buf text = {0};
    hone_map map = {0};
    hone_status s = HONE_OK;
    if (!config || !tensors || !old)
        s = hone_fail(err, HONE_ERR_NOMEM, "no memory");
    else if (access(tensors, F_OK) != 0 && access(old, F_OK) == 0)
        s = hone_fail(err, HONE_ERR_UNSUPPORTED, "%s: a pickle, which is not read; save the adapter as " TENSORS_FILE,
                      old);
    else if ((s = hone_file_read(config, &text, MAX_CONFIG_BYTES, err)) == HONE_OK &&
             (s = hone_map_path(&map, tensors, err)) == HONE_OK)
        s = read_both(out, hone_buf_str(&text), text.n, map.data, map.bytes, config, tensors, arch, err);
    hone_map_close(&map);
    hone_buf_free(&text);
    hone_free(config);
    hone_free(tensors);
    hone_free(old);
    return s;
}

/* ---- writing ---- */

typedef struct {
    hone_tensor *tensor;
    char (*name)[160];
    size_t n;
} listing;

static void list_one(listing *t, uint32_t l, uint32_t m, char which, const float *data, uint32_t rows, uint32_t cols) {
    tensor_name(t->name[t->n], l, m, which);
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
    const adapter *a = (const adapter *)s;
    const size_t max = 2 * HONE_MOD_COUNT * (size_t)s->n_layer;
    listing t = {hone_zalloc(max, sizeof(*t.tensor)), hone_zalloc(max, sizeof(*t.name)), 0};
    hone_status status =
        t.tensor && t.name ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory for %zu tensors", max);
    for (uint32_t l = 0; status == HONE_OK && l < s->n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
            const hone_lora *lora = &s->lora[l][m];
            const size_t i = (size_t)l * HONE_MOD_COUNT + m;
            if (lora->rank == 0) continue;
            list_one(&t, l, m, 'A', a_of ? a_of[i] : lora->a, lora->rank, a->width_k[m]);
            list_one(&t, l, m, 'B', b_of ? b_of[i] : lora->b, a->width_n[m], lora->rank);
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
