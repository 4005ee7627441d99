/* SPDX-License-Identifier: BSD-3-Clause */
/* heap - timers in the order of their deadlines: a binary heap by (deadline, sequence). Its owner's thread. */
#include "core/base/heap.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

static bool before(const struct loop_timer *a, const struct loop_timer *b)
{
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->sequence < b->sequence;
}

static void place(struct heap *heap, size_t i, struct loop_timer *timer)
{
    heap->items[i] = timer;
    timer->place = i + 1;
}

static void sift_up(struct heap *heap, size_t i)
{
    struct loop_timer *timer = heap->items[i];

    for (; i > 0; i = (i - 1) / 2) {
        struct loop_timer *parent = heap->items[(i - 1) / 2];

        if (!before(timer, parent))
            break;
        place(heap, i, parent);
    }
    place(heap, i, timer);
}

static void sift_down(struct heap *heap, size_t i)
{
    struct loop_timer *timer = heap->items[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= heap->n)
            break;
        if (child + 1 < heap->n && before(heap->items[child + 1], heap->items[child]))
            child++;
        if (!before(heap->items[child], timer))
            break;
        place(heap, i, heap->items[child]);
        i = child;
    }
    place(heap, i, timer);
}

int heap_arm(struct heap *heap, struct loop_timer *timer, uint64_t deadline)
{
    heap_disarm(heap, timer);
    if (heap->n == heap->room) {
        size_t room = heap->room ? 2 * heap->room : 16;
        struct loop_timer **items = realloc(heap->items, room * sizeof *items);

        if (!items)
            return -ENOMEM;
        heap->items = items;
        heap->room = room;
    }
    timer->deadline = deadline;
    timer->sequence = heap->next_sequence++;
    place(heap, heap->n++, timer);
    sift_up(heap, heap->n - 1);
    return 0;
}

void heap_disarm(struct heap *heap, struct loop_timer *timer)
{
    size_t i = timer->place;
    struct loop_timer *last;

    if (i == 0)
        return;
    timer->place = 0;
    i--;
    last = heap->items[--heap->n];
    if (last == timer)
        return;
    place(heap, i, last);
    sift_up(heap, i);
    sift_down(heap, last->place - 1);
}

void heap_fini(struct heap *heap)
{
    free(heap->items);
    *heap = (struct heap){ 0 };
}
