/* model.c - from --model to an open model; the contract is in model.h. */
#include "cli/model.h"

#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "engine/inspect.h"
#include "model/tile_cache.h"

bool cli_precision(const cli_args *args, hone_precision *out) {
    const char *text = cli_get(args, "precision");
    *out = HONE_PRECISION_SERVING;
    if (!text || strcmp(text, "serving") == 0) return true;
    if (strcmp(text, "f32") == 0) {
        *out = HONE_PRECISION_F32;
        return true;
    }
    cli_usage(args, "--precision %s: must be serving or f32", text);
    return false;
}

bool cli_kv_type(const cli_args *args, const char *text, hone_precision precision, hone_kv_type *out) {
    *out = hone_kv_type_for(precision);
    if (!text) return true;
    for (int t = 0; t < HONE_KV_TYPE_COUNT; t++) {
        if (strcmp(text, hone_kv_type_name((hone_kv_type)t)) != 0) continue;
        if (t == HONE_KV_BF16 && precision == HONE_PRECISION_F32) break;
        *out = (hone_kv_type)t;
        return true;
    }
    cli_usage(args, "--kv-type %s: must be %sf32 or int8", text, precision == HONE_PRECISION_F32 ? "" : "bf16, ");
    return false;
}

int cli_model_resolve(hone_resolved *out, const cli_args *args, const char *name) {
    hone_error err = {0};
    *out = (hone_resolved){0};
    struct stat st;
    /* A path needs no state folder, so that it works where there is none and leaves none behind. */
    if (strchr(name, '/') && stat(name, &st) == 0) {
        out->version = hone_strdup(name);
        out->base = hone_strdup(name);
        out->path = hone_strdup(name);
        return out->version && out->base && out->path ? CLI_OK : cli_fail_text(args, "no memory");
    }
    char *home = cli_home(args);
    hone_store *store = NULL;
    hone_status status = home ? hone_store_open(&store, home, HONE_HOME_GUEST, &err) : HONE_ERR_ARG;
    if (status == HONE_OK) status = hone_registry_resolve(store, name, true, out, &err);
    hone_store_close(store);
    if (!home) return CLI_FAILED;
    hone_free(home);
    return status == HONE_OK ? CLI_OK : cli_fail(args, &err);
}

static hone_status read_adapter(cli_model *m, const cli_args *args, hone_error *err) {
    const char *folder = cli_get(args, "adapter");
    if (folder) {
        const hone_status read = hone_adapter_read(&m->adapter, folder, &m->model->arch, err);
        return read == HONE_OK ? hone_adapter_bind(m->adapter, m->model, err) : read;
    }
    if (!m->where.tensors_path) return HONE_OK;
    hone_map config = {0}, tensors = {0};
    hone_status status = hone_map_path(&config, m->where.config_path, err);
    if (status == HONE_OK) status = hone_map_path(&tensors, m->where.tensors_path, err);
    if (status == HONE_OK)
        status = hone_adapter_read_bytes(&m->adapter, config.data, config.bytes, tensors.data, tensors.bytes,
                                         &m->model->arch, err);
    if (status == HONE_OK) status = hone_adapter_bind(m->adapter, m->model, err);
    hone_map_close(&config);
    hone_map_close(&tensors);
    return status;
}

/* Laid tiles of the state folder where there is one: a path needs none, and leaves none behind. */
static hone_status open_weights(cli_model *m, const cli_args *args, hone_error *err) {
    struct stat st;
    char *home = cli_home(args), *folder = home && stat(home, &st) == 0 ? hone_path_join(home, "tile") : NULL;
    const hone_status status = hone_tile_cache_open(&m->model, m->where.path, folder, m->precision, m->pool, err);
    hone_free(folder);
    hone_free(home);
    return status;
}

int cli_model_open(cli_model *m, const cli_args *args, const char *name, unsigned what) {
    *m = (cli_model){0};
    uint32_t threads = 0;
    if (!cli_precision(args, &m->precision) || !cli_u32(args, "threads", 1, 1024, &threads)) return CLI_USAGE;
    int rc = cli_model_resolve(&m->where, args, name);
    if (rc != CLI_OK) return rc;
    hone_error err = {0};
    hone_status status = HONE_OK;
    if (what & CLI_TEXT_SIDE) status = hone_text_open(&m->text, m->where.path, &err);
    if (status == HONE_OK && what & CLI_WEIGHTS) {
        cli_progress(args, "loading %s ...", name);
        status = hone_pool_open(&m->pool, threads, &err);
        if (status == HONE_OK) status = open_weights(m, args, &err);
        if (status == HONE_OK && m->text &&
            (status =
                 hone_arch_check_vocabulary(&m->model->arch, (uint64_t)hone_tokenizer_size(m->text->tokenizer), &err)))
            hone_fail_within(&err, status, "%s: ", name);
        if (status == HONE_OK) status = read_adapter(m, args, &err);
        cli_progress(args, NULL);
    }
    return status == HONE_OK ? CLI_OK : cli_fail(args, &err);
}

void cli_model_close(cli_model *m) {
    hone_adapter_free(m->adapter);
    hone_model_close(m->model);
    hone_pool_close(m->pool);
    hone_text_close(m->text);
    hone_resolved_free(&m->where);
    *m = (cli_model){0};
}
