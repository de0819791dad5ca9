/* tile_cache.h - where laid weights are kept: one tile file for (weights, kernel set, precision).
 *
 * Published weights are hostile until checked, and laying a large model takes a while: neither belongs in the
 * controller: `hone work lay` does it in a process of its own.  The file is named by what it was made of - digest of
 * the weights, kernel set, precision - so a second call finds it.  The
 * digest itself is kept by what stat tells of the files: a start reads no weights. */
#ifndef HONE_TILE_CACHE_H
#define HONE_TILE_CACHE_H

#include "model/model.h"

/* Prints {"tiles": PATH} or {"error": TEXT} on stdout.  Returns the exit status. */
int hone_tile_cache_run(const char *model_path, const char *folder, hone_precision precision);

/* The tile file of the weights at model_path in folder, made when it is not there; path on the heap (hone_free). */
hone_status hone_tile_cache_get(const char *model_path, const char *folder, hone_precision precision, char **path,
                                hone_error *err);

/* The same without making anything: stat and two small files are all that is read, so that it may be asked anywhere.
 * NULL: not there, or not known to be. */
char *hone_tile_cache_find(const char *model_path, const char *folder, hone_precision precision);

/* The model itself, from its tile file, which is made first where it can be; otherwise (folder NULL, no space) laid in
 * memory as hone_model_open() does. */
hone_status hone_tile_cache_open(hone_model **out, const char *model_path, const char *folder, hone_precision precision,
                                 hone_pool *pool, hone_error *err);

#endif
