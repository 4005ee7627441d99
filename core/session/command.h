/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * command - the table of client commands: for each its name, the payload it needs at least, and its handler.
 * Runs on the device's thread.
 */
#ifndef CORE_COMMAND_H
#define CORE_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "core/session/session.h"

struct command {
    const char *name;
    uint32_t min_size; /* of the body */
    /* 0, with the reply's payload in session_reply(), or -errno. */
    int (*handle)(struct session *s, struct message *m);
    bool before_version;
};

/* Never NULL: numbers without a command have a name and a NULL handler. */
const struct command *command_of(uint16_t number);

/* The reply payload that the message may need, at most. */
uint32_t command_reply_bound(const struct message *m);

#endif
