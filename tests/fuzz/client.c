/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client - the fuzzer's end of a session. One thread.
 */
#include "tests/fuzz/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/wire/transport.h"
#include "tests/fuzz/host.h"

#define HEADER sizeof(struct vfu_msg_header)
#define STREAM_MAX (2u * TRANSPORT_MAX_MESSAGE)
#define FILE_PAGES 16u

void client_fail(const char *what, uint64_t a, uint64_t b)
{
    host_say("fuzz: %s (%#llx, %#llx)\n", what, (unsigned long long)a, (unsigned long long)b);
    abort();
}

/* ---- what is sent: the replies that must come of it */

static void expect(struct client *c, const struct vfu_msg_header *header, bool optional)
{
    if (c->nexpected == CLIENT_EXPECTED) {
        c->lost_count = true;
        return;
    }
    c->expected[(c->first + c->nexpected++) % CLIENT_EXPECTED] =
        (struct client_expected){ header->id, header->command, optional };
}

static void message_sent(struct client *c)
{
    struct vfu_msg_header header;

    memcpy(&header, c->framing.header, HEADER);
    c->framing.have = 0;
    /* What answers a DMA message has no reply unless it answers nothing. */
    if (!(header.flags & VFU_MSG_NO_REPLY))
        expect(c, &header, (header.flags & VFU_MSG_TYPE_MASK) == VFU_MSG_REPLY);
}

static void follow(struct client *c, const uint8_t *bytes, size_t size)
{
    struct client_framing *f = &c->framing;

    while (size && !f->broken) {
        struct vfu_msg_header header;
        size_t n = f->have < HEADER ? HEADER - f->have : f->left;

        if (n > size)
            n = size;
        if (f->have < HEADER) {
            memcpy(f->header + f->have, bytes, n);
            f->have += (uint32_t)n;
            memcpy(&header, f->header, HEADER);
            if (f->have == HEADER) {
                f->broken = header.size < HEADER || header.size > TRANSPORT_MAX_MESSAGE;
                f->left = f->broken ? 0 : header.size - HEADER;
                if (f->broken)
                    expect(c, &header, true);
            }
        } else {
            f->left -= n;
        }
        if (!f->broken && f->have == HEADER && !f->left)
            message_sent(c);
        bytes += n;
        size -= n;
    }
}

/* ---- what is read */

static void take_reply(struct client *c, const struct vfu_msg_header *header)
{
    if (((header->flags & VFU_MSG_ERROR) != 0) != (header->error != 0))
        client_fail("a reply whose error flag and error differ", header->flags, header->error);
    if (header->error && header->size != HEADER)
        client_fail("an error with a body", header->error, header->size);
    while (c->nexpected) {
        const struct client_expected *e = &c->expected[c->first];

        c->first = (c->first + 1) % CLIENT_EXPECTED;
        c->nexpected--;
        if (e->id == header->id && e->command == header->command)
            return;
        if (!e->optional && !c->lost_count)
            client_fail("a reply is missing, or out of order: expected id and command", e->id, e->command);
    }
    if (!c->lost_count)
        client_fail("a reply that nothing asked for", header->id, header->command);
}

static void take_dma(struct client *c, const struct vfu_msg_header *header, const uint8_t *body)
{
    struct client_dma dma = { .header = *header };
    bool write = header->command == VFU_CMD_DMA_WRITE;

    if (!write && header->command != VFU_CMD_DMA_READ)
        client_fail("a command that is no DMA", header->command, header->id);
    if (header->size < HEADER + sizeof dma.access)
        client_fail("a short DMA message", header->size, header->command);
    memcpy(&dma.access, body, sizeof dma.access);
    if (header->size != HEADER + sizeof dma.access + (write ? dma.access.count : 0) || !dma.access.count ||
        dma.access.count > TRANSPORT_MAX_DATA)
        client_fail("a DMA message whose sizes differ", header->size, dma.access.count);
    if (c->ndma == CLIENT_DMA)
        memmove(c->dma, c->dma + 1, --c->ndma * sizeof c->dma[0]);
    c->dma[c->ndma++] = dma;
}

static void take_messages(struct client *c, struct client_stream *stream)
{
    size_t at = 0;

    while (stream->size - at >= HEADER) {
        struct vfu_msg_header header;

        memcpy(&header, stream->bytes + at, HEADER);
        if (header.size < HEADER || header.size > TRANSPORT_MAX_MESSAGE)
            client_fail("the server sends a message of an impossible size", header.size, header.command);
        if (stream->size - at < header.size)
            break;
        if ((header.flags & VFU_MSG_TYPE_MASK) == VFU_MSG_COMMAND)
            take_dma(c, &header, stream->bytes + at + HEADER);
        else if ((header.flags & VFU_MSG_TYPE_MASK) != VFU_MSG_REPLY)
            client_fail("the server sends a message of no known type", header.flags, header.command);
        else if (stream == &c->main)
            take_reply(c, &header);
        else if (!header.error)
            client_fail("a reply on the twin socket", header.id, header.command);
        at += header.size;
    }
    stream->size -= at;
    memmove(stream->bytes, stream->bytes + at, stream->size);
}

static void keep_gift(struct client *c, int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode)) {
        if (c->twin.fd >= 0)
            client_fail("a second twin socket", 0, 0);
        c->twin.fd = fd;
        return;
    }
    if (c->gifts[c->next_gift] >= 0)
        close(c->gifts[c->next_gift]);
    c->gifts[c->next_gift] = fd;
    c->next_gift = (c->next_gift + 1) % CLIENT_GIFTS;
}

static void keep_gifts(struct client *c, struct msghdr *header)
{
    for (struct cmsghdr *m = CMSG_FIRSTHDR(header); m; m = CMSG_NXTHDR(header, m)) {
        for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= m->cmsg_len; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(m) + i * sizeof fd, sizeof fd);
            keep_gift(c, fd);
        }
    }
    if (header->msg_flags & MSG_CTRUNC)
        client_fail("more descriptors than a message may have", 0, 0);
}

/* False: there is nothing more. */
static bool read_once(struct client *c, struct client_stream *stream, size_t limit)
{
    char control[CMSG_SPACE(TRANSPORT_FDS * sizeof(int))];
    size_t room = STREAM_MAX - stream->size < limit ? STREAM_MAX - stream->size : limit;
    struct iovec iov = { stream->bytes + stream->size, room };
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control,
    };
    ssize_t n = stream->fd < 0 ? -1 : recvmsg(stream->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n <= 0)
        return false;
    keep_gifts(c, &header);
    stream->size += (size_t)n;
    take_messages(c, stream);
    return (size_t)n < limit;
}

bool client_read(struct client *c, size_t limit)
{
    bool any = false;

    while (read_once(c, &c->main, limit))
        any = true;
    while (read_once(c, &c->twin, limit))
        any = true;
    return any;
}

void client_check_all(const struct client *c)
{
    if (c->main.size)
        client_fail("the server stops in the middle of a message", c->main.size, 0);
    for (uint32_t i = 0; i < c->nexpected && !c->lost_count; i++) {
        const struct client_expected *e = &c->expected[(c->first + i) % CLIENT_EXPECTED];

        if (!e->optional)
            client_fail("no reply came for id and command", e->id, e->command);
    }
}

/* ---- descriptors */

static int memory_file(struct client *c, uint32_t which)
{
    if (c->files[which] < 0) {
        c->files[which] = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (c->files[which] < 0 || ftruncate(c->files[which], FILE_PAGES * 4096) < 0)
            client_fail("no memory file", (uint64_t)errno, 0);
    }
    return c->files[which];
}

static int reopened(struct client *c, int flags)
{
    char path[40];

    snprintf(path, sizeof path, "/proc/self/fd/%d", memory_file(c, 0));
    return open(path, flags | O_CLOEXEC);
}

static int pipe_end(int which)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    close(ends[!which]);
    return ends[which];
}

static int sealed(void)
{
    int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, FILE_PAGES * 4096) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) < 0))
        client_fail("no sealed file", (uint64_t)errno, 0);
    return fd;
}

static int full_event(void)
{
    const uint64_t most = UINT64_MAX - 1;
    int fd = eventfd(0, EFD_CLOEXEC);

    if (fd >= 0 && write(fd, &most, sizeof most) < 0)
        client_fail("an eventfd takes no count", (uint64_t)errno, 0);
    return fd;
}

static int make_fd(struct client *c, uint8_t kind)
{
    switch (kind) {
    case FD_MEMORY0:
    case FD_MEMORY1:
    case FD_MEMORY2: return fcntl(memory_file(c, kind - FD_MEMORY0), F_DUPFD_CLOEXEC, 0);
    case FD_EVENT: return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    case FD_EVENT_BLOCKING: return eventfd(0, EFD_CLOEXEC);
    case FD_EVENT_FULL: return full_event();
    case FD_PIPE: return pipe_end(1);
    case FD_PIPE_READ: return pipe_end(0);
    case FD_EPOLL: return epoll_create1(EPOLL_CLOEXEC);
    case FD_SOCKET: return fcntl(c->main.fd, F_DUPFD_CLOEXEC, 0);
    case FD_PATH: return reopened(c, O_PATH);
    case FD_READ_ONLY: return reopened(c, O_RDONLY);
    default: return sealed();
    }
}

void client_resize(struct client *c, const struct script_file *file)
{
    int fd = memory_file(c, file->which % CLIENT_FILES);

    if (ftruncate(fd, (off_t)(file->pages % (2 * FILE_PAGES)) * 4096) < 0)
        client_fail("a memory file has no other size", (uint64_t)errno, 0);
}

void client_poke(struct client *c, const struct script_poke *poke, const uint8_t *data, size_t size)
{
    int fd = c->gifts[poke->which % CLIENT_GIFTS];
    uint64_t one = 1;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    if (S_ISREG(st.st_mode))
        (void)!pwrite(fd, data, size, poke->offset);
    else
        (void)!write(fd, &one, sizeof one); /* non-blocking, as the server has made it */
}

/* ---- sending */

static size_t send_on(int fd, const void *bytes, size_t size, const int *fds, uint32_t nfds)
{
    union {
        char bytes[CMSG_SPACE(4 * TRANSPORT_FDS * sizeof(int))];
        struct cmsghdr align;
    } control = { .bytes = { 0 } };
    struct iovec iov = { (void *)(uintptr_t)bytes, size };
    struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (nfds) {
        struct cmsghdr *m;

        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        m = CMSG_FIRSTHDR(&header);
        m->cmsg_level = SOL_SOCKET;
        m->cmsg_type = SCM_RIGHTS;
        m->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(m), fds, nfds * sizeof(int));
    }
    n = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? 0 : (size_t)n;
}

size_t client_send(struct client *c, const void *bytes, size_t size, uint8_t kind, uint32_t nfds)
{
    int fds[2 * TRANSPORT_FDS];
    uint32_t n = 0;
    size_t sent;

    if (c->main.fd < 0 || size == 0)
        return 0;
    kind %= FD_KINDS;
    if (kind != FD_NONE) {
        nfds = nfds ? nfds % (TRANSPORT_FDS + 4) : 1;
        for (; n < nfds; n++) {
            fds[n] = make_fd(c, kind);
            if (fds[n] < 0)
                client_fail("no descriptor to send", kind, (uint64_t)errno);
        }
    }
    sent = send_on(c->main.fd, bytes, size, fds, n);
    while (n)
        close(fds[--n]);
    follow(c, bytes, sent);
    return sent;
}

void client_send_twin(struct client *c, const void *bytes, size_t size)
{
    if (c->twin.fd >= 0)
        send_on(c->twin.fd, bytes, size, NULL, 0);
}

void client_answer(struct client *c, const struct script_answer *how)
{
    static uint8_t message[HEADER + sizeof(struct vfu_msg_dma_access) + TRANSPORT_MAX_DATA];
    struct client_dma dma = c->dma[0];
    bool on_twin = (c->twin.fd >= 0) != (how->wrong_socket & 1);
    size_t size = HEADER + sizeof dma.access;

    if (!c->ndma)
        return;
    if (how->how % ANSWERS != ANSWER_TWICE)
        memmove(c->dma, c->dma + 1, --c->ndma * sizeof c->dma[0]);
    if (dma.header.command == VFU_CMD_DMA_READ)
        size += dma.access.count;
    dma.header.flags = VFU_MSG_REPLY;
    switch (how->how % ANSWERS) {
    case ANSWER_ERROR: dma.header.flags |= VFU_MSG_ERROR, dma.header.error = EFAULT, size = HEADER; break;
    case ANSWER_SHORT: size = size / 2 < HEADER ? HEADER : size / 2; break;
    case ANSWER_COUNT: dma.access.count++; break;
    case ANSWER_ADDRESS: dma.access.address++; break;
    case ANSWER_ID: dma.header.id++; break;
    case ANSWER_LONG: size += 8; break;
    default: break;
    }
    if (size > sizeof message)
        size = sizeof message;
    dma.header.size = (uint32_t)size;
    memcpy(message, &dma.header, HEADER);
    memcpy(message + HEADER, &dma.access, sizeof dma.access);
    if (on_twin)
        client_send_twin(c, message, size);
    else
        client_send(c, message, size, FD_NONE, 0);
}

/* ---- life */

void client_init(struct client *c)
{
    static uint8_t room[2][STREAM_MAX];

    memset(c, 0, sizeof *c);
    c->main = (struct client_stream){ .fd = -1, .bytes = room[0] };
    c->twin = (struct client_stream){ .fd = -1, .bytes = room[1] };
    for (uint32_t i = 0; i < CLIENT_GIFTS; i++)
        c->gifts[i] = -1;
    for (uint32_t i = 0; i < CLIENT_FILES; i++)
        c->files[i] = -1;
}

static void close_if(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void client_connect(struct client *c, int fd)
{
    c->main.fd = fd;
    c->framing = (struct client_framing){ .have = 0 };
    c->first = c->nexpected = c->ndma = 0;
    c->lost_count = false;
    c->main.size = c->twin.size = 0;
}

void client_disconnect(struct client *c)
{
    close_if(&c->main.fd);
    close_if(&c->twin.fd);
}

void client_fini(struct client *c)
{
    client_disconnect(c);
    for (uint32_t i = 0; i < CLIENT_GIFTS; i++)
        close_if(&c->gifts[i]);
    for (uint32_t i = 0; i < CLIENT_FILES; i++)
        close_if(&c->files[i]);
}
