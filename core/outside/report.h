/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report - what a device tells the people and programs around it (vfu.report/1): a line of the log, an event for who
 * listens, a list of the last ones, and whether one was fatal. Any thread.
 */
#ifndef CORE_REPORT_H
#define CORE_REPORT_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/base/log.h"

#define REPORT_KEPT 64u /* the last ones, for who asks later */

struct reports {
    const char *who; /* the device */
    pthread_mutex_t lock;
    json_t *kept;         /* an array, the oldest first */
    uint64_t total;       /* how many there were */
    uint64_t fatal;       /* how many of them were fatal */
    struct log_limit limit;
    /* Told of each, under the lock; may be NULL. It takes no reference that it does not count. */
    void (*told)(void *ctx, json_t *report);
    void *ctx;
};

int report_init(struct reports *report, const char *who);
void report_fini(struct reports *report);

/* -EINVAL: see struct vfu_host_report. -ENOMEM: it is counted, and its line is there. */
int report_send(struct reports *report, const struct vfu_report *what);
bool report_fatal(struct reports *report);
/* Who is told from now on. */
void report_listen(struct reports *report, void (*told)(void *ctx, json_t *report), void *ctx);

/* For the control socket: "reports", "total" and "fatal" of `reply`. */
int report_list(struct reports *report, json_t *reply);

#endif
