/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirty - logs of the pages that the device has written, of this revision of the protocol and of earlier ones. The
 * thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

/* <linux/vfio.h> of 6.2 and later. */
#define FEATURE_DMA_LOGGING_START 6u
#define FEATURE_DMA_LOGGING_STOP 7u
#define FEATURE_DMA_LOGGING_REPORT 8u

#define HEAD sizeof(struct vfu_msg_device_feature)
#define ull(x) ((unsigned long long)(x))

struct dirty_control {
    struct vfu_msg_device_feature head;
    uint64_t page_size;
    uint32_t num_ranges, reserved;
};

struct dirty_report {
    struct vfu_msg_device_feature head;
    uint64_t iova, length, page_size;
};

/* Of earlier revisions. */
struct dirty_bitmap {
    uint64_t page_size, size;
};
struct dirty_get {
    uint32_t argsz, flags;
    uint64_t iova, length;
    struct dirty_bitmap bitmap;
};
struct dirty_unmap {
    struct vfu_msg_dma_unmap unmap;
    struct dirty_bitmap bitmap;
};

uint64_t vfuc_dirty_bytes(uint64_t size, uint64_t page_size)
{
    if (page_size < 4096 || page_size & (page_size - 1) || !size || size & (page_size - 1))
        return 0;
    return (size / page_size + 63) / 64 * 8;
}

static int dirty_done(int result)
{
    return result < 0 ? result : 0;
}

int vfuc_dirty_start(struct vfuc *c, uint64_t page_size, const struct vfuc_range *ranges, uint32_t n)
{
    struct dirty_control control = { .page_size = page_size, .num_ranges = n };
    size_t size = n * sizeof *ranges;
    struct slot *slot;
    int err = conn_ready(c);

    if (err)
        return err;
    if (size > CHUNK - sizeof control)
        return conn_error(c, -EMSGSIZE, "%u ranges are more than a message holds", n);
    control.head.argsz = (uint32_t)(sizeof control + size);
    control.head.flags = FEATURE_DMA_LOGGING_START | VFIO_DEVICE_FEATURE_SET;
    err = call_queue(c, VFU_CMD_DEVICE_FEATURE, &control, sizeof control, ranges, size, NULL, 0, &slot);
    if (err)
        return err;
    slot->keep = true;
    err = call_wait(c, slot);
    if (!err)
        call_done(c);
    return err;
}

int vfuc_dirty_stop(struct vfuc *c)
{
    struct vfu_msg_device_feature head = { HEAD, FEATURE_DMA_LOGGING_STOP | VFIO_DEVICE_FEATURE_SET };

    return dirty_done(call_simple(c, VFU_CMD_DEVICE_FEATURE, &head, sizeof head, NULL, 0, NULL, 0));
}

/* A request whose reply is `fixed` bytes and then the bitmap. */
static int dirty_ask(struct vfuc *c, uint16_t command, const void *request, size_t fixed, void *bitmap, uint64_t bytes)
{
    struct slot *slot;
    const uint8_t *body;
    size_t size;
    int err = call_queue(c, command, request, fixed, NULL, 0, NULL, 0, &slot);

    if (err)
        return err;
    slot->keep = true;
    err = call_wait(c, slot);
    if (err)
        return err;
    body = call_body(c, &size);
    if (size == fixed + bytes)
        memcpy(bitmap, body + fixed, bytes);
    call_done(c);
    if (size != fixed + bytes)
        return conn_broken(c, -EPROTO, "%s: a reply of %zu bytes, expected %llu", call_name(command), size,
                           ull(fixed + bytes));
    return 0;
}

static int dirty_ask_feature(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, void *bitmap)
{
    uint64_t bytes = vfuc_dirty_bytes(size, page_size);
    struct dirty_report report = { { (uint32_t)(sizeof report + bytes),
                                     FEATURE_DMA_LOGGING_REPORT | VFIO_DEVICE_FEATURE_GET },
                                   address, size, page_size };

    return dirty_ask(c, VFU_CMD_DEVICE_FEATURE, &report, sizeof report, bitmap, bytes);
}

static int dirty_ask_legacy(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, void *bitmap)
{
    uint64_t bytes = vfuc_dirty_bytes(size, page_size);
    struct dirty_get get = { (uint32_t)(sizeof get + bytes), VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, address, size,
                             { page_size, bytes } };

    return dirty_ask(c, VFU_CMD_DIRTY_PAGES, &get, sizeof get, bitmap, bytes);
}

static uint64_t dirty_most(const struct vfuc *c)
{
    uint64_t most = CHUNK, bitmap = c->server.migration_max_bitmap_size;

    if (most > c->server.max_data_xfer_size)
        most = c->server.max_data_xfer_size;
    if (most > c->options.max_data_xfer_size)
        most = c->options.max_data_xfer_size;
    if (bitmap && most > bitmap)
        most = bitmap;
    return most < 8 ? 8 : most / 8 * 8;
}

static int dirty_check(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, size_t room)
{
    uint64_t bytes = vfuc_dirty_bytes(size, page_size);
    int err = conn_ready(c);

    if (err)
        return err;
    if (!bytes || address + (size - 1) < address || bytes > room)
        return conn_error(c, -EINVAL, "no bitmap of 0x%llx bytes at 0x%llx in pages of 0x%llx goes into %zu bytes",
                          ull(size), ull(address), ull(page_size), room);
    return 0;
}

static int dirty_pieces(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, void *bitmap, size_t room,
                        int (*ask)(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, void *bitmap))
{
    uint64_t most = dirty_most(c);
    int err = dirty_check(c, address, size, page_size, room);

    while (!err && size) {
        uint64_t n = most * 8 > size / page_size ? size : most * 8 * page_size;

        err = ask(c, address, n, page_size, bitmap);
        bitmap = (uint8_t *)bitmap + vfuc_dirty_bytes(n, page_size);
        address += n;
        size -= n;
    }
    return err;
}

int vfuc_dirty_report(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, void *bitmap, size_t room)
{
    return dirty_pieces(c, address, size, page_size, bitmap, room, dirty_ask_feature);
}

int vfuc_dirty_pages(struct vfuc *c, bool on)
{
    uint32_t request[2] = { sizeof request,
                            on ? VFIO_IOMMU_DIRTY_PAGES_FLAG_START : VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP };

    return dirty_done(call_simple(c, VFU_CMD_DIRTY_PAGES, request, sizeof request, NULL, 0, NULL, 0));
}

int vfuc_dirty_pages_report(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, void *bitmap,
                            size_t room)
{
    return dirty_pieces(c, address, size, page_size, bitmap, room, dirty_ask_legacy);
}

int vfuc_dirty_unmap(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, void *bitmap, size_t room)
{
    uint64_t bytes = vfuc_dirty_bytes(size, page_size);
    struct dirty_unmap request = { { sizeof request, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, address, size },
                                   { page_size, bytes } };
    int err = dirty_check(c, address, size, page_size, room);

    if (err)
        return err;
    if (bytes > dirty_most(c))
        return conn_error(c, -EMSGSIZE, "a bitmap of %llu bytes; a message takes %llu", ull(bytes), ull(dirty_most(c)));
    request.unmap.argsz = (uint32_t)(sizeof request + bytes);
    err = dirty_ask(c, VFU_CMD_DMA_UNMAP, &request, sizeof request, bitmap, bytes);
    if (!err)
        memory_forget(c, address, size);
    return err;
}
