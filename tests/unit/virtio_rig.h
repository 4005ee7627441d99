/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio_rig - a virtio device of two queues on a host that is not there: its memory is an array, reached by windows, by
 * value or by messages that wait for rig_serve. And a driver's half of a ring. For test_virtio and the fuzzer. One thread.
 */
#ifndef TESTS_VIRTIO_RIG_H
#define TESTS_VIRTIO_RIG_H

#include <vfu/virtio.h>

#define RIG_BASE UINT64_C(0x100000) /* where memory begins for the device */
#define RIG_SIZE 0x20000u
#define RIG_QUEUE 8u /* places of each queue */
#define RIG_HELD 64u
#define RIG_OPS 64u

enum rig_mode { RIG_MAPPED, RIG_VALUE, RIG_MESSAGES };

struct rig {
    struct vfu_virtio v; /* first */
    struct vfu_host host;
    struct vfu_desc desc;
    enum rig_mode mode;
    uint8_t memory[RIG_SIZE];
    uint64_t regs[VFU_VIRTIO_REGS];
    struct vfu_dma_op *ops[RIG_OPS]; /* in flight */
    uint32_t nops;
    void (*later)(void *arg); /* one deferred call */
    void *later_arg;
    bool gone; /* there is no memory */
    bool keep; /* chains stay with the device until rig_finish */
    bool fill; /* they are written to by vfu_virtio_submit first */
    uint32_t nfills, ncancelled; /* under way; ended because the chain is gone */
    struct vfu_virtio_chain *held[RIG_HELD];
    uint32_t nheld, nchains, nresets, ndriver;
    uint64_t bytes;
    uint32_t irqs[8], errors, dirty;
    char error[256]; /* the last of the guest's */
};

bool rig_new(struct rig *rig, enum rig_mode mode);
void rig_free(struct rig *rig);
/* A write of software to a register of the common configuration. */
void rig_put(struct rig *rig, uint32_t reg, uint64_t value);
uint64_t rig_get(struct rig *rig, uint32_t reg);
/* A driver's way to DRIVER_OK with both queues: descriptors of queue i at RIG_DESC(i), and so on. */
#define RIG_DESC(i) (RIG_BASE + 0x1000u * (i))
#define RIG_AVAIL(i) (RIG_BASE + 0x1000u * (i) + 0x400)
#define RIG_USED(i) (RIG_BASE + 0x1000u * (i) + 0x800)
#define RIG_BUFFER (RIG_BASE + 0x8000)
void rig_start(struct rig *rig, uint64_t features);
/* Pieces of rings, as a driver writes them. */
void rig_poke(struct rig *rig, uint64_t addr, uint64_t value, uint32_t size);
uint64_t rig_peek(const struct rig *rig, uint64_t addr, uint32_t size);
void rig_desc(struct rig *rig, uint64_t table, uint32_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
void rig_offer(struct rig *rig, uint32_t queue, uint16_t head);
void rig_kick(struct rig *rig, uint32_t queue);
/* Messages and deferred calls until there are none left; at most so many. */
void rig_serve(struct rig *rig, uint32_t most);
/* What is in flight ends without having been done, as where a client leaves, or before a reset of the host's. */
void rig_cancel(struct rig *rig);
/* Memory goes, and windows with it, or comes back. */
void rig_memory(struct rig *rig, bool there);
/* The device is done with the held chain i, or all of them (VFU_NONE), last first. */
void rig_finish(struct rig *rig, uint32_t i);

#endif
