/* copy.h - `hone copy`: one model copy, a token machine on one socket. */
#ifndef HONE_COPY_H
#define HONE_COPY_H

#include <stdint.h>

/* Speaks protocol.h on the connected socket until the other side closes it or STOP is done.  Opens no file: tiles and
 * adapters arrive as descriptors.  Returns the exit status: 0 after an orderly end, 1 otherwise. */
int hone_copy_run(int socket);

/* What the process of a copy uses beside its engine's plan: libraries' data, heap, stacks and, once for all copies of a
 * machine, the program's text (bytes). */
typedef struct {
    uint64_t own, text;
} hone_copy_process;
hone_copy_process hone_copy_process_plan(uint32_t threads, uint32_t max_sequences, uint32_t vocab);

#endif
