/* lay.h - `hone work lay`: weights into a tile file, in a process of its own.
 *
 * Published weights are hostile until checked, and laying a large model takes a while: neither belongs in the
 * controller.  The file is named by what it was made of - digest of the weights, kernel set, precision - so a second
 * call finds it. */
#ifndef HONE_LAY_H
#define HONE_LAY_H

#include "model/model.h"

/* Prints {"tiles": PATH} or {"error": TEXT} on stdout.  Returns the exit status. */
int hone_lay_run(const char *model_path, const char *folder, hone_precision precision);

/* The tile file of the weights at model_path in folder, made when it is not there; path on the heap (hone_free). */
hone_status hone_lay(const char *model_path, const char *folder, hone_precision precision, char **path,
                     hone_error *err);

#endif
