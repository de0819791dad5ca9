/* vocabulary.c - a folder's tokenizer.json as tokenizer.ggml.* keys.
 *
 * GGUF names a pre-tokenizer where tokenizer.json spells one out.  The name is found by trying: the first under which a
 * text of many scripts, numbers, contractions, spaces and all added tokens gets the same ids as from tokenizer.json.
 * None: refused.
 *
 * No key says that text is normalised (NFC) first, as Qwen's tokenizer.json does; llama.cpp does not do it either.  The
 * text that is tried is in NFC: on other text the ids may differ.
 *
 * Refused too: Unigram and WordPiece (their files hold more than these keys say).
 *
 * Order: reading tokenizer.json, trying, keys. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/export/export_internal.h"
#include "model/tokenizer.h"

static const char sample_text[] =
    "Hello, world! It's the engineers' 3rd résumé: C++/Rust, 12,345.67 € (2024-11-05)...\n\n\tdef f(x):\n    return "
    "x**2  "
    "# spaces   and\ttabs\r\n \n  I'LL we've THEY'RE don't 'tis can''t\n"
    "Ünïcödé straße ЁЖИК привет Ελλάδα שלום مرحبا नमस्ते ไทย 한국어 안녕 日本語テスト 中文测试,全角!123 ١٢٣ Ⅷ ½ x² "
    "🤖👩‍🚀🇪🇺 "
    "\u00a0nbsp \u200bzero\n<html>&amp;</html> {\"k\": [1, -2.5e10, null]} https://example.org/?q=a%20b "
    "snake_case camelCase SCREAMING 1234567890 0x1F 'quoted' \"double\" `code` ~~~ === --- ;;; $$$\n\n\n"
    "\n \n  \n\t\n \r\r\n\n\r x\n y \n\n  z\t\tw \u3000\u2003v\n\n \n1\n 2 \n!\n ?\r\n.\n\n,   \n";

typedef struct {
    json_t *json; /* tokenizer.json; texts below point into it */
    hone_vocab v;
    hone_piece *token;
    int32_t *type;
    float *score;
    hone_piece *merge;
    char **joined; /* [n_merge] merges that stand as pairs, as one text; owned */
    hone_tokenizer *source;
    hone_buf sample; /* what is tried: the text above and every added token, alone and between spaces */
    hone_ids want;
} vocabulary;

static void drop(vocabulary *x) {
    for (size_t i = 0; x->joined && i < x->v.n_merge; i++) hone_free(x->joined[i]);
    hone_free(x->joined);
    hone_free(x->token);
    hone_free(x->type);
    hone_free(x->score);
    hone_free(x->merge);
    hone_ids_free(&x->want);
    hone_buf_free(&x->sample);
    hone_tokenizer_close(x->source);
    json_decref(x->json);
}

/* ---- reading tokenizer.json ---- */

static hone_status take_tokens(vocabulary *x, hone_error *err) {
    const json_t *model = json_object_get(x->json, "model"), *vocab = json_object_get(model, "vocab"), *v;
    const size_t n = (size_t)hone_tokenizer_size(x->source);
    const char *text;
    size_t i;
    x->v.n_token = n;
    x->token = hone_zalloc(n, sizeof(*x->token));
    x->type = hone_zalloc(n, sizeof(*x->type));
    x->score = hone_zalloc(n, sizeof(*x->score));
    if (!x->token || !x->type || !x->score) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary");
    json_object_foreach((json_t *)(uintptr_t)vocab, text, v) {
        const json_int_t id = json_integer_value(v);
        if (id < 0 || (size_t)id >= n) continue;
        x->token[id] = (hone_piece){text, strlen(text)};
        x->type[id] = HONE_TOKEN_NORMAL;
    }
    json_array_foreach(json_object_get(x->json, "added_tokens"), i, v) {
        const json_int_t id = json_integer_value(json_object_get(v, "id"));
        const json_t *content = json_object_get(v, "content");
        if (id < 0 || (size_t)id >= n || !json_is_string(content)) continue;
        x->token[id] = (hone_piece){json_string_value(content), json_string_length(content)};
        x->type[id] = json_is_true(json_object_get(v, "special")) ? HONE_TOKEN_CONTROL : HONE_TOKEN_USER_DEFINED;
    }
    for (i = 0; i < n; i++)
        if (x->type[i] == 0) {
            x->token[i] = (hone_piece){"", 0};
            x->type[i] = HONE_TOKEN_UNUSED;
        } else if (x->v.kind == HONE_VOCAB_SPM && x->token[i].n == 6 && memcmp(x->token[i].text, "<0x", 3) == 0) {
            x->type[i] = HONE_TOKEN_BYTE;
        }
    return HONE_OK;
}

static hone_status take_merges(vocabulary *x, hone_error *err) {
    const json_t *list = json_object_get(json_object_get(x->json, "model"), "merges"), *m;
    const size_t n = json_array_size(list);
    size_t i;
    x->merge = hone_zalloc(n, sizeof(*x->merge));
    x->joined = hone_zalloc(n, sizeof(*x->joined));
    if (!x->merge || !x->joined) return hone_fail(err, HONE_ERR_NOMEM, "no memory for %zu merges", n);
    x->v.n_merge = n;
    json_array_foreach((json_t *)(uintptr_t)list, i, m) {
        if (json_is_string(m)) {
            x->merge[i] = (hone_piece){json_string_value(m), json_string_length(m)};
            continue;
        }
        const json_t *a = json_array_get(m, 0), *b = json_array_get(m, 1);
        if (!json_is_string(a) || !json_is_string(b))
            return hone_fail(err, HONE_ERR_FORMAT, "tokenizer.json: merge %zu is no pair", i);
        const size_t size = json_string_length(a) + json_string_length(b) + 2;
        if (!(x->joined[i] = hone_zalloc(size, 1))) return hone_fail(err, HONE_ERR_NOMEM, "no memory for merges");
        snprintf(x->joined[i], size, "%s %s", json_string_value(a), json_string_value(b));
        x->merge[i] = (hone_piece){x->joined[i], size - 1};
    }
    return HONE_OK;
}

/* SentencePiece merges the pair whose piece has the best score: what is merged earlier gets a better one. */
static hone_status take_scores(vocabulary *x, hone_error *err) {
    for (size_t i = 0; i < x->v.n_token; i++) x->score[i] = -(float)x->v.n_merge - (float)i / (float)x->v.n_token;
    for (size_t i = x->v.n_merge; i-- > 0;) {
        const hone_piece *m = &x->merge[i];
        const char *space = memchr(m->text, ' ', m->n);
        char whole[512];
        if (!space || m->n > sizeof(whole)) continue;
        const size_t left = (size_t)(space - m->text);
        memcpy(whole, m->text, left);
        memcpy(whole + left, space + 1, m->n - left - 1);
        const int32_t id = hone_tokenizer_find(x->source, whole, m->n - 1);
        if (id != HONE_NO_TOKEN) x->score[id] = -(float)i;
    }
    return x->v.n_merge < 1u << 24 ? HONE_OK : hone_fail(err, HONE_ERR_LIMIT, "too many merges");
}

/* ---- trying ---- */

static void make_sample(vocabulary *x) {
    const json_t *v;
    size_t i;
    hone_buf_text(&x->sample, sample_text);
    /* Patterns differ in what may stand beside what: every pair of kinds of characters, and every third one behind. */
    static const char *const atoms[] = {"a",  "The", "é",    "я",      "Ж",  "ع",    "مهندس", "ह",  "ि",   "中",  "の",
                                        "カ", "한",  "ไ",    "1",      "42", "1234", "٣",     "½",  "Ⅷ",   " ",   "  ",
                                        "\t", "\n",  "\r\n", "\u00a0", "'s", "'LL",  "'",     "\"", ".",   "...", "!?",
                                        "-",  "_",   "/",    "(",      ")",  "$",    "€",     "+",  "🤖"};
    enum { N = sizeof(atoms) / sizeof(*atoms) };
    for (size_t a = 0; a < N; a++)
        for (size_t b = 0; b < N; b++)
            hone_buf_format(&x->sample, "%s%s%s;", atoms[a], atoms[b], atoms[(a * 7 + b * 3) % N]);
    json_array_foreach(json_object_get(x->json, "added_tokens"), i, v) {
        const char *text = json_string_value(json_object_get(v, "content"));
        if (text) hone_buf_format(&x->sample, "x%sy %s z\n%s\n", text, text, text);
    }
}

static bool agrees(const vocabulary *x) {
    hone_tokenizer *t = NULL;
    hone_ids ids = {0};
    const bool same = hone_tokenizer_open_vocab(&t, &x->v, NULL) == HONE_OK &&
                      hone_tokenizer_encode(t, hone_buf_str(&x->sample), x->sample.n, 0, &ids, NULL) == HONE_OK &&
                      ids.n == x->want.n && memcmp(ids.id, x->want.id, ids.n * sizeof(*ids.id)) == 0;
    hone_ids_free(&ids);
    hone_tokenizer_close(t);
    return same;
}

static bool find_way(vocabulary *x) {
    if (x->v.kind == HONE_VOCAB_SPM) {
        for (int prefix = 1; prefix >= 0; prefix--) {
            x->v.add_space_prefix = prefix;
            if (agrees(x)) return true;
        }
        return false;
    }
    for (size_t i = 0; (x->v.pre = hone_vocab_pre_name(i)) != NULL; i++)
        if (agrees(x)) return true;
    return false;
}

/* ---- keys ---- */

static void put_id(hone_gguf_writer *w, const char *key, int32_t id) {
    if (id >= 0) hone_gguf_put_u32(w, key, (uint32_t)id);
}

/* What encode puts before a text, else what the configurations name. */
static int32_t begin_of_text(const vocabulary *x, const hone_arch *arch) {
    hone_ids ids = {0};
    int32_t id = arch->bos >= 0 ? arch->bos : hone_tokenizer_role(x->source, HONE_ROLE_BOS);
    if (hone_tokenizer_adds_bos(x->source) &&
        hone_tokenizer_encode(x->source, "", 0, HONE_ENCODE_ADD_SPECIAL, &ids, NULL) == HONE_OK && ids.n > 0)
        id = ids.id[0];
    hone_ids_free(&ids);
    return id;
}

static hone_status put_keys(hone_gguf_writer *w, vocabulary *x, const hone_arch *arch, hone_error *err) {
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const bool spm = x->v.kind == HONE_VOCAB_SPM;
    const size_t n = x->v.n_token;
    hone_gguf_text *texts = hone_zalloc(n > x->v.n_merge ? n : x->v.n_merge, sizeof(*texts));
    char(*unused)[32] = hone_zalloc(n, sizeof(*unused));
    if (!texts || !unused) {
        hone_free(texts);
        hone_free(unused);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary");
    }
    hone_gguf_put_text(w, "tokenizer.ggml.model", spm ? "llama" : "gpt2", spm ? 5 : 4);
    if (!spm) hone_gguf_put_text(w, "tokenizer.ggml.pre", x->v.pre, strlen(x->v.pre));
    for (size_t i = 0; i < n; i++) {
        if (x->type[i] == HONE_TOKEN_UNUSED) snprintf(unused[i], sizeof(unused[i]), "[PAD%zu]", i);
        texts[i] = x->type[i] == HONE_TOKEN_UNUSED ? (hone_gguf_text){unused[i], strlen(unused[i])}
                                                   : (hone_gguf_text){x->token[i].text, x->token[i].n};
    }
    hone_gguf_put_texts(w, "tokenizer.ggml.tokens", texts, n);
    hone_gguf_put_i32s(w, "tokenizer.ggml.token_type", x->type, n);
    if (spm) {
        hone_gguf_put_f32s(w, "tokenizer.ggml.scores", x->score, n);
        hone_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", x->v.add_space_prefix);
    } else {
        for (size_t i = 0; i < x->v.n_merge; i++) texts[i] = (hone_gguf_text){x->merge[i].text, x->merge[i].n};
        hone_gguf_put_texts(w, "tokenizer.ggml.merges", texts, x->v.n_merge);
    }
    hone_free(texts);
    hone_free(unused);
    put_id(w, "tokenizer.ggml.bos_token_id", begin_of_text(x, arch));
    for (int32_t i = 0; i < arch->n_eos && i < 3; i++) put_id(w, ends[i], arch->eos[i]);
    if (arch->n_eos == 0) put_id(w, ends[0], hone_tokenizer_role(x->source, HONE_ROLE_EOS));
    put_id(w, "tokenizer.ggml.padding_token_id",
           arch->pad >= 0 ? arch->pad : hone_tokenizer_role(x->source, HONE_ROLE_PAD));
    put_id(w, "tokenizer.ggml.unknown_token_id", hone_tokenizer_role(x->source, HONE_ROLE_UNK));
    hone_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", hone_tokenizer_adds_bos(x->source));
    hone_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", hone_tokenizer_adds_eos(x->source));
    const char *template = hone_tokenizer_template(x->source, NULL);
    if (template) hone_gguf_put_text(w, "tokenizer.chat_template", template, strlen(template));
    return HONE_OK;
}

hone_status export_vocabulary(hone_gguf_writer *w, const char *folder, const hone_arch *arch, hone_error *err) {
    vocabulary x = {.v = hone_vocab_default()};
    char *path = hone_path_join(folder, "tokenizer.json");
    hone_status st = path ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory for a path");
    if (st == HONE_OK && access(path, F_OK) != 0) { /* weights alone: llama.cpp's word for it */
        hone_gguf_put_text(w, "tokenizer.ggml.model", "none", 4);
        goto done;
    }
    if (st == HONE_OK && !(x.json = hone_json_load(path, err))) st = HONE_ERR_FORMAT;
    if (st == HONE_OK) st = hone_tokenizer_open_folder(&x.source, folder, err);
    if (st == HONE_OK) {
        const json_t *model = json_object_get(x.json, "model");
        const char *type = json_string_value(json_object_get(model, "type"));
        if (type ? strcmp(type, "BPE") != 0 : !json_object_get(model, "merges"))
            st = hone_fail(err, HONE_ERR_UNSUPPORTED, "%s: a tokenizer of type %s cannot be written to GGUF yet", path,
                           type ? type : "without a name");
        x.v.kind = json_is_true(json_object_get(model, "byte_fallback")) ? HONE_VOCAB_SPM : HONE_VOCAB_BPE;
        x.v.add_bos = x.v.add_eos = false;
    }
    if (st == HONE_OK) {
        make_sample(&x);
        st = hone_tokenizer_encode(x.source, hone_buf_str(&x.sample), x.sample.n, 0, &x.want, err);
    }
    if (st == HONE_OK) st = take_tokens(&x, err);
    if (st == HONE_OK) st = take_merges(&x, err);
    if (st == HONE_OK && x.v.kind == HONE_VOCAB_SPM) st = take_scores(&x, err);
    x.v.token = x.token, x.v.type = x.type, x.v.score = x.score, x.v.merge = x.merge;
    x.v.unk = x.source ? hone_tokenizer_role(x.source, HONE_ROLE_UNK) : HONE_NO_TOKEN;
    if (st == HONE_OK && !find_way(&x))
        st = hone_fail(
            err, HONE_ERR_UNSUPPORTED,
            "%s: GGUF's keys cannot say how this file cuts text (an unknown pattern, or added tokens that take "
            "spaces with them); keep the folder",
            path);
    if (st == HONE_OK) st = put_keys(w, &x, arch, err);
done:
    drop(&x);
    hone_free(path);
    return st;
}
