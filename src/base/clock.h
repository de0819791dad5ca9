/* clock.h - the two clocks. */
#ifndef HONE_CLOCK_H
#define HONE_CLOCK_H

#include <stdint.h>

int64_t hone_clock_ns(void);     /* monotonic, for durations */
double hone_clock_seconds(void); /* monotonic, for durations */
int64_t hone_clock_unix(void);   /* wall, seconds since 1970 */

#endif
