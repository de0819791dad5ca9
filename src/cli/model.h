/* model.h - what most verbs begin with: from the name after --model to tokenizer, weights and adapter.
 *
 * Threads: the main thread. */
#ifndef HONE_CLI_MODEL_H
#define HONE_CLI_MODEL_H

#include "cli/cli.h"
#include "lab/registry.h"
#include "model/adapter.h"
#include "model/model.h"
#include "model/text.h"

typedef struct {
    hone_resolved where;
    hone_text *text;       /* NULL unless asked for */
    hone_pool *pool;       /* NULL without weights */
    hone_model *model;     /* NULL unless asked for */
    hone_adapter *adapter; /* NULL: the base alone */
    hone_precision precision;
} cli_model;

enum { CLI_TEXT_SIDE = 1, CLI_WEIGHTS = 2 };

/* The options it reads, for a verb's table. */
#define CLI_MODEL_OPTIONS                                                                                              \
    {"precision", "serving|f32",                                                                                       \
     "serving: this machine's fastest arithmetic; f32: for comparisons (default: serving)"},                           \
    {                                                                                                                  \
        "threads", "N", "threads of computation (default: one per core)"                                               \
    }

/* Open what of the model called name (a local name, an alias, a version, or a path), with --adapter DIR on top where it
 * is given.  CLI_OK, else the verb's exit status after a message.  Close in all cases. */
int cli_model_open(cli_model *out, const cli_args *args, const char *name, unsigned what);
void cli_model_close(cli_model *m);

/* The name alone. */
int cli_model_resolve(hone_resolved *out, const cli_args *args, const char *name);

/* --precision and --threads; false after a message. */
bool cli_precision(const cli_args *args, hone_precision *out);
/* How keys and values are kept: text (may be NULL) or what goes with the precision. */
bool cli_kv_type(const cli_args *args, const char *text, hone_precision precision, hone_kv_type *out);

#endif
