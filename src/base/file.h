/* file.h - whole files: read, map, write so that a crash leaves the old or the new one, digest. */
#ifndef HONE_FILE_H
#define HONE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

/* A read-only mapping.  A writer that truncates the file under it could kill the process (SIGBUS): map only artifacts,
 * which are immutable, or files whose owner the user is. */
typedef struct {
    const uint8_t *data; /* [bytes], NULL when bytes is 0 */
    size_t bytes;
} hone_map;

/* Append the file to out.  max_bytes 0: no limit. */
hone_status hone_file_read(const char *path, hone_buf *out, size_t max_bytes, hone_error *err);

hone_status hone_map_path(hone_map *out, const char *path, hone_error *err);
hone_status hone_map_fd(hone_map *out, int fd, const char *name, hone_error *err); /* fd stays the caller's */
void hone_map_close(hone_map *map);

/* Write to a temporary file beside path, fsync, rename, fsync the folder. */
hone_status hone_file_write_atomic(const char *path, const void *bytes, size_t n, hone_error *err);

/* The same from pieces, one behind the other. */
typedef struct {
    const void *data;
    size_t n;
} hone_piece_of_file;
hone_status hone_file_write_pieces(const char *path, const hone_piece_of_file *piece, size_t n_piece, hone_error *err);

/* mkdir -p with mode 0700 for what is made. */
hone_status hone_folder_make(const char *path, hone_error *err);

#define HONE_DIGEST_TEXT 65 /* 64 hexadecimal digits and the NUL */
hone_status hone_digest_bytes(const void *bytes, size_t n, char out[HONE_DIGEST_TEXT]);
hone_status hone_digest_file(const char *path, char out[HONE_DIGEST_TEXT], uint64_t *bytes, hone_error *err);
hone_status hone_digest_fd(int fd, const char *name, char out[HONE_DIGEST_TEXT], uint64_t *bytes, hone_error *err);

/* dir + "/" + name on the heap (hone_free); NULL without memory. */
char *hone_path_join(const char *dir, const char *name);

#endif
