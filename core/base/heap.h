/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * heap - timers in the order of their deadlines; those due together in the order they were set. Its owner's thread; no
 * locks. A zeroed heap is empty.
 */
#ifndef CORE_HEAP_H
#define CORE_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* A timer. Lives in its owner; place is 0 while it is not armed. In one heap at a time. */
struct loop_timer {
    uint64_t deadline; /* ns of the clock that it is armed on */
    uint64_t sequence; /* private: those due together run in the order they were set */
    size_t place;      /* private: heap index + 1 */
    void (*fn)(struct loop_timer *timer);
};

struct heap {
    struct loop_timer **items;
    size_t n, room;
    uint64_t next_sequence;
};

/* -ENOMEM only when the heap has to grow. Arming an armed timer moves it. */
int heap_arm(struct heap *heap, struct loop_timer *timer, uint64_t deadline);
void heap_disarm(struct heap *heap, struct loop_timer *timer);
void heap_fini(struct heap *heap);

/* The next one, or NULL. */
static inline struct loop_timer *heap_first(const struct heap *heap)
{
    return heap->n ? heap->items[0] : NULL;
}

#endif
