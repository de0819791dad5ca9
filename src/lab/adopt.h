/* adopt.h - an adapter that was trained elsewhere becomes a version of a base here.
 *
 * PEFT's two files are read and checked against the base first, then kept by digest, so that a name never stands for a
 * broken adapter and replacing the folder changes nothing that is served.  A name that stood for another version stands
 * for the new one from the next request on; requests that run keep theirs.
 *
 * Threads: the store's owner. */
#ifndef HONE_ADOPT_H
#define HONE_ADOPT_H

#include "store/store.h"

#define HONE_VERSION_ID_MAX 256

/* base: a local name or alias of a base.  name: an alias for the new version, NULL: none. */
hone_status hone_adopt_adapter(hone_store *store, const char *folder, const char *base, const char *name,
                               char id[HONE_VERSION_ID_MAX], hone_error *err);

#endif
