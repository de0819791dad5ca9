/* checkpoint.c - one file for the state of a run; the contract is in checkpoint.h.
 *
 * Little-endian, as every machine this program runs on:
 *   0   8  "HONECKPT"
 *   8   4  version, 1
 *  12   4  bytes of the settings
 *  16   8  n, floats of an adapter
 *  24  40  hone_checkpoint_state: step, epoch_loss, epoch_trained, last_loss, valid_loss
 *  64      settings; p[n]; m[n]; v[n]
 *  end-8   XXH3-64 of everything before it
 * Valid: all of it there, nothing behind it, the checksum agrees. */
#include "train/checkpoint.h"

#include <string.h>
#include <xxhash.h>

#include "base/file.h"

#define VERSION 1u

typedef struct {
    char magic[8];
    uint32_t version, settings_bytes;
    uint64_t n;
    hone_checkpoint_state state;
} header;
_Static_assert(sizeof(header) == 64, "the header is written as it lies in memory");

hone_status hone_checkpoint_write(const char *path, const char *settings, const hone_checkpoint_state *state,
                                  const float *p, const float *m, const float *v, size_t n, hone_error *err) {
    header h = {.version = VERSION, .settings_bytes = (uint32_t)strlen(settings), .n = n, .state = *state};
    memcpy(h.magic, "HONECKPT", 8);
    uint64_t sum = 0;
    hone_piece_of_file piece[6] = {{&h, sizeof(h)},        {settings, h.settings_bytes}, {p, n * sizeof(float)},
                                   {m, n * sizeof(float)}, {v, n * sizeof(float)},       {&sum, sizeof(sum)}};
    XXH3_state_t *hash = XXH3_createState();
    if (!hash) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a checkpoint");
    XXH3_64bits_reset(hash);
    for (int i = 0; i < 5; i++) XXH3_64bits_update(hash, piece[i].data, piece[i].n);
    sum = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    const hone_status st = hone_file_write_pieces(path, piece, 6, err);
    if (st != HONE_OK) return hone_fail_within(err, st, "checkpoint (the one before is untouched): ");
    return HONE_OK;
}

/* Names the first line of the two texts that differs. */
static hone_status differs(const char *path, const char *theirs, size_t n, const char *ours, hone_error *err) {
    const char *end = theirs + n;
    while (theirs < end && *ours) {
        const char *a = memchr(theirs, '\n', (size_t)(end - theirs)), *b = strchr(ours, '\n');
        if (!a || !b) break;
        const size_t na = (size_t)(a - theirs), nb = (size_t)(b - ours);
        if (na != nb || memcmp(theirs, ours, na) != 0)
            return hone_fail(err, HONE_ERR_ARG, "%s: the checkpoint is of another run: %.*s there, %.*s here", path,
                             (int)(na < 120 ? na : 120), theirs, (int)(nb < 120 ? nb : 120), ours);
        theirs = a + 1;
        ours = b + 1;
    }
    return hone_fail(err, HONE_ERR_ARG, "%s: the checkpoint is of another run", path);
}

static hone_status check(const char *path, const hone_map *map, const char *settings, size_t n, hone_error *err) {
    const header *h = (const void *)map->data;
    if (map->bytes < sizeof(*h) || memcmp(h->magic, "HONECKPT", 8) != 0)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: not a checkpoint", path);
    if (h->version != VERSION)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "%s: a checkpoint of version %u, and this program reads %u", path,
                         h->version, VERSION);
    if (map->bytes < sizeof(*h) + h->settings_bytes + sizeof(uint64_t))
        return hone_fail(err, HONE_ERR_FORMAT, "%s: the checkpoint is cut off", path);
    uint64_t sum;
    memcpy(&sum, map->data + map->bytes - sizeof(sum), sizeof(sum));
    if (XXH3_64bits(map->data, map->bytes - sizeof(sum)) != sum)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: the checkpoint is damaged (its checksum does not agree)", path);
    const char *theirs = (const char *)map->data + sizeof(*h);
    if (strlen(settings) != h->settings_bytes || memcmp(theirs, settings, h->settings_bytes) != 0)
        return differs(path, theirs, h->settings_bytes, settings, err);
    const size_t rest = map->bytes - sizeof(*h) - h->settings_bytes - sizeof(sum);
    if (h->n != n || rest / sizeof(float) / 3 != n || rest % (3 * sizeof(float)) != 0)
        return hone_fail(err, HONE_ERR_FORMAT, "%s: the checkpoint's sizes do not fit the adapter", path);
    return HONE_OK;
}

hone_status hone_checkpoint_read(const char *path, const char *settings, hone_checkpoint_state *state, float *p,
                                 float *m, float *v, size_t n, hone_error *err) {
    hone_map map;
    hone_status st = hone_map_path(&map, path, err);
    if (st != HONE_OK) return st;
    st = check(path, &map, settings, n, err);
    if (st == HONE_OK) {
        const header *h = (const void *)map.data;
        const uint8_t *at = map.data + sizeof(*h) + h->settings_bytes;
        *state = h->state;
        memcpy(p, at, n * sizeof(*p));
        memcpy(m, at + n * sizeof(*p), n * sizeof(*m));
        memcpy(v, at + 2 * n * sizeof(*p), n * sizeof(*v));
    }
    hone_map_close(&map);
    return st;
}
