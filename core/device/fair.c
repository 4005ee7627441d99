/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fair - the kernel shares a core among threads, but a client and its device are two that wait for each other: next to
 * a thread that never sleeps they get half of what they had. A device whose thread runs for long without a pause (a
 * script that loops until its budget ends it, a client that floods) is given the lowest priority. That costs it
 * nothing while a core is free. When it has been calm for a while it gets its former niceness back.
 *
 * Giving up priority is everybody's right, taking it back is not: without CAP_SYS_NICE or RLIMIT_NICE neither a nice
 * value nor SCHED_IDLE can be left again. A new thread, however, has the niceness of the one that makes it, which is
 * main's. So there the device goes on in a new thread.
 *
 * Runs on the device's thread; no locks. A round costs one look at a coarse clock.
 */
#include "core/device/fair.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/base/log.h"

#define WINDOW_NS UINT64_C(80000000)
/* A burden: so much processor time since the last look, in stretches of so much between two sleeps on average. It is
 * a fraction of the window, because a thread that shares its core with four others gets no more. */
#define BURDEN_NS UINT64_C(15000000)
#define STRETCH_NS UINT64_C(1000000)
/* Another: so many errors since the last look. */
#define ERRORS 256u
/* Calm: for so long no more than this. Held back by its neighbours a burden does little too, but it does not sleep. */
#define CALM_NS UINT64_C(500000000)
#define CALM_STRETCH_NS UINT64_C(100000)
#define CALM_ERRORS 8u
#define CALM_SHARE 8u /* of the time */
#define LOWEST 19

static uint64_t read_clock(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t count_sleeps(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_nvcsw : 0;
}

/* This thread may raise its priority again. */
static bool may_raise(int nice)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
    struct rlimit limit;

    if (getrlimit(RLIMIT_NICE, &limit) == 0 && limit.rlim_cur >= (rlim_t)(20 - nice))
        return true;
    return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & (1u << CAP_SYS_NICE));
}

static void lower(struct fair *fair, const char *why)
{
    errno = 0;
    fair->nice = getpriority(PRIO_PROCESS, 0);
    if (errno || fair->nice >= LOWEST || !(fair->replaceable || may_raise(fair->nice)))
        return;
    if (setpriority(PRIO_PROCESS, 0, LOWEST) < 0)
        return;
    fair->lowered = true;
    log_info(fair->who, "this device is a burden (%s); it stands back behind its neighbours", why);
}

/* True: only another thread can do it. */
static bool restore(struct fair *fair)
{
    if (setpriority(PRIO_PROCESS, 0, fair->nice) == 0) {
        fair->lowered = false;
        log_info(fair->who, "this device is calm again");
        return false;
    }
    if (!fair->replaceable || fair->asked)
        return false;
    fair->asked = true;
    return true;
}

/* What it has done since the last look. */
struct deeds {
    uint64_t time, used, stretch, errors;
};

static struct deeds take_stock(struct fair *fair, uint64_t now)
{
    uint64_t cpu = read_clock(CLOCK_THREAD_CPUTIME_ID), sleeps = count_sleeps(), failed = fair->errors(fair->ctx);
    struct deeds d = { .time = now - (fair->next - WINDOW_NS), .used = cpu - fair->cpu, .errors = failed - fair->failed };

    d.stretch = d.used / (sleeps - fair->sleeps + 1);
    fair->cpu = cpu;
    fair->sleeps = sleeps;
    fair->failed = failed;
    fair->next = now + WINDOW_NS;
    return d;
}

static bool look(struct fair *fair, uint64_t now)
{
    struct deeds d = take_stock(fair, now);
    bool hog = d.used >= BURDEN_NS && d.stretch >= STRETCH_NS;

    if (hog || d.errors >= ERRORS) {
        fair->calm = 0;
        fair->asked = false;
        if (!fair->lowered)
            lower(fair, hog ? "much processor time without a pause" : "many errors");
        return false;
    }
    if (!fair->lowered)
        return false;
    if (d.used > d.time / CALM_SHARE || d.stretch > CALM_STRETCH_NS || d.errors > CALM_ERRORS)
        fair->calm = 0;
    else if (fair->calm == 0)
        fair->calm = now - d.time; /* one long sleep is calm enough */
    return fair->calm && now - fair->calm >= CALM_NS && restore(fair);
}

void fair_start(struct fair *fair)
{
    /* The thread before it was calm: this is how it came to be replaced. */
    if (fair->lowered)
        log_info(fair->who, "this device is calm again");
    fair->lowered = fair->asked = false;
    fair->calm = 0;
    fair->cpu = read_clock(CLOCK_THREAD_CPUTIME_ID);
    fair->sleeps = count_sleeps();
    fair->failed = fair->errors(fair->ctx);
    fair->next = read_clock(CLOCK_MONOTONIC_COARSE) + WINDOW_NS;
}

bool fair_round(struct fair *fair)
{
    uint64_t now = read_clock(CLOCK_MONOTONIC_COARSE);

    return now >= fair->next && look(fair, now);
}
