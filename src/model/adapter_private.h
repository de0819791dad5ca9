/* adapter_private.h - what adapter.c and adapter_read.c share. */
#ifndef HONE_ADAPTER_PRIVATE_H
#define HONE_ADAPTER_PRIVATE_H

#include "model/adapter.h"

#define CONFIG_FILE "adapter_config.json"
#define TENSORS_FILE "adapter_model.safetensors"
#define MAX_CONFIG_BYTES (1u << 20)

/* The struct that callers see, and the memory behind it. */
typedef struct {
    hone_adapter shown; /* first: a pointer to one is a pointer to the other */
    void *block;        /* all matrices and vectors */
} adapter;

/* Matrices by number: those of the layers, then embed_tokens, then lm_head. */
uint32_t adapter_count(const hone_adapter *a);
hone_lora *adapter_at(const hone_adapter *a, uint32_t i);

/* Ranks, scales and shapes by config, which is taken over also on failure; no room for numbers yet. */
hone_status adapter_make(adapter **out, const hone_arch *arch, json_t *config, hone_error *err);

/* Zeroed room for the float form. */
hone_status adapter_room_floats(adapter *a, hone_error *err);

/* PEFT's name of A or B of a layer's matrix. */
void adapter_tensor_name(char out[160], uint32_t l, uint32_t m, char which);

#endif
