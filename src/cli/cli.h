/* cli.h - the frame that every verb of the program stands in: its description, its arguments, its output.
 *
 * One table of verbs (verbs.c) is the source of the parser, of `hone help` and of the bash completion.  A verb's file
 * reads arguments, calls the rooms, prints, and decides nothing.
 *
 * Results go to stdout, everything else to stderr; the exit status is one of the three below.
 *
 * Threads: the main thread only. */
#ifndef HONE_CLI_H
#define HONE_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

typedef struct {
    const char *name;  /* without the dashes */
    const char *value; /* what stands for its value in the help: "NAME", "FILE"; NULL: a switch */
    const char *about;
} cli_option;

typedef struct cli_args cli_args;

/* A verb's description.  All texts are static. */
typedef struct {
    const char *name;
    const char *usage;         /* behind "hone ": "pull SOURCE [--as NAME]"; lines are separated by \n */
    const char *about;         /* one line for the list of verbs */
    const char *example;       /* whole command lines, separated by \n; `hone help VERB` begins with them */
    const char *more;          /* paragraphs below the options, or NULL */
    const char *const *words;  /* what the first word may be (inspect tokens ...), NULL-terminated; NULL: free */
    const cli_option *options; /* ends with a name of NULL; NULL: only the common ones */
    uint32_t min_words;
    uint32_t max_words; /* positional words */
    bool hidden;        /* left out of the list of verbs and of the completion: for programs, not for people */
    int (*run)(const cli_args *args);
} cli_verb;

extern const cli_verb *const cli_verbs[]; /* ends with NULL, in the order of the help */
extern const cli_option cli_common[];     /* taken by every verb: --json, --home, ... */

const cli_verb *cli_verb_find(const char *name); /* NULL: unknown */

/* The whole program; argv as main got it. */
int cli_main(int argc, char **argv);

/* Arguments --------------------------------------------------------------------------------------------------------*/

typedef struct {
    const char *name; /* of the option */
    const char *value;
} cli_given;

/* Borrowed from argv. */
struct cli_args {
    const cli_verb *verb;
    const char *program; /* argv[0] */
    bool json;
    bool quiet;
    const char **word; /* [n_word] */
    uint32_t n_word;
    cli_given *given; /* [n_given] in the order of the command line */
    uint32_t n_given;
};

/* CLI_OK, or CLI_USAGE after a message on stderr.  Free in both cases. */
int cli_args_parse(cli_args *out, const cli_verb *verb, const char *program, int argc, char **argv);
void cli_args_free(cli_args *args);

/* The last value given for an option; NULL: not given.  A switch that was given is "". */
const char *cli_get(const cli_args *args, const char *name);
bool cli_has(const cli_args *args, const char *name);
/* Value number i (from 0) of an option that may be repeated; NULL: no more. */
const char *cli_nth(const cli_args *args, const char *name, uint32_t i);

/* Typed values.  An option that was not given leaves *value as it is, so set the default first.  A value out of form or
 * range prints a message and returns false: return CLI_USAGE then. */
bool cli_uint(const cli_args *args, const char *name, uint64_t min, uint64_t max, uint64_t *value);
bool cli_u32(const cli_args *args, const char *name, uint32_t min, uint32_t max, uint32_t *value);
bool cli_real(const cli_args *args, const char *name, double min, double max, double *value);
/* An option without which the verb cannot run; NULL after a message. */
const char *cli_need(const cli_args *args, const char *name);
/* "1,2,3" -> numbers on the heap (hone_free).  False after a message. */
bool cli_int_list(const cli_args *args, const char *name, int64_t min, int64_t max, int64_t **out, size_t *n);

/* The state folder: --home, else $HONE_HOME, else ~/.local/share/hone.  On the heap (hone_free); NULL after a message.
 */
char *cli_home(const cli_args *args);

/* Output -----------------------------------------------------------------------------------------------------------*/

/* "hone VERB: message" on stderr.  Both return what the verb should return. */
int cli_usage(const cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_fail(const cli_args *args, const hone_error *err);
int cli_fail_text(const cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line on stderr for a person; silent with --quiet. */
void cli_say(const cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line on stderr that the next call overwrites, only where stderr is a terminal; NULL wipes it. */
void cli_progress(const cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool cli_terminal(void); /* is stderr one? */

/* The value as one line on stdout.  Takes the reference; NULL is "no memory". */
int cli_print_json(const cli_args *args, json_t *value);

/* Rows of cells with aligned columns on stdout; the first row is the head.  cells: [rows, columns], NULL: empty.
 * right: columns that hold numbers. */
void cli_table(const char *const *cells, uint32_t rows, uint32_t columns, const bool *right);

/* "12.3 MB" from bytes, "1 min 05 s" from seconds, into the caller's text. */
#define CLI_TEXT 32
const char *cli_bytes(uint64_t bytes, char text[CLI_TEXT]);
const char *cli_seconds(double seconds, char text[CLI_TEXT]);

#endif
