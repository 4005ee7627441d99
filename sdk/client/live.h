/* SPDX-License-Identifier: BSD-3-Clause */
/* live - commands of vfu-client that go to the control socket of a running vfu-host. One thread. */
#ifndef CLIENT_LIVE_H
#define CLIENT_LIVE_H

#include <stdbool.h>
#include <stdint.h>

struct live {
    const char *socket;
    bool json, timed; /* timed: --timeout was given */
    uint64_t timeout_ns;
};

bool live_is_command(const char *name);
/* argv[0] is the command. The exit status. */
int live_run(const struct live *live, int argc, char **argv);

#endif
