/* sandbox.h - gives up what a copy never needs: files and network. */
#ifndef HONE_SANDBOX_H
#define HONE_SANDBOX_H

#include <stddef.h>

/* From here on this thread, and every thread it starts, opens no file (Landlock) and makes no socket, process or file
 * name (seccomp).  Open descriptors stay.  Where the kernel lacks one of the two the other still holds; text says what
 * holds and what is missing, for the log. */
void hone_sandbox_enter(char *text, size_t n);

#endif
