/* pack.h - which rows make a step, and which of them run together.
 *
 * The order of an epoch is a shuffle that depends on (seed, epoch) alone.  A step takes the next batch_rows rows of it;
 * the last step of an epoch takes what is left.  A micro-batch takes rows of its step in order while their positions
 * fit the budget: rows are packed one behind the other, each a sequence of its own with positions from 0 and its own
 * pages, so no row sees another.  How a step is cut changes no bit of its gradient (backward.h). */
#ifndef HONE_TRAIN_PACK_H
#define HONE_TRAIN_PACK_H

#include "train/data.h"

/* order[n]: the rows of this epoch (from 0).  shuffle false: as they stand in the file. */
void hone_pack_order(uint64_t seed, uint32_t epoch, bool shuffle, uint32_t *order, size_t n);

/* The end of the micro-batch that begins at order[from]: the largest `to` <= end with all positions within micro_tokens
 * and at most max_rows rows, but at least from + 1. */
size_t hone_pack_micro(const hone_train_data *data, const uint32_t *order, size_t from, size_t end,
                       uint32_t micro_tokens, uint32_t max_rows);

#endif
