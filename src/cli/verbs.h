/* verbs.h - the verbs themselves, one file each, and what help.c shows of them. */
#ifndef HONE_CLI_VERBS_H
#define HONE_CLI_VERBS_H

#include <stdio.h>

#include "cli/cli.h"

extern const cli_verb cli_verb_help, cli_verb_version, cli_verb_completion;

void cli_help_overview(FILE *to);
void cli_help_verb(const cli_verb *verb, FILE *to);

#endif
