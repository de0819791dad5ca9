/* fixture.h - tiny models that tests write for themselves: as a Hugging Face folder and as a GGUF file, with the same
 * numbers.  Any room's tests may use it: its dependency is fixture_dep. */
#ifndef HONE_FIXTURE_H
#define HONE_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "kernel/dtype.h"

typedef struct {
    const char *family; /* llama, mistral, qwen2, qwen3, gemma2 */
    uint32_t vocab, width, n_layer, n_head, n_kv_head, head_dim, mlp_width, max_position;
    hone_dtype dtype; /* of the matrices: F32, F16, BF16 in folders, any in GGUF files (widths must be whole blocks) */
    bool tied;
    uint64_t seed;
} fixture_spec;

/* llama, V 96, D 32, L 2, H 4, G 2, E 8, F 64, 128 positions, F32, untied. */
fixture_spec fixture_default(void);

/* A new folder under TMPDIR or /tmp; fixture_remove() deletes it with all it holds and frees the name. */
char *fixture_folder(void);
void fixture_remove(char *dir);

/* dir + "/" + name in a buffer that the next call but seven reuses. */
const char *fixture_path(const char *dir, const char *name);

/* config.json and model.safetensors into dir; shards over 1: so many files and an index. */
bool fixture_write_folder(const char *dir, const fixture_spec *s, uint32_t shards);
bool fixture_write_gguf(const char *path, const fixture_spec *s);
bool fixture_write_text(const char *path, const char *text);

/* One number of the model in Hugging Face's row order, before it is rounded to the stored type.  which: "q", "k", "v",
 * "o", "gate", "up", "down", "embed", "head", "attn_norm", "mlp_norm", "attn_post_norm", "mlp_post_norm", "final_norm",
 * "q_norm", "k_norm", "q_bias", "k_bias", "v_bias". */
float fixture_value(const fixture_spec *s, const char *which, uint32_t layer, uint64_t element);

/* Piece by piece, for files that lie. */
void fixture_u32(hone_buf *b, uint32_t v);
void fixture_u64(hone_buf *b, uint64_t v);
void fixture_f32(hone_buf *b, float v);
void fixture_string(hone_buf *b, const char *text); /* GGUF's: length u64 and bytes */
void fixture_gguf_head(hone_buf *b, uint32_t version, uint64_t n_tensor, uint64_t n_key);
void fixture_gguf_text(hone_buf *b, const char *key, const char *value);
void fixture_gguf_u32(hone_buf *b, const char *key, uint32_t value);
void fixture_gguf_f32(hone_buf *b, const char *key, float value);
void fixture_gguf_tensor(hone_buf *b, const char *name, uint32_t n_dim, const uint64_t *shape, uint32_t type,
                         uint64_t offset);
void fixture_pad(hone_buf *b, size_t multiple);

/* A whole safetensors file: the header text as it is, then n zero bytes. */
void fixture_safetensors(hone_buf *b, const char *header, size_t n);

#endif
