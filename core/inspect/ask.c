/* SPDX-License-Identifier: BSD-3-Clause */
/* ask - what other threads want done on a device's thread: see ask.h. */
#include "core/inspect/ask.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int ask_init(struct ask *ask, struct loop *loop)
{
    int error;

    memset(ask, 0, sizeof *ask);
    ask->last = &ask->first;
    ask->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ask->wake < 0)
        return -errno;
    error = pthread_mutex_init(&ask->lock, NULL);
    if (error) {
        close(ask->wake);
        return -error;
    }
    ask->loop = loop;
    return 0;
}

void ask_fini(struct ask *ask)
{
    if (!ask->loop)
        return;
    pthread_mutex_destroy(&ask->lock);
    close(ask->wake);
    ask->loop = NULL;
}

void ask_wake(struct ask *ask)
{
    uint64_t one = 1;

    while (write(ask->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void scheduled_run(void *arg)
{
    struct ask *ask = arg;

    pthread_mutex_lock(&ask->lock);
    ask->scheduled = false;
    pthread_mutex_unlock(&ask->lock);
    ask_run(ask);
}

int ask_post(struct ask *ask, struct ask_item *item)
{
    int error = 0;
    bool held;

    pthread_mutex_lock(&ask->lock);
    if (!ask->scheduled)
        error = loop_post(ask->loop, scheduled_run, ask);
    if (!error) {
        ask->scheduled = true;
        item->next = NULL;
        *ask->last = item;
        ask->last = &item->next;
        ask->n++;
    }
    held = ask->held;
    pthread_mutex_unlock(&ask->lock);
    if (!error && held)
        ask_wake(ask);
    return error;
}

bool ask_withdraw(struct ask *ask, struct ask_item *item)
{
    struct ask_item **link;
    bool found;

    pthread_mutex_lock(&ask->lock);
    link = &ask->first;
    while (*link && *link != item)
        link = &(*link)->next;
    found = *link != NULL;
    if (found) {
        ask->n--;
        *link = item->next;
        if (ask->last == &item->next)
            ask->last = link;
    }
    pthread_mutex_unlock(&ask->lock);
    return found;
}

void ask_hold(struct ask *ask, bool held)
{
    pthread_mutex_lock(&ask->lock);
    ask->held = held;
    pthread_mutex_unlock(&ask->lock);
}

static struct ask_item *take(struct ask *ask)
{
    struct ask_item *item;

    pthread_mutex_lock(&ask->lock);
    item = ask->first;
    if (item) {
        ask->first = item->next;
        if (!ask->first)
            ask->last = &ask->first;
        ask->n--;
    }
    pthread_mutex_unlock(&ask->lock);
    return item;
}

/* What is posted meanwhile has had another run scheduled, or has woken the held device. */
void ask_run(struct ask *ask)
{
    struct ask_item *item;
    uint32_t n;

    pthread_mutex_lock(&ask->lock);
    n = ask->n;
    pthread_mutex_unlock(&ask->lock);
    while (n-- > 0 && (item = take(ask)))
        item->run(item);
}
