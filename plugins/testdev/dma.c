/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma - testdev's DMA engine: every way that a device can reach client memory, chosen by DMA_CMD.OP.
 *
 * Its registers are its state: they are locked while DMA_STATUS.BUSY is set, so that a transfer which the host has ended
 * (a stop for migration) can start anew from them. Runs on the device's thread.
 */
#include <errno.h>
#include <string.h>

#include "plugins/testdev/testdev.h"

enum { OP_NONE, OP_READ_NOW, OP_WRITE_NOW, OP_READ, OP_WRITE, OP_MAP_READ, OP_MAP_WRITE, OP_COPY, OP_HOLD, OP_RELEASE };

static uint32_t fnv(const uint8_t *bytes, uint64_t n)
{
    uint32_t sum = 0x811c9dc5u;

    for (uint64_t i = 0; i < n; i++)
        sum = (sum ^ bytes[i]) * 0x01000193u;
    return sum;
}

/* Byte i of the pattern is seed + 7 i + i / 256. */
static void fill(const struct testdev *dev, uint8_t *bytes, uint64_t n)
{
    uint32_t seed = (uint32_t)testdev_get(dev, DMA_SEED);

    if (dev->pattern != PATTERN_RAMP) {
        memset(bytes, dev->pattern == PATTERN_ONES ? 0xff : 0, n);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(seed + 7 * i + (i >> 8));
}

static void finish(struct testdev *dev, int32_t status, const uint8_t *bytes)
{
    if (!status)
        testdev_set(dev, DMA_SUM, fnv(bytes, testdev_get(dev, DMA_LEN)));
    else if (status != -ECANCELED)
        vfu_guest_errorf(dev->host, "DMA of %llu bytes at %#llx: %s", (unsigned long long)testdev_get(dev, DMA_LEN),
                         (unsigned long long)testdev_get(dev, DMA_ADDR), strerror(-status));
    testdev_set(dev, DMA_STATUS, (uint64_t)-status & 0xffff);
    testdev_count(dev, DMA_DONE);
    dev->second = dev->interrupted = false;
    if (testdev_get(dev, DMA_CMD) & DMA_IRQ)
        testdev_interrupt(dev, INT_DMA);
}

static void submit(struct testdev *dev, uint32_t flags);

static void done(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct testdev *dev = self;

    if (status == -ECANCELED) {
        dev->interrupted = true; /* resume, reset or detach says what becomes of it */
        return;
    }
    if (!(op->flags & VFU_DMA_WRITE))
        dev->nbuffer = (uint32_t)op->len;
    if (!status && (testdev_get(dev, DMA_CMD) & DMA_OP) == OP_COPY && !dev->second) {
        dev->second = true;
        submit(dev, VFU_DMA_WRITE);
        return;
    }
    finish(dev, status, dev->buffer);
}

static void submit(struct testdev *dev, uint32_t flags)
{
    int32_t status;

    dev->op = (struct vfu_dma_op){
        .struct_size = sizeof dev->op,
        .flags = flags,
        .addr = testdev_get(dev, dev->second ? DMA_DST : DMA_ADDR),
        .len = testdev_get(dev, DMA_LEN),
        .buf = dev->buffer,
        .done = done,
    };
    testdev_set(dev, DMA_STATUS, DMA_BUSY);
    status = dev->host->dma_submit(dev->host, &dev->op);
    if (status == -EBUSY)
        dev->interrupted = true; /* stopped for migration in between */
    else if (status)
        finish(dev, status, dev->buffer);
}

/* At once, or not at all: -EWOULDBLOCK where only messages reach the memory. */
static void now(struct testdev *dev, uint64_t addr, uint64_t len, bool write)
{
    int32_t status = write ? dev->host->dma_write(dev->host, addr, dev->buffer, len)
                           : dev->host->dma_read(dev->host, addr, dev->buffer, len);

    if (!write)
        dev->nbuffer = status ? 0 : (uint32_t)len;
    finish(dev, status, dev->buffer);
}

static void through_window(struct testdev *dev, uint64_t addr, uint64_t len, bool write)
{
    struct vfu_dma_window window = { .struct_size = sizeof window };
    int32_t status = dev->host->dma_map(dev->host, addr, len, write ? VFU_DMA_PROT_WRITE : VFU_DMA_PROT_READ, &window);

    if (status) {
        finish(dev, status, NULL);
        return;
    }
    if (write) {
        memcpy(window.data, dev->buffer, len);
        dev->host->dma_dirty(dev->host, addr, len);
    } else {
        memcpy(dev->buffer, window.data, len);
        dev->nbuffer = (uint32_t)len;
    }
    status = dev->host->dma_check(dev->host, &window);
    dev->host->dma_unmap(dev->host, &window);
    finish(dev, status, dev->buffer);
}

static void release(struct testdev *dev)
{
    if (dev->window.data)
        dev->host->dma_unmap(dev->host, &dev->window);
    memset(&dev->window, 0, sizeof dev->window);
}

static int32_t hold(struct testdev *dev, uint64_t addr, uint64_t len)
{
    release(dev);
    dev->window.struct_size = sizeof dev->window;
    return dev->host->dma_map(dev->host, addr, len, VFU_DMA_PROT_READ | VFU_DMA_PROT_WRITE, &dev->window);
}

void testdev_dma_start(struct testdev *dev)
{
    uint64_t cmd = testdev_get(dev, DMA_CMD), op = cmd & DMA_OP;
    uint64_t addr = testdev_get(dev, DMA_ADDR), len = testdev_get(dev, DMA_LEN);
    bool write = op == OP_WRITE || op == OP_WRITE_NOW || op == OP_MAP_WRITE;

    if (op == OP_HOLD || op == OP_RELEASE) {
        int32_t status = op == OP_HOLD ? hold(dev, addr, len) : 0;

        if (op == OP_RELEASE)
            release(dev);
        testdev_set(dev, DMA_STATUS, (uint64_t)-status & 0xffff);
        testdev_count(dev, DMA_DONE);
        return;
    }
    if (op == OP_NONE)
        return;
    if (len > DMA_MAX || op > OP_RELEASE) {
        finish(dev, -EINVAL, NULL);
        return;
    }
    if (write && !(cmd & DMA_KEEP)) {
        fill(dev, dev->buffer, len);
        dev->nbuffer = (uint32_t)len;
    }
    if (op == OP_READ_NOW || op == OP_WRITE_NOW)
        now(dev, addr, len, write);
    else if (op == OP_MAP_READ || op == OP_MAP_WRITE)
        through_window(dev, addr, len, write);
    else
        submit(dev, write || dev->second ? VFU_DMA_WRITE : 0);
}

void testdev_dma_end(struct testdev *dev, int32_t status)
{
    if (dev->interrupted)
        finish(dev, status, NULL);
}

/* ---- the window that HOLD opened */

static uint8_t *held(struct testdev *dev)
{
    uint64_t off = testdev_get(dev, WIN_OFF);

    if (!dev->window.data || dev->window.len < 4 || off > dev->window.len - 4)
        return NULL;
    return dev->window.data + off;
}

int32_t testdev_window_read(struct testdev *dev, uint64_t *value)
{
    const uint8_t *at = held(dev);
    uint32_t word;

    if (!at)
        return -EIO;
    memcpy(&word, at, sizeof word);
    *value = word;
    return dev->host->dma_check(dev->host, &dev->window) ? -EIO : 0;
}

int32_t testdev_window_write(struct testdev *dev, uint64_t value)
{
    uint32_t word = (uint32_t)value;
    uint8_t *at = held(dev);

    if (!at)
        return -EIO;
    memcpy(at, &word, sizeof word);
    if (dev->host->dma_check(dev->host, &dev->window))
        return -EIO;
    return dev->host->dma_dirty(dev->host, dev->window.addr + testdev_get(dev, WIN_OFF), sizeof word) ? -EIO : 0;
}
