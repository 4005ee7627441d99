/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ask - what other threads want done on a device's thread, in order: done between two rounds of its loop, and also while
 * the device is held at a break (core/inspect/hold.c) and its loop stands still.
 *
 * One lock guards the list; it is never held while an item runs.
 */
#ifndef CORE_ASK_H
#define CORE_ASK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/loop.h"

/* Lives in its owner, which frees it when it has run or was withdrawn. */
struct ask_item {
    void (*run)(struct ask_item *item); /* on the device's thread */
    struct ask_item *next;
};

struct ask {
    pthread_mutex_t lock;
    struct loop *loop; /* NULL: not made */
    struct ask_item *first, **last;
    uint32_t n;     /* in the list */
    int wake;       /* an eventfd that is readable when a held device has something to do */
    bool held;      /* the loop stands still */
    bool scheduled; /* a run is on its way through the loop */
};

int ask_init(struct ask *ask, struct loop *loop);
void ask_fini(struct ask *ask);

/* Any thread. -ENOSPC, -ENOMEM: it will not run. */
int ask_post(struct ask *ask, struct ask_item *item);
/* Any thread: true if the item had not begun; it will not. */
bool ask_withdraw(struct ask *ask, struct ask_item *item);
/* Any thread: a held device looks whether it should go on. */
void ask_wake(struct ask *ask);

/* The device's thread. */
void ask_hold(struct ask *ask, bool held);
/* Those that are there. What comes meanwhile is for the next time, so that askers without end keep nobody out. */
void ask_run(struct ask *ask);

#endif
