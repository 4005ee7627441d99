/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * intr - interrupts: an eventfd for each vector that is armed. The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

_Static_assert(VFUC_IRQ_EVENTFD == VFIO_IRQ_INFO_EVENTFD && VFUC_IRQ_NORESIZE == VFIO_IRQ_INFO_NORESIZE,
               "VFIO's flags");

static void intr_forget(struct intr *intr)
{
    for (uint32_t i = 0; i < intr->count; i++)
        close(intr->fds[i]);
    free(intr->fds);
    memset(intr, 0, sizeof *intr);
}

void intr_close(struct vfuc *c)
{
    for (uint32_t i = 0; i < INTR_INDEXES; i++)
        intr_forget(&c->intr[i]);
}

int vfuc_set_irqs(struct vfuc *c, uint32_t flags, uint32_t index, uint32_t start, uint32_t count, const void *data,
                  uint32_t size, const int *fds, uint32_t nfds)
{
    struct vfio_irq_set set = { (uint32_t)sizeof set, flags, index, start, count };
    struct slot *slot;
    int err = conn_ready(c);

    if (err)
        return err;
    set.argsz = (uint32_t)sizeof set + size;
    err = call_queue(c, VFU_CMD_DEVICE_SET_IRQS, &set, sizeof set, data, size, fds, nfds, &slot);
    if (err)
        return err;
    slot->keep = true;
    err = call_wait(c, slot);
    if (!err)
        call_done(c);
    return err;
}

static int intr_index(struct vfuc *c, uint32_t index)
{
    return index < INTR_INDEXES ? 0 : conn_error(c, -EINVAL, "no interrupt index %u: 0 to 4 are possible", index);
}

/* Some servers take few fds with a message: arms in runs of what this one takes. */
static int intr_send(struct vfuc *c, uint32_t index, const struct intr *intr)
{
    uint32_t most = c->server.max_msg_fds ? c->server.max_msg_fds : 1;

    if (most > WIRE_FDS)
        most = WIRE_FDS;
    for (uint32_t start = 0; start < intr->count; start += most) {
        uint32_t n = intr->count - start < most ? intr->count - start : most;
        int err = vfuc_set_irqs(c, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, index, start, n, NULL, 0,
                                intr->fds + start, n);

        if (err)
            return err;
    }
    return 0;
}

int vfuc_irq_arm(struct vfuc *c, uint32_t index, uint32_t count)
{
    struct intr intr = { 0, NULL };
    int err = intr_index(c, index);

    if (err)
        return err;
    if (!count || count > INTR_MAX)
        return conn_error(c, -EINVAL, "%u vectors to arm: 1 to %u are possible", count, INTR_MAX);
    intr.fds = calloc(count, sizeof *intr.fds);
    if (!intr.fds)
        return conn_error(c, -ENOMEM, "out of memory");
    for (; intr.count < count; intr.count++) {
        intr.fds[intr.count] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (intr.fds[intr.count] < 0) {
            err = conn_error(c, -errno, "no eventfd for vector %u: %s", intr.count, strerror(errno));
            goto fail;
        }
    }
    err = intr_send(c, index, &intr);
    if (err)
        goto fail;
    intr_forget(&c->intr[index]);
    c->intr[index] = intr;
    return 0;
fail:
    intr_forget(&intr);
    return err;
}

int vfuc_irq_disarm(struct vfuc *c, uint32_t index)
{
    int err = intr_index(c, index);

    if (!err)
        err = vfuc_set_irqs(c, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 0, NULL, 0, NULL, 0);
    if (!err)
        intr_forget(&c->intr[index]);
    return err;
}

int vfuc_irq_fd(const struct vfuc *c, uint32_t index, uint32_t vector)
{
    if (index >= INTR_INDEXES || vector >= c->intr[index].count)
        return -1;
    return c->intr[index].fds[vector];
}

/* How often it was signalled since the last time. */
static int intr_count(int fd)
{
    uint64_t count;

    if (read(fd, &count, sizeof count) != (ssize_t)sizeof count)
        return 0;
    return count > INT32_MAX ? INT32_MAX : (int)count;
}

int vfuc_irq_wait(struct vfuc *c, uint32_t index, uint32_t vector, uint64_t timeout_ns)
{
    uint64_t now = conn_now(), deadline = timeout_ns > UINT64_MAX - now ? VFUC_FOREVER : now + timeout_ns;
    int fd = vfuc_irq_fd(c, index, vector), err = conn_ready(c);

    if (err)
        return err;
    if (fd < 0)
        return conn_error(c, -ENOENT, "vector %u of interrupt index %u is not armed", vector, index);
    err = call_flush(c);
    while (err >= 0) {
        err = intr_count(fd);
        if (err)
            return err;
        err = call_dispatch(c, conn_deadline(c));
        if (err < 0)
            break;
        err = call_receive(c, deadline, fd);
        /* Others' requests without end do not move the end of the time. */
        if (err == -ETIMEDOUT || (!err && timeout_ns && conn_late(deadline)))
            return intr_count(fd);
    }
    return err;
}

static int intr_action(struct vfuc *c, uint32_t action, uint32_t index, uint32_t start, uint32_t count)
{
    return vfuc_set_irqs(c, VFIO_IRQ_SET_DATA_NONE | action, index, start, count, NULL, 0, NULL, 0);
}

int vfuc_irq_mask(struct vfuc *c, uint32_t index, uint32_t start, uint32_t count)
{
    return intr_action(c, VFIO_IRQ_SET_ACTION_MASK, index, start, count);
}

int vfuc_irq_unmask(struct vfuc *c, uint32_t index, uint32_t start, uint32_t count)
{
    return intr_action(c, VFIO_IRQ_SET_ACTION_UNMASK, index, start, count);
}

int vfuc_irq_trigger(struct vfuc *c, uint32_t index, uint32_t start, uint32_t count)
{
    return intr_action(c, VFIO_IRQ_SET_ACTION_TRIGGER, index, start, count);
}
