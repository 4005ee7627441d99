/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cli - what the commands of vfu-client share: the settings of the command line, and how a command fails. Commands
 * return the exit status. One thread, but for what hammer starts.
 */
#ifndef CLIENT_CLI_H
#define CLIENT_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/client.h>

#define EXIT_USAGE 2
#define CLI_BUSY "is another client attached? A device serves one at a time"

struct settings {
    bool json;
    bool seeded;
    uint64_t seed;
    bool timed; /* --timeout was given */
    uint64_t timeout_ns;
    const char *socket;
};

/* Says what is wrong with the command line, and where to look. EXIT_USAGE. */
int main_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Says why the last call failed. EXIT_FAILURE. */
int main_failed(const struct settings *s, const struct vfuc *c);
/* Decimal, or hexadecimal with 0x. */
bool main_number(const char *text, uint64_t max, uint64_t *value);
bool main_region(const char *text, uint32_t *region);
bool main_seconds(const char *text, double min, double max, uint64_t *ns);
/* 0, or EXIT_FAILURE with a line that says why. */
int main_connect(struct vfuc *c, const struct settings *s);

/* Each is called twice: without a connection, to judge the arguments before anything is touched; and with it. */
int move_snapshot(struct vfuc *c, const struct settings *s, char **argv, int argc);
int move_restore(struct vfuc *c, const struct settings *s, char **argv, int argc);
int measure_bench(struct vfuc *c, const struct settings *s, char **argv, int argc);
int hammer_run(struct vfuc *c, const struct settings *s, char **argv, int argc);

/* From one socket to another: these connect by themselves. */
int move_migrate(const struct settings *s, const char *from, const char *to);

#endif
