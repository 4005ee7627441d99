/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hold - breaks: software's access to a register holds the device, before it takes effect, until somebody lets it go on.
 *
 * The device's thread then stands inside of the access and does what is asked of it (core/inspect/ask.c), nothing else: no
 * other message, timer, or deferred work. It goes on when it is told to, when the break's time is over, when the client
 * goes away, and when the process ends. Accesses that do not come as messages meet no break: mapped memory, doorbells
 * rung by event fd, DMA. The device's thread, but for hold_leave.
 */
#ifndef CORE_HOLD_H
#define CORE_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/regmap/regmap.h"

#define HOLD_BREAKS_MAX 64u
/* Held so long, the client's own time limit is near: QEMU's is 5 s. */
#define HOLD_WARN_NS UINT64_C(4000000000)

struct device;
struct json_t;

struct hold_break {
    struct reg_cell *cell;
    uint32_t access; /* REGMAP_HALT_* */
    bool once;
    uint64_t timeout_ns; /* 0: none */
    uint64_t owner;      /* goes with it: see hold_forget */
};

struct hold {
    struct hold_break breaks[HOLD_BREAKS_MAX];
    uint32_t nbreaks;
    uint64_t hits;
    bool leave; /* for good: the process ends. Any thread sets it */
    /* Of the access at hand: */
    bool held, go, write;
    char name[320];
    uint32_t region, size;
    uint64_t offset, value, since;
};

void hold_init(struct device *dev);
/* Adds a break, or changes the owner's at that register; access 0 takes all away that are there. -ENOSPC, -ENOENT. */
int hold_set(struct device *dev, const struct hold_break *wanted);
/* Takes away what this owner has set. A device that is held already stays held. */
void hold_forget(struct device *dev, uint64_t owner);
/* For a reload: the breaks are at the registers of the same names in dev->map now; those that are gone are told. */
void hold_reload(struct device *dev, const struct regmap *former);
void hold_continue(struct hold *hold);
/* Any thread: lets it go, and holds it no more. */
void hold_leave(struct device *dev);
/* Where it is held: an object of reg, access, region, offset, size, value. */
struct json_t *hold_view(const struct device *dev);

#endif
