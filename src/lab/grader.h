/* grader.h - one answer against its reference: a score from 0 to 1.
 *
 * The graders of OpenAI's fine-tuning and evaluation API that need no model: string_check (eq, ne, like, ilike) and
 * text_similarity (fuzzy_match), and two text_similarity measures of ours, exact and token_f1.
 *
 *   eq, ne        output equals the reference, or does not
 *   like, ilike   the reference stands somewhere in the output; ilike ignores case
 *   exact         as eq, but white space at both ends does not count
 *   fuzzy_match   2 LCS / (n + m): the normalised indel similarity of two texts of n and m code points (LCS: their
 *                 longest common subsequence), which rapidfuzz calls `ratio`
 *   token_f1      2 same / (a + b): the harmonic mean of precision and recall over words, repeated words counted as
 *                 often as they stand in both (as in SQuAD's evaluation, without its removal of articles)
 *
 * Both texts may be normalised first: `lower` lowers the case (simple case mapping), `stop` ignores one full stop at
 * the end; either also strips white space at both ends.
 *
 * Threads: a grader is a value; any thread. */
#ifndef HONE_GRADER_H
#define HONE_GRADER_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"

typedef enum {
    HONE_GRADE_EQ,
    HONE_GRADE_NE,
    HONE_GRADE_LIKE,
    HONE_GRADE_ILIKE,
    HONE_GRADE_EXACT,
    HONE_GRADE_FUZZY,
    HONE_GRADE_TOKEN_F1
} hone_grade_kind;

typedef struct {
    hone_grade_kind kind;
    bool lower;
    bool stop;
} hone_grader;

/* "token_f1", "string_check:ilike", "text_similarity:fuzzy_match", each with "+lower" and "+stop" behind it where
 * wanted. HONE_ERR_ARG names what is known. */
hone_status hone_grader_parse(hone_grader *out, const char *spec, hone_error *err);

/* OpenAI's object: {"type": "string_check", "operation": ...} or {"type": "text_similarity", "evaluation_metric": ...};
 * other members (name, input, reference) are the caller's.  "normalize": ["lower", "stop"] is ours.  HONE_ERR_FORMAT
 * for a wrong shape, HONE_ERR_UNSUPPORTED for graders and measures that this program has not. */
hone_status hone_grader_from_json(hone_grader *out, const json_t *object, hone_error *err);

/* "exact", "string_check:eq", ...: a static text. */
const char *hone_grader_name(const hone_grader *grader);

/* Whether every score is 0 or 1, so that it is a share (stats.h). */
bool hone_grader_is_binary(const hone_grader *grader);

/* HONE_ERR_LIMIT: texts too long for fuzzy_match (their lengths' product over 2^30). */
hone_status hone_grade(const hone_grader *grader, const char *output, const char *reference, double *score,
                       hone_error *err);

#endif
