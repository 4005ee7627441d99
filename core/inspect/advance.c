/* SPDX-License-Identifier: BSD-3-Clause */
/* advance - lets a device's virtual time pass: see advance.h. The device's thread. */
#include "core/inspect/advance.h"

#include <errno.h>

#include "core/device/device.h"

#define EVENTS_A_ROUND 64
/* A plugin that defers work for ever does not hold time up for ever. */
#define ROUNDS_MAX 1000u

static void step(void *arg);

static void finish(struct device *dev, int error)
{
    dev->advance.active = false;
    dev->advance.done(dev, dev->advance.ctx, error);
}

static void go_on(struct device *dev)
{
    if (dev->advance.scheduled)
        return;
    dev->advance.scheduled = loop_defer(&dev->loop, step, dev) == 0;
    if (!dev->advance.scheduled)
        finish(dev, -ENOSPC);
}

/* The next event at its time. False: there is none up to the target, and time is there. */
static bool one_event(struct device *dev)
{
    struct advance *a = &dev->advance;
    struct clock *clock = &dev->clock;
    struct loop_timer *timer = heap_first(&clock->timers);

    if (!timer || timer->deadline > a->target) {
        clock_set(clock, a->target);
        return false;
    }
    if (timer->deadline > clock->now) {
        clock_set(clock, timer->deadline);
        a->instant = 0;
    }
    a->events++;
    a->instant++;
    heap_disarm(&clock->timers, timer);
    timer->fn(timer);
    return true;
}

static void step(void *arg)
{
    struct device *dev = arg;
    struct advance *a = &dev->advance;

    a->scheduled = false;
    for (int i = 0; i < EVENTS_A_ROUND && a->active; i++) {
        if (dev->stopped) {
            finish(dev, -EBUSY);
            return;
        }
        if (dev->transfer.nops)
            return; /* its end calls advance_wake */
        if (dev->host->nwork && ++a->rounds < ROUNDS_MAX)
            break;
        a->rounds = 0;
        if (a->instant >= ADVANCE_INSTANT_MAX || a->events >= ADVANCE_EVENTS_MAX) {
            finish(dev, a->instant >= ADVANCE_INSTANT_MAX ? -ELOOP : -EOVERFLOW);
            return;
        }
        if (!one_event(dev)) {
            finish(dev, 0);
            return;
        }
    }
    if (a->active)
        go_on(dev);
}

int advance_start(struct device *dev, uint64_t ns, void (*done)(struct device *dev, void *ctx, int error), void *ctx)
{
    struct advance *a = &dev->advance;
    uint64_t now = clock_now(&dev->clock);
    bool scheduled = a->scheduled;
    int error;

    if (a->active)
        return -EALREADY;
    if (now > CLOCK_END || ns > CLOCK_END - now)
        return -ERANGE;
    error = device_clock(dev, true);
    if (!error && !scheduled)
        error = loop_defer(&dev->loop, step, dev);
    if (error)
        return error;
    *a = (struct advance){
        .active = true, .scheduled = true, .target = dev->clock.now + ns, .done = done, .ctx = ctx,
    };
    return 0;
}

void advance_wake(struct device *dev)
{
    if (dev->advance.active)
        go_on(dev);
}

void advance_cancel(struct device *dev)
{
    if (dev->advance.active)
        finish(dev, -ECANCELED);
}
