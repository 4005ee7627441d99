/* SPDX-License-Identifier: BSD-3-Clause */
/* clock - a device's time, real or virtual: see clock.h. */
#include "core/base/clock.h"

#include <string.h>

void clock_init(struct clock *clock, struct loop *loop, bool virtual)
{
    memset(clock, 0, sizeof *clock);
    clock->loop = loop;
    clock->virtual = virtual;
}

void clock_fini(struct clock *clock)
{
    heap_fini(&clock->timers);
}

uint64_t clock_now(const struct clock *clock)
{
    if (__atomic_load_n(&clock->virtual, __ATOMIC_ACQUIRE))
        return __atomic_load_n(&clock->now, __ATOMIC_RELAXED);
    return loop_now() + __atomic_load_n(&clock->offset, __ATOMIC_RELAXED);
}

uint64_t clock_base(const struct clock *clock)
{
    return clock->virtual ? clock->now : loop_now();
}

static void run_due(void *arg);

static int schedule(struct clock *clock)
{
    int error = clock->scheduled ? 0 : loop_defer(clock->loop, run_due, clock);

    if (!error)
        clock->scheduled = true;
    return error;
}

/* Timers armed by timers wait for the next round even if they are due already: the client gets its turn. */
static void run_due(void *arg)
{
    struct clock *clock = arg;
    uint64_t limit = clock->timers.next_sequence;
    struct loop_timer *timer;

    clock->scheduled = false;
    while ((timer = heap_first(&clock->timers)) && timer->deadline <= clock->now && timer->sequence < limit) {
        heap_disarm(&clock->timers, timer);
        timer->fn(timer);
    }
    timer = heap_first(&clock->timers);
    if (timer && timer->deadline <= clock->now)
        (void)schedule(clock);
}

int clock_arm(struct clock *clock, struct loop_timer *timer, uint64_t deadline)
{
    int error;

    if (!clock->virtual)
        return loop_arm(clock->loop, timer, deadline);
    error = heap_arm(&clock->timers, timer, deadline);
    if (!error && deadline <= clock->now)
        error = schedule(clock);
    if (error)
        heap_disarm(&clock->timers, timer);
    return error;
}

void clock_disarm(struct clock *clock, struct loop_timer *timer)
{
    if (clock->virtual)
        heap_disarm(&clock->timers, timer);
    else
        loop_disarm(clock->loop, timer);
}

void clock_switch(struct clock *clock, bool virtual)
{
    uint64_t now = clock_now(clock);

    if (clock->virtual == virtual)
        return;
    if (virtual)
        __atomic_store_n(&clock->now, now, __ATOMIC_RELAXED);
    else
        __atomic_store_n(&clock->offset, now - loop_now(), __ATOMIC_RELAXED);
    __atomic_store_n(&clock->virtual, virtual, __ATOMIC_RELEASE);
}

void clock_set(struct clock *clock, uint64_t now)
{
    if (now > clock->now)
        __atomic_store_n(&clock->now, now, __ATOMIC_RELAXED);
}
