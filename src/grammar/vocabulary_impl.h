/* vocabulary_impl.h - a vocabulary as tries that masks are walked over. */
#ifndef HONE_VOCABULARY_IMPL_H
#define HONE_VOCABULARY_IMPL_H

#include "grammar/matcher.h"

#define VOC_NONE UINT32_MAX

/* Depth first: a node's children follow it, its subtree ends before skip. */
typedef struct {
    uint32_t skip;
    uint32_t token; /* VOC_NONE where none ends here; further tokens of the same bytes: same[] */
    uint16_t depth; /* bytes from the root, this one included */
    uint8_t byte;
} voc_node;

typedef struct {
    voc_node *node; /* [n] */
    uint32_t n;
    uint32_t root[256]; /* the child of the root for a byte, VOC_NONE where none */
} voc_trie;

/* Slices: tokens of plain characters alone (well-formed UTF-8 without quote, backslash, control
 * characters and U+2028, U+2029), at most
 * so many of them.  Where a state lets such runs pass, the slice's mask is copied and only the others are walked. */
#define VOC_SLICES 4
#define VOC_COUNTS 97 /* plain tokens of at most so many characters, up to 96, have a mask of their own */

typedef struct {
    uint32_t chars; /* the most that a token of the slice has */
    uint32_t *bits; /* [words] */
    voc_trie rest;  /* every token but these */
    voc_trie quiet; /* rest without tokens that are at most so many plain characters and then a control character */
} voc_slice;

struct hone_vocabulary {
    uint32_t n, words; /* tokens; 32-bit words of a mask */
    uint32_t serial;   /* no two vocabularies of a process share it: what caches are keyed by */
    uint32_t *offset;  /* [n + 1] */
    uint8_t *text;
    uint32_t *same; /* [n] the next token of the same bytes, VOC_NONE at the end */
    int32_t *end;   /* [n_end] */
    uint32_t n_end;
    uint32_t depth; /* bytes of the longest token */
    voc_trie all;
    voc_slice slice[VOC_SLICES]; /* fewest characters first */
    uint32_t *upto[VOC_COUNTS];  /* [words] plain tokens of at most so many characters; NULL for 0 */
    size_t bytes;
};

#endif
