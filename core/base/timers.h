/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * timers - a device's pending events: ids, delays, periods; see vfu_host.timer_after. Runs on the device's thread.
 */
#ifndef CORE_TIMERS_H
#define CORE_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"

#define TIMERS_MAX 65536u
#define TIMERS_MIN_PERIOD 1000u

struct timer_slot;

struct timers {
    struct clock *clock; /* frozen while it is switched: see core/base/clock.h */
    struct timer_slot **slots;
    uint32_t nslots, pending;
    uint32_t free; /* 1 + index of the first free slot, 0: none */
    uint64_t next_order;
    bool frozen;   /* stopped for migration: nothing is due */
    void (*fire)(void *ctx, uint32_t event, uint64_t arg);
    void *ctx;
};

/* One pending event, as it is saved: what is left of its time, in the order in which they will run. */
struct timer_image {
    int64_t id;
    uint64_t left, period, arg;
    uint32_t event;
};

void timers_init(struct timers *timers, struct clock *clock, void (*fire)(void *ctx, uint32_t event, uint64_t arg), void *ctx);
void timers_fini(struct timers *timers);

int64_t timers_after(struct timers *timers, uint64_t delay, uint64_t period, uint32_t event, uint64_t arg);
int timers_cancel(struct timers *timers, int64_t id);
void timers_clear(struct timers *timers);

/* Holds every timer where it is, or lets them go on with the time that each had left. */
void timers_freeze(struct timers *timers, bool frozen);

/* Up to `room` images in the order they will run; the result is how many there are. */
uint32_t timers_save(const struct timers *timers, struct timer_image *images, uint32_t room);
/* Replaces all pending events, keeping ids. -EINVAL: an image that no save wrote; all are dropped then. */
int timers_load(struct timers *timers, const struct timer_image *images, uint32_t n);

#endif
