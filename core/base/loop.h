/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop - one thread's event loop: file descriptors, timers, deferred work, and a way in from other threads.
 *
 * Everything is the loop's own thread's business, but for loop_post and loop_stop, which any thread may call.
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "core/base/heap.h"

struct loop;

/* A watched descriptor. Lives in its owner; fn gets EPOLL* bits. */
struct loop_watch {
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLET, ... */
    void (*fn)(struct loop_watch *watch, uint32_t ready);
};

/* Timers nearer than this limit the wait; those further off have the alarm. See loop.c. */
#define LOOP_NEAR_NS UINT64_C(10000000)

struct loop_work {
    void (*fn)(void *arg);
    void *arg;
};

struct loop {
    int epoll, wake;
    bool stopping, running;
    bool no_pwait2; /* an old kernel: milliseconds will do */
    pthread_t thread;
    struct heap timers;            /* deadlines are loop_now's */
    struct loop_watch alarm_watch; /* a timerfd */
    uint64_t alarm;                /* when it goes off, UINT64_MAX: it is not set */
    struct loop_work *work; /* deferred by this thread, run after each round */
    size_t nwork, work_room;
    pthread_mutex_t lock; /* guards posted */
    struct loop_work *posted;
    size_t nposted, posted_room;
    bool has_posted;
    /* Called when a round has ended and the loop is about to sleep; may be NULL. True: do not sleep yet. */
    bool (*idle)(void *ctx);
    void *idle_ctx;
    uint32_t spin_us; /* look again for so long before sleeping */
    /* Called at the end of every round of loop_run; may be NULL. */
    void (*round)(void *ctx);
    void *round_ctx;
    bool leaving;
};

int loop_init(struct loop *loop);
void loop_fini(struct loop *loop);

/* Runs until loop_stop or loop_leave. The calling thread becomes the loop's. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* loop_run returns after this round with everything as it is: another thread goes on with it. */
void loop_leave(struct loop *loop);
/* One round of a loop that does not run, without sleeping: for tests, which have everything on one thread. */
void loop_step(struct loop *loop);
/* True on the loop's own thread, or before it runs. */
bool loop_mine(const struct loop *loop);

int loop_add(struct loop *loop, struct loop_watch *watch);
int loop_change(struct loop *loop, struct loop_watch *watch, uint32_t events);
void loop_remove(struct loop *loop, struct loop_watch *watch);

uint64_t loop_now(void);
/* -ENOMEM only when the heap has to grow. Arming an armed timer moves it. */
int loop_arm(struct loop *loop, struct loop_timer *timer, uint64_t deadline);
void loop_disarm(struct loop *loop, struct loop_timer *timer);
static inline bool loop_armed(const struct loop_timer *timer)
{
    return timer->place != 0;
}

/* Runs fn(arg) after the present round, on the loop's thread. -ENOSPC beyond 65,536. */
int loop_defer(struct loop *loop, void (*fn)(void *arg), void *arg);
/* The same from any thread. */
int loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);

#endif
