/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * messages - works: DMA by messages, from the client's end. One posted write starts a whole round of them; from then on
 * the other side asks, and this side answers. See bench.h.
 */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <string.h>

#define FIXED (sizeof(struct vfu_msg_header) + sizeof(struct vfu_msg_dma_access))

/* Memory that the device can reach by messages alone. */
void messages_prepare(struct peer *peer, uint64_t n)
{
    struct {
        struct vfu_msg_header header;
        struct vfu_msg_dma_map map;
    } map = { { 1, VFU_CMD_DMA_MAP, sizeof map, 0, 0 },
              { 32, VFU_DMA_MAP_READABLE | VFU_DMA_MAP_WRITEABLE, 0, BENCH_DMA_AREA, BENCH_DMA_SIZE } };

    (void)n;
    work_send(peer, &map, sizeof map, -1);
    work_receive(peer, 16);
}

static void messages(struct peer *peer, uint64_t n, bool write)
{
    uint32_t bytes = BENCH_DMA_SIZE;
    struct access_message start = { { 1, VFU_CMD_REGION_WRITE, sizeof start, VFU_MSG_NO_REPLY, 0 },
                                    { write ? BENCH_START_WRITES : BENCH_START_READS, 0, 4 },
                                    (uint32_t)n };
    static uint8_t reply[FIXED + BENCH_DMA_SIZE];

    work_send(peer, &start, sizeof start, -1);
    while (n--) {
        struct vfu_msg_header header;

        work_receive_any(peer, FIXED + (write ? bytes : 0));
        memcpy(&header, work_buffer, sizeof header);
        if (header.command != (write ? VFU_CMD_DMA_WRITE : VFU_CMD_DMA_READ) || header.flags != VFU_MSG_COMMAND)
            bench_die("%s sends command %u, flags %#x in place of its DMA", peer->name, header.command, header.flags);
        header.flags = VFU_MSG_REPLY;
        header.size = (uint32_t)FIXED + (write ? 0 : bytes);
        memcpy(reply, &header, sizeof header);
        memcpy(reply + sizeof header, work_buffer + sizeof header, sizeof(struct vfu_msg_dma_access));
        work_send(peer, reply, header.size, -1);
    }
    work_settle(peer);
}

void messages_read(struct peer *peer, uint64_t n)
{
    messages(peer, n, false);
}

void messages_write(struct peer *peer, uint64_t n)
{
    messages(peer, n, true);
}
