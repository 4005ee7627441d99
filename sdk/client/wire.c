/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire - bytes and descriptors of one socket, in bulk; where a message ends, but not what it means.
 * The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_FDS 253u /* SCM_MAX_FD of Linux */

int wire_open(struct wire *wire, int fd, size_t largest)
{
    memset(wire, 0, sizeof *wire);
    wire->fd = -1;
    wire->rx = malloc(largest);
    if (!wire->rx)
        return -ENOMEM;
    wire->cap = largest;
    wire->fd = fd;
    return 0;
}

void wire_close(struct wire *wire)
{
    for (uint32_t i = 0; i < wire->nfds; i++)
        close(wire->fds[i]);
    if (wire->fd >= 0)
        close(wire->fd);
    free(wire->rx);
    memset(wire, 0, sizeof *wire);
    wire->fd = -1;
}

/* Descriptors belong to the message that holds the last byte of the receive they came with: the kernel ends a receive
 * there, but glues what was unread before in front. */
static void wire_keep_fds(struct wire *wire, const struct msghdr *msg, uint64_t last_byte)
{
    struct cmsghdr *cmsg;

    for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR((struct msghdr *)msg, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof fd, sizeof fd);
            if (wire->nfds == WIRE_FDS) {
                close(fd);
                continue;
            }
            wire->fds[wire->nfds] = fd;
            wire->fd_at[wire->nfds++] = last_byte;
        }
    }
}

/* A receive that looks for no descriptors costs less; the kernel closes what comes along. */
static ssize_t wire_recv(struct wire *wire, void *to, size_t room, int flags)
{
    ssize_t n;

    do {
        n = recv(wire->fd, to, room, flags);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    if (n == 0)
        wire->eof = true;
    return n;
}

static ssize_t wire_recvmsg(struct wire *wire, void *to, size_t room, uint64_t at, int flags)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(WIRE_FDS * sizeof(int))];
    } control;
    struct iovec iov = { to, room };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                          .msg_controllen = sizeof control.bytes };
    ssize_t n;

    if (wire->plain)
        return wire_recv(wire, to, room, flags);
    do {
        n = recvmsg(wire->fd, &msg, flags | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    if (n == 0)
        wire->eof = true;
    if (msg.msg_controllen)
        wire_keep_fds(wire, &msg, at + (n > 0 ? (uint64_t)n - 1 : 0));
    return n;
}

ssize_t wire_receive(struct wire *wire, int flags)
{
    ssize_t n;

    if (wire->head == wire->tail)
        wire->head = wire->tail = 0;
    if (wire->tail == wire->cap && wire->head) {
        memmove(wire->rx, wire->rx + wire->head, wire->tail - wire->head);
        wire->tail -= wire->head;
        wire->head = 0;
    }
    if (wire->tail == wire->cap)
        return -ENOBUFS;
    n = wire_recvmsg(wire, wire->rx + wire->tail, wire->cap - wire->tail, wire->position + (wire->tail - wire->head),
                     flags);
    if (n > 0)
        wire->tail += (size_t)n;
    return n;
}

ssize_t wire_receive_direct(struct wire *wire, void *to, size_t size, int flags)
{
    ssize_t n = wire_recvmsg(wire, to, size, wire->position, flags);

    if (n > 0)
        wire->position += (uint64_t)n;
    return n;
}

ssize_t wire_message(const struct wire *wire)
{
    struct vfu_msg_header header;
    size_t have = wire->tail - wire->head;

    if (have < HEADER)
        return 0;
    memcpy(&header, wire->rx + wire->head, sizeof header);
    if (header.size < HEADER || header.size > wire->cap)
        return -EPROTO;
    return have >= header.size ? (ssize_t)header.size : 0;
}

uint32_t wire_take_fds(struct wire *wire, size_t size, int *fds, uint32_t max)
{
    uint32_t taken = 0, left = 0;

    if (!wire->nfds)
        return 0;
    for (uint32_t i = 0; i < wire->nfds; i++) {
        if (wire->fd_at[i] >= wire->position + size) {
            wire->fds[left] = wire->fds[i];
            wire->fd_at[left++] = wire->fd_at[i];
        } else if (taken < max) {
            fds[taken++] = wire->fds[i];
        } else {
            close(wire->fds[i]);
        }
    }
    wire->nfds = left;
    return taken;
}

void wire_consume(struct wire *wire, size_t size)
{
    if (wire->nfds)
        wire_take_fds(wire, size, NULL, 0);
    wire->head += size;
    wire->position += size;
    if (wire->head == wire->tail)
        wire->head = wire->tail = 0;
}

/* Waits for room to send. Takes in what arrives meanwhile; with a full buffer, or after the end, only room counts. */
static int wire_await_room(struct wire *wire, uint64_t deadline)
{
    bool listen = !wire->eof && wire->tail - wire->head < wire->cap;
    struct pollfd p = { wire->fd, (short)(POLLOUT | (listen ? POLLIN : 0)), 0 };
    int left = conn_left(deadline), r = poll(&p, 1, left);

    if (r < 0)
        return errno == EINTR ? 0 : -errno;
    /* One who takes a byte now and then does not move the end of the time. */
    if (r == 0 || left == 0)
        return -ETIMEDOUT;
    if (p.revents & POLLIN) {
        ssize_t n = wire_receive(wire, MSG_DONTWAIT);

        if (n < 0 && n != -EAGAIN && n != -ENOBUFS)
            return (int)n;
    }
    return 0;
}

static void wire_advance(struct iovec **iov, int *n, size_t by)
{
    while (*n > 0 && by >= (*iov)->iov_len) {
        by -= (*iov)->iov_len;
        (*iov)++;
        (*n)--;
    }
    if (*n > 0) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + by;
        (*iov)->iov_len -= by;
    }
}

int wire_send(struct wire *wire, struct iovec *iov, int n, const int *fds, uint32_t nfds, uint64_t deadline,
              size_t *sent)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(SEND_FDS * sizeof(int))];
    } control;
    struct msghdr msg = { 0 };

    if (nfds > SEND_FDS)
        return -EINVAL;
    if (nfds) {
        struct cmsghdr *cmsg;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        memset(control.bytes, 0, msg.msg_controllen);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
    }
    wire_advance(&iov, &n, 0);
    while (n > 0) {
        ssize_t r;

        msg.msg_iov = iov;
        msg.msg_iovlen = (size_t)n;
        r = n == 1 && !msg.msg_control ? send(wire->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                                       : sendmsg(wire->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (r >= 0) {
            msg.msg_control = NULL;
            msg.msg_controllen = 0;
            if (sent)
                *sent += (size_t)r;
            wire_advance(&iov, &n, (size_t)r);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            int err = wire_await_room(wire, deadline);

            if (err)
                return err;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}
