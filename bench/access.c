/* SPDX-License-Identifier: BSD-3-Clause */
/* access - works: reads and writes of BAR0, the register of the peer's or memory. See bench.h. */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <string.h>

#define BATCH 64u
#define MULTI 200u

void access_read(struct peer *peer, uint64_t n)
{
    struct access_message read = work_read_message(peer, 1);

    while (n--) {
        work_send(peer, &read, 32, -1);
        work_receive(peer, 36);
    }
}

void access_client_read(struct peer *peer, uint64_t n)
{
    uint64_t value;

    while (n--) {
        if (vfuc_get(peer->client, 0, peer->offset, 4, &value) < 0)
            bench_die("%s: %s", peer->name, vfuc_error(peer->client));
    }
}

void access_pipelined(struct peer *peer, uint64_t n)
{
    uint8_t batch[BATCH * 32];

    for (uint16_t i = 0; i < BATCH; i++) {
        struct access_message read = work_read_message(peer, i);

        memcpy(batch + i * 32, &read, 32);
    }
    for (; n >= BATCH; n -= BATCH) {
        work_send(peer, batch, sizeof batch, -1);
        work_receive(peer, BATCH * 36);
    }
}

void access_posted(struct peer *peer, uint64_t n)
{
    struct access_message batch[BATCH];

    for (uint16_t i = 0; i < BATCH; i++)
        batch[i] = (struct access_message){ { i, VFU_CMD_REGION_WRITE, 36, VFU_MSG_NO_REPLY, 0 },
                                            { peer->offset, 0, 4 }, i };
    for (; n >= BATCH; n -= BATCH)
        work_send(peer, batch, sizeof batch, -1);
    work_settle(peer);
}

struct multi_message {
    struct vfu_msg_header header;
    struct vfu_msg_write_multi multi;
    struct vfu_msg_write_one writes[MULTI];
};

static void multi(struct peer *peer, uint64_t n, bool posted)
{
    struct multi_message m = { { 2, VFU_CMD_REGION_WRITE_MULTI, sizeof m, posted ? VFU_MSG_NO_REPLY : 0, 0 },
                               { MULTI },
                               { { 0 } } };

    for (uint8_t i = 0; i < MULTI; i++)
        m.writes[i] = (struct vfu_msg_write_one){ peer->offset, 0, 4, { i } };
    for (; n >= MULTI; n -= MULTI) {
        work_send(peer, &m, sizeof m, -1);
        if (!posted)
            work_receive(peer, 24);
    }
    if (posted)
        work_settle(peer);
}

void access_multi_posted(struct peer *peer, uint64_t n)
{
    multi(peer, n, true);
}

void access_multi_replied(struct peer *peer, uint64_t n)
{
    multi(peer, n, false);
}

void access_big_read(struct peer *peer, uint64_t n)
{
    struct access_message read = work_read_message(peer, 1);

    read.access = (struct vfu_msg_region_access){ 0, 0, BENCH_MIB };
    while (n--) {
        work_send(peer, &read, 32, -1);
        work_receive(peer, 32 + BENCH_MIB);
    }
}

void access_big_write(struct peer *peer, uint64_t n)
{
    static struct {
        struct access_message head;
        uint8_t data[BENCH_MIB - 4];
    } write;

    write.head = (struct access_message){ { 1, VFU_CMD_REGION_WRITE, 32 + BENCH_MIB, 0, 0 }, { 0, 0, BENCH_MIB }, 0 };
    while (n--) {
        work_send(peer, &write, 32 + BENCH_MIB, -1);
        work_receive(peer, 32);
    }
}
