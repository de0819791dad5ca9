/* pack.c - the order of rows and their micro-batches; the contract is in pack.h. */
#include "train/pack.h"

#include "base/random.h"

/* Fisher and Yates; Philox's first coordinate keeps this use of the seed apart from adapters and dropout. */
#define DRAW_ORDER 0x6f726472u /* "ordr" */

void hone_pack_order(uint64_t seed, uint32_t epoch, bool shuffle, uint32_t *order, size_t n) {
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    for (size_t i = n; shuffle && i > 1; i--) {
        uint32_t w[4];
        hone_random_block(seed, DRAW_ORDER, epoch, i, w);
        /* 64 random bits over i <= 2^32 places: the bias is below 2^-32 */
        const size_t j = (size_t)(((uint64_t)w[0] << 32 | w[1]) % i);
        const uint32_t t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}

size_t hone_pack_micro(const hone_train_data *data, const uint32_t *order, size_t from, size_t end,
                       uint32_t micro_tokens, uint32_t max_rows) {
    uint64_t used = data->row[order[from]].n_run;
    size_t to = from + 1;
    while (to < end && to - from < max_rows && used + data->row[order[to]].n_run <= micro_tokens)
        used += data->row[order[to++]].n_run;
    return to;
}
