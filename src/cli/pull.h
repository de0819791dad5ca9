/* pull.h - progress of a pull as one line; arg is the verb's const cli_args. */
#ifndef HONE_CLI_PULL_H
#define HONE_CLI_PULL_H

#include "cli/cli.h"

void cli_pull_progress(void *arg, const char *what, uint64_t done_bytes, uint64_t total_bytes);

#endif
