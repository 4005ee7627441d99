/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * advance - lets a device's virtual time pass: everything that comes due runs in order, each at its time, with what it
 * sets in turn. Before time moves on, DMA that is under way ends (it takes real time, and has its own limit), and what
 * the plugin has deferred is done; clients are served in between. The device's thread.
 */
#ifndef CORE_ADVANCE_H
#define CORE_ADVANCE_H

#include <stdbool.h>
#include <stdint.h>

#define ADVANCE_EVENTS_MAX 10000000u /* of one advance */
#define ADVANCE_INSTANT_MAX 131072u  /* at the same time */

struct device;

struct advance {
    bool active, scheduled;
    uint64_t target, events;
    uint32_t instant; /* events at the present time */
    uint32_t rounds;  /* that deferred work has been waited for */
    void (*done)(struct device *dev, void *ctx, int error);
    void *ctx;
};

/*
 * Makes the time virtual, if it is not, and begins. 0: `done` will be called, not in here, with 0; -ELOOP or -EOVERFLOW, one
 * of the limits above; -EBUSY, the device was stopped; -ECANCELED, the time became real. Time then stands where it got.
 * Else -EALREADY: another one is under way; -ERANGE: beyond the end of time; -ENOMEM.
 */
int advance_start(struct device *dev, uint64_t ns, void (*done)(struct device *dev, void *ctx, int error), void *ctx);
/* What it may wait for has changed: DMA has ended, or the device has stopped. */
void advance_wake(struct device *dev);
void advance_cancel(struct device *dev);

#endif
