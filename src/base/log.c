/* log.c - lines on stderr; the contract is in log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {"debug", "info", "warn", "error"};
static int least = -1; /* -1: the environment was not read yet */

void hone_log_set_level(hone_log_level level) {
    least = (int)level;
}

static int level_now(void) {
    if (least < 0) {
        const char *wanted = getenv("HONE_LOG");
        int level = HONE_LOG_INFO;
        for (int i = 0; wanted && i < 4; i++)
            if (strcmp(wanted, names[i]) == 0) level = i;
        least = level;
    }
    return least;
}

void hone_log(hone_log_level level, const char *room, const char *format, ...) {
    if ((int)level < level_now()) return;
    char line[2048];
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03ldZ %s %s: ", now.tv_nsec / 1000000, names[level], room);
    va_list args;
    va_start(args, format);
    const int k = vsnprintf(line + n, sizeof(line) - n - 1, format, args);
    va_end(args);
    if (k > 0) n += (size_t)k < sizeof(line) - n - 1 ? (size_t)k : sizeof(line) - n - 2;
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0) return; /* nowhere to tell it */
}
