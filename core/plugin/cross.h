/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cross - calls of a plugin's own threads, handed to the device's thread, which makes them in order while the callers
 * wait.
 *
 * The device's thread waits for none of them. A caller gets its answer from a call that was made, from one that was
 * made and has ended later (CROSS_LATER), or from cross_close: a device that is quieted or goes away answers all that
 * wait.
 * One lock guards the lists and what callers look at; it is never held while a call is made.
 */
#ifndef CORE_CROSS_H
#define CORE_CROSS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/loop.h"

/* Result of `run`: cross_finish will say. */
#define CROSS_LATER INT64_MIN

/* A call, in its caller's stack frame. */
struct cross_call {
    int64_t (*run)(struct cross_call *call);     /* on the device's thread */
    void (*give_up)(struct cross_call *call);    /* there too: what CROSS_LATER left open ends without a word */
    struct cross_call *next;
    pthread_cond_t answered;
    int64_t result;
    bool done;
};

struct cross {
    pthread_mutex_t lock;
    struct loop *loop;
    struct cross_call *first, **last; /* not made yet */
    struct cross_call *open;          /* CROSS_LATER */
    int closed;                       /* 0, or the error that calls are answered with */
    bool scheduled;
};

int cross_init(struct cross *x, struct loop *loop);
void cross_fini(struct cross *x);

/* Any thread but the device's. run and give_up are set. */
int64_t cross_call(struct cross *x, struct cross_call *call);

/* The device's thread. Answers all that wait with `error`, and those that come, until cross_open. */
void cross_close(struct cross *x, int error);
void cross_open(struct cross *x);
/* The result of a call whose run was CROSS_LATER, from then on. */
void cross_finish(struct cross *x, struct cross_call *call, int64_t result);

#endif
