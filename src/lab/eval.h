/* eval.h - questions with known answers, put to a model in this process: what stands behind `hone eval`.
 *
 * Rows are training rows of a chat ({"messages": [...]}): the last assistant message is the reference, what stands
 * before it the question; or {"prompt": ..., "completion": ...}.  The answers come from the engine that serves, all
 * rows in flight at once, so they are the answers that a caller of the API gets.
 *
 * Threads: one caller. */
#ifndef HONE_EVAL_H
#define HONE_EVAL_H

#include "engine/engine.h"
#include "lab/grader.h"
#include "lab/stats.h"
#include "model/text.h"

typedef struct {
    uint64_t line;         /* of the file, from 1 */
    json_t *row;           /* as the file has it; owned */
    json_t *input;         /* the messages before the reference; NULL: a prompt; owned */
    const char *prompt;    /* of a prompt row; within row */
    const char *reference; /* within row */
} hone_eval_row;

/* Start from {0}. */
typedef struct {
    hone_eval_row *row; /* [n] */
    size_t n, cap;
} hone_eval_data;

/* Append the rows of a JSONL file; blank lines are skipped.  HONE_ERR_FORMAT with the line's number (also
 * err->position) for a row without a question or a reference. */
hone_status hone_eval_load(hone_eval_data *data, const char *path, hone_error *err);
void hone_eval_free(hone_eval_data *data); /* back to {0} */

typedef struct {
    uint32_t max_tokens; /* of an answer */
    float temperature;   /* 0: greedy */
    uint64_t seed;
    uint32_t max_rows_at_once; /* 0: as many as the engine runs */
} hone_eval_config;

typedef struct {
    uint64_t prompt_tokens, output_tokens;
    double seconds;
} hone_eval_cost;

/* answer[n]: texts on the heap (hone_free each), in the order of the rows; all NULL on failure.  adapter may be NULL;
 * it is the engine's afterwards, also on failure.  on_answer (may be NULL) hears of each row that is done; what it
 * returns other than HONE_OK ends the run. */
hone_status hone_eval_answers(char **answer, const hone_eval_data *data, const hone_model *model, const hone_text *text,
                              hone_pool *pool, hone_adapter *adapter, const hone_eval_config *cfg,
                              hone_status (*on_answer)(void *arg, size_t n_done), void *arg, hone_eval_cost *cost,
                              hone_error *err);

/* score[n] of answers by one grader.  The message of a failure names the line. */
hone_status hone_eval_grade(double *score, const hone_eval_data *data, char *const *answer, const hone_grader *grader,
                            hone_error *err);

#endif
