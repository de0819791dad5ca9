/* fixture.c - tiny models for tests; the contract is in fixture.h.  The writers here know the formats on their own:
 * they share nothing with the readers under test but dtype.h's rounding. */
#include "fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/random.h"

fixture_spec fixture_default(void) {
    return (fixture_spec){.family = "llama",
                          .vocab = 96,
                          .width = 32,
                          .n_layer = 2,
                          .n_head = 4,
                          .n_kv_head = 2,
                          .head_dim = 8,
                          .mlp_width = 64,
                          .max_position = 128,
                          .dtype = HONE_F32,
                          .seed = 7};
}

/* ---- folders ---- */

char *fixture_folder(void) {
    char name[256];
    const char *tmp = getenv("TMPDIR");
    snprintf(name, sizeof(name), "%s/hone-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(name) ? strdup(name) : NULL;
}

void fixture_remove(char *dir) {
    DIR *d = dir ? opendir(dir) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        const char *path = fixture_path(dir, e->d_name);
        struct stat st;
        if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
            fixture_remove(strdup(path));
        else
            unlink(path);
    }
    if (d) closedir(d);
    if (dir) rmdir(dir);
    free(dir);
}

const char *fixture_path(const char *dir, const char *name) {
    static char ring[8][512];
    static unsigned at;
    char *out = ring[at++ % 8];
    snprintf(out, sizeof(ring[0]), "%s/%s", dir, name);
    return out;
}

bool fixture_write_text(const char *path, const char *text) {
    return hone_file_write_atomic(path, text, strlen(text), NULL) == HONE_OK;
}

/* ---- bytes ---- */

void fixture_u32(hone_buf *b, uint32_t v) {
    hone_buf_add(b, &v, 4);
}
void fixture_u64(hone_buf *b, uint64_t v) {
    hone_buf_add(b, &v, 8);
}
void fixture_f32(hone_buf *b, float v) {
    hone_buf_add(b, &v, 4);
}
void fixture_string(hone_buf *b, const char *text) {
    fixture_u64(b, strlen(text));
    hone_buf_text(b, text);
}
void fixture_gguf_head(hone_buf *b, uint32_t version, uint64_t n_tensor, uint64_t n_key) {
    hone_buf_text(b, "GGUF");
    fixture_u32(b, version);
    fixture_u64(b, n_tensor);
    fixture_u64(b, n_key);
}
void fixture_gguf_text(hone_buf *b, const char *key, const char *value) {
    fixture_string(b, key);
    fixture_u32(b, 8);
    fixture_string(b, value);
}
void fixture_gguf_u32(hone_buf *b, const char *key, uint32_t value) {
    fixture_string(b, key);
    fixture_u32(b, 4);
    fixture_u32(b, value);
}
void fixture_gguf_f32(hone_buf *b, const char *key, float value) {
    fixture_string(b, key);
    fixture_u32(b, 6);
    fixture_f32(b, value);
}
void fixture_gguf_tensor(hone_buf *b, const char *name, uint32_t n_dim, const uint64_t *shape, uint32_t type,
                         uint64_t offset) {
    fixture_string(b, name);
    fixture_u32(b, n_dim);
    for (uint32_t d = 0; d < n_dim; d++) fixture_u64(b, shape[d]);
    fixture_u32(b, type);
    fixture_u64(b, offset);
}
void fixture_pad(hone_buf *b, size_t multiple) {
    while (b->n % multiple) hone_buf_char(b, 0);
}
void fixture_safetensors(hone_buf *b, const char *header, size_t n) {
    fixture_u64(b, strlen(header));
    hone_buf_text(b, header);
    for (size_t i = 0; i < n; i++) hone_buf_char(b, 0);
}

/* ---- numbers ---- */

float fixture_value(const fixture_spec *s, const char *which, uint32_t layer, uint64_t element) {
    uint32_t h = 2166136261u;
    for (const char *p = which; *p; p++) h = (h ^ (uint8_t)*p) * 16777619u;
    const float u = hone_random_unit(s->seed, h, layer, element) - 0.5f;
    if (strstr(which, "norm")) return (strcmp(s->family, "gemma2") == 0 ? 0.0f : 1.0f) + 0.4f * u;
    return 0.5f * u;
}

/* Block formats get random bytes under small scales: any bytes are numbers there. */
static void add_blocks(hone_buf *b, const fixture_spec *s, const char *which, uint32_t layer, uint64_t first,
                       uint32_t k, hone_dtype t) {
    const uint32_t block = hone_dtype_block(t), bytes = hone_dtype_block_bytes(t);
    for (uint64_t e = first; e < first + k; e += block) {
        uint8_t raw[256];
        for (uint32_t i = 0; i < bytes; i++)
            raw[i] = (uint8_t)(fixture_value(s, which, layer + 1000, e * 8 + i) * 509.0f);
        const uint16_t d = hone_f16_round(0.004f + 0.01f * (fixture_value(s, which, layer + 2000, e) + 0.25f));
        const uint16_t m = hone_f16_round(-0.03f);
        const uint32_t at = t == HONE_Q6_K ? 208 : t == HONE_Q2_K ? 80 : t == HONE_Q3_K ? 108 : 0;
        if (t == HONE_NVFP4)
            for (uint32_t i = 0; i < 4; i++) raw[i] = 16 + raw[i] % 32; /* e4m3, far from NaN */
        else if (t == HONE_MXFP4)
            raw[0] = 118 + raw[0] % 4;
        else
            memcpy(raw + at, &d, 2);
        if (t == HONE_Q2_K) memcpy(raw + 82, &m, 2);
        if (t == HONE_Q4_1 || t == HONE_Q5_1 || t == HONE_Q4_K || t == HONE_Q5_K) memcpy(raw + 2, &m, 2);
        hone_buf_add(b, raw, bytes);
    }
}

static void add_row(hone_buf *b, const fixture_spec *s, const char *which, uint32_t layer, uint64_t first, uint32_t k,
                    hone_dtype t, float offset) {
    if (hone_dtype_block(t) > 1) {
        add_blocks(b, s, which, layer, first, k, t);
        return;
    }
    for (uint32_t i = 0; i < k; i++) {
        const float v = fixture_value(s, which, layer, first + i) + offset;
        const uint16_t h = t == HONE_F16 ? hone_f16_round(v) : hone_bf16_round(v);
        if (t == HONE_F8_E4M3)
            hone_buf_char(b, (char)(uint8_t)((v < 0 ? 0x80 : 0) | (int)(fabsf(v) * 200.0f))); /* below 0x7f: no NaN */
        else if (t == HONE_F32)
            fixture_f32(b, v);
        else
            hone_buf_add(b, &h, 2);
    }
}

/* ---- the list of a model's tensors, under both names ---- */

typedef struct {
    const char *which, *hf, *gguf;
    uint32_t n, k; /* k 0: a vector */
    bool permuted;
} entry;

static uint32_t layer_entries(const fixture_spec *s, entry out[24]) {
    const uint32_t d = s->width, q = s->n_head * s->head_dim, kv = s->n_kv_head * s->head_dim, f = s->mlp_width;
    const bool llama = strcmp(s->family, "llama") == 0 || strcmp(s->family, "mistral") == 0,
               gemma = strcmp(s->family, "gemma2") == 0;
    uint32_t n = 0;
    out[n++] = (entry){"q", "self_attn.q_proj.weight", "attn_q.weight", q, d, llama};
    out[n++] = (entry){"k", "self_attn.k_proj.weight", "attn_k.weight", kv, d, llama};
    out[n++] = (entry){"v", "self_attn.v_proj.weight", "attn_v.weight", kv, d, false};
    out[n++] = (entry){"o", "self_attn.o_proj.weight", "attn_output.weight", d, q, false};
    out[n++] = (entry){"gate", "mlp.gate_proj.weight", "ffn_gate.weight", f, d, false};
    out[n++] = (entry){"up", "mlp.up_proj.weight", "ffn_up.weight", f, d, false};
    out[n++] = (entry){"down", "mlp.down_proj.weight", "ffn_down.weight", d, f, false};
    out[n++] = (entry){"attn_norm", "input_layernorm.weight", "attn_norm.weight", d, 0, false};
    if (gemma) {
        out[n++] =
            (entry){"attn_post_norm", "post_attention_layernorm.weight", "post_attention_norm.weight", d, 0, false};
        out[n++] = (entry){"mlp_norm", "pre_feedforward_layernorm.weight", "ffn_norm.weight", d, 0, false};
        out[n++] = (entry){"mlp_post_norm", "post_feedforward_layernorm.weight", "post_ffw_norm.weight", d, 0, false};
    } else {
        out[n++] = (entry){"mlp_norm", "post_attention_layernorm.weight", "ffn_norm.weight", d, 0, false};
    }
    if (strcmp(s->family, "qwen2") == 0) {
        out[n++] = (entry){"q_bias", "self_attn.q_proj.bias", "attn_q.bias", q, 0, false};
        out[n++] = (entry){"k_bias", "self_attn.k_proj.bias", "attn_k.bias", kv, 0, false};
        out[n++] = (entry){"v_bias", "self_attn.v_proj.bias", "attn_v.bias", kv, 0, false};
    }
    if (strcmp(s->family, "qwen3") == 0) {
        out[n++] = (entry){"q_norm", "self_attn.q_norm.weight", "attn_q_norm.weight", s->head_dim, 0, false};
        out[n++] = (entry){"k_norm", "self_attn.k_norm.weight", "attn_k_norm.weight", s->head_dim, 0, false};
    }
    return n;
}

static uint32_t outer_entries(const fixture_spec *s, entry out[3]) {
    uint32_t n = 0;
    out[n++] = (entry){"embed", "model.embed_tokens.weight", "token_embd.weight", s->vocab, s->width, false};
    out[n++] = (entry){"final_norm", "model.norm.weight", "output_norm.weight", s->width, 0, false};
    if (!s->tied) out[n++] = (entry){"head", "lm_head.weight", "output.weight", s->vocab, s->width, false};
    return n;
}

/* All of them by number, layers first. */
static bool entry_at(const fixture_spec *s, uint32_t i, entry *out, int *layer) {
    entry of_layer[24], outer[3];
    const uint32_t n = layer_entries(s, of_layer), m = outer_entries(s, outer);
    if (i >= n * s->n_layer + m) return false;
    *layer = i < n * s->n_layer ? (int)(i / n) : -1;
    *out = *layer >= 0 ? of_layer[i % n] : outer[i - n * s->n_layer];
    return true;
}

/* Vectors are never quantised. */
static hone_dtype vector_or_matrix_dtype(const fixture_spec *s, const entry *e, bool gguf) {
    return e->k ? s->dtype : gguf || s->dtype == HONE_F8_E4M3 ? HONE_F32 : s->dtype;
}

static void add_tensor(hone_buf *b, const fixture_spec *s, const entry *e, uint32_t layer, bool gguf) {
    const uint32_t half = s->head_dim / 2;
    const hone_dtype t = vector_or_matrix_dtype(s, e, gguf);
    const float offset = gguf && strcmp(s->family, "gemma2") == 0 && strstr(e->which, "norm") ? 1.0f : 0.0f;
    if (!e->k) add_row(b, s, e->which, layer, 0, e->n, t, offset);
    for (uint32_t r = 0; e->k && r < e->n; r++) {
        uint64_t row = r;
        if (gguf && e->permuted) { /* stored row 2 i + j of a head is its row j half + i */
            const uint32_t in = r % s->head_dim;
            row = r - in + (in % 2) * half + in / 2;
        }
        add_row(b, s, e->which, layer, row * e->k, e->k, t, 0.0f);
    }
}

/* ---- folders ---- */

static float fixture_scale(const fixture_spec *s, const entry *e, uint32_t block) {
    return 0.01f + 0.002f * fixture_value(s, e->which, 3000, block);
}

static bool write_config(const char *dir, const fixture_spec *s) {
    const char *architecture = strcmp(s->family, "mistral") == 0  ? "MistralForCausalLM"
                               : strcmp(s->family, "qwen2") == 0  ? "Qwen2ForCausalLM"
                               : strcmp(s->family, "qwen3") == 0  ? "Qwen3ForCausalLM"
                               : strcmp(s->family, "gemma2") == 0 ? "Gemma2ForCausalLM"
                                                                  : "LlamaForCausalLM";
    hone_buf b = {0};
    hone_buf_format(
        &b,
        "{\"architectures\": [\"%s\"], \"model_type\": \"%s\", \"vocab_size\": %u, \"hidden_size\": %u, "
        "\"num_hidden_layers\": %u, \"num_attention_heads\": %u, \"num_key_value_heads\": %u, \"head_dim\": %u, "
        "\"intermediate_size\": %u, \"max_position_embeddings\": %u, \"tie_word_embeddings\": %s, "
        "\"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"sliding_window\": %s, "
        "\"query_pre_attn_scalar\": %u, \"bos_token_id\": 1, \"eos_token_id\": 2%s}",
        architecture, s->family, s->vocab, s->width, s->n_layer, s->n_head, s->n_kv_head, s->head_dim, s->mlp_width,
        s->max_position, s->tied ? "true" : "false", strcmp(s->family, "gemma2") == 0 ? "8" : "null", s->head_dim,
        s->dtype == HONE_F8_E4M3
            ? ", \"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [16, 16]}"
            : "");
    const bool ok = !b.failed && fixture_write_text(fixture_path(dir, "config.json"), b.data);
    hone_buf_free(&b);
    return ok;
}

bool fixture_write_folder(const char *dir, const fixture_spec *s, uint32_t shards) {
    bool ok = write_config(dir, s);
    entry e;
    int layer;
    hone_buf index = {0};
    hone_buf_text(&index, "{\"metadata\": {}, \"weight_map\": {");
    for (uint32_t shard = 0; shard < shards; shard++) {
        hone_buf head = {0}, data = {0}, file = {0};
        char name[64];
        if (shards == 1)
            snprintf(name, sizeof(name), "model.safetensors");
        else
            snprintf(name, sizeof(name), "model-%05u-of-%05u.safetensors", shard + 1, shards);
        hone_buf_char(&head, '{');
        for (uint32_t i = 0; entry_at(s, i, &e, &layer); i++) {
            if (i % shards != shard) continue;
            const size_t begin = data.n;
            add_tensor(&data, s, &e, layer < 0 ? 0 : (uint32_t)layer, false);
            char tensor[128], shape[64];
            if (layer < 0)
                snprintf(tensor, sizeof(tensor), "%s", e.hf);
            else
                snprintf(tensor, sizeof(tensor), "model.layers.%d.%s", layer, e.hf);
            if (e.k)
                snprintf(shape, sizeof(shape), "%u, %u", e.n, e.k);
            else
                snprintf(shape, sizeof(shape), "%u", e.n);
            hone_buf_format(&head, "%s\"%s\": {\"dtype\": \"%s\", \"shape\": [%s], \"data_offsets\": [%zu, %zu]}",
                            head.n > 1 ? ", " : "", tensor, hone_dtype_name(vector_or_matrix_dtype(s, &e, false)),
                            shape, begin, data.n);
            if (s->dtype == HONE_F8_E4M3 && e.k) {
                const uint32_t rows = (e.n + 15) / 16, columns = (e.k + 15) / 16;
                const size_t at = data.n;
                for (uint32_t j = 0; j < rows * columns; j++) fixture_f32(&data, fixture_scale(s, &e, j));
                hone_buf_format(
                    &head,
                    ", \"%s_scale_inv\": {\"dtype\": \"F32\", \"shape\": [%u, %u], \"data_offsets\": [%zu, %zu]}",
                    tensor, rows, columns, at, data.n);
            }
            hone_buf_format(&index, "%s\"%s\": \"%s\"", index.data[index.n - 1] == '{' ? "" : ", ", tensor, name);
        }
        hone_buf_char(&head, '}');
        fixture_u64(&file, head.n);
        hone_buf_add(&file, head.data, head.n);
        hone_buf_add(&file, data.data, data.n);
        ok &= !head.failed && !data.failed && !file.failed &&
              hone_file_write_atomic(fixture_path(dir, name), file.data, file.n, NULL) == HONE_OK;
        hone_buf_free(&head);
        hone_buf_free(&data);
        hone_buf_free(&file);
    }
    hone_buf_text(&index, "}}");
    if (shards > 1) ok &= fixture_write_text(fixture_path(dir, "model.safetensors.index.json"), hone_buf_str(&index));
    hone_buf_free(&index);
    return ok;
}

/* ---- GGUF ---- */

static uint32_t ggml_type(hone_dtype t) {
    static const uint8_t of[HONE_STORED_COUNT] = {
        [HONE_F32] = 0,   [HONE_F16] = 1,     [HONE_BF16] = 30,   [HONE_Q4_0] = 2,   [HONE_Q4_1] = 3,  [HONE_Q5_0] = 6,
        [HONE_Q5_1] = 7,  [HONE_Q8_0] = 8,    [HONE_Q4_K] = 12,   [HONE_Q5_K] = 13,  [HONE_Q6_K] = 14, [HONE_Q2_K] = 10,
        [HONE_Q3_K] = 11, [HONE_IQ4_NL] = 20, [HONE_IQ4_XS] = 23, [HONE_MXFP4] = 39, [HONE_NVFP4] = 40};
    return of[t];
}

static uint64_t keys(hone_buf *b, const fixture_spec *s) {
    const bool gemma = strcmp(s->family, "gemma2") == 0;
    const char *arch = strcmp(s->family, "mistral") == 0 ? "llama" : s->family;
    const struct {
        const char *key;
        uint32_t v;
    } numbers[] = {{"block_count", s->n_layer},           {"context_length", s->max_position},
                   {"embedding_length", s->width},        {"feed_forward_length", s->mlp_width},
                   {"attention.head_count", s->n_head},   {"attention.head_count_kv", s->n_kv_head},
                   {"attention.key_length", s->head_dim}, {"attention.value_length", s->head_dim}};
    char key[128];
    uint64_t n = 0;
    fixture_gguf_text(b, "general.architecture", arch), n++;
    fixture_gguf_text(b, "general.name", "tiny"), n++;
    fixture_gguf_text(b, "general.license", "apache-2.0"), n++;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++, n++) {
        snprintf(key, sizeof(key), "%s.%s", arch, numbers[i].key);
        fixture_gguf_u32(b, key, numbers[i].v);
    }
    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", arch);
    fixture_gguf_f32(b, key, 1e-5f), n++;
    snprintf(key, sizeof(key), "%s.rope.freq_base", arch);
    fixture_gguf_f32(b, key, 10000.0f), n++;
    if (gemma) fixture_gguf_u32(b, "gemma2.attention.sliding_window", 8), n++;
    fixture_gguf_u32(b, "tokenizer.ggml.bos_token_id", 1), n++;
    fixture_gguf_u32(b, "tokenizer.ggml.eos_token_id", 2), n++;
    return n;
}

bool fixture_write_gguf(const char *path, const fixture_spec *s) {
    hone_buf meta = {0}, dir = {0}, data = {0}, file = {0};
    const uint64_t n_key = keys(&meta, s);
    uint64_t n_tensor = 0;
    entry e;
    int layer;
    for (uint32_t i = 0; entry_at(s, i, &e, &layer); i++, n_tensor++) {
        char name[64];
        const uint64_t matrix[2] = {e.k, e.n}, vector[1] = {e.n};
        if (layer < 0)
            snprintf(name, sizeof(name), "%s", e.gguf);
        else
            snprintf(name, sizeof(name), "blk.%d.%s", layer, e.gguf);
        fixture_pad(&data, 32);
        fixture_gguf_tensor(&dir, name, e.k ? 2 : 1, e.k ? matrix : vector, e.k ? ggml_type(s->dtype) : 0, data.n);
        add_tensor(&data, s, &e, layer < 0 ? 0 : (uint32_t)layer, true);
    }
    fixture_gguf_head(&file, 3, n_tensor, n_key);
    hone_buf_add(&file, meta.data, meta.n);
    hone_buf_add(&file, dir.data, dir.n);
    fixture_pad(&file, 32);
    hone_buf_add(&file, data.data, data.n);
    const bool ok = !meta.failed && !dir.failed && !data.failed && !file.failed &&
                    hone_file_write_atomic(path, file.data, file.n, NULL) == HONE_OK;
    hone_buf_free(&meta);
    hone_buf_free(&dir);
    hone_buf_free(&data);
    hone_buf_free(&file);
    return ok;
}
