/* gguf.c - the vocabulary of a GGUF file: its tokenizer.ggml.* keys as a hone_vocab.
 * Order: arrays, keys, opening. */
#include "model/gguf.h"

#include <string.h>

#include "base/mem.h"
#include "model/tokenizer/impl.h"

static hone_status no_memory(hone_error *err) {
    return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary");
}

/* ---- Arrays ---- */

static hone_status texts(const hone_gguf *g, const char *key, hone_piece **out, size_t *n, size_t most,
                         hone_error *err) {
    hone_gguf_array a;
    hone_status st = hone_gguf_get_array(g, key, HONE_GGUF_TEXTS, &a, err);
    if (st != HONE_OK) return st;
    if (a.n > most) return hone_fail(err, HONE_ERR_LIMIT, "%s has %llu entries", key, (unsigned long long)a.n);
    if (!(*out = hone_zalloc((size_t)a.n, sizeof(**out)))) return no_memory(err);
    hone_gguf_text text;
    for (*n = 0; *n < a.n && hone_gguf_next_text(&a, &text); ++*n) (*out)[*n] = (hone_piece){text.text, text.n};
    return HONE_OK;
}

/* One number a token, where the file has them. */
static hone_status numbers(const hone_gguf *g, const char *key, size_t n, float **real, int32_t **whole,
                           hone_error *err) {
    hone_gguf_array a;
    if (!hone_gguf_has(g, key)) return HONE_OK;
    hone_status st = hone_gguf_get_array(g, key, real ? HONE_GGUF_REALS : HONE_GGUF_INTS, &a, err);
    if (st != HONE_OK) return st;
    if (a.n != n)
        return hone_fail(err, HONE_ERR_FORMAT, "%s has %llu entries for %zu tokens", key, (unsigned long long)a.n, n);
    if (real ? !(*real = hone_zalloc(n, sizeof(**real))) : !(*whole = hone_zalloc(n, sizeof(**whole))))
        return no_memory(err);
    double r;
    int64_t w;
    for (size_t i = 0; i < n; i++) {
        if (real && hone_gguf_next_real(&a, &r)) (*real)[i] = (float)r;
        if (whole && hone_gguf_next_int(&a, &w)) {
            if (w < INT32_MIN || w > INT32_MAX)
                return hone_fail(err, HONE_ERR_FORMAT, "%s: entry %zu is %lld", key, i, (long long)w);
            (*whole)[i] = (int32_t)w;
        }
    }
    return HONE_OK;
}

static hone_status bytes_of(const hone_gguf *g, const char *key, uint8_t **out, size_t *n, hone_error *err) {
    hone_gguf_array a;
    if (!hone_gguf_has(g, key)) return HONE_OK;
    hone_status st = hone_gguf_get_array(g, key, HONE_GGUF_INTS, &a, err);
    if (st != HONE_OK) return st;
    if (a.n > 1u << 26) return hone_fail(err, HONE_ERR_LIMIT, "%s has %llu bytes", key, (unsigned long long)a.n);
    if (!(*out = hone_zalloc((size_t)a.n, 1))) return no_memory(err);
    int64_t v;
    for (*n = 0; *n < a.n && hone_gguf_next_int(&a, &v); ++*n) (*out)[*n] = (uint8_t)v;
    return HONE_OK;
}

/* ---- Keys ---- */

static hone_status kind_of(const hone_gguf *g, hone_vocab *v, hone_error *err) {
    static const struct {
        const char *name;
        hone_vocab_kind kind;
    } known[] = {{"gpt2", HONE_VOCAB_BPE},
                 {"llama", HONE_VOCAB_SPM},
                 {"t5", HONE_VOCAB_UNIGRAM},
                 {"bert", HONE_VOCAB_WORDPIECE}};
    hone_gguf_text name;
    const hone_status st = hone_gguf_get_text(g, "tokenizer.ggml.model", &name, err);
    if (st != HONE_OK) return st;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (name.n == strlen(known[i].name) && memcmp(name.text, known[i].name, name.n) == 0) {
            v->kind = known[i].kind;
            return HONE_OK;
        }
    return hone_fail(err, HONE_ERR_UNSUPPORTED, "tokenizer.ggml.model '%.*s' is not implemented",
                     (int)(name.n < 60 ? name.n : 60), name.text);
}

static hone_status ids(const hone_gguf *g, hone_vocab *v, hone_error *err) {
    const struct {
        const char *key;
        int32_t *to;
    } keys[] = {{"tokenizer.ggml.bos_token_id", &v->bos},       {"tokenizer.ggml.eos_token_id", &v->eos},
                {"tokenizer.ggml.eot_token_id", &v->eot},       {"tokenizer.ggml.eom_token_id", &v->eom},
                {"tokenizer.ggml.unknown_token_id", &v->unk},   {"tokenizer.ggml.padding_token_id", &v->pad},
                {"tokenizer.ggml.seperator_token_id", &v->sep}, /* the key's own spelling */
                {"tokenizer.ggml.separator_token_id", &v->sep}, {"tokenizer.ggml.cls_token_id", &v->cls},
                {"tokenizer.ggml.mask_token_id", &v->mask}};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        int64_t id = *keys[i].to;
        const hone_status st = hone_gguf_opt_int(g, keys[i].key, -1, UINT32_MAX, &id, err);
        if (st != HONE_OK) return st;
        /* Some files write a number past the vocabulary for "none". */
        *keys[i].to = id < 0 || (uint64_t)id >= v->n_token ? HONE_NO_TOKEN : (int32_t)id;
    }
    return HONE_OK;
}

/* SentencePiece's usual three where the file does not name them. */
static void usual_ids(const hone_gguf *g, hone_vocab *v) {
    if (v->kind != HONE_VOCAB_SPM) return;
    if (!hone_gguf_has(g, "tokenizer.ggml.bos_token_id") && v->n_token > 1) v->bos = 1;
    if (!hone_gguf_has(g, "tokenizer.ggml.eos_token_id") && v->n_token > 2) v->eos = 2;
    if (!hone_gguf_has(g, "tokenizer.ggml.unknown_token_id") && v->n_token > 0) v->unk = 0;
}

static hone_status copy_text(const hone_gguf *g, const char *key, char **out, hone_error *err) {
    hone_gguf_text text;
    if (!hone_gguf_has(g, key)) return HONE_OK;
    const hone_status st = hone_gguf_get_text(g, key, &text, err);
    if (st != HONE_OK) return st;
    return (*out = hone_strndup(text.text, text.n)) ? HONE_OK : no_memory(err);
}

/* ---- Opening ---- */

hone_status hone_tokenizer_open_gguf(hone_tokenizer **out, const hone_gguf *g, hone_error *err) {
    hone_vocab v = hone_vocab_default();
    hone_piece *token = NULL, *merge = NULL;
    float *score = NULL;
    int32_t *type = NULL;
    uint8_t *charsmap = NULL;
    char *pre = NULL, *template = NULL;
    *out = NULL;
    hone_status st = kind_of(g, &v, err);
    if (st == HONE_OK) st = texts(g, "tokenizer.ggml.tokens", &token, &v.n_token, MODEL_TOKENS_MAX - 1, err);
    if (st == HONE_OK) st = numbers(g, "tokenizer.ggml.scores", v.n_token, &score, NULL, err);
    if (st == HONE_OK) st = numbers(g, "tokenizer.ggml.token_type", v.n_token, NULL, &type, err);
    if (st == HONE_OK && v.kind == HONE_VOCAB_BPE)
        st = texts(g, "tokenizer.ggml.merges", &merge, &v.n_merge, (size_t)1 << 26, err);
    if (st == HONE_OK) st = copy_text(g, "tokenizer.ggml.pre", &pre, err);
    if (st == HONE_OK) st = copy_text(g, "tokenizer.chat_template", &template, err);
    if (st == HONE_OK) st = bytes_of(g, "tokenizer.ggml.precompiled_charsmap", &charsmap, &v.charsmap_bytes, err);
    if (st == HONE_OK) st = ids(g, &v, err);
    if (st == HONE_OK) {
        usual_ids(g, &v);
        v.add_bos = v.kind == HONE_VOCAB_SPM || v.kind == HONE_VOCAB_WORDPIECE ||
                    (v.kind == HONE_VOCAB_BPE && hone_vocab_pre_adds_bos(pre));
        v.add_eos = v.kind == HONE_VOCAB_WORDPIECE || v.kind == HONE_VOCAB_UNIGRAM;
        st = hone_gguf_opt_bool(g, "tokenizer.ggml.add_bos_token", &v.add_bos, err);
    }
    if (st == HONE_OK) st = hone_gguf_opt_bool(g, "tokenizer.ggml.add_eos_token", &v.add_eos, err);
    if (st == HONE_OK) st = hone_gguf_opt_bool(g, "tokenizer.ggml.add_space_prefix", &v.add_space_prefix, err);
    if (st == HONE_OK)
        st = hone_gguf_opt_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &v.remove_extra_whitespaces, err);
    if (st == HONE_OK) {
        if (v.bos == HONE_NO_TOKEN && v.cls == HONE_NO_TOKEN) v.add_bos = false;
        if (v.eos == HONE_NO_TOKEN && v.sep == HONE_NO_TOKEN) v.add_eos = false;
        v.token = token;
        v.score = score;
        v.type = type;
        v.merge = merge;
        v.pre = pre;
        v.charsmap = charsmap;
        v.chat_template = template;
        st = hone_tokenizer_open_vocab(out, &v, err);
    }
    hone_free(token);
    hone_free(merge);
    hone_free(score);
    hone_free(type);
    hone_free(charsmap);
    hone_free(pre);
    hone_free(template);
    return st;
}
