/* adapters.c - which adapters are resident: budget, users, pins, eviction; the contract is in engine.h.
 *
 * Resident ones stand in one list: tens or hundreds, looked up once a request.  The order of eviction is that of the
 * last use, counted in uses rather than in time.  Nothing here runs while a step does.
 *
 * Order: finding, room, adding, users. */
#include <string.h>

#include "base/mem.h"
#include "engine/engine_internal.h"

/* --- finding --- */

static engine_adapter *find(const hone_engine *e, const char *digest) {
    for (engine_adapter *a = e->adapters; a; a = a->next)
        if (!strcmp(a->digest, digest)) return a;
    return NULL;
}

bool hone_engine_has_adapter(const hone_engine *e, const char *digest) {
    return find(e, digest) != NULL;
}

/* --- room --- */

static void drop(hone_engine *e, engine_adapter **at) {
    engine_adapter *gone = *at;
    *at = gone->next;
    e->adapter_bytes -= gone->adapter->bytes;
    e->n_adapter--;
    hone_adapter_free(gone->adapter);
    hone_free(gone);
}

static bool evict_one(hone_engine *e) {
    engine_adapter **oldest = NULL;
    for (engine_adapter **at = &e->adapters; *at; at = &(*at)->next)
        if ((*at)->users == 0 && !(*at)->pinned && (!oldest || (*at)->used_at < (*oldest)->used_at)) oldest = at;
    if (!oldest) return false;
    if (e->on_evicted) e->on_evicted(e->on_evicted_arg, (*oldest)->digest);
    drop(e, oldest);
    return true;
}

hone_status hone_engine_adapter_room(hone_engine *e, uint64_t bytes, hone_error *err) {
    const uint64_t budget = e->cfg.adapter_bytes;
    uint64_t pinned = 0;
    for (const engine_adapter *a = e->adapters; a; a = a->next) pinned += a->pinned ? a->adapter->bytes : 0;
    if (bytes > budget || pinned > budget - bytes)
        return hone_fail(err, HONE_ERR_LIMIT, "an adapter of %llu bytes: the budget is %llu, of which %llu are pinned",
                         (unsigned long long)bytes, (unsigned long long)budget, (unsigned long long)pinned);
    while (e->adapter_bytes > budget - bytes && evict_one(e)) continue;
    if (e->adapter_bytes <= budget - bytes) return HONE_OK;
    return hone_fail(err, HONE_ERR_FULL, "no room for an adapter of %llu bytes: %llu of %llu are in use",
                     (unsigned long long)bytes, (unsigned long long)e->adapter_bytes, (unsigned long long)budget);
}

/* --- adding --- */

static hone_status admit(hone_engine *e, const char *digest, hone_adapter *adapter, hone_error *err) {
    engine_adapter *a;
    if (strlen(digest) >= sizeof(a->digest))
        return hone_fail(err, HONE_ERR_ARG, "a digest of %zu characters", strlen(digest));
    if (adapter->n_layer != e->model->arch.n_layer)
        return hone_fail(err, HONE_ERR_ARG, "the adapter has %u layers, the model %u", adapter->n_layer,
                         e->model->arch.n_layer);
    hone_status st = hone_adapter_lay(adapter, e->model, err);
    if (st == HONE_OK) st = hone_engine_adapter_room(e, adapter->bytes, err);
    if (st != HONE_OK) return st;
    if (!(a = hone_zalloc(1, sizeof(*a)))) return hone_fail(err, HONE_ERR_NOMEM, "no memory for an adapter");
    strcpy(a->digest, digest);
    a->adapter = adapter;
    a->used_at = ++e->adapter_uses;
    a->next = e->adapters;
    e->adapters = a;
    e->n_adapter++;
    e->adapter_bytes += adapter->bytes;
    return HONE_OK;
}

hone_status hone_engine_add_adapter(hone_engine *e, const char *digest, hone_adapter *adapter, hone_error *err) {
    engine_adapter *a = find(e, digest);
    if (a) a->used_at = ++e->adapter_uses;
    const hone_status st = a ? HONE_OK : admit(e, digest, adapter, err);
    if (a || st != HONE_OK) hone_adapter_free(adapter);
    return st;
}

void hone_engine_pin_adapter(hone_engine *e, const char *digest, bool pinned) {
    engine_adapter *a = find(e, digest);
    if (a) a->pinned = pinned;
}

void hone_engine_on_evicted(hone_engine *e, void (*fn)(void *arg, const char *digest), void *arg) {
    e->on_evicted = fn;
    e->on_evicted_arg = arg;
}

/* --- users --- */

engine_adapter *engine_use_adapter(hone_engine *e, const char *digest) {
    engine_adapter *a = find(e, digest);
    a->users++;
    a->used_at = ++e->adapter_uses;
    return a;
}

void engine_leave_adapter(hone_engine *e, engine_adapter *a) {
    a->users--;
    a->used_at = ++e->adapter_uses;
}

void engine_drop_adapters(hone_engine *e) {
    while (e->adapters) drop(e, &e->adapters);
}
