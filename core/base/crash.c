/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crash - says whose fault the end of the process is: see crash.h. on_signal runs in a signal handler: it takes no lock,
 * allocates nothing, and writes with write(2).
 */
#include "core/base/crash.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct deadly {
    int number;
    const char *name, *hint;
} deadly[] = {
    { SIGSEGV, "SIGSEGV", "an address that is none" },
    { SIGBUS, "SIGBUS", "an address without memory" },
    { SIGILL, "SIGILL", "an instruction that is none" },
    { SIGFPE, "SIGFPE", "a division by zero, or the like" },
    { SIGABRT, "SIGABRT", "abort: an assertion, or an exception that nobody caught" },
};
#define NDEADLY (sizeof deadly / sizeof deadly[0])

static struct sigaction former[NDEADLY];
static _Thread_local const char *blamed;

struct line {
    char text[400];
    size_t n;
};

static void add(struct line *line, const char *text)
{
    while (*text && line->n < sizeof line->text - 1)
        line->text[line->n++] = *text++;
}

static void add_hex(struct line *line, uintptr_t value)
{
    char digits[2 + 2 * sizeof value + 1], *at = digits + sizeof digits - 1;

    *at = 0;
    do
        *--at = "0123456789abcdef"[value & 15];
    while ((value >>= 4) != 0);
    add(line, "0x");
    add(line, at);
}

static void tell(struct line *line)
{
    add(line, "\n");
    (void)!write(STDERR_FILENO, line->text, line->n);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    struct line line = { .n = 0 };
    const char *who = blamed;
    int saved = errno;
    size_t i = 0;

    (void)context;
    while (i < NDEADLY - 1 && deadly[i].number != number)
        i++;
    if (who) {
        blamed = NULL; /* once */
        add(&line, "vfu-host: ");
        add(&line, who);
        add(&line, ": error: plugin fault: it takes the host down with ");
        add(&line, deadly[i].name);
        if (number != SIGABRT && info->si_code > 0) {
            add(&line, " at ");
            add_hex(&line, (uintptr_t)info->si_addr);
        }
        add(&line, " (");
        add(&line, deadly[i].hint);
        add(&line, ")");
        tell(&line);
    }
    sigaction(number, &former[i], NULL);
    if (info->si_code <= 0)
        raise(number); /* it would not come again by itself */
    errno = saved;
}

static void on_exit_call(void)
{
    struct line line = { .n = 0 };

    if (!blamed)
        return;
    add(&line, "vfu-host: ");
    add(&line, blamed);
    add(&line, ": error: plugin fault: it ends the host by calling exit");
    tell(&line);
}

void crash_init(void)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < NDEADLY; i++)
        sigaction(deadly[i].number, &action, &former[i]);
    atexit(on_exit_call);
}

void crash_blame(const char *who)
{
    blamed = who;
}
