/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioevent - doorbells. Runs on the device's thread (ioevent_init on main's).
 *
 * A write counts as KVM counts it (its API documentation, 4.59 KVM_IOEVENTFD): exact address, exact width or any, exact
 * value or any. Then a model behaves the same with clients that take event fds and with those that send messages.
 */
#define _GNU_SOURCE
#include "core/pci/ioevent.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <vfu/protocol.h>

#include "core/base/log.h"

#define SHADOW_GROUP (-1)
#define NO_FD UINT8_MAX

struct ioevent_fd {
    struct loop_watch watch; /* first; fd is -1 while it is not open */
    struct ioevent *io;
    uint32_t first; /* the doorbell that answers for it */
    bool shared;
};

static uint64_t width_mask(uint32_t size)
{
    return size == 0 || size >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
}

/* ---- what the plugin says ------------------------------------------------------------------------------------- */

static const struct vfu_bar *find_bar(const struct vfu_bar *bars, uint32_t nbars, uint32_t index)
{
    for (uint32_t i = 0; i < nbars; i++) {
        if (bars[i].index == index)
            return &bars[i];
    }
    return NULL;
}

/* The client writes there without anybody seeing it. */
static bool client_maps(const struct vfu_bar *bar, uint64_t offset, uint64_t size)
{
    uint32_t step = bar->area_size ? bar->area_size : (uint32_t)sizeof(struct vfu_area);

    if (!(bar->flags & VFU_BAR_MMAP) || !bar->nareas)
        return bar->flags & VFU_BAR_MMAP;
    for (uint32_t i = 0; i < bar->nareas; i++) {
        struct vfu_area area;

        memcpy(&area, (const char *)bar->areas + (size_t)i * step, sizeof area);
        if (offset < area.offset + area.size && area.offset < offset + size)
            return true;
    }
    return false;
}

static const char *wrong(const struct vfu_doorbell *bell, const struct vfu_bar *bar)
{
    uint32_t size = bell->size, sizes = bar && bar->access_sizes ? bar->access_sizes : 15;

    if (!bar)
        return "there is no such BAR";
    if (size > 8 || (size & (size - 1)))
        return "its size is none of 0, 1, 2, 4 and 8";
    if (bell->offset >= bar->size || size > bar->size - bell->offset)
        return "it is not inside its BAR";
    if (size && (bell->offset % size || !(sizes & size)))
        return "the BAR takes no write of its size at its offset";
    if (bell->flags & ~(VFU_DOORBELL_MATCH | VFU_DOORBELL_SHADOW))
        return "it has unknown flags";
    if ((bell->flags & VFU_DOORBELL_MATCH) && (!size || (bell->match & ~width_mask(size))))
        return "a match needs a size that it fits in";
    if ((bell->flags & VFU_DOORBELL_SHADOW) && (bell->share || (bell->flags & VFU_DOORBELL_MATCH)))
        return "a shadow value goes neither with a match nor with sharing";
    if (client_maps(bar, bell->offset, size ? size : 1))
        return "it lies in what the client maps";
    return NULL;
}

/* One write must not ring both. */
static bool collide(const struct vfu_doorbell *a, const struct vfu_doorbell *b)
{
    if (a->bar != b->bar || a->offset != b->offset || (a->size && b->size && a->size != b->size))
        return false;
    return !(a->flags & b->flags & VFU_DOORBELL_MATCH) || a->match == b->match;
}

static int check(struct ioevent *io, uint32_t index, const struct vfu_bar *bars, uint32_t nbars)
{
    const struct vfu_doorbell *bell = &io->bells[index];
    const struct vfu_bar *bar = find_bar(bars, nbars, bell->bar);
    const char *why = wrong(bell, bar);

    for (uint32_t i = 0; i < index && !why; i++) {
        if (collide(bell, &io->bells[i]))
            why = "one write would ring it and another";
    }
    if (why) {
        log_error(io->who, "doorbell %u (BAR %u, offset 0x%llx, size %u, flags 0x%x): %s", index, bell->bar,
                  (unsigned long long)bell->offset, bell->size, bell->flags, why);
        return -EINVAL;
    }
    if (!(io->bars >> bell->bar & 1) || bell->offset < io->first[bell->bar])
        io->first[bell->bar] = bell->offset;
    if (bell->offset > io->last[bell->bar])
        io->last[bell->bar] = bell->offset;
    io->bars |= 1u << bell->bar;
    if (bar->type == VFU_BAR_IO)
        io->io_bars |= 1u << bell->bar;
    return 0;
}

/* Doorbells of different BARs are asked for apart, so each BAR has its own numbers for those that share. */
static void group_bells(struct ioevent *io)
{
    for (uint32_t i = 0; i < io->nbells; i++) {
        const struct vfu_doorbell *bell = &io->bells[i];
        uint32_t j = bell->share ? 0 : i;

        while (j < i && !(io->bells[j].bar == bell->bar && io->bells[j].share == bell->share))
            j++;
        if (j < i) {
            io->group[i] = io->group[j];
            io->fds[io->group[i]].shared = true;
            continue;
        }
        io->fds[io->nfds] = (struct ioevent_fd){ .watch = { .fd = -1 }, .io = io, .first = i };
        io->group[i] = (uint16_t)io->nfds++;
    }
}

static bool before(const struct vfu_doorbell *a, const struct vfu_doorbell *b)
{
    return a->bar != b->bar ? a->bar < b->bar : a->offset < b->offset;
}

static void sort_bells(struct ioevent *io)
{
    for (uint32_t i = 0; i < io->nbells; i++) {
        uint32_t j = i;

        for (; j > 0 && before(&io->bells[i], &io->bells[io->order[j - 1]]); j--)
            io->order[j] = io->order[j - 1];
        io->order[j] = (uint16_t)i;
    }
}

int ioevent_init(struct ioevent *io, const char *who, struct loop *loop, const struct vfu_desc *desc,
                 const struct vfu_bar *bars, uint32_t nbars)
{
    size_t step = desc->doorbell_size ? desc->doorbell_size : sizeof *io->bells;
    size_t known = step < sizeof *io->bells ? step : sizeof *io->bells;
    int error = 0;

    *io = (struct ioevent){ .who = who, .loop = loop, .shadow = -1 };
    if (!desc->ndoorbells)
        return 0;
    if (desc->ndoorbells > VFU_DOORBELLS_MAX || !desc->doorbells) {
        log_error(who, "%u doorbells, or a list that is missing; there can be %u", desc->ndoorbells, VFU_DOORBELLS_MAX);
        return -EINVAL;
    }
    io->bells = calloc(desc->ndoorbells, sizeof *io->bells);
    io->order = calloc(desc->ndoorbells, sizeof *io->order);
    io->group = calloc(desc->ndoorbells, sizeof *io->group);
    io->fds = calloc(desc->ndoorbells, sizeof *io->fds);
    if (!io->bells || !io->order || !io->group || !io->fds) {
        log_error(who, "no memory for %u doorbells", desc->ndoorbells);
        error = -ENOMEM;
    }
    for (uint32_t i = 0; i < desc->ndoorbells && !error; i++) {
        memcpy(&io->bells[i], (const char *)desc->doorbells + i * step, known);
        error = check(io, i, bars, nbars);
    }
    if (error) {
        ioevent_fini(io);
        return error;
    }
    io->nbells = desc->ndoorbells;
    group_bells(io);
    sort_bells(io);
    return 0;
}

void ioevent_fini(struct ioevent *io)
{
    if (!io->bells)
        return; /* zeroed, or a device without doorbells */
    ioevent_detach(io);
    free(io->bells);
    free(io->order);
    free(io->group);
    free(io->fds);
    *io = (struct ioevent){ .shadow = -1 };
}

/* ---- ringing -------------------------------------------------------------------------------------------------- */

void ioevent_message(struct ioevent *io, uint32_t bar, uint64_t offset, uint32_t size, const uint8_t *bytes)
{
    const struct vfu_doorbell key = { .bar = bar, .offset = offset };
    uint32_t low = 0, high = io->nbells;
    uint64_t value = 0;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (before(&io->bells[io->order[middle]], &key))
            low = middle + 1;
        else
            high = middle;
    }
    memcpy(&value, bytes, size);
    value = le64toh(value);
    for (; low < io->nbells && !before(&key, &io->bells[io->order[low]]); low++) {
        const struct vfu_doorbell *bell = &io->bells[io->order[low]];

        if ((bell->size && bell->size != size) || ((bell->flags & VFU_DOORBELL_MATCH) && bell->match != value))
            continue;
        io->ring(io->self, io->fds[io->group[io->order[low]]].first, value);
        return; /* no other is rung by the same write */
    }
}

/* Takes the count of an event fd. A client can make its end, which is ours too, wait in a read: so no plain read.
 * False: nothing was there. Where the kernel cannot read so (ENOTSUP), the edge itself is the news. */
static bool take(int fd)
{
    uint64_t count;
    struct iovec iov = { &count, sizeof count };

    return preadv2(fd, &iov, 1, -1, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

static uint64_t shadow_value(const struct ioevent *io, uint32_t index)
{
    return le64toh(__atomic_load_n(&io->values[index], __ATOMIC_ACQUIRE)) & width_mask(io->bells[index].size);
}

static void ready(struct loop_watch *watch, uint32_t events)
{
    struct ioevent_fd *f = (struct ioevent_fd *)watch;
    const struct vfu_doorbell *bell = &f->io->bells[f->first];
    uint64_t value = 0;

    (void)events;
    if (f->io->frozen || !take(watch->fd))
        return;
    if (bell->flags & VFU_DOORBELL_SHADOW)
        value = shadow_value(f->io, f->first);
    else if ((bell->flags & VFU_DOORBELL_MATCH) && !f->shared)
        value = bell->match;
    if (f->io->rung)
        f->io->rung(f->io->rung_ctx, bell, value);
    f->io->ring(f->io->self, f->first, value);
}

/* ---- giving event fds away ------------------------------------------------------------------------------------ */

/* The descriptor's place in the offer, or NO_FD. */
static uint8_t place_of(const struct ioevent_offer *offer, int group)
{
    for (uint32_t i = 0; i < offer->nfds; i++) {
        if (offer->group[i] == group)
            return (uint8_t)i;
    }
    return NO_FD;
}

void ioevent_plan(const struct ioevent *io, uint32_t bar, uint32_t max_fds, struct ioevent_offer *offer)
{
    bool shadows = false;

    offer->n = offer->nfds = 0;
    offer->pio = bar < 32 && (io->io_bars >> bar & 1);
    if (max_fds > TRANSPORT_FDS)
        max_fds = TRANSPORT_FDS;
    for (uint32_t i = 0; i < io->nbells && !io->denied; i++) {
        bool shadow = io->bells[i].flags & VFU_DOORBELL_SHADOW;
        uint8_t fd = place_of(offer, io->group[i]), memory = place_of(offer, SHADOW_GROUP);

        if (io->bells[i].bar != bar ||
            offer->nfds + (fd == NO_FD) + (shadow && memory == NO_FD) > max_fds)
            continue;
        if (fd == NO_FD)
            offer->group[fd = (uint8_t)offer->nfds++] = (int16_t)io->group[i];
        if (shadow && memory == NO_FD)
            offer->group[memory = (uint8_t)offer->nfds++] = SHADOW_GROUP;
        offer->bells[offer->n].bell = (uint16_t)i;
        offer->bells[offer->n].fd = fd;
        offer->bells[offer->n++].shadow_fd = shadow ? memory : 0;
        shadows |= shadow;
    }
    offer->entry_size = shadows ? sizeof(struct vfu_msg_sub_region_shadow) : sizeof(struct vfu_msg_sub_region);
}

static int open_fd(struct ioevent *io, struct ioevent_fd *f)
{
    int error;

    if (f->watch.fd >= 0)
        return 0;
    f->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (f->watch.fd < 0)
        return -errno;
    f->watch.fn = ready;
    f->watch.events = io->frozen ? 0u : EPOLLIN | EPOLLET;
    error = loop_add(io->loop, &f->watch);
    if (error) {
        close(f->watch.fd);
        f->watch.fd = -1;
    }
    return error;
}

/* Sealed, so that a client cannot take it away under us. */
static int open_shadow(struct ioevent *io)
{
    size_t size = io->nbells * sizeof *io->values;
    void *values = MAP_FAILED;
    int error;

    if (io->values)
        return 0;
    io->shadow = memfd_create("vfu-doorbells", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (io->shadow < 0)
        return -errno;
    /* Whole pages: that is what the client will map. */
    size = (size + 4095) & ~(size_t)4095;
    if (ftruncate(io->shadow, (off_t)size) == 0 &&
        fcntl(io->shadow, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        values = mmap(NULL, size, PROT_READ, MAP_SHARED, io->shadow, 0);
    if (values == MAP_FAILED) {
        error = -errno;
        close(io->shadow);
        io->shadow = -1;
        return error;
    }
    io->values = values;
    return 0;
}

static void close_shadow(struct ioevent *io)
{
    if (!io->values)
        return;
    munmap(io->values, (io->nbells * sizeof *io->values + 4095) & ~(size_t)4095);
    close(io->shadow);
    io->values = NULL;
    io->shadow = -1;
}

/* The first 32 bytes and the match are the same in both forms, but for where the match stands: an event fd without
 * shadow in the longer form has it in both places, so that readers of either find it. */
static void put(const struct ioevent *io, const struct ioevent_offer *offer, uint32_t i, uint8_t *bytes)
{
    uint32_t index = offer->bells[i].bell;
    const struct vfu_doorbell *bell = &io->bells[index];
    uint32_t match = bell->flags & VFU_DOORBELL_MATCH ? VFU_IOEVENTFD_DATAMATCH : 0;
    bool shadow = bell->flags & VFU_DOORBELL_SHADOW;
    struct vfu_msg_sub_region_shadow entry = {
        .offset = bell->offset,
        .size = bell->size,
        .fd_index = offer->bells[i].fd,
        .type = shadow ? VFU_IO_FD_TYPE_IOEVENTFD_SHADOW : VFU_IO_FD_TYPE_IOEVENTFD,
        .flags = match | (offer->pio ? VFU_IOEVENTFD_PIO : 0),
        .shadow_fd_index = offer->bells[i].shadow_fd,
        .shadow_offset = shadow ? index * sizeof *io->values : bell->match,
        .datamatch = bell->match,
    };

    _Static_assert(offsetof(struct vfu_msg_sub_region_shadow, shadow_offset) ==
                   offsetof(struct vfu_msg_sub_region, datamatch), "the short form does not begin the long one");
    memcpy(bytes, &entry, offer->entry_size);
}

int ioevent_give(struct ioevent *io, const struct ioevent_offer *offer, uint8_t *bytes, int fds[TRANSPORT_FDS])
{
    for (uint32_t i = 0; i < offer->nfds; i++) {
        struct ioevent_fd *f = offer->group[i] == SHADOW_GROUP ? NULL : &io->fds[offer->group[i]];
        int error = f ? open_fd(io, f) : open_shadow(io);

        if (error)
            return error; /* what is open is the next request's, or goes with the client */
        fds[i] = f ? f->watch.fd : io->shadow;
    }
    for (uint32_t i = 0; i < offer->n; i++)
        put(io, offer, i, bytes + (size_t)i * offer->entry_size);
    return 0;
}

int ioevent_given(const struct ioevent *io, uint32_t index)
{
    if (index >= io->nbells)
        return -ENOENT;
    return io->fds[io->group[index]].watch.fd >= 0;
}

/* ---- stop, reset, detach -------------------------------------------------------------------------------------- */

void ioevent_run(struct ioevent *io)
{
    for (uint32_t i = 0; i < io->nfds; i++) {
        struct pollfd rung = { .fd = io->fds[i].watch.fd, .events = POLLIN };

        /* A watch of fd -1 is passed over by poll. */
        if (poll(&rung, 1, 0) > 0 && (rung.revents & POLLIN))
            ready(&io->fds[i].watch, EPOLLIN);
    }
}

void ioevent_freeze(struct ioevent *io, bool frozen)
{
    io->frozen = frozen;
    for (uint32_t i = 0; i < io->nfds; i++) {
        if (io->fds[i].watch.fd >= 0)
            loop_change(io->loop, &io->fds[i].watch, frozen ? 0u : EPOLLIN | EPOLLET);
    }
}

void ioevent_drain(struct ioevent *io)
{
    for (uint32_t i = 0; i < io->nfds; i++) {
        if (io->fds[i].watch.fd >= 0)
            take(io->fds[i].watch.fd);
    }
}

void ioevent_detach(struct ioevent *io)
{
    for (uint32_t i = 0; i < io->nfds; i++) {
        struct loop_watch *watch = &io->fds[i].watch;

        if (watch->fd < 0)
            continue;
        loop_remove(io->loop, watch);
        close(watch->fd);
        watch->fd = -1;
    }
    close_shadow(io);
}
