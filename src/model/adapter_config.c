/* adapter_config.c - PEFT's options read the way PEFT 0.21 reads them (tuners_utils.py, check_target_module_exists and
 * get_pattern_key).
 *
 * Regular expressions come with the file: they run under PCRE2's limits on steps and memory, and only on module paths.
 *
 * Order: shapes, options, patterns, targets, applying, making. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/adapter_config.h"

#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define MAX_RANK (1u << 16)
#define MAX_PATTERNS 2048u /* each is matched with every module */

/* ---- shapes ---- */

bool adapter_module_exists(const hone_arch *arch, hone_module m) {
    return m != HONE_MOD_GATE || arch->mlp_gated;
}

void adapter_module_shape(const hone_arch *arch, hone_module m, uint32_t *n, uint32_t *k) {
    const uint32_t d = arch->width, q = arch->n_head * arch->head_dim, kv = arch->n_kv_head * arch->head_dim,
                   f = arch->mlp_width;
    const uint32_t out[HONE_MOD_COUNT + 1] = {q, kv, kv, d, f, f, d, arch->vocab};
    const uint32_t in[HONE_MOD_COUNT + 1] = {d, d, d, q, d, d, f, d};
    *n = out[m];
    *k = in[m];
}

/* ---- options ---- */

static bool is_default(const json_t *v) {
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

/* Read here, or without influence on the result; "init_lora_weights" is looked at below. */
static bool is_known(const char *key) {
    static const char *const known[] = {"alora_invocation_tokens",
                                        "alpha_pattern",
                                        "auto_mapping",
                                        "base_model_name_or_path",
                                        "bias",
                                        "exclude_modules",
                                        "inference_mode",
                                        "layers_pattern",
                                        "init_lora_weights",
                                        "lora_alpha",
                                        "layers_to_transform",
                                        "lora_dropout",
                                        "megatron_core",
                                        "peft_type",
                                        "peft_version",
                                        "qalora_group_size",
                                        "r",
                                        "rank_pattern",
                                        "revision",
                                        "target_modules",
                                        "task_type",
                                        "use_dora",
                                        "use_rslora"};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (strcmp(known[i], key) == 0) return true;
    return false;
}

static bool is_text(const json_t *v, const char *a, const char *b, const char *c) {
    const char *t = json_string_value(v);
    return t && (strcmp(t, a) == 0 || strcmp(t, b) == 0 || strcmp(t, c) == 0);
}

static hone_status check_options(const json_t *config, hone_error *err) {
    const char *key;
    json_t *v;
    if (!json_is_object(config)) return hone_fail(err, HONE_ERR_FORMAT, "no JSON object");
    const json_t *type = json_object_get(config, "peft_type");
    if (!json_is_string(type)) return hone_fail(err, HONE_ERR_FORMAT, "'peft_type' is missing");
    if (strcmp(json_string_value(type), "LORA") != 0)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "option peft_type %.60s is not supported, LORA is",
                         json_string_value(type));
    json_object_foreach((json_t *)(uintptr_t)config, key, v) {
        if (!is_known(key) && !is_default(v))
            return hone_fail(err, HONE_ERR_UNSUPPORTED, "option %.100s is set and not supported", key);
    }
    const json_t *bias = json_object_get(config, "bias");
    if (!is_default(bias) && !is_text(bias, "none", "none", "none"))
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "option bias %.60s is not supported, none is",
                         json_is_string(bias) ? json_string_value(bias) : "(no text)");
    const json_t *task = json_object_get(config, "task_type");
    if (!is_default(task) && !is_text(task, "CAUSAL_LM", "FEATURE_EXTRACTION", "CAUSAL_LM"))
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "option task_type %.60s is not supported, CAUSAL_LM is",
                         json_is_string(task) ? json_string_value(task) : "(no text)");
    /* Other ways to begin (PiSSA, OLoRA, LoftQ ...) move a part of the base weights into the adapter: without the base
     * that was changed with it the adapter means something else. */
    const json_t *init = json_object_get(config, "init_lora_weights");
    if (!is_default(init) && !json_is_true(init) && !is_text(init, "gaussian", "orthogonal", "eva"))
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "option init_lora_weights %.60s is not supported",
                         json_is_string(init) ? json_string_value(init) : "(no text)");
    return HONE_OK;
}

/* ---- patterns ---- */

/* before + pattern + after against text: whole, from its beginning to its end.  number (may be NULL) gets the group
 * named idx, -1 when it took no part. */
static hone_status matches(const char *before, const char *pattern, const char *after, const char *text, bool whole,
                           bool *out, int64_t *number, hone_error *err) {
    *out = false;
    hone_buf source = {0};
    hone_status s = HONE_OK;
    hone_buf_text(&source, before);
    hone_buf_text(&source, pattern);
    hone_buf_text(&source, after);
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *re =
        source.failed ? NULL : pcre2_compile((PCRE2_SPTR)hone_buf_str(&source), source.n, PCRE2_UTF, &code, &at, NULL);
    pcre2_match_data *data = re ? pcre2_match_data_create_from_pattern(re, NULL) : NULL;
    pcre2_match_context *limits = re ? pcre2_match_context_create(NULL) : NULL;
    if (!re && !source.failed) {
        s = hone_fail(err, HONE_ERR_FORMAT, "pattern %.100s is no regular expression (offset %zu)", pattern,
                      at > strlen(before) ? at - strlen(before) : 0);
    } else if (!re || !data || !limits) {
        s = hone_fail(err, HONE_ERR_NOMEM, "no memory for a pattern");
    } else {
        pcre2_set_match_limit(limits, 100000);
        pcre2_set_depth_limit(limits, 1000);
        pcre2_set_heap_limit(limits, 1024); /* KiB */
        const int rc = pcre2_match(re, (PCRE2_SPTR)text, strlen(text), 0,
                                   PCRE2_ANCHORED | (whole ? PCRE2_ENDANCHORED : 0u), data, limits);
        if (rc >= 0) {
            *out = true;
            PCRE2_UCHAR digits[16];
            PCRE2_SIZE n = sizeof(digits);
            if (number)
                *number = pcre2_substring_copy_byname(data, (PCRE2_SPTR) "idx", digits, &n) == 0
                              ? strtoll((const char *)digits, NULL, 10)
                              : -1;
        } else if (rc != PCRE2_ERROR_NOMATCH) {
            s = hone_fail(err, HONE_ERR_LIMIT, "pattern %.100s takes too many steps", pattern);
        }
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(re);
    hone_buf_free(&source);
    return s;
}

/* The value of the first pattern that matches the end of path; absent leaves *out as it was. */
static hone_status pattern_value(const json_t *patterns, const char *name, const char *path, double *out,
                                 hone_error *err) {
    if (!patterns || json_is_null(patterns)) return HONE_OK;
    if (!json_is_object(patterns)) return hone_fail(err, HONE_ERR_FORMAT, "'%s' must be an object", name);
    if (json_object_size(patterns) > MAX_PATTERNS)
        return hone_fail(err, HONE_ERR_LIMIT, "'%s' has %zu patterns, at most %u are allowed", name,
                         json_object_size(patterns), MAX_PATTERNS);
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)patterns, key, v) {
        bool found = false;
        const hone_status s = matches("(?:.*\\.)?(?:", key, ")$", path, false, &found, NULL, err);
        if (s) return s;
        if (!found) continue;
        if (!json_is_number(v)) return hone_fail(err, HONE_ERR_FORMAT, "'%s': %.100s must be a number", name, key);
        *out = json_number_value(v);
        return HONE_OK;
    }
    return HONE_OK;
}

/* ---- targets ---- */

/* path is name, or ends with "." name. */
static bool ends_with_name(const char *path, const char *name) {
    const size_t n = strlen(path), k = strlen(name);
    return n >= k && strcmp(path + n - k, name) == 0 && (n == k || path[n - k - 1] == '.');
}

/* names: a regular expression over the whole path, or a list of names of which one must end the path.  *exact: the list
 * holds the path itself. */
static hone_status selects(const json_t *names, const char *option, const char *path, bool *out, bool *exact,
                           hone_error *err) {
    *out = *exact = false;
    if (!names || json_is_null(names)) return HONE_OK;
    if (json_is_string(names)) {
        *exact = true;
        return matches("(?:", json_string_value(names), ")", path, true, out, NULL, err);
    }
    if (!json_is_array(names))
        return hone_fail(err, HONE_ERR_FORMAT, "'%s' must be a list of names or a pattern", option);
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (!name) return hone_fail(err, HONE_ERR_FORMAT, "'%s' holds something else than names", option);
        *exact |= strcmp(name, path) == 0;
        *out |= ends_with_name(path, name);
    }
    return HONE_OK;
}

/* The layer that path is in by layers_pattern, -1: none. */
static hone_status layer_by_pattern(const json_t *patterns, const char *path, int64_t *layer, hone_error *err) {
    bool found = false;
    *layer = -1;
    const size_t n = json_is_array(patterns) ? json_array_size(patterns) : json_is_string(patterns);
    if (n == 0 || (json_is_string(patterns) && json_string_length(patterns) == 0))
        return matches(".*?\\.[^.]*\\.(?P<idx>\\d{1,9})\\.", "", "", path, false, &found, layer, err);
    for (size_t i = 0; i < n && !found; i++) {
        const json_t *p = json_is_array(patterns) ? json_array_get(patterns, i) : patterns;
        if (!json_is_string(p))
            return hone_fail(err, HONE_ERR_FORMAT, "'layers_pattern' must be a text or a list of texts");
        const hone_status s =
            matches("(?:^|.*?\\.)", json_string_value(p), "\\.(?P<idx>\\d{1,9})\\.", path, false, &found, layer, err);
        if (s) return s;
    }
    return HONE_OK;
}

static hone_status in_layers(const json_t *config, const char *path, bool *out, hone_error *err) {
    const json_t *layers = json_object_get(config, "layers_to_transform");
    *out = true;
    if (is_default(layers)) return HONE_OK;
    if (!json_is_integer(layers) && !json_is_array(layers))
        return hone_fail(err, HONE_ERR_FORMAT, "'layers_to_transform' must be a layer or a list of layers");
    int64_t layer = -1;
    const hone_status s = layer_by_pattern(json_object_get(config, "layers_pattern"), path, &layer, err);
    if (s) return s;
    *out = json_is_integer(layers) && json_integer_value(layers) == layer;
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *v = json_array_get(layers, i);
        if (!json_is_integer(v)) return hone_fail(err, HONE_ERR_FORMAT, "'layers_to_transform' must hold layers");
        *out |= json_integer_value(v) == layer;
    }
    *out &= layer >= 0;
    return HONE_OK;
}

static hone_status targeted(const json_t *config, const char *path, bool *out, hone_error *err) {
    const json_t *targets = json_object_get(config, "target_modules");
    bool exact = false;
    *out = false;
    hone_status s = selects(json_object_get(config, "exclude_modules"), "exclude_modules", path, out, &exact, err);
    if (s) return s;
    if (*out) {
        *out = false;
        return HONE_OK;
    }
    if (is_text(targets, "all-linear", "all-linear", "all-linear")) {
        *out = true; /* every module that is asked for is linear; apply_ends keeps the head out */
        return HONE_OK;
    }
    if ((s = selects(targets, "target_modules", path, out, &exact, err))) return s;
    return *out && !exact ? in_layers(config, path, out, err) : HONE_OK;
}

/* ---- applying ---- */

static hone_status positive_rank(double r, const char *where, uint32_t *out, hone_error *err) {
    if (!(r >= 1 && r <= MAX_RANK) || r != floor(r))
        return hone_fail(err, HONE_ERR_FORMAT, "rank of %s is %g, allowed is a whole number from 1 to %u", where, r,
                         MAX_RANK);
    *out = (uint32_t)r;
    return HONE_OK;
}

/* Rank, alpha and scale of the matrix with this path, if the config targets it. */
static hone_status apply_path(hone_adapter *a, hone_lora *lora, const char *path, bool *wanted, const json_t *config,
                              hone_error *err) {
    hone_status s = targeted(config, path, wanted, err);
    if (s || !*wanted) return s;
    double rank = a->rank, alpha = (double)a->alpha;
    if ((s = pattern_value(json_object_get(config, "rank_pattern"), "rank_pattern", path, &rank, err))) return s;
    if ((s = pattern_value(json_object_get(config, "alpha_pattern"), "alpha_pattern", path, &alpha, err))) return s;
    if ((s = positive_rank(rank, path, &lora->rank, err))) return s;
    if (!isfinite(alpha)) return hone_fail(err, HONE_ERR_FORMAT, "alpha of %s is not finite", path);
    lora->alpha = (float)alpha;
    lora->scale = (float)(a->rslora ? alpha / sqrt(rank) : alpha / rank);
    if (lora->rank > a->max_rank) a->max_rank = lora->rank;
    return HONE_OK;
}

static hone_status apply_module(hone_adapter *a, const hone_arch *arch, uint32_t l, hone_module m, const json_t *config,
                                hone_error *err) {
    char path[96];
    bool wanted = false;
    hone_lora *lora = &a->lora[l][m];
    snprintf(path, sizeof(path), "model.layers.%u.%s", l, hone_module_path(m));
    const hone_status s = apply_path(a, lora, path, &wanted, config, err);
    if (s || !wanted) return s;
    if (arch->no_adapter >> m & 1)
        return hone_fail(err, HONE_ERR_UNSUPPORTED,
                         "%s: family %s stores it fused or under another name, adapters on it are not supported",
                         hone_module_name(m), arch->family);
    adapter_module_shape(arch, m, &lora->n, &lora->k);
    a->target[m] = true;
    return HONE_OK;
}

/* The embedding and the head; "all-linear" means neither, as in PEFT. */
static hone_status apply_ends(hone_adapter *a, const hone_arch *arch, const json_t *config, hone_error *err) {
    bool embed = false, head = false;
    const json_t *targets = json_object_get(config, "target_modules");
    if (is_text(targets, "all-linear", "all-linear", "all-linear")) return HONE_OK;
    hone_status s = apply_path(a, &a->embed, "model.embed_tokens", &embed, config, err);
    if (s == HONE_OK) s = apply_path(a, &a->head, "lm_head", &head, config, err);
    if (s) return s;
    if (embed && (a->dora || a->n_invocation))
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "embed_tokens with %s is not supported",
                         a->dora ? "use_dora" : "alora_invocation_tokens");
    a->embed.n = a->head.k = arch->width;
    a->embed.k = a->head.n = arch->vocab;
    return HONE_OK;
}

static hone_status read_invocation(hone_adapter *a, const hone_arch *arch, const json_t *config, hone_error *err) {
    const json_t *tokens = json_object_get(config, "alora_invocation_tokens");
    if (is_default(tokens)) return HONE_OK;
    if (a->dora) return hone_fail(err, HONE_ERR_UNSUPPORTED, "use_dora with alora_invocation_tokens is not supported");
    const size_t n = json_array_size(tokens);
    if (n == 0 || n > HONE_ALORA_MAX_TOKENS)
        return hone_fail(err, HONE_ERR_FORMAT, "'alora_invocation_tokens' must be a list of 1 to %u tokens",
                         HONE_ALORA_MAX_TOKENS);
    if (!(a->invocation = hone_zalloc(n, sizeof(*a->invocation))))
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for invocation tokens");
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(tokens, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= (json_int_t)arch->vocab)
            return hone_fail(err, HONE_ERR_FORMAT, "'alora_invocation_tokens': element %zu is no token of this model",
                             i);
        a->invocation[i] = (int32_t)json_integer_value(v);
    }
    a->n_invocation = (uint32_t)n;
    return HONE_OK;
}

hone_status adapter_config_apply(hone_adapter *a, const hone_arch *arch, const json_t *config, hone_error *err) {
    hone_status s;
    double rank = 0, alpha = 0, dropout = 0;
    const char *base = NULL;
    if ((s = check_options(config, err))) return s;
    if ((s = hone_json_get_real(config, "r", &rank, 8, err))) return s;
    if ((s = hone_json_get_real(config, "lora_alpha", &alpha, 8, err))) return s;
    if ((s = hone_json_get_real(config, "lora_dropout", &dropout, 0, err))) return s;
    if ((s = hone_json_get_bool(config, "use_rslora", &a->rslora, false, err))) return s;
    if ((s = hone_json_get_bool(config, "use_dora", &a->dora, false, err))) return s;
    if ((s = hone_json_get_string(config, "base_model_name_or_path", &base, "", err))) return s;
    if ((s = positive_rank(rank, "the adapter", &a->rank, err))) return s;
    if (!(dropout >= 0 && dropout < 1))
        return hone_fail(err, HONE_ERR_FORMAT, "'lora_dropout' is %g, allowed is 0 to below 1", dropout);
    a->alpha = (float)alpha;
    a->dropout = (float)dropout;
    snprintf(a->base, sizeof(a->base), "%s", base);
    if ((s = read_invocation(a, arch, config, err))) return s;
    if (is_default(json_object_get(config, "target_modules")))
        return hone_fail(err, HONE_ERR_FORMAT, "'target_modules' is missing: it says which modules the adapter has");
    for (uint32_t l = 0; l < a->n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++)
            if (adapter_module_exists(arch, (hone_module)m) &&
                (s = apply_module(a, arch, l, (hone_module)m, config, err)))
                return s;
    if ((s = apply_ends(a, arch, config, err))) return s;
    if (a->max_rank == 0) return hone_fail(err, HONE_ERR_FORMAT, "'target_modules' names no module of this model");
    return HONE_OK;
}

/* ---- making ---- */

/* Whole numbers are written as integers, as people write them. */
static json_t *number(double v) {
    return v == floor(v) && fabs(v) < 1e15 ? json_integer((json_int_t)v) : json_real(v);
}

static json_t *copy_or_empty(const json_t *patterns) {
    return patterns ? json_deep_copy(patterns) : json_object();
}

json_t *adapter_config_make(const hone_adapter_config *cfg) {
    static const hone_module sorted[HONE_MOD_COUNT] = {HONE_MOD_DOWN, HONE_MOD_GATE, HONE_MOD_K, HONE_MOD_O,
                                                       HONE_MOD_Q,    HONE_MOD_UP,   HONE_MOD_V};
    hone_json_memory_reset();
    json_t *targets = json_array();
    for (uint32_t i = 0; i < HONE_MOD_COUNT; i++)
        if (cfg->target[sorted[i]]) json_array_append_new(targets, json_string(hone_module_name(sorted[i])));
    /* Only keys that every PEFT since 0.9 knows: older programs refuse newer ones. */
    json_t *out = json_pack(
        "{s:o, s:s, s:s, s:b, s:b, s:b, s:n, s:n, s:o, s:f, s:n, s:s, s:i, s:o, s:n, s:o, s:s, s:b, s:b}",
        "alpha_pattern", copy_or_empty(cfg->alpha_pattern), "base_model_name_or_path", "", "bias", "none",
        "fan_in_fan_out", 0, "inference_mode", 1, "init_lora_weights", 1, "layers_pattern", "layers_to_transform",
        "lora_alpha", number((double)cfg->alpha), "lora_dropout", (double)cfg->dropout, "modules_to_save", "peft_type",
        "LORA", "r", (int)cfg->rank, "rank_pattern", copy_or_empty(cfg->rank_pattern), "revision", "target_modules",
        targets, "task_type", "CAUSAL_LM", "use_dora", 0, "use_rslora", (int)cfg->rslora);
    if (hone_json_memory_ok()) return out;
    json_decref(out);
    return NULL;
}
