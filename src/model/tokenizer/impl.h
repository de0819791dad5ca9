/* impl.h - what the files of the tokenizer share: the parts of an open tokenizer and the memory of one call.
 *
 * An open tokenizer is a list of normalizer steps, a list of pre-tokenizer steps, one model, a template of ids and a
 * list of decoder steps, whatever file it came from: json.c and vocab.c only fill these lists.
 * Everything here is immutable after open except the pool of scratch memory, which has a lock. */
#ifndef HONE_MODEL_TOKENIZER_IMPL_H
#define HONE_MODEL_TOKENIZER_IMPL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>

#include "model/tokenizer.h"

/* Limits on what a file may ask for.  All are far above what published tokenizers need. */
#define MODEL_TOKENS_MAX (1u << 24)     /* ids */
#define MODEL_STEPS_MAX 64u             /* normalizer, pre-tokenizer or decoder steps, nested sequences flattened */
#define MODEL_ADDED_BYTES_MAX 1024u     /* bytes of one added token: matching costs text times this */
#define MODEL_TEXT_BYTES_MAX (1u << 30) /* bytes of one text */
#define MODEL_STEPS_BUDGET 400000000u   /* pattern steps of one call beyond the usual few per match: about a second */
#define MODEL_NESTING_MAX 8u            /* sequences within sequences */

/* ---- dict.c: byte strings to numbers ---- */

typedef struct {
    size_t at; /* in arena; a NUL follows the bytes */
    uint32_t n;
    uint32_t hash;
    int32_t value;
} model_dict_entry;

typedef struct {
    char *arena;
    size_t arena_n, arena_cap;
    model_dict_entry *entry; /* [n], in the order of first insertion */
    size_t n, cap;
    uint32_t *slot; /* [mask + 1] entry + 1, 0 when free */
    uint32_t mask;
} model_dict;

/* Insert or overwrite; the index of the entry, or -1 without memory. */
int64_t model_dict_put(model_dict *d, const char *text, size_t n, int32_t value);
int32_t model_dict_get(const model_dict *d, const char *text, size_t n); /* HONE_NO_TOKEN when absent */
int64_t model_dict_index(const model_dict *d, const char *text, size_t n);
static inline const char *model_dict_text(const model_dict *d, size_t entry) {
    return d->arena + d->entry[entry].at;
}
void model_dict_free(model_dict *d);

/* ---- regex.c: Oniguruma patterns on PCRE2 ---- */

typedef struct {
    pcre2_code *code;  /* NULL: a literal */
    pcre2_code *newer; /* for texts with characters of model_newer; NULL: code does for all */
    bool jit;
    char *literal; /* owned */
    size_t literal_n;
} model_pattern;

hone_status model_pattern_regex(model_pattern *out, const char *regex, size_t n, hone_error *err);
hone_status model_pattern_literal(model_pattern *out, const char *text, size_t n, hone_error *err);
void model_pattern_free(model_pattern *p);

typedef struct model_scratch model_scratch;

/* An iteration over the matches of a pattern in text[n], in the order and with the rule for empty matches of the
 * authority. */
typedef struct {
    const model_pattern *pattern;
    pcre2_match_data *data;
    model_scratch *scratch;
    const char *text;
    size_t n, at;
    size_t last_end; /* SIZE_MAX before the first match */
} model_find;

/* HONE_OK and *found; HONE_ERR_LIMIT. */
hone_status model_find_next(model_find *f, bool *found, size_t *start, size_t *end, hone_error *err);

/* ---- unicode.c ---- */

typedef struct {
    uint32_t from, to;
    char category[3];
} model_newer_range;
extern const model_newer_range model_newer[]; /* [model_newer_n] what PCRE2's Unicode lacks and the authority's has */
extern const size_t model_newer_n;
bool model_has_newer(const char *text, size_t n);

bool model_is_space(uint32_t c);       /* White_Space */
bool model_is_numeric(uint32_t c);     /* Nd, Nl, No */
bool model_is_punctuation(uint32_t c); /* P*, and all ASCII punctuation */
bool model_is_word(uint32_t c);        /* \w of the regex crate */

/* ---- normal.c ---- */

typedef enum {
    MODEL_NORMAL_NFC,
    MODEL_NORMAL_NFD,
    MODEL_NORMAL_NFKC,
    MODEL_NORMAL_NFKD,
    MODEL_NORMAL_LOWERCASE,
    MODEL_NORMAL_STRIP, /* flag_a left, flag_b right */
    MODEL_NORMAL_STRIP_ACCENTS,
    MODEL_NORMAL_STRIP_MN, /* BERT's: nonspacing marks alone */
    MODEL_NORMAL_PREPEND,
    MODEL_NORMAL_REPLACE,
    MODEL_NORMAL_BYTE_LEVEL,
    MODEL_NORMAL_NMT,
    MODEL_NORMAL_BERT_CLEAN,
    MODEL_NORMAL_BERT_CJK,
    MODEL_NORMAL_CHARSMAP
} model_normal_kind;

typedef struct {
    model_normal_kind kind;
    bool flag_a, flag_b;
    model_pattern pattern; /* REPLACE */
    char *content;         /* PREPEND, REPLACE, CHARSMAP's replacements; owned */
    size_t content_n;
    uint32_t *trie; /* CHARSMAP: [trie_n] units of the double array */
    size_t trie_n;
} model_normal_step;

typedef struct {
    model_normal_step *step;
    size_t n, cap;
} model_normal;

/* The normalized text[n], borrowed from the input or from scratch until its next use.  *lead_dropped: characters at the
 * start were removed, so that the result no longer begins where the text began. */
hone_status model_normalize(const model_normal *steps, model_scratch *s, const char *text, size_t n, hone_piece *out,
                            bool *lead_dropped, hone_error *err);
hone_status model_normal_charsmap(model_normal_step *step, const uint8_t *blob, size_t n, hone_error *err);
void model_normal_free(model_normal *steps);

/* ---- split.c: pre-tokenizers ---- */

typedef enum {
    MODEL_SPLIT_PATTERN, /* behaviour, invert */
    MODEL_SPLIT_DIGITS,  /* behaviour isolated or contiguous */
    MODEL_SPLIT_PUNCTUATION,
    MODEL_SPLIT_BERT_PUNCTUATION,
    MODEL_SPLIT_WHITESPACE, /* removes White_Space */
    MODEL_SPLIT_METASPACE,  /* content is the replacement */
    MODEL_SPLIT_PREFIX_SPACE,
    MODEL_SPLIT_BYTE_MAP, /* bytes to the characters of byte-level vocabularies; never the last step */
    MODEL_SPLIT_FIXED     /* length characters */
} model_split_kind;

typedef enum {
    MODEL_REMOVED,
    MODEL_ISOLATED,
    MODEL_CONTIGUOUS,
    MODEL_MERGED_WITH_PREVIOUS,
    MODEL_MERGED_WITH_NEXT
} model_behaviour;

typedef enum { MODEL_PREPEND_NEVER, MODEL_PREPEND_FIRST, MODEL_PREPEND_ALWAYS } model_prepend;

typedef struct {
    model_split_kind kind;
    model_behaviour behaviour;
    bool invert;
    model_prepend prepend; /* METASPACE */
    model_pattern pattern; /* PATTERN */
    char content[4];       /* METASPACE: the replacement character */
    size_t content_n;
    size_t length; /* FIXED */
} model_split_step;

typedef struct {
    model_split_step *step;
    size_t n, cap;
} model_split;

/* Split text[n] and hand every piece to the tokenizer's model, which appends to out.  first: the text begins where the
 * whole input begins. */
hone_status model_split_run(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, bool first,
                            hone_ids *out, hone_error *err);
void model_split_free(model_split *steps);

/* ---- bpe.c ---- */

typedef struct {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: free */
    uint32_t rank;
    int32_t id;
} model_merge;

typedef struct {
    bool bytes; /* words are bytes; vocabulary strings were mapped back from the byte-level characters */
    bool ignore_merges, fuse_unk, byte_fallback;
    bool unk_missing; /* an unknown token is named but not in the vocabulary: meeting one is an error */
    int32_t unk;
    char *prefix, *suffix; /* continuing_subword_prefix, end_of_word_suffix; NULL when none; owned */
    size_t prefix_n, suffix_n;
    model_merge *merge; /* [merge_mask + 1] */
    uint64_t merge_mask;
    int32_t (*first)[256]; /* [4][256] id of a byte (ASCII character unless bytes) as inner, first, last, only symbol */
    int32_t byte_id[256];  /* <0x00> .. <0xFF>, for byte_fallback */
    model_dict words;      /* bytes: byte string -> id, for ignore_merges */
    char boundary[4]; /* a character before which words may be cut because no merge crosses it; boundary_n 0: none */
    size_t boundary_n;
} model_bpe;

/* Index the merges, given as ids best first (equal ranks: leftmost first). */
hone_status model_bpe_merges(model_bpe *m, const model_merge *list, size_t n, hone_error *err);
/* The tables that follow from the vocabulary, after the options and merges are set. */
hone_status model_bpe_finish(hone_tokenizer *t, hone_error *err);
hone_status model_bpe_word(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, hone_ids *out,
                           hone_error *err);
void model_bpe_free(model_bpe *m);

/* Byte-level characters (GPT-2's bytes_to_unicode). */
uint32_t model_byte_char(uint8_t byte);
int model_char_byte(uint32_t c); /* -1 for a character that stands for no byte */
/* The bytes that text[n] stands for into out (at least n); false when a character stands for none. */
bool model_byte_unmap(const char *text, size_t n, char *out, size_t *out_n);

/* ---- words.c: Unigram, WordPiece, WordLevel ---- */

typedef struct {
    double *log_prob; /* [n_log_prob] by id */
    size_t n_log_prob;
    double unk_score;
    int32_t unk; /* HONE_NO_TOKEN: an unknown character is an error */
    bool byte_fallback;
    size_t max_bytes; /* of the longest token */
    int32_t byte_id[256];
} model_unigram;

typedef struct {
    char *prefix; /* owned; WORDPIECE alone */
    size_t prefix_n;
    int32_t unk;
    size_t max_chars; /* of a word; a longer one is unknown */
    size_t max_bytes;
} model_wordpiece;

hone_status model_unigram_word(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, hone_ids *out,
                               hone_error *err);
hone_status model_unigram_finish(hone_tokenizer *t, hone_error *err);
hone_status model_wordlevel_word(const hone_tokenizer *t, const char *text, size_t n, hone_ids *out, hone_error *err);
hone_status model_wordpiece_word(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, hone_ids *out,
                                 hone_error *err);

/* ---- added.c ---- */

typedef struct {
    char *content;
    size_t n;
    char
        *shown; /* what it decodes to when its normalized form differs (the authority gives that back); NULL: content */
    size_t shown_n;
    int32_t id;
    bool special, normalized, lstrip, rstrip, single_word;
} model_added;

typedef struct {
    uint32_t child, next; /* node numbers, 0 for none */
    int32_t added;        /* the added token that ends here, or -1 */
    uint8_t byte;
} model_trie_node;

typedef struct {
    model_trie_node *node; /* [n]; node 0 is the root and has no pattern */
    size_t n, cap;
    uint32_t first[256]; /* root's children */
} model_matcher;

hone_status model_matcher_add(model_matcher *m, const char *text, size_t n, int32_t added, hone_error *err);
void model_matcher_free(model_matcher *m);

/* One piece of the text: an added token, or text between them (added -1). */
typedef hone_status model_added_fn(void *arg, int32_t added, size_t start, size_t end, hone_error *err);
hone_status model_added_run(const hone_tokenizer *t, const model_matcher *m, bool plain_special, const char *text,
                            size_t n, model_added_fn *fn, void *arg, hone_error *err);

/* Register added tokens in the order of the file; ids as the authority gives them. */
hone_status model_added_set(hone_tokenizer *t, model_added *list, size_t n, hone_error *err);

/* ---- decode.c ---- */

typedef enum {
    MODEL_DECODE_BYTE_LEVEL,
    MODEL_DECODE_REPLACE,
    MODEL_DECODE_BYTE_FALLBACK,
    MODEL_DECODE_FUSE,
    MODEL_DECODE_STRIP,
    MODEL_DECODE_METASPACE,
    MODEL_DECODE_WORDPIECE,
    MODEL_DECODE_BPE,
    MODEL_DECODE_SPACES /* no decoder at all: tokens are joined by spaces */
} model_decode_kind;

typedef struct {
    model_decode_kind kind;
    model_pattern pattern; /* REPLACE */
    char *content;         /* REPLACE, STRIP and METASPACE (one character), WORDPIECE prefix, BPE suffix; owned */
    size_t content_n;
    size_t start, stop; /* STRIP */
    bool flag;          /* METASPACE: drop at the start; WORDPIECE: cleanup */
} model_decode_step;

typedef struct {
    model_decode_step *step;
    size_t n, cap;
} model_decode;

void model_decode_free(model_decode *steps);

/* ---- tokenizer.c ---- */

typedef enum { MODEL_BPE, MODEL_UNIGRAM, MODEL_WORDPIECE, MODEL_WORDLEVEL } model_kind;

typedef struct {
    int32_t id; /* HONE_NO_TOKEN: the text's own ids */
} model_post_piece;

typedef struct {
    char *name; /* NULL: the default */
    char *text;
} model_template;

#define MODEL_TOKEN_SPECIAL 1u
#define MODEL_TOKEN_ADDED 2u
#define MODEL_TOKEN_RAW 4u /* written as it reads, in a vocabulary of byte characters */

struct hone_tokenizer {
    /* id -> token */
    int32_t size;
    hone_piece *text;    /* [size], text NULL where the id has no token; into vocab.arena or added[].content */
    uint8_t *flag;       /* [size] MODEL_TOKEN_* */
    int32_t vocab_size;  /* entries of the model's own vocabulary */
    model_dict vocab;    /* the model's strings */
    model_dict added_of; /* content -> index of added */
    model_added *added;  /* [n_added] */
    size_t n_added;
    model_matcher match, match_normalized;

    model_normal normal;
    model_split split;
    model_kind kind;
    model_bpe bpe;
    model_unigram unigram;
    model_wordpiece wordpiece;
    model_post_piece *post; /* [n_post]; n_post 0: the text alone */
    size_t n_post, post_cap;
    model_decode decode;

    int32_t role[HONE_ROLE_COUNT];
    hone_ids ends;
    model_template *templates; /* [n_template] */
    size_t n_template, template_cap;

    pthread_mutex_t
        pool_lock; /* protects pool and n_pool, of otherwise immutable t: hence the const casts in tokenizer.c */
    model_scratch *pool;
    size_t n_pool;
};

/* The memory of one call; taken from the pool and put back. */
#define MODEL_CACHE_BYTES 32u
#define MODEL_CACHE_IDS 6u
typedef struct {
    char key[MODEL_CACHE_BYTES]; /* the word, zero-padded */
    uint32_t n;                  /* its bytes; 0: free */
    uint32_t n_id;
    int32_t id[MODEL_CACHE_IDS];
} model_cache_entry;
#define MODEL_CACHE_ENTRIES 16384u /* 1 MiB: English at 20 MB/s hardly misses */

struct model_scratch {
    model_scratch *next;
    model_cache_entry *cache;        /* [MODEL_CACHE_ENTRIES], NULL until the first word */
    hone_buf normal[2];              /* normalizer steps write from one into the other */
    hone_buf piece[MODEL_STEPS_MAX]; /* pre-tokenizer steps that rewrite */
    pcre2_match_data *match[MODEL_STEPS_MAX];
    pcre2_match_data *normal_match;
    pcre2_match_context *match_context;
    pcre2_jit_stack *jit_stack;
    bool newer;          /* the text at hand has characters of model_newer */
    uint64_t steps_left; /* of MODEL_STEPS_BUDGET */
    int32_t *code;       /* normalization: code points, and their classes */
    uint8_t *ccc;
    size_t code_cap, ccc_cap;
    struct model_symbol *symbol; /* BPE */
    size_t symbol_cap;
    uint64_t *heap;
    size_t heap_n, heap_cap;
    double *best; /* Unigram */
    int32_t *best_id;
    uint32_t *best_from;
    size_t best_cap;
    hone_ids ids;  /* Unigram's path */
    hone_buf word; /* WordPiece: a candidate with its prefix */
};

model_scratch *model_scratch_take(const hone_tokenizer *t); /* NULL without memory */
void model_scratch_put(const hone_tokenizer *t, model_scratch *s);

/* An empty tokenizer with every id unset; NULL without memory. */
hone_tokenizer *model_tokenizer_new(void);
/* Fill text[], flag[] and the tables that follow from vocab and added; called once after all parts are set. */
hone_status model_tokenizer_add_text(hone_tokenizer *t, const char *text, size_t n, int32_t id, hone_error *err);
hone_status model_tokenizer_finish(hone_tokenizer *t, hone_error *err);
hone_status model_word(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, hone_ids *out,
                       hone_error *err);
bool model_ends_add(hone_tokenizer *t, int32_t id);
void model_ends_sort(hone_tokenizer *t);
hone_status model_template_add(hone_tokenizer *t, const char *name, const char *text, hone_error *err);

/* Append a step to one of the three lists; NULL without memory or past MODEL_STEPS_MAX. */
model_normal_step *model_normal_add(model_normal *list, model_normal_kind kind);
model_split_step *model_split_add(model_split *list, model_split_kind kind);
model_decode_step *model_decode_add(model_decode *list, model_decode_kind kind);

#endif
