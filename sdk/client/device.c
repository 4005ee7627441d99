/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device - what the device says of itself: regions, interrupts; its reset. The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <unistd.h>

#define REGION_REPLY 65536u /* room for a region's capabilities; 4095 areas */

_Static_assert(VFUC_REGION_CAPS == VFIO_REGION_INFO_FLAG_CAPS, "VFIO's flags");

/* The 16 bytes that the protocol knows of struct vfio_device_info. */
struct device_info {
    uint32_t argsz, flags, num_regions, num_irqs;
};

int vfuc_device_info(struct vfuc *c, struct vfuc_device *device)
{
    struct device_info info = { .argsz = sizeof info };
    int r = call_simple(c, VFU_CMD_DEVICE_GET_INFO, &info, sizeof info, NULL, 0, &info, sizeof info);

    if (r < 0)
        return r;
    if (r < (int)sizeof info)
        return conn_broken(c, -EPROTO, "DEVICE_GET_INFO: a reply of %d bytes, expected %zu", r, sizeof info);
    *device = (struct vfuc_device){ info.flags, info.num_regions, info.num_irqs };
    return 0;
}

int vfuc_irq_info(struct vfuc *c, uint32_t index, struct vfuc_irq *irq)
{
    struct vfio_irq_info info = { .argsz = 16, .index = index };
    int r = call_simple(c, VFU_CMD_DEVICE_GET_IRQ_INFO, &info, 16, NULL, 0, &info, 16);

    if (r < 0)
        return r;
    if (r < 16 || info.index != index)
        return conn_broken(c, -EPROTO, "DEVICE_GET_IRQ_INFO %u: %d bytes about index %u", index, r, info.index);
    *irq = (struct vfuc_irq){ index, info.flags, info.count };
    return 0;
}

int vfuc_reset(struct vfuc *c)
{
    int r = call_simple(c, VFU_CMD_DEVICE_RESET, NULL, 0, NULL, 0, NULL, 0);

    return r < 0 ? r : 0;
}

/* The sparse areas among the capabilities. A chain that loops or points outside is the server's mistake. */
static int device_areas(struct vfuc *c, const uint8_t *body, size_t size, uint32_t next, struct vfuc_region *region,
                        struct vfuc_area *areas, uint32_t max_areas)
{
    uint32_t at = 0;

    while (next) {
        struct vfio_info_cap_header cap;
        struct vfio_region_info_cap_sparse_mmap sparse;

        if (next <= at || next > size || size - next < sizeof cap)
            return conn_broken(c, -EPROTO, "DEVICE_GET_REGION_INFO %u: a capability at byte %u of %zu", region->index,
                               next, size);
        at = next;
        memcpy(&cap, body + at, sizeof cap);
        next = cap.next;
        if (cap.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP)
            continue;
        if (size - at < sizeof sparse)
            return conn_broken(c, -EPROTO, "DEVICE_GET_REGION_INFO %u: cut short", region->index);
        memcpy(&sparse, body + at, sizeof sparse);
        if (sparse.nr_areas > (size - at - sizeof sparse) / sizeof *areas)
            return conn_broken(c, -EPROTO, "DEVICE_GET_REGION_INFO %u: %u areas in %zu bytes", region->index,
                               sparse.nr_areas, size);
        region->nareas = sparse.nr_areas;
        if (areas)
            memcpy(areas, body + at + sizeof sparse,
                   (sparse.nr_areas < max_areas ? sparse.nr_areas : max_areas) * sizeof *areas);
    }
    return 0;
}

static int device_region(struct vfuc *c, const uint8_t *body, size_t size, struct vfuc_region *region,
                         struct vfuc_area *areas, uint32_t max_areas)
{
    struct vfio_region_info info;

    if (size < sizeof info)
        return conn_broken(c, -EPROTO, "DEVICE_GET_REGION_INFO %u: a reply of %zu bytes, at least %zu expected",
                           region->index, size, sizeof info);
    memcpy(&info, body, sizeof info);
    if (info.index != region->index)
        return conn_broken(c, -EPROTO, "DEVICE_GET_REGION_INFO %u: a reply about region %u", region->index, info.index);
    region->flags = info.flags;
    region->size = info.size;
    region->offset = info.offset;
    if (!(info.flags & VFIO_REGION_INFO_FLAG_CAPS))
        return 0;
    return device_areas(c, body, size, info.cap_offset, region, areas, max_areas);
}

int vfuc_region_info(struct vfuc *c, uint32_t index, struct vfuc_region *region, struct vfuc_area *areas,
                     uint32_t max_areas)
{
    struct vfio_region_info info = { .argsz = REGION_REPLY, .index = index };
    const uint8_t *body;
    struct slot *slot;
    size_t size;
    int fd = -1, err = conn_ready(c);

    if (!err)
        err = call_queue(c, VFU_CMD_DEVICE_GET_REGION_INFO, &info, sizeof info, NULL, 0, NULL, 0, &slot);
    if (err)
        return err;
    slot->keep = true;
    err = call_wait(c, slot);
    if (err)
        return err;
    *region = (struct vfuc_region){ .index = index, .fd = -1 };
    body = call_body(c, &size);
    if (wire_take_fds(&c->main, c->kept, &fd, 1))
        region->fd = fd;
    err = device_region(c, body, size, region, areas, max_areas);
    call_done(c);
    if ((err || !(region->flags & VFUC_REGION_MMAP)) && fd >= 0) {
        close(fd);
        region->fd = -1;
    }
    return err;
}
