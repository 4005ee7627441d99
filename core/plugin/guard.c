/* SPDX-License-Identifier: BSD-3-Clause */
/* guard - between the device and its plugin's part in accesses: see guard.h. Runs on the device's thread. */
#include "core/plugin/guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/device/device.h"

#define MARGIN 64u
#define MARGIN_BYTE 0xc5

static int make_room(struct guard *guard, size_t size)
{
    uint8_t *buffer;

    if (size <= guard->room)
        return 0;
    buffer = malloc(size + 2 * MARGIN);
    if (!buffer)
        return -ENOMEM;
    free(guard->buffer);
    guard->buffer = buffer;
    guard->room = size;
    return 0;
}

static bool intact(const uint8_t *margin)
{
    for (uint32_t i = 0; i < MARGIN; i++) {
        if (margin[i] != MARGIN_BYTE)
            return false;
    }
    return true;
}

/* The handler works on a copy: what it writes beside that does not hit other messages. */
static int32_t long_access(struct device *dev, const struct vfu_access *access)
{
    struct guard *guard = &dev->guard;
    struct vfu_access copy = *access;
    int32_t result = make_room(guard, access->size);

    if (result)
        return result;
    copy.data = guard->buffer + MARGIN;
    memset(guard->buffer, MARGIN_BYTE, MARGIN);
    memset(copy.data + access->size, MARGIN_BYTE, MARGIN);
    memcpy(copy.data, access->data, access->size);
    result = host_result(dev->host, RESULT_ACCESS, dev->plugin->table.access(dev->self, &copy), 0);
    if (!intact(guard->buffer) || !intact(guard->buffer + MARGIN + access->size)) {
        host_blame(dev->host, (int)HOST_RESULTS + (int)RESULT_OVERRUN,
                   "its access callback wrote beside the %u bytes it was given (region %u, offset %#llx) (EIO)",
                   access->size, access->region, (unsigned long long)access->offset);
        return -EIO;
    }
    if (!result && !(access->flags & VFU_ACCESS_WRITE))
        memcpy(access->data, guard->buffer + MARGIN, access->size);
    return result;
}

int32_t guard_access(void *self, struct vfu_access *access)
{
    struct device *dev = self;

    if (access->data)
        return long_access(dev, access);
    return host_result(dev->host, RESULT_ACCESS, dev->plugin->table.access(dev->self, access), 0);
}

/* What is long is not guarded: the copy would be in the way of the access that the interceptor passes on. */
int32_t guard_intercept(void *self, struct vfu_access *access)
{
    struct device *dev = self;

    return host_result(dev->host, RESULT_INTERCEPT, dev->plugin->table.intercept(dev->self, access), 0);
}

static int32_t guard_read(void *self, struct vfu_reg_call *call)
{
    struct device *dev = self;

    return host_result(dev->host, RESULT_HOOK, dev->guard.hooks->read(dev->self, call), VFU_REPLACE);
}

static int32_t guard_write(void *self, struct vfu_reg_call *call)
{
    struct device *dev = self;

    return host_result(dev->host, RESULT_HOOK, dev->guard.hooks->write(dev->self, call), VFU_REPLACE);
}

static int32_t guard_locked(void *self, uint32_t hook, const struct vfu_reg_call *call)
{
    struct device *dev = self;

    return host_result(dev->host, RESULT_LOCK, dev->guard.hooks->locked(dev->self, hook, call), 1);
}

const struct vfu_regmap_ops *guard_hooks(struct device *dev, const struct vfu_regmap_ops *hooks)
{
    struct guard *guard = &dev->guard;

    if (!hooks)
        return NULL;
    guard->hooks = hooks;
    guard->ops.struct_size = sizeof guard->ops;
    guard->ops.read = VFU_HAS(hooks, read) ? guard_read : NULL;
    guard->ops.write = VFU_HAS(hooks, write) ? guard_write : NULL;
    guard->ops.locked = VFU_HAS(hooks, locked) ? guard_locked : NULL;
    return &guard->ops;
}

void guard_fini(struct guard *guard)
{
    free(guard->buffer);
    guard->buffer = NULL;
    guard->room = 0;
}
