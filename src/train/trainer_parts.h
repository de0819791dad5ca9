/* trainer_parts.h - what plan.c and trainer.c share. */
#ifndef HONE_TRAINER_PARTS_H
#define HONE_TRAINER_PARTS_H

#include "base/buf.h"
#include "train/trainer.h"

/* The adapter that the run begins with. */
hone_status trainer_adapter(hone_adapter **out, const hone_model *model, const hone_train_config *cfg, hone_error *err);

/* The plan for that adapter; *cut is what hone_pass_open needs for the largest micro-batch of all epochs. */
hone_status trainer_plan(hone_train_plan *out, hone_pass_config *cut, const hone_model *model,
                         const hone_adapter *adapter, hone_pool *pool, const hone_train_config *cfg,
                         const hone_train_data *train, const hone_train_data *valid, hone_error *err);

/* Everything that the result depends on, "name=value" a line. */
bool trainer_settings(hone_buf *out, const hone_train_plan *plan, const hone_model *model, const hone_adapter *adapter,
                      const hone_train_config *cfg, const hone_train_data *train);

#define TRAINER_MAX_ROWS 64u /* rows of a micro-batch */

#endif
