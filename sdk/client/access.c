/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * access - reads and writes of regions: one at a time, posted, pipelined, several in a message.
 * The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <string.h>

_Static_assert(sizeof(struct vfuc_multi) == sizeof(struct vfu_msg_write_one), "the wire's layout");

static uint32_t access_chunk(const struct vfuc *c, size_t size)
{
    uint64_t most = c->server.max_data_xfer_size < CHUNK ? c->server.max_data_xfer_size : CHUNK;

    return size < most ? (uint32_t)size : (uint32_t)most;
}

static int access_queue(struct vfuc *c, uint16_t command, uint32_t region, uint64_t offset, const void *data,
                        uint32_t size, struct slot **slot)
{
    struct vfu_msg_region_access fixed = { offset, region, size };
    int err = call_queue(c, command, &fixed, sizeof fixed, data, data ? size : 0, NULL, 0, slot);

    if (err || !slot)
        return err;
    (*slot)->region = region;
    (*slot)->offset = offset;
    (*slot)->size = size;
    (*slot)->due = (uint32_t)(HEADER + sizeof fixed) + (data ? 0 : size);
    return 0;
}

static int access_check(struct vfuc *c, size_t size)
{
    int err = conn_ready(c);

    if (err)
        return err;
    return size ? 0 : conn_error(c, -EINVAL, "an access of 0 bytes");
}

int vfuc_read(struct vfuc *c, uint32_t region, uint64_t offset, void *data, size_t size)
{
    int err = access_check(c, size);

    while (!err && size) {
        uint32_t n = access_chunk(c, size);
        struct slot *slot;

        err = access_queue(c, VFU_CMD_REGION_READ, region, offset, NULL, n, &slot);
        if (err)
            break;
        slot->data = data;
        err = call_wait(c, slot);
        data = (uint8_t *)data + n;
        offset += n;
        size -= n;
    }
    return err;
}

int vfuc_write(struct vfuc *c, uint32_t region, uint64_t offset, const void *data, size_t size)
{
    int err = access_check(c, size);

    while (!err && size) {
        uint32_t n = access_chunk(c, size);
        struct slot *slot;

        err = access_queue(c, VFU_CMD_REGION_WRITE, region, offset, data, n, &slot);
        if (err)
            break;
        err = call_wait(c, slot);
        data = (const uint8_t *)data + n;
        offset += n;
        size -= n;
    }
    return err;
}

static int access_width(struct vfuc *c, uint32_t size)
{
    if (size == 1 || size == 2 || size == 4 || size == 8)
        return 0;
    return conn_error(c, -EINVAL, "a register of %u bytes; 1, 2, 4 and 8 are possible", size);
}

int vfuc_get(struct vfuc *c, uint32_t region, uint64_t offset, uint32_t size, uint64_t *value)
{
    int err = access_width(c, size);

    *value = 0;
    return err ? err : vfuc_read(c, region, offset, value, size);
}

int vfuc_put(struct vfuc *c, uint32_t region, uint64_t offset, uint32_t size, uint64_t value)
{
    int err = access_width(c, size);

    return err ? err : vfuc_write(c, region, offset, &value, size);
}

static int access_fits(struct vfuc *c, size_t size)
{
    int err = access_check(c, size);

    if (err)
        return err;
    if (size > c->server.max_data_xfer_size || size > CHUNK)
        return conn_error(c, -EMSGSIZE, "%zu bytes in one message; the server takes %llu, this library %u", size,
                          (unsigned long long)c->server.max_data_xfer_size, CHUNK);
    return 0;
}

int vfuc_post(struct vfuc *c, uint32_t region, uint64_t offset, const void *data, size_t size)
{
    int err = access_fits(c, size);

    return err ? err : access_queue(c, VFU_CMD_REGION_WRITE, region, offset, data, (uint32_t)size, NULL);
}

int vfuc_write_multi(struct vfuc *c, const struct vfuc_multi *writes, uint32_t n, bool posted)
{
    struct vfu_msg_write_multi fixed = { n };
    struct slot *slot;
    const uint8_t *body;
    uint64_t done = 0;
    size_t size;
    int err = conn_ready(c);

    if (err)
        return err;
    if (!c->server.write_multiple)
        return conn_error(c, -ENOTSUP, "the server takes no REGION_WRITE_MULTI");
    if (n > (c->server.max_data_xfer_size < CHUNK ? c->server.max_data_xfer_size : CHUNK) / sizeof *writes)
        return conn_error(c, -EMSGSIZE, "%u writes are more than a message holds", n);
    err = call_queue(c, VFU_CMD_REGION_WRITE_MULTI, &fixed, sizeof fixed, writes, n * sizeof *writes, NULL, 0,
                     posted ? NULL : &slot);
    if (err || posted)
        return err;
    slot->keep = true;
    err = call_wait(c, slot);
    if (err)
        return err;
    body = call_body(c, &size);
    if (size == sizeof done)
        memcpy(&done, body, sizeof done);
    call_done(c);
    if (size != sizeof done)
        return conn_broken(c, -EPROTO, "REGION_WRITE_MULTI: a reply of %zu bytes, expected %zu", size, sizeof done);
    if (done > n)
        return conn_broken(c, -EPROTO, "REGION_WRITE_MULTI: the server says it did %llu of %u writes",
                           (unsigned long long)done, n);
    return (int)done;
}

static void access_mark(struct vfuc *c, struct slot *slot, int *status)
{
    slot->queued = true;
    slot->status = status;
    c->due += slot->due;
}

int vfuc_queue_read(struct vfuc *c, uint32_t region, uint64_t offset, void *data, uint32_t size, int *status)
{
    struct slot *slot;
    int err = access_fits(c, size);

    if (!err)
        err = call_make_room(c, HEADER + sizeof(struct vfu_msg_region_access) + size);
    if (!err)
        err = access_queue(c, VFU_CMD_REGION_READ, region, offset, NULL, size, &slot);
    if (err)
        return err;
    slot->data = data;
    access_mark(c, slot, status);
    return 0;
}

int vfuc_queue_write(struct vfuc *c, uint32_t region, uint64_t offset, const void *data, uint32_t size, int *status)
{
    struct slot *slot;
    int err = access_fits(c, size);

    if (!err)
        err = call_make_room(c, HEADER + sizeof(struct vfu_msg_region_access));
    if (!err)
        err = access_queue(c, VFU_CMD_REGION_WRITE, region, offset, data, size, &slot);
    if (err)
        return err;
    access_mark(c, slot, status);
    return 0;
}
