/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server - one device's socket and thread: main accepts and hands the connection over, the device's thread serves one
 * client at a time and refuses a second one with EBUSY.
 */
#ifndef CORE_SERVER_H
#define CORE_SERVER_H

#include <pthread.h>
#include <stdbool.h>

#include "core/device/device.h"
#include "core/device/fair.h"
#include "core/base/loop.h"
#include "core/session/session.h"
#include "core/wire/socketpath.h"

struct control;

struct server {
    struct device *dev;
    struct loop *main_loop;
    int fd;     /* listening; -1 if it serves one connected socket only */
    char *path; /* to be removed at the end; NULL: not ours */
    struct socketpath_file file;
    struct loop_watch watch; /* on main's loop */
    pthread_t thread, former; /* former: the one that `thread` takes over from */
    bool started;
    struct control *control; /* main's; NULL: none */
    bool neighbours; /* there are other devices in this process: see fair.c */
    int spare; /* given up for a moment when the process has no descriptor left */
    struct log_limit dropping;
    /* On the device's thread: */
    struct fair fair;
    struct session *session;
    struct refusal *refused; /* second clients that have not been answered yet */
    uint32_t refusals;
    struct log_limit refusing;
    void (*client_gone)(struct server *server); /* on main's thread; may be NULL */
};

/* A listening socket at path: a stale one is replaced, -EADDRINUSE if somebody answers there. The fd or -errno, logged. */
int server_listen(const char *path);
/* The same in two steps: listening at a name beside it, and moved into place (else fd is closed). */
#define SERVER_NAME_MAX 160u
int server_prepare(const char *path, char name[SERVER_NAME_MAX]);
int server_publish(const char *path, const char *name, int fd);
/* For a control socket, which only its owner may connect to. */
int server_listen_control(const char *path);

/* Takes over fd, listening or connected. `server` is zeroed but for dev, path, neighbours and client_gone. */
int server_start(struct server *server, struct loop *main_loop, int fd);
/* Stops accepting, lets the device's thread end, closes. The device stays. False: the thread does not end. */
bool server_stop(struct server *server);

#endif
