/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * session - one connected client: negotiation, one handler for each command from a table, replies.
 *
 * A session lives on its device's thread from session_open until `gone` is called. It is freed by itself.
 */
#ifndef CORE_SESSION_H
#define CORE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/device/device.h"
#include "core/base/log.h"
#include "core/base/loop.h"
#include "core/wire/transport.h"
#include "core/wire/version.h"

struct session {
    struct device *dev;
    /* Together, as all of them are looked at with each message. */
    bool negotiated;
    bool blocked; /* output waits for the client to read: no more commands are taken */
    bool dead;
    bool busy;  /* inside the main socket's handler: it flushes at its end */
    bool again; /* a deferred continuation is on its way */
    bool twin_more; /* it is the twin socket's, too */
    bool ending, twin_ending; /* the peer has hung up: what it sent last is followed by the end, and no other edge */
    bool sinking; /* a large write's data goes straight to memory as it comes: sink_* */
    struct loop_watch main_watch;
    struct transport main, twin; /* twin.fd is -1 unless it was negotiated */
    struct loop_watch twin_watch;
    struct version version; /* what was negotiated */
    /* The reply of the command at hand: payload room, its size, what follows it from memory, descriptors. */
    uint8_t *reply;
    uint32_t reply_size;
    const uint8_t *direct;
    uint32_t direct_size;
    int carry[TRANSPORT_FDS];
    uint32_t ncarry;
    bool carry_close;
    struct vfu_msg_header sink_header;
    struct vfu_msg_region_access sink_access;
    struct log_limit limit;
    void (*gone)(void *ctx);
    void *ctx;
};

/* Takes over fd. -errno: fd is closed. */
int session_open(struct session **out, struct device *dev, int fd, void (*gone)(void *ctx), void *ctx);
/* Reads and handles what has arrived, to the end of the stream if that is there. True if the session has ended by it. */
bool session_drain(struct session *s);
/* Ends it: replies that wait are sent if the client takes them at once. */
void session_close(struct session *s);

/* Data of at least so many bytes goes between socket and plain memory without a copy. */
#define SESSION_DIRECT_MIN 16384u

/* For handlers (command.c): `size` bytes of reply payload behind the header; zeroed, or as they come. */
void *session_reply(struct session *s, uint32_t size);
void *session_reply_raw(struct session *s, uint32_t size);
/* For handlers: the reply carries descriptors. */
void session_carry(struct session *s, const int *fds, uint32_t n, bool close_after);
/* For VERSION: the client is negotiated; the device learns of it. */
int session_attach(struct session *s, const struct vfu_client *client);
/* For handlers: one rate-limited line, "COMMAND: text". The result is `error`. */
int session_refuse(struct session *s, int error, const struct message *m, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
