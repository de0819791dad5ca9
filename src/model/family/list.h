/* list.h - every family of the build: one line each, here and in the table of family.c. */
#ifndef HONE_FAMILY_LIST_H
#define HONE_FAMILY_LIST_H

#include "model/family/family.h"

extern const hone_family family_llama, family_mistral, family_ministral, family_qwen2, family_qwen3, family_gemma,
    family_gemma2;

#define FAMILIES                                                                                                       \
    &family_llama, &family_mistral, &family_ministral, &family_qwen2, &family_qwen3, &family_gemma, &family_gemma2,

#endif
