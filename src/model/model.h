/* model.h - a model ready to run: architecture record and tiles for one kernel set.
 *
 * Made from published weights (a Hugging Face folder or a GGUF file) by re-laying every matrix once, or by mapping a
 * tile file that an earlier start made (tile.h).  Immutable afterwards; any thread may read it.
 *
 * Adapters and checkpoints name matrices by (layer, module); queries and keys are always in Hugging Face's row order:
 * GGUF files of the Llama family, which permute them, are put back when they are re-laid (rows move, blocks do not). */
#ifndef HONE_MODEL_H
#define HONE_MODEL_H

#include "base/file.h"
#include "base/pool.h"
#include "model/arch.h"

/* The linear layers of a decoder block, in the order that adapters, tapes and gradients use. */
typedef enum {
    HONE_MOD_Q,
    HONE_MOD_K,
    HONE_MOD_V,
    HONE_MOD_O,
    HONE_MOD_GATE,
    HONE_MOD_UP,
    HONE_MOD_DOWN,
    HONE_MOD_COUNT
} hone_module;

/* "self_attn.q_proj", ...: PEFT's module path within "model.layers.N."; the last part is the name in target_modules. */
const char *hone_module_path(hone_module m);
const char *hone_module_name(hone_module m);

typedef struct {
    hone_weight w;     /* n == 0: absent */
    const float *bias; /* [n] or NULL */
} hone_linear;

typedef struct {
    const float *weight; /* [width], NULL: absent */
    const float *bias;   /* LayerNorm only, or NULL */
} hone_norm;

typedef struct {
    hone_norm attn_norm, attn_post_norm, mlp_norm, mlp_post_norm; /* absent ones have weight NULL */
    hone_norm q_norm, k_norm;
    hone_linear linear[HONE_MOD_COUNT];
} hone_layer;

typedef struct {
    hone_arch arch;
    const hone_kernels *kernels;
    hone_precision precision;
    hone_weight embed; /* [V, D]; rows by kernels->weight_row */
    hone_norm embed_norm, final_norm;
    hone_linear head;              /* [V, D]; when tied, the same tiles as embed */
    hone_layer *layer;             /* [L] */
    char digest[HONE_DIGEST_TEXT]; /* SHA-256 that names the weights: of the GGUF file, or over the digests of the
                                      folder's config.json and weight files (weights.h) */
    uint64_t weight_bytes;         /* tiles, in bytes */
    uint64_t parameters;           /* elements of all weights as stored */
    char format[16];               /* dominant stored format, "Q4_1" */
    void *owner;                   /* model.c's own: mappings and memory */
} hone_model;

/* From a path: a GGUF file, or a folder with config.json and *.safetensors.  Success: the caller owns *out. */
hone_status hone_model_open(hone_model **out, const char *path, const hone_kernels *kernels, hone_precision precision,
                            hone_pool *pool, hone_error *err);

/* The same without the weights' bytes: records, shapes and sizes, as plans need them; headers are all that is read.
 * Nothing may be computed with it. */
hone_status hone_model_open_shape(hone_model **out, const char *path, const hone_kernels *kernels,
                                  hone_precision precision, hone_error *err);
void hone_model_close(hone_model *m); /* NULL is fine */

/* The tile file: the same model laid for (kernels, precision), written once, mapped read-only by every later process.
 * Its format stands at the top of tile.c. */
hone_status hone_model_write_tiles(const hone_model *m, const char *path, hone_error *err);
hone_status hone_model_map_tiles(hone_model **out, int fd, const char *name,
                                 hone_error *err); /* fd may be closed afterwards */

/* What `hone show` prints without laying tiles: fills arch, parameters, format, digest "" and no weights. */
typedef struct {
    hone_arch arch;
    uint64_t parameters, bytes;
    char format[16];
    char name[128];    /* general.name or _name_or_path, "" when unknown */
    char licence[128]; /* as the file or its README says, "" when unknown */
} hone_model_info;
hone_status hone_model_inspect(hone_model_info *out, const char *path, hone_error *err);
void hone_model_info_free(hone_model_info *info);

#endif
