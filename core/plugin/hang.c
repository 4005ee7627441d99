/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hang - see hang.h. The watcher's thread is made with the first watch and lasts as long as the process. Everything is
 * under one lock, which is free while the watcher sleeps.
 */
#include "core/plugin/hang.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_cond_t changed; /* of the monotonic clock */
static struct hang *first;
static uint64_t planned; /* when the watcher will look again, or 0 */

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Calls what is due. When the next one is, or 0. */
static uint64_t look(void)
{
    uint64_t now = now_ns(), next = 0;

    for (struct hang *h = first; h; h = h->next) {
        if (!h->late)
            continue;
        if (h->deadline <= now) {
            h->late(h->ctx);
            h->late = NULL;
        } else if (!next || h->deadline < next) {
            next = h->deadline;
        }
    }
    return next;
}

/* It sleeps while nothing is watched. What ends in time does not wake it. */
static void *watch(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    for (;;) {
        planned = look();
        const struct timespec until = { (time_t)(planned / 1000000000u), (long)(planned % 1000000000u) };

        if (planned)
            pthread_cond_timedwait(&changed, &lock, &until);
        else
            pthread_cond_wait(&changed, &lock);
    }
    return NULL;
}

/* Without a thread nothing is told while it lasts; hang_end still says how long it took. */
static void start(void)
{
    pthread_condattr_t clock;
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;

    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &clock);
    pthread_condattr_destroy(&clock);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, &attributes, watch, NULL) == 0)
        pthread_setname_np(thread, "vfu-hang");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

void hang_begin(struct hang *h, uint64_t ns, void (*late)(void *ctx), void *ctx)
{
    pthread_once(&once, start);
    h->start = now_ns();
    h->deadline = h->start + ns;
    h->late = late;
    h->ctx = ctx;
    pthread_mutex_lock(&lock);
    h->next = first;
    first = h;
    if (!planned || h->deadline < planned)
        pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

uint64_t hang_end(struct hang *h)
{
    struct hang **link = &first;

    pthread_mutex_lock(&lock);
    while (*link != h)
        link = &(*link)->next;
    *link = h->next;
    pthread_mutex_unlock(&lock);
    return now_ns() - h->start;
}
