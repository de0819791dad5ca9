/* words.h - languages over {a, b} written out up to four letters, as sets of 31 words: what expressions and grammars
 * are held against. */
#ifndef HONE_TEST_GRAMMAR_WORDS_H
#define HONE_TEST_GRAMMAR_WORDS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* All words over {a, b} of at most 4 letters, numbered; a language is the set of their numbers. */
#define WORDS 31u
static inline const char *word_text(uint32_t w, size_t *n) {
    static char text[8];
    uint32_t first = 0, count = 1;
    *n = 0;
    while (w >= first + count) {
        first += count;
        count *= 2;
        ++*n;
    }
    for (size_t i = 0; i < *n; i++) text[i] = (w - first) >> (*n - 1 - i) & 1 ? 'b' : 'a';
    return text;
}
static inline uint32_t word_number(const char *text, size_t n) {
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) v = v * 2 + (text[i] == 'b');
    return (1u << n) - 1 + v;
}
static inline uint32_t language_cat(uint32_t a, uint32_t b) {
    uint32_t out = 0;
    for (uint32_t w = 0; w < WORDS; w++) {
        size_t n;
        char text[8];
        memcpy(text, word_text(w, &n), 8);
        for (size_t cut = 0; cut <= n; cut++)
            if ((a >> word_number(text, cut) & 1) && (b >> word_number(text + cut, n - cut) & 1)) out |= 1u << w;
    }
    return out;
}
static inline uint32_t language_repeat(uint32_t a, uint32_t min, uint32_t max) {
    uint32_t power = 1, out = 0; /* the empty word */
    for (uint32_t i = 0; i <= max && i <= min + 5; i++) {
        if (i >= min) out |= power;
        power = language_cat(power, a);
    }
    return out;
}

#endif
