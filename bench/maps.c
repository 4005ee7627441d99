/* SPDX-License-Identifier: BSD-3-Clause */
/* maps - works: the client's memory, a page at a time, at DMA addresses that follow each other. See bench.h. */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BATCH 64u
#define BASE 0x100000000u
#define PAGE 4096u
#define ORDER_MAX 65536u

struct map_message {
    struct vfu_msg_header header;
    struct vfu_msg_dma_map map;
};

struct unmap_message {
    struct vfu_msg_header header;
    struct vfu_msg_dma_unmap unmap;
};

static int file = -1;
static uint32_t order[ORDER_MAX];
static uint64_t ordered; /* how many of order[] are filled in */

static struct map_message map_message(uint64_t page, uint64_t offset)
{
    return (struct map_message){ { (uint16_t)page, VFU_CMD_DMA_MAP, sizeof(struct map_message), 0, 0 },
                                 { 32, VFU_DMA_MAP_READABLE | VFU_DMA_MAP_WRITEABLE, offset, BASE + page * PAGE,
                                   PAGE } };
}

/* The same shuffle each time, by a generator of our own: runs are to be compared. */
static void shuffle(uint64_t n)
{
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

    if (n > ORDER_MAX)
        bench_die("at most %u pages in random order", ORDER_MAX);
    if (ordered == n)
        return;
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = (uint32_t)n; i > 1; i--) {
        uint32_t j, page = order[i - 1];

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        j = (uint32_t)(state >> 32) % i;
        order[i - 1] = order[j];
        order[j] = page;
    }
    ordered = n;
}

/* `batch` requests go in one send. */
static void map_without_fd(struct peer *peer, uint64_t n, uint64_t batch, bool random)
{
    struct map_message maps[BATCH];

    if (random)
        shuffle(n);
    for (uint64_t i = 0; i < n;) {
        uint64_t k;

        for (k = 0; k < batch && i < n; k++, i++)
            maps[k] = map_message(random ? order[i] : i, 0);
        work_send(peer, maps, k * sizeof maps[0], -1);
        work_receive(peer, k * 16);
    }
}

void maps_no_fd(struct peer *peer, uint64_t n)
{
    map_without_fd(peer, n, 1, false);
}

void maps_no_fd_batch(struct peer *peer, uint64_t n)
{
    map_without_fd(peer, n, BATCH, false);
}

void maps_random(struct peer *peer, uint64_t n)
{
    map_without_fd(peer, n, 1, true);
}

void maps_random_batch(struct peer *peer, uint64_t n)
{
    map_without_fd(peer, n, BATCH, true);
}

/* ---- with descriptors: each message leaves alone, since a send has one message's */

void maps_make_file(struct peer *peer, uint64_t n)
{
    (void)peer;
    if (file >= 0)
        close(file);
    file = memfd_create("bench", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)n * PAGE) < 0)
        bench_die("no memory file: %s", strerror(errno));
}

static void map_file(struct peer *peer, uint64_t n, uint64_t batch)
{
    for (uint64_t i = 0; i < n;) {
        uint64_t k;

        for (k = 0; k < batch && i < n; k++, i++) {
            struct map_message map = map_message(i, i * PAGE);

            work_send(peer, &map, sizeof map, file);
        }
        work_receive(peer, k * 16);
    }
}

void maps_memfd(struct peer *peer, uint64_t n)
{
    map_file(peer, n, 1);
}

void maps_memfd_batch(struct peer *peer, uint64_t n)
{
    map_file(peer, n, BATCH);
}

/* To open it anew is part of it, for each peer alike. */
void maps_many_fds(struct peer *peer, uint64_t n)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    for (uint64_t i = 0; i < n; i++) {
        struct map_message map = map_message(i, i * PAGE);
        int fd = open(path, O_RDWR | O_CLOEXEC);

        if (fd < 0)
            bench_die("%s: %s", path, strerror(errno));
        work_send(peer, &map, sizeof map, fd);
        close(fd);
        work_receive(peer, 16);
    }
}

/* ---- away with them */

void maps_unmap(struct peer *peer, uint64_t n)
{
    struct unmap_message unmaps[BATCH];

    for (uint64_t i = 0; i < n;) {
        uint64_t k;

        for (k = 0; k < BATCH && i < n; k++, i++)
            unmaps[k] = (struct unmap_message){ { (uint16_t)i, VFU_CMD_DMA_UNMAP, sizeof unmaps[k], 0, 0 },
                                                { 24, 0, BASE + i * PAGE, PAGE } };
        work_send(peer, unmaps, k * sizeof unmaps[0], -1);
        work_receive(peer, k * 40);
    }
}

void maps_unmap_all(struct peer *peer, uint64_t n)
{
    struct unmap_message all = { { 1, VFU_CMD_DMA_UNMAP, sizeof all, 0, 0 }, { 24, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0 } };

    (void)n;
    work_send(peer, &all, sizeof all, -1);
    work_receive(peer, 40);
}
