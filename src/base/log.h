/* log.h - lines on stderr: time, level, room, message.  stdout belongs to results.
 *
 * Threads: any; one line is one write. */
#ifndef HONE_LOG_H
#define HONE_LOG_H

typedef enum { HONE_LOG_DEBUG, HONE_LOG_INFO, HONE_LOG_WARN, HONE_LOG_ERROR } hone_log_level;

/* Default HONE_LOG_INFO; HONE_LOG=debug|info|warn|error in the environment overrides it at start. */
void hone_log_set_level(hone_log_level level);

void hone_log(hone_log_level level, const char *room, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
