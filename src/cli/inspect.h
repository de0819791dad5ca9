/* inspect.h - what the files of `hone inspect` share. */
#ifndef HONE_CLI_INSPECT_H
#define HONE_CLI_INSPECT_H

#include "base/buf.h"
#include "cli/cli.h"
#include "model/tokenizer.h"

int cli_inspect_loss(const cli_args *args);
int cli_inspect_masks(const cli_args *args);
int cli_inspect_grammar(const cli_args *args);

/* The tokenizer of --model, which may be a folder that holds nothing else. */
int cli_inspect_tokenizer(const cli_args *args, hone_tokenizer **out);

/* "[1,0.5,...]" with digits enough that each float comes back as the same bits; what is not finite is null. */
void cli_inspect_floats(hone_buf *b, const float *x, size_t n);

/* b as the result on stdout; frees it. */
int cli_inspect_write(const cli_args *args, hone_buf *b);

#endif
