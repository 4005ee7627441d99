/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work - what is measured: lean loops over a socket, the same for the bare peer and for hosts. The register is COUNT
 * of the edu device (0x90), which has no hook. See bench.h.
 */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define REGISTER 0x90
#define BATCH 64u
#define MULTI 200u
#define MIB 1048576u
#define DMA_BASE 0x100000000u

static uint8_t buffer[2 * MIB];

static void work_send(const struct peer *peer, const void *bytes, size_t size, int fd)
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

static void work_check(const struct peer *peer)
{
    struct vfu_msg_header header;

    memcpy(&header, buffer, sizeof header);
    if (header.flags != VFU_MSG_REPLY)
        bench_die("%s refuses command %u: %s", peer->name, header.command, strerror((int)header.error));
}

/* Receives exactly `size` bytes of replies. The first of them is looked at as soon as it is there: an error reply is
 * shorter than what is waited for. */
static void work_receive(const struct peer *peer, size_t size)
{
    size_t have = 0;

    while (have < size) {
        struct iovec iov = { buffer + have, size - have };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n = recvmsg(peer->fd, &msg, 0);

        if (n <= 0)
            bench_die("%s does not answer: %s", peer->name, n ? strerror(errno) : "the connection is closed");
        if (have < sizeof(struct vfu_msg_header) && have + (size_t)n >= sizeof(struct vfu_msg_header))
            work_check(peer);
        have += (size_t)n;
    }
}

struct access_message {
    struct vfu_msg_header header;
    struct vfu_msg_region_access access;
    uint32_t value;
} __attribute__((packed));

static struct access_message work_read_message(uint16_t id)
{
    return (struct access_message){ { id, VFU_CMD_REGION_READ, 32, 0, 0 }, { REGISTER, 0, 4 }, 0 };
}

static void work_read(struct peer *peer, uint64_t n)
{
    struct access_message read = work_read_message(1);

    while (n--) {
        work_send(peer, &read, 32, -1);
        work_receive(peer, 36);
    }
}

static void work_client_read(struct peer *peer, uint64_t n)
{
    uint64_t value;

    while (n--) {
        if (vfuc_get(peer->client, 0, REGISTER, 4, &value) < 0)
            bench_die("%s: %s", peer->name, vfuc_error(peer->client));
    }
}

static void work_pipelined(struct peer *peer, uint64_t n)
{
    uint8_t batch[BATCH * 32];

    for (uint16_t i = 0; i < BATCH; i++) {
        struct access_message read = work_read_message(i);

        memcpy(batch + i * 32, &read, 32);
    }
    for (; n >= BATCH; n -= BATCH) {
        work_send(peer, batch, sizeof batch, -1);
        work_receive(peer, BATCH * 36);
    }
}

static void work_posted(struct peer *peer, uint64_t n)
{
    struct access_message batch[BATCH], read = work_read_message(1);

    for (uint16_t i = 0; i < BATCH; i++)
        batch[i] =
            (struct access_message){ { i, VFU_CMD_REGION_WRITE, 36, VFU_MSG_NO_REPLY, 0 }, { REGISTER, 0, 4 }, i };
    for (; n >= BATCH; n -= BATCH)
        work_send(peer, batch, sizeof batch, -1);
    work_send(peer, &read, 32, -1);
    work_receive(peer, 36);
}

struct multi_message {
    struct vfu_msg_header header;
    struct vfu_msg_write_multi multi;
    struct vfu_msg_write_one writes[MULTI];
};

static void work_multi(struct peer *peer, uint64_t n, bool posted)
{
    struct access_message read = work_read_message(1);
    struct multi_message m = { { 2, VFU_CMD_REGION_WRITE_MULTI, sizeof m, posted ? VFU_MSG_NO_REPLY : 0, 0 },
                               { MULTI },
                               { { 0 } } };

    for (uint8_t i = 0; i < MULTI; i++)
        m.writes[i] = (struct vfu_msg_write_one){ REGISTER, 0, 4, { i } };
    for (; n >= MULTI; n -= MULTI) {
        work_send(peer, &m, sizeof m, -1);
        if (!posted)
            work_receive(peer, 24);
    }
    if (posted) {
        work_send(peer, &read, 32, -1);
        work_receive(peer, 36);
    }
}

static void work_multi_posted(struct peer *peer, uint64_t n)
{
    work_multi(peer, n, true);
}

static void work_multi_replied(struct peer *peer, uint64_t n)
{
    work_multi(peer, n, false);
}

static void work_big_read(struct peer *peer, uint64_t n)
{
    struct access_message read = work_read_message(1);

    read.access = (struct vfu_msg_region_access){ 0, 0, MIB };
    while (n--) {
        work_send(peer, &read, 32, -1);
        work_receive(peer, 32 + MIB);
    }
}

static void work_big_write(struct peer *peer, uint64_t n)
{
    static struct {
        struct access_message head;
        uint8_t data[MIB - 4];
    } write;

    write.head = (struct access_message){ { 1, VFU_CMD_REGION_WRITE, 32 + MIB, 0, 0 }, { 0, 0, MIB }, 0 };
    while (n--) {
        work_send(peer, &write, 32 + MIB, -1);
        work_receive(peer, 32);
    }
}

struct map_message {
    struct vfu_msg_header header;
    struct vfu_msg_dma_map map;
};

struct unmap_message {
    struct vfu_msg_header header;
    struct vfu_msg_dma_unmap unmap;
};

/* Maps and unmaps n pages. `batch` requests go in one send where no descriptor rides on them. */
static void work_maps(struct peer *peer, uint64_t n, int fd, uint64_t batch)
{
    struct map_message maps[BATCH];
    struct unmap_message unmaps[BATCH];

    for (uint64_t i = 0; i < n;) {
        uint64_t k;

        for (k = 0; k < batch && i < n; k++, i++) {
            maps[k] = (struct map_message){ { (uint16_t)i, VFU_CMD_DMA_MAP, sizeof maps[k], 0, 0 },
                                            { 32, 3, fd >= 0 ? i * 4096 : 0, DMA_BASE + i * 4096, 4096 } };
            if (fd >= 0)
                work_send(peer, &maps[k], sizeof maps[k], fd);
        }
        if (fd < 0)
            work_send(peer, maps, k * sizeof maps[0], -1);
        work_receive(peer, k * 16);
    }
    for (uint64_t i = 0; i < n;) {
        uint64_t k;

        for (k = 0; k < BATCH && i < n; k++, i++)
            unmaps[k] = (struct unmap_message){ { (uint16_t)i, VFU_CMD_DMA_UNMAP, sizeof unmaps[k], 0, 0 },
                                                { 24, 0, DMA_BASE + i * 4096, 4096 } };
        work_send(peer, unmaps, k * sizeof unmaps[0], -1);
        work_receive(peer, k * 40);
    }
}

static void work_maps_no_fd(struct peer *peer, uint64_t n)
{
    work_maps(peer, n, -1, 1);
}

static void work_maps_no_fd_batch(struct peer *peer, uint64_t n)
{
    work_maps(peer, n, -1, BATCH);
}

static void work_maps_file(struct peer *peer, uint64_t n, uint64_t batch)
{
    int fd = memfd_create("bench", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)n * 4096) < 0)
        bench_die("no memory file: %s", strerror(errno));
    work_maps(peer, n, fd, batch);
    close(fd);
}

static void work_maps_memfd(struct peer *peer, uint64_t n)
{
    work_maps_file(peer, n, 1);
}

static void work_maps_memfd_batch(struct peer *peer, uint64_t n)
{
    work_maps_file(peer, n, BATCH);
}

const struct work works[] = {
    { "read of 4 bytes, one in flight", "read", 20000, 2000, 15, false, false, work_read },
    { "... through the client library", "read", 20000, 2000, 15, false, true, work_client_read },
    { "read of 4 bytes, 64 in flight", "read", 64 * 1000, 64 * 100, 15, false, false, work_pipelined },
    { "posted writes, 64 a send", "write", 64 * 4000, 64 * 400, 15, false, false, work_posted },
    { "REGION_WRITE_MULTI of 200, posted", "write", 200 * 2000, 200 * 200, 15, false, false, work_multi_posted },
    { "REGION_WRITE_MULTI of 200, replied", "write", 200 * 1000, 200 * 100, 15, false, false, work_multi_replied },
    { "read of 1 MiB", "read", 100, 10, 9, true, false, work_big_read },
    { "write of 1 MiB", "write", 100, 10, 9, true, false, work_big_write },
    { "DMA map and unmap, no fd", "page", 65535, 4096, 3, false, false, work_maps_no_fd },
    { "... 64 in flight", "page", 65535, 4096, 3, false, false, work_maps_no_fd_batch },
    { "DMA map and unmap, one memfd", "page", 65535, 4096, 3, false, false, work_maps_memfd },
    { "... 64 in flight, one fd each", "page", 65535, 4096, 3, false, false, work_maps_memfd_batch },
};
const size_t nworks = sizeof works / sizeof works[0];
