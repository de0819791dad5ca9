/* data.h - training rows: from lines of JSON to tokens and the mask of what is trained.
 *
 * A file holds one JSON object a line (empty lines are skipped).  A line is one of
 *   {"messages": [...], "tools": [...]}      OpenAI's chat rows.  Assistant messages are trained, but for those with
 *                                            "weight": 0.  "parallel_tool_calls", "id" and "metadata" may stand there
 *                                            and change nothing.
 *   {"prompt": "...", "completion": "..."}   trained: the completion and the end-of-text token behind it
 *   {"tokens": [...], "labels": [...]}       as they are; a label is its token, or -100 where nothing is trained
 * A file may also be one JSON array of such objects; `line` then counts the elements from 1.
 *
 * Train = serve.  A chat row is rendered by the server's own template.  For each trained message the tokens before it
 * are exactly those of the prompt that serving would make at that point (the messages before it, with the generation
 * prompt, encoded as one text), and behind them come the tokens of the answer and its end-of-turn token.  Messages of
 * one row share a sequence wherever one's prompt begins with all that stands before it; where it does not (an answer
 * that merges with what surrounds it), the row becomes several sequences rather than tokens that are never served.
 *
 * Content given as text parts is joined and null members count as absent, as the server does it.  A template that shows
 * earlier answers in another form than it asked for (without their reasoning) can train the last answer alone: earlier
 * ones need "weight": 0, and it is a fault where they have not.
 *
 * Nothing is truncated, nothing is left out: a faulty line is reported with its number.  Lines are hostile until
 * checked.
 *
 * Threads: one a time. */
#ifndef HONE_TRAIN_DATA_H
#define HONE_TRAIN_DATA_H

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "model/template.h"
#include "model/tokenizer.h"

/* One sequence. */
typedef struct {
    int32_t *token;   /* [n]; owned by the data */
    uint8_t *trained; /* [n] 1: token t counts in the loss, predicted by position t - 1; trained[0] is 0 */
    uint32_t n;
    uint32_t n_trained; /* at least 1 in data that was loaded without faults */
    uint32_t n_run;     /* positions the model must run: those before the last trained token */
    uint64_t line;      /* of the file, from 1 */
} hone_train_row;

/* Start from {0}. */
typedef struct {
    hone_train_row *row; /* [n] in the order of the file */
    size_t n, cap;
    uint64_t n_tokens, n_trained;  /* over all rows */
    uint32_t longest;              /* the largest row.n */
    uint32_t longest_run;          /* the largest row.n_run */
    char digest[HONE_DIGEST_TEXT]; /* of tokens and masks in order; names the data in checkpoints */
} hone_train_data;

#define HONE_DATA_MAX_FAULTS 10u

typedef struct {
    uint64_t line;
    char message[240];
} hone_data_fault;

/* Start from {0}. */
typedef struct {
    hone_data_fault fault[HONE_DATA_MAX_FAULTS]; /* the first ones */
    uint32_t n;                                  /* of fault */
    uint64_t total;                              /* faults found; total - n are not in fault */
} hone_data_faults;

/* "line 3: ...; line 9: ...; and 12 more": all that faults holds, where a hone_error has room for the first few.  False
 * without memory. */
bool hone_data_faults_text(const hone_data_faults *faults, hone_buf *out);

/* What rows are made with; all borrowed for the call. */
typedef struct {
    const hone_tokenizer *tokenizer; /* NULL: only rows of tokens */
    const hone_template *template;   /* NULL: chat rows are a fault */
    const json_t *special_tokens;    /* what the server hands to the template: hone_text's */
    uint32_t vocab;                  /* tokens are below it */
    uint32_t max_length;             /* tokens of a row at most */
} hone_data_rules;

/* Append all rows of the file.  Where lines are faulty the result is HONE_ERR_FORMAT, its message holds the first ones
 * and how many more there are, err->position is the first one's line, and faults (may be NULL) holds them apart.  Other
 * failures (file, memory) have their own codes.  After a failure data is to be freed. */
hone_status hone_data_load(hone_train_data *data, const char *path, const hone_data_rules *rules,
                           hone_data_faults *faults, hone_error *err);
hone_status hone_data_parse(hone_train_data *data, const char *name, const char *text, size_t n,
                            const hone_data_rules *rules, hone_data_faults *faults, hone_error *err);

void hone_data_free(hone_train_data *data); /* back to {0} */

/* For `hone inspect masks`: append the row's text, token by token, with `open` and `close` around each run of trained
 * tokens. */
hone_status hone_data_show(const hone_train_row *row, const hone_tokenizer *tokenizer, const char *open,
                           const char *close, hone_buf *out, hone_error *err);

#endif
