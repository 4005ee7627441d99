/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp - commands to a QEMU over its QMP socket (vfu.qmp/1), without ever waiting for it.
 *
 * Everything on the device's thread, or on main's while the device's loop does not run. A command is queued; the rest
 * happens in the loop. There is one connection for each address, while there are commands for it and no longer: QEMU
 * serves one QMP client at a time, and people want to have a word with it, too.
 */
#ifndef CORE_QMP_H
#define CORE_QMP_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/base/log.h"
#include "core/base/loop.h"

#define QMP_QUEUE_MAX 64u              /* commands of one device that are not answered yet */
#define QMP_LINE_MAX ((size_t)1 << 20) /* bytes of a line that QEMU sends */
#define QMP_ARGUMENTS_MAX ((size_t)1 << 16)
#define QMP_TIMEOUT_MS 5000u

struct qmp_link;
struct qmp_request;

struct qmp {
    char who[64];
    struct loop *loop; /* NULL: never used */
    struct qmp_link *links;
    struct qmp_request *ended, **last; /* results that `done` has not been told yet, in order */
    uint32_t nrequests;
    uint64_t next_id;
    bool held, closed;
    struct loop_timer tell;
    struct log_limit limit;
};

/* "unix:PATH" with a path that fits a socket's address: the path; else NULL. */
const char *qmp_path(const char *address);

/* 0: `done` will be called, in the loop; -EINVAL, -ENOSPC, -ENOMEM: see struct vfu_host_qmp. who: the device's name. */
int qmp_execute(struct qmp *qmp, struct loop *loop, const char *who, const struct vfu_qmp_command *command);
/* The device is stopped: results wait until it is not. */
void qmp_hold(struct qmp *qmp, bool held);
/* Ends all with -ECANCELED, here and now, and takes no more; the loop holds nothing of it any more. */
void qmp_close(struct qmp *qmp);

#endif
