/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control - a device's control socket: JSON lines in, JSON lines out; vfu-control(7) is its manual.
 *
 * Main's thread accepts, reads and writes. A command runs on the device's thread (core/inspect/ask.c) and is answered when it is
 * done; each connection has one at a time. A row of the table in core/inspect/verbs.c makes a command.
 */
#ifndef CORE_CONTROL_H
#define CORE_CONTROL_H

#include <stdint.h>

#include <jansson.h>

#include "core/base/loop.h"

struct control;
struct device;

#define CONTROL_LINE_MAX 65536u    /* bytes of a request, with its newline */
#define CONTROL_CLIENTS_MAX 64u    /* connections at a time */
#define CONTROL_EVENTS_MAX 1048576u /* bytes of events that may wait for a connection to read */

/*
 * A command. On the device's thread: reads `request`, whose types nobody has checked, and fills the object `reply`. 0; or
 * -errno, after json_object_set_new(reply, "error", text for people); or CONTROL_LATER: control_finish(dev, reply, result)
 * will be called, on that thread.
 */
typedef int control_fn(struct device *dev, const json_t *request, json_t *reply);
#define CONTROL_LATER 1

struct control_command {
    const char *name;
    control_fn *fn;
    const char *help; /* "NAME=VALUE: what it does" */
    uint32_t flags;
};
#define CONTROL_HELD 1u /* also while the device is held at a break */
#define CONTROL_LONG 2u /* may take any time */
#define CONTROL_OWNS 4u /* may leave breaks, which go with the connection */

/* The one with this name, or NULL; the commands one by one, NULL behind the last. */
const struct control_command *verbs_find(const char *name);
const struct control_command *verbs_at(uint32_t i);

/* Sets "error" in reply; the result is `error`. */
int control_error(json_t *reply, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The device's thread: the end of a command that was CONTROL_LATER. 0 or -errno. */
void control_finish(struct device *dev, json_t *reply, int result);
/* The connection that a request came by, for what belongs to one. */
uint64_t control_from(const json_t *request);

/* Takes over fd, a listening socket; path is removed at the end, or NULL. Main's thread. */
int control_start(struct control **out, struct device *dev, struct loop *main_loop, int fd, const char *path);
/* Closes everything and lets a held device go; before its thread is stopped. NULL will do. */
void control_stop(struct control *control);
/* After the thread has ended. NULL will do. */
void control_free(struct control *control);

#endif
