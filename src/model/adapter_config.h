/* adapter_config.h - adapter_config.json: which matrices an adapter has, with which rank and scale. */
#ifndef HONE_ADAPTER_CONFIG_H
#define HONE_ADAPTER_CONFIG_H

#include "model/adapter.h"

/* Rank, alpha and scale of every a->lora[l][m] (rank 0 where config does not target it), and the fields of a that the
 * config states.  Every option that changes the result and is not implemented is HONE_ERR_UNSUPPORTED naming it. */
hone_status adapter_config_apply(hone_adapter *a, const hone_arch *arch, const json_t *config, hone_error *err);

/* The config of a new adapter; NULL without memory. */
json_t *adapter_config_make(const hone_adapter_config *cfg);

/* True where the family has this matrix. */
bool adapter_module_exists(const hone_arch *arch, hone_module m);

/* Outputs and inputs of a matrix; HONE_MOD_COUNT: the head. */
void adapter_module_shape(const hone_arch *arch, hone_module m, uint32_t *n, uint32_t *k);

#endif
