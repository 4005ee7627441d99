/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work - what a plugin has the device's loop do for it: deferred functions, fd watches, polling. Part of host.h. Runs
 * on the device's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/device/device.h"

#define WORK_MAX 65536u
/* Times that stopping lets deferred work defer more. What goes on for ever is a part of nothing that is under way. */
#define WORK_PASSES 64
#define POLL_MIN 1000u

/* ---- deferred work -------------------------------------------------------------------------------------------- */

struct host_work {
    void (*fn)(void *arg);
    void *arg;
};

/* What the work itself defers comes behind, and is left. */
static void run_work(struct host *host)
{
    uint32_t n = host->nwork;

    for (uint32_t i = 0; i < n; i++) {
        struct host_work work = host->work[i];

        work.fn(work.arg);
    }
    host->nwork -= n;
    if (n)
        memmove(host->work, host->work + n, host->nwork * sizeof *host->work);
}

static void scheduled_work(void *arg);

static int schedule_work(struct host *host)
{
    int error = 0;

    if (!host->work_scheduled && !host->frozen && host->nwork)
        error = loop_defer(&host->dev->loop, scheduled_work, host);
    if (!error)
        host->work_scheduled |= host->nwork && !host->frozen;
    return error;
}

static void scheduled_work(void *arg)
{
    struct host *host = arg;

    host->work_scheduled = false;
    if (!host->frozen)
        run_work(host);
    schedule_work(host);
}

int32_t work_defer(struct host *host, void (*fn)(void *arg), void *arg)
{
    int error;

    if (!fn)
        return -EINVAL;
    if (host->nwork >= WORK_MAX)
        return -ENOSPC;
    if (host->nwork == host->work_room) {
        uint32_t room = host->work_room ? 2 * host->work_room : 16;
        struct host_work *grown = realloc(host->work, room * sizeof *grown);

        if (!grown)
            return -ENOMEM;
        host->work = grown;
        host->work_room = room;
    }
    host->work[host->nwork++] = (struct host_work){ fn, arg };
    error = schedule_work(host);
    if (error)
        host->nwork--;
    return error;
}

void host_run_deferred(struct host *host)
{
    for (int i = 0; i < WORK_PASSES && host->nwork; i++)
        run_work(host);
}

/* ---- fd watches ----------------------------------------------------------------------------------------------- */

struct host_watch {
    struct loop_watch watch; /* first */
    struct host_watch *next;
    void (*fn)(void *arg, uint32_t ready);
    void *arg;
};

static void watch_ready(struct loop_watch *watch, uint32_t ready)
{
    struct host_watch *w = (struct host_watch *)watch;
    uint32_t events = 0;

    if (ready & EPOLLIN)
        events |= VFU_FD_READ;
    if (ready & EPOLLOUT)
        events |= VFU_FD_WRITE;
    if (ready & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        events |= VFU_FD_HANGUP;
    w->fn(w->arg, events);
}

static struct host_watch **find_watch(struct host *host, int32_t fd)
{
    struct host_watch **link = &host->watches;

    while (*link && (*link)->watch.fd != fd)
        link = &(*link)->next;
    return link;
}

int32_t work_watch(struct host *host, int32_t fd, uint32_t events, void (*fn)(void *arg, uint32_t ready), void *arg)
{
    struct host_watch *w;
    int error;

    if (!fn || !events || (events & ~(VFU_FD_READ | VFU_FD_WRITE)))
        return -EINVAL;
    if (*find_watch(host, fd))
        return -EEXIST;
    w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->watch.fd = fd;
    w->watch.events = (events & VFU_FD_READ ? EPOLLIN : 0u) | (events & VFU_FD_WRITE ? EPOLLOUT : 0u);
    w->watch.fn = watch_ready;
    w->fn = fn;
    w->arg = arg;
    /* A stopped device's are not in the loop, but what cannot be watched is found out here and now. */
    error = loop_add(&host->dev->loop, &w->watch);
    if (!error && host->frozen)
        loop_remove(&host->dev->loop, &w->watch);
    if (error) {
        free(w);
        if (error == -EBADF)
            host_blame(host, HOST_WATCH_FD, "watch_fd is given descriptor %d, which is not open (EBADF)", fd);
        return error;
    }
    w->next = host->watches;
    host->watches = w;
    return 0;
}

int32_t work_unwatch(struct host *host, int32_t fd)
{
    struct host_watch **link = find_watch(host, fd), *w = *link;

    if (!w)
        return -ENOENT;
    if (fcntl(fd, F_GETFD) < 0)
        host_blame(host, HOST_UNWATCH_FD, "descriptor %d was closed before unwatch_fd: while it is watched it must "
                   "stay open", fd);
    *link = w->next;
    if (!host->frozen)
        loop_remove(&host->dev->loop, &w->watch);
    free(w);
    return 0;
}

/* ---- polling -------------------------------------------------------------------------------------------------- */

#define POLLS_AT_ONCE 64

/* Waking up is all there is to do: host_idle comes before the loop sleeps again. While virtual time is advanced it does
 * not sleep, and here is the place to look. */
static void poll_due(struct loop_timer *timer)
{
    struct host *host = (struct host *)((char *)timer - offsetof(struct host, poll_timer));

    for (int i = 0; i < POLLS_AT_ONCE && host->dev->advance.active && host_idle(host); i++)
        ;
}

int32_t work_poll_every(struct host *host, uint64_t interval)
{
    if (interval > VFU_POLL_BUSY && interval < POLL_MIN)
        return -EINVAL;
    host->poll_interval = interval;
    host->poll_timer.fn = poll_due;
    if (interval != VFU_POLL_OFF) /* from then on: a device that never polls is spared the question */
        host->dev->loop.idle = host_idle;
    clock_disarm(&host->dev->clock, &host->poll_timer);
    return 0;
}

bool host_idle(void *ctx)
{
    struct host *host = ctx;
    struct device *dev = host->dev;
    uint64_t now, next;

    if (host->poll_interval == VFU_POLL_OFF || host->frozen || host->closed)
        return false;
    if (host_result(host, RESULT_POLL, dev->plugin->table.poll(dev->self), 1) > 0) {
        if (dev->loop.spin_us)
            host->poll_found = loop_now();
        return true;
    }
    if (host->poll_interval <= VFU_POLL_BUSY) /* it may have been turned off just now */
        return host->poll_interval == VFU_POLL_BUSY;
    if (dev->loop.spin_us && loop_now() - host->poll_found < (uint64_t)dev->loop.spin_us * 1000u)
        return true;
    now = clock_base(&dev->clock);
    next = host->poll_interval > UINT64_MAX - now ? UINT64_MAX : now + host->poll_interval;
    return clock_arm(&dev->clock, &host->poll_timer, next) != 0;
}

/* ---- stop, end ------------------------------------------------------------------------------------------------ */

void work_freeze(struct host *host, bool frozen)
{
    if (host->frozen == frozen)
        return;
    host->frozen = frozen;
    for (struct host_watch *w = host->watches; w; w = w->next) {
        if (frozen)
            loop_remove(&host->dev->loop, &w->watch);
        else if (loop_add(&host->dev->loop, &w->watch))
            log_error(host->dev->name, "fd %d cannot be watched again after a stop: its events are lost", w->watch.fd);
    }
    if (frozen)
        clock_disarm(&host->dev->clock, &host->poll_timer);
    schedule_work(host);
}

void work_fini(struct host *host)
{
    free(host->work);
    host->work = NULL;
    host->nwork = host->work_room = 0;
    clock_disarm(&host->dev->clock, &host->poll_timer);
    while (host->watches) {
        struct host_watch *w = host->watches;

        host->watches = w->next;
        if (host->dev->loop.epoll >= 0 && !host->frozen)
            loop_remove(&host->dev->loop, &w->watch);
        free(w);
    }
}
