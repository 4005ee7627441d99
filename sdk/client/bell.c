/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bell - doorbells: the event fds and shadow memory that the server hands out for registers of a region. Every index,
 * offset and descriptor in its answer is checked. The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ull(x) ((unsigned long long)(x))
#define ELEMENT sizeof(struct vfu_msg_sub_region)
#define ELEMENT_SHADOW sizeof(struct vfu_msg_sub_region_shadow)

_Static_assert(VFUC_DOORBELL_MATCH == VFU_IOEVENTFD_DATAMATCH && VFUC_DOORBELL_PIO == VFU_IOEVENTFD_PIO, "KVM's flags");

static void bell_forget(struct vfuc *c, uint32_t region)
{
    struct bells *bells = c->bells[region];

    if (!bells)
        return;
    for (uint32_t i = 0; i < bells->nmem; i++)
        munmap(bells->mem[i].at, bells->mem[i].size);
    for (uint32_t i = 0; i < bells->nfds; i++)
        close(bells->fds[i]);
    free(bells->list);
    free(bells);
    c->bells[region] = NULL;
}

void bell_close(struct vfuc *c)
{
    for (uint32_t i = 0; i < REGIONS; i++)
        bell_forget(c, i);
}

/* A write into anything else might wait for ever. */
static bool bell_is_eventfd(int fd)
{
    char path[32], target[32];
    ssize_t n;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof target - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    return strcmp(target, "anon_inode:[eventfd]") == 0;
}

/* The shadow memory behind the descriptor, mapped once. NULL: it is none. */
static uint8_t *bell_memory(struct bells *bells, int fd, size_t *size)
{
    struct stat st;
    void *at;

    for (uint32_t i = 0; i < bells->nmem; i++) {
        if (bells->mem[i].fd == fd) {
            *size = bells->mem[i].size;
            return bells->mem[i].at;
        }
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > 1 << 30)
        return NULL;
    at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return NULL;
    *size = (size_t)st.st_size;
    bells->mem[bells->nmem].at = at;
    bells->mem[bells->nmem].size = *size;
    bells->mem[bells->nmem++].fd = fd;
    return at;
}

static int bell_shadow(struct vfuc *c, struct bells *bells, struct bell *bell,
                       const struct vfu_msg_sub_region_shadow *e)
{
    size_t size = 0, width = bell->info.size ? bell->info.size : 8;
    uint8_t *mem;

    if (e->shadow_fd_index >= bells->nfds)
        return conn_error(c, -EPROTO, "doorbell at 0x%llx: shadow memory with descriptor %u of %u", ull(e->offset),
                          e->shadow_fd_index, bells->nfds);
    mem = bell_memory(bells, bells->fds[e->shadow_fd_index], &size);
    if (!mem || e->shadow_offset % width || size < width || e->shadow_offset > size - width)
        return conn_error(c, -EPROTO, "doorbell at 0x%llx: no shadow memory at 0x%llx of 0x%zx bytes", ull(e->offset),
                          ull(e->shadow_offset), size);
    bell->shadow = (uint64_t *)(void *)(mem + e->shadow_offset);
    bell->info.flags |= VFUC_DOORBELL_SHADOW;
    return 0;
}

static int bell_take(struct vfuc *c, struct bells *bells, const struct vfu_msg_sub_region_shadow *e)
{
    struct bell *bell = &bells->list[bells->n];

    /* Of other kinds (an ioregionfd) nothing can be made here: those registers are reached by messages. */
    if (e->type != VFU_IO_FD_TYPE_IOEVENTFD && e->type != VFU_IO_FD_TYPE_IOEVENTFD_SHADOW)
        return 0;
    if (e->size > 8 || (e->size & (e->size - 1)))
        return conn_error(c, -EPROTO, "doorbell at 0x%llx: it has %llu bytes", ull(e->offset), ull(e->size));
    if (e->fd_index >= bells->nfds || !bell_is_eventfd(bells->fds[e->fd_index]))
        return conn_error(c, -EPROTO, "doorbell at 0x%llx: descriptor %u of %u is no event fd", ull(e->offset),
                          e->fd_index, bells->nfds);
    bell->info = (struct vfuc_doorbell){ .offset = e->offset, .size = (uint32_t)e->size, .match = e->datamatch,
                                         .flags = e->flags & (VFUC_DOORBELL_MATCH | VFUC_DOORBELL_PIO) };
    bell->fd = bells->fds[e->fd_index];
    bells->n++;
    return e->type == VFU_IO_FD_TYPE_IOEVENTFD_SHADOW ? bell_shadow(c, bells, bell, e) : 0;
}

static int bell_parse(struct vfuc *c, struct bells *bells, const uint8_t *body, size_t size, uint32_t region)
{
    struct vfu_msg_region_io_fds head;
    size_t element;
    int err = 0;

    if (size < sizeof head)
        return conn_error(c, -EPROTO, "DEVICE_GET_REGION_IO_FDS: a reply of %zu bytes, at least %zu expected", size,
                          sizeof head);
    memcpy(&head, body, sizeof head);
    if (!head.count)
        return 0;
    if (head.count > BELLS_MAX)
        return conn_error(c, -EMSGSIZE, "%u doorbells; this library takes %u", head.count, BELLS_MAX);
    element = (size - sizeof head) / head.count;
    if (head.index != region || (element != ELEMENT && element != ELEMENT_SHADOW) ||
        size != sizeof head + head.count * element)
        return conn_error(c, -EPROTO, "DEVICE_GET_REGION_IO_FDS %u: %u doorbells of region %u in %zu bytes", region,
                          head.count, head.index, size);
    for (uint32_t i = 0; i < head.count && !err; i++) {
        struct vfu_msg_sub_region_shadow e = { 0 };
        struct vfu_msg_sub_region plain;

        memcpy(&e, body + sizeof head + i * element, element);
        if (element == ELEMENT) {
            memcpy(&plain, body + sizeof head + i * element, element);
            e.datamatch = plain.datamatch;
            if (e.type == VFU_IO_FD_TYPE_IOEVENTFD_SHADOW)
                e.type = UINT32_MAX; /* without its place, it is nothing */
        }
        err = bell_take(c, bells, &e);
    }
    return err;
}

static int bell_ask(struct vfuc *c, uint32_t region)
{
    struct vfu_msg_region_io_fds ask = { .index = region };
    struct bells *bells = calloc(1, sizeof *bells);
    struct slot *slot;
    const uint8_t *body;
    size_t size;
    int err;

    if (bells)
        bells->list = calloc(BELLS_MAX, sizeof *bells->list);
    c->bells[region] = bells;
    if (!bells || !bells->list)
        return conn_error(c, -ENOMEM, "out of memory");
    ask.argsz = (uint32_t)(sizeof ask + BELLS_MAX * ELEMENT_SHADOW);
    err = call_queue(c, VFU_CMD_DEVICE_GET_REGION_IO_FDS, &ask, sizeof ask, NULL, 0, NULL, 0, &slot);
    if (err)
        return err;
    slot->keep = true;
    err = call_wait(c, slot);
    if (err)
        return err;
    body = call_body(c, &size);
    bells->nfds = wire_take_fds(&c->main, c->kept, bells->fds, WIRE_FDS);
    err = bell_parse(c, bells, body, size, region);
    call_done(c);
    return err;
}

int vfuc_doorbells(struct vfuc *c, uint32_t region, struct vfuc_doorbell *list, uint32_t max)
{
    int err = conn_ready(c);

    if (err)
        return err;
    if (region >= REGIONS)
        return conn_error(c, -EINVAL, "no region %u: 0 to %u are possible", region, REGIONS - 1);
    bell_forget(c, region);
    err = bell_ask(c, region);
    if (err) {
        bell_forget(c, region);
        return err;
    }
    for (uint32_t i = 0; list && i < c->bells[region]->n && i < max; i++)
        list[i] = c->bells[region]->list[i].info;
    return (int)c->bells[region]->n;
}

static const struct bell *bell_find(const struct vfuc *c, uint32_t region, uint32_t number)
{
    const struct bells *bells = region < REGIONS ? c->bells[region] : NULL;

    return bells && number < bells->n ? &bells->list[number] : NULL;
}

int vfuc_doorbell_fd(const struct vfuc *c, uint32_t region, uint32_t number)
{
    const struct bell *bell = bell_find(c, region, number);

    return bell ? bell->fd : -1;
}

/* As wide as the register: the next value may stand right behind it. */
static void bell_store(const struct bell *bell, uint64_t value)
{
    void *to = bell->shadow;

    switch (bell->info.size) {
    case 1:
        __atomic_store_n((uint8_t *)to, (uint8_t)value, __ATOMIC_RELEASE);
        break;
    case 2:
        __atomic_store_n((uint16_t *)to, (uint16_t)value, __ATOMIC_RELEASE);
        break;
    case 4:
        __atomic_store_n((uint32_t *)to, (uint32_t)value, __ATOMIC_RELEASE);
        break;
    default:
        __atomic_store_n((uint64_t *)to, value, __ATOMIC_RELEASE);
    }
}

int vfuc_ring(struct vfuc *c, uint32_t region, uint32_t number, uint64_t value)
{
    const struct bell *bell = bell_find(c, region, number);
    struct pollfd p = { -1, POLLOUT, 0 };
    uint64_t one = 1;

    if (!bell)
        return conn_error(c, -ENOENT, "no doorbell %u of region %u is known", number, region);
    if (bell->shadow)
        bell_store(bell, value);
    /* A counter that is full has not been seen to yet, and will be. */
    p.fd = bell->fd;
    if (poll(&p, 1, 0) <= 0)
        return 0;
    if (write(bell->fd, &one, sizeof one) < 0 && errno != EAGAIN)
        return conn_error(c, -errno, "cannot ring doorbell %u of region %u: %s", number, region, strerror(errno));
    return 0;
}
