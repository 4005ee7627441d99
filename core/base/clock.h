/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clock - a device's time: real, or virtual, which stands still until somebody advances it. Timers of the device are armed
 * on it; what must not depend on it (time limits of messages, budgets, fairness) is not. The device's thread, but for
 * clock_now.
 *
 * Over a switch the time goes on from where it was. Deadlines are clock_base's, which then is another: who has armed
 * timers disarms them before and arms them after, with the time that each had left (timers_freeze).
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/loop.h"

/* Virtual time ends here, after 146 years: what goes on from there in real time is a number for long still. */
#define CLOCK_END (UINT64_C(1) << 62)

struct clock {
    struct loop *loop;
    bool virtual;    /* other threads read it */
    uint64_t now;    /* virtual time; other threads read it */
    uint64_t offset; /* of real time to loop_now, modulo 2^64; other threads read it */
    struct heap timers; /* armed in virtual time */
    bool scheduled; /* what is due already is on its way through the loop */
};

/* Virtual time begins at 0. */
void clock_init(struct clock *clock, struct loop *loop, bool virtual);
void clock_fini(struct clock *clock);

/* The device's time. Any thread. */
uint64_t clock_now(const struct clock *clock);
/* What deadlines are counted in. */
uint64_t clock_base(const struct clock *clock);
/* Fires from the loop when it is due; in virtual time at once, or when time is advanced to it. */
int clock_arm(struct clock *clock, struct loop_timer *timer, uint64_t deadline);
void clock_disarm(struct clock *clock, struct loop_timer *timer);

/* No timer is armed on it. */
void clock_switch(struct clock *clock, bool virtual);
/* Virtual: it is this late now; never back. */
void clock_set(struct clock *clock, uint64_t now);

#endif
