/* names.c - kept answers of the registry; the contract is in names.h.
 *
 * One place for each hash: two names of one place put each other out, so that there is nothing to grow or to age. */
#include "lab/names.h"

#include <string.h>

#include "base/mem.h"

#define PLACES 4096u /* a power of two */

typedef struct {
    char *name;
    hone_resolved where;
} place;

struct hone_names {
    hone_store *store;
    unsigned char mark[HONE_DB_MARK];
    bool marked;
    uint32_t n_kept;
    place other; /* an answer that may not be kept */
    place at[PLACES];
};

static void clear(place *p) {
    hone_free(p->name);
    hone_resolved_free(&p->where);
    p->name = NULL;
}

static void forget(hone_names *names) {
    for (uint32_t i = 0; names->n_kept && i < PLACES; i++) {
        names->n_kept -= names->at[i].name != NULL;
        clear(&names->at[i]);
    }
}

hone_status hone_names_open(hone_names **out, hone_store *store, hone_error *err) {
    *out = hone_zalloc(1, sizeof(**out));
    if (!*out) return hone_fail(err, HONE_ERR_NOMEM, "no memory for names");
    (*out)->store = store;
    return HONE_OK;
}

void hone_names_close(hone_names *names) {
    if (!names) return;
    forget(names);
    clear(&names->other);
    hone_free(names);
}

/* FNV-1a: names are short. */
static uint32_t place_of(const char *name) {
    uint32_t h = 2166136261u;
    for (const char *c = name; *c; c++) h = (h ^ (unsigned char)*c) * 16777619u;
    return (h ^ h >> 16) & (PLACES - 1);
}

hone_status hone_names_resolve(hone_names *names, const char *name, const hone_resolved **out, hone_error *err) {
    unsigned char mark[HONE_DB_MARK];
    const bool marked = hone_db_mark(hone_store_db(names->store), mark);
    if (!marked || !names->marked || memcmp(mark, names->mark, sizeof(mark)) != 0) {
        forget(names);
        names->marked = marked;
        if (marked) memcpy(names->mark, mark, sizeof(mark));
    }
    place *p = marked ? &names->at[place_of(name)] : &names->other;
    *out = &p->where;
    if (p->name && marked && strcmp(p->name, name) == 0) return HONE_OK;
    names->n_kept -= marked && p->name;
    clear(p);
    const hone_status status = hone_registry_resolve(names->store, name, false, &p->where, err);
    if (status != HONE_OK) return status;
    p->name = hone_strdup(name);
    if (!p->name) {
        clear(p);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory to look up a name");
    }
    names->n_kept += marked;
    return HONE_OK;
}
