/* store.h - the state folder, for the verbs that list and change what is in it. */
#ifndef HONE_CLI_STORE_H
#define HONE_CLI_STORE_H

#include "cli/cli.h"
#include "store/store.h"

/* As a guest beside a controller.  CLI_OK, else the exit status after a message and *out is NULL. */
int cli_store_open(hone_store **out, const cli_args *args);

/* Where the controller of this state folder listens: it writes run/url, verbs that talk to it read it.  NULL: none
 * runs; else on the heap (hone_free). */
void cli_server_url_write(hone_store *store, const char *url);
char *cli_server_url_read(hone_store *store);

/* "2026-07-04 09:05" in UTC; "" for 0. */
const char *cli_date(int64_t unix_seconds, char text[CLI_TEXT]);

#endif
