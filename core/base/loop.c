/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop - one thread's event loop over epoll, a heap of timers and two queues of work.
 *
 * A round is: wait, descriptors, timers that are due, deferred and posted work. Work that defers more work runs in the
 * same round up to a bound, so that a model which defers for ever still lets the client in.
 *
 * A wait with a time limit costs the kernel a timer of its own each time, and us two looks at the clock. So only a
 * timer that is near limits the wait. For one further off there is the alarm, a timerfd among the descriptors, which
 * goes off at its deadline or before: it is set for the first such timer and left alone when that one is disarmed or
 * moved. When it goes off the heap is looked at again. Who arms a time limit with each message pays for it a few
 * times a second, not with each message, and no timer is early, or later than the round in which it comes.
 */
#include "core/base/loop.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/sys.h"

#define EVENTS_A_ROUND 32
#define WORK_MAX 65536u
#define NO_ALARM UINT64_MAX

uint64_t loop_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool loop_mine(const struct loop *loop)
{
    return !__atomic_load_n(&loop->running, __ATOMIC_ACQUIRE) ||
           pthread_equal(__atomic_load_n(&loop->thread, __ATOMIC_RELAXED), pthread_self());
}

static bool must_stop(const struct loop *loop)
{
    return __atomic_load_n(&loop->stopping, __ATOMIC_ACQUIRE);
}

static void wake(struct loop *loop)
{
    uint64_t one = 1;

    while (write(loop->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void alarm_went_off(struct loop_watch *watch, uint32_t ready)
{
    (void)ready;
    ((struct loop *)((char *)watch - offsetof(struct loop, alarm_watch)))->alarm = NO_ALARM;
}

int loop_init(struct loop *loop)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };
    int error;

    memset(loop, 0, sizeof *loop);
    loop->epoll = loop->wake = loop->alarm_watch.fd = -1;
    loop->alarm = NO_ALARM;
    error = pthread_mutex_init(&loop->lock, NULL);
    if (error)
        return -error;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* Edge-triggered, it need not be read. */
    loop->alarm_watch = (struct loop_watch){
        .fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
        .events = EPOLLIN | EPOLLET,
        .fn = alarm_went_off,
    };
    if (loop->epoll < 0 || loop->wake < 0 || loop->alarm_watch.fd < 0 ||
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &event) < 0 || loop_add(loop, &loop->alarm_watch) < 0) {
        error = -errno;
        loop_fini(loop);
        return error;
    }
    return 0;
}

void loop_fini(struct loop *loop)
{
    if (loop->epoll >= 0)
        close(loop->epoll);
    if (loop->wake >= 0)
        close(loop->wake);
    if (loop->alarm_watch.fd >= 0)
        close(loop->alarm_watch.fd);
    heap_fini(&loop->timers);
    free(loop->work);
    free(loop->posted);
    pthread_mutex_destroy(&loop->lock);
    memset(loop, 0, sizeof *loop);
    loop->epoll = loop->wake = loop->alarm_watch.fd = -1;
}

/* ---- descriptors */

int loop_add(struct loop *loop, struct loop_watch *watch)
{
    struct epoll_event event = { .events = watch->events, .data.ptr = watch };

    return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &event) < 0 ? -errno : 0;
}

int loop_change(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };

    if (watch->events == events)
        return 0;
    watch->events = events;
    return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

/* The owner may free the watch as soon as this returns, though events for it may be waiting in this round's list:
 * loop_run looks pointers up in the list it walks. */
struct round {
    struct epoll_event events[EVENTS_A_ROUND];
    int n, at;
};
static _Thread_local struct round *present_round;

void loop_remove(struct loop *loop, struct loop_watch *watch)
{
    struct round *round = present_round;

    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    if (!round)
        return;
    for (int i = round->at; i < round->n; i++) {
        if (round->events[i].data.ptr == watch)
            round->events[i].data.ptr = NULL;
    }
}

/* ---- timers */

int loop_arm(struct loop *loop, struct loop_timer *timer, uint64_t deadline)
{
    return heap_arm(&loop->timers, timer, deadline);
}

void loop_disarm(struct loop *loop, struct loop_timer *timer)
{
    heap_disarm(&loop->timers, timer);
}

/* No timer is due before the alarm, which is still to come, if there are any. */
static inline bool timers_rest(const struct loop *loop)
{
    const struct loop_timer *first = heap_first(&loop->timers);

    return !first || loop->alarm <= first->deadline;
}

/* False: it cannot be set, so the wait needs a limit. */
static bool set_alarm(struct loop *loop, uint64_t deadline)
{
    struct itimerspec at = {
        .it_value = { (time_t)(deadline / 1000000000u), (long)(deadline % 1000000000u) },
    };

    if (timerfd_settime(loop->alarm_watch.fd, TFD_TIMER_ABSTIME, &at, NULL) < 0)
        return false;
    loop->alarm = deadline;
    return true;
}

/* Timers armed by timers wait for the next round even if they are due already. */
static void run_timers(struct loop *loop)
{
    struct loop_timer *timer = heap_first(&loop->timers);
    uint64_t now = loop_now(), limit = loop->timers.next_sequence;

    while (timer && timer->deadline <= now && timer->sequence < limit && !must_stop(loop)) {
        heap_disarm(&loop->timers, timer);
        timer->fn(timer);
        timer = heap_first(&loop->timers);
    }
}

/* ---- work */

static int push_work(struct loop_work **work, size_t *n, size_t *room, void (*fn)(void *), void *arg)
{
    if (*n >= WORK_MAX)
        return -ENOSPC;
    if (*n == *room) {
        size_t more = *room ? 2 * *room : 16;
        struct loop_work *grown = realloc(*work, more * sizeof *grown);

        if (!grown)
            return -ENOMEM;
        *work = grown;
        *room = more;
    }
    (*work)[(*n)++] = (struct loop_work){ fn, arg };
    return 0;
}

int loop_defer(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    return push_work(&loop->work, &loop->nwork, &loop->work_room, fn, arg);
}

int loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    int error;

    pthread_mutex_lock(&loop->lock);
    error = push_work(&loop->posted, &loop->nposted, &loop->posted_room, fn, arg);
    __atomic_store_n(&loop->has_posted, true, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&loop->lock);
    if (!error)
        wake(loop);
    return error;
}

static inline bool work_waits(const struct loop *loop)
{
    return loop->nwork > 0 || __atomic_load_n(&loop->has_posted, __ATOMIC_ACQUIRE);
}

static void take_posted(struct loop *loop)
{
    if (!__atomic_load_n(&loop->has_posted, __ATOMIC_ACQUIRE))
        return;
    pthread_mutex_lock(&loop->lock);
    while (loop->nposted > 0 && loop->nwork + loop->nposted <= WORK_MAX) {
        size_t n = loop->nposted;

        for (size_t i = 0; i < n; i++)
            (void)loop_defer(loop, loop->posted[i].fn, loop->posted[i].arg);
        loop->nposted = 0;
    }
    __atomic_store_n(&loop->has_posted, loop->nposted > 0, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&loop->lock);
}

/* What the work itself defers is left for the next round, which then does not sleep. */
static void run_work(struct loop *loop)
{
    size_t n;

    take_posted(loop);
    n = loop->nwork;
    for (size_t i = 0; i < n; i++) {
        struct loop_work work = loop->work[i];

        work.fn(work.arg);
    }
    if (n > 0) {
        loop->nwork -= n;
        memmove(loop->work, loop->work + n, loop->nwork * sizeof *loop->work);
    }
}

/* ---- the loop itself */

static int look(struct loop *loop, struct epoll_event *events, int timeout)
{
    int n = sys_epoll_wait(loop->epoll, events, EVENTS_A_ROUND, timeout);

    if (n < 0 && errno != EINTR) {
        /* Nothing could wake the loop any more, and nothing stop it. */
        log_error(NULL, "descriptors of the host's were closed, by a plugin it seems: the host cannot go on (%s)",
                  strerror(errno));
        _exit(1);
    }
    return n;
}

static int wait_for(struct loop *loop, struct epoll_event *events, int64_t timeout)
{
    int n;

    if (timeout > 0 && !loop->no_pwait2) {
        struct timespec ts = { timeout / 1000000000, timeout % 1000000000 };

        n = epoll_pwait2(loop->epoll, events, EVENTS_A_ROUND, &ts, NULL);
        if (n >= 0 || errno == EINTR)
            return n;
        loop->no_pwait2 = true; /* ENOSYS, or EPERM from a sandbox that does not know the call */
    }
    if (timeout > 0) {
        timeout = (timeout + 999999) / 1000000;
        if (timeout > 3600000)
            timeout = 3600000;
    }
    return look(loop, events, (int)timeout);
}

/*
 * Looks for events without sleeping, for spin_us at most, and not past the next timer. Being preempted looks like a success of spinning, so a
 * round in which the kernel took the processor away ends it: on one core spinning only keeps the client from running.
 */
static int spin(struct loop *loop, struct epoll_event *events, int64_t timeout)
{
    struct rusage usage;
    uint64_t span = (uint64_t)loop->spin_us * 1000u, end;
    long taken;

    if (timeout > 0 && (uint64_t)timeout < span)
        span = (uint64_t)timeout;
    end = loop_now() + span;
    getrusage(RUSAGE_THREAD, &usage);
    taken = usage.ru_nivcsw;
    for (;;) {
        int n = look(loop, events, 0);

        if (n != 0 || loop_now() >= end)
            return n;
        sched_yield();
        getrusage(RUSAGE_THREAD, &usage);
        if (usage.ru_nivcsw != taken)
            return 0;
    }
}

static int64_t time_to_timer(struct loop *loop)
{
    uint64_t now = loop_now(), deadline = heap_first(&loop->timers)->deadline;

    if (deadline <= now)
        return 0;
    if (deadline - now >= LOOP_NEAR_NS && set_alarm(loop, deadline))
        return -1;
    return deadline - now > INT64_C(3600000000000) ? INT64_C(3600000000000) : (int64_t)(deadline - now);
}

/* How long the next wait may last in ns; -1: until something comes, and be it the alarm. */
static inline int64_t time_left(struct loop *loop)
{
    return work_waits(loop) ? 0 : timers_rest(loop) ? -1 : time_to_timer(loop);
}

static __attribute__((noinline)) void drain_wake(struct loop *loop)
{
    uint64_t drained;

    while (read(loop->wake, &drained, sizeof drained) < 0 && errno == EINTR)
        ;
}

static inline void dispatch(struct loop *loop, struct round *round)
{
    for (round->at = 0; round->at < round->n && !must_stop(loop);) {
        struct epoll_event *event = &round->events[round->at++];
        struct loop_watch *watch = event->data.ptr;

        if (watch)
            watch->fn(watch, event->events);
        else
            drain_wake(loop); /* or it is a watch that has been removed */
    }
}

/* What a round does once it has waited. */
static inline void end_round(struct loop *loop, struct round *round)
{
    if (round->n > 0)
        dispatch(loop, round);
    round->n = 0;
    if (!timers_rest(loop))
        run_timers(loop);
    if (work_waits(loop))
        run_work(loop);
}

void loop_step(struct loop *loop)
{
    struct round round, *outer = present_round;

    present_round = &round;
    round.n = wait_for(loop, round.events, 0);
    end_round(loop, &round);
    present_round = outer;
}

void loop_run(struct loop *loop)
{
    struct round round;

    loop->leaving = false;
    __atomic_store_n(&loop->thread, pthread_self(), __ATOMIC_RELAXED);
    __atomic_store_n(&loop->running, true, __ATOMIC_RELEASE);
    present_round = &round;
    while (!must_stop(loop) && !loop->leaving) {
        int64_t timeout = time_left(loop);

        /* What is done there may arm timers and defer work. */
        if (timeout != 0 && loop->idle)
            timeout = loop->idle(loop->idle_ctx) ? 0 : time_left(loop);
        round.n = 0;
        if (timeout != 0 && loop->spin_us) {
            round.n = spin(loop, round.events, timeout);
            if (round.n == 0)
                timeout = time_left(loop);
        }
        if (round.n == 0)
            round.n = wait_for(loop, round.events, timeout);
        end_round(loop, &round);
        if (loop->round)
            loop->round(loop->round_ctx);
    }
    present_round = NULL;
    if (!must_stop(loop))
        return;
    /* What was deferred frees things; the rest of it is lost on nobody. */
    for (int i = 0; i < 4; i++)
        run_work(loop);
    __atomic_store_n(&loop->running, false, __ATOMIC_RELEASE);
}

void loop_stop(struct loop *loop)
{
    __atomic_store_n(&loop->stopping, true, __ATOMIC_RELEASE);
    wake(loop);
}

void loop_leave(struct loop *loop)
{
    loop->leaving = true;
}
