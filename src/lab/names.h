/* names.h - names that requests resolve again and again, kept in memory.
 *
 * The answers are hone_registry_resolve()'s of the present moment: whatever commits to the database, another process
 * with `hone alias` or `hone pull` too, counts from the next call on, because all kept answers go when the database's
 * mark changes.  Names that are unknown are looked up each time.
 *
 * Threads: the store's owner. */
#ifndef HONE_NAMES_H
#define HONE_NAMES_H

#include "lab/registry.h"

typedef struct hone_names hone_names;

hone_status hone_names_open(hone_names **out, hone_store *store, hone_error *err);
void hone_names_close(hone_names *names); /* NULL is fine */

/* As hone_registry_resolve() without paths; *out is borrowed until the next call. */
hone_status hone_names_resolve(hone_names *names, const char *name, const hone_resolved **out, hone_error *err);

#endif
