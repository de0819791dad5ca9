/* vocab.c - a vocabulary as GGUF holds it into the lists of impl.h.
 *
 * GGUF keeps tokens, merges and a name for the pre-tokenizer; what the name stands for is the table here.  The names
 * and their patterns are those that llama.cpp writes into its files; a name that is not in the table is refused, since
 * a wrong split gives wrong ids without any other sign.
 *
 * Order: pre-tokenizers by name, byte-level BPE, SentencePiece BPE, Unigram, WordPiece, opening. */
#include "model/tokenizer/impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

static hone_status no_memory(hone_error *err) {
    return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary");
}

/* ---- Pre-tokenizers by name ---- */

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN2 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN35 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(tail) "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" tail
#define O200K CASED(CONTRACTIONS "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define TEKKEN CASED("") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define HAN_KANA "[一-龥぀-ゟ゠-ヿ]+"
#define DEEPSEEK3                                                                                                      \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "              \
    "?[\\p{P}\\p{S}]+"                                                                                                 \
    "[\\r\\n]*|" SPACES
/* Written as code points: an editor that normalizes would change U+1F7D, U+2126 and U+212A. */
#define DEEPSEEK_CASED                                                                                                 \
    "\\s?[A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}"               \
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}"             \
    "\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}"                    \
    "\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"                  \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"                  \
    "\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-"                   \
    "\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}"                   \
    "\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}"                  \
    "\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}"                     \
    "\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}"                   \
    "\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}"                    \
    "\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}"                  \
    "\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}"                  \
    "\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-"                  \
    "\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}]+"
#define BLOOM " ?[^(\\s|.,!?…。，、।۔،)]+"

enum { IGNORE_MERGES = 1, ADD_BOS = 2, ADD_SEP = 4 };

static const struct pre {
    const char *name;
    unsigned flags;
    const char *regex[6]; /* splits, one after the other; unused ones NULL */
} pres[] = {
    {"default", 0, {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"llama3", IGNORE_MERGES | ADD_BOS, {LLAMA3}},
    {"llama-v3", IGNORE_MERGES | ADD_BOS, {LLAMA3}},
    {"llama-bpe", IGNORE_MERGES | ADD_BOS, {LLAMA3}},
    {"falcon3", IGNORE_MERGES | ADD_BOS, {LLAMA3}},
    {"falcon-h1", IGNORE_MERGES | ADD_BOS, {LLAMA3}},
    {"pixtral", IGNORE_MERGES | ADD_BOS, {LLAMA3}},
    {"midm-2.0", IGNORE_MERGES | ADD_BOS, {LLAMA3}},
    {"lfm2", IGNORE_MERGES | ADD_BOS, {LLAMA3}},
    {"dbrx", 0, {LLAMA3}},
    {"smaug-bpe", 0, {LLAMA3}},
    {"chatglm-bpe", 0, {LLAMA3}},
    {"glm4", IGNORE_MERGES, {LLAMA3}},
    {"glm5", IGNORE_MERGES, {LLAMA3}},
    {"deepseek-llm",
     0,
     {"[\\r\\n]", DEEPSEEK_CASED, "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$", "[一-龥ࠀ-一가-퟿]+", "\\p{N}+"}},
    {"deepseek-coder", 0, {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"}},
    {"deepseek-v3", 0, {"\\p{N}{1,3}", HAN_KANA, DEEPSEEK3}},
    {"hunyuan-dense", 0, {"\\p{N}{1,3}", HAN_KANA, DEEPSEEK3}},
    {"joyai-llm", 0, {"\\p{N}{1,3}", HAN_KANA, DEEPSEEK3}},
    {"falcon", 0, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {"starcoder", 0, {"\\p{N}", GPT2}},
    {"refact", 0, {"\\p{N}", GPT2}},
    {"command-r", 0, {"\\p{N}", GPT2}},
    {"smollm", 0, {"\\p{N}", GPT2}},
    {"codeshell", 0, {"\\p{N}", GPT2}},
    {"exaone", 0, {"\\p{N}", GPT2}},
    {"minerva-7b", 0, {"\\p{N}", GPT2}},
    {"mellum2", 0, {"\\p{N}", GPT2}},
    {"gpt-2", 0, {GPT2}},
    {"gpt2", 0, {GPT2}},
    {"phi-2", 0, {GPT2}},
    {"mpt", 0, {GPT2}},
    {"olmo", 0, {GPT2}},
    {"jais", 0, {GPT2}},
    {"trillion", 0, {GPT2}},
    {"granite-docling", 0, {GPT2}},
    {"gigachat", 0, {GPT2}},
    {"jina-es", 0, {GPT2}},
    {"jina-de", 0, {GPT2}},
    {"jina-v2-es", 0, {GPT2}},
    {"jina-v2-de", 0, {GPT2}},
    {"a.x-4.0", 0, {GPT2}},
    {"mellum", 0, {GPT2}},
    {"modern-bert", 0, {GPT2}},
    {"exaone4", 0, {GPT2}},
    {"jina-v1-en", ADD_SEP, {GPT2}},
    {"jina-v2-code", ADD_SEP, {GPT2}},
    {"roberta-bpe", ADD_SEP, {GPT2}},
    {"qwen2", 0, {QWEN2}},
    {"deepseek-r1-qwen", 0, {QWEN2}},
    {"kormo", 0, {QWEN2}},
    {"stablelm2", 0, {QWEN2}},
    {"hunyuan", 0, {QWEN2}},
    {"solar-open", 0, {QWEN2}},
    {"megrez", 0, {QWEN2}},
    {"grok-2", 0, {QWEN2}},
    {"qwen35", 0, {QWEN35}},
    {"poro-chat", 0, {BLOOM}},
    {"bloom", 0, {BLOOM}},
    {"gpt3-finnish", 0, {BLOOM}},
    {"viking", 0, {BLOOM, "\\p{N}"}},
    {"tekken", IGNORE_MERGES | ADD_BOS, {TEKKEN}},
    {"gpt-4o", 0, {O200K}},
    {"llama4", 0, {O200K}},
    {"kanana2", 0, {O200K}},
    {"minimax-m2", 0, {O200K}},
    {"tiny_aya", 0, {"\\d{1,3}(?=(?:\\d{3})*\\b)", O200K}},
    {"bailingmoe",
     0,
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
      "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {"bailingmoe2",
     0,
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
      "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {"llada-moe",
     0,
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
      "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {"seed-coder", 0, {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES}},
    {"minicpm5",
     IGNORE_MERGES,
     {"\\p{N}{1,3}", CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES}},
    {"exaone-moe",
     0,
     {CONTRACTIONS
      "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|"
      "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {"laguna", 0, {"[^\\n]+|[\\n]+", QWEN2}},
};

static const struct pre *pre_named(const char *name) {
    for (size_t i = 0; i < sizeof(pres) / sizeof(pres[0]); i++)
        if (strcmp(pres[i].name, name) == 0) return &pres[i];
    return NULL;
}

const char *hone_vocab_pre_name(size_t i) {
    return i < sizeof(pres) / sizeof(pres[0]) ? pres[i].name : NULL;
}

bool hone_vocab_pre_adds_bos(const char *pre) {
    const struct pre *p = pre ? pre_named(pre) : NULL;
    return p && p->flags & ADD_BOS;
}

/* ---- Parts that the kinds share ---- */

static int32_t type_of(const hone_vocab *v, size_t id) {
    return v->type ? v->type[id] : HONE_TOKEN_NORMAL;
}

static hone_status take_tokens(hone_tokenizer *t, const hone_vocab *v, hone_error *err) {
    if (v->n_token == 0 || v->n_token >= MODEL_TOKENS_MAX)
        return hone_fail(err, HONE_ERR_LIMIT, "a vocabulary of %zu tokens", v->n_token);
    for (size_t i = 0; i < v->n_token; i++) {
        /* Of two tokens written alike the first one is found, the second only decoded: see duplicates() */
        if (model_dict_index(&t->vocab, v->token[i].text, v->token[i].n) >= 0) continue;
        const hone_status st = model_tokenizer_add_text(t, v->token[i].text, v->token[i].n, (int32_t)i, err);
        if (st != HONE_OK) return st;
    }
    t->vocab_size = (int32_t)v->n_token;
    return HONE_OK;
}

/* Control, unknown and user-defined tokens are looked for in the text first. */
static hone_status take_added(hone_tokenizer *t, const hone_vocab *v, hone_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < v->n_token; i++) {
        const int32_t type = type_of(v, i);
        n += type == HONE_TOKEN_CONTROL || type == HONE_TOKEN_UNKNOWN || type == HONE_TOKEN_USER_DEFINED;
    }
    model_added *list = hone_zalloc(n, sizeof(*list));
    if (!list) return no_memory(err);
    hone_status st = HONE_OK;
    size_t k = 0;
    for (size_t i = 0; i < v->n_token && st == HONE_OK; i++) {
        const int32_t type = type_of(v, i);
        if (type != HONE_TOKEN_CONTROL && type != HONE_TOKEN_UNKNOWN && type != HONE_TOKEN_USER_DEFINED) continue;
        list[k].special = type != HONE_TOKEN_USER_DEFINED;
        list[k].n = v->token[i].n;
        if (!(list[k++].content = hone_strndup(v->token[i].text, v->token[i].n))) st = no_memory(err);
    }
    if (st == HONE_OK) st = model_added_set(t, list, k, err);
    for (size_t i = 0; i < k; i++) hone_free(list[i].content);
    hone_free(list);
    return st;
}

static bool own(char **to, size_t *n, const char *text) {
    *to = hone_strdup(text);
    *n = strlen(text);
    return *to != NULL;
}

static hone_status post(hone_tokenizer *t, int32_t before, int32_t behind, hone_error *err) {
    t->post = hone_zalloc(3, sizeof(*t->post));
    if (!t->post) return no_memory(err);
    t->post_cap = 3;
    if (before != HONE_NO_TOKEN) t->post[t->n_post++].id = before;
    t->post[t->n_post++].id = HONE_NO_TOKEN;
    if (behind != HONE_NO_TOKEN) t->post[t->n_post++].id = behind;
    return HONE_OK;
}

/* ---- Byte-level BPE ---- */

static hone_status take_merges(hone_tokenizer *t, const hone_vocab *v, hone_error *err) {
    model_merge *list = hone_zalloc(v->n_merge, sizeof(*list));
    hone_buf joined = {0};
    if (!list) return no_memory(err);
    hone_status st = HONE_OK;
    size_t n = 0;
    for (size_t i = 0; i < v->n_merge; i++) {
        const hone_piece m = v->merge[i];
        const char *space = m.n > 1 ? memchr(m.text + 1, ' ', m.n - 1) : NULL;
        if (!space) {
            st = hone_fail(err, HONE_ERR_FORMAT, "merge %zu is no pair of tokens", i);
            break;
        }
        const size_t left = (size_t)(space - m.text), right = m.n - left - 1;
        hone_buf_clear(&joined);
        hone_buf_add(&joined, m.text, left);
        hone_buf_add(&joined, space + 1, right);
        const int32_t a = model_dict_get(&t->vocab, m.text, left), b = model_dict_get(&t->vocab, space + 1, right);
        const int32_t id = model_dict_get(&t->vocab, hone_buf_str(&joined), joined.n);
        if (a < 0 || b < 0 || id < 0) continue; /* some published files hold merges of tokens that were taken out */
        list[n] = (model_merge){(uint64_t)(uint32_t)a << 32 | (uint32_t)b, (uint32_t)n, id};
        n++;
    }
    if (st == HONE_OK && joined.failed) st = no_memory(err);
    if (st == HONE_OK) st = model_bpe_merges(&t->bpe, list, n, err);
    hone_buf_free(&joined);
    hone_free(list);
    return st;
}

static hone_status open_bpe(hone_tokenizer *t, const hone_vocab *v, hone_error *err) {
    const char *name = v->pre ? v->pre : "default";
    const struct pre *p = pre_named(name);
    if (!p)
        return hone_fail(err, HONE_ERR_UNSUPPORTED, "pre-tokenizer '%.80s' (tokenizer.ggml.pre) is not implemented",
                         name);
    for (size_t i = 0; i < 6 && p->regex[i]; i++) {
        model_split_step *step = model_split_add(&t->split, MODEL_SPLIT_PATTERN);
        if (!step) return no_memory(err);
        const hone_status st = model_pattern_regex(&step->pattern, p->regex[i], strlen(p->regex[i]), err);
        if (st != HONE_OK) return hone_fail_within(err, st, "pre-tokenizer '%s': ", name);
    }
    t->kind = MODEL_BPE;
    t->bpe.bytes = true;
    t->bpe.ignore_merges = p->flags & IGNORE_MERGES;
    if (!model_decode_add(&t->decode, MODEL_DECODE_BYTE_LEVEL)) return no_memory(err);
    const int32_t behind = v->add_eos ? v->eos : p->flags & ADD_SEP ? v->sep : HONE_NO_TOKEN;
    const hone_status st = post(t, v->add_bos ? v->bos : HONE_NO_TOKEN, behind, err);
    return st == HONE_OK ? take_merges(t, v, err) : st;
}

/* ---- SentencePiece BPE: a pair merges when its text is a token, the best score first ---- */

typedef struct {
    float score;
    int32_t id;
} scored;

static int best_first(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool mergeable(const hone_vocab *v, int32_t id) {
    const int32_t type = type_of(v, (size_t)id);
    return type == HONE_TOKEN_NORMAL || type == HONE_TOKEN_USER_DEFINED || type == HONE_TOKEN_UNUSED;
}

/* Every cut of every token into two tokens is a merge; tokens of one score share a rank, so that the leftmost goes
 * first. */
static hone_status spm_merges(hone_tokenizer *t, const hone_vocab *v, hone_error *err) {
    scored *order = hone_zalloc(v->n_token, sizeof(*order));
    model_merge *list = NULL;
    size_t n = 0, cap = 0, n_order = 0;
    hone_status st = order ? HONE_OK : no_memory(err);
    for (size_t i = 0; i < v->n_token && st == HONE_OK; i++) {
        const float score = v->score ? v->score[i] : -(float)i;
        if (isnan(score)) st = hone_fail(err, HONE_ERR_FORMAT, "the score of token %zu is no number", i);
        /* of tokens written alike the first is the one that is found */
        if (mergeable(v, (int32_t)i) && model_dict_get(&t->vocab, v->token[i].text, v->token[i].n) == (int32_t)i)
            order[n_order++] = (scored){score, (int32_t)i};
    }
    if (st == HONE_OK && n_order) qsort(order, n_order, sizeof(*order), best_first);
    uint32_t rank = 0;
    for (size_t k = 0; k < n_order && st == HONE_OK; k++) {
        const hone_piece p = v->token[order[k].id];
        if (k && order[k].score != order[k - 1].score) rank++;
        if (p.n > MODEL_ADDED_BYTES_MAX) continue; /* the cuts of a hostile token would be quadratic */
        for (size_t cut = 1; cut < p.n && st == HONE_OK; cut++) {
            if (((unsigned char)p.text[cut] & 0xc0) == 0x80) continue;
            const int32_t a = model_dict_get(&t->vocab, p.text, cut);
            const int32_t b = a < 0 ? -1 : model_dict_get(&t->vocab, p.text + cut, p.n - cut);
            if (b < 0 || !mergeable(v, a) || !mergeable(v, b)) continue;
            if (!hone_grow(&list, &cap, n, sizeof(*list)))
                st = no_memory(err);
            else
                list[n++] = (model_merge){(uint64_t)(uint32_t)a << 32 | (uint32_t)b, rank, order[k].id};
        }
    }
    if (st == HONE_OK) st = model_bpe_merges(&t->bpe, list, n, err);
    hone_free(order);
    hone_free(list);
    return st;
}

static hone_status spaces_to_marks(hone_tokenizer *t, bool prefix, hone_error *err) {
    model_normal_step *step;
    if (prefix) {
        if (!(step = model_normal_add(&t->normal, MODEL_NORMAL_PREPEND)) ||
            !own(&step->content, &step->content_n, "\xe2\x96\x81"))
            return no_memory(err);
    }
    if (!(step = model_normal_add(&t->normal, MODEL_NORMAL_REPLACE)) ||
        !own(&step->content, &step->content_n, "\xe2\x96\x81"))
        return no_memory(err);
    return model_pattern_literal(&step->pattern, " ", 1, err);
}

static hone_status marks_to_spaces(hone_tokenizer *t, bool prefix, hone_error *err) {
    model_decode_step *step = model_decode_add(&t->decode, MODEL_DECODE_REPLACE);
    if (!step || !own(&step->content, &step->content_n, " ")) return no_memory(err);
    const hone_status st = model_pattern_literal(&step->pattern, "\xe2\x96\x81", 3, err);
    if (st != HONE_OK) return st;
    if (!model_decode_add(&t->decode, MODEL_DECODE_BYTE_FALLBACK) || !model_decode_add(&t->decode, MODEL_DECODE_FUSE))
        return no_memory(err);
    if (!prefix) return HONE_OK;
    if (!(step = model_decode_add(&t->decode, MODEL_DECODE_STRIP)) || !own(&step->content, &step->content_n, " "))
        return no_memory(err);
    step->start = 1;
    return HONE_OK;
}

static hone_status open_spm(hone_tokenizer *t, const hone_vocab *v, hone_error *err) {
    t->kind = MODEL_BPE;
    t->bpe.byte_fallback = t->bpe.fuse_unk = true;
    t->bpe.unk = v->unk;
    hone_status st = spaces_to_marks(t, v->add_space_prefix, err);
    if (st == HONE_OK) st = marks_to_spaces(t, v->add_space_prefix, err);
    if (st == HONE_OK) st = post(t, v->add_bos ? v->bos : HONE_NO_TOKEN, v->add_eos ? v->eos : HONE_NO_TOKEN, err);
    return st == HONE_OK ? spm_merges(t, v, err) : st;
}

/* ---- Unigram ---- */

static hone_status open_unigram(hone_tokenizer *t, const hone_vocab *v, hone_error *err) {
    model_unigram *m = &t->unigram;
    hone_status st = HONE_OK;
    t->kind = MODEL_UNIGRAM;
    if (!v->score) return hone_fail(err, HONE_ERR_FORMAT, "a unigram vocabulary without scores");
    if (v->charsmap_bytes) {
        model_normal_step *step = model_normal_add(&t->normal, MODEL_NORMAL_CHARSMAP);
        if (!step) return no_memory(err);
        if ((st = model_normal_charsmap(step, v->charsmap, v->charsmap_bytes, err)) != HONE_OK) return st;
    }
    if (v->remove_extra_whitespaces) {
        model_split_step *step = model_split_add(&t->split, MODEL_SPLIT_WHITESPACE);
        if (!step) return no_memory(err);
        step->behaviour = MODEL_REMOVED;
    }
    model_split_step *mark = model_split_add(&t->split, MODEL_SPLIT_METASPACE);
    if (!mark) return no_memory(err);
    memcpy(mark->content, "\xe2\x96\x81", 3);
    mark->content_n = 3;
    mark->prepend = v->add_space_prefix || v->remove_extra_whitespaces ? MODEL_PREPEND_ALWAYS : MODEL_PREPEND_NEVER;
    if (!(mark = model_split_add(&t->split, MODEL_SPLIT_PATTERN))) return no_memory(err);
    mark->behaviour = MODEL_MERGED_WITH_NEXT;
    if ((st = model_pattern_literal(&mark->pattern, "\xe2\x96\x81", 3, err)) != HONE_OK) return st;
    if ((st = marks_to_spaces(t, v->add_space_prefix, err)) != HONE_OK) return st;
    m->unk = v->unk;
    m->n_log_prob = v->n_token;
    if (!(m->log_prob = hone_zalloc(v->n_token, sizeof(*m->log_prob)))) return no_memory(err);
    for (size_t i = 0; i < v->n_token; i++) m->log_prob[i] = (double)v->score[i];
    return post(t, v->add_bos ? v->bos : HONE_NO_TOKEN, v->add_eos ? v->eos : HONE_NO_TOKEN, err);
}

/* ---- WordPiece: GGUF writes the start of a word with U+2581 and drops BERT's "##" ---- */

static hone_status bert_tokens(hone_tokenizer *t, const hone_vocab *v, hone_error *err) {
    hone_buf text = {0};
    hone_status st = HONE_OK;
    if (v->n_token == 0 || v->n_token >= MODEL_TOKENS_MAX)
        return hone_fail(err, HONE_ERR_LIMIT, "a vocabulary of %zu tokens", v->n_token);
    for (size_t i = 0; i < v->n_token && st == HONE_OK; i++) {
        const hone_piece p = v->token[i];
        const bool starts = p.n > 3 && memcmp(p.text, "\xe2\x96\x81", 3) == 0,
                   plain = type_of(v, i) == HONE_TOKEN_NORMAL && !(p.n > 1 && p.text[0] == '[');
        hone_buf_clear(&text);
        if (!starts && plain) hone_buf_text(&text, "##");
        hone_buf_add(&text, starts ? p.text + 3 : p.text, starts ? p.n - 3 : p.n);
        if (text.failed)
            st = no_memory(err);
        else if (model_dict_index(&t->vocab, hone_buf_str(&text), text.n) < 0)
            st = model_tokenizer_add_text(t, hone_buf_str(&text), text.n, (int32_t)i, err);
    }
    hone_buf_free(&text);
    t->vocab_size = (int32_t)v->n_token;
    return st;
}

static hone_status open_wordpiece(hone_tokenizer *t, const hone_vocab *v, hone_error *err) {
    static const model_normal_kind normal[] = {MODEL_NORMAL_BERT_CLEAN, MODEL_NORMAL_BERT_CJK, MODEL_NORMAL_NFD,
                                               MODEL_NORMAL_STRIP_MN, MODEL_NORMAL_LOWERCASE};
    t->kind = MODEL_WORDPIECE;
    for (size_t i = 0; i < sizeof(normal) / sizeof(normal[0]); i++)
        if (!model_normal_add(&t->normal, normal[i])) return no_memory(err);
    model_split_step *step = model_split_add(&t->split, MODEL_SPLIT_WHITESPACE);
    if (!step) return no_memory(err);
    step->behaviour = MODEL_REMOVED;
    if (!(step = model_split_add(&t->split, MODEL_SPLIT_BERT_PUNCTUATION))) return no_memory(err);
    step->behaviour = MODEL_ISOLATED;
    model_decode_step *decode = model_decode_add(&t->decode, MODEL_DECODE_WORDPIECE);
    if (!decode || !own(&decode->content, &decode->content_n, "##") ||
        !own(&t->wordpiece.prefix, &t->wordpiece.prefix_n, "##"))
        return no_memory(err);
    decode->flag = true;
    t->wordpiece.max_chars = 100;
    t->wordpiece.unk = v->unk;
    const int32_t cls = v->cls != HONE_NO_TOKEN ? v->cls : v->bos, sep = v->sep != HONE_NO_TOKEN ? v->sep : v->eos;
    return post(t, v->add_bos ? cls : HONE_NO_TOKEN, v->add_eos ? sep : HONE_NO_TOKEN, err);
}

/* ---- Opening ---- */

hone_vocab hone_vocab_default(void) {
    return (hone_vocab){.add_space_prefix = true,
                        .bos = HONE_NO_TOKEN,
                        .eos = HONE_NO_TOKEN,
                        .eot = HONE_NO_TOKEN,
                        .eom = HONE_NO_TOKEN,
                        .unk = HONE_NO_TOKEN,
                        .pad = HONE_NO_TOKEN,
                        .sep = HONE_NO_TOKEN,
                        .cls = HONE_NO_TOKEN,
                        .mask = HONE_NO_TOKEN};
}

static hone_status check(const hone_vocab *v, hone_error *err) {
    const int32_t id[] = {v->bos, v->eos, v->eot, v->eom, v->unk, v->pad, v->sep, v->cls, v->mask};
    static const char *const name[] = {"bos", "eos", "eot", "eom", "unknown", "padding", "separator", "cls", "mask"};
    for (size_t i = 0; i < sizeof(id) / sizeof(id[0]); i++)
        if (id[i] != HONE_NO_TOKEN && (id[i] < 0 || (size_t)id[i] >= v->n_token))
            return hone_fail(err, HONE_ERR_FORMAT, "the %s token is %d, the vocabulary has %zu", name[i], (int)id[i],
                             v->n_token);
    if (v->add_bos && v->bos == HONE_NO_TOKEN && v->cls == HONE_NO_TOKEN)
        return hone_fail(err, HONE_ERR_FORMAT, "a begin-of-text token is to be added, and none is named");
    if (v->add_eos && v->eos == HONE_NO_TOKEN && v->sep == HONE_NO_TOKEN)
        return hone_fail(err, HONE_ERR_FORMAT, "an end-of-text token is to be added, and none is named");
    for (size_t i = 0; i < v->n_token; i++) {
        if (v->token[i].n > UINT16_MAX)
            return hone_fail(err, HONE_ERR_LIMIT, "token %zu has %zu bytes", i, v->token[i].n);
        /* A token that is no UTF-8 could reach a client's text. */
        if (hone_utf8_valid(v->token[i].text, v->token[i].n) != v->token[i].n)
            return hone_fail(err, HONE_ERR_FORMAT, "token %zu is no UTF-8", i);
    }
    return HONE_OK;
}

/* Ids whose text another token has already: they decode, though nothing encodes to them. */
static void duplicates(hone_tokenizer *t, const hone_vocab *v) {
    if (t->kind == MODEL_WORDPIECE) return;
    for (size_t i = 0; i < v->n_token && i < (size_t)t->size; i++) {
        const int64_t e = t->text[i].text ? -1 : model_dict_index(&t->vocab, v->token[i].text, v->token[i].n);
        if (e >= 0) t->text[i] = (hone_piece){model_dict_text(&t->vocab, (size_t)e), v->token[i].n};
    }
}

hone_status hone_tokenizer_open_vocab(hone_tokenizer **out, const hone_vocab *v, hone_error *err) {
    *out = NULL;
    hone_status st = check(v, err);
    if (st != HONE_OK) return st;
    hone_tokenizer *t = model_tokenizer_new();
    if (!t) return no_memory(err);
    st = v->kind == HONE_VOCAB_WORDPIECE ? bert_tokens(t, v, err) : take_tokens(t, v, err);
    if (st == HONE_OK) {
        switch (v->kind) {
        case HONE_VOCAB_BPE: st = open_bpe(t, v, err); break;
        case HONE_VOCAB_SPM: st = open_spm(t, v, err); break;
        case HONE_VOCAB_UNIGRAM: st = open_unigram(t, v, err); break;
        case HONE_VOCAB_WORDPIECE: st = open_wordpiece(t, v, err); break;
        default: st = hone_fail(err, HONE_ERR_ARG, "a vocabulary of kind %d", (int)v->kind);
        }
    }
    if (st == HONE_OK) st = take_added(t, v, err);
    if (st == HONE_OK) {
        t->role[HONE_ROLE_BOS] = v->bos;
        t->role[HONE_ROLE_EOS] = v->eos;
        t->role[HONE_ROLE_PAD] = v->pad;
        t->role[HONE_ROLE_UNK] = v->unk;
        if (!model_ends_add(t, v->eot) || !model_ends_add(t, v->eom)) st = no_memory(err);
    }
    if (st == HONE_OK && v->chat_template) st = model_template_add(t, NULL, v->chat_template, err);
    if (st == HONE_OK) st = model_tokenizer_finish(t, err);
    if (st == HONE_OK) {
        duplicates(t, v);
        /* In these files an added token is written as it reads, not in byte characters. */
        for (int32_t i = 0; v->kind == HONE_VOCAB_BPE && i < t->size; i++)
            if (t->flag[i] & MODEL_TOKEN_ADDED) t->flag[i] |= MODEL_TOKEN_RAW;
        *out = t;
    } else {
        hone_tokenizer_close(t);
    }
    return st;
}
