/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * timers - a device's pending events. Runs on the device's thread; no locks.
 *
 * An id is a slot's number and how often the slot has been used, so that a stale id never cancels somebody else.
 */
#include "core/base/timers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_BITS 17
#define SLOT_MASK ((INT64_C(1) << SLOT_BITS) - 1)
/* An image may not bring a slot near the end of its ids; no run comes so far. */
#define USES_MAX (INT64_C(1) << 44)

struct timer_slot {
    struct loop_timer timer;
    struct timers *owner;
    int64_t id; /* 0: free */
    int64_t uses;
    uint64_t period, arg;
    uint64_t left; /* while frozen */
    uint64_t order; /* sequence, kept over a freeze */
    uint32_t event, index;
    uint32_t next_free;
};

/* A time beyond the clock's end is its end: it never comes. */
static uint64_t later(uint64_t time, uint64_t delay)
{
    return delay > UINT64_MAX - time ? UINT64_MAX : time + delay;
}

static int64_t index_of(int64_t id)
{
    return id > 0 ? (id - 1) & SLOT_MASK : TIMERS_MAX;
}

static void release(struct timers *timers, struct timer_slot *slot)
{
    clock_disarm(timers->clock, &slot->timer);
    slot->id = 0;
    slot->next_free = timers->free;
    timers->free = slot->index + 1;
    timers->pending--;
}

static void due(struct loop_timer *timer)
{
    struct timer_slot *slot = (struct timer_slot *)timer;
    struct timers *timers = slot->owner;
    uint32_t event = slot->event;
    uint64_t arg = slot->arg;

    if (slot->period) {
        uint64_t now = clock_base(timers->clock), next = later(timer->deadline, slot->period);

        /* A device that fell behind does not catch up in a burst. */
        if (next < now)
            next = now;
        slot->order = timers->next_order++;
        if (clock_arm(timers->clock, timer, next))
            release(timers, slot);
    } else {
        release(timers, slot);
    }
    timers->fire(timers->ctx, event, arg);
}

void timers_init(struct timers *timers, struct clock *clock, void (*fire)(void *ctx, uint32_t event, uint64_t arg), void *ctx)
{
    memset(timers, 0, sizeof *timers);
    timers->clock = clock;
    timers->fire = fire;
    timers->ctx = ctx;
}

void timers_fini(struct timers *timers)
{
    timers_clear(timers);
    for (uint32_t i = 0; i < timers->nslots; i++)
        free(timers->slots[i]);
    free(timers->slots);
    timers->slots = NULL;
    timers->nslots = 0;
}

/* Makes slots up to and including index. */
static int grow(struct timers *timers, uint32_t index)
{
    while (timers->nslots <= index) {
        struct timer_slot *slot;

        if ((timers->nslots & (timers->nslots - 1)) == 0) {
            uint32_t room = timers->nslots ? 2 * timers->nslots : 1;
            struct timer_slot **slots = realloc(timers->slots, room * sizeof *slots);

            if (!slots)
                return -ENOMEM;
            timers->slots = slots;
        }
        slot = calloc(1, sizeof *slot);
        if (!slot)
            return -ENOMEM;
        slot->timer.fn = due;
        slot->owner = timers;
        slot->index = timers->nslots;
        slot->next_free = timers->free;
        timers->slots[timers->nslots++] = slot;
        timers->free = slot->index + 1;
    }
    return 0;
}

static int start(struct timers *timers, struct timer_slot *slot, uint64_t delay)
{
    uint64_t now = clock_base(timers->clock);

    slot->order = timers->next_order++;
    if (timers->frozen) {
        slot->left = delay;
        return 0;
    }
    return clock_arm(timers->clock, &slot->timer, later(now, delay));
}

int64_t timers_after(struct timers *timers, uint64_t delay, uint64_t period, uint32_t event, uint64_t arg)
{
    struct timer_slot *slot;
    int error;

    if (timers->pending >= TIMERS_MAX)
        return -ENOSPC;
    if (!timers->free) {
        error = grow(timers, timers->nslots);
        if (error)
            return error;
    }
    slot = timers->slots[timers->free - 1];
    error = start(timers, slot, delay);
    if (error)
        return error;
    timers->free = slot->next_free;
    timers->pending++;
    slot->id = (++slot->uses << SLOT_BITS | slot->index) + 1;
    slot->period = period && period < TIMERS_MIN_PERIOD ? TIMERS_MIN_PERIOD : period;
    slot->event = event;
    slot->arg = arg;
    return slot->id;
}

int timers_cancel(struct timers *timers, int64_t id)
{
    int64_t index = index_of(id);

    if (index >= timers->nslots || timers->slots[index]->id != id)
        return -ENOENT;
    release(timers, timers->slots[index]);
    return 0;
}

void timers_clear(struct timers *timers)
{
    for (uint32_t i = 0; i < timers->nslots && timers->pending; i++) {
        if (timers->slots[i]->id)
            release(timers, timers->slots[i]);
    }
}

static uint64_t time_left(const struct timers *timers, const struct timer_slot *slot, uint64_t now)
{
    if (timers->frozen)
        return slot->left;
    return slot->timer.deadline > now ? slot->timer.deadline - now : 0;
}

static int by_turn(const void *a, const void *b)
{
    const struct timer_slot *x = *(struct timer_slot *const *)a, *y = *(struct timer_slot *const *)b;

    /* Of those that are overdue nothing is left, and yet one was due before the other. */
    if (x->timer.place && y->timer.place && x->timer.deadline != y->timer.deadline)
        return x->timer.deadline < y->timer.deadline ? -1 : 1;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* The pending slots in the order they will run, `left` filled in. The caller frees. */
static struct timer_slot **in_turn(const struct timers *timers)
{
    struct timer_slot **list = malloc((timers->pending ? timers->pending : 1) * sizeof(*list));
    uint64_t now = clock_base(timers->clock);
    uint32_t n = 0;

    for (uint32_t i = 0; list && i < timers->nslots; i++) {
        struct timer_slot *slot = timers->slots[i];

        if (!slot->id)
            continue;
        slot->left = time_left(timers, slot, now);
        list[n++] = slot;
    }
    if (list)
        qsort(list, n, sizeof(*list), by_turn);
    return list;
}

void timers_freeze(struct timers *timers, bool frozen)
{
    struct timer_slot **list;
    uint64_t now = clock_base(timers->clock);
    uint32_t n = timers->pending;

    if (timers->frozen == frozen)
        return;
    list = in_turn(timers);
    if (!list)
        return;
    for (uint32_t i = 0; i < n; i++) {
        if (frozen)
            clock_disarm(timers->clock, &list[i]->timer);
        list[i]->order = timers->next_order++;
        if (!frozen && clock_arm(timers->clock, &list[i]->timer, later(now, list[i]->left)))
            release(timers, list[i]);
    }
    free(list);
    timers->frozen = frozen;
}

uint32_t timers_save(const struct timers *timers, struct timer_image *images, uint32_t room)
{
    struct timer_slot **list = in_turn(timers);

    for (uint32_t i = 0; list && i < timers->pending && i < room; i++) {
        images[i] = (struct timer_image){ list[i]->id, list[i]->left, list[i]->period, list[i]->arg, list[i]->event };
    }
    free(list);
    return timers->pending;
}

static int load_one(struct timers *timers, const struct timer_image *image)
{
    int64_t index = index_of(image->id), uses;
    struct timer_slot *slot;

    if (index >= TIMERS_MAX)
        return -EINVAL;
    uses = (image->id - 1) >> SLOT_BITS;
    if (uses < 1 || uses > USES_MAX)
        return -EINVAL;
    if (grow(timers, (uint32_t)index))
        return -ENOMEM;
    slot = timers->slots[index];
    if (slot->id)
        return -EINVAL;
    timers->pending++;
    slot->id = image->id;
    if (uses > slot->uses)
        slot->uses = uses; /* never back: an id that was given out here may still be remembered */
    slot->period = image->period && image->period < TIMERS_MIN_PERIOD ? TIMERS_MIN_PERIOD : image->period;
    slot->event = image->event;
    slot->arg = image->arg;
    return start(timers, slot, image->left);
}

static void list_free_slots(struct timers *timers)
{
    timers->free = 0;
    for (uint32_t i = timers->nslots; i > 0; i--) {
        if (timers->slots[i - 1]->id)
            continue;
        timers->slots[i - 1]->next_free = timers->free;
        timers->free = i;
    }
}

int timers_load(struct timers *timers, const struct timer_image *images, uint32_t n)
{
    int error = n > TIMERS_MAX ? -EINVAL : 0;

    timers_clear(timers);
    for (uint32_t i = 0; i < n && !error; i++)
        error = load_one(timers, &images[i]);
    list_free_slots(timers);
    if (error)
        timers_clear(timers);
    return error;
}
