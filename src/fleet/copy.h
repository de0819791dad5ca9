/* copy.h - `hone copy`: one model copy, a token machine on one socket. */
#ifndef HONE_COPY_H
#define HONE_COPY_H

/* Speaks protocol.h on the connected socket until the other side closes it or STOP is done.  Opens no file: tiles and
 * adapters arrive as descriptors.  Returns the exit status: 0 after an orderly end, 1 otherwise. */
int hone_copy_run(int socket);

#endif
