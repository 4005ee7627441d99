/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host - the function table that a plugin is handed (struct vfu_host): each call is checked for thread, state and
 * granted capability, then passed to the part of the device that does it.
 */
#ifndef CORE_HOST_H
#define CORE_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

struct device;

struct host_watch;
struct host_work;

struct host {
    struct vfu_host table; /* first: plugins hold a pointer to it */
    struct device *dev;
    uint64_t granted;
    uint64_t complained; /* functions whose misuse has been reported, a bit each */
    struct host_watch *watches;
    struct host_work *work; /* what the plugin has deferred, in order */
    uint32_t nwork, work_room;
    bool work_scheduled;
    bool frozen; /* stopped for migration: deferred work and fd watches wait */
};

void host_init(struct host *host, struct device *dev, uint64_t caps);
/* Runs what the plugin has deferred, and what that defers, now: as much as is over some day. */
void host_run_deferred(struct host *host);
/* Stopped for migration: deferred work and fd watches wait. */
void host_freeze(struct host *host, bool frozen);
/* Ends what the plugin left open: fd watches. */
void host_fini(struct host *host);

#endif
