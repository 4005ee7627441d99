/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log - lines for people on standard error. Any thread: a line is built in one buffer and leaves in one write.
 */
#include "core/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
#define BURST 10u

int log_threshold = LOG_WARN;

static const char *const level_names[] = { "error", "warn", "info", "debug" };

int log_level_parse(const char *text)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, level_names[i]) == 0)
            return i;
    }
    if (strcmp(text, "warning") == 0)
        return LOG_WARN;
    if (text[0] >= '0' && text[0] <= '3' && text[1] == '\0')
        return text[0] - '0';
    return -1;
}

/* Control characters that a script or a client put into a message must not reach a terminal. */
static void defuse(char *text)
{
    for (; *text; text++) {
        if (((unsigned char)*text < 0x20 && *text != '\n' && *text != '\t') || *text == 0x7f)
            *text = '?';
    }
}

static _Thread_local struct {
    char *text;
    size_t len;
} capture;

void log_capture(char *text, size_t len)
{
    capture.text = len ? text : NULL;
    capture.len = len;
    if (capture.text)
        *text = '\0';
}

static void take_error(const char *who, const char *format, va_list args)
{
    size_t n;
    va_list copy;

    if (!capture.text || *capture.text)
        return;
    n = (size_t)snprintf(capture.text, capture.len, "%.160s%s", who ? who : "", who ? ": " : "");
    va_copy(copy, args);
    if (n < capture.len)
        vsnprintf(capture.text + n, capture.len - n, format, copy);
    va_end(copy);
    defuse(capture.text);
}

static void write_line(const char *who, enum log_level level, const char *format, va_list args)
{
    static const char *const words[] = { "error: ", "warning: ", "", "" };
    char line[LINE_MAX_BYTES];
    int saved = errno;
    size_t n;

    if (level == LOG_ERROR)
        take_error(who, format, args);
    if ((int)level > log_threshold)
        return;
    n = (size_t)snprintf(line, 256, "vfu-host: %.160s%s%s", who ? who : "", who ? ": " : "", words[level]);
    vsnprintf(line + n, sizeof line - n - 1, format, args);
    defuse(line);
    n = strlen(line);
    line[n++] = '\n';
    while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
        ;
    errno = saved;
}

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_line(who, level, format, args);
    va_end(args);
}

void log_limited(struct log_limit *limit, const char *who, enum log_level level, const char *format, ...)
{
    struct timespec ts;
    uint64_t now;
    va_list args;

    if ((int)level > log_threshold)
        return;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    now = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    if (limit->window == 0 || now - limit->window >= 1000000000u) {
        limit->window = now;
        /* After a busy second one line at a time, until a quiet one. */
        limit->count = limit->count > BURST ? BURST - 1 : 0;
    }
    if (limit->count >= BURST) {
        limit->count = BURST + 1;
        limit->dropped++;
        return;
    }
    limit->count++;
    if (limit->dropped) {
        log_write(who, level, "(%llu more like the next line were left out)", (unsigned long long)limit->dropped);
        limit->dropped = 0;
    }
    va_start(args, format);
    write_line(who, level, format, args);
    va_end(args);
}
