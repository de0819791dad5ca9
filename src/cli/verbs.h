/* verbs.h - the verbs themselves, one file each, and what help.c shows of them. */
#ifndef HONE_CLI_VERBS_H
#define HONE_CLI_VERBS_H

#include <stdio.h>

#include "cli/cli.h"

extern const cli_verb cli_verb_alias, cli_verb_bench, cli_verb_completion, cli_verb_copy, cli_verb_demo, cli_verb_eval,
    cli_verb_help, cli_verb_inspect, cli_verb_job, cli_verb_key, cli_verb_models, cli_verb_plan, cli_verb_pull,
    cli_verb_quantize, cli_verb_rm, cli_verb_run, cli_verb_serve, cli_verb_show, cli_verb_train, cli_verb_version,
    cli_verb_work;

void cli_help_overview(FILE *to);
void cli_help_verb(const cli_verb *verb, FILE *to);

#endif
