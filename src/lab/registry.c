/* registry.c - names to files; the contract is in registry.h. */
#include "lab/registry.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/mem.h"

#define ALIAS_DEPTH 8

void hone_resolved_free(hone_resolved *r) {
    hone_free(r->version);
    hone_free(r->base);
    hone_free(r->path);
    hone_free(r->config_path);
    hone_free(r->tensors_path);
    *r = (hone_resolved){0};
}

static hone_status no_memory(hone_error *err) {
    return hone_fail(err, HONE_ERR_NOMEM, "no memory to look up a name");
}

static hone_status fill_base(hone_store *store, const char *name, hone_resolved *out, hone_error *err) {
    hone_rec_model m;
    const hone_status status = hone_store_model_get(store, name, &m, err);
    if (status != HONE_OK) return status;
    out->base = hone_strdup(m.name);
    out->path = hone_strdup(m.path);
    if (m.digest) snprintf(out->base_digest, sizeof(out->base_digest), "%s", m.digest);
    if (!out->created_at) out->created_at = m.created_at;
    hone_rec_model_free(&m);
    return out->base && out->path ? HONE_OK : no_memory(err);
}

/* One digest for both files: two adapters with equal tensors may still differ in alpha, which stands in the config. */
static hone_status fill_adapter(hone_store *store, const char *config, const char *weights, hone_resolved *out,
                                hone_error *err) {
    char both[2 * HONE_DIGEST_TEXT];
    const int n = snprintf(both, sizeof(both), "%s%s", config, weights);
    out->config_path = hone_artifact_path(hone_store_artifacts(store), config);
    out->tensors_path = hone_artifact_path(hone_store_artifacts(store), weights);
    if (!out->config_path || !out->tensors_path) return no_memory(err);
    return hone_digest_bytes(both, (size_t)n, out->digest);
}

static hone_status fill_version(hone_store *store, const char *name, hone_resolved *out, hone_error *err) {
    hone_rec_version v;
    hone_status status = hone_store_version_get(store, name, &v, err);
    if (status != HONE_OK) return status;
    out->created_at = v.created_at;
    status = fill_base(store, v.base, out, err);
    if (status == HONE_ERR_NOT_FOUND)
        status =
            hone_fail(err, HONE_ERR_NOT_FOUND, "%s stands on the base '%s', which is not here any more", name, v.base);
    if (status == HONE_OK) status = fill_adapter(store, v.config_digest, v.weights_digest, out, err);
    hone_rec_version_free(&v);
    return status;
}

static hone_status fill_checkpoint(hone_store *store, const char *name, hone_resolved *out, hone_error *err) {
    hone_rec_checkpoint k;
    hone_rec_job job;
    hone_status status = hone_store_checkpoint_find(store, name, &k, err);
    if (status != HONE_OK) return status;
    out->created_at = k.created_at;
    status = hone_store_job_get(store, k.job_id, &job, err);
    if (status == HONE_OK) {
        /* The job may have named an alias as its base. */
        hone_resolved base = {0};
        status = hone_registry_resolve(store, job.model, false, &base, err);
        if (status == HONE_OK) status = fill_base(store, base.base, out, err);
        hone_resolved_free(&base);
        hone_rec_job_free(&job);
    }
    if (status == HONE_OK) status = fill_adapter(store, k.config_digest, k.weights_digest, out, err);
    hone_rec_checkpoint_free(&k);
    return status;
}

static hone_status fill_path(const char *name, hone_resolved *out, hone_error *err) {
    char full[PATH_MAX];
    struct stat st;
    if (!realpath(name, full) || stat(full, &st) != 0 || !(S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
        return hone_fail(err, HONE_ERR_NOT_FOUND, "%s is no file or folder", name);
    out->created_at = (int64_t)st.st_mtime;
    out->path = hone_strdup(name); /* messages name it as it was given */
    out->base = hone_strdup(name);
    return out->path && out->base ? HONE_OK : no_memory(err);
}

static hone_status follow_aliases(hone_store *store, const char *name, char **target, hone_error *err) {
    char *at = hone_strdup(name);
    for (int depth = 0; at; depth++) {
        hone_rec_alias alias;
        const hone_status status = hone_store_alias_get(store, at, &alias, NULL);
        if (status == HONE_ERR_NOT_FOUND) break;
        if (status != HONE_OK) {
            hone_free(at);
            return hone_fail(err, status, "cannot look up the alias '%s'", name);
        }
        hone_free(at);
        at = depth < ALIAS_DEPTH ? hone_strdup(alias.target) : NULL;
        hone_rec_alias_free(&alias);
        if (depth >= ALIAS_DEPTH)
            return hone_fail(err, HONE_ERR_LIMIT, "the alias '%s' leads through more than %d others", name,
                             ALIAS_DEPTH);
    }
    *target = at;
    return at ? HONE_OK : no_memory(err);
}

static hone_status unknown(hone_store *store, const char *name, hone_error *err) {
    hone_list_model models = {0};
    char known[300] = "";
    size_t n = 0;
    hone_store_model_list(store, (hone_page){.order = HONE_ORDER_ASC}, &models, NULL);
    for (size_t i = 0; i < models.n && n < sizeof(known); i++)
        n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i ? ", " : "", models.rows[i].name);
    hone_list_model_free(&models);
    return hone_fail(err, HONE_ERR_NOT_FOUND, "The model '%s' does not exist here. Known: %s", name,
                     known[0] ? known : "none; see `hone pull`");
}

hone_status hone_registry_resolve(hone_store *store, const char *name, bool paths, hone_resolved *out,
                                  hone_error *err) {
    *out = (hone_resolved){0};
    char *target;
    hone_status status = follow_aliases(store, name, &target, err);
    if (status != HONE_OK) return status;
    status = fill_base(store, target, out, err);
    if (status == HONE_ERR_NOT_FOUND) status = fill_version(store, target, out, err);
    if (status == HONE_ERR_NOT_FOUND && !out->created_at) status = fill_checkpoint(store, target, out, err);
    if (status == HONE_ERR_NOT_FOUND && paths && !out->created_at) status = fill_path(target, out, err);
    if (status == HONE_ERR_NOT_FOUND && !out->created_at) status = unknown(store, name, err);
    if (status == HONE_OK) {
        out->version = target;
        return HONE_OK;
    }
    hone_free(target);
    hone_resolved_free(out);
    return status;
}

/* ---- aliases ---- */

hone_status hone_registry_check_alias(hone_store *store, const char *name, hone_error *err) {
    hone_rec_model model;
    const size_t n = strlen(name);
    if (n < 1 || n > 64 || strncmp(name, "ft:", 3) == 0 ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != n)
        return hone_fail(err, HONE_ERR_ARG, "'%.80s' cannot be a name here: up to 64 of A-Z a-z 0-9 . _ -", name);
    if (hone_store_model_get(store, name, &model, NULL) != HONE_OK) return HONE_OK;
    hone_rec_model_free(&model);
    return hone_fail(err, HONE_ERR_EXISTS, "'%s' is a base here already", name);
}

hone_status hone_registry_point(hone_store *store, const char *name, const char *target, hone_error *err) {
    hone_resolved where;
    hone_status status = hone_registry_check_alias(store, name, err);
    if (status == HONE_OK) status = hone_registry_resolve(store, target, false, &where, err);
    if (status != HONE_OK) return status;
    /* What resolved is a version or a base, so storing that and not the name leaves no way around in a circle. */
    const hone_rec_alias alias = {.name = name, .target = where.version, .created_at = hone_clock_unix()};
    status = hone_store_alias_put(store, &alias, err);
    hone_resolved_free(&where);
    return status;
}
