/* list.h - every family of the build, a line each. */
#ifndef HONE_FAMILY_LIST_H
#define HONE_FAMILY_LIST_H

#include "model/family/family.h"

#define FAMILIES(X)                                                                                                    \
    X(llama)                                                                                                           \
    X(mistral)                                                                                                         \
    X(ministral)                                                                                                       \
    X(qwen2)                                                                                                           \
    X(qwen3)                                                                                                           \
    X(gemma)                                                                                                           \
    X(gemma2)                                                                                                          \
    X(gemma3)                                                                                                          \
    X(vaultgemma)                                                                                                      \
    X(granite)                                                                                                         \
    X(hyperclovax)                                                                                                     \
    X(arcee)                                                                                                           \
    X(seed_oss)                                                                                                        \
    X(helium)                                                                                                          \
    X(ernie4_5)                                                                                                        \
    X(smollm3)                                                                                                         \
    X(cwm)                                                                                                             \
    X(hunyuan_v1_dense)                                                                                                \
    X(olmo)                                                                                                            \
    X(olmo2)                                                                                                           \
    X(olmo3)                                                                                                           \
    X(exaone4)                                                                                                         \
    X(phi3)                                                                                                            \
    X(glm)                                                                                                             \
    X(glm4)                                                                                                            \
    X(cohere)                                                                                                          \
    X(cohere2)                                                                                                         \
    X(stablelm)                                                                                                        \
    X(starcoder2)                                                                                                      \
    X(phi)                                                                                                             \
    X(nemotron)                                                                                                        \
    X(jais2)

#define FAMILY_DECLARE(name) extern const hone_family family_##name;
#define FAMILY_ADDRESS(name) &family_##name,
FAMILIES(FAMILY_DECLARE)

#endif
