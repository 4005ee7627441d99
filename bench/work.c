/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work - the list of what is measured, and bytes to a peer and back. See bench.h. The peer of a loop is a socket: the
 * loops do not know whether a host is behind it.
 */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

uint8_t work_buffer[2 * BENCH_MIB];

void work_send(const struct peer *peer, const void *bytes, size_t size, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec iov = { (void *)bytes, size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof control.bytes;
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    while (iov.iov_len) {
        ssize_t n = sendmsg(peer->fd, &msg, MSG_NOSIGNAL);

        if (n <= 0)
            bench_die("%s does not take requests: %s", peer->name, strerror(errno));
        msg.msg_control = NULL;
        msg.msg_controllen = 0;
        iov.iov_base = (uint8_t *)iov.iov_base + n;
        iov.iov_len -= (size_t)n;
    }
}

static void check_reply(const struct peer *peer)
{
    struct vfu_msg_header header;

    memcpy(&header, work_buffer, sizeof header);
    if (header.flags != VFU_MSG_REPLY)
        bench_die("%s refuses command %u: %s", peer->name, header.command, strerror((int)header.error));
}

/* What is judged is judged as soon as a header is there: an error reply is shorter than what is waited for. */
static void receive(const struct peer *peer, size_t size, bool replies)
{
    size_t have = 0;

    while (have < size) {
        struct iovec iov = { work_buffer + have, size - have };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n = recvmsg(peer->fd, &msg, 0);

        if (n <= 0)
            bench_die("%s does not answer: %s", peer->name, n ? strerror(errno) : "the connection is closed");
        if (replies && have < sizeof(struct vfu_msg_header) && have + (size_t)n >= sizeof(struct vfu_msg_header))
            check_reply(peer);
        have += (size_t)n;
    }
}

void work_receive(const struct peer *peer, size_t size)
{
    receive(peer, size, true);
}

void work_receive_any(const struct peer *peer, size_t size)
{
    receive(peer, size, false);
}

struct access_message work_read_message(const struct peer *peer, uint16_t id)
{
    return (struct access_message){ { id, VFU_CMD_REGION_READ, 32, 0, 0 }, { peer->offset, 0, 4 }, 0 };
}

void work_settle(const struct peer *peer)
{
    struct access_message read = work_read_message(peer, 1);

    work_send(peer, &read, 32, -1);
    work_receive(peer, 36);
}

#define REGISTERS (PEER_BARE | PEER_EDU | PEER_PLAIN | PEER_BELLS)
#define WRITES (REGISTERS | PEER_RAM)
#define MAPS (PEER_BARE | PEER_EDU)
#define PAGES .full = 65535, .quick = 4096

const struct work works[] = {
    { .name = "read of 4 bytes, one in flight", .asked = "1.00; CPU 1.00", .full = 20000, .quick = 2000, .rounds = 15,
      .who = REGISTERS, .run = access_read },
    { .name = "... through the client library", .asked = "300 ns more", .full = 20000, .quick = 2000, .rounds = 15,
      .who = REGISTERS & ~PEER_BARE, .twin = 1, .twin_name = "lean loop", .run = access_client_read },
    { .name = "... server on a core of its own", .asked = "0.50", .full = 20000, .quick = 2000, .rounds = 15,
      .who = PEER_BARE_APART | PEER_APART, .run = access_read },
    { .name = "... that against all on one core", .full = 20000, .quick = 2000, .rounds = 15,
      .who = PEER_BARE | PEER_BARE_APART | PEER_APART, .run = access_read },
    { .name = "read of 4 bytes, 64 in flight", .asked = "1.20", .full = 64 * 1000, .quick = 64 * 100, .rounds = 15,
      .who = REGISTERS, .run = access_pipelined },
    { .name = "posted writes, 64 a send", .asked = "62.5 ns or 1.25", .full = 64 * 4000, .quick = 64 * 400,
      .rounds = 15, .who = WRITES, .run = access_posted },
    { .name = "REGION_WRITE_MULTI of 200, posted", .asked = "33.3 ns", .full = 200 * 2000, .quick = 200 * 200,
      .rounds = 15, .who = WRITES, .run = access_multi_posted },
    { .name = "REGION_WRITE_MULTI of 200, replied", .asked = "1.20", .full = 200 * 1000, .quick = 200 * 100,
      .rounds = 15, .who = WRITES, .run = access_multi_replied },
    { .name = "read of 1 MiB", .asked = "1.10", .full = 200, .quick = 20, .rounds = 15, .who = PEER_BARE | PEER_RAM,
      .run = access_big_read },
    { .name = "write of 1 MiB", .asked = "1.10", .full = 200, .quick = 20, .rounds = 15, .who = PEER_BARE | PEER_RAM,
      .run = access_big_write },
    { .name = "DMA map, no fd", .asked = "1.05", PAGES, .rounds = 5, .who = MAPS, .run = maps_no_fd,
      .finish = maps_unmap_all },
    { .name = "... in random order", .asked = "1.60", PAGES, .rounds = 5, .who = MAPS & ~PEER_BARE, .twin = 1,
      .twin_name = "ascending", .run = maps_random, .finish = maps_unmap_all },
    { .name = "... 64 in flight", .asked = "0.4 s", PAGES, .rounds = 5, .who = MAPS, .run = maps_no_fd_batch,
      .finish = maps_unmap_all },
    { .name = "... 64 in flight in random order", .asked = "1.60", PAGES, .rounds = 5, .who = MAPS & ~PEER_BARE,
      .twin = 1, .twin_name = "ascending", .run = maps_random_batch, .finish = maps_unmap_all },
    { .name = "DMA unmap, 64 in flight", PAGES, .rounds = 5, .who = MAPS, .prepare = maps_no_fd_batch,
      .run = maps_unmap },
    { .name = "DMA unmap of all by one message", .asked = "5 ms", PAGES, .rounds = 5, .who = MAPS,
      .prepare = maps_no_fd_batch, .run = maps_unmap_all },
    { .name = "DMA map, one memfd", .asked = "1.15", PAGES, .rounds = 5, .who = MAPS, .prepare = maps_make_file,
      .run = maps_memfd, .finish = maps_unmap_all },
    { .name = "... 64 in flight, its fd with each", .asked = "0.4 s", PAGES, .rounds = 5, .who = MAPS,
      .prepare = maps_make_file, .run = maps_memfd_batch, .finish = maps_unmap_all },
    { .name = "DMA map, an fd each, all of one file", .asked = "flat", .full = 1024, .quick = 64, .rounds = 5,
      .who = MAPS, .prepare = maps_make_file, .run = maps_many_fds, .finish = maps_unmap_all },
    { .name = "... 8 times as many", .asked = "flat", .full = 8192, .quick = 512, .rounds = 5, .who = MAPS,
      .prepare = maps_make_file, .run = maps_many_fds, .finish = maps_unmap_all },
    { .name = "... 64 times as many", .asked = "flat", PAGES, .rounds = 3, .who = MAPS, .prepare = maps_make_file,
      .run = maps_many_fds, .finish = maps_unmap_all },
    { .name = "message DMA, the device reads 4 KiB", .asked = "1.10", .full = 10000, .quick = 1000, .rounds = 15,
      .who = PEER_BARE | PEER_PLAIN, .prepare = messages_prepare, .run = messages_read, .finish = maps_unmap_all },
    { .name = "message DMA, the device writes 4 KiB", .asked = "1.10", .full = 10000, .quick = 1000, .rounds = 15,
      .who = PEER_BARE | PEER_PLAIN, .prepare = messages_prepare, .run = messages_write, .finish = maps_unmap_all },
};
const size_t nworks = sizeof works / sizeof works[0];
_Static_assert(sizeof works / sizeof works[0] <= BENCH_WORKS, "more works than there is room for results");
