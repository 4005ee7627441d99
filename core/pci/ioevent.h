/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioevent - a device's doorbells: writes that reach it as event fds (VFIO_USER_DEVICE_GET_REGION_IO_FDS), or as
 * messages, with the same effect. Runs on the device's thread.
 *
 * The event fds and the shadow memory are made when a client asks for them and end with it, so that no former client
 * holds one that still rings. What is the client's, too, is not trusted: the fds are read without ever waiting, whatever
 * flags the client has set on them, and a client that rings without pause costs one callback in each round of the loop.
 */
#ifndef CORE_IOEVENT_H
#define CORE_IOEVENT_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/base/loop.h"
#include "core/wire/transport.h"

struct ioevent_fd;

struct ioevent {
    const char *who;
    struct loop *loop;
    void (*ring)(void *self, uint32_t index, uint64_t value);
    void *self;
    /* Told of a ring that came through an fd, before `ring`; NULL: nobody watches. */
    void (*rung)(void *ctx, const struct vfu_doorbell *bell, uint64_t value);
    void *rung_ctx;
    struct vfu_doorbell *bells; /* as the plugin numbers them */
    uint16_t *order;            /* their numbers, by BAR and offset */
    uint16_t *group;            /* of each, its place in fds */
    uint32_t nbells;
    uint32_t bars, io_bars;     /* a bit for each BAR that has any; that is of the I/O kind */
    uint64_t first[8], last[8]; /* of each such BAR: where they lie */
    struct ioevent_fd *fds;     /* one for each bell, or for those that share */
    uint32_t nfds;
    int shadow;                 /* memfd of nbells values, or -1 */
    uint64_t *values;           /* its mapping, or NULL */
    bool denied;                /* no event fds: messages alone */
    bool frozen;
};

/* A reply to GET_REGION_IO_FDS: which doorbells, with which descriptors. */
struct ioevent_offer {
    uint32_t n;          /* sub-regions */
    uint32_t entry_size; /* bytes of each: 40, or 48 in a list with shadow memory */
    uint32_t nfds;
    bool pio;
    int16_t group[TRANSPORT_FDS]; /* of each descriptor; -1: the shadow memory */
    struct {
        uint16_t bell;
        uint8_t fd, shadow_fd;
    } bells[VFU_DOORBELLS_MAX];
};

/* Checks desc's doorbells against its BARs (`bars`, completed) and copies them. 0, -EINVAL, -ENOMEM (logged). */
int ioevent_init(struct ioevent *io, const char *who, struct loop *loop, const struct vfu_desc *desc,
                 const struct vfu_bar *bars, uint32_t nbars);
void ioevent_fini(struct ioevent *io);

/* What a client that takes max_fds descriptors with a message gets: in the plugin's order, each doorbell for whose
 * descriptors there is room. The others it reaches by message. Opens nothing. */
void ioevent_plan(const struct ioevent *io, uint32_t bar, uint32_t max_fds, struct ioevent_offer *offer);
/* Opens what the offer names (fds stay the device's own) and writes its n * entry_size bytes. 0 or -errno. */
int ioevent_give(struct ioevent *io, const struct ioevent_offer *offer, uint8_t *bytes, int fds[TRANSPORT_FDS]);

/* 1: the client has the event fd of this doorbell. 0: it has not. -ENOENT: no such doorbell. */
int ioevent_given(const struct ioevent *io, uint32_t index);

/* False: a write at the offset rings nothing. `bar` may be any region. */
static inline bool ioevent_near(const struct ioevent *io, uint32_t bar, uint64_t offset)
{
    return (io->bars >> bar & 1) && offset >= io->first[bar & 7] && offset <= io->last[bar & 7];
}

void ioevent_message(struct ioevent *io, uint32_t bar, uint64_t offset, uint32_t size, const uint8_t *bytes);
/* Software has written `size` bytes of a BAR by message. */
static inline void ioevent_wrote(struct ioevent *io, uint32_t bar, uint64_t offset, uint32_t size, const uint8_t *bytes)
{
    if (ioevent_near(io, bar, offset) && size <= 8)
        ioevent_message(io, bar, offset, size, bytes);
}

/* Rings what the client has rung by event fd so far, and the loop has not seen yet. */
void ioevent_run(struct ioevent *io);
/* Stopped for migration: rings by event fd wait. */
void ioevent_freeze(struct ioevent *io, bool frozen);
/* A reset: what rang before it is forgotten. */
void ioevent_drain(struct ioevent *io);
/* The client is gone: its event fds ring no more. */
void ioevent_detach(struct ioevent *io);

#endif
