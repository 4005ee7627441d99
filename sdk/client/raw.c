/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * raw - any command, and any bytes at all: what tests need that misbehave on purpose. The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define TAKEN_NS (20 * VFUC_NS_PER_MS)

int vfuc_request(struct vfuc *c, struct vfuc_request *request)
{
    const uint8_t *body;
    struct slot *slot;
    size_t size;
    int err = conn_ready(c);

    request->reply_size = 0;
    request->reply_nfds = 0;
    if (!err)
        err = call_queue(c, request->command, NULL, 0, request->body, request->size, request->fds, request->nfds,
                         request->posted ? NULL : &slot);
    if (err || request->posted)
        return err;
    slot->keep = true;
    err = call_wait(c, slot);
    if (err)
        return err;
    body = call_body(c, &size);
    request->reply_size = size;
    if (size > request->reply_max)
        err = conn_error(c, -EMSGSIZE, "%s: a reply of %zu bytes, there is room for %zu", call_name(request->command),
                         size, request->reply_max);
    else if (size)
        memcpy(request->reply, body, size);
    if (!err)
        request->reply_nfds = wire_take_fds(&c->main, c->kept, request->reply_fds, request->reply_fds_max);
    call_done(c);
    return err;
}

/* Until the server has read what was sent: only then is the next piece one of its own. */
static void raw_await_taken(const struct vfuc *c)
{
    uint64_t end = conn_now() + TAKEN_NS;
    int unread;

    while (ioctl(c->main.fd, SIOCOUTQ, &unread) == 0 && unread > 0 && conn_now() < end)
        sched_yield();
}

int vfuc_raw_send(struct vfuc *c, const void *bytes, size_t size, size_t piece, const int *fds, uint32_t nfds)
{
    int err;

    if (c->main.fd < 0)
        return conn_error(c, -ENOTCONN, "not connected");
    c->main.plain = false;
    err = call_flush(c);
    for (size_t at = 0; !err && at < size;) {
        size_t n = piece && piece < size - at ? piece : size - at;
        struct iovec iov = { (uint8_t *)(uintptr_t)bytes + at, n };

        err = wire_send(&c->main, &iov, 1, at ? NULL : fds, at ? 0 : nfds, conn_deadline(c), NULL);
        at += n;
        if (!err && piece)
            raw_await_taken(c);
    }
    return err ? conn_error(c, err, "cannot send: %s", strerror(-err)) : 0;
}

int vfuc_raw_recv(struct vfuc *c, void *message, size_t max, int *fds, uint32_t *nfds, uint64_t timeout_ns)
{
    uint64_t now = conn_now(), deadline = timeout_ns > UINT64_MAX - now ? VFUC_FOREVER : now + timeout_ns;
    ssize_t size;

    if (c->main.fd < 0)
        return conn_error(c, -ENOTCONN, "not connected");
    c->main.plain = false;
    while (!(size = wire_message(&c->main))) {
        ssize_t n = wire_receive(&c->main, MSG_DONTWAIT);

        if (n == 0 || n == -ECONNRESET)
            return 0;
        if (n < 0 && n != -EAGAIN)
            return conn_error(c, (int)n, "cannot receive: %s", strerror((int)-n));
        if (n < 0 && poll(&(struct pollfd){ c->main.fd, POLLIN, 0 }, 1, conn_left(deadline)) == 0)
            return conn_error(c, -ETIMEDOUT, "no message within %llu ms",
                              (unsigned long long)(timeout_ns / VFUC_NS_PER_MS));
    }
    if (size < 0)
        return conn_error(c, -EPROTO, "a message of senseless size from the server");
    if ((size_t)size > max)
        return conn_error(c, -EMSGSIZE, "a message of %zd bytes, there is room for %zu", size, max);
    memcpy(message, c->main.rx + c->main.head, (size_t)size);
    if (nfds)
        *nfds = wire_take_fds(&c->main, (size_t)size, fds, *nfds);
    wire_consume(&c->main, (size_t)size);
    return (int)size;
}
