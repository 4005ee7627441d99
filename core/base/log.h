/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log - lines for people on standard error: "vfu-host: edu: warning: text". Any thread; a line is written whole.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG }; /* the numbers of VFU_LOG_* */

/* Messages above this level are dropped; read without a lock, set before threads start. */
extern int log_threshold;

/* From a name ("error", "warn", "info", "debug") or a number; -1 if it is neither. */
int log_level_parse(const char *text);

/* who: the device's name, or NULL for the host's own words. */
void log_write(const char *who, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/*
 * From now on the first error that this thread has to tell is put into `text`, too, whatever the threshold: "who: text",
 * cut to `len` bytes. NULL: no more.
 */
void log_capture(char *text, size_t len);

#define log_error(who, ...) log_write(who, LOG_ERROR, __VA_ARGS__)
#define log_warn(who, ...) log_write(who, LOG_WARN, __VA_ARGS__)
#define log_info(who, ...) log_write(who, LOG_INFO, __VA_ARGS__)
#define log_debug(who, ...)                                                                                            \
    do {                                                                                                               \
        if (log_threshold >= LOG_DEBUG)                                                                                \
            log_write(who, LOG_DEBUG, __VA_ARGS__);                                                                    \
    } while (0)

/*
 * What outsiders can provoke is limited: `burst` lines, then one a second that says how many were left out.
 * One struct for each source of lines, on one thread; zeroed is ready to use.
 */
struct log_limit {
    uint64_t window;  /* start of the present second, ns */
    uint32_t count;   /* lines in it */
    uint64_t dropped; /* since the last line written */
};
void log_limited(struct log_limit *limit, const char *who, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
