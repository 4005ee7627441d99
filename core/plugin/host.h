/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host - the function table that a plugin is handed (struct vfu_host): each call is checked for thread, state and
 * granted capability, then passed to the part of the device that does it.
 *
 * A device has one struct host, and one more for each plugin that is wrapped by another (core/plugin/inner.c); those check,
 * and pass calls on outwards. work, watches, polling and the calls of other threads are the device's, so in the first.
 */
#ifndef CORE_HOST_H
#define CORE_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/plugin/cross.h"
#include "core/base/loop.h"
#include "core/outside/qmp.h"

struct device;
struct params;

struct host_watch;
struct host_work;

/* What is checked, for messages and for "once": functions, in the order of their table, and other misdeeds. */
enum host_call {
    HOST_PARAMS_DECLARE,
    HOST_IRQ_RAISE,
    HOST_IRQ_LOWER,
    HOST_IRQ_SIGNAL,
    HOST_DMA_READ,
    HOST_DMA_WRITE,
    HOST_DMA_SUBMIT,
    HOST_DMA_MAP,
    HOST_DMA_UNMAP,
    HOST_DMA_DIRTY,
    HOST_TIMER_AFTER,
    HOST_TIMER_CANCEL,
    HOST_DEFER,
    HOST_WATCH_FD,
    HOST_UNWATCH_FD,
    HOST_REG_GET,
    HOST_REG_SET,
    HOST_POLL_EVERY,
    HOST_OPEN,
    HOST_CONFIG_READ,
    HOST_CONFIG_WRITE,
    HOST_REGION_LOOK,
    HOST_REGION_DOORBELL,
    HOST_BAR_ACCESS,
    HOST_IRQ_LEVEL,
    HOST_QMP_EXECUTE,
    HOST_STREAM_OPEN,
    HOST_STREAM_READ,
    HOST_STREAM_WRITE,
    HOST_STREAM_LOOK,
    HOST_STREAM_BREAK,
    HOST_STREAM_HANG_UP,
    HOST_STREAM_CLOSE,
    HOST_CALLS,
    HOST_LOG = HOST_CALLS, /* not checked, but for "after destroy" */
    HOST_GUEST_ERROR,
    HOST_REPORT,
    HOST_DISPLAY,
    HOST_VECTOR,  /* an interrupt that the device does not have */
    HOST_RESULTS, /* of callbacks; HOST_RESULTS + n: see host_result */
};

/* Callbacks whose results are looked at. */
enum host_result {
    RESULT_CREATE,
    RESULT_ACCESS,
    RESULT_HOOK,
    RESULT_LOCK,
    RESULT_RESET,
    RESULT_POLL,
    RESULT_INTERCEPT,
    RESULT_OVERRUN, /* not a result: bytes beside an access */
    RESULT_QUIESCE, /* neither: quiesce does not return */
    RESULTS,
};

struct host {
    struct vfu_host table; /* plugins hold a pointer to it, or to a copy: ctx leads back here */
    struct device *dev;  /* set once before the plugin may have threads: they look at it */
    struct host *own;    /* the device's own, in which is what is not one plugin's; of that one itself */
    const char *who;     /* in reports; NULL: the device's name */
    const char *plugin;  /* the plugin's */
    struct params *params;
    uint64_t granted;
    uint64_t complained; /* faults that have been reported, a bit each */
    uint32_t index;      /* 0: the device's own, else 1 + its place among the inner ones */

    /* The device's own only. */
    pthread_t maker;     /* whose thread is the device's while its loop does not run */
    struct cross cross;
    bool describing;     /* describe is being called */
    bool ready;          /* what functions work on is made */
    bool closed;         /* destroy has been called */
    struct host *next_retired;
    bool retired;        /* another instance has taken its place: only what it holds can be given back */
    bool quiet;          /* quiesce has been called, and not resume */
    uint64_t client_caps;
    struct host_watch *watches;
    struct host_work *work; /* what the plugin has deferred, in order */
    uint32_t nwork, work_room;
    bool work_scheduled;
    bool frozen; /* stopped for migration: deferred work and fd watches wait, polling rests */
    uint64_t poll_interval, poll_found; /* VFU_POLL_OFF, ...; when poll last found something */
    struct loop_timer poll_timer;
    struct qmp qmp; /* what it asks of QEMU */
};

/* Makes dev->host. */
int host_new(struct host **out, struct device *dev, uint64_t caps);
/* Before destroy is called: other threads are refused. When it has been: everybody is, though the table stays. */
void host_close(struct host *host);
void host_poison(struct host *host);
/* Ends what the plugin left open: fd watches, deferred work. */
void host_fini(struct host *host);
/* The last: nobody calls any more. */
void host_free(struct host *host);
/* Another instance has the device now. What destroy calls of it changes nothing there any more. */
void host_retire(struct host *host);

/* Runs what the plugin has deferred, and what that defers, now: as much as is over some day. */
void host_run_deferred(struct host *host);
/* Stopped for migration: deferred work, fd watches and polling wait. */
void host_freeze(struct host *host, bool frozen);
/* Around quiesce and resume: calls of other threads end, and are possible again. */
void host_quiet(struct host *host, bool quiet);
/* The client's VFU_CAP_CLIENT_* flags, 0: it is gone. */
void host_client(struct host *host, uint64_t caps);
/* For the loop: polls. True: do not sleep yet. */
bool host_idle(void *ctx);

/* ---- for core/plugin/inner.c and those who call plugins ---- */

/* 0 if a call may be made here and now; else why not, reported. *elsewhere: on another thread than the device's. */
int host_check(struct host *host, enum host_call call, uint64_t caps, bool *elsewhere);
/* destroy has been called. */
bool host_gone(const struct host *host);
/* Reports a fault of the plugin's, once for each kind. */
void host_blame(struct host *host, int what, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What a callback may return: -4095 to `most`. Else the fault is reported, and the result is -EIO. */
int32_t host_result(struct host *host, enum host_result which, int32_t result, int32_t most);
/* The device's own, which holds what is not one plugin's, whichever plugin calls. */
struct host *host_outermost(const struct host *host);
/* Of core/plugin/calls.c: a function's name, and the flags that it asks for; 0: none. One of several is enough. */
const char *calls_name(enum host_call call);
uint64_t calls_caps(enum host_call call);
/* params_declare, param_int and so on work on host->params, for every table. */
void host_fill_params(struct vfu_host *table);

static inline struct host *host_of(const struct vfu_host *table)
{
    return table->ctx;
}

/* ---- core/plugin/work.c: deferred work, fd watches, polling; the device's thread ---- */

int32_t work_defer(struct host *host, void (*fn)(void *arg), void *arg);
int32_t work_watch(struct host *host, int32_t fd, uint32_t events, void (*fn)(void *arg, uint32_t ready), void *arg);
int32_t work_unwatch(struct host *host, int32_t fd);
int32_t work_poll_every(struct host *host, uint64_t interval);
void work_freeze(struct host *host, bool frozen);
void work_fini(struct host *host);

#endif
