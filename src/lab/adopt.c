/* adopt.c - the contract is in adopt.h. */
#include "lab/adopt.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "lab/registry.h"
#include "model/adapter.h"

static hone_status check(const char *folder, const hone_resolved *base, hone_error *err) {
    hone_model_info info = {0};
    hone_adapter *adapter = NULL;
    hone_status status = hone_model_inspect(&info, base->path, err);
    if (status == HONE_OK) status = hone_adapter_read(&adapter, folder, &info.arch, err);
    if (status == HONE_OK && adapter->max_rank > HONE_LORA_MAX_RANK)
        status = hone_fail(err, HONE_ERR_LIMIT, "the adapter has rank %u, at most %u are served", adapter->max_rank,
                           HONE_LORA_MAX_RANK);
    hone_adapter_free(adapter);
    hone_model_info_free(&info);
    return status;
}

static hone_status keep(hone_store *store, const char *folder, const char *file, char digest[HONE_DIGEST_TEXT],
                        uint64_t *bytes, hone_error *err) {
    char *path = hone_path_join(folder, file);
    if (!path) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    const hone_status status = hone_artifact_add_path(hone_store_artifacts(store), path, digest, bytes, err);
    hone_free(path);
    return status;
}

hone_status hone_adopt_adapter(hone_store *store, const char *folder, const char *base_name, const char *name,
                               char id[HONE_VERSION_ID_MAX], hone_error *err) {
    hone_resolved base;
    char config[HONE_DIGEST_TEXT], weights[HONE_DIGEST_TEXT], unique[HONE_ID_MAX];
    uint64_t bytes = 0;
    hone_status status = hone_registry_resolve(store, base_name, false, &base, err);
    if (status != HONE_OK) return status;
    if (base.tensors_path)
        status = hone_fail(err, HONE_ERR_ARG, "'%s' is an adapter itself: --base names what it stands on, %s",
                           base_name, base.base);
    if (status == HONE_OK && name) status = hone_registry_check_alias(store, name, err);
    if (status == HONE_OK) status = check(folder, &base, err);
    if (status == HONE_OK) status = keep(store, folder, "adapter_config.json", config, NULL, err);
    if (status == HONE_OK) status = keep(store, folder, "adapter_model.safetensors", weights, &bytes, err);
    if (status == HONE_OK) {
        hone_id_make("", unique);
        snprintf(id, HONE_VERSION_ID_MAX, "ft:%s:org:%s:%.8s", base.base, name ? name : "", unique);
        const hone_rec_version version = {.id = id,
                                          .base = base.base,
                                          .base_digest = base.base_digest,
                                          .config_digest = config,
                                          .weights_digest = weights,
                                          .bytes = (int64_t)bytes,
                                          .created_at = hone_clock_unix()};
        status = hone_store_version_add(store, &version, err);
    }
    if (status == HONE_OK && name) status = hone_registry_point(store, name, id, err);
    hone_resolved_free(&base);
    return status;
}
