/* verbs.c - the table of verbs, and the way from argv to one of them.
 * Refuses: what is no verb, with the nearest one named. */
#include "cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

const cli_verb *const cli_verbs[] = {
    &cli_verb_demo,       &cli_verb_pull,    &cli_verb_models, &cli_verb_show, &cli_verb_rm,   &cli_verb_alias,
    &cli_verb_run,        &cli_verb_serve,   &cli_verb_train,  &cli_verb_eval, &cli_verb_plan, &cli_verb_quantize,
    &cli_verb_bench,      &cli_verb_inspect, &cli_verb_key,    &cli_verb_job,  &cli_verb_help, &cli_verb_version,
    &cli_verb_completion, &cli_verb_copy,    &cli_verb_work,   NULL,
};

const cli_verb *cli_verb_find(const char *name) {
    for (const cli_verb *const *v = cli_verbs; *v; v++)
        if (strcmp((*v)->name, name) == 0) return *v;
    return NULL;
}

/* Letters that differ, a crude edit distance: enough to see that "serv" means serve. */
static uint32_t distance(const char *a, const char *b) {
    uint32_t row[32], n = (uint32_t)strlen(b);
    if (n > 30) return UINT32_MAX;
    for (uint32_t j = 0; j <= n; j++) row[j] = j;
    for (uint32_t i = 1; a[i - 1]; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= n; j++) {
            const uint32_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            uint32_t best = row[j - 1] < row[j] ? row[j - 1] + 1 : row[j] + 1;
            row[j] = best < change ? best : change;
        }
    }
    return row[n];
}

static int unknown(const char *name) {
    const cli_verb *best = NULL;
    uint32_t least = 3;
    for (const cli_verb *const *v = cli_verbs; *v; v++) {
        if ((*v)->hidden) continue;
        const uint32_t d = distance(name, (*v)->name);
        if (d < least) {
            least = d;
            best = *v;
        }
    }
    fprintf(stderr, "hone: there is no verb '%.60s'", name);
    if (best)
        fprintf(stderr, "; did you mean `hone %s`?\n", best->name);
    else
        fprintf(stderr, "; `hone help` lists them\n");
    return CLI_USAGE;
}

int cli_main(int argc, char **argv) {
    hone_json_init();
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        cli_help_overview(stderr);
        return CLI_USAGE;
    }
    /* What people type before they know the verbs. */
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) name = "version";
    const cli_verb *verb = cli_verb_find(name);
    if (!verb) return unknown(name);

    cli_args args;
    int rc = cli_args_parse(&args, verb, argv[0], argc - 2, argv + 2);
    if (rc == CLI_OK && cli_has(&args, "help"))
        cli_help_verb(verb, stdout);
    else if (rc == CLI_OK)
        rc = verb->run(&args);
    cli_args_free(&args);
    /* A full disk or a closed pipe under stdout is a failure: the caller would take half a result for a whole one. */
    if ((fflush(stdout) != 0 || ferror(stdout)) && rc == CLI_OK) {
        fprintf(stderr, "hone %s: cannot write the result\n", verb->name);
        rc = CLI_FAILED;
    }
    return rc;
}
