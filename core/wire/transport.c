/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport - bytes and descriptors in and out of one socket. Runs on its session's thread; no locks.
 *
 * With a message trace a message is in it when it is first handed out, or committed: before what it causes.
 *
 * A bulk receive glues messages together and ends at one that carries descriptors, so descriptors belong to the
 * message that holds the last byte of the receive they came with, whether that message is whole yet or not.
 */
#include "core/wire/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/origin.h"
#include "core/base/sys.h"

/* One receive asks for so much; the buffer holds the largest message and that. With nothing there yet it asks for less:
 * a large write's data that come with its header are copied to their place, those behind go there straight. */
#define RX_CHUNK (128u * 1024u)
#define RX_FIRST (32u * 1024u)
#define RX_ROOM (TRANSPORT_MAX_MESSAGE + RX_CHUNK)
#define TX_ROOM TRANSPORT_TX_ROOM

int transport_open(struct transport *t, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    void *memory;

    memset(t, 0, sizeof *t);
    t->fd = -1;
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    memory = mmap(NULL, RX_ROOM + TX_ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    t->rx = memory;
    t->tx = t->rx + RX_ROOM;
    t->fd = fd;
    return 0;
}

/* ---- the message trace */

static void trace_message(struct transport *t, const uint8_t *bytes, uint64_t have, uint32_t size, uint32_t nfds,
                          enum tracefile_direction direction, const char *note)
{
    tracefile_put(&t->tap, &(struct tracefile_message){
        .bytes = bytes,
        .have = have < size ? (uint32_t)have : size,
        .size = size,
        .nfds = nfds,
        .direction = direction,
        .note = note ? note : t->tap_note,
    });
}

/* The message at the front, once, however often it is asked for. */
static void trace_in(struct transport *t, const struct message *message)
{
    uint64_t have = t->rx_tail - t->rx_head;

    if (t->traced > t->rx_position)
        return;
    t->traced = t->rx_position + (message->header.size ? message->header.size : 1);
    if (message->header.size < sizeof message->header || message->header.size > TRANSPORT_MAX_MESSAGE)
        trace_message(t, t->rx + t->rx_head, have, (uint32_t)have, 0, TRACEFILE_IN,
                      "not a message: its size makes no sense");
    else
        trace_message(t, t->rx + t->rx_head, have, message->header.size, message->nfds, TRACEFILE_IN,
                      message->fds_lost ? "some fds were lost" : NULL);
}

/* What was still there when the connection ended. */
static void trace_rest(struct transport *t)
{
    const uint8_t *at = t->rx + t->rx_head, *end = t->rx + t->rx_tail;
    struct vfu_msg_header header;

    if (t->traced > t->rx_position)
        at += t->traced - t->rx_position < (uint64_t)(end - at) ? t->traced - t->rx_position : (uint64_t)(end - at);
    while (at != end) {
        uint32_t have = (uint32_t)(end - at), size = have;

        if (have >= sizeof header) {
            memcpy(&header, at, sizeof header);
            size = header.size < sizeof header || header.size > TRANSPORT_MAX_MESSAGE ? have : header.size;
        }
        trace_message(t, at, have, size, 0, TRACEFILE_IN,
                      size > have || have < sizeof header ? "cut short: the connection ended"
                                                          : "not handled: the connection ended");
        at += size < have ? size : have;
    }
}

void transport_trace_out(struct transport *t, size_t size)
{
    bool carries = t->nout && t->out_end == t->tx_tail;

    trace_message(t, t->tx + t->tx_tail - size, size, (uint32_t)size, carries ? t->nout : 0, TRACEFILE_OUT, NULL);
}

/* What the client has sent and no command has taken. */
static void close_all(const int *fds, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (fds[i] >= 0)
            origin_close(fds[i]);
    }
}

static void forget_out(struct transport *t)
{
    for (uint32_t i = 0; t->close_out && i < t->nout; i++)
        close(t->out[i]);
    t->nout = 0;
    t->close_out = false;
}

void transport_close(struct transport *t)
{
    if (t->tap.file && t->rx)
        trace_rest(t);
    for (uint32_t i = 0; i < t->nin; i++)
        close_all(t->in[i].fds, t->in[i].n);
    t->nin = 0;
    forget_out(t);
    if (t->rx)
        munmap(t->rx, RX_ROOM + TX_ROOM);
    if (t->fd >= 0)
        close(t->fd);
    t->rx = t->tx = NULL;
    t->fd = -1;
}

/* ---- in */

static void keep_fds(struct transport *t, struct msghdr *header, uint64_t position)
{
    struct transport_fds got = { .position = position, .lost = (header->msg_flags & MSG_CTRUNC) != 0 };

    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        if (n > TRANSPORT_FDS - got.n)
            n = TRANSPORT_FDS - got.n; /* cannot be: the control room holds no more */
        memcpy(got.fds + got.n, CMSG_DATA(c), n * sizeof(int));
        got.n += (uint32_t)n;
    }
    if (got.n == 0 && !got.lost)
        return;
    if (t->rx_head == t->rx_tail) {
        close_all(got.fds, got.n); /* they came with the data of a write that is taken to its place */
        return;
    }
    if (t->nin == sizeof t->in / sizeof t->in[0]) {
        /* One message in many pieces, each with descriptors: no client that means well does this. */
        close_all(got.fds, got.n);
        t->in[t->nin - 1].lost = true;
        t->in[t->nin - 1].position = position;
        return;
    }
    t->in[t->nin++] = got;
}

/* Where the next receive may put bytes: at the end of what is there, which moves to the front when space is short. */
static size_t make_room(struct transport *t)
{
    if (RX_ROOM - t->rx_tail < RX_CHUNK && t->rx_head > 0) {
        memmove(t->rx, t->rx + t->rx_head, t->rx_tail - t->rx_head);
        t->rx_tail -= t->rx_head;
        t->rx_head = 0;
    }
    return RX_ROOM - t->rx_tail < RX_CHUNK ? RX_ROOM - t->rx_tail : RX_CHUNK;
}

static inline size_t room_for_receive(struct transport *t)
{
    if (t->rx_head != t->rx_tail)
        return make_room(t);
    t->rx_head = t->rx_tail = 0;
    return RX_FIRST;
}

union control {
    char bytes[CMSG_SPACE(TRANSPORT_FDS * sizeof(int))];
    struct cmsghdr align;
};

/* Of a receive that has brought no bytes. */
static __attribute__((noinline)) int no_bytes(ssize_t got)
{
    if (got == 0)
        return TRANSPORT_EOF;
    return errno == EAGAIN ? TRANSPORT_EMPTY : errno == ECONNRESET ? TRANSPORT_EOF : -errno;
}

static inline ssize_t receive(int fd, struct msghdr *header)
{
    ssize_t got;

    do
        got = sys_recvmsg(fd, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    return got;
}

/* The last byte of what has come is in the buffer, or was taken to its place. */
static inline int see_fds(struct transport *t, struct msghdr *header, bool full)
{
    if (header->msg_controllen || (header->msg_flags & MSG_CTRUNC)) {
        keep_fds(t, header, t->rx_position + (t->rx_tail - t->rx_head) - 1);
        return TRANSPORT_MORE; /* it ended here for the descriptors' sake */
    }
    return full ? TRANSPORT_MORE : TRANSPORT_EMPTY;
}

/* The data of a large write first, then what is behind it. */
static __attribute__((noinline)) int receive_sinking(struct transport *t, size_t room)
{
    union control control;
    struct iovec iov[2] = { { t->sink, t->sink_left }, { t->rx + t->rx_tail, room } };
    struct msghdr header = { .msg_iov = iov, .msg_iovlen = 2, .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes };
    size_t asked = room + t->sink_left, sunk;
    ssize_t got = receive(t->fd, &header);

    if (got <= 0)
        return no_bytes(got);
    sunk = (size_t)got < t->sink_left ? (size_t)got : t->sink_left;
    t->sink += sunk;
    t->sink_left -= sunk;
    t->rx_position += sunk;
    t->rx_tail += (size_t)got - sunk;
    return see_fds(t, &header, (size_t)got == asked);
}

int transport_receive(struct transport *t)
{
    union control control;
    size_t room = room_for_receive(t);
    struct iovec iov = { t->rx + t->rx_tail, room };
    struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes };
    ssize_t got;

    if (t->sink_left)
        return receive_sinking(t, room);
    if (room == 0)
        return TRANSPORT_FULL;
    got = receive(t->fd, &header);
    if (got <= 0)
        return no_bytes(got);
    t->rx_tail += (size_t)got;
    return see_fds(t, &header, (size_t)got == room);
}

/* Hands the message the descriptors that came with its bytes. */
static void claim_fds(struct transport *t, struct message *message)
{
    uint64_t end = t->rx_position + message->header.size;
    uint32_t taken = 0;

    for (; taken < t->nin && t->in[taken].position < end; taken++) {
        struct transport_fds *in = &t->in[taken];
        uint32_t n = in->n;

        message->fds_lost |= in->lost;
        if (n > TRANSPORT_FDS - message->nfds) {
            n = TRANSPORT_FDS - message->nfds;
            close_all(in->fds + n, in->n - n);
            message->fds_lost = true;
        }
        memcpy(message->fds + message->nfds, in->fds, n * sizeof(int));
        message->nfds += n;
    }
    t->nin -= taken;
    memmove(t->in, t->in + taken, t->nin * sizeof t->in[0]);
}

int transport_next(struct transport *t, struct message *message)
{
    size_t have = t->rx_tail - t->rx_head;

    if (have < sizeof message->header || t->sink_left)
        return 0;
    memcpy(&message->header, t->rx + t->rx_head, sizeof message->header);
    message->nfds = 0;
    message->fds_lost = false;
    if (message->header.size < sizeof message->header || message->header.size > TRANSPORT_MAX_MESSAGE) {
        if (t->tap.file)
            trace_in(t, message);
        return -EINVAL;
    }
    if (have < message->header.size)
        return 0;
    message->body = t->rx + t->rx_head + sizeof message->header;
    message->size = message->header.size - (uint32_t)sizeof message->header;
    if (t->nin)
        claim_fds(t, message);
    if (t->tap.file)
        trace_in(t, message);
    return 1;
}

void transport_put_back(struct transport *t, struct message *message)
{
    struct transport_fds back = { .position = t->rx_position, .n = message->nfds, .lost = message->fds_lost };

    if (!back.n && !back.lost)
        return;
    memcpy(back.fds, message->fds, back.n * sizeof(int));
    if (t->nin == sizeof t->in / sizeof t->in[0]) {
        t->nin--;
        close_all(t->in[t->nin].fds, t->in[t->nin].n);
        back.lost = true;
    }
    memmove(t->in + 1, t->in, t->nin * sizeof t->in[0]);
    t->in[0] = back;
    t->nin++;
    message->nfds = 0;
}

void transport_done(struct transport *t, struct message *message)
{
    if (message->nfds)
        close_all(message->fds, message->nfds);
    t->rx_head += message->header.size;
    t->rx_position += message->header.size;
}

int transport_peek(struct transport *t, struct vfu_msg_header *header, const uint8_t **body, size_t *have)
{
    size_t n = t->rx_tail - t->rx_head;

    if (n < sizeof *header || t->sink_left)
        return 0;
    memcpy(header, t->rx + t->rx_head, sizeof *header);
    *body = t->rx + t->rx_head + sizeof *header;
    *have = n - sizeof *header;
    return 1;
}

/* Descriptors that came with bytes which are gone: nobody asks for those of a write that is taken to its place, and the
 * next message must not get them. */
static void drop_passed(struct transport *t)
{
    uint32_t passed = 0;

    for (; passed < t->nin && t->in[passed].position < t->rx_position; passed++)
        close_all(t->in[passed].fds, t->in[passed].n);
    t->nin -= passed;
    memmove(t->in, t->in + passed, t->nin * sizeof t->in[0]);
}

void transport_sink(struct transport *t, size_t skip, uint8_t *memory, size_t size)
{
    size_t have;

    t->rx_head += skip;
    t->rx_position += skip;
    have = t->rx_tail - t->rx_head < size ? t->rx_tail - t->rx_head : size;
    memcpy(memory, t->rx + t->rx_head, have);
    t->rx_head += have;
    t->rx_position += have;
    t->sink = memory + have;
    t->sink_left = size - have;
    if (t->nin)
        drop_passed(t);
}

/* ---- out */

uint8_t *transport_room(struct transport *t, size_t size)
{
    if (t->memory_left)
        return NULL;
    if (TX_ROOM - t->tx_tail < size) {
        if (t->nout || TX_ROOM - (t->tx_tail - t->tx_head) < size)
            return NULL;
        memmove(t->tx, t->tx + t->tx_head, t->tx_tail - t->tx_head);
        t->tx_tail -= t->tx_head;
        t->tx_head = 0;
    }
    return t->tx + t->tx_tail;
}

bool transport_can_carry(const struct transport *t)
{
    return t->nout == 0;
}

void transport_carry(struct transport *t, size_t size, const int *fds, uint32_t n, bool close_after)
{
    t->out_start = t->tx_tail;
    t->out_end = t->tx_tail + size;
    memcpy(t->out, fds, n * sizeof(int));
    t->nout = n;
    t->close_out = close_after;
}

void transport_append_memory(struct transport *t, const uint8_t *memory, size_t size)
{
    t->memory = memory;
    t->memory_left = size;
}

/* The message with descriptors leaves in a send of its own, so that a peer which reads in bulk cannot mistake whose
 * they are. */
static ssize_t send_some(struct transport *t)
{
    union control control;
    struct iovec iov[2];
    struct msghdr header = { .msg_iov = iov };
    size_t end = t->tx_tail;
    bool carries = t->nout && t->tx_head == t->out_start;

    if (t->nout)
        end = carries ? t->out_end : t->out_start;
    if (end != t->tx_head)
        iov[header.msg_iovlen++] = (struct iovec){ t->tx + t->tx_head, end - t->tx_head };
    if (end == t->tx_tail && t->memory_left)
        iov[header.msg_iovlen++] = (struct iovec){ (void *)(uintptr_t)t->memory, t->memory_left };
    if (header.msg_iovlen == 1 && !carries)
        return sys_send(t->fd, iov[0].iov_base, iov[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (carries) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof control);
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(t->nout * sizeof(int));
        c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(t->nout * sizeof(int));
        memcpy(CMSG_DATA(c), t->out, t->nout * sizeof(int));
    }
    return sendmsg(t->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void sent(struct transport *t, size_t n)
{
    size_t buffered = t->tx_tail - t->tx_head;

    if (n > buffered) {
        t->memory += n - buffered;
        t->memory_left -= n - buffered;
        n = buffered;
    }
    if (t->nout && n > 0 && t->tx_head == t->out_start)
        forget_out(t);
    t->tx_head += n;
    if (t->tx_head == t->tx_tail)
        t->tx_head = t->tx_tail = 0;
}

/* What has not left at once: all of it, or what is behind the first send. */
static __attribute__((noinline)) int flush_rest(struct transport *t)
{
    while (transport_pending(t)) {
        ssize_t n = send_some(t);

        if (n >= 0)
            sent(t, (size_t)n);
        else if (errno == EAGAIN || errno == ENOBUFS)
            return -EAGAIN;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int transport_flush(struct transport *t)
{
    size_t size = t->tx_tail - t->tx_head;
    ssize_t n;

    if (t->nout || t->memory_left)
        return flush_rest(t);
    if (size == 0)
        return 0;
    n = sys_send(t->fd, t->tx + t->tx_head, size, MSG_DONTWAIT | MSG_NOSIGNAL); /* nearly always that is all */
    if (n != (ssize_t)size) {
        if (n < 0)
            return errno == EINTR ? flush_rest(t) : errno == EAGAIN || errno == ENOBUFS ? -EAGAIN : -errno;
        sent(t, (size_t)n);
        return flush_rest(t);
    }
    t->tx_head = t->tx_tail = 0;
    return 0;
}
