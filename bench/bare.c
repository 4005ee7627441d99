/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bare - the process that all is held against: it blocks in recvmsg, answers what has arrived whole in one sendmsg, and
 * does the least that can be called an answer. It stores what writes bring in a flat array, without a look at where:
 * no check, no register, no device. DMA it plays back and forth. See bench.h.
 */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM (4u << 20)
#define FLAT 4096u
#define DMA_FIXED (sizeof(struct vfu_msg_header) + sizeof(struct vfu_msg_dma_access))

struct bare {
    int fd;
    uint8_t *rx, *tx;
    uint32_t dma_left; /* messages to send, as soon as what came before is answered */
    bool dma_writes;
    uint8_t flat[FLAT + 8];
};

static void store(struct bare *bare, const struct vfu_msg_region_access *access, const uint8_t *data)
{
    uint32_t value;

    if (access->count != sizeof value)
        return; /* a large one is where it was received to */
    memcpy(&value, data, sizeof value);
    memcpy(bare->flat + access->offset % FLAT, &value, sizeof value);
    if (access->offset == BENCH_START_READS || access->offset == BENCH_START_WRITES) {
        bare->dma_left = value;
        bare->dma_writes = access->offset == BENCH_START_WRITES;
    }
}

static void store_all(struct bare *bare, const uint8_t *body)
{
    struct vfu_msg_write_multi multi;
    struct vfu_msg_write_one one;

    memcpy(&multi, body, sizeof multi);
    body += sizeof multi;
    for (uint64_t i = 0; i < multi.wr_cnt; i++, body += sizeof one) {
        memcpy(&one, body, sizeof one);
        memcpy(bare->flat + one.offset % FLAT, one.data, sizeof one.data);
    }
}

/* Does what the message says, and returns the size of its reply; only as much meaning as that takes. */
static uint32_t act(struct bare *bare, const struct vfu_msg_header *header, const uint8_t *body)
{
    struct vfu_msg_region_access access;

    switch (header->command) {
    case VFU_CMD_REGION_READ:
        memcpy(&access, body, sizeof access);
        return 32 + access.count;
    case VFU_CMD_REGION_WRITE:
        memcpy(&access, body, sizeof access);
        store(bare, &access, body + sizeof access);
        return 32;
    case VFU_CMD_REGION_WRITE_MULTI:
        store_all(bare, body);
        return 24;
    case VFU_CMD_DMA_UNMAP:
        return 40;
    default:
        return 16;
    }
}

static void close_fds(struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        int fd;

        if (c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(sizeof fd))
            continue;
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
        close(fd);
    }
}

/* Everything that has arrived whole is answered into tx. Returns how much of rx it was. */
static size_t answer(struct bare *bare, size_t have, size_t *out)
{
    size_t at = 0;

    while (have - at >= sizeof(struct vfu_msg_header)) {
        struct vfu_msg_header header;
        uint32_t size, all;

        memcpy(&header, bare->rx + at, sizeof header);
        all = header.size;
        if (have - at < all)
            break;
        size = act(bare, &header, bare->rx + at + sizeof header);
        if (!(header.flags & VFU_MSG_NO_REPLY)) {
            /* The reply repeats the request's fixed part. */
            memcpy(bare->tx + *out, bare->rx + at, size < all ? size : all);
            header.size = size;
            header.flags = VFU_MSG_REPLY;
            memcpy(bare->tx + *out, &header, sizeof header);
            *out += size;
        }
        at += all;
    }
    return at;
}

static void send_all(struct bare *bare, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        struct iovec piece = { bare->tx + sent, size - sent };
        struct msghdr msg = { .msg_iov = &piece, .msg_iovlen = 1 };
        ssize_t n = sendmsg(bare->fd, &msg, MSG_NOSIGNAL);

        if (n <= 0)
            _exit(1);
        sent += (size_t)n;
    }
}

static void receive_all(struct bare *bare, size_t size)
{
    for (size_t have = 0; have < size;) {
        struct iovec piece = { bare->rx + have, size - have };
        struct msghdr msg = { .msg_iov = &piece, .msg_iovlen = 1 };
        ssize_t n = recvmsg(bare->fd, &msg, 0);

        if (n <= 0)
            _exit(0);
        have += (size_t)n;
    }
}

/* The other way round: this side asks. */
static void play_dma(struct bare *bare)
{
    uint32_t out = bare->dma_writes ? BENCH_DMA_SIZE : 0, in = bare->dma_writes ? 0 : BENCH_DMA_SIZE;
    struct vfu_msg_header header = { 0, bare->dma_writes ? VFU_CMD_DMA_WRITE : VFU_CMD_DMA_READ,
                                     (uint32_t)DMA_FIXED + out, VFU_MSG_COMMAND, 0 };
    struct vfu_msg_dma_access access = { BENCH_DMA_AREA, BENCH_DMA_SIZE };

    for (; bare->dma_left; bare->dma_left--) {
        memcpy(bare->tx, &header, sizeof header);
        memcpy(bare->tx + sizeof header, &access, sizeof access);
        send_all(bare, DMA_FIXED + out);
        receive_all(bare, DMA_FIXED + in);
        header.id++;
    }
}

void bare_serve(int fd)
{
    static struct bare bare;
    size_t have = 0;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control;

    bare.fd = fd;
    bare.rx = malloc(ROOM);
    bare.tx = malloc(ROOM);
    if (bare.tx)
        memset(bare.tx, 0xa5, ROOM); /* what nobody has written is one page of zeros, always in cache */
    while (bare.rx && bare.tx) {
        struct iovec iov = { bare.rx + have, ROOM - have };
        struct msghdr msg = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
        ssize_t n = recvmsg(fd, &msg, 0);
        size_t used, out = 0;

        if (n <= 0)
            break;
        if (msg.msg_controllen)
            close_fds(&msg);
        have += (size_t)n;
        used = answer(&bare, have, &out);
        if (out)
            send_all(&bare, out);
        have -= used;
        if (have)
            memmove(bare.rx, bare.rx + used, have);
        if (bare.dma_left && !have)
            play_dma(&bare);
    }
    _exit(0);
}
